package mongodbtest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// EnginePath returns the binary of a server that tests may start and kill: SecantusDB's, which .ci/engine builds. It is
// empty if there is none.
func EnginePath() string { return os.Getenv("TEST_ENGINE") } //nolint:forbidigo // of tests, not of the product

// Engine is a server that a test started.
type Engine struct {
	URI    string
	server *exec.Cmd
	output io.Reader
}

// StartEngine starts the server of EnginePath with the data in a directory, and returns when it listens.
func StartEngine(ctx context.Context, dir string) (*Engine, error) {
	server := exec.CommandContext(ctx, EnginePath(), "--host", "127.0.0.1", "--port", "0", "--storage-path", dir, //nolint:gosec // from the environment of the person who runs the tests
		"--sync-on-commit", "--cache-size", "128M", "--log-level", "WARNING")
	output, err := server.StdoutPipe()
	if err != nil {
		return nil, err
	}
	server.Stderr = server.Stdout
	if err := server.Start(); err != nil {
		return nil, err
	}
	e := &Engine{server: server, output: output}
	var printed strings.Builder
	for lines := bufio.NewScanner(output); lines.Scan(); {
		if _, address, ok := strings.Cut(lines.Text(), "listening on "); ok {
			e.URI = "mongodb://" + strings.TrimSpace(address)
			go func() { _, _ = io.Copy(io.Discard, output) }()
			return e, nil
		}
		_, _ = fmt.Fprintln(&printed, lines.Text())
	}
	e.Kill()
	return nil, fmt.Errorf("the engine did not start to listen: %s", printed.String())
}

// Kill kills the server by SIGKILL, as a crash would.
func (e *Engine) Kill() {
	_ = e.server.Process.Kill()
	_ = e.server.Wait()
}
