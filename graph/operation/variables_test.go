package operation

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator"
	"pgregory.net/rapid"

	"retrieverkeys/graph/scalar"
)

// inputs is a schema with every kind of type that variables can have.
var inputs = gqlparser.MustLoadSchema(&ast.Source{Input: `
	type Query { a: Int }
	scalar DateTime
	scalar _Any
	enum Color { RED Red BLUE }
	input Point { x: Int!, y: Float = 1.5, color: Color, tags: [String!], within: Point, grid: [[Int]] = [[1]], any: [_Any] }
`})

// FuzzVariables compares coerced values with the values that the JSON was made from.
func FuzzVariables(f *testing.F) {
	f.Add([]byte("any"))
	f.Fuzz(rapid.MakeFuzz(checkVariables))
}

func TestVariablesAreCoerced(t *testing.T) { rapid.Check(t, checkVariables) }

func checkVariables(t *rapid.T) {
	named := rapid.SampledFrom([]string{"Int", "Float", "String", "Boolean", "ID", "DateTime", "_Any", "Color", "Point"}).Draw(t, "type")
	typ := &ast.Type{NamedType: named, NonNull: rapid.Bool().Draw(t, "required")}
	for range rapid.IntRange(0, 2).Draw(t, "lists") {
		typ = &ast.Type{Elem: typ, NonNull: rapid.Bool().Draw(t, "required")}
	}
	m := making{T: t}
	text, want := m.value(typ, "v", 0, false)
	var given map[string]any
	dec := json.NewDecoder(strings.NewReader(`{"v":` + text + `}`))
	dec.UseNumber()
	if err := dec.Decode(&given); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	op := &ast.OperationDefinition{VariableDefinitions: ast.VariableDefinitionList{{Variable: "v", Type: typ, Definition: inputs.Types[named]}}}
	values, errs := (&Parser{Config: Config{Schema: inputs, Scalars: scalar.Readers}}).Coerce(op, given, true)
	var places []string
	for _, e := range errs {
		places = append(places, fmt.Sprint(e.Extensions["field"]))
	}
	slices.Sort(places)
	slices.Sort(m.wrong)
	switch {
	case len(m.wrong) > MostErrors:
		if len(places) != MostErrors {
			t.Fatalf("%s: %s: got errors at %q, want %q", typ, text, places, m.wrong)
		}
	case !slices.Equal(places, m.wrong):
		t.Fatalf("%s: %s: got errors at %q, want %q", typ, text, places, m.wrong)
	case len(errs) == 0:
		if !reflect.DeepEqual(values, map[string]any{"v": want}) {
			t.Fatalf("%s: %s: got %#v, want %#v", typ, text, values["v"], want)
		}
		again, err := validator.VariableValues(inputs, op, values)
		if err != nil || !reflect.DeepEqual(again, map[string]any{"v": want}) {
			t.Fatalf("%s: gqlparser returns %#v for %s: %v", typ, again["v"], text, err)
		}
	}
}

// making generates values as JSON together with what they mean, and records the places where they are wrong.
type making struct {
	*rapid.T

	wrong []string
}

func (m *making) chance(one int) bool { return rapid.IntRange(1, one).Draw(m.T, "chance") == one }

func (m *making) bad(place string, texts ...string) (string, any) {
	m.wrong = append(m.wrong, place)
	return rapid.SampledFrom(texts).Draw(m.T, "bad"), nil
}

