package operation

import (
	"slices"
	"strings"
	"testing"
)

// Similar names are looked for in so much time as a wrong one is long. Nobody without a key may have that of a megabyte.
func TestLongTextsGetNoSuggestions(t *testing.T) {
	p := NewParser(configured(limits), nil)
	for comment, want := range map[string]bool{"": true, "#" + strings.Repeat("x", longestSuggested): false} {
		if _, errs := p.Parse(t.Context(), "{ retrieverr(id: 1) { id } }"+comment); len(errs) != 1 || strings.Contains(errs[0].Message, "Did you mean") != want {
			t.Errorf("%d bytes: %v", len(comment), errs)
		}
	}
}

// A rule that gqlparser gets later says something that nobody has looked at.
func TestEveryRuleIsDiscreet(t *testing.T) {
	for _, rule := range validation(false) {
		if own := slices.Contains(namesWhatIsSent, rule.Name); own == (discreetly[rule.Name] != "") {
			t.Errorf("%s: it must have either its own message or one that names nothing", rule.Name)
		}
	}
}
