package apikey

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Without this, a pattern covers ids that it does not match, or misses some that it matches.
func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		pattern, id string
		want        bool
	}{
		{"ret_1", "ret_1", true},
		{"ret_1", "ret_12", false},
		{"ret_1", "xret_1", false},
		{"ret_1", "RET_1", false},
		{"", "ret_1", false},
		{"", "", false},
		{"*", "", false},
		{"**", "", false},
		{"*", "ret_1", true},
		{"**", "ret_1", true},
		{"***", "r", true},
		{"*_1", "ret_1", true},
		{"*_1", "_1", true},
		{"*_1", "ret_1x", false},
		{"ret_*", "ret_1", true},
		{"ret_*", "ret_", true},
		{"ret_*", "ret", false},
		{"ret_*", "xret_1", false},
		{"r*1", "ret_1", true},
		{"r*1", "r1", true},
		{"r*1", "r12", false},
		{"ns_customer_*", "ns_customer_42", true},
		{"ns_customer_*", "ns_custom", false},
		{"ab*ba", "aba", false}, // the parts must not overlap
		{"ab*ba", "abba", true},
		{"a*b*c", "aXbXc", true},
		{"a*b*c", "abc", true},
		{"a*b*c", "acb", false},
		{"*b*", "abc", true},
		{"*b*", "ac", false},
		{"*ab", "aab", true},
		{"*ab*ab", "ab", false},
		{"*ab*ab", "abab", true},
		{"a**b", "ab", true},
		{"a.c", "abc", false}, // only * is special
		{"a?c", "abc", false},
		{"[a-z]", "a", false},
		{`a\*`, "a*", false},
		{`a\*`, `a\b`, true},
		{"a*", "a*", true},
		{"a\n*", "a\nb", true},
		{"*é", "café", true},
	} {
		if got := matches(tt.pattern, tt.id); got != tt.want {
			t.Errorf("matches(%q, %q) = %v", tt.pattern, tt.id, got)
		}
	}
}

// A regular expression decides too, because the table above may miss a case.
func TestMatchesLikeARegularExpression(t *testing.T) {
	pattern, id := rapid.StringOfN(rapid.RuneFrom([]rune("ab*")), 0, 8, -1), rapid.StringOfN(rapid.RuneFrom([]rune("ab*")), 0, 10, -1)
	rapid.Check(t, func(t *rapid.T) {
		p, id := pattern.Draw(t, "pattern"), id.Draw(t, "id")
		oracle := regexp.MustCompile(`(?s)\A` + strings.ReplaceAll(regexp.QuoteMeta(p), `\*`, ".*") + `\z`)
		if got, want := matches(p, id), id != "" && oracle.MatchString(id); got != want {
			t.Fatalf("matches(%q, %q) = %v, want %v", p, id, got, want)
		}
	})
}

// Without this, a stored pattern with many stars uses a whole core for every request of its key, as backtracking would.
func TestMatchesDoesNotBacktrack(t *testing.T) {
	pattern, id := strings.Repeat("a*", 2000)+"b", strings.Repeat("a", 20_000)
	done := make(chan bool, 1)
	go func() { done <- matches(pattern, id) }()
	select {
	case got := <-done:
		if got {
			t.Error("it matches")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("still matching after ten seconds")
	}
}
