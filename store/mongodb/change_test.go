package mongodb

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
	"retrieverkeys/store/mongodb/mongodbtest"
)

const crashTenant = "int_1"

func crashKey(id apikey.ID) apikey.Key {
	created := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	return apikey.Key{
		ID: id, Hash: "hash of " + string(id), Type: apikey.RetrieverKey, InternalID: crashTenant, UserID: "usr_1", Name: "as it was", Stored: apikey.Active,
		CreatedAt: &created, Scopes: []apikey.Scope{{ResourceType: apikey.ResourceRetriever, ResourceID: "ret_1"}},
	}
}

func crashEvent(id string) apikey.Event {
	return apikey.Event{
		ID: apikey.EventID(id), Timestamp: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Action: apikey.KeyUpdated, ResourceType: apikey.ResourceAPIKey,
		ResourceID: "key_1", ActorID: "usr_1", InternalID: crashTenant, RetrieverIDs: []apikey.RetrieverID{"ret_1"},
	}
}

// isWrite reports whether the command writes.
func isWrite(command string) bool {
	return slices.Contains([]string{"insert", "update", "findAndModify", "delete"}, command)
}

// A process can stop between any two of the writes of a change. The next start, read or change must finish it: the key
// is changed, and its successor and its event are stored once. Or nothing of the change must exist. Otherwise a
// rotation could leave a customer with an old key that is revoked and a new one that does not exist.
func TestCrashBetweenAnyTwoWrites(t *testing.T) {
	changed := crashKey("key_1")
	changed.Name = "changed"
	rotated, next := crashKey("key_1"), crashKey("key_2")
	rotated.RotatedTo, next.RotatedFrom = &next.ID, &rotated.ID
	now := time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name   string
		before []apikey.Key
		change func(*Store) error
		after  []apikey.Key
		writes int
	}{
		{"creation", nil, func(s *Store) error { return s.InsertKey(t.Context(), crashKey("key_1"), crashEvent("evt_1")) }, []apikey.Key{crashKey("key_1")}, 3},
		{"update", []apikey.Key{crashKey("key_1")}, func(s *Store) error {
			_, err := s.ChangeKey(t.Context(), apikey.Change{Key: changed, Fields: apikey.FieldName, ActiveAt: now, Events: []apikey.Event{crashEvent("evt_1")}})
			return err
		}, []apikey.Key{atOne(changed)}, 3},
		{"rotation", []apikey.Key{crashKey("key_1")}, func(s *Store) error {
			_, err := s.ChangeKey(t.Context(), apikey.Change{Key: rotated, Fields: apikey.FieldRotatedTo, ActiveAt: now, Successor: &next, Events: []apikey.Event{crashEvent("evt_1")}})
			return err
		}, []apikey.Key{atOne(rotated), next}, 4},
	} {
		for stopped := range c.writes + 1 { // before this write, or after all of them
			for way, recover := range recoveries {
				t.Run(fmt.Sprintf("%s/stopped before write %d/%s", c.name, stopped, way), func(t *testing.T) {
					p, uri := mongodbtest.NewProxy(t, testURI)
					p.Start()
					crashing, w := dropped(t, uri)
					if err := crashing.EnsureIndexes(t.Context()); err != nil {
						t.Fatal(err)
					}
					for _, k := range c.before {
						insert(t, crashing, document.Keys, elements(t, newKey(k)))
					}
					w.take()
					var mu sync.Mutex
					writes := 0
					p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
						mu.Lock()
						defer mu.Unlock()
						if isWrite(command) {
							if writes++; writes > stopped {
								return mongodbtest.Refusing(codeUnauthorized)
							}
						}
						return nil
					})
					err := c.change(crashing)
					if (err == nil) != (stopped > 0) {
						t.Errorf("the change: %v", err)
					}
					if mu.Lock(); stopped == c.writes && writes != c.writes {
						t.Errorf("the change took %d writes, want %d", writes, c.writes)
					}
					mu.Unlock()

					want, events := c.before, 0
					if stopped > 0 {
						want, events = c.after, 1
					}
					// Before the change is finished, the trail must have the event once.
					checkTrail(t, crashing, events)

					fresh := openedOn(t, testURI, crashing.primary.Name(), slog.New(slog.DiscardHandler), func(context.Context, *event.CommandStartedEvent) {})
					looksEvery(fresh, 0)
					recover(t, fresh)
					settled(t, fresh) // a read starts the finishing but does not have to wait for it
					checkTrail(t, fresh, events)
					keys, err := all(t.Context(), fresh.primaryKeys(), find{filter: bson.D{}, sort: bson.D{{Key: "key_id", Value: 1}}}, (&document.KeyReader{Fields: apikey.AllFields}).Key)
					if diff := cmp.Diff(want, keys); err != nil || diff != "" {
						t.Errorf("%v: keys (-want +got)\n%s", err, diff)
					}
					if left, err := fresh.unfinishedKeys(t.Context(), 10); err != nil || len(left) > 0 {
						t.Errorf("left unfinished: %v, %v", left, err)
					}
				})
			}
		}
	}
}

