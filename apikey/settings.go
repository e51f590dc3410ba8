package apikey

import (
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The vendor's limits, in characters (Unicode code points).
const (
	maxName        = 100
	maxDescription = 500
	maxOrigins     = 50
)

// lastYear is the last year that RFC 3339 can write. A later date could be stored and never be read again.
const lastYear = 9999

// Optional is a value that may be left out, which differs from null.
type Optional[T any] struct {
	Given bool
	Value *T // nil is null
}

// Given returns an Optional that is given.
func Given[T any](v *T) Optional[T] { return Optional[T]{Given: true, Value: v} }

// Settings are the settings of a key that can be given when it is created, and changed later.
type Settings struct {
	Name              Optional[string]    // 1 to 100 characters without surrounding spaces and without a whole key
	Description       Optional[string]    // at most 500 characters without a whole key; null is empty
	ExpiresAt         Optional[time.Time] // in the future; null: never
	AllowedOrigins    Optional[[]string]  // at most 50 without a whole key; null or empty: unrestricted
	RateLimitOverride Optional[int]       // requests per minute, 1 to 2147483647; null: no limit of its own
}

// Check returns an error for each given setting that no key can get now. A policy may refuse more.
func (s Settings) Check(now time.Time) []error {
	var wrong []error
	for _, one := range []Settings{
		{Name: s.Name}, {Description: s.Description}, {ExpiresAt: s.ExpiresAt}, {AllowedOrigins: s.AllowedOrigins}, {RateLimitOverride: s.RateLimitOverride},
	} {
		if err := one.apply(new(Key), now); err != nil {
			wrong = append(wrong, err)
		}
	}
	return wrong
}

// apply checks the given settings and writes them to the key. Errors name the field.
func (s Settings) apply(k *Key, now time.Time) error {
	if s.Name.Given {
		name, err := printed("name", text(s.Name.Value), maxName)
		if err != nil {
			return err
		}
		k.Name = name
	}
	if s.Description.Given {
		description := text(s.Description.Value)
		n := utf8.RuneCountInString(description)
		switch {
		case malformed(description):
			return Invalid("description", "description must be UTF-8.")
		case n > maxDescription:
			return Invalid("description", "description must have at most %d characters, not %d.", maxDescription, n)
		case strings.ContainsFunc(description, func(r rune) bool { return unprintable(r) && r != '\n' && r != '\r' && r != '\t' }):
			return Invalid("description", "description must not contain control characters.")
		case HoldsKey(description):
			return Invalid("description", "description must not contain an API key.")
		}
		k.Description = description
	}
	if s.ExpiresAt.Given {
		k.ExpiresAt = s.ExpiresAt.Value
		if t := k.ExpiresAt; t != nil {
			cut := t.UTC().Truncate(time.Millisecond)
			switch k.ExpiresAt = &cut; {
			case !cut.After(now):
				return Invalid("expiresAt", "expiresAt must be in the future.")
			case cut.Year() > lastYear:
				return Invalid("expiresAt", "expiresAt must not be after the year %d, in UTC.", lastYear)
			}
		}
	}
	if s.AllowedOrigins.Given {
		k.AllowedOrigins = nil
		if list := s.AllowedOrigins.Value; list != nil && len(*list) > 0 {
			if len(*list) > maxOrigins {
				return Invalid("allowedOrigins", "allowedOrigins must have at most %d origins, not %d.", maxOrigins, len(*list))
			}
			for i, o := range *list {
				switch {
				case HoldsKey(o): // the host may have upper case and underscores
					return Invalid("allowedOrigins", "allowedOrigins[%d] must not contain an API key.", i)
				case !isOrigin(o):
					return Invalid("allowedOrigins", "allowedOrigins[%d] must be an origin as browsers send it, such as https://app.example.com or https://xn--bcher-kva.example, or all subdomains as in https://*.example.com, and nothing behind it.", i)
				}
			}
			k.AllowedOrigins = slices.Clone(*list)
		}
	}
	if s.RateLimitOverride.Given {
		k.RateLimitOverride = nil
		if n := s.RateLimitOverride.Value; n != nil {
			if *n < 1 || *n > math.MaxInt32 {
				return Invalid("rateLimitOverride", "rateLimitOverride must be 1 to %d.", math.MaxInt32)
			}
			limit := int32(*n)
			k.RateLimitOverride = &limit
		}
	}
	return nil
}

// printed returns the text without surrounding spaces. It fails unless that is printable text of 1 to most characters on one line, without a whole key.
func printed(field, text string, most int) (string, error) {
	text = strings.TrimSpace(text)
	switch n := utf8.RuneCountInString(text); {
	case malformed(text):
		return "", Invalid(field, "%s must be UTF-8.", field)
	case !strings.ContainsFunc(text, visible):
		return "", Invalid(field, "%s must have 1 to %d characters.", field, most)
	case n > most:
		return "", Invalid(field, "%s must have at most %d characters, not %d.", field, most, n)
	case strings.ContainsFunc(text, unprintable):
		return "", Invalid(field, "%s must not contain control characters.", field)
	case HoldsKey(text):
		return "", Invalid(field, "%s must not contain an API key.", field)
	}
	return text, nil
}

// malformed reports whether a text contains U+FFFD, with which JSON decoders replace invalid characters such as half a surrogate pair.
func malformed(text string) bool { return strings.ContainsRune(text, utf8.RuneError) } // also matches invalid UTF-8

// visible reports whether a character is visible.
func visible(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) }

// unprintable reports whether a character can make a text look like another one, or break a line of a log: controls and bidirectional
// controls.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}

// cleared returns the names of the settings that had a value and now have none. A client that sends null for fields that its user left
// out clears them by accident; this reveals it.
func cleared(from, to *Key) []string {
	names := []string{}
	for _, f := range []struct {
		name        string
		before, now bool
	}{
		{"description", from.Description != "", to.Description != ""},
		{"expiresAt", from.ExpiresAt != nil, to.ExpiresAt != nil},
		{"allowedOrigins", from.AllowedOrigins != nil, to.AllowedOrigins != nil},
		{"rateLimitOverride", from.RateLimitOverride != nil, to.RateLimitOverride != nil},
	} {
		if f.before && !f.now {
			names = append(names, f.name)
		}
	}
	return names
}

// fields are the fields of the given settings. No other field may be written, because unreadable values would be lost.
func (s Settings) fields() Fields {
	var fields Fields
	for _, f := range []struct {
		given bool
		field Fields
	}{
		{s.Name.Given, FieldName}, {s.Description.Given, FieldDescription}, {s.ExpiresAt.Given, FieldExpiresAt},
		{s.AllowedOrigins.Given, FieldAllowedOrigins}, {s.RateLimitOverride.Given, FieldRateLimitOverride},
	} {
		if f.given {
			fields |= f.field
		}
	}
	return fields
}
