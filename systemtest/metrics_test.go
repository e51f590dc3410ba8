package systemtest

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"retrieverkeys/program/programtest"
)

// Metrics are on the admin listener only, count what happens, and contain no data of tenants.
func TestMetrics(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	d.Env["ADMIN_ADDR"] = "127.0.0.1:0"
	s := programtest.Serve(t, d.Env)
	s.Query("admin", "production", `{ viewer { keyId } }`)
	s.Query("unknown", "production", `{ viewer { keyId } }`)
	s.Query("", "", `{ serverInfo { version } }`)
	s.Request("BREW", "/v1/retrievers/ret_secret/api-keys", "", map[string]string{"Authorization": "Bearer " + programtest.Token("admin")})
	s.Request(http.MethodGet, "/some/secret/path", "", nil)
	s.Query("admin", "production", `query Secret { retriever(id: "main") { apiKeys { total } } }`)
	s.Query("admin", "production", `query Secret { retriever(id: "secret") { id } }`)
	s.Query("admin", "production", "{"+strings.Repeat(" secret", 101)+"}")

	admin := &programtest.Server{T: t, URL: regexp.MustCompile(`(http://[0-9.:]+)/metrics`).FindStringSubmatch(s.Stderr.String())[1]}
	metrics := admin.Request(http.MethodGet, "/metrics", "", nil)
	if metrics.Status != http.StatusOK {
		t.Fatalf("%d %s", metrics.Status, metrics.Body)
	}
	for _, want := range []string{
		`retrieverkeys_http_request_duration_seconds_count{method="POST",route="/graphql",status="200"} 5`,
		`retrieverkeys_http_request_duration_seconds_count{method="POST",route="/graphql",status="401"} 1`,
		`retrieverkeys_http_request_duration_seconds_count{method="other",route="/v1/retrievers/{retriever_id}/api-keys",status="405"} 1`,
		`retrieverkeys_http_request_duration_seconds_count{method="GET",route="/",status="404"} 1`,
		`retrieverkeys_authentications_total{outcome="accepted"} 4`,
		`retrieverkeys_authentications_total{outcome="anonymous"} 1`,
		`retrieverkeys_authentications_total{outcome="UNAUTHENTICATED"} 1`,
		`retrieverkeys_graphql_operations_total{operation="` + programtest.HashOf("Secret")[:8] + `",outcome="ok",type="query"} 1`,
		`retrieverkeys_graphql_operations_total{operation="` + programtest.HashOf("Secret")[:8] + `",outcome="NOT_FOUND",type="query"} 1`,
		`retrieverkeys_graphql_operation_duration_seconds_count{operation="` + programtest.HashOf("Secret")[:8] + `",type="query"} 2`,
		`retrieverkeys_graphql_limit_refusals_total{limit="MAX_ROOT_FIELDS"} 1`,
		`retrieverkeys_graphql_cache_lookups_total{cache="documents",result="miss"} 5`,
		`retrieverkeys_graphql_cache_lookups_total{cache="texts",result="hit"} 0`,
		`retrieverkeys_store_call_duration_seconds_count{call="KeysByHash",outcome="ok"} 5`,
		`retrieverkeys_mongodb_pool{state="in_use"} 0`, `retrieverkeys_mongodb_checkout_failures_total{reason="timeout"} 0`,
		`retrieverkeys_requests_in_flight 0`, `retrieverkeys_requests_queued 0`, `retrieverkeys_requests_refused_total 0`,
		`retrieverkeys_build_info{commit="`, `retrieverkeys_unusable_keys`, `go_goroutines`, `process_resident_memory_bytes`,
	} {
		if !strings.Contains(metrics.Body, want) {
			t.Errorf("no %s in\n%s", want, metrics.Body)
		}
	}
	if strings.Contains(metrics.Body, "retrieverkeys_rate_limits_shared ") {
		t.Error("a metric about Redis without REDIS_URL")
	}
	for _, secret := range []string{programtest.Token("admin"), programtest.HashOf(programtest.Token("admin")), "key_caller_admin", "secret"} {
		if strings.Contains(metrics.Body, secret) {
			t.Errorf("the metrics contain %s", secret)
		}
	}
	if got := admin.Request(http.MethodGet, "/debug/pprof/goroutine?debug=1", "", nil); got.Status != http.StatusOK {
		t.Errorf("profiles: %d", got.Status)
	}
	for _, path := range []string{"/metrics", "/debug/pprof/"} {
		if got := s.Request(http.MethodGet, path, "", nil); got.Status != http.StatusNotFound {
			t.Errorf("the public listener answers %s: %d", path, got.Status)
		}
	}
}
