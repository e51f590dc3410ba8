package program_test

import (
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
)

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
