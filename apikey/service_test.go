package apikey

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// fixture returns a store with an organization int_1, which has two namespaces, and another organization int_2, which has the same ids and
// names where that is possible.
func fixture() *memory {
	named := func(retrievers ...string) func(*Key) {
		return func(k *Key) {
			k.Scopes = nil
			for _, id := range retrievers {
				k.Scopes = append(k.Scopes, Scope{ResourceRetriever, id, []Operation{ExecuteRetriever}})
			}
		}
	}
	foreign := func(k *Key) { k.InternalID = "int_2" }
	return &memory{
		namespaces: []Namespace{
			{ID: "ns_1", Name: "shop", InternalID: "int_1"},
			{ID: "ns_2", Name: "blog", InternalID: "int_1"},
			{ID: "ns_1", Name: "shop", InternalID: "int_2"},
			{ID: "ns_foreign", Name: "theirs", InternalID: "int_2"},
		},
		retrievers: []Retriever{
			{ID: "ret_1", Name: "search", NamespaceID: "ns_1", InternalID: "int_1"},
			{ID: "ret_2", Name: "faq", NamespaceID: "ns_1", InternalID: "int_1"},
			{ID: "ret_3", Name: "ret_2", NamespaceID: "ns_1", InternalID: "int_1"},
			{ID: "ret_5", Name: "twin", NamespaceID: "ns_1", InternalID: "int_1"},
			{ID: "ret_4", Name: "twin", NamespaceID: "ns_1", InternalID: "int_1"},
			{ID: "ret_6", Name: "search", NamespaceID: "ns_2", InternalID: "int_1"},
			{ID: "ret_1", Name: "search", NamespaceID: "ns_1", InternalID: "int_2"},
			{ID: "ret_foreign", Name: "theirs", NamespaceID: "ns_1", InternalID: "int_2"},
		},
		keys: []Key{
			keyOf("key_1"),
			keyOf("key_2", named("ret_2"), func(k *Key) { k.ExpiresAt, k.Name = at(0), "two" }),
			keyOf("key_6", named("ret_6")),
			keyOf("key_26", named("ret_6", "ret_2")),
			keyOf("key_gone", named("ret_gone")),
			keyOf("key_pattern", named("ret_*")),
			keyOf("key_admin", func(k *Key) { k.Scopes, k.Type = nil, Standard }),
			keyOf("key_writer", func(k *Key) { k.Scopes, k.Type = nil, Standard }), // the caller's own key in tests of changes
			keyOf("key_foreign", foreign),
			keyOf("key_1", foreign),
		},
	}
}

func newService(store Store) *Service { return &Service{Store: store, Now: frozen} }

// reader returns a caller of int_1 who can read what the scopes cover.
func reader(scopes ...Scope) Caller {
	return Caller{Key: &Key{Type: Standard, InternalID: "int_1", OrganizationID: new("org_1"), Permissions: []Permission{Read}, Scopes: scopes}}
}

func on(t ResourceType, id string) Scope { return Scope{ResourceType: t, ResourceID: id} }

// Without this, a valid key is refused, or authenticates as another key.
func TestAuthenticate(t *testing.T) {
	secret := mint(organizationKeyPrefix)
	elsewhere := "sk-made_elsewhere.without~checksum+/=="
	for _, token := range []string{secret.Reveal(), elsewhere} {
		store := &memory{keys: []Key{
			keyOf("other"),
			keyOf("key_1", func(k *Key) { k.Hash, k.ExpiresAt = digest(token), at(1) }),
		}}
		c, err := newService(store).Authenticate(t.Context(), token)
		if err != nil || c.Anonymous() || c.Key.ID != "key_1" || c.Key.Status != Active {
			t.Errorf("%+v, %v", c.Key, err)
		}
		if got := store.reads(); got != "KeysByHash" {
			t.Errorf("got the reads %q, want one", got)
		}
	}
}

// Without this, a refusal reveals which part of a guess was right, or an invalid key works: one that is revoked, one at the instant of its
// expiry, or one whose hash is in two documents.
func TestAuthenticateRefusesAllAlike(t *testing.T) {
	token := mint(organizationKeyPrefix).Reveal()
	stored := func(edits ...func(*Key)) *memory {
		return &memory{keys: []Key{keyOf("key_1", append([]func(*Key){func(k *Key) { k.Hash = digest(token) }}, edits...)...)}}
	}
	twice := stored()
	twice.keys = append(twice.keys, keyOf("key_2", func(k *Key) { k.Hash, k.InternalID = digest(token), "int_2" }))
	thrice := stored()
	thrice.keys = append(thrice.keys, twice.keys...)
	revokedTwin := stored()
	revokedTwin.keys = append(revokedTwin.keys, keyOf("key_2", func(k *Key) { k.Hash, k.RevokedAt = digest(token), at(-1) }))

	var first *Error
	for _, tt := range []struct {
		name  string
		token string
		store Store
		reads string
	}{
		{"malformed", "no such token", stored(), ""},
		{"empty", "", stored(), ""},
		{"too long", strings.Repeat("a", 513), stored(), ""},
		{"unknown", "sk_unknown", stored(), "KeysByHash"},
		{"the hash itself", digest(token), stored(), "KeysByHash"},
		{"another case", strings.ToUpper(token), stored(), "KeysByHash"},
		{"revoked", token, stored(func(k *Key) { k.RevokedAt = at(-1) }), "KeysByHash"},
		{"stored as revoked", token, stored(func(k *Key) { k.Stored = Revoked }), "KeysByHash"},
		{"expired", token, stored(func(k *Key) { k.ExpiresAt = at(-1) }), "KeysByHash"},
		{"expires at this instant", token, stored(func(k *Key) { k.ExpiresAt = at(0) }), "KeysByHash"},
		{"stored as expired", token, stored(func(k *Key) { k.Stored = Expired }), "KeysByHash"},
		{"without an organization", token, stored(func(k *Key) { k.InternalID = "" }), "KeysByHash"},
		{"in two documents", token, twice, "KeysByHash"},
		{"in three documents", token, thrice, "KeysByHash"},
		{"in two documents, one revoked", token, revokedTwin, "KeysByHash"},
		{"found by an engine that ignores case", token, ignoringCase{stored(func(k *Key) { k.Hash = strings.ToUpper(k.Hash) })}, "KeysByHash"},
	} {
		c, err := newService(tt.store).Authenticate(t.Context(), tt.token)
		e := &Error{}
		ok := errors.As(err, &e)
		if !ok || e.Code != Unauthenticated || !c.Anonymous() {
			t.Errorf("%s: %+v, %v", tt.name, c, err)
			continue
		}
		if first == nil {
			first = e
		}
		if !reflect.DeepEqual(e, first) {
			t.Errorf("%s: got %+v, want %+v as for the first", tt.name, e, first)
		}
		if got := tt.store.(interface{ reads() string }).reads(); got != tt.reads { //nolint:errcheck // a panic is a failure here
			t.Errorf("%s: the store was asked for %q, want %q", tt.name, got, tt.reads)
		}
	}
}

