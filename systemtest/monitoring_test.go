package systemtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"retrieverkeys/program/programtest"
)

// metricsOf returns the names of all metrics of a server under traffic, with the names of their labels.
func metricsOf(t *testing.T, d programtest.Deployment) map[string]map[string]bool {
	d = programtest.Seeded(t, d)
	d.Env["ADMIN_ADDR"], d.Env["REDIS_URL"] = "127.0.0.1:0", "redis://127.0.0.1:1" // a Redis that does not answer, so that its metrics exist
	s := programtest.Serve(t, d.Env)
	s.Query("admin", "production", `query Keys { retriever(id: "main") { apiKeys { total } } }`)
	s.Query("admin", "production", "{"+strings.Repeat(" __typename", 101)+"}")
	admin := &programtest.Server{T: t, URL: regexp.MustCompile(`(http://[0-9.:]+)/metrics`).FindStringSubmatch(s.Stderr.String())[1]}
	text := admin.Request(http.MethodGet, "/metrics", "", nil).Body
	labels := map[string]map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z_]+)(?:\{(.*)\})? `).FindAllStringSubmatch(text, -1) {
		if labels[m[1]] == nil {
			labels[m[1]] = map[string]bool{}
		}
		for _, l := range regexp.MustCompile(`([a-z_]+)="`).FindAllStringSubmatch(m[2], -1) {
			labels[m[1]][l[1]] = true
		}
	}
	return labels
}

var (
	nameOfMetric = regexp.MustCompile(`\b(?:retrieverkeys|process|go)_[a-z_]+`)
	selected     = regexp.MustCompile(`(\b[a-z_]+)\{([^}]*)\}`)
	nameOfLabel  = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	grouped      = regexp.MustCompile(`by \(([a-z_, ]+)\)`)
)

// byScrape contains the labels that Prometheus adds.
var byScrape = []string{"instance", "job"}

// checkExpression fails the test if an expression uses a metric or a label that does not exist, because such an alert never fires.
func checkExpression(t *testing.T, known map[string]map[string]bool, expression string) {
	t.Helper()
	has := func(metric, label string) bool { return known[metric][label] || slices.Contains(byScrape, label) }
	metrics := nameOfMetric.FindAllString(expression, -1)
	for _, name := range metrics {
		if known[name] == nil {
			t.Errorf("there is no metric %s in %s", name, expression)
		}
	}
	for _, s := range selected.FindAllStringSubmatch(expression, -1) {
		for _, l := range nameOfLabel.FindAllStringSubmatch(s[2], -1) {
			if s[1] != "up" && !has(s[1], l[1]) {
				t.Errorf("%s has no label %s: %s", s[1], l[1], expression)
			}
		}
	}
	for _, by := range grouped.FindAllStringSubmatch(expression, -1) {
		for label := range strings.SplitSeq(by[1], ",") {
			if !slices.ContainsFunc(metrics, func(m string) bool { return has(m, strings.TrimSpace(label)) }) {
				t.Errorf("no metric has the label %s: %s", label, expression)
			}
		}
	}
}

// Every metric and label in the dashboard, the alerts and docs/operating.md exists, and docs/operating.md describes every metric.
func TestMonitoringKnowsTheMetrics(t *testing.T) {
	known := metricsOf(t, programtest.Embedded(t))
	text, err := os.ReadFile("../deploy/monitoring/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	type source struct{ Type, UID string }
	var dashboard struct {
		SchemaVersion int
		Templating    struct {
			List []struct{ Name, Type, Query string }
		}
		Panels []struct {
			ID          int
			Type, Title string
			Datasource  source
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct {
				RefID, Expr, LegendFormat string
				Datasource                source
			}
			FieldConfig struct {
				Defaults struct {
					Unit       string
					Thresholds struct{ Steps []struct{ Color string } }
				}
			}
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	if l := dashboard.Templating.List; dashboard.SchemaVersion == 0 || len(l) != 1 || l[0].Name != "datasource" || l[0].Type != "datasource" || l[0].Query != "prometheus" {
		t.Errorf("schema %d, variables %v", dashboard.SchemaVersion, l)
	}
	chosen := source{"prometheus", "${datasource}"}
	ids, places := map[int]bool{}, map[string]string{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] {
			t.Errorf("%s: another panel has its id", p.Title)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				place := fmt.Sprint(p.GridPos.X+x, " ", p.GridPos.Y+y)
				if other := places[place]; other != "" || p.GridPos.X+x >= 24 {
					t.Fatalf("%s overlaps %s or is outside the grid", p.Title, other)
				}
				places[place] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if defaults := p.FieldConfig.Defaults; p.Datasource != chosen || defaults.Unit == "" || len(defaults.Thresholds.Steps) == 0 || len(p.Targets) == 0 {
			t.Errorf("%s: %+v", p.Title, p)
		}
		for _, target := range p.Targets {
			if target.Datasource != chosen || target.RefID == "" || target.LegendFormat == "" {
				t.Errorf("%s: %+v", p.Title, target)
			}
			checkExpression(t, known, target.Expr)
		}
	}

	if text, err = os.ReadFile("../deploy/monitoring/alerts.yaml"); err != nil {
		t.Fatal(err)
	}
	alerts := strings.Split(string(text), "- alert: ")[1:]
	if len(alerts) == 0 {
		t.Fatal("there are no alerts")
	}
	cases, err := os.ReadFile("../deploy/monitoring/alerts.test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, alert := range alerts {
		name, rule, _ := strings.Cut(alert, "\n")
		if !strings.Contains(string(cases), "        alertname: "+name+"\n        exp_alerts:\n") {
			t.Errorf("deploy/monitoring/alerts.test.yaml does not make %s fire", name)
		}
		expression, _, found := strings.Cut(rule, "labels: { severity: ")
		if !found || !strings.Contains(rule, " summary: ") || !strings.Contains(rule, " action: ") {
			t.Errorf("%s needs a severity, a summary and a description", name)
		}
		checkExpression(t, known, expression)
	}

	// Conversely, docs/operating.md describes every metric.
	if text, err = os.ReadFile("../docs/operating.md"); err != nil {
		t.Fatal(err)
	}
	written := nameOfMetric.FindAllString(string(text), -1)
	for name := range known {
		base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
		if strings.HasPrefix(name, "retrieverkeys_") && !slices.Contains(written, base) {
			t.Errorf("docs/operating.md does not describe %s", base)
		}
	}
	for _, name := range written {
		if known[name] == nil && known[name+"_bucket"] == nil {
			t.Errorf("docs/operating.md describes %s, which does not exist", name)
		}
	}
}
