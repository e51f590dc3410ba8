package program_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
)

// Tables show names in Persian, Hindi or Japanese, and emoji, unchanged and aligned. They replace characters that would change the terminal or
// reverse the rest of the line.
func TestNamesOnATerminal(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	type name struct{ stored, shown, inJSON string }
	names := []name{
		{"می\u200cخواهم", "", ""},
		{"क्\u200dष", "", ""},
		{"👨‍👩‍👧 family 👍🏽", "", ""},
		{"山田　太郎", "", ""},
		{"a\u00a0b", "", ""},
		{"\U0001F3F4\U000e0067\U000e0062\U000e007f!", "\U0001F3F4\U000e0067\U000e0062\U000e007f!", "\U0001F3F4" + `\udb40\udc67\udb40\udc62\udb40\udc7f!`},
		{"\u0601١٢", "", ""},
		{"\x1b[2Jgone", "\ufffd[2Jgone", `\u001b[2Jgone`},
		{"c1\u009b2J\u007f", "c1\ufffd2J\ufffd", `c1\u009b2J\u007f`},
		{"turned\u202e\u2066\u200f\u061c", "turned\ufffd\ufffd\ufffd\ufffd", `turned\u202e\u2066\u200f\u061c`},
		{"line\nbreak\u2028\u2029", "line\ufffdbreak\ufffd\ufffd", `line\u000abreak\u2028\u2029`},
		{"hidden\U000e0041\ufeff\u200b", "hidden\ufffd\ufffd\ufffd", `hidden\udb40\udc41\ufeff\u200b`},
	}
	var b document.Batch
	for i, n := range names {
		b.Keys = append(b.Keys, programtest.KeyDoc(fmt.Sprintf("key_name_%02d", i), "ret_bare", programtest.Fields{"name": n.stored}))
	}
	programtest.ImportBatch(t, d, b)
	rows := map[string]string{}
	table := programtest.MustRun(t, d, "keys", "list", "--namespace", "ns_prod", "--retriever", "bare")
	lines := strings.Split(table, "\n")
	for _, line := range lines {
		rows[strings.SplitN(line, " ", 2)[0]] = line
	}
	listed := programtest.MustRun(t, d, "keys", "list", "--namespace", "ns_prod", "--retriever", "bare", "--json")
	var parsed struct {
		Results []struct {
			KeyID string `json:"key_id"`
			Name  string
		}
	}
	if err := json.Unmarshal([]byte(listed), &parsed); err != nil || len(parsed.Results) != len(names) {
		t.Fatalf("%v in %s", err, listed)
	}
	for _, r := range parsed.Results {
		var i int
		if _, err := fmt.Sscanf(r.KeyID, "key_name_%d", &i); err != nil || r.Name != names[i].stored {
			t.Errorf("%s is %q in JSON", r.KeyID, r.Name)
		}
	}
	before, _, _ := strings.Cut(lines[0], "RETRIEVER")
	for i, n := range names {
		shown, inJSON := n.shown, n.inJSON
		if shown == "" {
			shown, inJSON = n.stored, n.stored
		}
		row := rows[fmt.Sprintf("key_name_%02d", i)]
		left, _, found := strings.Cut(row, "bare")
		if !found || !strings.Contains(left, "  "+shown+"  ") || program.Width(left) != program.Width(before) {
			t.Errorf("%q is printed as %q: got %d columns before the next, want %d", n.stored, row, program.Width(left), program.Width(before))
		}
		if !strings.Contains(listed, `"name": "`+inJSON+`"`) {
			t.Errorf("%q is not %s in JSON", n.stored, inJSON)
		}
	}
	code, _, errs := programtest.Command(t, d.Env, "keys", "revoke", "key_name_00")
	if code != program.ExitFailed || !strings.Contains(errs, `key_name_00 "`+names[0].stored+`"`) {
		t.Errorf("got prompt %q", errs)
	}
	if out := programtest.MustRun(t, d, "keys", "revoke", "--yes", "key_name_09"); !strings.Contains(out, `"`+names[9].shown+`"`) {
		t.Errorf("got %q", out)
	}
}

