// Command ferretdb is a throw-away MongoDB for tests: FerretDB, which speaks MongoDB's wire protocol, over SQLite.
//
//	ferretdb -dir DIR [-addr 127.0.0.1:0]
//
// It keeps its data in DIR, an existing directory, and prints its URI as the one line on standard output as soon as
// clients may connect. It exits when its standard input ends, so that it never outlives the test that started it, or
// on SIGTERM. It logs nothing; only a failure to start is reported, on standard error.
//
// It is a module of its own so that FerretDB's many requirements never meet the product's.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"

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

	// Wait until whoever started this process is done with it, then just leave: every acknowledged write is in a file
	// already, whereas FerretDB's own shutdown grants each open connection three seconds.
	io.Copy(io.Discard, os.Stdin)
}

// listen returns a FerretDB that listens on addr and keeps its data in dir. Its Run answers the clients.
func listen(dir, addr string) (*ferretdb.FerretDB, error) {
	// From inside, the directory is "./": its name may hold what a URI cannot, as those of t.TempDir do.
	if err := os.Chdir(dir); err != nil {
		return nil, err
	}
	return ferretdb.New(&ferretdb.Config{
		Listener: ferretdb.ListenerConfig{TCP: addr},
		Logger:   slog.New(slog.DiscardHandler),
		Handler:  "sqlite",
		// Nothing here need survive a power cut, so no write waits for the disk.
		SQLiteURL: "file:./?_pragma=synchronous(off)",
	})
}
