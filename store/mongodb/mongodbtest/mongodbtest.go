// Package mongodbtest gives tests a MongoDB deployment to run on.
package mongodbtest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

func deployment() string { return os.Getenv("TEST_MONGODB_URI") } //nolint:forbidigo // of tests, not of the product

// ofYours reports whether the tests run on a deployment of whoever runs them.
func ofYours() bool { return deployment() != "" }

// Start returns the URI of the deployment that TEST_MONGODB_URI names, or else of a FerretDB that it builds and starts
// on a loopback port. stop ends that and removes its data.
func Start(ctx context.Context) (uri string, stop func(), err error) {
	if ofYours() {
		return deployment(), func() {}, nil
	}
	dir, err := os.MkdirTemp("", "ferretdb")
	if err != nil {
		return "", nil, err
	}
	// go run keeps what it linked; its child ends with its standard input, whatever becomes of us.
	_, here, _, _ := runtime.Caller(0)
	module := filepath.Join(filepath.Dir(here), "..", "testdata", "ferretdb")
	server := exec.CommandContext(ctx, "go", "run", "-C", module, ".", "-dir", dir) //nolint:gosec // our own folders
	server.Stderr = os.Stderr
	server.Env = append(server.Environ(), "GOGC=800") // it makes garbage of every document for every question
	stdin, err := server.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	stdout, err := server.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := server.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = stdin.Close()
		_ = server.Wait()
		_ = os.RemoveAll(dir)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("FerretDB did not start: %w", err)
	}
	return strings.TrimSpace(line), stop, nil
}
