package graph

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"retrieverkeys/apikey"
)

// Without this, clients get event streams that they cannot read, or a subscription is refused to one that can.
func TestEventStreamsAreForThoseWhoAcceptThem(t *testing.T) {
	for accept, want := range map[string]streamed{
		"":                                    never,
		"nonsense;;, ,":                       never,
		"application/json":                    never,
		"text/html, */*;q=0":                  never,
		"text/event-stream;q=0, */*":          never,
		"text/event-stream":                   only,
		"TEXT/EVENT-STREAM; charset=utf-8":    only,
		"text/*":                              only,
		"text/event-stream, text/html;q=0.5":  only,
		"text/event-stream, multipart/mixed":  only,
		"application/json;q=0, */*":           also,
		"*/*":                                 also,
		"text/event-stream, */*;q=0.1":        also,
		"text/event-stream, application/json": also,
		"text/event-stream, application/*":    also,
		"text/event-stream, application/graphql-response+json;q=0.1":                                                        also,
		"application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed": also,
		"text/event-stream, application/json;q=0, application/graphql-response+json;q=0":                                    only,
		"text/event-stream, */*, application/json;q=0, application/graphql-response+json;q=0":                               only,
		"text/event-stream, application/*;q=0":                                                                              only,
	} {
		if got := acceptsEvents([]string{accept}); got != want {
			t.Errorf("%q: %d, want %d", accept, got, want)
		}
	}
}

// trail is a store with a caller's key and events.
type trail struct {
	apikey.Store

	mu     sync.Mutex
	key    apikey.Key
	events []apikey.Event
	down   bool
}

func (s *trail) KeysByHash(context.Context, string) ([]apikey.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, apikey.Outage(errors.New("connection refused"))
	}
	return []apikey.Key{s.key}, nil
}

func (s *trail) EventPage(_ context.Context, _ apikey.InternalID, l apikey.EventList) ([]apikey.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, apikey.Outage(errors.New("connection refused"))
	}
	matches := l.Where.Matcher()
	return l.Cut(slices.DeleteFunc(slices.Clone(s.events), func(e apikey.Event) bool { return !matches(&e) || !l.Has(e.Position()) })), nil
}

