package graph

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"retrieverkeys/apikey"
	"retrieverkeys/graph/operation"
)

// Metrics has functions that are called for events; nil ones are ignored. Operations have a bounded number of labels: see labels.
type Metrics struct {
	Operation    func(operation, kind, outcome string, took time.Duration)
	LimitRefusal func(limit string)
	CacheLookups func(cache string) func(hit bool)
	// Subscriptions: how many streams are open, the events that they sent, and why each ended.
	Streams      func(more int)
	StreamEvents func(n int)
	StreamEnded  func(reason string)
}

// withDefaults returns the metrics with functions that do nothing instead of nil ones.
func (m Metrics) withDefaults() Metrics {
	if m.Operation == nil {
		m.Operation = func(string, string, string, time.Duration) {}
	}
	if m.LimitRefusal == nil {
		m.LimitRefusal = func(string) {}
	}
	if m.CacheLookups == nil {
		m.CacheLookups = func(string) func(bool) { return nil }
	}
	if m.Streams == nil {
		m.Streams = func(int) {}
	}
	if m.StreamEvents == nil {
		m.StreamEvents = func(int) {}
	}
	if m.StreamEnded == nil {
		m.StreamEnded = func(string) {}
	}
	return m
}

// observer reports each operation, its outcome and its duration.
type observer struct {
	metrics Metrics
	tracer  trace.Tracer
	labels  *labels
}

func newObserver(o Options) observer {
	return observer{o.Metrics, o.Tracer, newLabels(o.Manifest)}
}

func (observer) ExtensionName() string                   { return "Observer" }
func (observer) Validate(graphql.ExecutableSchema) error { return nil }

// none is the label of requests whose text could not be read.
const none = "none"

// InterceptResponse is also called for operations that were refused before execution. The responses of a stream are not operations.
func (o observer) InterceptResponse(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	if l := loaded(ctx); l != nil && l.follower != nil {
		return next(ctx)
	}
	return o.observe(ctx, next)
}

// observe reports an operation with the response of next.
func (o observer) observe(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	op := graphql.GetOperationContext(ctx)
	start := graphql.GetStartTime(ctx)
	label, kind := none, none
	if op.Operation != nil {
		label, kind = o.labels.of(ctx, op), string(op.Operation.Operation)
	}
	var span trace.Span
	if o.tracer != nil && trace.SpanFromContext(ctx).IsRecording() {
		ctx, span = o.tracer.Start(ctx, "graphql "+kind, trace.WithTimestamp(start), trace.WithAttributes(
			attribute.String("graphql.operation.type", kind), attribute.String("graphql.operation.id", label)))
		defer func() { span.End() }()
	}
	response := next(ctx)
	outcome := outcomeOf(response)
	o.metrics.Operation(label, kind, outcome, time.Since(start))
	if span != nil {
		span.SetAttributes(attribute.String("outcome", outcome))
		if outcome != ok {
			span.SetStatus(codes.Error, outcome)
		}
	}
	if len(response.Errors) > 0 {
		if limit, exceeded := response.Errors[0].Err.(operation.LimitError); exceeded { //nolint:errorlint // it is not wrapped
			o.metrics.LimitRefusal(string(limit))
		}
	}
	return response
}

// ok is the outcome without errors.
const ok = "ok"

// outcomeOf returns the code of the first error, which never comes from a client.
func outcomeOf(r *graphql.Response) string {
	if len(r.Errors) == 0 {
		return ok
	}
	return codeOf(r.Errors[0])
}

func codeOf(e *gqlerror.Error) string {
	if code, set := e.Extensions["code"]; set {
		return fmt.Sprint(code)
	}
	return string(apikey.Internal)
}

// labels name operations in metrics and spans: operations of the manifest by their id, others by a hash of their name, because clients
// can put anything into a name.
type labels struct {
	persisted map[string]string // ids by text

	mu    sync.RWMutex
	names map[string]string // hashes by name
}

const (
	// mostNames is how many names get their own label. The others share one.
	mostNames = 100
	// longestOperationName is the maximum length in bytes of a name with its own label.
	longestOperationName = 100
	otherName            = "other"
	unnamed              = "unnamed"
)

func newLabels(manifest Manifest) *labels {
	l := &labels{persisted: make(map[string]string, len(manifest)), names: map[string]string{}}
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(manifest))) {
		l.persisted[manifest[id]] = id
	}
	return l
}

// of returns the operation's label. Unknown callers cannot use up labels.
func (l *labels) of(ctx context.Context, op *graphql.OperationContext) string {
	if len(l.persisted) > 0 {
		if id, known := l.persisted[op.RawQuery]; known {
			return id
		}
	}
	name := op.Operation.Name
	switch {
	case name == "":
		return unnamed
	case len(name) > longestOperationName:
		return otherName
	}
	l.mu.RLock()
	label, known := l.names[name]
	l.mu.RUnlock()
	if known {
		return label
	}
	if !apikey.CallerFrom(ctx).Known() {
		return otherName
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.names) >= mostNames {
		return otherName
	}
	label = operation.Hash(name)[:8]
	l.names[strings.Clone(name)] = label // without the text that contains it
	return label
}

// asking makes a span for a call of the service, if spans are recorded.
func asking[T any](ctx context.Context, tracer trace.Tracer, what string, f func(context.Context) (T, error)) (value T, err error) {
	if tracer == nil || !trace.SpanFromContext(ctx).IsRecording() {
		return f(ctx)
	}
	ctx, span := tracer.Start(ctx, what)
	err = errPanicked
	defer func() { // in a function, because End would record the value of a panic
		if err != nil {
			span.SetStatus(codes.Error, string(apikey.Classify(err).Code))
		}
		span.End()
	}()
	return f(ctx)
}

// mutations makes a span for each mutation field. The fields of queries use the loader, which makes its own.
func mutations(tracer trace.Tracer, others graphql.FieldMiddleware) graphql.FieldMiddleware {
	return func(ctx context.Context, next graphql.Resolver) (any, error) {
		if f := graphql.GetFieldContext(ctx); f.Object == "Mutation" {
			return asking(ctx, tracer, f.Field.Name, next)
		}
		return others(ctx, next)
	}
}
