package web

import (
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/jub0bs/cors"
	"github.com/jub0bs/cors/cfgerrors"
	"github.com/klauspost/compress/gzhttp"

	"retrieverkeys/apikey"
)

// CORS lets pages of other origins call. The zero value allows none.
type CORS struct {
	middleware *cors.Middleware
	headers    map[string]bool // headers that pages may send, in lower case
}

// The names of the settings, as problems and refusals mention them.
const (
	originsSetting = "CORS_ALLOWED_ORIGINS"
	headersSetting = "CORS_ALLOWED_HEADERS"
)

// corsMethods are the methods that pages may use.
var corsMethods = []string{http.MethodGet, http.MethodPost, http.MethodDelete}

// NewCORS returns a CORS for exact origins, or for all subdomains as in https://*.example.com. Pages may send the given headers in
// addition to those that common clients send. It returns every problem, each with the name of its setting.
func NewCORS(origins []string, headers ...string) (CORS, []error) {
	var problems []error
	if slices.Contains(origins, "*") {
		problems = append(problems, errors.New(originsSetting+" names *: name each origin"))
	}
	if slices.Contains(headers, "*") {
		problems = append(problems, errors.New(headersSetting+" names *: name each header"))
	}
	config := cors.Config{
		Origins:         slices.DeleteFunc(slices.Clone(origins), func(o string) bool { return o == "*" }),
		Methods:         corsMethods,
		RequestHeaders:  slices.Concat(requestHeaders, slices.DeleteFunc(slices.Clone(headers), func(h string) bool { return h == "*" })),
		ResponseHeaders: []string{"X-Request-Id", "Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-RateLimit-Window", "X-Next-Cursor", "Link"},
		MaxAgeInSeconds: 600,
	}
	if len(config.Origins) == 0 { // the headers are still checked
		config.Origins = []string{"https://origin.invalid"}
	}
	m, err := cors.NewMiddleware(config)
	if err != nil {
		problems = append(problems, corsProblems(err)...)
	}
	if problems != nil || len(origins) == 0 {
		return CORS{}, problems
	}
	c := CORS{m, map[string]bool{}}
	for _, name := range config.RequestHeaders {
		c.headers[strings.ToLower(name)] = true
	}
	return c, nil
}

// corsProblems are the problems of a configuration, each with its setting.
func corsProblems(err error) (problems []error) {
	for err := range cfgerrors.All(err) {
		if wrong, ok := errors.AsType[*cfgerrors.UnacceptableOriginPatternError](err); ok {
			err = fmt.Errorf("%s names %q, which is not an origin: it must look like https://app.example.com or https://*.example.com", originsSetting, wrong.Value)
		}
		if wrong, ok := errors.AsType[*cfgerrors.UnacceptableHeaderNameError](err); ok {
			err = fmt.Errorf("%s names %q, a header that pages cannot be allowed to send", headersSetting, wrong.Value)
		}
		problems = append(problems, err)
	}
	return problems
}

// wrap answers preflights and lets allowed pages read the responses of next.
func (c CORS) wrap(logger *slog.Logger, next http.Handler) http.Handler {
	if c.middleware != nil {
		next = c.middleware.Wrap(next)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodOptions || len(r.Header["Origin"]) == 0 || len(r.Header["Access-Control-Request-Method"]) == 0 {
			next.ServeHTTP(w, r)
			return
		}
		refuse := func() {
			message, setting := c.reason(r.Header)
			logger.InfoContext(r.Context(), "a CORS preflight was refused", "origin", shown(r.Header.Get("Origin")), "reason", message, "setting", setting)
			writeError(w, &apikey.Error{Code: apikey.Forbidden, Message: message})
		}
		if c.middleware == nil {
			refuse()
			return
		}
		next.ServeHTTP(preflight{w, refuse}, r)
	})
}

// preflight answers a preflight. The middleware refuses without a reason, and browsers show even less, so this adds one.
type preflight struct {
	http.ResponseWriter

	refuse func()
}

func (p preflight) WriteHeader(status int) {
	if status == http.StatusForbidden {
		p.refuse()
		return
	}
	p.ResponseWriter.WriteHeader(status)
}

// reason says why a preflight is refused and which setting would allow it, if any.
func (c CORS) reason(h http.Header) (message, setting string) {
	origin := shown(h.Get("Origin"))
	if !c.allows(h.Get("Origin")) {
		return fmt.Sprintf("Pages of the origin %s may not call this server: add the origin to %s.", origin, originsSetting), originsSetting
	}
	if method := h.Get("Access-Control-Request-Method"); !slices.Contains(corsMethods, method) && method != http.MethodHead {
		return fmt.Sprintf("Pages of the origin %s may only use %s here.", origin, strings.Join(corsMethods, ", ")), ""
	}
	var unknown []string
	for name := range strings.SplitSeq(strings.Join(h["Access-Control-Request-Headers"], ","), ",") {
		if name = strings.ToLower(strings.Trim(name, whiteSpace)); name != "" && !c.headers[name] {
			unknown = append(unknown, shown(name))
		}
	}
	if unknown == nil {
		return fmt.Sprintf("The preflight of the origin %s is malformed.", origin), ""
	}
	return fmt.Sprintf("Pages of the origin %s may not send %s: add it to %s.", origin, shown(strings.Join(unknown, ", ")), headersSetting), headersSetting
}

