package graph

import (
	"github.com/99designs/gqlgen/graphql"

	"retrieverkeys/apikey"
)

// The functions below convert the inputs of mutations to the domain's types, and its results to payloads, so that resolvers are one call.

func (input CreateAPIKeyInput) settings() apikey.Settings {
	return apikey.Settings{
		Name:              apikey.Given(&input.Name),
		Description:       optional(input.Description),
		ExpiresAt:         optional(input.ExpiresAt),
		AllowedOrigins:    optionalList(input.AllowedOrigins),
		RateLimitOverride: optional(input.RateLimitOverride),
	}
}

func (input UpdateAPIKeyInput) settings() apikey.Settings {
	return apikey.Settings{
		Name:              optional(input.Name),
		Description:       optional(input.Description),
		ExpiresAt:         optional(input.ExpiresAt),
		AllowedOrigins:    optionalList(input.AllowedOrigins),
		RateLimitOverride: optional(input.RateLimitOverride),
	}
}

func optional[T any](o graphql.Omittable[*T]) apikey.Optional[T] {
	v, given := o.ValueOK()
	return apikey.Optional[T]{Given: given, Value: v}
}

// optionalList is optional for a list, because gqlgen turns null into a nil list.
func optionalList[T any](o graphql.Omittable[[]T]) apikey.Optional[[]T] {
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

func (l *loader) revoked(all []apikey.RevokeResult, err error) (*RevokeAPIKeysPayload, error) {
	if err != nil {
		return nil, err
	}
	p := &RevokeAPIKeysPayload{Results: make([]RevokeAPIKeyResult, len(all))}
	var keys []*apikey.Key
	for i, r := range all {
		if r.Key != nil {
			keys = append(keys, r.Key)
		}
		p.Results[i] = RevokeAPIKeyResult{ID: string(r.ID), APIKey: r.Key, Outcome: r.Outcome}
		if r.Err != nil {
			p.Results[i].Message = new(apikey.Classify(r.Err).Message)
		}
	}
	l.keepKeys(keys)
	return p, nil
}

// LeakedKeyResult is the type of the schema. Its key is null with the error of a report that was not stored.
type LeakedKeyResult struct{ apikey.LeakResult }

func (input ReportLeakedKeysInput) reports() []apikey.LeakReport {
	reports := make([]apikey.LeakReport, len(input.Leaks))
	for i, l := range input.Leaks {
		reports[i] = apikey.LeakReport{Hash: l.Hash, URL: l.URL.Value(), Source: l.Source.Value()}
	}
	return reports
}

func (l *loader) leaksReported(all []apikey.LeakResult, err error) (*ReportLeakedKeysPayload, error) {
	if err != nil {
		return nil, err
	}
	p := &ReportLeakedKeysPayload{Results: make([]LeakedKeyResult, len(all))}
	var keys []*apikey.Key
	for i, r := range all {
		p.Results[i] = LeakedKeyResult{r}
		if r.Key != nil && r.Err == nil {
			keys = append(keys, r.Key)
		}
	}
	l.keepKeys(keys)
	return p, nil
}

func revoked(k *apikey.Key, err error) (*RevokeAPIKeyPayload, error) {
	if err != nil {
		return nil, err
	}
	return &RevokeAPIKeyPayload{APIKey: k}, nil
}
