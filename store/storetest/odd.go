package storetest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// The odd keys belong to this tenant, namespace and retriever.
const (
	OddTenant    apikey.InternalID  = "int_odd"
	OddNamespace apikey.NamespaceID = "ns_odd"
	OddRetriever apikey.RetrieverID = "ret_odd"
)

// OddKey is an old or odd document, and the key that it must be read as.
type OddKey struct {
	Name string
	Doc  bson.Raw
	Want apikey.Key
}

// OddBatch returns the documents of all OddKeys, with their namespace and retriever.
func OddBatch() document.Batch {
	name := "Odd things"
	b := document.Batch{
		Namespaces: []bson.Raw{document.FromNamespace(apikey.Namespace{ID: OddNamespace, Name: "odd", InternalID: OddTenant, OrganizationName: &name}, "")},
		Retrievers: []bson.Raw{document.FromRetriever(apikey.Retriever{ID: OddRetriever, Name: "odd", NamespaceID: OddNamespace, InternalID: OddTenant})},
	}
	for _, odd := range OddKeys() {
		b.Keys = append(b.Keys, odd.Doc)
	}
	return b
}

var oddDate = time.Date(2025, 6, 7, 8, 9, 10, 123_000_000, time.UTC)

// beyondDates is a BSON date that RFC 3339 cannot write.
var beyondDates = bson.NewDateTimeFromTime(document.MaxTime.Add(time.Millisecond))

// absent stands for a missing field.
type absent struct{}

// doc returns a document of alternating names and values.
func doc(pairs ...any) bson.D {
	d := make(bson.D, 0, len(pairs)/2)
	for pair := range slices.Chunk(pairs, 2) {
		name, _ := pair[0].(string)
		d = append(d, bson.E{Key: name, Value: pair[1]})
	}
	return d
}

