package program_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
)

var plaintext = regexp.MustCompile(`\bret_sk_[0-9A-Za-z]{53}\b`)

// The life of a key from a terminal, while a server uses the same store.
func TestKeysCommands(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = programtest.Seeded(t, d)
		s := programtest.Serve(t, d.Env)
		out := programtest.MustRun(t, d, "keys", "create", "--namespace", "ns_prod", "--retriever", "main", "--name", "From a terminal",
			"--expires-at", "2999-01-01T00:00:00Z", "--origin", "https://a.example", "--origin", "https://*.b.example", "--rate-limit", "60")
		first := plaintext.FindString(out)
		id := regexp.MustCompile(`key_[0-9A-Za-z]{24}`).FindString(out)
		got := s.Query("admin", "production", `query($id: ID!) { apiKey(id: $id) { name status expiresAt allowedOrigins rateLimitOverride } }`, programtest.Fields{"id": id})
		want := `{"data":{"apiKey":{"name":"From a terminal","status":"ACTIVE","expiresAt":"2999-01-01T00:00:00.000Z","allowedOrigins":["https://a.example","https://*.b.example"],"rateLimitOverride":60}}}`
		if got.Body != want {
			t.Errorf("the server: %s", got.Body)
		}

		out = programtest.MustRun(t, d, "keys", "rotate", "--namespace", "ns_prod", "--overlap", "1h", "--json", id)
		var rotated struct {
			KeyID    string `json:"key_id"`
			Key      string
			Previous struct {
				KeyID  string `json:"key_id"`
				Status string
			}
		}
		if err := json.Unmarshal([]byte(out), &rotated); err != nil || rotated.Previous.KeyID != id || rotated.Previous.Status != "active" || !plaintext.MatchString(rotated.Key) {
			t.Errorf("%v in %s", err, out)
		}

		for _, args := range [][]string{{"--retriever", "main"}, {"--search", "from a TERM"}} {
			out = programtest.MustRun(t, d, append([]string{"keys", "list", "--namespace", "ns_prod"}, args...)...)
			if !strings.Contains(out, id) || !strings.Contains(out, rotated.KeyID) || strings.Contains(out, "key_revoked") || strings.Contains(out, "FOREIGN") {
				t.Errorf("%v lists\n%s", args, out)
			}
		}

		file := filepath.Join(t.TempDir(), "leak.log")
		if err := os.WriteFile(file, []byte("nothing\nkey="+first+"&also="+rotated.Key+"\n"+first[:59]+"_\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		out = programtest.MustRun(t, d, "keys", "scan", file)
		if !strings.Contains(out, file+":2") || strings.Contains(out, file+":3") || !strings.Contains(out, "1 fragment found") || !strings.Contains(out, ": 59 characters of a key, on line 3 of "+file) || !strings.Contains(out, id) || !strings.Contains(out, "2 keys found, 2 active.") || plaintext.MatchString(out) {
			t.Errorf("scan prints\n%s", out)
		}

		code, out, errs := programtest.Command(t, d.Env, "keys", "revoke", "--namespace", "ns_prod", id)
		if code != program.ExitFailed || out != "" || !strings.Contains(errs, "From a terminal") || !strings.Contains(errs, "nothing was revoked") {
			t.Errorf("unconfirmed: exit code %d\n%s%s", code, out, errs)
		}
		for range 2 { // the second time is not an error
			if out = programtest.MustRun(t, d, "keys", "revoke", "--namespace", "ns_prod", "--yes", id); !strings.Contains(out, "was revoked at") || !strings.Contains(out, "successor "+rotated.KeyID+" was not revoked") {
				t.Errorf("revoke prints %s", out)
			}
		}
		if out = programtest.MustRun(t, d, "keys", "scan", file); !strings.Contains(out, "REVOKED") || !strings.Contains(out, "2 keys found, 1 active") {
			t.Errorf("scan prints\n%s", out)
		}
		programtest.MustRun(t, d, "keys", "revoke", "--namespace", "ns_prod", "--yes", "key_orphan") // its retriever is gone

		operator := 0
		for _, e := range s.RetrieverEvents("main") {
			if e["actorType"] == "operator" && e["actorKeyId"] == nil && e["actorId"] != "" && e["status"] == "success" {
				operator++
			}
		}
		if operator != 3 {
			t.Errorf("got %d events of an operator, want 3", operator)
		}
	})
}

