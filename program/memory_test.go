package program

import (
	"math"
	"testing"
)

// The ballast must be a small part of a small memory limit.
func TestBallast(t *testing.T) {
	for limit, want := range map[int64]int64{math.MaxInt64: 16 << 20, 800 << 20: 16 << 20, 80 << 20: 10 << 20, 0: 0} {
		if got := ballastWithin(limit); got != want {
			t.Errorf("limit %d: got %d, want %d", limit, got, want)
		}
	}
	for gogc, want := range map[string]int{"": 16 << 20, "100": 0, "off": 0} {
		if got := len(ballast(func(string) string { return gogc })); got != want {
			t.Errorf("GOGC=%s: got %d, want %d", gogc, got, want)
		}
	}
}

// Unsent responses get a quarter of the memory limit.
func TestShareOfAnswers(t *testing.T) {
	for limit, want := range map[int64]int64{1<<63 - 1: 256 << 20, 800 << 20: 200 << 20, 100 << 20: 25 << 20, 0: 1 << 20} {
		if got := answersWithin(limit); got != want {
			t.Errorf("limit %d: got %d, want %d", limit, got, want)
		}
	}
}
