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

// names are the commands' names, in order.
func names(commands []bson.Raw) []string {
	var list []string
	for _, c := range commands {
		list = append(list, c.Index(0).Key())
	}
	return list
}

// The indexes are made once. A second start, or another process, leaves them and whatever else there is.
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
	if diff := cmp.Diff(map[string]int{"listIndexes": 4, "createIndexes": len(indexes) - 1}, sent); diff != "" {
		t.Errorf("the first time sent (-want +got)\n%s", diff)
	}
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(names(w.take()), " "); got != "listIndexes listIndexes listIndexes listIndexes" {
		t.Errorf("the second time sent %s", got)
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
		"namespaces _id_": false, "namespaces ours": false, "namespaces internal_id_1_namespace_id_1": true,
		"namespaces internal_id_1_namespace_name_1_namespace_id_1": false,
		"api_keys pending_events.audit_id_1_internal_id_1":         false,
		"namespaces namespace_id_1":                                false, "namespaces namespace_name_1": false,
		"audit_events _id_": false, "audit_events internal_id_1_audit_id_1": true,
		"audit_events internal_id_1_retriever_ids_1_timestamp_-1_audit_id_-1":               false,
		"audit_events internal_id_1_retriever_ids_1_resource_id_1_timestamp_-1_audit_id_-1": false,
		"retrievers _id_": false, "retrievers internal_id_1_retriever_id_1": true,
		"retrievers internal_id_1_namespace_id_1_retriever_name_1_retriever_id_1": false,
	}
	if diff := cmp.Diff(want, unique); diff != "" {
		t.Errorf("indexes and whether they are unique: (-want +got)\n%s", diff)
	}
}

// Two documents with one hash existed before the index. Everything else still works: both are returned, so that authentication refuses,
// and the log says so at every start.
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
	if got := strings.Join(names(w.take()), " "); got != "listIndexes listIndexes listIndexes listIndexes" {
		t.Errorf("the second time sent %s", got)
	}
	if got := w.log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "not unique") {
		t.Errorf("the second time logged %s", got)
	}
	found, err := s.KeysByHash(t.Context(), "same")
	if err != nil || len(found) != 2 {
		t.Errorf("KeysByHash = %+v, %v, want both", found, err)
	}
}

// A document that carries a key's hash makes the key ambiguous even if it has no usable id itself.
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
}

// A sharded collection allows no unique index that does not begin with its shard key. A plain one does.
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
	if err != nil || len(specs) != 5 {
		t.Errorf("there are %d indexes of keys, %v", len(specs), err)
	}
}

// A user who may only read can still serve. The log says so once, not for every index.
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

// An index that no form of is allowed is missed, and no more.
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

// A deployment that is lost in between is an outage: the caller tries again.
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

// Indexes are built in the order of need, without a deadline on the server, whatever the URI and the caller say. At a deadline, the
// server would discard the build, and the next attempt would start from the beginning.
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
			t.Errorf("it has a deadline: %s", command)
		}
		if all, err := command.Lookup("indexes").Array().Values(); err != nil || len(all) != 1 {
			t.Errorf("it makes several at a time: %s", command)
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
		"audit_events internal_id_1_retriever_ids_1_resource_id_1_timestamp_-1_audit_id_-1",
		"namespaces organization_name_1", "namespaces namespace_id_1", "namespaces namespace_name_1", // commands
	}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// The log says when each build begins and ends, because an operator who sees a busy primary must find the reason.
func TestBuildsAreTold(t *testing.T) {
	var log bytes.Buffer
	s := openedOn(t, testURI, "test_"+strings.ToLower(rand.Text()), slog.New(slog.NewTextHandler(&log, nil)), func(context.Context, *event.CommandStartedEvent) {})
	t.Cleanup(func() { _ = s.primary.Drop(context.Background()) })
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"an index is being made", "an index was made"} {
		if n := strings.Count(log.String(), line); n != len(indexes) {
			t.Errorf("%d times %q, want %d", n, line, len(indexes))
		}
	}
}

// A process can stop while an index is being built: the server continues the build.
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

// A build whose answer is lost goes on. It is waited for by asking for the same index again, and the others are made after it.
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
	again := 0
	for _, command := range w.take() {
		if command.Index(0).Key() == "createIndexes" && command.Lookup("indexes", "0", "key", "key_hash").Type != 0 {
			again++
		}
	}
	if again != 1 {
		t.Errorf("the build was asked for %d times again, want once", again)
	}
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(names(w.take()), " "); got != "listIndexes listIndexes listIndexes listIndexes" {
		t.Errorf("then it sent %s", got)
	}
}

// uniqueness reports whether an index of keys is unique, or "" if it does not exist.
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

