package apikey

import "context"

// AuditEvents returns a page of the retriever's audit events, newest first. If about is set, it returns only events about that key. It
// requires Admin. The Service must have returned the retriever to the same caller.
func (s *Service) AuditEvents(ctx context.Context, c Caller, r *Retriever, about ID, p Page, wants Wants) (*Connection[Event], error) {
	if err := s.authorize(c, Admin); err != nil {
		return nil, err
	}
	w, err := p.window(events, MaxPage)
	if err != nil {
		return nil, err
	}
	if err := CostFrom(ctx).Look(listCost); err != nil {
		return nil, err
	}
	src := source[Event]{
		at: func(e *Event) position {
			value, _ := timeValue(&e.Timestamp)
			return position{list: events, value: value, id: string(e.ID)}
		},
		run: func(ctx context.Context, w window) ([]Event, error) {
			return s.Store.EventPage(ctx, c.tenant(), r.ID, EventRange{
				About: about, After: eventPosition(w.after), Before: eventPosition(w.before), FromEnd: w.fromEnd, Limit: w.limit,
			})
		},
		count: func(ctx context.Context) (int, error) { return s.Store.CountEvents(ctx, c.tenant(), r.ID, about) },
	}
	var got []Event
	if wants.reads() {
		if got, err = src.run(ctx, probe(w)); err != nil {
			return nil, err
		}
	}
	return src.connect(ctx, w, wants, got)
}

func eventPosition(p *position) *EventPosition {
	if p == nil {
		return nil
	}
	return &EventPosition{Timestamp: *p.time(), ID: EventID(p.id)}
}
