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

func (c charging) KeyPages(ctx context.Context, tenant InternalID, ids []RetrieverID, l KeyList) ([][]Key, error) {
	pages, err := c.memory.KeyPages(ctx, tenant, ids, l)
	if err == nil {
		err = CostFrom(ctx).Look(len(slices.Concat(pages...)))
	}
	return pages, err
}

func (c charging) CountKeys(ctx context.Context, tenant InternalID, where KeyConditions) (int, error) {
	n, err := c.memory.CountKeys(ctx, tenant, where)
	if err == nil {
		err = CostFrom(ctx).Look(n)
	}
	return n, err
}

func (c charging) MatchingKeys(ctx context.Context, tenant InternalID, l KeyList, f func(Key) (more bool)) (err error) {
	_ = c.memory.MatchingKeys(ctx, tenant, l, func(k Key) (more bool) {
		err = CostFrom(ctx).Look(1)
		return err == nil && f(k)
	})
	return err
}

func listOf(n int, change ...func(*Key)) *memory {
	store := &memory{}
	for i := range n {
		store.keys = append(store.keys, keyOf(ID(fmt.Sprintf("key_%05d", i)), change...))
	}
	return store
}

// Without this, a request whose lists scan reads MAX_READS documents again and again before it is refused, or no request can search a long list.
func TestScansAreChargedBeforeTheyRead(t *testing.T) {
	const n = 5000
	search, rare := Filter{Search: "nobody has this"}, Wants{Items: true}
	for name, c := range map[string]struct {
		budget  int
		lists   []ListOptions // one after the other, of one request
		left    int           // documents that the request may still read
		refused int           // how many of the lists
	}{
		"exactly enough":          {n + listCost, []ListOptions{{Filter: search, Wants: rare}}, 0, 0},
		"a total is another scan": {2*n + listCost, []ListOptions{{Filter: search, Wants: everything}}, 0, 0},
		"more than the budget":    {n, []ListOptions{{Filter: search, Wants: everything}}, n - listCost, 0},
		"one too few":             {n + listCost - 1, []ListOptions{{Filter: search, Wants: rare}}, n - 1, 0},
		"the second, too":         {n, []ListOptions{{Filter: search, Wants: rare}, {Filter: Filter{Search: "x"}, Wants: rare}}, 0, 1},
		"one within the budget":   {n + 3*listCost - 1, []ListOptions{{Filter: search, Wants: rare}, {Filter: search, Wants: rare}}, listCost - 1, 0},
		"by expiry":               {n + listCost, []ListOptions{{Order: Order{Field: ByExpiresAt}, Wants: rare}}, 0, 0},
		"the oldest first":        {n + listCost, []ListOptions{{Order: Order{Direction: Ascending}, Page: Page{First: new(9)}, Wants: rare}}, n - 10, 0},
		"a period":                {n + listCost, []ListOptions{{Filter: Filter{CreatedAfter: at(1)}, Wants: rare}}, n, 0},
		"no bound":                {0, []ListOptions{{Filter: search, Wants: everything}, {Filter: search, Wants: everything}}, 1 << 62, 0},
	} {
		store := listOf(n)
		cost := NewCost(c.budget, 0)
		refused := 0
		for _, o := range c.lists {
			out, err := (&Service{Store: charging{store}, Now: frozen}).List(WithCost(t.Context(), cost), admin(), []*Retriever{{ID: "ret_1"}}, o)
			if err == nil {
				err = out[0].Err
			}
			if err != nil {
				refused++
				if Classify(err).Limit != "MAX_READS" || cost.Exceeded() == nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		if left := cost.Left(); refused != c.refused || c.budget > 0 && c.refused == 0 && left != c.left {
			t.Errorf("%s: %d refused, want %d; %d left, want %d", name, refused, c.refused, left, c.left)
		}
	}
}

// Without this, nobody can ask how many keys a large organization has, or a request counts them again and again.
func TestALargeTotalIsTheScanOfARequest(t *testing.T) {
	const n = 5000
	s, total := &Service{Store: charging{listOf(n)}, Now: frozen}, ListOptions{Wants: Wants{Total: true}}
	for _, c := range []struct{ budget, wantLeft, wantRefused int }{
		{2*n + 2*listCost, 0, 0}, {n + 2*listCost, 0, 0}, {n + listCost - 1, n - listCost - 1, 1}, {3 * listCost, listCost, 1},
	} {
		cost := NewCost(c.budget, 0)
		refused := 0
		for range 2 {
			keys, err := s.OrganizationKeys(WithCost(t.Context(), cost), admin(), total)
			if err != nil {
				refused++
				if Classify(err).Limit != "MAX_READS" {
					t.Errorf("with %d: %v", c.budget, err)
				}
			} else if keys.Total != n {
				t.Errorf("with %d: got %d, want %d", c.budget, keys.Total, n)
			}
		}
		if left := cost.Left(); refused != c.wantRefused || left != c.wantLeft {
			t.Errorf("with %d: %d refused and %d left, want %d and %d", c.budget, refused, left, c.wantRefused, c.wantLeft)
		}
	}
}

// walking is a memory whose lists charge every key, active or not, as an engine does that walks an order.
type walking struct{ *memory }

func (w walking) KeyPage(ctx context.Context, tenant InternalID, l KeyList) ([]Key, error) {
	if err := CostFrom(ctx).Look(len(w.keys)); err != nil {
		return nil, err
	}
	return w.memory.KeyPage(ctx, tenant, l)
}

// Without this, the default list of an organization is refused if many newer keys are inactive, and nothing that the client can ask for helps.
func TestActiveKeysBehindManyOthers(t *testing.T) {
	const n = 5000
	store := listOf(n)
	for i := range n - 1 {
		store.keys[i].Stored = Revoked
	}
	s := &Service{Store: walking{store}, Now: frozen}
	for _, c := range []struct{ budget, wantLeft, wantRefused int }{
		{2*n + 2*listCost, 0, 0}, {n + 2*listCost, 0, 0}, {n, n - 2*listCost, 1}, {3 * listCost, listCost, 1},
	} {
		cost := NewCost(c.budget, 0)
		refused := 0
		for range 2 {
			keys, err := s.OrganizationKeys(WithCost(t.Context(), cost), admin(), ListOptions{Wants: Wants{Items: true}})
			if err != nil {
				refused++
				if Classify(err).Limit != "MAX_READS" {
					t.Errorf("with %d: %v", c.budget, err)
				}
			} else if len(keys.Items) != 1 {
				t.Errorf("with %d: got %d keys, want 1", c.budget, len(keys.Items))
			}
		}
		if left := cost.Left(); refused != c.wantRefused || left != c.wantLeft {
			t.Errorf("with %d: %d refused and %d left, want %d and %d", c.budget, refused, left, c.wantRefused, c.wantLeft)
		}
	}
}

// Without this, a request is charged a small part of what its lists look at, so a few lists take many seconds.
func TestScansAreChargedForWhatStoresLookAt(t *testing.T) {
	const budget = 200_000
	looked := func(store *memory, list func(context.Context, *Service) error) int {
		t.Helper()
		cost := NewCost(budget, 0)
		if err := list(WithCost(t.Context(), cost), &Service{Store: charging{store}, Now: frozen}); err != nil {
			t.Fatal(err)
		}
		return budget - cost.Left()
	}
	// Stores sort the keys of a creator by expiry if they are few. Otherwise they walk the keys of all creators.
	byExpiry := ListOptions{Filter: Filter{CreatedBy: new("usr_a")}, Order: Order{Field: ByExpiresAt}, Wants: Wants{Items: true}}
	for of, want := range map[int]int{indexSort: indexSort, indexSort + 1: indexSort + 1 + 3000} {
		store := listOf(of, func(k *Key) { k.CreatedBy = new("usr_a") })
		for i := range 3000 {
			store.keys = append(store.keys, keyOf(ID(fmt.Sprintf("key_b%05d", i)), func(k *Key) { k.CreatedBy = new("usr_b") }))
		}
		if got := looked(store, func(ctx context.Context, s *Service) error {
			_, err := s.OrganizationKeys(ctx, admin(), byExpiry)
			return err
		}); got != want+listCost {
			t.Errorf("%d keys of the creator: %d were charged, want %d", of, got, want+listCost)
		}
	}
	// A list of several retrievers looks at all of their keys, once.
	store := listOf(2500)
	ns := Namespace{ID: "ns_1", Name: "one", InternalID: "int_1"}
	store.namespaces = []Namespace{ns}
	for _, id := range []RetrieverID{"ret_1", "ret_2"} {
		store.retrievers = append(store.retrievers, Retriever{ID: id, Name: string(id), NamespaceID: "ns_1", InternalID: "int_1"})
	}
	for field, want := range map[OrderField]int{ByCreatedAt: 2500, ByExpiresAt: 2500, ByName: 2500, ByLastUsedAt: 2500} {
		if got := looked(store, func(ctx context.Context, s *Service) error {
			_, err := s.NamespaceKeys(ctx, admin(), &ns, ListOptions{Order: Order{Field: field}, Wants: Wants{Items: true}})
			return err
		}); got != want+listCost {
			t.Errorf("%q: %d were charged, want %d", field, got, want+listCost)
		}
	}
}

// A list that is refused because it has too many keys must be charged for the keys that it read. Otherwise, one request could read millions of keys
// with a hundred such lists. A page ordered by name reads the keys once, even if the client asks whether there are other pages.
func TestListsByNameAreChargedOnce(t *testing.T) {
	s := &Service{Store: charging{listOf(RankLimit + 1)}, Now: frozen}
	byName := ListOptions{Order: Order{Field: ByName}, Wants: everything}
	cost := NewCost(200_000, 0)
	if _, err := s.OrganizationKeys(WithCost(t.Context(), cost), admin(), byName); Classify(err).Field != "orderBy" || cost.Left() != 200_000-RankLimit-1-listCost {
		t.Errorf("a refused list: %v, %d left", err, cost.Left())
	}
	s.Store = charging{listOf(2500)}
	cursor := (&position{kind: byName.Order.Field.kind(), value: "a", id: "a"}).cursor()
	byName.Page.After, byName.Filter.NeverExpires = &cursor, new(true)
	cost = NewCost(200_000, 0)
	if _, err := s.OrganizationKeys(WithCost(t.Context(), cost), admin(), byName); err != nil || cost.Left() != 200_000-2500-listCost {
		t.Errorf("the second page: %v, %d left", err, cost.Left())
	}
}

// Without this, requests of one organization scan side by side and take the processor from all others.
func TestAnOrganizationHasOneLongScan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running scans
		end, err := running.begin(t.Context(), "int_1")
		if err != nil {
			t.Fatal(err)
		}
		if other, err := running.begin(t.Context(), "int_2"); err != nil {
			t.Errorf("another organization waits: %v", err)
		} else {
			other()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := running.begin(ctx, "int_1"); codeOf(t, err) != Unavailable || !strings.Contains(err.Error(), "too long") {
			t.Errorf("a second scan: %v", err)
		}
		next := make(chan error)
		go func() {
			end, err := running.begin(t.Context(), "int_1")
			if err == nil {
				end()
			}
			next <- err
		}()
		synctest.Wait()
		end()
		if err := <-next; err != nil {
			t.Errorf("after the end: %v", err)
		}
		if len(running.running) != 0 {
			t.Errorf("%d scans are left", len(running.running))
		}
	})
}

// Without this, concurrent scans keep many times MAX_RESPONSE_BYTES before the first of them ends and is charged.
func TestScansAreChargedForWhatTheyKeep(t *testing.T) {
	store := listOf(3*MaxPage, func(k *Key) { k.AllowedOrigins = []string{strings.Repeat("o", 10_000)} })
	o := ListOptions{Page: Page{First: new(MaxPage)}, Order: Order{Field: ByName}, Fields: FieldAllowedOrigins, Wants: Wants{Total: true, Items: true}}
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
		"the rest of a ranked list": {"KeyPages(101)", func(ctx context.Context, s *Service) error {
			out, err := s.List(ctx, admin(), []*Retriever{{ID: "ret_1"}}, ListOptions{Order: Order{Field: ByName}, Wants: everything})
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
