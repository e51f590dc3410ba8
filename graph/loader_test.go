package graph

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"retrieverkeys/apikey"
)

// catalog is a Store of two namespaces with 60 retrievers each. A retriever has as many keys as its number. The catalog expects reads in
// waves, and answers the reads of a wave only when all of them were called, so they must be concurrent.
type catalog struct {
	apikey.Store // nil, so that a call to a method not defined here panics

	mu         sync.Mutex
	waves      []*wave
	unexpected []string
}

type wave struct {
	missing  []string
	complete chan struct{}
}

// expecting returns a catalog that expects these reads. A bar separates waves.
func expecting(reads string) *catalog {
	c := &catalog{}
	for part := range strings.SplitSeq(reads, "|") {
		if missing := strings.Fields(part); len(missing) > 0 {
			c.waves = append(c.waves, &wave{missing, make(chan struct{})})
		}
	}
	return c
}

func (c *catalog) read(ctx context.Context, name string) {
	c.mu.Lock()
	if len(c.waves) == 0 || !slices.Contains(c.waves[0].missing, name) {
		c.unexpected = append(c.unexpected, name)
		c.mu.Unlock()
		return
	}
	w := c.waves[0]
	i := slices.Index(w.missing, name)
	if w.missing = slices.Delete(w.missing, i, i+1); len(w.missing) == 0 {
		c.waves = c.waves[1:]
		close(w.complete)
	}
	c.mu.Unlock()
	select {
	case <-w.complete:
	case <-ctx.Done():
	}
}

func (c *catalog) Namespaces(ctx context.Context, _ apikey.InternalID, refs []string) (found []apikey.Namespace, err error) {
	c.read(ctx, "Namespaces")
	for _, id := range []string{"ns_1", "ns_2"} {
		if slices.Contains(refs, id) || slices.Contains(refs, "name of "+id) {
			found = append(found, apikey.Namespace{ID: apikey.NamespaceID(id), Name: "name of " + id, InternalID: "int_1"})
		}
	}
	return found, nil
}

// retriever returns the retriever with this id, such as ret_1_07 of ns_1.
func retriever(id string) (apikey.Retriever, bool) {
	var ns, n int
	_, err := fmt.Sscanf(id, "ret_%d_%d", &ns, &n)
	return apikey.Retriever{ID: apikey.RetrieverID(id), Name: "name of " + id, NamespaceID: apikey.NamespaceID("ns_" + strconv.Itoa(ns)), InternalID: "int_1"},
		err == nil && ns <= 2 && n < 60
}

func (c *catalog) Retrievers(ctx context.Context, _ apikey.InternalID, ids []apikey.RetrieverID) (found []apikey.Retriever, err error) {
	c.read(ctx, "Retrievers")
	for _, id := range ids {
		if r, ok := retriever(string(id)); ok {
			found = append(found, r)
		}
	}
	return found, nil
}

func (c *catalog) RetrieversNamed(ctx context.Context, _ apikey.InternalID, ns apikey.NamespaceID, names []string) (found []apikey.Retriever, err error) {
	c.read(ctx, "RetrieversNamed")
	for _, name := range names {
		if r, ok := retriever(strings.TrimPrefix(name, "name of ")); ok && name == r.Name && r.NamespaceID == ns {
			found = append(found, r)
		}
	}
	return found, nil
}

func (c *catalog) RetrieverPage(ctx context.Context, _ apikey.InternalID, ns apikey.NamespaceID, r apikey.RetrieverRange) (found []apikey.Retriever, err error) {
	c.read(ctx, "RetrieverPage")
	for n := 0; n < 60 && len(found) < r.Limit; n++ {
		one, _ := retriever(fmt.Sprintf("ret_%s_%02d", strings.TrimPrefix(string(ns), "ns_"), n))
		found = append(found, one)
	}
	return found, nil
}

func (c *catalog) CountRetrievers(ctx context.Context, _ apikey.InternalID, _ apikey.NamespaceID) (int, error) {
	c.read(ctx, "CountRetrievers")
	return 60, nil
}

func (c *catalog) KeyPages(ctx context.Context, _ apikey.InternalID, ids []apikey.RetrieverID, r apikey.KeyList) ([][]apikey.Key, error) {
	c.read(ctx, "KeyPages")
	pages := make([][]apikey.Key, len(ids))
	for i, id := range ids {
		if _, ok := retriever(string(id)); !ok {
			continue
		}
		var ns, n int
		if _, err := fmt.Sscanf(string(id), "ret_%d_%d", &ns, &n); err != nil {
			return nil, err
		}
		for k := range min(n, r.Limit) {
			pages[i] = append(pages[i], key(fmt.Sprintf("key_%d_%02d_%02d", ns, n, k)))
		}
	}
	return pages, nil
}

