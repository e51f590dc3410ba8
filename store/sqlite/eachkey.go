package sqlite

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
)

// EachKey implements apikey.Store.
func (s *Store) EachKey(ctx context.Context, tenant apikey.InternalID, fields apikey.Fields, f func(*apikey.Key)) (unlisted int, err error) {
	decode := passing(fields)
	each := func(doc bson.Raw) {
		if k, ok := decode(doc); ok {
			f(&k)
		}
	}
	all := inOrderOf(tenant, apikey.KeyOrder{})
	most, err := s.spansMost(ctx, all, apikey.KeyConditions{})
	if err == nil && most {
		err = s.table(ctx, tenant, apikey.KeyConditions{}, each)
	} else if err == nil {
		looked := func(doc bson.Raw) bool { each(doc); return false }
		err = s.walk(ctx, all, run{above: firstPlace, below: lastPlace}, time.Time{}, s.sizes.firstRows, looked, func(bson.Raw) (more bool) { return true })
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
