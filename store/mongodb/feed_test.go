package mongodb

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
	"retrieverkeys/store/mongodb/mongodbtest"
	"retrieverkeys/store/storetest"
)

// chaos is a sequence of everything that can delay an event: processes that stop between any two writes, clocks that are wrong by minutes, events
// that are stored again, or by an old version, and writes that become visible late. Every choice comes from the seed.
type chaos struct {
	*testing.T
	*rand.Rand
	crashing *Store // stops after some of its writes
	healthy  *Store
	limit    func(writes int)

	n      int
	keys   []apikey.ID
	stored []apikey.Event // which the feed must have
	found  []bson.Raw     // documents of unfinished changes, as some process read them
	reader [2]storetest.Follower
}

// event returns a new event of a process whose clock is wrong.
func (c *chaos) event(about apikey.ID) apikey.Event {
	c.n++
	e := crashEvent(fmt.Sprintf("evt_%02d_%d", c.IntN(100), c.n))
	e.ResourceID, e.Timestamp = string(about), time.Now().Add(time.Duration(c.IntN(1200)-600)*time.Second)
	return e
}

// dies runs f with a process that stops after a number of writes, and reports whether it stored anything.
func (c *chaos) dies(f func(s *Store) error) (stored bool) {
	c.Helper()
	writes := c.IntN(5)
	c.limit(writes)
	err := f(c.crashing)
	if (err == nil) != (writes > 0) {
		c.Fatalf("after %d writes: %v", writes, err)
	}
	return writes > 0
}

// raw stores a document as another program does.
func (c *chaos) raw(events ...any) {
	c.Helper()
	if _, err := c.healthy.events.InsertMany(c.Context(), events); err != nil {
		c.Fatal(err)
	}
}

// left stores a key with an event that some process has not moved yet.
func (c *chaos) left() apikey.Event {
	c.Helper()
	id := apikey.ID(fmt.Sprint("key_left_", c.n))
	e := c.event(id)
	doc, err := document.Carrying(newKey(crashKey(id)), e)
	if err != nil {
		c.Fatal(err)
	}
	insertRaw(c.T, c.healthy, doc)
	return e
}

func (c *chaos) step() {
	c.Helper()
	ctx := c.Context()
	switch c.IntN(11) {
	case 0:
		id := apikey.ID(fmt.Sprint("key_", c.n))
		e := c.event(id)
		if c.dies(func(s *Store) error { return s.InsertKey(ctx, crashKey(id), e) }) {
			c.keys, c.stored = append(c.keys, id), append(c.stored, e)
		}
	case 1:
		if len(c.keys) == 0 {
			return
		}
		k := crashKey(c.keys[c.IntN(len(c.keys))])
		if _, err := (find{filter: keysWithIDs(crashTenant, []apikey.ID{k.ID})}).each(ctx, c.healthy.primaryKeys(), func(doc bson.Raw, _ int) {
			read, _ := document.Key(doc, apikey.AllFields)
			k.Revision = read.Revision
		}); err != nil {
			c.Fatal(err)
		}
		e := c.event(k.ID)
		if c.dies(func(s *Store) error {
			_, err := s.ChangeKey(ctx, apikey.Change{Key: k, Fields: apikey.FieldName, Events: []apikey.Event{e}})
			return err
		}) {
			c.stored = append(c.stored, e)
		}
	case 2:
		e := c.event("key_denied")
		if c.dies(func(s *Store) error { return s.InsertEvent(ctx, e) }) {
			c.stored = append(c.stored, e)
		}
	case 3: // an event is stored again, long after
		if len(c.stored) > 0 {
			if err := c.healthy.InsertEvent(ctx, c.stored[c.IntN(len(c.stored))]); err != nil {
				c.Fatal(err)
			}
		}
	case 4: // a process reads what is unfinished, and stops for a while
		found, err := c.healthy.unfinishedKeys(ctx, 3)
		if err != nil {
			c.Fatal(err)
		}
		c.found = append(c.found, found...)
	case 5: // and goes on
		if len(c.found) > 0 {
			if _, err := c.healthy.finish(ctx, c.found[c.IntN(len(c.found))]); err != nil {
				c.Fatal(err)
			}
		}
	case 6: // an old version stores an event, and can stop before it removes it from the key
		e := c.left()
		c.raw(document.FromEvent(e))
		c.stored = append(c.stored, e)
	case 7: // an old version stores an event of no key
		e := c.event("key_denied")
		c.raw(document.FromEvent(e))
		c.stored = append(c.stored, e)
	case 8: // a write becomes visible long after its stamp, so its process does not know that it succeeded
		e := c.left()
		late, err := document.Set(document.FromEvent(e), bson.D{{Key: arrivedAt, Value: date(time.Now().Add(-time.Duration(c.IntN(600)) * time.Second))}})
		if err != nil {
			c.Fatal(err)
		}
		c.raw(late)
		c.stored = append(c.stored, e)
	case 9: // some process finishes everything
		if _, err := c.healthy.FinishAll(ctx); err != nil {
			c.Fatal(err)
		}
	default:
		if _, err := c.reader[c.IntN(2)].Read(ctx, c.healthy, 1+c.IntN(7)); err != nil {
			c.Fatal(err)
		}
	}
}