func (s *trail) change(f func(*trail)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// happen stores n events.
func (s *trail) happen(n int) {
	s.change(func(s *trail) {
		for range n {
			s.events = append(s.events, apikey.Event{ID: apikey.EventID(fmt.Sprintf("evt_%06d", len(s.events)+1)), InternalID: "int_1", Timestamp: time.Now(), Action: apikey.KeyRevoked, ResourceID: "key\n1"})
		}
	})
}

// socket is a response on a connection whose client can stop receiving.
type socket struct {
	header http.Header

	mu       sync.Mutex
	status   int
	text     bytes.Buffer
	flushed  int // bytes
	deadline time.Time
	stopped  chan struct{} // until it is closed, writes wait; nil: they do not
}

func (c *socket) Header() http.Header { return c.header }

func (c *socket) WriteHeader(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = status
}

func (c *socket) Write(b []byte) (int, error) {
	c.mu.Lock()
	stopped, within := c.stopped, time.Until(c.deadline)
	c.mu.Unlock()
	if stopped != nil {
		select {
		case <-stopped:
		case <-time.After(within):
			return 0, context.DeadlineExceeded
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(b)
}

func (c *socket) FlushError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushed = c.text.Len()
	return nil
}

func (c *socket) SetWriteDeadline(at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = at
	return nil
}

// received returns what the client has received since the last call.
func (c *socket) received() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := string(c.text.Next(c.flushed))
	c.flushed = 0
	return text
}

// streaming is a handler with one open stream, in a bubble where time is simulated.
type streaming struct {
	*trail
	*socket

	leave    func()        // the client leaves
	stop     func()        // the process stops
	ended    chan struct{} // closed when the stream has ended
	panicked any
	counted  map[string]int // metrics
}

// cut reports whether the response broke off.
func (s *streaming) cut() bool {
	err, _ := s.panicked.(error)
	return errors.Is(err, http.ErrAbortHandler)
}

const subscription = `subscription { auditEventAdded { id } }`

func withStream(t *testing.T, accept, query string, test func(t *testing.T, s *streaming)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &streaming{trail: &trail{key: adminKey}, socket: &socket{header: http.Header{}}, ended: make(chan struct{}), counted: map[string]int{}}
		live := &apikey.Live{Store: s.trail, Logger: slog.New(slog.DiscardHandler), Most: 4}
		stopping := make(chan struct{})
		s.stop = sync.OnceFunc(func() { close(stopping) })
		var mu sync.Mutex
		count := func(what string, n int) {
			mu.Lock()
			defer mu.Unlock()
			s.counted[what] += n
		}
		h := NewHandler(Options{
			Service: &apikey.Service{Store: s.trail, Live: live}, Introspection: IntrospectionPublic, Limits: limits, Logger: slog.New(slog.DiscardHandler),
			Streams: Streams{Stopping: stopping},
			Metrics: Metrics{
				Streams: func(n int) { count("open", n) }, StreamEvents: func(n int) { count("events", n) }, StreamEnded: func(reason string) { count(reason, 1) },
				Operation:    func(_, kind, outcome string, took time.Duration) { count(kind+" "+outcome, 1) },
				LimitRefusal: func(limit string) { count(limit, 1) },
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { live.Run(ctx) })
		key := s.key
		client, leave := context.WithCancel(apikey.WithCaller(ctx, apikey.Caller{Key: &key}))
		s.leave = leave
		r := httptest.NewRequestWithContext(client, http.MethodGet, "/graphql?query="+url.QueryEscape(query), nil)
		r.Header.Set("Accept", accept)
		running.Go(func() {
			defer close(s.ended)
			defer func() { s.panicked = recover() }()
			h.ServeHTTP(s.socket, r)
		})
		synctest.Wait()
		test(t, s)
		leave()
		<-s.ended
		cancel()
		running.Wait()
		if s.counted["open"] != 0 {
			t.Errorf("%d streams are open", s.counted["open"])
		}
	})
}

var adminKey = apikey.Key{ID: "key_own", Hash: "h", Stored: apikey.Active, Type: apikey.Standard, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Admin}}

// pass passes time.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// Without this, clients of GraphQL over SSE cannot read a stream, or proxies hold its events back.
func TestStreamsFollowTheProtocol(t *testing.T) {
	withStream(t, "text/event-stream", `subscription { added: auditEventAdded(filter: {action: "api_key_revoked"}) { __typename id resourceId changes { field } } }`, func(t *testing.T, s *streaming) {
		want := http.Header{"Content-Type": {"text/event-stream; charset=utf-8"}, "Cache-Control": {"no-store, no-transform"}, "X-Accel-Buffering": {"no"}, "Vary": {"Accept"}}
		if got := s.received(); s.status != http.StatusOK || got != ":\n\n" || !maps.EqualFunc(s.header, want, slices.Equal) {
			t.Errorf("it begins with %d %q %v", s.status, got, s.header)
		}
		s.happen(2)
		pass(1100 * time.Millisecond)
		const next = "event: next\ndata: {\"data\":{\"added\":{\"__typename\":\"AuditEvent\",\"id\":\"evt_00000%d\",\"resourceId\":\"key\\n1\",\"changes\":[]}}}\n\n"
		if got := s.received(); got != fmt.Sprintf(next+next, 1, 2) {
			t.Errorf("events are %q", got)
		}
		pass(13800 * time.Millisecond)
		if got := s.received(); got != "" {
			t.Errorf("nothing happens: %q", got)
		}
		for range 3 {
			pass(200 * time.Millisecond)
			if got := s.received(); got != ":\n\n" {
				t.Errorf("after 15 s: %q", got)
			}
			pass(14800 * time.Millisecond)
		}
		s.leave()
		synctest.Wait()
		if s.panicked != nil || s.counted["client"] != 1 || s.counted["events"] != 2 || s.counted["subscription ok"] != 1 {
			t.Errorf("%v, %v", s.panicked, s.counted)
		}
	})
}

