package apikey

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// ArrivedEvents numbers the events as they were stored.
func (m *memory) ArrivedEvents(ctx context.Context, tenant InternalID, r FeedRange) (page FeedPage, err error) {
	if err := m.read(ctx, fmt.Sprintf("ArrivedEvents(%d)", r.Limit)); err != nil {
		return page, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	page.Next, page.Deleted, page.Unknown = r.After, m.deleted, r.After.Arrival > int64(len(m.events))
	if r.Since != nil {
		page.Next.Arrival = int64(slices.IndexFunc(m.events, func(e Event) bool { return !e.Timestamp.Before(*r.Since) }))
	}
	for i := page.Next.Arrival; i < int64(len(m.events)) && len(page.Events) < r.Limit; i++ {
		page.Next = FeedPlace{i + 1, m.events[i].ID}
		if e := m.events[i]; e.InternalID == tenant {
			page.Events = append(page.Events, ArrivedEvent{e, i + 1})
		}
	}
	return page, nil
}

func (m *memory) TenantsOfEvents(ctx context.Context) (tenants []InternalID, err error) {
	if err := m.read(ctx, "TenantsOfEvents"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.events {
		tenants = append(tenants, m.events[i].InternalID)
	}
	return distinct(tenants), nil
}

func (m *memory) DeleteEvents(ctx context.Context, tenant InternalID, before time.Time, limit int) (more bool, err error) {
	if err := m.read(ctx, fmt.Sprintf("DeleteEvents(%s, %s, %d)", tenant, before.Format(time.DateOnly), limit)); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	m.events = slices.DeleteFunc(m.events, func(e Event) bool {
		old := n < limit && e.InternalID == tenant && e.Timestamp.Before(before)
		if old {
			n++
		}
		return old
	})
	return n == limit, nil
}

// holding returns a caller of int_1 with these permissions.
func holding(permissions ...Permission) Caller {
	c := reader()
	c.Key.Permissions = permissions
	return c
}

func arrived(n int) []Event {
	events := make([]Event, n)
	for i := range events {
		events[i] = Event{ID: EventID(fmt.Sprintf("evt_%d", i)), InternalID: "int_1", Timestamp: frozen().Add(time.Duration(i) * time.Minute)}
	}
	return events
}

// A client must get every event by following the cursor, from the start, from the cursor of any line, and since an instant. Otherwise its copy of the
// trail would have holes.
func TestFeedIsFollowedByItsCursors(t *testing.T) {
	const n = 10
	store := &memory{events: arrived(n)}
	s := newService(store)
	ctx, admin := t.Context(), holding(Admin)
	follow := func(after string, limit int) (ids []EventID) {
		t.Helper()
		for {
			page, err := s.Feed(ctx, admin, FeedOptions{After: after, Limit: limit})
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Events) == 0 {
				if page.Next() != after && after != "" {
					t.Errorf("an empty page goes on after %s, want %s", page.Next(), after)
				}
				return ids
			}
			for i := range page.Events {
				ids = append(ids, page.Events[i].ID)
			}
			if last := string(page.AppendCursor(nil, len(page.Events)-1)); last != page.Next() {
				t.Errorf("the last line has the cursor %s, the page %s", last, page.Next())
			}
			after = page.Next()
		}
	}
	whole, err := s.Feed(ctx, admin, FeedOptions{Limit: MaxFeedPage})
	if err != nil || len(whole.Events) != n {
		t.Fatal(whole, err)
	}
	for _, limit := range []int{1, 3, n, MaxFeedPage} {
		if ids := follow("", limit); len(ids) != n {
			t.Errorf("in pages of %d: %v", limit, ids)
		}
	}
	for i := range n {
		if ids := follow(string(whole.AppendCursor(nil, i)), 2); len(ids) != n-1-i {
			t.Errorf("after line %d: %v", i, ids)
		}
	}
	since := frozen().Add(7 * time.Minute)
	for after, want := range map[string]int{"": 3, string(whole.AppendCursor(nil, 1)): 8} {
		if page, err := s.Feed(ctx, admin, FeedOptions{After: after, Since: &since, Limit: n}); err != nil || len(page.Events) != want {
			t.Errorf("since, after %q: %v, %v, want %d events", after, page, err, want)
		}
	}
}

// A cursor of a place from which events were deleted must be an error. A client that has seen them all, and one that starts, must go on.
// Otherwise a client would miss events without noticing, or could never start.
func TestFeedSaysWhatIsNotKept(t *testing.T) {
	store := &memory{events: arrived(4)}
	s := newService(store)
	ctx, admin := t.Context(), holding(Admin)
	whole, err := s.Feed(ctx, admin, FeedOptions{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	store.deleted = FeedPlace{Arrival: 3}
	for i := range 4 {
		_, err := s.Feed(ctx, admin, FeedOptions{After: string(whole.AppendCursor(nil, i)), Limit: 10})
		if gone := errors.Is(err, ErrEventsDeleted); gone != (i+1 < 3) || !gone && err != nil {
			t.Errorf("after line %d: %v", i, err)
		}
	}
	// What was deleted before the first page was read is not missed.
	store.deleted = FeedPlace{Arrival: 9, ID: "evt_x"}
	page, err := s.Feed(ctx, admin, FeedOptions{Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, cursor := range []string{string(page.AppendCursor(nil, 0)), page.Next()} {
		if _, err := s.Feed(ctx, admin, FeedOptions{After: cursor, Limit: 10}); err != nil {
			t.Errorf("after the first page: %v", err)
		}
	}
	empty, err := newService(&memory{deleted: store.deleted}).Feed(ctx, admin, FeedOptions{Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Feed(ctx, admin, FeedOptions{After: empty.Next(), Limit: 10}); err != nil {
		t.Errorf("after an empty feed: %v", err)
	}
	store.deleted.Arrival++
	for _, cursor := range []string{page.Next(), empty.Next()} {
		if _, err := s.Feed(ctx, admin, FeedOptions{After: cursor, Limit: 10}); !errors.Is(err, ErrEventsDeleted) {
			t.Errorf("after one more deletion: %v", err)
		}
	}
	later := feedCursor{after: FeedPlace{Arrival: 99, ID: "evt_99"}}
	if _, err := s.Feed(ctx, admin, FeedOptions{After: later.text("int_1"), Limit: 10}); !errors.Is(err, ErrFeedReplaced) {
		t.Errorf("a place that the store does not have: %v", err)
	}
}

// A cursor must be refused if it is not exactly one of the organization's feed. Otherwise a mistake would look like an empty feed.
func TestFeedRefusesOtherCursors(t *testing.T) {
	s := newService(&memory{events: arrived(4)})
	good := feedCursor{after: FeedPlace{Arrival: 2, ID: "evt_1"}, deleted: FeedPlace{Arrival: 3}}
	text := good.text("int_1")
	if _, err := s.Feed(t.Context(), holding(Admin), FeedOptions{After: text, Limit: 1}); err != nil {
		t.Fatal(err)
	}
	of := position{kind: events, value: "12345678", id: "evt_1"}
	negative := feedCursor{after: FeedPlace{Arrival: -1}}
	unread := feedCursor{after: FeedPlace{Arrival: 2, ID: "\xff"}}
	wrong := []string{
		good.text("int_2"), of.cursor(), negative.text("int_1"), unread.text("int_1"), text + "=", text + "A", text[:len(text)-1], " " + text, text + "\n",
		"x", "AAAA", strings.Repeat("A", maxCursor+4), "\xff", base64.StdEncoding.EncodeToString([]byte(text)),
	}
	for i := range text {
		changed := []byte(text)
		if changed[i]++; changed[i] == text[i] {
			continue
		}
		wrong = append(wrong, string(changed))
	}
	for _, after := range wrong {
		_, err := s.Feed(t.Context(), holding(Admin), FeedOptions{After: after, Limit: 1})
		if e := Classify(err); err == nil || e.Code != BadUserInput || e.Field != "after" || errors.Is(err, ErrEventsDeleted) {
			t.Errorf("after %q: %v", after, err)
		}
	}
	for _, limit := range []int{-1, 0, MaxFeedPage + 1} {
		_, err := s.Feed(t.Context(), holding(Admin), FeedOptions{Limit: limit})
		if e := Classify(err); err == nil || e.Code != BadUserInput || e.Field != "limit" {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
}

// Every place must survive its cursor.
func TestFeedCursorsKeepPlaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		place := rapid.Custom(func(t *rapid.T) FeedPlace {
			return FeedPlace{rapid.Int64Min(0).Draw(t, "arrival"), EventID(rapid.String().Draw(t, "id"))}
		})
		c := feedCursor{after: place.Draw(t, "after"), deleted: place.Draw(t, "deleted")}
		tenant := InternalID(rapid.String().Draw(t, "tenant"))
		got, ok := parseFeedCursor(c.text(tenant), tenant)
		if c.deleted.Compare(c.after) <= 0 {
			c.deleted = FeedPlace{}
		}
		if !ok || got != c {
			t.Fatalf("got %v, %t, want %v", got, ok, c)
		}
	})
}

// The feed must have exactly the readers of Organization.auditEvents. Otherwise it would show a trail to callers that must not see it.
func TestFeedReaders(t *testing.T) {
	s := newService(&memory{events: arrived(1)})
	for name, c := range map[string]Caller{
		"admin": holding(Admin), "delete": holding(Delete), "read": holding(Read), "nothing": holding(), "anonymous": {},
		"a retriever's key":        {Key: &Key{InternalID: "int_1", Type: RetrieverKey, Permissions: []Permission{Admin}}},
		"a scope on a namespace":   {Key: &Key{InternalID: "int_1", Type: Standard, Permissions: []Permission{Admin}, Scopes: []Scope{{ResourceType: ResourceNamespace, ResourceID: "*"}}}},
		"a scope on the organiz…":  {Key: &Key{InternalID: "int_1", Type: Standard, Permissions: []Permission{Admin}, Scopes: []Scope{{ResourceType: ResourceOrganization, ResourceID: "int_1"}}}},
		"a scope that may execute": {Key: &Key{InternalID: "int_1", Type: Standard, Permissions: []Permission{Admin}, Scopes: []Scope{{ResourceType: ResourceOrganization, ResourceID: "int_1", Operations: []Operation{ExecuteRetriever}}}}},
	} {
		_, list := s.AuditEvents(t.Context(), c, EventPlace{}, EventOptions{})
		_, feed := s.Feed(t.Context(), c, FeedOptions{Limit: 0})
		if feed == nil {
			t.Fatalf("%s: limit 0 was accepted", name)
		}
		if refused := Classify(feed).Code != BadUserInput; refused != (list != nil) || refused && feed.Error() != list.Error() {
			t.Errorf("%s: the list says %v, the feed %v", name, list, feed)
		}
	}
}

// refusesOf fails to delete the events of one organization.
type refusesOf struct {
	*memory
	tenant InternalID
}

func (r *refusesOf) DeleteEvents(ctx context.Context, tenant InternalID, before time.Time, limit int) (more bool, err error) {
	r.mu.Lock()
	refuses := tenant == r.tenant
	r.mu.Unlock()
	if refuses {
		return false, errors.New("odd")
	}
	return r.memory.DeleteEvents(ctx, tenant, before, limit)
}

// Old events must be deleted in steps, of every organization, even if the store fails for one of them. Otherwise one organization would keep
// the trail of all others, or one deletion would stop every other write.
func TestOldEventsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &refusesOf{&memory{}, "int_other_3"}
		began := time.Now()
		add := func(tenant InternalID, n, days int) {
			for i := range n {
				store.events = append(store.events, Event{ID: EventID(fmt.Sprint("evt_", i)), InternalID: tenant, Timestamp: began.AddDate(0, 0, -days)})
			}
		}
		add("int_1", forgetBatch+5, 31)
		add("int_1", 3, 29)
		for i := range forgetTenants + 5 {
			add(InternalID(fmt.Sprint("int_other_", i)), 1, 31)
		}
		s := &Service{Store: store}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { s.ForgetEvents(ctx, slog.New(slog.DiscardHandler), 30) })
		left := func() int {
			synctest.Wait()
			store.mu.Lock()
			defer store.mu.Unlock()
			return len(store.events)
		}
		if got := left(); got != 5+3+forgetTenants+5 {
			t.Errorf("%d events after the first step", got)
		}
		time.Sleep(time.Minute)
		if got := left(); got != 3+1 {
			t.Errorf("%d events after a minute, want those that are not old, and one that could not be deleted", got)
		}
		store.mu.Lock()
		store.tenant = ""
		store.mu.Unlock()
		time.Sleep(forgetEvery)
		if got := left(); got != 3 {
			t.Errorf("%d events after an hour, want 3", got)
		}
		store.mu.Lock()
		store.down = Outage(context.DeadlineExceeded)
		store.mu.Unlock()
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		store.mu.Lock()
		store.down = nil
		store.mu.Unlock()
		time.Sleep(2 * forgetEvery)
		if got := left(); got != 0 {
			t.Errorf("%d events after two days, want none", got)
		}
		stop()
		running.Wait()
	})
}

// Without this, pages of long events take less memory from the server's limit than they have.
func TestEventsHaveASize(t *testing.T) {
	short, long, texts := Event{}, strings.Repeat("x", 1000), 0
	e := Event{ActorKeyID: new(ID), IPAddress: new(string), UserAgent: new(string), RetrieverIDs: make([]RetrieverID, 1), Changes: []FieldChange{{Before: new(string), After: new(string)}}}
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			v.SetString(long)
			texts++
		case reflect.Pointer:
			fill(v.Elem())
		case reflect.Slice:
			fill(v.Index(0))
		case reflect.Struct:
			if v.Type() != reflect.TypeFor[time.Time]() {
				for _, field := range v.Fields() {
					fill(field)
				}
			}
		default:
			t.Fatalf("a field is a %s", v.Kind())
		}
	}
	fill(reflect.ValueOf(&e).Elem())
	if grown := e.Size() - short.Size(); texts != 16 || grown < texts*len(long) || grown > texts*len(long)+500 {
		t.Errorf("%d texts of %d bytes are counted as %d bytes", texts, len(long), grown)
	}
	f := Feed{Events: []ArrivedEvent{{Event: e}, {Event: e}}}
	if sum, largest := f.Size(); sum != 2*e.Size() || largest != e.Size() {
		t.Errorf("got %d and %d bytes for two events of %d", sum, largest, e.Size())
	}
}
