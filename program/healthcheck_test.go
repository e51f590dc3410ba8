package program_test

import (
	"net/http"
	"strings"
	"testing"

	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
)

func TestHealth(t *testing.T) {
	s := programtest.Serve(t, programtest.Embedded(t).Env)
	for path, want := range map[string]string{"/healthz": `{"status":"ok"}`, "/readyz": `{"status":"ready"}`} {
		if got := s.Request(http.MethodGet, path, "", nil); got.Status != http.StatusOK || strings.TrimSpace(got.Body) != want {
			t.Errorf("%s: %d %s", path, got.Status, got.Body)
		}
	}
	addr := strings.TrimPrefix(s.URL, "http://")
	if code, _, errs := programtest.Command(t, programtest.Fields{"LISTEN_ADDR": addr}, "healthcheck"); code != program.ExitOK {
		t.Errorf("healthcheck: %d %s", code, errs)
	}
	s.Stop()
	if code, _, errs := programtest.Command(t, programtest.Fields{"LISTEN_ADDR": addr}, "healthcheck"); code != program.ExitFailed || errs == "" {
		t.Errorf("healthcheck without a server: %d %q", code, errs)
	}
}
