package systemtest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
)

// organization is a random organization. All of them share the ids of namespaces, retrievers and keys.
type organization struct {
	name       string
	namespaces []string
	retrievers map[string]string // the namespace by id
	keys       []randomKey
	callers    []randomKey
}

type randomKey struct {
	id, token, hash string
	permission      string
	createdBy       string
	created         time.Time
	expires, used   *time.Time
	revoked         bool
	scopes          []programtest.Fields
}

func randomOrganization(r *rand.Rand, name string) organization {
	o := organization{name: name, retrievers: map[string]string{}}
	pick := func(words ...string) string { return words[r.IntN(len(words))] }
	for i := range 1 + r.IntN(3) {
		o.namespaces = append(o.namespaces, fmt.Sprintf("ns_%d", i))
	}
	for i := range r.IntN(6) {
		o.retrievers[fmt.Sprintf("ret_%d", i)] = o.namespaces[r.IntN(len(o.namespaces))]
	}
	scope := func(operation string) programtest.Fields {
		operations := [][]string{{}, {operation}, {operation, "manage_permissions"}, {"write_data"}}[r.IntN(4)]
		kind, id := "retriever", fmt.Sprintf("ret_%d", r.IntN(7))
		switch r.IntN(8) {
		case 0:
			kind, id = "organization", pick("org_"+name, "int_"+name, "org_other", "*")
		case 1:
			kind, id = "namespace", pick("ns_0", "ns_1", "ns_*", "*")
		case 2:
			id = pick("ret_*", "ret_1*", "*")
		case 3:
			kind, id = "bucket", "bkt_0"
		}
		return programtest.Scope(kind, id, operations...)
	}
	key := func(operation string, most int) randomKey {
		k := randomKey{
			permission: pick("read", "write", "delete", "admin"), createdBy: pick("usr_ada", "usr_bob"), revoked: r.IntN(4) == 0,
			created: time.Date(2026, 1, 1+r.IntN(5), 0, 0, 0, 0, time.UTC), scopes: []programtest.Fields{},
		}
		switch r.IntN(4) {
		case 0:
			k.expires = new(time.Date(2020+20*r.IntN(2), 1, 1+r.IntN(5), 0, 0, 0, 0, time.UTC))
		case 1:
			k.expires = new(time.Now().Add(5 * 24 * time.Hour))
		}
		if year := 2000 + 50*r.IntN(3); year > 2000 {
			k.used = new(time.Date(year-25, 1, 1, 0, 0, 0, 0, time.UTC))
		}
		for range r.IntN(most + 1) {
			k.scopes = append(k.scopes, scope(operation))
		}
		return k
	}
	for i := range r.IntN(12) {
		k := key("execute_retriever", 3)
		k.id = fmt.Sprintf("key_%02d", i)
		k.hash = programtest.HashOf(name + k.id)
		o.keys = append(o.keys, k)
	}
	for i := range 4 {
		k := key("read_data", 2)
		k.token, k.revoked, k.expires = fmt.Sprintf("%s_%d", name, i), false, nil
		k.used = new(time.Date(2075, 1, 1, 0, 0, 0, 0, time.UTC)) // later than the test's own uses
		k.id, k.hash = "key_caller_"+k.token, programtest.HashOf(programtest.Token(k.token))
		o.callers = append(o.callers, k)
	}
	o.keys = append(o.keys, o.callers...)
	return o
}

