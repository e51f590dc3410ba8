package web

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"retrieverkeys/apikey"
	"retrieverkeys/ratelimit"
)

func callerWith(hash string, limit ...int32) apikey.Caller {
	k := &apikey.Key{Hash: hash}
	if limit != nil {
		k.RateLimitOverride = &limit[0]
	}
	return apikey.Caller{Key: k}
}

// A key in a runaway client must not take more than its share, and the client must learn when to try again.
func TestABudgetIsSpentAndRefills(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	now := start
	b := newBudgets(&apikey.Service{RateLimit: 60}, ratelimit.NewMemory(func() time.Time { return now }))
	take := func(c apikey.Caller) (bool, http.Header) {
		h := http.Header{}
		err := b.take(t.Context(), h, c)
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
		{60, callerWith("a", 0), "60"}, // 0 is not a limit that forbids everything, so the general limit applies
		{60, callerWith("a", -1), "60"},
		{60, callerWith("a", math.MinInt32), "60"},
		{0, callerWith("a", 0), ""},
		{0, callerWith("a", -7), ""},
		{60, apikey.Caller{}, ""}, // a caller without a key can read nothing
	} {
		h := http.Header{}
		if err := newBudgets(&apikey.Service{RateLimit: c.general}, ratelimit.NewMemory(time.Now)).take(t.Context(), h, c.caller); err != nil || h.Get("X-RateLimit-Limit") != c.limit {
			t.Errorf("%d, %+v: %v, %v", c.general, c.caller.Key, h, err)
		}
	}
	// A changed limit applies from the next request on.
	b := newBudgets(&apikey.Service{}, ratelimit.NewMemory(time.Now))
	for _, limit := range []int32{100, 2, 50} {
		h := http.Header{}
		if err := b.take(t.Context(), h, callerWith("a", limit)); err != nil || h.Get("X-RateLimit-Limit") != strconv.Itoa(int(limit)) {
			t.Errorf("%d: %v, %v", limit, h, err)
		}
	}
}

// GraphQL and REST refuse in the same way, except for the body.
func TestSpentBudgetIsRefused(t *testing.T) {
	url := served(t, &shelf{keys: 1}, func(o *Options) {
		o.Service.RateLimit = 1
		o.RefuseGraphQL = func(w http.ResponseWriter, _ *http.Request, status int, _ *apikey.Error) { w.WriteHeader(status) }
	})
	if status, header, _ := ask(t, http.MethodGet, url+keysURL, ""); status != http.StatusOK || header.Get("X-RateLimit-Remaining") != "0" || header.Get("X-RateLimit-Window") != "60" {
		t.Errorf("the first: %d %v", status, header)
	}
	status, header, body := ask(t, http.MethodGet, url+keysURL, "")
	details := `"details":{"limit":1,"retry_after":` + header.Get("Retry-After") + `,"window":60}}}`
	if status != http.StatusTooManyRequests || header.Get("Retry-After") == "" || header.Get("X-RateLimit-Limit") != "1" ||
		header.Get("X-RateLimit-Window") != "60" || !strings.Contains(body, details) {
		t.Errorf("the second: %d %v %s", status, header, body)
	}
	if status, header, _ := ask(t, http.MethodPost, url+"/graphql", ""); status != http.StatusTooManyRequests || header.Get("Retry-After") == "" {
		t.Errorf("GraphQL: %d %v", status, header)
	}
}

