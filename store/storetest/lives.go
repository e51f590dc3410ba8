package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
	"retrieverkeys/store/document"
)

// lifecycle runs the Service on the engine through random changes of a few keys. It compares who can authenticate, what
// is listed and what the trail says with a simple model.
func lifecycle(t *testing.T, e store.Engine) {
	setUnlessAsked(t, "rapid.checks", "30")
	setUnlessAsked(t, "rapid.seed", "1")
	rapid.Check(t, func(t *rapid.T) {
		l := newLives(t, e)
		t.Repeat(map[string]func(*rapid.T){
			"create": l.create, "update": l.update, "rotate": l.rotate, "revoke": l.revoke, "wait": l.wait, "look": l.look,
		})
		l.look(t)
	})
}

// lives is the model: the state of each key, and how many events led to it.
type lives struct {
	service *apikey.Service
	caller  apikey.Caller
	ns      string
	now     time.Time
	keys    []*life
	events  int
}

type life struct {
	id        apikey.ID
	plaintext string
	name      string
	expiresAt *time.Time
	revokedAt *time.Time
	rotated   bool
	events    int
}

func (k *life) status(now time.Time) apikey.Status {
	switch {
	case k.revokedAt != nil:
		return apikey.Revoked
	case k.expiresAt != nil && !now.Before(*k.expiresAt):
		return apikey.Expired
	default:
		return apikey.Active
	}
}

func newLives(t *rapid.T, e store.Engine) *lives {
	n := worlds.Add(1)
	tenant := apikey.InternalID(fmt.Sprintf("int_lives_%d", n))
	l := &lives{ns: "ns_lives", now: instant}
	l.service = &apikey.Service{Store: e, Now: func() time.Time { return l.now }}
	ns := apikey.Namespace{ID: "ns_lives", Name: "lives", InternalID: tenant}
	admin, _ := apikey.NewAdminKey(ns, "usr_1", "caller", "", instant)
	l.caller = apikey.Caller{Key: &admin}
	imported, err := e.Import(t.Context(), document.Batch{
		Namespaces: []bson.Raw{document.FromNamespace(ns, "")},
		Retrievers: []bson.Raw{document.FromRetriever(apikey.Retriever{ID: "ret_lives", Name: "lives", NamespaceID: ns.ID, InternalID: tenant})},
		Keys:       []bson.Raw{document.FromKey(admin)},
	}, document.ImportOptions{})
	if err != nil || imported.Stored != 3 {
		t.Fatal(imported, err)
	}
	return l
}

func (l *lives) wait(t *rapid.T) {
	l.now = l.now.Add(time.Duration(rapid.IntRange(1, 5000).Draw(t, "milliseconds")) * time.Millisecond)
}

// drawExpiry draws an instant in the near future, or none.
func (l *lives) drawExpiry(t *rapid.T) *time.Time {
	if rapid.Bool().Draw(t, "expires") {
		at := l.now.Add(time.Duration(rapid.IntRange(1, 10_000).Draw(t, "expiry in milliseconds")) * time.Millisecond)
		return &at
	}
	return nil
}

func (l *lives) create(t *rapid.T) {
	name := rapid.StringMatching("[a-c]{1,3}").Draw(t, "name")
	expiry := l.drawExpiry(t)
	made, err := l.service.Create(t.Context(), l.caller, l.ns, "lives", apikey.Settings{Name: apikey.Given(&name), ExpiresAt: apikey.Given(expiry)})
	if err != nil {
		t.Fatal(err)
	}
	l.keys = append(l.keys, &life{id: made.Key.ID, plaintext: made.Secret.Reveal(), name: name, expiresAt: expiry, events: 1})
	l.events++
}

// any draws a key. If there is none, it skips the step.
func (l *lives) any(t *rapid.T) *life {
	if len(l.keys) == 0 {
		t.Skip("no key yet")
	}
	return rapid.SampledFrom(l.keys).Draw(t, "key")
}

// refused fails the test unless exactly the changes of inactive keys were refused.
func (l *lives) refused(t *rapid.T, k *life, err error) bool {
	refused := k.status(l.now) != apikey.Active
	if refused != (err != nil) || refused && apikey.Classify(err).Code != apikey.Conflict {
		t.Fatalf("change of %s, which is %s: %v", k.id, k.status(l.now), err)
	}
	return refused
}

