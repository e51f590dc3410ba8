package apikey

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The methods below look up one thing each. Most tests need no more.

func (s *Service) Namespace(ctx context.Context, c Caller, ref string) (*Namespace, error) {
	f, err := s.LookUp(ctx, c, Names{Namespaces: []string{ref}})
	if err != nil {
		return nil, err
	}
	return f.Namespace(ref)
}

func (s *Service) RetrieverIn(ctx context.Context, c Caller, ns *Namespace, ref string) (*Retriever, error) {
	named := RetrieverRef{In: ns, Retriever: ref}
	f, err := s.LookUp(ctx, c, Names{Retrievers: []RetrieverRef{named}})
	if err != nil {
		return nil, err
	}
	return f.Retriever(named)
}

func (s *Service) Retrievers(ctx context.Context, c Caller, namespace string, p Page, search string, wants Wants) (*Connection[Retriever], error) {
	f, err := s.LookUp(ctx, c, Names{Namespace: namespace, Namespaces: []string{namespace}})
	if err != nil {
		return nil, err
	}
	return f.Retrievers(ctx, p, search, wants)
}

func (s *Service) Key(ctx context.Context, c Caller, namespace string, id ID, fields Fields) (*Key, error) {
	f, err := s.LookUp(ctx, c, Names{Namespace: namespace, Keys: []ID{id}, KeyFields: fields})
	if err != nil {
		return nil, err
	}
	return f.Key(id)
}

func (s *Service) Node(ctx context.Context, c Caller, namespace, id string, fields Fields) (Node, error) {
	f, err := s.LookUp(ctx, c, Names{Namespace: namespace, Nodes: []string{id}, KeyFields: fields})
	if err != nil {
		return Node{}, err
	}
	return f.Node(id)
}

