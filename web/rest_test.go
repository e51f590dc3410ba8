package web

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"retrieverkeys/apikey"
)

// shelf is a Store with one namespace and one retriever, whose n keys it generates on demand.
type shelf struct {
	apikey.Store // nil: what is not asked for here is not there

	keys   int
	caller apikey.Key
	page   func(ctx context.Context, number int) error // called before each page of keys is read

	mu       sync.Mutex
	inserted []apikey.Key
	events   []apikey.Event
	pages    int
}

func (s *shelf) KeysByHash(context.Context, string) ([]apikey.Key, error) {
	k := s.caller
	k.Hash = apikeyHash
	return []apikey.Key{k}, nil
}

// The token of all requests here, and its hash.
const (
	token      = "sk_test"
	apikeyHash = "12b2820cf1639904311da5771de1e5bb65c77073fdc7c555df395942df42896b"
)

func (s *shelf) Namespaces(context.Context, apikey.InternalID, []string) ([]apikey.Namespace, error) {
	return []apikey.Namespace{{ID: "ns_1", Name: "production", InternalID: "int_1"}}, nil
}

func (s *shelf) Retrievers(_ context.Context, _ apikey.InternalID, ids []apikey.RetrieverID) ([]apikey.Retriever, error) {
	if !slices.Contains(ids, "ret_1") {
		return nil, nil
	}
	return []apikey.Retriever{{ID: "ret_1", Name: "main retriever/1", NamespaceID: "ns_1", InternalID: "int_1"}}, nil
}

func (s *shelf) RetrieversNamed(ctx context.Context, tenant apikey.InternalID, _ apikey.NamespaceID, names []string) ([]apikey.Retriever, error) {
	if !slices.Contains(names, "main retriever/1") {
		return nil, nil
	}
	return s.Retrievers(ctx, tenant, []apikey.RetrieverID{"ret_1"})
}

func (s *shelf) key(n int) apikey.Key {
	text := func(format string) *string { t := fmt.Sprintf(format, n); return &t }
	created := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(-time.Duration(n) * time.Second)
	return apikey.Key{
		ID: apikey.ID(fmt.Sprintf("key_%06d", n)), Hash: fmt.Sprintf("%064d", n), Prefix: text("ret_sk_%3d..."), Type: apikey.RetrieverKey, InternalID: "int_1",
		OrganizationID: text("org_%d"), UserID: "usr_1", Name: *text("Key %d"), Description: strings.Repeat("x", 200), Permissions: []apikey.Permission{apikey.Read},
		Scopes: []apikey.Scope{{ResourceType: apikey.ResourceRetriever, ResourceID: "ret_1", Operations: []apikey.Operation{apikey.ExecuteRetriever}}},
		Stored: apikey.Active, CreatedAt: &created, CreatedBy: text("usr_%d"),
	}
}

func (s *shelf) KeyPages(ctx context.Context, _ apikey.InternalID, _ []apikey.RetrieverID, r apikey.KeyRange) ([][]apikey.Key, error) {
	if s.page != nil {
		if err := s.page(ctx, s.pages); err != nil {
			return nil, err
		}
	}
	s.pages++
	first := 0
	if r.After != nil {
		if _, err := fmt.Sscanf(string(r.After.ID), "key_%d", &first); err != nil {
			return nil, err
		}
		first++
	}
	keys := make([]apikey.Key, 0, r.Limit)
	for n := first; n < s.keys && len(keys) < r.Limit; n++ {
		keys = append(keys, s.key(n))
	}
	return [][]apikey.Key{keys}, nil
}

func (s *shelf) CurrentKeys(_ context.Context, _ apikey.InternalID, id apikey.ID) ([]apikey.Key, error) {
	switch id {
	case "key_1":
		k := s.key(1)
		k.ID = id
		return []apikey.Key{k}, nil
	case "key_elsewhere":
		k := s.key(2)
		k.ID, k.Scopes[0].ResourceID = id, "ret_2"
		return []apikey.Key{k}, nil
	}
	return nil, nil
}

func (s *shelf) InsertKey(_ context.Context, k apikey.Key, e apikey.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inserted, s.events = append(s.inserted, k), append(s.events, e)
	return nil
}

func (s *shelf) ChangeKey(_ context.Context, c apikey.Change) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, c.Event)
	return true, nil
}

func (s *shelf) InsertEvent(context.Context, apikey.Event) error { return nil }

// served serves the shelf as it is served to everybody, and returns its URL.
func served(t *testing.T, s *shelf, change ...func(*Options)) string {
	t.Helper()
	return servedOn(t, s, s, change...)
}

func servedOn(t *testing.T, store apikey.Store, s *shelf, change ...func(*Options)) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handlerOn(store, s, change...))
	server.Config.WriteTimeout = time.Minute
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// handler serves the shelf. Everybody is an admin unless the shelf says otherwise.
func handler(s *shelf, change ...func(*Options)) http.Handler { return handlerOn(s, s, change...) }

