package apikey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// silent is a logger that discards everything.
var silent = slog.New(slog.DiscardHandler)

// manyKeys returns the fixture with n more keys of ret_1.
func manyKeys(n int) *memory {
	store := fixture()
	for i := range n {
		store.keys = append(store.keys, keyOf(ID(fmt.Sprint("key_many_", i))))
	}
	return store
}

func revokeMany(t *testing.T, s *Service, c Caller, ns string, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if _, err := s.Revoke(t.Context(), c, ns, ID(fmt.Sprint("key_many_", i)), nil); codeAndField(t, err) != "FORBIDDEN" {
			t.Fatalf("attempt %d: %v", i, err)
		}
	}
}

// more returns the number of further attempts that the event reports.
func more(e Event) int {
	if len(e.Changes) != 1 || e.Changes[0].Field != "denied_attempts" || e.Changes[0].Before != nil || e.Outcome != Denied {
		return 0
	}
	n, _ := strconv.Atoi(text(e.Changes[0].After))
	return n
}

// Without this, every denied attempt of a key that can only read is a majority write, and buries the other events of its trail.
func TestDenialsOfAnActorAreFew(t *testing.T) {
	store := manyKeys(1000)
	s := newService(store)
	c := writer(Read)
	c.Address, c.UserAgent = "203.0.113.9", "curl/8"
	revokeMany(t, s, c, "shop", 0, 1000)
	if n := strings.Count(store.reads(), "InsertEvent"); n != 10 || len(store.events) != 10 {
		t.Fatalf("%d writes, %d events", n, len(store.events))
	}
	// A repeated attempt in the same minute must not cause a store call.
	for range 100 {
		revokeMany(t, s, c, "shop", 0, 10)
	}
	if reads := store.reads(); reads != "" || len(store.events) != 10 {
		t.Errorf("the store was asked for %.200s, and has %d events", reads, len(store.events))
	}
	// The number of attempts is known only when the minute is over.
	s.Now = func() time.Time { return *at(59) }
	s.storeSums(t.Context(), silent, false)
	if reads := store.reads(); reads != "" {
		t.Errorf("within the minute the store was asked for %s", reads)
	}
	s.Now = func() time.Time { return *at(60) }
	for range 3 {
		s.storeSums(t.Context(), silent, false)
	}
	if reads := store.reads(); reads != "InsertEvent" {
		t.Errorf("after the minute: got the calls %s, want one InsertEvent", reads)
	}
	sum := store.events[len(store.events)-1]
	if slices.ContainsFunc(store.events[:10], func(e Event) bool { return e.ID == sum.ID }) {
		t.Errorf("another event has the id %s too", sum.ID)
	}
	sum.ID = ""
	want := Event{
		Timestamp: noon, Action: KeyRevoked, ResourceType: ResourceAPIKey, ResourceID: "key_many_999", ActorID: "usr_writer", ActorType: User, ActorKeyID: new(ID("key_writer")),
		Outcome: Denied, Changes: []FieldChange{{Field: "denied_attempts", After: new("990")}}, IPAddress: new("203.0.113.9"), UserAgent: new("curl/8"),
		InternalID: "int_1", NamespaceID: "ns_1", RetrieverIDs: []RetrieverID{"ret_1"},
	}
	if diff := cmp.Diff(want, sum); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// A new minute begins.
	revokeMany(t, s, c, "shop", 0, 12)
	s.storeSums(t.Context(), silent, true)
	if last := store.events[len(store.events)-1]; len(store.events) != 22 || more(last) != 2 {
		t.Errorf("%d events after the next minute, the last: %+v", len(store.events), last)
	}
}

// Each actor has ten events of its own. Otherwise one actor could hide behind another's attempts.
func TestActorsHaveTheirOwnDenials(t *testing.T) {
	store := manyKeys(20)
	s := newService(store)
	revokeMany(t, s, writer(Read), "shop", 0, 20)
	for name, edit := range map[string]func(*Caller){
		"another key":                 func(c *Caller) { c.Key.ID = "key_other" },
		"an operator":                 func(c *Caller) { c.Operator = true },
		"another organization's keys": func(c *Caller) { c.Key.InternalID = "int_2" },
	} {
		c := writer(Read)
		edit(&c)
		before := len(store.events)
		ns, resource := "shop", ID("key_many_0")
		if c.Key.InternalID == "int_2" {
			resource = "key_1"
		}
		if _, err := s.Revoke(t.Context(), c, ns, resource, nil); codeAndField(t, err) != "FORBIDDEN" || len(store.events) != before+1 {
			t.Errorf("%s: %v, %d more events", name, err, len(store.events)-before)
		}
	}
	// All attempts of one actor count together, whatever they are.
	for action, change := range changes4 {
		if err := change(t.Context(), s, writer(Read), "shop"); codeAndField(t, err) != "FORBIDDEN" {
			t.Errorf("%s: %v", action, err)
		}
	}
	s.storeSums(t.Context(), silent, true)
	sums := 0
	for _, e := range store.events {
		sums += more(e)
	}
	if sums != 10+len(changes4) {
		t.Errorf("got a sum of %d", sums)
	}
}

