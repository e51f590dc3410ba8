package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/store/document"
)

// The fixture: two organizations that use the same names, and the same ids where they can; callers of every kind;
// and keys as old and odd as documents get.

// token is the plaintext of the caller's key with that name.
func token(name string) string { return fmt.Sprintf("sk_test_%s_%032d", name, 7) }

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func date(text string) bson.DateTime {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return bson.NewDateTimeFromTime(t)
}

type fields = map[string]any

// doc makes a document: the fields in the vendor's order where it matters to nobody, the overrides on top.
func doc(base fields, overrides ...fields) bson.Raw {
	all := fields{}
	for _, f := range append([]fields{base}, overrides...) {
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

// absent as an override removes a field.
var absent = &struct{}{}

func scope(resourceType, id string, operations ...string) fields {
	return fields{"resource_type": resourceType, "resource_id": id, "operations": operations}
}

// callerDoc is an organization's key whose plaintext is token(name).
func callerDoc(name, tenant, organization string, overrides ...fields) bson.Raw {
	return doc(fields{
		"key_id": "key_caller_" + name, "key_hash": hashOf(token(name)), "key_prefix": token(name)[:10] + "...", "key_type": "standard",
		"internal_id": tenant, "organization_id": organization, "user_id": "usr_" + name, "name": "Caller " + name,
		"description": "", "permissions": []string{"read"}, "scopes": []fields{}, "status": "active",
		"created_at": date("2026-01-01T00:00:00Z"),
	}, overrides...)
}

// keyDoc is a retriever's key.
func keyDoc(id, retriever string, overrides ...fields) bson.Raw {
	return doc(fields{
		"key_id": id, "key_hash": hashOf(id), "key_prefix": "ret_sk_" + id[len(id)-3:] + "...", "key_type": "retriever",
		"subscription_id": nil, "internal_id": "int_a", "organization_id": "org_a", "user_id": "usr_ada", "name": "Name of " + id,
		"description": "Description of " + id, "permissions": []string{"read"},
		"scopes":              []fields{scope("retriever", retriever, "execute_retriever")},
		"rate_limit_override": nil, "status": "active", "expires_at": nil, "last_used_at": nil,
		"created_at": date("2026-02-01T00:00:00Z"), "created_by": "usr_ada", "revoked_at": nil, "revoked_by": nil,
		"allowed_origins": nil, "principal_id": nil,
	}, overrides...)
}

func namespaceDoc(id, name, tenant string, overrides ...fields) bson.Raw {
	return doc(fields{
		"namespace_id": id, "namespace_name": name, "internal_id": tenant, "description": "About " + name,
		"created_at": date("2025-01-01T00:00:00Z"), "updated_at": date("2025-06-01T12:30:45.678Z"), "vendor_field": fields{"kept": true},
	}, overrides...)
}

func retrieverDoc(id, name, namespace, tenant string, overrides ...fields) bson.Raw {
	return doc(fields{
		"retriever_id": id, "retriever_name": name, "namespace_id": namespace, "internal_id": tenant, "description": "About " + name,
		"created_at": date("2025-02-01T00:00:00Z"), "updated_at": date("2025-07-01T00:00:00Z"),
	}, overrides...)
}

func fixture() document.Batch {
	var b document.Batch
	b.Namespaces = []bson.Raw{
		namespaceDoc("ns_prod", "production", "int_a"),
		namespaceDoc("ns_stage", "staging", "int_a", fields{"description": nil, "updated_at": nil}),
		namespaceDoc("ns_odd", "ns_prod", "int_a"), // named like another's id: the id wins
		namespaceDoc("ns_z_twin", "twin", "int_a"),
		namespaceDoc("ns_a_twin", "twin", "int_a"), // of one name: the smallest id is meant
		namespaceDoc("ns_b_prod", "production", "int_b"),
	}
	b.Retrievers = []bson.Raw{
		retrieverDoc("ret_main", "main", "ns_prod", "int_a"),
		retrieverDoc("ret_bare", "bare", "ns_prod", "int_a", fields{"description": absent, "created_at": absent, "updated_at": absent}),
		retrieverDoc("ret_odd", "odd", "ns_prod", "int_a"),
		retrieverDoc("ret_mimic", "ret_main", "ns_prod", "int_a"), // named like another's id: the id wins
		retrieverDoc("ret_many", "many", "ns_prod", "int_a"),
		retrieverDoc("ret_stage", "main", "ns_stage", "int_a"),
		retrieverDoc("ret_b", "main", "ns_b_prod", "int_b"),
	}
	b.Keys = []bson.Raw{
		keyDoc("key_full", "ret_main", fields{
			"subscription_id": "sub_1", "rate_limit_override": int32(120), "principal_id": "prn_1", "is_internal": true,
			"permissions": []string{"read", "write"}, "expires_at": date("2999-01-01T00:00:00.5Z"),
			"last_used_at": date("2026-03-01T10:00:00.123Z"), "created_at": date("2026-02-09T08:07:06.054Z"),
			"allowed_origins": []string{"https://app.example.com", "https://*.example.org"},
			"scopes":          []fields{scope("retriever", "ret_main", "execute_retriever"), scope("namespace", "ns_*", "read_data", "write_data")},
			"vendor_field":    "kept",
		}),
		keyDoc("key_revoked", "ret_main", fields{
			"status": "revoked", "revoked_at": date("2026-04-01T00:00:00Z"), "revoked_by": "usr_bob", "created_at": date("2026-02-08T00:00:00Z"),
		}),
		keyDoc("key_expired", "ret_main", fields{"expires_at": date("2026-03-01T00:00:00Z"), "created_at": date("2026-02-07T00:00:00Z")}),
		keyDoc("key_stored_expired", "ret_main", fields{"status": "expired", "created_at": date("2026-02-06T00:00:00Z")}),
		keyDoc("key_tie_b", "ret_main", fields{"created_at": date("2026-02-05T00:00:00Z")}),
		keyDoc("key_tie_a", "ret_main", fields{"created_at": date("2026-02-05T00:00:00Z"), "key_type": "marketplace_subscription"}),
		keyDoc("key_foreign", "ret_b", fields{"internal_id": "int_b", "organization_id": "org_b", "name": "FOREIGN"}),
		keyDoc("key_staging", "ret_stage"),
		keyDoc("key_orphan", "ret_gone"),

		callerDoc("admin", "int_a", "org_a", fields{"permissions": []string{"admin"}}),
		callerDoc("reader", "int_a", "org_a"),
		callerDoc("writer", "int_a", "org_a", fields{"permissions": []string{"write"}}),
		callerDoc("manager", "int_a", "org_a", fields{
			"permissions": []string{"delete"}, "scopes": []fields{scope("namespace", "ns_prod", "read_data", "manage_permissions")},
		}),
		callerDoc("foreign", "int_b", "org_b"),
		callerDoc("nothing", "int_a", "org_a", fields{"permissions": []string{}}),
		callerDoc("unknown_permission", "int_a", "org_a", fields{"permissions": []string{"superuser"}}),
		callerDoc("retriever", "int_a", "org_a", fields{"key_type": "retriever"}),
		callerDoc("revoked", "int_a", "org_a", fields{"revoked_at": date("2026-01-02T00:00:00Z")}),
		callerDoc("expired", "int_a", "org_a", fields{"expires_at": date("2026-01-02T00:00:00Z")}),
		callerDoc("scoped", "int_a", "org_a", fields{"scopes": []fields{scope("retriever", "ret_main", "read_data")}}),
		callerDoc("pattern", "int_a", "org_a", fields{"scopes": []fields{scope("retriever", "ret_m*")}}),
		callerDoc("staging", "int_a", "org_a", fields{"scopes": []fields{scope("namespace", "ns_stage")}}),
		callerDoc("organization", "int_a", "org_a", fields{"scopes": []fields{scope("organization", "org_a", "read_data")}}),
		callerDoc("executor", "int_a", "org_a", fields{"scopes": []fields{scope("namespace", "*", "execute_retriever")}}),
		callerDoc("origin", "int_a", "org_a", fields{"allowed_origins": []string{"https://*.example.com"}}),
		callerDoc("user_scoped", "int_a", "org_a", fields{"key_type": "user_scoped", "permissions": []string{"admin"}}),
		callerDoc("session", "int_a", "org_a", fields{"key_type": "session", "permissions": []string{"admin"}}),
		callerDoc("robot", "int_a", "org_a", fields{"key_type": "robot", "permissions": []string{"admin"}}),
	}
	return b
}

// oddFixture is what no import lets in, but a database may hold: values of the wrong type, and an id that two
// organizations share.
func oddFixture() document.Batch {
	odd := func(id string, overrides ...fields) bson.Raw { return keyDoc(id, "ret_odd", overrides...) }
	unreadable := func(name, field string, value any) bson.Raw {
		return callerDoc(name, "int_a", "org_a", fields{"permissions": []string{"admin"}, field: value})
	}
	return document.Batch{Keys: []bson.Raw{
		keyDoc("key_full", "ret_main", fields{"internal_id": "int_b", "organization_id": "org_b", "key_hash": hashOf("b"), "name": "FOREIGN"}),
		doc(fields{"_id": "legacy_1", "key_hash": hashOf("legacy_1"), "internal_id": "int_a", "scopes": []fields{scope("retriever", "ret_odd")}}),
		odd("key_nulls", fields{
			"key_prefix": nil, "key_type": nil, "organization_id": nil, "user_id": nil, "name": nil, "description": nil,
			"permissions": nil, "rate_limit_override": nil, "status": nil, "created_at": nil, "created_by": nil, "allowed_origins": []string{},
		}),
		odd("key_unknowns", fields{
			"key_type": "robot", "permissions": []string{"read", "fly"}, "created_at": date("2026-02-20T00:00:00Z"),
			"scopes": []fields{scope("retriever", "ret_odd", "teleport"), scope("galaxy", "*")},
		}),
		odd("key_numbers", fields{"rate_limit_override": 60.0, "created_at": date("2026-02-21T00:00:00Z")}),
		odd("key_wrong_types", fields{
			"key_prefix": 1, "key_type": 2, "organization_id": 3, "user_id": 4, "name": 5, "description": 6, "permissions": "read",
			"rate_limit_override": "many", "created_at": "yesterday", "created_by": 7, "last_used_at": "today", "revoked_by": 8,
			"subscription_id": 9, "principal_id": 10, "is_internal": "true", "allowed_origins": "https://app.example.com",
			"scopes": bson.A{scope("retriever", "ret_odd"), "everything", fields{"resource_type": 1, "resource_id": 2, "operations": 3}},
		}),
		odd("key_status_unknown", fields{"status": "paused"}),
		odd("key_status_unreadable", fields{"status": 1}),
		odd("key_revoked_unreadable", fields{"revoked_at": "yes"}),
		odd("key_expiry_unreadable", fields{"expires_at": "never"}),
		odd("key_expiry_beyond", fields{"expires_at": bson.DateTime(253402300800000)}),

		unreadable("odd_status", "status", 1),
		unreadable("odd_status_unknown", "status", "paused"),
		unreadable("odd_revoked", "revoked_at", "no"),
		unreadable("odd_expiry", "expires_at", "2999-01-01T00:00:00Z"),
		unreadable("odd_scopes", "scopes", "none"),
		unreadable("odd_scope", "scopes", bson.A{nil}),
		unreadable("odd_scope_object", "scopes", scope("organization", "org_a")),
		unreadable("odd_operations", "scopes", bson.A{fields{"resource_type": "organization", "resource_id": "org_a", "operations": "read_data"}}),
		unreadable("odd_permissions", "permissions", "admin"),
		unreadable("odd_permission", "permissions", bson.A{fields{"admin": true}}),
		unreadable("odd_type", "key_type", 7),
		unreadable("odd_tenant", "internal_id", nil),
		unreadable("odd_origins", "allowed_origins", "https://app.example.com"),
	}}
}

// manyKeys are n keys of ret_many, key_many_0000 the newest.
func manyKeys(n int) []bson.Raw {
	newest := date("2026-06-01T00:00:00Z").Time()
	docs := make([]bson.Raw, n)
	for i := range docs {
		docs[i] = keyDoc(fmt.Sprintf("key_many_%04d", i), "ret_many", fields{"created_at": bson.NewDateTimeFromTime(newest.Add(-time.Duration(i) * time.Hour))})
	}
	return docs
}
