package program_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"retrieverkeys/program/programtest"
)

// Without this, a web page can let its own host name resolve to this machine (DNS rebinding) and read metrics and profiles.
func TestAdminListenerKnowsItsHosts(t *testing.T) {
	for _, c := range []struct{ address, names, host, refused string }{
		{"127.0.0.1:0", "", "localhost", "rebound.example"},
		{"127.0.0.1:0", "", "127.0.0.1", "192.0.2.1"},
		{"127.0.0.1:0", "metrics.example, other", "METRICS.example.", "example"},
		{"0.0.0.0:0", "", "192.0.2.1", "rebound.example"},
		{":0", "", "[2001:db8::1]", "rebound.example"},
	} {
		d := programtest.Embedded(t)
		d.Env["ADMIN_ADDR"], d.Env["ADMIN_HOSTS"] = c.address, c.names
		s := programtest.Serve(t, d.Env)
		var line struct{ URL string }
		if err := json.Unmarshal([]byte(strings.SplitN(s.Stderr.String(), "\n", 2)[0]), &line); err != nil {
			t.Fatalf("%v in %s", err, s.Stderr)
		}
		for host, want := range map[string]int{
			c.host: http.StatusOK, c.host + ":8081": http.StatusOK, "localhost:1": http.StatusOK, "[::1]:1": http.StatusOK,
			c.refused: http.StatusMisdirectedRequest, c.refused + ":8081": http.StatusMisdirectedRequest, "localhost.rebound.example": http.StatusMisdirectedRequest, "127.0.0.1.rebound.example": http.StatusMisdirectedRequest,
		} {
			for _, path := range []string{"/metrics", "/debug/pprof/cmdline"} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.TrimSuffix(line.URL, "/metrics")+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Host = host
				got := s.Do(req)
				if got.Status != want || want != http.StatusOK && !strings.Contains(got.Body, "ADMIN_HOSTS") {
					t.Errorf("%s asked for %s as %s: %d, want %d: %.200s", c.address, path, host, got.Status, want, got.Body)
				}
			}
		}
	}
}
