package web

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"regexp"
	"time"

	"retrieverkeys/apikey"
)

// logRequests logs and counts each request, and answers for handlers that panic. It logs the route instead of the URL, because the path
// or the query may contain a secret.
func logRequests(logger *slog.Logger, count func(route, method string, status int, took time.Duration), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w}
		defer func() {
			p := recover()
			cut := p == http.ErrAbortHandler //nolint:errorlint // net/http compares the value itself
			if p != nil && !cut {
				logger.ErrorContext(r.Context(), "panic", "value", p)
				if cut = rec.status != 0; cut {
					p = http.ErrAbortHandler // a partial response must not look complete
				} else {
					writeError(rec, apikey.Classify(nil))
				}
			}
			method := r.Method
			if !methods[method] {
				method = "other"
			}
			took := time.Since(start)
			if rec.streams { // it lasts as long as the client likes
				took = rec.began.Sub(start)
			}
			count(r.Pattern, method, rec.status, took)
			level := slog.LevelInfo
			if x := exchangeOf(r.Context()); x != nil && x.routine {
				level = slog.LevelDebug
			}
			if logger.Enabled(r.Context(), level) {
				logger.Log(r.Context(), level, "request", "method", method, "route", r.Pattern, "status", rec.status,
					"bytes", rec.bytes, "cut", cut, "duration", time.Since(start))
			}
			if cut {
				panic(p)
			}
		}()
		next.ServeHTTP(rec, r)
	})
}

// methods are the methods that a log line may contain. Others are arbitrary text.
var methods = map[string]bool{"GET": true, "HEAD": true, "POST": true, "PUT": true, "PATCH": true, "DELETE": true, "OPTIONS": true, "TRACE": true}

// recorder records the status and length of the response.
type recorder struct {
	http.ResponseWriter
	status  int
	bytes   int64
	streams bool      // the response is an event stream
	began   time.Time // when an event stream began
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
		if r.streams = isEventStream(r.Header()); r.streams {
			r.began = time.Now()
		}
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

type exchangeKey struct{}

// exchange is what several middlewares know about a request.
type exchange struct {
	id      string
	forget  func() // returns the memory of the request's body; may be nil
	routine bool   // logged at debug: refused because of overload, which the gate logs together, or an allowed request of a gateway, which logs it
}

// exchangeOf returns nil if the context does not belong to a request.
func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

var goodRequestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

// withRequestID gives every request an id, which every response carries. The caller's own id is used if it is valid and contains no key: logs keep it.
func withRequestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Request-Id")
		if !goodRequestID.MatchString(id) || apikey.HoldsKey(id) {
			id = rand.Text()
		}
		w.Header().Set("X-Request-Id", id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, &exchange{id: id})))
	})
}

// RequestID returns the id of the request that the context belongs to, or an empty string.
func RequestID(ctx context.Context) string {
	if x := exchangeOf(ctx); x != nil {
		return x.id
	}
	return ""
}
