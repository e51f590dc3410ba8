package web

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net/http"
	"sync"

	"golang.org/x/sync/semaphore"

	"retrieverkeys/apikey"
)

// bodies reads request bodies before requests wait for a turn. It limits the memory of all bodies that are arriving, and gives each
// address a share of it. Small bodies are exempt, so that large ones that arrive slowly, or never end, lock nobody out. A key makes no
// difference, because authentication comes later.
type bodies struct {
	free      *semaphore.Weighted // bytes
	share     int64               // of an address
	addressOf func(*http.Request) string

	mu    sync.Mutex
	taken map[string]int64 // by address
}

const (
	// smallBody is the part of each body that needs no memory of bodies. Most bodies are smaller.
	smallBody = 16 << 10
	// leastBodies is the minimum of that memory, however small the largest body is.
	leastBodies = 64 << 20
	// addressShare is the number of addresses that can use up that memory. The largest body takes half of a share, because the buffer for it doubles.
	addressShare = 4
)

func newBodies(maxBody int64, addressOf func(*http.Request) string) *bodies {
	most := max(leastBodies, 2*addressShare*min(maxBody, math.MaxInt64/16))
	return &bodies{free: semaphore.NewWeighted(most), share: most / addressShare, addressOf: addressOf, taken: map[string]int64{}}
}

// take takes n bytes for the address, and reports whether there were enough.
func (b *bodies) take(address string, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.taken[address]+n > b.share || !b.free.TryAcquire(n) {
		return false
	}
	b.taken[address] += n
	return true
}

// give returns n bytes of the address.
func (b *bodies) give(address string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free.Release(n)
	if b.taken[address] -= n; b.taken[address] == 0 {
		delete(b.taken, address)
	}
}

// read reads the whole body before it calls next.
func (b *bodies) read(next http.Handler, refuse refuse, overloaded http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			next.ServeHTTP(w, r)
			return
		}
		var taken int64
		address := ""
		give := func() {
			if taken > 0 {
				b.give(address, taken)
				taken = 0
			}
		}
		defer give()
		if x := exchangeOf(r.Context()); x != nil {
			x.forget = give
		}
		var body bytes.Buffer
		if r.ContentLength > 0 {
			body.Grow(int(min(r.ContentLength, smallBody)) + bytes.MinRead)
		}
		var err error
		for err == nil {
			if _, err = io.CopyN(&body, r.Body, smallBody); err == nil {
				if taken == 0 {
					address = network(b.addressOf(r))
				}
				const more = 2 * smallBody // the buffer doubles
				if !b.take(address, more) {
					overloaded.ServeHTTP(w, r)
					return
				}
				taken += more
			}
		}
		r.Body = io.NopCloser(&body)
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			r.Body = io.NopCloser(io.MultiReader(&body, failing{err})) // the handler answers with the limit
		} else if !errors.Is(err, io.EOF) {
			refuse(w, r, http.StatusBadRequest, apikey.Invalid("", "The body could not be read."))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// failing is a body that cannot be read.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
