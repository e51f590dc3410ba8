package apikey

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// sideBySide is how many calls Together makes at once: one request must not take a store's whole pool.
const sideBySide = 16

// Together calls f for 0 to n-1, several side by side, and returns one of the errors, if any. The first error ends the
// others' context, and is its cause. A panic in f becomes an error.
func Together(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	guarded := func(ctx context.Context, i int) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		return f(ctx, i)
	}
	switch n {
	case 0:
		return nil
	case 1:
		return guarded(ctx, 0)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	do := func(i int) {
		if err := guarded(ctx, i); err != nil {
			once.Do(func() { first = err; cancel(err) })
		}
	}
	turns := make(chan struct{}, sideBySide-1)
	for i := range n - 1 {
		turns <- struct{}{} // comes soon when the context has ended: then every f does nothing but fail
		wg.Go(func() {
			defer func() { <-turns }()
			deepen(0)
			do(i)
		})
	}
	do(n - 1) // here, where the stack has grown already
	wg.Wait()
	return first
}

// deepen has the stack of a new goroutine grow at once to what a read through a database's driver takes. Grown on the way
// down, it is copied several times with all that is on it: 8% of the time of a short list.
//
//go:noinline
func deepen(i int) byte {
	var room [12 << 10]byte
	return room[i]
}
