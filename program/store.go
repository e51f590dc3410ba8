package program

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"retrieverkeys/store"
	"retrieverkeys/store/mongodb"
	"retrieverkeys/store/sqlite"
)

// commandTimeout limits a command's calls to the store.
const commandTimeout = 30 * time.Second

// withStore calls f with the configured store. It creates no indexes, because that can take hours.
func (c *command) withStore(ctx context.Context, f func(context.Context, store.Engine) error) (err error) {
	engine, _, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	return f(ctx, engine)
}

// mustExist returns an error if the configured embedded store does not exist. If a forgotten setting led to a new, empty store instead,
// the command would report that a leaked key does not exist, or back up nothing.
func (c *command) mustExist() error {
	if c.cfg.MongoURI == "" {
		if _, err := os.Stat(c.cfg.EmbeddedPath); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("there is no store at %s: set MONGODB_URI or EMBEDDED_PATH", c.cfg.EmbeddedPath)
		}
	}
	return nil
}

// open opens the configured store. prepare creates its indexes; it returns an error while the store cannot be reached. Only serve calls
// prepare, because building indexes can take hours and other commands work without them.
func (c *command) open(ctx context.Context, with ...mongodb.Option) (engine store.Engine, prepare func(context.Context) error, err error) {
	if c.cfg.MongoURI == "" {
		engine, err = sqlite.Open(ctx, c.cfg.EmbeddedPath)
		return engine, func(context.Context) error { return nil }, err
	}
	m, err := mongodb.Open(c.cfg.MongoURI, c.cfg.MongoDatabase, c.logger, append(with, mongodb.WithServerAPI(c.cfg.MongoServerAPI))...)
	if err != nil {
		return nil, nil, err
	}
	return m, m.Prepare, nil
}

func (c *command) storeName() string {
	if c.cfg.MongoURI != "" {
		return c.engineName()
	}
	return c.cfg.EmbeddedPath
}

func (c *command) engineName() string {
	if c.cfg.MongoURI != "" {
		return "mongodb"
	}
	return "sqlite"
}

// onStore is withStore for commands that must not create an embedded store.
func (c *command) onStore(ctx context.Context, f func(context.Context, store.Engine) error) error {
	if err := c.mustExist(); err != nil {
		return err
	}
	return c.withStore(ctx, f)
}

// searchTimeout limits searches through all keys or organizations of a store.
const searchTimeout = 10 * time.Minute
