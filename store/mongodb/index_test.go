package mongodb

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
	"retrieverkeys/store/mongodb/mongodbtest"
)

// names returns the names of the commands, in order.
func names(commands []bson.Raw) []string {
	var list []string
	for _, c := range commands {
		list = append(list, c.Index(0).Key())
	}
	return list
}

// A second start, or another process, must build no index again and must not touch others.
func TestEnsureIndexes(t *testing.T) {
	s, w := dropped(t, testURI)
	other := mongo.IndexModel{Keys: bson.D{{Key: "name", Value: 1}}}
	asDouble := mongo.IndexModel{Keys: bson.D{{Key: "organization_name", Value: 1.0}}, Options: options.Index().SetName("ours")}
	if _, err := s.primary.Collection(document.Keys).Indexes().CreateOne(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if _, err := s.primary.Collection(document.Namespaces).Indexes().CreateOne(t.Context(), asDouble); err != nil {
		t.Fatal(err)
	}
	w.take()
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	sent := map[string]int{}
	for _, name := range names(w.take()) {
		sent[name]++
	}
	if diff := cmp.Diff(map[string]int{"listIndexes": 5, "createIndexes": len(indexes) - 1}, sent); diff != "" {
		t.Errorf("the first call sent (-want +got)\n%s", diff)
	}
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(names(w.take()), " "); got != "listIndexes listIndexes listIndexes listIndexes listIndexes" {
		t.Errorf("the second call sent %s", got)
	}
	if w.log.Len() > 0 {
		t.Errorf("logged %s", &w.log)
	}
	unique := map[string]bool{}
	for _, collection := range []string{document.Namespaces, document.Retrievers, document.Keys, document.Events} {
		specs, err := s.primary.Collection(collection).Indexes().ListSpecifications(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range specs {
			unique[collection+" "+spec.Name] = spec.Unique != nil && *spec.Unique
		}
	}
	want := map[string]bool{
		"api_keys _id_": false, "api_keys name_1": false, "api_keys key_hash_1": true, "api_keys internal_id_1_key_id_1": true,
		"api_keys internal_id_1_scopes.resource_id_1_created_at_-1_key_id_-1": false,
		"api_keys internal_id_1_created_at_-1_key_id_-1":                      false, "api_keys internal_id_1_expires_at_-1_key_id_-1": false,
		"api_keys internal_id_1_created_by_1_created_at_-1_key_id_-1": false,
		"api_keys expires_at_1_key_id_1_internal_id_1":                false,
		"namespaces _id_": false, "namespaces ours": false, "namespaces internal_id_1_namespace_id_1": true,
		"namespaces internal_id_1_namespace_name_1_namespace_id_1": false,
		"api_keys pending_events.audit_id_1_internal_id_1":         false,
		"namespaces namespace_id_1":                                false, "namespaces namespace_name_1": false,
		"audit_events _id_": false, "audit_events internal_id_1_audit_id_1": true, "audit_events internal_id_1_arrived_at_1_audit_id_1": false,
		"audit_events internal_id_1_retriever_ids_1_timestamp_-1_audit_id_-1": false,
		"audit_events internal_id_1_resource_id_1_timestamp_-1_audit_id_-1":   false,
		"audit_events internal_id_1_timestamp_-1_audit_id_-1":                 false,
		"audit_events internal_id_1_namespace_id_1_timestamp_-1_audit_id_-1":  false,
		"audit_events internal_id_1_actor_id_1_timestamp_-1_audit_id_-1":      false,
		"audit_events internal_id_1_actor_key_id_1_timestamp_-1_audit_id_-1":  false,
		"retrievers _id_": false, "retrievers internal_id_1_retriever_id_1": true,
		"retrievers internal_id_1_namespace_id_1_retriever_name_1_retriever_id_1": false,
	}
	if diff := cmp.Diff(want, unique); diff != "" {
		t.Errorf("indexes, and whether they are unique (-want +got)\n%s", diff)
	}
}

// If two documents had one hash before the index existed, everything else must still work: both are returned, so that
// authentication refuses, and the log warns at every start.
func TestDuplicateHash(t *testing.T) {
	s, w := dropped(t, testURI)
	for _, id := range []string{"key_1", "key_2"} {
		insert(t, s, document.Keys, bson.D{{Key: "key_id", Value: id}, {Key: "internal_id", Value: "int_1"}, {Key: "key_hash", Value: "same"}})
	}
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "key_hash") || !strings.Contains(got, "unique") || strings.Contains(got, "same") {
		t.Errorf("logged %s", got)
	}
	w.log.Reset()
	w.take()
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(names(w.take()), " "); got != "listIndexes listIndexes listIndexes listIndexes listIndexes" {
		t.Errorf("the second call sent %s", got)
	}
	if got := w.log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "not unique") {
		t.Errorf("the second call logged %s", got)
	}
	found, err := s.KeysByHash(t.Context(), "same")
	if err != nil || len(found) != 2 {
		t.Errorf("KeysByHash = %+v, %v, want both", found, err)
	}
	if found, err := s.KeysWithHashes(t.Context(), "int_1", []string{"same"}, 0); err != nil || len(found) != 0 {
		t.Errorf("KeysWithHashes = %+v, %v, want none", found, err)
	}
}

