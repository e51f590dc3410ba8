package operation

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"retrieverkeys/wire"
)

// Limits bound what one request can ask for. The fields of a fragment count each time that it is spread.
type Limits struct {
	Depth      int // of fields within fields, without those below __schema and __type
	Aliases    int // fields under another name
	RootFields int
	Directives int // of one field, fragment or operation
	Tokens     int // of the text; with fragments spread, its fields and values may be four times as many
	Entities   int // representations of one _entities
	Complexity int // fields of the answer if all pages of connections were full
	Reads      int // documents that stores read for one operation; 0: any number; package graph enforces it
}

// exceeded is the error of a document that exceeds the limit of a setting.
func exceeded(setting string, limit int, what string) *gqlerror.Error {
	return invalid("", setting, "The operation %s: at most %d are allowed (%s).", what, limit, setting)
}

// invalid is the error of an operation that must not run. The field and the limit can be empty.
func invalid(field, limit, message string, args ...any) *gqlerror.Error {
	e := &gqlerror.Error{Message: fmt.Sprintf(message, args...), Extensions: map[string]any{"code": BadUserInput}}
	if field != "" {
		e.Extensions["field"] = field
	}
	if limit != "" {
		e.Err = LimitError(limit[strings.LastIndexByte(limit, ' ')+1:])
	}
	return e
}

// LimitError is the name of the limit that was exceeded. An error of GraphQL wraps it.
type LimitError string

func (l LimitError) Error() string { return string(l) }

const (
	// spreading is how many fields and values, with fragments spread, each allowed token stands for.
	spreading = 4
	// comparisons is how many comparisons of fields validation can make for each allowed alias. A field that occurs n times at one
	// place takes n²/2, and as many again for each inline fragment around it.
	comparisons = 1000
)

// check counts a document before it is validated, because validation can be the most expensive part.
func (l Limits) check(doc *ast.QueryDocument) *gqlerror.Error {
	c := counter{limits: l, fragments: make(map[string]*ast.FragmentDefinition, len(doc.Fragments)), within: map[string]bool{}}
	for _, f := range doc.Fragments {
		c.fragments[f.Name] = f
	}
	for _, op := range doc.Operations {
		root := place{}
		c.aliases = 0
		c.directives(op.Directives)
		c.selections(op.SelectionSet, &root, 1)
		if root.fields > l.RootFields {
			c.fail(exceeded("MAX_ROOT_FIELDS", l.RootFields, "has too many root fields"))
		}
	}
	for _, f := range doc.Fragments { // validation also looks at each by itself; operations give the depth
		c.aliases = math.MinInt
		c.selections(f.SelectionSet, &place{}, math.MinInt/2)
	}
	return c.err
}

// counter counts until the first error.
type counter struct {
	limits    Limits
	fragments map[string]*ast.FragmentDefinition
	within    map[string]bool // the fragments around the current place
	inline    int             // the inline fragments around it

	steps, compared, aliases int
	err                      *gqlerror.Error
}

// place is a field of the answer: all fields of the text with one response name at one place.
type place struct {
	below   map[string]*place
	fields  int // below it
	spreads int // of fragments in it
	times   int // that it is selected again
}

func (c *counter) fail(err *gqlerror.Error) {
	if c.err == nil {
		c.err = err
	}
}

func (c *counter) directives(list ast.DirectiveList) {
	if len(list) > c.limits.Directives {
		c.fail(exceeded("MAX_DIRECTIVES", c.limits.Directives, "has too many directives in one place"))
	}
	for _, d := range list {
		c.arguments(d.Arguments)
	}
}

func (c *counter) arguments(list ast.ArgumentList) {
	for _, a := range list {
		c.value(a.Value)
	}
}

func (c *counter) value(v *ast.Value) {
	c.step()
	for _, child := range v.Children {
		if c.err != nil {
			return
		}
		c.value(child.Value)
	}
}

// step counts one field, fragment or value. It also bounds the counting itself.
func (c *counter) step() {
	if c.steps++; c.steps > spreading*c.limits.Tokens {
		c.fail(exceeded(fmt.Sprintf("%d times MAX_TOKENS", spreading), spreading*c.limits.Tokens, "has too many fields and values, with its fragments spread"))
	}
}

