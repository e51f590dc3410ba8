package apikey

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Without this, the trail loses, repeats or reorders events across pages, and cannot serve as evidence.
func TestAuditEventsAreWalkedByTheirCursors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store := &memory{}
		n := rapid.IntRange(0, 12).Draw(t, "events")
		for i := range n {
			store.events = append(store.events, Event{
				ID: EventID(fmt.Sprintf("evt_%02d", i)), Timestamp: *at(rapid.IntRange(-2, 2).Draw(t, "second")), InternalID: "int_1",
				ResourceID: rapid.SampledFrom([]string{"key_1", "key_2"}).Draw(t, "about"), RetrieverIDs: []RetrieverID{"ret_2", "ret_1"},
			})
		}
		store.events = append(store.events, Event{ID: "evt_elsewhere", InternalID: "int_1", RetrieverIDs: []RetrieverID{"ret_2"}}, Event{ID: "evt_foreign", InternalID: "int_2", RetrieverIDs: []RetrieverID{"ret_1"}})
		s, r, size := newService(store), &Retriever{ID: "ret_1"}, rapid.IntRange(1, 5).Draw(t, "size")
		about := ID(rapid.SampledFrom([]string{"", "key_1"}).Draw(t, "of"))
		page := func(p Page) *Connection[Event] {
			c, err := s.AuditEvents(context.Background(), admin(), EventPlace{Retriever: r}, EventOptions{About: about, Page: p, Wants: everything})
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		all := page(Page{}).Items
		var want []Event
		for _, e := range store.events {
			if e.InternalID == "int_1" && e.RetrieverIDs[len(e.RetrieverIDs)-1] == "ret_1" && (about == "" || e.ResourceID == string(about)) {
				want = append(want, e)
			}
		}
		slices.SortFunc(want, func(a, b Event) int {
			if c := b.Timestamp.Compare(a.Timestamp); c != 0 {
				return c
			}
			return strings.Compare(string(b.ID), string(a.ID))
		})
		ids := func(events []Event) (all []EventID) {
			for _, e := range events {
				all = append(all, e.ID)
			}
			return all
		}
		if !slices.Equal(ids(all), ids(want)) {
			t.Fatalf("listed %v, want %v", ids(all), ids(want))
		}
		var forward, backward []Event
		for p := (Page{First: &size}); ; {
			c := page(p)
			forward = append(forward, c.Items...)
			if c.Total != len(want) {
				t.Fatalf("total %d, want %d", c.Total, len(want))
			}
			if !c.HasNextPage {
				break
			}
			p.After = new(c.Cursor(len(c.Items) - 1))
		}
		for p := (Page{Last: &size}); ; {
			c := page(p)
			backward = append(slices.Clone(c.Items), backward...)
			if !c.HasPreviousPage {
				break
			}
			p.Before = new(c.Cursor(0))
		}
		if !slices.Equal(ids(forward), ids(want)) || !slices.Equal(ids(backward), ids(want)) {
			t.Fatalf("walked to %v and %v, want %v", ids(forward), ids(backward), ids(want))
		}
	})
}

// Only an admin can read the trail. A cursor of another list is invalid here.
func TestAuditEventsAreForAdmins(t *testing.T) {
	of := EventPlace{Retriever: &Retriever{ID: "ret_1"}}
	for _, p := range []Permission{Read, Write, Delete} {
		store := fixture()
		if _, err := newService(store).AuditEvents(t.Context(), writer(p), of, EventOptions{Wants: everything}); codeAndField(t, err) != "FORBIDDEN" || store.reads() != "" {
			t.Errorf("%s: %v", p, err)
		}
	}
	keys, err := list1(t, fixture().keys, ListOptions{Page: Page{}, Wants: everything})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newService(fixture()).AuditEvents(t.Context(), admin(), of, EventOptions{Page: Page{After: new(keys.Cursor(0))}, Wants: everything}); codeAndField(t, err) != "BAD_USER_INPUT after" {
		t.Errorf("a cursor of keys: %v", err)
	}
	store := fixture()
	if _, err := newService(store).AuditEvents(t.Context(), admin(), of, EventOptions{Wants: Wants{Total: true}}); err != nil || store.reads() != "CountEvents" {
		t.Errorf("a total alone: %v", err)
	}
	for call, wants := range map[string]Wants{fmt.Sprintf("EventPage(%d)", MaxPage+1): everything, "CountEvents": {Total: true}} {
		store.fails = call
		if _, err := newService(store).AuditEvents(t.Context(), admin(), of, EventOptions{Wants: wants}); codeAndField(t, err) != "UNAVAILABLE" {
			t.Errorf("%s fails: %v", call, err)
		}
	}
}

