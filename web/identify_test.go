package web

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"retrieverkeys/apikey"
)

// The address in the audit trail is evidence, so a trusted proxy or this server must have seen it.
func TestClientAddress(t *testing.T) {
	for _, c := range []struct{ remote, trusted, forwarded, want string }{
		{"203.0.113.1:5", "", "198.51.100.1", "203.0.113.1"},
		{"203.0.113.1:5", "10.0.0.0/8", "198.51.100.1", "203.0.113.1"},
		{"10.1.2.3:5", "10.0.0.0/8", "", "10.1.2.3"},
		{"10.1.2.3:5", "10.0.0.0/8", "198.51.100.1", "198.51.100.1"},
		{"10.1.2.3:5", "10.0.0.0/8", "6.6.6.6, 198.51.100.1 , 10.9.9.9", "198.51.100.1"},
		{"10.1.2.3:5", "10.0.0.0/8", "10.8.8.8,10.9.9.9", "10.8.8.8"},
		{"10.1.2.3:5", "10.0.0.0/8", "6.6.6.6,nonsense,10.9.9.9", "10.9.9.9"},
		{"10.1.2.3:5", "10.0.0.0/8", "198.51.100.1:4711", "198.51.100.1"},
		{"10.1.2.3:5", "10.0.0.0/8", "[2001:db8::1]:4711", "2001:db8::1"},
		{"10.1.2.3:5", "10.0.0.0/8", "2001:db8::1", "2001:db8::1"},
		{"[::ffff:10.1.2.3]:5", "10.0.0.0/8", "198.51.100.1", "198.51.100.1"},
		{"[fe80::1%eth0]:5", "fe80::/10", "198.51.100.1", "198.51.100.1"},
		{"[::1]:5", "::1/128", ",,", "::1"},
		{"@", "", "198.51.100.1", ""},
	} {
		h := identifier{}
		if c.trusted != "" {
			h.trusted = []netip.Prefix{netip.MustParsePrefix(c.trusted)}
		}
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{}}
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got := h.clientAddress(r); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	// Several header lines form one list.
	r := &http.Request{RemoteAddr: "10.1.2.3:5", Header: http.Header{"X-Forwarded-For": {"198.51.100.1", "10.9.9.9"}}}
	if got := (identifier{trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}).clientAddress(r); got != "198.51.100.1" {
		t.Errorf("two lines: %s", got)
	}
}

// The client's address is the last one that is not a trusted proxy's, among the forwarded addresses and the connection's, or the first
// one if all are trusted. An invalid address and everything before it is ignored.
func FuzzClientAddress(f *testing.F) {
	f.Add("10.1.2.3:5", "6.6.6.6, 198.51.100.1,10.9.9.9", "10.8.8.8")
	f.Add("[::1]:5", "[::1%x]:5,,", "")
	f.Add("[::ffff:10.0.0.1%1]:5", "10.0.0.2:1", "[2001:db8::1]")
	f.Add("@", "10.0.0.1", "")
	f.Add("10.0.0.1:5", "[2001:db8::1]", "")
	f.Add("10.0.0.1:5", "198.51.100.1, ,10.0.0.2,\t,", ",")
	f.Add("10.0.0.1:5", "[10.0.0.2]", "[]")
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	read := func(s string) (netip.Addr, bool) {
		if inner, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(inner, "]") {
			address, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
			return address.Unmap().WithZone(""), err == nil && address.Is6()
		}
		if withPort, err := netip.ParseAddrPort(s); err == nil {
			return withPort.Addr().Unmap().WithZone(""), true
		}
		address, err := netip.ParseAddr(s)
		return address.Unmap().WithZone(""), err == nil
	}
	f.Fuzz(func(t *testing.T, remote, first, second string) {
		r := &http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": {first, second}}}
		want := ""
		chain := slices.Concat(strings.Split(first, ","), strings.Split(second, ","), []string{remote})
		for i, text := range slices.Backward(chain) {
			if i < len(chain)-1 {
				if text = strings.Trim(text, " \t"); text == "" {
					continue
				}
			}
			address, ok := read(text)
			if !ok {
				break
			}
			want = address.String()
			if !slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(address) }) {
				break
			}
		}
		if got := (identifier{trusted: trusted}).clientAddress(r); got != want {
			t.Errorf("%q: %s, not %s", chain, got, want)
		}
	})
}

