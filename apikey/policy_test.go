package apikey

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// limitsOf returns an edit that gives a key these limits.
func limitsOf(end *time.Time, origins []string, limit *int32) func(*Key) {
	return func(k *Key) { k.ExpiresAt, k.AllowedOrigins, k.RateLimitOverride = end, origins, limit }
}

// limitedWriter returns a caller with the permission and a store. own edits the caller's key, target edits key_1.
func limitedWriter(p Permission, own, target func(*Key)) (*memory, Caller) {
	store := fixture()
	i := slices.IndexFunc(store.keys, func(k Key) bool { return k.ID == "key_writer" })
	own(&store.keys[i])
	store.keys[0].Type = Standard
	target(&store.keys[0])
	c := writer(p)
	own(c.Key)
	return store, c
}

// kept reports whether the trail has exactly one event: a denied attempt on key_1.
func kept(store *memory, action Action) bool {
	return len(store.events) == 1 && store.events[0].Outcome == Denied && store.events[0].Action == action && store.events[0].ResourceID == "key_1"
}

// A caller who rotates a key gets its plaintext. Without this, a key that expires in an hour can be exchanged for one that never expires.
func TestRotationIsNoWayUp(t *testing.T) {
	free := limitsOf(nil, nil, nil)
	ends := func(seconds int) func(*Key) { return limitsOf(at(seconds), nil, nil) }
	from := func(origins ...string) func(*Key) { return limitsOf(nil, origins, nil) }
	limited := func(n int32) func(*Key) { return limitsOf(nil, nil, &n) }
	for name, tt := range map[string]struct {
		own, target func(*Key)
		general     int
		forbidden   bool
	}{
		"no limits at all":           {free, free, 0, false},
		"only the key has limits":    {free, limitsOf(at(9), []string{"https://a.example"}, new(int32(3))), 0, false},
		"only the caller has limits": {limitsOf(at(9), []string{"https://a.example"}, new(int32(3))), free, 0, true},

		"no expiry":         {ends(60), free, 0, true},
		"a later expiry":    {ends(60), ends(61), 0, true},
		"the same expiry":   {ends(60), ends(60), 0, false},
		"an earlier expiry": {ends(60), ends(59), 0, false},

		"no origins":                               {from("https://a.example"), free, 0, true},
		"other origins":                            {from("https://a.example"), from("https://b.example"), 0, true},
		"one more origin":                          {from("https://a.example"), from("https://a.example", "https://b.example"), 0, true},
		"the same origins":                         {from("https://a.example", "https://b.example"), from("https://b.example", "https://a.example"), 0, false},
		"some of the origins":                      {from("https://a.example", "https://b.example"), from("https://b.example"), 0, false},
		"the same origin, written differently":     {from("https://a.example"), from("HTTPS://A.example:443"), 0, false},
		"another port":                             {from("https://a.example"), from("https://a.example:8443"), 0, true},
		"another scheme":                           {from("https://a.example"), from("http://a.example"), 0, true},
		"a subdomain of the wildcard":              {from("https://*.a.example"), from("https://x.a.example", "https://x.y.a.example"), 0, false},
		"the wildcard itself":                      {from("https://*.a.example"), from("https://*.a.example"), 0, false},
		"a narrower wildcard":                      {from("https://*.a.example"), from("https://*.x.a.example"), 0, false},
		"the apex of the wildcard":                 {from("https://*.a.example"), from("https://a.example"), 0, true},
		"a wider wildcard":                         {from("https://*.x.a.example"), from("https://*.a.example"), 0, true},
		"a wildcard instead of an exact origin":    {from("https://x.a.example"), from("https://*.a.example"), 0, true},
		"a wildcard of another name":               {from("https://*.a.example"), from("https://*.evil-a.example"), 0, true},
		"unreadable origins of the caller":         {from("nonsense"), from("https://a.example"), 0, true},
		"an unreadable list of the caller":         {limitsOf(nil, []string{}, nil), from("https://a.example"), 0, true},
		"two origins, one of them unreadable":      {from("https://a.example"), from("nonsense", "https://a.example"), 0, false},
		"neither list matches anything":            {limitsOf(nil, []string{}, nil), from("nonsense"), 0, false},
		"a higher limit":                           {limited(10), limited(11), 0, true},
		"the same limit":                           {limited(10), limited(10), 0, false},
		"a lower limit":                            {limited(10), limited(9), 0, false},
		"no rate limit":                            {limited(10), free, 0, true},
		"no rate limit, with a higher general one": {limited(10), free, 11, true},
		"no rate limit, with the same general one": {limited(10), free, 10, false},
		"no rate limit, with a lower general one":  {limited(10), free, 9, false},
		"a higher limit than the general one":      {free, limited(61), 60, true},
		"the same limit as the general one":        {free, limited(60), 60, false},
		"a limit, and none of the caller":          {free, limited(1 << 30), 0, false},
		"no limit of either":                       {free, free, 60, false},
		"a limit of 0 counts as none":              {limited(10), limited(0), 0, true},
		"a limit below 0 counts as none":           {limited(10), limited(-1), 11, true},
		"a caller's limit of 0 counts as none":     {limited(0), limited(61), 60, true},
		"a caller's limit below 0 counts as none":  {limited(-1), limited(60), 60, false},
	} {
		rotate := func(c Caller, store *memory) error {
			s := newService(store)
			s.RateLimit = tt.general
			_, err := s.Rotate(t.Context(), c, "shop", "key_1", time.Minute, nil)
			return err
		}
		store, c := limitedWriter(Delete, tt.own, tt.target)
		before := slices.Clone(store.keys)
		err := rotate(c, store)
		if tt.forbidden != (codeAndField(t, err) == "FORBIDDEN") || tt.forbidden != kept(store, KeyRotated) || !tt.forbidden && err != nil {
			t.Errorf("%s: got %v and the events %+v", name, err, store.events)
		}
		if tt.forbidden && cmp.Diff(before, store.keys) != "" {
			t.Errorf("%s: refused, but something was written", name)
		}

		// Admins and operators have no such limits. Neither has a caller who manages a retriever, for the keys of that retriever.
		store, c = limitedWriter(Admin, tt.own, tt.target)
		if err := rotate(c, store); err != nil {
			t.Errorf("%s: an admin: %v", name, err)
		}
		store, _ = limitedWriter(Write, tt.own, tt.target)
		if err := rotate(NewOperator("ada", store.namespaces[0]), store); err != nil {
			t.Errorf("%s: an operator: %v", name, err)
		}
		store, c = limitedWriter(Write, tt.own, tt.target)
		store.keys[0].Type = RetrieverKey
		if err := rotate(c, store); codeAndField(t, err) == "FORBIDDEN" {
			t.Errorf("%s: a retriever's key: %v", name, err)
		}
	}
}