func handlerOn(store apikey.Store, s *shelf, change ...func(*Options)) http.Handler {
	if s.caller.ID == "" {
		s.caller = apikey.Key{ID: "key_caller", UserID: "usr_caller", Type: apikey.Standard, Permissions: []apikey.Permission{apikey.Admin}}
	}
	s.caller.InternalID, s.caller.Stored = "int_1", apikey.Active
	o := Options{
		Service: &apikey.Service{Store: store}, GraphQL: http.NotFoundHandler(), Timeout: time.Minute, MaxBodyBytes: 1000,
		Ready: func(context.Context) error { return nil }, Logger: slog.New(slog.DiscardHandler),
	}
	for _, c := range change {
		c(&o)
	}
	return NewHandler(o)
}

// ask sends a request and returns the status, the headers and the body.
func ask(t *testing.T, method, url, body string, headers ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("X-Namespace", "production")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
		if headers[i+1] == "" {
			req.Header.Del(headers[i])
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

const keysURL = "/v1/retrievers/ret_1/api-keys"

// The vendor's clients read these fields by these names, in whatever order, but people compare texts.
func TestListIsTheVendors(t *testing.T) {
	s := &shelf{keys: 1}
	status, header, body := ask(t, http.MethodGet, served(t, s)+keysURL, "")
	want := `{"results":[{"key_id":"key_000000","key_hash":"` + strings.Repeat("0", 64) + `","key_prefix":"ret_sk_  0...","key_type":"retriever","subscription_id":null,` +
		`"internal_id":"int_1","organization_id":"org_0","user_id":"usr_1","name":"Key 0","description":"` + strings.Repeat("x", 200) + `","permissions":["read"],` +
		`"scopes":[{"resource_type":"retriever","resource_id":"ret_1","operations":["execute_retriever"]}],"rate_limit_override":null,"status":"active",` +
		`"expires_at":null,"last_used_at":null,"created_at":"2026-01-01T00:00:00.000Z","created_by":"usr_0","revoked_at":null,"revoked_by":null,` +
		`"allowed_origins":null,"principal_id":null,"is_internal":false}],"total":1}` + "\n"
	if status != http.StatusOK || body != want || header.Get("Content-Type") != "application/json; charset=utf-8" || header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v\n%s\nwant\n%s", status, header, body, want)
	}
	if _, _, body := ask(t, http.MethodGet, served(t, &shelf{})+keysURL, ""); body != `{"results":[],"total":0}`+"\n" {
		t.Errorf("of no keys: %s", body)
	}
	// A retriever's name may hold anything.
	if status, _, body := ask(t, http.MethodGet, served(t, &shelf{})+"/v1/retrievers/main%20retriever%2F1/api-keys?namespace=production", "", "X-Namespace", ""); status != http.StatusOK {
		t.Errorf("by name: %d %s", status, body)
	}
}

// A list of whatever length is sent page by page. If it were gathered first, one request could take all memory there is.
func TestLongListTakesLittleMemory(t *testing.T) {
	const keys = 100_000
	var before, now runtime.MemStats
	var peak uint64
	s := &shelf{keys: keys, page: func(context.Context, int) error {
		runtime.ReadMemStats(&now)
		peak = max(peak, now.HeapInuse)
		return nil
	}}
	url := served(t, s)
	runtime.GC()
	runtime.ReadMemStats(&before)
	resp := askList(t, url)
	defer resp.Body.Close()
	got := 0
	items := bufio.NewReader(resp.Body)
	end := ""
	for end == "" {
		part, err := items.ReadString('{') // two a key: itself, and its scope
		switch {
		case err != nil:
			end = part
		case strings.HasPrefix(part, `"key_id":`):
			if !strings.HasPrefix(part, fmt.Sprintf(`"key_id":"key_%06d",`, got)) {
				t.Fatalf("key %d is %s", got, part)
			}
			got++
		}
	}
	if want := fmt.Sprintf(`],"total":%d}`, keys); got != keys || !strings.HasSuffix(strings.TrimSpace(end), want) {
		t.Errorf("%d keys, then %q, want %s", got, end, want)
	}
	grown := (int64(peak) - int64(before.HeapInuse)) >> 20
	t.Logf("%d pages, the heap grew by %d MiB", s.pages, grown)
	if grown > 30 {
		t.Errorf("the heap grew by %d MiB", grown)
	}
}

// What fails in the midst of a list cuts it off. A short list that looks whole would tell somebody that a key is gone.
func TestListThatFailsMidwayIsCutOff(t *testing.T) {
	for failing := range 5 {
		s := &shelf{keys: 4000, page: func(_ context.Context, n int) error {
			if n == failing {
				return apikey.Outage(errors.New("connection reset"))
			}
			return nil
		}}
		var log buffer
		url := served(t, s, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		if failing < 2 { // of the first page, and nothing is sent yet
			if status, header, body := ask(t, http.MethodGet, url+keysURL, ""); status != http.StatusServiceUnavailable || header.Get("Retry-After") != "1" || strings.Contains(body, "reset") {
				t.Errorf("%d %s", status, body)
			}
			continue
		}
		_, text, err := readList(t, url)
		if !errors.Is(err, io.ErrUnexpectedEOF) || json.Valid(text) {
			t.Errorf("page %d failed: %d bytes, %v", failing, len(text), err)
		}
		if got := log.String(); !strings.Contains(got, `cause="connection reset"`) || !strings.Contains(got, "cut=true") {
			t.Errorf("the log does not tell why:\n%s", got)
		}
	}
}

// A store that stalls must not hold a request: before the first byte it is an outage, and then the list is cut off.
func TestListOfAStoreThatStalls(t *testing.T) {
	for stalling := range 3 { // two reads make the first page
		s := &shelf{keys: 3000, page: func(ctx context.Context, n int) error {
			if n < stalling {
				return nil
			}
			<-ctx.Done()
			return apikey.Outage(ctx.Err())
		}}
		url := served(t, s, func(o *Options) { o.Timeout = 500 * time.Millisecond })
		status, text, err := readList(t, url)
		if stalling < 2 && status != http.StatusServiceUnavailable || stalling == 2 && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("page %d: %d, %d bytes, %v", stalling, status, len(text), err)
		}
	}
}

// A list that exceeds its deadline has met a slow store; a list whose client left was canceled. Metrics must not confuse them, because
// alerts depend on it.
func TestListsThatTimeOutAreNoClientsThatLeft(t *testing.T) {
	for _, page := range []int{0, 1} {
		for _, leaves := range []bool{false, true} {
			t.Run(fmt.Sprintf("page %d, the client leaves %t", page, leaves), func(t *testing.T) {
				const timeout = 300 * time.Millisecond
				asked, ended := make(chan time.Time, 10), make(chan error, 10)
				s := &shelf{keys: 3000, page: func(ctx context.Context, n int) error {
					if n < page {
						return nil
					}
					deadline, _ := ctx.Deadline()
					asked <- deadline
					<-ctx.Done()
					ended <- ctx.Err()
					return apikey.Outage(ctx.Err())
				}}
				url := served(t, s, func(o *Options) {
					if o.Timeout = timeout; leaves {
						o.Timeout = time.Hour
					}
				})
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+keysURL, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Authorization", "Bearer "+token)
				req.Header.Set("X-Namespace", "production")
				go func() {
					if resp, err := http.DefaultClient.Do(req); err == nil {
						_, _ = io.Copy(io.Discard, resp.Body)
						_ = resp.Body.Close()
					}
				}()
				if deadline := <-asked; deadline.IsZero() {
					t.Error("the store is not told until when")
				}
				want := context.DeadlineExceeded
				if leaves {
					leave()
					want = context.Canceled
				}
				if err := <-ended; !errors.Is(err, want) {
					t.Errorf("it ended with %v, want %v", err, want)
				}
			})
		}
	}
}

// Each page has the whole time: a list that takes longer than one request may in all is not cut off.
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
					t.Error("a page has not the request's values")
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

// askList asks for the list, whose body is for the caller to read and close.
func askList(t *testing.T, url string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+keysURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("X-Namespace", "production")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// readList asks for the list and reads as much of it as there is.
func readList(t *testing.T, url string) (status int, text []byte, err error) {
	t.Helper()
	resp := askList(t, url)
	defer resp.Body.Close()
	text, err = io.ReadAll(resp.Body)
	return resp.StatusCode, text, err
}

// However long a list takes, it is not cut off while it is being read: each write has its own time, not the server's for a
// whole answer.
func TestListOutlivesTheServersTimeout(t *testing.T) {
	server := httptest.NewUnstartedServer(handler(&shelf{keys: 3000}))
	server.Config.WriteTimeout = time.Nanosecond
	server.Start()
	t.Cleanup(server.Close)
	if status, _, body := ask(t, http.MethodGet, server.URL+keysURL, ""); status != http.StatusOK || !strings.HasSuffix(body, `],"total":3000}`+"\n") {
		t.Errorf("%d, %d bytes", status, len(body))
	}
}

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A client that requests a long list and does not read it is cut off. Otherwise a few of them could hold all connections.
func TestListThatIsNotReadIsCutOff(t *testing.T) {
	ended := make(chan struct{})
	s := &shelf{keys: 1_000_000}
	url := served(t, s, func(o *Options) {
		o.Timeout = 100 * time.Millisecond
		o.Logger = slog.New(endOf{slog.DiscardHandler, ended})
	})
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nX-Namespace: production\r\n\r\n", keysURL, token); err != nil {
		t.Fatal(err)
	}
	<-ended // the request is logged when it ends, however it does
	if s.pages*apikey.MaxPage >= s.keys {
		t.Errorf("all %d pages were written to somebody who reads none", s.pages)
	}
}

// endOf closes a channel at the first line of a log.
type endOf struct {
	slog.Handler
	ended chan struct{}
}

func (endOf) Enabled(context.Context, slog.Level) bool { return true }

func (e endOf) Handle(context.Context, slog.Record) error {
	close(e.ended)
	return nil
}

// A new key is returned completely and with its plaintext, once. Invalid input is reported in the vendor's format with its location, and
// not repeated.
func TestCreate(t *testing.T) {
	s := &shelf{}
	url := served(t, s) + keysURL
	status, header, body := ask(t, http.MethodPost, url, `{"name":"a","description":"b","expires_at":"2999-01-01T00:00:00+01:00","allowed_origins":["https://a.example"],"rate_limit_override":7.0}`)
	var made map[string]any
	if err := json.Unmarshal([]byte(body), &made); err != nil || status != http.StatusOK || header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s %v", status, body, err)
	}
	if len(made) != 24 || made["expires_at"] != "2998-12-31T23:00:00.000Z" || made["rate_limit_override"] != 7.0 || made["created_by"] != "usr_caller" || len(fmt.Sprint(made["key"])) != 60 {
		t.Errorf("made %s", body)
	}
	if len(s.inserted) != 1 || s.inserted[0].Name != "a" || s.inserted[0].AllowedOrigins[0] != "https://a.example" || len(s.events) != 1 || *s.events[0].IPAddress != "127.0.0.1" {
		t.Errorf("stored %+v %+v", s.inserted, s.events)
	}

	at := func(loc, kind string) string {
		return fmt.Sprintf(`"loc":%s,"msg":`, loc) + "*" + fmt.Sprintf(`"type":"%s"`, kind)
	}
	for _, c := range []struct {
		body   string
		status int
		want   []string
	}{
		{`{"name":"a","description":null,"expires_at":null,"allowed_origins":null,"rate_limit_override":null}`, 200, nil},
		{`{"name":"a","allowed_origins":[]}`, 200, []string{`"allowed_origins":null`}},
		{` {"name":"a"} `, 200, nil},
		{"\ufeff" + `{"name":"a"}`, 200, nil},
		{"\ufeff", 422, []string{at(`["body"]`, "missing")}},
		{"\ufeff\ufeff" + `{"name":"a"}`, 422, []string{at(`["body"]`, "json_invalid")}},
		{"\xff\xfe{\x00}\x00", 422, []string{`"loc":["body"],"msg":"The body is in UTF-16: send it in UTF-8"`}},
		{"\xff\xfe\x00\x00{\x00\x00\x00}\x00\x00\x00", 422, []string{`"loc":["body"],"msg":"The body is in UTF-32: send it in UTF-8"`}},
		{"\x00{\x00}", 422, []string{`"loc":["body"],"msg":"The body is in UTF-16: send it in UTF-8"`}},
		{``, 422, []string{at(`["body"]`, "missing")}},
		{`{}`, 422, []string{at(`["body","name"]`, "missing")}},
		{`{"name":null}`, 422, []string{at(`["body","name"]`, "string_type")}},
		{`{"name":"SECRET"`, 422, []string{at(`["body"]`, "json_invalid")}},
		{`{"name":"SECRET"} x`, 422, []string{at(`["body"]`, "json_invalid")}},
		{`{"name":"SECRET","name":"b"}`, 422, []string{at(`["body"]`, "json_invalid")}},
		{"{\"name\":\"SECRET\xff\"}", 422, []string{at(`["body"]`, "json_invalid")}},
		{`["SECRET"]`, 422, []string{at(`["body"]`, "model_attributes_type")}},
		{`null`, 422, []string{at(`["body"]`, "model_attributes_type")}},
		{`{"name":1,"description":2,"expires_at":3,"allowed_origins":"SECRET","rate_limit_override":"SECRET"}`, 422, []string{
			at(`["body","name"]`, "string_type"), at(`["body","description"]`, "string_type"), at(`["body","expires_at"]`, "datetime_type"),
			at(`["body","allowed_origins"]`, "list_type"), at(`["body","rate_limit_override"]`, "int_type"),
		}},
		{`{"name":"a","expires_at":"SECRET","allowed_origins":["https://a.example",1],"rate_limit_override":1.5}`, 422, []string{
			at(`["body","expires_at"]`, "datetime_parsing"), at(`["body","allowed_origins",1]`, "string_type"), at(`["body","rate_limit_override"]`, "int_type"),
		}},
		{`{"name":"a","expires_at":"2999-01-01T00:00:00,5Z"}`, 422, []string{at(`["body","expires_at"]`, "datetime_parsing")}},
		{`{"name":"SECRET\ud800"}`, 422, []string{at(`["body"]`, "json_invalid"), "surrogate pair"}},
		{`{"\ud800":"SECRET"}`, 422, []string{at(`["body"]`, "json_invalid"), "surrogate pair"}},
		{`{"name":"a","allowed_origins":["\udc00"]}`, 422, []string{at(`["body"]`, "json_invalid"), "surrogate pair"}},
		{`{"name":"a","description":{"x":1,"x":2}}`, 422, []string{at(`["body"]`, "json_invalid"), "given twice"}},
		{`{"name":"a","expires_at":"2999-01-01T00:00:00"}`, 422, []string{at(`["body","expires_at"]`, "timezone_aware"), "end it with Z for UTC"}},
		{`{"name":"a","expires_at":"2999-01-01"}`, 422, []string{at(`["body","expires_at"]`, "datetime_parsing"), "2026-03-01T09:30:00Z"}},
		{`{"name":"a","rate_limit_override":60.0}`, 200, []string{`"rate_limit_override":60,`}},
		{`{"name":"a","rate_limit_override":6e1}`, 200, []string{`"rate_limit_override":60,`}},
		{`{"name":"a","rate_limit_override":60.5}`, 422, []string{at(`["body","rate_limit_override"]`, "int_type")}},
		{`{"name":"a","rate_limit_override":true}`, 422, []string{at(`["body","rate_limit_override"]`, "int_type")}},
		{`{"name":"a","rate_limit_override":1e999999999}`, 422, []string{at(`["body","rate_limit_override"]`, "int_type")}},
		{`{"name":"a","expiresAt":"SECRET","Name":1,"ALLOWED-ORIGINS":[],"more":null}`, 422, []string{
			at(`["body","expiresAt"]`, "extra_forbidden"), "Did you mean expires_at?", at(`["body","Name"]`, "extra_forbidden"), "Did you mean name?",
			at(`["body"]`, "extra_forbidden"), "Did you mean allowed_origins?",
			at(`["body","more"]`, "extra_forbidden"), "the members are name, description, expires_at, allowed_origins, rate_limit_override",
		}},
		{`{"permissions":["admin"]}`, 422, []string{at(`["body","name"]`, "missing"), at(`["body","permissions"]`, "extra_forbidden")}},
		{`{"name":"a","SECRET of a person":1,"ret_sk_SECRET":2,"` + strings.Repeat("SECRET", 8) + `":3}`, 422, []string{at(`["body"]`, "extra_forbidden")}},
		{`{"name":""}`, 422, []string{at(`["body","name"]`, "value_error"), "name must have"}},
		{`{"name":"a","expires_at":"2020-01-01T00:00:00Z"}`, 422, []string{at(`["body","expires_at"]`, "value_error"), "expires_at must be in the future"}},
		{`{"name":"a","allowed_origins":["SECRET"]}`, 422, []string{at(`["body","allowed_origins"]`, "value_error")}},
		{`{"name":"a","rate_limit_override":0}`, 422, []string{at(`["body","rate_limit_override"]`, "value_error"), "rate_limit_override must be"}},
		{`{"name":"a","rate_limit_override":99999999999}`, 422, []string{at(`["body","rate_limit_override"]`, "int_type")}},
		{`{"name":"` + strings.Repeat("a", 1000) + `"}`, 413, []string{`"status":413`}},
	} {
		status, _, body := ask(t, http.MethodPost, url, c.body)
		if status != c.status || strings.Contains(body, "SECRET") {
			t.Errorf("%s: %d %s", c.body, status, body)
		}
		for _, want := range c.want {
			before, after, _ := strings.Cut(want, "*")
			if i := strings.Index(body, before); i < 0 || !strings.Contains(body[i:], after) {
				t.Errorf("%s: nothing about %s in %s", c.body, want, body)
			}
		}
	}
	for _, headers := range [][]string{{"Content-Type", "text/plain"}, {"Content-Type", "application/json; charset=utf-16"}, {"Content-Type", "application/json", "Content-Encoding", "gzip"}} {
		if status, _, body := ask(t, http.MethodPost, url, `{"name":"a"}`, headers...); status != http.StatusUnsupportedMediaType || !strings.Contains(body, `"success":false`) {
			t.Errorf("%v: %d %s", headers, status, body)
		}
	}
}

