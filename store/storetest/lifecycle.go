package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
	"retrieverkeys/store/document"
)

// newKey is a key as it is made, and the event of its making.
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

// current returns the key as a change is decided on it.
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
	events, err := e.EventPage(t.Context(), OddTenant, OddRetriever, apikey.EventRange{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// insertKey: a new key is there with its event, wherever one looks; where its id or hash is taken, neither is.
// Otherwise there would be keys that nobody can be held to account for.
func insertKey(t *testing.T, e store.Engine) {
	k, event := newKey("key_1")
	if err := e.InsertKey(t.Context(), k, event); err != nil {
		t.Fatal(err)
	}
	byHash, err := e.KeysByHash(t.Context(), k.Hash)
	equal(t, "KeysByHash", []apikey.Key{k}, byHash, err)
	equal(t, "CurrentKeys", k, current(t, e, k.ID), nil)
	pages, err := e.KeyPages(t.Context(), OddTenant, []apikey.RetrieverID{OddRetriever, "ret_2"}, apikey.KeyRange{Limit: 2, Fields: apikey.AllFields})
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
	n, err := e.CountKeys(t.Context(), OddTenant, OddRetriever, time.Time{})
	equal(t, "CountKeys after that", 1, n, err)
}

// changeKey: a change writes the fields it is about, raises the revision and brings its event. Where it is about the
// state, lists and counts follow at once: a revoked key that is listed as active is a lie that somebody will believe.
func changeKey(t *testing.T, e store.Engine) {
	k, event := newKey("key_1")
	if err := e.InsertKey(t.Context(), k, event); err != nil {
		t.Fatal(err)
	}
	active := func(want int) {
		t.Helper()
		n, err := e.CountKeys(t.Context(), OddTenant, "ret_2", instant)
		equal(t, "CountKeys active", want, n, err)
		pages, err := e.KeyPages(t.Context(), OddTenant, []apikey.RetrieverID{OddRetriever}, apikey.KeyRange{Limit: 5, ActiveAt: instant})
		equal(t, "KeyPages active", want, len(slices.Concat(pages...)), err)
	}
	active(1)
	change := func(fields apikey.Fields, activeAt time.Time, edit func(*apikey.Key)) {
		t.Helper()
		to := current(t, e, "key_1")
		want := to
		edit(&to)
		c := apikey.Change{Key: to, Fields: fields, ActiveAt: activeAt, Event: newEvent(fmt.Sprintf("evt_%d", to.Revision), "key_1", instant.Add(time.Minute))}
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
	revoker := "usr_2"
	change(apikey.FieldStatus|apikey.FieldRevokedAt|apikey.FieldRevokedBy, time.Time{}, func(k *apikey.Key) {
		k.Stored, k.RevokedAt, k.RevokedBy = apikey.Revoked, &expiry, &revoker
	})
	active(0)
	if n := len(allEvents(t, e)); n != 6 {
		t.Errorf("%d events, want one for each of 5 changes and the making", n)
	}
}

var instantBefore = instant.Add(-time.Millisecond)

// lostChange: a change that comes too late, or to another key than it was decided on, writes nothing. Otherwise of two
// people who change a key at once each would believe that it is as they left it, and a revoked key could be revived.
func lostChange(t *testing.T, e store.Engine) {
	for i, c := range []struct {
		name string
		key  func(*apikey.Key)    // as it is stored
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
		change := apikey.Change{Key: k, Fields: apikey.FieldName, ActiveAt: instant, Successor: &successor, Event: newEvent(string(k.ID)+"_lost", k.ID, instant)}
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

// successor: a key that takes another's place is there when the change is, once, and can be changed itself.
func successor(t *testing.T, e store.Engine) {
	old, event := newKey("key_old")
	if err := e.InsertKey(t.Context(), old, event); err != nil {
		t.Fatal(err)
	}
	next, _ := newKey("key_next")
	next.RotatedFrom = &old.ID
	old.RotatedTo, old.ExpiresAt = &next.ID, &instant
	c := apikey.Change{Key: old, Fields: apikey.FieldRotatedTo | apikey.FieldExpiresAt, ActiveAt: instant.Add(-time.Hour), Successor: &next, Event: newEvent("evt_rotated", old.ID, instant)}
	won, err := e.ChangeKey(t.Context(), c)
	equal(t, "ChangeKey", true, won, err)
	won, err = e.ChangeKey(t.Context(), c)
	equal(t, "ChangeKey again", false, won, err)
	old.Revision++
	pages, err := e.KeyPages(t.Context(), OddTenant, []apikey.RetrieverID{OddRetriever}, apikey.KeyRange{Limit: 5, Fields: apikey.AllFields})
	equal(t, "KeyPages", [][]apikey.Key{{old, next}}, pages, err)
	byHash, err := e.KeysByHash(t.Context(), next.Hash)
	equal(t, "KeysByHash", []apikey.Key{next}, byHash, err)
	next.Name = "renamed"
	won, err = e.ChangeKey(t.Context(), apikey.Change{Key: next, Fields: apikey.FieldName, ActiveAt: instant, Event: newEvent("evt_renamed", next.ID, instant)})
	equal(t, "ChangeKey of the successor", true, won, err)
	next.Revision++
	equal(t, "the successor", next, current(t, e, next.ID), nil)
}

// oddChanges: keys as old as they get can be revoked too, and above all.
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
			Key: k, Fields: apikey.FieldStatus | apikey.FieldRevokedAt, Event: newEvent("evt_"+string(k.ID), k.ID, instant),
		})
		equal(t, odd.Name, true, won, err)
		k.Revision++
		equal(t, odd.Name, k, current(t, e, k.ID), nil)
	}
}

// useKeys: last_used_at never goes back, is written once a minute, and is no change of the key. Otherwise a slow
// process would make a key look abandoned, and every use would make other people's changes fail.
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

// events: every page of events, forth and back, about all or one key, has them once and in order, and nobody else's.
// Otherwise somebody reading the trail misses the one line that matters.
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
		again := event
		again.ActorID = "somebody else"
		for _, e2 := range []apikey.Event{event, foreign, elsewhere, nowhere, again} {
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
		n, err := e.CountEvents(t.Context(), OddTenant, "ret_2", about)
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
						r := apikey.EventRange{About: about, After: after, Before: before, FromEnd: fromEnd, Limit: limit}
						page, err := e.EventPage(t.Context(), OddTenant, OddRetriever, r)
						equal(t, fmt.Sprintf("EventPage %+v", r), cut(within, fromEnd, limit), page, err)
					}
				}
			}
		}
	}
}

