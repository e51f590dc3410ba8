package apikey

import (
	"context"
	"slices"
	"strings"
	"time"
)

// This file decides who may do what. From the simplest question to the hardest:
//
//   - Does the caller count as known? Known.
//   - Does its key have the permission, and the right type? authorize, authorizeChange, Admit.
//   - Does the key work from this origin? CheckOrigin.
//   - Do its scopes cover the resource? covers, coversNamespace, coversOrganization, Scope.allows, Scope.names.
//   - May it see this retriever, the whole organization, this key? sees, seesOrganization, seesKey.
//   - May it create keys for this retriever? mayCreate.
//   - May a key execute a retriever? RefusesExecution, in execute.go.
//   - May it change this key? mayChange, reaches.
//   - May it give a key these limits, or rotate the key? mayGive, mayRotate. Without admin, a caller gives no key a later expiry, wider origins or a higher limit than its
//     own key has. Otherwise it could rotate a stronger key and hold the new one, or lift its own limits through its successor. Retriever
//     keys are exempt: they change nothing, and a caller who may manage a retriever decides what its keys may do.
//   - Is its own key still active? ownKey, permit.

// Known reports whether the caller counts as known where that protects something, such as caches, labels and audit events. Retriever keys
// appear in web pages, so their callers count as unknown. So do callers whose key has an unreadable type, because it may be a retriever
// key.
func (c Caller) Known() bool {
	return c.Key != nil && c.Key.Type != RetrieverKey && c.Key.Type != UnreadableType
}

// strength orders the permissions. Each includes all weaker ones.
func (p Permission) strength() int {
	switch p {
	case Admin:
		return 4
	case Delete:
		return 3
	case Write:
		return 2
	case Read:
		return 1
	default:
		return 0
	}
}

// authorize returns nil if the caller has at least the permission.
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

// authorize is Caller.authorize. If it succeeds, it also records that the caller's key was used.
func (s *Service) authorize(c Caller, p Permission) error {
	err := c.authorize(p)
	if err == nil {
		s.used(c)
	}
	return err
}

// authorizeChange is authorize for changes of keys. Keys of other types can only read, because the platform may limit them in ways that
// are not checked here.
func (c Caller) authorizeChange(p Permission) error {
	if err := c.authorize(p); err != nil {
		return err
	}
	if c.Key.Type != Standard && c.Key.Type != MarketplaceSubscription {
		return forbidden("A key of this type can only read.")
	}
	return nil
}

// Admit refuses callers who may not use this API at all. The attempt of a known caller becomes an event of its own key.
func (s *Service) Admit(ctx context.Context, c Caller, action Action) error {
	refused := c.authorize(Read)
	if refused == nil || !c.Known() {
		return refused
	}
	return s.denyOwn(ctx, c, refused, action)
}

// denyOwn is deny for an attempt that is about no key in particular. Its event is one of the caller's own key.
func (s *Service) denyOwn(ctx context.Context, c Caller, refused error, action Action) error {
	own := c.event(action, ResourceAPIKey, string(c.Key.ID), s.instant(), "", c.Key.Retrievers())
	return s.deny(ctx, c, refused, own, c.wish(action, "", ""))
}

// CheckOrigin returns Forbidden if the caller's key is limited to origins and the request's Origin header is not one of them. Requests
// without the header do not come from scripts in browsers and pass.
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

// coversNamespace reports whether the caller's scopes allow op on the namespace and everything in it.
func (c Caller) coversNamespace(op Operation, ns *Namespace) bool {
	if len(c.Key.Scopes) == 0 {
		return true
	}
	for i := range c.Key.Scopes {
		s := &c.Key.Scopes[i]
		if c.Key.reachesNamespace(s, ns.ID) && s.allows(op) {
			return true
		}
	}
	return false
}

// coversOrganization reports whether the caller's scopes allow op on the organization and everything in it.
func (c Caller) coversOrganization(op Operation) bool {
	return c.coversNamespace(op, &Namespace{}) // only a scope on the organization covers a namespace without an id
}

// sees reports whether the retriever is in the namespace and the caller may see it. Others count as absent, so that they hide nothing.
func (c Caller) sees(ns *Namespace, r *Retriever) bool {
	return r.NamespaceID == ns.ID && c.covers(ReadData, ns, r.ID)
}

// seesOrganization reports whether the caller may list all keys of the organization: those of every type, and those whose retrievers are
// gone.
func (c Caller) seesOrganization() bool {
	return c.authorize(Admin) == nil && c.coversOrganization(ReadData)
}

// seesKey reports whether the caller sees the key, given the retrievers of the organization that it sees. A key names retrievers by their
// exact ids.
func (c Caller) seesKey(k *Key, seen map[RetrieverID]*Retriever) bool {
	return c.seesOrganization() || slices.ContainsFunc(k.Retrievers(), func(id RetrieverID) bool { return seen[id] != nil })
}

// authorizeOrganization is authorize for what belongs to the whole organization, such as all of its keys and events.
func (s *Service) authorizeOrganization(c Caller) error {
	if err := s.authorize(c, Admin); err != nil {
		return err
	}
	if !c.coversOrganization(ReadData) {
		return forbidden("This needs a key whose scopes cover the organization.")
	}
	return nil
}

