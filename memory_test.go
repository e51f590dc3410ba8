package main

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
