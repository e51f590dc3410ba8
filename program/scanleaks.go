package program

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
)

// foundByScan is the source of leaks that keys scan --report reports.
const foundByScan = "keys scan"

// reportLeaks reports the keys of the store as leaked, by their hashes, as the operator of their organizations. It notes in each leak what
// became of it, and returns the errors of those that it could not report.
func (c *command) reportLeaks(ctx context.Context, engine store.Engine, leaks []leak) error {
	service := &apikey.Service{Store: engine, LeakAction: apikey.LeakAction(c.cfg.LeakAction)}
	of := map[apikey.InternalID][]*leak{}
	var tenants []apikey.InternalID
	for i := range leaks {
		l := &leaks[i]
		if l.tenant == "" { // not a key of the store, or one of no organization, which nobody can use
			continue
		}
		if of[l.tenant] == nil {
			tenants = append(tenants, l.tenant)
		}
		of[l.tenant] = append(of[l.tenant], l)
	}
	var failed []error
	for _, tenant := range tenants {
		caller := apikey.NewOperator(operator(), apikey.Namespace{InternalID: tenant})
		for some := range slices.Chunk(of[tenant], apikey.MaxLeaks) {
			failed = append(failed, reportSome(ctx, service, caller, some))
		}
	}
	return errors.Join(failed...)
}

func reportSome(ctx context.Context, service *apikey.Service, caller apikey.Caller, leaks []*leak) error {
	source := foundByScan
	reports := make([]apikey.LeakReport, len(leaks))
	for i, l := range leaks {
		reports[i] = apikey.LeakReport{Hash: l.hash, Source: &source}
	}
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	results, err := service.ReportLeaks(ctx, caller, reports)
	if err != nil {
		return fmt.Errorf("%s could not be reported as leaked: %w", counted(len(leaks), "key"), err)
	}
	var failed []error
	for i, r := range results {
		l := leaks[i]
		switch {
		case r.Err != nil:
			failed = append(failed, fmt.Errorf("%s could not be reported as leaked: %w", printable(string(l.KeyID)), r.Err))
		case r.Key != nil:
			l.Reported, l.Status, l.active = true, string(r.Key.Status), r.Key.Status == apikey.Active
			if !l.active {
				l.Revoke = ""
			}
		}
	}
	return errors.Join(failed...)
}
