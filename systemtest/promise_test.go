package systemtest

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"retrieverkeys/apikey"
	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
)

// rootFields select each root field that belongs to a tenant. ID is a placeholder.
var rootFields = []string{
	`{ retriever(id: "ID") { id } }`,
	`{ apiKey(id: "ID") { id name } }`,
	`{ node(id: "ID") { id } }`,
	`{ namespace(id: "ID") { id } }`,
	`{ namespace { retriever(id: "ID") { id } } }`,
}

// Anything of another tenant or namespace, or outside the key's scopes, looks as if it did not exist. Otherwise, callers could guess ids and
// count another customer's objects.
func TestForeignIsAbsent(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		s := programtest.Serve(t, programtest.Seeded(t, d).Env)
		for _, hidden := range []struct{ caller, id, why string }{
			{"admin", "ret_b", "another tenant's retriever"},
			{"admin", "key_foreign", "another tenant's key"},
			{"admin", "ns_b_prod", "another tenant's namespace"},
			{"foreign", "ret_odd", "another tenant's retriever, in a namespace of the same name"},
			{"admin", "ret_stage", "another namespace's retriever"},
			{"admin", "key_staging", "another namespace's key"},
			{"admin", "key_orphan", "a key of no retriever"},
			{"scoped", "ret_odd", "a retriever that the scopes do not cover"},
			{"scoped", "key_numbers", "a key of a retriever that the scopes do not cover"},
			{"scoped", "ns_prod", "a namespace that the scopes do not cover"},
			{"executor", "ret_main", "a retriever that the scopes do not allow to read"},
		} {
			for _, q := range rootFields {
				if hidden.id == "ns_prod" && strings.Contains(q, "namespace {") {
					continue
				}
				absent := "x" + hidden.id[1:]
				got := s.Query(hidden.caller, "production", strings.ReplaceAll(q, "ID", hidden.id))
				want := s.Query(hidden.caller, "production", strings.ReplaceAll(q, "ID", absent))
				if got.Status != want.Status || got.Body != strings.ReplaceAll(want.Body, absent, hidden.id) {
					t.Errorf("%s: %s\n got %d %s\nwant %d %s", hidden.why, q, got.Status, got.Body, want.Status, want.Body)
				}
				if codes := got.Codes(t); len(codes) == 0 || codes[0] != string(apikey.NotFound) {
					t.Errorf("%s: %s: codes %v", hidden.why, q, codes)
				}
			}
		}
		// Lookups in the whole organization return null without an error for both.
		for caller, ids := range map[string][]string{
			"admin":    {"ret_b", "key_foreign", "ns_b_prod", "org_b", "int_b", "absent"},
			"scoped":   {"ret_b", "ret_odd", "ret_stage", "key_foreign", "key_numbers", "key_staging", "key_orphan", "key_caller_admin", "ns_prod", "ns_stage", "org_b"},
			"executor": {"ret_main", "key_full", "key_orphan", "ns_prod"},
			"reader":   {"key_orphan", "key_caller_admin", "key_caller_reader"},
		} {
			for _, id := range ids {
				query := strings.NewReplacer("ID", id, "HASH", programtest.HashOf(id)).Replace(`{ nodes(ids: ["ID"]) { id } apiKeysByHash(hashes: ["HASH"]) { id }
					_entities(representations: [{__typename: "Retriever", id: "ID"}, {__typename: "ApiKey", id: "ID"}, {__typename: "Namespace", id: "ID"},
					{__typename: "Organization", id: "ID"}, {__typename: "Organization", internalId: "ID"}]) { __typename } }`)
				if got := s.Query(caller, "production", query); got.Body != `{"data":{"nodes":[null],"apiKeysByHash":[null],"_entities":[null,null,null,null,null]}}` {
					t.Errorf("%s asks for %s: %s", caller, id, got.Body)
				}
			}
		}
		// A foreign object does not affect the other fields of the operation.
		mixed := s.Query("admin", "production", `{ a: retriever(id: "ret_main") { id } b: retriever(id: "ret_b") { id } }`)
		if !strings.Contains(mixed.Body, `"data":{"a":{"id":"ret_main"},"b":null}`) {
			t.Errorf("own and foreign: %s", mixed.Body)
		}
		// The same is true of a foreign namespace in the header.
		got := s.Query("admin", "ns_b_prod", `{ retriever(id: "ret_b") { id } }`)
		want := s.Query("admin", "ns_x_prod", `{ retriever(id: "ret_b") { id } }`)
		if got.Body != strings.ReplaceAll(want.Body, "ns_x_prod", "ns_b_prod") {
			t.Errorf("a foreign namespace in the header: %s, an absent one: %s", got.Body, want.Body)
		}
	})
}

