package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"retrieverkeys/store/document"
)

// long is a store whose retriever ret_main has 500 keys with 500 origins each: 8 MB of them.
func long(t *testing.T) deployment {
	t.Helper()
	d := seeded(t, embedded(t))
	var b document.Batch
	for i := range 500 {
		origins := make([]string, 500)
		for j := range origins {
			origins[j] = fmt.Sprintf("https://site-%03d-%03d.example.com", i, j)
		}
		b.Keys = append(b.Keys, keyDoc(fmt.Sprintf("key_long_%03d", i), "ret_main", fields{"allowed_origins": origins}))
	}
	insert(t, d, b)
	return d
}

// peak is the most memory that the process ever had, in MB, where the system tells.
func (p process) peak() int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	kB, err := strconv.Atoi(string(regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)[1]))
	if err != nil {
		p.t.Fatal(err)
	}
	return kB >> 10
}

// One request of a few kilobytes answered 3 GB and took the process with it; two dozen of 48 MB took more memory than a container
// has. A client that asks for too much must be told soon, and others must be answered.
func TestLongAnswersTakeLittle(t *testing.T) {
	const origins = "apiKeys(first: 1000) { results { allowedOrigins } }"
	var aliases strings.Builder
	for i := range 40 {
		fmt.Fprintf(&aliases, `a%d: retriever(id: "ret_main") { %s } `, i, origins)
	}
	equal := make([]fields, 390)
	for i := range equal {
		equal[i] = fields{"__typename": "Retriever", "id": "ret_main"}
	}
	const tooLarge = "more than 33554432 bytes (MAX_RESPONSE_BYTES)"
	d := long(t)
	for _, c := range []struct {
		name      string
		query     string
		variables fields
		at        int // requests at once
		memory    int // MB that the process may have, and no more than that with GOMEMLIMIT=300MiB
	}{
		{"equal entities", "query($r: [_Any!]!) { _entities(representations: $r) { ... on Retriever { " + origins + " } } }", fields{"r": equal}, 1, 200},
		{"aliases", "{ " + aliases.String() + "}", nil, 1, 200},
		{"many at once", fmt.Sprintf(`{ a: retriever(id: "ret_main") { %[1]s } b: retriever(id: "ret_main") { %[1]s } c: retriever(id: "ret_main") { %[1]s } }`, origins), nil, 24, 450},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := fields{"GOMEMLIMIT": "300MiB"}
			maps.Copy(env, d.env)
			p := start(t, env)
			body, err := json.Marshal(fields{"query": c.query, "variables": c.variables})
			if err != nil {
				t.Fatal(err)
			}
			var asked sync.WaitGroup
			for range c.at {
				asked.Go(func() {
					req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/graphql", strings.NewReader(string(body)))
					if err != nil {
						t.Error(err)
						return
					}
					req.Header = http.Header{"Authorization": {"Bearer " + token("admin")}, "X-Namespace": {"production"}, "Content-Type": {"application/json"}, "Accept-Encoding": {"identity"}}
					resp, err := http.DefaultClient.Do(req)
					if err != nil {
						t.Error(err)
						return
					}
					defer resp.Body.Close()
					start, err := io.ReadAll(io.LimitReader(resp.Body, 300))
					if err != nil {
						t.Error(err)
						return
					}
					rest, err := io.Copy(io.Discard, resp.Body)
					whole := strings.HasPrefix(string(start), `{"data":`) && int64(len(start))+rest > 24<<20
					switch {
					case c.at > 1 && errors.Is(err, io.ErrUnexpectedEOF): // too many clients were slow
					case err != nil:
						t.Error(err)
					case c.at == 1 && resp.StatusCode == http.StatusOK && strings.Contains(string(start), tooLarge) && strings.Contains(string(start), "BAD_USER_INPUT"):
					case c.at > 1 && resp.StatusCode == http.StatusOK && whole:
					case c.at > 1 && resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "" && strings.Contains(string(start), "UNAVAILABLE"):
					default:
						t.Errorf("%d %s and %d bytes", resp.StatusCode, start, rest)
					}
				})
			}
			asked.Wait()
			if got := p.query("admin", "production", `{ viewer { keyId } }`); got.status != http.StatusOK {
				t.Errorf("afterwards: %d %s", got.status, got.body)
			}
			peak := p.peak()
			p.signal(syscall.SIGTERM)
			if err := p.cmd.Wait(); err != nil {
				t.Error(err)
			}
			state := p.cmd.ProcessState
			t.Logf("%d MB, %v of processor time", peak, state.UserTime()+state.SystemTime())
			if peak > c.memory {
				t.Errorf("it took %d MB", peak)
			}
			if c.at == 1 && state.UserTime()+state.SystemTime() > 10*time.Second { // 37 s when answers were not counted
				t.Errorf("it took %v of processor time", state.UserTime()+state.SystemTime())
			}
		})
	}
}

