package operation

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/complexity"
	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	queryparser "github.com/vektah/gqlparser/v2/parser"
	"pgregory.net/rapid"
)

// The counts of an operation must never be smaller than with every fragment put in the place of its spreads, because validation, gqlgen and
// resolvers do that. Otherwise an accepted document could take minutes.
func FuzzLimits(f *testing.F) {
	f.Add([]byte("any"))
	f.Fuzz(rapid.MakeFuzz(checkLimits))
}

func TestLimitsCountWhatFragmentsHide(t *testing.T) { rapid.Check(t, checkLimits) }

func checkLimits(t *rapid.T) {
	text := (&drawing{t: t}).document()
	parsed := func() *ast.QueryDocument { // parsed each time, because validation changes the document
		doc, err := queryparser.ParseQuery(&ast.Source{Input: text})
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		return doc
	}
	const much = math.MaxInt32
	free := Limits{Depth: much, Aliases: much / comparisons, RootFields: much, Directives: much, Tokens: 2000, Entities: much, Complexity: much}
	all := expand(parsed(), 2*spreading*free.Tokens)
	if all.steps > spreading*free.Tokens {
		if free.check(parsed()) == nil {
			t.Fatalf("more than %d steps were accepted: %s", spreading*free.Tokens, text)
		}
		return // there are too many to count the others
	}
	for _, c := range []struct {
		name  string
		there int
		exact bool
		limit func(l *Limits, n int)
	}{
		{"MAX_DEPTH", all.depth, true, func(l *Limits, n int) { l.Depth = n }},
		{"MAX_ROOT_FIELDS", all.roots, true, func(l *Limits, n int) { l.RootFields = n }},
		{"MAX_DIRECTIVES", all.directives, false, func(l *Limits, n int) { l.Directives = n }},
		{"MAX_TOKENS", all.steps, false, func(l *Limits, n int) { l.Tokens = n / spreading }},
		{"(MAX_ALIASES", all.aliases, false, func(l *Limits, n int) { l.Aliases = n }},
		{"MAX_ALIASES", all.pairs, false, func(l *Limits, n int) { l.Aliases = n / comparisons }},
	} {
		l := free
		if c.limit(&l, c.there-1); c.there > 0 {
			if err := l.check(parsed()); err == nil || !strings.Contains(err.Message, "MAX_") {
				t.Fatalf("%s: %d were accepted with a limit of %d: %v, %s", c.name, c.there, c.there-1, err, text)
			}
		}
		if c.limit(&l, c.there); c.exact {
			if err := l.check(parsed()); err != nil && strings.Contains(err.Message, c.name) {
				t.Fatalf("%s: %d were refused with a limit of as many: %v, %s", c.name, c.there, err, text)
			}
		}
	}

	doc, errs := NewParser(configured(free), nil).Parse(t.Context(), text)
	if errs != nil {
		return
	}
	for _, op := range doc.Operations {
		es := &counting{}
		least := complexity.Calculate(t.Context(), es, op, nil)
		if most := spreading * free.Tokens * len(schema.GetPossibleTypes(schema.Types["Node"])); es.asked > most {
			t.Fatalf("gqlgen's complexity visits %d fields, more than %d: %s", es.asked, most, text)
		}
		c := configured(free)
		m := measure{Config: &c, sizes: map[string]int{}}
		if cost := m.selections(op.SelectionSet); cost < least {
			t.Fatalf("the response can have %d fields, but the cost is %d: %s", least, cost, text)
		}
	}
}

// counting is a schema that counts the fields whose complexity is requested.
type counting struct {
	graphql.ExecutableSchema

	asked int
}

func (*counting) Schema() *ast.Schema { return schema }

func (c *counting) Complexity(context.Context, string, string, int, map[string]any) (int, bool) {
	c.asked++
	return 0, false
}

// expansion has the counts of a document with every fragment in the place of its spreads.
type expansion struct {
	depth, aliases, roots, directives, steps, pairs int
}

// expand counts one selection after the other, up to a number of steps.
func expand(doc *ast.QueryDocument, most int) (e expansion) {
	for _, op := range doc.Operations {
		places, aliases := map[string]int{}, 0
		directives := func(list ast.DirectiveList) {
			e.directives = max(e.directives, len(list))
			for _, d := range list {
				for _, a := range d.Arguments {
					e.steps += values(a.Value)
				}
			}
		}
		var walk func(set ast.SelectionSet, path string, depth int, within []string)
		walk = func(set ast.SelectionSet, path string, depth int, within []string) {
			for _, s := range set {
				if e.steps++; e.steps > most {
					return
				}
				switch s := s.(type) {
				case *ast.Field:
					directives(s.Directives)
					for _, a := range s.Arguments {
						e.steps += values(a.Value)
					}
					here := path + "/" + s.Alias
					e.pairs += places[here]
					places[here]++
					if path == "" {
						places[""]++
					}
					if s.Alias != s.Name {
						aliases++
					}
					e.depth = max(e.depth, depth)
					if s.Name == "__schema" || s.Name == "__type" {
						walk(s.SelectionSet, here, math.MinInt32, within)
					} else {
						walk(s.SelectionSet, here, depth+1, within)
					}
				case *ast.InlineFragment:
					directives(s.Directives)
					walk(s.SelectionSet, path, depth, within)
				case *ast.FragmentSpread:
					directives(s.Directives)
					if f := doc.Fragments.ForName(s.Name); f != nil && !slices.Contains(within, s.Name) {
						directives(f.Directives)
						walk(f.SelectionSet, path, depth, append(slices.Clone(within), s.Name))
					}
				}
			}
		}
		directives(op.Directives)
		walk(op.SelectionSet, "", 1, nil)
		e.roots, e.aliases = max(e.roots, places[""]), max(e.aliases, aliases)
	}
	return e
}

