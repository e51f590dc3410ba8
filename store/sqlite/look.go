package sqlite

import (
	"database/sql/driver"
	"sync"
	"sync/atomic"

	"go.mongodb.org/mongo-driver/v2/bson"
	"modernc.org/sqlite"

	"retrieverkeys/apikey"
)

// The SQL function look(n, document) calls a Go function with a document where it lies in SQLite's memory. The driver copies each document that a
// statement returns. A search that looks at a million of them would keep the garbage collector busy, and all other requests would wait for it.
func init() {
	sqlite.MustRegisterFunction("look", &sqlite.FunctionImpl{NArgs: 2, VolatileArgs: true, Scalar: look})
}

// looks has the Go functions that look can call, by number.
var (
	looks    sync.Map
	lastLook atomic.Int64
)

// looking lets look call f until end is called. It returns the number for its first argument. The document is valid only during the call.
func looking(f func(doc bson.Raw) bool) (n int64, end func()) {
	n = lastLook.Add(1)
	looks.Store(n, f)
	return n, func() { looks.Delete(n) }
}

func look(_ *sqlite.FunctionContext, args []driver.Value) (result driver.Value, err error) {
	defer apikey.CatchPanic(&err) // a panic must not leave SQLite's frames
	f, _ := looks.Load(args[0])
	doc, _ := args[1].([]byte)
	return f.(func(bson.Raw) bool)(doc), nil //nolint:errcheck // a number without a function is a panic, and so an error
}
