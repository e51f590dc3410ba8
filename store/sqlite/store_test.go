package sqlite

import (
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"retrieverkeys/store"
	"retrieverkeys/store/storetest"
)

var _ store.Engine = (*Store)(nil)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// opened opens the store at a path, and closes it when the test ends.
func opened(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// A file is large when its lists are read from the table. Without this, the table's lists are tested by no test of the engine.
func TestEngineWithLargeFiles(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Engine {
		s := opened(t, filepath.Join(t.TempDir(), "data", "store.db"))
		s.longWalk, s.tableShare = 2, 1000
		return s
	})
}

func TestEngine(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Engine {
		return opened(t, filepath.Join(t.TempDir(), "data", "store.db"))
	})
}