// Both of the vendor's forms are in one body, because its older clients read one and its newer ones the other. A client that
// finds neither tells its user nothing of what is wrong.
func TestInvalidIsToldInBothForms(t *testing.T) {
	url := served(t, &shelf{}) + keysURL
	status, _, body := ask(t, http.MethodPost, url, `{"allowed_origins":[1],"expiresAt":"2999-01-01T00:00:00Z"}`)
	want := `{"success":false,"status":422,"error":{"message":"body.name: Field required (and 2 more)","type":"ValidationError","details":{"validation_errors":[` +
		`{"type":"missing","location":["body","name"],"message":"Field required"},` +
		`{"type":"string_type","location":["body","allowed_origins",0],"message":"Input should be a valid string"},` +
		`{"type":"extra_forbidden","location":["body","expiresAt"],"message":"Extra inputs are not permitted. Did you mean expires_at?"}]}},` +
		`"detail":[{"loc":["body","name"],"msg":"Field required","type":"missing"},` +
		`{"loc":["body","allowed_origins",0],"msg":"Input should be a valid string","type":"string_type"},` +
		`{"loc":["body","expiresAt"],"msg":"Extra inputs are not permitted. Did you mean expires_at?","type":"extra_forbidden"}]}` + "\n"
	if status != http.StatusUnprocessableEntity || body != want {
		t.Errorf("%d\n%s\nwant\n%s", status, body, want)
	}
	// A small body does not make a large answer.
	var many strings.Builder
	for i := range 100 {
		fmt.Fprintf(&many, `"m%d":1,`, i)
	}
	_, _, body = ask(t, http.MethodPost, url, `{`+many.String()+`"name":"a"}`)
	if got := strings.Count(body, "extra_forbidden"); got != 2*mostExtra {
		t.Errorf("%d of 100 members are named, want %d: %s", got/2, mostExtra, body)
	}
}

