package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"retrieverkeys/apikey"
	"retrieverkeys/ratelimit"
)

// gated is a store with one key, which executes ret_1 unless a test changes it.
type gated struct {
	shelfOf
	retrieversDown error
}

func newGated(edits ...func(*apikey.Key)) *gated {
	s := &gated{shelfOf: shelfOf{good: map[string]bool{token: true}}}
	s.caller = apikey.Key{
		ID: "key_1", Type: apikey.RetrieverKey, OrganizationID: new("org_1"), PrincipalID: new("usr_9"), Permissions: []apikey.Permission{apikey.Read},
		Scopes: []apikey.Scope{{ResourceType: apikey.ResourceRetriever, ResourceID: "ret_1", Operations: []apikey.Operation{apikey.ExecuteRetriever}}},
	}
	for _, edit := range edits {
		edit(&s.caller)
	}
	return s
}

func (s *gated) KeysByHash(ctx context.Context, hash string) ([]apikey.Key, error) {
	if ctx.Err() != nil {
		return nil, apikey.Outage(ctx.Err())
	}
	return s.shelfOf.KeysByHash(ctx, hash)
}

func (s *gated) Retrievers(ctx context.Context, tenant apikey.InternalID, ids []apikey.RetrieverID) ([]apikey.Retriever, error) {
	if s.retrieversDown != nil {
		return nil, s.retrieversDown
	}
	return s.shelf.Retrievers(ctx, tenant, ids)
}

func (s *gated) handler(change ...func(*Options)) http.Handler {
	o := func(o *Options) {
		var err error
		if o.GatePath, err = NewGatePath("/v1/retrievers/{retriever_id}/execute"); err != nil {
			panic(err)
		}
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	}
	return handlerOn(s, &s.shelf, slices.Concat([]func(*Options){o}, change)...)
}

