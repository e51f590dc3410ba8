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

// index is one that the queries (query.go) need.
type index struct {
	collection string
	keys       bson.D
	unique     bool
}

func up(field string) bson.E   { return bson.E{Key: field, Value: int32(1)} }
func down(field string) bson.E { return bson.E{Key: field, Value: int32(-1)} }

// pendingIndex finds unfinished changes. While it is missing, no read looks for them.
var pendingIndex = index{document.Keys, bson.D{up("pending_events.audit_id"), up("internal_id")}, false}

// indexes are listed in the order in which serve makes them, the most needed first: for authentication, lists, changes, unfinished changes,
// audit events and commands. All unique indexes except key_hash begin with internal_id, the recommended shard key, because a
// unique index of a sharded collection must begin with the shard key.
var indexes = []index{
	{document.Keys, bson.D{up("key_hash")}, true},
	{document.Namespaces, bson.D{up("internal_id"), up("namespace_id")}, true},
	{document.Namespaces, bson.D{up("internal_id"), up("namespace_name"), up("namespace_id")}, false},
	{document.Retrievers, bson.D{up("internal_id"), up("retriever_id")}, true},
	{document.Retrievers, bson.D{up("internal_id"), up("namespace_id"), up("retriever_name"), up("retriever_id")}, false},
	{document.Keys, bson.D{up("internal_id"), up("scopes.resource_id"), down("created_at"), down("key_id")}, false},
	{document.Keys, bson.D{up("internal_id"), up("key_id")}, true},
	pendingIndex,
	{document.Events, bson.D{up("internal_id"), up("audit_id")}, true},
	{document.Events, bson.D{up("internal_id"), up("retriever_ids"), down("timestamp"), down("audit_id")}, false},
	{document.Events, bson.D{up("internal_id"), up("retriever_ids"), up("resource_id"), down("timestamp"), down("audit_id")}, false},
	{document.Namespaces, bson.D{up("organization_name")}, false},
	{document.Namespaces, bson.D{up("namespace_id")}, false},
	{document.Namespaces, bson.D{up("namespace_name")}, false},
}

// EnsureIndexes makes the missing indexes one after the other, however long that takes. It never drops an index, and keeps an existing one
// that has the same fields and no other options. If the documents or the deployment do not allow a unique index, it makes a plain one
// and warns. If it may not make an index at all, it warns and goes on: everything works without, but slowly. An error is temporary,
// such as an outage, and the caller calls again. A build that was begun goes on on the server meanwhile, and the next call waits
// for it instead of starting it again.
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
				s.logger.Warn("this MongoDB user may not list indexes: none is made", "collection", ix.collection)
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
			s.logger.Warn("this MongoDB user may not make indexes: without them reading is slow")
			return nil
		case codes(err) == nil || hasCode(err, outageCodes...):
			return failure(err)
		default: // other indexes may be possible all the same
			s.logger.Warn("an index cannot be made yet: it is tried again", "collection", ix.collection, "fields", ix.String(), "codes", codes(err))
			passing = err
		}
	}
	if passing != nil {
		return apikey.Outage(fmt.Errorf("mongodb: indexes cannot be made yet, codes %v", codes(passing)))
	}
	return nil
}

// ensure makes one index, unless it exists. An error is temporary.
func (s *Store) ensure(ctx context.Context, ix index, existing []existingIndex) error {
	log := s.logger.With("collection", ix.collection, "fields", ix.String())
	ours, others := ix.among(existing)
	if ours.name != "" && !s.begun[ix.id()] { // another process may still be building it, which need not be waited for
		switch {
		case ix.unique && !ours.unique:
			log.Warn("an index is not unique: once the documents allow it, drop it, and the next start makes a unique one", "name", ours.name)
		case !ix.unique && ours.unique:
			log.Warn("an index is unique and refuses documents that are right: drop it, and the next start makes a plain one", "name", ours.name)
		}
		return nil
	}
	for _, other := range others {
		log.Warn("an index has the fields of one that is missing, but its options make it useless for that", "name", other.name,
			"options", strings.Join(other.options, ", "), "do", other.remedy(ix.collection))
		if other.hidden() {
			return nil // once it is unhidden it is the right one, and the server makes no second one
		}
	}
	name := cmp.Or(ours.name, ix.freeName(existing))
	err := s.create(ctx, log, ix, name)
	if ix.unique && (hasCode(err, neverIndexed...) || hasCode(err, codeInternalError) && s.clash(ctx, ix)) {
		log.Warn("MongoDB refuses a unique index: a plain one is made instead", "codes", codes(err))
		ix.unique = false
		err = s.create(ctx, log, ix, name)
	}
	switch {
	case hasCode(err, neverIndexed...):
		log.Warn("MongoDB refuses an index: without it reading is slow", "codes", codes(err))
		return nil
	case err == nil && ix.id() == pendingIndex.id():
		s.pending.set(name)
	}
	return err
}

