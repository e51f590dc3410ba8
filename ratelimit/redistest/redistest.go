// Package redistest runs a Redis server for tests: the installed redis-server, or else miniredis in this process.
package redistest

import (
	"context"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gomodule/redigo/redis"
)

// Server is an empty Redis server on a loopback port.
type Server struct {
	Addr     string
	Password string // takes effect at the next Serve
	end      func()
}

// Start starts a Server that runs until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{Addr: "127.0.0.1:0"}
	l := s.listen(t)
	s.Addr = l.Addr().String()
	_ = l.Close()
	s.Serve(t)
	t.Cleanup(func() { s.end() })
	return s
}

// Serve restarts the server, empty, also after Kill or Stall.
func (s *Server) Serve(t testing.TB) {
	t.Helper()
	if s.end != nil {
		s.end()
	}
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		small := miniredis.NewMiniRedis()
		small.RequireAuth(s.Password)
		if err := small.StartAddr(s.Addr); err != nil {
			t.Fatal(err)
		}
		s.end = small.Close
		return
	}
	_, port, _ := net.SplitHostPort(s.Addr)
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), binary, "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--requirepass", s.Password, "--dir", t.TempDir()) //nolint:gosec // a test's own server
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.end = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := redis.DialContext(t.Context(), "tcp", s.Addr, redis.DialPassword(s.Password))
		if err == nil {
			_, err = conn.Do("PING")
			_ = conn.Close()
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.end()
			t.Fatal(err)
		}
	}
}

// Kill stops the server. Connections are refused.
func (s *Server) Kill() {
	s.end()
	s.end = func() {}
}

// Stall replaces the server with a listener that accepts connections and never replies.
func (s *Server) Stall(t testing.TB) {
	t.Helper()
	s.end()
	l := s.listen(t)
	s.end = func() { _ = l.Close() }
}

func (s *Server) listen(t testing.TB) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
