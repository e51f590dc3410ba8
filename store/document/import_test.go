package document_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// identity has only the fields that a key must have. Tests add an invalid one.
const identity = `"key_id": "key_1", "key_hash": "h1", "internal_id": "int"`

// keyFile returns an import file of key documents.
func keyFile(docs ...string) string {
	return `{"api_keys": [` + strings.Join(docs, ", ") + `]}`
}

// parse checks an import file and reads its documents.
func parse(ctx context.Context, content io.ReaderAt) (b document.Batch, err error) {
	file, err := document.Check(ctx, content)
	if err != nil {
		return document.Batch{}, err
	}
	err = file.Read(ctx, func(p document.Part) error {
		list := map[string]*[]bson.Raw{document.Namespaces: &b.Namespaces, document.Retrievers: &b.Retrievers, document.Keys: &b.Keys}[p.List]
		if p.From != len(*list) {
			return fmt.Errorf("%s: a part begins at %d after %d documents", p.List, p.From, len(*list))
		}
		*list = append(*list, p.Documents...)
		return nil
	})
	if err == nil && b.Len() != file.Len() {
		err = fmt.Errorf("got %d documents of %d", b.Len(), file.Len())
	}
	return b, err
}

// An invalid file must be refused with an error about the file, not about its documents.
func TestParseRefusesFile(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{``, `the file ends in the middle of a JSON value`},
		{`  `, `the file ends in the middle of a JSON value`},
		{`{`, `the file ends in the middle of a JSON value`},
		{`{"api_keys": [`, `api_keys: the file ends in the middle of a JSON value`},
		{`{"api_keys": [{"key_id": "k"`, `api_keys[0]: the file ends in the middle of a JSON value`},
		{`[]`, `not an import file: expected "{"`},
		{`"text"`, `not an import file: expected "{"`},
		{`nope`, `not JSON, after byte 0: invalid character 'o' in literal null (expecting 'u')`},
		{`{"keys": []}`, `unknown list "keys": an import file has the lists namespaces, retrievers and api_keys`},
		{`{"api_keys": [], "api_keys": []}`, `the list "api_keys" appears twice`},
		{`{"api_keys": {}}`, `api_keys: not an import file: expected "["`},
		{`{"api_keys": null}`, `api_keys: not an import file: expected "["`},
		{`{"api_keys": [{]}`, `api_keys[0]: not JSON, after byte 14: invalid character ']' looking for beginning of object key string`},
		{"\xff\xfe{\x00}\x00", `the file is in UTF-16: save it as UTF-8`},
		{"\xfe\xff\x00{\x00}", `the file is in UTF-16: save it as UTF-8`},
		{"{\x00}\x00", `the file is in UTF-16: save it as UTF-8`},
		{"\x00{\x00}", `the file is in UTF-16: save it as UTF-8`},
		{"\ufeff", `the file ends in the middle of a JSON value`},
		{"\ufeff[]", `not an import file: expected "{"`},
		{"\ufeff\ufeff{}", `not JSON, after byte 0: invalid character 'ï' looking for beginning of value`},
		{`{"namespaces": []} x`, `there is data after the end of the JSON value`},
		{`{"namespaces": []}{}`, `there is data after the end of the JSON value`},
		{keyFile(`{"x": ` + strings.Repeat(`[`, 20000) + strings.Repeat(`]`, 20000) + `}`), `api_keys[0]: not JSON, after byte 14: invalid character '[' exceeded max depth`},
	} {
		_, err := parse(t.Context(), strings.NewReader(c.file))
		if err == nil || err.Error() != c.want {
			t.Errorf("%.60s\n got %v\nwant %s", c.file, err, c.want)
		}
		if problems := (document.Problems{}); errors.As(err, &problems) {
			t.Errorf("%.60s: got Problems, want an error about the file", c.file)
		}
	}
}