// What is stored is what newer clients know. If it were replaced by a word of this version's, they could read none of the list.
func TestWordsAreWrittenAsStored(t *testing.T) {
	k := apikey.Key{
		Type: "robot", Permissions: []apikey.Permission{apikey.Read, "fly\"", apikey.UnknownPermission},
		Scopes: []apikey.Scope{{ResourceType: "galaxy", ResourceID: "gal_1", Operations: []apikey.Operation{"orbit", apikey.ReadData, apikey.UnknownOperation}}, {ResourceType: apikey.UnknownResource}},
	}
	for want, typ := range map[string]apikey.Type{`"robot"`: "robot", `"user_scoped"`: apikey.UserScoped, `"unknown"`: apikey.UnknownType, `null`: apikey.UnreadableType} {
		k.Type = typ
		text, err := json.Marshal(Key{Of: &k})
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{
			`"key_type":` + want + `,`, `"permissions":["read","fly\"","unknown"]`,
			`"scopes":[{"resource_type":"galaxy","resource_id":"gal_1","operations":["orbit","read_data","unknown"]},{"resource_type":"unknown","resource_id":"","operations":[]}]`,
		} {
			if !strings.Contains(string(text), part) {
				t.Errorf("%s is not in %s", part, text)
			}
		}
	}
}

