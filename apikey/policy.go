package apikey

import "time"

// A key's end, origins and limit bound what its holder can do. Without admin, a caller therefore gives no key more of them than
// their own key has. Otherwise the caller could rotate a key that has more, and hold the new one, or lift the limits of their own
// key through its successor. Keys of retrievers are exempt: they change nothing, and whoever manages a retriever decides what its
// keys may do.

// limits are the fields that limit what a key can be used for.
const limits = FieldExpiresAt | FieldAllowedOrigins | FieldRateLimitOverride

// mayGive returns Forbidden if the caller may not give a key the limits that it has in these fields. It compares them with the
// caller's own key as ownKey returned it, because somebody may have limited that key since the request was let in.
func (s *Service) mayGive(c Caller, own, k *Key, given Fields) error {
	if given&limits == 0 || k.Type == RetrieverKey || c.authorize(Admin) == nil {
		return nil
	}
	switch beyond := s.wider(own, k) & given; {
	case beyond&FieldExpiresAt != 0:
		return forbidden("Without the permission admin, your key can give no key a later end than it has itself.")
	case beyond&FieldAllowedOrigins != 0:
		return forbidden("Without the permission admin, your key can give no key origins that it may not be used from itself.")
	case beyond&FieldRateLimitOverride != 0:
		return forbidden("Without the permission admin, your key can give no key a higher rate limit than it has itself.")
	}
	return nil
}

// wider returns those limits of k that allow more than the same limits of another key.
func (s *Service) wider(than, k *Key) Fields {
	var fields Fields
	if later(k.ExpiresAt, than.ExpiresAt) {
		fields |= FieldExpiresAt
	}
	if !originsWithin(k.AllowedOrigins, than.AllowedOrigins) {
		fields |= FieldAllowedOrigins
	}
	if higher(k.RateLimit(s.RateLimit), than.RateLimit(s.RateLimit)) {
		fields |= FieldRateLimitOverride
	}
	return fields
}

// later reports whether a key with the one end lives longer than a key with the other. Nil means never-ending.
func later(end, than *time.Time) bool {
	return than != nil && (end == nil || end.After(*than))
}

// higher reports whether one result of Key.RateLimit allows more than another. Zero means unlimited.
func higher(limit, than int) bool {
	return than != 0 && (limit == 0 || limit > than)
}
