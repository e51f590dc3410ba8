package apikey

import (
	"context"
	"slices"
	"time"
)

// Revoke revokes a key immediately and for good, even if it has expired. Revoking a key again changes nothing and is not an error. It
// requires Delete. An operator may revoke any key of the organization, even if its retriever is gone.
func (s *Service) Revoke(ctx context.Context, c Caller, namespace string, id ID) (*Key, error) {
	return s.revoke(ctx, c, c.wish(KeyRevoked, namespace, string(id)))
}

func (s *Service) revoke(ctx context.Context, c Caller, as wish) (*Key, error) {
	return s.change(ctx, c, as, func(from Key, _ *Key, now time.Time) (Change, error) {
		to := from
		if from.Status == Revoked {
			return Change{Key: to}, nil
		}
		fields := to.revoke(c, now)
		return Change{Key: to, Fields: fields}, nil
	})
}

// RevokeOf is Revoke for a key of this retriever, given by id or name. Other keys count as absent.
func (s *Service) RevokeOf(ctx context.Context, c Caller, namespace, retriever string, id ID) error {
	if err := s.Admit(ctx, c, KeyRevoked); err != nil {
		return err
	}
	as := c.wish(KeyRevoked, namespace, string(id))
	as.of = retriever
	if err := s.denials.again(c.actor(), as, s.now()); err != nil {
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
	_, err = s.revoke(ctx, c, as)
	return err
}

// revoke marks the key as revoked and returns the fields that it changed.
func (k *Key) revoke(c Caller, now time.Time) Fields {
	k.Stored, k.RevokedAt, k.RevokedBy = Revoked, &now, &c.Key.UserID
	return FieldStatus | FieldRevokedAt | FieldRevokedBy
}
