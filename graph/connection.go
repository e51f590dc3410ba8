package graph

import (
	"github.com/99designs/gqlgen/graphql"

	"retrieverkeys/apikey"
)

// Node is the result of Query.node: a key, a retriever or a namespace.
type Node any

// ApiKeyConnection is a page of keys. It makes edges only if they are selected.
type ApiKeyConnection struct{ connection[apikey.Key] }

// ApiKeyEdge is a key and its cursor.
type ApiKeyEdge struct {
	Cursor string
	Node   *apikey.Key
}

// Edges returns the page's keys, each with its cursor.
func (c ApiKeyConnection) Edges() []ApiKeyEdge {
	edges := make([]ApiKeyEdge, len(c.Items))
	for i := range c.Items {
		edges[i] = ApiKeyEdge{Cursor: c.Cursor(i), Node: &c.Items[i]}
	}
	return edges
}

// RetrieverConnection is a page of retrievers. It makes edges only if they are selected.
type RetrieverConnection struct{ connection[apikey.Retriever] }

// RetrieverEdge is a retriever and its cursor.
type RetrieverEdge struct {
	Cursor string
	Node   *apikey.Retriever
}

// Edges returns the page's retrievers, each with its cursor.
func (c RetrieverConnection) Edges() []RetrieverEdge {
	edges := make([]RetrieverEdge, len(c.Items))
	for i := range c.Items {
		edges[i] = RetrieverEdge{Cursor: c.Cursor(i), Node: &c.Items[i]}
	}
	return edges
}

// AuditEventConnection is a page of audit events. It makes edges only if they are selected.
type AuditEventConnection struct{ connection[apikey.Event] }

// AuditEventEdge is an audit event and its cursor.
type AuditEventEdge struct {
	Cursor string
	Node   *apikey.Event
}

// Edges returns the page's events, each with its cursor.
func (c AuditEventConnection) Edges() []AuditEventEdge {
	edges := make([]AuditEventEdge, len(c.Items))
	for i := range c.Items {
		edges[i] = AuditEventEdge{Cursor: c.Cursor(i), Node: &c.Items[i]}
	}
	return edges
}

// connection is the common part of all connections.
type connection[T any] struct{ *apikey.Connection[T] }

// Results returns the page's items.
func (c connection[T]) Results() []T { return c.Items }

// PageInfo returns the position of the page in the list.
func (c connection[T]) PageInfo() PageInfo {
	info := PageInfo{HasNextPage: c.HasNextPage, HasPreviousPage: c.HasPreviousPage}
	if n := len(c.Items); n > 0 {
		start, end := c.Cursor(0), c.Cursor(n-1)
		info.StartCursor, info.EndCursor = &start, &end
	}
	return info
}

// Viewer is the caller's own key.
type Viewer struct{ *apikey.Key }

// The functions below convert the domain's results to the schema's types, so that resolvers are one call.

func keys(listings []apikey.Listing, err error) ([]*ApiKeyConnection, error) {
	if err != nil {
		return nil, err
	}
	out := make([]*ApiKeyConnection, len(listings))
	var errs graphql.BatchErrorList
	for i, l := range listings {
		if l.Err == nil {
			out[i] = &ApiKeyConnection{connection[apikey.Key]{l.Keys}}
			continue
		}
		if errs == nil {
			errs = make(graphql.BatchErrorList, len(listings))
		}
		errs[i] = l.Err
	}
	if errs != nil {
		return out, errs
	}
	return out, nil
}

func retrievers(c *apikey.Connection[apikey.Retriever], err error) (*RetrieverConnection, error) {
	if err != nil {
		return nil, err
	}
	return &RetrieverConnection{connection[apikey.Retriever]{c}}, nil
}

func auditEvents(c *apikey.Connection[apikey.Event], err error) (*AuditEventConnection, error) {
	if err != nil {
		return nil, err
	}
	return &AuditEventConnection{connection[apikey.Event]{c}}, nil
}

func viewer(k *apikey.Key, err error) (*Viewer, error) {
	if err != nil {
		return nil, err
	}
	return &Viewer{k}, nil
}

func node(n apikey.Node, err error) (Node, error) {
	if err != nil {
		return nil, err
	}
	return nodeOf(n), nil
}

func nodeOf(n apikey.Node) Node {
	switch {
	case n.Key != nil:
		return n.Key
	case n.Retriever != nil:
		return n.Retriever
	case n.Namespace != nil:
		return n.Namespace
	default:
		return nil
	}
}

// orZero is the value of an optional argument, or the zero value, which means the same as no argument.
func orZero[T any](argument *T) T {
	if argument == nil {
		var zero T
		return zero
	}
	return *argument
}
