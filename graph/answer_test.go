package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"weak"

	"github.com/google/go-cmp/cmp"

	"retrieverkeys/apikey"
)

// wide is a Store of one namespace. All its retrievers have the same keys and events, which can be long.
type wide struct {
	shelves

	events []apikey.Event
	read   func()                   // called for each page of keys, unless it is nil
	last   weak.Pointer[apikey.Key] // the first key of the last page
}

func newWide(keys, origins int) *wide {
	w := &wide{}
	long := make([]string, origins)
	for i := range long {
		long[i] = fmt.Sprintf("https://site-%04d.example.com", i)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	for i := range keys {
		k := key(fmt.Sprintf("key_1_05_%02d", i))
		k.AllowedOrigins, k.CreatedAt = long, &at
		for _, o := range long {
			k.Scopes = append(k.Scopes, apikey.Scope{ResourceType: apikey.ResourceRetriever, ResourceID: o, Operations: []apikey.Operation{apikey.ReadData}})
		}
		w.keys = append(w.keys, k)
		w.events = append(w.events, apikey.Event{
			ID: apikey.EventID(fmt.Sprint("evt_", i)), Timestamp: at, Action: apikey.KeyUpdated, ResourceType: apikey.ResourceAPIKey, ResourceID: string(k.ID),
			ActorID: "usr_\"1\"", ActorType: "user", ActorKeyID: &k.ID, Outcome: "success", IPAddress: new("192.0.2.1"),
			Changes: []apikey.FieldChange{{Field: "name", Before: new("a"), After: new("b\n")}, {Field: "expires_at"}},
		})
	}
	return w
}

func (w *wide) KeyPages(ctx context.Context, tenant apikey.InternalID, ids []apikey.RetrieverID, r apikey.KeyList) ([][]apikey.Key, error) {
	if w.read != nil {
		w.read()
	}
	pages, err := w.shelves.KeyPages(ctx, tenant, ids, r)
	if len(pages[0]) > 0 {
		w.last = weak.Make(&pages[0][0])
	}
	return pages, err
}

func (w *wide) Keys(_ context.Context, _ apikey.InternalID, ids []apikey.ID, _ apikey.Fields) (found []apikey.Key, err error) {
	for _, k := range w.keys {
		for _, id := range ids {
			if k.ID == id {
				found = append(found, k)
			}
		}
	}
	return found, nil
}

func (w *wide) RetrieverPage(_ context.Context, _ apikey.InternalID, _ apikey.NamespaceID, r apikey.RetrieverRange) (found []apikey.Retriever, err error) {
	for i := range min(r.Limit, 200) {
		found = append(found, apikey.Retriever{ID: apikey.RetrieverID(fmt.Sprintf("ret_%03d", i)), Name: "a \"name\"", Description: new("what\tit does"), NamespaceID: "ns_1", InternalID: "int_1"})
	}
	return found, nil
}

func (w *wide) CountRetrievers(context.Context, apikey.InternalID, apikey.NamespaceID) (int, error) {
	return 200, nil
}

func (w *wide) EventPage(_ context.Context, _ apikey.InternalID, l apikey.EventList) ([]apikey.Event, error) {
	return w.events[:min(len(w.events), l.Limit)], nil
}

func (w *wide) CountEvents(context.Context, apikey.InternalID, apikey.EventConditions) (int, error) {
	return len(w.events), nil
}

// request sends a request, as an admin unless ctx has another caller.
func (w *wide) request(t *testing.T, ctx context.Context, o Options, accept, query string, variables map[string]any) *httptest.ResponseRecorder {
	t.Helper()
	o.Service, o.Introspection, o.Logger = &apikey.Service{Store: w}, IntrospectionPublic, slog.New(slog.DiscardHandler)
	if o.Limits == (Limits{}) {
		o.Limits = limits
	}
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		t.Fatal(err)
	}
	if apikey.CallerFrom(ctx).Anonymous() {
		caller := &apikey.Key{Type: apikey.Standard, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Admin}}
		ctx = apikey.WithCaller(ctx, apikey.Caller{Key: caller})
	}
	r := httptest.NewRequestWithContext(apikey.WithNamespace(ctx, "ns_1"), http.MethodPost, "/graphql", strings.NewReader(string(body)))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", accept)
	recorder := httptest.NewRecorder()
	NewHandler(o).ServeHTTP(recorder, r)
	return recorder
}

