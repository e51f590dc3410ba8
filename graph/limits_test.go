package graph

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// limits are those that the server has where nothing else is set.
var limits = Limits{Depth: 12, Aliases: 100, RootFields: 100, Directives: 10, Tokens: 15_000, Entities: 500, Complexity: 2_000_000}

// chain is a document of fragments each of which spreads the next one twice.
func chain(n int, body string) string {
	var b strings.Builder
	b.WriteString("{ viewer { ...F0 } }")
	for i := range n {
		fmt.Fprintf(&b, " fragment F%d on Viewer { %s }", i, strings.ReplaceAll(body, "NEXT", fmt.Sprintf("...F%d", i+1)))
	}
	fmt.Fprintf(&b, " fragment F%d on Viewer { keyId }", n)
	return b.String()
}

func nested(n int) string {
	return "{ namespace { " + strings.Repeat(`retriever(id: "ret_1_05") { namespace { `, n) + "id" + strings.Repeat(" } }", n) + " } }"
}

// A few hundred bytes must not be able to ask for minutes of work. Each of these was made to be dear to validate, to plan or
// to answer; that it is refused before anything is read from the store is what the catalog sees to.
func TestCostIsBounded(t *testing.T) {
	representations := make([]any, 501)
	for i := range representations {
		representations[i] = map[string]any{"__typename": "ApiKey", "id": fmt.Sprint(i)}
	}
	for _, c := range []struct {
		name, query string
		variables   map[string]any
		limit       string
	}{
		{"depth", nested(6), nil, "MAX_DEPTH"},
		{"depth by fragments", `{ namespace { ...A } } fragment A on Namespace { retriever(id: "x") { namespace { retriever(id: "x") { namespace { ...B } } } } }
			fragment B on Namespace { retriever(id: "x") { namespace { retriever(id: "x") { namespace { retriever(id: "x") { namespace { retriever(id: "x") { id } } } } } } } }`, nil, "MAX_DEPTH"},
		{"root fields", "{" + strings.Repeat(" serverInfo { version }", 101) + "}", nil, "MAX_ROOT_FIELDS"},
		{"root fields by fragments", "{" + strings.Repeat(" ...F", 51) + "} fragment F on Query { a: __typename b: __typename }", nil, "MAX_"},
		{"aliases", "{ viewer {" + aliases(101, "keyId") + "} }", nil, "MAX_ALIASES"},
		{"aliases by fragments", "{ viewer {" + strings.Repeat(" ...F", 51) + "} } fragment F on Viewer { a: keyId b: keyId }", nil, "MAX_ALIASES"},
		{"a field many times", "{ viewer {" + strings.Repeat(" keyId", 14_000) + "} }", nil, "MAX_ALIASES"},
		{"a field many times in fragments", "{ viewer {" + strings.Repeat(" ... { keyId }", 3_000) + "} }", nil, "MAX_ALIASES"},
		{"a field many times in a field that is there many times", "{" + strings.Repeat(" viewer {"+strings.Repeat(" keyId", 100)+"}", 100) + "}", nil, "MAX_ALIASES"},
		{"a field many times where nobody looks", "{ __typename } fragment F on Viewer {" + strings.Repeat(" keyId", 5_000) + "}", nil, "MAX_ALIASES"},
		{"a field many times in another operation", "query A { __typename } query B { viewer {" + strings.Repeat(" keyId", 5_000) + "} }", nil, "MAX_ALIASES"},
		{"directives", "{ __typename" + strings.Repeat(" @include(if: true)", 11) + "}", nil, "MAX_DIRECTIVES"},
		{"directives of a spread", "{ ...F" + strings.Repeat(" @include(if: true)", 11) + "} fragment F on Query { __typename }", nil, "MAX_DIRECTIVES"},
		{"tokens", "{" + strings.Repeat(" __typename", 15_000) + "}", nil, "MAX_TOKENS"},
		{"fragments that double", chain(28, "NEXT NEXT"), nil, "MAX_"},
		{"many fragments that double", chain(900, "NEXT NEXT"), nil, "MAX_"},
		{"fragments that double within fields", chain(28, "namespace { retriever(id: 1) { namespace { id } } } NEXT ... { NEXT }"), nil, "MAX_"},
		{"entities", `query($r: [_Any!]!) { _entities(representations: $r) { __typename } }`, map[string]any{"r": representations}, "MAX_ENTITIES"},
		{"entities of several fields", `query($r: [_Any!]!) { a: _entities(representations: []) { __typename } b: _entities(representations: $r) { __typename } }`, map[string]any{"r": representations}, "MAX_ENTITIES"},
		{"pages", `{ retrievers(first: 1000) { results { apiKeys { results { keyId name } } } } }`, nil, "MAX_COMPLEXITY"},
		{"pages by a variable", `query($n: Int) { retrievers(first: $n) { edges { node { apiKeys { results { keyId name } } } } } }`, map[string]any{"n": 1000}, "MAX_COMPLEXITY"},
		{"pages by a default", `query($n: Int = 1000) { retrievers(last: $n) { results { apiKeys { results { keyId name } } } } }`, nil, "MAX_COMPLEXITY"},
		{"pages in pages", `{ namespace { retrievers(first: 300) { results { namespace { retrievers(first: 300) { results { namespace { retrievers(first: 300) { total } } } } } } } } }`, nil, "MAX_COMPLEXITY"},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := expecting("")
			text, err := json.Marshal(asked(t, store, c.query, c.variables))
			if err != nil {
				t.Fatal(err)
			}
			if answer := string(text); !strings.Contains(answer, c.limit) || !strings.Contains(answer, `"code":`) || strings.Contains(answer, `"data"`) {
				t.Errorf("%.300s", answer)
			}
			if len(store.unexpected) > 0 {
				t.Errorf("it was read: %v", store.unexpected)
			}
		})
	}
}

