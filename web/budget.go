package web

import (
	"context"
	"crypto/sha256"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"retrieverkeys/apikey"
	"retrieverkeys/ratelimit"
)

// window is the time that a limit is for, in seconds, as the vendor's clients read it.
const window = 60

// What the limiter counts.
const (
	ofKey     = "key"     // requests, by organization and by the key whose budget they spend
	ofAddress = "address" // bearers that let nobody in, by where they came from
)

// budgets gives each key so many requests a minute: its own number, or else the same for all. Keys that replaced one another by
// rotation share one budget.
type budgets struct {
	service *apikey.Service
	limiter ratelimit.Limiter

	mu    sync.Mutex
	found *simplelru.LRU[string, string] // results of BudgetOf that took reads of the store, by the key's hash; they never change
}

// mostFound bounds found. Only keys that an older version made by rotation need a place there.
const mostFound = 10_000

func newBudgets(service *apikey.Service, limiter ratelimit.Limiter) *budgets {
	b := &budgets{service: service, limiter: limiter}
	b.found, _ = simplelru.NewLRU[string, string](mostFound, nil) // it refuses sizes below 1 only
	return b
}

// take counts a request of the caller and tells in the response's headers what is left, as the vendor does. The error is of
// who has nothing left.
func (b *budgets) take(ctx context.Context, h http.Header, c apikey.Caller) error {
	if c.Anonymous() {
		return nil
	}
	limit := c.Key.RateLimit(b.service.RateLimit)
	if limit == 0 {
		return nil
	}
	whose, err := b.of(ctx, c.Key)
	if err != nil {
		return err
	}
	left := b.limiter.Take(ctx, ofKey, string(c.Key.InternalID)+"\x00"+whose, limit, 1)
	h.Set("X-RateLimit-Limit", strconv.Itoa(limit))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(left.Remaining))
	h.Set("X-RateLimit-Window", strconv.Itoa(window))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(int64(math.Ceil(float64(left.Reset.UnixMilli())/1000)), 10))
	if !left.Allowed {
		return &apikey.Error{
			Code: apikey.RateLimited, Message: "This key has spent its requests: its limit is " + strconv.Itoa(limit) + " a minute.",
			PerMinute: limit, RetryAfter: left.RetryAfter,
		}
	}
	return nil
}

// of returns the hash of the key whose budget a key spends.
func (b *budgets) of(ctx context.Context, k *apikey.Key) (string, error) {
	if k.Budget != "" || k.RotatedFrom == nil {
		return b.service.BudgetOf(ctx, k) // without asking the store
	}
	b.mu.Lock()
	whose, known := b.found.Get(k.Hash)
	b.mu.Unlock()
	if known {
		return whose, nil
	}
	whose, err := b.service.BudgetOf(ctx, k)
	if err == nil {
		b.mu.Lock()
		b.found.Add(k.Hash, whose)
		b.mu.Unlock()
	}
	return whose, err
}

// failures gives each address so many bearers a minute that let nobody in. When they are spent, only those that were let in lately
// come through to be looked up, for behind one address there may be many clients, and one of them is enough to spend them.
type failures struct {
	limiter   ratelimit.Limiter
	perMinute int       // 0: unlimited
	proxied   sync.Once // tells of an address that many share

	mu     sync.Mutex
	lately *simplelru.LRU[[sha256.Size]byte, struct{}] // digests of bearers that were let in; they say nothing of the next time
}

// mostLately is how many bearers are known to have been let in. Only good ones are, so bad ones push none out.
const mostLately = 100_000

func newFailures(limiter ratelimit.Limiter, perMinute int) *failures {
	f := &failures{limiter: limiter, perMinute: perMinute}
	f.lately, _ = simplelru.NewLRU[[sha256.Size]byte, struct{}](mostLately, nil) // it refuses sizes below 1 only
	return f
}

// guard has a bearer from an address authenticated, unless the address has nothing left. What a bearer that is not known would
// take is taken before it is looked up, and given back where it did not fail: so who asks much at once gets no more, and who is
// refused is not told whether there is such a key.
func (f *failures) guard(ctx context.Context, from, token string, authenticate func() (apikey.Caller, error)) (apikey.Caller, error) {
	if f.perMinute == 0 {
		return authenticate()
	}
	digest := sha256.Sum256([]byte("let in\x00" + token))
	known := f.known(digest)
	if !known {
		if left := f.limiter.Take(ctx, ofAddress, network(from), f.perMinute, 1); !left.Allowed {
			return apikey.Caller{}, &apikey.Error{
				Code: apikey.RateLimited, Message: "Too many bearer tokens from this address were no valid API keys.",
				PerMinute: f.perMinute, RetryAfter: left.RetryAfter,
			}
		}
	}
	caller, err := authenticate()
	failed := false
	if err != nil {
		code := apikey.Classify(err).Code
		failed = code == apikey.Unauthenticated || code == apikey.BadUserInput
	}
	switch {
	case known && failed: // it was revoked, or has expired
		f.limiter.Take(ctx, ofAddress, network(from), f.perMinute, 1)
		f.mu.Lock()
		f.lately.Remove(digest)
		f.mu.Unlock()
	case !known && !failed:
		f.limiter.Take(ctx, ofAddress, network(from), f.perMinute, -1)
		if err == nil {
			f.mu.Lock()
			f.lately.Add(digest, struct{}{})
			f.mu.Unlock()
		}
	}
	return caller, err
}

func (f *failures) known(digest [sha256.Size]byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, known := f.lately.Get(digest)
	return known
}

// network is what one client has of addresses: with IPv6 a /64.
func network(address string) string {
	if a, err := netip.ParseAddr(address); err == nil && a.Is6() {
		return netip.PrefixFrom(a, 64).Masked().String()
	}
	return address
}
