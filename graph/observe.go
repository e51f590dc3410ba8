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

// Metrics counts what is asked; a field that is nil counts nothing. An operation is told by a label of few, see labels.
type Metrics struct {
	Operation    func(operation, kind, outcome string, took time.Duration)
	LimitRefusal func(limit string)
	CacheLookups func(cache string) func(hit bool)
}

// observer tells of each operation what it was, how it ended, and how long it took.
type observer struct {
	metrics Metrics
	tracer  trace.Tracer
	labels  *labels
}

func newObserver(o Options) observer {
	if o.Metrics.Operation == nil {
		o.Metrics.Operation = func(string, string, string, time.Duration) {}
	}
	if o.Metrics.LimitRefusal == nil {
		o.Metrics.LimitRefusal = func(string) {}
	}
	return observer{o.Metrics, o.Tracer, newLabels(o.Manifest)}
}

func (observer) ExtensionName() string                   { return "Observer" }
func (observer) Validate(graphql.ExecutableSchema) error { return nil }

// none is the label of what has no operation, because its text could not be read.
const none = "none"

// InterceptResponse is called for what was refused before it was executed, too.
func (o observer) InterceptResponse(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
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

// ok is the outcome of what has no errors.
const ok = "ok"

// outcomeOf returns the code of the first error, which is one of ours or of gqlgen's, never a caller's.
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

// labels name operations to metrics and spans: those of the manifest by their id, others by a hash of their name, since
// whoever names an operation may put anything there.
type labels struct {
	persisted map[string]string // ids by their texts

	mu    sync.RWMutex
	names map[string]string // hashes by names
}

const (
	// mostNames is how many names get a label of their own; the operations of all others are one.
	mostNames = 100
	// longestOperationName is how long a name may be, in bytes, that does.
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

// of returns the operation's label. It takes up no name of a caller who is not known here: nobody in particular shall use them up.
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
	l.names[strings.Clone(name)] = label // without the text that it is a part of
	return label
}

// asking makes a span of something that is asked of the service, where spans are made.
func asking[T any](ctx context.Context, tracer trace.Tracer, what string, f func(context.Context) (T, error)) (value T, err error) {
	if tracer == nil || !trace.SpanFromContext(ctx).IsRecording() {
		return f(ctx)
	}
	ctx, span := tracer.Start(ctx, what)
	err = errPanicked
	defer func() { // in a function, for End itself would record what a panic says
		if err != nil {
			span.SetStatus(codes.Error, string(apikey.Classify(err).Code))
		}
		span.End()
	}()
	return f(ctx)
}

// mutations makes a span of each mutation's field. Fields of queries ask through the loader, which makes its own.
func mutations(tracer trace.Tracer, others graphql.FieldMiddleware) graphql.FieldMiddleware {
	return func(ctx context.Context, next graphql.Resolver) (any, error) {
		if f := graphql.GetFieldContext(ctx); f.Object == "Mutation" {
			return asking(ctx, tracer, f.Field.Name, next)
		}
		return others(ctx, next)
	}
}
