package apikey

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// writer returns a caller of int_1 with the permission, limited to the scopes, if there are any.
func writer(p Permission, scopes ...Scope) Caller {
	c := reader(scopes...)
	c.Key.ID, c.Key.Hash, c.Key.UserID, c.Key.Permissions = "key_writer", "hash of key_writer", "usr_writer", []Permission{p}
	return c
}

// codeAndField returns an error's code and field, as clients see them.
func codeAndField(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got an error of another package: %v", err)
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s", e.Code, e.Field))
}

func find(t *testing.T, m *memory, id ID) Key {
	t.Helper()
	i := slices.IndexFunc(m.keys, func(k Key) bool { return k.ID == id && k.InternalID == "int_1" })
	if i < 0 {
		t.Fatalf("no key %s is stored", id)
	}
	return m.keys[i]
}

// named returns settings with this name.
func named(name string) Settings { return Settings{Name: Given(&name)} }

// Without this, a key is stored that the vendor's clients cannot show, or an error does not name the field that is wrong.
func TestSettingsAreValidated(t *testing.T) {
	times := func(n int, s string) *string { s = strings.Repeat(s, n); return &s }
	var none Settings
	origins := func(n int, o string) Optional[[]string] { list := slices.Repeat([]string{o}, n); return Given(&list) }
	for name, tt := range map[string]struct {
		settings Settings
		want     string
	}{
		"nothing":                                  {none, ""},
		"a name of 100 characters":                 {named(*times(100, "é")), ""},
		"100 characters and spaces around them":    {named("  " + *times(100, "x") + "\t\n"), ""},
		"a name of 101 characters":                 {named(*times(101, "x")), "BAD_USER_INPUT name"},
		"no name":                                  {named(""), "BAD_USER_INPUT name"},
		"a name of spaces":                         {named(" \t "), "BAD_USER_INPUT name"},
		"a null name":                              {Settings{Name: Given[string](nil)}, "BAD_USER_INPUT name"},
		"a line break in a name":                   {named("a\nb"), "BAD_USER_INPUT name"},
		"a key in a name":                          {named("a " + mint(organizationKeyPrefix).Reveal()), "BAD_USER_INPUT name"},
		"a key in a description":                   {Settings{Description: Given(new("a\n" + mint(retrieverKeyPrefix).Reveal()))}, "BAD_USER_INPUT description"},
		"a key in an origin":                       {Settings{AllowedOrigins: origins(1, "https://"+mint(retrieverKeyPrefix).Reveal()+".a.example")}, "BAD_USER_INPUT allowedOrigins"},
		"a right-to-left override in a name":       {named("a\u202eb"), "BAD_USER_INPUT name"},
		"a line separator in a name":               {named("a\u2028b"), "BAD_USER_INPUT name"},
		"a joiner in a name's emoji":               {named("👩\u200d💻"), ""},
		"a description of 500 characters":          {Settings{Description: Given(times(500, "é"))}, ""},
		"a description of 501 characters":          {Settings{Description: Given(times(501, "x"))}, "BAD_USER_INPUT description"},
		"lines in a description":                   {Settings{Description: Given(new("a\r\n\tb"))}, ""},
		"an escape in a description":               {Settings{Description: Given(new("a\x1b[2J"))}, "BAD_USER_INPUT description"},
		"an expiry now":                            {Settings{ExpiresAt: Given(at(0))}, "BAD_USER_INPUT expiresAt"},
		"an expiry less than a millisecond later":  {Settings{ExpiresAt: Given(new(noon.Add(time.Millisecond - 1)))}, "BAD_USER_INPUT expiresAt"},
		"an expiry a millisecond later":            {Settings{ExpiresAt: Given(new(noon.Add(time.Millisecond)))}, ""},
		"50 origins":                               {Settings{AllowedOrigins: origins(50, "https://a.example")}, ""},
		"51 origins":                               {Settings{AllowedOrigins: origins(51, "https://a.example")}, "BAD_USER_INPUT allowedOrigins"},
		"an invalid origin":                        {Settings{AllowedOrigins: origins(1, "a.example")}, "BAD_USER_INPUT allowedOrigins"},
		"an origin with a path":                    {Settings{AllowedOrigins: origins(1, "https://a.example/")}, "BAD_USER_INPUT allowedOrigins"},
		"a name of invisible characters":           {named("\u200b\ufeff\u2060"), "BAD_USER_INPUT name"},
		"any origin":                               {Settings{AllowedOrigins: origins(1, "*")}, "BAD_USER_INPUT allowedOrigins"},
		"any subdomain":                            {Settings{AllowedOrigins: origins(1, "https://*.a.example")}, ""},
		"the latest expiry":                        {Settings{ExpiresAt: Given(new(time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC)))}, ""},
		"an expiry after the year 9999 in UTC":     {Settings{ExpiresAt: Given(new(time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("", -3600))))}, "BAD_USER_INPUT expiresAt"},
		"a name that is not UTF-8":                 {named("a\xff"), "BAD_USER_INPUT name"},
		"a description that is not UTF-8":          {Settings{Description: Given(new("\xc3"))}, "BAD_USER_INPUT description"},
		"a replacement character in a name":        {named("a\ufffd"), "BAD_USER_INPUT name"},
		"a replacement character in a description": {Settings{Description: Given(new("\ufffd"))}, "BAD_USER_INPUT description"},
		"a limit of 1":                             {Settings{RateLimitOverride: Given(new(1))}, ""},
		"a limit of 0":                             {Settings{RateLimitOverride: Given(new(0))}, "BAD_USER_INPUT rateLimitOverride"},
		"a limit below 0":                          {Settings{RateLimitOverride: Given(new(-1))}, "BAD_USER_INPUT rateLimitOverride"},
		"the largest limit":                        {Settings{RateLimitOverride: Given(new(math.MaxInt32))}, ""},
		"a limit above the largest":                {Settings{RateLimitOverride: Given(new(math.MaxInt32 + 1))}, "BAD_USER_INPUT rateLimitOverride"},
	} {
		store := fixture()
		before := slices.Clone(store.keys)
		_, err := newService(store).Update(t.Context(), writer(Write), "shop", "key_1", tt.settings)
		if got := codeAndField(t, err); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
		if err != nil && (cmp.Diff(before, store.keys) != "" || len(store.events) > 0) {
			t.Errorf("%s: refused, but something was written", name)
		}
		if tt.settings.Name.Given {
			_, err = newService(fixture()).Create(t.Context(), writer(Write), "shop", "ret_1", tt.settings)
			if got := codeAndField(t, err); got != tt.want {
				t.Errorf("%s: a new key: got %q, want %q", name, got, tt.want)
			}
		}
	}
	if _, err := newService(fixture()).Create(t.Context(), writer(Write), "shop", "ret_1", none); codeAndField(t, err) != "BAD_USER_INPUT name" {
		t.Errorf("a new key without a name: %v", err)
	}
}