// Every event must be in the feed of a reader that follows it, whatever delays the event. Otherwise the copy of the trail that a security team
// relies on would have holes, and nobody would know.
func TestFeedMissesNothing(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			p, uri := mongodbtest.NewProxy(t, testURI)
			p.Start()
			healthy, _ := indexed(t)
			crashing := openedOn(t, uri, healthy.primary.Name(), nil, nil)
			for _, s := range []*Store{healthy, crashing} {
				s.settler.close() // the steps finish changes
			}
			var mu sync.Mutex
			left := 0
			p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
				mu.Lock()
				defer mu.Unlock()
				if isWrite(command) {
					if left--; left < 0 {
						return mongodbtest.Refusing(codeUnauthorized)
					}
				}
				return nil
			})
			c := &chaos{
				T: t, Rand: rand.New(rand.NewPCG(seed, 19)), crashing: crashing, healthy: healthy,
				limit: func(writes int) { mu.Lock(); defer mu.Unlock(); left = writes },
			}
			for i := range c.reader {
				c.reader[i].Tenant = crashTenant
			}
			for range 150 {
				c.step()
			}
			if _, err := healthy.FinishAll(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := make([]apikey.EventID, len(c.stored))
			for i := range c.stored {
				want[i] = c.stored[i].ID
			}
			for i := range c.reader {
				c.reader[i].ReadAll(t, healthy, 1+c.IntN(7), want)
			}
			all := storetest.Follower{Tenant: crashTenant}
			all.ReadAll(t, healthy, 1000, want)
			if len(all.Events) != len(want) || len(want) < 30 {
				t.Errorf("the feed has %d events, %d were stored", len(all.Events), len(want))
			}
		})
	}
}

// The feed must stay behind the server's clock, because a write can become visible a little after its stamp, and another member's clock can be a little
// behind. It must ask the primary for the time, and not use its own.
func TestFeedStaysBehindTheServersClock(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, _ := dropped(t, uri)
	s.margin = feedMargin
	now := time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	answer := bson.D{{Key: "ok", Value: 1.0}, {Key: "localTime", Value: date(now)}}
	p.On(func(command string, doc bson.Raw) *mongodbtest.Fault {
		if database, _ := doc.Lookup("$db").StringValueOK(); command == "hello" && database != "admin" { // those of the driver are of admin
			mu.Lock()
			defer mu.Unlock()
			return &mongodbtest.Fault{Answer: answer}
		}
		return nil
	})
	for i, before := range []time.Duration{time.Hour, 2001 * time.Millisecond, 2 * time.Second, 1999 * time.Millisecond, 0, -time.Hour} {
		doc, err := document.Set(document.FromEvent(crashEvent(fmt.Sprint("evt_", i))), bson.D{{Key: arrivedAt, Value: date(now.Add(-before))}})
		if err != nil {
			t.Fatal(err)
		}
		insert(t, s, document.Events, elements(t, doc))
	}
	for after, want := range map[int]int{0: 2, 1: 3, 2: 4, 3_000: 5, 7_200_000: 6} { // in milliseconds
		mu.Lock()
		answer[1].Value = date(now.Add(time.Duration(after) * time.Millisecond))
		mu.Unlock()
		page, err := s.ArrivedEvents(t.Context(), crashTenant, apikey.FeedRange{Limit: 10})
		if err != nil || len(page.Events) != want {
			t.Errorf("%d ms later: %d events, %v, want %d", after, len(page.Events), err, want)
		}
	}
	mu.Lock()
	answer = bson.D{{Key: "ok", Value: 1.0}}
	mu.Unlock()
	if page, err := s.ArrivedEvents(t.Context(), crashTenant, apikey.FeedRange{Limit: 10}); err == nil {
		t.Errorf("without the server's time: %+v", page)
	}
}

