package systemtest

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
)

const gatedPath = "/v1/retrievers/ret_main/authorize"

// atTheGate asks like a gateway whether a client with this plaintext may execute the retriever.
func atTheGate(s *programtest.Server, path, plaintext string, headers ...string) programtest.Answer {
	h := map[string]string{"X-Public-API-Key": plaintext}
	for i := 0; i < len(headers); i += 2 {
		h[headers[i]] = headers[i+1]
	}
	return s.Request(http.MethodPost, path, "", h)
}

// Both engines answer gateways alike, for documents of every kind. KeyDoc's plaintexts are their ids.
func TestAuthorize(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		programtest.Insert(t, programtest.Seeded(t, d), document.Batch{Keys: []bson.Raw{
			programtest.KeyDoc("key_odd_scope", "ret_main", programtest.Fields{"scopes": []any{"all", programtest.Scope("retriever", "ret_main", "fly")}}),
			programtest.KeyDoc("key_odd_expiry", "ret_main", programtest.Fields{"expires_at": "tomorrow"}),
			programtest.KeyDoc("key_odd_origins", "ret_main", programtest.Fields{"allowed_origins": 7}),
			programtest.KeyDoc("key_odd_type", "ret_main", programtest.Fields{"key_type": 7, "principal_id": "a\r\nX-Key-Id: b"}),
			programtest.KeyDoc("key_namespace", "ret_main", programtest.Fields{"scopes": []programtest.Fields{programtest.Scope("namespace", "ns_stage")}}),
			programtest.KeyDoc("key_limited", "ret_main", programtest.Fields{"rate_limit_override": int32(1)}),
		}})
		d.Env["TRUSTED_PROXIES"], d.Env["GATE_PATH"] = "127.0.0.1", "/run/{retriever_id}"
		s := programtest.Serve(t, d.Env)
		at := func(id string) string { return "/v1/retrievers/" + id + "/authorize" }
		for _, c := range []struct{ path, plaintext, headers, want string }{
			{gatedPath, "key_tie_a", "", "200"},
			{at("ret%5Fmain"), "key_tie_a", "", "200"},
			{at("main"), "key_tie_a", "", "403 retriever"}, // a name
			{at("ret_gone"), "key_orphan", "", "200"},
			{at("ret_stage"), "key_tie_a", "", "403 retriever"},
			{"/v1/authorize/run/ret_main", "key_tie_a", "", "200"},
			{"/v1/authorize/v1/retrievers/ret_main/execute", "key_tie_a", "", "403 retriever"},
			{"/v1/authorize", "key_tie_a", "X-Forwarded-Uri=/run/ret_main", "200"},
			{"/v1/authorize", "key_tie_a", "X-Forwarded-Uri=/run/ret_main%2F", "403 retriever"},
			{gatedPath, "key_full", "Origin=https://x.example.org", "200"},
			{gatedPath, "key_full", "Origin=https://example.org", "403 origin"},
			{gatedPath, "key_revoked", "", "401"},
			{gatedPath, "key_expired", "", "401"},
			{gatedPath, "key_stored_expired", "", "401"},
			{gatedPath, "key_odd_expiry", "", "401"},
			{gatedPath, "key_unknown", "", "401"},
			{gatedPath, "key_tie_a", "Authorization=Bearer key_tie_b", "401"},
			{gatedPath, "key_odd_scope", "", "403 operation"},
			{gatedPath, "key_odd_origins", "", "200"},
			{gatedPath, "key_odd_origins", "Origin=https://app.example.com", "403 origin"},
			{gatedPath, "key_odd_type", "", "200"},
			{gatedPath, programtest.Token("reader"), "", "200"},
			{at("ret_b"), programtest.Token("reader"), "", "403 retriever"}, // of another organization
			{at("ret_none"), programtest.Token("reader"), "", "403 retriever"},
			{at("a%00"), programtest.Token("reader"), "", "403 retriever"},
			{gatedPath, programtest.Token("nothing"), "", "403 permission"},
			{gatedPath, programtest.Token("manager"), "", "403 operation"},
			{at("ret_stage"), "key_namespace", "", "200"},
			{gatedPath, "key_namespace", "", "403 retriever"},
			{gatedPath, "key_limited", "", "200"},
			{gatedPath, "key_limited", "", "429"},
		} {
			var headers []string
			if name, value, ok := strings.Cut(c.headers, "="); ok {
				headers = []string{name, value}
			}
			got := atTheGate(s, c.path, c.plaintext, headers...)
			outcome := strings.TrimSpace(fmt.Sprint(got.Status, " ", got.Header.Get("X-Refusal")))
			if outcome != c.want || (got.Status == 200) != (got.Body == "") || (got.Status == 429) != (got.Header.Get("Retry-After") != "") {
				t.Errorf("%s by %s, %s: got %s %v %s, want %s", c.path, c.plaintext, c.headers, outcome, got.Header, got.Body, c.want)
			}
			if id := got.Header.Get("X-Key-Id"); (id != "") != (got.Status == 200) || got.Status == 200 && (got.Header.Get("X-Internal-Id") != "int_a" || got.Header["X-Principal-Id"] == nil) {
				t.Errorf("%s by %s: got the headers %v", c.path, c.plaintext, got.Header)
			}
		}
		if got := atTheGate(s, gatedPath, "key_odd_type").Header.Get("X-Principal-Id"); got != "a%0D%0AX-Key-Id:%20b" {
			t.Errorf("got X-Principal-Id %q", got)
		}
		d.Env["REST"] = "off" // closes the vendor's endpoints, not this one
		if got := atTheGate(programtest.Serve(t, d.Env), gatedPath, "key_tie_a"); got.Status != http.StatusOK {
			t.Errorf("with REST=off: got %d %s", got.Status, got.Body)
		}
	})
}

