package apikey

import (
	"context"
	"math"
	"sync/atomic"
)

// Cost limits what one request costs: the documents that stores read for it, the memory of the keys that it lists, and its concurrent
// store calls. It is carried in the request's context, like the deadline. A nil Cost has no limits: commands and background work use
// that.
type Cost struct {
	reads, memory    int64
	looked, retained atomic.Int64
	calls            chan struct{}         // one unit for each store call in progress
	large            chan struct{}         // one unit for each large read in progress
	exceeded         atomic.Pointer[Error] // the first error
	scanned          atomic.Bool           // a list of the request looks at more documents than reads
	of               *Cost                 // see unlimited
}

// maxCalls is how many store calls one request makes at a time, so that it does not take the whole connection pool.
const maxCalls = 16

// maxLarge is how many reads of up to about KeysAtOnce keys one request makes at a time, so that it does not hold too many keys. Two keep
// a processor and a connection busy.
const maxLarge = 2

// NewCost returns the Cost of one request, which may read that many documents (MAX_READS) and list keys that take that many bytes of
// memory (from MAX_RESPONSE_BYTES). Zero means no limit.
func NewCost(reads, memory int) *Cost {
	c := &Cost{reads: int64(reads), memory: int64(memory), calls: make(chan struct{}, maxCalls), large: make(chan struct{}, maxLarge)}
	if reads == 0 {
		c.reads = math.MaxInt64
	}
	if memory == 0 {
		c.memory = math.MaxInt64
	}
	return c
}

type costKey struct{}

// WithCost returns a context with the cost of a request.
func WithCost(ctx context.Context, c *Cost) context.Context {
	return context.WithValue(ctx, costKey{}, c)
}

// CostFrom returns the cost of the request, or nil.
func CostFrom(ctx context.Context) *Cost {
	c, _ := ctx.Value(costKey{}).(*Cost)
	return c
}

// Documents is how many documents a document of that length in bytes counts as: one per KiB or part of one.
func Documents(bytes int) int { return 1 + bytes>>10 }

// Look charges documents that were read, or are about to be. It fails if the request may not read that many.
func (c *Cost) Look(documents int) error {
	if c == nil || c.looked.Add(int64(documents)) <= c.reads {
		return nil
	}
	return c.exceed(Invalid("", "The request looks at too many documents: at most %d are allowed (MAX_READS). Ask for fewer lists, for smaller pages, for audit events or usage of a shorter period, or without total.", c.reads), "MAX_READS")
}

func (c *Cost) exceed(e *Error, limit string) error {
	e.Limit = limit
	c.exceeded.CompareAndSwap(nil, e)
	return c.exceeded.Load()
}

// unlimited returns a cost of the same request that charges everything except documents.
func (c *Cost) unlimited() *Cost {
	return &Cost{reads: math.MaxInt64, memory: math.MaxInt64, calls: c.calls, large: c.large, of: c}
}

// upTo returns a cost of the same request that charges that many documents at most, and nothing to this one.
func (c *Cost) upTo(documents int) *Cost {
	return &Cost{reads: int64(documents), memory: math.MaxInt64, calls: c.calls, large: c.large}
}

// takeScan reports whether a list may look at more documents than the request may. It does so once.
func (c *Cost) takeScan() bool { return c.scanned.CompareAndSwap(false, true) }

// Exceeded returns the error of the first charge that failed, or nil.
func (c *Cost) Exceeded() *Error {
	switch {
	case c == nil:
		return nil
	case c.of != nil:
		return c.of.Exceeded()
	}
	return c.exceeded.Load()
}

// bounded reports whether the number of documents is limited.
func (c *Cost) bounded() bool { return c != nil && c.reads < math.MaxInt64 }

// Left returns how many more documents may be read. It is never negative.
func (c *Cost) Left() int {
	if !c.bounded() {
		return math.MaxInt
	}
	return int(max(0, c.reads-c.looked.Load()))
}

// retain charges memory, in bytes, that the request keeps until it is answered.
func (c *Cost) retain(bytes int) error {
	if c != nil && c.of != nil {
		return c.of.retain(bytes)
	}
	if c == nil || c.retained.Add(int64(bytes)) <= c.memory {
		return nil
	}
	return c.exceed(Invalid("first", "The request lists too many keys at once: they would take more than %d bytes of memory, which a higher MAX_RESPONSE_BYTES allows. Ask for smaller pages with first, or for fewer lists.", c.memory), "MAX_RESPONSE_BYTES")
}

// Call waits until the request may make another store call, and returns a function that ends the call. It fails if the request has cost
// too much or the context ends. Calls within Together wait already.
func (c *Cost) Call(ctx context.Context) (done func(), err error) {
	if c == nil {
		return func() {}, nil
	}
	if done, err = enter(ctx, c.calls); err != nil {
		return nil, err
	}
	if e := c.Exceeded(); e != nil {
		done()
		return nil, e
	}
	return done, nil
}

// readLarge is Call for a read of many keys.
func (c *Cost) readLarge(ctx context.Context) (done func(), err error) {
	if c == nil {
		return func() {}, nil
	}
	return enter(ctx, c.large)
}

func enter(ctx context.Context, places chan struct{}) (leave func(), err error) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, Outage(ctx.Err())
	}
}

// tryCall is Call without waiting.
func (c *Cost) tryCall() bool {
	select {
	case c.calls <- struct{}{}:
		return true
	default:
		return false
	}
}

func (c *Cost) callEnded() { <-c.calls }
