package storetest

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// model answers as an engine that imported the batch must. It reads all documents, filters and sorts, for every
// question. It is the port's comments as code.
type model struct{ batch document.Batch }

var _ apikey.Reader = model{}

func (m model) KeysByHash(_ context.Context, hash string) ([]apikey.Key, error) {
	return m.keys(apikey.AllFields, func(k apikey.Key) bool { return k.Hash == hash }), nil
}

func (m model) Keys(_ context.Context, tenant apikey.InternalID, ids []apikey.ID, fields apikey.Fields) ([]apikey.Key, error) {
	return m.keys(fields, func(k apikey.Key) bool { return k.InternalID == tenant && slices.Contains(ids, k.ID) }), nil
}

func (m model) KeysWithHashes(_ context.Context, tenant apikey.InternalID, hashes []string, fields apikey.Fields) ([]apikey.Key, error) {
	return m.keys(fields, func(k apikey.Key) bool { return k.InternalID == tenant && slices.Contains(hashes, k.Hash) }), nil
}

func (m model) KeyPages(ctx context.Context, tenant apikey.InternalID, retrievers []apikey.RetrieverID, l apikey.KeyList) ([][]apikey.Key, error) {
	pages := make([][]apikey.Key, len(retrievers))
	for i, id := range retrievers {
		l.Where.Naming = []apikey.RetrieverID{id}
		pages[i], _ = m.KeyPage(ctx, tenant, l)
	}
	return pages, nil
}

func (m model) KeyPage(_ context.Context, tenant apikey.InternalID, l apikey.KeyList) (page []apikey.Key, err error) {
	// All fields decide the order; the result has only the requested fields.
	order := m.keys(apikey.AllFields, func(k apikey.Key) bool {
		at := placeOf(k, l.Order)
		return meets(k, tenant, l.Where) &&
			(l.After == nil || comparePlaces(at, *l.After, l.Order) > 0) && (l.Before == nil || comparePlaces(at, *l.Before, l.Order) < 0)
	})
	slices.SortFunc(order, func(a, b apikey.Key) int { return comparePlaces(placeOf(a, l.Order), placeOf(b, l.Order), l.Order) })
	for _, k := range cut(order, l.FromEnd, l.Limit) {
		page = append(page, m.keys(l.Fields, func(other apikey.Key) bool { return other.Hash == k.Hash })...)
	}
	return page, nil
}

func (m model) CountKeys(_ context.Context, tenant apikey.InternalID, where apikey.KeyConditions) (int, error) {
	return len(m.keys(0, func(k apikey.Key) bool { return meets(k, tenant, where) })), nil
}

func (m model) MatchingKeys(_ context.Context, tenant apikey.InternalID, l apikey.KeyList, f func(apikey.Key) (more bool)) error {
	for _, k := range m.keys(apikey.AllFields, func(k apikey.Key) bool { return meets(k, tenant, l.Where) }) {
		for _, k := range m.keys(l.Fields, func(other apikey.Key) bool { return other.Hash == k.Hash }) {
			if !f(k) {
				return nil
			}
		}
	}
	return nil
}

func (m model) EachKey(_ context.Context, tenant apikey.InternalID, fields apikey.Fields, f func(*apikey.Key)) (unlisted int, err error) {
	for _, k := range m.keys(fields|apikey.FieldInternalID, func(k apikey.Key) bool { return k.InternalID == tenant }) {
		if fields&apikey.FieldInternalID == 0 {
			k.InternalID = ""
		}
		f(&k)
	}
	for _, doc := range m.batch.Keys {
		if k, ok := document.Key(doc, apikey.FieldInternalID); !ok && k.InternalID == tenant {
			unlisted++
		}
	}
	return unlisted, nil
}

func (m model) ExpiringKeys(_ context.Context, after apikey.ExpiryPosition, before time.Time, limit int) ([]apikey.Key, error) {
	compare := func(k apikey.Key, at apikey.ExpiryPosition) int {
		return cmp.Or(k.ExpiresAt.Compare(at.At), cmp.Compare(k.ID, at.ID), cmp.Compare(k.InternalID, at.Tenant))
	}
	keys := m.keys(apikey.NoticeFields, func(k apikey.Key) bool {
		return k.ExpiresAt != nil && k.InternalID != "" && k.ExpiresAt.Before(before) && compare(k, after) > 0
	})
	slices.SortFunc(keys, func(a, b apikey.Key) int {
		return compare(a, apikey.ExpiryPosition{At: *b.ExpiresAt, ID: b.ID, Tenant: b.InternalID})
	})
	return cut(keys, false, limit), nil
}

