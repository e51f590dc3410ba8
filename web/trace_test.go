package web

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// The span of every request has its route and status. It contains nothing that a client sent, and no panic's value.
func TestSpansOfRequests(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /things/{id}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	mux.HandleFunc("/panics", func(http.ResponseWriter, *http.Request) { panic("a_secret") })
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		panic("a_secret")
	})
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	h := withRequestID(traceRequests(tracer, logRequests(slog.New(slog.DiscardHandler), func(string, string, int, time.Duration) {}, mux)))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
	if n := len(spans.Started()); n > 0 {
		t.Errorf("%d spans of a probe", n)
	}
	for _, c := range []struct{ method, path, id, want string }{
		{"GET", "/things/a_secret?a_secret=1", "7", "GET /things/{id} [GET /things/{id} 404 7] Unset"},
		{"GET", "/things/a_secret", "sk_a_secret", "GET /things/{id} [GET /things/{id} 404] Unset"},
		{"BREW", "/panics", "7", "_OTHER /panics [_OTHER /panics 500 7] Error"},
		{"POST", "/cut", "7", "POST /cut [POST /cut 200 7] Error"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), c.method, c.path, strings.NewReader("a_secret"))
		r.Header.Set("X-Request-Id", c.id)
		func() {
			defer func() { _ = recover() }() // as net/http does
			h.ServeHTTP(httptest.NewRecorder(), r)
		}()
		ended := spans.Ended()
		span := ended[len(ended)-1]
		var values []string
		for _, a := range span.Attributes() {
			values = append(values, a.Value.String())
		}
		if got := fmt.Sprint(span.Name(), " ", values, " ", span.Status().Code); got != c.want || len(span.Events()) > 0 {
			t.Errorf("%s %s: %s, %v; want %s", c.method, c.path, got, span.Events(), c.want)
		}
	}
}
