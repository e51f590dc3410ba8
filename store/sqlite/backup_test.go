package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
	"retrieverkeys/store/storetest"
)

// A backup taken while keys are created must have every key acknowledged before it, every key with its event, and must
// open as a store. Otherwise its faults come to light only when it is needed.
func TestBackupWhileWriting(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, filepath.Join(dir, "store.db"))
	if _, err := s.Import(t.Context(), storetest.OddBatch(), document.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	keyID := func(n int64) apikey.ID { return apikey.ID(fmt.Sprint("key_new_", n)) }
	var acknowledged atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	defer writing.Wait()
	defer stop()
	writing.Go(func() {
		for n := int64(0); ctx.Err() == nil; n++ {
			if err := s.InsertKey(t.Context(), newKey(keyID(n)), newEvent(fmt.Sprint("evt_", n), keyID(n))); err != nil {
				t.Error(err)
				return
			}
			acknowledged.Store(n + 1)
		}
	})
	const atLeast = 5
	for taken, during := 0, int64(0); (taken < atLeast || during == 0) && !t.Failed(); taken++ {
		before := acknowledged.Load()
		path := filepath.Join(dir, "backups of 2026*", fmt.Sprint("copy ", taken, "?mode=memory"))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		b, err := s.Backup(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		during += acknowledged.Load() - before
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 || info.Size() != b.Bytes {
			t.Errorf("the copy: %v, %v, want %+v", info, err, b)
		}
		if files := contents(t, filepath.Dir(path)); len(files) != 1 {
			t.Errorf("%d extra files beside the copy", len(files)-1)
		}
		c, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		for n := range before {
			if keys, err := c.CurrentKeys(t.Context(), tenant, keyID(n)); err != nil || len(keys) != 1 {
				t.Fatalf("copy %d has %d of key %d of %d, %v", taken, len(keys), n, before, err)
			}
		}
		keys, err := c.CountKeys(t.Context(), tenant, apikey.KeyConditions{}.Of("ret_1"))
		events, eventsErr := c.CountEvents(t.Context(), tenant, apikey.EventConditions{})
		if err != nil || eventsErr != nil || keys != events || b.Events != events || b.Keys != keys+len(storetest.OddBatch().Keys) {
			t.Errorf("the copy has %d keys (%v) and %d events (%v), want %+v", keys, err, events, eventsErr, b)
		}
		if err := c.InsertKey(t.Context(), newKey("key_later"), newEvent("evt_later", "key_later")); err != nil {
			t.Errorf("the copy cannot be written: %v", err)
		}
		if err := errors.Join(c.Close(), os.RemoveAll(filepath.Dir(path))); err != nil {
			t.Fatal(err)
		}
	}
}

// An existing file may be somebody's only copy. A file that SQLite takes for the copy's log would damage the copy.
func TestBackupOverwritesNothing(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "store.db"))
	text := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, name), []byte("mine")) }
	}
	for _, c := range []struct {
		name, found string
		make        func(t *testing.T, dir string)
	}{
		{"a file", "copy.db already exists", text("copy.db")},
		{"a log", "copy.db-wal already exists", text("copy.db-wal")},
		{"a journal", "copy.db-journal already exists", text("copy.db-journal")},
		{"a directory", "copy.db already exists", func(t *testing.T, dir string) {
			if err := os.Mkdir(filepath.Join(dir, "copy.db"), 0o700); err != nil {
				t.Fatal(err)
			}
		}},
		{"a link to nothing", "copy.db already exists", func(t *testing.T, dir string) {
			if err := os.Symlink(filepath.Join(dir, "nothing"), filepath.Join(dir, "copy.db")); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.make(t, dir)
			_, err := s.Backup(t.Context(), filepath.Join(dir, "copy.db"))
			if err == nil || !strings.Contains(err.Error(), c.found) {
				t.Errorf("Backup: %v, want %q", err, c.found)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
				t.Errorf("the directory has %v, %v", entries, err)
			}
			if mine, err := os.ReadFile(filepath.Join(dir, strings.Fields(c.found)[0])); err == nil && string(mine) != "mine" {
				t.Errorf("the file now contains %q", mine)
			}
		})
	}
}

