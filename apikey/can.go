package apikey

import "context"

// Can says which mutations of a key would succeed for a caller now. The mutation's input, or a concurrent change, can still make it fail.
type Can struct{ Update, Rotate, Revoke bool }

// CanFields are the fields of keys that Service.May needs.
const CanFields = FieldType | FieldPermissions | FieldScopes | FieldRotatedTo | StatusFields | limits

// May returns what the caller can do with each of the keys, in the same order. The Service must have returned the keys to the same caller.
// It reads the retrievers that they name, all together, and only if the caller's scopes make them matter.
func (s *Service) May(ctx context.Context, c Caller, keys []*Key) ([]Can, error) {
	if err := s.authorize(c, Read); err != nil {
		return nil, err
	}
	can := make([]Can, len(keys))
	var homes homes
	if len(c.Key.Scopes) > 0 && c.authorizeChange(Write) == nil {
		retrievers, err := s.retrieversOf(ctx, c, keys)
		if err != nil {
			return nil, err
		}
		homes = homesOf(retrievers)
	}
	now := s.now()
	for i, key := range keys {
		k := s.Policy.at(*key, now)
		end, err := s.Policy.successorExpiry(k, nil, now)
		if err != nil { // a rotation needs an expiry, and can have the caller's
			end = c.Key.ExpiresAt
		}
		can[i] = Can{
			Update: c.mayChange(k, KeyUpdated, homes) == nil && mustBeActive(k) == nil,
			Rotate: c.mayChange(k, KeyRotated, homes) == nil && s.mayRotate(c, c.Key, k, end) == nil,
			Revoke: c.mayChange(k, KeyRevoked, homes) == nil,
		}
	}
	return can, nil
}

// CanCreate reports whether the caller can create keys for a retriever that the Service returned to it.
func (c Caller) CanCreate(r *Retriever) bool {
	return c.mayCreate(r) == nil && r.canHaveKeys() == nil
}
