package ratelimit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/google/go-cmp/cmp"

	"retrieverkeys/ratelimit/redistest"
)

// URLs contain passwords, so errors about URLs must not repeat them. A password that is not escaped must not lead to another host or database.
func TestURLsAreCheckedAndNotRepeated(t *testing.T) {
	for good, want := range map[string]endpoint{
		"redis://h":                         {address: "h:6379"},
		"redis://h:":                        {address: "h:6379"},
		"redis://h/":                        {address: "h:6379"},
		"redis://":                          {address: "localhost:6379"},
		"redis://[::1]":                     {address: "[::1]:6379"},
		"redis://[::1]:6380/15/":            {address: "[::1]:6380", database: 15},
		"redis://:hunter2@h:6379/2":         {address: "h:6379", password: "hunter2", database: 2},
		"rediss://u:hunter2@h:6380":         {address: "h:6380", username: "u", password: "hunter2", tls: &tls.Config{ServerName: "h"}},
		"redis://u%40x:%23%2F%3F%3A%25@h/0": {address: "h:6379", username: "u@x", password: "#/?:%"},
	} {
		if err := CheckURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
			continue
		}
		got, _ := parse(good)
		if (got.tls != nil) != (want.tls != nil) || got.tls != nil && (got.tls.ServerName != want.tls.ServerName || got.tls.InsecureSkipVerify) {
			t.Errorf("%s: %+v", good, got.tls)
		}
		got.tls, want.tls = nil, nil
		if diff := cmp.Diff(want, *got, cmp.AllowUnexported(endpoint{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", good, diff)
		}
	}
	for bad, names := range map[string]string{
		"h:6379": "redis://", "hunter2": "redis://", "redis:h": "redis://", "http://:hunter2@h": "redis://", "unix:///run/hunter2.sock": "redis://",
		"redis://:hunter2@h:port": "redis://", "redis://:hunter2/x@h": "redis://", "redis://:hunter2%zz@h": "redis://", "redis://:hunter2@h\n": "redis://",
		"redis://:hunter2@h:0": "port", "redis://:hunter2@h:65536": "port", "redis://:hunter2@h:99999999999999999999": "port",
		"redis://h/hunter2": "database", "redis://h/-1": "database", "redis://h/1/2": "database", "redis://h/2147483648": "database", "redis://:1/hunter2@h": "database",
		"redis://h?hunter2=1": "parameters", "redis://h?db=hunter2": "parameters", "redis://h?": "parameters", "redis://:1?hunter2@h": "parameters",
		"redis://h#hunter2": "fragment", "redis://:1#hunter2@h:6379": "fragment",
	} {
		r, err := NewRedis(bad, nil)
		if err == nil || r != nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), names) || !strings.HasPrefix(err.Error(), "must be") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// On a shared Redis, a program may get a user with few rights and its own database.
func TestUserAndDatabaseAreThoseOfTheURL(t *testing.T) {
	server := redistest.Start(t)
	server.Password = "hunter2"
	server.Serve(t)
	take := func(userinfo string) (Budget, error) {
		r, reported := opened(t, userinfo+"@"+server.Addr+"/2")
		b := r.Take(t.Context(), "key", "a", 5, 1)
		if len(reported) > 0 {
			return b, <-reported
		}
		return b, nil
	}
	for remaining, userinfo := range []string{"default:hunter2", ":hunter2"} {
		if b, err := take(userinfo); err != nil || b.Remaining != 4-remaining {
			t.Errorf("%s: %v, %+v", userinfo, err, b)
		}
	}
	for _, userinfo := range []string{":wrong", "nobody:hunter2", ""} {
		if b, err := take(userinfo); err == nil || strings.Contains(err.Error(), "hunter2") || b.Remaining != 4 {
			t.Errorf("%s: %v, %+v", userinfo, err, b)
		}
	}
	for database, want := range []int{0, 0, 1} {
		if n, err := redis.Int(directly(t, server.Addr, redis.DialPassword("hunter2"), redis.DialDatabase(database)).Do("DBSIZE")); err != nil || n != want {
			t.Errorf("database %d has %d keys, %v", database, n, err)
		}
	}
}

// The rights that docs/operating.md lists are sufficient. PING is not one of them.
func TestFewRightsSuffice(t *testing.T) {
	addr, user := redistest.Start(t).Addr, "limits:hunter2@"
	_, err := directly(t, addr).Do("ACL", "SETUSER", "limits", "on", ">hunter2", "resetkeys", "~retrieverkeys:*", "nocommands", "+evalsha", "+eval", "+time", "+get", "+set", "+select")
	if refused, ok := errors.AsType[redis.Error](err); ok && strings.HasPrefix(string(refused), "ERR unknown command") {
		user = "" // Redis 5 and miniredis have no rights to take away
	} else if err != nil {
		t.Fatal(err)
	}
	r, reported := opened(t, user+addr+"/1")
	aged(r)
	dialed, reused := counted(r)
	for i := range 3 {
		if b := r.Take(t.Context(), "key", "a", 5, 1); b.Remaining != 4-i {
			t.Errorf("%+v", b)
		}
	}
	if len(reported) > 0 || dialed.Load() != 1 || reused.Load() != 2 {
		t.Errorf("%d outages, %d connections, used %d times again", len(reported), dialed.Load(), reused.Load())
	}
}

// Redis closes connections that are idle for long, and all connections when it restarts. The next request must find it up.
func TestRestartBetweenRequestsIsNotAnOutage(t *testing.T) {
	server := redistest.Start(t)
	r, reported := opened(t, server.Addr)
	aged(r)
	dialed, _ := counted(r)
	for range 2 {
		if b := r.Take(t.Context(), "key", "a", 5, 1); b.Remaining != 4 {
			t.Errorf("%+v", b)
		}
		server.Serve(t) // empty
	}
	if len(reported) > 0 || dialed.Load() != 2 {
		t.Errorf("%d outages, %d connections", len(reported), dialed.Load())
	}
}

// If Redis has lost the script, it is sent again.
func TestALostScriptIsSentAgain(t *testing.T) {
	addr := redistest.Start(t).Addr
	r, reported := opened(t, addr)
	client := directly(t, addr)
	for i := range 3 {
		if b := r.Take(t.Context(), "key", "a", 5, 1); b.Remaining != 4-i {
			t.Errorf("%+v", b)
		}
		if _, err := client.Do("SCRIPT", "FLUSH"); err != nil {
			t.Fatal(err)
		}
	}
	if len(reported) > 0 {
		t.Error(<-reported)
	}
}

// Redis gets few connections, however many requests are concurrent, and they are reused.
func TestConnectionsAreFew(t *testing.T) {
	r, reported := opened(t, redistest.Start(t).Addr)
	dialed, _ := counted(r)
	most := int64(10 * runtime.GOMAXPROCS(0))
	// These hold all connections, so the next request waits until the timeout.
	for range most {
		conn, err := r.pool.GetContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
	}
	var wg sync.WaitGroup
	for range 3 * most {
		wg.Go(func() { r.Take(t.Context(), "key", "a", 5, 1) })
	}
	wg.Wait()
	if dialed.Load() != most {
		t.Errorf("%d connections, want %d", dialed.Load(), most)
	}
	if len(reported) == 0 {
		t.Error("no request waited until the timeout")
	} else if err := <-reported; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("reported %v", err)
	}
}

