package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/ratelimit/redistest"
	"retrieverkeys/store/document"
)

// What a key may give to others, and to itself by way of others, through the whole program.

// family is keys of the organization that name a retriever and may change keys: they can be rotated and updated, by each other too.
func family() document.Batch {
	end, origins := date("2999-01-01T00:00:00Z"), []string{"https://app.example.com", "https://*.example.org"}
	member := func(name string, overrides ...fields) bson.Raw {
		return callerDoc(name, "int_a", "org_a", append([]fields{{
			"permissions": []string{"write"}, "scopes": []fields{scope("retriever", "ret_main")},
		}}, overrides...)...)
	}
	return document.Batch{Keys: []bson.Raw{
		member("limited", fields{"expires_at": end, "allowed_origins": origins, "rate_limit_override": int32(1000)}),
		member("unlimited"),
		member("lasting", fields{"allowed_origins": origins, "rate_limit_override": int32(1000)}),
		member("everywhere", fields{"expires_at": end, "rate_limit_override": int32(1000)}),
		member("fast", fields{"expires_at": end, "allowed_origins": origins, "rate_limit_override": int32(1001)}),
		member("sibling", fields{"expires_at": end, "allowed_origins": []string{"https://a.example.org"}, "rate_limit_override": int32(5)}),
	}}
}

// as sends an operation with any bearer.
func (s *server) as(bearer, operation string) answer {
	s.t.Helper()
	body, err := json.Marshal(fields{"query": operation})
	if err != nil {
		s.t.Fatal(err)
	}
	return s.request(http.MethodPost, "/graphql", string(body), map[string]string{"Authorization": "Bearer " + bearer, "X-Namespace": "production"})
}

// outcome is the one code of an answer; OK where there is none.
func outcome(t *testing.T, a answer) string {
	t.Helper()
	if codes := a.codes(t); len(codes) > 0 {
		return strings.Join(codes, " ")
	}
	return "OK"
}

// A key that ends in an hour must not come to hold one of the same rights that never does.
func TestNoWayUpByOtherKeys(t *testing.T) {
	onEveryStore(t, func(t *testing.T, d deployment) {
		importBatch(t, seeded(t, d), family())
		s := serve(t, d.env)
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
				if got := s.query("limited", "production", operation); outcome(t, got) != c.want || c.want != "OK" && strings.Contains(got.body, "sk_") {
					t.Errorf("%s: %s", operation, got.body)
				}
			}
		}
		denied := map[string]int{}
		for _, e := range s.auditOf("main") {
			if e["status"] == "denied" && e["actorKeyId"] == "key_caller_limited" {
				denied[fmt.Sprint(e["action"], " ", e["resourceId"])]++
			}
		}
		for _, want := range []string{
			"api_key_rotated key_caller_unlimited", "api_key_rotated key_caller_lasting", "api_key_rotated key_caller_everywhere", "api_key_rotated key_caller_fast",
			"api_key_updated key_caller_sibling", "api_key_updated key_caller_limited",
		} {
			if denied[want] < 1 {
				t.Errorf("the trail has no denied %s", want)
			}
		}
		if got := s.query("admin", "production", `{ apiKey(id: "key_caller_fast") { status rotatedTo expiresAt allowedOrigins rateLimitOverride } }`); got.body !=
			`{"data":{"apiKey":{"status":"ACTIVE","rotatedTo":null,"expiresAt":"2999-01-01T00:00:00.000Z","allowedOrigins":["https://app.example.com","https://*.example.org"],"rateLimitOverride":1001}}}` {
			t.Errorf("a key that was not to be rotated: %s", got.body)
		}
		for _, of := range []string{"fast", "everywhere"} {
			if got := s.query("admin", "production", `mutation { rotateApiKey(input: {id: "key_caller_`+of+`"}) { key } }`); outcome(t, got) != "OK" {
				t.Errorf("an admin: %s", got.body)
			}
		}
	})
}

