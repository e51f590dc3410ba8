package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"retrieverkeys/apikey"
)

// gate limits concurrency so that overload does not slow admitted requests. A limited number of requests are processed at a time, others
// wait briefly in order of arrival, and the rest are refused with 503. A request has its turn from when its body has been read until its
// response begins, so a client that sends or reads slowly holds no turn.
type gate struct {
	turns    *semaphore.Weighted
	waiting  atomic.Int64
	mayWait  int64         // requests that may wait
	wait     time.Duration // for a turn, at most
	metrics  Metrics
	logger   *slog.Logger
	unlogged atomic.Int64 // refusals that are not in the log yet
}

// waitersPerTurn is how many requests may wait for each turn. Short requests all get a turn in time, and a client that waits costs less
// than one that retries.
const waitersPerTurn = 128

func newGate(turns int, metrics Metrics, logger *slog.Logger) *gate {
	return &gate{
		turns: semaphore.NewWeighted(int64(turns)), mayWait: int64(turns) * waitersPerTurn, wait: 500 * time.Millisecond,
		metrics: metrics, logger: logger,
	}
}

// admit calls next when the request has a turn. The response then has until timeout to be sent, if next does not set other deadlines.
func (g *gate) admit(next http.Handler, timeout time.Duration, refuse refuse) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived(r.Context())
		if !g.enter(r.Context()) {
			g.refuse(w, r, refuse)
			return
		}
		t := &turn{ResponseWriter: w, timeout: timeout, leave: sync.OnceFunc(g.leave)}
		defer t.leave()
		next.ServeHTTP(t, r)
	})
}

// turn ends when the response begins.
type turn struct {
	http.ResponseWriter
	timeout time.Duration
	begun   bool
	leave   func()
}

func (t *turn) WriteHeader(status int) {
	t.begin()
	t.ResponseWriter.WriteHeader(status)
}

func (t *turn) Write(b []byte) (int, error) {
	t.begin()
	return t.ResponseWriter.Write(b)
}

func (t *turn) begin() {
	if !t.begun {
		t.begun = true
		setWriteDeadline(t.ResponseWriter, time.Now().Add(t.timeout))
		t.leave()
	}
}

// Unwrap lets http.ResponseController reach the connection.
func (t *turn) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// enter waits for a turn and reports whether there is one.
func (g *gate) enter(ctx context.Context) bool {
	if !g.turns.TryAcquire(1) {
		if g.waiting.Add(1) > g.mayWait {
			g.waiting.Add(-1)
			return false
		}
		g.metrics.Waiting(1)
		ctx, cancel := context.WithTimeout(ctx, g.wait)
		err := g.turns.Acquire(ctx, 1)
		cancel()
		g.metrics.Waiting(-1)
		g.waiting.Add(-1)
		if err != nil {
			return false
		}
		// A request that leaves wakes the next one on its own processor's queue, and so on. New requests are in the global queue, which
		// Go looks into only when the own one is empty. Without this they would wait for seconds.
		runtime.Gosched()
	}
	g.metrics.Working(1)
	return true
}

func (g *gate) leave() {
	g.metrics.Working(-1)
	g.turns.Release(1)
}

func (g *gate) refuse(w http.ResponseWriter, r *http.Request, refuse refuse) {
	e := g.refused(r.Context())
	setErrorHeaders(w, e)
	refuse(w, r, statusOf(e.Code), e)
}

// refused counts a request that gets no turn, and returns the error for it.
func (g *gate) refused(ctx context.Context) *apikey.Error {
	if !errors.Is(ctx.Err(), context.Canceled) { // a client that left was not refused
		g.metrics.Refused()
		if g.unlogged.Add(1) == 1 { // one line per second: a line for each would add to the load
			time.AfterFunc(time.Second, func() {
				g.logger.Warn("requests were refused: the server is overloaded", "count", g.unlogged.Swap(0))
			})
		}
		if x := exchangeOf(ctx); x != nil {
			x.routine = true
		}
	}
	return overloaded()
}

// overloaded is the error of a request that gets no turn or no memory.
func overloaded() *apikey.Error {
	return &apikey.Error{Code: apikey.Unavailable, Message: "The server is overloaded. Try again shortly.", RetryAfter: time.Second}
}