// compare counts the comparisons of a field with the earlier ones at its place.
func (c *counter) compare(times int) {
	if c.compared += times * (1 + c.inline); c.compared > comparisons*c.limits.Aliases {
		c.fail(exceeded(fmt.Sprintf("%d times MAX_ALIASES", comparisons), comparisons*c.limits.Aliases, "selects the same fields too often to compare them"))
	}
}

func (c *counter) selections(set ast.SelectionSet, at *place, depth int) {
	for _, s := range set {
		if c.step(); c.err != nil {
			return
		}
		switch s := s.(type) {
		case *ast.Field:
			c.directives(s.Directives)
			c.field(s, at, depth)
		case *ast.InlineFragment:
			c.directives(s.Directives)
			c.inline++
			c.selections(s.SelectionSet, at, depth)
			c.inline--
		case *ast.FragmentSpread:
			c.directives(s.Directives)
			c.compare(at.spreads)
			at.spreads++
			c.fragment(s.Name, at, depth)
		}
	}
}

func (c *counter) fragment(name string, at *place, depth int) {
	f := c.fragments[name]
	if f == nil || c.within[name] { // validation reports it
		return
	}
	c.directives(f.Directives)
	c.within[name] = true
	c.selections(f.SelectionSet, at, depth)
	delete(c.within, name)
}

func (c *counter) field(f *ast.Field, at *place, depth int) {
	if depth > c.limits.Depth {
		c.fail(exceeded("MAX_DEPTH", c.limits.Depth, "is nested too deeply"))
	}
	if f.Alias != f.Name {
		if c.aliases++; c.aliases > c.limits.Aliases {
			c.fail(exceeded("MAX_ALIASES", c.limits.Aliases, "has too many aliases"))
		}
	}
	c.arguments(f.Arguments)
	at.fields++
	below, again := at.below[f.Alias]
	if again {
		below.times++
		c.compare(below.times)
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

// Measure refuses an operation whose answer could be too large with these variables, and one that they leave unclear: a variable that
// is null decides what it selects.
func (p *Parser) Measure(op *ast.OperationDefinition, variables map[string]any) *gqlerror.Error {
	m := measure{Config: &p.Config, variables: variables, sizes: map[string]int{}}
	cost := m.selections(op.SelectionSet)
	switch {
	case m.unclear != "":
		return invalid(m.unclear, "", "$%s is null, but @skip and @include need true or false.", m.unclear)
	case m.entities > p.Limits.Entities:
		return invalid("representations", "MAX_ENTITIES", "representations must be at most %d, not %d (MAX_ENTITIES).", p.Limits.Entities, m.entities)
	case cost > p.Limits.Complexity:
		return invalid("first", "MAX_COMPLEXITY", "The answer could have %d fields, with what its arguments hold: at most %d are allowed (MAX_COMPLEXITY). Ask for smaller pages with first, or send shorter arguments.", cost, p.Limits.Complexity)
	default:
		return nil
	}
}

// measure estimates how many fields an answer could have.
type measure struct {
	*Config

	variables map[string]any
	sizes     map[string]int // of variables
	length    int            // ListLength of the field around the current one
	entities  int            // representations of the largest _entities
	unclear   string         // a variable that is null and decides whether something is selected
}

// selections returns the fields of a selection. Fragments count whatever type they are on.
func (m *measure) selections(set ast.SelectionSet) int {
	sum := 0
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			m.conditions(s.Directives)
			sum = saturated(sum + m.field(s))
		case *ast.InlineFragment:
			m.conditions(s.Directives)
			sum = saturated(sum + m.selections(s.SelectionSet))
		case *ast.FragmentSpread:
			m.conditions(s.Directives)
			sum = saturated(sum + m.selections(s.Definition.SelectionSet))
		}
	}
	return sum
}

