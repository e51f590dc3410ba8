package programtest

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"retrieverkeys/program"
)

// Server is a running server. Its requests fail the test T if there is no response.
type Server struct {
	T      *testing.T
	URL    string          // of the public listener
	Stdout *Buffer         // standard output
	Stderr *Buffer         // standard error, which contains the log
	Ended  <-chan struct{} // closed when the server has stopped
	Stop   func() int      // stops the server and returns its exit code
}

// Serve runs the command serve with these settings, on a free port, until the test ends. The test fails unless the exit code is 0.
func Serve(t *testing.T, env Fields) *Server {
	t.Helper()
	return ServeAs(t, env, "serve")
}

// ServeAs is Serve with other arguments.
func ServeAs(t *testing.T, env Fields, args ...string) *Server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	s := &Server{T: t, Stdout: NewBuffer(), Stderr: NewBuffer(), Ended: ended}
	code := 0
	go func() {
		defer close(ended)
		code = program.Run(ctx, args, Getenv(env), strings.NewReader(""), s.Stdout, s.Stderr)
	}()
	s.Stop = func() int { cancel(); <-ended; return code }
	t.Cleanup(func() {
		if got := s.Stop(); got != program.ExitOK {
			t.Errorf("exit code %d; standard error:\n%s", got, s.Stderr)
		}
	})
	var line struct{ URL string }
	if err := json.Unmarshal([]byte(s.Stderr.Await(`"msg":"serving"`, ended)), &line); err != nil {
		t.Fatalf("the server did not start:\n%s", s.Stderr)
	}
	s.URL = line.URL
	return s
}

// AwaitReady waits until the server is ready.
func AwaitReady(t *testing.T, s *Server) {
	t.Helper()
	for began := time.Now(); s.Request(http.MethodGet, "/readyz", "", nil).Status != http.StatusOK; {
		if time.Since(began) > MaxWait {
			t.Fatal("the server did not become ready")
		}
	}
}

// MaxWait limits every wait of a test. It is far longer than every deadline of the server, so an operation that exceeds it hangs.
const MaxWait = 30 * time.Second
