package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"retrieverkeys/store"
	"retrieverkeys/store/document"
)

// importGCPercent is the GOGC of an import. Most of its heap is ids and hashes without pointers, which cost a collection
// nothing. Collecting earlier saves a third of the memory.
const importGCPercent = 25

func (c *command) importFile(ctx context.Context) error {
	previous := debug.SetGCPercent(importGCPercent)
	defer debug.SetGCPercent(previous)
	content, remove, err := c.importedFile(ctx)
	if err != nil {
		return rejected(ctx, c.cfg.Operands[0], err)
	}
	defer remove()
	file, err := document.Check(ctx, content)
	if err != nil {
		return rejected(ctx, c.cfg.Operands[0], err)
	}
	debug.FreeOSMemory() // Check compared the ids and hashes of all documents
	return c.withStore(ctx, func(ctx context.Context, engine store.Engine) error {
		bar := progressBar{to: c.stderr, total: file.Len(), shown: isTerminal(c.stderr)}
		references := newReferences()
		note := func(p document.Part) {
			for _, r := range references {
				r.note(p)
			}
		}
		done, err := engine.Import(ctx, noted{file, note}, document.ImportOptions{Progress: bar.show})
		bar.end()
		if err != nil {
			if c.cfg.MongoURI != "" { // an interrupted import can have stored a part
				ctx = context.WithoutCancel(ctx)
			}
			return rejected(ctx, c.cfg.Operands[0], err)
		}
		for _, r := range references {
			if warning := r.warning(ctx, engine, file); warning != "" {
				complain(c.stderr, errors.New("warning: "+warning))
			}
		}
		_, err = fmt.Fprintf(c.stdout, "Imported %s; %d already existed and were left unchanged.\n", counted(done.Stored, "document"), done.Existing)
		return err
	})
}

// importedFile opens the file to import. An import reads its file several times, so importedFile copies a pipe to a
// temporary file. remove closes the file and removes the copy.
func (c *command) importedFile(ctx context.Context) (content *os.File, remove func(), err error) {
	file, err := os.Open(c.cfg.Operands[0])
	if err != nil {
		return nil, nil, err
	}
	closeFile := func() { _ = file.Close() }
	if info, err := file.Stat(); err != nil || info.Mode().IsRegular() {
		return file, closeFile, err
	}
	defer closeFile()
	return c.temporaryCopy(ctx, file)
}

// temporaryCopy copies the pipe to a temporary file, which only the owner can read, beside the embedded store. Where a
// system allows it, the file has no name, so nothing is left of it even if the process is killed.
func (c *command) temporaryCopy(ctx context.Context, pipe io.Reader) (_ *os.File, remove func(), err error) {
	dir := os.TempDir()
	if c.cfg.MongoURI == "" {
		dir = filepath.Dir(c.cfg.EmbeddedPath)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, nil, err
		}
	}
	file, err := os.CreateTemp(dir, ".retrieverkeys-import-*")
	if err != nil {
		return nil, nil, err
	}
	named := os.Remove(file.Name()) != nil
	remove = func() {
		_ = file.Close()
		if named {
			_ = os.Remove(file.Name())
		}
	}
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(file, pipe)
		copied <- err
	}()
	select {
	case err = <-copied:
	case <-ctx.Done(): // nothing else ends a wait for a pipe
		err = ctx.Err()
	}
	if err != nil {
		remove()
		return nil, nil, err
	}
	return file, remove, nil
}

// rejected describes why the file was not imported. If ctx is done, that is the reason.
func rejected(ctx context.Context, file string, err error) error {
	problems, bad := errors.AsType[document.Problems](err)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: the import was interrupted and nothing was imported", file)
	case !bad:
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
