package mongodb

import (
	"cmp"
	"context"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// A retriever's keys are ordered by created_at and key_id, and so is the index. The two orders differ only where
// documents are odd: a created_at that is no date of RFC 3339 stands elsewhere in the index's order, and a key
// without key_id does not stand there by its id. So a page is read as one run of the index, and taken if nothing
// odd can belong to it; else it is read in parts that the index does order.

// KeyPages returns for each retriever the keys that its id is named by, within the range, newest first.
//
// Where pages are as large as they get, one read is made for many retrievers, and another only for each that has
// more than came with it; otherwise there is one for each, side by side.
func (s *Store) KeyPages(ctx context.Context, tenant apikey.InternalID, retrievers []apikey.RetrieverID, r apikey.KeyRange) ([][]apikey.Key, error) {
	return settling(ctx, s, func() ([][]apikey.Key, error) { return s.keyPages(ctx, tenant, retrievers, r) })
}

func (s *Store) keyPages(ctx context.Context, tenant apikey.InternalID, retrievers []apikey.RetrieverID, r apikey.KeyRange) ([][]apikey.Key, error) {
	pages := make([][]apikey.Key, len(retrievers))
	wants := r.Fields
	r.Fields |= apikey.FieldCreatedAt

	var left []int
	if len(retrievers) > 1 && r.Limit >= apikey.MaxPage && r.After == nil && r.Before == nil && !r.FromEnd {
		pages = pages[:min(len(pages), maxTogether)]
		short, err := s.keyPagesTogether(ctx, tenant, retrievers[:len(pages)], r, pages)
		if err != nil {
			return nil, err
		}
		left = short
	} else {
		for i := range pages {
			left = append(left, i)
		}
	}
	if n := max(1, apikey.KeysAtOnce/r.Limit); len(left) > n {
		pages, left = pages[:left[n]], left[:n]
	}
	err := apikey.CostFrom(ctx).Together(ctx, len(left), func(ctx context.Context, n int) (err error) {
		i := left[n]
		pages[i], err = s.keyPage(ctx, tenant, retrievers[i], r)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, page := range pages {
		for i := range page {
			if wants&apikey.FieldCreatedAt == 0 {
				page[i].CreatedAt = nil
			}
			if wants&apikey.FieldScopes == 0 {
				page[i].Scopes = nil
			}
		}
	}
	return pages, nil
}

// maxTogether is how many retrievers one read asks for. MongoDB merges as many runs of an index without sorting, and
// KeysAtOnce is enough for all keys of most.
const maxTogether = 100

// keyPagesTogether reads the first pages of several retrievers at once, and returns the indexes of those that may
// have more than it put into pages, which is then nothing.
func (s *Store) keyPagesTogether(ctx context.Context, tenant apikey.InternalID, retrievers []apikey.RetrieverID, r apikey.KeyRange, pages [][]apikey.Key) (short []int, err error) {
	together := r
	together.Limit = min(len(retrievers)*r.Limit, apikey.KeysAtOnce)
	together.Fields |= apikey.FieldScopes
	run, err := s.readRun(ctx, keysOf(tenant, retrievers, r.ActiveAt), together)
	if err != nil {
		return nil, err
	}
	places := map[string][]int{}
	for i, id := range retrievers {
		places[string(id)] = append(places[string(id)], i)
	}
	for _, k := range run.keys[:run.certain] {
		for n, scope := range k.Scopes {
			again := slices.ContainsFunc(k.Scopes[:n], func(s apikey.Scope) bool { return s.ResourceID == scope.ResourceID })
			for _, i := range places[scope.ResourceID] {
				if again || len(pages[i]) == r.Limit {
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
		if !run.complete && len(pages[i]) < r.Limit {
			pages[i] = nil
			short = append(short, i)
		}
	}
	return short, nil
}

// keyPage reads the range of one retriever's keys: by one find, unless something is odd.
func (s *Store) keyPage(ctx context.Context, tenant apikey.InternalID, retriever apikey.RetrieverID, r apikey.KeyRange) ([]apikey.Key, error) {
	conditions, ok := oneRun(r)
	if !ok {
		return s.keyPageInParts(ctx, tenant, retriever, r)
	}
	run, err := s.readRun(ctx, keysOf(tenant, []apikey.RetrieverID{retriever}, r.ActiveAt, conditions...), r)
	switch {
	case err != nil:
		return nil, err
	case run.complete || run.certain >= r.Limit:
		return cut(run.keys, r), nil
	case run.odd:
		return s.keyPageInParts(ctx, tenant, retriever, r)
	}
	unkeyed, err := s.unkeyed(ctx, tenant, retriever, r)
	if err != nil {
		return nil, err
	}
	return merge(run.keys, unkeyed, r), nil
}

// oneRun is how the range is one run of the index, if it is: where it begins or ends among keys without a date, the
// index has its end elsewhere. It takes in what a tie with a cursor has of keys without key_id, for readRun to see.
func oneRun(r apikey.KeyRange) (conditions bson.D, ok bool) {
	switch {
	case r.After != nil && r.After.CreatedAt == nil:
		return nil, false
	case r.Before != nil && r.Before.CreatedAt != nil:
		return append(bson.D{{Key: "created_at", Value: dates(r)}}, ties(r, notText)...), true
	case r.Before != nil || r.FromEnd:
		return nil, false
	case r.After == nil:
		return nil, true
	default:
		// All that is no date after the cursor's. Of those after it, the ones beyond RFC 3339 are no dates.
		t := date(*r.After.CreatedAt)
		return bson.D{{Key: "$and", Value: bson.A{
			bson.D{{Key: "$or", Value: bson.A{
				bson.D{{Key: "created_at", Value: not("$gt", t)}},
				bson.D{{Key: "created_at", Value: bson.D{{Key: "$gt", Value: date(document.MaxTime)}}}},
			}}},
			bson.D{{Key: "$or", Value: bson.A{
				bson.D{{Key: "created_at", Value: not("$eq", t)}},
				bson.D{{Key: "key_id", Value: bson.D{{Key: "$lt", Value: string(r.After.ID)}}}},
				bson.D{{Key: "key_id", Value: notText}},
			}}},
		}}}, true
	}
}

// keyRun is what one read of the index tells of a range.
type keyRun struct {
	keys     []apikey.Key // in the list's order, but for odd ones; the range's first, or last, and one more than its limit
	complete bool         // they are all the range's, and in order
	odd      bool         // there are odd ones among them
	certain  int          // how many, from the end that was read first, have nothing missing between them
}

// readRun reads a run of the index, one document more than the range's limit. It looks without usableKey, which costs servers that sort the
// run more than all else, and asks again with it if a document came that is none of the list's.
func (s *Store) readRun(ctx context.Context, filter bson.D, r apikey.KeyRange) (keyRun, error) {
	run, unusable, err := s.readAnyRun(ctx, filter, r)
	if err == nil && unusable {
		run, _, err = s.readAnyRun(ctx, append(slices.Clone(filter), usableKey), r)
	}
	return run, err
}

func (s *Store) readAnyRun(ctx context.Context, filter bson.D, r apikey.KeyRange) (_ keyRun, unusable bool, _ error) {
	var run keyRun
	q := find{
		filter: filter, sort: bson.D{{Key: "created_at", Value: direction(r)}, {Key: "key_id", Value: direction(r)}},
		fields: document.KeyFieldNames(r.Fields), limit: r.Limit + 1,
	}
	reader := document.KeyReader{Fields: r.Fields}
	n, err := q.each(ctx, s.keys, func(doc bson.Raw, more int) {
		if run.keys == nil {
			run.keys = make([]apikey.Key, 0, 1+more)
		}
		if k, ok := reader.Key(doc); ok {
			run.keys = append(run.keys, k)
		} else {
			unusable = true
		}
	})
	if err != nil || unusable {
		return keyRun{}, unusable, err
	}
	run.odd = reader.Odd
	run.complete = n < q.limit
	if !run.odd || run.complete {
		run.certain = len(run.keys)
	}
	if !run.complete {
		// A key without key_id may be yet to come in the last tie, and belong in its midst.
		for last := run.certain - 1; run.certain > 0 && sameDate(run.keys[run.certain-1].CreatedAt, run.keys[last].CreatedAt); {
			run.certain--
		}
	}
	switch {
	case run.complete && run.odd:
		run.keys = slices.DeleteFunc(run.keys, func(k apikey.Key) bool { return !within(k, r) })
		run.certain = len(run.keys)
		slices.SortFunc(run.keys, compareKeys)
	case r.FromEnd:
		slices.Reverse(run.keys)
	}
	return run, false, nil
}

// keyPageInParts reads the range whatever is odd in it.
func (s *Store) keyPageInParts(ctx context.Context, tenant apikey.InternalID, retriever apikey.RetrieverID, r apikey.KeyRange) ([]apikey.Key, error) {
	var keyed, unkeyed []apikey.Key
	parts := []func(context.Context) error{
		func(ctx context.Context) (err error) { keyed, err = s.keyed(ctx, tenant, retriever, r); return err },
		func(ctx context.Context) (err error) { unkeyed, err = s.unkeyed(ctx, tenant, retriever, r); return err },
	}
	err := apikey.CostFrom(ctx).Together(ctx, len(parts), func(ctx context.Context, i int) error { return parts[i](ctx) })
	if err != nil {
		return nil, err
	}
	return merge(keyed, unkeyed, r), nil
}

// keyed reads, up to the limit, the keys of the range that have a key_id: first the dated, then the undated ones, or
// the other way about. Either is in the order of an index.
func (s *Store) keyed(ctx context.Context, tenant apikey.InternalID, retriever apikey.RetrieverID, r apikey.KeyRange) ([]apikey.Key, error) {
	part := func(limit int, sort bson.D, conditions ...bson.E) ([]apikey.Key, error) {
		return s.usable(ctx, r.Fields, find{
			filter: keysOf(tenant, []apikey.RetrieverID{retriever}, r.ActiveAt, conditions...), sort: sort, limit: limit,
		})
	}
	dated := func(limit int) ([]apikey.Key, error) {
		if r.After != nil && r.After.CreatedAt == nil {
			return nil, nil
		}
		conditions := append(bson.D{{Key: "created_at", Value: dates(r)}, {Key: "key_id", Value: someText}}, ties(r)...)
		return part(limit, bson.D{{Key: "created_at", Value: direction(r)}, {Key: "key_id", Value: direction(r)}}, conditions...)
	}
	undated := func(limit int) ([]apikey.Key, error) {
		if r.Before != nil && r.Before.CreatedAt != nil {
			return nil, nil
		}
		conditions := bson.D{{Key: "key_id", Value: undatedIDs(r)}, {Key: "$and", Value: bson.A{noDate}}}
		return part(limit, bson.D{{Key: "key_id", Value: direction(r)}}, conditions...)
	}
	if r.FromEnd {
		return inTurn(r.Limit, undated, dated)
	}
	return inTurn(r.Limit, dated, undated)
}

// unkeyed reads the keys of the range that have no key_id. They are few, or belong to a database that needs
// mending: so they are read whole, and put in their places here.
func (s *Store) unkeyed(ctx context.Context, tenant apikey.InternalID, retriever apikey.RetrieverID, r apikey.KeyRange) ([]apikey.Key, error) {
	keys, err := s.usable(ctx, r.Fields, find{
		filter: keysOf(tenant, []apikey.RetrieverID{retriever}, r.ActiveAt, bson.E{Key: "key_id", Value: notText}), limit: apikey.KeysAtOnce,
	})
	return slices.DeleteFunc(keys, func(k apikey.Key) bool { return !within(k, r) }), err
}

// usable returns the usable keys found. Like readRun it asks with usableKey only if a document came that is none.
func (s *Store) usable(ctx context.Context, fields apikey.Fields, q find) ([]apikey.Key, error) {
	q.fields = document.KeyFieldNames(fields)
	unusable := false
	reader := document.KeyReader{Fields: fields}
	read := func(doc bson.Raw) (apikey.Key, bool) {
		k, ok := reader.Key(doc)
		unusable = unusable || !ok
		return k, ok
	}
	keys, err := all(ctx, s.keys, q, read)
	if err == nil && unusable {
		q.filter = append(slices.Clone(q.filter), usableKey)
		keys, err = all(ctx, s.keys, q, read)
	}
	return keys, err
}

// merge makes a page of the keys that an index ordered and the others.
func merge(keyed, unkeyed []apikey.Key, r apikey.KeyRange) []apikey.Key {
	keys := append(keyed, unkeyed...)
	slices.SortFunc(keys, compareKeys)
	return cut(keys, r)
}

// noDate is a created_at that document.Key reads as none. Each half has bounds in an index, which one negation of
// both has not.
var noDate = bson.D{{Key: "$or", Value: bson.A{
	bson.D{{Key: "created_at", Value: not("$gte", date(document.MinTime))}},
	bson.D{{Key: "created_at", Value: not("$lte", date(document.MaxTime))}},
}}}

// dates are the created_at of the range's dated keys, up to ties with its cursors.
func dates(r apikey.KeyRange) bson.D {
	first, last := date(document.MinTime), date(document.MaxTime)
	if r.Before != nil && r.Before.CreatedAt != nil {
		first = max(first, date(*r.Before.CreatedAt))
	}
	if r.After != nil && r.After.CreatedAt != nil {
		last = min(last, date(*r.After.CreatedAt))
	}
	return bson.D{{Key: "$gte", Value: first}, {Key: "$lte", Value: last}, notList}
}

// ties leaves of the dated keys that have a cursor's date those beyond its id, and those whose key_id is one of others.
func ties(r apikey.KeyRange, others ...bson.D) bson.D {
	var cursors bson.A
	for _, c := range []struct {
		beyond string
		at     *apikey.KeyPosition
	}{{"$lt", r.After}, {"$gt", r.Before}} {
		if c.at == nil || c.at.CreatedAt == nil {
			continue
		}
		choice := bson.A{
			bson.D{{Key: "created_at", Value: bson.D{{Key: c.beyond, Value: date(*c.at.CreatedAt)}}}},
			bson.D{{Key: "key_id", Value: bson.D{{Key: c.beyond, Value: string(c.at.ID)}}}},
		}
		for _, other := range others {
			choice = append(choice, bson.D{{Key: "key_id", Value: other}})
		}
		cursors = append(cursors, bson.D{{Key: "$or", Value: choice}})
	}
	if cursors == nil {
		return nil
	}
	return bson.D{{Key: "$and", Value: cursors}}
}

// undatedIDs are the key_id of the range's undated keys.
func undatedIDs(r apikey.KeyRange) bson.D {
	ids := slices.Clone(someText)
	if r.After != nil && r.After.CreatedAt == nil {
		ids = append(ids, bson.E{Key: "$lt", Value: string(r.After.ID)})
	}
	if r.Before != nil {
		ids[0].Value = string(r.Before.ID)
	}
	return ids
}

func not(operator string, value any) bson.D {
	return bson.D{{Key: "$not", Value: bson.D{{Key: operator, Value: value}}}}
}

func date(t time.Time) bson.DateTime { return bson.NewDateTimeFromTime(t) }

// direction is how the index is read to begin at the range's end that counts.
func direction(r apikey.KeyRange) int32 {
	if r.FromEnd {
		return 1
	}
	return -1
}

// compareKeys is the order of a retriever's keys: newest first, those without a date last, ties by descending id.
func compareKeys(a, b apikey.Key) int {
	return comparePositions(position(a), position(b))
}

func comparePositions(a, b apikey.KeyPosition) int {
	byID := cmp.Compare(b.ID, a.ID)
	switch {
	case a.CreatedAt == nil && b.CreatedAt == nil:
		return byID
	case a.CreatedAt == nil:
		return 1
	case b.CreatedAt == nil:
		return -1
	default:
		return cmp.Or(b.CreatedAt.Compare(*a.CreatedAt), byID)
	}
}

func position(k apikey.Key) apikey.KeyPosition {
	return apikey.KeyPosition{CreatedAt: k.CreatedAt, ID: k.ID}
}

func within(k apikey.Key, r apikey.KeyRange) bool {
	return (r.After == nil || comparePositions(position(k), *r.After) > 0) &&
		(r.Before == nil || comparePositions(position(k), *r.Before) < 0)
}

func sameDate(a, b *time.Time) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Equal(*b)
}

// cut keeps of a range's keys those that the limit leaves.
func cut(keys []apikey.Key, r apikey.KeyRange) []apikey.Key {
	switch {
	case len(keys) <= r.Limit:
		return keys
	case r.FromEnd:
		return keys[len(keys)-r.Limit:]
	default:
		return keys[:r.Limit]
	}
}
