package graph

import (
	"context"
	"crypto/sha256"
	"encoding/json"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"retrieverkeys/apikey"
	"retrieverkeys/graph/operation"
	"retrieverkeys/graph/scalar"
)

// plan collects what a query names, and limits its cost.
func (l *loader) plan(ctx context.Context, op *graphql.OperationContext) context.Context {
	if op.Operation.Operation != ast.Query {
		l.below = l.newCost()
		return ctx
	}
	l.cost = l.newCost()
	ctx = apikey.WithCost(ctx, l.cost)
	if !l.caller.Known() {
		return ctx // each field refuses the caller, so nothing is read
	}
	l.names.Namespace, l.listings, l.arguments = l.namespace, map[string]int{}, map[*ast.Field]*arguments{}
	p := planner{loader: l, ctx: ctx, op: op}
	for _, f := range p.fields(op.Operation.SelectionSet, "Query") {
		switch f.Name {
		case "retriever":
			p.retriever(apikey.RetrieverRef{Namespace: l.namespace, Retriever: p.id(f)}, f.Selections)
		case "retrievers":
			l.names.Namespaces = append(l.names.Namespaces, l.namespace)
		case "apiKey":
			l.names.Keys = append(l.names.Keys, apikey.ID(p.id(f)))
			l.names.KeyFields |= fieldsOf(op, f.Selections)
		case "node":
			p.node(p.id(f), f.Selections)
		case "nodes":
			args, err := (&executionContext{}).field_Query_nodes_args(ctx, f.ArgumentMap(op.Variables))
			if ids, _ := args["ids"].([]string); err == nil {
				p.nodes(ids, f.Selections)
			}
		case "apiKeysByHash":
			args, err := (&executionContext{}).field_Query_apiKeysByHash_args(ctx, f.ArgumentMap(op.Variables))
			if hashes, _ := args["hashes"].([]string); err == nil {
				l.names.HashLists = append(l.names.HashLists, hashes)
				l.names.KeyFields |= fieldsOf(op, f.Selections)
			}
		case "namespace":
			ref := l.namespace
			if operation.Argument(f.Field, "id", op.Variables) != nil {
				ref = p.id(f)
			}
			p.namespace(ref, f.Selections)
		case "viewer":
			for _, f := range p.fields(f.Selections, "Viewer") {
				if f.Name == "namespace" {
					p.namespace(l.namespace, f.Selections)
				}
			}
		case "_entities":
			args, err := (&executionContext{}).field_Query__entities_args(ctx, f.ArgumentMap(op.Variables))
			representations, _ := args["representations"].([]representation)
			if err == nil {
				p.entities(distinct(representations), f.Selections)
			}
		}
	}
	return ctx
}

// planner collects what one operation names.
type planner struct {
	*loader
	ctx context.Context //nolint:containedctx // it lives no longer than the call of plan
	op  *graphql.OperationContext
}

func (p planner) fields(selections ast.SelectionSet, satisfies ...string) []graphql.CollectedField {
	return graphql.CollectFields(p.op, selections, satisfies)
}

// id returns the field's argument, or an empty string.
func (p planner) id(f graphql.CollectedField) string {
	id, _ := scalar.UnmarshalID(operation.Argument(f.Field, "id", p.op.Variables))
	return id
}

func (p planner) namespace(ref string, selections ast.SelectionSet) {
	p.names.Namespaces = append(p.names.Namespaces, ref)
	p.retrieversOf(ref, selections)
}

func (p planner) retrieversOf(namespace string, selections ast.SelectionSet) {
	for _, f := range p.fields(selections, "Namespace", "Node", "_Entity") {
		if f.Name == "retriever" {
			p.retriever(apikey.RetrieverRef{Namespace: namespace, Retriever: p.id(f)}, f.Selections)
		}
	}
}

func (p planner) retriever(ref apikey.RetrieverRef, selections ast.SelectionSet) {
	p.names.Retrievers = append(p.names.Retrievers, ref)
	p.keysOf([]apikey.RetrieverRef{ref}, selections)
}

// keysOf collects listings of retrievers' keys. Fields with equal arguments share one listing with all that they select.
func (p planner) keysOf(refs []apikey.RetrieverRef, selections ast.SelectionSet) {
	for _, f := range p.fields(selections, "Retriever", "Node", "_Entity") {
		if f.Name != "apiKeys" {
			continue
		}
		s := p.shapes.of(p.ctx, p.op, f)
		a := p.argumentsOf(p.ctx, p.op, f, s)
		if a.err != nil {
			continue // the field itself reports it
		}
		p.arguments[f.Field] = a
		i, known := p.listings[a.key]
		if !known {
			i = len(p.names.Listings)
			p.listings[a.key] = i
			p.names.Listings = append(p.names.Listings, apikey.ListingOf{Options: a.options})
		}
		of := &p.names.Listings[i]
		of.Options.Wants = union(of.Options.Wants, s.wants)
		of.Options.Fields |= s.fields
		of.Retrievers = append(of.Retrievers, refs...)
	}
}

