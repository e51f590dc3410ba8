package mongodb

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
	"retrieverkeys/store/mongodb/mongodbtest"
)

// manyKeys returns more keys than one command inserts.
func manyKeys(n int) document.Batch {
	var b document.Batch
	for i := range n {
		b.Keys = append(b.Keys, document.FromKey(aKey("int_1", i, named...)))
	}
	return b
}

// An outage during an import must leave a part stored and report its size. Running the import again must store the
// rest.
func TestImportInterrupted(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, _ := dropped(t, uri)
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	inserts := 0
	p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
		if command != "insert" {
			return nil
		}
		if inserts++; inserts == 2 {
			return mongodbtest.Refusing(11600) // InterruptedAtShutdown
		}
		return nil
	})
	b := manyKeys(document.MaxPart + 10)
	got, err := s.Import(t.Context(), b, document.ImportOptions{})
	failed := apikey.Classify(err)
	if failed.Code != apikey.Unavailable || !strings.Contains(failed.Message, "500 of 510") || got.Stored != document.MaxPart {
		t.Errorf("Import = %+v, %v, want an outage after %d", got, err, document.MaxPart)
	}
	if isA[*apikey.Error](errors.Unwrap(err)) {
		t.Errorf("the cause is %v, want the driver's error", errors.Unwrap(err))
	}
	p.On(nil)
	got, err = s.Import(t.Context(), b, document.ImportOptions{})
	if want := (document.Imported{Stored: 10, Existing: document.MaxPart}); err != nil || got != want {
		t.Errorf("Import = %+v, %v, want %+v", got, err, want)
	}
}

// An outage before the first write stores nothing, so the error must not speak of a part.
func TestImportNotBegun(t *testing.T) {
	_, uri := mongodbtest.NewProxy(t, testURI)
	s, _ := opened(t, uri)
	got, err := s.Import(shortly(t), manyKeys(1), document.ImportOptions{})
	if apikey.Classify(err).Code != apikey.Unavailable || strings.Contains(err.Error(), "stored") || got != (document.Imported{}) {
		t.Errorf("Import = %+v, %v", got, err)
	}
}

// Another process can store documents between the check and the write. Equal documents must count as existing, a clash
// must be reported, and all other documents must be stored.
func TestImportRace(t *testing.T) {
	s, _ := indexed(t)
	other := bson.D{{Key: "_id", Value: "taken"}, {Key: "key_id", Value: "key_other"}, {Key: "internal_id", Value: "int_1"}, {Key: "key_hash", Value: "other"}}
	b := manyKeys(3)
	clash := bson.D{{Key: "_id", Value: "taken"}, {Key: "key_id", Value: "key_new"}, {Key: "internal_id", Value: "int_1"}, {Key: "key_hash", Value: "new"}}
	raw, err := bson.Marshal(clash)
	if err != nil {
		t.Fatal(err)
	}
	b.Keys = append(b.Keys, raw)
	raced := false
	racing := openedOn(t, testURI, s.primary.Name(), nil, func(_ context.Context, e *event.CommandStartedEvent) {
		if e.CommandName == "insert" && !raced {
			raced = true
			insert(t, s, document.Keys, other)
			insert(t, s, document.Keys, b.Keys[1])
		}
	})
	got, err := racing.Import(t.Context(), b, document.ImportOptions{})
	var problems document.Problems
	if !errors.As(err, &problems) || !slices.Equal(problems.First, []document.Problem{{List: document.Keys, Index: 3, Field: "_id", Message: "belongs to another stored document"}}) {
		t.Errorf("Import: %v, want the _id's clash", err)
	}
	if want := (document.Imported{Stored: 2, Existing: 1}); got != want {
		t.Errorf("Import = %+v, want %+v", got, want)
	}
	if n, err := s.CountKeys(t.Context(), "int_1", apikey.KeyConditions{}.Of("ret_1")); err != nil || n != 3 {
		t.Errorf("CountKeys = %d, %v", n, err)
	}
}

