package web

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"retrieverkeys/apikey"
)

// Without this, every stream is cut after REQUEST_TIMEOUT, or goes on when its client has left.
func TestStreamsOutliveTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, leave := context.WithCancel(t.Context())
		h := withTimeout(time.Second, 10, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			ctx, end := Lasting(r.Context())
			time.Sleep(time.Hour)
			if _, bounded := ctx.Deadline(); ctx.Err() != nil || bounded || RequestID(ctx) == "" || RequestID(ctx) != RequestID(r.Context()) {
				t.Errorf("after an hour: %v, with a deadline: %t", ctx.Err(), bounded)
			}
			leave()
			if <-ctx.Done(); r.Context().Err() == nil {
				t.Error("the request has no deadline")
			}
			end()
			other, end := Lasting(t.Context())
			if end(); other.Err() == nil {
				t.Error("it does not end")
			}
		}))
		withRequestID(h).ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(client, http.MethodPost, "/", nil))
	})
}

// streamed serves a GraphQL handler that streams two events, the second when it may.
func streamed(t *testing.T, o Options) (server *httptest.Server, second chan struct{}) {
	t.Helper()
	second = make(chan struct{})
	o.GraphQL = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, end := Lasting(r.Context())
		defer end()
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		w.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(w, ":\n\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-second:
			_, _ = io.WriteString(w, "event: next\n"+strings.Repeat("x", 10_000)+"\n")
		case <-ctx.Done():
		}
	})
	o.Service, o.Logger, o.RefuseGraphQL, o.Timeout, o.MaxBodyBytes = &apikey.Service{}, slog.New(slog.DiscardHandler), func(w http.ResponseWriter, _ *http.Request, _ int, e *apikey.Error) { writeError(w, e) }, time.Minute, 1<<20
	server = httptest.NewServer(NewHandler(o))
	t.Cleanup(server.Close)
	return server, second
}

func open(t *testing.T, server *httptest.Server) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/graphql", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept-Encoding", "gzip, zstd")
	resp, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// Without this, compression holds events back until there are enough of them, and each stream takes a turn from all requests.
func TestStreamsAreSentAtOnceAndHoldNoTurn(t *testing.T) {
	server, second := streamed(t, Options{MaxConcurrent: 1})
	var streams []*bufio.Reader
	for range 3 {
		resp := open(t, server)
		defer func() { _ = resp.Body.Close() }()
		if resp.Header.Get("Content-Encoding") != "" || resp.Header.Get("No-Gzip-Compression") != "" || resp.StatusCode != http.StatusOK {
			t.Errorf("%d %v", resp.StatusCode, resp.Header)
		}
		streams = append(streams, bufio.NewReader(resp.Body))
	}
	close(second)
	for _, r := range streams {
		if got, err := io.ReadAll(r); err != nil || len(got) != len(":\n\nevent: next\n\n")+10_000 {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
}

// Without this, the latency of the route is that of its streams, which is hours.
func TestStreamsAreCountedUntilTheyBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var counted time.Duration
		h := logRequests(slog.New(slog.DiscardHandler), func(_, _ string, _ int, took time.Duration) { counted = took }, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			w.Header().Set("Content-Type", r.Header.Get("Accept"))
			w.WriteHeader(http.StatusOK)
			time.Sleep(time.Hour)
		}))
		for media, want := range map[string]time.Duration{"text/event-stream": time.Second, "application/json": time.Hour + time.Second} {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Accept", media)
			if h.ServeHTTP(httptest.NewRecorder(), r); counted != want {
				t.Errorf("%s: %v, want %v", media, counted, want)
			}
		}
	})
}

// Without this, a few streams that were opened with long texts keep others from sending long bodies, for hours.
func TestStreamsHoldNoMemoryOfBodies(t *testing.T) {
	b := newBodies(1<<20, func(*http.Request) string { return "203.0.113.1" })
	h := withRequestID(b.read(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		held := func() int64 { b.mu.Lock(); defer b.mu.Unlock(); return b.taken["203.0.113.1"] }
		before := held()
		_, end := Lasting(r.Context())
		defer end()
		if after := held(); before == 0 || after != 0 {
			t.Errorf("%d bytes, %d when the stream has begun", before, after)
		}
	}), refuseREST, http.NotFoundHandler()))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", strings.NewReader(fmt.Sprintf("%100000d", 1))))
	if len(b.taken) != 0 || !b.free.TryAcquire(leastBodies) {
		t.Errorf("%v is held at the end", b.taken)
	}
}
