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

// logged writes a line for each request, counts it, and answers for a handler that panicked. Of the URL it tells the route alone:
// somebody may have put a secret into the path or the query.
func logRequests(logger *slog.Logger, count func(route, method string, status int, took time.Duration), next http.Handler) http.Handler {
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

type exchangeKey struct{}

// exchange is what is known of a request and its answer all along the way.
type exchange struct {
	id      string
	refused bool // for want of a turn or of memory
}

// exchangeOf returns nil where the context is no request's.
func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

var goodRequestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

// withRequestID gives every request an id, the caller's own if it is a good one, and every response tells it.
func withRequestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Request-Id")
		if !goodRequestID.MatchString(id) {
			id = rand.Text()
		}
		w.Header().Set("X-Request-Id", id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, &exchange{id: id})))
	})
}

// RequestID returns the id of the request that the context belongs to; empty where there is none.
func RequestID(ctx context.Context) string {
	if x := exchangeOf(ctx); x != nil {
		return x.id
	}
	return ""
}
