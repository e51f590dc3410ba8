package apikey

import "context"

// Caller is who asks: the holder of Key, or nobody in particular where Key is nil.
type Caller struct {
	Key *Key
	// Operator tells somebody with access to the store itself; Key is then one that is stored nowhere.
	Operator bool

	// From where the request came, for audit events; empty where it came from no network.
	Address   string
	UserAgent string
}

// NewOperator returns the caller who works on the organization from a terminal, by the name that the system knows
// them by.
func NewOperator(name string, ns Namespace) Caller {
	return Caller{Operator: true, Key: &Key{
		Type: Standard, UserID: name, InternalID: ns.InternalID, OrganizationID: ns.OrganizationID,
		Permissions: []Permission{Admin}, Stored: Active,
	}}
}

// Anonymous reports whether the caller sent no credentials.
func (c Caller) Anonymous() bool { return c.Key == nil }

// tenant is the organization that everything the caller reads is confined to.
func (c Caller) tenant() InternalID { return c.Key.InternalID }

type contextKey int

const (
	callerKey contextKey = iota
	namespaceKey
)

// WithCaller returns a context that carries the caller of a request to the resolvers.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey, c)
}

// CallerFrom returns the caller of the request; an anonymous one where none was put there.
func CallerFrom(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey).(Caller)
	return c
}

// WithNamespace returns a context that carries the namespace, id or name, that the request asks for.
func WithNamespace(ctx context.Context, idOrName string) context.Context {
	return context.WithValue(ctx, namespaceKey, idOrName)
}

// NamespaceFrom returns the namespace the request asks for; empty where it names none.
func NamespaceFrom(ctx context.Context) string {
	ns, _ := ctx.Value(namespaceKey).(string)
	return ns
}
