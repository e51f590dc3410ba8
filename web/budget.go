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

// window is the period of rate limits in seconds, which the vendor's clients read from X-RateLimit-Window.
const window = 60

// The kinds of names that the limiter counts.
const (
	ofKey     = "key"     // requests, by organization and by the key whose budget they use
	ofAddress = "address" // failed authentications, by address
)

// budgets limits the requests of each key per minute, to its own limit or else to the general one. Keys that replaced each other by
// rotation share a budget.
type budgets struct {
	service *apikey.Service
	limiter ratelimit.Limiter

	mu    sync.Mutex
	found *simplelru.LRU[string, string] // results of BudgetOf that had to read the store, by the key's hash; they never change
}

// mostFound limits found. Only keys that an older version rotated need an entry.
const mostFound = 10_000

func newBudgets(service *apikey.Service, limiter ratelimit.Limiter) *budgets {
	b := &budgets{service: service, limiter: limiter}
	b.found, _ = simplelru.NewLRU[string, string](mostFound, nil) // it fails for sizes below 1 only
	return b
}

// take counts a request of the caller and sets the rate limit headers, as the vendor does. It fails if the budget is used up.
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
			Code: apikey.RateLimited, Message: "Rate limit exceeded (" + strconv.Itoa(limit) + " requests per minute).",
			PerMinute: limit, RetryAfter: left.RetryAfter,
		}
	}
	return nil
}

// of returns the hash of the key whose budget this key uses.
func (b *budgets) of(ctx context.Context, k *apikey.Key) (string, error) {
	if k.Budget != "" || k.RotatedFrom == nil {
		return b.service.BudgetOf(ctx, k) // without a store call
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

// failures limits failed authentications per address and minute. Above the limit, only keys that this process accepted recently are
// checked, because many clients can share an address and one of them can use up its limit.
type failures struct {
	limiter   ratelimit.Limiter
	perMinute int       // 0: unlimited
	proxied   sync.Once // warns about an address that many clients share

	mu     sync.Mutex
	recent *simplelru.LRU[[sha256.Size]byte, struct{}] // digests of recently accepted keys; each request still authenticates
}

// mostRecent is how many recently accepted keys are remembered. Invalid keys cannot evict them.
const mostRecent = 100_000

func newFailures(limiter ratelimit.Limiter, perMinute int) *failures {
	f := &failures{limiter: limiter, perMinute: perMinute}
	f.recent, _ = simplelru.NewLRU[[sha256.Size]byte, struct{}](mostRecent, nil) // it fails for sizes below 1 only
	return f
}

// guard authenticates a token unless its address has used up its failures. For an unknown token it counts a failure before the lookup and
// takes it back if the lookup succeeds. So concurrent requests get no extra attempts, and a refusal does not reveal whether the key
// exists.
func (f *failures) guard(ctx context.Context, from, token string, authenticate func() (apikey.Caller, error)) (apikey.Caller, error) {
	if f.perMinute == 0 {
		return authenticate()
	}
	digest := sha256.Sum256([]byte("accepted\x00" + token))
	known := f.known(digest)
	if !known {
		if left := f.limiter.Take(ctx, ofAddress, network(from), f.perMinute, 1); !left.Allowed {
			return apikey.Caller{}, &apikey.Error{
				Code: apikey.RateLimited, Message: "Too many invalid API keys from this address.",
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
	case known && failed: // it was revoked or has expired
		f.limiter.Take(ctx, ofAddress, network(from), f.perMinute, 1)
		f.mu.Lock()
		f.recent.Remove(digest)
		f.mu.Unlock()
	case !known && !failed:
		f.limiter.Take(ctx, ofAddress, network(from), f.perMinute, -1)
		if err == nil {
			f.mu.Lock()
			f.recent.Add(digest, struct{}{})
			f.mu.Unlock()
		}
	}
	return caller, err
}

// failed counts a failed authentication of another kind, and returns an error if there were too many.
func (f *failures) failed(ctx context.Context, from string) *apikey.Error {
	if f.perMinute == 0 {
		return nil
	}
	left := f.limiter.Take(ctx, ofAddress, network(from), f.perMinute, 1)
	if left.Allowed {
		return nil
	}
	return &apikey.Error{
		Code: apikey.RateLimited, Message: "Too many failed authentications from this address.", PerMinute: f.perMinute, RetryAfter: left.RetryAfter,
	}
}

func (f *failures) known(digest [sha256.Size]byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, known := f.recent.Get(digest)
	return known
}

// network is the part of an address that one client controls: a /64 of IPv6, or the whole IPv4 address.
func network(address string) string {
	if a, err := netip.ParseAddr(address); err == nil && a.Is6() {
		return netip.PrefixFrom(a, 64).Masked().String()
	}
	return address
}