func (o *organization) addTo(b *document.Batch) {
	tenant, organization := "int_"+o.name, "org_"+o.name
	for _, ns := range o.namespaces {
		b.Namespaces = append(b.Namespaces, programtest.NamespaceDoc(ns, "name of "+ns, tenant, programtest.Fields{"organization_id": organization}))
	}
	for id, ns := range o.retrievers {
		b.Retrievers = append(b.Retrievers, programtest.RetrieverDoc(id, "name of "+id, ns, tenant))
	}
	for _, k := range o.keys {
		fields := programtest.Fields{
			"key_id": k.id, "key_hash": k.hash, "internal_id": tenant, "organization_id": organization, "permissions": []string{k.permission},
			"scopes": k.scopes, "created_by": k.createdBy, "created_at": programtest.Date(k.created.Format(time.RFC3339)),
			"user_id": k.createdBy,
		}
		if k.expires != nil {
			fields["expires_at"] = programtest.Date(k.expires.Format(time.RFC3339))
		}
		if k.used != nil {
			fields["last_used_at"] = programtest.Date(k.used.Format(time.RFC3339))
		}
		if k.revoked {
			fields["status"], fields["revoked_at"] = "revoked", programtest.Date("2026-02-01T00:00:00Z")
		}
		if k.token != "" {
			fields["key_type"] = "standard"
		}
		b.Keys = append(b.Keys, programtest.KeyDoc(k.id, "", fields))
	}
}

// The model: what a caller sees, from all documents, by the sentences of SECURITY.md.

func allowsReading(scope programtest.Fields) bool {
	operations, _ := scope["operations"].([]string)
	return len(operations) == 0 || slices.Contains(operations, "read_data")
}

func names(scope programtest.Fields, kind, id string) bool {
	pattern, _ := scope["resource_id"].(string)
	start, wild := strings.CutSuffix(pattern, "*")
	return scope["resource_type"] == kind && (pattern == id || wild && strings.HasPrefix(id, start))
}

func (o *organization) covers(c randomKey, ns, retriever string) bool {
	return len(c.scopes) == 0 || slices.ContainsFunc(c.scopes, func(s programtest.Fields) bool {
		whole := names(s, "organization", "org_"+o.name) || names(s, "organization", "int_"+o.name)
		return allowsReading(s) && (whole || ns != "" && names(s, "namespace", ns) || retriever != "" && names(s, "retriever", retriever))
	})
}

// active reports whether the key works. None expires during the test.
func active(k randomKey) bool { return !k.revoked && (k.expires == nil || k.expires.After(time.Now())) }

// findings are what needs attention about the key, by the sentences of the schema, with a maximum of 4,000 days and the default settings.
func findings(k randomKey) (found []string) {
	const day = 24 * time.Hour
	for _, f := range []struct {
		name string
		is   bool
	}{
		{"NEVER_EXPIRES", k.expires == nil},
		{"BEYOND_MAX_LIFETIME", k.expires == nil || k.expires.After(k.created.Add(4000*day))},
		{"EXPIRES_SOON", k.expires != nil && time.Until(*k.expires) < 14*day},
		{"UNUSED", k.used == nil && time.Since(k.created) > 90*day},
		{"STALE", k.used != nil && time.Since(*k.used) > 90*day},
	} {
		if f.is && active(k) {
			found = append(found, f.name)
		}
	}
	return found
}

// report counts the organization's keys by state and by finding.
func (o *organization) report() map[string]int {
	counts := map[string]int{}
	for _, k := range o.keys {
		switch {
		case active(k):
			counts["active"]++
		case k.revoked:
			counts["revoked"]++
		default:
			counts["expired"]++
		}
		for _, f := range findings(k) {
			counts[f]++
		}
	}
	return counts
}

func (o *organization) readsAll(c randomKey) bool {
	return c.permission == "admin" && o.covers(c, "", "")
}