// value generates a value of a type. alone means that it stands for a list of one, so it is neither a list nor null.
func (m *making) value(typ *ast.Type, place string, depth int, alone bool) (text string, want any) {
	switch {
	case alone: // neither null nor a list
	case m.chance(8) && typ.NonNull:
		return m.bad(place, "null")
	case m.chance(8) && !typ.NonNull:
		return "null", nil
	}
	if typ.Elem != nil {
		if alone || m.chance(3) {
			text, one := m.value(typ.Elem, place, depth, true)
			return text, []any{one}
		}
		texts, items := []string{}, []any{}
		for i := range rapid.IntRange(0, 3).Draw(m.T, "items") {
			text, item := m.value(typ.Elem, fmt.Sprintf("%s[%d]", place, i), depth, false)
			texts, items = append(texts, text), append(items, item)
		}
		return "[" + strings.Join(texts, ",") + "]", items
	}
	wrong := m.chance(8)
	switch typ.NamedType {
	case "Int":
		if wrong {
			return m.bad(place, "2147483648", "-2147483649", "2.5", "1e-1", `"1"`, "1e10", "1e999999999999999999999", "1.0000000000000000000000001", "true", "{}")
		}
		n := rapid.Int32().Draw(m.T, "n")
		return m.written(int64(n)), int64(n)
	case "Float":
		if wrong {
			return m.bad(place, "1e999", `"1.5"`, "false", "{}")
		}
		f := rapid.Float64Range(-math.MaxFloat64, math.MaxFloat64).Draw(m.T, "f")
		return strconv.FormatFloat(f, 'e', -1, 64), f
	case "String":
		if wrong {
			return m.bad(place, "1", "true", "{}")
		}
		return m.text(rapid.String().Draw(m.T, "text"))
	case "Boolean":
		if wrong {
			return m.bad(place, "1", "0", `"true"`, "{}")
		}
		b := rapid.Bool().Draw(m.T, "b")
		return strconv.FormatBool(b), b
	case "ID":
		if wrong {
			return m.bad(place, "1.5", "true", "{}")
		}
		if n := rapid.Int64().Draw(m.T, "id"); m.chance(2) {
			return strconv.FormatInt(n, 10), strconv.FormatInt(n, 10)
		}
		return m.text(rapid.String().Draw(m.T, "id"))
	case "DateTime":
		if wrong {
			return m.bad(place, "1", `""`, `"2026-02-30T00:00:00Z"`, `"2026-03-01"`, "{}")
		}
		return m.text(rapid.SampledFrom([]string{"2026-03-01T09:30:00Z", "2026-03-01T09:30:00.5+02:00"}).Draw(m.T, "date"))
	case "_Any":
		if wrong {
			return m.bad(place, "1", `""`, "true")
		}
		return `{"__typename":"A","id":1.0,"more":{"a":[null]}}`, map[string]any{"__typename": "A", "id": json.Number("1.0"), "more": map[string]any{"a": []any{nil}}}
	case "Color":
		if wrong {
			return m.bad(place, `"red"`, `"GREEN"`, `"BLUE "`, `""`, "1", "true", "{}")
		}
		return m.text(rapid.SampledFrom([]string{"RED", "Red", "BLUE"}).Draw(m.T, "color"))
	default:
		if wrong {
			return m.bad(place, "1", `"x"`, "true")
		}
		return m.object(typ.NamedType, place, depth)
	}
}

// object generates an object with some of the type's fields.
func (m *making) object(name, place string, depth int) (string, any) {
	var texts []string
	want := map[string]any{}
	for _, f := range inputs.Types[name].Fields {
		typ, at := *f.Type, place+"."+f.Name
		switch {
		case f.Type.NonNull && f.DefaultValue == nil && m.chance(8):
			m.wrong = append(m.wrong, at)
			continue
		case !f.Type.NonNull && (depth > 2 || m.chance(2)):
			continue
		}
		text, v := m.value(&typ, at, depth+1, false)
		texts, want[f.Name] = append(texts, fmt.Sprintf("%q:%s", f.Name, text)), v
	}
	if m.chance(8) {
		at := rapid.SampledFrom([]string{"X", "__typename", "no name", strings.Repeat("x", LongestName+1)}).Draw(m.T, "unknown")
		texts = append(texts, fmt.Sprintf("%q:1", at))
		m.wrong = append(m.wrong, place+"."+map[bool]string{true: at, false: "…"}[len(at) < LongestName && at != "no name"])
	}
	texts = slices.SortedFunc(slices.Values(texts), cmp.Compare)
	return "{" + strings.Join(texts, ",") + "}", want
}

func (m *making) text(s string) (string, any) {
	text, err := json.Marshal(s)
	if err != nil {
		m.Fatal(err)
	}
	var want string
	if err := json.Unmarshal(text, &want); err != nil { // encoding replaces invalid UTF-8
		m.Fatal(err)
	}
	return string(text), want
}

// written writes a whole number in one of the forms that JSON allows.
func (m *making) written(n int64) string {
	text := strconv.FormatInt(n, 10)
	zeros := rapid.IntRange(0, 30).Draw(m.T, "zeros")
	if n == 0 {
		zeros = 0 // 00 is not a JSON number
	}
	switch rapid.IntRange(0, 4).Draw(m.T, "form") {
	case 0:
		return text
	case 1:
		return text + "." + strings.Repeat("0", zeros+1)
	case 2:
		return text + strings.Repeat("0", zeros) + "e-" + strconv.Itoa(zeros)
	case 3:
		digits := strings.TrimPrefix(text, "-")
		return text[:len(text)-len(digits)] + "0." + strings.Repeat("0", zeros) + digits + "E+" + strconv.Itoa(zeros+len(digits))
	default:
		return text + ".0e0"
	}
}
