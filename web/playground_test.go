package web

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

// get requests a path as a browser does.
func get(t *testing.T, handler http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	return rec
}

// playgroundWith serves the playground of a binary with these assets.
func playgroundWith(assets fs.FS) http.Handler {
	mux := http.NewServeMux()
	routePlayground(mux, assets)
	return mux
}

const npm = "https://cdn.jsdelivr.net/npm/"

var assetNames = []string{
	"react@18.2.0/umd/react.production.min.js",
	"react-dom@18.2.0/umd/react-dom.production.min.js",
	"graphiql@4.1.2/graphiql.min.js",
	"graphiql@4.1.2/graphiql.min.css",
}

// allAssets are placeholders for the files that `make playground` puts into a binary.
func allAssets() fstest.MapFS {
	files := fstest.MapFS{}
	for _, name := range assetNames {
		files[name] = &fstest.MapFile{Data: []byte("/* " + name + " */")}
	}
	return files
}

func TestPlaygroundHeaders(t *testing.T) {
	rec := get(t, NewHandler(Options{Playground: true, Logger: slog.New(slog.DiscardHandler)}), "/playground")
	if rec.Code != http.StatusOK {
		t.Fatalf("GET /playground answered %d", rec.Code)
	}
	for name, want := range map[string]string{
		"Content-Type":           "text/html; charset=utf-8",
		"Cache-Control":          "no-store",
		"Referrer-Policy":        "no-referrer",
		"X-Content-Type-Options": "nosniff",
	} {
		if got := rec.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if policies := rec.Header().Values("Content-Security-Policy"); len(policies) != 1 || !strings.Contains(policies[0], "script-src ") {
		t.Errorf("policies %q: want only the page's, because browsers apply all of them", policies)
	}
}

// A policy that is too narrow leaves the page blank. One that is too wide permits scripts that read keys.
func TestPlaygroundPolicy(t *testing.T) {
	for name, tt := range map[string]struct {
		assets         fs.FS
		scripts, style []string
	}{
		"from the CDN":    {fstest.MapFS{}, []string{npm + assetNames[0], npm + assetNames[1], npm + assetNames[2]}, []string{npm + assetNames[3]}},
		"from the binary": {allAssets(), []string{"'self'"}, []string{"'self'"}},
	} {
		t.Run(name, func(t *testing.T) {
			rec := get(t, playgroundWith(tt.assets), "/playground")
			page := rec.Body.String()
			policy := map[string][]string{}
			for directive := range strings.SplitSeq(rec.Header().Get("Content-Security-Policy"), "; ") {
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
			const dialogs = "'sha256-nzTgYzXYDNe6BAHiiI7NNlfK8n/auuOAhh2t92YvuXo='" // GraphiQL's
			for name, want := range map[string][]string{
				"default-src":     {"'none'"},
				"script-src":      append(tt.scripts, hashOf("script")),
				"style-src":       append(tt.style, hashOf("style"), dialogs),
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
				t.Errorf("unwanted directives: %v", policy)
			}
		})
	}
}

var assetElement = regexp.MustCompile(`<(?:script|link)\b[^>]*(?:src|href)="(playground/[^"]*|https?:[^"]*)"[^>]*>`)

// Scripts from the CDN run in a page with keys, so they must be exactly the reviewed files. Browsers check hashes only of files that they fetch
// with CORS.
func TestPlaygroundPinsItsAssets(t *testing.T) {
	page := get(t, playgroundWith(fstest.MapFS{}), "/playground").Body.String()
	var names []string
	for _, m := range assetElement.FindAllStringSubmatch(page, -1) {
		for _, want := range []string{`@\d+\.\d+\.\d+/`, `integrity="sha256-[A-Za-z0-9+/]{43}="`, `crossorigin="anonymous"`} {
			if !regexp.MustCompile(want).MatchString(m[0]) {
				t.Errorf("%s\nlacks %s", m[0], want)
			}
		}
		names = append(names, strings.TrimPrefix(m[1], npm))
	}
	slices.Sort(names)
	if want := slices.Sorted(slices.Values(assetNames)); !slices.Equal(names, want) {
		t.Errorf("the page refers to %q, want %q", names, want)
	}
	if strings.Count(page, "https://") != strings.Count(page, npm) {
		t.Errorf("the page names an address other than the CDN's")
	}
}

// With the assets in the binary, the page needs no internet.
func TestPlaygroundFromTheBinary(t *testing.T) {
	handler := playgroundWith(allAssets())
	page := get(t, handler, "/playground").Body.String()
	if strings.Contains(page, "https://") {
		t.Error("the page names an address on the internet")
	}
	fromCDN := get(t, playgroundWith(fstest.MapFS{}), "/playground").Body.String()
	if want := strings.ReplaceAll(fromCDN, npm, "playground/"); page != want {
		t.Error("the page differs in more than the addresses of its assets")
	}
	assets := assetElement.FindAllStringSubmatch(page, -1)
	if len(assets) != len(assetNames) {
		t.Fatalf("the page refers to %q", assets)
	}
	for _, m := range assets {
		rec := get(t, handler, "/"+m[1])
		wantType := "text/javascript; charset=utf-8"
		if strings.HasSuffix(m[1], ".css") {
			wantType = "text/css; charset=utf-8"
		}
		h := rec.Header()
		if rec.Code != http.StatusOK || h.Get("Content-Type") != wantType || h.Get("Cache-Control") != "public, max-age=31536000, immutable" {
			t.Errorf("GET /%s answered %d with %v", m[1], rec.Code, h)
		}
		if want := "/* " + strings.TrimPrefix(m[1], "playground/") + " */"; rec.Body.String() != want {
			t.Errorf("GET /%s answered %q, want %q", m[1], rec.Body, want)
		}
	}
	if rec := get(t, handler, "/playground/README.md"); rec.Code != http.StatusNotFound {
		t.Errorf("a file that is not an asset answered %d", rec.Code)
	}
}

// If a page loaded some assets from the binary and some from the CDN, its policy would have to allow both, and a failed build would go unnoticed.
func TestPlaygroundWithoutAnAssetUsesTheCDN(t *testing.T) {
	want := get(t, playgroundWith(fstest.MapFS{}), "/playground").Body.String()
	for _, name := range assetNames {
		assets := allAssets()
		delete(assets, name)
		handler := playgroundWith(assets)
		if get(t, handler, "/playground").Body.String() != want {
			t.Errorf("without %s the page is not the one for the CDN", name)
		}
		if rec := get(t, handler, "/playground/"+assetNames[(slices.Index(assetNames, name)+1)%len(assetNames)]); rec.Code != http.StatusNotFound {
			t.Errorf("without %s another asset answered %d", name, rec.Code)
		}
	}
}

// New users press the button before they read anything, so every example must run, and together they must show every field.
func TestPlaygroundExamples(t *testing.T) {
	sdl, err := os.ReadFile("../schema.graphqls")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "schema.graphqls", Input: string(sdl)})
	if err != nil {
		t.Fatal(err)
	}
	page := get(t, playgroundWith(fstest.MapFS{}), "/playground").Body.String()
	examples := regexp.MustCompile(`(?s)<script type="application/graphql"(?: data-variables='([^']*)')?>(.*?)</script>`).FindAllStringSubmatch(page, -1)
	if len(examples) != strings.Count(page, "application/graphql")-1 { // minus the one in the page's script
		t.Fatalf("found only %d examples", len(examples))
	}

	shown := map[string]bool{}
	var show func(ast.SelectionSet)
	show = func(selections ast.SelectionSet) {
		for _, selection := range selections {
			switch s := selection.(type) {
			case *ast.Field:
				field := s.ObjectDefinition.Name + "." + s.Name
				shown[field] = true
				for _, argument := range s.Arguments {
					shown[field+"("+argument.Name+")"] = true
				}
				show(s.SelectionSet)
			case *ast.InlineFragment:
				shown["... on "+s.TypeCondition] = true
				show(s.SelectionSet)
			}
		}
	}
	names := map[string]bool{}
	for i, example := range examples {
		document, errs := gqlparser.LoadQueryWithRules(schema, example[2], rules.NewDefaultRules())
		if errs != nil {
			t.Fatal(errs)
		}
		given := map[string]any{}
		if example[1] != "" {
			if err := json.Unmarshal([]byte(html.UnescapeString(example[1])), &given); err != nil {
				t.Fatalf("variables of example %d: %v", i, err)
			}
		}
		for _, operation := range document.Operations {
			if operation.Name == "" || names[operation.Name] {
				t.Errorf("the name %q is missing or not unique", operation.Name)
			}
			names[operation.Name] = true
			for _, variable := range operation.VariableDefinitions {
				if _, ok := given[variable.Variable]; !ok {
					t.Errorf("%s runs only when $%s is given", operation.Name, variable.Variable)
				}
			}
			show(operation.SelectionSet)
		}
		if i == 0 && (len(document.Operations) != 1 || document.Operations[0].Operation != ast.Query || len(given) > 0) {
			t.Error("want one query without variables first")
		}
	}

	want := []string{
		"Retriever.apiKeys(filter)", "Retriever.apiKeys(orderBy)", "Retriever.apiKeys(after)", "Retriever.auditEvents",
		"ApiKeyConnection.edges", "ApiKeyConnection.pageInfo", "Namespace.retrievers", "... on ApiKey",
	}
	for _, root := range []*ast.Definition{schema.Query, schema.Mutation} {
		for _, field := range root.Fields {
			if !strings.HasPrefix(field.Name, "__") {
				want = append(want, root.Name+"."+field.Name)
			}
		}
	}
	for _, what := range want {
		if !shown[what] {
			t.Errorf("no example of %s", what)
		}
	}
}
