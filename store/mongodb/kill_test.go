package mongodb

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"retrieverkeys/apikey"
	"retrieverkeys/store/mongodb/mongodbtest"
)

// Eight writers change one key each, as fast as they can, while the server is killed again and again by SIGKILL.
// Everything acknowledged must survive, and every revision must have its event. Otherwise a crash could undo an
// acknowledged revocation, or the trail could miss a change.
//
// Without a server that the test may kill (mongodbtest.EnginePath), all connections to the deployment break instead.
func TestEngineIsKilledInMidWrite(t *testing.T) {
	const writers = 8
	start, kill, rounds := cutOff(t)
	if mongodbtest.EnginePath() != "" {
		start, kill, rounds = killed(t)
	}
	database := "test_" + strings.ToLower(rand.Text())
	var acknowledged, unknown int
	var revisions [writers]int64
	for round := range rounds {
		s := openedOn(t, start(), database, nil, nil)
		if round == 0 {
			if err := s.EnsureIndexes(t.Context()); err != nil {
				t.Fatal(err)
			}
			for w := range writers {
				if err := s.InsertKey(t.Context(), writersKey(w, 0), writersEvent(w, 0)); err != nil {
					t.Fatal(err)
				}
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		var acks atomic.Int64
		var wg sync.WaitGroup
		enough := make(chan struct{})
		for w := range writers {
			wg.Go(func() {
				for ctx.Err() == nil {
					k := writersKey(w, revisions[w]+1)
					k.Revision = revisions[w]
					changed, err := s.ChangeKey(ctx, apikey.Change{Key: k, Fields: apikey.FieldName, Events: []apikey.Event{writersEvent(w, revisions[w]+1)}})
					if err != nil {
						return // the change may or may not be stored
					}
					if !changed {
						t.Errorf("round %d: writer %d lost a change at revision %d", round, w, revisions[w])
						return
					}
					revisions[w]++
					if acks.Add(1) == int64(20+7*round) {
						close(enough)
					}
				}
			})
		}
		select {
		case <-enough:
		case <-time.After(30 * time.Second):
			t.Errorf("round %d: only %d changes in 30 s", round, acks.Load())
		}
		kill()
		stop()
		wg.Wait()
		acknowledged += int(acks.Load())
		if t.Failed() {
			return
		}

		s = openedOn(t, start(), database, nil, nil)
		settled(t, s)
		for w := range writers {
			unknown += check(t, s, w, &revisions[w])
		}
		kill()
	}
	t.Logf("%d rounds, %d changes acknowledged, none lost; %d more were stored whose answer was lost", rounds, acknowledged, unknown)
}

// check compares a key and its trail with the acknowledged changes, and returns how many more changes were stored.
func check(t *testing.T, s *Store, w int, revision *int64) (more int) {
	t.Helper()
	id := writersKey(w, 0).ID
	keys, err := s.CurrentKeys(t.Context(), "int_1", id)
	if err != nil || len(keys) != 1 {
		t.Fatalf("writer %d: %v, %v", w, keys, err)
	}
	k := keys[0]
	if more = int(k.Revision - *revision); more < 0 || more > 1 {
		t.Errorf("writer %d: at revision %d after %d was acknowledged", w, k.Revision, *revision)
	}
	if want := writersKey(w, k.Revision).Name; k.Name != want {
		t.Errorf("writer %d: named %q at revision %d", w, k.Name, k.Revision)
	}
	recorded := map[apikey.EventID]bool{}
	var after *apikey.EventPosition
	for {
		l := about(id, 500)
		l.After = after
		page, err := s.EventPage(t.Context(), "int_1", l)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page {
			recorded[e.ID] = true
		}
		if len(page) < 500 {
			break
		}
		at := page[len(page)-1].Position()
		after = &at
	}
	for n := range k.Revision + 1 {
		if !recorded[writersEvent(w, n).ID] {
			t.Errorf("writer %d: revision %d has no event", w, n)
		}
	}
	if len(recorded) != int(k.Revision)+1 {
		t.Errorf("writer %d: %d events at revision %d", w, len(recorded), k.Revision)
	}
	*revision = k.Revision
	return more
}

func writersKey(w int, revision int64) apikey.Key {
	k := aKey("int_1", w, named...)
	k.Name = fmt.Sprintf("at revision %d", revision)
	return k
}

func writersEvent(w int, revision int64) apikey.Event {
	return apikey.Event{
		ID: apikey.EventID(fmt.Sprintf("evt_%d_%06d", w, revision)), Timestamp: aTime.Add(time.Duration(revision) * time.Second), InternalID: "int_1",
		ResourceID: string(writersKey(w, 0).ID), RetrieverIDs: []apikey.RetrieverID{"ret_1"},
	}
}

// killed starts and kills a server that keeps its data.
func killed(t *testing.T) (start func() (uri string), kill func(), rounds int) {
	t.Helper()
	dir := t.TempDir()
	var engine *mongodbtest.Engine
	t.Cleanup(func() { engine.Kill() })
	return func() string {
		e, err := mongodbtest.StartEngine(context.Background(), dir)
		if err != nil {
			t.Fatal(err)
		}
		engine = e
		return e.URI + "/?directConnection=true&serverSelectionTimeoutMS=500"
	}, func() { engine.Kill() }, 20
}

// cutOff breaks all connections to the tests' deployment.
func cutOff(t *testing.T) (start func() (uri string), kill func(), rounds int) {
	t.Helper()
	p, uri := mongodbtest.NewProxy(t, testURI)
	return func() string { p.Start(); return uri }, p.Stop, 2
}
