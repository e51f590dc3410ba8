package graph

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"retrieverkeys/apikey"
)

// A gateway requests many entities at once, for many of its clients. A malformed representation must not fail the others.
func TestABadRepresentationIsOneError(t *testing.T) {
	sent := []any{
		map[string]any{"__typename": "Retriever", "id": "ret_1_05"},
		map[string]any{"__typename": "Retriever"},
		map[string]any{"__typename": "ApiKey", "id": ""},
		map[string]any{"__typename": "Namespace", "id": nil},
		map[string]any{"id": "ret_1_05"},
		map[string]any{"__typename": "Nothing", "id": "1"},
		map[string]any{"__typename": "Retriever", "id": 2.5},
		map[string]any{"__typename": "Namespace", "id": "ns_1"},
	}
	const literals = `[{__typename: "Retriever", id: "ret_1_05"}, {__typename: "Retriever"}, {__typename: "ApiKey", id: ""}, {__typename: "Namespace", id: null},
		{id: "ret_1_05"}, {__typename: "Nothing", id: "1"}, {__typename: "Retriever", id: 2.5}, {__typename: "Namespace", id: "ns_1"}]`
	at := func(place float64, message string) any {
		return map[string]any{
			"message": message, "path": []any{"_entities", place}, "locations": []any{map[string]any{"line": 1.0, "column": 23.0}},
			"extensions": map[string]any{"code": "BAD_USER_INPUT", "field": "representations"},
		}
	}
	want := map[string]any{
		"data": map[string]any{"_entities": []any{map[string]any{"id": "ret_1_05"}, nil, nil, nil, nil, nil, nil, map[string]any{"id": "ns_1"}}},
		"errors": []any{
			at(1, "representations[1] must be an object with __typename and id."),
			at(3, "representations[3] must be an object with __typename and id."),
			at(4, "representations[4] must be an object with __typename and id."),
			at(5, "There is no entity of this __typename here."),
			at(6, "representations[6] must be an object with __typename and id."),
		},
	}
	const selected = `{ ... on Node { id } } }`
	if got := asked(t, expecting("Namespaces Retrievers"), `query($e: [_Any!]!) { _entities(representations: $e) `+selected, map[string]any{"e": sent}); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if got := asked(t, expecting("Namespaces Retrievers"), `query               { _entities(representations: `+literals+`) `+selected, nil); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// If equal entities have many errors, each of their places repeats them. Without a limit, gqlgen compares each error with all others for
// seconds, although the query fails as a whole.
func TestRepeatedErrorsEndWithTheQuery(t *testing.T) {
	l := &loader{cost: apikey.NewCost(0, 0)}
	presented := 0
	ctx := graphql.WithResponseContext(context.WithValue(t.Context(), loaderKey{}, l), func(_ context.Context, err error) *gqlerror.Error {
		presented++
		l.failed.Add(1)
		shown, _ := errors.AsType[*gqlerror.Error](err)
		return shown
	}, nil)
	const places = 3 * mostFieldErrors
	list, repeats := make(graphql.Array, places), map[int][]int{}
	for i := 1; i < places; i++ {
		repeats[0] = append(repeats[0], i)
	}
	graphql.AddError(ctx, &gqlerror.Error{Message: "wrong", Path: ast.Path{ast.PathName("_entities"), ast.PathIndex(0)}})
	repeat(graphql.WithPathContext(ctx, graphql.NewPathWithField("_entities")), list, repeats)
	if want := mostFieldErrors + 1; presented != want {
		t.Errorf("got %d errors, want %d", presented, want)
	}
}
