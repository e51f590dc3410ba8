package systemtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
)

// Once a revocation is acknowledged, the key does not work in any process that uses the same store. A cache of keys would let a thief continue.
func TestRevocationIsImmediate(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = programtest.Seeded(t, d)
		victims := 8
		var b document.Batch
		for i := range victims {
			b.Keys = append(b.Keys, programtest.CallerDoc(fmt.Sprintf("victim_%d", i), "int_a", "org_a", programtest.Fields{
				"scopes": []programtest.Fields{programtest.Scope("retriever", "ret_main")},
				// A recent last_used_at prevents a write of it. FerretDB can lose a revocation that races with that write.
				"last_used_at": bson.NewDateTimeFromTime(time.Now()),
			}))
		}
		programtest.ImportBatch(t, d, b)
		first, second := programtest.Serve(t, d.Env), programtest.Serve(t, d.Env)
		for i := range victims {
			name := fmt.Sprintf("victim_%d", i)
			var dead atomic.Bool
			var asked, passed atomic.Int64
			var wg sync.WaitGroup
			for _, s := range []*programtest.Server{first, second, first, second} {
				wg.Go(func() {
					for last := false; !last; {
						last = dead.Load() // at least one request starts after the response
						got := s.Query(name, "production", `{ viewer { keyId } }`)
						asked.Add(1)
						if last && got.Status != http.StatusUnauthorized {
							t.Errorf("after the acknowledged revocation: %d %s", got.Status, got.Body)
						}
						if got.Status == http.StatusOK {
							passed.Add(1)
						}
					}
				})
			}
			for passed.Load() < 4 && !t.Failed() {
				first.Query("", "production", `{ __typename }`)
			}
			first.Mutate("admin", `revokeApiKey(input: {id: $id}) { apiKey { status } }`, programtest.Fields{"id": "key_caller_" + name})
			dead.Store(true)
			wg.Wait()
		}
	})
}