func atOne(k apikey.Key) apikey.Key {
	k.Revision++
	return k
}

// recoveries are the actions that finish a change after a crash.
var recoveries = map[string]func(*testing.T, *Store){
	"the next start": func(t *testing.T, s *Store) {
		if err := s.Prepare(t.Context()); err != nil {
			t.Error(err)
		}
	},
	"the next list": func(t *testing.T, s *Store) {
		if _, err := s.KeyPages(t.Context(), crashTenant, []apikey.RetrieverID{"ret_1"}, apikey.KeyList{Limit: 10}); err != nil {
			t.Error(err)
		}
		settled(t, s)
		pages, err := s.KeyPages(t.Context(), crashTenant, []apikey.RetrieverID{"ret_1"}, apikey.KeyList{Limit: 10})
		if err != nil {
			t.Error(err)
		}
		n, err := s.CountKeys(t.Context(), crashTenant, apikey.KeyConditions{}.Of("ret_1"))
		if err != nil || n != len(pages[0]) {
			t.Errorf("a list of %d, counted %d, %v", len(pages[0]), n, err)
		}
	},
	"the next count": func(t *testing.T, s *Store) {
		if _, err := s.CountKeys(t.Context(), crashTenant, apikey.KeyConditions{}.Of("ret_1")); err != nil {
			t.Error(err)
		}
	},
	"the next read by id": func(t *testing.T, s *Store) {
		if _, err := s.Keys(t.Context(), crashTenant, []apikey.ID{"key_2"}, 0); err != nil {
			t.Error(err)
		}
	},
	"the next login that fails": func(t *testing.T, s *Store) {
		if _, err := s.KeysByHash(t.Context(), "hash of nobody"); err != nil {
			t.Error(err)
		}
	},
	"the next change": func(t *testing.T, s *Store) {
		if _, err := s.CurrentKeys(t.Context(), crashTenant, "key_1"); err != nil {
			t.Error(err)
		}
	},
	"a change of the successor": func(t *testing.T, s *Store) {
		if _, err := s.CurrentKeys(t.Context(), crashTenant, "key_2"); err != nil {
			t.Error(err)
		}
	},
	"several at once": func(t *testing.T, s *Store) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, err := s.FinishAll(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	},
}

func checkTrail(t *testing.T, s *Store, want int) {
	t.Helper()
	for _, key := range []apikey.ID{"", "key_1"} {
		page, err := s.EventPage(t.Context(), crashTenant, about(key, 10))
		if err != nil || len(page) != want {
			t.Errorf("events %v, %v, want %d", page, err, want)
		}
		n, err := s.CountEvents(t.Context(), crashTenant, about(key, 0).Where)
		if err != nil || n != want {
			t.Errorf("%d events are counted, %v, want %d", n, err, want)
		}
	}
	if page, err := s.EventPage(t.Context(), "int_other", ofRetriever("ret_1", 10)); err != nil || len(page) > 0 {
		t.Errorf("another tenant's events %v, %v", page, err)
	}
}

