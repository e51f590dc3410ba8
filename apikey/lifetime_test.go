package apikey

import (
	"errors"
	"strings"
	"testing"
	"time"
)

const day = 24 * time.Hour

// after returns an instant that long after noon.
func after(d time.Duration) *time.Time { return new(noon.Add(d)) }

func sameTime(a, b *time.Time) bool { return (a == nil) == (b == nil) && (a == nil || a.Equal(*b)) }

// Without this, a policy that an operator set does not hold for some way to give a key an expiry, or refuses keys that it allows.
func TestLifetimes(t *testing.T) {
	none, both, most, usual := Policy{}, Policy{DefaultLifetime: 30 * day, MaxLifetime: 90 * day}, Policy{MaxLifetime: 90 * day}, Policy{DefaultLifetime: 30 * day}
	const refused = "BAD_USER_INPUT expiresAt"
	for name, tt := range map[string]struct {
		policy               Policy
		stored               *time.Time // the key's expiry before it is rotated
		given                *time.Time
		created, cut, update string // errors of creation, rotation and update
		want, rotated        *time.Time
	}{
		"no policy, nothing given":             {policy: none},
		"no policy, a distant expiry":          {policy: none, given: after(10_000 * day), want: after(10_000 * day), rotated: after(10_000 * day)},
		"no policy, a key that ends":           {policy: none, stored: after(400 * day), rotated: after(400 * day)},
		"a default, nothing given":             {policy: usual, want: after(30 * day), rotated: after(30 * day)},
		"a default, a distant expiry":          {policy: usual, given: after(400 * day), want: after(400 * day), rotated: after(400 * day)},
		"a default, a key that ends later":     {policy: usual, stored: after(400 * day), want: after(30 * day), rotated: after(400 * day)},
		"both, nothing given":                  {policy: both, update: refused, want: after(30 * day), rotated: after(30 * day)},
		"both, the latest expiry":              {policy: both, given: after(90 * day), want: after(90 * day), rotated: after(90 * day)},
		"both, a later one":                    {policy: both, given: after(90*day + time.Millisecond), created: refused, cut: refused, update: refused},
		"both, one that a stored key had":      {policy: both, stored: after(400 * day), given: after(400 * day), created: refused, cut: refused, update: refused},
		"both, a key that ends too late":       {policy: both, stored: after(400 * day), update: refused, want: after(30 * day), rotated: after(90 * day)},
		"both, a key that ends soon":           {policy: both, stored: after(day), update: refused, want: after(30 * day), rotated: after(day)},
		"a maximum, nothing given":             {policy: most, created: refused, cut: refused, update: refused},
		"a maximum, an early expiry":           {policy: most, given: after(day), want: after(day), rotated: after(day)},
		"a maximum, a key that ends too late":  {policy: most, stored: after(400 * day), created: refused, update: refused, rotated: after(90 * day)},
		"an expiry that is past":               {policy: most, given: after(0), created: refused, cut: refused, update: refused},
		"an expiry that no date can show":      {policy: none, given: new(time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)), created: refused, cut: refused, update: refused},
		"an expiry with digits below a milli-": {policy: most, given: after(90*day + 999*time.Microsecond), want: after(90 * day), rotated: after(90 * day)},
	} {
		s := func() (*Service, *memory) {
			store := fixture()
			store.keys[0].ExpiresAt = tt.stored
			service := newService(store)
			service.Policy = tt.policy
			return service, store
		}
		service, store := s()
		made, err := service.Create(t.Context(), writer(Admin), "shop", "ret_1", Settings{Name: Given(new("new")), ExpiresAt: Given(tt.given)})
		if got := codeAndField(t, err); got != tt.created {
			t.Errorf("%s: creation: got %q (%v), want %q", name, got, err, tt.created)
		} else if err == nil && (!sameTime(made.Key.ExpiresAt, tt.want) || !sameTime(find(t, store, made.Key.ID).ExpiresAt, tt.want)) {
			t.Errorf("%s: the new key expires at %v, want %v", name, made.Key.ExpiresAt, tt.want)
		}
		if tt.given == nil {
			left, err := service.Create(t.Context(), writer(Admin), "shop", "ret_1", named("left out"))
			if got := codeAndField(t, err); got != tt.created || err == nil && !sameTime(left.Key.ExpiresAt, tt.want) {
				t.Errorf("%s: left out, the expiry of a new key is another than null: %v, %v", name, left, err)
			}
		}

		service, store = s()
		rotated, err := service.Rotate(t.Context(), writer(Admin), "shop", "key_1", 0, tt.given)
		if got := codeAndField(t, err); got != tt.cut {
			t.Errorf("%s: rotation: got %q (%v), want %q", name, got, err, tt.cut)
		} else if err == nil && (!sameTime(rotated.Key.ExpiresAt, tt.rotated) || !sameTime(find(t, store, rotated.Key.ID).ExpiresAt, tt.rotated)) {
			t.Errorf("%s: the successor expires at %v, want %v", name, rotated.Key.ExpiresAt, tt.rotated)
		} else if err != nil && find(t, store, "key_1").RotatedTo != nil {
			t.Errorf("%s: a refused rotation changed the key", name)
		}

		service, store = s()
		updated, err := service.Update(t.Context(), writer(Admin), "shop", "key_1", Settings{ExpiresAt: Given(tt.given)})
		if got := codeAndField(t, err); got != tt.update {
			t.Errorf("%s: update: got %q (%v), want %q", name, got, err, tt.update)
		} else if want := tt.given; err == nil && want != nil && !updated.Key.ExpiresAt.Equal(want.Truncate(time.Millisecond)) || err == nil && (want == nil) != (updated.Key.ExpiresAt == nil) {
			t.Errorf("%s: the key expires at %v, want %v", name, updated.Key.ExpiresAt, want)
		}
		if _, err := service.Update(t.Context(), writer(Admin), "shop", "key_1", named("renamed")); err != nil {
			t.Errorf("%s: a rename without an expiry: %v", name, err)
		}
		if got := find(t, store, "key_1"); tt.update != "" && !sameTime(got.ExpiresAt, tt.stored) {
			t.Errorf("%s: a refused update left the expiry %v, want %v", name, got.ExpiresAt, tt.stored)
		}
	}
}