// ignoringCase is a store that compares hashes case-insensitively, as some collations do.
type ignoringCase struct{ *memory }

func (s ignoringCase) KeysByHash(ctx context.Context, hash string) ([]Key, error) {
	return s.memory.KeysByHash(ctx, strings.ToUpper(hash))
}

// Without this, during an outage valid keys look invalid, or everybody counts as anonymous.
func TestAuthenticateDuringAnOutage(t *testing.T) {
	c, err := newService(&memory{down: Outage(errors.New("connection refused"))}).Authenticate(t.Context(), "sk_any")
	if e := Classify(err); e.Code != Unavailable || e.RetryAfter == 0 || !c.Anonymous() {
		t.Errorf("%+v, %+v", c, e)
	}
	c, err = newService(&memory{down: errors.New("an unforeseen fault")}).Authenticate(t.Context(), "sk_any")
	if e := Classify(err); err == nil || e.Code != Internal || !c.Anonymous() {
		t.Errorf("%+v, %+v", c, e)
	}
}

// Without a clock, the Service uses the system's.
func TestServiceTellsTheTime(t *testing.T) {
	before := time.Now()
	if now := (&Service{}).now(); now.Before(before) || time.Since(now) < 0 {
		t.Errorf("without a clock: got %v", now)
	}
	if now := (&Service{Now: frozen}).now(); !now.Equal(noon) {
		t.Errorf("with a clock: got %v", now)
	}
}

// questions are all reads of a Service about a namespace, an id or a name.
var questions = map[string]func(ctx context.Context, s *Service, c Caller, namespace, id string) (any, error){
	"Namespace": func(ctx context.Context, s *Service, c Caller, _, id string) (any, error) {
		return s.Namespace(ctx, c, id)
	},
	"Retriever": func(ctx context.Context, s *Service, c Caller, namespace, id string) (any, error) {
		return s.Retriever(ctx, c, namespace, id)
	},
	"Retrievers": func(ctx context.Context, s *Service, c Caller, namespace, _ string) (any, error) {
		return pageOf(s.Retrievers(ctx, c, namespace, Page{}, "", everything))
	},
	"Retrievers, two of them": func(ctx context.Context, s *Service, c Caller, namespace, _ string) (any, error) {
		return pageOf(s.Retrievers(ctx, c, namespace, Page{Last: new(2)}, "", everything))
	},
	"Retrievers, a bad page": func(ctx context.Context, s *Service, c Caller, namespace, _ string) (any, error) {
		return pageOf(s.Retrievers(ctx, c, namespace, Page{Last: new(-2)}, "", everything))
	},
	"Retrievers, searched": func(ctx context.Context, s *Service, c Caller, namespace, id string) (any, error) {
		return pageOf(s.Retrievers(ctx, c, namespace, Page{}, id, everything))
	},
	"Key": func(ctx context.Context, s *Service, c Caller, namespace, id string) (any, error) {
		return s.Key(ctx, c, namespace, ID(id), AllFields)
	},
	"Node": func(ctx context.Context, s *Service, c Caller, namespace, id string) (any, error) {
		return s.Node(ctx, c, namespace, id, AllFields)
	},
	"Key of no namespace": func(ctx context.Context, s *Service, c Caller, _, id string) (any, error) {
		return s.Key(ctx, c, "", ID(id), AllFields)
	},
	"Node of no namespace": func(ctx context.Context, s *Service, c Caller, _, id string) (any, error) {
		return s.Node(ctx, c, "", id, AllFields)
	},
	"Nodes": func(ctx context.Context, s *Service, c Caller, namespace, id string) (any, error) {
		f, err := s.LookUp(ctx, c, Names{Namespace: namespace, NodeLists: [][]string{{id, "key_1", id}}, KeyFields: AllFields})
		if err != nil {
			return nil, err
		}
		return f.Nodes([]string{id, "key_1", id})
	},
	"Entities": func(ctx context.Context, s *Service, c Caller, namespace, id string) (any, error) {
		f, err := s.LookUp(ctx, c, Names{
			Namespace: namespace, Namespaces: []string{id}, KeysAnywhere: []ID{ID(id)}, Retrievers: []RetrieverRef{{Anywhere: true, Retriever: id}}, KeyFields: AllFields,
		})
		if err != nil {
			return nil, err
		}
		return []Node{f.Entity(ResourceAPIKey, id), f.Entity(ResourceRetriever, id), f.Entity(ResourceNamespace, id), f.Entity(ResourceUser, id)}, nil
	},
	"KeysWithHashes": func(ctx context.Context, s *Service, c Caller, namespace, id string) (any, error) {
		hashes := [][]string{{digest("hash of " + id), digest("hash of key_1")}}
		f, err := s.LookUp(ctx, c, Names{Namespace: namespace, HashLists: hashes, KeyFields: AllFields})
		if err != nil {
			return nil, err
		}
		return f.KeysWithHashes(hashes[0])
	},
	"RevokeMany": func(ctx context.Context, s *Service, c Caller, _, id string) (any, error) {
		return s.RevokeMany(ctx, c, []ID{ID(id), "key_1"}, nil, true)
	},
	"Viewer": func(_ context.Context, s *Service, c Caller, _, _ string) (any, error) { return s.Viewer(c) },
	"RetrieverIn": func(ctx context.Context, s *Service, c Caller, _, id string) (any, error) {
		return s.RetrieverIn(ctx, c, &Namespace{ID: "ns_1"}, id)
	},
	"RetrieversIn": func(ctx context.Context, s *Service, c Caller, _, _ string) (any, error) {
		return pageOf(s.RetrieversIn(ctx, c, &Namespace{ID: "ns_1"}, Page{}, "", everything))
	},
	"List": func(ctx context.Context, s *Service, c Caller, _, _ string) (any, error) {
		return s.List(ctx, c, []*Retriever{{ID: "ret_1"}}, ListOptions{Wants: everything})
	},
}