// equal returns variables with n equal representations of an entity.
func equal(n int, typeName, id string) map[string]any {
	list := make([]any, n)
	for i := range list {
		list[i] = map[string]any{"__typename": typeName, "id": id}
	}
	return map[string]any{"r": list}
}

const entities = "query($r: [_Any!]!) { _entities(representations: $r) { %s } }"

// expensive are operations of every kind whose responses grow faster than their number of fields.
var expensive = []struct {
	name, query string
	variables   map[string]any
}{
	{"equal retrievers", fmt.Sprintf(entities, "... on Retriever { apiKeys { results { allowedOrigins } } }"), equal(390, "Retriever", "ret_1")},
	{"equal keys", fmt.Sprintf(entities, "... on ApiKey { "+aliases(90, "allowedOrigins")+"}"), equal(390, "ApiKey", "key_1_05_00")},
	{"equal keys' scopes", fmt.Sprintf(entities, "... on ApiKey { "+aliases(90, "scopes { resourceId operations }")+"}"), equal(390, "ApiKey", "key_1_05_00")},
	{"aliases", "{ " + aliases(40, `retriever(id: "ret_1") { apiKeys { results { allowedOrigins } } }`) + "}", nil},
	{"aliases of keys", `{ retriever(id: "ret_1") { apiKeys { results { ` + aliases(90, "allowedOrigins") + "} } } }", nil},
	{"aliases within edges", `{ retriever(id: "ret_1") { apiKeys { edges { cursor node { ` + aliases(90, "scopes { operations resourceId }") + "} } } } }", nil},
	{"aliases of one key", `{ apiKey(id: "key_1_05_00") { ` + aliases(90, "allowedOrigins") + "} }", nil},
	{"events", "{ retrievers(first: 30) { results { " + aliases(30, "auditEvents(first: 40) { results { id actorId userAgent changes { field before after } } }") + "} } }", nil},
	{"retrievers", "{ " + aliases(90, "retrievers(first: 200) { results { id name namespace { id name description } } edges { cursor node { description } } }") + "}", nil},
	{"keys of retrievers", "{ retrievers(first: 60) { results { id " + aliases(20, "apiKeys(first: 1) { results { name allowedOrigins } }") + "} } }", nil},
}

// One uncounted response once took 6.6 GB. A response must fail as soon as it is too large, after little more memory than the limit.
func TestLongAnswersEndEarly(t *testing.T) {
	store := newWide(50, 1000)
	for _, c := range expensive {
		t.Run(c.name, func(t *testing.T) {
			const limit = 1 << 20
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			counted := map[string]int{}
			w := store.request(t, t.Context(), Options{MaxResponseBytes: limit, Metrics: Metrics{LimitRefusal: func(limit string) { counted[limit]++ }}}, mediaJSON, c.query, c.variables)
			runtime.ReadMemStats(&after)
			if body := w.Body.String(); w.Code != http.StatusOK || !strings.HasPrefix(body, `{"errors":[{"message":"The answer would have more than 1048576 bytes (MAX_RESPONSE_BYTES). Ask for less: `) ||
				!strings.HasSuffix(body, `"extensions":{"code":"BAD_USER_INPUT"}}]}`) {
				t.Errorf("%d %.300s", w.Code, body)
			}
			if diff := cmp.Diff(map[string]int{"MAX_RESPONSE_BYTES": 1}, counted); diff != "" {
				t.Error(diff)
			}
			if made := after.TotalAlloc - before.TotalAlloc; made > 32*limit {
				t.Errorf("allocated %d MB", made>>20)
			}
		})
	}
}

