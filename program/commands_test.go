package program_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"retrieverkeys/apikey"
	"retrieverkeys/config"
	"retrieverkeys/graph"
	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
)

// Without this, a user with three wrong settings needs four attempts to start the server.
func TestEveryProblemIsReportedAtOnce(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name string
		args []string
		env  programtest.Fields
		want []string
	}{
		{"settings", []string{"serve"}, programtest.Fields{
			"REDIS_URL": "redis://:hunter2@h:port", "AUTH_FAILURES_PER_MINUTE": "-1", "MAX_CONCURRENT_REQUESTS": "0", "MAX_CONNECTIONS": "many",
			"LISTEN_ADDR": "nowhere", "MONGODB_URI": "mongodb://user:hunter2@", "INTROSPECTION": "maybe", "PLAYGROUND": "yes", "DEMO": "perhaps",
			"REQUEST_TIMEOUT": "soon", "SHUTDOWN_DELAY": "-1s", "MAX_BODY_BYTES": "-1", "LOG_FORMAT": "xml", "LOG_LEVEL": "loud",
			"CORS_ALLOWED_ORIGINS": "https://app.example.com, app.example.com, *", "CORS_ALLOWED_HEADERS": "X-Custom, no header", "TRUSTED_PROXIES": "10.0.0.0/8,proxy",
			"PERSISTED_OPERATIONS": "none.json", "PERSISTED_ONLY": "surely",
			"MAX_DEPTH": "0", "MAX_RESPONSE_BYTES": "0", "MAX_COMPLEXITY": "much", "MAX_TOKENS": "9223372036854775807", "ADMIN_ADDR": "on", "RATE_LIMIT_PER_MINUTE": "-1", "REST": "true",
		}, []string{"REDIS_URL must be", "AUTH_FAILURES_PER_MINUTE", "MAX_CONCURRENT_REQUESTS", "MAX_CONNECTIONS", "ADMIN_ADDR", "RATE_LIMIT_PER_MINUTE", "MAX_TOKENS", "MAX_DEPTH", "MAX_RESPONSE_BYTES", "MAX_COMPLEXITY", `CORS_ALLOWED_ORIGINS names "app.example.com"`, "CORS_ALLOWED_ORIGINS names *", `CORS_ALLOWED_HEADERS names "no header"`, `"proxy" is neither`, "PERSISTED_OPERATIONS open none.json", "PERSISTED_ONLY", "LISTEN_ADDR", "MONGODB_URI", "INTROSPECTION", "PLAYGROUND", `REST="true" must be on or off`, "DEMO", "REQUEST_TIMEOUT", "SHUTDOWN_DELAY", "MAX_BODY_BYTES", "LOG_FORMAT", "LOG_LEVEL"}},
		{"only a manifest that is not there", []string{"serve"}, programtest.Fields{"PERSISTED_ONLY": "true"}, []string{"PERSISTED_ONLY needs PERSISTED_OPERATIONS"}},
		{"two stores", []string{"serve"}, programtest.Fields{"MONGODB_URI": "mongodb://127.0.0.1:1", "EMBEDDED_PATH": "store.db"}, []string{"EMBEDDED_PATH are both set"}},
		{"two stores for a command", []string{"keys", "scan", "-"}, programtest.Fields{"MONGODB_URI": "mongodb://127.0.0.1:1", "EMBEDDED_PATH": "store.db"}, []string{"EMBEDDED_PATH are both set"}},
		{"names with ports", []string{"serve"}, programtest.Fields{"ADMIN_HOSTS": "metrics.example, http://a:1"}, []string{`ADMIN_HOSTS="metrics.example, http://a:1" must be a comma-separated list of host names`}},
		{"serve without a store", []string{"serve"}, nil, []string{"MONGODB_URI or EMBEDDED_PATH"}},
		{"an unknown command and a setting", []string{"sevre"}, programtest.Fields{"LOG_LEVEL": "loud"}, []string{`unknown command "sevre"`, "LOG_LEVEL"}},
		{"missing flags", []string{"bootstrap"}, nil, []string{"--organization is required", "--namespace is required"}},
		{"unknown flags", []string{"bootstrap", "--who", "--organization", "A", "---", "--namespace= x", "more"}, nil, []string{"-who", "bad flag syntax: ---", "must not begin or end with a space", `"more"`}},
		{"a file too few", []string{"import"}, nil, []string{"takes one file"}},
		{"a file too many", []string{"import", "a", "b"}, nil, []string{"takes one file"}},
		{"a flag of the bare command", []string{"--demo"}, nil, []string{"-demo"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(dir)
			code, out, errs := programtest.Command(t, c.env, c.args...)
			if code != program.ExitUsage || out != "" {
				t.Errorf("exit code %d, output %q", code, out)
			}
			for _, want := range c.want {
				if !strings.Contains(errs, want) {
					t.Errorf("got %s\nwant %s", errs, want)
				}
			}
			if strings.Contains(errs, "hunter2") {
				t.Errorf("a password is printed:\n%s", errs)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}

// A secret can be mounted as a file, which may begin with a byte order mark and end with a line break. No error shows the secret.
func TestSettingsFromFiles(t *testing.T) {
	dir := t.TempDir()
	path := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	const uri, redis = "mongodb://user:hunter2@h/db", "redis://:hunter2@h:6379"
	for _, text := range []string{uri, uri + "\n", "\ufeff" + uri + "\r\n"} {
		env := map[string]string{"MONGODB_URI_FILE": path("mongodb", text), "REDIS_URL_FILE": path("redis", redis+"\n"), "MONGODB_SERVER_API": "1"}
		cfg, problems := config.Parse([]string{"serve"}, func(name string) string { return env[name] })
		if len(problems) > 0 || cfg.MongoURI != uri || cfg.RedisURL != redis || cfg.MongoServerAPI != "1" || cfg.EmbeddedPath != "" {
			t.Errorf("%q: %q, %q, %q, %q, %v", text, cfg.MongoURI, cfg.RedisURL, cfg.MongoServerAPI, cfg.EmbeddedPath, problems)
		}
	}
	for _, c := range []struct {
		env  programtest.Fields
		want string
	}{
		{programtest.Fields{"MONGODB_URI_FILE": filepath.Join(dir, "absent")}, "MONGODB_URI_FILE cannot be read: no such file"},
		{programtest.Fields{"MONGODB_URI_FILE": uri}, "MONGODB_URI_FILE cannot be read: no such file"},
		{programtest.Fields{"MONGODB_URI_FILE": dir}, "MONGODB_URI_FILE cannot be read: is a directory"},
		{programtest.Fields{"MONGODB_URI_FILE": path("empty", " \n")}, "MONGODB_URI_FILE is empty"},
		{programtest.Fields{"MONGODB_URI_FILE": path("two", uri+"\n"+uri)}, "MONGODB_URI_FILE must contain only the setting"},
		{programtest.Fields{"MONGODB_URI_FILE": path("large", strings.Repeat("x", 1<<20))}, "MONGODB_URI_FILE must contain only the setting"},
		{programtest.Fields{"MONGODB_URI_FILE": path("bad", "http://hunter2")}, "MONGODB_URI is not a MongoDB connection string"},
		{programtest.Fields{"MONGODB_URI_FILE": path("good", uri), "MONGODB_URI": uri}, "MONGODB_URI and MONGODB_URI_FILE are both set"},
		{programtest.Fields{"EMBEDDED_PATH": filepath.Join(dir, "x.db"), "REDIS_URL_FILE": path("good redis", redis), "REDIS_URL": redis}, "REDIS_URL and REDIS_URL_FILE are both set"},
		{programtest.Fields{"MONGODB_URI": uri, "MONGODB_SERVER_API": "2"}, "MONGODB_SERVER_API=\"2\" must be 1"},
	} {
		code, _, errs := programtest.Command(t, c.env, "serve")
		if code != program.ExitUsage || strings.Count(errs, "\n") != 2 || !strings.Contains(errs, c.want) || strings.Contains(errs, "hunter2") {
			t.Errorf("%v: exit code %d, %q, want %q", c.env, code, errs, c.want)
		}
	}
}

func TestHelpListsCommandsAndSettings(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"help"}, {"-h"}, {"--help", "--json"}, {"help", "--help"}} {
		code, out, errs := programtest.Command(t, nil, args...)
		if code != program.ExitOK || errs != "" || !strings.Contains(out, "retrieverkeys bootstrap --organization NAME") || !strings.Contains(out, "REQUEST_TIMEOUT") {
			t.Errorf("%v: exit code %d\n%s%s", args, code, out, errs)
		}
	}
}

// The help of a command describes that command only, without forty settings.
func TestHelpOfACommand(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"import", "-h"}, []string{"Usage: retrieverkeys import FILE"}},
		{[]string{"keys", "list", "--namespace", "x", "--help"}, []string{"Usage: retrieverkeys keys list --namespace NS", "  --search TEXT            only keys with TEXT", "required", "Example:"}},
		{[]string{"help", "keys", "scan"}, []string{"--exit-code              exit with 3"}},
		{[]string{"keys", "--help"}, []string{"retrieverkeys keys rotate", "help keys COMMAND"}},
		{[]string{"help", "retrievers"}, []string{"retrieverkeys retrievers list [--namespace NS]"}},
		{[]string{"serve", "--help"}, []string{"Usage: retrieverkeys serve"}},
	} {
		code, out, errs := programtest.Command(t, nil, c.args...)
		for _, want := range append(c.want, "retrieverkeys") {
			if code != program.ExitOK || errs != "" || !strings.Contains(out, want) || strings.Contains(out, "REQUEST_TIMEOUT") || strings.Contains(out, "bootstrap") {
				t.Errorf("%v: exit code %d, want %q in\n%s%s", c.args, code, want, out, errs)
			}
		}
	}
	for _, command := range config.Commands { // each has a help text with lines of at most 80 columns
		var b strings.Builder
		config.WriteHelp(&b, command.Name)
		for line := range strings.Lines(b.String()) {
			if len(line) > 81 {
				t.Errorf("help of %q: %q", command.Name, line)
			}
		}
	}
	for _, args := range [][]string{{"help", "sevre"}, {"sevre", "--help"}} {
		if code, out, errs := programtest.Command(t, nil, args...); code != program.ExitUsage || out != "" || !strings.Contains(errs, `unknown command "sevre"; did you mean serve?`) {
			t.Errorf("%v: exit code %d\n%s%s", args, code, out, errs)
		}
	}
	if code, out, _ := programtest.Command(t, nil, "keys", "revoke", "--yes", "--", "--help"); code == program.ExitOK || out != "" {
		t.Errorf("an operand that looks like a flag: exit code %d\n%s", code, out)
	}
}

