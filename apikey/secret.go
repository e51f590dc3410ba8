package apikey

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
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

// FindSecrets reads a text to its end and calls found for each key in it that Recognize recognizes, with the number of
// its line, from 1.
func FindSecrets(r io.Reader, found func(s Secret, line int)) error {
	const longest = len(retrieverKeyPrefix) + randomChars + checksumChars
	buf := make([]byte, 0, 64<<10)
	line := 1
	for {
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			return err
		}
		// A key that the buffer cuts off begins in what is kept.
		done := len(buf)
		if !end {
			done -= longest - 1
		}
		for at := 0; at < done; at++ {
			switch buf[at] {
			case '\n':
				line++
			case 'r', 's':
				if s, ok := secretAt(buf[at:]); ok {
					found(s, line)
					at += len(s.Reveal()) - 1
				}
			}
		}
		if end {
			return nil
		}
		buf = buf[:copy(buf, buf[done:])]
	}
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
