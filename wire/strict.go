package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
)

// ErrSurrogate refuses half of a surrogate pair. It stands for no character, and Go's decoder replaces it in silence, so that two
// different texts become one.
var ErrSurrogate = errors.New("has half of a surrogate pair (\\ud800 to \\udfff) in a text, which is no character")

// TwiceError refuses an object with two members of one name. Decoders keep either, so what reads the text next may see another value.
type TwiceError struct {
	Path []string // the names of the objects that the member is in, and its own
}

func (e *TwiceError) Error() string { return strings.Join(e.Path, ".") + " is given twice" }

// Unambiguous checks that a valid JSON text means the same to every decoder: no object in it has two members of one name, and no
// text or name in it has half of a surrogate pair.
func Unambiguous(text []byte) error {
	if halved(text) {
		return ErrSurrogate
	}
	type level struct {
		seen map[string]bool // nil in an array
		name string          // of the member that is being read
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

// halved reports whether a valid JSON text has half of a surrogate pair. Backslashes are only in its texts and names.
func halved(text []byte) bool {
	unit := func(at int) rune { // of the escape there; 0 if there is none
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
			i++ // the character that is escaped, which may be a backslash
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
