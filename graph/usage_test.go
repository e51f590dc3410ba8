package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vektah/gqlparser/v2/gqlerror"

	"retrieverkeys/apikey"
)

// usageShelf is a shelf that counts the reads of usage.
type usageShelf struct {
	shelf

	reads atomic.Int64
	err   error
}

func (a *usageShelf) AnswersOf(ctx context.Context, tenant apikey.InternalID, ids []apikey.ID, from, to apikey.Day) ([]apikey.KeyDay, error) {
	a.reads.Add(1)
	if tenant != "int_1" {
		return nil, fmt.Errorf("usageShelf for %s", tenant)
	}
	if a.err != nil {
		return nil, a.err
	}
	return a.shelf.AnswersOf(ctx, tenant, ids, from, to)
}

func shelved(keys int) *usageShelf {
	a := &usageShelf{}
	for i := range keys {
		a.keys = append(a.keys, apikey.Key{ID: apikey.ID(fmt.Sprintf("key_%d", i)), Hash: fmt.Sprint(i), InternalID: "int_1", Stored: apikey.Active})
	}
	return a
}

// answerOf returns the response to a query of an admin.
func answerOf(t *testing.T, store apikey.Store, query string) (status int, body string) {
	t.Helper()
	h := NewHandler(Options{Service: &apikey.Service{Store: store}, Introspection: IntrospectionPublic, Limits: limits, Logger: slog.New(slog.DiscardHandler)})
	admin := apikey.Caller{Key: &apikey.Key{Type: apikey.Standard, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Admin}}}
	text, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(apikey.WithNamespace(apikey.WithCaller(t.Context(), admin), "ns_1"), http.MethodPost, "/graphql", strings.NewReader(string(text)))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// The usage of all keys of a list is one read for each period, in whatever order and under whatever names it is selected. Otherwise a page of a
// thousand keys would be a thousand reads.
func TestUsageOfAListIsOneRead(t *testing.T) {
	store := shelved(20)
	status, answer := answerOf(t, store, `{ retriever(id: "ret_1_05") {
		apiKeys { edges { node { keyId usage(from: "2026-03-01", to: "2026-03-03") { allowed refused days { date allowed refused } } } } results { other: usage(from: "2026-03-01", to: "2026-03-03") { allowed } } }
		one: apiKeys { results { usage(from: "2026-03-02", to: "2026-03-02") { days { date } } } }
	} }`)
	if status != 200 || strings.Contains(answer, `"errors"`) {
		t.Fatalf("%d %s", status, answer)
	}
	if n := store.reads.Load(); n != 2 {
		t.Errorf("got %d reads, want one for each period", n)
	}
	want := `{"keyId":"key_3","usage":{"allowed":9007199254740991,"refused":6,"days":[{"date":"2026-03-01","allowed":9007199254740990,"refused":3},{"date":"2026-03-02","allowed":0,"refused":0},{"date":"2026-03-03","allowed":9007199254740990,"refused":3}]}}`
	// Ids are sorted before they are read: key_0, key_1, key_10 to key_19, key_2, key_3.
	want = strings.ReplaceAll(strings.ReplaceAll(want, `"refused":6`, `"refused":26`), `"refused":3`, `"refused":13`)
	if !strings.Contains(answer, want) {
		t.Errorf("got %s\nwant %s", answer, want)
	}
}

