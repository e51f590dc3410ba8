package apikey

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Without this, a request reads more than its limit, or one that needs exactly its limit is refused.
func TestCostIsCharged(t *testing.T) {
	b := NewCost(10, 100)
	if err := b.Look(10); err != nil || b.Left() != 0 || b.Exceeded() != nil {
		t.Errorf("ten of ten: %v, %d left", err, b.Left())
	}
	e := Classify(b.Look(1))
	if e.Code != BadUserInput || e.Limit != "MAX_READS" || !strings.Contains(e.Message, "MAX_READS") || !strings.Contains(e.Message, "10") || b.Exceeded() != e {
		t.Errorf("eleven of ten: %+v", e)
	}
	if err := b.retain(100); err != nil {
		t.Errorf("a hundred bytes of a hundred: %v", err)
	}
	b = NewCost(0, 100)
	if e := Classify(b.retain(101)); e.Code != BadUserInput || e.Limit != "MAX_RESPONSE_BYTES" || !strings.Contains(e.Message, "MAX_RESPONSE_BYTES") {
		t.Errorf("101 bytes of a hundred: %+v", e)
	}
	if err := b.Look(1 << 40); err != nil || b.Left() < 1<<50 {
		t.Errorf("without a limit: %v, %d left", err, b.Left())
	}
	var none *Cost
	if none.Look(1) != nil || none.retain(1) != nil || none.Exceeded() != nil || none.Left() < 1<<50 || CostFrom(t.Context()) != nil {
		t.Error("a nil Cost must limit nothing")
	}
}

