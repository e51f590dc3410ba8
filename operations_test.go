package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

var update = flag.Bool("update", false, "write the golden answers instead of comparing with them")

// operations are the golden operations, by name: the caller (admin) and the namespace (production) they run with,
// unless a comment in the file says otherwise.
func operations(t *testing.T) map[string]struct{ caller, namespace, text string } {
	t.Helper()
	files, err := filepath.Glob("testdata/operations/*.graphql")
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
	out := map[string]struct{ caller, namespace, text string }{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s := string(text)
		out[strings.TrimSuffix(file, ".graphql")] = struct{ caller, namespace, text string }{
			setting(s, "caller", "admin"), setting(s, "namespace", "production"), s,
		}
	}
	return out
}

// The whole answer of each operation is as it was looked at and approved, on every store. Run with -update to write
// the answers of the embedded store anew, and read the difference.
func TestOperations(t *testing.T) {
	onEveryStore(t, func(t *testing.T, d deployment) {
		s := serve(t, seeded(t, d).env)
		for name, op := range operations(t) {
			t.Run(filepath.Base(name), func(t *testing.T) {
				got := s.query(op.caller, op.namespace, op.text)
				if got.status != 200 {
					t.Errorf("status %d", got.status)
				}
				var indented bytes.Buffer
				if err := json.Indent(&indented, []byte(got.body), "", "  "); err != nil {
					t.Fatalf("%v in %s", err, got.body)
				}
				indented.WriteByte('\n')
				golden := name + ".json"
				if *update && d.name == "embedded" {
					if err := os.WriteFile(golden, indented.Bytes(), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), indented.String()); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
			})
		}
	})
}

// A field of the schema that no golden operation asks for could break unseen.
func TestOperationsAskForEveryField(t *testing.T) {
	parsed := gqlparser.MustLoadSchema(&ast.Source{Name: "schema.graphqls", Input: schema})
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
	for name, op := range operations(t) {
		doc, err := gqlparser.LoadQueryWithRules(parsed, op.text, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
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
				t.Errorf("no operation asks for %s", name)
			}
		}
	}
}
