package mongodb

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// withoutKeyID inserts a key of the retriever ret_1 without a key_id, as other programs do.
func withoutKeyID(t *testing.T, s *Store, id any, set ...bson.E) {
	t.Helper()
	d := bson.D{
		{Key: "_id", Value: id}, {Key: "internal_id", Value: "int_1"}, {Key: "key_hash", Value: fmt.Sprintf("hash %v", id)}, {Key: "plan", Value: "gold"},
		{Key: "scopes", Value: bson.A{bson.D{{Key: "resource_type", Value: "retriever"}, {Key: "resource_id", Value: "ret_1"}}}},
	}
	for _, e := range set {
		if i := slices.IndexFunc(d, func(had bson.E) bool { return had.Key == e.Key }); i >= 0 {
			d[i] = e
		} else {
			d = append(d, e)
		}
	}
	insert(t, s, document.Keys, d)
}

// keyIDs returns the key_id of each document by its _id.
func keyIDs(t *testing.T, s *Store) map[string]any {
	t.Helper()
	cursor, err := s.primaryKeys().Find(t.Context(), bson.D{}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		t.Fatal(err)
	}
	var docs []bson.M
	if err := cursor.All(t.Context(), &docs); err != nil {
		t.Fatal(err)
	}
	ids := map[string]any{}
	for _, d := range docs {
		ids[fmt.Sprint(d["_id"])] = d["key_id"]
		if d["plan"] != "gold" {
			t.Errorf("a document lost a field: %v", d)
		}
	}
	return ids
}

// The _id of a key without a key_id must become its key_id, because notes and audit events know it by that. If two
// documents would get one id, both must be left unchanged and be reported.
func TestRepair(t *testing.T) {
	s, _ := dropped(t, testURI)
	objectID := bson.ObjectID{0x61, 1}
	withoutKeyID(t, s, "text")
	withoutKeyID(t, s, objectID, bson.E{Key: "key_id", Value: ""})
	withoutKeyID(t, s, int32(7), bson.E{Key: "key_id", Value: nil})
	withoutKeyID(t, s, bson.D{{Key: "a", Value: "b"}}, bson.E{Key: "key_id", Value: int32(9)})
	withoutKeyID(t, s, "no hash", bson.E{Key: "key_hash", Value: nil})
	withoutKeyID(t, s, "nobody's", bson.E{Key: "internal_id", Value: nil})
	withoutKeyID(t, s, "a list's", bson.E{Key: "internal_id", Value: bson.A{"int_1"}})
	withoutKeyID(t, s, "keyed", bson.E{Key: "key_id", Value: "key_1"})
	withoutKeyID(t, s, "key_1")                                                                                              // the document before has this id
	withoutKeyID(t, s, "key_1 of another", bson.E{Key: "internal_id", Value: "int_2"}, bson.E{Key: "key_id", Value: "text"}) // no clash
	before := keyIDs(t, s)

	// A list of texts as an organization counts as one that lists show.
	if u, err := s.CountUnusable(t.Context()); err != nil || u != (document.Unusable{NoHash: 1, NoID: 6}) {
		t.Errorf("CountUnusable = %+v, %v", u, err)
	}
	for _, dry := range []bool{true, false, false} {
		done, err := s.Repair(t.Context(), document.RepairOptions{DryRun: dry})
		if err != nil {
			t.Fatal(err)
		}
		var left []string
		for _, c := range done.Clashes {
			left = append(left, fmt.Sprintf("%s %s %s", c.Tenant, c.ID, c.DocumentID))
		}
		if diff := cmp.Diff([]string{`int_1 key_1 "key_1"`}, left); diff != "" {
			t.Errorf("dry run %t: left (-want +got)\n%s", dry, diff)
		}
		after := keyIDs(t, s)
		if dry {
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("a dry run changed %s", diff)
			}
		}
		repaired := after["text"] != nil && !dry
		if want := (document.Repaired{Known: 5, New: 2}); dry && (done.Known != want.Known || done.New != want.New) {
			t.Errorf("dry run: %+v", done)
		} else if second := done.Known == 0 && done.New == 0; !dry && !second && (done.Known != want.Known || done.New != want.New) {
			t.Errorf("repaired %+v", done)
		}
		if !repaired {
			continue
		}
		for _, of := range []string{"7", fmt.Sprint(bson.D{{Key: "a", Value: "b"}})} {
			if id, _ := after[of].(string); len(id) < len("key_")+24 || id[:4] != "key_" {
				t.Errorf("the new id of %s is %q", of, id)
			}
			delete(after, of)
		}
		wantIDs := map[string]any{
			"text": "text", fmt.Sprint(objectID): objectID.Hex(), "no hash": "no hash", "nobody's": "nobody's", "a list's": "a list's", "keyed": "key_1",
			"key_1": nil, "key_1 of another": "text",
		}
		if diff := cmp.Diff(wantIDs, after); diff != "" {
			t.Errorf("key_ids (-want +got)\n%s", diff)
		}
	}
	if u, err := s.CountUnusable(t.Context()); err != nil || u != (document.Unusable{NoHash: 1, NoID: 1}) {
		t.Errorf("CountUnusable = %+v, %v", u, err)
	}
}

