package graph

import (
	"slices"
	"strings"
	"testing"

	"retrieverkeys/apikey"
)

// A word that the domain knows and the schema does not would be an answer that no client can read; one that only the schema has is
// never answered.
func TestEnumsHaveTheKnownWords(t *testing.T) {
	schema := NewExecutableSchema(Config{}).Schema()
	for enum, known := range map[string][]string{
		"ApiKeyType": upperCase(apikey.Types), "ApiKeyPermission": upperCase(apikey.Permissions), "ResourceType": upperCase(apikey.ResourceTypes), "ApiKeyOperation": upperCase(apikey.Operations),
	} {
		want := append(known, "UNKNOWN")
		var got []string
		for _, v := range schema.Types[enum].EnumValues {
			got = append(got, v.Name)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", enum, got, want)
		}
	}
}

func upperCase[W ~string](words []W) []string {
	var upper []string
	for _, w := range words {
		upper = append(upper, strings.ToUpper(string(w)))
	}
	return upper
}
