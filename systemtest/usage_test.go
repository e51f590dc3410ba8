package systemtest

import (
	"database/sql"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
	"retrieverkeys/store/mongodb/mongodbtest"
)

// answers has what gateways were answered about keys. It is the model of usage.
type answers struct {
	mu sync.Mutex
	of map[string]apikey.Answers // by key
}

// ask asks a server and counts its answer, if it counts.
func (a *answers) ask(s *programtest.Server, key, path string) int {
	status := atTheGate(s, path, key).Status
	a.mu.Lock()
	defer a.mu.Unlock()
	switch status {
	case http.StatusOK:
		a.of[key] = a.of[key].Plus(apikey.Answers{Allowed: 1})
	case http.StatusForbidden, http.StatusTooManyRequests:
		a.of[key] = a.of[key].Plus(apikey.Answers{Refused: 1})
	}
	return status
}

// usageOf returns what a server shows of keys.
func usageOf(s *programtest.Server, caller string, keys ...string) map[string]apikey.Answers {
	s.T.Helper()
	got := s.Query(caller, "", `query($ids: [ID!]!) { nodes(ids: $ids) { ... on ApiKey { keyId usage { allowed refused days { date allowed refused } } } } }`, programtest.Fields{"ids": keys})
	var body struct {
		Data struct {
			Nodes []*struct {
				KeyID string
				Usage struct {
					apikey.Answers
					Days []struct {
						Date string
						apikey.Answers
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(got.Body), &body); err != nil || strings.Contains(got.Body, `"errors"`) {
		s.T.Fatalf("%v in %s", err, got.Body)
	}
	shown := map[string]apikey.Answers{}
	for _, n := range body.Data.Nodes {
		if n == nil {
			continue
		}
		shown[n.KeyID] = n.Usage.Answers
		var sum apikey.Answers
		for _, d := range n.Usage.Days {
			sum = sum.Plus(d.Answers)
		}
		if sum != n.Usage.Answers || len(n.Usage.Days) != apikey.UsageDays {
			s.T.Errorf("%s: %d days with %+v, in all %+v", n.KeyID, len(n.Usage.Days), sum, n.Usage.Answers)
		}
	}
	return shown
}

// lostBy returns how many answers the server says that it lost.
func lostBy(s *programtest.Server) (lost int64) {
	for _, reason := range []string{"full", "unknown"} {
		line := s.Metric(`retrieverkeys_usage_lost_total{reason="` + reason + `"}`)
		n, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			s.T.Fatalf("%v in %q", err, line)
		}
		lost += int64(n)
	}
	return lost
}

func total(of map[string]apikey.Answers) (n int64) {
	for _, a := range of {
		n += a.Allowed + a.Refused
	}
	return n
}

// Three processes share a store and answer random requests, while processes stop and start, and the store fails. Usage shows at most what was
// answered about each key. All that is missing was counted as lost, or was in the memory of a process that was killed.
func TestUsageIsTrue(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		limited := programtest.KeyDoc("key_limited", "ret_main", programtest.Fields{"rate_limit_override": int32(20)})
		foreign := programtest.KeyDoc("key_abroad", "ret_b", programtest.Fields{"key_id": "key_tie_a", "internal_id": "int_b", "organization_id": "org_b"})
		programtest.Insert(t, programtest.Seeded(t, d), document.Batch{Keys: []bson.Raw{limited, foreign}})
		var servers [3]*programtest.Server
		model := answers{of: map[string]apikey.Answers{}}
		env, fail := d.Env, func(during func()) { locked(t, d, during) }
		if d.Name == "mongodb" {
			proxy, through := programtest.ThroughProxy(t, d, "serverSelectionTimeoutMS=200")
			proxy.Start()
			var once sync.Once
			env, fail = through, func(during func()) {
				once.Do(func() { // a write that certainly fails is repeated
					proxy.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
						if command == "update" {
							return mongodbtest.Refusing(13) // Unauthorized
						}
						return nil
					})
					model.ask(servers[0], "key_full", gatedPath)
					servers[0].Stderr.Await("usage could not be stored", servers[0].Ended)
					proxy.On(nil)
				})
				proxy.Stop()
				during()
				proxy.Start()
			}
		}
		env["ADMIN_ADDR"], env["AUTH_FAILURES_PER_MINUTE"] = "127.0.0.1:0", "0"
		for i := range servers {
			servers[i] = programtest.Serve(t, env)
			programtest.AwaitReady(t, servers[i])
		}
		random := rand.New(rand.NewPCG(1, uint64(len(d.Name))))
		keys := []string{"key_tie_a", "key_tie_b", "key_full", "key_limited", "key_revoked", "key_nowhere"}
		paths := []string{gatedPath, gatedPath, gatedPath, "/v1/retrievers/ret_stage/authorize", "/v1/retrievers/ret_b/authorize"}
		some := func(n int) {
			var asking sync.WaitGroup
			for range 4 {
				seed := random.Uint64()
				asking.Go(func() {
					random := rand.New(rand.NewPCG(seed, 0))
					for range n / 4 {
						model.ask(servers[random.IntN(3)], keys[random.IntN(len(keys))], paths[random.IntN(len(paths))])
					}
				})
			}
			asking.Wait()
		}
		lost, requests := int64(0), mongodbtest.Fewer(2000, 160)
		if d.Name == "embedded" {
			requests = 2000
		}
		for round := range 3 {
			some(requests)
			fail(func() { some(requests / 20) })
			some(requests / 4) // also brings a process back that has seen the failure
			i := round % 3
			lost += lostBy(servers[i])
			if code := servers[i].Stop(); code != 0 {
				t.Fatalf("exit code %d", code)
			}
			servers[i] = programtest.Serve(t, env)
			programtest.AwaitReady(t, servers[i])
		}
		own := env["ADMIN_ADDR"]
		delete(env, "ADMIN_ADDR")
		killed := programtest.StartProcess(t, env)
		programtest.AwaitReady(t, killed.Server)
		env["ADMIN_ADDR"] = own
		before := total(model.of)
		for range 50 {
			model.ask(killed.Server, "key_full", gatedPath)
		}
		killed.Signal(os.Kill)
		_ = killed.Cmd.Wait()
		atRisk := total(model.of) - before
		for _, s := range servers {
			lost += lostBy(s)
			s.Stop()
		}
		s := programtest.Serve(t, env)
		programtest.AwaitReady(t, s)
		shown := usageOf(s, "admin", keys...)
		for key, got := range shown {
			if want := model.of[key]; got.Allowed > want.Allowed || got.Refused > want.Refused {
				t.Errorf("%s: got %+v, more than was answered: %+v", key, got, want)
			}
		}
		missing := total(model.of) - total(shown)
		t.Logf("%d answers, %d not shown, %d lost, %d at risk", total(model.of), missing, lost, atRisk)
		if missing > lost+atRisk || d.Name == "embedded" && lost > 0 {
			t.Errorf("%d answers are missing, but only %d were lost and %d at risk", missing, lost, atRisk)
		}
		if key := "key_tie_a"; shown[key].Allowed == 0 || shown[key].Refused == 0 || shown["key_limited"].Refused == 0 || shown["key_revoked"] != (apikey.Answers{}) {
			t.Errorf("got %+v", shown)
		}
		if foreign, visible := usageOf(s, "foreign", "key_tie_a")["key_tie_a"]; !visible || foreign != (apikey.Answers{}) {
			t.Errorf("another organization's key with the same id shows %+v, %t", foreign, visible)
		}
	})
}

