package apikey

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Optional is a value that may be left out, which is another thing than being null.
type Optional[T any] struct {
	Given bool
	Value *T // nil is null
}

// Given is an Optional that is given.
func Given[T any](v *T) Optional[T] { return Optional[T]{Given: true, Value: v} }

// Settings are what can be said of a key when it is made, and changed later.
type Settings struct {
	Name              Optional[string]    // 1 to 100 characters, not counting spaces around it
	Description       Optional[string]    // at most 500 characters; null is the empty one
	ExpiresAt         Optional[time.Time] // in the future; null: never
	AllowedOrigins    Optional[[]string]  // at most 50; null or empty: unrestricted
	RateLimitOverride Optional[int]       // requests a minute, 1 to 2147483647; null: none
}

// The vendor's limits, in characters, which are Unicode code points.
const (
	maxName        = 100
	maxDescription = 500
	maxOrigins     = 50
)

// lastYear is the last that RFC 3339 can write. A date beyond it could be stored and never be read again.
const lastYear = 9999

// apply checks the settings that are given, and writes them into the key. The error names the field.
func (s Settings) apply(k *Key, now time.Time) error {
	if s.Name.Given {
		name := strings.TrimSpace(text(s.Name.Value))
		switch n := utf8.RuneCountInString(name); {
		case malformed(name):
			return Invalid("name", "name must be UTF-8.")
		case !strings.ContainsFunc(name, visible):
			return Invalid("name", "name must have 1 to %d characters.", maxName)
		case n > maxName:
			return Invalid("name", "name must have at most %d characters, not %d.", maxName, n)
		case strings.ContainsFunc(name, unprintable):
			return Invalid("name", "name must not contain control characters.")
		}
		k.Name = name
	}
	if s.Description.Given {
		description := text(s.Description.Value)
		n := utf8.RuneCountInString(description)
		switch {
		case malformed(description):
			return Invalid("description", "description must be UTF-8.")
		case n > maxDescription:
			return Invalid("description", "description must have at most %d characters, not %d.", maxDescription, n)
		case strings.ContainsFunc(description, func(r rune) bool { return unprintable(r) && r != '\n' && r != '\r' && r != '\t' }):
			return Invalid("description", "description must not contain control characters.")
		}
		k.Description = description
	}
	if s.ExpiresAt.Given {
		k.ExpiresAt = s.ExpiresAt.Value
		if t := k.ExpiresAt; t != nil {
			cut := t.UTC().Truncate(time.Millisecond)
			switch k.ExpiresAt = &cut; {
			case !cut.After(now):
				return Invalid("expiresAt", "expiresAt must be in the future.")
			case cut.Year() > lastYear:
				return Invalid("expiresAt", "expiresAt must not be after the year %d, in UTC.", lastYear)
			}
		}
	}
	if s.AllowedOrigins.Given {
		k.AllowedOrigins = nil
		if list := s.AllowedOrigins.Value; list != nil && len(*list) > 0 {
			if len(*list) > maxOrigins {
				return Invalid("allowedOrigins", "allowedOrigins must have at most %d origins, not %d.", maxOrigins, len(*list))
			}
			for i, o := range *list {
				if !isOrigin(o) {
					return Invalid("allowedOrigins", "allowedOrigins[%d] must be an origin as browsers send it, such as https://app.example.com or https://xn--bcher-kva.example, or all subdomains as in https://*.example.com, and nothing behind it.", i)
				}
			}
			k.AllowedOrigins = slices.Clone(*list)
		}
	}
	if s.RateLimitOverride.Given {
		k.RateLimitOverride = nil
		if n := s.RateLimitOverride.Value; n != nil {
			if *n < 1 || *n > math.MaxInt32 {
				return Invalid("rateLimitOverride", "rateLimitOverride must be 1 to %d.", math.MaxInt32)
			}
			limit := int32(*n)
			k.RateLimitOverride = &limit
		}
	}
	return nil
}

// malformed reports whether a text is not what somebody wrote: readers of JSON put U+FFFD in the place of what is no
// character, such as half a surrogate pair.
func malformed(text string) bool { return strings.ContainsRune(text, utf8.RuneError) } // which invalid UTF-8 counts as

// visible are the characters that leave a mark.
func visible(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) }

// unprintable are the characters that could make a text look like another one, or break a line of a log: controls,
// and those that turn the direction of writing.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}

// cleared names the settings that had a value and now have none, as errors name them. A client that sends null for what
// its user left out clears it without meaning to, and learns of that here.
func cleared(from, to *Key) []string {
	names := []string{}
	for _, f := range []struct {
		name        string
		before, now bool
	}{
		{"description", from.Description != "", to.Description != ""},
		{"expiresAt", from.ExpiresAt != nil, to.ExpiresAt != nil},
		{"allowedOrigins", from.AllowedOrigins != nil, to.AllowedOrigins != nil},
		{"rateLimitOverride", from.RateLimitOverride != nil, to.RateLimitOverride != nil},
	} {
		if f.before && !f.now {
			names = append(names, f.name)
		}
	}
	return names
}

