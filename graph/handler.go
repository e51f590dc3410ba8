// Package graph is the GraphQL adapter: gqlgen's generated code, resolvers of a few lines that ask the domain, and
// GraphQL over HTTP.
package graph

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"retrieverkeys/apikey"
)

//go:generate go tool gqlgen generate

// Introspection says who may ask for the schema.
type Introspection string

// Who may ask for the schema.
const (
	IntrospectionPublic        Introspection = "public"
	IntrospectionAuthenticated Introspection = "authenticated"
	IntrospectionOff           Introspection = "off"
)

// Options are what the handler is made of.
type Options struct {
	Service       *apikey.Service
	Version       string
	Introspection Introspection
	// Manifest has the operations that clients may name by an id; with ManifestOnly nothing else is run.
	Manifest     Manifest
	ManifestOnly bool
	// Playground is the page that browsers are sent to; empty where there is none.
	Playground string
	Logger     *slog.Logger
}

// NewHandler returns the handler of GraphQL over HTTP. It expects the caller and the namespace in the request's
// context, as apikey.WithCaller and apikey.WithNamespace put them there.
func NewHandler(o Options) http.Handler {
	exec := executor.New(NewExecutableSchema(Config{Resolvers: &Resolver{Service: o.Service, Version: o.Version}}))
	exec.SetErrorPresenter(presenter(o.Logger))
	exec.SetRecoverFunc(recoverer(o.Logger))
	exec.SetQueryCache(newCache(func(text string, _ *ast.QueryDocument) int { return len(text) }))
	exec.Use(introspectionGate{o.Introspection})
	exec.Use(loaders{o.Service})
	if o.Introspection != IntrospectionPublic {
		exec.SetDisableSuggestion(true)
		exec.SetDefaultRulesFn(rulesWithoutSuggestions)
	}
	return handler{exec: exec, documents: newDocuments(o.Manifest, o.ManifestOnly), playground: o.Playground, logger: o.Logger}
}

// introspectionGate lets the schema be asked for by those who may.
type introspectionGate struct{ who Introspection }

func (introspectionGate) ExtensionName() string                   { return "Introspection" }
func (introspectionGate) Validate(graphql.ExecutableSchema) error { return nil }

func (i introspectionGate) MutateOperationContext(ctx context.Context, op *graphql.OperationContext) *gqlerror.Error {
	allowed := i.who == IntrospectionPublic || i.who == IntrospectionAuthenticated && !apikey.CallerFrom(ctx).Anonymous()
	op.DisableIntrospection = !allowed
	return nil
}

// rulesWithoutSuggestions are the validation rules that do not tell names by "did you mean". (The executor itself
// swaps those about fields.)
func rulesWithoutSuggestions() *rules.Rules {
	r := rules.NewDefaultRules()
	r.ReplaceRule(rules.KnownArgumentNamesRule.Name, rules.KnownArgumentNamesRuleWithoutSuggestions.RuleFunc)
	r.ReplaceRule(rules.KnownTypeNamesRule.Name, rules.KnownTypeNamesRuleWithoutSuggestions.RuleFunc)
	r.ReplaceRule(rules.ValuesOfCorrectTypeRule.Name, rules.ValuesOfCorrectTypeRuleWithoutSuggestions.RuleFunc)
	return r
}