// asked sends a gateway's request. Empty headers are removed, others are added to the key.
func asked(h http.Handler, method, target string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr = "10.0.0.1:1234"
	r.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
		} else {
			r.Header.Add(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const askURL = "/v1/retrievers/ret_1/authorize"

// The gateway passes these headers on to what executes the retriever, so that they must be whole and there must be no others. A missing one would let a
// client's own pass.
func TestAuthorized(t *testing.T) {
	full := http.Header{
		"Cache-Control": {"no-store"}, "X-Key-Id": {"key_1"}, "X-Organization-Id": {"org_1"}, "X-Internal-Id": {"int_1"}, "X-Retriever-Id": {"ret_1"}, "X-Principal-Id": {"usr_9"},
		"X-Content-Type-Options": {"nosniff"}, "Referrer-Policy": {"no-referrer"}, "Content-Security-Policy": {"default-src 'none'; frame-ancestors 'none'"},
	}
	with := func(changes http.Header) http.Header {
		h := full.Clone()
		maps.Copy(h, changes)
		return h
	}
	for name, c := range map[string]struct {
		key  func(*apikey.Key)
		want http.Header
	}{
		"all": {func(*apikey.Key) {}, full},
		"nothing set": {
			func(k *apikey.Key) { k.ID, k.OrganizationID, k.PrincipalID = "", nil, nil },
			with(http.Header{"X-Key-Id": {""}, "X-Organization-Id": {""}, "X-Principal-Id": {""}}),
		},
		"hostile": {
			func(k *apikey.Key) {
				k.ID, k.OrganizationID, k.PrincipalID = "key\r\nX-Internal-Id: int_2", new("Øst 100%"), new("\xff\x00 ")
			},
			with(http.Header{"X-Key-Id": {"key%0D%0AX-Internal-Id:%20int_2"}, "X-Organization-Id": {"%C3%98st%20100%25"}, "X-Principal-Id": {"%FF%00%20"}}),
		},
	} {
		s := newGated()
		h := s.handler()
		c.key(&s.caller)
		w := asked(h, http.MethodGet, askURL)
		w.Header().Del("X-Request-Id")
		if w.Code != http.StatusOK || w.Body.Len() > 0 || !maps.EqualFunc(w.Header(), c.want, slices.Equal) {
			t.Errorf("%s: got %d %v %s, want %v", name, w.Code, w.Header(), w.Body, c.want)
		}
		if s.asked != 1 {
			t.Errorf("%s: got %d lookups, want 1", name, s.asked)
		}
	}
}

// Each of the three addresses names the retriever in its own way, and gets the same answer. The method, the query, the headers of browsers and what other
// endpoints read mean nothing here: they belong to the client's request.
func TestEveryAddressAnswersAlike(t *testing.T) {
	key := newGated()
	h := key.handler()
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} {
		for _, c := range []struct {
			target, forwarded string
			want              int
		}{
			{"/v1/retrievers/ret_1/authorize", "", 200},
			{"/v1/retrievers/ret_1/authorize?namespace=a&namespace=b", "", 200},
			{"/v1/retrievers/ret_1/authorize", "/v1/retrievers/ret_2/execute", 200}, // the path decides
			{"/v1/retrievers/ret_2/authorize", "/v1/retrievers/ret_1/execute", 403},
			{"/v1/authorize/v1/retrievers/ret_1/execute", "", 200},
			{"/v1/authorize/v1/retrievers/ret_1/execute?retriever_id=ret_2", "", 200},
			{"/v1/authorize/v1/retrievers/ret_2/execute", "/v1/retrievers/ret_1/execute", 403},
			{"/v1/authorize", "/v1/retrievers/ret_1/execute", 200},
			{"/v1/authorize", "/v1/retrievers/ret_1/execute?a=/&b=;", 200},
			{"/v1/authorize", "/v1/retrievers/ret_2/execute?/v1/retrievers/ret_1/execute", 403},
			{"/v1/authorize", "", 403},
		} {
			headers := []string{
				"X-Namespace", "nowhere", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", "Origin", "https://shop.example.com", "Content-Type", "text/plain",
				"Access-Control-Request-Method", "POST", "X-Forwarded-Uri", c.forwarded, "Accept-Encoding", "gzip", "If-None-Match", "*", "X-HTTP-Method-Override", "DELETE",
			}
			w := asked(h, method, c.target, headers...)
			if w.Code != c.want {
				t.Errorf("%s %s %s: got %d, want %d", method, c.target, c.forwarded, w.Code, c.want)
			}
			for name := range w.Header() {
				if strings.HasPrefix(name, "Access-Control-") || name == "Vary" || name == "Content-Encoding" || name == "Allow" || name == "Location" {
					t.Errorf("%s %s: got the header %s", method, c.target, name)
				}
			}
		}
	}
}

// The refusals, in the vendor's envelope and as a header for gateways that drop bodies.
func TestNotAuthorized(t *testing.T) {
	page := func(k *apikey.Key) { k.AllowedOrigins = []string{"https://shop.example.com"} }
	type test struct {
		key     func(*apikey.Key)
		target  string
		headers []string
		status  int
		reason  string
	}
	tests := map[string]test{
		"an origin":                {page, askURL, []string{"Origin", "https://evil.example"}, 403, "origin"},
		"two origins, one of them": {page, askURL, []string{"Origin", "https://shop.example.com", "Origin", "https://evil.example"}, 403, "origin"},
		"a permission":             {func(k *apikey.Key) { k.Permissions = nil }, askURL, nil, 403, "permission"},
		"a retriever":              {nil, "/v1/retrievers/ret_2/authorize", nil, 403, "retriever"},
		"an operation":             {func(k *apikey.Key) { k.Scopes[0].Operations[0] = apikey.ReadData }, askURL, nil, 403, "operation"},
		"a retriever that is gone": {func(k *apikey.Key) { k.Scopes = nil }, "/v1/retrievers/gone/authorize", nil, 403, "retriever"},

		"no key":                {nil, askURL, []string{"Authorization", ""}, 401, ""},
		"no key, nowhere":       {nil, "/v1/authorize/anything", []string{"Authorization", ""}, 401, ""},
		"another scheme":        {nil, askURL, []string{"Authorization", "", "Authorization", "Basic c2tfdGVzdDo="}, 401, ""},
		"a scheme and a key":    {nil, askURL, []string{"Authorization", "", "Authorization", "Basic c2s6", publicKeyHeader, token}, 401, ""},
		"two schemes":           {nil, askURL, []string{"Authorization", "Basic c2s6"}, 401, ""},
		"an empty bearer":       {nil, askURL, []string{"Authorization", "", "Authorization", "Bearer "}, 401, ""},
		"an unknown key":        {nil, askURL, []string{"Authorization", "", "Authorization", "Bearer sk_other"}, 401, ""},
		"an unknown public key": {nil, askURL, []string{"Authorization", "", publicKeyHeader, "sk_other"}, 401, ""},
		"a malformed key":       {nil, askURL, []string{"Authorization", "", publicKeyHeader, "sk other"}, 401, ""},
		"two keys":              {nil, askURL, []string{publicKeyHeader, "sk_other"}, 401, ""},
		"two bearers":           {nil, askURL, []string{"Authorization", "Bearer sk_other"}, 401, ""},
		"two public keys":       {nil, askURL, []string{"Authorization", "", publicKeyHeader, token, publicKeyHeader, "sk_other"}, 401, ""},
		"a list of keys":        {nil, askURL, []string{"Authorization", "", publicKeyHeader, token + "," + token}, 401, ""},
		"a revoked key":         {func(k *apikey.Key) { k.RevokedAt = new(time.Unix(1, 0)) }, askURL, nil, 401, ""},
		"an expired key":        {func(k *apikey.Key) { k.ExpiresAt = new(time.Unix(1, 0)) }, askURL, nil, 401, ""},
		"a key in the query":    {nil, askURL + "?api_key=" + token, []string{"Authorization", ""}, 401, ""},
	}
	for name, c := range tests {
		s := newGated(func(k *apikey.Key) {
			if c.key != nil {
				c.key(k)
			}
		})
		w := asked(s.handler(), http.MethodPost, c.target, c.headers...)
		want := `{"success":false,"status":401,"error":{"message":"This needs a valid API key.","type":"UnauthorizedError"}}` + "\n"
		if c.status == http.StatusForbidden {
			want = fmt.Sprintf(`"type":"ForbiddenError","details":{"reason":%q}}}`, c.reason) + "\n"
		}
		challenge := map[bool]string{true: `Bearer error="invalid_token"`}[c.status == http.StatusUnauthorized]
		if w.Code != c.status || !strings.HasSuffix(w.Body.String(), want) || w.Header().Get("X-Refusal") != c.reason ||
			w.Header().Get("WWW-Authenticate") != challenge || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("X-Key-Id") != "" {
			t.Errorf("%s: got %d %v %s, want %d %s", name, w.Code, w.Header(), w.Body, c.status, c.reason)
		}
	}
	// The same key twice is one key, in whatever header, and white space around it is not a part of it.
	for name, headers := range map[string][]string{
		"in both headers":      {publicKeyHeader, token},
		"the public key":       {"Authorization", "", publicKeyHeader, " " + token + "\t"},
		"an empty bearer line": {"Authorization", "", "Authorization", " ", publicKeyHeader, token},
		"twice":                {"Authorization", "bearer  " + token},
		"an empty public key":  {publicKeyHeader, " "},
		"no origin":            {"Origin", ""},
	} {
		if w := asked(newGated(page).handler(), http.MethodGet, askURL, headers...); w.Code != http.StatusOK {
			t.Errorf("%s: got %d %s, want 200", name, w.Code, w.Body)
		}
	}
	if w := asked(newGated(page).handler(), http.MethodGet, askURL, "Origin", "https://shop.example.com"); w.Code != http.StatusOK {
		t.Errorf("its origin: got %d %s, want 200", w.Code, w.Body)
	}
	// The public key's header is read here and nowhere else.
	if w := asked(newGated().handler(), http.MethodGet, keysURL, "Authorization", "", publicKeyHeader, token, "X-Namespace", "production"); w.Code != http.StatusUnauthorized {
		t.Errorf("a public key at another endpoint: got %d %s, want 401", w.Code, w.Body)
	}
}

// A server behind the gateway can decode a path in another way than this one. Without this, a key for one retriever executes another.
func TestGatePaths(t *testing.T) {
	p, err := NewGatePath("/v1/retrievers/{retriever_id}/execute")
	if err != nil {
		t.Fatal(err)
	}
	short, err := NewGatePath("/r/{retriever_id}")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		p          GatePath
		path, want string
	}{
		{p, "/v1/retrievers/ret_1/execute", "ret_1"},
		{p, "/v1/retrievers/ret%5f1/execute", "ret_1"},
		{p, "/v1/retrievers/caf%C3%A9/execute", "café"},
		{p, "/v1/retrievers/a%20b/execute", "a b"},
		{p, "/v1/retrievers/a.b/execute", "a.b"},
		{p, "/v1/retrievers/%252e/execute", "%2e"},
		{p, "/v1/retrievers/execute/execute", "execute"},
		{short, "/r/ret_1", "ret_1"},
		{short, "/r/ret_1/", ""},
		{short, "/r/", ""},
		{short, "/r", ""},
		{GatePath{}, "", ""},
		{GatePath{}, "ret_1", ""},
		{p, "", ""},
		{p, "/v1/retrievers//execute", ""},
		{p, "/v1/retrievers/execute", ""},
		{p, "//v1/retrievers/ret_1/execute", ""},
		{p, "/v1//retrievers/ret_1/execute", ""},
		{p, "/v1/retrievers//ret_1/execute", ""},
		{p, "/v1/retrievers/ret_1//execute", ""},
		{p, "/v1/retrievers/ret_1/execute/", ""},
		{p, "/v1/retrievers/ret_1/execute;v=1", ""},
		{p, "/v1/retrievers/ret_1;v=1/execute", ""},
		{p, "/v1/retrievers/ret_1%3Bv=1/execute", ""},
		{p, "/v1/retrievers/../execute", ""},
		{p, "/v1/retrievers/./execute", ""},
		{p, "/v1/retrievers/%2e/execute", ""},
		{p, "/v1/retrievers/%2E%2e/execute", ""},
		{p, "/v1/retrievers/a..b/execute", ""},
		{p, "/v1/retrievers/x/../ret_1/execute", ""},
		{p, "/v1/retrievers/ret_1%2Fexecute", ""},
		{p, "/v1/retrievers/x%2f..%2Fret_1/execute", ""},
		{p, "/v1/retrievers/x%5Cret_1/execute", ""},
		{p, `/v1/retrievers/x\ret_1/execute`, ""},
		{p, "/v1/retrievers/ret_1%00/execute", ""},
		{p, "/v1/retrievers/ret_1%0A/execute", ""},
		{p, "/v1/retrievers/ret_1%7f/execute", ""},
		{p, "/v1/retrievers/%ff/execute", ""},
		{p, "/v1/retrievers/%zz/execute", ""},
		{p, "/v1/retrievers/%/execute", ""},
		{p, "/v1/retrievers/ret_1?/execute", ""},
		{p, "/v1/retrievers/ret_1#/execute", ""},
		{p, "/V1/retrievers/ret_1/execute", ""},
		{p, "/v1/retrievers/ret_1/%65xecute", ""},
		{p, "/v2/retrievers/ret_1/execute", ""},
		{p, "http://a.example/v1/retrievers/ret_1/execute", ""},
	} {
		if got := c.p.retriever(c.path); string(got) != c.want {
			t.Errorf("%s: got %q, want %q", c.path, got, c.want)
		}
	}
	// Whatever the path is, it gets an answer and is not redirected: to gateways, a redirect is an error or an answer for their client.
	for _, key := range []func(*apikey.Key){func(*apikey.Key) {}, func(k *apikey.Key) { k.Scopes = nil }} {
		h := newGated(key).handler()
		for _, original := range []string{"//v1/retrievers/ret_1/execute", "/v1/retrievers/x/../ret_1/execute", "/v1/retrievers/ret_1%2Fexecute", "/v1/retrievers/ret_1;a/execute", "/", "/.", "/.."} {
			for target, forwarded := range map[string]string{authorizePath + original: "", authorizePath: original} {
				if w := asked(h, http.MethodGet, target, "X-Forwarded-Uri", forwarded); w.Code != http.StatusForbidden || w.Header().Get("X-Refusal") != "retriever" {
					t.Errorf("%s %s: got %d %v", target, forwarded, w.Code, w.Header())
				}
			}
		}
		for _, id := range []string{"..", "%2e%2e", "x%2Fret_1", ";", "ret_1;a", ""} {
			if w := asked(h, http.MethodGet, "/v1/retrievers/"+id+"/authorize"); w.Code != http.StatusForbidden || w.Header().Get("X-Refusal") != "retriever" {
				t.Errorf("%s: got %d %v", id, w.Code, w.Header())
			}
		}
		for _, target := range []string{
			"/v1/retrievers/ret_2/../ret_1/authorize", "/v1/retrievers/ret_1//authorize", "/v1/retrievers/ret_1/./authorize", "/v1/retrievers//ret_1/authorize",
			"//v1/retrievers/ret_1/authorize", "/v1//retrievers/ret_1/authorize", "/./v1/retrievers/ret_1/authorize", "/x/../v1/retrievers/ret_1/authorize",
			"/v1/retrievers/ret_1/authorize/", "/v1/retrievers/ret_1/authorize//", "/v1/retrievers/ret_1/authorize/.", "/v1/retrievers/ret_1/authorize;a", "/v1/retrievers/ret_1/authorize;a/",
			"/v1/retrievers/authorize", "/v1/retrievers/ret_1/x/authorize", "/v1/retrievers/../../ret_1/authorize", "/v1/retrievers/%0a/ret_1/authorize",
			"/v1/retrievers/ret_2/%2e%2e/ret_1/authorize", "/v1/retrievers%2Fret_1%2Fauthorize", "/v1/retrievers/ret_1/%61uthorize", "/v1/retrievers/ret_1/authorize%2F",
			"//v1/authorize/v1/retrievers/ret_1/execute", "/v1//authorize/v1/retrievers/ret_1/execute", "/v1/x/../authorize/v1/retrievers/ret_1/execute", "/v1/./authorize",
			"//v1/authorize", "/v1/authorize;a", "/v1/authorize;a/v1/retrievers/ret_1/execute", "/v1%2Fauthorize/v1/retrievers/ret_1/execute", "/v1/authoriz%65",
			"/v1/x/%2e%2e/authorize", "/v1/authorize/../../graphql",
		} {
			for _, method := range []string{"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PROPFIND"} {
				w := asked(h, method, target, "X-Forwarded-Uri", "/v1/retrievers/ret_1/execute")
				if w.Code != http.StatusForbidden || w.Header().Get("X-Refusal") != "retriever" {
					t.Errorf("%s %s: got %d %v", method, target, w.Code, w.Header())
				}
				if w := asked(h, method, target, "Authorization", ""); w.Code != http.StatusUnauthorized {
					t.Errorf("%s %s without a key: got %d %v", method, target, w.Code, w.Header())
				}
			}
		}
	}
}

