package graph

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"retrieverkeys/apikey"
	"retrieverkeys/graph/operation"
)

// somebody is a known caller without permissions.
var somebody = apikey.Caller{Key: &apikey.Key{Type: apikey.Standard, InternalID: "int_1"}}

// observedHandler returns a handler that records the metrics of operations.
func observedHandler(manifest Manifest) (ask func(t *testing.T, caller apikey.Caller, body map[string]any), counted func() map[string]int) {
	counts := map[string]int{}
	h := NewHandler(Options{
		Service: &apikey.Service{Store: expecting("")}, Introspection: IntrospectionPublic, Limits: limits, Manifest: manifest, Logger: slog.New(slog.DiscardHandler),
		Metrics: Metrics{
			Operation:    func(operation, kind, outcome string, _ time.Duration) { counts[operation+" "+kind+" "+outcome]++ },
			LimitRefusal: func(limit string) { counts[limit]++ },
			CacheLookups: func(cache string) func(bool) { return func(hit bool) { counts[fmt.Sprint(cache, " ", hit)]++ } },
		},
	})
	return func(t *testing.T, caller apikey.Caller, body map[string]any) {
			t.Helper()
			text, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequestWithContext(apikey.WithCaller(t.Context(), caller), http.MethodPost, "/graphql", strings.NewReader(string(text)))
			r.Header.Set("Content-Type", "application/json")
			h.ServeHTTP(httptest.NewRecorder(), r)
		}, func() map[string]int {
			now := counts
			counts = map[string]int{}
			return now
		}
}