// A key that may rotate itself must gain nothing by it: neither the old one for the new, nor the new one for the old.
func TestNoWayUpByOwnSuccessors(t *testing.T) {
	onEveryStore(t, func(t *testing.T, d deployment) {
		importBatch(t, seeded(t, d), family())
		s := serve(t, d.env)
		type holder struct{ id, secret string }
		relatives := []holder{{"key_caller_limited", token("limited")}}
		for range 2 {
			last := relatives[len(relatives)-1]
			got := s.as(last.secret, `mutation { rotateApiKey(input: {id: "`+last.id+`", overlapSeconds: 600}) { key apiKey { id expiresAt allowedOrigins rateLimitOverride } } }`)
			var made struct {
				Data struct {
					RotateAPIKey struct {
						Key    string
						APIKey struct{ ID string }
					}
				}
			}
			if err := json.Unmarshal([]byte(got.body), &made); err != nil || !strings.Contains(got.body,
				`"expiresAt":"2999-01-01T00:00:00.000Z","allowedOrigins":["https://app.example.com","https://*.example.org"],"rateLimitOverride":1000`) {
				t.Fatalf("%v in %s", err, got.body)
			}
			relatives = append(relatives, holder{made.Data.RotateAPIKey.APIKey.ID, made.Data.RotateAPIKey.Key})
		}
		for i, by := range relatives {
			for j, of := range relatives {
				for _, change := range []string{`expiresAt: null`, `allowedOrigins: null`, `allowedOrigins: []`, `rateLimitOverride: null`, `rateLimitOverride: 1001`, `expiresAt: "2999-01-01T00:00:00.001Z"`} {
					got := s.as(by.secret, `mutation { updateApiKey(input: {id: "`+of.id+`", `+change+`}) { apiKey { id } } }`)
					if outcome(t, got) != "FORBIDDEN" {
						t.Errorf("key %d updates key %d, %s: %s", i, j, change, got.body)
					}
				}
			}
		}
		// To be limited more is no harm, not by oneself either.
		youngest := relatives[2]
		if got := s.as(youngest.secret, `mutation { updateApiKey(input: {id: "`+youngest.id+`", rateLimitOverride: 999, expiresAt: "2998-01-01T00:00:00Z", allowedOrigins: ["https://app.example.com"]}) { apiKey { rateLimitOverride } } }`); got.body !=
			`{"data":{"updateApiKey":{"apiKey":{"rateLimitOverride":999}}}}` {
			t.Errorf("to limit oneself: %s", got.body)
		}
		if got := s.as(youngest.secret, `mutation { updateApiKey(input: {id: "`+youngest.id+`", rateLimitOverride: 1000}) { apiKey { id } } }`); outcome(t, got) != "FORBIDDEN" {
			t.Errorf("to take that back: %s", got.body)
		}
	})
}

// Whoever narrows a key to their own limits may rotate it. What they then hold spends what the old key spends, in place of a budget of
// its own.
func TestNarrowingAndRotatingRenewsNoBudget(t *testing.T) {
	onEveryStore(t, func(t *testing.T, d deployment) {
		importBatch(t, seeded(t, d), family())
		s := serve(t, d.env)
		const rotate = `mutation { rotateApiKey(input: {id: "key_caller_unlimited", overlapSeconds: 3600}) { key previous { status } } }`
		if got := s.query("limited", "production", rotate); outcome(t, got) != "FORBIDDEN" {
			t.Errorf("as it is: %s", got.body)
		}
		if got := s.query("limited", "production", `mutation { updateApiKey(input: {id: "key_caller_unlimited", expiresAt: "2999-01-01T00:00:00Z", allowedOrigins: ["https://app.example.com"], rateLimitOverride: 1000}) { apiKey { id } } }`); outcome(t, got) != "OK" {
			t.Fatalf("to narrow it: %s", got.body)
		}
		remaining := func(bearer string) string {
			t.Helper()
			got := s.as(bearer, `{ viewer { keyId } }`)
			if outcome(t, got) != "OK" {
				t.Errorf("%s", got.body)
			}
			return got.header.Get("X-RateLimit-Remaining")
		}
		if got := remaining(token("unlimited")); got != "999" {
			t.Errorf("the old key has %s left", got)
		}
		got := s.query("limited", "production", rotate)
		_, secret, _ := strings.Cut(got.body, `"key":"`)
		secret, _, _ = strings.Cut(secret, `"`)
		if left := remaining(secret); outcome(t, got) != "OK" || left != "998" {
			t.Errorf("the new key has %s left: %s", left, got.body)
		}
		if left := remaining(token("unlimited")); left != "997" {
			t.Errorf("the old key then has %s left", left)
		}
	})
}

