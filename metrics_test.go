package main

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// What operators see must tell what happens, on a listener of its own, and nothing of whose keys it happens to.
func TestMetrics(t *testing.T) {
	d := seeded(t, embedded(t))
	d.env["ADMIN_ADDR"] = "127.0.0.1:0"
	s := serve(t, d.env)
	s.query("admin", "production", `{ viewer { keyId } }`)
	s.query("unknown", "production", `{ viewer { keyId } }`)
	s.query("", "", `{ serverInfo { version } }`)
	s.request("BREW", "/v1/retrievers/ret_secret/api-keys", "", map[string]string{"Authorization": "Bearer " + token("admin")})
	s.request(http.MethodGet, "/some/secret/path", "", nil)
	s.query("admin", "production", `query Secret { retriever(id: "main") { apiKeys { total } } }`)
	s.query("admin", "production", `query Secret { retriever(id: "secret") { id } }`)
	s.query("admin", "production", "{"+strings.Repeat(" secret", 101)+"}")

	admin := &server{t: t, url: regexp.MustCompile(`(http://[0-9.:]+)/metrics`).FindStringSubmatch(s.errors.String())[1]}
	metrics := admin.request(http.MethodGet, "/metrics", "", nil)
	if metrics.status != http.StatusOK {
		t.Fatalf("%d %s", metrics.status, metrics.body)
	}
	for _, want := range []string{
		`retrieverkeys_http_request_duration_seconds_count{method="POST",route="/graphql",status="200"} 5`,
		`retrieverkeys_http_request_duration_seconds_count{method="POST",route="/graphql",status="401"} 1`,
		`retrieverkeys_http_request_duration_seconds_count{method="other",route="/v1/retrievers/{retriever_id}/api-keys",status="405"} 1`,
		`retrieverkeys_http_request_duration_seconds_count{method="GET",route="/",status="404"} 1`,
		`retrieverkeys_authentications_total{outcome="accepted"} 4`,
		`retrieverkeys_authentications_total{outcome="anonymous"} 1`,
		`retrieverkeys_authentications_total{outcome="UNAUTHENTICATED"} 1`,
		`retrieverkeys_graphql_operations_total{operation="` + hashOf("Secret")[:8] + `",outcome="ok",type="query"} 1`,
		`retrieverkeys_graphql_operations_total{operation="` + hashOf("Secret")[:8] + `",outcome="NOT_FOUND",type="query"} 1`,
		`retrieverkeys_graphql_operation_duration_seconds_count{operation="` + hashOf("Secret")[:8] + `",type="query"} 2`,
		`retrieverkeys_graphql_limit_refusals_total{limit="MAX_ROOT_FIELDS"} 1`,
		`retrieverkeys_graphql_cache_lookups_total{cache="documents",result="miss"} 5`,
		`retrieverkeys_graphql_cache_lookups_total{cache="texts",result="hit"} 0`,
		`retrieverkeys_store_call_duration_seconds_count{call="KeysByHash",outcome="ok"} 5`,
		`retrieverkeys_mongodb_pool{state="in_use"} 0`, `retrieverkeys_mongodb_checkout_failures_total{reason="timeout"} 0`,
		`retrieverkeys_requests_in_flight 0`, `retrieverkeys_requests_queued 0`, `retrieverkeys_requests_refused_total 0`,
		`retrieverkeys_build_info{commit="`, `retrieverkeys_unusable_keys`, `go_goroutines`, `process_resident_memory_bytes`,
	} {
		if !strings.Contains(metrics.body, want) {
			t.Errorf("nothing about %s in\n%s", want, metrics.body)
		}
	}
	if strings.Contains(metrics.body, "retrieverkeys_rate_limits_shared ") {
		t.Error("without a Redis it tells whether that answers")
	}
	for _, secret := range []string{token("admin"), hashOf(token("admin")), "key_caller_admin", "secret"} {
		if strings.Contains(metrics.body, secret) {
			t.Errorf("it tells %s", secret)
		}
	}
	if got := admin.request(http.MethodGet, "/debug/pprof/goroutine?debug=1", "", nil); got.status != http.StatusOK {
		t.Errorf("profiles: %d", got.status)
	}
	for _, path := range []string{"/metrics", "/debug/pprof/"} {
		if got := s.request(http.MethodGet, path, "", nil); got.status != http.StatusNotFound {
			t.Errorf("the public listener answers %s: %d", path, got.status)
		}
	}
}
