package graph

import (
	"strconv"

	"github.com/vektah/gqlparser/v2/ast"

	"retrieverkeys/apikey"
	"retrieverkeys/graph/scalar"
	"retrieverkeys/wire"
)

// keyField is a field of ApiKey.
type keyField struct {
	// shows are the fields of a key's document that it needs. id, keyId and keyHash are always read.
	shows apikey.Fields
	// append and nested write it; both are nil if it has a resolver.
	append appender[*apikey.Key]
	nested func(*compiler, ast.SelectionSet) (writer[*apikey.Key], bool)
}

// keyFields are the fields of ApiKey by name.
var keyFields = map[string]keyField{
	"id":                {append: func(b []byte, k *apikey.Key) []byte { return wire.Text(b, k.ID) }},
	"keyId":             {append: func(b []byte, k *apikey.Key) []byte { return wire.Text(b, k.ID) }},
	"keyHash":           {append: func(b []byte, k *apikey.Key) []byte { return wire.Text(b, k.Hash) }},
	"keyPrefix":         {apikey.FieldPrefix, func(b []byte, k *apikey.Key) []byte { return wire.OptionalText(b, k.Prefix) }, nil},
	"keyType":           {apikey.FieldType, func(b []byte, k *apikey.Key) []byte { return upper(b, scalar.Shown(k.Type)) }, nil},
	"name":              {apikey.FieldName, func(b []byte, k *apikey.Key) []byte { return wire.Text(b, k.Name) }, nil},
	"description":       {apikey.FieldDescription, func(b []byte, k *apikey.Key) []byte { return wire.Text(b, k.Description) }, nil},
	"internalId":        {apikey.FieldInternalID, func(b []byte, k *apikey.Key) []byte { return wire.Text(b, k.InternalID) }, nil},
	"organizationId":    {apikey.FieldOrganizationID, func(b []byte, k *apikey.Key) []byte { return wire.OptionalText(b, k.OrganizationID) }, nil},
	"userId":            {apikey.FieldUserID, func(b []byte, k *apikey.Key) []byte { return wire.Text(b, k.UserID) }, nil},
	"subscriptionId":    {apikey.FieldSubscriptionID, func(b []byte, k *apikey.Key) []byte { return wire.OptionalText(b, k.SubscriptionID) }, nil},
	"principalId":       {apikey.FieldPrincipalID, func(b []byte, k *apikey.Key) []byte { return wire.OptionalText(b, k.PrincipalID) }, nil},
	"isInternal":        {apikey.FieldIsInternal, func(b []byte, k *apikey.Key) []byte { return strconv.AppendBool(b, k.IsInternal) }, nil},
	"permissions":       {apikey.FieldPermissions, func(b []byte, k *apikey.Key) []byte { return uppers(b, k.Permissions) }, nil},
	"scopes":            {apikey.FieldScopes, nil, listing(&scopeObject, func(k *apikey.Key) []apikey.Scope { return k.Scopes })},
	"rateLimitOverride": {apikey.FieldRateLimitOverride, func(b []byte, k *apikey.Key) []byte { return wire.OptionalInt(b, k.RateLimitOverride) }, nil},
	"status":            {apikey.StatusFields, func(b []byte, k *apikey.Key) []byte { return upper(b, k.Status) }, nil},
	"expiresAt":         {apikey.FieldExpiresAt, func(b []byte, k *apikey.Key) []byte { return wire.OptionalTime(b, k.ExpiresAt) }, nil},
	"lastUsedAt":        {apikey.FieldLastUsedAt, func(b []byte, k *apikey.Key) []byte { return wire.OptionalTime(b, k.LastUsedAt) }, nil},
	"createdAt":         {apikey.FieldCreatedAt, func(b []byte, k *apikey.Key) []byte { return wire.OptionalTime(b, k.CreatedAt) }, nil},
	"createdBy":         {apikey.FieldCreatedBy, func(b []byte, k *apikey.Key) []byte { return wire.OptionalText(b, k.CreatedBy) }, nil},
	"revokedAt":         {apikey.FieldRevokedAt, func(b []byte, k *apikey.Key) []byte { return wire.OptionalTime(b, k.RevokedAt) }, nil},
	"revokedBy":         {apikey.FieldRevokedBy, func(b []byte, k *apikey.Key) []byte { return wire.OptionalText(b, k.RevokedBy) }, nil},
	"revokeReason":      {apikey.FieldRevokeReason, func(b []byte, k *apikey.Key) []byte { return wire.OptionalText(b, k.RevokeReason) }, nil},
	"leak":              {apikey.LeakFields, nil, leaks},
	"allowedOrigins":    {apikey.FieldAllowedOrigins, nil, origins},
	"rotatedTo":         {apikey.FieldRotatedTo, func(b []byte, k *apikey.Key) []byte { return wire.OptionalText(b, k.RotatedTo) }, nil},
	"rotatedFrom":       {apikey.FieldRotatedFrom, func(b []byte, k *apikey.Key) []byte { return wire.OptionalText(b, k.RotatedFrom) }, nil},
	"reach":             {apikey.ReachFields, func(b []byte, k *apikey.Key) []byte { return upper(b, k.Reach()) }, nil},
	"findings":          {apikey.FindingFields, func(b []byte, k *apikey.Key) []byte { return findings(b, k.Findings()) }, nil},
	"retrievers":        {shows: apikey.FieldScopes},
	"usage":             {},
	"viewerCanUpdate":   {shows: apikey.CanFields},
	"viewerCanRotate":   {shows: apikey.CanFields},
	"viewerCanRevoke":   {shows: apikey.CanFields},
	"check":             {shows: apikey.CheckFields},
}

// keyObject writes those of them that have no resolver.
var keyObject = func() object[*apikey.Key] {
	o := object[*apikey.Key]{
		types:  apiKeyImplementors,
		fields: map[string]appender[*apikey.Key]{}, nested: map[string]func(*compiler, ast.SelectionSet) (writer[*apikey.Key], bool){},
	}
	for name, f := range keyFields {
		if f.append != nil {
			o.fields[name] = f.append
		}
		if f.nested != nil {
			o.nested[name] = f.nested
		}
	}
	return o
}()

// leaks makes the writer of a key's leak.
func leaks(c *compiler, selections ast.SelectionSet) (writer[*apikey.Key], bool) {
	p, ok := compile(c, selections, &leakObject)
	return func(a *answer, k *apikey.Key) {
		if leak := k.Leak(); leak != nil {
			p.write(a, leak)
		} else {
			a.b = wire.Null(a.b)
		}
	}, ok
}

// origins makes the writer of a list that can have any length in documents.
func origins(*compiler, ast.SelectionSet) (writer[*apikey.Key], bool) {
	return func(a *answer, k *apikey.Key) {
		if k.AllowedOrigins == nil {
			a.b = wire.Null(a.b)
			return
		}
		appendTexts(a, k.AllowedOrigins)
	}, true
}

func findings(b []byte, list []apikey.Finding) []byte {
	return wire.Array(b, len(list), func(b []byte, i int) []byte { return upper(b, list[i]) })
}
