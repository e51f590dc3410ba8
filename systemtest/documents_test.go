package systemtest

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"retrieverkeys/apikey"
	"retrieverkeys/program/programtest"
	"retrieverkeys/web"
)

// With PERSISTED_ONLY, a stolen key can run nothing but the operations of the manifest.
func TestOnlyTheManifestIsRun(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	file := filepath.Join(t.TempDir(), "manifest.json")
	manifest := `{"format":"apollo-persisted-query-manifest","version":1,"operations":[
		{"id":"whoami","name":"Me","type":"query","body":"query Me { viewer { keyId } }"},
		{"id":"revoke","name":"Revoke","type":"mutation","body":"mutation Revoke($id: ID!) { revokeApiKey(input: {id: $id}) { apiKey { status } } }"}]}`
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Env["PERSISTED_OPERATIONS"], d.Env["PERSISTED_ONLY"] = file, "true"
	s := programtest.Serve(t, d.Env)
	me := `{"data":{"viewer":{"keyId":"key_caller_admin"}}}`
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"by id", "POST", "/graphql", `{"documentId":"whoami"}`, 200, me},
		{"by an extension", "POST", "/graphql", `{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"whoami"}}}`, 200, me},
		{"by GET", "GET", "/graphql?documentId=whoami", "", 200, me},
		{"by its text", "POST", "/graphql", `{"query":"query Me { viewer { keyId } }"}`, 200, me},
		{"another text", "POST", "/graphql", `{"query":"{ viewer { keyId userId } }"}`, 403, "FORBIDDEN"},
		{"the schema", "POST", "/graphql", `{"query":"{ __schema { types { name } } }"}`, 403, "FORBIDDEN"},
		{"an unknown id", "POST", "/graphql", `{"documentId":"other"}`, 200, "PERSISTED_QUERY_NOT_FOUND"},
		{"a mutation by GET", "GET", "/graphql?documentId=revoke&variables=%7B%22id%22%3A%22key_full%22%7D", "", 405, "POST"},
		{"a mutation", "POST", "/graphql", `{"documentId":"revoke","variables":{"id":"key_full"}}`, 200, "REVOKED"},
	} {
		got := s.Request(c.method, c.path, c.body, map[string]string{"Authorization": "Bearer " + programtest.Token("admin"), "X-Namespace": "production"})
		if got.Status != c.status || !strings.Contains(got.Body, c.want) {
			t.Errorf("%s: %d %s", c.name, got.Status, got.Body)
		}
	}
}

