package program_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
)

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

// Without a warning, the user wonders why the list of a retriever or a namespace does not show an imported key. The warning says which list does.
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
			if len(lines) != 2 || !strings.Contains(lines[0], "8 keys refer to a retriever that is not in the store: key_lost_0 (ret_gone), key_lost_1 (ret_gone)") || !strings.Contains(lines[0], "and 3 more. Such keys authenticate. Lists of the organization show them, but") ||
				!strings.Contains(lines[1], "1 retriever refers to a namespace that is not in the store: ret_homeless (ns_gone)") {
				t.Errorf("warnings: %s", errs)
			}
		}
		for _, c := range []struct {
			where string
			shown bool
		}{{"--organization int_a", true}, {"", true}, {"--namespace ns_prod", false}} {
			if got := slices.Contains(listed(t, d, strings.Fields(c.where)...), "key_lost_0"); got != c.shown {
				t.Errorf("keys list %s shows such a key: %v, want %v", c.where, got, c.shown)
			}
		}
		if _, _, errs := programtest.Command(t, d.Env, "import", programtest.WriteImport(t, document.Batch{Keys: []bson.Raw{programtest.KeyDoc("key_more", "ret_main")}})); errs != "" {
			t.Errorf("got an unnecessary warning: %s", errs)
		}
	})
}
