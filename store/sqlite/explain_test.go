package sqlite

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every statement must find its rows by an index that begins with all columns that it compares with one value, and in order. A statement that
// scans is fast with a thousand keys and stops working with a million, and no other test notices.
func TestNoStatementScansOrSorts(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "store.db"))
	for _, statement := range slices.Concat(readSQL[:], writeSQL[:]) {
		rows, err := s.write.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+statement, make([]any, strings.Count(statement, "?"))...)
		if err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
		var plan []string
		for rows.Next() {
			var id, parent, unused int
			var step string
			if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
				t.Fatal(err)
			}
			plan = append(plan, step)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s\n\t%s", strings.Join(strings.Fields(statement), " "), strings.Join(plan, "\n\t"))
		inserts := strings.HasPrefix(strings.TrimSpace(statement), "INSERT")
		searches := slices.ContainsFunc(plan, func(step string) bool { return strings.HasPrefix(step, "SEARCH ") })
		slow := slices.ContainsFunc(plan, func(step string) bool {
			scanned, scans := strings.CutPrefix(step, "SCAN ")
			return scans && scanned != "t" /* the tenants that a recursion found */ && !slices.Contains(plan, "CO-ROUTINE "+scanned) || strings.Contains(step, "TEMP B-TREE") || strings.Contains(step, "AUTOMATIC") ||
				strings.HasSuffix(step, "(tenant=?)") && step != "SEARCH audit_deletions USING PRIMARY KEY (tenant=?)" // scans only the tenant's rows
		})
		for _, compared := range regexp.MustCompile(`[ (](?:\w\.)?(\w+) = \?`).FindAllStringSubmatch(statement, -1) {
			if strings.HasPrefix(strings.TrimSpace(statement), "SELECT") && compared[1] != "pk" && !strings.Contains(strings.Join(plan, " "), compared[1]+"=?") {
				slow = true
			}
		}
		if slow || searches == inserts {
			t.Errorf("%s\nhas the plan\n\t%s", statement, strings.Join(plan, "\n\t"))
		}
	}
}
