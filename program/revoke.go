package program

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
	"retrieverkeys/web"
)

func (c *command) revokeKey(ctx context.Context) error {
	id := apikey.ID(c.cfg.Operands[0])
	if hidden := apikey.HideKeys(string(id)); hidden != string(id) {
		return errors.Join(
			fmt.Errorf("%s is an API key, not a key id", hidden),
			detail("  To find its id, pass it on standard input to: retrieverkeys keys scan -"),
			detail("  Your shell may have saved the key in its history."),
		)
	}
	return c.onStore(ctx, func(ctx context.Context, engine store.Engine) error {
		found, in, err := c.keyToRevoke(ctx, engine, id)
		if err != nil {
			return err
		}
		if found != nil && !c.cfg.Keys.Yes {
			if err := c.confirm(found); err != nil {
				return err
			}
		}
		w := newWorkspace(engine, in)
		k, err := w.service.Revoke(ctx, w.caller, "", id, nil)
		if err != nil {
			return err
		}
		if c.cfg.JSON {
			return c.writeJSON(web.Key{Of: k})
		}
		_, err = fmt.Fprintf(c.stdout, "%s \"%s\" was revoked at %s by %s.\n", printable(string(k.ID)), printable(k.Name), dated(k.RevokedAt), cmp.Or(printable(orEmpty(k.RevokedBy)), "an unknown user"))
		if err == nil && k.RotatedTo != nil {
			_, err = fmt.Fprintf(c.stdout, "Its successor %s was not revoked.\n", printable(string(*k.RotatedTo)))
		}
		return err
	})
}

// keyToRevoke returns the key, or nil if the namespace has no such key, and the namespace to revoke it in. Without --namespace, this is a
// namespace without an id that stands for the key's organization.
func (c *command) keyToRevoke(ctx context.Context, engine store.Engine, id apikey.ID) (*apikey.Key, *apikey.Namespace, error) {
	if c.cfg.Namespace != "" {
		ns, err := c.namespace(ctx, engine)
		if err != nil {
			return nil, nil, err
		}
		keys, err := engine.CurrentKeys(ctx, ns.InternalID, id)
		if err != nil || len(keys) == 0 {
			return nil, ns, err
		}
		return &keys[0], ns, nil
	}
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	keys, err := engine.KeysWithID(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if len(keys) == 0 {
		return nil, nil, fmt.Errorf("there is no key \"%s\" in the store", id)
	}
	if len(keys) > 1 {
		registry, err := newRegistry(ctx, engine)
		if err != nil {
			return nil, nil, err
		}
		several := []error{fmt.Errorf("several organizations have a key \"%s\": choose one of these commands", id)}
		slices.SortFunc(keys, func(a, b apikey.Key) int { return cmp.Compare(a.InternalID, b.InternalID) })
		for i := range keys {
			several = append(several, detail(fmt.Sprintf("  %s   \"%s\" of %s", registry.revocation(&keys[i], true), keys[i].Name, registry.organization(&keys[i]))))
		}
		return nil, nil, errors.Join(several...)
	}
	return &keys[0], &apikey.Namespace{InternalID: keys[0].InternalID, OrganizationID: keys[0].OrganizationID}, nil
}

// confirm asks whether to revoke the key. It returns an error unless the answer is yes.
func (c *command) confirm(k *apikey.Key) error {
	used := "never used"
	if k.LastUsedAt != nil {
		used = "last used " + dated(k.LastUsedAt)
	}
	_, err := fmt.Fprintf(c.stderr, "%s \"%s\" (%s)\ncreated %s by %s, %s\nRevoke this key? This cannot be undone. [y/N] ",
		printable(string(k.ID)), printable(k.Name), cmp.Or(printable(orEmpty(k.Prefix)), "no prefix"), cmp.Or(dated(k.CreatedAt), "at an unknown time"),
		cmp.Or(printable(orEmpty(k.CreatedBy)), "an unknown user"), used)
	if err != nil {
		return err
	}
	line, err := c.line()
	if err != nil {
		return err
	}
	if answer := strings.ToLower(line); answer != "y" && answer != "yes" {
		return errors.New("nothing was revoked")
	}
	return nil
}
