package apikey

import (
	"hash/crc32"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// A token is looked up if and only if it is a b64token of RFC 6750 of at most 512 bytes.
func FuzzPlausible(f *testing.F) {
	for _, token := range []string{"", "=", "a=", "a=b", "sk_-._~+/0==", " a", "a\n", "\x00", "é", strings.Repeat("a", 513)} {
		f.Add(token)
	}
	b64token := regexp.MustCompile(`\A[A-Za-z0-9\-._~+/]+=*\z`)
	f.Fuzz(func(t *testing.T, token string) {
		if got, want := plausible(token), len(token) <= 512 && b64token.MatchString(token); got != want {
			t.Errorf("%q: %t", token, got)
		}
	})
}

// A token is a key if and only if it has the documented form, with a checksum that is computed in another way here. Every input is also
// tried with a valid checksum, which fuzzing alone would never find.
func FuzzRecognize(f *testing.F) {
	f.Add(mint(retrieverKeyPrefix).Reveal())
	f.Add(mint(organizationKeyPrefix).Reveal())
	f.Add("ret_sk_" + strings.Repeat("0", 47))
	f.Add("ret_ret_sk_" + strings.Repeat("z", 47))
	looks := regexp.MustCompile(`\A(ret_)?sk_[0-9A-Za-z]{53}\z`)
	sum := func(text string) string {
		digits := new(big.Int).SetUint64(uint64(crc32.ChecksumIEEE([]byte(text)))).Text(62) // in base 62 with the lower-case letters first
		return strings.Repeat("0", 6-len(digits)) + strings.Map(func(r rune) rune {
			if r >= 'A' {
				r ^= 'a' - 'A'
			}
			return r
		}, digits)
	}
	f.Fuzz(func(t *testing.T, token string) {
		for _, token := range []string{token, token + sum(token)} {
			body := max(len(token)-6, 0)
			want := looks.MatchString(token) && token[body:] == sum(token[:body])
			s, got := Recognize(token)
			if got != want || got && (s.Reveal() != token || !plausible(token)) {
				t.Errorf("%q is recognized: %t", token, got)
			}
		}
	})
}

// A pattern matches an id if and only if each star can be replaced by some text so that they are equal.
func FuzzMatches(f *testing.F) {
	for _, c := range [][2]string{{"", ""}, {"*", "a"}, {"a*b*c", "abbc"}, {"ns_*", "ns_"}, {"**", "*"}, {"*ab", "aab"}, {"*ab*b", "abab"}, {"a*a", "a"}, {".*", ".x"}, {"\xff*", "\xff\n"}} {
		f.Add(c[0], c[1])
	}
	f.Fuzz(func(t *testing.T, pattern, id string) {
		if len(pattern)*len(id) > 10_000 {
			return // plainly would take too long
		}
		if got, want := matches(pattern, id), id != "" && plainly(pattern, id); got != want {
			t.Errorf("matches(%q, %q) = %t", pattern, id, got)
		}
	})
}

// plainly fills the rows of a table: whether a prefix of the pattern matches each prefix of the id.
func plainly(pattern, id string) bool {
	row := make([]bool, len(id)+1)
	row[0] = true
	for i := range len(pattern) {
		next := make([]bool, len(id)+1)
		for j := range next {
			if pattern[i] == '*' {
				next[j] = row[j] || j > 0 && next[j-1]
			} else {
				next[j] = j > 0 && row[j-1] && pattern[i] == id[j-1]
			}
		}
		row = next
	}
	return row[len(id)]
}

// An origin that a key can be limited to must admit what browsers send for that origin, and nothing of another host, scheme or port.
func FuzzOrigin(f *testing.F) {
	for _, c := range [][2]string{
		{"https://app.example.com", "HTTPS://APP.example.com:443"}, {"https://*.example.com", "https://a.b.example.com"}, {"https://*.example.com", "https://example.com"},
		{"http://[2001:db8::1]:8080", "http://[2001:db8::1]:8080"}, {"https://*.example.com", "https://evil-example.com"}, {"https://*.a", "https://x@b.a"},
		{"https://a.example:8443", "https://a.example"}, {"null", "null"}, {"https://*.*.a", "https://*.x.a"}, {"a://b", "A://b:"}, {"https://a%62c", "https://abc"}, {"http://[::1%25a]", "http://[::1%25a]"}, {"https://*.a", "https://.a"}, {"//0://", "0"}, {"https://*.Com", "https://!.Com"}, {"a://::1", "0"}, {"http://[a]", "http://[a]"},
	} {
		f.Add(c[0], c[1])
	}
	shape := regexp.MustCompile(`\A([a-z][a-z0-9+.-]*)://(\*\.)?(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::([0-9]*))?\z`)
	read := func(s string) (scheme, wild, host, port string, ok bool) {
		parts := shape.FindStringSubmatch(strings.ToLower(s))
		if parts == nil {
			return "", "", "", "", false
		}
		if port = parts[4]; port == "" {
			port = map[string]string{"https": "443", "http": "80"}[parts[1]]
		}
		return parts[1], parts[2], parts[3], port, true
	}
	f.Fuzz(func(t *testing.T, limit, origin string) {
		if !utf8.ValidString(limit) || !isOrigin(limit) {
			return
		}
		scheme, wild, host, port, ok := read(limit)
		if !ok {
			t.Fatalf("a key can be limited to %q", limit)
		}
		s, w, h, p, sent := read(origin)
		want := sent && w == "" && s == scheme && p == port && (wild == "" && h == host || wild != "" && len(h) > len("."+host) && strings.HasSuffix(h, "."+host))
		if got := originAllowed([]string{limit}, origin); sent && got != want || !sent && got {
			t.Errorf("%q admits %q: %t", limit, origin, got)
		}
		if wild == "" && !originAllowed([]string{limit}, limit) {
			t.Errorf("%q does not admit itself", limit)
		}
		if wild != "" && (originAllowed([]string{limit}, strings.Replace(limit, "*.", "", 1)) || !originAllowed([]string{limit}, strings.Replace(limit, "*", "a", 1))) {
			t.Errorf("%q admits the apex, or no subdomain", limit)
		}
	})
}
