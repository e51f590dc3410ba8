// Package graph is the GraphQL adapter: gqlgen's generated code, short resolvers that call the domain, and GraphQL over HTTP.
package graph

import (
	"context"
	"log/slog"
	"net/http"
	"slices"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"go.opentelemetry.io/otel/trace"

	"retrieverkeys/apikey"
	"retrieverkeys/graph/operation"
	"retrieverkeys/graph/scalar"
)

//go:generate go tool gqlgen generate

// served is the schema without parts that gqlparser adds to every schema but that this server or its clients do not support. @defer:
// responses are sent in one piece, and gqlgen would drop the deferred part. DIRECTIVE_DEFINITION: the specification's editions up to
// September 2025 do not have that location, and strict clients refuse a schema with an unknown one.
var served = func() *ast.Schema {
	delete(parsedSchema.Directives, "defer")
	for _, d := range parsedSchema.Directives {
		d.Locations = slices.DeleteFunc(d.Locations, func(l ast.DirectiveLocation) bool { return l == ast.LocationDirectiveDefinition })
	}
	locations := parsedSchema.Types["__DirectiveLocation"]
	locations.EnumValues = slices.DeleteFunc(locations.EnumValues, func(v *ast.EnumValueDefinition) bool {
		return v.Name == string(ast.LocationDirectiveDefinition)
	})
	return parsedSchema
}()

// Introspection says who may read the schema.
type Introspection string

// The values of Introspection.
const (
	IntrospectionPublic        Introspection = "public"
	IntrospectionAuthenticated Introspection = "authenticated"
	IntrospectionOff           Introspection = "off"
)

// Limits are the limits of one request.
type Limits = operation.Limits

// Manifest has the operations that are known in advance, by their ids.
type Manifest = operation.Manifest

// ReadManifest reads a manifest of persisted operations: see operation.ReadManifest.
func ReadManifest(ctx context.Context, text []byte, limits Limits) (Manifest, []error) {
	return operation.ReadManifest(ctx, text, operationConfig(limits, true))
}

// operationConfig is what package operation needs from this package and the domain.
func operationConfig(limits Limits, suggestions bool) operation.Config {
	return operation.Config{
		Schema: served, Scalars: scalar.Readers, Limits: limits, Suggestions: suggestions, MaxPage: apikey.MaxPage, DefaultPage: defaultPage,
		ListLength: listLength,
		Known:      func(ctx context.Context) bool { return apikey.CallerFrom(ctx).Known() },
		Tenant: func(ctx context.Context) string {
			if c := apikey.CallerFrom(ctx); c.Key != nil {
				return string(c.Key.InternalID)
			}
			return ""
		},
		HoldsKey: apikey.HoldsKey, Keep: keepShapes,
	}
}

// measured refuses operations whose response could be too large, once their variables are known.
type measured struct{ parser *operation.Parser }

func (measured) ExtensionName() string                   { return "Limits" }
func (measured) Validate(graphql.ExecutableSchema) error { return nil }

func (m measured) MutateOperationContext(_ context.Context, op *graphql.OperationContext) *gqlerror.Error {
	return m.parser.Measure(op.Operation, op.Variables)
}

// Options configure the handler.
type Options struct {
	Service       *apikey.Service
	Version       string
	Introspection Introspection
	// Manifest has the operations that clients may send by id. With ManifestOnly, no others run.
	Manifest     Manifest
	ManifestOnly bool
	Limits       Limits
	// MaxResponseBytes is the maximum length of a response; 0 means any length.
	MaxResponseBytes int64
	// Memory limits the memory of all responses together; nil means no limit.
	Memory  Memory
	Streams Streams
	// Playground is the page to which browsers are redirected, relative to the endpoint; may be empty.
	Playground string
	Logger     *slog.Logger
	Metrics    Metrics
	Tracer     trace.Tracer // makes spans inside recorded ones; may be nil

	slow bool // without fast, for tests that compare both
}

// NewHandler returns the handler of GraphQL over HTTP. It expects the caller and the namespace in the request's context, from
// apikey.WithCaller and apikey.WithNamespace.
func NewHandler(o Options) http.Handler {
	o.Metrics = o.Metrics.withDefaults()
	exec := executor.New(NewExecutableSchema(Config{Resolvers: &Resolver{Service: o.Service, Version: o.Version}}))
	exec.SetErrorPresenter(unlessEnded(presenter(o.Logger)))
	exec.SetRecoverFunc(recoverer(o.Logger))
	exec.SetQueryCache(parsed{})
	exec.Use(introspectionGate{o.Introspection})
	config := operationConfig(o.Limits, o.Introspection == IntrospectionPublic)
	parser := operation.NewParser(config, o.Metrics.CacheLookups("documents"))
	observer := newObserver(o)
	exec.Use(measured{parser})
	exec.Use(observer)
	limits := answerLimits{o.MaxResponseBytes, int64(o.Limits.Complexity / slowerBy), o.Memory}
	exec.Use(limits)
	loaders := loaders{o.Service, o.Tracer, func() *apikey.Cost { return apikey.NewCost(o.Limits.Reads, retained(o.MaxResponseBytes)) }}
	exec.Use(loaders)
	h := handler{
		exec: exec, loaders: loaders, answerLimits: limits, fields: fast, persisted: operation.NewPersisted(config, o.Manifest, o.ManifestOnly, o.Metrics.CacheLookups("texts")), parser: parser,
		streams: o.Streams, observer: observer, metrics: o.Metrics,
		introspection: o.Introspection, playground: o.Playground, logger: o.Logger,
	}
	if o.slow {
		h.fields = func(ctx context.Context, next graphql.Resolver) (any, error) { return next(ctx) }
	}
	if o.Tracer != nil {
		h.fields = mutations(o.Tracer, h.fields)
	}
	h.fields = unlessFailed(h.fields)
	return h
}

// introspectionGate enforces Introspection.
type introspectionGate struct{ who Introspection }

func (introspectionGate) ExtensionName() string                   { return "Introspection" }
func (introspectionGate) Validate(graphql.ExecutableSchema) error { return nil }

func (i introspectionGate) MutateOperationContext(ctx context.Context, op *graphql.OperationContext) *gqlerror.Error {
	op.DisableIntrospection = !i.who.allows(ctx)
	return nil
}

// allows reports whether the caller may read the schema.
func (i Introspection) allows(ctx context.Context) bool {
	return i == IntrospectionPublic || i == IntrospectionAuthenticated && apikey.CallerFrom(ctx).Known()
}
