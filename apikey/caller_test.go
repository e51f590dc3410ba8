package apikey

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Without this, a key of a retriever or a key with an unreadable type manages keys, or an empty list of permissions grants something.
func TestAuthorize(t *testing.T) {
	for _, tt := range []struct {
		name   string
		caller Caller
		want   Code
	}{
		{"an anonymous caller", Caller{}, Unauthenticated},
		{"standard", Caller{Key: &Key{Type: Standard, Permissions: []Permission{Read}}}, ""},
		{"marketplace", Caller{Key: &Key{Type: MarketplaceSubscription, Permissions: []Permission{Read}}}, ""},
		{"an unknown type", Caller{Key: &Key{Type: "robot", Permissions: []Permission{Read}}}, ""},
		{"a retriever's", Caller{Key: &Key{Type: RetrieverKey, Permissions: []Permission{Read}}}, Forbidden},
		{"a retriever's with admin", Caller{Key: &Key{Type: RetrieverKey, Permissions: []Permission{Admin}}}, Forbidden},
		{"an unreadable type", Caller{Key: &Key{Type: UnreadableType, Permissions: []Permission{Admin}}}, Forbidden},
		{"no permissions", Caller{Key: &Key{Type: Standard}}, Forbidden},
		{"an empty list", Caller{Key: &Key{Type: Standard, Permissions: []Permission{}}}, Forbidden},
		{"unknown words", Caller{Key: &Key{Type: Standard, Permissions: []Permission{"fly", "Admin", ""}}}, Forbidden},
		{"only unreadable ones", Caller{Key: &Key{Type: Standard, Permissions: []Permission{UnknownPermission, UnknownPermission}}}, Forbidden},
		{"in upper case", Caller{Key: &Key{Type: Standard, Permissions: []Permission{"READ"}}}, Forbidden},
		{"an unreadable one and read", Caller{Key: &Key{Type: Standard, Permissions: []Permission{UnknownPermission, Read}}}, ""},
		{"the sufficient one last", Caller{Key: &Key{Type: Standard, Permissions: []Permission{UnknownPermission, Admin}}}, ""},
	} {
		err := tt.caller.authorize(Read)
		if got := codeOf(t, err); got != tt.want || err != nil && err.Error() == "" {
			t.Errorf("%s: got %q (%v), want %q", tt.name, got, err, tt.want)
		}
	}
}

