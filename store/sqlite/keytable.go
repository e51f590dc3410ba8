package sqlite

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
)

// A list with conditions that no index answers looks at rows in the order of an index, and consecutive rows are in different places of the file. If
// the list must look at most of the file's keys, it is faster to read the table from beginning to end and sort the matches.

// inOrderOrTable is inOrder for an order of the tenant's keys.
func (s *Store) inOrderOrTable(ctx context.Context, q sequence, l apikey.KeyList) ([]apikey.Key, error) {
	if rest := q.rest(l.Where); rest.Fields() == 0 {
		return s.inOrder(ctx, q, l)
	}
	page, complete, err := s.inOrderUpTo(ctx, q, l, s.sizes.longWalk)
	if err != nil || complete {
		return page, err
	}
	most, err := s.spansMost(ctx, q, l.Where)
	switch {
	case err != nil:
		return nil, err
	case !most:
		return s.inOrder(ctx, q, l)
	}
	found := collect(&l)
	err = s.table(ctx, q.tenant, l.Where, func(doc bson.Raw) (more bool) {
		found.add(doc)
		return true
	})
	return found.page(), err
}

// spansMost reports whether the sequence has most of the file's keys, and these are many.
func (s *Store) spansMost(ctx context.Context, q sequence, where apikey.KeyConditions) (bool, error) {
	last, err := s.lastKeyRow(ctx)
	if err != nil || last <= int64(s.sizes.longWalk) {
		return false, err
	}
	share := apikey.NewCost(max(1, int(last)/s.sizes.tableShare), 0)
	_, err = s.countRuns(apikey.WithCost(ctx, share), q, where)
	if err != nil && share.Exceeded() == nil {
		return false, err
	}
	return err != nil, nil
}

// lastKeyRow returns the number of the table's last row, or 0.
func (s *Store) lastKeyRow(ctx context.Context) (last int64, err error) {
	err = s.reading(ctx, func(uncanceled context.Context) error {
		return s.statements[lastKeyRow].QueryRowContext(uncanceled).Scan(&last)
	})
	return last, err
}

// table calls f with the document of each of the tenant's keys that meets the conditions, in no order, until f returns false. The document is
// valid only during the call.
func (s *Store) table(ctx context.Context, tenant apikey.InternalID, where apikey.KeyConditions, f func(doc bson.Raw) (more bool)) error {
	last, err := s.lastKeyRow(ctx)
	if err != nil {
		return err
	}
	matches, looked, more := matcher(where), 0, true
	n, end := looking(func(doc bson.Raw) bool {
		looked += apikey.Documents(len(doc))
		more = more && (matches != nil && !matches(doc) || f(doc))
		return false
	})
	defer end()
	atOnce := int64(s.sizes.rowsAtOnce)
	for row := int64(0); err == nil && more && row < last; row += atOnce {
		err = s.aside(ctx, func() error {
			var rows int
			err := s.reading(ctx, func(uncanceled context.Context) error {
				return s.statements[keysOfRows].QueryRowContext(uncanceled, row, row+atOnce, tenant, n).Scan(&rows)
			})
			if err == nil {
				err = apikey.CostFrom(ctx).Look(looked)
				looked = 0
			}
			return err
		})
	}
	return err
}