// Without this, a new key can do more than execute its retriever, belongs to somebody else, or does not say who created it.
func TestCreate(t *testing.T) {
	store := fixture()
	c := writer(Write)
	c.Key.PrincipalID, c.Address, c.UserAgent = new("prn_1"), "203.0.113.9", "curl/8"
	expiry := noon.Add(time.Hour + 1)
	made, err := newService(store).Create(t.Context(), c, "shop", "search", Settings{
		Name: Given(new(" Partner ")), Description: Given(new("for them")), ExpiresAt: Given(&expiry),
		AllowedOrigins: Given(&[]string{"https://a.example"}), RateLimitOverride: Given(new(7)),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Key{
		ID: made.Key.ID, Hash: made.Secret.Hash(), Prefix: new(made.Secret.Prefix()), Type: RetrieverKey, InternalID: "int_1", OrganizationID: new("org_1"),
		UserID: "usr_writer", PrincipalID: new("prn_1"), Name: "Partner", Description: "for them", Permissions: []Permission{Read},
		Scopes:            []Scope{{ResourceRetriever, "ret_1", []Operation{ExecuteRetriever}}},
		RateLimitOverride: new(int32(7)), Stored: Active, ExpiresAt: new(noon.Add(time.Hour)), CreatedAt: at(0), CreatedBy: new("usr_writer"),
		AllowedOrigins: []string{"https://a.example"},
	}
	if diff := cmp.Diff(want, find(t, store, made.Key.ID)); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	want.Status = Active
	if diff := cmp.Diff(want, made.Key); diff != "" {
		t.Errorf("returned (-want +got):\n%s", diff)
	}
	if s, ok := Recognize(made.Secret.Reveal()); !ok || s.Hash() != want.Hash {
		t.Error("the plaintext is not a key")
	}
	event := Event{
		ID: store.events[0].ID, Timestamp: noon, Action: KeyCreated, ResourceType: ResourceAPIKey, ResourceID: string(made.Key.ID),
		ActorID: "usr_writer", ActorType: User, ActorKeyID: new(ID("key_writer")), Outcome: Success, IPAddress: new("203.0.113.9"), UserAgent: new("curl/8"),
		InternalID: "int_1", NamespaceID: "ns_1", RetrieverIDs: []RetrieverID{"ret_1"}, Changes: []FieldChange{
			{"name", nil, new("Partner")}, {"description", nil, new("for them")}, {"expires_at", nil, new("2026-01-02T13:00:00.000Z")},
			{"allowed_origins", nil, new(`["https://a.example"]`)}, {"rate_limit_override", nil, new("7")}, {"status", nil, new("active")},
		},
	}
	event.Changes[2].After = dateText(want.ExpiresAt)
	if diff := cmp.Diff([]Event{event}, store.events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// A client that sends null for fields without a value clears a key's limits. The payload must name the cleared fields.
func TestUpdateTellsWhatItCleared(t *testing.T) {
	everything := Settings{
		Description: Given[string](nil), ExpiresAt: Given[time.Time](nil), AllowedOrigins: Given[[]string](nil), RateLimitOverride: Given[int](nil),
	}
	for name, tt := range map[string]struct {
		settings Settings
		cleared  []string
	}{
		"nothing":                {named("new"), []string{}},
		"everything":             {everything, []string{"description", "expiresAt", "allowedOrigins", "rateLimitOverride"}},
		"an expiry":              {Settings{ExpiresAt: Given[time.Time](nil)}, []string{"expiresAt"}},
		"fields that are empty":  {Settings{Description: Given(new("")), AllowedOrigins: Given(&[]string{})}, []string{"description", "allowedOrigins"}},
		"fields with new values": {Settings{ExpiresAt: Given(at(50)), RateLimitOverride: Given(new(9))}, []string{}},
	} {
		store := fixture()
		k := &store.keys[0]
		k.Description, k.ExpiresAt, k.AllowedOrigins, k.RateLimitOverride = "old", at(100), []string{"https://old.example"}, new(int32(3))
		for _, want := range [][]string{tt.cleared, {}} { // the second time there is nothing left to clear
			got, err := newService(store).Update(t.Context(), writer(Admin), "shop", "key_1", tt.settings)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff(want, got.Cleared); diff != "" {
				t.Errorf("%s: cleared (-want +got):\n%s", name, diff)
			}
		}
	}
}

// Imported texts are not checked. Without this, removing a key from one of them would put it into the trail, which nobody can change.
func TestChangesOfTextsHideKeys(t *testing.T) {
	secret := mint(retrieverKeyPrefix)
	store := fixture()
	store.keys[0].Name, store.keys[0].Description = "a "+secret.Reveal(), "sk_Team1Production"
	store.keys[0].AllowedOrigins = []string{"https://" + secret.Reveal()}
	settings := Settings{Name: Given(new("b")), Description: Given(new("c")), AllowedOrigins: Given[[]string](nil)}
	if _, err := newService(store).Update(t.Context(), writer(Write), "shop", "key_1", settings); err != nil {
		t.Fatal(err)
	}
	var got []FieldChange
	for _, e := range store.events {
		got = append(got, e.Changes...)
	}
	want := []FieldChange{
		{"name", new("a " + secret.Prefix()), new("b")}, {"description", new("sk_Team1Production"), new("c")},
		{"allowed_origins", new(`["https://` + secret.Prefix() + `"]`), nil},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Without this, an update clears fields that it was not given, or cannot clear a limit.
func TestUpdateChangesWhatIsGiven(t *testing.T) {
	full := func(k *Key) {
		k.Name, k.Description, k.ExpiresAt = "old", "old", at(100)
		k.AllowedOrigins, k.RateLimitOverride = []string{"https://old.example"}, new(int32(3))
	}
	for name, tt := range map[string]struct {
		settings Settings
		edit     func(*Key)
		changed  string
	}{
		"a name":                               {named(" new "), func(k *Key) { k.Name = "new" }, "name"},
		"no description":                       {Settings{Description: Given[string](nil)}, func(k *Key) { k.Description = "" }, "description"},
		"an expiry":                            {Settings{ExpiresAt: Given(at(50))}, func(k *Key) { k.ExpiresAt = at(50) }, "expires_at"},
		"no expiry":                            {Settings{ExpiresAt: Given[time.Time](nil)}, func(k *Key) { k.ExpiresAt = nil }, "expires_at"},
		"other origins":                        {Settings{AllowedOrigins: Given(&[]string{"https://*.example"})}, func(k *Key) { k.AllowedOrigins = []string{"https://*.example"} }, "allowed_origins"},
		"no origins":                           {Settings{AllowedOrigins: Given[[]string](nil)}, func(k *Key) { k.AllowedOrigins = nil }, "allowed_origins"},
		"an empty list":                        {Settings{AllowedOrigins: Given(&[]string{})}, func(k *Key) { k.AllowedOrigins = nil }, "allowed_origins"},
		"another limit":                        {Settings{RateLimitOverride: Given(new(4))}, func(k *Key) { k.RateLimitOverride = new(int32(4)) }, "rate_limit_override"},
		"no limit":                             {Settings{RateLimitOverride: Given[int](nil)}, func(k *Key) { k.RateLimitOverride = nil }, "rate_limit_override"},
		"two things":                           {Settings{Name: Given(new("new")), RateLimitOverride: Given(new(3))}, func(k *Key) { k.Name = "new" }, "name"},
		"nothing":                              {Settings{}, func(*Key) {}, ""},
		"the same values":                      {Settings{Name: Given(new("old")), ExpiresAt: Given(at(100))}, func(*Key) {}, ""},
		"the same values, written differently": {Settings{Name: Given(new("old ")), ExpiresAt: Given(new(at(100).Add(999)))}, func(*Key) {}, ""},
	} {
		store := fixture()
		full(&store.keys[0])
		want := store.keys[0]
		tt.edit(&want)
		got, err := newService(store).Update(t.Context(), writer(Write), "shop", "key_1", tt.settings)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if tt.changed != "" {
			want.Revision++
		}
		if diff := cmp.Diff(want, find(t, store, "key_1")); diff != "" {
			t.Errorf("%s: stored (-want +got):\n%s", name, diff)
		}
		new(Policy).asOf(&want, noon)
		if diff := cmp.Diff(want, got.Key); diff != "" {
			t.Errorf("%s: returned (-want +got):\n%s", name, diff)
		}
		var changed []string
		for _, e := range store.events {
			for _, c := range e.Changes {
				changed = append(changed, c.Field)
			}
		}
		if all := strings.Join(changed, " "); all != tt.changed || len(store.events) != min(1, len(tt.changed)) {
			t.Errorf("%s: the trail has changes to %q, want %q, in %d events", name, all, tt.changed, len(store.events))
		}
	}
}

// An unreadable field must not be overwritten with the value that it was read as. Otherwise renaming a key would remove its limits.
func TestUpdateWritesNoMoreThanItIsGiven(t *testing.T) {
	store := &recording{memory: fixture()}
	_, err := newService(store).Update(t.Context(), writer(Write), "shop", "key_1", Settings{Name: Given(new("new")), ExpiresAt: Given(at(9))})
	if err != nil || len(store.changes) != 1 || store.changes[0].Fields != FieldName|FieldExpiresAt {
		t.Errorf("%v, %+v", err, store.changes)
	}
}

// recording is a store that records changes. It calls before ahead of each write, so that a test can make a concurrent change.
type recording struct {
	*memory
	changes []Change
	before  func(try int) // called before each change is written
}

func (r *recording) ChangeKey(ctx context.Context, c Change) (bool, error) {
	if r.before != nil {
		r.before(len(r.changes))
	}
	r.changes = append(r.changes, c)
	return r.memory.ChangeKey(ctx, c)
}

// Without this, a revoked or expired key can be changed or become active again.
func TestOnlyActiveKeysChange(t *testing.T) {
	for name, tt := range map[string]struct {
		edit func(*Key)
		want string
	}{
		"revoked":                  {func(k *Key) { k.Stored = Revoked }, "revoked"},
		"stored as expired":        {func(k *Key) { k.Stored = Expired }, "expired"},
		"expired":                  {func(k *Key) { k.ExpiresAt = at(0) }, "expired"},
		"expired and revoked":      {func(k *Key) { k.ExpiresAt, k.Stored = at(-1), Revoked }, "revoked"},
		"active for a millisecond": {func(k *Key) { k.ExpiresAt = new(noon.Add(time.Millisecond)) }, ""},
		"active, and once used":    {func(k *Key) { k.LastUsedAt = at(-5) }, ""},
		"revoked by its date":      {func(k *Key) { k.RevokedAt = at(-5) }, "revoked"},
	} {
		for action, change := range map[string]func(*Service) error{
			"update": func(s *Service) error {
				_, err := s.Update(t.Context(), writer(Write), "shop", "key_1", named("new"))
				return err
			},
			"rotate": func(s *Service) error {
				_, err := s.Rotate(t.Context(), writer(Write), "shop", "key_1", time.Hour, nil)
				return err
			},
		} {
			store := fixture()
			tt.edit(&store.keys[0])
			before := slices.Clone(store.keys)
			err := change(newService(store))
			if tt.want == "" {
				if err != nil {
					t.Errorf("%s: %s: %v", name, action, err)
				}
				continue
			}
			if got := codeAndField(t, err); got != "CONFLICT" || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %s: %v", name, action, err)
			}
			if cmp.Diff(before, store.keys) != "" || len(store.events) > 0 {
				t.Errorf("%s: %s: refused, but something was written", name, action)
			}
		}
	}
}

// Without this, a revoked key keeps working, an expired one cannot be revoked for certain, or the second of two people who revoke a key
// gets an error.
func TestRevoke(t *testing.T) {
	store := fixture()
	s := newService(store)
	for _, id := range []ID{"key_1", "key_2"} { // key_2 has expired
		want := find(t, store, id)
		want.Stored, want.RevokedAt, want.RevokedBy, want.Revision = Revoked, at(0), new("usr_writer"), 1
		for range 2 {
			got, err := s.Revoke(t.Context(), writer(Delete), "shop", id, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, find(t, store, id)); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
			shown := want
			shown.Status = Revoked
			if diff := cmp.Diff(shown, *got); diff != "" {
				t.Errorf("returned (-want +got):\n%s", diff)
			}
			s.Now = func() time.Time { return noon.Add(time.Hour) }
		}
		s.Now = frozen
	}
	if n := len(store.events); n != 2 || store.events[0].Action != KeyRevoked || cmp.Diff(store.events[1].Changes, []FieldChange{{"status", new("expired"), new("revoked")}}) != "" {
		t.Errorf("%d events: %+v", n, store.events)
	}
}

// Without this, the successor has other rights than the old key, or the old key works for longer than the requested overlap.
func TestRotate(t *testing.T) {
	expiry := at(1000)
	for name, tt := range map[string]struct {
		overlap time.Duration
		expires *time.Time
		want    func(*Key)
		changed string
	}{
		"at once":         {0, expiry, func(k *Key) { k.Stored, k.RevokedAt, k.RevokedBy = Revoked, at(0), new("usr_writer") }, "status rotated_to"},
		"with an overlap": {time.Minute, nil, func(k *Key) { k.ExpiresAt = at(60) }, "expires_at rotated_to"},
		"with an overlap that ends before the key": {time.Minute, expiry, func(k *Key) { k.ExpiresAt = at(60) }, "expires_at rotated_to"},
		"with an overlap that ends with the key":   {1000 * time.Second, expiry, func(*Key) {}, "rotated_to"},
		"with an overlap that ends after the key":  {MaxOverlap, expiry, func(*Key) {}, "rotated_to"},
	} {
		store := fixture()
		old := &store.keys[0]
		old.ExpiresAt, old.Name, old.Description, old.UserID, old.CreatedBy = tt.expires, "Partner", "theirs", "usr_old", new("usr_older")
		old.Permissions, old.AllowedOrigins, old.RateLimitOverride, old.LastUsedAt = []Permission{Read}, []string{"https://a.example"}, new(int32(5)), at(-50)
		old.OrganizationID, old.PrincipalID, old.SubscriptionID, old.Revision, old.RotatedFrom = new("org_1"), new("prn"), new("sub"), 4, new(ID("key_0"))
		old.IsInternal = true
		before := *old
		got, err := newService(store).Rotate(t.Context(), writer(Write), "shop", "key_1", tt.overlap, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Key.ID == before.ID || got.Key.Hash == before.Hash || got.Secret.Hash() != got.Key.Hash {
			t.Errorf("%s: the successor is %s %s", name, got.Key.ID, got.Key.Hash)
		}
		successor := before
		successor.ID, successor.Hash, successor.Prefix, successor.Revision = got.Key.ID, got.Key.Hash, new(got.Secret.Prefix()), 0
		successor.CreatedAt, successor.CreatedBy, successor.LastUsedAt, successor.RotatedFrom = at(0), new("usr_writer"), nil, new(ID("key_1"))
		successor.UserID = "usr_writer"    // the caller, who gets the plaintext
		successor.Budget = "hash of key_1" // because key_0 does not exist
		if diff := cmp.Diff(successor, find(t, store, got.Key.ID)); diff != "" {
			t.Errorf("%s: the successor (-want +got):\n%s", name, diff)
		}
		previous := before
		tt.want(&previous)
		previous.RotatedTo, previous.Revision = &got.Key.ID, 5
		if diff := cmp.Diff(previous, find(t, store, "key_1")); diff != "" {
			t.Errorf("%s: the old key (-want +got):\n%s", name, diff)
		}
		new(Policy).asOf(&previous, noon)
		new(Policy).asOf(&successor, noon)
		if diff := cmp.Diff([]Key{successor, previous}, []Key{got.Key, got.Previous}); diff != "" {
			t.Errorf("%s: returned (-want +got):\n%s", name, diff)
		}
		var changed []string
		for _, c := range store.events[0].Changes {
			changed = append(changed, c.Field)
		}
		if all := strings.Join(changed, " "); all != tt.changed || len(store.events) != 1 || store.events[0].ResourceID != "key_1" {
			t.Errorf("%s: the trail has changes to %q, want %q, in %d events", name, all, tt.changed, len(store.events))
		}
		if _, err := newService(store).Rotate(t.Context(), writer(Write), "shop", "key_1", time.Hour, nil); codeAndField(t, err) != "CONFLICT" {
			t.Errorf("%s: rotated again: %v", name, err)
		}
	}
}

// Without this, rotations keep a key alive for longer than allowed, or copy limits that cannot be read.
func TestRotateRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		overlap time.Duration
		edit    func(*Key)
		want    string
	}{
		"an overlap below zero":          {-1, func(*Key) {}, "BAD_USER_INPUT overlapSeconds"},
		"an overlap beyond 30 days":      {MaxOverlap + 1, func(*Key) {}, "BAD_USER_INPUT overlapSeconds"},
		"an overlap of 30 days":          {MaxOverlap, func(*Key) {}, ""},
		"a bad overlap of a revoked key": {-1, func(k *Key) { k.Stored = Revoked }, "BAD_USER_INPUT overlapSeconds"},
		"rotated already":                {0, func(k *Key) { k.RotatedTo = new(ID("key_2")) }, "CONFLICT"},
		"an unknown type":                {0, func(k *Key) { k.Type = "robot" }, "CONFLICT"},
		"an unreadable type":             {0, func(k *Key) { k.Type = UnreadableType }, "CONFLICT"},
		"a user-scoped key":              {0, func(k *Key) { k.Type = UserScoped }, "CONFLICT"},
		"a session's key":                {0, func(k *Key) { k.Type = Session }, "CONFLICT"},
		"a subscription's":               {0, func(k *Key) { k.Type = MarketplaceSubscription }, ""},
		"unreadable origins":             {0, func(k *Key) { k.AllowedOrigins = []string{} }, "CONFLICT"},
		"an unknown resource":            {0, func(k *Key) { k.Scopes = append(k.Scopes, on("galaxy", "")) }, "CONFLICT"},
		"an unreadable resource":         {0, func(k *Key) { k.Scopes = append(k.Scopes, on(UnknownResource, "")) }, "CONFLICT"},
		"an unknown operation":           {0, func(k *Key) { k.Scopes[0].Operations = []Operation{ExecuteRetriever, "fly"} }, "CONFLICT"},
		"an unreadable operation":        {0, func(k *Key) { k.Scopes[0].Operations = []Operation{UnknownOperation} }, "CONFLICT"},
		"an unknown permission":          {0, func(k *Key) { k.Permissions = append(k.Permissions, "fly") }, "CONFLICT"},
		"an organization's key":          {0, func(k *Key) { k.Type = Standard }, ""},
	} {
		store := fixture()
		tt.edit(&store.keys[0])
		_, err := newService(store).Rotate(t.Context(), writer(Admin), "shop", "key_1", tt.overlap, nil)
		if got := codeAndField(t, err); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	store := fixture()
	store.keys[0].Permissions = []Permission{UnknownPermission}
	if _, err := newService(store).Rotate(t.Context(), writer(Admin), "shop", "key_1", 0, nil); codeAndField(t, err) == "" {
		t.Error("a key with an unreadable permission was copied")
	}
	store = fixture()
	store.keys[0].Type = Standard
	if got, err := newService(store).Rotate(t.Context(), writer(Admin), "shop", "key_1", 0, nil); err != nil || !strings.HasPrefix(got.Secret.Reveal(), "sk_") {
		t.Errorf("an organization's key: %v", err)
	}
}

// Of two concurrent changes, one wins and the other fails. A revocation always succeeds, because nobody should have to repeat it in an
// emergency.
func TestLostRaces(t *testing.T) {
	for name, change := range map[string]func(*Service) error{
		"update": func(s *Service) error {
			_, err := s.Update(t.Context(), writer(Delete), "shop", "key_1", named("mine"))
			return err
		},
		"rotate": func(s *Service) error {
			_, err := s.Rotate(t.Context(), writer(Delete), "shop", "key_1", 0, nil)
			return err
		},
		"revoke": func(s *Service) error {
			_, err := s.Revoke(t.Context(), writer(Delete), "shop", "key_1", nil)
			return err
		},
	} {
		store := &recording{memory: fixture()}
		theirs := newService(store.memory)
		const others = 3
		store.before = func(try int) {
			if try < others {
				if _, err := theirs.Update(t.Context(), writer(Write), "shop", "key_1", named(fmt.Sprintf("theirs %d", try))); err != nil {
					t.Error(err)
				}
			}
		}
		err := change(newService(store))
		stored := find(t, store.memory, "key_1")
		if name == "revoke" {
			if err != nil || len(store.changes) != others+1 || stored.Stored != Revoked || stored.Name != "theirs 2" {
				t.Errorf("%s: %v after %d tries: %+v", name, err, len(store.changes), stored)
			}
			continue
		}
		if codeAndField(t, err) != "CONFLICT" || len(store.changes) != 1 || stored.Name != "theirs 0" || stored.RotatedTo != nil || len(store.events) != 1 {
			t.Errorf("%s: %v after %d tries: %+v", name, err, len(store.changes), stored)
		}
	}

	// If the other change was a revocation too, nothing is left to do.
	store := &recording{memory: fixture()}
	store.before = func(int) {
		if _, err := newService(store.memory).Revoke(t.Context(), writer(Admin), "shop", "key_1", nil); err != nil {
			t.Error(err)
		}
	}
	if k, err := newService(store).Revoke(t.Context(), writer(Delete), "shop", "key_1", nil); err != nil || k.Status != Revoked || len(store.events) != 1 {
		t.Errorf("%v, %d events", err, len(store.events))
	}

	// A key that never stops changing cannot keep a request waiting forever.
	store = &recording{memory: fixture()}
	store.before = func(int) { store.keys[0].Revision++ }
	if _, err := newService(store).Revoke(t.Context(), writer(Delete), "shop", "key_1", nil); codeAndField(t, err) != "CONFLICT" || len(store.changes) != manyTries {
		t.Errorf("%v after %d tries", err, len(store.changes))
	}
}

// changes4 are the four changes. Each changes key_1 or, for a creation, adds a key to its retriever.
var changes4 = map[Action]func(context.Context, *Service, Caller, string) error{ //nolint:exhaustive // a notice is not a change
	KeyCreated: func(ctx context.Context, s *Service, c Caller, ns string) error {
		_, err := s.Create(ctx, c, ns, "ret_1", named("new"))
		return err
	},
	KeyUpdated: func(ctx context.Context, s *Service, c Caller, ns string) error {
		_, err := s.Update(ctx, c, ns, "key_1", named("new"))
		return err
	},
	KeyRotated: func(ctx context.Context, s *Service, c Caller, ns string) error {
		_, err := s.Rotate(ctx, c, ns, "key_1", 0, nil)
		return err
	},
	KeyRevoked: func(ctx context.Context, s *Service, c Caller, ns string) error {
		_, err := s.Revoke(ctx, c, ns, "key_1", nil)
		return err
	},
}

// Without this, a key does more than its permissions allow, or rotates a stronger key and thereby gets its rights.
func TestWhoMayChangeWhat(t *testing.T) {
	ladder := []Permission{Read, Write, Delete, Admin}
	for _, of := range append([]Permission{""}, ladder...) { // the permissions of key_1
		for i, held := range ladder {
			for action, change := range changes4 {
				need := map[Action]Permission{KeyCreated: Write, KeyUpdated: Write, KeyRotated: Write, KeyRevoked: Delete}[action] //nolint:exhaustive // a notice is not a change
				if (action == KeyUpdated || action == KeyRotated) && slices.Index(ladder, of) > slices.Index(ladder, need) {
					need = of
				}
				want := ""
				if i < slices.Index(ladder, need) {
					want = "FORBIDDEN"
				}
				store := fixture()
				if of != "" {
					store.keys[0].Permissions = []Permission{Read, of, Read}
				}
				if got := codeAndField(t, change(t.Context(), newService(store), writer(held), "shop")); got != want {
					t.Errorf("%s by %s of a key with %q: %q, want %q", action, held, of, got, want)
				}
			}
		}
	}
}

// Without this, a key that is limited to one namespace changes a key that also reaches another.
func TestWhichScopesMayChangeWhat(t *testing.T) {
	manage := func(t ResourceType, id string) Scope {
		return Scope{t, id, []Operation{ReadData, ManagePermissions}}
	}
	for name, tt := range map[string]struct {
		caller []Scope
		key    []Scope
		want   string // for update, rotate and revoke
		create string
	}{
		"no limits":                                         {nil, nil, "", ""},
		"the retriever":                                     {[]Scope{manage(ResourceRetriever, "ret_1")}, nil, "", ""},
		"the retriever, with all operations":                {[]Scope{on(ResourceRetriever, "ret_1")}, nil, "", ""},
		"all retrievers":                                    {[]Scope{manage(ResourceRetriever, "*")}, nil, "", ""},
		"the namespace":                                     {[]Scope{manage(ResourceNamespace, "ns_1")}, nil, "", ""},
		"the organization":                                  {[]Scope{manage(ResourceOrganization, "org_1")}, nil, "", ""},
		"the namespace, to read only":                       {[]Scope{{ResourceNamespace, "ns_1", []Operation{ReadData}}}, nil, "FORBIDDEN", "FORBIDDEN"},
		"the namespace, to manage only":                     {[]Scope{{ResourceNamespace, "ns_1", []Operation{ManagePermissions}}}, nil, "NOT_FOUND", "NOT_FOUND"},
		"another namespace":                                 {[]Scope{manage(ResourceNamespace, "ns_2")}, nil, "NOT_FOUND", "NOT_FOUND"},
		"one of the key's two retrievers":                   {[]Scope{manage(ResourceRetriever, "ret_1")}, []Scope{on(ResourceRetriever, "ret_1"), on(ResourceRetriever, "ret_2")}, "FORBIDDEN", ""},
		"both of the key's retrievers":                      {[]Scope{manage(ResourceRetriever, "ret_1"), manage(ResourceRetriever, "ret_2")}, []Scope{on(ResourceRetriever, "ret_1"), on(ResourceRetriever, "ret_2")}, "", ""},
		"the namespace of both retrievers":                  {[]Scope{manage(ResourceNamespace, "ns_1")}, []Scope{on(ResourceRetriever, "ret_1"), on(ResourceRetriever, "ret_2")}, "", ""},
		"one of the key's two namespaces":                   {[]Scope{manage(ResourceNamespace, "ns_1")}, []Scope{on(ResourceRetriever, "ret_1"), on(ResourceRetriever, "ret_6")}, "FORBIDDEN", ""},
		"both of the key's namespaces":                      {[]Scope{manage(ResourceNamespace, "ns_*")}, []Scope{on(ResourceRetriever, "ret_1"), on(ResourceRetriever, "ret_6")}, "", ""},
		"the namespace, but not the key's absent retriever": {[]Scope{manage(ResourceNamespace, "ns_1")}, []Scope{on(ResourceRetriever, "ret_1"), on(ResourceRetriever, "ret_gone")}, "FORBIDDEN", ""},
		"the organization, with an absent retriever":        {[]Scope{manage(ResourceOrganization, "int_1")}, []Scope{on(ResourceRetriever, "ret_1"), on(ResourceRetriever, "ret_gone")}, "", ""},
		"the namespace in the key's scope":                  {[]Scope{manage(ResourceNamespace, "ns_1")}, []Scope{on(ResourceRetriever, "ret_1"), on(ResourceNamespace, "ns_1")}, "", ""},
		"another namespace than in the key's scope":         {[]Scope{manage(ResourceNamespace, "ns_1")}, []Scope{on(ResourceRetriever, "ret_1"), on(ResourceNamespace, "ns_2")}, "FORBIDDEN", ""},
		"less than the key's pattern":                       {[]Scope{manage(ResourceNamespace, "ns_1")}, []Scope{on(ResourceRetriever, "ret_1"), on(ResourceRetriever, "ret_*")}, "FORBIDDEN", ""},
		"the same pattern as the key":                       {[]Scope{manage(ResourceNamespace, "ns_*")}, []Scope{on(ResourceRetriever, "ret_1"), on(ResourceNamespace, "ns_*")}, "FORBIDDEN", ""},
		"less than the key's collection":                    {[]Scope{manage(ResourceNamespace, "ns_1")}, []Scope{on(ResourceRetriever, "ret_1"), on(ResourceCollection, "col_1")}, "FORBIDDEN", ""},
		"the organization of the key's collection":          {[]Scope{manage(ResourceOrganization, "org_1")}, []Scope{on(ResourceRetriever, "ret_1"), on(ResourceCollection, "col_1")}, "", ""},
		"less than the key's organization":                  {[]Scope{manage(ResourceNamespace, "ns_1")}, []Scope{on(ResourceRetriever, "ret_1"), on(ResourceOrganization, "int_1")}, "FORBIDDEN", ""},
	} {
		for action, change := range changes4 {
			store := fixture()
			if tt.key != nil {
				store.keys[0].Scopes = tt.key
			}
			want := tt.want
			if action == KeyCreated {
				want = tt.create
			}
			if got := codeAndField(t, change(t.Context(), newService(store), writer(Admin, tt.caller...), "shop")); got != want {
				t.Errorf("%s by a caller who manages %s: got %q, want %q", action, name, got, want)
			}
		}
	}
}

// Without this, a caller rotates a key that can do more than the caller's own, and holds the successor.
func TestStrongerOperationsStayOutOfReach(t *testing.T) {
	managing := []Operation{ReadData, ManagePermissions}
	for name, tt := range map[string]struct {
		kind       Type
		has, holds []Operation
		want       string
	}{
		"less":                                {Standard, []Operation{ReadData}, managing, ""},
		"the same":                            {Standard, managing, managing, ""},
		"more":                                {Standard, []Operation{ReadData, DeleteData}, managing, "FORBIDDEN"},
		"all":                                 {Standard, nil, managing, "FORBIDDEN"},
		"all, like the caller":                {Standard, nil, nil, ""},
		"something unknown":                   {Standard, []Operation{UnknownOperation}, managing, "FORBIDDEN"},
		"an operation of the caller, unknown": {Standard, []Operation{"fly"}, []Operation{ReadData, ManagePermissions, "fly"}, "FORBIDDEN"},
		"an operation of the caller, empty":   {Standard, []Operation{""}, []Operation{ReadData, ManagePermissions, ""}, "FORBIDDEN"},
		"all, of a caller with an empty operation": {Standard, nil, []Operation{ReadData, ManagePermissions, ""}, "FORBIDDEN"},
		"to execute":                       {Standard, []Operation{ExecuteRetriever}, managing, "FORBIDDEN"},
		"to execute, of a retriever's key": {RetrieverKey, []Operation{ExecuteRetriever}, managing, ""},
		"all, of a retriever's key":        {RetrieverKey, nil, managing, ""},
		"more, of a marketplace key":       {MarketplaceSubscription, []Operation{WriteData}, managing, "FORBIDDEN"},
		"more, of an unreadable type":      {UnreadableType, []Operation{WriteData}, managing, "FORBIDDEN"},
	} {
		for action, change := range changes4 {
			want := tt.want
			if action == KeyCreated || action == KeyRevoked {
				want = ""
			}
			store := fixture()
			store.keys[0].Type, store.keys[0].Scopes[0].Operations = tt.kind, tt.has
			err := change(t.Context(), newService(store), writer(Admin, Scope{ResourceNamespace, "ns_1", tt.holds}), "shop")
			if got := codeAndField(t, err); got != want && (want != "" || got != "CONFLICT") {
				t.Errorf("%s of a key with the operations %s: got %q, want %q", action, name, got, want)
			}
		}
	}
}

// A rotated key must expire when its rotation said it would.
func TestOverlapIsNotPutOff(t *testing.T) {
	for name, tt := range map[string]struct {
		to   *time.Time
		want string
	}{
		"never": {nil, "CONFLICT"}, "later": {at(61), "CONFLICT"}, "the same": {at(60), ""}, "earlier": {at(5), ""},
	} {
		store := fixture()
		s := newService(store)
		if _, err := s.Rotate(t.Context(), writer(Write), "shop", "key_1", time.Minute, nil); err != nil {
			t.Fatal(err)
		}
		_, err := s.Update(t.Context(), writer(Write), "shop", "key_1", Settings{ExpiresAt: Given(tt.to)})
		if got := codeAndField(t, err); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// A request that was admitted and then delayed must not change anything after its key is revoked.
func TestRevokedCallersChangeNothing(t *testing.T) {
	for action, change := range changes4 {
		for name, edit := range map[string]func(*Key){
			"revoked": func(k *Key) { k.Stored = Revoked },
			"expired": func(k *Key) { k.ExpiresAt = at(0) },
			"gone":    func(k *Key) { k.Hash = "another" },
		} {
			store := fixture()
			edit(&store.keys[slices.IndexFunc(store.keys, func(k Key) bool { return k.ID == "key_writer" })])
			before := slices.Clone(store.keys)
			err := change(t.Context(), newService(store), writer(Admin), "shop")
			if codeAndField(t, err) != "UNAUTHENTICATED" || cmp.Diff(before, store.keys) != "" || len(store.events) > 0 {
				t.Errorf("%s by a caller whose key is %s: %v", action, name, err)
			}
		}
	}
}

// Checks run in this order: is the caller known, can the caller see the key, may the caller change it, is the input valid. In another
// order, errors would reveal what exists.
func TestOrderOfRefusals(t *testing.T) {
	bad := Settings{Name: Given(new(""))}
	for _, tt := range []struct {
		name   string
		caller Caller
		ns     string
		id     ID
		want   string
	}{
		{"an anonymous caller", Caller{}, "absent", "absent", "UNAUTHENTICATED"},
		{"no permission", writer(""), "absent", "absent", "FORBIDDEN"},
		{"no namespace", writer(Read), "", "key_1", "FORBIDDEN"},
		{"no namespace, and a key whose retriever is gone", writer(Write), "", "key_gone", "NOT_FOUND"},
		{"no namespace, and a key whose retriever is gone, for an admin", writer(Admin), "", "key_gone", "BAD_USER_INPUT name"},
		{"no namespace, and a bad name", writer(Write), "", "key_1", "BAD_USER_INPUT name"},
		{"no namespace and an absent key", writer(Admin), "", "absent", "NOT_FOUND"},
		{"no namespace and an empty id", writer(Admin), "", "", "NOT_FOUND"},
		{"no namespace, and another organization's key", writer(Admin), "", "key_foreign", "NOT_FOUND"},
		{"an absent namespace", writer(Read), "absent", "key_1", "NOT_FOUND"},
		{"an absent key", writer(Read), "shop", "absent", "NOT_FOUND"},
		{"another organization's key", writer(Admin), "shop", "key_foreign", "NOT_FOUND"},
		{"another namespace's key", writer(Admin), "blog", "key_1", "NOT_FOUND"},
		{"a key whose retriever does not exist", writer(Admin), "shop", "key_gone", "NOT_FOUND"},
		{"a key whose scope is a pattern", writer(Admin), "shop", "key_pattern", "NOT_FOUND"},
		{"a key of no retriever", writer(Admin), "shop", "key_admin", "NOT_FOUND"},
		{"an empty id", writer(Admin), "shop", "", "NOT_FOUND"},
		{"a reader", writer(Read), "shop", "key_2", "FORBIDDEN"}, // key_2 has expired
		{"a bad name for an expired key", writer(Write), "shop", "key_2", "BAD_USER_INPUT name"},
		{"a bad name", writer(Write), "shop", "key_1", "BAD_USER_INPUT name"},
		{"a key of two namespaces", writer(Write), "blog", "key_26", "BAD_USER_INPUT name"},
	} {
		store := fixture()
		_, err := newService(store).Update(t.Context(), tt.caller, tt.ns, tt.id, bad)
		if got := codeAndField(t, err); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		reads := store.reads()
		if tt.want == "UNAUTHENTICATED" && reads != "" || tt.name == "no permission" && reads != "InsertEvent" {
			t.Errorf("%s: the store was asked for %s", tt.name, reads)
		}
	}
}

// Without this, denied attempts leave no trace, or one caller fills the trail with them.
func TestDeniedAttemptsAreEvents(t *testing.T) {
	for action, change := range changes4 {
		store := fixture()
		s := newService(store)
		for _, seconds := range []int{0, 1, 59, 60, 119} {
			s.Now = func() time.Time { return *at(seconds) }
			c := writer(Read)
			c.Address = "203.0.113.9"
			if err := change(t.Context(), s, c, "shop"); codeAndField(t, err) != "FORBIDDEN" {
				t.Errorf("%s: %v", action, err)
			}
		}
		resource, of := "key_1", ResourceAPIKey
		if action == KeyCreated {
			resource, of = "ret_1", ResourceRetriever
		}
		if len(store.events) != 2 {
			t.Errorf("%s: %d events in two minutes", action, len(store.events))
			continue
		}
		e := store.events[0]
		e.ID = ""
		want := Event{
			Timestamp: noon, Action: action, ResourceType: of, ResourceID: resource, ActorID: "usr_writer", ActorType: User, ActorKeyID: new(ID("key_writer")),
			Outcome: Denied, IPAddress: new("203.0.113.9"), InternalID: "int_1", NamespaceID: "ns_1", RetrieverIDs: []RetrieverID{"ret_1"},
		}
		if diff := cmp.Diff(want, e); diff != "" {
			t.Errorf("%s (-want +got):\n%s", action, diff)
		}
		other := writer(Read)
		other.Key.ID = "key_other"
		if err := change(t.Context(), s, other, "shop"); codeAndField(t, err) != "FORBIDDEN" || len(store.events) != 3 {
			t.Errorf("%s: another key's attempt has no event of its own", action)
		}
		s.Now = func() time.Time { return *at(120) }
		store.fails = "InsertEvent"
		if err := change(t.Context(), s, writer(Read), "shop"); codeAndField(t, err) != "UNAVAILABLE" {
			t.Errorf("%s: an attempt that cannot be recorded: %v", action, err)
		}
	}
	// A caller without permissions is denied before the target is looked up, so the event names the caller's own key.
	for action, change := range changes4 {
		store := fixture()
		powerless := writer("")
		powerless.Key.Scopes = []Scope{on(ResourceRetriever, "ret_1")}
		for range 3 {
			if err := change(t.Context(), newService(store), powerless, "no such namespace"); codeAndField(t, err) != "FORBIDDEN" {
				t.Errorf("%s: %v", action, err)
			}
		}
		if len(store.events) != 1 || store.events[0].Action != action || store.events[0].ResourceID != "key_writer" || store.events[0].Outcome != Denied || !slices.Equal(store.events[0].RetrieverIDs, []RetrieverID{"ret_1"}) {
			t.Errorf("%s: %+v", action, store.events)
		}
	}
	// A caller who cannot see a key gets NOT_FOUND and must not write into the trail of its owners.
	store := fixture()
	if _, err := newService(store).Revoke(t.Context(), writer(Admin, on(ResourceNamespace, "ns_2")), "shop", "key_1", nil); codeAndField(t, err) != "NOT_FOUND" || len(store.events) > 0 {
		t.Errorf("%v, %d events", err, len(store.events))
	}
}

// Without this, an outage at the wrong moment looks like success, or as if the key did not exist.
func TestOutagesOfChanges(t *testing.T) {
	for action, change := range changes4 {
		working := fixture()
		if err := change(t.Context(), newService(working), writer(Admin), "shop"); err != nil {
			t.Fatal(err)
		}
		calls := strings.Fields(working.reads())
		if len(calls) < 3 {
			t.Errorf("%s: the store was asked for %v only", action, calls)
		}
		for _, call := range calls {
			store := fixture()
			store.fails = call
			if err := change(t.Context(), newService(store), writer(Admin), "shop"); codeAndField(t, err) != "UNAVAILABLE" || len(store.events) > 0 {
				t.Errorf("%s while %s fails: %v, %d events", action, call, err, len(store.events))
			}
		}
	}
}

// Somebody at a terminal must be able to revoke any key of the organization, including one whose retrievers are gone.
func TestOperatorsRevokeAnything(t *testing.T) {
	for id, ns := range map[ID]NamespaceID{"key_1": "ns_1", "key_6": "ns_2", "key_gone": "", "key_pattern": "", "key_admin": ""} {
		store := fixture()
		operator := NewOperator("ada", store.namespaces[0])
		got, err := newService(store).Revoke(t.Context(), operator, "", id, nil)
		if err != nil || got.Status != Revoked || *got.RevokedBy != "ada" {
			t.Errorf("%s: %+v, %v", id, got, err)
			continue
		}
		if e := store.events[0]; e.ActorType != Operator || e.ActorID != "ada" || e.ActorKeyID != nil || e.NamespaceID != ns {
			t.Errorf("%s: %+v", id, e)
		}
		if _, err := newService(fixture()).Update(t.Context(), operator, "shop", id, Settings{}); (codeAndField(t, err) == "") != (id == "key_1") {
			t.Errorf("%s: an update: %v", id, err)
		}
	}
	store := fixture()
	if _, err := newService(store).Revoke(t.Context(), NewOperator("ada", store.namespaces[0]), "", "key_foreign", nil); codeAndField(t, err) != "NOT_FOUND" {
		t.Errorf("another organization's key: %v", err)
	}
}

// The vendor's endpoint names a retriever, and must not revoke keys of another one.
func TestRevokeOf(t *testing.T) {
	for _, tt := range []struct {
		caller    Caller
		retriever string
		id        ID
		want      string
	}{
		{writer(Delete), "search", "key_1", ""},
		{writer(Delete), "ret_2", "key_26", ""},
		{writer(Delete), "ret_2", "key_1", "NOT_FOUND"},
		{writer(Delete), "ret_1", "absent", "NOT_FOUND"},
		{writer(Delete), "ret_1", "key_pattern", "NOT_FOUND"},
		{writer(Delete), "absent", "key_1", "NOT_FOUND"},
		{writer(Write), "ret_1", "key_1", "FORBIDDEN"},
		{Caller{}, "ret_1", "key_1", "UNAUTHENTICATED"},
	} {
		store := fixture()
		err := newService(store).RevokeOf(t.Context(), tt.caller, "shop", tt.retriever, tt.id)
		if got := codeAndField(t, err); got != tt.want || (err == nil) != (find(t, store, "key_1").Stored == Revoked || find(t, store, "key_26").Stored == Revoked) {
			t.Errorf("%s of %s: %q, want %q", tt.id, tt.retriever, got, tt.want)
		}
	}
}