// Without this, a key that was revoked keeps its stream, and a stream that is over looks alive or gives no reason.
func TestStreamsEndWithTheirReason(t *testing.T) {
	for _, c := range []struct {
		name, code, reason string
		change             func(*trail)
		within             time.Duration
	}{
		{"revoked", "UNAUTHENTICATED", "UNAUTHENTICATED", func(s *trail) { s.key.Stored = apikey.Revoked }, decideEvery},
		{"demoted", "FORBIDDEN", "FORBIDDEN", func(s *trail) { s.key.Permissions = []apikey.Permission{apikey.Read} }, decideEvery},
		{"scoped", "FORBIDDEN", "FORBIDDEN", func(s *trail) { s.key.Scopes = []apikey.Scope{inNamespace} }, decideEvery},
		{"an outage", "UNAVAILABLE", "UNAVAILABLE", func(s *trail) { s.down = true }, 7 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			withStream(t, "text/event-stream", subscription, func(t *testing.T, s *streaming) {
				s.received()
				s.change(c.change)
				pass(c.within + time.Millisecond)
				got := s.received()
				if !strings.HasPrefix(got, `event: next`+"\n"+`data: {"errors":[{"message":"`) || !strings.HasSuffix(got, `"extensions":{"code":"`+c.code+`"}}]}`+"\n\nevent: complete\ndata: \n\n") {
					t.Errorf("it ends with %q", got)
				}
				<-s.ended
				if s.panicked != nil || s.counted[c.reason] != 1 {
					t.Errorf("%v, %v", s.panicked, s.counted)
				}
			})
		})
	}
}

// Without this, a flood of events keeps a stream from hearing that its key was revoked.
func TestBusyStreamsAreCheckedToo(t *testing.T) {
	withStream(t, "text/event-stream", subscription, func(t *testing.T, s *streaming) {
		s.change(func(s *trail) { s.key.Stored = apikey.Revoked })
		for range 11 {
			s.happen(900)
			pass(time.Second)
		}
		if got := s.received(); !strings.Contains(got, `"code":"UNAUTHENTICATED"`) || strings.Count(got, "event: next") > 10*900+1 {
			t.Errorf("%d events, and then %.300q", strings.Count(got, "event: next"), got[max(0, len(got)-300):])
		}
	})
}

// Without this, a client that receives nothing holds memory and a stream forever, or the stream of a client that is merely slow ends.
func TestStreamsOfSlowClients(t *testing.T) {
	stall := func(s *streaming) (resume func()) {
		s.socket.mu.Lock()
		defer s.socket.mu.Unlock()
		stopped := make(chan struct{})
		s.stopped = stopped
		return func() { close(stopped) }
	}
	t.Run("behind", func(t *testing.T) {
		withStream(t, "text/event-stream", subscription, func(t *testing.T, s *streaming) {
			resume := stall(s)
			for range 4 {
				s.happen(900)
				pass(time.Second)
			}
			resume()
			synctest.Wait()
			got := s.received()
			if !strings.HasSuffix(got, `"extensions":{"code":"UNAVAILABLE"}}]}`+"\n\nevent: complete\ndata: \n\n") || !strings.Contains(got, "more than 1000 events behind") {
				t.Errorf("it ends with %.300q", got[max(0, len(got)-300):])
			}
			if s.counted["behind"] != 1 || s.panicked != nil {
				t.Errorf("%v, %v", s.counted, s.panicked)
			}
		})
	})
	t.Run("stalled", func(t *testing.T) {
		withStream(t, "text/event-stream", subscription, func(t *testing.T, s *streaming) {
			stall(s)
			s.happen(1)
			pass(time.Second + receiveTimeout)
			<-s.ended
			if s.counted["stalled"] != 1 || !s.cut() {
				t.Errorf("%v, %v", s.counted, s.panicked)
			}
		})
	})
}

