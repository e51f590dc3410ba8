package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
	"retrieverkeys/store/document"
)

// newKey returns a new key and the event of its creation.
func newKey(id apikey.ID) (apikey.Key, apikey.Event) {
	created := instant
	return apikey.Key{
		ID: id, Hash: hashOf(string(id)), Type: apikey.RetrieverKey, InternalID: OddTenant, UserID: "usr_1", Name: "new", Stored: apikey.Active,
		CreatedAt: &created, Permissions: []apikey.Permission{apikey.Read}, Scopes: []apikey.Scope{
			{ResourceType: apikey.ResourceRetriever, ResourceID: string(OddRetriever), Operations: []apikey.Operation{apikey.ExecuteRetriever}},
			{ResourceType: apikey.ResourceRetriever, ResourceID: "ret_2"},
		},
	}, newEvent("evt_"+string(id), id, instant)
}

func newEvent(id string, about apikey.ID, at time.Time) apikey.Event {
	before, after := "a", "b"
	key, address, agent := apikey.ID("key_actor"), "203.0.113.9", "curl/8"
	return apikey.Event{
		ID: apikey.EventID(id), Timestamp: at, Action: apikey.KeyUpdated, ResourceType: apikey.ResourceAPIKey, ResourceID: string(about),
		ActorID: "usr_1", ActorType: apikey.User, ActorKeyID: &key, Outcome: apikey.Success, IPAddress: &address, UserAgent: &agent,
		Changes:    []apikey.FieldChange{{Field: "name", Before: &before, After: &after}, {Field: "expires_at"}},
		InternalID: OddTenant, NamespaceID: "ns_1", RetrieverIDs: []apikey.RetrieverID{OddRetriever, "ret_2", OddRetriever},
	}
}

// current reads the key as before a change.
func current(t *testing.T, e store.Engine, id apikey.ID) apikey.Key {
	t.Helper()
	keys, err := e.CurrentKeys(t.Context(), OddTenant, id)
	if err != nil || len(keys) != 1 {
		t.Fatalf("CurrentKeys of %s = %v, %v, want one", id, keys, err)
	}
	return keys[0]
}

