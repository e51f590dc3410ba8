package web

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/semaphore"

	"retrieverkeys/apikey"
)

func fromNowhere(*http.Request) string { return "" }

// The memory of all bodies together is limited, but a small body is always read. The handler gets every body as it was sent.
func TestBodiesAreBounded(t *testing.T) {
	refused := 0
	b := newBodies(0, fromNowhere)
	b.free = semaphore.NewWeighted(4 * smallBody)
	h := b.read(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprint(w, len(body), err)
	}), refuseREST, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		refused++
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	ask := func(bytes int, end error) string {
		r := httptest.NewRequest(http.MethodPost, "/", io.MultiReader(strings.NewReader(strings.Repeat("x", bytes)), failing{end}))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return fmt.Sprint(w.Code, " ", w.Body)
	}
	for range 3 { // each round gives back what it took
		for _, bytes := range []int{0, 1, smallBody - 1, smallBody, 2*smallBody + 1} {
			if got, want := ask(bytes, io.EOF), fmt.Sprint("200 ", bytes, nil); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
	}
	if got := ask(3*smallBody, io.EOF); !strings.HasPrefix(got, "503 ") || refused != 1 {
		t.Errorf("a body without free memory: %s", got)
	}
	if got := ask(5, errors.New("torn")); !strings.HasPrefix(got, "400 ") || strings.Contains(got, "torn") {
		t.Errorf("a body that breaks off: %s", got)
	}
	if got := ask(5, &http.MaxBytesError{Limit: 5}); got != "200 5 http: request body too large" {
		t.Errorf("a body that is too large: %s", got)
	}
	if !b.free.TryAcquire(4*smallBody) || len(b.taken) > 0 {
		t.Error("some memory was not given back")
	}
}

// heldBody is a body that arrives in part and then does not end until a channel is closed.
type heldBody struct {
	io.Reader

	come  func() // called when the part has arrived
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

// Anyone can begin large bodies and never end them. Those of one address, or one IPv6 /64, must leave room for the bodies of other addresses,
// whatever their key is. Small bodies are always read.
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
		t.Errorf("a valid key gets more than its address's share: %d", status)
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
