package apikey

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func newUsage(store Store) *Usage { return &Usage{Store: store, Logger: slog.New(slog.DiscardHandler)} }

// used returns the stored last_used_at of all keys.
func used(m *memory) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for _, k := range m.keys {
		if k.LastUsedAt != nil {
			all = append(all, fmt.Sprintf("%s/%s %s", k.InternalID, k.ID, k.LastUsedAt.Sub(noon)))
		}
	}
	return fmt.Sprint(all)
}

// Without this, each request writes to the store, or a busy key looks unused.
func TestUsesAreCoalesced(t *testing.T) {
	store := fixture()
	u := newUsage(store)
	for i := range 100 {
		k := find(t, store, "key_1")
		u.note(&k, noon.Add(time.Duration(i%50)*time.Second))
	}
	foreign := store.keys[slices.IndexFunc(store.keys, func(k Key) bool { return k.ID == "key_1" && k.InternalID == "int_2" })]
	u.note(&foreign, noon)
	u.flush(t.Context())
	if got := used(store); got != "[int_1/key_1 49s int_2/key_1 0s]" {
		t.Errorf("stored %s", got)
	}
	store.reads()
	for seconds, want := range []string{48: "", 49: "", 108: "", 109: "UseKeys"} {
		k := find(t, store, "key_1")
		u.note(&k, *at(seconds))
		u.flush(t.Context())
		if got := store.reads(); got != want {
			t.Errorf("used at %d s: got the calls %q, want %q", seconds, got, want)
		}
	}
	u.note(&Key{InternalID: "int_1"}, *at(500)) // a caller without a stored key
	u.flush(t.Context())
	if got := store.reads(); got != "" || used(store) != "[int_1/key_1 1m49s int_2/key_1 0s]" {
		t.Errorf("%s, stored %s", got, used(store))
	}
}

// The times of use of very many keys must not fill the memory.
func TestUsesAreBounded(t *testing.T) {
	store := &batches{Store: &memory{}}
	u := newUsage(store)
	key := func(i int) *Key { return &Key{InternalID: "int_1", ID: ID(fmt.Sprint(i))} }
	for i := range maxUses + 100 {
		u.note(key(i), noon)
	}
	u.note(key(0), *at(1)) // its time is updated, which takes no more memory
	store.fails = 3
	u.flush(t.Context())
	if len(u.uses) != 3*useBatch {
		t.Errorf("got %d uses kept, want those of the 3 batches that were not stored", len(u.uses))
	}
	u.flush(t.Context())
	total, newest := 0, time.Time{}
	for _, b := range store.stored {
		total += len(b)
		if len(b) > useBatch {
			t.Errorf("%d uses were stored at a time", len(b))
		}
		for _, use := range b {
			if use.At.After(newest) {
				newest = use.At
			}
		}
	}
	if total != maxUses || len(u.uses) != 0 || !newest.Equal(*at(1)) {
		t.Errorf("%d uses were stored, %d are left, the newest of %s", total, len(u.uses), newest)
	}
}

// batches records the uses that it is given, after a number of failures.
type batches struct {
	Store
	mu     sync.Mutex
	fails  int
	stored [][]Use
}

func (b *batches) UseKeys(_ context.Context, uses []Use) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fails > 0 {
		b.fails--
		return Outage(context.DeadlineExceeded)
	}
	b.stored = append(b.stored, uses)
	return nil
}

// A use that is noted while a batch is being stored is newer than the batch. It must not be replaced if the batch fails.
func TestUsesPutBackDoNotGoBack(t *testing.T) {
	store := &batches{Store: &memory{}, fails: 1}
	u := newUsage(store)
	k := &Key{InternalID: "int_1", ID: "key_1"}
	u.note(k, *at(5))
	late := u.Store
	u.Store = noting{late, func() { u.note(k, *at(9)) }}
	u.flush(t.Context())
	u.Store = late
	u.flush(t.Context())
	if len(store.stored) != 1 || !store.stored[0][0].At.Equal(*at(9)) {
		t.Errorf("stored %+v", store.stored)
	}
}

// noting does something while uses are being stored.
type noting struct {
	Store
	do func()
}

func (n noting) UseKeys(ctx context.Context, uses []Use) error {
	n.do()
	return n.Store.UseKeys(ctx, uses)
}

// Uses are stored at intervals and when the process stops.
func TestUsesAreStoredNowAndThenAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &batches{Store: &memory{}}
		u := newUsage(store)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { u.Run(ctx) })
		u.note(&Key{InternalID: "int_1", ID: "key_1"}, noon)
		time.Sleep(storeUsesEvery + 1)
		synctest.Wait()
		if len(store.stored) != 1 {
			t.Errorf("%d batches after the first interval", len(store.stored))
		}
		u.note(&Key{InternalID: "int_1", ID: "key_2"}, noon)
		stop()
		running.Wait()
		if len(store.stored) != 2 || store.stored[1][0].ID != "key_2" {
			t.Errorf("stored %+v", store.stored)
		}
	})
}

// A key counts as used when it is accepted, not when it is refused.
func TestOnlyAllowedRequestsUseAKey(t *testing.T) {
	for name, tt := range map[string]struct {
		caller Caller
		ask    func(*Service, Caller) error
		used   bool
	}{
		"a viewer": {writer(Read), func(s *Service, c Caller) error { _, err := s.Viewer(c); return err }, true},
		"a reader": {writer(Read), func(s *Service, c Caller) error {
			_, err := s.Retriever(t.Context(), c, "shop", "ret_1")
			return err
		}, true},
		"a reader of an absent retriever": {writer(Read), func(s *Service, c Caller) error {
			_, err := s.Retriever(t.Context(), c, "shop", "absent")
			return err
		}, true},
		"the trail, without admin": {writer(Read), func(s *Service, c Caller) error {
			_, err := s.AuditEvents(t.Context(), c, EventPlace{Retriever: &Retriever{ID: "ret_1"}}, EventOptions{Wants: everything})
			return err
		}, false},
		"the trail, with admin": {writer(Admin), func(s *Service, c Caller) error {
			_, err := s.AuditEvents(t.Context(), c, EventPlace{Retriever: &Retriever{ID: "ret_1"}}, EventOptions{Wants: everything})
			return err
		}, true},
		"a creation, with write": {writer(Write), func(s *Service, c Caller) error {
			return changes4[KeyCreated](t.Context(), s, c, "shop")
		}, true},
		"a creation, without write": {writer(Read), func(s *Service, c Caller) error {
			return changes4[KeyCreated](t.Context(), s, c, "shop")
		}, false},
		"a key of a retriever": {Caller{Key: &Key{ID: "key_1", Type: RetrieverKey, InternalID: "int_1", Permissions: []Permission{Admin}}}, func(s *Service, c Caller) error {
			_, err := s.Viewer(c)
			return err
		}, false},
		"without a permission": {writer(""), func(s *Service, c Caller) error {
			return changes4[KeyRevoked](t.Context(), s, c, "shop")
		}, false},
		"an operator": {NewOperator("ada", Namespace{InternalID: "int_1"}), func(s *Service, c Caller) error {
			return changes4[KeyRevoked](t.Context(), s, c, "shop")
		}, false},
	} {
		s := newService(fixture())
		s.Usage = newUsage(s.Store)
		_ = tt.ask(s, tt.caller)
		if got := len(s.Usage.uses) == 1; got != tt.used {
			t.Errorf("%s: got the uses %v", name, s.Usage.uses)
		}
	}
}
