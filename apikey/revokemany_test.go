package apikey

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// outcomes are the outcomes in order, each with its id.
func outcomes(results []RevokeResult) string {
	var words []string
	for _, r := range results {
		words = append(words, string(r.ID)+" "+string(r.Outcome))
	}
	return strings.Join(words, ", ")
}

// revocationsOf are the ids of keys in the order of the successful revocations in the trail.
func revocationsOf(m *memory) []ID {
	var ids []ID
	for _, e := range m.events {
		if e.Action == KeyRevoked && e.Outcome == Success {
			ids = append(ids, ID(e.ResourceID))
		}
	}
	return ids
}

// Each id must have its result in its place, each revoked key its event, and the caller's own key must be the last. Without this, a client
// cannot tell which keys still work, or a call cuts off its own repetition.
func TestRevokeMany(t *testing.T) {
	store := fixture()
	s := newService(store)
	ids := []ID{"key_writer", "key_1", "absent", "key_gone", "key_1", "key_foreign", "key_2", "", "key_writer"}
	got, err := s.RevokeMany(t.Context(), writer(Admin), ids, new(" Leaked in a log. "), false)
	if err != nil {
		t.Fatal(err)
	}
	want := "key_writer REVOKED, key_1 REVOKED, absent NOT_FOUND, key_gone REVOKED, key_1 REVOKED, key_foreign NOT_FOUND, key_2 REVOKED,  NOT_FOUND, key_writer REVOKED"
	if outcomes(got) != want {
		t.Errorf("got  %s\nwant %s", outcomes(got), want)
	}
	for i, r := range got {
		if r.ID != ids[i] || (r.Key == nil) != (r.Outcome == OutcomeNotFound) || (r.Err == nil) != (r.Outcome == OutcomeRevoked) {
			t.Errorf("%d: %+v", i, r)
		}
		if r.Key != nil {
			stored := find(t, store, r.ID)
			stored.Status = Revoked
			if diff := cmp.Diff(stored, *r.Key); diff != "" || *r.Key.RevokeReason != "Leaked in a log." || *r.Key.RevokedBy != "usr_writer" {
				t.Errorf("%s is not as it is stored (-stored +result):\n%s", r.ID, diff)
			}
		}
	}
	if diff := cmp.Diff([]ID{"key_1", "key_gone", "key_2", "key_writer"}, revocationsOf(store)); diff != "" {
		t.Errorf("revoked, in order (-want +got):\n%s", diff)
	}
	if e := store.events[0]; e.NamespaceID != "ns_1" || !slices.Equal(e.RetrieverIDs, []RetrieverID{"ret_1"}) || !slices.ContainsFunc(e.Changes, func(c FieldChange) bool {
		return c.Field == "revoke_reason" && c.Before == nil && text(c.After) == "Leaked in a log."
	}) {
		t.Errorf("the event of key_1: %+v", e)
	}
	if reads := store.reads(); strings.Count(reads, "CurrentKeys") != 1 || strings.Count(reads, "Retrievers") != 1 || strings.Count(reads, "KeysByHash") != 5 || strings.Count(reads, "ChangeKey") != 4 {
		t.Errorf("read %s", reads)
	}
	// The caller's key no longer works, so another one repeats the call.
	again := writer(Admin)
	again.Key.ID, again.Key.Hash = "key_admin", "hash of key_admin"
	got, err = s.RevokeMany(t.Context(), again, ids, new("Another reason."), false)
	if err != nil || outcomes(got) != strings.ReplaceAll(want, " REVOKED", " ALREADY_REVOKED") || len(store.events) != 4 || *got[1].Key.RevokeReason != "Leaked in a log." {
		t.Errorf("again: %v, %s, %d events", err, outcomes(got), len(store.events))
	}
}

