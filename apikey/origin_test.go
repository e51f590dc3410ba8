package apikey

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Without this, a hostile origin is admitted or an allowed one is refused.
func TestOriginAllowed(t *testing.T) {
	for _, tt := range []struct {
		allowed, origin string
		want            bool
	}{
		// exactly
		{"https://example.com", "https://example.com", true},
		{"https://example.com", "https://example.org", false},
		{"https://example.com", "https://sub.example.com", false},
		{"https://example.com", "https://evil-example.com", false},
		{"https://example.com", "https://example.com.evil.org", false},
		{"https://example.com", "https://example.comm", false},
		{"https://example.com", "https://example.co", false},
		{"http://localhost:3000", "http://localhost:3000", true},
		{"chrome-extension://abcdef", "chrome-extension://abcdef", true},

		// any subdomain, but not the apex
		{"https://*.example.com", "https://a.example.com", true},
		{"https://*.example.com", "https://a.b.c.example.com", true},
		{"https://*.example.com", "https://example.com", false},
		{"https://*.example.com", "https://evil-example.com", false},
		{"https://*.example.com", "https://evilexample.com", false},
		{"https://*.example.com", "https://.example.com", false},
		{"https://*.example.com", "https://a.example.com.evil.org", false},
		{"https://*.example.com", "https://a.example.org", false},
		{"https://*.example.com", "https://*.example.com", false},
		{"https://*.example.com", "https://*.a.example.com", false},
		{"https://*.example.com:8443", "https://a.example.com:8443", true},
		{"https://*.example.com:8443", "https://a.example.com", false},

		// a star anywhere else makes the entry invalid
		{"*", "https://example.com", false},
		{"https://*", "https://example.com", false},
		{"https://*.", "https://example.com", false},
		{"https://*example.com", "https://evil-example.com", false},
		{"https://*example.com", "https://*example.com", false},
		{"https://a.*.example.com", "https://a.b.example.com", false},
		{"https://*.*.example.com", "https://a.b.example.com", false},
		{"https://example.*", "https://example.com", false},
		{"*://example.com", "https://example.com", false},
		{"https://example.com:*", "https://example.com:8443", false},

		// scheme
		{"https://example.com", "http://example.com", false},
		{"http://example.com", "https://example.com", false},
		{"https://*.example.com", "http://a.example.com", false},
		{"HTTPS://example.com", "https://example.com", true},
		{"https://example.com", "HTTPS://example.com", true},
		{"http://example.com:8443", "https://example.com:8443", false},
		{"example.com", "https://example.com", false},
		{"//example.com", "https://example.com", false},
		{"://example.com", "://example.com", false},

		// port
		{"https://example.com", "https://example.com:443", true},
		{"https://example.com:443", "https://example.com", true},
		{"http://example.com:80", "http://example.com", true},
		{"https://example.com", "https://example.com:80", false},
		{"http://example.com", "http://example.com:443", false},
		{"https://example.com", "https://example.com:8443", false},
		{"https://example.com:8443", "https://example.com", false},
		{"https://example.com:8443", "https://example.com:8443", true},
		{"https://example.com:port", "https://example.com:port", false},

		// case of the host
		{"https://Example.COM", "https://example.com", true},
		{"https://*.Example.com", "https://A.eXample.com", true},

		// malformed
		{"https://example.com", "null", false},
		{"null", "null", false},
		{"", "", false},
		{"https://example.com", "", false},
		{"https://example.com", "https://", false},
		{"https://", "https://", false},
		{"https://:443", "https://:443", false},
		{"https://example.com", "https:example.com", false},
		{"https://example.com", "https:/example.com", false},
		{"https://example.com", "https:///example.com", false},
		{"https://example.com", " https://example.com", false},
		{"https://example.com", "https://example.com ", false},
		{"https://example.com", "https://example.com https://evil.org", false},
		{"https://example.com", "https://evil.org https://example.com", false},
		{"https://example.com", "https://example.com\n", false},
		{"https://example.com", "https://example.com\x00", false},
		{"https://example.com", "https://example%2ecom", false},

		// userinfo, path, query, fragment
		{"https://example.com", "https://user@example.com", false},
		{"https://example.com", "https://user:password@example.com", false},
		{"https://evil.org", "https://example.com@evil.org", false},
		{"https://example.com", "https://example.com/", false},
		{"https://example.com", "https://example.com/path", false},
		{"https://example.com/", "https://example.com", false},
		{"https://example.com/path", "https://example.com", false},
		{"https://example.com", "https://evil.org/https://example.com", false},
		{"https://example.com", "https://example.com?", false},
		{"https://example.com", "https://example.com#", false},
		{"https://*.example.com", `https://evil.org\.example.com`, false},
		{"https://*.example.com", "https://evil.org#.example.com", false},
		{"https://*.example.com", "https://evil.org?.example.com", false},
		{"https://*.example.com", "https://evil.org/.example.com", false},
		{"https://*.example.com", "https://evil.org:443.example.com", false},

		// IPv6
		{"http://[::1]:8080", "http://[::1]:8080", true},
		{"http://[::1]", "http://[::1]:80", true},
		{"http://[::1]", "http://[::2]", false},
		{"http://[2001:DB8::1]", "http://[2001:db8::1]", true},
		{"http://::1", "http://::1", false},
	} {
		if got := originAllowed([]string{tt.allowed}, tt.origin); got != tt.want {
			t.Errorf("%q allows %q: %v, want %v", tt.allowed, tt.origin, got, tt.want)
		}
	}
}

