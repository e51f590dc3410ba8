package operation

import (
	"context"
	"hash/maphash"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// cacheBytes is the total length of the texts in a cache. A parsed document can take a hundred times the memory of its text.
const cacheBytes = 512 << 10

// cache is an LRU that is bounded by the length of its texts. A bound on their number would not bound memory, because clients choose their
// length.
type cache[T any] struct {
	size   func(key string, value T) int // in bytes
	known  func(context.Context) bool    // whether the caller is known
	looked func(hit bool)                // called for each Get; can be nil
	once   *sightings                    // if set, texts that come for the first time are not kept

	mu    sync.Mutex
	items *simplelru.LRU[string, T]
	free  int
}

func newCache[T any](known func(context.Context) bool, looked func(hit bool), size func(key string, value T) int) *cache[T] {
	c := &cache[T]{size: size, known: known, looked: looked, free: cacheBytes}
	c.items, _ = simplelru.NewLRU(cacheBytes, func(key string, value T) { c.free += size(key, value) }) // it refuses sizes below 1 only
	return c
}

// Get returns the value of the key.
func (c *cache[T]) Get(_ context.Context, key string) (T, bool) {
	c.mu.Lock()
	value, hit := c.items.Get(key)
	c.mu.Unlock()
	if c.looked != nil {
		c.looked(hit)
	}
	return value, hit
}

// Add stores the value unless the key has one or the value is larger than the cache. It stores nothing for unknown callers: they must not evict
// what others use.
func (c *cache[T]) Add(ctx context.Context, key string, value T) {
	size := c.size(key, value)
	if size > cacheBytes || !c.known(ctx) || c.once != nil && !c.once.seen(key) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.items.Contains(key) {
		return
	}
	c.items.Add(key, value)
	for c.free -= size; c.free < 0; {
		c.items.RemoveOldest()
	}
}

// sightings remembers hashes of texts, without the texts.
type sightings struct {
	seed maphash.Seed
	last *lru.Cache[uint64, struct{}]
}

// newSightings remembers the last thousand texts.
func newSightings() *sightings {
	last, _ := lru.New[uint64, struct{}](1000) // it refuses sizes below 1 only
	return &sightings{maphash.MakeSeed(), last}
}

// seen reports whether the text came before, and remembers it.
func (s *sightings) seen(text string) bool {
	before, _ := s.last.ContainsOrAdd(maphash.String(s.seed, text), struct{}{})
	return before
}
