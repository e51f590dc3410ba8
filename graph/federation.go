package graph

import (
	"context"
	"slices"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"retrieverkeys/apikey"
)

// The federation subgraph: the resolvers of _entities and _service, under the names that the generated code uses.

// entityTypes are the types that can be resolved by id, with their types in the domain.
var entityTypes = map[string]apikey.ResourceType{
	"ApiKey":    apikey.ResourceAPIKey,
	"Namespace": apikey.ResourceNamespace,
	"Retriever": apikey.ResourceRetriever,
}

// Subgraph is what a gateway reads about this subgraph.
type Subgraph struct{ SDL string }

func (ec *executionContext) __resolve__service(ctx context.Context) (Subgraph, error) {
	if ec.DisableIntrospection {
		return Subgraph{}, introspectionError(ctx)
	}
	return Subgraph{SDL: subgraphSDL()}, nil
}

// organizationNamed returns the caller's organization if the representation names it, by either of its keys or both.
func (l *loader) organizationNamed(ctx context.Context, r representation) (Node, error) {
	own := l.caller.Key.InternalID
	if r.InternalID != "" && r.InternalID != string(own) {
		return nil, nil
	}
	if r.ID != "" || r.InternalID == "" {
		o, err := l.organization(ctx)
		if err != nil || o.ID != r.ID {
			return nil, err
		}
	}
	return &Organization{own}, nil
}

// distinct returns each representation once.
func distinct(all []representation) []representation {
	seen := make(map[representation]bool, len(all))
	return slices.DeleteFunc(slices.Clone(all), func(r representation) bool {
		before := seen[r]
		seen[r] = true
		return before
	})
}

// __resolve_entities reports an invalid representation at its place and resolves the others. It resolves equal representations once and
// repeats the result, with its errors.
func (ec *executionContext) __resolve_entities(ctx context.Context, representations []representation) any {
	entities := make([]Node, len(representations))
	found, err := loaded(ctx).found(ctx)
	if err != nil {
		ec.Error(ctx, err)
		return entities
	}
	first, repeats := map[representation]int{}, map[int][]int{} // their places
	for i, r := range representations {
		if before, known := first[r]; known {
			repeats[before] = append(repeats[before], i)
			continue
		}
		first[r] = i
		kind, known := entityTypes[r.TypeName]
		var n apikey.Node
		var err error
		switch {
		case r.TypeName == "Organization" && r.Err == nil:
			entities[i], err = loaded(ctx).organizationNamed(ctx, r)
		case r.Err != nil:
			err = apikey.Invalid("representations", "representations[%d] %s.", i, r.Err)
		case !known:
			err = apikey.Invalid("representations", "There is no entity of this __typename here.")
		default:
			n = found.Entity(kind, r.ID)
		}
		if err != nil {
			ec.Error(graphql.WithPathContext(ctx, graphql.NewPathWithIndex(i)), err)
			continue
		}
		if n != (apikey.Node{}) {
			entities[i] = nodeOf(n)
		}
	}
	if len(repeats) == 0 {
		return entities
	}
	list := ec.marshalN_Entity2ᚕretrieverkeysᚋgraphᚐNode(ctx, graphql.GetFieldContext(ctx).Field.Selections, entities)
	repeat(ctx, list.(graphql.Array), repeats) //nolint:errcheck,forcetypeassert // the list that it makes for a single one
	return list
}

// repeat copies the result at one place of the current field's list to other places, with its errors.
func repeat(ctx context.Context, list graphql.Array, repeats map[int][]int) {
	field := graphql.GetPath(ctx)
	at := len(field)
	for _, err := range graphql.GetErrors(ctx) {
		if len(err.Path) <= at || !slices.Equal(err.Path[:at], field) {
			continue
		}
		i, _ := err.Path[at].(ast.PathIndex)
		for _, place := range repeats[int(i)] {
			if loaded(ctx).failedWhole() {
				return
			}
			same := *err
			same.Path = slices.Clone(err.Path)
			same.Path[at] = ast.PathIndex(place)
			graphql.AddError(ctx, presented{&same})
		}
	}
	for i, places := range repeats {
		for _, place := range places {
			list[place] = list[i]
		}
	}
}