// A response of exactly the limit must be sent whole, including its errors. A longer one must be refused. It must not matter whether
// gqlgen, fast.go or both wrote it. Without a limit, any response is sent.
func TestTheLimitIsExact(t *testing.T) {
	store := newWide(3, 5)
	reader := apikey.WithCaller(t.Context(), apikey.Caller{Key: &apikey.Key{Type: apikey.Standard, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Read}}})
	for _, c := range append(expensive, []struct {
		name, query string
		variables   map[string]any
	}{
		{"short", "{ __typename }", nil},
		{"many parts", "{ retriever(id: \"ret_1\") { " + aliases(60, "apiKeys { results { id name description allowedOrigins } edges { node { keyHash userId } } }") + "} }", nil},
		{"nothing", `{ retriever(id: "ret_1") { apiKeys(first: 0) { results { id } } } }`, nil},
		{"introspection", "{ __schema { types { name description fields { name type { name } } } } }", nil},
		{"errors", `{ a: retriever(id: "ret_1") { id auditEvents { total } } node(id: "nothing") { id } }`, nil},
		{"errors and a null", fmt.Sprintf(entities, "__typename"), equal(20, "Nothing", "1")},
	}...) {
		t.Run(c.name, func(t *testing.T) {
			ask := func(most int64, accept string) *httptest.ResponseRecorder {
				return store.request(t, reader, Options{MaxResponseBytes: most}, accept, c.query, c.variables)
			}
			whole := ask(0, mediaJSON)
			length := int64(whole.Body.Len())
			if whole.Code != http.StatusOK || !json.Valid(whole.Body.Bytes()) || whole.Header().Get("Content-Length") != fmt.Sprint(length) || !strings.Contains(whole.Body.String(), `"data":`) {
				t.Fatalf("%d %v %.300s", whole.Code, whole.Header(), whole.Body)
			}
			if w := ask(length, mediaJSON); w.Body.String() != whole.Body.String() {
				t.Errorf("%d bytes with a limit of as many: %.300s", length, w.Body)
			}
			for _, most := range []int64{length - 1, 1} {
				for accept, status := range map[string]int{mediaJSON: http.StatusOK, mediaResponse: http.StatusBadRequest} {
					w := ask(most, accept)
					if body := w.Body.String(); w.Code != status || !strings.Contains(body, fmt.Sprintf("more than %d bytes (MAX_RESPONSE_BYTES)", most)) || strings.Contains(body, `"data"`) || strings.Count(body, `"code":`) != 1 {
						t.Errorf("%d bytes with a limit of %d: %d %.300s", length, most, w.Code, body)
					}
				}
			}
		})
	}
}

// ledger is a Memory that records what is taken.
type ledger struct {
	taken, most int64
	times       int
	take        func(times int) bool // refuses if it returns false; nil: never
}

func (l *ledger) Take(_ context.Context, bytes int64) bool {
	l.times++
	if l.take != nil && !l.take(l.times) {
		return false
	}
	l.taken += bytes
	l.most = max(l.most, l.taken)
	return true
}

func (l *ledger) Give(bytes int64) { l.taken -= bytes }

// torn is a client that disconnects in the middle of its response.
type torn struct{ *httptest.ResponseRecorder }

func (w torn) Write(b []byte) (int, error) {
	if w.Body.Len() > 100_000 {
		return 0, errors.New("gone")
	}
	return w.ResponseRecorder.Write(b)
}

// Memory that a response takes and does not give back is lost forever. Memory that it does not take is not limited. Short responses take
// none, so that they are sent even when long ones use all of it.
func TestAnswersTakeMemory(t *testing.T) {
	store := newWide(50, 1000)
	const long, short = `{ retriever(id: "ret_1") { apiKeys { results { allowedOrigins } } } }`, `{ retriever(id: "ret_1") { apiKeys { total results { id name } } } }`
	for _, c := range []struct {
		name, query string
		most        int64
		take        func(int) bool
		status      int
		body        string
	}{
		{"short", short, 0, func(int) bool { return false }, http.StatusOK, `{"data":{"retriever":{"apiKeys":{"total":50,`},
		{"long", long, 0, nil, http.StatusOK, `{"data":{"retriever":{"apiKeys":{"results":[{"allowedOrigins":["https://site-0000`},
		{"too long", long, 1 << 20, nil, http.StatusOK, `{"errors":[{"message":"The answer would have more`},
		{"no memory", long, 0, func(int) bool { return false }, http.StatusServiceUnavailable, `{"errors":[{"message":"There are too many large answers on their way.`},
		{"no more memory", long, 0, func(times int) bool { return times < 9 }, http.StatusServiceUnavailable, `{"errors":[{"message":"There are too many large answers on their way.`},
	} {
		t.Run(c.name, func(t *testing.T) {
			memory := &ledger{take: c.take}
			w := store.request(t, t.Context(), Options{Memory: memory, MaxResponseBytes: c.most}, mediaJSON, c.query, nil)
			if body := w.Body.String(); w.Code != c.status || !strings.HasPrefix(body, c.body) || (w.Header().Get("Retry-After") == "1") != (c.status == http.StatusServiceUnavailable) {
				t.Errorf("%d %v %.300s", w.Code, w.Header(), body)
			}
			if memory.taken != 0 {
				t.Errorf("%d bytes were not given back", memory.taken)
			}
			if c.most > 0 && memory.most > c.most+2*partBytes {
				t.Errorf("a response of more than %d bytes took %d: it must fail while it is written", c.most, memory.most)
			}
			if length := int64(w.Body.Len()); c.status == http.StatusOK && c.most == 0 && (memory.most > length+length/8 || memory.most < length-2*partBytes) {
				t.Errorf("a response of %d bytes took %d", length, memory.most)
			}
		})
	}
	memory := &ledger{}
	h := NewHandler(Options{Service: &apikey.Service{Store: store}, Limits: limits, Memory: memory, Logger: slog.New(slog.DiscardHandler)})
	admin := apikey.Caller{Key: &apikey.Key{Type: apikey.Standard, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Admin}}}
	body, err := json.Marshal(map[string]string{"query": long})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(apikey.WithNamespace(apikey.WithCaller(t.Context(), admin), "ns_1"), http.MethodPost, "/graphql", strings.NewReader(string(body)))
	r.Header.Set("Content-Type", "application/json")
	if h.ServeHTTP(torn{httptest.NewRecorder()}, r); memory.most == 0 || memory.taken != 0 {
		t.Errorf("the client left: %d bytes were taken, and %d not given back", memory.most, memory.taken)
	}
}