// The plaintext of a key is in one response and in no log, store, metric or other response. Its hash is only in the store and in keyHash.
func TestSecretIsNowhereElse(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = programtest.Seeded(t, d)
		d.Env["LOG_LEVEL"], d.Env["ADMIN_ADDR"] = "debug", "127.0.0.1:0"
		s := programtest.Serve(t, d.Env)
		made := s.Mutate("admin", `createApiKey(input: {retrieverId: "main", name: "secret", rateLimitOverride: 3}) { key apiKey { id keyHash } }`)
		s.Mutate("admin", `updateApiKey(input: {id: $id, description: "changed"}) { apiKey { id } }`, programtest.Fields{"id": programtest.TextAt(made, "apiKey", "id")})
		rotated := s.Mutate("admin", `rotateApiKey(input: {id: $id}) { key apiKey { id keyHash } }`, programtest.Fields{"id": programtest.TextAt(made, "apiKey", "id")})
		secrets := []string{programtest.TextAt(made, "key"), programtest.TextAt(rotated, "key")}
		hashes := []string{programtest.TextAt(made, "apiKey", "keyHash"), programtest.TextAt(rotated, "apiKey", "keyHash")}
		var byREST struct {
			Key  string
			Hash string `json:"key_hash"`
		}
		headers := map[string]string{"Authorization": "Bearer " + programtest.Token("admin"), "X-Namespace": "production"}
		answer := s.Request(http.MethodPost, "/v1/retrievers/main/api-keys", `{"name":"secret","rate_limit_override":3}`, headers)
		if err := json.Unmarshal([]byte(answer.Body), &byREST); err != nil || answer.Status != http.StatusOK {
			t.Fatal(err, answer)
		}
		secrets, hashes = append(secrets, byREST.Key), append(hashes, byREST.Hash)

		limited := false
		var seen strings.Builder
		for _, secret := range secrets { // sent in every place where a client may put it
			for _, header := range []string{"Bearer " + secret, "Basic " + secret, "Bearer  " + secret} {
				for _, path := range []string{"/graphql", "/v1/retrievers/main/api-keys", "/graphql?access_token=" + secret, "/v1/retrievers/" + secret + "/api-keys"} {
					got := s.Request(http.MethodPost, path, `{"query":"{ retriever(id: \"`+secret+`\") { id } }","variables":{"key":"`+secret+`"}}`,
						map[string]string{"Authorization": header, "X-Namespace": secret, "X-Request-Id": secret})
					seen.WriteString(got.Body)
					limited = limited || got.Status == http.StatusTooManyRequests
				}
			}
			for _, body := range []programtest.Fields{ // as the hash of an operation, in an operation's text, as an input
				{"query": `query Q { ` + secret + ` }`, "extensions": programtest.Fields{"persistedQuery": programtest.Fields{"version": 1, "sha256Hash": programtest.HashOf(`query Q { ` + secret + ` }`)}}},
				{"extensions": programtest.Fields{"persistedQuery": programtest.Fields{"version": 1, "sha256Hash": programtest.HashOf(secret)}}},
				{"query": `{ retriever(id: "` + secret, "operationName": secret}, {"documentId": secret}, {secret: secret},
				{"name": "a", "expires_at": secret, "allowed_origins": []string{secret}, "rate_limit_override": secret},
			} {
				text, err := json.Marshal(body)
				if err != nil {
					t.Fatal(err)
				}
				for _, path := range []string{"/graphql", "/v1/retrievers/main/api-keys"} {
					seen.WriteString(s.Request(http.MethodPost, path, string(text), headers).Body)
				}
			}
			seen.WriteString(s.Request(http.MethodGet, "/graphql?query="+secret+"&variables="+secret, "", headers).Body)
			seen.WriteString(s.Request(secret, "/"+secret, "", headers).Body)
			seen.WriteString(s.Query("admin", "production", `mutation($id: ID!) { revokeApiKey(input: {id: $id}) { apiKey { id } } }`, programtest.Fields{"id": secret}).Body)
			seen.WriteString(s.Query("admin", secret, `{ node(id: "`+secret+`") { id } }`).Body)
			for _, change := range []string{ // as a text that would be stored
				`createApiKey(input: {retrieverId: "main", name: $text}) { key }`, `createApiKey(input: {retrieverId: "main", name: "a", description: $text}) { key }`,
				`updateApiKey(input: {id: "key_tie_a", name: $text}) { apiKey { id } }`, `updateApiKey(input: {id: "key_tie_a", description: $text}) { apiKey { id } }`,
				`createApiKey(input: {retrieverId: "main", name: "a", allowedOrigins: [$text]}) { key }`, `updateApiKey(input: {id: "key_tie_a", allowedOrigins: [$text]}) { apiKey { id } }`,
				`revokeApiKey(input: {id: "key_tie_a", reason: $text}) { apiKey { id } }`, `revokeApiKeys(input: {ids: ["key_tie_a"], reason: $text}) { results { outcome } }`,
			} {
				got := s.Query("admin", "production", `mutation($text: String!) { `+change+` }`, programtest.Fields{"text": "https://" + secret})
				seen.WriteString(got.Body)
				if !slices.Equal(got.Codes(t), []string{"BAD_USER_INPUT"}) {
					t.Errorf("%s: %s", change, got.Body)
				}
			}
			s.Request(http.MethodPost, "/v1/retrievers/main/api-keys", `{"name":"x"}`, map[string]string{
				"Authorization": "Bearer " + programtest.Token("reader"), "X-Namespace": "production", "User-Agent": "curl " + secret, // a denied attempt is stored
			})
		}
		answer = s.Query("admin", "production", `{ retriever(id: "main") {
			auditEvents { results { id action resourceId actorId changes { field before after } userAgent } }
			apiKeys(includeRevoked: true) { results { id name description keyPrefix } } } }`)
		seen.WriteString(answer.Body)
		if !limited || !strings.Contains(answer.Body, `"rate_limit_override"`) {
			t.Errorf("want a limit's error and the changes before it: %s", answer.Body)
		}
		admin := &programtest.Server{T: t, URL: regexp.MustCompile(`(http://[0-9.:]+)/metrics`).FindStringSubmatch(s.Stderr.String())[1]}
		metrics := admin.Request(http.MethodGet, "/metrics", "", nil).Body
		s.Stop()
		outputs := map[string]string{"answers": seen.String(), "the metrics": metrics, "the log": s.Stderr.String(), "the standard output": s.Stdout.String()}
		for name, text := range outputs {
			for i, secret := range secrets {
				if strings.Contains(text, secret) {
					t.Errorf("%s contains a plaintext", name)
				}
				if strings.Contains(text, hashes[i]) {
					t.Errorf("%s contains a hash", name)
				}
			}
		}
		for _, secret := range secrets {
			if file := programtest.FileContaining(t, d, secret); file != "" {
				t.Errorf("%s contains a plaintext", file)
			}
		}
	})
}

