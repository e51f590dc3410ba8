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

// A change is one conditional write of one document, which is atomic on every deployment. The document carries the rest
// of the change until it is stored elsewhere: the event in pending_events and, in a rotation, the new key in successor.
// Finishing a change means inserting these by their ids, and then removing them from the document. Any process can
// repeat each step, and finishes what a crash left in the same way: see settle.go.

// CurrentKeys implements apikey.Store.
func (s *Store) CurrentKeys(ctx context.Context, tenant apikey.InternalID, ids ...apikey.ID) ([]apikey.Key, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	keys, finished, err := s.currentKeys(ctx, tenant, ids)
	if err != nil {
		return nil, err
	}
	there := make(map[apikey.ID]bool, len(keys))
	for i := range keys {
		there[keys[i].ID] = true
	}
	missing := slices.DeleteFunc(slices.Clone(ids), func(id apikey.ID) bool { return there[id] })
	if len(missing) == 0 {
		return keys, nil
	}
	// These can be successors that are still in other keys' documents.
	found, err := s.unfinishedKeys(ctx, len(missing), bson.E{Key: "internal_id", Value: is(string(tenant))}, bson.E{Key: "successor.key_id", Value: equal(missing...)})
	if err != nil || len(found) == 0 && !finished {
		return keys, err
	}
	for _, doc := range found {
		s.finishOrRemember(ctx, doc)
	}
	successors, _, err := s.currentKeys(ctx, tenant, missing)
	return append(keys, successors...), err
}

// CurrentKeysWithHashes implements apikey.Store. It looks by equality, as KeysByHash does, and checks the result.
func (s *Store) CurrentKeysWithHashes(ctx context.Context, tenant *apikey.InternalID, hashes []string) ([]apikey.Key, error) {
	if len(hashes) == 0 {
		return nil, nil
	}
	asked := make(map[string]bool, len(hashes))
	for _, hash := range hashes {
		asked[hash] = true
	}
	filter := bson.D{{Key: "key_hash", Value: equal(hashes...)}}
	if tenant != nil {
		filter = keysWithHashes(*tenant, hashes)
	}
	return settling(ctx, s, func() ([]apikey.Key, error) {
		keys, _, err := s.currentKeysIn(ctx, filter)
		return slices.DeleteFunc(keys, func(k apikey.Key) bool { return !asked[k.Hash] }), err
	})
}

// currentKeys reads the keys and finishes their unfinished changes, as far as it can. It reports whether there were any.
func (s *Store) currentKeys(ctx context.Context, tenant apikey.InternalID, ids []apikey.ID) (keys []apikey.Key, finished bool, err error) {
	return s.currentKeysIn(ctx, keysWithIDs(tenant, ids))
}

