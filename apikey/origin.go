package apikey

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// originAllowed reports whether a browser's Origin header matches one of the allowed origins: exactly, or as a
// subdomain of any depth of https://*.example.com (never the apex itself). Scheme, host and port must agree; the
// host's case does not matter. The opaque origin "null" matches nothing.
func originAllowed(allowed []string, origin string) bool {
	got, ok := parseOrigin(origin)
	if !ok || strings.HasPrefix(got.host, "*") || strings.Trim(got.host, hostChars) != "" {
		return false
	}
	return slices.ContainsFunc(allowed, func(a string) bool {
		want, ok := parseOrigin(a)
		return ok && want.covers(got)
	})
}

// originsWithin reports whether every origin that some matches is also matched by others. Nil matches every origin, as in
// Key.AllowedOrigins. An entry that cannot be parsed matches none.
func originsWithin(some, others []string) bool {
	if some == nil || others == nil {
		return others == nil
	}
	return !slices.ContainsFunc(some, func(s string) bool {
		inner, ok := parseOrigin(s)
		return ok && !slices.ContainsFunc(others, func(o string) bool {
			outer, ok := parseOrigin(o)
			return ok && outer.covers(inner)
		})
	})
}

// isOrigin reports whether a key can be limited to this origin: an origin as browsers send it, or all subdomains of one. Browsers send
// international names in ASCII, so other forms would match nothing.
func isOrigin(s string) bool {
	o, ok := parseOrigin(s)
	if !ok || len(s) > maxOriginBytes || strings.HasSuffix(s, ":") || strings.Contains("."+o.host, "..") || strings.Trim(o.host, hostChars) != "" {
		return false
	}
	port, err := strconv.ParseUint(cmp.Or(o.port, "1"), 10, 16) // a scheme without a known default port
	return err == nil && port > 0
}

const (
	// maxOriginBytes leaves room for the longest host name.
	maxOriginBytes = 300
	// hostChars are the characters of names, IPv6 addresses and the wildcard.
	hostChars = "abcdefghijklmnopqrstuvwxyz0123456789-_.:*"
)

type origin struct{ scheme, host, port string }

// covers reports whether o matches every origin that other matches. An origin without a wildcard matches only itself.
func (o origin) covers(other origin) bool {
	if o.scheme != other.scheme || o.port != other.port {
		return false
	}
	apex, wild := strings.CutPrefix(o.host, "*")
	return o.host == other.host || wild && len(other.host) > len(apex) && strings.HasSuffix(other.host, apex)
}

// parseOrigin parses scheme://host[:port]. The host may begin with the wildcard label "*.".
func parseOrigin(s string) (origin, bool) {
	scheme, authority, ok := strings.Cut(s, "://")
	if !ok || strings.ContainsAny(authority, "/?#@\\ ") {
		return origin{}, false
	}
	u, err := url.Parse(scheme + "://" + strings.TrimPrefix(authority, "*."))
	if err != nil || !strings.EqualFold(u.Scheme, scheme) || u.Hostname() == "" || strings.Contains(u.Hostname(), "*") ||
		strings.Contains(u.Hostname(), ":") != strings.HasPrefix(u.Host, "[") {
		return origin{}, false
	}
	o := origin{scheme: strings.ToLower(u.Scheme), host: strings.ToLower(u.Hostname()), port: u.Port()}
	if strings.HasPrefix(authority, "*.") {
		o.host = "*." + o.host
	}
	switch {
	case o.scheme == "https" && o.port == "":
		o.port = "443"
	case o.scheme == "http" && o.port == "":
		o.port = "80"
	}
	return o, true
}
