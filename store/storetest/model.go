package storetest

import (
	"cmp"
	"context"
	"slices"
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

func (m model) KeyPages(_ context.Context, tenant apikey.InternalID, retrievers []apikey.RetrieverID, r apikey.KeyRange) ([][]apikey.Key, error) {
	pages := make([][]apikey.Key, len(retrievers))
	for i, id := range retrievers {
		within := func(k apikey.Key) bool {
			at := keyPosition(k)
			return names(k, tenant, id) && activeAt(k, r.ActiveAt) &&
				(r.After == nil || compareKeys(at, *r.After) > 0) && (r.Before == nil || compareKeys(at, *r.Before) < 0)
		}
		// All fields decide the order; the result has only the requested fields.
		order := m.keys(apikey.AllFields, within)
		slices.SortFunc(order, func(a, b apikey.Key) int { return compareKeys(keyPosition(a), keyPosition(b)) })
		for _, k := range cut(order, r.FromEnd, r.Limit) {
			pages[i] = append(pages[i], m.keys(r.Fields, func(other apikey.Key) bool { return other.Hash == k.Hash })...)
		}
	}
	return pages, nil
}

func (m model) CountKeys(_ context.Context, tenant apikey.InternalID, retriever apikey.RetrieverID, at time.Time) (int, error) {
	return len(m.keys(0, func(k apikey.Key) bool { return names(k, tenant, retriever) && activeAt(k, at) })), nil
}

func (m model) Namespaces(_ context.Context, tenant apikey.InternalID, refs []string) ([]apikey.Namespace, error) {
	return decoded(m.batch.Namespaces, document.Namespace, func(n apikey.Namespace) bool {
		return n.InternalID == tenant && (slices.Contains(refs, string(n.ID)) || slices.Contains(refs, n.Name))
	}), nil
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

func activeAt(k apikey.Key, at time.Time) bool {
	return at.IsZero() || k.StatusAt(at) == apikey.Active
}

func keyPosition(k apikey.Key) apikey.KeyPosition {
	return apikey.KeyPosition{CreatedAt: k.CreatedAt, ID: k.ID}
}

// compareKeys orders a retriever's keys: newest first, keys without a date last, ties by descending id.
func compareKeys(a, b apikey.KeyPosition) int {
	byID := -cmp.Compare(a.ID, b.ID)
	switch {
	case a.CreatedAt == nil && b.CreatedAt == nil:
		return byID
	case a.CreatedAt == nil:
		return 1
	case b.CreatedAt == nil:
		return -1
	default:
		return cmp.Or(-a.CreatedAt.Compare(*b.CreatedAt), byID)
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
