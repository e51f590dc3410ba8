package apikey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// everything requests all parts of a connection.
var everything = Wants{Items: true, Total: true, HasNext: true, HasPrevious: true}

// admin returns a caller who can see all of the organization int_1.
func admin() Caller {
	return Caller{Key: &Key{ID: "key_admin", Type: Standard, InternalID: "int_1", OrganizationID: new("org_1"), Permissions: []Permission{Admin}}}
}

// keyOf returns an active key of ret_1, changed by the edits.
func keyOf(id ID, edits ...func(*Key)) Key {
	k := Key{
		ID: id, Hash: "hash of " + string(id), Type: RetrieverKey, InternalID: "int_1", Stored: Active, CreatedAt: at(0),
		Scopes: []Scope{{ResourceType: ResourceRetriever, ResourceID: "ret_1", Operations: []Operation{ExecuteRetriever}}},
	}
	for _, edit := range edits {
		edit(&k)
	}
	return k
}

func frozen() time.Time { return noon }

// list1 lists the keys of ret_1 only.
func list1(t *testing.T, keys []Key, o ListOptions) (*Connection[Key], error) {
	t.Helper()
	s := &Service{Store: &memory{keys: keys}, Now: frozen}
	out, err := s.List(t.Context(), admin(), []*Retriever{{ID: "ret_1"}}, o)
	if err != nil {
		return nil, err
	}
	return out[0].Keys, out[0].Err
}

func ids(c *Connection[Key]) string {
	var all []string
	for i := range c.Items {
		all = append(all, string(c.Items[i].ID))
	}
	return strings.Join(all, " ")
}

// Without this, a list whose arguments contradict each other is empty for no visible reason.
func TestListOptionsValidation(t *testing.T) {
	nameCursor := (&position{kind: byName, value: "a", id: "key_1"}).cursor()
	timeCursor := (&position{kind: byCreatedAt, value: "12345678", id: "key_1"}).cursor()
	for _, tt := range []struct {
		name    string
		options ListOptions
		field   string // the field that is wrong, or empty
		says    string
	}{
		{"nothing", ListOptions{}, "", ""},
		{"active ones", ListOptions{Filter: Filter{Status: []Status{Active}}}, "", ""},
		{"revoked ones", ListOptions{Filter: Filter{Status: []Status{Revoked}}}, "filter.status", "includeRevoked"},
		{"expired ones", ListOptions{Filter: Filter{Status: []Status{Expired}}}, "filter.status", "EXPIRED"},
		{"active and revoked ones", ListOptions{Filter: Filter{Status: []Status{Active, Revoked}}}, "filter.status", "REVOKED"},
		{"revoked ones, with includeRevoked", ListOptions{IncludeRevoked: true, Filter: Filter{Status: []Status{Revoked, Expired}}}, "", ""},
		{"an empty list of statuses", ListOptions{Filter: Filter{Status: []Status{}}}, "", ""},
		{"all known types", ListOptions{Filter: Filter{KeyType: []Type{Standard, MarketplaceSubscription, RetrieverKey}}}, "", ""},
		{"an empty list of types", ListOptions{Filter: Filter{KeyType: []Type{}}}, "", ""},
		{"an unknown type", ListOptions{Filter: Filter{KeyType: []Type{UnknownType}}}, "filter.keyType", "UNKNOWN"},
		{"an unknown type among known ones", ListOptions{Filter: Filter{KeyType: []Type{Standard, UnknownType}}}, "filter.keyType", "UNKNOWN"},
		{"too large a page", ListOptions{Page: Page{First: new(1001)}}, "first", "1000"},
		{"a cursor of this order", ListOptions{Page: Page{After: &nameCursor}, Order: Order{Field: ByName}}, "", ""},
		{"a cursor of this order in the other direction", ListOptions{Page: Page{After: &nameCursor}, Order: Order{ByName, Ascending}}, "", ""},
		{"a cursor of another order", ListOptions{Page: Page{After: &nameCursor}}, "after", ""},
		{"a cursor of another order of times", ListOptions{Page: Page{Before: &timeCursor}, Order: Order{Field: ByExpiresAt}}, "before", ""},
	} {
		_, err := list1(t, nil, tt.options)
		if tt.field == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		e := &Error{}
		ok := errors.As(err, &e)
		if !ok || e.Code != BadUserInput || e.Field != tt.field || !strings.Contains(e.Message, tt.says) {
			t.Errorf("%s: %+v, want one about %s that says %q", tt.name, err, tt.field, tt.says)
		}
	}
}