// Without this, a key removes the limits of another key with the same rights, and its holder then has none. Keys that exceed the caller's
// limits can still be renamed and limited.
func TestUpdateIsNoWayUp(t *testing.T) {
	days := func(n int) *time.Time { return at(n * 86400) }
	origins := func(list ...string) *[]string { return &list }
	const (
		a, b, c = "https://a.example", "https://b.example", "https://c.example"
	)
	for name, tt := range map[string]struct {
		own, target func(*Key)
		settings    Settings
		general     int
		forbidden   bool
	}{
		"a later expiry, within the caller's":          {limitsOf(days(3), nil, nil), limitsOf(days(1), nil, nil), Settings{ExpiresAt: Given(days(3))}, 0, false},
		"a later expiry, beyond the caller's":          {limitsOf(days(3), nil, nil), limitsOf(days(1), nil, nil), Settings{ExpiresAt: Given(days(4))}, 0, true},
		"no expiry":                                    {limitsOf(days(3), nil, nil), limitsOf(days(1), nil, nil), Settings{ExpiresAt: Given[time.Time](nil)}, 0, true},
		"an earlier expiry, still beyond the caller's": {limitsOf(days(3), nil, nil), limitsOf(nil, nil, nil), Settings{ExpiresAt: Given(days(9))}, 0, false},
		"an unchanged expiry":                          {limitsOf(days(3), nil, nil), limitsOf(days(9), nil, nil), Settings{ExpiresAt: Given(days(9))}, 0, false},
		"still no expiry":                              {limitsOf(days(3), nil, nil), limitsOf(nil, nil, nil), Settings{ExpiresAt: Given[time.Time](nil)}, 0, false},

		"more origins, within the caller's":        {limitsOf(nil, []string{a, b}, nil), limitsOf(nil, []string{a}, nil), Settings{AllowedOrigins: Given(origins(a, b))}, 0, false},
		"more origins, beyond the caller's":        {limitsOf(nil, []string{a, b}, nil), limitsOf(nil, []string{a}, nil), Settings{AllowedOrigins: Given(origins(a, c))}, 0, true},
		"no origins":                               {limitsOf(nil, []string{a, b}, nil), limitsOf(nil, []string{a}, nil), Settings{AllowedOrigins: Given[[]string](nil)}, 0, true},
		"an empty list of origins":                 {limitsOf(nil, []string{a, b}, nil), limitsOf(nil, []string{a}, nil), Settings{AllowedOrigins: Given(origins())}, 0, true},
		"still no origins":                         {limitsOf(nil, []string{a, b}, nil), limitsOf(nil, nil, nil), Settings{AllowedOrigins: Given[[]string](nil)}, 0, false},
		"fewer origins, still beyond the caller's": {limitsOf(nil, []string{a}, nil), limitsOf(nil, []string{b, c}, nil), Settings{AllowedOrigins: Given(origins(c))}, 0, false},
		"an origin within its wildcard":            {limitsOf(nil, []string{a}, nil), limitsOf(nil, []string{"https://*.c.example"}, nil), Settings{AllowedOrigins: Given(origins("https://x.c.example"))}, 0, false},
		"origins instead of unreadable ones":       {limitsOf(nil, []string{a}, nil), limitsOf(nil, []string{}, nil), Settings{AllowedOrigins: Given(origins(b))}, 0, true},

		"a higher limit, within the caller's": {limitsOf(nil, nil, new(int32(10))), limitsOf(nil, nil, new(int32(5))), Settings{RateLimitOverride: Given(new(10))}, 0, false},
		"a higher limit, beyond the caller's": {limitsOf(nil, nil, new(int32(10))), limitsOf(nil, nil, new(int32(5))), Settings{RateLimitOverride: Given(new(11))}, 0, true},
		"no limit":                            {limitsOf(nil, nil, new(int32(10))), limitsOf(nil, nil, new(int32(5))), Settings{RateLimitOverride: Given[int](nil)}, 0, true},
		"no limit, beyond the caller's":       {limitsOf(nil, nil, new(int32(10))), limitsOf(nil, nil, new(int32(5))), Settings{RateLimitOverride: Given[int](nil)}, 11, true},
		"no limit, within the caller's":       {limitsOf(nil, nil, new(int32(10))), limitsOf(nil, nil, new(int32(5))), Settings{RateLimitOverride: Given[int](nil)}, 10, false},
		"no limit, with a lower general one":  {limitsOf(nil, nil, new(int32(10))), limitsOf(nil, nil, new(int32(50))), Settings{RateLimitOverride: Given[int](nil)}, 20, false},
		"a limit instead of a lower one": {
			limitsOf(nil, nil, new(int32(10))), limitsOf(nil, nil, new(int32(0))), Settings{RateLimitOverride: Given(new(30))}, 20, true,
		},
		"a limit instead of none": {limitsOf(nil, nil, new(int32(10))), limitsOf(nil, nil, nil), Settings{RateLimitOverride: Given(new(30))}, 0, false},

		"one limit raised, the others lowered": {
			limitsOf(days(3), []string{a}, new(int32(10))), limitsOf(days(9), nil, new(int32(5))),
			Settings{ExpiresAt: Given(days(8)), AllowedOrigins: Given(origins(b)), RateLimitOverride: Given(new(11))}, 0, true,
		},
		"one limit raised within the caller's, others beyond it": {
			limitsOf(days(3), []string{a}, new(int32(10))), limitsOf(nil, nil, new(int32(5))),
			Settings{Name: Given(new("new")), RateLimitOverride: Given(new(8))}, 0, false,
		},
		"a new name": {limitsOf(days(3), []string{a}, new(int32(10))), limitsOf(nil, nil, nil), named("new"), 0, false},
		"a caller without limits": {limitsOf(nil, nil, nil), limitsOf(days(1), []string{a}, new(int32(1))), Settings{
			ExpiresAt: Given[time.Time](nil), AllowedOrigins: Given[[]string](nil), RateLimitOverride: Given(new(1000)),
		}, 0, false},
	} {
		update := func(c Caller, store *memory) error {
			s := newService(store)
			s.RateLimit = tt.general
			_, err := s.Update(t.Context(), c, "shop", "key_1", tt.settings)
			return err
		}
		store, c := limitedWriter(Write, tt.own, tt.target)
		before := slices.Clone(store.keys)
		err := update(c, store)
		if tt.forbidden != (codeAndField(t, err) == "FORBIDDEN") || tt.forbidden != kept(store, KeyUpdated) || !tt.forbidden && err != nil {
			t.Errorf("%s: got %v and the events %+v", name, err, store.events)
		}
		if tt.forbidden && cmp.Diff(before, store.keys) != "" {
			t.Errorf("%s: refused, but something was written", name)
		}
		store, c = limitedWriter(Admin, tt.own, tt.target)
		if err := update(c, store); err != nil {
			t.Errorf("%s: an admin: %v", name, err)
		}
		store, c = limitedWriter(Write, tt.own, tt.target)
		store.keys[0].Type = RetrieverKey
		if err := update(c, store); err != nil {
			t.Errorf("%s: a retriever's key: %v", name, err)
		}
	}
}

