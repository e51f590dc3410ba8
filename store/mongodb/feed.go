package mongodb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// The feed has events in the order of arrived_at: the server's clock when it stored them, to which the clocks of this program's processes make no
// difference. Every write that stores an event stamps it, and stamps it again if it is stored already. Otherwise an event whose first write became
// visible late would stay at a place that readers of the feed have passed. The feed ends feedMargin before the server's clock. By then every event
// with an earlier stamp is visible, and the clock of another member that becomes primary is not behind. The feed reads with the read concern local: what
// a majority of the members has can be older than that.
//
// Old versions of this program, and other programs, store events without arrived_at. The feed stamps them when it finds them.

const (
	// feedMargin is how far the feed stays behind the server's clock.
	feedMargin = 2 * time.Second
	// arrivedAt is the field that has an event's arrival.
	arrivedAt = "arrived_at"
	// feedBytes is after how many bytes of documents a page of the feed ends.
	feedBytes = 4 << 20
	// stampBatch is how many events are stamped at a time.
	stampBatch = 1000
	// maxStampBatches is how many batches one read of the feed stamps. The next ones stamp the rest.
	maxStampBatches = 10
)

// arrivalOrder is the order of the feed. It also finds events without arrived_at.
var arrivalOrder = bson.D{up("internal_id"), up(arrivedAt), up("audit_id")}

// stamp is the part of an update that stamps an event.
var stamp = bson.E{Key: "$currentDate", Value: bson.D{{Key: arrivedAt, Value: true}}}

// insertEvents stores those of the events that are not stored yet, and stamps all of them.
func (s *Store) insertEvents(ctx context.Context, events []bson.Raw) error {
	ctx, cancel := writing(ctx)
	defer cancel()
	models := make([]mongo.WriteModel, len(events))
	for i, e := range events {
		filter, fields := insertable(e)
		update := bson.D{stamp}
		if len(fields) > 0 {
			update = append(update, bson.E{Key: "$setOnInsert", Value: fields})
		}
		models[i] = mongo.NewUpdateOneModel().SetUpsert(true).SetFilter(filter).SetUpdate(update)
	}
	_, err := s.events.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	if server, ok := errors.AsType[mongo.ServerError](err); ok && server.HasErrorCode(codeUnauthorized) {
		return s.insertUnstamped(ctx, events)
	}
	bulk, some := errors.AsType[mongo.BulkWriteException](err)
	if !some || bulk.WriteConcernError != nil {
		return failure(err)
	}
	// A duplicate was stored at the same time by another process, or has another _id.
	var stored []mongo.WriteModel
	for _, e := range bulk.WriteErrors {
		if e.Code != codeDuplicateKey && e.Code != codeDuplicateKeyOfOld {
			return failure(err)
		}
		event := events[e.Index]
		if id, ok := event.Lookup("audit_id").StringValueOK(); ok {
			stored = append(stored, mongo.NewUpdateOneModel().SetFilter(bson.D{internalID(event), {Key: "audit_id", Value: id}}).SetUpdate(bson.D{stamp}))
		}
	}
	if len(stored) == 0 {
		return nil
	}
	_, err = s.events.BulkWrite(ctx, stored, options.BulkWrite().SetOrdered(false))
	return failure(err)
}

// insertUnstamped stores those of the events that are not stored yet, without their arrival. The role of earlier versions has no right to update
// events. Without this, all events would stay in the documents of their keys until an operator grants it. The feed is unavailable until then, and
// stamps these events.
func (s *Store) insertUnstamped(ctx context.Context, events []bson.Raw) error {
	s.noUpdates.Do(func() {
		s.logger.WarnContext(ctx, "the MongoDB user may not update audit_events: events are stored, but GET /v1/audit-events is unavailable. Grant the role's rights of this version")
	})
	_, err := s.events.InsertMany(ctx, events, options.InsertMany().SetOrdered(false))
	bulk, some := errors.AsType[mongo.BulkWriteException](err)
	other := func(e mongo.BulkWriteError) bool {
		return e.Code != codeDuplicateKey && e.Code != codeDuplicateKeyOfOld
	}
	if some && bulk.WriteConcernError == nil && !slices.ContainsFunc(bulk.WriteErrors, other) {
		return nil
	}
	return failure(err)
}

