package ratelimit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"go.uber.org/goleak"

	"retrieverkeys/ratelimit/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// opened returns a limiter on the Redis at the address, and a channel of its reports.
func opened(t *testing.T, addr string) (*Redis, chan error) {
	t.Helper()
	reported := make(chan error, 100)
	r, err := NewRedis("redis://"+addr, func(down error) { reported <- down })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, reported
}

// directly returns a connection to the Redis at the address that bypasses the code under test.
func directly(t *testing.T, addr string, options ...redis.DialOption) redis.Conn {
	t.Helper()
	conn, err := redis.DialContext(t.Context(), "tcp", addr, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// counted counts the connections that r dials from now on, and how often it reuses one. Call it before the first Take.
func counted(r *Redis) (dialed, reused *atomic.Int64) {
	dialed, reused = new(atomic.Int64), new(atomic.Int64)
	dial, check := r.pool.DialContext, r.pool.TestOnBorrowContext
	r.pool.DialContext = func(ctx context.Context) (redis.Conn, error) {
		dialed.Add(1)
		return dial(ctx)
	}
	r.pool.TestOnBorrowContext = func(ctx context.Context, conn redis.Conn, used time.Time) error {
		reused.Add(1)
		return check(ctx, conn, used)
	}
	return dialed, reused
}

// Both limiters behave alike. The test cannot set Redis's clock, so it uses budgets so small that they do not refill while it runs.
func TestALimiter(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) Limiter{
		"memory": func(*testing.T) Limiter { return NewMemory(time.Now) },
		"redis": func(t *testing.T) Limiter {
			r, reported := opened(t, redistest.Start(t).Addr)
			t.Cleanup(func() {
				if len(reported) > 0 {
					t.Errorf("it did not use Redis: %v", <-reported)
				}
			})
			return r
		},
	} {
		t.Run(name, func(t *testing.T) { suite(t, open(t)) })
	}
}

func suite(t *testing.T, l Limiter) {
	t.Run("a budget is spent", func(t *testing.T) {
		begun := time.Now()
		for i := range 3 {
			if b := l.Take(t.Context(), "key", "a", 3, 1); !b.Allowed || b.Remaining != 2-i || (b.RetryAfter > 0) != (i == 2) {
				t.Errorf("%d: %+v", i, b)
			}
		}
		b := l.Take(t.Context(), "key", "a", 3, 1)
		if b.Allowed || b.Remaining != 0 || b.RetryAfter <= 10*time.Second || b.RetryAfter > 20*time.Second {
			t.Errorf("spent: %+v", b)
		}
		if until := b.Reset.Sub(begun); until < 59*time.Second || until > 70*time.Second {
			t.Errorf("it is full in %s", until)
		}
	})
	t.Run("names and kinds are separate", func(t *testing.T) {
		for _, of := range [][2]string{{"key", "b"}, {"key", "c"}, {"address", "b"}} {
			if b := l.Take(t.Context(), of[0], of[1], 1, 1); !b.Allowed {
				t.Errorf("%s: %+v", of, b)
			}
		}
	})
	t.Run("events that are given back can be taken again, and no more", func(t *testing.T) {
		l.Take(t.Context(), "key", "d", 2, 1)
		for _, want := range []int{2, 2} {
			if b := l.Take(t.Context(), "key", "d", 2, -1); !b.Allowed || b.Remaining != want {
				t.Errorf("%+v", b)
			}
		}
	})
	t.Run("more than is left", func(t *testing.T) {
		if b := l.Take(t.Context(), "key", "e", 2, 3); b.Allowed || b.Remaining != 2 {
			t.Errorf("%+v", b)
		}
	})
	t.Run("a limit that is changed", func(t *testing.T) {
		for _, limit := range []int{100, 2, 50, 1 << 30} {
			if b := l.Take(t.Context(), "key", "f", limit, 1); !b.Allowed {
				t.Errorf("%d: %+v", limit, b)
			}
		}
		l.Take(t.Context(), "key", "g", 100, 100)
		if b := l.Take(t.Context(), "key", "g", 2, 1); b.Allowed {
			t.Errorf("after a hundred of a hundred: %+v of two", b)
		}
	})
	t.Run("concurrent requests get no more", func(t *testing.T) {
		var allowed atomic.Int64
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				for range 5 {
					if l.Take(t.Context(), "key", "h", 7, 1).Allowed {
						allowed.Add(1)
					}
				}
			})
		}
		if wg.Wait(); allowed.Load() != 7 {
			t.Errorf("%d of 7", allowed.Load())
		}
	})
	t.Run("a client that left", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		l.Take(ctx, "key", "i", 1, 1)
		if b := l.Take(t.Context(), "key", "i", 1, 1); b.Allowed {
			t.Error("its request was not counted")
		}
	})
	t.Run("a budget refills", func(t *testing.T) {
		const limit = 6000 // one in 10 ms
		l.Take(t.Context(), "key", "j", limit, limit)
		for deadline := time.Now().Add(10 * time.Second); !l.Take(t.Context(), "key", "j", limit, 1).Allowed; {
			if time.Now().After(deadline) {
				t.Fatal("it does not")
			}
		}
	})
}

