package programtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"retrieverkeys/program"
)

// Command runs a command to its end and returns its exit code and output.
func Command(t *testing.T, env Fields, args ...string) (code int, out, errs string) {
	t.Helper()
	return CommandWithInput(t, env, "", args...)
}

// CommandWithInput is Command with standard input.
func CommandWithInput(t *testing.T, env Fields, input string, args ...string) (code int, out, errs string) {
	t.Helper()
	stdout, stderr := NewBuffer(), NewBuffer()
	code = program.Run(t.Context(), args, Getenv(env), strings.NewReader(input), stdout, stderr)
	return code, stdout.String(), stderr.String()
}

// MustRun runs a command on the deployment's store, fails the test unless it succeeds, and returns its output.
func MustRun(t *testing.T, d Deployment, args ...string) string {
	t.Helper()
	code, out, errs := Command(t, d.Env, args...)
	if code != program.ExitOK {
		t.Fatalf("%v: exit code %d\n%s", args, code, errs)
	}
	return out
}

// Getenv returns a getenv function for program.Run: env with the defaults of tests.
func Getenv(env Fields) func(string) string {
	return func(name string) string {
		if v, ok := env[name].(string); ok {
			return v
		}
		return map[string]string{"LISTEN_ADDR": "127.0.0.1:0", "ADMIN_ADDR": "off", "LOG_FORMAT": "json"}[name]
	}
}

// Binary builds the program once, statically as it is shipped, and returns its path.
var Binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(binaryDir, "retrieverkeys")
	build := exec.Command("go", "build", "-o", path, "retrieverkeys")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})
