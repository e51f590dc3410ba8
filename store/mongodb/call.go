package mongodb

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"
)

// What a call to the server may cost. Where the context has a deadline, the driver tries again until then whatever may be
// tried again, and without a pause where the server answers only that another one does not: one read made 38,000 commands
// a second. So reads are tried again here, and writes, which only the driver can repeat, do not show it the deadline.

// callTimeout bounds calls whose context has no deadline: those of commands, and in the background.
var callTimeout = 30 * time.Second

// bounded gives a deadline to a context that has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, callTimeout)
}

// again reads, and once more if that met an outage which may have passed. It has not where no server was found.
func again[T any](ctx context.Context, read func() (T, error)) (T, error) {
	v, err := read()
	if err == nil || ctx.Err() != nil || !isOutage(err) || isA[topology.ServerSelectionError](err) {
		return v, err
	}
	return read()
}

// writing returns a context that ends with the other one, or in time, and has no deadline: the driver then tries a write
// at most twice.
func writing(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, release := bounded(ctx)
	hidden, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	return hidden, func() { stop(); cancel(); release() }
}
