package systemtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
	"retrieverkeys/ratelimit/redistest"
	"retrieverkeys/store/document"
)

// The tests of this file check that no key gains authority through other keys.

// Without this, the holder of a key that expires in an hour obtains a key with the same rights that never expires.
func TestNoGainThroughOtherKeys(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		programtest.ImportBatch(t, programtest.Seeded(t, d), programtest.Family())
		s := programtest.Serve(t, d.Env)
		for _, c := range []struct{ operation, of, want string }{
			{`rotateApiKey(input: {id: "key_caller_%s"}) { key }`, "unlimited lasting everywhere fast", "FORBIDDEN"},
			{`updateApiKey(input: {id: "key_caller_%s", expiresAt: null}) { apiKey { id } }`, "sibling limited", "FORBIDDEN"},
			{`updateApiKey(input: {id: "key_caller_%s", allowedOrigins: ["https://example.org"]}) { apiKey { id } }`, "sibling limited", "FORBIDDEN"},
			{`updateApiKey(input: {id: "key_caller_%s", rateLimitOverride: 1001}) { apiKey { id } }`, "sibling limited", "FORBIDDEN"},
			{`updateApiKey(input: {id: "key_caller_%s", name: "renamed", expiresAt: "2999-01-01T00:00:00Z"}) { apiKey { id } }`, "unlimited fast", "OK"},
			{`updateApiKey(input: {id: "key_caller_%s", allowedOrigins: ["https://x.example.org"], rateLimitOverride: 1000}) { apiKey { id } }`, "sibling", "OK"},
			{`rotateApiKey(input: {id: "key_caller_%s"}) { key }`, "sibling", "OK"},
		} {
			for of := range strings.FieldsSeq(c.of) {
				operation := fmt.Sprintf("mutation { "+c.operation+" }", of)
				if got := s.Query("limited", "production", operation); programtest.Outcome(t, got) != c.want || c.want != "OK" && strings.Contains(got.Body, "sk_") {
					t.Errorf("%s: %s", operation, got.Body)
				}
			}
		}
		denied := map[string]int{}
		for _, e := range s.RetrieverEvents("main") {
			if e["status"] == "denied" && e["actorKeyId"] == "key_caller_limited" {
				denied[fmt.Sprint(e["action"], " ", e["resourceId"])]++
			}
		}
		for _, want := range []string{
			"api_key_rotated key_caller_unlimited", "api_key_rotated key_caller_lasting", "api_key_rotated key_caller_everywhere", "api_key_rotated key_caller_fast",
			"api_key_updated key_caller_sibling", "api_key_updated key_caller_limited",
		} {
			if denied[want] < 1 {
				t.Errorf("no denied %s in the audit trail", want)
			}
		}
		if got := s.Query("admin", "production", `{ apiKey(id: "key_caller_fast") { status rotatedTo expiresAt allowedOrigins rateLimitOverride } }`); got.Body !=
			`{"data":{"apiKey":{"status":"ACTIVE","rotatedTo":null,"expiresAt":"2999-01-01T00:00:00.000Z","allowedOrigins":["https://app.example.com","https://*.example.org"],"rateLimitOverride":1001}}}` {
			t.Errorf("the key must not be rotated: %s", got.Body)
		}
		for _, of := range []string{"fast", "everywhere"} {
			if got := s.Query("admin", "production", `mutation { rotateApiKey(input: {id: "key_caller_`+of+`"}) { key } }`); programtest.Outcome(t, got) != "OK" {
				t.Errorf("an admin: %s", got.Body)
			}
		}
	})
}

