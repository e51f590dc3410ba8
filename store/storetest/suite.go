// Package storetest is the test suite that every engine must pass, so that engines are interchangeable. Its comments
// say what each test requires and what breaks otherwise.
package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
	"retrieverkeys/store/document"
)

// Run tests an engine. The function open returns a new, empty engine, and closes it when the test ends.
func Run(t *testing.T, open func(t *testing.T) store.Engine) {
	for _, promise := range []struct {
		name string
		test func(*testing.T, store.Engine)
	}{
		{"agrees with the model", agreesWithModel},
		{"odd keys", oddKeys},
		{"unusable keys", unusableKeys},
		{"an _id is not a key_id", documentIDIsNoID},
		{"repair", repair},
		{"fields", onlyFieldsAskedFor},
		{"tenancy", tenancy},
		{"paging", paging},
		{"many pages", manyPages},
		{"reads are charged", readsAreCharged},
		{"context ended", contextEnded},
		{"insert a key", insertKey},
		{"change a key", changeKey},
		{"lost changes", lostChange},
		{"leaks", leaks},
		{"current keys by hash", currentKeysWithHashes},
		{"a successor", successor},
		{"changes of odd keys", oddChanges},
		{"uses", useKeys},
		{"usage", usage},
		{"large usage", largeUsage},
		{"concurrent usage", concurrentUsage},
		{"old usage", oldUsage},
		{"reads of usage are charged", readsOfUsageAreCharged},
		{"events", events},
		{"events agree with the model", eventsAgreeWithModel},
		{"events of many retrievers", eventsOfManyRetrievers},
		{"the feed", feed},
		{"the feed while events are stored", feedOfConcurrentEvents},
		{"the feed of events that are stored again", feedOfRepeatedEvents},
		{"the feed since an instant", feedSince},
		{"the feed of imported events", feedOfImportedEvents},
		{"old events", oldEvents},
		{"lives of keys", lifecycle},
		{"notices", notices},
		{"namespaces of all tenants", namespacesCalled},
		{"keys of all tenants", keysOfAllTenants},
		{"import twice", importTwice},
		{"import never revives", importNeverRevives},
		{"import clashes", importClashes},
		{"import keeps ids of tenants apart", importSameIDs},
		{"import only if empty", importOnlyIfEmpty},
		{"import of keys with events", importEvents},
		{"import of nothing", importNothing},
		{"import progress", importProgress},
		{"import of a source that fails", importFails},
	} {
		t.Run(promise.name, func(t *testing.T) { promise.test(t, open(t)) })
	}
}

// oddKeys: Every read must decode an old or odd document in the same way, and find it by hash, by id and in its list.
// Otherwise it would fail the list that it is in, or a key with unreadable limits would count as unlimited.
func oddKeys(t *testing.T, e store.Engine) {
	b := OddBatch()
	mustImport(t, e, b)
	var listed []apikey.Key
	for _, odd := range OddKeys() {
		t.Run(odd.Name, func(t *testing.T) {
			byHash, err := e.KeysByHash(t.Context(), odd.Want.Hash)
			equal(t, "KeysByHash", []apikey.Key{odd.Want}, byHash, err)
			ofTenant := []apikey.Key{odd.Want}
			if odd.Want.InternalID != OddTenant {
				ofTenant = nil // it belongs to no tenant, so this tenant does not see it
			}
			byID, err := e.Keys(t.Context(), OddTenant, []apikey.ID{odd.Want.ID}, apikey.AllFields)
			equal(t, "Keys", ofTenant, byID, err)
			byID, err = e.CurrentKeys(t.Context(), OddTenant, odd.Want.ID, "key_nowhere")
			equal(t, "CurrentKeys", ofTenant, byID, err)
			withHash, err := e.KeysWithHashes(t.Context(), OddTenant, []string{odd.Want.Hash, hashOf("nobody's")}, apikey.AllFields)
			equal(t, "KeysWithHashes", ofTenant, withHash, err)
			tenant := OddTenant
			withHash, err = e.CurrentKeysWithHashes(t.Context(), &tenant, []string{odd.Want.Hash, hashOf("nobody's")})
			equal(t, "CurrentKeysWithHashes", ofTenant, withHash, err)
			withHash, err = e.CurrentKeysWithHashes(t.Context(), nil, []string{odd.Want.Hash, hashOf("nobody's")})
			equal(t, "CurrentKeysWithHashes of all tenants", []apikey.Key{odd.Want}, withHash, err)
		})
		if names(odd.Want, OddTenant, OddRetriever) {
			listed = append(listed, odd.Want)
		}
	}
	slices.SortFunc(listed, func(a, b apikey.Key) int { return compareKeys(keyPosition(a), keyPosition(b)) })
	pages, err := e.KeyPages(t.Context(), OddTenant, []apikey.RetrieverID{OddRetriever}, apikey.KeyList{Limit: 1000, Fields: apikey.AllFields})
	equal(t, "KeyPages", [][]apikey.Key{listed}, pages, err)
	n, err := e.CountKeys(t.Context(), OddTenant, apikey.KeyConditions{}.Of(OddRetriever))
	equal(t, "CountKeys", len(listed), n, err)
}