// Without this, a stream whose client leaves while events happen can wait forever, and with it its goroutine and its part of MAX_STREAMS.
func TestStreamsOfClientsThatLeaveDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &trail{key: adminKey}
		live := &apikey.Live{Store: store, Logger: slog.New(slog.DiscardHandler), Most: 4}
		running, stop := context.WithCancel(t.Context())
		defer stop()
		go live.Run(running)
		l := &loader{service: &apikey.Service{Store: store, Live: live}, caller: apikey.Caller{Key: &adminKey}}
		if _, err := l.follow(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		defer l.follower.Close()
		store.happen(2)
		pass(2 * time.Second)
		stop() // now a wait is a deadlock, which fails at once
		left, leave := context.WithCancel(t.Context())
		leave()
		s := &stream{loader: l, respond: func(context.Context) *graphql.Response { return nil }} // as gqlgen's, which chooses at random
		s.metrics = Metrics{}.withDefaults()
		for range 2 {
			if more, err := s.take(left); more || err != nil {
				t.Errorf("%v, %v", more, err)
			}
		}
	})
}

// Without this, clients take the end of a process for the end of the subscription, and do not come back.
func TestStoppingCutsStreams(t *testing.T) {
	withStream(t, "text/event-stream", subscription, func(t *testing.T, s *streaming) {
		s.stop()
		<-s.ended
		if got := s.received(); got != ":\n\n" || !s.cut() || s.counted["shutdown"] != 1 {
			t.Errorf("%q, %v, %v", got, s.panicked, s.counted)
		}
	})
}

