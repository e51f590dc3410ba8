package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"math"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
)

// KeyPages implements apikey.Store.
func (s *Store) KeyPages(ctx context.Context, tenant apikey.InternalID, retrievers []apikey.RetrieverID, l apikey.KeyList) ([][]apikey.Key, error) {
	pages := make([][]apikey.Key, 0, len(retrievers))
	for n := 0; n < apikey.KeysAtOnce && len(pages) < len(retrievers); {
		l.Where.Naming, l.Walk = retrievers[len(pages):len(pages)+1], false
		page, err := s.KeyPage(ctx, tenant, l)
		if err != nil {
			return nil, err
		}
		pages = append(pages, page)
		for i := range page {
			n += apikey.Documents(page[i].Size())
		}
	}
	return pages, nil
}

// KeyPage implements apikey.Store. It reads an order that begins with the list's own conditions, if there is one. If keys are few in an order
// that has other conditions of the list, it reads all of these keys and sorts them.
func (s *Store) KeyPage(ctx context.Context, tenant apikey.InternalID, l apikey.KeyList) ([]apikey.Key, error) {
	w := &l.Where
	switch {
	case w.Naming != nil && !l.Walk:
		from := sequences(tenant, w.Naming)
		if len(from) == 1 && !l.Order.ByExpiry {
			return s.inOrder(ctx, from[0], l)
		}
		return s.sorted(ctx, from, l)
	case w.CreatedBy != nil:
		from := sequence{keysOfCreator, tenant, *w.CreatedBy}
		if !l.Order.ByExpiry {
			return s.inOrder(ctx, from, l)
		}
		if few, err := s.isShort(ctx, from, w); few || err != nil {
			return s.sortedUnless(ctx, err, from, l)
		}
	case !l.Order.ByExpiry && (!w.Expires.Open() || w.NeverExpires):
		from := sequence{keysByExpiry, tenant, ""}
		if few, err := s.isShort(ctx, from, w); few || err != nil {
			return s.sortedUnless(ctx, err, from, l)
		}
	}
	return s.inOrderOrTable(ctx, inOrderOf(tenant, l.Order), l)
}

// sequence is a part of an order: the keys of a retriever, of a tenant, or of a creator.
type sequence struct {
	order  keyOrder
	tenant apikey.InternalID
	of     string
}

func sequences(tenant apikey.InternalID, retrievers []apikey.RetrieverID) []sequence {
	retrievers = distinct(retrievers)
	from := make([]sequence, len(retrievers))
	for i, id := range retrievers {
		from[i] = sequence{keysOfRetriever, tenant, string(id)}
	}
	return from
}

func inOrderOf(tenant apikey.InternalID, o apikey.KeyOrder) sequence {
	if o.ByExpiry {
		return sequence{keysByExpiry, tenant, ""}
	}
	return sequence{keysOfTenant, tenant, ""}
}

// rest returns the conditions that the rows of the sequence do not answer.
func (q sequence) rest(where apikey.KeyConditions) apikey.KeyConditions {
	if !where.OnlyActive().IsZero() {
		where.Status = nil
	}
	switch q.order {
	case keysOfRetriever:
		where.Naming = nil
	case keysOfCreator:
		where.CreatedBy = nil
	case keysOfTenant, keysByExpiry, keyOrders:
	}
	if q.order == keysByExpiry {
		where.Expires, where.NeverExpires = apikey.Period{}, false
	} else {
		where.Created = apikey.Period{}
	}
	return where
}

// place is a row's place in a sequence. Every text is below the place with last set.
type place struct {
	date int64
	id   string
	last bool
}

func (p place) compare(q place) int {
	switch {
	case p.date != q.date || p.last == q.last:
		return cmp.Or(cmp.Compare(p.date, q.date), cmp.Compare(p.id, q.id))
	case p.last:
		return 1
	default:
		return -1
	}
}

func (p place) arguments() []any {
	if p.last {
		return []any{p.date, []byte{0}} // every blob sorts after every text
	}
	return []any{p.date, p.id}
}

// run is a part of a sequence between two places, both exclusive, that is read in one direction.
type run struct {
	above, below place
	down         bool
}

