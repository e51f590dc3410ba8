// Package wire appends values as JSON, and checks JSON that the standard library reads too leniently. It appends because lists of keys are
// long, and building values for an encoder costs several times as much.
package wire

import (
	"strconv"
	"time"
)

// Text appends a string, which must be UTF-8.
func Text[S ~string](b []byte, s S) []byte {
	const hex = "0123456789abcdef"
	rest := string(s)
	b = append(b, '"')
	for {
		n := plain(rest)
		b = append(b, rest[:n]...)
		if n == len(rest) {
			return append(b, '"')
		}
		if c := rest[n]; c == '"' || c == '\\' {
			b = append(b, '\\', c)
		} else {
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		}
		rest = rest[n+1:]
	}
}

// plain returns the length of the prefix that needs no escape in JSON. Most strings need none at all, so it looks at eight bytes at a time
// first. Each subtraction sets the highest bit of every byte below the bound. It sets the highest bit of another byte only if there is one
// below the bound before it.
func plain(s string) int {
	const each, highest = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; len(s)-n >= 8; n += 8 {
		s := s[n : n+8]
		w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		quote, backslash := w^each*'"', w^each*'\\' // 0 in the bytes that are one
		if ((w-each*' ')&^w|(quote-each)&^quote|(backslash-each)&^backslash)&highest != 0 {
			break
		}
	}
	for ; n < len(s); n++ {
		if c := s[n]; c < ' ' || c == '"' || c == '\\' {
			break
		}
	}
	return n
}

// OptionalText appends a string, or null if s is nil.
func OptionalText[S ~string](b []byte, s *S) []byte {
	if s == nil {
		return Null(b)
	}
	return Text(b, *s)
}

// OptionalInt appends a number, or null if n is nil.
func OptionalInt(b []byte, n *int32) []byte {
	if n == nil {
		return Null(b)
	}
	return strconv.AppendInt(b, int64(*n), 10)
}

// Time appends a time as RFC 3339 in UTC with milliseconds. The year must be 0 to 9999.
func Time(b []byte, t time.Time) []byte {
	b = t.UTC().AppendFormat(append(b, '"'), time.RFC3339) // AppendFormat is fastest for this layout
	ms := t.Nanosecond() / int(time.Millisecond)
	return append(b[:len(b)-1], '.', '0'+byte(ms/100), '0'+byte(ms/10%10), '0'+byte(ms%10), 'Z', '"')
}

// OptionalTime appends a time, or null if t is nil.
func OptionalTime(b []byte, t *time.Time) []byte {
	if t == nil {
		return Null(b)
	}
	return Time(b, *t)
}

// Array appends an array of n items.
func Array(b []byte, n int, item func(b []byte, i int) []byte) []byte {
	b = append(b, '[')
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = item(b, i)
	}
	return append(b, ']')
}

// Texts appends an array of strings.
func Texts[S ~string](b []byte, items []S) []byte {
	return Array(b, len(items), func(b []byte, i int) []byte { return Text(b, items[i]) })
}

// Null appends null.
func Null(b []byte) []byte { return append(b, "null"...) }