// Without this, clients that accept event streams alone get JSON, others get an event stream that they cannot read, or a reason gets lost.
func TestAnswersAreNegotiated(t *testing.T) {
	const (
		version  = `{"data":{"serverInfo":{"version":""}}}`
		anyJSON  = "application/json; charset=utf-8"
		response = "application/graphql-response+json; charset=utf-8"
		stream   = "text/event-stream; charset=utf-8"
	)
	type request struct {
		method, accept, query, variables, extensions string
	}
	h := func() http.Handler {
		return NewHandler(Options{
			Service: &apikey.Service{Store: &trail{}, Live: &apikey.Live{Store: &trail{}, Logger: slog.New(slog.DiscardHandler), Most: 0}}, Introspection: IntrospectionPublic,
			Limits: limits, Logger: slog.New(slog.DiscardHandler),
		})
	}()
	for _, c := range []struct {
		name   string
		ask    request
		status int
		media  string
		want   string // contained; a whole event stream if it begins with event:
	}{
		{"a query, both accepted", request{"POST", "text/event-stream, application/json;q=0.1", "{ serverInfo { version } }", "", ""}, 200, anyJSON, version},
		{"a query, streams alone", request{"POST", "text/event-stream", "{ serverInfo { version } }", "", ""}, 200, stream, "event: next\ndata: " + version + "\n\nevent: complete\ndata: \n\n"},
		{"a query by GET", request{"GET", "text/event-stream", "{ serverInfo { version } }", "", ""}, 200, stream, "event: next\ndata: " + version + "\n\nevent: complete\ndata: \n\n"},
		{"a query with an error", request{"POST", "text/event-stream", "{ viewer { keyId } }", "", ""}, 200, stream, `"code":"FORBIDDEN"`},
		{"a mutation by GET", request{"GET", "text/event-stream", `mutation { revokeApiKey(input: {id: "k"}) { apiKey { id } } }`, "", ""}, 405, anyJSON, "BAD_USER_INPUT"},
		{"a mutation", request{"POST", "text/event-stream", `mutation { revokeApiKey(input: {id: "k"}) { apiKey { id } } }`, "", ""}, 200, stream, `"data":{"revokeApiKey":null}}` + "\n\nevent: complete\ndata: \n\n"},
		{"JSON alone", request{"POST", "application/json", subscription, "", ""}, 406, anyJSON, `"message":"A subscription is answered as an event stream: send Accept: text/event-stream.","extensions":{"code":"BAD_USER_INPUT","field":"Accept"}`},
		{"the newer JSON alone", request{"GET", "application/graphql-response+json", subscription, "", ""}, 406, response, `"field":"Accept"`},
		{"nothing accepted", request{"POST", "", subscription, "", ""}, 406, anyJSON, `"field":"Accept"`},
		{"a parse error", request{"POST", "text/event-stream", "subscription {", "", ""}, 200, stream, `"code":"GRAPHQL_PARSE_FAILED"`},
		{"a parse error, both accepted", request{"POST", "text/event-stream, application/json", "subscription {", "", ""}, 200, anyJSON, `"code":"GRAPHQL_PARSE_FAILED"`},
		{"an unknown field", request{"POST", "text/event-stream", "subscription { none }", "", ""}, 200, stream, `"code":"GRAPHQL_VALIDATION_FAILED"`},
		{"two fields", request{"POST", "text/event-stream", "subscription { a: auditEventAdded { id } b: auditEventAdded { id } }", "", ""}, 200, stream, `"code":"BAD_USER_INPUT"`},
		{"introspection", request{"POST", "text/event-stream", "subscription { __typename }", "", ""}, 200, stream, `"code":"GRAPHQL_VALIDATION_FAILED"`},
		{"no field", request{"POST", "text/event-stream", "subscription { auditEventAdded @skip(if: true) { id } }", "", ""}, 200, stream, `"code":"BAD_USER_INPUT"`},
		{"a limit", request{"POST", "text/event-stream", "subscription { auditEventAdded { " + strings.Repeat("id @skip(if: false) @skip(if: false) @skip(if: false) ", 6000) + " } }", "", ""}, 200, stream, `MAX_TOKENS`},
		{"a costly filter", request{"POST", "text/event-stream", "subscription($f: AuditEventFilter) { auditEventAdded(filter: $f) { id } }", `{"f":{"actorId":"` + strings.Repeat("x", 9_000_000) + `"}}`, ""}, 200, stream, `MAX_COMPLEXITY`},
		{"a wrong variable", request{"POST", "text/event-stream, application/json", "subscription($f: AuditEventFilter) { auditEventAdded(filter: $f) { id } }", `{"f":{"since":"yesterday"}}`, ""}, 200, stream, `"code":"GRAPHQL_VALIDATION_FAILED"`},
		{"a wrong argument", request{"POST", "text/event-stream", `subscription { auditEventAdded(filter: {since: "2026-01-02T00:00:00Z", until: "2026-01-01T00:00:00Z"}) { id } }`, "", ""}, 200, stream, `"field":"filter.until"`},
		{"an unknown hash", request{"POST", "text/event-stream", "", "", `{"persistedQuery":{"version":1,"sha256Hash":"` + strings.Repeat("0", 64) + `"}}`}, 200, stream, `"message":"PersistedQueryNotFound"`},
		{"a body that is none", request{"POST", "text/event-stream", "", "", ""}, 400, anyJSON, "BAD_USER_INPUT"},
		{"another method", request{"PUT", "text/event-stream", subscription, "", ""}, 405, anyJSON, "BAD_USER_INPUT"},
		{"too many streams", request{"POST", "*/*", subscription, "", ""}, 503, anyJSON, `MAX_STREAMS`},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := adminKey
			if c.name == "a query with an error" || strings.HasPrefix(c.name, "a mutation") {
				key.Type = apikey.RetrieverKey
			}
			target, body := "/graphql", fmt.Sprintf(`{"query":%q,"variables":%s,"extensions":%s}`, c.ask.query, orNull(c.ask.variables), orNull(c.ask.extensions))
			if c.ask.method == "GET" {
				target, body = "/graphql?query="+url.QueryEscape(c.ask.query), ""
			}
			r := httptest.NewRequestWithContext(apikey.WithCaller(t.Context(), apikey.Caller{Key: &key}), c.ask.method, target, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			if c.ask.accept != "" {
				r.Header.Set("Accept", c.ask.accept)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			got := w.Body.String()
			if w.Code != c.status || w.Header().Get("Content-Type") != c.media || w.Header().Get("Content-Length") != fmt.Sprint(len(got)) || !strings.Contains(got, c.want) {
				t.Errorf("got %d %v %q, want %d %s %q", w.Code, w.Header(), got, c.status, c.media, c.want)
			}
			whole := strings.HasPrefix(got, "event: next\ndata: {") && strings.HasSuffix(got, "}\n\nevent: complete\ndata: \n\n") && strings.Count(got, "\n") == 6
			if whole != (c.media == stream) || strings.HasPrefix(c.want, "event:") && got != c.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

func orNull(text string) string {
	if text == "" {
		return "null"
	}
	return text
}

// Without this, streams that are refused are not seen in metrics, or fill the log with errors.
func TestTooManyStreamsAreRefused(t *testing.T) {
	withStream(t, "text/event-stream", subscription, func(t *testing.T, s *streaming) {
		var log bytes.Buffer
		refused := map[string]int{}
		live := &apikey.Live{Store: s.trail, Logger: slog.New(slog.DiscardHandler)}
		h := NewHandler(Options{
			Service: &apikey.Service{Store: s.trail, Live: live}, Limits: limits, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Metrics: Metrics{LimitRefusal: func(limit string) { refused[limit]++ }},
		})
		r := httptest.NewRequestWithContext(apikey.WithCaller(t.Context(), apikey.Caller{Key: &adminKey}), http.MethodGet, "/graphql?query="+url.QueryEscape(subscription), nil)
		r.Header.Set("Accept", "text/event-stream")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || refused["MAX_STREAMS"] != 1 || log.Len() > 0 {
			t.Errorf("%d %v, %v, %s", w.Code, w.Header(), refused, &log)
		}
	})
}

// Without this, PERSISTED_ONLY has a gap: subscriptions that are not in the manifest run, or those in it do not.
func TestSubscriptionsOfTheManifest(t *testing.T) {
	manifest, problems := ReadManifest(t.Context(), []byte(`{"follow":"`+subscription+`"}`), limits)
	if problems != nil {
		t.Fatal(problems)
	}
	h := NewHandler(Options{
		Service: &apikey.Service{Store: &trail{}}, Manifest: manifest, ManifestOnly: true, Limits: limits, Logger: slog.New(slog.DiscardHandler),
	})
	for asked, want := range map[string]string{
		"documentId=follow":                      "503 ... (MAX_STREAMS)", // it runs: this server allows none
		"query=" + url.QueryEscape(subscription): "503 ... (MAX_STREAMS)",
		"query=" + url.QueryEscape("subscription { auditEventAdded { action } }"): "403 ... FORBIDDEN",
		"documentId=another": "200 ... PERSISTED_QUERY_NOT_FOUND",
	} {
		r := httptest.NewRequestWithContext(apikey.WithCaller(t.Context(), apikey.Caller{Key: &adminKey}), http.MethodGet, "/graphql?"+asked, nil)
		r.Header.Set("Accept", "text/event-stream")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		status, part, _ := strings.Cut(want, " ... ")
		if fmt.Sprint(w.Code) != status || !strings.Contains(w.Body.String(), part) {
			t.Errorf("%s: %d %s, want %s", asked, w.Code, w.Body, want)
		}
	}
}
