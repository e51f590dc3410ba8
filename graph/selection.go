package graph

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"retrieverkeys/apikey"
)

// fieldsShown maps each field of ApiKey to the fields of a key's document that it shows. id, keyId and keyHash are always read.
var fieldsShown = map[string]apikey.Fields{
	"id":                0,
	"keyId":             0,
	"keyHash":           0,
	"keyPrefix":         apikey.FieldPrefix,
	"keyType":           apikey.FieldType,
	"name":              apikey.FieldName,
	"description":       apikey.FieldDescription,
	"internalId":        apikey.FieldInternalID,
	"organizationId":    apikey.FieldOrganizationID,
	"userId":            apikey.FieldUserID,
	"subscriptionId":    apikey.FieldSubscriptionID,
	"principalId":       apikey.FieldPrincipalID,
	"isInternal":        apikey.FieldIsInternal,
	"permissions":       apikey.FieldPermissions,
	"scopes":            apikey.FieldScopes,
	"rateLimitOverride": apikey.FieldRateLimitOverride,
	"status":            apikey.StatusFields,
	"expiresAt":         apikey.FieldExpiresAt,
	"lastUsedAt":        apikey.FieldLastUsedAt,
	"createdAt":         apikey.FieldCreatedAt,
	"createdBy":         apikey.FieldCreatedBy,
	"revokedAt":         apikey.FieldRevokedAt,
	"revokedBy":         apikey.FieldRevokedBy,
	"allowedOrigins":    apikey.FieldAllowedOrigins,
	"rotatedTo":         apikey.FieldRotatedTo,
	"rotatedFrom":       apikey.FieldRotatedFrom,
}

// fieldsOf returns the fields of a key that a selection shows.
func fieldsOf(op *graphql.OperationContext, selections ast.SelectionSet) apikey.Fields {
	var fields apikey.Fields
	for _, f := range graphql.CollectFields(op, selections, apiKeyImplementors) {
		fields |= fieldsShown[f.Name]
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
