package web

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A panic in a handler becomes a response with status 500 that does not contain the panic's value, and the process continues. If the response
// has begun, the connection is cut, because a partial response must not look complete.
func TestAPanicIsAnswered(t *testing.T) {
	for began, want := range map[string]any{"": nil, "half an answer": http.ErrAbortHandler} {
		var log strings.Builder
		h := handler(&shelf{}, func(o *Options) {
			o.Logger = slog.New(slog.NewTextHandler(&log, nil))
			o.GraphQL = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if began != "" {
					_, _ = io.WriteString(w, strings.Repeat(began, 1000))
				}
				panic("a bug")
			})
		})
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/graphql", strings.NewReader("{}"))
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("after %q: it panics with %v", began, got)
				}
			}()
			h.ServeHTTP(w, r)
		}()
		if body := w.Body.String(); strings.Contains(body, "bug") || began == "" && (w.Code != http.StatusInternalServerError || !strings.Contains(body, "InternalServerError")) {
			t.Errorf("%d %.200s", w.Code, body)
		}
		if !strings.Contains(log.String(), "a bug") {
			t.Errorf("the log does not contain the panic: %s", log.String())
		}
	}
}