// The default page size must be the documented one.
func TestListShowsAThousandUnlessAsked(t *testing.T) {
	var keys []Key
	for i := range 1001 {
		keys = append(keys, keyOf(ID(fmt.Sprintf("key_%04d", i))))
	}
	c, err := list1(t, keys, ListOptions{Wants: everything})
	if err != nil || len(c.Items) != 1000 || !c.HasNextPage || c.Total != 1001 {
		t.Errorf("got %d items of %d, hasNextPage %v, %v", len(c.Items), c.Total, c.HasNextPage, err)
	}
}

// Without this, a revoked or expired key looks active, or the list of all keys lacks some. Statuses are those at the time of the request.
func TestIncludeRevoked(t *testing.T) {
	keys := []Key{
		keyOf("active"),
		keyOf("expires_later", func(k *Key) { k.ExpiresAt = at(1) }),
		keyOf("expires_now", func(k *Key) { k.ExpiresAt = at(0) }),
		keyOf("expired", func(k *Key) { k.ExpiresAt = at(-1) }),
		keyOf("expired_stored", func(k *Key) { k.Stored = Expired }),
		keyOf("revoked", func(k *Key) { k.RevokedAt = at(-1) }),
		keyOf("revoked_stored", func(k *Key) { k.Stored = Revoked }),
	}
	for _, tt := range []struct {
		name    string
		options ListOptions
		want    string
	}{
		{"without", ListOptions{}, "expires_later active"},
		{"with", ListOptions{IncludeRevoked: true}, "revoked_stored revoked expires_now expires_later expired_stored expired active"},
		{"with, active ones", ListOptions{IncludeRevoked: true, Filter: Filter{Status: []Status{Active}}}, "expires_later active"},
		{"without, active ones", ListOptions{Filter: Filter{Status: []Status{Active}}}, "expires_later active"},
		{"with, revoked ones", ListOptions{IncludeRevoked: true, Filter: Filter{Status: []Status{Revoked}}}, "revoked_stored revoked"},
		{"with, expired ones", ListOptions{IncludeRevoked: true, Filter: Filter{Status: []Status{Expired}}}, "expires_now expired_stored expired"},
		{"with, expired and active ones", ListOptions{IncludeRevoked: true, Filter: Filter{Status: []Status{Expired, Active}}}, "expires_now expires_later expired_stored expired active"},
		{"without, searched", ListOptions{Order: Order{ByName, Descending}}, "expires_later active"},
	} {
		tt.options.Wants = everything
		c, err := list1(t, keys, tt.options)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := ids(c); got != tt.want || c.Total != len(c.Items) {
			t.Errorf("%s: %s, total %d; want %s", tt.name, got, c.Total, tt.want)
		}
		for i := range c.Items {
			if k := &c.Items[i]; k.Status != k.StatusAt(noon) {
				t.Errorf("%s: %s has the status %q", tt.name, k.ID, k.Status)
			}
		}
	}
}

