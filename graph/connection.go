package graph

import (
	"github.com/99designs/gqlgen/graphql"

	"retrieverkeys/apikey"
)

// Node is the result of Query.node: a key, a retriever, a namespace or an organization.
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

// NamespaceConnection is a page of namespaces. It makes edges only if they are selected.
type NamespaceConnection struct{ connection[apikey.Namespace] }

// NamespaceEdge is a namespace and its cursor.
type NamespaceEdge struct {
	Cursor string
	Node   *apikey.Namespace
}

// Edges returns the page's namespaces, each with its cursor.
func (c NamespaceConnection) Edges() []NamespaceEdge {
	edges := make([]NamespaceEdge, len(c.Items))
	for i := range c.Items {
		edges[i] = NamespaceEdge{Cursor: c.Cursor(i), Node: &c.Items[i]}
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

// Organization is the caller's organization. Its other fields are read when they are selected.
type Organization struct{ InternalID apikey.InternalID }

// The functions below convert the domain's results to the schema's types, so that resolvers are one call.

func keyPage(c *apikey.Connection[apikey.Key], err error) (*ApiKeyConnection, error) {
	if err != nil {
		return nil, err
	}
	return &ApiKeyConnection{connection[apikey.Key]{c}}, nil
}

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

func namespaces(c *apikey.Connection[apikey.Namespace], err error) (*NamespaceConnection, error) {
	if err != nil {
		return nil, err
	}
	return &NamespaceConnection{connection[apikey.Namespace]{c}}, nil
}

func retrievers(c *apikey.Connection[apikey.Retriever], err error) (*RetrieverConnection, error) {
	if err != nil {
		return nil, err
	}
	return retrieverConnection(c), nil
}

func retrieverConnection(c *apikey.Connection[apikey.Retriever]) *RetrieverConnection {
	return &RetrieverConnection{connection[apikey.Retriever]{c}}
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

func organization(k *apikey.Key, err error) (*Organization, error) {
	if err != nil {
		return nil, err
	}
	return &Organization{k.InternalID}, nil
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
