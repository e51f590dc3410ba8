package graph

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"retrieverkeys/apikey"
)

// keyFields says which fields of a key's document each field of ApiKey shows. id, keyId and keyHash are always read.
var keyFields = map[string]apikey.Fields{
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
		fields |= keyFields[f.Name]
	}
	return fields
}

// selectedConnection returns the parts of a connection that the current field's selection shows, and the fields of
// the keys in it, if they are keys.
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

// shape is how a list is written, if not by gqlgen, and, of a field apiKeys, what it asks for.
type shape struct {
	selections ast.SelectionSet
	wants      apikey.Wants
	fields     apikey.Fields
	arguments  *arguments // nil: they depend on variables

	itemSlots  int // of the plans for what is in the list
	plan       writer[*ApiKeyConnection]
	events     writer[*AuditEventConnection]
	retrievers writer[*RetrieverConnection]
	scopes     writer[[]apikey.Scope]
}

// shapes keeps what was found out of a text's selections, for the next time. The first field of those that are merged tells one
// from another, mostly.
type shapes struct {
	mu   sync.Mutex
	kept map[*ast.Field]*shape
	free int // selections and slots that may be kept: as many as the text has bytes, so that they take no more than its document
}

func newShapes(slots int) *shapes { return &shapes{kept: map[*ast.Field]*shape{}, free: slots} }

// keepShapes makes the shapes that stay with a text's document: none if the text has a directive, because what it selects can then depend
// on variables.
func keepShapes(text string) any {
	if strings.Contains(text, "@") {
		return nil
	}
	return newShapes(len(text))
}

// of returns the shape of a field.
func (s *shapes) of(ctx context.Context, op *graphql.OperationContext, f graphql.CollectedField) *shape {
	s.mu.Lock()
	kept, known := s.kept[f.Field]
	s.mu.Unlock()
	if known && slices.Equal(kept.selections, f.Selections) {
		return kept
	}
	made, c := &shape{selections: f.Selections}, compiler{op: op}
	switch f.Definition.Type.Name() {
	case "ApiKeyConnection":
		made.wants, made.fields = connectionParts(op, f.Selections, "ApiKeyConnection")
		made.plan, made.itemSlots = writerOf(&c, f.Selections, &connectionObject)
		if !slices.ContainsFunc(f.Arguments, func(a *ast.Argument) bool { return variable(a.Value) }) {
			made.arguments = readArguments(ctx, op, f)
		}
	case "AuditEventConnection":
		made.events, made.itemSlots = writerOf(&c, f.Selections, &eventsObject)
	case "RetrieverConnection":
		made.retrievers, made.itemSlots = writerOf(&c, f.Selections, &retrieversObject)
	case "ApiKeyScope":
		if write, ok := listing(&scopeObject, func(list []apikey.Scope) []apikey.Scope { return list })(&c, f.Selections); ok {
			made.scopes, made.itemSlots = write, c.slots
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	cost := len(f.Selections) + c.slots
	if _, known = s.kept[f.Field]; !known && cost <= s.free {
		s.kept[f.Field] = made
		s.free -= cost
	}
	return made
}

// writerOf returns how a connection is written, nil where that is left to gqlgen, and the slots for what is in it.
func writerOf[C any](c *compiler, selections ast.SelectionSet, o *object[C]) (writer[C], int) {
	p, ok := compile(c, selections, o)
	if !ok {
		return nil, 0
	}
	return p.write, c.slots - len(p)
}

// variable reports whether a value is a variable, or has one in it.
func variable(v *ast.Value) bool {
	return v.Kind == ast.Variable || slices.ContainsFunc(v.Children, func(c *ast.ChildValue) bool { return variable(c.Value) })
}
