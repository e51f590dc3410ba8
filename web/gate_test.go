package web

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"retrieverkeys/apikey"
)

// counters are the metrics of a gate. changed receives a value whenever the number of waiting requests changes.
type counters struct {
	working, waiting, refused atomic.Int64
	changed                   chan struct{}
}

func (c *counters) metrics() Metrics {
	c.changed = make(chan struct{}, 1000)
	return Metrics{
		Working: func(n int) { c.working.Add(int64(n)) },
		Waiting: func(n int) { c.waiting.Add(int64(n)); c.changed <- struct{}{} },
		Refused: func() { c.refused.Add(1) },
	}
}

// until waits until n requests wait.
func (c *counters) until(waiting int64) {
	for c.waiting.Load() != waiting {
		<-c.changed
	}
}

// Under overload, some requests must be answered in time rather than all too late: some are processed, some wait, and the others are
// refused before any work is done.
func TestTooManyAreRefused(t *testing.T) {
	var c counters
	g := newGate(1, c.metrics(), slog.New(slog.DiscardHandler))
	g.wait = time.Hour
	var mu sync.Mutex
	var served []string
	turn := make(chan struct{})
	h := g.admit(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-turn
		mu.Lock()
		defer mu.Unlock()
		served = append(served, r.URL.Path)
	}), time.Minute, refuseREST)
	ask := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	var wg sync.WaitGroup
	var want []string
	for i := range 1 + waitersPerTurn {
		path := fmt.Sprintf("/%d", i)
		want = append(want, path)
		wg.Go(func() { ask(path) })
		if c.until(int64(i)); i == 0 {
			for c.working.Load() == 0 { // until it has its turn
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if g.enter(ctx) {
					g.leave()
				}
			}
		}
	}
	w := ask("/more")
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), `"type":"ServiceUnavailableError"`) || c.refused.Load() != 1 {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	close(turn)
	wg.Wait()
	slices.Sort(served)
	if slices.Sort(want); !slices.Equal(served, want) {
		t.Errorf("served %v, want %v", served, want)
	}
	if c.working.Load() != 0 || c.waiting.Load() != 0 || g.waiting.Load() != 0 || !g.turns.TryAcquire(1) {
		t.Errorf("%d work, %d wait, when all is done", c.working.Load(), c.waiting.Load())
	}
}

// Refusals come in thousands. The log has one line for all of a second, and none for clients that left.
func TestRefusalsAreLoggedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c counters
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		g := newGate(1, c.metrics(), logger)
		if !g.enter(t.Context()) {
			t.Fatal("the first must wait")
		}
		g.mayWait = 0
		h := withRequestID(logRequests(logger, func(string, string, int, time.Duration) {}, g.admit(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			t.Error("it was admitted")
		}), time.Minute, refuseREST)))
		for range 3 {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
			if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" || w.Header().Get("X-Request-Id") == "" {
				t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
			}
		}
		ctx, leave := context.WithCancel(t.Context())
		leave()
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodPost, "/", nil))
		time.Sleep(time.Second)
		synctest.Wait()
		if got := log.String(); c.refused.Load() != 3 || strings.Count(got, "count=3") != 1 || strings.Count(got, "msg=request ") != 1 {
			t.Errorf("%d were refused\n%s", c.refused.Load(), got)
		}
	})
}

// A client that left must not use up a turn.
func TestWaitingClientsCanLeave(t *testing.T) {
	var c counters
	g := newGate(1, c.metrics(), slog.New(slog.DiscardHandler))
	g.wait = time.Hour
	if !g.enter(t.Context()) {
		t.Fatal("the first must wait")
	}
	ctx, cancel := context.WithCancel(t.Context())
	entered := make(chan bool)
	go func() { entered <- g.enter(ctx) }()
	c.until(1)
	cancel()
	if <-entered {
		t.Error("a client that left was admitted")
	}
	g.leave()
	if !g.enter(t.Context()) || c.waiting.Load() != 0 || g.waiting.Load() != 0 {
		t.Error("the turn is lost")
	}
}

