package web

import (
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"retrieverkeys/apikey"
)

// limiter gives each key so many requests a minute: its own number, or else the same for all. They may come at once, and are
// given back one by one (a token bucket). What it counts is this process's alone.
type limiter struct {
	perMinute int // of keys without a number of their own; 0: unlimited
	now       func() time.Time

	mu      sync.Mutex
	buckets *simplelru.LRU[string, *rate.Limiter] // by the key's hash
}

// mostBuckets is how many keys are counted. One that was not used for as long as to be forgotten has its whole budget again,
// which it would have by then anyway but for a flood of as many others.
const mostBuckets = 100_000

func newLimiter(perMinute int) *limiter {
	l := &limiter{perMinute: perMinute, now: time.Now}
	l.buckets, _ = simplelru.NewLRU[string, *rate.Limiter](mostBuckets, nil) // it refuses sizes below 1 only
	return l
}

// take counts a request of the caller and tells in the response's headers what is left, as the vendor does. The error is of
// who has nothing left.
func (l *limiter) take(h http.Header, c apikey.Caller) error {
	if c.Anonymous() {
		return nil
	}
	limit := l.perMinute
	if own := c.Key.RateLimitOverride; own != nil {
		limit = int(*own)
	}
	if limit < 1 {
		return nil
	}
	now := l.now()
	allowed, left := l.bucket(c.Key.Hash, limit, now)
	each := time.Minute / time.Duration(limit)
	h.Set("X-RateLimit-Limit", strconv.Itoa(limit))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(int(max(left, 0))))
	full := now.Add(time.Duration((float64(limit) - left) * float64(each)))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(int64(math.Ceil(float64(full.UnixMilli())/1000)), 10))
	if !allowed {
		return &apikey.Error{
			Code: apikey.RateLimited, Message: "This key has spent its " + strconv.Itoa(limit) + " requests a minute.",
			RetryAfter: time.Duration((1 - left) * float64(each)),
		}
	}
	return nil
}

// bucket takes one request out of the key's bucket, if there is one in it, and tells what is left.
func (l *limiter) bucket(hash string, limit int, now time.Time) (allowed bool, left float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, known := l.buckets.Get(hash)
	if !known {
		b = rate.NewLimiter(0, limit)
		l.buckets.Add(hash, b)
	}
	if perSecond := rate.Limit(float64(limit) / 60); b.Limit() != perSecond {
		b.SetLimitAt(now, perSecond)
		b.SetBurstAt(now, limit)
	}
	allowed = b.AllowN(now, 1)
	return allowed, b.TokensAt(now)
}