type shownPage struct {
	Items                []Retriever
	Cursors              []string
	Total                int
	HasNext, HasPrevious bool
}

// pageOf returns what a client sees of a connection.
func pageOf(c *Connection[Retriever], err error) (any, error) {
	if err != nil {
		return nil, err
	}
	p := shownPage{Items: c.Items, Total: c.Total, HasNext: c.HasNextPage, HasPrevious: c.HasPreviousPage}
	for i := range c.Items {
		p.Cursors = append(p.Cursors, c.Cursor(i))
	}
	return p, nil
}

// Without this, a caller without a key, or with one that can do nothing here, makes the store work, or learns from the order of checks
// which arguments are wrong and which namespaces exist.
func TestTheCallerIsRefusedBeforeAnythingIsRead(t *testing.T) {
	executing := reader()
	executing.Key.Type, executing.Key.Permissions = RetrieverKey, []Permission{Admin}
	unreadable := reader()
	unreadable.Key.Type = UnreadableType
	powerless := reader()
	powerless.Key.Permissions = nil
	for name, tt := range map[string]struct {
		caller Caller
		want   Code
	}{
		"anonymous":            {Caller{}, Unauthenticated},
		"a retriever's key":    {executing, Forbidden},
		"an unreadable type":   {unreadable, Forbidden},
		"without a permission": {powerless, Forbidden},
	} {
		for question, ask := range questions {
			for _, namespace := range []string{"ns_1", "absent", ""} {
				store := fixture()
				_, err := ask(t.Context(), newService(store), tt.caller, namespace, "ret_1")
				if got := codeOf(t, err); got != tt.want {
					t.Errorf("%s asks %s in %q: got %q, want %q", name, question, namespace, got, tt.want)
				}
				if reads := store.reads(); reads != "" {
					t.Errorf("%s asks %s in %q: the store was asked for %s", name, question, namespace, reads)
				}
			}
		}
	}
}

// viewer must return the caller's own key.
func TestViewer(t *testing.T) {
	for _, typ := range []Type{Standard, MarketplaceSubscription, UnknownType} {
		c := reader()
		c.Key.Type = typ
		if k, err := newService(fixture()).Viewer(c); err != nil || k != c.Key {
			t.Errorf("%s: %v, %v", typ, k, err)
		}
	}
}

// Without this, a request without a namespace is answered from some namespace, or gets NOT_FOUND instead of an error that names the missing
// header.
func TestMissingNamespace(t *testing.T) {
	for _, question := range []string{"Retriever", "Retrievers"} {
		store := fixture()
		_, err := questions[question](t.Context(), newService(store), admin(), "", "ret_1")
		if e := Classify(err); e.Code != BadUserInput || e.Field != "X-Namespace" {
			t.Errorf("%s: %+v", question, e)
		}
		if reads := store.reads(); reads != "" {
			t.Errorf("%s: the store was asked for %s", question, reads)
		}
	}
	_, err := newService(fixture()).Namespace(t.Context(), admin(), "")
	if got := codeOf(t, err); got != BadUserInput {
		t.Errorf("Namespace: %q", got)
	}
}

// Without this, a namespace whose name is another's id is found instead of it, or one of two namespaces with the same name is found at
// random.
func TestNamespaceResolution(t *testing.T) {
	store := &memory{namespaces: []Namespace{
		{ID: "ns_3", Name: "twin", InternalID: "int_1"},
		{ID: "ns_0", Name: "ns_2", InternalID: "int_1"},
		{ID: "ns_2", Name: "twin", InternalID: "int_1"},
		{ID: "ns_1", Name: "twin", InternalID: "int_2"},
		{ID: "ns_4", Name: "ns_9", InternalID: "int_1"},
		{ID: "ns_5", Name: "ns_5", InternalID: "int_1"},
		{ID: "ns_9", Name: "theirs", InternalID: "int_2"},
	}}
	for ref, want := range map[string]NamespaceID{
		"ns_3": "ns_3",
		"ns_2": "ns_2", // not ns_0, which has this name
		"twin": "ns_2", // the smallest id of this organization with this name
		"ns_9": "ns_4", // by name, because the namespace with this id belongs to another organization
		"ns_5": "ns_5",
	} {
		for range 2 {
			slices.Reverse(store.namespaces) // in any order
			got, err := newService(store).Namespace(t.Context(), admin(), ref)
			if err != nil || got.ID != want || got.InternalID != "int_1" {
				t.Errorf("%s: %+v, %v", ref, got, err)
			}
		}
	}
	// A namespace that the caller cannot see must not hide one that the caller can see.
	for range 2 {
		slices.Reverse(store.namespaces)
		if got, err := newService(store).Namespace(t.Context(), reader(on(ResourceNamespace, "ns_3")), "twin"); err != nil || got.ID != "ns_3" {
			t.Errorf("the covered one of two with this name: got %+v, %v", got, err)
		}
	}
	for _, ref := range []string{"absent", "theirs", "TWIN", "twin ", "ns_1"} {
		got, err := newService(store).Namespace(t.Context(), admin(), ref)
		if code := codeOf(t, err); code != NotFound || got != nil {
			t.Errorf("%s: %+v, %q", ref, got, code)
		}
	}
}