// The error for a period that cannot be shown must name the argument and the field, and the store must not be read. An invalid date must fail
// before anything runs.
func TestWrongPeriodsAreRefused(t *testing.T) {
	for arguments, field := range map[string]string{
		`from: "2026-03-02", to: "2026-03-01"`: "from", `from: "2025-01-01", to: "2026-02-05"`: "from", `from: "0000-01-01", to: "9999-12-31"`: "from", `from: "9999-12-31"`: "from",
		`from: "2026-02-30"`: "", `to: "yesterday"`: "", `from: 20260301`: "", `to: "2026-03-01T00:00:00Z"`: "", `from: "10000-01-01"`: "",
	} {
		store := shelved(2)
		_, answer := answerOf(t, store, `{ retriever(id: "ret_1_05") { apiKeys { results { usage(`+arguments+`) { allowed } } } } }`)
		if store.reads.Load() != 0 || !strings.Contains(answer, `"errors"`) || field != "" && (!strings.Contains(answer, `"BAD_USER_INPUT"`) || !strings.Contains(answer, `"field":"`+field+`"`)) {
			t.Errorf("%s: %d reads, %s", arguments, store.reads.Load(), answer)
		}
	}
	for arguments, days := range map[string]int{
		`from: "2025-01-01", to: "2026-02-04"`: 400, `to: "9999-12-31"`: 30, `from: null, to: null`: 30, `from: "0000-01-01", to: "0000-01-01"`: 1, `to: "0000-01-02"`: 2,
	} {
		_, answer := answerOf(t, shelved(1), `{ retriever(id: "ret_1_05") { apiKeys { results { usage(`+arguments+`) { days { date } } } } } }`)
		if n := strings.Count(answer, `"date"`); n != days || strings.Contains(answer, `"errors"`) {
			t.Errorf("%s: got %d days, want %d", arguments, n, days)
		}
	}
}

// If usage cannot be read, the rest of the keys is shown, with an error at each usage.
func TestUsageFailsAlone(t *testing.T) {
	store := shelved(2)
	store.err = apikey.Outage(context.DeadlineExceeded)
	_, answer := answerOf(t, store, `{ retriever(id: "ret_1_05") { apiKeys { results { keyId usage { allowed } } } } }`)
	if !strings.Contains(answer, `[{"keyId":"key_0","usage":null},{"keyId":"key_1","usage":null}]`) || !strings.Contains(answer, `"UNAVAILABLE"`) {
		t.Errorf("got %s", answer)
	}
}

// The days of all keys count for MAX_COMPLEXITY, because they can make the response large.
func TestDaysCountForComplexity(t *testing.T) {
	for query, refused := range map[string]bool{
		`apiKeys(first: 1000) { results { usage { days { date allowed refused } } } }`:                                                                                                                                            false,
		`apiKeys(first: 1000) { results { usage(from: "2026-01-01", to: "2026-12-31") { days { date allowed refused } } } }`:                                                                                                      false,
		`apiKeys(first: 1000) { results { usage(from: "2026-01-01", to: "2026-12-31") { days { date allowed refused a: date } } } a: results { usage(from: "2026-01-01", to: "2026-12-31") { days { date allowed refused } } } }`: true,
		`apiKeys(first: 1000) { results { usage(from: "2026-01-01", to: "2026-12-31") { allowed refused } } }`:                                                                                                                    false,
	} {
		_, answer := answerOf(t, shelved(1), `{ retriever(id: "ret_1_05") { `+query+` } }`)
		if strings.Contains(answer, "MAX_COMPLEXITY") != refused {
			t.Errorf("%s: got %.300s", query, answer)
		}
	}
}

// A wrong argument fails a field before it can be skipped, at every key of a list and under every alias. Without a limit, the rendering of errors
// that are not sent took more than a second.
func TestWrongArgumentsEndWithTheQuery(t *testing.T) {
	l := &loader{cost: apikey.NewCost(0, 0)}
	rendered := 0
	present := unlessEnded(func(context.Context, error) *gqlerror.Error {
		rendered++
		l.failed.Add(1)
		return &gqlerror.Error{Message: "from must be a date, such as 2026-03-01."}
	})
	ctx := context.WithValue(t.Context(), loaderKey{}, l)
	for range 3 * mostFieldErrors {
		if e := present(ctx, errors.New("wrong")); e == nil {
			t.Fatal("an error was lost")
		}
	}
	if want := mostFieldErrors + 1; rendered != want {
		t.Errorf("%d errors were rendered, want %d", rendered, want)
	}
}
