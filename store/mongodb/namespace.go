package mongodb

import (
	"cmp"
	"context"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

var (
	namespaceFields = []string{
		"namespace_id", "namespace_name", "description", "internal_id", "organization_id", "organization_name",
		"created_at", "updated_at",
	}
	retrieverFields = []string{
		"retriever_id", "retriever_name", "description", "namespace_id", "internal_id", "created_at", "updated_at",
	}
)

// Namespaces returns the namespaces whose id or name is in refs, in no order.
func (s *Store) Namespaces(ctx context.Context, tenant apikey.InternalID, refs []string) ([]apikey.Namespace, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	return findNamespaces(ctx, s.namespaces, namespacesOf(tenant, refs), func(n apikey.Namespace) bool {
		return n.InternalID == tenant && (slices.Contains(refs, string(n.ID)) || slices.Contains(refs, n.Name))
	})
}

// NamespacesOf returns all namespaces of the tenant, in no order.
func (s *Store) NamespacesOf(ctx context.Context, tenant apikey.InternalID) ([]apikey.Namespace, error) {
	return findNamespaces(ctx, s.namespaces, namespacesOfTenant(tenant), func(n apikey.Namespace) bool { return n.InternalID == tenant })
}

func namespacesOfTenant(tenant apikey.InternalID) bson.D {
	return bson.D{{Key: "internal_id", Value: string(tenant)}, {Key: "namespace_id", Value: someText}}
}

// OrganizationNamespaces returns the namespaces of all tenants that have the organization name, in no order.
func (s *Store) OrganizationNamespaces(ctx context.Context, name string) ([]apikey.Namespace, error) {
	return findNamespaces(ctx, s.primary.Collection(document.Namespaces), bson.D{{Key: "organization_name", Value: name}}, func(n apikey.Namespace) bool {
		return n.OrganizationName != nil && *n.OrganizationName == name
	})
}

// NamespacesCalled returns the namespaces of all tenants with that id or name, in no order.
func (s *Store) NamespacesCalled(ctx context.Context, ref string) ([]apikey.Namespace, error) {
	return findNamespaces(ctx, s.primary.Collection(document.Namespaces), namespacesCalled(ref, ref), func(n apikey.Namespace) bool {
		return string(n.ID) == ref || n.Name == ref
	})
}

// AllNamespaces returns the namespaces of all tenants, in no order.
func (s *Store) AllNamespaces(ctx context.Context) ([]apikey.Namespace, error) {
	return findNamespaces(ctx, s.primary.Collection(document.Namespaces), bson.D{}, func(apikey.Namespace) bool { return true })
}

// TenantsOfKeys implements store.Engine.
func (s *Store) TenantsOfKeys(ctx context.Context) ([]apikey.InternalID, error) {
	texts, err := tenantsIn(ctx, s.primary.Collection(document.Keys))
	tenants := make([]apikey.InternalID, len(texts))
	for i, t := range texts {
		tenants[i] = apikey.InternalID(t)
	}
	return tenants, err
}

// namespacesOf selects by id and by name. Each branch of $or has the tenant, so that one index answers it.
func namespacesOf(tenant apikey.InternalID, refs []string) bson.D {
	ofTenant := bson.E{Key: "internal_id", Value: string(tenant)}
	return bson.D{ofTenant, {Key: "$or", Value: bson.A{
		bson.D{ofTenant, {Key: "namespace_id", Value: equal(refs...)}},
		bson.D{ofTenant, {Key: "namespace_name", Value: equal(refs...)}},
	}}}
}

func namespacesCalled(id, name string) bson.D {
	return bson.D{{Key: "$or", Value: bson.A{bson.D{{Key: "namespace_id", Value: id}}, bson.D{{Key: "namespace_name", Value: name}}}}}
}

// findNamespaces returns the namespaces found that meant accepts. The server also finds lists that contain the value,
// and with a collation other values.
func findNamespaces(ctx context.Context, c collection, filter bson.D, meant func(apikey.Namespace) bool) ([]apikey.Namespace, error) {
	return all(ctx, c, find{filter: filter, fields: namespaceFields}, func(doc bson.Raw) (apikey.Namespace, bool) {
		n, ok := document.Namespace(doc)
		return n, ok && meant(n)
	})
}

// Retrievers returns the retrievers with these ids, in any namespace, in no order.
func (s *Store) Retrievers(ctx context.Context, tenant apikey.InternalID, ids []apikey.RetrieverID) ([]apikey.Retriever, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	found, err := s.findRetrievers(ctx, find{filter: retrieversWithIDs(tenant, ids)})
	asked := make(map[apikey.RetrieverID]bool, len(ids)) // hundreds of keys can name thousands
	for _, id := range ids {
		asked[id] = true
	}
	return slices.DeleteFunc(found, func(r apikey.Retriever) bool { return r.InternalID != tenant || !asked[r.ID] }), err
}

func retrieversWithIDs(tenant apikey.InternalID, ids []apikey.RetrieverID) bson.D {
	return bson.D{{Key: "internal_id", Value: string(tenant)}, {Key: "retriever_id", Value: equal(ids...)}}
}

// RetrieversNamed returns the retrievers of a namespace with these names, in no order.
func (s *Store) RetrieversNamed(ctx context.Context, tenant apikey.InternalID, ns apikey.NamespaceID, names []string) ([]apikey.Retriever, error) {
	if len(names) == 0 {
		return nil, nil
	}
	found, err := s.findRetrievers(ctx, find{filter: retrieversNamed(tenant, ns, names)})
	return slices.DeleteFunc(found, func(r apikey.Retriever) bool {
		return r.InternalID != tenant || r.NamespaceID != ns || !slices.Contains(names, r.Name)
	}), err
}

func retrieversNamed(tenant apikey.InternalID, ns apikey.NamespaceID, names []string) bson.D {
	return bson.D{{Key: "internal_id", Value: string(tenant)}, {Key: "namespace_id", Value: string(ns)}, {Key: "retriever_name", Value: equal(names...)}}
}

// CountRetrievers counts the namespace's retrievers.
func (s *Store) CountRetrievers(ctx context.Context, tenant apikey.InternalID, ns apikey.NamespaceID) (int, error) {
	return count(ctx, s.retrievers, retrieversOf(tenant, ns, bson.E{Key: "retriever_id", Value: someText}))
}

// RetrieverPage returns the namespace's retrievers within the range, by name, then id.
//
// The index orders the retrievers that have a name. Those without one, usually none, come first in the list, by id, but
// are elsewhere in the index. From the list's beginning, one query reads all of a small namespace, or the first named
// retrievers of a large one.
func (s *Store) RetrieverPage(ctx context.Context, tenant apikey.InternalID, ns apikey.NamespaceID, r apikey.RetrieverRange) ([]apikey.Retriever, error) {
	direction := int32(1)
	if r.FromEnd {
		direction = -1
	}
	byName := bson.D{{Key: "retriever_name", Value: direction}, {Key: "retriever_id", Value: direction}}
	byID := byName[1:]

	unnamed := func(limit int) ([]apikey.Retriever, error) {
		if r.After != nil && r.After.Name != "" {
			return nil, nil
		}
		return s.findRetrievers(ctx, find{limit: limit, sort: byID, filter: retrieversOf(tenant, ns,
			bson.E{Key: "retriever_name", Value: notText}, bson.E{Key: "retriever_id", Value: unnamedIDs(r)})})
	}
	named := func(limit int) ([]apikey.Retriever, error) {
		if r.Before != nil && r.Before.Name == "" {
			return nil, nil
		}
		return s.findRetrievers(ctx, find{limit: limit, sort: byName, filter: retrieversOf(tenant, ns, withinNames(r)...)})
	}
	if r.FromEnd {
		page, err := inTurn(r.Limit, named, unnamed)
		slices.Reverse(page)
		return page, err
	}
	if r.After != nil || r.Before != nil {
		return inTurn(r.Limit, unnamed, named)
	}

	first, err := s.findRetrievers(ctx, find{limit: r.Limit, sort: byName, filter: retrieversOf(tenant, ns, bson.E{Key: "retriever_id", Value: someText})})
	if err != nil {
		return nil, err
	}
	if len(first) < r.Limit {
		slices.SortFunc(first, func(a, b apikey.Retriever) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
		return first, nil
	}
	return inTurn(r.Limit, unnamed, func(limit int) ([]apikey.Retriever, error) {
		withName := slices.DeleteFunc(first, func(r apikey.Retriever) bool { return r.Name == "" })
		return withName[:min(limit, len(withName))], nil
	})
}

func (s *Store) findRetrievers(ctx context.Context, q find) ([]apikey.Retriever, error) {
	q.fields = retrieverFields
	return all(ctx, s.retrievers, q, document.Retriever)
}

// retrieversOf selects the namespace's retrievers that meet the conditions.
func retrieversOf(tenant apikey.InternalID, ns apikey.NamespaceID, more ...bson.E) bson.D {
	return append(bson.D{
		{Key: "internal_id", Value: string(tenant)}, {Key: "namespace_id", Value: string(ns)}, noList("internal_id", "namespace_id"),
	}, more...)
}

// unnamedIDs returns the condition on the retriever_id of the range's retrievers without a name.
func unnamedIDs(r apikey.RetrieverRange) bson.D {
	ids := slices.Clone(someText)
	if r.After != nil {
		ids[0].Value = string(r.After.ID)
	}
	if r.Before != nil && r.Before.Name == "" {
		ids = append(ids, bson.E{Key: "$lt", Value: string(r.Before.ID)})
	}
	return ids
}

// withinNames selects the range's retrievers that have a name.
func withinNames(r apikey.RetrieverRange) bson.D {
	names := slices.Clone(someText)
	var ties bson.A
	for _, c := range []struct {
		upTo, beyond string
		at           *apikey.RetrieverPosition
	}{{"$gte", "$gt", r.After}, {"$lte", "$lt", r.Before}} {
		if c.at == nil || c.at.Name == "" {
			continue
		}
		names = append(names, bson.E{Key: c.upTo, Value: c.at.Name})
		ties = append(ties, bson.D{{Key: "$or", Value: bson.A{
			bson.D{{Key: "retriever_name", Value: bson.D{{Key: c.beyond, Value: c.at.Name}}}},
			bson.D{{Key: "retriever_id", Value: bson.D{{Key: c.beyond, Value: string(c.at.ID)}}}},
		}}})
	}
	filter := bson.D{{Key: "retriever_name", Value: names}, {Key: "retriever_id", Value: someText}}
	if ties != nil {
		filter = append(filter, bson.E{Key: "$and", Value: ties})
	}
	return filter
}