// Two processes share a store. Clients ask one of them all the time, while the other ends one key after another: by revocation, and by rotation without
// an overlap. No request that starts after that was acknowledged passes, and no request gets anything but 200 and then 401.
func TestRevocationsHoldAtTheGate(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		const keys, clients, more = 12, 4, 3
		b := document.Batch{}
		for i := range keys {
			// Used just now, so that no use is stored at the same time: see mongodbtest.IsFerretDB.
			used := programtest.Fields{"last_used_at": bson.NewDateTimeFromTime(time.Now())}
			b.Keys = append(b.Keys, programtest.KeyDoc(fmt.Sprintf("key_doomed_%02d", i), "ret_main", used))
		}
		programtest.ImportBatch(t, programtest.Seeded(t, d), b)
		d.Env["AUTH_FAILURES_PER_MINUTE"] = "0"
		here, there := programtest.Serve(t, d.Env), programtest.Serve(t, d.Env)
		var passed, refused atomic.Int64
		for i := range keys {
			id := fmt.Sprintf("key_doomed_%02d", i)
			var ended atomic.Bool
			var wg sync.WaitGroup
			flows := make(chan struct{}, clients)
			for range clients {
				wg.Go(func() {
					for late := 0; late < more; {
						after := ended.Load()
						got := atTheGate(there, gatedPath, id)
						switch {
						case got.Status == http.StatusUnauthorized:
							refused.Add(1)
						case got.Status != http.StatusOK || after:
							t.Errorf("%s, ended: %t: got %d %s", id, after, got.Status, got.Body)
							ended.Store(true)
						default:
							passed.Add(1)
						}
						if after {
							late++
						}
						select {
						case flows <- struct{}{}:
						default:
						}
					}
				})
			}
			<-flows
			mutation := `mutation { revokeApiKey(input: {id: "` + id + `"}) { apiKey { status } } }`
			if i%2 == 1 {
				mutation = `mutation { rotateApiKey(input: {id: "` + id + `"}) { previous { status } } }`
			}
			if got := here.Query("admin", "production", mutation); !strings.Contains(got.Body, `"status":"REVOKED"`) {
				t.Errorf("%s: %s", id, got.Body)
			}
			ended.Store(true)
			wg.Wait()
		}
		if passed.Load() < keys || refused.Load() < keys*clients*more {
			t.Errorf("%d requests passed and %d were refused", passed.Load(), refused.Load())
		}
	})
}

// During every fault of the store, the gate is closed or right: a valid key never gets 401, an invalid one never 200, and what cannot be known is 503.
// Afterwards, requests pass again without a restart.
func TestFaultsAtTheGate(t *testing.T) {
	d := programtest.Seeded(t, programtest.OnMongoDB(t))
	proxy, env := programtest.ThroughProxy(t, d)
	env["REQUEST_TIMEOUT"] = "1s"
	proxy.Start()
	s := programtest.Serve(t, env)
	programtest.AwaitReady(t, s)
	cases := []struct {
		path, plaintext string
		want            int
	}{
		{gatedPath, "key_tie_a", 200}, {gatedPath, "key_revoked", 401}, {gatedPath, "key_unknown", 401},
		{gatedPath, programtest.Token("reader"), 200}, {"/v1/retrievers/ret_none/authorize", programtest.Token("reader"), 403},
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			lifted, over := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(over)
				f.befall(proxy, lifted)
				proxy.On(nil)
				proxy.Pass(nil)
			}()
			var unknown atomic.Int64
			var wg sync.WaitGroup
			for _, c := range cases {
				wg.Go(func() {
					for range 3 {
						began := time.Now()
						got := atTheGate(s, c.path, c.plaintext)
						if got.Status == http.StatusServiceUnavailable && got.Header.Get("Retry-After") != "" && got.Header.Get("X-Key-Id") == "" {
							unknown.Add(1)
						} else if got.Status != c.want {
							t.Errorf("%s by %s: got %d %v %s, want %d", c.path, c.plaintext, got.Status, got.Header, got.Body, c.want)
						}
						if took := time.Since(began); took > programtest.MaxWait {
							t.Errorf("%s by %s: answered after %v", c.path, c.plaintext, took)
						}
					}
				})
			}
			wg.Wait()
			close(lifted)
			<-over
			programtest.AwaitReady(t, s)
			for _, c := range cases {
				if got := atTheGate(s, c.path, c.plaintext); got.Status != c.want {
					t.Errorf("afterwards, %s by %s: got %d %s, want %d", c.path, c.plaintext, got.Status, got.Body, c.want)
				}
			}
			t.Logf("%d of %d answers were 503", unknown.Load(), 3*len(cases))
		})
	}
}
