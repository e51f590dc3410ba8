package apikey

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Without it a key of a retriever, or one whose type nobody can read, manages keys; or an empty list of permissions
// grants something.
func TestAuthorize(t *testing.T) {
	for _, tt := range []struct {
		name   string
		caller Caller
		want   Code
	}{
		{"nobody", Caller{}, Unauthenticated},
		{"standard", Caller{Key: &Key{Type: Standard, Permissions: []Permission{Read}}}, ""},
		{"marketplace", Caller{Key: &Key{Type: MarketplaceSubscription, Permissions: []Permission{Read}}}, ""},
		{"a type not known here", Caller{Key: &Key{Type: "robot", Permissions: []Permission{Read}}}, ""},
		{"a retriever's", Caller{Key: &Key{Type: RetrieverKey, Permissions: []Permission{Read}}}, Forbidden},
		{"a retriever's that says admin", Caller{Key: &Key{Type: RetrieverKey, Permissions: []Permission{Admin}}}, Forbidden},
		{"an unreadable type", Caller{Key: &Key{Type: UnreadableType, Permissions: []Permission{Admin}}}, Forbidden},
		{"no permissions", Caller{Key: &Key{Type: Standard}}, Forbidden},
		{"an empty list", Caller{Key: &Key{Type: Standard, Permissions: []Permission{}}}, Forbidden},
		{"words not known here", Caller{Key: &Key{Type: Standard, Permissions: []Permission{"fly", "Admin", ""}}}, Forbidden},
		{"unknown ones only", Caller{Key: &Key{Type: Standard, Permissions: []Permission{UnknownPermission, UnknownPermission}}}, Forbidden},
		{"one that was never mapped", Caller{Key: &Key{Type: Standard, Permissions: []Permission{"READ"}}}, Forbidden},
		{"an unknown one beside read", Caller{Key: &Key{Type: Standard, Permissions: []Permission{UnknownPermission, Read}}}, ""},
		{"the sufficient one last", Caller{Key: &Key{Type: Standard, Permissions: []Permission{UnknownPermission, Admin}}}, ""},
	} {
		err := tt.caller.authorize(Read)
		if got := codeOf(t, err); got != tt.want || err != nil && err.Error() == "" {
			t.Errorf("%s: %q (%v), want %q", tt.name, got, err, tt.want)
		}
	}
}

