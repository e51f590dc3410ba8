package program_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
)

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
		{"over a file", d.Env, file, program.ExitFailed, file + " already exists"},
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