// Without this, one request takes all connections of the store, deadlocks with itself, or continues to read after it has exceeded its
// limit.
func TestCallsOfARequestAreFew(t *testing.T) {
	b := NewCost(1, 0)
	var under, most atomic.Int64
	call := func(ctx context.Context) {
		if n := under.Add(1); n > most.Load() {
			most.Store(n)
		}
		time.Sleep(time.Millisecond)
		under.Add(-1)
	}
	// Calls nest: a store can turn one call into many.
	err := Together(t.Context(), 40, func(ctx context.Context, _ int) error {
		done, err := b.Call(ctx)
		if err != nil {
			return err
		}
		defer done()
		return b.Together(ctx, 5, func(ctx context.Context, _ int) error {
			return b.Together(ctx, 2, func(ctx context.Context, _ int) error { call(ctx); return nil })
		})
	})
	if err != nil || most.Load() > maxCalls || most.Load() < 2 {
		t.Errorf("%d calls at once, %v", most.Load(), err)
	}
	for range maxCalls {
		if _, err := b.Call(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := b.Call(ended); codeOf(t, err) != Unavailable {
		t.Errorf("a call whose context ended: %v", err)
	}
	b = NewCost(1, 0)
	_ = b.Look(2)
	if _, err := b.Call(t.Context()); codeOf(t, err) != BadUserInput || len(b.calls) != 0 {
		t.Errorf("a call over the limit: %v", err)
	}
}

// Without this, lists without keys cost nothing, or the lists of one operation keep more than fits into memory.
func TestListsAreCharged(t *testing.T) {
	keys := []Key{keyOf("a"), keyOf("b")}
	list := func(b *Cost, n int, o ListOptions) error {
		rs := make([]*Retriever, n)
		for i := range rs {
			rs[i] = &Retriever{ID: "ret_1"}
		}
		out, err := (&Service{Store: &memory{keys: keys}, Now: frozen}).List(WithCost(t.Context(), b), admin(), rs, o)
		for _, l := range out {
			if l.Err != nil {
				err = l.Err
			}
		}
		return err
	}
	for name, o := range map[string]ListOptions{
		"a total":  {Wants: Wants{Total: true}},
		"a page":   {Wants: Wants{Items: true}},
		"a filter": {Wants: Wants{Items: true}, Filter: Filter{Search: "x"}},
	} {
		b := NewCost(100, 0)
		if err := list(b, 10, o); err != nil || b.Left() != 0 {
			t.Errorf("%s: %v, %d left", name, err, b.Left())
		}
		if err := list(NewCost(100, 0), 11, o); codeOf(t, err) != BadUserInput {
			t.Errorf("eleven of %s: %v", name, err)
		}
	}
	for name, o := range map[string]ListOptions{
		"a page":                     {Wants: Wants{Items: true}},
		"a filter":                   {Wants: Wants{Items: true}, Filter: Filter{UnusedSince: at(0)}},
		"a filter, and their number": {Wants: everything, Filter: Filter{UnusedSince: at(0)}},
		"by name":                    {Wants: everything, Order: Order{Field: ByName}},
	} {
		any := NewCost(0, 0)
		if err := list(any, 10, o); err != nil || any.retained.Load() < 10*2*500 {
			t.Errorf("%s takes %d bytes: %v", name, any.retained.Load(), err)
		}
		bytes := int(any.retained.Load())
		if err := list(NewCost(0, bytes), 10, o); err != nil {
			t.Errorf("%s that fits: %v", name, err)
		}
		if err := list(NewCost(0, bytes-1), 10, o); codeOf(t, err) != BadUserInput {
			t.Errorf("%s that does not fit: %v", name, err)
		}
	}
}

// partial is a store that returns the page of one retriever per read.
type partial struct{ *memory }

func (p partial) KeyPages(ctx context.Context, tenant InternalID, ids []RetrieverID, l KeyList) ([][]Key, error) {
	return p.memory.KeyPages(ctx, tenant, ids[:1], l)
}

// Without this, retrievers whose keys are not in the first read look as if they had none.
func TestPagesThatComeInParts(t *testing.T) {
	store := &memory{}
	var rs []*Retriever
	for i := range 5 {
		id := fmt.Sprintf("ret_%d", i)
		rs = append(rs, &Retriever{ID: RetrieverID(id)})
		store.keys = append(store.keys, keyOf(ID("key_"+id), func(k *Key) { k.Scopes[0].ResourceID = id }))
	}
	for _, o := range []ListOptions{{Wants: everything}, {Wants: everything, Filter: Filter{UnusedSince: at(0)}}} {
		out, err := (&Service{Store: partial{store}, Now: frozen}).List(t.Context(), admin(), rs, o)
		if err != nil {
			t.Fatal(err)
		}
		for i := range rs {
			if got := ids(out[i].Keys); got != "key_"+string(rs[i].ID) || out[i].Keys.Total != 1 {
				t.Errorf("%s: %q", rs[i].ID, got)
			}
		}
	}
}

// In an emergency, people paste what they have: a whole key or its beginning. Without this, the search finds nothing.
func TestAPastedKeyIsFound(t *testing.T) {
	secret := mint(retrieverKeyPrefix)
	foreign := "vendor-live_0123456789abcdefghij" // of an unknown form
	keys := []Key{
		keyOf("the_key", func(k *Key) { k.Hash, k.Prefix = secret.Hash(), new(secret.Prefix()) }),
		keyOf("same_prefix", func(k *Key) { k.Prefix = new(secret.Prefix()) }),
		keyOf("no_prefix", func(k *Key) { k.Hash = digest(foreign) }),
		keyOf("names_it", func(k *Key) { k.Description = "was " + secret.Reveal()[:20] }),
		keyOf("another", func(k *Key) { k.Prefix = new("ret_sk_zzz...") }),
	}
	for text, want := range map[string]string{
		secret.Reveal():                "the_key same_prefix",
		" " + secret.Reveal() + "\n":   "the_key same_prefix",
		secret.Reveal()[:20]:           "the_key same_prefix names_it",
		secret.Reveal()[:11]:           "the_key same_prefix names_it",
		secret.Reveal()[:10]:           "the_key same_prefix names_it",
		secret.Reveal()[:59] + "!":     "the_key same_prefix",
		foreign:                        "no_prefix",
		foreign[:20]:                   "",
		"ret_sk_":                      "the_key same_prefix names_it another",
		strings.ToUpper(foreign):       "",
		"sk_" + secret.Reveal()[7:]:    "",
		"RET_SK_ZZZ":                   "another",
		secret.Reveal()[:10] + "...":   "the_key same_prefix",
		secret.Hash():                  "",
		strings.Repeat("x", maxSearch): "",
	} {
		c, err := list1(t, keys, ListOptions{Filter: Filter{Search: text}, Wants: everything})
		if err != nil {
			t.Fatal(err)
		}
		got, wanted := strings.Fields(ids(c)), strings.Fields(want)
		slices.Sort(got)
		slices.Sort(wanted)
		if !slices.Equal(got, wanted) {
			t.Errorf("%q finds %q, want %q", text, got, wanted)
		}
	}
	if _, err := list1(t, keys, ListOptions{Filter: Filter{Search: strings.Repeat("é", maxSearch+1)}, Wants: everything}); Classify(err).Field != "filter.search" {
		t.Errorf("a search of 201 characters: %v", err)
	}
}

// A document can have any length. Without this, a few long documents cost as much as many, and count as few.
func TestLongDocumentsCountMore(t *testing.T) {
	for bytes, want := range map[int]int{0: 1, 900: 1, 1023: 1, 1024: 2, 14_000: 14} {
		if got := Documents(bytes); got != want {
			t.Errorf("%d bytes count as %d documents, want %d", bytes, got, want)
		}
	}
}

// A store asks Left whether it must limit a query. A cost without a limit must not get one when something is charged to it.
func TestUnlimitedCostsStayUnlimited(t *testing.T) {
	cost := NewCost(100, 0).unlimited()
	if err := cost.Look(1000); err != nil || cost.Left() != math.MaxInt {
		t.Errorf("%v, %d left", err, cost.Left())
	}
}

// A filter that repeats a value a hundred thousand times must be compared with each key only once.
func TestFiltersAreComparedOnce(t *testing.T) {
	q, err := ListOptions{IncludeRevoked: true, Filter: Filter{
		Status: slices.Repeat([]Status{Revoked, Active}, 50_000), KeyType: slices.Repeat([]Type{RetrieverKey}, 50_000),
	}}.query(Policy{}, frozen(), MaxPage)
	if err != nil || len(q.where.Status) != 2 || len(q.where.Types) != 1 {
		t.Errorf("%d states and %d types are compared, %v", len(q.where.Status), len(q.where.Types), err)
	}
}

// Without this, megabytes of text are decoded and encoded before they are refused as a cursor.
func TestLongCursorsAreNone(t *testing.T) {
	p := position{kind: retrievers, value: strings.Repeat("x", maxCursor), id: "ret_1"}
	if _, ok := parseCursor(p.cursor(), retrievers); ok {
		t.Error("a cursor of more than 64 KiB was accepted")
	}
}

// Without this, an empty list of some kind costs nothing, and a hundred thousand of them take seconds.
func TestEveryKindOfListIsCharged(t *testing.T) {
	for name, list := range map[string]func(ctx context.Context, s *Service) error{
		"keys": func(ctx context.Context, s *Service) error {
			_, err := s.List(ctx, admin(), []*Retriever{{ID: "ret_none"}}, ListOptions{Wants: everything})
			return err
		},
		"retrievers": func(ctx context.Context, s *Service) error {
			_, err := s.RetrieversIn(ctx, admin(), &Namespace{ID: "ns_none", InternalID: "int_1"}, Page{}, "", everything)
			return err
		},
		"events of a namespace": func(ctx context.Context, s *Service) error {
			_, err := s.AuditEvents(ctx, admin(), EventPlace{Namespace: &Namespace{ID: "ns_none"}}, EventOptions{Wants: everything})
			return err
		},
		"events of the organization": func(ctx context.Context, s *Service) error {
			_, err := s.AuditEvents(ctx, admin(), EventPlace{}, EventOptions{Wants: everything})
			return err
		},
		"events": func(ctx context.Context, s *Service) error {
			_, err := s.AuditEvents(ctx, admin(), EventPlace{Retriever: &Retriever{ID: "ret_none"}}, EventOptions{Wants: everything})
			return err
		},
	} {
		cost := NewCost(1000, 0)
		if err := list(WithCost(t.Context(), cost), newService(&memory{})); err != nil || cost.Left() != 1000-listCost {
			t.Errorf("%s: %d of 1000 are left, %v", name, cost.Left(), err)
		}
		if err := list(WithCost(t.Context(), NewCost(listCost-1, 0)), newService(&memory{})); codeOf(t, err) != BadUserInput {
			t.Errorf("%s with nothing left: %v", name, err)
		}
	}
}

// crowded is a store that records how many large reads run at the same time.
type crowded struct {
	*memory
	under, most *atomic.Int64
}

func (c crowded) enter() func() {
	if n := c.under.Add(1); n > c.most.Load() {
		c.most.Store(n)
	}
	time.Sleep(time.Millisecond)
	return func() { c.under.Add(-1) }
}

func (c crowded) KeyPages(ctx context.Context, tenant InternalID, ids []RetrieverID, l KeyList) ([][]Key, error) {
	defer c.enter()()
	return c.memory.KeyPages(ctx, tenant, ids, l)
}

func (c crowded) RetrieverPage(ctx context.Context, tenant InternalID, ns NamespaceID, r RetrieverRange) ([]Retriever, error) {
	defer c.enter()()
	return c.memory.RetrieverPage(ctx, tenant, ns, r)
}

// Without this, one request with many filters or searches keeps sixteen large pages in memory at once.
func TestLargeReadsAreFew(t *testing.T) {
	store := &memory{namespaces: []Namespace{{ID: "ns_1", InternalID: "int_1"}}}
	for i := range 2 * MaxPage {
		store.keys = append(store.keys, keyOf(ID(fmt.Sprintf("key_%05d", i))))
		store.retrievers = append(store.retrievers, Retriever{ID: RetrieverID(fmt.Sprintf("ret_%05d", i)), NamespaceID: "ns_1", InternalID: "int_1"})
	}
	for name, ask := range map[string]func(ctx context.Context, s *Service, i int) error{
		"pages": func(ctx context.Context, s *Service, i int) error {
			_, err := s.List(ctx, admin(), []*Retriever{{ID: "ret_1"}}, ListOptions{Page: Page{First: new(900 + i)}, Wants: Wants{Items: true}})
			return err
		},
		"filters": func(ctx context.Context, s *Service, i int) error {
			out, err := s.List(ctx, admin(), []*Retriever{{ID: "ret_1"}}, ListOptions{Filter: Filter{Search: fmt.Sprint("x", i)}, Wants: everything})
			if err == nil {
				err = out[0].Err
			}
			return err
		},
		"searches": func(ctx context.Context, s *Service, i int) error {
			_, err := s.RetrieversIn(ctx, admin(), &store.namespaces[0], Page{}, fmt.Sprint("x", i), everything)
			return err
		},
	} {
		var under, most atomic.Int64
		s := &Service{Store: crowded{store, &under, &most}, Now: frozen}
		err := Together(WithCost(t.Context(), NewCost(0, 0)), 12, func(ctx context.Context, i int) error { return ask(ctx, s, i) })
		// The first page of a scan is small, so it does not count.
		if small := name == "filters"; err != nil || most.Load() > maxLarge && !small || most.Load() < 2 {
			t.Errorf("%s: got %d large reads at once, %v", name, most.Load(), err)
		}
	}
}
