package program_test

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

// The first run creates demo data and prints a working key and a link. The next run on the same store changes nothing.
func TestDemo(t *testing.T) {
	d := programtest.Embedded(t)
	d.Env["DEMO"], d.Env["KEY_MAX_LIFETIME"] = "true", "90d" // which the demo's keys are exempt from
	s := programtest.Serve(t, d.Env)
	key := regexp.MustCompile(`sk_[0-9A-Za-z]{53}\b`).FindString(s.Stdout.Await("Admin key", s.Ended))
	link := s.Stdout.Await("Playground", s.Ended)
	if !strings.Contains(link, s.URL+"/#headers=%7B%22Authorization%22%3A%22Bearer%20"+key) || strings.ContainsAny(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(link), "Playground")), " \"") {
		t.Errorf("link %q", link)
	}
	ask := func(query string) string {
		return s.Request(http.MethodPost, "/graphql", `{"query":"`+query+`"}`, map[string]string{"Authorization": "Bearer " + key, "X-Namespace": "production"}).Body
	}
	if got := ask(`{ retriever(id: \"product-search\") { apiKeys(includeRevoked: true) { total results { status } } } }`); !strings.Contains(got, `"total":34`) ||
		!strings.Contains(got, string(`"ACTIVE"`)) || !strings.Contains(got, `"REVOKED"`) || !strings.Contains(got, `"EXPIRED"`) {
		t.Error(got)
	}
	if got := ask(`{ a: namespace { retrievers { total } } b: namespace(id: \"staging\") { retrievers { total } } }`); got != `{"data":{"a":{"retrievers":{"total":3}},"b":{"retrievers":{"total":2}}}}` {
		t.Error(got)
	}
	if got := ask(`{ organization { name apiKeys { results { keyType reach } } stale: apiKeys(filter: { neverUsed: true, keyType: [STANDARD], search: \"migration\" }) { total } two: apiKeys(filter: { search: \"Mobile apps\" }) { results { retrievers { total } } } } }`); !strings.Contains(got, `"name":"Fjord Media"`) ||
		!strings.Contains(got, `"STANDARD","reach":"ORGANIZATION"`) || !strings.Contains(got, `"NAMESPACES"`) || !strings.Contains(got, `"PATTERN"`) || !strings.Contains(got, `"stale":{"total":1}`) || !strings.Contains(got, `{"retrievers":{"total":2}}`) {
		t.Error(got)
	}
	if got := ask(`{ organization { apiKeys(filter: { search: \"Mobile apps\" }) { results { usage { allowed days { allowed } } } } } }`); !regexp.MustCompile(`"usage":\{"allowed":[1-9]`).MatchString(got) {
		t.Error(got)
	}
	if got := ask(`{ organization { apiKeys(includeRevoked: true) { results { revokedBy revokeReason leak { source url } } } } }`); strings.Count(got, `{"revokedBy":"system","revokeReason":"leaked","leak":{"source":"commit","url":"https://github.com/`) != 1 {
		t.Error(got)
	}
	report := ask(`{ organization { apiKeyReport { active revoked expired neverExpires beyondMaxLifetime expiresSoon unused stale leaked } } }`)
	if n := regexp.MustCompile(`":[1-9]`).FindAllString(report, -1); len(n) != 9 {
		t.Errorf("the demo does not show every finding: %s", report)
	}
	if code := s.Stop(); code != program.ExitOK {
		t.Errorf("exit code %d", code)
	}
	notice := func(e apikey.Event) bool { return e.Action == apikey.KeyExpiring }
	if trail := slices.DeleteFunc(programtest.StoredEvents(t, d), notice); len(trail) != 1 || trail[0].Action != apikey.KeyCreated || trail[0].ActorType != apikey.Operator || trail[0].ActorID != program.Operator() {
		t.Errorf("the admin key's audit trail: %+v", trail)
	}
	if strings.Contains(s.Stderr.String(), key) {
		t.Error("the log contains the key")
	}
	again := programtest.Serve(t, d.Env)
	hint := again.Stdout.Await("bootstrap --organization", again.Ended)
	if !strings.Contains(hint, "'Fjord Media' --namespace production") {
		t.Errorf("hint %q", hint)
	}
	if strings.Contains(again.Stdout.String(), "sk_") {
		t.Error("a key is printed again")
	}
}
