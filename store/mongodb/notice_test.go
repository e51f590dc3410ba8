package mongodb

import (
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
	"retrieverkeys/store/mongodb/mongodbtest"
)

// Without this, a server whose user may not build indexes scans all keys every ten seconds, and so does one whose index is being built.
func TestNoticesNeedTheirIndex(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, w := dropped(t, uri)
	look := func() (keys []apikey.Key, finds int, err error) {
		w.take()
		keys, err = s.ExpiringKeys(t.Context(), apikey.ExpiryPosition{At: time.Unix(0, 0)}, document.MaxTime, 10)
		for _, command := range w.take() {
			if command.Index(0).Key() == "find" {
				finds++
				if command.Lookup("hint").Type != bson.TypeString {
					t.Errorf("no hint: %s", command)
				}
			}
		}
		return keys, finds, err
	}
	for range 2 {
		if _, finds, err := look(); apikey.Classify(err).Code != apikey.Unavailable || finds > 0 {
			t.Errorf("without the index: %d finds, %v", finds, err)
		}
	}
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	end := time.Date(2077, 1, 2, 3, 4, 5, 0, time.UTC)
	key := apikey.Key{ID: "key_1", Hash: "hash", InternalID: "int_1", Stored: apikey.Active, ExpiresAt: &end}
	if err := s.InsertKey(t.Context(), key, apikey.Event{ID: "evt_1", InternalID: "int_1", Timestamp: end}); err != nil {
		t.Fatal(err)
	}
	if keys, finds, err := look(); err != nil || finds != 1 || !slices.ContainsFunc(keys, func(k apikey.Key) bool { return k.ID == key.ID }) {
		t.Errorf("with the index: %v, %d finds, %v", keys, finds, err)
	}
	p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
		if command == "find" {
			return mongodbtest.Refusing(codeBadValue) // the hint names no index that is complete
		}
		return nil
	})
	for i := range 2 {
		if _, finds, err := look(); apikey.Classify(err).Code != apikey.Unavailable || finds != 1-i {
			t.Errorf("while the index is incomplete: %d finds, %v", finds, err)
		}
	}
}
