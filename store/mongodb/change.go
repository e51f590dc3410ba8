package mongodb

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// A change is one conditional write of one document, which every deployment makes atomically. The document carries what
// else belongs to the change until it is where it belongs: its event in pending_events, and when it is rotated the key
// that takes its place in successor. To finish a change is to insert these by their ids, and then to take them out of
// the document. Each of these steps can be repeated, by whomever, and what a crash leaves is finished the same way.

// CurrentKeys implements apikey.Store.
func (s *Store) CurrentKeys(ctx context.Context, tenant apikey.InternalID, id apikey.ID) ([]apikey.Key, error) {
	keys, err := settling(ctx, s, func() ([]apikey.Key, error) { return s.currentKeys(ctx, tenant, id) })
	if err != nil || len(keys) > 0 {
		return keys, err
	}
	// It may be a successor that is still in the other key's document.
	if s.settle(ctx) {
		return s.currentKeys(ctx, tenant, id)
	}
	return nil, nil
}

func (s *Store) currentKeys(ctx context.Context, tenant apikey.InternalID, id apikey.ID) (keys []apikey.Key, err error) {
	var unfinished []bson.Raw
	_, err = find{filter: keysWithIDs(tenant, []apikey.ID{id})}.each(ctx, s.primaryKeys(), func(doc bson.Raw, _ int) {
		if k, ok := document.Key(doc, apikey.AllFields); ok {
			keys = append(keys, k)
		}
		if events, _ := document.PendingEvents(doc); len(events) > 0 {
			unfinished = append(unfinished, slices.Clone(doc))
		}
	})
	for _, doc := range unfinished {
		s.finishOrRemember(ctx, doc)
	}
	return keys, err
}

// InsertKey implements apikey.Store.
func (s *Store) InsertKey(ctx context.Context, k apikey.Key, e apikey.Event) error {
	doc, err := document.Carrying(newKey(k), e)
	if err != nil {
		return err
	}
	ctx, cancel := writing(ctx)
	defer cancel()
	if _, err := s.primaryKeys().InsertOne(ctx, doc); err != nil {
		return failure(err)
	}
	s.finishOrRemember(ctx, doc)
	return nil
}

// ChangeKey implements apikey.Store.
func (s *Store) ChangeKey(ctx context.Context, c apikey.Change) (bool, error) {
	filter := append(keysWithIDs(c.Key.InternalID, []apikey.ID{c.Key.ID}),
		bson.E{Key: "key_hash", Value: is(c.Key.Hash)},
		atRevision(c.Key.Revision),
	)
	if c.ActiveAt.IsZero() {
		filter = append(filter, notRevoked...)
	} else {
		filter = append(filter, bson.E{Key: "$and", Value: bson.A{active(c.ActiveAt)}})
	}
	set := document.KeyFields(c.Key, c.Fields)
	if c.Successor != nil {
		set = append(set, bson.E{Key: "successor", Value: newKey(*c.Successor)})
	}
	update := bson.D{
		{Key: "$set", Value: set},
		{Key: "$inc", Value: bson.D{{Key: "revision", Value: int64(1)}}},
		{Key: "$push", Value: bson.D{{Key: "pending_events", Value: document.FromEvent(c.Event)}}},
	}
	ctx, cancel := writing(ctx)
	defer cancel()
	changed, err := s.primaryKeys().FindOneAndUpdate(ctx, filter, update, options.FindOneAndUpdate().SetReturnDocument(options.After)).Raw()
	switch {
	case errors.Is(err, mongo.ErrNoDocuments):
		return false, nil
	case err != nil:
		return false, failure(err)
	}
	s.finishOrRemember(ctx, changed)
	return true, nil
}

// newKey is the document of a new key. Its _id is its id, so that it is never stored twice.
func newKey(k apikey.Key) bson.Raw {
	elements, _ := document.FromKey(k).Elements() // of a document that was just made
	d := make(bson.D, 0, len(elements)+1)
	d = append(d, bson.E{Key: "_id", Value: k.ID})
	for _, e := range elements {
		d = append(d, bson.E{Key: e.Key(), Value: e.Value()})
	}
	doc, _ := bson.Marshal(d) // of values that came from BSON
	return doc
}

// atRevision selects a key that was changed so many times.
func atRevision(n int64) bson.E {
	if n == 0 {
		return bson.E{Key: "revision", Value: bson.D{{Key: "$in", Value: bson.A{int64(0), nil}}, notList}}
	}
	return bson.E{Key: "revision", Value: is(n)}
}

// notRevoked selects keys that document.Key does not read as revoked.
var notRevoked = bson.D{
	{Key: "revoked_at", Value: is(nil)},
	{Key: "status", Value: bson.D{{Key: "$in", Value: bson.A{string(apikey.Active), string(apikey.Expired), nil}}, notList}},
}