// Without this, a file that an editor saved with a byte order mark could not be imported.
func TestParseSkipsAByteOrderMark(t *testing.T) {
	file := keyFile(`{`+identity+`}`) + "\n"
	want, err := parse(t.Context(), strings.NewReader(file))
	if err != nil || want.Len() != 1 {
		t.Fatalf("%d documents, %v", want.Len(), err)
	}
	if got, err := parse(t.Context(), strings.NewReader("\ufeff"+file)); err != nil || !cmp.Equal(got, want) {
		t.Errorf("%d documents, %v", got.Len(), err)
	}
}

// All problems must be reported at once, by list, index and field. Otherwise an import of a large file needs one
// attempt per error.
func TestParseRefusesDocuments(t *testing.T) {
	for _, c := range []struct {
		name, file string
		want       []string
	}{
		{"no documents", keyFile(`1`, `"x"`, `null`, `[]`, `true`), []string{
			`api_keys[0]: not a document`, `api_keys[1]: not a document`, `api_keys[2]: not a document`,
			`api_keys[3]: not a document`, `api_keys[4]: not a document`,
		}},
		{"nothing in a key", keyFile(`{}`), []string{
			`api_keys[0].key_hash: is required`, `api_keys[0].internal_id: is required`,
			`api_keys[0].key_id: is required, unless the _id is a text or an ObjectId`,
		}},
		{"an _id that cannot be the key_id", keyFile(`{"_id": 7, "key_hash": "h", "internal_id": "int"}`), []string{
			`api_keys[0].key_id: is required, unless the _id is a text or an ObjectId`,
		}},
		{"hashes that are never looked up", keyFile(`{"key_id": "a", "key_hash": "`+strings.Repeat("aB", 32)+`", "internal_id": "int"}`,
			`{"key_id": "b", "key_hash": "`+strings.Repeat("0A", 32)+`", "internal_id": "int"}`, `{"key_id": "c", "key_hash": 7, "internal_id": "int"}`,
			`{"key_id": "d", "key_hash": "`+strings.Repeat("ab", 32)+`", "internal_id": "int"}`, `{"key_id": "e", "key_hash": "AB", "internal_id": "int"}`,
			`{"key_id": "f", "key_hash": "`+strings.Repeat("Hash", 16)+`", "internal_id": "int"}`), []string{
			`api_keys[0].key_hash: must be lower-case hexadecimal: a key with this hash cannot authenticate`,
			`api_keys[1].key_hash: must be lower-case hexadecimal: a key with this hash cannot authenticate`,
			`api_keys[2].key_hash: must be a text`, `api_keys[2].key_hash: is required`,
		}},
		{"nothing in a retriever", `{"retrievers": [{"retriever_name": "x"}]}`, []string{
			`retrievers[0].retriever_id: is required`, `retrievers[0].namespace_id: is required`, `retrievers[0].internal_id: is required`,
		}},
		{"nothing in a namespace", `{"namespaces": [{"description": "x"}]}`, []string{
			`namespaces[0].namespace_id: is required`, `namespaces[0].namespace_name: is required`, `namespaces[0].internal_id: is required`,
		}},
		{"null and empty are missing", keyFile(`{"key_id": "", "key_hash": "", "internal_id": null}`), []string{
			`api_keys[0].key_hash: is required`, `api_keys[0].internal_id: is required`,
			`api_keys[0].key_id: is required, unless the _id is a text or an ObjectId`,
		}},
		{"pending events and successors", keyFile(`{`+identity+`, "successor": {"key_id": "b", "internal_id": "int"}}`,
			`{"key_id": "2", "key_hash": "h2", "internal_id": "int", "pending_events": [7, {"audit_id": "evt_1"},
				{"audit_id": "evt_2", "internal_id": "int_b", "timestamp": {"$date": "2026-01-01T00:00:00Z"}},
				{"audit_id": "evt_3", "internal_id": "int", "timestamp": {"$date": "2026-01-01T00:00:00Z"}},
				{"audit_id": "evt_4", "internal_id": "int", "internal_id": "int_b", "timestamp": {"$date": "2026-01-01T00:00:00Z"}}]}`,
			`{"key_id": "3", "key_hash": "h3", "internal_id": "int", "pending_events": 7}`), []string{
			`api_keys[0].successor: cannot be imported: let the server that wrote it finish the rotation, and export again`,
			`api_keys[1].pending_events[0]: must be an audit event`, `api_keys[1].pending_events[1]: must be an audit event`,
			`api_keys[1].pending_events[2].internal_id: must appear once and equal the key's`,
			`api_keys[1].pending_events[4].internal_id: must appear once and equal the key's`,
			`api_keys[2].pending_events: must be a list of audit events`,
		}},
		{"texts", keyFile(`{` + identity + `, "name": 7, "status": true, "user_id": {}, "key_prefix": {"$symbol": "x"}}`), []string{
			`api_keys[0].name: must be a text`, `api_keys[0].status: must be a text`,
			`api_keys[0].user_id: must be a text`, `api_keys[0].key_prefix: must be a text`,
		}},
		{"dates", keyFile(`{`+identity+`, "created_at": "yesterday", "expires_at": 1735689600000, "last_used_at": "2025-01-01",
				"revoked_at": {"$date": {"$numberLong": "253402300800000"}}}`, `{"key_id": "2", "key_hash": "h2", "internal_id": "int", "created_at": {"$date": "soon"}}`), []string{
			`api_keys[0].created_at: must be a date: {"$date": …} or RFC 3339`,
			`api_keys[0].expires_at: must be a date: {"$date": …} or RFC 3339`,
			`api_keys[0].last_used_at: must be a date: {"$date": …} or RFC 3339`,
			`api_keys[0].revoked_at: must be a date between the years 0 and 9999`,
			`api_keys[1].created_at: not Extended JSON: invalid $date value string: soon`,
		}},
		{"numbers", keyFile(
			`{"key_id": "1", "key_hash": "1", "internal_id": "int", "rate_limit_override": 1.5}`,
			`{"key_id": "2", "key_hash": "2", "internal_id": "int", "rate_limit_override": {"$numberLong": "2147483648"}}`,
			`{"key_id": "3", "key_hash": "3", "internal_id": "int", "rate_limit_override": {"$numberDouble": "NaN"}}`,
			`{"key_id": "4", "key_hash": "4", "internal_id": "int", "rate_limit_override": "60"}`,
		), []string{
			`api_keys[0].rate_limit_override: must be a 32-bit integer`,
			`api_keys[1].rate_limit_override: must be a 32-bit integer`,
			`api_keys[2].rate_limit_override: must be a 32-bit integer`,
			`api_keys[3].rate_limit_override: must be an integer`,
		}},
		{"limits that are not at least 1", keyFile(
			`{"key_id": "1", "key_hash": "1", "internal_id": "int", "rate_limit_override": 0}`,
			`{"key_id": "2", "key_hash": "2", "internal_id": "int", "rate_limit_override": -1}`,
			`{"key_id": "3", "key_hash": "3", "internal_id": "int", "rate_limit_override": {"$numberLong": "-2147483647"}}`,
			`{"key_id": "4", "key_hash": "4", "internal_id": "int", "rate_limit_override": -0.0}`,
			`{"key_id": "5", "key_hash": "5", "internal_id": "int", "rate_limit_override": {"$numberLong": "-9223372036854775808"}}`,
			`{"key_id": "6", "key_hash": "6", "internal_id": "int", "rate_limit_override": 1}`,
			`{"key_id": "7", "key_hash": "7", "internal_id": "int", "rate_limit_override": {"$numberDouble": "-Infinity"}}`,
			`{"key_id": "8", "key_hash": "8", "internal_id": "int", "rate_limit_override": null}`,
		), []string{
			`api_keys[0].rate_limit_override: must be at least 1`,
			`api_keys[1].rate_limit_override: must be at least 1`,
			`api_keys[2].rate_limit_override: must be at least 1`,
			`api_keys[3].rate_limit_override: must be at least 1`,
			`api_keys[4].rate_limit_override: must be a 32-bit integer`,
			`api_keys[6].rate_limit_override: must be a 32-bit integer`,
		}},
		{"ids that are patterns", `{"namespaces": [
			{"namespace_id": "ns_*", "namespace_name": "a", "internal_id": "int"},
			{"namespace_id": "ns_1", "namespace_name": "every *", "description": "*", "internal_id": "int"},
			{"namespace_id": "*", "namespace_name": "c", "internal_id": "int"}
		], "retrievers": [
			{"retriever_id": "*", "namespace_id": "ns_1", "internal_id": "int"},
			{"retriever_id": "ret_1", "retriever_name": "every *", "namespace_id": "ns_1", "internal_id": "int"},
			{"retriever_id": "ret_*", "namespace_id": "ns_*", "internal_id": "int"}
		], "api_keys": [
			{"key_id": "key_*", "key_hash": "h", "internal_id": "int", "scopes": [{"resource_type": "retriever", "resource_id": "ret_*"}]}
		]}`, []string{
			`namespaces[0].namespace_id: must not contain *, which is a wildcard in a key's scopes`,
			`namespaces[2].namespace_id: must not contain *, which is a wildcard in a key's scopes`,
			`retrievers[0].retriever_id: must not contain *, which is a wildcard in a key's scopes`,
			`retrievers[2].retriever_id: must not contain *, which is a wildcard in a key's scopes`,
			`retrievers[2].namespace_id: must not contain *, which is a wildcard in a key's scopes`,
		}},
		{"booleans", keyFile(`{"key_id": "1", "key_hash": "1", "internal_id": "int", "is_internal": "true"}`,
			`{"key_id": "2", "key_hash": "2", "internal_id": "int", "is_internal": 1}`, `{"key_id": "3", "key_hash": "3", "internal_id": "int", "is_internal": null}`,
			`{"key_id": "4", "key_hash": "4", "internal_id": "int", "is_internal": true}`), []string{
			`api_keys[0].is_internal: must be true or false`, `api_keys[1].is_internal: must be true or false`,
		}},
		{"lists", keyFile(`{` + identity + `, "permissions": "read", "allowed_origins": ["https://a.example", 7, null], "scopes": {}}`), []string{
			`api_keys[0].permissions: must be a list of texts`,
			`api_keys[0].allowed_origins[1]: must be a text`, `api_keys[0].allowed_origins[2]: must be a text`,
			`api_keys[0].scopes: must be a list of scopes`,
		}},
		{"scopes", keyFile(`{` + identity + `, "scopes": [7, {"resource_type": 7, "resource_id": null, "operations": "x"}, {"operations": ["a", 7]}]}`), []string{
			`api_keys[0].scopes[0]: must be a scope: {"resource_type", "resource_id", "operations"}`,
			`api_keys[0].scopes[1].resource_type: must be a text`, `api_keys[0].scopes[1].operations: must be a list of texts`,
			`api_keys[0].scopes[2].operations[1]: must be a text`,
		}},
		{"invalid Extended JSON", keyFile(`{` + identity + `, "fine": 1, "other": {"deep": [{"$oid": "short"}]}, "more": 2}`), []string{
			`api_keys[0].other: not Extended JSON: error decoding key 0: the provided hex string is not a valid ObjectID`,
		}},
		{"a field twice", keyFile(`{` + identity + `, "name": "a", "name": "b"}`), []string{`api_keys[0].name: appears twice`}},
		{"a name that BSON does not allow", keyFile(`{` + identity + `, "a\u0000b": 1}`), []string{
			`api_keys[0]: cannot be stored: BSON element key cannot contain null bytes`,
		}},
		{"not UTF-8", keyFile(`{`+identity+`, "name": "`+"\xff"+`"}`, `{"key_id": "2", "key_hash": "2", "internal_id": "int"}`), []string{
			`api_keys[0]: is not valid UTF-8`,
		}},
		{"the same", `{"namespaces": [
			{"namespace_id": "ns", "namespace_name": "a", "internal_id": "int"},
			{"namespace_id": "ns", "namespace_name": "b", "internal_id": "other"}
		], "retrievers": [
			{"_id": 1, "retriever_id": "ret_1", "namespace_id": "ns", "internal_id": "int"},
			{"_id": "1", "retriever_id": "ret_2", "namespace_id": "ns", "internal_id": "int"},
			{"_id": 1, "retriever_id": "ret_1", "namespace_id": "ns", "internal_id": "int"}
		], "api_keys": [
			{"key_id": "key_1", "key_hash": "h1", "internal_id": "int"},
			{"_id": "key_1", "key_hash": "h2", "internal_id": "int"},
			{"key_id": "key_2", "key_hash": "h1", "internal_id": "int"},
			{"_id": {"$oid": "65a1b2c3d4e5f60718293a4b"}, "key_hash": "h4", "internal_id": "int"},
			{"key_id": "65a1b2c3d4e5f60718293a4b", "key_hash": "h5", "internal_id": "int"}
		]}`, []string{
			`namespaces[1].namespace_id: is the same as in namespaces[0]`,
			`retrievers[2]._id: is the same as in retrievers[0]`, `retrievers[2].retriever_id: is the same as in retrievers[0]`,
			`api_keys[1].key_id: is the same as in api_keys[0]`, `api_keys[2].key_hash: is the same as in api_keys[0]`,
			`api_keys[4].key_id: is the same as in api_keys[3]`,
		}},
		{"in several lists", `{"api_keys": [{` + identity + `}, {"key_id": 7}], "namespaces": [7]}`, []string{
			`api_keys[1].key_id: must be a text`, `api_keys[1].key_hash: is required`, `api_keys[1].internal_id: is required`,
			`api_keys[1].key_id: is required, unless the _id is a text or an ObjectId`,
			`namespaces[0]: not a document`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := parse(t.Context(), strings.NewReader(c.file))
			var problems document.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("Parse: %v, want problems", err)
			}
			var got []string
			for _, p := range problems.First {
				got = append(got, p.Error())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if b.Len() != 0 {
				t.Errorf("%d documents, want none", b.Len())
			}
		})
	}
}

