package mongodb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// What changes leave unfinished is finished by one goroutine, off the path of requests. Reads ask for a round of it: now and then, for
// what other processes left, and at once where this process could not put a successor in its place. Such a read waits a moment
// for the round, so that it sees what it asked for. Where a round fails the next one comes after a pause, each longer than the
// one before, and no read waits that long.

const (
	// recheckAfter is how long reads rely on there being nothing unfinished.
	recheckAfter = time.Second
	// patience is how long a read waits for a round.
	patience = 250 * time.Millisecond
	// The pauses between rounds that fail.
	firstPause = 100 * time.Millisecond
	lastPause  = time.Minute
)

// settler runs the rounds.
type settler struct {
	settle  func(context.Context) (some bool, err error) // one round
	logger  *slog.Logger
	recheck time.Duration

	stop  context.CancelFunc
	ended chan struct{}
	asked chan struct{} // holds one

	mu     sync.Mutex
	next   *round        // asked for, under way or waiting for the end of a pause; nil: none
	begins time.Time     // when next begins, at the latest
	last   time.Time     // when reads last asked for a round
	pause  time.Duration // 0 while nothing fails
	again  bool          // something was left since the round under way began
}

// round is one look for what is unfinished.
type round struct {
	done chan struct{}
	some bool // it finished something; known when it is done
}

// start begins to run rounds, until close.
func (s *settler) start() {
	ctx, stop := context.WithCancel(context.Background()) //nolint:forbidigo // it ends with the store
	s.stop, s.ended, s.asked = stop, make(chan struct{}), make(chan struct{}, 1)
	go func() {
		defer close(s.ended)
		s.run(ctx)
	}()
}

func (s *settler) close() {
	s.stop()
	<-s.ended
}

func (s *settler) run(ctx context.Context) {
	timer := time.NewTimer(lastPause)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.asked:
		case <-timer.C:
		}
		s.mu.Lock()
		s.begins, s.again = time.Now(), false
		s.mu.Unlock()
		some, err := guarded(func() (bool, error) { return s.settle(ctx) })
		if ctx.Err() != nil {
			return
		}
		if pause := s.finished(some, err); pause > 0 {
			timer.Reset(pause)
		}
	}
}

// finished ends a round, and returns how long to pause before the next one; 0 where nobody waits for one.
func (s *settler) finished(some bool, err error) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next.some = some
	close(s.next.done)
	s.next = nil
	switch {
	case err != nil:
		s.pause = min(max(2*s.pause, firstPause), lastPause)
		s.next, s.begins = &round{done: make(chan struct{})}, time.Now().Add(s.pause)
		s.logger.Warn("changes of keys are not finished", "error", err, "cause", errors.Unwrap(err), "retry_in", s.pause.String())
	case s.pause > 0:
		s.pause = 0
		s.logger.Info("changes of keys are finished again")
	}
	if err == nil && s.again {
		s.ask()
	}
	return s.pause
}

// ask has a round begin. The caller holds the lock, and there is no next one.
func (s *settler) ask() {
	s.next, s.begins = &round{done: make(chan struct{})}, time.Now()
	s.asked <- struct{}{}
}

// due returns the round that a reader waits for, which it asks for where it is time; of readers side by side one does. Those who miss
// a successor wait for any round that is near. Otherwise it is nil.
func (s *settler) due(missing bool) *round {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	switch {
	case s.next != nil && missing && s.begins.Sub(now) < patience:
		return s.next
	case s.next != nil || now.Sub(s.last) < s.recheck:
		return nil
	}
	s.last = now
	s.ask()
	return s.next
}

// left has a round begin because this process left something, and reports whether that is news: nothing failed so far.
func (s *settler) left() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != nil {
		s.again = true
		return false
	}
	s.ask()
	return true
}

// failing reports whether the last round failed.
func (s *settler) failing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pause > 0
}

// wait reports whether the round finished something, as far as it is known in time.
func (s *settler) wait(ctx context.Context, r *round, patience time.Duration) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-r.done:
		return r.some
	case <-timer.C:
	case <-ctx.Done():
	case <-s.ended:
	}
	return false
}

