package apikey

import (
	"cmp"
	"context"
	"crypto/subtle"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// Service answers the product's questions. Its methods take the caller as an argument; a context carries only
// deadlines and spans. They return an *Error, or an error that is Internal to callers.
type Service struct {
	Store Store
	Now   func() time.Time // nil is time.Now
	Usage *Usage           // nil notes nothing
}

func (s *Service) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// Authenticate returns the caller whose key the bearer token is. Every bad token, whatever is bad about it, gives
// one and the same Unauthenticated error; a store that cannot be asked gives Unavailable.
func (s *Service) Authenticate(ctx context.Context, token string) (Caller, error) {
	refused := unauthenticated("The bearer token is not a valid API key.")
	if !plausible(token) {
		return Caller{}, refused
	}
	hash := digest(token)
	keys, err := s.Store.KeysByHash(ctx, hash)
	if err != nil {
		return Caller{}, err
	}
	// Two documents with one hash: nobody can tell whose token it is.
	if len(keys) != 1 || subtle.ConstantTimeCompare([]byte(keys[0].Hash), []byte(hash)) != 1 {
		return Caller{}, refused
	}
	key := &keys[0]
	if key.InternalID == "" {
		return Caller{}, refused
	}
	if key.Status = key.StatusAt(s.now()); key.Status != Active {
		return Caller{}, refused
	}
	return Caller{Key: key}, nil
}

// authorize returns nil, and notes that the caller's key is used, if the caller holds at least the permission.
func (s *Service) authorize(c Caller, p Permission) error {
	err := c.authorize(p)
	if err == nil {
		s.used(c)
	}
	return err
}

func (s *Service) used(c Caller) {
	if s.Usage != nil {
		s.Usage.note(c.Key, s.now())
	}
}

// Viewer returns the caller's own key.
func (s *Service) Viewer(c Caller) (*Key, error) {
	if err := s.authorize(c, Read); err != nil {
		return nil, err
	}
	return c.Key, nil
}

// Namespace returns the namespace with that id or name; the id wins.
func (s *Service) Namespace(ctx context.Context, c Caller, ref string) (*Namespace, error) {
	if err := s.authorize(c, Read); err != nil {
		return nil, err
	}
	ns, err := s.resolve(ctx, c, ref)
	if err != nil {
		return nil, err
	}
	if !c.coversNamespace(ReadData, ns) {
		return nil, notFound("namespace")
	}
	return ns, nil
}

// resolve finds the namespace that a request names, without asking whether the caller's scopes cover it: what is
// in it may be covered all the same.
func (s *Service) resolve(ctx context.Context, c Caller, ref string) (*Namespace, error) {
	if ref == "" {
		return nil, Invalid("X-Namespace", "Name a namespace, by id or name, in the X-Namespace header or the namespace query parameter.")
	}
	found, err := s.Store.Namespaces(ctx, c.tenant(), []string{ref})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, notFound("namespace")
	}
	byIDThenSmallest := func(a, b Namespace) int {
		if a.ID == NamespaceID(ref) {
			return -1
		}
		if b.ID == NamespaceID(ref) {
			return 1
		}
		return cmp.Compare(a.ID, b.ID)
	}
	ns := slices.MinFunc(found, byIDThenSmallest)
	return &ns, nil
}

// Retriever returns the retriever with that id or name in the namespace, itself an id or a name; ids win.
func (s *Service) Retriever(ctx context.Context, c Caller, namespace, ref string) (*Retriever, error) {
	if err := s.authorize(c, Read); err != nil {
		return nil, err
	}
	return s.findRetriever(ctx, c, namespace, ref)
}