// The gate precedes the other routes. Without this, it takes paths from them: those of a retriever or a key whose id is authorize, and those of clients
// whose base URL ends with a slash.
func TestPathsThatAreNotTheGates(t *testing.T) {
	h := newGated().handler()
	for target, want := range map[string]int{
		"/v1/retrievers/authorize/api-keys":           http.StatusForbidden, // keys of this type cannot list
		"/v1/retrievers/authorize/api-keys/authorize": http.StatusMethodNotAllowed,
		"/v1/retrievers/ret_1/api-keys/authorize":     http.StatusMethodNotAllowed,
		"/v1/retrievers/ret_1/api-keys/a%2Fauthorize": http.StatusMethodNotAllowed,
		"/v1/retrievers/ret_1//api-keys/authorize":    http.StatusTemporaryRedirect,
		"/v1/retrievers/ret_1//api-keys":              http.StatusTemporaryRedirect,
		"//graphql":                                   http.StatusTemporaryRedirect,
		"/v1/authorizes":                              http.StatusNotFound,
		"/v1/retrievers/ret_1/authorizes":             http.StatusNotFound,
		"/v1/retrievers/ret_1/authorize/execute":      http.StatusNotFound,
		"/v1/authorized/v1/retrievers/ret_1/execute":  http.StatusNotFound,
		"/authorize":                     http.StatusNotFound,
		"/V1/retrievers/ret_1/authorize": http.StatusNotFound,
	} {
		if w := asked(h, http.MethodGet, target, "X-Namespace", "production"); w.Code != want || w.Header().Get("X-Refusal") != "" {
			t.Errorf("%s: got %d %s, want %d", target, w.Code, w.Body, want)
		}
	}
}

