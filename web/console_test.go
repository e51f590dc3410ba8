package web

import (
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

func console() http.Handler {
	return NewHandler(Options{Console: true, Logger: slog.New(slog.DiscardHandler)})
}

// A policy that is too wide lets a stored name run code in a page that has a key.
func TestConsoleHeaders(t *testing.T) {
	for _, tt := range []struct{ path, contentType, cache string }{
		{"/", "text/html; charset=utf-8", "no-store"},
		{"/console/main.js", "text/javascript; charset=utf-8", "no-cache"},
		{"/console/style.css", "text/css; charset=utf-8", "no-cache"},
		{"/console/icon.svg", "image/svg+xml", "no-cache"},
		{"/console/operations.graphql", "application/graphql; charset=utf-8", "no-cache"},
	} {
		rec := get(t, console(), tt.path)
		if rec.Code != http.StatusOK {
			t.Fatalf("GET %s answered %d", tt.path, rec.Code)
		}
		for name, want := range map[string]string{
			"Content-Type":           tt.contentType,
			"Cache-Control":          tt.cache,
			"Referrer-Policy":        "no-referrer",
			"X-Content-Type-Options": "nosniff",
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; " +
				"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
		} {
			if got := rec.Header().Values(name); len(got) != 1 || got[0] != want {
				t.Errorf("GET %s: %s: %q, want %q", tt.path, name, got, want)
			}
		}
		again := httptest.NewRequest(http.MethodGet, tt.path, nil)
		again.Header.Set("If-None-Match", rec.Header().Get("ETag"))
		unchanged := httptest.NewRecorder()
		console().ServeHTTP(unchanged, again)
		if unchanged.Code != http.StatusNotModified {
			t.Errorf("GET %s again: %d, want 304", tt.path, unchanged.Code)
		}
	}
	for _, path := range []string{"/console/", "/console/README.md", "/console/index.html", "/console/../console.go"} {
		if rec := get(t, console(), path); rec.Code == http.StatusOK {
			t.Errorf("GET %s answered 200", path)
		}
	}
	if rec := get(t, NewHandler(Options{Logger: slog.New(slog.DiscardHandler)}), "/"); rec.Code != http.StatusNotFound {
		t.Errorf("without the console, GET / answered %d", rec.Code)
	}
}

// Every operation must be valid and be used, so that a change of the schema that breaks the console breaks the build.
func TestConsoleOperations(t *testing.T) {
	sdl, err := os.ReadFile("../schema.graphqls")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "schema.graphqls", Input: string(sdl)})
	if err != nil {
		t.Fatal(err)
	}
	scripts := ""
	for name, content := range readConsole(t) {
		if path.Ext(name) == ".js" {
			scripts += content
		}
	}
	named := map[string]bool{}
	for _, text := range ConsoleOperations() {
		document, errs := gqlparser.LoadQueryWithRules(schema, text, rules.NewDefaultRules())
		if errs != nil {
			t.Errorf("%v in\n%s", errs, text)
			continue
		}
		if len(document.Operations) != 1 {
			t.Fatalf("want one operation in\n%s", text)
		}
		name := document.Operations[0].Name
		named[name] = true
		if !strings.Contains(scripts, `"`+name+`"`) {
			t.Errorf("no script uses %s", name)
		}
		for _, fragment := range document.Fragments {
			if !strings.Contains(text, "..."+fragment.Name) {
				t.Errorf("%s has the fragment %s, which it does not use", name, fragment.Name)
			}
		}
	}
	if len(named) < 10 {
		t.Errorf("found only %d operations", len(named))
	}
	for _, m := range regexp.MustCompile(`\b(?:ask|events)\("(\w+)"`).FindAllStringSubmatch(scripts, -1) {
		if !named[m[1]] {
			t.Errorf("a script asks %s, which is not an operation", m[1])
		}
	}
}

// readConsole returns the console's files by name.
func readConsole(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := fs.ReadDir(consoleFiles, "console")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		content, err := consoleFiles.ReadFile("console/" + entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = string(content)
	}
	return files
}

// The console's files have fewer bytes than this together, as they are served.
const consoleSize = 80_000

// The console stays small, stays alone, and never makes HTML or code of text. It works below a path prefix, so no URL is absolute.
func TestConsoleIsSmallAndSelfContained(t *testing.T) {
	total := 0
	for name, content := range readConsole(t) {
		total += len(content)
		for _, never := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser", "style=", "localStorage.setItem(key", "cdn"} {
			if strings.Contains(content, never) {
				t.Errorf("%s contains %s", name, never)
			}
		}
		for _, url := range regexp.MustCompile(`https?://[^\s"'<)]+`).FindAllString(content, -1) {
			if !slices.Contains([]string{"http://www.w3.org/2000/svg", "https://app.example.com", "https://*.example.com"}, url) {
				t.Errorf("%s names %s", name, url)
			}
		}
		if absolute := regexp.MustCompile(`(?:src|href|from|fetch\()\s*=?\s*["'\x60]/[^"'\x60]*`).FindString(content); absolute != "" {
			t.Errorf("%s has an absolute URL: %s", name, absolute)
		}
		if url := regexp.MustCompile(`url\([^)]*\)`).FindString(content); path.Ext(name) == ".css" && url != "" {
			t.Errorf("%s loads %s", name, url)
		}
	}
	if total >= consoleSize {
		t.Errorf("the console has %d bytes, want less than %d", total, consoleSize)
	}
}
