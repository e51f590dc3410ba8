package apikey

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Live gives new audit events of an organization to its followers. One goroutine per process reads the store: once a second, the last five
// seconds of each organization that has followers. They share the events, so that one more follower costs nothing until it takes them.
//
// Followers also get events that reach the store late, if their timestamps are no older than five seconds when they are read.
type Live struct {
	Store  Store
	Logger *slog.Logger
	// Most is how many can follow at once. One organization gets a quarter of them, at least one.
	Most int

	mu     sync.Mutex
	open   int // followers of all organizations
	trails map[InternalID]*trail
}

const (
	// lookEvery is how often new events are read.
	lookEvery = time.Second
	// lookBack is how long events can take from their timestamp to the store.
	lookBack = 5 * time.Second
	// outageAfter is how long reads can fail before they end the followers. After a shorter failure, the next read goes back as far.
	outageAfter = 5 * time.Second
	// lookTimeout limits one read of an organization.
	lookTimeout = outageAfter
	// mostBehind is how many events a follower may have left when more arrive.
	mostBehind = 1000
	// mostRecent is how many events of an organization one look reads. More end its streams, because no follower could keep up.
	mostRecent = 20_000
	// shareOfOne is which part of all followers one organization can have.
	shareOfOne = 4
)

// trail is what the followers of one organization share.
type trail struct {
	of    InternalID
	ready chan struct{} // closed when the first look has ended
	err   error         // of the first look; valid when ready is closed

	followers map[*Follower]struct{} // guarded by Live.mu

	// The fields below belong to the first look, and then to Run.
	looked time.Time             // when the last successful look began
	seen   map[EventID]time.Time // the events of the last looks that the next one can find again, with their timestamps
}

// Follower receives the new events of an organization. Its methods are for one goroutine.
type Follower struct {
	live    *Live
	trail   *trail
	matches func(*Event) bool
	more    chan struct{} // has room for one item

	mu      sync.Mutex
	batches [][]Event // shared with other followers; the first is never empty
	behind  int       // events in batches
	err     error     // why no more events follow
}

// FollowEvents returns a Follower of the caller's organization, for the events that match the filter and reach the store from now on. It
// requires what AuditEvents of the organization requires. The caller must close it.
func (s *Service) FollowEvents(ctx context.Context, c Caller, f EventFilter) (*Follower, error) {
	if err := s.authorizeOrganization(c); err != nil {
		return nil, err
	}
	where, err := (&EventOptions{Filter: f}).conditions()
	if err != nil {
		return nil, err
	}
	if s.Live == nil {
		return nil, tooManyStreams(0, "This server")
	}
	return s.Live.follow(ctx, c.tenant(), where.Matcher())
}

// MayStillFollow decides again whether the caller may follow events, from the key as it is stored now: whether it is active, its permissions
// and scopes, and whether it may be used from pages of the origin.
func (s *Service) MayStillFollow(ctx context.Context, c Caller, origin string) error {
	now, err := s.authenticate(ctx, c.Key.Hash)
	if err != nil {
		return err
	}
	if now.tenant() != c.tenant() {
		return refusedBearer()
	}
	if err := now.CheckOrigin(origin); err != nil {
		return err
	}
	return s.authorizeOrganization(now)
}

func tooManyStreams(most int, of string) *Error {
	return &Error{
		Code: Unavailable, Limit: "MAX_STREAMS", RetryAfter: lookBack,
		Message: fmt.Sprintf("%s has all the open streams that it may have: %d (MAX_STREAMS). Close one, or try again later.", of, most),
	}
}

func (l *Live) follow(ctx context.Context, tenant InternalID, matches func(*Event) bool) (*Follower, error) {
	t, f, first, err := l.join(tenant, matches)
	if err != nil {
		return nil, err
	}
	if first { // what is there already is not new
		t.err = l.begin(ctx, t)
		close(t.ready)
	}
	select {
	case <-t.ready:
		err = t.err
	case <-ctx.Done():
		err = Outage(ctx.Err())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// join adds a follower, and reports whether it is the first of its organization.
func (l *Live) join(tenant InternalID, matches func(*Event) bool) (t *trail, f *Follower, first bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t = l.trails[tenant]
	if first = t == nil; first {
		t = &trail{of: tenant, ready: make(chan struct{}), followers: map[*Follower]struct{}{}}
	}
	own := max(1, l.Most/shareOfOne)
	switch {
	case l.open >= l.Most:
		return nil, nil, false, tooManyStreams(l.Most, "This server")
	case len(t.followers) >= own:
		return nil, nil, false, tooManyStreams(own, "Your organization")
	}
	if first {
		if l.trails == nil {
			l.trails = map[InternalID]*trail{}
		}
		l.trails[tenant] = t
	}
	f = &Follower{live: l, trail: t, matches: matches, more: make(chan struct{}, 1)}
	t.followers[f] = struct{}{}
	l.open++
	return t, f, first, nil
}

// begin is the first look at an organization. It does not depend on the first follower, which may leave while others wait for it.
func (l *Live) begin(ctx context.Context, t *trail) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
	defer cancel()
	start := time.Now()
	_, err := l.look(ctx, t, start.Add(-lookBack))
	if err != nil {
		l.drop(t) // the next one tries again
	}
	return err
}

// drop forgets an organization, so that its next follower starts with a first look. It leaves a trail alone that has replaced this one.
func (l *Live) drop(t *trail) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.trails[t.of] == t {
		delete(l.trails, t.of)
	}
}

