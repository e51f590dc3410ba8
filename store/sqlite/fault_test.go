package sqlite

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	sqlite3 "modernc.org/sqlite/lib"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// On a full disk, a change must fail as an outage and write nothing, and reads must continue. When there is space,
// changes must work without a restart. Otherwise a full disk would cost a key its audit trail.
func TestFullDisk(t *testing.T) {
	for _, c := range []struct {
		name string
		fill func(t *testing.T, s *Store) (free func())
	}{
		{"the file cannot grow", func(t *testing.T, s *Store) func() {
			limit := func(pages int) {
				if _, err := s.write.ExecContext(t.Context(), fmt.Sprint("PRAGMA max_page_count = ", pages)); err != nil {
					t.Fatal(err)
				}
			}
			limit(1) // SQLite raises this to the current number of pages
			return func() { limit(1 << 20) }
		}},
		{"its log cannot grow", func(t *testing.T, s *Store) func() {
			info, err := os.Stat(s.path + "-wal")
			if err != nil {
				t.Fatal(err)
			}
			return limitFiles(t, uint64(info.Size()))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := opened(t, filepath.Join(t.TempDir(), "store.db"))
			if err := s.InsertKey(t.Context(), newKey("key_first"), newEvent("evt_first", "key_first")); err != nil {
				t.Fatal(err)
			}
			free := c.fill(t, s)
			insert := func(n int) error {
				id := apikey.ID(fmt.Sprint("key_", n))
				return s.InsertKey(t.Context(), newKey(id), newEvent(fmt.Sprint("evt_", n), id))
			}
			made, err := 0, error(nil)
			for ; err == nil && made < 10_000; made++ {
				err = insert(made)
			}
			made--
			t.Logf("after %d keys: %v", made, errors.Unwrap(err))
			if apikey.Classify(err).Code != apikey.Unavailable {
				t.Errorf("InsertKey: %v, want %s", err, apikey.Unavailable)
			}
			if _, err := s.Import(t.Context(), keyBatch(100, 20), document.ImportOptions{}); apikey.Classify(err).Code != apikey.Unavailable {
				t.Errorf("Import: %v, want %s", err, apikey.Unavailable)
			}
			stored := func() (keys, events int) {
				keys, keysErr := s.CountKeys(t.Context(), tenant, apikey.KeyConditions{}.Of("ret_1"))
				events, eventsErr := s.CountEvents(t.Context(), tenant, apikey.EventConditions{})
				if err := errors.Join(keysErr, eventsErr, s.Ping(t.Context())); err != nil {
					t.Errorf("reads: %v", err)
				}
				return keys, events
			}
			if keys, events := stored(); keys != made+1 || events != made+1 {
				t.Errorf("got %d keys and %d events, want %d", keys, events, made+1)
			}
			free()
			if err := insert(made); err != nil {
				t.Errorf("InsertKey after space was freed: %v", err)
			}
			if won, err := s.ChangeKey(t.Context(), renamed("key_first", 0)); err != nil || !won {
				t.Errorf("ChangeKey after space was freed: %t, %v", won, err)
			}
			if keys, events := stored(); keys != made+2 || events != made+3 {
				t.Errorf("got %d keys and %d events, want %d and %d", keys, events, made+2, made+3)
			}
		})
	}
}

// While the file is not writable, changes must fail as an outage and reads must continue. An operator must be able to
// fix the mode without a restart.
func TestFileTurnsReadOnly(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "store.db"))
	if err := s.InsertKey(t.Context(), newKey("key_1"), newEvent("evt_1", "key_1")); err != nil {
		t.Fatal(err)
	}
	readOnly := func(on int) {
		if _, err := s.write.ExecContext(t.Context(), fmt.Sprint("PRAGMA query_only = ", on)); err != nil {
			t.Fatal(err)
		}
	}
	readOnly(1)
	if won, err := s.ChangeKey(t.Context(), renamed("key_1", 0)); won || resultCode(err) != sqlite3.SQLITE_READONLY || apikey.Classify(err).Code != apikey.Unavailable {
		t.Errorf("ChangeKey: %t, %v (%v), want %s", won, err, errors.Unwrap(err), apikey.Unavailable)
	}
	if n, err := s.CountKeys(t.Context(), tenant, apikey.KeyConditions{}.Of("ret_1")); err != nil || n != 1 {
		t.Errorf("CountKeys: %d, %v", n, err)
	}
	readOnly(0)
	if won, err := s.ChangeKey(t.Context(), renamed("key_1", 0)); err != nil || !won {
		t.Errorf("ChangeKey with the file writable: %t, %v", won, err)
	}
}

