package apikey

import (
	"context"
	"math"
	"sync/atomic"
)

// Cost counts and bounds what one request costs: the documents that stores look at for it, the memory that the keys of its lists
// take, and how many calls of a store it makes at the same time. It travels in the request's context, as the deadline
// does. All its methods accept a nil Cost, which bounds nothing: commands and background work have none.
type Cost struct {
	reads, memory    int64
	looked, retained atomic.Int64
	calls            chan struct{}         // holds one for each call of a store under way
	large            chan struct{}         // holds one for each read of many lists under way
	exceeded         atomic.Pointer[Error] // what was refused first
}

// maxCalls is how many calls of a store one request makes at the same time, so that it does not take the whole pool.
const maxCalls = 16

// maxLarge is how many reads of up to about KeysAtOnce keys one request makes at the same time, so that it does not hold
// too many keys. Two keep a processor and a connection busy while another page is on its way.
const maxLarge = 2

// NewCost returns the Cost of one request: it may look at that many documents (MAX_READS), and the keys that it lists
// may take that many bytes of memory (MAX_RESPONSE_BYTES). Zero bounds nothing.
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

// WithCost returns a context that carries the cost of a request.
func WithCost(ctx context.Context, c *Cost) context.Context {
	return context.WithValue(ctx, costKey{}, c)
}

// CostFrom returns the cost of the request; nil where there is none.
func CostFrom(ctx context.Context) *Cost {
	c, _ := ctx.Value(costKey{}).(*Cost)
	return c
}

// Documents is how many documents one of that length counts as, in bytes: one for each KiB begun.
func Documents(bytes int) int { return 1 + bytes>>10 }

// Look charges documents that were looked at, or are about to be. It fails where that is more than the request may.
func (c *Cost) Look(documents int) error {
	if c == nil || c.looked.Add(int64(documents)) <= c.reads {
		return nil
	}
	return c.exceed(Invalid("", "The request looks at too many documents: at most %d are allowed (MAX_READS). Ask for fewer lists, for smaller pages, or without total.", c.reads), "MAX_READS")
}

func (c *Cost) exceed(e *Error, limit string) error {
	e.Limit = limit
	c.exceeded.CompareAndSwap(nil, e)
	return c.exceeded.Load()
}

// Exceeded returns the error of the first charge that was refused; nil if none was.
func (c *Cost) Exceeded() *Error {
	if c == nil {
		return nil
	}
	return c.exceeded.Load()
}

// bounded reports whether there is a limit to the documents that may be looked at.
func (c *Cost) bounded() bool { return c != nil && c.reads < math.MaxInt64 }

// Left returns how many more documents may be looked at; it is never negative.
func (c *Cost) Left() int {
	if c == nil {
		return math.MaxInt
	}
	return int(max(0, c.reads-c.looked.Load()))
}

// retain charges the memory of what the request keeps until it is answered, in bytes.
func (c *Cost) retain(bytes int) error {
	if c == nil || c.retained.Add(int64(bytes)) <= c.memory {
		return nil
	}
	return c.exceed(Invalid("first", "The request lists too many keys at once: they would take more than %d bytes of memory, which a higher MAX_RESPONSE_BYTES allows. Ask for smaller pages with first, or for fewer lists.", c.memory), "MAX_RESPONSE_BYTES")
}

// Call waits until the request may make one more call of a store, and returns what ends that call. It fails when the
// request has cost too much, or the context ends first. Together, within the call, needs no further wait.
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

// readLarge is for a read of many keys what Call is for each of its calls.
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

// tryCall is Call where it need not wait.
func (c *Cost) tryCall() bool {
	select {
	case c.calls <- struct{}{}:
		return true
	default:
		return false
	}
}

func (c *Cost) callEnded() { <-c.calls }
