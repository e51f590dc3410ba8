package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
	"retrieverkeys/store/document"
)

// importTwice: A second import must recognize the documents that are stored, all or some of them. Otherwise an import
// could not be repeated after an outage.
func importTwice(t *testing.T, e store.Engine) {
	b := OddBatch()
	part := document.Batch{Retrievers: b.Retrievers, Keys: b.Keys[:3]}
	mustImport(t, e, part)
	imported, err := e.Import(t.Context(), b, document.ImportOptions{})
	equal(t, "the rest", document.Imported{Stored: b.Len() - part.Len(), Existing: part.Len()}, imported, err)
	imported, err = e.Import(t.Context(), b, document.ImportOptions{})
	equal(t, "the second import", document.Imported{Existing: b.Len()}, imported, err)
	n, err := e.CountUnusable(t.Context())
	equal(t, "CountUnusable", document.Unusable{}, n, err)
}

// importNeverRevives: An import must not change a stored document. Otherwise yesterday's backup would reactivate the
// key that was revoked this morning.
func importNeverRevives(t *testing.T, e store.Engine) {
	revoked := overlay(completeKey("key_1"), doc("status", "revoked", "revoked_at", oddDate))
	mustImport(t, e, document.Batch{Keys: []bson.Raw{encode(revoked)}})
	want, _ := document.Key(encode(revoked), apikey.AllFields)

	for name, alive := range map[string]bson.D{
		"the same hash":    completeKey("key_1"),
		"another hash":     overlay(completeKey("key_1"), doc("key_hash", hashOf("other"))),
		"another _id":      overlay(completeKey("key_1"), doc("_id", "other")),
		"another list":     overlay(completeKey("key_1"), doc("scopes", bson.A{doc("resource_type", "retriever", "resource_id", "ret_other")})),
		"nothing to limit": overlay(completeKey("key_1"), doc("expires_at", absent{}, "status", absent{})),
	} {
		imported, err := e.Import(t.Context(), document.Batch{Keys: []bson.Raw{encode(alive)}}, document.ImportOptions{})
		equal(t, name, document.Imported{Existing: 1}, imported, err)
	}
	found, err := e.KeysByHash(t.Context(), want.Hash)
	equal(t, "KeysByHash", []apikey.Key{want}, found, err)
	n, err := e.CountKeys(t.Context(), OddTenant, apikey.ActiveKeys(oddDate).Of(OddRetriever))
	equal(t, "CountKeys, active", 0, n, err)
	n, err = e.CountKeys(t.Context(), OddTenant, apikey.KeyConditions{}.Of("ret_other"))
	equal(t, "CountKeys, other list", 0, n, err)
	found, err = e.KeysByHash(t.Context(), hashOf("other"))
	equal(t, "KeysByHash, other", nil, found, err)
}

