package apikey

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Minted is a key that was just made, with its plaintext, which nobody can ask for again.
type Minted struct {
	Key    Key
	Secret Secret
}

// Create makes a key that executes the retriever and can do nothing else. It needs Write, and Settings with a name.
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
		refused = forbidden("This key may not make keys for this retriever.")
	}
	if _, err := s.permit(ctx, c, refused, attempt, as); err != nil {
		return nil, err
	}
	if strings.Contains(string(r.ID), "*") || strings.Contains(string(r.NamespaceID), "*") {
		return nil, Invalid("retrieverId", "No key can be made for this retriever: its id, or that of its namespace, holds a *, which in a key's scopes stands for any run of characters.")
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

// Updated is a key that was changed, and which of its settings lost their value.
type Updated struct {
	Key     Key
	Cleared []string
}

// Update changes what is given of an active key; all else stays. It needs Write, a caller who holds what the key holds, and,
// for limits that it raises, what mayGive asks for.
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
			return Change{}, conflict("This key was rotated: its end can be brought forward, not put off.")
		}
		lost = cleared(&from, &to)
		return Change{Key: to, Fields: settings.fields(), ActiveAt: now}, nil
	})
	if err != nil {
		return nil, err
	}
	return &Updated{Key: *key, Cleared: lost}, nil
}

// manyTries is how often a revocation that came second to another change tries again.
const manyTries = 100

// change finds a key that the caller may change, lets decide say how, and writes that with its event. decide gets the caller's
// own key, too, as it is now. What decide leaves as it is, is not written. Where decide returns Forbidden, the denied attempt
// becomes an event. Of changes that race one wins; the others are told, but for a revocation, which is decided anew.
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
				err = s.deny(ctx, c, err, e, wish{}) // limits change, so a repetition is decided anew
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
	return nil, conflict("Somebody else changed this key at the same moment. Look at it again before you try once more.")
}

// target is a key that is to be changed, and where it is.
type target struct {
	key        Key
	namespace  NamespaceID // of the retriever by which it was found; empty where none is left
	retrievers []Retriever // those of the ones that the key names which there are
}

// target returns the key if the caller sees it in the namespace; with anywhere, if it is the organization's, for which no
// namespace needs to be named.
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

// instant is now in the precision that dates are stored in.
func (s *Service) instant() time.Time { return s.now().UTC().Truncate(time.Millisecond) }
