package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Backup counts the documents of a copy of the store.
type Backup struct {
	Bytes                                int64
	Namespaces, Retrievers, Keys, Events int
}

// Backup copies the store as of one moment into a new file that only the owner can read. Other connections can read and
// write meanwhile. The file gets its name only after it is complete, checked and synced, so a file of that name is
// never a partial copy.
func (s *Store) Backup(ctx context.Context, path string) (Backup, error) {
	b, err := s.backup(ctx, path)
	if err != nil {
		return Backup{}, fmt.Errorf("backup to %s: %w", path, cmp.Or(ctx.Err(), err))
	}
	return b, nil
}

func (s *Store) backup(ctx context.Context, path string) (b Backup, err error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return Backup{}, err
	}
	// SQLite would mistake a file with the name of the copy's log or journal for the copy's own, and write its pages into
	// the copy.
	for _, suffix := range []string{"", "-wal", "-journal"} {
		if err := mustNotExist(absolute + suffix); err != nil {
			return Backup{}, err
		}
	}
	// SQLite would create the file readable for others.
	f, err := os.CreateTemp(filepath.Dir(absolute), filepath.Base(absolute)+".*.part")
	if err != nil {
		return Backup{}, err
	}
	defer func() {
		_ = f.Close()
		// On a full disk, SQLite leaves its journal behind.
		for _, suffix := range []string{"", "-journal"} {
			_ = os.Remove(f.Name() + suffix) //nolint:gosec // created above
		}
	}()
	if err := s.copyTo(ctx, f.Name()); err != nil {
		return Backup{}, err
	}
	if b, err = inspect(ctx, f.Name()); err != nil {
		return Backup{}, err
	}
	if err := f.Sync(); err != nil {
		return Backup{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return Backup{}, err
	}
	b.Bytes = info.Size()
	if err := rename(f.Name(), absolute); err != nil {
		return Backup{}, err
	}
	return b, syncDirectory(filepath.Dir(absolute))
}

// copyTo writes the copy on a connection of its own, so that this process's changes do not wait for it.
func (s *Store) copyTo(ctx context.Context, path string) error {
	db, err := pool(s.path, 1, "")
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // nothing was written
	if _, err := db.ExecContext(ctx, vacuumInto, path); err != nil {
		return fmt.Errorf("copying %s: %w", s.path, explain(err))
	}
	return nil
}

// inspect checks every page and index of a copy, and counts its documents.
func inspect(ctx context.Context, path string) (b Backup, err error) {
	db, err := pool(path, 1, "_query_only=1")
	if err != nil {
		return Backup{}, err
	}
	defer db.Close() //nolint:errcheck // nothing was written
	var problem string
	if err := db.QueryRowContext(ctx, checkIntegrity).Scan(&problem); err != nil {
		return Backup{}, err
	}
	if problem != "ok" {
		return Backup{}, fmt.Errorf("the copy is damaged: %s", problem)
	}
	return b, db.QueryRowContext(ctx, countDocuments).Scan(&b.Namespaces, &b.Retrievers, &b.Keys, &b.Events)
}

// rename gives the file a name that no file has. A hard link never replaces another file. On a file system without hard
// links, a file that gets the name at the very last moment is lost.
func rename(from, to string) error {
	err := os.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := mustNotExist(to); err != nil {
		return err
	}
	return os.Rename(from, to) //nolint:gosec // the path is the operator's
}

func mustNotExist(path string) error {
	_, err := os.Lstat(path) //nolint:gosec // the path is the operator's
	switch {
	case err == nil:
		return fmt.Errorf("%s already exists and is not overwritten", path)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default:
		return err
	}
}

// syncDirectory syncs a directory, so that the names of its files survive a crash.
func syncDirectory(path string) error {
	dir, err := os.Open(path) //nolint:gosec // the path is the operator's
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
