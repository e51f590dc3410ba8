package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"retrieverkeys/apikey"
)

// binary builds the program, once, static as it is shipped, and returns its path.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(binaryDir, "retrieverkeys")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

// process is the program as a process of its own.
type process struct {
	*server
	cmd *exec.Cmd
}

// start runs the built program until it serves.
func start(t *testing.T, env fields) process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := process{&server{t: t, out: newBuffer(), errors: newBuffer()}, exec.Command(path, "serve")}
	p.cmd.Env = []string{"LISTEN_ADDR=127.0.0.1:0", "ADMIN_ADDR=off", "LOG_FORMAT=json"}
	for name, value := range env {
		p.cmd.Env = append(p.cmd.Env, fmt.Sprintf("%s=%v", name, value))
	}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.errors
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	p.url = regexp.MustCompile(`http://[0-9.:]+`).FindString(p.errors.await(`"msg":"serving"`, nil))
	return p
}

func (p process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// Whoever balances load needs to see that a server is leaving before it is gone. Told to stop, it says so at once, goes on
// answering, and sends clients elsewhere for their next request. Who cannot wait says it again.
func TestStoppingIsToldBeforeItIsDone(t *testing.T) {
	d := seeded(t, embedded(t))
	d.env["SHUTDOWN_DELAY"] = "1h"
	p := start(t, d.env)
	if got := p.request(http.MethodGet, "/readyz", "", nil); got.status != http.StatusOK {
		t.Fatalf("/readyz: %d %s", got.status, got.body)
	}
	p.signal(syscall.SIGTERM)
	p.errors.await(`"msg":"stopping"`, nil)
	if got := p.request(http.MethodGet, "/readyz", "", nil); got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, "stopping") {
		t.Errorf("/readyz: %d %s", got.status, got.body)
	}
	if got := p.request(http.MethodGet, "/healthz", "", nil); got.status != http.StatusOK {
		t.Errorf("/healthz: %d %s", got.status, got.body)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/v1/retrievers/main/api-keys", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer " + token("reader")}, "X-Namespace": {"production"}}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK || !resp.Close {
		t.Errorf("a request meanwhile: %d, closes %t", resp.StatusCode, resp.Close)
	}
	p.signal(syscall.SIGTERM)
	err = p.cmd.Wait()
	if status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("after the second signal: %v", err)
	}
}

// Told to stop, the server accepts nothing more, answers what is under way, stores when keys were used, and says that all
// went well. Otherwise every deployment would cost somebody a request, or a plaintext that is stored but was never told.
func TestStopAnswersWhatIsUnderWay(t *testing.T) {
	for _, s := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(s.String(), func(t *testing.T) {
			d := seeded(t, embedded(t))
			p := start(t, d.env)
			addr := strings.TrimPrefix(p.url, "http://")
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			body := `{"name":"made while stopping"}`
			_, _ = fmt.Fprintf(conn, "POST /v1/retrievers/main/api-keys HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nX-Namespace: production\r\n"+
				"Content-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", token("admin"), len(body))
			r := bufio.NewReader(conn)
			if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") { // it waits for the body
				t.Fatal(line, err)
			}
			_, _ = r.ReadString('\n')
			p.signal(s)
			for refused := false; !refused; {
				c, err := net.Dial("tcp", addr)
				if refused = errors.Is(err, syscall.ECONNREFUSED); err == nil {
					_ = c.Close()
				}
			}
			_, _ = io.WriteString(conn, body)
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			answer, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusOK || !resp.Close {
				t.Errorf("%d %s %v, closes %t", resp.StatusCode, answer, err, resp.Close)
			}
			if err := p.cmd.Wait(); err != nil || !strings.Contains(p.errors.String(), `"msg":"stopped"`) {
				t.Errorf("%v\n%s", err, p.errors)
			}
			engine := d.open(t)
			defer func() { _ = engine.Close() }()
			callers, err := engine.CurrentKeys(t.Context(), "int_a", "key_caller_admin")
			if err != nil || len(callers) != 1 || callers[0].LastUsedAt == nil {
				t.Errorf("the caller's key: %v %v", callers, err)
			}
			pages, err := engine.KeyPages(t.Context(), "int_a", []apikey.RetrieverID{"ret_main"}, apikey.KeyRange{Limit: 1, Fields: apikey.AllFields})
			if err != nil || pages[0][0].Name != "made while stopping" {
				t.Errorf("the newest key: %v %v", pages, err)
			}
		})
	}
}

// A request that does not end must not keep a process for ever. It is cut off, and whoever stopped the server is told.
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
	if err := drain(context.Background(), server, time.Millisecond); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("drain: %v", err)
	}
	<-cut
	if err := <-answered; err == nil {
		t.Error("the request was answered")
	}
}