// Without this, a caller reads what its scopes do not cover, or cannot read what they do. The namespace is ns_1, the retriever is ret_1,
// and the organization has the ids org_1 and int_1.
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
		{name: "organization by internal id, without a public id", scopes: scope(ResourceOrganization, "int_1"), withoutOrganization: true, retriever: true, whole: true},
		{name: "organization by public id, without a public id", scopes: scope(ResourceOrganization, "org_1"), withoutOrganization: true},
		{name: "organization by pattern", scopes: scope(ResourceOrganization, "org_*"), retriever: true, whole: true},
		{name: "every organization", scopes: scope(ResourceOrganization, "*"), retriever: true, whole: true},
		{name: "another organization", scopes: scope(ResourceOrganization, "org_2")},
		{name: "a prefix of the organization's id", scopes: scope(ResourceOrganization, "org_")},
		{name: "an organization scope with the namespace's id", scopes: scope(ResourceOrganization, "ns_1")},
		{name: "an organization scope without an id", scopes: scope(ResourceOrganization, "")},

		{name: "namespace", scopes: scope(ResourceNamespace, "ns_1"), retriever: true, whole: true},
		{name: "namespace by pattern", scopes: scope(ResourceNamespace, "n*1"), retriever: true, whole: true},
		{name: "namespace by name", scopes: scope(ResourceNamespace, "shop")},
		{name: "another namespace", scopes: scope(ResourceNamespace, "ns_2")},
		{name: "another namespace by pattern", scopes: scope(ResourceNamespace, "ns_2*")},
		{name: "case matters", scopes: scope(ResourceNamespace, "NS_1")},
		{name: "a namespace scope with the organization's id", scopes: scope(ResourceNamespace, "org_1")},

		{name: "retriever", scopes: scope(ResourceRetriever, "ret_1"), retriever: true},
		{name: "retriever by pattern", scopes: scope(ResourceRetriever, "*_1"), retriever: true},
		{name: "every retriever, but not the namespace", scopes: scope(ResourceRetriever, "*"), retriever: true},
		{name: "another retriever", scopes: scope(ResourceRetriever, "ret_2")},
		{name: "a longer id", scopes: scope(ResourceRetriever, "ret_11")},
		{name: "a retriever scope without an id", scopes: scope(ResourceRetriever, "")},

		{name: "other resources", scopes: []Scope{
			{ResourceType: ResourceUser, ResourceID: "*"}, {ResourceType: ResourceAPIKey, ResourceID: "*"},
			{ResourceType: ResourceCollection, ResourceID: "*"}, {ResourceType: ResourceBucket, ResourceID: "*"},
			{ResourceType: ResourceCluster, ResourceID: "*"}, {ResourceType: ResourceTaxonomy, ResourceID: "*"},
			{ResourceType: ResourceStorageConnection, ResourceID: "*"}, {ResourceType: ResourceAlert, ResourceID: "*"},
		}},
		{name: "an unreadable scope", scopes: []Scope{{ResourceType: UnknownResource}}},
		{name: "an unreadable type with a readable id", scopes: scope(UnknownResource, "*")},
		{name: "an unknown type", scopes: scope("Namespace", "ns_1")},
		{name: "unknown operations", scopes: scope(ResourceNamespace, "ns_1", "fly", "READ_DATA", "")},
		{name: "a zero scope", scopes: []Scope{{}}},

		{name: "empty operations", scopes: []Scope{{ResourceNamespace, "ns_1", []Operation{}}}, retriever: true, whole: true},
		{name: "read_data alone", scopes: scope(ResourceNamespace, "ns_1", ReadData), retriever: true, whole: true},
		{name: "read_data last", scopes: scope(ResourceNamespace, "ns_1", ExecuteJob, UnknownOperation, ReadData), retriever: true, whole: true},
		{name: "operations without read_data", scopes: scope(ResourceNamespace, "ns_1", WriteData, ManagePermissions, ExecuteRetriever)},
		{name: "unreadable operations only", scopes: scope(ResourceNamespace, "ns_1", UnknownOperation)},
		{name: "a retriever, unreadable operations only", scopes: scope(ResourceRetriever, "ret_1", UnknownOperation)},
		{name: "a retriever, execution only", scopes: scope(ResourceRetriever, "ret_1", ExecuteRetriever)},
		{name: "an organization, without read_data", scopes: scope(ResourceOrganization, "int_1", WriteData)},

		{name: "an unreadable scope and one that covers", scopes: []Scope{{ResourceType: UnknownResource}, {ResourceType: ResourceRetriever, ResourceID: "ret_1"}}, retriever: true},
		{name: "the right id in one scope, the right operation in another", scopes: []Scope{
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

// Without this, a scope with a wildcard covers a document without an id, or an organization whose public id is empty.
func TestScopesCoverNothingWithoutAnID(t *testing.T) {
	c := Caller{Key: &Key{InternalID: "int_1", OrganizationID: new(""), Scopes: []Scope{{ResourceType: ResourceOrganization, ResourceID: "o*"}}}}
	if c.coversNamespace(ReadData, &Namespace{ID: "ns_1"}) {
		t.Error("an organization without an id is covered")
	}
	c.Key.Scopes = []Scope{{ResourceType: ResourceNamespace, ResourceID: "*"}, {ResourceType: ResourceRetriever, ResourceID: "*"}}
	if c.covers(ReadData, &Namespace{}, "") {
		t.Error("a document without an id is covered")
	}
}

// Without this, a page of another site uses a key that its owner limited to certain origins, or a server, which sends no origin, cannot use
// it.
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
		{"an opaque origin", Caller{Key: &Key{AllowedOrigins: limited}}, "null", false},
		{"unrestricted", Caller{Key: &Key{}}, "https://evil.example", true},
		{"an unreadable list", Caller{Key: &Key{AllowedOrigins: []string{}}}, "https://app.example.com", false},
		{"an unreadable list, none sent", Caller{Key: &Key{AllowedOrigins: []string{}}}, "", true},
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

// Without this, a request without a key counts as a known caller, or the context of one request leaks into another.
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

// Without this, anyone who copies a key from a web page can use the caches, labels and audit trail of its owner.
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
