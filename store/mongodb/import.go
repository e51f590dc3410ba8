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

// importBatch is the number of documents that one command checks or inserts.
const importBatch = 500

// importList is a list of a batch, which is stored in the collection of the same name.
type importList struct {
	name, idField string
	documents     []bson.Raw
	missing       []int // the indexes of the documents that are not stored
}

// Import implements store.Engine. It cannot use a transaction, which not every deployment has. So it checks before it
// writes, and stores namespaces before the documents that refer to them. If an outage interrupts it, a second run
// completes it.
func (s *Store) Import(ctx context.Context, b document.Batch, o document.ImportOptions) (document.Imported, error) {
	lists := []importList{
		{name: document.Namespaces, idField: "namespace_id", documents: b.Namespaces},
		{name: document.Retrievers, idField: "retriever_id", documents: b.Retrievers},
		{name: document.Keys, idField: "key_id", documents: b.Keys},
	}
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
	for i := range lists {
		l := &lists[i]
		for indexes := range slices.Chunk(upTo(len(l.documents)), importBatch) {
			missing, clashes, err := s.compare(ctx, l, indexes)
			if err != nil {
				return document.Imported{}, err
			}
			l.missing = append(l.missing, missing...)
			problems = append(problems, clashes...)
			imported.Existing += len(indexes) - len(missing)
		}
	}
	if len(problems) > 0 {
		return document.Imported{}, problems
	}
	progress := func() {
		if o.Progress != nil {
			o.Progress(imported.Stored + imported.Existing + len(problems))
		}
	}
	if imported.Existing > 0 {
		progress()
	}
	for i := range lists {
		for indexes := range slices.Chunk(lists[i].missing, importBatch) {
			refused, err := s.insert(ctx, &lists[i], indexes)
			if err != nil {
				return imported, interrupted(err, imported.Stored, b.Len())
			}
			imported.Stored += len(indexes) - len(refused)
			if len(refused) > 0 {
				existing, found, err := s.examine(ctx, &lists[i], refused)
				if err != nil {
					return imported, interrupted(err, imported.Stored, b.Len())
				}
				imported.Existing += existing
				problems = append(problems, found...)
			}
			progress()
		}
	}
	if len(problems) > 0 {
		return imported, problems
	}
	return imported, nil
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

// compare returns which of these documents of the list are not stored, and which of those clash: their hash or _id
// belongs to another document.
func (s *Store) compare(ctx context.Context, l *importList, indexes []int) (missing []int, clashes document.Problems, err error) {
	there, err := s.storedLike(ctx, l, indexes)
	if err != nil {
		return nil, nil, err
	}
	for _, i := range indexes {
		it := document.Identify(l.name, l.documents[i])
		sameDocumentID := it.DocumentID != "" && there.documentIDs[it.DocumentID]
		if there.ids[owned{it.Tenant, it.ID}] || it.ID == "" && sameDocumentID { // an unusable document has only its _id as an identity
			continue
		}
		missing = append(missing, i)
		clash := func(field string) {
			clashes = append(clashes, document.Problem{List: l.name, Index: i, Field: field, Message: "belongs to another stored document"})
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

// storedLike returns which ids, hashes and _ids of these documents of the list are stored.
func (s *Store) storedLike(ctx context.Context, l *importList, indexes []int) (stored, error) {
	var ids []owned
	documentIDs, hashes := bson.A{}, bson.A{}
	for _, i := range indexes {
		it := document.Identify(l.name, l.documents[i])
		if it.ID != "" {
			ids = append(ids, owned{it.Tenant, it.ID})
		}
		if it.DocumentID != "" {
			documentIDs = append(documentIDs, l.documents[i].Lookup("_id"))
		}
		if it.Hash != "" {
			hashes = append(hashes, it.Hash)
		}
	}
	there := stored{map[owned]bool{}, map[string]bool{}, map[string]bool{}}
	q := find{filter: storedLike(l.idField, ids, documentIDs, hashes), fields: []string{"internal_id", l.idField, "key_hash"}}
	_, err := q.each(ctx, s.primary.Collection(l.name), func(doc bson.Raw, _ int) {
		it := document.Identify(l.name, doc)
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

// insert stores these documents of the list, moves the events that they carry to their collection, and returns the
// documents that the server refused.
func (s *Store) insert(ctx context.Context, l *importList, indexes []int) ([]refusal, error) {
	documents := make([]any, len(indexes))
	carriers := map[int]bson.Raw{}
	for n, i := range indexes {
		documents[n] = l.documents[i]
		if l.name == document.Keys {
			doc := document.WithKeyID(l.documents[i])
			if events, _ := document.PendingEvents(doc); len(events) > 0 {
				doc = withDocumentID(doc)
				carriers[i] = doc
			}
			documents[n] = doc
		}
	}
	writing, cancel := writing(ctx)
	defer cancel()
	_, err := s.primary.Collection(l.name).InsertMany(writing, documents, options.InsertMany().SetOrdered(false))
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
func (s *Store) examine(ctx context.Context, l *importList, refused []refusal) (existing int, problems document.Problems, err error) {
	indexes := make([]int, len(refused))
	for n, r := range refused {
		indexes[n] = r.index
	}
	missing, clashes, err := s.compare(ctx, l, indexes)
	if err != nil {
		return 0, nil, err
	}
	for _, r := range refused {
		explained := slices.ContainsFunc(clashes, func(p document.Problem) bool { return p.Index == r.index })
		switch {
		case !slices.Contains(missing, r.index) || explained:
		case r.code == codeDuplicateKey:
			clashes = append(clashes, document.Problem{List: l.name, Index: r.index, Message: "has an id, a hash or an _id that belongs to another document"})
		default:
			clashes = append(clashes, document.Problem{List: l.name, Index: r.index, Message: fmt.Sprintf("was refused by MongoDB with code %d", r.code)})
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
