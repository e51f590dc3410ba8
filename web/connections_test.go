package web

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Idle connections must not lock out new ones, and a connection with a request in progress is never closed.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	working, goOn := make(chan struct{}), make(chan struct{})
	g := newGate(10, (&counters{}).metrics(), slog.New(slog.DiscardHandler))
	server := httptest.NewUnstartedServer(newBodies(1<<20, fromNowhere).read(g.admit(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/work" {
			close(working)
			<-goOn
		}
	}), time.Minute, refuseREST), refuseREST, nil))
	connections, idled := NewConnections(2), make(chan struct{}, 100)
	server.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		if connections.Track(conn, state); state == http.StateIdle {
			idled <- struct{}{}
		}
	}
	server.Config.ConnContext = connections.Context
	server.Start()
	t.Cleanup(server.Close) // after the connections
	var once sync.Once
	finish := func() { once.Do(func() { close(goOn) }) }
	defer finish()
	send := func(request string) *bufio.Reader {
		conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		return bufio.NewReader(conn)
	}
	dial := func(path string) *bufio.Reader { return send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n") }
	answered := func(r *bufio.Reader) bool {
		resp, err := http.ReadResponse(r, nil)
		return err == nil && resp.Body.Close() == nil
	}
	work := dial("/work")
	<-working
	for range 5 {
		idle := dial("/")
		if !answered(idle) {
			t.Fatal("not answered")
		}
		<-idled
		if !answered(dial("/")) {
			t.Fatal("an idle connection keeps a new one out")
		}
		<-idled
		if _, err := idle.ReadByte(); err == nil {
			t.Error("it is still open")
		}
	}
	half := send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
	if _, err := half.ReadString('\n'); err != nil { // the server waits for its body, which never arrives
		t.Fatal(err)
	}
	if !answered(dial("/")) {
		t.Error("half a request keeps a new one out")
	}
	finish()
	if !answered(work) {
		t.Error("a connection with a request in progress was closed")
	}
}
