package apikey

import (
	"context"
	"slices"
	"strings"
	"time"
)

// ScanLimit is how many keys of a retriever may be read to order them by name or last use, which no store does.
const ScanLimit = 20_000

// ListOptions are the arguments of a list of keys.
type ListOptions struct {
	IncludeRevoked bool // include revoked and expired keys
	Page           Page
	Filter         Filter
	Order          Order
	Wants          Wants
	Fields         Fields // the fields of the keys that are needed
}

// Filter narrows a list. Its zero value restricts nothing.
type Filter struct {
	Status        []Status
	KeyType       []Type
	Search        string // see the type search
	CreatedBy     *string
	UnusedSince   *time.Time // not used at or after this instant; includes keys that were never used
	ExpiresBefore *time.Time
}

// Order is the order of a list. Its zero value is newest first.
type Order struct {
	Field     OrderField
	Direction Direction
}

// Direction is the direction of an order.
type Direction string

// The directions.
const (
	Descending Direction = ""
	Ascending  Direction = "asc"
)

// OrderField is a field that keys can be ordered by.
type OrderField string

// The order fields.
const (
	ByCreatedAt  OrderField = ""
	ByLastUsedAt OrderField = "last_used_at"
	ByExpiresAt  OrderField = "expires_at"
	ByName       OrderField = "name"
)

func (f OrderField) list() list {
	switch f {
	case ByLastUsedAt:
		return byLastUsedAt
	case ByExpiresAt:
		return byExpiresAt
	case ByName:
		return byName
	default:
		return byCreatedAt
	}
}

// query is a valid ListOptions at one instant.
type query struct {
	ListOptions
	window window
	list   list
	search search
	now    time.Time
}

func (o ListOptions) query(now time.Time) (query, error) {
	q := query{ListOptions: o, now: now, list: o.Order.Field.list(), search: newSearch(o.Filter.Search)}
	if err := q.search.check("filter.search"); err != nil {
		return q, err
	}
	for _, s := range o.Filter.Status {
		if s != Active && !o.IncludeRevoked {
			return q, Invalid("filter.status", "Listing %s keys requires includeRevoked: true.", strings.ToUpper(string(s)))
		}
	}
	// Each key is compared with all of these.
	q.Filter.Status, q.Filter.KeyType = distinct(slices.Clone(o.Filter.Status)), distinct(slices.Clone(o.Filter.KeyType))
	if !allKnown(o.Filter.KeyType) {
		return q, Invalid("filter.keyType", "UNKNOWN is not a type that can be filtered by.")
	}
	var err error
	q.window, err = o.Page.window(q.list, MaxPage)
	return q, err
}

// onlyActive reports whether the list contains active keys only.
func (q *query) onlyActive() bool {
	onlyActive := len(q.Filter.Status) > 0 && !slices.ContainsFunc(q.Filter.Status, func(s Status) bool { return s != Active })
	return !q.IncludeRevoked || onlyActive
}

// scans reports whether the list needs a scan, because the store neither filters nor orders that way.
func (q *query) scans() bool {
	f := &q.Filter
	return len(f.Status) > 0 && !q.onlyActive() || len(f.KeyType) > 0 || f.Search != "" || f.CreatedBy != nil ||
		f.UnusedSince != nil || f.ExpiresBefore != nil || q.Order != Order{}
}

// fields are the fields that the store must read: those that were asked for, and those that the domain needs.
func (q *query) fields() Fields {
	fields := q.Fields | FieldCreatedAt | StatusFields
	for _, need := range []struct {
		when   bool
		fields Fields
	}{
		{len(q.Filter.KeyType) > 0, FieldType},
		{q.Filter.Search != "", FieldName | FieldDescription | FieldPrefix},
		{q.Filter.CreatedBy != nil, FieldCreatedBy},
		{q.Filter.UnusedSince != nil || q.Order.Field == ByLastUsedAt, FieldLastUsedAt},
		{q.Order.Field == ByName, FieldName},
	} {
		if need.when {
			fields |= need.fields
		}
	}
	return fields
}

