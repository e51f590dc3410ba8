package sqlite

import (
	"runtime"
	"syscall"
)

// scanNice is the priority of long reads, as of nice(1). They get about a tenth of a core that other requests could use whole, and all of a core
// that is idle.
const scanNice = 10

// aside runs a part of a long read on a thread of its own with a low priority. Otherwise Linux lets other requests wait for the end of its time
// slice, several milliseconds.
func aside(f func() error) error {
	result := make(chan error, 1)
	go func() {
		var err error
		defer func() { result <- err }()
		defer caught(&err)
		runtime.LockOSThread() // for good: only a privileged process can raise the priority again, so the thread ends with the goroutine
		_ = syscall.Setpriority(syscall.PRIO_PROCESS, syscall.Gettid(), scanNice)
		err = f()
	}()
	return <-result
}
