package programtest

import (
	"context"
	"fmt"
	"os"
	"testing"

	"retrieverkeys/store/mongodb/mongodbtest"
)

// MongoURI is the connection string of the tests' MongoDB deployment.
var MongoURI string

var binaryDir string // the folder for Binary

// Main is the TestMain of a package that uses programtest. It starts a MongoDB deployment for the tests.
func Main(m *testing.M) {
	uri, stop, err := mongodbtest.Start(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	MongoURI = uri
	if binaryDir, err = os.MkdirTemp("", "retrieverkeys"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	stop()
	_ = os.RemoveAll(binaryDir)
	os.Exit(code)
}