// Each completion script names the commands and flags, and its shell can parse it.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		code, script, errs := programtest.Command(t, nil, "completion", shell)
		for _, want := range []string{"bootstrap", "revoke", "retrievers", "exit-code", "federation"} {
			if code != program.ExitOK || !strings.Contains(script, want) {
				t.Errorf("%s: exit code %d, want %s in\n%s%s", shell, code, want, script, errs)
			}
		}
		if path, err := exec.LookPath(shell); err == nil {
			if out, err := exec.Command(path, "-n", "-c", script).CombinedOutput(); err != nil {
				t.Errorf("%s cannot parse it: %v\n%s", shell, err, out)
			}
		}
	}
	if code, _, errs := programtest.Command(t, nil, "completion", "tcsh"); code != program.ExitUsage || !strings.Contains(errs, "bash, zsh or fish") {
		t.Errorf("exit code %d, %s", code, errs)
	}
	if path, err := exec.LookPath("bash"); err == nil {
		_, script, _ := programtest.Command(t, nil, "completion", "bash")
		for line, want := range map[string]string{
			"retrieverkeys b": "bootstrap backup", "retrieverkeys keys r": "rotate revoke", "retrieverkeys keys scan --e": "--exit-code",
			"retrieverkeys schema --f": "--federation", "retrieverkeys completion f": "fish",
		} {
			words := strings.Fields(line)
			ask := fmt.Sprintf("%s\nCOMP_WORDS=(%s) COMP_CWORD=%d; _retrieverkeys; echo ${COMPREPLY[*]}", script, line, len(words)-1)
			if out, err := exec.Command(path, "-c", ask).Output(); err != nil || strings.TrimSpace(string(out)) != want {
				t.Errorf("%s: %q, %v, want %q", line, out, err, want)
			}
		}
	}
}