func (s *Service) findRetriever(ctx context.Context, c Caller, namespace, ref string) (*Retriever, error) {
	var ns *Namespace
	var found []Retriever
	err := together(ctx, 2, func(ctx context.Context, i int) (err error) {
		if i == 0 {
			ns, err = s.resolve(ctx, c, namespace)
		} else if namespace != "" {
			found, err = s.Store.Retrievers(ctx, c.tenant(), []RetrieverID{RetrieverID(ref)})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	r, err := s.retrieverIn(ctx, c, ns, ref, found)
	if err == nil && r == nil {
		err = c.nothingIn(ns, "retriever")
	}
	return r, err
}

// RetrieverIn returns the retriever with that id or name in a namespace that the Service returned to the same caller.
func (s *Service) RetrieverIn(ctx context.Context, c Caller, ns *Namespace, ref string) (*Retriever, error) {
	if err := s.authorize(c, Read); err != nil {
		return nil, err
	}
	found, err := s.Store.Retrievers(ctx, c.tenant(), []RetrieverID{RetrieverID(ref)})
	if err != nil {
		return nil, err
	}
	r, err := s.retrieverIn(ctx, c, ns, ref, found)
	if err == nil && r == nil {
		err = notFound("retriever")
	}
	return r, err
}

// retrieverIn chooses among those found by id, and looks for the name where none of them is the one. It returns nil
// where there is none: one that is not covered counts as absent from the start, so that it hides no other.
func (s *Service) retrieverIn(ctx context.Context, c Caller, ns *Namespace, ref string, found []Retriever) (*Retriever, error) {
	absent := func(r Retriever) bool { return r.NamespaceID != ns.ID || !c.covers(ReadData, ns, r.ID) }
	found = slices.DeleteFunc(found, absent)
	if len(found) == 0 && ref != "" {
		named, err := s.Store.RetrieversNamed(ctx, c.tenant(), ns.ID, []string{ref})
		if err != nil {
			return nil, err
		}
		found = slices.DeleteFunc(named, absent)
	}
	if len(found) == 0 {
		return nil, nil
	}
	r := slices.MinFunc(found, func(a, b Retriever) int { return cmp.Compare(a.ID, b.ID) })
	r.Namespace = ns
	return &r, nil
}

// Retrievers returns a page of the namespace's retrievers, by name. The search is a literal, case-insensitive part
// of name or id. A caller whose scopes cover only some sees, and counts, only these.
func (s *Service) Retrievers(ctx context.Context, c Caller, namespace string, p Page, search string, wants Wants) (*Connection[Retriever], error) {
	if err := s.authorize(c, Read); err != nil {
		return nil, err
	}
	w, err := p.window(retrievers, retrieverPage)
	if err != nil {
		return nil, err
	}
	ns, err := s.resolve(ctx, c, namespace)
	if err != nil {
		return nil, err
	}
	return s.retrieversIn(ctx, c, ns, w, search, wants)
}

// RetrieversIn is Retrievers for a namespace that the Service returned to the same caller.
func (s *Service) RetrieversIn(ctx context.Context, c Caller, ns *Namespace, p Page, search string, wants Wants) (*Connection[Retriever], error) {
	if err := s.authorize(c, Read); err != nil {
		return nil, err
	}
	w, err := p.window(retrievers, retrieverPage)
	if err != nil {
		return nil, err
	}
	return s.retrieversIn(ctx, c, ns, w, search, wants)
}

// retrieversIn reads the window of the namespace, once both were found valid.
func (s *Service) retrieversIn(ctx context.Context, c Caller, ns *Namespace, w window, search string, wants Wants) (*Connection[Retriever], error) {
	at := func(r *Retriever) position {
		return position{list: retrievers, value: r.Name, id: string(r.ID)}
	}
	src := source[Retriever]{
		at: at,
		run: func(ctx context.Context, w window) ([]Retriever, error) {
			return s.Store.RetrieverPage(ctx, c.tenant(), ns.ID, RetrieverRange{
				After: retrieverPosition(w.after), Before: retrieverPosition(w.before), FromEnd: w.fromEnd, Limit: w.limit,
			})
		},
		count: func(ctx context.Context) (int, error) {
			return s.Store.CountRetrievers(ctx, c.tenant(), ns.ID)
		},
	}
	var conn *Connection[Retriever]
	var err error
	if search == "" && c.coversNamespace(ReadData, ns) {
		var got []Retriever
		if wants.reads() {
			if got, err = src.run(ctx, probe(w)); err != nil {
				return nil, err
			}
		}
		conn, err = src.connect(ctx, w, wants, got)
	} else {
		var all []Retriever
		if all, err = src.run(ctx, window{limit: ScanLimit + 1}); err != nil {
			return nil, err
		}
		if len(all) > ScanLimit {
			return nil, Invalid("search", "This namespace has more than %d retrievers: they cannot be searched, nor listed by a key that sees only some of them.", ScanLimit)
		}
		visible := slices.DeleteFunc(all, func(r Retriever) bool { return !c.covers(ReadData, ns, r.ID) })
		if len(visible) == 0 && !c.coversNamespace(ReadData, ns) {
			return nil, notFound("namespace")
		}
		matching := slices.DeleteFunc(visible, func(r Retriever) bool { return !contains(search, r.Name, string(r.ID)) })
		conn, err = scanned(ctx, matching, at, Ascending, w, wants)
	}
	if err != nil {
		return nil, err
	}
	for i := range conn.Items {
		conn.Items[i].Namespace = ns
	}
	return conn, nil
}

func retrieverPosition(p *position) *RetrieverPosition {
	if p == nil {
		return nil
	}
	return &RetrieverPosition{Name: p.value, ID: RetrieverID(p.id)}
}

// Key returns the key with that id, if one of the retrievers it names is in the namespace and covered.
func (s *Service) Key(ctx context.Context, c Caller, namespace string, id ID, fields Fields) (*Key, error) {
	n, err := s.node(ctx, c, namespace, string(id), fields, false)
	if err != nil {
		return nil, err
	}
	if n.key == nil {
		return nil, c.nothingIn(n.in, "API key")
	}
	return n.key, nil
}

// Node is what an id stands for: exactly one of them is set.
type Node struct {
	Key       *Key
	Retriever *Retriever
	Namespace *Namespace
}

// Node returns what has that id, looking at keys, then the namespace's retrievers, then the organization's namespaces.
func (s *Service) Node(ctx context.Context, c Caller, namespace, id string, fields Fields) (Node, error) {
	n, err := s.node(ctx, c, namespace, id, fields, true)
	if err != nil {
		return Node{}, err
	}
	switch {
	case n.key != nil:
		return Node{Key: n.key}, nil
	case n.retriever != nil:
		return Node{Retriever: n.retriever}, nil
	case n.namespace != nil:
		return Node{Namespace: n.namespace}, nil
	default:
		return Node{}, c.nothingIn(n.in, "node")
	}
}

type candidates struct {
	in        *Namespace // the one of the request
	key       *Key
	retriever *Retriever
	namespace *Namespace
}

// node looks the id up everywhere at once; all is false where only a key will do.
func (s *Service) node(ctx context.Context, c Caller, namespace, id string, fields Fields, all bool) (candidates, error) {
	if err := s.authorize(c, Read); err != nil {
		return candidates{}, err
	}
	var ns *Namespace
	var keys []Key
	var rs []Retriever
	var nss []Namespace
	lookups := []func(context.Context) error{
		func(ctx context.Context) (err error) { ns, err = s.resolve(ctx, c, namespace); return err },
		func(ctx context.Context) (err error) {
			keys, err = s.Store.Keys(ctx, c.tenant(), []ID{ID(id)}, fields|StatusFields|FieldScopes)
			return err
		},
		func(ctx context.Context) (err error) {
			rs, err = s.Store.Retrievers(ctx, c.tenant(), []RetrieverID{RetrieverID(id)})
			return err
		},
		func(ctx context.Context) (err error) {
			nss, err = s.Store.Namespaces(ctx, c.tenant(), []string{id})
			return err
		},
	}
	if !all {
		lookups = lookups[:2]
	}
	if namespace == "" || id == "" {
		lookups = lookups[:1]
	}
	if err := together(ctx, len(lookups), func(ctx context.Context, i int) error { return lookups[i](ctx) }); err != nil {
		return candidates{}, err
	}

	found := candidates{in: ns}
	var err error
	if found.key, err = s.visibleKey(ctx, c, ns, keys); err != nil {
		return candidates{}, err
	}
	for i := range rs {
		if rs[i].NamespaceID == ns.ID && c.covers(ReadData, ns, rs[i].ID) {
			rs[i].Namespace = ns
			found.retriever = &rs[i]
		}
	}
	if !c.coversNamespace(ReadData, ns) {
		return found, nil // to this caller the request's namespace may not exist, and without one there is no answer
	}
	for i := range nss {
		if string(nss[i].ID) == id && c.coversNamespace(ReadData, &nss[i]) {
			found.namespace = &nss[i]
		}
	}
	return found, nil
}

// visibleKey returns the key if a retriever that it names is in the namespace and covered, else nil.
func (s *Service) visibleKey(ctx context.Context, c Caller, ns *Namespace, keys []Key) (*Key, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	key := slices.MinFunc(keys, func(a, b Key) int { return cmp.Compare(a.Hash, b.Hash) })
	covered := slices.DeleteFunc(key.Retrievers(), func(id RetrieverID) bool { return !c.covers(ReadData, ns, id) })
	if len(covered) == 0 {
		return nil, nil
	}
	rs, err := s.Store.Retrievers(ctx, c.tenant(), covered)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(rs, func(r Retriever) bool { return r.NamespaceID == ns.ID }) {
		return nil, nil
	}
	key.Status = key.StatusAt(s.now())
	return &key, nil
}

// sideBySide is how many calls together makes at once: one request must not take a store's whole pool.
const sideBySide = 16

// together calls f for 0 to n-1, several side by side, and returns one of the errors, if any. The first error ends the
// others' context. A panic in f becomes an error.
func together(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	guarded := func(ctx context.Context, i int) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		return f(ctx, i)
	}
	if n == 1 {
		return guarded(ctx, 0)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	turns := make(chan struct{}, sideBySide)
	for i := range n {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			if err := guarded(ctx, i); err != nil {
				once.Do(func() { first = err; cancel() })
			}
		})
	}
	wg.Wait()
	return first
}
