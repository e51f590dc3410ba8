package storetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
	"retrieverkeys/store/document"
)

const noticeTime = 14 * 24 * time.Hour

// crashing is an engine whose process is killed after some calls. Then every call fails.
type crashing struct {
	store.Engine
	left int
}

var errKilled = errors.New("the process was killed")

func (c *crashing) call() error {
	if c.left--; c.left < 0 {
		return errKilled
	}
	return nil
}

func (c *crashing) ExpiringKeys(ctx context.Context, after apikey.ExpiryPosition, before time.Time, limit int) ([]apikey.Key, error) {
	if err := c.call(); err != nil {
		return nil, err
	}
	return c.Engine.ExpiringKeys(ctx, after, before, limit)
}

func (c *crashing) InsertEvent(ctx context.Context, e apikey.Event) error {
	if err := c.call(); err != nil {
		return err
	}
	return c.Engine.InsertEvent(ctx, e)
}

// noticed is a key of the test, with the expiries that must have had an event.
type noticed struct {
	id      apikey.ID
	tenant  apikey.InternalID
	created time.Time
	expires *time.Time
	ended   bool // rotated or revoked
	events  []string
}

// looked tells the model that a process looked at all keys at this instant.
func (k *noticed) looked(now time.Time) {
	if k.ended || k.expires == nil || !k.expires.After(now) || !k.expires.Before(now.Add(noticeTime)) || k.expires.Sub(k.created) <= noticeTime {
		return
	}
	if at := k.expires.Format(apikey.Milliseconds); !slices.Contains(k.events, at) {
		k.events = append(k.events, at)
	}
}