// With a clock that the test sets, every figure is exact.
func TestBudgetsRefillWithTime(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	start := now
	m := NewMemory(func() time.Time { return now })
	take := func(want Budget) {
		t.Helper()
		if got := m.Take(t.Context(), "key", "a", 60, 1); got.Allowed != want.Allowed || got.Remaining != want.Remaining || !got.Reset.Equal(want.Reset) || got.RetryAfter != want.RetryAfter {
			t.Errorf("%s: %+v, want %+v", now.Sub(start), got, want)
		}
	}
	for i := range 59 {
		take(Budget{true, 59 - i, start.Add(time.Duration(i+1) * time.Second), 0})
	}
	take(Budget{true, 0, start.Add(time.Minute), time.Second})
	now = now.Add(300 * time.Millisecond)
	take(Budget{false, 0, start.Add(time.Minute), 700 * time.Millisecond})
	now = now.Add(700 * time.Millisecond)
	take(Budget{true, 0, start.Add(61 * time.Second), time.Second})
	take(Budget{false, 0, start.Add(61 * time.Second), time.Second})
	now = now.Add(time.Hour)
	take(Budget{true, 59, now.Add(time.Second), 0})
	now = now.Add(-time.Hour) // the clock is set back: no name may wait until it has caught up
	take(Budget{false, 0, now.Add(time.Minute), time.Second})
}

// A flood of names must not use up the memory.
func TestMemoryIsBounded(t *testing.T) {
	m := NewMemory(time.Now)
	for i := range mostNames + 10 {
		m.Take(t.Context(), "key", strconv.Itoa(i), 60, 1)
	}
	if n := m.kinds["key"].Len(); n != mostNames {
		t.Errorf("%d names", n)
	}
}

// Keys in Redis must identify nobody, and must expire.
func TestKeysAreDigestsAndExpire(t *testing.T) {
	addr := redistest.Start(t).Addr
	r, _ := opened(t, addr)
	const name = "12b2820cf1639904311da5771de1e5bb65c77073fdc7c555df395942df42896b"
	r.Take(t.Context(), "key", name, 60, 30)
	client := directly(t, addr)
	keys, err := redis.Strings(client.Do("KEYS", "*"))
	if err != nil || len(keys) != 1 || !strings.HasPrefix(keys[0], "retrieverkeys:{rate}:") || strings.Contains(keys[0], name[:8]) {
		t.Fatal(keys, err)
	}
	if left, err := redis.Int(client.Do("PTTL", keys[0])); err != nil || left <= 0 || left > 30_000 {
		t.Errorf("it ends in %d ms, %v", left, err)
	}
	// As if Redis's clock had been set back.
	if _, err := client.Do("SET", keys[0], time.Now().Add(time.Hour).UnixMicro()); err != nil {
		t.Fatal(err)
	}
	if b := r.Take(t.Context(), "key", name, 60, 1); b.Allowed || b.RetryAfter > time.Second {
		t.Errorf("%+v", b)
	}
}

