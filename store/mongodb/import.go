package mongodb

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// idFields are the names of the ids in the collections that an import writes.
var idFields = map[string]string{document.Namespaces: "namespace_id", document.Retrievers: "retriever_id", document.Keys: "key_id"}

// Import implements store.Engine. It cannot use a transaction, which not every deployment has. So it checks before it
// writes, and stores namespaces before the documents that refer to them. If an outage interrupts it, a second run
// completes it. Each command checks or inserts one part of the source.
func (s *Store) Import(ctx context.Context, from document.Source, o document.ImportOptions) (document.Imported, error) {
	if o.OnlyIfEmpty {
		for _, name := range []string{document.Namespaces, document.Retrievers, document.Keys, document.Events} {
			n, err := find{filter: bson.D{}, fields: []string{"_id"}, limit: 1}.each(ctx, s.primary.Collection(name), func(bson.Raw, int) {})
			if err != nil {
				return document.Imported{}, err
			}
			if n > 0 {
				return document.Imported{}, document.ErrNotEmpty
			}
		}
	}
	var imported document.Imported
	var problems document.Problems
	var missing [][]int // for each part, the indexes of the documents that are not stored
	err := readParts(ctx, from, func(p document.Part) error {
		indexes, clashes, err := s.compare(ctx, p, upTo(len(p.Documents)))
		missing = append(missing, indexes)
		problems.Add(clashes...)
		imported.Existing += len(p.Documents) - len(indexes)
		return err
	})
	switch {
	case err != nil:
		return document.Imported{}, err
	case problems.Len() > 0:
		return document.Imported{}, problems
	}
	progress := func() {
		if o.Progress != nil {
			o.Progress(imported.Stored + imported.Existing + problems.Len())
		}
	}
	if imported.Existing > 0 {
		progress()
	}
	part := 0
	err = readParts(ctx, from, func(p document.Part) error {
		indexes := missing[part]
		part++
		if len(indexes) == 0 {
			return nil
		}
		refused, err := s.insert(ctx, p, indexes)
		if err != nil {
			return err
		}
		imported.Stored += len(indexes) - len(refused)
		if len(refused) > 0 {
			existing, found, err := s.examine(ctx, p, refused)
			if err != nil {
				return err
			}
			imported.Existing += existing
			problems.Add(found...)
		}
		progress()
		return nil
	})
	switch {
	case err != nil:
		return imported, interrupted(err, imported.Stored, from.Len())
	case problems.Len() > 0:
		return imported, problems
	default:
		return imported, nil
	}
}

// readParts reads the source. If the context ends, the error is an outage, as that of a command is.
func readParts(ctx context.Context, from document.Source, f func(document.Part) error) error {
	err := from.Read(ctx, f)
	if err != nil && ctx.Err() != nil && apikey.Classify(err).Code == apikey.Internal {
		return failure(ctx.Err())
	}
	return err
}

// interrupted returns the error of an import that failed while writing. It says how much is stored.
func interrupted(err error, stored, of int) error {
	if e := apikey.Classify(err); e.Code == apikey.Unavailable {
		outage := apikey.Outage(errors.Unwrap(e))
		outage.Message = fmt.Sprintf("The store failed after it stored at least %d of %d documents. Run the import again: it stores the rest.", stored, of)
		return outage
	}
	return fmt.Errorf("after storing at least %d of %d documents: %w", stored, of, err)
}

// compare returns which of these documents of the part are not stored, and which of those clash: their hash or _id
// belongs to another document.
func (s *Store) compare(ctx context.Context, p document.Part, indexes []int) (missing []int, clashes []document.Problem, err error) {
	there, err := s.storedLike(ctx, p, indexes)
	if err != nil {
		return nil, nil, err
	}
	for _, i := range indexes {
		it := document.Identify(p.List, p.Documents[i])
		sameDocumentID := it.DocumentID != "" && there.documentIDs[it.DocumentID]
		if there.ids[owned{it.Tenant, it.ID}] || it.ID == "" && sameDocumentID { // an unusable document has only its _id as an identity
			continue
		}
		missing = append(missing, i)
		clash := func(field string) {
			clashes = append(clashes, document.Problem{List: p.List, Index: p.From + i, Field: field, Message: "belongs to another stored document"})
		}
		if sameDocumentID {
			clash("_id")
		}
		if it.Hash != "" && there.hashes[it.Hash] {
			clash("key_hash")
		}
	}
	return missing, clashes, nil
}

// owned is an id within its tenant.
type owned struct {
	tenant apikey.InternalID
	id     string
}

// stored is the set of ids, hashes and _ids that a collection has.
type stored struct {
	ids                 map[owned]bool
	hashes, documentIDs map[string]bool
}