// Without this, a caller with limited scopes reads what others did beyond them, or a filter hides the event that matters. Every place, filter
// and caller must give what a walk through all events gives.
func TestAuditEventsAreThoseOfTheModel(t *testing.T) {
	homes := map[RetrieverID]NamespaceID{"ret_1": "ns_1", "ret_2": "ns_1", "other": "ns_1", "ret_3": "ns_2"}
	texts := []string{"a", "b", ""}
	rapid.Check(t, func(t *rapid.T) {
		store := fixture()
		store.retrievers = nil
		for id, ns := range homes {
			store.retrievers = append(store.retrievers, Retriever{ID: id, Name: string(id), NamespaceID: ns, InternalID: "int_1"})
		}
		draw := func(label string) string { return rapid.SampledFrom(texts).Draw(t, label) }
		for i := range rapid.IntRange(0, 20).Draw(t, "events") {
			e := Event{
				ID: EventID(fmt.Sprintf("evt_%02d", i)), Timestamp: *at(rapid.IntRange(0, 4).Draw(t, "second")), InternalID: "int_1",
				Action: Action(draw("action")), ActorID: draw("actor"), ActorType: ActorType(draw("type")), Outcome: Outcome(draw("status")),
				ResourceID:   draw("resource"),
				NamespaceID:  rapid.SampledFrom([]NamespaceID{"ns_1", "ns_1", "ns_2", ""}).Draw(t, "namespace"),
				RetrieverIDs: rapid.SliceOfN(rapid.SampledFrom([]RetrieverID{"ret_1", "ret_2", "other", "ret_3", "gone"}), 0, 3).Draw(t, "retrievers"),
			}
			if rapid.Bool().Draw(t, "from an address") {
				e.IPAddress, e.ActorKeyID = new(draw("address")), new(ID(draw("key")))
			}
			store.events = append(store.events, e)
		}
		store.events = append(store.events, Event{ID: "evt_foreign", InternalID: "int_2", NamespaceID: "ns_1", RetrieverIDs: []RetrieverID{"ret_1"}})

		caller := rapid.SampledFrom([]struct {
			name   string
			scopes []Scope
			sees   func(RetrieverID) bool
			ns     NamespaceID // it sees all of this namespace
		}{
			{"all", nil, func(RetrieverID) bool { return true }, "*"},
			{"organization", []Scope{on(ResourceOrganization, "org_1")}, func(RetrieverID) bool { return true }, "*"},
			{"ns_1", []Scope{on(ResourceNamespace, "ns_1")}, func(id RetrieverID) bool { return homes[id] == "ns_1" }, "ns_1"},
			{"ret_2", []Scope{on(ResourceRetriever, "ret_2")}, func(id RetrieverID) bool { return id == "ret_2" }, ""},
			{"a pattern", []Scope{on(ResourceRetriever, "ret_*"), on(ResourceRetriever, "gone")}, func(id RetrieverID) bool { return strings.HasPrefix(string(id), "ret_") }, ""},
			{"nothing", []Scope{on(ResourceRetriever, "gone")}, func(RetrieverID) bool { return false }, ""},
		}).Draw(t, "caller")
		whole := func(ns NamespaceID) bool { return caller.ns == "*" || caller.ns == ns }
		place := rapid.SampledFrom([]string{"retriever", "namespace", "organization"}).Draw(t, "place")
		ns := rapid.SampledFrom([]NamespaceID{"ns_1", "ns_2"}).Draw(t, "of")
		var of EventPlace
		visible := func(e *Event) bool { return true }
		refused := ""
		switch place {
		case "retriever":
			of.Retriever = &Retriever{ID: "ret_2"}
			visible = func(e *Event) bool { return slices.Contains(e.RetrieverIDs, "ret_2") }
		case "namespace":
			of.Namespace = &Namespace{ID: ns}
			here := func(id RetrieverID) bool { return homes[id] == ns && caller.sees(id) }
			visible = func(e *Event) bool {
				return e.NamespaceID == ns && (whole(ns) || slices.ContainsFunc(e.RetrieverIDs, here))
			}
			if !whole(ns) && !here("ret_1") && !here("ret_2") && !here("ret_3") {
				refused = "NOT_FOUND"
			}
		case "organization":
			if caller.ns != "*" {
				refused = "FORBIDDEN"
			}
		}
		var o EventOptions
		o.Wants = everything
		matches := []func(e *Event) bool{visible}
		for _, f := range []struct {
			field string
			to    **string
			of    func(*Event) *string
		}{
			{"actorId", &o.Filter.ActorID, func(e *Event) *string { return &e.ActorID }},
			{"actorType", &o.Filter.ActorType, func(e *Event) *string { return (*string)(&e.ActorType) }},
			{"actorKeyId", &o.Filter.ActorKeyID, func(e *Event) *string { return (*string)(e.ActorKeyID) }},
			{"keyId", &o.Filter.KeyID, func(e *Event) *string { return &e.ResourceID }},
			{"ipAddress", &o.Filter.IPAddress, func(e *Event) *string { return e.IPAddress }},
			{"status", &o.Filter.Status, func(e *Event) *string { return (*string)(&e.Outcome) }},
		} {
			if rapid.IntRange(0, 3).Draw(t, f.field) == 0 {
				want := draw(f.field)
				*f.to = &want
				matches = append(matches, func(e *Event) bool { got := f.of(e); return got != nil && *got == want })
			}
		}
		if rapid.Bool().Draw(t, "by action") {
			o.Filter.Action = rapid.SliceOfN(rapid.SampledFrom(texts), 0, 3).Draw(t, "actions")
			matches = append(matches, func(e *Event) bool {
				return len(o.Filter.Action) == 0 || slices.Contains(o.Filter.Action, string(e.Action))
			})
		}
		if rapid.Bool().Draw(t, "by retriever") {
			id := rapid.SampledFrom([]string{"ret_1", "gone", "ret_3", "nowhere"}).Draw(t, "retriever")
			o.Filter.RetrieverID = &id
			matches = append(matches, func(e *Event) bool { return slices.Contains(e.RetrieverIDs, RetrieverID(id)) })
		}
		if rapid.Bool().Draw(t, "by key") {
			o.About = ID(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "about"))
			matches = append(matches, func(e *Event) bool { return e.ResourceID == string(o.About) })
		}
		if from := rapid.IntRange(-1, 3).Draw(t, "since"); from >= 0 {
			o.Filter.Since = at(from)
			matches = append(matches, func(e *Event) bool { return !e.Timestamp.Before(*at(from)) })
		}
		if until := rapid.IntRange(-1, 2).Draw(t, "until"); until >= 0 {
			o.Filter.Until = at(until + 4)
			matches = append(matches, func(e *Event) bool { return e.Timestamp.Before(*at(until + 4)) })
		}
		got, err := newService(store).AuditEvents(context.Background(), writer(Admin, caller.scopes...), of, o)
		if refused != "" {
			if code := fmt.Sprint(Classify(err).Code); code != refused {
				t.Fatalf("%s of the %s: %v, want %s", caller.name, place, err, refused)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		want := map[EventID]bool{}
		for i := range store.events {
			e := &store.events[i]
			if e.InternalID == "int_1" && !slices.ContainsFunc(matches, func(m func(*Event) bool) bool { return !m(e) }) {
				want[e.ID] = true
			}
		}
		for _, e := range got.Items {
			if !want[e.ID] {
				t.Fatalf("%s of the %s gets %+v", caller.name, place, e)
			}
		}
		if len(got.Items) != len(want) || got.Total != len(want) {
			t.Fatalf("%s of the %s gets %d of %d events, want %d", caller.name, place, len(got.Items), got.Total, len(want))
		}
	})
}

// Filters that cannot be meant must be refused with the name of their field, before anything is read.
func TestAuditEventFiltersAreChecked(t *testing.T) {
	long, longest := strings.Repeat("é", maxSearch+1), strings.Repeat("é", maxSearch)
	var many, twice []string
	for i := range maxActions + 1 {
		many, twice = append(many, fmt.Sprint(i)), append(twice, fmt.Sprint(i/2))
	}
	for name, c := range map[string]struct {
		filter EventFilter
		want   string
	}{
		"a long action":           {EventFilter{Action: []string{"a", long}}, "filter.action"},
		"many actions":            {EventFilter{Action: many}, "filter.action"},
		"a long actor":            {EventFilter{ActorID: &long}, "filter.actorId"},
		"a long actor type":       {EventFilter{ActorType: &long}, "filter.actorType"},
		"a long key of the actor": {EventFilter{ActorKeyID: &long}, "filter.actorKeyId"},
		"a long key":              {EventFilter{KeyID: &long}, "filter.keyId"},
		"a long address":          {EventFilter{IPAddress: &long}, "filter.ipAddress"},
		"a long status":           {EventFilter{Status: &long}, "filter.status"},
		"a long retriever":        {EventFilter{RetrieverID: &long}, "filter.retrieverId"},
		"since after until":       {EventFilter{Since: at(1), Until: at(0)}, "filter.until"},
		"since at until":          {EventFilter{Since: at(1), Until: at(1)}, "filter.until"},
		"nothing":                 {EventFilter{}, ""},
		"the longest": {EventFilter{
			Action: []string{longest}, ActorID: &longest, ActorType: &longest, ActorKeyID: &longest, KeyID: &longest, IPAddress: &longest,
			Status: &longest, RetrieverID: &longest, Since: at(0), Until: at(1),
		}, ""},
		"an action many times": {EventFilter{Action: twice}, ""},
	} {
		for place, of := range map[string]EventPlace{
			"retriever": {Retriever: &Retriever{ID: "ret_1"}}, "namespace": {Namespace: &Namespace{ID: "ns_1"}}, "organization": {},
		} {
			store := fixture()
			_, err := newService(store).AuditEvents(t.Context(), admin(), of, EventOptions{Filter: c.filter, Wants: everything})
			if want := strings.TrimSuffix("BAD_USER_INPUT "+c.want, "BAD_USER_INPUT "); codeAndField(t, err) != want || (store.reads() == "") != (want != "") {
				t.Errorf("%s of the %s: %v, want %q", name, place, err, want)
			}
		}
	}
}

// An engine must look at the fewest events: those about a key, or else those of the actor or of the place, and never at those of hundreds of
// retrievers one after the other. No index finds what has no value.
func TestEventsAreFoundByTheirConditions(t *testing.T) {
	id, none := new("x"), new("")
	naming := func(n int) []RetrieverID { return make([]RetrieverID, n) }
	for name, c := range map[string]struct {
		where EventConditions
		want  []EventsBy
	}{
		"nothing":                     {EventConditions{}, []EventsBy{EventsByTenant}},
		"an address":                  {EventConditions{IPAddress: id}, []EventsBy{EventsByTenant}},
		"a namespace":                 {EventConditions{Namespace: (*NamespaceID)(id)}, []EventsBy{EventsByNamespace}},
		"few of its retrievers":       {EventConditions{Namespace: (*NamespaceID)(id), Naming: naming(fewRetrievers)}, []EventsBy{EventsByRetriever}},
		"many of its retrievers":      {EventConditions{Namespace: (*NamespaceID)(id), Naming: naming(fewRetrievers + 1)}, []EventsBy{EventsByNamespace}},
		"one of many":                 {EventConditions{Retriever: (*RetrieverID)(id), Naming: naming(fewRetrievers + 1)}, []EventsBy{EventsByRetriever}},
		"a key":                       {EventConditions{About: (*ID)(id), ActorID: id, Naming: naming(1)}, []EventsBy{EventsByResource}},
		"an actor":                    {EventConditions{ActorID: id}, []EventsBy{EventsByActor}},
		"an actor with a key":         {EventConditions{ActorID: id, ActorKeyID: (*ID)(id)}, []EventsBy{EventsByActorKey}},
		"an actor at a retriever":     {EventConditions{ActorID: id, Naming: naming(1)}, []EventsBy{EventsByActor, EventsByRetriever}},
		"an actor's key in a place":   {EventConditions{ActorKeyID: (*ID)(id), Namespace: (*NamespaceID)(id)}, []EventsBy{EventsByActorKey, EventsByNamespace}},
		"no actor, about nothing":     {EventConditions{ActorID: none, About: (*ID)(none)}, []EventsBy{EventsByTenant}},
		"no namespace, by an actor":   {EventConditions{ActorID: id, Namespace: (*NamespaceID)(none)}, []EventsBy{EventsByActor}},
		"no namespace, by some actor": {EventConditions{ActorID: none, Namespace: (*NamespaceID)(none)}, []EventsBy{EventsByTenant}},
	} {
		if got := c.where.FoundBy(); !slices.Equal(got, c.want) {
			t.Errorf("%s: found by %v, want %v", name, got, c.want)
		}
	}
}

// Pages of a namespace and of the organization have 100 events unless the caller asks for more, and read no more than they need. A caller who
// may not read the organization's events must cause no read.
func TestAuditEventsReadWhatTheyNeed(t *testing.T) {
	ns := EventPlace{Namespace: &Namespace{ID: "ns_1"}}
	items := Wants{Items: true}
	for name, c := range map[string]struct {
		caller Caller
		of     EventPlace
		wants  Wants
		want   string
		reads  string
	}{
		"the organization":              {admin(), EventPlace{}, items, "", "EventPage(101)"},
		"the organization, total alone": {admin(), EventPlace{}, Wants{Total: true}, "", "CountEvents"},
		"a namespace":                   {admin(), ns, items, "", "EventPage(101)"},
		"a namespace, with total":       {admin(), ns, everything, "", "EventPage(101)"}, // the page has all
		"one retriever of it":           {writer(Admin, on(ResourceRetriever, "ret_1")), ns, items, "", "EventPage(101) RetrieverPage(10001)"},
		"none of it":                    {writer(Admin, on(ResourceRetriever, "ret_none")), ns, items, "NOT_FOUND", "RetrieverPage(10001)"},
		"a retriever":                   {admin(), EventPlace{Retriever: &Retriever{ID: "ret_1"}}, items, "", "EventPage(1001)"},
		"a reader of the organization":  {writer(Delete), EventPlace{}, items, "FORBIDDEN", ""},
		"a reader of a namespace":       {writer(Delete), ns, items, "FORBIDDEN", ""},
		"an admin of a namespace":       {writer(Admin, on(ResourceNamespace, "ns_1")), EventPlace{}, items, "FORBIDDEN", ""},
		"anonymous":                     {Caller{}, EventPlace{}, items, "UNAUTHENTICATED", ""},
	} {
		store := fixture()
		_, err := newService(store).AuditEvents(t.Context(), c.caller, c.of, EventOptions{Wants: c.wants})
		if reads := store.reads(); codeAndField(t, err) != c.want || reads != c.reads {
			t.Errorf("%s: %v and the reads %q, want %q and %q", name, err, reads, c.want, c.reads)
		}
	}
}

// Event ids sort by time, because pages break ties by id.
func TestEventIDsSortByTime(t *testing.T) {
	var all []string
	for i := range 200 {
		all = append(all, string(newEventID(noon.Add(time.Duration(i/50)*time.Millisecond))))
	}
	if !slices.IsSorted(all) || len(slices.Compact(all)) != 200 || len(all[0]) != 28 {
		t.Errorf("ids %v", all[:3])
	}
}

// Two denied attempts share an event if and only if the actor, the action, the resource and the minute are the same.
func TestDeniedEventIDs(t *testing.T) {
	base := writer(Read).event(KeyRevoked, ResourceAPIKey, "key_1", noon, "ns_1", nil)
	same := base
	same.ID, same.Changes, same.Timestamp = "evt_other", []FieldChange{{Field: "name"}}, noon.Add(59*time.Second)
	if a, b := base.denied(), same.denied(); a.ID != b.ID || b.Changes != nil || b.Outcome != Denied || a.ID == base.ID {
		t.Errorf("%+v and %+v", a, b)
	}
	seen := map[EventID]string{base.denied().ID: "the first"}
	for name, edit := range map[string]func(*Event){
		"another organization":     func(e *Event) { e.InternalID = "int_2" },
		"another key of the actor": func(e *Event) { e.ActorKeyID = new(ID("key_2")) },
		"no key":                   func(e *Event) { e.ActorKeyID = nil },
		"an operator":              func(e *Event) { e.ActorType = Operator },
		"another action":           func(e *Event) { e.Action = KeyUpdated },
		"another resource":         func(e *Event) { e.ResourceID = "key_2" },
		"another minute":           func(e *Event) { e.Timestamp = noon.Add(time.Minute) },
	} {
		e := base
		edit(&e)
		id := e.denied().ID
		if other, ok := seen[id]; ok {
			t.Errorf("%s has the id of %s", name, other)
		}
		seen[id] = name
	}
}

// A user agent is arbitrary bytes of any length. It must not break the trail or fill it.
func TestUserAgentIsShortened(t *testing.T) {
	for _, tt := range []struct{ agent, want string }{
		{"curl/8", "curl/8"},
		{"\xffcurl", "\uFFFDcurl"},
		{strings.Repeat("a", 600), strings.Repeat("a", maxUserAgent)},
		{strings.Repeat("a", 511) + "éx", strings.Repeat("a", 511)},
		{strings.Repeat("a", 510) + "éx", strings.Repeat("a", 510) + "é"},
		{strings.Repeat("😀", 200), strings.Repeat("😀", 128)},
		{strings.Repeat("\xff", 600), strings.Repeat("\uFFFD", 1)},
	} {
		if got := shortened(tt.agent); got != tt.want {
			t.Errorf("%.20q: %d bytes, want %d", tt.agent, len(got), len(tt.want))
		}
	}
	c := writer(Read)
	if e := c.event(KeyUpdated, ResourceAPIKey, "key_1", noon, "", nil); e.UserAgent != nil || e.IPAddress != nil {
		t.Errorf("an unknown address and user agent: got %v and %v, want nil", e.UserAgent, e.IPAddress)
	}
}

// Anyone can send any user agent. It must not reverse the text around it, hide a part of itself, or break a line of the trail. A key in one must not be
// stored.
func TestUserAgentIsHarmless(t *testing.T) {
	secret := mint(organizationKeyPrefix)
	for _, tt := range []struct{ agent, want string }{
		{"Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101", "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101"},
		{"브라우저/1 😀 é", "브라우저/1 😀 é"},
		{"متصفح/1", "متصفح/1"}, // letters can be written from right to left
		{"curl\t8", "curl 8"},
		{"a\u202eb", "a\uFFFDb"},
		{"\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", strings.Repeat("\uFFFD", 12)},
		{"a\u0000\u001b[31m\r\n\u007f\u0085\u009b\u2028\u2029b", "a\uFFFD\uFFFD[31m\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDb"},
		{"a\u200b\u200d\ufeff\u00ad\U000e0041b", "a\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDb"},
		{"a\xffb", "a\uFFFDb"},
		{`\u0073` + secret.Reveal()[1:], secret.Prefix()},
		{strings.Repeat("x", 500) + secret.Reveal(), strings.Repeat("x", 500) + secret.Prefix()[:12]},
		{strings.Repeat("\u202e", 400), strings.Repeat("\uFFFD", 170)},
	} {
		c := writer(Read)
		c.UserAgent = tt.agent
		for name, e := range map[string]Event{
			"a change": c.event(KeyUpdated, ResourceAPIKey, "key_1", noon, "", nil),
			"a denial": c.event(KeyUpdated, ResourceAPIKey, "key_1", noon, "", nil).denied(),
		} {
			if got := text(e.UserAgent); got != tt.want {
				t.Errorf("%s of %q: got %q, want %q", name, tt.agent, got, tt.want)
			}
		}
	}
}

// All keys are read once, in order, and with their status at the time when the reading began. A key that cannot be read ends it.
func TestReadKeys(t *testing.T) {
	for _, n := range []int{0, 1, MaxPage - 1, MaxPage, MaxPage + 1, 2*MaxPage + 1} {
		store := &memory{}
		for i := range n {
			store.keys = append(store.keys, keyOf(ID(fmt.Sprintf("key_%05d", i)), func(k *Key) {
				if k.CreatedAt = at(-i / 3); i > MaxPage {
					k.CreatedAt = nil
				}
				if i%10 == 5 {
					k.Stored = Revoked
				}
				k.ExpiresAt = at(1)
			}))
		}
		s := newService(store)
		for _, includeRevoked := range []bool{true, false} {
			s.Now = frozen
			reader, err := s.ReadKeys(writer(Read), &Retriever{ID: "ret_1"}, ListOptions{IncludeRevoked: includeRevoked})
			if err != nil {
				t.Fatal(err)
			}
			s.Now = func() time.Time { return *at(2) } // all expire while they are read
			var got []Key
			for {
				page, err := reader.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if len(page) == 0 {
					break
				}
				got = append(got, page...)
			}
			want := 0
			for i := range store.keys {
				if includeRevoked || store.keys[i].StatusAt(noon) == Active {
					want++
				}
			}
			ordered := slices.IsSortedFunc(got, func(a, b Key) int { return KeyOrder{}.Compare(KeyOrder{}.Position(&a), KeyOrder{}.Position(&b)) })
			distinct := map[ID]bool{}
			for i := range got {
				distinct[got[i].ID] = true
				if got[i].Status != got[i].StatusAt(noon) {
					t.Fatalf("%s is %s", got[i].ID, got[i].Status)
				}
			}
			if len(got) != want || len(distinct) != want || !ordered {
				t.Errorf("%d keys: got %d, %d of them distinct, want %d; in order: %t", n, len(got), len(distinct), want, ordered)
			}
		}
	}
	// The matches of a search can be far apart. A page without a match is not the end.
	store := &memory{}
	for i := range 3*MaxPage + 1 {
		store.keys = append(store.keys, keyOf(ID(fmt.Sprintf("key_%05d", i)), func(k *Key) {
			if i == 0 || i == 2*MaxPage+5 {
				k.Description = "the LEAKED one"
			}
		}))
	}
	for search, want := range map[string]int{"leaked": 2, "absent": 0} {
		reader, err := newService(store).ReadKeys(writer(Read), &Retriever{ID: "ret_1"}, ListOptions{Filter: Filter{Search: search}})
		found := 0
		for err == nil {
			var page []Key
			if page, err = reader.Next(t.Context()); len(page) == 0 {
				break
			}
			found += len(page)
		}
		if err != nil || found != want {
			t.Errorf("%s: found %d, %v", search, found, err)
		}
	}
	if _, err := newService(fixture()).ReadKeys(writer(""), &Retriever{ID: "ret_1"}, ListOptions{IncludeRevoked: true}); codeAndField(t, err) != "FORBIDDEN" {
		t.Errorf("who may read nothing: %v", err)
	}
	store = fixture()
	store.down = Outage(errors.New("gone"))
	reader, err := newService(store).ReadKeys(writer(Read), &Retriever{ID: "ret_1"}, ListOptions{IncludeRevoked: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Next(t.Context()); codeAndField(t, err) != "UNAVAILABLE" {
		t.Errorf("an outage: %v", err)
	}
}

// A page of a thousand keys with long lists would take a hundred megabytes. So the size of a page depends on how long the keys have been so
// far, and is at least one.
func TestLongKeysAreReadInSmallPages(t *testing.T) {
	for _, c := range []struct {
		origins int // origins of each key
		pages   []int
	}{
		{0, []int{1001, 499}},
		{1000, []int{307, 206, 206}},
		{200_000, []int{102, 1, 1}},
	} {
		long := slices.Repeat([]string{"https://shop.example.com"}, c.origins)
		store := &memory{}
		for i := range 1500 {
			store.keys = append(store.keys, keyOf(ID(fmt.Sprintf("key_%05d", i)), func(k *Key) { k.AllowedOrigins = long }))
		}
		reader, err := newService(store).ReadKeys(writer(Read), &Retriever{ID: "ret_1"}, ListOptions{IncludeRevoked: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range c.pages {
			page, err := reader.Next(t.Context())
			if err != nil || len(page) < want*9/10 || len(page) > want {
				t.Errorf("keys with %d origins: got a page of %d, want about %d: %v", c.origins, len(page), want, err)
			}
		}
	}
}

// Memory limits count a key by its Size, so Size must be close to the memory that the key takes, above all for long lists.
func TestSizesOfKeys(t *testing.T) {
	k := Key{ID: "key_1", Hash: strings.Repeat("a", 64), Name: "name"}
	short := k.Size()
	k.AllowedOrigins = slices.Repeat([]string{"https://shop.example.com"}, 10_000)
	if grown := k.Size() - short; grown < 10_000*24 || grown > 10_000*48 {
		t.Errorf("10,000 origins of 24 bytes: got size %d", grown)
	}
	k.AllowedOrigins, k.Scopes = nil, slices.Repeat([]Scope{{ResourceType: ResourceRetriever, ResourceID: "ret_1", Operations: []Operation{ReadData}}}, 10_000)
	if grown := k.Size() - short; grown < 10_000*69 || grown > 10_000*200 {
		t.Errorf("10,000 scopes: got size %d", grown)
	}
}