func TestRevokeManyRefuses(t *testing.T) {
	many := func(n int) []ID { return slices.Repeat([]ID{"key_1"}, n) }
	limited := writer(Delete, on(ResourceNamespace, "ns_1"))
	for name, tt := range map[string]struct {
		caller Caller
		ids    []ID
		reason *string
		want   string
		events int // unless it is a dry run
	}{
		"nobody":                  {Caller{}, many(1), nil, "UNAUTHENTICATED", 0},
		"no permission":           {writer(Write), many(3), nil, "FORBIDDEN", 1},
		"no permission at all":    {writer(""), many(3), nil, "FORBIDDEN", 1},
		"a retriever's key":       {func() Caller { c := writer(Admin); c.Key.Type = RetrieverKey; return c }(), many(1), nil, "FORBIDDEN", 0},
		"a key of a person":       {func() Caller { c := writer(Admin); c.Key.Type = Session; return c }(), many(1), nil, "FORBIDDEN", 1},
		"no ids":                  {limited, nil, nil, "BAD_USER_INPUT ids", 0},
		"501 ids":                 {limited, many(501), nil, "BAD_USER_INPUT ids", 0},
		"an empty reason":         {limited, many(1), new(""), "BAD_USER_INPUT reason", 0},
		"a reason of spaces":      {limited, many(1), new(" \n"), "BAD_USER_INPUT reason", 0},
		"a reason of 201":         {limited, many(1), new(strings.Repeat("é", 201)), "BAD_USER_INPUT reason", 0},
		"a reason of two lines":   {limited, many(1), new("a\nb"), "BAD_USER_INPUT reason", 0},
		"a reason with a key":     {limited, many(1), new("found " + mint(retrieverKeyPrefix).Reveal()), "BAD_USER_INPUT reason", 0},
		"a reason that is broken": {limited, many(1), new("a\ufffd"), "BAD_USER_INPUT reason", 0},
	} {
		for _, dry := range []bool{false, true} {
			store := fixture()
			before := slices.Clone(store.keys)
			s := newService(store)
			for range 2 {
				got, err := s.RevokeMany(t.Context(), tt.caller, tt.ids, tt.reason, dry)
				if codeAndField(t, err) != tt.want || got != nil {
					t.Errorf("%s: %v, %v, want %s", name, got, err, tt.want)
				}
			}
			events := tt.events
			if dry {
				events = 0
			}
			if len(store.events) != events || cmp.Diff(before, store.keys) != "" {
				t.Errorf("%s, dry run %t: %+v", name, dry, store.events)
			}
			if events == 1 && (store.events[0].ResourceID != "key_writer" || store.events[0].Action != KeyRevoked || store.events[0].Outcome != Denied) {
				t.Errorf("%s: %+v", name, store.events[0])
			}
		}
	}
	store := fixture()
	if got, err := newService(store).RevokeMany(t.Context(), limited, many(500), new(strings.Repeat("é", 200)), false); err != nil || len(got) != 500 || len(store.events) != 1 {
		t.Errorf("500 times the same id: %d results, %v, %d events", len(got), err, len(store.events))
	}
	// A key that was revoked after the request was admitted revokes nothing.
	store = fixture()
	store.keys[slices.IndexFunc(store.keys, func(k Key) bool { return k.ID == "key_writer" })].RevokedAt = at(-1)
	if _, err := newService(store).RevokeMany(t.Context(), writer(Admin), many(1), nil, false); codeAndField(t, err) != "UNAUTHENTICATED" || len(store.events) > 0 {
		t.Errorf("a caller whose key is revoked: %v", err)
	}
}

