package apikey

import (
	"cmp"
	"slices"
	"time"
)

// EventList is what a list of events asks a Store for: conditions, and a range of the order, which is newest first, then by descending id.
type EventList struct {
	Where         EventConditions
	After, Before *EventPosition // both exclusive; nil is the end of the list
	FromEnd       bool           // the last Limit events of the range instead of the first, still newest first
	Limit         int            // at least 1
}

// EventConditions are conditions on events. An event must meet all of them. The zero value sets none.
type EventConditions struct {
	Naming     []RetrieverID // the event names at least one of these; nil: any event, empty: none
	Retriever  *RetrieverID  // the event names this retriever, whatever Naming says
	Namespace  *NamespaceID  // the event happened in this namespace
	About      *ID           // the event is about the resource with this id
	Actions    []Action      // one of these; nil: any
	ActorID    *string
	ActorType  *ActorType
	ActorKeyID *ID // events without a key of the actor do not match
	IPAddress  *string
	Outcome    *Outcome
	Happened   Period
}

// Empty reports whether every event meets the conditions.
func (c *EventConditions) Empty() bool {
	return c.Naming == nil && c.Retriever == nil && c.Namespace == nil && c.About == nil && c.Actions == nil && c.ActorID == nil &&
		c.ActorType == nil && c.ActorKeyID == nil && c.IPAddress == nil && c.Outcome == nil && c.Happened.Open()
}

// None reports whether no event can meet the conditions: a set is empty, or an id that is never empty must be.
func (c *EventConditions) None() bool {
	return c.Naming != nil && len(c.Naming) == 0 || c.Actions != nil && len(c.Actions) == 0 ||
		c.Retriever != nil && *c.Retriever == "" || c.ActorKeyID != nil && *c.ActorKeyID == ""
}

// EventsBy is a condition by which a Store finds events: it has an index in which the events that meet it are in the order of lists.
type EventsBy int

// The conditions by which events are found.
const (
	EventsByTenant    EventsBy = iota // the tenant alone
	EventsByNamespace                 // Namespace
	EventsByRetriever                 // Retriever or else Naming
	EventsByActor                     // ActorID
	EventsByActorKey                  // ActorKeyID
	EventsByResource                  // About
)

// fewRetrievers is how many retrievers' events a Store merges. For more, it looks at all events of the namespace.
const fewRetrievers = 50

// FoundBy returns the conditions by which the events can be found. The Store takes the one that fewer events meet. There are two if
// one is about the actor and one about the place. A condition that an empty text must be equal to finds nothing, because it includes missing
// values.
func (c *EventConditions) FoundBy() []EventsBy {
	var by []EventsBy
	switch {
	case finds(c.About): // usually few events, nearly all of the same place
		return []EventsBy{EventsByResource}
	case finds(c.ActorKeyID):
		by = append(by, EventsByActorKey)
	case finds(c.ActorID):
		by = append(by, EventsByActor)
	}
	switch {
	case c.Retriever != nil, c.Naming != nil && len(c.Naming) <= fewRetrievers:
		by = append(by, EventsByRetriever)
	case finds(c.Namespace):
		by = append(by, EventsByNamespace)
	}
	if by == nil {
		by = []EventsBy{EventsByTenant}
	}
	return by
}

func finds[T ~string](want *T) bool { return want != nil && *want != "" }

// Matcher returns a function that reports whether an event meets the conditions.
func (c *EventConditions) Matcher() func(*Event) bool {
	named := make(map[RetrieverID]bool, len(c.Naming)) // there may be thousands
	for _, id := range c.Naming {
		named[id] = true
	}
	return func(e *Event) bool {
		return (c.Naming == nil || slices.ContainsFunc(e.RetrieverIDs, func(id RetrieverID) bool { return named[id] })) &&
			(c.Retriever == nil || slices.Contains(e.RetrieverIDs, *c.Retriever)) &&
			meets(c.Namespace, &e.NamespaceID) && (c.About == nil || e.ResourceID == string(*c.About)) &&
			(c.Actions == nil || slices.Contains(c.Actions, e.Action)) &&
			meets(c.ActorID, &e.ActorID) && meets(c.ActorType, &e.ActorType) && meets(c.ActorKeyID, e.ActorKeyID) &&
			meets(c.IPAddress, e.IPAddress) && meets(c.Outcome, &e.Outcome) && c.Happened.has(&e.Timestamp)
	}
}

// meets reports whether a value, nil if there is none, is the wanted one. Nil wants nothing.
func meets[T comparable](want, value *T) bool {
	return want == nil || value != nil && *value == *want
}

// EventPosition is a place in the order of events. It stays valid after its event is gone.
type EventPosition struct {
	Timestamp time.Time
	ID        EventID
}

// Position returns the event's place in the order.
func (e *Event) Position() EventPosition { return EventPosition{e.Timestamp, e.ID} }

// Compare compares two places: the newest first, then by descending id.
func (p EventPosition) Compare(q EventPosition) int {
	return cmp.Or(q.Timestamp.Compare(p.Timestamp), cmp.Compare(q.ID, p.ID))
}

// Has reports whether a place is in the list's range.
func (l *EventList) Has(at EventPosition) bool {
	return (l.After == nil || at.Compare(*l.After) > 0) && (l.Before == nil || at.Compare(*l.Before) < 0)
}

// Cut sorts events by the order, drops repetitions, and keeps the first or last ones, as the list asks.
func (l *EventList) Cut(events []Event) []Event {
	slices.SortFunc(events, func(a, b Event) int { return a.Position().Compare(b.Position()) })
	events = slices.CompactFunc(events, func(a, b Event) bool { return a.ID == b.ID })
	switch n := len(events) - l.Limit; {
	case n <= 0:
		return events
	case l.FromEnd:
		return slices.Delete(events, 0, n)
	default:
		return slices.Delete(events, l.Limit, len(events))
	}
}
