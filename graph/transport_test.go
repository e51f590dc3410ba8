package graph

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"retrieverkeys/apikey"
)

func TestResponseMedia(t *testing.T) {
	for accept, want := range map[string]string{
		"":                                  mediaJSON,
		"*/*":                               mediaJSON,
		"application/*":                     mediaJSON,
		"image/png":                         mediaJSON,
		"nonsense;;, ,":                     mediaJSON,
		"application/json":                  mediaJSON,
		"application/graphql-response+json": mediaResponse,
		"application/graphql-response+json, application/json;q=0.9":              mediaResponse,
		"application/json;q=0.9, application/graphql-response+json":              mediaResponse,
		"application/graphql-response+json;q=0.1, application/json;q=0.2":        mediaJSON,
		"application/graphql-response+json;q=0, */*":                             mediaJSON,
		"application/graphql-response+json, application/json":                    mediaResponse,
		"APPLICATION/GRAPHQL-RESPONSE+JSON; charset=utf-8":                       mediaResponse,
		"text/html,application/xhtml+xml,application/xml;q=0.9,image/*,*/*;q=.8": mediaPage,
		"application/json, text/html;q=0.5":                                      mediaJSON,
	} {
		if got := responseMedia([]string{accept}, mediaJSON, mediaResponse, mediaPage); got != want {
			t.Errorf("%q: %s, want %s", accept, got, want)
		}
	}
}

// URLs are stored in many logs, so a key in one must be refused, in any form.
func TestKeysInURLsAreRefused(t *testing.T) {
	_, admin := apikey.NewAdminKey(apikey.Namespace{}, "", "", "", time.Now())
	secret := admin.Reveal()
	h := NewHandler(Options{Service: &apikey.Service{}, Introspection: IntrospectionPublic, Limits: limits, Logger: slog.New(slog.DiscardHandler), Playground: "playground"})
	for _, c := range []struct {
		name    string
		asked   url.Values
		refused bool
	}{
		{"the text", url.Values{"query": {`{ retriever(id: "` + secret + `") { id } }`}}, true},
		{"an escaped text", url.Values{"query": {`{ retriever(id: "\u0073\u{6B}_` + secret[3:] + `") { id } }`}}, true},
		{"a comment", url.Values{"query": {"{ __typename } #" + secret}}, true},
		{"a variable", url.Values{"query": {"{ __typename }"}, "variables": {`{"search":"` + secret + `"}`}}, true},
		{"inside a variable", url.Values{"query": {"{ __typename }"}, "variables": {`{"filter":{"search":["x` + secret + `"]}}`}}, true},
		{"an escaped variable", url.Values{"query": {"{ __typename }"}, "variables": {`{"search":"\u0073` + secret[1:] + `"}`}}, true},
		{"a variable's name", url.Values{"query": {"{ __typename }"}, "variables": {`{"` + secret + `":1}`}}, true},
		{"invalid JSON", url.Values{"query": {"{ __typename }"}, "variables": {`{` + secret}}, true},
		{"an operation's name", url.Values{"query": {"{ __typename }"}, "operationName": {secret}}, true},
		{"a second text", url.Values{"query": {"{ __typename }", secret}}, true},
		{"the beginning of a key", url.Values{"query": {"{ __typename }"}, "variables": {`{"search":"` + secret[:20] + `"}`}}, false},
	} {
		for _, accept := range []string{"application/json", "text/html"} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/graphql?"+c.asked.Encode(), nil)
			r.Header.Set("Accept", accept)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			got := w.Body.String()
			refused := w.Code == http.StatusBadRequest && strings.Contains(got, `"field":"`) && strings.Contains(got, `"code":"BAD_USER_INPUT"`) && strings.Contains(got, "by POST")
			if refused != c.refused || strings.Contains(got, secret) || strings.Contains(w.Header().Get("Location"), secret) {
				t.Errorf("%s, %s: %d %s %s", c.name, accept, w.Code, got, w.Header().Get("Location"))
			}
		}
	}
}