// Without this, a name that looks like an id finds another retriever, or one of two retrievers with the same name is found at random.
func TestRetrieverResolution(t *testing.T) {
	for _, tt := range []struct {
		caller         Caller
		namespace, ref string
		want           RetrieverID // empty: not found
		reads          string
	}{
		{admin(), "ns_1", "ret_1", "ret_1", "Namespaces Retrievers"},
		{admin(), "shop", "ret_1", "ret_1", "Namespaces Retrievers"},
		{admin(), "shop", "search", "ret_1", "Namespaces Retrievers RetrieversNamed"},
		{admin(), "blog", "search", "ret_6", "Namespaces Retrievers RetrieversNamed"},
		{admin(), "shop", "ret_2", "ret_2", "Namespaces Retrievers"}, // not ret_3, which has this name
		{admin(), "shop", "twin", "ret_4", "Namespaces Retrievers RetrieversNamed"},
		{admin(), "shop", "ret_6", "", "Namespaces Retrievers RetrieversNamed"},
		{admin(), "shop", "ret_foreign", "", "Namespaces Retrievers RetrieversNamed"},
		{admin(), "shop", "theirs", "", "Namespaces Retrievers RetrieversNamed"},
		{admin(), "shop", "SEARCH", "", "Namespaces Retrievers RetrieversNamed"},
		{admin(), "shop", "", "", "Namespaces"},
		{reader(on(ResourceRetriever, "ret_3")), "shop", "ret_2", "ret_3", "Namespaces Retrievers RetrieversNamed"}, // because ret_2 is hidden
		{reader(on(ResourceRetriever, "ret_5")), "shop", "twin", "ret_5", "Namespaces Retrievers RetrieversNamed"},  // because ret_4 is hidden
		{reader(on(ResourceRetriever, "ret_1")), "shop", "ret_2", "", "Namespaces Retrievers RetrieversNamed"},
		{reader(on(ResourceRetriever, "ret_*")), "shop", "faq", "ret_2", "Namespaces Retrievers RetrieversNamed"},
		{reader(on(ResourceNamespace, "ns_2")), "shop", "ret_1", "", "Namespaces Retrievers RetrieversNamed"},
	} {
		store := fixture()
		r, err := newService(store).Retriever(t.Context(), tt.caller, tt.namespace, tt.ref)
		if tt.want == "" {
			if code := codeOf(t, err); code != NotFound || r != nil {
				t.Errorf("%s in %s: %+v, %q", tt.ref, tt.namespace, r, code)
			}
		} else if err != nil || r.ID != tt.want || r.Namespace == nil || r.Namespace.ID != r.NamespaceID || r.InternalID != "int_1" {
			t.Errorf("%s in %s: %+v, %v", tt.ref, tt.namespace, r, err)
		}
		if got := store.reads(); got != tt.reads {
			t.Errorf("%s in %s: read %q, want %q", tt.ref, tt.namespace, got, tt.reads)
		}
	}
}

// RetrieverIn and Retriever must agree for the same namespace.
func TestRetrieverInANamespaceAtHand(t *testing.T) {
	for _, ref := range []string{"ret_1", "search", "ret_2", "twin", "ret_6", "absent", ""} {
		s := newService(fixture())
		ns, err := s.Namespace(t.Context(), admin(), "shop")
		if err != nil {
			t.Fatal(err)
		}
		want, wantErr := s.Retriever(t.Context(), admin(), "shop", ref)
		got, gotErr := s.RetrieverIn(t.Context(), admin(), ns, ref)
		if diff := cmp.Diff(want, got); diff != "" || !reflect.DeepEqual(gotErr, wantErr) {
			t.Errorf("%q: %s, %v, want %v", ref, diff, gotErr, wantErr)
		}
	}
}

// Without this, a caller who can see only some retrievers learns of others through the list, its total or hasNextPage, or a list needs more
// reads than necessary.
func TestRetrievers(t *testing.T) {
	after := (&position{kind: retrievers, value: "faq", id: "ret_2"}).cursor()
	onlySome := reader(on(ResourceRetriever, "ret_4"), on(ResourceRetriever, "ret_5"), on(ResourceRetriever, "ret_6"))
	for _, tt := range []struct {
		name    string
		caller  Caller
		page    Page
		search  string
		wants   Wants
		want    string
		total   int
		hasNext bool
		hasPrev bool
		reads   string
	}{
		{"all", admin(), Page{}, "", everything, "ret_2 ret_3 ret_1 ret_4 ret_5", 5, false, false, "Namespaces RetrieverPage(26)"},
		{"two", admin(), Page{First: new(2)}, "", everything, "ret_2 ret_3", 5, true, false, "CountRetrievers Namespaces RetrieverPage(3)"},
		{"the last two", admin(), Page{Last: new(2)}, "", everything, "ret_4 ret_5", 5, false, true, "CountRetrievers Namespaces RetrieverPage(3)"},
		{"after the first", admin(), Page{First: new(1), After: &after}, "", everything, "ret_3", 5, true, true, "CountRetrievers Namespaces RetrieverPage(1) RetrieverPage(2)"},
		{"before the second", admin(), Page{Before: &after}, "", everything, "", 5, true, false, "CountRetrievers Namespaces RetrieverPage(1) RetrieverPage(26)"},
		{"total only", admin(), Page{}, "", Wants{Total: true}, "", 5, false, false, "CountRetrievers Namespaces"},
		{"page only", admin(), Page{First: new(1)}, "", Wants{Items: true}, "ret_2", 0, true, false, "Namespaces RetrieverPage(2)"},
		{"nothing", admin(), Page{}, "", Wants{}, "", 0, false, false, "Namespaces"},
		{"searched by name", admin(), Page{}, "EAR", everything, "ret_1", 1, false, false, "Namespaces RetrieverPage(1000)"},
		{"searched by id or name", admin(), Page{}, "t_2", everything, "ret_2 ret_3", 2, false, false, "Namespaces RetrieverPage(1000)"},
		{"searched, one of two", admin(), Page{Last: new(1)}, "twin", everything, "ret_5", 2, false, true, "Namespaces RetrieverPage(1000) RetrieverPage(1000)"},
		{"searched, none", admin(), Page{}, "nothing", everything, "", 0, false, false, "Namespaces RetrieverPage(1000)"},
		{"covered ones", onlySome, Page{}, "", everything, "ret_4 ret_5", 2, false, false, "Namespaces RetrieverPage(1000)"},
		{"one of the covered ones", onlySome, Page{First: new(1)}, "", everything, "ret_4", 2, true, false, "Namespaces RetrieverPage(1000) RetrieverPage(1000)"},
		{"after an uncovered one", onlySome, Page{After: &after}, "", everything, "ret_4 ret_5", 2, false, false, "Namespaces RetrieverPage(1000) RetrieverPage(1000) RetrieverPage(1000)"},
		{"covered ones, searched", onlySome, Page{}, "faq", everything, "", 0, false, false, "Namespaces RetrieverPage(1000)"},
		{"covered by the namespace", reader(on(ResourceNamespace, "ns_1")), Page{}, "", everything, "ret_2 ret_3 ret_1 ret_4 ret_5", 5, false, false, "Namespaces RetrieverPage(26)"},
	} {
		store := fixture()
		c, err := newService(store).Retrievers(t.Context(), tt.caller, "shop", tt.page, tt.search, tt.wants)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var got []string
		for _, r := range c.Items {
			got = append(got, string(r.ID))
			if r.Namespace == nil || r.Namespace.ID != "ns_1" || r.Namespace.InternalID != "int_1" {
				t.Errorf("%s: %s has the namespace %+v", tt.name, r.ID, r.Namespace)
			}
		}
		if strings.Join(got, " ") != tt.want || c.HasNextPage != tt.hasNext || c.HasPreviousPage != tt.hasPrev || c.Total != tt.total {
			t.Errorf("%s: got %v of %d, hasNextPage %v, hasPreviousPage %v; want %+v", tt.name, got, c.Total, c.HasNextPage, c.HasPreviousPage, tt)
		}
		if got := store.reads(); got != tt.reads {
			t.Errorf("%s: read %q, want %q", tt.name, got, tt.reads)
		}
	}
}

