package main

import (
	"net/http"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"retrieverkeys/store/document"
)

// An operator learns of keys that no list shows, sees what a repair would do, and repairs them while a server runs.
func TestRepairCommand(t *testing.T) {
	onEveryStore(t, func(t *testing.T, d deployment) {
		importBatch(t, d, fixture())
		numbered := func(name string, tenant string) bson.Raw {
			return keyDoc(name, "ret_main", fields{"_id": 7, "key_id": nil, "internal_id": tenant})
		}
		insert(t, d, document.Batch{Keys: []bson.Raw{numbered("numbered", "int_a")}})
		s := serve(t, d.env)
		if line := s.errors.await("without a key_id are not listed: run retrieverkeys repair", s.ended); !strings.Contains(line, `"count":1`) {
			t.Errorf("it logs %q", line)
		}
		total := func() string {
			return s.query("admin", "production", `{ retriever(id: "ret_main") { apiKeys(includeRevoked: true) { total } } }`).body
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
				t.Errorf("before %q the list is %s, and was %s", c.args, after, before)
			}
			if code, out, errs := command(t, d.env, c.args...); code != exitOK || out != c.want || errs != "" {
				t.Errorf("%q: exit code %d, %q, %q", c.args, code, out, errs)
			}
		}
	})
}

// A key that another program stored without a key_id authenticates and is revoked by its _id, which stays its id. One whose id is taken is left
// and named.
func TestRepairOfForeignKeys(t *testing.T) {
	d := onMongoDB(t)
	importBatch(t, d, fixture())
	client, err := mongo.Connect(options.Client().ApplyURI(testURI))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(t.Context()) }()
	name, _ := d.env["MONGODB_DATABASE"].(string)
	admin := callerDoc("legacy_admin", "int_a", "org_a", fields{"_id": "legacy_admin", "permissions": []string{"admin"}, "key_id": nil})
	taken := keyDoc("taken", "ret_main", fields{"_id": "key_full", "key_id": nil, "internal_id": "int_a"})
	if _, err := client.Database(name).Collection(document.Keys).InsertMany(t.Context(), []any{admin, taken}); err != nil {
		t.Fatal(err)
	}
	s := serve(t, d.env)
	if got := s.query("legacy_admin", "production", `{ viewer { keyId } }`); got.body != `{"data":{"viewer":{"keyId":"legacy_admin"}}}` {
		t.Errorf("%d %s", got.status, got.body)
	}
	code, out, errs := command(t, d.env, "repair", "--yes")
	if code != exitFailed || !strings.HasPrefix(out, "1 key got a key_id: 1 from their _id, 0 a new one.\n") ||
		!strings.Contains(errs, `key_full of organization int_a: _id "key_full"`) {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
	if code, _, errs := command(t, d.env, "keys", "revoke", "--yes", "legacy_admin"); code != exitOK {
		t.Errorf("revoke: exit code %d, %s", code, errs)
	}
	if got := s.query("legacy_admin", "production", `{ viewer { keyId } }`); got.status != http.StatusUnauthorized {
		t.Errorf("%d %s", got.status, got.body)
	}
}
