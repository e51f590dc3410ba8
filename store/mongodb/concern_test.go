package mongodb

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
	"retrieverkeys/store/mongodb/mongodbtest"
)

// Changes must be written with majority, whatever the URI's write concern is. The URI can only add that they are in the
// journal.
func TestWriteConcern(t *testing.T) {
	for option, want := range map[string]string{
		"":                              `{"w": "majority"}`,
		"&journal=true":                 `{"w": "majority","j": true}`,
		"&w=1&journal=true":             `{"w": "majority","j": true}`,
		"&w=1":                          `{"w": "majority"}`,
		"&journal=false":                `{"w": "majority"}`,
		"&w=majority&wtimeoutMS=100":    `{"w": "majority"}`,
		"&readConcernLevel=majority":    `{"w": "majority"}`,
		"&readPreference=secondary&w=3": `{"w": "majority"}`,
	} {
		p, uri := mongodbtest.NewProxy(t, testURI)
		p.Start()
		s, w := opened(t, uri+option)
		p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
			if isWrite(command) {
				return mongodbtest.Refusing(codeUnauthorized) // the deployment can refuse the concern
			}
			return nil
		})
		_ = s.InsertKey(t.Context(), crashKey("key_1"), crashEvent("evt_1"))
		_, _ = s.ChangeKey(t.Context(), apikey.Change{Key: crashKey("key_1"), Fields: apikey.FieldName, Events: []apikey.Event{crashEvent("evt_1")}})
		_ = s.InsertEvent(t.Context(), crashEvent("evt_1"))
		_ = s.UseKeys(t.Context(), []apikey.Use{{InternalID: "int_1", ID: "key_1", Hash: "hash", At: time.Now()}})
		commands := w.take()
		if len(commands) != 5 { // the event is inserted without its arrival when the update is refused
			t.Errorf("%s: sent %v", option, names(commands))
		}
		for _, c := range commands {
			if got := c.Lookup("writeConcern").String(); got != want {
				t.Errorf("%s: %s with %s, want %s", option, c.Index(0).Key(), got, want)
			}
		}
	}
}

// A deployment that requires the Stable API refuses every command without a version.
func TestServerAPI(t *testing.T) {
	for version, want := range map[string]string{"1": `"1"`, "": ""} {
		p, uri := mongodbtest.NewProxy(t, testURI)
		var unnamed, named atomic.Int64
		p.On(func(_ string, doc bson.Raw) *mongodbtest.Fault {
			if doc.Lookup("apiVersion").String() == want {
				named.Add(1)
			} else {
				unnamed.Add(1)
			}
			return nil
		})
		p.Start()
		s, err := Open(uri, "", nil, WithServerAPI(version))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = s.KeysByHash(t.Context(), "hash") // the deployment can refuse the version
		_ = s.EnsureIndexes(t.Context())
		_ = s.Ping(t.Context())
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if unnamed.Load() > 0 || named.Load() == 0 {
			t.Errorf("version %q: %d commands with it, %d without", version, named.Load(), unnamed.Load())
		}
	}
}

// Without a primary nobody can authenticate, so the deployment is not ready, even if its other members answer.
func TestReadinessAsksThePrimary(t *testing.T) {
	var primary atomic.Int64
	members, uri := mongodbtest.NewReplicaSet(t, testURI, func() int { return int(primary.Load()) }, func(int, string, bson.Raw) *mongodbtest.Fault { return nil })
	for _, p := range members {
		p.Start()
	}
	primary.Store(-1)
	s, _ := opened(t, uri+"&serverSelectionTimeoutMS=200&readPreference=secondaryPreferred")
	if _, err := s.Namespaces(t.Context(), "int_1", []string{"ns_1"}); err != nil {
		t.Errorf("a read that any member may answer: %v", err)
	}
	if err := s.Ping(t.Context()); apikey.Classify(err).Code != apikey.Unavailable {
		t.Errorf("Ping without a primary: %v, want %s", err, apikey.Unavailable)
	}
	primary.Store(1)
	for began := time.Now(); s.Ping(t.Context()) != nil; {
		if time.Since(began) > 30*time.Second {
			t.Fatal("the store does not become ready")
		}
	}
}

