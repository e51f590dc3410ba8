package web

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"retrieverkeys/apikey"
)

// Only pages of the configured origins can call. Without configuration, none can.
func TestCORS(t *testing.T) {
	origins, errs := NewCORS([]string{"https://app.example.com", "https://*.wild.example", "http://localhost:5173"})
	if errs != nil {
		t.Fatal(errs)
	}
	some := served(t, &shelf{keys: 1}, func(o *Options) { o.CORS = origins })
	none := served(t, &shelf{keys: 1})
	for _, c := range []struct {
		url, origin string
		allowed     bool
	}{
		{some, "https://app.example.com", true},
		{some, "http://localhost:5173", true},
		{some, "https://a.wild.example", true},
		{some, "https://a.b.wild.example", true},
		{some, "https://wild.example", false},
		{some, "https://evilwild.example", false},
		{some, "http://app.example.com", false},
		{some, "https://app.example.com:8443", false},
		{some, "null", false},
		{none, "https://app.example.com", false},
	} {
		for _, path := range []string{keysURL, "/graphql"} {
			status, header, _ := ask(t, http.MethodOptions, c.url+path, "", "Authorization", "", "X-Namespace", "", "Origin", c.origin,
				"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type,x-namespace")
			if ok := status/100 == 2 && header.Get("Access-Control-Allow-Origin") == c.origin; ok != c.allowed {
				t.Errorf("%s asks for %s: %d %v", c.origin, path, status, header)
			}
		}
		_, header, _ := ask(t, http.MethodGet, c.url+keysURL, "", "Origin", c.origin)
		if ok := header.Get("Access-Control-Allow-Origin") == c.origin; ok != c.allowed || header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s reads: %v", c.origin, header)
		}
		if exposed := header.Get("Access-Control-Expose-Headers"); c.allowed && (!strings.Contains(strings.ToLower(exposed), "x-request-id") || !strings.Contains(strings.ToLower(exposed), "x-ratelimit-window")) {
			t.Errorf("%s sees the headers %q", c.origin, exposed)
		}
	}
}

func TestNewCORSReturnsEveryProblem(t *testing.T) {
	if _, errs := NewCORS(nil); errs != nil {
		t.Error(errs)
	}
	bad := []string{"example.com", "null", "https://app.example.com/", ""}
	_, errs := NewCORS(append(bad, "https://app.example.com"))
	if len(errs) != len(bad) {
		t.Errorf("%d problems: %v", len(errs), errs)
	}
	if _, errs := NewCORS([]string{"https://app.example.com", "*"}); len(errs) != 1 {
		t.Errorf("every page: %v", errs)
	}
}

func TestNewCORSChecksHeaders(t *testing.T) {
	for _, origins := range [][]string{nil, {"https://app.example.com"}} {
		if _, errs := NewCORS(origins, "X-Custom", "x-custom", "authorization"); errs != nil {
			t.Errorf("good headers with the origins %q: %v", origins, errs)
		}
		bad := []string{"no name", "Cookie", "Origin", "Sec-Fetch-Mode", "Access-Control-Request-Method", "*"}
		_, errs := NewCORS(origins, append(bad, "X-Custom")...)
		if len(errs) != len(bad) {
			t.Errorf("%d problems: %v", len(errs), errs)
		}
		for _, err := range errs {
			if !strings.HasPrefix(err.Error(), "CORS_ALLOWED_HEADERS names ") {
				t.Error(err)
			}
		}
	}
	for _, bad := range []string{"*", "nonsense"} {
		if _, errs := NewCORS([]string{bad}); len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), "CORS_ALLOWED_ORIGINS names ") {
			t.Errorf("%s: %v", bad, errs)
		}
	}
}