// A document with a key's hash makes the key ambiguous, even if the document has no usable id.
func TestDuplicateHashOfAnUnusableDocument(t *testing.T) {
	s, _ := dropped(t, testURI)
	insert(t, s, document.Keys, bson.D{{Key: "key_id", Value: "key_1"}, {Key: "internal_id", Value: "int_1"}, {Key: "key_hash", Value: "same"}})
	if found, err := s.KeysByHash(t.Context(), "same"); err != nil || len(found) != 1 {
		t.Fatalf("KeysByHash = %+v, %v, want the key", found, err)
	}
	insert(t, s, document.Keys, bson.D{{Key: "_id", Value: int32(42)}, {Key: "internal_id", Value: "int_1"}, {Key: "key_hash", Value: "same"}})
	if found, err := s.KeysByHash(t.Context(), "same"); err != nil || len(found) != 0 {
		t.Errorf("KeysByHash = %+v, %v, want none", found, err)
	}
	if found, err := s.KeysWithHashes(t.Context(), "int_1", []string{"same"}, 0); err != nil || len(found) != 0 {
		t.Errorf("KeysWithHashes = %+v, %v, want none", found, err)
	}
}

// A sharded collection refuses a unique index that does not begin with its shard key. It must get a plain one.
func TestShardedCluster(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, w := dropped(t, uri)
	p.On(func(command string, doc bson.Raw) *mongodbtest.Fault {
		if unique, _ := doc.Lookup("indexes", "0", "unique").BooleanOK(); command == "createIndexes" && unique && doc.Lookup("indexes", "0", "key", "key_hash").Type != 0 {
			return mongodbtest.Refusing(67) // CannotCreateIndex
		}
		return nil
	})
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "refuses a unique index") {
		t.Errorf("logged %s", got)
	}
	specs, err := s.primary.Collection(document.Keys).Indexes().ListSpecifications(t.Context())
	if err != nil || len(specs) != 9 {
		t.Errorf("api_keys has %d indexes, %v", len(specs), err)
	}
}

// A user who may only read must still be able to serve. The log must say so once, not once per index.
func TestNoRightToMakeIndexes(t *testing.T) {
	for _, denied := range []string{"createIndexes", "listIndexes"} {
		p, uri := mongodbtest.NewProxy(t, testURI)
		p.Start()
		s, w := dropped(t, uri)
		insert(t, s, document.Keys, bson.D{{Key: "key_id", Value: "key_1"}, {Key: "internal_id", Value: "int_1"}, {Key: "key_hash", Value: "hash"}})
		p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
			if command == denied {
				return mongodbtest.Refusing(codeUnauthorized)
			}
			return nil
		})
		if err := s.EnsureIndexes(t.Context()); err != nil {
			t.Error(err)
		}
		if got := w.log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "may not") {
			t.Errorf("%s: logged %s", denied, got)
		}
		if found, err := s.KeysByHash(t.Context(), "hash"); err != nil || len(found) != 1 || found[0].ID != apikey.ID("key_1") {
			t.Errorf("%s: KeysByHash = %+v, %v", denied, found, err)
		}
	}
}

