// Package mongodbtest provides a MongoDB deployment for tests.
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

// IsFerretDB reports whether the tests run on FerretDB v1 instead of the deployment in TEST_MONGODB_URI. Every
// exception for FerretDB v1 in a test calls it. These are all of them:
//
//   - Its updates are not atomic. The proxy runs writes one at a time (Proxy), races use one connection (OneAtATime), and
//     keys whose revocation a test watches were used just now, so that no use is stored at the same time.
//   - It refuses a list in a list. The conformance suite stores a number instead (onFerretDB).
//   - It reads every document for every query. Property tests, races, benchmarks and the soak test use fewer documents
//     (Fewer).
//   - It has no unique indexes under concurrency, no plans, no read concerns and no collations. Tests of these use the proxy's answers.
func IsFerretDB() bool { return deployment() == "" }

// Fewer returns many, or few on FerretDB v1, which reads every document for every query.
func Fewer(many, few int) int {
	if IsFerretDB() {
		return few
	}
	return many
}

// OneAtATime returns the URI options with which clients do not race on FerretDB v1, which is atomic only for one client
// with one connection. For every other deployment it returns none.
func OneAtATime() []string {
	if IsFerretDB() {
		return []string{"maxPoolSize=1"}
	}
	return nil
}

// Start returns the URI of the deployment in TEST_MONGODB_URI, or else of a FerretDB that it builds and starts on a
// loopback port. stop ends that server and removes its data.
func Start(ctx context.Context) (uri string, stop func(), err error) {
	if !IsFerretDB() {
		return deployment(), func() {}, nil
	}
	dir, err := os.MkdirTemp("", "ferretdb")
	if err != nil {
		return "", nil, err
	}
	// go run caches the linked program. The program exits when its standard input ends, even if this process crashes.
	_, here, _, _ := runtime.Caller(0)
	module := filepath.Join(filepath.Dir(here), "..", "testdata", "ferretdb")
	server := exec.CommandContext(ctx, "go", "run", "-C", module, ".", "-dir", dir) //nolint:gosec // our own directories
	server.Stderr = os.Stderr
	server.Env = append(server.Environ(), "GOGC=800") // it allocates every document for every query
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
