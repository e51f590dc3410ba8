package systemtest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
)

// stream is an open subscription.
type stream struct {
	t    *testing.T
	body io.Closer
	r    *bufio.Reader
}

const follow = `subscription { auditEventAdded { action resourceId } }`

// subscribe opens a stream as a caller of the fixture.
func subscribe(t *testing.T, s *programtest.Server, token, query string) *stream {
	t.Helper()
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/graphql", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Authorization": {"Bearer " + token}, "Accept": {"text/event-stream"}, "Content-Type": {"application/json"}}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return &stream{t, resp.Body, bufio.NewReader(resp.Body)}
}

// next returns the next event and its data, or the error at the end of the response. If no event comes, it closes the stream.
func (s *stream) next() (event, data string, err error) {
	limit := time.AfterFunc(programtest.MaxWait, func() { _ = s.body.Close() })
	defer limit.Stop()
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return "", "", err
		}
		switch line = strings.TrimSuffix(line, "\n"); {
		case strings.HasPrefix(line, "event: "):
			event = line[len("event: "):]
		case strings.HasPrefix(line, "data: "):
			data = line[len("data: "):]
		case line == "" && event != "":
			return event, data, nil
		}
	}
}

func (s *stream) want(event, part string) {
	s.t.Helper()
	got, data, err := s.next()
	if err != nil || got != event || !strings.Contains(data, part) {
		s.t.Errorf("got %s %s, %v, want %s with %s", got, data, err, event, part)
	}
}

// create creates a key as the admin of the fixture, and returns its id.
func create(t *testing.T, s *programtest.Server) string {
	t.Helper()
	data := s.Mutate("admin", `createApiKey(input: {retrieverId: "main", name: "new"}) { apiKey { id } }`)
	return programtest.TextAt(data, "apiKey", "id")
}

// A stream has the changes of every process. It ends, with its reason, when its key is revoked or the store is down, and can be opened again
// afterwards. When the server stops, it breaks off, so that clients open it elsewhere. It outlives REQUEST_TIMEOUT.
func TestStreams(t *testing.T) {
	t.Parallel() // it mostly waits
	t.Run("revocation and shutdown", func(t *testing.T) {
		t.Parallel()
		d := programtest.Seeded(t, programtest.Embedded(t))
		programtest.ImportBatch(t, d, document.Batch{Keys: []bson.Raw{programtest.CallerDoc("watcher", "int_a", "org_a", programtest.Fields{"permissions": []string{"admin"}})}})
		d.Env["REQUEST_TIMEOUT"] = "1s"
		one, two := programtest.Serve(t, d.Env), programtest.Serve(t, d.Env)
		revoked, kept := subscribe(t, one, programtest.Token("watcher"), follow), subscribe(t, two, programtest.Token("admin"), follow)
		id := create(t, one)
		for _, s := range []*stream{revoked, kept} {
			s.want("next", `{"data":{"auditEventAdded":{"action":"api_key_created","resourceId":"`+id+`"}}}`)
		}
		if got := two.Query("admin", "", `mutation { revokeApiKey(input: {id: "key_caller_watcher"}) { apiKey { status } } }`); !strings.Contains(got.Body, "REVOKED") {
			t.Fatal(got.Body)
		}
		for _, s := range []*stream{revoked, kept} {
			s.want("next", `{"data":{"auditEventAdded":{"action":"api_key_revoked","resourceId":"key_caller_watcher"}}}`)
		}
		revoked.want("next", `"code":"UNAUTHENTICATED"`)
		revoked.want("complete", "")
		if _, _, err := revoked.next(); !errors.Is(err, io.EOF) {
			t.Errorf("after complete: %v", err)
		}
		if got := two.Request(http.MethodGet, "/healthz", "", nil).Status; got != http.StatusOK {
			t.Errorf("/healthz: %d", got)
		}
		if code := two.Stop(); code != 0 {
			t.Errorf("the exit code is %d", code)
		}
		if event, data, err := kept.next(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("at shutdown: %s %s, %v", event, data, err)
		}
		for _, part := range []string{`"reason":"shutdown"`, `"cut":true`} {
			if !strings.Contains(two.Stderr.String(), part) {
				t.Errorf("the log lacks %s: %s", part, two.Stderr)
			}
		}
	})
	t.Run("outage", func(t *testing.T) {
		t.Parallel()
		d := programtest.Seeded(t, programtest.OnMongoDB(t))
		proxy, env := programtest.ThroughProxy(t, d)
		env["REQUEST_TIMEOUT"] = "2s"
		proxy.Start()
		s := programtest.Serve(t, env)
		programtest.AwaitReady(t, s)
		follower := subscribe(t, s, programtest.Token("admin"), follow)
		proxy.Cut()
		id := create(t, programtest.Serve(t, d.Env))
		follower.want("next", id)
		proxy.Stop()
		follower.want("next", `"code":"UNAVAILABLE"`)
		follower.want("complete", "")
		proxy.Start()
		programtest.AwaitReady(t, s)
		follower = subscribe(t, s, programtest.Token("admin"), follow)
		id = create(t, s)
		follower.want("next", id)
	})
}