// If the server refuses an index in every form, only that index must be missing.
func TestIndexRefused(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, w := dropped(t, uri)
	p.On(func(command string, doc bson.Raw) *mongodbtest.Fault {
		if command == "createIndexes" && doc.Lookup("indexes", "0", "key", "scopes.resource_id").Type != 0 {
			return mongodbtest.Refusing(171) // CannotIndexParallelArrays
		}
		return nil
	})
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "scopes.resource_id") {
		t.Errorf("logged %s", got)
	}
}

// An outage during the builds must be returned as such, so that the caller tries again.
func TestIndexOutage(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, _ := dropped(t, uri)
	p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
		if command == "createIndexes" {
			return mongodbtest.Refusing(11600) // InterruptedAtShutdown
		}
		return nil
	})
	if err := s.EnsureIndexes(t.Context()); apikey.Classify(err).Code != apikey.Unavailable {
		t.Errorf("EnsureIndexes: %v, want %s", err, apikey.Unavailable)
	}
	p.On(nil)
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Error(err)
	}
}

// Indexes must be built in the order of need, without a deadline on the server, whatever the URI and the caller say. At
// a deadline the server would discard the build, and the next attempt would start from the beginning.
func TestIndexesAreBuiltInOrderAndWithoutADeadline(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, w := dropped(t, uri+"&timeoutMS=60000")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.EnsureIndexes(ctx); err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, command := range w.take() {
		if command.Index(0).Key() != "createIndexes" {
			continue
		}
		if limit := command.Lookup("maxTimeMS"); limit.Type != 0 {
			t.Errorf("a command has a deadline: %s", command)
		}
		if all, err := command.Lookup("indexes").Array().Values(); err != nil || len(all) != 1 {
			t.Errorf("a command builds several indexes: %s", command)
		}
		order = append(order, command.Lookup("createIndexes").StringValue()+" "+command.Lookup("indexes", "0", "name").StringValue())
	}
	want := []string{
		"api_keys key_hash_1",                                                                                 // authentication
		"namespaces internal_id_1_namespace_id_1", "namespaces internal_id_1_namespace_name_1_namespace_id_1", // lists
		"retrievers internal_id_1_retriever_id_1", "retrievers internal_id_1_namespace_id_1_retriever_name_1_retriever_id_1",
		"api_keys internal_id_1_scopes.resource_id_1_created_at_-1_key_id_-1",
		"api_keys internal_id_1_key_id_1", // changes
		"api_keys pending_events.audit_id_1_internal_id_1",
		"audit_events internal_id_1_audit_id_1", // the trail
		"audit_events internal_id_1_retriever_ids_1_timestamp_-1_audit_id_-1",
		"audit_events internal_id_1_resource_id_1_timestamp_-1_audit_id_-1",
		"audit_events internal_id_1_arrived_at_1_audit_id_1",                                               // the feed
		"api_keys internal_id_1_created_at_-1_key_id_-1", "api_keys internal_id_1_expires_at_-1_key_id_-1", // lists of the organization
		"api_keys internal_id_1_created_by_1_created_at_-1_key_id_-1",
		"api_keys expires_at_1_key_id_1_internal_id_1", // notices
		"audit_events internal_id_1_timestamp_-1_audit_id_-1", "audit_events internal_id_1_namespace_id_1_timestamp_-1_audit_id_-1",
		"audit_events internal_id_1_actor_id_1_timestamp_-1_audit_id_-1", "audit_events internal_id_1_actor_key_id_1_timestamp_-1_audit_id_-1",
		"namespaces organization_name_1", "namespaces namespace_id_1", "namespaces namespace_name_1", // commands
		"api_key_usage internal_id_1_key_id_1_day_1", "api_key_usage day_1",
	}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// The log must say when each build begins and ends, so that an operator who sees a busy primary finds the reason.
func TestBuildsAreTold(t *testing.T) {
	var log bytes.Buffer
	s := openedOn(t, testURI, "test_"+strings.ToLower(rand.Text()), slog.New(slog.NewTextHandler(&log, nil)), func(context.Context, *event.CommandStartedEvent) {})
	t.Cleanup(func() { _ = s.primary.Drop(context.Background()) })
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"building an index", "built an index"} {
		if n := strings.Count(log.String(), line); n != len(indexes) {
			t.Errorf("logged %d times %q, want %d", n, line, len(indexes))
		}
	}
}