// FORBIDDEN must not be answered for an attempt that leaves no event. An attempt whose event cannot be stored must not take the place of
// another.
func TestDeniedIsAnsweredWhenItIsKept(t *testing.T) {
	store := manyKeys(30)
	s := newService(store)
	store.fails = "InsertEvent"
	for i := range 20 {
		if _, err := s.Revoke(t.Context(), writer(Read), "shop", ID(fmt.Sprint("key_many_", i)), nil); codeAndField(t, err) != "UNAVAILABLE" {
			t.Fatalf("attempt %d: %v", i, err)
		}
	}
	store.fails = ""
	revokeMany(t, s, writer(Read), "shop", 0, 30)
	s.storeSums(t.Context(), silent, true)
	if last := store.events[len(store.events)-1]; len(store.events) != 11 || more(last) != 20 {
		t.Errorf("%d events, the last: %+v", len(store.events), last)
	}
}

// A repeated attempt is refused without a store call, but only if it is exactly the same, and only while the caller's key has the same
// rights.
func TestRememberedDenialsDecideNothingElse(t *testing.T) {
	for action, change := range changes4 {
		store := fixture()
		s := newService(store)
		for range 2 {
			if err := change(t.Context(), s, writer(Read), "shop"); codeAndField(t, err) != "FORBIDDEN" {
				t.Errorf("%s: %v", action, err)
			}
		}
		store.reads()
		if err := change(t.Context(), s, writer(Read), "blog"); codeAndField(t, err) != "NOT_FOUND" || store.reads() == "" {
			t.Errorf("%s in another namespace: %v", action, err)
		}
		want := "FORBIDDEN" // the key is looked up in the organization
		if action == KeyCreated {
			want = "BAD_USER_INPUT X-Namespace"
		}
		if err := change(t.Context(), s, writer(Read), ""); codeAndField(t, err) != want {
			t.Errorf("%s in no namespace: %v", action, err)
		}
		for other, change := range changes4 {
			if other == action {
				continue
			}
			before := len(store.events)
			if err := change(t.Context(), s, writer(Read), "shop"); codeAndField(t, err) != "FORBIDDEN" || len(store.events) != before+1 {
				t.Errorf("%s after %s: %v, %d more events", other, action, err, len(store.events)-before)
			}
		}
		// An event that is stored once for two references to the namespace.
		before := len(store.events)
		if err := change(t.Context(), s, writer(Read), "ns_1"); codeAndField(t, err) != "FORBIDDEN" || len(store.events) != before {
			t.Errorf("%s by the namespace's id: %v, %d more events", action, err, len(store.events)-before)
		}
		if err := change(t.Context(), s, writer(Admin), "shop"); err != nil {
			t.Errorf("%s after the same key became an admin: %v", action, err)
		}
		// A key of a type that cannot change anything is refused like one without the permission.
		store = fixture()
		s = newService(store)
		c := writer(Admin)
		c.Key.Type = UserScoped
		for i := range 2 {
			store.reads()
			if err := change(t.Context(), s, c, "shop"); codeAndField(t, err) != "FORBIDDEN" || (store.reads() == "") != (i == 1) {
				t.Errorf("%s by a key of another type: %v", action, err)
			}
		}
	}
}

// The first refusal and the next must be equal. Otherwise repeating a request would reveal something.
func TestRepeatedRefusalsAreTheSame(t *testing.T) {
	store := fixture()
	store.keys[0].Permissions = []Permission{Admin}
	s := newService(store)
	_, first := s.Update(t.Context(), writer(Read), "shop", "key_1", named("new"))
	_, second := s.Update(t.Context(), writer(Read), "shop", "key_1", named("new"))
	if first == nil || second == nil || first.Error() != second.Error() {
		t.Errorf("%v, then %v", first, second)
	}
}

