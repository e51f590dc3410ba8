package sqlite

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"retrieverkeys/apikey"
)

// A long read, such as a search in all keys of an organization, is done in steps of a few milliseconds. The first step in each order that it reads runs
// as any other read. The steps after it run on a few threads that do nothing else, in turns between all long reads, and leave a processor to other
// requests if there are several. On a thread that also serves requests, Linux would let a step finish its time slice while requests wait. A long count
// is one step: a million keys take about 0.2 s.

// sizes says in which parts lists are read.
type sizes struct {
	firstRows    int // how many rows the first step of a read looks at
	rowsAtOnce   int // how many rows each further step looks at
	firstCounted int // how many rows are counted in an index before the count begins again aside
	longWalk     int // how many rows a list looks at in its order before it considers the table
	tableShare   int // a list reads the table if it spans more than one in this number of the table's rows
}

var usualSizes = sizes{firstRows: 500, rowsAtOnce: 2000, firstCounted: 10_000, longWalk: 20_000, tableShare: 2}

// inSteps calls step until it has no more to do.
func (s *Store) inSteps(ctx context.Context, first int, step func(rows int) (more bool, err error)) error {
	more, err := step(first)
	for more && err == nil {
		err = s.aside(ctx, func() (err error) {
			more, err = step(s.sizes.rowsAtOnce)
			return err
		})
	}
	return err
}

// asideStep is a step of a long read that waits for its turn.
type asideStep struct {
	run   func() error
	ended chan error
}

// aside runs a step of a long read on one of the threads for them.
func (s *Store) aside(ctx context.Context, run func() error) error {
	step := asideStep{run, make(chan error, 1)}
	select {
	case s.asides <- step:
		return <-step.ended
	case <-ctx.Done():
		return classify(ctx.Err())
	case <-s.closed:
		return classify(errors.New("the store is closed"))
	}
}

// startAsides starts the threads, and returns a function that ends them.
func (s *Store) startAsides() (stop func()) {
	var threads sync.WaitGroup
	for range asideThreads() {
		threads.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for {
				select {
				case step := <-s.asides:
					step.do()
				case <-s.closed:
					return
				}
			}
		})
	}
	return sync.OnceFunc(func() {
		close(s.closed)
		threads.Wait()
	})
}

// asideThreads returns the number of threads for long reads: one fewer than there are processors, or one. Other reads keep at least one of the readers.
func asideThreads() int { return min(readers-1, max(1, runtime.GOMAXPROCS(0)-1)) }

// do runs the step. Its caller gets an error if the step panics or ends the goroutine.
func (step asideStep) do() {
	err := errors.New("sqlite: a step did not end")
	defer func() { step.ended <- err }()
	defer apikey.CatchPanic(&err)
	err = step.run()
}