// A key with limits must not be able to extend its own expiry, origins or rate limit. It can reduce them.
func TestKeysDoNotLiftTheirOwnLimits(t *testing.T) {
	for name, tt := range map[string]struct {
		settings  Settings
		forbidden bool
	}{
		"a later expiry":       {Settings{ExpiresAt: Given(at(61))}, true},
		"no expiry":            {Settings{ExpiresAt: Given[time.Time](nil)}, true},
		"other origins":        {Settings{AllowedOrigins: Given(&[]string{"https://b.example"})}, true},
		"no origins":           {Settings{AllowedOrigins: Given[[]string](nil)}, true},
		"a higher limit":       {Settings{RateLimitOverride: Given(new(6))}, true},
		"no limit":             {Settings{RateLimitOverride: Given[int](nil)}, true},
		"an earlier expiry":    {Settings{ExpiresAt: Given(at(59))}, false},
		"fewer origins":        {Settings{AllowedOrigins: Given(&[]string{"https://x.a.example"})}, false},
		"a lower limit":        {Settings{RateLimitOverride: Given(new(4))}, false},
		"all limits unchanged": {Settings{ExpiresAt: Given(at(60)), AllowedOrigins: Given(&[]string{"https://*.a.example"}), RateLimitOverride: Given(new(5))}, false},
		"a name":               {named("new"), false},
	} {
		for _, p := range []Permission{Write, Delete, Admin} {
			store := fixture()
			store.keys[0].Hash, store.keys[0].Type, store.keys[0].Permissions = "its own", Standard, []Permission{p}
			limitsOf(at(60), []string{"https://*.a.example"}, new(int32(5)))(&store.keys[0])
			own := store.keys[0]
			own.Scopes = nil
			_, err := newService(store).Update(t.Context(), Caller{Key: &own}, "shop", "key_1", tt.settings)
			forbidden := tt.forbidden && p != Admin
			if forbidden != (codeAndField(t, err) == "FORBIDDEN") || forbidden != kept(store, KeyUpdated) || !forbidden && err != nil {
				t.Errorf("%s, by a key with %s: got %v and the events %+v", name, p, err, store.events)
			}
		}
	}
}

