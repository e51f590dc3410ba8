package web

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
)

//go:embed playground.html
var playgroundPage string

// embeddedAssets holds the page's assets in a binary that `make playground` built, and else a note.
//
//go:embed playground/assets
var embeddedAssets embed.FS

// playgroundAssets has the assets by their path below assetsCDN.
var playgroundAssets, _ = fs.Sub(embeddedAssets, "playground/assets")

const (
	assetsCDN  = "https://cdn.jsdelivr.net/npm/"
	assetsPath = "/playground/"
)

// routePlayground serves the page around GraphiQL. Keys come into it by the URL's fragment or by hand, never by the
// server: the page is the same for everyone. What the page refers to is served beside it if all of it is in assets;
// otherwise browsers get it from the CDN. Either way it must have the hashes that the page says.
func routePlayground(mux *http.ServeMux, assets fs.FS) {
	page := playgroundPage
	if files := readAssets(page, assets); files != nil {
		page = strings.ReplaceAll(page, assetsCDN, assetsPath)
		for name, content := range files {
			mux.HandleFunc("GET "+assetsPath+name, asset(name, content))
		}
	}
	policy := policyOf(page)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", policy)
		_, _ = io.WriteString(w, page)
	})
}

// readAssets returns all that the page gets from the CDN, by path, or nil if assets lacks any of it.
func readAssets(page string, assets fs.FS) map[string][]byte {
	files := map[string][]byte{}
	for _, url := range slices.Concat(matches(scriptURL, page), matches(styleURL, page)) {
		name := strings.TrimPrefix(url, assetsCDN)
		content, err := fs.ReadFile(assets, name)
		if err != nil {
			return nil
		}
		files[name] = content
	}
	return files
}

// asset serves a file whose path tells its version: it never changes.
func asset(name string, content []byte) http.HandlerFunc {
	contentType := map[string]string{".js": "text/javascript", ".css": "text/css"}[path.Ext(name)] + "; charset=utf-8"
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		_, _ = w.Write(content)
	}
}

var (
	scriptURL    = regexp.MustCompile(`<script [^>]*\bsrc="([^"]+)"`)
	inlineScript = regexp.MustCompile(`(?s)<script>(.*?)</script>`)
	styleURL     = regexp.MustCompile(`<link rel="stylesheet" href="([^"]+)"`)
	inlineStyle  = regexp.MustCompile(`(?s)<style>(.*?)</style>`)
)

// matches returns what the expression's group matches in the page, each time it does.
func matches(expression *regexp.Regexp, page string) []string {
	var all []string
	for _, m := range expression.FindAllStringSubmatch(page, -1) {
		all = append(all, m[1])
	}
	return all
}

// dialogStyle is the hash of the one style element that GraphiQL 4.1.2 makes: it keeps what is behind a dialog from
// scrolling. All other styles it sets from its scripts, which needs no permission.
const dialogStyle = "'sha256-nzTgYzXYDNe6BAHiiI7NNlfK8n/auuOAhh2t92YvuXo='"

// policyOf returns a page's Content-Security-Policy, read off the page itself: the URLs of its scripts and styles, and
// the hashes of those in it. A policy cannot name a path of the same origin, so 'self' stands for those; no other
// answer of this server has a script's or a style's type, and none is sniffed.
func policyOf(page string) string {
	sources := func(url, inline *regexp.Regexp) string {
		var all []string
		for _, u := range matches(url, page) {
			if strings.HasPrefix(u, "/") {
				u = "'self'"
			}
			all = append(all, u)
		}
		all = slices.Compact(all)
		for _, content := range matches(inline, page) {
			sum := sha256.Sum256([]byte(content))
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
