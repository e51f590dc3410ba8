package graph

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"retrieverkeys/wire"
)

// Every operation must get a response, and never an internal error, which a panic in a parser or a resolver would cause.
func FuzzOperation(f *testing.F) {
	for _, query := range []string{
		"", "{", "{ __typename }", introspectionQuery, nested(5), chain(3, "NEXT NEXT"), many(3), mutual(3), "fragment F on Query { ...F } { ...F }",
		`query($n: Int = 1, $r: [_Any!]! = []) { retrievers(first: $n) { edges { cursor node { apiKeys { total pageInfo { endCursor } } } } } _entities(representations: $r) { __typename } }`,
		`{ a: node(id: "key_1_05_01") { ... on ApiKey { scopes { operations } } } retriever(id: ret_1_05) { auditEvents(first: -1) { results { changes { before } } } } }`,
		`mutation { revokeApiKey(input: {id: "key_1_05_01"}) { apiKey @include(if: false) { id } } }`,
		`{ retriever(id: """ret_1_05""") { apiKeys(filter: {status: [ACTIVE]}, orderBy: {field: NAME, direction: ASC}) { results { keyId } } } }`,
	} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		if strings.Contains(query, "utation") {
			return // the catalog has no writes
		}
		response := asked(t, expecting(""), query, nil)
		if text := fmt.Sprint(response["errors"]); strings.Contains(text, "INTERNAL") || response["errors"] == nil && response["data"] == nil {
			t.Errorf("%q: %v", query, response)
		}
	})
}

// A body is either refused or means what every JSON decoder reads: an object without duplicate members, each of the right type.
func FuzzBody(f *testing.F) {
	for _, body := range []string{
		`{"query":"{ a }","variables":{"n":1e400},"operationName":null,"extensions":{},"documentId":"x"}`, `{"query":"a","query":"b"}`, `{"qu\u0065ry":"a","query":"b"}`,
		`{"QUERY":"a"}`, `{"a":{"query":1,"query":2}}`, `[{"query":"a"}]`, `{"query":"a"}{}`, `{"query":"\ud800"}`, `null`, ` {}`, `{"variables":[]}`, `{"query":7}`, ``, `{`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got request
		err := got.unmarshal(body)
		var want struct {
			Query, OperationName, DocumentID *string
			Variables, Extensions            map[string]any
		}
		all := map[string]json.RawMessage{}
		good := json.Unmarshal(body, &all) == nil && all != nil && len(all) == countMembers(body) && wire.Unambiguous(body) == nil
		for name, to := range map[string]any{
			"query": &want.Query, "operationName": &want.OperationName, "variables": &want.Variables, "extensions": &want.Extensions, "documentId": &want.DocumentID,
		} {
			if value, given := all[name]; given && good {
				dec := json.NewDecoder(bytes.NewReader(value))
				dec.UseNumber()
				good = dec.Decode(to) == nil
			}
		}
		if good != (err == nil) {
			t.Fatalf("%q: got %v, although valid is %t", body, err, good)
		}
		text := func(p *string) string { return *cmp.Or(p, new(string)) }
		if good && (got.Query != text(want.Query) || got.OperationName != text(want.OperationName) || got.DocumentID != text(want.DocumentID) ||
			fmt.Sprint(got.Variables, got.Extensions) != fmt.Sprint(want.Variables, want.Extensions)) {
			t.Errorf("%q: got %+v, want %+v", body, got, want)
		}
		if err != nil && len(err.Message) > 200 {
			t.Errorf("%q: %s", body, err.Message)
		}
	})
}

// Parameters of a URL are read like the members of a body: no duplicate members and no lone surrogates.
func FuzzQuery(f *testing.F) {
	for _, text := range []string{``, `{}`, `{"a":1,"a":2}`, `{"a":[{"b":"\ud800"}]}`, `{"a":"\ud83d\udd11"}`, `{} {}`, `[]`, `{`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, name := range []string{"variables", "extensions"} {
			r := &http.Request{URL: &url.URL{RawQuery: url.Values{"query": {"{ a }"}, name: {text}}.Encode()}}
			_, got := fromQuery(r)
			want := (&request{}).unmarshal([]byte(`{"` + name + `":` + cmp.Or(text, "null") + `}`))
			if !utf8.ValidString(text) || !json.Valid([]byte(cmp.Or(text, "null"))) {
				want = noObject()
			}
			if (got == nil) != (want == nil) {
				t.Errorf("%s=%q: got %v, want %v as in a body", name, text, got, want)
			}
		}
	})
}

// countMembers returns the number of members of a valid object, including duplicates.
func countMembers(text []byte) int {
	dec, depth, tokens := json.NewDecoder(bytes.NewReader(text)), 0, 0
	dec.UseNumber()
	for {
		token, err := dec.Token()
		if err != nil {
			return tokens / 2
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			depth--
			continue
		}
		if depth == 1 {
			tokens++
		}
		if token == json.Delim('{') || token == json.Delim('[') {
			depth++
		}
	}
}

// The response's media type is an offered one: the one with the highest quality, or the first of those with the same quality.
func FuzzAccept(f *testing.F) {
	for _, accept := range []string{"", "*/*", "text/html, */*;q=.8", "application/graphql-response+json;q=0", "application/json;q=Inf,text/html;q=NaN", "a/b;c=\",\"", "application/json;q=-1"} {
		f.Add(accept)
	}
	offered := []string{mediaJSON, mediaResponse, mediaPage}
	f.Fuzz(func(t *testing.T, accept string) {
		type choice struct {
			media   string
			quality float64
		}
		choices := []choice{{mediaJSON, math.SmallestNonzeroFloat64}}
		for part := range strings.SplitSeq(accept, ",") {
			media, attributes, err := mime.ParseMediaType(part)
			if err != nil {
				continue
			}
			if media == "*/*" || media == "application/*" {
				media = mediaJSON
			}
			quality, err := strconv.ParseFloat(attributes["q"], 64)
			if err != nil {
				quality = 1
			}
			if slices.Contains(offered, media) && quality > 0 {
				choices = append(choices, choice{media, quality})
			}
		}
		best := slices.MaxFunc(choices, func(a, b choice) int { return cmp.Compare(a.quality, b.quality) })
		if got := responseMedia([]string{accept}, offered...); got != best.media {
			t.Errorf("%q: got %s, want %s", accept, got, best.media)
		}
		if got := responseMedia(strings.Split(accept, ","), offered...); got != best.media {
			t.Errorf("%q in several headers: got %s, want %s", accept, got, best.media)
		}
	})
}
