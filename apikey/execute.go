package apikey

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// This file decides whether a key may execute a retriever. Gateways ask it for every request of their clients, and people for one key.

// Refusal is why a key may not execute a retriever. It is empty if the key may.
type Refusal string

// The refusals, in the order in which they are checked.
const (
	RefusedRevoked    Refusal = "revoked"
	RefusedExpired    Refusal = "expired"
	RefusedOrigin     Refusal = "origin"
	RefusedPermission Refusal = "permission"
	RefusedRetriever  Refusal = "retriever" // no scope covers the retriever, or the key's organization does not have it
	RefusedOperation  Refusal = "operation" // the scopes that cover it do not allow executing
)

// refusedBecause is what each refusal says to the client of a gateway.
var refusedBecause = map[Refusal]string{
	RefusedRevoked:    "The API key of this request is no longer active.",
	RefusedExpired:    "The API key of this request is no longer active.",
	RefusedOrigin:     "This key may not be used from this origin.",
	RefusedPermission: "This key may not read.",
	RefusedRetriever:  "This key may not be used for this retriever.",
	RefusedOperation:  "This key may not execute this retriever.",
}

// Execution is an attempt to execute a retriever.
type Execution struct {
	Retriever RetrieverID // empty if the request names none; no key covers it
	Origin    string      // the request's Origin header; empty if it does not come from a page
	At        time.Time
}

// RefusesExecution returns the first reason why the key may not make the attempt, or an empty Refusal if it may. A key of any type may
// execute: its origins, permissions and scopes say what.
//
// of is the retriever as the key's organization has it, or nil if it does not have it or was not asked. Without it, only a scope with the
// retriever's exact id covers the retriever.
func (k *Key) RefusesExecution(e Execution, of *Retriever) Refusal {
	switch k.StatusAt(e.At) {
	case Revoked:
		return RefusedRevoked
	case Expired:
		return RefusedExpired
	case Active:
	}
	if k.AllowedOrigins != nil && e.Origin != "" && !originAllowed(k.AllowedOrigins, e.Origin) {
		return RefusedOrigin
	}
	if !slices.ContainsFunc(k.Permissions, func(p Permission) bool { return p.strength() >= Read.strength() }) {
		return RefusedPermission
	}
	if len(k.Scopes) == 0 && of != nil {
		return ""
	}
	refusal := RefusedRetriever
	for i := range k.Scopes {
		s := &k.Scopes[i]
		if !s.namesExactly(e.Retriever) && (of == nil || !s.names(ResourceRetriever, string(of.ID)) && !k.reachesNamespace(s, of.NamespaceID)) {
			continue
		}
		if s.allows(ExecuteRetriever) {
			return ""
		}
		refusal = RefusedOperation
	}
	return refusal
}

// namesExactly reports whether the scope is about the retriever with that id, and not because of a pattern.
func (s *Scope) namesExactly(id RetrieverID) bool {
	return id != "" && s.ResourceType == ResourceRetriever && s.ResourceID == string(id) && !strings.Contains(s.ResourceID, "*")
}

// MayExecute returns nil if the caller's key may execute the retriever with that id, and records that the key was used. Otherwise it
// returns Forbidden with the reason, Unauthenticated if the key is not active anymore, or Unavailable if the store cannot be read. It counts
// what it allows and what it forbids.
func (s *Service) MayExecute(ctx context.Context, c Caller, id RetrieverID, origin string) error {
	now := s.now()
	refusal, err := s.refusesExecution(ctx, c.Key, Execution{Retriever: id, Origin: origin, At: now})
	switch {
	case err != nil:
		return err
	case refusal == "":
		s.used(c)
		s.answered(c, now, Answers{Allowed: 1})
		return nil
	case refusal == RefusedRevoked || refusal == RefusedExpired:
		return unauthenticated(refusedBecause[refusal])
	default:
		s.answered(c, now, Answers{Refused: 1})
		return &Error{Code: Forbidden, Message: refusedBecause[refusal], Reason: refusal}
	}
}

// refusesExecution is Key.RefusesExecution with the retriever as the key's organization has it. It reads nothing if a scope names the
// retriever exactly and allows executing, or if no scope can cover it. Otherwise it makes one read.
func (s *Service) refusesExecution(ctx context.Context, k *Key, e Execution) (Refusal, error) {
	refusal := k.RefusesExecution(e, nil)
	if refusal != RefusedRetriever && refusal != RefusedOperation || !k.mayReach(e.Retriever) {
		return refusal, nil
	}
	found, err := s.Store.Retrievers(ctx, k.InternalID, []RetrieverID{e.Retriever})
	if err != nil {
		return "", err
	}
	return k.refusesExecutionOf(e, found), nil
}

// refusesExecutionOf is RefusesExecution with the retrievers that have the id. Ids are unique. If an import or another program stored one
// twice, each of them must be allowed.
func (k *Key) refusesExecutionOf(e Execution, found []Retriever) Refusal {
	refusal := RefusedRetriever
	for i := range found {
		if found[i].ID != e.Retriever {
			continue
		}
		if refusal = k.RefusesExecution(e, &found[i]); refusal != "" {
			break
		}
	}
	return refusal
}

// CheckFields are the fields of keys that Service.Check needs.
const CheckFields = StatusFields | FieldAllowedOrigins | FieldPermissions | FieldScopes | FieldInternalID | FieldOrganizationID

// Check returns for each of the keys, in the same order, why it may not execute the retriever now, or an empty Refusal if it may: what
// MayExecute would decide, but it records nothing. The keys must be of the caller's organization, with their CheckFields. A retriever that the
// caller does not see is refused as one that does not exist. Check reads the retriever once for all keys.
func (s *Service) Check(ctx context.Context, c Caller, keys []*Key, id RetrieverID, origin string) ([]Refusal, error) {
	if err := s.authorize(c, Read); err != nil {
		return nil, err
	}
	found, err := s.retrieverSeen(ctx, c, id)
	if err != nil {
		return nil, err
	}
	e := Execution{Retriever: id, Origin: origin, At: s.now()}
	refusals := make([]Refusal, len(keys))
	for i, k := range keys {
		refusal := k.RefusesExecution(e, nil)
		if refusal == "" || refusal == RefusedRetriever || refusal == RefusedOperation {
			refusal = k.refusesExecutionOf(e, found)
		}
		refusals[i] = refusal
	}
	return refusals, nil
}

// retrieverSeen returns the retrievers with the id if the caller sees one of them, and none otherwise.
func (s *Service) retrieverSeen(ctx context.Context, c Caller, id RetrieverID) ([]Retriever, error) {
	if id == "" {
		return nil, nil
	}
	found, err := s.Store.Retrievers(ctx, c.tenant(), []RetrieverID{id})
	if err != nil {
		return nil, err
	}
	seen, err := s.seen(ctx, c, found, nil)
	if err != nil || seen[id] == nil {
		return nil, err
	}
	return found, nil
}

// mayReach reports whether the key can cover the retriever if the organization has it, in whatever namespace. An id that is not UTF-8
// cannot exist, and not every store accepts it in a query.
func (k *Key) mayReach(id RetrieverID) bool {
	if id == "" || !utf8.ValidString(string(id)) {
		return false
	}
	return len(k.Scopes) == 0 || slices.ContainsFunc(k.Scopes, func(s Scope) bool {
		return s.ResourceType == ResourceNamespace || k.reachesNamespace(&s, "") || s.names(ResourceRetriever, string(id)) && !s.namesExactly(id)
	})
}
