package program_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

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

// Closing the output of a list is not a failure. Losing a plaintext is, and so is an active key with --exit-code.
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
