package apikey

import (
	"cmp"
	"slices"
	"time"
)

// KeyList is what a list of keys asks a Store for: conditions, an order, and a range of that order.
type KeyList struct {
	Where         KeyConditions
	Order         KeyOrder
	After, Before *KeyPosition // both exclusive; nil is the end of the list
	FromEnd       bool         // the last Limit keys of the range instead of the first, still in order
	Limit         int          // at least 1
	Fields        Fields
	// Walk is advice for a list of keys that name one of several retrievers: look at the organization's keys in order instead of at those
	// of each retriever. That is better if they are most of the organization's keys.
	Walk bool
}

// KeyConditions are conditions on keys. A key must meet all of them. The zero value sets none.
type KeyConditions struct {
	Naming       []RetrieverID // the key names at least one of these by its exact id; nil: any key, empty: none
	Status       []Status      // one of these at the instant At; nil: any
	At           time.Time
	Types        []Type // one of these; nil: any
	CreatedBy    *string
	Created      Period
	Expires      Period // keys that do not expire are in no period
	NeverExpires bool
	UnusedSince  *time.Time // not used at or after this instant; includes keys that were never used
	NeverUsed    bool
	Findings     FindingSet // it has one of these at the instant At, by Policy; empty: any key
	Policy       Policy
	Search       Search
}

// Period is a period of time. A date that is missing or cannot be read is in no period, unless both ends are open.
type Period struct {
	From  *time.Time // inclusive; nil: open
	Until *time.Time // exclusive; nil: open
}

// Open reports whether the period has no ends.
func (p Period) Open() bool { return p.From == nil && p.Until == nil }

func (p Period) has(t *time.Time) bool {
	if p.Open() {
		return true
	}
	return t != nil && (p.From == nil || !t.Before(*p.From)) && (p.Until == nil || t.Before(*p.Until))
}

// ActiveKeys is the condition that keys are active at an instant. The zero time sets none.
func ActiveKeys(at time.Time) KeyConditions {
	if at.IsZero() {
		return KeyConditions{}
	}
	return KeyConditions{Status: []Status{Active}, At: at}
}

// Of returns the conditions with one more: that keys name at least one of the retrievers.
func (c KeyConditions) Of(retrievers ...RetrieverID) KeyConditions {
	c.Naming = retrievers
	return c
}

// OnlyActive returns the instant at which keys must be active, or the zero time if other keys can match too.
func (c *KeyConditions) OnlyActive() time.Time {
	if len(c.Status) > 0 && !slices.ContainsFunc(c.Status, func(s Status) bool { return s != Active }) {
		return c.At
	}
	return time.Time{}
}

// Matches reports whether the key meets the conditions. It needs the fields that Fields returns.
func (c *KeyConditions) Matches(k *Key) bool {
	switch {
	case c.Naming != nil && !slices.ContainsFunc(k.Retrievers(), func(id RetrieverID) bool { return slices.Contains(c.Naming, id) }),
		c.Status != nil && !slices.Contains(c.Status, k.StatusAt(c.At)),
		c.Types != nil && !slices.Contains(c.Types, k.Type),
		c.CreatedBy != nil && (k.CreatedBy == nil || *k.CreatedBy != *c.CreatedBy),
		!c.Created.has(k.CreatedAt),
		!c.Expires.has(k.ExpiresAt),
		c.NeverExpires && k.ExpiresAt != nil,
		c.UnusedSince != nil && k.LastUsedAt != nil && !k.LastUsedAt.Before(*c.UnusedSince),
		c.NeverUsed && k.LastUsedAt != nil,
		c.Findings != 0 && c.Findings&c.Policy.FindingsAt(k, c.At) == 0:
		return false
	}
	return c.Search.finds(k)
}

// Fields returns the fields that Matches needs.
func (c *KeyConditions) Fields() Fields {
	var fields Fields
	for _, need := range []struct {
		when   bool
		fields Fields
	}{
		{c.Naming != nil, FieldScopes},
		{c.Status != nil, StatusFields},
		{c.Types != nil, FieldType},
		{c.CreatedBy != nil, FieldCreatedBy},
		{!c.Created.Open(), FieldCreatedAt},
		{!c.Expires.Open() || c.NeverExpires, FieldExpiresAt},
		{c.UnusedSince != nil || c.NeverUsed, FieldLastUsedAt},
		{c.Findings != 0, FindingFields},
		{!c.Search.Empty(), FieldName | FieldDescription | FieldPrefix},
	} {
		if need.when {
			fields |= need.fields
		}
	}
	return fields
}

// KeyOrder is an order of keys: by a date, then by id in the same direction. Keys without a readable date come last in both directions. The
// zero value is newest first.
type KeyOrder struct {
	ByExpiry  bool // by expiry instead of creation
	Ascending bool
}

// Field is the field of the date.
func (o KeyOrder) Field() Fields {
	if o.ByExpiry {
		return FieldExpiresAt
	}
	return FieldCreatedAt
}

// KeyPosition is a place in a KeyOrder. It stays valid after its key is gone.
type KeyPosition struct {
	At *time.Time // nil if the key has no readable date
	ID ID
}

// Position returns the key's place in the order.
func (o KeyOrder) Position(k *Key) KeyPosition {
	if o.ByExpiry {
		return KeyPosition{k.ExpiresAt, k.ID}
	}
	return KeyPosition{k.CreatedAt, k.ID}
}

// Compare compares two places.
func (o KeyOrder) Compare(a, b KeyPosition) int {
	var order int
	switch {
	case a.At == nil && b.At == nil:
	case a.At == nil:
		return 1
	case b.At == nil:
		return -1
	default:
		order = a.At.Compare(*b.At)
	}
	order = cmp.Or(order, cmp.Compare(a.ID, b.ID))
	if !o.Ascending {
		order = -order
	}
	return order
}

// Has reports whether a place is in the list's range.
func (l *KeyList) Has(at KeyPosition) bool {
	return (l.After == nil || l.Order.Compare(at, *l.After) > 0) && (l.Before == nil || l.Order.Compare(at, *l.Before) < 0)
}
