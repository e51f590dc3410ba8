package apikey

import (
	"context"
	"maps"
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
	if err := s.denials.lastRefusal(c.actor(), as, s.now()); err != nil {
		return nil, err
	}
	r, err := s.findRetriever(ctx, c, namespace, retriever)
	if err != nil {
		return nil, err
	}
	now := s.instant()
	named := []RetrieverID{r.ID}
	attempt := c.event(KeyCreated, ResourceRetriever, string(r.ID), now, r.NamespaceID, named)
	if _, err := s.permit(ctx, c, c.mayCreate(r), attempt, as); err != nil {
		return nil, err
	}
	if err := r.canHaveKeys(); err != nil {
		return nil, err
	}

	key, secret := newRetrieverKey(r.ID, c.Key.UserID, now)
	key.InternalID, key.OrganizationID, key.PrincipalID = c.tenant(), c.Key.OrganizationID, c.Key.PrincipalID
	settings.Name.Given = true
	s.Policy.lifetime(&settings, now)
	if err := settings.apply(&key, now); err != nil {
		return nil, err
	}
	if err := s.Policy.checkExpiry(key.ExpiresAt, now); err != nil {
		return nil, err
	}
	s.Policy.asOf(&key, now)
	if err := s.Store.InsertKey(ctx, key, c.Made(&key, r.NamespaceID, now)); err != nil {
		return nil, err
	}
	return &Minted{Key: key, Secret: secret}, nil
}