// OddKeys returns documents as earlier versions, other programs and broken ones leave them, each with the key that it
// must be read as. They belong to OddTenant and name OddRetriever, unless a case is about that.
//
// Without these cases, one unexpected document could fail the whole list that it is in. Worse, an unreadable
// restriction could count as no restriction.
func OddKeys() []OddKey {
	revoked := func(k *apikey.Key) { k.Stored, k.RevokedAt = apikey.Revoked, nil }
	expired := func(k *apikey.Key) { k.Stored, k.ExpiresAt = apikey.Expired, nil }
	limit := func(n int32) func(*apikey.Key) { return func(k *apikey.Key) { k.RateLimitOverride = &n } }
	scopes := func(s ...apikey.Scope) func(*apikey.Key) { return func(k *apikey.Key) { k.Scopes = s } }
	permissions := func(p ...apikey.Permission) func(*apikey.Key) { return func(k *apikey.Key) { k.Permissions = p } }
	origins := func(o ...string) func(*apikey.Key) { return func(k *apikey.Key) { k.AllowedOrigins = o } }
	unchanged := func(*apikey.Key) {}
	onlyIdentity := func(k *apikey.Key) {
		*k = apikey.Key{
			ID: k.ID, Hash: k.Hash, InternalID: k.InternalID,
			Type: apikey.Standard, Stored: apikey.Active,
		}
	}
	everyField := func(value any) bson.D {
		var d bson.D
		for _, e := range completeKey("") {
			if !slices.Contains([]string{"key_id", "key_hash", "internal_id"}, e.Key) {
				d = append(d, bson.E{Key: e.Key, Value: value})
			}
		}
		return d
	}
	objectID := bson.ObjectID{0x65, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b}

	table := []struct {
		name string
		set  bson.D            // the fields that differ from the complete key's
		want func(*apikey.Key) // what differs from the complete key
	}{
		{"complete", nil, unchanged},
		{"fields unknown here", doc("plan", "gold", "labels", doc("a", bson.A{1, bson.D{}})), unchanged},
		{"every optional field missing", everyField(absent{}), onlyIdentity},
		{"every optional field null", everyField(nil), onlyIdentity},

		{"key_id missing, _id a text", doc("key_id", absent{}, "_id", "legacy_text"), func(k *apikey.Key) { k.ID = "legacy_text" }},
		{"key_id missing, _id an ObjectId", doc("key_id", absent{}, "_id", objectID), func(k *apikey.Key) { k.ID = apikey.ID(objectID.Hex()) }},
		{"key_id null", doc("key_id", nil, "_id", "legacy_null"), func(k *apikey.Key) { k.ID = "legacy_null" }},
		{"key_id empty", doc("key_id", "", "_id", "legacy_empty"), func(k *apikey.Key) { k.ID = "legacy_empty" }},
		{"key_id of a wrong type", doc("key_id", 7, "_id", "legacy_number"), func(k *apikey.Key) { k.ID = "legacy_number" }},
		{"_id that is a document", doc("_id", doc("shard", 1, "n", int64(2))), unchanged},

		{"internal_id of a wrong type", doc("internal_id", 7), func(k *apikey.Key) { k.InternalID = "" }},
		{"internal_id missing", doc("internal_id", absent{}), func(k *apikey.Key) { k.InternalID = "" }},

		{"key_prefix of a wrong type", doc("key_prefix", 7), func(k *apikey.Key) { k.Prefix = nil }},
		{"key_type of a wrong type", doc("key_type", 7), func(k *apikey.Key) { k.Type = apikey.UnreadableType }},
		{"key_type unknown", doc("key_type", "robot"), func(k *apikey.Key) { k.Type = "robot" }},
		{"key_type empty", doc("key_type", ""), func(k *apikey.Key) { k.Type = apikey.UnknownType }},
		{"key_type of another case", doc("key_type", "Retriever"), func(k *apikey.Key) { k.Type = "Retriever" }},
		{"subscription_id of a wrong type", doc("subscription_id", true), func(k *apikey.Key) { k.SubscriptionID = nil }},
		{"organization_id of a wrong type", doc("organization_id", bson.A{"org"}), func(k *apikey.Key) { k.OrganizationID = nil }},
		{"user_id of a wrong type", doc("user_id", objectID), func(k *apikey.Key) { k.UserID = "" }},
		{"name of a wrong type", doc("name", 7.5), func(k *apikey.Key) { k.Name = "" }},
		{"description of a wrong type", doc("description", doc("en", "x")), func(k *apikey.Key) { k.Description = "" }},
		{"empty texts", doc("name", "", "key_prefix", ""), func(k *apikey.Key) { k.Name, k.Prefix = "", new(string) }},
		{"created_by of a wrong type", doc("created_by", 7), func(k *apikey.Key) { k.CreatedBy = nil }},
		{"revoked_by of a wrong type", doc("revoked_by", 7), func(k *apikey.Key) { k.RevokedBy = nil }},
		{"principal_id of a wrong type", doc("principal_id", 7), func(k *apikey.Key) { k.PrincipalID = nil }},
		{"is_internal false", doc("is_internal", false), func(k *apikey.Key) { k.IsInternal = false }},
		{"is_internal a text", doc("is_internal", "true"), func(k *apikey.Key) { k.IsInternal = false }},
		{"is_internal a number", doc("is_internal", 1), func(k *apikey.Key) { k.IsInternal = false }},
		{"key_type user_scoped", doc("key_type", "user_scoped"), func(k *apikey.Key) { k.Type = apikey.UserScoped }},
		{"key_type session", doc("key_type", "session"), func(k *apikey.Key) { k.Type = apikey.Session }},
		{"scopes on the newest kinds of resources", doc("scopes", bson.A{
			doc("resource_type", "annotation", "resource_id", "ann_1"), doc("resource_type", "document", "resource_id", "doc_1"),
			doc("resource_type", "secret", "resource_id", "sec_1"), doc("resource_type", "webhook", "resource_id", "whk_1"),
		}), scopes(apikey.Scope{ResourceType: apikey.ResourceAnnotation, ResourceID: "ann_1"}, apikey.Scope{ResourceType: apikey.ResourceDocument, ResourceID: "doc_1"},
			apikey.Scope{ResourceType: apikey.ResourceSecret, ResourceID: "sec_1"}, apikey.Scope{ResourceType: apikey.ResourceWebhook, ResourceID: "whk_1"})},
		{"revoke_reason", doc("revoke_reason", "Lost"), func(k *apikey.Key) { k.RevokeReason = new("Lost") }},
		{"revoke_reason of a wrong type", doc("revoke_reason", 7), unchanged},
		{"a leak", doc("leaked_at", bson.NewDateTimeFromTime(instant), "leak_source", "commit", "leak_url", "https://example.com/"), func(k *apikey.Key) {
			k.LeakedAt, k.LeakSource, k.LeakURL = new(instant), new("commit"), new("https://example.com/")
		}},
		{"a leak of wrong types", doc("leaked_at", "yesterday", "leak_source", 7, "leak_url", bson.A{"a"}), unchanged},
		{"budget_hash", doc("budget_hash", "0123"), func(k *apikey.Key) { k.Budget = "0123" }},
		{"budget_hash of a wrong type", doc("budget_hash", 7), unchanged},

		{"permissions a text", doc("permissions", "admin"), permissions(apikey.UnknownPermission)},
		{"permissions a document", doc("permissions", doc("0", "admin")), permissions(apikey.UnknownPermission)},
		{"permissions empty", doc("permissions", bson.A{}), permissions()},
		{"permissions not all known", doc("permissions", bson.A{"write", "fly", 7, nil, "", "Admin"}), permissions(apikey.Write,
			"fly", apikey.UnknownPermission, apikey.UnknownPermission, apikey.UnknownPermission, "Admin")},

		{"scopes empty", doc("scopes", bson.A{}), scopes()},
		{"scopes a text", doc("scopes", "retriever"), scopes(apikey.Scope{ResourceType: apikey.UnknownResource})},
		{"scopes not documents", doc("scopes", bson.A{7, nil, bson.A{}}), scopes(apikey.Scope{ResourceType: apikey.UnknownResource},
			apikey.Scope{ResourceType: apikey.UnknownResource}, apikey.Scope{ResourceType: apikey.UnknownResource})},
		{"scopes a document, not a list", doc("scopes", doc("resource_type", "retriever", "resource_id", string(OddRetriever))),
			scopes(apikey.Scope{ResourceType: apikey.ResourceRetriever, ResourceID: string(OddRetriever), Operations: []apikey.Operation{apikey.UnknownOperation}})},
		{"scope empty", doc("scopes", bson.A{bson.D{}}), scopes(apikey.Scope{ResourceType: apikey.UnknownResource})},
		{"scope of an unknown type", doc("scopes", bson.A{doc("resource_type", "galaxy", "resource_id", "gal_1", "operations", bson.A{"read_data"})}),
			scopes(apikey.Scope{ResourceType: "galaxy", ResourceID: "gal_1", Operations: []apikey.Operation{apikey.ReadData}})},
		{"scope's fields of wrong types", doc("scopes", bson.A{doc("resource_type", 7, "resource_id", 7, "operations", 7)}),
			scopes(apikey.Scope{ResourceType: apikey.UnknownResource, Operations: []apikey.Operation{apikey.UnknownOperation}})},
		{"scope's id of a wrong type", doc("scopes", bson.A{doc("resource_type", "retriever", "resource_id", 7)}),
			scopes(apikey.Scope{ResourceType: apikey.ResourceRetriever})},
		{"scope's operations null", doc("scopes", bson.A{doc("resource_type", "retriever", "resource_id", string(OddRetriever), "operations", nil)}),
			scopes(apikey.Scope{ResourceType: apikey.ResourceRetriever, ResourceID: string(OddRetriever)})},
		{"scope's operations not all known", doc("scopes", bson.A{doc("resource_type", "retriever", "resource_id", string(OddRetriever), "operations", bson.A{"read_data", "fly", 7, ""})}),
			scopes(apikey.Scope{ResourceType: apikey.ResourceRetriever, ResourceID: string(OddRetriever), Operations: []apikey.Operation{apikey.ReadData, "fly", apikey.UnknownOperation, apikey.UnknownOperation}})},
		{"scopes that name the retriever twice", doc("scopes", bson.A{
			doc("resource_type", "retriever", "resource_id", string(OddRetriever)),
			doc("resource_type", "namespace", "resource_id", string(OddNamespace)),
			doc("resource_type", "retriever", "resource_id", string(OddRetriever), "operations", bson.A{"write_data"}),
		}), scopes(apikey.Scope{ResourceType: apikey.ResourceRetriever, ResourceID: string(OddRetriever)},
			apikey.Scope{ResourceType: apikey.ResourceNamespace, ResourceID: string(OddNamespace)},
			apikey.Scope{ResourceType: apikey.ResourceRetriever, ResourceID: string(OddRetriever), Operations: []apikey.Operation{apikey.WriteData}})},

		{"rate_limit_override of 64 bits", doc("rate_limit_override", int64(60)), limit(60)},
		{"rate_limit_override a whole double", doc("rate_limit_override", 60.0), limit(60)},
		{"rate_limit_override the largest", doc("rate_limit_override", int64(1<<31-1)), limit(1<<31 - 1)},
		{"rate_limit_override negative", doc("rate_limit_override", -1), limit(-1)},
		{"rate_limit_override broken", doc("rate_limit_override", 60.5), func(k *apikey.Key) { k.RateLimitOverride = nil }},
		{"rate_limit_override too large", doc("rate_limit_override", int64(1<<31)), func(k *apikey.Key) { k.RateLimitOverride = nil }},
		{"rate_limit_override a huge double", doc("rate_limit_override", 1e18), func(k *apikey.Key) { k.RateLimitOverride = nil }},
		{"rate_limit_override a text", doc("rate_limit_override", "60"), func(k *apikey.Key) { k.RateLimitOverride = nil }},

		{"status unknown", doc("status", "paused"), revoked},
		{"status of another case", doc("status", "ACTIVE"), revoked},
		{"status empty", doc("status", ""), revoked},
		{"status of a wrong type", doc("status", true), revoked},
		{"status expired", doc("status", "expired"), func(k *apikey.Key) { k.Stored = apikey.Expired }},
		{"expires_at a text", doc("expires_at", "2030-01-01T00:00:00Z"), expired},
		{"expires_at a number", doc("expires_at", int64(1893456000000)), expired},
		{"expires_at beyond all dates", doc("expires_at", beyondDates), expired},
		{"expires_at before all dates", doc("expires_at", bson.NewDateTimeFromTime(document.MinTime.Add(-time.Millisecond))), expired},
		{"expires_at unreadable, status revoked", doc("expires_at", "soon", "status", "revoked"), func(k *apikey.Key) { k.Stored, k.ExpiresAt = apikey.Revoked, nil }},
		{"last_used_at a text", doc("last_used_at", "2025-01-01T00:00:00Z"), func(k *apikey.Key) { k.LastUsedAt = nil }},
		{"created_at a text", doc("created_at", "2025-01-01T00:00:00Z"), func(k *apikey.Key) { k.CreatedAt = nil }},
		{"created_at a number", doc("created_at", int64(1735689600000)), func(k *apikey.Key) { k.CreatedAt = nil }},
		{"created_at beyond all dates", doc("created_at", beyondDates), func(k *apikey.Key) { k.CreatedAt = nil }},
		{"created_at the last date", doc("created_at", bson.NewDateTimeFromTime(document.MaxTime)), func(k *apikey.Key) { k.CreatedAt = &document.MaxTime }},
		{"created_at the first date", doc("created_at", bson.NewDateTimeFromTime(document.MinTime)), func(k *apikey.Key) { k.CreatedAt = &document.MinTime }},
		{"revoked_at a date", doc("revoked_at", bson.NewDateTimeFromTime(oddDate)), func(k *apikey.Key) { k.RevokedAt = &oddDate }},
		{"revoked_at a text", doc("revoked_at", "yesterday"), revoked},
		{"revoked_at false", doc("revoked_at", false), revoked},
		{"revoked_at beyond all dates", doc("revoked_at", beyondDates), revoked},

		{"allowed_origins empty", doc("allowed_origins", bson.A{}), func(k *apikey.Key) { k.AllowedOrigins = nil }},
		{"allowed_origins a text", doc("allowed_origins", "https://a.example"), origins([]string{}...)},
		{"allowed_origins unreadable", doc("allowed_origins", bson.A{7, nil, ""}), origins([]string{}...)},
		{"allowed_origins not all readable", doc("allowed_origins", bson.A{"https://a.example", 7}), origins("https://a.example")},
	}

	odd := make([]OddKey, len(table))
	for i, row := range table {
		id := fmt.Sprintf("key_odd_%02d", i)
		k := apikey.Key{ID: apikey.ID(id), Hash: hashOf(id)}
		completeWant(&k)
		row.want(&k)
		odd[i] = OddKey{Name: row.name, Doc: encode(overlay(completeKey(id), row.set)), Want: k}
	}
	return odd
}