// A token is the text after "Bearer" and white space in the only non-empty Authorization header. For another scheme, the error says how to send the
// key. Two such headers are refused.
func FuzzBearer(f *testing.F) {
	for _, header := range []string{"Bearer a", "bEARER  a ", "Bearer", "Basic a", "Bearer\ta", "Bearer a, Bearer b", "", " Bearer a", "Bearer \x00", "\t bearer\t \ta b\t", " \t ", "sk_bare", "Bearer\u00a0a"} {
		f.Add(header)
	}
	shape := regexp.MustCompile(`(?is)\A[ \t]*bearer(?:[ \t]+(.*?))?[ \t]*\z`)
	f.Fuzz(func(t *testing.T, header string) {
		parts, empty := shape.FindStringSubmatch(header), strings.Trim(header, " \t") == ""
		want := ""
		if parts != nil {
			want = parts[1]
		}
		token, sent, err := bearer(http.Header{"Authorization": {header}})
		hinted := err != nil && apikey.Classify(err).Code == apikey.Unauthenticated && strings.Contains(err.Error(), "Authorization: Bearer")
		if token != want || sent == empty || hinted != (parts == nil && !empty) || !hinted && err != nil {
			t.Errorf("%q: %q, %t, %v", header, token, sent, err)
		}
		token, sent, err = bearer(http.Header{"Authorization": {header, "Bearer b"}})
		if empty && (token != "b" || !sent || err != nil) || !empty && (token != "" || !sent || err == nil) {
			t.Errorf("%q and another: %q, %t, %v", header, token, sent, err)
		}
	})
}

// A request names one namespace or is refused: the one in all headers, or else in all parameters. Empty values are ignored.
func FuzzNamespace(f *testing.F) {
	f.Add("production", "", "staging", "")
	f.Add("", "", "a", "b")
	f.Add("a", "b", "c", "c")
	f.Add("ns_1", "ns_1 ", "\xff", "$ne")
	f.Add(" ", "\t", "a b ", " a b")
	f.Fuzz(func(t *testing.T, header, another, parameter, again string) {
		query := url.Values{"namespace": {parameter, again}}
		r := &http.Request{Header: http.Header{"X-Namespace": {header, another}}, URL: &url.URL{RawQuery: query.Encode()}}
		want, conflict := "", false
		for _, pair := range [][]string{{header, another}, {parameter, again}} {
			for i := range pair {
				pair[i] = strings.Trim(pair[i], " \t")
			}
			names := map[string]bool{pair[0]: true, pair[1]: true}
			delete(names, "")
			if conflict = len(names) > 1; len(names) > 0 {
				want = max(pair[0], pair[1])
				break
			}
		}
		got, err := namespace(r)
		if refused := conflict || !utf8.ValidString(want); (err != nil) != refused || err == nil && got != want || !conflict && refused && apikey.Classify(err).Code != apikey.NotFound {
			t.Errorf("%q: %q, %v, not %q", [][]string{{header, another}, {parameter, again}}, got, err, want)
		}
	})
}

// An id that a handler reads from a path is UTF-8: it is the unescaped segment, or empty.
func FuzzPath(f *testing.F) {
	for _, path := range []string{"main", "%ff", "a%2Fb", "%C3%28", "%EF%BF%BD", "%00", "a b", "%zz", "..", "%ed%a0%80", ""} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, segment string) {
		want, err := url.PathUnescape(segment)
		if err != nil || strings.ContainsAny(segment, "/?#{}") || want == "." || want == ".." {
			return // not a segment of a path
		}
		target, err := url.Parse("/v1/retrievers/" + segment + "/api-keys")
		if err != nil {
			return
		}
		mux := http.NewServeMux()
		mux.HandleFunc("GET /v1/retrievers/{retriever_id}/api-keys", func(_ http.ResponseWriter, r *http.Request) {
			got := pathValue(r, "retriever_id")
			if !utf8.ValidString(got) || got != want && (got != "" || utf8.ValidString(want)) {
				t.Errorf("%q: %q, not %q", segment, got, want)
			}
		})
		mux.ServeHTTP(httptest.NewRecorder(), &http.Request{Method: http.MethodGet, URL: target, Host: "localhost"})
	})
}