// key returns the key with this id, such as key_1_07_03 of ret_1_07.
func key(id string) apikey.Key {
	parts := strings.Split(id, "_")
	return apikey.Key{
		ID: apikey.ID(id), Name: "name of " + id, InternalID: "int_1", Stored: apikey.Active,
		Scopes: []apikey.Scope{{ResourceType: apikey.ResourceRetriever, ResourceID: "ret_" + parts[1] + "_" + parts[2]}},
	}
}

func (c *catalog) KeysWithHashes(ctx context.Context, _ apikey.InternalID, _ []string, _ apikey.Fields) ([]apikey.Key, error) {
	c.read(ctx, "KeysWithHashes")
	return nil, nil
}

// KeyPage returns keys of two retrievers.
func (c *catalog) KeyPage(ctx context.Context, _ apikey.InternalID, _ apikey.KeyList) ([]apikey.Key, error) {
	c.read(ctx, "KeyPage")
	return []apikey.Key{key("key_1_07_03"), key("key_1_07_04"), key("key_2_08_01")}, nil
}

func (c *catalog) NamespacesOf(ctx context.Context, _ apikey.InternalID) ([]apikey.Namespace, error) {
	c.read(ctx, "NamespacesOf")
	return []apikey.Namespace{{ID: "ns_1", Name: "name of ns_1", InternalID: "int_1", OrganizationID: new("org_1")}}, nil
}

func (c *catalog) CountKeys(ctx context.Context, _ apikey.InternalID, _ apikey.KeyConditions) (int, error) {
	c.read(ctx, "CountKeys")
	return 7, nil
}

func (c *catalog) Keys(ctx context.Context, _ apikey.InternalID, ids []apikey.ID, _ apikey.Fields) (found []apikey.Key, err error) {
	c.read(ctx, "Keys")
	for _, id := range ids {
		if strings.Count(string(id), "_") == 3 {
			found = append(found, key(string(id)))
		}
	}
	return found, nil
}

func (c *catalog) EventPage(ctx context.Context, _ apikey.InternalID, _ apikey.EventList) ([]apikey.Event, error) {
	c.read(ctx, "EventPage")
	return nil, nil
}

// asked runs an operation as an admin in ns_1, and returns the response.
func asked(t *testing.T, store *catalog, query string, variables map[string]any) (response map[string]any) {
	t.Helper()
	return askedFor(t, store, "", query, variables)
}

// askedFor runs one of several operations.
func askedFor(t *testing.T, store *catalog, operation, query string, variables map[string]any) (response map[string]any) {
	t.Helper()
	h := NewHandler(Options{Service: &apikey.Service{Store: store}, Introspection: IntrospectionPublic, Limits: limits, Logger: slog.New(slog.DiscardHandler)})
	body, err := json.Marshal(map[string]any{"query": query, "operationName": operation, "variables": variables})
	if err != nil {
		t.Fatal(err)
	}
	admin := apikey.Caller{Key: &apikey.Key{Type: apikey.Standard, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Admin}}}
	ctx, cancel := context.WithTimeout(apikey.WithNamespace(apikey.WithCaller(t.Context(), admin), "ns_1"), time.Minute)
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/graphql", strings.NewReader(string(body)))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if err := json.Unmarshal(w.Body.Bytes(), &response); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return response
}

// aliases repeats a field under n aliases. %02d in the field becomes its number.
func aliases(n int, field string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "a%d: %s ", i, strings.ReplaceAll(field, "%02d", fmt.Sprintf("%02d", i)))
	}
	return b.String()
}

