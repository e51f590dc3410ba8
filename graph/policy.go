package graph

import (
	"cmp"
	"time"

	"retrieverkeys/apikey"
)

// ApiKeyPolicy is the policy in whole seconds.
type ApiKeyPolicy struct {
	DefaultLifetimeSeconds, MaxLifetimeSeconds *int
	StaleAfterSeconds, ExpiryNoticeSeconds     int
	LeakAction                                 apikey.LeakAction
}

func policy(p apikey.Policy, leaks apikey.LeakAction) *ApiKeyPolicy {
	limit := func(d time.Duration) *int {
		if d == 0 {
			return nil
		}
		return new(seconds(d))
	}
	return &ApiKeyPolicy{limit(p.DefaultLifetime), limit(p.MaxLifetime), seconds(p.StaleAfter), seconds(p.ExpiryNotice), cmp.Or(leaks, apikey.RevokeLeaked)}
}

func seconds(d time.Duration) int { return int(d / time.Second) }
