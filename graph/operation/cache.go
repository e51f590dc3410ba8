package operation

import (
	"context"
	"hash/maphash"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// cacheBytes is how much of operations' texts a cache holds. What is made of a text can take a hundred times its length.
const cacheBytes = 512 << 10

// cache keeps what was used last, as much of it as its texts allow. Their number would bound nothing, for clients choose
// how long they are.
type cache[T any] struct {
	size   func(key string, value T) int // in bytes
	known  func(context.Context) bool    // whether a caller is
	looked func(hit bool)                // is told of each Get; nil: nobody is
	once   *sightings                    // if set, what comes for the first time is not kept

	mu    sync.Mutex
	items *simplelru.LRU[string, T]
	free  int
}

func newCache[T any](known func(context.Context) bool, looked func(hit bool), size func(key string, value T) int) *cache[T] {
	c := &cache[T]{size: size, known: known, looked: looked, free: cacheBytes}
	c.items, _ = simplelru.NewLRU(cacheBytes, func(key string, value T) { c.free += size(key, value) }) // it refuses sizes below 1 only
	return c
}

// Get returns what has the key.
func (c *cache[T]) Get(_ context.Context, key string) (T, bool) {
	c.mu.Lock()
	value, hit := c.items.Get(key)
	c.mu.Unlock()
	if c.looked != nil {
		c.looked(hit)
	}
	return value, hit
}

// Add keeps the value for the key, if nothing is kept for it yet and it is not larger than the whole cache. For callers who
// are not known here it keeps nothing: nobody in particular shall push out what others use.
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

// sightings remembers that texts came, but not the texts.
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
