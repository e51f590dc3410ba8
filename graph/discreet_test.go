package graph

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"retrieverkeys/apikey"
)

// schemaNames returns all names of the schema: of types, fields, arguments, enum values and directives.
func schemaNames() map[string]bool {
	names := map[string]bool{}
	for _, d := range served.Directives {
		for _, a := range d.Arguments {
			names[a.Name] = true
		}
		names[d.Name] = true
	}
	for _, d := range served.Types {
		names[d.Name] = true
		for _, v := range d.EnumValues {
			names[v.Name] = true
		}
		for _, f := range d.Fields {
			names[f.Name] = true
			for _, a := range f.Arguments {
				names[a.Name] = true
			}
		}
	}
	for _, english := range []string{"field", "fields", "operations", "type", "types", "name", "include", "input", "key", "if", "first", "args", "reason", "from", "to", "date", "days"} {
		delete(names, english) // these are English words in messages too
	}
	return names
}

// A caller without introspection must not learn the schema from errors. They name only what was sent, and keep its location.
func TestErrorsDoNotTellTheSchema(t *testing.T) {
	names, word := schemaNames(), regexp.MustCompile(`[_A-Za-z][_0-9A-Za-z]*`)
	callers := map[string]apikey.Caller{
		"an anonymous caller": {},
		"a retriever key":     {Key: &apikey.Key{Type: apikey.RetrieverKey, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Read}}},
		"an admin":            {Key: &apikey.Key{Type: apikey.Standard, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Admin}}},
	}
	for _, c := range []struct{ query, variables string }{
		{`{ retreiver { x } }`, ``}, {`{ viewer { keyIdd } }`, ``}, {`{ node(id: 1) { keyId } }`, ``}, {`{ retriever }`, ``}, {`{ retriever(id: 1) }`, ``},
		{`{ retriever { id } }`, ``}, {`{ apiKey { id } }`, ``}, {`{ serverInfo { version { x } } }`, ``}, {`{ serverInfo(x: 1) { version } }`, ``},
		{`{ retriever(ids: 1) { id } }`, ``}, {`{ viewer @skip { keyId } }`, ``}, {`{ viewer @skipp { keyId } }`, ``}, {`{ viewer @skip(iff: true) { keyId } }`, ``},
		{`query @skip(if: true) { viewer { keyId } }`, ``}, {`{ viewer @skip(if: 1) { keyId } }`, ``}, {`{ viewer @skip(if: true) @skip(if: true) { keyId } }`, ``},
		{`{ ...F } fragment F on Retreiver { id }`, ``}, {`{ ...F } fragment F on Retriever { id }`, ``}, {`{ ...F } fragment F on ID { id }`, ``}, {`{ ... on ApiKeyy { id } }`, ``},
		{`{ ... on String { id } }`, ``}, {`{ viewer { ... on ApiKey { id } } }`, ``}, {`{ ...F }`, ``}, {`{ __typename } fragment F on Query { ...F }`, ``},
		{`{ node(id: 1) { ... on Viewer { keyId } } }`, ``}, {`{ a: node(id: 1) { id } a: viewer { keyId } }`, ``}, {`{ node(id: 1) { ... on ApiKey { x: permissions } ... on Retriever { x: name } } }`, ``},
		{`{ retriever(id: 1) { apiKeys(filter: {status: [ACTIV]}) { total } } }`, ``}, {`{ retriever(id: 1) { apiKeys(filter: {status: ["ACTIVE"]}) { total } } }`, ``},
		{`{ retriever(id: 1) { apiKeys(filter: {statu: 1}) { total } } }`, ``}, {`{ retriever(id: 1) { apiKeys(orderBy: {}) { total } } }`, ``},
		{`{ retriever(id: 1) { apiKeys(orderBy: {field: CREATED}) { total } } }`, ``}, {`{ retriever(id: 1) { apiKeys(orderBy: 1) { total } } }`, ``},
		{`{ retriever(id: 1) { apiKeys(filter: [[1]]) { total } } }`, ``}, {`{ retriever(id: 1) { apiKeys(first: "1") { total } } }`, ``}, {`{ retriever(id: 1.5) { id } }`, ``},
		{`{ retriever(id: null) { id } }`, ``}, {`{ retriever(id: 1) { apiKeys(includeRevoked: 1) { total } } }`, ``}, {`{ retriever(id: 1) { apiKeys(filter: {a: 1, a: 2}) { total } } }`, ``},
		{`mutation { createApiKey { key } }`, ``}, {`mutation { createApiKey(input: {}) { key } }`, ``}, {`mutation { createApiKey(input: {retrieverId: 1}) { key } }`, ``},
		{`mutation { createApiKey(input: {retrieverId: 1, name: 2}) { key } }`, ``}, {`mutation { createApiKey(input: "x") { key } }`, ``}, {`mutation { deleteApiKey(input: {}) { key } }`, ``},
		{`mutation { revokeApiKey(input: {id: 1, why: "x"}) { apiKey { id } } }`, ``}, {`subscription { x }`, ``}, {`subscription { a: __typename b: __typename }`, ``},
		{`query($i: ApiKeyInputt) { viewer { keyId } }`, ``}, {`query($i: Viewer) { viewer { keyId } }`, ``}, {`query($i: Int) { retriever(id: $i) { id } }`, `{"i":1}`}, {`query($i: ID) { retriever(id: $i) { id } }`, ``},
		{`query($i: Int = "x") { retriever(id: 1) { apiKeys(first: $i) { total } } }`, ``}, {`query($i: ID) { viewer { keyId } }`, ``}, {`{ retriever(id: $i) { id } }`, ``},
		{`query($i: ID, $i: ID) { retriever(id: $i) { id } }`, ``}, {`query A { __typename } query A { __typename }`, ``}, {`query A { __typename } { __typename }`, ``},
		{`query($o: [ApiKeyOrder]) { retriever(id: 1) { apiKeys(orderBy: $o) { total } } }`, `{}`}, {`query($e: Int) { _entities(representations: $e) { __typename } }`, ``}, {`{ _entities { __typename } }`, ``},
		{`{ _entities(representations: 1) { id } }`, ``}, {`{ _entities(representations: null) { __typename } }`, ``}, {`query($o: ApiKeyOrder = {}) { retriever(id: 1) { apiKeys(orderBy: $o) { total } } }`, ``},
		{`query A { __typename } query B { __typename }`, ``}, {`{ viewer { keyId(x: $y) @z } }`, ``}, {`{`, ``}, {`query($d: DateTime = 1, $x: X = {}) { __typename }`, ``},
		{`mutation($i: CreateApiKeyInput!) { createApiKey(input: $i) { __typename } }`, `{}`}, {`mutation($i: CreateApiKeyInput!) { createApiKey(input: $i) { __typename } }`, `{"i":{}}`},
		{`mutation($i: CreateApiKeyInput!) { createApiKey(input: $i) { __typename } }`, `{"i":null}`}, {`mutation($i: CreateApiKeyInput!) { createApiKey(input: $i) { __typename } }`, `{"i":7}`},
		{`mutation($i: CreateApiKeyInput!) { createApiKey(input: $i) { __typename } }`, `{"i":{"nam":1,"name":2}}`}, {`mutation($i: RevokeApiKeysInput!) { __typename }`, `{"i":{"ids":[1.5]}}`},
		{`query($f: ApiKeyFilter) { retriever(id: 1) { apiKeys(filter: $f) { total } } }`, `{"f":{"status":["X"]}}`}, {`query($f: ApiKeyFilter) { retriever(id: 1) { apiKeys(filter: $f) { total } } }`, `{"f":{"unusedSince":1}}`},
		{`query($o: ApiKeyOrder) { retriever(id: 1) { apiKeys(orderBy: $o) { total } } }`, `{"o":{}}`}, {`query($o: ApiKeyOrder) { retriever(id: 1) { apiKeys(orderBy: $o) { total } } }`, `{"o":{"field":"X"}}`},
		{`query($n: Int) { retriever(id: 1) { apiKeys(first: $n) { total } } }`, `{"n":"1"}`}, {`query($b: Boolean) { retriever(id: 1) { apiKeys(includeRevoked: $b) { total } } }`, `{"b":1}`},
		{`query($e: [_Any!]!) { _entities(representations: $e) { __typename } }`, `{"e":[1]}`}, {`query($e: [_Any!]!) { _entities(representations: $e) { __typename } }`, `{"e":null}`},
	} {
		variables := c.variables
		if variables == "" {
			variables = "null"
		}
		text, err := json.Marshal(c.query)
		if err != nil {
			t.Fatal(err)
		}
		for who, caller := range callers {
			introspection := IntrospectionAuthenticated
			if who == "an admin" {
				introspection = IntrospectionOff
			}
			h := NewHandler(Options{Service: &apikey.Service{Store: expecting("")}, Introspection: introspection, Limits: limits, Logger: slog.New(slog.DiscardHandler)})
			ctx := apikey.WithNamespace(apikey.WithCaller(t.Context(), caller), "ns_1")
			r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/graphql", strings.NewReader(fmt.Sprintf(`{"query":%s,"variables":%s}`, text, variables)))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			var response struct {
				Errors []struct {
					Message    string
					Locations  []any
					Extensions map[string]any
				}
			}
			if err := json.Unmarshal(w.Body.Bytes(), &response); err != nil || len(response.Errors) == 0 {
				t.Errorf("%s %s: got no error: %s", c.query, variables, w.Body)
			}
			sent := word.FindAllString(c.query+" "+variables, -1)
			for _, e := range response.Errors {
				for _, said := range word.FindAllString(e.Message+" "+fmt.Sprint(e.Extensions["field"]), -1) {
					if names[said] && !slices.Contains(sent, said) {
						t.Errorf("%s, %s %s: %q contains %s", who, c.query, variables, e.Message, said)
					}
				}
			}
		}
	}
}

