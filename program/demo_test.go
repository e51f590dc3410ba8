package program_test

import (
	"maps"
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
	if link := s.Stdout.Await("Console", s.Ended); strings.TrimRight(link, "\r\n") != "  Console     "+s.URL+"/#key="+key || len(link) > 100 {
		t.Errorf("link %q: want one line of at most 100 columns", link)
	}
	if link := s.Stdout.Await("Playground", s.Ended); strings.TrimSpace(link) != "Playground  "+s.URL+"/playground" {
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

// Without the console, the playground's link has the key. Without both pages, no line names one.
func TestDemoLinksTheFirstPageThatIsOn(t *testing.T) {
	for name, tt := range map[string]struct {
		settings programtest.Fields
		pages    *regexp.Regexp
	}{
		"the playground alone": {programtest.Fields{"CONSOLE": "off"}, regexp.MustCompile(`(?m)^  Playground  http://127\.0\.0\.1:\d+/playground#headers=%7B%22Authorization%22%3A%22Bearer%20sk_\w{53}%22%2C[^ "]+&query=[^ "]+$`)},
		"the console alone":    {programtest.Fields{"PLAYGROUND": "off"}, regexp.MustCompile(`(?m)^  Console     http://127\.0\.0\.1:\d+/#key=sk_\w{53}$`)},
		"neither":              {programtest.Fields{"CONSOLE": "off", "PLAYGROUND": "off"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := programtest.Embedded(t)
			d.Env["DEMO"] = "true"
			maps.Copy(d.Env, tt.settings)
			s := programtest.Serve(t, d.Env)
			s.Stdout.Await("GraphQL", s.Ended)
			if got := regexp.MustCompile(`(?m)^  (Console|Playground) .*$`).FindAllString(s.Stdout.String(), -1); tt.pages == nil && got != nil || tt.pages != nil && (len(got) != 1 || !tt.pages.MatchString(got[0])) {
				t.Errorf("pages %q", got)
			}
		})
	}
}
