package mongodb

import (
	"context"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// KeysByHash returns the keys with the hash, two at most, as the primary has them. If there is none, it looks for a
// successor that is still in the other key's document. It does so for a key that is not active too: otherwise the time
// would show that the key exists.
func (s *Store) KeysByHash(ctx context.Context, hash string) ([]apikey.Key, error) {
	keys, err := s.keysByHash(ctx, hash)
	active := func(k apikey.Key) bool { return k.StatusAt(time.Now()) == apikey.Active }
	if err != nil || slices.ContainsFunc(keys, active) {
		return keys, err
	}
	if of, ok := s.left.find(func(of leftover) bool { return of.hash == hash && hash != "" }); ok {
		return s.leftSuccessor(ctx, of)
	}
	if r := s.settler.due(false); r != nil && s.settler.wait(ctx, r, patience) {
		return s.keysByHash(ctx, hash)
	}
	return keys, nil
}

// leftSuccessor returns a successor that this process could not insert, as the primary has it now. Another process can
// have inserted and changed it since, so the inserted key is read last and has precedence.
func (s *Store) leftSuccessor(ctx context.Context, of leftover) (left []apikey.Key, err error) {
	_, err = find{filter: of.filter, fields: []string{"internal_id", "successor"}}.each(ctx, s.primaryKeys(), func(doc bson.Raw, _ int) {
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

// keysByHash returns no key if two documents have the hash, even if one of them is unusable, because the key is then
// ambiguous.
//
// It looks by equality alone, which every server answers by the index of key_hash, and checks the result. MongoDB also
// finds a list that contains the hash, which is not a hash. Such a list could have taken a key's place, so if one is
// found, a second query leaves lists out.
func (s *Store) keysByHash(ctx context.Context, hash string) ([]apikey.Key, error) {
	keys, n, lists, err := s.keysWithHash(ctx, hash, hash)
	if err == nil && lists > 0 {
		keys, n, _, err = s.keysWithHash(ctx, hash, is(hash))
	}
	if err != nil || n > len(keys) {
		return nil, err
	}
	return keys, nil
}

// wholeKey projects all fields of a key. Every request looks for one, so it is encoded once.
var wholeKey = projection(document.KeyFieldNames(apikey.AllFields))

// keysWithHash returns the usable keys with the hash, and the numbers of documents and of lists found, two at most.
func (s *Store) keysWithHash(ctx context.Context, hash string, condition any) (keys []apikey.Key, n, lists int, err error) {
	q := find{filter: bson.D{{Key: "key_hash", Value: condition}}, whole: wholeKey, limit: 2}
	n, err = q.each(ctx, s.primaryKeys(), func(doc bson.Raw, _ int) {
		if doc.Lookup("key_hash").Type == bson.TypeArray {
			lists++
		}
		if k, ok := document.Key(doc, apikey.AllFields); ok && k.Hash == hash { // a collation can match others
			keys = append(keys, k)
		}
	})
	return keys, n, lists, err
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

// KeysWithHashes returns the tenant's keys with these hashes, in no order, and none for a hash that several of its
// documents have, even if one of them is unusable. It looks by equality, as KeysByHash does, and checks the result: lists
// that contain a hash are found too.
func (s *Store) KeysWithHashes(ctx context.Context, tenant apikey.InternalID, hashes []string, fields apikey.Fields) ([]apikey.Key, error) {
	if len(hashes) == 0 {
		return nil, nil
	}
	return settling(ctx, s, func() (keys []apikey.Key, err error) {
		documents := make(map[string]int, len(hashes)) // how many have each hash
		for _, hash := range hashes {
			documents[hash] = 0
		}
		reader := document.KeyReader{Fields: fields}
		_, err = find{filter: keysWithHashes(tenant, hashes), fields: document.KeyFieldNames(fields)}.each(ctx, s.keys, func(doc bson.Raw, _ int) {
			k, usable := reader.Key(doc)
			n, asked := documents[k.Hash]
			if !asked || k.Hash == "" {
				return
			}
			documents[k.Hash] = n + 1
			if usable {
				keys = append(keys, k)
			}
		})
		return slices.DeleteFunc(keys, func(k apikey.Key) bool { return documents[k.Hash] > 1 }), err
	})
}

func keysWithHashes(tenant apikey.InternalID, hashes []string) bson.D {
	return bson.D{{Key: "key_hash", Value: equal(hashes...)}, {Key: "internal_id", Value: is(string(tenant))}}
}

// KeysWithID returns the keys of all tenants with one of these ids, in no order. The index orders ids within a tenant, so
// this first reads the tenants and then looks up the ids in each.
func (s *Store) KeysWithID(ctx context.Context, ids ...apikey.ID) ([]apikey.Key, error) {
	ids = slices.DeleteFunc(slices.Clone(ids), func(id apikey.ID) bool { return id == "" })
	if len(ids) == 0 {
		return nil, nil
	}
	c := s.primary.Collection(document.Keys)
	return settling(ctx, s, func() ([]apikey.Key, error) {
		tenants, err := tenantsIn(ctx, c)
		if err != nil {
			return nil, err
		}
		var keys []apikey.Key
		for chunk := range slices.Chunk(tenants, max(1, 1000/len(ids))) {
			more, err := all(ctx, c, find{filter: keysOfAny(chunk, ids), fields: document.KeyFieldNames(apikey.AllFields)},
				(&document.KeyReader{Fields: apikey.AllFields}).Key)
			if err != nil {
				return nil, err
			}
			keys = append(keys, more...)
		}
		return keys, nil
	})
}

// KeysWithPrefix returns the keys of all tenants that are stored with one of these prefixes, in no order.
func (s *Store) KeysWithPrefix(ctx context.Context, prefixes []string) ([]apikey.Key, error) {
	c := s.primary.Collection(document.Keys)
	return settling(ctx, s, func() ([]apikey.Key, error) {
		return all(ctx, c, find{filter: bson.D{{Key: "key_prefix", Value: among(prefixes)}}, fields: document.KeyFieldNames(apikey.AllFields)},
			(&document.KeyReader{Fields: apikey.AllFields}).Key)
	})
}

// keysWithIDs selects the tenant's keys that document.Key reads with these ids.
func keysWithIDs(tenant apikey.InternalID, ids []apikey.ID) bson.D {
	return keysOfAny([]string{string(tenant)}, ids)
}

// keysOfAny is keysWithIDs for several tenants. Each branch of $or requires the tenant and the id by equality, so it is
// one entry of internal_id, key_id or of _id, and no server has a reason to read a tenant's keys by another index. The
// condition next to $or checks the result, and finds the shard of a sharded collection.
func keysOfAny(tenants []string, ids []apikey.ID) bson.D {
	ofTenant := bson.E{Key: "internal_id", Value: equal(tenants...)}
	ofTenants := bson.E{Key: "internal_id", Value: among(tenants)}
	if len(tenants) == 1 {
		ofTenants.Value = is(tenants[0])
	}
	return bson.D{ofTenants, {Key: "$or", Value: bson.A{
		bson.D{ofTenant, {Key: "key_id", Value: bson.D{{Key: "$in", Value: texts(ids)}}}},
		bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: documentIDsOf(ids)}}}, ofTenant, {Key: "key_id", Value: notText}},
	}}, {Key: "key_id", Value: bson.D{notList}}}
}

// CountUnusable counts the key documents that no list shows. It reads only indexes, so it counts a list that contains a
// text as a text. The index of key_id begins with the tenant, so it first reads the tenants.
func (s *Store) CountUnusable(ctx context.Context) (u document.Unusable, err error) {
	if u.NoHash, err = count(ctx, s.keys, bson.D{{Key: "key_hash", Value: notText}}); err != nil {
		return u, err
	}
	tenants, err := tenantsIn(ctx, s.keys)
	if err != nil {
		return u, err
	}
	groups := bson.A{notText} // keys without a tenant
	for chunk := range slices.Chunk(tenants, 1000) {
		groups = append(groups, among(chunk))
	}
	for _, tenant := range groups {
		n, err := count(ctx, s.keys, bson.D{{Key: "internal_id", Value: tenant}, {Key: "key_id", Value: notText}, {Key: "key_hash", Value: bson.D{{Key: "$gt", Value: ""}}}})
		if err != nil {
			return u, err
		}
		u.NoID += n
	}
	return u, nil
}

// documentIDsOf returns the _ids that document.Key reads as these ids if a key has no key_id.
func documentIDsOf(ids []apikey.ID) bson.A {
	list := texts(ids)
	for _, id := range ids {
		if o, err := bson.ObjectIDFromHex(string(id)); err == nil && o.Hex() == string(id) {
			list = append(list, o)
		}
	}
	return list
}