// completeKey returns a document with a value in each of the vendor's fields except revoked_at.
func completeKey(id string) bson.D {
	return doc(
		"key_id", id,
		"key_hash", hashOf(id),
		"key_prefix", "ret_sk_abc...",
		"key_type", "retriever",
		"subscription_id", "sub_1",
		"internal_id", string(OddTenant),
		"organization_id", "org_1",
		"user_id", "usr_1",
		"name", "Complete",
		"description", "All fields are set",
		"permissions", bson.A{"read", "admin"},
		"scopes", bson.A{doc("resource_type", "retriever", "resource_id", string(OddRetriever), "operations", bson.A{"execute_retriever"})},
		"rate_limit_override", int32(120),
		"status", "active",
		"expires_at", bson.NewDateTimeFromTime(oddDate.AddDate(10, 0, 0)),
		"last_used_at", bson.NewDateTimeFromTime(oddDate),
		"created_at", bson.NewDateTimeFromTime(oddDate),
		"created_by", "usr_2",
		"revoked_at", nil,
		"revoked_by", "usr_3",
		"allowed_origins", bson.A{"https://a.example", "https://*.b.example"},
		"principal_id", "prn_1",
		"is_internal", true,
	)
}

// completeWant sets the fields that completeKey is read as.
func completeWant(k *apikey.Key) {
	text := func(s string) *string { return &s }
	expiresAt, lastUsedAt, createdAt, limit := oddDate.AddDate(10, 0, 0), oddDate, oddDate, int32(120)
	k.Prefix = text("ret_sk_abc...")
	k.Type = apikey.RetrieverKey
	k.SubscriptionID = text("sub_1")
	k.InternalID = OddTenant
	k.OrganizationID = text("org_1")
	k.UserID = "usr_1"
	k.Name = "Complete"
	k.Description = "All fields are set"
	k.Permissions = []apikey.Permission{apikey.Read, apikey.Admin}
	k.Scopes = []apikey.Scope{{ResourceType: apikey.ResourceRetriever, ResourceID: string(OddRetriever), Operations: []apikey.Operation{apikey.ExecuteRetriever}}}
	k.RateLimitOverride = &limit
	k.Stored = apikey.Active
	k.ExpiresAt, k.LastUsedAt, k.CreatedAt = &expiresAt, &lastUsedAt, &createdAt
	k.CreatedBy = text("usr_2")
	k.RevokedBy = text("usr_3")
	k.AllowedOrigins = []string{"https://a.example", "https://*.b.example"}
	k.PrincipalID = text("prn_1")
	k.IsInternal = true
}

// overlay returns the document with the fields set. New fields go in front, where _id belongs.
func overlay(doc, fields bson.D) bson.D {
	for _, f := range fields {
		i := slices.IndexFunc(doc, func(e bson.E) bool { return e.Key == f.Key })
		switch _, leaveOut := f.Value.(absent); {
		case leaveOut:
			doc = slices.Delete(doc, i, i+1)
		case i < 0:
			doc = append(bson.D{f}, doc...)
		default:
			doc[i] = f
		}
	}
	return doc
}

// encode encodes a test's own document, which cannot fail.
func encode(d bson.D) bson.Raw {
	doc, err := bson.Marshal(d)
	if err != nil {
		panic(err)
	}
	return doc
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
