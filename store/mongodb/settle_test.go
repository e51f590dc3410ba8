package mongodb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
	"retrieverkeys/store/mongodb/mongodbtest"
)

// newSettler returns a settler whose rounds call the test's function.
func newSettler(t *testing.T, settle func(context.Context) (bool, error)) (*settler, *buffer) {
	t.Helper()
	var log buffer
	s := &settler{settle: settle, logger: slog.New(slog.NewTextHandler(&log, nil)), recheck: recheckAfter}
	s.start()
	t.Cleanup(s.close)
	return s, &log
}

// While changes cannot be finished, the pauses between rounds must grow, however many reads and changes there are, and
// each round must log one line. Otherwise a missing right would slow every read and fill a disk with warnings.
func TestRoundsThatFailComeLaterAndLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var began []time.Time
		broken := true
		s, log := newSettler(t, func(context.Context) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			began = append(began, time.Now())
			if broken {
				return false, errors.New("refused")
			}
			return true, nil
		})
		take := func() []time.Time {
			mu.Lock()
			defer mu.Unlock()
			defer func() { began = nil }()
			return began
		}
		for range 600 { // ten minutes of reads and changes
			for range 10 {
				if r := s.due(false); r != nil {
					s.wait(t.Context(), r, patience)
				}
				s.left()
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		rounds := take()
		want := []time.Duration{100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000, 60000}
		for i, pause := range want {
			if got := rounds[i+1].Sub(rounds[i]); got != pause*time.Millisecond {
				t.Errorf("pause %d is %v, want %v", i, got, pause*time.Millisecond)
			}
		}
		if n := len(rounds); n > 10+10+1 {
			t.Errorf("%d rounds in ten minutes", n)
		}
		if n := strings.Count(log.String(), "\n"); n != len(rounds) {
			t.Errorf("%d lines for %d rounds:\n%s", n, len(rounds), log)
		}
		mu.Lock()
		broken = false
		mu.Unlock()
		log.Reset()
		time.Sleep(lastPause)
		synctest.Wait()
		if s.failing() || strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "finished again") {
			t.Errorf("failing %t, logged %s", s.failing(), log)
		}
		take()
		time.Sleep(time.Hour)
		if rounds := take(); len(rounds) > 0 {
			t.Errorf("%d rounds without a request", len(rounds))
		}
	})
}

// Of several concurrent readers, exactly one must start a round, and must wait no longer than its patience. It must see
// what the round finishes.
func TestReadersAskForOneRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rounds atomic.Int64
		goOn := make(chan struct{})
		s, _ := newSettler(t, func(context.Context) (bool, error) {
			rounds.Add(1)
			<-goOn
			return true, nil
		})
		ask := func() (asking, saw int, took time.Duration) {
			began := time.Now()
			var mu sync.Mutex
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					r := s.due(false)
					saw1 := r != nil && s.wait(t.Context(), r, patience)
					mu.Lock()
					defer mu.Unlock()
					if r != nil {
						asking++
					}
					if saw1 {
						saw++
					}
				})
			}
			wg.Wait()
			return asking, saw, time.Since(began)
		}
		time.Sleep(recheckAfter)
		if asking, saw, took := ask(); asking != 1 || saw != 0 || took != patience || rounds.Load() != 1 {
			t.Errorf("a stalled round: %d asked, %d saw, after %v and %d rounds", asking, saw, took, rounds.Load())
		}
		time.Sleep(recheckAfter)
		if asking, _, took := ask(); asking != 0 || took != 0 || rounds.Load() != 1 {
			t.Errorf("while a round stalls: %d asked, after %v and %d rounds", asking, took, rounds.Load())
		}
		close(goOn)
		synctest.Wait()
		if asking, saw, took := ask(); asking != 1 || saw != 1 || took != 0 || rounds.Load() != 2 {
			t.Errorf("after the stall: %d asked, %d saw, after %v and %d rounds", asking, saw, took, rounds.Load())
		}
		if asking, _, _ := ask(); asking != 0 || rounds.Load() != 2 {
			t.Errorf("immediately after: %d asked, and there were %d rounds", asking, rounds.Load())
		}
	})
}

