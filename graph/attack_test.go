package graph

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"retrieverkeys/apikey"
)

// panicking is a store that panics while the caller's hash is in memory.
type panicking struct{ apikey.Store }

const aHash = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"

func (panicking) Namespaces(context.Context, apikey.InternalID, []string) ([]apikey.Namespace, error) {
	panic(apikey.Invalid("", "a bug"))
}

// A bug in one field must not end the process or lose other fields, and the response must not show details. The log has the stack.
func TestAPanicIsTheErrorOfItsField(t *testing.T) {
	admin := apikey.Caller{Key: &apikey.Key{Type: apikey.Standard, InternalID: "int_1", Hash: aHash, Permissions: []apikey.Permission{apikey.Admin}}}
	for query, service := range map[string]*apikey.Service{
		`{ serverInfo { version } namespace { id } }`:        {Store: panicking{}}, // in a goroutine beside the request's
		`{ serverInfo { version } retriever(id: 1) { id } }`: {Store: panicking{}},
		`{ serverInfo { version } viewer { keyId } }`:        nil, // in the field's resolver
	} {
		var log strings.Builder
		h := NewHandler(Options{Service: service, Introspection: IntrospectionPublic, Limits: limits, Logger: slog.New(slog.NewTextHandler(&log, nil)), Version: "v1"})
		r := httptest.NewRequestWithContext(apikey.WithNamespace(apikey.WithCaller(t.Context(), admin), "ns_1"), http.MethodGet, "/graphql?query="+url.QueryEscape(query), nil)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		got := w.Body.String()
		if w.Code != http.StatusOK || !strings.Contains(got, `"serverInfo":{"version":"v1"}`) || strings.Count(got, `"INTERNAL_SERVER_ERROR"`) != 1 || strings.Contains(got, "bug") {
			t.Errorf("%s: %d %s", query, w.Code, got)
		}
		if !strings.Contains(log.String(), "goroutine ") || strings.Contains(log.String(), aHash) {
			t.Errorf("%s: the log has no stack, or the key's hash: %s", query, log.String())
		}
	}
}

// Cycles and very deep nesting must be refused before any code recurses into them.
func TestCirclesAreRefused(t *testing.T) {
	const n = 3000
	for query, want := range map[string]string{
		`{ ...A } fragment A on Query { ...A }`:                                                                            `spread fragment \"A\" within itself`,
		`{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }`:                                               `spread fragment \"A\" within itself`,
		`{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }`:                               "introspection depth",
		`{ __schema { types { ...T } } } fragment T on __Type { fields { type { fields { type { fields { name } } } } } }`: "introspection depth",
		"{ viewer" + strings.Repeat(" { viewer", n) + strings.Repeat(" }", n+1):                                            "nesting depth",
		"{" + strings.Repeat(" ... {", n) + " __typename" + strings.Repeat(" }", n+1):                                      "nesting depth",
		"{ retriever(id: " + strings.Repeat("[", n) + strings.Repeat("]", n) + ") { id } }":                                "nesting depth",
		"query($v: " + strings.Repeat("[", n) + "Int" + strings.Repeat("]", n) + ") { __typename }":                        "nesting depth",
	} {
		text, err := json.Marshal(asked(t, expecting(""), query, nil))
		if err != nil || !strings.Contains(string(text), want) || strings.Contains(string(text), `"data"`) || len(text) > 1000 {
			t.Errorf("%.100s: %s %v", query, text, err)
		}
	}
}

// If a cache or a firewall in front of the server reads a request differently, an attacker can get past it.
func TestRequestsAreReadOneWay(t *testing.T) {
	h := NewHandler(Options{Service: &apikey.Service{}, Introspection: IntrospectionPublic, Limits: limits, Logger: slog.New(slog.DiscardHandler)})
	const good = "query=%7B__typename%7D"
	for _, c := range []struct {
		query  string
		header http.Header // of a POST; nil for a GET
		status int
	}{
		{good, nil, http.StatusOK},
		{good + "&query=x", nil, http.StatusBadRequest},
		{good + ";query=x", nil, http.StatusBadRequest},
		{good + "&variables=%ff", nil, http.StatusBadRequest},
		{good + "&variables=%7B%22a%22:%22%ff%22%7D", nil, http.StatusBadRequest},
		{good + "&operationName=%ed%a0%80", nil, http.StatusBadRequest},
		{"query=%7B__typename%20%23%ff%0A%7D", nil, http.StatusBadRequest},
		{"", http.Header{"Content-Type": {"application/json"}}, http.StatusOK},
		{"", http.Header{"Content-Type": {"application/json", "text/plain"}}, http.StatusUnsupportedMediaType},
		{"", http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"identity"}}, http.StatusOK},
		{"", http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"identity", "gzip"}}, http.StatusUnsupportedMediaType},
	} {
		method := http.MethodGet
		if c.header != nil {
			method = http.MethodPost
		}
		r := httptest.NewRequestWithContext(t.Context(), method, "/graphql?"+c.query, strings.NewReader(`{"query":"{ __typename }"}`))
		r.Header = c.header
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != c.status {
			t.Errorf("%s %q %v: %d %s", method, c.query, c.header, w.Code, w.Body)
		}
	}
}