// The audit trail must name the system's user, not a name that the user chose. In a static binary, as it is shipped, os/user would trust the
// environment variable USER.
func TestOperatorsAreNamedByTheSystem(t *testing.T) {
	path, err := programtest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	type identity struct {
		as   *syscall.Credential // nil: this process's own
		name string
	}
	own, err := user.LookupId(strconv.Itoa(os.Getuid()))
	if err != nil {
		t.Fatal(err)
	}
	identities := []identity{{nil, own.Username}}
	if os.Getuid() == 0 { // root can run a process as a user without a name
		identities = append(identities, identity{&syscall.Credential{Uid: 54321, Gid: 54321}, "uid 54321"})
	}
	for _, i := range identities {
		dir := t.TempDir()
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		program := filepath.Join(dir, "retrieverkeys")
		if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o777), os.WriteFile(program, content, 0o755)); err != nil {
			t.Fatal(err)
		}
		run := func(args ...string) string {
			cmd := exec.Command(program, args...)
			cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Credential: i.as}
			cmd.Env = []string{"EMBEDDED_PATH=" + filepath.Join(dir, "store.db"), "USER=ceo", "LOGNAME=ceo", "USERNAME=ceo", "HOME=" + dir}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %v\n%s", args, err, out)
			}
			return string(out)
		}
		key := regexp.MustCompile(`key_[0-9A-Za-z]{24}`).FindString(run("bootstrap", "--organization", "Acme", "--namespace", "production"))
		out := run("keys", "revoke", "--namespace", "production", "--yes", key)
		if !strings.HasSuffix(strings.TrimSpace(out), " by "+i.name+".") {
			t.Errorf("as %s it prints %s", i.name, out)
		}
		trail := programtest.StoredEvents(t, programtest.Deployment{Env: programtest.Fields{"EMBEDDED_PATH": filepath.Join(dir, "store.db")}})
		if len(trail) != 2 {
			t.Errorf("got %d events, want the creation and the revocation", len(trail))
		}
		for _, e := range trail {
			if e.ActorID != i.name || e.ActorType != apikey.Operator {
				t.Errorf("%s: got actor %s, want %s", e.Action, e.ActorID, i.name)
			}
		}
	}
}

