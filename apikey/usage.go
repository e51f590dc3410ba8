package apikey

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Usage notes when callers' keys are used, off the path of their requests: uses are gathered, one for each key, and
// stored together now and then. What the store does not take is tried again; a process that is killed, and a store
// that is down for long, lose these times and nothing else.
type Usage struct {
	Store  Store
	Logger *slog.Logger

	mu   sync.Mutex
	uses map[useOf]time.Time
}

type useOf struct {
	tenant InternalID
	id     ID
	hash   string
}

const (
	// maxUses is how many keys' uses are gathered; those of more keys wait for their next request.
	maxUses = 10_000
	// useBatch is how many are stored at a time.
	useBatch = 500
	// storeUsesEvery is how often they are stored.
	storeUsesEvery = 2 * time.Second
	// lastStoreOfUses bounds the storing at the end.
	lastStoreOfUses = 5 * time.Second
)

// note takes down that the key is used now, unless it is stored as used within the last minute.
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

// Run stores what is noted until the context ends, and then once more.
func (u *Usage) Run(ctx context.Context) {
	tick := time.NewTicker(storeUsesEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			u.flush(ctx)
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastStoreOfUses)
			defer cancel()
			u.flush(ctx)
			return
		}
	}
}

// flush stores all that is noted.
func (u *Usage) flush(ctx context.Context) {
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

// putBack keeps uses that were not stored for the next time, where there is room.
func (u *Usage) putBack(uses []Use) {
	for _, use := range uses {
		u.note(&Key{InternalID: use.InternalID, ID: use.ID, Hash: use.Hash}, use.At)
	}
}