// Tools in a page, such as browser tracers, add their own headers to every request. Without this, a page with such a tool cannot send any request,
// even from an allowed origin.
func TestPagesMaySendTheHeadersOfTheirTools(t *testing.T) {
	for _, c := range []struct {
		own, headers string
		ok           bool
	}{
		{"", "authorization,content-type,x-namespace", true},
		{"", "x-requested-with", true},
		{"", "graphql-require-preflight", true},
		{"", "apollo-require-preflight,x-apollo-operation-name", true},
		{"", "x-datadog-origin,x-datadog-parent-id,x-datadog-sampling-priority,x-datadog-tags,x-datadog-trace-id", true},
		{"", "x-datadog-sampled", true},
		{"", "cache-control,pragma", true},
		{"", "baggage,sentry-trace,traceparent,tracestate", true},
		{"", "b3,newrelic,x-b3-sampled", true},
		{"", "accept", true},
		{"", "x-custom", false},
		{"X-Custom", "authorization,x-custom", true},
		{"X-CUSTOM", "x-custom", true},
		{"X-Custom", "x-other", false},
		{"", "cookie2", false},
	} {
		origins, errs := NewCORS([]string{"https://app.example.com"}, strings.Fields(c.own)...)
		if errs != nil {
			t.Fatal(errs)
		}
		url := served(t, &shelf{}, func(o *Options) { o.CORS = origins })
		status, header, body := ask(t, http.MethodOptions, url+"/graphql", "", "Authorization", "", "X-Namespace", "", "Origin", "https://app.example.com",
			"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", c.headers)
		if allowed := status/100 == 2 && header.Get("Access-Control-Allow-Headers") == c.headers; allowed != c.ok {
			t.Errorf("%s with %q: %d %v %s", c.headers, c.own, status, header, body)
		}
	}
}

// Browsers show users nothing about a refused preflight. So the response and the log must name the origin and the setting that would
// allow it.
func TestRefusedPreflightsSayWhy(t *testing.T) {
	origins, errs := NewCORS([]string{"https://app.example.com", "http://localhost:*"})
	if errs != nil {
		t.Fatal(errs)
	}
	_, secret := apikey.NewAdminKey(apikey.Namespace{}, "usr_a", "a", "", time.Now())
	const app = "https://app.example.com"
	for _, c := range []struct {
		name                    string
		cors                    CORS
		origin, method, headers string
		message, setting        string
	}{
		{"no origin is allowed", CORS{}, app, "POST", "authorization", "Pages of the origin https://app.example.com may not call this server: add the origin to CORS_ALLOWED_ORIGINS.", "CORS_ALLOWED_ORIGINS"},
		{"another is allowed", origins, "https://other.example.com", "POST", "authorization", "Pages of the origin https://other.example.com may not call this server: add the origin to CORS_ALLOWED_ORIGINS.", "CORS_ALLOWED_ORIGINS"},
		{"another scheme", origins, "https://localhost:3000", "GET", "", "Pages of the origin https://localhost:3000 may not call this server: add the origin to CORS_ALLOWED_ORIGINS.", "CORS_ALLOWED_ORIGINS"},
		{"a file", origins, "null", "POST", "", "Pages of the origin null may not call this server: add the origin to CORS_ALLOWED_ORIGINS.", "CORS_ALLOWED_ORIGINS"},
		{"another header", origins, app, "POST", "authorization,x-custom,x-other", "Pages of the origin https://app.example.com may not send x-custom, x-other: add it to CORS_ALLOWED_HEADERS.", "CORS_ALLOWED_HEADERS"},
		{"another method", origins, app, "PUT", "", "Pages of the origin https://app.example.com may only use GET, POST, DELETE here.", ""},
		{"no browser", origins, app, "POST", "x-namespace,authorization", "The preflight of the origin https://app.example.com is malformed.", ""},
		{"what cannot be shown", CORS{}, "https://\u00e9.example", "POST", "", "Pages of the origin … may not call this server: add the origin to CORS_ALLOWED_ORIGINS.", "CORS_ALLOWED_ORIGINS"},
		{"a key", CORS{}, "https://" + secret.Reveal(), "POST", "", "Pages of the origin … may not call this server: add the origin to CORS_ALLOWED_ORIGINS.", "CORS_ALLOWED_ORIGINS"},
		{"what is too long to be shown", CORS{}, "https://" + strings.Repeat("a", 300), "POST", "", "Pages of the origin … may not call this server: add the origin to CORS_ALLOWED_ORIGINS.", "CORS_ALLOWED_ORIGINS"},
	} {
		var log bytes.Buffer
		h := handler(&shelf{}, func(o *Options) {
			o.CORS, o.Logger = c.cors, slog.New(slog.NewJSONHandler(&log, nil))
		})
		for _, path := range []string{"/graphql", keysURL, "/nothing"} {
			log.Reset()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodOptions, path, nil)
			r.Header = http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"cors"}, "Origin": {c.origin}, "Access-Control-Request-Method": {c.method}}
			if c.headers != "" {
				r.Header.Set("Access-Control-Request-Headers", c.headers)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			status, header, body := w.Code, w.Header(), w.Body.String()
			want := fmt.Sprintf(`{"success":false,"status":403,"error":{"message":%q,"type":"ForbiddenError"}}`+"\n", c.message)
			if status != http.StatusForbidden || body != want || header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s: %d %v\n got %s\nwant %s", c.name, status, header, body, want)
			}
			var line struct{ Msg, Origin, Reason, Setting string }
			first, _, _ := strings.Cut(log.String(), "\n")
			if err := json.Unmarshal([]byte(first), &line); err != nil || line.Msg != "a CORS preflight was refused" || line.Reason != c.message || line.Setting != c.setting || !strings.Contains(c.message, line.Origin) {
				t.Errorf("%s: the log says %s", c.name, log.String())
			}
		}
	}
	// An OPTIONS request that is not a preflight is a method that the path does not support.
	if status, _, body := ask(t, http.MethodOptions, served(t, &shelf{})+keysURL, "", "Origin", app); status != http.StatusMethodNotAllowed {
		t.Errorf("no preflight: %d %s", status, body)
	}
	// The demo allows pages on any port of localhost.
	for _, origin := range []string{"http://localhost:3000", "http://localhost", "http://localhost:65535"} {
		url := served(t, &shelf{}, func(o *Options) { o.CORS = origins })
		if status, header, body := ask(t, http.MethodOptions, url+"/graphql", "", "Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization"); status/100 != 2 || header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("%s: %d %v %s", origin, status, header, body)
		}
	}
}

