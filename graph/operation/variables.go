package operation

import (
	"maps"
	"slices"

	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// Operation returns the operation of the document that is to run.
func (doc *Document) Operation(name string) (*ast.OperationDefinition, gqlerror.List) {
	if op := doc.Operations.ForName(name); op != nil {
		return op, nil
	}
	err := gqlerror.Errorf("The document has no operation of that name: check operationName.")
	if name == "" {
		err = gqlerror.Errorf("The document has several operations: name the one to run with operationName.")
	}
	err.Extensions = map[string]any{"code": errcode.ValidationFailed, "field": "operationName"}
	return nil, gqlerror.List{err}
}

// Coerce returns the values of the operation's variables, coerced by the rules of the GraphQL specification, or what is wrong with
// them. It runs before anything else does, so that a request with a bad variable changes nothing. gqlparser coerces variables
// too, but it accepts the names of enum values in any case, numbers in quotes, and anything for a custom scalar. It runs after
// this and finds nothing to change. Coerce replaces what lists and objects hold in place.
//
// For callers who may not see the schema, told is false: errors then only name places that they sent.
func (p *Parser) Coerce(op *ast.OperationDefinition, given map[string]any, told bool) (map[string]any, gqlerror.List) {
	c := coercion{schema: p.Schema, scalars: p.Scalars, told: told}
	values := make(map[string]any, len(op.VariableDefinitions))
	for _, d := range op.VariableDefinitions {
		c.at(ast.PathName(d.Variable), func() {
			v, there := given[d.Variable]
			var err error
			if !there && d.DefaultValue != nil {
				v, err = d.DefaultValue.Value(nil)
				there = true
			}
			switch {
			case err != nil:
				c.fail("has a number in its default that is too large")
			case there:
				values[d.Variable] = c.value(d.Type, v)
			case d.Type.NonNull:
				c.fail("must be defined")
			}
		})
	}
	return values, c.errs
}

// coercion walks through the variables of a request.
type coercion struct {
	schema  *ast.Schema
	scalars map[string]func(value any) (any, error)
	told    bool     // what the schema has may be named
	path    ast.Path // the place where it is
	errs    gqlerror.List
}

// at calls do one step further down, unless there are MostErrors errors.
func (c *coercion) at(step ast.PathElement, do func()) {
	if len(c.errs) == MostErrors {
		return
	}
	c.path = append(c.path, step)
	do()
	c.path = c.path[:len(c.path)-1]
}

// fail reports an error at the current place. It never repeats the value.
func (c *coercion) fail(format string, args ...any) {
	place := slices.Clone(c.path)
	for i, step := range place { // the client may have put anything where a field's name belongs
		if name, ok := step.(ast.PathName); ok && !Showable(string(name)) {
			place[i] = ast.PathName("…")
		}
	}
	if !c.told {
		format, args = "is not valid", nil
	}
	err := gqlerror.Errorf("$"+place.String()+" "+format+".", args...)
	err.Extensions = map[string]any{"code": errcode.ValidationFailed, "field": place.String()}
	c.errs = append(c.errs, err)
}

// Showable reports whether an error can repeat a name: it has only letters of GraphQL's names, and is no longer than the schema's.
func Showable(name string) bool {
	return len(name) <= LongestName && !slices.ContainsFunc([]byte(name), func(b byte) bool {
		return b != '_' && (b < '0' || b > '9') && (b < 'A' || b > 'Z') && (b < 'a' || b > 'z')
	})
}

// LongestName is longer than any name of the schema.
const LongestName = 40

func (c *coercion) value(t *ast.Type, v any) any {
	def := c.schema.Types[t.Name()]
	switch {
	case v == nil && t.NonNull:
		c.fail("cannot be null")
		return nil
	case v == nil:
		return nil
	case t.Elem != nil:
		items, ok := v.([]any)
		if !ok {
			return []any{c.value(t.Elem, v)}
		}
		for i, item := range items {
			c.at(ast.PathIndex(i), func() { items[i] = c.value(t.Elem, item) })
		}
		return items
	case def.Kind == ast.InputObject:
		return c.object(def, v)
	case def.Kind == ast.Enum:
		if name, ok := v.(string); !ok || def.EnumValues.ForName(name) == nil {
			c.fail("is not a valid %s: send one of its names exactly", def.Name)
		}
		return v
	default:
		read, err := c.scalars[def.Name](v)
		if err != nil {
			c.fail("%s", err)
		}
		return read
	}
}

func (c *coercion) object(def *ast.Definition, v any) any {
	object, ok := v.(map[string]any)
	if !ok {
		c.fail("must be an object of the type %s", def.Name)
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if def.Fields.ForName(name) == nil {
			c.at(ast.PathName(name), func() { c.fail("is not a field of %s", def.Name) })
		}
	}
	missing := false // a field that may not be named
	for _, f := range def.Fields {
		c.at(ast.PathName(f.Name), func() {
			v, there := object[f.Name]
			switch {
			case there:
				object[f.Name] = c.value(f.Type, v)
			case f.Type.NonNull && f.DefaultValue == nil && c.told: // the generated code fills in defaults
				c.fail("must be defined")
			case f.Type.NonNull && f.DefaultValue == nil:
				missing = true
			}
		})
	}
	if missing {
		c.fail("is not valid")
	}
	return object
}
