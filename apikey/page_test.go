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

// Without it a page that cannot be means something that nobody asked for, and the answer does not say which argument
// is wrong.
func TestPageValidation(t *testing.T) {
	good := (&position{list: retrievers, value: "a", id: "ret_1"}).cursor()
	other := (&position{list: byName, value: "a", id: "ret_1"}).cursor()
	for _, tt := range []struct {
		name  string
		page  Page
		field string // that is wrong; empty where none is
		limit int
	}{
		{"nothing", Page{}, "", 25},
		{"first", Page{First: new(10)}, "", 10},
		{"last", Page{Last: new(10)}, "", 10},
		{"first of none", Page{First: new(0)}, "", 0},
		{"last of none", Page{Last: new(0)}, "", 0},
		{"the largest first", Page{First: new(1000)}, "", 1000},
		{"the largest last", Page{Last: new(1000)}, "", 1000},
		{"first too large", Page{First: new(1001)}, "first", 0},
		{"last too large", Page{Last: new(1001)}, "last", 0},
		{"first negative", Page{First: new(-1)}, "first", 0},
		{"last negative", Page{Last: new(-1)}, "last", 0},
		{"first with last", Page{First: new(1), Last: new(1)}, "last", 0},
		{"first with last, both of none", Page{First: new(0), Last: new(0)}, "last", 0},
		{"after", Page{After: &good}, "", 25},
		{"before", Page{Before: &good}, "", 25},
		{"after with before", Page{After: &good, Before: &good}, "", 25},
		{"after with last", Page{After: &good, Last: new(3)}, "", 3},
		{"before with first", Page{Before: &good, First: new(3)}, "", 3},
		{"after nothing", Page{After: new("")}, "", 25},
		{"before nothing", Page{Before: new("")}, "", 25},
		{"after and before nothing", Page{After: new(""), Before: new(""), First: new(3)}, "", 3},
		{"after white space", Page{After: new(" ")}, "after", 0},
		{"after what is no cursor", Page{After: new("ret_1")}, "after", 0},
		{"before what is no cursor", Page{Before: new("ret_1")}, "before", 0},
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

// Without it a caller is shown the text that it sent as a cursor, whatever it is.
func TestBadCursorIsNotRepeated(t *testing.T) {
	_, err := Page{After: new("ret_sk_plaintext")}.window(retrievers, 25)
	if err == nil || strings.Contains(err.Error(), "plaintext") {
		t.Errorf("got %v", err)
	}
}

// row is an item of the lists below: ordered by value, where there is one, then by id.
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

func (r *row) position() position {
	p := position{list: byName, id: r.id}
	if r.value == nil {
		p.null = true
	} else {
		p.value = fmt.Sprint(*r.value)
	}
	return p
}

// compare is the order that the contract tells, told independently: without a value last, ties by id, both in the
// direction asked for.
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

// asked is a page that is asked for: rows as cursors, of which some are no longer in the list.
type asked struct {
	after, before *row
	fromEnd       bool
	limit         int
}

func (a asked) window() window {
	w := window{fromEnd: a.fromEnd, limit: a.limit}
	if a.after != nil {
		w.after = new(a.after.position())
	}
	if a.before != nil {
		w.before = new(a.before.position())
	}
	return w
}

// relay is the connection algorithm of the specification, read literally but for two things: a cursor cuts at its
// place whether or not its item is still there, and hasNextPage and hasPreviousPage are looked for rather than
// guessed. What lies on the far side of both cursors, where they are crossed, neither follows nor precedes.
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

// Without it a client that walks a list misses items, sees some twice, never ends or ends too early; also where the
// item that its cursor was taken from has been removed meanwhile.
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

		want, hasNext, hasPrevious := relay(rows, d, a)
		got, err := scanned(t.Context(), slices.Clone(rows), (*row).position, d, a.window(), wants)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got.Items) != fmt.Sprint(want) {
			t.Fatalf("page %v, want %v", got.Items, want)
		}
		if wants.HasNext && got.HasNextPage != hasNext {
			t.Fatalf("hasNextPage %v of %v, want %v", got.HasNextPage, got.Items, hasNext)
		}
		if wants.HasPrevious && got.HasPreviousPage != hasPrevious {
			t.Fatalf("hasPreviousPage %v of %v, want %v", got.HasPreviousPage, got.Items, hasPrevious)
		}
		if wants.Total && got.Total != len(rows) {
			t.Fatalf("total %d, want %d", got.Total, len(rows))
		}
		for i := range got.Items {
			p := got.Items[i].position()
			if c := got.Cursor(i); c != p.cursor() {
				t.Fatalf("item %d has the cursor %q, want %q", i, c, p.cursor())
			}
		}
	})
}

// Without it nulls come first in one of the directions, or ties are broken in an order of their own, and a page that
// ends between two equal values repeats or skips.
func TestOrder(t *testing.T) {
	rows := []row{{nil, "a"}, {nil, "c"}, {new(1), "b"}, {new(2), "a"}, {new(2), "d"}, {new(3), "c"}, {nil, "b"}}
	for d, want := range map[Direction]string{
		Ascending:  "[1b 2a 2d 3c -a -b -c]",
		Descending: "[3c 2d 2a 1b -c -b -a]",
	} {
		c, err := scanned(t.Context(), slices.Clone(rows), (*row).position, d, window{limit: 10}, Wants{Items: true})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(c.Items); got != want {
			t.Errorf("%q: %v, want %v", d, got, want)
		}
	}
}
