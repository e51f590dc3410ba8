// Package ratelimit limits the events per minute of each of many names. A budget can be spent at once and refills one event at a time.
//
// The state of a name is one number: the time at which its budget is full again (the generic cell rate algorithm). A name without events for
// a minute therefore needs no state, and when a limit changes, the spent share of the budget stays spent.
package ratelimit

import (
	"context"
	"time"
)

// Limiter counts events. If it cannot count, for example during an outage, it allows the event, because a limit is not a permission.
type Limiter interface {
	// Take takes n events from the budget of a name if the budget has as many. A negative n gives events back. Each kind has its own
	// names. perMinute must be at least 1.
	Take(ctx context.Context, kind, name string, perMinute, n int) Budget
}

// Budget is the remaining budget of a name.
type Budget struct {
	Allowed    bool
	Remaining  int
	Reset      time.Time     // when the budget is full
	RetryAfter time.Duration // until one event is available; 0 if one is
}

// interval returns the time in which one event is refilled, in microseconds, the precision of Redis's clock. This is the shortest possible
// interval: a higher limit has the same effect.
func interval(perMinute int) int64 { return max(1, time.Minute.Microseconds()/int64(perMinute)) }

// budget returns the budget at the time now of a name whose budget is full at the time full.
func budget(allowed bool, perMinute int, full, now int64) Budget {
	each := interval(perMinute)
	left := now + each*int64(perMinute) - full
	return Budget{
		Allowed: allowed, Remaining: int(max(0, left/each)), Reset: time.UnixMicro(full),
		RetryAfter: time.Duration(max(0, each-left)) * time.Microsecond,
	}
}
