package mongodb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// index is an index that the queries (query.go) need.
type index struct {
	collection string
	keys       bson.D
	unique     bool
}

func up(field string) bson.E   { return bson.E{Key: field, Value: int32(1)} }
func down(field string) bson.E { return bson.E{Key: field, Value: int32(-1)} }

// pendingIndex finds unfinished changes. While it is missing, no read looks for them.
var pendingIndex = index{document.Keys, bson.D{up("pending_events.audit_id"), up("internal_id")}, false}

// indexes is in the order in which serve builds them, the most needed first: for authentication, a retriever's lists, changes,
// unfinished changes, audit events, an organization's lists, commands and usage. All unique indexes except key_hash begin with internal_id, the
// recommended shard key, because a unique index of a sharded collection must begin with the shard key.
var indexes = []index{
	{document.Keys, bson.D{up("key_hash")}, true},
	{document.Namespaces, bson.D{up("internal_id"), up("namespace_id")}, true},
	{document.Namespaces, bson.D{up("internal_id"), up("namespace_name"), up("namespace_id")}, false},
	{document.Retrievers, bson.D{up("internal_id"), up("retriever_id")}, true},
	{document.Retrievers, bson.D{up("internal_id"), up("namespace_id"), up("retriever_name"), up("retriever_id")}, false},
	{document.Keys, keysOfRetriever, false},
	{document.Keys, keysByID, true},
	pendingIndex,
	{document.Events, bson.D{up("internal_id"), up("audit_id")}, true},
	{document.Events, eventIndex("retriever_ids"), false},
	{document.Events, eventIndex("resource_id"), false},
	{document.Events, arrivalOrder, false},
	{document.Keys, keysOfTenant, false},
	{document.Keys, keysByExpiry, false},
	{document.Keys, keysOfCreator, false},
	endIndex,
	{document.Events, eventIndex(), false},
	{document.Events, eventIndex("namespace_id"), false},
	{document.Events, eventIndex("actor_id"), false},
	{document.Events, eventIndex("actor_key_id"), false},
	{document.Namespaces, bson.D{up("organization_name")}, false},
	{document.Namespaces, bson.D{up("namespace_id")}, false},
	{document.Namespaces, bson.D{up("namespace_name")}, false},
	// Last, because a user of an older version has no rights on this collection, and the server then builds no more indexes.
	{document.Usage, usageOfKey, true},
	{document.Usage, bson.D{up("day")}, false},
}

// usageOfKey has the days of a key.
var usageOfKey = bson.D{up("internal_id"), up("key_id"), up("day")}

// eventIndex has the events of a tenant with the same value of a field, newest first.
func eventIndex(fields ...string) bson.D {
	keys := bson.D{up("internal_id")}
	for _, name := range fields {
		keys = append(keys, up(name))
	}
	return append(keys, down("timestamp"), down("audit_id"))
}

// EnsureIndexes builds the missing indexes one after the other, without a time limit. It never drops an index, and
// keeps an existing one with the same fields and no other options. If the documents or the deployment do not allow a
// unique index, it builds a plain one and warns. If the user may not build indexes, it warns and returns: everything
// works without them, but slowly. An error is temporary, such as an outage, and the caller calls again. Meanwhile the
// server continues a build that has begun. The next call waits for that build instead of starting another.
func (s *Store) EnsureIndexes(ctx context.Context) error {
	s.building.Lock()
	defer s.building.Unlock()
	existing := map[string][]existingIndex{}
	var passing error
	for _, ix := range indexes {
		there, listed := existing[ix.collection]
		if !listed {
			var err error
			there, err = s.listIndexes(ctx, ix.collection)
			if hasCode(err, codeUnauthorized) {
				s.logger.Warn("the MongoDB user may not list indexes: none are built", "collection", ix.collection)
				return nil
			}
			if err != nil {
				return err
			}
			existing[ix.collection] = there
			if ix.collection == pendingIndex.collection {
				ours, _ := pendingIndex.among(there)
				s.pending.set(ours.name)
			}
		}
		err := s.ensure(ctx, ix, there)
		switch {
		case err == nil:
		case hasCode(err, codeUnauthorized):
			s.logger.Warn("the MongoDB user may not build indexes: reads are slow without them")
			return nil
		case codes(err) == nil || hasCode(err, outageCodes...):
			return failure(err)
		default: // other indexes may still be possible
			s.logger.Warn("an index cannot be made yet: the server retries", "collection", ix.collection, "fields", ix.String(), "codes", codes(err))
			passing = err
		}
	}
	if passing != nil {
		return apikey.Outage(fmt.Errorf("mongodb: indexes cannot be built yet, codes %v", codes(passing)))
	}
	return nil
}

