package web

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"retrieverkeys/apikey"
)

// Memory for answers is waited for, because others are soon sent, but not for long; and only who is still there was refused.
func TestAnswersWaitForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refusals atomic.Int64
		a := NewAnswers(100, func() { refusals.Add(1) })
		if !a.Take(t.Context(), 60) || !a.Take(t.Context(), 40) {
			t.Fatal("there is less than there should be")
		}
		began := time.Now()
		time.AfterFunc(a.wait/2, func() { a.Give(40) })
		if !a.Take(t.Context(), 30) || time.Since(began) != a.wait/2 {
			t.Errorf("what was given back is not found, after %v", time.Since(began))
		}
		began = time.Now()
		if a.Take(t.Context(), 11) || time.Since(began) != a.wait || refusals.Load() != 1 {
			t.Errorf("more is given than there is, after %v; %d were refused", time.Since(began), refusals.Load())
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		if a.Take(gone, 11) || refusals.Load() != 1 {
			t.Error("who left was refused")
		}
		a.Give(90)
		if !a.free.TryAcquire(100) {
			t.Error("memory is lost")
		}
	})
}

// The pages of a REST list are read whole, and documents may be of any length: their memory is that of answers, and is given back
// page by page.
func TestPagesOfListsTakeMemory(t *testing.T) {
	s := &shelf{keys: 2 * apikey.MaxPage}
	for name, bytes := range map[string]int64{"enough": 4 << 20, "all that there is is not enough": 100_000} {
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
			if !answers.free.TryAcquire(bytes) { // all is given back, and now taken
				t.Fatal("memory is lost")
			}
			if w := list(); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), `"ServiceUnavailableError"`) {
				t.Errorf("without memory: %d %v %.300s", w.Code, w.Header(), w.Body)
			}
		})
	}
}

// heldBody is a body that comes in part, and then not to its end.
type heldBody struct {
	io.Reader

	come  func() // its part has come
	until <-chan struct{}
}

func (b *heldBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		b.come()
		<-b.until
	}
	return n, err
}

// Anybody may begin large bodies and never end them. From one address, or one /64 of IPv6, they must leave room for those
// from elsewhere, whatever bearer they show; and small bodies always come in.
func TestAnAddressHasAShareOfBodies(t *testing.T) {
	read := atomic.Int64{}
	h := handler(&shelf{}, func(o *Options) {
		o.MaxBodyBytes = 1 << 20
		o.RefuseGraphQL = func(w http.ResponseWriter, _ *http.Request, status int, _ *apikey.Error) { w.WriteHeader(status) }
		o.GraphQL = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			read.Store(int64(len(body)))
		})
	})
	ask := func(from, bearer string, body io.Reader) int {
		r := httptest.NewRequest(http.MethodPost, "/graphql", body)
		r.RemoteAddr = from
		r.Header.Set("Content-Type", "application/json")
		if bearer != "" {
			r.Header.Set("Authorization", "Bearer "+bearer)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	const large = 900 << 10
	until, come := make(chan struct{}), make(chan struct{})
	var others sync.WaitGroup
	hold := func(from string) (refused bool) {
		ended := make(chan int, 1)
		others.Go(func() {
			ended <- ask(from, "sk_anything", &heldBody{strings.NewReader(strings.Repeat(" ", large)), func() { come <- struct{}{} }, until})
		})
		select {
		case <-come:
			return false
		case status := <-ended:
			if status != http.StatusServiceUnavailable {
				t.Errorf("status %d", status)
			}
			return true
		}
	}
	begun := 0
	for !hold(fmt.Sprintf("[2001:db8::%x]:1234", begun+1)) {
		begun++
	}
	if total := int64(begun) * 2 * large; total > leastBodies/addressShare || total < leastBodies/addressShare-4*large {
		t.Errorf("one address has %d bodies", begun)
	}
	if status := ask("[2001:db8::ffff]:1", token, strings.NewReader(strings.Repeat(" ", large))); status != http.StatusServiceUnavailable {
		t.Errorf("a good bearer has more than its address's share: %d", status)
	}
	if status := ask("[2001:db8::ffff]:1", token, strings.NewReader(strings.Repeat(" ", smallBody-1))); status != http.StatusOK || read.Load() != smallBody-1 {
		t.Errorf("a small body: %d, %d bytes", status, read.Load())
	}
	for _, elsewhere := range []string{"[2001:db8:0:1::1]:1", "192.0.2.1:1"} {
		if status := ask(elsewhere, token, strings.NewReader(strings.Repeat(" ", 1<<20))); status != http.StatusOK || read.Load() != 1<<20 {
			t.Errorf("from %s: %d, %d bytes", elsewhere, status, read.Load())
		}
	}
	close(until)
	others.Wait()
	if status := ask("[2001:db8::ffff]:1", token, strings.NewReader(strings.Repeat(" ", 1<<20))); status != http.StatusOK || read.Load() != 1<<20 {
		t.Errorf("when the others are gone: %d, %d bytes", status, read.Load())
	}
}
