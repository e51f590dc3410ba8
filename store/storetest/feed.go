package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
	"retrieverkeys/store/document"
)

// Follower follows the feed of a tenant as a client does: from page to page, with nothing but the place of the last one.
type Follower struct {
	Tenant apikey.InternalID
	At     apikey.FeedPlace
	Events []apikey.Event // in the order of the feed
}

// Read reads the next page.
func (f *Follower) Read(ctx context.Context, s apikey.Store, limit int) (apikey.FeedPage, error) {
	page, err := s.ArrivedEvents(ctx, f.Tenant, apikey.FeedRange{After: f.At, Limit: limit})
	if err != nil {
		return page, err
	}
	last := f.At
	for _, e := range page.Events {
		place := apikey.FeedPlace{Arrival: e.Arrival, ID: e.ID}
		if place.Compare(last) <= 0 {
			return page, fmt.Errorf("the event at %v is after %v", place, last)
		}
		last = place
		f.Events = append(f.Events, e.Event)
	}
	if len(page.Events) > limit || page.Next.Compare(last) < 0 || page.Unknown {
		return page, fmt.Errorf("%d events of at most %d, the last at %v, the next after %v, unknown %t", len(page.Events), limit, last, page.Next, page.Unknown)
	}
	f.At = page.Next
	return page, nil
}

// ReadAll reads until the feed has had all of these events. Events that were stored a moment ago can come a moment later.
func (f *Follower) ReadAll(t testing.TB, s apikey.Store, limit int, want []apikey.EventID) {
	t.Helper()
	for began := time.Now(); ; {
		page, err := f.Read(t.Context(), s, limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Events) > 0 {
			continue
		}
		missing := f.Missing(want)
		if len(missing) == 0 {
			return
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("the feed has %d events and misses %d of %d: %v", len(f.Events), len(missing), len(want), missing[:min(len(missing), 10)])
		}
	}
}

// Missing returns those of the ids that the feed did not have.
func (f *Follower) Missing(want []apikey.EventID) (missing []apikey.EventID) {
	had := map[apikey.EventID]bool{}
	for _, e := range f.Events {
		had[e.ID] = true
	}
	for _, id := range want {
		if !had[id] {
			missing = append(missing, id)
		}
	}
	return missing
}

// ids returns the ids of events, sorted.
func eventIDs(events []apikey.Event) []apikey.EventID {
	all := make([]apikey.EventID, len(events))
	for i := range events {
		all[i] = events[i].ID
	}
	slices.Sort(all)
	return all
}

func mustInsertEvents(t *testing.T, e store.Engine, events ...apikey.Event) {
	t.Helper()
	for _, event := range events {
		if err := e.InsertEvent(t.Context(), event); err != nil {
			t.Fatal(err)
		}
	}
}

// shuffledEvents returns events whose timestamps and ids are in another order than they are.
func shuffledEvents(tenant apikey.InternalID, prefix string, n int) []apikey.Event {
	random := rand.New(rand.NewPCG(1, uint64(n))) //nolint:gosec // a test's
	events := make([]apikey.Event, n)
	for i, place := range random.Perm(n) {
		events[i] = newEvent(fmt.Sprintf("%s_%04d", prefix, place), "key_1", instant.Add(time.Duration(random.IntN(600)-300)*time.Second))
		events[i].InternalID = tenant
	}
	return events
}

// feed: The feed must have every event of the tenant once, complete, in an order that does not change, whatever the timestamps and ids are, and
// in pages of any size. Otherwise a program that keeps a copy of the trail would miss events.
func feed(t *testing.T, e store.Engine) {
	if page, err := e.ArrivedEvents(t.Context(), "int_feed", apikey.FeedRange{Limit: 10}); err != nil || len(page.Events) > 0 || page.Next != (apikey.FeedPlace{}) {
		t.Errorf("an empty feed: %+v, %v", page, err)
	}
	events, others := shuffledEvents("int_feed", "evt", 60), shuffledEvents("int_other", "other", 20)
	for i := range events {
		mustInsertEvents(t, e, events[i])
		if i < len(others) {
			mustInsertEvents(t, e, others[i])
		}
	}
	first := Follower{Tenant: "int_feed"}
	first.ReadAll(t, e, 1000, eventIDs(events))
	byID := func(a, b apikey.Event) int { return compareTexts(a.ID, b.ID) }
	got := slices.Clone(first.Events)
	slices.SortFunc(got, byID)
	want := slices.Clone(events)
	slices.SortFunc(want, byID)
	equal(t, "the feed", want, got, nil)
	for _, limit := range []int{1, 7, 59, 60, 61} {
		f := Follower{Tenant: "int_feed"}
		f.ReadAll(t, e, limit, eventIDs(events))
		equal(t, fmt.Sprintf("the feed in pages of %d", limit), first.Events, f.Events, nil)
	}
	// From the place of any event, the feed has all later ones.
	for i := range first.Events {
		f := Follower{Tenant: "int_feed"}
		for range i + 1 {
			if _, err := f.Read(t.Context(), e, 1); err != nil {
				t.Fatal(err)
			}
		}
		if page, err := f.Read(t.Context(), e, 1000); err != nil || len(page.Events) != len(events)-i-1 {
			t.Fatalf("after event %d there are %d events, %v", i, len(page.Events), err)
		}
		if i == 5 {
			break
		}
	}
	nobody := Follower{Tenant: "int_nobody"}
	if page, err := nobody.Read(t.Context(), e, 10); err != nil || len(page.Events) > 0 {
		t.Errorf("another tenant's feed: %+v, %v", page, err)
	}
}