// Without it a caller reads what its scopes do not cover, or cannot read what they do. The namespace is ns_1, the
// retriever ret_1, the organization org_1 and int_1.
func TestScopesCover(t *testing.T) {
	scope := func(typ ResourceType, id string, ops ...Operation) []Scope { return []Scope{{typ, id, ops}} }
	for _, tt := range []struct {
		name                string
		scopes              []Scope
		retriever, whole    bool
		withoutOrganization bool
	}{
		{name: "no scopes: no restriction", retriever: true, whole: true},
		{name: "an empty list: no restriction", scopes: []Scope{}, retriever: true, whole: true},

		{name: "organization by public id", scopes: scope(ResourceOrganization, "org_1"), retriever: true, whole: true},
		{name: "organization by internal id", scopes: scope(ResourceOrganization, "int_1"), retriever: true, whole: true},
		{name: "organization by internal id, no public one", scopes: scope(ResourceOrganization, "int_1"), withoutOrganization: true, retriever: true, whole: true},
		{name: "organization by public id, no public one", scopes: scope(ResourceOrganization, "org_1"), withoutOrganization: true},
		{name: "organization by pattern", scopes: scope(ResourceOrganization, "org_*"), retriever: true, whole: true},
		{name: "every organization", scopes: scope(ResourceOrganization, "*"), retriever: true, whole: true},
		{name: "another organization", scopes: scope(ResourceOrganization, "org_2")},
		{name: "a part of the organization's id", scopes: scope(ResourceOrganization, "org_")},
		{name: "an organization named as the namespace", scopes: scope(ResourceOrganization, "ns_1")},
		{name: "an organization with no id", scopes: scope(ResourceOrganization, "")},

		{name: "namespace", scopes: scope(ResourceNamespace, "ns_1"), retriever: true, whole: true},
		{name: "namespace by pattern", scopes: scope(ResourceNamespace, "n*1"), retriever: true, whole: true},
		{name: "namespace by name", scopes: scope(ResourceNamespace, "shop")},
		{name: "another namespace", scopes: scope(ResourceNamespace, "ns_2")},
		{name: "another namespace by pattern", scopes: scope(ResourceNamespace, "ns_2*")},
		{name: "case matters", scopes: scope(ResourceNamespace, "NS_1")},
		{name: "a namespace named as the organization", scopes: scope(ResourceNamespace, "org_1")},

		{name: "retriever", scopes: scope(ResourceRetriever, "ret_1"), retriever: true},
		{name: "retriever by pattern", scopes: scope(ResourceRetriever, "*_1"), retriever: true},
		{name: "every retriever is not the namespace", scopes: scope(ResourceRetriever, "*"), retriever: true},
		{name: "another retriever", scopes: scope(ResourceRetriever, "ret_2")},
		{name: "a longer id", scopes: scope(ResourceRetriever, "ret_11")},
		{name: "a retriever with no id", scopes: scope(ResourceRetriever, "")},

		{name: "other resources cover nothing here", scopes: []Scope{
			{ResourceType: ResourceUser, ResourceID: "*"}, {ResourceType: ResourceAPIKey, ResourceID: "*"},
			{ResourceType: ResourceCollection, ResourceID: "*"}, {ResourceType: ResourceBucket, ResourceID: "*"},
			{ResourceType: ResourceCluster, ResourceID: "*"}, {ResourceType: ResourceTaxonomy, ResourceID: "*"},
			{ResourceType: ResourceStorageConnection, ResourceID: "*"}, {ResourceType: ResourceAlert, ResourceID: "*"},
		}},
		{name: "an unreadable scope", scopes: []Scope{{ResourceType: UnknownResource}}},
		{name: "an unreadable type, readable id", scopes: scope(UnknownResource, "*")},
		{name: "a type not known here", scopes: scope("Namespace", "ns_1")},
		{name: "operations not known here", scopes: scope(ResourceNamespace, "ns_1", "fly", "READ_DATA", "")},
		{name: "a zero scope", scopes: []Scope{{}}},

		{name: "empty operations", scopes: []Scope{{ResourceNamespace, "ns_1", []Operation{}}}, retriever: true, whole: true},
		{name: "read_data alone", scopes: scope(ResourceNamespace, "ns_1", ReadData), retriever: true, whole: true},
		{name: "read_data last", scopes: scope(ResourceNamespace, "ns_1", ExecuteJob, UnknownOperation, ReadData), retriever: true, whole: true},
		{name: "operations without read_data", scopes: scope(ResourceNamespace, "ns_1", WriteData, ManagePermissions, ExecuteRetriever)},
		{name: "unknown operations only", scopes: scope(ResourceNamespace, "ns_1", UnknownOperation)},
		{name: "a retriever's, unknown operations only", scopes: scope(ResourceRetriever, "ret_1", UnknownOperation)},
		{name: "a retriever's, execution only", scopes: scope(ResourceRetriever, "ret_1", ExecuteRetriever)},
		{name: "an organization's, without read_data", scopes: scope(ResourceOrganization, "int_1", WriteData)},

		{name: "one uncovering, one covering", scopes: []Scope{{ResourceType: UnknownResource}, {ResourceType: ResourceRetriever, ResourceID: "ret_1"}}, retriever: true},
		{name: "the right id under one scope, the right operation under another", scopes: []Scope{
			{ResourceNamespace, "ns_1", []Operation{WriteData}}, {ResourceNamespace, "ns_2", []Operation{ReadData}},
		}},
	} {
		org := "org_1"
		c := Caller{Key: &Key{InternalID: "int_1", OrganizationID: &org, Scopes: tt.scopes}}
		if tt.withoutOrganization {
			c.Key.OrganizationID = nil
		}
		ns := &Namespace{ID: "ns_1", Name: "shop", InternalID: "int_1"}
		if got := c.coversNamespace(ReadData, ns); got != tt.whole {
			t.Errorf("%s: covers the namespace: %v, want %v", tt.name, got, tt.whole)
		}
		if got := c.covers(ReadData, ns, "ret_1"); got != tt.retriever {
			t.Errorf("%s: covers the retriever: %v, want %v", tt.name, got, tt.retriever)
		}
	}
}

