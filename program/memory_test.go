package program

import (
	"math"
	"testing"
)

// A process that may have little memory must not spend it on nothing.
func TestBallast(t *testing.T) {
	for limit, want := range map[int64]int64{math.MaxInt64: 16 << 20, 800 << 20: 16 << 20, 80 << 20: 10 << 20, 0: 0} {
		if got := ballastWithin(limit); got != want {
			t.Errorf("of %d bytes %d are left unused, not %d", limit, got, want)
		}
	}
	for gogc, want := range map[string]int{"": 16 << 20, "100": 0, "off": 0} {
		if got := len(ballast(func(string) string { return gogc })); got != want {
			t.Errorf("with GOGC=%s %d bytes are left unused, not %d", gogc, got, want)
		}
	}
}

// Answers that are made or not sent yet have a share of what the process may use.
func TestShareOfAnswers(t *testing.T) {
	for limit, want := range map[int64]int64{1<<63 - 1: 256 << 20, 800 << 20: 200 << 20, 100 << 20: 25 << 20, 0: 1 << 20} {
		if got := answersWithin(limit); got != want {
			t.Errorf("of %d bytes answers may take %d, not %d", limit, got, want)
		}
	}
}