func allEvents(t *testing.T, e store.Engine) []apikey.Event {
	t.Helper()
	events, err := e.EventPage(t.Context(), OddTenant, apikey.EventList{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// insertKey: Every read must find a new key, and its event. If its id or hash is taken, neither must be stored.
// Otherwise there would be keys without an audit trail.
func insertKey(t *testing.T, e store.Engine) {
	k, event := newKey("key_1")
	if err := e.InsertKey(t.Context(), k, event); err != nil {
		t.Fatal(err)
	}
	byHash, err := e.KeysByHash(t.Context(), k.Hash)
	equal(t, "KeysByHash", []apikey.Key{k}, byHash, err)
	equal(t, "CurrentKeys", k, current(t, e, k.ID), nil)
	pages, err := e.KeyPages(t.Context(), OddTenant, []apikey.RetrieverID{OddRetriever, "ret_2"}, apikey.KeyList{Limit: 2, Fields: apikey.AllFields})
	equal(t, "KeyPages", [][]apikey.Key{{k}, {k}}, pages, err)
	equal(t, "events", []apikey.Event{event}, allEvents(t, e), nil)

	sameHash, sameHashEvent := newKey("key_2")
	sameHash.Hash = k.Hash
	sameID, sameIDEvent := newKey("key_1")
	sameID.Hash, sameIDEvent.ID = hashOf("other"), "evt_other"
	if err := e.InsertKey(t.Context(), sameHash, sameHashEvent); err == nil {
		t.Error("a second key with the hash was stored")
	}
	if err := e.InsertKey(t.Context(), sameID, sameIDEvent); err == nil {
		t.Error("a second key with the id was stored")
	}
	equal(t, "events after that", []apikey.Event{event}, allEvents(t, e), nil)
	n, err := e.CountKeys(t.Context(), OddTenant, apikey.KeyConditions{}.Of(OddRetriever))
	equal(t, "CountKeys after that", 1, n, err)
}

// changeKey: A change must write its fields, raise the revision and store its event. If it changes the status, lists
// and counts must change at once. Otherwise somebody would believe that a revoked key is active.
func changeKey(t *testing.T, e store.Engine) {
	k, event := newKey("key_1")
	if err := e.InsertKey(t.Context(), k, event); err != nil {
		t.Fatal(err)
	}
	active := func(want int) {
		t.Helper()
		n, err := e.CountKeys(t.Context(), OddTenant, apikey.ActiveKeys(instant).Of("ret_2"))
		equal(t, "CountKeys active", want, n, err)
		pages, err := e.KeyPages(t.Context(), OddTenant, []apikey.RetrieverID{OddRetriever}, apikey.KeyList{Limit: 5, Where: apikey.ActiveKeys(instant)})
		equal(t, "KeyPages active", want, len(slices.Concat(pages...)), err)
	}
	active(1)
	change := func(fields apikey.Fields, activeAt time.Time, edit func(*apikey.Key)) {
		t.Helper()
		to := current(t, e, "key_1")
		want := to
		edit(&to)
		c := apikey.Change{Key: to, Fields: fields, ActiveAt: activeAt, Events: []apikey.Event{newEvent(fmt.Sprintf("evt_%d", to.Revision), "key_1", instant.Add(time.Minute))}}
		c.Key.UserID = "not to be written"
		won, err := e.ChangeKey(t.Context(), c)
		equal(t, "ChangeKey", true, won, err)
		edit(&want)
		want.Revision++
		equal(t, "the key", want, current(t, e, "key_1"), nil)
	}
	limit, expiry := int32(5), instant.Add(time.Hour)
	change(apikey.FieldName|apikey.FieldAllowedOrigins|apikey.FieldRateLimitOverride, instant, func(k *apikey.Key) {
		k.Name, k.AllowedOrigins, k.RateLimitOverride = "é", []string{"https://a.example"}, &limit
	})
	change(apikey.FieldExpiresAt, instant, func(k *apikey.Key) { k.ExpiresAt = &expiry })
	change(apikey.FieldExpiresAt|apikey.FieldAllowedOrigins, instant, func(k *apikey.Key) { k.ExpiresAt, k.AllowedOrigins = nil, nil })
	active(1)
	change(apikey.FieldExpiresAt, instant, func(k *apikey.Key) { k.ExpiresAt = &instantBefore })
	active(0)
	revoker, reason := "usr_2", "It was posted in a forum."
	change(apikey.FieldStatus|apikey.FieldRevokedAt|apikey.FieldRevokedBy|apikey.FieldRevokeReason, time.Time{}, func(k *apikey.Key) {
		k.Stored, k.RevokedAt, k.RevokedBy, k.RevokeReason = apikey.Revoked, &expiry, &revoker, &reason
	})
	active(0)
	if n := len(allEvents(t, e)); n != 6 {
		t.Errorf("%d events, want 6: the creation and 5 changes", n)
	}
}

var instantBefore = instant.Add(-time.Millisecond)

// lostChange: A change that comes too late, or to another key than it was decided on, must write nothing. Otherwise of
// two people who change a key at once, each would believe that their change took effect, and a revoked key could be
// revived.
func lostChange(t *testing.T, e store.Engine) {
	for i, c := range []struct {
		name string
		key  func(*apikey.Key)    // the stored key
		to   func(*apikey.Change) // what the change expects
	}{
		{"another revision", nil, func(c *apikey.Change) { c.Key.Revision = 1 }},
		{"an earlier revision", nil, func(c *apikey.Change) { c.Key.Revision = -1 }},
		{"another hash", nil, func(c *apikey.Change) { c.Key.Hash = hashOf("other") }},
		{"another tenant", nil, func(c *apikey.Change) { c.Key.InternalID = "int_other" }},
		{"another id", nil, func(c *apikey.Change) { c.Key.ID = "key_other" }},
		{"revoked by its date", func(k *apikey.Key) { k.RevokedAt = &instantBefore }, nil},
		{"revoked by its status", func(k *apikey.Key) { k.Stored = apikey.Revoked }, nil},
		{"revoked, to be revoked", func(k *apikey.Key) { k.RevokedAt = &instantBefore }, func(c *apikey.Change) { c.ActiveAt = time.Time{} }},
		{"revoked by its status, to be revoked", func(k *apikey.Key) { k.Stored = apikey.Revoked }, func(c *apikey.Change) { c.ActiveAt = time.Time{} }},
		{"expired", func(k *apikey.Key) { at := instant; k.ExpiresAt = &at }, nil},
		{"expired by its status", func(k *apikey.Key) { k.Stored = apikey.Expired }, nil},
	} {
		k, event := newKey(apikey.ID(fmt.Sprintf("key_%d", i)))
		if c.key != nil {
			c.key(&k)
		}
		if err := e.InsertKey(t.Context(), k, event); err != nil {
			t.Fatal(err)
		}
		successor, _ := newKey(k.ID + "_successor")
		change := apikey.Change{Key: k, Fields: apikey.FieldName, ActiveAt: instant, Successor: &successor, Events: []apikey.Event{newEvent(string(k.ID)+"_lost", k.ID, instant)}}
		change.Key.Name = "lost"
		if c.to != nil {
			c.to(&change)
		}
		won, err := e.ChangeKey(t.Context(), change)
		equal(t, c.name, false, won, err)
		equal(t, c.name+": the key", k, current(t, e, k.ID), nil)
		found, err := e.Keys(t.Context(), OddTenant, []apikey.ID{successor.ID}, 0)
		equal(t, c.name+": the successor", nil, found, err)
	}
	for _, event := range allEvents(t, e) {
		if strings.HasSuffix(string(event.ID), "_lost") {
			t.Errorf("the event %s of a lost change is stored", event.ID)
		}
	}
}

// successor: A change must store its successor exactly once, and the successor must be changeable.
func successor(t *testing.T, e store.Engine) {
	old, event := newKey("key_old")
	if err := e.InsertKey(t.Context(), old, event); err != nil {
		t.Fatal(err)
	}
	next, _ := newKey("key_next")
	next.RotatedFrom = &old.ID
	old.RotatedTo, old.ExpiresAt = &next.ID, &instant
	c := apikey.Change{Key: old, Fields: apikey.FieldRotatedTo | apikey.FieldExpiresAt, ActiveAt: instant.Add(-time.Hour), Successor: &next, Events: []apikey.Event{newEvent("evt_rotated", old.ID, instant)}}
	won, err := e.ChangeKey(t.Context(), c)
	equal(t, "ChangeKey", true, won, err)
	won, err = e.ChangeKey(t.Context(), c)
	equal(t, "second ChangeKey", false, won, err)
	old.Revision++
	pages, err := e.KeyPages(t.Context(), OddTenant, []apikey.RetrieverID{OddRetriever}, apikey.KeyList{Limit: 5, Fields: apikey.AllFields})
	equal(t, "KeyPages", [][]apikey.Key{{old, next}}, pages, err)
	byHash, err := e.KeysByHash(t.Context(), next.Hash)
	equal(t, "KeysByHash", []apikey.Key{next}, byHash, err)
	next.Name = "renamed"
	won, err = e.ChangeKey(t.Context(), apikey.Change{Key: next, Fields: apikey.FieldName, ActiveAt: instant, Events: []apikey.Event{newEvent("evt_renamed", next.ID, instant)}})
	equal(t, "ChangeKey of the successor", true, won, err)
	next.Revision++
	equal(t, "the successor", next, current(t, e, next.ID), nil)
}

// oddChanges: Old and odd keys must be revocable like all others.
func oddChanges(t *testing.T, e store.Engine) {
	mustImport(t, e, OddBatch())
	for _, odd := range OddKeys() {
		k := odd.Want
		revocable := k.InternalID == OddTenant && k.StatusAt(instant) != apikey.Revoked
		if !revocable {
			continue
		}
		revokedAt := instant
		k.Stored, k.RevokedAt = apikey.Revoked, &revokedAt
		won, err := e.ChangeKey(t.Context(), apikey.Change{
			Key: k, Fields: apikey.FieldStatus | apikey.FieldRevokedAt, Events: []apikey.Event{newEvent("evt_"+string(k.ID), k.ID, instant)},
		})
		equal(t, odd.Name, true, won, err)
		k.Revision++
		equal(t, odd.Name, k, current(t, e, k.ID), nil)
	}
}

// useKeys: last_used_at must never go back, must change at most once a minute, and must not raise the revision.
// Otherwise a slow process would make a key look abandoned, and every use would make other people's changes fail.
func useKeys(t *testing.T, e store.Engine) {
	k, event := newKey("key_1")
	if err := e.InsertKey(t.Context(), k, event); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		at   time.Time
		edit func(*apikey.Use)
		want *time.Time
	}{
		{"another tenant's", instant, func(u *apikey.Use) { u.InternalID = "int_other" }, nil},
		{"another hash", instant, func(u *apikey.Use) { u.Hash = hashOf("other") }, nil},
		{"another id", instant, func(u *apikey.Use) { u.ID = "key_other" }, nil},
		{"the first", instant, nil, after(0)},
		{"one a moment later", instant.Add(apikey.UseInterval - time.Millisecond), nil, after(0)},
		{"one before it", instant.Add(-time.Hour), nil, after(0)},
		{"one a minute later", instant.Add(apikey.UseInterval), nil, after(apikey.UseInterval)},
		{"one much later", instant.Add(time.Hour), nil, after(time.Hour)},
	} {
		use := apikey.Use{InternalID: OddTenant, ID: k.ID, Hash: k.Hash, At: c.at}
		if c.edit != nil {
			c.edit(&use)
		}
		if err := e.UseKeys(t.Context(), []apikey.Use{use, {InternalID: OddTenant, ID: "key_none", Hash: "none", At: c.at}}); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		k.LastUsedAt = c.want
		equal(t, c.name, k, current(t, e, k.ID), nil)
	}
	if err := e.UseKeys(t.Context(), nil); err != nil {
		t.Errorf("no uses: %v", err)
	}
	equal(t, "events", []apikey.Event{event}, allEvents(t, e), nil)
}

func after(d time.Duration) *time.Time {
	t := instant.Add(d)
	return &t
}

// events: Every page of events, in both directions, about all keys or one, must have each event once and in order, and
// none of another tenant's. Otherwise a reader of the trail could miss the one event that matters.
func events(t *testing.T, e store.Engine) {
	var stored []apikey.Event
	for i := range 24 {
		event := newEvent(fmt.Sprintf("evt_%02d", i*7%24), apikey.ID(fmt.Sprintf("key_%d", i%3)), instant.Add(time.Duration(i/5)*time.Millisecond))
		stored = append(stored, event)
		foreign := event
		foreign.InternalID = "int_other"
		elsewhere := event
		elsewhere.ID, elsewhere.RetrieverIDs = event.ID+"_elsewhere", []apikey.RetrieverID{"ret_3"}
		nowhere := event
		nowhere.ID, nowhere.RetrieverIDs = event.ID+"_nowhere", nil
		duplicate := event
		duplicate.ActorID = "somebody else"
		for _, e2 := range []apikey.Event{event, foreign, elsewhere, nowhere, duplicate} {
			if e2.InternalID != OddTenant {
				e2.ID += "_foreign"
			}
			if err := e.InsertEvent(t.Context(), e2); err != nil {
				t.Fatal(err)
			}
		}
	}
	slices.SortFunc(stored, func(a, b apikey.Event) int {
		return cmp.Or(b.Timestamp.Compare(a.Timestamp), cmp.Compare(b.ID, a.ID))
	})
	for _, about := range []apikey.ID{"", "key_1", "key_none"} {
		want := slices.DeleteFunc(slices.Clone(stored), func(e apikey.Event) bool { return about != "" && e.ResourceID != string(about) })
		where := apikey.EventConditions{Naming: []apikey.RetrieverID{OddRetriever}}
		if about != "" {
			where.About = &about
		}
		n, err := e.CountEvents(t.Context(), OddTenant, where)
		equal(t, fmt.Sprintf("CountEvents about %q", about), len(want), n, err)
		bounds := []*apikey.EventPosition{nil, {Timestamp: instant.Add(2 * time.Millisecond), ID: "evt_none"}}
		for i := range want {
			bounds = append(bounds, &apikey.EventPosition{Timestamp: want[i].Timestamp, ID: want[i].ID})
		}
		for i, after := range bounds {
			for _, before := range []*apikey.EventPosition{nil, bounds[len(bounds)-1-i], bounds[len(bounds)/2]} {
				for _, limit := range []int{1, 3, 100} {
					for _, fromEnd := range []bool{false, true} {
						within := slices.DeleteFunc(slices.Clone(want), func(e apikey.Event) bool {
							at := apikey.EventPosition{Timestamp: e.Timestamp, ID: e.ID}
							return after != nil && !older(at, *after) || before != nil && !older(*before, at)
						})
						l := apikey.EventList{Where: where, After: after, Before: before, FromEnd: fromEnd, Limit: limit}
						page, err := e.EventPage(t.Context(), OddTenant, l)
						equal(t, fmt.Sprintf("EventPage %+v", l), cut(within, fromEnd, limit), page, err)
					}
				}
			}
		}
	}
}

// older reports whether a comes after b in a list, newest first.
func older(a, b apikey.EventPosition) bool {
	return cmp.Or(a.Timestamp.Compare(b.Timestamp), cmp.Compare(a.ID, b.ID)) < 0
}

// namespacesCalled: The store's administrator must be able to name a namespace of any tenant by its id or name.
func namespacesCalled(t *testing.T, e store.Engine) {
	namespace := func(id, name, tenant string) bson.Raw {
		return document.FromNamespace(apikey.Namespace{ID: apikey.NamespaceID(id), Name: name, InternalID: apikey.InternalID(tenant)}, "")
	}
	mustImport(t, e, document.Batch{Namespaces: []bson.Raw{
		namespace("ns_1", "production", "int_1"), namespace("ns_2", "ns_1", "int_1"), namespace("ns_1", "production", "int_2"),
		namespace("same", "same", "int_1"),
	}})
	for ref, want := range map[string]int{"ns_1": 3, "production": 2, "ns_2": 1, "same": 1, "none": 0, "": 0} {
		found, err := e.NamespacesCalled(t.Context(), ref)
		equal(t, fmt.Sprintf("NamespacesCalled %q", ref), want, len(found), err)
	}
}

// keysOfAllTenants: The store's administrator must find a key of any tenant by its id or prefix, and see every
// namespace. Otherwise a leaked key could not be revoked before somebody finds out whose it is.
func keysOfAllTenants(t *testing.T, e store.Engine) {
	key := func(tenant, id, prefix string) bson.Raw {
		k := apikey.Key{ID: apikey.ID(id), Hash: hashOf(tenant + id), InternalID: apikey.InternalID(tenant), Name: tenant + " " + id, Stored: apikey.Active}
		if prefix != "" {
			k.Prefix = &prefix
		}
		return document.FromKey(k)
	}
	mustImport(t, e, document.Batch{
		Namespaces: []bson.Raw{
			document.FromNamespace(apikey.Namespace{ID: "ns_1", Name: "production", InternalID: "int_1"}, ""),
			document.FromNamespace(apikey.Namespace{ID: "ns_1", Name: "production", InternalID: "int_2"}, ""),
		},
		Keys: []bson.Raw{
			key("int_1", "key_1", "ret_sk_abc..."), key("int_2", "key_1", "ret_sk_abd..."), key("int_2", "key_2", "ret_sk_abc..."),
			key("int_3", "key_3", ""), key("int_4", "key_4", "ret_sk_abc"),
		},
	})
	names := func(keys []apikey.Key) string {
		var found []string
		for _, k := range keys {
			found = append(found, k.Name)
		}
		slices.Sort(found)
		return strings.Join(found, ", ")
	}
	for id, want := range map[apikey.ID]string{"key_1": "int_1 key_1, int_2 key_1", "key_3": "int_3 key_3", "key_9": "", "": ""} {
		found, err := e.KeysWithID(t.Context(), id)
		equal(t, fmt.Sprintf("KeysWithID %q", id), want, names(found), err)
	}
	for _, c := range []struct {
		prefixes []string
		want     string
	}{
		{[]string{"ret_sk_abc...", "ret_sk_abc"}, "int_1 key_1, int_2 key_2, int_4 key_4"},
		{[]string{"ret_sk_abd..."}, "int_2 key_1"},
		{[]string{"ret_sk_ab", "ret_sk_...", ""}, ""},
		{nil, ""},
	} {
		found, err := e.KeysWithPrefix(t.Context(), c.prefixes)
		equal(t, fmt.Sprintf("KeysWithPrefix %q", c.prefixes), c.want, names(found), err)
	}
	tenants, err := e.TenantsOfKeys(t.Context())
	slices.Sort(tenants)
	equal(t, "TenantsOfKeys", []apikey.InternalID{"int_1", "int_2", "int_3", "int_4"}, tenants, err)
	all, err := e.AllNamespaces(t.Context())
	equal(t, "AllNamespaces", 2, len(all), err)
}