// Without this, people with the console could not see keys while PERSISTED_ONLY is on, or the operations would stay open when the console is off.
func TestConsoleRunsWithPersistedOnly(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	file := filepath.Join(t.TempDir(), "manifest.json")
	if err := os.WriteFile(file, []byte(`{"whoami":"query Me { viewer { keyId } }"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Env["PERSISTED_OPERATIONS"], d.Env["PERSISTED_ONLY"] = file, "true"
	s := programtest.Serve(t, d.Env)
	d.Env["CONSOLE"] = "off"
	without := programtest.Serve(t, d.Env)
	for _, text := range web.ConsoleOperations() {
		body, err := json.Marshal(map[string]any{"query": text})
		if err != nil {
			t.Fatal(err)
		}
		headers := map[string]string{"Authorization": "Bearer " + programtest.Token("admin")}
		// Without variables, operations that need some are refused by GraphQL, which is after the manifest.
		if got := s.Request("POST", "/graphql", string(body), headers); strings.Contains(got.Body, "only runs operations of its manifest") {
			t.Errorf("with the console: %d %s for\n%s", got.Status, got.Body, text)
		}
		if got := without.Request("POST", "/graphql", string(body), headers); got.Status != http.StatusForbidden {
			t.Errorf("without the console: %d %s for\n%s", got.Status, got.Body, text)
		}
	}
}

// The manifest does not limit the vendor's REST endpoints. With REST=off, every caller gets the same responses as for paths that do not
// exist, and the OpenAPI document is not served.
func TestRESTIsClosed(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	d.Env["CORS_ALLOWED_ORIGINS"] = "https://app.example.com"
	open := programtest.Serve(t, d.Env)
	d.Env["REST"] = "off"
	closed := programtest.Serve(t, d.Env)
	for _, caller := range []string{"admin", "retriever", "revoked", ""} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			headers := map[string]string{"X-Namespace": "production", "X-Request-Id": "same", "Content-Type": "application/json"}
			if caller != "" {
				headers["Authorization"] = "Bearer " + programtest.Token(caller)
			}
			body := ""
			if method == "POST" {
				body = `{"name":"x"}`
			}
			unknown := closed.Request(method, "/v1/nothing", body, headers)
			unknown.Header.Del("Date")
			for _, path := range []string{
				"/v1/retrievers/main/api-keys", "/v1/retrievers/main/api-keys?include_revoked=maybe", "/v1/retrievers/main/api-keys/key_tie_b",
				"/v1/retrievers/absent/api-keys", "/v1/retrievers/main/api-keys/", "/openapi.json",
			} {
				got := closed.Request(method, path, body, headers)
				got.Header.Del("Date")
				if got.Status != http.StatusNotFound || cmp.Diff(unknown.Body, got.Body) != "" || cmp.Diff(unknown.Header, got.Header) != "" {
					t.Errorf("%s %s by %q: %d %v %s", method, path, caller, got.Status, got.Header, got.Body)
				}
			}
		}
	}
	headers := map[string]string{"Authorization": "Bearer " + programtest.Token("admin"), "X-Namespace": "production"}
	for _, path := range []string{"/v1/retrievers/main/api-keys", "/openapi.json"} {
		if got := open.Request("GET", path, "", headers); got.Status != http.StatusOK {
			t.Errorf("%s with REST=on: %d %s", path, got.Status, got.Body)
		}
	}
	if got := closed.Query("admin", "production", `{ apiKey(id: "key_tie_b") { status } }`); got.Body != `{"data":{"apiKey":{"status":"ACTIVE"}}}` {
		t.Errorf("the key: %s", got.Body)
	}
}

// A person who opens the GraphQL endpoint in a browser is redirected to the playground, by a relative URL: behind a path prefix an absolute one
// would lead elsewhere.
func TestBrowsersAreSentToThePlayground(t *testing.T) {
	const accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	visit := func(s *programtest.Server, path string) programtest.Answer {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return programtest.Answer{Status: resp.StatusCode, Header: resp.Header, Body: ""}
	}
	d := programtest.Seeded(t, programtest.Embedded(t))
	s := programtest.Serve(t, d.Env)
	for path, want := range map[string]string{
		"/graphql":                           "playground",
		"/graphql?query=%7B+viewer+%7D&x=1":  "playground#query=%7B+viewer+%7D",
		"/graphql?query=%7B%7D&variables={}": "playground#query=%7B%7D&variables=%7B%7D",
	} {
		if got := visit(s, path); got.Status != http.StatusSeeOther || got.Header.Get("Location") != want {
			t.Errorf("%s: %d %s", path, got.Status, got.Header.Get("Location"))
		}
	}
	d.Env["PLAYGROUND"] = "off"
	s = programtest.Serve(t, d.Env)
	if got := visit(s, "/playground"); got.Status != http.StatusNotFound {
		t.Errorf("with PLAYGROUND=off: %d", got.Status)
	}
	if got := visit(s, "/graphql?query=%7B+__typename+%7D"); got.Status != http.StatusOK || !strings.HasPrefix(got.Header.Get("Content-Type"), "application/json") {
		t.Errorf("a browser with PLAYGROUND=off: %d %v", got.Status, got.Header)
	}
}

// A request that is refused before its execution gets a GraphQL error with a code, without data, and without its own text.
func TestRefusalsBeforeGraphQL(t *testing.T) {
	s := programtest.Serve(t, programtest.Seeded(t, programtest.Embedded(t)).Env)
	for _, c := range []struct {
		name, method, path, body string
		headers                  map[string]string
		status                   int
		want                     string
	}{
		{"a body that is not JSON", "POST", "/graphql", `{"query": SECRET`, nil, 400, "not a JSON object"},
		{"a batch", "POST", "/graphql", `[{"query":"{ __typename }"}]`, nil, 400, "not a JSON object"},
		{"two values", "POST", "/graphql", `{"query":"{ __typename }"} {}`, nil, 400, "not a JSON object"},
		{"no query", "POST", "/graphql", `{}`, nil, 400, `"field":"query"`},
		{"a query that is not a string", "POST", "/graphql", `{"query":1}`, nil, 400, `"field":"query"`},
		{"variables that are not an object", "POST", "/graphql", `{"query":"{ __typename }","variables":[]}`, nil, 400, `"field":"variables"`},
		{"not UTF-8", "POST", "/graphql", "{\"query\":\"{ retriever(id: \\\"\xff\\\") { id } }\"}", nil, 400, "UTF-8"},
		{"another media type", "POST", "/graphql", `query`, map[string]string{"Content-Type": "text/plain"}, 415, `"field":"Content-Type"`},
		{"another method", "PUT", "/graphql", `{}`, nil, 405, "POST"},
		{"a body too large", "POST", "/graphql", `{"query":"` + strings.Repeat(" ", 1<<20) + `"}`, nil, 413, "1048576"},
		{"two Authorization headers", "POST", "/graphql", `{}`, map[string]string{"Authorization": "Bearer a", "authorization": "Bearer b"}, 400, `"field":"Authorization"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), c.method, s.URL+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			for name, value := range c.headers {
				if strings.EqualFold(name, "Authorization") {
					req.Header["Authorization"] = append(req.Header["Authorization"], value)
				} else {
					req.Header.Set(name, value)
				}
			}
			got := s.Do(req)
			if got.Status != c.status || !strings.Contains(got.Body, c.want) || strings.Contains(got.Body, `"data"`) || strings.Contains(got.Body, "SECRET") {
				t.Errorf("%d %s", got.Status, got.Body)
			}
			if codes := got.Codes(t); len(codes) != 1 || codes[0] != string(apikey.BadUserInput) {
				t.Errorf("codes %v", codes)
			}
		})
	}
}