// Two processes share one limit. Without Redis, each counts by itself at once, and when Redis responds again, they share the limit again.
func TestAnOutageIsSurvived(t *testing.T) {
	for name, end := range map[string]func(*redistest.Server, *testing.T){
		"killed":  func(s *redistest.Server, _ *testing.T) { s.Kill() },
		"stalled": func(s *redistest.Server, t *testing.T) { s.Stall(t) },
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			one, reportedOne := opened(t, server.Addr)
			two, reportedTwo := opened(t, server.Addr)
			dialed, reused := counted(one)
			shared := func(name string) {
				t.Helper()
				if first, second := one.Take(t.Context(), "key", name, 1, 1), two.Take(t.Context(), "key", name, 1, 1); !first.Allowed || second.Allowed {
					t.Errorf("%+v %+v", first, second)
				}
			}
			shared("before")
			end(server, t)
			for _, l := range []*Redis{one, two} {
				if first, second := l.Take(t.Context(), "key", "meanwhile", 1, 1), l.Take(t.Context(), "key", "meanwhile", 1, 1); !first.Allowed || second.Allowed {
					t.Errorf("%+v %+v", first, second)
				}
			}
			for _, reported := range []chan error{reportedOne, reportedTwo} {
				if err := <-reported; err == nil || strings.Contains(err.Error(), server.Addr) || len(reported) > 0 {
					t.Errorf("reported %v, and %d more", err, len(reported))
				}
			}
			// Later requests do not wait: they do not ask Redis.
			before := dialed.Load() + reused.Load()
			for range 10_000 {
				one.Take(t.Context(), "key", "many", 1, 1)
			}
			if asked := dialed.Load() + reused.Load() - before; asked > 100 {
				t.Errorf("%d of 10000 asked Redis", asked)
			}
			server.Serve(t)
			for _, reported := range []chan error{reportedOne, reportedTwo} {
				if err := <-reported; err != nil {
					t.Errorf("reported %v again", err)
				}
			}
			shared("after")
		})
	}
}

// A server that responds to other commands but not to the script is down and stays down. Its state must not change every second.
func TestAServerThatRefusesTheScriptStaysDown(t *testing.T) {
	addr := redistest.Start(t).Addr
	r, reported := opened(t, addr)
	dialed, reused := counted(r)
	client := directly(t, addr)
	if _, err := client.Do("LPUSH", key("probe", ""), "no number"); err != nil {
		t.Fatal(err)
	}
	r.fail(errors.New("no use"))
	if err := <-reported; err == nil {
		t.Error("no outage was reported")
	}
	for dialed.Load()+reused.Load() < 2 { // until it was checked in vain and is checked again
		if _, err := client.Do("PING"); err != nil {
			t.Fatal(err)
		}
	}
	if len(reported) > 0 {
		t.Error("it was reported as up")
	}
	if _, err := client.Do("DEL", key("probe", "")); err != nil {
		t.Fatal(err)
	}
	if err := <-reported; err != nil {
		t.Error(err)
	}
}

// The log says why Redis does not respond, but not at which address.
func TestOutagesDoNotShowTheAddress(t *testing.T) {
	const host = "10.0.0.5"
	for _, err := range []error{
		&net.OpError{Op: "dial", Addr: &net.TCPAddr{IP: net.ParseIP(host)}, Err: errors.New("refused")}, &net.DNSError{Err: "no such host", Name: host},
		redis.Error("MOVED 866 " + host + ":6379"), redis.Error("ASK 866 " + host + ":6379"),
		&tls.CertificateVerificationError{Err: x509.HostnameError{Host: host, Certificate: &x509.Certificate{IPAddresses: []net.IP{net.ParseIP("10.0.0.6")}}}},
	} {
		if got := withoutAddress(err).Error(); got == "" || strings.Contains(got, host) {
			t.Errorf("%s: %s", err, got)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	b.Run("memory", func(b *testing.B) {
		m := NewMemory(time.Now)
		for b.Loop() {
			m.Take(b.Context(), "key", "a", 1_000_000, 1)
		}
	})
	b.Run("redis", func(b *testing.B) {
		r, err := NewRedis("redis://"+redistest.Start(b).Addr, func(error) {})
		if err != nil {
			b.Fatal(err)
		}
		defer r.Close() //nolint:errcheck // a benchmark
		for b.Loop() {
			r.Take(b.Context(), "key", "a", 1_000_000, 1)
		}
	})
}
