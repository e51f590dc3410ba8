package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"retrieverkeys/apikey"
)

// A page may call from the origins that are configured and from no other; without configuration from none.
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
		if exposed := header.Get("Access-Control-Expose-Headers"); c.allowed && !strings.Contains(strings.ToLower(exposed), "x-request-id") {
			t.Errorf("%s sees the headers %q", c.origin, exposed)
		}
	}
}

func TestNewCORSTellsEveryProblem(t *testing.T) {
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

// What a page of another site has a browser send must not run, unless the browser asked this server first.
func TestOtherSitesMustAskFirst(t *testing.T) {
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
		{"another site that asked", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", preflightHeader, "1"}, true},
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

// Whatever way a client takes an answer, it is the same one.
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
		t.Errorf("a short answer is compressed: %v", header)
	}
}
