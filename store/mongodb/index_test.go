package mongodb

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
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

// Two documents with one hash came in before there was an index. They cannot be told apart, and everything else
// still works: both are returned, so that authentication refuses, and the operator hears of it at every start.
func TestDuplicateHash(t *testing.T) {
	s, w := dropped(t, testURI)
	for _, id := range []string{"key_1", "key_2"} {
		insert(t, s, document.Keys, bson.D{{Key: "key_id", Value: id}, {Key: "internal_id", Value: "int_1"}, {Key: "key_hash", Value: "same"}})
	}
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err, w.log.String())
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

// A user who may only read serves all the same. The operator is told once, not for every index.
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

// A deployment that goes away in between is an outage: whoever asked asks again.
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

// insert stores a document as another program would.
func insert(t *testing.T, s *Store, collection string, doc any) {
	t.Helper()
	if _, err := s.primary.Collection(collection).InsertOne(t.Context(), doc); err != nil {
		t.Fatal(err)
	}
}