// Without the widths that terminals use, columns are not aligned.
func TestWidth(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "abc": 3, "é": 1, "e\u0301": 1, "名前": 4, "　": 2, "한국": 4, "👍": 2, "👍🏽": 2, "👨‍👩‍👧": 2, "می\u200cخ": 3, "ｶ": 1, "Ａ": 2, "\ufffd": 1, "🇳🇴": 2,
	} {
		if got := program.Width(text); got != want {
			t.Errorf("%q: got %d columns, want %d", text, got, want)
		}
	}
}

// Text of an imported file can neither control the terminal nor forge a line of an error message.
func TestImportErrorsCannotBeForged(t *testing.T) {
	d := programtest.Embedded(t)
	evil := "evil\nretrieverkeys: all is well\r\x1b[2J\u202e"
	text, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	name := string(text)
	for what, file := range map[string]string{
		"a field twice": `{"namespaces": [{"namespace_id": "n", "namespace_name": "n", "internal_id": "i", ` + name + `: 1, ` + name + `: 2}]}`,
		"a list":        `{` + name + `: []}`,
		"a list twice":  `{"namespaces": [], "namespaces": []}`,
		"no JSON":       "{\x1b[2J\n\"",
		"a bad number":  `{"api_keys": [{"key_id": "k", "key_hash": "h", "internal_id": "i", ` + name + `: {"$numberLong": ` + name + `}}]}`,
		"a bad scope":   `{"api_keys": [{"key_id": "k", "key_hash": "h", "internal_id": "i", "scopes": [{` + name + `: 1, "resource_id": 5}, {"operations": ` + name + `}]}]}`,
		"an odd date":   `{"api_keys": [{"key_id": "k", "key_hash": "h", "internal_id": "i", "created_at": ` + name + `}]}`,
	} {
		path := filepath.Join(t.TempDir(), "bad\x1b\n.json")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, errs := programtest.Command(t, d.Env, "import", path)
		if code != program.ExitFailed || out != "" || strings.ContainsAny(errs, "\x1b\r\u202e") {
			t.Errorf("%s: exit code %d, %q", what, code, errs)
		}
		for i, line := range strings.Split(strings.TrimSuffix(errs, "\n"), "\n") {
			if strings.HasPrefix(line, "retrieverkeys: all") || i > 0 && !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: a forged line in %q", what, errs)
			}
		}
	}
}

// Without a warning, the user wonders why no list shows an imported key.
func TestImportWarnsOfMissingReferences(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = programtest.Seeded(t, d)
		var b document.Batch
		for i := range 7 {
			b.Keys = append(b.Keys, programtest.KeyDoc(fmt.Sprintf("key_lost_%d", i), "ret_gone"))
		}
		b.Keys = append(b.Keys, programtest.KeyDoc("key_found", "ret_main"), programtest.KeyDoc("key_new", "ret_new"), programtest.KeyDoc("key_any", "ret_*"),
			programtest.KeyDoc("key_elsewhere", "ret_main", programtest.Fields{"internal_id": "int_other"}))
		b.Retrievers = []bson.Raw{programtest.RetrieverDoc("ret_new", "new", "ns_prod", "int_a"), programtest.RetrieverDoc("ret_homeless", "homeless", "ns_gone", "int_a")}
		file := programtest.WriteImport(t, b)
		for range 2 { // also if they are already stored
			code, out, errs := programtest.Command(t, d.Env, "import", file)
			if code != program.ExitOK || !strings.Contains(out, "documents") {
				t.Errorf("exit code %d, %q", code, out)
			}
			lines := strings.Split(strings.TrimSpace(errs), "\n")
			if len(lines) != 2 || !strings.Contains(lines[0], "8 keys refer to a retriever that is not in the store: key_lost_0 (ret_gone), key_lost_1 (ret_gone)") || !strings.Contains(lines[0], "and 3 more") ||
				!strings.Contains(lines[1], "1 retriever refers to a namespace that is not in the store: ret_homeless (ns_gone)") {
				t.Errorf("warnings: %s", errs)
			}
		}
		if _, _, errs := programtest.Command(t, d.Env, "import", programtest.WriteImport(t, document.Batch{Keys: []bson.Raw{programtest.KeyDoc("key_more", "ret_main")}})); errs != "" {
			t.Errorf("got an unnecessary warning: %s", errs)
		}
	})
}