// insertable returns the filter and the other fields of an upsert that stores an event. The filter has the fields by which the collection can be
// sharded. The others are without arrived_at, and without those whose names an update cannot store. No event of this program has such names.
func insertable(event bson.Raw) (filter, fields bson.D) {
	elements, _ := event.Elements() // it comes from a valid document
	named := map[string]bool{}
	for _, e := range elements {
		name := e.Key()
		if named[name] || name == "" || strings.HasPrefix(name, "$") || strings.Contains(name, ".") {
			continue
		}
		named[name] = true
		switch name {
		case "_id", "internal_id", "audit_id":
			filter = append(filter, bson.E{Key: name, Value: e.Value()})
		case arrivedAt:
		default:
			fields = append(fields, bson.E{Key: name, Value: e.Value()})
		}
	}
	if !named["_id"] {
		id := bson.E{Key: "_id", Value: event.Lookup("audit_id")}
		if !named["audit_id"] {
			id.Value = bson.NewObjectID() // no list and no feed has it
		}
		filter = append(filter, id)
	}
	return filter, fields
}

// ArrivedEvents implements apikey.Store. The arrival of an event is its arrived_at in milliseconds.
func (s *Store) ArrivedEvents(ctx context.Context, tenant apikey.InternalID, r apikey.FeedRange) (apikey.FeedPage, error) {
	return settling(ctx, s, func() (apikey.FeedPage, error) { return s.arrivedEvents(ctx, tenant, r) })
}

func (s *Store) arrivedEvents(ctx context.Context, tenant apikey.InternalID, r apikey.FeedRange) (page apikey.FeedPage, err error) {
	now, err := s.serverTime(ctx)
	if err != nil {
		return page, err
	}
	if err := s.stampEvents(ctx, tenant); err != nil {
		return page, err
	}
	end := now.Add(-s.margin).UnixMilli()
	page.Next = r.After
	if r.Since != nil {
		if page.Next, err = s.feedSince(ctx, tenant, *r.Since, end); err != nil {
			return apikey.FeedPage{}, err
		}
	}
	for more := true; more && len(page.Events) == 0; {
		if more, err = s.readFeed(ctx, tenant, end, r.Limit, &page); err != nil {
			return apikey.FeedPage{}, err
		}
	}
	page.Deleted, err = s.lastDeleted(ctx, tenant)
	return page, err
}

// serverTime returns the primary's clock.
func (s *Store) serverTime(ctx context.Context) (time.Time, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	answer, err := withRetry(ctx, func() (bson.Raw, error) {
		return s.primary.RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}, s.primary.prefer).Raw()
	})
	if err != nil {
		return time.Time{}, failure(err)
	}
	now, ok := answer.Lookup("localTime").TimeOK()
	if !ok {
		return now, errors.New("mongodb: the answer to hello has no localTime")
	}
	return now, nil
}

// clocks returns the times of this process and of the primary, the latter no later than the former. What is old is deleted by the earlier of the two:
// otherwise, a process whose clock is wrong deletes what must be kept.
func (s *Store) clocks(ctx context.Context) (own, earlier time.Time, err error) {
	earlier, err = s.serverTime(ctx)
	if own = s.clock(); own.Before(earlier) {
		earlier = own
	}
	return own, earlier, err
}

// stampEvents stamps the tenant's events that have no arrived_at. If there are very many, it leaves some to the next call.
func (s *Store) stampEvents(ctx context.Context, tenant apikey.InternalID) error {
	for range maxStampBatches {
		var ids bson.A
		n, err := find{filter: unstamped(tenant), fields: []string{"_id"}, limit: stampBatch}.
			each(ctx, s.arrived, func(doc bson.Raw, _ int) { ids = append(ids, clone(doc.Lookup("_id"))) })
		if err != nil || n == 0 {
			return err
		}
		if err := s.stampIDs(ctx, tenant, ids); err != nil || n < stampBatch {
			return err
		}
	}
	return nil
}

func unstamped(tenant apikey.InternalID) bson.D {
	return bson.D{{Key: "internal_id", Value: string(tenant)}, {Key: arrivedAt, Value: nil}}
}

