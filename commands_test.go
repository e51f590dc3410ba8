package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"retrieverkeys/apikey"
	"retrieverkeys/config"
	"retrieverkeys/graph"
	"retrieverkeys/store/document"
)

// Whoever sets three things wrong should learn of three, and nothing may have been started.
func TestEveryProblemIsToldAtOnce(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name string
		args []string
		env  fields
		want []string
	}{
		{"settings", []string{"serve"}, fields{
			"REDIS_URL": "redis://:hunter2@h:port", "AUTH_FAILURES_PER_MINUTE": "-1", "MAX_CONCURRENT_REQUESTS": "0", "MAX_CONNECTIONS": "many",
			"LISTEN_ADDR": "nowhere", "MONGODB_URI": "mongodb://user:hunter2@", "INTROSPECTION": "maybe", "PLAYGROUND": "yes", "DEMO": "perhaps",
			"REQUEST_TIMEOUT": "soon", "SHUTDOWN_DELAY": "-1s", "MAX_BODY_BYTES": "-1", "LOG_FORMAT": "xml", "LOG_LEVEL": "loud",
			"CORS_ALLOWED_ORIGINS": "https://app.example.com, app.example.com, *", "PERSISTED_OPERATIONS": "none.json", "PERSISTED_ONLY": "surely",
			"MAX_DEPTH": "0", "MAX_COMPLEXITY": "much", "MAX_TOKENS": "9223372036854775807", "ADMIN_ADDR": "on", "RATE_LIMIT_PER_MINUTE": "-1",
		}, []string{"REDIS_URL must be", "AUTH_FAILURES_PER_MINUTE", "MAX_CONCURRENT_REQUESTS", "MAX_CONNECTIONS", "ADMIN_ADDR", "RATE_LIMIT_PER_MINUTE", "MAX_TOKENS", "MAX_DEPTH", "MAX_COMPLEXITY", "CORS_ALLOWED_ORIGINS", "PERSISTED_OPERATIONS open none.json", "PERSISTED_ONLY", "LISTEN_ADDR", "MONGODB_URI", "INTROSPECTION", "PLAYGROUND", "DEMO", "REQUEST_TIMEOUT", "SHUTDOWN_DELAY", "MAX_BODY_BYTES", "LOG_FORMAT", "LOG_LEVEL"}},
		{"only a manifest that is not there", []string{"serve"}, fields{"PERSISTED_ONLY": "true"}, []string{"set PERSISTED_OPERATIONS"}},
		{"serve without a store", []string{"serve"}, nil, []string{"MONGODB_URI or EMBEDDED_PATH"}},
		{"an unknown command and a setting", []string{"sevre"}, fields{"LOG_LEVEL": "loud"}, []string{`unknown command "sevre"`, "LOG_LEVEL"}},
		{"missing flags", []string{"bootstrap"}, nil, []string{"--organization is required", "--namespace is required"}},
		{"unknown flags", []string{"bootstrap", "--who", "--organization", "A", "---", "--namespace= x", "more"}, nil, []string{"-who", "bad flag syntax: ---", "must not begin or end with a space", `"more"`}},
		{"a file too few", []string{"import"}, nil, []string{"takes one file"}},
		{"a file too many", []string{"import", "a", "b"}, nil, []string{"takes one file"}},
		{"a flag of the bare command", []string{"--demo"}, nil, []string{"-demo"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(dir)
			code, out, errs := command(t, c.env, c.args...)
			if code != exitUsage || out != "" {
				t.Errorf("exit code %d, output %q", code, out)
			}
			for _, want := range c.want {
				if !strings.Contains(errs, want) {
					t.Errorf("nothing about %s in\n%s", want, errs)
				}
			}
			if strings.Contains(errs, "hunter2") {
				t.Errorf("a password is told:\n%s", errs)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}

func TestHelpTellsEveryCommandAndSetting(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"help"}, {"import", "-h"}} {
		code, out, errs := command(t, nil, args...)
		if code != exitOK || errs != "" || !strings.Contains(out, "retrieverkeys bootstrap --organization NAME") || !strings.Contains(out, "REQUEST_TIMEOUT") {
			t.Errorf("%v: exit code %d\n%s%s", args, code, out, errs)
		}
	}
}

func TestVersionAndSchema(t *testing.T) {
	if code, out, _ := command(t, nil, "version"); code != exitOK || !regexp.MustCompile(`^retrieverkeys \S+\ncommit \S+\ngo\S+`).MatchString(out) {
		t.Errorf("version: %d %q", code, out)
	}
	if code, out, _ := command(t, nil, "schema"); code != exitOK || out != graph.SDL() || strings.Contains(out, "@key") {
		t.Errorf("schema: %d, %d bytes", code, len(out))
	}
	if code, out, _ := command(t, nil, "schema", "--federation"); code != exitOK || !strings.Contains(out, "type PageInfo @shareable {") || strings.Contains(out, "extend ") || !strings.Contains(out, `type Retriever implements Node @key(fields: "id") {`) {
		t.Errorf("schema --federation: %d, %d bytes", code, len(out))
	}
	if diff := cmp.Diff(graph.OptionalFields(), config.OptionalFields); diff != "" {
		t.Errorf("--with takes other fields than are left out: %s", diff)
	}
	for args, want := range map[string]string{
		"--federation=2.3": graph.SubgraphSDL("2.3"), "--federation=2.9": graph.SubgraphSDL("2.9"),
		"--federation --with node,viewer": graph.SubgraphSDL("2.9", "node", "viewer"),
	} {
		if code, out, errs := command(t, nil, append([]string{"schema"}, strings.Fields(args)...)...); code != exitOK || out != want {
			t.Errorf("%s: %d %s", args, code, errs)
		}
	}
	for args, want := range map[string]string{
		"--with node": "--with needs --federation", "--federation=2.0": "must be 2.9 or 2.3", "--federation --with retriever": "must be node or viewer",
	} {
		if code, out, errs := command(t, nil, append([]string{"schema"}, strings.Fields(args)...)...); code != exitUsage || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %s%s", args, code, out, errs)
		}
	}
}

