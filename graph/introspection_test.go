package graph

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// directives are the directives of the specification (October 2021 and September 2025), each with its arguments and locations.
var directives = map[string]string{
	"skip":        "(if: Boolean!) FIELD FRAGMENT_SPREAD INLINE_FRAGMENT",
	"include":     "(if: Boolean!) FIELD FRAGMENT_SPREAD INLINE_FRAGMENT",
	"deprecated":  `(reason: String = "No longer supported") ARGUMENT_DEFINITION ENUM_VALUE FIELD_DEFINITION INPUT_FIELD_DEFINITION`,
	"specifiedBy": "(url: String!) SCALAR",
	"oneOf":       "() INPUT_OBJECT",
}

// directiveLocations are the locations of the specification (October 2021 and September 2025).
var directiveLocations = []string{
	"ARGUMENT_DEFINITION", "ENUM", "ENUM_VALUE", "FIELD", "FIELD_DEFINITION", "FRAGMENT_DEFINITION", "FRAGMENT_SPREAD", "INLINE_FRAGMENT",
	"INPUT_FIELD_DEFINITION", "INPUT_OBJECT", "INTERFACE", "MUTATION", "OBJECT", "QUERY", "SCALAR", "SCHEMA", "SUBSCRIPTION", "UNION", "VARIABLE_DEFINITION",
}

// introspectionTypes are the introspection types of the specification (September 2025), with their fields and arguments, and the values of
// __TypeKind.
var introspectionTypes = map[string]string{
	"__Schema":            "description directives mutationType queryType subscriptionType types",
	"__Type":              "description enumValues(includeDeprecated) fields(includeDeprecated) inputFields(includeDeprecated) interfaces isOneOf kind name ofType possibleTypes specifiedByURL",
	"__TypeKind":          "ENUM INPUT_OBJECT INTERFACE LIST NON_NULL OBJECT SCALAR UNION",
	"__Field":             "args(includeDeprecated) deprecationReason description isDeprecated name type",
	"__InputValue":        "defaultValue deprecationReason description isDeprecated name type",
	"__EnumValue":         "deprecationReason description isDeprecated name",
	"__Directive":         "args(includeDeprecated) description isRepeatable locations name",
	"__DirectiveLocation": strings.Join(directiveLocations, " "),
}

// Strict clients, such as Python's graphql-core, cannot build a schema from an introspection result that contains more than the
// specification.
func TestIntrospectionIsTheSpecifications(t *testing.T) {
	type named struct {
		Name string
		Args []struct {
			Name         string
			Type         typeRef
			DefaultValue *string
		}
	}
	var got struct {
		Schema struct {
			Types []struct {
				Name               string
				Fields, EnumValues []named
			}
			Directives []struct {
				named

				IsRepeatable bool
				Locations    []string
			}
		} `json:"__schema"`
	}
	response := asked(t, expecting(""), `{ __schema {
		types { name fields(includeDeprecated: true) { name args { name } } enumValues(includeDeprecated: true) { name } }
		directives { name isRepeatable locations args { name defaultValue type { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } }`, nil)
	text, err := json.Marshal(response["data"])
	if err != nil || json.Unmarshal(text, &got) != nil {
		t.Fatal(response)
	}
	seen := map[string]string{}
	for _, d := range got.Schema.Directives {
		var args []string
		for _, a := range d.Args {
			arg := a.Name + ": " + a.Type.String()
			if a.DefaultValue != nil {
				arg += " = " + *a.DefaultValue
			}
			args = append(args, arg)
		}
		slices.Sort(d.Locations)
		seen[d.Name] = strings.TrimSpace("(" + strings.Join(args, ", ") + ") " + strings.Join(d.Locations, " ") + map[bool]string{true: " repeatable"}[d.IsRepeatable])
		for _, l := range d.Locations {
			if !slices.Contains(directiveLocations, l) {
				t.Errorf("@%s has the location %s, which is not in the specification", d.Name, l)
			}
		}
	}
	for name, want := range directives {
		if seen[name] != want {
			t.Errorf("@%s: got %s, want %s", name, seen[name], want)
		}
	}
	for _, typ := range got.Schema.Types {
		var members []string
		for _, f := range slices.Concat(typ.Fields, typ.EnumValues) {
			member := f.Name
			for _, a := range f.Args {
				member += "(" + a.Name + ")"
			}
			members = append(members, member)
		}
		slices.Sort(members)
		if want, ok := introspectionTypes[typ.Name]; ok != strings.HasPrefix(typ.Name, "__") || ok && strings.Join(members, " ") != want {
			t.Errorf("%s: got %s, want %s", typ.Name, members, want)
		}
	}
}

// typeRef is a type in an introspection result.
type typeRef struct {
	Kind, Name string
	OfType     *typeRef
}

func (r typeRef) String() string {
	switch r.Kind {
	case "NON_NULL":
		return r.OfType.String() + "!"
	case "LIST":
		return "[" + r.OfType.String() + "]"
	default:
		return r.Name
	}
}
