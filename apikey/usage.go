package apikey

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Usage records when callers' keys are used and what gateways are answered about keys, outside their requests. It collects one use per key, and
// the counts of each key and day, and stores them together. What the store does not accept is tried again. If the process is killed, or the store
// is down for long, these times and counts are lost and nothing else.
type Usage struct {
	Store  Store
	Logger *slog.Logger
	Lost   func(reason string, answers int64) // reports answers that are not counted; nil: nobody

	mu     sync.Mutex
	uses   map[useOf]time.Time
	counts map[answeredOf]*Answers

	failing bool // answers could not be stored the last time; only storeAnswers uses it
}

type useOf struct {
	tenant InternalID
	id     ID
	hash   string
}

const (
	// maxUses is how many keys' uses are collected. Uses of more keys wait for the next request.
	maxUses = 10_000
	// useBatch is how many uses are stored at a time.
	useBatch = 500
	// storeUsesEvery is how often uses are stored.
	storeUsesEvery = 2 * time.Second
	// lastStoreOfUses limits the time to store everything at shutdown.
	lastStoreOfUses = 5 * time.Second
)

// note records that the key is used now, unless the stored time is less than a minute old.
func (u *Usage) note(k *Key, now time.Time) {
	if k.ID == "" || k.LastUsedAt != nil && now.Sub(*k.LastUsedAt) < UseInterval {
		return
	}
	of := useOf{k.InternalID, k.ID, k.Hash}
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, known := u.uses[of]; !known && len(u.uses) >= maxUses {
		return
	}
	if u.uses == nil {
		u.uses = map[useOf]time.Time{}
	}
	if now.After(u.uses[of]) {
		u.uses[of] = now
	}
}

// Run stores what was collected until the context ends, and then once more. A write that is running when the context ends is not canceled:
// its counts would be lost.
func (u *Usage) Run(ctx context.Context) {
	storing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastStoreOfUses, cancel) })()
	tick := time.NewTicker(storeUsesEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			u.flush(storing)
		case <-ctx.Done():
			u.flush(storing)
			if lost := u.uncounted(); lost > 0 {
				u.Logger.WarnContext(ctx, "usage could not be stored before the end", "lost", lost)
			}
			return
		}
	}
}

// flush stores everything that was collected.
func (u *Usage) flush(ctx context.Context) {
	u.storeAnswers(ctx)
	u.mu.Lock()
	noted := u.uses
	u.uses = nil
	u.mu.Unlock()
	uses := make([]Use, 0, len(noted))
	for of, at := range noted {
		uses = append(uses, Use{InternalID: of.tenant, ID: of.id, Hash: of.hash, At: at})
	}
	for batch := range slices.Chunk(uses, useBatch) {
		if err := u.Store.UseKeys(ctx, batch); err != nil {
			u.Logger.WarnContext(ctx, "when keys were used could not be stored", "keys", len(batch), "error", err, "cause", errors.Unwrap(err))
			u.putBack(batch)
		}
	}
}

// putBack keeps uses that were not stored for the next time, if there is room.
func (u *Usage) putBack(uses []Use) {
	for _, use := range uses {
		u.note(&Key{InternalID: use.InternalID, ID: use.ID, Hash: use.Hash}, use.At)
	}
}