// once runs a round, or waits for the one that comes next.
func (s *settler) once(ctx context.Context) {
	s.mu.Lock()
	if s.next == nil {
		s.ask()
	}
	r := s.next
	s.mu.Unlock()
	s.wait(ctx, r, 2*lastPause)
}

// guarded turns a panic into an error: it would end the process.
func guarded[T any](f func() (T, error)) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}

// settling reads keys. Where a round for it finishes something, it reads again. What hinders the finishing does not hinder the
// reading.
func settling[T any](ctx context.Context, s *Store, read func() (T, error)) (T, error) {
	r := s.settler.due(s.left.misses())
	v, err := read()
	if err == nil && r != nil && s.settler.wait(ctx, r, patience) {
		return read()
	}
	return v, err
}

// leftovers are the keys whose changes this process could not finish, and that it can find by their _id whatever indexes there
// are.
type leftovers struct {
	mu   sync.Mutex
	keys map[string]leftover
}

// maxLeft is how many leftovers are kept. More than that are found by the index of pending events alone.
const maxLeft = 1000

type leftover struct {
	filter bson.D // by _id and tenant
	// The successor that is not in its place, if any.
	tenant apikey.InternalID
	id     apikey.ID
	hash   string
}

func leftoverID(doc bson.Raw) string { return doc.Lookup("_id").String() }

// add takes down a key that is not finished; placed says that its successor is where it belongs.
func (l *leftovers) add(doc bson.Raw, placed bool) {
	doc = bytes.Clone(doc)
	of := leftover{filter: bson.D{{Key: "_id", Value: doc.Lookup("_id")}, internalID(doc)}}
	if _, successor := document.PendingEvents(doc); successor != nil && !placed {
		k, _ := document.Key(successor, 0)
		of.tenant, of.id, of.hash = k.InternalID, k.ID, k.Hash
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if id := leftoverID(doc); l.keys[id].filter != nil || len(l.keys) < maxLeft {
		if l.keys == nil {
			l.keys = map[string]leftover{}
		}
		l.keys[id] = of
	}
}

func (l *leftovers) remove(ids ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		delete(l.keys, id)
	}
}

// all are the leftovers' ids and what selects them.
func (l *leftovers) all() (ids []string, anyOf bson.A) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(l.keys)) {
		ids, anyOf = append(ids, id), append(anyOf, l.keys[id].filter)
	}
	return ids, anyOf
}

// misses reports whether some successor is not in its place.
func (l *leftovers) misses() bool {
	_, ok := l.find(func(of leftover) bool { return of.hash != "" })
	return ok
}

func (l *leftovers) find(is func(leftover) bool) (leftover, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, of := range l.keys {
		if is(of) {
			return of, true
		}
	}
	return leftover{}, false
}

// pending is what is known of the index of pending events. Without it no read looks for them: it would look through all keys.
type pending struct {
	mu    sync.Mutex
	name  string    // empty: there is none, or nobody knows
	asked time.Time // when it was last looked for
}

// askAgainAfter is how long an index that is not there is taken to be missing. Another process may make it.
const askAgainAfter = time.Minute

func (p *pending) set(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.name, p.asked = name, time.Now()
}

// look returns the index's name, which it asks for where it is time.
func (p *pending) look(list func() (name string, err error)) (string, error) {
	p.mu.Lock()
	name, known := p.name, p.name != "" || time.Since(p.asked) < askAgainAfter
	p.mu.Unlock()
	if known {
		return name, nil
	}
	name, err := list()
	if err == nil {
		p.set(name)
	}
	return name, err
}

// lookForPending looks for the index of pending events.
func (s *Store) lookForPending(ctx context.Context) (string, error) {
	return s.pending.look(func() (string, error) {
		existing, err := s.listIndexes(ctx, document.Keys)
		if hasCode(err, codeUnauthorized) {
			return "", nil
		}
		ours, _ := pendingIndex.among(existing)
		return ours.name, err
	})
}

