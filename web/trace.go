package web

import (
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// traceparent is the only part of a caller's trace context that is accepted. Baggage and tracestate are arbitrary text, which traces
// would pass on.
type traceparent struct{ http.Header }

const traceparentHeader = "traceparent"

func (t traceparent) Get(name string) string {
	if name != traceparentHeader {
		return ""
	}
	return t.Header.Get(name)
}

func (traceparent) Set(string, string) {}
func (traceparent) Keys() []string     { return []string{traceparentHeader} }

// traceRequests makes a span for each request, which continues the caller's trace. Like the log, it contains the route instead of the
// URL, and no headers or bodies, which may contain secrets. Probes have no span, because they are the most frequent requests. Without a
// tracer it returns next.
func traceRequests(tracer trace.Tracer, next http.Handler) http.Handler {
	if tracer == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" || r.URL.Path == "/readyz" {
			next.ServeHTTP(w, r)
			return
		}
		ctx := propagation.TraceContext{}.Extract(r.Context(), traceparent{r.Header})
		ctx, span := tracer.Start(ctx, "HTTP", trace.WithSpanKind(trace.SpanKindServer))
		r = r.WithContext(ctx)
		if !span.IsRecording() {
			next.ServeHTTP(w, r)
			return
		}
		rec := &recorder{ResponseWriter: w}
		whole := false
		defer func() { // in a function, because End would record the value of a panic
			method, route := spanNames(r)
			span.SetName(method + " " + route)
			span.SetAttributes(attribute.String("http.request.method", method), attribute.String("http.route", route), attribute.Int("http.response.status_code", rec.status))
			if id := RequestID(ctx); !strings.Contains(id, "sk_") { // it may be the caller's own, and contain a key
				span.SetAttributes(attribute.String("request.id", id))
			}
			if rec.status >= http.StatusInternalServerError || !whole {
				span.SetStatus(codes.Error, "")
			}
			span.End()
		}()
		next.ServeHTTP(rec, r)
		whole = true
	})
}

// spanNames returns the method, if it is a known one, and the pattern without it.
func spanNames(r *http.Request) (method, route string) {
	if method = r.Method; !methods[method] {
		method = "_OTHER" // OpenTelemetry's value for unknown methods
	}
	route = r.Pattern
	if _, path, found := strings.Cut(route, " "); found {
		route = path
	}
	return method, route
}
