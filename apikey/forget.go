package apikey

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// How what is old is deleted.
const (
	forgetEvery = time.Hour
	forgetBatch = 500                    // documents at a time
	forgetPause = 100 * time.Millisecond // between two batches, so that others can write too
	// forgetTenants is how many organizations one step can look for old events of.
	forgetTenants = 100
)

// forget deletes in small steps, now and every hour, until the context ends. A step reports whether there can be more. If it fails, the log has
// the message. Several processes can do so at the same time.
func forget(ctx context.Context, logger *slog.Logger, failed string, step func(context.Context) (more bool, err error)) {
	for {
		wait := forgetPause
		more, err := step(ctx)
		if err != nil && ctx.Err() == nil {
			logger.WarnContext(ctx, failed, "error", err, "cause", errors.Unwrap(err))
		}
		if !more {
			wait = forgetEvery
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// ForgetEvents deletes the events that happened more than that many days ago, now and every hour, in small steps, until the context ends.
func (s *Service) ForgetEvents(ctx context.Context, logger *slog.Logger, days int) {
	var tenants []InternalID // which can have old events
	forget(ctx, logger, "old audit events could not be deleted", func(ctx context.Context) (more bool, err error) {
		if len(tenants) == 0 {
			if tenants, err = s.Store.TenantsOfEvents(ctx); err != nil {
				return false, err
			}
		}
		before := s.now().AddDate(0, 0, -days)
		for range min(len(tenants), forgetTenants) {
			switch more, err := s.Store.DeleteEvents(ctx, tenants[0], before, forgetBatch); {
			case err != nil && Classify(err).Code == Unavailable:
				tenants = nil
				return false, err
			case more:
				return true, nil
			case err != nil: // the other organizations must not wait for this one
				tenants = tenants[1:]
				return len(tenants) > 0, err
			default:
				tenants = tenants[1:]
			}
		}
		return len(tenants) > 0, nil
	})
}