// A new key must work as soon as its plaintext is shown, even while it is still in its predecessor's document.
func TestSuccessorsAuthenticateAtOnce(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, _ := dropped(t, uri)
	if err := s.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	old, next := crashKey("key_1"), crashKey("key_2")
	insert(t, s, document.Keys, elements(t, newKey(old)))
	p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
		if command == "insert" {
			return mongodbtest.Refusing(codeUnauthorized)
		}
		return nil
	})
	old.RotatedTo = &next.ID
	won, err := s.ChangeKey(t.Context(), apikey.Change{Key: old, Fields: apikey.FieldRotatedTo, ActiveAt: time.Now(), Successor: &next, Events: []apikey.Event{crashEvent("evt_1")}})
	if err != nil || !won {
		t.Fatal(won, err)
	}
	p.On(nil)
	if keys, err := s.KeysByHash(t.Context(), next.Hash); err != nil || len(keys) != 1 || keys[0].ID != next.ID {
		t.Errorf("KeysByHash = %v, %v", keys, err)
	}
}

// If events cannot be moved, for example because the user lacks the right, reads and changes of keys must work, the
// trail must have every event once, and the log must warn. A revocation must not depend on a right on another
// collection.
func TestEventsThatCannotBeMoved(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, w := dropped(t, uri)
	looksEvery(s, 0)
	p.On(func(command string, doc bson.Raw) *mongodbtest.Fault {
		if ofEvent(command, doc, func(string) bool { return true }) {
			return mongodbtest.Refusing(codeUnauthorized)
		}
		return nil
	})
	if err := s.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.InsertKey(t.Context(), crashKey("key_1"), crashEvent("evt_0")); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		k := crashKey("key_1")
		k.Name, k.Revision = fmt.Sprint(i), int64(i)
		e := crashEvent(fmt.Sprintf("evt_%d", i+1))
		e.Timestamp = e.Timestamp.Add(time.Duration(i/2) * time.Second)
		won, err := s.ChangeKey(t.Context(), apikey.Change{Key: k, Fields: apikey.FieldName, ActiveAt: time.Now(), Events: []apikey.Event{e}})
		if err != nil || !won {
			t.Fatal(won, err)
		}
		if pages, err := s.KeyPages(t.Context(), crashTenant, []apikey.RetrieverID{"ret_1"}, apikey.KeyList{Limit: 5, Fields: apikey.FieldName}); err != nil || pages[0][0].Name != fmt.Sprint(i) {
			t.Errorf("listed %v, %v", pages, err)
		}
	}
	checkTrail(t, s, 6)
	l := ofRetriever("ret_1", 2)
	l.After = &apikey.EventPosition{Timestamp: crashEvent("").Timestamp.Add(time.Second), ID: "evt_4"}
	page, err := s.EventPage(t.Context(), crashTenant, l)
	if err != nil || len(page) != 2 || page[0].ID != "evt_3" || page[1].ID != "evt_2" {
		t.Errorf("EventPage of pending events = %v, %v", page, err)
	}
	if got := w.log.String(); !strings.Contains(got, "still in the key's document") || strings.Contains(got, "hash of") {
		t.Errorf("logged %s", got)
	}
	p.On(nil)
	if some, err := s.FinishAll(t.Context()); err != nil || !some {
		t.Errorf("FinishAll = %t, %v", some, err)
	}
	checkTrail(t, s, 6)
}

