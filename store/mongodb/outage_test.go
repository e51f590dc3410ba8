package mongodb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/auth"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
	"retrieverkeys/store/mongodb/mongodbtest"
)

// These reads are part of every request.
var reads = map[string]func(context.Context, *Store) error{
	"KeysByHash": func(ctx context.Context, s *Store) error { _, err := s.KeysByHash(ctx, "hash"); return err },
	"Namespaces": func(ctx context.Context, s *Store) error {
		_, err := s.Namespaces(ctx, "int_1", []string{"ns_1"})
		return err
	},
	"KeyPages": func(ctx context.Context, s *Store) error {
		_, err := s.KeyPages(ctx, "int_1", []apikey.RetrieverID{"ret_1", "ret_2"}, apikey.KeyList{Limit: 10})
		return err
	},
	"CountKeys": func(ctx context.Context, s *Store) error {
		_, err := s.CountKeys(ctx, "int_1", apikey.ActiveKeys(time.Now()).Of("ret_1"))
		return err
	},
	"Ping": func(ctx context.Context, s *Store) error { return s.Ping(ctx) },
}

// wantUnavailable fails the test unless every read returns Unavailable within the time limit.
func wantUnavailable(t *testing.T, s *Store, within time.Duration) {
	t.Helper()
	for name, read := range reads {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		began := time.Now()
		err := read(ctx, s)
		cancel()
		if got := apikey.Classify(err); err == nil || got.Code != apikey.Unavailable {
			t.Errorf("%s: %v, want %s", name, err, apikey.Unavailable)
		}
		if took := time.Since(began); took > within+2*time.Second {
			t.Errorf("%s took %v of %v", name, took, within)
		}
	}
}

// eventually fails the test unless every read succeeds soon.
func eventually(t *testing.T, s *Store) {
	t.Helper()
	for name, read := range reads {
		deadline := time.Now().Add(20 * time.Second)
		for {
			err := read(t.Context(), s)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

// A deployment that is down at the start, or goes down later, must be an outage until it is up again, without a
// restart.
func TestDownAndUp(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	s, _ := opened(t, uri)
	wantUnavailable(t, s, 300*time.Millisecond)
	if err := s.EnsureIndexes(shortly(t)); apikey.Classify(err).Code != apikey.Unavailable {
		t.Errorf("EnsureIndexes: %v, want %s", err, apikey.Unavailable)
	}
	p.Start()
	eventually(t, s)
	p.Stop()
	wantUnavailable(t, s, 300*time.Millisecond)
	p.Start()
	eventually(t, s)
}

// Without a deadline of the caller, the search for a server must end after serverSelectionTimeoutMS.
func TestSelectionTimeout(t *testing.T) {
	_, uri := mongodbtest.NewProxy(t, testURI)
	s, _ := opened(t, uri+"&serverSelectionTimeoutMS=100")
	if err := s.Ping(t.Context()); apikey.Classify(err).Code != apikey.Unavailable {
		t.Errorf("Ping: %v, want %s", err, apikey.Unavailable)
	}
}

// If a server is no longer the primary, shuts down, is busy or refuses the user, it must be an outage, which ends when
// the server answers otherwise.
func TestServerRefuses(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	for _, code := range []int{codeUnauthorized, 10107, 91, 50} {
		s, _ := opened(t, uri)
		p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
			if command == "find" {
				return mongodbtest.Refusing(code)
			}
			return nil
		})
		_, err := s.KeysByHash(t.Context(), "hash")
		if got := apikey.Classify(err); got.Code != apikey.Unavailable {
			t.Errorf("code %d: %v, want %s", code, err, apikey.Unavailable)
		}
		p.On(nil)
		eventually(t, s)
	}
}

// Errors must be classified by their types, codes and labels, even if they are wrapped.
func TestFailure(t *testing.T) {
	outages := []error{
		context.Canceled, context.DeadlineExceeded, mongo.ErrClientDisconnected,
		topology.ServerSelectionError{}, topology.ConnectionError{}, topology.ErrPoolClosed, topology.WaitQueueTimeoutError{},
		&auth.Error{}, mongo.CommandError{Labels: []string{driver.NetworkError}},
		mongo.BulkWriteException{WriteConcernError: &mongo.WriteConcernError{Code: 64}},
	}
	for _, code := range outageCodes {
		outages = append(outages, mongo.CommandError{Code: int32(code)})
	}
	for _, cause := range outages {
		err := failure(fmt.Errorf("wrapped: %w", cause))
		if got := apikey.Classify(err); got.Code != apikey.Unavailable || errors.Unwrap(got) == nil {
			t.Errorf("failure(%#v) = %v, want %s with a cause", cause, err, apikey.Unavailable)
		}
	}
	for _, cause := range []error{
		errors.New("no connection"), mongo.ErrNoDocuments, mongo.CommandError{Code: 2, Message: "not primary"},
		mongo.BulkWriteException{WriteErrors: []mongo.BulkWriteError{{WriteError: mongo.WriteError{Code: codeDuplicateKey}}}},
	} {
		if got := apikey.Classify(failure(cause)); got.Code != apikey.Internal {
			t.Errorf("failure(%#v) is %s, want %s", cause, got.Code, apikey.Internal)
		}
	}
	if err := failure(nil); err != nil {
		t.Errorf("failure(nil) = %v", err)
	}
}

// A query that the server rejects is a bug and not an outage, and the caller must learn nothing of it.
func TestServerFindsFault(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, _ := opened(t, uri)
	p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
		if command == "find" {
			return mongodbtest.Refusing(2) // BadValue
		}
		return nil
	})
	_, err := s.KeysByHash(t.Context(), "hash")
	if got := apikey.Classify(err); got.Code != apikey.Internal || strings.Contains(got.Message, "refused") {
		t.Errorf("KeysByHash: %v (%v), want %s", err, got, apikey.Internal)
	}
}

