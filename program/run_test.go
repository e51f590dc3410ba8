package program_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"retrieverkeys/config"
	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
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
			"PERSISTED_OPERATIONS": "none.json", "PERSISTED_ONLY": "surely", "GATE_PATH": "/v1/{id}/execute",
			"MAX_DEPTH": "0", "MAX_RESPONSE_BYTES": "0", "MAX_COMPLEXITY": "much", "MAX_TOKENS": "9223372036854775807", "ADMIN_ADDR": "on", "RATE_LIMIT_PER_MINUTE": "-1", "REST": "true",
		}, []string{"REDIS_URL must be", "AUTH_FAILURES_PER_MINUTE", "MAX_CONCURRENT_REQUESTS", "MAX_CONNECTIONS", "ADMIN_ADDR", "RATE_LIMIT_PER_MINUTE", "MAX_TOKENS", "MAX_DEPTH", "MAX_RESPONSE_BYTES", "MAX_COMPLEXITY", `CORS_ALLOWED_ORIGINS names "app.example.com"`, "CORS_ALLOWED_ORIGINS names *", `CORS_ALLOWED_HEADERS names "no header"`, `"proxy" is neither`, "PERSISTED_OPERATIONS open none.json", `GATE_PATH="/v1/{id}/execute" must have {retriever_id} as one whole segment`, "PERSISTED_ONLY", "LISTEN_ADDR", "MONGODB_URI", "INTROSPECTION", "PLAYGROUND", `REST="true" must be on or off`, "DEMO", "REQUEST_TIMEOUT", "SHUTDOWN_DELAY", "MAX_BODY_BYTES", "LOG_FORMAT", "LOG_LEVEL"}},
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
		{[]string{"keys", "list", "--namespace", "x", "--help"}, []string{"Usage: retrieverkeys keys list [--namespace NS", "  --search TEXT            only keys with TEXT", "Example:"}},
		{[]string{"keys", "create", "--help"}, []string{"Usage: retrieverkeys keys create --namespace NS", "required"}},
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
