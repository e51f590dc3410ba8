package web

import (
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"
	"strings"
)

// NewAdminHandler returns the handler of the admin listener: metrics and profiles, for operators only. It answers requests whose Host is
// in ownHosts.
func NewAdminHandler(metrics http.Handler, address string, names []string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	own := ownHosts(address, names)
	return awaitNoBody(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !own(r.Host) {
			http.Error(w, "This host is not allowed. Use localhost, an IP address, or a name in ADMIN_HOSTS.", http.StatusMisdirectedRequest)
			return
		}
		mux.ServeHTTP(w, r)
	}))
}

// ownHosts are the hosts under which a listener accepts requests. A page of another site can make its own name resolve to this machine,
// and browsers then send that name as Host. They send an IP address only if the page comes from it. So localhost, loopback
// addresses, the listener's own host, any address if it listens on all of them, and the operator's additional names are accepted.
func ownHosts(address string, names []string) func(host string) bool {
	given, _, err := net.SplitHostPort(address)
	if err != nil {
		given = address
	}
	listens, err := netip.ParseAddr(given)
	everywhere := given == "" || err == nil && listens.IsUnspecified()
	return func(host string) bool {
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), ".")
		if asked, err := netip.ParseAddr(host); err == nil {
			asked = asked.Unmap()
			return everywhere || asked.IsLoopback() || asked == listens.Unmap()
		}
		same := func(name string) bool { return strings.EqualFold(name, host) }
		return host != "" && (same("localhost") || same(given) || slices.ContainsFunc(names, same))
	}
}
