// Package apikey is the domain: what an API key of a retriever is, what state it is in, who may see it, and
// the questions the product answers about it. It knows no database, no protocol and no third-party code.
package apikey

import (
	"slices"
	"time"
)

// Identifiers are types, so that two swapped arguments do not compile.
type (
	// ID is a key's public identifier (key_id).
	ID string
	// RetrieverID identifies a retriever within an organization (retriever_id).
	RetrieverID string
	// NamespaceID identifies a namespace within an organization (namespace_id).
	NamespaceID string
	// InternalID is an organization's internal id: the tenant that every read is confined to.
	InternalID string
)

// Key is an API key as its document tells it. Pointers are nil where the document has no readable value. The
// field meanings and defaults are the vendor's; see the schema's descriptions.
type Key struct {
	ID                ID
	Hash              string // lowercase hexadecimal SHA-256 of the plaintext
	Prefix            *string
	Type              Type
	SubscriptionID    *string
	InternalID        InternalID
	OrganizationID    *string
	UserID            string
	Name              string
	Description       string
	Permissions       []Permission
	Scopes            []Scope // empty: no restriction
	RateLimitOverride *int32  // requests a minute
	Stored            Status  // the status as stored, which lags behind time; Status is what holds
	ExpiresAt         *time.Time
	LastUsedAt        *time.Time
	CreatedAt         *time.Time
	CreatedBy         *string
	RevokedAt         *time.Time
	RevokedBy         *string
	AllowedOrigins    []string // nil: unrestricted; empty: no origin matches, because none could be read
	PrincipalID       *string
	IsInternal        bool

	// What the server keeps beside the vendor's fields.
	RotatedTo   *ID    // the key that took this one's place
	RotatedFrom *ID    // the key whose place this one took
	Budget      string // the hash of the key whose budget this one goes on with; empty: see Service.BudgetOf
	Revision    int64  // how often the key was changed here; last_used_at does not count

	Status Status // StatusAt the instant of the request; set by the Service
}

// word is a value of one of the vendor's enums, as it is stored: known here or not.
type word interface {
	~string
	Known() bool
}

// Status is a key's state.
type Status string

// The states.
const (
	Active  Status = "active"
	Revoked Status = "revoked"
	Expired Status = "expired"
)

// RateLimit returns how many requests a minute the key may make; 0 means any number. The general limit applies to keys without
// one of their own, and to keys whose own is below 1, which no API sets.
func (k *Key) RateLimit(general int) int {
	if own := k.RateLimitOverride; own != nil && *own > 0 {
		return int(*own)
	}
	return max(general, 0)
}

// StatusAt derives the state at an instant. Revocation beats expiry; a key is expired from the very instant of
// its expiry on. What the document holds but nobody can read has been folded into Stored as the refusing state.
func (k *Key) StatusAt(now time.Time) Status {
	switch {
	case k.RevokedAt != nil || k.Stored != Active && k.Stored != Expired:
		return Revoked
	case k.Stored == Expired || k.ExpiresAt != nil && !k.ExpiresAt.After(now):
		return Expired
	default:
		return Active
	}
}

// Retrievers returns the retrievers whose exact ids the key's scopes name, each once: the lists it appears in.
func (k *Key) Retrievers() []RetrieverID {
	var ids []RetrieverID
	for _, s := range k.Scopes {
		id := RetrieverID(s.ResourceID)
		if s.ResourceType == ResourceRetriever && id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Type is what kind of key it is: the stored text, which Known tells apart from one that this version does not know.
type Type string

// The vendor's types. UnknownType stands for an empty text, and UnreadableType for what is no text; a key of the latter
// may do nothing.
const (
	Standard                Type = "standard"
	MarketplaceSubscription Type = "marketplace_subscription"
	RetrieverKey            Type = "retriever"
	UserScoped              Type = "user_scoped"
	Session                 Type = "session"
	UnknownType             Type = "unknown"
	UnreadableType          Type = ""
)

// Types are the known types.
var Types = []Type{Standard, MarketplaceSubscription, RetrieverKey, UserScoped, Session}

// Known reports whether this version knows the type.
func (t Type) Known() bool { return slices.Contains(Types, t) }

// Permission is a level of access: the stored text. A holder of one has all weaker ones; one that is not known grants nothing.
type Permission string

// The permissions, strongest first. UnknownPermission stands for what is no text, or an empty one.
const (
	Admin             Permission = "admin"
	Delete            Permission = "delete"
	Write             Permission = "write"
	Read              Permission = "read"
	UnknownPermission Permission = "unknown"
)

// Permissions are the known permissions.
var Permissions = []Permission{Admin, Delete, Write, Read}

// Known reports whether this version knows the permission.
func (p Permission) Known() bool { return slices.Contains(Permissions, p) }

func (p Permission) strength() int {
	switch p {
	case Admin:
		return 4
	case Delete:
		return 3
	case Write:
		return 2
	case Read:
		return 1
	default:
		return 0
	}
}

// Fields is a set of a key's fields, so that a store reads no more of a document than is asked for.
type Fields uint32

// The fields that can be asked for. ID and Hash are always read, StatusFields are what a status is derived from.
const (
	FieldPrefix Fields = 1 << iota
	FieldType
	FieldSubscriptionID
	FieldInternalID
	FieldOrganizationID
	FieldUserID
	FieldName
	FieldDescription
	FieldPermissions
	FieldScopes
	FieldRateLimitOverride
	FieldStatus
	FieldExpiresAt
	FieldLastUsedAt
	FieldCreatedAt
	FieldCreatedBy
	FieldRevokedAt
	FieldRevokedBy
	FieldAllowedOrigins
	FieldPrincipalID
	FieldIsInternal
	FieldRotatedTo
	FieldRotatedFrom
	FieldBudget
	FieldRevision

	AllFields    = FieldRevision<<1 - 1
	StatusFields = FieldStatus | FieldExpiresAt | FieldRevokedAt
)

// Size is about how much memory the key takes, in bytes. Stored keys may have texts and lists of any length.
func (k *Key) Size() int {
	const key, scope, text = 512, 64, 16
	n := key + len(k.ID) + len(k.Hash) + len(k.UserID) + len(k.Name) + len(k.Description) + len(k.Type)
	for _, p := range k.Permissions {
		n += text + len(p)
	}
	for i := range k.Scopes {
		s := &k.Scopes[i]
		n += scope + len(s.ResourceID) + len(s.ResourceType)
		for _, op := range s.Operations {
			n += text + len(op)
		}
	}
	for _, o := range k.AllowedOrigins {
		n += text + len(o)
	}
	return n
}