// Refused requests use up the budget too. Without this, a key used on a forbidden site can send requests without limit.
func TestRefusedRequestsSpendTheBudget(t *testing.T) {
	for name, c := range map[string]struct {
		path, body string
		header     http.Header
		caller     apikey.Key
		want       int
	}{
		"a forbidden origin":     {keysURL, "", http.Header{"Origin": {"https://evil.example"}}, apikey.Key{AllowedOrigins: []string{"https://a.example"}}, http.StatusForbidden},
		"unreadable origins":     {keysURL, "", http.Header{"Origin": {"https://a.example"}}, apikey.Key{AllowedOrigins: []string{}}, http.StatusForbidden},
		"two namespaces":         {keysURL, "", http.Header{"X-Namespace": {"production", "staging"}}, apikey.Key{}, http.StatusBadRequest},
		"no namespace":           {keysURL, "", http.Header{"X-Namespace": nil}, apikey.Key{}, http.StatusBadRequest},
		"a bad parameter":        {keysURL + "?include_revoked=perhaps", "", nil, apikey.Key{}, http.StatusUnprocessableEntity},
		"a bad body":             {keysURL, "{", nil, apikey.Key{}, http.StatusUnprocessableEntity},
		"nothing there":          {"/v1/retrievers/none/api-keys", "", nil, apikey.Key{}, http.StatusNotFound},
		"a retriever's key":      {keysURL, "", nil, apikey.Key{Type: apikey.RetrieverKey}, http.StatusForbidden},
		"no permissions":         {keysURL, "", nil, apikey.Key{Permissions: []apikey.Permission{apikey.UnknownPermission}}, http.StatusForbidden},
		"GraphQL from elsewhere": {"/graphql", "{}", http.Header{"Origin": {"null"}}, apikey.Key{AllowedOrigins: []string{"https://a.example"}}, http.StatusForbidden},
	} {
		caller := c.caller
		caller.ID, caller.UserID = "key_caller", "usr_caller"
		caller.Type = cmp.Or(caller.Type, apikey.Standard)
		if caller.Permissions == nil {
			caller.Permissions = []apikey.Permission{apikey.Admin}
		}
		caller.RateLimitOverride = new(int32(2))
		s := &shelf{keys: 1, caller: caller}
		h := handler(s, func(o *Options) {
			o.RefuseGraphQL = func(w http.ResponseWriter, _ *http.Request, status int, _ *apikey.Error) { w.WriteHeader(status) }
		})
		for i, want := range []int{c.want, c.want, http.StatusTooManyRequests} {
			method := http.MethodGet
			if c.body != "" {
				method = http.MethodPost
			}
			r := httptest.NewRequest(method, c.path, strings.NewReader(c.body))
			r.Header = http.Header{"Authorization": {"Bearer " + token}, "X-Namespace": {"production"}, "Content-Type": {"application/json"}}
			maps.Copy(r.Header, c.header)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != want || w.Header().Get("X-RateLimit-Remaining") != strconv.Itoa(max(0, 1-i)) {
				t.Errorf("%s, request %d: %d, want %d; %v %s", name, i, w.Code, want, w.Header(), w.Body)
			}
		}
	}
}

// chain is a store that finds keys by id and counts the lookups.
type chain struct {
	apikey.Store

	keys  []apikey.Key
	down  bool
	asked int
}

func (c *chain) CurrentKeys(_ context.Context, tenant apikey.InternalID, ids ...apikey.ID) ([]apikey.Key, error) {
	c.asked++
	if c.down {
		return nil, &apikey.Error{Code: apikey.Unavailable}
	}
	var found []apikey.Key
	for _, k := range c.keys {
		if k.InternalID == tenant && slices.Contains(ids, k.ID) {
			found = append(found, k)
		}
	}
	return found, nil
}

