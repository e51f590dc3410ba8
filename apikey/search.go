package apikey

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxSearch is the maximum length of a search text in characters.
const maxSearch = 200

// Search is a text that must be part of a key's name, description or prefix, ignoring case. The plaintext of a key also matches the key with
// its hash. A text that begins like a key and is longer than the stored prefix also matches the keys with that prefix. The zero value
// matches every key.
type Search struct {
	text   string
	folded string
	hash   string
	prefix string
}

// NewSearch returns the search for a text.
func NewSearch(text string) Search {
	s := Search{text: text, folded: string(appendFolded(nil, text))}
	key := strings.TrimSpace(text)
	if plausible(key) {
		s.hash = digest(key)
	}
	if begins := strings.HasPrefix(key, organizationKeyPrefix) || strings.HasPrefix(key, retrieverKeyPrefix); begins && len(key) > prefixChars {
		s.prefix = key[:prefixChars] + "..."
	}
	return s
}

// Empty reports whether the search matches every key.
func (s *Search) Empty() bool { return s.text == "" }

// Text returns the text.
func (s *Search) Text() string { return s.text }

// Hash returns the hash of the text, or an empty text if no key can have that plaintext.
func (s *Search) Hash() string { return s.hash }

// Prefix returns the prefix that keys which begin like the text show, or an empty text if it does not begin like a key.
func (s *Search) Prefix() string { return s.prefix }

// check returns an error about field if the text is too long.
func (s *Search) check(field string) error {
	if n := utf8.RuneCountInString(s.text); n > maxSearch {
		return Invalid(field, "The search text must have at most %d characters, not %d.", maxSearch, n)
	}
	return nil
}

// finds reports whether the search matches the key.
func (s *Search) finds(k *Key) bool {
	return s.matches(k.Name, k.Description, text(k.Prefix)) || s.hash != "" && s.hash == k.Hash || s.prefix != "" && s.prefix == text(k.Prefix)
}

// matches reports whether the text is part of one of the texts. An empty text matches everything.
func (s *Search) matches(texts ...string) bool {
	if s.folded == "" {
		return true
	}
	var room [256]byte // so that most texts take no memory
	return slices.ContainsFunc(texts, func(t string) bool { return bytes.Contains(appendFolded(room[:0], t), []byte(s.folded)) })
}

// appendFolded appends a text without its differences of case, by Unicode's simple case folding.
func appendFolded(b []byte, s string) []byte {
	for _, r := range s {
		if int(r) < len(common) {
			r = common[r]
		} else {
			r = foldedRune(r)
		}
		b = utf8.AppendRune(b, r)
	}
	return b
}

// foldedRune returns the smallest character that differs from r only in case.
func foldedRune(r rune) rune {
	smallest := r
	for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
		smallest = min(smallest, other)
	}
	return smallest
}

// Cases returns the characters that differ from r only in case by Unicode's simple case folding, r first.
func Cases(r rune) []rune {
	cases := []rune{r}
	for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
		cases = append(cases, other)
	}
	return cases
}

// common has the folded characters of the most frequent scripts. Looking one up takes a tenth of the time.
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
