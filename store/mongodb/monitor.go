package mongodb

import (
	"context"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Option configures the client of Open.
type Option func(*options.ClientOptions)

// Pool has functions that are called when connection pools change.
type Pool struct {
	Open, InUse, Waiting func(change int)    // changes of the open connections, those in use, and the operations that wait for one
	Failed               func(reason string) // called when an operation got no connection
}

// WithPool reports the changes of connection pools.
func WithPool(p Pool) Option {
	return func(o *options.ClientOptions) {
		o.SetPoolMonitor(&event.PoolMonitor{Event: func(e *event.PoolEvent) {
			switch e.Type {
			case event.ConnectionCreated:
				p.Open(1)
			case event.ConnectionClosed:
				p.Open(-1)
			case event.ConnectionCheckOutStarted:
				p.Waiting(1)
			case event.ConnectionCheckedOut:
				p.Waiting(-1)
				p.InUse(1)
			case event.ConnectionCheckOutFailed:
				p.Waiting(-1)
				p.Failed(e.Reason)
			case event.ConnectionCheckedIn:
				p.InUse(-1)
			}
		}})
	}
}

// WithTracer starts a span for each command inside a recorded span. The span has the command's name and collection, and
// no values. A nil tracer disables it.
func WithTracer(tracer trace.Tracer) Option {
	return func(o *options.ClientOptions) {
		if tracer == nil {
			return
		}
		c := &commands{tracer: tracer}
		o.SetMonitor(&event.CommandMonitor{
			Started:   c.started,
			Succeeded: func(_ context.Context, e *event.CommandSucceededEvent) { c.finished(e.RequestID, nil) },
			Failed:    func(_ context.Context, e *event.CommandFailedEvent) { c.finished(e.RequestID, e.Failure) },
		})
	}
}

// commands has the spans of running commands, by request id.
type commands struct {
	tracer trace.Tracer
	spans  sync.Map
}

func (c *commands) started(ctx context.Context, e *event.CommandStartedEvent) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return
	}
	collection := collectionOf(e.CommandName, e.Command)
	_, span := c.tracer.Start(ctx, "mongodb "+e.CommandName, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("db.system.name", "mongodb"), attribute.String("db.operation.name", e.CommandName), attribute.String("db.collection.name", collection)))
	c.spans.Store(e.RequestID, span)
}

// collectionOf returns the collection that a command is about.
func collectionOf(name string, command bson.Raw) string {
	if name == "getMore" { // its own value is a cursor's id
		name = "collection"
	}
	collection, _ := command.Lookup(name).StringValueOK()
	return collection
}

func (c *commands) finished(id int64, failure error) {
	value, known := c.spans.LoadAndDelete(id)
	if !known {
		return
	}
	if span, ok := value.(trace.Span); ok {
		if failure != nil {
			span.SetStatus(otelcodes.Error, "")
		}
		span.End()
	}
}