// unusableKeys: A document without a usable id or hash must be stored and counted by CountUnusable, and no other read
// may find it. If total counted it, pages would never add up. If nothing counted it, nobody would notice it.
func unusableKeys(t *testing.T, e store.Engine) {
	good := completeKey("key_good")
	noHash := overlay(completeKey("key_no_hash"), doc("key_hash", absent{}))
	numberHash := overlay(completeKey("key_number_hash"), doc("key_hash", 7))
	noID := overlay(completeKey("key_gone"), doc("key_id", absent{}, "_id", 7))
	b := document.Batch{Keys: []bson.Raw{encode(good), encode(noHash), encode(numberHash), encode(noID)}}
	mustImport(t, e, b)

	pages, err := e.KeyPages(t.Context(), OddTenant, []apikey.RetrieverID{OddRetriever}, apikey.KeyList{Limit: 10})
	equal(t, "KeyPages", [][]apikey.Key{{identityOf("key_good")}}, pages, err)
	n, err := e.CountKeys(t.Context(), OddTenant, apikey.KeyConditions{}.Of(OddRetriever))
	equal(t, "CountKeys", 1, n, err)
	found, err := e.Keys(t.Context(), OddTenant, []apikey.ID{"key_no_hash", "key_number_hash", "key_gone", ""}, 0)
	equal(t, "Keys", nil, found, err)
	found, err = e.KeysByHash(t.Context(), hashOf("key_gone"))
	equal(t, "KeysByHash", nil, found, err)
	found, err = e.KeysWithHashes(t.Context(), OddTenant, []string{hashOf("key_gone"), ""}, 0)
	equal(t, "KeysWithHashes", nil, found, err)
	found, err = e.CurrentKeysWithHashes(t.Context(), nil, []string{hashOf("key_gone"), ""})
	equal(t, "CurrentKeysWithHashes", nil, found, err)
	unusable, err := e.CountUnusable(t.Context())
	equal(t, "CountUnusable", document.Unusable{NoHash: 2, NoID: 1}, unusable, err)
}

