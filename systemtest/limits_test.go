package systemtest

import (
	"net/http"
	"strings"
	"testing"

	"retrieverkeys/program/programtest"
	"retrieverkeys/ratelimit/redistest"
)

// Processes share a key's rate limit through Redis. During a Redis outage, each process counts alone and logs it once. After the outage, they
// share the limit again without a restart.
func TestProcessesShareBudgets(t *testing.T) {
	redis := redistest.Start(t)
	d := programtest.Seeded(t, programtest.Embedded(t))
	d.Env["ADMIN_ADDR"], d.Env["REDIS_URL"], d.Env["RATE_LIMIT_PER_MINUTE"], d.Env["AUTH_FAILURES_PER_MINUTE"] = "127.0.0.1:0", "redis://:hunter2@"+redis.Addr, "4", "2"
	redis.Password = "hunter2"
	redis.Serve(t)
	processes := []*programtest.Server{programtest.Serve(t, d.Env), programtest.Serve(t, d.Env)}
	ask := func(caller string, times int) (statuses []int) {
		for range times {
			for _, s := range processes {
				statuses = append(statuses, s.Query(caller, "production", `{ viewer { keyId } }`).Status)
			}
		}
		return statuses
	}
	allowed := func(caller string, times, want int) {
		t.Helper()
		got := 0
		statuses := ask(caller, times)
		for _, status := range statuses {
			if status != http.StatusTooManyRequests {
				got++
			}
		}
		if got != want {
			t.Errorf("%s: got %d allowed requests, want %d: %v", caller, got, want, statuses)
		}
	}
	shared := func(want string) {
		t.Helper()
		for _, s := range processes {
			if got := s.Metric("retrieverkeys_rate_limits_shared"); got != "retrieverkeys_rate_limits_shared "+want {
				t.Errorf("%q, want %s", got, want)
			}
		}
	}
	allowed("admin", 4, 4)
	allowed("nobody", 3, 2) // invalid keys from one address
	shared("1")

	redis.Kill()
	allowed("admin", 5, 8)
	shared("0")

	redis.Serve(t)
	for _, s := range processes {
		if s.Stderr.Await("Redis answers again", s.Ended) == "" {
			t.Fatal("the limits are not shared again")
		}
	}
	shared("1")
	allowed("reader", 4, 4)
	for _, s := range processes {
		log := s.Stderr.String()
		if n := strings.Count(log, "Redis does not answer"); n != 1 {
			t.Errorf("the outage is logged %d times", n)
		}
		if strings.Contains(log, "hunter2") || strings.Contains(log, redis.Addr) {
			t.Errorf("the log contains the address of Redis:\n%s", log)
		}
	}
}
