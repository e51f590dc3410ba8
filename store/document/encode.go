package document

import (
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
)

// FromKey writes a new API key as a document with all of the vendor's fields, nulls included.
func FromKey(k apikey.Key) bson.Raw {
	return raw(bson.D{
		{Key: "key_id", Value: k.ID},
		{Key: "key_hash", Value: k.Hash},
		{Key: "key_prefix", Value: k.Prefix},
		{Key: "key_type", Value: k.Type},
		{Key: "subscription_id", Value: k.SubscriptionID},
		{Key: "internal_id", Value: k.InternalID},
		{Key: "organization_id", Value: k.OrganizationID},
		{Key: "user_id", Value: k.UserID},
		{Key: "name", Value: k.Name},
		{Key: "description", Value: k.Description},
		{Key: "permissions", Value: array(k.Permissions)},
		{Key: "scopes", Value: fromScopes(k.Scopes)},
		{Key: "rate_limit_override", Value: k.RateLimitOverride},
		{Key: "status", Value: k.Stored},
		{Key: "expires_at", Value: date(k.ExpiresAt)},
		{Key: "last_used_at", Value: date(k.LastUsedAt)},
		{Key: "created_at", Value: date(k.CreatedAt)},
		{Key: "created_by", Value: k.CreatedBy},
		{Key: "revoked_at", Value: date(k.RevokedAt)},
		{Key: "revoked_by", Value: k.RevokedBy},
		{Key: "allowed_origins", Value: k.AllowedOrigins},
		{Key: "principal_id", Value: k.PrincipalID},
	})
}

// FromNamespace writes a new namespace as a document. Who made it is kept where an address is given.
func FromNamespace(n apikey.Namespace, createdByEmail string) bson.Raw {
	d := bson.D{
		{Key: "namespace_id", Value: n.ID},
		{Key: "namespace_name", Value: n.Name},
		{Key: "description", Value: n.Description},
		{Key: "internal_id", Value: n.InternalID},
		{Key: "organization_id", Value: n.OrganizationID},
		{Key: "organization_name", Value: n.OrganizationName},
		{Key: "created_at", Value: date(n.CreatedAt)},
		{Key: "updated_at", Value: date(n.UpdatedAt)},
	}
	if createdByEmail != "" {
		d = append(d, bson.E{Key: "created_by_email", Value: createdByEmail})
	}
	return raw(d)
}

// FromRetriever writes a new retriever as a document.
func FromRetriever(r apikey.Retriever) bson.Raw {
	return raw(bson.D{
		{Key: "retriever_id", Value: r.ID},
		{Key: "retriever_name", Value: r.Name},
		{Key: "description", Value: r.Description},
		{Key: "namespace_id", Value: r.NamespaceID},
		{Key: "internal_id", Value: r.InternalID},
		{Key: "created_at", Value: date(r.CreatedAt)},
		{Key: "updated_at", Value: date(r.UpdatedAt)},
	})
}

func fromScopes(scopes []apikey.Scope) bson.A {
	out := make(bson.A, 0, len(scopes))
	for _, s := range scopes {
		out = append(out, bson.D{
			{Key: "resource_type", Value: s.ResourceType},
			{Key: "resource_id", Value: s.ResourceID},
			{Key: "operations", Value: array(s.Operations)},
		})
	}
	return out
}

// array makes an empty list of a nil one, which BSON would write as null.
func array[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

func date(t *time.Time) any {
	if t == nil {
		return nil
	}
	return bson.NewDateTimeFromTime(*t)
}

// raw encodes values of which BSON has a type for each, so it cannot fail.
func raw(d bson.D) bson.Raw {
	doc, err := bson.Marshal(d)
	if err != nil {
		panic(err)
	}
	return doc
}