// notices: Several processes with different clocks look for keys that expire soon, while keys are imported, updated, rotated and revoked, and
// processes are killed in the middle and start again. Every key must have one event for each expiry that came within the notice, and no other.
// Without this, an operator misses an expiry, or gets two events about it.
func notices(t *testing.T, e store.Engine) {
	seed := rand.Uint64() //nolint:gosec // a test
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test
	start := time.Date(2077, 3, 1, 0, 0, 0, 0, time.UTC)
	now := start
	policy := apikey.Policy{ExpiryNotice: noticeTime}
	service := &apikey.Service{Store: e, Policy: policy, Now: func() time.Time { return now }}
	tenants := []apikey.InternalID{"int_n0", "int_n1"}
	callers := map[apikey.InternalID]apikey.Caller{}
	for _, tenant := range tenants {
		ns := apikey.Namespace{ID: "ns_n", Name: "n", InternalID: tenant}
		admin, _ := apikey.NewAdminKey(ns, "usr_1", "caller", "", start)
		callers[tenant] = apikey.Caller{Key: &admin}
		mustImport(t, e, document.Batch{
			Namespaces: []bson.Raw{document.FromNamespace(ns, "")},
			Retrievers: []bson.Raw{document.FromRetriever(apikey.Retriever{ID: "ret_n", Name: "n", NamespaceID: ns.ID, InternalID: tenant})},
			Keys:       []bson.Raw{document.FromKey(admin)},
		})
	}

	type process struct {
		notices apikey.Notices
		engine  *crashing
		skew    time.Duration
		counted int
	}
	processes := make([]*process, 3)
	begin := func(i int) {
		p := &process{engine: &crashing{e, 1 << 30}, skew: time.Duration(i-1) * 3 * time.Second}
		p.notices = apikey.Notices{
			Service: &apikey.Service{Store: p.engine, Policy: policy, Now: func() time.Time { return now.Add(p.skew) }},
			Logger:  slog.New(slog.DiscardHandler), Count: func(keys int) { p.counted = keys },
		}
		processes[i] = p
	}
	for i := range processes {
		begin(i)
	}

	var keys []*noticed
	made := 0
	add := func(lived, left time.Duration) {
		k := &noticed{id: apikey.ID(fmt.Sprint("key_n", made/2)), tenant: tenants[made%2], created: now.Add(-lived)} // tenants use the same ids
		if left > 0 {
			k.expires = new(now.Add(left))
		}
		mustImport(t, e, document.Batch{Keys: []bson.Raw{document.FromKey(apikey.Key{
			ID: k.id, Hash: hashOf(fmt.Sprint("notice", made)), InternalID: k.tenant, Type: apikey.RetrieverKey, Stored: apikey.Active,
			CreatedAt: &k.created, ExpiresAt: k.expires, Scopes: []apikey.Scope{{ResourceType: apikey.ResourceRetriever, ResourceID: "ret_n"}},
		})}})
		keys = append(keys, k)
		made++
	}
	// all makes a process look at all keys, as its start or its next round of that kind does.
	all := func(i int) {
		processes[i].notices = apikey.Notices{Service: processes[i].notices.Service, Logger: processes[i].notices.Logger, Count: processes[i].notices.Count}
		if err := processes[i].notices.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			k.looked(now.Add(processes[i].skew))
		}
	}
	day := 24 * time.Hour
	for range 120 {
		var k *noticed
		if len(keys) > 0 {
			k = keys[r.IntN(len(keys))]
		}
		switch step := r.IntN(10); {
		case step <= 1 || k == nil:
			add(time.Duration(r.IntN(40))*day, time.Duration(r.IntN(40)-5)*day)
		case step <= 3 && !k.ended && (k.expires == nil || k.expires.After(now)):
			end := new(now.Add(time.Duration(1+r.IntN(40)) * day))
			if _, err := service.Update(t.Context(), callers[k.tenant], "", k.id, apikey.Settings{ExpiresAt: apikey.Given(end)}); err != nil {
				t.Fatal(err)
			}
			k.expires = end
		case step == 4 && !k.ended && (k.expires == nil || k.expires.After(now)):
			rotated, err := service.Rotate(t.Context(), callers[k.tenant], "", k.id, time.Hour, nil)
			if err != nil {
				t.Fatal(err)
			}
			k.ended = true
			keys = append(keys, &noticed{id: rotated.Key.ID, tenant: k.tenant, created: now, expires: k.expires})
		case step == 5:
			if _, err := service.Revoke(t.Context(), callers[k.tenant], "", k.id, nil); err != nil {
				t.Fatal(err)
			}
			k.ended = true
		case step == 6: // a process is killed, perhaps between two events, and starts again
			i := r.IntN(len(processes))
			begin(i)
			processes[i].engine.left = r.IntN(4)
			if err := processes[i].notices.Look(t.Context()); err == nil || errors.Is(err, errKilled) {
				begin(i)
			} else {
				t.Fatal(err)
			}
			all(i)
		case step == 7:
			all(r.IntN(len(processes)))
		default:
			now = now.Add(time.Duration(r.IntN(48)) * time.Hour)
			i := r.IntN(len(processes))
			all(i)
		}
	}
	all(0)
	var want, got []string
	due := 0
	for _, k := range keys {
		for _, at := range k.events {
			want = append(want, fmt.Sprintf("%s %s %s", k.tenant, k.id, at))
		}
		at := now.Add(processes[0].skew)
		if !k.ended && k.expires != nil && k.expires.After(at) && k.expires.Before(at.Add(noticeTime)) && k.expires.Sub(k.created) > noticeTime {
			due++
		}
	}
	for _, tenant := range tenants {
		events, err := e.EventPage(t.Context(), tenant, apikey.EventList{Where: apikey.EventConditions{Actions: []apikey.Action{apikey.KeyExpiring}}, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range events {
			got = append(got, fmt.Sprintf("%s %s %s", tenant, event.ResourceID, *event.Changes[0].After))
			if event.ActorID != "system" || event.ActorType != apikey.System || event.NamespaceID != "ns_n" || len(event.RetrieverIDs) != 1 || event.Outcome != apikey.Success {
				t.Errorf("an event is %+v", event)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	equal(t, "events", want, got, nil)
	equal(t, "the number of keys that expire soon", due, processes[0].counted, nil)
}
