package apikey

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// following runs a test in a bubble, where time is simulated, with a Live that reads a store.
func following(t *testing.T, most int, test func(t *testing.T, store *memory, s *Service)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store := fixture()
		s := &Service{Store: store, Live: &Live{Store: store, Logger: silent, Most: most}}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { s.Live.Run(ctx) })
		defer func() { stop(); running.Wait() }()
		test(t, store, s)
	})
}

// happened stores an event of int_1 that happened some time ago.
func (m *memory) happened(id EventID, ago time.Duration, with ...func(*Event)) {
	e := Event{ID: id, InternalID: "int_1", Timestamp: time.Now().Add(-ago), Action: KeyCreated}
	for _, change := range with {
		change(&e)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, e)
}

func (m *memory) breaks(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = err
}

func mustFollow(t *testing.T, s *Service, c Caller, filter EventFilter) *Follower {
	t.Helper()
	f, err := s.FollowEvents(t.Context(), c, filter)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// told returns the ids of all events that the follower has now.
func told(t *testing.T, f *Follower) (ids []EventID) {
	t.Helper()
	for {
		e, err := f.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			return ids
		}
		ids = append(ids, e.ID)
	}
}

// look passes the time until the store has been read again.
func look() {
	time.Sleep(lookEvery)
	synctest.Wait()
}

// Without this, a follower misses an event that is slow to reach the store, gets one twice, or gets what happened before it came.
func TestFollowersGetEachEventOnce(t *testing.T) {
	following(t, 100, func(t *testing.T, store *memory, s *Service) {
		store.happened("evt_before", time.Second)
		f := mustFollow(t, s, admin(), EventFilter{})
		defer f.Close()
		for i, ago := range []time.Duration{0, 900 * time.Millisecond, 3900 * time.Millisecond, -time.Hour, 0, 0, 0, 0, 0, 0, 0} {
			id := EventID(fmt.Sprint("evt_", i))
			store.happened(id, ago)
			if look(); !slices.Equal(told(t, f), []EventID{id}) {
				t.Errorf("an event that was stored %v after it happened is not delivered once", ago)
			}
		}
	})
}

// Without this, a burst of events that one read does not return is lost or comes in any order.
func TestFollowersGetLongBurstsInOrder(t *testing.T) {
	following(t, 100, func(t *testing.T, store *memory, s *Service) {
		f := mustFollow(t, s, admin(), EventFilter{})
		defer f.Close()
		var want []EventID
		for i := range 3500 {
			want = append(want, EventID(fmt.Sprintf("evt_%04d", i)))
			store.happened(want[i], time.Second-time.Duration(i)*time.Microsecond)
		}
		if look(); !slices.Equal(told(t, f), want) {
			t.Error("not all events in their order")
		}
	})
}

// Without this, followers see what they did not ask for, or what belongs to others.
func TestFollowersGetWhatTheyAskFor(t *testing.T) {
	following(t, 100, func(t *testing.T, store *memory, s *Service) {
		all := mustFollow(t, s, admin(), EventFilter{})
		defer all.Close()
		about := mustFollow(t, s, admin(), EventFilter{KeyID: new("key_2"), Action: []string{string(KeyRevoked)}})
		defer about.Close()
		store.happened("evt_1", 0)
		store.happened("evt_2", 0, func(e *Event) { e.ResourceID, e.Action = "key_2", KeyRevoked })
		store.happened("evt_3", 0, func(e *Event) { e.ResourceID = "key_2" })
		store.happened("evt_foreign", 0, func(e *Event) { e.InternalID, e.ResourceID, e.Action = "int_2", "key_2", KeyRevoked })
		look()
		if got := told(t, all); !slices.Equal(got, []EventID{"evt_1", "evt_2", "evt_3"}) {
			t.Errorf("all: %v", got)
		}
		if got := told(t, about); !slices.Equal(got, []EventID{"evt_2"}) {
			t.Errorf("those about key_2: %v", got)
		}
	})
}

// Without this, each open page costs the store one query more every second, and so do organizations that nobody follows.
func TestFollowersShareTheirReads(t *testing.T) {
	following(t, 400, func(t *testing.T, store *memory, s *Service) {
		reads := func() int {
			store.reads()
			time.Sleep(10 * lookEvery)
			synctest.Wait()
			defer store.reads()
			return len(store.calls)
		}
		if n := reads(); n != 0 {
			t.Errorf("%d reads in 10 s that nobody follows", n)
		}
		var open []*Follower
		for range 100 {
			open = append(open, mustFollow(t, s, admin(), EventFilter{}))
		}
		if n := reads(); n != 10 {
			t.Errorf("%d reads in 10 s for 100 followers, want 10", n)
		}
		for _, f := range open {
			f.Close()
			f.Close()
		}
		if n := reads(); n != 0 || s.Live.open != 0 || len(s.Live.trails) != 0 {
			t.Errorf("%d reads in 10 s after all have left, %d are open", n, s.Live.open)
		}
	})
}