// One broken connection must go unnoticed, because the driver retries.
func TestConnectionBreaks(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, _ := opened(t, uri)
	eventually(t, s)
	broken := false
	p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
		if command != "find" || broken {
			return nil
		}
		broken = true
		return &mongodbtest.Fault{}
	})
	if _, err := s.Namespaces(t.Context(), "int_1", []string{"ns_1"}); err != nil {
		t.Error(err)
	}
	if !broken {
		t.Error("the connection did not break")
	}
}

// While a server is overloaded, or reports that another one does not answer, each call must be tried exactly twice. The
// driver would retry until the request ends, without a pause.
func TestNoStormOfRetries(t *testing.T) {
	var asked atomic.Int64
	refuse := mongodbtest.Refusing(6) // HostUnreachable, for example of a shard
	refuse.Answer = append(refuse.Answer, bson.E{Key: "errorLabels", Value: bson.A{driver.RetryableWriteError}})
	members, uri := mongodbtest.NewReplicaSet(t, testURI, func() int { return 0 }, func(_ int, command string, _ bson.Raw) *mongodbtest.Fault {
		if slices.Contains([]string{"find", "aggregate", "insert", "update", "findAndModify"}, command) {
			asked.Add(1)
			return refuse
		}
		return nil
	})
	members[0].Start()
	s, _ := opened(t, uri)
	unfinished, err := document.Set(newKey(crashKey("key_1")), bson.D{{Key: "pending_events", Value: bson.A{document.FromEvent(crashEvent("evt_1"))}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func(ctx context.Context) error{
		"find":      func(ctx context.Context) error { _, err := s.KeysByHash(ctx, "hash"); return err },
		"count":     func(ctx context.Context) error { _, err := s.CountRetrievers(ctx, "int_1", "ns_1"); return err },
		"InsertKey": func(ctx context.Context) error { return s.InsertKey(ctx, crashKey("key_1"), crashEvent("evt_1")) },
		"ChangeKey": func(ctx context.Context) error {
			_, err := s.ChangeKey(ctx, apikey.Change{Key: crashKey("key_1"), Fields: apikey.FieldName, Events: []apikey.Event{crashEvent("evt_1")}})
			return err
		},
		"InsertEvent": func(ctx context.Context) error { return s.InsertEvent(ctx, crashEvent("evt_1")) },
		"UseKeys": func(ctx context.Context) error {
			return s.UseKeys(ctx, []apikey.Use{{InternalID: "int_1", ID: "key_1", Hash: "hash", At: time.Now()}})
		},
		"AddAnswers": func(ctx context.Context) error {
			_, err := s.AddAnswers(ctx, []apikey.KeyDay{aDay("key_1", 1, 0)})
			return err
		},
		"finish": func(ctx context.Context) error {
			_, err := s.finish(ctx, unfinished)
			return err
		},
		"Import": func(ctx context.Context) error {
			_, err := s.insert(ctx, document.Part{List: document.Keys, Documents: manyKeys(1).Keys}, []int{0})
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		asked.Store(0)
		if err := call(ctx); apikey.Classify(err).Code != apikey.Unavailable {
			t.Errorf("%s: %v, want %s", name, err, apikey.Unavailable)
		}
		if n := asked.Load(); n != 2 {
			t.Errorf("%s: %d commands, want 2", name, n)
		}
		cancel()
	}
}

// A call of the command line or of the background has no request that ends it. It must not wait forever for a server
// that hangs.
func TestEveryCallIsBounded(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	t.Cleanup(func(d time.Duration) func() { return func() { callTimeout = d } }(callTimeout)) // after the store is closed
	s, _ := opened(t, uri)
	eventually(t, s)
	callTimeout = 50 * time.Millisecond
	hang := make(chan struct{})
	p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
		if command != "hello" && command != "isMaster" && command != "ismaster" {
			<-hang
		}
		return nil
	})
	defer close(hang)
	for name, call := range map[string]func(ctx context.Context) error{
		"OrganizationNamespaces": func(ctx context.Context) error { _, err := s.OrganizationNamespaces(ctx, "a"); return err },
		"CountUnusable":          func(ctx context.Context) error { _, err := s.CountUnusable(ctx); return err },
		"DeleteAnswers":          func(ctx context.Context) error { _, err := s.DeleteAnswers(ctx, 1, 1); return err },
		"AnswersOf": func(ctx context.Context) error {
			_, err := s.AnswersOf(ctx, "int_1", []apikey.ID{"key_1"}, 0, 1)
			return err
		},
		"FinishAll": func(ctx context.Context) error { _, err := s.FinishAll(ctx); return err },
		"EventPage": func(ctx context.Context) error {
			_, err := s.EventPage(ctx, "int_1", ofRetriever("ret_1", 25))
			return err
		},
		"InsertKey": func(ctx context.Context) error { return s.InsertKey(ctx, crashKey("key_1"), crashEvent("evt_1")) },
		"ChangeKey": func(ctx context.Context) error {
			_, err := s.ChangeKey(ctx, apikey.Change{Key: crashKey("key_1"), Fields: apikey.FieldName, Events: []apikey.Event{crashEvent("evt_1")}})
			return err
		},
		"UseKeys": func(ctx context.Context) error {
			return s.UseKeys(ctx, []apikey.Use{{InternalID: "int_1", ID: "key_1", Hash: "hash", At: time.Now()}})
		},
		"AddAnswers": func(ctx context.Context) error {
			_, err := s.AddAnswers(ctx, []apikey.KeyDay{aDay("key_1", 1, 0)})
			return err
		},
		"Import": func(ctx context.Context) error {
			_, err := s.Import(ctx, manyKeys(1), document.ImportOptions{OnlyIfEmpty: true})
			return err
		},
		"insert": func(ctx context.Context) error {
			_, err := s.insert(ctx, document.Part{List: document.Keys, Documents: manyKeys(1).Keys}, []int{0})
			return err
		},
	} {
		if err := call(t.Context()); apikey.Classify(err).Code != apikey.Unavailable {
			t.Errorf("%s: %v, want %s", name, err, apikey.Unavailable)
		}
	}
}

// If a server does not answer, the request's deadline must end the call, and the connection must stay usable for
// others.
func TestServerHangs(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, _ := opened(t, uri+"&maxPoolSize=1")
	eventually(t, s)
	hang := make(chan struct{})
	p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
		if slices.Contains([]string{"find", "aggregate", "ping"}, command) {
			<-hang
			return &mongodbtest.Fault{}
		}
		return nil
	})
	wantUnavailable(t, s, 100*time.Millisecond)
	p.On(nil)
	close(hang)
	eventually(t, s)
}

