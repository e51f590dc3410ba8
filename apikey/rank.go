package apikey

import (
	"cmp"
	"context"
	"slices"
	"strings"
)

// RankLimit is how many keys a list may have to be ordered by name or last use, which no store does.
const RankLimit = 20_000

const (
	// firstRanked is how many keys of a ranked list are read first, to learn how much memory they take: documents may have any length.
	firstRanked = 101
	// rankedBytes is about how much memory the next keys may take.
	rankedBytes = 2 << 20
)

// ranking keeps the requested page of a list while all keys of the list are read.
type ranking struct {
	query         *query
	found         []ranked
	retained      int // bytes charged for the keys that are kept
	total         int
	before, after bool // keys exist before or after the query's cursors
}

// ranked is a key with its place in the requested order.
type ranked struct {
	Key
	position
}

// rank reads all keys of a list and returns the page in the requested order. first has the beginning of the list, for which the memory is
// charged.
func (s *Service) rank(ctx context.Context, tenant InternalID, of keySource, q *query, first []Key) (*Connection[Key], error) {
	cost := CostFrom(ctx)
	r := ranking{query: q}
	page, l := first, q.first()
	for n := 0; ; {
		if n += len(page); n > RankLimit {
			return nil, Invalid("orderBy", "This list has more than %d keys: it can be ordered by CREATED_AT and EXPIRES_AT, but not by NAME and LAST_USED_AT.", RankLimit)
		}
		r.add(page)
		if err := r.retain(cost); err != nil {
			return nil, err
		}
		if len(page) < l.Limit {
			return r.connection(), nil
		}
		if n == firstRanked {
			if err := s.affords(ctx, tenant, of, q, n); err != nil {
				return nil, err
			}
		}
		at := q.order.Position(&page[len(page)-1])
		l.After, l.Limit = &at, min(max(1, rankedBytes*len(page)/sizeOf(page)), readTogether)
		var err error
		if page, err = s.readLarge(ctx, tenant, of, q, l); err != nil {
			return nil, err
		}
	}
}

func (s *Service) readLarge(ctx context.Context, tenant InternalID, of keySource, q *query, l KeyList) ([]Key, error) {
	done, err := CostFrom(ctx).readLarge(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return s.keyPage(ctx, tenant, of, q, l)
}

// affords fails if a ranked list has too many keys, or if reading the rest would look at more documents than the request may. It counts
// without charging, because counting is cheap and the keys are charged when they are read.
func (s *Service) affords(ctx context.Context, tenant InternalID, of keySource, q *query, read int) error {
	cost := CostFrom(ctx)
	if !cost.bounded() || q.scan != nil {
		return nil
	}
	if e := cost.Exceeded(); e != nil {
		return e
	}
	n, over, err := s.countUpTo(ctx, tenant, of.of(q.where), RankLimit)
	switch left := cost.Left(); {
	case err != nil:
		return err
	case over:
		return Invalid("orderBy", "This list has more than %d keys: it can be ordered by CREATED_AT and EXPIRES_AT, but not by NAME and LAST_USED_AT.", RankLimit)
	case n-read > left:
		return cost.Look(left + 1)
	}
	return nil
}

// add looks at the next keys of the list.
func (r *ranking) add(page []Key) {
	r.total += len(page)
	for i := range page {
		k := &page[i]
		r.query.policy.asOf(k, r.query.now)
		if at := r.query.position(k); r.within(&at) {
			r.found = append(r.found, ranked{*k, at})
		}
	}
	slices.SortFunc(r.found, func(a, b ranked) int { return r.query.compare(&a.position, &b.position) })
	limit := r.query.window.limit + 1
	if n := len(r.found); n > limit && r.query.window.fromEnd {
		r.found = slices.Delete(r.found, 0, n-limit)
	} else if n > limit {
		r.found = slices.Delete(r.found, limit, n)
	}
}

// retain charges the memory of the keys that are kept so far, because concurrent lists keep keys long before they end.
func (r *ranking) retain(cost *Cost) error {
	bytes := 0
	for i := range r.found {
		bytes += r.found[i].Size()
	}
	more := bytes - r.retained
	r.retained = bytes
	return cost.retain(more)
}

// within reports whether a place is between the query's cursors. If it is not, it records on which side it is.
func (r *ranking) within(at *position) bool {
	w := &r.query.window
	late := w.after == nil || r.query.compare(at, w.after) > 0
	early := w.before == nil || r.query.compare(at, w.before) < 0
	r.before = r.before || !late && early
	r.after = r.after || late && !early
	return late && early
}

// connection is the page.
func (r *ranking) connection() *Connection[Key] {
	c := &Connection[Key]{Items: make([]Key, len(r.found)), Total: r.total, HasPreviousPage: r.before, HasNextPage: r.after, at: r.query.position}
	for i := range r.found {
		c.Items[i] = r.found[i].Key
	}
	w := &r.query.window
	switch {
	case len(c.Items) <= w.limit:
	case w.fromEnd:
		c.Items, c.HasPreviousPage = c.Items[1:], true
	default:
		c.Items, c.HasNextPage = c.Items[:w.limit], true
	}
	return c
}

// compare orders two places: by value, then by id in the same direction. Keys without a value come last in both directions.
func (q *query) compare(a, b *position) int {
	if a.null != b.null {
		if a.null {
			return 1
		}
		return -1
	}
	order := cmp.Or(strings.Compare(a.value, b.value), strings.Compare(a.id, b.id))
	if q.Order.Direction == Descending {
		order = -order
	}
	return order
}
