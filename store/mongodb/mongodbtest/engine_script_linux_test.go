package mongodbtest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// tools are programs that replace those that .ci/engine calls. The built server listens on an unused address, and runs
// until it is killed.
const (
	newRust = "#!/bin/sh\necho rustc 1.98.0\n"
	oldRust = "#!/bin/sh\necho rustc 1.95.0\n"
	builder = `#!/bin/sh
echo build >>"$LOG"
[ -z "$FAILS" ] || exit 1
while [ "$1" != --root ]; do shift; done
mkdir "$2/bin"
printf '#!/bin/sh\necho listening on 127.0.0.1:1\nexec sleep 600\n' >"$2/bin/secantusd-rs"
chmod +x "$2/bin/secantusd-rs"
`
	rustup = `#!/bin/sh
echo "rustup $*" >>"$LOG"
[ "$1" != toolchain ] || { touch "$LOG.has"; exit; }
[ -e "$LOG.has" ] || exit 1
shift 2
[ "$2" = --version ] || exec "$@"
`
	refuses = "#!/bin/sh\nexit 100\n"
	works   = "#!/bin/sh\n"
)

// script runs .ci/engine on a machine that has only these tools.
type script struct {
	t          *testing.T
	tools, log string
	env        []string
	root       string // the directory of the cached server
}

func newScript(t *testing.T, tools map[string]string) *script {
	t.Helper()
	dir := t.TempDir()
	s := &script{t: t, tools: filepath.Join(dir, "tools"), log: filepath.Join(dir, "log"), root: filepath.Join(dir, "cache", "retrieverkeys", "secantus-mdb-0.5.3-beta.193")}
	s.add(map[string]string{"cmake": works, "cc": works, "c++": works, "apt-get": refuses, "sudo": refuses})
	s.add(tools)
	s.env = []string{"PATH=" + s.tools + ":/usr/bin:/bin", "HOME=" + dir, "XDG_CACHE_HOME=" + filepath.Join(dir, "cache"), "LOG=" + s.log}
	return s
}

func (s *script) add(tools map[string]string) {
	s.t.Helper()
	for name, text := range tools {
		s.write(filepath.Join(s.tools, name), text)
	}
}

func (s *script) write(path, text string) {
	s.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o700)); err != nil {
		s.t.Fatal(err)
	}
}

// run returns the exit code and the output.
func (s *script) run(env string, args ...string) (code int, out string) {
	command := exec.CommandContext(s.t.Context(), filepath.Join("..", "..", "..", ".ci", "engine"), args...)
	command.Env = append([]string{env}, s.env...)
	var b bytes.Buffer
	command.Stdout, command.Stderr = &b, &b
	err := command.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		s.t.Error(err)
	} else if ok {
		code = exit.ExitCode()
	}
	return code, b.String()
}

// logged returns what the tools did since the last call.
func (s *script) logged() string {
	s.t.Helper()
	log, _ := os.ReadFile(s.log)
	_ = os.Remove(s.log)
	return string(log)
}

// CI builds the server of `make engine` on a new machine. An interrupted or failed build must not stay behind as the
// cached server: the engine's tests would fail on that machine forever, or not run.
func TestEngineIsBuilt(t *testing.T) {
	t.Run("once, with a new Rust", func(t *testing.T) {
		s := newScript(t, map[string]string{"rustc": newRust, "cargo": builder})
		s.write(filepath.Join(s.root+".new", "bin", "secantusd-rs"), "of an interrupted build")
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if code, out := s.run(""); code != 0 || !strings.HasSuffix(out, "bin/secantusd-rs\n") {
					t.Errorf("%d: %s", code, out)
				}
			})
		}
		wg.Wait()
		if log := s.logged(); log != "build\n" {
			t.Errorf("did %q", log)
		}
		code, out := s.run("", "sh", "-c", `echo "$TEST_MONGODB_URI"; exit 7`)
		if code != 7 || out != "mongodb://127.0.0.1:1\n" || s.logged() != "" {
			t.Errorf("a command: %d %s", code, out)
		}
		s.write(filepath.Join(s.root, "bin", "secantusd-rs"), "no program")
		if code, out := s.run(""); code != 0 || !strings.Contains(out, "the server does not start") || s.logged() != "build\n" {
			t.Errorf("a broken server: %d %s", code, out)
		}
	})
	t.Run("with rustup, if Rust is old", func(t *testing.T) {
		s := newScript(t, map[string]string{"rustc": oldRust, "cargo": builder, "rustup": rustup})
		if code, out := s.run(""); code != 0 {
			t.Errorf("%d: %s", code, out)
		}
		if log := s.logged(); !strings.Contains(log, "rustup toolchain install 1.98 --profile minimal --no-self-update\n") || !strings.Contains(log, "rustup run 1.98 cargo install secantus-mdb") {
			t.Errorf("did %q", log)
		}
		if err := os.RemoveAll(s.root); err != nil {
			t.Fatal(err)
		}
		if code, out := s.run(""); code != 0 || strings.Contains(s.logged(), "toolchain install") {
			t.Errorf("with the toolchain installed: %d %s", code, out)
		}
	})
	t.Run("not if a tool is missing", func(t *testing.T) {
		s := newScript(t, map[string]string{"rustc": oldRust, "cargo": builder})
		if code, out := s.run(""); code != 69 || !strings.Contains(out, "engine: Rust 1.98 or later is missing (found: 1.95.0), and so is rustup") {
			t.Errorf("old Rust: %d %s", code, out)
		}
		s.add(map[string]string{"rustup": refuses})
		if code, out := s.run(""); code != 69 || !strings.Contains(out, "engine: rustup cannot install Rust 1.98") {
			t.Errorf("no network: %d %s", code, out)
		}
		s.add(map[string]string{"rustc": newRust})
		if code, out := s.run("FAILS=1"); code != 69 || !strings.Contains(out, "cannot be built") {
			t.Errorf("a failing build: %d %s", code, out)
		}
		if found, err := filepath.Glob(s.root + "*"); err != nil || len(found) != 1 { // only the lock
			t.Errorf("a failing build left %q, %v", found, err)
		}
		if code, out := s.run("", "sh", "-c", "exit 0"); code != 0 {
			t.Errorf("after that: %d %s", code, out)
		}
	})
}
