package program_test

import (
	"net/http"
	"regexp"
	"slices"
	"testing"

	"retrieverkeys/apikey"
	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
)

var keyID = regexp.MustCompile(`^key_[0-9A-Za-z]{24}$`)

// The key that bootstrap prints must work. A second run must add to the organization instead of creating another one of the same name.
func TestBootstrap(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		ids := regexp.MustCompile(`(?:org|int|ns)_[0-9A-Za-z]{24}`)
		run := func(namespace string) (found []string, key string) {
			code, out, errs := programtest.Command(t, d.Env, "bootstrap", "--organization", "Acme GmbH", "--namespace", namespace, "--email", "a@example.com")
			if code != program.ExitOK {
				t.Fatalf("exit code %d\n%s", code, errs)
			}
			keys := regexp.MustCompile(`sk_[0-9A-Za-z]{53}\b`).FindAllString(out, -1)
			if len(keys) != 1 {
				t.Fatalf("%d keys in\n%s", len(keys), out)
			}
			return ids.FindAllString(out, -1), keys[0]
		}
		first, key := run("production")
		again, another := run("production")
		other, _ := run("staging")
		if len(first) != 3 || len(again) != 3 || len(other) != 3 {
			t.Fatalf("ids: %v %v %v", first, again, other)
		}
		if key == another || again[0] != first[0] || again[1] != first[1] || again[2] != first[2] {
			t.Errorf("the second run: got ids %v, want %v", again, first)
		}
		if other[0] != first[0] || other[1] != first[1] || other[2] == first[2] {
			t.Errorf("another namespace: got ids %v, want the organization of %v and a new namespace", other, first)
		}
		// After an incident, the first question about an admin key is who created it, and when.
		trail := programtest.StoredEvents(t, d)
		if len(trail) != 3 {
			t.Errorf("got %d events for three keys", len(trail))
		}
		for i, e := range trail {
			ns := first[2]
			if i == 2 {
				ns = other[2]
			}
			if e.Action != apikey.KeyCreated || e.Outcome != apikey.Success || e.ActorType != apikey.Operator || e.ActorID != program.Operator() || e.ActorKeyID != nil ||
				e.ResourceType != apikey.ResourceAPIKey || !keyID.MatchString(e.ResourceID) || string(e.InternalID) != first[1] || string(e.NamespaceID) != ns ||
				e.IPAddress != nil || !slices.ContainsFunc(e.Changes, func(c apikey.FieldChange) bool { return c.Field == "status" && c.After != nil && *c.After == "active" }) {
				t.Errorf("event %d: %+v", i, e)
			}
		}
		if file := programtest.FileContaining(t, d, "pending_events"); file != "" {
			t.Errorf("%s still contains an event in a key's document", file)
		}
		s := programtest.Serve(t, d.Env)
		for _, k := range []string{key, another} {
			got := s.Request(http.MethodPost, "/graphql", `{"query":"{ viewer { permissions internalId namespace { name } } }"}`,
				map[string]string{"Authorization": "Bearer " + k, "X-Namespace": first[2]})
			if got.Body != `{"data":{"viewer":{"permissions":["ADMIN"],"internalId":"`+first[1]+`","namespace":{"name":"production"}}}}` {
				t.Error(got.Body)
			}
		}
	})
}