// stampIDs stamps the events with these _ids.
func (s *Store) stampIDs(ctx context.Context, tenant apikey.InternalID, ids bson.A) error {
	ctx, cancel := writing(ctx)
	defer cancel()
	_, err := s.events.UpdateMany(ctx, eventsWithIDs(tenant, ids), bson.D{stamp})
	return failure(err)
}

func eventsWithIDs(tenant apikey.InternalID, ids bson.A) bson.D {
	return bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, {Key: "internal_id", Value: string(tenant)}}
}

func clone(v bson.RawValue) bson.RawValue {
	return bson.RawValue{Type: v.Type, Value: bytes.Clone(v.Value)}
}

// readFeed adds the events after page.Next to the page, and reports whether there can be more.
func (s *Store) readFeed(ctx context.Context, tenant apikey.InternalID, end int64, limit int, page *apikey.FeedPage) (more bool, err error) {
	size, after := 0, page.Next
	n, err := find{filter: feedAfter(tenant, after, end), sort: arrivalOrder[1:], limit: limit}.
		until(ctx, s.arrived, func(doc bson.Raw, _ int) (enough bool) {
			if page.Events == nil {
				page.Events = make([]apikey.ArrivedEvent, 0, limit)
			}
			e, ok := document.Event(doc)
			at, _ := doc.Lookup(arrivedAt).DateTimeOK()
			if ok {
				page.Events = append(page.Events, apikey.ArrivedEvent{Event: e, Arrival: at})
			}
			page.Next = apikey.FeedPlace{Arrival: at, ID: e.ID}
			size += len(doc)
			return size >= feedBytes
		})
	return err == nil && page.Next != after && (n == limit || size >= feedBytes), err
}

// feedAfter selects the tenant's events after a place and before the end.
func feedAfter(tenant apikey.InternalID, after apikey.FeedPlace, end int64) bson.D {
	from := bson.DateTime(after.Arrival)
	filter := bson.D{
		{Key: "internal_id", Value: string(tenant)},
		{Key: arrivedAt, Value: bson.D{{Key: "$gte", Value: from}, {Key: "$lt", Value: bson.DateTime(end)}}},
		{Key: "audit_id", Value: bson.D{{Key: "$gt", Value: ""}}},
		noList("internal_id", arrivedAt, "audit_id"),
	}
	if after.ID == "" {
		return filter
	}
	return append(filter, bson.E{Key: "$and", Value: bson.A{bson.D{{Key: "$or", Value: bson.A{
		bson.D{{Key: arrivedAt, Value: bson.D{{Key: "$gt", Value: from}}}},
		bson.D{{Key: "audit_id", Value: bson.D{{Key: "$gt", Value: string(after.ID)}}}},
	}}}}})
}

// feedSince returns the place before the first event to arrive that happened at an instant or later. If there is none, it returns the last place.
func (s *Store) feedSince(ctx context.Context, tenant apikey.InternalID, since time.Time, end int64) (at apikey.FeedPlace, err error) {
	first := find{filter: happenedSince(tenant, since, end), sort: arrivalOrder[1:], fields: []string{arrivedAt}, limit: 1}
	n, err := first.each(ctx, s.arrived, func(doc bson.Raw, _ int) { at.Arrival, _ = doc.Lookup(arrivedAt).DateTimeOK() })
	if err != nil || n > 0 {
		return at, err // the feed goes on with the first id at this time
	}
	last := find{filter: feedAfter(tenant, at, end), sort: bson.D{down(arrivedAt), down("audit_id")}, fields: []string{arrivedAt, "audit_id"}, limit: 1}
	_, err = last.each(ctx, s.arrived, func(doc bson.Raw, _ int) {
		at.Arrival, _ = doc.Lookup(arrivedAt).DateTimeOK()
		id, _ := doc.Lookup("audit_id").StringValueOK()
		at.ID = apikey.EventID(id)
	})
	return at, err
}

// happenedSince selects the tenant's events in the feed that happened at an instant or later.
func happenedSince(tenant apikey.InternalID, since time.Time, end int64) bson.D {
	first, last := datesOf(apikey.Period{From: &since})
	return bson.D{
		{Key: "internal_id", Value: string(tenant)},
		{Key: "timestamp", Value: bson.D{{Key: "$gte", Value: first}, {Key: "$lte", Value: last}}},
		{Key: arrivedAt, Value: bson.D{{Key: "$gte", Value: bson.DateTime(0)}, {Key: "$lt", Value: bson.DateTime(end)}}},
	}
}