// canHaveKeys returns nil if a key's scope can name the retriever and nothing else.
func (r *Retriever) canHaveKeys() error {
	if strings.Contains(string(r.ID), "*") || strings.Contains(string(r.NamespaceID), "*") {
		return Invalid("retrieverId", "Keys cannot be created for this retriever: its id or its namespace's id contains *, which is a wildcard in scopes.")
	}
	return nil
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
		if settings.ExpiresAt.Given {
			if err := s.Policy.checkExpiry(to.ExpiresAt, now); err != nil {
				return Change{}, err
			}
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

// decision computes a change of a key. It also gets the caller's own key as it is now. Fields that it does not change are not written.
type decision func(from Key, own *Key, now time.Time) (Change, error)

// change finds a key that the caller may change, lets decide compute the change, and writes it with its event. If decide returns Forbidden,
// the denied attempt becomes an event. Of concurrent changes one wins. The others fail, except revocations, which are decided again.
func (s *Service) change(ctx context.Context, c Caller, as wish, decide decision) (*Key, error) {
	if err := s.Admit(ctx, c, as.action); err != nil {
		return nil, err
	}
	if err := s.denials.lastRefusal(c.actor(), as, s.now()); err != nil {
		return nil, err
	}
	for range manyTries {
		t, err := s.target(ctx, c, as.namespace, ID(as.resource))
		if err != nil {
			return nil, err
		}
		key, won, err := s.attempt(ctx, c, nil, t, as, decide)
		if err != nil || won {
			return key, err
		}
		if as.action != KeyRevoked {
			break
		}
	}
	return nil, errLost
}

var errLost = conflict("The key was changed by somebody else at the same time. Read it again before you retry.")

// attempt is change for a key that was found. It reports false if another change won. own is the caller's key as it is now; if it is nil,
// attempt reads it.
func (s *Service) attempt(ctx context.Context, c Caller, own *Key, t *target, as wish, decide decision) (key *Key, won bool, err error) {
	from, now := t.key, s.instant()
	s.Policy.asOf(&from, now)
	e := c.event(as.action, ResourceAPIKey, string(from.ID), now, t.namespace, from.Retrievers())
	refused := c.mayChange(&from, as.action, t.homes)
	if refused != nil || own == nil {
		if own, err = s.permit(ctx, c, refused, e, as); err != nil {
			return nil, false, err
		}
	}
	change, err := decide(from, own, now)
	if err != nil {
		if Classify(err).Code == Forbidden {
			err = s.deny(ctx, c, err, e, wish{}) // limits can change, so repetitions are decided again
		}
		return nil, false, err
	}
	to := &change.Key
	s.Policy.asOf(to, now)
	if e.Changes = changes(&from, to); len(e.Changes) == 0 {
		return to, true, nil
	}
	change.Events = []Event{e}
	if won, err = s.Store.ChangeKey(ctx, change); err != nil || !won {
		return nil, false, err
	}
	to.Revision++
	return to, true, nil
}

// target is a key to change, and where it is.
type target struct {
	key       Key
	namespace NamespaceID // of the retriever through which it was found; empty if none exists
	homes     homes       // of the existing retrievers that the key names, and perhaps of others
}

// target returns the key if the caller sees it in the namespace or, without one, in the organization.
func (s *Service) target(ctx context.Context, c Caller, namespace string, id ID) (*target, error) {
	if namespace == "" {
		found, err := s.targets(ctx, c, id)
		if err == nil && found[id] == nil {
			err = notFound("API key")
		}
		return found[id], err
	}
	var ns *Namespace
	var keys []Key
	err := Together(ctx, 2, func(ctx context.Context, i int) (err error) {
		if i == 0 {
			ns, err = s.resolve(ctx, c, namespace)
		} else if id != "" {
			keys, err = s.Store.CurrentKeys(ctx, c.tenant(), id)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if key := byID(keys)[id]; key != nil {
		retrievers, err := s.retrieversOf(ctx, c, []*Key{key})
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(retrievers, func(r Retriever) bool { return c.sees(ns, &r) }) {
			return &target{*key, ns.ID, homesOf(retrievers)}, nil
		}
	}
	return nil, c.nothingIn(ns, "API key")
}

// targets returns those of the keys that the caller sees in the organization. It reads all keys together, then all retrievers that they
// name and, if that matters, the namespaces of these.
func (s *Service) targets(ctx context.Context, c Caller, ids ...ID) (map[ID]*target, error) {
	if ids = distinct(slices.Clone(ids)); len(ids) == 0 {
		return nil, nil
	}
	keys, err := s.Store.CurrentKeys(ctx, c.tenant(), ids...)
	if err != nil {
		return nil, err
	}
	return s.targetsAmong(ctx, c, keys)
}

// targetsAmong is targets for keys that were read.
func (s *Service) targetsAmong(ctx context.Context, c Caller, keys []Key) (map[ID]*target, error) {
	found, err := s.seenAmong(ctx, c, slices.Collect(maps.Values(byID(keys))))
	all := make(map[ID]*target, len(found))
	for _, t := range found {
		all[t.key.ID] = t
	}
	return all, err
}

// seenAmong returns those of the keys that the caller sees in the organization, in the same order.
func (s *Service) seenAmong(ctx context.Context, c Caller, keys []*Key) ([]*target, error) {
	retrievers, err := s.retrieversOf(ctx, c, keys)
	if err != nil {
		return nil, err
	}
	var seen map[RetrieverID]*Retriever
	if !c.seesOrganization() {
		if seen, err = s.seen(ctx, c, retrievers, nil); err != nil {
			return nil, err
		}
	}
	homes := homesOf(retrievers)
	var all []*target
	for _, k := range keys {
		if !c.seesKey(k, seen) {
			continue
		}
		t := &target{key: *k, homes: homes}
		for _, named := range k.Retrievers() {
			if in, exists := homes[named]; exists && (seen == nil || seen[named] != nil) {
				t.namespace = in
				break
			}
		}
		all = append(all, t)
	}
	return all, nil
}

// retrieversOf returns the existing retrievers that the keys name.
func (s *Service) retrieversOf(ctx context.Context, c Caller, keys []*Key) ([]Retriever, error) {
	var named []RetrieverID
	for _, k := range keys {
		named = append(named, k.Retrievers()...)
	}
	if named = distinct(named); len(named) == 0 {
		return nil, nil
	}
	return s.Store.Retrievers(ctx, c.tenant(), named)
}

// instant is the current time in the precision of stored dates.
func (s *Service) instant() time.Time { return s.now().UTC().Truncate(time.Millisecond) }