// A slow client must not keep the memory of parts that it has received. Without this, responses that are nearly sent leave no memory for
// others.
func TestSentPartsGiveMemoryBack(t *testing.T) {
	memory := &ledger{}
	h := NewHandler(Options{Service: &apikey.Service{Store: newWide(50, 1000)}, Limits: limits, Memory: memory, Logger: slog.New(slog.DiscardHandler)})
	admin := apikey.Caller{Key: &apikey.Key{Type: apikey.Standard, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Admin}}}
	r := httptest.NewRequestWithContext(apikey.WithNamespace(apikey.WithCaller(t.Context(), admin), "ns_1"), http.MethodPost, "/graphql",
		strings.NewReader(`{"query": "{ retriever(id: \"ret_1\") { apiKeys { results { allowedOrigins } } } }"}`))
	r.Header.Set("Content-Type", "application/json")
	var taken []int64
	h.ServeHTTP(looking{httptest.NewRecorder(), func() { taken = append(taken, memory.taken) }}, r)
	// The first two writes are the head and the first part. Each later write comes after the memory of the part before has been given
	// back.
	if len(taken) < 10 || taken[1] != memory.most {
		t.Fatalf("got %v taken at each write", taken)
	}
	for i := 2; i < len(taken)-1; i++ {
		if taken[i] > taken[i-1]-partBytes {
			t.Fatalf("got %v taken at each write, want at least %d less each time", taken, partBytes)
		}
	}
}

// looking calls look before each write.
type looking struct {
	*httptest.ResponseRecorder
	look func()
}

func (w looking) Write(b []byte) (int, error) {
	w.look()
	return w.ResponseRecorder.Write(b)
}

// While a client slowly receives its response, the keys that the response was made from must be free. They can be as large as the response,
// and no limit counts them.
func TestWhatWasReadIsNotKept(t *testing.T) {
	store := newWide(50, 1000)
	h := NewHandler(Options{Service: &apikey.Service{Store: store}, Limits: limits, Logger: slog.New(slog.DiscardHandler)})
	admin := apikey.Caller{Key: &apikey.Key{Type: apikey.Standard, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Admin}}}
	r := httptest.NewRequestWithContext(apikey.WithNamespace(apikey.WithCaller(t.Context(), admin), "ns_1"), http.MethodPost, "/graphql",
		strings.NewReader(`{"query": "{ retriever(id: \"ret_1\") { apiKeys { results { allowedOrigins } } } }"}`))
	r.Header.Set("Content-Type", "application/json")
	looked, kept := 0, 0
	w := looking{httptest.NewRecorder(), func() {
		looked++
		runtime.GC()
		if store.last.Value() != nil {
			kept++
		}
	}}
	h.ServeHTTP(w, r)
	if looked < 10 || kept > 0 || !strings.HasSuffix(w.Body.String(), "}}}") {
		t.Errorf("the keys were in memory at %d of %d writes: %d %.100s", kept, looked, w.Code, w.Body)
	}
}