// Looking up several things together must give the same results as looking up each alone, with one read of each kind. Otherwise a result
// depends on what else the operation names, or fifty aliases cost fifty reads.
func TestLookUpTogetherIsLookUpAlone(t *testing.T) {
	namespace := rapid.SampledFrom([]string{"shop", "ns_1", "ns_2", "absent", ""})
	id := rapid.SampledFrom([]string{"ret_1", "ret_2", "ret_3", "search", "twin", "ret_6", "ret_foreign", "key_1", "key_2", "key_26", "key_gone", "key_foreign", "ns_1", "ns_2", "ns_foreign", "absent", ""})
	ref := rapid.Custom(func(t *rapid.T) RetrieverRef {
		if rapid.IntRange(0, 3).Draw(t, "anywhere") == 0 {
			return RetrieverRef{Anywhere: true, Retriever: id.Draw(t, "retriever")}
		}
		return RetrieverRef{Namespace: namespace.Draw(t, "in"), Retriever: id.Draw(t, "retriever"), ByID: rapid.Bool().Draw(t, "by id")}
	})
	options := []ListOptions{
		{Wants: everything, Fields: FieldName},
		{Wants: everything, IncludeRevoked: true, Page: Page{First: new(1)}},
		{Wants: Wants{Total: true}, IncludeRevoked: true},
		{Wants: everything, Filter: Filter{Search: "2"}, IncludeRevoked: true},
		{Wants: everything, Page: Page{First: new(-1)}},
	}
	callers := []Caller{admin(), reader(), reader(on(ResourceRetriever, "ret_1")), reader(on(ResourceNamespace, "ns_2")), reader(on(ResourceRetriever, "ret_*"))}
	rapid.Check(t, func(t *rapid.T) {
		n := Names{
			Namespace:  namespace.Draw(t, "namespace"),
			Namespaces: rapid.SliceOfN(namespace, 0, 3).Draw(t, "namespaces"),
			Retrievers: rapid.SliceOfN(ref, 0, 4).Draw(t, "retrievers"),
			Nodes:      rapid.SliceOfN(id, 0, 3).Draw(t, "nodes"),
			NodeLists:  rapid.SliceOfN(rapid.SliceOfN(id, 0, 3), 0, 2).Draw(t, "lists of nodes"),
			KeyFields:  FieldName,
		}
		for _, k := range rapid.SliceOfN(id, 0, 3).Draw(t, "keys anywhere") {
			n.KeysAnywhere = append(n.KeysAnywhere, ID(k))
		}
		for range rapid.IntRange(0, 2).Draw(t, "lists of hashes") {
			var hashes []string
			for _, k := range rapid.SliceOfN(id, 0, 3).Draw(t, "hashes") {
				hashes = append(hashes, digest("hash of "+k))
			}
			n.HashLists = append(n.HashLists, hashes)
		}
		for _, k := range rapid.SliceOfN(id, 0, 3).Draw(t, "keys") {
			n.Keys = append(n.Keys, ID(k))
		}
		for i := range rapid.IntRange(0, 2).Draw(t, "listings") {
			n.Listings = append(n.Listings, ListingOf{options[rapid.IntRange(0, len(options)-1).Draw(t, fmt.Sprint("options ", i))], rapid.SliceOfN(ref, 0, 4).Draw(t, "of")})
		}
		c := rapid.SampledFrom(callers).Draw(t, "caller")
		store := fixture()
		for i := range store.keys {
			store.keys[i].Hash = digest(store.keys[i].Hash)
		}
		s := newService(store)
		ctx := context.Background()
		f, err := s.LookUp(ctx, c, n)
		if err != nil {
			t.Fatal(err)
		}
		reads := map[string]int{}
		for call := range strings.FieldsSeq(store.reads()) {
			name, _, _ := strings.Cut(call, "(")
			reads[name]++
		}
		pages := 2 * len(n.Listings) // of those named by id, of those named by name
		for name, atMost := range map[string]int{"Namespaces": 2, "Retrievers": 2, "Keys": 1, "KeysWithHashes": 1, "RetrieversNamed": 2} {
			if reads[name] > atMost {
				t.Errorf("got %d reads of %s", reads[name], name)
			}
		}
		for _, l := range n.Listings {
			pages += 2 * len(l.Retrievers) // further pages, and totals
		}
		if reads["KeyPages"]+reads["CountKeys"] > pages {
			t.Errorf("got %d reads of pages and %d counts", reads["KeyPages"], reads["CountKeys"])
		}

		same := func(what string, got any, gotErr error, want any, wantErr error) {
			t.Helper()
			if diff := cmp.Diff(want, got); diff != "" || !reflect.DeepEqual(gotErr, wantErr) {
				t.Errorf("%s: (-alone +together)\n%s\n%v, alone %v", what, diff, gotErr, wantErr)
			}
		}
		for _, name := range n.Namespaces {
			got, gotErr := f.Namespace(name)
			want, wantErr := s.Namespace(ctx, c, name)
			same("namespace "+name, got, gotErr, want, wantErr)
		}
		for _, r := range n.Retrievers {
			got, gotErr := f.Retriever(r)
			alone, err := s.LookUp(ctx, c, Names{Retrievers: []RetrieverRef{r}})
			if err != nil {
				t.Fatal(err)
			}
			want, wantErr := alone.Retriever(r)
			same(fmt.Sprintf("retriever %+v", r), got, gotErr, want, wantErr)
		}
		for _, k := range n.Keys {
			got, gotErr := f.Key(k)
			want, wantErr := s.Key(ctx, c, n.Namespace, k, n.KeyFields)
			same("key "+string(k), got, gotErr, want, wantErr)
		}
		for _, node := range n.Nodes {
			got, gotErr := f.Node(node)
			want, wantErr := s.Node(ctx, c, n.Namespace, node, n.KeyFields)
			same("node "+node, got, gotErr, want, wantErr)
		}
		for _, k := range n.KeysAnywhere {
			alone, err := s.LookUp(ctx, c, Names{Namespace: n.Namespace, KeysAnywhere: []ID{k}, KeyFields: n.KeyFields})
			if err != nil {
				t.Fatal(err)
			}
			same("key anywhere "+string(k), f.Entity(ResourceAPIKey, string(k)), nil, alone.Entity(ResourceAPIKey, string(k)), nil)
		}
		for _, list := range n.NodeLists {
			alone, err := s.LookUp(ctx, c, Names{Namespace: n.Namespace, NodeLists: [][]string{list}, KeyFields: n.KeyFields})
			if err != nil {
				t.Fatal(err)
			}
			got, gotErr := f.Nodes(list)
			want, wantErr := alone.Nodes(list)
			same(fmt.Sprintf("nodes %q", list), got, gotErr, want, wantErr)
		}
		for _, list := range n.HashLists {
			alone, err := s.LookUp(ctx, c, Names{Namespace: n.Namespace, HashLists: [][]string{list}, KeyFields: n.KeyFields})
			if err != nil {
				t.Fatal(err)
			}
			got, gotErr := f.KeysWithHashes(list)
			want, wantErr := alone.KeysWithHashes(list)
			same(fmt.Sprintf("hashes %q", list), got, gotErr, want, wantErr)
		}
		for i, l := range n.Listings {
			for _, ref := range l.Retrievers {
				r, err := f.Retriever(ref)
				if err != nil {
					continue
				}
				got, ok := f.Listing(i, r.ID)
				want, err := s.List(ctx, c, []*Retriever{r}, l.Options)
				if err != nil { // of the options, so each of their listings has it
					want = []Listing{{Err: err}}
				}
				if !ok || !reflect.DeepEqual(got.Err, want[0].Err) {
					t.Fatalf("listing %d of %s: got %t, %v, want %v as alone", i, r.ID, ok, got.Err, want[0].Err)
				}
				if got.Err == nil {
					shown := func(k *Connection[Key]) any {
						return []any{k.Items, k.Total, k.HasNextPage, k.HasPreviousPage}
					}
					same(fmt.Sprintf("listing %d of %s", i, r.ID), shown(got.Keys), nil, shown(want[0].Keys), nil)
				}
			}
		}
	})
}

