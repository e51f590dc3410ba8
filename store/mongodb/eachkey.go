package mongodb

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// EachKey implements apikey.Store. The documents carry only the fields that are needed.
func (s *Store) EachKey(ctx context.Context, tenant apikey.InternalID, fields apikey.Fields, f func(*apikey.Key)) (unlisted int, err error) {
	// f must not get a key twice, so what was left unfinished is finished before, not after.
	if r := s.settler.due(s.left.misses()); r != nil {
		s.settler.wait(ctx, r, patience)
	}
	reader := document.KeyReader{Fields: fields}
	q := find{filter: bson.D{{Key: "internal_id", Value: is(string(tenant))}}, fields: document.KeyFieldNames(fields)}
	_, err = q.each(ctx, s.keys, func(doc bson.Raw, _ int) {
		if k, ok := reader.Listed(doc); ok {
			f(&k)
		} else {
			unlisted++
		}
	})
	return unlisted, err
}