// All data that an operation names must be read together, each kind once for equal arguments. Otherwise a dashboard with fifty retrievers
// takes a hundred round trips to the database instead of three.
func TestReadsAreShared(t *testing.T) {
	representations := func(typeName, id string, n int) []any {
		var all []any
		for i := range n {
			all = append(all, map[string]any{"__typename": typeName, "id": fmt.Sprintf(id, i)})
		}
		return all
	}
	for _, tt := range []struct {
		name, query string
		variables   map[string]any
		reads       string
	}{
		{"a retriever by id", `{ retriever(id: "ret_1_05") { apiKeys { results { name } total } } }`, nil, "KeyPages Namespaces Retrievers"},
		{"a retriever by name", `{ retriever(id: "name of ret_1_05") { apiKeys { results { name } total } } }`, nil,
			"KeyPages Namespaces Retrievers | RetrieversNamed | KeyPages"},
		{"retrievers by alias", "{" + aliases(50, `retriever(id: "ret_1_%02d") { name apiKeys { results { name } total } }`) + "}", nil,
			"KeyPages Namespaces Retrievers"},
		{"retrievers by alias and name", "{" + aliases(50, `retriever(id: "name of ret_1_%02d") { apiKeys { results { name } } }`) + "}", nil,
			"KeyPages Namespaces Retrievers | RetrieversNamed | KeyPages"},
		{"one retriever by many aliases", "{" + aliases(50, `retriever(id: "ret_1_05") { apiKeys { total } }`) + "}", nil, "Namespaces Retrievers | CountKeys"},
		{"different selections", `{ a: retriever(id: "ret_1_05") { apiKeys { results { name } } } b: retriever(id: "ret_1_06") { apiKeys { total edges { cursor node { status } } } } }`, nil,
			"KeyPages Namespaces Retrievers"},
		{"equal arguments, one by a variable", `query($n: Int = 3) { a: retriever(id: "ret_1_05") { apiKeys(first: $n) { results { name } } } b: retriever(id: "ret_1_06") { apiKeys(first: 3) { results { name } } } }`, nil,
			"KeyPages Namespaces Retrievers"},
		{"different arguments", `{ a: retriever(id: "ret_1_05") { x: apiKeys(first: 3) { results { name } } y: apiKeys(first: 4) { results { name } } } b: retriever(id: "ret_1_06") { apiKeys(includeRevoked: true) { results { name } } } }`, nil,
			"KeyPages KeyPages KeyPages Namespaces Retrievers"},
		{"in namespaces", `{ a: namespace(id: "ns_1") { id ` + aliases(20, `retriever(id: "ret_1_%02d") { apiKeys { results { name } } }`) + `} b: namespace(id: "name of ns_2") { ` +
			aliases(20, `retriever(id: "ret_2_%02d") { apiKeys { results { name } } }`) + `} namespace { name } viewer { namespace { retriever(id: "ret_1_03") { apiKeys { results { name } } } } } }`, nil,
			"KeyPages Namespaces Retrievers"},
		{"namespaces by alias", "{" + aliases(50, `namespace(id: "ns_%02d") { name }`) + "}", nil, "Namespaces"},
		{"keys by alias", "{" + aliases(50, `apiKey(id: "key_1_50_%02d") { name status }`) + "}", nil, "Keys Namespaces | Retrievers"},
		{"nodes by alias", "{" + aliases(20, `node(id: "key_1_50_%02d") { id }`) + ` r: node(id: "ret_1_05") { ... on Retriever { apiKeys { results { name } } } } n: node(id: "ns_2") { ... on Namespace { name retriever(id: "ret_2_07") { name } } } }`, nil,
			"KeyPages Keys Namespaces Retrievers | Retrievers"},
		{"in a list", `{ retrievers(first: 50) { results { name apiKeys { results { name } total } } } }`, nil, "Namespaces | RetrieverPage | KeyPages"},
		{"in a list, twice", `{ retrievers(first: 50) { results { name apiKeys { results { name } } } edges { node { apiKeys { results { name } } } } } }`, nil,
			"Namespaces | RetrieverPage | KeyPages"},
		{"in the edges of a list", `{ retrievers(first: 50) { edges { node { name apiKeys { results { name } } } } total } }`, nil, "Namespaces | RetrieverPage | CountRetrievers | KeyPages"},
		{"a list by aliases", "{" + aliases(50, `retrievers(first: 5) { results { apiKeys { results { name } } } }`) + "}", nil, "Namespaces | RetrieverPage | KeyPages"},
		{"within a list", `{ retrievers(first: 50) { results { namespace { retriever(id: "ret_1_07") { apiKeys { results { name } } } } } } }`, nil,
			"Namespaces | RetrieverPage | Retrievers | KeyPages"},
		{"within a retriever", `{ retriever(id: "ret_1_05") { namespace { retriever(id: "ret_1_07") { apiKeys { results { name } } } } } }`, nil,
			"Namespaces Retrievers | Retrievers | KeyPages"},
		{"entities", `query($r: [_Any!]!) { _entities(representations: $r) { ... on Retriever { name apiKeys { results { name } total } } } }`, map[string]any{"r": representations("Retriever", "ret_1_%02d", 30)},
			"KeyPages Namespaces Retrievers"},
		{"entities of all kinds", `query($r: [_Any!]!) { _entities(representations: $r) { ... on ApiKey { name } ... on Retriever { name } ... on Namespace { name } } }`,
			map[string]any{"r": slices.Concat(representations("Retriever", "ret_1_%02d", 30), representations("ApiKey", "key_1_40_%02d", 30), representations("Namespace", "ns_%d", 3))},
			"Keys Namespaces Retrievers"},
		{"nodes", `{ nodes(ids: ["ret_1_05", "key_1_40_01", "ns_2", "ret_2_06"]) { id ... on ApiKey { name viewerCanRotate } ... on Retriever { apiKeys { results { name } } } } }`, nil,
			"KeyPages Keys Namespaces Retrievers"},
		{"keys by hash", `{ a: apiKeysByHash(hashes: ["` + strings.Repeat("0", 64) + `"]) { name } b: apiKeysByHash(hashes: ["` + strings.Repeat("1", 64) + `"]) { status } }`, nil, "KeysWithHashes"},
		{"the organization", `{ organization { id name namespaces { results { name } } } viewer { organization { id name namespaces { total } } } }`, nil, "NamespacesOf"},
		{"the organization's internal id", `{ organization { internalId } viewer { canReadOrganization } }`, nil, ""},
		{"the organization's keys", "{ organization {" + aliases(20, `apiKeys { results { name status } }`) + "} }", nil, "KeyPage"},
		{"the organization's keys and their retrievers", `{ organization { apiKeys { results { name viewerCanUpdate viewerCanRotate viewerCanRevoke retrievers { results { name apiKeys(first: 0) { total } } } } } } }`, nil,
			"KeyPage | Retrievers | Namespaces | CountKeys CountKeys"},
		{"edges of the organization's keys and their retrievers", `{ organization { apiKeys { edges { node { viewerCanUpdate retrievers { edges { node { id } } } } } } } }`, nil, "KeyPage | Retrievers | Namespaces"},
		{"what the organization's keys may execute", `{ organization { apiKeys { results { check(retrieverId: "ret_1_05") { allowed reason } again: check(retrieverId: "ret_1_05", origin: null) { allowed } } } } }`, nil,
			"KeyPage | Retrievers | Namespaces"},
		{"keys of retrievers and their retrievers", `{ retrievers(first: 9) { results { apiKeys { edges { node { retrievers { total } } } } } } }`, nil, "Namespaces | RetrieverPage | KeyPages | Retrievers | Namespaces"},
		{"keys by alias and their retrievers", "{" + aliases(50, `apiKey(id: "key_1_50_%02d") { retrievers { total } }`) + "}", nil, "Keys Namespaces | Retrievers | Retrievers | Namespaces"},
		{"keys that are null in a list", `{ nodes(ids: ["absent", "key_1_40_01", "none"]) { ... on ApiKey { retrievers { total } } } }`, nil, "Keys Namespaces Retrievers | NamespacesOf | Retrievers | Namespaces"},
		{"what names nothing", `{ viewer { keyId } serverInfo { version } __typename }`, nil, ""},
		{"a schema", `{ __schema { queryType { name } } _service { sdl } }`, nil, ""},
		{"skipped fields", `{ retriever(id: "ret_1_05") @skip(if: true) { apiKeys { total } } ... @include(if: false) { apiKey(id: "x") { id } } viewer { keyId } }`, nil, ""},
		{"in fragments", `{ ...Q } fragment Q on Query { a: retriever(id: "ret_1_05") { ...R } ... on Query { b: retriever(id: "ret_1_06") { ...R } } } fragment R on Retriever { apiKeys { ...C } } fragment C on ApiKeyConnection { results { name } }`, nil,
			"KeyPages Namespaces Retrievers"},
		{"events", "{" + aliases(20, `retriever(id: "ret_1_05") { auditEvents { results { id } } }`) + "}", nil, "Namespaces Retrievers | EventPage"},
	} {
		store := expecting(tt.reads)
		response := asked(t, store, tt.query, tt.variables)
		if tt.name != "namespaces by alias" && response["errors"] != nil {
			t.Errorf("%s: %v", tt.name, response["errors"])
		}
		for _, w := range store.waves {
			t.Errorf("%s: missing reads %v", tt.name, w.missing)
		}
		if len(store.unexpected) > 0 {
			t.Errorf("%s: unexpected reads %v", tt.name, store.unexpected)
		}
	}
}

// Data that was read before the deadline must be returned after it. Otherwise it would be random whether a list that takes too long loses
// its retriever too.
func TestWhatWasReadInTimeIsAnswered(t *testing.T) {
	l := &loader{reads: map[readKey]*sharedRead{}}
	ctx, end := context.WithCancel(t.Context())
	read := func(context.Context) (int, error) { return 7, nil }
	_, _ = once(ctx, l, "number", "", read)
	end()
	for range 100 {
		if n, err := once(ctx, l, "number", "", read); n != 7 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
}
