package sqlite

import (
	"path/filepath"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// An older version stored keys without a key_id and found them by a column. They must stay in their lists, and a repair
// must complete their documents.
func TestRepairOfOldRows(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "store.db"))
	old, err := bson.Marshal(bson.D{
		{Key: "_id", Value: "legacy"}, {Key: "key_hash", Value: "h"}, {Key: "internal_id", Value: "int_1"}, {Key: "plan", Value: "gold"},
		{Key: "scopes", Value: bson.A{bson.D{{Key: "resource_type", Value: "retriever"}, {Key: "resource_id", Value: "ret_1"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Import(t.Context(), document.Batch{Keys: []bson.Raw{old}}, document.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.write.ExecContext(t.Context(), "UPDATE api_keys SET document = ?", old); err != nil {
		t.Fatal(err)
	}
	stored := func() bson.Raw {
		t.Helper()
		var doc []byte
		if err := s.read.QueryRowContext(t.Context(), "SELECT document FROM api_keys").Scan(&doc); err != nil {
			t.Fatal(err)
		}
		return doc
	}
	for _, dry := range []bool{true, false} {
		done, err := s.Repair(t.Context(), document.RepairOptions{DryRun: dry})
		if err != nil || done.Known != 1 || done.New != 0 || len(done.Clashes) > 0 {
			t.Errorf("dry run %t: %+v, %v", dry, done, err)
		}
		id, _ := stored().Lookup("key_id").StringValueOK()
		if want := map[bool]string{true: "", false: "legacy"}[dry]; id != want || stored().Lookup("plan").StringValue() != "gold" {
			t.Errorf("dry run %t: %v", dry, stored())
		}
		pages, err := s.KeyPages(t.Context(), "int_1", []apikey.RetrieverID{"ret_1"}, apikey.KeyList{Limit: 5})
		if err != nil || len(pages[0]) != 1 || pages[0][0].ID != "legacy" {
			t.Errorf("KeyPages = %+v, %v", pages, err)
		}
	}
}