// repair: Every document without a key_id must get one, once. A dry run must count the same and write nothing.
// Otherwise some keys would stay that nobody can list.
func repair(t *testing.T, e store.Engine) {
	var b document.Batch
	// One per organization and one without a hash, because unique indexes allow no more.
	for i := range document.RepairBatch {
		b.Keys = append(b.Keys, encode(overlay(completeKey(fmt.Sprintf("key_%d", i)), doc("key_id", absent{}, "_id", int32(i), "internal_id", fmt.Sprintf("int_%d", i)))))
	}
	b.Keys = append(b.Keys,
		encode(overlay(completeKey("key_number"), doc("key_id", absent{}, "_id", 7.5))),
		encode(completeKey("key_good")),
		encode(overlay(completeKey("key_text"), doc("key_id", absent{}, "_id", "legacy"))), // the import gives it an id
		encode(overlay(completeKey("key_no_hash"), doc("key_id", absent{}, "_id", int32(-1), "key_hash", absent{}, "internal_id", "int_nobody"))),
	)
	mustImport(t, e, b)
	list := func() []apikey.Key {
		t.Helper()
		r := apikey.KeyList{Limit: 1000, Fields: apikey.FieldCreatedAt}
		pages, err := e.KeyPages(t.Context(), OddTenant, []apikey.RetrieverID{OddRetriever}, r)
		if err != nil {
			t.Fatal(err)
		}
		found := pages[0]
		n, err := e.CountKeys(t.Context(), OddTenant, apikey.KeyConditions{}.Of(OddRetriever))
		equal(t, "CountKeys", len(found), n, err)
		return found
	}
	before := list()
	equal(t, "listed before", 2, len(before), nil)
	want := document.Repaired{New: document.RepairBatch + 2} // one has no hash
	for _, dry := range []bool{true, true, false} {
		last, of := 0, 0
		got, err := e.Repair(t.Context(), document.RepairOptions{DryRun: dry, Progress: func(done, total int) {
			if done < last || done > total {
				t.Errorf("progress of %d of %d after %d", done, total, last)
			}
			last, of = done, total
		}})
		equal(t, fmt.Sprintf("Repair, dry run %t", dry), want, got, err)
		equal(t, "progress at the end", of, last, nil)
		if dry {
			equal(t, "listed after a dry run", before, list(), nil)
		}
	}
	after := list()
	equal(t, "listed after", 3, len(after), nil)
	ids := map[apikey.ID]bool{}
	for _, k := range after {
		ids[k.ID] = true
		found, err := e.Keys(t.Context(), OddTenant, []apikey.ID{k.ID}, apikey.FieldCreatedAt)
		equal(t, "by id", []apikey.Key{k}, found, err)
		byHash, err := e.KeysByHash(t.Context(), k.Hash)
		if err != nil || len(byHash) != 1 || byHash[0].ID != k.ID {
			t.Errorf("by hash: %+v, %v", byHash, err)
		}
	}
	equal(t, "ids", len(after), len(ids), nil)
	equal(t, "those that were listed", true, ids["key_good"] && ids["legacy"], nil)
	unusable, err := e.CountUnusable(t.Context())
	equal(t, "CountUnusable", document.Unusable{NoHash: 1}, unusable, err)
	got, err := e.Repair(t.Context(), document.RepairOptions{})
	equal(t, "second Repair", document.Repaired{}, got, err)
	equal(t, "listed after that", after, list(), nil)
}

// documentIDIsNoID: An _id must stand in only for a missing key_id. Otherwise somebody who can choose an _id could make
// a key answer to another key's id.
func documentIDIsNoID(t *testing.T, e store.Engine) {
	b := document.Batch{Keys: []bson.Raw{
		encode(overlay(completeKey("key_1"), doc("_id", "key_2"))),
		encode(overlay(completeKey("key_2"), doc("_id", "key_3"))),
	}}
	mustImport(t, e, b)
	found, err := e.Keys(t.Context(), OddTenant, []apikey.ID{"key_2", "key_3"}, 0)
	equal(t, "Keys", []apikey.Key{identityOf("key_2")}, found, err)
}

// onlyFieldsAskedFor: A read must return the id, the hash and the requested fields only. Otherwise callers would come
// to depend on what one engine happens to read.
func onlyFieldsAskedFor(t *testing.T, e store.Engine) {
	whole := encode(overlay(completeKey("key_1"), doc("revoked_at", oddDate)))
	mustImport(t, e, document.Batch{Keys: []bson.Raw{whole}})
	subsets := []apikey.Fields{0, apikey.AllFields, apikey.StatusFields}
	for field := apikey.Fields(1); field < apikey.AllFields; field <<= 1 {
		subsets = append(subsets, field)
	}
	for _, fields := range subsets {
		want, _ := document.Key(whole, fields)
		found, err := e.Keys(t.Context(), OddTenant, []apikey.ID{"key_1"}, fields)
		equal(t, fmt.Sprintf("Keys, fields %b", fields), []apikey.Key{want}, found, err)
		pages, err := e.KeyPages(t.Context(), OddTenant, []apikey.RetrieverID{OddRetriever}, apikey.KeyList{Limit: 2, Fields: fields})
		equal(t, fmt.Sprintf("KeyPages, fields %b", fields), [][]apikey.Key{{want}}, pages, err)
	}
	found, err := e.Keys(t.Context(), OddTenant, []apikey.ID{"key_1"}, 0)
	equal(t, "Keys, no fields", []apikey.Key{identityOf("key_1")}, found, err)
}

