package graph

import (
	"slices"
	"strings"
	"testing"

	"retrieverkeys/apikey"
)

// If the domain knows a value that the schema lacks, responses contain a value that clients cannot read. If only the schema has it, it
// never occurs.
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
			t.Errorf("%s: got %v, want %v", enum, got, want)
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
