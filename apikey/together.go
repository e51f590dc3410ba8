package apikey

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// Together calls f for 0 to n-1, up to 16 concurrently, and returns one of the errors, if any. The first error cancels the context of the
// others, and is its cause. A panic in f becomes an error.
func Together(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	turns := make(chan struct{}, maxCalls-1)
	wait := func() bool {
		turns <- struct{}{} // soon after the context ended, because every f then fails immediately
		return true
	}
	return together(ctx, n, wait, func() { <-turns }, f)
}

// Together is the function Together for a store, within one of the request's calls. Each f counts as a call too. If there is no free
// call, it runs as part of the current one.
func (c *Cost) Together(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	if c == nil {
		return Together(ctx, n, f)
	}
	return together(ctx, n, c.tryCall, c.callEnded, f)
}

// together runs each call except the last in a goroutine if take allows it, and the others itself.
func together(ctx context.Context, n int, take func() bool, give func(), f func(ctx context.Context, i int) error) error {
	guarded := func(ctx context.Context, i int) (err error) {
		defer CatchPanic(&err)
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
	for i := range n - 1 {
		if !take() {
			do(i)
			continue
		}
		wg.Go(func() {
			defer give()
			do(i)
		})
	}
	do(n - 1) // here, where the stack has grown already
	wg.Wait()
	return first
}

// CatchPanic makes a panic an error, with its stack. It must be deferred.
func CatchPanic(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
	}
}
