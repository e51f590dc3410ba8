package web

import (
	"context"
	"net"
	"net/http"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Connections limits the number of open connections. When there is one too many, it closes the connection that has been idle longest, or
// whose request has been arriving longest. A listener that only stops accepting would let one client lock out all others with idle
// connections.
type Connections struct {
	most int

	mu   sync.Mutex
	open map[net.Conn]bool // without those that were closed here
	idle *simplelru.LRU[net.Conn, struct{}]
}

type arrivedKey struct{}

// NewConnections returns Connections with that limit.
func NewConnections(most int) *Connections {
	c := &Connections{most: most, open: map[net.Conn]bool{}}
	c.idle, _ = simplelru.NewLRU[net.Conn, struct{}](2*most, nil) // it fails for sizes below 1 only
	return c
}

// Track is the ConnState of an http.Server.
func (c *Connections) Track(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateActive: // a request begins to arrive
	case http.StateIdle:
		c.idle.Add(conn, struct{}{})
	case http.StateNew:
		c.open[conn] = true
		c.idle.Add(conn, struct{}{})
		if len(c.open) > c.most {
			if oldest, _, ok := c.idle.RemoveOldest(); ok {
				delete(c.open, oldest)
				_ = oldest.Close()
			}
		}
	default:
		delete(c.open, conn)
		c.idle.Remove(conn)
	}
}

// Context is the ConnContext of an http.Server.
func (c *Connections) Context(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, arrivedKey{}, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.idle.Remove(conn)
	})
}

// arrived marks the connection as no longer idle, because the request of this context has arrived in full.
func arrived(ctx context.Context) {
	if f, ok := ctx.Value(arrivedKey{}).(func()); ok {
		f()
	}
}