func TestVersionAndSchema(t *testing.T) {
	for _, args := range [][]string{{"--version"}, {"-version"}} {
		if code, out, _ := programtest.Command(t, nil, args...); code != program.ExitOK || !strings.HasPrefix(out, "retrieverkeys ") {
			t.Errorf("%v: %d %q", args, code, out)
		}
	}
	if code, out, _ := programtest.Command(t, nil, "version"); code != program.ExitOK || !regexp.MustCompile(`^retrieverkeys \S+\ncommit \S+\ngo\S+`).MatchString(out) {
		t.Errorf("version: %d %q", code, out)
	}
	if code, out, _ := programtest.Command(t, nil, "schema"); code != program.ExitOK || out != graph.SDL() || strings.Contains(out, "@key") {
		t.Errorf("schema: %d, %d bytes", code, len(out))
	}
	if code, out, _ := programtest.Command(t, nil, "schema", "--federation"); code != program.ExitOK || !strings.Contains(out, "type PageInfo @shareable {") || strings.Contains(out, "extend ") || !strings.Contains(out, `type Retriever implements Node @key(fields: "id") {`) {
		t.Errorf("schema --federation: %d, %d bytes", code, len(out))
	}
	if diff := cmp.Diff(graph.OptionalFields(), config.OptionalFields); diff != "" {
		t.Errorf("--with accepts other fields than the subgraph schema omits: %s", diff)
	}
	for args, want := range map[string]string{
		"--federation=2.3": graph.SubgraphSDL("2.3"), "--federation=2.9": graph.SubgraphSDL("2.9"),
		"--federation --with node,viewer": graph.SubgraphSDL("2.9", "node", "viewer"),
	} {
		if code, out, errs := programtest.Command(t, nil, append([]string{"schema"}, strings.Fields(args)...)...); code != program.ExitOK || out != want {
			t.Errorf("%s: %d %s", args, code, errs)
		}
	}
	for args, want := range map[string]string{
		"--with node": "--with needs --federation", "--federation=2.0": "must be 2.9 or 2.3", "--federation --with retriever": "must be node or viewer",
	} {
		if code, out, errs := programtest.Command(t, nil, append([]string{"schema"}, strings.Fields(args)...)...); code != program.ExitUsage || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %s%s", args, code, out, errs)
		}
	}
}