func TestAmbiguousJSONIsRefused(t *testing.T) {
	for variables, where := range map[string]string{
		`{"a":1,"a":1}`: "variables.a", `{"i":{"n":{"x":1,"x":2}}}`: "variables.…x", `{"i":[{"name":1,"name":2}]}`: "variables.i.name",
		`{"a":"\ud800"}`: "surrogate", `{"\udc00":1}`: "surrogate", `{"a":[["\ud83d"]]}`: "surrogate",
	} {
		where = strings.ReplaceAll(where, "…x", "….x")
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			for _, media := range []string{mediaJSON, mediaResponse} {
				status, response, reads := varied(t, method, media, `{ __typename }`, variables)
				if status != http.StatusBadRequest || !strings.Contains(fmt.Sprint(response["errors"]), where) || len(reads) > 0 {
					t.Errorf("%s %s: %d %v", method, variables, status, response)
				}
			}
		}
	}
	for body, where := range map[string]string{
		`{"query":"a","query":"b"}`: "query", `{"extensions":{"a":{"b":1,"b":1}}}`: "extensions.a.b", `{"x":{"b":1,"b":1}}`: "x.b", `{"operationName":"\ud800"}`: "", `{"query":"{ a(b: \"\ud800\") }"}`: "",
	} {
		err := (&request{}).unmarshal([]byte(body))
		if err == nil || err.Field != where {
			t.Errorf("%s: %v", body, err)
		}
	}
}
