package sqlite

import (
	"errors"
	"runtime"
	"syscall"

	"retrieverkeys/apikey"
)

// scanNice is the priority of long reads, as of nice(1). They get about a tenth of a core that other requests could use whole, and all of a core
// that is idle.
const scanNice = 10

// aside runs a part of a long read on a thread of its own with a low priority. Otherwise Linux lets other requests wait for the end of its time
// slice, several milliseconds. There are at most as many threads as reads; other parts run as usual.
func (s *Store) aside(f func() error) error {
	select {
	case s.asides <- struct{}{}:
		defer func() { <-s.asides }()
	default:
		return f()
	}
	return onLowThread(f)
}

// onLowThread calls f on a thread that ends afterwards: only a privileged process could raise its priority again.
func onLowThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		err := errors.New("sqlite: a read did not end")
		defer func() { result <- err }()
		defer apikey.CatchPanic(&err)
		runtime.LockOSThread()
		if syscall.Gettid() == syscall.Getpid() { // the main thread never ends, and its priority is shown as the process's
			defer runtime.UnlockOSThread()
			err = onLowThread(f) // on another thread, because this one is taken
			return
		}
		lowerPriority()
		err = f()
	}()
	return <-result
}

// lowerPriority lowers the priority of the thread to scanNice, if it is not lower already.
func lowerPriority() {
	const highest = 20 // the system call returns 20 minus the nice value
	if p, err := syscall.Getpriority(syscall.PRIO_PROCESS, syscall.Gettid()); err == nil && highest-p < scanNice {
		_ = syscall.Setpriority(syscall.PRIO_PROCESS, syscall.Gettid(), scanNice)
	}
}