// The reason of a single revocation is checked and kept in the same way, and a successor does not inherit it.
func TestReasonOfARevocation(t *testing.T) {
	store := fixture()
	s := newService(store)
	if _, err := s.Revoke(t.Context(), writer(Delete), "shop", "key_1", new("")); codeAndField(t, err) != "BAD_USER_INPUT reason" || len(store.events) > 0 {
		t.Errorf("an empty reason: %v", err)
	}
	k, err := s.Revoke(t.Context(), writer(Delete), "shop", "key_1", new("Lost laptop"))
	if err != nil || text(k.RevokeReason) != "Lost laptop" || text(find(t, store, "key_1").RevokeReason) != "Lost laptop" {
		t.Errorf("%+v, %v", k, err)
	}
	if k, err = s.Revoke(t.Context(), writer(Delete), "", "key_2", nil); err != nil || k.RevokeReason != nil {
		t.Errorf("no reason: %+v, %v", k, err)
	}
	// A program that revived a key left the reason of an earlier revocation.
	i := slices.IndexFunc(store.keys, func(k Key) bool { return k.ID == "key_26" })
	store.keys[i].RevokeReason, store.keys[i].Scopes = new("old"), []Scope{on(ResourceRetriever, "ret_2")}
	rotated, err := s.Rotate(t.Context(), writer(Admin), "", "key_26", 0, nil)
	if err != nil || rotated.Key.RevokeReason != nil || rotated.Previous.RevokeReason != nil || find(t, store, "key_26").RevokeReason != nil {
		t.Errorf("a rotation: %+v, %v", rotated, err)
	}
}