// A request that a page of another site causes must not run, unless the browser has made a preflight first.
func TestOtherSitesNeedAPreflight(t *testing.T) {
	ran := false
	url := served(t, &shelf{}, func(o *Options) {
		o.GraphQL = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { ran = true })
		o.RefuseGraphQL = func(w http.ResponseWriter, _ *http.Request, _ int, e *apikey.Error) { writeError(w, e) }
	}) + "/graphql"
	for _, c := range []struct {
		name    string
		headers []string
		runs    bool
	}{
		{"no browser", nil, true},
		{"the same origin", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors"}, true},
		{"typed by hand", []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate"}, true},
		{"a link", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, true},
		{"another site", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"}, false},
		{"a sibling", []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "no-cors"}, false},
		{"another site's picture", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, false},
		{"another site's form", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", "Content-Type", "text/plain"}, false},
		{"another site, through proxies", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "X-Request-Id", "1", "Traceparent", "2", "Baggage", "3"}, false},
		{"another site, in an app", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", "X-Requested-With", "com.example.app"}, false},
		{"another site, with the header of other servers", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", "GraphQL-Require-Preflight", "1"}, true},
		{"another site, with Apollo's header", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", preflightHeader, "1"}, true},
		{"another site with JSON", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", "Content-Type", "application/json"}, true},
		{"another site with a key", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", "Authorization", "Bearer " + token}, true},
	} {
		ran = false
		status, _, body := ask(t, http.MethodGet, url, "", append([]string{"Authorization", "", "X-Namespace", ""}, c.headers...)...)
		if ran != c.runs || !c.runs && (status != http.StatusForbidden || !strings.Contains(body, preflightHeader)) {
			t.Errorf("%s: ran %t, %d %s", c.name, ran, status, body)
		}
	}
}

// A response has the same content in every encoding.
func TestAnswersAreCompressed(t *testing.T) {
	url := served(t, &shelf{keys: 10})
	_, _, plain := ask(t, http.MethodGet, url+keysURL, "", "Accept-Encoding", "identity")
	for accept, want := range map[string]string{"gzip": "gzip", "zstd": "zstd", "gzip, deflate, br, zstd": "gzip", "identity": "", "br": "", "gzip;q=0": ""} {
		_, header, body := ask(t, http.MethodGet, url+keysURL, "", "Accept-Encoding", accept)
		var r io.Reader = strings.NewReader(body)
		var err error
		switch header.Get("Content-Encoding") {
		case "gzip":
			r, err = gzip.NewReader(r)
		case "zstd":
			r, err = zstd.NewReader(r)
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(text, []byte(plain)) || header.Get("Content-Encoding") != want || !strings.Contains(header.Get("Vary"), "Accept-Encoding") {
			t.Errorf("%s: %v, %d bytes of %d, %v", accept, header, len(text), len(plain), err)
		}
	}
	if _, header, _ := ask(t, http.MethodGet, url+"/healthz", "", "Accept-Encoding", "gzip"); header.Get("Content-Encoding") != "" {
		t.Errorf("a short response is compressed: %v", header)
	}
}