// tenancy: Two tenants with the same ids must each see only their own documents, and a third tenant none. Otherwise one
// customer reads another's keys.
func tenancy(t *testing.T, e store.Engine) {
	tenants := []apikey.InternalID{"int_1", "int_2"}
	var b document.Batch
	for _, tenant := range tenants {
		organization := "Acme"
		b.Namespaces = append(b.Namespaces, document.FromNamespace(apikey.Namespace{ID: "ns_1", Name: "production", InternalID: tenant, OrganizationName: &organization}, ""))
		b.Retrievers = append(b.Retrievers, document.FromRetriever(apikey.Retriever{ID: "ret_1", Name: "search", NamespaceID: "ns_1", InternalID: tenant}))
		b.Keys = append(b.Keys, document.FromKey(apikey.Key{
			ID: "key_1", Hash: hashOf(string(tenant)), InternalID: tenant, Stored: apikey.Active, Name: "of " + string(tenant), CreatedAt: &oddDate,
			Scopes: []apikey.Scope{{ResourceType: apikey.ResourceRetriever, ResourceID: "ret_1"}},
		}))
	}
	mustImport(t, e, b)

	ctx := t.Context()
	for i, tenant := range append(tenants, "int_3", "") {
		var want model
		if i < len(tenants) {
			want.batch = document.Batch{Namespaces: b.Namespaces[i : i+1], Retrievers: b.Retrievers[i : i+1], Keys: b.Keys[i : i+1]}
		}
		for name, ask := range map[string]func(apikey.Reader) (any, error){
			"Keys": func(s apikey.Reader) (any, error) { return s.Keys(ctx, tenant, []apikey.ID{"key_1"}, apikey.AllFields) },
			"KeysWithHashes": func(s apikey.Reader) (any, error) {
				return s.KeysWithHashes(ctx, tenant, []string{hashOf("int_1"), hashOf("int_2")}, apikey.AllFields)
			},
			"KeyPages": func(s apikey.Reader) (any, error) {
				pages, err := s.KeyPages(ctx, tenant, []apikey.RetrieverID{"ret_1"}, apikey.KeyList{Limit: 9, Fields: apikey.AllFields})
				return slices.Concat(pages...), err
			},
			"CountKeys": func(s apikey.Reader) (any, error) {
				return s.CountKeys(ctx, tenant, apikey.KeyConditions{}.Of("ret_1"))
			},
			"CountKeys active": func(s apikey.Reader) (any, error) {
				return s.CountKeys(ctx, tenant, apikey.ActiveKeys(instant).Of("ret_1"))
			},
			"Namespaces":   func(s apikey.Reader) (any, error) { return s.Namespaces(ctx, tenant, []string{"ns_1", "production"}) },
			"NamespacesOf": func(s apikey.Reader) (any, error) { return s.NamespacesOf(ctx, tenant) },
			"KeyPage": func(s apikey.Reader) (any, error) {
				return s.KeyPage(ctx, tenant, apikey.KeyList{Limit: 9, Fields: apikey.AllFields})
			},
			"Retrievers":      func(s apikey.Reader) (any, error) { return s.Retrievers(ctx, tenant, []apikey.RetrieverID{"ret_1"}) },
			"RetrieversNamed": func(s apikey.Reader) (any, error) { return s.RetrieversNamed(ctx, tenant, "ns_1", []string{"search"}) },
			"RetrieverPage": func(s apikey.Reader) (any, error) {
				return s.RetrieverPage(ctx, tenant, "ns_1", apikey.RetrieverRange{Limit: 9})
			},
			"CountRetrievers": func(s apikey.Reader) (any, error) { return s.CountRetrievers(ctx, tenant, "ns_1") },
		} {
			answer, _ := ask(want)
			got, err := ask(e)
			equal(t, fmt.Sprintf("%s of %q", name, tenant), answer, got, err)
		}
	}
	// This read is not confined to a tenant. Only the store's administrator calls it.
	found, err := e.OrganizationNamespaces(ctx, "Acme")
	equal(t, "OrganizationNamespaces", 2, len(found), err)
}