// Two calls for the same keys, at the same time and in opposite orders, must revoke each key once: one event and one REVOKED for each.
func TestRevokeManyAtOnce(t *testing.T) {
	store := fixture()
	var ids []ID
	for i := range 100 {
		id := ID(fmt.Sprintf("key_race_%02d", i))
		ids = append(ids, id)
		store.keys = append(store.keys, keyOf(id))
	}
	backwards := slices.Clone(ids)
	slices.Reverse(backwards)
	s := newService(store)
	var wg sync.WaitGroup
	var results [4][]RevokeResult
	for i := range results {
		order := [][]ID{ids, backwards}[i%2]
		wg.Go(func() {
			var err error
			if results[i], err = s.RevokeMany(t.Context(), writer(Delete), order, nil, false); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	revoked := map[ID]int{}
	for _, r := range slices.Concat(results[:]...) {
		switch r.Outcome {
		case OutcomeRevoked:
			revoked[r.ID]++
		case OutcomeAlreadyRevoked:
		default:
			t.Errorf("%s: %s, %v", r.ID, r.Outcome, r.Err)
		}
	}
	events := map[ID]int{}
	for _, id := range revocationsOf(store) {
		events[id]++
	}
	for _, id := range ids {
		if revoked[id] != 1 || events[id] != 1 {
			t.Errorf("%s was revoked %d times and has %d events", id, revoked[id], events[id])
		}
	}
}

// failing is a store whose changes fail after some.
type failing struct {
	*memory
	after int
	err   error
	odd   ID // a key that can never be changed
}

func (f *failing) ChangeKey(ctx context.Context, c Change) (bool, error) {
	if c.Key.ID == f.odd {
		return false, errors.New("document too large")
	}
	if f.after == 0 {
		return false, f.err
	}
	f.after--
	return f.memory.ChangeKey(ctx, c)
}

// After an outage halfway, the keys before it are revoked and no others, each result says what happened, and the same call finishes the work.
// Without this, a process that dies leaves gaps, or a client repeats what is done.
func TestRevokeManyGoesOn(t *testing.T) {
	all := []ID{"key_writer", "key_1", "key_6", "absent", "key_26", "key_gone", "key_1"}
	order := []ID{"key_1", "key_6", "key_26", "key_gone", "key_writer"}
	for after := range len(order) {
		store := fixture()
		s := newService(&failing{memory: store, after: after, err: Outage(errors.New("connection reset"))})
		got, err := s.RevokeMany(t.Context(), writer(Admin), all, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		if done := revocationsOf(store); !slices.Equal(done, order[:after]) {
			t.Errorf("after %d writes: revoked %v", after, done)
		}
		for _, r := range got {
			want := OutcomeUnavailable
			switch i := slices.Index(order, r.ID); {
			case i < 0:
				want = OutcomeNotFound
			case i < after:
				want = OutcomeRevoked
			}
			if r.Outcome != want || want == OutcomeUnavailable && (codeAndField(t, r.Err) != "UNAVAILABLE" || r.Key.Status != Active) {
				t.Errorf("after %d writes: %s %s, %v", after, r.ID, r.Outcome, r.Err)
			}
		}
		got, err = newService(store).RevokeMany(t.Context(), writer(Admin), all, nil, false)
		if err != nil || !slices.Equal(revocationsOf(store), order) {
			t.Errorf("again after %d writes: %s, %v", after, outcomes(got), err)
		}
	}
	// What is known without a write is said all the same.
	store := fixture()
	revoked := slices.IndexFunc(store.keys, func(k Key) bool { return k.ID == "key_6" })
	store.keys[revoked].RevokedAt = at(-1)
	s := newService(&failing{memory: store, err: Outage(errors.New("connection reset"))})
	got, err := s.RevokeMany(t.Context(), writer(Admin), all, nil, false)
	if want := "key_writer UNAVAILABLE, key_1 UNAVAILABLE, key_6 ALREADY_REVOKED, absent NOT_FOUND, key_26 UNAVAILABLE, key_gone UNAVAILABLE, key_1 UNAVAILABLE"; err != nil || outcomes(got) != want {
		t.Errorf("%s, %v", outcomes(got), err)
	}
	// A key that can never be changed must not keep those behind it alive.
	store = fixture()
	s = newService(&failing{memory: store, after: 10, odd: "key_6"})
	got, err = s.RevokeMany(t.Context(), writer(Admin), all, nil, false)
	if want := "key_writer REVOKED, key_1 REVOKED, key_6 UNAVAILABLE, absent NOT_FOUND, key_26 REVOKED, key_gone REVOKED, key_1 REVOKED"; err != nil || outcomes(got) != want {
		t.Errorf("%s, %v", outcomes(got), err)
	}
	if e := Classify(got[2].Err); e.Code != Internal || strings.Contains(e.Message, "large") {
		t.Errorf("its error is shown as %+v", e)
	}
}

// A call that takes long must end with its caller's key. Without this, a thief goes on revoking other keys after the stolen key was revoked.
func TestRevokeManyEndsWithTheCallersKey(t *testing.T) {
	store := fixture()
	s := newService(&changing{memory: store, after: 2, change: func() {
		i := slices.IndexFunc(store.keys, func(k Key) bool { return k.ID == "key_writer" })
		store.keys[i].RevokedAt = at(0)
	}})
	got, err := s.RevokeMany(t.Context(), writer(Admin), []ID{"key_1", "key_2", "key_6", "absent", "key_gone", "key_writer"}, nil, false)
	want := "key_1 REVOKED, key_2 REVOKED, key_6 FORBIDDEN, absent NOT_FOUND, key_gone FORBIDDEN, key_writer FORBIDDEN"
	if err != nil || outcomes(got) != want || len(store.events) != 2 {
		t.Errorf("got  %s\nwant %s\n%v, %d events", outcomes(got), want, err, len(store.events))
	}
	if codeAndField(t, got[2].Err) != "UNAUTHENTICATED" || got[2].Key.Status != Active {
		t.Errorf("%+v", got[2])
	}
}

// changing is a store in which somebody changes something after some changes.
type changing struct {
	*memory
	after  int
	change func()
}

func (s *changing) ChangeKey(ctx context.Context, c Change) (bool, error) {
	won, err := s.memory.ChangeKey(ctx, c)
	if s.after--; s.after == 0 {
		s.change()
	}
	return won, err
}

// An outage before the first write fails the call as a whole: nothing was done.
func TestRevokeManyDuringAnOutage(t *testing.T) {
	for _, call := range []string{"KeysByHash", "CurrentKeys", "Retrievers", "Namespaces"} {
		store := fixture()
		store.fails = call
		if got, err := newService(store).RevokeMany(t.Context(), writer(Delete), []ID{"key_1"}, nil, false); codeAndField(t, err) != "UNAVAILABLE" || got != nil || len(store.events) > 0 {
			t.Errorf("%s fails: %v, %v", call, got, err)
		}
	}
	// A denied attempt that cannot be kept is an outage too.
	store := fixture()
	store.fails = "InsertEvent"
	c := writer(Delete, Scope{ResourceNamespace, "ns_1", nil}, Scope{ResourceNamespace, "ns_2", []Operation{ReadData}})
	got, err := newService(store).RevokeMany(t.Context(), c, []ID{"key_6", "key_1"}, nil, false)
	if err != nil || outcomes(got) != "key_6 UNAVAILABLE, key_1 UNAVAILABLE" || len(store.events) > 0 {
		t.Errorf("%s, %v", outcomes(got), err)
	}
}

// The call must end while there is time to answer it, and say of each key that was left that it is to be repeated.
func TestRevokeManyEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := fixture()
		store.delay = time.Second
		ctx, cancel := context.WithTimeout(t.Context(), 8500*time.Millisecond)
		defer cancel()
		s := newService(store)
		// The caller's key, the keys and their retrievers take three seconds, and each revocation two.
		got, err := s.RevokeMany(ctx, writer(Admin), []ID{"key_1", "key_2", "key_6", "key_26", "key_gone"}, nil, false)
		if err != nil || ctx.Err() != nil {
			t.Fatal(err, ctx.Err())
		}
		done := revocationsOf(store)
		if len(done) == 0 || len(done) == 5 {
			t.Fatalf("revoked %v", done)
		}
		for i, r := range got {
			if i < len(done) {
				if r.Outcome != OutcomeRevoked {
					t.Errorf("%s: %s", r.ID, r.Outcome)
				}
			} else if r.Outcome != OutcomeUnavailable || r.Err == nil || r.Err.Error() != errOutOfTime.Message {
				t.Errorf("%s: %s, %v", r.ID, r.Outcome, r.Err)
			}
		}
	})
}

// organization is a random organization int_1 with keys of all kinds, and a key of another one.
func organization(t *rapid.T) *memory {
	m := &memory{namespaces: []Namespace{{ID: "ns_1", InternalID: "int_1"}, {ID: "ns_2", InternalID: "int_1"}, {ID: "ns_3", InternalID: "int_2"}}}
	for i := range 5 {
		m.retrievers = append(m.retrievers, Retriever{
			ID: RetrieverID(fmt.Sprintf("ret_%d", i)), InternalID: rapid.SampledFrom([]InternalID{"int_1", "int_1", "int_1", "int_2"}).Draw(t, "of"),
			NamespaceID: rapid.SampledFrom([]NamespaceID{"ns_1", "ns_2", "ns_gone", ""}).Draw(t, "in"),
		})
	}
	for i := range 8 {
		m.keys = append(m.keys, keyOf(ID(fmt.Sprintf("key_%d", i)), func(k *Key) {
			k.Hash = digest(string(k.ID))
			k.Type = rapid.SampledFrom(append(Types, UnreadableType)).Draw(t, "type")
			k.InternalID = rapid.SampledFrom([]InternalID{"int_1", "int_1", "int_1", "int_2"}).Draw(t, "of")
			k.Permissions = rapid.SliceOfN(rapid.SampledFrom([]Permission{Read, Write, Delete, Admin, UnknownPermission}), 0, 2).Draw(t, "permissions")
			k.Scopes = rapid.SliceOfN(anyScope, 0, 3).Draw(t, "scopes")
			k.RevokedAt = rapid.SampledFrom([]*time.Time{nil, nil, at(-1)}).Draw(t, "revoked")
			k.ExpiresAt = rapid.SampledFrom([]*time.Time{nil, at(9), at(-1)}).Draw(t, "expires")
			k.AllowedOrigins = rapid.SampledFrom([][]string{nil, {"https://a.example"}}).Draw(t, "origins")
			k.RotatedTo = rapid.SampledFrom([]*ID{nil, nil, new(ID("key_7"))}).Draw(t, "rotated")
		}))
	}
	return m
}

var anyScope = rapid.Custom(func(t *rapid.T) Scope {
	return Scope{
		ResourceType: rapid.SampledFrom([]ResourceType{ResourceRetriever, ResourceRetriever, ResourceRetriever, ResourceNamespace, ResourceOrganization, UnknownResource}).Draw(t, "type"),
		ResourceID:   rapid.SampledFrom([]string{"ret_0", "ret_1", "ret_2", "ret_3", "ret_4", "ret_*", "ret_gone", "ns_1", "ns_2", "int_1", "org_1", "*", ""}).Draw(t, "id"),
		Operations:   rapid.SampledFrom([][]Operation{nil, nil, {ReadData}, {ManagePermissions}, {ReadData, ManagePermissions, ExecuteRetriever}}).Draw(t, "operations"),
	}
})

// caller is a random caller, whose key is one of the organization's.
func (m *memory) caller(t *rapid.T) Caller {
	own := writer(rapid.SampledFrom([]Permission{Read, Write, Delete, Admin}).Draw(t, "permission"), rapid.SliceOfN(anyScope, 0, 2).Draw(t, "own scopes")...)
	own.Key.Hash, own.Key.Stored = digest("key_writer"), Active
	own.Key.Type = rapid.SampledFrom([]Type{Standard, Standard, Standard, MarketplaceSubscription, Session}).Draw(t, "own type")
	own.Key.AllowedOrigins = rapid.SampledFrom([][]string{nil, nil, {"https://a.example"}}).Draw(t, "own origins")
	m.keys = append(m.keys, *own.Key)
	return own
}

// shouldSee is the rule in the fewest words: who may list the organization sees every key of it, others those that name by exact id an
// existing retriever that they may read.
func shouldSee(m *memory, c Caller, k Key) bool {
	if k.InternalID != "int_1" {
		return false
	}
	covers := func(t ResourceType, id string) bool {
		return slices.ContainsFunc(c.Key.Scopes, func(s Scope) bool {
			return s.ResourceType == t && id != "" && matches(s.ResourceID, id) && (len(s.Operations) == 0 || slices.Contains(s.Operations, ReadData))
		})
	}
	all := len(c.Key.Scopes) == 0 || covers(ResourceOrganization, "int_1") || covers(ResourceOrganization, "org_1")
	if all && slices.Contains(c.Key.Permissions, Admin) {
		return true
	}
	return slices.ContainsFunc(k.Scopes, func(s Scope) bool {
		return s.ResourceType == ResourceRetriever && slices.ContainsFunc(m.retrievers, func(r Retriever) bool {
			in := slices.ContainsFunc(m.namespaces, func(n Namespace) bool { return n.ID == r.NamespaceID && n.InternalID == "int_1" })
			return r.InternalID == "int_1" && in && string(r.ID) == s.ResourceID &&
				(all || covers(ResourceNamespace, string(r.NamespaceID)) || covers(ResourceRetriever, string(r.ID)))
		})
	})
}

// Whatever the organization and the caller, each way to a key without a namespace shows exactly the keys that the rule makes visible, and May
// says what the mutations then say. Otherwise a caller sees beyond its scopes, or a button is offered that fails.
func TestKeysOfAnOrganization(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := organization(t)
		c := m.caller(t)
		ctx := context.Background()
		s := newService(m)
		var ids []ID
		var nodes, hashes []string
		for _, k := range m.keys {
			ids, nodes, hashes = append(ids, k.ID), append(nodes, string(k.ID)), append(hashes, strings.ToUpper(k.Hash))
		}
		n := Names{Namespace: rapid.SampledFrom([]string{"", "ns_1", "absent"}).Draw(t, "namespace"), KeysAnywhere: ids, NodeLists: [][]string{nodes}, HashLists: [][]string{hashes}, KeyFields: AllFields}
		found, err := s.LookUp(ctx, c, n)
		if err != nil {
			t.Fatal(err)
		}
		alone, err := s.LookUp(ctx, c, Names{Keys: ids, Nodes: nodes, KeyFields: AllFields})
		if err != nil {
			t.Fatal(err)
		}
		byHash, err := found.KeysWithHashes(hashes)
		if err != nil {
			t.Fatal(err)
		}
		asNodes, err := found.Nodes(nodes)
		if err != nil {
			t.Fatal(err)
		}
		var seen []*Key
		for i, k := range m.keys {
			want := shouldSee(m, c, k)
			key, keyErr := alone.Key(k.ID)
			node, nodeErr := alone.Node(string(k.ID))
			absent, absentErr := alone.Key("absent")
			for way, got := range map[string]*Key{
				"apiKey": key, "node": node.Key, "nodes": asNodes[i].Key, "_entities": found.Entity(ResourceAPIKey, string(k.ID)).Key, "apiKeysByHash": byHash[i],
			} {
				if (got != nil) != want || got != nil && (got.ID != k.ID || got.Hash != k.Hash || got.Status != k.StatusAt(noon)) {
					t.Fatalf("%s of %s: %+v, visible %t", way, k.ID, got, want)
				}
			}
			if (keyErr == nil) != want || (nodeErr == nil) != want || !want && (absent != nil || cmp.Diff(absentErr.Error(), keyErr.Error()) != "") {
				t.Fatalf("%s: %v, %v, absent %v", k.ID, keyErr, nodeErr, absentErr)
			}
			if want {
				seen = append(seen, key)
			}
		}

		can, err := s.May(ctx, c, seen)
		if err != nil {
			t.Fatal(err)
		}
		copied := func() *memory {
			return &memory{namespaces: m.namespaces, retrievers: m.retrievers, keys: slices.Clone(m.keys)}
		}
		for i, k := range seen {
			_, updateErr := newService(copied()).Update(ctx, c, "", k.ID, named("new"))
			_, rotateErr := newService(copied()).Rotate(ctx, c, "", k.ID, time.Second, nil)
			_, revokeErr := newService(copied()).Revoke(ctx, c, "", k.ID, nil)
			if want := (Can{updateErr == nil, rotateErr == nil, revokeErr == nil}); can[i] != want {
				t.Fatalf("%s of %s: can %+v, but the mutations say %v, %v, %v", k.ID, k.Type, can[i], updateErr, rotateErr, revokeErr)
			}
		}

		asked := append(rapid.SliceOfN(rapid.SampledFrom(ids), 1, 12).Draw(t, "ids"), "absent")
		dry := copied()
		told, dryErr := newService(dry).RevokeMany(ctx, c, asked, nil, true)
		if cmp.Diff(m.keys, dry.keys) != "" || len(dry.events) > 0 {
			t.Fatal("a dry run wrote something")
		}
		if reads := dry.reads(); strings.Contains(reads, "CurrentKeys") { // which finishes changes of other processes
			t.Fatalf("a dry run reads %s", reads)
		}
		store := copied()
		got, err := newService(store).RevokeMany(ctx, c, asked, nil, false)
		if may := c.authorizeChange(Delete) == nil; (err == nil) != may || (dryErr == nil) != may {
			t.Fatalf("%v, in a dry run %v", err, dryErr)
		}
		if err != nil {
			if Classify(err).Code != Forbidden || len(store.events) != 1 || cmp.Diff(m.keys, store.keys) != "" {
				t.Fatalf("%v, %+v", err, store.events)
			}
			return
		}
		denied, revoked := map[ID]bool{}, map[ID]bool{}
		for i, r := range got {
			k := m.keys[max(0, slices.Index(ids, r.ID))]
			at := slices.IndexFunc(seen, func(s *Key) bool { return s.ID == r.ID })
			var want, wantDry RevokeOutcome
			switch {
			case at < 0:
				want = OutcomeNotFound
			case !can[at].Revoke:
				want, denied[r.ID] = OutcomeForbidden, true
			case k.StatusAt(noon) == Revoked:
				want = OutcomeAlreadyRevoked
			default:
				want, wantDry, revoked[r.ID] = OutcomeRevoked, OutcomeWouldRevoke, true
			}
			if wantDry == "" {
				wantDry = want
			}
			if r.Outcome != want || told[i].Outcome != wantDry {
				t.Fatalf("%s: %s, in a dry run %s, want %s", r.ID, r.Outcome, told[i].Outcome, want)
			}
		}
		if done := revocationsOf(store); len(done) != len(revoked) || len(store.events) != len(revoked)+min(len(denied), keptDenials) {
			t.Fatalf("%d revoked, %d denied: %+v", len(revoked), len(denied), store.events)
		}
		if own := slices.Index(revocationsOf(store), c.Key.ID); own >= 0 && own != len(revoked)-1 {
			t.Fatalf("the caller's own key was revoked in place %d of %d", own, len(revoked))
		}
	})
}

