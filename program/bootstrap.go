package program

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
	"retrieverkeys/store/document"
)

func (c *command) bootstrap(ctx context.Context) error {
	return c.withStore(ctx, func(ctx context.Context, engine store.Engine) error {
		ctx, cancel := context.WithTimeout(ctx, commandTimeout)
		defer cancel()
		namespaces, err := engine.OrganizationNamespaces(ctx, c.cfg.Organization)
		if err != nil {
			return err
		}
		now := time.Now().UTC().Truncate(time.Millisecond)
		ns, isNew := chooseNamespace(namespaces, c.cfg.Organization, c.cfg.Namespace, now)
		key, secret := apikey.NewAdminKey(ns, apikey.NewID("usr_"), "admin-key", "Created by retrieverkeys bootstrap", now)
		doc, err := operatorKey(&key, ns, now)
		if err != nil {
			return err
		}
		batch := document.Batch{Keys: []bson.Raw{doc}}
		if isNew {
			batch.Namespaces = []bson.Raw{document.FromNamespace(ns, c.cfg.Email)}
		}
		if _, err := engine.Import(ctx, batch, document.ImportOptions{}); err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.stdout, `
  Organization  %s
                %s  %s
  Namespace     %s
                %s
  Admin key     %s
                %s

  The admin key is shown only once. Store it in a safe place.
`, c.cfg.Organization, orEmpty(ns.OrganizationID), ns.InternalID, ns.Name, ns.ID, secret.Reveal(), key.ID)
		return unseen(key.ID, err)
	})
}

// operatorKey returns the document of a key that the operator creates. It carries the audit event of its creation.
func operatorKey(k *apikey.Key, ns apikey.Namespace, now time.Time) (bson.Raw, error) {
	return document.Carrying(document.FromKey(*k), apikey.NewOperator(operator(), ns).Made(k, ns.ID, now))
}

// chooseNamespace returns the namespace with this name, or a new one. existing are the namespaces of all organizations with the
// organization's name: if they belong to several, the one with the smallest internal id is chosen, and a new organization is created
// only if there are none.
func chooseNamespace(existing []apikey.Namespace, organization, name string, now time.Time) (ns apikey.Namespace, isNew bool) {
	organizationID := apikey.NewID("org_")
	ns = apikey.Namespace{
		ID: apikey.NamespaceID(apikey.NewID("ns_")), Name: name, OrganizationName: &organization,
		InternalID: apikey.InternalID(apikey.NewID("int_")), OrganizationID: &organizationID, CreatedAt: &now, UpdatedAt: &now,
	}
	slices.SortFunc(existing, func(a, b apikey.Namespace) int {
		return cmp.Or(cmp.Compare(a.InternalID, b.InternalID), cmp.Compare(a.ID, b.ID))
	})
	if len(existing) > 0 {
		ns.InternalID, ns.OrganizationID = existing[0].InternalID, existing[0].OrganizationID
	}
	for _, e := range existing {
		if e.InternalID == ns.InternalID && e.Name == name {
			return e, false
		}
	}
	return ns, true
}
