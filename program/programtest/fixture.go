package programtest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/store/document"
)

// Token returns the plaintext of the fixture's caller with this name, such as "admin" or "reader".
func Token(name string) string { return fmt.Sprintf("sk_test_%s_%032d", name, 7) }

// HashOf returns the hash under which a key with this plaintext is stored.
func HashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// Date returns an RFC 3339 time as a BSON date.
func Date(text string) bson.DateTime {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return bson.NewDateTimeFromTime(t)
}

// Fields contains the fields of a document, the variables of an operation, or environment variables.
type Fields = map[string]any

// doc returns a document with the fields of base, replaced or removed (see absent) by the overrides.
func doc(base Fields, overrides ...Fields) bson.Raw {
	all := Fields{}
	for _, f := range append([]Fields{base}, overrides...) {
		for k, v := range f {
			all[k] = v
			if v == absent {
				delete(all, k)
			}
		}
	}
	raw, err := bson.Marshal(all)
	if err != nil {
		panic(err)
	}
	return raw
}

// absent, as a value in an override, removes the field.
var absent = &struct{}{}

// Scope returns a scope of a key.
func Scope(resourceType, id string, operations ...string) Fields {
	return Fields{"resource_type": resourceType, "resource_id": id, "operations": operations}
}

// CallerDoc returns an organization's key with the plaintext Token(name).
func CallerDoc(name, tenant, organization string, overrides ...Fields) bson.Raw {
	return doc(Fields{
		"key_id": "key_caller_" + name, "key_hash": HashOf(Token(name)), "key_prefix": Token(name)[:10] + "...", "key_type": "standard",
		"internal_id": tenant, "organization_id": organization, "user_id": "usr_" + name, "name": "Caller " + name,
		"description": "", "permissions": []string{"read"}, "scopes": []Fields{}, "status": "active",
		"created_at": Date("2026-01-01T00:00:00Z"),
	}, overrides...)
}

// KeyDoc returns a key of a retriever of organization A.
func KeyDoc(id, retriever string, overrides ...Fields) bson.Raw {
	return doc(Fields{
		"key_id": id, "key_hash": HashOf(id), "key_prefix": "ret_sk_" + id[len(id)-3:] + "...", "key_type": "retriever",
		"subscription_id": nil, "internal_id": "int_a", "organization_id": "org_a", "user_id": "usr_ada", "name": "Name of " + id,
		"description": "Description of " + id, "permissions": []string{"read"},
		"scopes":              []Fields{Scope("retriever", retriever, "execute_retriever")},
		"rate_limit_override": nil, "status": "active", "expires_at": nil, "last_used_at": nil,
		"created_at": Date("2026-02-01T00:00:00Z"), "created_by": "usr_ada", "revoked_at": nil, "revoked_by": nil,
		"allowed_origins": nil, "principal_id": nil,
	}, overrides...)
}

// NamespaceDoc returns a namespace of the tenant.
func NamespaceDoc(id, name, tenant string, overrides ...Fields) bson.Raw {
	return doc(Fields{
		"namespace_id": id, "namespace_name": name, "internal_id": tenant, "description": "About " + name,
		"created_at": Date("2025-01-01T00:00:00Z"), "updated_at": Date("2025-06-01T12:30:45.678Z"), "vendor_field": Fields{"kept": true},
	}, overrides...)
}

// RetrieverDoc returns a retriever of the tenant.
func RetrieverDoc(id, name, namespace, tenant string, overrides ...Fields) bson.Raw {
	return doc(Fields{
		"retriever_id": id, "retriever_name": name, "namespace_id": namespace, "internal_id": tenant, "description": "About " + name,
		"created_at": Date("2025-02-01T00:00:00Z"), "updated_at": Date("2025-07-01T00:00:00Z"),
	}, overrides...)
}

