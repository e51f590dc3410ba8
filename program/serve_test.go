package program_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
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
	if err := program.Drain(context.Background(), server, time.Millisecond); err == nil || !strings.Contains(err.Error(), "were aborted") {
		t.Errorf("drain: %v", err)
	}
	<-cut
	if err := <-answered; err == nil {
		t.Error("the request was answered")
	}
}

// The server keeps running if the program that reads its log exits, and still shuts down cleanly.
func TestServerOutlivesTheReaderOfItsLog(t *testing.T) {
	path, err := programtest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path) // with a demo, which writes to standard output
	cmd.Env = []string{"LISTEN_ADDR=" + address, "ADMIN_ADDR=off", "DEMO=true", "LOG_LEVEL=debug", "EMBEDDED_PATH=" + filepath.Join(t.TempDir(), "store.db")}
	cmd.Stdout, cmd.Stderr = closedPipe(t), w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	_ = w.Close()
	// The server accepts connections before it writes its first line. Close the pipe after that.
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	s := &programtest.Server{T: t, URL: "http://" + address}
	for range 20 {
		if got := s.Request(http.MethodPost, "/graphql", `{"query":"{ __typename }"}`, map[string]string{"Authorization": "Bearer wrong"}); got.Status != http.StatusUnauthorized {
			t.Errorf("%d %s", got.Status, got.Body)
		}
	}
	if got := s.Request(http.MethodGet, "/readyz", "", nil); got.Status != http.StatusOK {
		t.Errorf("/readyz: %d %s", got.Status, got.Body)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// Browsers cannot open a wildcard address, so the printed URL must not contain one.
func TestPrintedAddressOpens(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "127.0.0.1:0"} {
		d := programtest.Seeded(t, programtest.Embedded(t))
		d.Env["LISTEN_ADDR"] = address
		s := programtest.Serve(t, d.Env)
		if host, _, err := net.SplitHostPort(strings.TrimPrefix(s.URL, "http://")); err != nil || host != "127.0.0.1" {
			t.Errorf("%s prints %s", address, s.URL)
		}
		if got := s.Request(http.MethodGet, "/healthz", "", nil); got.Status != http.StatusOK {
			t.Errorf("%s: %d %s", address, got.Status, got.Body)
		}
	}
	if got := program.URLOf(&net.TCPAddr{IP: net.ParseIP("192.0.2.1"), Port: 80}); got != "http://192.0.2.1:80" {
		t.Errorf("another address prints %s", got)
	}
}
