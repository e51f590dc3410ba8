package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
)

// ErrSurrogate is the error for half of a surrogate pair, which is not a character. Go's decoder silently replaces it, so that two different
// strings become equal.
var ErrSurrogate = errors.New("has half of a surrogate pair (\\ud800 to \\udfff), which is not a character")

// TwiceError is the error for an object with two members of the same name. Decoders differ in which one they keep, so the next reader could see
// another value.
type TwiceError struct {
	Path []string // the names of the enclosing members, then the member's own
}

func (e *TwiceError) Error() string { return strings.Join(e.Path, ".") + " is given twice" }

// Unambiguous checks that every decoder reads the same values from a valid JSON text: no object has two members of the same name, and no string
// or name contains half of a surrogate pair.
func Unambiguous(text []byte) error {
	if halved(text) {
		return ErrSurrogate
	}
	type level struct {
		seen map[string]bool // nil in an array
		name string          // of the current member
		key  bool            // the next token is a name
	}
	var levels []level
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	for {
		token, err := dec.Token()
		if err != nil {
			return nil //nolint:nilerr // the end of a valid text
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			levels = levels[:len(levels)-1]
			continue
		}
		if n := len(levels); n > 0 && levels[n-1].seen != nil {
			inside := &levels[n-1]
			if inside.key = !inside.key; !inside.key {
				inside.name, _ = token.(string)
				if inside.seen[inside.name] {
					twice := &TwiceError{}
					for _, l := range levels {
						if l.seen != nil {
							twice.Path = append(twice.Path, l.name)
						}
					}
					return twice
				}
				inside.seen[inside.name] = true
				continue
			}
		}
		switch token {
		case json.Delim('{'):
			levels = append(levels, level{seen: map[string]bool{}, key: true})
		case json.Delim('['):
			levels = append(levels, level{})
		}
	}
}

// halved reports whether a valid JSON text contains half of a surrogate pair. Backslashes occur only in its strings and names.
func halved(text []byte) bool {
	unit := func(at int) rune { // the code unit of the escape at this index; 0 if there is none
		if at+6 > len(text) || text[at] != '\\' || text[at+1] != 'u' {
			return 0
		}
		n, _ := strconv.ParseUint(string(text[at+2:at+6]), 16, 16)
		return rune(n)
	}
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		u := unit(i)
		switch {
		case u == 0:
			i++ // skip the escaped character, which can be a backslash
		case !utf16.IsSurrogate(u):
			i += 5
		case utf16.DecodeRune(u, unit(i+6)) == '\uFFFD':
			return true
		default:
			i += 11
		}
	}
	return false
}
