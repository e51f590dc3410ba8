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
	"strings"
	"time"
)

// Secret is a key's plaintext. It prints as [redacted] however it is formatted, logged or encoded; Reveal is the
// one way to its text.
type Secret struct {
	text *string // behind a pointer: within an unexported field, or for %p, fmt prints what is inside without asking Format
}

const redacted = "[redacted]"

// Reveal returns the plaintext, for the one response that shows it.
func (s Secret) Reveal() string { return *s.text }

// Format writes [redacted], whatever the verb.
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

// prefixChars is how much of its plaintext a key shows.
const prefixChars = 10

// Prefix is what a key shows of its plaintext: the first ten characters and "...".
func (s Secret) Prefix() string { return s.Reveal()[:prefixChars] + "..." }

// Hash is the digest under which the key is stored and looked up.
func (s Secret) Hash() string { return digest(s.Reveal()) }

// digest is the lowercase hexadecimal SHA-256. A random key of this length needs neither salt nor a slow hash.
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

// NewAdminKey makes a key that may do everything in an organization, and its plaintext: "sk_", 47 random characters
// and the checksum.
func NewAdminKey(organization Namespace, userID, name, description string, now time.Time) (Key, Secret) {
	k := Key{
		Type: Standard, InternalID: organization.InternalID, OrganizationID: organization.OrganizationID,
		UserID: userID, CreatedBy: &userID, Name: name, Description: description, Permissions: []Permission{Admin}, Stored: Active,
	}
	secret := k.mint(organizationKeyPrefix, now)
	return k, secret
}

// NewRetrieverKey makes a key that executes one retriever and can do nothing else, without a name. Its plaintext is
// forgotten.
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

// mint gives the key an identity of its own: an id, and a plaintext, of which it keeps the hash and the prefix.
func (k *Key) mint(prefix string, now time.Time) Secret {
	secret := mint(prefix)
	created, shown := now.UTC().Truncate(time.Millisecond), secret.Prefix()
	k.ID, k.Hash, k.Prefix, k.CreatedAt = ID(NewID("key_")), secret.Hash(), &shown, &created
	return secret
}

// mint appends to prefix 47 random base62 characters and the checksum of all before it, by which a scanner tells
// a key from noise offline.
func mint(prefix string) Secret {
	text := prefix + randomText(randomChars)
	text += checksum(text)
	return Secret{&text}
}

// Recognize returns the plaintext of a key that was minted here, without asking anybody: by its prefix, its length,
// its alphabet and its checksum. One text in four billion that looks alike passes too.
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

// Pattern is a regular expression for the form of a key, for programs that look for keys by themselves. It does not know checksums. RE2 and
// Python read it.
var Pattern = fmt.Sprintf("(?:%s)?%s[0-9A-Za-z]{%d}", strings.TrimSuffix(retrieverKeyPrefix, organizationKeyPrefix), organizationKeyPrefix, randomChars+checksumChars)

// FindSecrets reads a text to its end and calls found for each key in it that Recognize recognizes, with the number of
// its line, from 1.
func FindSecrets(r io.Reader, found func(s Secret, line int)) error {
	return FindLeaks(r, func(s Secret, whole bool, line int) {
		if whole {
			found(s, line)
		}
	})
}

// FindLeaks reads a text to its end and calls found for each key in it, and for each fragment: what begins like a key,
// has at least the characters that a key shows of itself, and is not whole. A fragment was cut off or altered, or is a
// key without a checksum, which was made elsewhere.
func FindLeaks(r io.Reader, found func(s Secret, whole bool, line int)) error {
	buf := make([]byte, 0, leakBuffer)
	line, at := 1, 0
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		// A key that the end of the buffer cuts off begins in what is kept.
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
		if kept := min(at, done) - escapeBytes; kept > 0 { // what is before a fragment tells whether it begins there
			at -= kept
			buf = buf[:copy(buf, buf[kept:])]
		}
	}
}

const (
	leakBuffer  = 64 << 10
	escapeBytes = 6 // of the longest sequence that escape matches
)

// leakAt returns the key, or else the fragment of one, that begins at that place of the text.
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

// escape matches the escaped characters of JSON, of programs and of URLs, whose last letter is no part of a word.
var escape = regexp.MustCompile(`(\\[abfnrtv]|\\x[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|%[0-9A-Fa-f]{2})$`)

// begins reports whether a word begins behind that text.
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

// secretAt returns the key that the text begins with.
func secretAt(text []byte) (Secret, bool) {
	for _, prefix := range []string{retrieverKeyPrefix, organizationKeyPrefix} {
		n := len(prefix) + randomChars + checksumChars
		if len(text) >= n && string(text[:len(prefix)]) == prefix {
			return Recognize(string(text[:n]))
		}
	}
	return Secret{}, false
}

// HoldsKey reports whether a whole key stands in the text.
func HoldsKey(text string) bool {
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

// HideKeys shortens each key in the text, and what looks like more of a key than it shows, to what a key shows.
func HideKeys(text string) string {
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

// LooksMinted reports whether the text behind the prefix could have been drawn at random. The prefix of retrievers' keys
// is enough for that; names of other things begin with that of organizations' keys too.
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

// checksum is the CRC-32 (IEEE) of text in base62, zero-padded to six characters.
func checksum(text string) string {
	return inBase62(uint64(crc32.ChecksumIEEE([]byte(text))), checksumChars)
}

// inBase62 writes the last so many digits of n.
func inBase62(n uint64, digits int) string {
	out := make([]byte, digits)
	for i := digits - 1; i >= 0; i-- {
		out[i] = base62[n%62]
		n /= 62
	}
	return string(out)
}

// NewID returns prefix and 24 random base62 characters.
func NewID(prefix string) string { return prefix + randomText(24) }

// randomText draws n characters evenly from base62: bytes beyond the largest multiple of 62 are drawn again.
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

// plausible reports whether a bearer could be a key: not empty, at most 512 bytes, and of RFC 6750's b64token
// alphabet. The checksum is not asked, because keys made elsewhere need not have one.
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
