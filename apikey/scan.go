package apikey

import (
	"context"
	"errors"
	"sync"
	"time"
)

// A list scans if no index of a store answers its conditions, so that reading a page can look at all keys of its source. Before a list scans,
// it counts what it can look at, and charges that to the request's Cost. One scan of a request may look at more than the Cost allows. Such a
// scan ends with the request's deadline, and an organization has one at a time.

// scan says how a list scans.
type scan struct {
	cost *Cost // without a limit of documents, because they are charged already
	long bool  // it may look at more than the request's Cost allows
}

// scans are the organizations that have a long scan now.
type scans struct {
	mu      sync.Mutex
	running map[InternalID]chan struct{} // closed at the end
}

// begin waits until the organization has no long scan, and starts one.
func (s *scans) begin(ctx context.Context, tenant InternalID) (end func(), err error) {
	for {
		s.mu.Lock()
		other, busy := s.running[tenant]
		if !busy {
			if s.running == nil {
				s.running = map[InternalID]chan struct{}{}
			}
			done := make(chan struct{})
			s.running[tenant] = done
			s.mu.Unlock()
			return func() {
				s.mu.Lock()
				delete(s.running, tenant)
				s.mu.Unlock()
				close(done)
			}, nil
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, tooLong(ctx.Err())
		}
	}
}

// tooLong is the error of a scan that the deadline ended.
func tooLong(cause error) error {
	return &Error{
		Code:       Unavailable,
		Message:    "Searching this many keys took too long. Ask for fewer: set filter.createdBy, or filter.createdAfter and filter.createdBefore, or leave out total.",
		RetryAfter: time.Second, cause: cause,
	}
}

// scanning prepares one call of the store for a list that scans. For other lists it changes nothing.
func (s *Service) scanning(ctx context.Context, tenant InternalID, sc *scan) (_ context.Context, done func(), err error) {
	if sc == nil {
		return ctx, func() {}, nil
	}
	done = func() {}
	if sc.long {
		if done, err = s.scans.begin(ctx, tenant); err != nil {
			return nil, nil, err
		}
	}
	return WithCost(ctx, sc.cost), done, nil
}

// explain returns the error of a call that scanning prepared.
func (sc *scan) explain(ctx context.Context, err error) error {
	if sc != nil && sc.long && err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return tooLong(err)
	}
	return err
}

// indexSort is how many keys a store finds by an index of one order to sort them by another.
const indexSort = 20_000

// scans reports whether the list scans, and returns the conditions that limit what it can look at.
func (q *query) scans(of keySource) (look KeyConditions, scans bool) {
	w := &q.where
	byExpiry := !w.Expires.Open() || w.NeverExpires
	other := w.Status != nil && w.OnlyActive().IsZero() || w.Types != nil || w.UnusedSince != nil || w.NeverUsed || w.Findings != 0 || !w.Search.Empty()
	look = of.of(KeyConditions{Created: w.Created})
	switch {
	case look.Naming != nil:
		return look, other || byExpiry || w.CreatedBy != nil || q.order.ByExpiry || of.retriever == ""
	case w.CreatedBy != nil:
		look.CreatedBy = w.CreatedBy
		return look, other || byExpiry || q.order.ByExpiry
	case q.order.ByExpiry:
		return KeyConditions{Expires: w.Expires, NeverExpires: w.NeverExpires}, other || !w.Created.Open()
	default:
		return look, other || byExpiry
	}
}

// startScan prepares the query if the list scans, and decides how the keys of a namespace's retrievers are read.
func (s *Service) startScan(ctx context.Context, tenant InternalID, of keySource, q *query) (keySource, error) {
	look, scans := q.scans(of)
	if !scans || q.scan != nil && q.scan.long {
		return of, nil
	}
	cost := CostFrom(ctx)
	var n int
	over, err := true, error(nil)
	switch {
	case of.naming != nil:
		if n, over, err = s.countUpTo(ctx, tenant, look, indexSort); over {
			of.walk, look.Naming = true, nil
		}
	case look.CreatedBy != nil && q.order.ByExpiry:
		if n, over, err = s.countUpTo(ctx, tenant, look, indexSort); over { // a store walks the keys of all creators
			look = KeyConditions{Expires: q.where.Expires, NeverExpires: q.where.NeverExpires}
		}
	case look.CreatedBy == nil && !q.order.ByExpiry && look.Naming == nil:
		if byExpiry := (KeyConditions{Expires: q.where.Expires, NeverExpires: q.where.NeverExpires}); !byExpiry.Expires.Open() || byExpiry.NeverExpires {
			n, over, err = s.countUpTo(ctx, tenant, byExpiry, indexSort)
		}
	}
	if err != nil || !cost.bounded() {
		return of, err
	}
	if over {
		if n, over, err = s.countUpTo(ctx, tenant, look, cost.Left()); err != nil {
			return of, err
		}
	}
	return of, q.startScan(cost, n, over)
}

// startRetrieverScan is startScan for lists of the keys of each of several retrievers.
func (s *Service) startRetrieverScan(ctx context.Context, tenant InternalID, ids []RetrieverID, q *query) error {
	cost := CostFrom(ctx)
	look, scans := q.scans(keySource{retriever: ids[0]})
	if !scans || !cost.bounded() || q.scan != nil && q.scan.long {
		return nil
	}
	n, over, err := s.countUpTo(ctx, tenant, look.Of(ids...), cost.Left())
	if err != nil {
		return err
	}
	return q.startScan(cost, n, over)
}

// startScan charges a scan of n documents, or more if over is set.
func (q *query) startScan(cost *Cost, n int, over bool) error {
	passes := 0
	for _, pass := range []bool{
		q.Wants.reads() || q.ranks(), !q.ranks() && q.Wants.Total, !q.ranks() && q.Wants.HasPrevious && q.window.after != nil,
		!q.ranks() && q.Wants.HasNext && q.window.before != nil,
	} {
		if pass {
			passes++
		}
	}
	sc, err := newScan(cost, n*passes, over, "filter")
	if err == nil {
		q.scan = sc
	}
	return err
}

// newScan charges a scan of n documents, or more if over is set. If the request may not scan that many, the error names the field.
func newScan(cost *Cost, n int, over bool, field string) (*scan, error) {
	switch {
	case !over && n <= cost.Left():
		return &scan{cost: cost.unlimited()}, cost.Look(n)
	case cost.takeScan():
		return &scan{cost: cost.unlimited(), long: true}, nil
	default:
		return nil, cost.exceed(Invalid(field, "The request looks at too many keys: more than %d (MAX_READS). One list, or the report, of a request may do that. Ask for the others in requests of their own.", cost.reads), "MAX_READS")
	}
}

// countUpTo counts keys without charging the request, up to a limit. It reports whether there are more.
func (s *Service) countUpTo(ctx context.Context, tenant InternalID, where KeyConditions, most int) (n int, over bool, err error) {
	if most < 1 {
		return 0, true, nil
	}
	done, err := CostFrom(ctx).readLarge(ctx)
	if err != nil {
		return 0, false, err
	}
	defer done()
	entries := NewCost(most, 0)
	n, err = s.Store.CountKeys(WithCost(ctx, entries), tenant, where)
	if entries.Exceeded() != nil {
		return most, true, nil
	}
	return n, false, err
}