// A wrong command reports what is wrong and changes nothing.
func TestKeysCommandsRefuse(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	for _, c := range []struct {
		want string
		code int
		args []string
	}{
		{"list, create, rotate, revoke or scan", program.ExitUsage, []string{"keys"}},
		{`unknown command "keys kill"`, program.ExitUsage, []string{"keys", "kill"}},
		{"--namespace is required", program.ExitUsage, []string{"keys", "create"}},
		{"--retriever needs --namespace", program.ExitUsage, []string{"keys", "list", "--retriever", "main"}},
		{"--status must be active, revoked or expired, not \"dead\"", program.ExitUsage, []string{"keys", "list", "--status", "dead"}},
		{"--type must be standard, marketplace_subscription, retriever, user_scoped or session", program.ExitUsage, []string{"keys", "list", "--type", "unknown"}},
		{"--created-after must be a date such as 2026-11-01 or an RFC 3339 time such as 2026-11-01T03:00:00Z, not \"yesterday\"", program.ExitUsage, []string{"keys", "list", "--created-after", "yesterday"}},
		{"--created-before must be after --created-after", program.ExitUsage, []string{"keys", "list", "--created-after", "2026-02-02", "--created-before", "2026-02-01"}},
		{"--expires-before must be after --expires-after", program.ExitUsage, []string{"keys", "list", "--namespace", "ns_prod", "--expires-after", "2026-02-02", "--expires-before", "2026-02-02"}},
		{"--search must have at most 200 characters, not 201", program.ExitUsage, []string{"keys", "list", "--search", strings.Repeat("x", 201)}},
		{"there is no organization \"nowhere\"", program.ExitFailed, []string{"keys", "list", "--organization", "nowhere"}},
		{"there is no namespace \"ns_prod\"", program.ExitFailed, []string{"keys", "list", "--organization", "int_b", "--namespace", "ns_prod"}},
		{"--reason must have 1 to 200 characters", program.ExitUsage, []string{"keys", "revoke", "--yes", "--reason", " ", "key_tie_a"}},
		{"keys revoke - needs --yes or --dry-run", program.ExitUsage, []string{"keys", "revoke", "-"}},
		{"keys revoke - needs key ids on standard input", program.ExitFailed, []string{"keys", "revoke", "--yes", "-"}},
		{`unknown command "kyes"; did you mean keys?`, program.ExitUsage, []string{"kyes", "list"}},
		{`unknown command "keys lsit"; did you mean keys list?`, program.ExitUsage, []string{"keys", "lsit"}},
		{`unknown command "namespace"; did you mean namespaces?`, program.ExitUsage, []string{"namespace", "list"}},
		{`unknown command "revoke"; did you mean keys revoke?`, program.ExitUsage, []string{"revoke", "key_1"}},
		{"namespaces needs a subcommand: list", program.ExitUsage, []string{"namespaces"}},
		{"unknown flag --namspace; did you mean --namespace?", program.ExitUsage, []string{"keys", "list", "--namspace", "ns_prod"}},
		{"unknown flag --wholly-other\n", program.ExitUsage, []string{"keys", "list", "--wholly-other"}},
		{"--namespace needs a value", program.ExitUsage, []string{"keys", "list", "--namespace"}},
		{`--json takes no value, but has "maybe"`, program.ExitUsage, []string{"keys", "list", "--json=maybe"}},
		{"--search - needs text on standard input", program.ExitFailed, []string{"keys", "list", "--namespace", "ns_prod", "--search", "-"}},
		{`there is no key "key_nowhere" in the store`, program.ExitFailed, []string{"keys", "revoke", "--yes", "key_nowhere"}},
		{"--name is required", program.ExitUsage, []string{"keys", "create", "--namespace", "ns_prod", "--retriever", "main"}},
		{"RFC 3339", program.ExitUsage, []string{"keys", "create", "--expires-at", "soon"}},
		{"greater than zero", program.ExitUsage, []string{"keys", "create", "--rate-limit", "0"}},
		{"takes one or more key ids, not 0", program.ExitUsage, []string{"keys", "revoke", "--namespace", "ns_prod"}},
		{"takes one key id, not 2", program.ExitUsage, []string{"keys", "rotate", "--namespace", "ns_prod", "a", "b"}},
		{"a duration", program.ExitUsage, []string{"keys", "rotate", "--overlap", "long", "--namespace", "ns_prod", "a"}},
		{"takes one or more files, not 0", program.ExitUsage, []string{"keys", "scan"}},
		{"--rules must be gitleaks or detect-secrets, not \"trufflehog\"\nRun 'retrieverkeys --help' for", program.ExitUsage, []string{"keys", "scan", "--rules", "trufflehog"}},
		{"--rules needs a value", program.ExitUsage, []string{"keys", "scan", "--rules"}},
		{"--rules cannot be combined with a file", program.ExitUsage, []string{"keys", "scan", "--rules", "gitleaks", "app.log"}},
		{"--rules cannot be combined with --exit-code: it prints rules and scans nothing\nretrieverkeys: --rules cannot be combined with --json", program.ExitUsage, []string{"keys", "scan", "--json", "--exit-code", "--rules", "gitleaks"}},
		{"--rules cannot be combined with --report", program.ExitUsage, []string{"keys", "scan", "--rules", "gitleaks", "--report"}},
		{`no namespace "nowhere"`, program.ExitFailed, []string{"keys", "list", "--namespace", "nowhere", "--retriever", "main"}},
		{"several organizations have a namespace \"production\": use one of these ids\n  ns_b_prod   of int_b\n  ns_prod   of int_a\n", program.ExitFailed, []string{"keys", "list", "--namespace", "production", "--retriever", "main"}},
		{"No such retriever", program.ExitFailed, []string{"keys", "list", "--namespace", "ns_prod", "--retriever", "nothing"}},
		{"No such API key", program.ExitFailed, []string{"keys", "revoke", "--namespace", "ns_prod", "--yes", "key_foreign"}},
		{"No such API key", program.ExitFailed, []string{"keys", "rotate", "--namespace", "ns_prod", "key_orphan"}},
		{"This key is revoked", program.ExitFailed, []string{"keys", "rotate", "--namespace", "ns_prod", "key_revoked"}},
		{"--expires-at must be in the future", program.ExitUsage, []string{"keys", "create", "--namespace", "ns_prod", "--retriever", "main", "--name", "x", "--expires-at", "2020-01-01T00:00:00Z"}},
		{"--overlap must be 0 to 2592000, which is 30 days", program.ExitUsage, []string{"keys", "rotate", "--namespace", "ns_prod", "--overlap", "721h", "key_tie_a"}},
		{"--name must have at most 100 characters, not 101", program.ExitUsage, []string{"keys", "create", "--namespace", "ns_prod", "--retriever", "main", "--name", strings.Repeat("x", 101)}},
		{"--origin[1] must be an origin", program.ExitUsage, []string{"keys", "create", "--namespace", "ns_prod", "--retriever", "main", "--name", "x", "--origin", "https://a.example", "--origin", "b"}},
		{"no such file", program.ExitFailed, []string{"keys", "scan", filepath.Join(t.TempDir(), "none")}},
	} {
		code, out, errs := programtest.Command(t, d.Env, c.args...)
		if code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%v: exit code %d, want %d and %q\n%s%s", c.args, code, c.code, c.want, out, errs)
		}
		if toHelp := strings.HasSuffix(errs, "\nRun 'retrieverkeys --help' for commands and settings.\n"); toHelp != (code == program.ExitUsage) {
			t.Errorf("%v: exit code %d\n%s", c.args, code, errs)
		}
		for line := range strings.Lines(errs) {
			if strings.HasPrefix(line, "retrieverkeys: ") && strings.HasSuffix(line, ".\n") {
				t.Errorf("%v: an error ends with a full stop: %s", c.args, line)
			}
		}
	}
}