func (q *query) activeAt() time.Time {
	if q.onlyActive() {
		return q.now
	}
	return time.Time{}
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
	q, err := o.query(s.now())
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
		out[i].Keys, out[i].Err = s.connectKeys(ctx, c.tenant(), ids[i], &q, first[i])
		return nil
	})
	return out, err
}

const (
	// readFirst is how many keys a KeyReader, or the scan of one list, reads first to learn how much memory they take: documents may have
	// any length. A KeyReader returns them together with the next ones.
	readFirst = 101
	// readBytes is about how much memory the next keys may take.
	readBytes = 8 << 20
	// scanBytes is readBytes for scans. A request has several of them.
	scanBytes = 2 << 20
)

// pages reports whether the list reads keys at all. It reads those of all retrievers together.
func (q *query) pages() bool { return q.Wants.reads() || q.scans() }

func (q *query) run(w window, fields Fields) KeyRange {
	return KeyRange{
		After: keyPosition(w.after), Before: keyPosition(w.before), FromEnd: w.fromEnd, Limit: w.limit,
		ActiveAt: q.activeAt(), Fields: fields,
	}
}

func keyPosition(p *position) *KeyPosition {
	if p == nil {
		return nil
	}
	return &KeyPosition{CreatedAt: p.time(), ID: ID(p.id)}
}

// firstPage is what was read of one retriever's keys together with those of others: the page, or the beginning of a scan.
type firstPage struct {
	keys []Key
	scan *keyScan
}

// listCost is charged for each list, in addition to the documents that it reads.
const listCost = 10

// largeRead is the number of keys from which a read counts as large: see maxLarge.
const largeRead = 200

// firstPages reads the first page of each retriever, in the same order. Pages that are not needed stay empty.
func (s *Service) firstPages(ctx context.Context, tenant InternalID, ids []RetrieverID, q *query) ([]firstPage, error) {
	cost := CostFrom(ctx)
	if err := cost.Look(listCost * len(ids)); err != nil {
		return nil, err
	}
	first := make([]firstPage, len(ids))
	if !q.pages() {
		return first, nil
	}
	var r KeyRange
	if q.scans() {
		r = q.scan(q.window, q.Wants).next()
		if len(ids) == 1 {
			r.Limit = readFirst
		}
	} else {
		r = q.run(probe(q.window), q.fields())
	}
	if len(ids)*r.Limit > largeRead {
		done, err := cost.readLarge(ctx)
		if err != nil {
			return nil, err
		}
		defer done()
	}
	for read := 0; read < len(ids); {
		pages, err := s.Store.KeyPages(ctx, tenant, ids[read:], r)
		if err != nil {
			return nil, err
		}
		for _, keys := range pages {
			if q.scans() {
				first[read].scan = q.scan(q.window, q.Wants)
				first[read].scan.window.limit = r.Limit
				if err := first[read].scan.look(cost, keys); err != nil {
					return nil, err
				}
			} else {
				first[read].keys = keys
				bytes := 0
				for i := range keys {
					bytes += keys[i].Size()
				}
				if err := cost.retain(bytes); err != nil {
					return nil, err
				}
			}
			read++
		}
	}
	return first, nil
}