// Fixture returns the standard test data: organizations A (int_a) and B (int_b), which share names; keys of ret_main in every state; and
// callers with every kind of authority.
func Fixture() document.Batch {
	var b document.Batch
	b.Namespaces = []bson.Raw{
		NamespaceDoc("ns_prod", "production", "int_a"),
		NamespaceDoc("ns_stage", "staging", "int_a", Fields{"description": nil, "updated_at": nil}),
		NamespaceDoc("ns_odd", "ns_prod", "int_a"), // its name is another's id; the id wins
		NamespaceDoc("ns_z_twin", "twin", "int_a"),
		NamespaceDoc("ns_a_twin", "twin", "int_a"), // of two with one name, the smallest id wins
		NamespaceDoc("ns_b_prod", "production", "int_b"),
	}
	b.Retrievers = []bson.Raw{
		RetrieverDoc("ret_main", "main", "ns_prod", "int_a"),
		RetrieverDoc("ret_bare", "bare", "ns_prod", "int_a", Fields{"description": absent, "created_at": absent, "updated_at": absent}),
		RetrieverDoc("ret_odd", "odd", "ns_prod", "int_a"),
		RetrieverDoc("ret_mimic", "ret_main", "ns_prod", "int_a"), // its name is another's id; the id wins
		RetrieverDoc("ret_many", "many", "ns_prod", "int_a"),
		RetrieverDoc("ret_stage", "main", "ns_stage", "int_a"),
		RetrieverDoc("ret_b", "main", "ns_b_prod", "int_b"),
	}
	b.Keys = []bson.Raw{
		KeyDoc("key_full", "ret_main", Fields{
			"subscription_id": "sub_1", "rate_limit_override": int32(120), "principal_id": "prn_1", "is_internal": true,
			"permissions": []string{"read", "write"}, "expires_at": Date("2999-01-01T00:00:00.5Z"),
			"last_used_at": Date("2026-03-01T10:00:00.123Z"), "created_at": Date("2026-02-09T08:07:06.054Z"),
			"allowed_origins": []string{"https://app.example.com", "https://*.example.org"},
			"scopes":          []Fields{Scope("retriever", "ret_main", "execute_retriever"), Scope("namespace", "ns_*", "read_data", "write_data")},
			"vendor_field":    "kept",
		}),
		KeyDoc("key_revoked", "ret_main", Fields{
			"status": "revoked", "revoked_at": Date("2026-04-01T00:00:00Z"), "revoked_by": "usr_bob", "created_at": Date("2026-02-08T00:00:00Z"),
		}),
		KeyDoc("key_expired", "ret_main", Fields{"expires_at": Date("2026-03-01T00:00:00Z"), "created_at": Date("2026-02-07T00:00:00Z")}),
		KeyDoc("key_stored_expired", "ret_main", Fields{"status": "expired", "created_at": Date("2026-02-06T00:00:00Z")}),
		KeyDoc("key_tie_b", "ret_main", Fields{"created_at": Date("2026-02-05T00:00:00Z")}),
		KeyDoc("key_tie_a", "ret_main", Fields{"created_at": Date("2026-02-05T00:00:00Z"), "key_type": "marketplace_subscription"}),
		KeyDoc("key_foreign", "ret_b", Fields{"internal_id": "int_b", "organization_id": "org_b", "name": "FOREIGN"}),
		KeyDoc("key_staging", "ret_stage"),
		KeyDoc("key_orphan", "ret_gone"),

		CallerDoc("admin", "int_a", "org_a", Fields{"permissions": []string{"admin"}}),
		CallerDoc("reader", "int_a", "org_a"),
		CallerDoc("writer", "int_a", "org_a", Fields{"permissions": []string{"write"}}),
		CallerDoc("manager", "int_a", "org_a", Fields{
			"permissions": []string{"delete"}, "scopes": []Fields{Scope("namespace", "ns_prod", "read_data", "manage_permissions")},
		}),
		CallerDoc("foreign", "int_b", "org_b"),
		CallerDoc("nothing", "int_a", "org_a", Fields{"permissions": []string{}}),
		CallerDoc("unknown_permission", "int_a", "org_a", Fields{"permissions": []string{"superuser"}}),
		CallerDoc("retriever", "int_a", "org_a", Fields{"key_type": "retriever"}),
		CallerDoc("revoked", "int_a", "org_a", Fields{"revoked_at": Date("2026-01-02T00:00:00Z")}),
		CallerDoc("expired", "int_a", "org_a", Fields{"expires_at": Date("2026-01-02T00:00:00Z")}),
		CallerDoc("scoped", "int_a", "org_a", Fields{"scopes": []Fields{Scope("retriever", "ret_main", "read_data")}}),
		CallerDoc("pattern", "int_a", "org_a", Fields{"scopes": []Fields{Scope("retriever", "ret_m*")}}),
		CallerDoc("staging", "int_a", "org_a", Fields{"scopes": []Fields{Scope("namespace", "ns_stage")}}),
		CallerDoc("organization", "int_a", "org_a", Fields{"scopes": []Fields{Scope("organization", "org_a", "read_data")}}),
		CallerDoc("executor", "int_a", "org_a", Fields{"scopes": []Fields{Scope("namespace", "*", "execute_retriever")}}),
		CallerDoc("origin", "int_a", "org_a", Fields{"allowed_origins": []string{"https://*.example.com"}}),
		CallerDoc("user_scoped", "int_a", "org_a", Fields{"key_type": "user_scoped", "permissions": []string{"admin"}}),
		CallerDoc("session", "int_a", "org_a", Fields{"key_type": "session", "permissions": []string{"admin"}}),
		CallerDoc("robot", "int_a", "org_a", Fields{"key_type": "robot", "permissions": []string{"admin"}}),
	}
	return b
}