// The key that bootstrap prints must work, and a second run must add to the organization instead of making another
// of the same name.
func TestBootstrap(t *testing.T) {
	onEveryStore(t, func(t *testing.T, d deployment) {
		ids := regexp.MustCompile(`(?:org|int|ns)_[0-9A-Za-z]{24}`)
		run := func(namespace string) (found []string, key string) {
			code, out, errs := command(t, d.env, "bootstrap", "--organization", "Acme GmbH", "--namespace", namespace, "--email", "a@example.com")
			if code != exitOK {
				t.Fatalf("exit code %d\n%s", code, errs)
			}
			keys := regexp.MustCompile(`sk_[0-9A-Za-z]{53}\b`).FindAllString(out, -1)
			if len(keys) != 1 {
				t.Fatalf("%d keys in\n%s", len(keys), out)
			}
			return ids.FindAllString(out, -1), keys[0]
		}
		first, key := run("production")
		again, another := run("production")
		other, _ := run("staging")
		if len(first) != 3 || len(again) != 3 || len(other) != 3 {
			t.Fatalf("ids: %v %v %v", first, again, other)
		}
		if key == another || again[0] != first[0] || again[1] != first[1] || again[2] != first[2] {
			t.Errorf("the second run made %v beside %v", again, first)
		}
		if other[0] != first[0] || other[1] != first[1] || other[2] == first[2] {
			t.Errorf("another namespace made %v beside %v", other, first)
		}
		s := serve(t, d.env)
		for _, k := range []string{key, another} {
			got := s.request(http.MethodPost, "/graphql", `{"query":"{ viewer { permissions internalId namespace { name } } }"}`,
				map[string]string{"Authorization": "Bearer " + k, "X-Namespace": first[2]})
			if got.body != `{"data":{"viewer":{"permissions":["ADMIN"],"internalId":"`+first[1]+`","namespace":{"name":"production"}}}}` {
				t.Error(got.body)
			}
		}
	})
}

// One bad document must leave the store as it was, and be named.
func TestImportIsAllOrNothing(t *testing.T) {
	onEveryStore(t, func(t *testing.T, d deployment) {
		file := filepath.Join(t.TempDir(), "bad.json")
		bad := `{"namespaces": [{"namespace_id": "ns_1", "namespace_name": "n", "internal_id": "int_1"}],
			"api_keys": [
				{"key_id": "key_1", "key_hash": "h1", "internal_id": "int_1"},
				{"key_id": "key_2", "key_hash": "h2", "internal_id": "int_1", "created_at": "yesterday", "scopes": [{"resource_id": 5}]},
				{"key_id": "key_3", "key_hash": "h1", "internal_id": "int_1"}]}`
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, errs := command(t, d.env, "import", file)
		if code != exitFailed || out != "" {
			t.Errorf("exit code %d, output %q", code, out)
		}
		for _, want := range []string{"api_keys[1].created_at", "api_keys[1].scopes[0].resource_id", "api_keys[2].key_hash", "nothing of it stored"} {
			if !strings.Contains(errs, want) {
				t.Errorf("nothing about %s in\n%s", want, errs)
			}
		}
		good := strings.NewReplacer(`"created_at": "yesterday", "scopes": [{"resource_id": 5}]`, `"created_at": "2026-01-01T00:00:00Z"`, `"key_hash": "h1", "internal_id": "int_1"}]`, `"key_hash": "h3", "internal_id": "int_1"}]`).Replace(bad)
		if err := os.WriteFile(file, []byte(good), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"Stored 4 documents; 0 were there already", "Stored 0 documents; 4 were there already"} {
			if code, out, errs := command(t, d.env, "import", file); code != exitOK || !strings.HasPrefix(out, want) {
				t.Errorf("exit code %d, %q, want %q\n%s", code, out, want, errs)
			}
		}
	})
}