// Without this, a key rotates itself with an overlap, and then each of the two keys removes the limits of the other.
func TestRelativesDoNotLiftEachOthersLimits(t *testing.T) {
	store := fixture()
	s := newService(store)
	limit := limitsOf(at(3600), []string{"https://a.example"}, new(int32(5)))
	store.keys[0].Hash, store.keys[0].Type, store.keys[0].Permissions = "its own", Standard, []Permission{Write}
	limit(&store.keys[0])
	store.keys[0].Scopes[0].Operations = nil
	// caller returns the holder of a key as it is stored now.
	caller := func(id ID) Caller { k := find(t, store, id); return Caller{Key: &k} }

	second, err := s.Rotate(t.Context(), caller("key_1"), "shop", "key_1", time.Minute, nil)
	if err != nil {
		t.Fatalf("a key rotates itself: %v", err)
	}
	third, err := s.Rotate(t.Context(), caller(second.Key.ID), "shop", second.Key.ID, time.Minute, nil)
	if err != nil {
		t.Fatalf("its successor rotates itself: %v", err)
	}
	family := []ID{"key_1", second.Key.ID, third.Key.ID}
	for _, by := range family {
		for _, of := range family {
			for name, settings := range map[string]Settings{
				"end":     {ExpiresAt: Given[time.Time](nil)},
				"origins": {AllowedOrigins: Given[[]string](nil)},
				"limit":   {RateLimitOverride: Given[int](nil)},
				"all":     {ExpiresAt: Given(at(7200)), AllowedOrigins: Given(&[]string{"https://*.example"}), RateLimitOverride: Given(new(6))},
			} {
				if _, err := s.Update(t.Context(), caller(by), "shop", of, settings); codeAndField(t, err) != "FORBIDDEN" {
					t.Errorf("%s raises the %s of %s: %v", by, name, of, err)
				}
			}
		}
	}
	// A key in its overlap expires soon. It cannot rotate a key that expires later.
	if _, err := s.Rotate(t.Context(), caller("key_1"), "shop", third.Key.ID, 0, nil); codeAndField(t, err) != "FORBIDDEN" {
		t.Errorf("a key in its overlap rotates one that expires later: %v", err)
	}
	// Nobody can extend the overlap, not even within their own limits.
	if _, err := s.Update(t.Context(), caller(third.Key.ID), "shop", "key_1", Settings{ExpiresAt: Given(at(120))}); codeAndField(t, err) != "CONFLICT" {
		t.Errorf("the overlap was extended: %v", err)
	}
	// The newest key has the limits of the first, and can limit the others further.
	want := find(t, store, "key_1")
	limit(&want)
	if got := find(t, store, third.Key.ID); cmp.Diff(limitFields(want), limitFields(got)) != "" {
		t.Errorf("after two rotations: %+v", got)
	}
	if _, err := s.Update(t.Context(), caller(third.Key.ID), "shop", "key_1", Settings{ExpiresAt: Given(at(5)), RateLimitOverride: Given(new(1))}); err != nil {
		t.Errorf("limiting further: %v", err)
	}
}

