package sqlite

import (
	"context"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"retrieverkeys/apikey"
)

// outages are SQLite's primary result codes for a file that cannot be used now but can be later: for lack of a lock,
// disk space, memory or write permission, or because the request ended.
var outages = map[int]bool{
	sqlite3.SQLITE_BUSY: true, sqlite3.SQLITE_LOCKED: true, sqlite3.SQLITE_PROTOCOL: true,
	sqlite3.SQLITE_IOERR: true, sqlite3.SQLITE_FULL: true, sqlite3.SQLITE_CANTOPEN: true, sqlite3.SQLITE_NOMEM: true,
	sqlite3.SQLITE_READONLY: true, sqlite3.SQLITE_INTERRUPT: true,
}

// classify wraps an error of the engine. Outages become the domain's. All others are Internal to callers.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), outages[resultCode(err)]:
		return apikey.Outage(fmt.Errorf("sqlite: %w", err))
	default:
		return fmt.Errorf("sqlite: %w", err)
	}
}

// resultCode returns SQLite's primary result code, or -1 if the error is not SQLite's.
func resultCode(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return -1
	}
	return e.Code() & 0xff
}
