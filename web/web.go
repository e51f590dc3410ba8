// Package web is the HTTP adapter: routes, who is calling, health, and the playground.
package web

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/singleflight"

	"retrieverkeys/apikey"
	"retrieverkeys/ratelimit"
)

// Options are what the handler is made of.
type Options struct {
	Service *apikey.Service
	// GraphQL finds the caller and the namespace in the request's context.
	GraphQL http.Handler
	// RefuseGraphQL answers a request that GraphQL must not see, in GraphQL's way.
	RefuseGraphQL refuse
	Ready         func(context.Context) error // nil if the store can answer
	// Stopping is closed when the process is about to stop: requests are answered as before, but it is not ready for more.
	Stopping   <-chan struct{}
	Playground bool
	// WithoutREST leaves out the vendor's endpoints, and the document that describes them: there is nothing at their paths.
	WithoutREST bool
	CORS        CORS
	// Timeout bounds a whole request, store calls included.
	Timeout      time.Duration
	MaxBodyBytes int64
	// AuthFailures is how many bearers a minute that let nobody in are looked up from one address; 0: any number.
	AuthFailures int
	// MaxConcurrent is how many requests are worked on at a time; 0: 100.
	MaxConcurrent int
	// Answers is the memory of answers, which GraphQL takes its own from; nil: a new one.
	Answers *Answers
	// Limiter counts for both; nil: a new one of this process.
	Limiter ratelimit.Limiter
	// TrustedProxies are those whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	Logger         *slog.Logger
	Metrics        Metrics
	Tracer         trace.Tracer // makes a span of each request; nil: none
}

// Metrics counts what is served; a field that is nil counts nothing.
type Metrics struct {
	Request        func(route, method string, status int, took time.Duration)
	Authentication func(outcome string)
	Working        func(more int) // requests that have a turn
	Waiting        func(more int) // requests that wait for one
	Refused        func()         // requests that there was no turn or no memory for
}

// NewHandler returns everything the public listener serves.
func NewHandler(o Options) http.Handler {
	if o.Metrics.Request == nil {
		o.Metrics.Request = func(string, string, int, time.Duration) {}
	}
	if o.Metrics.Authentication == nil {
		o.Metrics.Authentication = func(string) {}
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
	identify := identified{
		service: o.Service, trusted: o.TrustedProxies, budgets: newBudgets(o.Service, o.Limiter), failures: newFailures(o.Limiter, o.AuthFailures),
		counted: o.Metrics.Authentication, logger: o.Logger,
	}
	if o.Answers == nil {
		o.Answers = NewAnswers(answersBytes, o.Metrics.Refused)
	}
	gate := newGate(cmp.Or(o.MaxConcurrent, 100), o.MaxBodyBytes, o.Answers, o.Metrics, o.Logger)
	gate.hold = min(gate.hold, o.Timeout)
	endpoint := func(h http.Handler, refuse refuse) http.Handler {
		return gate.before(identify.before(h, refuse), refuse)
	}
	withBody := func(h http.Handler, refuse refuse) http.Handler {
		return gate.early(limited(o.Timeout, o.MaxBodyBytes, gate.received(endpoint(h, refuse), identify.clientAddress, refuse)), refuse)
	}
	twin := rest{service: o.Service, timeout: o.Timeout, answers: o.Answers, logger: o.Logger}

	mux := http.NewServeMux()
	mux.Handle("/graphql", preflighted(o.RefuseGraphQL, withBody(o.GraphQL, o.RefuseGraphQL)))
	if !o.WithoutREST {
		mux.Handle("GET "+keysPath, gate.early(answered(o.Timeout, endpoint(http.HandlerFunc(twin.list), refuseREST)), refuseREST))
		mux.Handle("POST "+keysPath, withBody(http.HandlerFunc(twin.create), refuseREST))
		mux.Handle("DELETE "+keysPath+"/{key_id}", withBody(http.HandlerFunc(twin.revoke), refuseREST))
		mux.HandleFunc(keysPath, only405("GET", "POST"))
		mux.HandleFunc(keysPath+"/{key_id}", only405("DELETE"))
		mux.HandleFunc("GET /openapi.json", openAPI)
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, status{"ok"}) })
	mux.HandleFunc("GET /readyz", ready(o.Ready, o.Stopping))
	if o.Playground {
		routePlayground(mux, playgroundAssets)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, &apikey.Error{Code: apikey.NotFound, Message: "There is nothing at this path."})
	})
	served := hardened(unhurried(leaving(o.Stopping, o.CORS.wrap(o.Logger, compressed(mux)))))
	return withRequestID(traced(o.Tracer, logged(o.Logger, o.Metrics.Request, served)))
}

// refuse answers a request that goes no further.
type refuse func(w http.ResponseWriter, r *http.Request, status int, e *apikey.Error)

const keysPath = "/v1/retrievers/{retriever_id}/api-keys"

func refuseREST(w http.ResponseWriter, _ *http.Request, _ int, e *apikey.Error) { writeError(w, e) }