// storedLike selects all documents with one of these ids, _ids or hashes. Only keys have hashes.
func storedLike(idField string, ids []owned, documentIDs, hashes bson.A) bson.D {
	idsOf := map[apikey.InternalID][]apikey.ID{}
	for _, it := range ids {
		idsOf[it.tenant] = append(idsOf[it.tenant], apikey.ID(it.id))
	}
	anyOf := bson.A{bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: documentIDs}}}}}
	if idField == "key_id" {
		anyOf = append(anyOf, bson.D{{Key: "key_hash", Value: bson.D{{Key: "$in", Value: hashes}}}})
	}
	for tenant, ids := range idsOf {
		ofTenant := bson.E{Key: "internal_id", Value: string(tenant)}
		if tenant == "" {
			ofTenant.Value = notText
		}
		anyOf = append(anyOf, bson.D{ofTenant, {Key: idField, Value: equal(ids...)}})
		if idField == "key_id" {
			anyOf = append(anyOf, bson.D{ofTenant, {Key: "_id", Value: bson.D{{Key: "$in", Value: documentIDsOf(ids)}}}})
		}
	}
	return bson.D{{Key: "$or", Value: anyOf}}
}

// storedLike returns which ids, hashes and _ids of these documents of the part are stored.
func (s *Store) storedLike(ctx context.Context, p document.Part, indexes []int) (stored, error) {
	var ids []owned
	documentIDs, hashes := bson.A{}, bson.A{}
	for _, i := range indexes {
		it := document.Identify(p.List, p.Documents[i])
		if it.ID != "" {
			ids = append(ids, owned{it.Tenant, it.ID})
		}
		if it.DocumentID != "" {
			documentIDs = append(documentIDs, p.Documents[i].Lookup("_id"))
		}
		if it.Hash != "" {
			hashes = append(hashes, it.Hash)
		}
	}
	there := stored{map[owned]bool{}, map[string]bool{}, map[string]bool{}}
	idField := idFields[p.List]
	q := find{filter: storedLike(idField, ids, documentIDs, hashes), fields: []string{"internal_id", idField, "key_hash"}}
	_, err := q.each(ctx, s.primary.Collection(p.List), func(doc bson.Raw, _ int) {
		it := document.Identify(p.List, doc)
		if it.ID != "" {
			there.ids[owned{it.Tenant, it.ID}] = true
		}
		there.hashes[it.Hash] = true
		there.documentIDs[it.DocumentID] = true
	})
	return there, err
}

// refusal is the index of a document that the server refused, and the server's error code.
type refusal struct{ index, code int }

// insert stores these documents of the part, moves the events that they carry to their collection, and returns the
// documents that the server refused.
func (s *Store) insert(ctx context.Context, p document.Part, indexes []int) ([]refusal, error) {
	documents := make([]any, len(indexes))
	carriers := map[int]bson.Raw{}
	for n, i := range indexes {
		documents[n] = p.Documents[i]
		if p.List == document.Keys {
			doc := document.WithKeyID(p.Documents[i])
			if events, _ := document.PendingEvents(doc); len(events) > 0 {
				doc = withDocumentID(doc)
				carriers[i] = doc
			}
			documents[n] = doc
		}
	}
	writing, cancel := writing(ctx)
	defer cancel()
	_, err := s.primary.Collection(p.List).InsertMany(writing, documents, options.InsertMany().SetOrdered(false))
	var bulk mongo.BulkWriteException
	partly := errors.As(err, &bulk) && bulk.WriteConcernError == nil && !isOutage(err)
	if err != nil && !partly {
		return nil, failure(err)
	}
	var refused []refusal
	for _, e := range bulk.WriteErrors {
		refused = append(refused, refusal{indexes[e.Index], e.Code})
		delete(carriers, indexes[e.Index])
	}
	for _, doc := range carriers {
		if !s.finishOrRemember(ctx, doc) {
			break // a server finishes the others too
		}
	}
	return refused, nil
}

// withDocumentID returns the document of a key with its id as the _id if it has none, as new keys have. Without an _id
// nothing could select this document alone.
func withDocumentID(doc bson.Raw) bson.Raw {
	if _, err := doc.LookupErr("_id"); err == nil {
		return doc
	}
	identified, err := document.Set(doc, bson.D{{Key: "_id", Value: doc.Lookup("key_id")}})
	if err != nil {
		return doc
	}
	return identified
}

// examine finds out why documents were refused. Either they were stored since compare looked, by another process or by
// an attempt whose answer was lost, which is fine. Or something clashes with them.
func (s *Store) examine(ctx context.Context, p document.Part, refused []refusal) (existing int, problems []document.Problem, err error) {
	indexes := make([]int, len(refused))
	for n, r := range refused {
		indexes[n] = r.index
	}
	missing, clashes, err := s.compare(ctx, p, indexes)
	if err != nil {
		return 0, nil, err
	}
	for _, r := range refused {
		explained := slices.ContainsFunc(clashes, func(c document.Problem) bool { return c.Index == p.From+r.index })
		switch {
		case !slices.Contains(missing, r.index) || explained:
		case r.code == codeDuplicateKey:
			clashes = append(clashes, document.Problem{List: p.List, Index: p.From + r.index, Message: "has an id, a hash or an _id that belongs to another document"})
		default:
			clashes = append(clashes, document.Problem{List: p.List, Index: p.From + r.index, Message: fmt.Sprintf("was refused by MongoDB with code %d", r.code)})
		}
	}
	return len(indexes) - len(missing), clashes, nil
}

func upTo(n int) []int {
	indexes := make([]int, n)
	for i := range indexes {
		indexes[i] = i
	}
	return indexes
}
