package apikey

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// memory is a Store over slices: what the port asks for, in the fewest words. It notes every read, so that a test
// can tell which were made.
type memory struct {
	keys       []Key
	namespaces []Namespace
	retrievers []Retriever
	down       error  // what every read answers instead
	fails      string // the one read that fails, as reads tells it

	mu    sync.Mutex
	calls []string
}

func (m *memory) read(ctx context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, name)
	if m.down != nil {
		return m.down
	}
	if name == m.fails {
		return Outage(errors.New("connection reset"))
	}
	if err := ctx.Err(); err != nil {
		return Outage(err)
	}
	return nil
}

// reads returns the reads since the last time, pages with their limit, in alphabetical order, because some are made
// side by side.
func (m *memory) reads() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	slices.Sort(m.calls)
	all := strings.Join(m.calls, " ")
	m.calls = nil
	return all
}

func (m *memory) KeysByHash(ctx context.Context, hash string) ([]Key, error) {
	if err := m.read(ctx, "KeysByHash"); err != nil {
		return nil, err
	}
	found := selected(m.keys, func(k *Key) bool { return k.Hash == hash })
	return found[:min(len(found), 2)], nil
}

func (m *memory) Keys(ctx context.Context, tenant InternalID, ids []ID, fields Fields) ([]Key, error) {
	if err := m.read(ctx, "Keys"); err != nil {
		return nil, err
	}
	found := selected(m.keys, func(k *Key) bool { return k.InternalID == tenant && slices.Contains(ids, k.ID) })
	return projected(found, fields), nil
}

func (m *memory) KeyPages(ctx context.Context, tenant InternalID, ids []RetrieverID, r KeyRange) ([][]Key, error) {
	if err := m.read(ctx, fmt.Sprintf("KeyPages(%d)", r.Limit)); err != nil {
		return nil, err
	}
	pages := make([][]Key, len(ids))
	for i, id := range ids {
		keys := m.keysOf(tenant, id, r.ActiveAt)
		slices.SortFunc(keys, func(a, b Key) int {
			return newestFirst(KeyPosition{a.CreatedAt, a.ID}, KeyPosition{b.CreatedAt, b.ID})
		})
		keys = selected(keys, func(k *Key) bool {
			p := KeyPosition{k.CreatedAt, k.ID}
			return (r.After == nil || newestFirst(p, *r.After) > 0) && (r.Before == nil || newestFirst(p, *r.Before) < 0)
		})
		pages[i] = projected(limited(keys, r.FromEnd, r.Limit), r.Fields)
	}
	return pages, nil
}

func (m *memory) CountKeys(ctx context.Context, tenant InternalID, id RetrieverID, activeAt time.Time) (int, error) {
	if err := m.read(ctx, "CountKeys"); err != nil {
		return 0, err
	}
	return len(m.keysOf(tenant, id, activeAt)), nil
}

func (m *memory) Namespaces(ctx context.Context, tenant InternalID, refs []string) ([]Namespace, error) {
	if err := m.read(ctx, "Namespaces"); err != nil {
		return nil, err
	}
	return selected(m.namespaces, func(n *Namespace) bool {
		return n.InternalID == tenant && (slices.Contains(refs, string(n.ID)) || slices.Contains(refs, n.Name))
	}), nil
}

func (m *memory) Retrievers(ctx context.Context, tenant InternalID, ids []RetrieverID) ([]Retriever, error) {
	if err := m.read(ctx, "Retrievers"); err != nil {
		return nil, err
	}
	return selected(m.retrievers, func(r *Retriever) bool { return r.InternalID == tenant && slices.Contains(ids, r.ID) }), nil
}

func (m *memory) RetrieversNamed(ctx context.Context, tenant InternalID, ns NamespaceID, names []string) ([]Retriever, error) {
	if err := m.read(ctx, "RetrieversNamed"); err != nil {
		return nil, err
	}
	return selected(m.retrieversOf(tenant, ns), func(r *Retriever) bool { return slices.Contains(names, r.Name) }), nil
}

