package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"retrieverkeys/apikey"
	"retrieverkeys/store/storetest"
)

// Every event must be in the feed of a reader that follows it, while several processes share the file, stop in the middle of a transaction, start again,
// store events again, and delete old ones, and whatever their clocks say. Otherwise the copy of the trail that a security team relies on would have
// holes, and nobody would know.
func TestFeedMissesNothing(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 19))
			path := filepath.Join(t.TempDir(), "store.db")
			processes := make([]*Store, 3)
			for i := range processes {
				processes[i] = opened(t, path)
			}
			readers := [2]storetest.Follower{{Tenant: tenant}, {Tenant: tenant}}
			var stored []apikey.Event
			deleted := map[apikey.EventID]bool{}
			for n := range 400 {
				s := processes[random.IntN(len(processes))]
				e := newEvent(fmt.Sprintf("evt_%02d_%d", random.IntN(100), n), apikey.ID(fmt.Sprint("key_", n)))
				e.Timestamp = march.Add(time.Duration(random.IntN(1200)-600) * time.Second)
				switch random.IntN(8) {
				case 0:
					if err := s.InsertKey(t.Context(), newKey(apikey.ID(e.ResourceID)), e); err != nil {
						t.Fatal(err)
					}
					stored = append(stored, e)
				case 1, 2:
					if err := s.InsertEvent(t.Context(), e); err != nil {
						t.Fatal(err)
					}
					stored = append(stored, e)
				case 3: // a process stops in the middle of a transaction
					stopped := errors.New("stopped")
					err := s.writing(t.Context(), func(ctx context.Context, w *writer) error {
						return errors.Join(w.insertEvent(ctx, e), stopped)
					})
					if err == nil {
						t.Fatal("the transaction was stored")
					}
				case 4: // an event is stored again
					if len(stored) > 0 {
						again := stored[random.IntN(len(stored))]
						if deleted[again.ID] {
							continue
						}
						if err := s.InsertEvent(t.Context(), again); err != nil {
							t.Fatal(err)
						}
					}
				case 5: // what every reader has seen can be deleted, even the last row
					for i := range readers {
						readers[i].ReadAll(t, s, 1+random.IntN(20), nil)
					}
					before := march.Add(time.Duration(random.IntN(1300)-600) * time.Second)
					if random.IntN(4) > 0 {
						continue
					}
					if _, err := s.DeleteEvents(t.Context(), tenant, before, 1000); err != nil {
						t.Fatal(err)
					}
					for _, e := range stored {
						if e.Timestamp.Before(before) {
							deleted[e.ID] = true
						}
					}
				case 6: // a process starts again
					i := random.IntN(len(processes))
					if err := processes[i].Close(); err != nil {
						t.Fatal(err)
					}
					processes[i] = opened(t, path)
				default:
					if _, err := readers[random.IntN(2)].Read(t.Context(), s, 1+random.IntN(7)); err != nil {
						t.Fatal(err)
					}
				}
			}
			want := make([]apikey.EventID, len(stored))
			for i := range stored {
				want[i] = stored[i].ID
			}
			for i := range readers {
				readers[i].ReadAll(t, processes[0], 1+random.IntN(7), want)
				if len(readers[i].Events) != len(want) || len(want) < 100 || len(deleted) == 0 {
					t.Errorf("the feed had %d events, %d were stored, %d deleted", len(readers[i].Events), len(want), len(deleted))
				}
			}
		})
	}
}

// A cursor of a file that was replaced by an older copy must be refused, even if the copy has got as many events since. Otherwise the reader would
// miss them.
func TestFeedOfAnOlderCopy(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, filepath.Join(dir, "store.db"))
	insertEvents(t, s, 5, func(i int, e *apikey.Event) { e.ID = apikey.EventID(fmt.Sprint("evt_", i)) })
	if _, err := s.Backup(t.Context(), filepath.Join(dir, "copy.db")); err != nil {
		t.Fatal(err)
	}
	f := storetest.Follower{Tenant: tenant}
	insertEvents(t, s, 5, func(i int, e *apikey.Event) { e.ID = apikey.EventID(fmt.Sprint("evt_lost_", i)) })
	f.ReadAll(t, s, 10, nil)
	restored := opened(t, filepath.Join(dir, "copy.db"))
	for range 10 {
		page, err := restored.ArrivedEvents(t.Context(), tenant, apikey.FeedRange{After: f.At, Limit: 10})
		if err != nil || !page.Unknown {
			t.Fatalf("%+v, %v, want an unknown place", page, err)
		}
		if err := restored.InsertEvent(t.Context(), newEvent(fmt.Sprint("evt_new_", time.Now().UnixNano()), "key_1")); err != nil {
			t.Fatal(err)
		}
	}
	// The places before the copy are known.
	early := storetest.Follower{Tenant: tenant}
	if _, err := early.Read(t.Context(), s, 5); err != nil {
		t.Fatal(err)
	}
	if page, err := restored.ArrivedEvents(t.Context(), tenant, apikey.FeedRange{After: early.At, Limit: 100}); err != nil || page.Unknown || len(page.Events) != 10 {
		t.Errorf("from a place before the copy: %+v, %v", page, err)
	}
}
