package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"retrieverkeys/apikey"
)

// authorizer answers gateways: may the client's key execute the retriever? Of a request it reads the path, the client's key and origin, and
// nothing else: not the method, the query or the body.
type authorizer struct {
	who      identifier
	gate     *gate
	executes GatePath
	timeout  time.Duration
	counted  func(outcome string, took time.Duration)
	ignored  *sync.Once // warns about a gateway that is not trusted
}

// The addresses at which gateways ask. The first names the retriever, the second ends with the path of the client's request, and at the
// third X-Forwarded-Uri has that path.
const (
	namedPath     = "/v1/retrievers/" + idPlaceholder + "/authorize"
	originalPath  = authorizePath + "/{path...}"
	authorizePath = "/v1/authorize"

	forwardedURI    = "X-Forwarded-Uri"
	publicKeyHeader = "X-Public-API-Key"
	idPlaceholder   = "{retriever_id}"

	// unescapedChars need no escape in a path. A semicolon does not either, but begins parameters.
	unescapedChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,:@=/"
)

// GatePath is the path under which gateways execute retrievers, with an id between its parts. The zero value matches no path.
type GatePath struct{ before, after string }

// NewGatePath returns the GatePath of a template such as /v1/retrievers/{retriever_id}/execute.
func NewGatePath(template string) (GatePath, error) {
	before, after, found := strings.Cut(template, idPlaceholder)
	switch plain := before + "id" + after; {
	case !found || strings.Contains(after, idPlaceholder) || !strings.HasSuffix(before, "/") || after != "" && !strings.HasPrefix(after, "/"):
		return GatePath{}, errors.New("must have " + idPlaceholder + " as one whole segment")
	case !strings.HasPrefix(plain, "/"):
		return GatePath{}, errors.New("must begin with a slash")
	case strings.HasSuffix(plain, "/"):
		return GatePath{}, errors.New("must not end with a slash")
	case strings.Contains(plain, "//"):
		return GatePath{}, errors.New("must not have an empty segment")
	case path.Clean(plain) != plain || strings.Contains(plain, ".."):
		return GatePath{}, errors.New("must not have . or .. as a segment, or two dots in a row")
	case strings.Trim(plain, unescapedChars) != "":
		return GatePath{}, errors.New("must be a path such as /v1/retrievers/" + idPlaceholder + "/execute, without a query and without characters that need an escape")
	}
	return GatePath{before, after}, nil
}

// segment returns the escaped segment of the path that is in the place of the id. The path must not be decoded yet.
func (p GatePath) segment(escaped string) (string, bool) {
	rest, begins := strings.CutPrefix(escaped, p.before)
	segment, ends := strings.CutSuffix(rest, p.after)
	return segment, p.before != "" && begins && ends && !strings.Contains(segment, "/")
}

// retriever returns the id in the path, or an empty one, which matches nothing. It refuses each path that a server behind the gateway
// could understand in another way: with .., an escaped slash, or parameters after a semicolon.
func (p GatePath) retriever(escaped string) apikey.RetrieverID {
	segment, ok := p.segment(escaped)
	if !ok || strings.ContainsAny(segment, "?#") {
		return ""
	}
	id, err := url.PathUnescape(segment)
	if err != nil || id == "." || strings.Contains(id, "..") || strings.ContainsAny(id, `/\;`) || !utf8.ValidString(id) || strings.ContainsFunc(id, isControl) {
		return ""
	}
	return apikey.RetrieverID(id)
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// named is namedPath.
var named = GatePath{"/v1/retrievers/", "/authorize"}

// meant matches decoded paths that are probably meant for one of the addresses: those that begin like the second or third, or begin and end like the
// first. It ignores a slash at the end and parameters after a semicolon.
var meant = regexp.MustCompile(`(?s)^/v1/(authorize(;[^/]*)?(/|$)|retrievers/(.*/)?authorize(;[^/]*)?/?$)`)

// malformed returns the address that a malformed path is probably meant for, or an empty string. Another server could understand such a path, because it
// decodes the path, merges slashes or resolves dots. A path of a key whose id is authorize belongs to the REST endpoints.
func malformed(u *url.URL) string {
	clean := path.Clean(u.Path)
	if !meant.MatchString(u.Path) && !meant.MatchString(clean) {
		return ""
	}
	if isKey, _ := path.Match("/v1/retrievers/*/api-keys/*", path.Clean(escapedPath(u))); isKey {
		return ""
	}
	if strings.HasPrefix(clean, authorizePath) {
		return originalPath
	}
	return namedPath
}

// route answers the requests of gateways and passes on all others. It precedes everything that treats requests by their method or
// headers, and the routes, which redirect a path that is not clean: gateways need an answer. A path that is malformed names no retriever.
func (a authorizer) route(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		escaped := escapedPath(r.URL)
		if _, ok := named.segment(escaped); ok {
			r.Pattern = namedPath
			a.answer(w, r, named.retriever(escaped))
		} else if original, ok := strings.CutPrefix(escaped, authorizePath); ok && strings.HasPrefix(original, "/") {
			r.Pattern = originalPath
			a.answer(w, r, a.executes.retriever(original))
		} else if ok && original == "" {
			r.Pattern = authorizePath
			a.answer(w, r, a.executes.retriever(a.forwarded(r)))
		} else if address := malformed(r.URL); address != "" {
			r.Pattern = address
			a.answer(w, r, "")
		} else {
			next.ServeHTTP(w, r)
		}
	})
}