// Without this, a caller who has used up a budget rotates the key and gets a full budget.
func TestRotatedKeysShareOneBudget(t *testing.T) {
	key := func(id, before, budget string, tenant apikey.InternalID) apikey.Key {
		k := apikey.Key{ID: apikey.ID(id), Hash: "hash of " + id, Budget: budget, InternalID: tenant}
		if before != "" {
			k.RotatedFrom = new(apikey.ID(before))
		}
		return k
	}
	first, old, older, made := key("a", "", "", "int_1"), key("b", "a", "", "int_1"), key("c", "b", "", "int_1"), key("d", "c", "hash of a", "int_1")
	theirs := key("b", "a", "", "int_2") // of another organization with the same ids
	theirs.Hash = "hash of their b"
	forged := key("evil", "a", "hash of a", "int_2") // another organization's key that names our budget
	store := &chain{keys: []apikey.Key{first, old, older, made, theirs}}
	limiter := ratelimit.NewMemory(time.Now)
	processes := []*budgets{newBudgets(&apikey.Service{Store: store, RateLimit: 4}, limiter), newBudgets(&apikey.Service{Store: store, RateLimit: 4}, limiter)}
	take := func(process int, k apikey.Key) string {
		h := http.Header{}
		if err := processes[process].take(t.Context(), h, apikey.Caller{Key: &k}); err != nil {
			return string(apikey.Classify(err).Code)
		}
		return h.Get("X-RateLimit-Remaining")
	}
	for i, step := range []struct {
		process int
		key     apikey.Key
		want    string
	}{
		{0, first, "3"}, {1, old, "2"}, {0, older, "1"}, {1, made, "0"},
		{0, first, "RATE_LIMITED"}, {0, old, "RATE_LIMITED"}, {1, older, "RATE_LIMITED"}, {1, made, "RATE_LIMITED"},
		{0, theirs, "3"}, {0, forged, "3"},
	} {
		if got := take(step.process, step.key); got != step.want {
			t.Errorf("step %d, %s: %s, want %s", i, step.key.ID, got, step.want)
		}
	}
	// For a key that an older version rotated, the chain is looked up once, and not at all if there is no limit.
	asked := store.asked
	take(0, old)
	take(0, made)
	if err := newBudgets(&apikey.Service{Store: store}, limiter).take(t.Context(), http.Header{}, apikey.Caller{Key: &older}); err != nil || store.asked != asked {
		t.Errorf("%v, asked %d times more", err, store.asked-asked)
	}
	// The result of a failed lookup is not remembered.
	late := key("late", "d", "", "int_1")
	store.down = true
	if got := take(0, late); got != "UNAVAILABLE" {
		t.Errorf("with the store down: %s", got)
	}
	store.down = false
	if got := take(0, late); got != "RATE_LIMITED" {
		t.Errorf("with the store up again: %s", got)
	}
}

// shelfOf is a store that knows only some tokens, can be down, and counts lookups.
type shelfOf struct {
	shelf
	good  map[string]bool
	down  bool
	asked int
}

func (s *shelfOf) KeysByHash(_ context.Context, hash string) ([]apikey.Key, error) {
	s.asked++
	if s.down {
		return nil, &apikey.Error{Code: apikey.Unavailable}
	}
	for token := range s.good {
		if fmt.Sprintf("%x", sha256.Sum256([]byte(token))) == hash {
			k := s.caller
			k.Hash = hash
			return []apikey.Key{k}, nil
		}
	}
	return nil, nil
}

// A client that guesses keys must not keep the store busy, and callers with valid keys at the same address must not notice.
func TestInvalidKeysOfAnAddressAreLimited(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := &shelfOf{good: map[string]bool{"sk_good": true, "sk_new": true}}
	outcomes := map[string]int{}
	h := handlerOn(s, &s.shelf, func(o *Options) {
		o.AuthFailures, o.Limiter = 3, ratelimit.NewMemory(func() time.Time { return now })
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		o.Metrics.Authentication = func(outcome string) { outcomes[outcome]++ }
	})
	ask := func(from, authorization string) (int, http.Header, string) {
		r := httptest.NewRequest(http.MethodGet, keysURL, nil)
		r.RemoteAddr = "10.0.0.1:1234"
		r.Header.Set("X-Forwarded-For", from)
		r.Header.Set("X-Namespace", "production")
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code, w.Header(), w.Body.String()
	}
	expect := func(from, authorization string, want int) {
		t.Helper()
		if got, _, body := ask(from, authorization); got != want {
			t.Errorf("%s, %s: %d %s, want %d", from, authorization, got, body, want)
		}
	}
	for range 5 { // valid keys do not count
		expect("192.0.2.1", "Bearer sk_good", 200)
	}
	s.down = true
	for range 5 { // nor do keys that could not be looked up
		expect("192.0.2.1", "Bearer sk_any", 503)
	}
	s.down = false
	expect("192.0.2.1", "Bearer sk_bad1", 401)
	expect("192.0.2.1", "Basic c2s6", 401) // malformed tokens count too
	expect("192.0.2.1", "Bearer sk_bad2", 401)
	asked := s.asked
	_, header, known := ask("192.0.2.1", "Bearer sk_new") // valid, but this process has not accepted it yet
	_, _, unknown := ask("192.0.2.1", "Bearer sk_bad3")
	if header.Get("Retry-After") != "20" || known != unknown || !strings.Contains(known, `"status":429`) || !strings.Contains(known, `"details":{"limit":3,"retry_after":20,"window":60}`) || s.asked != asked {
		t.Errorf("%v\n%s\n%s", header, known, unknown)
	}
	expect("192.0.2.1", "Bearer sk_good", 200)
	expect("192.0.2.1", "", 401) // requests without a key are not limited
	expect("192.0.2.2", "Bearer sk_new", 200)
	expect("192.0.2.1", "Bearer sk_new", 200) // this process has accepted it now
	if outcomes["RATE_LIMITED"] != 2 {
		t.Errorf("%v", outcomes)
	}

	delete(s.good, "sk_good")
	now = now.Add(20 * time.Second)
	expect("192.0.2.1", "Bearer sk_good", 401) // it was revoked: the response says so, and from then on it counts as invalid
	expect("192.0.2.1", "Bearer sk_good", 429)

	for i := range 3 { // an IPv6 client has a whole /64 of addresses
		expect(fmt.Sprintf("2001:db8::%d", i), "Bearer sk_bad", 401)
	}
	expect("2001:db8::ffff", "Bearer sk_bad", 429)
	expect("2001:db8:0:1::1", "Bearer sk_bad", 401)
}

