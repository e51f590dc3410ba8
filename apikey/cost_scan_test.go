package apikey

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// charging is a store that charges each key to the Cost, as the engines do.
type charging struct{ *memory }

func (c charging) KeyPages(ctx context.Context, tenant InternalID, ids []RetrieverID, r KeyRange) ([][]Key, error) {
	pages, err := c.memory.KeyPages(ctx, tenant, ids, r)
	if err == nil {
		err = CostFrom(ctx).Look(len(slices.Concat(pages...)))
	}
	return pages, err
}

func (c charging) CountKeys(ctx context.Context, tenant InternalID, id RetrieverID, activeAt time.Time) (int, error) {
	n, err := c.memory.CountKeys(ctx, tenant, id, activeAt)
	if err == nil {
		err = CostFrom(ctx).Look(n)
	}
	return n, err
}

func listOf(n int, change ...func(*Key)) *memory {
	store := &memory{}
	for i := range n {
		store.keys = append(store.keys, keyOf(ID(fmt.Sprintf("key_%05d", i)), change...))
	}
	return store
}

// Without this, a request reads MAX_READS documents of a longer list and is refused only then.
func TestHopelessScansEndEarly(t *testing.T) {
	const n = 5000
	search := Filter{Search: "nobody has this"}
	for name, c := range map[string]struct {
		budget, looked int // upper limit of what is charged
		counts         int
		refused        bool
		options        ListOptions
	}{
		"more than the budget":       {n - 1000, readFirst + readTogether, 1, true, ListOptions{Filter: search, Wants: everything}},
		"one too few":                {n + listCost - 1, readFirst + readTogether, 1, true, ListOptions{Filter: search, Wants: everything}},
		"another order, one too few": {n + listCost - 1, readFirst + readTogether, 1, true, ListOptions{Order: Order{Field: ByExpiresAt}, Wants: Wants{Items: true}}},
		"exactly enough":             {n + listCost, n, 1, false, ListOptions{Filter: search, Wants: everything}},
		"no bound":                   {0, 0, 0, false, ListOptions{Filter: search, Wants: everything}},
		"a page without a total":     {n - 1000, n, 0, true, ListOptions{Filter: search, Wants: Wants{Items: true}}},
	} {
		store := listOf(n)
		cost := NewCost(c.budget, 0)
		out, err := (&Service{Store: charging{store}, Now: frozen}).List(WithCost(t.Context(), cost), admin(), []*Retriever{{ID: "ret_1"}}, c.options)
		if err == nil {
			err = out[0].Err
		}
		reads := store.reads()
		if c.refused != (err != nil) || c.refused && (Classify(err).Limit != "MAX_READS" || cost.Exceeded() == nil) {
			t.Errorf("%s: %v", name, err)
		}
		if got := strings.Count(reads, "CountKeys"); got != c.counts {
			t.Errorf("%s: %d counts, want %d: %s", name, got, c.counts, reads)
		}
		if early := c.refused && c.counts > 0; early && strings.Count(reads, "KeyPages") != 2 {
			t.Errorf("%s: %s", name, reads)
		}
		if !c.refused && c.budget > 0 && cost.Left() != 0 {
			t.Errorf("%s: %d left, want 0, because the counted index entries are charged", name, cost.Left())
		}
	}
	// A list of ordinary length is read without counting it first.
	store := listOf(MaxPage)
	_, err := (&Service{Store: charging{store}, Now: frozen}).List(WithCost(t.Context(), NewCost(2*n, 0)), admin(), []*Retriever{{ID: "ret_1"}}, ListOptions{Filter: search, Wants: everything})
	if reads := store.reads(); err != nil || strings.Contains(reads, "CountKeys") {
		t.Errorf("a thousand keys: %s, %v", reads, err)
	}
}

// Without this, concurrent scans keep many times MAX_RESPONSE_BYTES before the first of them ends and is charged.
func TestScansAreChargedForWhatTheyKeep(t *testing.T) {
	store := listOf(3*MaxPage, func(k *Key) { k.AllowedOrigins = []string{strings.Repeat("o", 10_000)} })
	o := ListOptions{Page: Page{First: new(MaxPage)}, Filter: Filter{UnusedSince: at(0)}, Fields: FieldAllowedOrigins, Wants: Wants{Total: true, Items: true}}
	list := func(cost *Cost) error {
		out, err := (&Service{Store: store, Now: frozen}).List(WithCost(t.Context(), cost), admin(), []*Retriever{{ID: "ret_1"}}, o)
		if err == nil {
			err = out[0].Err
		}
		return err
	}
	cost := NewCost(0, 1<<20)
	if err := list(cost); Classify(err).Limit != "MAX_RESPONSE_BYTES" || cost.Exceeded() == nil {
		t.Errorf("a page of 10 MB, with a limit of 1 MB: %v", err)
	}
	if reads := store.reads(); strings.Count(reads, "KeyPages") != 1 {
		t.Errorf("it was refused after the reads %s, want one page", reads)
	}
	// A key that a scan keeps is charged once, however many pages were read.
	cost = NewCost(0, 0)
	if err := list(cost); err != nil || cost.retained.Load() < MaxPage*10_000 || cost.retained.Load() > (MaxPage+1)*12_000 {
		t.Errorf("a page of 10 MB: got %d bytes charged, %v", cost.retained.Load(), err)
	}
}