// escapedPath returns the path as it was sent. URL.EscapedPath returns another one if a character in it should have been escaped.
func escapedPath(u *url.URL) string {
	if u.RawPath != "" {
		return u.RawPath
	}
	return u.EscapedPath()
}

// forwarded returns the path of the client's request, as a trusted proxy says, or else an empty one.
func (a authorizer) forwarded(r *http.Request) string {
	sent := r.Header[forwardedURI]
	if len(sent) == 0 {
		return ""
	}
	peer, err := parseAddress(r.RemoteAddr)
	if err != nil || !a.who.trusts(peer) {
		a.ignored.Do(func() {
			a.who.logger.WarnContext(r.Context(), forwardedURI+" is ignored from an address that is not in TRUSTED_PROXIES: if it is a gateway, add it", "address", peerAddress(r))
		})
		return ""
	}
	uri, err := only(forwardedURI, sent)
	if err != nil {
		return ""
	}
	original, _, _ := strings.Cut(uri, "?")
	return original
}

// answer decides, and writes the response. The request holds a turn only until the decision.
func (a authorizer) answer(w http.ResponseWriter, r *http.Request, id apikey.RetrieverID) {
	start := time.Now()
	key, err := a.decide(w.Header(), r, id)
	a.counted(outcome(r.Context(), err), time.Since(start))
	if err != nil {
		writeError(w, err)
		return
	}
	if x := exchangeOf(r.Context()); x != nil {
		x.routine = true
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Key-Id", visible(string(key.ID)))
	h.Set("X-Organization-Id", visible(optional(key.OrganizationID)))
	h.Set("X-Internal-Id", visible(string(key.InternalID)))
	h.Set("X-Retriever-Id", visible(string(id)))
	h.Set("X-Principal-Id", visible(optional(key.PrincipalID)))
	w.WriteHeader(http.StatusOK)
}

// decide returns the key if it may execute the retriever. It counts the request for the rate limit of the key or of the address.
func (a authorizer) decide(h http.Header, r *http.Request, id apikey.RetrieverID) (*apikey.Key, *apikey.Error) {
	ctx, cancel := context.WithTimeout(r.Context(), a.timeout)
	defer cancel()
	arrived(ctx)
	if !a.gate.enter(ctx) {
		return nil, a.gate.refused(ctx)
	}
	defer a.gate.leave()
	key, err := a.allowed(ctx, h, r, id)
	if err == nil {
		return key, nil
	}
	e := apikey.Classify(err)
	if r.Context().Err() == nil {
		report(ctx, a.who.logger, e)
	}
	switch e.Code {
	case apikey.Unauthenticated, apikey.BadUserInput:
		return nil, &apikey.Error{Code: apikey.Unauthenticated, Message: "This needs a valid API key."}
	case apikey.Internal: // nobody can say whether the key may
		return nil, apikey.Outage(err)
	default:
		return nil, e
	}
}

func (a authorizer) allowed(ctx context.Context, h http.Header, r *http.Request, id apikey.RetrieverID) (*apikey.Key, error) {
	token, sent, malformed := credential(r.Header)
	caller, err := a.who.check(ctx, r, token, sent, malformed)
	if err != nil {
		return nil, err
	}
	if caller.Anonymous() {
		return nil, &apikey.Error{Code: apikey.Unauthenticated}
	}
	if err := a.who.budgets.take(ctx, h, caller); err != nil {
		if apikey.Classify(err).Code == apikey.RateLimited {
			a.who.service.RefusedForBudget(caller)
		}
		return nil, err
	}
	// Several Origin headers are one that matches no origin.
	return caller.Key, a.who.service.MayExecute(ctx, caller, id, strings.Join(r.Header["Origin"], ", "))
}

// credential returns the client's key, and whether the request has one: in Authorization, or in the header that the vendor's public
// endpoints read. Two that differ are an error, and so is another scheme.
func credential(h http.Header) (token string, sent bool, malformed error) {
	tokens := sentValues(h, publicKeyHeader)
	for _, v := range sentValues(h, "Authorization") {
		token, err := bearerToken(v)
		if err != nil {
			return "", true, err
		}
		tokens = append(tokens, token)
	}
	if len(tokens) == 0 {
		return "", false, nil
	}
	if len(slices.Compact(tokens)) > 1 {
		return "", true, apikey.Invalid("Authorization", "Send one API key.")
	}
	return tokens[0], true, nil
}

// outcome is what metrics count: allowed, the reason why a key may not, an error code, or canceled if the gateway left, because its client
// did.
func outcome(ctx context.Context, e *apikey.Error) string {
	switch {
	case e == nil:
		return "allowed"
	case ctx.Err() != nil:
		return "canceled"
	case e.Reason != "":
		return string(e.Reason)
	default:
		return string(e.Code)
	}
}

// visible returns the text as a header value: percent-encoded where it is not visible ASCII. Percent signs are encoded too, so that two
// texts never look the same.
func visible(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '%' }) {
		return s
	}
	var b strings.Builder
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func optional(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