func (l *lives) update(t *rapid.T) {
	k := l.any(t)
	var s apikey.Settings
	name, expiry := k.name, k.expiresAt
	if rapid.Bool().Draw(t, "rename") {
		name = rapid.StringMatching("[a-c]{1,3}").Draw(t, "name")
		s.Name = apikey.Given(&name)
	}
	if rapid.Bool().Draw(t, "move the expiry") {
		expiry = l.drawExpiry(t)
		s.ExpiresAt = apikey.Given(expiry)
	}
	_, err := l.service.Update(t.Context(), l.caller, l.ns, k.id, s)
	if putOff := k.expiresAt != nil && (expiry == nil || expiry.After(*k.expiresAt)); k.rotated && putOff && k.status(l.now) == apikey.Active {
		if apikey.Classify(err).Code != apikey.Conflict {
			t.Fatalf("extending a rotated key: got %v, want a conflict", err)
		}
		return
	}
	same := name == k.name && (expiry == nil) == (k.expiresAt == nil) && (expiry == nil || expiry.Equal(*k.expiresAt))
	if l.refused(t, k, err) || same {
		return
	}
	k.name, k.expiresAt = name, expiry
	k.events++
	l.events++
}

func (l *lives) rotate(t *rapid.T) {
	k := l.any(t)
	overlap := time.Duration(rapid.IntRange(0, 3).Draw(t, "overlap")) * time.Second
	r, err := l.service.Rotate(t.Context(), l.caller, l.ns, k.id, overlap, nil)
	if k.rotated && k.status(l.now) == apikey.Active {
		if apikey.Classify(err).Code != apikey.Conflict {
			t.Fatalf("second rotation: got %v, want a conflict", err)
		}
		return
	}
	if l.refused(t, k, err) {
		return
	}
	l.keys = append(l.keys, &life{id: r.Key.ID, plaintext: r.Secret.Reveal(), name: k.name, expiresAt: k.expiresAt})
	end := l.now.Add(overlap)
	k.rotated = true
	switch {
	case overlap == 0:
		k.revokedAt = &end
	case k.expiresAt == nil || end.Before(*k.expiresAt):
		k.expiresAt = &end
	}
	k.events++
	l.events++
}

func (l *lives) revoke(t *rapid.T) {
	k := l.any(t)
	got, err := l.service.Revoke(t.Context(), l.caller, l.ns, k.id, nil)
	if err != nil {
		t.Fatal(err)
	}
	if k.revokedAt == nil {
		now := l.now
		k.revokedAt = &now
		k.events++
		l.events++
	}
	if got.Status != apikey.Revoked || !got.RevokedAt.Equal(*k.revokedAt) {
		t.Fatalf("%s is %s since %v, want since %v", k.id, got.Status, got.RevokedAt, k.revokedAt)
	}
}

// look compares everything stored with the model.
func (l *lives) look(t *rapid.T) {
	r, err := l.service.Retriever(t.Context(), l.caller, l.ns, "ret_lives")
	if err != nil {
		t.Fatal(err)
	}
	for _, all := range []bool{false, true} {
		var want []string
		for _, k := range l.keys {
			if s := k.status(l.now); all || s == apikey.Active {
				want = append(want, fmt.Sprint(k.id, k.name, s, date(k.expiresAt), date(k.revokedAt)))
			}
		}
		listed, err := l.service.List(t.Context(), l.caller, []*apikey.Retriever{r}, apikey.ListOptions{
			IncludeRevoked: all, Fields: apikey.AllFields, Wants: apikey.Wants{Items: true, Total: true},
		})
		if err != nil || listed[0].Err != nil {
			t.Fatal(err, listed)
		}
		var got []string
		for _, k := range listed[0].Keys.Items {
			got = append(got, fmt.Sprint(k.ID, k.Name, k.Status, date(k.ExpiresAt), date(k.RevokedAt)))
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(want, got) || listed[0].Keys.Total != len(want) {
			t.Fatalf("includeRevoked %t: got\n%s\nwant\n%s", all, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	for _, k := range l.keys {
		_, err := l.service.Authenticate(t.Context(), k.plaintext)
		if in := err == nil; in != (k.status(l.now) == apikey.Active) {
			t.Fatalf("%s is %s: Authenticate = %v", k.id, k.status(l.now), err)
		}
	}
	trail := func(about apikey.ID) int {
		c, err := l.service.AuditEvents(t.Context(), l.caller, apikey.EventPlace{Retriever: r}, apikey.EventOptions{
			About: about, Wants: apikey.Wants{Items: true, Total: true},
		})
		if err != nil || c.Total != len(c.Items) {
			t.Fatal(c, err)
		}
		return c.Total
	}
	if n := trail(""); n != l.events {
		t.Fatalf("the trail has %d events, want %d", n, l.events)
	}
	if len(l.keys) > 0 {
		k := rapid.SampledFrom(l.keys).Draw(t, "whose trail")
		if n := trail(k.id); n != k.events {
			t.Fatalf("the trail of %s has %d events, want %d", k.id, n, k.events)
		}
	}
}

func date(t *time.Time) string {
	if t == nil {
		return " -"
	}
	return t.UTC().Format(" 15:04:05.000")
}
