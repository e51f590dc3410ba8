package sqlite

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
)

// EachKey implements apikey.Store.
func (s *Store) EachKey(ctx context.Context, tenant apikey.InternalID, fields apikey.Fields, f func(*apikey.Key)) (unlisted int, err error) {
	decode := key(fields)
	each := func(doc bson.Raw) (more bool) {
		if k, ok := decode(doc); ok {
			f(&k)
		}
		return true
	}
	all := inOrderOf(tenant, apikey.KeyOrder{})
	most, err := s.spansMost(ctx, all, apikey.KeyConditions{})
	if err == nil && most {
		err = s.table(ctx, tenant, apikey.KeyConditions{}, func(doc bson.Raw) { each(doc) })
	} else if err == nil {
		err = s.walk(ctx, all, run{above: firstPlace, below: lastPlace}, time.Time{}, rowsAtOnce, each)
	}
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