// Without this, one organization takes all streams, and a process any number.
func TestFollowersAreLimited(t *testing.T) {
	following(t, 8, func(t *testing.T, store *memory, s *Service) {
		c := admin()
		refused := func(wantMessage string) {
			t.Helper()
			_, err := s.FollowEvents(t.Context(), c, EventFilter{})
			e := Classify(err)
			if e.Code != Unavailable || e.Limit != "MAX_STREAMS" || e.Message != wantMessage || e.RetryAfter == 0 {
				t.Errorf("%v, want %s", err, wantMessage)
			}
		}
		var open []*Follower
		for org := range 4 {
			c.Key.InternalID = InternalID(fmt.Sprint("int_", org))
			for range 2 {
				open = append(open, mustFollow(t, s, c, EventFilter{}))
			}
			if org < 3 {
				refused("Your organization has all the open streams that it may have: 2 (MAX_STREAMS). Close one, or try again later.")
			}
		}
		c.Key.InternalID = "int_9"
		refused("This server has all the open streams that it may have: 8 (MAX_STREAMS). Close one, or try again later.")
		open[0].Close()
		mustFollow(t, s, c, EventFilter{}).Close()
	})
}

// Without this, a follower that takes nothing holds all events of its organization in memory, and nobody tells it that it lost some.
func TestFollowersThatFallBehindEnd(t *testing.T) {
	following(t, 100, func(t *testing.T, store *memory, s *Service) {
		slow, quick := mustFollow(t, s, admin(), EventFilter{}), mustFollow(t, s, admin(), EventFilter{})
		defer slow.Close()
		defer quick.Close()
		n := 0
		burst := func(events int) {
			for range events {
				n++
				store.happened(EventID(fmt.Sprintf("evt_%06d", n)), 0)
			}
			look()
		}
		burst(mostBehind)
		told(t, quick)
		burst(mostBehind) // the slow one had 1,000 left, which is not too many
		if got := len(told(t, quick)); got != mostBehind || slow.behind != 2*mostBehind {
			t.Errorf("%d told, %d left", got, slow.behind)
		}
		burst(1)
		if e, err := slow.Next(); e != nil || !errors.Is(err, ErrBehind) || Classify(err).Code != Unavailable || slow.batches != nil {
			t.Errorf("%v, %v", e, err)
		}
		if got := len(told(t, quick)); got != 1 {
			t.Errorf("the quick one gets %d", got)
		}
		burst(mostRecent + 1) // nobody can keep up
		if e, err := quick.Next(); e != nil || !errors.Is(err, ErrBehind) {
			t.Errorf("%v, %v", e, err)
		}
	})
}

// Without this, a short failure of the store costs every stream, or a long one leaves streams that look alive and miss events.
func TestFollowersLearnOfOutages(t *testing.T) {
	following(t, 100, func(t *testing.T, store *memory, s *Service) {
		f := mustFollow(t, s, admin(), EventFilter{})
		defer f.Close()
		look()
		store.breaks(Outage(errors.New("connection refused")))
		store.happened("evt_1", 0)
		time.Sleep(3 * lookEvery)
		store.happened("evt_2", 0)
		store.breaks(nil)
		if look(); !slices.Equal(told(t, f), []EventID{"evt_1", "evt_2"}) {
			t.Error("events of a short outage are lost")
		}
		store.breaks(Outage(errors.New("connection refused")))
		time.Sleep(outageAfter + lookEvery)
		synctest.Wait()
		if e, err := f.Next(); e != nil || Classify(err).Code != Unavailable || errors.Is(err, ErrBehind) {
			t.Errorf("%v, %v", e, err)
		}
		if _, err := s.FollowEvents(t.Context(), admin(), EventFilter{}); Classify(err).Code != Unavailable {
			t.Errorf("a new follower: %v", err)
		}
		store.breaks(nil)
		again := mustFollow(t, s, admin(), EventFilter{})
		defer again.Close()
		store.happened("evt_3", 0)
		if look(); !slices.Equal(told(t, again), []EventID{"evt_3"}) || s.Live.open != 2 {
			t.Error("a follower after the outage gets nothing")
		}
	})
}

// Without this, a client that connects again during an outage gets nothing, and no error either, because the read that fails last forgets it.
func TestFollowersThatComeBackDuringAnOutageAreServed(t *testing.T) {
	following(t, 100, func(t *testing.T, store *memory, s *Service) {
		gone := mustFollow(t, s, admin(), EventFilter{})
		old := gone.trail
		gone.Close()
		back := mustFollow(t, s, admin(), EventFilter{})
		defer back.Close()
		store.breaks(Outage(errors.New("connection refused")))
		old.looked = time.Now().Add(-outageAfter)
		s.Live.advance(t.Context(), old) // a read that began before the client left
		store.breaks(nil)
		store.happened("evt_1", 0)
		if look(); !slices.Equal(told(t, back), []EventID{"evt_1"}) {
			t.Error("a follower that came back gets nothing")
		}
	})
}

