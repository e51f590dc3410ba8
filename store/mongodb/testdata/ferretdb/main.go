// Command ferretdb is a throw-away MongoDB for tests: FerretDB, which speaks MongoDB's wire protocol, over SQLite.
//
//	ferretdb -dir DIR [-addr 127.0.0.1:0]
//
// It keeps its data in DIR, an existing directory, and prints its URI as the one line on standard output as soon as
// clients may connect. It exits when its standard input ends, so that it never outlives the test that started it, or
// on SIGTERM. It logs nothing: failing to start is the one thing it reports, on standard error.
//
// It is a module of its own to keep FerretDB's many requirements out of the product's go.mod.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	dir := flag.String("dir", "", "existing `directory` that keeps the data (required)")
	addr := flag.String("addr", "127.0.0.1:0", "`address` to listen on; port 0 picks a free one")
	flag.Parse()

	server, err := listen(*dir, *addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "ferretdb:", err)
		os.Exit(1)
	}
	go server.Run(context.Background())
	fmt.Println(server.MongoDBURI())

	// Wait for whoever started this process to be done with it. There is nothing to shut down: committed writes are in
	// SQLite's log already, whereas FerretDB's own shutdown gives every open connection three seconds to leave.
	io.Copy(io.Discard, os.Stdin)
}

// listen starts a FerretDB on addr that keeps its data in dir. Clients may connect from now on; its Run answers them.
func listen(dir, addr string) (*ferretdb.FerretDB, error) {
	if dir == "" {
		return nil, errors.New("-dir is required")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	return ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: addr},
		Logger:    slog.New(slog.DiscardHandler),
		Handler:   "sqlite",
		SQLiteURL: "file:" + filepath.ToSlash(dir) + "/",
	})
}
