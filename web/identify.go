package web

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"retrieverkeys/apikey"
)

// identifier authenticates the caller, finds the requested namespace, and puts both into the request's context. It refuses requests with
// an invalid key, a forbidden origin or conflicting headers, and requests over the rate limit of their key or address.
type identifier struct {
	service  *apikey.Service
	trusted  []netip.Prefix // the proxies that are believed
	budgets  *budgets
	failures *failures
	counted  func(outcome string) // counts the outcome of each authentication
	logger   *slog.Logger
}

// identify calls next with the caller and the namespace in the context.
func (h identifier) identify(next http.Handler, refuse refuse) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, err := h.identified(w, r)
		if err != nil {
			e := apikey.Classify(err)
			report(r.Context(), h.logger, e)
			setErrorHeaders(w, e)
			refuse(w, r, statusOf(e.Code), e)
			return
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (h identifier) identified(w http.ResponseWriter, r *http.Request) (context.Context, error) {
	ctx := r.Context()
	caller, err := h.authenticate(r)
	if err != nil {
		return nil, err
	}
	// Count first: requests that are refused below count too.
	if err := h.budgets.take(ctx, w.Header(), caller); err != nil {
		return nil, err
	}
	if err := caller.CheckOrigin(r.Header.Get("Origin")); err != nil {
		return nil, err
	}
	ns, err := namespace(r)
	if err != nil {
		return nil, err
	}
	return apikey.WithNamespace(apikey.WithCaller(ctx, caller), ns), nil
}

// authenticate returns the caller whose key the request carries.
func (h identifier) authenticate(r *http.Request) (apikey.Caller, error) {
	token, sent, malformed := bearer(r.Header)
	return h.check(r.Context(), r, token, sent, malformed)
}

// check returns the caller whose key the token is. A request without a token is anonymous, and a malformed one authenticates nobody.
func (h identifier) check(ctx context.Context, r *http.Request, token string, sent bool, malformed error) (caller apikey.Caller, err error) {
	from := h.clientAddress(r)
	if sent {
		caller, err = h.failures.guard(ctx, from, token, func() (apikey.Caller, error) {
			if malformed != nil {
				return apikey.Caller{}, malformed
			}
			return h.service.Authenticate(ctx, token)
		})
	}
	switch {
	case err != nil:
		code := apikey.Classify(err).Code
		if code == apikey.RateLimited && r.Header.Get("X-Forwarded-For") != "" && from == peerAddress(r) {
			h.failures.proxied.Do(func() {
				h.logger.WarnContext(ctx, "too many invalid API keys from an address that forwards requests for others: if it is a proxy, add it to TRUSTED_PROXIES", "address", from)
			})
		}
		h.counted(string(code))
	case sent:
		h.counted("accepted")
	default:
		h.counted("anonymous")
	}
	caller.Address, caller.UserAgent = from, r.UserAgent()
	return caller, err
}

// clientAddress is the client's address: the other end of the connection, or, if that is a trusted proxy, the last address in
// X-Forwarded-For that is not a trusted proxy's. Clients can invent anything before it.
func (h identifier) clientAddress(r *http.Request) string {
	client, err := parseAddress(r.RemoteAddr)
	if err != nil {
		return ""
	}
	forwarded := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, member := range slices.Backward(forwarded) {
		if !h.trusts(client) {
			break
		}
		if member = strings.Trim(member, whiteSpace); member == "" {
			continue
		}
		address, err := parseAddress(member)
		if err != nil {
			break
		}
		client = address
	}
	return client.String()
}

// trusts reports whether the address is a trusted proxy's.
func (h identifier) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(h.trusted, func(p netip.Prefix) bool { return p.Contains(a) })
}

// peerAddress is the address at the other end of the connection.
func peerAddress(r *http.Request) string {
	peer, err := parseAddress(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return peer.String()
}

// parseAddress parses an address with or without a port. An IPv6 address may be in brackets.
func parseAddress(s string) (netip.Addr, error) {
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		s += ":0"
	}
	if withPort, err := netip.ParseAddrPort(s); err == nil {
		return withPort.Addr().Unmap().WithZone(""), nil
	}
	address, err := netip.ParseAddr(s)
	return address.Unmap().WithZone(""), err
}

// whiteSpace is the optional white space around and inside header values (RFC 9110, section 5.6.3).
const whiteSpace = " \t"

// bearer returns the token of the Authorization header, and whether there is one. A malformed value is an empty token, which
// authenticates nobody. The error for another scheme names the right one.
func bearer(h http.Header) (token string, sent bool, err error) {
	switch values := sentValues(h, "Authorization"); len(values) {
	case 0:
		return "", false, nil
	case 1:
		token, err = bearerToken(values[0])
		return token, true, err
	default:
		return "", true, apikey.Invalid("Authorization", "Send the Authorization header once.")
	}
}

// bearerToken returns the token in a value of the Authorization header.
func bearerToken(value string) (token string, err error) {
	scheme := value
	if end := strings.IndexAny(scheme, whiteSpace); end >= 0 {
		scheme, token = scheme[:end], strings.TrimLeft(scheme[end:], whiteSpace)
	}
	if !strings.EqualFold(scheme, "Bearer") {
		return "", &apikey.Error{Code: apikey.Unauthenticated, Message: "Send the key as Authorization: Bearer KEY. Other schemes are not supported."}
	}
	return token, nil
}

// sentValues returns the values of a header without white space around them. An empty value counts as none.
func sentValues(h http.Header, name string) (values []string) {
	for _, v := range h.Values(name) {
		if v = strings.Trim(v, whiteSpace); v != "" {
			values = append(values, v)
		}
	}
	return values
}

// namespace returns the id or name of the requested namespace: from the header, or else from the query parameter. An empty value counts
// as missing. A name that is not UTF-8 cannot exist, and not every store accepts it in a query.
func namespace(r *http.Request) (string, error) {
	named, err := only("X-Namespace", r.Header.Values("X-Namespace"))
	if named == "" && err == nil {
		named, err = only("namespace", r.URL.Query()["namespace"])
	}
	if err == nil && !utf8.ValidString(named) {
		return "", &apikey.Error{Code: apikey.NotFound, Message: "No such namespace here."}
	}
	return named, err
}

// pathValue returns an id or name from the request's path. It is empty, and so matches nothing, if it is not UTF-8.
func pathValue(r *http.Request, name string) string {
	if v := r.PathValue(name); utf8.ValidString(v) {
		return v
	}
	return ""
}

// only returns the value if all values are the same.
func only(field string, values []string) (string, error) {
	one := ""
	for _, v := range values {
		if v = strings.Trim(v, whiteSpace); v == "" {
			continue
		}
		if one != "" && v != one {
			return "", apikey.Invalid(field, "%s is given twice with different values.", field)
		}
		one = v
	}
	return one, nil
}
