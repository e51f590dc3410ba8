package apikey

import (
	"cmp"
	"context"
	"slices"
)

// Retriever returns the retriever with that id or name in the namespace, which is also given by id or name. Ids take precedence.
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

// resolve finds the namespace that a request names, without checking the caller's scopes.
func (s *Service) resolve(ctx context.Context, c Caller, ref string) (*Namespace, error) {
	found, err := s.lookUp(ctx, c, Names{Namespaces: []string{ref}})
	if err != nil {
		return nil, err
	}
	return found.resolve(ref)
}

// Retrievers returns a page of the retrievers of the request's namespace, by name. The search text must be part of the name or id,
// ignoring case. A caller whose scopes cover only some retrievers sees and counts only these.
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

// retrieversIn reads a valid window of the namespace.
func (s *Service) retrieversIn(ctx context.Context, c Caller, ns *Namespace, w window, text string, wants Wants) (*Connection[Retriever], error) {
	search := NewSearch(text)
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
	visible := whole // whether the caller sees any retriever
	if text == "" && whole {
		src.count = func(ctx context.Context) (int, error) { return s.Store.CountRetrievers(ctx, c.tenant(), ns.ID) }
	} else {
		looked := func(r *Retriever) bool {
			covered := whole || c.covers(ReadData, ns, r.ID)
			visible = visible || covered
			return covered && search.matches(r.Name, string(r.ID))
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

// RetrieversOf returns, for each key, a page of the retrievers that it names by exact id, in any namespace, in the order of its scopes. It
// returns only retrievers that exist and that the caller may see. It reads those of all keys together. The keys need their scopes.
func (s *Service) RetrieversOf(ctx context.Context, c Caller, keys []*Key, p Page, wants Wants) ([]*Connection[Retriever], error) {
	if err := s.authorize(c, Read); err != nil {
		return nil, err
	}
	w, err := p.window(scopeOrder, RetrieverPage)
	if err != nil {
		return nil, err
	}
	visible, err := s.visibleRetrievers(ctx, c, keys)
	if err != nil {
		return nil, err
	}
	out := make([]*Connection[Retriever], len(keys))
	for i, k := range keys {
		named := k.Retrievers()
		var items []Retriever
		for _, id := range named {
			if r := visible[id]; r != nil {
				items = append(items, *r)
			}
		}
		place := func(p *position) int { return slices.Index(named, RetrieverID(p.id)) }
		at := func(r *Retriever) position { return position{kind: scopeOrder, id: string(r.ID)} }
		src := itemsOf(items, at, func(a, b *position) int { return cmp.Compare(place(a), place(b)) })
		if out[i], err = src.page(ctx, w, wants); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// visibleRetrievers returns the retrievers that the keys name by exact id and that the caller sees, in any namespace, by id.
func (s *Service) visibleRetrievers(ctx context.Context, c Caller, keys []*Key) (map[RetrieverID]*Retriever, error) {
	found, err := s.retrieversOf(ctx, c, keys)
	if err != nil {
		return nil, err
	}
	return s.seen(ctx, c, found, nil)
}

// retrieverIDs returns the ids of the namespace's retrievers that the caller sees. Requests that have limits can join mostRetrievers.
func (s *Service) retrieverIDs(ctx context.Context, c Caller, ns *Namespace) ([]RetrieverID, error) {
	ids := []RetrieverID{}
	whole := c.coversNamespace(ReadData, ns)
	for w := (window{limit: mostRetrievers + 1}); ; {
		page, err := s.retrieverPage(ctx, c, ns, w)
		if err != nil {
			return nil, err
		}
		for i := range page {
			if whole || c.covers(ReadData, ns, page[i].ID) {
				ids = append(ids, page[i].ID)
			}
		}
		switch {
		case len(ids) > mostRetrievers && CostFrom(ctx).bounded():
			return nil, Invalid("", "The namespace has more than %d retrievers: ask each retriever, or the organization, instead.", mostRetrievers)
		case len(page) < w.limit:
			return ids, nil
		}
		last := retrieverAt(&page[len(page)-1])
		w.after = &last
	}
}

func retrieverAt(r *Retriever) position {
	return position{kind: retrievers, value: r.Name, id: string(r.ID)}
}

func retrieverPosition(p *position) *RetrieverPosition {
	if p == nil {
		return nil
	}
	return &RetrieverPosition{Name: p.value, ID: RetrieverID(p.id)}
}
