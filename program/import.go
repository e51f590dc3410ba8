package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"retrieverkeys/store"
	"retrieverkeys/store/document"
)

func (c *command) importFile(ctx context.Context) error {
	file, err := os.Open(c.cfg.Operands[0])
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	batch, err := document.Parse(file)
	if err != nil {
		return rejected(c.cfg.Operands[0], err)
	}
	return c.withStore(ctx, func(ctx context.Context, engine store.Engine) error {
		bar := progressBar{to: c.stderr, total: batch.Len(), shown: isTerminal(c.stderr)}
		done, err := engine.Import(ctx, batch, document.ImportOptions{Progress: bar.show})
		bar.end()
		if err != nil {
			return rejected(c.cfg.Operands[0], err)
		}
		for _, warning := range dangling(ctx, engine, batch) {
			complain(c.stderr, errors.New("warning: "+warning))
		}
		_, err = fmt.Fprintf(c.stdout, "Imported %s; %d already existed and were left unchanged.\n", counted(done.Stored, "document"), done.Existing)
		return err
	})
}

// rejected describes the problems of a file that was not imported.
func rejected(file string, err error) error {
	problems, bad := errors.AsType[document.Problems](err)
	if !bad {
		return fmt.Errorf("%s: %w", file, err)
	}
	lines := []error{fmt.Errorf("%s was rejected and nothing was imported", file)}
	for _, line := range problems.Lines() {
		lines = append(lines, detail("  "+line))
	}
	return errors.Join(lines...)
}

// progressBar shows progress on one line of a terminal.
type progressBar struct {
	to    io.Writer
	total int
	shown bool
}

func (b *progressBar) show(done int) {
	if !b.shown || b.total == 0 {
		return
	}
	const width = 40
	filled := width * done / b.total
	_, _ = fmt.Fprintf(b.to, "\r%s%s %3d %%  %d of %d", strings.Repeat("█", filled), strings.Repeat("░", width-filled), 100*done/b.total, done, b.total)
}

func (b *progressBar) end() {
	if b.shown {
		_, _ = fmt.Fprint(b.to, "\r\033[K")
	}
}