// A reader that misses a successor must wait for a round that begins soon, and for no other.
func TestReadersWaitForARoundThatIsNear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSettler(t, func(context.Context) (bool, error) { return false, errors.New("refused") })
		s.left()
		synctest.Wait() // the first pause
		if s.due(true) == nil || s.due(false) != nil {
			t.Error("want only readers that miss a successor to wait for a round that begins soon")
		}
		time.Sleep(time.Second) // the fourth pause
		synctest.Wait()
		if s.due(true) != nil {
			t.Error("a reader waits for a round that begins late")
		}
	})
}

// A change left during a round must be finished in the next, which must begin at once.
func TestWhatIsLeftMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rounds atomic.Int64
		goOn := make(chan struct{}, 1)
		s, _ := newSettler(t, func(context.Context) (bool, error) {
			rounds.Add(1)
			<-goOn
			return true, nil
		})
		if !s.left() {
			t.Error("the first left = false, want true")
		}
		synctest.Wait()
		if s.left() {
			t.Error("the second left = true, want false")
		}
		goOn <- struct{}{}
		synctest.Wait()
		if rounds.Load() != 2 {
			t.Errorf("%d rounds, want 2", rounds.Load())
		}
		goOn <- struct{}{}
		synctest.Wait()
		if rounds.Load() != 2 {
			t.Errorf("%d rounds, want 2", rounds.Load())
		}
	})
}

// A panic in the background must not end the process or the settler.
func TestSettlerSurvivesAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rounds atomic.Int64
		s, log := newSettler(t, func(context.Context) (bool, error) {
			if rounds.Add(1) == 1 {
				panic("of the test")
			}
			return true, nil
		})
		r := s.due(false)
		if r == nil {
			t.Fatal("no round began")
		}
		s.wait(t.Context(), r, patience)
		time.Sleep(firstPause)
		synctest.Wait()
		if rounds.Load() != 2 || s.failing() || !strings.Contains(log.String(), "panic: of the test") {
			t.Errorf("%d rounds, logged %s", rounds.Load(), log)
		}
	})
}

// pendingKey stores a key whose event is still in its document.
func pendingKey(t *testing.T, k apikey.Key, eventID string, successor *apikey.Key) bson.Raw {
	t.Helper()
	e := crashEvent(eventID)
	e.ResourceID = string(k.ID)
	fields := bson.D{{Key: "pending_events", Value: bson.A{document.FromEvent(e)}}}
	if successor != nil {
		fields = append(fields, bson.E{Key: "successor", Value: newKey(*successor)})
	}
	doc, err := document.Set(newKey(k), fields)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func insertRaw(t *testing.T, s *Store, doc bson.Raw) {
	t.Helper()
	insert(t, s, document.Keys, elements(t, doc))
}

// ofEvent reports whether a command stores an event with such an id.
func ofEvent(command string, doc bson.Raw, is func(id string) bool) bool {
	list, id := map[string]string{"update": "updates", "insert": "documents"}[command], []string{"_id"}
	if list == "" || doc.Lookup(command).StringValue() != document.Events {
		return false
	}
	if command == "update" {
		id = []string{"q", "_id"}
	}
	items, _ := doc.Lookup(list).Array().Values()
	return slices.ContainsFunc(items, func(v bson.RawValue) bool {
		id, ok := v.Document().Lookup(id...).StringValueOK()
		return ok && is(id)
	})
}

// If the store refuses to move events, each read must still be one command, and nothing more must be logged.
func TestReadsCostTheSameWhileEventsCannotBeMoved(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, w := dropped(t, uri)
	if err := s.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	looksEvery(s, 0)
	p.On(func(command string, doc bson.Raw) *mongodbtest.Fault {
		if ofEvent(command, doc, func(string) bool { return true }) {
			return mongodbtest.Refusing(codeUnauthorized)
		}
		return nil
	})
	s.settler.mu.Lock()
	s.settler.pause = lastPause // as after many failures, so that no round begins during the test
	s.settler.mu.Unlock()
	if err := s.InsertKey(t.Context(), crashKey("key_1"), crashEvent("evt_1")); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); !strings.Contains(w.log.String(), "retry_in"); {
		if time.Since(began) > 20*time.Second {
			t.Fatal("no round failed")
		}
	}
	before := w.log.String()
	w.take()
	const reads = 50
	for range reads {
		if keys, err := s.Keys(t.Context(), crashTenant, []apikey.ID{"key_1"}, 0); err != nil || len(keys) != 1 {
			t.Fatal(keys, err)
		}
		if keys, err := s.KeysByHash(t.Context(), crashKey("key_1").Hash); err != nil || len(keys) != 1 {
			t.Fatal(keys, err)
		}
		if keys, err := s.KeysByHash(t.Context(), "nobody's"); err != nil || len(keys) != 0 {
			t.Fatal(keys, err)
		}
	}
	if sent := names(w.take()); len(sent) != 3*reads || slices.ContainsFunc(sent, func(name string) bool { return name != "find" }) {
		t.Errorf("%d reads sent %v", 3*reads, sent)
	}
	if after := w.log.String(); after != before {
		t.Errorf("logged meanwhile: %s", strings.TrimPrefix(after, before))
	}
	checkTrail(t, s, 1)
}

