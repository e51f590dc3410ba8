package mongodb

import (
	"cmp"
	"context"
	"math"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// Keys are ordered by a date and key_id, as in the indexes. An index has keys whose value is not a date that RFC 3339 can write at both of its
// ends. A list has them last. So a list in descending order is one run of the index, unless it has a key with such a value. If it has, or in
// ascending order, or if the page can begin or end among keys without a date, the dated keys and the others are read one after the other.

// KeyPages returns, for each retriever, the keys that name it and are in the list.
//
// If pages have the largest size, one query reads many retrievers, and another reads each retriever that has more keys
// than came with it. Otherwise one query reads each retriever, concurrently.
func (s *Store) KeyPages(ctx context.Context, tenant apikey.InternalID, retrievers []apikey.RetrieverID, l apikey.KeyList) ([][]apikey.Key, error) {
	return settling(ctx, s, func() ([][]apikey.Key, error) { return s.keyPages(ctx, tenant, retrievers, l) })
}

func (s *Store) keyPages(ctx context.Context, tenant apikey.InternalID, retrievers []apikey.RetrieverID, l apikey.KeyList) ([][]apikey.Key, error) {
	pages := make([][]apikey.Key, len(retrievers))
	l.Walk = false
	var left []int
	if _, ok := oneRun(&l); ok && len(retrievers) > 1 && l.Limit >= apikey.MaxPage && l.After == nil && l.Before == nil && !l.FromEnd && !matchesNone(&l.Where) && !onlyNarrows(&l.Where) {
		pages = pages[:min(len(pages), maxTogether)]
		short, err := s.keyPagesTogether(ctx, tenant, retrievers[:len(pages)], l, pages)
		if err != nil {
			return nil, err
		}
		left = short
	} else {
		left = upTo(len(pages))
	}
	if n := max(1, apikey.KeysAtOnce/l.Limit); len(left) > n {
		pages, left = pages[:left[n]], left[:n]
	}
	err := apikey.CostFrom(ctx).Together(ctx, len(left), func(ctx context.Context, n int) (err error) {
		i, l := left[n], l
		l.Where.Naming = retrievers[i : i+1]
		pages[i], err = s.keyPage(ctx, tenant, l)
		return err
	})
	if err != nil {
		return nil, err
	}
	if l.Fields&apikey.FieldScopes == 0 {
		for _, page := range pages {
			for i := range page {
				page[i].Scopes = nil
			}
		}
	}
	return pages, nil
}

// maxTogether is how many retrievers one query reads. MongoDB merges as many runs of an index without sorting, and
// KeysAtOnce is enough for all keys of most retrievers.
const maxTogether = 100

// keyPagesTogether reads the first pages of several retrievers with one query. It returns the indexes of the retrievers
// that can have more keys than it read, and leaves their pages empty.
func (s *Store) keyPagesTogether(ctx context.Context, tenant apikey.InternalID, retrievers []apikey.RetrieverID, l apikey.KeyList, pages [][]apikey.Key) (short []int, err error) {
	limit := l.Limit
	l.Where.Naming, l.Limit, l.Fields = retrievers, min(len(retrievers)*limit, apikey.KeysAtOnce), l.Fields|apikey.FieldScopes
	conditions, _ := oneRun(&l)
	read := s.listing(tenant, &l)
	run, err := read.run(ctx, l.Limit, read.order(), conditions)
	if err != nil {
		return nil, err
	}
	if run.odd {
		return upTo(len(retrievers)), nil
	}
	places := map[string][]int{}
	for i, id := range retrievers {
		places[string(id)] = append(places[string(id)], i)
	}
	for _, k := range run.keys {
		for n, scope := range k.Scopes {
			repeated := slices.ContainsFunc(k.Scopes[:n], func(s apikey.Scope) bool { return s.ResourceID == scope.ResourceID })
			for _, i := range places[scope.ResourceID] {
				if repeated || len(pages[i]) == limit {
					continue
				}
				if pages[i] == nil {
					pages[i] = make([]apikey.Key, 0, 1+len(run.keys)/len(retrievers))
				}
				pages[i] = append(pages[i], k)
			}
		}
	}
	for i := range retrievers {
		if run.full && len(pages[i]) < limit {
			pages[i] = nil
			short = append(short, i)
		}
	}
	return short, nil
}

// KeyPage returns the tenant's keys that are in the list, each once.
func (s *Store) KeyPage(ctx context.Context, tenant apikey.InternalID, l apikey.KeyList) ([]apikey.Key, error) {
	return settling(ctx, s, func() ([]apikey.Key, error) { return s.keyPage(ctx, tenant, l) })
}

func (s *Store) keyPage(ctx context.Context, tenant apikey.InternalID, l apikey.KeyList) ([]apikey.Key, error) {
	if matchesNone(&l.Where) {
		return nil, nil
	}
	read := s.listing(tenant, &l).page
	if onlyNarrows(&l.Where) {
		read = func(ctx context.Context) ([]apikey.Key, error) { return s.checkedPage(ctx, tenant, l) }
	}
	keys, err := read(ctx)
	if l.FromEnd {
		slices.Reverse(keys)
	}
	return keys, err
}

// listing reads one list.
type listing struct {
	keyFilter
	*apikey.KeyList
	s *Store
}

func (s *Store) listing(tenant apikey.InternalID, l *apikey.KeyList) *listing {
	return &listing{keysThat(tenant, l), l, s}
}

// page returns the keys of the page, the one at the range's end that counts first.
func (l *listing) page(ctx context.Context) ([]apikey.Key, error) {
	if conditions, ok := oneRun(l.KeyList); ok {
		run, err := l.run(ctx, l.Limit, l.order(), conditions)
		if err != nil || !run.odd {
			return run.keys, err
		}
	}
	var parts []func(limit int) ([]apikey.Key, error)
	if datedPart(l.KeyList) {
		parts = append(parts, func(limit int) ([]apikey.Key, error) {
			run, err := l.run(ctx, limit, l.order(), datedKeys(l.KeyList))
			return run.keys, err
		})
	}
	if undatedPart(l.KeyList) {
		parts = append(parts, func(limit int) ([]apikey.Key, error) { return l.undated(ctx, limit) })
	}
	if l.FromEnd {
		slices.Reverse(parts)
	}
	return inTurn(l.Limit, parts...)
}

// undated reads keys without a date, by key_id.
func (l *listing) undated(ctx context.Context, limit int) ([]apikey.Key, error) {
	var keys []apikey.Key
	sort := l.order()[1:]
	queries := l.noDates(l.oddExpiries() && l.s.expireByList(ctx))
	for _, values := range queries {
		run, err := l.run(ctx, limit, sort, append(undatedKeys(l.KeyList), values))
		if err != nil {
			return nil, err
		}
		keys = append(keys, run.keys...)
	}
	if len(queries) == 1 {
		return keys, nil
	}
	slices.SortFunc(keys, func(a, b apikey.Key) int {
		if sort[0].Value != up("").Value {
			a, b = b, a
		}
		return cmp.Compare(a.ID, b.ID)
	})
	return keys[:min(limit, len(keys))], nil
}

// order is the order of the index, starting at the range's end that counts.
func (l *listing) order() bson.D {
	direction := int32(-1)
	if l.Order.Ascending != l.FromEnd {
		direction = 1
	}
	return bson.D{{Key: dateOf(l.Order), Value: direction}, {Key: "key_id", Value: direction}}
}

// dateOf returns the name of the field of an order's date.
func dateOf(o apikey.KeyOrder) string {
	if o.ByExpiry {
		return "expires_at"
	}
	return "created_at"
}

// periodOf returns the period of the order's date.
func periodOf(l *apikey.KeyList) apikey.Period {
	if l.Order.ByExpiry {
		return l.Where.Expires
	}
	return l.Where.Created
}

// datedPart reports whether the range can have keys with a date.
func datedPart(l *apikey.KeyList) bool {
	return (l.After == nil || l.After.At != nil) && (!l.Order.ByExpiry || !l.Where.NeverExpires)
}

// undatedPart reports whether the range can have keys without a date.
func undatedPart(l *apikey.KeyList) bool {
	return (l.Before == nil || l.Before.At == nil) && periodOf(l).Open()
}

// oneRun returns the conditions under which the range is one run of the index, unless a key of the run has a value that is not a date.
// It returns false if the range cannot be one.
func oneRun(l *apikey.KeyList) (conditions bson.D, ok bool) {
	switch {
	case !datedPart(l):
		return nil, false
	case !undatedPart(l):
		return datedKeys(l), true
	case l.Order.Ascending || l.FromEnd || l.Before != nil:
		return nil, false
	case l.After == nil:
		return nil, true
	case l.Order.ByExpiry && l.Where.OnlyActive().IsZero(): // a list is in the index at the dates that it contains, perhaps before the cursor
		return nil, false
	default:
		// Select all keys that are not dated after the cursor. A later date that RFC 3339 cannot write counts as none.
		t, field := date(*l.After.At), dateOf(l.Order)
		return bson.D{{Key: "$and", Value: bson.A{
			bson.D{{Key: "$or", Value: bson.A{
				bson.D{{Key: field, Value: not("$gt", t)}},
				bson.D{{Key: field, Value: bson.D{{Key: "$gt", Value: date(document.MaxTime)}}}},
			}}},
			bson.D{{Key: "$or", Value: bson.A{
				bson.D{{Key: field, Value: not("$eq", t)}},
				bson.D{{Key: "key_id", Value: bson.D{{Key: "$lt", Value: string(l.After.ID)}}}},
			}}},
		}}}, true
	}
}

// bound is an end of a range that a list's position sets.
type bound struct {
	at     *apikey.KeyPosition
	beyond string // the operator that selects what is within the range
}

func boundsOf(l *apikey.KeyList) (bounds []bound) {
	up, down := "$gt", "$lt"
	if !l.Order.Ascending {
		up, down = down, up
	}
	for _, b := range []bound{{l.After, up}, {l.Before, down}} {
		if b.at != nil {
			bounds = append(bounds, b)
		}
	}
	return bounds
}

// datedKeys selects the range's keys that have a date.
func datedKeys(l *apikey.KeyList) bson.D {
	field := dateOf(l.Order)
	first, last := datesOf(periodOf(l))
	var ties bson.A // of keys with a cursor's date, only those beyond its id
	for _, b := range boundsOf(l) {
		if b.at.At == nil {
			continue
		}
		t := date(*b.at.At)
		if b.beyond == "$gt" {
			first = max(first, t)
		} else {
			last = min(last, t)
		}
		ties = append(ties, bson.D{{Key: "$or", Value: bson.A{
			bson.D{{Key: field, Value: bson.D{{Key: b.beyond, Value: t}}}},
			bson.D{{Key: "key_id", Value: bson.D{{Key: b.beyond, Value: string(b.at.ID)}}}},
		}}})
	}
	conditions := bson.D{{Key: field, Value: bson.D{{Key: "$gte", Value: first}, {Key: "$lte", Value: last}, notList}}}
	if ties != nil {
		conditions = append(conditions, bson.E{Key: "$and", Value: ties})
	}
	return conditions
}

// undatedKeys selects the ids of the range's keys that have no date.
func undatedKeys(l *apikey.KeyList) bson.D {
	ids := slices.Clone(someText)
	for _, b := range boundsOf(l) {
		switch {
		case b.at.At != nil:
		case b.beyond == "$gt":
			ids[0].Value = string(b.at.ID)
		default:
			ids = append(ids, bson.E{Key: "$lt", Value: string(b.at.ID)})
		}
	}
	return bson.D{{Key: "key_id", Value: ids}}
}

// noDates returns the values that count as no date. Together, the conditions select all of them. If there are two, the first one selects nearly
// all keys, which an index has in the order of key_id, and the second one the others, whose expiry is odd.
func (l *listing) noDates(lists bool) []bson.E {
	field := dateOf(l.Order)
	early, late := not("$gte", date(document.MinTime)), not("$lte", date(document.MaxTime))
	switch {
	case l.oddExpiries():
		some := bson.E{Key: "$ne", Value: nil}
		odd := bson.A{bson.D{{Key: field, Value: append(early, some)}}, bson.D{{Key: field, Value: append(late, some)}}}
		if lists {
			odd = append(odd, bson.D{{Key: field, Value: aList}})
		}
		return []bson.E{{Key: field, Value: is(nil)}, {Key: "$or", Value: odd}}
	case !l.Order.ByExpiry: // Each half has bounds in an index, unlike one negation of both.
		return []bson.E{{Key: "$or", Value: bson.A{bson.D{{Key: field, Value: early}}, bson.D{{Key: field, Value: late}}}}}
	case l.few:
		return []bson.E{{Key: "$or", Value: bson.A{except(bson.D{{Key: field, Value: within(apikey.Period{})}})}}}
	default:
		return []bson.E{{Key: field, Value: is(nil)}}
	}
}

// oddExpiries reports whether keys with an odd expiry must be looked for by themselves. They are not active.
func (l *listing) oddExpiries() bool {
	return l.Order.ByExpiry && !l.few && l.Where.OnlyActive().IsZero()
}

// keyRun is the result of one query.
type keyRun struct {
	keys []apikey.Key // in the requested order
	full bool         // the limit was reached: there can be more keys
	odd  bool         // a key has a value instead of the order's date that is not a date which RFC 3339 can write
}

// run reads keys that lists show. It queries without unusable, which costs more than everything else on servers that sort the run, and repeats
// the query with it if the result has a document that no list shows.
func (l *listing) run(ctx context.Context, limit int, sort, conditions bson.D) (keyRun, error) {
	filter := l.keyFilter
	if l.few && l.Order.ByExpiry { // no index has this order
		filter.require(false, conditions...)
		conditions = nil
	}
	q := find{filter: filter.with(conditions...), sort: sort, limit: limit, fields: document.KeyFieldNames(l.Fields | l.Order.Field())}
	run, unlisted, err := l.read(ctx, q)
	if err == nil && unlisted {
		q.filter = filter.usable(conditions...)
		run, _, err = l.read(ctx, q)
	}
	return run, err
}

func (l *listing) read(ctx context.Context, q find) (run keyRun, unlisted bool, err error) {
	reader := document.KeyReader{Fields: l.Fields, Order: l.Order.Field()}
	n, err := q.each(ctx, l.s.keys, func(doc bson.Raw, more int) {
		if run.keys == nil {
			run.keys = make([]apikey.Key, 0, 1+more)
		}
		if k, ok := reader.Listed(doc); ok {
			run.keys = append(run.keys, k)
		} else {
			unlisted = true
		}
	})
	run.full, run.odd = n == q.limit, reader.Odd
	return run, unlisted, err
}

// CountKeys counts the tenant's keys that meet the conditions.
func (s *Store) CountKeys(ctx context.Context, tenant apikey.InternalID, where apikey.KeyConditions) (int, error) {
	if matchesNone(&where) {
		return 0, nil
	}
	_, filter := s.whole(ctx, tenant, where, false)
	return settling(ctx, s, func() (int, error) {
		if onlyNarrows(&where) {
			return s.checkedCount(ctx, &where, filter)
		}
		return count(ctx, s.keys, filter)
	})
}

// whole returns the list of all keys that meet the conditions, in the order whose index answers most of them, and the filter that selects them.
func (s *Store) whole(ctx context.Context, tenant apikey.InternalID, where apikey.KeyConditions, walk bool) (*listing, bson.D) {
	byExpiry := (where.Naming == nil || walk) && where.CreatedBy == nil && (!where.Expires.Open() || where.NeverExpires)
	l := s.listing(tenant, &apikey.KeyList{Where: where, Order: apikey.KeyOrder{ByExpiry: byExpiry}, Walk: walk})
	var conditions bson.D
	switch {
	case !undatedPart(l.KeyList):
		conditions = datedKeys(l.KeyList)
	case !datedPart(l.KeyList):
		alternatives := bson.A{}
		for _, values := range l.noDates(l.oddExpiries() && s.expireByList(ctx)) {
			alternatives = append(alternatives, bson.D{values})
		}
		conditions = bson.D{{Key: "$or", Value: alternatives}}
	}
	return l, l.usable(conditions...)
}

// matchBatch is how many documents MatchingKeys gets at a time. The server sends 16 MiB at most.
const matchBatch = 5000

// MatchingKeys implements apikey.Store. An organization's keys come in the order of the index that answers most conditions, so that the server chooses
// no other: a key that moves in an index while it is read comes twice or not at all. The keys of retrievers or of a creator come in no order, because
// the server would sort those of several retrievers.
func (s *Store) MatchingKeys(ctx context.Context, tenant apikey.InternalID, list apikey.KeyList, f func(apikey.Key) (more bool)) error {
	if matchesNone(&list.Where) {
		return nil
	}
	// f must not get a key twice, so what was left unfinished is finished before, not after.
	if r := s.settler.due(s.left.misses()); r != nil {
		s.settler.wait(ctx, r, patience)
	}
	where := &list.Where
	l, filter := s.whole(ctx, tenant, list.Where, list.Walk)
	fields, check := list.Fields, onlyNarrows(where)
	if check {
		fields |= apikey.FindingFields
	}
	q := find{filter: filter, fields: document.KeyFieldNames(fields), batch: matchBatch}
	if !l.few && datedPart(l.KeyList) {
		q.sort = l.order()
	}
	if left := apikey.CostFrom(ctx).Left(); left < math.MaxInt {
		q.limit = left + 1
	}
	dates, reader := document.KeyReader{Fields: apikey.FindingFields}, document.KeyReader{Fields: list.Fields}
	_, err := q.until(ctx, s.keys, func(doc bson.Raw, _ int) (enough bool) {
		if check {
			if k, ok := dates.Listed(doc); !ok || !meets(where, &k) {
				return false
			}
		}
		k, ok := reader.Listed(doc)
		return ok && !f(k)
	})
	return err
}
