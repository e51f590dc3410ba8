package main

import (
	"cmp"
	"context"
	"fmt"
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
		if p.cfg.JSON {
			items := make([]namespaceItem, len(found))
			for i, n := range found {
				items[i] = namespaceItem{n.ID, n.Name, n.Description, n.OrganizationName, n.OrganizationID, n.InternalID, n.CreatedAt}
			}
			return p.writeJSON(map[string]any{"results": items, "total": len(items)})
		}
		rows := [][]string{{"NAMESPACE ID", "NAME", "ORGANIZATION", "ORGANIZATION ID", "CREATED"}}
		for _, n := range found {
			rows = append(rows, []string{string(n.ID), n.Name, organization(&n), value(n.OrganizationID), dated(n.CreatedAt)})
		}
		return p.list(rows, "namespace")
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
		items := []retrieverItem{}
		rows := [][]string{{"RETRIEVER ID", "NAME", "NAMESPACE ID", "NAMESPACE", "ORGANIZATION", "CREATED"}}
		for i := range namespaces {
			n := &namespaces[i]
			err := eachRetriever(ctx, newDesk(engine, n), func(r *apikey.Retriever) error {
				items = append(items, retrieverItem{r.ID, r.Name, r.Description, n.ID, n.Name, r.InternalID, r.CreatedAt})
				rows = append(rows, []string{string(r.ID), r.Name, string(n.ID), n.Name, organization(n), dated(r.CreatedAt)})
				return nil
			})
			if err != nil {
				return err
			}
		}
		if p.cfg.JSON {
			return p.writeJSON(map[string]any{"results": items, "total": len(items)})
		}
		return p.list(rows, "retriever")
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

// list writes a table, if it has rows, and how many they are.
func (p *program) list(rows [][]string, thing string) error {
	if len(rows) > 1 {
		if err := p.table(rows); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(p.stdout, "%s.\n", counted(len(rows)-1, thing))
	return err
}