// Without this, callers follow events that they may not list, or ask for something that nobody answers.
func TestFollowingIsForAdmins(t *testing.T) {
	following(t, 100, func(t *testing.T, store *memory, s *Service) {
		cases := map[string]Caller{"": admin(), "FORBIDDEN": reader(), "UNAUTHENTICATED": {}}
		for want, c := range cases {
			f, err := s.FollowEvents(t.Context(), c, EventFilter{})
			if got := codeAndField(t, err); got != want {
				t.Errorf("%q, want %q", got, want)
			}
			if f != nil {
				f.Close()
			}
		}
		scoped := admin()
		scoped.Key.Scopes = []Scope{on(ResourceNamespace, "ns_1")}
		if _, err := s.FollowEvents(t.Context(), scoped, EventFilter{}); codeAndField(t, err) != "FORBIDDEN" {
			t.Errorf("scopes: %v", err)
		}
		if _, err := s.FollowEvents(t.Context(), admin(), EventFilter{ActorID: new(strings.Repeat("x", 201))}); codeAndField(t, err) != "BAD_USER_INPUT filter.actorId" {
			t.Errorf("a filter that is too long: %v", err)
		}
		if s.Live.open != 0 {
			t.Errorf("%d are open", s.Live.open)
		}
	})
}

// Without this, a key that was revoked, or whose rights were taken, follows events for as long as its stream is open.
func TestFollowingIsCheckedAgain(t *testing.T) {
	own := Key{ID: "key_own", Hash: "h", InternalID: "int_1", Type: Standard, Stored: Active, Permissions: []Permission{Admin}, AllowedOrigins: []string{"https://a.example"}}
	for _, c := range []struct {
		name, want string
		change     func(*Key)
	}{
		{"nothing", "", func(*Key) {}},
		{"revoked", "UNAUTHENTICATED", func(k *Key) { k.Stored = Revoked }},
		{"expired", "UNAUTHENTICATED", func(k *Key) { k.ExpiresAt = new(time.Unix(1, 0)) }},
		{"gone", "UNAUTHENTICATED", func(k *Key) { k.Hash = "other" }},
		{"moved", "UNAUTHENTICATED", func(k *Key) { k.InternalID = "int_2" }},
		{"demoted", "FORBIDDEN", func(k *Key) { k.Permissions = []Permission{Delete} }},
		{"scoped", "FORBIDDEN", func(k *Key) { k.Scopes = []Scope{on(ResourceNamespace, "ns_1")} }},
		{"other origins", "FORBIDDEN", func(k *Key) { k.AllowedOrigins = []string{"https://b.example"} }},
		{"another type", "FORBIDDEN", func(k *Key) { k.Type = RetrieverKey }},
	} {
		now := own
		c.change(&now)
		s := &Service{Store: &memory{keys: []Key{now}}}
		if got := codeAndField(t, s.MayStillFollow(t.Context(), Caller{Key: &own}, "https://a.example")); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	down := &Service{Store: &memory{down: Outage(errors.New("x"))}}
	if got := codeAndField(t, down.MayStillFollow(t.Context(), Caller{Key: &own}, "")); got != "UNAVAILABLE" {
		t.Errorf("an outage: %q", got)
	}
}

// Without this, followers that come and go at any moment leave something behind, or one of them spoils the stream of another.
func TestFollowersComeAndGo(t *testing.T) {
	following(t, 1000, func(t *testing.T, store *memory, s *Service) {
		store.delay = 10 * time.Millisecond
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				store.happened(EventID(fmt.Sprint("evt_", i)), 0)
				if i%50 == 40 {
					store.breaks(Outage(errors.New("x")))
				}
				if i%50 == 49 {
					store.breaks(nil)
				}
				time.Sleep(200 * time.Millisecond)
			}
		})
		var others sync.WaitGroup
		for i := range 200 {
			c := admin()
			c.Key.InternalID = InternalID(fmt.Sprint("int_", i%5))
			others.Go(func() {
				for range 50 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(30))*time.Millisecond)
					f, err := s.FollowEvents(ctx, c, EventFilter{})
					if err == nil {
						select {
						case <-f.More():
						case <-time.After(time.Duration(rand.IntN(3000)) * time.Millisecond):
						}
						_, _ = f.Next()
						f.Close()
					} else if Classify(err).Code != Unavailable {
						t.Error(err)
					}
					cancel()
				}
			})
		}
		others.Wait()
		stop()
		running.Wait()
		if s.Live.open != 0 || len(s.Live.trails) != 0 {
			t.Errorf("%d followers, %d organizations are left", s.Live.open, len(s.Live.trails))
		}
	})
}
