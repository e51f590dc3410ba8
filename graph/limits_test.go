package graph

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"retrieverkeys/apikey"
	"retrieverkeys/graph/operation"
)

// limits are the server's defaults.
var limits = Limits{Depth: 12, Aliases: 100, RootFields: 100, Directives: 10, Tokens: 15_000, Entities: 500, Complexity: 2_000_000}

// chain returns a document of fragments. Each spreads the next one twice.
func chain(n int, body string) string {
	var b strings.Builder
	b.WriteString("{ viewer { ...F0 } }")
	for i := range n {
		fmt.Fprintf(&b, " fragment F%d on Viewer { %s }", i, strings.ReplaceAll(body, "NEXT", fmt.Sprintf("...F%d", i+1)))
	}
	fmt.Fprintf(&b, " fragment F%d on Viewer { keyId }", n)
	return b.String()
}

// many returns a document of many fragments that are spread at one place.
func many(n int) string {
	var b strings.Builder
	b.WriteString("{ viewer {")
	for i := range n {
		fmt.Fprintf(&b, " ...F%d", i)
	}
	b.WriteString(" } }")
	for i := range n {
		fmt.Fprintf(&b, " fragment F%d on Viewer { keyId }", i)
	}
	return b.String()
}

// mutual returns a document of fragments. Each spreads all others as often as the tokens allow.
func mutual(n int) string {
	var b strings.Builder
	b.WriteString("{ viewer { ...F0 } }")
	for i := range n {
		fmt.Fprintf(&b, " fragment F%d on Viewer {", i)
		for k := range 100 {
			fmt.Fprintf(&b, " ...F%d", (i+1+k)%n)
		}
		b.WriteString(" }")
	}
	return b.String()
}

func nested(n int) string {
	return "{ namespace { " + strings.Repeat(`retriever(id: "ret_1_05") { namespace { `, n) + "id" + strings.Repeat(" } }", n) + " } }"
}

