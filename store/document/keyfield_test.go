package document

import (
	"reflect"
	"testing"

	"retrieverkeys/apikey"
)

// Without a row in keyFields, a field of a key is neither read nor stored.
func TestEveryFieldOfAKeyHasARow(t *testing.T) {
	var all apikey.Fields
	names := map[string]bool{}
	for _, f := range keyFields {
		if all&f.field != 0 || names[f.name] {
			t.Errorf("%s has two rows, or shares its bit", f.name)
		}
		if f.read == nil || f.value == nil && f.field&always == 0 {
			t.Errorf("%s cannot be read or stored", f.name)
		}
		all |= f.field
		names[f.name] = true
	}
	if all != apikey.AllFields|always {
		t.Errorf("the rows have the bits %b, want %b", all, apikey.AllFields|always)
	}
	const derived, documentID = 1, 1 // Status has no row, and _id no field
	if fields := reflect.TypeFor[apikey.Key]().NumField() - derived; len(keyFields)-documentID != fields {
		t.Errorf("%d rows for %d fields", len(keyFields)-documentID, fields)
	}
}
