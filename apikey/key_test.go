package apikey

import (
	"math/bits"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Without this, a revoked key works again if it has an expiry in the future, or an expired one still works at the instant of its expiry.
func TestStatusIsDerivedAtTheInstant(t *testing.T) {
	for _, tt := range []struct {
		name string
		key  Key
		want Status
	}{
		{"nothing set", Key{Stored: Active}, Active},
		{"an unknown stored status", Key{Stored: "paused"}, Revoked},
		{"no stored status", Key{}, Revoked},
		{"expires a nanosecond later", Key{Stored: Active, ExpiresAt: new(noon.Add(1))}, Active},
		{"expires a millisecond later", Key{Stored: Active, ExpiresAt: new(noon.Add(time.Millisecond))}, Active},
		{"expires now", Key{Stored: Active, ExpiresAt: &noon}, Expired},
		{"expires now, in another time zone", Key{Stored: Active, ExpiresAt: new(noon.In(time.FixedZone("", 3600)))}, Expired},
		{"expired a nanosecond ago", Key{Stored: Active, ExpiresAt: new(noon.Add(-1))}, Expired},
		{"expired before 1970", Key{Stored: Active, ExpiresAt: new(time.Date(1901, 1, 1, 0, 0, 0, 0, time.UTC))}, Expired},
		{"expires in 9999", Key{Stored: Active, ExpiresAt: new(time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC))}, Active},
		{"expired at the zero time", Key{Stored: Active, ExpiresAt: new(time.Time)}, Expired},
		{"stored as expired", Key{Stored: Expired}, Expired},
		{"stored as expired, expires later", Key{Stored: Expired, ExpiresAt: at(60)}, Expired},
		{"stored as revoked", Key{Stored: Revoked}, Revoked},
		{"stored as revoked, without a time", Key{Stored: Revoked, ExpiresAt: at(60)}, Revoked},
		{"revoked at a time, stored as active", Key{Stored: Active, RevokedAt: at(-60)}, Revoked},
		{"revoked at a future time", Key{Stored: Active, RevokedAt: at(60)}, Revoked},
		{"revoked at the zero time", Key{Stored: Active, RevokedAt: new(time.Time)}, Revoked},
		{"revoked after it expired", Key{Stored: Expired, RevokedAt: at(-60), ExpiresAt: at(-120)}, Revoked},
		{"stored as revoked, expired too", Key{Stored: Revoked, ExpiresAt: at(-60)}, Revoked},
	} {
		if got := tt.key.StatusAt(noon); got != tt.want {
			t.Errorf("%s: StatusAt = %s, want %s", tt.name, got, tt.want)
		}
	}
}

// Without this, a key is in the list of a retriever that it only matches by a pattern, or of one with an empty id.
func TestKeyIsListedByTheRetrieversItNames(t *testing.T) {
	k := Key{Scopes: []Scope{
		{ResourceType: ResourceNamespace, ResourceID: "ns_1"},
		{ResourceType: ResourceRetriever, ResourceID: "ret_1", Operations: []Operation{ExecuteRetriever}},
		{ResourceType: ResourceRetriever},
		{ResourceType: UnknownResource, ResourceID: "ret_2"},
		{ResourceType: ResourceRetriever, ResourceID: "ret_3", Operations: []Operation{UnknownOperation}},
	}}
	if diff := cmp.Diff([]RetrieverID{"ret_1", "ret_3"}, k.Retrievers()); diff != "" {
		t.Error(diff)
	}
	if got := (&Key{}).Retrievers(); got != nil {
		t.Errorf("a key without scopes names the retrievers %v", got)
	}
}

// Without this, two fields share a bit, and a projection returns a field that was never read.
func TestFieldsAreDistinct(t *testing.T) {
	all := []Fields{
		FieldPrefix, FieldType, FieldSubscriptionID, FieldInternalID, FieldOrganizationID, FieldUserID, FieldName,
		FieldDescription, FieldPermissions, FieldScopes, FieldRateLimitOverride, FieldStatus, FieldExpiresAt,
		FieldLastUsedAt, FieldCreatedAt, FieldCreatedBy, FieldRevokedAt, FieldRevokedBy, FieldAllowedOrigins,
		FieldPrincipalID, FieldIsInternal, FieldRevokeReason, FieldLeakedAt, FieldLeakSource, FieldLeakURL, FieldRotatedTo, FieldRotatedFrom, FieldBudget, FieldRevision,
	}
	var union Fields
	for _, f := range all {
		if bits.OnesCount32(uint32(f)) != 1 {
			t.Errorf("%b is not one bit", f)
		}
		union |= f
	}
	if union != AllFields || bits.OnesCount32(uint32(union)) != len(all) {
		t.Errorf("together they are %b, AllFields is %b", union, AllFields)
	}
	if StatusFields != FieldStatus|FieldExpiresAt|FieldRevokedAt {
		t.Errorf("StatusFields is %b, want the stored status, the expiry and the revocation", StatusFields)
	}
}

// Without this, a permission does not include a weaker one, or includes a stronger one.
func TestPermissionLadder(t *testing.T) {
	ladder := []Permission{UnknownPermission, Read, Write, Delete, Admin}
	if !slices.IsSortedFunc(ladder, func(a, b Permission) int { return a.strength() - b.strength() }) {
		t.Error("the permissions are not in order of strength")
	}
	for i, held := range ladder {
		for j, needed := range ladder[1:] {
			c := Caller{Key: &Key{Type: Standard, Permissions: []Permission{held}}}
			if got, want := c.authorize(needed) == nil, i >= j+1; got != want {
				t.Errorf("%s grants %s: %v, want %v", held, needed, got, want)
			}
		}
	}
}