func (m *memory) RetrieverPage(ctx context.Context, tenant InternalID, ns NamespaceID, r RetrieverRange) ([]Retriever, error) {
	if err := m.read(ctx, fmt.Sprintf("RetrieverPage(%d)", r.Limit)); err != nil {
		return nil, err
	}
	byName := func(a, b RetrieverPosition) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	}
	all := m.retrieversOf(tenant, ns)
	slices.SortFunc(all, func(a, b Retriever) int {
		return byName(RetrieverPosition{a.Name, a.ID}, RetrieverPosition{b.Name, b.ID})
	})
	all = selected(all, func(x *Retriever) bool {
		p := RetrieverPosition{x.Name, x.ID}
		return (r.After == nil || byName(p, *r.After) > 0) && (r.Before == nil || byName(p, *r.Before) < 0)
	})
	return limited(all, r.FromEnd, r.Limit), nil
}

func (m *memory) CountRetrievers(ctx context.Context, tenant InternalID, ns NamespaceID) (int, error) {
	if err := m.read(ctx, "CountRetrievers"); err != nil {
		return 0, err
	}
	return len(m.retrieversOf(tenant, ns)), nil
}

func (m *memory) keysOf(tenant InternalID, id RetrieverID, activeAt time.Time) []Key {
	return selected(m.keys, func(k *Key) bool {
		return k.InternalID == tenant && slices.Contains(k.retrievers(), id) &&
			(activeAt.IsZero() || k.StatusAt(activeAt) == Active)
	})
}

func (m *memory) retrieversOf(tenant InternalID, ns NamespaceID) []Retriever {
	return selected(m.retrievers, func(r *Retriever) bool { return r.InternalID == tenant && r.NamespaceID == ns })
}

// newestFirst is the order of KeyRange.
func newestFirst(a, b KeyPosition) int {
	if (a.CreatedAt == nil) != (b.CreatedAt == nil) {
		if a.CreatedAt == nil {
			return 1
		}
		return -1
	}
	if a.CreatedAt != nil && !a.CreatedAt.Equal(*b.CreatedAt) {
		return b.CreatedAt.Compare(*a.CreatedAt)
	}
	return cmp.Compare(b.ID, a.ID)
}

// selected copies the items that keep says, so that nobody changes what is stored.
func selected[T any](items []T, keep func(*T) bool) []T {
	var out []T
	for i := range items {
		if keep(&items[i]) {
			out = append(out, items[i])
		}
	}
	return out
}

func limited[T any](items []T, fromEnd bool, limit int) []T {
	if limit < 1 {
		panic("a limit is at least 1")
	}
	if fromEnd {
		return items[max(0, len(items)-limit):]
	}
	return items[:min(limit, len(items))]
}

// projected forgets what was not asked for, as an engine does that reads no more than that.
func projected(keys []Key, fields Fields) []Key {
	out := make([]Key, len(keys))
	for i, k := range keys {
		p := Key{ID: k.ID, Hash: k.Hash, Type: Standard, Stored: Active}
		for _, f := range []struct {
			field Fields
			copy  func()
		}{
			{FieldPrefix, func() { p.Prefix = k.Prefix }},
			{FieldType, func() { p.Type = k.Type }},
			{FieldSubscriptionID, func() { p.SubscriptionID = k.SubscriptionID }},
			{FieldInternalID, func() { p.InternalID = k.InternalID }},
			{FieldOrganizationID, func() { p.OrganizationID = k.OrganizationID }},
			{FieldUserID, func() { p.UserID = k.UserID }},
			{FieldName, func() { p.Name = k.Name }},
			{FieldDescription, func() { p.Description = k.Description }},
			{FieldPermissions, func() { p.Permissions = k.Permissions }},
			{FieldScopes, func() { p.Scopes = k.Scopes }},
			{FieldRateLimitOverride, func() { p.RateLimitOverride = k.RateLimitOverride }},
			{FieldStatus, func() { p.Stored = k.Stored }},
			{FieldExpiresAt, func() { p.ExpiresAt = k.ExpiresAt }},
			{FieldLastUsedAt, func() { p.LastUsedAt = k.LastUsedAt }},
			{FieldCreatedAt, func() { p.CreatedAt = k.CreatedAt }},
			{FieldCreatedBy, func() { p.CreatedBy = k.CreatedBy }},
			{FieldRevokedAt, func() { p.RevokedAt = k.RevokedAt }},
			{FieldRevokedBy, func() { p.RevokedBy = k.RevokedBy }},
			{FieldAllowedOrigins, func() { p.AllowedOrigins = k.AllowedOrigins }},
			{FieldPrincipalID, func() { p.PrincipalID = k.PrincipalID }},
		} {
			if fields&f.field != 0 {
				f.copy()
			}
		}
		out[i] = p
	}
	return out
}