// buildTime is a deadline that the server never learns of. The driver sends deadlines of less than 25 days as maxTimeMS, at which the
// server throws a build away, and it applies timeoutMS of the URI to calls without a deadline.
const buildTime = 365 * 24 * time.Hour

// create makes an index and waits until it is there or the context ends. If the server is already building it, create waits for that build.
func (s *Store) create(ctx context.Context, log *slog.Logger, ix index, name string) error {
	building, cancel := context.WithTimeout(context.WithoutCancel(ctx), buildTime)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	began := time.Now()
	log.Info("an index is being made", "unique", ix.unique)
	s.begun[ix.id()] = true
	_, err := s.primary.Collection(ix.collection).Indexes().CreateOne(building, mongo.IndexModel{
		Keys: ix.keys, Options: options.Index().SetName(name).SetUnique(ix.unique),
	})
	if err == nil || codes(err) != nil {
		delete(s.begun, ix.id())
	}
	if err == nil {
		log.Info("an index was made", "unique", ix.unique, "took", time.Since(began))
	}
	return err
}

// neverIndexed are the codes that say that these documents or this deployment do not allow the index. All other errors are taken to be
// temporary, because an index that is made plain instead of unique stays plain until somebody drops it.
var neverIndexed = []int{
	59, // CommandNotFound
	67, // CannotCreateIndex: of a sharded collection that is sharded by something else, or one too many
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

// clash reports whether two documents have the same values in the fields of an index. It scans the collection, and is needed only for servers
// that do not say why they refuse an index: FerretDB v1.
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

// codes returns the codes of the server's answer, nil if the error is not the server's answer. Its text quotes documents and must not be
// logged.
func codes(err error) []int {
	server, ok := errors.AsType[mongo.ServerError](err)
	if !ok || hasCode(err, 0) { // the driver's code for a broken connection
		return nil
	}
	return server.ErrorCodes()
}

// String shows the fields.
func (ix index) String() string {
	fields, _ := bson.MarshalExtJSON(ix.keys, false, false) // of names and numbers
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

// hidden reports whether unhiding the index is all that it takes.
func (e existingIndex) hidden() bool { return slices.Equal(e.options, []string{hidden}) }

// remedy returns what an operator does about the options.
func (e existingIndex) remedy(collection string) string {
	if e.hidden() {
		return fmt.Sprintf("db.%s.unhideIndex(%q)", collection, e.name)
	}
	return fmt.Sprintf("db.%s.dropIndex(%q), and start again", collection, e.name)
}

// listIndexes returns the indexes of a collection, including those that are being built.
func (s *Store) listIndexes(ctx context.Context, collection string) ([]existingIndex, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	var specs []bson.Raw
	cursor, err := again(ctx, func() (*mongo.Cursor, error) { return s.primary.Collection(collection).Indexes().List(ctx) })
	if err == nil {
		err = cursor.All(ctx, &specs)
	}
	if err != nil {
		return nil, failure(err)
	}
	var collation bson.RawValue // of the collection; its index of _id always has it
	for _, spec := range specs {
		if name, _ := spec.Lookup("name").StringValueOK(); name == "_id_" {
			collation = spec.Lookup("collation")
		}
	}
	if !isSimple(collation) {
		s.collated.Do(func() {
			s.logger.Warn("a collection has a collation, which may take different ids for the same: copy the collection into one without", "collection", collection)
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

// isSet reads an option that is on or off. Other programs write it as a number.
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

// among returns the existing index that serves as this one, if any, and those that have its fields but options that prevent it.
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
		direction, isNumber := e.Value().AsInt64OK() // other programs write 1 as a double
		if !isNumber || e.Key() != ix.keys[i].Key || int32(direction) != ix.keys[i].Value {
			return false
		}
	}
	return true
}
