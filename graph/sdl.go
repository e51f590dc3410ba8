package graph

import (
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"
	queryparser "github.com/vektah/gqlparser/v2/parser"

	"retrieverkeys/apikey"
)

// The schema as text: for client generators and for gateways.

// SDL returns the schema for clients. The description of the schema itself is a comment, because parsers with an older grammar, such as
// graphql-parser (Rust) and graphql-to-postman, cannot read a description there.
func SDL() string {
	text := sources[slices.IndexFunc(sources, isSchema)].Input
	described, found := strings.CutPrefix(text, "\"\"\"\n")
	if !found {
		return text
	}
	description, rest, _ := strings.Cut(described, "\n\"\"\"\n")
	return comment(description) + rest
}

func isSchema(s *ast.Source) bool { return s.Name == "../schema.graphqls" }

func comment(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text + "\n") {
		out.WriteString(strings.TrimRight("# "+line, " \n") + "\n")
	}
	return out.String()
}

// FederationVersions are the supported federation versions, the default first. The older one is for composers without @listSize.
var FederationVersions = []string{"2.9", "2.3"}

// OptionalFields are fields of Query that other subgraphs often have too, in which case gateways refuse to compose. The server always
// answers them, but the subgraph schema contains them only on request.
func OptionalFields() []string {
	return slices.DeleteFunc([]string{"node", "nodes", "viewer"}, func(name string) bool {
		return parsedSchema.Query.Fields.ForName(name) == nil
	})
}

// sharedFields are the entity fields that other subgraphs may define too.
var sharedFields = []string{"name", "description", "createdAt", "updatedAt"}

var subgraphSDL = sync.OnceValue(func() string { return SubgraphSDL(FederationVersions[0]) })

// SubgraphSDL returns the schema for gateways, for a federation version and with some of the optional fields. It extends no types,
// because Mesh, Mercurius and graphql-parser cannot read extensions of a subgraph's own types.
func SubgraphSDL(version string, with ...string) string {
	doc, err := queryparser.ParseSchemas(slices.DeleteFunc(slices.Clone(sources), func(s *ast.Source) bool {
		return !isSchema(s) && s.Name != "federation.graphqls"
	})...)
	if err != nil {
		panic(err) // it was parsed when the code was generated
	}
	for _, extension := range doc.Extensions {
		d := doc.Definitions.ForName(extension.Name)
		d.Directives = append(d.Directives, extension.Directives...)
	}
	query := doc.Definitions.ForName("Query")
	query.Fields = slices.DeleteFunc(query.Fields, func(f *ast.FieldDefinition) bool {
		return slices.Contains(OptionalFields(), f.Name) && !slices.Contains(with, f.Name)
	})
	imports := []string{"@key", "@shareable"}
	for _, d := range doc.Definitions {
		entity := d.Directives.ForName("key") != nil
		for _, f := range d.Fields {
			if entity && slices.Contains(sharedFields, f.Name) {
				f.Directives = append(f.Directives, &ast.Directive{Name: "shareable"})
			}
			if version != "2.3" && f.Arguments.ForName("first") != nil {
				f.Directives = append(f.Directives, listSize(d.Name, f))
			}
		}
	}
	if version != "2.3" {
		imports = append(imports, "@listSize")
	}
	head := comment(doc.Schema[0].Description)
	doc.Schema[0].Description = ""
	doc.Schema[0].Directives = ast.DirectiveList{{Name: "link", Arguments: ast.ArgumentList{
		{Name: "url", Value: &ast.Value{Kind: ast.StringValue, Raw: "https://specs.apollo.dev/federation/v" + version}},
		{Name: "import", Value: textList(imports...)},
	}}}
	doc.Extensions, doc.SchemaExtension = nil, nil
	doc.Definitions = reachable(doc.Definitions)

	var out strings.Builder
	out.WriteString(head)
	formatter.NewFormatter(&out, formatter.WithIndent("  ")).FormatSchemaDocument(doc)
	return out.String()
}

// listSize says how long a page is, for gateways that limit the cost of operations.
func listSize(parent string, f *ast.FieldDefinition) *ast.Directive {
	return &ast.Directive{Name: "listSize", Arguments: ast.ArgumentList{
		{Name: "assumedSize", Value: &ast.Value{Kind: ast.IntValue, Raw: strconv.Itoa(defaultPage(parent, f.Name))}},
		{Name: "slicingArguments", Value: textList("first", "last")},
		{Name: "sizedFields", Value: textList("results", "edges")},
		{Name: "requireOneSlicingArgument", Value: &ast.Value{Kind: ast.BooleanValue, Raw: "false"}},
	}}
}

// defaultPage is the default page size of a connection, which is a field of that type.
func defaultPage(parent, field string) int {
	switch {
	case field == "retrievers" || field == "namespaces":
		return apikey.RetrieverPage
	case parent == "Retriever":
		return apikey.MaxPage
	default:
		return apikey.KeyPage
	}
}

func textList(list ...string) *ast.Value {
	v := &ast.Value{Kind: ast.ListValue}
	for _, text := range list {
		v.Children = append(v.Children, &ast.ChildValue{Value: &ast.Value{Kind: ast.StringValue, Raw: text}})
	}
	return v
}

// reachable are the types that can be reached from the root types and the entities. A type that only an omitted field uses would clash
// with another subgraph's type of the same name.
func reachable(all ast.DefinitionList) ast.DefinitionList {
	reached := map[string]bool{}
	var reach func(string)
	reach = func(name string) {
		d := all.ForName(name)
		if d == nil || reached[name] {
			return
		}
		reached[name] = true
		for _, i := range d.Interfaces {
			reach(i)
		}
		for _, member := range d.Types {
			reach(member)
		}
		for _, f := range d.Fields {
			reach(f.Type.Name())
			for _, a := range f.Arguments {
				reach(a.Type.Name())
			}
		}
	}
	for _, d := range all {
		if d.Name == "Query" || d.Name == "Mutation" || d.Name == "Subscription" || d.Directives.ForName("key") != nil {
			reach(d.Name)
		}
	}
	return slices.DeleteFunc(all, func(d *ast.Definition) bool { return !reached[d.Name] })
}