// An import must never bring a revoked key back to life.
func TestImportRevivesNothing(t *testing.T) {
	onEveryStore(t, func(t *testing.T, d deployment) {
		seeded(t, d)
		revived := callerDoc("revoked", "int_a", "org_a")
		importBatch(t, d, document.Batch{Keys: append(manyKeys(3), revived)})
		s := serve(t, d.env)
		if got := s.query("revoked", "production", `{ viewer { keyId } }`); got.status != http.StatusUnauthorized {
			t.Errorf("%d %s", got.status, got.body)
		}
		if got := s.query("admin", "production", `{ retriever(id: "ret_many") { apiKeys { total } } }`); !strings.Contains(got.body, `"total":3`) {
			t.Error(got.body)
		}
	})
}

func TestHealth(t *testing.T) {
	s := serve(t, embedded(t).env)
	for path, want := range map[string]string{"/healthz": `{"status":"ok"}`, "/readyz": `{"status":"ready"}`} {
		if got := s.request(http.MethodGet, path, "", nil); got.status != http.StatusOK || strings.TrimSpace(got.body) != want {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	addr := strings.TrimPrefix(s.url, "http://")
	if code, _, errs := command(t, fields{"LISTEN_ADDR": addr}, "healthcheck"); code != exitOK {
		t.Errorf("healthcheck: %d %s", code, errs)
	}
	s.stop()
	if code, _, errs := command(t, fields{"LISTEN_ADDR": addr}, "healthcheck"); code != exitFailed || errs == "" {
		t.Errorf("healthcheck of nothing: %d %q", code, errs)
	}
}

// The first run of a newcomer: a demo, a key that works, and a link; and the same store is left alone the next time.
func TestDemo(t *testing.T) {
	d := embedded(t)
	d.env["DEMO"] = "true"
	s := serve(t, d.env)
	key := regexp.MustCompile(`sk_[0-9A-Za-z]{53}\b`).FindString(s.out.await("Admin key", s.ended))
	link := s.out.await("Playground", s.ended)
	if !strings.Contains(link, s.url+"/#headers=%7B%22Authorization%22%3A%22Bearer%20"+key) || strings.ContainsAny(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(link), "Playground")), " \"") {
		t.Errorf("link %q", link)
	}
	ask := func(query string) string {
		return s.request(http.MethodPost, "/graphql", `{"query":"`+query+`"}`, map[string]string{"Authorization": "Bearer " + key, "X-Namespace": "production"}).body
	}
	if got := ask(`{ retriever(id: \"product-search\") { apiKeys(includeRevoked: true) { total results { status } } } }`); !strings.Contains(got, `"total":32`) ||
		!strings.Contains(got, string(`"ACTIVE"`)) || !strings.Contains(got, `"REVOKED"`) || !strings.Contains(got, `"EXPIRED"`) {
		t.Error(got)
	}
	if got := ask(`{ a: namespace { retrievers { total } } b: namespace(id: \"staging\") { retrievers { total } } }`); got != `{"data":{"a":{"retrievers":{"total":3}},"b":{"retrievers":{"total":2}}}}` {
		t.Error(got)
	}
	if code := s.stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if strings.Contains(s.errors.String(), key) {
		t.Error("the log holds the key")
	}
	again := serve(t, d.env)
	hint := again.out.await("bootstrap --organization", again.ended)
	if !strings.Contains(hint, "'Fjord Media' --namespace production") {
		t.Errorf("hint %q", hint)
	}
	if strings.Contains(again.out.String(), "sk_") {
		t.Error("a key is printed again")
	}
}

