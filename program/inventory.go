package program

import (
	"cmp"
	"context"
	"slices"
	"time"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
)

// What there is in the store: namespaces and retrievers.

type namespaceItem struct {
	ID               apikey.NamespaceID `json:"namespace_id"`
	Name             string             `json:"namespace_name"`
	Description      *string            `json:"description"`
	OrganizationName *string            `json:"organization_name"`
	OrganizationID   *string            `json:"organization_id"`
	InternalID       apikey.InternalID  `json:"internal_id"`
	CreatedAt        *time.Time         `json:"created_at"`
}

func (p *program) listNamespaces(ctx context.Context) error {
	return p.onStore(ctx, func(ctx context.Context, engine store.Engine) error {
		found, err := allNamespaces(ctx, engine)
		if err != nil {
			return err
		}
		out := p.listing("namespace", "NAMESPACE ID", "NAME", "ORGANIZATION", "ORGANIZATION ID", "CREATED")
		for _, n := range found {
			item := namespaceItem{n.ID, n.Name, n.Description, n.OrganizationName, n.OrganizationID, n.InternalID, n.CreatedAt}
			err := out.add(item, func() []string {
				return []string{string(n.ID), n.Name, organization(&n), value(n.OrganizationID), dated(n.CreatedAt)}
			})
			if err != nil {
				return err
			}
		}
		return out.end()
	})
}

// allNamespaces returns the namespaces of all organizations, those of one together.
func allNamespaces(ctx context.Context, engine store.Engine) ([]apikey.Namespace, error) {
	found, err := engine.AllNamespaces(ctx)
	slices.SortFunc(found, func(a, b apikey.Namespace) int {
		return cmp.Or(cmp.Compare(organization(&a), organization(&b)), cmp.Compare(a.InternalID, b.InternalID), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return found, err
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

func (p *program) listRetrievers(ctx context.Context) error {
	return p.onStore(ctx, func(ctx context.Context, engine store.Engine) error {
		namespaces, err := p.chosenNamespaces(ctx, engine)
		if err != nil {
			return err
		}
		out := p.listing("retriever", "RETRIEVER ID", "NAME", "NAMESPACE ID", "NAMESPACE", "ORGANIZATION", "CREATED")
		for i := range namespaces {
			n := &namespaces[i]
			err := eachRetriever(ctx, newDesk(engine, n), func(r *apikey.Retriever) error {
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

// chosenNamespaces are the one that is named on the command line, or all.
func (p *program) chosenNamespaces(ctx context.Context, engine store.Engine) ([]apikey.Namespace, error) {
	if p.cfg.Namespace == "" {
		return allNamespaces(ctx, engine)
	}
	n, err := p.namespace(ctx, engine)
	if err != nil {
		return nil, err
	}
	return []apikey.Namespace{*n}, nil
}
