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

// embeddedAssets has the page's assets in a binary that `make playground` built. In other binaries it has only a README.
//
//go:embed playground/assets
var embeddedAssets embed.FS

// playgroundAssets has the assets by their paths below assetsCDN.
var playgroundAssets, _ = fs.Sub(embeddedAssets, "playground/assets")

const (
	assetsCDN  = "https://cdn.jsdelivr.net/npm/"
	assetsPath = "playground/" // relative to /playground, so that it works below a path prefix
)

// routePlayground serves the page around GraphiQL. The page is the same for everyone: keys enter it through the URL's fragment or by
// hand, never from the server. If all its scripts and styles are in assets, they are served here; otherwise browsers load them from the
// CDN. In both cases they must match the hashes in the page.
func routePlayground(mux *http.ServeMux, assets fs.FS) {
	page := playgroundPage
	if files := readAssets(page, assets); files != nil {
		page = strings.ReplaceAll(page, assetsCDN, assetsPath)
		for name, content := range files {
			mux.HandleFunc("GET /"+assetsPath+name, asset(name, content))
		}
	}
	policy := policyOf(page)
	mux.HandleFunc("GET /playground", func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", policy)
		_, _ = io.WriteString(w, page)
	})
}

// readAssets returns everything that the page loads from the CDN, by path, or nil if assets lacks any of it.
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

// asset serves a file whose path contains its version, so it never changes.
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

// matches returns all matches of the expression's group in the page.
func matches(expression *regexp.Regexp, page string) []string {
	var all []string
	for _, m := range expression.FindAllStringSubmatch(page, -1) {
		all = append(all, m[1])
	}
	return all
}

// dialogStyle is the hash of the only style element that GraphiQL 4.1.2 creates: it stops the page behind a dialog from scrolling.
// GraphiQL sets all other styles through scripts, which needs no permission.
const dialogStyle = "'sha256-nzTgYzXYDNe6BAHiiI7NNlfK8n/auuOAhh2t92YvuXo='"

// policyOf derives a page's Content-Security-Policy from the page: the URLs of its scripts and styles, and the hashes of inline ones. A
// policy cannot name a path of its own origin, so 'self' stands for those. No other response of this server is a script or a style, and
// browsers may not guess.
func policyOf(page string) string {
	sources := func(url, inline *regexp.Regexp) string {
		var all []string
		for _, u := range matches(url, page) {
			if strings.HasPrefix(u, assetsPath) {
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