// Without this, a key that rotates itself gains authority: one of the two keys raises the limits of the other.
func TestNoGainThroughOwnSuccessors(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		programtest.ImportBatch(t, programtest.Seeded(t, d), programtest.Family())
		s := programtest.Serve(t, d.Env)
		type holder struct{ id, secret string }
		relatives := []holder{{"key_caller_limited", programtest.Token("limited")}}
		for range 2 {
			last := relatives[len(relatives)-1]
			got := s.QueryWithToken(last.secret, `mutation { rotateApiKey(input: {id: "`+last.id+`", overlapSeconds: 600}) { key apiKey { id expiresAt allowedOrigins rateLimitOverride } } }`)
			var made struct {
				Data struct {
					RotateAPIKey struct {
						Key    string
						APIKey struct{ ID string }
					}
				}
			}
			if err := json.Unmarshal([]byte(got.Body), &made); err != nil || !strings.Contains(got.Body,
				`"expiresAt":"2999-01-01T00:00:00.000Z","allowedOrigins":["https://app.example.com","https://*.example.org"],"rateLimitOverride":1000`) {
				t.Fatalf("%v in %s", err, got.Body)
			}
			relatives = append(relatives, holder{made.Data.RotateAPIKey.APIKey.ID, made.Data.RotateAPIKey.Key})
		}
		for i, by := range relatives {
			for j, of := range relatives {
				for _, change := range []string{`expiresAt: null`, `allowedOrigins: null`, `allowedOrigins: []`, `rateLimitOverride: null`, `rateLimitOverride: 1001`, `expiresAt: "2999-01-01T00:00:00.001Z"`} {
					got := s.QueryWithToken(by.secret, `mutation { updateApiKey(input: {id: "`+of.id+`", `+change+`}) { apiKey { id } } }`)
					if programtest.Outcome(t, got) != "FORBIDDEN" {
						t.Errorf("key %d updates key %d, %s: %s", i, j, change, got.Body)
					}
				}
			}
		}
		// A key can lower its own limits.
		youngest := relatives[2]
		if got := s.QueryWithToken(youngest.secret, `mutation { updateApiKey(input: {id: "`+youngest.id+`", rateLimitOverride: 999, expiresAt: "2998-01-01T00:00:00Z", allowedOrigins: ["https://app.example.com"]}) { apiKey { rateLimitOverride } } }`); got.Body !=
			`{"data":{"updateApiKey":{"apiKey":{"rateLimitOverride":999}}}}` {
			t.Errorf("lowering the limit: %s", got.Body)
		}
		if got := s.QueryWithToken(youngest.secret, `mutation { updateApiKey(input: {id: "`+youngest.id+`", rateLimitOverride: 1000}) { apiKey { id } } }`); programtest.Outcome(t, got) != "FORBIDDEN" {
			t.Errorf("raising it again: %s", got.Body)
		}
	})
}

// A caller can lower another key's limits to its own and then rotate that key. The successor shares the old key's rate limit budget instead of
// getting a new one.
func TestNarrowingAndRotatingRenewsNoBudget(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		programtest.ImportBatch(t, programtest.Seeded(t, d), programtest.Family())
		s := programtest.Serve(t, d.Env)
		const rotate = `mutation { rotateApiKey(input: {id: "key_caller_unlimited", overlapSeconds: 3600}) { key previous { status } } }`
		if got := s.Query("limited", "production", rotate); programtest.Outcome(t, got) != "FORBIDDEN" {
			t.Errorf("rotation before: %s", got.Body)
		}
		if got := s.Query("limited", "production", `mutation { updateApiKey(input: {id: "key_caller_unlimited", expiresAt: "2999-01-01T00:00:00Z", allowedOrigins: ["https://app.example.com"], rateLimitOverride: 3}) { apiKey { id } } }`); programtest.Outcome(t, got) != "OK" {
			t.Fatalf("lowering the limits: %s", got.Body)
		}
		remaining := func(bearer string) string {
			t.Helper()
			got := s.QueryWithToken(bearer, `{ viewer { keyId } }`)
			if programtest.Outcome(t, got) != "OK" {
				t.Errorf("%s", got.Body)
			}
			return got.Header.Get("X-RateLimit-Remaining")
		}
		if got := remaining(programtest.Token("unlimited")); got != "2" { // the next request is free after 20 s
			t.Errorf("the old key has %s left", got)
		}
		got := s.Query("limited", "production", rotate)
		_, secret, _ := strings.Cut(got.Body, `"key":"`)
		secret, _, _ = strings.Cut(secret, `"`)
		if left := remaining(secret); programtest.Outcome(t, got) != "OK" || left != "1" {
			t.Errorf("the new key has %s left: %s", left, got.Body)
		}
		if left := remaining(programtest.Token("unlimited")); left != "0" {
			t.Errorf("the old key has %s left afterwards", left)
		}
	})
}