// Without this, a filter selects other keys than its description says, or compares a field that was not read. The store reads only
// requested fields, and this test requests none.
func TestFilters(t *testing.T) {
	keys := []Key{
		keyOf("a", func(k *Key) {
			k.Name, k.CreatedBy, k.Type, k.LastUsedAt, k.ExpiresAt = "Mobile App", new("usr_1"), Standard, at(-100), at(100)
		}),
		keyOf("b", func(k *Key) {
			k.Description, k.CreatedBy, k.LastUsedAt, k.ExpiresAt = "for the mobile site", new("usr_2"), at(-50), at(200)
		}),
		keyOf("c", func(k *Key) { k.Prefix, k.CreatedBy = new("ret_sk_Mob..."), new("") }),
		keyOf("d", func(k *Key) { k.Name, k.Description, k.Type = "a.b*c", `100% "sure"`, MarketplaceSubscription }),
		keyOf("e", func(k *Key) { k.Name, k.Type = "ÜBER", UnknownType }),
		keyOf("f", func(k *Key) { k.Type = UnreadableType }),
	}
	for _, tt := range []struct {
		name   string
		filter Filter
		want   string
	}{
		{"none", Filter{}, "f e d c b a"},
		{"empty lists", Filter{Status: []Status{}, KeyType: []Type{}}, "f e d c b a"},
		{"name, description and prefix, any case", Filter{Search: "mOB"}, "c b a"},
		{"a part in the middle", Filter{Search: "bile"}, "b a"},
		{"a literal dot", Filter{Search: "a.b"}, "d"},
		{"a dot matches no other character", Filter{Search: "1.0"}, ""},
		{"a literal star", Filter{Search: "b*"}, "d"},
		{"a literal percent sign", Filter{Search: "0%"}, "d"},
		{"a literal underscore", Filter{Search: "_"}, "c"},
		{"a literal quote", Filter{Search: `"`}, "d"},
		{"case beyond ASCII", Filter{Search: "über"}, "e"},
		{"no match", Filter{Search: "nothing"}, ""},
		{"not across fields", Filter{Search: "appfor"}, ""},
		{"ids are not searched", Filter{Search: "hash"}, ""},
		{"creator", Filter{CreatedBy: new("usr_1")}, "a"},
		{"creator, in part", Filter{CreatedBy: new("usr")}, ""},
		{"an empty creator is not a missing one", Filter{CreatedBy: new("")}, "c"},
		{"type", Filter{KeyType: []Type{Standard}}, "a"},
		{"types", Filter{KeyType: []Type{Standard, MarketplaceSubscription}}, "d a"},
		{"the most common type", Filter{KeyType: []Type{RetrieverKey}}, "c b"},
		{"unused since before both uses", Filter{UnusedSince: at(-200)}, "f e d c"},
		{"unused since the time of use", Filter{UnusedSince: at(-100)}, "f e d c"},
		{"unused since just after the use", Filter{UnusedSince: new(at(-100).Add(1))}, "f e d c a"},
		{"unused since now", Filter{UnusedSince: at(0)}, "f e d c b a"},
		{"expires before", Filter{ExpiresBefore: at(150)}, "a"},
		{"expires before its expiry", Filter{ExpiresBefore: at(100)}, ""},
		{"expires before just after its expiry", Filter{ExpiresBefore: new(at(100).Add(1))}, "a"},
		{"expires before the far future", Filter{ExpiresBefore: at(1 << 30)}, "b a"},
		{"all filters", Filter{Search: "mobile", CreatedBy: new("usr_2"), KeyType: []Type{RetrieverKey}, UnusedSince: at(0), ExpiresBefore: at(300), Status: []Status{Active}}, "b"},
		{"all filters, one without a match", Filter{Search: "mobile", CreatedBy: new("usr_2"), KeyType: []Type{Standard}, UnusedSince: at(0), ExpiresBefore: at(300)}, ""},
	} {
		c, err := list1(t, keys, ListOptions{Filter: tt.filter, Wants: everything})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := ids(c); got != tt.want || c.Total != len(c.Items) {
			t.Errorf("%s: %q, total %d; want %q", tt.name, got, c.Total, tt.want)
		}
	}
}

// Without this, the total or hasNextPage reveals keys that the filter excludes.
func TestTotalCountsWhatTheFilterSelects(t *testing.T) {
	var keys []Key
	for i := range 10 {
		keys = append(keys, keyOf(ID(fmt.Sprint("key_", i)), func(k *Key) { k.Name = strings.Repeat("even", 1-i%2) }))
	}
	c, err := list1(t, keys, ListOptions{Filter: Filter{Search: "even"}, Page: Page{First: new(2)}, Wants: everything})
	if err != nil || ids(c) != "key_8 key_6" || c.Total != 5 || !c.HasNextPage || c.HasPreviousPage {
		t.Fatalf("%s of %d, %v, %v, %v", ids(c), c.Total, c.HasNextPage, c.HasPreviousPage, err)
	}
	after := c.Cursor(1)
	c, err = list1(t, keys, ListOptions{Filter: Filter{Search: "even"}, Page: Page{First: new(3), After: &after}, Wants: everything})
	if err != nil || ids(c) != "key_4 key_2 key_0" || c.Total != 5 || c.HasNextPage || !c.HasPreviousPage {
		t.Errorf("%s of %d, %v, %v, %v", ids(c), c.Total, c.HasNextPage, c.HasPreviousPage, err)
	}
}