// At three in the morning nobody knows the namespace of a key. Its id is enough if it is unique. Otherwise the command prints one command for
// each key with this id and revokes none.
func TestRevokeByIDAlone(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = programtest.Seeded(t, d)
		programtest.ImportBatch(t, d, document.Batch{Keys: []bson.Raw{
			programtest.KeyDoc("key_twice", "ret_main"), programtest.KeyDoc("key_homeless", "ret_x", programtest.Fields{"internal_id": "int_without_namespace"}),
		}})
		programtest.ImportBatch(t, d, document.Batch{Keys: []bson.Raw{programtest.KeyDoc("key_twice", "ret_b", programtest.Fields{"internal_id": "int_b", "key_hash": programtest.HashOf("key_twice of b")})}})
		for _, id := range []string{"key_tie_a", "key_orphan", "key_homeless", "key_foreign"} {
			if out := programtest.MustRun(t, d, "keys", "revoke", "--yes", id); !strings.Contains(out, id) || !strings.Contains(out, "was revoked at") {
				t.Errorf("%s: %s", id, out)
			}
		}
		code, out, errs := programtest.Command(t, d.Env, "keys", "revoke", "--yes", "key_twice")
		if code != program.ExitFailed || out != "" || !strings.Contains(errs, `several organizations have a key "key_twice"`) {
			t.Errorf("exit code %d\n%s%s", code, out, errs)
		}
		var choices [][]string
		for line := range strings.Lines(errs) {
			if _, choice, found := strings.Cut(line, "  retrieverkeys "); found {
				choices = append(choices, strings.Fields(choice)[:5])
			}
		}
		if len(choices) != 2 {
			t.Fatalf("choices: %v", choices)
		}
		for _, choice := range choices {
			if out := programtest.MustRun(t, d, append(choice, "--yes")...); !strings.Contains(out, "was revoked at") {
				t.Errorf("%v: %s", choice, out)
			}
		}
	})
}

// The list commands show namespaces, retrievers and keys without a database client.
func TestInventory(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = programtest.Seeded(t, d)
		var namespaces struct {
			Results []struct {
				ID     string `json:"namespace_id"`
				Tenant string `json:"internal_id"`
			}
			Total int
		}
		if err := json.Unmarshal([]byte(programtest.MustRun(t, d, "namespaces", "list", "--json")), &namespaces); err != nil || namespaces.Total != len(programtest.Fixture().Namespaces) || len(namespaces.Results) != namespaces.Total {
			t.Errorf("%v in %+v", err, namespaces)
		}
		if out := programtest.MustRun(t, d, "namespaces", "list"); !strings.Contains(out, "ns_stage") || !strings.Contains(out, "int_b") || !strings.HasSuffix(out, fmt.Sprintf("\n%d namespaces.\n", namespaces.Total)) {
			t.Errorf("it prints\n%s", out)
		}
		all := programtest.MustRun(t, d, "retrievers", "list")
		one := programtest.MustRun(t, d, "retrievers", "list", "--namespace", "ns_prod")
		for _, want := range []string{"ret_main", "ns_prod", "production"} {
			if !strings.Contains(all, want) || !strings.Contains(one, want) {
				t.Errorf("no %s in\n%s\n%s", want, all, one)
			}
		}
		if strings.Contains(one, "ns_b_prod") || !strings.Contains(all, "ns_b_prod") {
			t.Errorf("--namespace does not limit the list:\n%s\n%s", all, one)
		}
		var retrievers struct {
			Results []struct {
				ID string `json:"retriever_id"`
			}
			Total int
		}
		if err := json.Unmarshal([]byte(programtest.MustRun(t, d, "retrievers", "list", "--json")), &retrievers); err != nil || retrievers.Total != len(retrievers.Results) || retrievers.Total < 4 {
			t.Errorf("%v in %+v", err, retrievers)
		}
		if out := programtest.MustRun(t, d, "keys", "list", "--namespace", "ns_prod"); !strings.Contains(out, "key_full") || strings.Contains(out, "key_revoked") || strings.Contains(out, "FOREIGN") {
			t.Errorf("keys list prints\n%s", out)
		}
		if out := programtest.MustRun(t, d, "keys", "list", "--namespace", "ns_prod", "--include-revoked"); !strings.Contains(out, "key_revoked") {
			t.Errorf("keys list --include-revoked prints\n%s", out)
		}
	})
	empty := programtest.Embedded(t)
	programtest.ImportBatch(t, empty, document.Batch{Namespaces: []bson.Raw{programtest.NamespaceDoc("ns", "n", "int")}})
	if out := programtest.MustRun(t, empty, "retrievers", "list"); out != "0 retrievers.\n" {
		t.Errorf("without retrievers: %q", out)
	}
}