// Without this, a client that pages through retrievers misses some or sees some twice. The store pages for the first caller, the domain for
// the second.
func TestRetrieversAreWalkedByTheirCursors(t *testing.T) {
	for _, c := range []Caller{admin(), reader(on(ResourceRetriever, "*"))} {
		s := newService(fixture())
		ns, err := s.Namespace(t.Context(), admin(), "shop")
		if err != nil {
			t.Fatal(err)
		}
		var forward, backward []string
		for page := (Page{First: new(2)}); ; {
			conn, err := s.Retrievers(t.Context(), c, "shop", page, "", everything)
			if err != nil {
				t.Fatal(err)
			}
			for i := range conn.Items {
				forward = append(forward, string(conn.Items[i].ID))
				page.After = new(conn.Cursor(i))
			}
			if !conn.HasNextPage {
				break
			}
		}
		for page := (Page{Last: new(2)}); ; {
			conn, err := s.RetrieversIn(t.Context(), c, ns, page, "", everything)
			if err != nil {
				t.Fatal(err)
			}
			for i := range slices.Backward(conn.Items) {
				backward = append(backward, string(conn.Items[i].ID))
				page.Before = new(conn.Cursor(i))
			}
			if !conn.HasPreviousPage {
				break
			}
		}
		if got, want := strings.Join(forward, " "), "ret_2 ret_3 ret_1 ret_4 ret_5"; got != want {
			t.Errorf("forward %s, want %s", got, want)
		}
		if got, want := strings.Join(backward, " "), "ret_5 ret_4 ret_1 ret_3 ret_2"; got != want {
			t.Errorf("backward %s, want %s", got, want)
		}
	}
}

// A namespace without retrievers must not look as if it did not exist.
func TestEmptyNamespaceHasAnEmptyList(t *testing.T) {
	store := &memory{namespaces: []Namespace{{ID: "ns_1", Name: "shop", InternalID: "int_1"}}}
	for _, search := range []string{"", "a"} {
		c, err := newService(store).Retrievers(t.Context(), admin(), "shop", Page{}, search, everything)
		if err != nil || len(c.Items) != 0 || c.Total != 0 || c.HasNextPage || c.HasPreviousPage {
			t.Errorf("searching for %q: got %+v, %v", search, c, err)
		}
	}
}

// The default page size must be the documented one, and a wrong argument must be refused before a page is read.
func TestRetrieversPageSize(t *testing.T) {
	store := &memory{namespaces: []Namespace{{ID: "ns_1", InternalID: "int_1"}}}
	for i := range 30 {
		store.retrievers = append(store.retrievers, Retriever{ID: RetrieverID(fmt.Sprintf("ret_%02d", i)), NamespaceID: "ns_1", InternalID: "int_1"})
	}
	c, err := newService(store).Retrievers(t.Context(), admin(), "ns_1", Page{}, "", everything)
	if err != nil || len(c.Items) != 25 || !c.HasNextPage || c.Total != 30 {
		t.Errorf("%+v, %v", c, err)
	}
	store.reads()
	_, err = newService(store).Retrievers(t.Context(), admin(), "ns_1", Page{First: new(1001)}, "", everything)
	if e := Classify(err); e.Code != BadUserInput || e.Field != "first" || store.reads() != "Namespaces" {
		t.Errorf("%+v", e)
	}
	_, err = newService(store).RetrieversIn(t.Context(), admin(), &store.namespaces[0], Page{Last: new(-1)}, "", everything)
	if e := Classify(err); e.Code != BadUserInput || e.Field != "last" || store.reads() != "" {
		t.Errorf("%+v", e)
	}
}

