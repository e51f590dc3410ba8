package apikey

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// KeyExpiring is the action of the event that a key expires soon. It is this server's own.
const KeyExpiring Action = "api_key_expiring"

// System is the type and the id of the actor of events that nobody caused.
const System ActorType = "system"

// ExpiryPosition is a place in the order of the keys of all tenants that expire: by expiry, then id, then tenant.
type ExpiryPosition struct {
	At     time.Time
	ID     ID
	Tenant InternalID
}

// EventRef identifies an event.
type EventRef struct {
	Tenant InternalID
	ID     EventID
}

// NoticeFields are the fields that notices need.
const NoticeFields = StatusFields | FieldInternalID | FieldCreatedAt | FieldScopes | FieldRotatedTo

const (
	// noticeBatch is how many keys are read at a time.
	noticeBatch = 500
	// noticeEvery is how often keys that come within the notice are looked for.
	noticeEvery = 10 * time.Second
	// lookAfterFailure is how long to wait after a failure.
	lookAfterFailure = time.Minute
	// lookAllPause is how long to wait, per key, before all keys within the notice are looked at again. It keeps the store's work for this small.
	lookAllPause = 50 * time.Millisecond
	// mostLookAllPause is how long to wait at most.
	mostLookAllPause = time.Hour
)

// Notices stores an event for each key that expires within Policy.ExpiryNotice: one for each key, expiry and notice. Each process looks by itself.
// The event's id depends on nothing else, so it does not matter which process is first, or whether one looks again after a crash.
//
// Most rounds look only at keys whose expiry came within the notice since the last one. Other keys get an expiry within it later, by an import, an
// update or another program. They are found because all keys within the notice are looked at again now and then, and when the process starts.
type Notices struct {
	Service *Service
	Logger  *slog.Logger
	Count   func(keys int) // gets the number of keys within the notice that have an event, whenever all are looked at

	looked time.Time // all keys that expire before were looked at
	again  time.Time // when to look at all keys
}

// Run looks for keys until the context ends. It returns at once if there is no notice.
func (n *Notices) Run(ctx context.Context) {
	if n.Service.Policy.ExpiryNotice == 0 {
		return
	}
	for {
		wait := noticeEvery
		if err := n.Look(ctx); err != nil && ctx.Err() == nil {
			wait = lookAfterFailure
			n.Logger.WarnContext(ctx, "events of keys that expire soon could not be stored", "error", err, "cause", errors.Unwrap(err), "retry_in", wait.String())
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// Look makes one round.
func (n *Notices) Look(ctx context.Context) error {
	now := n.Service.instant()
	from, until := n.looked, n.Service.Policy.SoonAt(now)
	all := !now.Before(n.again)
	if all {
		from = now
	}
	keys, err := n.Service.notice(ctx, from, until, now)
	if err != nil {
		return err // the next round looks at the same keys again
	}
	n.looked = until
	if all {
		n.again = now.Add(min(max(noticeEvery, time.Duration(keys)*lookAllPause), mostLookAllPause))
		n.Count(keys)
	}
	return nil
}

// notice stores the missing events of the keys that expire in the period, and returns how many keys have one.
func (s *Service) notice(ctx context.Context, from, until, now time.Time) (keys int, err error) {
	for after := (ExpiryPosition{At: from}); ; {
		batch, err := s.Store.ExpiringKeys(ctx, after, until, noticeBatch)
		if err != nil {
			return keys, err
		}
		var due []*Key
		for i := range batch {
			if s.Policy.notices(&batch[i], now) {
				due = append(due, &batch[i])
			}
		}
		if err := s.storeNotices(ctx, due, now); err != nil {
			return keys, err
		}
		keys += len(due)
		if len(batch) < noticeBatch {
			return keys, nil
		}
		last := &batch[len(batch)-1]
		after = ExpiryPosition{*last.ExpiresAt, last.ID, last.InternalID}
	}
}

// notices reports whether a key that expires within the notice has an event. A key that was rotated is replaced already, and one that lives no
// longer than the notice would have its event when it is created.
func (p *Policy) notices(k *Key, now time.Time) bool {
	return k.ExpiresAt != nil && k.StatusAt(now) == Active && k.RotatedTo == nil && (k.CreatedAt == nil || k.ExpiresAt.Sub(*k.CreatedAt) > p.ExpiryNotice)
}

// storeNotices stores the events of the keys that are not stored yet.
func (s *Service) storeNotices(ctx context.Context, keys []*Key, now time.Time) error {
	if len(keys) == 0 {
		return nil
	}
	refs := make([]EventRef, len(keys))
	for i, k := range keys {
		refs[i] = s.Policy.noticeOf(k)
	}
	stored, err := s.Store.StoredEvents(ctx, refs)
	if err != nil {
		return err
	}
	known := make(map[EventRef]bool, len(stored))
	for _, ref := range stored {
		known[ref] = true
	}
	named := map[InternalID][]RetrieverID{}
	for i, k := range keys {
		if !known[refs[i]] {
			named[k.InternalID] = append(named[k.InternalID], k.Retrievers()...)
		}
	}
	existing := map[InternalID]homes{}
	for tenant, ids := range named {
		retrievers, err := s.Store.Retrievers(ctx, tenant, distinct(ids))
		if err != nil {
			return err
		}
		existing[tenant] = homesOf(retrievers)
	}
	for i, k := range keys {
		if known[refs[i]] {
			continue
		}
		e := Event{
			ID: refs[i].ID, Timestamp: now, Action: KeyExpiring, ResourceType: ResourceAPIKey, ResourceID: string(k.ID),
			ActorID: string(System), ActorType: System, Outcome: Success,
			Changes:    []FieldChange{{Field: "expires_at", After: dateText(k.ExpiresAt)}},
			InternalID: k.InternalID, NamespaceID: existing[k.InternalID].first(k), RetrieverIDs: k.Retrievers(),
		}
		if err := s.Store.InsertEvent(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// noticeOf returns the id of the event that the key expires soon: the same for the same key, expiry and notice. The id includes the tenant,
// because tenants may use the same ids and share a collection.
func (p *Policy) noticeOf(k *Key) EventRef {
	sum := sha256.Sum256([]byte(strings.Join([]string{
		string(KeyExpiring), string(k.InternalID), string(k.ID), strconv.FormatInt(k.ExpiresAt.UnixMilli(), 10), p.ExpiryNotice.String(),
	}, "\x00")))
	return EventRef{k.InternalID, EventID("evt_" + hex.EncodeToString(sum[:12]))}
}
