package systemtest

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The plot in docs/performance.md repeats figures of the table below it. Without this test, one of them is forgotten when the other changes.
func TestPlotShowsTheTable(t *testing.T) {
	page, err := os.ReadFile("../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	plot, rest, _ := strings.Cut(string(page), "\n## ")
	list := func(name string) []string {
		found := regexp.MustCompile(name + ` \[(.*)\]`).FindStringSubmatch(plot)
		if found == nil {
			t.Fatalf("the plot has no %s", name)
		}
		return strings.Split(found[1], ", ")
	}
	labels, bars := list("x-axis"), list("bar")
	if len(labels) != len(bars) {
		t.Fatalf("got %d bars for %d labels", len(bars), len(labels))
	}

	table := map[string]string{} // the figures by their label: "column: row"
	var columns []string
	for line := range strings.Lines(rest) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			if columns != nil {
				break
			}
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if columns == nil {
			columns = cells
		}
		for i, cell := range cells[2:] {
			table[columns[i+2]+": "+cells[1]] = strings.ReplaceAll(cell, ",", "")
		}
	}
	for i, label := range labels {
		if want, ok := table[strings.Trim(label, `"`)]; !ok || bars[i] != want {
			t.Errorf("%s: the plot has %s, the table %q", label, bars[i], want)
		}
	}
	if !slices.ContainsFunc(labels, func(l string) bool { return strings.HasSuffix(l, `this server"`) }) {
		t.Error("the plot does not show this server")
	}
}
