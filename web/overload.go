package web

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sync/semaphore"

	"retrieverkeys/apikey"
)

// gate lets so many requests be worked on at a time, so that more of them than the machine can do make none slower than it must
// be. A few wait for their turn, first come first served, and not for long; the others are refused before anything is done
// for them. Nobody holds a turn while a client is slow: its body is read before, and its answer is left to it.
type gate struct {
	turns    *semaphore.Weighted
	waiting  atomic.Int64
	mayWait  int64
	wait     time.Duration       // for a turn, at most
	hold     time.Duration       // until a refusal is told
	haste    time.Duration       // that a client has for the rest of an answer where too much is unsent already
	arriving *semaphore.Weighted // bytes of bodies, but for what each has in any case
	unsent   *semaphore.Weighted // bytes of answers that clients are slow to take
	shares   shares              // of arriving
	metrics  Metrics
	logger   *slog.Logger
	untold   atomic.Int64 // refusals that the log has not been told of
}

const (
	// waitersPerTurn is how many may wait for each turn that there is: as short requests as there are can all have theirs in time, and
	// to have a client wait costs less than to have it ask again.
	waitersPerTurn = 128
	// freeBody is what each body may have without asking: what most have in all.
	freeBody = 16 << 10
	// mostArriving is what bodies have together besides.
	mostArriving = 64 << 20
	// perAddress is the part of it that those from one address may have. A body of the largest size takes an eighth at most, because
	// the buffer for it doubles.
	perAddress = 4
	// slowPart is the part of the memory for answers that those may hold whose clients take them slowly. The largest answer that
	// the program allows fits in.
	slowPart = 2
	// shortAnswer is what goes out without waiting for the client, and needs no memory for answers.
	shortAnswer = 64 << 10
	// compressorBytes is what it takes to compress an answer while it is sent.
	compressorBytes = 1 << 20
	// patience is how long a turn is held while a long answer is compressed and sent, which is work as long as the client takes it.
	patience = 20 * time.Millisecond
)

func newGate(turns int, maxBody int64, answers *Answers, metrics Metrics, logger *slog.Logger) *gate {
	arriving := max(mostArriving, 2*perAddress*min(maxBody, math.MaxInt64/16))
	return &gate{
		turns: semaphore.NewWeighted(int64(turns)), mayWait: int64(turns) * waitersPerTurn, wait: 500 * time.Millisecond,
		hold: 800 * time.Millisecond, haste: time.Second,
		arriving: semaphore.NewWeighted(arriving), shares: shares{most: arriving / perAddress, taken: map[string]int64{}},
		unsent: semaphore.NewWeighted(answers.bytes / slowPart), metrics: metrics, logger: logger,
	}
}

// Answers bounds the memory of answers, from when they are made until they are sent. Short ones need none of it.
type Answers struct {
	bytes   int64
	free    *semaphore.Weighted
	wait    time.Duration
	refused func()
}

// answersBytes is what answers hold together where nothing else is said.
const answersBytes = 256 << 20

// NewAnswers returns Answers for so many bytes. It calls refused, if that is not nil, for each answer that finds no memory.
func NewAnswers(bytes int64, refused func()) *Answers {
	if refused == nil {
		refused = func() {}
	}
	return &Answers{bytes: bytes, free: semaphore.NewWeighted(bytes), wait: 500 * time.Millisecond, refused: refused}
}

// Take takes memory. It waits for it a moment, for answers whose clients take them are soon sent, and reports false if there is none.
func (a *Answers) Take(ctx context.Context, bytes int64) bool {
	if a.free.TryAcquire(bytes) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, a.wait)
	defer cancel()
	if a.free.Acquire(ctx, bytes) == nil {
		return true
	}
	if !errors.Is(ctx.Err(), context.Canceled) { // a client that left was not refused
		a.refused()
	}
	return false
}

// Give gives memory back.
func (a *Answers) Give(bytes int64) { a.free.Release(bytes) }

// shares are what is taken of something by each of many addresses, each of which may have so much of it.
type shares struct {
	most  int64
	mu    sync.Mutex
	taken map[string]int64
}