// What dashboards, gateways and the playground ask is far from all limits.
func TestOrdinaryCostIsAllowed(t *testing.T) {
	all := strings.Join([]string{"id", "keyId", "keyHash", "keyPrefix", "keyType", "name", "description", "internalId", "organizationId", "userId",
		"subscriptionId", "principalId", "permissions", "scopes { resourceType resourceId operations }", "rateLimitOverride", "status",
		"expiresAt", "lastUsedAt", "createdAt", "createdBy", "revokedAt", "revokedBy", "allowedOrigins"}, " ")
	for name, query := range map[string]string{
		"fifty retrievers by alias":  "{" + aliases(50, `retriever(id: "ret_1_%02d") { ...R }`) + "} fragment R on Retriever { apiKeys(first: 100) { results { " + all + " } total } }",
		"a hundred root fields":      "{" + aliases(100, "__typename") + "}",
		"a page of pages":            "{ retrievers { results { apiKeys { results { " + all + " } } } } }",
		"connections to the end":     "{ namespace { retrievers(first: 1) { edges { node { apiKeys(first: 1) { edges { node { scopes { operations } } } } } } } } }",
		"a deep look at the schema":  "{ __schema { types { fields { type { ofType { ofType { ofType { ofType { ofType { ofType { ofType { name } } } } } } } } } } } }",
		"fragments of many places":   "{ viewer { " + strings.Repeat(" ...A ...B", 100) + " } } fragment A on Viewer { keyId userId } fragment B on Viewer { keyId permissions }",
		"as deep as is allowed":      nested(5),
		"directives, and their most": "{ __typename" + strings.Repeat(" @include(if: true)", 1) + "}",
	} {
		doc, errs := newParser(limits, true).parse(t.Context(), query)
		if errs != nil {
			t.Errorf("%s: %v", name, errs)
			continue
		}
		m := measure{limits: limits}
		if cost := m.selections(doc.Operations[0].SelectionSet); cost > limits.Complexity {
			t.Errorf("%s: complexity %d", name, cost)
		}
	}
}
