package graph

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"

	"retrieverkeys/apikey"
	"retrieverkeys/graph/operation"
	"retrieverkeys/graph/scalar"
)

// varied sends a query with variables, which are JSON, by GET or POST. It returns the status, the response and the store's reads.
func varied(t *testing.T, method, media, query, variables string) (status int, response map[string]any, reads []string) {
	t.Helper()
	store := expecting("")
	h := NewHandler(Options{Service: &apikey.Service{Store: store}, Introspection: IntrospectionPublic, Limits: limits, Logger: slog.New(slog.DiscardHandler), slow: true})
	admin := apikey.Caller{Key: &apikey.Key{Type: apikey.Standard, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Admin}}}
	ctx := apikey.WithNamespace(apikey.WithCaller(t.Context(), admin), "ns_1")
	r := httptest.NewRequestWithContext(ctx, method, "/graphql?"+url.Values{"query": {query}, "variables": {variables}}.Encode(), nil)
	if method == http.MethodPost {
		text, err := json.Marshal(query)
		if err != nil {
			t.Fatal(err)
		}
		r = httptest.NewRequestWithContext(ctx, method, "/graphql", strings.NewReader(fmt.Sprintf(`{"query":%s,"variables":%s}`, text, variables)))
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Accept", media)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if err := json.Unmarshal(w.Body.Bytes(), &response); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return w.Code, response, store.unexpected
}

// The operations that TestBadVariables sends bad values to. The first field of the mutation changes something before the bad value is used.
const (
	pagesKeys = `query($n: Int, $s: [ApiKeyStatus!], $d: DateTime, $b: Boolean, $t: String, $r: ID = "ret_1_05", $f: ApiKeyFilter, $o: ApiKeyOrder) {
		viewer { keyId }
		a: retriever(id: $r) { apiKeys(first: $n, includeRevoked: $b, filter: {status: $s, unusedSince: $d, search: $t}, orderBy: $o) { total } }
		b: retriever(id: $r) { apiKeys(first: $n, includeRevoked: $b, filter: $f) { total } }
	}`
	makesKeys = `mutation($n: Int, $d: DateTime, $t: String!, $origins: [String!], $input: CreateApiKeyInput!) {
		revokeApiKey(input: {id: "key_1_05_01"}) { apiKey { id } }
		a: createApiKey(input: {retrieverId: "ret_1_05", name: $t, expiresAt: $d, rateLimitOverride: $n, allowedOrigins: $origins}) { key }
		b: createApiKey(input: $input) { key }
	}`
	readsEntities = `query($e: [_Any!]!) { _entities(representations: $e) { __typename } }`
)