func compareTexts[T ~string](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	default:
		return 0
	}
}

// feedOfConcurrentEvents: A reader that is always at the end of the feed must get every event while several processes store them. Otherwise an
// event would stay behind a place that was read already.
func feedOfConcurrentEvents(t *testing.T, e store.Engine) {
	const writers = 4
	events := shuffledEvents("int_feed", "evt", 80)
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		wg.Go(func() {
			for i := w; i < len(events) && errs[w] == nil; i += writers {
				errs[w] = e.InsertEvent(t.Context(), events[i])
			}
		})
	}
	f := Follower{Tenant: "int_feed"}
	f.ReadAll(t, e, 3, eventIDs(events))
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if len(f.Events) != len(events) {
		t.Errorf("the feed had %d events, want each of %d once", len(f.Events), len(events))
	}
}

// feedOfRepeatedEvents: An event that is stored again must stay as it was, and no other event may lose its place because of it. Otherwise a
// reader would see two versions of one event, or miss one.
func feedOfRepeatedEvents(t *testing.T, e store.Engine) {
	events := shuffledEvents("int_feed", "evt", 10)
	mustInsertEvents(t, e, events...)
	f := Follower{Tenant: "int_feed"}
	f.ReadAll(t, e, 4, eventIDs(events))
	changed := events[3]
	changed.ActorID = "usr_changed"
	mustInsertEvents(t, e, changed)
	late := shuffledEvents("int_feed", "late", 3)
	mustInsertEvents(t, e, late[0], events[5], late[1], events[0], late[2])
	f.ReadAll(t, e, 2, append(eventIDs(events), eventIDs(late)...))
	for _, event := range f.Events {
		if event.ActorID == "usr_changed" {
			t.Errorf("the event was overwritten: %+v", event)
		}
	}
	if again := f.Events[10:]; len(again) > 6 {
		t.Errorf("%d events came again", len(again)-3)
	}
}

// feedSince: A feed since an instant must begin with the first event to arrive that happened then or later, and everything that arrived after it must follow.
// Otherwise a program that begins today would get all of the past, or would miss an event of a process whose clock is slow.
func feedSince(t *testing.T, e store.Engine) {
	at := func(id string, minutes int) apikey.Event {
		event := newEvent(id, "key_1", instant.Add(time.Duration(minutes)*time.Minute))
		event.InternalID = "int_feed"
		return event
	}
	f := Follower{Tenant: "int_feed"}
	var want []apikey.EventID
	for i, event := range []apikey.Event{at("evt_a", 0), at("evt_b", 10), at("evt_c", 5), at("evt_d", 20), at("evt_e", -60)} {
		mustInsertEvents(t, e, event)
		want = append(want, event.ID)
		f.ReadAll(t, e, 10, want) // each arrives later than the one before
		if len(f.Events) != i+1 {
			t.Fatalf("the feed has %d events, want %d", len(f.Events), i+1)
		}
	}
	for _, c := range []struct {
		since time.Time
		want  []apikey.EventID
	}{
		{instant.AddDate(-1, 0, 0), want},
		{instant, want},
		{instant.Add(time.Microsecond), want[1:]},
		{instant.Add(6 * time.Minute), want[1:]},
		{instant.Add(11 * time.Minute), want[3:]},
		{instant.Add(20 * time.Minute), want[3:]},
		{instant.Add(21 * time.Minute), nil},
	} {
		page, err := e.ArrivedEvents(t.Context(), "int_feed", apikey.FeedRange{Since: &c.since, Limit: 10})
		var got []apikey.EventID
		for _, event := range page.Events {
			got = append(got, event.ID)
		}
		equal(t, "the feed since "+c.since.String(), c.want, got, err)
		if page.Next != f.At {
			t.Errorf("since %v: the feed goes on after %v, want %v", c.since, page.Next, f.At)
		}
	}
	empty, err := e.ArrivedEvents(t.Context(), "int_nobody", apikey.FeedRange{Since: &instant, Limit: 10})
	equal(t, "an empty feed since an instant", apikey.FeedPage{}, empty, err)
}

