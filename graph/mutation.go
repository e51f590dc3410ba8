package graph

import (
	"github.com/99designs/gqlgen/graphql"

	"retrieverkeys/apikey"
)

// What follows turns the mutations' inputs into the domain's, and its answers into payloads, so that a resolver is one
// call.

func (in CreateAPIKeyInput) settings() apikey.Settings {
	return apikey.Settings{
		Name:              apikey.Given(&in.Name),
		Description:       optional(in.Description),
		ExpiresAt:         optional(in.ExpiresAt),
		AllowedOrigins:    list(in.AllowedOrigins),
		RateLimitOverride: optional(in.RateLimitOverride),
	}
}

func (in UpdateAPIKeyInput) settings() apikey.Settings {
	return apikey.Settings{
		Name:              optional(in.Name),
		Description:       optional(in.Description),
		ExpiresAt:         optional(in.ExpiresAt),
		AllowedOrigins:    list(in.AllowedOrigins),
		RateLimitOverride: optional(in.RateLimitOverride),
	}
}

func optional[T any](o graphql.Omittable[*T]) apikey.Optional[T] {
	v, given := o.ValueOK()
	return apikey.Optional[T]{Given: given, Value: v}
}

// list is optional for a list, of which gqlgen makes null a nil one.
func list[T any](o graphql.Omittable[[]T]) apikey.Optional[[]T] {
	v, given := o.ValueOK()
	return apikey.Optional[[]T]{Given: given, Value: &v}
}

func created(m *apikey.Minted, err error) (*CreateAPIKeyPayload, error) {
	if err != nil {
		return nil, err
	}
	return &CreateAPIKeyPayload{APIKey: &m.Key, Key: m.Secret.Reveal()}, nil
}

func updated(u *apikey.Updated, err error) (*UpdateAPIKeyPayload, error) {
	if err != nil {
		return nil, err
	}
	return &UpdateAPIKeyPayload{APIKey: &u.Key, Cleared: u.Cleared}, nil
}

func rotated(r *apikey.Rotated, err error) (*RotateAPIKeyPayload, error) {
	if err != nil {
		return nil, err
	}
	return &RotateAPIKeyPayload{APIKey: &r.Key, Key: r.Secret.Reveal(), Previous: &r.Previous}, nil
}

func revoked(k *apikey.Key, err error) (*RevokeAPIKeyPayload, error) {
	if err != nil {
		return nil, err
	}
	return &RevokeAPIKeyPayload{APIKey: k}, nil
}
