package apikey

import (
	"fmt"
	"time"
)

// lifetime sets the default expiry of a new key, unless the settings have one.
func (p *Policy) lifetime(s *Settings, now time.Time) {
	if s.ExpiresAt.Value == nil && p.DefaultLifetime > 0 {
		s.ExpiresAt = Given(new(now.Add(p.DefaultLifetime)))
	}
}

// checkExpiry returns Invalid if a key may not get this expiry now. Nil means never.
func (p *Policy) checkExpiry(end *time.Time, now time.Time) error {
	switch {
	case p.MaxLifetime == 0:
		return nil
	case end == nil:
		return Invalid("expiresAt", "expiresAt must be set, because keys live for at most %s.", inDays(p.MaxLifetime))
	case end.After(now.Add(p.MaxLifetime)):
		return Invalid("expiresAt", "expiresAt must not be after %s, because keys live for at most %s.", now.Add(p.MaxLifetime).Format(Milliseconds), inDays(p.MaxLifetime))
	}
	return nil
}

// successorExpiry returns the expiry of a rotated key's successor: the given one, or that of the key, or that of a new key. Only the given one can
// be too late. The others are cut to the maximum.
func (p *Policy) successorExpiry(of *Key, given *time.Time, now time.Time) (*time.Time, error) {
	if given != nil {
		var k Key
		if err := (Settings{ExpiresAt: Given(given)}).apply(&k, now); err != nil {
			return nil, err
		}
		return k.ExpiresAt, p.checkExpiry(k.ExpiresAt, now)
	}
	s := Settings{ExpiresAt: Given(of.ExpiresAt)}
	p.lifetime(&s, now)
	end := s.ExpiresAt.Value
	if last := now.Add(p.MaxLifetime); p.MaxLifetime > 0 && end != nil && end.After(last) {
		end = &last
	}
	return end, p.checkExpiry(end, now)
}

// inDays returns a duration as text, in days if they are whole.
func inDays(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d == day:
		return "1 day"
	case d%day == 0:
		return fmt.Sprintf("%d days", d/day)
	default:
		return d.String()
	}
}
