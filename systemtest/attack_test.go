package systemtest

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"retrieverkeys/program/programtest"
)

// If a proxy and the server parse a request differently, an attacker can smuggle requests past the proxy. Other protocols and other paths to
// the same resource must not exist by accident.
func TestHTTPIsReadStrictly(t *testing.T) {
	s := programtest.Serve(t, programtest.Seeded(t, programtest.Embedded(t)).Env)
	const me = `{"query":"{ viewer { keyId } }"}`
	post := func(headers ...string) string {
		return "POST /graphql HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nAuthorization: Bearer " + programtest.Token("admin") + "\r\n" +
			strings.Join(append(headers, fmt.Sprintf("Content-Length: %d", len(me)), "", me), "\r\n")
	}
	get := func(method, target string) string {
		return method + " " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " + programtest.Token("admin") + "\r\nX-Namespace: production\r\n\r\n"
	}
	for _, c := range []struct {
		name, request string
		status        int
		want          string
	}{
		{"a plain request", post(), 200, "key_caller_admin"},
		{"HTTP/1.0", strings.Replace(post(), "HTTP/1.1", "HTTP/1.0", 1), 200, "key_caller_admin"},
		{"an absolute URL", get("GET", "http://elsewhere.example/graphql?query=%7B__typename%7D"), 200, "Query"},
		{"an unsupported protocol", post("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"), 200, "key_caller_admin"},
		{"a WebSocket", post("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 200, "key_caller_admin"},
		{"an unknown expectation", post("Expect: 200-ok"), 417, ""},
		{"two lengths", post("Content-Length: 5"), 400, ""},
		{"a length and chunks", post("Transfer-Encoding: chunked"), 400, ""},
		{"another transfer encoding", post("Transfer-Encoding: gzip"), 501, ""},
		{"a compressed body", post("Content-Encoding: gzip"), 415, "uncompressed"},
		{"a folded header", post("X-Namespace: production", " Authorization: Bearer x"), 200, "key_caller_admin"},
		{"a space before the colon", post("X-Namespace : production"), 400, ""},
		{"a NUL in a header", post("X-Namespace: produc\x00tion"), 400, ""},
		{"two hosts", post("Host: y"), 400, ""},
		{"a header of 20 KB", post("X-Namespace: " + strings.Repeat("a", 20<<10)), 431, ""},
		{"a bearer of a megabyte", post("Authorization: Bearer " + strings.Repeat("a", 1<<20)), 431, ""},
		{"a URL of 20 KB", get("GET", "/graphql?query="+strings.Repeat("a", 20<<10)), 431, ""},
		{"HEAD", get("HEAD", "/graphql"), 405, ""},
		{"OPTIONS", get("OPTIONS", "/graphql"), 405, "POST"},
		{"TRACE", get("TRACE", "/graphql"), 405, "POST"},
		{"a method in lower case", get("get", "/graphql"), 405, "POST"},
		{"a path in another case", get("GET", "/GraphQL"), 404, "Nothing exists at this path"},
		{"a path with a trailing slash", get("GET", "/graphql/"), 404, "Nothing exists at this path"},
		{"a path with a NUL", get("GET", "/graphql%00"), 404, "Nothing exists at this path"},
		{"a path with ..", get("GET", "/healthz/../graphql"), 307, ""},
		{"a path of another host", get("GET", "//elsewhere.example/..//healthz"), 307, ""},
		{"a retriever that is a path", get("GET", "/v1/retrievers/%2e%2e%2fgraphql/api-keys"), 404, "No such retriever"},
	} {
		got := s.SendRaw(c.request)
		if got.Status != c.status || !strings.Contains(got.Body, c.want) {
			t.Errorf("%s: %d %s", c.name, got.Status, got.Body)
		}
		if to := got.Header.Get("Location"); to != "" && (!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//")) {
			t.Errorf("%s: sent to %s", c.name, to)
		}
	}
}

// Browsers must not guess the type of any response, store it, show it in a frame, or send its URL to other sites.
func TestEveryAnswerIsHardened(t *testing.T) {
	s := programtest.Serve(t, programtest.Seeded(t, programtest.Embedded(t)).Env)
	for _, c := range []struct {
		method, path, body, bearer string
		kept                       bool // caches can store it, because it is the same for everyone
	}{
		{"POST", "/graphql", `{"query":"{ viewer { keyId } }"}`, programtest.Token("admin"), false},
		{"POST", "/graphql", `{`, programtest.Token("admin"), false},
		{"POST", "/graphql", `{"query":"{ viewer { keyId } }"}`, "bad", false},
		{"GET", "/v1/retrievers/main/api-keys", "", programtest.Token("admin"), false},
		{"GET", "/v1/retrievers/none/api-keys", "", programtest.Token("admin"), false},
		{"POST", "/v1/retrievers/main/api-keys", `{"name":"a"}`, programtest.Token("admin"), false},
		{"PUT", "/v1/retrievers/main/api-keys", "", programtest.Token("admin"), false},
		{"GET", "/openapi.json", "", "", true},
		{"GET", "/healthz", "", "", false},
		{"GET", "/", "", "", false},
		{"GET", "/none", "", "", false},
	} {
		h := s.Request(c.method, c.path, c.body, map[string]string{"Authorization": strings.TrimSuffix("Bearer "+c.bearer, "Bearer "), "X-Namespace": "production"}).Header
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" || !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") ||
			!c.kept && h.Get("Cache-Control") != "no-store" || h.Get("X-Request-Id") == "" || h.Get("Server") != "" {
			t.Errorf("%s %s: %v", c.method, c.path, h)
		}
	}
}

// A name must not act as an operator or a pattern of the store or as a path, and must not make a request fail.
func TestOddNamesAreAbsent(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		s := programtest.Serve(t, programtest.Seeded(t, d).Env)
		for _, name := range []string{
			`{"$ne":null}`, `$ne`, `$where`, `.*`, `*`, `ret_*`, `main\x00`, "main\x00", "\xff", "m\u0430in", "MAIN", "main ", "../main", "null", "'", `"`, strings.Repeat("a", 10_000),
		} {
			got := map[string]programtest.Answer{
				"REST, retriever": s.Request(http.MethodGet, "/v1/retrievers/"+url.PathEscape(name)+"/api-keys", "", map[string]string{"Authorization": "Bearer " + programtest.Token("admin"), "X-Namespace": "production"}),
				"REST, key":       s.Request(http.MethodDelete, "/v1/retrievers/main/api-keys/"+url.PathEscape(name), "", map[string]string{"Authorization": "Bearer " + programtest.Token("admin"), "X-Namespace": "production"}),
				"REST, namespace": s.Request(http.MethodGet, "/v1/retrievers/main/api-keys?namespace="+url.QueryEscape(name), "", map[string]string{"Authorization": "Bearer " + programtest.Token("admin")}),
			}
			for place, got := range got {
				if got.Status != http.StatusNotFound {
					t.Errorf("%s %q: %d %s", place, name, got.Status, got.Body)
				}
			}
			a := s.Query("admin", "production", `query($id: ID!) { retriever(id: $id) { id } apiKey(id: $id) { id } node(id: $id) { id } namespace(id: $id) { id } }`, programtest.Fields{"id": name})
			if codes := strings.Join(a.Codes(t), " "); codes != "NOT_FOUND NOT_FOUND NOT_FOUND NOT_FOUND" {
				t.Errorf("%q: %s", name, a.Body)
			}
			if name == "MAIN" || name == "'" { // a search can match it
				continue
			}
			a = s.Query("admin", "production", `query($s: String!) { retrievers(search: $s) { total } retriever(id: "main") { apiKeys(filter: {search: $s}) { total } } }`, programtest.Fields{"s": name})
			if len(name) > 200 {
				if codes := strings.Join(a.Codes(t), " "); codes != "BAD_USER_INPUT BAD_USER_INPUT" {
					t.Errorf("searching for %d characters: %s", len(name), codes)
				}
			} else if strings.Count(a.Body, `"total":0`) != 2 {
				t.Errorf("searching for %q: %s", name, a.Body)
			}
		}
	})
}

// Every test that docs/proofs.md names exists. Without this, a renamed test leaves a promise without proof.
func TestProofsExist(t *testing.T) {
	declared := map[string]bool{}
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)`)
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == "node_modules":
			return filepath.SkipDir
		case strings.HasSuffix(path, "_test.go"):
			text, err := os.ReadFile(path)
			for _, found := range declaration.FindAllSubmatch(text, -1) {
				declared[string(found[1])] = true
			}
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../docs/proofs.md")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w+`).FindAllString(string(text), -1)
	if len(names) == 0 {
		t.Error("docs/proofs.md names no test")
	}
	for _, name := range names {
		if !declared[name] {
			t.Errorf("docs/proofs.md names %s, which does not exist", name)
		}
	}
}
