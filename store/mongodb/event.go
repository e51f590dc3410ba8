package mongodb

import (
	"context"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// InsertEvent implements apikey.Store.
func (s *Store) InsertEvent(ctx context.Context, e apikey.Event) error {
	return s.insertEvents(ctx, []bson.Raw{document.FromEvent(e)})
}

// EventPage implements apikey.Store.
//
// The page includes events that are still in the documents of keys. They are read first, so that an event that is being
// moved is seen in one place or in both, and never in none.
func (s *Store) EventPage(ctx context.Context, tenant apikey.InternalID, l apikey.EventList) ([]apikey.Event, error) {
	if l.Where.None() {
		return nil, nil
	}
	pending, err := s.pendingEvents(ctx, tenant, &l.Where)
	if err != nil {
		return nil, err
	}
	by, err := s.fewestEvents(ctx, tenant, &l)
	if err != nil {
		return nil, err
	}
	direction := int32(-1)
	if l.FromEnd {
		direction = 1
	}
	filter := eventsThat(tenant, &l, by)
	page, err := all(ctx, s.events, find{
		filter: filter.with(), limit: l.Limit, sort: bson.D{{Key: "timestamp", Value: direction}, {Key: "audit_id", Value: direction}},
	}, document.Event)
	if err != nil {
		return nil, err
	}
	for _, e := range pending {
		if l.Has(e.Position()) {
			page = append(page, e)
		}
	}
	return l.Cut(page), nil
}

// CountEvents implements apikey.Store.
func (s *Store) CountEvents(ctx context.Context, tenant apikey.InternalID, where apikey.EventConditions) (int, error) {
	if where.None() {
		return 0, nil
	}
	pending, err := s.pendingEvents(ctx, tenant, &where)
	if err != nil {
		return 0, err
	}
	l := apikey.EventList{Where: where}
	by, err := s.fewestEvents(ctx, tenant, &l)
	if err != nil {
		return 0, err
	}
	filter := eventsThat(tenant, &l, by)
	n, err := count(ctx, s.events, filter.with())
	if err != nil || len(pending) == 0 {
		return n, err
	}
	ids := make([]apikey.EventID, len(pending))
	for i, e := range pending {
		ids[i] = e.ID
	}
	moved, err := count(ctx, s.events, filter.with(bson.E{Key: "$and", Value: bson.A{bson.D{{Key: "audit_id", Value: equal(ids...)}}}}))
	return n + len(pending) - moved, err
}

// maxPending bounds the keys with pending events that one read of events looks at. There are none unless something
// prevents changes from being finished.
const maxPending = 1000

// pendingEvents returns the events that meet the conditions and are still in the documents of keys.
func (s *Store) pendingEvents(ctx context.Context, tenant apikey.InternalID, where *apikey.EventConditions) ([]apikey.Event, error) {
	docs, err := s.unfinishedKeys(ctx, maxPending, bson.E{Key: "internal_id", Value: is(string(tenant))})
	matches := where.Matcher()
	var pending []apikey.Event
	for _, doc := range docs {
		events, _ := document.PendingEvents(doc)
		for _, raw := range events {
			if e, ok := document.Event(raw); ok && e.InternalID == tenant && matches(&e) {
				pending = append(pending, e)
			}
		}
	}
	return pending, err
}

// fewEvents is up to how many events the conditions by which a list can be found are compared.
const fewEvents = 20_000

// fewestEvents returns the condition by which the fewest events are looked at. It asks the server only if there are two.
func (s *Store) fewestEvents(ctx context.Context, tenant apikey.InternalID, l *apikey.EventList) (apikey.EventsBy, error) {
	conditions := l.Where.FoundBy()
	if len(conditions) == 1 {
		return conditions[0], nil
	}
	counts := make([]int, len(conditions))
	err := apikey.CostFrom(ctx).Together(ctx, len(counts), func(ctx context.Context, i int) (err error) {
		filter := eventsThat(tenant, l, conditions[i])
		cost := apikey.NewCost(fewEvents, 0)
		counts[i], err = count(apikey.WithCost(ctx, cost), s.events, filter.by)
		if cost.Exceeded() != nil {
			counts[i], err = fewEvents, nil
		}
		return err
	})
	return conditions[slices.Index(counts, slices.Min(counts))], err
}

// eventsThat selects the tenant's events that are in the list. The result is exact for odd documents too: it matches a document if and only if
// document.Event can read it and the list has what that reads. An index answers the condition by which they are found; MongoDB considers none
// for the others.
func eventsThat(tenant apikey.InternalID, l *apikey.EventList, by apikey.EventsBy) keyFilter {
	w := &l.Where
	f := keyFilter{by: bson.D{{Key: "internal_id", Value: string(tenant)}}}
	lists := []string{"internal_id", "timestamp", "audit_id"}
	text := func(found bool, name string, value string) {
		if value == "" { // a missing text, or a value that is none, reads as empty
			f.out = append(f.out, bson.D{{Key: name, Value: someText}})
			return
		}
		f.require(found, bson.E{Key: name, Value: value})
		lists = append(lists, name)
	}
	if w.Retriever != nil {
		f.require(by == apikey.EventsByRetriever, bson.E{Key: "retriever_ids", Value: string(*w.Retriever)})
	}
	if w.Naming != nil {
		ids := slices.DeleteFunc(slices.Clone(w.Naming), func(id apikey.RetrieverID) bool { return id == "" })
		f.require(by == apikey.EventsByRetriever && w.Retriever == nil, bson.E{Key: "retriever_ids", Value: equal(ids...)})
	}
	if w.Retriever != nil || w.Naming != nil { // a text that is in no list reads as no retriever
		f.out = append(f.out, bson.D{{Key: "retriever_ids", Value: bson.D{notList}}})
	}
	if w.Namespace != nil {
		text(by == apikey.EventsByNamespace, "namespace_id", string(*w.Namespace))
	}
	if w.About != nil {
		text(by == apikey.EventsByResource, "resource_id", string(*w.About))
	}
	if w.ActorID != nil {
		text(by == apikey.EventsByActor, "actor_id", *w.ActorID)
	}
	if w.ActorType != nil {
		text(false, "actor_type", string(*w.ActorType))
	}
	if w.Outcome != nil {
		text(false, "status", string(*w.Outcome))
	}
	if w.ActorKeyID != nil {
		f.require(by == apikey.EventsByActorKey, bson.E{Key: "actor_key_id", Value: string(*w.ActorKeyID)})
		lists = append(lists, "actor_key_id")
	}
	if w.IPAddress != nil {
		f.require(false, bson.E{Key: "ip_address", Value: *w.IPAddress})
		lists = append(lists, "ip_address")
	}
	if w.Actions != nil {
		some := bson.A{bson.D{{Key: "action", Value: among(w.Actions)}}}
		if slices.Contains(w.Actions, "") {
			some = append(some, except(bson.D{{Key: "action", Value: someText}}))
		}
		f.require(false, bson.E{Key: "$or", Value: some})
	}
	f.by = append(f.by, eventRange(l)...)
	for _, name := range lists {
		f.out = append(f.out, bson.D{{Key: name, Value: aList}})
	}
	return f
}

// eventRange selects the events of the list's range and period, of those that have an id and a date that RFC 3339 can write.
func eventRange(l *apikey.EventList) bson.D {
	first, last := datesOf(l.Where.Happened)
	var ties bson.A // of events with a position's date, only those beyond its id
	for _, b := range []struct {
		at     *apikey.EventPosition
		beyond string
	}{{l.After, "$lt"}, {l.Before, "$gt"}} {
		if b.at == nil {
			continue
		}
		t := date(b.at.Timestamp)
		if b.beyond == "$lt" {
			last = min(last, t)
		} else {
			first = max(first, t)
		}
		ties = append(ties, bson.D{{Key: "$or", Value: bson.A{
			bson.D{{Key: "timestamp", Value: bson.D{{Key: b.beyond, Value: t}}}},
			bson.D{{Key: "audit_id", Value: bson.D{{Key: b.beyond, Value: string(b.at.ID)}}}},
		}}})
	}
	conditions := bson.D{
		{Key: "timestamp", Value: bson.D{{Key: "$gte", Value: first}, {Key: "$lte", Value: last}}},
		{Key: "audit_id", Value: bson.D{{Key: "$gt", Value: ""}}},
	}
	if ties != nil {
		conditions = append(conditions, bson.E{Key: "$and", Value: ties})
	}
	return conditions
}