// Changes that cannot be finished must not hold back the others, even if there are more of them than one round tries.
func TestWhatCannotBeFinishedKeepsBackNothing(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, _ := dropped(t, uri)
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 2*maxFailures + 5 {
		insertRaw(t, s, pendingKey(t, crashKey(apikey.ID(fmt.Sprintf("key_bad_%02d", i))), fmt.Sprintf("evt_bad_%02d", i), nil))
	}
	for i := range 5 {
		insertRaw(t, s, pendingKey(t, crashKey(apikey.ID(fmt.Sprintf("key_good_%d", i))), fmt.Sprintf("evt_good_%d", i), nil))
	}
	const documentValidationFailure = 121
	p.On(func(command string, doc bson.Raw) *mongodbtest.Fault {
		if ofEvent(command, doc, func(id string) bool { return strings.HasPrefix(id, "evt_bad") }) {
			return mongodbtest.Refusing(documentValidationFailure)
		}
		return nil
	})
	moved := func() int {
		n, err := count(t.Context(), s.events, bson.D{})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for round := range 3 {
		if _, err := s.FinishAll(t.Context()); err == nil || !hasCode(err, documentValidationFailure) {
			t.Errorf("round %d: %v", round, err)
		}
	}
	if n := moved(); n != 5 {
		t.Errorf("%d events were moved, want 5", n)
	}
	p.On(nil)
	for range 3 { // one for the rest of the failed sweep
		_, _ = s.FinishAll(t.Context())
	}
	if some, err := s.FinishAll(t.Context()); some || err != nil || moved() != 2*maxFailures+5+5 {
		t.Errorf("finally: %t, %v, %d moved", some, err, moved())
	}
}

// lookedForPending counts the commands that look for unfinished changes among all keys.
func lookedForPending(commands []bson.Raw) (n int) {
	for _, c := range commands {
		if strings.Contains(c.Lookup("filter").String(), "pending_events") {
			n++
		}
	}
	return n
}

// Without the index of pending events, no read may look for unfinished changes, because it would scan all keys. When
// the index exists, they must be finished at once.
func TestNoReadLooksWithoutAnIndex(t *testing.T) {
	s, w := dropped(t, testURI)
	insertRaw(t, s, pendingKey(t, crashKey("key_1"), "evt_1", nil))
	looksEvery(s, 0)
	w.take()
	for range 3 {
		if _, err := s.KeyPages(t.Context(), crashTenant, []apikey.RetrieverID{"ret_1"}, apikey.KeyList{Limit: 5}); err != nil {
			t.Error(err)
		}
		if _, err := s.CountKeys(t.Context(), crashTenant, apikey.KeyConditions{}.Of("ret_1")); err != nil {
			t.Error(err)
		}
		if _, err := s.KeysByHash(t.Context(), "nobody's"); err != nil {
			t.Error(err)
		}
		if _, err := s.CurrentKeys(t.Context(), crashTenant, "key_none"); err != nil {
			t.Error(err)
		}
		if _, err := s.EventPage(t.Context(), crashTenant, ofRetriever("ret_1", 5)); err != nil {
			t.Error(err)
		}
		if _, err := s.CountEvents(t.Context(), crashTenant, ofRetriever("ret_1", 0).Where); err != nil {
			t.Error(err)
		}
	}
	settled(t, s)
	if n := lookedForPending(w.take()); n > 0 {
		t.Errorf("looked %d times, want none", n)
	}
	if err := s.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkTrail(t, s, 1)
	if n, err := count(t.Context(), s.events, bson.D{}); err != nil || n != 1 {
		t.Errorf("%d events were moved, %v", n, err)
	}
}

// If no index may be built, the next start must scan all keys once, in the background. A process must finish its own
// leftovers without an index.
func TestFinishingWithoutAnIndex(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, w := dropped(t, uri)
	insertRaw(t, s, pendingKey(t, crashKey("key_1"), "evt_1", nil))
	p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
		if command == "createIndexes" {
			return mongodbtest.Refusing(codeUnauthorized)
		}
		return nil
	})
	if err := s.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkTrail(t, s, 1)
	w.take()
	refuse := true
	p.On(func(command string, doc bson.Raw) *mongodbtest.Fault {
		if refuse && ofEvent(command, doc, func(string) bool { return true }) {
			return mongodbtest.Refusing(codeUnauthorized)
		}
		return nil
	})
	if err := s.InsertKey(t.Context(), crashKey("key_2"), crashEvent("evt_2")); err != nil {
		t.Fatal(err)
	}
	if n, err := s.CountEvents(t.Context(), crashTenant, ofRetriever("ret_1", 0).Where); err != nil || n != 2 {
		t.Errorf("%d events are counted, %v, want 2", n, err)
	}
	p.On(nil)
	settled(t, s)
	if n, err := count(t.Context(), s.events, bson.D{}); err != nil || n != 2 {
		t.Errorf("%d events were moved, %v", n, err)
	}
	if n := lookedForPending(w.take()); n > 0 {
		t.Errorf("scanned all keys %d times", n)
	}
}

