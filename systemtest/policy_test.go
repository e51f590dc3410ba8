package systemtest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
)

// Several servers on one store that start at the same time, and one that starts later, store one event for each key that expires soon. The metric
// counts the keys. Without this, an auditor reads of one key several times, or never.
func TestNoticesOfSeveralServers(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		soon := bson.NewDateTimeFromTime(time.Now().Add(5 * 24 * time.Hour))
		key := func(id, retriever string, more programtest.Fields) bson.Raw {
			return programtest.KeyDoc(id, retriever, programtest.Fields{"expires_at": soon}, more)
		}
		programtest.ImportBatch(t, d, programtest.Fixture())
		programtest.ImportBatch(t, d, document.Batch{Keys: []bson.Raw{
			key("key_notice_1", "ret_main", nil), key("key_notice_2", "ret_gone", nil),
			key("key_no_1", "ret_main", programtest.Fields{"status": "revoked"}),
			key("key_no_2", "ret_main", programtest.Fields{"rotated_to": "key_notice_1"}),
			key("key_no_3", "ret_main", programtest.Fields{"created_at": bson.NewDateTimeFromTime(time.Now())}),
		}})
		d.Env["ADMIN_ADDR"] = "127.0.0.1:0"
		looked := func(s *programtest.Server) {
			t.Helper()
			for began := time.Now(); s.Metric("retrieverkeys_expiring_keys") != "retrieverkeys_expiring_keys 2"; time.Sleep(10 * time.Millisecond) {
				if time.Since(began) > time.Minute {
					t.Fatalf("the metric is %q", s.Metric("retrieverkeys_expiring_keys"))
				}
			}
		}
		servers := []*programtest.Server{programtest.Serve(t, d.Env), programtest.Serve(t, d.Env), programtest.Serve(t, d.Env)}
		for _, s := range servers {
			looked(s)
		}
		looked(programtest.Serve(t, d.Env)) // later
		const query = `{ organization { auditEvents(filter: { action: ["api_key_expiring"] }) { total results { resourceId actorId actorType status changes { field before after } } } }
			namespace(id: "ns_prod") { retriever(id: "main") { auditEvents(filter: { actorType: "system" }) { total results { resourceId } } } } }`
		got := data(t, servers[0], "admin", query, nil, "")
		about := listed(got, "resourceId", "organization", "auditEvents", "results")
		slices.Sort(about)
		if fmt.Sprint(about) != "[key_notice_1 key_notice_2]" {
			t.Errorf("events about %v", about)
		}
		if about := listed(got, "resourceId", "namespace", "retriever", "auditEvents", "results"); fmt.Sprint(about) != "[key_notice_1]" {
			t.Errorf("events of the retriever about %v", about)
		}
		for _, e := range programtest.StoredEvents(t, d) {
			if e.Action == apikey.KeyExpiring && (e.ActorID != "system" || e.ActorType != apikey.System || e.ActorKeyID != nil || e.IPAddress != nil) {
				t.Errorf("an event is %+v", e)
			}
		}
	})
}

// Without a notice there are no events, and every way to create a key, REST and the command line too, has the default lifetime and the maximum.
func TestPolicyOfAServer(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	programtest.ImportBatch(t, d, document.Batch{Keys: []bson.Raw{programtest.KeyDoc("key_soon", "ret_main", programtest.Fields{
		"expires_at": bson.NewDateTimeFromTime(time.Now().Add(24 * time.Hour)),
	})}})
	d.Env["KEY_DEFAULT_LIFETIME"], d.Env["KEY_MAX_LIFETIME"], d.Env["KEY_EXPIRY_NOTICE"] = "30d", "90d", "0"
	s := programtest.Serve(t, d.Env)
	bearer := map[string]string{"Authorization": "Bearer " + programtest.Token("admin"), "X-Namespace": "production", "Content-Type": "application/json"}
	create := func(body string) programtest.Answer {
		return s.Request(http.MethodPost, "/v1/retrievers/main/api-keys", body, bearer)
	}
	until := func(days int) string { return time.Now().AddDate(0, 0, days).UTC().Format("2006-01-02") }
	if got := create(`{"name":"a"}`); got.Status != http.StatusOK || !strings.Contains(got.Body, `"expires_at":"`+until(30)) {
		t.Errorf("REST, nothing given: %d %s", got.Status, got.Body)
	}
	if got := create(`{"name":"a","expires_at":"2999-01-01T00:00:00Z"}`); got.Status != http.StatusUnprocessableEntity || !strings.Contains(got.Body, `["body","expires_at"]`) || !strings.Contains(got.Body, "at most 90 days") {
		t.Errorf("REST, too late: %d %s", got.Status, got.Body)
	}
	out := programtest.MustRun(t, d, "keys", "create", "--namespace", "ns_prod", "--retriever", "main", "--name", "cli", "--json")
	if !strings.Contains(out, until(30)) {
		t.Errorf("keys create: %s", out)
	}
	_, _, errs := programtest.Command(t, d.Env, "keys", "rotate", "--namespace", "ns_prod", "--expires-at", "2999-01-01T00:00:00Z", "key_full")
	if !strings.Contains(errs, "--expires-at must not be after") {
		t.Errorf("keys rotate: %s", errs)
	}
	if out := programtest.MustRun(t, d, "keys", "rotate", "--namespace", "ns_prod", "--json", "key_full"); !strings.Contains(out, until(90)) {
		t.Errorf("keys rotate cuts to the maximum: %s", out)
	}
	if code := s.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, e := range programtest.StoredEvents(t, d) {
		if e.Action == apikey.KeyExpiring {
			t.Errorf("an event without a notice: %+v", e)
		}
	}
}
