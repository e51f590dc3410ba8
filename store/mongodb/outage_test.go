package mongodb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/auth"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// Reads that take part in every request.
var reads = map[string]func(context.Context, *Store) error{
	"KeysByHash": func(ctx context.Context, s *Store) error { _, err := s.KeysByHash(ctx, "hash"); return err },
	"Namespaces": func(ctx context.Context, s *Store) error {
		_, err := s.Namespaces(ctx, "int_1", []string{"ns_1"})
		return err
	},
	"KeyPages": func(ctx context.Context, s *Store) error {
		_, err := s.KeyPages(ctx, "int_1", []apikey.RetrieverID{"ret_1", "ret_2"}, apikey.KeyRange{Limit: 10})
		return err
	},
	"CountKeys": func(ctx context.Context, s *Store) error {
		_, err := s.CountKeys(ctx, "int_1", "ret_1", time.Now())
		return err
	},
	"Ping": func(ctx context.Context, s *Store) error { return s.Ping(ctx) },
}

// wantUnavailable fails the test unless every read says that the store cannot be reached, and says it in time.
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

// eventually fails the test unless every read succeeds before long.
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

// A deployment that is down when the process starts, goes down later and comes up again is an outage in between and
// nothing worse: no restart is needed.
func TestDownAndUp(t *testing.T) {
	p, uri := proxied(t)
	s, _ := opened(t, uri)
	wantUnavailable(t, s, 300*time.Millisecond)
	if err := s.EnsureIndexes(shortly(t)); apikey.Classify(err).Code != apikey.Unavailable {
		t.Errorf("EnsureIndexes: %v, want %s", err, apikey.Unavailable)
	}
	p.start()
	eventually(t, s)
	p.stop()
	wantUnavailable(t, s, 300*time.Millisecond)
	p.start()
	eventually(t, s)
}

// Without a deadline of the caller, a server that cannot be found is told within the selection's own.
func TestSelectionTimeout(t *testing.T) {
	_, uri := proxied(t)
	s, _ := opened(t, uri+"&serverSelectionTimeoutMS=100")
	if err := s.Ping(t.Context()); apikey.Classify(err).Code != apikey.Unavailable {
		t.Errorf("Ping: %v, want %s", err, apikey.Unavailable)
	}
}

// What a server says when it is no primary any more, shuts down, is busy or does not let us in is an outage, and
// over when it says otherwise.
func TestServerRefuses(t *testing.T) {
	p, uri := proxied(t)
	p.start()
	for _, code := range []int{codeUnauthorized, 10107, 91, 50} {
		s, _ := opened(t, uri)
		p.on(func(command string, _ bson.Raw) *fault {
			if command == "find" {
				return refusing(code)
			}
			return nil
		})
		_, err := s.KeysByHash(t.Context(), "hash")
		if got := apikey.Classify(err); got.Code != apikey.Unavailable {
			t.Errorf("code %d: %v, want %s", code, err, apikey.Unavailable)
		}
		p.on(nil)
		eventually(t, s)
	}
}

// Errors are told by their types, codes and labels, however they are wrapped.
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

// A query that the server takes for wrong is our fault and no outage, and the caller learns nothing of it.
func TestServerFindsFault(t *testing.T) {
	p, uri := proxied(t)
	p.start()
	s, _ := opened(t, uri)
	p.on(func(command string, _ bson.Raw) *fault {
		if command == "find" {
			return refusing(2) // BadValue
		}
		return nil
	})
	_, err := s.KeysByHash(t.Context(), "hash")
	if got := apikey.Classify(err); got.Code != apikey.Internal || strings.Contains(got.Message, "refused") {
		t.Errorf("KeysByHash: %v (%v), want %s", err, got, apikey.Internal)
	}
}

// One broken connection is not even noticed: the driver asks again.
func TestConnectionBreaks(t *testing.T) {
	p, uri := proxied(t)
	p.start()
	s, _ := opened(t, uri)
	eventually(t, s)
	broken := false
	p.on(func(command string, _ bson.Raw) *fault {
		if command != "find" || broken {
			return nil
		}
		broken = true
		return &fault{}
	})
	if _, err := s.Namespaces(t.Context(), "int_1", []string{"ns_1"}); err != nil {
		t.Error(err)
	}
	if !broken {
		t.Error("the connection did not break")
	}
}

// A server that does not answer ends with the request's deadline, and the connection is not lost to the others.
func TestServerHangs(t *testing.T) {
	p, uri := proxied(t)
	p.start()
	s, _ := opened(t, uri+"&maxPoolSize=1")
	eventually(t, s)
	hang := make(chan struct{})
	p.on(func(command string, _ bson.Raw) *fault {
		if slices.Contains([]string{"find", "aggregate", "ping"}, command) {
			<-hang
			return &fault{}
		}
		return nil
	})
	wantUnavailable(t, s, 100*time.Millisecond)
	p.on(nil)
	close(hang)
	eventually(t, s)
}

// After Close, what is still asked is an outage, as of any store that is not there.
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

// Authentication asks the primary, wherever the URI sends reads: a secondary may not have heard of a revocation yet. So do
// changes, and readers of the trail, which looks for events in two places, one after the other.
func TestAuthenticationAsksPrimary(t *testing.T) {
	members := make([]*proxy, 2)
	asked := make([]chan string, 2)
	for i := range members {
		members[i], _ = proxied(t)
		asked[i] = make(chan string, 100)
	}
	for i, p := range members {
		hello := bson.D{
			{Key: "ok", Value: 1.0}, {Key: "helloOk", Value: true}, {Key: "maxWireVersion", Value: int32(21)}, {Key: "minWireVersion", Value: int32(0)},
			{Key: "setName", Value: "rs"}, {Key: "hosts", Value: bson.A{members[0].addr, members[1].addr}}, {Key: "me", Value: p.addr},
			{Key: "isWritablePrimary", Value: i == 0}, {Key: "ismaster", Value: i == 0}, {Key: "secondary", Value: i == 1},
			{Key: "maxBsonObjectSize", Value: int32(16 << 20)}, {Key: "maxMessageSizeBytes", Value: int32(48_000_000)}, {Key: "maxWriteBatchSize", Value: int32(100_000)},
		}
		p.on(func(command string, doc bson.Raw) *fault {
			switch command {
			case "hello", "isMaster", "ismaster":
				return &fault{hello}
			case "find":
				collection, _ := doc.Lookup("find").StringValueOK()
				asked[i] <- collection
			}
			return nil
		})
		p.start()
	}
	s, _ := opened(t, "mongodb://"+members[0].addr+","+members[1].addr+"/?replicaSet=rs&readPreference=secondary")
	for _, c := range []struct {
		name   string
		member int
		asks   string
		read   func() error
	}{
		{"KeysByHash", 0, document.Keys, func() error { _, err := s.KeysByHash(t.Context(), "hash"); return err }},
		{"CurrentKeys", 0, document.Keys, func() error { _, err := s.CurrentKeys(t.Context(), "int_1", "key_1"); return err }},
		{"EventPage", 0, document.Events, func() error {
			_, err := s.EventPage(t.Context(), "int_1", "ret_1", apikey.EventRange{Limit: 1})
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
			t.Errorf("%s asks member %d for %v, and the other %d times", c.name, c.member, collections, other)
		}
	}
}

func shortly(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}