// older reports whether a stands behind b, newest first.
func older(a, b apikey.EventPosition) bool {
	return cmp.Or(a.Timestamp.Compare(b.Timestamp), cmp.Compare(a.ID, b.ID)) < 0
}

// namespacesCalled: the store's administrator names a namespace of any tenant by its id or name.
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

// keysOfAllTenants: the store's administrator finds a key of any tenant by its id or its beginning, and sees every namespace. Without
// this, a leaked key cannot be revoked before somebody finds out whose it is.
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
	all, err := e.AllNamespaces(t.Context())
	equal(t, "AllNamespaces", 2, len(all), err)
}

// lifecycle runs the Service on the engine through random lives of a few keys, and holds every answer to a plain model:
// who gets in, what is listed, what the trail tells.
func lifecycle(t *testing.T, e store.Engine) {
	setUnlessAsked(t, "rapid.checks", "30")
	setUnlessAsked(t, "rapid.seed", "1")
	rapid.Check(t, func(t *rapid.T) {
		l := newLives(t, e)
		t.Repeat(map[string]func(*rapid.T){
			"create": l.create, "update": l.update, "rotate": l.rotate, "revoke": l.revoke, "wait": l.wait, "look": l.look,
		})
		l.look(t)
	})
}

// lives is the model: what is true of each key, and how many events that took.
type lives struct {
	service *apikey.Service
	caller  apikey.Caller
	ns      string
	now     time.Time
	keys    []*life
	events  int
}

type life struct {
	id        apikey.ID
	plaintext string
	name      string
	expiresAt *time.Time
	revokedAt *time.Time
	rotated   bool
	events    int
}

