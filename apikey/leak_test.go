package apikey

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// leakFixture is the fixture with hashes that can be reported.
func leakFixture() *memory {
	store := fixture()
	for i := range store.keys {
		k := &store.keys[i]
		k.Hash = digest(string(k.ID) + string(k.InternalID))
	}
	return store
}

// leaker is the caller whose key is key_writer of the fixture.
func leaker(p Permission, scopes ...Scope) Caller {
	c := writer(p, scopes...)
	c.Key.Hash = leakOf("key_writer").Hash
	return c
}

func leakOf(id ID) LeakReport { return LeakReport{Hash: digest(string(id) + "int_1")} }

// leakEvents returns the actions, resources and changed fields of all events, in order.
func leakEvents(m *memory) []string {
	var all []string
	for _, e := range m.events {
		text := fmt.Sprintf("%s %s by %s %s", e.Action, e.ResourceID, e.ActorType, e.ActorID)
		for _, c := range e.Changes {
			text += " " + c.Field
		}
		all = append(all, text)
	}
	return all
}

// A reported key must be dead, must say why, and must have an event for each of both. Without this, a key that anybody can read in public
// goes on working, or nobody learns what happened to it.
func TestReportLeaks(t *testing.T) {
	store := leakFixture()
	s := newService(store)
	report := leakOf("key_1")
	report.Hash, report.URL, report.Source = strings.ToUpper(report.Hash), new("https://forum.example/t/1?page=2#post"), new(" forum ")
	reports := []LeakReport{leakOf("key_writer"), report, {Hash: digest("unknown")}, leakOf("key_foreign"), leakOf("key_2"), report, leakOf("key_gone")}
	got, err := s.ReportLeaks(t.Context(), leaker(Admin), reports)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"key_writer revoked", "key_1 revoked", "", "", "key_2 expired", "key_1 revoked", "key_gone revoked"} {
		shown := ""
		if k := got[i].Key; k != nil {
			shown = string(k.ID) + " " + string(k.Status)
			stored := find(t, store, k.ID)
			s.Policy.asOf(&stored, s.now())
			if !slices.Contains(k.Findings(), Leaked) {
				t.Errorf("%s has the findings %v", k.ID, k.Findings())
			}
			if diff := cmp.Diff(stored, *k); diff != "" {
				t.Errorf("%s is not as it is stored (-stored +result):\n%s", k.ID, diff)
			}
		}
		if shown != want || got[i].Err != nil || got[i].Revoked() != strings.HasSuffix(want, "revoked") {
			t.Errorf("%d: %q, %v, want %q", i, shown, got[i].Err, want)
		}
	}
	k := find(t, store, "key_1")
	if diff := cmp.Diff(&Leak{s.instant(), new("forum"), report.URL}, k.Leak()); diff != "" || text(k.RevokeReason) != "leaked" || text(k.RevokedBy) != "usr_writer" {
		t.Errorf("key_1 (-want +got):\n%s%+v", diff, k)
	}
	if k := find(t, store, "key_2"); k.Leak() == nil || k.RevokedAt != nil {
		t.Errorf("an expired key: %+v", k)
	}
	events := leakEvents(store)
	own := []string{
		"api_key_leak_reported key_writer by user usr_writer leaked_at",
		"api_key_revoked key_writer by user usr_writer status revoke_reason",
	}
	if !slices.Equal(events[len(events)-2:], own) {
		t.Errorf("the caller's own key is not the last: %q", events)
	}
	slices.Sort(events)
	if diff := cmp.Diff([]string{
		"api_key_leak_reported key_1 by user usr_writer leaked_at leak_source leak_url",
		"api_key_leak_reported key_2 by user usr_writer leaked_at",
		"api_key_leak_reported key_gone by user usr_writer leaked_at", own[0],
		"api_key_revoked key_1 by user usr_writer status revoke_reason",
		"api_key_revoked key_gone by user usr_writer status revoke_reason", own[1],
	}, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if i := slices.IndexFunc(store.events, func(e Event) bool { return e.ResourceID == "key_1" }); store.events[i].NamespaceID != "ns_1" || !slices.Equal(store.events[i].RetrieverIDs, []RetrieverID{"ret_1"}) {
		t.Errorf("the event of key_1: %+v", store.events[i])
	}
	if reads, want := store.reads(), "ChangeKey ChangeKey ChangeKey ChangeKey CurrentKeysWithHashes KeysByHash Retrievers"; reads != want {
		t.Errorf("calls %s, want %s", reads, want)
	}

	// Another report, with another URL, changes nothing.
	again := leaker(Admin)
	again.Key.ID, again.Key.Hash = "key_admin", leakOf("key_admin").Hash
	reports[1].URL = new("https://elsewhere.example/")
	repeated, err := s.ReportLeaks(t.Context(), again, reports)
	if diff := cmp.Diff(got, repeated); diff != "" || err != nil || len(store.events) != len(events) {
		t.Errorf("again: %v, %d events, want %d (-first +again):\n%s", err, len(store.events), len(events), diff)
	}
}

