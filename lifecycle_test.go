package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// mutate runs one mutation as the caller and returns its payload; it must succeed.
func (s *server) mutate(caller, mutation string, variables ...fields) map[string]any {
	s.t.Helper()
	operation := "mutation { do: "
	if len(variables) > 0 {
		operation = "mutation($id: ID!) { do: "
	}
	got := s.query(caller, "production", operation+mutation+" }", variables...)
	var body struct {
		Data   struct{ Do map[string]any }
		Errors []any
	}
	if err := json.Unmarshal([]byte(got.body), &body); err != nil || len(body.Errors) > 0 || body.Data.Do == nil {
		s.t.Fatalf("%s: %v in %d %s", mutation, err, got.status, got.body)
	}
	return body.Data.Do
}

// at returns the text that the names lead to in a JSON value.
func at(v any, path ...string) string {
	for _, name := range path {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	text, _ := v.(string)
	return text
}

// A request that starts after the answer to a revocation must not pass: neither at the process that answered, nor at
// another one over the same store. Anything cached in between would let a thief go on.
func TestRevokedIsDeadAtOnce(t *testing.T) {
	onEveryStore(t, func(t *testing.T, d deployment) {
		d = seeded(t, d)
		victims := 8
		var b document.Batch
		for i := range victims {
			b.Keys = append(b.Keys, callerDoc(fmt.Sprintf("victim_%d", i), "int_a", "org_a", fields{
				"scopes": []fields{scope("retriever", "ret_main")},
				// Used just now, so that it is not noted again: FerretDB loses a revocation that races with that.
				"last_used_at": bson.NewDateTimeFromTime(time.Now()),
			}))
		}
		importBatch(t, d, b)
		first, second := serve(t, d.env), serve(t, d.env)
		for i := range victims {
			name := fmt.Sprintf("victim_%d", i)
			var dead atomic.Bool
			var asked, passed atomic.Int64
			var wg sync.WaitGroup
			for _, s := range []*server{first, second, first, second} {
				wg.Go(func() {
					for last := false; !last; {
						last = dead.Load() // one more request that starts after the answer
						got := s.query(name, "production", `{ viewer { keyId } }`)
						asked.Add(1)
						if last && got.status != http.StatusUnauthorized {
							t.Errorf("after the revocation was answered: %d %s", got.status, got.body)
						}
						if got.status == http.StatusOK {
							passed.Add(1)
						}
					}
				})
			}
			for passed.Load() < 4 && !t.Failed() {
				first.query("", "production", `{ __typename }`)
			}
			first.mutate("admin", `revokeApiKey(input: {id: $id}) { apiKey { status } }`, fields{"id": "key_caller_" + name})
			dead.Store(true)
			wg.Wait()
		}
	})
}

// The plaintext of a key stands in one response and nowhere else: not in a log, not in the store, not in a metric, not in any
// other answer. Its hash stands in the store and in keyHash, and nowhere else.
func TestSecretIsNowhereElse(t *testing.T) {
	onEveryStore(t, func(t *testing.T, d deployment) {
		d = seeded(t, d)
		d.env["LOG_LEVEL"], d.env["ADMIN_ADDR"] = "debug", "127.0.0.1:0"
		s := serve(t, d.env)
		made := s.mutate("admin", `createApiKey(input: {retrieverId: "main", name: "secret", rateLimitOverride: 3}) { key apiKey { id keyHash } }`)
		s.mutate("admin", `updateApiKey(input: {id: $id, description: "changed"}) { apiKey { id } }`, fields{"id": at(made, "apiKey", "id")})
		rotated := s.mutate("admin", `rotateApiKey(input: {id: $id}) { key apiKey { id keyHash } }`, fields{"id": at(made, "apiKey", "id")})
		secrets := []string{at(made, "key"), at(rotated, "key")}
		hashes := []string{at(made, "apiKey", "keyHash"), at(rotated, "apiKey", "keyHash")}
		var byREST struct {
			Key  string
			Hash string `json:"key_hash"`
		}
		headers := map[string]string{"Authorization": "Bearer " + token("admin"), "X-Namespace": "production"}
		answer := s.request(http.MethodPost, "/v1/retrievers/main/api-keys", `{"name":"secret","rate_limit_override":3}`, headers)
		if err := json.Unmarshal([]byte(answer.body), &byREST); err != nil || answer.status != http.StatusOK {
			t.Fatal(err, answer)
		}
		secrets, hashes = append(secrets, byREST.Key), append(hashes, byREST.Hash)

		limited := false
		var seen strings.Builder
		for _, secret := range secrets { // used in every place where somebody may use or paste it
			for _, header := range []string{"Bearer " + secret, "Basic " + secret, "Bearer  " + secret} {
				for _, path := range []string{"/graphql", "/v1/retrievers/main/api-keys", "/graphql?access_token=" + secret, "/v1/retrievers/" + secret + "/api-keys"} {
					got := s.request(http.MethodPost, path, `{"query":"{ retriever(id: \"`+secret+`\") { id } }","variables":{"key":"`+secret+`"}}`,
						map[string]string{"Authorization": header, "X-Namespace": secret, "X-Request-Id": "mine"})
					seen.WriteString(got.body)
					limited = limited || got.status == http.StatusTooManyRequests
				}
			}
			for _, body := range []fields{ // as an operation that is known by its hash, as one that is none, as a setting
				{"query": `query Q { ` + secret + ` }`, "extensions": fields{"persistedQuery": fields{"version": 1, "sha256Hash": hashOf(`query Q { ` + secret + ` }`)}}},
				{"extensions": fields{"persistedQuery": fields{"version": 1, "sha256Hash": hashOf(secret)}}},
				{"query": `{ retriever(id: "` + secret, "operationName": secret}, {"documentId": secret}, {secret: secret},
				{"name": "a", "expires_at": secret, "allowed_origins": []string{secret}, "rate_limit_override": secret},
			} {
				text, err := json.Marshal(body)
				if err != nil {
					t.Fatal(err)
				}
				for _, path := range []string{"/graphql", "/v1/retrievers/main/api-keys"} {
					seen.WriteString(s.request(http.MethodPost, path, string(text), headers).body)
				}
			}
			seen.WriteString(s.request(http.MethodGet, "/graphql?query="+secret+"&variables="+secret, "", headers).body)
			seen.WriteString(s.request(secret, "/"+secret, "", headers).body)
			seen.WriteString(s.query("admin", "production", `mutation($id: ID!) { revokeApiKey(input: {id: $id}) { apiKey { id } } }`, fields{"id": secret}).body)
			seen.WriteString(s.query("admin", secret, `{ node(id: "`+secret+`") { id } }`).body)
		}
		answer = s.query("admin", "production", `{ retriever(id: "main") {
			auditEvents { results { id action resourceId actorId changes { field before after } userAgent } }
			apiKeys(includeRevoked: true) { results { id name description keyPrefix } } } }`)
		seen.WriteString(answer.body)
		if !limited || !strings.Contains(answer.body, `"rate_limit_override"`) {
			t.Errorf("no limit was met, or no change told: %s", answer.body)
		}
		admin := &server{t: t, url: regexp.MustCompile(`(http://[0-9.:]+)/metrics`).FindStringSubmatch(s.errors.String())[1]}
		metrics := admin.request(http.MethodGet, "/metrics", "", nil).body
		s.stop()
		outputs := map[string]string{"answers": seen.String(), "the metrics": metrics, "the log": s.errors.String(), "the standard output": s.out.String()}
		for name, text := range outputs {
			for i, secret := range secrets {
				if strings.Contains(text, secret) {
					t.Errorf("a plaintext stands in %s", name)
				}
				if strings.Contains(text, hashes[i]) {
					t.Errorf("a hash stands in %s", name)
				}
			}
		}
		for _, secret := range secrets {
			if file := stored(t, d, secret); file != "" {
				t.Errorf("a plaintext stands in %s", file)
			}
		}
	})
}

// Whoever did not get the answer to a creation cannot get the plaintext any more, but can find the key by its name, end it and
// make another of the same name.
func TestALostAnswerLeavesAKeyToFind(t *testing.T) {
	s := serve(t, seeded(t, embedded(t)).env)
	const create = `createApiKey(input: {retrieverId: "main", name: "Storefront 7"}) { apiKey { id } key }`
	lost := at(s.mutate("admin", create), "apiKey", "id")
	const find = `{ retriever(id: "main") { apiKeys(filter: {search: "storefront 7"}) { results { id } } } }`
	if got := s.query("admin", "production", find); got.body != `{"data":{"retriever":{"apiKeys":{"results":[{"id":"`+lost+`"}]}}}}` {
		t.Errorf("the lost key: %s", got.body)
	}
	s.mutate("admin", `revokeApiKey(input: {id: $id}) { apiKey { status } }`, fields{"id": lost})
	kept := at(s.mutate("admin", create), "apiKey", "id")
	if got := s.query("admin", "production", find); kept == lost || got.body != `{"data":{"retriever":{"apiKeys":{"results":[{"id":"`+kept+`"}]}}}}` {
		t.Errorf("the other key: %s", got.body)
	}
}

// stored returns the file of an embedded store that holds the text; empty where none does, or the store has no files.
func stored(t *testing.T, d deployment, text string) string {
	t.Helper()
	path, embedded := d.env["EMBEDDED_PATH"].(string)
	if !embedded {
		return ""
	}
	found := ""
	err := filepath.WalkDir(filepath.Dir(path), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(text)) {
			found = path
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// trailOf returns all audit events of the store, in the order in which they were stored. Those that are on their way are not
// among them.
func trailOf(t *testing.T, d deployment) (events []apikey.Event) {
	t.Helper()
	add := func(doc bson.Raw) {
		e, ok := document.Event(doc)
		if !ok {
			t.Fatalf("an event that cannot be read: %v", doc)
		}
		events = append(events, e)
	}
	if path, embedded := d.env["EMBEDDED_PATH"].(string); embedded {
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		rows, err := db.QueryContext(t.Context(), "SELECT document FROM audit_events ORDER BY pk")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var doc []byte
			if err := rows.Scan(&doc); err != nil {
				t.Fatal(err)
			}
			add(doc)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return events
	}
	client, err := mongo.Connect(options.Client().ApplyURI(testURI))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(context.Background()) }()
	name, _ := d.env["MONGODB_DATABASE"].(string)
	found, err := client.Database(name).Collection(document.Events).Find(t.Context(), bson.D{}, options.Find().SetSort(bson.D{{Key: "timestamp", Value: 1}}))
	if err != nil {
		t.Fatal(err)
	}
	var docs []bson.Raw
	if err := found.All(t.Context(), &docs); err != nil {
		t.Fatal(err)
	}
	for _, doc := range docs {
		add(doc)
	}
	return events
}

// auditOf returns a retriever's audit events, newest first.
func (s *server) auditOf(retriever string) []map[string]any {
	s.t.Helper()
	got := s.query("admin", "production", `query($id: ID!) { retriever(id: $id) { auditEvents { total results {
		action resourceType resourceId actorId actorType actorKeyId status ipAddress userAgent } } } }`, fields{"id": retriever})
	var body struct {
		Data struct {
			Retriever struct {
				AuditEvents struct {
					Total   int
					Results []map[string]any
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(got.body), &body); err != nil {
		s.t.Fatal(err)
	}
	events := body.Data.Retriever.AuditEvents
	if events.Total != len(events.Results) {
		s.t.Errorf("total %d of %d events", events.Total, len(events.Results))
	}
	return events.Results
}

// Who tried what they may not is what one looks for after a leak. But nobody may fill the store by trying.
func TestDeniedAttemptsAreKept(t *testing.T) {
	onEveryStore(t, func(t *testing.T, d deployment) {
		s := serve(t, seeded(t, d).env)
		for range 3 { // within one minute, or at most two
			s.query("reader", "production", `mutation { revokeApiKey(input: {id: "key_tie_b"}) { apiKey { id } } }`)
		}
		s.request(http.MethodPost, "/v1/retrievers/main/api-keys", `{"name":"x"}`, map[string]string{
			"Authorization": "Bearer " + token("reader"), "X-Namespace": "production", "User-Agent": "curl/8",
		})
		s.query("retriever", "production", `mutation { revokeApiKey(input: {id: "key_tie_b"}) { apiKey { id } } }`)       // sees nothing
		s.query("scoped", "production", `mutation { revokeApiKey(input: {id: "key_numbers"}) { apiKey { id } } }`)        // does not see that one
		s.query("foreign", "production", `mutation { revokeApiKey(input: {id: "key_tie_b"}) { apiKey { id } } }`)         // nor that
		s.query("admin", "production", `mutation { updateApiKey(input: {id: "key_tie_b", name: ""}) { apiKey { id } } }`) // is only wrong
		var revocations, creations int
		for _, e := range s.auditOf("main") {
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
		if got := s.query("admin", "production", `{ apiKey(id: "key_tie_b") { status } }`); !strings.Contains(got.body, `"ACTIVE"`) {
			t.Errorf("the key: %s", got.body)
		}
	})
}

// Whoever tries what they may not, many times a request, must not have the store write as often, nor bury the trail;
// and how often it was is told all the same. Who found a key in a web page leaves nothing.
func TestDeniedAttemptsAreBounded(t *testing.T) {
	onEveryStore(t, func(t *testing.T, d deployment) {
		d = seeded(t, d)
		importBatch(t, d, document.Batch{Keys: manyKeys(120)})
		d.env["REQUEST_TIMEOUT"] = "5m" // of a slow machine
		s := serve(t, d.env)
		first := time.Now().Unix() / 60
		attempt := func(caller string, from int) {
			var b strings.Builder
			b.WriteString("mutation {")
			for i := from; i < from+60; i++ {
				fmt.Fprintf(&b, ` a%d: revokeApiKey(input: {id: "key_many_%04d"}) { apiKey { id } }`, i, i)
			}
			b.WriteString(" }")
			codes := s.query(caller, "production", b.String()).codes(t)
			if len(codes) != 60 || slices.ContainsFunc(codes, func(code string) bool { return code != "FORBIDDEN" }) {
				t.Errorf("%s: %v", caller, codes)
			}
		}
		attempt("reader", 0)
		attempt("retriever", 0)
		attempt("reader", 60)
		headers := map[string]string{"Authorization": "Bearer " + token("retriever"), "X-Namespace": "production"}
		for _, got := range []answer{
			s.request(http.MethodPost, "/v1/retrievers/many/api-keys", `{"name":"x"}`, headers),
			s.request(http.MethodDelete, "/v1/retrievers/many/api-keys/key_many_0000", "", headers),
		} {
			if got.status != http.StatusForbidden {
				t.Errorf("REST: %d %s", got.status, got.body)
			}
		}
		s.stop()
		kept, more := 0, 0
		for _, e := range trailOf(t, d) {
			switch {
			case e.Outcome != apikey.Denied || e.Action != apikey.KeyRevoked || e.ActorKeyID == nil || *e.ActorKeyID != "key_caller_reader" || !slices.Equal(e.RetrieverIDs, []apikey.RetrieverID{"ret_many"}):
				t.Errorf("event %+v", e)
			case len(e.Changes) == 0:
				kept++
			default:
				n, err := strconv.Atoi(value(e.Changes[0].After))
				if more += n; err != nil || e.Changes[0].Field != "denied_attempts" {
					t.Errorf("event %+v", e)
				}
			}
		}
		minutes := int(time.Now().Unix()/60 - first + 1)
		if kept < 10 || kept > 10*minutes || kept+more != 120 {
			t.Errorf("in %d minutes %d attempts are kept, and there are %d more, of 120", minutes, kept, more)
		}
	})
}

// Whoever tries the demo calls it from a page of their own, on a port that their tools chose. Elsewhere no page may call that is not
// named.
func TestTheDemosPagesMayCall(t *testing.T) {
	demo, production := serveAs(t, embedded(t).env), serve(t, embedded(t).env)
	for _, origin := range []string{"http://localhost:5173", "http://127.0.0.1:3000", "http://[::1]:8080", "http://localhost"} {
		preflight := map[string]string{"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type,x-namespace"}
		if got := demo.request(http.MethodOptions, "/graphql", "", preflight); got.status/100 != 2 || got.header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("%s asks the demo: %d %v %s", origin, got.status, got.header, got.body)
		}
		if got := production.request(http.MethodOptions, "/graphql", "", preflight); got.status != http.StatusForbidden || !strings.Contains(got.body, "the origin "+origin+" may not call this server: CORS_ALLOWED_ORIGINS") {
			t.Errorf("%s asks another: %d %v %s", origin, got.status, got.header, got.body)
		}
	}
	preflight := map[string]string{"Origin": "https://localhost.example", "Access-Control-Request-Method": "POST"}
	if got := demo.request(http.MethodOptions, "/graphql", "", preflight); got.status != http.StatusForbidden {
		t.Errorf("a page from elsewhere asks the demo: %d %v %s", got.status, got.header, got.body)
	}
}

// An address that anybody may claim is worth nothing as evidence: only proxies that the operator trusts are believed.
func TestAuditTellsTheClientsAddress(t *testing.T) {
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
		d := seeded(t, embedded(t))
		d.env["TRUSTED_PROXIES"] = c.trusted
		s := serve(t, d.env)
		s.request(http.MethodDelete, "/v1/retrievers/main/api-keys/key_tie_a", "", map[string]string{
			"Authorization": "Bearer " + token("admin"), "X-Namespace": "production", "X-Forwarded-For": c.forwarded,
		})
		if events := s.auditOf("main"); len(events) != 1 || events[0]["ipAddress"] != c.want {
			t.Errorf("trusting %q, forwarded %q: %v, want %s", c.trusted, c.forwarded, events, c.want)
		}
	}
}

// last_used_at is what tells a dead key from one in use. It is written behind the request, and at the latest when the
// server stops; requests that were refused are no use.
func TestUsesAreStored(t *testing.T) {
	onEveryStore(t, func(t *testing.T, d deployment) {
		d = seeded(t, d)
		before := time.Now().Add(-time.Second)
		s := serve(t, d.env)
		s.query("reader", "production", `{ viewer { keyId } }`)
		s.query("retriever", "production", `{ viewer { keyId } }`)
		s.query("writer", "production", `mutation { revokeApiKey(input: {id: "key_tie_a"}) { apiKey { id } } }`)
		s.query("expired", "production", `{ viewer { keyId } }`)
		s.request(http.MethodPost, "/graphql", `{"query":"{ viewer { keyId } }"}`, map[string]string{
			"Authorization": "Bearer " + token("origin"), "Origin": "https://evil.example",
		})
		s.stop()
		engine := d.open(t)
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

// The two ways to ask tell the same: the same keys in the same order, and the same codes, to every kind of caller.
// Otherwise one of them would let somebody see or do what the other refuses.
func TestTwinsAgree(t *testing.T) {
	statuses := map[string]int{
		"": http.StatusOK, "UNAUTHENTICATED": http.StatusUnauthorized, "FORBIDDEN": http.StatusForbidden, "NOT_FOUND": http.StatusNotFound,
		"BAD_USER_INPUT": http.StatusBadRequest,
	}
	callers := []string{
		"", "admin", "reader", "writer", "manager", "foreign", "nothing", "unknown_permission", "retriever", "revoked", "expired", "scoped", "pattern",
		"staging", "organization", "executor", "origin", "user_scoped", "session", "robot", "nobody", "odd_status", "odd_revoked", "odd_scopes", "odd_scope", "odd_operations",
		"odd_permissions", "odd_type", "odd_tenant",
	}
	onEveryStore(t, func(t *testing.T, d deployment) {
		s := serve(t, seeded(t, d).env)
		compared := 0
		for _, caller := range callers {
			for _, where := range []struct{ namespace, retriever string }{
				{"production", "main"}, {"production", "ret_main"}, {"production", "ret_odd"}, {"production", "ret_b"}, {"production", "none"},
				{"ns_stage", "main"}, {"none", "main"}, {"", "main"},
			} {
				for _, all := range []bool{false, true} {
					headers := map[string]string{"X-Namespace": where.namespace}
					if caller != "" {
						headers["Authorization"] = "Bearer " + token(caller)
					}
					rest := s.request(http.MethodGet, fmt.Sprintf("/v1/retrievers/%s/api-keys?include_revoked=%t", where.retriever, all), "", headers)
					graph := s.query(caller, where.namespace, `query($id: ID!, $all: Boolean) { retriever(id: $id) { apiKeys(includeRevoked: $all) { total results { keyId status } } } }`,
						fields{"id": where.retriever, "all": all})
					if got, want := fromREST(t, rest), fromGraphQL(t, graph); got.text != want.text || rest.status != statuses[want.code] {
						t.Fatalf("%q asks for %v, all %t:\nREST    %d %s\nGraphQL %s %s", caller, where, all, rest.status, got.text, want.code, want.text)
					}
					compared++
				}
			}
		}
		for _, caller := range callers { // and to make and revoke keys
			name := "by " + caller
			headers := map[string]string{"X-Namespace": "production"}
			if caller != "" {
				headers["Authorization"] = "Bearer " + token(caller)
			}
			for _, c := range []struct{ method, path, body, mutation string }{
				{http.MethodPost, "", `{"name":"` + name + `"}`, `createApiKey(input: {retrieverId: "main", name: "` + name + `"}) { apiKey { name } }`},
				{http.MethodDelete, "/key_tie_a", "", `revokeApiKey(input: {id: "key_tie_a"}) { apiKey { keyId } }`},
				{http.MethodDelete, "/key_staging", "", `revokeApiKey(input: {id: "key_staging"}) { apiKey { keyId } }`},
				{http.MethodDelete, "/none", "", `revokeApiKey(input: {id: "none"}) { apiKey { keyId } }`},
			} {
				rest := s.request(c.method, "/v1/retrievers/main/api-keys"+c.path, c.body, headers)
				graph := s.query(caller, "production", "mutation { "+c.mutation+" }")
				want := statuses[fromGraphQL(t, graph).code]
				if want == http.StatusOK && c.method == http.MethodPost {
					want = http.StatusOK
				}
				if rest.status != want {
					t.Errorf("%q: %s %s: %d %s, GraphQL %s", caller, c.method, c.path, rest.status, rest.body, graph.body)
				}
				compared++
			}
		}
		t.Log(compared, "questions compared")
	})
}

// told is what an answer says, in a form that both twins have.
type told struct{ code, text string }

func fromREST(t *testing.T, a answer) told {
	t.Helper()
	var body struct {
		Total   int
		Results []struct {
			KeyID  string `json:"key_id"`
			Status string
		}
	}
	if err := json.Unmarshal([]byte(a.body), &body); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	text := fmt.Sprint(body.Total)
	for _, k := range body.Results {
		text += " " + k.KeyID + " " + strings.ToUpper(k.Status)
	}
	return told{text: text}
}

func fromGraphQL(t *testing.T, a answer) told {
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
	if err := json.Unmarshal([]byte(a.body), &body); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	keys := body.Data.Retriever.APIKeys
	text := fmt.Sprint(keys.Total)
	for _, k := range keys.Results {
		text += " " + k.KeyID + " " + k.Status
	}
	code := ""
	if codes := a.codes(t); len(codes) > 0 {
		code = codes[0]
	}
	return told{code, text}
}