// A few hundred bytes must not cause minutes of work. Each of these operations is expensive to validate, to plan or to answer, and must be
// refused before anything is read from the store.
func TestCostIsBounded(t *testing.T) {
	representations := make([]any, 501)
	for i := range representations {
		representations[i] = map[string]any{"__typename": "ApiKey", "id": fmt.Sprint(i)}
	}
	namespace := map[string]any{"__typename": "Namespace", "id": "ns_1"}
	const all = "retrievers(first: 1000) { results { apiKeys(first: 1000) { results { keyId name } } } }"
	for _, c := range []struct {
		name, query string
		variables   map[string]any
		limit       string
	}{
		{"depth", nested(6), nil, "(MAX_DEPTH)"},
		{"depth by fragments", `{ namespace { ...A } } fragment A on Namespace { retriever(id: "x") { namespace { retriever(id: "x") { namespace { ...B } } } } }
			fragment B on Namespace { retriever(id: "x") { namespace { retriever(id: "x") { namespace { retriever(id: "x") { namespace { retriever(id: "x") { id } } } } } } } }`, nil, "(MAX_DEPTH)"},
		{"root fields", "{" + strings.Repeat(" serverInfo { version }", 101) + "}", nil, "(MAX_ROOT_FIELDS)"},
		{"root fields by fragments", "{" + strings.Repeat(" ...F", 51) + "} fragment F on Query { __typename serverInfo { version } }", nil, "(MAX_ROOT_FIELDS)"},
		{"root fields of another operation", "query A { __typename } query B {" + strings.Repeat(" serverInfo { version }", 101) + "}", nil, "(MAX_ROOT_FIELDS)"},
		{"aliases", "{ viewer {" + aliases(101, "keyId") + "} }", nil, "(MAX_ALIASES)"},
		{"aliases by fragments", "{ viewer {" + strings.Repeat(" ...F", 51) + "} } fragment F on Viewer { a: keyId b: keyId }", nil, "(MAX_ALIASES)"},
		{"directives of a field", "{ __typename" + strings.Repeat(" @include(if: true)", 11) + "}", nil, "(MAX_DIRECTIVES)"},
		{"directives of a spread", "{ ...F" + strings.Repeat(" @include(if: true)", 11) + "} fragment F on Query { __typename }", nil, "(MAX_DIRECTIVES)"},
		{"directives of an inline fragment", "{ ..." + strings.Repeat(" @include(if: true)", 11) + "{ __typename } }", nil, "(MAX_DIRECTIVES)"},
		{"directives of a fragment", "{ ...F } fragment F on Query" + strings.Repeat(" @include(if: true)", 11) + "{ __typename }", nil, "(MAX_DIRECTIVES)"},
		{"directives of an operation", "query" + strings.Repeat(" @include(if: true)", 11) + "{ __typename }", nil, "(MAX_DIRECTIVES)"},
		{"tokens", "{" + strings.Repeat(" __typename", 15_000) + "}", nil, "(MAX_TOKENS)"},

		{"a field many times", "{ viewer {" + strings.Repeat(" keyId", 14_000) + "} }", nil, "times MAX_ALIASES"},
		{"a field many times in inline fragments", "{ viewer {" + strings.Repeat(" ... { keyId }", 3_000) + "} }", nil, "times MAX_ALIASES"},
		{"a field many times in many inline fragments", "{ viewer {" + strings.Repeat("...{", 200) + strings.Repeat(" keyId", 100) + strings.Repeat("}", 200) + "} }", nil, "times MAX_ALIASES"},
		{"a field many times in a field many times", "{" + strings.Repeat(" viewer {"+strings.Repeat(" keyId", 100)+"}", 100) + "}", nil, "times MAX_ALIASES"},
		{"a field many times in an unused fragment", "{ __typename } fragment F on Viewer {" + strings.Repeat(" keyId", 5_000) + "}", nil, "times MAX_ALIASES"},
		{"a field many times in another operation", "query A { __typename } query B { viewer {" + strings.Repeat(" keyId", 5_000) + "} }", nil, "times MAX_ALIASES"},
		{"a field some times in many operations", strings.Repeat("query { viewer {"+strings.Repeat(" keyId", 200)+"} }", 20), nil, "times MAX_ALIASES"},
		{"many fragments at one place", many(500), nil, "times MAX_ALIASES"},

		{"fragments that double", chain(28, "NEXT NEXT"), nil, "times MAX_"},
		{"many fragments that double", chain(900, "NEXT NEXT"), nil, "times MAX_"},
		{"fragments that spread each other", mutual(60), nil, "times MAX_"},
		{"a long list in a fragment of many operations", strings.Repeat("query { ...F } ", 500) + "fragment F on Query { retriever(id: 1) { apiKeys(filter: {status: [" + strings.Repeat("ACTIVE ", 6_000) + "]}) { total } } }", nil, "times MAX_TOKENS"},
		{"a long list at the end of a chain", strings.Replace(chain(50, "NEXT"), "{ keyId }", "{ namespace { retriever(id: 1) { apiKeys(filter: {status: ["+strings.Repeat("ACTIVE ", 6_000)+"]}) { total } } } }", 1), nil, "times MAX_TOKENS"},

		{"entities", `query($r: [_Any!]!) { _entities(representations: $r) { __typename } }`, map[string]any{"r": representations}, "(MAX_ENTITIES)"},
		{"entities of several fields", `query($r: [_Any!]!) { a: _entities(representations: []) { __typename } b: _entities(representations: $r) { __typename } }`, map[string]any{"r": representations}, "(MAX_ENTITIES)"},
		{"pages", "{ " + all + " }", nil, "(MAX_COMPLEXITY)"},
		{"pages in inline fragments", "{ ... { ... on Query { " + all + " } } }", nil, "(MAX_COMPLEXITY)"},
		{"pages in fragments", "{ ...F } fragment F on Query { " + all + " }", nil, "(MAX_COMPLEXITY)"},
		{"pages by a variable", `query($n: Int) { retrievers(first: $n) { edges { node { apiKeys { results { keyId name } } } } } }`, map[string]any{"n": 1000}, "(MAX_COMPLEXITY)"},
		{"pages by a default", `query($n: Int = 1000) { retrievers(last: $n) { results { apiKeys { results { keyId name } } } } }`, nil, "(MAX_COMPLEXITY)"},
		{"pages in pages", `{ namespace { retrievers(first: 300) { results { namespace { retrievers(first: 300) { results { namespace { retrievers(first: 300) { total } } } } } } } } }`, nil, "(MAX_COMPLEXITY)"},
		{"pages that overflow", `{ namespace { retrievers(first: 1000) { results { namespace { retrievers(first: 1000) { results { namespace { retrievers(first: 1000) { results { namespace { retrievers(first: 1000) { total } } } } } } } } } } } }`, nil, "(MAX_COMPLEXITY)"},
		{"pages of entities", `query($r: [_Any!]!) { _entities(representations: $r) { ... on Namespace { retrievers(first: 1000) { results { apiKeys(first: 10) { total } } } } } }`, map[string]any{"r": slices.Repeat([]any{namespace}, 500)}, "(MAX_COMPLEXITY)"},
		{"pages of an entity in no list", `{ _entities(representations: {__typename: "Namespace", id: "ns_1"}) { ... on Namespace { ` + all + ` } } }`, nil, "(MAX_COMPLEXITY)"},
		{"pages of a variable entity in no list", `query($r: [_Any!]!) { _entities(representations: $r) { ... on Namespace { ` + all + ` } } }`, map[string]any{"r": namespace}, "(MAX_COMPLEXITY)"},
		{"the schema many times", "{" + aliases(90, "__schema { types { ...T } }") + "} fragment T on __Type { name description fields { name description args { name type { name } } type { name } } enumValues { name } }", nil, "(MAX_COMPLEXITY)"},
		{"a long variable many times", "query($f: ApiKeyFilter) { retriever(id: 1) {" + aliases(99, "apiKeys(first: 1, filter: $f) { total }") + "} }", map[string]any{"f": map[string]any{"status": slices.Repeat([]any{"ACTIVE"}, 50_000)}}, "(MAX_COMPLEXITY)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := expecting("")
			text, err := json.Marshal(asked(t, store, c.query, c.variables))
			if err != nil {
				t.Fatal(err)
			}
			if answer := string(text); !strings.Contains(answer, c.limit) || len(answer) > 1000 || !strings.Contains(answer, `"code":`) || strings.Contains(answer, `"data"`) {
				t.Errorf("%.300s", answer)
			}
			if len(store.unexpected) > 0 {
				t.Errorf("got the reads %v", store.unexpected)
			}
		})
	}
}