// A retriever that is named by id, its namespace and its keys are read concurrently. Each name that must be resolved first costs one more
// round trip.
func TestLookUpTakesFewTrips(t *testing.T) {
	listing := func(refs ...string) Names {
		l := ListingOf{Options: ListOptions{Wants: Wants{Items: true}}}
		for _, r := range refs {
			l.Retrievers = append(l.Retrievers, RetrieverRef{Namespace: "ns_1", Retriever: r})
		}
		return Names{Retrievers: l.Retrievers, Listings: []ListingOf{l}}
	}
	for name, tt := range map[string]struct {
		names  Names
		caller Caller // an admin, unless given
		trips  int
		reads  string
	}{
		"nothing":           {Names{Namespace: "ns_1"}, Caller{}, 0, ""},
		"a namespace":       {Names{Namespaces: []string{"ns_1", "blog"}}, Caller{}, 1, "Namespaces"},
		"keys by id":        {listing("ret_1"), Caller{}, 1, "KeyPages(1001) Namespaces Retrievers"},
		"of two retrievers": {listing("ret_1", "ret_2"), Caller{}, 1, "KeyPages(1001) Namespaces Retrievers"},
		"keys by name":      {listing("search"), Caller{}, 3, "KeyPages(1001) KeyPages(1001) Namespaces Retrievers RetrieversNamed"},
		"of what is absent": {listing("absent"), Caller{}, 2, "KeyPages(1001) Namespaces Retrievers RetrieversNamed"},
		"a key":             {Names{Namespace: "ns_1", Keys: []ID{"key_1", "key_2"}}, Caller{}, 2, "Keys Namespaces Retrievers"},
		"absent keys":       {Names{Namespace: "ns_1", Keys: []ID{"absent"}}, Caller{}, 1, "Keys Namespaces"},
		"nodes":             {Names{Namespace: "ns_1", Nodes: []string{"ret_1", "ns_2"}}, Caller{}, 1, "Keys Namespaces Retrievers"},
		"entities":          {Names{Namespace: "ns_1", Namespaces: []string{"ns_1"}, Retrievers: []RetrieverRef{{Namespace: "ns_1", Retriever: "absent", ByID: true}}}, Caller{}, 1, "Namespaces Retrievers"},

		"keys anywhere, for who sees all":      {Names{Keys: []ID{"key_1"}}, admin(), 1, "Keys"},
		"keys anywhere":                        {Names{Keys: []ID{"key_1", "key_2"}}, reader(), 3, "Keys Namespaces Retrievers"},
		"absent keys anywhere":                 {Names{Namespace: "ns_1", KeysAnywhere: []ID{"absent"}}, reader(), 1, "Keys"},
		"keys by hash, for who sees all":       {Names{HashLists: [][]string{{digest("x")}, {digest("y")}}}, admin(), 1, "KeysWithHashes"},
		"no hashes":                            {Names{HashLists: [][]string{{"x"}, make([]string, 501)}}, admin(), 0, ""},
		"too many nodes":                       {Names{NodeLists: [][]string{make([]string, 101)}}, admin(), 0, ""},
		"a retriever anywhere":                 {Names{Retrievers: []RetrieverRef{{Anywhere: true, Retriever: "ret_1"}}}, admin(), 2, "Namespaces Retrievers"},
		"one in a namespace that is read":      {Names{Namespaces: []string{"ns_1"}, Retrievers: []RetrieverRef{{Anywhere: true, Retriever: "ret_1"}}}, admin(), 1, "Namespaces Retrievers"},
		"nodes anywhere":                       {Names{NodeLists: [][]string{{"key_1", "ret_1"}, {"key_6", "ns_1"}}}, reader(), 3, "Keys Namespaces Namespaces Retrievers Retrievers"},
		"keys of the same namespace as a node": {Names{NodeLists: [][]string{{"key_1", "ns_1"}}}, reader(), 2, "Keys Namespaces Retrievers Retrievers"},
	} {
		if tt.caller.Anonymous() {
			tt.caller = admin()
		}
		store := fixture()
		if _, err := newService(store).LookUp(t.Context(), tt.caller, tt.names); err != nil {
			t.Fatal(err)
		}
		if got := store.reads(); got != tt.reads {
			t.Errorf("%s: read %q, want %q", name, got, tt.reads)
		}
		synctest.Test(t, func(t *testing.T) {
			slow := fixture()
			slow.delay = time.Second
			start := time.Now()
			if _, err := newService(slow).LookUp(t.Context(), tt.caller, tt.names); err != nil {
				t.Fatal(err)
			}
			if trips := int(time.Since(start) / time.Second); trips != tt.trips {
				t.Errorf("%s: %d trips, want %d", name, trips, tt.trips)
			}
		})
	}
}

// Without this, an outage looks as if nothing existed.
func TestLookUpReportsOutages(t *testing.T) {
	names := Names{
		Namespace: "ns_1", Keys: []ID{"key_1"}, Retrievers: []RetrieverRef{{Namespace: "ns_1", Retriever: "search"}},
		Listings: []ListingOf{{Options: ListOptions{Wants: everything}, Retrievers: []RetrieverRef{{Namespace: "ns_1", Retriever: "ret_1"}}}},
	}
	working := fixture()
	if _, err := newService(working).LookUp(t.Context(), admin(), names); err != nil {
		t.Fatal(err)
	}
	for call := range strings.FieldsSeq(working.reads()) {
		store := fixture()
		store.fails = call
		if _, err := newService(store).LookUp(t.Context(), admin(), names); codeAndField(t, err) != "UNAVAILABLE" {
			t.Errorf("%s fails: %v", call, err)
		}
	}
	store := fixture()
	store.down = Outage(errors.New("gone"))
	if _, err := newService(store).LookUp(t.Context(), Caller{}, names); codeAndField(t, err) != "UNAUTHENTICATED" {
		t.Errorf("an anonymous caller: %v", err)
	}
}
