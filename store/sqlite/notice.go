package sqlite

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
)

// ExpiringKeys implements apikey.Store.
func (s *Store) ExpiringKeys(ctx context.Context, after apikey.ExpiryPosition, before time.Time, limit int) ([]apikey.Key, error) {
	return query(ctx, s, expiringKeys, nil, key(apikey.NoticeFields), milliseconds(after.At), after.ID, after.Tenant, milliseconds(before), limit)
}

// StoredEvents implements apikey.Store.
func (s *Store) StoredEvents(ctx context.Context, events []apikey.EventRef) (stored []apikey.EventRef, err error) {
	for _, e := range events {
		stored, err = query(ctx, s, eventStored, stored, func(bson.Raw) (apikey.EventRef, bool) { return e, true }, e.Tenant, e.ID)
		if err != nil {
			return nil, err
		}
	}
	return stored, nil
}
