package systemtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
)

// long returns a store in which ret_main has 500 keys with 500 origins each, 8 MB in all.
func long(t *testing.T) programtest.Deployment {
	t.Helper()
	d := programtest.Seeded(t, programtest.Embedded(t))
	var b document.Batch
	for i := range 500 {
		origins := make([]string, 500)
		for j := range origins {
			origins[j] = fmt.Sprintf("https://site-%03d-%03d.example.com", i, j)
		}
		b.Keys = append(b.Keys, programtest.KeyDoc(fmt.Sprintf("key_long_%03d", i), "ret_main", programtest.Fields{"allowed_origins": origins}))
	}
	programtest.Insert(t, d, b)
	return d
}

// Without limits, one request of a few kilobytes produces a response of 3 GB, and two dozen responses that wait for slow clients take more
// memory than a container has. Such requests must fail soon, and the server must still answer others.
func TestLongAnswersTakeLittle(t *testing.T) {
	const origins = "apiKeys(first: 1000) { results { allowedOrigins } }"
	var aliases strings.Builder
	for i := range 40 {
		fmt.Fprintf(&aliases, `a%d: retriever(id: "ret_main") { %s } `, i, origins)
	}
	equal := make([]programtest.Fields, 390)
	for i := range equal {
		equal[i] = programtest.Fields{"__typename": "Retriever", "id": "ret_main"}
	}
	const tooLarge = "more than 33554432 bytes (MAX_RESPONSE_BYTES)"
	d := long(t)
	for _, c := range []struct {
		name      string
		query     string
		variables programtest.Fields
		at        int // concurrent requests
	}{
		{"equal entities", "query($r: [_Any!]!) { _entities(representations: $r) { ... on Retriever { " + origins + " } } }", programtest.Fields{"r": equal}, 1},
		{"aliases", "{ " + aliases.String() + "}", nil, 1},
		{"many at once", fmt.Sprintf(`{ a: retriever(id: "ret_main") { %[1]s } b: retriever(id: "ret_main") { %[1]s } c: retriever(id: "ret_main") { %[1]s } }`, origins), nil, 24},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := programtest.Fields{"GOMEMLIMIT": "300MiB"}
			maps.Copy(env, d.Env)
			p := programtest.StartProcess(t, env)
			body, err := json.Marshal(programtest.Fields{"query": c.query, "variables": c.variables})
			if err != nil {
				t.Fatal(err)
			}
			var asked, answered sync.WaitGroup // no client reads a body before all have a status
			answered.Add(c.at)
			var whole atomic.Int64 // bytes of whole responses
			for range c.at {
				asked.Go(func() {
					req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL+"/graphql", strings.NewReader(string(body)))
					if err != nil {
						answered.Done()
						t.Error(err)
						return
					}
					req.Header = http.Header{"Authorization": {"Bearer " + programtest.Token("admin")}, "X-Namespace": {"production"}, "Content-Type": {"application/json"}, "Accept-Encoding": {"identity"}}
					resp, err := http.DefaultClient.Do(req)
					answered.Done()
					if err != nil {
						t.Error(err)
						return
					}
					defer resp.Body.Close()
					answered.Wait()
					start, err := io.ReadAll(io.LimitReader(resp.Body, 300))
					if err != nil {
						t.Error(err)
						return
					}
					rest, err := io.Copy(io.Discard, resp.Body)
					length := int64(len(start)) + rest
					switch {
					case c.at > 1 && errors.Is(err, io.ErrUnexpectedEOF): // the server aborts responses to slow clients
						whole.Add(length)
					case err != nil:
						t.Error(err)
					case c.at == 1 && resp.StatusCode == http.StatusOK && strings.Contains(string(start), tooLarge) && strings.Contains(string(start), "BAD_USER_INPUT"):
					case c.at > 1 && resp.StatusCode == http.StatusOK && strings.HasPrefix(string(start), `{"data":`) && length > 24<<20:
						whole.Add(length)
					case c.at > 1 && resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "" && strings.Contains(string(start), "UNAVAILABLE"):
					default:
						t.Errorf("%d %s and %d bytes", resp.StatusCode, start, rest)
					}
				})
			}
			asked.Wait()
			if got := p.Query("admin", "production", `{ viewer { keyId } }`); got.Status != http.StatusOK {
				t.Errorf("afterwards: %d %s", got.Status, got.Body)
			}
			if got := whole.Load(); got > 150<<20 { // a quarter of GOMEMLIMIT, and what the kernel holds
				t.Errorf("responses of %d MB were held at once", got>>20)
			}
			if peak := p.PeakMB(); c.at == 1 && peak > 200 { // 5,200 MB and 3,000 MB without the limit
				t.Errorf("it took %d MB", peak)
			}
		})
	}
}