// Without this, the first entry of a list or a malformed one decides for all.
func TestOriginAllowedByAnyOfTheList(t *testing.T) {
	list := []string{"nonsense", "", "https://a.example", "https://*.b.example"}
	for origin, want := range map[string]bool{
		"https://a.example": true, "https://x.b.example": true, "https://b.example": false, "nonsense": false,
	} {
		if got := originAllowed(list, origin); got != want {
			t.Errorf("%q: %v, want %v", origin, got, want)
		}
	}
	for _, none := range [][]string{nil, {}} {
		if originAllowed(none, "https://a.example") {
			t.Errorf("%v allows an origin", none)
		}
	}
}

// Without this, a wildcard admits a host that is not a subdomain: the text before the apex must end in a dot.
func TestWildcardAllowsSubdomainsOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := rapid.StringMatching(`[a-z0-9-]{0,6}(\.[a-z0-9-]{1,6}){0,3}\.?`).Draw(t, "before")
		want := len(before) > 1 && before[len(before)-1] == '.'
		if got := originAllowed([]string{"https://*.example.com"}, "https://"+before+"example.com"); got != want {
			t.Fatalf("%q: %v, want %v", before+"example.com", got, want)
		}
	})
}

// Without this, a key can be limited to an origin that no browser sends, and then works nowhere.
func TestOriginsAreAsBrowsersSendThem(t *testing.T) {
	for s, want := range map[string]bool{
		"https://app.example.com": true, "HTTPS://App.Example.com": true, "https://*.example.com": true, "https://*.example.com:8443": true,
		"http://localhost:3000": true, "http://127.0.0.1": true, "http://[2001:db8::1]:8080": true, "https://xn--bcher-kva.example": true,
		"https://a_b.example": true, "https://example.com.": true, "https://example.com:443": true, "https://example.com:65535": true,
		"chrome-extension://abcdef": true,

		"https://bücher.example": false, "https://*.bücher.example": false, "https://a\u202e.example": false, "https://a\xff.example": false,
		"https://example.com:": false, "https://*.example.com:": false, "https://example.com:0": false, "https://example.com:65536": false,
		"https://a..example": false, "https://.example": false, "https://a\"b": false, "https://a<b>": false, "https://a,b": false, "https://a b": false,
		"https://[fe80::1%25eth0]": false, "https://example.com/": false, "*": false, "null": false, "": false,
		"https://" + strings.Repeat("a", maxOriginBytes): false,
	} {
		if got := isOrigin(s); got != want {
			t.Errorf("%q: %t, want %t", s, got, want)
		}
	}
}
