package web

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Anyone can probe the server, as often as they like and without a turn. All concurrent probes together must cost the store one call.
func TestProbesShareOneCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		goOn := make(chan struct{})
		h := ready(func(context.Context) error {
			asked.Add(1)
			<-goOn
			return nil
		}, nil)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				w := httptest.NewRecorder()
				if h(w, httptest.NewRequest(http.MethodGet, "/readyz", nil)); w.Code != http.StatusOK {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			})
		}
		synctest.Wait()
		if n := asked.Load(); n != 1 {
			t.Errorf("the store was asked %d times", n)
		}
		close(goOn)
		wg.Wait()
	})
}

// Orchestrators wait one second for a probe and then consider the process dead. So a store that is down, hangs, or ignores its context must not
// delay the response that long.
func TestProbesAreAnsweredInTime(t *testing.T) {
	for name, check := range map[string]func(context.Context) error{
		"hangs":                func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"hangs, and goes on":   func(context.Context) error { time.Sleep(time.Hour); return nil },
		"is down":              func(context.Context) error { return errors.New("down") },
		"panics":               func(context.Context) error { panic("of the test") },
		"answers a bit late":   func(context.Context) error { time.Sleep(readyTimeout + time.Millisecond); return nil },
		"answers just in time": func(context.Context) error { time.Sleep(readyTimeout - time.Millisecond); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := ready(check, nil)
				for range 3 { // some checks take longer than the interval
					began := time.Now()
					w := httptest.NewRecorder()
					h(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
					want, body := http.StatusServiceUnavailable, `{"status":"the store does not respond"}`
					if name == "answers just in time" {
						want, body = http.StatusOK, `{"status":"ready"}`
					}
					if took := time.Since(began); took > 800*time.Millisecond || w.Code != want || strings.TrimSpace(w.Body.String()) != body {
						t.Errorf("%d %s after %v, want %d", w.Code, w.Body, took, want)
					}
					time.Sleep(100 * time.Millisecond)
				}
				time.Sleep(time.Hour) // until the last check ends
			})
		})
	}
}
