package apikey

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Without this, contradictory page arguments are interpreted in some way, or the error does not name the wrong one.
func TestPageValidation(t *testing.T) {
	good := (&position{kind: retrievers, value: "a", id: "ret_1"}).cursor()
	other := (&position{kind: byName, value: "a", id: "ret_1"}).cursor()
	for _, tt := range []struct {
		name  string
		page  Page
		field string // the field that is wrong, or empty
		limit int
	}{
		{"nothing", Page{}, "", 25},
		{"first", Page{First: new(10)}, "", 10},
		{"last", Page{Last: new(10)}, "", 10},
		{"first: 0", Page{First: new(0)}, "", 0},
		{"last: 0", Page{Last: new(0)}, "", 0},
		{"the largest first", Page{First: new(1000)}, "", 1000},
		{"the largest last", Page{Last: new(1000)}, "", 1000},
		{"first too large", Page{First: new(1001)}, "first", 0},
		{"last too large", Page{Last: new(1001)}, "last", 0},
		{"first negative", Page{First: new(-1)}, "first", 0},
		{"last negative", Page{Last: new(-1)}, "last", 0},
		{"first with last", Page{First: new(1), Last: new(1)}, "last", 0},
		{"first with last, both 0", Page{First: new(0), Last: new(0)}, "last", 0},
		{"after", Page{After: &good}, "", 25},
		{"before", Page{Before: &good}, "", 25},
		{"after with before", Page{After: &good, Before: &good}, "", 25},
		{"after with last", Page{After: &good, Last: new(3)}, "", 3},
		{"before with first", Page{Before: &good, First: new(3)}, "", 3},
		{"after nothing", Page{After: new("")}, "", 25},
		{"before nothing", Page{Before: new("")}, "", 25},
		{"after nothing and before nothing", Page{After: new(""), Before: new(""), First: new(3)}, "", 3},
		{"after white space", Page{After: new(" ")}, "after", 0},
		{"after something that is not a cursor", Page{After: new("ret_1")}, "after", 0},
		{"before something that is not a cursor", Page{Before: new("ret_1")}, "before", 0},
		{"after another list's", Page{After: &other}, "after", 0},
		{"before another list's", Page{Before: &other}, "before", 0},
		{"before another list's, after a good one", Page{After: &good, Before: &other}, "before", 0},
	} {
		w, err := tt.page.window(retrievers, 25)
		if tt.field != "" {
			e := &Error{}
			ok := errors.As(err, &e)
			if !ok || e.Code != BadUserInput || e.Field != tt.field || !strings.Contains(e.Message, tt.field) {
				t.Errorf("%s: %+v, want one about %s", tt.name, err, tt.field)
			}
			continue
		}
		if err != nil || w.limit != tt.limit || w.fromEnd != (tt.page.Last != nil) ||
			(w.after != nil) != (sent(tt.page.After) != "") || (w.before != nil) != (sent(tt.page.Before) != "") {
			t.Errorf("%s: %+v, %v", tt.name, w, err)
		}
	}
}

func sent(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

// A caller might send anything as a cursor, even a key. Errors must not repeat it.
func TestBadCursorIsNotRepeated(t *testing.T) {
	_, err := Page{After: new("ret_sk_plaintext")}.window(retrievers, 25)
	if err == nil || strings.Contains(err.Error(), "plaintext") {
		t.Errorf("got %v", err)
	}
}

// row is an item of the lists below. Rows are ordered by value, nil last, and then by id.
type row struct {
	value *int
	id    string
}

func (r row) String() string {
	if r.value == nil {
		return "-" + r.id
	}
	return fmt.Sprintf("%d%s", *r.value, r.id)
}

// key returns a key that was created and expires at the time that the row's value stands for.
func (r row) key() Key {
	return keyOf(ID(r.id), func(k *Key) {
		if k.CreatedAt = nil; r.value != nil {
			k.CreatedAt, k.ExpiresAt, k.LastUsedAt = at(1+*r.value), at(1+*r.value), at(1+*r.value)
		}
	})
}

func (r row) position(l listKind) position {
	p := position{kind: l, id: r.id}
	p.value, p.null = timeValue(r.key().CreatedAt)
	return p
}

func idsOfRows(rows []row) string {
	var all []string
	for _, r := range rows {
		all = append(all, r.id)
	}
	return strings.Join(all, " ")
}

// compare implements the documented order again, independently: nil values are last, and equal values are ordered by id, in the requested
// direction.
func (r row) compare(s row, d Direction) int {
	switch {
	case r.value == nil && s.value != nil:
		return 1
	case r.value != nil && s.value == nil:
		return -1
	}
	if d == Descending {
		r, s = s, r
	}
	if r.value != nil && *r.value != *s.value {
		return *r.value - *s.value
	}
	return cmp.Compare(r.id, s.id)
}

// asked is a requested page. Its cursors can name rows that are no longer in the list.
type asked struct {
	after, before *row
	fromEnd       bool
	limit         int
}

func (a asked) page(l listKind) Page {
	p := Page{First: &a.limit}
	if a.fromEnd {
		p.First, p.Last = nil, &a.limit
	}
	for _, bound := range []struct {
		at *row
		to **string
	}{{a.after, &p.After}, {a.before, &p.Before}} {
		if bound.at != nil {
			at := bound.at.position(l)
			*bound.to = new(at.cursor())
		}
	}
	return p
}

// relay is the connection algorithm of the Relay specification, with two differences: a cursor works even if its item no longer exists, and
// hasNextPage and hasPreviousPage are always exact. If the cursors are in the wrong order, the items outside of both count as neither next
// nor previous.
func relay(rows []row, d Direction, a asked) (page []row, hasNext, hasPrevious bool) {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(x, y row) int { return x.compare(y, d) })
	var preceding, following []row
	for _, r := range rows {
		tooEarly := a.after != nil && r.compare(*a.after, d) <= 0
		tooLate := a.before != nil && r.compare(*a.before, d) >= 0
		switch {
		case tooEarly && tooLate:
		case tooEarly:
			preceding = append(preceding, r)
		case tooLate:
			following = append(following, r)
		default:
			page = append(page, r)
		}
	}
	if cut := len(page) - a.limit; cut > 0 && a.fromEnd {
		preceding, page = append(preceding, page[:cut]...), page[cut:]
	} else if cut > 0 {
		following, page = append(following, page[a.limit:]...), page[:a.limit]
	}
	return page, len(following) > 0, len(preceding) > 0
}

