package apikey

import "context"

// Caller is who makes a request: the holder of Key, or an anonymous caller if Key is nil.
type Caller struct {
	Key *Key
	// Operator is the name of a person with access to the store itself. Key is then not a stored key.
	Operator bool
	// System is set if this server acts by itself. Key is then not a stored key either.
	System bool

	// Where the request came from, for audit events. Empty for requests that did not come over the network.
	Address   string
	UserAgent string
}

// NewOperator returns the caller for a person who works on the organization from a terminal, under the name that the system has for them.
func NewOperator(name string, ns Namespace) Caller {
	return Caller{Operator: true, Key: &Key{
		Type: Standard, UserID: name, InternalID: ns.InternalID, OrganizationID: ns.OrganizationID,
		Permissions: []Permission{Admin}, Stored: Active,
	}}
}

// Anonymous reports whether the caller sent no credentials.
func (c Caller) Anonymous() bool { return c.Key == nil }

// tenant is the organization to which all reads of the caller are confined.
func (c Caller) tenant() InternalID { return c.Key.InternalID }

type contextKey int

const (
	callerKey contextKey = iota
	namespaceKey
)

// WithCaller returns a context with the caller of a request.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey, c)
}

// CallerFrom returns the caller of the request, or an anonymous one.
func CallerFrom(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey).(Caller)
	return c
}

// WithNamespace returns a context with the id or name of the request's namespace.
func WithNamespace(ctx context.Context, idOrName string) context.Context {
	return context.WithValue(ctx, namespaceKey, idOrName)
}

// NamespaceFrom returns the id or name of the request's namespace, or an empty string.
func NamespaceFrom(ctx context.Context) string {
	ns, _ := ctx.Value(namespaceKey).(string)
	return ns
}