// Ordinary operations of dashboards, gateways and the playground must be far below all limits.
func TestOrdinaryCostIsAllowed(t *testing.T) {
	all := strings.Join([]string{"id", "keyId", "keyHash", "keyPrefix", "keyType", "name", "description", "internalId", "organizationId", "userId",
		"subscriptionId", "principalId", "isInternal", "permissions", "scopes { resourceType resourceId operations }", "rateLimitOverride", "status",
		"expiresAt", "lastUsedAt", "createdAt", "createdBy", "revokedAt", "revokedBy", "allowedOrigins"}, " ")
	for name, query := range map[string]string{
		"fifty retrievers by alias":   "{" + aliases(50, `retriever(id: "ret_1_%02d") { ...R }`) + "} fragment R on Retriever { apiKeys(first: 100) { results { " + all + " } total } }",
		"a hundred root fields":       "{" + aliases(100, "__typename") + "}",
		"a page of pages":             "{ retrievers { results { apiKeys { results { " + all + " } } } } }",
		"nested connections":          "{ namespace { retrievers(first: 1) { edges { node { apiKeys(first: 1) { edges { node { scopes { operations } } } } } } } } }",
		"deep introspection":          "{ __schema { types { fields { type { ofType { ofType { ofType { ofType { ofType { ofType { ofType { name } } } } } } } } } } } }",
		"fragments spread many times": "{ viewer { " + strings.Repeat(" ...A ...B", 100) + " } } fragment A on Viewer { keyId userId } fragment B on Viewer { keyId permissions }",
		"the deepest allowed":         nested(5),
		"GraphiQL's introspection":    introspectionQuery,
	} {
		p := operation.NewParser(operationConfig(limits, true), nil)
		doc, errs := p.Parse(t.Context(), query)
		if errs != nil {
			t.Errorf("%s: %v", name, errs)
			continue
		}
		if err := p.Measure(doc.Operations[0], nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// introspectionQuery is the query of graphical clients.
const introspectionQuery = `query IntrospectionQuery { __schema { description queryType { name } mutationType { name } subscriptionType { name }
	types { ...FullType } directives { name description isRepeatable locations args(includeDeprecated: true) { ...InputValue } } } }
	fragment FullType on __Type { kind name description specifiedByURL fields(includeDeprecated: true) { name description
		args(includeDeprecated: true) { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason }
		inputFields(includeDeprecated: true) { ...InputValue } interfaces { ...TypeRef }
		enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason } possibleTypes { ...TypeRef } }
	fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue isDeprecated deprecationReason }
	fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name
		ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }`

// A document with a thousand mistakes must not get a thousand errors, or a response of a megabyte.
func TestErrorsAreFew(t *testing.T) {
	for name, query := range map[string]string{
		"unknown arguments": "{ viewer { keyId" + strings.Repeat("(a: 0) keyId", 400) + " } }",
		"unknown fields":    "{ " + aliases(99, strings.Repeat("x", 5_000)) + " }",
		"a long name":       "query " + strings.Repeat("q", 200_000) + "(" + strings.Repeat("$v: Int ", 100) + ") { __typename }",
	} {
		text, err := json.Marshal(asked(t, expecting(""), query, nil))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), `"message"`); n == 0 || n > operation.MostErrors || len(text) > operation.MostErrors*(longestMessage+500) {
			t.Errorf("%s: got %d errors in %d bytes", name, n, len(text))
		}
	}
}

// gqlgen compares each error with all others, so a query with thousands of failed fields took seconds. Fields after the first thousand
// are skipped, and the response has the first errors.
func TestFieldErrorsAreFew(t *testing.T) {
	var representations []any
	for range 300 {
		representations = append(representations, map[string]any{"__typename": "Nothing", "id": "1"}, map[string]any{"__typename": "Retriever", "id": "ret_1_01"})
	}
	for name, tt := range map[string]struct {
		query string
		n     int
		whole bool
	}{
		"a few":     {"query($r: [_Any!]!) { _entities(representations: $r) { ...R } } fragment R on Retriever { id " + aliases(2, `apiKeys(first: 1, after: "%02d") { total }`) + "}", 400, true},
		"thousands": {"query($r: [_Any!]!) { _entities(representations: $r) { ...R } } fragment R on Retriever { id " + aliases(90, `apiKeys(first: 1, after: "%02d") { total }`) + "}", 400, false},
	} {
		response := asked(t, expecting("Namespaces Retrievers"), tt.query, map[string]any{"r": representations[:tt.n]})
		errors, _ := response["errors"].([]any)
		data, given := response["data"]
		if whole := len(errors) == 200+200*2; tt.whole != whole || !tt.whole && (len(errors) != operation.MostErrors || data != nil) || !given {
			t.Errorf("%s: got %d errors, data %.50v", name, len(errors), data)
		}
	}
}

// A request must not read everything. The error of one that would names the setting, and is counted once.
func TestReadsAreBounded(t *testing.T) {
	query := "{ " + aliases(100, `retriever(id: "ret_1_50") { apiKeys(first: 1%02d) { total results { id } } }`) + " }"
	limits := limits
	for _, tt := range []struct {
		reads   int
		media   string
		refused bool
		status  int
	}{{1000, mediaJSON, true, 200}, {1000, mediaResponse, true, 400}, {1_000_000, mediaResponse, false, 200}} {
		limits.Reads = tt.reads
		var counted []string
		h := NewHandler(Options{
			Service: &apikey.Service{Store: charged{expecting("")}}, Introspection: IntrospectionPublic, Limits: limits, Logger: slog.New(slog.DiscardHandler),
			Metrics: Metrics{
				Operation:    func(_, _, outcome string, _ time.Duration) { counted = append(counted, outcome) },
				LimitRefusal: func(limit string) { counted = append(counted, limit) },
			},
		})
		body, _ := json.Marshal(map[string]any{"query": query})
		admin := apikey.Caller{Key: &apikey.Key{Type: apikey.Standard, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Admin}}}
		r := httptest.NewRequestWithContext(apikey.WithNamespace(apikey.WithCaller(t.Context(), admin), "ns_1"), http.MethodPost, "/graphql", strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", tt.media)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		got, want := w.Body.String(), `{"errors":[{"message":"The request looks at too many documents: at most 1000 are allowed (MAX_READS). `
		if strings.HasPrefix(got, want) != tt.refused || strings.Contains(got, `"errors"`) != tt.refused || strings.Contains(got, `"data"`) == tt.refused ||
			strings.Count(got, `"message"`) > 1 || w.Code != tt.status {
			t.Errorf("%+v: %d %.200s", tt, w.Code, got)
		}
		if refusals := slices.Equal(counted, []string{"BAD_USER_INPUT", "MAX_READS"}); refusals != tt.refused {
			t.Errorf("%+v: got the metrics %q", tt, counted)
		}
	}
}

// charged is a catalog that charges the keys that it returns.
type charged struct{ *catalog }

func (c charged) KeyPages(ctx context.Context, tenant apikey.InternalID, ids []apikey.RetrieverID, r apikey.KeyList) ([][]apikey.Key, error) {
	pages, _ := c.catalog.KeyPages(ctx, tenant, ids, r)
	return pages, apikey.CostFrom(ctx).Look(len(slices.Concat(pages...)))
}

// Operations of one document share its fragments, but not the defaults of their variables. Otherwise one operation is measured and answered
// with the values of another.
func TestDefaultsAreOfTheirOperation(t *testing.T) {
	const pages = `query A($n: Int, $ns: ID) { ...Q } query B($n: Int = 1, $ns: ID = "ns_2") { ...Q }
		fragment Q on Query { namespace(id: $ns) { id retrievers(first: 1000) { results { apiKeys(first: $n) { results { keyId name } } } } } }`
	if text := fmt.Sprint(askedFor(t, expecting(""), "A", pages, nil)); !strings.Contains(text, "(MAX_COMPLEXITY)") {
		t.Errorf("%.300s", text)
	}
	const named = `query A($ns: ID) { ...Q } query B($ns: ID = "ns_2") { ...Q } fragment Q on Query { namespace(id: $ns) { id } }`
	for operation, want := range map[string]string{"A": "ns_1", "B": "ns_2"} {
		want = "map[data:map[namespace:map[id:" + want + "]]]"
		if text := fmt.Sprint(askedFor(t, &catalog{}, operation, named, nil)); text != want {
			t.Errorf("%s: %.300s", operation, text)
		}
	}
}

// A variable with a default is allowed where null is not, but can still be null. That is the client's error, not the server's.
func TestConditionsAreNoNull(t *testing.T) {
	for _, query := range []string{
		"query($x: Boolean = true) { serverInfo @skip(if: $x) { version } }",
		"query($x: Boolean = true) { ... @include(if: $x) { __typename } }",
		"query($x: Boolean = true) { ...F @include(if: $x) } fragment F on Query { __typename }",
		"query($x: Boolean = true) { ...F } fragment F on Query { viewer { keyId @skip(if: $x) } }",
	} {
		text := fmt.Sprint(asked(t, expecting(""), query, map[string]any{"x": nil}))
		if !strings.Contains(text, "$x is null") || !strings.Contains(text, "code:BAD_USER_INPUT") || strings.Contains(text, "data:") {
			t.Errorf("%s: %.300s", query, text)
		}
		if text := fmt.Sprint(asked(t, expecting(""), query, nil)); strings.Contains(text, "$x is null") {
			t.Errorf("%s with its default: %.300s", query, text)
		}
	}
}

// An argument is kept for each field that uses it. If its length did not count, a megabyte under a hundred aliases would take a hundred
// megabytes, even for callers without a key.
func TestLongArgumentsAreCounted(t *testing.T) {
	long := strings.Repeat("A", 900_000)
	statuses := slices.Repeat([]any{"ACTIVE"}, 80_000)
	for name, tt := range map[string]struct {
		query     string
		variables map[string]any
		refused   bool
	}{
		"a cursor":           {`query($c: String) { ` + aliases(99, `retriever(id: "ret_1_%02d") { apiKeys(first: 1, after: $c) { total } }`) + `}`, map[string]any{"c": long}, true},
		"a creator":          {`query($c: String) { retriever(id: "ret_1_01") { ` + aliases(99, `apiKeys(first: 1, filter: {createdBy: $c}) { total }`) + `} }`, map[string]any{"c": long}, true},
		"a list":             {`query($s: [ApiKeyStatus!]) { retriever(id: "ret_1_01") { ` + aliases(30, `apiKeys(first: 1, filter: {status: $s}) { total }`) + `} }`, map[string]any{"s": statuses}, true},
		"an ordinary search": {`query($c: String) { ` + aliases(99, `retriever(id: "ret_1_%02d") { apiKeys(first: 1, filter: {search: $c}) { total } }`) + `}`, map[string]any{"c": long[:200]}, false},
	} {
		response := asked(t, expecting(""), tt.query, tt.variables)
		text, _ := json.Marshal(response)
		if refused := strings.Contains(string(text), "MAX_COMPLEXITY"); refused != tt.refused {
			t.Errorf("%s: %.200s", name, text)
		}
	}
}