// A path names an id only if it is the template with the id escaped in it. Without this, two servers read one path as two retrievers.
func FuzzGatePath(f *testing.F) {
	for _, path := range []string{"/a/ret_1/b", "/a/%72et_1/b", "/a//b", "/a/../b", "/a/x%2Fy/b", "/a/x;y/b", "/a/\xff/b", "/a/%C3%A9/b", "/a/b", "/a/%zz/b"} {
		f.Add(path)
	}
	p, err := NewGatePath("/a/{retriever_id}/b")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path string) {
		want := ""
		segments := strings.Split(path, "/")
		if len(segments) == 4 && segments[0] == "" && segments[1] == "a" && segments[3] == "b" && !strings.ContainsAny(path, "?#") {
			if u, err := url.ParseRequestURI("/" + strings.NewReplacer("//", "%2F%2F").Replace(segments[2])); err == nil {
				id := u.Path[1:]
				hostile := func(r rune) bool {
					return r < 0x20 || r == 0x7f || r == '/' || r == '\\' || r == ';' || r == 0xfffd && !strings.ContainsRune(id, 0xfffd)
				}
				if id != "." && !strings.Contains(id, "..") && !strings.ContainsFunc(id, hostile) && strings.ToValidUTF8(id, "") == id {
					want = id
				}
			}
		}
		if got := string(p.retriever(path)); got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	})
}