// A key's plaintext is told once. An answer that is too large must not lose it, nor do a change and not say so: what was done is
// told, and what is no longer done says that.
func TestMutationsAreAnsweredWhole(t *testing.T) {
	onEveryStore(t, func(t *testing.T, d deployment) {
		d = seeded(t, d)
		d.env["MAX_RESPONSE_BYTES"] = "150"
		s := serve(t, d.env)
		got := s.query("admin", "production", `mutation { a: createApiKey(input: { retrieverId: "ret_bare", name: "one of two", description: "A description that alone is most of what an answer may have." }) { key apiKey { name description id } }
			b: createApiKey(input: { retrieverId: "ret_bare", name: "two of two" }) { key } }`)
		var body struct {
			Errors []struct {
				Message    string
				Path       []string
				Locations  []fields
				Extensions fields
			}
			Data struct{ A, B *struct{ Key string } }
		}
		if err := json.Unmarshal([]byte(got.body), &body); err != nil {
			t.Fatal(err)
		}
		if got.status != http.StatusOK || body.Data.A == nil || !strings.HasPrefix(body.Data.A.Key, "ret_sk_") || body.Data.B != nil || len(body.Errors) != 1 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if e := body.Errors[0]; !strings.HasPrefix(e.Message, "This was not done") || !strings.Contains(e.Message, "MAX_RESPONSE_BYTES") || fmt.Sprint(e.Path) != "[b]" || len(e.Locations) != 1 || e.Extensions["code"] != "BAD_USER_INPUT" {
			t.Errorf("%+v", e)
		}
		if list := s.request(http.MethodGet, "/v1/retrievers/ret_bare/api-keys", "", map[string]string{"Authorization": "Bearer " + token("admin"), "X-Namespace": "production"}); !strings.Contains(list.body, "one of two") || strings.Contains(list.body, "two of two") {
			t.Errorf("the list: %s", list.body)
		}
		// What a key has is only known when it is done, so it may not be shown any number of times.
		var shown strings.Builder
		for i := range 11 {
			fmt.Fprintf(&shown, " a%d: allowedOrigins", i)
		}
		for _, query := range []string{
			"mutation { rotateApiKey(input: { id: \"key_full\" }) { key apiKey {" + shown.String() + " } } }",
			"mutation { rotateApiKey(input: { id: \"key_full\" }) { apiKey {" + strings.Replace(shown.String(), " a0: allowedOrigins", "", 1) + " } previous { ... on Node { ...F } } } } fragment F on ApiKey { allowedOrigins }",
		} {
			got := s.query("admin", "production", query)
			if !strings.Contains(got.body, "rotateApiKey shows allowedOrigins 11 times") || strings.Contains(got.body, `"data"`) || fmt.Sprint(got.codes(t)) != "[BAD_USER_INPUT]" {
				t.Errorf("%d %s", got.status, got.body)
			}
		}
		if key := s.request(http.MethodGet, "/v1/retrievers/ret_main/api-keys", "", map[string]string{"Authorization": "Bearer " + token("admin"), "X-Namespace": "production"}); !strings.Contains(key.body, `"key_full"`) {
			t.Error("the key was rotated")
		}
	})
}

// A slow or greedy client must not make the process larger than its container, whatever a single answer may have.
func TestAnswersFitIntoTheMemoryLimit(t *testing.T) {
	for limit, want := range map[int64]int64{1<<63 - 1: 256 << 20, 800 << 20: 200 << 20, 100 << 20: 25 << 20, 0: 1 << 20} {
		if got := answersWithin(limit); got != want {
			t.Errorf("of %d bytes answers may take %d, not %d", limit, got, want)
		}
	}
	d := long(t)
	env := fields{"GOMEMLIMIT": "64MiB"}
	maps.Copy(env, d.env)
	p := start(t, env)
	const query = `{ retriever(id: "ret_main") { apiKeys(first: 500) { results { allowedOrigins } } } }`
	if got := p.query("admin", "production", query); got.status != http.StatusOK || !strings.Contains(got.body, "more than 8388608 bytes (MAX_RESPONSE_BYTES)") {
		t.Errorf("%d %.300s", got.status, got.body)
	}
	if log := p.errors.String(); !strings.Contains(log, "GOMEMLIMIT is too low for answers of MAX_RESPONSE_BYTES") {
		t.Errorf("the log does not say so:\n%s", log)
	}
}