// An index that is plain once stays so: two documents with one hash could come in for ever after. So only what says that the documents
// clash or that the deployment cannot makes it plain; everything else, known here or not, is tried again.
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
			t.Errorf("code %d: the server's words are logged: %s", code, &w.log)
		}
		if got := uniqueness(t, s, "key_hash_1"); got != want {
			t.Errorf("code %d: the index is %q, want %q", code, got, want)
		}
		// What stands in the way of one index does not keep back the others, but for a server that is not there.
		if got := uniqueness(t, s, "internal_id_1_key_id_1"); !hasCode(mongo.CommandError{Code: int32(code)}, outageCodes...) && got != "unique" {
			t.Errorf("code %d: the next index is %q", code, got)
		}
		p.On(nil)
		if err := s.EnsureIndexes(t.Context()); err != nil {
			t.Error(err)
		}
		if got := uniqueness(t, s, "key_hash_1"); want == "" && got != "unique" {
			t.Errorf("code %d: when it has passed the index is %q", code, got)
		}
	}
}

// Where a server says no more than that it failed, documents that clash tell why.
func TestClashesAreFound(t *testing.T) {
	s, _ := dropped(t, testURI)
	hash, id := indexes[0], indexes[6]
	insert(t, s, document.Keys, bson.D{{Key: "internal_id", Value: "int_1"}, {Key: "key_id", Value: "key_1"}, {Key: "key_hash", Value: "a"}})
	insert(t, s, document.Keys, bson.D{{Key: "internal_id", Value: "int_2"}, {Key: "key_id", Value: "key_1"}, {Key: "key_hash", Value: "b"}})
	if s.clash(t.Context(), hash) || s.clash(t.Context(), id) {
		t.Error("documents that differ clash")
	}
	insert(t, s, document.Keys, bson.D{{Key: "internal_id", Value: "int_3"}, {Key: "key_id", Value: "key_1"}, {Key: "key_hash", Value: "a"}})
	if !s.clash(t.Context(), hash) || s.clash(t.Context(), id) {
		t.Error("one hash twice does not clash, or an id does that has two tenants")
	}
}

// An index with the right fields may be of no use: a sparse or partial one leaves documents out, a hidden one is not asked, one of another
// collation has another order, and one that expires deletes keys. To take it for ours would be a scan for every request, and nobody would be
// told.
func TestIndexesWithOtherOptions(t *testing.T) {
	listed := func(more ...bson.E) bson.D {
		return append(bson.D{{Key: "v", Value: int32(2)}, {Key: "key", Value: bson.D{{Key: "key_hash", Value: 1.0}}}, {Key: "name", Value: "theirs"}}, more...)
	}
	unique := bson.E{Key: "unique", Value: true}
	hide := bson.E{Key: "hidden", Value: true}
	for _, c := range []struct {
		name    string
		index   bson.D
		made    string   // the name of the one that is made beside it; empty: none
		refused int      // the server's answer to that
		told    []string // one line each, or none
	}{
		{"ours", listed(unique), "", 0, nil},
		{"ours, options off", listed(unique, bson.E{Key: "sparse", Value: false}, bson.E{Key: "hidden", Value: int32(0)}, bson.E{Key: "collation", Value: bson.D{{Key: "locale", Value: "simple"}}}), "", 0, nil},
		{"not unique", listed(), "", 0, []string{"name=theirs"}},
		{"sparse", listed(unique, bson.E{Key: "sparse", Value: true}), "key_hash_1", 0, []string{`options=sparse do="db.api_keys.dropIndex(\"theirs\"), and start again"`}},
		{"sparse, by a number", listed(unique, bson.E{Key: "sparse", Value: int32(1)}), "key_hash_1", 0, []string{"options=sparse"}},
		{"partial", listed(unique, bson.E{Key: "partialFilterExpression", Value: bson.D{{Key: "status", Value: "active"}}}), "key_hash_1", 0, []string{"options=partialFilterExpression"}},
		{"collated", listed(unique, bson.E{Key: "collation", Value: bson.D{{Key: "locale", Value: "en"}, {Key: "strength", Value: int32(2)}}}), "key_hash_1", 0, []string{"options=collation"}},
		{"expiring", listed(unique, bson.E{Key: "expireAfterSeconds", Value: int32(0)}), "key_hash_1", 85, []string{"options=expireAfterSeconds", "unique", "without it reading is slow"}},
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
			if len(lines) != len(c.told) {
				t.Fatalf("logged\n%s", &w.log)
			}
			for i, want := range c.told {
				if !strings.Contains(lines[i], want) {
					t.Errorf("logged %s, want %s", lines[i], want)
				}
			}
		})
	}
}

// A unique index where a plain one is due refuses what is right: the second namespace of an organization, say.
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

// In a collection with a collation of its own, ids that differ in case are the same to the server. Its indexes have it too, and are ours all the
// same: with another one they would not answer the queries.
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