// allows reports whether pages of the origin may call. The middleware answers that only for requests, so this makes one.
func (c CORS) allows(origin string) bool {
	if c.middleware == nil {
		return false
	}
	answer := unsent{}
	nothing := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	c.middleware.Wrap(nothing).ServeHTTP(answer, &http.Request{Method: http.MethodGet, Header: http.Header{"Origin": {origin}}})
	return answer.Header().Get("Access-Control-Allow-Origin") != ""
}

// unsent collects the headers of a response that is not sent.
type unsent http.Header

func (u unsent) Header() http.Header         { return http.Header(u) }
func (u unsent) Write(b []byte) (int, error) { return len(b), nil }
func (u unsent) WriteHeader(int)             {}

// shown returns a received value if it is short and printable and contains no key, or else an ellipsis.
func shown(s string) string {
	if len(s) > 200 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) || apikey.HoldsKey(s) {
		return "…"
	}
	return s
}

// preflightHeader is the header with which Apollo's clients cause a preflight.
const preflightHeader = "Apollo-Require-Preflight"

// preflighted are headers that a page of another site can send only after a preflight. Content-Type is one of them only if it is
// application/json, because forms send other types without a preflight. Headers that proxies add, such as X-Request-Id and trace headers,
// prove nothing.
var preflighted = []string{"Authorization", "X-Namespace", preflightHeader, "GraphQL-Require-Preflight", "X-Apollo-Operation-Name", "Content-Type"}

// requestHeaders are the headers that pages may send: those of GraphQL clients, HTTP libraries and browser tracers. X-Requested-With is
// not in preflighted, because some apps add it to everything that their pages load.
var requestHeaders = slices.Concat(preflighted, []string{
	"Accept", "Cache-Control", "Pragma", "X-Requested-With", "X-Request-Id", "X-Correlation-Id",
	"X-Apollo-Operation-Id", "X-Apollo-Operation-Type", "Apollographql-Client-Name", "Apollographql-Client-Version", "GraphQL-Client-Name", "GraphQL-Client-Version",
	"Traceparent", "Tracestate", "Baggage", "Sentry-Trace", "B3", "X-B3-TraceId", "X-B3-SpanId", "X-B3-ParentSpanId", "X-B3-Sampled", "Newrelic",
	"X-Datadog-Trace-Id", "X-Datadog-Parent-Id", "X-Datadog-Origin", "X-Datadog-Sampling-Priority", "X-Datadog-Sampled", "X-Datadog-Tags",
})

// requirePreflight refuses requests that a page of another site could make without a preflight, that is, without the user's knowledge.
// Only browsers that send Sec-Fetch-Site can be misused this way: other browsers cannot POST JSON without a preflight.
func requirePreflight(refuse refuse, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := slices.ContainsFunc(preflighted, func(name string) bool {
			sent := r.Header.Get(name)
			media, _, _ := mime.ParseMediaType(sent)
			return sent != "" && (name != "Content-Type" || media == "application/json")
		})
		site, mode := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Sec-Fetch-Mode")
		if (site == "cross-site" || site == "same-site") && mode != "navigate" && !asked {
			refuse(w, r, http.StatusForbidden, &apikey.Error{
				Code: apikey.Forbidden, Message: "From a page of another site, send this with the header " + preflightHeader + ".",
			})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// compressedFrom is the length from which responses are compressed. A shorter one fits into a packet.
const compressedFrom = 1 << 10

// compress compresses responses for clients that accept gzip or zstd. It prefers gzip: Node.js 20 accepts zstd but cannot read it. Event
// streams are not compressed, because events would wait for each other.
func compress(next http.Handler) http.Handler {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(compressedFrom), gzhttp.PreferZstd(false))
	if err != nil {
		panic(err) // the options are constants
	}
	return wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(&unlessEvents{w}, r) }))
}

// unlessEvents makes gzhttp send event streams as they are. Otherwise it holds the first kilobyte of a response back.
type unlessEvents struct{ http.ResponseWriter }

func (u *unlessEvents) WriteHeader(status int) {
	if isEventStream(u.Header()) {
		u.Header().Set(gzhttp.HeaderNoCompression, "1")
	}
	u.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (u *unlessEvents) Unwrap() http.ResponseWriter { return u.ResponseWriter }

func isEventStream(h http.Header) bool {
	return strings.HasPrefix(h.Get("Content-Type"), "text/event-stream")
}