// Without the right to build indexes there is one scan for unfinished changes. An outage during it, or a document that
// cannot be finished yet, must not hide an event until the next start.
func TestTheScanForUnfinishedChangesIsRepeated(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, _ := dropped(t, uri)
	insertRaw(t, s, pendingKey(t, crashKey("key_1"), "evt_1", nil))
	var outages, refusals atomic.Int32
	outages.Store(2)
	refusals.Store(1)
	p.On(func(command string, doc bson.Raw) *mongodbtest.Fault {
		switch {
		case command == "createIndexes":
			return mongodbtest.Refusing(codeUnauthorized)
		case command == "find" && strings.Contains(doc.Lookup("filter").String(), "pending_events") && outages.Add(-1) >= 0:
			return mongodbtest.Refusing(91) // ShutdownInProgress
		case ofEvent(command, doc, func(string) bool { return true }) && refusals.Add(-1) >= 0:
			return mongodbtest.Refusing(codeUnauthorized) // drivers do not retry it
		}
		return nil
	})
	if err := s.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	settled(t, s)
	if n, err := count(t.Context(), s.events, bson.D{}); err != nil || n != 1 {
		t.Errorf("%d events were moved, %v", n, err)
	}
}

// The server lists an index that is still being built like a complete one. It cannot be used yet, and without it no
// read may look for unfinished changes.
func TestAnIndexThatIsBeingBuiltIsNotUsed(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, _ := dropped(t, uri)
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	hinted, unhinted := 0, 0
	p.On(func(command string, doc bson.Raw) *mongodbtest.Fault {
		if command == "find" && strings.Contains(doc.Lookup("filter").String(), "pending_events") {
			if doc.Lookup("hint").Type == 0 {
				unhinted++
				return nil
			}
			hinted++
			return mongodbtest.Refusing(codeBadValue) // the hint does not correspond to an existing index
		}
		return nil
	})
	for range 3 {
		if page, err := s.EventPage(t.Context(), crashTenant, ofRetriever("ret_1", 5)); err != nil || len(page) > 0 {
			t.Errorf("%v, %v", page, err)
		}
	}
	if hinted != 1 || unhinted != 0 {
		t.Errorf("%d reads with the hint, %d without", hinted, unhinted)
	}
}