// A wrong template would refuse every request, or find ids where there are none. The program names it at the start.
func TestGatePathsThatAreWrong(t *testing.T) {
	for _, template := range []string{
		"", "/", "/execute", "{retriever_id}", "v1/{retriever_id}", "/v1/{retriever_id}{retriever_id}", "/v1/{retriever_id}/{retriever_id}", "/v1/x{retriever_id}",
		"/v1/{retriever_id}x", "/v1/{retriever_id}/", "/v1//{retriever_id}", "/v1/../{retriever_id}", "/v1/{retriever_id}/a..b", "/v1/{retriever_id}?a", "/v1/{retriever_id}/é",
		"/v1/%20/{retriever_id}", "/v1/{retriever_id}/a b", "/v1/{retriever_id}/a;b", "/v1/{id}/execute", "http://a.example/{retriever_id}",
	} {
		if p, err := NewGatePath(template); err == nil {
			t.Errorf("%q: got %+v, want an error", template, p)
		}
	}
	for template, want := range map[string]string{
		"/a/{retriever_id}/":                  "must not end with a slash",
		"/a/{retriever_id}/b/":                "must not end with a slash",
		"/a//{retriever_id}":                  "must not have an empty segment",
		"/a/{retriever_id}//b":                "must not have an empty segment",
		"//{retriever_id}":                    "must not have an empty segment",
		"/a/../{retriever_id}":                "must not have . or .. as a segment, or two dots in a row",
		"/a/./{retriever_id}":                 "must not have . or .. as a segment, or two dots in a row",
		"/a/{retriever_id}/b..c":              "must not have . or .. as a segment, or two dots in a row",
		"a/{retriever_id}":                    "must begin with a slash",
		"https://a.example/{retriever_id}":    "must begin with a slash",
		"/a/{retriever_id}/%20":               "must be a path",
		"/a/{retriever_id}/b?c":               "must be a path",
		"/a/{id}/":                            "must have {retriever_id} as one whole segment",
		"/a/{retriever_id}/b/{retriever_id}/": "must have {retriever_id} as one whole segment",
	} {
		if _, err := NewGatePath(template); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", template, err, want)
		}
	}
}

