package graph

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"unicode/utf16"

	"retrieverkeys/apikey"
	"retrieverkeys/graph/operation"
)

// A secret that was pasted into the wrong place must not appear in the response, from where it gets into a client's error log. Neither must
// a very long name.
func TestErrorsRepeatNoValues(t *testing.T) {
	errorsRepeat(t, "sk_000000000000000000000000000000000000000000000000000000", 0)
	errorsRepeat(t, strings.Repeat("n", operation.LongestName+1), operation.LongestName)
	errorsRepeat(t, strings.Repeat("n", 4_000), operation.LongestName)
}

// errorsRepeat puts the secret into every place of a request. No response may repeat more than most characters of it, and every response
// must be short.
func errorsRepeat(t *testing.T, secret string, most int) {
	h := NewHandler(Options{Service: &apikey.Service{Store: expecting("")}, Introspection: IntrospectionPublic, Limits: limits, Logger: slog.New(slog.DiscardHandler)})
	for name, body := range map[string]map[string]any{
		"an Int":                                 {"query": `{ retrievers(first: "SECRET") { total } }`},
		"an ID":                                  {"query": `{ retriever(id: SECRET) { id } }`},
		"a Boolean":                              {"query": `{ retriever(id: "x") { apiKeys(includeRevoked: "SECRET") { total } } }`},
		"an enum":                                {"query": `{ retriever(id: "x") { apiKeys(filter: {status: "SECRET"}) { total } } }`},
		"another enum":                           {"query": `{ retriever(id: "x") { apiKeys(filter: {status: SECRET}) { total } } }`},
		"a date":                                 {"query": `mutation { createApiKey(input: {retrieverId: "x", name: "x", expiresAt: "SECRET"}) { key } }`},
		"a field":                                {"query": `{ SECRET }`},
		"an argument":                            {"query": `{ retriever(id: "x", SECRET: 1) { id } }`},
		"an input field":                         {"query": `{ retriever(id: "x") { apiKeys(filter: {SECRET: 1}) { total } } }`},
		"a directive":                            {"query": `{ viewer @SECRET { keyId } }`},
		"a type":                                 {"query": `{ ... on SECRET { viewer { keyId } } }`},
		"a fragment":                             {"query": `{ ...SECRET }`},
		"an operation":                           {"query": `{ viewer { keyId } }`, "operationName": "SECRET"},
		"a variable":                             {"query": `{ retriever(id: $SECRET) { id } }`},
		"a string":                               {"query": `"SECRET"`},
		"a name":                                 {"query": `SECRET`},
		"an unterminated string":                 {"query": `{ retriever(id: "SECRET`},
		"a string instead of a name":             {"query": `{ retriever("SECRET": 1) { id } }`},
		"a variable's enum":                      {"query": `query($s: [ApiKeyStatus!]) { retriever(id: "x") { apiKeys(filter: {status: $s}) { total } } }`, "variables": map[string]any{"s": []string{"SECRET"}}},
		"a variable's date":                      {"query": `query($d: DateTime) { retriever(id: "x") { apiKeys(filter: {unusedSince: $d}) { total } } }`, "variables": map[string]any{"d": "SECRET"}},
		"a variable's number":                    {"query": `query($n: Int) { retrievers(first: $n) { total } }`, "variables": map[string]any{"n": "SECRET"}},
		"a variable's field":                     {"query": `query($f: ApiKeyFilter) { retriever(id: "x") { apiKeys(filter: $f) { total } } }`, "variables": map[string]any{"f": map[string]any{"SECRET": 1}}},
		"the query":                              {"query": []string{"SECRET"}},
		"a member":                               {"SECRET": 1},
		"a cursor":                               {"query": `{ retrievers(after: "SECRET") { total } }`},
		"a representation":                       {"query": `{ _entities(representations: [{__typename: "SECRET", id: "SECRET"}]) { __typename } }`},
		"a string instead of a representation":   {"query": `{ _entities(representations: ["SECRET"]) { __typename } }`},
		"a default":                              {"query": `query($n: Int = "SECRET") { retrievers(first: $n) { total } }`},
		"a long string":                          {"query": `{ retrievers(first: """` + strings.Repeat("SECRET", 100) + `""") { total } }`},
		"a name instead of an object":            {"query": `{ retriever(id: "x") { apiKeys(filter: SECRET) { total } } }`},
		"a list of names instead of an object":   {"query": `{ retriever(id: "x") { apiKeys(filter: [SECRET]) { total } } }`},
		"a string instead of an object":          {"query": `{ retriever(id: "x") { apiKeys(orderBy: "SECRET") { total } } }`},
		"a suggestion":                           {"query": `{ retrievers(first: "abc Did you mean SECRET") { total } }`},
		"a name instead of a list":               {"query": `mutation { createApiKey(input: {retrieverId: "x", name: "y", allowedOrigins: SECRET}) { key } }`},
		"a list of strings instead of an object": {"query": `{ retriever(id: "x") { apiKeys(filter: ["SECRET"]) { total } } }`},
	} {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		sent := strings.ReplaceAll(string(text), "SECRET", secret)
		admin := apikey.Caller{Key: &apikey.Key{Type: apikey.Standard, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Admin}}}
		r := httptest.NewRequestWithContext(apikey.WithNamespace(apikey.WithCaller(t.Context(), admin), "ns_1"), http.MethodPost, "/graphql", strings.NewReader(sent))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		repeated := secret
		if most > 0 {
			repeated = secret[:most+1]
		}
		if got := w.Body.String(); strings.Contains(got, repeated) || !strings.Contains(got, `"message"`) || len(got) > 2_000 {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// If two programs read a body differently, a request gets past the one that only checks it.
func TestBodiesAreReadStrictly(t *testing.T) {
	h := NewHandler(Options{Service: &apikey.Service{}, Introspection: IntrospectionPublic, Limits: limits, Logger: slog.New(slog.DiscardHandler), Version: "v1"})
	for body, want := range map[string]string{
		`{"query":"{ __typename }"}`: `{"data":{"__typename":"Query"}}`,
		`{"query":"{ __typename }","variables":null,"operationName":null,"extra":[{}]}`: `{"data":{"__typename":"Query"}}`,
		`{"query":"{ __typename }","query":"{ serverInfo { version } }"}`:               "twice",
		`{"QUERY":"{ __typename }"}`:                               "query is required",
		`{"query":"{ __typename }"} {}`:                            "not a JSON object",
		`[{"query":"{ __typename }"}]`:                             "The body is not a JSON object. Batches are not offered: send one operation.",
		` [{"query":"{ __typename }"},{"query":"{ __typename }"}]`: "Batches are not offered",
		`[]`:                                    "Batches are not offered",
		`[{"query":"{ __typename }"}`:           "The body is not a JSON object.\"",
		"\ufeff" + `{"query":"{ __typename }"}`: `{"data":{"__typename":"Query"}}`,
		"\ufeff[]":                              "Batches are not offered",
		"\ufeff":                                "not a JSON object",
		"\ufeff\ufeff" + `{"query":"{ __typename }"}`:                                       "not a JSON object",
		` ` + "\ufeff" + `{"query":"{ __typename }"}`:                                       "not a JSON object",
		`{"query":"\ufeff{ __typename }"}`:                                                  `{"data":{"__typename":"Query"}}`,
		"\xff\xfe\x00\x00{\x00\x00\x00}\x00\x00\x00":                                        "The body is in UTF-32: send it in UTF-8.",
		"\x00\x00\xfe\xff\x00\x00\x00{\x00\x00\x00}":                                        "The body is in UTF-32: send it in UTF-8.",
		inUTF16(`{"query":"{ __typename }"}`, true, true):                                   "The body is in UTF-16: send it in UTF-8.",
		inUTF16(`{"query":"{ __typename }"}`, false, true):                                  "The body is in UTF-16: send it in UTF-8.",
		inUTF16(`{"query":"{ __typename }"}`, true, false):                                  "The body is in UTF-16: send it in UTF-8.",
		inUTF16(`{"query":"{ __typename }"}`, false, false):                                 "The body is in UTF-16: send it in UTF-8.",
		`{"query":"{ __typename }","extensions":null}`:                                      `{"data":{"__typename":"Query"}}`,
		`{"query":"{ __typename }","documentId":null,"extensions":{"persistedQuery":null}}`: `{"data":{"__typename":"Query"}}`,
		`{"query":null,"extensions":{"persistedQuery":null}}`:                               "query is required",
		`null`:                     "not a JSON object",
		``:                         "not a JSON object",
		`{"query":"{ __typename }`: "not a JSON object",
		`{"query":1}`:              "query is of the wrong type",
		`{"query":"{ __typename }","variables":[]}`:   "variables is of the wrong type",
		`{"query":"{ __typename }","extensions":"x"}`: "extensions is of the wrong type",
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/graphql", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := w.Body.String(); !strings.Contains(got, want) || (w.Code == http.StatusOK) != strings.HasPrefix(want, "{") {
			t.Errorf("%s: %d %s", body, w.Code, got)
		}
	}
}

// inUTF16 returns the text in UTF-16, as some systems write it.
func inUTF16(text string, bigEndian, mark bool) string {
	var order binary.AppendByteOrder = binary.LittleEndian
	if bigEndian {
		order = binary.BigEndian
	}
	if mark {
		text = "\ufeff" + text
	}
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, unit)
	}
	return string(b)
}