// conditions checks @skip and @include: a variable with a default can still be null there.
func (m *measure) conditions(list ast.DirectiveList) {
	for _, d := range list {
		if a := d.Arguments.ForName("if"); a != nil && a.Value.Kind == ast.Variable && m.variables[a.Value.Raw] == nil {
			m.unclear = a.Value.Raw
		}
	}
}

func (m *measure) field(f *ast.Field) int {
	length := m.length
	m.length = m.ListLength(f, m.variables)
	own, below := 1, m.selections(f.SelectionSet)
	m.length = length
	for _, a := range f.Arguments {
		own = saturated(own + m.value(a.Value))
	}
	switch {
	case f.Name == "_entities":
		m.entities = max(m.entities, m.longest(f))
		below = saturated(m.longest(f) * below)
	case strings.HasSuffix(f.Definition.Type.Name(), "Connection"):
		below = saturated(m.page(f) * below)
	case length > 0 && f.Definition.Type.Elem != nil:
		below = saturated(length * below)
	case f.ObjectDefinition == m.Schema.Query || f.ObjectDefinition == m.Schema.Mutation: // nodes, apiKeysByHash, revokeApiKeys
		below = saturated(max(1, m.longest(f)) * below)
	case strings.HasPrefix(f.Definition.Type.Name(), "__") && f.Definition.Type.Elem != nil: // of the schema
		below = saturated(schemaList * below)
	}
	return saturated(own + below)
}

// schemaList is a typical length of introspection lists: there are more types than that, and fewer of most other things.
const schemaList = 20

// longest returns the length of the longest list in the field's arguments, as a root field selects something for each item of such a list. A
// single value counts as a list of one.
func (m *measure) longest(f *ast.Field) int {
	most := 0
	for _, a := range f.Arguments {
		v, _ := a.Value.Value(m.variables)
		most = max(most, longestIn(v))
	}
	return most
}

func longestIn(v any) int {
	switch v := v.(type) {
	case nil:
		return 0
	case []any:
		return len(v)
	case map[string]any:
		most := 0
		for _, member := range v {
			most = max(most, longestIn(member))
		}
		return most
	default:
		return 1
	}
}

// value returns the work for a value: the values in its variables and the length of its strings. Each use of a variable counts, because
// each is read and kept by itself.
func (m *measure) value(v *ast.Value) int {
	if v.Kind == ast.Variable {
		size, known := m.sizes[v.Raw]
		if !known {
			size = sizeOf(m.variables[v.Raw])
			m.sizes[v.Raw] = size
		}
		return size
	}
	size := len(v.Raw) / textUnit
	for _, child := range v.Children {
		size = saturated(size + m.value(child.Value))
	}
	return size
}

// textUnit is how many bytes of a string count as one field.
const textUnit = 4

// sizeOf returns the size of a JSON value: the values in it, and the length of its strings in textUnit.
func sizeOf(v any) int {
	size := 0
	switch v := v.(type) {
	case string:
		return len(v) / textUnit
	case json.Number:
		return len(v) / textUnit
	case []any:
		for _, item := range v {
			size += 1 + sizeOf(item)
		}
	case map[string]any:
		for _, member := range v {
			size += 1 + sizeOf(member)
		}
	}
	return size
}

// page returns the most items that a connection shows. The resolver refuses invalid arguments.
func (m *measure) page(f *ast.Field) int {
	for _, name := range []string{"first", "last"} {
		if n, whole := wholeNumber(Argument(f, name, m.variables)); whole {
			return int(min(max(n, 0), int64(m.MaxPage)))
		}
	}
	return m.DefaultPage(f.ObjectDefinition.Name, f.Name)
}

// Argument returns the value of a field's argument, or nil if it has none.
func Argument(f *ast.Field, name string, variables map[string]any) any {
	a := f.Arguments.ForName(name)
	if a == nil {
		return nil
	}
	v, _ := a.Value.Value(variables)
	return v
}

// wholeNumber reads a number that JSON or the operation's text has.
func wholeNumber(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case json.Number:
		return wire.WholeNumber(v)
	default:
		return 0, false
	}
}

// saturated keeps sums and products from overflowing: a page or a list has fewer items than a million.
func saturated(n int) int { return min(n, math.MaxInt32) }
