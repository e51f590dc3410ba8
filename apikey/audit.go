package apikey

import (
	"context"
	"slices"
	"time"
	"unicode/utf8"
)

// EventPage is the default page size for the audit events of an organization or a namespace.
const EventPage = 100

// EventPlace is where events happened: those of a retriever, of a namespace, or, if both are nil, of the whole organization. The Service
// must have returned the retriever or namespace to the same caller.
type EventPlace struct {
	Retriever *Retriever
	Namespace *Namespace
}

// EventOptions are the arguments of a list of audit events.
type EventOptions struct {
	About  ID // if not empty, only events about this key, in addition to Filter
	Page   Page
	Filter EventFilter
	Wants  Wants
}

// EventFilter narrows a list of audit events. Its zero value restricts nothing. Texts match exactly. The result depends on the caller's
// events alone, and not on whether what the filter names exists.
type EventFilter struct {
	Action      []string // one of these; empty: any
	ActorID     *string
	ActorType   *string
	ActorKeyID  *string
	KeyID       *string // events about this key
	IPAddress   *string
	Status      *string
	RetrieverID *string    // events that name this retriever, which may be gone
	Since       *time.Time // inclusive
	Until       *time.Time // exclusive
}

// maxActions is how many actions a filter can have.
const maxActions = 100

// AuditEvents returns a page of the audit events of a place, newest first. It requires Admin and, for the organization, a caller who sees
// all of it.
//
// A retriever's events are those that name it, and a namespace's are those that happened in it. A caller whose scopes cover only some of
// the namespace's retrievers gets those of its events that name one of these.
func (s *Service) AuditEvents(ctx context.Context, c Caller, of EventPlace, o EventOptions) (*Connection[Event], error) {
	authorize, size := s.authorizeOrganization, EventPage
	if of != (EventPlace{}) {
		authorize = func(c Caller) error { return s.authorize(c, Admin) }
	}
	if of.Retriever != nil {
		size = MaxPage
	}
	if err := authorize(c); err != nil {
		return nil, err
	}
	where, err := o.conditions()
	if err != nil {
		return nil, err
	}
	w, err := o.Page.window(events, size)
	if err != nil {
		return nil, err
	}
	if err := CostFrom(ctx).Look(listCost); err != nil {
		return nil, err
	}
	if err := s.place(ctx, c, of, &where); err != nil {
		return nil, err
	}
	src := source[Event]{
		at: func(e *Event) position {
			value, _ := timeValue(&e.Timestamp)
			return position{kind: events, value: value, id: string(e.ID)}
		},
		run: func(ctx context.Context, w window) ([]Event, error) {
			return s.Store.EventPage(ctx, c.tenant(), EventList{
				Where: where, After: eventPosition(w.after), Before: eventPosition(w.before), FromEnd: w.fromEnd, Limit: w.limit,
			})
		},
		count: func(ctx context.Context) (int, error) { return s.Store.CountEvents(ctx, c.tenant(), where) },
	}
	return src.page(ctx, w, o.Wants)
}

// place adds two conditions: the events happened in that place, and the caller may see them.
func (s *Service) place(ctx context.Context, c Caller, of EventPlace, where *EventConditions) (err error) {
	var naming []RetrieverID
	switch ns := of.Namespace; {
	case of.Retriever != nil:
		naming = []RetrieverID{of.Retriever.ID}
	case ns != nil:
		where.Namespace = &ns.ID
		if c.coversNamespace(ReadData, ns) {
			break
		}
		if naming, err = s.retrieverIDs(ctx, c, ns); err != nil {
			return err
		}
		if len(naming) == 0 {
			return notFound("namespace")
		}
	}
	if where.Naming == nil { // else no event matches
		where.Naming = naming
	}
	return nil
}

// conditions checks the options and returns their conditions.
func (o *EventOptions) conditions() (EventConditions, error) {
	f := &o.Filter
	where := EventConditions{
		Retriever: (*RetrieverID)(f.RetrieverID), About: (*ID)(f.KeyID), Actions: distinctActions(f.Action), ActorID: f.ActorID,
		ActorType: (*ActorType)(f.ActorType), ActorKeyID: (*ID)(f.ActorKeyID), IPAddress: f.IPAddress, Outcome: (*Outcome)(f.Status),
		Happened: Period{f.Since, f.Until},
	}
	if len(where.Actions) > maxActions {
		return where, Invalid("filter.action", "action must have at most %d actions, not %d.", maxActions, len(where.Actions))
	}
	texts := []namedText{
		{"actorId", f.ActorID}, {"actorType", f.ActorType}, {"actorKeyId", f.ActorKeyID}, {"keyId", f.KeyID}, {"ipAddress", f.IPAddress},
		{"status", f.Status}, {"retrieverId", f.RetrieverID},
	}
	for i := range f.Action {
		texts = append(texts, namedText{"action", &f.Action[i]})
	}
	for _, t := range texts {
		if n := utf8.RuneCountInString(text(t.text)); n > maxSearch {
			return where, Invalid("filter."+t.field, "%s must have at most %d characters, not %d.", t.field, maxSearch, n)
		}
	}
	switch {
	case where.Happened.ends():
		return where, Invalid("filter.until", "until must be after since.")
	case o.About == "":
	case where.About == nil:
		where.About = &o.About
	case *where.About != o.About:
		where.Naming = []RetrieverID{} // no event is about two keys
	}
	return where, nil
}

type namedText struct {
	field string
	text  *string
}

// distinctActions returns each action once, or nil if there are none.
func distinctActions(names []string) []Action {
	if len(names) == 0 {
		return nil
	}
	actions := as[Action](names)
	slices.Sort(actions)
	return slices.Compact(actions)
}

func eventPosition(p *position) *EventPosition {
	if p == nil {
		return nil
	}
	return &EventPosition{Timestamp: *p.time(), ID: EventID(p.id)}
}
