package apikey

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Secret is a key's plaintext. However it is formatted, logged or encoded, it prints as [redacted]. Only Reveal returns the text.
type Secret struct {
	text *string // a pointer, because fmt prints unexported fields, and any value for %p, without calling Format
}

const redacted = "[redacted]"

// Reveal returns the plaintext, for the one response that shows it.
func (s Secret) Reveal() string { return *s.text }

// Format writes [redacted] for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns [redacted]; encoding/json uses it too.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalBSONValue returns [redacted] as a BSON string.
func (Secret) MarshalBSONValue() (typ byte, value []byte, err error) {
	const bsonString = 0x02
	value = append([]byte{byte(len(redacted) + 1), 0, 0, 0}, redacted...)
	return bsonString, append(value, 0), nil
}

// LogValue returns [redacted].
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// prefixChars is how many characters of its plaintext a key shows.
const prefixChars = 10

// Prefix is what a key shows of its plaintext: its first ten characters and "...".
func (s Secret) Prefix() string { return s.Reveal()[:prefixChars] + "..." }

// Hash is the digest under which the key is stored and looked up.
func (s Secret) Hash() string { return digest(s.Reveal()) }

// digest is the lowercase hexadecimal SHA-256. A long random key needs neither a salt nor a slow hash.
func digest(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

const (
	organizationKeyPrefix = "sk_"
	retrieverKeyPrefix    = "ret_sk_"
	randomChars           = 47 // about 280 bits
	checksumChars         = 6
	base62                = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// NewAdminKey creates a key with all permissions in an organization, and its plaintext: "sk_", 47 random characters and the checksum.
func NewAdminKey(organization Namespace, userID, name, description string, now time.Time) (Key, Secret) {
	k := Key{
		Type: Standard, InternalID: organization.InternalID, OrganizationID: organization.OrganizationID,
		UserID: userID, CreatedBy: &userID, Name: name, Description: description, Permissions: []Permission{Admin}, Stored: Active,
	}
	secret := k.mint(organizationKeyPrefix, now)
	return k, secret
}

// NewRetrieverKey creates a key without a name that can execute one retriever and do nothing else. Its plaintext is discarded.
func NewRetrieverKey(retriever RetrieverID, userID string, now time.Time) Key {
	k, _ := newRetrieverKey(retriever, userID, now)
	return k
}

func newRetrieverKey(retriever RetrieverID, userID string, now time.Time) (Key, Secret) {
	k := Key{
		Type: RetrieverKey, UserID: userID, CreatedBy: &userID, Permissions: []Permission{Read}, Stored: Active,
		Scopes: []Scope{{ResourceType: ResourceRetriever, ResourceID: string(retriever), Operations: []Operation{ExecuteRetriever}}},
	}
	secret := k.mint(retrieverKeyPrefix, now)
	return k, secret
}

// mint gives the key a new id and plaintext, and keeps only the plaintext's hash and prefix.
func (k *Key) mint(prefix string, now time.Time) Secret {
	secret := mint(prefix)
	created, shown := now.UTC().Truncate(time.Millisecond), secret.Prefix()
	k.ID, k.Hash, k.Prefix, k.CreatedAt = ID(NewID("key_")), secret.Hash(), &shown, &created
	return secret
}

// mint appends to prefix 47 random base62 characters and a checksum of everything before it, with which a scanner can recognize a key
// offline.
func mint(prefix string) Secret {
	text := prefix + randomText(randomChars)
	text += checksum(text)
	return Secret{&text}
}

// Recognize returns the plaintext of a key that was created here, without a lookup: by its prefix, length, alphabet and checksum. One in
// four billion similar texts passes too.
func Recognize(token string) (Secret, bool) {
	random := strings.TrimPrefix(strings.TrimPrefix(token, "ret_"), organizationKeyPrefix)
	prefix := token[:len(token)-len(random)]
	body := len(token) - checksumChars
	if prefix != organizationKeyPrefix && prefix != retrieverKeyPrefix || len(random) != randomChars+checksumChars ||
		strings.Trim(random, base62) != "" || checksum(token[:body]) != token[body:] {
		return Secret{}, false
	}
	return Secret{&token}, true
}

// Pattern is a regular expression for the form of a key, for other programs that search for keys. It does not check the checksum. RE2 and
// Python accept it.
var Pattern = fmt.Sprintf("(?:%s)?%s[0-9A-Za-z]{%d}", strings.TrimSuffix(retrieverKeyPrefix, organizationKeyPrefix), organizationKeyPrefix, randomChars+checksumChars)

// FindSecrets reads a text to its end and calls found for each key in it that Recognize accepts, with its line number, from 1.
func FindSecrets(r io.Reader, found func(s Secret, line int)) error {
	return FindLeaks(r, func(s Secret, whole bool, line int) {
		if whole {
			found(s, line)
		}
	})
}

// FindLeaks reads a text to its end and calls found for each key in it and for each fragment: text that begins like a key, is at least as
// long as a prefix, and is not a whole key. A fragment was cut off or altered, or is a key without a checksum that was created elsewhere.
func FindLeaks(r io.Reader, found func(s Secret, whole bool, line int)) error {
	buf := make([]byte, 0, leakBuffer)
	line, at := 1, 0
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		// Keep the beginning of a key that the end of the buffer cuts off.
		done := len(buf)
		if err == nil {
			done -= maxTokenBytes - 1
		}
		for ; at < done; at++ {
			switch buf[at] {
			case '\n':
				line++
			case 'r', 's':
				s, whole, ok := leakAt(buf, at)
				if ok {
					found(s, whole, line)
				}
				if whole {
					at += len(s.Reveal()) - 1
				}
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if kept := min(at, done) - escapeBytes; kept > 0 { // the text before a fragment decides whether it begins there
			at -= kept
			buf = buf[:copy(buf, buf[kept:])]
		}
	}
}

const (
	leakBuffer  = 64 << 10
	escapeBytes = 6 // the longest sequence that escape matches
)

// leakAt returns the key, or else the fragment, that begins at this place in the text.
func leakAt(text []byte, at int) (s Secret, whole, ok bool) {
	if s, ok := secretAt(text[at:]); ok {
		return s, true, true
	}
	for _, prefix := range []string{retrieverKeyPrefix, organizationKeyPrefix} {
		if !bytes.HasPrefix(text[at:], []byte(prefix)) || !begins(text[max(0, at-escapeBytes):at]) {
			continue
		}
		end := at + len(prefix)
		for end < len(text) && end-at < maxTokenBytes && isBase62(text[end]) {
			end++
		}
		if end-at >= prefixChars {
			fragment := string(text[at:end])
			return Secret{&fragment}, false, true
		}
	}
	return Secret{}, false, false
}

// escape matches escape sequences of JSON, programs and URLs, whose last letter does not belong to a word.
var escape = regexp.MustCompile(`(\\[abfnrtv]|\\x[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|%[0-9A-Fa-f]{2})$`)

// begins reports whether a word begins after the text.
func begins(before []byte) bool {
	if len(before) == 0 {
		return true
	}
	last := before[len(before)-1]
	return !isBase62(last) && last != '_' || escape.Match(before)
}

func isBase62(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// secretAt returns the key at the beginning of the text.
func secretAt(text []byte) (Secret, bool) {
	for _, prefix := range []string{retrieverKeyPrefix, organizationKeyPrefix} {
		n := len(prefix) + randomChars + checksumChars
		if len(text) >= n && string(text[:len(prefix)]) == prefix {
			return Recognize(string(text[:n]))
		}
	}
	return Secret{}, false
}

// HoldsKey reports whether the text contains a whole key, as it is or with characters escaped as in strings of JSON and GraphQL.
func HoldsKey(text string) bool {
	return holdsKey(text) || strings.Contains(text, `\u`) && holdsKey(withoutEscapes(text))
}

var characterEscape = regexp.MustCompile(`\\u(?:[0-9A-Fa-f]{4}|\{[0-9A-Fa-f]+\})`)

// withoutEscapes replaces the escapes of ASCII characters. The characters of a key have no other escapes.
func withoutEscapes(text string) string {
	return characterEscape.ReplaceAllStringFunc(text, func(escape string) string {
		code, err := strconv.ParseUint(strings.Trim(escape, `\u{}`), 16, 32)
		if err != nil || code > unicode.MaxASCII {
			return escape
		}
		return string(rune(code))
	})
}

func holdsKey(text string) bool {
	for rest := text; ; {
		i := strings.Index(rest, organizationKeyPrefix)
		if i < 0 {
			return false
		}
		n := len(organizationKeyPrefix) + randomChars + checksumChars
		if at := i - len(retrieverKeyPrefix) + len(organizationKeyPrefix); at >= 0 {
			if _, ok := secretAt([]byte(rest[at:min(len(rest), i+n)])); ok {
				return true
			}
		}
		if _, ok := secretAt([]byte(rest[i:min(len(rest), i+n)])); ok {
			return true
		}
		rest = rest[i+1:]
	}
}

// HideKeys shortens each key in the text, and each longer part of one, to what a key shows of itself.
func HideKeys(text string) string {
	hidden := hideKeys(text)
	if HoldsKey(hidden) { // with escapes
		return hideKeys(withoutEscapes(hidden))
	}
	return hidden
}

func hideKeys(text string) string {
	if !strings.Contains(text, organizationKeyPrefix) {
		return text
	}
	var b strings.Builder
	bytes := []byte(text)
	for at := 0; at < len(text); {
		if s, whole, ok := leakAt(bytes, at); ok && (whole || len(s.Reveal()) > prefixChars && s.LooksMinted()) {
			b.WriteString(s.Prefix())
			at += len(s.Reveal())
			continue
		}
		b.WriteByte(text[at])
		at++
	}
	return b.String()
}

// LooksMinted reports whether the text after the prefix could be random. The prefix of retriever keys is proof enough; other names begin
// with the prefix of organization keys too.
func (s Secret) LooksMinted() bool {
	text, organization := strings.CutPrefix(s.Reveal(), organizationKeyPrefix)
	if !organization {
		return true
	}
	kinds := 0
	for _, kind := range []string{base62[:10], base62[10:36], base62[36:]} {
		if strings.ContainsAny(text, kind) {
			kinds++
		}
	}
	return kinds > 1
}

// checksum is the CRC-32 (IEEE) of the text in base62, padded with zeros to six characters.
func checksum(text string) string {
	return inBase62(uint64(crc32.ChecksumIEEE([]byte(text))), checksumChars)
}

// inBase62 writes the last digits of n.
func inBase62(n uint64, digits int) string {
	out := make([]byte, digits)
	for i := digits - 1; i >= 0; i-- {
		out[i] = base62[n%62]
		n /= 62
	}
	return string(out)
}

// NewID returns the prefix and 24 random base62 characters.
func NewID(prefix string) string { return prefix + randomText(24) }

// randomText returns n evenly distributed base62 characters. It discards bytes above the largest multiple of 62.
func randomText(n int) string {
	out := make([]byte, 0, n)
	buf := make([]byte, n)
	for len(out) < n {
		_, _ = rand.Read(buf) // never fails: see crypto/rand
		for _, b := range buf {
			if b < 62*4 && len(out) < n {
				out = append(out, base62[b%62])
			}
		}
	}
	return string(out)
}

const maxTokenBytes = 512

// plausible reports whether a bearer token could be a key: not empty, at most 512 bytes, and in the b64token alphabet of RFC 6750. It
// does not check the checksum, because keys created elsewhere may have none.
func plausible(token string) bool {
	if token == "" || len(token) > maxTokenBytes {
		return false
	}
	end := len(token)
	for end > 0 && token[end-1] == '=' {
		end--
	}
	for _, c := range []byte(token[:end]) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '.', c == '_', c == '~', c == '+', c == '/':
		default:
			return false
		}
	}
	return end > 0
}