// named are the existing retrievers that a key names by exact id and the caller sees, in the order of the scopes.
func (o *organization) named(c, k randomKey) (ids []string) {
	for _, s := range k.scopes {
		id, _ := s["resource_id"].(string)
		if ns := o.retrievers[id]; s["resource_type"] == "retriever" && ns != "" && o.covers(c, ns, id) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (o *organization) inNamespace(c randomKey, ns string) func(randomKey) bool {
	return func(k randomKey) bool {
		return slices.ContainsFunc(o.named(c, k), func(id string) bool { return o.retrievers[id] == ns })
	}
}

// ids returns the ids of those keys that match, newest first.
func (o *organization) ids(matches func(randomKey) bool) []string {
	ids := []string{}
	for _, k := range slices.SortedFunc(slices.Values(o.keys), func(a, b randomKey) int { return cmp.Or(b.created.Compare(a.created), cmp.Compare(b.id, a.id)) }) {
		if matches(k) {
			ids = append(ids, k.id)
		}
	}
	return ids
}

// data runs an operation that must succeed, or fail with the code alone.
func data(t *testing.T, s *programtest.Server, caller, query string, variables programtest.Fields, code string) map[string]any {
	t.Helper()
	got := s.Query(caller, "", query, variables)
	var body struct{ Data map[string]any }
	if err := json.Unmarshal([]byte(got.Body), &body); err != nil || got.Status != http.StatusOK {
		t.Fatalf("%s: %d %s", query, got.Status, got.Body)
	}
	if codes := slices.Compact(slices.Sorted(slices.Values(got.Codes(t)))); strings.Join(codes, " ") != code {
		t.Fatalf("%s asks %s: got %v, want %q: %s", caller, query, codes, code, got.Body)
	}
	return body.Data
}

// listed are the values of a field of the items at a path.
func listed(v any, field string, path ...string) []string {
	for _, name := range path {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	items, _ := v.([]any)
	values := []string{}
	for _, item := range items {
		object, _ := item.(map[string]any)
		value, _ := object[field].(string)
		values = append(values, value)
	}
	return values
}

// Every list and lookup in the organization gives each caller what a model of a few lines selects from all documents by hand, and nothing
// else. Without this, a rule of visibility that one field forgets shows keys to callers whose scopes do not cover them.
//
// What the server says about changes that a caller can make is what then happens.
func TestOrganizationsAreReadAsTheModelSays(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	organizations := make([]organization, 12)
	var all document.Batch
	for i := range organizations {
		organizations[i] = randomOrganization(r, fmt.Sprintf("o%02d", i))
		organizations[i].addTo(&all)
	}
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		programtest.Insert(t, d, all)
		d.Env["KEY_DEFAULT_LIFETIME"], d.Env["KEY_MAX_LIFETIME"] = "30d", "4000d"
		s := programtest.Serve(t, d.Env)
		some := len(organizations)
		if d.Name == "mongodb" { // the engine of the tests has no indexes
			some = 4
		}
		for i := range some {
			o := &organizations[i]
			for _, c := range o.callers {
				o.compare(t, s, c, organizations[(i+1)%len(organizations)])
				o.try(t, s, c, "Update", "updateApiKey(input: {id: %q, description: \"changed\"}) { apiKey { id } }")
			}
			o.try(t, s, o.callers[0], "Rotate", "rotateApiKey(input: {id: %q, overlapSeconds: 3600}) { apiKey { id } }")
		}
	})
}

func (o *organization) compare(t *testing.T, s *programtest.Server, c randomKey, other organization) {
	t.Helper()
	same := func(what string, got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%s of %s with %s %v: got %v, want %v", what, c.token, c.permission, c.scopes, got, want)
		}
	}
	anyKey := func(randomKey) bool { return true }
	seen := func(k randomKey) bool { return o.readsAll(c) || len(o.named(c, k)) > 0 }

	// The organization and its lists.
	code := ""
	if !o.readsAll(c) {
		code = "FORBIDDEN"
	}
	got := data(t, s, c.token, `{ organization {
		all: apiKeys(includeRevoked: true) { total results { id findings } }
		apiKeyReport { active revoked expired NEVER_EXPIRES: neverExpires BEYOND_MAX_LIFETIME: beyondMaxLifetime EXPIRES_SOON: expiresSoon UNUSED: unused STALE: stale unlisted }
		beyond: apiKeys(filter: { finding: [BEYOND_MAX_LIFETIME] }) { total results { id } }
		some: apiKeys(includeRevoked: true, filter: { finding: [UNUSED, EXPIRES_SOON], createdBy: "usr_bob" }) { total results { id } }
		first: apiKeys(includeRevoked: true, first: 3) { results { id } pageInfo { endCursor } }
		active: apiKeys { total results { id } }
		bob: apiKeys(filter: { createdBy: "usr_bob", createdAfter: "2026-01-02T00:00:00Z", createdBefore: "2026-01-05T00:00:00Z" }) { results { id } }
		endless: apiKeys(includeRevoked: true, filter: { neverExpires: true, status: [ACTIVE] }) { results { id } }
		auditEvents { total } } }`, nil, code)
	if code == "" {
		same("all keys", listed(got, "id", "organization", "all", "results"), o.ids(anyKey))
		of, _ := got["organization"].(map[string]any)
		all, _ := of["all"].(map[string]any)
		results, _ := all["results"].([]any)
		for _, result := range results {
			shown, _ := result.(map[string]any)
			i := slices.IndexFunc(o.keys, func(k randomKey) bool { return k.id == shown["id"] })
			same("findings of "+o.keys[i].id, shown["findings"], findings(o.keys[i]))
		}
		has := func(k randomKey, some ...string) bool {
			return slices.ContainsFunc(findings(k), func(f string) bool { return slices.Contains(some, f) })
		}
		same("keys that live too long", listed(got, "id", "organization", "beyond", "results"), o.ids(func(k randomKey) bool { return has(k, "BEYOND_MAX_LIFETIME") }))
		same("Bob's keys that need attention", listed(got, "id", "organization", "some", "results"), o.ids(func(k randomKey) bool {
			return has(k, "UNUSED", "EXPIRES_SOON") && k.createdBy == "usr_bob"
		}))
		report, _ := of["apiKeyReport"].(map[string]any)
		for name, n := range report {
			same("the report's "+name, n, o.report()[name])
		}
		same("active keys", listed(got, "id", "organization", "active", "results"), o.ids(active))
		same("Bob's keys", listed(got, "id", "organization", "bob", "results"), o.ids(func(k randomKey) bool {
			return active(k) && k.createdBy == "usr_bob" && k.created.Day() >= 2 && k.created.Day() < 5
		}))
		same("keys without end", listed(got, "id", "organization", "endless", "results"), o.ids(func(k randomKey) bool { return active(k) && k.expires == nil }))
		cursor := programtest.TextAt(got, "organization", "first", "pageInfo", "endCursor")
		rest := data(t, s, c.token, `query($after: String) { organization { apiKeys(includeRevoked: true, after: $after) { results { id } } } }`, programtest.Fields{"after": cursor}, "")
		same("pages", append(listed(got, "id", "organization", "first", "results"), listed(rest, "id", "organization", "apiKeys", "results")...), o.ids(anyKey))
	} else {
		same("what is forbidden", fmt.Sprint(got), "map[organization:map[active:<nil> all:<nil> apiKeyReport:<nil> auditEvents:<nil> beyond:<nil> bob:<nil> endless:<nil> first:<nil> some:<nil>]]")
	}

	// The namespaces and their keys.
	got = data(t, s, c.token, `{ viewer { canReadOrganization } organization { namespaces { total results { id apiKeys(includeRevoked: true) { total results { id } } active: apiKeys(first: 2) { results { id } } } } } }`, nil, "")
	var visible []string
	for _, ns := range o.namespaces {
		if o.covers(c, ns, "") || slices.ContainsFunc(c.scopes, func(s programtest.Fields) bool {
			id, _ := s["resource_id"].(string)
			return s["resource_type"] == "retriever" && allowsReading(s) && o.retrievers[id] == ns
		}) {
			visible = append(visible, ns)
		}
	}
	same("namespaces", listed(got, "id", "organization", "namespaces", "results"), visible)
	viewer, _ := got["viewer"].(map[string]any)
	same("canReadOrganization", viewer["canReadOrganization"], o.readsAll(c))
	found, _ := got["organization"].(map[string]any)["namespaces"].(map[string]any)["results"].([]any)
	for _, ns := range found {
		id := programtest.TextAt(ns, "id")
		want := o.ids(o.inNamespace(c, id))
		same("keys of "+id, listed(ns, "id", "apiKeys", "results"), want)
		list, _ := ns.(map[string]any)
		keys, _ := list["apiKeys"].(map[string]any)
		same("number of keys of "+id, keys["total"], len(want))
		want = o.ids(func(k randomKey) bool { return active(k) && o.inNamespace(c, id)(k) })
		same("active keys of "+id, listed(ns, "id", "active", "results"), want[:min(2, len(want))])
	}

	// Lookups in the whole organization.
	var ids, hashes, wantNodes, wantHashes []string
	keep := func(to *[]string, id string, is bool) {
		if !is {
			id = "<nil>"
		}
		*to = append(*to, id)
	}
	for _, k := range o.keys {
		ids, hashes = append(ids, k.id), append(hashes, strings.ToUpper(k.hash))
		keep(&wantNodes, k.id, seen(k))
		keep(&wantHashes, k.id, seen(k))
	}
	for _, k := range other.keys {
		hashes = append(hashes, k.hash)
		keep(&wantHashes, "", false)
		if k.token != "" {
			ids = append(ids, k.id)
			keep(&wantNodes, "", false)
		}
	}
	for id, ns := range o.retrievers {
		ids = append(ids, id)
		keep(&wantNodes, id, o.covers(c, ns, id))
	}
	for _, ns := range o.namespaces {
		ids = append(ids, ns)
		keep(&wantNodes, ns, o.covers(c, ns, ""))
	}
	ids = append(ids, "org_"+o.name, "org_"+other.name)
	wantNodes = append(wantNodes, "org_"+o.name, "<nil>")
	got = data(t, s, c.token, `query($ids: [ID!]!, $hashes: [String!]!) { nodes(ids: $ids) { id } apiKeysByHash(hashes: $hashes) { id retrievers { total results { id } } } }`,
		programtest.Fields{"ids": ids, "hashes": hashes}, "")
	same("nodes", withNil(got["nodes"]), wantNodes)
	same("keys by hash", withNil(got["apiKeysByHash"]), wantHashes)
	byHash, _ := got["apiKeysByHash"].([]any)
	for i, k := range o.keys {
		if seen(k) {
			same("retrievers of "+k.id, listed(byHash[i], "id", "retrievers", "results"), o.named(c, k))
		}
	}
	got = data(t, s, c.token, `query($r: [_Any!]!) { _entities(representations: $r) { ... on Node { id } } }`, programtest.Fields{"r": representations(o, other)}, "")
	want := []string{"org_" + o.name, "org_" + o.name, "<nil>", "<nil>"}
	for _, k := range o.keys {
		keep(&want, k.id, seen(k))
	}
	same("entities", withNil(got["_entities"]), want)
}