var (
	firstPlace = place{date: math.MinInt64} // no id is empty
	lastPlace  = place{date: math.MaxInt64, last: true}
	afterNone  = place{date: noDate, last: true} // the place after all keys without a date
)

// runs returns the runs of a list of the sequence, in the order in which they must be read. Keys without a date are first in every sequence
// and last in every list, so an ascending list has two runs.
func (q sequence) runs(l *apikey.KeyList) []run {
	after, before := positionOf(l.After), positionOf(l.Before)
	whole := run{above: firstPlace, below: lastPlace}
	w := &l.Where
	period := w.Created
	if q.order == keysByExpiry {
		period = w.Expires
		if w.NeverExpires {
			whole.below = afterNone
		}
	}
	if period.From != nil {
		whole.above = place{date: milliseconds(*period.From)}
	}
	if period.Until != nil {
		whole.above, whole.below = highest(whole.above, afterNone), lowest(whole.below, place{date: milliseconds(*period.Until)})
	}
	dated, none := whole, whole
	dated.above, none.below = highest(whole.above, afterNone), lowest(whole.below, afterNone)
	var runs []run
	if l.Order.Ascending {
		// A place among keys with a date ends the list of those, and a place among the others ends theirs.
		for _, part := range []struct {
			run
			has bool
		}{{dated, true}, {none, false}} {
			r := part.run
			if l.After != nil && (l.After.At != nil) == part.has {
				r.above = highest(r.above, after)
			} else if l.After != nil && part.has {
				continue
			}
			if l.Before != nil && (l.Before.At != nil) == part.has {
				r.below = lowest(r.below, before)
			} else if l.Before != nil && !part.has {
				continue
			}
			runs = append(runs, r)
		}
	} else {
		if l.After != nil {
			whole.below = lowest(whole.below, after)
		}
		if l.Before != nil {
			whole.above = highest(whole.above, before)
		}
		runs = []run{whole}
	}
	if l.FromEnd {
		slices.Reverse(runs)
	}
	for i := range runs {
		runs[i].down = l.Order.Ascending == l.FromEnd
	}
	return slices.DeleteFunc(runs, func(r run) bool { return r.above.compare(r.below) >= 0 })
}

func positionOf(p *apikey.KeyPosition) place {
	if p == nil {
		return place{}
	}
	return place{date: dateColumn(p.At), id: string(p.ID)}
}

func highest(a, b place) place { return slices.MaxFunc([]place{a, b}, place.compare) }
func lowest(a, b place) place  { return slices.MinFunc([]place{a, b}, place.compare) }

// milliseconds returns the first millisecond that is not before the instant.
func milliseconds(t time.Time) int64 {
	ms := t.UnixMilli()
	if time.UnixMilli(ms).Before(t) {
		ms++
	}
	return ms
}

// arguments are those of a statement about the run. Statements that look at active_until have more.
func (q sequence) arguments(r run, limit int) []any { return r.arguments(q.tenant, q.of, limit) }

func (r run) arguments(tenant apikey.InternalID, of string, limit int) []any {
	return append(slices.Concat([]any{tenant, of}, r.below.arguments(), r.above.arguments()), limit)
}

// walk calls f with the document of each row of the run, or nil for a key that is not active or does not match, until f needs no more. It goes on
// after the last row that it read, so keys that are written meanwhile make it neither repeat nor miss others. A nil matches matches all. The first step
// looks at first rows.
func (s *Store) walk(ctx context.Context, q sequence, r run, activeAt time.Time, first int, matches func(doc bson.Raw) bool, f func(doc bson.Raw) (more bool)) error {
	statement, from := keysUp, &r.above
	if r.down {
		statement, from = keysDown, &r.below
	}
	looked, look := 0, int64(0)
	if matches != nil {
		n, end := looking(func(doc bson.Raw) bool {
			ok := matches(doc)
			if !ok {
				looked += apikey.Documents(len(doc)) - apikey.Documents(0) // its row counts too
			}
			return ok
		})
		defer end()
		look = n
	}
	return s.inSteps(ctx, first, func(atOnce int) (more bool, err error) {
		looked = 0
		rows := 0
		err = s.reading(ctx, func(uncanceled context.Context) error {
			found, err := s.statements[q.order.statement(statement)].QueryContext(uncanceled, append(q.arguments(r, atOnce), activeAfter(activeAt), look)...)
			if err != nil {
				return err
			}
			defer found.Close() // found.Err returns the error
			var id, doc sql.RawBytes
			for more = true; more && found.Next() && ctx.Err() == nil; {
				var date int64
				if err := found.Scan(&date, &id, &doc); err != nil {
					return err
				}
				if rows++; rows == atOnce {
					*from = place{date: date, id: string(id)}
				}
				looked += apikey.Documents(len(doc))
				more = f(bson.Raw(doc))
			}
			return cmp.Or(ctx.Err(), found.Err())
		})
		if err == nil {
			err = apikey.CostFrom(ctx).Look(looked)
		}
		return more && rows == atOnce, err
	})
}