// paging: Pages of any size, in both directions, must have every key once and in order, including ties and missing
// dates. Otherwise a client that pages through a long list misses keys, or never reaches its end.
func paging(t *testing.T, e store.Engine) {
	const n = 40
	b := document.Batch{}
	for i := range n {
		k := overlay(completeKey(fmt.Sprintf("key_%03d", i)), doc("created_at", oddDate.Add(time.Duration(i/7)*time.Millisecond)))
		if i%10 == 0 {
			k = overlay(k, doc("created_at", nil))
		}
		b.Keys = append(b.Keys, encode(k))
	}
	mustImport(t, e, b)
	m := model{b}
	whole, _ := m.KeyPages(t.Context(), OddTenant, []apikey.RetrieverID{OddRetriever}, apikey.KeyList{Limit: n, Fields: apikey.FieldCreatedAt})
	for _, size := range []int{1, 7, n, n + 1} {
		for _, backwards := range []bool{false, true} {
			var all []apikey.Key
			r := apikey.KeyList{Limit: size, FromEnd: backwards, Fields: apikey.FieldCreatedAt}
			for range n + 1 {
				pages, err := e.KeyPages(t.Context(), OddTenant, []apikey.RetrieverID{OddRetriever}, r)
				if err != nil {
					t.Fatal(err)
				}
				page := pages[0]
				if len(page) == 0 {
					break
				}
				if backwards {
					all = append(slices.Clone(page), all...)
					at := keyPosition(page[0])
					r.Before = &at
				} else {
					all = append(all, page...)
					at := keyPosition(page[len(page)-1])
					r.After = &at
				}
			}
			equal(t, fmt.Sprintf("pages of %d, backwards %t", size, backwards), whole[0], all, nil)
		}
	}
}