// Finishing a change must not remove what a later change has left. Otherwise the later change's event would be lost.
func TestFinishingLeavesLaterChanges(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, _ := dropped(t, uri)
	if err := s.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.settler.close() // otherwise it can finish the changes first
	insert(t, s, document.Keys, elements(t, newKey(crashKey("key_1"))))
	p.On(func(command string, doc bson.Raw) *mongodbtest.Fault {
		if ofEvent(command, doc, func(string) bool { return true }) {
			return mongodbtest.Refusing(codeUnauthorized)
		}
		return nil
	})
	var found []bson.Raw // after each change, the document that a process would find and finish
	for i := range 2 {
		k := crashKey("key_1")
		k.Name, k.Revision = fmt.Sprint(i), int64(i)
		won, err := s.ChangeKey(t.Context(), apikey.Change{Key: k, Fields: apikey.FieldName, ActiveAt: time.Now(), Events: []apikey.Event{crashEvent(fmt.Sprintf("evt_%d", i))}})
		if err != nil || !won {
			t.Fatal(won, err)
		}
		unfinished, err := s.unfinishedKeys(t.Context(), 10)
		if err != nil || len(unfinished) != 1 {
			t.Fatal(unfinished, err)
		}
		found = append(found, unfinished[0])
	}
	p.On(nil)
	for i, doc := range found {
		if _, err := s.finish(t.Context(), doc); err != nil {
			t.Fatal(err)
		}
		checkTrail(t, s, 2)
		left, err := s.unfinishedKeys(t.Context(), 10)
		if err != nil || len(left) != 1-i {
			t.Errorf("after %d: unfinished %v, %v", i+1, left, err)
		}
	}
}

// Reads must look for unfinished changes from time to time only. Otherwise every list would take two commands.
func TestReadsLookForTheUnfinishedNowAndThen(t *testing.T) {
	s, w := indexed(t)
	read := func() {
		t.Helper()
		if _, err := s.KeyPages(t.Context(), crashTenant, []apikey.RetrieverID{"ret_1"}, apikey.KeyList{Limit: 5}); err != nil {
			t.Error(err)
		}
	}
	sent := func() int {
		n := 0
		for _, command := range w.take() {
			if strings.Contains(command.Lookup("filter").String(), "pending_events") {
				n++
			}
		}
		return n
	}
	for range 20 {
		read()
	}
	if n := sent(); n != 0 {
		t.Errorf("looked %d times, want none", n)
	}
	looksEvery(s, 0) // as if the hour had passed
	read()
	looksEvery(s, time.Hour)
	for range 20 {
		read()
	}
	settled(t, s)
	if n := sent(); n != 2 { // settled looks once more
		t.Errorf("looked %d times, want once", n-1)
	}
	s.settler.left() // this process has left something
	settled(t, s)
	if n := sent(); n < 1 || n > 2 {
		t.Errorf("looked %d times, want once", n)
	}
}

// A change must keep the fields that this program does not know, and the order of all. They belong to the platform.
func TestChangeKeepsWhatItDoesNotKnow(t *testing.T) {
	s, _ := indexed(t)
	insert(t, s, document.Keys, bson.D{
		{Key: "vendor_first", Value: bson.D{{Key: "b", Value: int32(1)}, {Key: "a", Value: "x"}}},
		{Key: "key_id", Value: "key_1"}, {Key: "internal_id", Value: crashTenant}, {Key: "key_hash", Value: "h"}, {Key: "name", Value: "old"},
		{Key: "allowed_origins", Value: "unreadable"}, {Key: "vendor_last", Value: bson.A{int64(2), nil}},
	})
	k := apikey.Key{ID: "key_1", InternalID: crashTenant, Hash: "h", Name: "new"}
	won, err := s.ChangeKey(t.Context(), apikey.Change{Key: k, Fields: apikey.FieldName, ActiveAt: time.Now(), Events: []apikey.Event{crashEvent("evt_1")}})
	if err != nil || !won {
		t.Fatal(won, err)
	}
	doc, err := s.primaryKeys().FindOne(t.Context(), bson.D{}).Raw()
	if err != nil {
		t.Fatal(err)
	}
	want := `"vendor_first": {"b": {"$numberInt":"1"},"a": "x"},"key_id": "key_1","internal_id": "int_1","key_hash": "h","name": "new","allowed_origins": "unreadable","vendor_last": [{"$numberLong":"2"},null],"revision": {"$numberLong":"1"}}`
	if !strings.HasSuffix(doc.String(), want) {
		t.Errorf("the document is %s", doc)
	}
}

func elements(t *testing.T, doc bson.Raw) bson.D {
	t.Helper()
	var d bson.D
	if err := bson.Unmarshal(doc, &d); err != nil {
		t.Fatal(err)
	}
	return d
}