// A command must be small however large the documents are. Otherwise an import would need the memory of 500 large
// documents, here and in MongoDB.
func TestImportCommandsAreSmall(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, _ := dropped(t, uri)
	sent := make(chan int, 100)
	p.On(func(command string, body bson.Raw) *mongodbtest.Fault {
		if command == "insert" {
			sent <- len(body)
		}
		return nil
	})
	const size, perCommand = 100 << 10, 10
	var b document.Batch
	for i := range 2*perCommand + 1 {
		k := aKey("int_1", i, named...)
		k.Description = strings.Repeat("x", size)
		b.Keys = append(b.Keys, document.FromKey(k))
	}
	if got, err := s.Import(t.Context(), b, document.ImportOptions{}); err != nil || got.Stored != b.Len() {
		t.Fatalf("Import = %+v, %v", got, err)
	}
	close(sent)
	var sizes []int
	for size := range sent {
		sizes = append(sizes, size)
	}
	if len(sizes) != 3 || slices.Max(sizes) > (perCommand+1)*size {
		t.Errorf("%d keys of %d bytes were inserted by commands of %v bytes, want three", b.Len(), size, sizes)
	}
}

// If MongoDB refuses a document, the error must name its place, whatever the reason, without MongoDB's text.
func TestImportRefused(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, _ := dropped(t, uri)
	p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
		if command != "insert" {
			return nil
		}
		return &mongodbtest.Fault{Answer: bson.D{{Key: "ok", Value: 1.0}, {Key: "n", Value: int32(1)}, {Key: "writeErrors", Value: bson.A{
			bson.D{{Key: "index", Value: int32(1)}, {Key: "code", Value: int32(121)}, {Key: "errmsg", Value: "Document failed validation: s3cr3t"}},
		}}}}
	})
	got, err := s.Import(t.Context(), manyKeys(2), document.ImportOptions{})
	var problems document.Problems
	if !errors.As(err, &problems) || problems.Len() != 1 || problems.First[0].Index != 1 || !strings.Contains(err.Error(), "121") || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("Import = %+v, %v, want the refused document", got, err)
	}
}

// Without a key_id, keys would be equal to the unique index of tenant and key_id: only one per tenant could be
// imported. So the import must give them their _id as the key_id, and change nothing else.
func TestImportWithoutKeyID(t *testing.T) {
	s, _ := indexed(t)
	objectID := bson.NewObjectID()
	docs := []bson.D{
		{{Key: "_id", Value: "legacy"}, {Key: "key_hash", Value: "1"}, {Key: "internal_id", Value: "int_1"}, {Key: "plan", Value: bson.A{int64(7)}}},
		{{Key: "_id", Value: objectID}, {Key: "key_id", Value: nil}, {Key: "key_hash", Value: "2"}, {Key: "internal_id", Value: "int_1"}},
	}
	var b document.Batch
	for _, d := range docs {
		raw, err := bson.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		b.Keys = append(b.Keys, raw)
	}
	imported(t, s, b)
	var stored bson.D
	if err := s.keys.FindOne(t.Context(), bson.D{{Key: "_id", Value: "legacy"}}).Decode(&stored); err != nil {
		t.Fatal(err)
	}
	want := append(slices.Clone(docs[0]), bson.E{Key: "key_id", Value: "legacy"})
	if diff := cmp.Diff(want, stored); diff != "" {
		t.Errorf("stored (-want +got)\n%s", diff)
	}
	ids := []apikey.ID{"legacy", apikey.ID(objectID.Hex())}
	if found, err := s.Keys(t.Context(), "int_1", ids, 0); err != nil || len(found) != 2 {
		t.Errorf("Keys = %+v, %v", found, err)
	}
	if got, err := s.Import(t.Context(), b, document.ImportOptions{}); err != nil || got.Existing != 2 {
		t.Errorf("second Import = %+v, %v", got, err)
	}
}