// feedOfImportedEvents: Events that imported keys carry must be in the feed after everything that was read before the import.
func feedOfImportedEvents(t *testing.T, e store.Engine) {
	mustInsertEvents(t, e, newEvent("evt_before", "key_1", instant))
	f := Follower{Tenant: OddTenant}
	f.ReadAll(t, e, 10, []apikey.EventID{"evt_before"})
	old := newEvent("evt_imported", "key_old", instant.AddDate(-3, 0, 0))
	carrier, err := document.Carrying(encode(completeKey("key_old")), old)
	if err != nil {
		t.Fatal(err)
	}
	mustImport(t, e, document.Batch{Keys: []bson.Raw{carrier}})
	f.ReadAll(t, e, 10, []apikey.EventID{"evt_imported"})
}

// oldEvents: Old events must be deleted in steps, from every list, and no others. A reader that has not seen one must be able to notice that it
// was deleted. New events must come after all that were deleted: otherwise a reader that is up to date would miss them.
func oldEvents(t *testing.T, e store.Engine) {
	var events []apikey.Event
	for i := range 10 {
		event := newEvent(fmt.Sprintf("evt_%d", i), "key_1", instant.Add(time.Duration(i)*time.Hour))
		event.InternalID = "int_feed"
		events = append(events, event)
	}
	other := newEvent("evt_other", "key_1", instant)
	other.InternalID = "int_other"
	mustInsertEvents(t, e, other)
	f := Follower{Tenant: "int_feed"}
	var places []apikey.FeedPlace
	for i := range events {
		mustInsertEvents(t, e, events[i])
		f.ReadAll(t, e, 10, eventIDs(events[:i+1]))
		places = append(places, f.At)
	}
	tenants, err := e.TenantsOfEvents(t.Context())
	slices.Sort(tenants)
	equal(t, "the tenants of events", []apikey.InternalID{"int_feed", "int_other"}, tenants, err)

	before := instant.Add(5 * time.Hour)
	for step, want := range []struct {
		left int
		more bool
	}{{8, true}, {6, true}, {5, false}, {5, false}} {
		more, err := e.DeleteEvents(t.Context(), "int_feed", before, 2)
		n, counted := e.CountEvents(t.Context(), "int_feed", apikey.EventConditions{})
		if err != nil || counted != nil || more != want.more || n != want.left {
			t.Fatalf("step %d: more %t, %v, then %d events, %v, want %+v", step, more, err, n, counted, want)
		}
	}
	slices.Reverse(events)
	list := func(where apikey.EventConditions) []apikey.Event {
		page, err := e.EventPage(t.Context(), "int_feed", apikey.EventList{Where: where, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		return page
	}
	equal(t, "the list", events[:5], list(apikey.EventConditions{}), nil)
	equal(t, "the retriever's list", events[:5], list(apikey.EventConditions{Naming: []apikey.RetrieverID{OddRetriever}}), nil)
	if n, err := e.CountEvents(t.Context(), "int_other", apikey.EventConditions{}); err != nil || n != 1 {
		t.Errorf("another tenant has %d events, %v, want 1", n, err)
	}

	for i, place := range places {
		page, err := e.ArrivedEvents(t.Context(), "int_feed", apikey.FeedRange{After: place, Limit: 100})
		if err != nil || page.Unknown || len(page.Events) != min(9-i, 5) {
			t.Errorf("after event %d: %+v, %v", i, page, err)
		}
		if missed := page.Deleted.Compare(place) > 0; missed != (i < 4) {
			t.Errorf("after event %d: the last that was deleted is at %v, which is after %v: %t", i, page.Deleted, place, missed)
		}
	}
	// All are deleted, except one that the store can need, and the reader goes on.
	if _, err := e.DeleteEvents(t.Context(), "int_feed", instant.AddDate(1, 0, 0), 100); err != nil {
		t.Fatal(err)
	}
	if n, err := e.CountEvents(t.Context(), "int_feed", apikey.EventConditions{}); err != nil || n > 1 {
		t.Errorf("%d events are left, %v", n, err)
	}
	page, err := f.Read(t.Context(), e, 10)
	if err != nil || len(page.Events) > 0 || page.Deleted.Compare(f.At) > 0 {
		t.Errorf("at the end: %+v, %v", page, err)
	}
	next := newEvent("evt_next", "key_1", instant)
	next.InternalID = "int_feed"
	mustInsertEvents(t, e, next)
	f.ReadAll(t, e, 10, []apikey.EventID{"evt_next"})
	if last := f.Events[len(f.Events)-1]; last.ID != "evt_next" || len(f.Events) != 11 {
		t.Errorf("the reader got %d events, the last is %s", len(f.Events), last.ID)
	}
	if _, err := e.DeleteEvents(t.Context(), "int_nobody", instant, 10); err != nil {
		t.Errorf("a tenant without events: %v", err)
	}
}
