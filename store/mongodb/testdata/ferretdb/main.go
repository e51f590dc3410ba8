// Command ferretdb is a temporary MongoDB server for tests: FerretDB on SQLite.
//
//	ferretdb -dir DIR [-addr 127.0.0.1:0]
//
// It keeps its data in DIR, an existing directory. When clients can connect, it prints its URI as the only line on
// standard output. It exits on SIGTERM, or when its standard input ends, so that it never outlives the test that
// started it. It logs nothing except a failure to start, on standard error.
//
// It has a module of its own, so that FerretDB's many dependencies are not the product's.
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

	// Wait until the process that started this one is done, and exit. Every acknowledged write is in a file already.
	// FerretDB's own shutdown would wait three seconds for each open connection.
	io.Copy(io.Discard, os.Stdin)
}

// listen returns a FerretDB that listens on addr and keeps its data in dir. Its Run serves clients.
func listen(dir, addr string) (*ferretdb.FerretDB, error) {
	// The directory is "./" here, because its name can have characters that a URI cannot, such as those of t.TempDir.
	if err := os.Chdir(dir); err != nil {
		return nil, err
	}
	return ferretdb.New(&ferretdb.Config{
		Listener: ferretdb.ListenerConfig{TCP: addr},
		Logger:   slog.New(slog.DiscardHandler),
		Handler:  "sqlite",
		// Nothing here must survive a power failure, so writes need not wait for the disk.
		SQLiteURL: "file:./?_pragma=synchronous(off)",
	})
}