// Without this, searching a namespace with very many retrievers uses up the memory, or never finds some of them.
func TestManyRetrieversAreSearchedPageByPage(t *testing.T) {
	const many = 3*MaxPage + 1
	store := &memory{namespaces: []Namespace{{ID: "ns_1", InternalID: "int_1"}}}
	for i := range many {
		store.retrievers = append(store.retrievers, Retriever{ID: RetrieverID(fmt.Sprintf("ret_%05d", i)), NamespaceID: "ns_1", InternalID: "int_1"})
	}
	s := newService(store)
	pages := strings.Repeat(" RetrieverPage(1000)", 4)
	for _, tt := range []struct {
		name   string
		caller Caller
		page   Page
		search string
		wants  Wants
		want   string
		total  int
		reads  string
	}{
		{"one of the last", admin(), Page{}, "RET_03000", Wants{Items: true}, "ret_03000", 0, "Namespaces" + pages},
		{"the first page", admin(), Page{First: new(2)}, "ret", Wants{Items: true, HasNext: true}, "ret_00000 ret_00001", 0, "Namespaces RetrieverPage(1000)"},
		{"the last page", admin(), Page{Last: new(2)}, "ret_00", Wants{Items: true}, "ret_00998 ret_00999", 0, "Namespaces" + strings.Repeat(" RetrieverPage(1000)", 3)},
		{"the total", admin(), Page{First: new(1)}, "ret", Wants{Total: true}, "", many, "Namespaces" + pages},
		{"a caller who sees one", reader(on(ResourceRetriever, "ret_02000")), Page{}, "", everything, "ret_02000", 1, "Namespaces" + pages},
		{"a caller who sees one and searches for another", reader(on(ResourceRetriever, "ret_02000")), Page{}, "3000", Wants{Items: true}, "", 0, "Namespaces" + pages},
		{"a pattern", reader(on(ResourceRetriever, "ret_0200*")), Page{Last: new(1)}, "", Wants{Items: true}, "ret_02009", 0, "Namespaces RetrieverPage(1000)"},
	} {
		store.reads()
		c, err := s.Retrievers(t.Context(), tt.caller, "ns_1", tt.page, tt.search, tt.wants)
		if err != nil {
			t.Fatal(tt.name, err)
		}
		var got []string
		for _, r := range c.Items {
			got = append(got, string(r.ID))
		}
		if reads := store.reads(); strings.Join(got, " ") != tt.want || c.Total != tt.total || reads != tt.reads {
			t.Errorf("%s: got %v of %d with the reads %q", tt.name, got, c.Total, reads)
		}
	}
	if _, err := s.Retrievers(t.Context(), reader(on(ResourceNamespace, "ns_2")), "ns_1", Page{}, "", everything); codeOf(t, err) != NotFound {
		t.Errorf("a caller who sees none: %v", err)
	}
	if _, err := s.Retrievers(t.Context(), admin(), "ns_1", Page{}, strings.Repeat("é", 201), everything); Classify(err).Field != "search" {
		t.Errorf("a search of 201 characters: %v", err)
	}
}

// Without this, a key is visible through a retriever of another namespace, one that the caller cannot see, a pattern, or one that does not
// exist. Its status must be the one at the time of the request.
func TestKeyVisibility(t *testing.T) {
	for _, tt := range []struct {
		caller    Caller
		namespace string
		id        ID
		want      Status // empty: not found
	}{
		{admin(), "shop", "key_1", Active},
		{admin(), "ns_1", "key_1", Active},
		{admin(), "shop", "key_2", Expired},
		{admin(), "blog", "key_1", ""},
		{admin(), "blog", "key_6", Active},
		{admin(), "shop", "key_6", ""},
		{admin(), "shop", "key_26", Active},
		{admin(), "blog", "key_26", Active},
		{admin(), "shop", "key_gone", ""},
		{admin(), "shop", "key_pattern", ""},
		{admin(), "shop", "key_admin", ""},
		{admin(), "shop", "key_foreign", ""},
		{admin(), "shop", "absent", ""},
		{admin(), "shop", "", ""},
		{admin(), "shop", "ret_1", ""},
		{reader(on(ResourceRetriever, "ret_2")), "shop", "key_2", Expired},
		{reader(on(ResourceRetriever, "ret_2")), "shop", "key_1", ""},
		{reader(on(ResourceRetriever, "ret_2")), "shop", "key_26", Active},
		{reader(on(ResourceRetriever, "ret_6")), "shop", "key_26", ""}, // it is visible through ret_2, which is hidden
		{reader(on(ResourceRetriever, "ret_6")), "blog", "key_26", Active},
		{reader(on(ResourceNamespace, "ns_2")), "shop", "key_1", ""},
		{reader(on(ResourceAPIKey, "key_1")), "shop", "key_1", ""},
		{reader(Scope{ResourceType: UnknownResource}), "shop", "key_1", ""},
	} {
		k, err := newService(fixture()).Key(t.Context(), tt.caller, tt.namespace, tt.id, 0)
		if tt.want == "" {
			if code := codeOf(t, err); code != NotFound || k != nil {
				t.Errorf("%s in %s: %+v, %q", tt.id, tt.namespace, k, code)
			}
		} else if err != nil || k.ID != tt.id || k.Status != tt.want {
			t.Errorf("%s in %s: %+v, %v", tt.id, tt.namespace, k, err)
		}
	}
}

// Without this, a requested field of a key is not read, or one that was not requested is.
func TestKeyFields(t *testing.T) {
	store := fixture()
	k, err := newService(store).Key(t.Context(), admin(), "shop", "key_2", FieldName)
	if err != nil || k.Name != "two" || k.Hash == "" || k.CreatedAt != nil {
		t.Errorf("%+v, %v", k, err)
	}
	if got := store.reads(); got != "Keys Namespaces Retrievers" {
		t.Errorf("read %q", got)
	}
}