// For a key without its own rate limit, RATE_LIMIT_PER_MINUTE is the limit that another key's is compared with.
func TestTheGeneralLimitCounts(t *testing.T) {
	for general, want := range map[string]string{"0": "FORBIDDEN", "2000": "FORBIDDEN", "1000": "OK", "500": "OK"} {
		d := programtest.Seeded(t, programtest.Embedded(t))
		programtest.ImportBatch(t, d, programtest.Family())
		d.Env["RATE_LIMIT_PER_MINUTE"] = general
		s := programtest.Serve(t, d.Env)
		got := s.Query("limited", "production", `mutation { updateApiKey(input: {id: "key_caller_sibling", rateLimitOverride: null}) { apiKey { id } } }`)
		if programtest.Outcome(t, got) != want {
			t.Errorf("RATE_LIMIT_PER_MINUTE=%s: %s", general, got.Body)
		}
	}
}

// Keys of types that this version does not issue can read, even with the permission admin, but change nothing through any API.
func TestKeysOfOtherTypesOnlyRead(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		programtest.ImportBatch(t, programtest.Seeded(t, d), document.Batch{Keys: []bson.Raw{
			programtest.KeyDoc("key_of_user", "ret_bare", programtest.Fields{"key_type": "user_scoped"}), programtest.KeyDoc("key_of_session", "ret_bare", programtest.Fields{"key_type": "session"}),
			programtest.KeyDoc("key_of_robot", "ret_bare", programtest.Fields{"key_type": "robot"}),
		}})
		s := programtest.Serve(t, d.Env)
		for caller, shown := range map[string]string{"user_scoped": "USER_SCOPED", "session": "SESSION", "robot": "UNKNOWN"} {
			if got := s.Query(caller, "production", `{ viewer { keyType permissions } }`); got.Body != `{"data":{"viewer":{"keyType":"`+shown+`","permissions":["ADMIN"]}}}` {
				t.Errorf("%s: %s", caller, got.Body)
			}
			for _, query := range []string{`{ retriever(id: "main") { apiKeys { total } } }`, `{ apiKey(id: "key_tie_b") { status } }`, `{ retriever(id: "main") { auditEvents { total } } }`} {
				if got := s.Query(caller, "production", query); programtest.Outcome(t, got) != "OK" {
					t.Errorf("%s: %s: %s", caller, query, got.Body)
				}
			}
			headers := map[string]string{"Authorization": "Bearer " + programtest.Token(caller), "X-Namespace": "production"}
			if got := s.Request(http.MethodGet, "/v1/retrievers/main/api-keys", "", headers); got.Status != http.StatusOK {
				t.Errorf("%s: the REST list: %d %s", caller, got.Status, got.Body)
			}
			for _, mutation := range []string{
				`createApiKey(input: {retrieverId: "main", name: "x"}) { key }`, `updateApiKey(input: {id: "key_tie_b", name: "x"}) { apiKey { id } }`,
				`rotateApiKey(input: {id: "key_tie_b"}) { key }`, `revokeApiKey(input: {id: "key_tie_b"}) { apiKey { id } }`,
			} {
				if got := s.Query(caller, "production", "mutation { "+mutation+" }"); programtest.Outcome(t, got) != "FORBIDDEN" {
					t.Errorf("%s: %s: %s", caller, mutation, got.Body)
				}
			}
			if got := s.Request(http.MethodPost, "/v1/retrievers/main/api-keys", `{"name":"x"}`, headers); got.Status != http.StatusForbidden {
				t.Errorf("%s: REST creates: %d %s", caller, got.Status, got.Body)
			}
			if got := s.Request(http.MethodDelete, "/v1/retrievers/main/api-keys/key_tie_b", "", headers); got.Status != http.StatusForbidden {
				t.Errorf("%s: REST revokes: %d %s", caller, got.Status, got.Body)
			}
			denied := map[any]int{}
			for _, e := range s.RetrieverEvents("main") {
				if e["actorKeyId"] == "key_caller_"+caller && e["status"] == "denied" {
					denied[e["action"]]++
				}
			}
			if len(denied) != 4 {
				t.Errorf("%s: got denied attempts %v", caller, denied)
			}
		}
		for types, want := range map[string]string{
			`[USER_SCOPED]`: `"results":[{"id":"key_of_user","keyType":"USER_SCOPED"}]`, `[SESSION]`: `"results":[{"id":"key_of_session","keyType":"SESSION"}]`,
			`[USER_SCOPED, SESSION]`: `"total":2`, `[STANDARD]`: `"total":0`, `[UNKNOWN]`: `"code":"BAD_USER_INPUT"`,
		} {
			if got := s.Query("admin", "production", `{ retriever(id: "bare") { apiKeys(filter: {keyType: `+types+`}) { total results { id keyType } } } }`); !strings.Contains(got.Body, want) {
				t.Errorf("a filter by %s: %s", types, got.Body)
			}
		}
		// An admin can update and revoke such keys but not rotate them.
		for id, says := range map[string]string{"key_of_user": "keys of the type user_scoped act for one person", "key_of_session": "keys of the type session act for one person", "key_of_robot": "cannot be read"} {
			if got := s.Query("admin", "production", `mutation { rotateApiKey(input: {id: "`+id+`"}) { key } }`); programtest.Outcome(t, got) != "CONFLICT" || !strings.Contains(got.Body, says) {
				t.Errorf("%s is rotated: %s", id, got.Body)
			}
			s.Mutate("admin", `updateApiKey(input: {id: "`+id+`", name: "named"}) { apiKey { id } }`)
			s.Mutate("admin", `revokeApiKey(input: {id: "`+id+`"}) { apiKey { id } }`)
		}
	})
}