// try compares what viewerCan… says with what the mutation does, and viewerCanRevoke with a dry run.
func (o *organization) try(t *testing.T, s *programtest.Server, c randomKey, which, mutation string) {
	t.Helper()
	// The caller's own key comes last. Its rotation ends it soon, and then it cannot rotate keys that live longer.
	own := func(k randomKey) bool { return k.id == c.id }
	all := append(slices.DeleteFunc(slices.Clone(o.keys), own), c)
	var ids, hashes, mutations []string
	for i, k := range all {
		ids, hashes = append(ids, k.id), append(hashes, k.hash)
		mutations = append(mutations, fmt.Sprintf("m%d: "+mutation, i, k.id))
	}
	got := data(t, s, c.token, `query($hashes: [String!]!) { apiKeysByHash(hashes: $hashes) { can: viewerCan`+which+` revoke: viewerCanRevoke } }`, programtest.Fields{"hashes": hashes}, "")
	keys, _ := got["apiKeysByHash"].([]any)
	var dry struct {
		Data struct {
			RevokeAPIKeys *struct{ Results []struct{ Outcome string } } `json:"revokeApiKeys"`
		}
	}
	answer := s.Query(c.token, "", `mutation($ids: [ID!]!) { revokeApiKeys(input: {ids: $ids, dryRun: true}) { results { outcome } } }`, programtest.Fields{"ids": ids})
	if err := json.Unmarshal([]byte(answer.Body), &dry); err != nil {
		t.Fatal(err, answer.Body)
	}
	var done struct {
		Data map[string]any
	}
	answer = s.Query(c.token, "", "mutation { "+strings.Join(mutations, " ")+" }")
	if err := json.Unmarshal([]byte(answer.Body), &done); err != nil {
		t.Fatal(err, answer.Body)
	}
	for i, k := range all {
		can, seen := keys[i].(map[string]any)
		if done := done.Data[fmt.Sprintf("m%d", i)] != nil; done != (seen && can["can"] == true) {
			t.Errorf("%s with %s %v: viewerCan%s of %s %v is %v, and the mutation succeeds: %v", c.token, c.permission, c.scopes, which, k.id, k.scopes, can["can"], done)
		}
		would := dry.Data.RevokeAPIKeys != nil && slices.Contains([]string{"WOULD_REVOKE", "ALREADY_REVOKED"}, dry.Data.RevokeAPIKeys.Results[i].Outcome)
		if would != (seen && can["revoke"] == true) {
			t.Errorf("%s with %s %v: viewerCanRevoke of %s %v is %v, and a dry run would: %v", c.token, c.permission, c.scopes, k.id, k.scopes, can["revoke"], would)
		}
	}
}