// GraphQL and REST clients are refused in their own format, before their keys are looked up. Probes still work.
func TestOverloadOverHTTP(t *testing.T) {
	reading, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s := &shelf{keys: 1, page: func(context.Context, int) error {
		once.Do(func() { close(reading) })
		<-goOn
		return nil
	}}
	store := &countedShelf{shelf: s}
	url := servedOn(t, store, s, func(o *Options) {
		o.MaxConcurrent = 1
		o.RefuseGraphQL = func(w http.ResponseWriter, _ *http.Request, status int, e *apikey.Error) {
			w.WriteHeader(status)
			fmt.Fprint(w, "GraphQL: ", e.Code)
		}
	})
	first := make(chan int)
	go func() {
		status, _, _ := ask(t, http.MethodGet, url+keysURL, "")
		first <- status
	}()
	<-reading
	asked := store.asked.Load()
	if status, header, body := ask(t, http.MethodGet, url+keysURL, ""); status != http.StatusServiceUnavailable || header.Get("Retry-After") != "1" || !strings.Contains(body, `"success":false`) {
		t.Errorf("REST: %d %v %s", status, header, body)
	}
	if status, header, body := ask(t, http.MethodPost, url+"/graphql", "{}"); status != http.StatusServiceUnavailable || header.Get("Retry-After") != "1" || body != "GraphQL: UNAVAILABLE" {
		t.Errorf("GraphQL: %d %v %s", status, header, body)
	}
	if store.asked.Load() != asked {
		t.Error("the store was asked")
	}
	for _, path := range []string{"/healthz", "/readyz", "/openapi.json"} {
		if status, _, body := ask(t, http.MethodGet, url+path, ""); status != http.StatusOK {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	close(goOn)
	if status := <-first; status != http.StatusOK {
		t.Errorf("the first: %d", status)
	}
}

// countedShelf counts how often it was asked for a caller.
type countedShelf struct {
	*shelf
	asked atomic.Int64
}

func (s *countedShelf) KeysByHash(ctx context.Context, hash string) ([]apikey.Key, error) {
	s.asked.Add(1)
	return s.shelf.KeysByHash(ctx, hash)
}

// A few slow clients, whether on a bad network or malicious, must not lock out the others while they send or read.
func TestSlowClientsHoldNoTurn(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 32<<20)
	begun := make(chan struct{}, 10)
	url := served(t, &shelf{keys: 100_000}, func(o *Options) {
		o.MaxConcurrent, o.RefuseGraphQL = 1, func(w http.ResponseWriter, _ *http.Request, status int, _ *apikey.Error) { w.WriteHeader(status) }
		o.GraphQL = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if string(body) == "long" {
				begun <- struct{}{}
				_, _ = w.Write(long)
			}
		})
	})
	dial := func(request string) net.Conn {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n")); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	head := "Host: x\nAuthorization: Bearer " + token + "\nX-Namespace: production\nContent-Type: application/json\n"
	others := func(after string) {
		t.Helper()
		status, body := 0, ""
		for range 20 { // the turn is held for a moment
			if status, _, body = ask(t, http.MethodPost, url+"/graphql", "short"); status == http.StatusOK {
				return
			}
		}
		t.Errorf("%s: %d %s", after, status, body)
	}
	sending := dial("POST /graphql HTTP/1.1\n" + head + "Expect: 100-continue\nContent-Length: 4\n\n")
	if line, err := bufio.NewReader(sending).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") { // its body is being read
		t.Fatal(line, err)
	}
	others("while one sends")
	dial("POST /graphql HTTP/1.1\n" + head + "Content-Length: 4\n\nlong")
	<-begun
	others("while one reads")
	list, err := http.ReadResponse(bufio.NewReader(dial("GET "+keysURL+" HTTP/1.1\n"+head+"\n")), nil)
	if err != nil || list.StatusCode != http.StatusOK {
		t.Fatal(list, err)
	}
	defer list.Body.Close()
	others("while one reads a long list")
	if body, err := io.ReadAll(list.Body); err != nil || !bytes.HasSuffix(body, []byte("],\"total\":100000}\n")) {
		t.Errorf("the list ends after %d bytes: %v", len(body), err)
	}
}

// stalled is a client that reads nothing until a function returns.
type stalled struct {
	*httptest.ResponseRecorder
	until func()
}

func (s stalled) Write(b []byte) (int, error) {
	s.until()
	return s.ResponseRecorder.Write(b)
}

// Sending the rest of a page needs no turn. Otherwise slow clients could keep all turns busy.
func TestTheRestOfAPageNeedsNoTurn(t *testing.T) {
	working, goOn := make(chan struct{}), make(chan struct{})
	h := handler(&shelf{keys: apikey.MaxPage}, func(o *Options) {
		o.MaxConcurrent = 1
		o.GraphQL = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			close(working)
			<-goOn
		})
	})
	request := func(method, path string) *http.Request {
		r := httptest.NewRequest(method, path, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("X-Namespace", "production")
		r.Header.Set("Content-Type", "application/json")
		return r
	}
	var other sync.WaitGroup
	defer other.Wait()
	defer close(goOn)
	slow := stalled{httptest.NewRecorder(), sync.OnceFunc(func() {
		other.Go(func() { h.ServeHTTP(httptest.NewRecorder(), request(http.MethodPost, "/graphql")) })
		<-working // once this request has given up its turn
	})}
	h.ServeHTTP(slow, request(http.MethodGet, keysURL))
	if body := slow.Body.String(); !strings.HasSuffix(body, fmt.Sprintf(`"total":%d}`+"\n", apikey.MaxPage)) {
		t.Errorf("the list is not whole: %d %.200s", slow.Code, body)
	}
}

// A client that reads nothing must not keep its response in memory for longer than the timeout of a request.
func TestUnreadResponsesAreCutOff(t *testing.T) {
	g := newGate(1, (&counters{}).metrics(), slog.New(slog.DiscardHandler))
	failed := make(chan error, 1)
	server := httptest.NewServer(g.admit(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := w.Write(make([]byte, 64<<20))
		failed <- err
	}), 10*time.Millisecond, refuseREST))
	defer server.Close()
	conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // nothing is read from it
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-failed:
		if err == nil {
			t.Error("everything was sent to a client that reads nothing")
		}
	case <-time.After(10 * time.Second):
		t.Error("the response is still there")
	}
}
