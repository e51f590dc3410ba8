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
	// firstRanked is how many keys of each retriever are read first. If a retriever has no more, its list needs no further read.
	firstRanked = 101
	// rankedBytes is about how much memory is used for keys in addition to the page.
	rankedBytes = 2 << 20
)

// ranking keeps the requested page of a list while all keys of the list are read in any order.
type ranking struct {
	query         *query
	cost          *Cost
	found         []ranked
	retained      int // bytes charged for the keys that are kept
	added         int // bytes of the keys that were found since
	seen          map[ID]bool
	before, after bool // keys exist before or after the query's cursors
}

func newRanking(q *query, cost *Cost) ranking {
	return ranking{query: q, cost: cost, seen: map[ID]bool{}}
}

// ranked is a key with its place in the requested order.
type ranked struct {
	Key
	position
}

// rank reads all keys of a list and returns the page in the requested order.
func (s *Service) rank(ctx context.Context, tenant InternalID, of keySource, q *query) (*Connection[Key], error) {
	cost := CostFrom(ctx)
	done, err := cost.readLarge(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	var r ranking
	err = s.reading(ctx, tenant, of, q, func(ctx context.Context) error {
		if err := cost.retain(-r.retained); err != nil { // of an earlier attempt
			return err
		}
		r = newRanking(q, cost)
		var refused error
		err := s.Store.MatchingKeys(ctx, tenant, of.list(q.keys(window{}, q.Fields)), func(k Key) (more bool) {
			refused = r.add(k)
			return refused == nil
		})
		return cmp.Or(refused, err)
	})
	if err != nil {
		return nil, err
	}
	return r.connection()
}

// rankFirst returns the page of a list whose keys were read first.
func rankFirst(ctx context.Context, q *query, first []Key) (*Connection[Key], error) {
	r := newRanking(q, CostFrom(ctx))
	for _, k := range first {
		if err := r.add(k); err != nil {
			return nil, err
		}
	}
	return r.connection()
}

// add looks at the next key of the list.
func (r *ranking) add(k Key) error {
	if r.seen[k.ID] { // MatchingKeys can repeat it
		return nil
	}
	r.seen[ID(strings.Clone(string(k.ID)))] = true // the key's own id keeps the texts of other keys in memory
	if len(r.seen) > RankLimit {
		return Invalid("orderBy", "This list has more than %d keys: it can be ordered by CREATED_AT and EXPIRES_AT, but not by NAME and LAST_USED_AT.", RankLimit)
	}
	r.query.policy.asOf(&k, r.query.now)
	at := r.query.position(&k)
	if !r.within(&at) {
		return nil
	}
	r.found = append(r.found, ranked{k, at})
	if r.added += k.Size(); r.added < rankedBytes {
		return nil
	}
	return r.cut()
}

// cut keeps the page and one more key, and charges their memory, because concurrent lists keep keys long before they end.
func (r *ranking) cut() error {
	slices.SortFunc(r.found, func(a, b ranked) int { return r.query.compare(&a.position, &b.position) })
	limit := r.query.window.limit + 1
	if n := len(r.found); n > limit && r.query.window.fromEnd {
		r.found = slices.Delete(r.found, 0, n-limit)
	} else if n > limit {
		r.found = slices.Delete(r.found, limit, n)
	}
	bytes := 0
	for i := range r.found {
		bytes += r.found[i].Size()
	}
	more := bytes - r.retained
	r.retained, r.added = bytes, 0
	return r.cost.retain(more)
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
func (r *ranking) connection() (*Connection[Key], error) {
	if err := r.cut(); err != nil {
		return nil, err
	}
	c := &Connection[Key]{Items: make([]Key, len(r.found)), Total: len(r.seen), HasPreviousPage: r.before, HasNextPage: r.after, at: r.query.position}
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
	return c, nil
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
