package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"modernc.org/sqlite"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
	"retrieverkeys/store/storetest"
)

// A process must see another's writes at once. Otherwise a key revoked by `keys revoke` would keep working at the
// server.
func TestStoresOfOneFileSeeEachOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	a, b := opened(t, path), opened(t, path)
	odd := storetest.OddKeys()
	for i, turn := range []struct{ writes, reads *Store }{{a, b}, {b, a}, {a, b}} {
		batch := document.Batch{Keys: []bson.Raw{odd[i].Doc}}
		if _, err := turn.writes.Import(t.Context(), batch, document.ImportOptions{}); err != nil {
			t.Fatal(err)
		}
		found, err := turn.reads.KeysByHash(t.Context(), odd[i].Want.Hash)
		if err != nil || len(found) != 1 {
			t.Errorf("turn %d: KeysByHash = %v, %v, want the key", i, found, err)
		}
	}
}

// A process that writes and exits must leave the log of another that has the file open, and the other must see its
// writes at once.
func TestProcessesOfOneFileSeeEachOther(t *testing.T) {
	const variable = "RETRIEVERKEYS_TEST_FILE"
	odd := storetest.OddKeys()
	if path := os.Getenv(variable); path != "" { // this is the other process
		s := opened(t, path)
		found, err := s.KeysByHash(t.Context(), odd[0].Want.Hash)
		if err != nil || len(found) != 1 {
			t.Errorf("KeysByHash = %v, %v, want the first process's key", found, err)
		}
		if _, err := s.Import(t.Context(), document.Batch{Keys: []bson.Raw{odd[1].Doc}}, document.ImportOptions{}); err != nil {
			t.Error(err)
		}
		return
	}
	path := filepath.Join(t.TempDir(), "store.db")
	s := opened(t, path)
	if _, err := s.Import(t.Context(), document.Batch{Keys: []bson.Raw{odd[0].Doc}}, document.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	other := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	other.Env = append(os.Environ(), variable+"="+path)
	if out, err := other.CombinedOutput(); err != nil {
		t.Fatalf("the other process: %v\n%s", err, out)
	}
	found, err := s.KeysByHash(t.Context(), odd[1].Want.Hash)
	if err != nil || len(found) != 1 {
		t.Errorf("KeysByHash = %v, %v, want the other process's key", found, err)
	}
	if _, err := s.Import(t.Context(), document.Batch{Keys: []bson.Raw{odd[2].Doc}}, document.ImportOptions{}); err != nil {
		t.Error(err)
	}
}

// If processes create and fill one file at once, exactly one must fill it. Otherwise there could be two demo
// organizations, or one of the processes would fail to start.
func TestFileIsMadeAndSeededOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "store.db")
	batch := storetest.OddBatch()
	const starters = 8
	var stored, refused int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range starters {
		wg.Go(func() {
			s, err := Open(t.Context(), path)
			if err != nil {
				t.Error(err)
				return
			}
			imported, err := s.Import(t.Context(), batch, document.ImportOptions{OnlyIfEmpty: true})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, document.ErrNotEmpty):
				refused++
			case err == nil && imported.Stored == batch.Len():
				stored++
			default:
				t.Errorf("Import = %+v, %v", imported, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if stored != 1 || refused != starters-1 {
		t.Errorf("%d stored the batch and %d were refused, want 1 and %d", stored, refused, starters-1)
	}
}

// After a kill, everything acknowledged must be in the file and its log. The test copies both, as a kill would leave
// them.
func TestAcknowledgedSurvivesKill(t *testing.T) {
	dir, left := t.TempDir(), t.TempDir()
	s := opened(t, filepath.Join(dir, "store.db"))
	batch := storetest.OddBatch()
	if _, err := s.Import(t.Context(), batch, document.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"store.db", "store.db-wal"} {
		writeFile(t, filepath.Join(left, name), readFile(t, filepath.Join(dir, name)))
	}
	second, err := opened(t, filepath.Join(left, "store.db")).Import(t.Context(), batch, document.ImportOptions{})
	if want := (document.Imported{Existing: batch.Len()}); err != nil || second != want {
		t.Errorf("Import = %+v, %v, want %+v", second, err, want)
	}
}

// After Close, one file must have all the data, so that an operator can copy it.
func TestCloseLeavesOneFile(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), filepath.Join(dir, "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	batch := storetest.OddBatch()
	if _, err := s.Import(t.Context(), batch, document.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if left := contents(t, dir); len(left) != 1 {
		t.Errorf("%d files are left, want only store.db", len(left))
	}
	second, err := opened(t, filepath.Join(dir, "store.db")).Import(t.Context(), batch, document.ImportOptions{})
	if want := (document.Imported{Existing: batch.Len()}); err != nil || second != want {
		t.Errorf("Import = %+v, %v, want %+v", second, err, want)
	}
}

// The documents contain the hashes of all keys. Only the owner may read the file, its log, and its companions.
func TestOnlyTheOwnerMayRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := opened(t, filepath.Join(dir, "store.db"))
	if _, err := s.Import(t.Context(), storetest.OddBatch(), document.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if entry.IsDir() {
			want = 0o700
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has the mode %o, want %o", path, got, want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A path must be used literally, whatever it would mean in a URI.
func TestPathIsNotAURI(t *testing.T) {
	dir := t.TempDir()
	const name = "a b?mode=memory&c=%41#d.db"
	opened(t, filepath.Join(dir, name))
	if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
		t.Error(err)
	}
}

// Open must refuse a file that is not a store, or not one of this version, with its path and the reason, and must
// change nothing. Otherwise a wrong path could destroy another program's data, or a disk error all keys.
func TestOpenRefuses(t *testing.T) {
	store := func(t *testing.T, path string, statements ...string) []byte {
		s, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Import(t.Context(), storetest.OddBatch(), document.ImportOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, statement := range statements {
			if _, err := s.write.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return readFile(t, path)
	}
	foreign := func(t *testing.T, path string, statements ...string) {
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		defer closed(t, db)
		for _, statement := range append(statements, "CREATE TABLE t (x)") {
			if _, err := db.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name, reason string
		make         func(t *testing.T, path string)
	}{
		{"a directory", "is a directory", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}},
		{"a text", "not a store of retrieverkeys", func(t *testing.T, path string) { writeFile(t, path, []byte("hello")) }},
		{"a long text", "not a store of retrieverkeys", func(t *testing.T, path string) { writeFile(t, path, bytes.Repeat([]byte("hello"), 2000)) }},
		{"another program's database", "not a store of retrieverkeys", func(t *testing.T, path string) { foreign(t, path) }},
		{"another program's database with a log", "not a store of retrieverkeys", func(t *testing.T, path string) { foreign(t, path, "PRAGMA journal_mode = WAL") }},
		{"a newer version's", "newer version", func(t *testing.T, path string) { store(t, path, "PRAGMA user_version = 99") }},
		{"cut off", "damaged", func(t *testing.T, path string) {
			whole := store(t, path)
			writeFile(t, path, whole[:len(whole)/2])
		}},
		{"cut off after the header", "damaged", func(t *testing.T, path string) {
			writeFile(t, path, store(t, path)[:200])
		}},
		{"overwritten", "damaged", func(t *testing.T, path string) {
			whole := store(t, path)
			copy(whole[100:], bytes.Repeat([]byte{0xff}, 3000))
			writeFile(t, path, whole)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "store.db")
			c.make(t, path)
			before := contents(t, dir)
			s, err := Open(t.Context(), path)
			if err == nil {
				_ = s.Close()
				t.Fatal("Open refused nothing")
			}
			t.Log(err)
			if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("Open: %q, want the path and %q", err, c.reason)
			}
			if after := contents(t, dir); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Error("Open changed the files")
			}
		})
	}
}

// A read-only store must be refused when it is opened, not when the first key must be revoked.
func TestOpenRefusesReadOnly(t *testing.T) {
	for _, c := range []struct {
		name            string
		directory, file fs.FileMode
		reason          string
	}{{"file", 0o700, 0o400, "permission denied"}, {"directory", 0o500, 0o600, "must be writable"}} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "store.db")
			s, err := Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Chmod(path, c.file), os.Chmod(dir, c.directory)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
			if os.Geteuid() == 0 {
				becomeNobody(t, filepath.Dir(dir), dir, path)
			}
			s, err = Open(t.Context(), path)
			if err == nil {
				_ = s.Close()
				t.Fatal("Open refused nothing")
			}
			if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("Open: %q, want the path and %q", err, c.reason)
			}
		})
	}
}