// While a successor cannot be inserted, its key must work anyway. Once it is inserted, its own document counts, even if
// the other key's document still has an old copy.
func TestSuccessorsThatCannotBePlaced(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, _ := dropped(t, uri)
	if err := s.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	old, next := crashKey("key_1"), crashKey("key_2")
	insertRaw(t, s, newKey(old))
	p.On(func(command string, doc bson.Raw) *mongodbtest.Fault {
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
	for range 3 {
		if keys, err := s.KeysByHash(t.Context(), next.Hash); err != nil || len(keys) != 1 || keys[0].ID != next.ID {
			t.Errorf("KeysByHash = %v, %v", keys, err)
		}
	}
	if keys, err := s.KeysByHash(t.Context(), "nobody's"); err != nil || len(keys) > 0 {
		t.Errorf("KeysByHash = %v, %v", keys, err)
	}
	// Another process inserts it, and it is revoked, but the copy stays.
	revoked := aTime
	placed := next
	placed.RevokedAt = &revoked
	other := openedOn(t, testURI, s.primary.Name(), slog.New(slog.DiscardHandler), func(context.Context, *event.CommandStartedEvent) {})
	insertRaw(t, other, newKey(placed))
	if keys, err := s.KeysByHash(t.Context(), next.Hash); err != nil || len(keys) != 1 || keys[0].RevokedAt == nil {
		t.Errorf("KeysByHash = %v, %v, want the revoked one", keys, err)
	}
	if left, err := s.leftSuccessor(t.Context(), leftover{filter: bson.D{{Key: "_id", Value: "key_1"}}, hash: next.Hash}); err != nil || len(left) != 1 || left[0].RevokedAt == nil {
		t.Errorf("leftSuccessor = %v, %v, want the revoked one", left, err)
	}
}

// A change of a successor that a crash left in the other key's document must find it there, but only within the tenant.
func TestLeftSuccessorsAreFoundByTheirTenant(t *testing.T) {
	s, w := indexed(t)
	next := crashKey("key_2")
	insertRaw(t, s, pendingKey(t, crashKey("key_1"), "evt_1", &next))
	w.take()
	if keys, err := s.CurrentKeys(t.Context(), "int_other", "key_2"); err != nil || len(keys) > 0 {
		t.Errorf("another tenant's: %v, %v", keys, err)
	}
	for _, command := range w.take() {
		if !strings.Contains(command.String(), `"internal_id": {"$eq": "int_other"`) {
			t.Errorf("no tenant in %s", command)
		}
	}
	keys, err := s.CurrentKeys(t.Context(), crashTenant, "key_2")
	if diff := cmp.Diff([]apikey.Key{next}, keys); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

// foreignKey returns a key of the tests' tenant whose document carries only another tenant's event and successor.
func foreignKey(t *testing.T, id apikey.ID, eventID string, successor apikey.ID) bson.Raw {
	t.Helper()
	e, next := crashEvent(eventID), crashKey(successor)
	e.InternalID, next.InternalID = "int_other", "int_other"
	doc, err := document.Set(newKey(crashKey(id)), bson.D{{Key: "pending_events", Value: bson.A{document.FromEvent(e)}}, {Key: "successor", Value: newKey(next)}})
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// Documents that carry only another organization's data are never finished. In any number and at any place, they must
// not hide a change that can be finished, and a sweep that met them must not count as complete.
func TestForeignEventsHideNothing(t *testing.T) {
	for name, s := range map[string]func() *Store{
		"with the index": func() *Store { s, _ := indexed(t); return s },
		"by a scan": func() *Store {
			s, _ := dropped(t, testURI)
			s.scan.Store(true)
			return s
		},
	} {
		s := s()
		s.settler.close()
		docs := make([]any, 0, maxPending+finishBatch+5)
		for i := range maxPending + finishBatch { // they come before the others by each of their ids
			docs = append(docs, foreignKey(t, apikey.ID(fmt.Sprintf("key_a_%04d", i)), fmt.Sprintf("evt_a_%04d", i), "key_wanted"))
		}
		for i := range 4 {
			docs = append(docs, pendingKey(t, crashKey(apikey.ID(fmt.Sprintf("key_b_%d", i))), fmt.Sprintf("evt_b_%d", i), nil))
		}
		next := crashKey("key_wanted")
		docs = append(docs, pendingKey(t, crashKey("key_c"), "evt_c", &next))
		if _, err := s.primaryKeys().InsertMany(t.Context(), docs); err != nil {
			t.Fatal(err)
		}
		if name == "with the index" {
			// A reader must see the pending event behind them, and a change must find the successor.
			if page, err := s.EventPage(t.Context(), crashTenant, ofRetriever("ret_1", 10)); err != nil || len(page) != 5 {
				t.Errorf("%s: a page of %d events, %v", name, len(page), err)
			}
			if keys, err := s.CurrentKeys(t.Context(), crashTenant, "key_c", "key_wanted", "key_nowhere"); err != nil || len(keys) != 2 {
				t.Errorf("%s: the key and its successor are %v, %v", name, keys, err)
			}
		}
		if some, err := s.FinishAll(t.Context()); err != nil || !some {
			t.Errorf("%s: %t, %v", name, some, err)
		}
		if n, err := count(t.Context(), s.events, bson.D{}); err != nil || n != 5 {
			t.Errorf("%s: %d events were moved, %v", name, n, err)
		}
		for tenant, want := range map[apikey.InternalID]int{crashTenant: 1, "int_other": 0} {
			if keys, err := s.Keys(t.Context(), tenant, []apikey.ID{"key_wanted"}, 0); err != nil || len(keys) != want {
				t.Errorf("%s: %d successors of %s, %v", name, len(keys), tenant, err)
			}
		}
		if some, err := s.FinishAll(t.Context()); some || err != nil {
			t.Errorf("%s: FinishAll again = %t, %v, want nothing left", name, some, err)
		}
	}
}

// A batch must read no more documents than it returns and skips, however many are unfinished.
func TestABatchOfUnfinishedChanges(t *testing.T) {
	s, w := indexed(t)
	s.settler.close()
	docs := make([]any, 50)
	for i := range docs {
		docs[i] = pendingKey(t, crashKey(apikey.ID(fmt.Sprintf("key_%02d", i))), fmt.Sprintf("evt_%02d", i), nil)
	}
	if _, err := s.primaryKeys().InsertMany(t.Context(), docs); err != nil {
		t.Fatal(err)
	}
	w.take()
	for _, limit := range []int{1, 7, 49, 50, 51} {
		found, err := s.unfinishedKeys(t.Context(), limit)
		if err != nil || len(found) != min(limit, len(docs)) {
			t.Errorf("%d of %d, %v", len(found), limit, err)
		}
		if sent := names(w.take()); slices.Contains(sent, "getMore") {
			t.Errorf("%d took %v", limit, sent)
		}
	}
}

// Another organization's events must be removed together with the document's own, and one log line must have the key's
// id and their number.
func TestForeignEventsBesideOwnAreTold(t *testing.T) {
	s, w := indexed(t)
	s.settler.close()
	own, theirs := crashEvent("evt_own"), crashEvent("evt_secret")
	theirs.InternalID, theirs.ActorID = "int_secret", "usr_secret"
	next := crashKey("key_secret")
	next.InternalID = "int_secret"
	doc, err := document.Set(newKey(crashKey("key_1")), bson.D{
		{Key: "pending_events", Value: bson.A{document.FromEvent(theirs), document.FromEvent(own), document.FromEvent(theirs)}}, {Key: "successor", Value: newKey(next)},
	})
	if err != nil {
		t.Fatal(err)
	}
	insertRaw(t, s, doc)
	insertRaw(t, s, pendingKey(t, crashKey("key_2"), "evt_2", nil))
	found, err := s.unfinishedKeys(t.Context(), 10) // as two processes can find it
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.FinishAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, doc := range found {
			if _, err := s.finish(t.Context(), doc); err != nil {
				t.Fatal(err)
			}
		}
	}
	if log := w.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "key=key_1 count=3") || strings.Contains(log, "secret") {
		t.Errorf("logged %s", log)
	}
	if n, err := count(t.Context(), s.events, bson.D{}); err != nil || n != 2 {
		t.Errorf("%d events were moved, %v", n, err)
	}
	if left, err := s.unfinishedKeys(t.Context(), 10); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A login with a key that is not active must look for unfinished changes as one with a key that does not exist. Otherwise
// the time of the refusal shows which keys exist.
func TestEveryFailedLoginLooksForUnfinishedChanges(t *testing.T) {
	s, _ := indexed(t)
	active, revoked, expired := crashKey("key_1"), crashKey("key_2"), crashKey("key_3")
	revoked.RevokedAt, expired.ExpiresAt = new(time.Unix(1, 0)), new(time.Unix(1, 0))
	for _, k := range []apikey.Key{active, revoked, expired} {
		insert(t, s, document.Keys, elements(t, newKey(k)))
	}
	for hash, want := range map[string]bool{active.Hash: false, revoked.Hash: true, expired.Hash: true, "hash of nobody": true} {
		settled(t, s)
		looksEvery(s, 0)
		last := func() time.Time {
			s.settler.mu.Lock()
			defer s.settler.mu.Unlock()
			return s.settler.last
		}
		before := last()
		keys, err := s.KeysByHash(t.Context(), hash)
		if err != nil || (len(keys) == 1) != (hash != "hash of nobody") {
			t.Errorf("%s: got %v, %v", hash, keys, err)
		}
		if looked := last().After(before); looked != want {
			t.Errorf("%s: looked for unfinished changes: %t, want %t", hash, looked, want)
		}
	}
}
