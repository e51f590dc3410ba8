package apikey

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxSearch is the maximum length of a search text in characters.
const maxSearch = 200

// search matches a literal text, ignoring case. The plaintext of a key also matches the key with its hash. A text that begins like a key
// and is longer than the stored prefix also matches the keys with that prefix.
type search struct {
	text   string
	folded string
	hash   string // of the text, if it may be a plaintext
	prefix string // as keys show it; empty if the text does not begin like a key
}

func newSearch(text string) search {
	s := search{text: text, folded: folded(text)}
	key := strings.TrimSpace(text)
	if plausible(key) {
		s.hash = digest(key)
	}
	if begins := strings.HasPrefix(key, organizationKeyPrefix) || strings.HasPrefix(key, retrieverKeyPrefix); begins && len(key) > prefixChars {
		s.prefix = key[:prefixChars] + "..."
	}
	return s
}

// check returns an error about field if the text is too long.
func (s *search) check(field string) error {
	if n := utf8.RuneCountInString(s.text); n > maxSearch {
		return Invalid(field, "The search text must have at most %d characters, not %d.", maxSearch, n)
	}
	return nil
}

// finds reports whether the search matches the key.
func (s *search) finds(k *Key) bool {
	return s.matches(k.Name, k.Description, text(k.Prefix)) || s.hash != "" && s.hash == k.Hash || s.prefix != "" && s.prefix == text(k.Prefix)
}

// matches reports whether the text is part of one of the texts. An empty text matches everything.
func (s *search) matches(texts ...string) bool {
	return s.folded == "" || slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(folded(t), s.folded) })
}

// folded removes differences of case. It lowers and then raises each letter, because some letters, such as the two small sigmas, only
// meet as capitals, and others, such as the Kelvin sign, only as small letters.
func folded(s string) string {
	return strings.Map(func(r rune) rune {
		if int(r) < len(common) {
			return common[r]
		}
		return foldedRune(r)
	}, s)
}

func foldedRune(r rune) rune { return unicode.ToUpper(unicode.ToLower(r)) }

// common has the folded letters of the most frequent scripts. Looking one up takes a tenth of the time.
var common = func() (table [0x600]rune) {
	for r := range table {
		table[r] = foldedRune(rune(r))
	}
	return table
}()

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