// Each refusal has the vendor's status, name and envelope, on every endpoint.
func TestRefusals(t *testing.T) {
	reader := apikey.Key{ID: "key_caller", Type: apikey.Standard, Permissions: []apikey.Permission{apikey.Read}}
	for _, c := range []struct {
		name, method, path string
		headers            []string
		caller             apikey.Key
		status             int
		want               string
	}{
		{"no bearer", http.MethodGet, keysURL, []string{"Authorization", ""}, apikey.Key{}, 401, "UnauthorizedError"},
		{"no bearer", http.MethodPost, keysURL, []string{"Authorization", ""}, apikey.Key{}, 401, "UnauthorizedError"},
		{"no bearer", http.MethodDelete, keysURL + "/key_1", []string{"Authorization", ""}, apikey.Key{}, 401, "UnauthorizedError"},
		{"a bad bearer", http.MethodGet, keysURL, []string{"Authorization", "Bearer nobody's"}, apikey.Key{}, 401, "UnauthorizedError"},
		{"no namespace", http.MethodGet, keysURL, []string{"X-Namespace", ""}, apikey.Key{}, 400, "BadRequestError"},
		{"no such retriever", http.MethodGet, "/v1/retrievers/ret_2/api-keys", nil, apikey.Key{}, 404, "NotFoundError"},
		{"no such retriever", http.MethodPost, "/v1/retrievers/ret_2/api-keys", nil, apikey.Key{}, 404, "NotFoundError"},
		{"no such retriever", http.MethodDelete, "/v1/retrievers/ret_2/api-keys/key_1", nil, apikey.Key{}, 404, "NotFoundError"},
		{"no such key", http.MethodDelete, keysURL + "/key_none", nil, apikey.Key{}, 404, "NotFoundError"},
		{"another retriever's key", http.MethodDelete, keysURL + "/key_elsewhere", nil, apikey.Key{}, 404, "NotFoundError"},
		{"a reader", http.MethodPost, keysURL, nil, reader, 403, "ForbiddenError"},
		{"a reader", http.MethodDelete, keysURL + "/key_1", nil, reader, 403, "ForbiddenError"},
		{"a retriever's key", http.MethodGet, keysURL, nil, apikey.Key{ID: "key_caller", Type: apikey.RetrieverKey, Permissions: []apikey.Permission{apikey.Read}}, 403, "ForbiddenError"},
		{"no bearer, and no boolean", http.MethodGet, keysURL + "?include_revoked=maybe", []string{"Authorization", ""}, apikey.Key{}, 401, "UnauthorizedError"},
		{"no boolean", http.MethodGet, keysURL + "?include_revoked=maybe", nil, apikey.Key{}, 422, "bool_parsing"},
		{"two booleans", http.MethodGet, keysURL + "?include_revoked=1&include_revoked=no", nil, apikey.Key{}, 422, "bool_parsing"},
		{"a query that cannot be read", http.MethodGet, keysURL + "?include_revoked=%zz", nil, apikey.Key{}, 422, `["query"]`},
		{"a query that others read otherwise", http.MethodGet, keysURL + "?include_revoked=1;x", nil, apikey.Key{}, 422, `["query"]`},
		{"another method", http.MethodPut, keysURL, nil, apikey.Key{}, 405, "MethodNotAllowedError"},
		{"another method", http.MethodGet, keysURL + "/key_1", nil, apikey.Key{}, 405, "MethodNotAllowedError"},
		{"another path", http.MethodGet, "/v1/retrievers", nil, apikey.Key{}, 404, "NotFoundError"},
	} {
		url := served(t, &shelf{caller: c.caller})
		status, header, body := ask(t, c.method, url+c.path, `{"name":"a"}`, c.headers...)
		if status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s: %s %s: %d %s", c.name, c.method, c.path, status, body)
		}
		if envelope := fmt.Sprintf(`{"success":false,"status":%d,"error":{"message":"`, c.status); c.status != 422 && !strings.HasPrefix(body, envelope) {
			t.Errorf("%s: %s", c.name, body)
		}
		if status == 401 && header.Get("WWW-Authenticate") != `Bearer error="invalid_token"` || status == 405 && header.Get("Allow") == "" {
			t.Errorf("%s: %v", c.name, header)
		}
	}
	// If there are two headers, another reader may believe the other one.
	for _, name := range []string{"Content-Type", "Content-Encoding"} {
		first := map[string]string{"Content-Type": "application/json", "Content-Encoding": "identity"}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, keysURL, strings.NewReader(`{"name":"a"}`))
		r.Header = http.Header{"Authorization": {"Bearer " + token}, "X-Namespace": {"production"}, name: {first[name], "gzip"}}
		w := httptest.NewRecorder()
		if handler(&shelf{}).ServeHTTP(w, r); w.Code != http.StatusUnsupportedMediaType {
			t.Errorf("two of %s: %d %s", name, w.Code, w.Body)
		}
	}
	// Nobody's body is looked at before it is known whose it is.
	executing := apikey.Key{ID: "key_caller", Type: apikey.RetrieverKey}
	for status, url := range map[int]string{401: served(t, &shelf{}), 403: served(t, &shelf{caller: executing})} {
		headers := []string{}
		if status == 401 {
			headers = []string{"Authorization", ""}
		}
		if got, _, body := ask(t, http.MethodPost, url+keysURL, `{"nam`, headers...); got != status {
			t.Errorf("half a body: %d %s, want %d", got, body, status)
		}
	}
	url := served(t, &shelf{})
	for _, yes := range []string{"true", "TRUE", "1", "Yes", "on", "false", "0", "no", "OFF"} {
		if status, _, body := ask(t, http.MethodGet, url+keysURL+"?include_revoked="+yes, ""); status != http.StatusOK {
			t.Errorf("include_revoked=%s: %d %s", yes, status, body)
		}
	}
	for range 2 {
		if status, _, body := ask(t, http.MethodDelete, url+keysURL+"/key_1", ""); status != http.StatusOK || body != `{"message":"Successfully completed","success":true}`+"\n" {
			t.Errorf("%d %s", status, body)
		}
	}
	if status, header, body := ask(t, http.MethodHead, url+keysURL, ""); status != http.StatusOK || body != "" || header.Get("Content-Type") == "" {
		t.Errorf("HEAD: %d %v %q", status, header, body)
	}
}

