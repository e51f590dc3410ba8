package program

import (
	"math"
	"runtime/debug"
)

// mostBallast is the heap that nobody uses. Go collects garbage when the heap has doubled. That of a server with small answers is a
// few megabytes, so it collects dozens of times a second, at a third of all its work. Memory that is never touched is none of
// the machine's, but counts when Go doubles: whatever is in use, so much garbage more may be left.
const mostBallast = 16 << 20

// ballast lets the heap grow by more than Go would for as long as it is kept, unless GOGC tells by how much. GOMEMLIMIT holds
// either way: the ballast counts for it, too, and is a small part of it.
func ballast(getenv func(string) string) []byte {
	if getenv("GOGC") != "" {
		return nil
	}
	return make([]byte, ballastWithin(debug.SetMemoryLimit(-1)))
}

func ballastWithin(limit int64) int64 { return min(mostBallast, limit/8) }

// answersWithin is the memory of answers that are made or not sent yet: a quarter of GOMEMLIMIT.
func answersWithin(limit int64) int64 {
	if limit == math.MaxInt64 {
		return 256 << 20
	}
	return max(limit/4, 1<<20)
}