type status struct {
	Status string `json:"status"`
}

// readyTimeout is how long a probe waits for the store. Orchestrators give up after a second by default, and take a late answer for a
// dead process.
const readyTimeout = 600 * time.Millisecond

// ready asks the store once for all concurrent probes: probes wait for no turn, and must not take all of its connections. A check that
// ignores its context does not keep a probe waiting.
func ready(check func(context.Context) error, stopping <-chan struct{}) http.HandlerFunc {
	var asking singleflight.Group
	return func(w http.ResponseWriter, r *http.Request) {
		if closed(stopping) {
			writeJSON(w, http.StatusServiceUnavailable, status{"stopping"})
			return
		}
		timer := time.NewTimer(readyTimeout)
		defer timer.Stop()
		result := asking.DoChan("", func() (_ any, err error) {
			defer func() { // singleflight runs it in a goroutine, where a panic would end the process
				if p := recover(); p != nil {
					err = fmt.Errorf("panic: %v", p)
				}
			}()
			ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), readyTimeout)
			defer cancel()
			return nil, check(ctx)
		})
		var err error
		select {
		case asked := <-result:
			err = asked.Err
		case <-timer.C:
			err = context.DeadlineExceeded
		}
		if err != nil {
			writeJSON(w, http.StatusServiceUnavailable, status{"the store does not answer"})
			return
		}
		writeJSON(w, http.StatusOK, status{"ready"})
	}
}

// leaving has clients whose request is answered while the process is about to stop go elsewhere with their next one: a
// connection that is closed between two requests may lose the second.
func leaving(stopping <-chan struct{}, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if closed(stopping) {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// limited bounds what a request may cost: its time and the size of its body.
func limited(timeout time.Duration, bodyBytes int64, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		if r.ContentLength != 0 {
			setReadDeadline(w, time.Now().Add(timeout))
			r.Body = bodyInTime{r.Body, w}
		}
		r.Body = http.MaxBytesReader(w, r.Body, bodyBytes)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// bodyInTime lifts the deadline for reading when all is read.
type bodyInTime struct {
	io.ReadCloser
	w http.ResponseWriter
}

func (b bodyInTime) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		setReadDeadline(b.w, time.Time{})
	}
	return n, err
}

// unhurried lifts the server's deadline for reading from requests that have been read. While a request is answered net/http
// reads on, to learn whether its client leaves, and takes a deadline that passes for just that: it ends the context of the
// request, and of all that come after it on the connection.
func unhurried(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			setReadDeadline(w, time.Time{})
		}
		next.ServeHTTP(w, r)
	})
}

func setReadDeadline(w http.ResponseWriter, at time.Time) {
	_ = http.NewResponseController(w).SetReadDeadline(at) // where there is none to set, there is no client that could stall
}

// answered gives the request's context a deadline for the time until the answer begins. An answer that takes longer goes on in contexts from
// onward, which have deadlines of their own.
func answered(timeout time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), clientKey{}, r.Context()), timeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

type clientKey struct{}

// onward returns a context for another part of an answer that has begun. It has the request's values and a deadline of its own,
// and ends when the client leaves.
func onward(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	client, ok := ctx.Value(clientKey{}).(context.Context)
	if !ok {
		return context.WithTimeout(ctx, timeout)
	}
	part, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	stop := context.AfterFunc(client, cancel)
	return part, func() { stop(); cancel() }
}

// hardened sets the headers that keep browsers from guessing and leaking.
func hardened(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}

// logged writes a line for each request, counts it, and answers for a handler that panicked. Of the URL it tells the route alone:
// somebody may have put a secret into the path or the query.
func logged(logger *slog.Logger, count func(route, method string, status int, took time.Duration), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w}
		defer func() {
			p := recover()
			cut := p == http.ErrAbortHandler //nolint:errorlint // the value itself is what net/http asks for
			if p != nil && !cut {
				logger.ErrorContext(r.Context(), "panic", "value", p)
				if cut = rec.status != 0; cut {
					p = http.ErrAbortHandler // half an answer must not look whole
				} else {
					writeError(rec, apikey.Classify(nil))
				}
			}
			method := r.Method
			if !methods[method] {
				method = "other"
			}
			count(r.Pattern, method, rec.status, time.Since(start))
			level := slog.LevelInfo
			if x := exchangeOf(r.Context()); x != nil && x.refused {
				level = slog.LevelDebug // the gate tells of all together
			}
			logger.Log(r.Context(), level, "request", "method", method, "route", r.Pattern, "status", rec.status,
				"bytes", rec.bytes, "cut", cut, "duration", time.Since(start))
			if cut {
				panic(p)
			}
		}()
		next.ServeHTTP(rec, r)
	})
}

// methods are those that a log may tell: others are whatever somebody sent.
var methods = map[string]bool{"GET": true, "HEAD": true, "POST": true, "PUT": true, "PATCH": true, "DELETE": true, "OPTIONS": true, "TRACE": true}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
