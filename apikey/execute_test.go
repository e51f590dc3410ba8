package apikey

import (
	"errors"
	"slices"
	"testing"
)

// Each row says what one key may execute, and what that costs in reads after its authentication. Without this, a gateway lets a key through that was
// not made for the retriever, or one more read makes every request of a website slower.
func TestMayExecute(t *testing.T) {
	exact := Scope{ResourceRetriever, "ret_1", []Operation{ExecuteRetriever}}
	reading := func(s Scope) Scope { s.Operations = []Operation{ReadData}; return s }
	scopes := func(s ...Scope) func(*Key) { return func(k *Key) { k.Scopes = s } }
	permissions := func(p ...Permission) func(*Key) { return func(k *Key) { k.Permissions = p } }
	origins := func(o ...string) func(*Key) { return func(k *Key) { k.AllowedOrigins = append([]string{}, o...) } }
	const page = "https://shop.example.com"
	for name, c := range map[string]struct {
		key       func(*Key)
		retriever RetrieverID
		origin    string
		want      Refusal
		reads     string
	}{
		"its retriever":                       {scopes(exact), "ret_1", "", "", ""},
		"its retriever, operations unlimited": {scopes(on(ResourceRetriever, "ret_1")), "ret_1", "", "", ""},
		"one that nobody has":                 {scopes(on(ResourceRetriever, "ret_gone")), "ret_gone", "", "", ""}, // what executes looks it up
		"another":                             {scopes(exact), "ret_2", "", RefusedRetriever, ""},
		"the second of its scopes":            {scopes(on(ResourceRetriever, "ret_9"), exact), "ret_1", "", "", ""},
		"by name":                             {scopes(exact), "search", "", RefusedRetriever, ""},
		"no id":                               {scopes(exact), "", "", RefusedRetriever, ""},
		"no id, no scopes":                    {scopes(), "", "", RefusedRetriever, ""},
		"a scope without an id":               {scopes(on(ResourceRetriever, "")), "", "", RefusedRetriever, ""},
		"another case":                        {scopes(exact), "RET_1", "", RefusedRetriever, ""},

		"an operation that is missing":           {scopes(reading(exact)), "ret_1", "", RefusedOperation, ""},
		"an operation of another scope":          {scopes(reading(exact), exact), "ret_1", "", "", ""},
		"an operation of a wider scope":          {scopes(reading(exact), on(ResourceOrganization, "int_1")), "ret_1", "", "", "Retrievers"},
		"the same of a retriever that is gone":   {scopes(reading(on(ResourceRetriever, "ret_gone")), on(ResourceOrganization, "int_1")), "ret_gone", "", RefusedRetriever, "Retrievers"},
		"a wider scope without the operation":    {scopes(reading(on(ResourceOrganization, "int_1"))), "ret_1", "", RefusedOperation, "Retrievers"},
		"an operation that cannot be read":       {scopes(Scope{ResourceRetriever, "ret_1", []Operation{UnknownOperation}}), "ret_1", "", RefusedOperation, ""},
		"a resource type that cannot be read":    {scopes(Scope{UnknownResource, "ret_1", nil}), "ret_1", "", RefusedRetriever, ""},
		"a scope on something else with that id": {scopes(on(ResourceBucket, "ret_1")), "ret_1", "", RefusedRetriever, ""},

		"no scopes":                               {scopes(), "ret_1", "", "", "Retrievers"},
		"no scopes, absent":                       {scopes(), "ret_gone", "", RefusedRetriever, "Retrievers"},
		"no scopes, foreign":                      {scopes(), "ret_foreign", "", RefusedRetriever, "Retrievers"},
		"a pattern":                               {scopes(on(ResourceRetriever, "ret_*")), "ret_1", "", "", "Retrievers"},
		"a pattern, absent":                       {scopes(on(ResourceRetriever, "ret_*")), "ret_gone", "", RefusedRetriever, "Retrievers"},
		"a pattern, foreign":                      {scopes(on(ResourceRetriever, "*")), "ret_foreign", "", RefusedRetriever, "Retrievers"},
		"a pattern of others":                     {scopes(on(ResourceRetriever, "bot_*")), "ret_1", "", RefusedRetriever, ""},
		"a pattern, and its text as the id":       {scopes(on(ResourceRetriever, "ret_*")), "ret_*", "", RefusedRetriever, "Retrievers"},
		"its namespace":                           {scopes(on(ResourceNamespace, "ns_1")), "ret_1", "", "", "Retrievers"},
		"a pattern of namespaces":                 {scopes(on(ResourceNamespace, "ns_*")), "ret_6", "", "", "Retrievers"},
		"another namespace":                       {scopes(on(ResourceNamespace, "ns_2")), "ret_1", "", RefusedRetriever, "Retrievers"},
		"its organization by internal id":         {scopes(on(ResourceOrganization, "int_1")), "ret_1", "", "", "Retrievers"},
		"its organization by organization id":     {scopes(on(ResourceOrganization, "org_1")), "ret_1", "", "", "Retrievers"},
		"another organization":                    {scopes(on(ResourceOrganization, "int_2")), "ret_1", "", RefusedRetriever, ""},
		"an id that is not UTF-8":                 {scopes(), "ret_\xff", "", RefusedRetriever, ""},
		"its namespace, without the operation":    {scopes(reading(on(ResourceNamespace, "ns_1"))), "ret_1", "", RefusedOperation, "Retrievers"},
		"a pattern without, a namespace with it":  {scopes(reading(on(ResourceRetriever, "*")), on(ResourceNamespace, "ns_1")), "ret_1", "", "", "Retrievers"},
		"a pattern without, another namespace so": {scopes(reading(on(ResourceRetriever, "*")), on(ResourceNamespace, "ns_2")), "ret_1", "", RefusedOperation, "Retrievers"},

		"a stronger permission":            {permissions(Write), "ret_1", "", "", ""},
		"no permission":                    {permissions(), "ret_1", "", RefusedPermission, ""},
		"a permission that is not known":   {permissions(UnknownPermission, "execute"), "ret_1", "", RefusedPermission, ""},
		"a type that is not known":         {func(k *Key) { k.Type = "shiny" }, "ret_1", "", "", ""},
		"a type that cannot be read":       {func(k *Key) { k.Type = UnreadableType }, "ret_1", "", "", ""},
		"any origin":                       {func(*Key) {}, "ret_1", page, "", ""},
		"its origin":                       {origins(page), "ret_1", page, "", ""},
		"a subdomain":                      {origins("https://*.example.com"), "ret_1", page, "", ""},
		"another origin":                   {origins(page), "ret_1", "https://evil.example", RefusedOrigin, ""},
		"two origins":                      {origins(page), "ret_1", page + ", " + page, RefusedOrigin, ""},
		"no origin: not a page":            {origins(page), "ret_1", "", "", ""},
		"an opaque origin":                 {origins(page), "ret_1", "null", RefusedOrigin, ""},
		"origins that cannot be read":      {origins(), "ret_1", page, RefusedOrigin, ""},
		"revoked before all else":          {func(k *Key) { k.RevokedAt, k.AllowedOrigins, k.ExpiresAt = at(-1), []string{}, at(-2) }, "ret_9", page, RefusedRevoked, ""},
		"expired before its origins":       {func(k *Key) { k.ExpiresAt, k.AllowedOrigins = at(0), []string{} }, "ret_9", page, RefusedExpired, ""},
		"its origin before its permission": {func(k *Key) { k.AllowedOrigins, k.Permissions = []string{}, nil }, "ret_9", page, RefusedOrigin, ""},
		"its permission before its scopes": {func(k *Key) { k.Permissions = nil }, "ret_9", "", RefusedPermission, ""},
	} {
		t.Run(name, func(t *testing.T) {
			key := keyOf("key_1", func(k *Key) { k.Permissions, k.OrganizationID = []Permission{Read}, new("org_1") }, c.key)
			store := fixture()
			s := newService(store)
			s.Usage = newUsage(store)
			err := s.MayExecute(t.Context(), Caller{Key: &key}, c.retriever, c.origin)
			if got := store.reads(); got != c.reads {
				t.Errorf("got the reads %q, want %q", got, c.reads)
			}
			got := &Error{}
			switch errors.As(err, &got); {
			case c.want == RefusedRevoked || c.want == RefusedExpired:
				if got.Code != Unauthenticated || got.Reason != "" { // it looks like a key that does not exist
					t.Errorf("got %+v, want %s", got, Unauthenticated)
				}
			case c.want != "":
				if got.Code != Forbidden || got.Reason != c.want || got.Message == "" {
					t.Errorf("got %+v, want %s", got, c.want)
				}
			case err != nil:
				t.Error(err)
			}
			if refusal, err := s.refusesExecution(t.Context(), &key, Execution{Retriever: c.retriever, Origin: c.origin, At: noon}); refusal != c.want || err != nil {
				t.Errorf("got %q, %v, want %q", refusal, err, c.want)
			}
			// Check reads the retriever, which a gateway's platform does for an exact scope.
			checked := c.want
			if c.retriever == "ret_gone" {
				checked = RefusedRetriever
			}
			listed := projected([]Key{key}, CheckFields)
			if got, err := s.Check(t.Context(), reader(), []*Key{&listed[0]}, c.retriever, c.origin); err != nil || len(got) != 1 || got[0] != checked {
				t.Errorf("Check returns %q, %v, want %q", got, err, checked)
			}
			// Only a request that may pass is a use of the key.
			if noted := len(s.Usage.uses) == 1; noted != (c.want == "") {
				t.Errorf("got a recorded use: %t", noted)
			}
		})
	}
}

