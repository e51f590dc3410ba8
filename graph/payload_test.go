package graph

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"retrieverkeys/apikey"
)

// journal is a catalog whose keys can be changed. It counts what is read.
type journal struct {
	*catalog

	own                              apikey.Key
	pages, revoked, retrievers, made atomic.Int64
	failing                          bool // after the first read of retrievers
}

func (l *journal) KeysByHash(context.Context, string) ([]apikey.Key, error) {
	return []apikey.Key{l.own}, nil
}

func (l *journal) CurrentKeys(_ context.Context, _ apikey.InternalID, ids ...apikey.ID) (found []apikey.Key, err error) {
	for _, id := range ids {
		found = append(found, key(string(id)))
	}
	return found, nil
}

func (l *journal) ChangeKey(context.Context, apikey.Change) (bool, error) {
	l.revoked.Add(1)
	return true, nil
}

func (l *journal) InsertKey(context.Context, apikey.Key, apikey.Event) error {
	l.made.Add(1)
	return nil
}

func (l *journal) CountKeys(context.Context, apikey.InternalID, apikey.KeyConditions) (int, error) {
	return int(100 - l.revoked.Load()), nil
}

func (l *journal) KeyPages(ctx context.Context, tenant apikey.InternalID, ids []apikey.RetrieverID, r apikey.KeyList) ([][]apikey.Key, error) {
	l.pages.Add(1)
	return l.catalog.KeyPages(ctx, tenant, ids, r)
}

func (l *journal) Retrievers(ctx context.Context, tenant apikey.InternalID, ids []apikey.RetrieverID) ([]apikey.Retriever, error) {
	if l.retrievers.Add(1) > 1 && l.failing {
		return nil, apikey.Outage(context.DeadlineExceeded)
	}
	return l.catalog.Retrievers(ctx, tenant, ids)
}

// run runs an operation as a key with these scopes, in ns_1, with that limit of documents.
func (l *journal) run(t *testing.T, reads int, query string, scopes ...apikey.Scope) string {
	t.Helper()
	l.catalog = expecting("")
	l.own = apikey.Key{ID: "key_own", Hash: "h", Stored: apikey.Active, Type: apikey.Standard, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Admin}, Scopes: scopes}
	limits := limits
	limits.Reads = reads
	h := NewHandler(Options{Service: &apikey.Service{Store: l}, Introspection: IntrospectionPublic, Limits: limits, Logger: slog.New(slog.DiscardHandler)})
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	ctx := apikey.WithNamespace(apikey.WithCaller(t.Context(), apikey.Caller{Key: &l.own}), "ns_1")
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/graphql", strings.NewReader(string(body)))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Body.String()
}

var inNamespace = apikey.Scope{ResourceType: apikey.ResourceNamespace, ResourceID: "ns_1"}

// Without this, a mutation reads any number of documents for what its payload selects.
func TestPayloadsHaveABudget(t *testing.T) {
	lists := aliases(50, `apiKeys(first: 1, filter: {createdBy: "u%02d"}) { results { id } }`)
	l := &journal{}
	got := l.run(t, 100, `mutation { revokeApiKeys(input: {ids: ["key_1_05_01"], dryRun: true}) { results { outcome apiKey { id retrievers { results { `+lists+` } } } } } }`)
	if n := l.pages.Load(); n > 10 || !strings.Contains(got, "MAX_READS") || !strings.Contains(got, `"outcome":"WOULD_REVOKE"`) || !strings.Contains(got, `"id":"key_1_05_01"`) {
		t.Errorf("%d pages: %.500s", n, got)
	}
}

// Without this, a payload shows what was read before its mutation.
func TestPayloadsShowWhatTheirMutationDid(t *testing.T) {
	const total = `{ apiKey { retrievers { results { namespace { apiKeys { total } } } } } }`
	got := (&journal{}).run(t, 0, `mutation { a: revokeApiKey(input: {id: "key_1_05_01"}) `+total+` b: revokeApiKey(input: {id: "key_1_05_02"}) `+total+` }`)
	if !strings.Contains(got, `"total":99`) || !strings.Contains(got, `"total":98`) {
		t.Error(got)
	}
}

// Without this, an outage after a key was created takes its plaintext.
func TestAnOutageTakesNoPlaintext(t *testing.T) {
	l := &journal{failing: true}
	got := l.run(t, 0, `mutation { createApiKey(input: {retrieverId: "ret_1_05", name: "n"}) { key apiKey { name viewerCanRevoke retrievers { total } } } }`, inNamespace)
	if l.made.Load() != 1 || !strings.Contains(got, `"key":"ret_sk_`) || !strings.Contains(got, `"viewerCanRevoke":false,"retrievers":null`) || !strings.Contains(got, "UNAVAILABLE") {
		t.Error(l.made.Load(), got)
	}
}

// Without this, lists of keys that begin with the same key are taken for one another.
func TestListsThatBeginAlike(t *testing.T) {
	const keys = `{ ... on Retriever { apiKeys { results { viewerCanRevoke retrievers { results { id } } } } } }`
	got := (&journal{}).run(t, 0, `{ a: nodes(ids: ["ret_1_05", "ret_1_07"]) `+keys+` b: nodes(ids: ["ret_1_05", "ret_2_07"]) `+keys+` }`)
	if strings.Contains(got, "false") || strings.Contains(got, "errors") || strings.Count(got, `"viewerCanRevoke":true`) != 24 || strings.Count(got, `"id":"ret_2_07"`) != 7 {
		t.Error(got)
	}
}

// Without this, the cost of a list shows that a retriever exists that the caller cannot see.
func TestHiddenRetrieversCostNothing(t *testing.T) {
	lists := aliases(50, `apiKeys(first: 1, filter: {search: "u%02d"}) { results { id } }`)
	var answers []string
	for _, id := range []string{"ret_2_05", "ret_9_99"} {
		l := &journal{}
		answers = append(answers, strings.ReplaceAll(l.run(t, 600, fmt.Sprintf(`{ nodes(ids: [%q]) { id ... on Retriever { `+lists+` } } node(id: %q) { ... on Retriever { `+lists+` } } }`, id, id), inNamespace), id, "ID"))
		if n := l.pages.Load(); n != 0 {
			t.Errorf("%s: %d pages were read", id, n)
		}
	}
	if answers[0] != answers[1] {
		t.Errorf("got  %s\nwant %s", answers[0], answers[1])
	}
}

// Too many ids are refused before anything is read, and the other fields are answered.
func TestTooManyNodesReadNothing(t *testing.T) {
	l := &journal{}
	got := l.run(t, 0, `{ viewer { keyId } nodes(ids: [`+strings.Repeat(`"ret_1_05",`, 101)+`]) { ... on Retriever { apiKeys { total } } } }`)
	if n := l.pages.Load(); n != 0 || !strings.Contains(got, `"viewer":{"keyId":"key_own"},"nodes":null`) || !strings.Contains(got, "at most 100") {
		t.Errorf("%d pages: %s", n, got)
	}
}
