// Package web is the HTTP adapter: routes, concurrency and body limits, authentication, answers to gateways, the vendor's REST endpoints,
// health and the playground.
package web

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"retrieverkeys/apikey"
	"retrieverkeys/github"
	"retrieverkeys/ratelimit"
)

// Options configure the handler.
type Options struct {
	Service *apikey.Service
	// GraphQL finds the caller and the namespace in the request's context.
	GraphQL http.Handler
	// RefuseGraphQL answers a request that is refused before it reaches GraphQL, in the format of GraphQL errors.
	RefuseGraphQL refuse
	Ready         func(context.Context) error // nil if the store can answer
	// Stopping is closed when shutdown begins. Requests are still answered, but /readyz fails.
	Stopping   <-chan struct{}
	Playground bool
	// Console serves the page for people at /.
	Console bool
	// LeakKeys verify what GitHub reports as leaked; nil removes the endpoint.
	LeakKeys *github.Keys
	// WithoutREST removes the vendor's endpoints and the document that describes them.
	WithoutREST bool
	CORS        CORS
	// Timeout limits a whole request, including store calls.
	Timeout      time.Duration
	MaxBodyBytes int64
	// AuthFailures is how many failed authentications an address may cause per minute; 0 is unlimited.
	AuthFailures int
	// MaxConcurrent is how many requests are processed at a time; 0 means 100.
	MaxConcurrent int
	// Answers limits the memory of responses, including GraphQL's; nil means a new one.
	Answers *Answers
	// Limiter counts requests and failed authentications; nil means one for this process.
	Limiter ratelimit.Limiter
	// TrustedProxies are the proxies whose X-Forwarded-For and X-Forwarded-Uri are believed.
	TrustedProxies []netip.Prefix
	// GatePath is where gateways execute retrievers.
	GatePath GatePath
	Logger   *slog.Logger
	Metrics  Metrics
	Tracer   trace.Tracer // makes a span for each request; may be nil
}

// Metrics are functions that count and measure requests. Nil fields are ignored.
type Metrics struct {
	Request        func(route, method string, status int, took time.Duration)
	Authentication func(outcome string)
	// Authorization is called for each answer to a gateway. The outcome is allowed, an apikey.Refusal, an error code, or canceled.
	Authorization func(outcome string, took time.Duration)
	Working       func(more int) // requests that are being processed
	Waiting       func(more int) // requests that wait for a turn
	Refused       func()         // requests that got no turn or no memory
}

// NewHandler returns the handler of the public listener.
func NewHandler(o Options) http.Handler {
	if o.Metrics.Request == nil {
		o.Metrics.Request = func(string, string, int, time.Duration) {}
	}
	if o.Metrics.Authentication == nil {
		o.Metrics.Authentication = func(string) {}
	}
	if o.Metrics.Authorization == nil {
		o.Metrics.Authorization = func(string, time.Duration) {}
	}
	if o.Metrics.Working == nil {
		o.Metrics.Working = func(int) {}
	}
	if o.Metrics.Waiting == nil {
		o.Metrics.Waiting = func(int) {}
	}
	if o.Metrics.Refused == nil {
		o.Metrics.Refused = func() {}
	}
	if o.Limiter == nil {
		o.Limiter = ratelimit.NewMemory(time.Now)
	}
	who := identifier{
		service: o.Service, trusted: o.TrustedProxies, budgets: newBudgets(o.Service, o.Limiter), failures: newFailures(o.Limiter, o.AuthFailures),
		counted: o.Metrics.Authentication, logger: o.Logger,
	}
	if o.Answers == nil {
		o.Answers = NewAnswers(answersBytes, o.Metrics.Refused)
	}
	gate := newGate(cmp.Or(o.MaxConcurrent, 100), o.Metrics, o.Logger)
	bodies := newBodies(o.MaxBodyBytes, who.clientAddress)
	admit := func(h http.Handler, refuse refuse) http.Handler {
		return gate.admit(compress(who.identify(h, refuse)), o.Timeout, refuse)
	}
	admitWithBody := func(h http.Handler, refuse refuse) http.Handler {
		full := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { gate.refuse(w, r, refuse) })
		return withTimeout(o.Timeout, o.MaxBodyBytes, bodies.read(admit(h, refuse), refuse, full))
	}
	endpoints := rest{service: o.Service, timeout: o.Timeout, answers: o.Answers, logger: o.Logger}

	mux := http.NewServeMux()
	mux.Handle("/graphql", requirePreflight(o.RefuseGraphQL, admitWithBody(o.GraphQL, o.RefuseGraphQL)))
	if !o.WithoutREST {
		mux.Handle("GET "+keysPath, withResponseDeadline(o.Timeout, admit(http.HandlerFunc(endpoints.list), refuseREST)))
		mux.Handle("POST "+keysPath, admitWithBody(http.HandlerFunc(endpoints.create), refuseREST))
		mux.Handle("DELETE "+keysPath+"/{key_id}", admitWithBody(http.HandlerFunc(endpoints.revoke), refuseREST))
		mux.HandleFunc(keysPath, methodNotAllowed("GET", "POST"))
		mux.HandleFunc(keysPath+"/{key_id}", methodNotAllowed("DELETE"))
		mux.Handle("GET /openapi.json", compress(http.HandlerFunc(openAPI)))
	}
	if o.LeakKeys != nil {
		l := leaks{service: o.Service, keys: o.LeakKeys, who: who, logger: o.Logger}
		reported := l.handler(func(h http.Handler) http.Handler { return gate.admit(h, o.Timeout, refuseREST) })
		full := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { gate.refuse(w, r, refuseREST) })
		mux.Handle("POST "+leaksPath, withTimeout(o.Timeout, maxLeaksBytes, bodies.read(reported, refuseREST, full)))
		mux.HandleFunc(leaksPath, methodNotAllowed("POST"))
	}
	// This endpoint is the product's own, so it does not close with the vendor's.
	mux.Handle("GET "+feedPath, withResponseDeadline(o.Timeout, admit(http.HandlerFunc(endpoints.feed), refuseREST)))
	mux.HandleFunc(feedPath, methodNotAllowed("GET"))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, status{"ok"}) })
	mux.HandleFunc("GET /readyz", ready(o.Ready, o.Stopping))
	if o.Playground {
		routePlayground(mux, playgroundAssets)
	}
	if o.Console {
		routeConsole(mux)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, &apikey.Error{Code: apikey.NotFound, Message: "Nothing exists at this path."})
	})
	authorizer := authorizer{who: who, gate: gate, executes: o.GatePath, timeout: o.Timeout, counted: o.Metrics.Authorization, ignored: new(sync.Once)}
	served := withSecurityHeaders(closeWhenStopping(o.Stopping, awaitNoBody(authorizer.route(o.CORS.wrap(o.Logger, mux)))))
	return withRequestID(traceRequests(o.Tracer, logRequests(o.Logger, o.Metrics.Request, served)))
}

// refuse answers a request that is not processed further.
type refuse func(w http.ResponseWriter, r *http.Request, status int, e *apikey.Error)

const keysPath = "/v1/retrievers/{retriever_id}/api-keys"

func refuseREST(w http.ResponseWriter, _ *http.Request, _ int, e *apikey.Error) { writeError(w, e) }

// withSecurityHeaders sets headers that stop browsers from guessing content types and from leaking URLs.
func withSecurityHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}