func limitFields(k Key) string {
	return fmt.Sprint(k.ExpiresAt, k.AllowedOrigins, text(numberText(k.RateLimitOverride)))
}

// The decision must use the current limits of both keys. Otherwise a request that was admitted before its key was limited, or two
// concurrent processes, could exceed them.
func TestLimitsAreThoseOfTheMoment(t *testing.T) {
	free, limited := limitsOf(nil, nil, nil), limitsOf(at(60), []string{"https://a.example"}, new(int32(5)))
	for _, tt := range []struct {
		action Action
		change func(context.Context, *Service, Caller) error
	}{
		{KeyRotated, func(ctx context.Context, s *Service, c Caller) error {
			_, err := s.Rotate(ctx, c, "shop", "key_1", 0, nil)
			return err
		}},
		{KeyUpdated, func(ctx context.Context, s *Service, c Caller) error {
			_, err := s.Update(ctx, c, "shop", "key_1", Settings{ExpiresAt: Given(at(3600))})
			return err
		}},
	} {
		store, _ := limitedWriter(Write, limited, limitsOf(at(120), nil, nil))
		before := writer(Write) // the key when the request was admitted
		free(before.Key)
		if err := tt.change(t.Context(), newService(store), before); codeAndField(t, err) != "FORBIDDEN" || !kept(store, tt.action) {
			t.Errorf("%s by a key that has been limited since: %v", tt.action, err)
		}

		// Another caller raises the target's limits between the decision and the write.
		memory, c := limitedWriter(Write, limitsOf(at(3600), nil, nil), limitsOf(at(60), nil, nil))
		raced := &recording{memory: memory, before: func(int) {
			if _, err := newService(memory).Update(t.Context(), writer(Admin), "shop", "key_1", Settings{ExpiresAt: Given[time.Time](nil)}); err != nil {
				t.Error(err)
			}
		}}
		if err := tt.change(t.Context(), newService(raced), c); codeAndField(t, err) != "CONFLICT" || find(t, memory, "key_1").ExpiresAt != nil {
			t.Errorf("%s of a key that changes at the same time: %v", tt.action, err)
		}
	}

	// A key limits itself. Another process that still has its old state must not let it undo that.
	store := fixture()
	store.keys[0].Hash, store.keys[0].Type, store.keys[0].Permissions = "its own", Standard, []Permission{Write}
	store.keys[0].Scopes[0].Operations = nil
	stale := store.keys[0]
	s := newService(store)
	if _, err := s.Update(t.Context(), Caller{Key: &stale}, "shop", "key_1", Settings{RateLimitOverride: Given(new(1))}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Update(t.Context(), Caller{Key: &stale}, "shop", "key_1", Settings{RateLimitOverride: Given(new(1000))}); codeAndField(t, err) != "FORBIDDEN" {
		t.Errorf("a key raises the limit that it gave itself: %v", err)
	}
}

// If the caller's key cannot be read, the change must be neither allowed nor FORBIDDEN.
func TestOutageWhileLimitsAreCompared(t *testing.T) {
	store, c := limitedWriter(Write, limitsOf(at(60), nil, nil), limitsOf(nil, nil, nil))
	store.fails = "KeysByHash"
	if _, err := newService(store).Rotate(t.Context(), c, "shop", "key_1", 0, nil); codeAndField(t, err) != "UNAVAILABLE" || len(store.events) > 0 || find(t, store, "key_1").RotatedTo != nil {
		t.Errorf("%v, %d events", err, len(store.events))
	}
}

// One read of the caller's key shows that it is active and which limits it has. A second read would cost a round trip and could return
// another state.
func TestTheOwnKeyIsReadOnce(t *testing.T) {
	end := Settings{ExpiresAt: Given(at(30))}
	for name, change := range map[string]func(*Service, Caller) error{
		"an update": func(s *Service, c Caller) error {
			_, err := s.Update(t.Context(), c, "shop", "key_1", end)
			return err
		},
		"a rotation": func(s *Service, c Caller) error {
			_, err := s.Rotate(t.Context(), c, "shop", "key_1", 0, nil)
			return err
		},
	} {
		store, c := limitedWriter(Write, limitsOf(at(60), nil, nil), limitsOf(at(20), nil, nil))
		if err := change(newService(store), c); err != nil || strings.Count(store.reads(), "KeysByHash") != 1 {
			t.Errorf("%s within the limits: %v, or the caller's key was not read once", name, err)
		}
		store, c = limitedWriter(Write, limitsOf(at(10), nil, nil), limitsOf(at(20), nil, nil))
		if err := change(newService(store), c); codeAndField(t, err) != "FORBIDDEN" || strings.Count(store.reads(), "KeysByHash") != 1 {
			t.Errorf("%s beyond the limits: %v, or the caller's key was not read once", name, err)
		}
	}
}

// A caller who limits another key to its own limits can then rotate it and hold the successor. It must get no permission, limit or budget
// beyond what SECURITY.md describes.
func TestNarrowingAndRotatingIsNoWayUp(t *testing.T) {
	own := limitsOf(at(3600), []string{"https://*.a.example"}, new(int32(5)))
	for name, edit := range map[string]func(*Key){
		"an organization's key": func(k *Key) { k.Type = Standard },
		"a subscription's key":  func(k *Key) { k.Type, k.SubscriptionID = MarketplaceSubscription, new("sub_1") },
		"an internal key":       func(k *Key) { k.Type, k.IsInternal = Standard, true },
		"an end user's key":     func(k *Key) { k.Type, k.PrincipalID = Standard, new("their user") },
		"a key rotated before":  func(k *Key) { k.Type, k.Budget, k.RotatedFrom = Standard, "hash of its first", new(ID("key_first")) },
		"a key that can only read": func(k *Key) {
			k.Type, k.Permissions = Standard, []Permission{Read}
		},
	} {
		store, c := limitedWriter(Write, own, edit)
		s := newService(store)
		before := find(t, store, "key_1")
		rotate := func(id ID) (*Rotated, error) { return s.Rotate(t.Context(), c, "shop", id, MaxOverlap, nil) }
		if _, err := rotate("key_1"); codeAndField(t, err) != "FORBIDDEN" {
			t.Errorf("%s was rotated without limiting it: %v", name, err)
		}
		if _, err := s.Update(t.Context(), c, "shop", "key_1", Settings{
			ExpiresAt: Given(at(3600)), AllowedOrigins: Given(&[]string{"https://x.a.example"}), RateLimitOverride: Given(new(5)),
		}); err != nil {
			t.Fatalf("%s was not limited: %v", name, err)
		}
		budget, err := s.BudgetOf(t.Context(), &before)
		if err != nil {
			t.Fatal(err)
		}
		got, err := rotate("key_1")
		if err != nil {
			t.Fatalf("%s was not rotated: %v", name, err)
		}
		held := *c.Key
		for range 3 { // any number of times
			k := got.Key
			want := before
			want.ExpiresAt, want.AllowedOrigins, want.RateLimitOverride, want.Budget = at(3600), []string{"https://x.a.example"}, new(int32(5)), budget
			want.ID, want.Hash, want.Prefix, want.CreatedAt, want.RotatedFrom = k.ID, k.Hash, k.Prefix, k.CreatedAt, k.RotatedFrom
			want.UserID, want.CreatedBy, want.Status, want.Revision = "usr_writer", new("usr_writer"), k.Status, 0
			if diff := cmp.Diff(want, k); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
			if wider := s.wider(&held, &k); wider != 0 {
				t.Errorf("%s: the new key has wider limits: %b", name, wider)
			}
			if spends, err := s.BudgetOf(t.Context(), &k); err != nil || spends != budget {
				t.Errorf("%s: the new key uses the budget of %s, %v; want %s", name, spends, err, budget)
			}
			for field, settings := range map[string]Settings{
				"end": {ExpiresAt: Given(at(3601))}, "origins": {AllowedOrigins: Given[[]string](nil)}, "limit": {RateLimitOverride: Given(new(6))},
			} {
				if _, err := s.Update(t.Context(), c, "shop", k.ID, settings); codeAndField(t, err) != "FORBIDDEN" {
					t.Errorf("%s: the new key's %s was raised: %v", name, field, err)
				}
			}
			if got, err = rotate(k.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Keys of these types act for one person, their principal. After a rotation the caller would hold a key that acts for this person.
func TestKeysOfPersonsAreNotRotated(t *testing.T) {
	for _, typ := range []Type{UserScoped, Session} {
		for who, c := range map[string]Caller{
			"an admin": writer(Admin), "a writer": writer(Write), "an operator": NewOperator("ada", fixture().namespaces[0]),
			"an admin with a principal": func() Caller { c := writer(Admin); c.Key.PrincipalID = new("another"); return c }(),
		} {
			for _, principal := range []*string{nil, new("theirs")} {
				store := fixture()
				store.keys[0].Type, store.keys[0].PrincipalID, store.keys[0].Permissions = typ, principal, []Permission{Read}
				store.keys[0].Scopes[0].Operations = []Operation{ReadData}
				before := slices.Clone(store.keys)
				s := newService(store)
				for _, overlap := range []time.Duration{0, time.Hour} {
					_, err := s.Rotate(t.Context(), c, "shop", "key_1", overlap, nil)
					if codeAndField(t, err) != "CONFLICT" || !strings.Contains(err.Error(), string(typ)) || !strings.Contains(err.Error(), "Revoke it") {
						t.Errorf("%s rotated a key of type %s: %v", who, typ, err)
					}
				}
				if cmp.Diff(before, store.keys) != "" || len(store.events) > 0 {
					t.Errorf("%s, %s: refused, but something was written", who, typ)
				}
				// They can be renamed and limited, because they still belong to the person, and they can be revoked.
				if _, err := s.Update(t.Context(), c, "shop", "key_1", Settings{Name: Given(new("new")), ExpiresAt: Given(at(60))}); err != nil {
					t.Errorf("%s could not update a key of type %s: %v", who, typ, err)
				}
				if k := find(t, store, "key_1"); k.PrincipalID != principal || k.UserID != before[0].UserID || k.Type != typ {
					t.Errorf("%s: an update changed the owner of a key of type %s: %+v", who, typ, k)
				}
				if c.Operator || c.Key.Permissions[0] == Admin {
					if _, err := s.Revoke(t.Context(), c, "shop", "key_1", nil); err != nil {
						t.Errorf("%s does not revoke a key of the type %s: %v", who, typ, err)
					}
				}
			}
		}
	}
	// A caller who cannot rotate any key learns only that, and nothing about this key.
	store := fixture()
	store.keys[0].Type = Session
	if _, err := newService(store).Rotate(t.Context(), writer(Read), "shop", "key_1", 0, nil); codeAndField(t, err) != "FORBIDDEN" || !kept(store, KeyRotated) {
		t.Errorf("by a reader: %v", err)
	}
}

// originsWithin is false if and only if the first list admits some origin that the second does not. Otherwise a caller could give a key
// wider origins than its own.
func TestOriginsWithin(t *testing.T) {
	hosts := []string{"example", "a.example", "b.a.example", "c.b.a.example", "*.example", "*.a.example", "*.b.a.example", "A.Example", "evil-a.example", "nonsense/"}
	origins := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"https://", "http://", ""}).Draw(t, "scheme") + rapid.SampledFrom(hosts).Draw(t, "host") + rapid.SampledFrom([]string{"", ":443", ":80"}).Draw(t, "port")
	}), 0, 3)
	list := rapid.Custom(func(t *rapid.T) []string {
		if rapid.Bool().Draw(t, "unrestricted") {
			return nil
		}
		return append([]string{}, origins.Draw(t, "origins")...)
	})
	var asked []string // what browsers send: each host, and a subdomain that no list names
	for _, scheme := range []string{"https://", "http://"} {
		for _, host := range append(hosts[:4:4], "x.example", "x.a.example", "x.b.a.example", "evil-a.example", "elsewhere.test") {
			asked = append(asked, scheme+host, scheme+host+":80", scheme+host+":443")
		}
	}
	admits := func(list []string, origin string) bool { return list == nil || originAllowed(list, origin) }
	rapid.Check(t, func(t *rapid.T) {
		some, others := list.Draw(t, "some"), list.Draw(t, "others")
		beyond := slices.ContainsFunc(asked, func(o string) bool { return admits(some, o) && !admits(others, o) })
		if got := originsWithin(some, others); got == beyond {
			t.Fatalf("originsWithin(%q, %q) = %t", some, others, got)
		}
	})
}

