package apikey

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxSearch is how long the text of a search may be, in characters.
const maxSearch = 200

// search is a text that is looked for: a literal part, in any case, of what is searched. The plaintext of a key also finds
// that key, by its hash; a text that begins like one and is longer than the prefix that is stored also finds the keys with
// that prefix.
type search struct {
	text   string
	folded string
	hash   string // of the text, where it may be a plaintext
	prefix string // as keys show it; empty where the text does not begin like a key
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

// check returns the error of a text that is too long; field names it.
func (s *search) check(field string) error {
	if n := utf8.RuneCountInString(s.text); n > maxSearch {
		return Invalid(field, "The text to search for must have at most %d characters, not %d.", maxSearch, n)
	}
	return nil
}

// finds reports whether the search finds the key.
func (s *search) finds(k *Key) bool {
	return s.in(k.Name, k.Description, text(k.Prefix)) || s.hash != "" && s.hash == k.Hash || s.prefix != "" && s.prefix == text(k.Prefix)
}

// in reports whether the text is part of one of the texts. The empty text is part of all.
func (s *search) in(texts ...string) bool {
	return s.folded == "" || slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(folded(t), s.folded) })
}

// folded is the text without regard to case. Each letter is made small and then capital, because letters such as the two
// small sigmas meet in their capital only, and others, such as the sign of the kelvin, in their small letter.
func folded(s string) string {
	return strings.Map(func(r rune) rune {
		if int(r) < len(common) {
			return common[r]
		}
		return foldedRune(r)
	}, s)
}

func foldedRune(r rune) rune { return unicode.ToUpper(unicode.ToLower(r)) }

// common are the folded letters of the scripts with cases that are used most. To look one up takes a tenth of the time.
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
