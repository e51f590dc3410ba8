package graph

import (
	"context"
	"strings"

	"github.com/99designs/gqlgen/graphql"

	"retrieverkeys/apikey"
)

// This is a subgraph of a federated schema: what gateways ask of it by _entities and _service, by the names that the
// generated code calls them by.

// entityTypes are the types that can be asked for by id, and what they are in the domain.
var entityTypes = map[string]apikey.ResourceType{
	"ApiKey":    apikey.ResourceAPIKey,
	"Namespace": apikey.ResourceNamespace,
	"Retriever": apikey.ResourceRetriever,
}

// Subgraph is what a gateway is told of this one.
type Subgraph struct{ SDL string }

// SubgraphSDL returns the schema of this subgraph, without what every subgraph has.
func SubgraphSDL() string {
	var parts []string
	for _, source := range sources {
		if source.Name == "../schema.graphqls" || source.Name == "federation.graphqls" {
			parts = append(parts, source.Input)
		}
	}
	// Of a type that is extended, only the fields of the extension would be shareable.
	return strings.Replace(strings.Join(parts, "\n"), "type PageInfo {", "type PageInfo @shareable {", 1)
}

func (ec *executionContext) __resolve__service(ctx context.Context) (Subgraph, error) {
	if ec.DisableIntrospection {
		return Subgraph{}, introspectionError(ctx)
	}
	return Subgraph{SDL: SubgraphSDL()}, nil
}

// __resolve_entities tells what is wrong with a representation at its place, and answers the others.
func (ec *executionContext) __resolve_entities(ctx context.Context, representations []representation) []Node {
	entities := make([]Node, len(representations))
	found, err := loaded(ctx).found(ctx)
	if err != nil {
		ec.Error(ctx, err)
		return entities
	}
	for i, r := range representations {
		kind, known := entityTypes[r.TypeName]
		var n apikey.Node
		switch {
		case r.Err != nil:
			err = apikey.Invalid("representations", "representations[%d] %s.", i, r.Err)
		case !known:
			err = apikey.Invalid("representations", "There is no entity of this __typename here.")
		default:
			n, err = found.Entity(kind, r.ID)
		}
		if err != nil {
			ec.Error(graphql.WithPathContext(ctx, graphql.NewPathWithIndex(i)), err)
			continue
		}
		entities[i] = nodeOf(n)
	}
	return entities
}
