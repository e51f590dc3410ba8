package web

import (
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"
	"strings"
)

// NewAdminHandler returns what the admin listener at that address serves, for operators alone: the metrics, and profiles of the
// process. It answers those who ask by a host that it is known by, as ownHosts says.
func NewAdminHandler(metrics http.Handler, address string, names []string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	own := ownHosts(address, names)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !own(r.Host) {
			http.Error(w, "This listener is for operators, and is not known by this host: ask it by its address, as localhost, or by a name in ADMIN_HOSTS.", http.StatusMisdirectedRequest)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// ownHosts tells by which hosts a listener may be asked. A page of another site can have its own name resolve to this machine, and
// a browser then asks by that name; it cannot have one ask by an address that the page does not come from. So localhost and the
// loopback's addresses are right, and the host that the listener was given; every address, where that is all of them; and the
// names that an operator adds.
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
