// Package ratelimit gives each of many names so many events a minute. They may come at once, and are given back one by one.
//
// A name is counted by one number, the instant from which on its budget is whole (the generic cell rate algorithm). So whoever
// did nothing for a minute needs not be remembered, and a limit that changes leaves the share of it that is spent.
package ratelimit

import (
	"context"
	"time"
)

// Limiter counts. What it cannot tell for certain it allows: a limit is no permission.
type Limiter interface {
	// Take takes n events out of the budget of a name, if there are so many in it; a negative n gives them back. Names of one kind
	// are apart from those of another. perMinute is at least 1.
	Take(ctx context.Context, kind, name string, perMinute, n int) Budget
}

// Budget is what is left to a name.
type Budget struct {
	Allowed    bool
	Remaining  int
	Reset      time.Time     // when it is whole
	RetryAfter time.Duration // until there is one event in it; 0 if there is
}

// interval is how long one event takes to come back, in microseconds, which is as exact as Redis's clock. What is allowed more
// often than that is allowed that often.
func interval(perMinute int) int64 { return max(1, time.Minute.Microseconds()/int64(perMinute)) }

// budget tells what is left at now of a budget that is whole from full on.
func budget(allowed bool, perMinute int, full, now int64) Budget {
	each := interval(perMinute)
	left := now + each*int64(perMinute) - full
	return Budget{
		Allowed: allowed, Remaining: int(max(0, left/each)), Reset: time.UnixMicro(full),
		RetryAfter: time.Duration(max(0, each-left)) * time.Microsecond,
	}
}