// A tenant's lists never contain another tenant's documents, even if ids and names are the same.
func TestListsStayInTheTenant(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		s := programtest.Serve(t, programtest.Seeded(t, d).Env)
		const all = `{ retrievers(first: 100) { total results { id apiKeys(includeRevoked: true) { total results { keyId name internalId } } } } }`
		ours := s.Query("admin", "production", all)
		if strings.Contains(ours.Body, "FOREIGN") || strings.Contains(ours.Body, "int_b") || !strings.Contains(ours.Body, "key_full") {
			t.Errorf("the first tenant sees %s", ours.Body)
		}
		theirs := s.Query("foreign", "production", all)
		if strings.Contains(theirs.Body, "int_a") || !strings.Contains(theirs.Body, "key_foreign") {
			t.Errorf("the second tenant sees %s", theirs.Body)
		}
	})
}

// A cursor grants no access: used in another tenant's list, it shows nothing of the list that it came from.
func TestCursorsCarryNoAuthority(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		s := programtest.Serve(t, programtest.Seeded(t, d).Env)
		const list = `query($after: String) { retriever(id: "main") { apiKeys(includeRevoked: true, after: $after) { edges { cursor node { internalId } } } } }`
		theirs := s.Query("foreign", "production", list)
		cursors := regexp.MustCompile(`"cursor":"([^"]+)"`).FindAllStringSubmatch(theirs.Body, -1)
		if len(cursors) == 0 || !strings.Contains(theirs.Body, "int_b") {
			t.Fatal(theirs.Body)
		}
		for _, c := range cursors {
			if ours := s.Query("admin", "production", list, programtest.Fields{"after": c[1]}); len(ours.Codes(t)) > 0 || strings.Contains(ours.Body, "int_b") {
				t.Errorf("after a foreign cursor: %s", ours.Body)
			}
		}
	})
}

