package mongodb

import (
	"cmp"
	"context"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// withFindings returns the alternatives that select the keys for which apikey.Policy.FindingsAt gives one of the wanted findings. If onlyNarrows
// reports true, they select more.
func withFindings(w *apikey.KeyConditions) bson.A {
	p := &w.Policy
	never := bson.D{{Key: "expires_at", Value: nil}}
	stale := within(apikey.Period{Until: new(p.StaleSince(w.At))})
	conditions, inEveryState := bson.A{}, bson.A{}
	for _, f := range w.Findings.List() {
		switch {
		case f == apikey.NeverExpires:
			conditions = append(conditions, never)
		case f == apikey.BeyondMaxLifetime && p.MaxLifetime > 0:
			anyDate := within(apikey.Period{})
			conditions = append(conditions, never, bson.D{{Key: "expires_at", Value: anyDate}, {Key: "created_at", Value: anyDate}})
		case f == apikey.ExpiresSoon:
			conditions = append(conditions, bson.D{{Key: "expires_at", Value: within(apikey.Period{Until: new(p.SoonAt(w.At))})}})
		case f == apikey.Unused && p.StaleAfter > 0:
			conditions = append(conditions, bson.D{
				{Key: "created_at", Value: stale}, {Key: "$nor", Value: bson.A{bson.D{{Key: "last_used_at", Value: within(apikey.Period{})}}}},
			})
		case f == apikey.Stale && p.StaleAfter > 0:
			conditions = append(conditions, bson.D{{Key: "last_used_at", Value: stale}})
		case f == apikey.Leaked:
			inEveryState = append(inEveryState, bson.D{{Key: "leaked_at", Value: within(apikey.Period{})}})
		}
	}
	if len(conditions) > 0 {
		inEveryState = append(inEveryState, bson.D{{Key: "$and", Value: bson.A{active(w.At), bson.D{{Key: "$or", Value: conditions}}}}})
	}
	if len(inEveryState) == 0 {
		return bson.A{bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: bson.A{}}}}}} // no document
	}
	return inEveryState
}

// onlyNarrows reports whether the query of a list can select keys that do not meet the conditions. Whether a key lives too long depends on two of
// its fields, which only an aggregation's expression compares, and not all servers have these.
func onlyNarrows(w *apikey.KeyConditions) bool {
	return w.Findings.Has(apikey.BeyondMaxLifetime) && w.Policy.MaxLifetime > 0
}

// meets reports whether a key with FindingFields that the query selected meets the conditions.
func meets(w *apikey.KeyConditions, k *apikey.Key) bool {
	return w.Policy.FindingsAt(k, w.At)&w.Findings != 0
}

// checkBatch is how many keys a narrowed page looks at at a time.
const checkBatch = 5000

// checkedPage is keyPage for conditions that the query only narrows. It reads the dates of the keys in the list's order until it has the ids of a
// page, and then these keys.
func (s *Store) checkedPage(ctx context.Context, tenant apikey.InternalID, l apikey.KeyList) ([]apikey.Key, error) {
	dates := l
	dates.Fields, dates.Limit = apikey.FindingFields, max(checkBatch, l.Limit)
	var ids []apikey.ID
	for more := true; more && len(ids) < l.Limit; {
		batch, err := s.listing(tenant, &dates).page(ctx)
		if err != nil {
			return nil, err
		}
		for i := range batch {
			if meets(&l.Where, &batch[i]) && len(ids) < l.Limit {
				ids = append(ids, batch[i].ID)
			}
		}
		if more = len(batch) == dates.Limit; more {
			last := l.Order.Position(&batch[len(batch)-1])
			if l.FromEnd {
				dates.Before = &last
			} else {
				dates.After = &last
			}
		}
	}
	keys, err := s.Keys(ctx, tenant, ids, l.Fields)
	if err != nil {
		return nil, err
	}
	places := make(map[apikey.ID]int, len(ids))
	for i, id := range ids {
		places[id] = i
	}
	slices.SortFunc(keys, func(a, b apikey.Key) int { return cmp.Compare(places[a.ID], places[b.ID]) })
	return keys, nil
}

// checkedCount is CountKeys for conditions that the query only narrows.
func (s *Store) checkedCount(ctx context.Context, w *apikey.KeyConditions, filter bson.D) (n int, err error) {
	reader := document.KeyReader{Fields: apikey.FindingFields}
	_, err = find{filter: filter, fields: document.KeyFieldNames(apikey.FindingFields)}.each(ctx, s.keys, func(doc bson.Raw, _ int) {
		if k, ok := reader.Listed(doc); ok && meets(w, &k) {
			n++
		}
	})
	return n, err
}
