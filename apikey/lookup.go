package apikey

import (
	"context"
	"slices"
	"time"
)

// Found is what was found of Names. Everything is read concurrently with what decides about its visibility. The methods return only what
// the caller may see.
type Found struct {
	service    *Service
	caller     Caller
	request    string
	now        time.Time
	namespaces []Namespace
	retrievers []Retriever // by id
	named      []Retriever // by name
	keys       []Key
	keysIn     []Retriever              // that the keys name
	looked     map[NamespaceID][]string // the retrievers that were looked up by id and by name
	listings   []map[RetrieverID]Listing
}

// LookUp reads everything that is named. That takes one round trip to the store, one more if retrievers are named by name or the
// namespace of keys is needed, and one more for the keys of retrievers named by name.
func (s *Service) LookUp(ctx context.Context, c Caller, n Names) (*Found, error) {
	if err := s.authorize(c, Read); err != nil {
		return nil, err
	}
	return s.lookUp(ctx, c, n)
}

func (s *Service) lookUp(ctx context.Context, c Caller, n Names) (*Found, error) {
	f := &Found{service: s, caller: c, request: n.Namespace, now: s.now(), listings: make([]map[RetrieverID]Listing, len(n.Listings))}
	listings := make([]*listing, len(n.Listings))
	var reads tasks
	if refs := n.namespaceRefs(); len(refs) > 0 {
		reads.add(func(ctx context.Context) (err error) {
			f.namespaces, err = s.Store.Namespaces(ctx, c.tenant(), refs)
			return err
		})
	}
	if ids := n.retrieverIDs(); len(ids) > 0 {
		reads.add(func(ctx context.Context) (err error) {
			f.retrievers, err = s.Store.Retrievers(ctx, c.tenant(), ids)
			return err
		})
	}
	if ids := n.keyIDs(); len(ids) > 0 {
		reads.add(func(ctx context.Context) (err error) {
			f.keys, err = s.Store.Keys(ctx, c.tenant(), ids, n.KeyFields|StatusFields|FieldScopes)
			return err
		})
	}
	for i, of := range n.Listings {
		listings[i] = &listing{first: map[RetrieverID][]Key{}}
		if listings[i].query, listings[i].err = of.Options.query(f.now, MaxPage); listings[i].err == nil {
			ids := idsOf(of.Retrievers)
			reads.add(func(ctx context.Context) error { return s.readPages(ctx, c, listings[i], ids) })
		}
	}
	if err := reads.do(ctx); err != nil {
		return nil, err
	}
	if err := f.readNamed(ctx, n); err != nil {
		return nil, err
	}
	return f, f.list(ctx, n.Listings, listings)
}

// readNamed reads what the first reads showed to be necessary: retrievers by name, and the retrievers of keys.
func (f *Found) readNamed(ctx context.Context, n Names) error {
	f.looked = map[NamespaceID][]string{}
	names := map[NamespaceID][]string{}
	for _, ref := range n.retrieverRefs() {
		ns, err := f.namespaceOf(ref)
		if err != nil || ref.ByID || slices.Contains(f.looked[ns.ID], ref.Retriever) {
			continue
		}
		f.looked[ns.ID] = append(f.looked[ns.ID], ref.Retriever)
		if ref.Retriever != "" && f.byID(ns, ref.Retriever) == nil {
			names[ns.ID] = append(names[ns.ID], ref.Retriever)
		}
	}
	var reads tasks
	named := make([][]Retriever, 0, len(names))
	for ns, refs := range names {
		named = append(named, nil)
		to := &named[len(named)-1]
		reads.add(func(ctx context.Context) (err error) {
			*to, err = f.service.Store.RetrieversNamed(ctx, f.caller.tenant(), ns, refs)
			return err
		})
	}
	var ids []RetrieverID
	if ns, err := f.resolve(f.request); err == nil {
		for i := range f.keys {
			for _, id := range f.keys[i].Retrievers() {
				if f.caller.covers(ReadData, ns, id) && !slices.Contains(ids, id) {
					ids = append(ids, id)
				}
			}
		}
	}
	if len(ids) > 0 {
		reads.add(func(ctx context.Context) (err error) {
			f.keysIn, err = f.service.Store.Retrievers(ctx, f.caller.tenant(), ids)
			return err
		})
	}
	err := reads.do(ctx)
	f.named = slices.Concat(named...)
	return err
}

// listing is a ListingOf that is being read.
type listing struct {
	query query
	err   error
	first map[RetrieverID][]Key
}

// list makes the listings of the retrievers that exist.
func (f *Found) list(ctx context.Context, of []ListingOf, listings []*listing) error {
	var reads, connects tasks
	var keep []func()
	for i, l := range listings {
		f.listings[i] = map[RetrieverID]Listing{}
		var missing []RetrieverID
		seen := map[RetrieverID]bool{}
		for _, ref := range of[i].Retrievers {
			r, err := f.Retriever(ref)
			if err != nil || seen[r.ID] {
				continue
			}
			seen[r.ID] = true
			if _, read := l.first[r.ID]; !read && l.err == nil {
				missing = append(missing, r.ID)
			}
			part := Listing{Err: l.err}
			if l.err == nil {
				connects.add(func(ctx context.Context) error {
					part.Keys, part.Err = f.service.connectKeys(ctx, f.caller.tenant(), keySource{retriever: r.ID}, &l.query, l.first[r.ID])
					return nil
				})
			}
			keep = append(keep, func() { f.listings[i][r.ID] = part })
		}
		if len(missing) > 0 {
			reads.add(func(ctx context.Context) error { return f.service.readPages(ctx, f.caller, l, missing) })
		}
	}
	if err := reads.do(ctx); err != nil {
		return err
	}
	err := connects.do(ctx)
	for _, k := range keep {
		k()
	}
	return err
}

