package graph

import (
	"slices"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
	queryparser "github.com/vektah/gqlparser/v2/parser"
)

func readSDL(t *testing.T, sdl string) *ast.SchemaDocument {
	t.Helper()
	doc, err := queryparser.ParseSchema(&ast.Source{Input: sdl})
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// Without this, parsers of an older grammar, such as Rust's graphql-parser, cannot read the schema.
func TestSDLIsReadByOlderParsers(t *testing.T) {
	for name, sdl := range map[string]string{"clients": SDL(), "2.9": SubgraphSDL("2.9"), "2.3": SubgraphSDL("2.3")} {
		doc := readSDL(t, sdl)
		if !strings.HasPrefix(sdl, "# List, create, change, rotate and revoke") || len(doc.Schema) != 1 || doc.Schema[0].Description != "" || len(doc.Schema[0].OperationTypes) != 3 {
			t.Errorf("%s begins with\n%.200s", name, sdl)
		}
		if len(doc.Extensions)+len(doc.SchemaExtension) != 0 {
			t.Errorf("%s extends a type that it defines", name)
		}
	}
	if parsedSchema.Description == "" {
		t.Error("the served schema has no description")
	}
}

// Without this, a gateway refuses this subgraph next to one with the same fields or entities.
func TestSubgraphSDLComposes(t *testing.T) {
	doc := readSDL(t, SubgraphSDL("2.9"))
	for name := range entityTypes {
		d := doc.Definitions.ForName(name)
		if d.Directives.ForName("key") == nil {
			t.Errorf("%s has no key", name)
		}
		for _, f := range d.Fields {
			if shared := f.Directives.ForName("shareable") != nil; shared != slices.Contains(sharedFields, f.Name) {
				t.Errorf("%s.%s: shareable is %v", name, f.Name, shared)
			}
		}
	}
	if doc.Definitions.ForName("PageInfo").Directives.ForName("shareable") == nil {
		t.Error("PageInfo is not shareable")
	}

	for with, want := range map[string]string{"": "", "node": "node", "viewer": "viewer", "node,viewer": "node viewer"} {
		doc := readSDL(t, SubgraphSDL("2.3", strings.Split(with, ",")...))
		var found []string
		for _, name := range OptionalFields() {
			if doc.Definitions.ForName("Query").Fields.ForName(name) != nil {
				found = append(found, name)
			}
		}
		if got := strings.Join(found, " "); got != want {
			t.Errorf("with %q: %q", with, got)
		}
		if viewer := doc.Definitions.ForName("Viewer") != nil; viewer != strings.Contains(with, "viewer") {
			t.Errorf("with %q: has the type Viewer: %v", with, viewer)
		}
	}
}

// Without this, a gateway that limits costs counts a page as one item, or composers without @listSize refuse the schema.
func TestSubgraphSDLTellsSizes(t *testing.T) {
	if strings.Contains(SubgraphSDL("2.3"), "listSize") {
		t.Error("2.3 has @listSize")
	}
	sizes := map[string]string{
		"Query.retrievers": "25", "Namespace.retrievers": "25", "ApiKey.retrievers": "25", "Organization.namespaces": "25",
		"Retriever.apiKeys": "1000", "Namespace.apiKeys": "100", "Organization.apiKeys": "100",
		"Retriever.auditEvents": "1000", "Namespace.auditEvents": "100", "Organization.auditEvents": "100",
	}
	for _, d := range readSDL(t, SubgraphSDL("2.9")).Definitions {
		for _, f := range d.Fields {
			size := f.Directives.ForName("listSize")
			if connection := strings.HasSuffix(f.Type.Name(), "Connection"); connection != (size != nil) {
				t.Errorf("%s.%s: @listSize %v", d.Name, f.Name, size)
			} else if connection && size.Arguments.ForName("assumedSize").Value.Raw != sizes[d.Name+"."+f.Name] {
				t.Errorf("%s.%s: %s", d.Name, f.Name, size.Arguments.ForName("assumedSize").Value)
			}
		}
	}
}

// The subgraph schema leaves some root fields out. The server must still answer them.
func TestFieldsLeftOutOfTheSubgraphAreAnswered(t *testing.T) {
	operations := map[string]string{"node": `{ node(id: "ret_1_05") { id } }`, "nodes": `{ nodes(ids: ["ret_1_05"]) { id } }`, "viewer": `{ viewer { keyId } }`}
	for _, with := range [][]string{nil, OptionalFields()} {
		sdl := readSDL(t, SubgraphSDL(FederationVersions[0], with...))
		for _, name := range OptionalFields() {
			if there := sdl.Definitions.ForName("Query").Fields.ForName(name) != nil; there != slices.Contains(with, name) {
				t.Errorf("with %v: has %s: %t", with, name, there)
			}
			response := asked(t, expecting("Retrievers"), operations[name], nil)
			if data, _ := response["data"].(map[string]any); response["errors"] != nil || data[name] == nil {
				t.Errorf("with %v: %s answers %v", with, name, response)
			}
		}
	}
}
