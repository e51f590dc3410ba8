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
		}
		r.Body = http.MaxBytesReader(w, r.Body, bodyBytes)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// lingering is how long the rest of a body may arrive after the response. If a connection is closed while the client still sends, the client
// may get a reset instead of the response. net/http waits as long for that reason.
const lingering = 500 * time.Millisecond

// awaitNoBody keeps responses and shutdowns from waiting for a body that no handler reads. net/http reads such a body first, to use the connection
// again, until the server's read deadline. So it closes the connection unless the body was read to its end.
//
// It removes that deadline from requests that have been read. While a handler runs, net/http keeps reading to learn whether the client leaves.
// If the deadline expires then, it cancels the context of this request and of all later ones on the connection.
func awaitNoBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			setReadDeadline(w, time.Time{})
			next.ServeHTTP(w, r)
			return
		}
		body := &announcedBody{ReadCloser: r.Body, w: w, reuse: w.Header().Get("Connection") == ""}
		r.Body = body
		w.Header().Set("Connection", "close")
		defer func() {
			if !body.ended {
				setReadDeadline(w, time.Now().Add(lingering))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// announcedBody removes the read deadline when it has been read to its end, and then lets the connection be used again if reuse is set.
type announcedBody struct {
	io.ReadCloser
	w            http.ResponseWriter
	reuse, ended bool
}

func (b *announcedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF && !b.ended {
		b.ended = true
		setReadDeadline(b.w, time.Time{})
		if b.reuse {
			b.w.Header().Del("Connection")
		}
	}
	return n, err
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
