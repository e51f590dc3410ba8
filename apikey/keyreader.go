package apikey

import (
	"context"
	"slices"
)

// KeyReader reads all keys of a retriever page by page, newest first.
type KeyReader struct {
	service   *Service
	tenant    InternalID
	retriever RetrieverID
	query     query
	done      bool
}

// ReadKeys returns a reader of the retriever's active keys, or of all keys, that match the search as in Filter. Their statuses are those
// at this instant. The Service must have returned the retriever to the same caller.
func (s *Service) ReadKeys(c Caller, r *Retriever, includeRevoked bool, search string) (*KeyReader, error) {
	if err := s.authorize(c, Read); err != nil {
		return nil, err
	}
	o := ListOptions{IncludeRevoked: includeRevoked, Filter: Filter{Search: search}, Fields: AllFields}
	q := query{ListOptions: o, window: window{limit: readFirst}, list: byCreatedAt, search: newSearch(search), now: s.now()}
	if err := q.search.check("search"); err != nil {
		return nil, err
	}
	return &KeyReader{service: s, tenant: c.tenant(), retriever: r.ID, query: q}, nil
}

// readTogether is how many keys a KeyReader or a scan reads at a time. It is one more than a page, so that one read shows that a page is
// complete.
const readTogether = MaxPage + 1

// Done reports whether all keys were returned.
func (r *KeyReader) Done() bool { return r.done }

// Next returns the next keys: about a thousand at most, fewer if they are long, and none at the end.
func (r *KeyReader) Next(ctx context.Context) ([]Key, error) {
	for !r.done {
		begins := r.query.window.after == nil
		keys, err := r.read(ctx)
		if begins && err == nil && !r.done {
			var more []Key
			r.query.window.limit = min(r.query.window.limit, readTogether-readFirst)
			more, err = r.read(ctx)
			keys = append(keys, more...)
		}
		if err != nil {
			return nil, err
		}
		if found := slices.DeleteFunc(keys, func(k Key) bool { return !r.query.selects(&k) }); len(found) > 0 {
			return found, nil
		}
	}
	return nil, nil
}

// read reads once and decides how much to read next time.
func (r *KeyReader) read(ctx context.Context) ([]Key, error) {
	pages, err := r.service.Store.KeyPages(ctx, r.tenant, []RetrieverID{r.retriever}, r.query.run(r.query.window, AllFields))
	if err != nil {
		return nil, err
	}
	keys, bytes := pages[0], 0
	for i := range keys {
		keys[i].Status = keys[i].StatusAt(r.query.now)
		bytes += keys[i].Size()
	}
	if r.done = len(keys) < r.query.window.limit; !r.done {
		last := r.query.position(&keys[len(keys)-1])
		r.query.window.after, r.query.window.limit = &last, min(max(1, readBytes*len(keys)/bytes), readTogether)
	}
	return keys, nil
}