// A key to search for can be passed on standard input, so that no shell saves it in its history.
func TestSearchFromStandardInput(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	stdout, stderr := programtest.NewBuffer(), programtest.NewBuffer()
	code := program.Run(t.Context(), []string{"keys", "list", "--namespace", "ns_prod", "--search", "-"}, programtest.Getenv(d.Env), strings.NewReader("  of KEY_full \n"), stdout, stderr)
	if code != program.ExitOK || !strings.Contains(stdout.String(), "key_full") || !strings.Contains(stdout.String(), "1 key.") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}

// closedPipe returns a pipe whose reading end is closed.
func closedPipe(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

// The server keeps running if the program that reads its log exits, and still shuts down cleanly.
func TestServerOutlivesTheReaderOfItsLog(t *testing.T) {
	path, err := programtest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path) // with a demo, which writes to standard output
	cmd.Env = []string{"LISTEN_ADDR=" + address, "ADMIN_ADDR=off", "DEMO=true", "LOG_LEVEL=debug", "EMBEDDED_PATH=" + filepath.Join(t.TempDir(), "store.db")}
	cmd.Stdout, cmd.Stderr = closedPipe(t), w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	_ = w.Close()
	// The server accepts connections before it writes its first line. Close the pipe after that.
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	s := &programtest.Server{T: t, URL: "http://" + address}
	for range 20 {
		if got := s.Request(http.MethodPost, "/graphql", `{"query":"{ __typename }"}`, map[string]string{"Authorization": "Bearer wrong"}); got.Status != http.StatusUnauthorized {
			t.Errorf("%d %s", got.Status, got.Body)
		}
	}
	if got := s.Request(http.MethodGet, "/readyz", "", nil); got.Status != http.StatusOK {
		t.Errorf("/readyz: %d %s", got.Status, got.Body)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// A list whose output is closed is no failure. A lost plaintext is one, and so is an active key with --exit-code.
func TestCommandsWithClosedOutput(t *testing.T) {
	path, err := programtest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	d := programtest.Seeded(t, programtest.Embedded(t))
	key := organizationKey(t, d, "key_scan", "int_a", nil)
	leak := written(t, "leak.log", []byte(key))
	for _, c := range []struct {
		args []string
		code int
		errs string
	}{
		{[]string{"keys", "list", "--namespace", "ns_prod"}, program.ExitOK, ""},
		{[]string{"keys", "list", "--namespace", "ns_prod", "--json"}, program.ExitOK, ""},
		{[]string{"namespaces", "list"}, program.ExitOK, ""},
		{[]string{"schema"}, program.ExitOK, ""},
		{[]string{"--help"}, program.ExitOK, ""},
		{[]string{"version"}, program.ExitOK, ""},
		{[]string{"keys", "scan", leak}, program.ExitOK, ""},
		{[]string{"keys", "scan", "--exit-code", leak}, program.ExitActive, "found an active key"},
		{[]string{"keys", "create", "--namespace", "ns_prod", "--retriever", "main", "--name", "unseen"}, program.ExitFailed, "plaintext could not be printed and is lost"},
		{[]string{"keys", "rotate", "--namespace", "ns_prod", "--json", "key_full"}, program.ExitFailed, "plaintext could not be printed and is lost"},
		{[]string{"bootstrap", "--organization", "Unseen", "--namespace", "unseen"}, program.ExitFailed, "plaintext could not be printed and is lost"},
	} {
		cmd := exec.Command(path, c.args...)
		cmd.Env = []string{fmt.Sprintf("EMBEDDED_PATH=%v", d.Env["EMBEDDED_PATH"])}
		errs := programtest.NewBuffer()
		cmd.Stdout, cmd.Stderr = closedPipe(t), errs
		err := cmd.Run()
		code := cmd.ProcessState.ExitCode()
		if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
			t.Fatal(err)
		}
		if code != c.code || !strings.Contains(errs.String(), c.errs) || c.errs == "" && errs.String() != "" {
			t.Errorf("%v: exit code %d, want %d\n%s", c.args, code, c.code, errs)
		}
	}
	if _, err := (program.Output{Writer: brokenWriter{}}).Write([]byte("x")); errors.Is(err, program.ErrOutputClosed) {
		t.Error("a full disk is treated as closed output")
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

var _ io.Writer = brokenWriter{}

// Browsers cannot open a wildcard address, so the printed URL must not contain one.
func TestPrintedAddressOpens(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "127.0.0.1:0"} {
		d := programtest.Seeded(t, programtest.Embedded(t))
		d.Env["LISTEN_ADDR"] = address
		s := programtest.Serve(t, d.Env)
		if host, _, err := net.SplitHostPort(strings.TrimPrefix(s.URL, "http://")); err != nil || host != "127.0.0.1" {
			t.Errorf("%s prints %s", address, s.URL)
		}
		if got := s.Request(http.MethodGet, "/healthz", "", nil); got.Status != http.StatusOK {
			t.Errorf("%s: %d %s", address, got.Status, got.Body)
		}
	}
	if got := program.URLOf(&net.TCPAddr{IP: net.ParseIP("192.0.2.1"), Port: 80}); got != "http://192.0.2.1:80" {
		t.Errorf("another address prints %s", got)
	}
}

// A store that other users can read exposes every hash, and one that they can write lets them add keys.
func TestExposedStoreIsLogged(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	path, _ := d.Env["EMBEDDED_PATH"].(string)
	s := programtest.Serve(t, d.Env)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if info, err := os.Stat(path + suffix); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path+suffix, info.Mode(), err)
		}
	}
	if strings.Contains(s.Stderr.String(), "other users can access") {
		t.Errorf("a private store: %s", s.Stderr)
	}
	s.Stop()
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	log := programtest.Serve(t, d.Env).Stderr.String()
	for _, want := range []string{path + " has mode 0640", path + "-wal has mode 0640", filepath.Dir(path) + " has mode 0777"} {
		if !strings.Contains(log, want) || !strings.Contains(log, `"level":"WARN"`) {
			t.Errorf("got %s\nwant %s", log, want)
		}
	}
}