// importClashes: If an id or hash belongs to another stored document, the import must report it by list, index and
// field, and store nothing. Otherwise two keys would share a hash, and neither would work.
func importClashes(t *testing.T, e store.Engine) {
	stored := OddBatch()
	stored.Keys = []bson.Raw{encode(overlay(completeKey("key_1"), doc("_id", "id_1")))}
	stored.Namespaces = append(stored.Namespaces, encode(doc("_id", 7, "namespace_id", "ns_1", "internal_id", "int_1", "namespace_name", "one")))
	stored.Retrievers = append(stored.Retrievers, encode(doc("_id", "id_1", "retriever_id", "ret_1", "internal_id", "int_1", "namespace_id", "ns_1")))
	mustImport(t, e, stored)

	const message = "belongs to another stored document"
	clashing := document.Batch{
		Namespaces: []bson.Raw{
			encode(doc("namespace_id", "ns_new", "internal_id", "int_1", "namespace_name", "new")),
			encode(doc("_id", 7, "namespace_id", "ns_2", "internal_id", "int_1", "namespace_name", "two")),
		},
		Retrievers: []bson.Raw{
			encode(doc("_id", "id_1", "retriever_id", "ret_1", "internal_id", "int_2", "namespace_id", "ns_1")),
			encode(doc("_id", "id_new", "retriever_id", "ret_new", "internal_id", "int_1", "namespace_id", "ns_1")),
		},
		Keys: []bson.Raw{
			stored.Keys[0],
			encode(completeKey("key_new")),
			encode(overlay(completeKey("key_2"), doc("_id", "id_1"))),
			encode(overlay(completeKey("key_3"), doc("key_hash", hashOf("key_1")))),
			encode(overlay(completeKey("key_4"), doc("_id", "id_1", "key_hash", hashOf("key_1")))),
			encode(overlay(completeKey("key_1"), doc("internal_id", "int_other"))),
		},
	}
	want := []document.Problem{
		{List: document.Namespaces, Index: 1, Field: "_id", Message: message},
		{List: document.Retrievers, Index: 0, Field: "_id", Message: message},
		{List: document.Keys, Index: 2, Field: "_id", Message: message},
		{List: document.Keys, Index: 3, Field: "key_hash", Message: message},
		{List: document.Keys, Index: 4, Field: "_id", Message: message},
		{List: document.Keys, Index: 4, Field: "key_hash", Message: message},
		{List: document.Keys, Index: 5, Field: "key_hash", Message: message},
	}
	imported, err := e.Import(t.Context(), clashing, document.ImportOptions{})
	var problems document.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("Import = %+v, %v, want problems", imported, err)
	}
	equal(t, "problems", want, problems.First, nil)
	equal(t, "imported", document.Imported{}, imported, nil)

	ctx := t.Context()
	ns, err := e.Namespaces(ctx, "int_1", []string{"ns_new", "ns_2"})
	equal(t, "Namespaces", nil, ns, err)
	rs, err := e.Retrievers(ctx, "int_1", []apikey.RetrieverID{"ret_new"})
	equal(t, "Retrievers", nil, rs, err)
	found, err := e.Keys(ctx, OddTenant, []apikey.ID{"key_new", "key_2", "key_3", "key_4"}, 0)
	equal(t, "Keys", nil, found, err)
}

// importSameIDs: An id must be unique only within its tenant.
func importSameIDs(t *testing.T, e store.Engine) {
	mustImport(t, e, document.Batch{Keys: []bson.Raw{encode(completeKey("key_1"))}})
	mustImport(t, e, document.Batch{Keys: []bson.Raw{encode(overlay(completeKey("key_1"), doc("internal_id", "int_other", "key_hash", hashOf("other"))))}})
	found, err := e.Keys(t.Context(), "int_other", []apikey.ID{"key_1"}, 0)
	want := identityOf("key_1")
	want.Hash = hashOf("other")
	equal(t, "Keys", []apikey.Key{want}, found, err)
}

// importOnlyIfEmpty: A batch for an empty store must be stored once, and never if there are other documents. Otherwise
// every start would add a demo organization to somebody's data.
func importOnlyIfEmpty(t *testing.T, e store.Engine) {
	b := OddBatch()
	onlyIfEmpty := document.ImportOptions{OnlyIfEmpty: true}
	imported, err := e.Import(t.Context(), document.Batch{Namespaces: b.Namespaces}, onlyIfEmpty)
	equal(t, "empty", document.Imported{Stored: 1}, imported, err)
	imported, err = e.Import(t.Context(), document.Batch{Keys: b.Keys}, onlyIfEmpty)
	if !errors.Is(err, document.ErrNotEmpty) || imported != (document.Imported{}) {
		t.Errorf("not empty: Import = %+v, %v, want %v", imported, err, document.ErrNotEmpty)
	}
	n, err := e.CountKeys(t.Context(), OddTenant, apikey.KeyConditions{}.Of(OddRetriever))
	equal(t, "CountKeys", 0, n, err)
}

