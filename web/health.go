package web

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/singleflight"
)

type status struct {
	Status string `json:"status"`
}

// readyTimeout is how long a probe waits for the store. Orchestrators give up after a second by default, and take a late answer for a
// dead process.
const readyTimeout = 600 * time.Millisecond

// ready asks the store once for all concurrent probes: probes wait for no turn, and must not take all of its connections. A check that
// ignores its context does not keep a probe waiting.
func ready(check func(context.Context) error, stopping <-chan struct{}) http.HandlerFunc {
	var asking singleflight.Group
	return func(w http.ResponseWriter, r *http.Request) {
		if closed(stopping) {
			writeJSON(w, http.StatusServiceUnavailable, status{"stopping"})
			return
		}
		timer := time.NewTimer(readyTimeout)
		defer timer.Stop()
		result := asking.DoChan("", func() (_ any, err error) {
			defer func() { // singleflight runs it in a goroutine, where a panic would end the process
				if p := recover(); p != nil {
					err = fmt.Errorf("panic: %v", p)
				}
			}()
			ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), readyTimeout)
			defer cancel()
			return nil, check(ctx)
		})
		var err error
		select {
		case asked := <-result:
			err = asked.Err
		case <-timer.C:
			err = context.DeadlineExceeded
		}
		if err != nil {
			writeJSON(w, http.StatusServiceUnavailable, status{"the store does not answer"})
			return
		}
		writeJSON(w, http.StatusOK, status{"ready"})
	}
}

// leaving has clients whose request is answered while the process is about to stop go elsewhere with their next one: a
// connection that is closed between two requests may lose the second.
func closeWhenStopping(stopping <-chan struct{}, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if closed(stopping) {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
