package mongodb

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"
)

// The limits of a call to the server. With a context that has a deadline, the driver retries until then, and without a
// pause if the server reports that another one does not answer: one read sent 38,000 commands a second. So this package
// retries reads itself, and hides the deadline from writes, which only the driver can repeat.

// callTimeout bounds calls whose context has no deadline: those of the command line and of the background.
var callTimeout = 30 * time.Second

// bounded adds a deadline to a context that has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, callTimeout)
}

// withRetry reads, and retries once after an outage that may have passed. If no server was found, it has not.
func withRetry[T any](ctx context.Context, read func() (T, error)) (T, error) {
	v, err := read()
	if err == nil || ctx.Err() != nil || !isOutage(err) || isA[topology.ServerSelectionError](err) {
		return v, err
	}
	return read()
}

// writing returns a context without a deadline that ends with ctx, or after callTimeout. The driver then tries a write
// at most twice.
func writing(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, release := bounded(ctx)
	hidden, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	return hidden, func() { stop(); cancel(); release() }
}