// unfinishedKeys returns documents of keys with pending events that meet the conditions: all that there are, where an index finds
// them; else those that this process left.
func (s *Store) unfinishedKeys(ctx context.Context, limit int, conditions ...bson.E) ([]bson.Raw, error) {
	name, err := s.lookForPending(ctx)
	if err != nil {
		return nil, err
	}
	if name != "" {
		// The hint keeps the server from looking through all keys instead, while the index is still being built, say.
		q := find{filter: append(bson.D{somethingPending}, conditions...), hint: name, limit: limit}
		found, err := s.findUnfinished(ctx, q)
		if !hasCode(err, codeBadValue) {
			return found, err
		}
		s.pending.set("")
	}
	_, anyOf := s.left.all()
	if len(anyOf) == 0 {
		return nil, nil
	}
	return s.findUnfinished(ctx, find{filter: append(bson.D{{Key: "$or", Value: anyOf}}, conditions...), limit: limit})
}

var somethingPending = bson.E{Key: "pending_events.audit_id", Value: bson.D{{Key: "$gt", Value: ""}}}

func (s *Store) findUnfinished(ctx context.Context, q find) ([]bson.Raw, error) {
	q.fields = []string{"internal_id", "revision", "pending_events", "successor"}
	var found []bson.Raw
	_, err := q.each(ctx, s.primaryKeys(), func(doc bson.Raw, _ int) {
		if events, _ := document.PendingEvents(doc); len(events) > 0 {
			found = append(found, bytes.Clone(doc))
		}
	})
	return found, err
}

const (
	// finishBatch is how many unfinished changes are read at a time.
	finishBatch = 100
	// maxFailures is how many changes a round fails to finish before it leaves the others to the next one.
	maxFailures = 20
	// maxTried is how many changes that cannot be finished are told from others.
	maxTried = 10_000
)

// sweep goes through all that is unfinished, in as many rounds as it takes.
type sweep struct {
	mu    sync.Mutex
	tried bson.A // the _ids of those that could not be finished
	err   error  // why not, the last of them
}

// FinishAll finishes the changes that some process was stopped in the midst of, and reports whether there were any. It goes on past
// those that cannot be finished, and tells of them by an error: of so many at a time, and of the others when it is called again.
func (s *Store) FinishAll(ctx context.Context) (some bool, err error) {
	s.sweep.mu.Lock()
	defer s.sweep.mu.Unlock()
	left, _ := s.left.all()
	scan := s.scan.Swap(false)
	for failures := 0; failures < maxFailures; {
		found, err := s.sweepKeys(ctx, scan)
		if err != nil {
			return some, err
		}
		complete := len(found) < finishBatch
		for _, doc := range found {
			if ctx.Err() != nil {
				return some, failure(ctx.Err())
			}
			_, err := guarded(func() (bool, error) { return s.finishInTime(ctx, doc) })
			if err == nil {
				some = true
				continue
			}
			s.sweep.tried, s.sweep.err = append(s.sweep.tried, doc.Lookup("_id")), err
			if failures++; failures == maxFailures {
				complete = false
				break
			}
		}
		if !complete && len(s.sweep.tried) < maxTried {
			continue
		}
		err = s.sweep.err
		s.sweep.tried, s.sweep.err = nil, nil
		if err == nil {
			s.left.remove(left...) // somebody else finished them
		}
		return some, err
	}
	return some, s.sweep.err
}

// sweepKeys returns the next keys of the sweep, with a scan those that no index finds, too.
func (s *Store) sweepKeys(ctx context.Context, scan bool) ([]bson.Raw, error) {
	var conditions bson.D
	if len(s.sweep.tried) > 0 {
		conditions = bson.D{{Key: "_id", Value: bson.D{{Key: "$nin", Value: s.sweep.tried}}}}
	}
	if scan {
		return s.findUnfinished(ctx, find{filter: append(bson.D{somethingPending}, conditions...), limit: finishBatch})
	}
	return s.unfinishedKeys(ctx, finishBatch, conditions...)
}