// The vendor's 23rd field, is_internal, is in every response and survives updates and rotations.
func TestInternalKeysStayInternal(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		s := programtest.Serve(t, programtest.Seeded(t, d).Env)
		headers := map[string]string{"Authorization": "Bearer " + programtest.Token("admin"), "X-Namespace": "production"}
		internal := func() map[string]any {
			t.Helper()
			got := s.Request(http.MethodGet, "/v1/retrievers/main/api-keys", "", headers)
			var list struct{ Results []map[string]any }
			if err := json.Unmarshal([]byte(got.Body), &list); err != nil {
				t.Fatal(err)
			}
			keys := map[string]any{}
			for _, k := range list.Results {
				if len(k) != 23 {
					t.Errorf("an item has %d fields: %v", len(k), k)
				}
				keys[fmt.Sprint(k["key_id"])] = k["is_internal"]
			}
			return keys
		}
		if keys := internal(); keys["key_full"] != true || keys["key_tie_b"] != false {
			t.Errorf("is_internal: %v", keys)
		}
		s.Mutate("admin", `updateApiKey(input: {id: "key_full", name: "renamed"}) { apiKey { id } }`)
		if keys := internal(); keys["key_full"] != true {
			t.Errorf("after an update: %v", keys)
		}
		successor := programtest.TextAt(s.Mutate("admin", `rotateApiKey(input: {id: "key_full", overlapSeconds: 60}) { apiKey { id } }`), "apiKey", "id")
		if keys := internal(); keys["key_full"] != true || keys[successor] != true {
			t.Errorf("after a rotation: %v", keys)
		}
		made := s.Request(http.MethodPost, "/v1/retrievers/main/api-keys", `{"name":"new"}`, headers)
		if !strings.Contains(made.Body, `"principal_id":null,"is_internal":false,"key":"ret_sk_`) {
			t.Errorf("a new key: %s", made.Body)
		}
	})
}

