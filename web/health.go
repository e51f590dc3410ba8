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

// readyTimeout is how long a probe waits for the store. Orchestrators wait one second by default and treat a late answer as a dead
// process.
const readyTimeout = 600 * time.Millisecond

// ready asks the store once for all concurrent probes. Probes need no turn, so they must not use up the store's connections. A check that
// ignores its context does not delay a probe.
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
			writeJSON(w, http.StatusServiceUnavailable, status{"the store does not respond"})
			return
		}
		writeJSON(w, http.StatusOK, status{"ready"})
	}
}

// closeWhenStopping closes connections after the response while the process is stopping. A connection that is closed between two requests
// may lose the second one.
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
