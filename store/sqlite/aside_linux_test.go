package sqlite

import (
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// A thread for each long read that waits would exceed the number that a process may have. A priority that stays low would slow down the whole server.
func TestLongReadsHaveFewThreadsOfLowPriority(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "store.db"))
	priority := func(thread int) int {
		p, err := syscall.Getpriority(syscall.PRIO_PROCESS, thread)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	usual, lower := priority(syscall.Getpid()), readers
	if usual <= 20-scanNice { // the tests themselves run at a low priority, which stays
		lower = 0
	}
	var low, others atomic.Int32
	var running, ended sync.WaitGroup
	release := make(chan struct{})
	for range 4 * readers {
		running.Add(1)
		ended.Go(func() {
			err := s.aside(func() error {
				if priority(syscall.Gettid()) < usual {
					low.Add(1)
				} else {
					others.Add(1)
				}
				running.Done()
				<-release
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	close(release)
	ended.Wait()
	if n := low.Load(); int(n) != lower || n+others.Load() != 4*readers {
		t.Errorf("%d reads at a low priority and %d others", n, others.Load())
	}
	if now := priority(syscall.Getpid()); now != usual {
		t.Errorf("the process's priority went from %d to %d", usual, now)
	}
}