func (k *life) status(now time.Time) apikey.Status {
	switch {
	case k.revokedAt != nil:
		return apikey.Revoked
	case k.expiresAt != nil && !now.Before(*k.expiresAt):
		return apikey.Expired
	default:
		return apikey.Active
	}
}

func newLives(t *rapid.T, e store.Engine) *lives {
	n := worlds.Add(1)
	tenant := apikey.InternalID(fmt.Sprintf("int_lives_%d", n))
	l := &lives{ns: "ns_lives", now: instant}
	l.service = &apikey.Service{Store: e, Now: func() time.Time { return l.now }}
	ns := apikey.Namespace{ID: "ns_lives", Name: "lives", InternalID: tenant}
	admin, _ := apikey.NewAdminKey(ns, "usr_1", "caller", "", instant)
	l.caller = apikey.Caller{Key: &admin}
	imported, err := e.Import(t.Context(), document.Batch{
		Namespaces: []bson.Raw{document.FromNamespace(ns, "")},
		Retrievers: []bson.Raw{document.FromRetriever(apikey.Retriever{ID: "ret_lives", Name: "lives", NamespaceID: ns.ID, InternalID: tenant})},
		Keys:       []bson.Raw{document.FromKey(admin)},
	}, document.ImportOptions{})
	if err != nil || imported.Stored != 3 {
		t.Fatal(imported, err)
	}
	return l
}

func (l *lives) wait(t *rapid.T) {
	l.now = l.now.Add(time.Duration(rapid.IntRange(1, 5000).Draw(t, "milliseconds")) * time.Millisecond)
}

// drawExpiry is a moment that is about to come, or none.
func (l *lives) drawExpiry(t *rapid.T) *time.Time {
	if rapid.Bool().Draw(t, "expires") {
		at := l.now.Add(time.Duration(rapid.IntRange(1, 10_000).Draw(t, "expiry in milliseconds")) * time.Millisecond)
		return &at
	}
	return nil
}

func (l *lives) create(t *rapid.T) {
	name := rapid.StringMatching("[a-c]{1,3}").Draw(t, "name")
	expiry := l.drawExpiry(t)
	made, err := l.service.Create(t.Context(), l.caller, l.ns, "lives", apikey.Settings{Name: apikey.Given(&name), ExpiresAt: apikey.Given(expiry)})
	if err != nil {
		t.Fatal(err)
	}
	l.keys = append(l.keys, &life{id: made.Key.ID, plaintext: made.Secret.Reveal(), name: name, expiresAt: expiry, events: 1})
	l.events++
}

// any draws a key, if there is one.
func (l *lives) any(t *rapid.T) *life {
	if len(l.keys) == 0 {
		t.Skip("there is no key yet")
	}
	return rapid.SampledFrom(l.keys).Draw(t, "key")
}

// refused fails the test unless a change of the key was refused exactly if it is not active.
func (l *lives) refused(t *rapid.T, k *life, err error) bool {
	refused := k.status(l.now) != apikey.Active
	if refused != (err != nil) || refused && apikey.Classify(err).Code != apikey.Conflict {
		t.Fatalf("a change of %s, which is %s: %v", k.id, k.status(l.now), err)
	}
	return refused
}

func (l *lives) update(t *rapid.T) {
	k := l.any(t)
	var s apikey.Settings
	name, expiry := k.name, k.expiresAt
	if rapid.Bool().Draw(t, "rename") {
		name = rapid.StringMatching("[a-c]{1,3}").Draw(t, "name")
		s.Name = apikey.Given(&name)
	}
	if rapid.Bool().Draw(t, "move the expiry") {
		expiry = l.drawExpiry(t)
		s.ExpiresAt = apikey.Given(expiry)
	}
	_, err := l.service.Update(t.Context(), l.caller, l.ns, k.id, s)
	if putOff := k.expiresAt != nil && (expiry == nil || expiry.After(*k.expiresAt)); k.rotated && putOff && k.status(l.now) == apikey.Active {
		if apikey.Classify(err).Code != apikey.Conflict {
			t.Fatalf("the end of a rotated key is put off: %v", err)
		}
		return
	}
	same := name == k.name && (expiry == nil) == (k.expiresAt == nil) && (expiry == nil || expiry.Equal(*k.expiresAt))
	if l.refused(t, k, err) || same {
		return
	}
	k.name, k.expiresAt = name, expiry
	k.events++
	l.events++
}

