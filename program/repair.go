package program

import (
	"context"
	"errors"
	"fmt"

	"retrieverkeys/store"
	"retrieverkeys/store/document"
)

// errClashes ends a repair that had to leave keys as they are.
var errClashes = errors.New("some keys were left without a key_id, because another key of their organization is known by their id")

// shownClashes is how many of the keys that were left are named.
const shownClashes = 20

func (p *program) repair(ctx context.Context) error {
	return p.onStore(ctx, func(ctx context.Context, engine store.Engine) error {
		bar := progressBar{to: p.stderr, shown: isTerminal(p.stderr)}
		done, err := engine.Repair(ctx, document.RepairOptions{DryRun: !p.cfg.Yes, Progress: func(done, total int) {
			bar.total = total
			bar.show(done)
		}})
		bar.end()
		if err != nil {
			if n := done.Known + done.New; n > 0 && p.cfg.Yes {
				err = errors.Join(err, fmt.Errorf("%s got a key_id before that: run the command again for the rest", counted(n, "key")))
			}
			return err
		}
		if err := p.reportRepair(done); err != nil || len(done.Clashes) == 0 {
			return err
		}
		lines := []error{errClashes}
		for i, c := range done.Clashes {
			if i == shownClashes {
				lines = append(lines, detail(fmt.Sprintf("  and %d more", len(done.Clashes)-i)))
				break
			}
			lines = append(lines, detail(fmt.Sprintf("  %s of organization %s: _id %s", c.ID, c.Tenant, c.DocumentID)))
		}
		return errors.Join(lines...)
	})
}

func (p *program) reportRepair(done document.Repaired) error {
	n := done.Known + done.New
	if n == 0 {
		_, err := fmt.Fprintln(p.stdout, "No key needs a key_id.")
		return err
	}
	did, then := "got", ""
	if !p.cfg.Yes {
		did, then = "would get", "Nothing was written. Run retrieverkeys repair --yes to write.\n"
	}
	_, err := fmt.Fprintf(p.stdout, "%s %s a key_id: %d from their _id, %d a new one.\n%s", counted(n, "key"), did, done.Known, done.New, then)
	return err
}