// A client could send X-Forwarded-Uri too, and so choose which retriever it is asked about while the gateway executes another.
func TestForwardedURIIsBelievedFromGateways(t *testing.T) {
	var log bytes.Buffer
	h := newGated().handler(func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	for _, c := range []struct {
		from, forwarded, more string
		want                  int
	}{
		{"10.0.0.1:1", "/v1/retrievers/ret_1/execute", "", 200},
		{"[::ffff:10.0.0.1]:1", "/v1/retrievers/ret_1/execute", "", 200},
		{"192.0.2.1:1", "/v1/retrievers/ret_1/execute", "", 403},
		{"192.0.2.1:1", "/v1/retrievers/ret_1/execute", "", 403},
		{"@", "/v1/retrievers/ret_1/execute", "", 403},
		{"10.0.0.1:1", "/v1/retrievers/ret_1/execute", "/v1/retrievers/ret_1/execute", 200},
		{"10.0.0.1:1", "/v1/retrievers/ret_1/execute", "/v1/retrievers/ret_2/execute", 403},
		{"10.0.0.1:1", "/v1/retrievers/ret_2/execute", "", 403},
	} {
		r := httptest.NewRequest(http.MethodGet, authorizePath, nil)
		r.RemoteAddr = c.from
		r.Header = http.Header{"Authorization": {"Bearer " + token}, "X-Forwarded-Uri": {c.forwarded}, "X-Forwarded-For": {"10.0.0.9"}}
		if c.more != "" {
			r.Header.Add("X-Forwarded-Uri", c.more)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want || c.want == 403 && w.Header().Get("X-Refusal") != "retriever" {
			t.Errorf("%+v: got %d %v", c, w.Code, w.Header())
		}
	}
	if got := strings.Count(log.String(), "X-Forwarded-Uri is ignored from an address that is not in TRUSTED_PROXIES"); got != 1 {
		t.Errorf("got %d warnings, want 1: %s", got, log.String())
	}
}

// A header value is the stored text, and nothing in it can end the header or look like another text.
func FuzzVisible(f *testing.F) {
	for _, s := range []string{"", "key_1", "a b", "\r\nX-A: b", "100%", "%41", "é", "\xff", "\x7f", "~!"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := visible(s)
		if back, err := url.PathUnescape(got); back != s || err != nil {
			t.Errorf("%q: got %q, which is %q, %v", s, got, back, err)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("%q: got %q", s, got)
		}
	})
}

// A gateway's requests use the key's budget, whatever the answer is, and the same one as the key's other requests.
func TestAuthorizationSpendsTheBudget(t *testing.T) {
	s := newGated(func(k *apikey.Key) {
		k.RateLimitOverride, k.Type, k.Permissions = new(int32(3)), apikey.Standard, []apikey.Permission{apikey.Admin}
		k.Scopes = append(k.Scopes, apikey.Scope{ResourceType: apikey.ResourceOrganization, ResourceID: "int_1", Operations: []apikey.Operation{apikey.ReadData}})
	})
	h := s.handler()
	for i, c := range []struct {
		target, remaining string
		want              int
	}{
		{askURL, "2", 200}, {"/v1/retrievers/gone/authorize", "1", 403}, {keysURL, "0", 200}, {askURL, "0", 429}, {"/v1/retrievers/gone/authorize", "0", 429}, {keysURL, "0", 429},
	} {
		w := asked(h, http.MethodGet, c.target, "X-Namespace", "production")
		if w.Code != c.want || w.Header().Get("X-RateLimit-Remaining") != c.remaining || w.Header().Get("X-RateLimit-Limit") != "3" || w.Header().Get("X-RateLimit-Window") != "60" || w.Header().Get("X-RateLimit-Reset") == "" {
			t.Errorf("request %d: got %d %v, want %d, %s left", i, w.Code, w.Header(), c.want, c.remaining)
		}
		if c.want == 429 && (w.Header().Get("Retry-After") != "20" || !strings.Contains(w.Body.String(), `"details":{"limit":3,"retry_after":20,"window":60}`)) {
			t.Errorf("request %d: got %v %s", i, w.Header(), w.Body)
		}
	}
}

// A client that guesses keys at the gateway is stopped like any other, by its own address and not the gateway's, and others do not notice.
func TestInvalidKeysAtTheGatewayAreLimited(t *testing.T) {
	s := newGated()
	h := s.handler(func(o *Options) { o.AuthFailures = 2 })
	for i, c := range []struct {
		from, key string
		want      int
	}{
		{"192.0.2.1", "sk_a", 401}, {"192.0.2.1", "not a key", 401}, {"192.0.2.1", "sk_b", 429}, {"192.0.2.1", token, 429}, {"192.0.2.2", token, 200}, {"192.0.2.1", token, 200},
	} {
		w := asked(h, http.MethodGet, askURL, "Authorization", "", publicKeyHeader, c.key, "X-Forwarded-For", c.from)
		if w.Code != c.want || c.want == 429 && w.Header().Get("Retry-After") == "" {
			t.Errorf("request %d: got %d %v, want %d", i, w.Code, w.Header(), c.want)
		}
	}
}

// If this server cannot know, it says 503: never 200, and never 401, with which a client would give up a valid key.
func TestTheGateIsClosedWhenNobodyKnows(t *testing.T) {
	wide := func(k *apikey.Key) { k.Scopes = nil }
	for name, down := range map[string]func(*gated){
		"the key cannot be read":       func(s *gated) { s.down = true },
		"the retriever cannot be read": func(s *gated) { s.retrieversDown = &apikey.Error{Code: apikey.Unavailable} },
		"the store fails":              func(s *gated) { s.retrieversDown = errors.New("a broken document") },
	} {
		s := newGated(wide)
		down(s)
		w := asked(s.handler(), http.MethodGet, askURL)
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), `"type":"ServiceUnavailableError"`) || strings.Contains(w.Body.String(), "broken") {
			t.Errorf("%s: got %d %s, want 503", name, w.Code, w.Body)
		}
	}
	w := asked(newGated().handler(func(o *Options) { o.Timeout = time.Nanosecond }), http.MethodGet, askURL)
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("without time: got %d %v", w.Code, w.Header())
	}
}

