package storetest

import (
	"fmt"
	"testing"
	"time"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
)

// leaks: A change of a key in any state must look at the revision alone, and must store all of its events, in their
// order. Otherwise nobody could note that an expired key leaked, or a key would be revoked without a trace.
func leaks(t *testing.T, e store.Engine) {
	for i, state := range []struct {
		name   string
		set    func(*apikey.Key)
		living bool
	}{
		{"active", func(*apikey.Key) {}, true},
		{"active until later", func(k *apikey.Key) { k.ExpiresAt = new(instant.Add(time.Hour)) }, true},
		{"revoked by its date", func(k *apikey.Key) { k.RevokedAt = &instantBefore }, false},
		{"revoked by its status", func(k *apikey.Key) { k.Stored = apikey.Revoked }, false},
		{"expired", func(k *apikey.Key) { k.ExpiresAt = &instantBefore }, false},
		{"expired by its status", func(k *apikey.Key) { k.Stored = apikey.Expired }, false},
	} {
		k, made := newKey(apikey.ID(fmt.Sprintf("key_%d", i)))
		state.set(&k)
		if err := e.InsertKey(t.Context(), k, made); err != nil {
			t.Fatal(err)
		}
		k = current(t, e, k.ID)
		change := apikey.Change{Key: k, AnyState: true, Fields: apikey.LeakFields}
		change.Key.LeakedAt, change.Key.LeakSource, change.Key.LeakURL = new(instant), new("commit"), new("https://example.com/a?b=c")
		reported := newEvent("evt_reported_"+string(k.ID), k.ID, instant)
		reported.Action, change.Events = apikey.KeyLeakReported, []apikey.Event{reported}
		if state.living {
			change.Key.Stored, change.Key.RevokedAt, change.Key.RevokeReason = apikey.Revoked, new(instant), new("leaked")
			change.Fields |= apikey.FieldStatus | apikey.FieldRevokedAt | apikey.FieldRevokeReason
			revoked := newEvent("evt_revoked_"+string(k.ID), k.ID, instant)
			revoked.Action, change.Events = apikey.KeyRevoked, append(change.Events, revoked)
		}
		want := change.Key
		want.Revision++
		won, err := e.ChangeKey(t.Context(), change)
		equal(t, state.name, true, won, err)
		equal(t, state.name+": the key", want, current(t, e, k.ID), nil)
		equal(t, state.name+": the events", append([]apikey.Event{made}, change.Events...), eventsAbout(t, e, k.ID), nil)
		n, err := e.CountKeys(t.Context(), OddTenant, apikey.ActiveKeys(instant).Of(OddRetriever))
		equal(t, state.name+": active keys", 0, n, err)

		// The same change comes too late.
		change.Events = []apikey.Event{newEvent("evt_late_"+string(k.ID), k.ID, instant)}
		won, err = e.ChangeKey(t.Context(), change)
		equal(t, state.name+", too late", false, won, err)
		equal(t, state.name+", too late: the key", want, current(t, e, k.ID), nil)
		if n := len(eventsAbout(t, e, k.ID)); n != len(change.Events)+map[bool]int{true: 2, false: 1}[state.living] {
			t.Errorf("%s: a change that came too late left an event: there are %d", state.name, n)
		}
	}
}

// eventsAbout returns the events about a key, in the order of their ids.
func eventsAbout(t *testing.T, e store.Engine, id apikey.ID) (about []apikey.Event) {
	t.Helper()
	for _, event := range allEvents(t, e) {
		if event.ResourceID == string(id) {
			about = append([]apikey.Event{event}, about...)
		}
	}
	return about
}

// currentKeysWithHashes: A report of leaks must find the keys of all tenants, or of one. Otherwise a leaked key would
// survive, or somebody would learn about the keys of another organization.
func currentKeysWithHashes(t *testing.T, e store.Engine) {
	ours, made := newKey("key_1")
	if err := e.InsertKey(t.Context(), ours, made); err != nil {
		t.Fatal(err)
	}
	theirs, made := newKey("key_2")
	theirs.InternalID, theirs.Hash, made.InternalID, made.ID = "int_theirs", hashOf("theirs"), "int_theirs", "evt_theirs"
	if err := e.InsertKey(t.Context(), theirs, made); err != nil {
		t.Fatal(err)
	}
	var hashes []string
	for i := range 1000 {
		hashes = append(hashes, hashOf(fmt.Sprint(i)))
	}
	hashes = append(hashes, ours.Hash, theirs.Hash, ours.Hash)
	tenant, other, nobody := OddTenant, theirs.InternalID, apikey.InternalID("")
	for _, c := range []struct {
		name   string
		tenant *apikey.InternalID
		want   []apikey.Key
	}{{"ours", &tenant, []apikey.Key{ours}}, {"theirs", &other, []apikey.Key{theirs}}, {"nobody's", &nobody, nil}} {
		found, err := e.CurrentKeysWithHashes(t.Context(), c.tenant, hashes)
		equal(t, c.name, c.want, found, err)
	}
	found, err := e.CurrentKeysWithHashes(t.Context(), nil, hashes)
	if err != nil || len(found) != 2 {
		t.Errorf("of all tenants: %+v, %v", found, err)
	}
	found, err = e.CurrentKeysWithHashes(t.Context(), nil, nil)
	equal(t, "no hashes", nil, found, err)
}
