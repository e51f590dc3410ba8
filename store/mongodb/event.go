package mongodb

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// InsertEvent implements apikey.Store.
func (s *Store) InsertEvent(ctx context.Context, e apikey.Event) error {
	return s.insertEvents(ctx, []bson.Raw{document.FromEvent(e)})
}

// insertEvents stores those of the events that are not stored yet.
func (s *Store) insertEvents(ctx context.Context, events []bson.Raw) error {
	ctx, cancel := writing(ctx)
	defer cancel()
	_, err := s.events.InsertMany(ctx, events, options.InsertMany().SetOrdered(false))
	var bulk mongo.BulkWriteException
	if errors.As(err, &bulk) && bulk.WriteConcernError == nil &&
		!slices.ContainsFunc(bulk.WriteErrors, func(e mongo.BulkWriteError) bool { return e.Code != codeDuplicateKey }) {
		return nil
	}
	return failure(err)
}

// EventPage implements apikey.Store.
//
// The page includes events that are still in the documents of keys. They are read first, so that an event that is being
// moved is seen in one place or in both, and never in none.
func (s *Store) EventPage(ctx context.Context, tenant apikey.InternalID, retriever apikey.RetrieverID, r apikey.EventRange) ([]apikey.Event, error) {
	pending, err := s.pendingEvents(ctx, tenant, retriever, r.About)
	if err != nil {
		return nil, err
	}
	direction := int32(-1)
	if r.FromEnd {
		direction = 1
	}
	page, err := all(ctx, s.events, find{
		filter: eventsOf(tenant, retriever, r.About, eventBounds(r)...), limit: r.Limit,
		sort: bson.D{{Key: "timestamp", Value: direction}, {Key: "audit_id", Value: direction}},
	}, document.Event)
	if err != nil {
		return nil, err
	}
	for _, e := range pending {
		if withinEvents(e, r) {
			page = append(page, e)
		}
	}
	slices.SortFunc(page, compareEvents)
	page = slices.CompactFunc(page, func(a, b apikey.Event) bool { return a.ID == b.ID })
	switch {
	case len(page) <= r.Limit:
		return page, nil
	case r.FromEnd:
		return page[len(page)-r.Limit:], nil
	default:
		return page[:r.Limit], nil
	}
}

// CountEvents implements apikey.Store.
func (s *Store) CountEvents(ctx context.Context, tenant apikey.InternalID, retriever apikey.RetrieverID, about apikey.ID) (int, error) {
	pending, err := s.pendingEvents(ctx, tenant, retriever, about)
	if err != nil {
		return 0, err
	}
	n, err := count(ctx, s.events, eventsOf(tenant, retriever, about))
	if err != nil || len(pending) == 0 {
		return n, err
	}
	ids := make([]apikey.EventID, len(pending))
	for i, e := range pending {
		ids[i] = e.ID
	}
	moved, err := count(ctx, s.events, eventsOf(tenant, retriever, about, bson.D{{Key: "audit_id", Value: equal(ids...)}}))
	return n + len(pending) - moved, err
}

// maxPending bounds the keys with pending events that one read of events looks at. There are none unless something
// prevents changes from being finished.
const maxPending = 1000

func (s *Store) pendingEvents(ctx context.Context, tenant apikey.InternalID, retriever apikey.RetrieverID, about apikey.ID) ([]apikey.Event, error) {
	docs, err := s.unfinishedKeys(ctx, maxPending, bson.E{Key: "internal_id", Value: is(string(tenant))})
	var pending []apikey.Event
	for _, doc := range docs {
		events, _ := document.PendingEvents(doc)
		for _, raw := range events {
			e, ok := document.Event(raw)
			if ok && e.InternalID == tenant && slices.Contains(e.RetrieverIDs, retriever) && (about == "" || e.ResourceID == string(about)) {
				pending = append(pending, e)
			}
		}
	}
	return pending, err
}

// eventsOf selects the retriever's events that document.Event can read and that meet the conditions.
func eventsOf(tenant apikey.InternalID, retriever apikey.RetrieverID, about apikey.ID, conditions ...bson.D) bson.D {
	filter := bson.D{{Key: "internal_id", Value: string(tenant)}, {Key: "retriever_ids", Value: string(retriever)}}
	if about != "" {
		filter = append(filter, bson.E{Key: "resource_id", Value: string(about)})
	}
	filter = append(filter,
		bson.E{Key: "timestamp", Value: bson.D{{Key: "$gte", Value: date(document.MinTime)}, {Key: "$lte", Value: date(document.MaxTime)}}},
		bson.E{Key: "audit_id", Value: bson.D{{Key: "$gt", Value: ""}}},
		noList("internal_id", "resource_id", "timestamp", "audit_id"),
	)
	if len(conditions) > 0 {
		filter = append(filter, bson.E{Key: "$and", Value: conditions})
	}
	return filter
}

// eventBounds returns the conditions of the range.
func eventBounds(r apikey.EventRange) []bson.D {
	var bounds []bson.D
	for _, c := range []struct {
		upTo, beyond string
		at           *apikey.EventPosition
	}{{"$lte", "$lt", r.After}, {"$gte", "$gt", r.Before}} {
		if c.at == nil {
			continue
		}
		bounds = append(bounds,
			bson.D{{Key: "timestamp", Value: bson.D{{Key: c.upTo, Value: date(c.at.Timestamp)}}}},
			bson.D{{Key: "$or", Value: bson.A{
				bson.D{{Key: "timestamp", Value: bson.D{{Key: c.beyond, Value: date(c.at.Timestamp)}}}},
				bson.D{{Key: "audit_id", Value: bson.D{{Key: c.beyond, Value: string(c.at.ID)}}}},
			}}},
		)
	}
	return bounds
}

// compareEvents orders a retriever's events: newest first, ties by descending id.
func compareEvents(a, b apikey.Event) int {
	return compareEventPositions(eventPosition(a), eventPosition(b))
}

func compareEventPositions(a, b apikey.EventPosition) int {
	return cmp.Or(b.Timestamp.Compare(a.Timestamp), cmp.Compare(b.ID, a.ID))
}

func eventPosition(e apikey.Event) apikey.EventPosition {
	return apikey.EventPosition{Timestamp: e.Timestamp, ID: e.ID}
}

func withinEvents(e apikey.Event, r apikey.EventRange) bool {
	return (r.After == nil || compareEventPositions(eventPosition(e), *r.After) > 0) &&
		(r.Before == nil || compareEventPositions(eventPosition(e), *r.Before) < 0)
}