// A process can stop while an index is being built. The server continues the build.
func TestBuildIsLeft(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, _ := dropped(t, uri)
	building, goOn := make(chan struct{}), make(chan struct{})
	p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
		if command == "createIndexes" {
			close(building)
			<-goOn
		}
		return nil
	})
	ctx, stop := context.WithCancel(t.Context())
	go func() { <-building; stop() }()
	if err := s.EnsureIndexes(ctx); apikey.Classify(err).Code != apikey.Unavailable {
		t.Errorf("EnsureIndexes: %v, want %s", err, apikey.Unavailable)
	}
	p.On(nil)
	close(goOn)
}

// A build continues if its answer is lost. The next call must wait for it, by requesting the same index, and then build
// the others.
func TestBuildIsJoined(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, w := dropped(t, uri)
	lost := false
	p.On(func(command string, doc bson.Raw) *mongodbtest.Fault {
		if command == "createIndexes" && !lost {
			lost = true
			name := doc.Lookup("indexes", "0", "name").StringValue()
			_, err := s.primary.Collection(document.Keys).Indexes().CreateOne(t.Context(), mongo.IndexModel{Keys: bson.D{up("key_hash")}, Options: options.Index().SetName(name).SetUnique(true)})
			if err != nil {
				t.Error(err)
			}
			return &mongodbtest.Fault{}
		}
		return nil
	})
	if err := s.EnsureIndexes(t.Context()); apikey.Classify(err).Code != apikey.Unavailable {
		t.Errorf("EnsureIndexes: %v, want %s", err, apikey.Unavailable)
	}
	w.take()
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	requests := 0
	for _, command := range w.take() {
		if command.Index(0).Key() == "createIndexes" && command.Lookup("indexes", "0", "key", "key_hash").Type != 0 {
			requests++
		}
	}
	if requests != 1 {
		t.Errorf("the build was requested %d more times, want once", requests)
	}
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(names(w.take()), " "); got != "listIndexes listIndexes listIndexes listIndexes listIndexes" {
		t.Errorf("the third call sent %s", got)
	}
}

// uniqueness returns "unique" or "plain" for an index of keys, or "" if it does not exist.
func uniqueness(t *testing.T, s *Store, name string) string {
	t.Helper()
	existing, err := s.listIndexes(t.Context(), document.Keys)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range existing {
		if e.name == name {
			return map[bool]string{true: "unique", false: "plain"}[e.unique]
		}
	}
	return ""
}

// An index built plain stays plain, and two documents with one hash could then be stored at any time. So an index must
// become plain only if the documents clash or the deployment cannot build a unique one. After every other error, known
// here or not, the build must be tried again.
func TestOnlyWhatLastsMakesAnIndexPlain(t *testing.T) {
	for code, want := range map[int]string{
		11000: "plain", 11001: "plain", 67: "plain", 72: "plain", 85: "plain", 86: "plain", 115: "plain", 197: "plain", 238: "plain",
		1: "", 2: "", 6: "", 24: "", 46: "", 50: "", 112: "", 117: "", 262: "", 276: "", 371: "", 11602: "", 12587: "", 13388: "", 14031: "", 16500: "", 99999: "",
	} {
		p, uri := mongodbtest.NewProxy(t, testURI)
		p.Start()
		s, w := dropped(t, uri)
		p.On(func(command string, doc bson.Raw) *mongodbtest.Fault {
			if unique, _ := doc.Lookup("indexes", "0", "unique").BooleanOK(); command == "createIndexes" && unique && doc.Lookup("indexes", "0", "key", "key_hash").Type != 0 {
				return mongodbtest.Refusing(code)
			}
			return nil
		})
		err := s.EnsureIndexes(t.Context())
		if passes := want == ""; passes && apikey.Classify(err).Code != apikey.Unavailable || !passes && err != nil {
			t.Errorf("code %d: %v", code, err)
		}
		if strings.Contains(w.log.String(), "refused by the test") {
			t.Errorf("code %d: the server's text is logged: %s", code, &w.log)
		}
		if got := uniqueness(t, s, "key_hash_1"); got != want {
			t.Errorf("code %d: the index is %q, want %q", code, got, want)
		}
		// An error of one index must not hold back the others, unless the server is down.
		if got := uniqueness(t, s, "internal_id_1_key_id_1"); !hasCode(mongo.CommandError{Code: int32(code)}, outageCodes...) && got != "unique" {
			t.Errorf("code %d: the next index is %q", code, got)
		}
		p.On(nil)
		if err := s.EnsureIndexes(t.Context()); err != nil {
			t.Error(err)
		}
		if got := uniqueness(t, s, "key_hash_1"); want == "" && got != "unique" {
			t.Errorf("code %d: after the error has passed the index is %q", code, got)
		}
	}
}

