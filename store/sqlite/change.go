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

// writing runs f in a transaction that takes the write lock when it begins. Either all of f's writes are stored or
// none.
func (s *Store) writing(ctx context.Context, f func(ctx context.Context, w *writer) error) error {
	err := func() error {
		tx, err := s.write.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback() //nolint:errcheck // does nothing after the commit
		if err := f(context.WithoutCancel(ctx), &writer{tx: tx}); err != nil {
			return err
		}
		return tx.Commit()
	}()
	if err != nil {
		return classify(cmp.Or(ctx.Err(), err))
	}
	return nil
}

// writer is a transaction and the statements that it has prepared so far.
type writer struct {
	tx         *sql.Tx
	statements [writes]*sql.Stmt
}

func (w *writer) statement(ctx context.Context, name writeStatement) (_ *sql.Stmt, err error) {
	if w.statements[name] == nil {
		w.statements[name], err = w.tx.PrepareContext(ctx, writeSQL[name]) //nolint:sqlclosecheck // closed by the end of tx
	}
	return w.statements[name], err
}

func (w *writer) exec(ctx context.Context, name writeStatement, args ...any) (sql.Result, error) {
	stmt, err := w.statement(ctx, name) //nolint:sqlclosecheck // closed by the end of tx
	if err != nil {
		return nil, err
	}
	return stmt.ExecContext(ctx, args...)
}

// one reads a single value, or returns sql.ErrNoRows.
func (w *writer) one(ctx context.Context, to any, name writeStatement, args ...any) error {
	stmt, err := w.statement(ctx, name) //nolint:sqlclosecheck // closed by the end of tx
	if err != nil {
		return err
	}
	return stmt.QueryRowContext(ctx, args...).Scan(to)
}

// InsertKey implements apikey.Store.
func (s *Store) InsertKey(ctx context.Context, k apikey.Key, e apikey.Event) error {
	return s.writing(ctx, func(ctx context.Context, w *writer) error {
		if err := w.insertKey(ctx, k); err != nil {
			return err
		}
		return w.insertEvent(ctx, e)
	})
}

// errTaken reports that another key has a new key's id or hash.
var errTaken = errors.New("another key has the new key's id or hash")

func (w *writer) insertKey(ctx context.Context, k apikey.Key) error {
	doc := document.FromKey(k)
	result, err := w.exec(ctx, insertKey, append([]any{[]byte(doc), nil, k.InternalID, k.ID, k.Hash}, keyDates(&k)...)...)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return cmp.Or(err, errTaken)
	}
	return w.listInserted(ctx, &k, result)
}

// ChangeKey implements apikey.Store.
func (s *Store) ChangeKey(ctx context.Context, c apikey.Change) (won bool, err error) {
	err = s.writing(ctx, func(ctx context.Context, w *writer) error {
		doc, stored, err := w.key(ctx, c.Key.InternalID, c.Key.ID)
		if err != nil || doc == nil || stored.Hash != c.Key.Hash || stored.Revision != c.Key.Revision || !allows(&c, &stored) {
			return err
		}
		fields := append(document.KeyFields(c.Key, c.Fields), bson.E{Key: "revision", Value: c.Key.Revision + 1})
		if err := w.setKey(ctx, doc, &stored, fields); err != nil {
			return err
		}
		if c.Successor != nil {
			if err := w.insertKey(ctx, *c.Successor); err != nil {
				return err
			}
		}
		for _, e := range c.Events {
			if err := w.insertEvent(ctx, e); err != nil {
				return err
			}
		}
		won = true
		return nil
	})
	return won && err == nil, err
}

func allows(c *apikey.Change, stored *apikey.Key) bool {
	switch {
	case c.AnyState:
		return true
	case c.ActiveAt.IsZero():
		return stored.StatusAt(c.ActiveAt) != apikey.Revoked
	default:
		return stored.StatusAt(c.ActiveAt) == apikey.Active
	}
}

// key reads a key before a change. The document is nil if there is no such key.
func (w *writer) key(ctx context.Context, tenant apikey.InternalID, id apikey.ID) (bson.Raw, apikey.Key, error) {
	var doc []byte
	if err := w.one(ctx, &doc, keyToChange, tenant, id); errors.Is(err, sql.ErrNoRows) {
		return nil, apikey.Key{}, nil
	} else if err != nil {
		return nil, apikey.Key{}, err
	}
	k, ok := document.Key(doc, apikey.AllFields)
	if !ok {
		return nil, apikey.Key{}, fmt.Errorf("key %s has become unusable", id)
	}
	return doc, k, nil
}

// setKey writes fields into a key's document and updates its columns.
func (w *writer) setKey(ctx context.Context, doc bson.Raw, stored *apikey.Key, fields bson.D) error {
	doc, err := document.Set(doc, fields)
	if err != nil {
		return err
	}
	k, _ := document.Key(doc, apikey.AllFields)
	if _, err := w.exec(ctx, updateKey, []byte(doc), stored.InternalID, stored.ID); err != nil {
		return err
	}
	if dateColumn(k.ExpiresAt) == dateColumn(stored.ExpiresAt) && activeUntil(&k) == activeUntil(stored) {
		return nil
	}
	if _, err := w.exec(ctx, updateKeyDates, dateColumn(k.ExpiresAt), activeUntil(&k), stored.InternalID, stored.ID); err != nil {
		return err
	}
	for _, retriever := range stored.Retrievers() {
		if _, err := w.exec(ctx, updateKeyRetriever, activeUntil(&k), k.InternalID, retriever, dateColumn(k.CreatedAt), k.ID); err != nil {
			return err
		}
	}
	return nil
}

// UseKeys implements apikey.Store.
func (s *Store) UseKeys(ctx context.Context, uses []apikey.Use) error {
	return s.writing(ctx, func(ctx context.Context, w *writer) error {
		for _, u := range uses {
			doc, stored, err := w.key(ctx, u.InternalID, u.ID)
			if err != nil {
				return err
			}
			if doc == nil || stored.Hash != u.Hash || stored.LastUsedAt != nil && u.At.Sub(*stored.LastUsedAt) < apikey.UseInterval {
				continue
			}
			if err := w.setKey(ctx, doc, &stored, bson.D{{Key: "last_used_at", Value: bson.NewDateTimeFromTime(u.At)}}); err != nil {
				return err
			}
		}
		return nil
	})
}

// InsertEvent implements apikey.Store.
func (s *Store) InsertEvent(ctx context.Context, e apikey.Event) error {
	return s.writing(ctx, func(ctx context.Context, w *writer) error { return w.insertEvent(ctx, e) })
}

func (w *writer) insertEvent(ctx context.Context, e apikey.Event) error {
	doc := document.FromEvent(e)
	result, err := w.exec(ctx, insertEvent, append([]any{[]byte(doc), e.InternalID, e.ID}, eventValues(doc)...)...)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return err
	}
	pk, err := result.LastInsertId()
	if err != nil {
		return err
	}
	for _, retriever := range distinct(e.RetrieverIDs) {
		if _, err := w.exec(ctx, insertEventRetriever, e.InternalID, retriever, e.Timestamp.UnixMilli(), e.ID, pk); err != nil {
			return err
		}
	}
	return nil
}
