package mongodb

import (
	"bytes"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
	"retrieverkeys/store/document"
	"retrieverkeys/store/mongodb/mongodbtest"
	"retrieverkeys/store/storetest"
)

// testURI is the URI of the tests' deployment.
var testURI string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	uri, stop, err := mongodbtest.Start(context.Background())
	if err != nil {
		return failed(err)
	}
	defer stop()
	testURI = uri
	if mongodbtest.IsFerretDB() {
		// FerretDB reads every document for every query, so it gets fewer checks than a real deployment. -rapid.checks
		// overrides both.
		if err := flag.Set("rapid.checks", "10"); err != nil {
			return failed(err)
		}
	}
	code := m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		return failed(err)
	}
	return code
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// opened returns a store on a database of its own, and a witness of what it does. The store is closed when the test
// ends.
func opened(t testing.TB, uri string) (*Store, *witness) {
	t.Helper()
	w := &witness{}
	logger := slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return openedOn(t, uri, "test_"+strings.ToLower(rand.Text()), logger, w.started), w
}

// openedOn returns a store on a database, which is closed when the test ends. It calls started for each command.
func openedOn(t testing.TB, uri, database string, logger *slog.Logger, started func(context.Context, *event.CommandStartedEvent)) *Store {
	t.Helper()
	s, err := open(uri, database, logger, func(o *options.ClientOptions) {
		o.Monitor = &event.CommandMonitor{Started: started}
	})
	if err != nil {
		t.Fatal(err)
	}
	looksEvery(s, time.Hour) // tests of the search itself set it to 0
	s.margin = 0             // for writes one after the other, on one server
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// looksEvery sets how often reads look for unfinished changes, starting now.
func looksEvery(s *Store, d time.Duration) {
	s.settler.mu.Lock()
	defer s.settler.mu.Unlock()
	s.settler.recheck, s.settler.last = d, time.Now()
}

// settled waits until the settler has nothing to do, which must be soon.
func settled(t testing.TB, s *Store) {
	t.Helper()
	for began := time.Now(); ; {
		s.settler.once(t.Context())
		if !s.settler.failing() {
			return
		}
		if time.Since(began) > 20*time.Second {
			t.Fatal("the settler still has something to do")
		}
	}
}

// dropped is opened with a database that is dropped when the test ends.
func dropped(t testing.TB, uri string) (*Store, *witness) {
	t.Helper()
	s, w := opened(t, uri)
	t.Cleanup(func() {
		if err := s.primary.Drop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s, w
}

// indexed is dropped on the tests' deployment, with the indexes built.
func indexed(t testing.TB) (*Store, *witness) {
	t.Helper()
	s, w := dropped(t, testURI)
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.take()
	return s, w
}

// witness records the commands and the warnings of a store.
type witness struct {
	mu       sync.Mutex
	commands []bson.Raw
	log      buffer
}

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *buffer) Len() int { return len(b.String()) }

func (b *buffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b.Reset()
}

func (w *witness) started(_ context.Context, e *event.CommandStartedEvent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.commands = append(w.commands, bytes.Clone(e.Command))
}

// take returns the commands since the last call.
func (w *witness) take() []bson.Raw {
	w.mu.Lock()
	defer w.mu.Unlock()
	commands := w.commands
	w.commands = nil
	return commands
}

// The command `indexes` must explain every query of the suite. Otherwise a query could scan a collection, and no
// operator would find out.
func TestEngine(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Engine {
		s, w := indexed(t)
		s.margin = feedMargin / 8 // writes at the same time become visible after their stamps
		t.Cleanup(func() {
			for _, command := range w.take() {
				isExplained(t, command)
			}
		})
		if mongodbtest.IsFerretDB() {
			return onFerretDB{s}
		}
		return s
	})
}

// onFerretDB is a store on FerretDB, which refuses nested lists. No field of this server has one, so a number in its
// place means the same.
type onFerretDB struct{ *Store }

// oneAtATime is for its updates, which are not atomic.
var oneAtATime sync.Mutex

func (s onFerretDB) AddAnswers(ctx context.Context, days []apikey.KeyDay) (apikey.NotAdded, error) {
	oneAtATime.Lock()
	defer oneAtATime.Unlock()
	return s.Store.AddAnswers(ctx, days)
}

func (s onFerretDB) Import(ctx context.Context, from document.Source, o document.ImportOptions) (document.Imported, error) {
	return s.Store.Import(ctx, unnested{from}, o)
}

type unnested struct{ document.Source }

func (u unnested) Read(ctx context.Context, f func(document.Part) error) error {
	return u.Source.Read(ctx, func(p document.Part) error {
		p.Documents = slices.Clone(p.Documents)
		for i, doc := range p.Documents {
			var d bson.D
			if err := bson.Unmarshal(doc, &d); err != nil {
				return err
			}
			for _, e := range d {
				list, _ := e.Value.(bson.A)
				for j, item := range list {
					if _, nested := item.(bson.A); nested {
						list[j] = int32(0)
					}
				}
			}
			var err error
			if p.Documents[i], err = bson.Marshal(d); err != nil {
				return err
			}
		}
		return f(p)
	})
}

// ofRetriever is the list of a retriever's first events.
func ofRetriever(id apikey.RetrieverID, limit int) apikey.EventList {
	return apikey.EventList{Where: apikey.EventConditions{Naming: []apikey.RetrieverID{id}}, Limit: limit}
}

// about is ofRetriever for the events about a key, or all of them if the key is empty.
func about(key apikey.ID, limit int) apikey.EventList {
	l := ofRetriever("ret_1", limit)
	if key != "" {
		l.Where.About = &key
	}
	return l
}
