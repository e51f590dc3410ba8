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

// Known reports whether the caller counts as somebody wherever being known protects something: what is kept for callers,
// written for them or told to them. Keys of retrievers stand in web pages, so whoever sends one counts as a caller without a
// key. So does the sender of a key whose type cannot be read, because it may be one.
func (c Caller) Known() bool {
	return c.Key != nil && c.Key.Type != RetrieverKey && c.Key.Type != UnreadableType
}

// tenant is the organization that everything the caller reads is confined to.
func (c Caller) tenant() InternalID { return c.Key.InternalID }

// authorize returns nil if the caller holds at least the permission.
func (c Caller) authorize(p Permission) error {
	if c.Anonymous() {
		return unauthenticated("Authentication is required: send an API key as Authorization: Bearer.")
	}
	if !c.Known() {
		return forbidden("A key of this type can only execute its retriever.")
	}
	for _, held := range c.Key.Permissions {
		if held.strength() >= p.strength() {
			return nil
		}
	}
	return forbidden("This needs a key with the permission " + string(p) + ".")
}

// authorizeChange is authorize for changes of keys. Keys of other types than these two can only read: the platform may limit them
// in ways that nothing here checks.
func (c Caller) authorizeChange(p Permission) error {
	if err := c.authorize(p); err != nil {
		return err
	}
	if c.Key.Type != Standard && c.Key.Type != MarketplaceSubscription {
		return forbidden("A key of this type can read, and change nothing.")
	}
	return nil
}

// CheckOrigin returns Forbidden if the caller's key is limited to origins and the request's Origin header is not
// one of them. A request without the header does not come from a browser's script and passes.
func (c Caller) CheckOrigin(origin string) error {
	if c.Anonymous() || c.Key.AllowedOrigins == nil || origin == "" || originAllowed(c.Key.AllowedOrigins, origin) {
		return nil
	}
	return forbidden("This key may not be used from this origin.")
}

// covers reports whether the caller's scopes allow op on the retriever of that namespace.
func (c Caller) covers(op Operation, ns *Namespace, id RetrieverID) bool {
	if c.coversNamespace(op, ns) {
		return true
	}
	for i := range c.Key.Scopes {
		if s := &c.Key.Scopes[i]; s.names(ResourceRetriever, string(id)) && s.allows(op) {
			return true
		}
	}
	return false
}

// coversNamespace reports whether the caller's scopes allow op on the namespace and all that is in it.
func (c Caller) coversNamespace(op Operation, ns *Namespace) bool {
	if len(c.Key.Scopes) == 0 {
		return true
	}
	for i := range c.Key.Scopes {
		s := &c.Key.Scopes[i]
		named := s.names(ResourceNamespace, string(ns.ID)) ||
			s.names(ResourceOrganization, string(c.Key.InternalID)) ||
			c.Key.OrganizationID != nil && s.names(ResourceOrganization, *c.Key.OrganizationID)
		if named && s.allows(op) {
			return true
		}
	}
	return false
}

// nothingIn is the answer where nothing that the caller may see was found in a namespace: if it is not covered
// itself, that of a namespace that does not exist, so that nobody learns which do.
func (c Caller) nothingIn(ns *Namespace, what string) error {
	if !c.coversNamespace(ReadData, ns) {
		return notFound("namespace")
	}
	return notFound(what)
}

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
