package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

var march = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func newKey(id apikey.ID) apikey.Key {
	created := march
	return apikey.Key{
		ID: id, Hash: "hash of " + string(id), Type: apikey.RetrieverKey, InternalID: tenant, Name: "new", Stored: apikey.Active, CreatedAt: &created,
		Scopes: []apikey.Scope{{ResourceType: apikey.ResourceRetriever, ResourceID: "ret_1"}},
	}
}

func newEvent(id string, about apikey.ID) apikey.Event {
	return apikey.Event{
		ID: apikey.EventID(id), Timestamp: march, Action: apikey.KeyUpdated, ResourceType: apikey.ResourceAPIKey, ResourceID: string(about),
		InternalID: tenant, RetrieverIDs: []apikey.RetrieverID{"ret_1"},
	}
}

// renamed returns a change of a key, at a revision, to a name that includes the next revision.
func renamed(id apikey.ID, revision int) apikey.Change {
	k := newKey(id)
	k.Name, k.Revision = fmt.Sprint("revision ", revision+1), int64(revision)
	return apikey.Change{Key: k, Fields: apikey.FieldName, ActiveAt: march, Events: []apikey.Event{newEvent(fmt.Sprintf("evt_%s_%d", id, revision+1), id)}}
}

// If processes change one key at once, exactly one must win each time. Otherwise an acknowledged change could be lost,
// or an event could report a change that never happened.
func TestOneOfRacingChangesWins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	stores := []*Store{opened(t, path), opened(t, path)}
	if err := stores[0].InsertKey(t.Context(), newKey("key_1"), newEvent("evt_0", "key_1")); err != nil {
		t.Fatal(err)
	}
	const rounds, racers = 100, 8
	for revision := range rounds {
		won := make(chan string, racers)
		var wg sync.WaitGroup
		for racer := range racers {
			wg.Go(func() {
				c := renamed("key_1", revision)
				c.Key.Name = fmt.Sprint("racer ", racer)
				ok, err := stores[racer%2].ChangeKey(t.Context(), c)
				if err != nil {
					t.Error(err)
				}
				if ok {
					won <- c.Key.Name
				}
			})
		}
		wg.Wait()
		close(won)
		var names []string
		for name := range won {
			names = append(names, name)
		}
		keys, err := stores[1].CurrentKeys(t.Context(), tenant, "key_1")
		if err != nil || len(names) != 1 || keys[0].Name != names[0] || keys[0].Revision != int64(revision+1) {
			t.Fatalf("round %d: %v won, the key is %+v, %v", revision, names, keys, err)
		}
	}
	if n, err := stores[0].CountEvents(t.Context(), tenant, apikey.EventConditions{}); err != nil || n != rounds+1 {
		t.Errorf("%d events, %v, want %d", n, err, rounds+1)
	}
}

// A failed transaction must leave nothing: no changed key without its event, and no successor.
func TestFailedChangeLeavesNothing(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "store.db"))
	if err := s.InsertKey(t.Context(), newKey("key_1"), newEvent("evt_0", "key_1")); err != nil {
		t.Fatal(err)
	}
	for _, trigger := range []string{"INSERT ON audit_events", "INSERT ON audit_event_retrievers", "INSERT ON api_keys", "INSERT ON api_key_retrievers", "UPDATE ON api_key_retrievers"} {
		if _, err := s.write.ExecContext(t.Context(), "CREATE TRIGGER broken BEFORE "+trigger+" BEGIN SELECT RAISE(ABORT, 'broken'); END"); err != nil {
			t.Fatal(err)
		}
		c, successor := renamed("key_1", 0), newKey("key_2")
		c.Successor = &successor
		end := time.Now().Add(time.Hour)
		c.Key.ExpiresAt, c.Fields = &end, c.Fields|apikey.FieldExpiresAt
		if won, err := s.ChangeKey(t.Context(), c); err == nil || won || apikey.Classify(err).Code != apikey.Internal {
			t.Errorf("%s: ChangeKey = %t, %v", trigger, won, err)
		}
		if !strings.HasPrefix(trigger, "UPDATE") {
			if err := s.InsertKey(t.Context(), newKey("key_3"), newEvent("evt_3", "key_3")); err == nil {
				t.Errorf("%s: InsertKey stored a key", trigger)
			}
		}
		if _, err := s.write.ExecContext(t.Context(), "DROP TRIGGER broken"); err != nil {
			t.Fatal(err)
		}
		pages, err := s.KeyPages(t.Context(), tenant, []apikey.RetrieverID{"ret_1"}, apikey.KeyList{Limit: 9, Fields: apikey.AllFields})
		if err != nil || len(pages[0]) != 1 || pages[0][0].Revision != 0 || pages[0][0].Name != "new" {
			t.Errorf("%s: KeyPages = %+v, %v", trigger, pages, err)
		}
		if n, err := s.CountEvents(t.Context(), tenant, apikey.EventConditions{}); err != nil || n != 1 {
			t.Errorf("%s: %d events, %v", trigger, n, err)
		}
	}
}

