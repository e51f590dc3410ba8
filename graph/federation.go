package graph

import (
	"context"

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

func (ec *executionContext) __resolve__service(ctx context.Context) (Subgraph, error) {
	if ec.DisableIntrospection {
		return Subgraph{}, introspectionError(ctx)
	}
	return Subgraph{SDL: subgraphSDL()}, nil
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
		if known {
			n, err = found.Entity(kind, r.ID)
		} else {
			err = apikey.Invalid("representations", "There is no entity of this __typename here.")
		}
		if err != nil {
			ec.Error(graphql.WithPathContext(ctx, graphql.NewPathWithIndex(i)), err)
			continue
		}
		entities[i] = nodeOf(n)
	}
	return entities
}
