package document

import (
	"reflect"
	"testing"
	"time"

	"retrieverkeys/apikey"
)

// Without this, two rows could share a bit or a name, and a field would be read or stored as another.
func TestKeyFieldsAreDistinct(t *testing.T) {
	var all apikey.Fields
	names := map[string]bool{}
	for _, f := range keyFields {
		if all&f.field != 0 || names[f.name] {
			t.Errorf("%s has two rows, or shares its bit", f.name)
		}
		if f.decode == nil || f.encode == nil && f.field&always == 0 {
			t.Errorf("%s cannot be read or stored", f.name)
		}
		all |= f.field
		names[f.name] = true
	}
	if all != apikey.AllFields|always {
		t.Errorf("the rows have the bits %b, want %b", all, apikey.AllFields|always)
	}
}

// Without a row of its own in keyFields, a field of a key is lost when the key is stored.
func TestEveryFieldOfAKeyHasARow(t *testing.T) {
	var own apikey.Fields
	for _, f := range keyFields {
		if f.own {
			own |= f.field
		}
	}
	fieldOf := map[string]string{} // the field of apikey.Key by the name of its row
	for i := range reflect.TypeFor[apikey.Key]().NumField() {
		field := reflect.TypeFor[apikey.Key]().Field(i).Name
		if field == "Status" || field == "Found" { // derived, never stored
			continue
		}
		k := apikey.Key{ID: "key_1", Hash: "hash"}
		sample := sampleOf(t, field, reflect.ValueOf(k).Field(i).Type())
		reflect.ValueOf(&k).Elem().Field(i).Set(sample)
		// FromKey writes a new key. Changes write the other fields of this server.
		doc, err := Set(FromKey(k), KeyFields(k, own))
		if err != nil {
			t.Fatal(err)
		}
		roundTrips := func(fields apikey.Fields) bool {
			read, _ := Key(doc, fields)
			return reflect.DeepEqual(reflect.ValueOf(read).Field(i).Interface(), sample.Interface())
		}
		if field == "ID" || field == "Hash" {
			if !roundTrips(0) {
				t.Errorf("%s is not always read", field)
			}
			continue
		}
		rows := 0
		for _, f := range keyFields {
			if f.field&always == 0 && roundTrips(f.field) {
				rows++
				fieldOf[f.name] = field
			}
		}
		if rows != 1 {
			t.Errorf("%s round-trips through %d rows, want 1", field, rows)
		}
	}
	for _, f := range keyFields {
		if f.field&always == 0 && fieldOf[f.name] == "" {
			t.Errorf("the row %s round-trips no field of apikey.Key", f.name)
		}
	}
}

// sampleOf returns a readable value of a field's type. It is not the field's default.
func sampleOf(t *testing.T, field string, typ reflect.Type) reflect.Value {
	t.Helper()
	if typ.Kind() == reflect.Pointer {
		p := reflect.New(typ.Elem())
		p.Elem().Set(sampleOf(t, field, typ.Elem()))
		return p
	}
	for _, sample := range []any{
		"a", apikey.ID("key_2"), apikey.InternalID("int_1"), apikey.RetrieverKey, apikey.Revoked, int32(1), int64(1), true,
		time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), []string{"a"}, []apikey.Permission{apikey.Read},
		[]apikey.Scope{{ResourceType: apikey.ResourceRetriever, ResourceID: "ret_1", Operations: []apikey.Operation{apikey.ExecuteRetriever}}},
	} {
		if reflect.TypeOf(sample) == typ {
			return reflect.ValueOf(sample)
		}
	}
	t.Fatalf("%s has the type %s, for which this test has no sample", field, typ)
	return reflect.Value{}
}