// UseKeys implements apikey.Store.
func (s *Store) UseKeys(ctx context.Context, uses []apikey.Use) error {
	models := make([]mongo.WriteModel, len(uses))
	for i, u := range uses {
		recent := bson.E{Key: "last_used_at", Value: not("$gt", date(u.At.Add(-apikey.UseInterval)))}
		models[i] = mongo.NewUpdateOneModel().
			SetFilter(append(keysWithIDs(u.InternalID, []apikey.ID{u.ID}), bson.E{Key: "key_hash", Value: is(u.Hash)}, recent)).
			SetUpdate(bson.D{{Key: "$max", Value: bson.D{{Key: "last_used_at", Value: date(u.At)}}}})
	}
	if len(models) == 0 {
		return nil
	}
	ctx, cancel := writing(ctx)
	defer cancel()
	_, err := s.primaryKeys().BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	return failure(err)
}

// finishTimeout bounds the finishing of one change, which goes on when the request that made it has ended.
const finishTimeout = 5 * time.Second

// finishOrRemember finishes a change that is made. It stands whether or not that succeeds; where it does not, the next
// read tries again.
func (s *Store) finishOrRemember(ctx context.Context, doc bson.Raw) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	if err := s.finish(ctx, doc); err != nil {
		s.unfinished.Store(true)
		s.logger.WarnContext(ctx, "a change of a key is made, but its audit event is still in the key's document", "error", err, "cause", errors.Unwrap(err))
	}
}

// finish puts where they belong the successor and the events that the document of a key carries.
func (s *Store) finish(ctx context.Context, doc bson.Raw) error {
	events, successor := document.PendingEvents(doc)
	if len(events) == 0 {
		return nil
	}
	ctx, cancel := writing(ctx)
	defer cancel()
	if successor != nil {
		if _, err := s.primaryKeys().InsertOne(ctx, successor); err != nil && !mongo.IsDuplicateKeyError(err) {
			return failure(err)
		}
	}
	if err := s.insertEvents(ctx, events); err != nil {
		return err
	}
	// Who has changed the key since carries what is left to do, and finishes it.
	k, _ := document.Key(doc, apikey.FieldRevision)
	_, err := s.primaryKeys().UpdateOne(ctx, bson.D{{Key: "_id", Value: doc.Lookup("_id")}, internalID(doc), atRevision(k.Revision)},
		bson.D{{Key: "$unset", Value: bson.D{{Key: "pending_events", Value: ""}, {Key: "successor", Value: ""}}}})
	return failure(err)
}

// internalID selects by the document's own tenant, which is what a sharded collection is found by.
func internalID(doc bson.Raw) bson.E {
	return bson.E{Key: "internal_id", Value: doc.Lookup("internal_id")}
}

// finishBatch is how many unfinished changes are read at a time.
const finishBatch = 100

// FinishAll finishes all changes that some process was stopped in the midst of, and reports whether there were any.
func (s *Store) FinishAll(ctx context.Context) (some bool, err error) {
	for {
		found, err := s.unfinishedKeys(ctx, "", finishBatch)
		for _, doc := range found {
			if err == nil {
				err, some = s.finish(ctx, doc), true
			}
		}
		if err != nil || len(found) < finishBatch {
			return some, err
		}
	}
}

// unfinishedKeys returns documents of keys with pending events: of the tenant, or, where it is empty, of all.
func (s *Store) unfinishedKeys(ctx context.Context, tenant apikey.InternalID, limit int) ([]bson.Raw, error) {
	filter := bson.D{{Key: "pending_events.audit_id", Value: bson.D{{Key: "$gt", Value: ""}}}}
	if tenant != "" {
		filter = append(filter, bson.E{Key: "internal_id", Value: is(string(tenant))})
	}
	var found []bson.Raw
	_, err := find{filter: filter, fields: []string{"internal_id", "revision", "pending_events", "successor"}, limit: limit}.
		each(ctx, s.primaryKeys(), func(doc bson.Raw, _ int) {
			if events, _ := document.PendingEvents(doc); len(events) > 0 {
				found = append(found, slices.Clone(doc))
			}
		})
	return found, err
}

// recheckAfter is how long a read relies on there being nothing unfinished.
const recheckAfter = time.Second

// settling reads keys, and side by side with that looks for what was left unfinished: at once for what this process could
// not finish itself, now and then for what other processes left. If there was any, it reads again. What hinders the
// finishing does not hinder the reading.
func settling[T any](ctx context.Context, s *Store, read func() (T, error)) (T, error) {
	if !s.settleNow() {
		return read()
	}
	finished := make(chan bool, 1)
	go func() { finished <- s.settle(ctx) }()
	v, err := read()
	if <-finished {
		return read()
	}
	return v, err
}

// settleNow reports whether it is time to look for what is unfinished. Of readers side by side one looks.
func (s *Store) settleNow() bool {
	now, last := time.Now(), s.settled.Load()
	due := now.Sub(time.Unix(0, last)) >= s.recheck
	return s.unfinished.CompareAndSwap(true, false) || due && s.settled.CompareAndSwap(last, now.UnixNano())
}

// settle finishes what is unfinished, and reports whether there was anything.
func (s *Store) settle(ctx context.Context) (some bool) {
	some, err := s.FinishAll(ctx)
	if err != nil {
		s.unfinished.Store(true)
		s.logger.WarnContext(ctx, "changes of keys are not finished", "error", err, "cause", errors.Unwrap(err))
	}
	return some
}

func (s *Store) primaryKeys() collection { return s.primary.Collection(document.Keys) }
