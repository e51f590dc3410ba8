package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"math"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// These values of api_key_retrievers stand for a missing time.
const (
	noDate  = math.MinInt64     // created_at
	never   = math.MinInt64 + 1 // active_until; still above the bound of a list of all keys
	forever = math.MaxInt64     // active_until
)

// KeysByHash implements apikey.Store. Hashes are unique in the file, so it returns at most one key.
func (s *Store) KeysByHash(ctx context.Context, hash string) ([]apikey.Key, error) {
	return query(ctx, s, keysByHash, nil, key(apikey.AllFields), hash)
}

// Keys implements apikey.Store.
func (s *Store) Keys(ctx context.Context, tenant apikey.InternalID, ids []apikey.ID, fields apikey.Fields) (keys []apikey.Key, err error) {
	for _, id := range distinct(ids) {
		if keys, err = query(ctx, s, keysByID, keys, key(fields), tenant, id); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// KeysWithHashes implements apikey.Store. Hashes are unique in the file.
func (s *Store) KeysWithHashes(ctx context.Context, tenant apikey.InternalID, hashes []string, fields apikey.Fields) (keys []apikey.Key, err error) {
	for _, hash := range distinct(hashes) {
		if keys, err = query(ctx, s, keysOfTenantByHash, keys, key(fields), hash, tenant); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// CurrentKeys implements apikey.Store.
func (s *Store) CurrentKeys(ctx context.Context, tenant apikey.InternalID, ids ...apikey.ID) ([]apikey.Key, error) {
	return s.Keys(ctx, tenant, ids, apikey.AllFields)
}

// CurrentKeysWithHashes implements apikey.Store.
func (s *Store) CurrentKeysWithHashes(ctx context.Context, tenant *apikey.InternalID, hashes []string) (keys []apikey.Key, err error) {
	if tenant != nil {
		return s.KeysWithHashes(ctx, *tenant, hashes, apikey.AllFields)
	}
	for _, hash := range distinct(hashes) {
		if keys, err = query(ctx, s, keysByHash, keys, key(apikey.AllFields), hash); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// activeUntil returns the instant at which the key stops being active.
func activeUntil(k *apikey.Key) int64 {
	switch {
	case k.RevokedAt != nil || k.Stored != apikey.Active:
		return never
	case k.ExpiresAt != nil:
		return k.ExpiresAt.UnixMilli()
	default:
		return forever
	}
}

func dateColumn(t *time.Time) int64 {
	if t == nil {
		return noDate
	}
	return t.UnixMilli()
}

// activeAfter returns the lower bound, exclusive, of active_until.
func activeAfter(at time.Time) int64 {
	if at.IsZero() {
		return math.MinInt64
	}
	return at.UnixMilli()
}

// Namespaces implements apikey.Store.
func (s *Store) Namespaces(ctx context.Context, tenant apikey.InternalID, refs []string) (found []apikey.Namespace, err error) {
	for _, ref := range distinct(refs) {
		if found, err = query(ctx, s, namespacesByRef, found, document.Namespace, tenant, ref); err != nil {
			return nil, err
		}
	}
	// A namespace is found twice if both its id and its name are in refs.
	seen := make(map[apikey.NamespaceID]bool, len(found))
	return slices.DeleteFunc(found, func(n apikey.Namespace) bool {
		twice := seen[n.ID]
		seen[n.ID] = true
		return twice
	}), nil
}

// NamespacesOf implements apikey.Store.
func (s *Store) NamespacesOf(ctx context.Context, tenant apikey.InternalID) ([]apikey.Namespace, error) {
	return query(ctx, s, namespacesOfTenant, nil, document.Namespace, tenant)
}

// Retrievers implements apikey.Store.
func (s *Store) Retrievers(ctx context.Context, tenant apikey.InternalID, ids []apikey.RetrieverID) (found []apikey.Retriever, err error) {
	for _, id := range distinct(ids) {
		if found, err = query(ctx, s, retrieversByID, found, document.Retriever, tenant, id); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// RetrieversNamed implements apikey.Store.
func (s *Store) RetrieversNamed(ctx context.Context, tenant apikey.InternalID, ns apikey.NamespaceID, names []string) (found []apikey.Retriever, err error) {
	for _, name := range distinct(names) {
		if found, err = query(ctx, s, retrieversByName, found, document.Retriever, tenant, ns, name); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// RetrieverPage implements apikey.Store.
func (s *Store) RetrieverPage(ctx context.Context, tenant apikey.InternalID, ns apikey.NamespaceID, r apikey.RetrieverRange) ([]apikey.Retriever, error) {
	statement := retrieversForward
	if r.FromEnd {
		statement = retrieversBackward
	}
	bounds := []any{"", "", []byte{0}, ""} // below all names, and above: every blob sorts after every text
	if p := r.After; p != nil {
		bounds[0], bounds[1] = p.Name, p.ID
	}
	if p := r.Before; p != nil {
		bounds[2], bounds[3] = p.Name, p.ID
	}
	page, err := query(ctx, s, statement, nil, document.Retriever, slices.Concat([]any{tenant, ns}, bounds, []any{r.Limit})...)
	if r.FromEnd {
		slices.Reverse(page)
	}
	return page, err
}

// CountRetrievers implements apikey.Store.
func (s *Store) CountRetrievers(ctx context.Context, tenant apikey.InternalID, ns apikey.NamespaceID) (int, error) {
	return count(ctx, s, countRetrievers, tenant, ns)
}

// OrganizationNamespaces implements store.Engine.
func (s *Store) OrganizationNamespaces(ctx context.Context, name string) ([]apikey.Namespace, error) {
	return query(ctx, s, namespacesByOrganization, nil, document.Namespace, name)
}

// NamespacesCalled implements store.Engine.
func (s *Store) NamespacesCalled(ctx context.Context, ref string) ([]apikey.Namespace, error) {
	return query(ctx, s, namespacesCalled, nil, document.Namespace, ref)
}

// AllNamespaces implements store.Engine.
func (s *Store) AllNamespaces(ctx context.Context) ([]apikey.Namespace, error) {
	return query(ctx, s, allNamespaces, nil, document.Namespace)
}

// TenantsOfKeys implements store.Engine.
func (s *Store) TenantsOfKeys(ctx context.Context) ([]apikey.InternalID, error) {
	return query(ctx, s, tenantsOfKeys, nil, func(tenant bson.Raw) (apikey.InternalID, bool) { return apikey.InternalID(tenant), true })
}

// KeysWithID implements store.Engine.
func (s *Store) KeysWithID(ctx context.Context, ids ...apikey.ID) (keys []apikey.Key, err error) {
	for _, id := range distinct(ids) {
		if keys, err = query(ctx, s, keysOfAnyTenant, keys, key(apikey.AllFields), id); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// KeysWithPrefix implements store.Engine.
func (s *Store) KeysWithPrefix(ctx context.Context, prefixes []string) ([]apikey.Key, error) {
	return query(ctx, s, allKeys, nil, func(doc bson.Raw) (apikey.Key, bool) {
		k, ok := document.Key(doc, apikey.FieldPrefix)
		if !ok || k.Prefix == nil || !slices.Contains(prefixes, *k.Prefix) {
			return apikey.Key{}, false
		}
		return document.Key(doc, apikey.AllFields)
	})
}

// CountUnusable implements store.Engine.
func (s *Store) CountUnusable(ctx context.Context) (u document.Unusable, err error) {
	_, err = query(ctx, s, unusableKeys, nil, func(doc bson.Raw) (struct{}, bool) {
		if k, _ := document.Key(doc, 0); k.Hash == "" {
			u.NoHash++
		} else {
			u.NoID++
		}
		return struct{}{}, false
	})
	return u, err
}

// query runs the statement and appends the decoded documents to found.
func query[T any](ctx context.Context, s *Store, statement readStatement, found []T, decode func(bson.Raw) (T, bool), args ...any) ([]T, error) {
	return queryUntil(ctx, s, statement, found, func(doc bson.Raw) (item T, ok, more bool) {
		item, ok = decode(doc)
		return item, ok, true
	}, args...)
}

// queryUntil is query, but stops after the document at which decode reports that it needs no more.
func queryUntil[T any](ctx context.Context, s *Store, statement readStatement, found []T, decode func(bson.Raw) (item T, ok, more bool), args ...any) ([]T, error) {
	looked := 0
	err := s.reading(ctx, func(uncanceled context.Context) error {
		rows, err := s.statements[statement].QueryContext(uncanceled, args...)
		if err != nil {
			return err
		}
		defer rows.Close() // rows.Err returns the error
		var doc sql.RawBytes
		for more := true; more && rows.Next() && ctx.Err() == nil; {
			if err := rows.Scan(&doc); err != nil {
				return err
			}
			looked += apikey.Documents(len(doc))
			var item T
			var ok bool
			if item, ok, more = decode(bson.Raw(doc)); ok {
				found = append(found, item)
			}
		}
		return cmp.Or(ctx.Err(), rows.Err())
	})
	if err == nil {
		err = apikey.CostFrom(ctx).Look(looked)
	}
	if err != nil {
		return nil, err
	}
	return found, nil
}

// count counts rows, as far as the request's Cost allows. The statement's last argument limits the rows that it reads.
func count(ctx context.Context, s *Store, statement readStatement, args ...any) (n int, err error) {
	return countRows(ctx, s, statement, func(limit int) []any { return append(args, limit) })
}

// countRows is count for a statement whose arguments contain the limit. A long count begins again aside.
func countRows(ctx context.Context, s *Store, statement readStatement, args func(limit int) []any) (n int, err error) {
	cost, looked := apikey.CostFrom(ctx), 0
	count := func(limit int) error {
		return s.reading(ctx, func(uncanceled context.Context) error {
			return s.statements[statement].QueryRowContext(uncanceled, args(limit)...).Scan(&n, &looked)
		})
	}
	limit := limitOf(cost)
	if limit >= 0 && limit <= s.sizes.firstCounted {
		err = count(limit)
	} else if err = count(s.sizes.firstCounted); err == nil && looked == s.sizes.firstCounted {
		err = s.aside(ctx, func() error { return count(limit) })
	}
	if err == nil {
		err = cost.Look(looked)
	}
	return n, err
}

// limitOf returns how many rows show that a request looks at too many, or -1 if there is no limit.
func limitOf(cost *apikey.Cost) int {
	if left := cost.Left(); left < math.MaxInt {
		return left + 1
	}
	return -1
}

// reading calls f when fewer than readers reads run. If the context ends before, it returns an outage.
//
// The context of f never ends. Watching a context costs the driver more than a statement that finds its rows by an
// index. Between rows, f can check the request's context.
func (s *Store) reading(ctx context.Context, f func(uncanceled context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return classify(err)
	}
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
		return classify(f(context.WithoutCancel(ctx)))
	case <-ctx.Done():
		return classify(ctx.Err())
	}
}

func key(fields apikey.Fields) func(bson.Raw) (apikey.Key, bool) {
	return (&document.KeyReader{Fields: fields}).Key
}

// passing is key for keys that are looked at and not kept.
func passing(fields apikey.Fields) func(bson.Raw) (apikey.Key, bool) {
	return (&document.KeyReader{Fields: fields, Passing: true}).Key
}

// distinct returns the items without duplicates, in another order.
func distinct[T ~string](items []T) []T {
	if len(items) < 2 {
		return items
	}
	items = slices.Clone(items)
	slices.Sort(items)
	return slices.Compact(items)
}
