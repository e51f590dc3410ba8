package apikey

import (
	"context"
	"errors"
	"time"
)

// Report counts the keys of an organization.
type Report struct {
	Active, Revoked, Expired int
	// The active keys by their findings. A key can have several.
	NeverExpires, BeyondMaxLifetime, ExpiresSoon, Unused, Stale int
	Leaked                                                      int // keys in every state
	Unlisted                                                    int // documents of the organization that no list shows
}

// Report counts the keys of the caller's organization at one instant. It requires a caller who sees the whole organization. It looks at every
// key once, so it is a scan, unless the request may look at that many.
func (s *Service) Report(ctx context.Context, c Caller) (*Report, error) {
	if err := s.authorizeOrganization(c); err != nil {
		return nil, err
	}
	sc, err := s.startReport(ctx, c.tenant())
	if err != nil {
		return nil, err
	}
	within, done, err := s.scanning(ctx, c.tenant(), sc)
	if err != nil {
		return nil, tooManyToCount(err)
	}
	defer done()
	now, r := s.now(), &Report{}
	r.Unlisted, err = s.Store.EachKey(within, c.tenant(), FindingFields, func(k *Key) { r.add(k.StatusAt(now), s.Policy.FindingsAt(k, now)) })
	switch {
	case err == nil:
		return r, nil
	case sc != nil && sc.long && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, tooManyToCount(err)
	}
	return nil, err
}

// tooManyToCount is the error of a report that the deadline ended, while it counted or while it waited for another scan.
func tooManyToCount(cause error) error {
	return &Error{
		Code: Unavailable, Message: "The organization has too many keys to count them within REQUEST_TIMEOUT. Count fewer with a list's total.",
		RetryAfter: time.Second, cause: cause,
	}
}

// startReport charges a report to the request's Cost.
func (s *Service) startReport(ctx context.Context, tenant InternalID) (*scan, error) {
	cost := CostFrom(ctx)
	if !cost.bounded() {
		return nil, nil
	}
	n, over, err := s.countUpTo(ctx, tenant, KeyConditions{}, cost.Left())
	if err != nil {
		return nil, err
	}
	return newScan(cost, n, over, "apiKeyReport")
}

func (r *Report) add(status Status, found FindingSet) {
	switch status {
	case Active:
		r.Active++
	case Revoked:
		r.Revoked++
	case Expired:
		r.Expired++
	}
	for _, of := range []struct {
		finding Finding
		count   *int
	}{
		{NeverExpires, &r.NeverExpires}, {BeyondMaxLifetime, &r.BeyondMaxLifetime}, {ExpiresSoon, &r.ExpiresSoon}, {Unused, &r.Unused}, {Stale, &r.Stale}, {Leaked, &r.Leaked},
	} {
		if found.Has(of.finding) {
			*of.count++
		}
	}
}
