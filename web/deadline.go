package web

import (
	"context"
	"io"
	"net/http"
	"time"
)

// limited bounds what a request may cost: its time and the size of its body.
func withTimeout(timeout time.Duration, bodyBytes int64, next http.Handler) http.Handler {
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

// clearReadDeadline lifts the server's deadline for reading from requests that have been read. While a request is answered net/http
// reads on, to learn whether its client leaves, and takes a deadline that passes for just that: it ends the context of the
// request, and of all that come after it on the connection.
func clearReadDeadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			setReadDeadline(w, time.Time{})
		}
		next.ServeHTTP(w, r)
	})
}

func setWriteDeadline(w http.ResponseWriter, at time.Time) {
	_ = http.NewResponseController(w).SetWriteDeadline(at) // fails only where no client could stall
}

func setReadDeadline(w http.ResponseWriter, at time.Time) {
	_ = http.NewResponseController(w).SetReadDeadline(at) // where there is none to set, there is no client that could stall
}

// answered gives the request's context a deadline for the time until the answer begins. An answer that takes longer goes on in contexts from
// onward, which have deadlines of their own.
func withResponseDeadline(timeout time.Duration, next http.Handler) http.Handler {
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
