package web

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
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