// The platform limits keys of these types in ways that are not checked here. They can read, but change nothing.
func TestKeysOfOtherTypesChangeNothing(t *testing.T) {
	for typ, want := range map[Type]string{
		Standard: "", MarketplaceSubscription: "", UserScoped: "FORBIDDEN", Session: "FORBIDDEN", UnknownType: "FORBIDDEN", "robot": "FORBIDDEN", UnreadableType: "FORBIDDEN", RetrieverKey: "FORBIDDEN",
	} {
		for action, change := range changes4 {
			store := fixture()
			before := slices.Clone(store.keys)
			c := writer(Admin)
			c.Key.Type = typ
			err := change(t.Context(), newService(store), c, "shop")
			if got := codeAndField(t, err); got != want {
				t.Errorf("%s by a key of type %q: got %q, want %q", action, typ, got, want)
			}
			denied := len(store.events) == 1 && store.events[0].Outcome == Denied && store.events[0].Action == action
			if denied != (want != "" && c.Known()) || want != "" && cmp.Diff(before, store.keys) != "" {
				t.Errorf("%s by a key of type %q: got the events %+v", action, typ, store.events)
			}
			// What they cannot see gets NOT_FOUND, and leaves no event in the trail of its owners.
			if typ == UserScoped || typ == Session || typ == UnknownType || typ == "robot" {
				if err := change(t.Context(), newService(fixture()), c, "absent"); codeAndField(t, err) != "NOT_FOUND" {
					t.Errorf("%s in an absent namespace by a key of type %q: %v", action, typ, err)
				}
			}
		}
		if typ == UnreadableType || typ == RetrieverKey {
			continue
		}
		store := fixture()
		s := newService(store)
		c := writer(Admin)
		c.Key.Type = typ
		r, err := s.Retriever(t.Context(), c, "shop", "ret_1")
		if err != nil {
			t.Errorf("a key of type %q reads a retriever: %v", typ, err)
			continue
		}
		if got, err := s.List(t.Context(), c, []*Retriever{r}, ListOptions{Wants: everything}); err != nil || got[0].Err != nil {
			t.Errorf("a key of type %q lists keys: %v", typ, err)
		}
		if _, err := s.AuditEvents(t.Context(), c, EventPlace{Retriever: r}, EventOptions{Wants: everything}); err != nil {
			t.Errorf("a key of type %q with admin reads the trail: %v", typ, err)
		}
		c.Key.Permissions = []Permission{Read}
		if _, err := s.AuditEvents(t.Context(), c, EventPlace{Retriever: r}, EventOptions{Wants: everything}); codeAndField(t, err) != "FORBIDDEN" {
			t.Errorf("a key of type %q with read reads the trail: %v", typ, err)
		}
	}
}

