package program

import (
	"cmp"
	"context"
	"slices"
	"time"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
)

type namespaceItem struct {
	ID               apikey.NamespaceID `json:"namespace_id"`
	Name             string             `json:"namespace_name"`
	Description      *string            `json:"description"`
	OrganizationName *string            `json:"organization_name"`
	OrganizationID   *string            `json:"organization_id"`
	InternalID       apikey.InternalID  `json:"internal_id"`
	CreatedAt        *time.Time         `json:"created_at"`
}

func (c *command) listNamespaces(ctx context.Context) error {
	return c.onStore(ctx, func(ctx context.Context, engine store.Engine) error {
		found, err := c.namespaces(ctx, engine)
		if err != nil {
			return err
		}
		out := c.listing("namespace", "NAMESPACE ID", "NAME", "ORGANIZATION", "ORGANIZATION ID", "CREATED")
		for _, n := range found {
			item := namespaceItem{n.ID, n.Name, n.Description, n.OrganizationName, n.OrganizationID, n.InternalID, n.CreatedAt}
			err := out.add(item, func() []string {
				return []string{string(n.ID), n.Name, organization(&n), orEmpty(n.OrganizationID), dated(n.CreatedAt)}
			})
			if err != nil {
				return err
			}
		}
		return out.end()
	})
}

// allNamespaces returns the namespaces of all organizations, sorted by organization. The documents of some namespaces do not have the
// organization's name or id: allNamespaces copies it from another namespace of the organization.
func allNamespaces(ctx context.Context, engine store.Engine) ([]apikey.Namespace, error) {
	found, err := engine.AllNamespaces(ctx)
	sortByOrganization(found)
	known := map[apikey.InternalID]*apikey.Namespace{}
	for _, n := range found {
		o := known[n.InternalID]
		if o == nil {
			o = &apikey.Namespace{}
			known[n.InternalID] = o
		}
		o.OrganizationName, o.OrganizationID = cmp.Or(o.OrganizationName, n.OrganizationName), cmp.Or(o.OrganizationID, n.OrganizationID)
	}
	for i := range found {
		n := &found[i]
		o := known[n.InternalID]
		n.OrganizationName, n.OrganizationID = cmp.Or(n.OrganizationName, o.OrganizationName), cmp.Or(n.OrganizationID, o.OrganizationID)
	}
	sortByOrganization(found)
	return found, err
}

// withOrganizations returns the namespaces as allNamespaces returns them.
func withOrganizations(ctx context.Context, engine store.Engine, these []apikey.Namespace) ([]apikey.Namespace, error) {
	all, err := allNamespaces(ctx, engine)
	return slices.DeleteFunc(all, func(n apikey.Namespace) bool {
		return !slices.ContainsFunc(these, func(t apikey.Namespace) bool { return t.InternalID == n.InternalID && t.ID == n.ID })
	}), err
}

func sortByOrganization(namespaces []apikey.Namespace) {
	slices.SortFunc(namespaces, func(a, b apikey.Namespace) int {
		return cmp.Or(cmp.Compare(organization(&a), organization(&b)), cmp.Compare(a.InternalID, b.InternalID), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
}

type retrieverItem struct {
	ID            apikey.RetrieverID `json:"retriever_id"`
	Name          string             `json:"retriever_name"`
	Description   *string            `json:"description"`
	NamespaceID   apikey.NamespaceID `json:"namespace_id"`
	NamespaceName string             `json:"namespace_name"`
	InternalID    apikey.InternalID  `json:"internal_id"`
	CreatedAt     *time.Time         `json:"created_at"`
}

func (c *command) listRetrievers(ctx context.Context) error {
	return c.onStore(ctx, func(ctx context.Context, engine store.Engine) error {
		namespaces, err := c.chosenNamespaces(ctx, engine)
		if err != nil {
			return err
		}
		out := c.listing("retriever", "RETRIEVER ID", "NAME", "NAMESPACE ID", "NAMESPACE", "ORGANIZATION", "CREATED")
		for i := range namespaces {
			n := &namespaces[i]
			err := eachRetriever(ctx, newWorkspace(engine, n), func(r *apikey.Retriever) error {
				item := retrieverItem{r.ID, r.Name, r.Description, n.ID, n.Name, r.InternalID, r.CreatedAt}
				return out.add(item, func() []string {
					return []string{string(r.ID), r.Name, string(n.ID), n.Name, organization(n), dated(r.CreatedAt)}
				})
			})
			if err != nil {
				return err
			}
		}
		return out.end()
	})
}

// namespaces returns the namespaces of the organization that --organization names or, without it, of all organizations.
func (c *command) namespaces(ctx context.Context, engine store.Engine) ([]apikey.Namespace, error) {
	all, err := allNamespaces(ctx, engine)
	if err != nil || c.cfg.Organization == "" {
		return all, err
	}
	in, err := c.organizations(ctx, engine)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(n apikey.Namespace) bool { return n.InternalID != in[0].InternalID }), nil
}

// chosenNamespaces returns the namespace that --namespace names or, without it, those that --organization chooses.
func (c *command) chosenNamespaces(ctx context.Context, engine store.Engine) ([]apikey.Namespace, error) {
	if c.cfg.Namespace == "" {
		return c.namespaces(ctx, engine)
	}
	n, err := c.namespace(ctx, engine)
	if err != nil {
		return nil, err
	}
	return withOrganizations(ctx, engine, []apikey.Namespace{*n})
}

// eachRetriever calls f for each retriever of the namespace, by name. It stops at the first error.
func eachRetriever(ctx context.Context, w workspace, f func(*apikey.Retriever) error) error {
	first, page := apikey.MaxPage, apikey.Page{}
	page.First = &first
	for {
		rs, err := w.service.RetrieversIn(ctx, w.caller, w.namespace, page, "", apikey.Wants{Items: true, HasNext: true})
		if err != nil {
			return err
		}
		for i := range rs.Items {
			if err := f(&rs.Items[i]); err != nil {
				return err
			}
		}
		if !rs.HasNextPage {
			return nil
		}
		end := rs.Cursor(len(rs.Items) - 1)
		page.After = &end
	}
}