// A client that sends several operations without an operationName must get an error that says so.
func TestOperationsAreNamed(t *testing.T) {
	const two = `query A { __typename } query Secret { __typename }`
	for _, c := range []struct{ name, query, want string }{
		{"", two, "The document has several operations: name the one to run with operationName."},
		{"B", two, "The document has no operation of that name: check operationName."},
		{"a", two, "The document has no operation of that name: check operationName."},
		{"B", `query A { __typename }`, "The document has no operation of that name: check operationName."},
		{"B", `{ __typename }`, "The document has no operation of that name: check operationName."},
	} {
		want := map[string]any{"errors": []any{map[string]any{
			"message": c.want, "extensions": map[string]any{"code": "GRAPHQL_VALIDATION_FAILED", "field": "operationName"},
		}}}
		if got := askedFor(t, expecting(""), c.name, c.query, nil); !reflect.DeepEqual(got, want) {
			t.Errorf("operationName %q of %s: got %v", c.name, c.query, got)
		}
	}
	for name, query := range map[string]string{"A": two, "Secret": two, "": `query A { __typename }`} {
		if got := askedFor(t, expecting(""), name, query, nil); got["errors"] != nil || got["data"] == nil {
			t.Errorf("operationName %q of %s: got %v", name, query, got)
		}
	}
}

