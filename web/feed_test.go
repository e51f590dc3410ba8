package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"retrieverkeys/apikey"
)

// trail is a shelf with audit events. They are numbered from 1.
type trail struct {
	shelf
	events  []apikey.Event
	deleted int64
}

func (s *trail) ArrivedEvents(_ context.Context, _ apikey.InternalID, r apikey.FeedRange) (page apikey.FeedPage, err error) {
	page.Next, page.Deleted = r.After, apikey.FeedPlace{Arrival: s.deleted}
	for i := page.Next.Arrival; i < int64(len(s.events)) && len(page.Events) < r.Limit; i++ {
		if e := s.events[i]; r.Since == nil || !e.Timestamp.Before(*r.Since) {
			page.Events = append(page.Events, apikey.ArrivedEvent{Event: e, Arrival: i + 1})
			page.Next = apikey.FeedPlace{Arrival: i + 1, ID: e.ID}
		}
	}
	return page, nil
}

func newTrail(n int) *trail {
	s := &trail{}
	for i := range n {
		s.events = append(s.events, apikey.Event{
			ID: apikey.EventID(fmt.Sprintf("evt_%d", i+1)), Timestamp: time.Date(2026, 3, 1, 9, i, 0, 7_000_000, time.UTC), Action: apikey.KeyUpdated,
			ResourceType: apikey.ResourceAPIKey, ResourceID: "key_1", ActorID: "usr_1", ActorType: apikey.User, ActorKeyID: new(apikey.ID("key_2")),
			Outcome: apikey.Success, InternalID: "int_1", NamespaceID: "ns_1", RetrieverIDs: []apikey.RetrieverID{"ret_1"},
			Changes:   []apikey.FieldChange{{Field: "name", Before: new("a \"b\""), After: new("c")}, {Field: "expires_at"}},
			IPAddress: new("203.0.113.9"), UserAgent: new("curl/8"),
		})
	}
	return s
}

// Programs read these fields by name and pass the cursor on, and people compare texts.
func TestFeedOfEvents(t *testing.T) {
	s := newTrail(3)
	base := servedOn(t, s, &s.shelf)
	status, header, body := ask(t, http.MethodGet, base+feedPath+"?limit=1", "", "X-Namespace", "")
	next := header.Get("X-Next-Cursor")
	want := `{"audit_id":"evt_1","internal_id":"int_1","namespace_id":"ns_1","retriever_ids":["ret_1"],"timestamp":"2026-03-01T09:00:00.007Z","resource_type":"api_key",` +
		`"resource_id":"key_1","action":"api_key_updated","actor_id":"usr_1","actor_type":"user","actor_key_id":"key_2","status":"success",` +
		`"changes":[{"field":"name","before":"a \"b\"","after":"c"},{"field":"expires_at","before":null,"after":null}],"ip_address":"203.0.113.9","user_agent":"curl/8",` +
		`"cursor":"` + next + `"}` + "\n"
	if status != http.StatusOK || body != want {
		t.Errorf("%d\n%s\nwant\n%s", status, body, want)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/x-ndjson; charset=utf-8", "Cache-Control": "no-store", "Link": "<" + feedPath + "?after=" + next + `&limit=1>; rel="next"`,
	} {
		if header.Get(name) != value {
			t.Errorf("%s: %s, want %s", name, header.Get(name), value)
		}
	}
	// Following the link reaches the end, where the body is empty and the cursor stays.
	at, lines := base+feedPath, ""
	for range 5 {
		status, header, body := ask(t, http.MethodGet, at, "")
		if status != http.StatusOK {
			t.Fatalf("%s: %d %s", at, status, body)
		}
		link, _, _ := strings.Cut(strings.TrimPrefix(header.Get("Link"), "<"), ">")
		if at == base+link && body != "" {
			t.Errorf("the end of the feed has %s", body)
		}
		at, lines = base+link, lines+body
	}
	if n := strings.Count(lines, "\n"); n != 3 {
		t.Errorf("%d lines, want 3:\n%s", n, lines)
	}
	empty := newTrail(0)
	if status, header, body := ask(t, http.MethodGet, servedOn(t, empty, &empty.shelf)+feedPath, ""); status != http.StatusOK || body != "" || header.Get("X-Next-Cursor") == "" || header.Get("Link") == "" {
		t.Errorf("an empty feed: %d %v %q", status, header, body)
	}
}