// A request's deadline limits how long its response is written, and not only how long its data is read. A short response is sent anyway:
// its data may have been read in time.
func TestTheDeadlineHoldsWhileWriting(t *testing.T) {
	store := newWide(50, 1000)
	for _, c := range []struct {
		name, query string
		when        string
		status      int
		body        string
	}{
		{"before a long response is written", `{ retriever(id: "ret_1") { apiKeys { results { allowedOrigins } } } }`, "read", http.StatusServiceUnavailable, `{"errors":[{"message":"This took too long.`},
		{"while a long response is written", `{ retriever(id: "ret_1") { apiKeys { results { allowedOrigins } } } }`, "written", http.StatusServiceUnavailable, `{"errors":[{"message":"This took too long.`},
		{"before a short response is written", `{ retriever(id: "ret_1") { apiKeys { results { name } } } }`, "read", http.StatusOK, `{"data":{"retriever":{"apiKeys":{"results":[{"name":"name of key_1_05_00"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			memory := &ledger{}
			switch c.when {
			case "read":
				store.read = cancel
			default:
				store.read = nil
				memory.take = func(times int) bool {
					if times == 5 {
						cancel()
					}
					return true
				}
			}
			w := store.request(t, ctx, Options{Memory: memory}, mediaJSON, c.query, nil)
			if body := w.Body.String(); w.Code != c.status || !strings.HasPrefix(body, c.body) || memory.times > 5 || memory.taken != 0 {
				t.Errorf("%d after taking memory %d times: %.300s", w.Code, memory.times, body)
			}
		})
	}
}

// gqlgen keeps much more memory for a field than the field takes in the response, so MAX_RESPONSE_BYTES does not limit it.
func TestFieldsOutsideOfPlainListsAreBounded(t *testing.T) {
	store := newWide(1, 1)
	few := limits
	few.Complexity = 50_000
	counted := map[string]int{}
	o := Options{Limits: few, Metrics: Metrics{LimitRefusal: func(limit string) { counted[limit]++ }}}
	const query = "{ retrievers(first: 200) { results { %s apiKeys(first: 0) { total } } } }"
	if w := store.request(t, t.Context(), o, mediaJSON, fmt.Sprintf(query, aliases(20, "name")), nil); !strings.HasPrefix(w.Body.String(), `{"data":{"retrievers":{"results":[{"a0":`) {
		t.Errorf("4,202 fields: %.300s", w.Body)
	}
	// gqlgen makes the field check of each key, and fast.go writes what is below it.
	checks := func(n int) string {
		return `{ retriever(id: "ret_1") { apiKeys(first: 100) { results { ` + aliases(n, `check(retrieverId: "ret_1") { allowed reason __typename }`) + "} } } }"
	}
	many := newWide(100, 1)
	if w := many.request(t, t.Context(), o, mediaJSON, checks(24), nil); !strings.HasPrefix(w.Body.String(), `{"data":{"retriever":{"apiKeys":{"results":[{"a0":{"allowed":`) {
		t.Errorf("2,400 checks: %.300s", w.Body)
	}
	if w := many.request(t, t.Context(), Options{Limits: few}, mediaJSON, checks(26), nil); !strings.Contains(w.Body.String(), "at most 5000 are allowed (a tenth of MAX_COMPLEXITY)") {
		t.Errorf("2,600 checks: %.300s", w.Body)
	}
	w := store.request(t, t.Context(), o, mediaResponse, fmt.Sprintf(query, aliases(25, "name")), nil)
	if body := w.Body.String(); w.Code != http.StatusBadRequest || !strings.Contains(body, "at most 5000 are allowed (a tenth of MAX_COMPLEXITY)") || strings.Contains(body, `"data"`) {
		t.Errorf("5,202 fields: %d %.300s", w.Code, body)
	}
	if diff := cmp.Diff(map[string]int{"MAX_COMPLEXITY": 1}, counted); diff != "" {
		t.Error(diff)
	}
}

// A gateway often requests one entity many times in one request. It must be read and resolved once, and be at each of its places with its
// errors.
func TestEqualEntitiesAreOne(t *testing.T) {
	reads := 0
	store := newWide(2, 1)
	store.read = func() { reads++ }
	reader := apikey.WithCaller(t.Context(), apikey.Caller{Key: &apikey.Key{Type: apikey.Standard, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Read}}})
	representation := func(typeName, id string) map[string]any { return map[string]any{"__typename": typeName, "id": id} }
	list := []any{
		representation("Retriever", "ret_1"), representation("Nothing", "1"), representation("ApiKey", "key_1_05_01"), representation("Retriever", "ret_1"),
		representation("Nothing", "1"), representation("Retriever", "ret_2"), representation("ApiKey", "absent"), representation("ApiKey", "absent"), representation("Retriever", "ret_1"),
	}
	query := fmt.Sprintf(entities, "... on Retriever { id apiKeys { results { id } } auditEvents { total } } ... on ApiKey { name }")
	var got struct {
		Errors []struct {
			Path       []any
			Extensions struct{ Code string }
		}
		Data struct {
			Entities []json.RawMessage `json:"_entities"`
		}
	}
	w := store.request(t, reader, Options{}, mediaJSON, query, map[string]any{"r": list})
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	var places []string
	for _, e := range got.Errors {
		places = append(places, fmt.Sprint(e.Path, " ", e.Extensions.Code))
	}
	if diff := cmp.Diff([]string{
		"[_entities 0 auditEvents] FORBIDDEN", "[_entities 1] BAD_USER_INPUT", "[_entities 3 auditEvents] FORBIDDEN", "[_entities 4] BAD_USER_INPUT",
		"[_entities 5 auditEvents] FORBIDDEN", "[_entities 8 auditEvents] FORBIDDEN",
	}, slices.Sorted(slices.Values(places))); diff != "" {
		t.Errorf("errors (-want +got)\n%s", diff)
	}
	keys := `"apiKeys":{"results":[{"id":"key_1_05_00"},{"id":"key_1_05_01"}]},"auditEvents":null}`
	var shown []string
	for _, e := range got.Data.Entities {
		shown = append(shown, string(e))
	}
	one, two := `{"id":"ret_1",`+keys, `{"id":"ret_2",`+keys
	if diff := cmp.Diff([]string{one, "null", `{"name":"name of key_1_05_01"}`, one, "null", two, "null", "null", one}, shown); diff != "" {
		t.Errorf("entities (-want +got)\n%s", diff)
	}
	if reads != 1 {
		t.Errorf("keys were read %d times", reads)
	}
}

// Lists must be the same whether fast.go or gqlgen writes them.
func TestOtherListsSayWhatGqlgenSays(t *testing.T) {
	store := newWide(3, 2)
	const event = "__typename id timestamp action resourceType resourceId actorId actorType actorKeyId status ipAddress userAgent changes { __typename field before after }"
	const retriever = "__typename id name description createdAt updatedAt namespace { __typename id name description createdAt updatedAt }"
	for _, query := range []string{
		"{ retrievers(first: 3) { __typename total results { " + retriever + " } edges { __typename cursor node { ...R x: name } } pageInfo { hasNextPage endCursor } } } fragment R on Node { id ... on Retriever { name } ... on Namespace { id } }",
		"{ namespace { retrievers(first: 2) { results { " + retriever + " } } } }",
		`{ retriever(id: "ret_1") { auditEvents { __typename total results { ` + event + " } edges { cursor node { ...E } } pageInfo { hasPreviousPage startCursor } } } } fragment E on AuditEvent { " + event + " }",
		"{ retrievers(first: 2) { results { id auditEvents(first: 1) { results { id changes { field } } } apiKeys { results { id allowedOrigins scopes { resourceId } } } } } }",
		`{ apiKey(id: "key_1_05_00") { allowedOrigins scopes { __typename a: resourceId operations resourceType } } viewer { scopes { resourceId } } }`,
	} {
		var said [2]any
		for i := range said {
			w := store.request(t, t.Context(), Options{slow: i == 0}, mediaJSON, query, nil)
			if err := json.Unmarshal(w.Body.Bytes(), &said[i]); err != nil || strings.Contains(w.Body.String(), `"errors"`) {
				t.Fatalf("%s: %v %.500s", query, err, w.Body)
			}
		}
		if diff := cmp.Diff(said[0], said[1]); diff != "" {
			t.Errorf("%s\n(-gqlgen +fast)\n%s", query, diff)
		}
	}
}
