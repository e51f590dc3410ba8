package program

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A request that does not end must not keep the process alive. It is aborted, and the command fails with a message.
func TestDrainEnds(t *testing.T) {
	busy, cut := make(chan struct{}), make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(busy)
		<-r.Context().Done()
		close(cut)
	})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	answered := make(chan error, 1)
	go func() {
		resp, err := http.Get("http://" + listener.Addr().String())
		if err == nil {
			_ = resp.Body.Close()
		}
		answered <- err
	}()
	<-busy
	if err := drain(context.Background(), server, time.Millisecond); err == nil || !strings.Contains(err.Error(), "were aborted") {
		t.Errorf("drain: %v", err)
	}
	<-cut
	if err := <-answered; err == nil {
		t.Error("the request was answered")
	}
}
