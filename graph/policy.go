package graph

import (
	"time"

	"retrieverkeys/apikey"
)

// ApiKeyPolicy is the policy in whole seconds.
type ApiKeyPolicy struct {
	DefaultLifetimeSeconds, MaxLifetimeSeconds *int
	StaleAfterSeconds, ExpiryNoticeSeconds     int
}

func policy(p apikey.Policy) *ApiKeyPolicy {
	limit := func(d time.Duration) *int {
		if d == 0 {
			return nil
		}
		return new(seconds(d))
	}
	return &ApiKeyPolicy{limit(p.DefaultLifetime), limit(p.MaxLifetime), seconds(p.StaleAfter), seconds(p.ExpiryNotice)}
}

func seconds(d time.Duration) int { return int(d / time.Second) }