// Where keys without a limit of their own have one from the settings, that is what a key is compared by.
func TestTheGeneralLimitCounts(t *testing.T) {
	for general, want := range map[string]string{"0": "FORBIDDEN", "2000": "FORBIDDEN", "1000": "OK", "500": "OK"} {
		d := seeded(t, embedded(t))
		importBatch(t, d, family())
		d.env["RATE_LIMIT_PER_MINUTE"] = general
		s := serve(t, d.env)
		got := s.query("limited", "production", `mutation { updateApiKey(input: {id: "key_caller_sibling", rateLimitOverride: null}) { apiKey { id } } }`)
		if outcome(t, got) != want {
			t.Errorf("RATE_LIMIT_PER_MINUTE=%s: %s", general, got.body)
		}
	}
}

// Keys of types that the platform began to issue, or will, read what an admin reads and change nothing, however one asks.
func TestKeysOfOtherTypesOnlyRead(t *testing.T) {
	onEveryStore(t, func(t *testing.T, d deployment) {
		importBatch(t, seeded(t, d), document.Batch{Keys: []bson.Raw{
			keyDoc("key_of_user", "ret_bare", fields{"key_type": "user_scoped"}), keyDoc("key_of_session", "ret_bare", fields{"key_type": "session"}),
			keyDoc("key_of_robot", "ret_bare", fields{"key_type": "robot"}),
		}})
		s := serve(t, d.env)
		for caller, shown := range map[string]string{"user_scoped": "USER_SCOPED", "session": "SESSION", "robot": "UNKNOWN"} {
			if got := s.query(caller, "production", `{ viewer { keyType permissions } }`); got.body != `{"data":{"viewer":{"keyType":"`+shown+`","permissions":["ADMIN"]}}}` {
				t.Errorf("%s: %s", caller, got.body)
			}
			for _, query := range []string{`{ retriever(id: "main") { apiKeys { total } } }`, `{ apiKey(id: "key_tie_b") { status } }`, `{ retriever(id: "main") { auditEvents { total } } }`} {
				if got := s.query(caller, "production", query); outcome(t, got) != "OK" {
					t.Errorf("%s: %s: %s", caller, query, got.body)
				}
			}
			headers := map[string]string{"Authorization": "Bearer " + token(caller), "X-Namespace": "production"}
			if got := s.request(http.MethodGet, "/v1/retrievers/main/api-keys", "", headers); got.status != http.StatusOK {
				t.Errorf("%s: the REST list: %d %s", caller, got.status, got.body)
			}
			for _, mutation := range []string{
				`createApiKey(input: {retrieverId: "main", name: "x"}) { key }`, `updateApiKey(input: {id: "key_tie_b", name: "x"}) { apiKey { id } }`,
				`rotateApiKey(input: {id: "key_tie_b"}) { key }`, `revokeApiKey(input: {id: "key_tie_b"}) { apiKey { id } }`,
			} {
				if got := s.query(caller, "production", "mutation { "+mutation+" }"); outcome(t, got) != "FORBIDDEN" {
					t.Errorf("%s: %s: %s", caller, mutation, got.body)
				}
			}
			if got := s.request(http.MethodPost, "/v1/retrievers/main/api-keys", `{"name":"x"}`, headers); got.status != http.StatusForbidden {
				t.Errorf("%s: REST creates: %d %s", caller, got.status, got.body)
			}
			if got := s.request(http.MethodDelete, "/v1/retrievers/main/api-keys/key_tie_b", "", headers); got.status != http.StatusForbidden {
				t.Errorf("%s: REST revokes: %d %s", caller, got.status, got.body)
			}
			denied := map[any]int{}
			for _, e := range s.auditOf("main") {
				if e["actorKeyId"] == "key_caller_"+caller && e["status"] == "denied" {
					denied[e["action"]]++
				}
			}
			if len(denied) != 4 {
				t.Errorf("%s: the trail has denied attempts of %v", caller, denied)
			}
		}
		for types, want := range map[string]string{
			`[USER_SCOPED]`: `"results":[{"id":"key_of_user","keyType":"USER_SCOPED"}]`, `[SESSION]`: `"results":[{"id":"key_of_session","keyType":"SESSION"}]`,
			`[USER_SCOPED, SESSION]`: `"total":2`, `[STANDARD]`: `"total":0`, `[UNKNOWN]`: `"code":"BAD_USER_INPUT"`,
		} {
			if got := s.query("admin", "production", `{ retriever(id: "bare") { apiKeys(filter: {keyType: `+types+`}) { total results { id keyType } } } }`); !strings.Contains(got.body, want) {
				t.Errorf("a filter by %s: %s", types, got.body)
			}
		}
		// An admin names, limits and ends such keys like others, and puts no other in their place.
		for id, says := range map[string]string{"key_of_user": "keys of the type user_scoped act for one person", "key_of_session": "keys of the type session act for one person", "key_of_robot": "cannot be read"} {
			if got := s.query("admin", "production", `mutation { rotateApiKey(input: {id: "`+id+`"}) { key } }`); outcome(t, got) != "CONFLICT" || !strings.Contains(got.body, says) {
				t.Errorf("%s is rotated: %s", id, got.body)
			}
			s.mutate("admin", `updateApiKey(input: {id: "`+id+`", name: "named"}) { apiKey { id } }`)
			s.mutate("admin", `revokeApiKey(input: {id: "`+id+`"}) { apiKey { id } }`)
		}
	})
}

