package sqlite

import (
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// A search looks at every key. If each document was copied, the garbage collector would slow down all other requests.
func TestSearchesCopyNoDocuments(t *testing.T) {
	n := 3 * usualSizes.rowsAtOnce
	s := opened(t, filepath.Join(t.TempDir(), "store.db"))
	if _, err := s.Import(t.Context(), keyBatch(n, 50), document.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	found := 0
	search := apikey.KeyConditions{Search: apikey.NewSearch("NUMBER 17")}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := s.table(t.Context(), tenant, search, func(bson.Raw) (more bool) {
		found++
		return true
	})
	runtime.ReadMemStats(&after)
	took, documents := after.TotalAlloc-before.TotalAlloc, uint64(n*len(keyDocument(0, "ret_0")))
	if err != nil || found != 1+10+100 || took > documents/4 {
		t.Errorf("found %d keys and took %d bytes for %d bytes of documents, %v", found, took, documents, err)
	}
}

// A panic that left SQLite's code would leave its connection locked.
func TestPanicsInLook(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "store.db"))
	if _, err := s.Import(t.Context(), keyBatch(2*usualSizes.rowsAtOnce, 50), document.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	q := sequence{order: keysOfTenant, tenant: tenant}
	rows := 0
	read := func(panicAt int, inMatch bool) error {
		rows = 0
		match := func(bson.Raw) bool {
			if rows == panicAt && inMatch {
				panic("in the match")
			}
			return true
		}
		return s.walk(t.Context(), q, q.runs(&apikey.KeyList{})[0], time.Time{}, usualSizes.rowsAtOnce, match, func(bson.Raw) (more bool) {
			if rows++; rows == panicAt && !inMatch {
				panic("after the row")
			}
			return true
		})
	}
	for range readers + 1 { // more often than there are connections
		for panicAt, inMatch := range map[int]bool{10: true, usualSizes.rowsAtOnce + 10: true, usualSizes.rowsAtOnce + 20: false} {
			if err := read(panicAt, inMatch); err == nil || apikey.Classify(err).Code != apikey.Internal || !strings.Contains(err.Error(), "panic") {
				t.Errorf("a panic at row %d: %v", panicAt, err)
			}
		}
	}
	if err := read(-1, false); err != nil || rows != 2*usualSizes.rowsAtOnce {
		t.Errorf("afterwards %d rows, %v", rows, err)
	}
}