// contextEnded: Every method must return Unavailable after its context has ended. Otherwise an abandoned request would
// keep the store busy, or its end would look like a bug.
func contextEnded(t *testing.T, e store.Engine) {
	mustImport(t, e, OddBatch())
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	for name, ctx := range map[string]context.Context{"canceled": canceled, "expired": expired} {
		for method, call := range map[string]func() error{
			"KeysByHash": func() error { _, err := e.KeysByHash(ctx, hashOf("x")); return err },
			"Keys":       func() error { _, err := e.Keys(ctx, OddTenant, []apikey.ID{"key_odd_00"}, 0); return err },
			"CurrentKeysWithHashes": func() error {
				_, err := e.CurrentKeysWithHashes(ctx, nil, []string{hashOf("x")})
				return err
			},
			"KeysWithHashes": func() error {
				_, err := e.KeysWithHashes(ctx, OddTenant, []string{hashOf("x")}, 0)
				return err
			},
			"KeyPages": func() error {
				_, err := e.KeyPages(ctx, OddTenant, []apikey.RetrieverID{OddRetriever}, apikey.KeyList{Limit: 1})
				return err
			},
			"AnswersOf":     func() error { _, err := e.AnswersOf(ctx, OddTenant, []apikey.ID{"key_1"}, 0, 1); return err },
			"DeleteAnswers": func() error { _, err := e.DeleteAnswers(ctx, 1, 1); return err },
			"AddAnswers": func() error {
				_, err := e.AddAnswers(ctx, []apikey.KeyDay{{InternalID: OddTenant, ID: "key_1", Answers: apikey.Answers{Allowed: 1}}})
				return err
			},
			"CountKeys": func() error {
				_, err := e.CountKeys(ctx, OddTenant, apikey.ActiveKeys(instant).Of(OddRetriever))
				return err
			},
			"Namespaces":      func() error { _, err := e.Namespaces(ctx, OddTenant, []string{"odd"}); return err },
			"NamespacesOf":    func() error { _, err := e.NamespacesOf(ctx, OddTenant); return err },
			"KeyPage":         func() error { _, err := e.KeyPage(ctx, OddTenant, apikey.KeyList{Limit: 1}); return err },
			"Retrievers":      func() error { _, err := e.Retrievers(ctx, OddTenant, []apikey.RetrieverID{OddRetriever}); return err },
			"RetrieversNamed": func() error { _, err := e.RetrieversNamed(ctx, OddTenant, OddNamespace, []string{"odd"}); return err },
			"RetrieverPage": func() error {
				_, err := e.RetrieverPage(ctx, OddTenant, OddNamespace, apikey.RetrieverRange{Limit: 1})
				return err
			},
			"CountRetrievers":        func() error { _, err := e.CountRetrievers(ctx, OddTenant, OddNamespace); return err },
			"OrganizationNamespaces": func() error { _, err := e.OrganizationNamespaces(ctx, "Odd things"); return err },
			"Repair":                 func() error { _, err := e.Repair(ctx, document.RepairOptions{}); return err },
			"CountUnusable":          func() error { _, err := e.CountUnusable(ctx); return err },
			"Ping":                   func() error { return e.Ping(ctx) },
			"Import": func() error {
				_, err := e.Import(ctx, document.Batch{Keys: []bson.Raw{encode(completeKey("key_new"))}}, document.ImportOptions{})
				return err
			},
		} {
			err := call()
			if got := apikey.Classify(err); err == nil || got.Code != apikey.Unavailable {
				t.Errorf("%s, context %s: %v, want %s", method, name, err, apikey.Unavailable)
			}
		}
	}
	// The engine must still work.
	if err := e.Ping(t.Context()); err != nil {
		t.Errorf("Ping: %v", err)
	}
	found, err := e.Keys(t.Context(), OddTenant, []apikey.ID{"key_new"}, 0)
	equal(t, "Keys", nil, found, err)
}

func mustImport(t *testing.T, e store.Engine, b document.Batch) {
	t.Helper()
	imported, err := e.Import(t.Context(), b, document.ImportOptions{})
	if want := (document.Imported{Stored: b.Len()}); err != nil || imported != want {
		t.Fatalf("Import = %+v, %v, want %+v", imported, err, want)
	}
}

// identityOf returns a key without any requested field.
func identityOf(id apikey.ID) apikey.Key {
	return apikey.Key{ID: id, Hash: hashOf(string(id)), Type: apikey.Standard, Stored: apikey.Active}
}

// equal fails the test if there is an error or got differs from want.
func equal[T any](t *testing.T, what string, want, got T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	} else if diff := cmp.Diff(want, got, anyEmpty); diff != "" {
		t.Errorf("%s: (-want +got)\n%s", what, diff)
	}
}

// anyEmpty treats nil and empty answers and pages as equal. Within a key, nil and empty mean different things.
var anyEmpty = cmp.FilterPath(func(p cmp.Path) bool {
	return !slices.ContainsFunc(p, func(s cmp.PathStep) bool { _, within := s.(cmp.StructField); return within })
}, cmpopts.EquateEmpty())

