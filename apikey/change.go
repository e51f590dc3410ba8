package apikey

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Minted is a new key with its plaintext, which cannot be retrieved again.
type Minted struct {
	Key    Key
	Secret Secret
}

// Create creates a key that can execute the retriever and do nothing else. It requires Write, and a name in the settings.
func (s *Service) Create(ctx context.Context, c Caller, namespace, retriever string, settings Settings) (*Minted, error) {
	if err := s.Admit(ctx, c, KeyCreated); err != nil {
		return nil, err
	}
	as := c.wish(KeyCreated, namespace, retriever)
	if err := s.denials.again(c.actor(), as, s.now()); err != nil {
		return nil, err
	}
	r, err := s.findRetriever(ctx, c, namespace, retriever)
	if err != nil {
		return nil, err
	}
	now := s.instant()
	named := []RetrieverID{r.ID}
	attempt := c.event(KeyCreated, ResourceRetriever, string(r.ID), now, r.NamespaceID, named)
	refused := c.authorizeChange(Write)
	if refused == nil && !c.covers(ManagePermissions, r.Namespace, r.ID) {
		refused = forbidden("Your key may not create keys for this retriever.")
	}
	if _, err := s.permit(ctx, c, refused, attempt, as); err != nil {
		return nil, err
	}
	if strings.Contains(string(r.ID), "*") || strings.Contains(string(r.NamespaceID), "*") {
		return nil, Invalid("retrieverId", "Keys cannot be created for this retriever: its id or its namespace's id contains *, which is a wildcard in scopes.")
	}

	key, secret := newRetrieverKey(r.ID, c.Key.UserID, now)
	key.InternalID, key.OrganizationID, key.PrincipalID = c.tenant(), c.Key.OrganizationID, c.Key.PrincipalID
	settings.Name.Given = true
	if err := settings.apply(&key, now); err != nil {
		return nil, err
	}
	key.Status = Active
	if err := s.Store.InsertKey(ctx, key, c.Made(&key, r.NamespaceID, now)); err != nil {
		return nil, err
	}
	return &Minted{Key: key, Secret: secret}, nil
}

// Updated is a key that was updated, and the names of the settings that the update cleared.
type Updated struct {
	Key     Key
	Cleared []string
}

// Update changes the given settings of an active key. It requires Write, a caller who holds everything that the key holds, and, for
// limits that it raises, what mayGive requires.
func (s *Service) Update(ctx context.Context, c Caller, namespace string, id ID, settings Settings) (*Updated, error) {
	var lost []string
	key, err := s.change(ctx, c, c.wish(KeyUpdated, namespace, string(id)), func(from Key, own *Key, now time.Time) (Change, error) {
		to := from
		if err := settings.apply(&to, now); err != nil {
			return Change{}, err
		}
		if err := s.mayGive(c, own, &to, s.wider(&from, &to)); err != nil {
			return Change{}, err
		}
		if err := mustBeActive(&from); err != nil {
			return Change{}, err
		}
		if end := from.ExpiresAt; from.RotatedTo != nil && end != nil && (to.ExpiresAt == nil || to.ExpiresAt.After(*end)) {
			return Change{}, conflict("This key was rotated: its expiry can be moved earlier, but not later.")
		}
		lost = cleared(&from, &to)
		return Change{Key: to, Fields: settings.fields(), ActiveAt: now}, nil
	})
	if err != nil {
		return nil, err
	}
	return &Updated{Key: *key, Cleared: lost}, nil
}

// manyTries is how often a revocation is tried again after another change won.
const manyTries = 100

// change finds a key that the caller may change, lets decide compute the change, and writes it with its event. decide also gets the
// caller's own key as it is now. Fields that decide does not change are not written. If decide returns Forbidden, the denied attempt
// becomes an event. Of concurrent changes one wins. The others fail, except revocations, which are decided again.
func (s *Service) change(ctx context.Context, c Caller, as wish, decide func(from Key, own *Key, now time.Time) (Change, error)) (*Key, error) {
	action, namespace, id := as.action, as.namespace, ID(as.resource)
	if err := s.Admit(ctx, c, action); err != nil {
		return nil, err
	}
	if err := s.denials.again(c.actor(), as, s.now()); err != nil {
		return nil, err
	}
	for range manyTries {
		target, err := s.target(ctx, c, namespace, id, c.Operator && action == KeyRevoked)
		if err != nil {
			return nil, err
		}
		from, now := target.key, s.instant()
		from.Status = from.StatusAt(now)
		e := c.event(action, ResourceAPIKey, string(id), now, target.namespace, from.Retrievers())
		own, err := s.permit(ctx, c, c.mayChange(&from, action, target.retrievers), e, as)
		if err != nil {
			return nil, err
		}
		change, err := decide(from, own, now)
		if err != nil {
			if Classify(err).Code == Forbidden {
				err = s.deny(ctx, c, err, e, wish{}) // limits can change, so repetitions are decided again
			}
			return nil, err
		}
		to := &change.Key
		to.Status = to.StatusAt(now)
		if e.Changes = changes(&from, to); len(e.Changes) == 0 {
			return to, nil
		}
		change.Event = e
		won, err := s.Store.ChangeKey(ctx, change)
		if err != nil {
			return nil, err
		}
		if won {
			to.Revision++
			return to, nil
		}
		if action != KeyRevoked {
			break
		}
	}
	return nil, conflict("The key was changed by somebody else at the same time. Read it again before you retry.")
}

// target is a key to change, and where it is.
type target struct {
	key        Key
	namespace  NamespaceID // of the retriever through which it was found; empty if none exists
	retrievers []Retriever // the existing retrievers that the key names
}

// target returns the key if the caller sees it in the namespace. With anywhere, it returns any key of the organization, and no namespace
// is needed.
func (s *Service) target(ctx context.Context, c Caller, namespace string, id ID, anywhere bool) (target, error) {
	var ns *Namespace
	var keys []Key
	err := Together(ctx, 2, func(ctx context.Context, i int) (err error) {
		if i == 0 && anywhere && namespace == "" {
			ns = &Namespace{}
		} else if i == 0 {
			ns, err = s.resolve(ctx, c, namespace)
		} else if (anywhere || namespace != "") && id != "" {
			keys, err = s.Store.CurrentKeys(ctx, c.tenant(), id)
		}
		return err
	})
	switch {
	case err != nil:
		return target{}, err
	case len(keys) == 0:
		return target{}, c.nothingIn(ns, "API key")
	}
	t := target{key: slices.MinFunc(keys, byHash)}
	if named := t.key.Retrievers(); len(named) > 0 {
		if t.retrievers, err = s.Store.Retrievers(ctx, c.tenant(), named); err != nil {
			return target{}, err
		}
	}
	here := func(r Retriever) bool { return r.NamespaceID == ns.ID && c.covers(ReadData, ns, r.ID) }
	switch {
	case slices.ContainsFunc(t.retrievers, here):
		t.namespace = ns.ID
	case !anywhere:
		return target{}, c.nothingIn(ns, "API key")
	case len(t.retrievers) > 0:
		t.namespace = t.retrievers[0].NamespaceID
	}
	return t, nil
}

// instant is the current time in the precision of stored dates.
func (s *Service) instant() time.Time { return s.now().UTC().Truncate(time.Millisecond) }
