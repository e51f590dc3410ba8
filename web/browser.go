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

// CORS lets pages of other origins call. The zero value lets none.
type CORS struct {
	middleware *cors.Middleware
	headers    map[string]bool // that pages may send, in lower case
}

// The settings that a CORS is made of, as problems and refusals name them.
const (
	originsSetting = "CORS_ALLOWED_ORIGINS"
	headersSetting = "CORS_ALLOWED_HEADERS"
)

// corsMethods are those that pages may use.
var corsMethods = []string{http.MethodGet, http.MethodPost, http.MethodDelete}

// NewCORS returns a CORS for origins: exact ones, or all subdomains as in https://*.example.com. Pages may send the given headers
// beside those that clients are known to send. The problems are all there are, and each names its setting.
func NewCORS(origins []string, headers ...string) (CORS, []error) {
	var problems []error
	if slices.Contains(origins, "*") {
		problems = append(problems, errors.New(originsSetting+" names *, but keys are not to be typed into just any page"))
	}
	if slices.Contains(headers, "*") {
		problems = append(problems, errors.New(headersSetting+" names *: name each header"))
	}
	config := cors.Config{
		Origins:         slices.DeleteFunc(slices.Clone(origins), func(o string) bool { return o == "*" }),
		Methods:         corsMethods,
		RequestHeaders:  slices.Concat(requestHeaders, slices.DeleteFunc(slices.Clone(headers), func(h string) bool { return h == "*" })),
		ResponseHeaders: []string{"X-Request-Id", "Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-RateLimit-Window"},
		MaxAgeInSeconds: 600,
	}
	if len(config.Origins) == 0 { // the headers are checked all the same
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

// corsProblems are what is wrong with a configuration, each with the setting that it is in.
func corsProblems(err error) (problems []error) {
	for err := range cfgerrors.All(err) {
		if wrong, ok := errors.AsType[*cfgerrors.UnacceptableOriginPatternError](err); ok {
			err = fmt.Errorf("%s names %q, which is no origin: it must look like https://app.example.com or https://*.example.com", originsSetting, wrong.Value)
		}
		if wrong, ok := errors.AsType[*cfgerrors.UnacceptableHeaderNameError](err); ok {
			err = fmt.Errorf("%s names %q, which is no header that pages can be allowed to send", headersSetting, wrong.Value)
		}
		problems = append(problems, err)
	}
	return problems
}

// wrap answers preflights, and lets allowed pages read the answers of next.
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

// preflight is how the middleware answers one. It says no without a word, and a browser tells its user less than that.
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

// reason tells a person why a preflight is refused, and which setting would change that, if one would.
func (c CORS) reason(h http.Header) (message, setting string) {
	origin := shown(h.Get("Origin"))
	if !c.allows(h.Get("Origin")) {
		return fmt.Sprintf("Pages of the origin %s may not call this server: %s does not name it.", origin, originsSetting), originsSetting
	}
	if method := h.Get("Access-Control-Request-Method"); !slices.Contains(corsMethods, method) && method != http.MethodHead {
		return fmt.Sprintf("Pages of the origin %s may use %s here, and no other method.", origin, strings.Join(corsMethods, ", ")), ""
	}
	var unknown []string
	for name := range strings.SplitSeq(strings.Join(h["Access-Control-Request-Headers"], ","), ",") {
		if name = strings.ToLower(strings.Trim(name, whiteSpace)); name != "" && !c.headers[name] {
			unknown = append(unknown, shown(name))
		}
	}
	if unknown == nil {
		return fmt.Sprintf("The preflight of the origin %s is not one that browsers send.", origin), ""
	}
	return fmt.Sprintf("Pages of the origin %s may not send %s: %s does not name it.", origin, shown(strings.Join(unknown, ", ")), headersSetting), headersSetting
}

// allows reports whether pages of the origin may call, which the middleware tells of requests only.
func (c CORS) allows(origin string) bool {
	if c.middleware == nil {
		return false
	}
	answer := unsent{}
	nothing := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	c.middleware.Wrap(nothing).ServeHTTP(answer, &http.Request{Method: http.MethodGet, Header: http.Header{"Origin": {origin}}})
	return answer.Header().Get("Access-Control-Allow-Origin") != ""
}

// unsent is the header of an answer that nobody gets.
type unsent http.Header

func (u unsent) Header() http.Header         { return http.Header(u) }
func (u unsent) Write(b []byte) (int, error) { return len(b), nil }
func (u unsent) WriteHeader(int)             {}

// shown is what somebody sent, as far as it can be shown: printable, and no longer than anybody reads.
func shown(s string) string {
	if len(s) > 200 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "…"
	}
	return s
}

// preflightHeader is the one by which Apollo's clients make a browser ask first.
const preflightHeader = "Apollo-Require-Preflight"

// askedHeaders are those that no page can have sent without the browser asking first, but for a Content-Type that forms have
// too. What proxies add of their own, such as X-Request-Id and what traces, says nothing of who asked.
var askedHeaders = []string{"Authorization", "X-Namespace", preflightHeader, "GraphQL-Require-Preflight", "X-Apollo-Operation-Name", "Content-Type"}

// requestHeaders are what pages may send: what GraphQL clients, HTTP libraries and tracers for browsers are known to. X-Requested-With
// is not one of askedHeaders, for some apps add it to whatever their pages load.
var requestHeaders = slices.Concat(askedHeaders, []string{
	"Accept", "Cache-Control", "Pragma", "X-Requested-With", "X-Request-Id", "X-Correlation-Id",
	"X-Apollo-Operation-Id", "X-Apollo-Operation-Type", "Apollographql-Client-Name", "Apollographql-Client-Version", "GraphQL-Client-Name", "GraphQL-Client-Version",
	"Traceparent", "Tracestate", "Baggage", "Sentry-Trace", "B3", "X-B3-TraceId", "X-B3-SpanId", "X-B3-ParentSpanId", "X-B3-Sampled", "Newrelic",
	"X-Datadog-Trace-Id", "X-Datadog-Parent-Id", "X-Datadog-Origin", "X-Datadog-Sampling-Priority", "X-Datadog-Sampled", "X-Datadog-Tags",
})

// preflighted refuses what a page of another site can have a browser send without the browser asking this server first: such
// requests are made behind the back of whoever sits before it. Only browsers that tell where a request comes from
// (Sec-Fetch-Site) can be misused so: the others send no query by POST without asking, for it must be JSON.
func requirePreflight(refuse refuse, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := slices.ContainsFunc(askedHeaders, func(name string) bool {
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

// compressedFrom is from how many bytes on an answer is compressed: a smaller one fits into a packet anyway.
const compressedFrom = 1 << 10

// compressed compresses answers for clients that take gzip or zstd. Given the choice it is gzip: Node.js 20 asks for zstd and
// cannot read it.
func compress(next http.Handler) http.Handler {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(compressedFrom), gzhttp.PreferZstd(false))
	if err != nil {
		panic(err) // the options are constants
	}
	return wrap(next)
}
