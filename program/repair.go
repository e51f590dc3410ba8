package program

import (
	"context"
	"errors"
	"fmt"

	"retrieverkeys/store"
	"retrieverkeys/store/document"
)

// errClashes is the result of a repair that skipped keys.
var errClashes = errors.New("some keys were left without a key_id, because another key of their organization has their id")

// maxClashes limits the skipped keys that are printed.
const maxClashes = 20

func (c *command) repair(ctx context.Context) error {
	return c.onStore(ctx, func(ctx context.Context, engine store.Engine) error {
		bar := progressBar{to: c.stderr, shown: isTerminal(c.stderr)}
		done, err := engine.Repair(ctx, document.RepairOptions{DryRun: !c.cfg.Yes, Progress: func(done, total int) {
			bar.total = total
			bar.show(done)
		}})
		bar.end()
		if err != nil {
			if n := done.Known + done.New; n > 0 && c.cfg.Yes {
				err = errors.Join(err, fmt.Errorf("%s got a key_id before that: run the command again for the rest", counted(n, "key")))
			}
			return err
		}
		if err := c.reportRepair(done); err != nil || len(done.Clashes) == 0 {
			return err
		}
		lines := []error{errClashes}
		for i, clash := range done.Clashes {
			if i == maxClashes {
				lines = append(lines, detail(fmt.Sprintf("  and %d more", len(done.Clashes)-i)))
				break
			}
			lines = append(lines, detail(fmt.Sprintf("  %s of organization %s: _id %s", clash.ID, clash.Tenant, clash.DocumentID)))
		}
		return errors.Join(lines...)
	})
}

func (c *command) reportRepair(done document.Repaired) error {
	n := done.Known + done.New
	if n == 0 {
		_, err := fmt.Fprintln(c.stdout, "No key needs a key_id.")
		return err
	}
	did, then := "got", ""
	if !c.cfg.Yes {
		did, then = "would get", "Nothing was written. Run retrieverkeys repair --yes to write.\n"
	}
	_, err := fmt.Fprintf(c.stdout, "%s %s a key_id: %d from their _id, %d a new one.\n%s", counted(n, "key"), did, done.Known, done.New, then)
	return err
}