// A gateway's request takes a turn like any other, so that a flood of them does not slow those that are admitted, and gives it back.
func TestAuthorizationTakesATurn(t *testing.T) {
	var c counters
	holding, held := make(chan struct{}), make(chan struct{})
	s := newGated(func(k *apikey.Key) { k.Scopes = nil })
	slow := &waiting{gated: s, holding: holding, held: held}
	h := handlerOn(slow, &s.shelf, func(o *Options) { o.MaxConcurrent, o.Metrics = 1, c.metrics() })
	first := make(chan int)
	go func() { first <- asked(h, http.MethodGet, askURL).Code }()
	<-held
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan int)
	go func() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, askURL, nil))
		second <- w.Code
	}()
	c.until(1)
	cancel()
	if got := <-second; got != http.StatusServiceUnavailable {
		t.Errorf("without a turn: got %d, want 503", got)
	}
	close(holding)
	if got := <-first; got != http.StatusOK {
		t.Errorf("with a turn: got %d, want 200", got)
	}
	if c.working.Load() != 0 || c.waiting.Load() != 0 {
		t.Errorf("got %d at work and %d waiting when all is done", c.working.Load(), c.waiting.Load())
	}
}

// waiting answers for retrievers when the test allows it.
type waiting struct {
	*gated
	holding, held chan struct{}
}

func (s *waiting) Retrievers(ctx context.Context, tenant apikey.InternalID, ids []apikey.RetrieverID) ([]apikey.Retriever, error) {
	close(s.held)
	<-s.holding
	return s.gated.Retrievers(ctx, tenant, ids)
}

// leaving is a store that is asked when the gateway leaves.
type leaving struct {
	*gated
	leave func()
}

func (s *leaving) KeysByHash(ctx context.Context, hash string) ([]apikey.Key, error) {
	s.leave()
	return s.gated.KeysByHash(ctx, hash)
}

// A gateway leaves when its client does. Without this, every such client looks like an outage in the log and the alerts.
func TestAGatewayThatLeavesIsNoOutage(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := newGated()
	var log buffer
	var outcomes []string
	h := handlerOn(&leaving{s, cancel}, &s.shelf, func(o *Options) {
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		o.Metrics.Authorization = func(outcome string, _ time.Duration) { outcomes = append(outcomes, outcome) }
	})
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, askURL, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable || !slices.Equal(outcomes, []string{"canceled"}) || strings.Contains(log.b.String(), "request failed") {
		t.Errorf("got %d and %v, want 503 and canceled; the log: %s", w.Code, outcomes, log.b.String())
	}
}