// Without this, an id that several objects have finds one of them at random.
func TestNodePrecedence(t *testing.T) {
	store := &memory{
		namespaces: []Namespace{
			{ID: "ns_1", Name: "shop", InternalID: "int_1"}, {ID: "x", InternalID: "int_1"}, {ID: "y", InternalID: "int_1"},
			{ID: "z", InternalID: "int_1"}, {ID: "w", Name: "named", InternalID: "int_1"}, {ID: "theirs", InternalID: "int_2"},
		},
		retrievers: []Retriever{
			{ID: "ret_1", NamespaceID: "ns_1", InternalID: "int_1"}, {ID: "x", NamespaceID: "ns_1", InternalID: "int_1"},
			{ID: "y", NamespaceID: "ns_1", InternalID: "int_1"}, {ID: "z", NamespaceID: "x", InternalID: "int_1"},
			{ID: "r", Name: "called", NamespaceID: "ns_1", InternalID: "int_1"},
		},
		keys: []Key{keyOf("x"), keyOf("w", func(k *Key) { k.Scopes = nil })},
	}
	for _, tt := range []struct{ id, want string }{
		{"x", "key x"},
		{"y", "retriever y in ns_1"},
		{"z", "namespace z"}, // the retriever is in another namespace
		{"w", "namespace w"}, // no list shows the key
		{"ns_1", "namespace ns_1"},
		{"shop", ""}, // names are not ids
		{"named", ""},
		{"called", ""},
		{"theirs", ""},
		{"absent", ""},
		{"", ""},
	} {
		n, err := newService(store).Node(t.Context(), admin(), "shop", tt.id, 0)
		var got []string
		if n.Key != nil {
			got = append(got, "key "+string(n.Key.ID))
			if n.Key.Status != Active {
				t.Errorf("%s: got the status %q", tt.id, n.Key.Status)
			}
		}
		if n.Retriever != nil {
			got = append(got, "retriever "+string(n.Retriever.ID)+" in "+string(n.Retriever.Namespace.ID))
		}
		if n.Namespace != nil {
			got = append(got, "namespace "+string(n.Namespace.ID))
		}
		if strings.Join(got, ", ") != tt.want || tt.want == "" && codeOf(t, err) != NotFound {
			t.Errorf("%q: %v, %v; want %q", tt.id, got, err, tt.want)
		}
	}
}

// Without this, a lookup by id costs one round trip after another. Everything is read concurrently, except a key's retrievers.
func TestNodeReads(t *testing.T) {
	for id, want := range map[string]string{
		"absent":    "Keys Namespaces Retrievers",
		"ret_1":     "Keys Namespaces Retrievers",
		"key_1":     "Keys Namespaces Retrievers Retrievers",
		"key_admin": "Keys Namespaces Retrievers", // it names no retriever
		"":          "Namespaces",
	} {
		store := fixture()
		_, _ = newService(store).Node(t.Context(), admin(), "shop", id, 0)
		if got := store.reads(); got != want {
			t.Errorf("%q: read %q, want %q", id, got, want)
		}
	}
}

// A caller must not notice anything that it cannot see: in a code, message, field, total or cursor, or because it hides something else. So
// for all scopes and questions, the answer must be the same as from a store that contains only what the scopes cover.
func TestHiddenIsTheSameAsAbsent(t *testing.T) {
	scope := rapid.Custom(func(t *rapid.T) Scope {
		return Scope{
			ResourceType: rapid.SampledFrom([]ResourceType{ResourceOrganization, ResourceNamespace, ResourceNamespace, ResourceRetriever, ResourceRetriever, ResourceRetriever, UnknownResource}).Draw(t, "type"),
			ResourceID:   rapid.SampledFrom([]string{"org_1", "ns_1", "ns_2", "ret_1", "ret_2", "ret_3", "ret_4", "ret_5", "ret_6", "ret_*", "*6", "*", ""}).Draw(t, "id"),
			Operations:   rapid.SampledFrom([][]Operation{nil, {ReadData}, {WriteData}}).Draw(t, "operations"),
		}
	})
	refs := []string{
		"ns_1", "ns_2", "shop", "blog", "ns_foreign", "theirs", "absent", "ret_1", "ret_2", "ret_3", "ret_4", "ret_5",
		"ret_6", "ret_foreign", "search", "faq", "twin", "key_1", "key_2", "key_6", "key_26", "key_gone", "key_foreign",
		"key_admin", "ret", "org_1", "",
	}
	ofNamespaces, namespaces := []string{"Namespace", "Retriever", "Retrievers", "Retrievers, two of them", "Retrievers, a bad page", "Retrievers, searched", "Key", "Node", "Key of no namespace", "Node of no namespace", "Nodes", "Entities", "KeysWithHashes", "RevokeMany"}, []string{"ns_1", "shop", "blog", "ns_foreign", "absent"}
	hashed := func() *memory {
		m := fixture()
		for i := range m.keys {
			m.keys[i].Hash = digest(m.keys[i].Hash)
		}
		return m
	}
	rapid.Check(t, func(t *rapid.T) {
		c := reader(rapid.SliceOfN(scope, 1, 3).Draw(t, "scopes")...)
		c.Key.Permissions = []Permission{rapid.SampledFrom([]Permission{Read, Delete}).Draw(t, "permission")}
		full, covered := hashed(), hashed()
		covered.namespaces = slices.DeleteFunc(covered.namespaces, func(n Namespace) bool { return n.InternalID != "int_1" })
		covered.retrievers = slices.DeleteFunc(covered.retrievers, func(r Retriever) bool {
			return r.InternalID != "int_1" || !c.covers(ReadData, &Namespace{ID: r.NamespaceID}, r.ID)
		})
		covered.namespaces = slices.DeleteFunc(covered.namespaces, func(n Namespace) bool {
			in := func(r Retriever) bool { return r.NamespaceID == n.ID }
			return !c.coversNamespace(ReadData, &n) && !slices.ContainsFunc(covered.retrievers, in)
		})
		covered.keys = slices.DeleteFunc(covered.keys, func(k Key) bool {
			named := func(r Retriever) bool { return slices.Contains(k.Retrievers(), r.ID) }
			return k.InternalID != "int_1" || !slices.ContainsFunc(covered.retrievers, named)
		})
		id := rapid.SampledFrom(refs).Draw(t, "id")
		for _, question := range ofNamespaces {
			for _, namespace := range namespaces {
				want, wantErr := questions[question](context.Background(), newService(covered), c, namespace, id)
				got, gotErr := questions[question](context.Background(), newService(full), c, namespace, id)
				if !reflect.DeepEqual(got, want) {
					t.Fatalf("%s of %q in %q (-absent +hidden):\n%s", question, id, namespace, cmp.Diff(want, got))
				}
				if !reflect.DeepEqual(gotErr, wantErr) {
					t.Fatalf("%s of %q in %q: got %v, want %v as if it did not exist", question, id, namespace, gotErr, wantErr)
				}
			}
		}
	})
}

