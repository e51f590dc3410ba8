package apikey

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// noticing is a store that remembers where notices were looked for.
type noticing struct {
	*memory
	periods []string
}

func (a *noticing) ExpiringKeys(ctx context.Context, after ExpiryPosition, before time.Time, limit int) ([]Key, error) {
	if after.ID == "" { // a round begins
		a.periods = append(a.periods, fmt.Sprint(after.At.Sub(noon), " ", before.Sub(noon)))
	}
	return a.memory.ExpiringKeys(ctx, after, before, limit)
}

func expiring(n int) *memory {
	store := fixture()
	store.keys = nil
	for i := range n {
		store.keys = append(store.keys, keyOf(ID(fmt.Sprintf("key_%04d", i)), func(k *Key) { k.CreatedAt, k.ExpiresAt = after(-100*day), after(day) }))
	}
	return store
}

// Without this, every round of every process reads all keys that expire soon, or a key whose expiry was moved into the notice has no event.
func TestNoticesGoOnWhereTheyStopped(t *testing.T) {
	store := &noticing{memory: expiring(1200)} // more than two batches; 60 s of pause
	now, counted := noon, 0
	s := &Service{Store: store, Policy: Policy{ExpiryNotice: 14 * day}, Now: func() time.Time { return now }}
	n := Notices{Service: s, Logger: slog.New(slog.DiscardHandler), Count: func(keys int) { counted = keys }}
	look := func(want error) {
		t.Helper()
		if err := n.Look(t.Context()); !errors.Is(err, want) {
			t.Fatal(err)
		}
	}
	look(nil)
	if len(store.events) != 1200 || counted != 1200 {
		t.Fatalf("%d events of %d keys, want 1200", len(store.events), counted)
	}
	now = now.Add(10 * time.Second)
	look(nil)
	now = now.Add(10 * time.Second)
	store.down = Outage(errors.New("connection reset"))
	look(store.down)
	now = now.Add(time.Hour) // of the outage, in which a key comes within the notice, and another one's expiry is moved
	store.down = nil
	store.keys[0].ExpiresAt = after(14*day + time.Minute)
	store.keys[1].ExpiresAt = after(2 * day)
	n.again = now.Add(time.Second) // the next round is a small one
	look(nil)
	if len(store.events) != 1201 {
		t.Errorf("after the outage there are %d events, want one more", len(store.events))
	}
	now = now.Add(2 * time.Second)
	look(nil)
	if len(store.events) != 1202 || counted != 1200 {
		t.Errorf("%d events of %d keys, want one for the moved expiry", len(store.events), counted)
	}
	h := 14 * 24 * time.Hour
	want := fmt.Sprint([]string{
		fmt.Sprint(time.Duration(0), " ", h), fmt.Sprint(h, " ", h+10*time.Second), // what came within the notice meanwhile
		fmt.Sprint(h+10*time.Second, " ", h+20*time.Second), // the outage
		fmt.Sprint(h+10*time.Second, " ", h+time.Hour+20*time.Second),
		fmt.Sprint(time.Hour+22*time.Second, " ", h+time.Hour+22*time.Second), // all keys
	})
	if got := fmt.Sprint(store.periods); got != want {
		t.Errorf("rounds looked at\n%s, want\n%s", got, want)
	}
	if e := store.events[0]; e.Changes[0].Field != "expires_at" || *e.Changes[0].After != "2026-03-15T12:00:00.000Z" || e.NamespaceID != "ns_1" || e.ActorKeyID != nil {
		t.Errorf("an event is %+v", e)
	}
}

// Only keys that somebody must act on have an event.
func TestKeysWithoutNotice(t *testing.T) {
	store := expiring(8)
	for i, edit := range []func(*Key){
		func(*Key) {},
		func(k *Key) { k.CreatedAt = nil },                  // it may be old
		func(k *Key) { k.RotatedTo = new(ID("key_other")) }, // it is replaced
		func(k *Key) { k.CreatedAt = after(-13 * day) },     // its whole life is as long as the notice
		func(k *Key) { k.ExpiresAt = after(14 * day) },      // later
		func(k *Key) { k.ExpiresAt = after(0) },             // it has expired
		func(k *Key) { k.RevokedAt, k.Stored = at(0), Revoked },
		func(k *Key) { k.ExpiresAt = nil },
	} {
		edit(&store.keys[i])
	}
	s := newService(store)
	s.Policy.ExpiryNotice = 14 * day
	n := Notices{Service: s, Count: func(int) {}}
	for range 3 { // again, and as another process
		n.again = time.Time{}
		if err := n.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var about []string
	for _, e := range store.events {
		about = append(about, e.ResourceID)
	}
	if fmt.Sprint(about) != "[key_0000 key_0001]" {
		t.Errorf("events about %v", about)
	}
	s.Policy.ExpiryNotice = 20 * day // another notice is another event
	if err := (&Notices{Service: s, Count: func(int) {}}).Look(t.Context()); err != nil || len(store.events) != 5 {
		t.Errorf("with a longer notice there are %d events, %v, want 5", len(store.events), err)
	}
}

// The loop goes on after an outage, ends with its context, and does nothing without a notice.
func TestNoticesRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{keys: []Key{keyOf("key_1", func(k *Key) { k.CreatedAt, k.ExpiresAt = new(time.Now().Add(-100*day)), new(time.Now().Add(15*day)) })}}
		store.down = Outage(errors.New("connection reset"))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			(&Notices{Service: &Service{Store: store, Policy: Policy{ExpiryNotice: 14 * day}}, Logger: slog.New(slog.DiscardHandler), Count: func(int) {}}).Run(ctx)
			close(done)
		}()
		time.Sleep(time.Hour)
		synctest.Wait()
		store.mu.Lock()
		store.down = nil
		store.mu.Unlock()
		time.Sleep(25 * time.Hour)
		synctest.Wait()
		cancel()
		<-done
		if len(store.events) != 1 {
			t.Errorf("%d events, want 1", len(store.events))
		}
		(&Notices{Service: &Service{Store: store}}).Run(t.Context()) // returns
	})
}
