package document

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"retrieverkeys/apikey"
)

// keyField describes one field of a key's document. To add a field, add a row.
type keyField struct {
	name   string
	field  apikey.Fields
	kind   kind                        // the values that an import accepts
	decode func(r *KeyReader, v value) // sets the field in the reader's key
	encode func(k *apikey.Key) any     // returns the value to store; nil: the field never changes
	own    bool                        // the field is this server's, not the vendor's
}

// The fields that are always read.
const (
	fieldObjectID apikey.Fields = 1 << (31 - iota)
	fieldID
	fieldHash

	always = fieldObjectID | fieldID | fieldHash
)

// keyFields has one row per field, in the vendor's order. New documents and projections keep that order, so that equal
// requests make equal commands.
var keyFields = []keyField{
	{name: "_id", field: fieldObjectID, kind: isID, decode: func(r *KeyReader, v value) { r.fallbackID = apikey.ID(v.id()) }},
	{name: "key_id", field: fieldID, decode: func(r *KeyReader, v value) { r.key.ID = apikey.ID(r.text(v)) }},
	{name: "key_hash", field: fieldHash, kind: isHash, decode: func(r *KeyReader, v value) { r.key.Hash = r.text(v) }},
	{
		name: "key_prefix", field: apikey.FieldPrefix,
		decode: func(r *KeyReader, v value) { r.key.Prefix = r.optionalText(v) },
		encode: func(k *apikey.Key) any { return k.Prefix },
	},
	{
		name: "key_type", field: apikey.FieldType,
		decode: func(r *KeyReader, v value) { r.key.Type = r.keyType(v) },
		encode: func(k *apikey.Key) any { return k.Type },
	},
	{
		name: "subscription_id", field: apikey.FieldSubscriptionID,
		decode: func(r *KeyReader, v value) { r.key.SubscriptionID = r.optionalText(v) },
		encode: func(k *apikey.Key) any { return k.SubscriptionID },
	},
	{
		name: "internal_id", field: apikey.FieldInternalID,
		decode: func(r *KeyReader, v value) { r.key.InternalID = apikey.InternalID(r.text(v)) },
		encode: func(k *apikey.Key) any { return k.InternalID },
	},
	{
		name: "organization_id", field: apikey.FieldOrganizationID,
		decode: func(r *KeyReader, v value) { r.key.OrganizationID = r.optionalText(v) },
		encode: func(k *apikey.Key) any { return k.OrganizationID },
	},
	{
		name: "user_id", field: apikey.FieldUserID,
		decode: func(r *KeyReader, v value) { r.key.UserID = r.text(v) },
		encode: func(k *apikey.Key) any { return k.UserID },
	},
	{
		name: "name", field: apikey.FieldName,
		decode: func(r *KeyReader, v value) { r.key.Name = r.text(v) },
		encode: func(k *apikey.Key) any { return k.Name },
	},
	{
		name: "description", field: apikey.FieldDescription,
		decode: func(r *KeyReader, v value) { r.key.Description = r.text(v) },
		encode: func(k *apikey.Key) any { return k.Description },
	},
	{
		name: "permissions", field: apikey.FieldPermissions, kind: isTexts,
		decode: func(r *KeyReader, v value) {
			r.key.Permissions = words(r, v, &r.permissions, apikey.Permissions, apikey.UnknownPermission)
		},
		encode: func(k *apikey.Key) any { return array(k.Permissions) },
	},
	{
		name: "scopes", field: apikey.FieldScopes, kind: isScopes,
		decode: func(r *KeyReader, v value) { r.key.Scopes = r.readScopes(v) },
		encode: func(k *apikey.Key) any { return fromScopes(k.Scopes) },
	},
	{
		name: "rate_limit_override", field: apikey.FieldRateLimitOverride, kind: isLimit,
		decode: func(r *KeyReader, v value) { r.key.RateLimitOverride = v.int32() },
		encode: func(k *apikey.Key) any { return k.RateLimitOverride },
	},
	{
		name: "status", field: apikey.FieldStatus,
		decode: func(r *KeyReader, v value) {
			if !v.missing() {
				r.key.Stored = known(v, statuses, apikey.Revoked)
			}
		},
		encode: func(k *apikey.Key) any { return k.Stored },
	},
	{
		name: "expires_at", field: apikey.FieldExpiresAt, kind: isDate,
		decode: func(r *KeyReader, v value) { r.key.ExpiresAt = r.date(v, apikey.FieldExpiresAt) },
		encode: func(k *apikey.Key) any { return date(k.ExpiresAt) },
	},
	{
		name: "last_used_at", field: apikey.FieldLastUsedAt, kind: isDate,
		decode: func(r *KeyReader, v value) { r.key.LastUsedAt = r.date(v, apikey.FieldLastUsedAt) },
		encode: func(k *apikey.Key) any { return date(k.LastUsedAt) },
	},
	{
		name: "created_at", field: apikey.FieldCreatedAt, kind: isDate,
		decode: func(r *KeyReader, v value) { r.key.CreatedAt = r.date(v, apikey.FieldCreatedAt) },
		encode: func(k *apikey.Key) any { return date(k.CreatedAt) },
	},
	{
		name: "created_by", field: apikey.FieldCreatedBy,
		decode: func(r *KeyReader, v value) { r.key.CreatedBy = r.optionalText(v) },
		encode: func(k *apikey.Key) any { return k.CreatedBy },
	},
	{
		name: "revoked_at", field: apikey.FieldRevokedAt, kind: isDate,
		decode: func(r *KeyReader, v value) { r.key.RevokedAt = r.date(v, apikey.FieldRevokedAt) },
		encode: func(k *apikey.Key) any { return date(k.RevokedAt) },
	},
	{
		name: "revoked_by", field: apikey.FieldRevokedBy,
		decode: func(r *KeyReader, v value) { r.key.RevokedBy = r.optionalText(v) },
		encode: func(k *apikey.Key) any { return k.RevokedBy },
	},
	{
		name: "allowed_origins", field: apikey.FieldAllowedOrigins, kind: isTexts,
		decode: func(r *KeyReader, v value) { r.key.AllowedOrigins = r.readOrigins(v) },
		encode: func(k *apikey.Key) any { return k.AllowedOrigins },
	},
	{
		name: "principal_id", field: apikey.FieldPrincipalID,
		decode: func(r *KeyReader, v value) { r.key.PrincipalID = r.optionalText(v) },
		encode: func(k *apikey.Key) any { return k.PrincipalID },
	},
	{
		name: "is_internal", field: apikey.FieldIsInternal, kind: isBoolean,
		decode: func(r *KeyReader, v value) { r.key.IsInternal, _ = v.BooleanOK() },
		encode: func(k *apikey.Key) any { return k.IsInternal },
	},
	{
		name: "revoke_reason", field: apikey.FieldRevokeReason, own: true,
		decode: func(r *KeyReader, v value) { r.key.RevokeReason = r.optionalText(v) },
		encode: func(k *apikey.Key) any { return k.RevokeReason },
	},
	{
		name: "leaked_at", field: apikey.FieldLeakedAt, kind: isDate, own: true,
		decode: func(r *KeyReader, v value) { r.key.LeakedAt = r.date(v, apikey.FieldLeakedAt) },
		encode: func(k *apikey.Key) any { return date(k.LeakedAt) },
	},
	{
		name: "leak_source", field: apikey.FieldLeakSource, own: true,
		decode: func(r *KeyReader, v value) { r.key.LeakSource = r.optionalText(v) },
		encode: func(k *apikey.Key) any { return k.LeakSource },
	},
	{
		name: "leak_url", field: apikey.FieldLeakURL, own: true,
		decode: func(r *KeyReader, v value) { r.key.LeakURL = r.optionalText(v) },
		encode: func(k *apikey.Key) any { return k.LeakURL },
	},
	{
		name: "rotated_to", field: apikey.FieldRotatedTo, kind: isID, own: true,
		decode: func(r *KeyReader, v value) { r.key.RotatedTo = v.keyID() },
		encode: func(k *apikey.Key) any { return k.RotatedTo },
	},
	{
		name: "rotated_from", field: apikey.FieldRotatedFrom, kind: isID, own: true,
		decode: func(r *KeyReader, v value) { r.key.RotatedFrom = v.keyID() },
		encode: func(k *apikey.Key) any { return k.RotatedFrom },
	},
	{
		name: "budget_hash", field: apikey.FieldBudget, kind: isID, own: true,
		decode: func(r *KeyReader, v value) { r.key.Budget = r.text(v) },
		encode: func(k *apikey.Key) any { return k.Budget },
	},
	{
		name: "revision", field: apikey.FieldRevision, kind: isID, own: true,
		decode: func(r *KeyReader, v value) { r.key.Revision = v.int64() },
		encode: func(k *apikey.Key) any { return k.Revision },
	},
}

// keyElement reads the first element. It returns the index of its row in keyFields, or -1, its value, and the elements
// after it. It tries the row next first, because most documents have their fields in order.
func keyElement(elements []byte, next int) (at int, v value, rest []byte, ok bool) {
	if next < len(keyFields) {
		const kind, zero = 1, 1
		name := keyFields[next].name
		if end := kind + len(name); len(elements) > end && elements[end] == 0 && string(elements[kind:end]) == name {
			v, rest, ok = readValue(elements[end+zero:], bsoncore.Type(elements[0]))
			return next, v, rest, ok
		}
	}
	name, v, rest, ok := element(elements)
	at = slices.IndexFunc(keyFields, func(f keyField) bool { return f.name == string(name) })
	return at, v, rest, ok
}

// KeyFieldNames returns the names of the fields in documents, for a projection. It leaves out _id.
func KeyFieldNames(fields apikey.Fields) []string {
	names := make([]string, 0, len(keyFields))
	for _, f := range keyFields {
		if f.field&(fields|always&^fieldObjectID) != 0 {
			names = append(names, f.name)
		}
	}
	return names
}
