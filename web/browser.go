package web

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"

	"github.com/jub0bs/cors"
	"github.com/jub0bs/cors/cfgerrors"
	"github.com/klauspost/compress/gzhttp"

	"retrieverkeys/apikey"
)

// CORS lets pages of other origins call. The zero value lets none.
type CORS struct{ middleware *cors.Middleware }

// NewCORS returns a CORS for origins: exact ones, or all subdomains as in https://*.example.com. The problems are all there
// are.
func NewCORS(origins []string) (CORS, []error) {
	if len(origins) == 0 {
		return CORS{}, nil
	}
	if slices.Contains(origins, "*") {
		return CORS{}, []error{errors.New("names *, but keys are not to be typed into just any page")}
	}
	m, err := cors.NewMiddleware(cors.Config{
		Origins:         origins,
		Methods:         []string{http.MethodGet, http.MethodPost, http.MethodDelete},
		RequestHeaders:  requestHeaders,
		ResponseHeaders: []string{"X-Request-Id", "Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"},
		MaxAgeInSeconds: 600,
	})
	if err == nil {
		return CORS{m}, nil
	}
	var problems []error
	for err := range cfgerrors.All(err) {
		if wrong, ok := errors.AsType[*cfgerrors.UnacceptableOriginPatternError](err); ok {
			err = fmt.Errorf("names %q, which is no origin: it must look like https://app.example.com or https://*.example.com", wrong.Value)
		}
		problems = append(problems, err)
	}
	return CORS{}, problems
}

func (c CORS) wrap(next http.Handler) http.Handler {
	if c.middleware == nil {
		return next
	}
	return c.middleware.Wrap(next)
}

// preflightHeader is the one by which Apollo's clients make a browser ask first.
const preflightHeader = "Apollo-Require-Preflight"

// askedHeaders are those that no page can have sent without the browser asking first, but for a Content-Type that forms have
// too. What proxies add of their own, such as X-Request-Id and what traces, says nothing of who asked.
var askedHeaders = []string{"Authorization", "X-Namespace", preflightHeader, "X-Apollo-Operation-Name", "Content-Type"}

// requestHeaders are what pages may send.
var requestHeaders = slices.Concat(askedHeaders, []string{
	"X-Request-Id", "X-Apollo-Operation-Id", "Apollographql-Client-Name", "Apollographql-Client-Version",
	"Traceparent", "Tracestate", "Baggage", "Sentry-Trace",
})

// preflighted refuses what a page of another site can have a browser send without the browser asking this server first: such
// requests are made behind the back of whoever sits before it. Only browsers that tell where a request comes from
// (Sec-Fetch-Site) can be misused so: the others send no query by POST without asking, for it must be JSON.
func preflighted(refuse refuse, next http.Handler) http.Handler {
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
func compressed(next http.Handler) http.Handler {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(compressedFrom), gzhttp.PreferZstd(false))
	if err != nil {
		panic(err) // the options are constants
	}
	return wrap(next)
}
