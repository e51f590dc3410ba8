package document_test

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// Only a document whose key_id is not a text lacks one. Its _id must stand in for it.
func TestWithKeyID(t *testing.T) {
	objectID := bson.ObjectID{0x61}
	for _, c := range []struct {
		doc     bson.Raw
		missing bool
		want    apikey.ID
	}{
		{encode(t, "_id", "a", "key_id", "key_1", "key_hash", "h"), false, ""},
		{encode(t, "_id", "a", "key_hash", "h", "plan", "gold"), true, "a"},
		{encode(t, "_id", objectID, "key_id", nil, "key_hash", "h"), true, apikey.ID(objectID.Hex())},
		{encode(t, "_id", "a", "key_id", 7), true, "a"},
		{encode(t, "_id", "a", "key_id", "", "key_hash", "h"), true, "a"},
		{encode(t, "_id", 7, "key_hash", "h"), true, ""},
		{encode(t, "key_hash", "h"), true, ""},
	} {
		id, missing := document.MissingID(c.doc)
		if missing != c.missing || missing && id != c.want {
			t.Errorf("MissingID(%v) = %q, %t", c.doc, id, missing)
		}
		reader := document.KeyReader{}
		if _, listed := reader.Listed(c.doc); listed == missing {
			t.Errorf("Listed(%v) = %t", c.doc, listed)
		}
		got := document.WithKeyID(c.doc)
		if !c.missing || c.want == "" {
			if !bytes.Equal(got, c.doc) {
				t.Errorf("WithKeyID(%v) = %v", c.doc, got)
			}
			continue
		}
		if k, _ := reader.Listed(got); k.ID != c.want || got.Lookup("_id").String() != c.doc.Lookup("_id").String() || got.Lookup("plan").String() != c.doc.Lookup("plan").String() {
			t.Errorf("WithKeyID(%v) = %v", c.doc, got)
		}
	}
}

// A request can keep a few keys of the many that it reads. If each kept its whole list in memory, the few would take as
// much as all.
func TestKeyOfAListRetainsLittleMemory(t *testing.T) {
	const lists, keys = 50, 1000
	text, now := strings.Repeat("x", 40), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	inUse := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := inUse()
	var kept []apikey.Key
	for range lists {
		reader := document.KeyReader{Fields: apikey.AllFields}
		for i := range keys {
			k, ok := reader.Listed(document.FromKey(apikey.Key{
				ID: apikey.ID(fmt.Sprintf("key_%d", i)), Hash: text, Type: apikey.RetrieverKey, UserID: text, Name: text, Description: text, CreatedAt: &now, ExpiresAt: &now, CreatedBy: &text,
				Scopes: []apikey.Scope{{ResourceType: apikey.ResourceRetriever, ResourceID: text, Operations: []apikey.Operation{apikey.ExecuteRetriever}}}, AllowedOrigins: []string{text},
			}))
			if !ok {
				t.Fatal("unusable")
			}
			if i == keys/2 {
				kept = append(kept, k)
			}
		}
	}
	if each := (inUse() - before) / lists; each > 16<<10 {
		t.Errorf("a key keeps %d bytes", each)
	}
	runtime.KeepAlive(kept)
}
