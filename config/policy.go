package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// longestLifetime is as many seconds as GraphQL's Int has.
const longestLifetime = math.MaxInt32 * time.Second

// lifetime reads a duration of at least some seconds.
func lifetime(to *time.Duration, least time.Duration) func(string) error {
	return func(s string) error {
		d, err := parseLifetime(s)
		switch {
		case err != nil || d < 0 || d%time.Second != 0:
			return errors.New("must be a duration in whole seconds, such as 90d, 36h or 1d12h")
		case d < least*time.Second:
			return errors.New("must be greater than zero")
		case d > longestLifetime:
			return fmt.Errorf("must be at most %dd", longestLifetime/day)
		}
		*to = d
		return nil
	}
}

// parseLifetime reads a number of days, a duration in Go's form, or the former followed by the latter. What is too large for these types becomes a
// duration that is longer than longestLifetime.
func parseLifetime(s string) (time.Duration, error) {
	days, rest, inDays := strings.Cut(s, "d")
	if !inDays {
		d, err := time.ParseDuration(s)
		if err != nil && overflows(s) {
			return longestLifetime + time.Second, nil
		}
		return d, err
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if errors.Is(err, strconv.ErrRange) {
		err = nil // n is the largest number
	}
	if err != nil || rest == "" {
		return time.Duration(n) * day, err
	}
	d, err := time.ParseDuration(rest)
	if d < 0 || d >= day {
		return 0, errors.New("more than a day, or less than nothing, after the days")
	}
	return time.Duration(n)*day + d, err
}

// overflows reports whether time.ParseDuration refuses a text only because the duration is too long. The error of ParseDuration does not tell, so
// overflows tries the text with every digit replaced by a zero. It puts 0s before it, because ParseDuration accepts 0 without a unit.
func overflows(s string) bool {
	zeros := strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return '0'
		}
		return r
	}, strings.TrimPrefix(s, "+"))
	_, err := time.ParseDuration("0s" + zeros)
	return err == nil && strings.Contains(zeros, "0")
}

// check returns what makes no sense together. Unless the notice is set, it adapts to the lifetimes, so that no new key expires soon from its first
// day. A notice longer than the default lifetime is allowed, because keys with an expiry of their own can live longer.
func (p *Policy) check(noticeSet bool) (problems []error) {
	for _, lifetime := range []time.Duration{p.DefaultLifetime, p.MaxLifetime} {
		if !noticeSet && lifetime > 0 {
			p.ExpiryNotice = min(p.ExpiryNotice, (lifetime / 2).Truncate(time.Second))
		}
	}
	if p.MaxLifetime > 0 && p.DefaultLifetime > p.MaxLifetime {
		problems = append(problems, errors.New("KEY_DEFAULT_LIFETIME is longer than KEY_MAX_LIFETIME, so no key could be created without an expiry"))
	}
	if p.MaxLifetime > 0 && p.ExpiryNotice > p.MaxLifetime {
		problems = append(problems, errors.New("KEY_EXPIRY_NOTICE is longer than KEY_MAX_LIFETIME, so the notice of every new key would begin before the key exists"))
	}
	return problems
}

// expiry reads the time at which a key expires.
func expiry(to **time.Time) func(string) error {
	return func(s string) error {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return errors.New("must be an RFC 3339 time, such as 2027-01-31T12:00:00Z")
		}
		*to = &t
		return nil
	}
}