// A key without a key_id authenticates, so it must be revocable by the id that clients know it by. No list shows it.
func TestKeysWithoutKeyID(t *testing.T) {
	s, _ := indexed(t)
	objectID := bson.ObjectID{0x61}
	withoutKeyID(t, s, "text")
	withoutKeyID(t, s, objectID, bson.E{Key: "internal_id", Value: "int_2"})
	ids := map[apikey.ID]apikey.InternalID{"text": "int_1", apikey.ID(objectID.Hex()): "int_2"}
	for id, tenant := range ids {
		pages, err := s.KeyPages(t.Context(), tenant, []apikey.RetrieverID{"ret_1"}, apikey.KeyList{Limit: 5})
		if err != nil || len(pages[0]) != 0 {
			t.Errorf("%s is listed: %v, %v", id, pages, err)
		}
		if n, err := s.CountKeys(t.Context(), tenant, apikey.KeyConditions{}.Of("ret_1")); err != nil || n != 0 {
			t.Errorf("%s is counted: %d, %v", id, n, err)
		}
		current, err := s.CurrentKeys(t.Context(), tenant, id)
		if err != nil || len(current) != 1 {
			t.Fatalf("CurrentKeys(%s) = %v, %v", id, current, err)
		}
		if byHash, err := s.KeysByHash(t.Context(), current[0].Hash); err != nil || len(byHash) != 1 || byHash[0].ID != id {
			t.Errorf("KeysByHash = %v, %v", byHash, err)
		}
		k := current[0]
		k.Stored, k.RevokedAt = apikey.Revoked, &aTime
		won, err := s.ChangeKey(t.Context(), apikey.Change{
			Key: k, Fields: apikey.FieldStatus | apikey.FieldRevokedAt,
			Events: []apikey.Event{{ID: apikey.EventID("evt_" + string(id)), Timestamp: aTime, InternalID: tenant}},
		})
		if err != nil || !won {
			t.Fatalf("ChangeKey(%s) = %t, %v", id, won, err)
		}
	}
	if _, err := s.Repair(t.Context(), document.RepairOptions{}); err != nil {
		t.Fatal(err)
	}
	for id, tenant := range ids {
		pages, err := s.KeyPages(t.Context(), tenant, []apikey.RetrieverID{"ret_1"}, apikey.KeyList{Limit: 5, Fields: apikey.AllFields})
		if err != nil || len(pages[0]) != 1 || pages[0][0].ID != id || pages[0][0].StatusAt(aTime) != apikey.Revoked {
			t.Errorf("after the repair, the list of %s is %+v, %v", id, pages, err)
		}
	}
}

// An interrupted repair must continue where it stopped, and what a server writes meanwhile must win.
func TestRepairBesideAServer(t *testing.T) {
	s, _ := dropped(t, testURI)
	const n = 2*document.RepairBatch + 1
	var docs []any
	for i := range n {
		docs = append(docs, bson.D{{Key: "_id", Value: fmt.Sprintf("key %d", i)}, {Key: "internal_id", Value: "int_1"}, {Key: "key_hash", Value: fmt.Sprint(i)}, {Key: "plan", Value: "gold"}})
	}
	if _, err := s.primaryKeys().InsertMany(t.Context(), docs); err != nil {
		t.Fatal(err)
	}
	missing := func() (ids []string) {
		for id, keyID := range keyIDs(t, s) {
			if keyID == nil {
				ids = append(ids, id)
			}
		}
		return ids
	}
	ctx, cancel := context.WithCancel(t.Context())
	done, err := s.Repair(ctx, document.RepairOptions{Progress: func(int, int) { cancel() }})
	if err == nil || done.Known != document.RepairBatch || len(missing()) != n-document.RepairBatch {
		t.Fatalf("interrupted: %+v, %v; %d are left", done, err, len(missing()))
	}
	var others []string
	done, err = s.Repair(t.Context(), document.RepairOptions{Progress: func(done, total int) {
		if total != n-document.RepairBatch {
			t.Errorf("progress %d of %d", done, total)
		}
		if done != document.RepairBatch {
			return
		}
		others = missing() // the repair has read them and not written them yet
		for _, id := range others {
			if _, err := s.primaryKeys().UpdateByID(t.Context(), id, bson.D{{Key: "$set", Value: bson.D{{Key: "key_id", Value: "other " + id}}}}); err != nil {
				t.Error(err)
			}
		}
	}})
	if err != nil || len(others) != 1 || len(missing()) != 0 {
		t.Fatalf("%+v, %v; %d are left", done, err, len(missing()))
	}
	for id, keyID := range keyIDs(t, s) {
		if want := id; slices.Contains(others, id) && keyID != "other "+want || !slices.Contains(others, id) && keyID != want {
			t.Errorf("the key_id of %q is %v", id, keyID)
		}
	}
}