// readPages reads the first pages of a listing, if it needs them.
func (s *Service) readPages(ctx context.Context, c Caller, l *listing, ids []RetrieverID) error {
	first, err := s.firstPages(ctx, c.tenant(), ids, &l.query)
	for i := range first {
		l.first[ids[i]] = first[i]
	}
	return err
}

// NamespaceAsked is Namespace for an id or name that the caller gives. An empty one matches nothing, rather than meaning that the request
// names no namespace.
func (f *Found) NamespaceAsked(ref string) (*Namespace, error) {
	if ref == "" {
		return nil, notFound("namespace")
	}
	return f.Namespace(ref)
}

// Namespace returns the namespace with that id or name. The id takes precedence.
func (f *Found) Namespace(ref string) (*Namespace, error) {
	ns, err := f.resolve(ref)
	if err != nil {
		return nil, err
	}
	if !f.caller.coversNamespace(ReadData, ns) {
		return nil, notFound("namespace")
	}
	return ns, nil
}

// resolve finds a namespace without checking whether the caller's scopes cover it, because they may cover something in it. If several
// have the name, it prefers one that the scopes cover, so that what the caller cannot see hides nothing.
func (f *Found) resolve(ref string) (*Namespace, error) {
	if ref == "" {
		return nil, Invalid("X-Namespace", "Send the namespace's id or name in the X-Namespace header or the namespace query parameter.")
	}
	var ns *Namespace
	covered := func(n *Namespace) bool { return f.caller.coversNamespace(ReadData, n) }
	for i := range f.namespaces {
		n := &f.namespaces[i]
		switch {
		case string(n.ID) == ref:
			return n, nil
		case n.Name == ref && (ns == nil || covered(n) && !covered(ns) || covered(n) == covered(ns) && n.ID < ns.ID):
			ns = n
		}
	}
	if ns == nil {
		return nil, notFound("namespace")
	}
	return ns, nil
}

// namespaceOf returns the namespace in which a retriever is looked up.
func (f *Found) namespaceOf(ref RetrieverRef) (*Namespace, error) {
	if ref.In != nil {
		return ref.In, nil
	}
	return f.resolve(ref.Namespace)
}

// LookedFor reports whether the retriever was named, by any reference to its namespace.
func (f *Found) LookedFor(ref RetrieverRef) bool {
	ns, err := f.namespaceOf(ref)
	return err == nil && slices.Contains(f.looked[ns.ID], ref.Retriever)
}

// Retriever returns the retriever with that reference, if it was named.
func (f *Found) Retriever(ref RetrieverRef) (*Retriever, error) {
	ns, err := f.namespaceOf(ref)
	if err != nil {
		return nil, err
	}
	if r := f.byID(ns, ref.Retriever); r != nil {
		return r, nil
	}
	var found *Retriever
	for i := range f.named {
		r := &f.named[i]
		if r.Name == ref.Retriever && !ref.ByID && f.sees(ns, r) && (found == nil || r.ID < found.ID) {
			found = r
		}
	}
	switch {
	case found != nil:
		return found.within(ns), nil
	case ref.In != nil:
		return nil, notFound("retriever")
	default:
		return nil, f.caller.nothingIn(ns, "retriever")
	}
}

// byID returns the namespace's retriever with that id, or nil if the caller sees none.
func (f *Found) byID(ns *Namespace, id string) *Retriever {
	for i := range f.retrievers {
		if r := &f.retrievers[i]; string(r.ID) == id && f.sees(ns, r) {
			return r.within(ns)
		}
	}
	return nil
}

// sees reports whether the retriever is in the namespace and the caller may see it. Others count as absent, so that they hide nothing.
func (f *Found) sees(ns *Namespace, r *Retriever) bool {
	return r.NamespaceID == ns.ID && f.caller.covers(ReadData, ns, r.ID)
}

// within returns a copy of the retriever that knows its namespace.
func (r Retriever) within(ns *Namespace) *Retriever {
	r.Namespace = ns
	return &r
}

// Key returns the key with that id, if one of its retrievers is in the request's namespace and covered.
func (f *Found) Key(id ID) (*Key, error) {
	ns, err := f.resolve(f.request)
	if err != nil {
		return nil, err
	}
	if k := f.key(ns, id); k != nil {
		return k, nil
	}
	return nil, f.caller.nothingIn(ns, "API key")
}

func (f *Found) key(ns *Namespace, id ID) *Key {
	var key *Key
	for i := range f.keys {
		if k := &f.keys[i]; k.ID == id && (key == nil || k.Hash < key.Hash) {
			key = k
		}
	}
	if key == nil {
		return nil
	}
	named := key.Retrievers()
	here := func(r Retriever) bool { return slices.Contains(named, r.ID) && f.sees(ns, &r) }
	if !slices.ContainsFunc(f.keysIn, here) {
		return nil
	}
	k := *key
	k.Status = k.StatusAt(f.now)
	return &k
}

// Listing returns the result of the i-th listing for a retriever. It reports false if the retriever was not named for it.
func (f *Found) Listing(i int, id RetrieverID) (Listing, bool) {
	l, ok := f.listings[i][id]
	return l, ok
}

// tasks run concurrently.
type tasks []func(context.Context) error

func (t *tasks) add(f func(context.Context) error) { *t = append(*t, f) }

func (t tasks) do(ctx context.Context) error {
	return Together(ctx, len(t), func(ctx context.Context, i int) error { return t[i](ctx) })
}
