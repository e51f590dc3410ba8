package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// feedBytes is after how many bytes of documents a page of the feed ends.
const feedBytes = 4 << 20

// ArrivedEvents implements apikey.Store. The arrival of an event is the number of its row.
func (s *Store) ArrivedEvents(ctx context.Context, tenant apikey.InternalID, r apikey.FeedRange) (page apikey.FeedPage, err error) {
	page.Next = r.After
	if r.Since != nil {
		if page.Next, err = s.feedSince(ctx, tenant, *r.Since); err != nil {
			return apikey.FeedPage{}, err
		}
	}
	for more := true; more && len(page.Events) == 0; {
		if page.Events, page.Next, more, err = s.arrivedAfter(ctx, tenant, page.Next, r.Limit); err != nil {
			return apikey.FeedPage{}, err
		}
	}
	// A row that is missing here was deleted before the last deletion is read.
	there := true
	if r.Since == nil && r.After.Arrival > 0 {
		var id apikey.EventID
		if there, err = s.one(ctx, eventOfRow, []any{r.After.Arrival, tenant}, &id); err != nil {
			return apikey.FeedPage{}, err
		}
		page.Unknown = there && r.After.ID != "" && id != r.After.ID
	}
	if _, err = s.one(ctx, lastDeletedEvent, []any{tenant}, &page.Deleted.Arrival); err != nil {
		return apikey.FeedPage{}, err
	}
	page.Unknown = page.Unknown || !there && r.After.Arrival > page.Deleted.Arrival
	return page, nil
}

// arrivedAfter reads up to limit rows after a place, and returns the events among them that can be read, the place of the last row, and whether
// there can be more rows.
func (s *Store) arrivedAfter(ctx context.Context, tenant apikey.InternalID, after apikey.FeedPlace, limit int) (events []apikey.ArrivedEvent, next apikey.FeedPlace, more bool, err error) {
	next = after
	n, looked, bytes := 0, 0, 0
	err = s.reading(ctx, func(uncanceled context.Context) error {
		rows, err := s.statements[arrivedEvents].QueryContext(uncanceled, tenant, after.Arrival, limit)
		if err != nil {
			return err
		}
		defer rows.Close() // rows.Err returns the error
		var doc sql.RawBytes
		for bytes < feedBytes && rows.Next() && ctx.Err() == nil {
			var pk int64
			if err := rows.Scan(&pk, &doc); err != nil {
				return err
			}
			if events == nil {
				events = make([]apikey.ArrivedEvent, 0, limit)
			}
			n, looked, bytes = n+1, looked+apikey.Documents(len(doc)), bytes+len(doc)
			e, ok := document.Event(bson.Raw(doc))
			if ok {
				events = append(events, apikey.ArrivedEvent{Event: e, Arrival: pk})
			}
			next = apikey.FeedPlace{Arrival: pk, ID: e.ID}
		}
		return cmp.Or(ctx.Err(), rows.Err())
	})
	if err == nil {
		err = apikey.CostFrom(ctx).Look(looked)
	}
	return events, next, n == limit || bytes >= feedBytes, err
}

// feedSince returns the place before the first event that happened at an instant or later. If there is none, it returns the last place.
func (s *Store) feedSince(ctx context.Context, tenant apikey.InternalID, since time.Time) (at apikey.FeedPlace, err error) {
	var first *int64
	if _, err := s.one(ctx, firstEventSince, []any{tenant, milliseconds(since)}, &first); err != nil || first != nil {
		if first != nil {
			at.Arrival = *first - 1
		}
		return at, err
	}
	_, err = s.one(ctx, lastEventRow, []any{tenant}, &at.Arrival, &at.ID)
	return at, err
}

// one reads a single row, and reports whether there is one.
func (s *Store) one(ctx context.Context, statement readStatement, args []any, to ...any) (there bool, err error) {
	err = s.reading(ctx, func(uncanceled context.Context) error {
		err := s.statements[statement].QueryRowContext(uncanceled, args...).Scan(to...)
		there = err == nil
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return there, err
}

// TenantsOfEvents implements apikey.Store.
func (s *Store) TenantsOfEvents(ctx context.Context) ([]apikey.InternalID, error) {
	return query(ctx, s, tenantsOfEvents, nil, func(tenant bson.Raw) (apikey.InternalID, bool) { return apikey.InternalID(tenant), true })
}

// DeleteEvents implements apikey.Store. It never deletes the newest row of the file: see deletions.
func (s *Store) DeleteEvents(ctx context.Context, tenant apikey.InternalID, before time.Time, limit int) (more bool, err error) {
	err = s.writing(ctx, func(ctx context.Context, w *writer) error {
		old, err := w.oldEvents(ctx, tenant, before, limit)
		if err != nil || len(old) == 0 {
			return err
		}
		last := int64(0)
		for _, e := range old {
			for _, retriever := range distinct(e.RetrieverIDs) {
				if _, err := w.exec(ctx, deleteEventRetriever, tenant, retriever, e.Timestamp.UnixMilli(), e.ID); err != nil {
					return err
				}
			}
			if _, err := w.exec(ctx, deleteEvent, e.Arrival); err != nil {
				return err
			}
			last = max(last, e.Arrival)
		}
		more = len(old) == limit
		_, err = w.exec(ctx, noteDeletion, tenant, last)
		return err
	})
	return more && err == nil, err
}

// oldEvents reads the events to delete.
func (w *writer) oldEvents(ctx context.Context, tenant apikey.InternalID, before time.Time, limit int) (old []apikey.ArrivedEvent, err error) {
	stmt, err := w.statement(ctx, oldEvents) //nolint:sqlclosecheck // closed by the end of tx
	if err != nil {
		return nil, err
	}
	rows, err := stmt.QueryContext(ctx, tenant, milliseconds(before), limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close() // rows.Err returns the error
	for rows.Next() {
		var e apikey.ArrivedEvent
		var doc sql.RawBytes
		if err := rows.Scan(&e.Arrival, &doc); err != nil {
			return nil, err
		}
		e.Event, _ = document.Event(bson.Raw(doc)) // it has a time, so it can be read
		old = append(old, e)
	}
	return old, rows.Err()
}