// Malformed, unknown, revoked and expired keys get the same response, before the operation is parsed. Otherwise, an attacker could learn which
// keys exist.
func TestEveryBadBearerGetsOneAnswer(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		s := programtest.Serve(t, programtest.Seeded(t, d).Env)
		var first programtest.Answer
		for i, authorization := range []string{
			"Bearer " + programtest.Token("unknown"), "Bearer " + programtest.Token("revoked"), "Bearer " + programtest.Token("expired"), "Bearer " + programtest.Token("odd_tenant"),
			"Bearer " + programtest.Token("odd_status"), "Bearer " + programtest.Token("odd_status_unknown"), "Bearer " + programtest.Token("odd_revoked"), "Bearer " + programtest.Token("odd_expiry"),
			"Bearer", "Bearer ", "Bearer \t", "Bearer " + programtest.Token("admin") + ",", "Bearer " + programtest.Token("admin") + " x", "Bearer \u00a0" + programtest.Token("admin"),
			"Bearer " + strings.Repeat("a", 513), "Bearer t\u00f6ken", "Bearer =",
		} {
			got := s.Request(http.MethodPost, "/graphql", "not even JSON", map[string]string{"Authorization": authorization})
			if got.Status != http.StatusUnauthorized || got.Header.Get("WWW-Authenticate") != `Bearer error="invalid_token"` {
				t.Errorf("%.40q: status %d, WWW-Authenticate %q", authorization, got.Status, got.Header.Get("WWW-Authenticate"))
			}
			if vary := got.Header.Values("Vary"); !slices.Contains(vary, "Accept") {
				t.Errorf("Vary: %s", vary)
			}
			if i == 0 {
				first = got
				if want := `{"errors":[{"message":"The bearer token is not a valid API key.","extensions":{"code":"UNAUTHENTICATED"}}]}`; got.Body != want {
					t.Errorf("got %s\nwant %s", got.Body, want)
				}
			}
			if got.Body != first.Body {
				t.Errorf("%.40q: %s", authorization, got.Body)
			}
		}
		for _, scheme := range []string{"bearer ", "BEARER ", "Bearer ", "Bearer  ", "Bearer\t", " Bearer \t "} {
			got := s.Request(http.MethodPost, "/graphql", `{"query":"{ viewer { keyId } }"}`, map[string]string{"Authorization": scheme + programtest.Token("admin") + " "})
			if got.Status != http.StatusOK || got.Body != `{"data":{"viewer":{"keyId":"key_caller_admin"}}}` {
				t.Errorf("scheme %q: %d %s", scheme, got.Status, got.Body)
			}
		}
		// For another scheme, the response names the right one. It is the same for valid and invalid keys.
		for _, authorization := range []string{"Basic " + programtest.Token("admin"), programtest.Token("admin"), programtest.Token("unknown"), "Token x", ",", "Bearer:" + programtest.Token("admin"), "Bearer" + programtest.Token("admin"), "X-Api-Key"} {
			got := s.Request(http.MethodPost, "/graphql", "not even JSON", map[string]string{"Authorization": authorization})
			want := `{"errors":[{"message":"Send the key as Authorization: Bearer KEY. Other schemes are not supported.","extensions":{"code":"UNAUTHENTICATED"}}]}`
			if got.Status != http.StatusUnauthorized || got.Body != want || got.Header.Get("WWW-Authenticate") != `Bearer error="invalid_token"` {
				t.Errorf("%.40q: %d %s", authorization, got.Status, got.Body)
			}
		}
		// A request with an empty header is anonymous.
		for _, empty := range []string{"", " ", "\t "} {
			got := s.Request(http.MethodPost, "/graphql", `{"query":"{ serverInfo { version } }"}`, map[string]string{"Authorization": empty})
			if got.Status != http.StatusOK || !strings.HasPrefix(got.Body, `{"data":`) {
				t.Errorf("an empty Authorization, %q: %d %s", empty, got.Status, got.Body)
			}
		}
		// A token in the URL is ignored, so the request is anonymous.
		got := s.Request(http.MethodPost, "/graphql?access_token="+programtest.Token("admin"), `{"query":"{ viewer { keyId } }"}`, nil)
		if codes := got.Codes(t); len(codes) != 1 || codes[0] != "UNAUTHENTICATED" {
			t.Errorf("a token in the URL: %s", got.Body)
		}
	})
}

// A key whose document has an unreadable field about authority must not get more access than a readable one.
func TestUnreadableAuthorityRefuses(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		s := programtest.Serve(t, programtest.Seeded(t, d).Env)
		for caller, want := range map[string]apikey.Code{
			"odd_scopes": apikey.NotFound, "odd_scope": apikey.NotFound, "odd_scope_object": apikey.NotFound, "odd_operations": apikey.NotFound,
			"odd_permissions": apikey.Forbidden, "odd_permission": apikey.Forbidden, "odd_type": apikey.Forbidden,
			"nothing": apikey.Forbidden, "unknown_permission": apikey.Forbidden, "retriever": apikey.Forbidden,
		} {
			got := s.Query(caller, "production", `{ retriever(id: "ret_main") { id } namespace { id } }`)
			for _, code := range got.Codes(t) {
				if code != string(want) {
					t.Errorf("%s: code %s, want %s", caller, code, want)
				}
			}
			if !strings.Contains(got.Body, `"data":{"retriever":null,"namespace":null}`) {
				t.Errorf("%s: %s", caller, got.Body)
			}
			if list := s.Query(caller, "production", `{ retrievers { total } }`); strings.Contains(list.Body, `"total"`) && !strings.Contains(list.Body, `"total":0`) {
				t.Errorf("%s: %s", caller, list.Body)
			}
		}
	})
}