// Without it a scope with an open pattern covers a document that has no id, or an organization whose public id is
// the empty text.
func TestScopesCoverNothingWithoutAnID(t *testing.T) {
	c := Caller{Key: &Key{InternalID: "int_1", OrganizationID: new(""), Scopes: []Scope{{ResourceType: ResourceOrganization, ResourceID: "o*"}}}}
	if c.coversNamespace(ReadData, &Namespace{ID: "ns_1"}) {
		t.Error("an organization without an id is covered")
	}
	c.Key.Scopes = []Scope{{ResourceType: ResourceNamespace, ResourceID: "*"}, {ResourceType: ResourceRetriever, ResourceID: "*"}}
	if c.covers(ReadData, &Namespace{}, "") {
		t.Error("what has no id is covered")
	}
}

// Without it a page of a foreign site uses a key that its owner bound to certain origins, or servers, which send no
// origin, cannot use it.
func TestCheckOrigin(t *testing.T) {
	limited := []string{"https://app.example.com"}
	for _, tt := range []struct {
		name    string
		caller  Caller
		origin  string
		allowed bool
	}{
		{"listed", Caller{Key: &Key{AllowedOrigins: limited}}, "https://app.example.com", true},
		{"not listed", Caller{Key: &Key{AllowedOrigins: limited}}, "https://evil.example", false},
		{"none sent", Caller{Key: &Key{AllowedOrigins: limited}}, "", true},
		{"the opaque one", Caller{Key: &Key{AllowedOrigins: limited}}, "null", false},
		{"unrestricted", Caller{Key: &Key{}}, "https://evil.example", true},
		{"a list that nobody could read", Caller{Key: &Key{AllowedOrigins: []string{}}}, "https://app.example.com", false},
		{"a list that nobody could read, none sent", Caller{Key: &Key{AllowedOrigins: []string{}}}, "", true},
		{"an anonymous caller", Caller{}, "https://evil.example", true},
	} {
		want := Forbidden
		if tt.allowed {
			want = ""
		}
		if got := codeOf(t, tt.caller.CheckOrigin(tt.origin)); got != want {
			t.Errorf("%s: %q, want %q", tt.name, got, want)
		}
	}
}

// Without this, a request without credentials counts as a known caller, or the context of one request leaks into another.
func TestContextCarriesCallerAndNamespace(t *testing.T) {
	ctx := t.Context()
	if c := CallerFrom(ctx); !c.Anonymous() {
		t.Errorf("an empty context carries %v", c)
	}
	if ns := NamespaceFrom(ctx); ns != "" {
		t.Errorf("an empty context carries %q", ns)
	}
	key := &Key{ID: "key_1"}
	ctx = WithNamespace(WithCaller(ctx, Caller{Key: key}), "shop")
	if c := CallerFrom(ctx); c.Key != key || c.Anonymous() {
		t.Errorf("got %v back", c)
	}
	if diff := cmp.Diff("shop", NamespaceFrom(ctx)); diff != "" {
		t.Error(diff)
	}
	if c := CallerFrom(WithCaller(ctx, Caller{})); !c.Anonymous() {
		t.Errorf("the inner caller is %v", c)
	}
}

// Without this, anybody who copies a key from a web page can use the caches, labels and audit trail of its owners.
func TestWhoIsKnown(t *testing.T) {
	for _, tt := range []struct {
		caller Caller
		want   bool
	}{
		{Caller{}, false},
		{Caller{Key: &Key{Type: RetrieverKey, Permissions: []Permission{Admin}}}, false},
		{Caller{Key: &Key{Type: UnreadableType, Permissions: []Permission{Admin}}}, false},
		{Caller{Key: &Key{Type: UnknownType}}, true},
		{Caller{Key: &Key{Type: MarketplaceSubscription}}, true},
		{Caller{Key: &Key{Type: Standard}}, true},
		{NewOperator("ada", Namespace{}), true},
	} {
		if got := tt.caller.Known(); got != tt.want {
			t.Errorf("%+v: %t", tt.caller.Key, got)
		}
	}
}