// The response to a wrong request must name what is wrong. A mistake in a cursor that looked like an empty feed would stop an alarm for good.
func TestWrongRequestsForTheFeed(t *testing.T) {
	s := newTrail(3)
	base := servedOn(t, s, &s.shelf)
	_, header, _ := ask(t, http.MethodGet, base+feedPath+"?limit=1", "")
	cursor := header.Get("X-Next-Cursor")
	for query, want := range map[string]string{
		"limit=0": "limit", "limit=1001": "limit", "limit=-1": "limit", "limit=x": "limit", "limit=": "limit", "limit=1.5": "limit", "limit=%2B5": "limit",
		"limit=1&limit=2": "limit", "limit=99999999999999999999": "limit", "after=x": "after", "after=" + cursor + "x": "after", "after=" + cursor + "&after=x": "after",
		"since=yesterday": "since", "since=": "since", "since=2026-03-01": "since", "since=2026-03-01T09:00:00": "since", "since=2026-03-01T09:00:00Z&since=2026-03-02T09:00:00Z": "since",
		"after=%zz": "query", "limit=1;x": "query",
	} {
		status, header, body := ask(t, http.MethodGet, base+feedPath+"?"+query, "")
		if status != http.StatusBadRequest || !strings.Contains(body, `"details":{"field":"`+want+`"}`) || !strings.Contains(body, "BadRequestError") || header.Get("X-Next-Cursor") != "" {
			t.Errorf("%s: %d %s", query, status, body)
		}
	}
	for query, want := range map[string]int{
		"": 3, "after=": 3, "limit=1000": 3, "limit=2": 2, "limit=2&limit=2": 2, "limit=002": 2, "after=" + cursor: 2, "other=1": 3,
		"since=2026-03-01T09:01:00Z": 2, "since=" + url.QueryEscape("2026-03-01T11:01:00+02:00"): 2, "since=2026-03-01T11:01:00+02:00": 2, "since=2030-01-01T00:00:00Z": 0,
	} {
		if status, _, body := ask(t, http.MethodGet, base+feedPath+"?"+query, ""); status != http.StatusOK || strings.Count(body, "\n") != want {
			t.Errorf("%s: %d %s, want %d lines", query, status, body, want)
		}
	}
	s.deleted = 2
	if status, _, body := ask(t, http.MethodGet, base+feedPath+"?after="+cursor, ""); status != http.StatusGone || !strings.Contains(body, "Start again without after.") || !strings.Contains(body, `"type":"GoneError","details":{"field":"after"}`) {
		t.Errorf("after a deletion: %d %s", status, body)
	}
	if status, _, _ := ask(t, http.MethodGet, base+feedPath, ""); status != http.StatusOK {
		t.Errorf("without a cursor: %d", status)
	}
}

// The feed answers other methods, other callers and compression as the other endpoints do, and it stays open without them: it is the product's own.
func TestFeedIsAnEndpointLikeOthers(t *testing.T) {
	s := newTrail(100)
	base := servedOn(t, s, &s.shelf, func(o *Options) { o.WithoutREST = true })
	if status, header, body := ask(t, http.MethodHead, base+feedPath, ""); status != http.StatusOK || body != "" || header.Get("X-Next-Cursor") == "" {
		t.Errorf("HEAD: %d %v %q", status, header, body)
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		if status, header, body := ask(t, method, base+feedPath, ""); status != http.StatusMethodNotAllowed || header.Get("Allow") != "GET" || !strings.Contains(body, "MethodNotAllowedError") {
			t.Errorf("%s: %d %v %s", method, status, header, body)
		}
	}
	if status, header, _ := ask(t, http.MethodGet, base+feedPath, "", "Accept-Encoding", "gzip"); status != http.StatusOK || header.Get("Content-Encoding") != "gzip" {
		t.Errorf("with gzip: %d %v", status, header)
	}
	if status, header, _ := ask(t, http.MethodGet, base+feedPath, "", "Authorization", ""); status != http.StatusUnauthorized || header.Get("WWW-Authenticate") == "" {
		t.Errorf("without a key: %d %v", status, header)
	}
	s.caller.Permissions = []apikey.Permission{apikey.Delete}
	if status, _, body := ask(t, http.MethodGet, base+feedPath+"?limit=0", ""); status != http.StatusForbidden || !strings.Contains(body, "admin") {
		t.Errorf("without admin: %d %s", status, body)
	}
	s.caller.Permissions = []apikey.Permission{apikey.Admin}
	s.caller.Scopes = []apikey.Scope{{ResourceType: apikey.ResourceNamespace, ResourceID: "*"}}
	if status, _, body := ask(t, http.MethodGet, base+feedPath, ""); status != http.StatusForbidden || !strings.Contains(body, "cover the organization") {
		t.Errorf("with a scope on namespaces: %d %s", status, body)
	}
}

