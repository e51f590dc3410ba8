package apikey

import (
	"context"
	"maps"
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
	keys       map[ID]*Key
	byHash     map[string]*Key
	here       map[RetrieverID]bool       // those that keys name and the caller sees in the request's namespace
	seen       map[RetrieverID]*Retriever // those that were looked up in the whole organization, or that keys looked up there name
	looked     map[NamespaceID][]string   // the retrievers that were looked up by id and by name
	listings   []map[RetrieverID]Listing
}

// LookUp reads everything that is named. That takes one round trip to the store; one more if retrievers are named by name, if the
// retrievers of keys are needed, or if retrievers are looked up in the whole organization; one more for the namespaces of keys that are
// looked up there; and one more for the keys of retrievers named by name.
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
	var keys, withHashes []Key
	if ids := n.keyIDs(); len(ids) > 0 {
		reads.add(func(ctx context.Context) (err error) {
			keys, err = s.Store.Keys(ctx, c.tenant(), ids, n.KeyFields|StatusFields|FieldScopes)
			return err
		})
	}
	if hashes := n.hashes(); len(hashes) > 0 {
		reads.add(func(ctx context.Context) (err error) {
			withHashes, err = s.Store.KeysWithHashes(ctx, c.tenant(), hashes, n.KeyFields|StatusFields|FieldScopes)
			return err
		})
	}
	for i, of := range n.Listings {
		listings[i] = &listing{first: map[RetrieverID][]Key{}}
		if listings[i].query, listings[i].err = of.Options.query(s.Policy, f.now, MaxPage); listings[i].err == nil {
			ids := idsOf(of.Retrievers)
			if len(c.Key.Scopes) > 0 {
				continue // what a list costs would show whether a retriever exists that the caller does not see
			}
			reads.add(func(ctx context.Context) error { return s.readPages(ctx, c, listings[i], ids) })
		}
	}
	if err := reads.do(ctx); err != nil {
		return nil, err
	}
	f.keys, f.byHash = byID(keys), make(map[string]*Key, len(withHashes))
	for i := range withHashes {
		f.byHash[withHashes[i].Hash] = &withHashes[i]
	}
	for _, k := range slices.AppendSeq(slices.Collect(maps.Values(f.keys)), maps.Values(f.byHash)) {
		s.Policy.asOf(k, f.now)
	}
	if err := f.readNamed(ctx, n); err != nil {
		return nil, err
	}
	return f, f.readListings(ctx, n.Listings, listings)
}