// inOrder reads a list from a sequence in the list's order.
func (s *Store) inOrder(ctx context.Context, q sequence, l apikey.KeyList) (page []apikey.Key, err error) {
	page, _, err = s.inOrderUpTo(ctx, q, l, math.MaxInt)
	return page, err
}

// inOrderUpTo is inOrder, but looks at a number of rows at most. It reports whether the page is complete.
func (s *Store) inOrderUpTo(ctx context.Context, q sequence, l apikey.KeyList, rows int) (page []apikey.Key, complete bool, err error) {
	matches, decode := matcher(q.rest(l.Where)), key(l.Fields)
	for _, r := range q.runs(&l) {
		err := s.walk(ctx, q, r, l.Where.OnlyActive(), max(s.sizes.firstRows, l.Limit), matches, func(doc bson.Raw) (more bool) {
			if doc != nil {
				if k, ok := decode(doc); ok {
					page = append(page, k)
				}
			}
			rows--
			return len(page) < l.Limit && rows > 0
		})
		if err != nil {
			return nil, false, err
		}
		if len(page) == l.Limit {
			break
		}
		if rows == 0 {
			return nil, false, nil
		}
	}
	if l.FromEnd {
		slices.Reverse(page)
	}
	return page, true, nil
}

// sorted reads a list from sequences of any order. It reads all of them.
func (s *Store) sorted(ctx context.Context, from []sequence, l apikey.KeyList) ([]apikey.Key, error) {
	found := collect(&l)
	for _, q := range from {
		matches := matcher(q.rest(l.Where))
		part := apikey.KeyList{Where: l.Where}
		if l.Order.ByExpiry == (q.order == keysByExpiry) { // the sequence is in the list's order
			part.Order, part.After, part.Before = l.Order, l.After, l.Before
		}
		for _, r := range q.runs(&part) {
			err := s.walk(ctx, q, r, l.Where.OnlyActive(), s.sizes.firstRows, matches, func(doc bson.Raw) (more bool) {
				if doc != nil {
					found.add(doc)
				}
				return true
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return found.page(), nil
}

// collection has the keys so far of a list that is read in any order.
type collection struct {
	list          *apikey.KeyList
	decode, dates func(doc bson.Raw) (apikey.Key, bool)
	found         []placed
}

func collect(l *apikey.KeyList) collection {
	return collection{list: l, decode: key(l.Fields), dates: key(l.Order.Field())}
}

// add adds a key that meets the list's conditions, if it is between the list's cursors.
func (c *collection) add(doc bson.Raw) {
	dated, ok := c.dates(doc)
	if at := c.list.Order.Position(&dated); ok && c.list.Has(at) {
		k, _ := c.decode(doc)
		c.found = append(c.found, placed{k, at})
	}
	const spare = 2000 // sort seldom
	if len(c.found) >= 2*c.list.Limit+spare {
		c.found = cut(c.found, c.list)
	}
}

// page returns the keys of the list in its order.
func (c *collection) page() []apikey.Key {
	found := cut(c.found, c.list)
	page := make([]apikey.Key, len(found))
	for i := range found {
		page[i] = found[i].Key
	}
	return page
}

// placed is a key and its place in a list.
type placed struct {
	apikey.Key
	at apikey.KeyPosition
}

// cut sorts the keys by the list's order, drops repetitions, and keeps the first or last ones, as the list asks.
func cut(found []placed, l *apikey.KeyList) []placed {
	slices.SortFunc(found, func(a, b placed) int { return l.Order.Compare(a.at, b.at) })
	found = slices.CompactFunc(found, func(a, b placed) bool { return a.ID == b.ID })
	switch n := len(found) - l.Limit; {
	case n <= 0:
		return found
	case l.FromEnd:
		return slices.Delete(found, 0, n)
	default:
		return slices.Delete(found, l.Limit, len(found))
	}
}

// sortedUnless is sorted for one sequence, unless there is an error already.
func (s *Store) sortedUnless(ctx context.Context, err error, q sequence, l apikey.KeyList) ([]apikey.Key, error) {
	if err != nil {
		return nil, err
	}
	return s.sorted(ctx, []sequence{q}, l)
}

// matcher reports which documents meet the conditions. Nil is all.
func matcher(where apikey.KeyConditions) func(doc bson.Raw) bool {
	fields := where.Fields()
	if fields == 0 {
		return nil
	}
	decode, named := passing(fields), map[apikey.RetrieverID]bool{}
	for _, id := range where.Naming { // there may be thousands
		named[id] = true
	}
	naming := where.Naming != nil
	where.Naming = nil
	return func(doc bson.Raw) bool {
		k, ok := decode(doc)
		return ok && where.Matches(&k) && (!naming || slices.ContainsFunc(k.Retrievers(), func(id apikey.RetrieverID) bool { return named[id] }))
	}
}

// fewKeys is how many keys are read and sorted rather than walking a longer sequence in order.
const fewKeys = 20_000

// isShort reports whether the sequence has few keys that meet its own conditions.
func (s *Store) isShort(ctx context.Context, q sequence, where *apikey.KeyConditions) (bool, error) {
	cost := apikey.NewCost(fewKeys, 0)
	_, err := s.countRuns(apikey.WithCost(ctx, cost), q, *where)
	if err != nil && cost.Exceeded() == nil {
		return false, err
	}
	return err == nil, nil
}

// CountKeys implements apikey.Store.
func (s *Store) CountKeys(ctx context.Context, tenant apikey.InternalID, where apikey.KeyConditions) (n int, err error) {
	from := narrowest(tenant, where, false)
	if len(from) == 0 {
		return 0, nil
	}
	rest := from[0].rest(where)
	switch rows := rest.Fields() == 0; {
	case rows && len(from) == 1:
		return s.countRuns(ctx, from[0], where)
	case rows && where.Created.Open():
		return s.countRows(ctx, from, where.OnlyActive())
	}
	err = s.each(ctx, from, where, func(bson.Raw) (more bool) {
		n++
		return true
	})
	return n, err
}

// countRuns counts rows by the sequence alone.
func (s *Store) countRuns(ctx context.Context, q sequence, where apikey.KeyConditions) (n int, err error) {
	for _, r := range q.runs(&apikey.KeyList{Where: where}) {
		found, err := countRows(ctx, s, q.order.statement(countKeys), func(limit int) []any { return append(q.arguments(r, limit), activeAfter(where.OnlyActive())) })
		if err != nil {
			return 0, err
		}
		n += found
	}
	return n, nil
}

// countRows counts the keys of several retrievers by their rows.
func (s *Store) countRows(ctx context.Context, retrievers []sequence, activeAt time.Time) (n int, err error) {
	var seen []uint64 // a bit for each row
	cost := apikey.CostFrom(ctx)
	for _, q := range retrievers {
		rows := 0
		err := s.reading(ctx, func(uncanceled context.Context) error {
			found, err := s.statements[keyRowsOfRetriever].QueryContext(uncanceled, q.tenant, q.of, activeAfter(activeAt), limitOf(cost))
			if err != nil {
				return err
			}
			defer found.Close() // found.Err returns the error
			for found.Next() && ctx.Err() == nil {
				var pk int
				if err := found.Scan(&pk); err != nil {
					return err
				}
				rows++
				word, bit := pk/64, uint64(1)<<(pk%64)
				if word >= len(seen) {
					seen = append(seen, make([]uint64, word+1-len(seen))...)
				}
				if seen[word]&bit == 0 {
					seen[word] |= bit
					n++
				}
			}
			return cmp.Or(ctx.Err(), found.Err())
		})
		if err == nil {
			err = cost.Look(rows)
		}
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}
