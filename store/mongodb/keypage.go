package mongodb

import (
	"context"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// A retriever's keys are ordered by created_at and key_id, like the index. The two orders differ only for keys whose
// created_at is not a date that RFC 3339 can write: the list has them last, the index orders them by value. So a page
// is one run of the index. If the run has a key with such a date, or the page can begin or end among keys without a
// date, the dated keys and the others are read one after the other.

// KeyPages returns, for each retriever, the keys that name it, within the range, newest first.
//
// If pages have the largest size, one query reads many retrievers, and another reads each retriever that has more keys
// than came with it. Otherwise one query reads each retriever, concurrently.
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

// maxTogether is how many retrievers one query reads. MongoDB merges as many runs of an index without sorting, and
// KeysAtOnce is enough for all keys of most retrievers.
const maxTogether = 100

// keyPagesTogether reads the first pages of several retrievers with one query. It returns the indexes of the retrievers
// that can have more keys than it read, and leaves their pages empty.
func (s *Store) keyPagesTogether(ctx context.Context, tenant apikey.InternalID, retrievers []apikey.RetrieverID, r apikey.KeyRange, pages [][]apikey.Key) (short []int, err error) {
	run, err := s.readRun(ctx, r.Fields|apikey.FieldScopes, find{
		filter: keysOf(tenant, retrievers, r.ActiveAt), sort: newestFirst(r), limit: min(len(retrievers)*r.Limit, apikey.KeysAtOnce),
	})
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
				if repeated || len(pages[i]) == r.Limit {
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
		if run.full && len(pages[i]) < r.Limit {
			pages[i] = nil
			short = append(short, i)
		}
	}
	return short, nil
}

// keyPage reads the range of one retriever's keys.
func (s *Store) keyPage(ctx context.Context, tenant apikey.InternalID, retriever apikey.RetrieverID, r apikey.KeyRange) ([]apikey.Key, error) {
	part := func(limit int, sort bson.D, conditions bson.D) (keyRun, error) {
		filter := keysOf(tenant, []apikey.RetrieverID{retriever}, r.ActiveAt, conditions...)
		return s.readRun(ctx, r.Fields, find{filter: filter, sort: sort, limit: limit})
	}
	var keys []apikey.Key
	run := keyRun{odd: true}
	conditions, ok := oneRun(r)
	if ok {
		var err error
		if run, err = part(r.Limit, newestFirst(r), conditions); err != nil {
			return nil, err
		}
		keys = run.keys
	}
	if run.odd {
		dated := func(limit int) ([]apikey.Key, error) {
			if r.After != nil && r.After.CreatedAt == nil {
				return nil, nil
			}
			run, err := part(limit, newestFirst(r), datedKeys(r))
			return run.keys, err
		}
		undated := func(limit int) ([]apikey.Key, error) {
			if r.Before != nil && r.Before.CreatedAt != nil {
				return nil, nil
			}
			run, err := part(limit, bson.D{{Key: "key_id", Value: direction(r)}}, undatedKeys(r))
			return run.keys, err
		}
		parts := []func(int) ([]apikey.Key, error){dated, undated}
		if r.FromEnd {
			slices.Reverse(parts)
		}
		var err error
		if keys, err = inTurn(r.Limit, parts...); err != nil {
			return nil, err
		}
	}
	if r.FromEnd {
		slices.Reverse(keys)
	}
	return keys, nil
}

// oneRun returns the conditions under which the range is one run of the index. It returns false if the range can begin
// or end among keys without a date.
func oneRun(r apikey.KeyRange) (conditions bson.D, ok bool) {
	switch {
	case r.After != nil && r.After.CreatedAt == nil:
		return nil, false
	case r.Before != nil && r.Before.CreatedAt != nil:
		return datedKeys(r), true
	case r.Before != nil || r.FromEnd:
		return nil, false
	case r.After == nil:
		return nil, true
	default:
		// Select all keys that are not dated after the cursor. A later date that RFC 3339 cannot write counts as none.
		t := date(*r.After.CreatedAt)
		return bson.D{{Key: "$and", Value: bson.A{
			bson.D{{Key: "$or", Value: bson.A{
				bson.D{{Key: "created_at", Value: not("$gt", t)}},
				bson.D{{Key: "created_at", Value: bson.D{{Key: "$gt", Value: date(document.MaxTime)}}}},
			}}},
			bson.D{{Key: "$or", Value: bson.A{
				bson.D{{Key: "created_at", Value: not("$eq", t)}},
				bson.D{{Key: "key_id", Value: bson.D{{Key: "$lt", Value: string(r.After.ID)}}}},
			}}},
		}}}, true
	}
}

// keyRun is the result of one query.
type keyRun struct {
	keys []apikey.Key // in the requested order
	full bool         // the limit was reached: there can be more keys
	odd  bool         // a key has a created_at that is not a date that RFC 3339 can write
}

// readRun reads keys that lists show. It queries without usableKey, which costs more than everything else on servers
// that sort the run, and repeats the query with it if the result has a document that no list shows.
func (s *Store) readRun(ctx context.Context, fields apikey.Fields, q find) (keyRun, error) {
	run, unlisted, err := s.readAnyRun(ctx, fields, q)
	if err == nil && unlisted {
		q.filter = append(slices.Clone(q.filter), usableKey)
		run, _, err = s.readAnyRun(ctx, fields, q)
	}
	return run, err
}

func (s *Store) readAnyRun(ctx context.Context, fields apikey.Fields, q find) (run keyRun, unlisted bool, err error) {
	reader := document.KeyReader{Fields: fields}
	q.fields = document.KeyFieldNames(fields)
	n, err := q.each(ctx, s.keys, func(doc bson.Raw, more int) {
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

// noDate selects keys whose created_at document.Key reads as none. Each half has bounds in an index, unlike one
// negation of both.
var noDate = bson.D{{Key: "$or", Value: bson.A{
	bson.D{{Key: "created_at", Value: not("$gte", date(document.MinTime))}},
	bson.D{{Key: "created_at", Value: not("$lte", date(document.MaxTime))}},
}}}

// datedKeys selects the range's keys that have a date.
func datedKeys(r apikey.KeyRange) bson.D {
	first, last := date(document.MinTime), date(document.MaxTime)
	var ties bson.A // of keys with a cursor's date, only those beyond its id
	for _, c := range []struct {
		beyond string
		at     *apikey.KeyPosition
	}{{"$lt", r.After}, {"$gt", r.Before}} {
		if c.at == nil || c.at.CreatedAt == nil {
			continue
		}
		t := date(*c.at.CreatedAt)
		if c.at == r.After {
			last = min(last, t)
		} else {
			first = max(first, t)
		}
		ties = append(ties, bson.D{{Key: "$or", Value: bson.A{
			bson.D{{Key: "created_at", Value: bson.D{{Key: c.beyond, Value: t}}}},
			bson.D{{Key: "key_id", Value: bson.D{{Key: c.beyond, Value: string(c.at.ID)}}}},
		}}})
	}
	conditions := bson.D{{Key: "created_at", Value: bson.D{{Key: "$gte", Value: first}, {Key: "$lte", Value: last}, notList}}}
	if ties != nil {
		conditions = append(conditions, bson.E{Key: "$and", Value: ties})
	}
	return conditions
}

// undatedKeys selects the range's keys that have no date.
func undatedKeys(r apikey.KeyRange) bson.D {
	ids := slices.Clone(someText)
	if r.After != nil && r.After.CreatedAt == nil {
		ids = append(ids, bson.E{Key: "$lt", Value: string(r.After.ID)})
	}
	if r.Before != nil {
		ids[0].Value = string(r.Before.ID)
	}
	return bson.D{{Key: "key_id", Value: ids}, {Key: "$and", Value: bson.A{noDate}}}
}

func not(operator string, value any) bson.D {
	return bson.D{{Key: "$not", Value: bson.D{{Key: operator, Value: value}}}}
}

func date(t time.Time) bson.DateTime { return bson.NewDateTimeFromTime(t) }

// newestFirst returns the order of the index, starting at the range's end that counts.
func newestFirst(r apikey.KeyRange) bson.D {
	return bson.D{{Key: "created_at", Value: direction(r)}, {Key: "key_id", Value: direction(r)}}
}

// direction returns the direction in which the index is read to start at the range's end that counts.
func direction(r apikey.KeyRange) int32 {
	if r.FromEnd {
		return 1
	}
	return -1
}
