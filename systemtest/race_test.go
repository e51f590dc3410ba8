package systemtest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/program/programtest"
	"retrieverkeys/store"
	"retrieverkeys/store/document"
	"retrieverkeys/store/mongodb/mongodbtest"
)

// Fifty goroutines revoke, rotate and update one key. In every order, at most one rotation succeeds, every revocation succeeds and one is in the
// audit trail, and every other change succeeds or gets CONFLICT. The events form one history that ends in the key's state.
//
// With TEST_MONGODB_URI, the test also runs on that deployment.
func TestRacesLeaveOneHistory(t *testing.T) {
	t.Run("embedded", func(t *testing.T) { race(t, programtest.Embedded(t), 200) })
	t.Run("mongodb", func(t *testing.T) {
		race(t, programtest.OnMongoDB(t, mongodbtest.OneAtATime()...), mongodbtest.Fewer(200, 5))
	})
}

func race(t *testing.T, d programtest.Deployment, rounds int) {
	engine := d.Open(t)
	defer func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	}()
	b := document.Batch{
		Namespaces: []bson.Raw{programtest.NamespaceDoc("ns_1", "production", "int_a")},
		Retrievers: []bson.Raw{programtest.RetrieverDoc("ret_1", "main", "ns_1", "int_a")},
	}
	for i := range rounds {
		b.Keys = append(b.Keys, programtest.KeyDoc(fmt.Sprintf("key_%03d", i), "ret_1"))
	}
	if _, err := engine.Import(t.Context(), b, document.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	service := &apikey.Service{Store: engine}
	for i := range rounds {
		raceOn(t, engine, service, apikey.ID(fmt.Sprintf("key_%03d", i)))
	}
}

func raceOn(t *testing.T, engine store.Engine, service *apikey.Service, id apikey.ID) {
	t.Helper()
	const together = 50
	caller := apikey.NewOperator("racer", apikey.Namespace{InternalID: "int_a"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var mu sync.Mutex
	won := make(map[apikey.Action]int)
	var wg sync.WaitGroup
	for n := range together {
		wg.Go(func() {
			var action apikey.Action
			var err error
			switch n % 5 {
			case 0:
				action = apikey.KeyRevoked
				_, err = service.Revoke(ctx, caller, "ns_1", id, nil)
			case 1:
				action = apikey.KeyRotated
				_, err = service.Rotate(ctx, caller, "ns_1", id, time.Duration(n)*time.Minute, nil)
			default:
				action = apikey.KeyUpdated
				name := fmt.Sprintf("name %d", n)
				_, err = service.Update(ctx, caller, "ns_1", id, apikey.Settings{Name: apikey.Given(&name)})
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won[action]++
			case action == apikey.KeyRevoked || apikey.Classify(err).Code != apikey.Conflict:
				t.Errorf("%s: %v", action, err)
			}
		})
	}
	wg.Wait()

	keys, err := engine.CurrentKeys(t.Context(), "int_a", id)
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	key := keys[0]
	events, err := engine.EventPage(t.Context(), "int_a", apikey.EventList{Where: apikey.EventConditions{About: &id}, Limit: apikey.MaxPage})
	if err != nil {
		t.Fatal(err)
	}
	recorded := make(map[apikey.Action]int)
	for _, e := range events {
		recorded[e.Action]++
	}
	if won[apikey.KeyRevoked] != together/5 || recorded[apikey.KeyRevoked] != 1 || won[apikey.KeyRotated] > 1 ||
		recorded[apikey.KeyRotated] != won[apikey.KeyRotated] || recorded[apikey.KeyUpdated] != won[apikey.KeyUpdated] {
		t.Errorf("%s: got %v successful changes, %v in the events", id, won, recorded)
	}
	if key.Status = key.StatusAt(time.Now()); key.Status != apikey.Revoked || key.Revision != int64(len(events)) {
		t.Errorf("%s: %s at revision %d after %d events", id, key.Status, key.Revision, len(events))
	}
	checkHistory(t, &key, events)
	if key.RotatedTo != nil {
		successors, err := engine.CurrentKeys(t.Context(), "int_a", *key.RotatedTo)
		if err != nil || len(successors) != 1 || successors[0].StatusAt(time.Now()) != apikey.Active {
			t.Errorf("%s: successors %v, %v", id, successors, err)
		}
	}
}

// checkHistory follows the key's name through its events, from the original name to the current one. Events of the same millisecond are in no
// particular order, so each is found by the name before the change.
func checkHistory(t *testing.T, key *apikey.Key, events []apikey.Event) {
	t.Helper()
	next := map[string]string{}
	for _, e := range events {
		for _, c := range e.Changes {
			if c.Field == "name" {
				if _, twice := next[*c.Before]; twice {
					t.Errorf("%s: two events have the name %q before the change", key.ID, *c.Before)
				}
				next[*c.Before] = *c.After
			}
		}
	}
	name := "Name of " + string(key.ID)
	for range len(next) {
		name = next[name]
	}
	if name != key.Name {
		t.Errorf("%s: the events end with the name %q, but the key has %q", key.ID, name, key.Name)
	}
}