// Processes that share a Redis count all keys of a chain of rotations together, including keys that an older version created.
func TestRotatingRenewsNoBudget(t *testing.T) {
	redis := redistest.Start(t)
	redis.Serve(t)
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		limited := programtest.Fields{"rate_limit_override": int32(6), "permissions": []string{"write"}, "scopes": []programtest.Fields{programtest.Scope("retriever", "ret_main")}}
		after := func(before string) programtest.Fields {
			return programtest.Fields{"rotated_from": "key_caller_" + before}
		}
		// Redis keeps a counter for a minute, so each store needs its own keys.
		name := func(s string) string { return s + "_" + d.Name }
		programtest.ImportBatch(t, programtest.Seeded(t, d), document.Batch{Keys: []bson.Raw{
			programtest.CallerDoc(name("first"), "int_a", "org_a", limited),
			programtest.CallerDoc(name("second"), "int_a", "org_a", limited, after(name("first"))),
			programtest.CallerDoc(name("third"), "int_a", "org_a", limited, after(name("second"))),
			programtest.CallerDoc(name("theirs"), "int_b", "org_b", limited, after(name("first"))),
		}})
		d.Env["REDIS_URL"] = "redis://" + redis.Addr
		processes := []*programtest.Server{programtest.Serve(t, d.Env), programtest.Serve(t, d.Env)}
		const ask = `{ viewer { keyId } }`
		remaining := func(step string, a programtest.Answer, want string) {
			t.Helper()
			if a.Status != http.StatusOK || len(a.Codes(t)) > 0 || a.Header.Get("X-RateLimit-Remaining") != want {
				t.Errorf("%s: %d, %s remain, want %s: %s", step, a.Status, a.Header.Get("X-RateLimit-Remaining"), want, a.Body)
			}
		}
		remaining("the first", processes[0].QueryWithToken(programtest.Token(name("first")), ask), "5")
		remaining("the second", processes[1].QueryWithToken(programtest.Token(name("second")), ask), "4")
		remaining("the third", processes[0].QueryWithToken(programtest.Token(name("third")), ask), "3")
		rotated := processes[1].QueryWithToken(programtest.Token(name("third")), `mutation { rotateApiKey(input: {id: "key_caller_`+name("third")+`", overlapSeconds: 60}) { key } }`)
		remaining("the third rotates itself", rotated, "2")
		_, secret, _ := strings.Cut(rotated.Body, `"key":"`)
		secret, _, _ = strings.Cut(secret, `"`)
		remaining("the fourth", processes[0].QueryWithToken(secret, ask), "1")
		remaining("the first again", processes[1].QueryWithToken(programtest.Token(name("first")), ask), "0")
		for _, s := range processes {
			for _, bearer := range []string{programtest.Token(name("first")), programtest.Token(name("second")), programtest.Token(name("third")), secret} {
				if got := s.QueryWithToken(bearer, ask); got.Status != http.StatusTooManyRequests {
					t.Errorf("%.20s with an exhausted budget: %d %s", bearer, got.Status, got.Body)
				}
			}
		}
		remaining("another organization's key that names it", processes[0].QueryWithToken(programtest.Token(name("theirs")), ask), "5")
	})
}

// Import rejects an id that is a pattern, and no key can be created for a stored one. Otherwise, a caller who manages one namespace could create
// a key that executes every retriever of the organization.
func TestIDsThatArePatterns(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		patterns := document.Batch{
			Namespaces: []bson.Raw{programtest.NamespaceDoc("ns_*", "patterns", "int_a")},
			Retrievers: []bson.Raw{programtest.RetrieverDoc("*", "all", "ns_prod", "int_a"), programtest.RetrieverDoc("ret_x*", "some", "ns_prod", "int_a"), programtest.RetrieverDoc("ret_in", "in", "ns_*", "int_a")},
		}
		code, _, errs := programtest.Command(t, d.Env, "import", programtest.WriteImport(t, patterns))
		for _, want := range []string{"namespaces[0].namespace_id: ", "retrievers[0].retriever_id: ", "retrievers[1].retriever_id: ", "retrievers[2].namespace_id: "} {
			if code != program.ExitFailed || !strings.Contains(errs, want) {
				t.Errorf("exit code %d, want %q in\n%s", code, want, errs)
			}
		}
		programtest.Insert(t, programtest.Seeded(t, d), patterns)
		s := programtest.Serve(t, d.Env)
		for _, of := range []struct{ id, name, namespace, caller string }{
			{"*", "all", "production", "manager"}, {"ret_x*", "some", "production", "manager"}, {"ret_x*", "some", "production", "admin"}, {"ret_in", "in", "patterns", "admin"},
		} {
			for _, ref := range []string{of.id, of.name} {
				if got := s.Query(of.caller, of.namespace, `query($id: ID!) { retriever(id: $id) { id name apiKeys { results { name } } } }`, programtest.Fields{"id": ref}); programtest.Outcome(t, got) != "OK" || !strings.Contains(got.Body, `"id":"`+of.id+`","name":"`+of.name+`"`) {
					t.Errorf("%s reads %s: %s", of.caller, ref, got.Body)
				}
				made := s.Query(of.caller, of.namespace, `mutation($id: ID!) { createApiKey(input: {retrieverId: $id, name: "x"}) { key } }`, programtest.Fields{"id": ref})
				if programtest.Outcome(t, made) != "BAD_USER_INPUT" || !strings.Contains(made.Body, `"field":"retrieverId"`) {
					t.Errorf("%s creates a key for %s: %s", of.caller, ref, made.Body)
				}
				rest := s.Request(http.MethodPost, "/v1/retrievers/"+strings.ReplaceAll(ref, "*", "%2A")+"/api-keys", `{"name":"x"}`,
					map[string]string{"Authorization": "Bearer " + programtest.Token(of.caller), "X-Namespace": of.namespace})
				if rest.Status != http.StatusBadRequest || !strings.Contains(rest.Body, "contains *") {
					t.Errorf("%s creates a key for %s: %d %s", of.caller, ref, rest.Status, rest.Body)
				}
			}
		}
		if code, _, errs := programtest.Command(t, d.Env, "keys", "create", "--namespace", "ns_prod", "--retriever", "*", "--name", "x"); code != program.ExitUsage || !strings.Contains(errs, "contains *") {
			t.Errorf("keys create: exit code %d: %s", code, errs)
		}
	})
}

