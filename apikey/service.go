package apikey

import (
	"context"
	"crypto/subtle"
	"time"
)

// Service answers the product's questions. Its methods take the caller as an argument; a context carries only
// deadlines and spans. They return an *Error, or an error that is Internal to callers.
type Service struct {
	Store Store
	Now   func() time.Time // nil is time.Now
	Usage *Usage           // nil notes nothing
	// RateLimit is how many requests a minute a key without a limit of its own may make; 0 means any number.
	RateLimit int

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
func (s *Service) retrieversIn(ctx context.Context, c Caller, ns *Namespace, w window, text string, wants Wants) (*Connection[Retriever], error) {
	search := newSearch(text)
	if err := search.check("search"); err != nil {
		return nil, err
	}
	if err := CostFrom(ctx).Look(listCost); err != nil {
		return nil, err
	}
	src := source[Retriever]{at: retrieverAt, run: func(ctx context.Context, w window) ([]Retriever, error) {
		return s.retrieverPage(ctx, c, ns, w)
	}}
	whole := c.coversNamespace(ReadData, ns)
	visible := whole // whether the caller sees any of them
	if text == "" && whole {
		src.count = func(ctx context.Context) (int, error) { return s.Store.CountRetrievers(ctx, c.tenant(), ns.ID) }
	} else {
		looked := func(r *Retriever) bool {
			covered := whole || c.covers(ReadData, ns, r.ID)
			visible = visible || covered
			return covered && search.in(r.Name, string(r.ID))
		}
		page := src.run
		src.run = func(ctx context.Context, w window) ([]Retriever, error) {
			done, err := CostFrom(ctx).readLarge(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			return page(ctx, w)
		}
		src = src.only(looked)
	}
	var got []Retriever
	var err error
	if wants.reads() {
		if got, err = src.run(ctx, probe(w)); err != nil {
			return nil, err
		}
	}
	conn, err := src.connect(ctx, w, wants, got)
	if err == nil && !visible {
		_, err = src.run(ctx, window{limit: 1})
	}
	switch {
	case err != nil:
		return nil, err
	case !visible:
		return nil, notFound("namespace")
	}
	for i := range conn.Items {
		conn.Items[i].Namespace = ns
	}
	return conn, nil
}

// retrieverPage reads a run of the namespace's retrievers.
func (s *Service) retrieverPage(ctx context.Context, c Caller, ns *Namespace, w window) ([]Retriever, error) {
	return s.Store.RetrieverPage(ctx, c.tenant(), ns.ID, RetrieverRange{
		After: retrieverPosition(w.after), Before: retrieverPosition(w.before), FromEnd: w.fromEnd, Limit: w.limit,
	})
}

func retrieverAt(r *Retriever) position {
	return position{list: retrievers, value: r.Name, id: string(r.ID)}
}

func retrieverPosition(p *position) *RetrieverPosition {
	if p == nil {
		return nil
	}
	return &RetrieverPosition{Name: p.value, ID: RetrieverID(p.id)}
}
