package program

import (
	"context"
	"errors"
	"time"

	"retrieverkeys/store"
	"retrieverkeys/telemetry"
)

// The delays between attempts to reach a store that is down: each is twice the one before.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// prepare creates the indexes as soon as the store can be reached and adds the demo data if DEMO is set. It has no deadline, because building
// an index can take hours. The server handles requests meanwhile. It reports false if ctx is done first.
func (c *command) prepare(ctx context.Context, engine store.Engine, prepare func(context.Context) error, url string) bool {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		err := prepare(ctx)
		if err == nil && c.cfg.Demo {
			if err = c.demo(ctx, engine, url); errors.Is(err, errOutputClosed) {
				err = nil // the demo data was created; the next start prints how to create another key
			}
		}
		if err == nil {
			if wait > firstRetry {
				c.logger.InfoContext(ctx, "the store is ready")
			}
			return true
		}
		if ctx.Err() == nil {
			c.logger.WarnContext(ctx, "the store is not ready yet", "error", err, "cause", errors.Unwrap(err), "retry_in", wait.String())
		}
		if !pause(ctx, wait) {
			return false
		}
	}
}

// countUnusable reports every hour how many keys cannot be listed.
func (c *command) countUnusable(ctx context.Context, engine store.Engine, metrics *telemetry.Metrics) {
	for {
		unusable, err := engine.CountUnusable(ctx)
		switch {
		case err == nil:
			metrics.UnusableKeys(unusable.Total())
			if unusable.NoHash > 0 {
				c.logger.WarnContext(ctx, "API key documents without a usable key_hash are not listed and authenticate nobody", "count", unusable.NoHash)
			}
			if unusable.NoID > 0 {
				c.logger.WarnContext(ctx, "API key documents without a key_id are not listed: run retrieverkeys repair", "count", unusable.NoID)
			}
		case ctx.Err() == nil:
			c.logger.WarnContext(ctx, "API key documents without a usable id or hash could not be counted", "error", err, "cause", errors.Unwrap(err))
		}
		if !pause(ctx, time.Hour) {
			return
		}
	}
}

// pause waits for d. It reports false if ctx is done first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