// lastDeleted returns the last place from which an event of the tenant was deleted.
func (s *Store) lastDeleted(ctx context.Context, tenant apikey.InternalID) (at apikey.FeedPlace, err error) {
	_, err = find{filter: ofTenant(tenant), fields: []string{"through"}}.each(ctx, s.deletions, func(doc bson.Raw, _ int) {
		text, _ := doc.Lookup("through").StringValueOK()
		if len(text) < placeDigits {
			return
		}
		if arrival, err := strconv.ParseInt(text[:placeDigits], 16, 64); err == nil {
			at = apikey.FeedPlace{Arrival: arrival, ID: apikey.EventID(text[placeDigits:])}
		}
	})
	return at, err
}

// ofTenant selects the document with the tenant's last deletion. A sharded collection finds it by internal_id.
func ofTenant(tenant apikey.InternalID) bson.D {
	return bson.D{{Key: "_id", Value: string(tenant)}, {Key: "internal_id", Value: string(tenant)}}
}

// placeDigits is how many hexadecimal digits of a place in audit_deletions are its arrival. Texts of places sort as the places.
const placeDigits = 16

// oldestFirst is the order in which events are deleted.
var oldestFirst = bson.D{up("timestamp"), up("audit_id")}

// TenantsOfEvents implements apikey.Store.
func (s *Store) TenantsOfEvents(ctx context.Context) ([]apikey.InternalID, error) {
	texts, err := tenantsIn(ctx, s.events)
	tenants := make([]apikey.InternalID, len(texts))
	for i, text := range texts {
		tenants[i] = apikey.InternalID(text)
	}
	return tenants, err
}

// DeleteEvents implements apikey.Store. It remembers the last place before it deletes. An event that is stamped again meanwhile stays for the next
// call.
func (s *Store) DeleteEvents(ctx context.Context, tenant apikey.InternalID, before time.Time, limit int) (more bool, err error) {
	own, earlier, err := s.clocks(ctx)
	if err != nil {
		return false, err
	}
	q := find{filter: happenedBefore(tenant, before.Add(earlier.Sub(own))), sort: oldestFirst, fields: []string{"audit_id", arrivedAt}, limit: limit}
	var ids, unstamped bson.A
	var last apikey.FeedPlace
	n, err := q.each(ctx, s.arrived, func(doc bson.Raw, _ int) {
		id := clone(doc.Lookup("_id"))
		at, ok := doc.Lookup(arrivedAt).DateTimeOK()
		if !ok {
			unstamped = append(unstamped, id)
			return
		}
		ids = append(ids, id)
		eventID, _ := doc.Lookup("audit_id").StringValueOK()
		if place := (apikey.FeedPlace{Arrival: at, ID: apikey.EventID(eventID)}); place.Compare(last) > 0 {
			last = place
		}
	})
	if err != nil || n == 0 {
		return false, err
	}
	if len(unstamped) > 0 { // these have no place yet
		err := s.stampIDs(ctx, tenant, unstamped)
		return err == nil, err
	}
	ctx, cancel := writing(ctx)
	defer cancel()
	through := fmt.Sprintf("%0*x%s", placeDigits, uint64(last.Arrival)&math.MaxInt64, last.ID)
	if _, err := s.deletions.UpdateOne(ctx, ofTenant(tenant), bson.D{{Key: "$max", Value: bson.D{{Key: "through", Value: through}}}}, options.UpdateOne().SetUpsert(true)); err != nil {
		return false, failure(err)
	}
	_, err = s.events.DeleteMany(ctx, append(eventsWithIDs(tenant, ids), bson.E{Key: arrivedAt, Value: bson.D{{Key: "$lte", Value: bson.DateTime(last.Arrival)}}}))
	return n == limit && err == nil, failure(err)
}

// happenedBefore selects the tenant's events that happened before an instant.
func happenedBefore(tenant apikey.InternalID, before time.Time) bson.D {
	return bson.D{
		{Key: "internal_id", Value: string(tenant)},
		{Key: "timestamp", Value: bson.D{{Key: "$lt", Value: date(before)}}},
	}
}
