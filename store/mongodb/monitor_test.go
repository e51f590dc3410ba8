package mongodb

import (
	"context"
	"crypto/rand"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"retrieverkeys/apikey"
	"retrieverkeys/store/mongodb/mongodbtest"
)

// counts adds up the calls of a Pool's functions.
type counts struct {
	mu     sync.Mutex
	sums   map[string]int
	failed map[string]int
}

func (c *counts) pool() Pool {
	c.sums, c.failed = map[string]int{}, map[string]int{}
	add := func(what string) func(int) {
		return func(change int) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.sums[what] += change
			if change > 0 {
				c.sums[what+" ever"] += change
			}
		}
	}
	return Pool{Open: add("open"), InUse: add("in use"), Waiting: add("waiting"), Failed: func(reason string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.failed[reason]++
	}}
}

func (c *counts) now() (sums, failed map[string]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.sums), maps.Clone(c.failed)
}

// The pool's counts must return to zero. A count that drifts is worse than none.
func TestThePoolIsWatched(t *testing.T) {
	var c counts
	s, err := Open(testURI, "test_"+strings.ToLower(rand.Text()), nil, WithPool(c.pool()))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := s.KeysByHash(t.Context(), "hash"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	sums, failed := c.now()
	if sums["open"] < 1 || sums["in use"] != 0 || sums["waiting"] != 0 || sums["waiting ever"] < 8 || sums["in use ever"] < 8 || len(failed) > 0 {
		t.Errorf("%v, failed %v", sums, failed)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if sums, _ := c.now(); sums["open"] != 0 || sums["open ever"] == 0 {
		t.Errorf("after Close: %v", sums)
	}
}

// An exhausted pool must look different from a slow database.
func TestAFullPoolIsTold(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	var c counts
	s, err := Open(uri+"&maxPoolSize=1", "test_"+strings.ToLower(rand.Text()), nil, WithPool(c.pool()))
	if err != nil {
		t.Fatal(err)
	}
	asked, free := make(chan struct{}), make(chan struct{})
	first := sync.OnceFunc(func() { close(asked) })
	p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
		if command == "find" {
			first()
			<-free
		}
		return nil
	})
	var holder sync.WaitGroup
	holder.Go(func() { _, _ = s.KeysByHash(t.Context(), "hash") })
	<-asked
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := s.KeysByHash(ctx, "hash"); err == nil {
		t.Error("the operation got a connection")
	}
	sums, failed := c.now()
	if failed["timeout"] != 1 || sums["waiting"] != 0 || sums["in use"] != 1 {
		t.Errorf("%v, failed %v", sums, failed)
	}
	close(free)
	holder.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// Spans of commands must name the command and the collection, and must not contain any values.
func TestSpansOfCommands(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	tracer := provider.Tracer("test")
	s, err := Open(testURI, "test_"+strings.ToLower(rand.Text()), nil, WithTracer(tracer))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if _, err := s.KeysByHash(t.Context(), "hash_of_a_secret"); err != nil { // outside of any span
		t.Fatal(err)
	}
	if ended := spans.Ended(); len(ended) > 0 {
		t.Errorf("%d spans without a parent, want none", len(ended))
	}
	ctx, parent := tracer.Start(t.Context(), "parent")
	if _, err := s.KeysByHash(ctx, "hash_of_a_secret"); err != nil {
		t.Fatal(err)
	}
	if err := s.UseKeys(ctx, []apikey.Use{{InternalID: "int_1", ID: "key_secret", Hash: "hash_of_a_secret", At: time.Now()}}); err != nil {
		t.Fatal(err)
	}
	parent.End()
	found := map[string]bool{}
	for _, span := range spans.Ended() {
		text := span.Name()
		for _, a := range span.Attributes() {
			text += " " + string(a.Key) + "=" + a.Value.AsString()
		}
		if strings.Contains(text, "secret") {
			t.Errorf("a span contains %s", text)
		}
		found[text] = true
		if span.Name() != "parent" && span.Parent().SpanID() != parent.SpanContext().SpanID() {
			t.Errorf("%s has another parent", text)
		}
	}
	for _, want := range []string{
		"mongodb find db.system.name=mongodb db.operation.name=find db.collection.name=api_keys",
		"mongodb update db.system.name=mongodb db.operation.name=update db.collection.name=api_keys",
	} {
		if !found[want] {
			t.Errorf("no span %s in %v", want, found)
		}
	}
}

func TestCollectionsOfCommands(t *testing.T) {
	for _, c := range []struct {
		name    string
		command bson.D
		want    string
	}{
		{"find", bson.D{{Key: "find", Value: "api_keys"}, {Key: "filter", Value: bson.D{{Key: "key_hash", Value: "secret"}}}}, "api_keys"},
		{"getMore", bson.D{{Key: "getMore", Value: int64(7)}, {Key: "collection", Value: "retrievers"}}, "retrievers"},
		{"ping", bson.D{{Key: "ping", Value: 1}}, ""},
	} {
		raw, err := bson.Marshal(c.command)
		if err != nil {
			t.Fatal(err)
		}
		if got := collectionOf(c.name, raw); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
