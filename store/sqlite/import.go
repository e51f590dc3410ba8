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

// Import implements store.Engine. It is one transaction: either all of the source is stored or nothing.
func (s *Store) Import(ctx context.Context, from document.Source, o document.ImportOptions) (document.Imported, error) {
	imported, err := s.importAll(ctx, from, o)
	var problems document.Problems
	switch {
	case err == nil:
		return imported, nil
	case errors.Is(err, document.ErrNotEmpty), errors.Is(err, document.ErrChanged), errors.As(err, &problems):
		return document.Imported{}, err
	default:
		// If the context ended, the statement's error is only a consequence.
		return document.Imported{}, classify(cmp.Or(ctx.Err(), err))
	}
}

const (
	// importCacheKiB is the page cache of an import. A large one adds to each index in no order, and reads and writes
	// the pages that do not fit again and again.
	importCacheKiB = 80 << 10
	// sortCacheKiB is the cache while indexes are built. SQLite sorts as much in memory, and uses twice that.
	sortCacheKiB = 16 << 10
)

func (s *Store) importAll(ctx context.Context, from document.Source, o document.ImportOptions) (document.Imported, error) {
	if err := setCache(ctx, s.write, importCacheKiB); err != nil {
		return document.Imported{}, err
	}
	defer setCache(context.WithoutCancel(ctx), s.write, cacheKiB) //nolint:errcheck // a large cache costs only memory
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return document.Imported{}, err
	}
	defer tx.Rollback() //nolint:errcheck // does nothing after the commit

	im := &importer{writer: writer{tx: tx}}
	// This check is inside the transaction, so that only one of several processes that start at once stores the source.
	if o.OnlyIfEmpty {
		if stored, err := im.has(ctx, anyDocument); err != nil {
			return document.Imported{}, err
		} else if stored {
			return document.Imported{}, document.ErrNotEmpty
		}
	}
	keys, err := im.has(ctx, anyKey)
	if err != nil {
		return document.Imported{}, err
	}
	if !keys {
		// For a million keys, building these indexes at the end saves a third of the time.
		if _, err := tx.ExecContext(ctx, dropKeyIndexes); err != nil {
			return document.Imported{}, err
		}
	}
	uncanceled := context.WithoutCancel(ctx) // see reading
	done := 0
	err = document.Ahead(
		func(found func([]newRow) bool) error {
			return from.Read(ctx, func(p document.Part) error {
				rows, err := rowsOf(p)
				if err == nil && !found(rows) {
					err = errStopped
				}
				return err
			})
		},
		func(rows []newRow) error {
			for i := range rows {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := im.add(uncanceled, &rows[i]); err != nil {
					return fmt.Errorf("%s[%d]: %w", rows[i].list, rows[i].index, err)
				}
			}
			if done += len(rows); o.Progress != nil {
				o.Progress(done)
			}
			return nil
		})
	switch {
	case err != nil:
		return document.Imported{}, err
	case im.problems.Len() > 0:
		return document.Imported{}, im.problems
	}
	if !keys {
		if err := setCache(ctx, tx, sortCacheKiB); err != nil {
			return document.Imported{}, err
		}
		if _, err := tx.ExecContext(ctx, keyIndexes+expiryIndex); err != nil {
			return document.Imported{}, err
		}
	}
	return im.imported, tx.Commit()
}

// setCache sets the size of the writer's page cache and frees unused memory.
func setCache(ctx context.Context, writer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}, kiB int,
) error {
	_, err := writer.ExecContext(ctx, fmt.Sprintf("PRAGMA cache_size = -%d; PRAGMA shrink_memory", kiB))
	return err
}

// errStopped ends a reading whose documents are no longer needed.
var errStopped = errors.New("stopped")

// newRow is a document with the values of its columns.
type newRow struct {
	*table
	index      int // in its list
	document   bson.Raw
	documentID any   // null if there is none
	columns    []any // all null if the document is unusable
	usable     bool
	key        *apikey.Key // nil if the document is not a key
	events     []apikey.Event
}

// table is the table of a list.
type table struct {
	list                       string
	insert, stored, documentID writeStatement
}

var tables = map[string]*table{
	document.Namespaces: {document.Namespaces, insertNamespace, namespaceStored, namespaceDocumentID},
	document.Retrievers: {document.Retrievers, insertRetriever, retrieverStored, retrieverDocumentID},
	document.Keys:       {document.Keys, insertKey, keyStored, keyDocumentID},
}

