package telemetry

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
)

// Everything that looks like a secret is replaced in every log line. No line should contain one. This covers the line that does by mistake, and
// text from elsewhere, such as a driver's error or the value of a panic.

const redacted = "[redacted]"

// secrets are the patterns of secrets, each with its replacement.
var secrets = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(?i)\b(bearer\s+)[^\s"',;]+`), "${1}" + redacted},
	{regexp.MustCompile(`(^|[^A-Za-z])(?:ret_)?sk_[A-Za-z0-9_-]{4,}`), "${1}" + redacted},
	{regexp.MustCompile(`[0-9A-Fa-f]{64,}`), redacted},
	{regexp.MustCompile(`(://)[^\s"'<>]*@`), "${1}" + redacted + "@"},
	{regexp.MustCompile(`(/[^\s"'?]*\?)[^\s"']+`), "${1}" + redacted},
}

// redact returns the text without secrets.
func redact(text string) string {
	if !suspicious(text) {
		return text
	}
	for _, s := range secrets {
		text = s.pattern.ReplaceAllString(text, s.instead)
	}
	return text
}

// suspicious is a cheap test for texts that may contain a secret. Most texts do not pass it.
func suspicious(text string) bool {
	return strings.Contains(text, "sk_") || strings.Contains(text, "://") || strings.IndexByte(text, '?') >= 0 ||
		hasBearer(text) || hasHash(text)
}

// hasBearer reports whether the text contains the word bearer, in any case.
func hasBearer(text string) bool {
	const word = "bearer"
	for i := range len(text) - len(word) + 1 {
		if text[i]|0x20 == 'b' && strings.EqualFold(text[i:i+len(word)], word) {
			return true
		}
	}
	return false
}

// hasHash reports whether there are 64 hexadecimal digits in a row.
func hasHash(text string) bool {
	if len(text) < 64 {
		return false
	}
	run := 0
	for i := range len(text) {
		switch c := text[i]; {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
			if run++; run == 64 {
				return true
			}
		default:
			run = 0
		}
	}
	return false
}

// redactRecord returns the record without secrets. It returns most records unchanged.
func redactRecord(r slog.Record) slog.Record {
	message := redact(r.Message)
	changed := message != r.Message
	r.Attrs(func(a slog.Attr) bool {
		if !changed {
			_, changed = redactAttr(a)
		}
		return !changed
	})
	if !changed {
		return r
	}
	clean := slog.NewRecord(r.Time, r.Level, message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		a, _ = redactAttr(a)
		clean.AddAttrs(a)
		return true
	})
	return clean
}

// redactAttrs returns the attributes without secrets, and whether there was a secret.
func redactAttrs(attrs []slog.Attr) (clean []slog.Attr, changed bool) {
	clean = make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		var c bool
		clean[i], c = redactAttr(a)
		changed = changed || c
	}
	return clean, changed
}

func redactAttr(a slog.Attr) (slog.Attr, bool) {
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindString:
		text := redact(v.String())
		return slog.String(a.Key, text), text != v.String() || a.Value.Kind() != slog.KindString
	case slog.KindGroup:
		clean, changed := redactAttrs(v.Group())
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(clean...)}, changed || a.Value.Kind() != slog.KindGroup
	case slog.KindAny:
		if text, changed := redactAny(v.Any()); changed {
			return slog.String(a.Key, text), true
		}
		return a, false
	default:
		return a, false
	}
}

// redactAny checks a value in each form in which a handler may write it.
func redactAny(v any) (string, bool) {
	text := fmt.Sprintf("%+v", v)
	if b, ok := v.([]byte); ok {
		text = string(b)
	}
	clean, asJSON := redact(text), inJSON(v)
	return clean, clean != text || redact(asJSON) != asJSON
}

// inJSON returns the value as JSON, or an empty string if it has no JSON. If encoding panics, it returns the value of the panic, because slog
// writes that.
func inJSON(v any) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprint(p)
		}
	}()
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}