// take reports false if the address has its share already.
func (s *shares) take(address string, n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken[address]+n > s.most {
		return false
	}
	s.taken[address] += n
	return true
}

func (s *shares) give(address string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken[address] -= n; s.taken[address] <= 0 {
		delete(s.taken, address)
	}
}

// refused is the answer to whom there is no turn for.
func refused() *apikey.Error {
	return &apikey.Error{Code: apikey.Unavailable, Message: "There is more to do than can be done. Try again shortly.", RetryAfter: time.Second}
}

// before has next work in turn.
func (g *gate) before(next http.Handler, refuse refuse) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if received, ok := r.Context().Value(receivedKey{}).(func()); ok {
			received()
		}
		if !g.enter(r.Context()) {
			g.refuse(w, r, refuse)
			return
		}
		t := &turn{ResponseWriter: w, gate: g, held: true}
		if r.Header.Get("Accept-Encoding") != "" {
			t.compressor = compressorBytes
		}
		defer t.end()
		next.ServeHTTP(t, r)
	})
}

// early refuses what there is no room for, before anything is done for it: not even its body is read. It takes its time to say so:
// whoever is told at once may ask again at once, and five refusals cost as much as an answer.
func (g *gate) early(next http.Handler, refuse refuse) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.waiting.Load() < g.mayWait {
			next.ServeHTTP(w, r)
			return
		}
		timer := time.NewTimer(g.hold)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		}
		if r.ContentLength != 0 { // net/http reads what has come of the body, and must not wait for the rest
			setReadDeadline(w, time.Now().Add(patience))
		}
		g.refuse(w, r, refuse)
	})
}

func (g *gate) refuse(w http.ResponseWriter, r *http.Request, refuse refuse) {
	if !errors.Is(r.Context().Err(), context.Canceled) { // a client that left was not refused
		g.metrics.Refused()
		if g.untold.Add(1) == 1 { // one line for all of a second: so many would cost more than they tell
			time.AfterFunc(time.Second, func() {
				g.logger.Warn("requests were refused: there is more to do than can be done", "count", g.untold.Swap(0))
			})
		}
		if x := exchangeOf(r.Context()); x != nil {
			x.refused = true
		}
	}
	e := refused()
	setErrorHeaders(w, e)
	refuse(w, r, statusOf(e.Code), e)
}

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
		// Who gives a turn away wakes who waits for it, on its own processor's queue, and so on: requests that have come meanwhile are
		// in the queue that is common to all processors, which Go looks into when the own one is empty. They would wait for seconds.
		runtime.Gosched()
	}
	g.metrics.Working(1)
	return true
}

func (g *gate) leave() {
	g.metrics.Working(-1)
	g.turns.Release(1)
}

// turn is one request's. It ends when a short answer is on its way, or a long one's client is slow.
type turn struct {
	http.ResponseWriter
	gate       *gate
	compressor int64 // bytes that compressing the answer may take
	behind     int64 // bytes that are kept to make more of the answer from
	begun      bool  // the answer
	short      bool
	left       int64         // bytes of the answer that are still to be written, as far as it says so
	spent      time.Duration // writing

	mu      sync.Mutex
	held    bool
	writing bool
	hurried bool // the client has only haste left for what is being sent
	unsent  int64
}

func (t *turn) Write(b []byte) (int, error) {
	if !t.begun {
		t.begun = true
		whole, err := strconv.ParseInt(t.Header().Get("Content-Length"), 10, 64) // compressing removes it
		t.left, t.short = whole, err == nil && whole <= shortAnswer
	}
	if t.short {
		t.end()
	}
	kept := max(t.left, int64(len(b))) + t.behind + t.compressor
	t.left -= int64(len(b))
	began := time.Now()
	t.write(true)
	timer := time.AfterFunc(max(patience-t.spent, 0), func() { t.slow(kept) })
	defer func() {
		timer.Stop()
		t.spent += time.Since(began)
		t.write(false)
	}()
	return t.ResponseWriter.Write(b)
}

func (t *turn) write(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writing = on
}