// The event of each golden subscription is compared with a reviewed file, on every store, as in TestOperations.
func TestSubscriptions(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		s := programtest.Serve(t, programtest.Seeded(t, d).Env)
		for _, op := range operations(t, "subscriptions") {
			follower := subscribe(t, s, programtest.Token(op.caller), op.text)
			create(t, s)
			event, data, err := follower.next()
			if err != nil || event != "next" {
				t.Fatalf("%s: %s, %v", op.name, event, err)
			}
			golden(t, op, programtest.Answer{Status: http.StatusOK, Body: data}, d.Name == "embedded", func(body string) string { return named(body, map[string]string{}) })
		}
	})
}

// Clients come, misbehave and leave, ten thousand times. No goroutine, stream, turn or memory may stay behind.
func TestStreamsLeaveNothingBehind(t *testing.T) {
	const rounds, atOnce = 10_000, 24
	d := programtest.Seeded(t, programtest.Embedded(t))
	d.Env["MAX_STREAMS"], d.Env["ADMIN_ADDR"] = "60", "127.0.0.1:0" // fewer than come
	s := programtest.Serve(t, d.Env)
	addr := strings.TrimPrefix(s.URL, "http://")
	body := fmt.Sprintf(`{"query":%q}`, follow)
	request := fmt.Sprintf("POST /graphql HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		programtest.Token("admin"), len(body), body)
	var opened, refused, others atomic.Int64
	visit := func(n int) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Error(err)
			return
		}
		leave := conn.Close
		if n%3 == 0 {
			leave = func() error { reset(conn); return nil }
		}
		defer func() { _ = leave() }()
		if n%5 == 0 { // it leaves before it is answered, or in the middle of its request
			_, _ = io.WriteString(conn, request[:len(request)-rand.IntN(2)*(len(body)/2)])
			return
		}
		_, _ = io.WriteString(conn, request)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		switch {
		case err != nil:
			t.Error(err)
			return
		case resp.StatusCode == http.StatusOK:
			opened.Add(1)
		case resp.StatusCode == http.StatusServiceUnavailable:
			refused.Add(1)
		default:
			others.Add(1)
		}
		_ = leave() // before the body, which does not end
		_ = resp.Body.Close()
	}
	round := func(n int) {
		var visitors sync.WaitGroup
		var next atomic.Int64
		for range atOnce {
			visitors.Go(func() {
				for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
					if visit(i); i%500 == 0 {
						create(t, s)
					}
				}
			})
		}
		visitors.Wait()
	}
	// settled returns the goroutines and the heap once all streams have ended.
	settled := func() (goroutines int, heap uint64) {
		for began := time.Now(); s.Metric("retrieverkeys_streams") != "retrieverkeys_streams 0"; {
			if time.Since(began) > programtest.MaxWait {
				t.Fatalf("%s streams are open", s.Metric("retrieverkeys_streams"))
			}
		}
		http.DefaultClient.CloseIdleConnections()
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return runtime.NumGoroutine(), m.HeapAlloc
	}
	round(rounds / 10)
	goroutines, heap := settled()
	round(rounds - rounds/10)
	after, grown := settled()
	t.Logf("%d opened, %d refused, goroutines %d then %d, heap %d then %d KB", opened.Load(), refused.Load(), goroutines, after, heap>>10, grown>>10)
	if after > goroutines+10 || grown > heap+24<<20 || others.Load() > 0 || opened.Load() < rounds/10 || refused.Load() == 0 {
		t.Errorf("%d other answers", others.Load())
	}
}
