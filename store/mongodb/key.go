package mongodb

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// KeysByHash returns the keys that carry the hash, two at most, as the primary holds them. Where there is none it may be
// a successor that is still in the other key's document.
func (s *Store) KeysByHash(ctx context.Context, hash string) ([]apikey.Key, error) {
	keys, err := s.keysByHash(ctx, hash)
	if err != nil || len(keys) > 0 {
		return keys, err
	}
	if of, ok := s.left.find(func(of leftover) bool { return of.hash == hash && hash != "" }); ok {
		return s.leftSuccessor(ctx, of)
	}
	if r := s.settler.due(false); r != nil && s.settler.wait(ctx, r, patience) {
		return s.keysByHash(ctx, hash)
	}
	return nil, nil
}

// leftSuccessor returns a successor that this process could not insert, as the primary has it now. Another process may have inserted and
// changed it since, so the inserted one is read last, and wins.
func (s *Store) leftSuccessor(ctx context.Context, of leftover) (left []apikey.Key, err error) {
	_, err = find{filter: of.filter, fields: []string{"successor"}}.each(ctx, s.primaryKeys(), func(doc bson.Raw, _ int) {
		_, successor := document.PendingEvents(doc)
		if k, ok := document.Key(successor, apikey.AllFields); ok && k.Hash == of.hash {
			left = append(left, k)
		}
	})
	if err != nil {
		return nil, err
	}
	if keys, err := s.keysByHash(ctx, of.hash); err != nil || len(keys) > 0 {
		return keys, err
	}
	return left, nil
}

// keysByHash takes a second document that carries the hash for one that makes the first ambiguous even where it is
// unusable itself, and then there is no such key.
func (s *Store) keysByHash(ctx context.Context, hash string) ([]apikey.Key, error) {
	var keys []apikey.Key
	q := find{filter: bson.D{{Key: "key_hash", Value: is(hash)}}, fields: document.KeyFieldNames(apikey.AllFields), limit: 2}
	n, err := q.each(ctx, s.primary.Collection(document.Keys), func(doc bson.Raw, _ int) {
		if k, ok := document.Key(doc, apikey.AllFields); ok && k.Hash == hash { // a collation may find others equal
			keys = append(keys, k)
		}
	})
	if err != nil || n > len(keys) {
		return nil, err
	}
	return keys, nil
}

// Keys returns the keys with these ids, in no order.
func (s *Store) Keys(ctx context.Context, tenant apikey.InternalID, ids []apikey.ID, fields apikey.Fields) ([]apikey.Key, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	return settling(ctx, s, func() ([]apikey.Key, error) {
		return all(ctx, s.keys, find{filter: keysWithIDs(tenant, ids), fields: document.KeyFieldNames(fields)}, (&document.KeyReader{Fields: fields}).Key)
	})
}

// keysWithIDs selects the keys that document.Key reads with these ids.
func keysWithIDs(tenant apikey.InternalID, ids []apikey.ID) bson.D {
	return bson.D{{Key: "internal_id", Value: is(string(tenant))}, {Key: "$or", Value: bson.A{
		bson.D{{Key: "key_id", Value: among(ids)}},
		bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: documentIDsOf(ids)}}}, {Key: "key_id", Value: notText}},
	}}}
}

// CountKeys counts the keys that name the retriever; those active at activeAt only, unless it is zero.
func (s *Store) CountKeys(ctx context.Context, tenant apikey.InternalID, retriever apikey.RetrieverID, activeAt time.Time) (int, error) {
	return settling(ctx, s, func() (int, error) {
		return count(ctx, s.keys, keysOf(tenant, []apikey.RetrieverID{retriever}, activeAt))
	})
}

// CountUnusable counts the key documents without a usable id or hash, which no list shows. It reads what indexes
// hold of them and no more, and so takes a list that holds a text for a text.
func (s *Store) CountUnusable(ctx context.Context) (int, error) {
	return count(ctx, s.keys, unusableKey)
}

// documentIDsOf are the _ids that document.Key reads as these ids where a key has no other.
func documentIDsOf(ids []apikey.ID) bson.A {
	list := texts(ids)
	for _, id := range ids {
		if o, err := bson.ObjectIDFromHex(string(id)); err == nil && o.Hex() == string(id) {
			list = append(list, o)
		}
	}
	return list
}
