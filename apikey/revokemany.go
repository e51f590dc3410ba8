package apikey

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// MaxRevoked is how many keys one call of RevokeMany revokes at most.
const MaxRevoked = 500

// RevokeOutcome is what RevokeMany did with one key.
type RevokeOutcome string

// The outcomes. The last three have an error.
const (
	OutcomeRevoked        RevokeOutcome = "REVOKED"
	OutcomeWouldRevoke    RevokeOutcome = "WOULD_REVOKE" // in a dry run
	OutcomeAlreadyRevoked RevokeOutcome = "ALREADY_REVOKED"
	OutcomeNotFound       RevokeOutcome = "NOT_FOUND" // absent, or not visible to the caller
	OutcomeForbidden      RevokeOutcome = "FORBIDDEN"
	OutcomeUnavailable    RevokeOutcome = "UNAVAILABLE" // the store failed, or there was no time left; the key may be revoked all the same
)

// RevokeResult is the result of RevokeMany for one key.
type RevokeResult struct {
	ID      ID
	Key     *Key // as it is now; nil if it was not found
	Outcome RevokeOutcome
	Err     error // why it was not revoked; nil otherwise
}

// RevokeMany revokes 1 to 500 keys of the organization, as Revoke does without a namespace, and returns a result for each id, in the same
// order. Ids that repeat have the same result. It requires Delete. A dry run returns what the call would do, and writes nothing: not even an
// event if it is refused. It reads the keys as a list does, so after a change by another process it can be as late as a list.
//
// It reads all keys together, then revokes one after the other, each by a conditional write that carries its event: when the write of a key
// begins, those before it are stored. A process that dies halfway has therefore revoked a prefix of the ids, and the same call finishes the
// work. The caller's own key is revoked last, so that it can make the call again. When the store fails or the request's time is over, the
// remaining keys are Unavailable. When the caller's own key is revoked meanwhile, they are Forbidden.
func (s *Service) RevokeMany(ctx context.Context, c Caller, ids []ID, reason *string, dryRun bool) ([]RevokeResult, error) {
	if refused := c.authorizeChange(Delete); refused != nil {
		if dryRun || !c.Known() {
			return nil, refused
		}
		return nil, s.denyOwn(ctx, c, refused, KeyRevoked)
	}
	s.used(c)
	if len(ids) == 0 || len(ids) > MaxRevoked {
		return nil, Invalid("ids", "ids must have 1 to %d ids, not %d.", MaxRevoked, len(ids))
	}
	why, err := readReason(reason)
	if err != nil {
		return nil, err
	}
	if _, err := s.ownKey(ctx, c); err != nil {
		return nil, err
	}
	ctx, cancel := leavingTime(ctx)
	defer cancel()
	find := s.targets
	if dryRun {
		find = s.targetsAsListed
	}
	targets, err := find(ctx, c, ids...)
	if err != nil {
		return nil, err
	}
	m := revocations{service: s, caller: c, reason: why, dryRun: dryRun}
	results := make(map[ID]RevokeResult, len(targets))
	for _, id := range ownLast(ids, c.Key.ID) {
		if _, done := results[id]; !done {
			results[id] = m.result(ctx, id, targets[id])
		}
	}
	all := make([]RevokeResult, len(ids))
	for i, id := range ids {
		all[i] = results[id]
	}
	return all, nil
}

// targetsAsListed is targets for a dry run. CurrentKeys would finish what another process left.
func (s *Service) targetsAsListed(ctx context.Context, c Caller, ids ...ID) (map[ID]*target, error) {
	keys, err := s.Store.Keys(ctx, c.tenant(), distinct(slices.Clone(ids)), AllFields)
	if err != nil {
		return nil, err
	}
	return s.targetsAmong(ctx, c, keys)
}

// ownLast returns the ids in order, but the caller's own key last.
func ownLast(ids []ID, own ID) []ID {
	others := slices.DeleteFunc(slices.Clone(ids), func(id ID) bool { return id == own })
	if len(others) < len(ids) {
		others = append(others, own)
	}
	return others
}

// leavingTime returns a context that ends a little before ctx, so that there is time to answer what was done.
func leavingTime(ctx context.Context) (context.Context, context.CancelFunc) {
	end, has := ctx.Deadline()
	if !has {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, end.Add(-time.Until(end)/10))
}

// revocations are the revocations of one call of RevokeMany.
type revocations struct {
	service *Service
	caller  Caller
	reason  *string
	dryRun  bool
	stopped error // why nothing more is written
}

// result revokes one key, unless something stopped the revocations before it.
func (m *revocations) result(ctx context.Context, id ID, t *target) RevokeResult {
	for range manyTries {
		if t == nil {
			return RevokeResult{ID: id, Outcome: OutcomeNotFound, Err: notFound("API key")}
		}
		result, decided := m.try(ctx, t)
		if decided {
			return result
		}
		again, err := m.service.targets(ctx, m.caller, id)
		if err != nil {
			return m.failed(ctx, t, err)
		}
		t = again[id]
	}
	return m.failed(ctx, t, errLost)
}

// try is result for a key that was found. It reports false if another change of the key won.
func (m *revocations) try(ctx context.Context, t *target) (result RevokeResult, decided bool) {
	key := m.service.Policy.at(t.key, m.service.now())
	refused := m.caller.mayChange(key, KeyRevoked, t.homes)
	switch {
	case refused == nil && key.Status == Revoked:
		return RevokeResult{ID: key.ID, Key: key, Outcome: OutcomeAlreadyRevoked}, true
	case m.dryRun && refused != nil:
		return m.failed(ctx, t, refused), true
	case m.dryRun:
		return RevokeResult{ID: key.ID, Key: key, Outcome: OutcomeWouldRevoke}, true
	case m.stopped != nil:
		return m.failed(ctx, t, m.stopped), true
	case ctx.Err() != nil:
		return m.failed(ctx, t, Outage(ctx.Err())), true
	}
	// Without an own key, attempt reads it: it may have been revoked since the call began.
	key, won, err := m.service.attempt(ctx, m.caller, nil, t, m.caller.wish(KeyRevoked, "", string(t.key.ID)), func(from Key, _ *Key, now time.Time) (Change, error) {
		return m.caller.revocation(from, now, m.reason), nil
	})
	switch {
	case err != nil:
		return m.failed(ctx, t, err), true
	case !won:
		return RevokeResult{}, false
	}
	return RevokeResult{ID: key.ID, Key: key, Outcome: OutcomeRevoked}, true
}

// errOutOfTime is the error of keys for which there was no time left.
var errOutOfTime = &Error{Code: Unavailable, Message: "There was no time left for this key. Make the same call again to continue.", RetryAfter: time.Second}

// failed returns the result of a key that was not revoked. After an outage, or once the caller's own key is no longer active, nothing more is
// written.
func (m *revocations) failed(ctx context.Context, t *target, err error) RevokeResult {
	outcome := OutcomeUnavailable
	switch Classify(err).Code {
	case Forbidden:
		outcome = OutcomeForbidden
	case Unauthenticated:
		outcome, m.stopped = OutcomeForbidden, err
	case Unavailable:
		if ctx.Err() != nil {
			err = errOutOfTime
		}
		m.stopped = cmp.Or(m.stopped, err)
	default:
	}
	return RevokeResult{ID: t.key.ID, Key: m.service.Policy.at(t.key, m.service.now()), Outcome: outcome, Err: err}
}
