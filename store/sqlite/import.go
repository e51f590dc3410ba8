package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// progressEvery is the number of documents between two progress reports.
const progressEvery = 500

// Import implements store.Engine. It is one transaction: either all of the batch is stored or nothing.
func (s *Store) Import(ctx context.Context, b document.Batch, o document.ImportOptions) (document.Imported, error) {
	imported, err := s.importBatch(ctx, b, o)
	var problems document.Problems
	switch {
	case err == nil:
		return imported, nil
	case errors.Is(err, document.ErrNotEmpty), errors.As(err, &problems):
		return document.Imported{}, err
	default:
		// If the context ended, the statement's error is only a consequence.
		return document.Imported{}, classify(cmp.Or(ctx.Err(), err))
	}
}

func (s *Store) importBatch(ctx context.Context, b document.Batch, o document.ImportOptions) (imported document.Imported, err error) {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return document.Imported{}, err
	}
	defer tx.Rollback() //nolint:errcheck // does nothing after the commit

	im := &importer{writer: writer{tx: tx}}
	// This check is inside the transaction, so that only one of several processes that start at once stores the batch.
	if o.OnlyIfEmpty {
		if stored, err := im.has(ctx, anyDocument); err != nil {
			return document.Imported{}, err
		} else if stored {
			return document.Imported{}, document.ErrNotEmpty
		}
	}
	uncanceled := context.WithoutCancel(ctx) // see reading
	done := 0
	for _, l := range []struct {
		table
		documents []bson.Raw
	}{{namespaceTable, b.Namespaces}, {retrieverTable, b.Retrievers}, {keyTable, b.Keys}} {
		for i, doc := range l.documents {
			if err := ctx.Err(); err != nil {
				return document.Imported{}, err
			}
			if err := im.add(uncanceled, &l.table, i, doc); err != nil {
				return document.Imported{}, fmt.Errorf("%s[%d]: %w", l.name, i, err)
			}
			if done++; o.Progress != nil && (done%progressEvery == 0 || done == b.Len()) {
				o.Progress(done)
			}
		}
	}
	if len(im.problems) > 0 {
		return document.Imported{}, im.problems
	}
	return im.imported, tx.Commit()
}

// table describes the table of a list.
type table struct {
	name                       string
	insert, stored, documentID write
	columns                    func(bson.Raw) (columns []any, usable bool) // the tenant, the id, and the others
}

var (
	namespaceTable = table{
		name: document.Namespaces, insert: insertNamespace, stored: namespaceStored, documentID: namespaceDocumentID,
		columns: func(doc bson.Raw) ([]any, bool) {
			n, ok := document.Namespace(doc)
			return []any{n.InternalID, n.ID, n.Name, n.OrganizationName}, ok
		},
	}
	retrieverTable = table{
		name: document.Retrievers, insert: insertRetriever, stored: retrieverStored, documentID: retrieverDocumentID,
		columns: func(doc bson.Raw) ([]any, bool) {
			r, ok := document.Retriever(doc)
			return []any{r.InternalID, r.ID, r.NamespaceID, r.Name}, ok
		},
	}
	keyTable = table{
		name: document.Keys, insert: insertKey, stored: keyStored, documentID: keyDocumentID,
		columns: func(doc bson.Raw) ([]any, bool) {
			k, ok := document.Key(doc, apikey.FieldInternalID)
			return append([]any{k.InternalID, k.ID, k.Hash}, keyDates(doc)...), ok
		},
	}
)

// keyDates returns the values of a key's columns that lists are ordered by: created_at, expires_at, active_until and created_by.
func keyDates(doc bson.Raw) []any {
	k, _ := document.Key(doc, apikey.FieldCreatedAt|apikey.FieldCreatedBy|apikey.StatusFields)
	return []any{dateColumn(k.CreatedAt), dateColumn(k.ExpiresAt), activeUntil(&k), k.CreatedBy}
}

// importer stores documents one by one in a transaction, and collects the problems.
type importer struct {
	writer
	imported document.Imported
	problems document.Problems
}

// add stores the document. If it is stored already, add counts it. If another document has its place, add notes a
// problem.
func (im *importer) add(ctx context.Context, t *table, index int, doc bson.Raw) error {
	var events []apikey.Event
	if t.name == document.Keys {
		var err error
		if doc, events, err = document.Unloaded(doc); err != nil {
			return err
		}
		doc = document.WithKeyID(doc)
	}
	columns, usable := t.columns(doc)
	if !usable {
		clear(columns)
	}
	var documentID any // null if there is none
	if id := document.Identify(t.name, doc).DocumentID; id != "" {
		documentID = []byte(id)
	}
	result, err := im.exec(ctx, t.insert, append([]any{[]byte(doc), documentID}, columns...)...)
	if err != nil {
		return err
	}
	inserted, err := result.RowsAffected()
	if err != nil {
		return err
	}
	switch {
	case inserted == 0:
		return im.taken(ctx, t, index, usable, documentID, columns)
	case usable && t.name == document.Keys:
		if err := im.listInserted(ctx, doc, result); err != nil {
			return err
		}
	}
	for _, e := range events {
		if err := im.insertEvent(ctx, e); err != nil {
			return err
		}
	}
	im.imported.Stored++
	return nil
}

// listInserted adds an inserted key to the list of each retriever that it names.
func (w *writer) listInserted(ctx context.Context, doc bson.Raw, inserted sql.Result) error {
	pk, err := inserted.LastInsertId()
	if err != nil {
		return err
	}
	return w.listKey(ctx, doc, pk)
}

// listKey adds the key in a row to the list of each retriever that it names.
func (w *writer) listKey(ctx context.Context, doc bson.Raw, pk int64) error {
	k, _ := document.Key(doc, apikey.FieldInternalID|apikey.FieldScopes|apikey.FieldCreatedAt|apikey.StatusFields)
	for _, retriever := range k.Retrievers() {
		_, err := w.exec(ctx, insertKeyRetriever, k.InternalID, retriever, dateColumn(k.CreatedAt), k.ID, activeUntil(&k), pk)
		if err != nil {
			return err
		}
	}
	return nil
}

// taken distinguishes a document that is stored already from one that clashes with another.
func (im *importer) taken(ctx context.Context, t *table, index int, usable bool, documentID any, columns []any) error {
	// An unusable document has only its _id as an identity.
	stored, err := !usable, error(nil)
	if usable {
		stored, err = im.has(ctx, t.stored, columns[0], columns[1])
	}
	if err != nil {
		return err
	}
	if stored {
		im.imported.Existing++
		return nil
	}
	clash := func(field string, statement write, value any) error {
		taken, err := im.has(ctx, statement, value)
		if taken {
			im.problems = append(im.problems, document.Problem{
				List: t.name, Index: index, Field: field, Message: "belongs to another stored document",
			})
		}
		return err
	}
	if err := clash("_id", t.documentID, documentID); err != nil || t.name != document.Keys {
		return err
	}
	return clash("key_hash", keyHash, columns[2])
}

// has reports whether the statement returns a row.
func (im *importer) has(ctx context.Context, statement write, args ...any) (bool, error) {
	var one int
	err := im.one(ctx, &one, statement, args...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