// After Close, calls must fail as an outage.
func TestClosed(t *testing.T) {
	s, err := Open(testURI, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantUnavailable(t, s, time.Second)
}

// Authentication must read from the primary, whatever the URI's read preference is: a secondary may not have a
// revocation yet. So must changes, and readers of the trail, which look for events in two places, one after the other.
func TestAuthenticationAsksPrimary(t *testing.T) {
	var asked [2]chan string
	for i := range asked {
		asked[i] = make(chan string, 100)
	}
	members, uri := mongodbtest.NewReplicaSet(t, testURI, func() int { return 0 }, func(member int, command string, doc bson.Raw) *mongodbtest.Fault {
		if command == "find" {
			collection, _ := doc.Lookup("find").StringValueOK()
			asked[member] <- collection
		}
		return nil
	})
	for _, p := range members {
		p.Start()
	}
	s, _ := opened(t, uri+"&readPreference=secondary")
	for _, c := range []struct {
		name   string
		member int
		asks   string
		read   func() error
	}{
		{"KeysByHash", 0, document.Keys, func() error { _, err := s.KeysByHash(t.Context(), "hash"); return err }},
		{"CurrentKeys", 0, document.Keys, func() error { _, err := s.CurrentKeys(t.Context(), "int_1", "key_1"); return err }},
		{"EventPage", 0, document.Events, func() error {
			_, err := s.EventPage(t.Context(), "int_1", ofRetriever("ret_1", 1))
			return err
		}},
		{"Namespaces", 1, document.Namespaces, func() error { _, err := s.Namespaces(t.Context(), "int_1", []string{"ns_1"}); return err }},
	} {
		if err := c.read(); err != nil {
			t.Fatal(err)
		}
		collections := map[string]bool{}
		for len(asked[c.member]) > 0 {
			collections[<-asked[c.member]] = true
		}
		if other := len(asked[1-c.member]); !collections[c.asks] || other > 0 {
			t.Errorf("%s asks member %d for %v, and the other member %d times", c.name, c.member, collections, other)
		}
	}
}

func shortly(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}
