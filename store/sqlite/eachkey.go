package sqlite

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
)

// MatchingKeys implements apikey.Store.
func (s *Store) MatchingKeys(ctx context.Context, tenant apikey.InternalID, l apikey.KeyList, f func(apikey.Key) (more bool)) error {
	decode := key(l.Fields)
	return s.each(ctx, narrowest(tenant, l.Where, l.Walk), l.Where, func(doc bson.Raw) (more bool) {
		k, ok := decode(doc)
		return !ok || f(k)
	})
}

// narrowest returns the sequences that contain every key that can meet the conditions and as few others as possible.
func narrowest(tenant apikey.InternalID, where apikey.KeyConditions, walk bool) []sequence {
	switch {
	case where.Naming != nil && !walk:
		return sequences(tenant, where.Naming)
	case where.CreatedBy != nil:
		return []sequence{{keysOfCreator, tenant, *where.CreatedBy}}
	default:
		return []sequence{inOrderOf(tenant, apikey.KeyOrder{ByExpiry: !where.Expires.Open() || where.NeverExpires})}
	}
}

// each calls f once with the document of each key in the sequences that meets the conditions, in no order, until f returns false. The document is valid
// only during the call.
func (s *Store) each(ctx context.Context, from []sequence, where apikey.KeyConditions, f func(doc bson.Raw) (more bool)) error {
	if len(from) > 1 {
		f = onceEach(f)
	}
	more := true
	for _, q := range from {
		if q.order == keysOfTenant || q.order == keysByExpiry {
			if most, err := s.spansMost(ctx, q, where); err != nil {
				return err
			} else if most {
				return s.table(ctx, q.tenant, where, f)
			}
		}
		matches := matcher(q.rest(where))
		look := func(doc bson.Raw) bool { // where the document is in SQLite's memory
			more = more && (matches != nil && !matches(doc) || f(doc))
			return false
		}
		for _, r := range q.runs(&apikey.KeyList{Where: where}) {
			if err := s.walk(ctx, q, r, where.OnlyActive(), s.sizes.firstRows, look, func(bson.Raw) bool { return more }); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

// onceEach returns a function that calls f only once for a key that names several retrievers.
func onceEach(f func(doc bson.Raw) (more bool)) func(doc bson.Raw) (more bool) {
	several, scopes := map[apikey.ID]bool{}, key(apikey.FieldScopes)
	return func(doc bson.Raw) (more bool) {
		k, _ := scopes(doc)
		if len(k.Retrievers()) > 1 {
			if several[k.ID] {
				return true
			}
			several[k.ID] = true
		}
		return f(doc)
	}
}

// EachKey implements apikey.Store.
func (s *Store) EachKey(ctx context.Context, tenant apikey.InternalID, fields apikey.Fields, f func(*apikey.Key)) (unlisted int, err error) {
	decode := passing(fields)
	err = s.each(ctx, []sequence{inOrderOf(tenant, apikey.KeyOrder{})}, apikey.KeyConditions{}, func(doc bson.Raw) (more bool) {
		if k, ok := decode(doc); ok {
			f(&k)
		}
		return true
	})
	if err != nil {
		return 0, err
	}
	owner := key(apikey.FieldInternalID)
	_, err = query(ctx, s, unusableKeys, nil, func(doc bson.Raw) (none struct{}, ok bool) {
		if k, _ := owner(doc); k.InternalID == tenant {
			unlisted++
		}
		return none, false
	})
	return unlisted, err
}
