package sqlite

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// A list is read in steps of some rows, because few of its keys may be active. The steps must not repeat or skip a key,
// stop at rows without active keys, or go uncharged.
func TestFewActiveKeysAmongMany(t *testing.T) {
	many := 2*usualSizes.rowsAtOnce + 500
	var b document.Batch
	var active []apikey.ID
	for i := range many {
		k, _ := document.Key(keyDocument(i, "ret_1"), apikey.AllFields)
		k.CreatedAt = new(k.CreatedAt.Add(-time.Duration(i%3) * time.Second)) // ties
		if i%1499 != 7 && i != many-1 {
			k.RevokedAt = k.CreatedAt
		}
		b.Keys = append(b.Keys, document.FromKey(k))
	}
	s := opened(t, filepath.Join(t.TempDir(), "store.db"))
	if _, err := s.Import(t.Context(), b, document.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	all := idsOf(t, s, apikey.KeyList{Limit: many + 1, Fields: apikey.StatusFields})
	for _, id := range all {
		keys, err := s.Keys(t.Context(), tenant, []apikey.ID{id}, apikey.StatusFields)
		if err != nil {
			t.Fatal(err)
		}
		if keys[0].StatusAt(at) == apikey.Active {
			active = append(active, id)
		}
	}
	if len(all) != many || len(active) != 4 {
		t.Fatalf("%d keys, %d of them active", len(all), len(active))
	}
	for _, limit := range []int{1, 2, 3, 4, 5, 1000} {
		for _, fromEnd := range []bool{false, true} {
			want := active[:min(limit, len(active))]
			if fromEnd {
				want = active[max(0, len(active)-limit):]
			}
			if got := idsOf(t, s, apikey.KeyList{Limit: limit, FromEnd: fromEnd, Where: apikey.ActiveKeys(at)}); !slices.Equal(got, want) {
				t.Errorf("limit %d, from the end %v: %q, want %q", limit, fromEnd, got, want)
			}
		}
	}
	if n, err := s.CountKeys(t.Context(), tenant, apikey.ActiveKeys(at).Of("ret_1")); err != nil || n != len(active) {
		t.Errorf("CountKeys: %d, %v", n, err)
	}
	// Each row up to the last key of the page must be charged, even if few of them are active.
	for limit := 1; limit <= len(active)+1; limit++ {
		want := many
		if limit <= len(active) {
			want = 1 + slices.Index(all, active[limit-1])
		}
		cost := apikey.NewCost(1_000_000, 0)
		_, err := s.KeyPages(apikey.WithCost(t.Context(), cost), tenant, []apikey.RetrieverID{"ret_1"}, apikey.KeyList{Limit: limit, Where: apikey.ActiveKeys(at)})
		if looked := 1_000_000 - cost.Left(); err != nil || looked != want {
			t.Errorf("a page of %d looked at %d rows, want %d: %v", limit, looked, want, err)
		}
	}
	for _, allowed := range []int{many + len(active), usualSizes.rowsAtOnce + 1, 3} {
		cost := apikey.NewCost(allowed, 0)
		ctx := apikey.WithCost(t.Context(), cost)
		_, err := s.KeyPages(ctx, tenant, []apikey.RetrieverID{"ret_1"}, apikey.KeyList{Limit: 5, Where: apikey.ActiveKeys(at)})
		if refused := cost.Exceeded() != nil; refused != (allowed < 2*usualSizes.rowsAtOnce) || refused != (err != nil) {
			t.Errorf("a Cost of %d: %v", allowed, err)
		}
		cost = apikey.NewCost(allowed, 0)
		_, err = s.CountKeys(apikey.WithCost(t.Context(), cost), tenant, apikey.ActiveKeys(at).Of("ret_1"))
		if refused := cost.Exceeded() != nil; refused != (allowed < many) || refused != (err != nil) {
			t.Errorf("a count with a Cost of %d: %v", allowed, err)
		}
	}
}

func idsOf(t *testing.T, s *Store, r apikey.KeyList) (ids []apikey.ID) {
	t.Helper()
	pages, err := s.KeyPages(t.Context(), tenant, []apikey.RetrieverID{"ret_1"}, r)
	if err != nil {
		t.Fatal(fmt.Sprintf("%+v", r), err)
	}
	for _, k := range pages[0] {
		ids = append(ids, k.ID)
	}
	return ids
}

// A list must look at the events of the condition that fewest meet. Otherwise the few events of a person at a busy retriever, or of a busy
// program in a quiet namespace, would take the whole budget of a request. A list whose condition has no index must be complete however many
// events it passes over.
func TestEventsAreFoundByTheFewest(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "store.db"))
	n := 3 * usualSizes.rowsAtOnce
	insertEvents(t, s, n, func(i int, e *apikey.Event) {
		e.ActorID, e.NamespaceID = "usr_program", "ns_busy"
		switch i {
		case 7, 77:
			e.ActorID = "usr_person"
		case 8, 88:
			e.NamespaceID, e.RetrieverIDs = "ns_quiet", []apikey.RetrieverID{"ret_quiet"}
		case 9:
			e.IPAddress = new("203.0.113.9")
		}
	})
	busy, quiet := []apikey.RetrieverID{"ret_1"}, []apikey.RetrieverID{"ret_quiet"}
	for name, c := range map[string]struct {
		where       apikey.EventConditions
		found, most int
	}{
		"all":                            {apikey.EventConditions{}, n, n},
		"a person at a busy retriever":   {apikey.EventConditions{Naming: busy, ActorID: new("usr_person")}, 2, 2},
		"a person in a busy namespace":   {apikey.EventConditions{Namespace: new(apikey.NamespaceID("ns_busy")), ActorID: new("usr_person")}, 2, 2},
		"a program at a quiet retriever": {apikey.EventConditions{Naming: quiet, ActorID: new("usr_program")}, 2, 2},
		"a program in a quiet namespace": {apikey.EventConditions{Namespace: new(apikey.NamespaceID("ns_quiet")), ActorID: new("usr_program")}, 2, 2},
		"a program about a key":          {apikey.EventConditions{About: new(apikey.ID("key_2")), ActorID: new("usr_program")}, 0, 0},
		"an address":                     {apikey.EventConditions{IPAddress: new("203.0.113.9")}, 1, n},
		"an address, lately":             {apikey.EventConditions{IPAddress: new("203.0.113.9"), Happened: apikey.Period{From: new(march.Add(time.Second))}}, 0, n - 1000},
	} {
		for _, fromEnd := range []bool{false, true} {
			cost := apikey.NewCost(2*n, 0)
			page, err := s.EventPage(apikey.WithCost(t.Context(), cost), tenant, apikey.EventList{Where: c.where, FromEnd: fromEnd, Limit: n + 1})
			if looked := 2*n - cost.Left(); err != nil || len(page) != c.found || looked > c.most {
				t.Errorf("%s, from end %t: %d events after %d documents, %v, want %d after %d", name, fromEnd, len(page), looked, err, c.found, c.most)
			}
		}
		cost := apikey.NewCost(2*n, 0)
		count, err := s.CountEvents(apikey.WithCost(t.Context(), cost), tenant, c.where)
		if looked := 2*n - cost.Left(); err != nil || count != c.found || looked > c.most {
			t.Errorf("%s: %d counted after %d documents, %v, want %d after %d", name, count, looked, err, c.found, c.most)
		}
	}
	// A list that the budget does not cover must fail, not be short, and must not read on.
	cost := apikey.NewCost(100, 0)
	_, err := s.EventPage(apikey.WithCost(t.Context(), cost), tenant, apikey.EventList{Where: apikey.EventConditions{IPAddress: new("203.0.113.9")}, Limit: 1})
	if e := cost.Exceeded(); e == nil || err == nil || apikey.Classify(err).Code != apikey.BadUserInput {
		t.Errorf("a list beyond the budget: %v", err)
	}
}