// readNamed reads what the first reads showed to be necessary: retrievers by name, and the retrievers of keys.
func (f *Found) readNamed(ctx context.Context, n Names) error {
	f.looked = map[NamespaceID][]string{}
	names := map[NamespaceID][]string{}
	for _, ref := range n.retrieverRefs() {
		if ref.Anywhere {
			continue
		}
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
	// The retrievers that keys name: in the request's namespace, and anywhere.
	here, ids := f.keyRetrievers(n)
	var keysIn []Retriever
	if all := distinct(slices.Concat(here, ids)); len(all) > 0 {
		reads.add(func(ctx context.Context) (err error) {
			keysIn, err = f.service.Store.Retrievers(ctx, f.caller.tenant(), all)
			return err
		})
	}
	if err := reads.do(ctx); err != nil {
		return err
	}
	f.named = slices.Concat(named...)
	f.here = map[RetrieverID]bool{}
	if ns, err := f.resolve(f.request); err == nil {
		for i := range keysIn {
			if r := &keysIn[i]; f.caller.sees(ns, r) {
				f.here[r.ID] = true
			}
		}
	}
	return f.readHomes(ctx, n.retrieversAnywhere(), f.retrievers, ids, keysIn)
}

// keyRetrievers returns the retrievers that decide whether the caller sees the keys: those that a key names, if it is looked up in the
// request's namespace, and those of keys that are looked up anywhere.
func (f *Found) keyRetrievers(n Names) (here, anywhere []RetrieverID) {
	if ns, err := f.resolve(f.request); err == nil {
		for _, id := range slices.Concat(n.Keys, as[ID](n.Nodes)) {
			if k := f.keys[id]; k != nil {
				covered := slices.DeleteFunc(k.Retrievers(), func(id RetrieverID) bool { return !f.caller.covers(ReadData, ns, id) })
				here = append(here, covered...)
			}
		}
	}
	if f.caller.seesOrganization() {
		return here, nil
	}
	for _, id := range n.keysAnywhere() {
		if k := f.keys[id]; k != nil {
			anywhere = append(anywhere, k.Retrievers()...)
		}
	}
	for _, k := range f.byHash {
		anywhere = append(anywhere, k.Retrievers()...)
	}
	return here, distinct(anywhere)
}

// readHomes reads the namespaces of retrievers that were looked up in the whole organization: by id, and because keys name them.
func (f *Found) readHomes(ctx context.Context, ids []RetrieverID, byID []Retriever, ofKeys []RetrieverID, named []Retriever) (err error) {
	asked := make(map[RetrieverID]bool, len(ids)+len(ofKeys))
	for _, id := range slices.Concat(ids, ofKeys) {
		asked[id] = true
	}
	found := slices.DeleteFunc(slices.Concat(byID, named), func(r Retriever) bool { return !asked[r.ID] })
	f.seen, err = f.service.seen(ctx, f.caller, found, f.namespaces)
	return err
}

// seen returns those of the retrievers that the caller sees, in any namespace, by id. It reads the namespaces that are not known yet. Of
// retrievers that share an id, it returns the one in the namespace with the smallest id.
func (s *Service) seen(ctx context.Context, c Caller, retrievers []Retriever, known []Namespace) (map[RetrieverID]*Retriever, error) {
	in := make(map[NamespaceID]*Namespace, len(known))
	for i := range known {
		in[known[i].ID] = &known[i]
	}
	var missing []string
	for i := range retrievers {
		if id := retrievers[i].NamespaceID; in[id] == nil {
			missing = append(missing, string(id))
		}
	}
	if missing = distinct(missing); len(missing) > 0 {
		read, err := s.Store.Namespaces(ctx, c.tenant(), missing)
		if err != nil {
			return nil, err
		}
		for i := range read {
			in[read[i].ID] = &read[i]
		}
	}
	seen := make(map[RetrieverID]*Retriever, len(retrievers))
	for i := range retrievers {
		r := &retrievers[i]
		ns := in[r.NamespaceID]
		if ns == nil || !c.sees(ns, r) {
			continue
		}
		if other := seen[r.ID]; other == nil || ns.ID < other.NamespaceID {
			seen[r.ID] = r.within(ns)
		}
	}
	return seen, nil
}

// byID returns the keys by id. Of those that share an id, which imports and other programs may leave behind, it is the one with the smallest
// hash.
func byID(keys []Key) map[ID]*Key {
	all := make(map[ID]*Key, len(keys))
	for i := range keys {
		if k := &keys[i]; all[k.ID] == nil || k.Hash < all[k.ID].Hash {
			all[k.ID] = k
		}
	}
	return all
}

// listing is a ListingOf that is being read.
type listing struct {
	query query
	err   error
	first map[RetrieverID][]Key
}

// readListings makes the listings of the retrievers that exist.
func (f *Found) readListings(ctx context.Context, of []ListingOf, listings []*listing) error {
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
	if ref.Anywhere {
		if r := f.seen[RetrieverID(ref.Retriever)]; r != nil {
			return r, nil
		}
		return nil, notFound("retriever")
	}
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
		if r.Name == ref.Retriever && !ref.ByID && f.caller.sees(ns, r) && (found == nil || r.ID < found.ID) {
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
		if r := &f.retrievers[i]; string(r.ID) == id && f.caller.sees(ns, r) {
			return r.within(ns)
		}
	}
	return nil
}

// within returns a copy of the retriever that knows its namespace.
func (r Retriever) within(ns *Namespace) *Retriever {
	r.Namespace = ns
	return &r
}

// Key returns the key with that id, if it names a retriever of the request's namespace that the caller sees. If the request names no
// namespace, it returns any key that the caller sees in the organization.
func (f *Found) Key(id ID) (*Key, error) {
	if f.request == "" {
		if k := f.keyAnywhere(f.keys[id]); k != nil {
			return k, nil
		}
		return nil, notFound("API key")
	}
	ns, err := f.resolve(f.request)
	if err != nil {
		return nil, err
	}
	if k := f.keyHere(id); k != nil {
		return k, nil
	}
	return nil, f.caller.nothingIn(ns, "API key")
}

// KeysWithHashes returns the keys with these hashes, in the same order. Each hash is the SHA-256 of a key in hexadecimal digits. It returns
// nil for a hash of no key that the caller sees in the organization, and of several keys.
func (f *Found) KeysWithHashes(hashes []string) ([]*Key, error) {
	hashes, err := readHashes(hashes)
	if err != nil {
		return nil, err
	}
	keys := make([]*Key, len(hashes))
	for i, hash := range hashes {
		keys[i] = f.keyAnywhere(f.byHash[hash])
	}
	return keys, nil
}

// keyHere returns the key with that id if it names a retriever that the caller sees in the request's namespace.
func (f *Found) keyHere(id ID) *Key {
	k := f.keys[id]
	if k == nil || !slices.ContainsFunc(k.Retrievers(), func(id RetrieverID) bool { return f.here[id] }) {
		return nil
	}
	return k
}

// Keys returns all keys that were found.
func (f *Found) Keys() []*Key {
	var keys []*Key
	for id, k := range f.keys {
		if f.keyHere(id) != nil || f.keyAnywhere(k) != nil {
			keys = append(keys, k)
		}
	}
	for _, k := range f.byHash {
		if f.keyAnywhere(k) != nil {
			keys = append(keys, k)
		}
	}
	return keys
}

// keyAnywhere returns the key if the caller sees it in the organization.
func (f *Found) keyAnywhere(k *Key) *Key {
	if k == nil || !f.caller.seesKey(k, f.seen) {
		return nil
	}
	return k
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