// Without this, an order compares the wrong field or one that was not read, puts nulls first, or orders equal values in another direction.
func TestOrders(t *testing.T) {
	keys := []Key{
		keyOf("a", func(k *Key) { k.Name, k.CreatedAt, k.LastUsedAt, k.ExpiresAt = "n2", at(1), at(-3), at(9) }),
		keyOf("b", func(k *Key) { k.Name, k.CreatedAt, k.LastUsedAt, k.ExpiresAt = "n1", at(2), at(-1), at(8) }),
		keyOf("c", func(k *Key) { k.Name, k.CreatedAt, k.LastUsedAt, k.ExpiresAt = "n1", at(2), nil, nil }),
		keyOf("d", func(k *Key) { k.Name, k.CreatedAt, k.LastUsedAt, k.ExpiresAt = "", nil, nil, at(9) }),
		keyOf("e", func(k *Key) { k.Name, k.CreatedAt, k.LastUsedAt, k.ExpiresAt = "N3", nil, at(-3), nil }),
	}
	for order, want := range map[Order]string{
		{}:                         "c b a e d",
		{ByCreatedAt, Descending}:  "c b a e d",
		{ByCreatedAt, Ascending}:   "a b c d e",
		{ByLastUsedAt, Descending}: "b e a d c",
		{ByLastUsedAt, Ascending}:  "a e b c d",
		{ByExpiresAt, Descending}:  "d a b e c",
		{ByExpiresAt, Ascending}:   "b a d c e",
		{ByName, Descending}:       "a c b e d",
		{ByName, Ascending}:        "d e b c a",
	} {
		c, err := list1(t, keys, ListOptions{Order: order, Wants: everything})
		if err != nil {
			t.Fatal(err)
		}
		if got := ids(c); got != want {
			t.Errorf("%+v: %s, want %s", order, got, want)
		}
		// Reading one key per page must give the same list.
		var walked []string
		page := Page{First: new(1)}
		for range keys {
			c, err := list1(t, keys, ListOptions{Order: order, Page: page, Wants: everything})
			if err != nil || len(c.Items) != 1 {
				t.Fatalf("%+v: %v, %v", order, c, err)
			}
			walked = append(walked, string(c.Items[0].ID))
			page.After = new(c.Cursor(0))
		}
		if got := strings.Join(walked, " "); got != want {
			t.Errorf("%+v, one by one: %s, want %s", order, got, want)
		}
	}
}

// The store pages some lists and the domain scans others. Without this, they differ, or a filter that excludes nothing changes a page. The
// expected page comes from the Relay algorithm over the keys that should be listed.
func TestPagedAndScannedListingsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) Key {
			return keyOf(ID(rapid.StringMatching("[a-h]").Draw(t, "id")), func(k *Key) {
				k.CreatedAt, k.ExpiresAt = nil, nil
				if rapid.IntRange(0, 3).Draw(t, "dated") > 0 {
					k.CreatedAt = at(rapid.IntRange(-3, 0).Draw(t, "created"))
				}
				if rapid.Bool().Draw(t, "expires") {
					k.ExpiresAt = at(rapid.IntRange(-1, 1).Draw(t, "expiry"))
				}
			})
		}), 1, 8, func(k Key) ID { return k.ID }).Draw(t, "all")
		rowOf := func(k Key) row {
			r := row{id: string(k.ID)}
			if k.CreatedAt != nil {
				r.value = new(int(k.CreatedAt.Unix()))
			}
			return r
		}
		var kept []Key
		var listed []row
		options := ListOptions{IncludeRevoked: rapid.Bool().Draw(t, "includeRevoked"), Wants: everything}
		for _, k := range all {
			if rapid.IntRange(0, 4).Draw(t, "kept") == 0 {
				continue
			}
			kept = append(kept, k)
			if options.IncludeRevoked || k.ExpiresAt == nil || k.ExpiresAt.After(noon) {
				listed = append(listed, rowOf(k))
			}
		}
		a := asked{limit: MaxPage}
		if size := rapid.IntRange(-1, 9).Draw(t, "size"); size >= 0 {
			a.limit = size
			if a.fromEnd = rapid.Bool().Draw(t, "last"); a.fromEnd {
				options.Page.Last = &size
			} else {
				options.Page.First = &size
			}
		}
		cursor := func(bound **row) *string {
			k := rapid.SampledFrom(all).Draw(t, "cursor")
			*bound = new(rowOf(k))
			return new((&Connection[Key]{Items: []Key{k}, at: (&query{kind: byCreatedAt}).position}).Cursor(0))
		}
		if rapid.Bool().Draw(t, "after") {
			options.Page.After = cursor(&a.after)
		}
		if rapid.Bool().Draw(t, "before") {
			options.Page.Before = cursor(&a.before)
		}
		page, hasNext, hasPrevious := relay(listed, Descending, a)

		restrictNothing := Filter{KeyType: []Type{Standard, MarketplaceSubscription, RetrieverKey}}
		for _, options.Filter = range []Filter{{}, restrictNothing} {
			store := &memory{keys: kept}
			out, err := (&Service{Store: store, Now: frozen}).List(context.Background(), admin(), []*Retriever{{ID: "ret_1"}}, options)
			if err != nil || out[0].Err != nil {
				t.Fatal(err, out)
			}
			c := out[0].Keys
			var got []row
			for _, k := range c.Items {
				got = append(got, rowOf(k))
			}
			if fmt.Sprint(got) != fmt.Sprint(page) || c.Total != len(listed) || c.HasNextPage != hasNext || c.HasPreviousPage != hasPrevious {
				t.Fatalf("by %s: %v of %d, more %v, before %v; want %v of %d, %v, %v", store.reads(),
					got, c.Total, c.HasNextPage, c.HasPreviousPage, page, len(listed), hasNext, hasPrevious)
			}
		}
	})
}