// Errors about lifetimes say what would be allowed, in the units of the settings.
func TestLifetimesAreExplained(t *testing.T) {
	for _, tt := range []struct {
		most time.Duration
		end  *time.Time
		want string
	}{
		{90 * day, after(91 * day), "must not be after 2026-06-12T12:00:00.000Z, because keys live for at most 90 days."},
		{day, nil, "must be set, because keys live for at most 1 day."},
		{36 * time.Hour, nil, "at most 36h0m0s."},
	} {
		err := (&Policy{MaxLifetime: tt.most}).checkExpiry(tt.end, noon)
		if e, ok := errors.AsType[*Error](err); !ok || !strings.HasSuffix(e.Message, tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
}

// Without admin, what counts is the successor's expiry: a caller may not get a later one than its own key has, by inheritance, by default or by
// request, and may rotate a key that ends later if it asks for an earlier end.
func TestSuccessorsEndNoLaterThanTheCaller(t *testing.T) {
	for name, tt := range map[string]struct {
		policy        Policy
		stored, given *time.Time
		own           *time.Time
		want          string
		can           bool
	}{
		"inherited, too late":           {stored: after(60 * day), own: after(30 * day), want: "FORBIDDEN"},
		"given, early":                  {stored: after(60 * day), own: after(30 * day), given: after(10 * day)},
		"given, too late":               {stored: after(10 * day), own: after(30 * day), given: after(31 * day), want: "FORBIDDEN", can: true},
		"never, too late":               {own: after(30 * day), want: "FORBIDDEN"},
		"the default, too late":         {policy: Policy{DefaultLifetime: 40 * day}, own: after(30 * day), want: "FORBIDDEN"},
		"the default, early":            {policy: Policy{DefaultLifetime: 20 * day}, own: after(30 * day), can: true},
		"cut to the maximum":            {policy: Policy{MaxLifetime: 20 * day}, stored: after(60 * day), own: after(30 * day), can: true},
		"a maximum that needs an end":   {policy: Policy{MaxLifetime: 20 * day}, own: after(30 * day), want: "BAD_USER_INPUT expiresAt", can: true},
		"a caller whose key never ends": {stored: after(60 * day), given: after(90 * day), can: true},
	} {
		store := fixture()
		for i := range store.keys {
			switch k := &store.keys[i]; k.ID {
			case "key_1":
				k.Type, k.ExpiresAt = Standard, tt.stored
			case "key_writer":
				k.ExpiresAt = tt.own
			}
		}
		s, c := newService(store), writer(Write)
		s.Policy = tt.policy
		c.Key.ExpiresAt = tt.own
		target := find(t, store, "key_1")
		can, err := s.May(t.Context(), c, []*Key{&target})
		if err != nil || can[0].Rotate != tt.can {
			t.Errorf("%s: it says that it can rotate: %v, %v, want %v", name, can, err, tt.can)
		}
		_, err = s.Rotate(t.Context(), c, "shop", "key_1", 0, tt.given)
		if got := codeAndField(t, err); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}