// A response must take memory from Answers before it is sent. Otherwise many slow readers of large pages could use up all memory.
func TestFeedTakesMemory(t *testing.T) {
	s := newTrail(1000)
	refused := 0
	base := servedOn(t, s, &s.shelf, func(o *Options) {
		o.Answers = NewAnswers(1<<20, func() { refused++ })
		o.Answers.wait = 0
		if !o.Answers.Take(t.Context(), 1<<20) {
			t.Error("cannot take all memory")
		}
	})
	if status, header, _ := ask(t, http.MethodGet, base+feedPath, ""); status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || refused != 1 {
		t.Errorf("without memory: %d %v, %d refused", status, header, refused)
	}
	if status, _, _ := ask(t, http.MethodGet, base+feedPath+"?limit=10", ""); status != http.StatusOK {
		t.Errorf("a short page: %d", status)
	}
}

// idle is the response of a client that reads nothing until it is released.
type idle struct {
	header  http.Header
	first   func() // called when the response begins
	release chan struct{}
	longest int // part
	sum     int
}

func (w *idle) Header() http.Header { return w.header }
func (w *idle) WriteHeader(int)     {}
func (w *idle) Write(b []byte) (int, error) {
	w.first()
	<-w.release
	w.longest, w.sum = max(w.longest, len(b)), w.sum+len(b)
	return len(b), nil
}

// Without this, many programs that ask for the feed and read slowly fill the memory: each of them holds its events and all lines, and memory is taken
// after the lines are made.
func TestFeedForClientsThatDoNotRead(t *testing.T) {
	const clients, page, fit = 8, 4 << 20, 3
	s := newTrail(1000)
	for i := range s.events {
		s.events[i].UserAgent = new(strings.Repeat("x", page/1000))
	}
	var refused atomic.Int64
	answers := NewAnswers(fit*(page+page/4), func() { refused.Add(1) })
	answers.wait = 0
	h := handlerOn(s, &s.shelf, func(o *Options) { o.Answers = answers })
	began, ended, release := make(chan bool, clients), make(chan bool, clients), make(chan struct{})
	writers := make([]*idle, clients)
	for i := range writers {
		w := &idle{header: http.Header{}, release: release}
		w.first = sync.OnceFunc(func() { began <- w.header.Get("X-Next-Cursor") != "" })
		writers[i] = w
		go func() {
			r := httptest.NewRequest(http.MethodGet, feedPath, nil)
			r.Header.Set("Authorization", "Bearer "+token)
			h.ServeHTTP(w, r)
			ended <- true
		}()
	}
	served := 0
	for range clients {
		if <-began {
			served++
		}
	}
	if served != fit || refused.Load() != clients-fit {
		t.Errorf("%d clients get a page and %d are refused, want %d and %d", served, refused.Load(), fit, clients-fit)
	}
	close(release)
	for range clients {
		<-ended
	}
	for _, w := range writers {
		if w.longest > partBytes+2*page/1000 {
			t.Errorf("%d bytes of lines are in memory at once", w.longest)
		}
		if w.header.Get("X-Next-Cursor") != "" && w.sum < page {
			t.Errorf("a client got %d bytes", w.sum)
		}
	}
	if !answers.free.TryAcquire(answers.bytes) {
		t.Error("memory is lost")
	}
}

// A stored event can have a text that is six times as long in JSON.
func TestFeedBytesIncludeTheLongestLine(t *testing.T) {
	for _, c := range []string{"x", "\x01", "\u2028", "é"} {
		for n := 1; n < 10<<20; n *= 5 {
			feed := &apikey.Feed{Events: []apikey.ArrivedEvent{{Event: apikey.Event{UserAgent: new(strings.Repeat(c, n))}}}}
			if line := appendLine(nil, feed, 0); feedBytes(feed) < int64(cap(line)) {
				t.Errorf("%d times %q: %d bytes for a line that takes %d", n, c, feedBytes(feed), cap(line))
			}
		}
	}
}

// BenchmarkFeedLines encodes a page of 1,000 events.
func BenchmarkFeedLines(b *testing.B) {
	s := newTrail(1000)
	service := &apikey.Service{Store: s}
	feed, err := service.Feed(b.Context(), apikey.Caller{Key: &apikey.Key{Type: apikey.Standard, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Admin}}}, apikey.FeedOptions{Limit: 1000})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		body := make([]byte, 0, lineBytes*len(feed.Events))
		for i := range feed.Events {
			body = appendLine(body, feed, i)
		}
	}
}
