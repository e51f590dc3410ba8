package sqlite

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Long reads that take all processors would make other requests wait for the ends of their steps.
func TestLongReadsLeaveAProcessor(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "store.db"))
	var running, most atomic.Int32
	var requests sync.WaitGroup
	for range 20 {
		requests.Go(func() {
			for range 50 {
				err := s.aside(t.Context(), func() error {
					n := running.Add(1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					runtime.Gosched()
					running.Add(-1)
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	requests.Wait()
	if n := int(most.Load()); n < 1 || n > asideThreads() {
		t.Errorf("%d steps ran at once on %d processors", n, runtime.GOMAXPROCS(0))
	}
}

// A thread that ended with its step would leave the next step without one.
func TestStepsThatFail(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "store.db"))
	for range 2 * readers {
		err := s.aside(t.Context(), func() error { panic("a fault") })
		if err == nil || !strings.Contains(err.Error(), "a fault") {
			t.Fatal(err)
		}
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	entered, release := make(chan struct{}, readers), make(chan struct{})
	var busy sync.WaitGroup
	for range cap(entered) {
		busy.Go(func() {
			_ = s.aside(t.Context(), func() error {
				entered <- struct{}{}
				<-release
				return nil
			})
		})
	}
	for range asideThreads() {
		<-entered
	}
	if err := s.aside(canceled, func() error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled request got %v", err)
	}
	close(release)
	busy.Wait()

	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.aside(t.Context(), func() error { return nil }); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("a closed store answered %v", err)
	}
}

// Other reads find a connection even if every thread for long reads has one.
func TestLongReadsLeaveAConnection(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "store.db"))
	entered, release := make(chan struct{}, readers), make(chan struct{})
	var busy sync.WaitGroup
	defer busy.Wait()
	defer close(release)
	for range asideThreads() {
		busy.Go(func() {
			_ = s.aside(t.Context(), func() error {
				return s.reading(t.Context(), func(context.Context) error {
					entered <- struct{}{}
					<-release
					return nil
				})
			})
		})
		<-entered
	}
	if _, err := s.KeysByHash(t.Context(), "no hash"); err != nil {
		t.Error(err)
	}
}
