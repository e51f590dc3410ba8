package program

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"retrieverkeys/store/mongodb"
)

// indexes tells of each query which index it wants and what the deployment did with it.
func (p *program) indexes(ctx context.Context) (err error) {
	if p.cfg.MongoURI == "" {
		if err := p.mustExist(); err != nil {
			return err
		}
		if p.cfg.JSON {
			_, err = fmt.Fprintln(p.stdout, "[]")
			return err
		}
		_, err = fmt.Fprintln(p.stdout, "The embedded store has its indexes in its own schema, and makes them when it opens: there is nothing to check.")
		return err
	}
	engine, _, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	explainer, ok := engine.(interface {
		Plans(ctx context.Context) ([]mongodb.Plan, error)
	})
	if !ok {
		return errors.New("this store explains no queries")
	}
	plans, err := explainer.Plans(ctx)
	if err != nil {
		return err
	}
	return p.showPlans(plans)
}

func (p *program) showPlans(plans []mongodb.Plan) error {
	var wrong, unknown []string
	var text strings.Builder
	for _, plan := range plans {
		switch plan.Verdict {
		case mongodb.Missing, mongodb.Unused:
			wrong = append(wrong, plan.Query)
		case mongodb.Unknown:
			unknown = append(unknown, plan.Query)
		case mongodb.Used:
		}
		_, _ = fmt.Fprintf(&text, "%s (%s): %s\n  filter  %s\n", plan.Query, plan.Collection, plan.Verdict, plan.Filter)
		if plan.Sort != "" {
			_, _ = fmt.Fprintf(&text, "  sort    %s\n", plan.Sort)
		}
		_, _ = fmt.Fprintf(&text, "  wants   %s\n", strings.Join(plan.Wants, "  and  "))
		if len(plan.Stages) > 0 {
			_, _ = fmt.Fprintf(&text, "  did     %s; examined %d, returned %d\n", strings.Join(plan.Stages, ", "), plan.Examined, plan.Returned)
		}
	}
	if p.cfg.JSON {
		encoded, err := json.MarshalIndent(plans, "", "  ")
		if err != nil {
			return err
		}
		text.Reset()
		_, _ = fmt.Fprintf(&text, "%s\n", encoded)
	} else if len(unknown) > 0 {
		_, _ = fmt.Fprintf(&text, "This deployment cannot tell how it answers %d of %d queries: only MongoDB's own explain is believed.\n", len(unknown), len(plans))
	}
	if _, err := fmt.Fprint(p.stdout, text.String()); err != nil {
		return err
	}
	if len(wrong) > 0 {
		return fmt.Errorf("an index is missing or not used: %s", strings.Join(wrong, "; "))
	}
	return nil
}
