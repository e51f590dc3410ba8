package web_test

import (
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"retrieverkeys/web"
)

// getPlayground asks for the page as a browser would, through all of the handler.
func getPlayground(t *testing.T) (h http.Header, page string) {
	t.Helper()
	handler := web.NewHandler(web.Options{Playground: true, Logger: slog.New(slog.DiscardHandler)})
	rec := httptest.NewRecorder()
	handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("GET / answered %d", rec.Code)
	}
	return rec.Header(), rec.Body.String()
}

func TestPlaygroundHeaders(t *testing.T) {
	h, _ := getPlayground(t)
	for name, want := range map[string]string{
		"Content-Type":           "text/html; charset=utf-8",
		"Cache-Control":          "no-store",
		"Referrer-Policy":        "no-referrer",
		"X-Content-Type-Options": "nosniff",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// A policy that is too narrow leaves the page blank, one that is too wide lets a script in that reads keys.
func TestPlaygroundPolicy(t *testing.T) {
	h, page := getPlayground(t)
	if n := len(h.Values("Content-Security-Policy")); n != 1 {
		t.Fatalf("%d policies; browsers apply all of them", n)
	}
	policy := map[string][]string{}
	for directive := range strings.SplitSeq(h.Get("Content-Security-Policy"), "; ") {
		name, sources, _ := strings.Cut(directive, " ")
		policy[name] = strings.Fields(sources)
	}

	hashOf := func(element string) string {
		_, rest, _ := strings.Cut(page, "<"+element+">")
		content, _, found := strings.Cut(rest, "</"+element+">")
		if !found || strings.Contains(rest, "<"+element+">") {
			t.Fatalf("want one inline <%s>", element)
		}
		sum := sha256.Sum256([]byte(content))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	const npm = "https://cdn.jsdelivr.net/npm/"
	for name, want := range map[string][]string{
		"default-src": {"'none'"},
		"script-src": {
			npm + "react@18.2.0/umd/react.production.min.js",
			npm + "react-dom@18.2.0/umd/react-dom.production.min.js",
			npm + "graphiql@4.1.2/graphiql.min.js",
			hashOf("script"),
		},
		"style-src": {
			npm + "graphiql@4.1.2/graphiql.min.css",
			hashOf("style"),
			"'sha256-nzTgYzXYDNe6BAHiiI7NNlfK8n/auuOAhh2t92YvuXo='", // GraphiQL's dialogs
		},
		"img-src":         {"data:"},
		"font-src":        {"data:"},
		"connect-src":     {"'self'"},
		"base-uri":        {"'none'"},
		"form-action":     {"'none'"},
		"frame-ancestors": {"'none'"},
	} {
		if got := policy[name]; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		delete(policy, name)
	}
	if len(policy) > 0 {
		t.Errorf("more than wanted: %v", policy)
	}
}

// What comes from elsewhere runs beside keys, so it must be what it was when it was looked at. Browsers check that only
// of what they fetch with CORS.
func TestPlaygroundPinsItsAssets(t *testing.T) {
	_, page := getPlayground(t)
	assets := regexp.MustCompile(`<(script|link)\b[^>]*"https?://[^>]*>`).FindAllString(page, -1)
	if len(assets) != 4 || strings.Count(page, "https://") != 4 {
		t.Errorf("want four assets and no other address, got %q", assets)
	}
	for _, asset := range assets {
		for _, want := range []string{`@\d+\.\d+\.\d+/`, `integrity="sha256-[A-Za-z0-9+/]{43}="`, `crossorigin="anonymous"`} {
			if !regexp.MustCompile(want).MatchString(asset) {
				t.Errorf("%s\nlacks %s", asset, want)
			}
		}
	}
}

// Newcomers press the button before they read anything.
func TestPlaygroundExampleIsValid(t *testing.T) {
	sdl, err := os.ReadFile("../schema.graphqls")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "schema.graphqls", Input: string(sdl)})
	if err != nil {
		t.Fatal(err)
	}
	_, page := getPlayground(t)
	_, rest, _ := strings.Cut(page, `<script type="application/graphql" id="example">`)
	example, _, found := strings.Cut(rest, "</script>")
	if !found {
		t.Fatal("the page has no example")
	}
	document, errs := gqlparser.LoadQueryWithRules(schema, example, rules.NewDefaultRules())
	if errs != nil {
		t.Fatal(errs)
	}
	if len(document.Operations) != 1 || document.Operations[0].Name == "" || len(document.Operations[0].VariableDefinitions) != 0 {
		t.Error("want one operation, with a name and without variables")
	}
}