// A request with a bad variable must run nothing: no mutation before it, and no part of a query. The error names the place but not the
// value. Without this, enum values in another case are accepted and mean something else: "asc" sorts in descending order, and ["revoked"]
// lists nothing.
func TestBadVariables(t *testing.T) {
	for _, c := range []struct{ query, variables, message string }{
		{pagesKeys, `{"n":"60"}`, "$n must be an Int: a whole number of 32 bits."},
		{pagesKeys, `{"n":2.5}`, "$n must be an Int: a whole number of 32 bits."},
		{pagesKeys, `{"n":2147483648}`, "$n must be an Int: a whole number of 32 bits."},
		{pagesKeys, `{"n":-2147483649}`, "$n must be an Int: a whole number of 32 bits."},
		{pagesKeys, `{"n":3e9}`, "$n must be an Int: a whole number of 32 bits."},
		{pagesKeys, `{"n":1e999999999}`, "$n must be an Int: a whole number of 32 bits."},
		{pagesKeys, `{"n":1e-999999999}`, "$n must be an Int: a whole number of 32 bits."},
		{pagesKeys, `{"n":1e99999999999999999999}`, "$n must be an Int: a whole number of 32 bits."},
		{pagesKeys, `{"n":3.00000000000000000000000001}`, "$n must be an Int: a whole number of 32 bits."},
		{pagesKeys, `{"n":true}`, "$n must be an Int: a whole number of 32 bits."},
		{pagesKeys, `{"n":[1]}`, "$n must be an Int: a whole number of 32 bits."},
		{pagesKeys, `{"n":{}}`, "$n must be an Int: a whole number of 32 bits."},
		{pagesKeys, `{"o":{"field":"NAME","direction":"asc"}}`, "$o.direction is not a valid SortDirection: send one of its names exactly."},
		{pagesKeys, `{"o":{"field":"Name","direction":"ASC"}}`, "$o.field is not a valid ApiKeyOrderField: send one of its names exactly."},
		{pagesKeys, `{"o":{"field":"NAME","direction":1}}`, "$o.direction is not a valid SortDirection: send one of its names exactly."},
		{pagesKeys, `{"o":{"field":"NAME","direction":"ASC "}}`, "$o.direction is not a valid SortDirection: send one of its names exactly."},
		{pagesKeys, `{"o":{"field":"NAME"}}`, "$o.direction must be defined."},
		{pagesKeys, `{"o":{"field":null,"direction":"ASC"}}`, "$o.field cannot be null."},
		{pagesKeys, `{"o":{"field":"NAME","direction":"ASC","more":1}}`, "$o.more is not a field of ApiKeyOrder."},
		{pagesKeys, `{"o":{"field":"NAME","direction":"ASC","__typename":"ApiKeyOrder"}}`, "$o.__typename is not a field of ApiKeyOrder."},
		{pagesKeys, `{"o":["NAME"]}`, "$o must be an object of the type ApiKeyOrder."},
		{pagesKeys, `{"o":"NAME"}`, "$o must be an object of the type ApiKeyOrder."},
		{pagesKeys, `{"s":["revoked"]}`, "$s[0] is not a valid ApiKeyStatus: send one of its names exactly."},
		{pagesKeys, `{"s":["ACTIVE","Expired"]}`, "$s[1] is not a valid ApiKeyStatus: send one of its names exactly."},
		{pagesKeys, `{"s":"active"}`, "$s is not a valid ApiKeyStatus: send one of its names exactly."},
		{pagesKeys, `{"s":["REVO\u212aED"]}`, "$s[0] is not a valid ApiKeyStatus: send one of its names exactly."}, // the Kelvin sign
		{pagesKeys, `{"s":["ACTIVE",null]}`, "$s[1] cannot be null."},
		{pagesKeys, `{"f":{"keyType":["STANDARD","retriever"]}}`, "$f.keyType[1] is not a valid ApiKeyType: send one of its names exactly."},
		{pagesKeys, `{"f":{"status":{}}}`, "$f.status is not a valid ApiKeyStatus: send one of its names exactly."},
		{pagesKeys, `{"f":{"unusedSince":"2026-02-30T00:00:00Z"}}`, "$f.unusedSince must be an RFC 3339 date and time, such as 2026-03-01T09:30:00Z."},
		{pagesKeys, `{"f":{"search":5}}`, "$f.search must be a String."},
		{pagesKeys, `{"d":"yesterday"}`, "$d must be an RFC 3339 date and time, such as 2026-03-01T09:30:00Z."},
		{pagesKeys, `{"d":1700000000}`, "$d must be an RFC 3339 date and time, such as 2026-03-01T09:30:00Z."},
		{pagesKeys, `{"d":["2026-03-01T09:30:00Z"]}`, "$d must be an RFC 3339 date and time, such as 2026-03-01T09:30:00Z."},
		{pagesKeys, `{"b":"true"}`, "$b must be a Boolean: true or false."},
		{pagesKeys, `{"b":1}`, "$b must be a Boolean: true or false."},
		{pagesKeys, `{"t":5}`, "$t must be a String."},
		{pagesKeys, `{"t":true}`, "$t must be a String."},
		{pagesKeys, `{"t":["a"]}`, "$t must be a String."},
		{pagesKeys, `{"r":2.5}`, "$r must be an ID: a text or a whole number."},
		{pagesKeys, `{"r":true}`, "$r must be an ID: a text or a whole number."},
		{pagesKeys, `{"r":{"$ne":null}}`, "$r must be an ID: a text or a whole number."},
		{makesKeys, `{"t":"a","input":{"retrieverId":"ret_1_05","name":"b"},"n":"60"}`, "$n must be an Int: a whole number of 32 bits."},
		{makesKeys, `{"t":"a","input":{"retrieverId":"ret_1_05","name":"b"},"d":"tomorrow"}`, "$d must be an RFC 3339 date and time, such as 2026-03-01T09:30:00Z."},
		{makesKeys, `{"t":5,"input":{"retrieverId":"ret_1_05","name":"b"}}`, "$t must be a String."},
		{makesKeys, `{"t":"a","input":{"retrieverId":"ret_1_05","name":"b"},"origins":["https://a.example",5]}`, "$origins[1] must be a String."},
		{makesKeys, `{"t":"a","input":{"retrieverId":"ret_1_05","name":"b","expiresAt":"2026-13-01T00:00:00Z"}}`, "$input.expiresAt must be an RFC 3339 date and time, such as 2026-03-01T09:30:00Z."},
		{makesKeys, `{"t":"a","input":{"retrieverId":"ret_1_05","name":"b","rateLimitOverride":1.5}}`, "$input.rateLimitOverride must be an Int: a whole number of 32 bits."},
		{makesKeys, `{"t":"a","input":{"retrieverId":"ret_1_05","name":7}}`, "$input.name must be a String."},
		{makesKeys, `{"t":"a","input":{"name":"b"}}`, "$input.retrieverId must be defined."},
		{makesKeys, `{"t":"a","input":{"retrieverId":"ret_1_05","name":null}}`, "$input.name cannot be null."},
		{makesKeys, `{"t":"a","input":{"retrieverId":"ret_1_05","name":"b","expires_at":null}}`, "$input.expires_at is not a field of CreateApiKeyInput."},
		{makesKeys, `{"t":"a","input":{"retrieverId":"ret_1_05","name":"b","` + strings.Repeat("x", 4000) + `":1}}`, "$input.… is not a field of CreateApiKeyInput."},
		{makesKeys, `{"t":"a","input":{"retrieverId":"ret_1_05","name":"b","\u202e":1}}`, "$input.… is not a field of CreateApiKeyInput."},
		{makesKeys, `{"t":"a"}`, "$input must be defined."},
		{makesKeys, `{"t":null,"input":{"retrieverId":"ret_1_05","name":"b"}}`, "$t cannot be null."},
		{readsEntities, `{"e":["key_1"]}`, "$e[0] must be an object with __typename and id."},
		{readsEntities, `{"e":[null]}`, "$e[0] cannot be null."},
		{readsEntities, `{}`, "$e must be defined."},
		{`query($n: Int! = 1) { retrievers(first: $n) { total } }`, `{"n":null}`, "$n cannot be null."},
		{`query($n: Int = 3000000000) { retrievers(first: $n) { total } }`, `{}`, "$n must be an Int: a whole number of 32 bits."},
		{`query($d: DateTime = "never") { retriever(id: "ret_1_05") { apiKeys(filter: {unusedSince: $d}) { total } } }`, `{}`, "$d must be an RFC 3339 date and time, such as 2026-03-01T09:30:00Z."},
		{`query($f: ApiKeyFilter = {unusedSince: "never"}) { retriever(id: "ret_1_05") { apiKeys(filter: $f) { total } } }`, `{}`, "$f.unusedSince must be an RFC 3339 date and time, such as 2026-03-01T09:30:00Z."},
		{`query($e: [_Any!]! = [{id: 99999999999999999999}]) { _entities(representations: $e) { __typename } }`, `{}`, "$e has a number in its default that is too large."},
	} {
		methods := []string{http.MethodPost, http.MethodGet}
		if strings.HasPrefix(c.query, "mutation") {
			methods = methods[:1]
		}
		for _, method := range methods {
			for media, want := range map[string]int{mediaResponse: http.StatusBadRequest, mediaJSON: http.StatusOK} {
				status, response, reads := varied(t, method, media, c.query, c.variables)
				place, _, _ := strings.Cut(strings.TrimPrefix(c.message, "$"), " ")
				expected := map[string]any{"errors": []any{map[string]any{
					"message": c.message, "extensions": map[string]any{"code": "GRAPHQL_VALIDATION_FAILED", "field": place},
				}}}
				if status != want || !reflect.DeepEqual(response, expected) {
					t.Errorf("%s with %.80s: got %d %v, want %d %v", method, c.variables, status, response, want, expected)
				}
				if len(reads) > 0 {
					t.Errorf("%.80s: got the reads %s, want none", c.variables, reads)
				}
			}
		}
	}
}

