package apikey

import (
	"context"
	"crypto/subtle"
	"time"
)

// Service answers the product's questions. Its methods take the caller as an argument; contexts carry only deadlines, costs and spans.
// They return an *Error, or an error that is Internal to callers.
type Service struct {
	Store Store
	Now   func() time.Time // nil means time.Now
	Usage *Usage           // nil records nothing
	Live  *Live            // nil means that nobody can follow events
	// RateLimit is how many requests per minute a key without a limit of its own may make; 0 means any number.
	RateLimit int
	Policy    Policy
	// LeakAction is what reports of leaks do to active keys; empty means RevokeLeaked.
	LeakAction LeakAction

	denials denials
	scans   scans
}

func (s *Service) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// Authenticate returns the caller whose key the bearer token is. Every invalid token returns the same Unauthenticated error, whatever is
// wrong with it. If the store cannot be read, it returns Unavailable.
func (s *Service) Authenticate(ctx context.Context, token string) (Caller, error) {
	if !plausible(token) {
		return Caller{}, refusedBearer()
	}
	return s.authenticate(ctx, digest(token))
}

func refusedBearer() *Error { return unauthenticated("The bearer token is not a valid API key.") }

// authenticate returns the caller whose token has that hash.
func (s *Service) authenticate(ctx context.Context, hash string) (Caller, error) {
	refused := refusedBearer()
	keys, err := s.Store.KeysByHash(ctx, hash)
	if err != nil {
		return Caller{}, err
	}
	// Two documents with one hash: it is impossible to say whose token it is.
	if len(keys) != 1 || subtle.ConstantTimeCompare([]byte(keys[0].Hash), []byte(hash)) != 1 {
		return Caller{}, refused
	}
	key := &keys[0]
	if key.InternalID == "" {
		return Caller{}, refused
	}
	if key.Status = key.StatusAt(s.now()); key.Status != Active {
		return Caller{}, refused
	}
	return Caller{Key: key}, nil
}

func (s *Service) used(c Caller) {
	if s.Usage != nil {
		s.Usage.note(c.Key, s.now())
	}
}

// Viewer returns the caller's own key.
func (s *Service) Viewer(c Caller) (*Key, error) {
	if err := s.authorize(c, Read); err != nil {
		return nil, err
	}
	return c.Key, nil
}