// connectKeys makes the page of one retriever's keys from those that were read first.
func (s *Service) connectKeys(ctx context.Context, tenant InternalID, id RetrieverID, q *query, first firstPage) (*Connection[Key], error) {
	src := source[Key]{
		at: q.position,
		run: func(ctx context.Context, w window) ([]Key, error) {
			pages, err := s.Store.KeyPages(ctx, tenant, []RetrieverID{id}, q.run(w, FieldCreatedAt))
			if err != nil {
				return nil, err
			}
			return pages[0], nil
		},
		count: func(ctx context.Context) (int, error) {
			return s.Store.CountKeys(ctx, tenant, id, q.activeAt())
		},
	}
	if first.scan == nil {
		for i := range first.keys {
			first.keys[i].Status = first.keys[i].StatusAt(q.now)
		}
		return src.connect(ctx, q.window, q.Wants, first.keys)
	}
	if err := s.finish(ctx, tenant, id, first.scan); err != nil {
		return nil, err
	}
	if first.scan.ranks {
		return first.scan.connection(), nil
	}
	src.run = func(ctx context.Context, w window) ([]Key, error) {
		beyond := q.scan(window{after: w.after, before: w.before, fromEnd: w.fromEnd, limit: w.limit - 1}, Wants{Items: true})
		err := s.finish(ctx, tenant, id, beyond)
		return beyond.keys(), err
	}
	return src.connect(ctx, q.window, q.Wants, first.scan.keys())
}

// finish reads on until the scan has all that it needs.
func (s *Service) finish(ctx context.Context, tenant InternalID, id RetrieverID, scan *keyScan) error {
	for counted := false; !scan.done; {
		if scan.ranks && !counted && scan.looked > MaxPage {
			counted = true
			if err := s.affords(ctx, tenant, id, scan); err != nil {
				return err
			}
		}
		if err := s.scanOn(ctx, tenant, id, scan); err != nil {
			return err
		}
	}
	return nil
}

// affords fails if a scan that must read all keys would read more than the request may. It counts index entries without charging them:
// counting is cheap, and the scan is charged for each document.
func (s *Service) affords(ctx context.Context, tenant InternalID, id RetrieverID, scan *keyScan) error {
	cost := CostFrom(ctx)
	if !cost.bounded() {
		return nil
	}
	done, err := cost.readLarge(ctx)
	if err != nil {
		return err
	}
	defer done()
	if e := cost.Exceeded(); e != nil {
		return e
	}
	entries := NewCost(int(cost.reads), 0)
	n, err := s.Store.CountKeys(WithCost(ctx, entries), tenant, id, scan.query.activeAt())
	switch left := cost.Left(); {
	case entries.Exceeded() != nil || err == nil && n-scan.looked > left:
		return cost.Look(left + 1)
	default:
		return err
	}
}

func (s *Service) scanOn(ctx context.Context, tenant InternalID, id RetrieverID, scan *keyScan) error {
	cost := CostFrom(ctx)
	done, err := cost.readLarge(ctx)
	if err != nil {
		return err
	}
	defer done()
	pages, err := s.Store.KeyPages(ctx, tenant, []RetrieverID{id}, scan.next())
	if err != nil {
		return err
	}
	return scan.look(cost, pages[0])
}

// selects reports whether the filter matches the key.
func (q *query) selects(k *Key) bool {
	f := &q.Filter
	switch {
	case len(f.Status) > 0 && !slices.Contains(f.Status, k.Status),
		len(f.KeyType) > 0 && !slices.Contains(f.KeyType, k.Type),
		f.CreatedBy != nil && (k.CreatedBy == nil || *k.CreatedBy != *f.CreatedBy),
		f.UnusedSince != nil && k.LastUsedAt != nil && !k.LastUsedAt.Before(*f.UnusedSince),
		f.ExpiresBefore != nil && (k.ExpiresAt == nil || !k.ExpiresAt.Before(*f.ExpiresBefore)):
		return false
	}
	return q.search.finds(k)
}

// position is the key's place in the requested order.
func (q *query) position(k *Key) position {
	p := position{list: q.list, id: string(k.ID)}
	switch q.Order.Field {
	case ByName:
		p.value = k.Name
	case ByLastUsedAt:
		p.value, p.null = timeValue(k.LastUsedAt)
	case ByExpiresAt:
		p.value, p.null = timeValue(k.ExpiresAt)
	case ByCreatedAt:
		p.value, p.null = timeValue(k.CreatedAt)
	}
	return p
}