// The name of an operation is any text that a client chooses: a secret, or one of a million. It must not become a label.
func TestLabelsOfOperationsAreFew(t *testing.T) {
	manifest := Manifest{"whoami": "query Me { serverInfo { version } }", "twin": "query Me { serverInfo { version } }"}
	ask, counted := observedHandler(manifest)
	query := func(name string) map[string]any {
		return map[string]any{"query": "query " + name + " { serverInfo { version } }"}
	}
	for _, c := range []struct {
		name   string
		caller apikey.Caller
		body   map[string]any
		want   string
	}{
		{"named", somebody, query("Keys"), operation.Hash("Keys")[:8] + " query ok"},
		{"named by an anonymous caller, after a known one", unknown["an anonymous caller"], query("Keys"), operation.Hash("Keys")[:8] + " query ok"},
		{"named by an anonymous caller", unknown["an anonymous caller"], query("Fresh"), "other query ok"},
		{"named with a retriever's key, after a known caller", unknown["a caller with a retriever's key"], query("Keys"), operation.Hash("Keys")[:8] + " query ok"},
		{"named with a retriever's key", unknown["a caller with a retriever's key"], query("Fresh"), "other query ok"},
		{"named with a key of an unreadable type", unknown["a caller with a key of an unreadable type"], query("Fresh"), "other query ok"},
		{"not named", somebody, map[string]any{"query": "{ serverInfo { version } }"}, "unnamed query ok"},
		{"with a long name", somebody, query(strings.Repeat("x", 101)), "other query ok"},
		{"of the manifest", somebody, map[string]any{"documentId": "whoami"}, "twin query ok"}, // the smaller of the ids with this text
		{"of the manifest, by its text", somebody, map[string]any{"query": manifest["whoami"]}, "twin query ok"},
		{"failed", somebody, map[string]any{"query": `query Keys { retriever(id: "") { id } }`}, operation.Hash("Keys")[:8] + " query FORBIDDEN"},
		{"a mutation", somebody, map[string]any{"query": `mutation Keys { revokeApiKey(input: {id: "x"}) { apiKey { id } } }`}, operation.Hash("Keys")[:8] + " mutation INTERNAL_SERVER_ERROR"},
		{"not parsed", somebody, map[string]any{"query": "{"}, "none none GRAPHQL_PARSE_FAILED"},
		{"not valid", somebody, map[string]any{"query": "query Keys { nothing }"}, "none none GRAPHQL_VALIDATION_FAILED"},
	} {
		ask(t, c.caller, c.body)
		if got := counted(); got[c.want] != 1 {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
	for i := range 10 * mostNames {
		ask(t, somebody, query(fmt.Sprint("Name", i)))
	}
	got := counted()
	if n := len(got) - len([]string{"documents false", "documents true", "other"}); n >= mostNames {
		t.Errorf("%d labels", n)
	}
	for label := range got {
		if strings.Contains(label, "Name") {
			t.Errorf("got the label %s", label)
		}
	}
}

// A label must copy the operation's name, because a substring keeps the whole request body in memory.
func TestLabelsKeepNoTexts(t *testing.T) {
	ask, _ := observedHandler(nil)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range mostNames {
		ask(t, somebody, map[string]any{"query": fmt.Sprint("query Name", i, " { __typename }", strings.Repeat(" ", 1<<18))})
	}
	if after := heap(); after > before+8<<20 {
		t.Errorf("got %d MiB kept", (after-before)>>20)
	}
	ask(t, somebody, map[string]any{"query": "{ __typename }"}) // keeps the handler in memory until here
}

// An operator who sets a limit must see which limit refuses operations.
func TestRefusalsAreToldByTheirLimit(t *testing.T) {
	representations := make([]any, 501)
	for i := range representations {
		representations[i] = map[string]any{"__typename": "ApiKey", "id": fmt.Sprint(i)}
	}
	ask, counted := observedHandler(nil)
	for limit, body := range map[string]map[string]any{
		"MAX_DEPTH":       {"query": nested(7)},
		"MAX_ALIASES":     {"query": "{" + aliases(101, "__typename") + "}"},
		"MAX_ROOT_FIELDS": {"query": "{" + strings.Repeat(" serverInfo { version }", 101) + "}"},
		"MAX_DIRECTIVES":  {"query": "{ __typename" + strings.Repeat(" @include(if: true)", 11) + "}"},
		"MAX_TOKENS":      {"query": "{" + strings.Repeat(" __typename", 15_000) + "}"},
		"MAX_ENTITIES":    {"query": "query($r: [_Any!]!) { _entities(representations: $r) { __typename } }", "variables": map[string]any{"r": representations}},
		"MAX_COMPLEXITY":  {"query": "{ retrievers(first: 1000) { results { apiKeys(first: 1000) { results { keyId name } } } } }"},
	} {
		ask(t, somebody, body)
		if got := counted(); got[limit] != 1 {
			t.Errorf("%s: %v", limit, got)
		}
	}
	ask(t, somebody, map[string]any{"query": "{ viewer {" + strings.Repeat(" keyId", 5_000) + "} }"}) // exceeds the comparisons that MAX_ALIASES allows
	ask(t, somebody, map[string]any{"query": strings.Repeat("query { ...F } ", 500) + "fragment F on Query { retriever(id: 1) { apiKeys(filter: {status: [" +
		strings.Repeat("ACTIVE ", 6_000) + "]}) { total } } }"}) // exceeds the values that MAX_TOKENS allows, with the fragment spread
	if got := counted(); got["MAX_ALIASES"] != 1 || got["MAX_TOKENS"] != 1 {
		t.Errorf("limits derived from settings: got %v", got)
	}
	ask(t, somebody, map[string]any{"query": "{ __typename }"})
	if diff := cmp.Diff(map[string]int{"unnamed query ok": 1, "documents false": 1}, counted()); diff != "" {
		t.Error(diff)
	}
}

// Without these metrics, nobody notices a cache that does not work.
func TestLookupsInCachesAreTold(t *testing.T) {
	ask, counted := observedHandler(nil)
	text := "{ serverInfo { version } }"
	hashed := map[string]any{"persistedQuery": map[string]any{"version": 1, "sha256Hash": operation.Hash(text)}}
	ask(t, somebody, map[string]any{"extensions": hashed})
	ask(t, somebody, map[string]any{"extensions": hashed, "query": text})
	ask(t, somebody, map[string]any{"extensions": hashed})
	ask(t, somebody, map[string]any{"extensions": hashed}) // a document is kept from its second time on
	want := map[string]int{"texts false": 1, "texts true": 2, "documents false": 2, "documents true": 1, "unnamed query ok": 3}
	if diff := cmp.Diff(want, counted()); diff != "" {
		t.Error(diff)
	}
}

// unknown are callers who count as unknown. Retriever keys are in web pages, and a key whose type cannot be read may be one.
var unknown = map[string]apikey.Caller{
	"an anonymous caller":                       {},
	"a caller with a retriever's key":           {Key: &apikey.Key{Type: apikey.RetrieverKey, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Admin}}},
	"a caller with a key of an unreadable type": {Key: &apikey.Key{Type: apikey.UnreadableType, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Admin}}},
}