// With rediss://, a password reaches only the host in the URL. A server that cannot prove to be that host counts as down.
func TestTLSProvesTheHost(t *testing.T) {
	server := redistest.Start(t)
	addr, trusted := secured(t, server.Addr)
	silent := redistest.Start(t)
	silent.Stall(t)
	_, port, _ := net.SplitHostPort(addr)
	for name, test := range map[string]struct {
		url  string
		ca   *x509.CertPool
		up   bool
		want string // the reported reason, if it is down
	}{
		"trusted":           {"rediss://" + addr, trusted, true, ""},
		"another authority": {"rediss://" + addr, x509.NewCertPool(), false, "unknown authority"},
		"another host":      {"rediss://localhost:" + port, trusted, false, "its certificate is for another host"},
		"no TLS there":      {"rediss://" + server.Addr, trusted, false, ""},
		"no answer":         {"rediss://" + silent.Addr, trusted, false, "deadline"},
		"TLS there":         {"redis://" + addr, trusted, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := parse(test.url)
			if err != nil {
				t.Fatal(err)
			}
			if e.tls != nil {
				e.tls.RootCAs = test.ca
			}
			reported := make(chan error, 100)
			r, err := NewRedis(test.url, func(down error) { reported <- down })
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = r.Close() })
			r.pool.DialContext = e.dial
			if b := r.Take(t.Context(), "key", name, 5, 1); b.Remaining != 4 {
				t.Errorf("%+v", b)
			}
			if up := len(reported) == 0; up != test.up {
				t.Fatalf("it is up: %t", up)
			} else if up {
				return
			}
			if err := <-reported; err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "localhost") || strings.Contains(err.Error(), "127.0.0.1") {
				t.Errorf("reported %v", err)
			}
		})
	}
}

// aged makes every connection that r reuses look as if it had been idle for half an hour. The pool itself keeps none for that long.
func aged(r *Redis) {
	r.pool.TestOnBorrowContext = func(ctx context.Context, conn redis.Conn, used time.Time) error {
		return check(ctx, conn, used.Add(-30*time.Minute))
	}
}

// secured puts a TLS proxy before the server at the address. It returns the proxy's address and the authority that signed its certificate for
// 127.0.0.1.
func secured(t *testing.T, addr string) (string, *x509.CertPool) {
	t.Helper()
	signed := httptest.NewTLSServer(nil)
	signed.Close()
	authority := x509.NewCertPool()
	authority.AddCert(signed.Certificate())
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: signed.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { _ = l.Close() })
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = client.Close() }()
				server, err := net.Dial("tcp", addr)
				if err != nil {
					return
				}
				wg.Go(func() { _, _ = io.Copy(client, server) })
				_, _ = io.Copy(server, client)
				_ = server.Close()
			})
		}
	})
	return l.Addr().String(), authority
}