func (l *lives) rotate(t *rapid.T) {
	k := l.any(t)
	overlap := time.Duration(rapid.IntRange(0, 3).Draw(t, "overlap")) * time.Second
	r, err := l.service.Rotate(t.Context(), l.caller, l.ns, k.id, overlap)
	if k.rotated && k.status(l.now) == apikey.Active {
		if apikey.Classify(err).Code != apikey.Conflict {
			t.Fatalf("a second rotation: %v", err)
		}
		return
	}
	if l.refused(t, k, err) {
		return
	}
	l.keys = append(l.keys, &life{id: r.Key.ID, plaintext: r.Secret.Reveal(), name: k.name, expiresAt: k.expiresAt})
	end := l.now.Add(overlap)
	k.rotated = true
	switch {
	case overlap == 0:
		k.revokedAt = &end
	case k.expiresAt == nil || end.Before(*k.expiresAt):
		k.expiresAt = &end
	}
	k.events++
	l.events++
}

func (l *lives) revoke(t *rapid.T) {
	k := l.any(t)
	got, err := l.service.Revoke(t.Context(), l.caller, l.ns, k.id)
	if err != nil {
		t.Fatal(err)
	}
	if k.revokedAt == nil {
		now := l.now
		k.revokedAt = &now
		k.events++
		l.events++
	}
	if got.Status != apikey.Revoked || !got.RevokedAt.Equal(*k.revokedAt) {
		t.Fatalf("%s is %s since %v, want since %v", k.id, got.Status, got.RevokedAt, k.revokedAt)
	}
}

// look compares all there is with the model.
func (l *lives) look(t *rapid.T) {
	r, err := l.service.Retriever(t.Context(), l.caller, l.ns, "ret_lives")
	if err != nil {
		t.Fatal(err)
	}
	for _, all := range []bool{false, true} {
		var want []string
		for _, k := range l.keys {
			if s := k.status(l.now); all || s == apikey.Active {
				want = append(want, fmt.Sprint(k.id, k.name, s, date(k.expiresAt), date(k.revokedAt)))
			}
		}
		listed, err := l.service.List(t.Context(), l.caller, []*apikey.Retriever{r}, apikey.ListOptions{
			IncludeRevoked: all, Fields: apikey.AllFields, Wants: apikey.Wants{Items: true, Total: true},
		})
		if err != nil || listed[0].Err != nil {
			t.Fatal(err, listed)
		}
		var got []string
		for _, k := range listed[0].Keys.Items {
			got = append(got, fmt.Sprint(k.ID, k.Name, k.Status, date(k.ExpiresAt), date(k.RevokedAt)))
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(want, got) || listed[0].Keys.Total != len(want) {
			t.Fatalf("of all %t listed are\n%s\nwant\n%s", all, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	for _, k := range l.keys {
		_, err := l.service.Authenticate(t.Context(), k.plaintext)
		if in := err == nil; in != (k.status(l.now) == apikey.Active) {
			t.Fatalf("%s is %s, and Authenticate says %v", k.id, k.status(l.now), err)
		}
	}
	trail := func(about apikey.ID) int {
		c, err := l.service.AuditEvents(t.Context(), l.caller, r, about, apikey.Page{}, apikey.Wants{Items: true, Total: true})
		if err != nil || c.Total != len(c.Items) {
			t.Fatal(c, err)
		}
		return c.Total
	}
	if n := trail(""); n != l.events {
		t.Fatalf("the trail has %d events, want %d", n, l.events)
	}
	if len(l.keys) > 0 {
		k := rapid.SampledFrom(l.keys).Draw(t, "whose trail")
		if n := trail(k.id); n != k.events {
			t.Fatalf("the trail of %s has %d events, want %d", k.id, n, k.events)
		}
	}
}

func date(t *time.Time) string {
	if t == nil {
		return " -"
	}
	return t.UTC().Format(" 15:04:05.000")
}