var keyID = regexp.MustCompile(`^key_[0-9A-Za-z]{24}$`)

// The key that bootstrap prints must work. A second run must add to the organization instead of creating another one of the same name.
func TestBootstrap(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		ids := regexp.MustCompile(`(?:org|int|ns)_[0-9A-Za-z]{24}`)
		run := func(namespace string) (found []string, key string) {
			code, out, errs := programtest.Command(t, d.Env, "bootstrap", "--organization", "Acme GmbH", "--namespace", namespace, "--email", "a@example.com")
			if code != program.ExitOK {
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
			t.Errorf("the second run: got ids %v, want %v", again, first)
		}
		if other[0] != first[0] || other[1] != first[1] || other[2] == first[2] {
			t.Errorf("another namespace: got ids %v, want the organization of %v and a new namespace", other, first)
		}
		// After an incident, the first question about an admin key is who created it, and when.
		trail := programtest.StoredEvents(t, d)
		if len(trail) != 3 {
			t.Errorf("got %d events for three keys", len(trail))
		}
		for i, e := range trail {
			ns := first[2]
			if i == 2 {
				ns = other[2]
			}
			if e.Action != apikey.KeyCreated || e.Outcome != apikey.Success || e.ActorType != apikey.Operator || e.ActorID != program.Operator() || e.ActorKeyID != nil ||
				e.ResourceType != apikey.ResourceAPIKey || !keyID.MatchString(e.ResourceID) || string(e.InternalID) != first[1] || string(e.NamespaceID) != ns ||
				e.IPAddress != nil || !slices.ContainsFunc(e.Changes, func(c apikey.FieldChange) bool { return c.Field == "status" && c.After != nil && *c.After == "active" }) {
				t.Errorf("event %d: %+v", i, e)
			}
		}
		if file := programtest.FileContaining(t, d, "pending_events"); file != "" {
			t.Errorf("%s still contains an event in a key's document", file)
		}
		s := programtest.Serve(t, d.Env)
		for _, k := range []string{key, another} {
			got := s.Request(http.MethodPost, "/graphql", `{"query":"{ viewer { permissions internalId namespace { name } } }"}`,
				map[string]string{"Authorization": "Bearer " + k, "X-Namespace": first[2]})
			if got.Body != `{"data":{"viewer":{"permissions":["ADMIN"],"internalId":"`+first[1]+`","namespace":{"name":"production"}}}}` {
				t.Error(got.Body)
			}
		}
	})
}