// reachesNamespace reports whether the key's scope is about the namespace or the key's organization.
func (k *Key) reachesNamespace(s *Scope, ns NamespaceID) bool {
	return s.names(ResourceNamespace, string(ns)) || s.names(ResourceOrganization, string(k.InternalID)) ||
		k.OrganizationID != nil && s.names(ResourceOrganization, *k.OrganizationID)
}

// nothingIn is the error if the caller can see nothing of what it asked for in a namespace. If the scopes do not cover the namespace, it
// is the error for a namespace that does not exist, so that callers cannot find out which ones do.
func (c Caller) nothingIn(ns *Namespace, what string) error {
	if !c.coversNamespace(ReadData, ns) {
		return notFound("namespace")
	}
	return notFound(what)
}

// allows reports whether the scope's operations include op. A scope that lists operations never allows an unknown one, even if it lists
// the same text, because its meaning is unknown.
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

// matches reports whether id matches the pattern, in which * matches any characters, including none. Nothing matches an empty id. It
// never backtracks over a literal part, so no pattern is slow.
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

// mayCreate returns nil if the caller may create keys for a retriever that it sees.
func (c Caller) mayCreate(r *Retriever) error {
	if err := c.authorizeChange(Write); err != nil {
		return err
	}
	if !c.covers(ManagePermissions, r.Namespace, r.ID) {
		return forbidden("Your key may not create keys for this retriever.")
	}
	return nil
}

// mayChange returns nil if the caller may do this to a key that it sees. A caller can only update or rotate, and so take over, a key that
// is not stronger than its own, and must be allowed to manage everything that the key reaches. The homes are those of the retrievers that
// the key names.
func (c Caller) mayChange(k *Key, action Action, homes homes) error {
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
		if action != KeyRevoked && k.Type != RetrieverKey { // it executes its retriever, whatever its scopes say
			ops = append(ops, s.needs()...)
		}
		if slices.ContainsFunc(ops, func(op Operation) bool { return !c.reaches(s, op, homes) }) {
			return forbidden("This key reaches more than your key may manage.")
		}
	}
	return nil
}

// needs are the operations that a scope allows. Another scope must allow them all to be as wide.
func (s *Scope) needs() []Operation {
	if len(s.Operations) == 0 {
		return []Operation{anyOperation}
	}
	return s.Operations
}

// reaches reports whether the caller's scopes allow the operation on everything that the scope covers.
func (c Caller) reaches(s *Scope, op Operation, homes homes) bool {
	var ns Namespace // no namespace: only a caller without such limits covers it
	exact := !strings.Contains(s.ResourceID, "*")
	switch {
	case exact && s.ResourceType == ResourceNamespace:
		ns.ID = NamespaceID(s.ResourceID)
	case exact && s.ResourceType == ResourceRetriever:
		id := RetrieverID(s.ResourceID)
		ns.ID = homes[id]
		return c.covers(op, &ns, id)
	}
	return c.coversNamespace(op, &ns)
}

// mayRotate returns nil if a caller who may change the key, with this key of its own, may rotate it to a successor with this expiry.
func (s *Service) mayRotate(c Caller, own, k *Key, end *time.Time) error {
	successor := *k // it inherits the other limits
	successor.ExpiresAt = end
	if err := s.mayGive(c, own, &successor, limits); err != nil {
		return err
	}
	return k.canBeRotated()
}

// limits are the fields that limit the use of a key.
const limits = FieldExpiresAt | FieldAllowedOrigins | FieldRateLimitOverride

// mayGive returns Forbidden if the caller may not give a key the limits that it has in these fields. own is the caller's key as ownKey
// returned it, because it may have been limited since the request was admitted.
func (s *Service) mayGive(c Caller, own, k *Key, given Fields) error {
	if given&limits == 0 || k.Type == RetrieverKey || c.authorize(Admin) == nil {
		return nil
	}
	switch beyond := s.wider(own, k) & given; {
	case beyond&FieldExpiresAt != 0:
		return forbidden("Without admin, your key cannot give a key a later expiry than its own.")
	case beyond&FieldAllowedOrigins != 0:
		return forbidden("Without admin, your key cannot give a key wider origins than its own.")
	case beyond&FieldRateLimitOverride != 0:
		return forbidden("Without admin, your key cannot give a key a higher rate limit than its own.")
	}
	return nil
}

// wider returns the limits of k that allow more than those of another key.
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

// later reports whether a key with one expiry lives longer than a key with the other. Nil means never.
func later(end, than *time.Time) bool {
	return than != nil && (end == nil || end.After(*than))
}

// higher reports whether one result of Key.RateLimit allows more than another. Zero means unlimited.
func higher(limit, than int) bool {
	return than != 0 && (limit == 0 || limit > than)
}

// ownKey returns the caller's key as it is now, which must still be active. A slow request may have been admitted long before the key was
// revoked or limited. An operator has no stored key.
func (s *Service) ownKey(ctx context.Context, c Caller) (*Key, error) {
	if c.Operator {
		return c.Key, nil
	}
	keys, err := s.Store.KeysByHash(ctx, c.Key.Hash)
	if err != nil {
		return nil, err
	}
	if len(keys) != 1 || keys[0].StatusAt(s.now()) != Active {
		return nil, unauthenticated("The API key of this request is no longer active.")
	}
	return &keys[0], nil
}

// permit returns the caller's own key as it is now, if nothing refused the caller.
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
