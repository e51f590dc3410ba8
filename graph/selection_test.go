package graph

import (
	"os"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"retrieverkeys/apikey"
)

// If the selection does not know a field of ApiKey, the field is not read from the store and looks empty.
func TestEveryFieldOfAKeyIsSelectable(t *testing.T) {
	text, err := os.ReadFile("../schema.graphqls")
	if err != nil {
		t.Fatal(err)
	}
	schema := gqlparser.MustLoadSchema(&ast.Source{Name: "schema.graphqls", Input: string(text)})
	known := apikey.Fields(0)
	for _, f := range schema.Types["ApiKey"].Fields {
		field, ok := keyFields[f.Name]
		if !ok {
			t.Errorf("ApiKey.%s is not in keyFields", f.Name)
		}
		known |= field.shows
	}
	if hidden := apikey.AllFields &^ known; hidden != apikey.FieldRevision|apikey.FieldBudget { // the server's own fields
		t.Errorf("no field of ApiKey shows the domain's fields %b", hidden)
	}
	if n := len(schema.Types["ApiKey"].Fields); len(keyFields) != n {
		t.Errorf("keyFields has %d entries, ApiKey %d fields", len(keyFields), n)
	}
}
