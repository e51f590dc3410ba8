package apikey

import (
	"cmp"
	"context"
	"slices"
	"strings"
)

// Organization is the caller's organization.
type Organization struct {
	// ID is the public id: the organization_id of its namespaces, or else of its oldest key that has one, or else InternalID. It is the same
	// for every caller.
	ID         string
	InternalID InternalID
	Name       *string // where bootstrap stored one

	caller     Caller
	namespaces []Namespace // all of them, by name, then id
	seen       map[NamespaceID]bool
}

// oldestKeys is how many of the oldest keys are searched for the organization's id.
const oldestKeys = MaxPage

// Organization returns the caller's organization. It requires Read.
func (s *Service) Organization(ctx context.Context, c Caller) (*Organization, error) {
	if err := s.authorize(c, Read); err != nil {
		return nil, err
	}
	o := &Organization{InternalID: c.tenant(), caller: c, seen: map[NamespaceID]bool{}}
	named := c.namedRetrievers()
	err := Together(ctx, 2, func(ctx context.Context, i int) (err error) {
		if i == 0 {
			o.namespaces, err = s.Store.NamespacesOf(ctx, c.tenant())
			return err
		}
		if len(named) == 0 {
			return nil
		}
		retrievers, err := s.Store.Retrievers(ctx, c.tenant(), named)
		for _, r := range retrievers {
			o.seen[r.NamespaceID] = true
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(o.namespaces, func(a, b Namespace) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	for i := range o.namespaces {
		n := &o.namespaces[i]
		o.ID = cmp.Or(o.ID, text(n.OrganizationID))
		if o.Name == nil {
			o.Name = n.OrganizationName
		}
	}
	if o.ID == "" {
		keys, err := s.Store.KeyPage(ctx, c.tenant(), KeyList{Order: KeyOrder{Ascending: true}, Limit: oldestKeys, Fields: FieldOrganizationID})
		if err != nil {
			return nil, err
		}
		for i := range keys {
			o.ID = cmp.Or(o.ID, text(keys[i].OrganizationID))
		}
	}
	o.ID = cmp.Or(o.ID, string(o.InternalID))
	return o, nil
}

// namedRetrievers are the retrievers that the caller's scopes name by their exact ids, and allow to read.
func (c Caller) namedRetrievers() []RetrieverID {
	var ids []RetrieverID
	for i := range c.Key.Scopes {
		if s := &c.Key.Scopes[i]; s.ResourceType == ResourceRetriever && !strings.Contains(s.ResourceID, "*") && s.allows(ReadData) {
			ids = append(ids, RetrieverID(s.ResourceID))
		}
	}
	return distinct(ids)
}

// Namespaces returns a page of the namespaces that the caller's scopes cover, and of those with a retriever that the scopes name exactly, by
// name, then id. The search text must be part of the name or id, ignoring case.
func (o *Organization) Namespaces(ctx context.Context, p Page, text string, wants Wants) (*Connection[Namespace], error) {
	w, err := p.window(namespaces, RetrieverPage)
	if err != nil {
		return nil, err
	}
	search := NewSearch(text)
	if err := search.check("search"); err != nil {
		return nil, err
	}
	var visible []Namespace
	for i := range o.namespaces {
		n := &o.namespaces[i]
		if (o.caller.coversNamespace(ReadData, n) || o.seen[n.ID]) && search.matches(n.Name, string(n.ID)) {
			visible = append(visible, *n)
		}
	}
	return itemsOf(visible, namespaceAt, compareNames).page(ctx, w, wants)
}

func namespaceAt(n *Namespace) position {
	return position{kind: namespaces, value: n.Name, id: string(n.ID)}
}

func compareNames(a, b *position) int {
	return cmp.Or(strings.Compare(a.value, b.value), strings.Compare(a.id, b.id))
}

// MayReadOrganization reports whether the caller may read what belongs to the whole organization: all its keys and events.
func (c Caller) MayReadOrganization() bool { return c.seesOrganization() }