// importEvents: The events that a key's document carries must be stored once, with the key, and leave its document.
// Otherwise a key created without the Service would have no audit trail.
func importEvents(t *testing.T, e store.Engine) {
	carrying := func(id apikey.ID, events ...apikey.Event) bson.Raw {
		k, _ := newKey(id)
		doc := document.FromKey(k)
		for _, event := range events {
			var err error
			if doc, err = document.Carrying(doc, event); err != nil {
				t.Fatal(err)
			}
		}
		return doc
	}
	k, event := newKey("key_1")
	other, otherEvent := newKey("key_2")
	b := document.Batch{Keys: []bson.Raw{carrying("key_1", event), carrying("key_2", otherEvent), carrying("key_3")}}
	imported, err := e.Import(t.Context(), b, document.ImportOptions{})
	equal(t, "Import", document.Imported{Stored: 3}, imported, err)
	for range 2 {
		page, err := e.EventPage(t.Context(), OddTenant, apikey.EventList{Limit: 10})
		equal(t, "EventPage", []apikey.Event{otherEvent, event}, page, err)
		n, err := e.CountEvents(t.Context(), OddTenant, apikey.EventConditions{About: &k.ID})
		equal(t, "CountEvents", 1, n, err)
		equal(t, "the key", k, current(t, e, "key_1"), nil)
		equal(t, "the other key", other, current(t, e, "key_2"), nil)
		// A stored key and its trail must not change.
		second, err := e.Import(t.Context(), document.Batch{Keys: []bson.Raw{carrying("key_1", newEvent("evt_late", "key_1", instant))}}, document.ImportOptions{})
		equal(t, "second Import", document.Imported{Existing: 1}, second, err)
	}
}

// importNothing: An empty batch must not be an error.
func importNothing(t *testing.T, e store.Engine) {
	imported, err := e.Import(t.Context(), document.Batch{}, document.ImportOptions{})
	equal(t, "Import", document.Imported{}, imported, err)
}

// importProgress: The progress callback must see an import advance and finish. The batch is larger than what engines
// send or count at once.
func importProgress(t *testing.T, e store.Engine) {
	b := OddBatch()
	b.Keys = nil
	for i := range 1100 {
		b.Keys = append(b.Keys, encode(completeKey(fmt.Sprintf("key_%04d", i))))
	}
	var counts []int
	imported, err := e.Import(t.Context(), b, document.ImportOptions{Progress: func(done int) { counts = append(counts, done) }})
	equal(t, "Import", document.Imported{Stored: b.Len()}, imported, err)
	if !slices.IsSorted(counts) || len(counts) == 0 || counts[len(counts)-1] != b.Len() {
		t.Errorf("progress %v, want it to rise to %d", counts, b.Len())
	}
	n, err := e.CountKeys(t.Context(), OddTenant, apikey.KeyConditions{}.Of(OddRetriever))
	equal(t, "CountKeys", len(b.Keys), n, err)
}

// failing is a source that fails after its last document.
type failing struct{ document.Source }

func (f failing) Read(ctx context.Context, use func(document.Part) error) error {
	if err := f.Source.Read(ctx, use); err != nil {
		return err
	}
	return document.ErrChanged
}

// importFails: If the source cannot be read to its end, the import must store nothing and return the source's error.
func importFails(t *testing.T, e store.Engine) {
	b := OddBatch()
	for i := range 2 * document.MaxPart {
		b.Keys = append(b.Keys, encode(completeKey(fmt.Sprintf("key_%04d", i))))
	}
	imported, err := e.Import(t.Context(), failing{b}, document.ImportOptions{})
	if !errors.Is(err, document.ErrChanged) || imported != (document.Imported{}) {
		t.Errorf("Import = %+v, %v, want %v", imported, err, document.ErrChanged)
	}
	n, err := e.CountKeys(t.Context(), OddTenant, apikey.KeyConditions{}.Of(OddRetriever))
	equal(t, "CountKeys", 0, n, err)
	namespaces, err := e.AllNamespaces(t.Context())
	equal(t, "AllNamespaces", 0, len(namespaces), err)
	imported, err = e.Import(t.Context(), b, document.ImportOptions{})
	equal(t, "second Import", document.Imported{Stored: b.Len()}, imported, err)
}