func (s *Store) currentKeysIn(ctx context.Context, filter bson.D) (keys []apikey.Key, finished bool, err error) {
	var unfinished []bson.Raw
	_, err = find{filter: filter}.each(ctx, s.primaryKeys(), func(doc bson.Raw, _ int) {
		if k, ok := document.Key(doc, apikey.AllFields); ok {
			keys = append(keys, k)
		}
		if events, _ := document.PendingEvents(doc); len(events) > 0 {
			unfinished = append(unfinished, slices.Clone(doc))
		}
	})
	if !s.settler.failing() { // otherwise every change would try in vain; the settler tries anyway
		for _, doc := range unfinished {
			s.finishOrRemember(ctx, doc)
		}
	}
	return keys, len(unfinished) > 0, err
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
		bson.E{Key: "key_hash", Value: c.Key.Hash},
		atRevision(c.Key.Revision),
	)
	switch {
	case c.AnyState:
	case c.ActiveAt.IsZero():
		filter = append(filter, notRevoked...)
	default:
		filter = append(filter, bson.E{Key: "$nor", Value: bson.A{except(active(c.ActiveAt))}})
	}
	set := document.KeyFields(c.Key, c.Fields)
	if c.Successor != nil {
		set = append(set, bson.E{Key: "successor", Value: newKey(*c.Successor)})
	}
	events := make(bson.A, len(c.Events))
	for i, e := range c.Events {
		events[i] = document.FromEvent(e)
	}
	update := bson.D{
		{Key: "$set", Value: set},
		{Key: "$inc", Value: bson.D{{Key: "revision", Value: int64(1)}}},
		{Key: "$push", Value: bson.D{{Key: "pending_events", Value: bson.D{{Key: "$each", Value: events}}}}},
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

// newKey returns the document of a new key. Its _id is its id, so that it cannot be stored twice.
func newKey(k apikey.Key) bson.Raw {
	elements, _ := document.FromKey(k).Elements() // FromKey returns a valid document
	d := make(bson.D, 0, len(elements)+1)
	d = append(d, bson.E{Key: "_id", Value: k.ID})
	for _, e := range elements {
		d = append(d, bson.E{Key: e.Key(), Value: e.Value()})
	}
	doc, _ := bson.Marshal(d) // the values come from BSON
	return doc
}

// atRevision selects a key at that revision.
func atRevision(n int64) bson.E {
	if n == 0 {
		return bson.E{Key: "revision", Value: bson.D{{Key: "$in", Value: bson.A{int64(0), nil}}, notList}}
	}
	return bson.E{Key: "revision", Value: is(n)}
}

// UseKeys implements apikey.Store.
func (s *Store) UseKeys(ctx context.Context, uses []apikey.Use) error {
	models := make([]mongo.WriteModel, len(uses))
	for i, u := range uses {
		recent := bson.E{Key: "last_used_at", Value: not("$gt", date(u.At.Add(-apikey.UseInterval)))}
		models[i] = mongo.NewUpdateOneModel().
			SetFilter(append(keysWithIDs(u.InternalID, []apikey.ID{u.ID}), bson.E{Key: "key_hash", Value: u.Hash}, recent)).
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

// finishTimeout bounds the finishing of one change, which continues after the end of its request.
const finishTimeout = 5 * time.Second

// finishOrRemember finishes a change that is stored, and reports whether it could. The change stands either way: if
// finishing fails, the settler tries again.
func (s *Store) finishOrRemember(ctx context.Context, doc bson.Raw) bool {
	finished, err := s.finishInTime(context.WithoutCancel(ctx), doc)
	if err != nil && s.settler.left() {
		s.logger.WarnContext(ctx, "a key was changed, but its audit event is still in the key's document", "error", err, "cause", errors.Unwrap(err))
	}
	return finished
}

// finishInTime finishes a change, or remembers that it is unfinished.
func (s *Store) finishInTime(ctx context.Context, doc bson.Raw) (finished bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, finishTimeout)
	defer cancel()
	placed, err := s.finish(ctx, doc)
	if err != nil {
		s.left.add(doc, placed)
		return false, err
	}
	s.left.remove(leftoverID(doc))
	return true, nil
}

// finish inserts the successor and the events that a key's document carries, and then removes them from the document.
// It reports whether the successor is inserted, even if it returns an error.
func (s *Store) finish(ctx context.Context, doc bson.Raw) (placed bool, err error) {
	events, successor := document.PendingEvents(doc)
	if len(events) == 0 {
		return true, nil
	}
	ctx, cancel := writing(ctx)
	defer cancel()
	if successor != nil {
		if _, err := s.primaryKeys().InsertOne(ctx, successor); err != nil && !mongo.IsDuplicateKeyError(err) {
			return false, failure(err)
		}
	}
	if err := s.insertEvents(ctx, events); err != nil {
		return true, err
	}
	// If the key has changed since, the newer change carries what is left to do, and its finishing does it.
	k, _ := document.Key(doc, apikey.FieldRevision)
	result, err := s.primaryKeys().UpdateOne(ctx, bson.D{{Key: "_id", Value: doc.Lookup("_id")}, internalID(doc), atRevision(k.Revision)},
		bson.D{{Key: "$unset", Value: bson.D{{Key: "pending_events", Value: ""}, {Key: "successor", Value: ""}}}})
	if err != nil {
		return true, failure(err)
	}
	// Only somebody who can write to the database can have put them there, so an operator must see it.
	if n := document.Foreign(doc); n > 0 && result.ModifiedCount > 0 {
		s.logger.WarnContext(ctx, "a key carried events or keys of another organization: they were dropped", "key", k.ID, "count", n)
	}
	return true, nil
}

// internalID selects by the document's own tenant, by which a sharded collection finds it.
func internalID(doc bson.Raw) bson.E {
	return bson.E{Key: "internal_id", Value: doc.Lookup("internal_id")}
}

func (s *Store) primaryKeys() collection { return s.fresh }
