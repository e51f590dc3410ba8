package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"retrieverkeys/apikey"
)

// The vendor's clients read these fields by name, in any order. People compare texts, so the order is fixed too.
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
	// A retriever's name can contain any character.
	if status, _, body := ask(t, http.MethodGet, served(t, &shelf{})+"/v1/retrievers/main%20retriever%2F1/api-keys?namespace=production", "", "X-Namespace", ""); status != http.StatusOK {
		t.Errorf("by name: %d %s", status, body)
	}
}

// A list of any length is sent page by page. Otherwise one request could use up all memory.
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
		part, err := items.ReadString('{') // two per key: the key and its scope
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

// A failure in the middle of a list cuts the connection. If a partial list looked complete, a client would believe that keys are gone.
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
		if failing < 2 { // two reads make the first page, and nothing is sent yet
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
			t.Errorf("the log does not contain the reason:\n%s", got)
		}
	}
}

// A stalled store must not hold a request. Before the first byte the response is 503. After it, the list is cut off.
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
func TestListTimeoutIsNotADisconnect(t *testing.T) {
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
					t.Error("the store has no deadline")
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

// askList requests the list. The caller reads and closes the body.
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

// readList requests the list and reads until it ends or breaks off.
func readList(t *testing.T, url string) (status int, text []byte, err error) {
	t.Helper()
	resp := askList(t, url)
	defer resp.Body.Close()
	text, err = io.ReadAll(resp.Body)
	return resp.StatusCode, text, err
}

// A list is not cut off while the client is reading it, however long that takes. Each write has its own deadline, in place of the server's
// deadline for the whole response.
func TestListOutlivesTheServersTimeout(t *testing.T) {
	server := httptest.NewUnstartedServer(handler(&shelf{keys: 3000}))
	server.Config.WriteTimeout = time.Nanosecond
	server.Start()
	t.Cleanup(server.Close)
	if status, _, body := ask(t, http.MethodGet, server.URL+keysURL, ""); status != http.StatusOK || !strings.HasSuffix(body, `],"total":3000}`+"\n") {
		t.Errorf("%d, %d bytes", status, len(body))
	}
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
	<-ended // a request is logged when it ends
	if s.pages*apikey.MaxPage >= s.keys {
		t.Errorf("all %d pages were written to a client that reads none", s.pages)
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

// Enum values are written as stored, because newer clients know newer values. If this version replaced them, those clients could not read the
// list at all.
func TestEnumValuesAreWrittenAsStored(t *testing.T) {
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

// Every refusal has the vendor's status, error type and envelope, on every endpoint.
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
		{"no key, and an invalid boolean", http.MethodGet, keysURL + "?include_revoked=maybe", []string{"Authorization", ""}, apikey.Key{}, 401, "UnauthorizedError"},
		{"an invalid boolean", http.MethodGet, keysURL + "?include_revoked=maybe", nil, apikey.Key{}, 422, "bool_parsing"},
		{"two booleans", http.MethodGet, keysURL + "?include_revoked=1&include_revoked=no", nil, apikey.Key{}, 422, "bool_parsing"},
		{"a query that cannot be read", http.MethodGet, keysURL + "?include_revoked=%zz", nil, apikey.Key{}, 422, `["query"]`},
		{"an ambiguous query", http.MethodGet, keysURL + "?include_revoked=1;x", nil, apikey.Key{}, 422, `["query"]`},
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
	// Given two headers, a proxy could have used the other one.
	for _, name := range []string{"Content-Type", "Content-Encoding"} {
		first := map[string]string{"Content-Type": "application/json", "Content-Encoding": "identity"}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, keysURL, strings.NewReader(`{"name":"a"}`))
		r.Header = http.Header{"Authorization": {"Bearer " + token}, "X-Namespace": {"production"}, name: {first[name], "gzip"}}
		w := httptest.NewRecorder()
		if handler(&shelf{}).ServeHTTP(w, r); w.Code != http.StatusUnsupportedMediaType {
			t.Errorf("two of %s: %d %s", name, w.Code, w.Body)
		}
	}
	// A body is not parsed before the caller is authorized.
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