// rowsOf returns the rows of a part's documents.
func rowsOf(p document.Part) ([]newRow, error) {
	rows := make([]newRow, len(p.Documents))
	keys := document.KeyReader{Fields: rowFields}
	for i, doc := range p.Documents {
		r := newRow{table: tables[p.List], index: p.From + i, document: doc}
		switch p.List {
		case document.Namespaces:
			n, ok := document.Namespace(doc)
			r.columns, r.usable = []any{n.InternalID, n.ID, n.Name, n.OrganizationName}, ok
		case document.Retrievers:
			v, ok := document.Retriever(doc)
			r.columns, r.usable = []any{v.InternalID, v.ID, v.NamespaceID, v.Name}, ok
		case document.Keys:
			var err error
			if doc, r.events, err = document.Unloaded(doc); err != nil {
				return nil, fmt.Errorf("%s[%d]: %w", p.List, r.index, err)
			}
			r.document = document.WithKeyID(doc)
			k, ok := keys.Key(r.document)
			r.columns, r.usable, r.key = columnsOf(&k), ok, &k
		}
		if !r.usable {
			clear(r.columns)
		}
		if id := document.Identify(p.List, r.document).DocumentID; id != "" {
			r.documentID = []byte(id)
		}
		rows[i] = r
	}
	return rows, nil
}

// rowFields are the fields of a key that its columns and its rows in lists need.
const rowFields = apikey.FieldInternalID | apikey.FieldCreatedAt | apikey.FieldCreatedBy | apikey.FieldScopes | apikey.StatusFields

// columnsOf returns the columns of a key, without the document and the _id.
func columnsOf(k *apikey.Key) []any {
	return append([]any{k.InternalID, k.ID, k.Hash}, keyDates(k)...)
}

// keyDates returns the columns of a key that lists are ordered by: created_at, expires_at, active_until and created_by.
func keyDates(k *apikey.Key) []any {
	return []any{dateColumn(k.CreatedAt), dateColumn(k.ExpiresAt), activeUntil(k), k.CreatedBy}
}

// documentDates returns keyDates of a key's document.
func documentDates(doc bson.Raw) []any {
	k, _ := document.Key(doc, rowFields)
	return keyDates(&k)
}

// importer stores documents one by one in a transaction, and collects the problems.
type importer struct {
	writer
	imported document.Imported
	problems document.Problems
}

// add stores the row. If its document is stored already, add counts it. If another document has its place, add notes a
// problem.
func (im *importer) add(ctx context.Context, r *newRow) error {
	result, err := im.exec(ctx, r.insert, append([]any{[]byte(r.document), r.documentID}, r.columns...)...)
	if err != nil {
		return err
	}
	inserted, err := result.RowsAffected()
	if err != nil {
		return err
	}
	switch {
	case inserted == 0:
		return im.taken(ctx, r)
	case r.usable && r.key != nil:
		if err := im.listInserted(ctx, r.key, result); err != nil {
			return err
		}
	}
	for _, e := range r.events {
		if err := im.insertEvent(ctx, e); err != nil {
			return err
		}
	}
	im.imported.Stored++
	return nil
}

// listInserted adds an inserted key to the list of each retriever that it names.
func (w *writer) listInserted(ctx context.Context, k *apikey.Key, inserted sql.Result) error {
	pk, err := inserted.LastInsertId()
	if err != nil {
		return err
	}
	return w.listKey(ctx, k, pk)
}

// listKey adds the key in a row to the list of each retriever that it names.
func (w *writer) listKey(ctx context.Context, k *apikey.Key, pk int64) error {
	for _, retriever := range k.Retrievers() {
		_, err := w.exec(ctx, insertKeyRetriever, k.InternalID, retriever, dateColumn(k.CreatedAt), k.ID, activeUntil(k), pk)
		if err != nil {
			return err
		}
	}
	return nil
}

// taken distinguishes a document that is stored already from one that clashes with another.
func (im *importer) taken(ctx context.Context, r *newRow) error {
	// An unusable document has only its _id as an identity.
	stored, err := !r.usable, error(nil)
	if r.usable {
		stored, err = im.has(ctx, r.stored, r.columns[0], r.columns[1])
	}
	if err != nil {
		return err
	}
	if stored {
		im.imported.Existing++
		return nil
	}
	clash := func(field string, statement writeStatement, value any) error {
		taken, err := im.has(ctx, statement, value)
		if taken {
			im.problems.Add(document.Problem{List: r.list, Index: r.index, Field: field, Message: "belongs to another stored document"})
		}
		return err
	}
	if err := clash("_id", r.table.documentID, r.documentID); err != nil || r.list != document.Keys {
		return err
	}
	return clash("key_hash", keyHash, r.columns[2])
}

// has reports whether the statement returns a row.
func (im *importer) has(ctx context.Context, statement writeStatement, args ...any) (bool, error) {
	var one int
	err := im.one(ctx, &one, statement, args...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