// fields are those that are given. No other may be written: what of it cannot be read would be lost.
func (s Settings) fields() Fields {
	var fields Fields
	for _, f := range []struct {
		given bool
		field Fields
	}{
		{s.Name.Given, FieldName}, {s.Description.Given, FieldDescription}, {s.ExpiresAt.Given, FieldExpiresAt},
		{s.AllowedOrigins.Given, FieldAllowedOrigins}, {s.RateLimitOverride.Given, FieldRateLimitOverride},
	} {
		if f.given {
			fields |= f.field
		}
	}
	return fields
}

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

// MaxOverlap is how long a rotated key can go on working.
const MaxOverlap = 30 * 24 * time.Hour

// Rotated is what a rotation leaves: the new key, and the old one.
type Rotated struct {
	Minted
	Previous Key
}

// Rotate puts a new key in the place of an active one: of the same name, description, expiry, origins, limit, budget and
// rights. It is the caller's, who is told its plaintext. The old key goes on working for the overlap, but never beyond its own
// expiry; without one it is revoked at once. A key is rotated once. It needs Write, a caller who holds what the key holds, and
// what mayGive asks for.
func (s *Service) Rotate(ctx context.Context, c Caller, namespace string, id ID, overlap time.Duration) (*Rotated, error) {
	var successor Key
	var secret Secret
	previous, err := s.change(ctx, c, c.wish(KeyRotated, namespace, string(id)), func(from Key, own *Key, now time.Time) (Change, error) {
		if overlap < 0 || overlap > MaxOverlap {
			return Change{}, Invalid("overlapSeconds", "overlapSeconds must be 0 to %d, which is 30 days.", int(MaxOverlap/time.Second))
		}
		if err := s.mayGive(c, own, &from, limits); err != nil { // the successor inherits them
			return Change{}, err
		}
		if err := mustBeActive(&from); err != nil {
			return Change{}, err
		}
		if from.RotatedTo != nil {
			return Change{}, conflict("This key was rotated already.")
		}
		if from.Type == UserScoped || from.Type == Session {
			return Change{}, conflict("This key cannot be rotated: keys of the type " + string(from.Type) + " act for one person, and the new key would do so in your hands. Revoke it, and get a new one from the platform, which issues them.")
		}
		if !from.readable() {
			return Change{}, conflict("This key has limits that cannot be read, and so no other can take its place. Make a new one and revoke it.")
		}
		budget, err := s.BudgetOf(ctx, &from)
		if err != nil {
			return Change{}, err
		}
		prefix := organizationKeyPrefix
		if from.Type == RetrieverKey {
			prefix = retrieverKeyPrefix
		}
		successor = from
		secret = successor.mint(prefix, now)
		successor.CreatedBy, successor.LastUsedAt = &c.Key.UserID, nil
		successor.UserID = c.Key.UserID
		if c.Key.PrincipalID != nil { // else the key keeps to the documents of whom it was for
			successor.PrincipalID = c.Key.PrincipalID
		}
		successor.RotatedFrom, successor.Budget, successor.Revision = &from.ID, budget, 0

		to := from
		to.RotatedTo = &successor.ID
		change := Change{ActiveAt: now, Successor: &successor, Fields: FieldRotatedTo}
		if overlap == 0 {
			change.Fields |= to.revoke(c, now)
		} else if end := now.Add(overlap); from.ExpiresAt == nil || end.Before(*from.ExpiresAt) {
			to.ExpiresAt = &end
			change.Fields |= FieldExpiresAt
		}
		change.Key = to
		return change, nil
	})
	if err != nil {
		return nil, err
	}
	return &Rotated{Minted{successor, secret}, *previous}, nil
}

// Revoke ends a key for good and at once, an expired one too. To revoke one again changes nothing and is no error. It
// needs Delete. An operator may revoke any key of the organization, also one whose retriever is gone.
func (s *Service) Revoke(ctx context.Context, c Caller, namespace string, id ID) (*Key, error) {
	return s.revoke(ctx, c, c.wish(KeyRevoked, namespace, string(id)))
}

func (s *Service) revoke(ctx context.Context, c Caller, as wish) (*Key, error) {
	return s.change(ctx, c, as, func(from Key, _ *Key, now time.Time) (Change, error) {
		to := from
		if from.Status == Revoked {
			return Change{Key: to}, nil
		}
		fields := to.revoke(c, now)
		return Change{Key: to, Fields: fields}, nil
	})
}

// RevokeOf is Revoke for a key that must be one of the retriever's, by id or name: others are not there.
func (s *Service) RevokeOf(ctx context.Context, c Caller, namespace, retriever string, id ID) error {
	if err := s.Admit(ctx, c, KeyRevoked); err != nil {
		return err
	}
	as := c.wish(KeyRevoked, namespace, string(id))
	as.of = retriever
	if err := s.denials.again(c.actor(), as, s.now()); err != nil {
		return err
	}
	r, err := s.findRetriever(ctx, c, namespace, retriever)
	if err != nil {
		return err
	}
	keys, err := s.Store.CurrentKeys(ctx, c.tenant(), id)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(keys, func(k Key) bool { return slices.Contains(k.Retrievers(), r.ID) }) {
		return notFound("API key")
	}
	_, err = s.revoke(ctx, c, as)
	return err
}