// The ids that bootstrap creates contain no pattern, even if the names do.
func TestBootstrapCreatesNoPatterns(t *testing.T) {
	d := programtest.Embedded(t)
	if code, out, errs := programtest.Command(t, d.Env, "bootstrap", "--organization", "*", "--namespace", "ns_*"); code != program.ExitOK {
		t.Fatalf("exit code %d: %s%s", code, out, errs)
	}
	engine := d.Open(t)
	defer func() { _ = engine.Close() }()
	found, err := engine.NamespacesCalled(t.Context(), "ns_*")
	if err != nil || len(found) != 1 || strings.Contains(string(found[0].ID)+string(found[0].InternalID), "*") {
		t.Errorf("%+v, %v", found, err)
	}
}

// Import rejects a rate limit below 1. A stored one must not mean that there is no limit.
func TestOddLimits(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, []byte(`{"api_keys": [{"key_id": "k", "key_hash": "h", "internal_id": "int_a", "rate_limit_override": 0}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := programtest.Command(t, d.Env, "import", file); code != program.ExitFailed || !strings.Contains(errs, "api_keys[0].rate_limit_override: must be at least 1") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	programtest.Insert(t, d, document.Batch{Keys: []bson.Raw{
		programtest.CallerDoc("zero", "int_a", "org_a", programtest.Fields{"rate_limit_override": int32(0), "scopes": []programtest.Fields{programtest.Scope("retriever", "ret_main")}}),
		programtest.CallerDoc("negative", "int_a", "org_a", programtest.Fields{"rate_limit_override": int32(-5), "scopes": []programtest.Fields{programtest.Scope("retriever", "ret_main")}}),
	}})
	d.Env["RATE_LIMIT_PER_MINUTE"] = "3"
	s := programtest.Serve(t, d.Env)
	for caller, shown := range map[string]string{"zero": "0", "negative": "-5"} {
		for i := range 4 {
			got := s.Query(caller, "production", `{ apiKey(id: "key_caller_`+caller+`") { rateLimitOverride } }`)
			if i < 3 && (got.Body != `{"data":{"apiKey":{"rateLimitOverride":`+shown+`}}}` || got.Header.Get("X-RateLimit-Limit") != "3") || i == 3 && got.Status != http.StatusTooManyRequests {
				t.Errorf("%s, request %d: %d %v %s", caller, i, got.Status, got.Header, got.Body)
			}
		}
	}
}

// Requests from a forbidden origin are refused but still count against the rate limit, because a web page can send many of them.
func TestForbiddenOriginsSpendTheBudget(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	d.Env["RATE_LIMIT_PER_MINUTE"] = "3"
	s := programtest.Serve(t, d.Env)
	for i, want := range []int{http.StatusForbidden, http.StatusBadRequest, http.StatusForbidden, http.StatusTooManyRequests} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/graphql", strings.NewReader(`{"query":"{ viewer { keyId } }"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+programtest.Token("origin"))
		if i == 1 {
			req.Header["X-Namespace"] = []string{"production", "staging"}
		} else {
			req.Header.Set("Origin", "https://evil.example")
		}
		if got := s.Do(req); got.Status != want {
			t.Errorf("request %d: %d %s, want %d", i, got.Status, got.Body, want)
		}
	}
}