// A client that lost the response to a creation can find the key by its name, revoke it, and create another one with the same name.
func TestLostResponseLeavesAKeyToFind(t *testing.T) {
	s := programtest.Serve(t, programtest.Seeded(t, programtest.Embedded(t)).Env)
	const create = `createApiKey(input: {retrieverId: "main", name: "Storefront 7"}) { apiKey { id } key }`
	lost := programtest.TextAt(s.Mutate("admin", create), "apiKey", "id")
	const find = `{ retriever(id: "main") { apiKeys(filter: {search: "storefront 7"}) { results { id } } } }`
	if got := s.Query("admin", "production", find); got.Body != `{"data":{"retriever":{"apiKeys":{"results":[{"id":"`+lost+`"}]}}}}` {
		t.Errorf("the lost key: %s", got.Body)
	}
	s.Mutate("admin", `revokeApiKey(input: {id: $id}) { apiKey { status } }`, programtest.Fields{"id": lost})
	kept := programtest.TextAt(s.Mutate("admin", create), "apiKey", "id")
	if got := s.Query("admin", "production", find); kept == lost || got.Body != `{"data":{"retriever":{"apiKeys":{"results":[{"id":"`+kept+`"}]}}}}` {
		t.Errorf("the other key: %s", got.Body)
	}
}

// After a leak, people look for denied attempts in the audit trail. But a caller must not be able to fill the store with them.
func TestDeniedAttemptsAreKept(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		s := programtest.Serve(t, programtest.Seeded(t, d).Env)
		for range 3 { // within at most two calendar minutes
			s.Query("reader", "production", `mutation { revokeApiKey(input: {id: "key_tie_b"}) { apiKey { id } } }`)
		}
		s.Request(http.MethodPost, "/v1/retrievers/main/api-keys", `{"name":"x"}`, map[string]string{
			"Authorization": "Bearer " + programtest.Token("reader"), "X-Namespace": "production", "User-Agent": "curl/8",
		})
		s.Query("retriever", "production", `mutation { revokeApiKey(input: {id: "key_tie_b"}) { apiKey { id } } }`)       // cannot read anything
		s.Query("scoped", "production", `mutation { revokeApiKey(input: {id: "key_numbers"}) { apiKey { id } } }`)        // cannot read this key
		s.Query("foreign", "production", `mutation { revokeApiKey(input: {id: "key_tie_b"}) { apiKey { id } } }`)         // cannot read this key
		s.Query("admin", "production", `mutation { updateApiKey(input: {id: "key_tie_b", name: ""}) { apiKey { id } } }`) // invalid, not denied
		var revocations, creations int
		for _, e := range s.RetrieverEvents("main") {
			if e["status"] != "denied" || e["actorId"] != "usr_reader" || e["actorKeyId"] != "key_caller_reader" || e["actorType"] != "user" || e["ipAddress"] != "127.0.0.1" {
				t.Errorf("event %v", e)
			}
			switch e["action"] {
			case string(apikey.KeyRevoked):
				revocations++
				if e["resourceType"] != "API_KEY" || e["resourceId"] != "key_tie_b" {
					t.Errorf("event %v", e)
				}
			case string(apikey.KeyCreated):
				creations++
				if e["resourceType"] != "RETRIEVER" || e["resourceId"] != "ret_main" || e["userAgent"] != "curl/8" {
					t.Errorf("event %v", e)
				}
			default:
				t.Errorf("event %v", e)
			}
		}
		if revocations < 1 || revocations > 2 || creations != 1 {
			t.Errorf("%d denied revocations and %d denied creations were kept", revocations, creations)
		}
		if got := s.Query("admin", "production", `{ apiKey(id: "key_tie_b") { status } }`); !strings.Contains(got.Body, `"ACTIVE"`) {
			t.Errorf("the key: %s", got.Body)
		}
	})
}

