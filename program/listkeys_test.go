package program_test

import (
	"fmt"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
)

// A search in a terminal finds a leaked key among any number of keys, also beyond the server's limit.
func TestKeysListSearchesWithoutLimit(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	var b document.Batch
	for i := range apikey.RankLimit + 1 {
		b.Keys = append(b.Keys, programtest.KeyDoc(fmt.Sprintf("key_many_%05d", i), "ret_bare"))
	}
	programtest.ImportBatch(t, d, b)
	for _, args := range [][]string{{"--retriever", "bare"}, {}} {
		out := programtest.MustRun(t, d, append([]string{"keys", "list", "--namespace", "ns_prod", "--search", "MANY_00007"}, args...)...)
		if !strings.Contains(out, "key_many_00007") || !strings.Contains(out, "1 key.") {
			t.Errorf("%v lists\n%s", args, out)
		}
	}
}

// A terminal executes control sequences, so no command may print those of a stored name or of an argument.
func TestKeysListIsHarmlessToATerminal(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	b := programtest.Fixture()
	b.Namespaces, b.Retrievers = nil, nil
	b.Keys = b.Keys[:0]
	b.Keys = append(b.Keys, programtest.KeyDoc("key_nasty", "ret_bare", programtest.Fields{"name": "\x1b[2Jgone\ttab\nline\u202e"}))
	programtest.ImportBatch(t, d, b)
	out := programtest.MustRun(t, d, "keys", "list", "--namespace", "ns_prod", "--retriever", "bare")
	if strings.ContainsAny(out, "\x1b\t\u202e") || len(strings.Split(out, "\n")) != 4 {
		t.Errorf("it prints %q", out)
	}
	for _, args := range [][]string{{"keys", "\x1b[31m"}, {"keys", "list", "--namespace", "\x1b[2J", "--retriever", "x"}, {"keys", "scan", "no\x1b[31mfile"}, {"import", "no\u009bfile"}} {
		if _, out, errs := programtest.Command(t, d.Env, args...); strings.ContainsAny(out+errs, "\x1b\u009b") {
			t.Errorf("%q prints %q", args, errs)
		}
	}
}

// A key of two retrievers appears once in the list of their namespace, and once in the list of each retriever.
func TestKeysListShowsEachKeyOnce(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = programtest.Seeded(t, d)
		programtest.ImportBatch(t, d, document.Batch{Keys: []bson.Raw{programtest.KeyDoc("key_two", "ret_main", programtest.Fields{
			"scopes": []programtest.Fields{programtest.Scope("retriever", "ret_main", "execute_retriever"), programtest.Scope("retriever", "ret_bare", "execute_retriever")},
		})}})
		for where, want := range map[string]int{"": 1, "ret_main": 1, "ret_bare": 1, "ret_odd": 0} {
			args := []string{"keys", "list", "--namespace", "ns_prod", "--json"}
			if where != "" {
				args = append(args, "--retriever", where)
			}
			if out := programtest.MustRun(t, d, args...); strings.Count(out, `"key_id": "key_two"`) != want {
				t.Errorf("%v: %d times, want %d", args, strings.Count(out, `"key_id": "key_two"`), want)
			}
		}
	})
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