// ensure builds one index, unless it exists. An error is temporary.
func (s *Store) ensure(ctx context.Context, ix index, existing []existingIndex) error {
	log := s.logger.With("collection", ix.collection, "fields", ix.String())
	ours, others := ix.among(existing)
	if ours.name != "" && !s.begun[ix.id()] { // another process may still be building it: no need to wait
		switch {
		case ix.unique && !ours.unique:
			log.Warn("an index is not unique: when the documents allow it, drop it, and the next start builds a unique one", "name", ours.name)
		case !ix.unique && ours.unique:
			log.Warn("an index is unique and refuses valid documents: drop it, and the next start builds a plain one", "name", ours.name)
		}
		return nil
	}
	for _, other := range others {
		log.Warn("an index has the fields of one that is missing, but the wrong options", "name", other.name,
			"options", strings.Join(other.options, ", "), "do", other.remedy(ix.collection))
		if other.hidden() {
			return nil // once unhidden it is the right one, and the server builds no second one
		}
	}
	name := cmp.Or(ours.name, ix.freeName(existing))
	err := s.create(ctx, log, ix, name)
	if ix.unique && (hasCode(err, neverIndexed...) || hasCode(err, codeInternalError) && s.clash(ctx, ix)) {
		log.Warn("MongoDB refuses a unique index: building a plain one instead", "codes", codes(err))
		ix.unique = false
		err = s.create(ctx, log, ix, name)
	}
	switch {
	case hasCode(err, neverIndexed...):
		log.Warn("MongoDB refuses an index: reads are slow without it", "codes", codes(err))
		return nil
	case err == nil && ix.id() == pendingIndex.id():
		s.pending.set(name)
	case err == nil && ix.id() == endIndex.id():
		s.ending.set(name)
	}
	return err
}

// buildTime is a deadline that the server never sees. The driver sends deadlines of less than 25 days as maxTimeMS,
// after which the server discards a build, and it applies timeoutMS of the URI to calls without a deadline.
const buildTime = 365 * 24 * time.Hour

// create builds an index and waits until it is complete or the context ends. If the server is already building it,
// create waits for that build.
func (s *Store) create(ctx context.Context, log *slog.Logger, ix index, name string) error {
	building, cancel := context.WithTimeout(context.WithoutCancel(ctx), buildTime)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	began := time.Now()
	log.Info("building an index", "unique", ix.unique)
	s.begun[ix.id()] = true
	_, err := s.primary.Collection(ix.collection).Indexes().CreateOne(building, mongo.IndexModel{
		Keys: ix.keys, Options: options.Index().SetName(name).SetUnique(ix.unique),
	})
	if err == nil || codes(err) != nil {
		delete(s.begun, ix.id())
	}
	if err == nil {
		log.Info("built an index", "unique", ix.unique, "took", time.Since(began))
	}
	return err
}

// neverIndexed are the server's codes for documents or a deployment that do not allow the index. All other errors count
// as temporary, because an index that is built plain instead of unique stays plain until somebody drops it.
var neverIndexed = []int{
	59, // CommandNotFound
	67, // CannotCreateIndex: the collection has another shard key, or too many indexes
	72, // InvalidOptions
	85, // IndexOptionsConflict
	86, // IndexKeySpecsConflict
	codeDuplicateKey,
	codeDuplicateKeyOfOld,
	115,   // CommandNotSupported
	166,   // CommandNotSupportedOnView
	171,   // CannotIndexParallelArrays
	197,   // InvalidIndexSpecificationOption
	238,   // NotImplemented
	17280, // KeyTooLong, before 4.4
}

// clash reports whether two documents have the same values in an index's fields. It scans the collection. Only FerretDB
// v1 needs it, which does not say why it refuses an index.
func (s *Store) clash(ctx context.Context, ix index) bool {
	ctx, cancel := bounded(ctx)
	defer cancel()
	var values bson.D
	for i, k := range ix.keys {
		values = append(values, bson.E{Key: fmt.Sprint("v", i), Value: "$" + k.Key})
	}
	cursor, err := s.primary.Collection(ix.collection).Aggregate(ctx, bson.A{
		bson.D{{Key: "$group", Value: bson.D{{Key: "_id", Value: values}, {Key: "n", Value: bson.D{{Key: "$sum", Value: 1}}}}}},
		bson.D{{Key: "$match", Value: bson.D{{Key: "n", Value: bson.D{{Key: "$gt", Value: 1}}}}}},
		bson.D{{Key: "$limit", Value: 1}},
	})
	if err != nil {
		return false
	}
	defer func() { _ = cursor.Close(ctx) }()
	return cursor.Next(ctx)
}

// codes returns the codes of the server's answer, or nil if the error is not the server's answer. The answer's text
// quotes documents and must not be logged.
func codes(err error) []int {
	server, ok := errors.AsType[mongo.ServerError](err)
	if !ok || hasCode(err, 0) { // the driver's code for a broken connection
		return nil
	}
	return server.ErrorCodes()
}

