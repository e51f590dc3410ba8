package program_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
)

// The log warns of keys that no list shows. A dry run says what a repair would change, and --yes repairs them while a server runs.
func TestRepairCommand(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		programtest.ImportBatch(t, d, programtest.Fixture())
		numbered := func(name string, tenant string) bson.Raw {
			return programtest.KeyDoc(name, "ret_main", programtest.Fields{"_id": 7, "key_id": nil, "internal_id": tenant})
		}
		programtest.Insert(t, d, document.Batch{Keys: []bson.Raw{numbered("numbered", "int_a")}})
		s := programtest.Serve(t, d.Env)
		const warning = "without a key_id are not listed: run retrieverkeys repair"
		if !strings.Contains(s.Stderr.String(), warning) { // it may be logged before Serve returns
			s.Stderr.Await(warning, s.Ended)
		}
		if log := s.Stderr.String(); !regexp.MustCompile(warning + `.*"count":1\b`).MatchString(log) {
			t.Errorf("got log\n%s", log)
		}
		total := func() string {
			return s.Query("admin", "production", `{ retriever(id: "ret_main") { apiKeys(includeRevoked: true) { total } } }`).Body
		}
		before := total()
		for _, c := range []struct {
			args []string
			want string
		}{
			{[]string{"repair"}, "1 key would get a key_id: 0 from their _id, 1 a new one.\nNothing was written. Run retrieverkeys repair --yes to write.\n"},
			{[]string{"repair", "--yes"}, "1 key got a key_id: 0 from their _id, 1 a new one.\n"},
			{[]string{"repair", "--yes"}, "No key needs a key_id.\n"},
			{[]string{"repair"}, "No key needs a key_id.\n"},
		} {
			if after := total(); (after != before) != (c.want == "No key needs a key_id.\n") {
				t.Errorf("before %q: got list %s, and %s at the start", c.args, after, before)
			}
			if code, out, errs := programtest.Command(t, d.Env, c.args...); code != program.ExitOK || out != c.want || errs != "" {
				t.Errorf("%q: exit code %d, %q, %q", c.args, code, out, errs)
			}
		}
	})
}

// A key that another program stored without a key_id authenticates, and its _id becomes its id. If another key has this id, the key is skipped
// and printed.
func TestRepairOfForeignKeys(t *testing.T) {
	d := programtest.OnMongoDB(t)
	programtest.ImportBatch(t, d, programtest.Fixture())
	uri, _ := d.Env["MONGODB_URI"].(string)
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(t.Context()) }()
	name, _ := d.Env["MONGODB_DATABASE"].(string)
	admin := programtest.CallerDoc("legacy_admin", "int_a", "org_a", programtest.Fields{"_id": "legacy_admin", "permissions": []string{"admin"}, "key_id": nil})
	taken := programtest.KeyDoc("taken", "ret_main", programtest.Fields{"_id": "key_full", "key_id": nil, "internal_id": "int_a"})
	if _, err := client.Database(name).Collection(document.Keys).InsertMany(t.Context(), []any{admin, taken}); err != nil {
		t.Fatal(err)
	}
	s := programtest.Serve(t, d.Env)
	if got := s.Query("legacy_admin", "production", `{ viewer { keyId } }`); got.Body != `{"data":{"viewer":{"keyId":"legacy_admin"}}}` {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	code, out, errs := programtest.Command(t, d.Env, "repair", "--yes")
	if code != program.ExitFailed || !strings.HasPrefix(out, "1 key got a key_id: 1 from their _id, 0 a new one.\n") ||
		!strings.Contains(errs, `key_full of organization int_a: _id "key_full"`) {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
	if code, _, errs := programtest.Command(t, d.Env, "keys", "revoke", "--yes", "legacy_admin"); code != program.ExitOK {
		t.Errorf("revoke: exit code %d, %s", code, errs)
	}
	if got := s.Query("legacy_admin", "production", `{ viewer { keyId } }`); got.Status != http.StatusUnauthorized {
		t.Errorf("%d %s", got.Status, got.Body)
	}
}
