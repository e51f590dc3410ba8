package mongodb

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
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
	defer apikey.CatchPanic(&err)
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
