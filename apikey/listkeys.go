package apikey

import (
	"cmp"
	"context"
)

// keySource is where a list of keys comes from: the keys that name a retriever, or one of several, or all keys of the organization.
type keySource struct {
	retriever RetrieverID   // if not empty, its keys
	naming    []RetrieverID // if not nil, the keys of these
	walk      bool          // see KeyList.Walk
}

// list returns the list with the source as its condition.
func (of keySource) list(l KeyList) KeyList {
	l.Where, l.Walk = of.of(l.Where), of.walk
	return l
}

// keyPage reads keys of a list.
func (s *Service) keyPage(ctx context.Context, tenant InternalID, of keySource, q *query, l KeyList) (keys []Key, err error) {
	err = s.reading(ctx, tenant, of, q, func(ctx context.Context) (err error) {
		if of.retriever == "" {
			keys, err = s.Store.KeyPage(ctx, tenant, of.list(l))
			return err
		}
		pages, err := s.Store.KeyPages(ctx, tenant, []RetrieverID{of.retriever}, l)
		if err == nil {
			keys = pages[0]
		}
		return err
	})
	return keys, err
}

// reading calls read, which reads keys of a list. A list of active keys can pass over any number of others. If these are more than the request may
// look at, it is a scan, and read is called again.
func (s *Service) reading(ctx context.Context, tenant InternalID, of keySource, q *query, read func(ctx context.Context) error) error {
	if cost := CostFrom(ctx); q.scan == nil && of.retriever == "" && !q.where.OnlyActive().IsZero() && cost.bounded() {
		most := cost.upTo(cost.Left())
		err := read(WithCost(ctx, most))
		if most.Exceeded() == nil {
			charged := cost.Look(int(most.looked.Load())) // also if the list was refused
			return cmp.Or(err, charged)
		}
		if err := q.startScan(cost, cost.Left(), true); err != nil {
			return err
		}
	}
	ctx, done, err := s.scanning(ctx, tenant, q.scan)
	if err != nil {
		return err
	}
	defer done()
	return q.scan.explain(ctx, read(ctx))
}

// countKeys counts the keys of a list. If these are more than the request may look at, the count is a scan.
func (s *Service) countKeys(ctx context.Context, tenant InternalID, of keySource, q *query) (int, error) {
	if cost := CostFrom(ctx); q.scan == nil && of.retriever == "" && cost.bounded() {
		n, over, err := s.countUpTo(ctx, tenant, of.of(q.where), cost.Left())
		if err == nil && over {
			err = q.startScan(cost, n, over)
		} else if err == nil {
			return n, cost.Look(n)
		}
		if err != nil {
			return 0, err
		}
	}
	ctx, done, err := s.scanning(ctx, tenant, q.scan)
	if err != nil {
		return 0, err
	}
	defer done()
	n, err := s.Store.CountKeys(ctx, tenant, of.of(q.where))
	return n, q.scan.explain(ctx, err)
}

// of returns the conditions for keys of the source.
func (of keySource) of(where KeyConditions) KeyConditions {
	if of.retriever != "" {
		return where.Of(of.retriever)
	}
	where.Naming = of.naming
	return where
}

// Listing is the result of List for one retriever: its keys, or the reason why they cannot be listed.
type Listing struct {
	Keys *Connection[Key]
	Err  error
}

// List returns the keys of each retriever, in the same order. The Service must have returned the retrievers to the same caller.
func (s *Service) List(ctx context.Context, c Caller, rs []*Retriever, o ListOptions) ([]Listing, error) {
	if err := s.authorize(c, Read); err != nil {
		return nil, err
	}
	q, err := o.query(s.Policy, s.now(), MaxPage)
	if err != nil {
		return nil, err
	}
	ids := make([]RetrieverID, len(rs))
	for i, r := range rs {
		ids[i] = r.ID
	}
	first, err := s.firstPages(ctx, c.tenant(), ids, &q)
	if err != nil {
		return nil, err
	}
	out := make([]Listing, len(rs))
	err = Together(ctx, len(rs), func(ctx context.Context, i int) error {
		out[i].Keys, out[i].Err = s.connectKeys(ctx, c.tenant(), keySource{retriever: ids[i]}, &q, first[i])
		return nil
	})
	return out, err
}

// OrganizationKeys returns a page of all keys of the caller's organization. It requires a caller who sees the whole organization.
func (s *Service) OrganizationKeys(ctx context.Context, c Caller, o ListOptions) (*Connection[Key], error) {
	if err := s.authorizeOrganization(c); err != nil {
		return nil, err
	}
	return s.listKeys(ctx, c, keySource{}, o)
}

// mostRetrievers is how many retrievers of a namespace a list of the namespace's keys joins.
const mostRetrievers = 10_000