// A backup must not overwrite one that got the name meanwhile, even on a file system without hard links. Directories
// stand in for such files, because no system links them.
func TestRenameOverwritesNothing(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"a file":         func(path string) error { return os.WriteFile(path, []byte(path), 0o600) },
		"without a link": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			ours, theirs, free := filepath.Join(dir, "ours"), filepath.Join(dir, "theirs"), filepath.Join(dir, "free")
			if err := errors.Join(make(ours), make(theirs)); err != nil {
				t.Fatal(err)
			}
			before := contents(t, dir)
			if err := rename(ours, theirs); err == nil {
				t.Error("rename overwrote a file")
			}
			if after := contents(t, dir); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Errorf("the directory has %v, want %v", after, before)
			}
			if err := rename(ours, free); err != nil || contents(t, dir)["free"] != before["ours"] {
				t.Errorf("rename: %v, the directory has %v", err, contents(t, dir))
			}
		})
	}
}

// A damaged store must not give a backup that looks whole, even if nothing has read the damaged part yet.
func TestBackupOfDamagedStore(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store.db")
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Import(t.Context(), keyBatch(500, 20), document.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	data := readFile(t, path)
	clear(data[len(data)/2:][:64<<10])
	writeFile(t, path, data)
	_, err = opened(t, path).Backup(t.Context(), filepath.Join(dir, "copy.db"))
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("Backup: %v, want an error that %s is damaged", err, path)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "copy.db*")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// An interrupted backup must leave no file that looks like one.
func TestBackupStopped(t *testing.T) {
	const variable = "RETRIEVERKEYS_TEST_BACKUP"
	if path := os.Getenv(variable); path != "" { // this is the process that is killed
		_, err := opened(t, path).Backup(t.Context(), filepath.Join(filepath.Dir(path), "backups", "copy.db"))
		t.Fatal("it was not killed: ", err)
	}
	dir := t.TempDir()
	path, backups := filepath.Join(dir, "store.db"), filepath.Join(dir, "backups")
	s := opened(t, path)
	if _, err := s.Import(t.Context(), keyBatch(5000, 20), document.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		// stop interrupts a backup while it is being written.
		stop func(t *testing.T, writing <-chan struct{}) error
		left string // the files that can remain
	}{
		{"by its context", func(t *testing.T, writing <-chan struct{}) error {
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-writing; cancel() }()
			_, err := s.Backup(ctx, filepath.Join(backups, "copy.db"))
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Backup: %v, want %v", err, context.Canceled)
			}
			return err
		}, ""},
		{"by a kill", func(t *testing.T, writing <-chan struct{}) error {
			process := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBackupStopped$")
			process.Env = append(os.Environ(), variable+"="+path)
			if err := process.Start(); err != nil {
				t.Fatal(err)
			}
			<-writing
			if err := process.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			err := process.Wait()
			if code := process.ProcessState.ExitCode(); code != -1 {
				t.Errorf("the process ended with %d", code)
			}
			return err
		}, "copy.db.*.part*"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.Mkdir(backups, 0o700); err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(backups) //nolint:errcheck // a part of the test's own directory
			if err := c.stop(t, whenWriting(t, backups)); err == nil {
				t.Error("the backup was not interrupted")
			}
			for name := range contents(t, backups) {
				if ok, err := filepath.Match(c.left, name); err != nil || !ok {
					t.Errorf("%s is left", name)
				}
			}
			if _, err := s.Backup(t.Context(), filepath.Join(backups, "copy.db")); err != nil {
				t.Errorf("the next backup: %v", err)
			}
		})
	}
}

// whenWriting returns a channel that is closed when a file of the directory is no longer empty.
func whenWriting(t *testing.T, dir string) <-chan struct{} {
	t.Helper()
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		for ticker := time.NewTicker(time.Millisecond); t.Context().Err() == nil; <-ticker.C {
			entries, _ := os.ReadDir(dir)
			for _, entry := range entries {
				if info, err := entry.Info(); err == nil && info.Size() > 0 {
					return
				}
			}
		}
	}()
	return writing
}

// A backup that does not fit on its disk must leave no file behind, which would keep the disk full.
func TestBackupToFullDisk(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "store.db"))
	if _, err := s.Import(t.Context(), keyBatch(4000, 20), document.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	free := limitFiles(t, 1<<20)
	if b, err := s.Backup(t.Context(), filepath.Join(dir, "copy.db")); err == nil {
		t.Errorf("Backup = %+v", b)
	} else {
		t.Log(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
	free()
	if _, err := s.Backup(t.Context(), filepath.Join(dir, "copy.db")); err != nil {
		t.Errorf("Backup after space was freed: %v", err)
	}
}