// The address in the trail is evidence, so it must be one that somebody trusted has seen.
func TestClientAddress(t *testing.T) {
	for _, c := range []struct{ remote, trusted, forwarded, want string }{
		{"203.0.113.1:5", "", "198.51.100.1", "203.0.113.1"},
		{"203.0.113.1:5", "10.0.0.0/8", "198.51.100.1", "203.0.113.1"},
		{"10.1.2.3:5", "10.0.0.0/8", "", "10.1.2.3"},
		{"10.1.2.3:5", "10.0.0.0/8", "198.51.100.1", "198.51.100.1"},
		{"10.1.2.3:5", "10.0.0.0/8", "6.6.6.6, 198.51.100.1 , 10.9.9.9", "198.51.100.1"},
		{"10.1.2.3:5", "10.0.0.0/8", "10.8.8.8,10.9.9.9", "10.8.8.8"},
		{"10.1.2.3:5", "10.0.0.0/8", "6.6.6.6,nonsense,10.9.9.9", "10.9.9.9"},
		{"10.1.2.3:5", "10.0.0.0/8", "198.51.100.1:4711", "198.51.100.1"},
		{"10.1.2.3:5", "10.0.0.0/8", "[2001:db8::1]:4711", "2001:db8::1"},
		{"10.1.2.3:5", "10.0.0.0/8", "2001:db8::1", "2001:db8::1"},
		{"[::ffff:10.1.2.3]:5", "10.0.0.0/8", "198.51.100.1", "198.51.100.1"},
		{"[fe80::1%eth0]:5", "fe80::/10", "198.51.100.1", "198.51.100.1"},
		{"[::1]:5", "::1/128", ",,", "::1"},
		{"@", "", "198.51.100.1", ""},
	} {
		h := identifier{}
		if c.trusted != "" {
			h.trusted = []netip.Prefix{netip.MustParsePrefix(c.trusted)}
		}
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{}}
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got := h.clientAddress(r); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	// Several header lines are one list.
	r := &http.Request{RemoteAddr: "10.1.2.3:5", Header: http.Header{"X-Forwarded-For": {"198.51.100.1", "10.9.9.9"}}}
	if got := (identifier{trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}).clientAddress(r); got != "198.51.100.1" {
		t.Errorf("two lines: %s", got)
	}
}

