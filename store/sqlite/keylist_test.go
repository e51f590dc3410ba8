package sqlite

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// Without this, a key that is created while a list is read makes the list repeat keys, because the list is read in steps.
func TestWalksAreNotDisturbed(t *testing.T) {
	n := 2*usualSizes.rowsAtOnce + 500
	s := opened(t, filepath.Join(t.TempDir(), "store.db"))
	if _, err := s.Import(t.Context(), keyBatch(n, 50), document.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	seen, rows := map[apikey.ID]bool{}, 0
	whole := sequence{order: keysOfTenant, tenant: tenant}.runs(&apikey.KeyList{})[0]
	err := s.walk(t.Context(), sequence{order: keysOfTenant, tenant: tenant}, whole, time.Time{}, usualSizes.rowsAtOnce, nil, func(doc bson.Raw) (more bool) {
		k, _ := document.Key(doc, 0)
		seen[k.ID] = true
		if rows++; rows == usualSizes.rowsAtOnce || rows == 2*usualSizes.rowsAtOnce {
			at := time.Date(2100, 1, 1, 0, 0, rows, 0, time.UTC)
			id := fmt.Sprintf("key_new%d", rows)
			made := apikey.Key{ID: apikey.ID(id), Hash: fmt.Sprintf("%064d", rows), InternalID: tenant, Stored: apikey.Active, CreatedAt: &at}
			if err := s.InsertKey(t.Context(), made, apikey.Event{ID: apikey.EventID("evt_" + id), InternalID: tenant, Timestamp: at}); err != nil {
				t.Error(err)
			}
		}
		return true
	})
	if err != nil || rows != n || len(seen) != n {
		t.Errorf("got %d rows with %d keys, want %d; %v", rows, len(seen), n, err)
	}
}
