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

// One goroutine finishes the changes that were left unfinished. It works in rounds. A change that this process could
// not finish starts a round at once. A read starts one at most once a second, because another process can have left
// something, and waits a moment for it, so that it sees the result. After a round that fails the goroutine pauses,
// longer each time, and no read waits for the end of a pause.

const (
	// recheckAfter is how long reads assume that nothing is unfinished.
	recheckAfter = time.Second
	// patience is how long a read waits for a round.
	patience = 250 * time.Millisecond
	// The pauses after failed rounds: they double from firstPause to lastPause.
	firstPause = 100 * time.Millisecond
	lastPause  = time.Minute
)

// settler runs the rounds.
type settler struct {
	settle  func(context.Context) (some bool, err error) // runs one round
	logger  *slog.Logger
	recheck time.Duration

	stop  context.CancelFunc
	ended chan struct{}
	asked chan struct{} // has room for one item

	mu     sync.Mutex
	next   *round        // the round that is requested, running, or due after a pause; nil if there is none
	begins time.Time     // when next begins or began
	last   time.Time     // when a read last asked for a round
	pause  time.Duration // the pause before next, after a failure; otherwise 0
	more   bool          // a change was left unfinished since the running round began
}

// round is one search for unfinished changes.
type round struct {
	done chan struct{}
	some bool // it finished something; valid when done is closed
}

// start runs rounds until close.
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
		s.begins, s.more = time.Now(), false
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

// finished ends a round and returns the pause before the next one: 0 if the round succeeded.
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
	if err == nil && s.more {
		s.ask()
	}
	return s.pause
}

// ask starts a round. The caller holds the lock and has checked that next is nil.
func (s *settler) ask() {
	s.next, s.begins = &round{done: make(chan struct{})}, time.Now()
	s.asked <- struct{}{}
}

// due returns the round that a reader must wait for, or nil. It starts a round if the last one was long enough ago.
// Only one of several concurrent readers gets that round. While a successor is missing, every reader also waits for a
// round that begins soon.
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

// left starts a round because this process could not finish a change. It reports false if one is running or due already.
func (s *settler) left() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != nil {
		s.more = true
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

// wait waits for the round, for no longer than patience, and reports whether it finished something.
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

// once runs a round, or waits for the next one if there is one.
func (s *settler) once(ctx context.Context) {
	s.mu.Lock()
	if s.next == nil {
		s.ask()
	}
	r := s.next
	s.mu.Unlock()
	s.wait(ctx, r, 2*lastPause)
}

// guarded calls f and turns a panic into an error. A panic in the settler's goroutine would end the process.
func guarded[T any](f func() (T, error)) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}

// settling reads keys, and reads them again if a round finished something meanwhile. A failed round does not fail the
// read.
func settling[T any](ctx context.Context, s *Store, read func() (T, error)) (T, error) {
	r := s.settler.due(s.left.misses())
	v, err := read()
	if err == nil && r != nil && s.settler.wait(ctx, r, patience) {
		return read()
	}
	return v, err
}

// leftovers are the keys whose changes this process could not finish. They are found by their _id, without another
// index.
type leftovers struct {
	mu   sync.Mutex
	keys map[string]leftover
}

// maxLeft bounds the leftovers that a process remembers. It finds further ones only by the index of pending events.
const maxLeft = 1000

type leftover struct {
	filter bson.D // by _id and tenant
	// The successor that is not inserted yet, if any.
	tenant apikey.InternalID
	id     apikey.ID
	hash   string
}

func leftoverID(doc bson.Raw) string { return doc.Lookup("_id").String() }

// add remembers an unfinished key. placed says that its successor is stored as a document of its own.
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

// all returns the leftovers' ids, and the filters that select them.
func (l *leftovers) all() (ids []string, anyOf bson.A) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(l.keys)) {
		ids, anyOf = append(ids, id), append(anyOf, l.keys[id].filter)
	}
	return ids, anyOf
}

// misses reports whether some successor is not stored as a document of its own.
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

