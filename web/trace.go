package web

import (
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// traceparent is all that is taken over of a caller's trace: baggage and tracestate are texts of theirs, which a trace would
// pass on.
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

// traced makes a span of each request, which goes on with the caller's trace. Like the log it tells nothing of the URL but the
// route, and nothing of headers and bodies: somebody may have put a secret there. Probes have no span: there are more of them than of anything
// else. Without a tracer it is next itself.
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
		defer func() { // in a function, for End itself would record what a panic says
			method, route := spanNames(r)
			span.SetName(method + " " + route)
			span.SetAttributes(attribute.String("http.request.method", method), attribute.String("http.route", route), attribute.Int("http.response.status_code", rec.status))
			if id := RequestID(ctx); !strings.Contains(id, "sk_") { // it may be the caller's own, and anything
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

// spanNames returns the method, if it is one that there is, and the pattern without it.
func spanNames(r *http.Request) (method, route string) {
	if method = r.Method; !methods[method] {
		method = "_OTHER" // as OpenTelemetry has it
	}
	route = r.Pattern
	if _, path, found := strings.Cut(route, " "); found {
		route = path
	}
	return method, route
}
