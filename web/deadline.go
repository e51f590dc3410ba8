package web

import (
	"context"
	"io"
	"net/http"
	"time"
)

// withTimeout limits the time of a request and the size of its body.
func withTimeout(timeout time.Duration, bodyBytes int64, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), clientKey{}, r.Context()), timeout)
		defer cancel()
		if r.ContentLength != 0 {
			setReadDeadline(w, time.Now().Add(timeout))
			r.Body = bodyInTime{r.Body, w}
		}
		r.Body = http.MaxBytesReader(w, r.Body, bodyBytes)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// bodyInTime removes the read deadline when the body has been read.
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

// clearReadDeadline removes the server's read deadline from requests that have been read. While a handler runs, net/http keeps reading to
// learn whether the client leaves. If the deadline expires then, it cancels the context of this request and of all later ones on the
// connection.
func clearReadDeadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			setReadDeadline(w, time.Time{})
		}
		next.ServeHTTP(w, r)
	})
}

func setWriteDeadline(w http.ResponseWriter, at time.Time) {
	_ = http.NewResponseController(w).SetWriteDeadline(at) // fails only without a connection, and then no client can stall
}

func setReadDeadline(w http.ResponseWriter, at time.Time) {
	_ = http.NewResponseController(w).SetReadDeadline(at) // fails only without a connection, and then no client can stall
}

// withResponseDeadline gives the request's context a deadline until the response begins. A longer response continues in contexts from
// onward, which have their own deadlines.
func withResponseDeadline(timeout time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), clientKey{}, r.Context()), timeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// Lasting returns a context for a response that lasts until the client leaves or the server ends it, whatever the timeout of requests. It
// has the request's values and is canceled when the client leaves. The body, which has been read, counts as gone from now on.
func Lasting(ctx context.Context) (context.Context, context.CancelFunc) {
	if x := exchangeOf(ctx); x != nil && x.forget != nil {
		x.forget()
	}
	client, ok := ctx.Value(clientKey{}).(context.Context)
	if !ok {
		return context.WithCancel(ctx)
	}
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(client, cancel)
	return lasting, func() { stop(); cancel() }
}

type clientKey struct{}

// onward returns a context for the next part of a response that has begun. It has the request's values and its own deadline, and is
// canceled when the client leaves.
func onward(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	client, ok := ctx.Value(clientKey{}).(context.Context)
	if !ok {
		return context.WithTimeout(ctx, timeout)
	}
	part, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	stop := context.AfterFunc(client, cancel)
	return part, func() { stop(); cancel() }
}