// The domain's limits on a flag are reported like all others: together, before the store is opened. Without this, a script cannot tell its own mistake
// from a store that is down.
func TestWrongFlagsAreReportedAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "store.db")
	long := strings.Repeat("x", 201)
	_, secret := apikey.NewAdminKey(apikey.Namespace{}, "usr_a", "a", "", time.Now())
	key := "a " + secret.Reveal()
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"keys", "list", "--search", long, "--created-after", "2026-11-02", "--created-before", "2026-11-02", "--expires-after", "2026-11-02", "--expires-before", "2026-11-01", "--status", "dead", "--type", "odd"}, []string{
			`--status must be active, revoked or expired, not "dead"`, `--type must be standard, marketplace_subscription, retriever, user_scoped or session, not "odd"`,
			"--created-before must be after --created-after", "--expires-before must be after --expires-after", "--search must have at most 200 characters, not 201",
		}},
		{[]string{"keys", "create", "--name", "", "--origin", "foo", "--expires-at", "2020-01-01T00:00:00Z", "--description", "\x00", "--rate-limit", "0"}, []string{
			`--rate-limit must be a whole number greater than zero, not "0"`, "--namespace is required", "--retriever is required", "--name must have 1 to 100 characters",
			"--description must not contain control characters", "--expires-at must be in the future",
			"--origin[0] must be an origin as browsers send it, such as https://app.example.com or https://xn--bcher-kva.example, or all subdomains as in https://*.example.com, and nothing behind it",
		}},
		{[]string{"keys", "create", "--namespace", "x", "--retriever", "x"}, []string{"--name is required"}},
		{[]string{"keys", "rotate", "--overlap", "721h", "--expires-at", "2020-01-01T00:00:00Z", "key_1"}, []string{
			"--namespace is required", "--expires-at must be in the future", "--overlap must be 0 to 2592000, which is 30 days",
		}},
		{[]string{"keys", "rotate", "--namespace", "x", "--overlap", "-1s", "key_1"}, []string{`--overlap must be a duration such as 24h, not "-1s"`}},
		{[]string{"keys", "revoke", "--reason", "", "key_1"}, []string{"--reason must have 1 to 200 characters"}},
		{[]string{"keys", "revoke", "--reason", long, "-"}, []string{"keys revoke - needs --yes or --dry-run: it reads ids from standard input, so it cannot ask", "--reason must have at most 200 characters, not 201"}},
		{[]string{"keys", "revoke", "--yes", "--reason", "a\nb", "key_1"}, []string{"--reason must not contain control characters"}},
		{[]string{"keys", "revoke", "--yes", "--reason", key, "key_1"}, []string{"--reason must not contain an API key"}},
		{[]string{"keys", "create", "--namespace", "x", "--retriever", "x", "--name", key, "--description", key, "--origin", "https://" + secret.Reveal()}, []string{
			"--name must not contain an API key", "--description must not contain an API key", "--origin[0] must not contain an API key",
		}},
		{[]string{"bootstrap", "--organization", key, "--namespace", key, "--email", key}, []string{
			"--organization must not contain an API key", "--namespace must not contain an API key", "--email must not contain an API key",
		}},
	} {
		want := "retrieverkeys: " + strings.Join(c.want, "\nretrieverkeys: ") + "\nRun 'retrieverkeys --help' for commands and settings.\n"
		code, out, errs := programtest.Command(t, programtest.Fields{"EMBEDDED_PATH": path}, c.args...)
		if code != program.ExitUsage || out != "" || errs != want {
			t.Errorf("%v: exit code %d\n%s%s", c.args, code, out, cmp.Diff(want, errs))
		}
	}
}

