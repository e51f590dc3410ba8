package ratelimit

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"
)

// Redis is a Limiter that shares its counts with all processes that use the same Redis server. While the server does not respond, each process
// counts by itself.
type Redis struct {
	pool   *redis.Pool
	memory *Memory
	report func(down error)

	mu       sync.Mutex
	down     atomic.Bool // changed under mu
	closed   bool
	done     chan struct{} // closed by Close
	watching sync.WaitGroup
}

const (
	// timeout limits how long a request waits for a connection, and how long it then waits for the reply. Only requests that find Redis
	// down wait: after the first failure, all later ones use memory.
	timeout = 100 * time.Millisecond
	// retry is the interval at which a server that is down is checked.
	retry = time.Second
	// unchecked is how long a connection can be idle and still be used without a PING. Without the PING, a restart of Redis between two
	// requests would be reported as an outage.
	unchecked = time.Second
	// idle is how long an unused connection is kept. Firewalls and Redis's own timeout close them after a few minutes.
	idle = time.Minute
)

// NewRedis returns a Redis for a URL: redis://[user:password@]host[:port][/database], or rediss:// for TLS. The server need not be running
// yet. The Redis calls report with an error when the server stops responding, and with nil when it responds again.
func NewRedis(url string, report func(down error)) (*Redis, error) {
	e, err := parse(url)
	if err != nil {
		return nil, err
	}
	size := 10 * runtime.GOMAXPROCS(0)
	pool := &redis.Pool{DialContext: e.dial, TestOnBorrowContext: check, MaxActive: size, MaxIdle: size, IdleTimeout: idle, Wait: true}
	return &Redis{pool: pool, memory: NewMemory(time.Now), report: report, done: make(chan struct{})}, nil
}

// Close stops the checks and closes all connections. Take must not be called afterwards.
func (r *Redis) Close() error {
	r.mu.Lock()
	r.closed = true
	close(r.done)
	r.mu.Unlock()
	r.watching.Wait()
	return r.pool.Close()
}

// Take implements Limiter.
func (r *Redis) Take(ctx context.Context, kind, name string, perMinute, n int) Budget {
	if r.down.Load() {
		return r.memory.Take(ctx, kind, name, perMinute, n)
	}
	b, err := r.ask(ctx, key(kind, name), perMinute, n)
	if err != nil {
		r.fail(err)
		return r.memory.Take(ctx, kind, name, perMinute, n)
	}
	return b
}

// fail switches to memory and starts watch.
func (r *Redis) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || !r.down.CompareAndSwap(false, true) {
		return
	}
	r.report(withoutAddress(err))
	r.watching.Go(r.watch)
}

// watch checks the server until it works. It runs the script that requests run, because a server that responds but refuses writes is useless.
func (r *Redis) watch() {
	tick := time.NewTicker(retry)
	defer tick.Stop()
	for {
		select {
		case <-r.done:
			return
		case <-tick.C:
		}
		if _, err := r.ask(context.Background(), key("probe", ""), 1, 0); err == nil { //nolint:forbidigo // it outlives the request that found Redis down
			r.mu.Lock()
			defer r.mu.Unlock()
			r.down.Store(false)
			r.report(nil)
			return
		}
	}
}

// take is Memory.Take as a script. It returns whether the events are allowed, when the budget is full, and the current time. It uses Redis's
// clock, so the clocks of the processes need not agree. A key expires when its budget is full, because that is the same as no key.
var take = redis.NewScript(1, `
local each, limit, n = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now), now + each * limit)
local after = math.max(full + n * each, now)
if n > 0 and after > now + each * limit then
	return {0, full, now}
end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.max(1, math.ceil((after - now) / 1000)))
return {1, after, now}
`)

// ask runs Take in Redis. It ignores the cancellation of ctx, because a client that disconnects does not mean that Redis is down.
func (r *Redis) ask(ctx context.Context, key string, perMinute, n int) (Budget, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	conn, err := r.pool.GetContext(ctx)
	if err != nil {
		return Budget{}, err
	}
	defer func() { _ = conn.Close() }()
	v, err := redis.Int64s(take.Do(conn, key, interval(perMinute), perMinute, n))
	switch {
	case err != nil:
		return Budget{}, err
	case len(v) != 3:
		return Budget{}, errors.New("the reply is not that of a Redis server")
	}
	return budget(v[0] == 1, perMinute, v[1], v[2]), nil
}

// key returns the Redis key of a name. A name can be the hash of a secret, or an address. Redis is often less protected than the store, so its
// keys contain only a digest, which leads nobody to a document in the store. The text in braces puts all keys into one slot of a cluster, so
// that it redirects the probe if it redirects requests.
func key(kind, name string) string {
	sum := sha256.Sum256([]byte(kind + "\x00" + name))
	return "retrieverkeys:{rate}:" + base64.RawURLEncoding.EncodeToString(sum[:16])
}

// withoutAddress returns the reason for a failure without the server's address.
func withoutAddress(err error) error {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return errors.New(dns.Err)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return errors.New("its certificate is for another host")
	}
	if word, _, _ := strings.Cut(err.Error(), " "); word == "MOVED" || word == "ASK" {
		return errors.New("it is a node of a cluster, which is not supported")
	}
	return err
}
