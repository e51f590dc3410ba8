package sqlite

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/store/document"
)

// Repair implements store.Engine. Import gives every key a key_id if it can, so Repair finds keys of older versions,
// and keys whose _id cannot stand in for a key_id.
func (s *Store) Repair(ctx context.Context, o document.RepairOptions) (done document.Repaired, err error) {
	total, err := count(ctx, s, countKeyDocuments)
	if err != nil {
		return done, err
	}
	for last, looked := int64(0), 0; ; {
		found, n, err := s.missingAfter(ctx, &last)
		if err != nil || n == 0 {
			return done, err
		}
		if o.DryRun {
			for i := range found {
				done.Count(&found[i].Missing)
			}
		} else if len(found) > 0 {
			err = s.writing(ctx, func(ctx context.Context, w *writer) error {
				for i := range found {
					if err := w.repair(ctx, &found[i], &done); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return done, err
			}
		}
		if looked += n; o.Progress != nil {
			o.Progress(min(looked, total), total)
		}
	}
}

// missingRow is a row whose document has no key_id.
type missingRow struct {
	document.Missing
	pk int64
}

// missingAfter reads the next rows. It returns those without a key_id, and the number of rows read.
func (s *Store) missingAfter(ctx context.Context, last *int64) (found []missingRow, n int, err error) {
	err = s.reading(ctx, func(uncanceled context.Context) error {
		rows, err := s.statements[keysFrom].QueryContext(uncanceled, *last, document.RepairBatch)
		if err != nil {
			return err
		}
		defer rows.Close() // rows.Err returns the error
		for rows.Next() {
			var doc []byte
			if err := rows.Scan(last, &doc); err != nil {
				return err
			}
			n++
			if m, missing := document.FindMissing(doc); missing {
				found = append(found, missingRow{m, *last})
			}
		}
		return rows.Err()
	})
	return found, n, err
}

// repair gives the row's document its key_id, unless it has one by now or another document has the id.
func (w *writer) repair(ctx context.Context, row *missingRow, done *document.Repaired) error {
	var doc []byte
	if err := w.one(ctx, &doc, keyToRepair, row.pk); err != nil {
		return err
	}
	if _, missing := document.MissingID(doc); !missing {
		return nil
	}
	repaired, err := document.Set(doc, bson.D{{Key: "key_id", Value: row.NewID()}})
	if err != nil {
		return err
	}
	_, listed := document.Key(doc, rowFields)
	k, usable := document.Key(repaired, rowFields)
	columns := columnsOf(&k)
	if !usable {
		clear(columns)
	}
	result, err := w.exec(ctx, repairKey, append(append([]any{[]byte(repaired)}, columns...), row.pk)...)
	if err != nil {
		return err
	}
	switch n, err := result.RowsAffected(); {
	case err != nil:
		return err
	case n == 0:
		done.Clashes = append(done.Clashes, row.Clash())
		return nil
	}
	done.Count(&row.Missing)
	if usable && !listed {
		return w.listKey(ctx, &k, row.pk)
	}
	return nil
}
