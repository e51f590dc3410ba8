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

// Limits bound what one request may ask for. What a fragment selects counts each time that it is spread.
type Limits struct {
	Depth      int // of fields within fields; what is below __schema and __type does not count
	Aliases    int // fields under another name
	RootFields int
	Directives int // of one field, fragment or operation
	Tokens     int // of the text; with fragments spread, its fields and values may be four times as many
	Entities   int // representations of one _entities
	Complexity int // fields of the answer, were all pages of connections full
	Reads      int // documents that stores look at for one operation; 0: any number
}

// exceeded is the error of a document that asks for more than a limit, by the name of its setting.
func exceeded(setting string, limit int, what string) *gqlerror.Error {
	return invalid("", setting, "The operation %s: at most %d are allowed (%s).", what, limit, setting)
}

// invalid is the error of an operation that must not run. It names the field that is wrong and the limit that was exceeded, if there
// are such.
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
	// spreading is how many times as many fields and values there may be as tokens, when fragments are spread.
	spreading = 4
	// comparisons is how many comparisons of fields to validate a document may take, for each alias that is allowed. A field
	// that stands n times at one place takes n²/2, and as many again for each inline fragment around it.
	comparisons = 1000
)

// check counts what a document asks for before it is validated, for that can be the dearest part of it.
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
	for _, f := range doc.Fragments { // each is validated by itself, too; how deep it is, operations tell
		c.aliases = math.MinInt
		c.selections(f.SelectionSet, &place{}, math.MinInt/2)
	}
	return c.err
}

// counter counts until there is an error.
type counter struct {
	limits    Limits
	fragments map[string]*ast.FragmentDefinition
	within    map[string]bool // the fragments around the current place
	inline    int             // the inline fragments around it

	steps, compared, aliases int
	err                      *gqlerror.Error
}

// place is a field of the answer, as far as the text tells: all fields of one name at one place.
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

// step is taken for all that is looked at: it bounds the counting, too.
func (c *counter) step() {
	if c.steps++; c.steps > spreading*c.limits.Tokens {
		c.fail(exceeded(fmt.Sprintf("%d times MAX_TOKENS", spreading), spreading*c.limits.Tokens, "has too many fields and values, with its fragments spread"))
	}
}

// compare is taken for what stands at a place again, so many times already.
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
	if f == nil || c.within[name] { // validation says so
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
		return invalid(m.unclear, "", "$%s is null, where @skip or @include must be told true or false.", m.unclear)
	case m.entities > p.Limits.Entities:
		return invalid("representations", "MAX_ENTITIES", "representations must be at most %d, not %d (MAX_ENTITIES).", p.Limits.Entities, m.entities)
	case cost > p.Limits.Complexity:
		return invalid("first", "MAX_COMPLEXITY", "The answer could have %d fields, with what its arguments hold: at most %d are allowed (MAX_COMPLEXITY). Ask for smaller pages with first, or send shorter arguments.", cost, p.Limits.Complexity)
	default:
		return nil
	}
}

// measure tells how many fields an answer could have.
type measure struct {
	*Config

	variables map[string]any
	sizes     map[string]int // of variables
	entities  int            // representations of the largest _entities
	unclear   string         // a variable that is null and decides whether something is selected
}

// selections is how many fields a selection makes, where those of fragments count for whichever type they are on.
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

// conditions looks at @skip and @include: a variable with a default may be null there, which only its value shows.
func (m *measure) conditions(list ast.DirectiveList) {
	for _, d := range list {
		if a := d.Arguments.ForName("if"); a != nil && a.Value.Kind == ast.Variable && m.variables[a.Value.Raw] == nil {
			m.unclear = a.Value.Raw
		}
	}
}

func (m *measure) field(f *ast.Field) int {
	own, below := 1, m.selections(f.SelectionSet)
	for _, a := range f.Arguments {
		own = saturated(own + m.value(a.Value))
	}
	switch {
	case f.Name == "_entities":
		n := m.representations(f)
		m.entities = max(m.entities, n)
		below = saturated(n * below)
	case strings.HasSuffix(f.Definition.Type.Name(), "Connection"):
		below = saturated(m.page(f) * below)
	case strings.HasPrefix(f.Definition.Type.Name(), "__") && f.Definition.Type.Elem != nil: // of the schema
		below = saturated(schemaList * below)
	}
	return saturated(own + below)
}

// schemaList is about how long lists of the schema are: there are more types, and fewer of most else.
const schemaList = 20

// representations is how many there are: one that is in no list is a list of one.
func (m *measure) representations(f *ast.Field) int {
	switch given := Argument(f, "representations", m.variables).(type) {
	case nil:
		return 0
	case []any:
		return len(given)
	default:
		return 1
	}
}

// value is how much work a value is besides its place: the values in its variables, and the length of its texts. Each use of a variable
// counts, because each is read and kept by itself.
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

// textUnit is how many bytes of a text count as much as a field.
const textUnit = 4

// sizeOf is how many values there are in one that was read from JSON, and how long its texts are.
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

// page is how many items a connection shows at most. What is no page is for its field to refuse.
func (m *measure) page(f *ast.Field) int {
	for _, name := range []string{"first", "last"} {
		if n, whole := wholeNumber(Argument(f, name, m.variables)); whole {
			return int(min(max(n, 0), int64(m.MaxPage)))
		}
	}
	return m.DefaultPage(f.Name)
}

// Argument is what the field is given, nil if that cannot be told.
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