// OddFixture returns keys that import rejects but a database can contain: values of the wrong type, and an id that two organizations share.
func OddFixture() document.Batch {
	odd := func(id string, overrides ...Fields) bson.Raw { return KeyDoc(id, "ret_odd", overrides...) }
	unreadable := func(name, field string, value any) bson.Raw {
		return CallerDoc(name, "int_a", "org_a", Fields{"permissions": []string{"admin"}, field: value})
	}
	return document.Batch{Keys: []bson.Raw{
		KeyDoc("key_full", "ret_main", Fields{"internal_id": "int_b", "organization_id": "org_b", "key_hash": HashOf("b"), "name": "FOREIGN"}),
		doc(Fields{"_id": "legacy_1", "key_hash": HashOf("legacy_1"), "internal_id": "int_a", "scopes": []Fields{Scope("retriever", "ret_odd")}}),
		odd("key_nulls", Fields{
			"key_prefix": nil, "key_type": nil, "organization_id": nil, "user_id": nil, "name": nil, "description": nil,
			"permissions": nil, "rate_limit_override": nil, "status": nil, "created_at": nil, "created_by": nil, "allowed_origins": []string{},
		}),
		odd("key_unknowns", Fields{
			"key_type": "robot", "permissions": []string{"read", "fly"}, "created_at": Date("2026-02-20T00:00:00Z"),
			"scopes": []Fields{Scope("retriever", "ret_odd", "teleport"), Scope("galaxy", "*")},
		}),
		odd("key_numbers", Fields{"rate_limit_override": 60.0, "created_at": Date("2026-02-21T00:00:00Z")}),
		odd("key_wrong_types", Fields{
			"key_prefix": 1, "key_type": 2, "organization_id": 3, "user_id": 4, "name": 5, "description": 6, "permissions": "read",
			"rate_limit_override": "many", "created_at": "yesterday", "created_by": 7, "last_used_at": "today", "revoked_by": 8,
			"subscription_id": 9, "principal_id": 10, "is_internal": "true", "allowed_origins": "https://app.example.com",
			"scopes": bson.A{Scope("retriever", "ret_odd"), "everything", Fields{"resource_type": 1, "resource_id": 2, "operations": 3}},
		}),
		odd("key_status_unknown", Fields{"status": "paused"}),
		odd("key_status_unreadable", Fields{"status": 1}),
		odd("key_revoked_unreadable", Fields{"revoked_at": "yes"}),
		odd("key_expiry_unreadable", Fields{"expires_at": "never"}),
		odd("key_expiry_beyond", Fields{"expires_at": bson.DateTime(253402300800000)}),

		unreadable("odd_status", "status", 1),
		unreadable("odd_status_unknown", "status", "paused"),
		unreadable("odd_revoked", "revoked_at", "no"),
		unreadable("odd_expiry", "expires_at", "2999-01-01T00:00:00Z"),
		unreadable("odd_scopes", "scopes", "none"),
		unreadable("odd_scope", "scopes", bson.A{nil}),
		unreadable("odd_scope_object", "scopes", Scope("organization", "org_a")),
		unreadable("odd_operations", "scopes", bson.A{Fields{"resource_type": "organization", "resource_id": "org_a", "operations": "read_data"}}),
		unreadable("odd_permissions", "permissions", "admin"),
		unreadable("odd_permission", "permissions", bson.A{Fields{"admin": true}}),
		unreadable("odd_type", "key_type", 7),
		unreadable("odd_tenant", "internal_id", nil),
		unreadable("odd_origins", "allowed_origins", "https://app.example.com"),
	}}
}

// ManyKeys returns n keys of ret_many. key_many_0000 is the newest.
func ManyKeys(n int) []bson.Raw {
	newest := Date("2026-06-01T00:00:00Z").Time()
	docs := make([]bson.Raw, n)
	for i := range docs {
		docs[i] = KeyDoc(fmt.Sprintf("key_many_%04d", i), "ret_many", Fields{"created_at": bson.NewDateTimeFromTime(newest.Add(-time.Duration(i) * time.Hour))})
	}
	return docs
}

// Family returns keys of organization A that name ret_main and have the permission write, so each can update and rotate the others.
func Family() document.Batch {
	end, origins := Date("2999-01-01T00:00:00Z"), []string{"https://app.example.com", "https://*.example.org"}
	member := func(name string, overrides ...Fields) bson.Raw {
		return CallerDoc(name, "int_a", "org_a", append([]Fields{{
			"permissions": []string{"write"}, "scopes": []Fields{Scope("retriever", "ret_main")},
		}}, overrides...)...)
	}
	return document.Batch{Keys: []bson.Raw{
		member("limited", Fields{"expires_at": end, "allowed_origins": origins, "rate_limit_override": int32(1000)}),
		member("unlimited"),
		member("lasting", Fields{"allowed_origins": origins, "rate_limit_override": int32(1000)}),
		member("everywhere", Fields{"expires_at": end, "rate_limit_override": int32(1000)}),
		member("fast", Fields{"expires_at": end, "allowed_origins": origins, "rate_limit_override": int32(1001)}),
		member("sibling", Fields{"expires_at": end, "allowed_origins": []string{"https://a.example.org"}, "rate_limit_override": int32(5)}),
	}}
}