// Many denied attempts in one request must not cause as many writes or bury the audit trail, but the trail still counts them. Attempts with a
// retriever's key, which is in web pages, are not recorded.
func TestDeniedAttemptsAreBounded(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = programtest.Seeded(t, d)
		programtest.ImportBatch(t, d, document.Batch{Keys: programtest.ManyKeys(120)})
		d.Env["REQUEST_TIMEOUT"] = "5m" // for slow machines
		s := programtest.Serve(t, d.Env)
		first := time.Now().Unix() / 60
		attempt := func(caller string, from int) {
			var b strings.Builder
			b.WriteString("mutation {")
			for i := from; i < from+60; i++ {
				fmt.Fprintf(&b, ` a%d: revokeApiKey(input: {id: "key_many_%04d"}) { apiKey { id } }`, i, i)
			}
			b.WriteString(" }")
			codes := s.Query(caller, "production", b.String()).Codes(t)
			if len(codes) != 60 || slices.ContainsFunc(codes, func(code string) bool { return code != "FORBIDDEN" }) {
				t.Errorf("%s: %v", caller, codes)
			}
		}
		attempt("reader", 0)
		attempt("retriever", 0)
		attempt("reader", 60)
		headers := map[string]string{"Authorization": "Bearer " + programtest.Token("retriever"), "X-Namespace": "production"}
		for _, got := range []programtest.Answer{
			s.Request(http.MethodPost, "/v1/retrievers/many/api-keys", `{"name":"x"}`, headers),
			s.Request(http.MethodDelete, "/v1/retrievers/many/api-keys/key_many_0000", "", headers),
		} {
			if got.Status != http.StatusForbidden {
				t.Errorf("REST: %d %s", got.Status, got.Body)
			}
		}
		s.Stop()
		kept, more := 0, 0
		for _, e := range programtest.StoredEvents(t, d) {
			switch {
			case e.Outcome != apikey.Denied || e.Action != apikey.KeyRevoked || e.ActorKeyID == nil || *e.ActorKeyID != "key_caller_reader" || !slices.Equal(e.RetrieverIDs, []apikey.RetrieverID{"ret_many"}):
				t.Errorf("event %+v", e)
			case len(e.Changes) == 0:
				kept++
			default:
				n, err := strconv.Atoi(*e.Changes[0].After)
				if more += n; err != nil || e.Changes[0].Field != "denied_attempts" {
					t.Errorf("event %+v", e)
				}
			}
		}
		minutes := int(time.Now().Unix()/60 - first + 1)
		if kept < 10 || kept > 10*minutes || kept+more != 120 {
			t.Errorf("in %d minutes: got %d events and %d counted attempts, of 120", minutes, kept, more)
		}
	})
}

// A page on any local port can call the demo, because development servers choose their ports. Other servers allow only the origins that
// CORS_ALLOWED_ORIGINS names.
func TestLocalPagesCanCallTheDemo(t *testing.T) {
	demo, production := programtest.ServeAs(t, programtest.Embedded(t).Env), programtest.Serve(t, programtest.Embedded(t).Env)
	for _, origin := range []string{"http://localhost:5173", "http://127.0.0.1:3000", "http://[::1]:8080", "http://localhost"} {
		preflight := map[string]string{"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type,x-namespace"}
		if got := demo.Request(http.MethodOptions, "/graphql", "", preflight); got.Status/100 != 2 || got.Header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("%s calls the demo: %d %v %s", origin, got.Status, got.Header, got.Body)
		}
		if got := production.Request(http.MethodOptions, "/graphql", "", preflight); got.Status != http.StatusForbidden || !strings.Contains(got.Body, "the origin "+origin+" may not call this server: add the origin to CORS_ALLOWED_ORIGINS") {
			t.Errorf("%s calls another server: %d %v %s", origin, got.Status, got.Header, got.Body)
		}
	}
	preflight := map[string]string{"Origin": "https://localhost.example", "Access-Control-Request-Method": "POST"}
	if got := demo.Request(http.MethodOptions, "/graphql", "", preflight); got.Status != http.StatusForbidden {
		t.Errorf("another site calls the demo: %d %v %s", got.Status, got.Header, got.Body)
	}
}