// Close ends the following. It can be called more than once.
func (f *Follower) Close() {
	l := f.live
	l.mu.Lock()
	defer l.mu.Unlock()
	t := f.trail
	if _, follows := t.followers[f]; !follows {
		return
	}
	delete(t.followers, f)
	l.open--
	if len(t.followers) == 0 && l.trails[t.of] == t {
		delete(l.trails, t.of)
	}
}

// More returns a channel that receives when there is something for Next.
func (f *Follower) More() <-chan struct{} { return f.more }

// Next returns the next event, or nil if there is none yet. An error means that no more follow: Unavailable if events may be lost,
// because the store cannot be read or because the follower is too far behind.
func (f *Follower) Next() (*Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.batches) > 0 {
		e := &f.batches[0][0]
		f.behind--
		if f.batches[0] = f.batches[0][1:]; len(f.batches[0]) == 0 {
			f.batches[0] = nil
			f.batches = f.batches[1:]
		}
		if f.matches(e) {
			return e, nil
		}
	}
	return nil, f.err
}

// tell gives the follower a batch, or ends it if it is too far behind. The events that it has not taken then are dropped, because a slow
// follower must not hold memory.
func (f *Follower) tell(batch []Event) {
	f.mu.Lock()
	switch {
	case f.err != nil:
	case f.behind > mostBehind:
		f.batches, f.behind = nil, 0
		f.err = tooFarBehind()
	default:
		f.batches = append(f.batches, batch)
		f.behind += len(batch)
	}
	f.mu.Unlock()
	f.wake()
}

// ErrBehind is the cause of the error of a Follower that is too far behind.
var ErrBehind = errors.New("the follower is too far behind")

func tooFarBehind() *Error {
	return &Error{
		Code: Unavailable, cause: ErrBehind,
		Message: fmt.Sprintf("The client is more than %d events behind. Subscribe again, and read what it missed from auditEvents.", mostBehind),
	}
}

// end ends the follower with an error, after the events that it has not taken yet.
func (f *Follower) end(err error) {
	f.mu.Lock()
	if f.err == nil {
		f.err = err
	}
	f.mu.Unlock()
	f.wake()
}

func (f *Follower) wake() {
	select {
	case f.more <- struct{}{}:
	default:
	}
}

// Run reads new events for all followers until the context ends.
func (l *Live) Run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.lookAtAll(ctx)
		}
	}
}

func (l *Live) lookAtAll(ctx context.Context) {
	l.mu.Lock()
	all := slices.Collect(maps.Values(l.trails))
	l.mu.Unlock()
	all = slices.DeleteFunc(all, func(t *trail) bool { return !t.begun() })
	_ = Together(ctx, len(all), func(ctx context.Context, i int) error {
		l.advance(ctx, all[i])
		return nil // one organization's failure does not stop the others
	})
}

func (t *trail) begun() bool {
	select {
	case <-t.ready:
		return t.err == nil
	default:
		return false
	}
}

// advance tells the followers of an organization what is new. If events may be lost, it ends them.
func (l *Live) advance(ctx context.Context, t *trail) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	began := time.Now()
	batch, err := l.look(ctx, t, t.looked.Add(lookEvery-lookBack))
	behind := errors.Is(err, ErrBehind)
	switch {
	case err == nil:
		if len(batch) > 0 {
			l.each(t, func(f *Follower) { f.tell(batch) })
		}
		return
	case ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded): // the process stops
		return
	case !behind && time.Since(t.looked) < outageAfter:
		return
	}
	l.Logger.WarnContext(ctx, "streams of audit events end: new events could not be read", "took", time.Since(began).String(), "error", err, "cause", errors.Unwrap(err))
	l.drop(t)
	l.each(t, func(f *Follower) { f.end(Classify(err)) })
}

// each calls do for each follower of the organization.
func (l *Live) each(t *trail, do func(*Follower)) {
	l.mu.Lock()
	followers := slices.Collect(maps.Keys(t.followers))
	l.mu.Unlock()
	for _, f := range followers {
		do(f)
	}
}

// look returns the events since an instant that earlier looks have not seen, the oldest first.
func (l *Live) look(ctx context.Context, t *trail, since time.Time) (unseen []Event, err error) {
	defer CatchPanic(&err)
	start := time.Now()
	found := 0
	list := EventList{Where: EventConditions{Happened: Period{From: &since}}, FromEnd: true, Limit: MaxPage}
	for {
		page, err := l.Store.EventPage(ctx, t.of, list)
		if err != nil {
			return nil, err
		}
		for i := range slices.Backward(page) {
			if _, seen := t.seen[page[i].ID]; !seen {
				unseen = append(unseen, page[i])
			}
		}
		if found += len(page); found > mostRecent {
			return nil, tooFarBehind()
		}
		if len(page) < list.Limit {
			break
		}
		newest := page[0].Position()
		list.Before = &newest
	}
	if t.seen == nil {
		t.seen = map[EventID]time.Time{}
	}
	t.looked = start
	from := start.Add(lookEvery - lookBack) // where the next look begins
	maps.DeleteFunc(t.seen, func(_ EventID, at time.Time) bool { return at.Before(from) })
	for i := range unseen {
		if e := &unseen[i]; !e.Timestamp.Before(from) {
			t.seen[e.ID] = e.Timestamp
		}
	}
	return unseen, nil
}