// The document says what the code does: the same routes, the same fields, and a description for each status.
func TestOpenAPIDocument(t *testing.T) {
	url := served(t, &shelf{keys: 1})
	status, header, body := ask(t, http.MethodGet, url+"/openapi.json", "", "Authorization", "", "X-Namespace", "")
	if status != http.StatusOK || header.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Fatal(status, header)
	}
	type schema struct {
		Properties map[string]any
		Required   []string
	}
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]json.RawMessage
		Components struct{ Schemas map[string]schema }
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil || doc.OpenAPI != "3.1.0" {
		t.Fatal(err, doc.OpenAPI)
	}
	statuses := func(path, method string) []string {
		var operation struct{ Responses map[string]any }
		if err := json.Unmarshal(doc.Paths[path][method], &operation); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		var all []string
		for status := range operation.Responses {
			all = append(all, status)
		}
		slices.Sort(all)
		return all
	}
	one := keysPath + "/{key_id}"
	for _, c := range []struct{ path, method, want string }{
		{keysPath, "get", "[200 400 401 403 404 422 429 500 503]"},
		{keysPath, "post", "[200 400 401 403 404 413 415 422 429 500 503]"},
		{one, "delete", "[200 400 401 403 404 409 429 500 503]"},
	} {
		if got := fmt.Sprint(statuses(c.path, c.method)); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.method, c.path, got, c.want)
		}
	}
	same := func(name string, v any, more ...string) {
		t.Helper()
		object, ok := v.(map[string]any)
		if !ok {
			t.Fatalf("%s is %v", name, v)
		}
		var got []string
		for field := range object {
			got = append(got, field)
		}
		want := slices.Concat(doc.Components.Schemas[name].Required, more)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) || len(doc.Components.Schemas[name].Properties)+len(more) != len(got) {
			t.Errorf("%s has %v, the document says %v", name, got, want)
		}
	}
	answer := func(method, path, body string) (v map[string]any) {
		_, _, text := ask(t, method, url+path, body)
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	list := answer(http.MethodGet, keysURL, "")
	same("KeyList", list)
	results, _ := list["results"].([]any)
	same("Key", results[0])
	key, _ := results[0].(map[string]any)
	scopes, _ := key["scopes"].([]any)
	same("Scope", scopes[0])
	same("Key", answer(http.MethodPost, keysURL, `{"name":"a"}`), "key")
	same("Done", answer(http.MethodDelete, keysURL+"/key_1", ""))
	same("ErrorResponse", answer(http.MethodDelete, keysURL+"/none", ""))
	same("InvalidRequest", answer(http.MethodPost, keysURL, ""))
	var settings []string
	for _, f := range bodyFields {
		settings = append(settings, f.name)
	}
	for field := range doc.Components.Schemas["CreateKey"].Properties {
		if !slices.Contains(settings, field) {
			t.Errorf("%s is not read", field)
		}
	}
	if len(settings) != len(doc.Components.Schemas["CreateKey"].Properties) {
		t.Errorf("the document has not all of %v", settings)
	}
}
