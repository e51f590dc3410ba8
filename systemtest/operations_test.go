package systemtest

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"retrieverkeys/apikey"
	"retrieverkeys/graph"
	"retrieverkeys/program/programtest"
)

var update = flag.Bool("update", false, "write the golden answers instead of comparing with them")

// operation is a golden operation with its caller and namespace, which are admin and production unless a comment in the file names others.
type operation struct{ name, caller, namespace, text string }

// operations returns the golden operations of a folder, sorted by name.
func operations(t *testing.T, folder string) []operation {
	t.Helper()
	files, err := filepath.Glob("testdata/" + folder + "/*.graphql")
	if err != nil || len(files) == 0 {
		t.Fatal("no operations", err)
	}
	setting := func(text, name, otherwise string) string {
		m := regexp.MustCompile(`(?m)^# ` + name + `: (\S+)$`).FindStringSubmatch(text)
		switch {
		case m == nil:
			return otherwise
		case m[1] == "-":
			return ""
		default:
			return m[1]
		}
	}
	var out []operation
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s := string(text)
		out = append(out, operation{
			strings.TrimSuffix(file, ".graphql"), setting(s, "caller", "admin"), setting(s, "namespace", "production"), s,
		})
	}
	return out
}

// The whole response of each operation is compared with a reviewed file, on every store. To update the files from the embedded store, run the
// test with -update and review the difference.
func TestOperations(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = withUsage(t, programtest.Seeded(t, d))
		// Nothing depends on the time of the test: the keys of the callers are used meanwhile.
		d.Env["KEY_DEFAULT_LIFETIME"], d.Env["KEY_MAX_LIFETIME"], d.Env["KEY_STALE_AFTER"] = "30d", "365d", "24855d"
		s := programtest.Serve(t, d.Env)
		for _, op := range operations(t, "operations") {
			t.Run(filepath.Base(op.name), func(t *testing.T) {
				golden(t, op, s.Query(op.caller, op.namespace, op.text), d.Name == "embedded", func(body string) string { return body })
			})
		}
	})
}

// withUsage adds what gateways were answered about a key in March 2026.
func withUsage(t *testing.T, d programtest.Deployment) programtest.Deployment {
	t.Helper()
	engine := d.Open(t)
	var days []apikey.KeyDay
	for day, answers := range map[string]apikey.Answers{"2026-03-01": {Allowed: 7, Refused: 2}, "2026-03-02": {Allowed: apikey.MaxCount}, "2026-03-04": {Refused: 1}} {
		at, _ := apikey.ParseDay(day)
		days = append(days, apikey.KeyDay{InternalID: "int_a", ID: "key_full", Day: at, Answers: answers}, apikey.KeyDay{InternalID: "int_b", ID: "key_full", Day: at, Answers: answers})
	}
	if _, err := engine.AddAnswers(t.Context(), days); err != nil {
		t.Fatal(err)
	}
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestMutations does the same for operations that change the store, in the order of their names. Generated values are replaced by placeholders.
func TestMutations(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		s := programtest.Serve(t, programtest.Seeded(t, d).Env)
		words := map[string]string{}
		for _, op := range operations(t, "mutations") {
			golden(t, op, s.Query(op.caller, op.namespace, op.text), d.Name == "embedded", func(body string) string { return named(body, words) })
		}
	})
}

// named replaces generated values in a response by placeholders, equal values by the same one.
func named(body string, words map[string]string) string {
	for _, thing := range newThings {
		body = thing.found.ReplaceAllStringFunc(body, func(found string) string {
			if words[found] == "" {
				words[found] = fmt.Sprintf("%s-%d", thing.word, len(words)+1)
			}
			return words[found]
		})
	}
	return times.ReplaceAllStringFunc(body, func(found string) string {
		at, err := time.Parse(time.RFC3339, found)
		if away := time.Until(at); err == nil && away.Abs() < 24*time.Hour {
			return fmt.Sprintf("NOW+%.0fh", away.Abs().Hours())
		}
		return found
	})
}

var times = regexp.MustCompile(`\b\d{4}-\d\d-\d\dT[\d:.]+Z\b`)

// newThings match the generated values, except times.
var newThings = []struct {
	word  string
	found *regexp.Regexp
}{
	{"PLAINTEXT", regexp.MustCompile(`\bret_sk_[0-9A-Za-z]{53}\b`)},
	{"PREFIX", regexp.MustCompile(`\bret_sk_[0-9A-Za-z]{3}\.\.\.`)},
	{"KEY", regexp.MustCompile(`\bkey_[0-9A-Za-z]{24}\b`)},
	{"EVENT", regexp.MustCompile(`\bevt_[0-9A-Za-z]{24}\b`)},
	{"HASH", regexp.MustCompile(`\b[0-9a-f]{64}\b`)},
	{"CURSOR", regexp.MustCompile(`\bYQA[A-Za-z0-9_-]{40,}`)},
}

func golden(t *testing.T, op operation, got programtest.Answer, write bool, normal func(string) string) {
	t.Helper()
	if got.Status != 200 {
		t.Errorf("%s: status %d", op.name, got.Status)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, []byte(normal(got.Body)), "", "  "); err != nil {
		t.Fatalf("%s: %v in %s", op.name, err, got.Body)
	}
	indented.WriteByte('\n')
	file := op.name + ".json"
	if *update && write {
		if err := os.WriteFile(file, indented.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), indented.String()); diff != "" {
		t.Errorf("%s: (-want +got)\n%s", op.name, diff)
	}
}

// Every field of the schema is in a golden operation. Without this, a field could break unnoticed.
func TestOperationsAskForEveryField(t *testing.T) {
	parsed := gqlparser.MustLoadSchema(&ast.Source{Name: "graph.SDL().graphqls", Input: graph.SDL()})
	asked := map[string]bool{}
	var walk func(ast.SelectionSet)
	walk = func(set ast.SelectionSet) {
		for _, s := range set {
			switch s := s.(type) {
			case *ast.Field:
				asked[s.ObjectDefinition.Name+"."+s.Name] = true
				walk(s.SelectionSet)
			case *ast.InlineFragment:
				walk(s.SelectionSet)
			}
		}
	}
	for _, op := range slices.Concat(operations(t, "operations"), operations(t, "mutations"), operations(t, "subscriptions")) {
		doc, err := gqlparser.LoadQueryWithRules(parsed, op.text, nil)
		if err != nil {
			t.Fatalf("%s: %v", op.name, err)
		}
		for _, o := range doc.Operations {
			walk(o.SelectionSet)
		}
	}
	for _, def := range parsed.Types {
		if def.BuiltIn || def.Kind != ast.Object {
			continue
		}
		for _, f := range def.Fields {
			if name := def.Name + "." + f.Name; !strings.HasPrefix(f.Name, "__") && !asked[name] {
				t.Errorf("no golden operation selects %s", name)
			}
		}
	}
}
