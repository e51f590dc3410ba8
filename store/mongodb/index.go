package mongodb

import (
	"context"
	"errors"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"retrieverkeys/store/document"
)

type index struct {
	collection string
	keys       bson.D
	unique     bool
}

func up(field string) bson.E   { return bson.E{Key: field, Value: int32(1)} }
func down(field string) bson.E { return bson.E{Key: field, Value: int32(-1)} }

// indexes are what the queries (query.go) need. Unique ones but that of key_hash begin with internal_id, the recommended
// shard key: a unique index of a sharded collection must begin with the shard key.
var indexes = []index{
	{document.Keys, bson.D{up("key_hash")}, true},
	{document.Keys, bson.D{up("internal_id"), up("key_id")}, true},
	{document.Keys, bson.D{up("internal_id"), up("scopes.resource_id"), down("created_at"), down("key_id")}, false},
	{document.Keys, bson.D{up("pending_events.audit_id"), up("internal_id")}, false},
	{document.Events, bson.D{up("internal_id"), up("audit_id")}, true},
	{document.Events, bson.D{up("internal_id"), up("retriever_ids"), down("timestamp"), down("audit_id")}, false},
	{document.Events, bson.D{up("internal_id"), up("retriever_ids"), up("resource_id"), down("timestamp"), down("audit_id")}, false},
	{document.Namespaces, bson.D{up("internal_id"), up("namespace_id")}, true},
	{document.Namespaces, bson.D{up("internal_id"), up("namespace_name"), up("namespace_id")}, false},
	{document.Namespaces, bson.D{up("organization_name")}, false},
	{document.Namespaces, bson.D{up("namespace_id")}, false},
	{document.Namespaces, bson.D{up("namespace_name")}, false},
	{document.Retrievers, bson.D{up("internal_id"), up("retriever_id")}, true},
	{document.Retrievers, bson.D{up("internal_id"), up("namespace_id"), up("retriever_name"), up("retriever_id")}, false},
}

// EnsureIndexes makes the indexes that are missing. It drops none, and takes any with the same fields for what it
// would make. Where the documents or the deployment do not allow a unique one it makes a plain one and warns, and
// where it may make none at all it warns and leaves it: everything works then, if slowly. The error is an outage,
// after which to call it again.
func (s *Store) EnsureIndexes(ctx context.Context) error {
	existing := map[string][]mongo.IndexSpecification{}
	for _, ix := range indexes {
		fields, _ := bson.MarshalExtJSON(ix.keys, false, false) // of names and numbers
		log := s.logger.With("collection", ix.collection, "fields", string(fields))
		if _, listed := existing[ix.collection]; !listed {
			specs, err := s.primary.Collection(ix.collection).Indexes().ListSpecifications(ctx)
			if hasCode(err, codeUnauthorized) {
				s.logger.Warn("this MongoDB user may not list indexes: none is made", "collection", ix.collection)
				return nil
			}
			if err != nil {
				return failure(err)
			}
			existing[ix.collection] = specs
		}
		if i := slices.IndexFunc(existing[ix.collection], ix.is); i >= 0 {
			if unique := existing[ix.collection][i].Unique; ix.unique && (unique == nil || !*unique) {
				log.Warn("an index is not unique: once the documents allow it, drop it, and the next start makes a unique one")
			}
			continue
		}
		err := s.create(ctx, ix)
		if ix.unique && refused(err) {
			log.Warn("MongoDB refuses a unique index: a plain one is made instead", "codes", codes(err))
			ix.unique = false
			err = s.create(ctx, ix)
		}
		switch {
		case err == nil:
			log.Info("an index was made", "unique", ix.unique)
		case hasCode(err, codeUnauthorized):
			log.Warn("this MongoDB user may not make indexes: without them reading is slow")
			return nil
		case refused(err):
			log.Warn("MongoDB refuses an index: without it reading is slow", "codes", codes(err))
		default:
			return failure(err)
		}
	}
	return nil
}

func (s *Store) create(ctx context.Context, ix index) error {
	_, err := s.primary.Collection(ix.collection).Indexes().CreateOne(ctx, mongo.IndexModel{
		Keys: ix.keys, Options: options.Index().SetUnique(ix.unique),
	})
	return err
}

// codes are the server's reasons. Its words, which quote documents, are for no log.
func codes(err error) []int {
	if server, ok := errors.AsType[mongo.ServerError](err); ok {
		return server.ErrorCodes()
	}
	return nil
}

// refused reports whether the server has an objection to the index itself: duplicates, a sharded collection, lists
// in two fields, one too many. It has a code for each, and would object again.
func refused(err error) bool {
	return err != nil && isA[mongo.ServerError](err) && !isOutage(err)
}

// is reports whether the existing index has the same fields in the same order.
func (ix index) is(spec mongo.IndexSpecification) bool {
	elements, err := spec.KeysDocument.Elements()
	if err != nil || len(elements) != len(ix.keys) {
		return false
	}
	for i, e := range elements {
		direction, isNumber := e.Value().AsInt64OK() // other programs write 1 as a double
		if !isNumber || e.Key() != ix.keys[i].Key || int32(direction) != ix.keys[i].Value {
			return false
		}
	}
	return true
}