// findings returns what needs attention about the key, as apikey.Finding documents it.
func findings(k apikey.Key, p apikey.Policy, at time.Time) (found []apikey.Finding) {
	before := func(t *time.Time, limit time.Time) bool { return t != nil && t.Compare(limit) < 0 }
	stale := p.StaleAfter != 0
	for f, is := range map[apikey.Finding]bool{
		apikey.NeverExpires: k.ExpiresAt == nil,
		apikey.BeyondMaxLifetime: p.MaxLifetime != 0 &&
			(k.ExpiresAt == nil || before(k.CreatedAt, k.ExpiresAt.Add(-p.MaxLifetime))),
		apikey.ExpiresSoon: before(k.ExpiresAt, at.Add(p.ExpiryNotice)),
		apikey.Unused:      stale && k.LastUsedAt == nil && before(k.CreatedAt, at.Add(-p.StaleAfter)),
		apikey.Stale:       stale && before(k.LastUsedAt, at.Add(-p.StaleAfter)),
		apikey.Leaked:      k.LeakedAt != nil,
	} {
		if is && (f == apikey.Leaked || k.StatusAt(at) == apikey.Active) {
			found = append(found, f)
		}
	}
	return found
}

// meets reports whether the key belongs to the tenant and meets the conditions, one by one as they are documented.
func meets(k apikey.Key, tenant apikey.InternalID, where apikey.KeyConditions) bool {
	within := func(t *time.Time, p apikey.Period) bool {
		return p == apikey.Period{} || t != nil && (p.From == nil || t.Compare(*p.From) >= 0) && (p.Until == nil || t.Compare(*p.Until) < 0)
	}
	contains := func(text *string) bool {
		return text != nil && strings.Contains(unfold(*text), unfold(where.Search.Text()))
	}
	found := where.Search.Text() == "" || contains(&k.Name) || contains(&k.Description) || contains(k.Prefix) ||
		where.Search.Hash() == k.Hash || where.Search.Prefix() != "" && k.Prefix != nil && *k.Prefix == where.Search.Prefix()
	found = found && (where.Findings == 0 || slices.ContainsFunc(findings(k, where.Policy, where.At), where.Findings.Has))
	return k.InternalID == tenant && found &&
		(where.Naming == nil || slices.ContainsFunc(where.Naming, func(id apikey.RetrieverID) bool { return names(k, tenant, id) })) &&
		(where.Status == nil || slices.Contains(where.Status, k.StatusAt(where.At))) &&
		(where.Types == nil || slices.Contains(where.Types, k.Type)) &&
		(where.CreatedBy == nil || k.CreatedBy != nil && *k.CreatedBy == *where.CreatedBy) &&
		within(k.CreatedAt, where.Created) && within(k.ExpiresAt, where.Expires) &&
		(!where.NeverExpires || k.ExpiresAt == nil) && (!where.NeverUsed || k.LastUsedAt == nil) &&
		(where.UnusedSince == nil || k.LastUsedAt == nil || k.LastUsedAt.Before(*where.UnusedSince))
}

// unfold removes differences of case from the texts that the tests use.
func unfold(text string) string {
	return strings.ToLower(strings.ToUpper(strings.ReplaceAll(text, "\u212A", "k")))
}

// placeOf returns the key's place in an order of keys.
func placeOf(k apikey.Key, o apikey.KeyOrder) apikey.KeyPosition {
	if o.ByExpiry {
		return apikey.KeyPosition{At: k.ExpiresAt, ID: k.ID}
	}
	return keyPosition(k)
}

// comparePlaces compares two places: keys without a date last, ties by id in the direction of the order.
func comparePlaces(a, b apikey.KeyPosition, o apikey.KeyOrder) int {
	if !o.Ascending {
		return compareKeys(a, b)
	}
	if (a.At == nil) != (b.At == nil) {
		return compareKeys(a, b)
	}
	return -compareKeys(a, b)
}

func (m model) Namespaces(_ context.Context, tenant apikey.InternalID, refs []string) ([]apikey.Namespace, error) {
	return decoded(m.batch.Namespaces, document.Namespace, func(n apikey.Namespace) bool {
		return n.InternalID == tenant && (slices.Contains(refs, string(n.ID)) || slices.Contains(refs, n.Name))
	}), nil
}

func (m model) NamespacesOf(_ context.Context, tenant apikey.InternalID) ([]apikey.Namespace, error) {
	return decoded(m.batch.Namespaces, document.Namespace, func(n apikey.Namespace) bool { return n.InternalID == tenant }), nil
}

