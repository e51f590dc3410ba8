package sqlite

import (
	"context"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// eventValues returns the values of an event's columns that lists are ordered by.
func eventValues(doc bson.Raw) []any {
	e, ok := document.Event(doc)
	if !ok {
		return make([]any, 5) // no list has it
	}
	return []any{e.Timestamp.UnixMilli(), e.NamespaceID, e.ResourceID, e.ActorID, e.ActorKeyID}
}

// eventSequence is a part of an order of events: those with one value in common.
type eventSequence struct {
	order  apikey.EventsBy
	tenant apikey.InternalID
	of     string
}

// eventSequences returns the sequences that together have all events that meet the condition: one for each retriever, or a single one.
func eventSequences(tenant apikey.InternalID, by apikey.EventsBy, w *apikey.EventConditions) []eventSequence {
	q := eventSequence{order: by, tenant: tenant}
	switch by {
	case apikey.EventsByTenant:
	case apikey.EventsByNamespace:
		q.of = string(*w.Namespace)
	case apikey.EventsByActor:
		q.of = *w.ActorID
	case apikey.EventsByActorKey:
		q.of = string(*w.ActorKeyID)
	case apikey.EventsByResource:
		q.of = string(*w.About)
	case apikey.EventsByRetriever:
		if w.Retriever != nil {
			q.of = string(*w.Retriever)
			break
		}
		var all []eventSequence
		for _, id := range distinct(w.Naming) {
			all = append(all, eventSequence{by, tenant, string(id)})
		}
		return all
	}
	return []eventSequence{q}
}

// eventRun returns the part of a sequence that has the list's events.
func eventRun(l *apikey.EventList) run {
	r := run{above: firstPlace, below: lastPlace, down: !l.FromEnd}
	if t := l.Where.Happened.From; t != nil {
		r.above = place{date: milliseconds(*t)}
	}
	if t := l.Where.Happened.Until; t != nil {
		r.below = place{date: milliseconds(*t)}
	}
	if l.After != nil { // after it in the list is before it in time
		r.below = lowest(r.below, eventPlace(*l.After))
	}
	if l.Before != nil {
		r.above = highest(r.above, eventPlace(*l.Before))
	}
	return r
}

func eventPlace(p apikey.EventPosition) place {
	return place{date: p.Timestamp.UnixMilli(), id: string(p.ID)}
}

// EventPage implements apikey.Store.
func (s *Store) EventPage(ctx context.Context, tenant apikey.InternalID, l apikey.EventList) (page []apikey.Event, err error) {
	if l.Where.None() {
		return nil, nil
	}
	from, err := s.fewestEvents(ctx, tenant, &l)
	if err != nil {
		return nil, err
	}
	matches := l.Where.Matcher()
	for _, q := range from {
		found := 0
		err := s.walkEvents(ctx, q, eventRun(&l), max(s.sizes.firstRows, l.Limit), func(e *apikey.Event) (more bool) {
			if matches(e) {
				page = append(page, *e)
				found++
			}
			return found < l.Limit
		})
		if err != nil {
			return nil, err
		}
		if page = l.Cut(page); len(page) < l.Limit {
			continue
		}
		// Only events on this side of the page's far end can still be in it.
		if l.FromEnd {
			at := page[0].Position()
			l.After = &at
		} else {
			at := page[len(page)-1].Position()
			l.Before = &at
		}
	}
	return page, nil
}

// CountEvents implements apikey.Store.
func (s *Store) CountEvents(ctx context.Context, tenant apikey.InternalID, where apikey.EventConditions) (n int, err error) {
	if where.None() {
		return 0, nil
	}
	l := apikey.EventList{Where: where}
	from, err := s.fewestEvents(ctx, tenant, &l)
	if err != nil {
		return 0, err
	}
	if from[0].answers(where) {
		return s.countEventRun(ctx, from[0], eventRun(&l))
	}
	matches := where.Matcher()
	counted := map[apikey.RetrieverID]bool{}
	for _, q := range from {
		err := s.walkEvents(ctx, q, eventRun(&l), s.sizes.firstRows, func(e *apikey.Event) (more bool) {
			if matches(e) && !slices.ContainsFunc(e.RetrieverIDs, func(id apikey.RetrieverID) bool { return counted[id] }) {
				n++
			}
			return true
		})
		if err != nil {
			return 0, err
		}
		if len(from) > 1 {
			counted[apikey.RetrieverID(q.of)] = true
		}
	}
	return n, nil
}

// answers reports whether every event of the sequence meets the conditions, apart from their period.
func (q eventSequence) answers(where apikey.EventConditions) bool {
	where.Happened = apikey.Period{}
	switch q.order {
	case apikey.EventsByTenant:
	case apikey.EventsByNamespace:
		where.Namespace = nil
	case apikey.EventsByActor:
		where.ActorID = nil
	case apikey.EventsByActorKey:
		where.ActorKeyID = nil
	case apikey.EventsByResource:
		where.About = nil
	case apikey.EventsByRetriever:
		where.Retriever = nil
		if len(where.Naming) == 1 && string(where.Naming[0]) == q.of {
			where.Naming = nil
		}
	}
	return where.Empty()
}

// fewEvents is up to how many events the orders of a list are compared by.
const fewEvents = 20_000

// fewestEvents returns the sequences of the order with the fewest events in the list's range.
func (s *Store) fewestEvents(ctx context.Context, tenant apikey.InternalID, l *apikey.EventList) (best []eventSequence, err error) {
	fewest := fewEvents
	orders := l.Where.FoundBy()
	for i, by := range orders {
		from := eventSequences(tenant, by, &l.Where)
		if i == 0 {
			best = from
		}
		if len(orders) == 1 || fewest == 0 {
			break
		}
		cost, n := apikey.NewCost(fewest, 0), 0
		for _, q := range from {
			found, err := s.countEventRun(apikey.WithCost(ctx, cost), q, eventRun(l))
			if err != nil && cost.Exceeded() == nil {
				return nil, err
			}
			n += found
		}
		if cost.Exceeded() == nil && n < fewest {
			best, fewest = from, n
		}
	}
	return best, nil
}

// walkEvents calls f with each event of the run, until f needs no more. The first step looks at first rows.
func (s *Store) walkEvents(ctx context.Context, q eventSequence, r run, first int, f func(*apikey.Event) (more bool)) error {
	statement := eventsUp
	if r.down {
		statement = eventsDown
	}
	return s.inSteps(ctx, first, func(atOnce int) (more bool, err error) {
		rows, reached := 0, place{}
		more = true
		_, err = queryUntil[struct{}](ctx, s, eventStatement(q.order, statement), nil, func(doc bson.Raw) (none struct{}, ok, on bool) {
			rows++
			if e, ok := document.Event(doc); ok {
				reached = eventPlace(e.Position())
				more = f(&e)
			}
			return none, false, more
		}, r.arguments(q.tenant, q.of, atOnce)...)
		if r.down {
			r.below = reached
		} else {
			r.above = reached
		}
		return more && rows == atOnce, err
	})
}

// countEventRun counts the events of the run.
func (s *Store) countEventRun(ctx context.Context, q eventSequence, r run) (int, error) {
	return countRows(ctx, s, eventStatement(q.order, countEvents), func(limit int) []any { return r.arguments(q.tenant, q.of, limit) })
}
