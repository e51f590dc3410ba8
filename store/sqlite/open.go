// Package sqlite is the embedded engine: the same documents as on MongoDB, in one SQLite file. Several processes
// may share the file; what one has written the others see at once.
package sqlite

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Store is the engine on one file.
type Store struct {
	path        string  // absolute
	read, write *sql.DB // write has one connection, and its transactions take the write lock as they begin
	statements  [reads]*sql.Stmt
	turns       chan struct{} // holds one for each read under way
}

const (
	// readers is how many reads can run side by side.
	readers = 8
	// busyTimeout is how long the file's lock is waited for, if the request's context does not end before.
	busyTimeout = 5 * time.Second
	// cacheKiB is the page cache of each connection. It is small because the operating system caches the file too, and one request
	// can fill the caches of all connections. On a file of a million keys three times as much makes no request faster.
	cacheKiB = 1024
	// logBytes is what the write-ahead log is cut back to after a large import.
	logBytes = 16 << 20
)

// Open opens the file, or makes it: its directory for the owner only, the file too. A file that is damaged, of
// another program, or written by a newer version of this one is refused and left as it is; so is one that cannot be
// written.
func Open(ctx context.Context, path string) (*Store, error) {
	s, err := open(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("the embedded store %s: %w", path, explain(err))
	}
	return s, nil
}

func open(ctx context.Context, path string) (_ *Store, err error) {
	// With the other kind of locks, to close a file for whatever reason, as prepareFile does, ends all locks that the
	// process has on it. Where there are none of this kind, a process must not open one store twice.
	_, _ = sqlite.OFDLocking(true)
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := prepareFile(absolute); err != nil {
		return nil, err
	}
	s := &Store{path: absolute, turns: make(chan struct{}, readers)}
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	// A transaction that was acknowledged survives the end of the process, and with synchronous FULL that of the
	// machine. The write-ahead log is set up below, once: the file remembers it.
	if s.write, err = pool(absolute, 1, "_synchronous=FULL&_txlock=immediate&_pragma=journal_size_limit("+strconv.Itoa(logBytes)+")"); err != nil {
		return nil, err
	}
	if err := s.migrate(ctx); err != nil {
		return nil, err
	}
	if err := s.keepLog(ctx); err != nil {
		return nil, err
	}
	if s.read, err = pool(absolute, readers, "_query_only=1"); err != nil {
		return nil, err
	}
	for i, text := range readSQL {
		if s.statements[i], err = s.read.PrepareContext(ctx, text); err != nil { //nolint:sqlclosecheck // closed with the pool
			return nil, err
		}
	}
	return s, nil
}

var errForeign = errors.New("the file is not a store of retrieverkeys")

// prepareFile makes the file if there is none, and refuses one whose first bytes are not a store's. It looks for
// itself, because SQLite may complete what a crashed program left half done in the file that it opens, and the file
// of another program is not ours to touch.
func prepareFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil { //nolint:gosec // the path is the operator's setting
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the path is the operator's setting
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	if info, err := f.Stat(); err != nil {
		return err
	} else if !info.Mode().IsRegular() {
		return errors.New("it is not a file")
	}

	const headerBytes, applicationIDAt = 100, 68
	header := make([]byte, headerBytes)
	switch n, err := io.ReadFull(f, header); {
	case n == 0 && errors.Is(err, io.EOF):
		return nil // new
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errForeign
	case err != nil:
		return err
	}
	if string(header[:16]) != "SQLite format 3\x00" || binary.BigEndian.Uint32(header[applicationIDAt:]) != applicationID {
		return errForeign
	}
	return nil
}

// pool opens connections to the file with the settings, in the driver's terms.
func pool(path string, connections int, settings string) (*sql.DB, error) {
	file := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path)}
	connector, err := sqlite.NewConnector(fmt.Sprintf("%s?_error_rc=1&_busy_timeout=%d&_pragma=cache_size(-%d)&%s",
		file.String(), busyTimeout.Milliseconds(), cacheKiB, settings))
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// migrate brings the schema to this version's, whatever older one the file has. The file stays without a write-ahead log
// until it has one, so that from its first page on it says whose it is.
func (s *Store) migrate(ctx context.Context) error {
	if version, err := versionOf(ctx, s.write); err != nil || version == schemaVersion {
		return err
	}
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // does nothing after the commit
	// Again, now that no other process can be at it.
	version, err := versionOf(ctx, tx)
	if err != nil {
		return err
	}
	for _, script := range schema[version:] {
		if _, err := tx.ExecContext(ctx, script); err != nil {
			return err
		}
	}
	mark := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d;", applicationID, schemaVersion)
	if _, err := tx.ExecContext(ctx, mark); err != nil {
		return err
	}
	return tx.Commit()
}

type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// versionOf returns the version of the file's schema; 0 where it has none. A newer one than this program's is an error.
func versionOf(ctx context.Context, db queryer) (version int, err error) {
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return 0, err
	}
	if version > schemaVersion {
		return 0, fmt.Errorf("the file was written by a newer version of retrieverkeys (schema %d, known here is %d)", version, schemaVersion)
	}
	return version, nil
}

// keepLog has the file keep a write-ahead log, with which reads and writes do not wait for each other. SQLite does not
// wait for the lock that the change needs, so where another process is opening the file too, this tries again.
func (s *Store) keepLog(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, busyTimeout)
	defer cancel()
	for {
		var mode string
		err := s.write.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode)
		switch {
		case err == nil && mode != "wal":
			return fmt.Errorf("its file system does not allow a write-ahead log (journal mode %s)", mode)
		case resultCode(err) != sqlite3.SQLITE_BUSY:
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// explain says of SQLite's errors what they mean for the one who opens the file.
func explain(err error) error {
	switch resultCode(err) {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("the file is damaged: %w", err)
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		return fmt.Errorf("the file and its directory must be writable: %w", err)
	case sqlite3.SQLITE_BUSY:
		return fmt.Errorf("another process holds the file: %w", err)
	default:
		return err
	}
}

// Ping returns nil if the file can be read now.
func (s *Store) Ping(ctx context.Context) error {
	return s.reading(ctx, func(ctx context.Context) error {
		_, err := versionOf(ctx, s.read)
		return err
	})
}

// Close ends the store's use. The last to close the file moves what is in its log into it.
func (s *Store) Close() error {
	var errs []error
	// The writer goes last, because a connection that only reads moves nothing.
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return classify(errors.Join(errs...))
}