// A key's plaintext is returned only once, so a response limit must not lose it or hide that a change was made. The response contains every
// change that was made and an error for every mutation that was not executed.
func TestMutationsAreAnsweredWhole(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = programtest.Seeded(t, d)
		d.Env["MAX_RESPONSE_BYTES"] = "150"
		s := programtest.Serve(t, d.Env)
		got := s.Query("admin", "production", `mutation { a: createApiKey(input: { retrieverId: "ret_bare", name: "one of two", description: "A description that alone is most of what an answer may have." }) { key apiKey { name description id } }
			b: createApiKey(input: { retrieverId: "ret_bare", name: "two of two" }) { key } }`)
		var body struct {
			Errors []struct {
				Message    string
				Path       []string
				Locations  []programtest.Fields
				Extensions programtest.Fields
			}
			Data struct{ A, B *struct{ Key string } }
		}
		if err := json.Unmarshal([]byte(got.Body), &body); err != nil {
			t.Fatal(err)
		}
		if got.Status != http.StatusOK || body.Data.A == nil || !strings.HasPrefix(body.Data.A.Key, "ret_sk_") || body.Data.B != nil || len(body.Errors) != 1 {
			t.Fatalf("%d %s", got.Status, got.Body)
		}
		if e := body.Errors[0]; !strings.HasPrefix(e.Message, "This was not done") || !strings.Contains(e.Message, "MAX_RESPONSE_BYTES") || fmt.Sprint(e.Path) != "[b]" || len(e.Locations) != 1 || e.Extensions["code"] != "BAD_USER_INPUT" {
			t.Errorf("%+v", e)
		}
		if list := s.Request(http.MethodGet, "/v1/retrievers/ret_bare/api-keys", "", map[string]string{"Authorization": "Bearer " + programtest.Token("admin"), "X-Namespace": "production"}); !strings.Contains(list.Body, "one of two") || strings.Contains(list.Body, "two of two") {
			t.Errorf("the list: %s", list.Body)
		}
		// The size of a key is known only after the mutation, so an operation cannot select it many times.
		var shown strings.Builder
		for i := range 11 {
			fmt.Fprintf(&shown, " a%d: allowedOrigins", i)
		}
		for _, query := range []string{
			"mutation { rotateApiKey(input: { id: \"key_full\" }) { key apiKey {" + shown.String() + " } } }",
			"mutation { rotateApiKey(input: { id: \"key_full\" }) { apiKey {" + strings.Replace(shown.String(), " a0: allowedOrigins", "", 1) + " } previous { ... on Node { ...F } } } } fragment F on ApiKey { allowedOrigins }",
		} {
			got := s.Query("admin", "production", query)
			if !strings.Contains(got.Body, "rotateApiKey shows allowedOrigins 11 times") || strings.Contains(got.Body, `"data"`) || fmt.Sprint(got.Codes(t)) != "[BAD_USER_INPUT]" {
				t.Errorf("%d %s", got.Status, got.Body)
			}
		}
		if key := s.Request(http.MethodGet, "/v1/retrievers/ret_main/api-keys", "", map[string]string{"Authorization": "Bearer " + programtest.Token("admin"), "X-Namespace": "production"}); !strings.Contains(key.Body, `"key_full"`) {
			t.Error("the key was rotated")
		}
	})
}

// Slow or greedy clients must not make the process exceed its container's memory, whatever MAX_RESPONSE_BYTES is.
func TestAnswersFitIntoTheMemoryLimit(t *testing.T) {
	d := long(t)
	env := programtest.Fields{"GOMEMLIMIT": "64MiB"}
	maps.Copy(env, d.Env)
	p := programtest.StartProcess(t, env)
	const query = `{ retriever(id: "ret_main") { apiKeys(first: 500) { results { allowedOrigins } } } }`
	if got := p.Query("admin", "production", query); got.Status != http.StatusOK || !strings.Contains(got.Body, "more than 8388608 bytes (MAX_RESPONSE_BYTES)") {
		t.Errorf("%d %.300s", got.Status, got.Body)
	}
	if log := p.Stderr.String(); !strings.Contains(log, "GOMEMLIMIT is too low for responses of MAX_RESPONSE_BYTES") {
		t.Errorf("the log does not say so:\n%s", log)
	}
}
