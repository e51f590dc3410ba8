package web

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"retrieverkeys/apikey"
)

// shelf is a Store with one namespace and one retriever, whose n keys it generates on demand.
type shelf struct {
	apikey.Store // nil, so that a call to a method not defined here panics

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

// The token of all requests in these tests, and its hash.
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

func (s *shelf) KeyPages(ctx context.Context, _ apikey.InternalID, _ []apikey.RetrieverID, r apikey.KeyList) ([][]apikey.Key, error) {
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

func (s *shelf) CurrentKeys(_ context.Context, _ apikey.InternalID, ids ...apikey.ID) (found []apikey.Key, err error) {
	for _, id := range ids {
		switch id {
		case "key_1":
			k := s.key(1)
			k.ID = id
			found = append(found, k)
		case "key_elsewhere":
			k := s.key(2)
			k.ID, k.Scopes[0].ResourceID = id, "ret_2"
			found = append(found, k)
		}
	}
	return found, nil
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
	s.events = append(s.events, c.Events...)
	return true, nil
}

func (s *shelf) InsertEvent(context.Context, apikey.Event) error { return nil }

// served serves the shelf over HTTP and returns the URL.
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

// handler serves the shelf. The caller is an admin unless the shelf has another caller.
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