// Without this, a web page can let its own host name resolve to this machine (DNS rebinding) and read metrics and profiles.
func TestAdminListenerKnowsItsHosts(t *testing.T) {
	for _, c := range []struct{ address, names, host, refused string }{
		{"127.0.0.1:0", "", "localhost", "rebound.example"},
		{"127.0.0.1:0", "", "127.0.0.1", "192.0.2.1"},
		{"127.0.0.1:0", "metrics.example, other", "METRICS.example.", "example"},
		{"0.0.0.0:0", "", "192.0.2.1", "rebound.example"},
		{":0", "", "[2001:db8::1]", "rebound.example"},
	} {
		d := programtest.Embedded(t)
		d.Env["ADMIN_ADDR"], d.Env["ADMIN_HOSTS"] = c.address, c.names
		s := programtest.Serve(t, d.Env)
		var line struct{ URL string }
		if err := json.Unmarshal([]byte(strings.SplitN(s.Stderr.String(), "\n", 2)[0]), &line); err != nil {
			t.Fatalf("%v in %s", err, s.Stderr)
		}
		for host, want := range map[string]int{
			c.host: http.StatusOK, c.host + ":8081": http.StatusOK, "localhost:1": http.StatusOK, "[::1]:1": http.StatusOK,
			c.refused: http.StatusMisdirectedRequest, c.refused + ":8081": http.StatusMisdirectedRequest, "localhost.rebound.example": http.StatusMisdirectedRequest, "127.0.0.1.rebound.example": http.StatusMisdirectedRequest,
		} {
			for _, path := range []string{"/metrics", "/debug/pprof/cmdline"} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.TrimSuffix(line.URL, "/metrics")+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Host = host
				got := s.Do(req)
				if got.Status != want || want != http.StatusOK && !strings.Contains(got.Body, "ADMIN_HOSTS") {
					t.Errorf("%s asked for %s as %s: %d, want %d: %.200s", c.address, path, host, got.Status, want, got.Body)
				}
			}
		}
	}
}
