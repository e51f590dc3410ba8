// Package sqlite is the embedded engine. It stores the same documents as MongoDB in one SQLite file. Several processes
// can share the file, and each sees the others' writes at once.
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
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Store is the engine on one file.
type Store struct {
	path        string  // absolute
	read, write *sql.DB // write has one connection, whose transactions take the write lock when they begin
	statements  [reads]*sql.Stmt
	turns       chan struct{} // has one item for each read in progress
	sizes       sizes         // usualSizes, except in tests

	asides     chan asideStep
	closed     chan struct{}
	stopAsides func()
}

const (
	// readers is the number of concurrent reads.
	readers = 8
	// busyTimeout is how long to wait for the file's lock, unless the request's context ends before.
	busyTimeout = 5 * time.Second
	// cacheKiB is the page cache of each connection. It is small because the operating system caches the file too, and
	// one request can fill the caches of all connections. On a file of a million keys, a cache twelve times as large
	// does not make gateways' requests faster.
	cacheKiB = 1024
	// logBytes is the size to which the write-ahead log is truncated after a large import.
	logBytes = 16 << 20
)

// Open opens the file, or creates it and its directory, both for the owner only. It refuses a file that is damaged, not
// writable, of another program, or of a newer version of this one, and leaves it unchanged.
func Open(ctx context.Context, path string) (*Store, error) {
	s, err := open(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("the embedded store %s: %w", path, explain(err))
	}
	return s, nil
}

func open(ctx context.Context, path string) (_ *Store, err error) {
	// SQLite's default locks belong to the process: closing any descriptor of a file, as prepareFile does, releases all
	// of them. On systems without open file description locks, a process must not open one store twice.
	_, _ = sqlite.OFDLocking(true)
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := prepareFile(absolute); err != nil {
		return nil, err
	}
	s := &Store{path: absolute, turns: make(chan struct{}, readers), sizes: usualSizes,
		asides: make(chan asideStep), closed: make(chan struct{})}
	s.stopAsides = s.startAsides()
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	// An acknowledged transaction survives a crash of the process and, with synchronous FULL, of the machine. The
	// write-ahead log is enabled below, once: the setting is stored in the file.
	//
	// SQLite's temporary files, of building a large index, are put beside the store: a container may have no writable
	// directory for them.
	temporary := url.QueryEscape("temp_store_directory('" + strings.ReplaceAll(filepath.Dir(absolute), "'", "''") + "')")
	if s.write, err = pool(absolute, 1, "_synchronous=FULL&_txlock=immediate&_pragma=journal_size_limit("+strconv.Itoa(logBytes)+")&_pragma="+temporary); err != nil {
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

// prepareFile creates the file if it does not exist, and refuses one whose header is not a store's. It reads the header
// itself, because SQLite could complete what a crashed program left unfinished, and another program's file must not be
// changed.
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
		return errors.New("not a regular file")
	}

	const headerBytes, applicationIDAt = 100, 68
	header := make([]byte, headerBytes)
	switch n, err := io.ReadFull(f, header); {
	case n == 0 && errors.Is(err, io.EOF):
		return nil // a new file
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

// pool opens connections to the file with settings of the driver.
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

// migrate brings an older schema to this version's. Until then the file has no write-ahead log, so that from its first
// page on the header identifies the program.
func (s *Store) migrate(ctx context.Context) error {
	if version, err := versionOf(ctx, s.write); err != nil || version == schemaVersion {
		return err
	}
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // does nothing after the commit
	// Read the version again: the lock now keeps other processes out.
	version, err := versionOf(ctx, tx)
	if err != nil {
		return err
	}
	for _, m := range schema[version:] {
		if err := m.run(ctx, tx); err != nil {
			return err
		}
	}
	mark := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d;", applicationID, schemaVersion)
	if _, err := tx.ExecContext(ctx, mark); err != nil {
		return err
	}
	return tx.Commit()
}

func (m migration) run(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, m.tables); err != nil {
		return err
	}
	if m.fill != nil {
		if err := m.fill(ctx, tx); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, m.indexes)
	return err
}

// fill returns a function that fills new columns. read selects the numbers and documents of the next rows after one, and update writes the
// values of a document to a row.
func fill(read, update string, values func(doc bson.Raw) []any) func(context.Context, *sql.Tx) error {
	return func(ctx context.Context, tx *sql.Tx) error {
		update, err := tx.PrepareContext(ctx, update)
		if err != nil {
			return err
		}
		defer update.Close() //nolint:errcheck // the transaction's end closes it too
		for last := int64(0); ; {
			rows, err := unfilled(ctx, tx, read, last, values)
			if err != nil || len(rows) == 0 {
				return err
			}
			for _, row := range rows {
				if _, err := update.ExecContext(ctx, append(row.values, row.pk)...); err != nil {
					return err
				}
				last = row.pk
			}
		}
	}
}

// row is the number of a row, and the values of its new columns.
type row struct {
	pk     int64
	values []any
}

// unfilled reads the next rows after one.
func unfilled(ctx context.Context, tx *sql.Tx, read string, after int64, values func(doc bson.Raw) []any) (next []row, err error) {
	rows, err := tx.QueryContext(ctx, read, after)
	if err != nil {
		return nil, err
	}
	defer rows.Close() // rows.Err returns the error
	for rows.Next() {
		var r row
		var doc []byte
		if err := rows.Scan(&r.pk, &doc); err != nil {
			return nil, err
		}
		r.values = values(doc)
		next = append(next, r)
	}
	return next, rows.Err()
}

type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// versionOf returns the version of the file's schema, or 0 if it has none. A version newer than this program's is an
// error.
func versionOf(ctx context.Context, db queryer) (version int, err error) {
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return 0, err
	}
	if version > schemaVersion {
		return 0, fmt.Errorf("the file was written by a newer version of retrieverkeys (its schema is %d, this version's is %d)", version, schemaVersion)
	}
	return version, nil
}

// keepLog enables the write-ahead log, with which reads and writes do not wait for each other. SQLite does not wait for
// the lock that this needs, so keepLog retries while another process opens the file.
func (s *Store) keepLog(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, busyTimeout)
	defer cancel()
	for {
		var mode string
		err := s.write.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode)
		switch {
		case err == nil && mode != "wal":
			return fmt.Errorf("the file system does not support a write-ahead log (journal mode %s)", mode)
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

// explain adds to SQLite's errors what they mean for an operator who opens the file.
func explain(err error) error {
	switch resultCode(err) {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("the file is damaged: %w", err)
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		return fmt.Errorf("the file and its directory must be writable: %w", err)
	case sqlite3.SQLITE_BUSY:
		return fmt.Errorf("another process has locked the file: %w", err)
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

// Close closes the store. The last process to close the file moves the contents of its log into it.
func (s *Store) Close() error {
	s.stopAsides()
	var errs []error
	// Close the writer last, because a read-only connection moves nothing.
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return classify(errors.Join(errs...))
}
