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

// IsFerretDB reports whether the tests run on FerretDB v1, and not on the deployment that TEST_MONGODB_URI names. Every exception that a test
// makes for FerretDB v1 asks this, so this list is all of them:
//
//   - Its updates are not atomic. The proxy makes writes take turns (Proxy), races use one connection (OneAtATime), and keys whose
//     revocation a test watches were used just now, so that no use is noted at the same time.
//   - It refuses a list in a list. The conformance suite stores a number instead (onFerretDB).
//   - It reads every document for every question. Property tests, races, benchmarks and the soak test use fewer documents (Fewer).
//   - It has no unique indexes under concurrency, no plans, no read concerns and no collations. Tests of these use the proxy's answers.
func IsFerretDB() bool { return deployment() == "" }

// Fewer returns many, or few on FerretDB v1, which reads every document for every question.
func Fewer(many, few int) int {
	if IsFerretDB() {
		return few
	}
	return many
}

// OneAtATime returns the options of a URI with which clients do not race on FerretDB v1, which is atomic only for one client with one
// connection. For every other deployment there are none.
func OneAtATime() []string {
	if IsFerretDB() {
		return []string{"maxPoolSize=1"}
	}
	return nil
}

// Start returns the URI of the deployment that TEST_MONGODB_URI names, or else of a FerretDB that it builds and starts
// on a loopback port. stop ends that and removes its data.
func Start(ctx context.Context) (uri string, stop func(), err error) {
	if !IsFerretDB() {
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
