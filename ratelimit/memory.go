package ratelimit

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Memory counts for this process alone.
type Memory struct {
	now func() time.Time

	mu    sync.Mutex
	kinds map[string]*simplelru.LRU[string, int64] // when each name's budget is whole
}

// mostNames is how many names of a kind are counted. One that was not used for as long as to be forgotten has its whole budget
// again, which it would have by then anyway but for a flood of as many others.
const mostNames = 100_000

// NewMemory returns a Limiter that goes by that clock.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{now: now, kinds: map[string]*simplelru.LRU[string, int64]{}}
}

// Take is a Limiter's.
func (m *Memory) Take(_ context.Context, kind, name string, perMinute, n int) Budget {
	now, each := m.now().UnixMicro(), interval(perMinute)
	m.mu.Lock()
	defer m.mu.Unlock()
	names := m.kinds[kind]
	if names == nil {
		names, _ = simplelru.NewLRU[string, int64](mostNames, nil) // it refuses sizes below 1 only
		m.kinds[kind] = names
	}
	full, known := names.Get(name)
	if !known {
		name = strings.Clone(name) // it may be part of a longer text, which would be kept with it
	}
	full = min(max(full, now), now+each*int64(perMinute)) // nobody waits for longer because the clock was put back
	after := max(full+int64(n)*each, now)
	if n > 0 && after > now+each*int64(perMinute) {
		return budget(false, perMinute, full, now)
	}
	names.Add(name, after)
	return budget(true, perMinute, after, now)
}