// Without this, a client that pages through a list misses items, gets some twice, or never ends. That includes pages after an item that was
// deleted.
func TestConnectionsFollowTheRelaySpecification(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) row {
			r := row{id: rapid.StringMatching("[a-h]").Draw(t, "id")}
			if rapid.IntRange(0, 3).Draw(t, "null") > 0 {
				r.value = new(rapid.IntRange(0, 3).Draw(t, "value"))
			}
			return r
		}), 1, 8, func(r row) string { return r.id }).Draw(t, "all")
		var rows []row
		for _, r := range all {
			if rapid.IntRange(0, 4).Draw(t, "kept") > 0 {
				rows = append(rows, r)
			}
		}
		a := asked{fromEnd: rapid.Bool().Draw(t, "last"), limit: rapid.IntRange(0, 9).Draw(t, "limit")}
		if rapid.Bool().Draw(t, "after") {
			a.after = new(rapid.SampledFrom(all).Draw(t, "after"))
		}
		if rapid.Bool().Draw(t, "before") {
			a.before = new(rapid.SampledFrom(all).Draw(t, "before"))
		}
		wants := Wants{
			Items: rapid.Bool().Draw(t, "items"), Total: rapid.Bool().Draw(t, "total"),
			HasNext: rapid.Bool().Draw(t, "hasNext"), HasPrevious: rapid.Bool().Draw(t, "hasPrevious"),
		}
		d := rapid.SampledFrom([]Direction{Ascending, Descending}).Draw(t, "direction")

		// Keys are ordered by the store or here.
		field := rapid.SampledFrom([]OrderField{ByCreatedAt, ByExpiresAt, ByLastUsedAt}).Draw(t, "order")
		options := ListOptions{Wants: wants, Order: Order{Field: field, Direction: d}}
		var keys []Key
		for _, r := range rows {
			keys = append(keys, r.key())
		}
		if rapid.Bool().Draw(t, "filter") {
			options.Filter.CreatedBy = new("usr_1")
			for i := range keys {
				keys[i].CreatedBy = new("usr_1")
			}
			for _, r := range all { // neighbours that the filter excludes
				other := r.key()
				other.ID += "2"
				keys = append(keys, other)
			}
		}
		options.Page = a.page(options.Order.Field.kind())

		want, hasNext, hasPrevious := relay(rows, d, a)
		s := &Service{Store: &memory{keys: keys}, Now: frozen}
		out, err := s.List(t.Context(), admin(), []*Retriever{{ID: "ret_1"}}, options)
		if err != nil || out[0].Err != nil {
			t.Fatal(err, out[0].Err)
		}
		got := out[0].Keys
		if reads := wants.reads() || options.Order.Field == ByLastUsedAt; reads && ids(got) != idsOfRows(want) {
			t.Fatalf("page %v, want %v", ids(got), want)
		}
		if wants.HasNext && got.HasNextPage != hasNext {
			t.Fatalf("got hasNextPage %v of %v, want %v", got.HasNextPage, got.Items, hasNext)
		}
		if wants.HasPrevious && got.HasPreviousPage != hasPrevious {
			t.Fatalf("got hasPreviousPage %v of %v, want %v", got.HasPreviousPage, got.Items, hasPrevious)
		}
		if wants.Total && got.Total != len(rows) {
			t.Fatalf("total %d, want %d", got.Total, len(rows))
		}
		for i := range got.Items {
			p := want[i].position(options.Order.Field.kind())
			if c := got.Cursor(i); c != p.cursor() {
				t.Fatalf("item %d has the cursor %q, want %q", i, c, p.cursor())
			}
		}
	})
}

// Without this, nulls come first in one direction, or ties have an order of their own, and a page that ends between two equal values
// repeats or skips some.
func TestOrder(t *testing.T) {
	var keys []Key
	for _, r := range []row{{nil, "a"}, {nil, "c"}, {new(1), "e"}, {new(2), "d"}, {new(2), "f"}, {new(3), "g"}, {nil, "b"}} {
		keys = append(keys, r.key())
	}
	for d, want := range map[Direction]string{Ascending: "e d f g a b c", Descending: "g f d e c b a"} {
		for _, field := range []OrderField{ByCreatedAt, ByExpiresAt} {
			c, err := list1(t, keys, ListOptions{Order: Order{field, d}, Wants: everything})
			if err != nil {
				t.Fatal(err)
			}
			if got := ids(c); got != want {
				t.Errorf("%q %q: %v, want %v", field, d, got, want)
			}
		}
	}
}
