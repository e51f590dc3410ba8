package web

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// deadlined is a response on a connection that records its read deadline.
type deadlined struct {
	*httptest.ResponseRecorder
	reading time.Time
}

func (d *deadlined) SetReadDeadline(at time.Time) error { d.reading = at; return nil }

// No read deadline may remain after a request was read. If it expires while the response is made, it cancels the context of this request
// and of all later ones on the connection: clients get errors forever, and long lists break off.
func TestNoReadDeadlineOutlivesTheRequest(t *testing.T) {
	for body, bounded := range map[string]bool{"": false, "{}": true} {
		w := &deadlined{httptest.NewRecorder(), time.Now().Add(time.Minute)} // as the server sets it
		answered := false
		awaitNoBody(withTimeout(time.Minute, 10, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			answered = true
			if w.reading.IsZero() == bounded {
				t.Errorf("body %q: it must be read by %v", body, w.reading)
			}
			if _, err := io.ReadAll(r.Body); err != nil {
				t.Error(err)
			}
			if !w.reading.IsZero() {
				t.Errorf("body %q: when all is read, the deadline is %v", body, w.reading)
			}
		}))).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)))
		if !answered {
			t.Error("nothing was answered")
		}
	}
}

// Clients announce bodies that they do not send. Without this, the server answers such a request, or closes its connection, only when its read
// deadline expires, and a shutdown meanwhile fails. The servers here have none.
func TestNoResponseWaitsForABodyThatIsNotRead(t *testing.T) {
	api := func() http.Handler {
		return newGated().handler(func(o *Options) { o.Console, o.Playground, o.RefuseGraphQL = true, true, refuseREST })
	}
	admin := func() http.Handler {
		return NewAdminHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat("metric 1\n", 10_000))
		}), "127.0.0.1:0", nil)
	}
	key := "Authorization: Bearer " + token + "\r\n"
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, c := range []struct {
		handler       func() http.Handler
		line, headers string
		want          int
	}{
		{api, "POST " + askURL, key, 200},
		{api, "GET " + askURL, "", 401},
		{api, "POST /v1/authorize", key, 403},
		{api, "DELETE /v1/retrievers/ret_1/api-keys", key, 405},
		{api, "GET /v1/retrievers/ret_1/api-keys", "", 401},
		{api, "POST /v1/audit-events", key, 405},
		{api, "POST /nowhere", key, 404},
		{api, "POST //graphql", key, 307},
		{api, "POST /graphql", "Sec-Fetch-Site: cross-site\r\n", 403},
		{api, "OPTIONS /graphql", "Origin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n", 403},
		{api, "GET /healthz", "", 200},
		{api, "GET /readyz", "", 200},
		{api, "GET /openapi.json", "", 200},
		{api, "GET /", "", 200},
		{api, "GET /console/main.js", "", 200},
		{api, "GET /playground", "", 200},
		{admin, "GET /metrics", "", 200},
		{admin, "POST /metrics", "", 405},
	} {
		for _, announced := range []string{"Content-Length: 5", "Content-Length: 5\r\nExpect: 100-continue", "Transfer-Encoding: chunked"} {
			request := c.line + " HTTP/1.1\r\nHost: localhost\r\n" + c.headers + announced + "\r\n\r\n"
			wg.Go(func() {
				if status, closes, err := untilClosed(c.handler(), request); err != nil || status != c.want || !closes {
					t.Errorf("%s, %s: got %d, closes %t, %v, want %d", c.line, announced, status, closes, err, c.want)
				}
			})
		}
	}
}

// untilClosed sends the request to a server with that handler, and reads until the server closes the connection.
func untilClosed(h http.Handler, request string) (status int, closes bool, err error) {
	server := httptest.NewServer(h)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		return 0, false, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return 0, false, err
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return 0, false, err
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0, false, err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, false, err
	}
	if n, err := r.Discard(1); !errors.Is(err, io.EOF) {
		return 0, false, fmt.Errorf("after the response: %d bytes, %w", n, err)
	}
	return resp.StatusCode, resp.Close, nil
}

// A client that sends the whole body keeps its connection, unless the process is stopping. Otherwise every GraphQL request needs a new connection.
func TestConnectionsOfReadBodiesAreReused(t *testing.T) {
	for _, c := range []struct {
		path           string
		stopping, want bool
	}{{"/graphql", false, false}, {"/graphql", true, true}, {"/nowhere", false, true}} {
		stopping := make(chan struct{})
		if c.stopping {
			close(stopping)
		}
		w := httptest.NewRecorder()
		newGated().handler(func(o *Options) { o.Stopping = stopping }).ServeHTTP(w, httptest.NewRequest(http.MethodPost, c.path, strings.NewReader("{}")))
		if got := w.Header().Get("Connection") == "close"; got != c.want {
			t.Errorf("%s, stopping: %t: closes %t", c.path, c.stopping, got)
		}
	}
}

// Every page has the full timeout, so a list that takes longer than one timeout in all is not cut off.
func TestEachPageHasItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = time.Second
		var outlived time.Duration
		h := withResponseDeadline(timeout, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			began := time.Now()
			for range 5 {
				ctx, cancel := onward(r.Context(), timeout)
				deadline, ok := ctx.Deadline()
				if left := time.Until(deadline); !ok || left != timeout || ctx.Err() != nil {
					t.Errorf("after %v a page has %v, %v", time.Since(began), left, ctx.Err())
				}
				if RequestID(ctx) != RequestID(r.Context()) || RequestID(ctx) == "" {
					t.Error("a page's context lacks the request's values")
				}
				time.Sleep(timeout - time.Millisecond)
				cancel()
			}
			outlived = time.Since(began)
			if !errors.Is(r.Context().Err(), context.DeadlineExceeded) {
				t.Errorf("the request itself: %v", r.Context().Err())
			}
		}))
		withRequestID(h).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		if outlived < 4*timeout {
			t.Errorf("the answer took %v", outlived)
		}
	})
}