// An import with one bad document must change nothing and name that document.
func TestImportIsAllOrNothing(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		file := filepath.Join(t.TempDir(), "bad.json")
		bad := `{"namespaces": [{"namespace_id": "ns_1", "namespace_name": "n", "internal_id": "int_1"}],
			"api_keys": [
				{"key_id": "key_1", "key_hash": "h1", "internal_id": "int_1"},
				{"key_id": "key_2", "key_hash": "h2", "internal_id": "int_1", "created_at": "yesterday", "scopes": [{"resource_id": 5}]},
				{"key_id": "key_3", "key_hash": "h1", "internal_id": "int_1"}]}`
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, errs := programtest.Command(t, d.Env, "import", file)
		if code != program.ExitFailed || out != "" {
			t.Errorf("exit code %d, output %q", code, out)
		}
		for _, want := range []string{"api_keys[1].created_at", "api_keys[1].scopes[0].resource_id", "api_keys[2].key_hash", "nothing was imported"} {
			if !strings.Contains(errs, want) {
				t.Errorf("got %s\nwant %s", errs, want)
			}
		}
		good := strings.NewReplacer(`"created_at": "yesterday", "scopes": [{"resource_id": 5}]`, `"created_at": "2026-01-01T00:00:00Z"`, `"key_hash": "h1", "internal_id": "int_1"}]`, `"key_hash": "h3", "internal_id": "int_1"}]`).Replace(bad)
		if err := os.WriteFile(file, []byte(good), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"Imported 4 documents; 0 already existed", "Imported 0 documents; 4 already existed"} {
			if code, out, errs := programtest.Command(t, d.Env, "import", file); code != program.ExitOK || !strings.HasPrefix(out, want) {
				t.Errorf("exit code %d, %q, want %q\n%s", code, out, want, errs)
			}
		}
	})
}

// An import must never reactivate a revoked key.
func TestImportReactivatesNothing(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		programtest.Seeded(t, d)
		revived := programtest.CallerDoc("revoked", "int_a", "org_a")
		programtest.ImportBatch(t, d, document.Batch{Keys: append(programtest.ManyKeys(3), revived)})
		s := programtest.Serve(t, d.Env)
		if got := s.Query("revoked", "production", `{ viewer { keyId } }`); got.Status != http.StatusUnauthorized {
			t.Errorf("%d %s", got.Status, got.Body)
		}
		if got := s.Query("admin", "production", `{ retriever(id: "ret_many") { apiKeys { total } } }`); !strings.Contains(got.Body, `"total":3`) {
			t.Error(got.Body)
		}
	})
}

func TestHealth(t *testing.T) {
	s := programtest.Serve(t, programtest.Embedded(t).Env)
	for path, want := range map[string]string{"/healthz": `{"status":"ok"}`, "/readyz": `{"status":"ready"}`} {
		if got := s.Request(http.MethodGet, path, "", nil); got.Status != http.StatusOK || strings.TrimSpace(got.Body) != want {
			t.Errorf("%s: %d %s", path, got.Status, got.Body)
		}
	}
	addr := strings.TrimPrefix(s.URL, "http://")
	if code, _, errs := programtest.Command(t, programtest.Fields{"LISTEN_ADDR": addr}, "healthcheck"); code != program.ExitOK {
		t.Errorf("healthcheck: %d %s", code, errs)
	}
	s.Stop()
	if code, _, errs := programtest.Command(t, programtest.Fields{"LISTEN_ADDR": addr}, "healthcheck"); code != program.ExitFailed || errs == "" {
		t.Errorf("healthcheck without a server: %d %q", code, errs)
	}
}

