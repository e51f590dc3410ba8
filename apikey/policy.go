package apikey

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Known reports whether the caller counts as somebody wherever being known protects something: what is kept for callers,
// written for them or told to them. Keys of retrievers stand in web pages, so whoever sends one counts as a caller without a
// key. So does the sender of a key whose type cannot be read, because it may be one.
func (c Caller) Known() bool {
	return c.Key != nil && c.Key.Type != RetrieverKey && c.Key.Type != UnreadableType
}

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

// authorize returns nil, and notes that the caller's key is used, if the caller holds at least the permission.
func (s *Service) authorize(c Caller, p Permission) error {
	err := c.authorize(p)
	if err == nil {
		s.used(c)
	}
	return err
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

// Admit refuses a caller to whom nothing here is answered, whatever they want to do to whichever key. That somebody known
// here tried is kept as an event of their own key.
func (s *Service) Admit(ctx context.Context, c Caller, action Action) error {
	refused := c.authorize(Read)
	if refused == nil || !c.Known() {
		return refused
	}
	own := c.event(action, ResourceAPIKey, string(c.Key.ID), s.instant(), "", c.Key.Retrievers())
	return s.deny(ctx, c, refused, own, c.wish(action, "", ""))
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

// allows reports whether the scope's operations include op. A scope that lists its operations allows none that is not known,
// even if it lists the same text: nobody here can tell how much that is.
func (s *Scope) allows(op Operation) bool {
	if len(s.Operations) == 0 {
		return true
	}
	return op.Known() && slices.Contains(s.Operations, op)
}

// names reports whether the scope is about the resource of that type with that id.
func (s *Scope) names(t ResourceType, id string) bool {
	return s.ResourceType == t && matches(s.ResourceID, id)
}

// matches reports whether id fits the pattern, in which * stands for any run of characters, the empty one
// included. Nothing matches an empty id. It never tries a literal part a second time, so that no pattern is slow.
func matches(pattern, id string) bool {
	if id == "" {
		return false
	}
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == id
	}
	if !strings.HasPrefix(id, first) {
		return false
	}
	id = id[len(first):]
	for {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(id, rest)
		}
		i := strings.Index(id, part)
		if i < 0 {
			return false
		}
		id, rest = id[i+len(part):], after
	}
}

// mayChange returns nil if the caller may do that to a key that they see. Nobody can update or rotate, and so come to hold,
// what is stronger than they are; and all that the key reaches must be theirs to manage.
func (c Caller) mayChange(k *Key, action Action, retrievers []Retriever) error {
	need := Write
	if action == KeyRevoked {
		need = Delete
	} else {
		for _, p := range k.Permissions {
			if p.strength() > need.strength() {
				need = p
			}
		}
	}
	if err := c.authorizeChange(need); err != nil {
		return err
	}
	for i := range k.Scopes {
		s := &k.Scopes[i]
		ops := []Operation{ManagePermissions}
		if action != KeyRevoked && k.Type != RetrieverKey { // which executes its retriever, whatever its scopes say
			ops = append(ops, s.needs()...)
		}
		if slices.ContainsFunc(ops, func(op Operation) bool { return !c.reaches(s, op, retrievers) }) {
			return forbidden("This key reaches more than yours may manage.")
		}
	}
	return nil
}

// needs are the operations that a scope allows, and another must allow to be as wide.
func (s *Scope) needs() []Operation {
	if len(s.Operations) == 0 {
		return []Operation{anyOperation}
	}
	return s.Operations
}

// reaches reports whether the caller's scopes allow the operation on all that the scope reaches.
func (c Caller) reaches(s *Scope, op Operation, retrievers []Retriever) bool {
	var ns Namespace // no namespace: only a caller who is not limited to some covers it
	exact := !strings.Contains(s.ResourceID, "*")
	switch {
	case exact && s.ResourceType == ResourceNamespace:
		ns.ID = NamespaceID(s.ResourceID)
	case exact && s.ResourceType == ResourceRetriever:
		id := RetrieverID(s.ResourceID)
		if i := slices.IndexFunc(retrievers, func(r Retriever) bool { return r.ID == id }); i >= 0 {
			ns.ID = retrievers[i].NamespaceID
		}
		return c.covers(op, &ns, id)
	}
	return c.coversNamespace(op, &ns)
}

// limits are the fields that limit what a key can be used for.
const limits = FieldExpiresAt | FieldAllowedOrigins | FieldRateLimitOverride

// mayGive returns Forbidden if the caller may not give a key the limits that it has in these fields. It compares them with the
// caller's own key as ownKey returned it, because somebody may have limited that key since the request was let in.
func (s *Service) mayGive(c Caller, own, k *Key, given Fields) error {
	if given&limits == 0 || k.Type == RetrieverKey || c.authorize(Admin) == nil {
		return nil
	}
	switch beyond := s.wider(own, k) & given; {
	case beyond&FieldExpiresAt != 0:
		return forbidden("Without the permission admin, your key can give no key a later end than it has itself.")
	case beyond&FieldAllowedOrigins != 0:
		return forbidden("Without the permission admin, your key can give no key origins that it may not be used from itself.")
	case beyond&FieldRateLimitOverride != 0:
		return forbidden("Without the permission admin, your key can give no key a higher rate limit than it has itself.")
	}
	return nil
}

// wider returns those limits of k that allow more than the same limits of another key.
func (s *Service) wider(than, k *Key) Fields {
	var fields Fields
	if later(k.ExpiresAt, than.ExpiresAt) {
		fields |= FieldExpiresAt
	}
	if !originsWithin(k.AllowedOrigins, than.AllowedOrigins) {
		fields |= FieldAllowedOrigins
	}
	if higher(k.RateLimit(s.RateLimit), than.RateLimit(s.RateLimit)) {
		fields |= FieldRateLimitOverride
	}
	return fields
}

// later reports whether a key with the one end lives longer than a key with the other. Nil means never-ending.
func later(end, than *time.Time) bool {
	return than != nil && (end == nil || end.After(*than))
}

// higher reports whether one result of Key.RateLimit allows more than another. Zero means unlimited.
func higher(limit, than int) bool {
	return than != 0 && (limit == 0 || limit > than)
}

// ownKey returns the caller's key as it is now, which must still be active: a request may have been let in long ago, and its body
// kept back until the key was revoked or limited. An operator's key is stored nowhere.
func (s *Service) ownKey(ctx context.Context, c Caller) (*Key, error) {
	if c.Operator {
		return c.Key, nil
	}
	keys, err := s.Store.KeysByHash(ctx, c.Key.Hash)
	if err != nil {
		return nil, err
	}
	if len(keys) != 1 || keys[0].StatusAt(s.now()) != Active {
		return nil, unauthenticated("The API key of this request is not active any more.")
	}
	return &keys[0], nil
}

// permit returns the caller's own key as it is now, where nothing refused the caller.
func (s *Service) permit(ctx context.Context, c Caller, refused error, attempt Event, as wish) (own *Key, err error) {
	if refused != nil {
		return nil, s.deny(ctx, c, refused, attempt, as)
	}
	if own, err = s.ownKey(ctx, c); err != nil {
		return nil, err
	}
	s.used(c)
	return own, nil
}