// May reads nothing if the caller's scopes do not matter, and otherwise all retrievers at once.
func TestMayReadsOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		caller Caller
		want   string
	}{
		"no scopes": {writer(Admin), ""}, "no permission": {writer(Read, on(ResourceNamespace, "ns_1")), ""}, "scopes": {writer(Delete, on(ResourceNamespace, "ns_1")), "Retrievers"},
	} {
		store := fixture()
		var keys []*Key
		for i := range 5 {
			keys = append(keys, &store.keys[i])
		}
		if _, err := newService(store).May(t.Context(), tt.caller, keys); err != nil {
			t.Error(err)
		}
		if got := store.reads(); got != tt.want {
			t.Errorf("%s: read %q", name, got)
		}
	}
	store := fixture()
	store.fails = "Retrievers"
	if _, err := newService(store).May(t.Context(), writer(Delete, on(ResourceNamespace, "ns_1")), []*Key{&store.keys[0]}); codeAndField(t, err) != "UNAVAILABLE" {
		t.Errorf("an outage: %v", err)
	}
	if _, err := newService(store).May(t.Context(), Caller{}, nil); codeAndField(t, err) != "UNAUTHENTICATED" {
		t.Errorf("nobody: %v", err)
	}
}

// CanCreate says what Create says.
func TestCanCreate(t *testing.T) {
	for _, c := range []Caller{
		writer(Read), writer(Write), writer(Admin, on(ResourceNamespace, "ns_1")), writer(Write, on(ResourceRetriever, "ret_1")),
		writer(Write, Scope{ResourceNamespace, "ns_1", []Operation{ReadData}}), func() Caller { c := writer(Admin); c.Key.Type = Session; return c }(),
	} {
		for _, id := range []RetrieverID{"ret_1", "ret_2", "ret_*x"} {
			store := fixture()
			store.retrievers = append(store.retrievers, Retriever{ID: "ret_*x", Name: "odd", NamespaceID: "ns_1", InternalID: "int_1"})
			s := newService(store)
			r, err := s.Retriever(t.Context(), c, "shop", string(id))
			if err != nil {
				continue // not visible
			}
			if _, err = s.Create(t.Context(), c, "shop", string(id), named("new")); c.CanCreate(r) != (err == nil) {
				t.Errorf("%v for %s: CanCreate is %t, Create says %v", c.Key.Permissions, id, c.CanCreate(r), err)
			}
		}
	}
}
