package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"retrieverkeys/apikey"
)

// A response waits for memory, because others are sent soon, but not for long. A client that left is not counted as refused.
func TestAnswersWaitForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refusals atomic.Int64
		a := NewAnswers(100, func() { refusals.Add(1) })
		if !a.Take(t.Context(), 60) || !a.Take(t.Context(), 40) {
			t.Fatal("less memory is free than the size of Answers")
		}
		began := time.Now()
		time.AfterFunc(a.wait/2, func() { a.Give(40) })
		if !a.Take(t.Context(), 30) || time.Since(began) != a.wait/2 {
			t.Errorf("got no memory although it was given back, after %v", time.Since(began))
		}
		began = time.Now()
		if a.Take(t.Context(), 11) || time.Since(began) != a.wait || refusals.Load() != 1 {
			t.Errorf("got more memory than is free, or no refusal, after %v; %d were refused", time.Since(began), refusals.Load())
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		if a.Take(gone, 11) || refusals.Load() != 1 {
			t.Error("a client that left was counted as refused")
		}
		a.Give(90)
		if !a.free.TryAcquire(100) {
			t.Error("memory is lost")
		}
	})
}

// A page of a REST list is in memory as a whole, and documents can be of any length. So pages take memory from Answers and give it back one by
// one.
func TestPagesOfListsTakeMemory(t *testing.T) {
	s := &shelf{keys: 2 * apikey.MaxPage}
	for name, bytes := range map[string]int64{"enough memory": 4 << 20, "less memory than one page": 100_000} {
		t.Run(name, func(t *testing.T) {
			answers := NewAnswers(bytes, nil)
			answers.wait = time.Millisecond
			h := handler(s, func(o *Options) { o.Answers = answers })
			list := func() *httptest.ResponseRecorder {
				r := httptest.NewRequest(http.MethodGet, keysURL, nil)
				r.Header.Set("Authorization", "Bearer "+token)
				r.Header.Set("X-Namespace", "production")
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				return w
			}
			w := list()
			if !strings.HasSuffix(w.Body.String(), fmt.Sprintf(`"total":%d}`+"\n", 2*apikey.MaxPage)) {
				t.Fatalf("%d %.300s", w.Code, w.Body)
			}
			if !answers.free.TryAcquire(bytes) { // all memory was given back, and is taken now
				t.Fatal("memory is lost")
			}
			if w := list(); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), `"ServiceUnavailableError"`) {
				t.Errorf("without memory: %d %v %.300s", w.Code, w.Header(), w.Body)
			}
		})
	}
}
