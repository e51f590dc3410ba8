package main

import "testing"

// A small heap may grow much, a large one as Go would have it: else a gigabyte in use would take five.
func TestGrowth(t *testing.T) {
	for live, want := range map[uint64]int{0: 400, 1: 400, 4 << 20: 400, 6 << 20: 400, 12 << 20: 200, 24 << 20: 100, 1 << 30: 100, 1 << 62: 100} {
		if got := growth(live); got != want {
			t.Errorf("with %d bytes in use the heap may grow by %d %%, not %d", live, got, want)
		}
	}
}