// Refusals because of the target or of the caller's scopes are repeated without a store call too, in GraphQL and REST, and only while the
// caller's key has the same rights.
func TestRepeatedRefusalsReadNothing(t *testing.T) {
	changes := maps.Clone(changes4)
	changes["the vendor's revocation"] = func(ctx context.Context, s *Service, c Caller, ns string) error {
		return s.RevokeOf(ctx, c, ns, "search", "key_1")
	}
	elsewhere := Scope{ResourceRetriever, "ret_2", nil}
	readable := Scope{ResourceRetriever, "ret_1", []Operation{ReadData}}
	for action, change := range changes {
		revokes := action == KeyRevoked || action == "the vendor's revocation"
		for name, tt := range map[string]struct {
			caller  Caller
			edit    func(*Key)
			applies bool
		}{
			"without the permission":              {writer(Read), func(*Key) {}, true},
			"with a type that changes nothing":    {func() Caller { c := writer(Admin); c.Key.Type = Session; return c }(), func(*Key) {}, true},
			"with write instead of delete":        {writer(Write), func(*Key) {}, revokes},
			"with the scope of another retriever": {writer(Admin, readable, elsewhere), func(*Key) {}, true},
			"on a stronger key":                   {writer(Write), func(k *Key) { k.Permissions = []Permission{Admin} }, action == KeyUpdated || action == KeyRotated},
			"on a key that reaches more": {writer(Admin, Scope{ResourceNamespace, "ns_1", nil}), func(k *Key) {
				k.Scopes = append(k.Scopes, on(ResourceRetriever, "*"))
			}, action != KeyCreated},
		} {
			if !tt.applies {
				continue
			}
			store := fixture()
			tt.edit(&store.keys[0])
			s := newService(store)
			first := change(t.Context(), s, tt.caller, "shop")
			if codeAndField(t, first) != "FORBIDDEN" || store.reads() == "" || len(store.events) != 1 {
				t.Errorf("%s %s: %v, %d events", action, name, first, len(store.events))
				continue
			}
			for range 3 {
				again := change(t.Context(), s, tt.caller, "shop")
				if reads := store.reads(); reads != "" || again == nil || again.Error() != first.Error() || len(store.events) != 1 {
					t.Errorf("%s %s, again: %v, %d events; the store was asked for %s", action, name, again, len(store.events), reads)
				}
			}
			// With other rights, more or different, the request is decided again.
			other := tt.caller
			other.Key = new(*tt.caller.Key)
			other.Key.Type, other.Key.Permissions, other.Key.Scopes = Standard, []Permission{Admin}, nil
			if err := change(t.Context(), s, other, "shop"); err != nil {
				t.Errorf("%s %s, then with all rights: %v", action, name, err)
			}
			other.Key.Scopes = []Scope{elsewhere}
			if err := change(t.Context(), s, other, "shop"); codeAndField(t, err) != "NOT_FOUND" {
				t.Errorf("%s %s, then without seeing the key: %v", action, name, err)
			}
			// In the next minute the request is decided again.
			s.Now = func() time.Time { return *at(60) }
			if err := change(t.Context(), s, tt.caller, "shop"); action == KeyUpdated && (codeAndField(t, err) != "FORBIDDEN" || store.reads() == "") {
				t.Errorf("%s %s, a minute later: %v", action, name, err)
			}
		}
	}
}

// The rights of two keys are equal only if all are, including the organization, which scopes can name.
func TestRightsAreEqualOnlyIfAllAre(t *testing.T) {
	seen := map[[32]byte]string{}
	for name, edit := range map[string]func(*Key){
		"unchanged": func(*Key) {}, "type": func(k *Key) { k.Type = Session }, "permissions": func(k *Key) { k.Permissions = []Permission{Write} },
		"more permissions": func(k *Key) { k.Permissions = []Permission{Read, Write} }, "one permission with both names": func(k *Key) { k.Permissions = []Permission{"read write"} },
		"a scope": func(k *Key) { k.Scopes = []Scope{{ResourceRetriever, "a", nil}} }, "its id": func(k *Key) { k.Scopes = []Scope{{ResourceRetriever, "b", nil}} },
		"its type":       func(k *Key) { k.Scopes = []Scope{{ResourceNamespace, "a", nil}} },
		"its operations": func(k *Key) { k.Scopes = []Scope{{ResourceRetriever, "a", []Operation{ReadData}}} },
		"organization":   func(k *Key) { k.OrganizationID = new("org_2") },
	} {
		c := writer(Read)
		edit(c.Key)
		as := c.wish(KeyRevoked, "shop", "key_1")
		if other, taken := seen[as.rights]; taken {
			t.Errorf("%s has the rights of %s", name, other)
		}
		seen[as.rights] = name
		c.Key.Hash, c.Key.Name, c.Key.LastUsedAt = "another", "another", at(1)
		if c.wish(KeyRevoked, "shop", "key_1") != as {
			t.Errorf("%s: the rights differ after a change of other fields", name)
		}
	}
}

