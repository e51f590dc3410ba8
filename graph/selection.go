package graph

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"retrieverkeys/apikey"
)

// fieldsOf returns the fields of a key that a selection shows.
func fieldsOf(op *graphql.OperationContext, selections ast.SelectionSet) apikey.Fields {
	var fields apikey.Fields
	for _, f := range graphql.CollectFields(op, selections, apiKeyImplementors) {
		fields |= keyFields[f.Name].shows
	}
	return fields
}

// selectedConnection returns the parts of a connection that the current field selects, and, for keys, the fields of the keys.
func selectedConnection(ctx context.Context, typeName string) (apikey.Wants, apikey.Fields) {
	return connectionParts(graphql.GetOperationContext(ctx), graphql.GetFieldContext(ctx).Field.Selections, typeName)
}

func connectionParts(op *graphql.OperationContext, selections ast.SelectionSet, typeName string) (apikey.Wants, apikey.Fields) {
	var wants apikey.Wants
	var fields apikey.Fields
	for _, f := range graphql.CollectFields(op, selections, []string{typeName}) {
		switch f.Name {
		case "results":
			wants.Items = true
			fields |= fieldsOf(op, f.Selections)
		case "edges":
			wants.Items = true
			for _, e := range graphql.CollectFields(op, f.Selections, []string{"ApiKeyEdge"}) {
				if e.Name == "node" {
					fields |= fieldsOf(op, e.Selections)
				}
			}
		case "total":
			wants.Total = true
		case "pageInfo":
			for _, p := range graphql.CollectFields(op, f.Selections, []string{"PageInfo"}) {
				switch p.Name {
				case "hasNextPage":
					wants.HasNext = true
				case "hasPreviousPage":
					wants.HasPrevious = true
				default:
					wants.Items = true
				}
			}
		}
	}
	return wants, fields
}
