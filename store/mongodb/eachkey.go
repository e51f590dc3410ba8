package mongodb

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// EachKey implements apikey.Store. The documents carry only the fields that are needed.
//
// They come in the order of key_id, which does not change. Otherwise the server could choose the index of a field that does, such as expires_at, and
// a key that moves there while it is read would be counted twice or not at all. Its index is older than those of lists, so an upgrade need not wait
// for it.
func (s *Store) EachKey(ctx context.Context, tenant apikey.InternalID, fields apikey.Fields, f func(*apikey.Key)) (unlisted int, err error) {
	// f must not get a key twice, so what was left unfinished is finished before, not after.
	if r := s.settler.due(s.left.misses()); r != nil {
		s.settler.wait(ctx, r, patience)
	}
	reader := document.KeyReader{Fields: fields}
	q := find{filter: keysOf(tenant), sort: keysByID[1:], fields: document.KeyFieldNames(fields)}
	_, err = q.each(ctx, s.keys, func(doc bson.Raw, _ int) {
		if k, ok := reader.Listed(doc); ok {
			f(&k)
		} else {
			unlisted++
		}
	})
	return unlisted, err
}

// keysByID has the keys of a tenant by id.
var keysByID = bson.D{up("internal_id"), up("key_id")}

// keysOf selects all documents of a tenant.
func keysOf(tenant apikey.InternalID) bson.D {
	return bson.D{{Key: "internal_id", Value: is(string(tenant))}}
}