// JSON has several forms of a number, and all must be accepted: many clients write 3 as 3.0.
func TestGoodVariables(t *testing.T) {
	const query = `query($n: Int, $s: [ApiKeyStatus!] = [ACTIVE], $b: Boolean = true, $r: ID = "ret_1_05", $o: ApiKeyOrder = {field: CREATED_AT, direction: DESC}) {` +
		`retriever(id: $r) { apiKeys(first: $n, includeRevoked: $b, filter: {status: $s}, orderBy: $o) { results { keyId } total } } }`
	_, want, _ := varied(t, http.MethodPost, mediaJSON, query, `{"n":1}`)
	if text := fmt.Sprint(want); !strings.Contains(text, "keyId") || want["errors"] != nil {
		t.Fatal(text)
	}
	for _, variables := range []string{
		`{"n":1.0}`, `{"n":1e0}`, `{"n":10e-1}`, `{"n":0.1E+1}`, `{"n":1.000}`, `{"n":100000000000000000000000e-23}`, `{"n":0.00001e5}`,
		`{"n":1,"s":"ACTIVE"}`, `{"n":1,"s":["ACTIVE"]}`, `{"n":1,"s":["ACTIVE","ACTIVE"]}`, `{"n":1,"b":true}`, `{"n":1,"r":"ret_1_05"}`,
		`{"n":1,"o":{"field":"CREATED_AT","direction":"DESC"}}`, `{"n":1,"nobody":{"asked":"for this"}}`,
	} {
		for _, method := range []string{http.MethodPost, http.MethodGet} {
			if _, got, _ := varied(t, method, mediaJSON, query, variables); !reflect.DeepEqual(got, want) {
				t.Errorf("%s %s: got %v, want %v", method, variables, got, want)
			}
		}
	}
	for _, none := range []string{`{"n":-0}`, `{"n":-0.0}`, `{"n":0e5}`, `{"n":0.0e-999999999999999999999}`} {
		if _, got, _ := varied(t, http.MethodGet, mediaJSON, query, none); got["errors"] != nil || strings.Contains(fmt.Sprint(got), "key_") {
			t.Errorf("%s: %v", none, got)
		}
	}
	if _, got, _ := varied(t, http.MethodPost, mediaJSON, strings.Replace(query, "$n: Int,", "$n: Int! = 1,", 1), `{}`); !reflect.DeepEqual(got, want) {
		t.Errorf("the default of a required variable: got %v, want %v", got, want)
	}
	if _, got, _ := varied(t, http.MethodPost, mediaJSON, `query($n: Int) { retrievers(first: $n) { total } }`, `{"n":2147483647}`); !strings.Contains(fmt.Sprint(got), "first must be at most 1000.") {
		t.Errorf("the largest Int: %v", got)
	}
}

// Without this, a body of a megabyte in which everything is wrong gets a response of several.
func TestErrorsOfVariablesAreFew(t *testing.T) {
	bad := "[" + strings.Repeat("1,", 10_000) + "1]"
	_, response, _ := varied(t, http.MethodPost, mediaJSON, pagesKeys, `{"s":`+bad+`,"f":{"status":`+bad+`}}`)
	if errs, _ := response["errors"].([]any); len(errs) != operation.MostErrors {
		t.Errorf("%d errors", len(errs))
	}
}

// Every scalar of the schema must be readable. A new one needs a reader.
func TestEveryScalarCanBeRead(t *testing.T) {
	for name, def := range served.Types {
		if def.Kind == ast.Scalar && scalar.Readers[name] == nil {
			t.Errorf("variables of the type %s cannot be read", name)
		}
	}
}
