package graph

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"retrieverkeys/apikey"
	"retrieverkeys/graph/scalar"
)

// Limits bound what one request may ask for. What a fragment selects counts each time that it is spread.
type Limits struct {
	Depth      int // of fields within fields; what is below __schema and __type does not count
	Aliases    int // fields under another name; fields that are selected again may be ten times as many
	RootFields int
	Directives int // of one field, fragment or operation
	Tokens     int // of the text; there may be as many fields
	Entities   int // representations of one _entities
	Complexity int // fields of the answer, were all pages of connections full
}

// exceeded is the error of a request that asks for more than a limit, by the name of its setting.
func exceeded(setting string, limit int, what string) *apikey.Error {
	return apikey.Invalid("", "The operation %s: at most %d are allowed (%s).", what, limit, setting)
}

// repetitions is how many times as many fields may be selected again as under another name. Operations that are composed of
// fragments repeat a lot, but a field that stands there n times takes n² comparisons to validate.
const repetitions = 10

// check counts what a document asks for before it is validated, for that can be the dearest part of it. However often
// fragments spread each other, it looks at no more fields than Tokens.
func (l Limits) check(doc *ast.QueryDocument) *apikey.Error {
	c := counter{limits: l, fragments: doc.Fragments, spread: map[string]bool{}}
	for _, op := range doc.Operations {
		root := place{}
		c.aliases, c.repeated = 0, 0
		c.directives(op.Directives)
		c.selections(op.SelectionSet, &root, 1)
		if root.fields > l.RootFields {
			c.fail(exceeded("MAX_ROOT_FIELDS", l.RootFields, "has too many root fields"))
		}
	}
	for _, f := range doc.Fragments {
		if !c.spread[f.Name] { // or else it was counted where it is
			c.aliases, c.repeated = 0, 0
			c.selections(f.SelectionSet, &place{}, 1)
		}
	}
	return c.err
}

// counter counts until there is an error.
type counter struct {
	limits    Limits
	fragments ast.FragmentDefinitionList
	spread    map[string]bool
	within    []string // the fragments around the current place

	fields, aliases, repeated int
	err                       *apikey.Error
}

// place is a field of the answer, as far as the text tells: all fields of one name at one place.
type place struct {
	below  map[string]*place
	fields int // below it
}

func (c *counter) fail(err *apikey.Error) {
	if c.err == nil {
		c.err = err
	}
}

func (c *counter) directives(list ast.DirectiveList) {
	if len(list) > c.limits.Directives {
		c.fail(exceeded("MAX_DIRECTIVES", c.limits.Directives, "has too many directives in one place"))
	}
}

func (c *counter) selections(set ast.SelectionSet, at *place, depth int) {
	for _, s := range set {
		if c.err != nil {
			return
		}
		switch s := s.(type) {
		case *ast.Field:
			c.directives(s.Directives)
			c.field(s, at, depth)
		case *ast.InlineFragment:
			c.directives(s.Directives)
			c.selections(s.SelectionSet, at, depth)
		case *ast.FragmentSpread:
			c.directives(s.Directives)
			c.fragment(s.Name, at, depth)
		}
	}
}

func (c *counter) fragment(name string, at *place, depth int) {
	f := c.fragments.ForName(name)
	if f == nil || slices.Contains(c.within, name) { // validation says so
		return
	}
	c.spread[name] = true
	c.directives(f.Directives)
	c.count()
	c.within = append(c.within, name)
	c.selections(f.SelectionSet, at, depth)
	c.within = c.within[:len(c.within)-1]
}

// count counts a step; it is what bounds the counting itself.
func (c *counter) count() {
	if c.fields++; c.fields > c.limits.Tokens {
		c.fail(exceeded("MAX_TOKENS", c.limits.Tokens, "has too many fields, those of fragments counted each time that they are spread"))
	}
}