// Any client can send X-Forwarded-For, so the audit trail uses it only from the proxies that TRUSTED_PROXIES names.
func TestAuditHasTheClientsAddress(t *testing.T) {
	for _, c := range []struct{ trusted, forwarded, want string }{
		{"", "203.0.113.9", "127.0.0.1"},
		{"127.0.0.0/8,10.0.0.1", "203.0.113.9", "203.0.113.9"},
		{"127.0.0.1", "198.51.100.7, 203.0.113.9, 127.0.0.1", "203.0.113.9"},
		{"10.0.0.0/8", "203.0.113.9", "127.0.0.1"},
		{"127.0.0.1", "[2001:db8::1]", "2001:db8::1"},
		{"127.0.0.1", "[2001:db8::1]:443", "2001:db8::1"},
		{"127.0.0.1,[2001:db8::2],", "6.6.6.6, 2001:db8::1, [2001:db8::2]:80", "2001:db8::1"},
		{"127.0.0.1", "203.0.113.9,", "203.0.113.9"},
		{"127.0.0.1", ", 203.0.113.9:5000 ,\t, ,", "203.0.113.9"},
		{"127.0.0.1", ",,", "127.0.0.1"},
		{"127.0.0.1", "203.0.113.9, unknown", "127.0.0.1"},
		{"127.0.0.1", "203.0.113.9, [127.0.0.1]", "127.0.0.1"},
	} {
		d := programtest.Seeded(t, programtest.Embedded(t))
		d.Env["TRUSTED_PROXIES"] = c.trusted
		s := programtest.Serve(t, d.Env)
		s.Request(http.MethodDelete, "/v1/retrievers/main/api-keys/key_tie_a", "", map[string]string{
			"Authorization": "Bearer " + programtest.Token("admin"), "X-Namespace": "production", "X-Forwarded-For": c.forwarded,
		})
		if events := s.RetrieverEvents("main"); len(events) != 1 || events[0]["ipAddress"] != c.want {
			t.Errorf("trusting %q, forwarded %q: %v, want %s", c.trusted, c.forwarded, events, c.want)
		}
	}
}

// last_used_at shows whether a key is in use. It is written after the request, at the latest when the server stops. Refused requests do not count.
func TestUsesAreStored(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = programtest.Seeded(t, d)
		before := time.Now().Add(-time.Second)
		s := programtest.Serve(t, d.Env)
		s.Query("reader", "production", `{ viewer { keyId } }`)
		s.Query("retriever", "production", `{ viewer { keyId } }`)
		s.Query("writer", "production", `mutation { revokeApiKey(input: {id: "key_tie_a"}) { apiKey { id } } }`)
		s.Query("expired", "production", `{ viewer { keyId } }`)
		s.Request(http.MethodPost, "/graphql", `{"query":"{ viewer { keyId } }"}`, map[string]string{
			"Authorization": "Bearer " + programtest.Token("origin"), "Origin": "https://evil.example",
		})
		s.Stop()
		engine := d.Open(t)
		defer func() { _ = engine.Close() }()
		for name, used := range map[string]bool{"reader": true, "retriever": false, "writer": false, "expired": false, "origin": false, "admin": false} {
			keys, err := engine.CurrentKeys(t.Context(), "int_a", apikey.ID("key_caller_"+name))
			if err != nil || len(keys) != 1 {
				t.Fatal(keys, err)
			}
			last := keys[0].LastUsedAt
			if (last != nil) != used || used && last.Before(before) {
				t.Errorf("%s: last used %v", name, last)
			}
		}
	})
}