// locked runs something while another process has locked the embedded store.
func locked(t *testing.T, d programtest.Deployment, during func()) {
	t.Helper()
	path, _ := d.Env["EMBEDDED_PATH"].(string)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // nothing was written
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(t.Context(), "PRAGMA busy_timeout = 10000; BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	during()
	if _, err := db.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
}

// Whatever happens to the writes of usage, gateways are answered as before. A request that waited for a write that hangs would never end.
func TestFaultsOfUsageReachNoRequest(t *testing.T) {
	for name, fault := range map[string]func(hang <-chan struct{}) *mongodbtest.Fault{
		"hangs":   func(hang <-chan struct{}) *mongodbtest.Fault { <-hang; return &mongodbtest.Fault{} },
		"breaks":  func(<-chan struct{}) *mongodbtest.Fault { return &mongodbtest.Fault{} },
		"refuses": func(<-chan struct{}) *mongodbtest.Fault { return mongodbtest.Refusing(13) },
		"fails":   func(<-chan struct{}) *mongodbtest.Fault { return mongodbtest.Refusing(1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := programtest.Seeded(t, programtest.OnMongoDB(t))
			proxy, env := programtest.ThroughProxy(t, d)
			proxy.Start()
			env["ADMIN_ADDR"] = "127.0.0.1:0"
			s := programtest.Serve(t, env)
			programtest.AwaitReady(t, s)
			hang, tried := make(chan struct{}), make(chan struct{})
			var once sync.Once
			var lifted atomic.Bool
			proxy.On(func(command string, doc bson.Raw) *mongodbtest.Fault {
				if command != "update" || doc.Lookup("update").StringValue() != document.Usage || lifted.Load() {
					return nil
				}
				once.Do(func() { close(tried) })
				return fault(hang)
			})
			model := answers{of: map[string]apikey.Answers{}}
			ask := func() {
				for range 20 {
					if status := model.ask(s, "key_tie_a", gatedPath); status != http.StatusOK {
						t.Errorf("got %d", status)
					}
				}
			}
			ask()
			select {
			case <-tried:
			case <-time.After(programtest.MaxWait):
				t.Fatal("usage was not written")
			}
			ask()
			lifted.Store(true)
			close(hang)
			ask()
			for began := time.Now(); ; { // until everything is stored or lost
				shown, lost := usageOf(s, "admin", "key_tie_a")["key_tie_a"].Allowed, lostBy(s)
				if shown+lost == model.of["key_tie_a"].Allowed {
					break
				}
				if time.Since(began) > programtest.MaxWait {
					t.Fatalf("%d answers are shown and %d are lost, of %d", shown, lost, model.of["key_tie_a"].Allowed)
				}
			}
		})
	}
}

// Days that are too old are deleted when a server runs, and no others.
func TestOldUsageIsDeleted(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		programtest.Seeded(t, d)
		engine := d.Open(t)
		today := apikey.DayOf(time.Now())
		var days []apikey.KeyDay
		for age := range apikey.Day(20) {
			days = append(days, apikey.KeyDay{InternalID: "int_a", ID: "key_tie_a", Day: today - age, Answers: apikey.Answers{Allowed: 1}})
		}
		if _, err := engine.AddAnswers(t.Context(), days); err != nil {
			t.Fatal(err)
		}
		if err := engine.Close(); err != nil {
			t.Fatal(err)
		}
		d.Env["USAGE_RETENTION_DAYS"] = "9"
		s := programtest.Serve(t, d.Env)
		for began := time.Now(); ; {
			got := usageOf(s, "admin", "key_tie_a")["key_tie_a"].Allowed
			if got == 10 {
				break
			}
			if got < 10 || time.Since(began) > programtest.MaxWait {
				t.Fatalf("got %d days, want 10", got)
			}
		}
	})
}
