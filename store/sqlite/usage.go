package sqlite

import (
	"context"

	sqlite3 "modernc.org/sqlite/lib"

	"retrieverkeys/apikey"
)

// AddAnswers implements apikey.Store. It is one transaction, so it adds all or none.
func (s *Store) AddAnswers(ctx context.Context, days []apikey.KeyDay) (apikey.NotAdded, error) {
	committing := false
	err := s.writing(ctx, func(ctx context.Context, w *writer) error {
		for _, d := range days {
			if _, err := w.exec(ctx, addAnswers, d.InternalID, d.ID, d.Day, apikey.Count(d.Allowed), apikey.Count(d.Refused)); err != nil {
				return err
			}
		}
		committing = true
		return nil
	})
	if err == nil {
		return apikey.NotAdded{}, nil
	}
	code := resultCode(err)
	if committing && code != sqlite3.SQLITE_FULL && code != sqlite3.SQLITE_BUSY {
		return apikey.NotAdded{Lost: days}, err // a commit that fails otherwise, such as when the disk fails, can be in the log
	}
	return apikey.NotAdded{Left: days}, err
}

// AnswersOf implements apikey.Store.
func (s *Store) AnswersOf(ctx context.Context, tenant apikey.InternalID, ids []apikey.ID, from, to apikey.Day) ([]apikey.KeyDay, error) {
	var days []apikey.KeyDay
	cost := apikey.CostFrom(ctx)
	for _, id := range distinct(ids) {
		read := 0
		err := s.reading(ctx, func(uncanceled context.Context) error {
			rows, err := s.statements[answersOfKey].QueryContext(uncanceled, tenant, id, from, to)
			if err != nil {
				return err
			}
			defer rows.Close() // rows.Err returns the error
			for rows.Next() {
				d := apikey.KeyDay{InternalID: tenant, ID: id}
				if err := rows.Scan(&d.Day, &d.Allowed, &d.Refused); err != nil {
					return err
				}
				d.Allowed, d.Refused = apikey.Count(d.Allowed), apikey.Count(d.Refused)
				days = append(days, d)
				read++
			}
			return rows.Err()
		})
		if err == nil {
			err = cost.Look(read)
		}
		if err != nil {
			return nil, err
		}
	}
	return days, nil
}

// DeleteAnswers implements apikey.Store.
func (s *Store) DeleteAnswers(ctx context.Context, before apikey.Day, limit int) (more bool, err error) {
	err = s.writing(ctx, func(ctx context.Context, w *writer) error {
		result, err := w.exec(ctx, deleteAnswers, before, limit)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		more = n == int64(limit)
		return err
	})
	return more && err == nil, err
}