// The server does not support @defer. A client that uses it must get an error instead of an incomplete response.
func TestDeferIsRefused(t *testing.T) {
	response := asked(t, expecting(""), `{ retriever(id: "ret_1_05") { id ... @defer { apiKeys { total } } } }`, nil)
	if text := fmt.Sprint(response["errors"]); response["data"] != nil || !strings.Contains(text, "@defer") {
		t.Error(response)
	}
	if text := fmt.Sprint(asked(t, expecting(""), `{ __schema { directives { name } } }`, nil)["data"]); strings.Contains(text, "defer") {
		t.Error(text)
	}
}

// The error must name the missing variable.
func TestVariablesAreNamed(t *testing.T) {
	for query, want := range map[string]string{
		`query($r: ID!) { retriever(id: $r) { id } }`:                                                    "$r must be defined",
		`mutation($input: RevokeApiKeyInput!) { revokeApiKey(input: $input) { apiKey { id } } }`:         "$input.id must be defined",
		`query($x: [ApiKeyStatus!]!) { retriever(id: 1) { apiKeys(filter: { status: $x }) { total } } }`: "$x",
	} {
		response := asked(t, expecting(""), query, map[string]any{"input": map[string]any{}, "x": []any{"NONE"}})
		if text := fmt.Sprint(response["errors"]); response["data"] != nil || !strings.Contains(text, want) || strings.Contains(text, "path") {
			t.Errorf("%s: %v", want, response)
		}
	}
}

// Messages must stay readable: nothing in them is hidden that is not a secret.
func TestMessagesStayReadable(t *testing.T) {
	for query, want := range map[string]string{
		`{ viewer { ...F } } fragment F on Retriever { id }`:            `Fragment "F" cannot be spread here as objects of type "Viewer" can never be of type "Retriever".`,
		`{ retriever(id: 1) { x: name x: createdAt } }`:                 `Fields "x" conflict because "name" and "createdAt" are different fields.`,
		`{ viewer { keyId(a: 1) } }`:                                    `Unknown argument "a" on field "Viewer.keyId".`,
		`{ retriever(id: 1) { apiKeys(filter: 1) { total } } }`:         `Expected value of type "ApiKeyFilter".`,
		`{ retriever(id: 1) { apiKeys(includeRevoked: X) { total } } }`: `Boolean cannot represent a non boolean value`,
	} {
		if text := fmt.Sprint(asked(t, expecting(""), query, nil)["errors"]); !strings.Contains(text, want) {
			t.Errorf("%s\n%s", want, text)
		}
	}
}