func (m model) OrganizationNamespaces(_ context.Context, name string) ([]apikey.Namespace, error) {
	return decoded(m.batch.Namespaces, document.Namespace, func(n apikey.Namespace) bool {
		return n.OrganizationName != nil && *n.OrganizationName == name
	}), nil
}

func (m model) Retrievers(_ context.Context, tenant apikey.InternalID, ids []apikey.RetrieverID) ([]apikey.Retriever, error) {
	return decoded(m.batch.Retrievers, document.Retriever, func(r apikey.Retriever) bool {
		return r.InternalID == tenant && slices.Contains(ids, r.ID)
	}), nil
}

func (m model) RetrieversNamed(_ context.Context, tenant apikey.InternalID, ns apikey.NamespaceID, names []string) ([]apikey.Retriever, error) {
	return slices.DeleteFunc(m.retrievers(tenant, ns), func(r apikey.Retriever) bool { return !slices.Contains(names, r.Name) }), nil
}

func (m model) RetrieverPage(_ context.Context, tenant apikey.InternalID, ns apikey.NamespaceID, r apikey.RetrieverRange) ([]apikey.Retriever, error) {
	page := slices.DeleteFunc(m.retrievers(tenant, ns), func(found apikey.Retriever) bool {
		at := retrieverPosition(found)
		return r.After != nil && compareRetrievers(at, *r.After) <= 0 || r.Before != nil && compareRetrievers(at, *r.Before) >= 0
	})
	slices.SortFunc(page, func(a, b apikey.Retriever) int {
		return compareRetrievers(retrieverPosition(a), retrieverPosition(b))
	})
	return cut(page, r.FromEnd, r.Limit), nil
}

func (m model) CountRetrievers(_ context.Context, tenant apikey.InternalID, ns apikey.NamespaceID) (int, error) {
	return len(m.retrievers(tenant, ns)), nil
}

// keys returns the usable keys that the predicate selects by all their fields. The result has only the requested
// fields.
func (m model) keys(fields apikey.Fields, selects func(apikey.Key) bool) []apikey.Key {
	var out []apikey.Key
	for _, doc := range m.batch.Keys {
		if whole, ok := document.Key(doc, apikey.AllFields); ok && selects(whole) {
			k, _ := document.Key(doc, fields)
			out = append(out, k)
		}
	}
	return out
}

func (m model) retrievers(tenant apikey.InternalID, ns apikey.NamespaceID) []apikey.Retriever {
	return decoded(m.batch.Retrievers, document.Retriever, func(r apikey.Retriever) bool {
		return r.InternalID == tenant && r.NamespaceID == ns
	})
}

func decoded[T any](docs []bson.Raw, decode func(bson.Raw) (T, bool), selects func(T) bool) []T {
	var out []T
	for _, doc := range docs {
		if item, ok := decode(doc); ok && selects(item) {
			out = append(out, item)
		}
	}
	return out
}

// names reports whether the key belongs to the tenant and names the retriever.
func names(k apikey.Key, tenant apikey.InternalID, retriever apikey.RetrieverID) bool {
	return k.InternalID == tenant && slices.ContainsFunc(k.Scopes, func(s apikey.Scope) bool {
		return s.ResourceType == apikey.ResourceRetriever && s.ResourceID == string(retriever)
	})
}

func keyPosition(k apikey.Key) apikey.KeyPosition {
	return apikey.KeyPosition{At: k.CreatedAt, ID: k.ID}
}

// compareKeys orders a retriever's keys: newest first, keys without a date last, ties by descending id.
func compareKeys(a, b apikey.KeyPosition) int {
	byID := -cmp.Compare(a.ID, b.ID)
	switch {
	case a.At == nil && b.At == nil:
		return byID
	case a.At == nil:
		return 1
	case b.At == nil:
		return -1
	default:
		return cmp.Or(-a.At.Compare(*b.At), byID)
	}
}

func retrieverPosition(r apikey.Retriever) apikey.RetrieverPosition {
	return apikey.RetrieverPosition{Name: r.Name, ID: r.ID}
}

func compareRetrievers(a, b apikey.RetrieverPosition) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
}

// cut keeps the first items of a run, or the last ones.
func cut[T any](items []T, fromEnd bool, limit int) []T {
	switch {
	case len(items) <= limit:
		return items
	case fromEnd:
		return items[len(items)-limit:]
	default:
		return items[:limit]
	}
}
