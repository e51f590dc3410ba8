package program

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
)

// organizations returns the organization that --organization names or, without it, all organizations of the store, sorted. Each is a
// namespace without an id or name, which is enough for an operator to work on it.
func (c *command) organizations(ctx context.Context, engine store.Engine) ([]apikey.Namespace, error) {
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	namespaces, err := allNamespaces(ctx, engine)
	if err != nil {
		return nil, err
	}
	tenants, err := engine.TenantsOfKeys(ctx) // not all have namespaces
	if err != nil {
		return nil, err
	}
	for _, t := range tenants {
		namespaces = append(namespaces, apikey.Namespace{InternalID: t})
	}
	all := make(map[apikey.InternalID]*apikey.Namespace, len(tenants))
	for i := range namespaces {
		n := &namespaces[i]
		o := all[n.InternalID]
		if o == nil {
			o = &apikey.Namespace{InternalID: n.InternalID}
			all[n.InternalID] = o
		}
		o.OrganizationID = cmp.Or(o.OrganizationID, n.OrganizationID)
		o.OrganizationName = cmp.Or(o.OrganizationName, n.OrganizationName)
	}
	found := make([]apikey.Namespace, 0, len(all))
	for _, o := range all {
		found = append(found, *o)
	}
	slices.SortFunc(found, func(a, b apikey.Namespace) int {
		return cmp.Or(cmp.Compare(organization(&a), organization(&b)), cmp.Compare(a.InternalID, b.InternalID))
	})
	if c.cfg.Organization == "" {
		return found, nil
	}
	o, err := theOrganization(ctx, engine, found, c.cfg.Organization)
	if err != nil {
		return nil, err
	}
	return []apikey.Namespace{*o}, nil
}

// theOrganization returns the organization with this id or, if there is none, with this name. It refuses a reference that several
// organizations use, because either could be meant.
func theOrganization(ctx context.Context, engine store.Engine, all []apikey.Namespace, ref string) (*apikey.Namespace, error) {
	var found []apikey.Namespace
	for _, is := range []func(*apikey.Namespace) (bool, error){
		func(o *apikey.Namespace) (bool, error) { return string(o.InternalID) == ref, nil },
		func(o *apikey.Namespace) (bool, error) { return orEmpty(o.OrganizationID) == ref, nil },
		func(o *apikey.Namespace) (bool, error) { return orEmpty(o.OrganizationName) == ref, nil },
		func(o *apikey.Namespace) (bool, error) {
			if o.OrganizationID != nil {
				return false, nil
			}
			of, err := newWorkspace(engine, o).organization(ctx) // only its keys can have an id
			return err == nil && of.ID == ref, err
		},
	} {
		for i := range all {
			same, err := is(&all[i])
			if err != nil {
				return nil, err
			}
			if same {
				found = append(found, all[i])
			}
		}
		if len(found) > 0 {
			break
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("there is no organization \"%s\"", ref)
	case 1:
		return &found[0], nil
	}
	several := []error{fmt.Errorf("several organizations are called \"%s\": use one of these ids", ref)}
	for i := range found {
		several = append(several, detail(fmt.Sprintf("  %s   %s", found[i].InternalID, organization(&found[i]))))
	}
	return nil, errors.Join(several...)
}

func (w workspace) organization(ctx context.Context) (*apikey.Organization, error) {
	return w.service.Organization(ctx, w.caller)
}