// Gateways send the client's headers without its body. Without this, the server waits for a body that never comes, or takes the next request on the
// connection for it.
func TestAnnouncedBodiesAreNotAwaited(t *testing.T) {
	server := httptest.NewServer(newGated().handler())
	defer server.Close()
	for name, body := range map[string]string{
		"a length":       "Content-Length: 1000000\r\n\r\n",
		"chunks":         "Transfer-Encoding: chunked\r\n\r\n",
		"an expected":    "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
		"a whole body":   "Content-Length: 5\r\n\r\nhello",
		"no body at all": "\r\n",
	} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "POST "+askURL+" HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "+token+"\r\n"+body); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		n, err := conn.Read(buf)
		if got := string(buf[:n]); err != nil || !strings.HasPrefix(got, "HTTP/1.1 200 ") || strings.Contains(got, "Connection: close") != (body != "\r\n") {
			t.Errorf("%s: got %s, %v", name, got, err)
		}
		_ = conn.Close()
	}
	// A handler that touched the body would fail.
	r := httptest.NewRequest(http.MethodPost, askURL, iotest.ErrReader(errors.New("read")))
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	newGated().handler().ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// Nothing about a key is remembered: the request after a revocation is refused.
func TestTheNextRequestIsRefused(t *testing.T) {
	s := newGated()
	h := s.handler()
	for range 3 {
		if w := asked(h, http.MethodGet, askURL); w.Code != http.StatusOK {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
	}
	s.caller.RevokedAt = new(time.Now())
	if w := asked(h, http.MethodGet, askURL); w.Code != http.StatusUnauthorized {
		t.Errorf("got %d %s, want 401", w.Code, w.Body)
	}
}

// The metrics count each answer once by its outcome. The log has a line for each refusal, which names no retriever and no key.
func TestAuthorizationsAreCounted(t *testing.T) {
	var log buffer
	var outcomes []string
	s := newGated(func(k *apikey.Key) { k.AllowedOrigins = []string{"https://shop.example.com"} })
	h := s.handler(func(o *Options) {
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		o.Metrics.Authorization = func(outcome string, took time.Duration) {
			if took <= 0 {
				t.Errorf("%s took %v", outcome, took)
			}
			outcomes = append(outcomes, outcome)
		}
	})
	asked(h, http.MethodGet, askURL)
	if log := log.b.String(); log != "" {
		t.Errorf("an allowed request was logged: %s", log)
	}
	asked(h, http.MethodGet, askURL, "Origin", "https://evil.example")
	asked(h, http.MethodGet, "/v1/authorize/v1/retrievers/ret_2/execute")
	asked(h, http.MethodGet, "/v1/authorize", "Authorization", "")
	s.down = true
	asked(h, http.MethodGet, askURL)
	if want := []string{"allowed", "origin", "retriever", "UNAUTHENTICATED", "UNAVAILABLE"}; !slices.Equal(outcomes, want) {
		t.Errorf("got %v, want %v", outcomes, want)
	}
	lines := log.b.String()
	for _, want := range []string{"route=/v1/retrievers/{retriever_id}/authorize status=403", "route=/v1/authorize/{path...} status=403", "route=/v1/authorize status=401", "status=503"} {
		if strings.Count(lines, want) != 1 {
			t.Errorf("got %s, want a line with %s", lines, want)
		}
	}
	if strings.Contains(lines, "ret_") || strings.Contains(lines, token) {
		t.Errorf("the log shows what was asked: %s", lines)
	}
}

// discarding is a ResponseWriter that keeps nothing.
type discarding struct {
	header http.Header
	status int
}

func (d *discarding) Header() http.Header         { return d.header }
func (d *discarding) Write(b []byte) (int, error) { return len(b), nil }
func (d *discarding) WriteHeader(status int)      { d.status = status }

// authorizing returns a function that asks once, with a limit that is counted, and reuses what it can, so that only the path itself allocates.
func authorizing(t testing.TB) func() {
	s := newGated()
	key := s.caller
	key.InternalID, key.Stored, key.Hash = "int_1", apikey.Active, apikeyHash
	h := NewHandler(Options{
		Service: &apikey.Service{Store: &oneKey{keys: []apikey.Key{key}}, RateLimit: 1_000_000_000}, GraphQL: http.NotFoundHandler(), Timeout: time.Minute,
		AuthFailures: 6000, Limiter: ratelimit.NewMemory(time.Now), Logger: slog.New(slog.DiscardHandler),
	})
	r := httptest.NewRequest(http.MethodGet, askURL, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := &discarding{header: http.Header{}}
	return func() {
		clear(w.header)
		if h.ServeHTTP(w, r); w.status != http.StatusOK {
			t.Fatal(w.status)
		}
	}
}

// oneKey is a store that allocates nothing.
type oneKey struct {
	apikey.Store
	keys []apikey.Key
}

func (s *oneKey) KeysByHash(context.Context, string) ([]apikey.Key, error) { return s.keys, nil }

// The path of an allowed request without the network and the store: BenchmarkAuthorize counts its allocations.
func BenchmarkAuthorize(b *testing.B) {
	ask := authorizing(b)
	b.ReportAllocs()
	for b.Loop() {
		ask()
	}
}

// Without this, an allocation here and there makes the path of every website's requests slower and nobody notices.
func TestAuthorizationAllocatesLittle(t *testing.T) {
	const most = 60
	if got := testing.AllocsPerRun(100, authorizing(t)); got > most {
		t.Errorf("got %v allocations, want at most %d", got, most)
	} else {
		t.Logf("%v allocations", got)
	}
}
