package apikey

import (
	"slices"
	"strings"
	"time"
)

// KeyPage is the default page size for the keys of an organization or a namespace.
const KeyPage = 100

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
	Search        string // see Search
	CreatedBy     *string
	CreatedAfter  *time.Time // inclusive
	CreatedBefore *time.Time // exclusive
	ExpiresAfter  *time.Time // inclusive
	ExpiresBefore *time.Time // exclusive
	NeverExpires  *bool      // true: only these; false restricts nothing
	UnusedSince   *time.Time // not used at or after this instant; includes keys that were never used
	NeverUsed     *bool      // true: only these; false restricts nothing
	Finding       []Finding  // one of these; empty: any key
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

func (f OrderField) kind() listKind {
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
	kind   listKind
	where  KeyConditions // without Naming
	order  KeyOrder      // of what is read; ranked lists are ordered afterwards
	now    time.Time
	policy Policy
	scan   *scan // nil: the list is read within the request's budget
}

// query checks the options. Without a page size, the page has that many keys.
func (o ListOptions) query(p Policy, now time.Time, size int) (query, error) {
	q := query{ListOptions: o, policy: p, now: now, kind: o.Order.Field.kind()}
	if !q.ranks() {
		q.order = KeyOrder{ByExpiry: o.Order.Field == ByExpiresAt, Ascending: o.Order.Direction == Ascending}
	}
	f := &o.Filter
	for _, s := range f.Status {
		if s != Active && !o.IncludeRevoked {
			return q, Invalid("filter.status", "Listing %s keys requires includeRevoked: true.", strings.ToUpper(string(s)))
		}
	}
	q.where = KeyConditions{
		Status: distinct(slices.Clone(f.Status)), At: now, Types: distinct(slices.Clone(f.KeyType)), CreatedBy: f.CreatedBy,
		Created: Period{f.CreatedAfter, f.CreatedBefore}, Expires: Period{f.ExpiresAfter, f.ExpiresBefore},
		NeverExpires: f.NeverExpires != nil && *f.NeverExpires, UnusedSince: f.UnusedSince, NeverUsed: f.NeverUsed != nil && *f.NeverUsed,
		Search: NewSearch(f.Search),
	}
	if wrong := f.Check(); len(wrong) > 0 {
		return q, wrong[0]
	}
	if len(q.where.Types) == 0 {
		q.where.Types = nil
	}
	switch {
	case !o.IncludeRevoked:
		q.where.Status = []Status{Active}
	case len(q.where.Status) == 0:
		q.where.Status = nil
	}
	q.where.addFindings(p, f.Finding...)
	var err error
	q.window, err = o.Page.window(q.kind, size)
	return q, err
}

// Check returns everything that is wrong with the filter itself.
func (f *Filter) Check() []error {
	var wrong []error
	if !allKnown(f.KeyType) {
		wrong = append(wrong, Invalid("filter.keyType", "UNKNOWN is not a type that can be filtered by."))
	}
	if (Period{f.CreatedAfter, f.CreatedBefore}).ends() {
		wrong = append(wrong, Invalid("filter.createdBefore", "createdBefore must be after createdAfter."))
	}
	if (Period{f.ExpiresAfter, f.ExpiresBefore}).ends() {
		wrong = append(wrong, Invalid("filter.expiresBefore", "expiresBefore must be after expiresAfter."))
	}
	if err := (&Search{text: f.Search}).check("filter.search"); err != nil {
		wrong = append(wrong, err)
	}
	return wrong
}

// ends reports whether the period ends before it begins.
func (p Period) ends() bool { return p.From != nil && p.Until != nil && !p.From.Before(*p.Until) }

// ranks reports whether the list has an order that no store has.
func (q *query) ranks() bool { return q.Order.Field == ByName || q.Order.Field == ByLastUsedAt }

// keys is the list of the keys within a window. They always have the fields that decide about their status and their place.
func (q *query) keys(w window, fields Fields) KeyList {
	fields |= StatusFields | q.order.Field()
	switch q.Order.Field {
	case ByName:
		fields |= FieldName
	case ByLastUsedAt:
		fields |= FieldLastUsedAt
	case ByCreatedAt, ByExpiresAt:
	}
	return KeyList{
		Where: q.where, Order: q.order, After: keyPosition(w.after), Before: keyPosition(w.before), FromEnd: w.fromEnd, Limit: w.limit, Fields: fields,
	}
}

func keyPosition(p *position) *KeyPosition {
	if p == nil {
		return nil
	}
	return &KeyPosition{At: p.time(), ID: ID(p.id)}
}

// position is the key's place in the requested order.
func (q *query) position(k *Key) position {
	p := position{kind: q.kind, id: string(k.ID)}
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