func representations(o *organization, other organization) (all []programtest.Fields) {
	for _, one := range []*organization{o, &other} {
		all = append(all,
			programtest.Fields{"__typename": "Organization", "id": "org_" + one.name},
			programtest.Fields{"__typename": "Organization", "internalId": "int_" + one.name})
	}
	for _, k := range o.keys {
		all = append(all, programtest.Fields{"__typename": "ApiKey", "id": k.id})
	}
	return all
}

// withNil are the ids of a list whose items can be null.
func withNil(v any) (ids []string) {
	items, _ := v.([]any)
	for _, item := range items {
		if object, ok := item.(map[string]any); ok {
			ids = append(ids, fmt.Sprint(object["id"]))
		} else {
			ids = append(ids, "<nil>")
		}
	}
	return ids
}

// Each refusal names what is wrong, and the other fields are answered.
func TestOrganizationArgumentsAreChecked(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		s := programtest.Serve(t, programtest.Seeded(t, d).Env)
		hash := func(n int) string {
			return strings.TrimSuffix(strings.Repeat(fmt.Sprintf("%q,", programtest.HashOf("x")), n), ",")
		}
		cursor := programtest.TextAt(data(t, s, "admin", `{ organization { namespaces(first: 1) { pageInfo { endCursor } } } }`, nil, ""), "organization", "namespaces", "pageInfo", "endCursor")
		byExpiry := programtest.TextAt(data(t, s, "admin", `{ organization { apiKeys(first: 1, orderBy: {field: EXPIRES_AT, direction: ASC}) { pageInfo { endCursor } } } }`, nil, ""), "organization", "apiKeys", "pageInfo", "endCursor")
		for query, field := range map[string]string{
			`apiKeysByHash(hashes: [` + hash(501) + `]) { id }`:                                                                      "hashes",
			`apiKeysByHash(hashes: ["` + strings.Repeat("g", 64) + `"]) { id }`:                                                      "hashes",
			`apiKeysByHash(hashes: ["abc", ` + hash(1) + `]) { id }`:                                                                 "hashes",
			`nodes(ids: [` + strings.Repeat(`"x",`, 101) + `]) { id }`:                                                               "ids",
			`organization { apiKeys(after: "` + cursor + `") { total } }`:                                                            "after",
			`organization { apiKeys(before: "` + byExpiry + `") { total } }`:                                                         "before",
			`organization { namespaces(after: "` + byExpiry + `") { total } }`:                                                       "after",
			`organization { auditEvents(after: "` + byExpiry + `") { total } }`:                                                      "after",
			`organization { apiKeys(first: 1, last: 1) { total } }`:                                                                  "last",
			`organization { apiKeys(filter: {search: "` + strings.Repeat("é", 201) + `"}) { total } }`:                               "filter.search",
			`organization { namespaces(search: "` + strings.Repeat("x", 201) + `") { total } }`:                                      "search",
			`organization { auditEvents(filter: {actorId: "` + strings.Repeat("x", 201) + `"}) { total } }`:                          "filter.actorId",
			`namespace { apiKeys(filter: {expiresAfter: "2026-01-02T00:00:00Z", expiresBefore: "2026-01-01T00:00:00Z"}) { total } }`: "filter.expiresBefore",
			`namespace { auditEvents(filter: {since: "2026-01-02T00:00:00Z", until: "2026-01-02T00:00:00Z"}) { total } }`:            "filter.until",
			`apiKey(id: "key_full") { retrievers(first: 1001) { total } }`:                                                           "first",
			`apiKey(id: "key_full") { retrievers(after: "` + cursor + `") { total } }`:                                               "after",
		} {
			got := s.Query("admin", "production", "{ ok: viewer { keyId } "+query+" }")
			var body struct {
				Errors []struct{ Extensions programtest.Fields }
				Data   programtest.Fields
			}
			if err := json.Unmarshal([]byte(got.Body), &body); err != nil {
				t.Fatal(err)
			}
			if len(body.Errors) != 1 || body.Errors[0].Extensions["code"] != "BAD_USER_INPUT" || body.Errors[0].Extensions["field"] != field || body.Data["ok"] == nil {
				t.Errorf("%.150s: want %s: %.600s", query, field, got.Body)
			}
		}
	})
}