// revoke makes the key a revoked one and returns the fields that tell so.
func (k *Key) revoke(c Caller, now time.Time) Fields {
	k.Stored, k.RevokedAt, k.RevokedBy = Revoked, &now, &c.Key.UserID
	return FieldStatus | FieldRevokedAt | FieldRevokedBy
}

// readable reports whether all that limits the key is known: a copy of what is not would be another key.
func (k *Key) readable() bool {
	known := k.Type.Known() && allKnown(k.Permissions) && (k.AllowedOrigins == nil || len(k.AllowedOrigins) > 0)
	return known && !slices.ContainsFunc(k.Scopes, func(s Scope) bool { return !s.ResourceType.Known() || !allKnown(s.Operations) })
}

func allKnown[W word](words []W) bool {
	return !slices.ContainsFunc(words, func(w W) bool { return !w.Known() })
}

func mustBeActive(k *Key) error {
	if k.Status != Active {
		return conflict("This key is " + string(k.Status) + ". Only an active key can be changed.")
	}
	return nil
}

// Admit refuses a caller to whom nothing here is answered, whatever they want to do to whichever key. That somebody known
// here tried is kept as an event of their own key.
func (s *Service) Admit(ctx context.Context, c Caller, action Action) error {
	refused := c.authorize(Read)
	if refused == nil || !c.Known() {
		return refused
	}
	own := c.event(action, ResourceAPIKey, string(c.Key.ID), s.instant(), "", c.Key.Retrievers())
	return s.deny(ctx, c, refused, own, c.wish(action, "", ""))
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

// mayChange returns nil if the caller may do that to a key that they see. Nobody can update or rotate, and so come to hold,
// what is stronger than they are; and all that the key reaches must be theirs to manage.
func (c Caller) mayChange(k *Key, action Action, retrievers []Retriever) error {
	need := Write
	if action == KeyRevoked {
		need = Delete
	} else {
		for _, p := range k.Permissions {
			if p.strength() > need.strength() {
				need = p
			}
		}
	}
	if err := c.authorizeChange(need); err != nil {
		return err
	}
	for i := range k.Scopes {
		s := &k.Scopes[i]
		ops := []Operation{ManagePermissions}
		if action != KeyRevoked && k.Type != RetrieverKey { // which executes its retriever, whatever its scopes say
			ops = append(ops, s.needs()...)
		}
		if slices.ContainsFunc(ops, func(op Operation) bool { return !c.reaches(s, op, retrievers) }) {
			return forbidden("This key reaches more than yours may manage.")
		}
	}
	return nil
}

// needs are the operations that a scope allows, and another must allow to be as wide.
func (s *Scope) needs() []Operation {
	if len(s.Operations) == 0 {
		return []Operation{anyOperation}
	}
	return s.Operations
}

// reaches reports whether the caller's scopes allow the operation on all that the scope reaches.
func (c Caller) reaches(s *Scope, op Operation, retrievers []Retriever) bool {
	var ns Namespace // no namespace: only a caller who is not limited to some covers it
	exact := !strings.Contains(s.ResourceID, "*")
	switch {
	case exact && s.ResourceType == ResourceNamespace:
		ns.ID = NamespaceID(s.ResourceID)
	case exact && s.ResourceType == ResourceRetriever:
		id := RetrieverID(s.ResourceID)
		if i := slices.IndexFunc(retrievers, func(r Retriever) bool { return r.ID == id }); i >= 0 {
			ns.ID = retrievers[i].NamespaceID
		}
		return c.covers(op, &ns, id)
	}
	return c.coversNamespace(op, &ns)
}

// ownKey returns the caller's key as it is now, which must still be active: a request may have been let in long ago, and its body
// kept back until the key was revoked or limited. An operator's key is stored nowhere.
func (s *Service) ownKey(ctx context.Context, c Caller) (*Key, error) {
	if c.Operator {
		return c.Key, nil
	}
	keys, err := s.Store.KeysByHash(ctx, c.Key.Hash)
	if err != nil {
		return nil, err
	}
	if len(keys) != 1 || keys[0].StatusAt(s.now()) != Active {
		return nil, unauthenticated("The API key of this request is not active any more.")
	}
	return &keys[0], nil
}

// permit returns the caller's own key as it is now, where nothing refused the caller.
func (s *Service) permit(ctx context.Context, c Caller, refused error, attempt Event, as wish) (own *Key, err error) {
	if refused != nil {
		return nil, s.deny(ctx, c, refused, attempt, as)
	}
	if own, err = s.ownKey(ctx, c); err != nil {
		return nil, err
	}
	s.used(c)
	return own, nil
}

// instant is now in the precision that dates are stored in.
func (s *Service) instant() time.Time { return s.now().UTC().Truncate(time.Millisecond) }
