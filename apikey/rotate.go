package apikey

import (
	"context"
	"slices"
	"time"
)

// MaxOverlap is the maximum time for which a rotated key keeps working.
const MaxOverlap = 30 * 24 * time.Hour

// Rotated is the result of a rotation: the new key and the old one.
type Rotated struct {
	Minted
	Previous Key
}

// Rotate replaces an active key by a new one with the same name, description, origins, limit, budget and rights, and returns the new plaintext.
// Its expiry is the given one or, if that is nil, the old key's, as the policy allows. The old key keeps working for the overlap, but not beyond its own expiry; without an overlap it is revoked immediately.
// A key can be rotated once. It requires Write, a caller who holds everything that the key holds, and what mayGive requires.
func (s *Service) Rotate(ctx context.Context, c Caller, namespace string, id ID, overlap time.Duration, expiresAt *time.Time) (*Rotated, error) {
	var successor Key
	var secret Secret
	previous, err := s.change(ctx, c, c.wish(KeyRotated, namespace, string(id)), func(from Key, own *Key, now time.Time) (Change, error) {
		if err := CheckOverlap(overlap); err != nil {
			return Change{}, err
		}
		end, err := s.Policy.successorExpiry(&from, expiresAt, now)
		if err != nil {
			return Change{}, err
		}
		if err := s.mayRotate(c, own, &from, end); err != nil {
			return Change{}, err
		}
		budget, err := s.BudgetOf(ctx, &from)
		if err != nil {
			return Change{}, err
		}
		prefix := organizationKeyPrefix
		if from.Type == RetrieverKey {
			prefix = retrieverKeyPrefix
		}
		successor = from
		secret = successor.mint(prefix, now)
		successor.CreatedBy, successor.LastUsedAt, successor.RevokeReason = &c.Key.UserID, nil, nil
		successor.LeakedAt, successor.LeakSource, successor.LeakURL = nil, nil, nil // only the old plaintext leaked
		successor.UserID = c.Key.UserID
		if c.Key.PrincipalID != nil { // otherwise the key would act for its previous user
			successor.PrincipalID = c.Key.PrincipalID
		}
		successor.RotatedFrom, successor.Budget, successor.Revision = &from.ID, budget, 0
		successor.ExpiresAt = end
		s.Policy.asOf(&successor, now)

		to := from
		to.RotatedTo = &successor.ID
		change := Change{ActiveAt: now, Successor: &successor, Fields: FieldRotatedTo}
		if overlap == 0 {
			change.Fields |= to.revoke(c, now, nil)
		} else if end := now.Add(overlap); from.ExpiresAt == nil || end.Before(*from.ExpiresAt) {
			to.ExpiresAt = &end
			change.Fields |= FieldExpiresAt
		}
		change.Key = to
		return change, nil
	})
	if err != nil {
		return nil, err
	}
	return &Rotated{Minted{successor, secret}, *previous}, nil
}

// CheckOverlap returns an error if a rotation cannot have this overlap.
func CheckOverlap(overlap time.Duration) error {
	if overlap < 0 || overlap > MaxOverlap {
		return Invalid("overlapSeconds", "overlapSeconds must be 0 to %d, which is 30 days.", int(MaxOverlap/time.Second))
	}
	return nil
}

// canBeRotated returns nil unless the key's own state forbids a rotation.
func (k *Key) canBeRotated() error {
	if err := mustBeActive(k); err != nil {
		return err
	}
	switch {
	case k.RotatedTo != nil:
		return conflict("This key was already rotated.")
	case k.Type == UserScoped || k.Type == Session:
		return conflict("This key cannot be rotated: keys of the type " + string(k.Type) + " act for one person, and the new key would do so in your hands. Revoke it, and get a new one from the platform, which issues them.")
	case !k.readable():
		return conflict("This key has limits that cannot be read, so it cannot be rotated. Create a new key and revoke this one.")
	}
	return nil
}

// readable reports whether all limits of the key are known. A copy of other keys would not have the same limits.
func (k *Key) readable() bool {
	known := k.Type.Known() && allKnown(k.Permissions) && (k.AllowedOrigins == nil || len(k.AllowedOrigins) > 0)
	return known && !slices.ContainsFunc(k.Scopes, func(s Scope) bool { return !s.ResourceType.Known() || !allKnown(s.Operations) })
}

func allKnown[W word](words []W) bool {
	return !slices.ContainsFunc(words, func(w W) bool { return !w.Known() })
}

func mustBeActive(k *Key) error {
	if k.Status != Active {
		return conflict("This key is " + string(k.Status) + ". Only an active key can be changed.")
	}
	return nil
}
