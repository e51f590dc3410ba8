package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Go collects garbage when the heap has doubled. That of a server with small answers is a few megabytes, so it collects dozens
// of times a second, at a third of all its work. Here the heap may grow to five times its size, but by no more than the
// headroom at that; it may always double.
const (
	mostGrowth  = 400 // per cent
	leastGrowth = 100 // what Go does
	headroom    = 24 << 20
)

// growth is by how many per cent a heap with so many bytes in use may grow before garbage is collected.
func growth(live uint64) int {
	return int(min(max(headroom*100/max(live, 1), leastGrowth), mostGrowth))
}

// tuneMemory sets how much the heap may grow, and again after each collection, unless GOGC tells it. GOMEMLIMIT holds either
// way: near it Go collects as often as it takes.
func tuneMemory() {
	if told := debug.SetGCPercent(mostGrowth); told != leastGrowth {
		debug.SetGCPercent(told)
		return
	}
	type unused struct{ _ *unused }
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	now := mostGrowth
	var afterNext func()
	afterNext = func() { // whatever is unused is cleaned up at the next collection
		runtime.AddCleanup(new(unused), func(struct{}) {
			metrics.Read(live)
			if next := growth(live[0].Value.Uint64()); next != now {
				now = next
				debug.SetGCPercent(next)
			}
			afterNext()
		}, struct{}{})
	}
	afterNext()
}