// If a server does not say why it failed, the documents must show whether they clash.
func TestClashesAreFound(t *testing.T) {
	s, _ := dropped(t, testURI)
	hash, id := indexes[0], indexes[6]
	insert(t, s, document.Keys, bson.D{{Key: "internal_id", Value: "int_1"}, {Key: "key_id", Value: "key_1"}, {Key: "key_hash", Value: "a"}})
	insert(t, s, document.Keys, bson.D{{Key: "internal_id", Value: "int_2"}, {Key: "key_id", Value: "key_1"}, {Key: "key_hash", Value: "b"}})
	if s.clash(t.Context(), hash) || s.clash(t.Context(), id) {
		t.Error("different documents clash")
	}
	insert(t, s, document.Keys, bson.D{{Key: "internal_id", Value: "int_3"}, {Key: "key_id", Value: "key_1"}, {Key: "key_hash", Value: "a"}})
	if !s.clash(t.Context(), hash) || s.clash(t.Context(), id) {
		t.Error("got no clash of two equal hashes, or a clash of one id in two tenants")
	}
}

// An index with the right fields can be unusable: a sparse or partial one omits documents, a hidden one is not used,
// one with another collation has another order, and one that expires deletes keys. If it counted as the right one,
// every request would scan, and nobody would know.
func TestIndexesWithOtherOptions(t *testing.T) {
	listed := func(more ...bson.E) bson.D {
		return append(bson.D{{Key: "v", Value: int32(2)}, {Key: "key", Value: bson.D{{Key: "key_hash", Value: 1.0}}}, {Key: "name", Value: "theirs"}}, more...)
	}
	unique := bson.E{Key: "unique", Value: true}
	hide := bson.E{Key: "hidden", Value: true}
	for _, c := range []struct {
		name    string
		index   bson.D
		made    string   // the name of the index that is built next to it; empty: none
		refused int      // the server's error code for that; 0: none
		logged  []string // the log lines
	}{
		{"ours", listed(unique), "", 0, nil},
		{"ours, options off", listed(unique, bson.E{Key: "sparse", Value: false}, bson.E{Key: "hidden", Value: int32(0)}, bson.E{Key: "collation", Value: bson.D{{Key: "locale", Value: "simple"}}}), "", 0, nil},
		{"not unique", listed(), "", 0, []string{"name=theirs"}},
		{"sparse", listed(unique, bson.E{Key: "sparse", Value: true}), "key_hash_1", 0, []string{`options=sparse do="db.api_keys.dropIndex(\"theirs\"), then restart"`}},
		{"sparse, by a number", listed(unique, bson.E{Key: "sparse", Value: int32(1)}), "key_hash_1", 0, []string{"options=sparse"}},
		{"partial", listed(unique, bson.E{Key: "partialFilterExpression", Value: bson.D{{Key: "status", Value: "active"}}}), "key_hash_1", 0, []string{"options=partialFilterExpression"}},
		{"collated", listed(unique, bson.E{Key: "collation", Value: bson.D{{Key: "locale", Value: "en"}, {Key: "strength", Value: int32(2)}}}), "key_hash_1", 0, []string{"options=collation"}},
		{"expiring", listed(unique, bson.E{Key: "expireAfterSeconds", Value: int32(0)}), "key_hash_1", 85, []string{"options=expireAfterSeconds", "unique", "reads are slow without it"}},
		{"hidden", listed(unique, hide), "", 0, []string{`options=hidden do="db.api_keys.unhideIndex(\"theirs\")"`}},
		{"hidden and sparse", listed(unique, hide, bson.E{Key: "sparse", Value: true}), "key_hash_1", 0, []string{`options="hidden, sparse" do="db.api_keys.dropIndex`}},
		{"of our name", append(listed(unique, bson.E{Key: "sparse", Value: true})[:2], bson.E{Key: "name", Value: "key_hash_1"}, bson.E{Key: "sparse", Value: true}), "key_hash_1_retrieverkeys", 0, []string{"name=key_hash_1"}},
		{"other fields", bson.D{{Key: "key", Value: bson.D{{Key: "key_hash", Value: "hashed"}}}, {Key: "name", Value: "theirs"}}, "key_hash_1", 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, uri := mongodbtest.NewProxy(t, testURI)
			p.Start()
			s, w := dropped(t, uri)
			var made []string
			p.On(func(command string, doc bson.Raw) *mongodbtest.Fault {
				switch {
				case command == "listIndexes" && doc.Lookup("listIndexes").StringValue() == document.Keys:
					return &mongodbtest.Fault{Answer: bson.D{{Key: "ok", Value: 1.0}, {Key: "cursor", Value: bson.D{
						{Key: "id", Value: int64(0)}, {Key: "ns", Value: s.primary.Name() + ".api_keys"}, {Key: "firstBatch", Value: bson.A{c.index}},
					}}}}
				case command == "createIndexes" && doc.Lookup("indexes", "0", "key", "key_hash").Type != 0:
					made = append(made, doc.Lookup("indexes", "0", "name").StringValue())
					if c.refused > 0 {
						return mongodbtest.Refusing(c.refused)
					}
				}
				return nil
			})
			if err := s.EnsureIndexes(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(slices.Compact(made), " "); got != c.made {
				t.Errorf("made %q, want %q", got, c.made)
			}
			lines := strings.Split(strings.TrimSuffix(w.log.String(), "\n"), "\n")
			if w.log.Len() == 0 {
				lines = nil
			}
			if len(lines) != len(c.logged) {
				t.Fatalf("logged\n%s", &w.log)
			}
			for i, want := range c.logged {
				if !strings.Contains(lines[i], want) {
					t.Errorf("logged %s, want %s", lines[i], want)
				}
			}
		})
	}
}