// GraphQL and REST return the same keys in the same order and the same codes to every kind of caller. Otherwise, one of them would allow what
// the other refuses.
func TestGraphQLAndRESTAgree(t *testing.T) {
	statuses := map[string]int{
		"": http.StatusOK, "UNAUTHENTICATED": http.StatusUnauthorized, "FORBIDDEN": http.StatusForbidden, "NOT_FOUND": http.StatusNotFound,
		"BAD_USER_INPUT": http.StatusBadRequest,
	}
	callers := []string{
		"", "admin", "reader", "writer", "manager", "foreign", "nothing", "unknown_permission", "retriever", "revoked", "expired", "scoped", "pattern",
		"staging", "organization", "executor", "origin", "user_scoped", "session", "robot", "nobody", "odd_status", "odd_revoked", "odd_scopes", "odd_scope", "odd_operations",
		"odd_permissions", "odd_type", "odd_tenant",
	}
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		s := programtest.Serve(t, programtest.Seeded(t, d).Env)
		compared := 0
		for _, caller := range callers {
			for _, where := range []struct{ namespace, retriever string }{
				{"production", "main"}, {"production", "ret_main"}, {"production", "ret_odd"}, {"production", "ret_b"}, {"production", "none"},
				{"ns_stage", "main"}, {"none", "main"}, {"", "main"},
			} {
				for _, all := range []bool{false, true} {
					headers := map[string]string{"X-Namespace": where.namespace}
					if caller != "" {
						headers["Authorization"] = "Bearer " + programtest.Token(caller)
					}
					rest := s.Request(http.MethodGet, fmt.Sprintf("/v1/retrievers/%s/api-keys?include_revoked=%t", where.retriever, all), "", headers)
					graph := s.Query(caller, where.namespace, `query($id: ID!, $all: Boolean) { retriever(id: $id) { apiKeys(includeRevoked: $all) { total results { keyId status } } } }`,
						programtest.Fields{"id": where.retriever, "all": all})
					if got, want := fromREST(t, rest), fromGraphQL(t, graph); got.text != want.text || rest.Status != statuses[want.code] {
						t.Fatalf("%q reads %v, all %t:\nREST    %d %s\nGraphQL %s %s", caller, where, all, rest.Status, got.text, want.code, want.text)
					}
					compared++
				}
			}
		}
		for _, caller := range callers { // creating and revoking keys
			name := "by " + caller
			headers := map[string]string{"X-Namespace": "production"}
			if caller != "" {
				headers["Authorization"] = "Bearer " + programtest.Token(caller)
			}
			for _, c := range []struct{ method, path, body, mutation string }{
				{http.MethodPost, "", `{"name":"` + name + `"}`, `createApiKey(input: {retrieverId: "main", name: "` + name + `"}) { apiKey { name } }`},
				{http.MethodDelete, "/key_tie_a", "", `revokeApiKey(input: {id: "key_tie_a"}) { apiKey { keyId } }`},
				{http.MethodDelete, "/key_staging", "", `revokeApiKey(input: {id: "key_staging"}) { apiKey { keyId } }`},
				{http.MethodDelete, "/none", "", `revokeApiKey(input: {id: "none"}) { apiKey { keyId } }`},
			} {
				rest := s.Request(c.method, "/v1/retrievers/main/api-keys"+c.path, c.body, headers)
				graph := s.Query(caller, "production", "mutation { "+c.mutation+" }")
				want := statuses[fromGraphQL(t, graph).code]
				if want == http.StatusOK && c.method == http.MethodPost {
					want = http.StatusOK
				}
				if rest.Status != want {
					t.Errorf("%q: %s %s: %d %s, GraphQL %s", caller, c.method, c.path, rest.Status, rest.Body, graph.Body)
				}
				compared++
			}
		}
		t.Log(compared, "questions compared")
	})
}

// content is a list or an error, in a form that GraphQL and REST have in common.
type content struct{ code, text string }

func fromREST(t *testing.T, a programtest.Answer) content {
	t.Helper()
	var body struct {
		Total   int
		Results []struct {
			KeyID  string `json:"key_id"`
			Status string
		}
	}
	if err := json.Unmarshal([]byte(a.Body), &body); err != nil {
		t.Fatalf("%v in %s", err, a.Body)
	}
	text := fmt.Sprint(body.Total)
	for _, k := range body.Results {
		text += " " + k.KeyID + " " + strings.ToUpper(k.Status)
	}
	return content{text: text}
}

func fromGraphQL(t *testing.T, a programtest.Answer) content {
	t.Helper()
	var body struct {
		Data struct {
			Retriever struct {
				APIKeys struct {
					Total   int
					Results []struct{ KeyID, Status string }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(a.Body), &body); err != nil {
		t.Fatalf("%v in %s", err, a.Body)
	}
	keys := body.Data.Retriever.APIKeys
	text := fmt.Sprint(keys.Total)
	for _, k := range keys.Results {
		text += " " + k.KeyID + " " + k.Status
	}
	code := ""
	if codes := a.Codes(t); len(codes) > 0 {
		code = codes[0]
	}
	return content{code, text}
}
