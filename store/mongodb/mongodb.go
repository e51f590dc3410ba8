// Package mongodb is the engine on MongoDB: a single server, a replica set or a sharded cluster.
package mongodb

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"retrieverkeys/store"
	"retrieverkeys/store/document"
)

// Store is a database of a MongoDB deployment. It is safe for concurrent use.
type Store struct {
	client *mongo.Client
	logger *slog.Logger

	// primary is the database as the primary has it. A secondary that lags behind must not decide who can authenticate,
	// nor what is stored already. The collections below are read with the URI's read preference.
	primary                      *database
	namespaces, retrievers, keys collection
	fresh                        collection // api_keys as the primary has them
	events                       collection // read from the primary: an audit trail must not lag behind
	usage                        collection
	noUpdates                    sync.Once  // logs that the user may not update events
	arrived                      collection // the events as the feed reads them: at once, even if they are not on a majority of the members yet
	deletions                    collection // of events

	settler *settler
	left    leftovers
	pending indexName // of pendingIndex
	ending  indexName // of endIndex
	sweep   sweep
	scan    atomic.Bool // the next sweep scans all keys, because the index of pending events cannot be built

	margin time.Duration    // feedMargin, which tests change
	clock  func() time.Time // time.Now, which tests change

	explains atomic.Pointer[bool] // explainsTruly, once it was asked

	building sync.Mutex      // one caller builds indexes at a time
	begun    map[string]bool // the builds that this process started and has not seen the end of
	collated sync.Once       // warns once about collections that have a collation
}

var _ store.Engine = (*Store)(nil)

// Open opens a database. An empty name means the one in the URI's path, or else "retrieverkeys". Open checks the URI
// and connects in the background, so a deployment that is down now is used when it comes up. No error contains the
// URI's password.
func Open(uri, database string, logger *slog.Logger, with ...Option) (*Store, error) {
	return open(uri, database, logger, func(o *options.ClientOptions) {
		for _, option := range with {
			option(o)
		}
	})
}

func open(uri, database string, logger *slog.Logger, configure func(*options.ClientOptions)) (*Store, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	o, inPath, err := parse(uri, logger)
	if err != nil {
		return nil, fmt.Errorf("the MongoDB URI %w", err)
	}
	database = cmp.Or(database, inPath, defaultName)
	if err := checkName(database); err != nil {
		return nil, err
	}
	configure(o)
	client, err := mongo.Connect(o)
	if err != nil {
		return nil, fmt.Errorf("the MongoDB URI %w", badOptions(o, err))
	}
	db := reading(client.Database(database), cmp.Or(o.ReadPreference, readpref.Primary()), o.ReadConcern)
	asPrimary := options.Database().SetReadPreference(readpref.Primary()).SetWriteConcern(majority(o.WriteConcern))
	primary := reading(client.Database(database, asPrimary), readpref.Primary(), o.ReadConcern)
	latest := reading(client.Database(database, asPrimary), readpref.Primary(), readconcern.Local())
	s := &Store{
		client:     client,
		logger:     logger,
		settler:    &settler{logger: logger, recheck: recheckAfter},
		begun:      map[string]bool{},
		primary:    primary,
		fresh:      primary.Collection(document.Keys),
		events:     primary.Collection(document.Events),
		arrived:    latest.Collection(document.Events),
		deletions:  latest.Collection(document.Deletions),
		margin:     feedMargin,
		clock:      time.Now,
		namespaces: db.Collection(document.Namespaces),
		retrievers: db.Collection(document.Retrievers),
		keys:       db.Collection(document.Keys),
		usage:      db.Collection(document.Usage),
	}
	s.settler.settle = s.FinishAll
	s.settler.start()
	return s, nil
}

// WithServerAPI declares a version of the Stable API with every command, as some deployments require. An empty version declares none.
func WithServerAPI(version string) Option {
	return func(o *options.ClientOptions) {
		if version != "" {
			o.SetServerAPIOptions(options.ServerAPI(options.ServerAPIVersion(version)))
		}
	}
}

// majority returns the write concern of all writes. It keeps journal=true of the URI's own concern, which asks for
// more.
func majority(uris *writeconcern.WriteConcern) *writeconcern.WriteConcern {
	w := writeconcern.Majority()
	if uris != nil && uris.Journal != nil && *uris.Journal {
		w.Journal = uris.Journal
	}
	return w
}

// Prepare builds the missing indexes, which can take hours, and stops when the context ends. Then it finishes what
// other processes left unfinished. Errors are temporary: the caller calls again.
func (s *Store) Prepare(ctx context.Context) error {
	if err := s.EnsureIndexes(ctx); err != nil {
		return err
	}
	if name, err := s.lookForPending(ctx); err == nil && name == "" {
		s.scan.Store(true)
	}
	s.settler.once(ctx)
	return nil
}

// Ping returns nil if the primary answers now. Other members do not count, because authentication needs the primary.
func (s *Store) Ping(ctx context.Context) error {
	return failure(s.client.Ping(ctx, readpref.Primary()))
}

// Close closes all connections. It gives running reads up to 5 seconds.
func (s *Store) Close() error {
	s.settler.close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) //nolint:forbidigo // no caller's context exists here
	defer cancel()
	return failure(s.client.Disconnect(ctx))
}