// pending caches the name of the index of pending events. Without that index no read looks for pending events, because
// it would scan all keys.
type pending struct {
	mu    sync.Mutex
	name  string    // empty if there is none, or it is unknown
	asked time.Time // when the server was last asked for it
}

// askAgainAfter is how long a missing index is assumed to be still missing. Another process can build it.
const askAgainAfter = time.Minute

func (p *pending) set(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.name, p.asked = name, time.Now()
}

// look returns the index's name. It lists the indexes if the name is unknown and was not asked for recently.
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

// lookForPending returns the name of the index of pending events, or an empty name.
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

// unfinishedKeys returns the documents of keys that have pending events and meet the conditions. With an index it finds
// all of them, without one only the leftovers of this process.
func (s *Store) unfinishedKeys(ctx context.Context, limit int, conditions ...bson.E) ([]bson.Raw, error) {
	name, err := s.lookForPending(ctx)
	if err != nil {
		return nil, err
	}
	if name != "" {
		// With the hint, the server refuses the query while the index is still being built, instead of scanning all
		// keys.
		q := find{filter: append(bson.D{somethingPending}, conditions...), hint: name}
		found, err := s.findUnfinished(ctx, q, limit)
		if !hasCode(err, codeBadValue) {
			return found, err
		}
		s.pending.set("")
	}
	_, anyOf := s.left.all()
	if len(anyOf) == 0 {
		return nil, nil
	}
	return s.findUnfinished(ctx, find{filter: append(bson.D{{Key: "$or", Value: anyOf}}, conditions...)}, limit)
}

var somethingPending = bson.E{Key: "pending_events.audit_id", Value: bson.D{{Key: "$gt", Value: ""}}}

// findUnfinished returns up to limit documents with something to finish, and fewer only if there are no more. The
// server cannot distinguish them from documents that carry only another organization's data, so the limit applies here:
// a hundred of those must not hide one that can be finished.
func (s *Store) findUnfinished(ctx context.Context, q find, limit int) ([]bson.Raw, error) {
	q.fields, q.batch = []string{"internal_id", "key_id", "revision", "pending_events", "successor"}, limit+1
	var found []bson.Raw
	_, err := q.until(ctx, s.primaryKeys(), func(doc bson.Raw, _ int) (enough bool) {
		if events, _ := document.PendingEvents(doc); len(events) > 0 {
			found = append(found, bytes.Clone(doc))
		}
		return len(found) == limit
	})
	return found, err
}

const (
	// finishBatch is how many unfinished changes one query returns.
	finishBatch = 100
	// maxFailures is how many changes a round can fail to finish before it leaves the rest to the next round.
	maxFailures = 20
	// maxTried bounds the changes that a sweep remembers as failed.
	maxTried = 10_000
)

// sweep is one pass over all unfinished changes. It can take several rounds.
type sweep struct {
	mu    sync.Mutex
	tried bson.A // the _ids of the keys that could not be finished
	err   error  // the error of the last of them
}

// FinishAll finishes the changes that any process left unfinished, and reports whether it finished some. It skips
// changes that it cannot finish, and returns an error for them. After maxFailures of them it stops, and the next call
// continues with the others.
func (s *Store) FinishAll(ctx context.Context) (some bool, err error) {
	s.sweep.mu.Lock()
	defer s.sweep.mu.Unlock()
	left, _ := s.left.all()
	scan := s.scan.Load()
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
			s.left.remove(left...) // another process has finished them
		}
		if scan {
			s.scan.Store(false) // failed changes are remembered, and found by their _id
		}
		return some, err
	}
	return some, s.sweep.err
}

// sweepKeys returns the next keys of the sweep. With scan it scans all keys, whatever indexes exist.
func (s *Store) sweepKeys(ctx context.Context, scan bool) ([]bson.Raw, error) {
	var conditions bson.D
	if len(s.sweep.tried) > 0 {
		conditions = bson.D{{Key: "_id", Value: bson.D{{Key: "$nin", Value: s.sweep.tried}}}}
	}
	if scan {
		return s.findUnfinished(ctx, find{filter: append(bson.D{somethingPending}, conditions...)}, finishBatch)
	}
	return s.unfinishedKeys(ctx, finishBatch, conditions...)
}
