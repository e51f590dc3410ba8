package apikey

import (
	"context"
	"slices"
)

// MaxPage is the maximum page size, and the default page size for keys.
const MaxPage = 1000

// RetrieverPage is the default page size for retrievers.
const RetrieverPage = 25

// Page has the paging arguments of the Relay connection specification. Nil means not given.
type Page struct {
	First, Last   *int
	After, Before *string
}

// Wants are the parts of a connection that a request needs, so that nothing else is read.
type Wants struct {
	Items       bool // results, edges, or the cursors in pageInfo
	Total       bool
	HasNext     bool
	HasPrevious bool
}

// Connection is a page of an ordered list. Parts that were not wanted may be missing.
type Connection[T any] struct {
	Items           []T
	Total           int
	HasNextPage     bool
	HasPreviousPage bool

	at func(*T) position
}

// Cursor returns the cursor of item i.
func (c *Connection[T]) Cursor(i int) string {
	p := c.at(&c.Items[i])
	return p.cursor()
}

// window is a valid Page.
type window struct {
	after, before *position
	fromEnd       bool
	limit         int
}

func (p Page) window(l listKind, limit int) (window, error) {
	w := window{limit: limit}
	if p.First != nil && p.Last != nil {
		return w, Invalid("last", "first and last cannot be used together.")
	}
	for _, size := range []struct {
		field string
		n     *int
	}{{"first", p.First}, {"last", p.Last}} {
		switch {
		case size.n == nil:
		case *size.n < 0:
			return w, Invalid(size.field, "%s must not be negative.", size.field)
		case *size.n > MaxPage:
			return w, Invalid(size.field, "%s must be at most %d.", size.field, MaxPage)
		default:
			w.limit = *size.n
		}
	}
	w.fromEnd = p.Last != nil
	for _, bound := range []struct {
		field string
		text  *string
		to    **position
	}{{"after", p.After, &w.after}, {"before", p.Before, &w.before}} {
		if bound.text == nil || *bound.text == "" { // many clients send an empty cursor for none
			continue
		}
		pos, ok := parseCursor(*bound.text, l)
		if !ok {
			return w, Invalid(bound.field, "%s is not a cursor of this list.", bound.field)
		}
		*bound.to = pos
	}
	return w, nil
}

// source is an ordered list that can be read in runs.
type source[T any] struct {
	// run returns up to limit items strictly between after and before, counted from the end if fromEnd is set, and always in the list's
	// order.
	run   func(ctx context.Context, w window) ([]T, error)
	count func(ctx context.Context) (int, error)
	at    func(*T) position
}

// only is the part of the source that matches. It reads the source page by page and keeps what is needed.
func (s source[T]) only(matches func(*T) bool) source[T] {
	each := func(ctx context.Context, w window, f func(*T) (more bool)) error {
		w.limit = MaxPage
		for {
			page, err := s.run(ctx, w)
			if err != nil {
				return err
			}
			if w.fromEnd {
				slices.Reverse(page)
			}
			for i := range page {
				if matches(&page[i]) && !f(&page[i]) {
					return nil
				}
			}
			if len(page) < w.limit {
				return nil
			}
			last := s.at(&page[len(page)-1])
			if w.fromEnd {
				w.before = &last
			} else {
				w.after = &last
			}
		}
	}
	return source[T]{
		at: s.at,
		run: func(ctx context.Context, w window) (found []T, err error) {
			err = each(ctx, w, func(item *T) bool {
				found = append(found, *item)
				return len(found) < w.limit
			})
			if w.fromEnd {
				slices.Reverse(found)
			}
			return found, err
		},
		count: func(ctx context.Context) (n int, err error) {
			err = each(ctx, window{}, func(*T) bool { n++; return true })
			return n, err
		},
	}
}

// itemsOf is the source of a list that was read as a whole.
func itemsOf[T any](items []T, at func(*T) position, compare func(a, b *position) int) source[T] {
	return source[T]{
		at:    at,
		count: func(context.Context) (int, error) { return len(items), nil },
		run: func(_ context.Context, w window) (run []T, err error) {
			for i := range items {
				p := at(&items[i])
				if (w.after == nil || compare(&p, w.after) > 0) && (w.before == nil || compare(&p, w.before) < 0) {
					run = append(run, items[i])
				}
			}
			if n := len(run) - w.limit; n > 0 && w.fromEnd {
				run = run[n:]
			}
			return run[:min(len(run), w.limit)], nil
		},
	}
}

// page reads one page of the source.
func (s source[T]) page(ctx context.Context, w window, wants Wants) (*Connection[T], error) {
	var got []T
	if wants.reads() {
		var err error
		if got, err = s.run(ctx, probe(w)); err != nil {
			return nil, err
		}
	}
	return s.connect(ctx, w, wants, got)
}

// connect reads one page of the source. got has the window's items and, if there is one, the item beyond it, as run returns them for
// probe(w).
func (s source[T]) connect(ctx context.Context, w window, wants Wants, got []T) (*Connection[T], error) {
	c := &Connection[T]{Items: got, at: s.at}
	more := len(got) > w.limit
	switch {
	case more && w.fromEnd:
		c.Items = got[len(got)-w.limit:]
	case more:
		c.Items = got[:w.limit]
	}
	c.HasNextPage = more && !w.fromEnd
	c.HasPreviousPage = more && w.fromEnd

	// To see whether there is more beyond a cursor, start from the items that were read, because the cursor's own item may be gone.
	if wants.HasPrevious && !c.HasPreviousPage && w.after != nil {
		bound := w.before
		if len(got) > 0 {
			p := s.at(&got[0])
			bound = &p
		}
		other, err := s.run(ctx, window{before: bound, fromEnd: true, limit: 1})
		if err != nil {
			return nil, err
		}
		c.HasPreviousPage = len(other) > 0
	}
	if wants.HasNext && !c.HasNextPage && w.before != nil {
		bound := w.after
		if len(got) > 0 {
			p := s.at(&got[len(got)-1])
			bound = &p
		}
		other, err := s.run(ctx, window{after: bound, limit: 1})
		if err != nil {
			return nil, err
		}
		c.HasNextPage = len(other) > 0
	}
	if wants.Total {
		whole := wants.reads() && w.after == nil && w.before == nil && !more
		if whole {
			c.Total = len(got)
			return c, nil
		}
		var err error
		if c.Total, err = s.count(ctx); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// reads reports whether the page must be read, not only counted.
func (w Wants) reads() bool { return w.Items || w.HasNext || w.HasPrevious }

// probe is the window with one more item, which shows whether there is a next page.
func probe(w window) window {
	w.limit++
	return w
}
