package web

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"retrieverkeys/apikey"
)

func callerWith(hash string, limit ...int32) apikey.Caller {
	k := &apikey.Key{Hash: hash}
	if limit != nil {
		k.RateLimitOverride = &limit[0]
	}
	return apikey.Caller{Key: k}
}

// A key that runs wild must not take more than its share, and must learn when to try again.
func TestABudgetIsSpentAndComesBack(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	now := start
	l := newLimiter(60)
	l.now = func() time.Time { return now }
	take := func(c apikey.Caller) (bool, http.Header) {
		h := http.Header{}
		err := l.take(h, c)
		if err != nil {
			if e := apikey.Classify(err); e.Code != apikey.RateLimited || e.RetryAfter <= 0 || e.RetryAfter > time.Minute {
				t.Fatalf("%+v", e)
			}
		}
		return err == nil, h
	}
	for i := range 60 {
		ok, h := take(callerWith("a"))
		reset := start.Add(time.Duration(i+1) * time.Second).Unix()
		if want := fmt.Sprintf("60 %d %d", 59-i, reset); !ok || h.Get("X-RateLimit-Limit")+" "+h.Get("X-RateLimit-Remaining")+" "+h.Get("X-RateLimit-Reset") != want {
			t.Fatalf("request %d: %t %v, want %s", i, ok, h, want)
		}
	}
	if ok, h := take(callerWith("a")); ok || h.Get("X-RateLimit-Remaining") != "0" {
		t.Errorf("the 61st: %t %v", ok, h)
	}
	if ok, _ := take(callerWith("b")); !ok {
		t.Error("one key's requests count for another's")
	}
	now = now.Add(time.Second)
	if ok, _ := take(callerWith("a")); !ok {
		t.Error("a second later there is none")
	}
	if ok, _ := take(callerWith("a")); ok {
		t.Error("a second later there are two")
	}
	now = now.Add(time.Hour)
	if _, h := take(callerWith("a")); h.Get("X-RateLimit-Remaining") != "59" {
		t.Errorf("an hour later: %v", h)
	}
}

func TestAKeysOwnLimitComesFirst(t *testing.T) {
	for _, c := range []struct {
		general int
		caller  apikey.Caller
		limit   string
	}{
		{0, callerWith("a"), ""},
		{0, callerWith("a", 5), "5"},
		{60, callerWith("a", 5), "5"},
		{60, callerWith("a", 5000), "5000"},
		{60, callerWith("a"), "60"},
		{60, apikey.Caller{}, ""}, // who sends no key reads nothing
	} {
		h := http.Header{}
		if err := newLimiter(c.general).take(h, c.caller); err != nil || h.Get("X-RateLimit-Limit") != c.limit {
			t.Errorf("%d, %+v: %v, %v", c.general, c.caller.Key, h, err)
		}
	}
	// A limit that is changed holds from the next request on.
	l := newLimiter(0)
	for _, limit := range []int32{100, 2, 50} {
		h := http.Header{}
		if err := l.take(h, callerWith("a", limit)); err != nil || h.Get("X-RateLimit-Limit") != strconv.Itoa(int(limit)) {
			t.Errorf("%d: %v, %v", limit, h, err)
		}
	}
}

// A flood of keys must not use up the memory.
func TestBucketsAreBounded(t *testing.T) {
	l := newLimiter(60)
	for i := range mostBuckets + 10 {
		if err := l.take(http.Header{}, callerWith(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	if n := l.buckets.Len(); n != mostBuckets {
		t.Errorf("%d buckets", n)
	}
}

// Over HTTP it looks the same to GraphQL and to the vendor's clients, but for the bodies.
func TestSpentBudgetIsRefused(t *testing.T) {
	url := served(t, &shelf{keys: 1}, func(o *Options) {
		o.RateLimit = 1
		o.RefuseGraphQL = func(w http.ResponseWriter, _ *http.Request, status int, _ *apikey.Error) { w.WriteHeader(status) }
	})
	if status, header, _ := ask(t, http.MethodGet, url+keysURL, ""); status != http.StatusOK || header.Get("X-RateLimit-Remaining") != "0" {
		t.Errorf("the first: %d %v", status, header)
	}
	status, header, body := ask(t, http.MethodGet, url+keysURL, "")
	if status != http.StatusTooManyRequests || header.Get("Retry-After") == "" || header.Get("X-RateLimit-Limit") != "1" {
		t.Errorf("the second: %d %v %s", status, header, body)
	}
	if status, header, _ := ask(t, http.MethodPost, url+"/graphql", ""); status != http.StatusTooManyRequests || header.Get("Retry-After") == "" {
		t.Errorf("GraphQL: %d %v", status, header)
	}
}