// The vendor's 23rd field is in every list and answer, and survives what is done to a key.
func TestInternalKeysStayInternal(t *testing.T) {
	onEveryStore(t, func(t *testing.T, d deployment) {
		s := serve(t, seeded(t, d).env)
		headers := map[string]string{"Authorization": "Bearer " + token("admin"), "X-Namespace": "production"}
		internal := func() map[string]any {
			t.Helper()
			got := s.request(http.MethodGet, "/v1/retrievers/main/api-keys", "", headers)
			var list struct{ Results []map[string]any }
			if err := json.Unmarshal([]byte(got.body), &list); err != nil {
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
		s.mutate("admin", `updateApiKey(input: {id: "key_full", name: "renamed"}) { apiKey { id } }`)
		if keys := internal(); keys["key_full"] != true {
			t.Errorf("after an update: %v", keys)
		}
		successor := at(s.mutate("admin", `rotateApiKey(input: {id: "key_full", overlapSeconds: 60}) { apiKey { id } }`), "apiKey", "id")
		if keys := internal(); keys["key_full"] != true || keys[successor] != true {
			t.Errorf("after a rotation: %v", keys)
		}
		made := s.request(http.MethodPost, "/v1/retrievers/main/api-keys", `{"name":"new"}`, headers)
		if !strings.Contains(made.body, `"principal_id":null,"is_internal":false,"key":"ret_sk_`) {
			t.Errorf("a new key: %s", made.body)
		}
	})
}

// Two processes that share a Redis count the keys of one chain of rotations together, those that an older version made, too.
func TestRotatingRenewsNoBudget(t *testing.T) {
	redis := redistest.Start(t)
	redis.Serve(t)
	onEveryStore(t, func(t *testing.T, d deployment) {
		limited := fields{"rate_limit_override": int32(6), "permissions": []string{"write"}, "scopes": []fields{scope("retriever", "ret_main")}}
		after := func(before string) fields { return fields{"rotated_from": "key_caller_" + before} }
		// A name is in Redis for a minute, so each store has keys of its own.
		name := func(s string) string { return s + "_" + d.name }
		importBatch(t, seeded(t, d), document.Batch{Keys: []bson.Raw{
			callerDoc(name("first"), "int_a", "org_a", limited),
			callerDoc(name("second"), "int_a", "org_a", limited, after(name("first"))),
			callerDoc(name("third"), "int_a", "org_a", limited, after(name("second"))),
			callerDoc(name("theirs"), "int_b", "org_b", limited, after(name("first"))),
		}})
		d.env["REDIS_URL"] = "redis://" + redis.Addr
		processes := []*server{serve(t, d.env), serve(t, d.env)}
		const ask = `{ viewer { keyId } }`
		remaining := func(step string, a answer, want string) {
			t.Helper()
			if a.status != http.StatusOK || len(a.codes(t)) > 0 || a.header.Get("X-RateLimit-Remaining") != want {
				t.Errorf("%s: %d, %s remain, want %s: %s", step, a.status, a.header.Get("X-RateLimit-Remaining"), want, a.body)
			}
		}
		remaining("the first", processes[0].as(token(name("first")), ask), "5")
		remaining("the second", processes[1].as(token(name("second")), ask), "4")
		remaining("the third", processes[0].as(token(name("third")), ask), "3")
		rotated := processes[1].as(token(name("third")), `mutation { rotateApiKey(input: {id: "key_caller_`+name("third")+`", overlapSeconds: 60}) { key } }`)
		remaining("the third rotates itself", rotated, "2")
		_, secret, _ := strings.Cut(rotated.body, `"key":"`)
		secret, _, _ = strings.Cut(secret, `"`)
		remaining("the fourth", processes[0].as(secret, ask), "1")
		remaining("the first again", processes[1].as(token(name("first")), ask), "0")
		for _, s := range processes {
			for _, bearer := range []string{token(name("first")), token(name("second")), token(name("third")), secret} {
				if got := s.as(bearer, ask); got.status != http.StatusTooManyRequests {
					t.Errorf("%.20s, when all is spent: %d %s", bearer, got.status, got.body)
				}
			}
		}
		remaining("another organization's key that names it", processes[0].as(token(name("theirs")), ask), "5")
	})
}

// An id that is a pattern comes into no store by an import, and where one is already it gets no keys. A caller who manages one
// namespace would otherwise make a key that executes every retriever of the organization.
func TestIDsThatArePatterns(t *testing.T) {
	onEveryStore(t, func(t *testing.T, d deployment) {
		patterns := document.Batch{
			Namespaces: []bson.Raw{namespaceDoc("ns_*", "patterns", "int_a")},
			Retrievers: []bson.Raw{retrieverDoc("*", "all", "ns_prod", "int_a"), retrieverDoc("ret_x*", "some", "ns_prod", "int_a"), retrieverDoc("ret_in", "in", "ns_*", "int_a")},
		}
		code, _, errs := command(t, d.env, "import", writeImport(t, patterns))
		for _, want := range []string{"namespaces[0].namespace_id: ", "retrievers[0].retriever_id: ", "retrievers[1].retriever_id: ", "retrievers[2].namespace_id: "} {
			if code != exitFailed || !strings.Contains(errs, want) {
				t.Errorf("exit code %d, without %q:\n%s", code, want, errs)
			}
		}
		insert(t, seeded(t, d), patterns)
		s := serve(t, d.env)
		for _, of := range []struct{ id, name, namespace, caller string }{
			{"*", "all", "production", "manager"}, {"ret_x*", "some", "production", "manager"}, {"ret_x*", "some", "production", "admin"}, {"ret_in", "in", "patterns", "admin"},
		} {
			for _, ref := range []string{of.id, of.name} {
				if got := s.query(of.caller, of.namespace, `query($id: ID!) { retriever(id: $id) { id name apiKeys { results { name } } } }`, fields{"id": ref}); outcome(t, got) != "OK" || !strings.Contains(got.body, `"id":"`+of.id+`","name":"`+of.name+`"`) {
					t.Errorf("%s reads %s: %s", of.caller, ref, got.body)
				}
				made := s.query(of.caller, of.namespace, `mutation($id: ID!) { createApiKey(input: {retrieverId: $id, name: "x"}) { key } }`, fields{"id": ref})
				if outcome(t, made) != "BAD_USER_INPUT" || !strings.Contains(made.body, `"field":"retrieverId"`) {
					t.Errorf("%s makes a key for %s: %s", of.caller, ref, made.body)
				}
				rest := s.request(http.MethodPost, "/v1/retrievers/"+strings.ReplaceAll(ref, "*", "%2A")+"/api-keys", `{"name":"x"}`,
					map[string]string{"Authorization": "Bearer " + token(of.caller), "X-Namespace": of.namespace})
				if rest.status != http.StatusBadRequest || !strings.Contains(rest.body, "holds a *") {
					t.Errorf("%s makes a key for %s: %d %s", of.caller, ref, rest.status, rest.body)
				}
			}
		}
		if code, _, errs := command(t, d.env, "keys", "create", "--namespace", "ns_prod", "--retriever", "*", "--name", "x"); code != exitFailed || !strings.Contains(errs, "holds a *") {
			t.Errorf("keys create: exit code %d: %s", code, errs)
		}
	})
}

// What bootstrap makes has an id of its own making, whatever it is called.
func TestBootstrapMakesNoPatterns(t *testing.T) {
	d := embedded(t)
	if code, out, errs := command(t, d.env, "bootstrap", "--organization", "*", "--namespace", "ns_*"); code != exitOK {
		t.Fatalf("exit code %d: %s%s", code, out, errs)
	}
	engine := d.open(t)
	defer func() { _ = engine.Close() }()
	found, err := engine.NamespacesCalled(t.Context(), "ns_*")
	if err != nil || len(found) != 1 || strings.Contains(string(found[0].ID)+string(found[0].InternalID), "*") {
		t.Errorf("%+v, %v", found, err)
	}
}

// A limit that an import lets in must limit, and one that a database holds already must not be none.
func TestOddLimits(t *testing.T) {
	d := seeded(t, embedded(t))
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, []byte(`{"api_keys": [{"key_id": "k", "key_hash": "h", "internal_id": "int_a", "rate_limit_override": 0}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := command(t, d.env, "import", file); code != exitFailed || !strings.Contains(errs, "api_keys[0].rate_limit_override: must be at least 1") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	insert(t, d, document.Batch{Keys: []bson.Raw{
		callerDoc("zero", "int_a", "org_a", fields{"rate_limit_override": int32(0), "scopes": []fields{scope("retriever", "ret_main")}}),
		callerDoc("negative", "int_a", "org_a", fields{"rate_limit_override": int32(-5), "scopes": []fields{scope("retriever", "ret_main")}}),
	}})
	d.env["RATE_LIMIT_PER_MINUTE"] = "3"
	s := serve(t, d.env)
	for caller, shown := range map[string]string{"zero": "0", "negative": "-5"} {
		for i := range 4 {
			got := s.query(caller, "production", `{ apiKey(id: "key_caller_`+caller+`") { rateLimitOverride } }`)
			if i < 3 && (got.body != `{"data":{"apiKey":{"rateLimitOverride":`+shown+`}}}` || got.header.Get("X-RateLimit-Limit") != "3") || i == 3 && got.status != http.StatusTooManyRequests {
				t.Errorf("%s, request %d: %d %v %s", caller, i, got.status, got.header, got.body)
			}
		}
	}
}

// Requests from a forbidden origin are refused, and counted all the same: they come from web pages, and there may be many.
func TestForbiddenOriginsSpendTheBudget(t *testing.T) {
	d := seeded(t, embedded(t))
	d.env["RATE_LIMIT_PER_MINUTE"] = "3"
	s := serve(t, d.env)
	for i, want := range []int{http.StatusForbidden, http.StatusBadRequest, http.StatusForbidden, http.StatusTooManyRequests} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/graphql", strings.NewReader(`{"query":"{ viewer { keyId } }"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+token("origin"))
		if i == 1 {
			req.Header["X-Namespace"] = []string{"production", "staging"}
		} else {
			req.Header.Set("Origin", "https://evil.example")
		}
		if got := s.do(req); got.status != want {
			t.Errorf("request %d: %d %s, want %d", i, got.status, got.body, want)
		}
	}
}