// A process whose clock is far ahead must not delete what is kept: nothing brings an audit trail back.
func TestWrongClocksDeleteNothing(t *testing.T) {
	s, _ := indexed(t)
	now := time.Now()
	today := apikey.DayOf(now)
	for _, ago := range []int{100, 95, 85, 10} { // days
		e := crashEvent(fmt.Sprint("evt_", ago))
		e.Timestamp = now.AddDate(0, 0, -ago)
		if err := s.InsertEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	for _, ago := range []apikey.Day{100, 95, 90, 10} { // the first two are too old
		day := apikey.KeyDay{InternalID: crashTenant, ID: "key_1", Day: today - ago, Answers: apikey.Answers{Allowed: 1}}
		if _, err := s.AddAnswers(t.Context(), []apikey.KeyDay{day}); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct{ ahead, left int }{{-24_000, 4}, {24_000, 2}, {0, 2}, {5*24 + 1, 2}, {5*24 + 23, 2}} { // hours
		s.clock = func() time.Time { return time.Now().Add(time.Duration(step.ahead) * time.Hour) }
		if _, err := s.DeleteEvents(t.Context(), crashTenant, s.clock().AddDate(0, 0, -90), 10); err != nil {
			t.Fatal(err)
		}
		if _, err := s.DeleteAnswers(t.Context(), apikey.DayOf(s.clock())-90, 10); err != nil {
			t.Fatal(err)
		}
		events, err := s.CountEvents(t.Context(), crashTenant, apikey.EventConditions{})
		days, failed := s.AnswersOf(t.Context(), crashTenant, []apikey.ID{"key_1"}, today-200, today)
		if err != nil || failed != nil || events != step.left || len(days) != step.left {
			t.Errorf("with a clock that is %d hours ahead: %d events and %d days of usage are left, %v, %v, want %d", step.ahead, events, len(days), err, failed, step.left)
		}
	}
}

// Events of old versions must come into the feed in steps, and the feed must go on meanwhile. Otherwise the first reader of a long trail would wait
// until its request ends, again and again.
func TestEventsOfOldVersionsAreStampedInSteps(t *testing.T) {
	s, w := indexed(t)
	const n = stampBatch + 5
	docs := make([]any, n)
	for i := range docs {
		docs[i] = document.FromEvent(crashEvent(fmt.Sprintf("evt_%05d", i)))
	}
	if _, err := s.events.InsertMany(t.Context(), docs); err != nil {
		t.Fatal(err)
	}
	w.take()
	f := storetest.Follower{Tenant: crashTenant}
	if _, err := f.Read(t.Context(), s, 1000); err != nil {
		t.Fatal(err)
	}
	var updates []string
	for _, command := range w.take() {
		if command.Index(0).Key() == "update" {
			updates = append(updates, command.Lookup("update").StringValue())
		}
	}
	if strings.Join(updates, " ") != "audit_events audit_events" {
		t.Errorf("the first page wrote %v", updates)
	}
	want := make([]apikey.EventID, n)
	for i := range want {
		want[i] = apikey.EventID(fmt.Sprintf("evt_%05d", i))
	}
	f.ReadAll(t, s, 1000, want)
	if len(f.Events) != n {
		t.Errorf("%d events, want %d", len(f.Events), n)
	}
	w.take()
	if _, err := f.Read(t.Context(), s, 1000); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(names(w.take()), " "); got != "hello find find find" {
		t.Errorf("a read at the end of the feed sends %s", got)
	}
}

// A user with the role of earlier versions may insert events and not update them. The trail must be complete all the same, and the feed must have
// every event when the right is granted.
func TestEventsWithoutTheRightToUpdate(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, _ := dropped(t, uri)
	if err := s.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.On(func(command string, doc bson.Raw) *mongodbtest.Fault {
		if command == "update" && doc.Lookup("update").StringValue() == document.Events {
			return mongodbtest.Refusing(codeUnauthorized)
		}
		return nil
	})
	if err := s.InsertKey(t.Context(), crashKey("key_1"), crashEvent("evt_1")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.InsertEvent(t.Context(), crashEvent("evt_2")); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := s.unfinishedKeys(t.Context(), 10); err != nil || len(left) > 0 {
		t.Errorf("left unfinished: %v, %v", left, err)
	}
	if n, err := s.CountEvents(t.Context(), crashTenant, apikey.EventConditions{}); err != nil || n != 2 {
		t.Errorf("%d events, %v, want 2", n, err)
	}
	if page, err := s.ArrivedEvents(t.Context(), crashTenant, apikey.FeedRange{Limit: 10}); apikey.Classify(err).Code != apikey.Unavailable {
		t.Errorf("the feed %+v, %v", page, err)
	}
	p.On(nil)
	f := storetest.Follower{Tenant: crashTenant}
	f.ReadAll(t, s, 10, []apikey.EventID{"evt_1", "evt_2"})
}

// An event whose id another document has already must count as stored, and must come again in the feed. Otherwise its key would try to move it
// forever.
func TestEventsThatAreStoredUnderAnotherID(t *testing.T) {
	s, _ := indexed(t)
	stored, err := document.Set(document.FromEvent(crashEvent("evt_1")), bson.D{{Key: "_id", Value: bson.NewObjectID()}, {Key: arrivedAt, Value: date(aTime)}})
	if err != nil {
		t.Fatal(err)
	}
	insert(t, s, document.Events, elements(t, stored))
	f := storetest.Follower{Tenant: crashTenant}
	f.ReadAll(t, s, 10, []apikey.EventID{"evt_1"})
	if err := s.InsertKey(t.Context(), crashKey("key_1"), crashEvent("evt_1")); err != nil {
		t.Fatal(err)
	}
	if left, err := s.unfinishedKeys(t.Context(), 10); err != nil || len(left) > 0 {
		t.Errorf("left unfinished: %v, %v", left, err)
	}
	f.Events = nil
	f.ReadAll(t, s, 10, []apikey.EventID{"evt_1"})
	if n, err := count(t.Context(), s.events, bson.D{}); err != nil || n != 1 {
		t.Errorf("%d events, %v", n, err)
	}
}

// An event that another program put into a key's document with fields that an update cannot store must be moved without them. Otherwise it would
// stay there forever, and keep the others back.
func TestOddEventsAreMoved(t *testing.T) {
	s, _ := indexed(t)
	odd := append(elements(t, document.FromEvent(crashEvent("evt_1"))),
		bson.E{Key: "a.b", Value: 1}, bson.E{Key: "$set", Value: 2}, bson.E{Key: "", Value: 3}, bson.E{Key: arrivedAt, Value: "never"}, bson.E{Key: "vendor", Value: "kept"})
	event, err := bson.Marshal(odd)
	if err != nil {
		t.Fatal(err)
	}
	event = bytes.Clone(event)
	if err := s.insertEvents(context.Background(), []bson.Raw{event, document.FromEvent(crashEvent("evt_2"))}); err != nil {
		t.Fatal(err)
	}
	f := storetest.Follower{Tenant: crashTenant}
	f.ReadAll(t, s, 10, []apikey.EventID{"evt_1", "evt_2"})
	n, err := count(t.Context(), s.events, bson.D{{Key: "vendor", Value: "kept"}})
	if err != nil || n != 1 {
		t.Errorf("%d events have the field that could be kept, %v", n, err)
	}
}

// An event that is stamped again while old events are deleted must stay. Its new place is after the last deletion that readers know of.
func TestOldEventsThatMoveStay(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, _ := dropped(t, uri)
	for _, id := range []string{"evt_1", "evt_2"} {
		if err := s.InsertEvent(t.Context(), crashEvent(id)); err != nil {
			t.Fatal(err)
		}
	}
	f := storetest.Follower{Tenant: crashTenant}
	f.ReadAll(t, s, 10, []apikey.EventID{"evt_1", "evt_2"})
	other := openedOn(t, testURI, s.primary.Name(), nil, nil)
	var once sync.Once
	p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
		if command == "delete" {
			once.Do(func() {
				if err := other.InsertEvent(context.WithoutCancel(t.Context()), crashEvent("evt_1")); err != nil {
					t.Error(err)
				}
			})
		}
		return nil
	})
	if _, err := s.DeleteEvents(t.Context(), crashTenant, aTime.AddDate(10, 0, 0), 10); err != nil {
		t.Fatal(err)
	}
	f.Events = nil
	f.ReadAll(t, s, 10, []apikey.EventID{"evt_1"})
	if n, err := count(t.Context(), s.events, bson.D{}); err != nil || n != 1 {
		t.Errorf("%d events are left, %v, want 1", n, err)
	}
	// Events that never had a place get one before they are deleted, so that the deletion has a place too.
	insert(t, s, document.Events, elements(t, document.FromEvent(crashEvent("evt_3"))))
	for more, rounds := true, 0; more; rounds++ {
		var err error
		if more, err = s.DeleteEvents(t.Context(), crashTenant, aTime.AddDate(10, 0, 0), 10); err != nil || rounds > 5 {
			t.Fatal(rounds, err)
		}
	}
	page, err := s.ArrivedEvents(t.Context(), crashTenant, apikey.FeedRange{After: f.At, Limit: 10})
	if err != nil || page.Deleted.ID != "evt_3" || page.Deleted.Compare(f.At) <= 0 {
		t.Errorf("after the deletion: %+v, %v", page, err)
	}
}