// The vendor's endpoint names a retriever. A refusal for one must not be repeated for another. One that GraphQL got is repeated there after
// the first time.
func TestRepeatedRefusalsOfTheVendorsEndpoint(t *testing.T) {
	store := fixture()
	s := newService(store)
	revoke := func(retriever string) (code, reads string) {
		store.reads()
		err := s.RevokeOf(t.Context(), writer(Write), "shop", retriever, "key_1")
		return codeAndField(t, err), store.reads()
	}
	if err := changes4[KeyRevoked](t.Context(), s, writer(Write), "shop"); codeAndField(t, err) != "FORBIDDEN" {
		t.Fatal(err)
	}
	for i, step := range []struct {
		retriever, want string
		reads           bool
	}{
		{"ret_1", "FORBIDDEN", true}, {"ret_1", "FORBIDDEN", false}, {"ret_1", "FORBIDDEN", false},
		{"ret_2", "NOT_FOUND", true}, {"ret_2", "NOT_FOUND", true}, {"absent", "NOT_FOUND", true},
		{"ret_1", "FORBIDDEN", false},
		{"search", "FORBIDDEN", true}, {"search", "FORBIDDEN", false},
	} {
		if code, reads := revoke(step.retriever); code != step.want || (reads != "") != step.reads || len(store.events) != 1 {
			t.Errorf("step %d, %s: %s, read %q, %d events", i, step.retriever, code, reads, len(store.events))
		}
	}
}