// Keys that can only execute retrievers, or have no permission, are refused at every root field including viewer.
func TestKeysWithoutPermissionReadNothing(t *testing.T) {
	s := programtest.Serve(t, programtest.Seeded(t, programtest.Embedded(t)).Env)
	for _, caller := range []string{"retriever", "nothing"} {
		for _, q := range append([]string{`{ viewer { keyId } }`, `{ retrievers { total } }`, `{ namespace { id } }`}, rootFields...) {
			got := s.Query(caller, "production", q)
			if codes := got.Codes(t); len(codes) != 1 || codes[0] != "FORBIDDEN" {
				t.Errorf("%s: %s: %s", caller, q, got.Body)
			}
		}
	}
}

// The namespace comes from the header or the query parameter, as an id or a name, with the documented precedence and errors.
func TestNamespaceOfTheRequest(t *testing.T) {
	s := programtest.Serve(t, programtest.Seeded(t, programtest.Embedded(t)).Env)
	const query = `{"query":"{ namespace { id } }"}`
	for _, c := range []struct {
		name, path string
		namespaces []string // X-Namespace headers
		status     int
		want       string
	}{
		{"by name", "/graphql", []string{"production"}, 200, `"id":"ns_prod"`},
		{"by id", "/graphql", []string{"ns_stage"}, 200, `"id":"ns_stage"`},
		{"the id wins over a name", "/graphql", []string{"ns_prod"}, 200, `"id":"ns_prod"`},
		{"the smallest id of one name", "/graphql", []string{"twin"}, 200, `"id":"ns_a_twin"`},
		{"by parameter", "/graphql?namespace=staging", nil, 200, `"id":"ns_stage"`},
		{"the header wins over the parameter", "/graphql?namespace=staging", []string{"production"}, 200, `"id":"ns_prod"`},
		{"an empty header counts as missing", "/graphql?namespace=staging", []string{""}, 200, `"id":"ns_stage"`},
		{"a blank header counts as missing", "/graphql?namespace=staging", []string{" \t"}, 200, `"id":"ns_stage"`},
		{"an empty header and another one", "/graphql", []string{"", "staging", " "}, 200, `"id":"ns_stage"`},
		{"white space around it", "/graphql", []string{" production\t"}, 200, `"id":"ns_prod"`},
		{"white space around the parameter", "/graphql?namespace=%20staging+", nil, 200, `"id":"ns_stage"`},
		{"a blank parameter", "/graphql?namespace=+", nil, 200, `"code":"BAD_USER_INPUT","field":"X-Namespace"`},
		{"twice the same except for white space", "/graphql", []string{"staging", "staging "}, 200, `"id":"ns_stage"`},
		{"missing", "/graphql", nil, 200, `"code":"BAD_USER_INPUT","field":"X-Namespace"`},
		{"empty", "/graphql", []string{""}, 200, `"code":"BAD_USER_INPUT","field":"X-Namespace"`},
		{"twice the same", "/graphql", []string{"staging", "staging"}, 200, `"id":"ns_stage"`},
		{"two that differ", "/graphql", []string{"staging", "production"}, 400, `"code":"BAD_USER_INPUT","field":"X-Namespace"`},
		{"unknown", "/graphql", []string{"nowhere"}, 200, `"code":"NOT_FOUND"`},
		{"another case", "/graphql", []string{"Production"}, 200, `"code":"NOT_FOUND"`},
		{"an operator", "/graphql", []string{`{"$ne":null}`}, 200, `"code":"NOT_FOUND"`},
		{"foreign", "/graphql", []string{"ns_b_prod"}, 200, `"code":"NOT_FOUND"`},
		{"long", "/graphql", []string{strings.Repeat("n", 10_000)}, 200, `"code":"NOT_FOUND"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+c.path, strings.NewReader(query))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "Bearer "+programtest.Token("admin"))
			for _, ns := range c.namespaces {
				req.Header.Add("X-Namespace", ns)
			}
			got := s.Do(req)
			if got.Status != c.status || !strings.Contains(got.Body, c.want) {
				t.Errorf("%d %s", got.Status, got.Body)
			}
			if len(got.Body) > 1000 {
				t.Errorf("the response repeats %d bytes", len(got.Body))
			}
		})
	}
}

// Scripts of other sites cannot use a key with allowed_origins.
func TestOriginsOfTheKey(t *testing.T) {
	s := programtest.Serve(t, programtest.Seeded(t, programtest.Embedded(t)).Env)
	for origin, want := range map[string]int{
		"": 200, "https://app.example.com": 200, "https://a.b.example.com": 200,
		"https://example.com": 403, "http://app.example.com": 403, "https://evil-example.com": 403, "null": 403, "https://app.example.com:8443": 403,
	} {
		got := s.Request(http.MethodPost, "/graphql", `{"query":"{ viewer { keyId } }"}`,
			map[string]string{"Authorization": "Bearer " + programtest.Token("origin"), "Origin": origin})
		if got.Status != want || want == 403 && got.Codes(t)[0] != "FORBIDDEN" {
			t.Errorf("%q: %d %s", origin, got.Status, got.Body)
		}
		if unreadable := s.Request(http.MethodPost, "/graphql", `{"query":"{ viewer { keyId } }"}`,
			map[string]string{"Authorization": "Bearer " + programtest.Token("odd_origins"), "Origin": origin}); origin != "" && unreadable.Status != 403 {
			t.Errorf("unreadable allowed_origins admit %q", origin)
		}
	}
}

// No output contains a plaintext, and no log or error contains a hash.
func TestSecretsStayOut(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	s := programtest.Serve(t, programtest.Fields{"EMBEDDED_PATH": d.Env["EMBEDDED_PATH"], "LOG_LEVEL": "debug"})
	var errors strings.Builder
	for _, caller := range []string{"admin", "reader", "foreign", "revoked", "retriever", "odd_scopes", "unknown"} {
		for _, q := range append([]string{`{ nonsense }`, `{`, `{ viewer { keyId namespace { id } } }`, `{ retriever(id: "` + programtest.Token(caller) + `") { id } }`, `{ node(id: "` + programtest.HashOf(programtest.Token(caller)) + `") { id } }`}, rootFields...) {
			a := s.Query(caller, "production", q)
			errors.WriteString(a.Body)
			s.Request(http.MethodGet, "/graphql?access_token="+programtest.Token(caller)+"&query="+programtest.Token(caller), "", nil)
		}
	}
	if code := s.Stop(); code != program.ExitOK {
		t.Errorf("exit code %d", code)
	}
	for where, text := range map[string]string{"a response": errors.String(), "the log": s.Stderr.String(), "the output": s.Stdout.String()} {
		if strings.Contains(text, "sk_test_") {
			t.Errorf("%s contains a plaintext", where)
		}
		for _, caller := range []string{"admin", "reader", "unknown"} {
			if strings.Contains(text, programtest.HashOf(programtest.Token(caller))) {
				t.Errorf("%s contains a hash", where)
			}
		}
	}
}

// If the store is down at start, the process runs but is not ready. Requests with a key get UNAVAILABLE, not 401 and not an anonymous response.
func TestStoreDown(t *testing.T) {
	s := programtest.Serve(t, programtest.Fields{"MONGODB_URI": "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=50"})
	if got := s.Request(http.MethodGet, "/healthz", "", nil); got.Status != http.StatusOK {
		t.Errorf("/healthz: %d %s", got.Status, got.Body)
	}
	if got := s.Request(http.MethodGet, "/readyz", "", nil); got.Status != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %d %s", got.Status, got.Body)
	}
	got := s.Query("admin", "production", `{ viewer { keyId } }`)
	if codes := got.Codes(t); got.Status != http.StatusServiceUnavailable || len(codes) != 1 || codes[0] != string(apikey.Unavailable) || got.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v %s", got.Status, got.Header, got.Body)
	}
	if strings.Contains(got.Body, "127.0.0.1") || strings.Contains(got.Body, `"data"`) {
		t.Error(got.Body)
	}
	if got := s.Query("", "production", `{ serverInfo { version } }`); got.Status != http.StatusOK || len(got.Codes(t)) > 0 {
		t.Errorf("an operation that needs no store: %d %s", got.Status, got.Body)
	}
}

// The log contains the request id of every response. An id that could forge a log line, or has a key in it, is replaced.
func TestRequestIDs(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	s := programtest.Serve(t, d.Env)
	key := programtest.TextAt(s.Mutate("admin", `createApiKey(input: {retrieverId: "main", name: "a"}) { key }`), "key")
	for sent, kept := range map[string]bool{"": false, "abc-DEF_1.2": true, strings.Repeat("x", 128): true, strings.Repeat("x", 129): false, "a b": false, "a\"b": false, "ä": false, "x" + key: false, key[:50]: true} {
		for _, path := range []string{"/healthz", "/graphql", "/nowhere"} {
			got := s.Request(http.MethodGet, path, "", map[string]string{"X-Request-Id": sent}).Header.Get("X-Request-Id")
			if kept && got != sent || !kept && (got == sent || got == "") {
				t.Errorf("%s: sent %q, got %q", path, sent, got)
			}
		}
	}
}

// A caller without access to introspection must not learn names of the schema from errors. __typename still works, because clients add it
// everywhere.
func TestIntrospection(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	for _, c := range []struct {
		setting, caller string
		allowed         bool
		code            string
	}{
		{"public", "", true, ""}, {"public", "admin", true, ""},
		{"authenticated", "", false, "UNAUTHENTICATED"}, {"authenticated", "admin", true, ""},
		{"off", "", false, "UNAUTHENTICATED"}, {"off", "admin", false, "FORBIDDEN"},
		// A retriever's key is public in web pages, so it counts as an anonymous caller.
		{"public", "retriever", true, ""}, {"authenticated", "retriever", false, "FORBIDDEN"}, {"off", "retriever", false, "FORBIDDEN"},
	} {
		t.Run(c.setting+" "+c.caller, func(t *testing.T) {
			s := programtest.Serve(t, programtest.Fields{"EMBEDDED_PATH": d.Env["EMBEDDED_PATH"], "INTROSPECTION": c.setting})
			for _, q := range []string{`{ __schema { queryType { name } } }`, `{ __type(name: "ApiKey") { name } }`, `{ _service { sdl } }`} {
				got := s.Query(c.caller, "production", q)
				if codes := got.Codes(t); c.allowed && len(codes) > 0 || !c.allowed && (len(codes) != 1 || codes[0] != c.code) {
					t.Errorf("%s: %s", q, got.Body)
				}
			}
			if got := s.Query(c.caller, "production", `{ __typename }`); got.Body != `{"data":{"__typename":"Query"}}` {
				t.Error(got.Body)
			}
			for _, q := range []string{
				`{ retrieverr(id: "a") { id } }`, `{ retriever(idd: "a") { id } }`, `query($a: ApiKeyFilte) { viewer { keyId } }`, `{ viewer }`,
				`{ namespace { retriever(id: "a") { apiKeys(orderBy: {field: NAMEE, direction: ASC}) { total } } } }`,
			} {
				if got := s.Query(c.caller, "production", q); c.setting != "public" && strings.Contains(got.Body, "Did you mean") {
					t.Errorf("%s: %s", q, got.Body)
				}
			}
		})
	}
}