// String returns the fields as JSON.
func (ix index) String() string {
	fields, _ := bson.MarshalExtJSON(ix.keys, false, false) // names and numbers always encode
	return string(fields)
}

func (ix index) id() string { return ix.collection + " " + ix.String() }

// freeName returns the name that MongoDB gives such an index by default, or a longer one if another index has that name.
func (ix index) freeName(existing []existingIndex) string {
	var parts []string
	for _, k := range ix.keys {
		parts = append(parts, fmt.Sprint(k.Key, "_", k.Value))
	}
	name := strings.Join(parts, "_")
	for slices.ContainsFunc(existing, func(e existingIndex) bool { return e.name == name }) {
		name += "_retrieverkeys"
	}
	return name
}

// existingIndex is an index as the server describes it.
type existingIndex struct {
	name    string
	keys    bson.Raw
	unique  bool
	options []string // the options that keep it from answering our queries
}

const hidden = "hidden"

// hidden reports whether the index only needs to be unhidden.
func (e existingIndex) hidden() bool { return slices.Equal(e.options, []string{hidden}) }

// remedy returns what an operator must do about the options.
func (e existingIndex) remedy(collection string) string {
	if e.hidden() {
		return fmt.Sprintf("db.%s.unhideIndex(%q)", collection, e.name)
	}
	return fmt.Sprintf("db.%s.dropIndex(%q), then restart", collection, e.name)
}

// listIndexes returns the indexes of a collection, including those that are being built.
func (s *Store) listIndexes(ctx context.Context, collection string) ([]existingIndex, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	var specs []bson.Raw
	cursor, err := withRetry(ctx, func() (*mongo.Cursor, error) { return s.primary.Collection(collection).Indexes().List(ctx) })
	if err == nil {
		err = cursor.All(ctx, &specs)
	}
	if err != nil {
		return nil, failure(err)
	}
	var collation bson.RawValue // the collection's: its index of _id always has it
	for _, spec := range specs {
		if name, _ := spec.Lookup("name").StringValueOK(); name == "_id_" {
			collation = spec.Lookup("collation")
		}
	}
	if !isSimple(collation) {
		s.collated.Do(func() {
			s.logger.Warn("a collection has a collation, which can treat different ids as equal: copy its documents to a collection without one", "collection", collection)
		})
	}
	existing := make([]existingIndex, len(specs))
	for i, spec := range specs {
		e := &existing[i]
		e.name, _ = spec.Lookup("name").StringValueOK()
		e.keys, _ = spec.Lookup("key").DocumentOK()
		e.unique = isSet(spec.Lookup("unique"))
		for option, is := range map[string]bool{
			"sparse": isSet(spec.Lookup("sparse")), hidden: isSet(spec.Lookup(hidden)),
			"partialFilterExpression": spec.Lookup("partialFilterExpression").Type != 0,
			"expireAfterSeconds":      spec.Lookup("expireAfterSeconds").Type != 0,
			"collation":               !spec.Lookup("collation").Equal(collation) && (!isSimple(collation) || !isSimple(spec.Lookup("collation"))),
		} {
			if is {
				e.options = append(e.options, option)
			}
		}
		slices.Sort(e.options)
	}
	return existing, nil
}

// isSet reads an option that is on or off. Some programs write it as a number.
func isSet(v bson.RawValue) bool {
	on, _ := v.BooleanOK()
	number, _ := v.AsInt64OK()
	return on || number != 0
}

// isSimple reports whether a collation compares byte by byte.
func isSimple(v bson.RawValue) bool {
	doc, ok := v.DocumentOK()
	if !ok {
		return true
	}
	locale, _ := doc.Lookup("locale").StringValueOK()
	return locale == "simple"
}

// among returns the existing index that can serve as this one, if any, and those with the same fields but options that
// prevent it.
func (ix index) among(existing []existingIndex) (ours existingIndex, others []existingIndex) {
	for _, e := range existing {
		switch {
		case !ix.hasFieldsOf(e):
		case len(e.options) > 0:
			others = append(others, e)
		case ours.name == "" || e.unique == ix.unique:
			ours = e
		}
	}
	return ours, others
}

// hasFieldsOf reports whether the existing index has the same fields in the same order.
func (ix index) hasFieldsOf(e existingIndex) bool {
	elements, err := e.keys.Elements()
	if err != nil || len(elements) != len(ix.keys) {
		return false
	}
	for i, e := range elements {
		direction, isNumber := e.Value().AsInt64OK() // some programs write 1 as a double
		if !isNumber || e.Key() != ix.keys[i].Key || int32(direction) != ix.keys[i].Value {
			return false
		}
	}
	return true
}