func (p planner) node(id string, selections ast.SelectionSet) {
	p.names.Nodes = append(p.names.Nodes, id)
	p.names.KeyFields |= fieldsOf(p.op, selections)
	p.keysOf([]apikey.RetrieverRef{{Namespace: p.loader.namespace, Anywhere: p.loader.namespace == "", Retriever: id, ByID: true}}, selections)
	p.retrieversOf(id, selections)
}

func (p planner) nodes(ids []string, selections ast.SelectionSet) {
	if len(ids) > apikey.MaxNodes {
		return // the field itself reports it
	}
	p.names.NodeLists = append(p.names.NodeLists, ids)
	p.names.Namespaces = append(p.names.Namespaces, p.loader.namespace) // most likely that of the retrievers
	p.names.KeyFields |= fieldsOf(p.op, selections)
	refs := make([]apikey.RetrieverRef, len(ids))
	for i, id := range ids {
		refs[i] = apikey.RetrieverRef{Anywhere: true, Retriever: id}
	}
	p.keysOf(refs, selections)
}

func (p planner) entities(representations []representation, selections ast.SelectionSet) {
	var retrievers []apikey.RetrieverRef
	for _, r := range representations {
		switch r.TypeName {
		case "ApiKey":
			p.names.KeysAnywhere = append(p.names.KeysAnywhere, apikey.ID(r.ID))
		case "Namespace":
			p.namespace(r.ID, selections)
		case "Retriever":
			retrievers = append(retrievers, apikey.RetrieverRef{Anywhere: true, Retriever: r.ID})
		}
	}
	p.names.Namespaces = append(p.names.Namespaces, p.loader.namespace) // most likely that of the retrievers
	p.names.KeyFields |= fieldsOf(p.op, selections)
	p.names.Retrievers = append(p.names.Retrievers, retrievers...)
	if len(retrievers) > 0 {
		p.keysOf(retrievers, selections)
	}
}

// union returns what either of them selects.
func union(a, b apikey.Wants) apikey.Wants {
	return apikey.Wants{
		Items: a.Items || b.Items, Total: a.Total || b.Total, HasNext: a.HasNext || b.HasNext, HasPrevious: a.HasPrevious || b.HasPrevious,
	}
}

// arguments are the arguments of a field Retriever.apiKeys. Those of other types are read in the same way.
type arguments struct {
	key     string // argumentsKey
	options apikey.ListOptions
	err     error
}

// argumentsOf returns the arguments of a field with that shape.
func (l *loader) argumentsOf(ctx context.Context, op *graphql.OperationContext, f graphql.CollectedField, s *shape) *arguments {
	if s.arguments != nil {
		return s.arguments
	}
	if known := l.arguments[f.Field]; known != nil {
		return known
	}
	return readArguments(ctx, op, f)
}

func readArguments(ctx context.Context, op *graphql.OperationContext, f graphql.CollectedField) *arguments {
	raw := f.ArgumentMap(op.Variables)
	args, err := (&executionContext{}).field_Retriever_apiKeys_args(ctx, raw)
	return &arguments{argumentsKey(raw), plannedOptions(args), err}
}

// plannedOptions makes list options from the field's arguments, which the generated code has read.
func plannedOptions(args map[string]any) apikey.ListOptions {
	includeRevoked, _ := args["includeRevoked"].(*bool)
	first, _ := args["first"].(*int)
	after, _ := args["after"].(*string)
	last, _ := args["last"].(*int)
	before, _ := args["before"].(*string)
	filter, _ := args["filter"].(*apikey.Filter)
	order, _ := args["orderBy"].(*apikey.Order)
	return listOptions(includeRevoked, first, after, last, before, filter, order)
}

func listOptions(includeRevoked *bool, first *int, after *string, last *int, before *string, filter *apikey.Filter, order *apikey.Order) apikey.ListOptions {
	return apikey.ListOptions{
		IncludeRevoked: orZero(includeRevoked), Filter: orZero(filter), Order: orZero(order),
		Page: apikey.Page{First: first, After: after, Last: last, Before: before},
	}
}

func eventOptions(first *int, after *string, last *int, before *string, filter *apikey.EventFilter) apikey.EventOptions {
	return apikey.EventOptions{Page: apikey.Page{First: first, After: after, Last: last, Before: before}, Filter: orZero(filter)}
}

// argumentsKey is equal for equal arguments. Long arguments become a digest, because the key lives as long as the request.
func argumentsKey(raw map[string]any) string {
	b, _ := json.Marshal(raw) // values from JSON or from the operation's text always encode
	if len(b) > sha256.Size {
		sum := sha256.Sum256(b)
		return string(sum[:])
	}
	return string(b)
}