// While another process writes, reads must continue, and a write that waits must end with its context, as an outage
// that the caller can retry.
func TestWriteLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	holder, s := opened(t, path), opened(t, path)
	tx, err := holder.write.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // does nothing the second time

	if n, err := s.CountKeys(t.Context(), "int_1", apikey.KeyConditions{}.Of("ret_1")); err != nil || n != 0 {
		t.Errorf("CountKeys = %d, %v", n, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = s.Import(ctx, storetest.OddBatch(), document.ImportOptions{})
	if apikey.Classify(err).Code != apikey.Unavailable {
		t.Errorf("Import: %v, want %s", err, apikey.Unavailable)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Import(t.Context(), storetest.OddBatch(), document.ImportOptions{}); err != nil {
		t.Errorf("Import after the lock was released: %v", err)
	}
}

// A document must be stored byte by byte, including unknown fields and the order of all. Only a key without a key_id
// gets one.
func TestDocumentsAreStoredUnchanged(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "store.db"))
	batch := storetest.OddBatch()
	if _, err := s.Import(t.Context(), batch, document.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	for table, docs := range map[string][]bson.Raw{"namespaces": batch.Namespaces, "retrievers": batch.Retrievers, "api_keys": batch.Keys} {
		for i, doc := range docs {
			if table == "api_keys" {
				doc = document.WithKeyID(doc)
			}
			var got []byte
			err := s.read.QueryRowContext(t.Context(), "SELECT document FROM "+table+" WHERE pk = ?", i+1).Scan(&got)
			if err != nil || !bytes.Equal(got, doc) {
				t.Errorf("%s[%d] is %v, %v, want %v", table, i, bson.Raw(got), err, doc)
			}
		}
	}
}

// Callers must see each known error as what it is, and learn nothing of unforeseen ones.
func TestClassify(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "store.db"))
	_, constraint := s.write.ExecContext(t.Context(), "INSERT INTO api_keys (pk, document) VALUES (1, x'00'), (1, x'00')")
	_, syntax := s.write.ExecContext(t.Context(), "SELEKT")
	db, err := sql.Open("sqlite", "file:/nowhere/at/all?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, db)
	missing := db.PingContext(t.Context())
	var e *sqlite.Error
	if !errors.As(constraint, &e) || !errors.As(syntax, &e) || !errors.As(missing, &e) {
		t.Fatalf("not all are SQLite's: %v, %v, %v", constraint, syntax, missing)
	}
	for _, c := range []struct {
		err  error
		want apikey.Code
	}{
		{context.Canceled, apikey.Unavailable},
		{fmt.Errorf("wrapped: %w", context.DeadlineExceeded), apikey.Unavailable},
		{missing, apikey.Unavailable},
		{constraint, apikey.Internal},
		{syntax, apikey.Internal},
		{sql.ErrConnDone, apikey.Internal},
	} {
		got := classify(c.err)
		if apikey.Classify(got).Code != c.want || !errors.Is(got, c.err) {
			t.Errorf("classify(%v) = %v, want %s that wraps it", c.err, got, c.want)
		}
	}
	if err := classify(nil); err != nil {
		t.Errorf("classify(nil) = %v", err)
	}
}

func closed(t *testing.T, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// contents returns the files of the directory and their contents.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		all[entry.Name()] = "a directory"
		if !entry.IsDir() {
			all[entry.Name()] = string(readFile(t, filepath.Join(dir, entry.Name())))
		}
	}
	return all
}

// becomeNobody gives the files to a user who is not root and runs the rest of the test as that user, because root can
// write everything.
func becomeNobody(t *testing.T, files ...string) {
	t.Helper()
	const nobody = 65534
	for _, f := range files {
		if err := os.Chown(f, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Seteuid(nobody); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Seteuid(0); err != nil {
			t.Fatal(err)
		}
	})
}
