// Package wire writes values as JSON by appending them. Lists of keys are long: what builds values for an encoder to walk
// through costs several times as much.
package wire

import (
	"strconv"
	"time"
)

// Text appends a text, which must be UTF-8.
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

// plain returns how many bytes the text begins with that stand for themselves in JSON. Most texts have no other, so it looks
// at eight at a time first: each subtraction sets a byte's highest bit if the byte was below the bound, and the highest bit of
// other bytes only where there is such a byte before them.
func plain(s string) int {
	const each, highest = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; len(s)-n >= 8; n += 8 {
		s := s[n : n+8]
		w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		quote, backslash := w^each*'"', w^each*'\\' // 0 where they are
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

// OptionalText appends a text, or null.
func OptionalText[S ~string](b []byte, s *S) []byte {
	if s == nil {
		return Null(b)
	}
	return Text(b, *s)
}

// OptionalInt appends a number, or null.
func OptionalInt(b []byte, n *int32) []byte {
	if n == nil {
		return Null(b)
	}
	return strconv.AppendInt(b, int64(*n), 10)
}

// Time appends an instant: RFC 3339 in UTC, with milliseconds. It must be of the years 0 to 9999.
func Time(b []byte, t time.Time) []byte {
	b = t.UTC().AppendFormat(append(b, '"'), time.RFC3339) // the one layout that needs no interpretation
	ms := t.Nanosecond() / int(time.Millisecond)
	return append(b[:len(b)-1], '.', '0'+byte(ms/100), '0'+byte(ms/10%10), '0'+byte(ms%10), 'Z', '"')
}

// OptionalTime appends an instant, or null.
func OptionalTime(b []byte, t *time.Time) []byte {
	if t == nil {
		return Null(b)
	}
	return Time(b, *t)
}

// Array appends n items.
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

// Texts appends an array of texts.
func Texts[S ~string](b []byte, items []S) []byte {
	return Array(b, len(items), func(b []byte, i int) []byte { return Text(b, items[i]) })
}

// Null appends null.
func Null(b []byte) []byte { return append(b, "null"...) }
