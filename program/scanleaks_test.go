package program_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
)

// A scan that reports must kill what it finds, in every organization, and leave the keys that it does not find. Without this, somebody has
// to copy each command while the keys work.
func TestScanReportsLeaks(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = programtest.Seeded(t, d)
		ours, theirs := organizationKey(t, d, "key_leaked", "int_a", nil), organizationKey(t, d, "key_leaked_b", "int_b", nil)
		expired := organizationKey(t, d, "key_leaked_late", "int_a", programtest.Fields{"expires_at": programtest.Date("2026-01-01T00:00:00Z")})
		organizationKey(t, d, "key_safe", "int_a", nil)
		unknown := strings.Replace(ours, ours[:3], "ret_sk_", 1)
		file := written(t, "app.log", fmt.Appendf(nil, "%s\n%s %s\n%s\n%s\n", ours, theirs, expired, unknown, ours))

		noted := d
		noted.Env = maps.Clone(d.Env)
		noted.Env["LEAK_ACTION"] = "report"
		got, code := scanJSON(t, noted, "--report", "--exit-code", file)
		if code != program.ExitActive || got.status("key_leaked") != "active" || got.status("key_leaked_b") != "active" || got.status("key_leaked_late") != "expired" {
			t.Errorf("noted: exit code %d, %+v", code, got)
		}
		code, out, errs := programtest.Command(t, d.Env, "keys", "scan", "--report", "--exit-code", file)
		if code != program.ExitActive || !strings.Contains(out, "3 keys reported as leaked.") || strings.Contains(out+errs, ours) || strings.Contains(out, "keys revoke") {
			t.Errorf("exit code %d\n%s%s", code, out, errs)
		}
		got, code = scanJSON(t, d, "--report", "--exit-code", file)
		if code != program.ExitOK || got.status("key_leaked") != "revoked" || got.status("key_leaked_b") != "revoked" || got.status("key_leaked_late") != "expired" {
			t.Errorf("again: exit code %d, %+v", code, got)
		}
		if list := programtest.MustRun(t, d, "keys", "list", "--search", "key_safe"); !strings.Contains(list, "ACTIVE") {
			t.Errorf("a key that was not found: %s", list)
		}
		s := programtest.Serve(t, d.Env)
		answer := s.Query("admin", "", `{ organization { auditEvents(filter: {keyId: "key_leaked"}) { results { action actorType changes { field after } } } } apiKey(id: "key_leaked") { leak { source url } revokeReason } }`)
		if want := `{"action":"api_key_revoked","actorType":"operator","changes":[{"field":"status","after":"revoked"},{"field":"revoke_reason","after":"leaked"}]},{"action":"api_key_leak_reported","actorType":"operator"`; !strings.Contains(answer.Body, want) ||
			!strings.Contains(answer.Body, `"apiKey":{"leak":{"source":"keys scan","url":null},"revokeReason":"leaked"}`) {
			t.Errorf("%s", answer.Body)
		}
	})
}

func (s scanned) status(id string) string {
	for _, r := range s.Results {
		if r.KeyID == id {
			return r.Status
		}
	}
	return ""
}