// manyPages: If pages have too many keys for one read, several reads must return them all. Otherwise some retrievers
// would seem to have no keys.
func manyPages(t *testing.T, e store.Engine) {
	var b document.Batch
	var ids []apikey.RetrieverID
	want := map[apikey.RetrieverID]int{}
	for r := range 8 {
		id := fmt.Sprintf("ret_%d", r)
		ids = append(ids, apikey.RetrieverID(id))
		want[apikey.RetrieverID(id)] = r * 80
		for i := range r * 80 {
			b.Keys = append(b.Keys, encode(overlay(completeKey(fmt.Sprintf("key_%d_%d", r, i)), doc("scopes", []any{doc("resource_type", "retriever", "resource_id", id)}))))
		}
	}
	mustImport(t, e, b)
	for _, limit := range []int{10, 600, 1001} {
		pages, err := allPages(t.Context(), e, OddTenant, ids, apikey.KeyList{Limit: limit})
		if err != nil {
			t.Fatal(err)
		}
		for i, id := range ids {
			if len(pages[i]) != min(limit, want[id]) {
				t.Errorf("limit %d: %s has %d keys, want %d", limit, id, len(pages[i]), min(limit, want[id]))
			}
		}
	}
	first, err := e.KeyPages(t.Context(), OddTenant, ids, apikey.KeyList{Limit: 1001})
	n := len(slices.Concat(first...))
	if err != nil || n > apikey.KeysAtOnce+1001 {
		t.Errorf("one read returned %d keys of %d retrievers, %v", n, len(first), err)
	}
}

// readsAreCharged: A read must charge the documents that it reads to the request's Cost, and fail when the Cost is
// exhausted. Otherwise one request could read the whole store.
func readsAreCharged(t *testing.T, e store.Engine) {
	var b document.Batch
	for i := range 20 {
		b.Keys = append(b.Keys, encode(completeKey(fmt.Sprintf("key_%02d", i))))
		b.Retrievers = append(b.Retrievers, document.FromRetriever(apikey.Retriever{
			ID: apikey.RetrieverID(fmt.Sprintf("ret_%02d", i)), Name: "odd", NamespaceID: OddNamespace, InternalID: OddTenant,
		}))
	}
	mustImport(t, e, b)
	some := []apikey.RetrieverID{OddRetriever}
	var ids []apikey.ID
	var hashes []string
	for i := range 20 {
		id := fmt.Sprintf("key_%02d", i)
		ids, hashes = append(ids, apikey.ID(id)), append(hashes, hashOf(id))
	}
	for name, read := range map[string]func(ctx context.Context) error{
		"KeyPages": func(ctx context.Context) error {
			_, err := e.KeyPages(ctx, OddTenant, some, apikey.KeyList{Limit: 100})
			return err
		},
		"KeyPage": func(ctx context.Context) error {
			_, err := e.KeyPage(ctx, OddTenant, apikey.KeyList{Limit: 100})
			return err
		},
		"CountKeys of all": func(ctx context.Context) error {
			_, err := e.CountKeys(ctx, OddTenant, apikey.KeyConditions{})
			return err
		},
		"Keys":           func(ctx context.Context) error { _, err := e.Keys(ctx, OddTenant, ids, 0); return err },
		"CurrentKeys":    func(ctx context.Context) error { _, err := e.CurrentKeys(ctx, OddTenant, ids...); return err },
		"KeysWithHashes": func(ctx context.Context) error { _, err := e.KeysWithHashes(ctx, OddTenant, hashes, 0); return err },
		"CountKeys": func(ctx context.Context) error {
			_, err := e.CountKeys(ctx, OddTenant, apikey.KeyConditions{}.Of(OddRetriever))
			return err
		},
		"RetrieverPage": func(ctx context.Context) error {
			_, err := e.RetrieverPage(ctx, OddTenant, OddNamespace, apikey.RetrieverRange{Limit: 100})
			return err
		},
		"CountRetrievers": func(ctx context.Context) error { _, err := e.CountRetrievers(ctx, OddTenant, OddNamespace); return err },
	} {
		enough := apikey.NewCost(1000, 0)
		if err := read(apikey.WithCost(t.Context(), enough)); err != nil || enough.Left() != 980 {
			t.Errorf("%s: %d of 1000 are left, %v", name, enough.Left(), err)
		}
		few := apikey.NewCost(19, 0)
		err := read(apikey.WithCost(t.Context(), few))
		if apikey.Classify(err).Code != apikey.BadUserInput || few.Left() != 0 || few.Exceeded() == nil {
			t.Errorf("%s of 20, with a limit of 19: %v", name, err)
		}
	}
}
