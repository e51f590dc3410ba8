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

// importBatch is how many documents are checked or inserted by one command.
const importBatch = 500

// list is a list of a batch on its way into the collection of the same name.
type list struct {
	name, idField string
	documents     []bson.Raw
	missing       []int // the indexes of those that are not stored
}

// Import implements store.Engine. There is no transaction for it that every deployment has. So it asks before it
// writes, namespaces come before what refers to them, and what an outage cuts off is completed by running it again.
func (s *Store) Import(ctx context.Context, b document.Batch, o document.ImportOptions) (document.Imported, error) {
	lists := []list{
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

// interrupted tells people what an error in the midst of writing has left behind.
func interrupted(err error, stored, of int) error {
	if e := apikey.Classify(err); e.Code == apikey.Unavailable {
		outage := apikey.Outage(errors.Unwrap(e))
		outage.Message = fmt.Sprintf("The store failed after at least %d of %d documents were stored. Run the import again: it stores the rest.", stored, of)
		return outage
	}
	return fmt.Errorf("after at least %d of %d documents were stored: %w", stored, of, err)
}

// compare returns which of these documents of the list are not stored, and what stands against storing them: a hash
// or an _id that belongs to another.
func (s *Store) compare(ctx context.Context, l *list, indexes []int) (missing []int, clashes document.Problems, err error) {
	there, err := s.storedLike(ctx, l, indexes)
	if err != nil {
		return nil, nil, err
	}
	for _, i := range indexes {
		it := document.Identify(l.name, l.documents[i])
		sameDocumentID := it.DocumentID != "" && there.documentIDs[it.DocumentID]
		if there.ids[owned{it.Tenant, it.ID}] || it.ID == "" && sameDocumentID { // what cannot be used is known by its _id alone
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

// owned is an id, which is its tenant's own.
type owned struct {
	tenant apikey.InternalID
	id     string
}

// stored is what a collection holds of certain ids, hashes and _ids.
type stored struct {
	ids                 map[owned]bool
	hashes, documentIDs map[string]bool
}

// storedLike selects all documents that have one of these ids, _ids or hashes. Only keys have hashes.
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

// storedLike asks for all documents that have an id, a hash or an _id of one of these of the list.
func (s *Store) storedLike(ctx context.Context, l *list, indexes []int) (stored, error) {
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

// refusal is a document that the server refuses, and its code for that.
type refusal struct{ index, code int }

// insert stores these documents of the list and returns those that the server refuses. What those that are stored carry goes
// where it belongs.
func (s *Store) insert(ctx context.Context, l *list, indexes []int) ([]refusal, error) {
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
			break // a server finishes the others, too
		}
	}
	return refused, nil
}

// withDocumentID gives the document of a key that has no _id its id as that, as those have that are made here: without
// it nothing could be said of this document alone.
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

// examine tells why documents were refused: they are stored since compare looked, by another process or by a try
// whose answer was lost, which is fine; or something stands against them.
func (s *Store) examine(ctx context.Context, l *list, refused []refusal) (existing int, problems document.Problems, err error) {
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
			clashes = append(clashes, document.Problem{List: l.name, Index: r.index, Message: fmt.Sprintf("is refused by MongoDB with code %d", r.code)})
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