// limitFiles makes the system refuse writes beyond that many bytes of any file, until the returned function is called.
func limitFiles(t *testing.T, bytes uint64) (lift func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	t.Cleanup(func() { signal.Reset(syscall.SIGXFSZ) })
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	lift = func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(lift)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: bytes, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	return lift
}

// If several processes write one file, each must find everything that was acknowledged: every key that it created and
// every change that it won.
func TestProcessesWriteAtOnce(t *testing.T) {
	const variable, processes, keys = "RETRIEVERKEYS_TEST_WRITES", 3, 50
	if path, name := os.Getenv(variable), os.Getenv(variable+"_AS"); path != "" { // this is one of the processes
		s := opened(t, path)
		fmt.Println("ready")
		if _, err := io.Copy(io.Discard, os.Stdin); err != nil { // until all have started
			t.Fatal(err)
		}
		won := 0
		for n := range keys {
			id := apikey.ID(fmt.Sprint(name, n))
			if err := s.InsertKey(t.Context(), newKey(id), newEvent("evt_"+string(id), id)); err != nil {
				t.Fatal(err)
			}
			shared, err := s.CurrentKeys(t.Context(), tenant, "key_shared")
			if err != nil {
				t.Fatal(err)
			}
			if ok, err := s.ChangeKey(t.Context(), renamed("key_shared", int(shared[0].Revision))); err != nil {
				t.Fatal(err)
			} else if ok {
				won++
			}
		}
		fmt.Println("won", won)
		return
	}
	path := filepath.Join(t.TempDir(), "store.db")
	s := opened(t, path)
	if err := s.InsertKey(t.Context(), newKey("key_shared"), newEvent("evt_0", "key_shared")); err != nil {
		t.Fatal(err)
	}
	var running []*exec.Cmd
	var starts []io.Closer
	var outputs []*bufio.Scanner
	for i := range processes {
		process := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProcessesWriteAtOnce$")
		process.Env = append(os.Environ(), variable+"="+path, fmt.Sprintf("%s_AS=key_%d_", variable, i))
		out, err := process.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		start, err := process.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		running, starts, outputs = append(running, process), append(starts, start), append(outputs, bufio.NewScanner(out))
		if !outputs[i].Scan() || outputs[i].Text() != "ready" {
			t.Fatalf("process %d says %q, not that it is ready", i, outputs[i].Text())
		}
	}
	for _, start := range starts {
		closed(t, start)
	}
	changes := 0
	for i, process := range running {
		said := ""
		for outputs[i].Scan() {
			said += outputs[i].Text() + "\n"
			var won int
			if _, err := fmt.Sscanf(outputs[i].Text(), "won %d", &won); err == nil {
				changes += won
			}
		}
		if err := process.Wait(); err != nil {
			t.Errorf("process %d: %v\n%s", i, err, said)
		}
	}
	shared, err := s.CurrentKeys(t.Context(), tenant, "key_shared")
	if err != nil || len(shared) != 1 || int(shared[0].Revision) != changes || changes < keys {
		t.Errorf("the shared key is %+v, %v, want %d changes", shared, err, changes)
	}
	if n, err := s.CountKeys(t.Context(), tenant, apikey.KeyConditions{}.Of("ret_1")); err != nil || n != 1+processes*keys {
		t.Errorf("%d keys, %v, want %d", n, err, 1+processes*keys)
	}
	if n, err := s.CountEvents(t.Context(), tenant, apikey.EventConditions{}); err != nil || n != 1+processes*keys+changes {
		t.Errorf("%d events, %v, want %d", n, err, 1+processes*keys+changes)
	}
	t.Log(changes, "changes of the shared key")
	var problem string
	if err := s.read.QueryRowContext(t.Context(), checkIntegrity).Scan(&problem); err != nil || problem != "ok" {
		t.Errorf("the file: %s, %v", problem, err)
	}
}
