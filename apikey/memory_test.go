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

// memory is a simple Store over slices. It records every read, so that tests can check which reads were made.
type memory struct {
	keys       []Key
	namespaces []Namespace
	retrievers []Retriever
	events     []Event
	unlisted   int // documents that no list shows
	days       []KeyDay
	deleted    FeedPlace     // the last deletion of an event
	down       error         // the error of every read
	fails      string        // the read that fails, in the form that reads returns
	delay      time.Duration // how long every read takes

	mu    sync.Mutex
	calls []string
}

func (m *memory) read(ctx context.Context, name string) error {
	if m.delay > 0 {
		time.Sleep(m.delay)
	}
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

// reads returns the reads since its last call; those of pages have their limit. They are sorted, because some are concurrent.
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
	m.mu.Lock()
	defer m.mu.Unlock()
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

func (m *memory) KeysWithHashes(ctx context.Context, tenant InternalID, hashes []string, fields Fields) ([]Key, error) {
	if err := m.read(ctx, "KeysWithHashes"); err != nil {
		return nil, err
	}
	documents := map[string]int{}
	for i := range m.keys {
		if k := &m.keys[i]; k.InternalID == tenant {
			documents[k.Hash]++
		}
	}
	found := selected(m.keys, func(k *Key) bool {
		return k.InternalID == tenant && slices.Contains(hashes, k.Hash) && documents[k.Hash] == 1
	})
	return projected(found, fields), nil
}

func (m *memory) KeyPages(ctx context.Context, tenant InternalID, ids []RetrieverID, l KeyList) ([][]Key, error) {
	if err := m.read(ctx, fmt.Sprintf("KeyPages(%d)", l.Limit)); err != nil {
		return nil, err
	}
	pages := make([][]Key, len(ids))
	for i, id := range ids {
		l.Where.Naming = []RetrieverID{id}
		pages[i] = m.list(tenant, l)
	}
	return pages, nil
}

func (m *memory) KeyPage(ctx context.Context, tenant InternalID, l KeyList) ([]Key, error) {
	if err := m.read(ctx, fmt.Sprintf("KeyPage(%d)", l.Limit)); err != nil {
		return nil, err
	}
	return m.list(tenant, l), nil
}

func (m *memory) list(tenant InternalID, l KeyList) []Key {
	keys := selected(m.keys, func(k *Key) bool { return k.InternalID == tenant && l.Where.Matches(k) && l.Has(l.Order.Position(k)) })
	slices.SortFunc(keys, func(a, b Key) int { return l.Order.Compare(l.Order.Position(&a), l.Order.Position(&b)) })
	return projected(limited(keys, l.FromEnd, l.Limit), l.Fields)
}

func (m *memory) CountKeys(ctx context.Context, tenant InternalID, where KeyConditions) (int, error) {
	if err := m.read(ctx, "CountKeys"); err != nil {
		return 0, err
	}
	return len(selected(m.keys, func(k *Key) bool { return k.InternalID == tenant && where.Matches(k) })), nil
}

func (m *memory) MatchingKeys(ctx context.Context, tenant InternalID, l KeyList, f func(Key) (more bool)) error {
	if err := m.read(ctx, "MatchingKeys"); err != nil {
		return err
	}
	for _, k := range projected(selected(m.keys, func(k *Key) bool { return k.InternalID == tenant && l.Where.Matches(k) }), l.Fields) {
		if !f(k) {
			break
		}
	}
	return nil
}

func (m *memory) EachKey(ctx context.Context, tenant InternalID, fields Fields, f func(*Key)) (unlisted int, err error) {
	if err := m.read(ctx, "EachKey"); err != nil {
		return 0, err
	}
	for _, k := range projected(selected(m.keys, func(k *Key) bool { return k.InternalID == tenant }), fields) {
		f(&k)
	}
	return m.unlisted, nil
}

func (m *memory) Namespaces(ctx context.Context, tenant InternalID, refs []string) ([]Namespace, error) {
	if err := m.read(ctx, "Namespaces"); err != nil {
		return nil, err
	}
	return selected(m.namespaces, func(n *Namespace) bool {
		return n.InternalID == tenant && (slices.Contains(refs, string(n.ID)) || slices.Contains(refs, n.Name))
	}), nil
}

func (m *memory) NamespacesOf(ctx context.Context, tenant InternalID) ([]Namespace, error) {
	if err := m.read(ctx, "NamespacesOf"); err != nil {
		return nil, err
	}
	return selected(m.namespaces, func(n *Namespace) bool { return n.InternalID == tenant }), nil
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

func (m *memory) CurrentKeysWithHashes(ctx context.Context, tenant *InternalID, hashes []string) ([]Key, error) {
	if err := m.read(ctx, "CurrentKeysWithHashes"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return selected(m.keys, func(k *Key) bool {
		return (tenant == nil || k.InternalID == *tenant) && slices.Contains(hashes, k.Hash)
	}), nil
}

func (m *memory) CurrentKeys(ctx context.Context, tenant InternalID, ids ...ID) ([]Key, error) {
	if err := m.read(ctx, "CurrentKeys"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return selected(m.keys, func(k *Key) bool { return k.InternalID == tenant && slices.Contains(ids, k.ID) }), nil
}

func (m *memory) InsertKey(ctx context.Context, k Key, e Event) error {
	if err := m.read(ctx, "InsertKey"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	k.Status, k.Found = "", 0
	m.keys, m.events = append(m.keys, k), append(m.events, e)
	return nil
}

func (m *memory) ChangeKey(ctx context.Context, c Change) (bool, error) {
	if err := m.read(ctx, "ChangeKey"); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.keys, func(k Key) bool {
		return k.InternalID == c.Key.InternalID && k.ID == c.Key.ID && k.Hash == c.Key.Hash && k.Revision == c.Key.Revision
	})
	if i < 0 || !c.AnyState && (m.keys[i].StatusAt(c.ActiveAt) == Revoked || !c.ActiveAt.IsZero() && m.keys[i].StatusAt(c.ActiveAt) != Active) {
		return false, nil
	}
	m.keys[i] = merged(m.keys[i], c.Key, c.Fields)
	m.keys[i].Revision++
	if c.Successor != nil {
		successor := *c.Successor
		successor.Status, successor.Found = "", 0
		m.keys = append(m.keys, successor)
	}
	m.events = append(m.events, c.Events...)
	return true, nil
}

// merged returns the stored key with the written fields.
func merged(stored, written Key, fields Fields) Key {
	for _, f := range []struct {
		field Fields
		copy  func()
	}{
		{FieldName, func() { stored.Name = written.Name }},
		{FieldDescription, func() { stored.Description = written.Description }},
		{FieldRateLimitOverride, func() { stored.RateLimitOverride = written.RateLimitOverride }},
		{FieldStatus, func() { stored.Stored = written.Stored }},
		{FieldExpiresAt, func() { stored.ExpiresAt = written.ExpiresAt }},
		{FieldRevokedAt, func() { stored.RevokedAt = written.RevokedAt }},
		{FieldRevokedBy, func() { stored.RevokedBy = written.RevokedBy }},
		{FieldAllowedOrigins, func() { stored.AllowedOrigins = written.AllowedOrigins }},
		{FieldRevokeReason, func() { stored.RevokeReason = written.RevokeReason }},
		{FieldLeakedAt, func() { stored.LeakedAt = written.LeakedAt }},
		{FieldLeakSource, func() { stored.LeakSource = written.LeakSource }},
		{FieldLeakURL, func() { stored.LeakURL = written.LeakURL }},
		{FieldRotatedTo, func() { stored.RotatedTo = written.RotatedTo }},
	} {
		if fields&f.field != 0 {
			f.copy()
			fields &^= f.field
		}
	}
	if fields != 0 {
		panic(fmt.Sprintf("a change writes fields %b, which never change", fields))
	}
	return stored
}

func (m *memory) UseKeys(ctx context.Context, uses []Use) error {
	if err := m.read(ctx, "UseKeys"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range uses {
		for i := range m.keys {
			k := &m.keys[i]
			if k.InternalID == u.InternalID && k.ID == u.ID && k.Hash == u.Hash && (k.LastUsedAt == nil || u.At.Sub(*k.LastUsedAt) >= UseInterval) {
				k.LastUsedAt = &u.At
			}
		}
	}
	return nil
}

func (m *memory) AddAnswers(ctx context.Context, days []KeyDay) (NotAdded, error) {
	if err := m.read(ctx, "AddAnswers"); err != nil {
		return NotAdded{Left: days}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.days = append(m.days, days...)
	return NotAdded{}, nil
}

func (m *memory) AnswersOf(ctx context.Context, tenant InternalID, ids []ID, from, to Day) ([]KeyDay, error) {
	if err := m.read(ctx, "AnswersOf"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return selected(m.days, func(d *KeyDay) bool {
		return d.InternalID == tenant && slices.Contains(ids, d.ID) && from <= d.Day && d.Day <= to
	}), nil
}

func (m *memory) DeleteAnswers(ctx context.Context, before Day, limit int) (more bool, err error) {
	if err := m.read(ctx, "DeleteAnswers"); err != nil {
		return false, err
	}
	deleted := 0
	m.mu.Lock()
	defer m.mu.Unlock()
	m.days = slices.DeleteFunc(m.days, func(d KeyDay) bool {
		old := d.Day < before && deleted < limit
		if old {
			deleted++
		}
		return old
	})
	return deleted == limit, nil
}

func (m *memory) ExpiringKeys(ctx context.Context, after ExpiryPosition, before time.Time, limit int) ([]Key, error) {
	if err := m.read(ctx, "ExpiringKeys"); err != nil {
		return nil, err
	}
	place := func(k *Key) ExpiryPosition { return ExpiryPosition{*k.ExpiresAt, k.ID, k.InternalID} }
	compare := func(a, b ExpiryPosition) int {
		return cmp.Or(a.At.Compare(b.At), strings.Compare(string(a.ID), string(b.ID)), strings.Compare(string(a.Tenant), string(b.Tenant)))
	}
	keys := selected(m.keys, func(k *Key) bool {
		return k.ExpiresAt != nil && k.ExpiresAt.Before(before) && compare(place(k), after) > 0
	})
	slices.SortFunc(keys, func(a, b Key) int { return compare(place(&a), place(&b)) })
	return projected(keys[:min(limit, len(keys))], NoticeFields), nil
}

func (m *memory) StoredEvents(ctx context.Context, events []EventRef) (stored []EventRef, err error) {
	if err := m.read(ctx, "StoredEvents"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.events {
		if ref := (EventRef{m.events[i].InternalID, m.events[i].ID}); slices.Contains(events, ref) {
			stored = append(stored, ref)
		}
	}
	return stored, nil
}

func (m *memory) InsertEvent(ctx context.Context, e Event) error {
	if err := m.read(ctx, "InsertEvent"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.ContainsFunc(m.events, func(stored Event) bool { return stored.ID == e.ID }) {
		m.events = append(m.events, e)
	}
	return nil
}

func (m *memory) EventPage(ctx context.Context, tenant InternalID, l EventList) ([]Event, error) {
	if err := m.read(ctx, fmt.Sprintf("EventPage(%d)", l.Limit)); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all := selected(m.eventsOf(tenant, l.Where), func(e *Event) bool { return l.Has(e.Position()) })
	slices.SortFunc(all, func(a, b Event) int { return a.Position().Compare(b.Position()) })
	return limited(all, l.FromEnd, l.Limit), nil
}

func (m *memory) CountEvents(ctx context.Context, tenant InternalID, where EventConditions) (int, error) {
	if err := m.read(ctx, "CountEvents"); err != nil {
		return 0, err
	}
	return len(m.eventsOf(tenant, where)), nil
}

func (m *memory) eventsOf(tenant InternalID, where EventConditions) []Event {
	matches := where.Matcher()
	return selected(m.events, func(e *Event) bool { return e.InternalID == tenant && matches(e) })
}

func (m *memory) retrieversOf(tenant InternalID, ns NamespaceID) []Retriever {
	return selected(m.retrievers, func(r *Retriever) bool { return r.InternalID == tenant && r.NamespaceID == ns })
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
		panic("the limit must be at least 1")
	}
	if fromEnd {
		return items[max(0, len(items)-limit):]
	}
	return items[:min(limit, len(items))]
}

// projected removes the fields that were not requested, like an engine that does not read them.
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
			{FieldIsInternal, func() { p.IsInternal = k.IsInternal }},
			{FieldRevokeReason, func() { p.RevokeReason = k.RevokeReason }},
			{FieldLeakedAt, func() { p.LeakedAt = k.LeakedAt }},
			{FieldLeakSource, func() { p.LeakSource = k.LeakSource }},
			{FieldLeakURL, func() { p.LeakURL = k.LeakURL }},
			{FieldRotatedTo, func() { p.RotatedTo = k.RotatedTo }},
			{FieldRotatedFrom, func() { p.RotatedFrom = k.RotatedFrom }},
			{FieldBudget, func() { p.Budget = k.Budget }},
			{FieldRevision, func() { p.Revision = k.Revision }},
		} {
			if fields&f.field != 0 {
				f.copy()
			}
		}
		out[i] = p
	}
	return out
}
