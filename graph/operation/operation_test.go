package operation

import (
	"context"
	"os"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"retrieverkeys/apikey"
	"retrieverkeys/graph/scalar"
)

// schema is the server's schema, from its source files.
var schema = func() *ast.Schema {
	var sources []*ast.Source
	for _, name := range []string{"../../schema.graphqls", "../federation.graphqls", "../subgraph.graphqls"} {
		text, err := os.ReadFile(name)
		if err != nil {
			panic(err)
		}
		sources = append(sources, &ast.Source{Name: name, Input: string(text)})
	}
	return gqlparser.MustLoadSchema(sources...)
}()

// limits are the server's defaults.
var limits = Limits{Depth: 12, Aliases: 100, RootFields: 100, Directives: 10, Tokens: 15_000, Entities: 500, Complexity: 2_000_000}

// configured returns the configuration that package graph uses.
func configured(limits Limits) Config {
	return Config{
		Schema: schema, Scalars: scalar.Readers, Limits: limits, Suggestions: true, MaxPage: apikey.MaxPage, DefaultPage: func(string, string) int { return apikey.MaxPage },
		ListLength: func(*ast.Field, map[string]any) int { return 0 },
		Known:      known, HoldsKey: apikey.HoldsKey,
		Tenant: func(ctx context.Context) string {
			if c := apikey.CallerFrom(ctx); c.Key != nil {
				return string(c.Key.InternalID)
			}
			return ""
		},
	}
}

func known(ctx context.Context) bool { return apikey.CallerFrom(ctx).Known() }

// somebody returns the context of a known caller.
func somebody(t *testing.T) context.Context {
	t.Helper()
	return apikey.WithCaller(t.Context(), apikey.Caller{Key: &apikey.Key{Type: apikey.Standard}})
}

// The result of the callback Keep must come with its document each time, cached or not.
func TestWhatIsKeptComesWithTheDocument(t *testing.T) {
	made := 0
	c := configured(limits)
	c.Keep = func(text string) any { made++; return text + "!" }
	p := NewParser(c, nil)
	for range 4 {
		doc, errs := p.Parse(somebody(t), "{ __typename }")
		if errs != nil || doc.Kept != "{ __typename }!" {
			t.Fatalf("kept %v, errors %v", doc, errs)
		}
	}
	if made != 2 { // a document is kept from its second time on
		t.Errorf("called %d times, want 2", made)
	}
}
