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

// The lists of a large file are read from its table, and in several steps. Without this, no test of the engine reads a list like that.
func TestEngineWithLargeFiles(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Engine {
		s := opened(t, filepath.Join(t.TempDir(), "data", "store.db"))
		s.sizes = sizes{firstRows: 1, rowsAtOnce: 2, firstCounted: 1, longWalk: 2, tableShare: 1000}
		return s
	})
}

func TestEngine(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Engine {
		return opened(t, filepath.Join(t.TempDir(), "data", "store.db"))
	})
}
