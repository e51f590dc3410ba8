package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Where only a manifest's operations run, a stolen key must not be able to ask anything else.
func TestOnlyTheManifestIsRun(t *testing.T) {
	d := seeded(t, embedded(t))
	file := filepath.Join(t.TempDir(), "manifest.json")
	manifest := `{"format":"apollo-persisted-query-manifest","version":1,"operations":[
		{"id":"whoami","name":"Me","type":"query","body":"query Me { viewer { keyId } }"},
		{"id":"revoke","name":"Revoke","type":"mutation","body":"mutation Revoke($id: ID!) { revokeApiKey(input: {id: $id}) { apiKey { status } } }"}]}`
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	d.env["PERSISTED_OPERATIONS"], d.env["PERSISTED_ONLY"] = file, "true"
	s := serve(t, d.env)
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
		got := s.request(c.method, c.path, c.body, map[string]string{"Authorization": "Bearer " + token("admin"), "X-Namespace": "production"})
		if got.status != c.status || !strings.Contains(got.body, c.want) {
			t.Errorf("%s: %d %s", c.name, got.status, got.body)
		}
	}
}

// The vendor's endpoints do what no manifest says. Where they are closed, nothing tells that there could be any, whoever asks and
// however; and nothing describes them.
func TestRESTIsClosed(t *testing.T) {
	d := seeded(t, embedded(t))
	d.env["CORS_ALLOWED_ORIGINS"] = "https://app.example.com"
	open := serve(t, d.env)
	d.env["REST"] = "off"
	closed := serve(t, d.env)
	for _, caller := range []string{"admin", "retriever", "revoked", ""} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			headers := map[string]string{"X-Namespace": "production", "X-Request-Id": "same", "Content-Type": "application/json"}
			if caller != "" {
				headers["Authorization"] = "Bearer " + token(caller)
			}
			body := ""
			if method == "POST" {
				body = `{"name":"x"}`
			}
			unknown := closed.request(method, "/v1/nothing", body, headers)
			unknown.header.Del("Date")
			for _, path := range []string{
				"/v1/retrievers/main/api-keys", "/v1/retrievers/main/api-keys?include_revoked=maybe", "/v1/retrievers/main/api-keys/key_tie_b",
				"/v1/retrievers/absent/api-keys", "/v1/retrievers/main/api-keys/", "/openapi.json",
			} {
				got := closed.request(method, path, body, headers)
				got.header.Del("Date")
				if got.status != http.StatusNotFound || cmp.Diff(unknown.body, got.body) != "" || cmp.Diff(unknown.header, got.header) != "" {
					t.Errorf("%s %s by %q: %d %v %s", method, path, caller, got.status, got.header, got.body)
				}
			}
		}
	}
	headers := map[string]string{"Authorization": "Bearer " + token("admin"), "X-Namespace": "production"}
	for _, path := range []string{"/v1/retrievers/main/api-keys", "/openapi.json"} {
		if got := open.request("GET", path, "", headers); got.status != http.StatusOK {
			t.Errorf("%s where they are open: %d %s", path, got.status, got.body)
		}
	}
	if got := closed.query("admin", "production", `{ apiKey(id: "key_tie_b") { status } }`); got.body != `{"data":{"apiKey":{"status":"ACTIVE"}}}` {
		t.Errorf("the key: %s", got.body)
	}
}

// A browser that is pointed at the endpoint belongs to somebody who wants to look around.
func TestBrowsersAreSentToThePlayground(t *testing.T) {
	const accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	visit := func(s *server, path string) answer {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return answer{resp.StatusCode, resp.Header, ""}
	}
	d := seeded(t, embedded(t))
	s := serve(t, d.env)
	for path, want := range map[string]string{
		"/graphql":                           "/",
		"/graphql?query=%7B+viewer+%7D&x=1":  "/#query=%7B+viewer+%7D",
		"/graphql?query=%7B%7D&variables={}": "/#query=%7B%7D&variables=%7B%7D",
	} {
		if got := visit(s, path); got.status != http.StatusSeeOther || got.header.Get("Location") != want {
			t.Errorf("%s: %d %s", path, got.status, got.header.Get("Location"))
		}
	}
	d.env["PLAYGROUND"] = "off"
	s = serve(t, d.env)
	if got := visit(s, "/"); got.status != http.StatusNotFound {
		t.Errorf("a playground that is off: %d", got.status)
	}
	if got := visit(s, "/graphql?query=%7B+__typename+%7D"); got.status != http.StatusOK || !strings.HasPrefix(got.header.Get("Content-Type"), "application/json") {
		t.Errorf("without a playground: %d %v", got.status, got.header)
	}
}