// values returns the number of values in a value, including itself.
func values(v *ast.Value) int {
	n := 1
	for _, child := range v.Children {
		n += values(child.Value)
	}
	return n
}

// drawing generates documents over everything that can be read, with fragments that can spread each other, and themselves.
type drawing struct {
	t         *rapid.T
	fragments []string // the types of the fragments
	first     int      // the same argument for all connections, because different ones would conflict
	statuses  int      // the number of statuses in each filter
	invalid   bool     // directives can be in wrong places, and fragments can spread themselves
}

func (d *drawing) int(least, most int, what string) int {
	return rapid.IntRange(least, most).Draw(d.t, what)
}

// document returns a document that is usually valid.
func (d *drawing) document() string {
	d.first, d.statuses = d.int(0, 3, "first"), d.int(0, 9, "statuses")
	types := []string{"Query", "Namespace", "Retriever", "ApiKeyConnection", "ApiKey", "__Type"}
	for range d.int(0, 12, "fragments") {
		d.fragments = append(d.fragments, rapid.SampledFrom(types).Draw(d.t, "on"))
	}
	d.invalid = rapid.SampledFrom([]bool{false, false, false, true}).Draw(d.t, "invalid")
	misplaced := ""
	if d.invalid {
		misplaced = d.directives()
	}
	var b strings.Builder
	for i := range d.int(1, 2, "operations") {
		fmt.Fprintf(&b, "query Q%d%s %s", i, misplaced, d.selection("Query", 5, 0))
	}
	for i, on := range d.fragments {
		least := i + 1
		if d.invalid {
			least = 0
		}
		if text := d.selection(on, 2, least); strings.Contains(b.String(), fmt.Sprintf("...F%d ", i)) {
			fmt.Fprintf(&b, "fragment F%d on %s%s %s", i, on, misplaced, text)
		}
	}
	return b.String()
}

func (d *drawing) directives() string {
	const include, skip = " @include(if: true)", " @skip(if: false)"
	n := 4
	if d.invalid {
		n++
	}
	return rapid.SampledFrom([]string{"", include, skip, include + skip, skip + skip + include}[:n]).Draw(d.t, "directives")
}

// selection returns a selection of a type. It spreads only fragments from the index least on.
func (d *drawing) selection(typeName string, depth, least int) string {
	var b strings.Builder
	b.WriteString("{ ")
	def := schema.Types[typeName]
	for range d.int(1, 5, "selections") {
		switch kind := d.int(0, 9, "kind"); {
		case kind == 0:
			fmt.Fprintf(&b, "...%s %s", d.directives(), d.selection(typeName, max(depth-1, 0), least))
		case kind <= 3:
			for i := least; i < len(d.fragments); i++ {
				if d.fragments[i] == typeName && d.int(0, 2, "spread") > 0 {
					fmt.Fprintf(&b, "...F%d %s", i, d.directives())
				}
			}
		case len(def.Fields) == 0: // a union
		default:
			field := rapid.SampledFrom(def.Fields).Draw(d.t, "field")
			next := schema.Types[field.Type.Name()]
			if field.Name == "_entities" || depth == 0 && next.IsCompositeType() {
				continue
			}
			if d.int(0, 5, "aliased") == 0 {
				fmt.Fprintf(&b, "a%d_%s: ", d.int(0, 1, "alias"), field.Name)
			}
			b.WriteString(field.Name + d.arguments(field) + d.directives() + " ")
			if next.IsCompositeType() {
				b.WriteString(d.selection(next.Name, depth-1, least))
			}
		}
	}
	b.WriteString("__typename } ")
	return b.String()
}

func (d *drawing) arguments(field *ast.FieldDefinition) string {
	var list []string
	for _, a := range field.Arguments {
		switch {
		case a.Type.NonNull && a.DefaultValue == nil:
			list = append(list, a.Name+`: "x"`)
		case a.Name == "first" && d.first > 0:
			list = append(list, fmt.Sprintf("first: %d", d.first))
		case a.Name == "filter":
			list = append(list, "filter: {status: ["+strings.Repeat("ACTIVE ", d.statuses)+"]}")
		}
	}
	if list == nil {
		return ""
	}
	return "(" + strings.Join(list, ", ") + ")"
}