// Without this, a caller whose scopes cover nothing, for example because they are unreadable, sees something.
func TestScopesThatCoverNothingShowNothing(t *testing.T) {
	for name, scopes := range map[string][]Scope{
		"unreadable":             {{ResourceType: UnknownResource}},
		"unknown operations":     {{ResourceOrganization, "*", []Operation{UnknownOperation}}},
		"another organization's": {on(ResourceOrganization, "org_2"), on(ResourceOrganization, "int_2")},
		"execution only":         {{ResourceRetriever, "*", []Operation{ExecuteRetriever}}},
	} {
		for _, question := range []string{"Namespace", "Retriever", "Retrievers", "Key", "Node"} {
			for _, id := range []string{"ns_1", "ret_1", "key_1"} {
				got, err := questions[question](t.Context(), newService(fixture()), reader(scopes...), "shop", id)
				if code := codeOf(t, err); code != NotFound {
					t.Errorf("%s: %s of %s: %+v, %q", name, question, id, got, code)
				}
			}
		}
	}
}

// Without this, a store that is down looks empty.
func TestOutagesAreReported(t *testing.T) {
	for question, ask := range questions {
		if question == "Viewer" || question == "Retrievers, a bad page" { // these read nothing
			continue
		}
		store := fixture()
		store.down = Outage(errors.New("connection refused"))
		_, err := ask(t.Context(), newService(store), admin(), "shop", "ret_1")
		if got := codeOf(t, err); got != Unavailable {
			t.Errorf("%s: %q", question, got)
		}
	}
}

// Without this, a read that fails after others succeeded looks as if it had found nothing: NOT_FOUND, or a list that is too short.
func TestOutageOfOneReadIsReported(t *testing.T) {
	some := reader(on(ResourceRetriever, "*"))
	for _, tt := range []struct {
		question string
		caller   Caller
		id       string
		fails    string
	}{
		{"Namespace", admin(), "shop", "Namespaces"},
		{"Retriever", admin(), "ret_1", "Namespaces"},
		{"Retriever", admin(), "ret_1", "Retrievers"},
		{"Retriever", admin(), "search", "RetrieversNamed"},
		{"RetrieverIn", admin(), "ret_1", "Retrievers"},
		{"RetrieverIn", admin(), "search", "RetrieversNamed"},
		{"Retrievers", admin(), "", "Namespaces"},
		{"Retrievers", admin(), "", "RetrieverPage(26)"},
		{"Retrievers", some, "", "RetrieverPage(1000)"},
		{"Retrievers, two of them", admin(), "", "RetrieverPage(3)"},
		{"Retrievers, two of them", admin(), "", "CountRetrievers"},
		{"Key", admin(), "key_1", "Namespaces"},
		{"Key", admin(), "key_1", "Keys"},
		{"Key", admin(), "key_1", "Retrievers"},
		{"Node", admin(), "ret_1", "Keys"},
		{"Node", admin(), "key_1", "Retrievers"},
		{"Node", admin(), "ns_1", "Namespaces"},
		{"List", admin(), "", "KeyPages(1001)"},
	} {
		store := fixture()
		store.fails = tt.fails
		got, err := questions[tt.question](t.Context(), newService(store), tt.caller, "shop", tt.id)
		if code := codeOf(t, err); code != Unavailable {
			t.Errorf("%s of %q without %s: %+v, %q", tt.question, tt.id, tt.fails, got, code)
		}
	}
}

// Without this, Together returns success although a call failed, or returns the cancellation that the failure caused, or the other calls
// continue.
func TestTogetherReturnsTheFirstError(t *testing.T) {
	fault := errors.New("the first")
	var ended atomic.Int32
	err := Together(t.Context(), 5, func(ctx context.Context, i int) error {
		if i == 2 {
			return fault
		}
		<-ctx.Done()
		ended.Add(1)
		return Outage(ctx.Err())
	})
	if !errors.Is(err, fault) || ended.Load() != 4 {
		t.Errorf("got %v after %d other calls ended, want the first error after 4", err, ended.Load())
	}
}

// Without this, Together omits a call, repeats one, or cancels the context of calls that succeed.
func TestTogetherCallsEach(t *testing.T) {
	for _, n := range []int{0, 1, 2, 100} {
		calls := make([]atomic.Int32, n)
		err := Together(t.Context(), n, func(ctx context.Context, i int) error {
			calls[i].Add(1)
			return ctx.Err()
		})
		if err != nil {
			t.Errorf("%d: %v", n, err)
		}
		for i := range calls {
			if got := calls[i].Load(); got != 1 {
				t.Errorf("of %d calls, call %d was made %d times", n, i, got)
			}
		}
	}
}

// Without this, a panic in one read ends the process, because nobody else can recover a panic of another goroutine, or counts as success.
func TestTogetherSurvivesAPanic(t *testing.T) {
	for _, n := range []int{1, 2, 7} {
		err := Together(t.Context(), n, func(ctx context.Context, i int) error {
			if i == n-1 {
				panic("a bug")
			}
			<-ctx.Done()
			return ctx.Err()
		})
		if err == nil || !strings.Contains(err.Error(), "a bug") || Classify(err).Code != Internal || strings.Contains(Classify(err).Message, "a bug") {
			t.Errorf("%d: %v", n, err)
		}
	}
}

// A call that is canceled because a concurrent one met an outage must count as an outage, not as a client that left.
func TestTogetherTellsWhyItGivesUp(t *testing.T) {
	outage := Outage(errors.New("down"))
	waiting := make(chan struct{})
	var cause error
	err := Together(t.Context(), 2, func(ctx context.Context, i int) error {
		if i == 0 {
			<-waiting
			return outage
		}
		close(waiting)
		<-ctx.Done()
		cause = context.Cause(ctx)
		return ctx.Err()
	})
	if !errors.Is(err, outage) || !errors.Is(cause, outage) {
		t.Errorf("got %v, and the other call was canceled with the cause %v", err, cause)
	}
}

// Without this, a request whose client has disconnected continues to read.
func TestTogetherEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, n := range []int{1, 3} {
		err := Together(ctx, n, func(ctx context.Context, _ int) error {
			<-ctx.Done()
			return ctx.Err()
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%d: %v", n, err)
		}
	}
}
