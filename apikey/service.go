package apikey

import (
	"context"
	"crypto/subtle"
	"slices"
	"time"
)

// Service answers the product's questions. Its methods take the caller as an argument; a context carries only
// deadlines and spans. They return an *Error, or an error that is Internal to callers.
type Service struct {
	Store Store
	Now   func() time.Time // nil is time.Now
	Usage *Usage           // nil notes nothing

	denials denials
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

// Retriever returns the retriever with that id or name in the namespace, itself an id or a name; ids win.
func (s *Service) Retriever(ctx context.Context, c Caller, namespace, ref string) (*Retriever, error) {
	if err := s.authorize(c, Read); err != nil {
		return nil, err
	}
	return s.findRetriever(ctx, c, namespace, ref)
}

func (s *Service) findRetriever(ctx context.Context, c Caller, namespace, ref string) (*Retriever, error) {
	named := RetrieverRef{Namespace: namespace, Retriever: ref}
	found, err := s.lookUp(ctx, c, Names{Retrievers: []RetrieverRef{named}})
	if err != nil {
		return nil, err
	}
	return found.Retriever(named)
}

// resolve finds the namespace that a request names, without asking whether the caller's scopes cover it.
func (s *Service) resolve(ctx context.Context, c Caller, ref string) (*Namespace, error) {
	found, err := s.lookUp(ctx, c, Names{Namespaces: []string{ref}})
	if err != nil {
		return nil, err
	}
	return found.resolve(ref)
}

// Retrievers returns a page of the request's namespace's retrievers, by name. The search is a literal, case-insensitive
// part of name or id. A caller whose scopes cover only some sees, and counts, only these.
func (f *Found) Retrievers(ctx context.Context, p Page, search string, wants Wants) (*Connection[Retriever], error) {
	w, err := p.window(retrievers, RetrieverPage)
	if err != nil {
		return nil, err
	}
	ns, err := f.resolve(f.request)
	if err != nil {
		return nil, err
	}
	return f.service.retrieversIn(ctx, f.caller, ns, w, search, wants)
}

// RetrieversIn is Found.Retrievers for a namespace that the Service returned to the same caller.
func (s *Service) RetrieversIn(ctx context.Context, c Caller, ns *Namespace, p Page, search string, wants Wants) (*Connection[Retriever], error) {
	if err := s.authorize(c, Read); err != nil {
		return nil, err
	}
	w, err := p.window(retrievers, RetrieverPage)
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
		if len(all) > ScanLimit && (c.coversNamespace(ReadData, ns) || slices.ContainsFunc(all, func(r Retriever) bool { return c.covers(ReadData, ns, r.ID) })) {
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
