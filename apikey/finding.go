package apikey

import (
	"slices"
	"time"
)

// Policy says how long keys may live, and when a key needs attention. A zero duration sets no limit, or looks for nothing.
type Policy struct {
	DefaultLifetime time.Duration // of a new key without an expiry
	MaxLifetime     time.Duration // the longest that a key may still live when its expiry is set
	StaleAfter      time.Duration // how long a key can be unused before it is unused or stale
	ExpiryNotice    time.Duration // how long before its expiry a key expires soon, and has an event
}

// Finding is something about a key that needs attention.
type Finding string

// The findings. All but Leaked are about active keys.
const (
	NeverExpires      Finding = "never_expires"
	BeyondMaxLifetime Finding = "beyond_max_lifetime" // it has no expiry, or one later than Policy.MaxLifetime after its creation
	ExpiresSoon       Finding = "expires_soon"        // within Policy.ExpiryNotice
	Unused            Finding = "unused"              // it was never used, and is older than Policy.StaleAfter
	Stale             Finding = "stale"               // it was used, but not for Policy.StaleAfter
	Leaked            Finding = "leaked"              // a leak of it was reported; of keys in every state
)

// Findings are all findings, in the order in which keys have them.
var Findings = []Finding{NeverExpires, BeyondMaxLifetime, ExpiresSoon, Unused, Stale, Leaked}

// FindingSet is a set of findings.
type FindingSet uint8

// FindingsOf returns the set of these findings.
func FindingsOf(findings ...Finding) (set FindingSet) {
	for _, f := range findings {
		set |= 1 << slices.Index(Findings, f)
	}
	return set
}

// Has reports whether the finding is in the set.
func (s FindingSet) Has(f Finding) bool { return s&FindingsOf(f) != 0 }

// List returns the findings of the set in the order of Findings.
func (s FindingSet) List() []Finding {
	list := []Finding{}
	for i, f := range Findings {
		if s&(1<<i) != 0 {
			list = append(list, f)
		}
	}
	return list
}

// Findings returns what needs attention about the key at the time of the request.
func (k *Key) Findings() []Finding { return k.Found.List() }

// FindingFields are the fields that decide about findings.
const FindingFields = StatusFields | FieldCreatedAt | FieldLastUsedAt | FieldLeakedAt

// FindingsAt returns what needs attention about a key at an instant. A date that is missing or cannot be read is not early or late, except that
// such a key never expires, or was never used.
func (p *Policy) FindingsAt(k *Key, now time.Time) (found FindingSet) {
	add := func(f Finding, is bool) {
		if is {
			found |= FindingsOf(f)
		}
	}
	add(Leaked, k.LeakedAt != nil)
	if k.StatusAt(now) != Active {
		return found
	}
	stale := p.StaleSince(now)
	add(NeverExpires, k.ExpiresAt == nil)
	add(BeyondMaxLifetime, p.MaxLifetime > 0 && (k.ExpiresAt == nil || k.CreatedAt != nil && k.ExpiresAt.Sub(*k.CreatedAt) > p.MaxLifetime))
	add(ExpiresSoon, k.ExpiresAt != nil && k.ExpiresAt.Before(p.SoonAt(now)))
	add(Unused, p.StaleAfter > 0 && k.LastUsedAt == nil && k.CreatedAt != nil && k.CreatedAt.Before(stale))
	add(Stale, p.StaleAfter > 0 && k.LastUsedAt != nil && k.LastUsedAt.Before(stale))
	return found
}

// SoonAt returns the instant before which an expiry is soon.
func (p *Policy) SoonAt(now time.Time) time.Time { return now.Add(p.ExpiryNotice) }

// StaleSince returns the instant before which a use is long ago.
func (p *Policy) StaleSince(now time.Time) time.Time { return now.Add(-p.StaleAfter) }

// asOf sets what is derived from the key's fields and an instant: its status and its findings.
func (p *Policy) asOf(k *Key, now time.Time) {
	k.Status, k.Found = k.StatusAt(now), p.FindingsAt(k, now)
}

// at returns a copy of the key as of an instant.
func (p *Policy) at(k Key, now time.Time) *Key {
	p.asOf(&k, now)
	return &k
}

// addFindings adds the condition that keys have one of the findings. A finding that an index decides becomes a condition on its field.
func (c *KeyConditions) addFindings(p Policy, findings ...Finding) {
	if len(findings) == 0 {
		return
	}
	set := FindingsOf(findings...)
	if !set.Has(Leaked) {
		c.onlyActive()
	}
	switch set {
	case FindingsOf(NeverExpires):
		c.NeverExpires = true
	case FindingsOf(ExpiresSoon):
		c.Expires.Until = earlier(c.Expires.Until, p.SoonAt(c.At))
	default:
		c.Findings, c.Policy = set, p
	}
}

// onlyActive narrows the conditions to active keys.
func (c *KeyConditions) onlyActive() {
	if c.Status == nil || slices.Contains(c.Status, Active) {
		c.Status = []Status{Active}
		return
	}
	c.Status = []Status{} // no key
}

func earlier(a *time.Time, b time.Time) *time.Time {
	if a != nil && a.Before(b) {
		return a
	}
	return &b
}