// A change that waits for another process must end as an outage when its request ends, and must not happen later.
func TestChangeWaitsNoLongerThanItsRequest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	holder, s := opened(t, path), opened(t, path)
	if err := s.InsertKey(t.Context(), newKey("key_1"), newEvent("evt_0", "key_1")); err != nil {
		t.Fatal(err)
	}
	tx, err := holder.write.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if won, err := s.ChangeKey(ctx, renamed("key_1", 0)); won || apikey.Classify(err).Code != apikey.Unavailable {
		t.Errorf("ChangeKey = %t, %v", won, err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if keys, err := s.CurrentKeys(t.Context(), tenant, "key_1"); err != nil || keys[0].Revision != 0 {
		t.Errorf("CurrentKeys = %+v, %v", keys, err)
	}
}

// A change must keep the fields that this program does not know, and the order of all. They belong to the platform.
func TestChangeKeepsWhatItDoesNotKnow(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "store.db"))
	doc, err := bson.Marshal(bson.D{
		{Key: "vendor_first", Value: bson.D{{Key: "b", Value: int32(1)}, {Key: "a", Value: "x"}}},
		{Key: "key_id", Value: "key_1"}, {Key: "internal_id", Value: tenant}, {Key: "key_hash", Value: "h"}, {Key: "name", Value: "old"},
		{Key: "allowed_origins", Value: "unreadable"}, {Key: "vendor_last", Value: bson.A{int64(2), bson.A{nil}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Import(t.Context(), document.Batch{Keys: []bson.Raw{doc}}, document.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	k := apikey.Key{ID: "key_1", InternalID: tenant, Hash: "h", Name: "new"}
	won, err := s.ChangeKey(t.Context(), apikey.Change{Key: k, Fields: apikey.FieldName, ActiveAt: march, Events: []apikey.Event{newEvent("evt_1", "key_1")}})
	if err != nil || !won {
		t.Fatal(won, err)
	}
	var got bson.Raw
	if err := s.read.QueryRowContext(t.Context(), "SELECT document FROM api_keys").Scan((*[]byte)(&got)); err != nil {
		t.Fatal(err)
	}
	want := `{"vendor_first": {"b": {"$numberInt":"1"},"a": "x"},"key_id": "key_1","internal_id": "int_bench","key_hash": "h","name": "new","allowed_origins": "unreadable","vendor_last": [{"$numberLong":"2"},[null]],"revision": {"$numberLong":"1"}}`
	if got.String() != want {
		t.Errorf("the document is %s, want the other fields unchanged", got)
	}
}

// A file of the previous version must be migrated with all its data. Otherwise an update of the program would cost the
// operator the store.
func TestFilesOfOlderVersionsAreMigrated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Import(t.Context(), keyBatch(10, 5), document.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"DROP INDEX api_keys_by_end", "DROP INDEX api_keys_by_creation", "DROP INDEX api_keys_by_expiry", "DROP INDEX api_keys_by_creator",
		"ALTER TABLE api_keys DROP COLUMN created_at", "ALTER TABLE api_keys DROP COLUMN expires_at",
		"ALTER TABLE api_keys DROP COLUMN active_until", "ALTER TABLE api_keys DROP COLUMN created_by",
		"DROP TABLE audit_deletions", "DROP TABLE audit_events", "DROP TABLE audit_event_retrievers", "DROP INDEX namespaces_by_id", "DROP INDEX namespaces_by_any_name", "DROP TABLE api_key_usage", "PRAGMA user_version = 1",
	} {
		if _, err := s.write.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 { // processes that start at the same time
		wg.Go(func() {
			s, err := Open(context.WithoutCancel(t.Context()), path)
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	migrated := opened(t, path)
	if n, err := migrated.CountKeys(t.Context(), tenant, apikey.KeyConditions{}.Of("ret_1")); err != nil || n != 5 {
		t.Errorf("%d keys, %v, want 5", n, err)
	}
	for _, byExpiry := range []bool{false, true} {
		page, err := migrated.KeyPage(t.Context(), tenant, apikey.KeyList{Limit: 100, Order: apikey.KeyOrder{ByExpiry: byExpiry}})
		if n, countErr := migrated.CountKeys(t.Context(), tenant, apikey.KeyConditions{}); err != nil || countErr != nil || len(page) != 10 || n != 10 {
			t.Errorf("%d and %d of all keys, %v, %v, want 10", len(page), n, err, countErr)
		}
	}
	if err := migrated.InsertKey(t.Context(), newKey("key_1"), newEvent("evt_0", "key_1")); err != nil {
		t.Error(err)
	}
	if _, err := migrated.ExpiringKeys(t.Context(), apikey.ExpiryPosition{}, march, 1); err != nil {
		t.Errorf("keys of all tenants that expire: %v", err)
	}
}

// insertEvents stores n events of one millisecond after the other in one transaction.
func insertEvents(t testing.TB, s *Store, n int, edit func(i int, e *apikey.Event)) {
	t.Helper()
	err := s.writing(t.Context(), func(ctx context.Context, w *writer) error {
		for i := range n {
			e := newEvent(fmt.Sprintf("evt_%05d", i), "key_1")
			e.Timestamp = march.Add(time.Duration(i) * time.Millisecond)
			edit(i, &e)
			if err := w.insertEvent(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The events of a file of version 3 must be in every list after its migration. Otherwise an update of the program would hide what happened
// before it.
func TestEventsOfOlderVersionsAreMigrated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	const n = 2500 // more than one step of the migration
	insertEvents(t, s, n, func(i int, e *apikey.Event) {
		e.ResourceID, e.NamespaceID, e.ActorID = fmt.Sprint("key_", i%5), apikey.NamespaceID(fmt.Sprint("ns_", i%2)), fmt.Sprint("usr_", i%4)
		if i%10 != 0 {
			e.ActorKeyID = new(apikey.ID("key_actor"))
		}
	})
	for _, statement := range []string{
		"DROP INDEX api_keys_by_end", "DROP TABLE audit_deletions", "DROP INDEX audit_events_by_arrival", "DROP INDEX audit_events_by_time", "DROP INDEX audit_events_by_namespace", "DROP INDEX audit_events_by_resource",
		"DROP INDEX audit_events_by_actor", "DROP INDEX audit_events_by_actor_key",
		"ALTER TABLE audit_events DROP COLUMN happened_at", "ALTER TABLE audit_events DROP COLUMN namespace_id",
		"ALTER TABLE audit_events DROP COLUMN resource_id", "ALTER TABLE audit_events DROP COLUMN actor_id",
		"ALTER TABLE audit_events DROP COLUMN actor_key_id",
		"ALTER TABLE audit_event_retrievers ADD COLUMN resource_id TEXT NOT NULL DEFAULT ''",
		"CREATE INDEX audit_event_retrievers_by_resource ON audit_event_retrievers (tenant, retriever_id, resource_id, happened_at, id, audit_event)",
		"DROP TABLE api_key_usage", "PRAGMA user_version = 3",
	} {
		if _, err := s.write.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	migrated := opened(t, path)
	check := func(n int, where apikey.EventConditions) {
		t.Helper()
		page, err := migrated.EventPage(t.Context(), tenant, apikey.EventList{Where: where, Limit: 10_000})
		count, countErr := migrated.CountEvents(t.Context(), tenant, where)
		if err != nil || countErr != nil || len(page) != n || count != n {
			t.Errorf("%+v: %d events, %d counted, %v, %v, want %d", where, len(page), count, err, countErr, n)
		}
	}
	check(n, apikey.EventConditions{})
	check(n, apikey.EventConditions{Naming: []apikey.RetrieverID{"ret_1"}})
	check(n/2, apikey.EventConditions{Namespace: new(apikey.NamespaceID("ns_1"))})
	check(n/5, apikey.EventConditions{About: new(apikey.ID("key_3"))})
	check(n/4, apikey.EventConditions{ActorID: new("usr_2")})
	check(n*9/10, apikey.EventConditions{ActorKeyID: new(apikey.ID("key_actor"))})
	feed, err := migrated.ArrivedEvents(t.Context(), tenant, apikey.FeedRange{Limit: n + 1})
	if err != nil || len(feed.Events) != n || feed.Events[0].ID != "evt_00000" || feed.Events[n-1].ID != "evt_02499" {
		t.Errorf("the feed has %d events, %v", len(feed.Events), err)
	}
	check(100, apikey.EventConditions{Happened: apikey.Period{From: new(march.Add(100 * time.Millisecond)), Until: new(march.Add(200 * time.Millisecond))}})
	if err := migrated.InsertEvent(t.Context(), newEvent("evt_new", "key_3")); err != nil {
		t.Fatal(err)
	}
	check(n/5+1, apikey.EventConditions{About: new(apikey.ID("key_3"))})
}

// A process killed while it writes must lose nothing that it acknowledged, and must leave no key without its event and
// no event without its key's change.
func TestKilledWhileWriting(t *testing.T) {
	const variable, rounds, keys = "RETRIEVERKEYS_TEST_KILLED", 30, 4
	if path := os.Getenv(variable); path != "" { // this is the process that is killed
		writeUntilKilled(opened(t, path), keys)
		return
	}
	path := filepath.Join(t.TempDir(), "store.db")
	s := opened(t, path)
	for i := range keys {
		id := apikey.ID(fmt.Sprint("key_", i))
		if err := s.InsertKey(t.Context(), newKey(id), newEvent(fmt.Sprintf("evt_%s_0", id), id)); err != nil {
			t.Fatal(err)
		}
	}
	acknowledged := map[string]int{}
	for range rounds {
		process := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
		process.Env = append(os.Environ(), variable+"="+path)
		out, err := process.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		killAfter := 1 + rand.IntN(40)
		lines := bufio.NewScanner(out)
		for n := 1; lines.Scan(); n++ {
			var id string
			var revision int
			if _, err := fmt.Sscanf(lines.Text(), "changed %s %d", &id, &revision); err == nil {
				acknowledged[id] = max(acknowledged[id], revision)
			}
			if n == killAfter { // everything it prints before it dies is acknowledged too
				if err := process.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		var exit *exec.ExitError
		if err := process.Wait(); !errors.As(err, &exit) || exit.Success() {
			t.Fatalf("the process was not killed: %v", err)
		}
		after := opened(t, path)
		for i := range keys {
			id := apikey.ID(fmt.Sprint("key_", i))
			stored, err := after.CurrentKeys(t.Context(), tenant, id)
			if err != nil || len(stored) != 1 {
				t.Fatal(stored, err)
			}
			revision := int(stored[0].Revision)
			events, err := after.EventPage(t.Context(), tenant, apikey.EventList{Where: apikey.EventConditions{About: &id}, Limit: 100_000})
			if err != nil {
				t.Fatal(err)
			}
			var ids, want []string
			for _, e := range events {
				ids = append(ids, string(e.ID))
			}
			for n := range revision + 1 {
				want = append(want, fmt.Sprintf("evt_%s_%d", id, n))
			}
			slices.Sort(ids)
			slices.Sort(want)
			if revision < acknowledged[string(id)] || revision > 0 && stored[0].Name != fmt.Sprint("revision ", revision) || !slices.Equal(ids, want) {
				t.Fatalf("%s is at revision %d, %q, acknowledged was %d, and there are %d events", id, revision, stored[0].Name, acknowledged[string(id)], len(events))
			}
		}
	}
	for id, revision := range acknowledged {
		t.Log(id, "was changed", revision, "times")
	}
	if len(acknowledged) != keys {
		t.Errorf("%d keys have acknowledged changes, want %d", len(acknowledged), keys)
	}
}

// writeUntilKilled changes keys in turn and prints each change when it is acknowledged.
func writeUntilKilled(s *Store, keys int) {
	for i := 0; ; i++ {
		id := apikey.ID(fmt.Sprint("key_", i%keys))
		stored, err := s.CurrentKeys(context.Background(), tenant, id)
		if err != nil {
			panic(err)
		}
		revision := int(stored[0].Revision)
		if won, err := s.ChangeKey(context.Background(), renamed(id, revision)); err != nil || !won {
			panic(fmt.Sprint(won, err))
		}
		fmt.Println("changed", id, revision+1)
	}
}
