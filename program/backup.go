package program

import (
	"context"
	"errors"
	"fmt"

	"retrieverkeys/store/sqlite"
)

// backup copies the embedded store.
func (c *command) backup(ctx context.Context) (err error) {
	path, file := c.cfg.EmbeddedPath, c.cfg.Operands[0]
	if err := c.mustExist(); err != nil {
		return err
	}
	s, err := sqlite.Open(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	b, err := s.Backup(ctx, file)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.stdout, "Copied %s to %s and verified the copy:\n%d bytes, %s, %s, %s, %s.\n",
		printable(path), printable(file), b.Bytes, counted(b.Namespaces, "namespace"), counted(b.Retrievers, "retriever"), counted(b.Keys, "key"), counted(b.Events, "audit event"))
	return err
}