func (c *counter) field(f *ast.Field, at *place, depth int) {
	c.count()
	if depth > c.limits.Depth {
		c.fail(exceeded("MAX_DEPTH", c.limits.Depth, "is nested too deeply"))
	}
	if f.Alias != f.Name {
		if c.aliases++; c.aliases > c.limits.Aliases {
			c.fail(exceeded("MAX_ALIASES", c.limits.Aliases, "has too many aliases"))
		}
	}
	at.fields++
	below, again := at.below[f.Alias]
	if again {
		if c.repeated++; c.repeated > repetitions*c.limits.Aliases {
			c.fail(exceeded(fmt.Sprintf("%d times MAX_ALIASES", repetitions), repetitions*c.limits.Aliases, "selects fields again too often"))
		}
	} else {
		below = &place{}
		if at.below == nil {
			at.below = map[string]*place{}
		}
		at.below[f.Alias] = below
	}
	if f.Name != "__schema" && f.Name != "__type" {
		depth++
	} else {
		depth = math.MinInt / 2
	}
	c.selections(f.SelectionSet, below, depth)
}

// ExtensionName is for gqlgen.
func (Limits) ExtensionName() string { return "Limits" }

// Validate is for gqlgen.
func (Limits) Validate(graphql.ExecutableSchema) error { return nil }

// MutateOperationContext refuses an operation whose answer could be too large, now that its variables are known.
func (l Limits) MutateOperationContext(_ context.Context, op *graphql.OperationContext) *gqlerror.Error {
	m := measure{limits: l, variables: op.Variables}
	cost := m.selections(op.Operation.SelectionSet)
	var e *apikey.Error
	switch {
	case m.entities > l.Entities:
		e = apikey.Invalid("representations", "representations must be at most %d, not %d (MAX_ENTITIES).", l.Entities, m.entities)
	case cost > l.Complexity:
		e = apikey.Invalid("first", "The answer could have %d fields: at most %d are allowed (MAX_COMPLEXITY). Ask for smaller pages with first.", cost, l.Complexity)
	default:
		return nil
	}
	return &gqlerror.Error{Message: e.Message, Extensions: extensions(e)}
}

// measure tells how many fields an answer could have.
type measure struct {
	limits    Limits
	variables map[string]any
	entities  int // representations of the largest _entities
}

// selections is how many fields a selection makes, where those of fragments count for whichever type they are on.
func (m *measure) selections(set ast.SelectionSet) int {
	sum := 0
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			sum = saturated(sum + m.field(s))
		case *ast.InlineFragment:
			sum = saturated(sum + m.selections(s.SelectionSet))
		case *ast.FragmentSpread:
			sum = saturated(sum + m.selections(s.Definition.SelectionSet))
		}
	}
	return sum
}

func (m *measure) field(f *ast.Field) int {
	switch {
	case f.Name == "_entities":
		list, _ := m.argument(f, "representations").([]any)
		m.entities = max(m.entities, len(list))
		return saturated(1 + len(list)*m.selections(f.SelectionSet))
	case strings.HasSuffix(f.Definition.Type.Name(), "Connection"):
		return saturated(1 + m.page(f)*m.selections(f.SelectionSet))
	default:
		return saturated(1 + m.selections(f.SelectionSet))
	}
}

// page is how many items a connection shows at most. What is no page is for its field to refuse.
func (m *measure) page(f *ast.Field) int {
	for _, name := range []string{"first", "last"} {
		if n, err := scalar.UnmarshalInt(m.argument(f, name)); err == nil {
			return min(max(n, 0), apikey.MaxPage)
		}
	}
	if f.Name == "retrievers" {
		return apikey.RetrieverPage
	}
	return apikey.MaxPage
}

// argument is what the field is given, nil where that cannot be told.
func (m *measure) argument(f *ast.Field, name string) any {
	a := f.Arguments.ForName(name)
	if a == nil {
		return nil
	}
	v, _ := a.Value.Value(m.variables)
	return v
}

// saturated keeps sums and products from overflowing: a page or a list has fewer items than a million.
func saturated(n int) int { return min(n, math.MaxInt32) }
