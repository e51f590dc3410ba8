package apikey

import (
	"context"
	"slices"
	"time"
)

// maxReason is the longest reason of a revocation, in characters.
const maxReason = 200

// Revoke revokes a key immediately and for good, even if it has expired. Revoking a key again changes nothing and is not an error. It
// requires Delete. The reason may be nil; otherwise it is text of 1 to 200 characters, which the key and the event keep.
func (s *Service) Revoke(ctx context.Context, c Caller, namespace string, id ID, reason *string) (*Key, error) {
	return s.revoke(ctx, c, c.wish(KeyRevoked, namespace, string(id)), reason)
}

func (s *Service) revoke(ctx context.Context, c Caller, as wish, reason *string) (*Key, error) {
	return s.change(ctx, c, as, func(from Key, _ *Key, now time.Time) (Change, error) {
		why, err := readReason(reason)
		if err != nil {
			return Change{}, err
		}
		return c.revocation(from, now, why), nil
	})
}

// revocation is the change that revokes a key, or no change if it is revoked already.
func (c Caller) revocation(from Key, now time.Time, reason *string) Change {
	change := Change{Key: from}
	if from.Status != Revoked {
		change.Fields = change.Key.revoke(c, now, reason)
	}
	return change
}

func readReason(reason *string) (*string, error) {
	if reason == nil {
		return nil, nil
	}
	why, err := printed("reason", *reason, maxReason)
	return &why, err
}

// CheckReason returns an error if a revocation cannot have this reason.
func CheckReason(reason *string) error {
	_, err := readReason(reason)
	return err
}

// RevokeOf is Revoke for a key of this retriever, given by id or name. Other keys count as absent.
func (s *Service) RevokeOf(ctx context.Context, c Caller, namespace, retriever string, id ID) error {
	if err := s.Admit(ctx, c, KeyRevoked); err != nil {
		return err
	}
	as := c.wish(KeyRevoked, namespace, string(id))
	as.of = retriever
	if err := s.denials.lastRefusal(c.actor(), as, s.now()); err != nil {
		return err
	}
	r, err := s.findRetriever(ctx, c, namespace, retriever)
	if err != nil {
		return err
	}
	keys, err := s.Store.CurrentKeys(ctx, c.tenant(), id)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(keys, func(k Key) bool { return slices.Contains(k.Retrievers(), r.ID) }) {
		return notFound("API key")
	}
	_, err = s.revoke(ctx, c, as, nil)
	return err
}

// revoke marks the key as revoked and returns the fields that it changed.
func (k *Key) revoke(c Caller, now time.Time, reason *string) Fields {
	fields := FieldStatus | FieldRevokedAt | FieldRevokedBy
	if reason != nil || k.RevokeReason != nil { // other documents do not get the field
		fields |= FieldRevokeReason
	}
	k.Stored, k.RevokedAt, k.RevokedBy, k.RevokeReason = Revoked, &now, &c.Key.UserID, reason
	return fields
}
