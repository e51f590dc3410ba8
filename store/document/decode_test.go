package document_test

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
	"retrieverkeys/store/storetest"
)

// Old and odd documents must be readable, and an unreadable limit must deny access. The engines are tested with the
// same table.
func TestKeyReadsOddDocuments(t *testing.T) {
	for _, odd := range storetest.OddKeys() {
		got, ok := document.Key(odd.Doc, apikey.AllFields)
		if !ok {
			t.Errorf("%s: unusable", odd.Name)
		}
		if diff := cmp.Diff(odd.Want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", odd.Name, diff)
		}
	}
}

// These bytes come from files. No engine, or not every one, would store them.
func TestKeyReadsBrokenValues(t *testing.T) {
	identity := []any{"key_id", "key_1", "key_hash", "h"}
	for _, c := range []struct {
		name   string
		fields []any
		want   apikey.Key // without its id and hash
	}{
		{"not a number", []any{"rate_limit_override", math.NaN()}, apikey.Key{Stored: apikey.Active}},
		{"an infinite number", []any{"rate_limit_override", math.Inf(1)}, apikey.Key{Stored: apikey.Active}},
		{"a decimal", []any{"rate_limit_override", bson.NewDecimal128(0, 60)}, apikey.Key{Stored: apikey.Active}},
		{"undefined is null", []any{"status", bson.Undefined{}, "expires_at", bson.Undefined{}, "revoked_at", bson.Undefined{}, "scopes", bson.Undefined{}}, apikey.Key{Stored: apikey.Active}},
		{"a symbol is not a text", []any{"status", bson.Symbol("active")}, apikey.Key{Stored: apikey.Revoked}},
		{"a timestamp is not a date", []any{"expires_at", bson.Timestamp{T: 1 << 31}}, apikey.Key{Stored: apikey.Expired}},
		{"not UTF-8", []any{"name", "a\xffb"}, apikey.Key{Stored: apikey.Active, Name: "a\uFFFDb"}},
		{"a field twice: the last counts", []any{"name", "a", "name", "b"}, apikey.Key{Stored: apikey.Active, Name: "b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.ID, c.want.Hash, c.want.Type = "key_1", "h", apikey.Standard
			got, ok := document.Key(encode(t, append(identity, c.fields...)...), apikey.AllFields)
			if !ok {
				t.Error("unusable")
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// A document damaged on disk must be unusable or deny access. Otherwise a scope that ends too early would lose its
// operations, and so allow all of them.
func TestKeyReadsDamagedScope(t *testing.T) {
	scope := bson.D{
		{Key: "resource_type", Value: "retriever"}, {Key: "resource_id", Value: "ret_1"},
		{Key: "operations", Value: bson.A{"read_data"}},
	}
	doc := encode(t, "key_id", "key_1", "key_hash", "h", "scopes", bson.A{scope})
	at := bytes.Index(doc, []byte("\x04operations\x00"))
	doc[at] = 0x7d // not a BSON type
	k, ok := document.Key(doc, apikey.AllFields)
	want := []apikey.Scope{{ResourceType: apikey.ResourceRetriever, ResourceID: "ret_1", Operations: []apikey.Operation{apikey.UnknownOperation}}}
	if diff := cmp.Diff(want, k.Scopes); !ok || diff != "" {
		t.Errorf("usable %t, scopes (-want +got)\n%s", ok, diff)
	}
}

// The keys of a list share memory. Reading or changing one must not change another.
func TestKeysOfAListAreIndependent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		docs := rapid.SliceOfN(rapid.SampledFrom(storetest.OddKeys()), 1, 300).Draw(t, "documents")
		reader := document.KeyReader{Fields: apikey.AllFields}
		keys := make([]apikey.Key, len(docs))
		for i, odd := range docs {
			keys[i], _ = reader.Key(odd.Doc)
		}
		for i := range keys {
			_ = append(keys[i].Scopes, apikey.Scope{ResourceID: "another"})
			_ = append(keys[i].Permissions, apikey.Admin)
			_ = append(keys[i].AllowedOrigins, "https://another.example")
		}
		for i, odd := range docs {
			if diff := cmp.Diff(odd.Want, keys[i]); diff != "" {
				t.Fatalf("%d, %s: (-want +got)\n%s", i, odd.Name, diff)
			}
		}
	})
}

// Invalid or unusual BSON must not crash the server. Whether a document is usable must not depend on the requested
// fields. Otherwise a page and its total would disagree.
func FuzzKey(f *testing.F) {
	for _, odd := range storetest.OddKeys() {
		f.Add([]byte(odd.Doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		whole, usable := document.Key(doc, apikey.AllFields)
		bare, bareUsable := document.Key(doc, 0)
		if usable != bareUsable || whole.ID != bare.ID || whole.Hash != bare.Hash {
			t.Errorf("all fields: %q %q, usable %t; none: %q %q, usable %t", whole.ID, whole.Hash, usable, bare.ID, bare.Hash, bareUsable)
		}
		for _, text := range []string{string(whole.ID), whole.Hash, whole.Name} {
			if !utf8.ValidString(text) {
				t.Errorf("%q is not UTF-8", text)
			}
		}
		document.Namespace(doc)
		document.Retriever(doc)
		for _, list := range []string{document.Namespaces, document.Retrievers, document.Keys} {
			document.Identify(list, doc)
		}
		if e, ok := document.Event(doc); ok && e.ID == "" {
			t.Errorf("an event without an id: %+v", e)
		}
		document.PendingEvents(doc)
	})
}

// A document without a usable id or hash, or bytes that are not BSON, must give no key and must not panic.
func TestUnusable(t *testing.T) {
	whole := encode(t, "key_id", "key_1", "key_hash", "h", "scopes", bson.A{bson.D{{Key: "resource_type", Value: "retriever"}}})
	if _, ok := document.Key(whole, 0); !ok {
		t.Fatal("the whole document is unusable")
	}
	bad := map[string]bson.Raw{
		"no id":              encode(t, "key_hash", "h"),
		"an unusable _id":    encode(t, "_id", 7, "key_hash", "h"),
		"an empty _id":       encode(t, "_id", "", "key_hash", "h"),
		"no hash":            encode(t, "key_id", "key_1"),
		"an empty hash":      encode(t, "key_id", "key_1", "key_hash", ""),
		"an unusable hash":   encode(t, "key_id", "key_1", "key_hash", 7),
		"nothing":            nil,
		"an empty document":  encode(t),
		"more than one":      append(append(bson.Raw{}, whole...), 0),
		"a length too large": append(bson.Raw{0xff, 0xff, 0xff, 0x7f}, whole[4:]...),
		"a length too small": append(bson.Raw{4, 0, 0, 0}, whole[4:]...),
		"a negative length":  append(bson.Raw{0xff, 0xff, 0xff, 0xff}, whole[4:]...),
	}
	for i := range whole {
		bad["cut off at "+string(rune('0'+i/100))+string(rune('0'+i/10%10))+string(rune('0'+i%10))] = whole[:i]
	}
	for name, doc := range bad {
		for _, fields := range []apikey.Fields{0, apikey.AllFields} {
			if k, ok := document.Key(doc, fields); ok {
				t.Errorf("%s: read as %+v", name, k)
			}
		}
		if n, ok := document.Namespace(doc); ok {
			t.Errorf("%s: read as %+v", name, n)
		}
		if r, ok := document.Retriever(doc); ok {
			t.Errorf("%s: read as %+v", name, r)
		}
		document.Identify(document.Keys, doc)
	}
}

// Fields that were not requested must not be read. They get their defaults.
func TestKeyReadsOnlyRequestedFields(t *testing.T) {
	doc := storetest.OddKeys()[0].Doc // complete
	got, ok := document.Key(doc, 0)
	want := apikey.Key{ID: "key_odd_00", Hash: got.Hash, Type: apikey.Standard, Stored: apikey.Active}
	if diff := cmp.Diff(want, got); !ok || got.Hash == "" || diff != "" {
		t.Errorf("no fields: (-want +got)\n%s", diff)
	}
	if got, want := strings.Join(document.KeyFieldNames(0), " "), "key_id key_hash"; got != want {
		t.Errorf("the names of no fields are %q, want %q", got, want)
	}
	got, _ = document.Key(doc, apikey.FieldName|apikey.FieldCreatedBy)
	by := "usr_2"
	want.Name, want.CreatedBy = "Complete", &by
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("two fields: (-want +got)\n%s", diff)
	}
	if got, want := strings.Join(document.KeyFieldNames(apikey.FieldCreatedBy|apikey.FieldName), " "), "key_id key_hash name created_by"; got != want {
		t.Errorf("the names of two fields are %q, want %q", got, want)
	}

	// A projection of all fields must name exactly the fields that are read: the vendor's and this server's.
	elements, err := doc.Elements()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range elements {
		names = append(names, e.Key())
	}
	names = append(names, "revoke_reason", "leaked_at", "leak_source", "leak_url", "rotated_to", "rotated_from", "budget_hash", "revision")
	if diff := cmp.Diff(names, document.KeyFieldNames(apikey.AllFields)); diff != "" {
		t.Errorf("the names of all fields: (-want +got)\n%s", diff)
	}
}

// Without this, a key would change when it is stored.
func TestDocumentsRoundTrip(t *testing.T) {
	text := func(s string) *string { return &s }
	at := func(ms int64) *time.Time { t := time.UnixMilli(ms).UTC(); return &t }
	id := func(s apikey.ID) *apikey.ID { return &s }
	limit := int32(7)
	for name, k := range map[string]apikey.Key{
		"whole": {
			ID: "key_1", Hash: "h", Prefix: text("ret_sk_abc..."), Type: apikey.RetrieverKey, SubscriptionID: text("sub"),
			InternalID: "int", OrganizationID: text("org"), UserID: "usr", Name: "n\x00\U0001F600", Description: "d",
			Permissions: []apikey.Permission{apikey.Read}, RateLimitOverride: &limit, Stored: apikey.Expired,
			Scopes: []apikey.Scope{
				{ResourceType: apikey.ResourceRetriever, ResourceID: "ret", Operations: []apikey.Operation{apikey.ExecuteRetriever}},
				{ResourceType: apikey.ResourceNamespace, ResourceID: "ns"},
			},
			ExpiresAt: at(1), LastUsedAt: at(-1), CreatedAt: at(0), CreatedBy: text(""), RevokedAt: at(1_700_000_000_123), RevokedBy: text("x"),
			AllowedOrigins: []string{"https://a.example"}, PrincipalID: text("p"), IsInternal: true, RotatedFrom: id("key_0"), Budget: "b",
		},
		"bare": {ID: "key_1", Hash: "h", Type: apikey.Standard, Stored: apikey.Active},
	} {
		got, ok := document.Key(document.FromKey(k), apikey.AllFields)
		if diff := cmp.Diff(k, got); !ok || diff != "" {
			t.Errorf("key, %s: (-want +got)\n%s", name, diff)
		}
	}
	n := apikey.Namespace{ID: "ns", Name: "n", Description: text("d"), InternalID: "int", OrganizationID: text("org"), OrganizationName: text("Org"), CreatedAt: at(1), UpdatedAt: at(2)}
	gotN, ok := document.Namespace(document.FromNamespace(n, "a@b.example"))
	if diff := cmp.Diff(n, gotN); !ok || diff != "" {
		t.Errorf("namespace: (-want +got)\n%s", diff)
	}
	r := apikey.Retriever{ID: "ret", Name: "r", Description: text("d"), NamespaceID: "ns", InternalID: "int", CreatedAt: at(1), UpdatedAt: at(2)}
	gotR, ok := document.Retriever(document.FromRetriever(r))
	if diff := cmp.Diff(r, gotR); !ok || diff != "" {
		t.Errorf("retriever: (-want +got)\n%s", diff)
	}
}

// An event must be read as it was written, from its own collection and from the key's document that carries it.
func TestEventsAreReadAsWritten(t *testing.T) {
	text := func(s string) *string { return &s }
	key := apikey.ID("key_actor")
	whole := apikey.Event{
		ID: "evt_1", Timestamp: time.UnixMilli(1_700_000_000_123).UTC(), Action: apikey.KeyRotated, ResourceType: apikey.ResourceAPIKey, ResourceID: "key_1",
		ActorID: "usr", ActorType: apikey.User, ActorKeyID: &key, Outcome: apikey.Success, IPAddress: text("::1"), UserAgent: text("\U0001F600"),
		Changes:    []apikey.FieldChange{{Field: "name", Before: text("a"), After: text("")}, {Field: "expires_at"}},
		InternalID: "int", NamespaceID: "ns", RetrieverIDs: []apikey.RetrieverID{"ret_1", "ret_2"},
	}
	bare := apikey.Event{ID: "evt_2", Timestamp: time.UnixMilli(0).UTC(), ResourceType: apikey.ResourceRetriever, InternalID: "int"}
	carrier := encode(t, "key_id", "key_1", "internal_id", "int", "pending_events", bson.A{document.FromEvent(whole), 7, document.FromEvent(bare)}, "successor", bson.D{{Key: "key_id", Value: "key_2"}, {Key: "internal_id", Value: "int"}})
	pending, successor := document.PendingEvents(carrier)
	if len(pending) != 2 || successor.Lookup("key_id").StringValue() != "key_2" {
		t.Fatalf("pending %v, successor %v", pending, successor)
	}
	for i, e := range []apikey.Event{whole, bare} {
		got, ok := document.Event(document.FromEvent(e))
		if diff := cmp.Diff(e, got); !ok || diff != "" {
			t.Errorf("%s: (-want +got)\n%s", e.ID, diff)
		}
		got, ok = document.Event(pending[i])
		if diff := cmp.Diff(e, got); !ok || diff != "" {
			t.Errorf("%s, pending: (-want +got)\n%s", e.ID, diff)
		}
	}
	if pending, successor := document.PendingEvents(encode(t, "pending_events", "none", "successor", 7)); len(pending) > 0 || successor != nil {
		t.Errorf("of another form: got %v, %v, want nothing", pending, successor)
	}
	for name, doc := range map[string]bson.Raw{
		"no id":           encode(t, "timestamp", bson.DateTime(1)),
		"no time":         encode(t, "audit_id", "evt_1"),
		"a time of text":  encode(t, "audit_id", "evt_1", "timestamp", "soon"),
		"nothing":         nil,
		"a cut off event": document.FromEvent(whole)[:40],
	} {
		if e, ok := document.Event(doc); ok {
			t.Errorf("%s: read as %+v", name, e)
		}
	}
	odd := encode(t, "audit_id", "evt_1", "timestamp", bson.DateTime(0), "resource_type", "planet", "changes", bson.A{7, bson.D{{Key: "before", Value: "x"}}, bson.D{{Key: "field", Value: "f"}, {Key: "after", Value: 7}}}, "retriever_ids", "ret_1")
	want := apikey.Event{ID: "evt_1", Timestamp: bare.Timestamp, ResourceType: "planet", Changes: []apikey.FieldChange{{Field: "f"}}}
	if got, ok := document.Event(odd); !ok || cmp.Diff(want, got) != "" {
		t.Errorf("written by another program: %+v", got)
	}
}

// Set must leave all other fields unchanged. It must take effect even if the document has a field twice.
func TestSet(t *testing.T) {
	doc := encode(t, "_id", bson.ObjectID{1}, "name", "old", "theirs", bson.D{{Key: "b", Value: bson.Decimal128{}}, {Key: "a", Value: bson.A{nil}}}, "name", "older", "status", "active")
	got, err := document.Set(doc, bson.D{{Key: "revision", Value: int64(1)}, {Key: "status", Value: "revoked"}, {Key: "name", Value: nil}})
	want := encode(t, "_id", bson.ObjectID{1}, "name", nil, "theirs", bson.D{{Key: "b", Value: bson.Decimal128{}}, {Key: "a", Value: bson.A{nil}}}, "status", "revoked", "revision", int64(1))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v, %v\nwant %v", got, err, want)
	}
	if _, err := document.Set(doc[:20], nil); err == nil {
		t.Error("Set accepted a truncated document")
	}
}

// Without this, nobody could tell who created a namespace.
func TestNamespaceKeepsItsCreator(t *testing.T) {
	made := document.FromNamespace(apikey.Namespace{ID: "ns"}, "a@b.example")
	if got, _ := made.Lookup("created_by_email").StringValueOK(); got != "a@b.example" {
		t.Errorf("created_by_email = %q", got)
	}
	if v := document.FromNamespace(apikey.Namespace{ID: "ns"}, "").Lookup("created_by_email"); v.Type != 0 {
		t.Errorf("created_by_email = %v, want none", v)
	}
}

// An identity must include the type of the _id, so that 1 and "1" differ.
func TestIdentify(t *testing.T) {
	id := bson.ObjectID{1}
	for _, c := range []struct {
		list string
		doc  bson.Raw
		want document.Identity
	}{
		{document.Keys, encode(t, "_id", id, "key_id", "key_1", "key_hash", "h", "internal_id", "int"), document.Identity{Tenant: "int", ID: "key_1", Hash: "h", DocumentID: "\x07" + string(id[:])}},
		{document.Keys, encode(t, "_id", id, "key_hash", "h", "internal_id", "int"), document.Identity{Tenant: "int", ID: id.Hex(), Hash: "h", DocumentID: "\x07" + string(id[:])}},
		{document.Keys, encode(t, "key_id", "key_1", "internal_id", 7), document.Identity{ID: "key_1"}},
		{document.Retrievers, encode(t, "_id", "x", "retriever_id", "ret", "internal_id", "int"), document.Identity{Tenant: "int", ID: "ret", DocumentID: "\x02\x02\x00\x00\x00x\x00"}},
		{document.Namespaces, encode(t, "_id", int32(1), "namespace_id", "ns", "internal_id", "int"), document.Identity{Tenant: "int", ID: "ns", DocumentID: "\x10\x01\x00\x00\x00"}},
		{document.Namespaces, encode(t), document.Identity{}},
	} {
		if diff := cmp.Diff(c.want, document.Identify(c.list, c.doc)); diff != "" {
			t.Errorf("%s %v: (-want +got)\n%s", c.list, c.doc, diff)
		}
	}
}

// encode returns a document of alternating names and values.
func encode(t *testing.T, pairs ...any) bson.Raw {
	t.Helper()
	d := bson.D{}
	for i := 0; i < len(pairs); i += 2 {
		name, _ := pairs[i].(string)
		d = append(d, bson.E{Key: name, Value: pairs[i+1]})
	}
	doc, err := bson.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}