// A list must not cost more reads than it needs: one read for all retrievers, no page if only the total is requested, no count if the page
// shows the total, and no more than one key beyond the page.
func TestListReadsNoMoreThanItMust(t *testing.T) {
	var keys []Key
	for i := range 5 {
		keys = append(keys, keyOf(ID(fmt.Sprint("key_", i)), func(k *Key) { k.CreatedAt = at(-i) }))
	}
	cursorOf := func(i int) *string {
		return new((&Connection[Key]{Items: keys, at: (&query{kind: byCreatedAt}).position}).Cursor(i))
	}
	three := []*Retriever{{ID: "ret_1"}, {ID: "ret_2"}, {ID: "ret_3"}}
	for _, tt := range []struct {
		name    string
		rs      []*Retriever
		options ListOptions
		want    string
	}{
		{"nothing", three, ListOptions{}, ""},
		{"nothing, filtered", three[:1], ListOptions{Filter: Filter{Search: "a"}}, ""},
		{"no retriever", nil, ListOptions{Wants: Wants{Total: true}}, ""},
		{"total only", three[:1], ListOptions{Wants: Wants{Total: true}}, "CountKeys"},
		{"total only, of three", three, ListOptions{Wants: Wants{Total: true}}, "CountKeys CountKeys CountKeys"},
		{"total only, with a page size", three[:1], ListOptions{Wants: Wants{Total: true}, Page: Page{First: new(2)}}, "CountKeys"},
		{"page only", three[:1], ListOptions{Wants: Wants{Items: true}}, "KeyPages(1001)"},
		{"page only, of three", three, ListOptions{Wants: Wants{Items: true}}, "KeyPages(1001)"},
		{"page and total, all on the page", three, ListOptions{Wants: Wants{Items: true, Total: true}}, "KeyPages(1001)"},
		{"page and total, exactly all on the page", three[:1], ListOptions{Wants: Wants{Items: true, Total: true}, Page: Page{First: new(5)}}, "KeyPages(6)"},
		{"page and total, more than the page", three[:1], ListOptions{Wants: Wants{Items: true, Total: true}, Page: Page{First: new(4)}}, "CountKeys KeyPages(5)"},
		{"page and total, more than the page of one", three, ListOptions{Wants: Wants{Items: true, Total: true}, Page: Page{First: new(4)}}, "CountKeys KeyPages(5)"},
		{"page and total, after a cursor", three[:1], ListOptions{Wants: Wants{Items: true, Total: true}, Page: Page{After: cursorOf(0)}}, "CountKeys KeyPages(1001)"},
		{"page and total, before a cursor", three[:1], ListOptions{Wants: Wants{Items: true, Total: true}, Page: Page{Before: cursorOf(4)}}, "CountKeys KeyPages(1001)"},
		{"first: 0, and total", three[:1], ListOptions{Wants: Wants{Items: true, Total: true}, Page: Page{First: new(0)}}, "CountKeys KeyPages(1)"},
		{"next only", three[:1], ListOptions{Wants: Wants{HasNext: true}, Page: Page{First: new(2)}}, "KeyPages(3)"},
		{"both, from the start", three[:1], ListOptions{Wants: Wants{HasNext: true, HasPrevious: true}, Page: Page{First: new(2)}}, "KeyPages(3)"},
		{"both, from the end", three[:1], ListOptions{Wants: Wants{HasNext: true, HasPrevious: true}, Page: Page{Last: new(2)}}, "KeyPages(3)"},
		{"next, after a cursor", three[:1], ListOptions{Wants: Wants{HasNext: true}, Page: Page{First: new(2), After: cursorOf(0)}}, "KeyPages(3)"},
		{"hasPreviousPage after a cursor", three[:1], ListOptions{Wants: Wants{HasPrevious: true}, Page: Page{First: new(2), After: cursorOf(0)}}, "KeyPages(1) KeyPages(3)"},
		{"hasNextPage before a cursor", three[:1], ListOptions{Wants: Wants{HasNext: true}, Page: Page{Last: new(2), Before: cursorOf(4)}}, "KeyPages(1) KeyPages(3)"},
		{"hasPreviousPage of the last page", three[:1], ListOptions{Wants: Wants{Items: true, HasPrevious: true}, Page: Page{Last: new(2), Before: cursorOf(4)}}, "KeyPages(3)"},
		{"everything, between two cursors", three[:1], ListOptions{Wants: everything, Page: Page{First: new(1), After: cursorOf(0), Before: cursorOf(4)}}, "CountKeys KeyPages(1) KeyPages(2)"},
		{"revoked ones too", three[:1], ListOptions{IncludeRevoked: true, Wants: everything, Page: Page{First: new(2)}}, "CountKeys KeyPages(3)"},
		{"active ones, asked for twice", three[:1], ListOptions{IncludeRevoked: true, Filter: Filter{Status: []Status{Active}}, Wants: Wants{Items: true}, Page: Page{First: new(2)}}, "KeyPages(3)"},
		{"filtered, total only", three[:1], ListOptions{Filter: Filter{Search: "a"}, Wants: Wants{Total: true}}, "CountKeys"},
		{"filtered, all of it", three, ListOptions{Filter: Filter{Search: "a"}, Wants: everything, Page: Page{First: new(9)}}, "KeyPages(10)"},
		{"by expiry", three, ListOptions{Order: Order{Field: ByExpiresAt}, Wants: Wants{Items: true}, Page: Page{First: new(9)}}, "KeyPages(10)"},
		{"by name", three, ListOptions{Order: Order{Field: ByName}, Wants: everything, Page: Page{First: new(1)}}, "KeyPages(101)"},
	} {
		store := &memory{keys: keys}
		out, err := (&Service{Store: store, Now: frozen}).List(t.Context(), admin(), tt.rs, tt.options)
		if err != nil || len(out) != len(tt.rs) {
			t.Errorf("%s: %v, %v", tt.name, out, err)
		}
		if got := store.reads(); got != tt.want {
			t.Errorf("%s: read %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Without this, the keys of one retriever are listed under another.
func TestListMatchesRetrieversByIndex(t *testing.T) {
	named := func(id string) func(*Key) {
		return func(k *Key) { k.Scopes[0].ResourceID = id }
	}
	store := &memory{keys: []Key{
		keyOf("a", named("ret_1")), keyOf("b", named("ret_2")), keyOf("c", named("ret_2")), keyOf("d", named("ret_3")),
		keyOf("foreign", named("ret_2"), func(k *Key) { k.InternalID = "int_2" }),
		keyOf("pattern", named("ret_*")),
	}}
	rs := []*Retriever{{ID: "ret_2"}, {ID: "ret_0"}, {ID: "ret_1"}, {ID: "ret_2"}}
	for _, options := range []ListOptions{{Wants: everything}, {Wants: everything, Page: Page{First: new(1)}}, {Wants: everything, Order: Order{Field: ByName}}} {
		out, err := (&Service{Store: store, Now: frozen}).List(t.Context(), admin(), rs, options)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{"c b", "", "a", "c b"} {
			got, total := ids(out[i].Keys), len(strings.Fields(want))
			if options.Page.First != nil {
				want, _, _ = strings.Cut(want, " ")
			}
			if got != want || out[i].Keys.Total != total || out[i].Err != nil {
				t.Errorf("%+v: %s has %q of %d, want %q of %d", options, rs[i].ID, got, out[i].Keys.Total, want, total)
			}
		}
	}
}

// Without this, a key that expires while a request runs is in the results but not in the total, or the reverse.
func TestListTakesPlaceAtOneInstant(t *testing.T) {
	keys := []Key{keyOf("a", func(k *Key) { k.ExpiresAt = at(30) }), keyOf("b", func(k *Key) { k.ExpiresAt = at(30) })}
	for _, options := range []ListOptions{
		{Wants: everything, Page: Page{First: new(1)}},
		{Wants: everything, Page: Page{First: new(1)}, Order: Order{ByName, Ascending}},
		{Wants: everything, Page: Page{First: new(1)}, IncludeRevoked: true, Filter: Filter{Status: []Status{Active}}},
	} {
		clock := 0
		s := &Service{Store: &memory{keys: keys}, Now: func() time.Time { clock++; return *at(60 * (clock - 1)) }}
		out, err := s.List(t.Context(), admin(), []*Retriever{{ID: "ret_1"}}, options)
		if err != nil {
			t.Fatal(err)
		}
		if c := out[0].Keys; c.Total != 2 || len(c.Items) != 1 || !c.HasNextPage || c.Items[0].Status != Active {
			t.Errorf("%+v: %+v", options, c)
		}
		if clock != 1 {
			t.Errorf("the clock was read %d times", clock)
		}
	}
}

// Without this, searching a retriever with very many keys uses up the memory, fails the lists of other retrievers too, or fails always.
func TestScansAreBounded(t *testing.T) {
	var keys []Key
	for i := range RankLimit + 1 {
		keys = append(keys, keyOf(ID(fmt.Sprintf("key_%05d", i))))
	}
	keys[700].Name = "so rare"
	keys = append(keys, keyOf("other", func(k *Key) { k.Scopes[0].ResourceID = "ret_2" }))
	rs := []*Retriever{{ID: "ret_1"}, {ID: "ret_2"}}
	store := &memory{keys: keys}
	s := &Service{Store: store, Now: frozen}

	for _, field := range []OrderField{ByName, ByLastUsedAt} {
		out, err := s.List(t.Context(), admin(), rs, ListOptions{Order: Order{field, Ascending}, Wants: everything})
		if err != nil {
			t.Fatal(err)
		}
		if e := Classify(out[0].Err); e.Code != BadUserInput || e.Field != "orderBy" || out[0].Keys != nil || !strings.Contains(e.Message, "20000") {
			t.Errorf("20,001 keys were ordered by %q: %v", field, out[0].Err)
		}
		if out[1].Err != nil || ids(out[1].Keys) != "other" {
			t.Errorf("the list of the other retriever was refused too: %v", out[1].Err)
		}
	}

	const some = 3*MaxPage + 1
	store.keys = keys[:some]
	for name, o := range map[string]ListOptions{
		"the default order": {Page: Page{Last: new(2)}, Wants: everything},
		"a filter":          {Page: Page{Last: new(2)}, Filter: Filter{UnusedSince: at(0)}, Wants: everything},
		"without total":     {Page: Page{Last: new(2)}, Filter: Filter{UnusedSince: at(0)}, Wants: Wants{Items: true, HasNext: true, HasPrevious: true}},
		"the oldest first":  {Page: Page{First: new(2)}, Order: Order{ByCreatedAt, Ascending}, Wants: everything},
		"by expiry":         {Page: Page{First: new(2)}, Order: Order{ByExpiresAt, Ascending}, Wants: everything},
		"a rare search":     {Filter: Filter{Search: "RARE"}, Wants: everything},
	} {
		out, err := s.List(t.Context(), admin(), rs[:1], o)
		if err != nil || out[0].Err != nil {
			t.Fatal(name, err, out[0].Err)
		}
		c := out[0].Keys
		want, total, more := "key_00001 key_00000", some, true
		switch {
		case o.Filter.Search != "":
			want, total, more = "key_00700", 1, false
		case o.Page.First != nil:
			want = "key_00000 key_00001"
		}
		if ids(c) != want || o.Wants.Total && c.Total != total || c.HasPreviousPage != (more && o.Page.Last != nil) || c.HasNextPage != (more && o.Page.First != nil) {
			t.Errorf("%s: %q of %d, %v %v", name, ids(c), c.Total, c.HasPreviousPage, c.HasNextPage)
		}
	}

	store.keys = keys[1:]
	out, err := s.List(t.Context(), admin(), rs, ListOptions{Order: Order{ByName, Ascending}, Page: Page{First: new(1)}, Wants: everything})
	if err != nil || out[0].Err != nil || out[0].Keys.Total != RankLimit || ids(out[0].Keys) != "key_00001" {
		t.Errorf("20,000 keys were refused: %+v, %v", out, err)
	}
}

// Without it a store that fails halfway gives a page that looks complete.
func TestListReportsAnOutage(t *testing.T) {
	rs := []*Retriever{{ID: "ret_1"}}
	bound := (&position{kind: byCreatedAt, null: true, id: "a"}).cursor()
	for _, tt := range []struct {
		name    string
		options ListOptions
		fails   string
	}{
		{"the page", ListOptions{Wants: everything}, "KeyPages(1001)"},
		{"the count", ListOptions{Wants: Wants{Total: true}}, "CountKeys"},
		{"the page before", ListOptions{Wants: Wants{HasPrevious: true}, Page: Page{After: &bound}}, "KeyPages(1)"},
		{"the page after", ListOptions{Wants: Wants{HasNext: true}, Page: Page{Before: &bound}}, "KeyPages(1)"},
	} {
		s := &Service{Store: &memory{keys: []Key{keyOf("b")}, fails: tt.fails}, Now: frozen}
		out, err := s.List(t.Context(), admin(), rs, tt.options)
		if err == nil && len(out) == 1 {
			err = out[0].Err
			if out[0].Keys != nil {
				t.Errorf("%s: got keys together with an error", tt.name)
			}
		}
		if got := codeOf(t, err); got != Unavailable {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}

// Without this, a requested field is not read, and looks as if the document did not have it.
func TestListReadsTheFieldsAskedFor(t *testing.T) {
	full := keyOf("a", func(k *Key) {
		k.Prefix, k.SubscriptionID, k.OrganizationID, k.UserID, k.Name, k.Description = new("p"), new("s"), new("org_1"), "u", "n", "d"
		k.Permissions, k.RateLimitOverride, k.LastUsedAt, k.CreatedBy = []Permission{Read}, new(int32(1)), at(-1), new("c")
		k.RevokedBy, k.AllowedOrigins, k.PrincipalID, k.ExpiresAt = new("r"), []string{"o"}, new("p"), at(1)
		k.IsInternal, k.Budget = true, "b"
	})
	c, err := list1(t, []Key{full}, ListOptions{Fields: AllFields, Wants: everything})
	if err != nil {
		t.Fatal(err)
	}
	full.Status = Active
	if diff := cmp.Diff([]Key{full}, c.Items); diff != "" {
		t.Error(diff)
	}
	c, err = list1(t, []Key{full}, ListOptions{Fields: FieldName, Wants: everything})
	if err != nil {
		t.Fatal(err)
	}
	little := projected([]Key{full}, FieldName|FieldCreatedAt|StatusFields) // the order and the status need more fields than the name
	little[0].Status = Active
	if diff := cmp.Diff(little, c.Items); diff != "" {
		t.Error("more was read than needed:", diff)
	}
}

// Without this, a search misses texts that differ only in case.
func TestCaseIsFolded(t *testing.T) {
	for r := range rune(unicode.MaxRune + 1) {
		if other := unicode.SimpleFold(r); !bytes.Equal(appendFolded(nil, string(r)), appendFolded(nil, string(other))) {
			t.Errorf("%q and %q are not equal when folded", r, other)
		}
	}
	for part, text := range map[string]string{
		"οδος": "ΟΔΟΣ", "ΟΔΟΣ": "οδός οδος", "οδοσ": "οδος", "kelvin": "\u212Aelvin", "STRASSE": "Strasse", "ſ": "S",
	} {
		if s := NewSearch(part); !s.matches("", text) {
			t.Errorf("%q does not contain %q", text, part)
		}
	}
	if a, none := NewSearch("a"), NewSearch(""); a.matches("", "b") || !none.matches("b") {
		t.Error("what is not there is found, or nothing is not")
	}
}

// Without this, one operation with many ordered lists holds all keys of as many retrievers at once, and keeps them until it is answered.
func TestRankedListsKeepOnlyTheirPage(t *testing.T) {
	const n, long = 3 * MaxPage, 10_000
	store := listOf(n, func(k *Key) { k.Description = strings.Repeat("d", long) })
	q, err := ListOptions{Order: Order{Field: ByName}, Page: Page{First: new(2)}, Wants: everything}.query(Policy{}, frozen(), MaxPage)
	if err != nil {
		t.Fatal(err)
	}
	r, most := newRanking(&q, nil), 0
	for _, k := range slices.Concat(store.keys, store.keys[:5]) { // a key that changes can come twice
		if err := r.add(k); err != nil {
			t.Fatal(err)
		}
		most = max(most, len(r.found))
	}
	if limit := 3 + rankedBytes/long; most > limit {
		t.Errorf("%d keys were kept, want at most %d", most, limit)
	}
	c, err := r.connection()
	if err != nil || c.Total != n || len(c.Items) != 2 || cap(c.Items) > 4 {
		t.Errorf("%+v, %v", c, err)
	}
}