// If a setting or an option of the URI can help, the log must name it. Clients must not see it.
func TestAdvice(t *testing.T) {
	for code, want := range map[int32]string{301: "retryWrites=false", 20: "retryWrites=false", 498870: "MONGODB_SERVER_API", 322: "MONGODB_SERVER_API", 18: "authSource", 8000: "authSource", 10107: "replicaSet", 121: ""} {
		for _, cause := range []error{
			mongo.CommandError{Code: code, Message: "the server's words"},
			mongo.BulkWriteException{WriteErrors: []mongo.BulkWriteError{{WriteError: mongo.WriteError{Code: int(code), Message: "the server's words"}}}},
		} {
			err := failure(cause)
			classified := apikey.Classify(err)
			text := errors.Unwrap(classified).Error()
			if !strings.Contains(text, want) || want == "" && strings.Contains(text, "(") && strings.Contains(text, "MONGODB") {
				t.Errorf("code %d: the log has %q, want %q", code, text, want)
			}
			if strings.Contains(classified.Message, "MONGODB") {
				t.Errorf("code %d: clients see %q", code, classified.Message)
			}
			if !hasCode(err, int(code)) {
				t.Errorf("code %d is lost", code)
			}
		}
	}
}

// A temporary error must not be blamed on a document: the operator runs the import again, as after any outage. A
// document that the server never accepts must be named.
func TestImportTellsOutagesFromFaults(t *testing.T) {
	for code, passes := range map[int]bool{112: true, 46: true, 117: true, 13388: true, 14031: true, 11600: true, 10107: true, 16500: true, 121: false, 10334: false, 11000: false} {
		p, uri := mongodbtest.NewProxy(t, testURI)
		p.Start()
		s, _ := dropped(t, uri)
		p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
			if command != "insert" {
				return nil
			}
			return &mongodbtest.Fault{Answer: bson.D{{Key: "ok", Value: 1.0}, {Key: "n", Value: int32(1)}, {Key: "writeErrors", Value: bson.A{
				bson.D{{Key: "index", Value: int32(1)}, {Key: "code", Value: int32(code)}, {Key: "errmsg", Value: "refused by the test"}},
			}}}}
		})
		_, err := s.Import(t.Context(), manyKeys(2), document.ImportOptions{})
		problems, isFault := errors.AsType[document.Problems](err)
		if passes && (isFault || apikey.Classify(err).Code != apikey.Unavailable || !strings.Contains(err.Error(), "Run the import again")) {
			t.Errorf("code %d: %v, want an outage", code, err)
		}
		if !passes && (problems.Len() != 1 || problems.First[0].List != document.Keys || problems.First[0].Index != 1) {
			t.Errorf("code %d: %v, want a problem of the document", code, err)
		}
	}
}

// With a collation, MongoDB can match another hash. Such a key must not authenticate.
func TestHashesAreComparedByteByByte(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, _ := dropped(t, uri)
	p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
		if command != "find" {
			return nil
		}
		return &mongodbtest.Fault{Answer: bson.D{{Key: "ok", Value: 1.0}, {Key: "cursor", Value: bson.D{
			{Key: "id", Value: int64(0)}, {Key: "ns", Value: "d.api_keys"}, {Key: "firstBatch", Value: bson.A{newKey(crashKey("key_1"))}},
		}}}}
	})
	if keys, err := s.KeysByHash(t.Context(), crashKey("key_1").Hash); err != nil || len(keys) != 1 {
		t.Errorf("KeysByHash = %v, %v", keys, err)
	}
	if keys, err := s.KeysByHash(t.Context(), strings.ToUpper(crashKey("key_1").Hash)); err != nil || len(keys) != 0 {
		t.Errorf("KeysByHash of another hash = %v, %v", keys, err)
	}
}
