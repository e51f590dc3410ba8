package web

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"io"
	"net/http"
	"regexp"
	"strings"
)

//go:embed playground.html
var playgroundPage string

// playgroundPolicy allows what the page refers to and nothing else.
var playgroundPolicy = policyOf(playgroundPage)

// playground answers with the page around GraphiQL. Keys come into it by the URL's fragment or by hand, never by the
// server: the page is the same for everyone.
func playground(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", playgroundPolicy)
	_, _ = io.WriteString(w, playgroundPage)
}

var (
	scriptURL    = regexp.MustCompile(`<script [^>]*\bsrc="([^"]+)"`)
	inlineScript = regexp.MustCompile(`(?s)<script>(.*?)</script>`)
	styleURL     = regexp.MustCompile(`<link rel="stylesheet" href="([^"]+)"`)
	inlineStyle  = regexp.MustCompile(`(?s)<style>(.*?)</style>`)
)

// dialogStyle is the hash of the one style element that GraphiQL 4.1.2 makes: it keeps what is behind a dialog from
// scrolling. All other styles it sets from its scripts, which needs no permission.
const dialogStyle = "'sha256-nzTgYzXYDNe6BAHiiI7NNlfK8n/auuOAhh2t92YvuXo='"

// policyOf returns a page's Content-Security-Policy, read off the page itself: the URLs of its scripts and styles, and
// the hashes of those in it.
func policyOf(page string) string {
	sources := func(url, inline *regexp.Regexp) string {
		var all []string
		for _, m := range url.FindAllStringSubmatch(page, -1) {
			all = append(all, m[1])
		}
		for _, m := range inline.FindAllStringSubmatch(page, -1) {
			sum := sha256.Sum256([]byte(m[1]))
			all = append(all, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
		}
		return strings.Join(all, " ")
	}
	return strings.Join([]string{
		"default-src 'none'",
		"script-src " + sources(scriptURL, inlineScript),
		"style-src " + sources(styleURL, inlineStyle) + " " + dialogStyle,
		"img-src data:",
		"font-src data:",
		"connect-src 'self'",
		"base-uri 'none'",
		"form-action 'none'",
		"frame-ancestors 'none'",
	}, "; ")
}