// If a proxy is not in TRUSTED_PROXIES, all its clients share one address. The log must say once why their valid keys are refused.
func TestAnUntrustedProxyIsLogged(t *testing.T) {
	for _, c := range []struct{ from, forwarded, trusted string }{{"10.0.0.1:1", "192.0.2.1", ""}, {"10.0.0.1:1", "", ""}, {"10.0.0.1:1", "192.0.2.1", "10.0.0.0/8"}} {
		var log bytes.Buffer
		s := &shelfOf{}
		h := handlerOn(s, &s.shelf, func(o *Options) {
			o.AuthFailures, o.Logger = 1, slog.New(slog.NewTextHandler(&log, nil))
			if c.trusted != "" {
				o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix(c.trusted)}
			}
		})
		for range 5 {
			r := httptest.NewRequest(http.MethodGet, keysURL, nil)
			r.RemoteAddr = c.from
			r.Header.Set("Authorization", "Bearer sk_bad")
			if c.forwarded != "" {
				r.Header.Set("X-Forwarded-For", c.forwarded)
			}
			h.ServeHTTP(httptest.NewRecorder(), r)
		}
		want := 0
		if c.forwarded != "" && c.trusted == "" {
			want = 1
		}
		if got := strings.Count(log.String(), "TRUSTED_PROXIES"); got != want {
			t.Errorf("%+v: logged %d times\n%s", c, got, &log)
		}
	}
}

// Concurrent requests must not get more attempts than requests one after the other.
func TestConcurrentInvalidKeysGetNoExtraAttempts(t *testing.T) {
	f := newFailures(ratelimit.NewMemory(time.Now), 3)
	var looked, wg = make(chan struct{}, 100), sync.WaitGroup{}
	for i := range 20 {
		wg.Go(func() {
			_, _ = f.guard(t.Context(), "192.0.2.1", strconv.Itoa(i), func() (apikey.Caller, error) {
				looked <- struct{}{}
				return apikey.Caller{}, &apikey.Error{Code: apikey.Unauthenticated}
			})
		})
	}
	if wg.Wait(); len(looked) != 3 {
		t.Errorf("%d were looked up", len(looked))
	}
}

func TestInvalidKeysCanBeUnlimited(t *testing.T) {
	f := newFailures(ratelimit.NewMemory(time.Now), 0)
	bad := errors.New("bad")
	for range 5 {
		if _, err := f.guard(t.Context(), "192.0.2.1", "", func() (apikey.Caller, error) { return apikey.Caller{}, bad }); !errors.Is(err, bad) {
			t.Error(err)
		}
	}
}

// Requests with a key from a web page use up that key's budget. Otherwise they would be unlimited.
func TestKeysOfWebPagesSpendTheirBudget(t *testing.T) {
	b := newBudgets(&apikey.Service{RateLimit: 1}, ratelimit.NewMemory(time.Now))
	c := apikey.Caller{Key: &apikey.Key{Hash: "a", Type: apikey.RetrieverKey}}
	if err := b.take(t.Context(), http.Header{}, c); err != nil {
		t.Error(err)
	}
	if err := b.take(t.Context(), http.Header{}, c); err == nil || apikey.Classify(err).Code != apikey.RateLimited {
		t.Errorf("the second request: %v", err)
	}
}
