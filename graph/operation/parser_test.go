package operation

import (
	"slices"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql/errcode"
)

// Suggesting similar names takes time in proportion to the length of a wrong name. Callers without a key must not be able to make it long.
func TestLongTextsGetNoSuggestions(t *testing.T) {
	p := NewParser(configured(limits), nil)
	for comment, want := range map[string]bool{"": true, "#" + strings.Repeat("x", longestSuggested): false} {
		if _, errs := p.Parse(t.Context(), "{ retrieverr(id: 1) { id } }"+comment); len(errs) != 1 || strings.Contains(errs[0].Message, "Did you mean") != want {
			t.Errorf("%d bytes: %v", len(comment), errs)
		}
	}
}

// A validation rule that a new version of gqlparser adds could reveal names, so it must be listed first.
func TestEveryRuleIsDiscreet(t *testing.T) {
	for _, rule := range validation(false) {
		if own := slices.Contains(namesWhatIsSent, rule.Name); own == (discreetly[rule.Name] != "") {
			t.Errorf("%s must be in either namesWhatIsSent or discreetly", rule.Name)
		}
	}
}

// The lexer replaces half of a surrogate pair with U+FFFD. Without this, the server looks for a text that nobody sent.
func TestLoneSurrogatesAreRefused(t *testing.T) {
	p := NewParser(configured(limits), nil)
	for text, refused := range map[string]bool{
		`"\ud800"`: true, `"\uDFFF"`: true, `"é\udc00a"`: true, `"\ud83dx"`: true, `"\ud83d\n\ude00"`: true, `"\ud83d\ud83d\ude00"`: true, `"\ud83d\ude00\ude00"`: true, `"\\\ud800"`: true,
		`"\ud83d\ude00"`: false, `"\\ud800"`: false, `"""\ud800"""`: false, `"\u{1F600}"`: false, `"\ue000"`: false, `"x" # "\ud800"`: false, `"\ud7ff"`: false,
	} {
		_, errs := p.Parse(t.Context(), "# é\n{ retriever(id: "+text+"\n) { id } }")
		if !refused {
			if errs != nil {
				t.Errorf("%s: %v", text, errs)
			}
			continue
		}
		if len(errs) != 1 || !strings.Contains(errs[0].Message, "half of a surrogate pair") || errs[0].Extensions["code"] != errcode.ParseFailed || len(errs[0].Locations) != 1 || errs[0].Locations[0].Line != 2 {
			t.Errorf("%s: %v", text, errs)
		}
	}
}