// A cursor goes on at its place when retrievers come and go: no key is shown twice, and the keys of a new retriever appear where they belong.
func TestNamespaceKeysWhileRetrieversChange(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		programtest.ImportBatch(t, d, programtest.Fixture())
		var b document.Batch
		for i := range 9 { // alternately of a retriever, and of one that comes later; the last names both
			scopes := []programtest.Fields{programtest.Scope("retriever", []string{"ret_bare", "ret_later"}[i%2])}
			if i == 8 {
				scopes = append(scopes, programtest.Scope("retriever", "ret_later"))
			}
			b.Keys = append(b.Keys, programtest.KeyDoc(fmt.Sprintf("key_n%d", i), "", programtest.Fields{
				"scopes": scopes, "created_at": programtest.Date(fmt.Sprintf("2026-06-%02dT00:00:00Z", 20-i)),
			}))
		}
		programtest.ImportBatch(t, d, b)
		s := programtest.Serve(t, d.Env)
		const page = `query($after: String) { namespace(id: "ns_prod") { apiKeys(first: 2, after: $after, filter: { search: "key_n" }) { results { id } pageInfo { endCursor hasNextPage } } } }`
		first := data(t, s, "admin", page, nil, "")
		if got := listed(first, "id", "namespace", "apiKeys", "results"); fmt.Sprint(got) != "[key_n0 key_n2]" {
			t.Fatalf("the first page: %v", got)
		}
		programtest.ImportBatch(t, d, document.Batch{Retrievers: []bson.Raw{programtest.RetrieverDoc("ret_later", "later", "ns_prod", "int_a")}})
		var rest []string
		for at := first; ; {
			at = data(t, s, "admin", page, programtest.Fields{"after": programtest.TextAt(at, "namespace", "apiKeys", "pageInfo", "endCursor")}, "")
			keys := listed(at, "id", "namespace", "apiKeys", "results")
			if rest = append(rest, keys...); len(keys) < 2 {
				break
			}
		}
		if want := "[key_n3 key_n4 key_n5 key_n6 key_n7 key_n8]"; fmt.Sprint(rest) != want {
			t.Errorf("after the retriever came: got %v, want %s", rest, want)
		}
	})
}