// NamespaceKeys returns a page of the keys that name at least one retriever of the namespace that the caller sees, each once. The Service must
// have returned the namespace to the same caller.
//
// With n retrievers, it reads their ids, up to 10,000, and counts their keys. If these are at most 20,000, a page looks at all of them. For
// 10,000 retrievers with one key each, that is 30,000 documents. If there are more, a page walks the organization's keys in order and checks
// which retrievers each key names, until the page is full.
func (s *Service) NamespaceKeys(ctx context.Context, c Caller, ns *Namespace, o ListOptions) (*Connection[Key], error) {
	if err := s.authorize(c, Read); err != nil {
		return nil, err
	}
	ids, err := s.retrieverIDs(ctx, c, ns)
	if err != nil {
		return nil, err
	}
	return s.listKeys(ctx, c, keySource{naming: ids}, o)
}

// listKeys returns a page of the source's keys.
func (s *Service) listKeys(ctx context.Context, c Caller, of keySource, o ListOptions) (*Connection[Key], error) {
	q, err := o.query(s.Policy, s.now(), KeyPage)
	if err != nil {
		return nil, err
	}
	if err := CostFrom(ctx).Look(listCost); err != nil {
		return nil, err
	}
	if of, err = s.startScan(ctx, c.tenant(), of, &q); err != nil {
		return nil, err
	}
	if q.ranks() {
		return s.rank(ctx, c.tenant(), of, &q)
	}
	var first []Key
	if q.Wants.reads() {
		if first, err = s.readFirst(ctx, c.tenant(), of, &q); err != nil {
			return nil, err
		}
	}
	return s.connectKeys(ctx, c.tenant(), of, &q, first)
}

// readFirst reads the first page of a list.
func (s *Service) readFirst(ctx context.Context, tenant InternalID, of keySource, q *query) ([]Key, error) {
	l := q.first()
	cost := CostFrom(ctx)
	if l.Limit > largeRead {
		done, err := cost.readLarge(ctx)
		if err != nil {
			return nil, err
		}
		defer done()
	}
	keys, err := s.keyPage(ctx, tenant, of, q, l)
	if err != nil {
		return nil, err
	}
	return keys, cost.retain(sizeOf(keys))
}

// first is the list that is read first: the page and one more key, or the beginning of a ranked list.
func (q *query) first() KeyList {
	if q.ranks() {
		return q.keys(window{limit: firstRanked}, q.Fields)
	}
	return q.keys(probe(q.window), q.Fields)
}

func sizeOf(keys []Key) int {
	bytes := 0
	for i := range keys {
		bytes += keys[i].Size()
	}
	return bytes
}

// listCost is charged for each list, in addition to the documents that it reads.
const listCost = 10

// largeRead is the number of keys from which a read counts as large: see maxLarge.
const largeRead = 200

// firstPages reads the first page of each retriever, in the same order. Pages that are not needed stay empty.
func (s *Service) firstPages(ctx context.Context, tenant InternalID, ids []RetrieverID, q *query) ([][]Key, error) {
	cost := CostFrom(ctx)
	if err := cost.Look(listCost * len(ids)); err != nil {
		return nil, err
	}
	first := make([][]Key, len(ids))
	if len(ids) == 0 {
		return first, nil
	}
	if err := s.startRetrieverScan(ctx, tenant, ids, q); err != nil {
		return nil, err
	}
	if !q.Wants.reads() && !q.ranks() {
		return first, nil
	}
	l := q.first()
	if len(ids)*l.Limit > largeRead {
		done, err := cost.readLarge(ctx)
		if err != nil {
			return nil, err
		}
		defer done()
	}
	for read := 0; read < len(ids); {
		pages, err := s.keyPages(ctx, tenant, ids[read:], q, l)
		if err != nil {
			return nil, err
		}
		for _, keys := range pages {
			if err := cost.retain(sizeOf(keys)); err != nil {
				return nil, err
			}
			first[read] = keys
			read++
		}
	}
	return first, nil
}

// keyPages reads the pages of the first retrievers, one at least.
func (s *Service) keyPages(ctx context.Context, tenant InternalID, ids []RetrieverID, q *query, l KeyList) ([][]Key, error) {
	ctx, done, err := s.scanning(ctx, tenant, q.scan)
	if err != nil {
		return nil, err
	}
	defer done()
	pages, err := s.Store.KeyPages(ctx, tenant, ids, l)
	return pages, q.scan.explain(ctx, err)
}

// connectKeys makes the page of a source's keys from those that were read first.
func (s *Service) connectKeys(ctx context.Context, tenant InternalID, of keySource, q *query, first []Key) (*Connection[Key], error) {
	switch {
	case q.ranks() && len(first) < firstRanked:
		return rankFirst(ctx, q, first)
	case q.ranks():
		return s.rank(ctx, tenant, of, q)
	}
	for i := range first {
		q.policy.asOf(&first[i], q.now)
	}
	src := source[Key]{
		at:    q.position,
		run:   func(ctx context.Context, w window) ([]Key, error) { return s.keyPage(ctx, tenant, of, q, q.keys(w, 0)) },
		count: func(ctx context.Context) (int, error) { return s.countKeys(ctx, tenant, of, q) },
	}
	return src.connect(ctx, q.window, q.Wants, first)
}
