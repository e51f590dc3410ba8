package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// consoleFiles has the console as it is served. No build step changes it.
//
//go:embed console/*.html console/*.css console/*.js console/*.svg console/*.graphql
var consoleFiles embed.FS

// consolePolicy lets the console load its own files and call this server, and nothing else. Trusted Types make sure that it never turns
// text into HTML or code.
const consolePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; " +
	"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

var consoleTypes = map[string]string{
	".css": "text/css; charset=utf-8", ".graphql": "application/graphql; charset=utf-8", ".html": "text/html; charset=utf-8",
	".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

// routeConsole serves the console at / and its files below /console/. The files refer to each other, and to /graphql, by relative URLs, so
// the console works below a path prefix too.
func routeConsole(mux *http.ServeMux) {
	names, _ := fs.Glob(consoleFiles, "console/*")
	for _, name := range names {
		content, _ := consoleFiles.ReadFile(name)
		pattern, cache := "GET /"+name, "no-cache"
		if name == "console/index.html" {
			pattern, cache = "GET /{$}", "no-store" // so that browsers do not keep a page that has a key when people leave it
		}
		mux.Handle(pattern, compress(consoleFile(path.Ext(name), cache, content)))
	}
}

// consoleFile serves a file that browsers check for a new version each time, so that files of two versions do not mix.
func consoleFile(extension, cache string, content []byte) http.Handler {
	sum := sha256.Sum256(content)
	tag := `"` + hex.EncodeToString(sum[:12]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", consoleTypes[extension])
		h.Set("Cache-Control", cache)
		h.Set("ETag", tag)
		h.Set("Content-Security-Policy", consolePolicy)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
}

var (
	definitionName = regexp.MustCompile(`(?m)^(?:query|mutation|subscription|fragment) (\w+)`)
	fragmentSpread = regexp.MustCompile(`\.\.\.(\w+)`)
)

// ConsoleOperations returns the operations of the console by the SHA-256 of their texts, exactly as the console sends them: an operation
// and the fragments that it uses, separated by empty lines. Definitions in the file are separated in the same way.
func ConsoleOperations() map[string]string {
	file, _ := consoleFiles.ReadFile("console/operations.graphql")
	definitions, operations := map[string]string{}, map[string]string{}
	blocks := regexp.MustCompile(`\n{2,}`).Split(strings.TrimSpace(string(file)), -1)
	for _, block := range blocks {
		definitions[definitionName.FindStringSubmatch(block)[1]] = block
	}
	for _, block := range blocks {
		if strings.HasPrefix(definitionName.FindString(block), "fragment ") {
			continue
		}
		parts := []string{block}
		for i := 0; i < len(parts); i++ {
			for _, spread := range fragmentSpread.FindAllStringSubmatch(parts[i], -1) {
				if fragment := definitions[spread[1]]; !slices.Contains(parts, fragment) {
					parts = append(parts, fragment)
				}
			}
		}
		text := strings.Join(parts, "\n\n")
		sum := sha256.Sum256([]byte(text))
		operations[hex.EncodeToString(sum[:])] = text
	}
	return operations
}
