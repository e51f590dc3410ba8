// Package apikey is the domain: what an API key of a retriever is, its status, who may see and change it, and the questions that the
// product answers about it. It knows no database, no protocol and no third-party code.
package apikey

import (
	"slices"
	"time"
)

// Identifiers are types, so that code with two swapped arguments does not compile.
type (
	// ID is a key's public identifier (key_id).
	ID string
	// RetrieverID identifies a retriever within an organization (retriever_id).
	RetrieverID string
	// NamespaceID identifies a namespace within an organization (namespace_id).
	NamespaceID string
	// InternalID is an organization's internal id: the tenant to which every read is confined.
	InternalID string
)

// Key is an API key as read from its document. Pointers are nil if the document has no readable value. The meanings and defaults of
// fields are the vendor's: see the schema's descriptions.
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
	RateLimitOverride *int32  // requests per minute
	Stored            Status  // the status as stored, which lags behind time: use Status
	ExpiresAt         *time.Time
	LastUsedAt        *time.Time
	CreatedAt         *time.Time
	CreatedBy         *string
	RevokedAt         *time.Time
	RevokedBy         *string
	AllowedOrigins    []string // nil: unrestricted; empty: no origin matches, because none could be read
	PrincipalID       *string
	IsInternal        bool

	// Fields that this server adds to the vendor's.
	RevokeReason *string    // why it was revoked, if somebody said so
	LeakedAt     *time.Time // when a leak of it was first reported
	LeakSource   *string
	LeakURL      *string
	RotatedTo    *ID    // the key that replaced this one
	RotatedFrom  *ID    // the key that this one replaced
	Budget       string // the hash of the key whose budget this one uses; if empty, see Service.BudgetOf
	Revision     int64  // how often the key was changed here, not counting last_used_at

	// The Service sets these, as of the time of the request.
	Status Status     // StatusAt that time
	Found  FindingSet // what needs attention; see Findings
}

// word is a value of one of the vendor's enums, as stored, known or not.
type word interface {
	~string
	Known() bool
}

// Status is the status of a key.
type Status string

// The states.
const (
	Active  Status = "active"
	Revoked Status = "revoked"
	Expired Status = "expired"
)

// RateLimit returns how many requests per minute the key may make; 0 means any number. The general limit applies to keys without a limit
// of their own, and to keys whose limit is below 1, which no API sets.
func (k *Key) RateLimit(general int) int {
	if own := k.RateLimitOverride; own != nil && *own > 0 {
		return int(*own)
	}
	return max(general, 0)
}

// StatusAt derives the status at an instant. Revocation takes precedence over expiry. A key is expired from the instant of its expiry. If
// a date cannot be read, Stored already has the refusing status.
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

// Retrievers returns the retrievers whose exact ids the key's scopes name, each once. The key appears in their lists.
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

// Type is the type of a key, as stored. Known reports whether this version knows it.
type Type string

// The vendor's types. UnknownType stands for empty text, and UnreadableType for a value that is not text. A key of type UnreadableType
// may execute retrievers, as keys of every type, and do nothing else.
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

// Permission is a level of access, as stored. It includes all weaker ones. A permission that is not known grants nothing.
type Permission string

// The permissions, strongest first. UnknownPermission stands for a value that is not text, or is empty.
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

// Fields is a set of a key's fields, so that a store reads only what is needed of a document.
type Fields uint32

// The fields. ID and Hash are always read. A status is derived from StatusFields.
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
	FieldRevokeReason
	FieldLeakedAt
	FieldLeakSource
	FieldLeakURL
	FieldRotatedTo
	FieldRotatedFrom
	FieldBudget
	FieldRevision

	AllFields    = FieldRevision<<1 - 1
	StatusFields = FieldStatus | FieldExpiresAt | FieldRevokedAt
	LeakFields   = FieldLeakedAt | FieldLeakSource | FieldLeakURL
)

// Size is the approximate memory of the key in bytes. Stored keys may have texts and lists of any length.
func (k *Key) Size() int {
	const key, scope, word = 512, 64, 16
	n := key + len(k.ID) + len(k.Hash) + len(k.UserID) + len(k.Name) + len(k.Description) + len(k.Type) + len(text(k.RevokeReason)) + len(text(k.LeakSource)) + len(text(k.LeakURL))
	for _, p := range k.Permissions {
		n += word + len(p)
	}
	for i := range k.Scopes {
		s := &k.Scopes[i]
		n += scope + len(s.ResourceID) + len(s.ResourceType)
		for _, op := range s.Operations {
			n += word + len(op)
		}
	}
	for _, o := range k.AllowedOrigins {
		n += word + len(o)
	}
	return n
}