// slow gives the turn away while a part of an answer is written, of which so many bytes are kept.
func (t *turn) slow(kept int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !t.writing || t.unsent > 0 || t.hurried:
	case t.gate.unsent.TryAcquire(kept):
		t.unsent = kept
		if t.held {
			t.held = false
			t.gate.leave()
		}
	default:
		t.hurried = true
		_ = http.NewResponseController(t.ResponseWriter).SetWriteDeadline(time.Now().Add(t.gate.haste)) // where there is none to set, there is no client that could stall
	}
}

// end gives back all that the turn has.
func (t *turn) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held {
		t.gate.leave()
	}
	t.gate.unsent.Release(t.unsent)
	t.held, t.hurried, t.unsent, t.spent = false, false, 0, 0
}

// again waits for another turn, to go on with an answer that has begun. It is not refused for others' sake: what was done for
// it would be lost.
func (t *turn) again(ctx context.Context) error {
	if err := t.gate.turns.Acquire(ctx, 1); err != nil {
		return err
	}
	t.gate.metrics.Working(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held = true
	return nil
}

// Unwrap lets http.ResponseController reach the connection.
func (t *turn) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// received reads the whole body before next. What many bodies may have together is bounded, and what those from one address may have
// is a share of it, but not for small ones: so large ones that come slowly, or never to their end, shut out nobody else. A bearer
// makes no difference, because it is looked up only afterwards. from tells the address.
func (g *gate) received(next http.Handler, from func(*http.Request) string, refuse refuse) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			next.ServeHTTP(w, r)
			return
		}
		var taken int64
		address := ""
		defer func() {
			if taken > 0 {
				g.arriving.Release(taken)
				g.shares.give(address, taken)
			}
		}()
		var body bytes.Buffer
		if r.ContentLength > 0 {
			body.Grow(int(min(r.ContentLength, freeBody)) + bytes.MinRead)
		}
		var err error
		for err == nil {
			if _, err = io.CopyN(&body, r.Body, freeBody); err == nil {
				if taken == 0 {
					address = network(from(r))
				}
				const more = 2 * freeBody // the buffer doubles
				if !g.shares.take(address, more) {
					g.refuse(w, r, refuse)
					return
				}
				if !g.arriving.TryAcquire(more) {
					g.shares.give(address, more)
					g.refuse(w, r, refuse)
					return
				}
				taken += more
			}
		}
		r.Body = io.NopCloser(&body)
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			r.Body = io.NopCloser(io.MultiReader(&body, failing{err})) // how large it may be is for who reads it to tell
		} else if !errors.Is(err, io.EOF) {
			refuse(w, r, http.StatusBadRequest, apikey.Invalid("", "The body could not be read."))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// failing is a body that could not be read.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// Connections bounds how many connections are open. Where there is one too many, that on which nothing is worked for the longest time
// is closed: an old one that somebody keeps for later, or one whose request does not come to its end.
type Connections struct {
	most int

	mu   sync.Mutex
	open map[net.Conn]bool // but for those that were closed here and do not know it yet
	idle *simplelru.LRU[net.Conn, struct{}]
}

type receivedKey struct{}

// NewConnections returns Connections for so many.
func NewConnections(most int) *Connections {
	c := &Connections{most: most, open: map[net.Conn]bool{}}
	c.idle, _ = simplelru.NewLRU[net.Conn, struct{}](2*most, nil) // it refuses sizes below 1 only
	return c
}

// Track is an http.Server's ConnState.
func (c *Connections) Track(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateActive: // a request begins to come
	case http.StateIdle:
		c.idle.Add(conn, struct{}{})
	case http.StateNew:
		c.open[conn] = true
		c.idle.Add(conn, struct{}{})
		if len(c.open) > c.most {
			if oldest, _, ok := c.idle.RemoveOldest(); ok {
				delete(c.open, oldest)
				_ = oldest.Close()
			}
		}
	default:
		delete(c.open, conn)
		c.idle.Remove(conn)
	}
}

// Context is an http.Server's ConnContext. It lets requests say that they have come whole.
func (c *Connections) Context(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, receivedKey{}, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.idle.Remove(conn)
	})
}