// What only a command can find wrong with its arguments is reported in the same way.
func TestWrongFlagsThatNeedTheStore(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	d.Env["KEY_MAX_LIFETIME"] = "90d"
	before := programtest.Dump(t, d)
	for want, args := range map[string][]string{
		"--expires-at must not be after ":                      {"keys", "create", "--namespace", "ns_prod", "--retriever", "main", "--name", "x", "--expires-at", "2999-01-01T00:00:00Z"},
		"--expires-at must be set, because keys live for":      {"keys", "create", "--namespace", "ns_prod", "--retriever", "main", "--name", "x"},
		"--search must have at most 200 characters, not 201\n": {"keys", "list", "--search", "-"},
	} {
		code, out, errs := programtest.CommandWithInput(t, d.Env, strings.Repeat("x", 201), args...)
		if code != program.ExitUsage || out != "" || !strings.HasPrefix(errs, "retrieverkeys: "+want) || !strings.HasSuffix(errs, "\nRun 'retrieverkeys --help' for commands and settings.\n") || strings.Contains(errs, ".\nRun") {
			t.Errorf("%v: exit code %d, want %q\n%s%s", args, code, want, out, errs)
		}
	}
	if diff := cmp.Diff(before, programtest.Dump(t, d)); diff != "" {
		t.Errorf("a command wrote (-before +after):\n%s", diff)
	}
}

// A scan shows the current status of a key, which can differ from its stored status.
func TestKeysScanShowsStatus(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	var b document.Batch
	var leaked strings.Builder
	states := []struct {
		status   string
		document programtest.Fields
	}{
		{"ACTIVE", programtest.Fields{}},
		{"ACTIVE", programtest.Fields{"expires_at": programtest.Date("2999-01-01T00:00:00Z")}},
		{"EXPIRED", programtest.Fields{"expires_at": programtest.Date("2020-01-01T00:00:00Z")}},
		{"REVOKED", programtest.Fields{"revoked_at": programtest.Date("2020-01-01T00:00:00Z")}},
		{"UNKNOWN", nil},
	}
	for i, state := range states {
		_, secret := apikey.NewAdminKey(apikey.Namespace{}, "", "", "", time.Now())
		leaked.WriteString(secret.Reveal() + "\n")
		if state.document != nil {
			b.Keys = append(b.Keys, programtest.KeyDoc(fmt.Sprintf("key_scanned_%d", i), "ret_main", state.document, programtest.Fields{"key_hash": secret.Hash()}))
		}
	}
	programtest.ImportBatch(t, d, b)
	file := filepath.Join(t.TempDir(), "leak.log")
	if err := os.WriteFile(file, []byte(leaked.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(programtest.MustRun(t, d, "keys", "scan", file), "\n")
	for i, state := range states {
		if cells := strings.Fields(lines[i+1]); cells[0] != fmt.Sprintf("%s:%d", file, i+1) || cells[2] != state.status {
			t.Errorf("%v shows as %v", state, cells)
		}
	}
	if want := "5 keys found, 2 active."; lines[len(states)+1] != want {
		t.Errorf("%q, want %q", lines[len(states)+1], want)
	}
}

// Without this, a forgotten setting creates an empty store, and a scan reports that a leaked key is unknown.
func TestKeysCommandsCreateNoStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "store.db")
	for _, args := range [][]string{
		{"keys", "scan", "README.md"},
		{"keys", "list", "--namespace", "ns_prod", "--search", "ret_sk_"},
		{"keys", "revoke", "--namespace", "ns_prod", "--yes", "key_1"},
	} {
		code, out, errs := programtest.Command(t, programtest.Fields{"EMBEDDED_PATH": path}, args...)
		if code != program.ExitFailed || out != "" || !strings.Contains(errs, "there is no store at "+path) {
			t.Errorf("%v: exit code %d\n%s%s", args, code, out, errs)
		}
	}
	if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory was created: %v", err)
	}
}

