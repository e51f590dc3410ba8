package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// deadlined is a response on a connection that records its read deadline.
type deadlined struct {
	*httptest.ResponseRecorder
	reading time.Time
}

func (d *deadlined) SetReadDeadline(at time.Time) error { d.reading = at; return nil }

// No read deadline may remain after a request was read. If it expires while the response is made, it cancels the context of this request
// and of all later ones on the connection: clients get errors forever, and long lists break off.
func TestNoReadDeadlineOutlivesTheRequest(t *testing.T) {
	for body, bounded := range map[string]bool{"": false, "{}": true} {
		w := &deadlined{httptest.NewRecorder(), time.Now().Add(time.Minute)} // as the server sets it
		answered := false
		clearReadDeadline(withTimeout(time.Minute, 10, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			answered = true
			if w.reading.IsZero() == bounded {
				t.Errorf("body %q: it must be read by %v", body, w.reading)
			}
			if _, err := io.ReadAll(r.Body); err != nil {
				t.Error(err)
			}
			if !w.reading.IsZero() {
				t.Errorf("body %q: when all is read, the deadline is %v", body, w.reading)
			}
		}))).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)))
		if !answered {
			t.Error("nothing was answered")
		}
	}
}

// Every page has the full timeout, so a list that takes longer than one timeout in all is not cut off.
func TestEachPageHasItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = time.Second
		var outlived time.Duration
		h := withResponseDeadline(timeout, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			began := time.Now()
			for range 5 {
				ctx, cancel := onward(r.Context(), timeout)
				deadline, ok := ctx.Deadline()
				if left := time.Until(deadline); !ok || left != timeout || ctx.Err() != nil {
					t.Errorf("after %v a page has %v, %v", time.Since(began), left, ctx.Err())
				}
				if RequestID(ctx) != RequestID(r.Context()) || RequestID(ctx) == "" {
					t.Error("a page's context lacks the request's values")
				}
				time.Sleep(timeout - time.Millisecond)
				cancel()
			}
			outlived = time.Since(began)
			if !errors.Is(r.Context().Err(), context.DeadlineExceeded) {
				t.Errorf("the request itself: %v", r.Context().Err())
			}
		}))
		withRequestID(h).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		if outlived < 4*timeout {
			t.Errorf("the answer took %v", outlived)
		}
	})
}