// A unique index in place of a plain one refuses valid documents, such as the second namespace of an organization.
func TestIndexThatMustNotBeUnique(t *testing.T) {
	s, w := dropped(t, testURI)
	theirs := mongo.IndexModel{Keys: bson.D{{Key: "organization_name", Value: 1}}, Options: options.Index().SetUnique(true)}
	if _, err := s.primary.Collection(document.Namespaces).Indexes().CreateOne(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "name=organization_name_1") || !strings.Contains(got, "drop it") {
		t.Errorf("logged %s", got)
	}
}

// In a collection with a collation, the server treats ids that differ in case as equal. Its indexes have that collation
// too and must count as ours: with another one they would not answer the queries.
func TestCollectionWithACollation(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, w := dropped(t, uri)
	collation := bson.E{Key: "collation", Value: bson.D{{Key: "locale", Value: "en"}, {Key: "strength", Value: int32(2)}}}
	p.On(func(command string, doc bson.Raw) *mongodbtest.Fault {
		if command != "listIndexes" || doc.Lookup("listIndexes").StringValue() != document.Keys {
			return nil
		}
		all := bson.A{bson.D{{Key: "key", Value: bson.D{up("_id")}}, {Key: "name", Value: "_id_"}, collation}}
		for _, ix := range indexes {
			if ix.collection == document.Keys {
				all = append(all, bson.D{{Key: "key", Value: ix.keys}, {Key: "name", Value: ix.String()}, {Key: "unique", Value: ix.unique}, collation})
			}
		}
		return &mongodbtest.Fault{Answer: bson.D{{Key: "ok", Value: 1.0}, {Key: "cursor", Value: bson.D{{Key: "id", Value: int64(0)}, {Key: "ns", Value: "d.c"}, {Key: "firstBatch", Value: all}}}}}
	})
	for range 2 {
		if err := s.EnsureIndexes(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, command := range w.take() {
		if command.Index(0).Key() == "createIndexes" && command.Lookup("createIndexes").StringValue() == document.Keys {
			t.Errorf("made %s", command)
		}
	}
	if got := w.log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "collation") || !strings.Contains(got, document.Keys) {
		t.Errorf("logged %s", got)
	}
}

// insert stores a document as another program would.
func insert(t *testing.T, s *Store, collection string, doc any) {
	t.Helper()
	if _, err := s.primary.Collection(collection).InsertOne(t.Context(), doc); err != nil {
		t.Fatal(err)
	}
}