// Every command and operation of docs/leaked-key.md works as written, because its reader has no time to correct them.
func TestLeakedKeyPage(t *testing.T) {
	page, err := os.ReadFile("../docs/leaked-key.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```(sh|graphql)\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) != 12 {
		t.Fatalf("got %d blocks, want 12", len(blocks))
	}
	path, err := programtest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = programtest.Seeded(t, d)
		programtest.ImportBatch(t, d, document.Batch{Keys: []bson.Raw{
			programtest.KeyDoc("key_of_mallory", "ret_gone", programtest.Fields{"created_by": "usr_mallory"}),
			programtest.KeyDoc("key_of_mallory_too", "ret_b", programtest.Fields{"created_by": "usr_mallory", "internal_id": "int_b"}),
		}})
		s := programtest.Serve(t, d.Env)
		made := s.Mutate("admin", `createApiKey(input: {retrieverId: "main", name: "Leaked"}) { key apiKey { keyId keyPrefix } }`)
		id, prefix, secret := programtest.TextAt(made, "apiKey", "keyId"), strings.TrimSuffix(programtest.TextAt(made, "apiKey", "keyPrefix"), "..."), programtest.TextAt(made, "key")
		file := filepath.Join(t.TempDir(), "paste.txt")
		if err := os.WriteFile(file, []byte("token: "+secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		const both = "key_of_mallory "
		for i, wants := range [][]string{
			{id}, {id, "1 key."}, {id}, {"was revoked at", "Reason: Leaked"}, {`"status":"REVOKED"`},
			{both, "key_of_mallory_too", "2 keys."}, {both, "WOULD_REVOKE", "2 keys."}, {both, "  REVOKED", "2 keys."}, {`"outcome":"ALREADY_REVOKED"`, `"outcome":"WOULD_REVOKE"`}, {"api_key_revoked", `"after":"Leaked"`},
			{"1 key reported as leaked."}, {`"revoked":true`, `"leak":{"reportedAt":`, `"source":"keys scan"`},
		} {
			language, text := blocks[i][1], blocks[i][2]
			var got string
			if language == "sh" {
				shell := exec.Command("sh", "-c", text)
				shell.Env = []string{"PATH=" + filepath.Dir(path) + ":" + os.Getenv("PATH"), "FILE=" + file, "PREFIX=" + prefix, "KEY_ID=" + id, "CREATOR=usr_mallory"}
				for name, value := range d.Env {
					shell.Env = append(shell.Env, fmt.Sprintf("%s=%v", name, value))
				}
				out, err := shell.CombinedOutput()
				if err != nil {
					t.Errorf("%s: %v", text, err)
				}
				got = string(out)
			} else {
				variables := programtest.Fields{}
				for name, v := range (programtest.Fields{"hash": programtest.HashOf(secret), "key": id, "keys": []string{id, "key_tie_a"}, "leaks": []programtest.Fields{{"hash": programtest.HashOf(secret)}}}) {
					if strings.Contains(text, "$"+name+":") {
						variables[name] = v
					}
				}
				got = s.Query("admin", "production", text, variables).Body
			}
			for _, want := range wants {
				if !strings.Contains(got, want) || strings.Contains(got, "errors") || strings.Contains(got, secret) {
					t.Errorf("%s\nanswers %s, want %s", text, got, want)
				}
			}
		}
	})
}