// Limits change: after a refusal, the caller can limit the key, or get higher limits itself, and then try again at once.
func TestRefusalsByLimitsAreDecidedAnew(t *testing.T) {
	store, c := limitedWriter(Write, limitsOf(at(60), nil, nil), limitsOf(nil, nil, nil))
	s := newService(store)
	for range 3 {
		if _, err := s.Rotate(t.Context(), c, "shop", "key_1", 0, nil); codeAndField(t, err) != "FORBIDDEN" || !kept(store, KeyRotated) {
			t.Fatalf("%v, %d events", err, len(store.events))
		}
	}
	if reads := store.reads(); strings.Count(reads, "InsertEvent") != 1 {
		t.Errorf("the store was asked for %s", reads)
	}
	if _, err := s.Update(t.Context(), c, "shop", "key_1", Settings{ExpiresAt: Given(at(60))}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Rotate(t.Context(), c, "shop", "key_1", 0, nil); err != nil {
		t.Errorf("within the limits: %v", err)
	}
}

// Keys of retrievers are in web pages. Without this, every visitor of such a page can cause writes to the store.
func TestKeysOfWebPagesLeaveNothing(t *testing.T) {
	for _, kind := range []Type{RetrieverKey, UnreadableType} {
		for action, change := range changes4 {
			store := fixture()
			s := newService(store)
			found := store.keys[0]
			found.Type, found.Permissions = kind, []Permission{Admin}
			for _, ns := range []string{"shop", "", "no such namespace"} {
				if err := change(t.Context(), s, Caller{Key: &found}, ns); codeAndField(t, err) != "FORBIDDEN" {
					t.Errorf("%s by a key of type %q: %v", action, kind, err)
				}
				if err := s.RevokeOf(t.Context(), Caller{Key: &found}, ns, "ret_1", "key_1"); codeAndField(t, err) != "FORBIDDEN" {
					t.Errorf("the vendor's revocation by a key of type %q: %v", kind, err)
				}
			}
			s.storeSums(t.Context(), silent, true)
			if reads := store.reads(); reads != "" || len(s.denials.actors) > 0 {
				t.Errorf("%s by a key of type %q: the store was asked for %s", action, kind, reads)
			}
		}
	}
}

// Memory must not grow with the number of actors. Beyond the limit, FORBIDDEN must not be answered without an event.
func TestDenialsAreBounded(t *testing.T) {
	store := fixture()
	s := newService(store)
	of := func(i int) Caller {
		c := writer(Read)
		c.Key.ID = ID(fmt.Sprint("key_caller_", i))
		return c
	}
	revoke := changes4[KeyRevoked]
	for i := range mostActors {
		if err := revoke(t.Context(), s, of(i), "shop"); codeAndField(t, err) != "FORBIDDEN" {
			t.Fatalf("actor %d: %v", i, err)
		}
	}
	for range 10 {
		err := revoke(t.Context(), s, of(mostActors), "shop")
		if codeAndField(t, err) != "UNAVAILABLE" || Classify(err).RetryAfter != time.Minute {
			t.Errorf("one actor too many: %v", err)
		}
	}
	if err := revoke(t.Context(), s, of(0), "shop"); codeAndField(t, err) != "FORBIDDEN" || len(store.events) != mostActors {
		t.Errorf("an actor from before: %v, %d events", err, len(store.events))
	}
	s.Now = func() time.Time { return *at(60) }
	if err := revoke(t.Context(), s, of(mostActors), "shop"); codeAndField(t, err) != "FORBIDDEN" || len(s.denials.actors) != 1 {
		t.Errorf("a minute later: %v, %d actors", err, len(s.denials.actors))
	}
	// Sums that are not stored yet count towards the limit.
	s.denials.sums = slices.Repeat([]Event{{InternalID: "int_1"}}, mostActors-1)
	if err := revoke(t.Context(), s, of(0), "shop"); codeAndField(t, err) != "UNAVAILABLE" {
		t.Errorf("with that many counts: %v", err)
	}
	s.storeSums(t.Context(), silent, false)
	if err := revoke(t.Context(), s, of(0), "shop"); codeAndField(t, err) != "FORBIDDEN" {
		t.Errorf("with the sums stored: %v", err)
	}
}

// One organization must not take the places of another. Otherwise one with many keys could make everybody else's denied attempts
// UNAVAILABLE.
func TestOrganizationsHaveTheirOwnPlaces(t *testing.T) {
	tenant := func(i int) InternalID { return InternalID(fmt.Sprint("int_many_", i)) }
	for name, fill := range map[string]func(d *denials, from InternalID) (n int){
		"actors": func(d *denials, from InternalID) (n int) {
			for range mostOfAll {
				attempt := Event{Action: KeyRevoked, ResourceID: "key_1", InternalID: from}
				if _, _, err := d.note(actor{from, User, fmt.Sprint("key_", len(d.actors))}, errors.New("no"), &attempt, wish{}, noon); err != nil {
					break
				}
				n++
			}
			return n
		},
		"sums": func(d *denials, from InternalID) (n int) { // as during an outage of the store
			for n = 0; !d.full(from); n++ {
				d.sums = append(d.sums, Event{InternalID: from})
			}
			return n
		},
	} {
		var d denials
		var got []int
		for i := range 5 {
			got = append(got, fill(&d, tenant(i)))
		}
		if want := []int{mostActors, mostActors / 2, mostActors / 4, mostActors / 8, 63}; !slices.Equal(got, want) {
			t.Errorf("%s: got the places %d, want %d", name, got, want)
		}
		if n := fill(&d, tenant(0)); n != 0 {
			t.Errorf("%s: the first took %d more", name, n)
		}
		if all := len(d.actors) + len(d.sums); all > mostOfAll {
			t.Errorf("%s: %d are remembered", name, all)
		}
	}
	// Through the Service, an organization without free places gets an error that says so. Another one is refused as usual, with events.
	store := fixture()
	s := newService(store)
	revoke := func(c Caller, i int) error {
		c.Key.ID = ID(fmt.Sprint("key_caller_", i))
		return changes4[KeyRevoked](t.Context(), s, c, "shop")
	}
	for i := range 2 * mostActors {
		_ = revoke(writer(Read), i)
	}
	theirs := writer(Read)
	theirs.Key.InternalID = "int_2"
	before := len(store.events)
	for i := range 100 {
		if err := revoke(theirs, i); codeAndField(t, err) != "FORBIDDEN" {
			t.Fatalf("another organization's actor %d: %v", i, err)
		}
	}
	if before != mostActors || len(store.events) != before+100 {
		t.Errorf("%d events, then %d more", before, len(store.events)-before)
	}
	if err := revoke(writer(Read), 2*mostActors); codeAndField(t, err) != "UNAVAILABLE" {
		t.Errorf("one more of the first organization: %v", err)
	}
}

// A sum is in the lists of the retrievers whose keys were tried, up to a number that keeps its document small.
func TestSumsAreListed(t *testing.T) {
	store := fixture()
	ids := make([]string, 3*mostSumRetrievers)
	for i := range ids {
		id := RetrieverID(fmt.Sprint("ret_many_", i))
		store.retrievers = append(store.retrievers, Retriever{ID: id, Name: string(id), NamespaceID: "ns_1", InternalID: "int_1"})
		store.keys = append(store.keys, keyOf(ID(fmt.Sprint("key_many_", i)), func(k *Key) { k.Scopes[0].ResourceID = string(id) }))
	}
	s := newService(store)
	revokeMany(t, s, writer(Read), "shop", 0, 10+20)
	s.storeSums(t.Context(), silent, true)
	last := store.events[len(store.events)-1]
	if len(last.RetrieverIDs) != 20 || last.RetrieverIDs[0] != "ret_many_10" || last.RetrieverIDs[19] != "ret_many_29" {
		t.Errorf("got a sum in the lists of %v", last.RetrieverIDs)
	}
	s.Now = func() time.Time { return *at(60) }
	revokeMany(t, s, writer(Read), "shop", 0, len(ids))
	s.storeSums(t.Context(), silent, true)
	if last := store.events[len(store.events)-1]; len(last.RetrieverIDs) != mostSumRetrievers || more(last) != len(ids)-10 {
		t.Errorf("got a sum in the lists of %d retrievers, with %d attempts", len(last.RetrieverIDs), more(last))
	}
}

// A remembered attempt must copy what it needs, because a substring keeps the whole request body in memory.
func TestDenialsKeepNoTexts(t *testing.T) {
	body := strings.Repeat(" ", 1000) + "shop key_1 203.0.113.9 curl"
	within := func(part string) string {
		i := strings.Index(body, part)
		return body[i : i+len(part)]
	}
	of := func(s string) bool {
		start, end := uintptr(unsafe.Pointer(unsafe.StringData(body))), uintptr(unsafe.Pointer(unsafe.StringData(s)))
		return s != "" && end >= start && end < start+uintptr(len(body))
	}
	if !of(within("key_1")) {
		t.Fatal("the test does not recognize a substring")
	}
	var d denials
	attempt := writer(Read).event(KeyRevoked, ResourceAPIKey, within("key_1"), noon, NamespaceID(within("shop")), []RetrieverID{RetrieverID(within("key_1"))})
	attempt.IPAddress, attempt.UserAgent = new(within("203.0.113.9")), new(within("curl"))
	who := actor{InternalID(within("shop")), User, within("key_1")}
	for i := range keptDenials {
		attempt.Action = Action(fmt.Sprint("action ", i))
		k, first, err := d.note(who, errors.New("no"), &attempt, wish{action: attempt.Action, namespace: within("shop"), resource: within("key_1"), of: within("key_1"), rights: [32]byte{1}}, noon)
		if err != nil || !first {
			t.Fatal(k, first, err)
		}
		d.settle(who, k, true)
		if of(k.resource) || of(k.as.namespace) || of(k.as.resource) || of(k.as.of) {
			t.Error("a denial keeps the text")
		}
	}
	attempt.Action = "the eleventh"
	if k, _, err := d.note(who, errors.New("no"), &attempt, wish{}, noon); k != nil || err != nil {
		t.Fatal(k, err)
	}
	for kept, tries := range d.actors {
		e := tries.last
		if of(string(kept.tenant)) || of(kept.id) || of(e.ResourceID) || of(string(e.NamespaceID)) || of(string(e.RetrieverIDs[0])) || of(*e.IPAddress) || of(*e.UserAgent) {
			t.Error("a sum keeps the text")
		}
	}
}

// A minute must end even if the clock is set back. Concurrent requests that see the next minute in another order must not start it twice.
func TestMinutesOfDenials(t *testing.T) {
	store := manyKeys(100)
	s := newService(store)
	for _, c := range []struct{ second, from, events int }{
		{0, 0, 10}, {59, 10, 10}, {60, 20, 20}, {59, 30, 20}, {61, 40, 20}, {-3600, 50, 30}, {-3540, 60, 40},
	} {
		s.Now = func() time.Time { return *at(c.second) }
		revokeMany(t, s, writer(Read), "shop", c.from, c.from+10)
		if len(store.events) != c.events {
			t.Errorf("second %d: %d events, want %d", c.second, len(store.events), c.events)
		}
	}
	s.storeSums(t.Context(), silent, true)
	sums := 0
	for _, e := range store.events {
		sums += more(e)
	}
	if sums != 30 {
		t.Errorf("got sums of %d, want 30", sums)
	}
}

// counting is a store that counts the events to insert, and fails for every n-th of them.
type counting struct {
	*memory
	every  int64 // 0: never
	writes atomic.Int64
	failed atomic.Int64
}

func (c *counting) InsertEvent(ctx context.Context, e Event) error {
	if n := c.writes.Add(1); c.every > 0 && n%c.every == 0 {
		c.failed.Add(1)
		return Outage(errors.New("every few times"))
	}
	return c.memory.InsertEvent(ctx, e)
}

// Each FORBIDDEN must have an event or be counted, however many requests are concurrent, and the store must not be written for each.
func TestDenialsRace(t *testing.T) {
	for _, every := range []int64{0, 2, 3} {
		store := &counting{memory: manyKeys(100), every: every}
		s := newService(store)
		var forbidden, unavailable atomic.Int64
		var working sync.WaitGroup
		for i := range 400 {
			working.Go(func() {
				_, err := s.Revoke(t.Context(), writer(Read), "shop", ID(fmt.Sprint("key_many_", i/4)), nil)
				switch Classify(err).Code {
				case Forbidden:
					forbidden.Add(1)
				case Unavailable:
					unavailable.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		working.Wait()
		if kept := len(store.events); kept != 10 || store.writes.Load() != 10+store.failed.Load() || unavailable.Load() != store.failed.Load() {
			t.Errorf("failing every %d: got %d events by %d writes, %d failures, and %d requests were UNAVAILABLE", every, kept, store.writes.Load(), store.failed.Load(), unavailable.Load())
		}
		store.every = 0
		s.storeSums(t.Context(), silent, true)
		// The three repetitions of each of the ten stored attempts are neither stored nor counted.
		sum := more(store.events[len(store.events)-1])
		if told := int(forbidden.Load()); sum+10 > told || sum+40 < told {
			t.Errorf("failing every %d: %d requests were refused, but the sum is %d", every, told, sum)
		}
	}
}

// hanging is a store that inserts an event only when goOn has its result.
type hanging struct {
	*memory
	goOn chan error
}

func (h hanging) InsertEvent(ctx context.Context, e Event) error {
	if err := <-h.goOn; err != nil {
		return err
	}
	return h.memory.InsertEvent(ctx, e)
}

// A request that repeats an attempt waits until the attempt is stored. If storing it fails, one of the waiting requests stores it. None
// waits longer than its own deadline.
func TestDenialsWaitForTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := hanging{manyKeys(20), make(chan error)}
		s := newService(store)
		ctx, leave := context.WithCancel(t.Context())
		answers := make(chan string, 3)
		try := func(ctx context.Context) {
			_, err := s.Revoke(ctx, writer(Read), "shop", "key_1", nil)
			answers <- codeAndField(t, err)
		}
		go try(t.Context())
		synctest.Wait()
		go try(t.Context())
		go try(ctx)
		synctest.Wait()
		if len(answers) > 0 {
			t.Fatalf("a request was answered %s before the event was stored", <-answers)
		}
		leave()
		if got := <-answers; got != "UNAVAILABLE" {
			t.Errorf("the request that was canceled: %s", got)
		}
		store.goOn <- Outage(errors.New("gone"))
		if got := <-answers; got != "UNAVAILABLE" {
			t.Errorf("the first: %s", got)
		}
		synctest.Wait()
		store.goOn <- nil
		if got := <-answers; got != "FORBIDDEN" || len(store.events) != 1 {
			t.Errorf("the second: %s, %d events", got, len(store.events))
		}
	})
}

// While ten attempts are being stored, an eleventh must not simply be counted: if one of the ten cannot be stored, the eleventh takes its
// place.
func TestDenialsWaitForTheirPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := hanging{manyKeys(20), make(chan error)}
		s := newService(store)
		answers := make(chan string, 20)
		try := func(i int) {
			_, err := s.Revoke(t.Context(), writer(Read), "shop", ID(fmt.Sprint("key_many_", i)), nil)
			answers <- codeAndField(t, err)
		}
		take := func() string {
			synctest.Wait()
			if len(answers) != 1 {
				t.Fatalf("%d requests were answered, want 1", len(answers))
			}
			return <-answers
		}
		for i := range keptDenials {
			go try(i)
		}
		synctest.Wait()
		go try(keptDenials)
		synctest.Wait()
		if len(answers) > 0 {
			t.Fatalf("the eleventh was answered %s while a place could still become free", <-answers)
		}
		store.goOn <- Outage(errors.New("gone"))
		if got := take(); got != "UNAVAILABLE" {
			t.Errorf("the attempt that could not be stored: %s", got)
		}
		for range keptDenials - 1 {
			store.goOn <- nil
			if got := take(); got != "FORBIDDEN" {
				t.Errorf("an attempt that was stored: %s", got)
			}
		}
		store.goOn <- nil
		if got := take(); got != "FORBIDDEN" || len(store.events) != keptDenials {
			t.Errorf("the eleventh: %s, %d events", got, len(store.events))
		}
		for _, tries := range s.denials.actors {
			if tries.more != 0 {
				t.Errorf("%d attempts were counted although each has an event", tries.more)
			}
		}
	})
}

