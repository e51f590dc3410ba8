package mongodb

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// endIndex is the order of the keys of all tenants that expire. Without it, none are looked for, because that would scan all keys.
var endIndex = index{document.Keys, bson.D{up("expires_at"), up("key_id"), up("internal_id")}, false}

var errNoEndIndex = errors.New("mongodb: the index that orders all keys by expiry is missing")

// ExpiringKeys implements apikey.Store.
func (s *Store) ExpiringKeys(ctx context.Context, after apikey.ExpiryPosition, before time.Time, limit int) ([]apikey.Key, error) {
	name, err := s.lookFor(ctx, &s.ending, endIndex)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, apikey.Outage(errNoEndIndex)
	}
	// With the hint, the server refuses the query while the index is still being built.
	q := find{
		filter: expiringKeys(after, before), sort: endIndex.keys, limit: limit, fields: document.KeyFieldNames(apikey.NoticeFields), hint: name,
	}
	keys, err := all(ctx, s.primaryKeys(), q, (&document.KeyReader{Fields: apikey.NoticeFields}).Listed)
	if hasCode(err, codeBadValue) {
		s.ending.set("")
		return nil, apikey.Outage(errNoEndIndex)
	}
	return keys, err
}

// expiringKeys selects the keys of all tenants that expire after a place and before an instant.
func expiringKeys(after apikey.ExpiryPosition, before time.Time) bson.D {
	first := firstDate(after.At)
	passed := func(more ...bson.E) bson.D { return append(bson.D{{Key: "expires_at", Value: first}}, more...) }
	return bson.D{
		{Key: "expires_at", Value: bson.D{{Key: "$gte", Value: first}, {Key: "$lt", Value: firstDate(before)}, notList}},
		{Key: "key_id", Value: someText},
		{Key: "internal_id", Value: someText},
		{Key: "$nor", Value: bson.A{
			passed(bson.E{Key: "key_id", Value: bson.D{{Key: "$lt", Value: string(after.ID)}}}),
			passed(bson.E{Key: "key_id", Value: string(after.ID)}, bson.E{Key: "internal_id", Value: bson.D{{Key: "$lte", Value: string(after.Tenant)}}}),
		}},
	}
}

// StoredEvents implements apikey.Store. An event that this server stores has its id as _id.
func (s *Store) StoredEvents(ctx context.Context, events []apikey.EventRef) ([]apikey.EventRef, error) {
	tenants := make(map[apikey.EventID]apikey.InternalID, len(events))
	ids := make([]apikey.EventID, len(events))
	for i, e := range events {
		ids[i], tenants[e.ID] = e.ID, e.Tenant
	}
	q := find{filter: bson.D{{Key: "_id", Value: equal(ids...)}}, fields: []string{"internal_id"}}
	return all(ctx, s.events, q, func(doc bson.Raw) (apikey.EventRef, bool) {
		id, _ := doc.Lookup("_id").StringValueOK()
		tenant, _ := doc.Lookup("internal_id").StringValueOK()
		ref := apikey.EventRef{Tenant: apikey.InternalID(tenant), ID: apikey.EventID(id)}
		return ref, tenants[ref.ID] == ref.Tenant
	})
}
