package program

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"retrieverkeys/store/mongodb"
)

// indexes prints each query, the indexes it needs, and how the deployment executed it.
func (c *command) indexes(ctx context.Context) (err error) {
	if c.cfg.MongoURI == "" {
		if err := c.mustExist(); err != nil {
			return err
		}
		if c.cfg.JSON {
			_, err = fmt.Fprintln(c.stdout, "[]")
			return err
		}
		_, err = fmt.Fprintln(c.stdout, "The embedded store creates its indexes when it opens. There is nothing to check.")
		return err
	}
	engine, _, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	explainer, ok := engine.(interface {
		Plans(ctx context.Context) ([]mongodb.Plan, error)
	})
	if !ok {
		return errors.New("this store cannot explain queries")
	}
	plans, err := explainer.Plans(ctx)
	if err != nil {
		return err
	}
	return c.showPlans(plans)
}

func (c *command) showPlans(plans []mongodb.Plan) error {
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
		_, _ = fmt.Fprintf(&text, "  needs   %s\n", strings.Join(plan.Wants, "  and  "))
		if len(plan.Stages) > 0 {
			_, _ = fmt.Fprintf(&text, "  plan    %s; examined %d, returned %d\n", strings.Join(plan.Stages, ", "), plan.Examined, plan.Returned)
		}
	}
	if c.cfg.JSON {
		encoded, err := json.MarshalIndent(plans, "", "  ")
		if err != nil {
			return err
		}
		text.Reset()
		_, _ = fmt.Fprintf(&text, "%s\n", encoded)
	} else if len(unknown) > 0 {
		_, _ = fmt.Fprintf(&text, "%d of %d queries are unverified: explain is reliable only on MongoDB itself.\n", len(unknown), len(plans))
	}
	if _, err := fmt.Fprint(c.stdout, text.String()); err != nil {
		return err
	}
	if len(wrong) > 0 {
		return fmt.Errorf("an index is missing or not used: %s", strings.Join(wrong, "; "))
	}
	return nil
}