// If there are very many problems, the error must show the first ones and count the rest.
func TestProblemsShowTheFirst(t *testing.T) {
	_, err := parse(t.Context(), strings.NewReader(keyFile(strings.Split(strings.Repeat("7 ", 30), " ")[:30]...)))
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprintf("api_keys[%d]: not a document", i))
	}
	want = append(want, "and 10 more")
	if diff := cmp.Diff(strings.Join(want, "\n"), err.Error()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Each tool's form of one document must be read the same.
func TestParseReadsEveryForm(t *testing.T) {
	for name, dates := range map[string][2]string{
		// mongoexport --jsonFormat=canonical, and bsondump
		"canonical": {`{"$date": {"$numberLong": "1735693261001"}}`, `{"$numberInt": "60"}`},
		// mongoexport
		"relaxed": {`{"$date": "2025-01-01T01:01:01.001Z"}`, `60`},
		// by hand
		"RFC 3339":               {`"2025-01-01T01:01:01.001Z"`, `60`},
		"RFC 3339 with zone":     {`"2025-01-01T03:01:01.001+02:00"`, `60`},
		"more than milliseconds": {`"2025-01-01T01:01:01.001999Z"`, `60.0`},
		"a long number":          {`{"$date": {"$numberLong": "1735693261001"}}`, `{"$numberLong": "60"}`},
	} {
		t.Run(name, func(t *testing.T) {
			date, number := dates[0], dates[1]
			b, err := parse(t.Context(), strings.NewReader(`{
				"namespaces": [{"_id": {"$oid": "65a1b2c3d4e5f60718293a4b"}, "namespace_id": "ns", "namespace_name": "n", "internal_id": "int", "created_at": `+date+`}],
				"retrievers": [{"retriever_id": "ret", "namespace_id": "ns", "internal_id": "int", "updated_at": `+date+`}],
				"api_keys": [{"_id": {"$oid": "65a1b2c3d4e5f60718293a4b"}, "key_hash": "h", "internal_id": "int", "rate_limit_override": `+number+`,
					"created_at": `+date+`, "expires_at": null, "status": "active", "permissions": [],
					"scopes": [{"resource_type": "retriever", "resource_id": "ret", "operations": null}],
					"unknown": {"n": {"$numberLong": "7"}, "d": {"$numberDecimal": "0.1"}, "b": {"$binary": {"base64": "AA==", "subType": "00"}}, "at": "2025-01-01T00:00:00Z"}}]
			}`))
			if err != nil {
				t.Fatal(err)
			}
			at := bson.DateTime(1735693261001).Time().UTC()
			limit := int32(60)
			k, _ := document.Key(b.Keys[0], apikey.AllFields)
			wantKey := apikey.Key{
				ID: "65a1b2c3d4e5f60718293a4b", Hash: "h", InternalID: "int", Type: apikey.Standard, Stored: apikey.Active, RateLimitOverride: &limit, CreatedAt: &at,
				Scopes: []apikey.Scope{{ResourceType: apikey.ResourceRetriever, ResourceID: "ret"}},
			}
			if diff := cmp.Diff(wantKey, k); diff != "" {
				t.Errorf("key: (-want +got)\n%s", diff)
			}
			n, _ := document.Namespace(b.Namespaces[0])
			if diff := cmp.Diff(apikey.Namespace{ID: "ns", Name: "n", InternalID: "int", CreatedAt: &at}, n); diff != "" {
				t.Errorf("namespace: (-want +got)\n%s", diff)
			}
			r, _ := document.Retriever(b.Retrievers[0])
			if diff := cmp.Diff(apikey.Retriever{ID: "ret", NamespaceID: "ns", InternalID: "int", UpdatedAt: &at}, r); diff != "" {
				t.Errorf("retriever: (-want +got)\n%s", diff)
			}
			// An unknown field keeps its type: a text that looks like a date stays a text.
			unknown := b.Keys[0].Lookup("unknown").Document()
			want := `{"n": {"$numberLong":"7"},"d": {"$numberDecimal":"0.1"},"b": {"$binary":{"base64":"AA==","subType":"00"}},"at": "2025-01-01T00:00:00Z"}`
			if got := unknown.String(); got != want {
				t.Errorf("unknown = %s, want %s", got, want)
			}
		})
	}
}

// Old and odd documents must be accepted.
func TestParseAcceptsOldDocuments(t *testing.T) {
	b, err := parse(t.Context(), strings.NewReader(keyFile(
		`{`+identity+`}`,
		`{"key_id": "2", "key_hash": "2", "internal_id": "int", "status": "paused", "key_type": "robot", "permissions": ["fly"], "expires_at": null, "scopes": null, "allowed_origins": null, "description": null}`,
		`{"key_id": "3", "key_hash": "3", "internal_id": "int", "scopes": [{}], "plan": "gold"}`,
		`{"key_id": null, "_id": "4", "key_hash": "4", "internal_id": "int"}`,
	)))
	if err != nil || len(b.Keys) != 4 {
		t.Errorf("%d keys, %v, want 4", len(b.Keys), err)
	}
	if b, err := parse(t.Context(), strings.NewReader(`{}`)); err != nil || b.Len() != 0 {
		t.Errorf("an empty file: %d documents, %v", b.Len(), err)
	}
}

// Every accepted document must be readable and have an identity of its own. Otherwise an import would store documents
// that no list shows, or lose one to another with its id.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `{"api_keys": [`, `{"api_keys": {}}`, `{"namespaces": [], "retrievers": [], "api_keys": []} `,
		keyFile(`{`+identity+`}`, `7`, `{}`),
		keyFile(`{"_id": {"$oid": "65a1b2c3d4e5f60718293a4b"}, "key_hash": "h", "internal_id": "int", "created_at": {"$date": {"$numberLong": "-1"}}, "expires_at": "2025-01-01T00:00:00Z"}`),
		keyFile(`{` + identity + `, "scopes": [{"resource_type": "retriever", "resource_id": "ret", "operations": ["read_data"]}], "rate_limit_override": 6e1}`),
		keyFile(`{"$oid": "65a1b2c3d4e5f60718293a4b"}`, `{"key_id": {"$numberInt": "1"}, "x": {"$code": "", "$scope": {}}}`),
		keyFile(`{` + identity + `, "name": "a\u0000\ud800", "": {"$regularExpression": {"pattern": "", "options": "i"}}}`),
		`{"namespaces": [{"namespace_id": "ns", "namespace_name": "n", "internal_id": "int"}], "retrievers": [{"retriever_id": "r", "namespace_id": "ns", "internal_id": "int"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		b, err := parse(t.Context(), strings.NewReader(string(file)))
		if err != nil {
			if err.Error() == "" || b.Len() != 0 {
				t.Errorf("Parse = %d documents, %q", b.Len(), err)
			}
			return
		}
		usable := map[string]func(bson.Raw) bool{
			document.Namespaces: func(doc bson.Raw) bool { n, ok := document.Namespace(doc); return ok && n.Name != "" },
			document.Retrievers: func(doc bson.Raw) bool { r, ok := document.Retriever(doc); return ok && r.NamespaceID != "" },
			document.Keys:       func(doc bson.Raw) bool { _, ok := document.Key(doc, apikey.AllFields); return ok },
		}
		for list, docs := range map[string][]bson.Raw{document.Namespaces: b.Namespaces, document.Retrievers: b.Retrievers, document.Keys: b.Keys} {
			seen := map[string]int{}
			for i, doc := range docs {
				if err := doc.Validate(); err != nil || !usable[list](doc) {
					t.Errorf("%s[%d] is accepted but unusable: %v, %v", list, i, doc, err)
				}
				id := document.Identify(list, doc)
				if id.ID == "" || id.Tenant == "" || list == document.Keys && id.Hash == "" {
					t.Errorf("%s[%d] has no identity: %+v", list, i, id)
				}
				for _, part := range []string{"id " + id.ID, "hash " + id.Hash, "_id " + id.DocumentID} {
					if first, dup := seen[part]; dup && !strings.HasSuffix(part, " ") {
						t.Errorf("%s[%d] and [%d] share %q", list, first, i, part)
					}
					seen[part] = i
				}
			}
		}
	})
}

// A key's document must not bring a key or an event into another organization. Otherwise its author could gain access there.
func TestWhatIsCarriedIsOfTheKeysOrganization(t *testing.T) {
	carrier := func(tenants ...string) bson.Raw {
		event, successor := bson.D{{Key: "audit_id", Value: "evt_1"}}, bson.D{{Key: "key_id", Value: "key_2"}}
		for _, tenant := range tenants {
			event = append(event, bson.E{Key: "internal_id", Value: tenant})
			successor = append(successor, bson.E{Key: "internal_id", Value: tenant})
		}
		doc, err := bson.Marshal(bson.D{
			{Key: "internal_id", Value: "int_a"}, {Key: "pending_events", Value: bson.A{event}}, {Key: "successor", Value: successor},
		})
		if err != nil {
			t.Fatal(err)
		}
		return doc
	}
	if events, successor := document.PendingEvents(carrier("int_a")); len(events) != 1 || successor == nil {
		t.Errorf("got %v and %v of its own organization, want one event and a successor", events, successor)
	}
	for _, tenants := range [][]string{{"int_b"}, {"int_a", "int_b"}, {"int_b", "int_a"}, {"int_a", "int_a"}, nil} {
		if events, successor := document.PendingEvents(carrier(tenants...)); len(events) != 0 || successor != nil {
			t.Errorf("got those of %q: %v, %v, want none", tenants, events, successor)
		}
	}
}