// A sum must survive an outage and the end of the process. An event that the store refuses must not hold up the others.
func TestSumsAreStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := manyKeys(30)
		s := &Service{Store: store}
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { s.StoreDenials(ctx, logger) })
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute)) + 1) // to the start of a minute
		revokeMany(t, s, writer(Read), "shop", 0, 15)
		time.Sleep(time.Minute - storeSumsEvery)
		synctest.Wait()
		if len(store.events) != 10 {
			t.Errorf("%d events within the minute", len(store.events))
		}
		store.mu.Lock()
		store.fails = "InsertEvent"
		store.mu.Unlock()
		time.Sleep(3 * storeSumsEvery)
		synctest.Wait()
		if len(store.events) != 10 || !strings.Contains(log.String(), "attempts=5") || strings.Contains(log.String(), "hash") {
			t.Errorf("%d events during the outage, logged %s", len(store.events), log.String())
		}
		store.mu.Lock()
		store.fails = ""
		store.mu.Unlock()
		time.Sleep(storeSumsEvery)
		synctest.Wait()
		if last := store.events[len(store.events)-1]; len(store.events) != 11 || more(last) != 5 {
			t.Errorf("%d events after the outage, the last: %+v", len(store.events), last)
		}
		revokeMany(t, s, writer(Read), "shop", 0, 17)
		stop()
		running.Wait()
		if last := store.events[len(store.events)-1]; len(store.events) != 22 || more(last) != 7 {
			t.Errorf("%d events at the end, the last: %+v", len(store.events), last)
		}
	})
	store := refusing{manyKeys(20), "key_first"}
	s := newService(store)
	first, second := writer(Read), writer(Read)
	first.Key.ID, second.Key.ID = "key_first", "key_second"
	revokeMany(t, s, first, "shop", 0, 11)
	revokeMany(t, s, second, "shop", 0, 12)
	var log bytes.Buffer
	for range 2 {
		s.storeSums(t.Context(), slog.New(slog.NewTextHandler(&log, nil)), true)
	}
	if last := store.events[len(store.events)-1]; more(last) != 2 || len(s.denials.sums) > 0 || strings.Count(log.String(), "key=key_first attempts=1") != 1 {
		t.Errorf("the last: %+v; %d are left; logged %s", last, len(s.denials.sums), log.String())
	}
}

// refusing is a store that refuses the sums of one key.
type refusing struct {
	*memory
	of ID
}

func (r refusing) InsertEvent(ctx context.Context, e Event) error {
	if *e.ActorKeyID == r.of && more(e) > 0 {
		return errors.New("the document is refused")
	}
	return r.memory.InsertEvent(ctx, e)
}

// panicking is a store that panics.
type panicking struct{ *memory }

func (panicking) InsertEvent(context.Context, Event) error { panic("in the store") }

// A panic ends one request. Requests with the same attempt must not wait for it forever.
func TestDenialsSurviveAPanic(t *testing.T) {
	s := newService(panicking{fixture()})
	for range 2 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("it did not panic")
				}
			}()
			_ = changes4[KeyRevoked](t.Context(), s, writer(Read), "shop")
		}()
	}
}