// The first run creates demo data and prints a working key and a link. The next run on the same store changes nothing.
func TestDemo(t *testing.T) {
	d := programtest.Embedded(t)
	d.Env["DEMO"] = "true"
	s := programtest.Serve(t, d.Env)
	key := regexp.MustCompile(`sk_[0-9A-Za-z]{53}\b`).FindString(s.Stdout.Await("Admin key", s.Ended))
	link := s.Stdout.Await("Playground", s.Ended)
	if !strings.Contains(link, s.URL+"/#headers=%7B%22Authorization%22%3A%22Bearer%20"+key) || strings.ContainsAny(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(link), "Playground")), " \"") {
		t.Errorf("link %q", link)
	}
	ask := func(query string) string {
		return s.Request(http.MethodPost, "/graphql", `{"query":"`+query+`"}`, map[string]string{"Authorization": "Bearer " + key, "X-Namespace": "production"}).Body
	}
	if got := ask(`{ retriever(id: \"product-search\") { apiKeys(includeRevoked: true) { total results { status } } } }`); !strings.Contains(got, `"total":32`) ||
		!strings.Contains(got, string(`"ACTIVE"`)) || !strings.Contains(got, `"REVOKED"`) || !strings.Contains(got, `"EXPIRED"`) {
		t.Error(got)
	}
	if got := ask(`{ a: namespace { retrievers { total } } b: namespace(id: \"staging\") { retrievers { total } } }`); got != `{"data":{"a":{"retrievers":{"total":3}},"b":{"retrievers":{"total":2}}}}` {
		t.Error(got)
	}
	if code := s.Stop(); code != program.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if trail := programtest.StoredEvents(t, d); len(trail) != 1 || trail[0].Action != apikey.KeyCreated || trail[0].ActorType != apikey.Operator || trail[0].ActorID != program.Operator() {
		t.Errorf("the admin key's audit trail: %+v", trail)
	}
	if strings.Contains(s.Stderr.String(), key) {
		t.Error("the log contains the key")
	}
	again := programtest.Serve(t, d.Env)
	hint := again.Stdout.Await("bootstrap --organization", again.Ended)
	if !strings.Contains(hint, "'Fjord Media' --namespace production") {
		t.Errorf("hint %q", hint)
	}
	if strings.Contains(again.Stdout.String(), "sk_") {
		t.Error("a key is printed again")
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

// A backup taken while the server runs contains every acknowledged change, and a server can run on it. The command never overwrites a file or
// backs up a store that does not exist.
func TestBackup(t *testing.T) {
	d, copied := programtest.Seeded(t, programtest.Embedded(t)), programtest.Embedded(t)
	file, _ := copied.Env["EMBEDDED_PATH"].(string)
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	s := programtest.Serve(t, d.Env)
	if got := s.Query("admin", "production", `mutation { createApiKey(input: {retrieverId: "ret_many", name: "acknowledged"}) { key } }`); !strings.Contains(got.Body, `"key":"ret_sk_`) {
		t.Fatal(got.Body)
	}
	code, out, errs := programtest.Command(t, d.Env, "backup", file)
	if want := fmt.Sprintf("%d keys, 1 audit event.\n", len(programtest.Fixture().Keys)+len(programtest.OddFixture().Keys)+1); code != program.ExitOK || errs != "" || !strings.Contains(out, file) || !strings.HasSuffix(out, want) {
		t.Errorf("exit code %d, got %q, want the suffix %q\n%s", code, out, want, errs)
	}
	const query = `{ retriever(id: "ret_many") { apiKeys(includeRevoked: true) { total results { keyId name status } } auditEvents { results { id resourceId } } } }`
	want := s.Query("admin", "production", query)
	if got := programtest.Serve(t, copied.Env).Query("admin", "production", query); got.Body != want.Body || !strings.Contains(got.Body, "acknowledged") {
		t.Errorf("the copy: got %s, want %s", got.Body, want.Body)
	}

	dir := t.TempDir()
	missing := filepath.Join(dir, "no", "store.db")
	for _, c := range []struct {
		name string
		env  programtest.Fields
		to   string
		code int
		want string
	}{
		{"over a file", d.Env, file, program.ExitFailed, file + " exists already"},
		{"into no directory", d.Env, filepath.Join(dir, "no", "copy.db"), program.ExitFailed, "no such file or directory"},
		{"of no store", programtest.Fields{"EMBEDDED_PATH": missing}, filepath.Join(dir, "copy.db"), program.ExitFailed, "there is no store at " + missing},
		{"of MongoDB", programtest.Fields{"MONGODB_URI": "mongodb://127.0.0.1:1"}, filepath.Join(dir, "copy.db"), program.ExitUsage, "mongodump"},
	} {
		if code, out, errs := programtest.Command(t, c.env, "backup", c.to); code != c.code || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit code %d, %q, %q, want %d and %q", c.name, code, out, errs, c.code, c.want)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// No command replaces a damaged store or writes to it. Otherwise all keys could be lost, or a revoked one could work again.
func TestDamagedStoreIsNotChanged(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	path, _ := d.Env["EMBEDDED_PATH"].(string)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := whole[:len(whole)/2]
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{}, {"serve"}, {"bootstrap", "--organization", "A", "--namespace", "n"}, {"import", programtest.WriteImport(t, programtest.Fixture())},
		{"backup", filepath.Join(t.TempDir(), "copy.db")}, {"keys", "list", "--namespace", "production", "--search", "a"},
	} {
		code, out, errs := programtest.Command(t, d.Env, args...)
		if code != program.ExitFailed || out != "" || !strings.Contains(errs, path) || !strings.Contains(errs, "damaged") {
			t.Errorf("%v: exit code %d, %q, %q", args, code, out, errs)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, damaged) {
			t.Fatalf("%v changed the file: %v", args, err)
		}
	}
}