// Every code of the domain must look like something over GraphQL.
func TestRefusalsBeforeGraphQL(t *testing.T) {
	s := serve(t, seeded(t, embedded(t)).env)
	for _, c := range []struct {
		name, method, path, body string
		headers                  map[string]string
		status                   int
		want                     string
	}{
		{"a body that is no JSON", "POST", "/graphql", `{"query": SECRET`, nil, 400, "not a JSON object"},
		{"a batch", "POST", "/graphql", `[{"query":"{ __typename }"}]`, nil, 400, "not a JSON object"},
		{"two values", "POST", "/graphql", `{"query":"{ __typename }"} {}`, nil, 400, "not a JSON object"},
		{"no query", "POST", "/graphql", `{}`, nil, 400, `"field":"query"`},
		{"a query that is no text", "POST", "/graphql", `{"query":1}`, nil, 400, `"field":"query"`},
		{"variables that are no object", "POST", "/graphql", `{"query":"{ __typename }","variables":[]}`, nil, 400, `"field":"variables"`},
		{"not UTF-8", "POST", "/graphql", "{\"query\":\"{ retriever(id: \\\"\xff\\\") { id } }\"}", nil, 400, "UTF-8"},
		{"another media type", "POST", "/graphql", `query`, map[string]string{"Content-Type": "text/plain"}, 415, `"field":"Content-Type"`},
		{"another method", "PUT", "/graphql", `{}`, nil, 405, "POST"},
		{"a body too large", "POST", "/graphql", `{"query":"` + strings.Repeat(" ", 1<<20) + `"}`, nil, 413, "1048576"},
		{"two Authorization headers", "POST", "/graphql", `{}`, map[string]string{"Authorization": "Bearer a", "authorization": "Bearer b"}, 400, `"field":"Authorization"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), c.method, s.url+c.path, strings.NewReader(c.body))
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
			got := s.do(req)
			if got.status != c.status || !strings.Contains(got.body, c.want) || strings.Contains(got.body, `"data"`) || strings.Contains(got.body, "SECRET") {
				t.Errorf("%d %s", got.status, got.body)
			}
			if codes := got.codes(t); len(codes) != 1 || codes[0] != string(apikey.BadUserInput) {
				t.Errorf("codes %v", codes)
			}
		})
	}
}

// A backup that is made while the server works is a store to serve from, with what was acknowledged; it is never made in
// place of something, and not of the wrong store.
func TestBackup(t *testing.T) {
	d, copied := seeded(t, embedded(t)), embedded(t)
	file, _ := copied.env["EMBEDDED_PATH"].(string)
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	s := serve(t, d.env)
	if got := s.query("admin", "production", `mutation { createApiKey(input: {retrieverId: "ret_many", name: "acknowledged"}) { key } }`); !strings.Contains(got.body, `"key":"ret_sk_`) {
		t.Fatal(got.body)
	}
	code, out, errs := command(t, d.env, "backup", file)
	if want := fmt.Sprintf("%d keys, 1 audit event.\n", len(fixture().Keys)+len(oddFixture().Keys)+1); code != exitOK || errs != "" || !strings.Contains(out, file) || !strings.HasSuffix(out, want) {
		t.Errorf("exit code %d, %q, want %q at its end\n%s", code, out, want, errs)
	}
	const query = `{ retriever(id: "ret_many") { apiKeys(includeRevoked: true) { total results { keyId name status } } auditEvents { results { id resourceId } } } }`
	want := s.query("admin", "production", query)
	if got := serve(t, copied.env).query("admin", "production", query); got.body != want.body || !strings.Contains(got.body, "acknowledged") {
		t.Errorf("the copy answers %s, want %s", got.body, want.body)
	}

	dir := t.TempDir()
	missing := filepath.Join(dir, "no", "store.db")
	for _, c := range []struct {
		name string
		env  fields
		to   string
		code int
		want string
	}{
		{"over a file", d.env, file, exitFailed, file + " exists already"},
		{"into no directory", d.env, filepath.Join(dir, "no", "copy.db"), exitFailed, "no such file or directory"},
		{"of no store", fields{"EMBEDDED_PATH": missing}, filepath.Join(dir, "copy.db"), exitFailed, "there is no store at " + missing},
		{"of MongoDB", fields{"MONGODB_URI": "mongodb://127.0.0.1:1"}, filepath.Join(dir, "copy.db"), exitUsage, "mongodump"},
	} {
		if code, out, errs := command(t, c.env, "backup", c.to); code != c.code || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit code %d, %q, %q, want %d and %q", c.name, code, out, errs, c.code, c.want)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// No command makes a new store in the place of one that is damaged, or works on what is left of it: that would cost all
// keys, or let revoked ones live.
func TestDamagedStoreIsLeftAlone(t *testing.T) {
	d := seeded(t, embedded(t))
	path, _ := d.env["EMBEDDED_PATH"].(string)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := whole[:len(whole)/2]
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{}, {"serve"}, {"bootstrap", "--organization", "A", "--namespace", "n"}, {"import", writeImport(t, fixture())},
		{"backup", filepath.Join(t.TempDir(), "copy.db")}, {"keys", "list", "--namespace", "production", "--search", "a"},
	} {
		code, out, errs := command(t, d.env, args...)
		if code != exitFailed || out != "" || !strings.Contains(errs, path) || !strings.Contains(errs, "damaged") {
			t.Errorf("%v: exit code %d, %q, %q", args, code, out, errs)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, damaged) {
			t.Fatalf("%v changed the file: %v", args, err)
		}
	}
}
