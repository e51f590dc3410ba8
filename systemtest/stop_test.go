package systemtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"retrieverkeys/apikey"
	"retrieverkeys/program/programtest"
)

// A load balancer must see that a server is stopping before it is gone. After the first signal, /readyz fails at once, while the server answers
// requests and closes their connections. A second signal ends it immediately.
func TestStoppingIsAnnounced(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	d.Env["SHUTDOWN_DELAY"] = "1h"
	p := programtest.StartProcess(t, d.Env)
	if got := p.Request(http.MethodGet, "/readyz", "", nil); got.Status != http.StatusOK {
		t.Fatalf("/readyz: %d %s", got.Status, got.Body)
	}
	p.Signal(syscall.SIGTERM)
	p.Stderr.Await(`"msg":"stopping"`, nil)
	if got := p.Request(http.MethodGet, "/readyz", "", nil); got.Status != http.StatusServiceUnavailable || !strings.Contains(got.Body, "stopping") {
		t.Errorf("/readyz: %d %s", got.Status, got.Body)
	}
	if got := p.Request(http.MethodGet, "/healthz", "", nil); got.Status != http.StatusOK {
		t.Errorf("/healthz: %d %s", got.Status, got.Body)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+"/v1/retrievers/main/api-keys", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer " + programtest.Token("reader")}, "X-Namespace": {"production"}}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK || !resp.Close {
		t.Errorf("a request meanwhile: %d, closes %t", resp.StatusCode, resp.Close)
	}
	p.Signal(syscall.SIGTERM)
	err = p.Cmd.Wait()
	if status, _ := p.Cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("after the second signal: %v", err)
	}
}

// A server that stops accepts no new connections, finishes running requests, stores last_used_at, and exits with 0. Otherwise, every deployment
// would lose requests, and with them the plaintexts of new keys.
func TestStopFinishesRequests(t *testing.T) {
	for _, s := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(s.String(), func(t *testing.T) {
			d := programtest.Seeded(t, programtest.Embedded(t))
			p := programtest.StartProcess(t, d.Env)
			addr := strings.TrimPrefix(p.URL, "http://")
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			body := `{"name":"made while stopping"}`
			_, _ = fmt.Fprintf(conn, "POST /v1/retrievers/main/api-keys HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nX-Namespace: production\r\n"+
				"Content-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", programtest.Token("admin"), len(body))
			r := bufio.NewReader(conn)
			if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") { // the server waits for the body
				t.Fatal(line, err)
			}
			_, _ = r.ReadString('\n')
			p.Signal(s)
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
			if err := p.Cmd.Wait(); err != nil || !strings.Contains(p.Stderr.String(), `"msg":"stopped"`) {
				t.Errorf("%v\n%s", err, p.Stderr)
			}
			engine := d.Open(t)
			defer func() { _ = engine.Close() }()
			callers, err := engine.CurrentKeys(t.Context(), "int_a", "key_caller_admin")
			if err != nil || len(callers) != 1 || callers[0].LastUsedAt == nil {
				t.Errorf("the caller's key: %v %v", callers, err)
			}
			pages, err := engine.KeyPages(t.Context(), "int_a", []apikey.RetrieverID{"ret_main"}, apikey.KeyList{Limit: 1, Fields: apikey.AllFields})
			if err != nil || pages[0][0].Name != "made while stopping" {
				t.Errorf("the newest key: %v %v", pages, err)
			}
		})
	}
}

// A request that was answered must not delay the stop, even if the client announced a body and never sends it. Otherwise, one such client makes every
// deployment fail after 20 seconds.
func TestStopDoesNotWaitForAnnouncedBodies(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	p := programtest.StartProcess(t, d.Env)
	for request, want := range map[string]int{"POST " + gatedPath: http.StatusOK, "DELETE /v1/retrievers/ret_main/api-keys": http.StatusMethodNotAllowed} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if err := conn.SetDeadline(time.Now().Add(programtest.MaxWait)); err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer key_tie_a\r\nContent-Length: 5\r\n\r\n", request)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != want {
			t.Errorf("%s: got %d, %v, want %d", request, resp.StatusCode, err, want)
		}
	}
	p.Signal(syscall.SIGTERM)
	if err := p.Cmd.Wait(); err != nil || !strings.Contains(p.Stderr.String(), `"msg":"stopped"`) {
		t.Errorf("%v\n%s", err, p.Stderr)
	}
}