// With the action report, a leak is noted and the key goes on working, so that a website does not stop. After the action was changed,
// another report revokes the key. Without this, a noted key could never be revoked by a report.
func TestReportLeaksWithoutRevoking(t *testing.T) {
	store := leakFixture()
	s := newService(store)
	s.LeakAction = ReportLeaked
	got, err := s.ReportLeaks(t.Context(), leaker(Delete), []LeakReport{leakOf("key_1")})
	if err != nil || got[0].Key.Status != Active || got[0].Key.Leak() == nil || got[0].Revoked() {
		t.Fatalf("%+v, %v", got, err)
	}
	s.LeakAction = RevokeLeaked
	later := leakOf("key_1")
	later.URL = new("https://elsewhere.example/")
	if got, err = s.ReportLeaks(t.Context(), leaker(Delete), []LeakReport{later}); err != nil || !got[0].Revoked() || got[0].Key.LeakURL != nil {
		t.Errorf("%+v, %v", got, err)
	}
	if diff := cmp.Diff([]string{"api_key_leak_reported key_1 by user usr_writer leaked_at", "api_key_revoked key_1 by user usr_writer status revoke_reason"}, leakEvents(store)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// Without this, the successor of a leaked key looks leaked too, and people replace it again and again.
func TestSuccessorsDidNotLeak(t *testing.T) {
	store := leakFixture()
	s := newService(store)
	s.LeakAction = ReportLeaked
	report := leakOf("key_1")
	report.URL, report.Source = new("https://forum.example/"), new("forum")
	if _, err := s.ReportLeaks(t.Context(), leaker(Admin), []LeakReport{report}); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(store.keys, func(k Key) bool { return k.ID == "key_1" })
	store.keys[i].RevokeReason = new("leaked")
	r, err := s.Rotate(t.Context(), leaker(Admin), "", "key_1", 0, nil)
	if err != nil || r.Key.Leak() != nil || r.Key.LeakSource != nil || r.Key.LeakURL != nil || r.Key.RevokeReason != nil || r.Previous.Leak() == nil {
		t.Errorf("%+v, %v", r, err)
	}
}

// A report needs delete, and, for each key, the right to revoke it. Without this, a key that stands in a web page, or one of another team,
// could stop all others. A key that the caller does not see must look as if it did not exist.
func TestWhoMayReportLeaks(t *testing.T) {
	store := leakFixture()
	s := newService(store)
	website := leaker(Admin)
	website.Key.Type = RetrieverKey
	for name, c := range map[string]struct {
		caller Caller
		want   string
		events int
	}{
		"nobody":              {Caller{}, "UNAUTHENTICATED", 0},
		"a website":           {website, "FORBIDDEN", 0},
		"write":               {leaker(Write), "FORBIDDEN", 1},
		"a key of one person": {func() Caller { c := leaker(Admin); c.Key.Type = UserScoped; return c }(), "FORBIDDEN", 1},
	} {
		store.events, s.denials = nil, denials{}
		_, err := s.ReportLeaks(t.Context(), c.caller, []LeakReport{leakOf("key_1")})
		if got := codeAndField(t, err); got != c.want || find(t, store, "key_1").LeakedAt != nil {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if c.events > 0 && (len(store.events) != c.events || store.events[0].Action != KeyLeakReported || store.events[0].Outcome != Denied) {
			t.Errorf("%s: events %+v", name, store.events)
		}
	}
	store.events = nil
	scoped := leaker(Delete, Scope{ResourceRetriever, "ret_1", []Operation{ReadData, ManagePermissions}}, Scope{ResourceRetriever, "ret_2", []Operation{ReadData}})
	got, err := s.ReportLeaks(t.Context(), scoped, []LeakReport{leakOf("key_1"), leakOf("key_2"), leakOf("key_6")})
	if err != nil || !got[0].Revoked() || Classify(got[1].Err).Code != Forbidden || got[1].Revoked() || got[2] != (LeakResult{}) {
		t.Errorf("%+v, %v", got, err)
	}
	if find(t, store, "key_2").LeakedAt != nil || find(t, store, "key_6").LeakedAt != nil {
		t.Error("a report of a key out of reach was stored")
	}
	if !slices.ContainsFunc(store.events, func(e Event) bool {
		return e.Action == KeyLeakReported && e.Outcome == Denied && e.ResourceID == "key_2"
	}) {
		t.Errorf("the denied attempt has no event: %q", leakEvents(store))
	}
}

// One wrong report refuses the call before anything is written, and names what is wrong. A URL that is a script would run in the page of
// the person who looks into the leak, and one with the key would publish it once more.
func TestLeakReportsAreValidated(t *testing.T) {
	store := leakFixture()
	s := newService(store)
	_, secret := NewAdminKey(Namespace{}, "", "", "", s.instant())
	long := "https://example.com/" + strings.Repeat("é", maxLeakURL-20)
	for _, c := range []struct{ name, want string }{
		{"https://example.com/a%20b?c=d&e[]=f#g", ""},
		{"http://[2001:db8::1]:8080", ""},
		{"HTTPS://EXAMPLE.COM/", ""},
		{long, ""},
		{long + "x", "BAD_USER_INPUT url"},
		{"", "BAD_USER_INPUT url"},
		{"example.com/a", "BAD_USER_INPUT url"},
		{"/a", "BAD_USER_INPUT url"},
		{"https://", "BAD_USER_INPUT url"},
		{"https://:80/", "BAD_USER_INPUT url"},
		{"https:example.com", "BAD_USER_INPUT url"},
		{"ftp://example.com/", "BAD_USER_INPUT url"},
		{"javascript:alert(1)", "BAD_USER_INPUT url"},
		{"javascript://example.com/%0aalert(1)", "BAD_USER_INPUT url"},
		{"data:text/html,a", "BAD_USER_INPUT url"},
		{" https://example.com/", "BAD_USER_INPUT url"},
		{"https://example.com/a b", "BAD_USER_INPUT url"},
		{"https://example.com/\u202egpj", "BAD_USER_INPUT url"},
		{"https://example.com/\n", "BAD_USER_INPUT url"},
		{"https://example.com/\xff", "BAD_USER_INPUT url"},
		{"https://github.com@example.com/", "BAD_USER_INPUT url"},
		{"https://example.com/?key=" + secret.Reveal(), "BAD_USER_INPUT url"},
		{"https://example.com/?a=100%&key=" + strings.ReplaceAll(secret.Reveal(), "_", "%5f"), "BAD_USER_INPUT url"},
	} {
		bad := leakOf("key_6")
		bad.URL = &c.name
		_, err := s.ReportLeaks(t.Context(), leaker(Delete), []LeakReport{leakOf("key_1"), bad})
		if got := codeAndField(t, err); got != c.want {
			t.Errorf("%q: got %q, want %q", c.name, got, c.want)
		}
		if c.want != "" && len(store.events) > 0 {
			t.Errorf("%q: %q was written", c.name, leakEvents(store))
		}
		store = leakFixture()
		s.Store = store
	}
	for name, c := range map[string]struct {
		reports []LeakReport
		want    string
	}{
		"none":                 {nil, ""},
		"a hundred":            {slices.Repeat([]LeakReport{leakOf("key_1")}, MaxLeaks), ""},
		"more":                 {slices.Repeat([]LeakReport{leakOf("key_1")}, MaxLeaks+1), "BAD_USER_INPUT leaks"},
		"no hash":              {[]LeakReport{{}}, "BAD_USER_INPUT hash"},
		"a key":                {[]LeakReport{{Hash: secret.Reveal()}}, "BAD_USER_INPUT hash"},
		"a short hash":         {[]LeakReport{{Hash: leakOf("key_1").Hash[2:]}}, "BAD_USER_INPUT hash"},
		"an empty source":      {[]LeakReport{{Hash: leakOf("key_1").Hash, Source: new(" ")}}, "BAD_USER_INPUT source"},
		"a long source":        {[]LeakReport{{Hash: leakOf("key_1").Hash, Source: new(strings.Repeat("x", maxLeakSource+1))}}, "BAD_USER_INPUT source"},
		"a key as its source":  {[]LeakReport{{Hash: leakOf("key_1").Hash, Source: new("in " + secret.Reveal())}}, "BAD_USER_INPUT source"},
		"a control in source":  {[]LeakReport{{Hash: leakOf("key_1").Hash, Source: new("a\x1b[2J")}}, "BAD_USER_INPUT source"},
		"a source that is not": {[]LeakReport{{Hash: leakOf("key_1").Hash, Source: new("\xff")}}, "BAD_USER_INPUT source"},
	} {
		store := leakFixture()
		s.Store = store
		_, err := s.ReportLeaks(t.Context(), leaker(Delete), c.reports)
		if got := codeAndField(t, err); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
		if strings.HasSuffix(c.want, " source") && !strings.HasPrefix(Classify(err).Message, "leaks[0].source must ") {
			t.Errorf("%s: the error does not say which source: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), secret.Reveal()) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
}

// A report from outside reaches the keys of every organization, acts as the system, and drops what is not usable of it. Without this,
// a leak that GitHub found is not noted because of a strange URL.
func TestReportPublicLeaks(t *testing.T) {
	store := leakFixture()
	s := newService(store)
	_, secret := NewAdminKey(Namespace{}, "", "", "", s.instant())
	reports := []LeakReport{
		{Hash: digest("unknown"), URL: new("https://example.com/")},
		{Hash: leakOf("key_1").Hash, URL: new("javascript:alert(1)"), Source: new("in " + secret.Reveal())},
		{Hash: digest("key_foreign" + "int_2"), URL: new("https://example.com/a"), Source: new("commit")},
		{Hash: leakOf("key_gone").Hash, URL: new(""), Source: new("")},
	}
	got, err := s.ReportPublicLeaks(t.Context(), Caller{Address: "203.0.113.7", UserAgent: "GitHub"}, reports)
	if err != nil || got[0] != (LeakResult{}) || !got[1].Revoked() || !got[2].Revoked() || !got[3].Revoked() {
		t.Fatalf("%+v, %v", got, err)
	}
	if reads, want := store.reads(), "ChangeKey ChangeKey ChangeKey CurrentKeysWithHashes Retrievers Retrievers"; reads != want {
		t.Errorf("calls %s, want %s", reads, want)
	}
	k := find(t, store, "key_1")
	if diff := cmp.Diff(&Leak{ReportedAt: s.instant()}, k.Leak()); diff != "" || text(k.RevokedBy) != "system" || text(k.RevokeReason) != "leaked" {
		t.Errorf("key_1: %+v\n%s", k, diff)
	}
	if diff := cmp.Diff(&Leak{s.instant(), new("commit"), new("https://example.com/a")}, got[2].Key.Leak()); diff != "" || got[2].Key.InternalID != "int_2" {
		t.Error(diff)
	}
	for _, e := range store.events {
		if e.ActorType != System || e.ActorID != "system" || e.ActorKeyID != nil || text(e.IPAddress) != "203.0.113.7" || text(e.UserAgent) != "GitHub" || e.InternalID == "int_2" != (e.ResourceID == "key_foreign") {
			t.Errorf("%+v", e)
		}
	}
	before := len(store.events)
	again, err := s.ReportPublicLeaks(t.Context(), Caller{}, reports)
	if diff := cmp.Diff(got, again); diff != "" || err != nil || len(store.events) != before {
		t.Errorf("again: %v, %d events, want %d\n%s", err, len(store.events), before, diff)
	}
}

// Two documents can have one hash, which then authenticates nobody. Each of them must be noted, because it works once the other is gone.
func TestLeaksOfOneHash(t *testing.T) {
	store := leakFixture()
	hash := leakOf("key_1").Hash
	for i := range store.keys {
		if store.keys[i].ID == "key_6" || store.keys[i].ID == "key_foreign" {
			store.keys[i].Hash = hash
		}
	}
	store.keys = append(store.keys, Key{ID: "key_orphan", Hash: hash, Stored: Active}) // without an organization, it authenticates nobody
	got, err := newService(store).ReportPublicLeaks(t.Context(), Caller{}, []LeakReport{{Hash: hash}})
	if err != nil || !got[0].Revoked() {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, k := range store.keys {
		if (k.LeakedAt != nil) != (k.Hash == hash && k.InternalID != "") {
			t.Errorf("%s of %q: %v", k.ID, k.InternalID, k.LeakedAt)
		}
	}
}

// renaming is a store in which somebody changes each key between the read and the first attempt to write it.
type renaming struct {
	*memory
	mu   sync.Mutex
	seen map[ID]bool
}

func (s *renaming) ChangeKey(ctx context.Context, c Change) (bool, error) {
	s.mu.Lock()
	first := !s.seen[c.Key.ID]
	s.seen[c.Key.ID] = true
	s.mu.Unlock()
	if first {
		s.memory.mu.Lock()
		i := slices.IndexFunc(s.keys, func(k Key) bool { return k.ID == c.Key.ID && k.InternalID == c.Key.InternalID })
		s.keys[i].Revision++
		s.keys[i].Name = "renamed"
		s.memory.mu.Unlock()
	}
	return s.memory.ChangeKey(ctx, c)
}

// A report that loses against another change must be decided again. Without this, a leaked key survives because somebody renamed it.
func TestLeaksWinAfterOtherChanges(t *testing.T) {
	store := &renaming{memory: leakFixture(), seen: map[ID]bool{}}
	got, err := newService(store).ReportLeaks(t.Context(), leaker(Admin), []LeakReport{leakOf("key_1"), leakOf("key_6")})
	if err != nil || !got[0].Revoked() || !got[1].Revoked() || got[0].Key.Name != "renamed" {
		t.Errorf("%+v, %v", got, err)
	}
}

// Two reports at once note a key once and revoke it once.
func TestLeaksReportedAtOnce(t *testing.T) {
	store := leakFixture()
	s := newService(store)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if got, err := s.ReportPublicLeaks(t.Context(), Caller{}, []LeakReport{leakOf("key_1"), leakOf("key_6")}); err != nil || !got[0].Revoked() || !got[1].Revoked() {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	wg.Wait()
	events := leakEvents(store)
	slices.Sort(events)
	if diff := cmp.Diff([]string{
		"api_key_leak_reported key_1 by system system leaked_at", "api_key_leak_reported key_6 by system system leaked_at",
		"api_key_revoked key_1 by system system status revoke_reason", "api_key_revoked key_6 by system system status revoke_reason",
	}, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// After an outage, the call says which reports are not stored, and the same call finishes them.
func TestLeaksDuringAnOutage(t *testing.T) {
	store := leakFixture()
	s := newService(store)
	for _, call := range []string{"CurrentKeysWithHashes", "Retrievers"} {
		store.fails = call
		if _, err := s.ReportLeaks(t.Context(), leaker(Admin), []LeakReport{leakOf("key_1")}); Classify(err).Code != Unavailable {
			t.Errorf("%s fails: %v", call, err)
		}
		if _, err := s.ReportPublicLeaks(t.Context(), Caller{}, []LeakReport{leakOf("key_1")}); Classify(err).Code != Unavailable {
			t.Errorf("%s fails: %v", call, err)
		}
	}
	store.fails = "ChangeKey"
	got, err := s.ReportLeaks(t.Context(), leaker(Admin), []LeakReport{leakOf("key_1"), {Hash: digest("unknown")}})
	if err != nil || Classify(got[0].Err).Code != Unavailable || got[0].Revoked() || got[1] != (LeakResult{}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := s.ReportPublicLeaks(t.Context(), Caller{}, []LeakReport{leakOf("key_1")}); Classify(err).Code != Unavailable {
		t.Error(err)
	}
	store.fails = ""
	if got, err := s.ReportPublicLeaks(t.Context(), Caller{}, []LeakReport{leakOf("key_1")}); err != nil || !got[0].Revoked() {
		t.Errorf("%+v, %v", got, err)
	}
}