// Two retrievers with one id are a mistake in the data. Without this, a key for one of their namespaces executes the other.
func TestRetrieversThatShareAnID(t *testing.T) {
	store := fixture()
	store.retrievers = append(store.retrievers, Retriever{ID: "ret_1", NamespaceID: "ns_2", InternalID: "int_1"})
	s := newService(store)
	for _, c := range []struct {
		scopes []Scope
		want   Refusal
	}{
		{[]Scope{on(ResourceNamespace, "ns_1")}, RefusedRetriever},
		{[]Scope{on(ResourceNamespace, "ns_1"), on(ResourceNamespace, "ns_2")}, ""},
	} {
		got := &Error{}
		caller := reader(c.scopes...)
		caller.Key.Stored = Active
		err := s.MayExecute(t.Context(), caller, "ret_1", "")
		if errors.As(err, &got) != (c.want != "") || got.Reason != c.want {
			t.Errorf("%v: got %v, %q, want %q", c.scopes, err, got.Reason, c.want)
		}
	}
}

// Check says nothing about a retriever that the caller does not see, and reads it once for all keys.
func TestCheckOfManyKeys(t *testing.T) {
	all := func(id ID, scopes ...Scope) *Key {
		k := keyOf(id, func(k *Key) { k.Permissions, k.Scopes = []Permission{Read}, scopes })
		return &k
	}
	keys := []*Key{
		all("key_1", on(ResourceRetriever, "ret_6")), // exactly
		all("key_2", on(ResourceRetriever, "ret_*")),
		all("key_3", on(ResourceRetriever, "ret_1")),
		all("key_4", Scope{ResourceRetriever, "ret_6", []Operation{ReadData}}),
	}
	gone := []Refusal{RefusedRetriever, RefusedRetriever, RefusedRetriever, RefusedRetriever}
	for name, c := range map[string]struct {
		caller Caller
		id     RetrieverID
		want   []Refusal
		reads  string
	}{
		"seen":       {reader(), "ret_6", []Refusal{"", "", RefusedRetriever, RefusedOperation}, "Namespaces Retrievers"},
		"hidden":     {reader(on(ResourceRetriever, "ret_1")), "ret_6", gone, "Namespaces Retrievers"},
		"absent":     {reader(), "ret_gone", gone, "Retrievers"},
		"a name":     {reader(), "twin", gone, "Retrievers"},
		"another's":  {reader(), "ret_foreign", gone, "Retrievers"},
		"no id":      {reader(), "", gone, ""},
		"seen alone": {reader(on(ResourceRetriever, "ret_6")), "ret_6", []Refusal{"", "", RefusedRetriever, RefusedOperation}, "Namespaces Retrievers"},
	} {
		store := fixture()
		s := newService(store)
		s.Usage = newUsage(store)
		got, err := s.Check(t.Context(), c.caller, keys, c.id, "")
		reads := store.reads()
		if err != nil || !slices.Equal(got, c.want) || reads != c.reads || len(s.Usage.uses) > 0 {
			t.Errorf("%s: got %q, %v, the reads %q, and %d uses, want %q and %q", name, got, err, reads, len(s.Usage.uses), c.want, c.reads)
		}
	}
	store := fixture()
	for caller, want := range map[*Caller]Code{new(Caller{}): Unauthenticated, new(writer("")): Forbidden} {
		if _, err := newService(store).Check(t.Context(), *caller, keys, "ret_6", ""); codeOf(t, err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	store.fails = "Retrievers"
	if _, err := newService(store).Check(t.Context(), reader(), keys, "ret_6", ""); codeOf(t, err) != Unavailable {
		t.Errorf("got %v during an outage", err)
	}
}

// If the store cannot say whether the retriever exists, nobody passes, and nobody is refused for good.
func TestMayExecuteDuringAnOutage(t *testing.T) {
	store := fixture()
	store.fails = "Retrievers"
	s := newService(store)
	s.Usage = newUsage(store)
	c := reader()
	c.Key.Stored = Active
	if got := codeOf(t, s.MayExecute(t.Context(), c, "ret_1", "")); got != Unavailable {
		t.Errorf("got %q, want %s", got, Unavailable)
	}
	if len(s.Usage.uses) > 0 {
		t.Error("the use was recorded")
	}
}

// A token that is unknown costs the same reads as one that was revoked, has expired or is ambiguous. Without this, the time of an answer says whether
// a key exists.
func TestEveryInvalidKeyCostsTheSameReads(t *testing.T) {
	revoked, expired := mint(retrieverKeyPrefix), mint(retrieverKeyPrefix)
	twice := mint(retrieverKeyPrefix)
	store := &memory{keys: []Key{
		keyOf("key_1", func(k *Key) { k.Hash, k.RevokedAt = revoked.Hash(), at(-1) }),
		keyOf("key_2", func(k *Key) { k.Hash, k.ExpiresAt = expired.Hash(), at(-1) }),
		keyOf("key_3", func(k *Key) { k.Hash = twice.Hash() }),
		keyOf("key_4", func(k *Key) { k.Hash = twice.Hash() }),
	}}
	s := newService(store)
	var first error
	for name, token := range map[string]Secret{"revoked": revoked, "expired": expired, "ambiguous": twice, "unknown": mint(retrieverKeyPrefix)} {
		_, err := s.Authenticate(t.Context(), token.Reveal())
		if got := store.reads(); got != "KeysByHash" {
			t.Errorf("%s: got the reads %q, want KeysByHash", name, got)
		}
		if first == nil {
			first = err
		}
		if codeOf(t, err) != Unauthenticated || err.Error() != first.Error() {
			t.Errorf("%s: got %v, want %v", name, err, first)
		}
	}
}

// Deciding about a key that names its retriever needs no memory: it runs for every request of every website.
func TestTheExactScopeAllocatesNothing(t *testing.T) {
	key := keyOf("key_1", func(k *Key) { k.Permissions = []Permission{Read} })
	s, c := newService(fixture()), Caller{Key: &key}
	if n := testing.AllocsPerRun(100, func() {
		if err := s.MayExecute(t.Context(), c, "ret_1", ""); err != nil {
			t.Error(err)
		}
	}); n > 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}