// Without this, one request keeps sixteen large pages in memory at once. Small pages do not wait for large ones.
func TestLargeReadsWaitForTheirTurn(t *testing.T) {
	for name, c := range map[string]struct {
		waits string // the reads that are made while as many large reads as allowed are running
		ask   func(ctx context.Context, s *Service) error
	}{
		"a large page": {"", func(ctx context.Context, s *Service) error {
			_, err := s.List(ctx, admin(), []*Retriever{{ID: "ret_1"}}, ListOptions{Page: Page{First: new(largeRead)}, Wants: Wants{Items: true}})
			return err
		}},
		"the rest of a scan": {"KeyPages(101)", func(ctx context.Context, s *Service) error {
			out, err := s.List(ctx, admin(), []*Retriever{{ID: "ret_1"}}, ListOptions{Filter: Filter{Search: "zzz"}, Wants: everything})
			if err == nil {
				err = out[0].Err
			}
			return err
		}},
		"a search of retrievers": {"", func(ctx context.Context, s *Service) error {
			_, err := s.RetrieversIn(ctx, admin(), &Namespace{ID: "ns_1", InternalID: "int_1"}, Page{}, "zzz", everything)
			return err
		}},
		"a small page": {"KeyPages(200)", func(ctx context.Context, s *Service) error {
			_, err := s.List(ctx, admin(), []*Retriever{{ID: "ret_1"}}, ListOptions{Page: Page{First: new(largeRead - 1)}, Wants: Wants{Items: true}})
			if err != nil {
				return err
			}
			return Outage(context.Canceled)
		}},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := listOf(2 * MaxPage)
			cost := NewCost(0, 0)
			for range maxLarge {
				cost.large <- struct{}{}
			}
			ctx, cancel := context.WithCancel(WithCost(t.Context(), cost))
			defer cancel()
			var err error
			done := make(chan struct{})
			go func() { defer close(done); err = c.ask(ctx, &Service{Store: store, Now: frozen}) }()
			synctest.Wait()
			if reads := store.reads(); strings.TrimSpace(reads) != c.waits {
				t.Errorf("%s: got the reads %q meanwhile, want %q", name, reads, c.waits)
			}
			cancel()
			<-done
			if codeOf(t, err) != Unavailable {
				t.Errorf("%s, canceled while it waits: %v", name, err)
			}
		})
	}
}

// Without this, background work and commands, which have no Cost, take all connections of the store.
func TestTogetherIsSixteenAtOnce(t *testing.T) {
	var none *Cost
	for name, together := range map[string]func(ctx context.Context, n int, f func(ctx context.Context, i int) error) error{
		"Together": Together, "Cost.Together": none.Together,
	} {
		synctest.Test(t, func(t *testing.T) {
			var under atomic.Int64
			release, done := make(chan struct{}), make(chan error, 1)
			go func() {
				done <- together(t.Context(), 40, func(context.Context, int) error { under.Add(1); <-release; return nil })
			}()
			synctest.Wait()
			// The calling goroutine becomes the sixteenth only when the others have started all calls.
			if n := under.Load(); n != maxCalls-1 {
				t.Errorf("%s: got %d concurrent calls, want %d", name, n, maxCalls-1)
			}
			close(release)
			if err := <-done; err != nil || under.Load() != 40 {
				t.Errorf("%s: %d of 40 calls, %v", name, under.Load(), err)
			}
		})
	}
}

// Without this, searching for a whole organization key does not find the keys with its prefix.
func TestAPastedOrganizationKeyIsFound(t *testing.T) {
	secret := mint(organizationKeyPrefix)
	keys := []Key{
		keyOf("the_key", func(k *Key) { k.Hash, k.Prefix = secret.Hash(), new(secret.Prefix()) }),
		keyOf("same_prefix", func(k *Key) { k.Prefix = new(secret.Prefix()) }),
		keyOf("another", func(k *Key) { k.Prefix = new("sk_zzzzzzz...") }),
	}
	for text, want := range map[string]string{
		secret.Reveal():      "the_key same_prefix",
		secret.Reveal()[:20]: "the_key same_prefix",
		secret.Reveal()[:11]: "the_key same_prefix",
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
}