// Managing a retriever includes creating keys that execute it, as SECURITY.md says.
func TestWhoManagesMakesKeysThatExecute(t *testing.T) {
	store := fixture()
	manager := writer(Write, Scope{ResourceNamespace, "ns_1", []Operation{ReadData, ManagePermissions}})
	made, err := newService(store).Create(t.Context(), manager, "shop", "ret_1", named("new"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Scope{{ResourceRetriever, "ret_1", []Operation{ExecuteRetriever}}}
	if diff := cmp.Diff(want, made.Key.Scopes); diff != "" || made.Key.Type != RetrieverKey {
		t.Errorf("%s: (-want +got)\n%s", made.Key.Type, diff)
	}
	if _, err := newService(store).Rotate(t.Context(), manager, "shop", made.Key.ID, 0, nil); err != nil {
		t.Errorf("rotating the new key: %v", err)
	}
}

// In a scope, * is a wildcard. Without this, a caller who manages one namespace creates a key for a retriever with the id "*", which
// executes all retrievers of the organization.
func TestNoKeysForIDsThatArePatterns(t *testing.T) {
	for _, tt := range []struct{ id, namespace string }{{"*", "ns_1"}, {"ret_*", "ns_1"}, {"*_1", "ns_1"}, {"ret_9", "ns_*"}} {
		store := fixture()
		store.namespaces = append(store.namespaces, Namespace{ID: "ns_*", Name: "patterns", InternalID: "int_1"})
		store.retrievers = append(store.retrievers, Retriever{ID: RetrieverID(tt.id), Name: "odd", NamespaceID: NamespaceID(tt.namespace), InternalID: "int_1"})
		s := newService(store)
		n := len(store.keys)
		for who, c := range map[string]Caller{
			"an admin": writer(Admin), "an operator": NewOperator("ada", store.namespaces[0]),
			"the namespace's manager": writer(Admin, Scope{ResourceNamespace, tt.namespace, []Operation{ReadData, ManagePermissions}}),
		} {
			for _, ref := range []string{tt.id, "odd"} {
				if _, err := s.Create(t.Context(), c, tt.namespace, ref, named("new")); codeAndField(t, err) != "BAD_USER_INPUT retrieverId" {
					t.Errorf("%s creates a key for %s of %s: %v", who, tt.id, tt.namespace, err)
				}
				if r, err := s.Retriever(t.Context(), c, tt.namespace, ref); err != nil || string(r.ID) != tt.id {
					t.Errorf("%s reads %s of %s: %v", who, tt.id, tt.namespace, err)
				}
			}
		}
		if len(store.keys) != n || len(store.events) > 0 {
			t.Errorf("%s: %d keys were created", tt.id, len(store.keys)-n)
		}
		if _, err := s.Create(t.Context(), writer(Read), tt.namespace, "odd", named("new")); codeAndField(t, err) != "FORBIDDEN" {
			t.Errorf("a caller who cannot create keys: %v", err)
		}
	}

	// A key that an older version created for such an id reaches everything that the pattern matches. Only a caller who manages all of
	// that can rotate it.
	for _, tt := range []struct {
		name   string
		scopes []Scope
		want   string
	}{
		{"the namespace", []Scope{on(ResourceNamespace, "ns_1")}, "FORBIDDEN"},
		{"the same pattern", []Scope{on(ResourceRetriever, "ret_*")}, "FORBIDDEN"},
		{"the organization", []Scope{on(ResourceOrganization, "int_1")}, ""},
	} {
		store := fixture()
		store.retrievers = append(store.retrievers, Retriever{ID: "ret_*", Name: "odd", NamespaceID: "ns_1", InternalID: "int_1"})
		_, err := newService(store).Rotate(t.Context(), writer(Admin, tt.scopes...), "shop", "key_pattern", 0, nil)
		if got := codeAndField(t, err); got != tt.want {
			t.Errorf("rotated by a caller who manages %s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
