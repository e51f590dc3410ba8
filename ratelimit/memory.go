package ratelimit

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Memory is a Limiter that counts for this process only.
type Memory struct {
	now func() time.Time

	mu    sync.Mutex
	kinds map[string]*simplelru.LRU[string, int64] // when each name's budget is full, in microseconds
}

// mostNames limits the names of each kind. The name that was unused longest is evicted, and has its full budget again. Unless that many names
// arrive within a minute, its budget is full by then anyway.
const mostNames = 100_000

// NewMemory returns a Memory that uses this clock.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{now: now, kinds: map[string]*simplelru.LRU[string, int64]{}}
}

// Take implements Limiter.
func (m *Memory) Take(_ context.Context, kind, name string, perMinute, n int) Budget {
	now, each := m.now().UnixMicro(), interval(perMinute)
	m.mu.Lock()
	defer m.mu.Unlock()
	names := m.kinds[kind]
	if names == nil {
		names, _ = simplelru.NewLRU[string, int64](mostNames, nil) // it fails for sizes below 1 only
		m.kinds[kind] = names
	}
	full, known := names.Get(name)
	if !known {
		name = strings.Clone(name) // a substring would keep the whole string in memory
	}
	full = min(max(full, now), now+each*int64(perMinute)) // no name waits longer because the clock was set back
	after := max(full+int64(n)*each, now)
	if n > 0 && after > now+each*int64(perMinute) {
		return budget(false, perMinute, full, now)
	}
	names.Add(name, after)
	return budget(true, perMinute, after, now)
}
