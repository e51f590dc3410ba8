package apikey

import "context"

// KeyReader reads all keys of a list page by page, newest first.
type KeyReader struct {
	service *Service
	tenant  InternalID
	of      keySource
	query   query
	done    bool
}

// ReadKeys returns a reader of the retriever's keys that match the options, which have no order and no page. Their statuses are those at this
// instant. The Service must have returned the retriever to the same caller.
func (s *Service) ReadKeys(c Caller, r *Retriever, o ListOptions) (*KeyReader, error) {
	if err := s.authorize(c, Read); err != nil {
		return nil, err
	}
	return s.readKeys(c, keySource{retriever: r.ID}, o)
}

// ReadOrganizationKeys is ReadKeys for all keys of the caller's organization. It requires a caller who sees the whole organization.
func (s *Service) ReadOrganizationKeys(c Caller, o ListOptions) (*KeyReader, error) {
	if err := s.authorizeOrganization(c); err != nil {
		return nil, err
	}
	return s.readKeys(c, keySource{}, o)
}

// ReadNamespaceKeys is ReadKeys for the keys of a namespace, as NamespaceKeys lists them.
func (s *Service) ReadNamespaceKeys(ctx context.Context, c Caller, ns *Namespace, o ListOptions) (*KeyReader, error) {
	if err := s.authorize(c, Read); err != nil {
		return nil, err
	}
	ids, err := s.retrieverIDs(ctx, c, ns)
	if err != nil {
		return nil, err
	}
	return s.readKeys(c, keySource{naming: ids, walk: len(ids) > 1}, o)
}

func (s *Service) readKeys(c Caller, of keySource, o ListOptions) (*KeyReader, error) {
	q, err := o.query(s.Policy, s.now(), firstRead)
	return &KeyReader{service: s, tenant: c.tenant(), of: of, query: q}, err
}

const (
	// readTogether is how many keys are read at a time. It is one more than a page, so that one read shows that a page is complete.
	readTogether = MaxPage + 1
	// firstRead is how many keys a KeyReader reads first to learn how much memory they take: documents may have any length. It returns them
	// together with the next ones.
	firstRead = 101
	// readBytes is about how much memory the next keys may take.
	readBytes = 8 << 20
)

// Done reports whether all keys were returned.
func (r *KeyReader) Done() bool { return r.done }

// Next returns the next keys: about a thousand at most, fewer if they are long, and none at the end.
func (r *KeyReader) Next(ctx context.Context) ([]Key, error) {
	if r.done {
		return nil, nil
	}
	begins := r.query.window.after == nil
	keys, err := r.read(ctx)
	if begins && err == nil && !r.done {
		var more []Key
		r.query.window.limit = min(r.query.window.limit, readTogether-firstRead)
		more, err = r.read(ctx)
		keys = append(keys, more...)
	}
	return keys, err
}

// read reads once and decides how much to read next time.
func (r *KeyReader) read(ctx context.Context) ([]Key, error) {
	keys, err := r.service.keyPage(ctx, r.tenant, r.of, &r.query, r.query.keys(r.query.window, AllFields))
	if err != nil {
		return nil, err
	}
	for i := range keys {
		r.query.policy.asOf(&keys[i], r.query.now)
	}
	if r.done = len(keys) < r.query.window.limit; !r.done {
		last := r.query.position(&keys[len(keys)-1])
		r.query.window.after, r.query.window.limit = &last, min(max(1, readBytes*len(keys)/sizeOf(keys)), readTogether)
	}
	return keys, nil
}
