package program_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
)

// pipe is a named pipe and its writer.
type pipe struct {
	path   string
	writer *os.File
}

func newPipe(t *testing.T) pipe {
	t.Helper()
	p := pipe{path: filepath.Join(t.TempDir(), "pipe")}
	if err := syscall.Mkfifo(p.path, 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if p.writer, err = os.OpenFile(p.path, os.O_RDWR, 0o600); err != nil { // for reading too, so that it does not wait for a reader
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.writer.Close() })
	return p
}

// write writes the text, and so much white space that an import must have read and copied the text.
func (p pipe) write(t *testing.T, text string) {
	t.Helper()
	const moreThanAPipeHolds = 4 << 20
	if _, err := p.writer.WriteString(text + strings.Repeat(" ", moreThanAPipeHolds)); err != nil {
		t.Fatal(err)
	}
}

// temporaryCopies returns the modes of the copies of pipes that a process has open, by their paths.
func temporaryCopies(t *testing.T, pid int) map[string]os.FileMode {
	t.Helper()
	found := map[string]os.FileMode{}
	descriptors, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(descriptors) == 0 {
		t.Fatal(descriptors, err)
	}
	for _, d := range descriptors {
		path, _ := os.Readlink(d) // another goroutine can have closed it
		if strings.HasPrefix(filepath.Base(path), ".retrieverkeys-import-") {
			info, err := os.Stat(d)
			if err != nil {
				t.Fatal(err)
			}
			found[path] = info.Mode()
		}
	}
	return found
}

// dirOf returns the directory of temporary files, which is the embedded store's.
func dirOf(t *testing.T, d programtest.Deployment) string {
	t.Helper()
	if path, embedded := d.Env["EMBEDDED_PATH"].(string); embedded {
		return filepath.Dir(path)
	}
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	return dir
}

// An import reads its file twice. Without a copy of a pipe, it would find nothing the second time. The copy has the
// documents of an organization, so nobody else may read it, and nothing of it may be left.
func TestImportFromAPipe(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		dir := dirOf(t, d)
		for _, c := range []struct {
			name, rest, want string
			interrupted      bool
		}{
			{name: "interrupted", want: "the import was interrupted and nothing was imported", interrupted: true},
			{name: "a wrong document", rest: `, {"namespace_id": 7}]}`, want: "namespaces[1].namespace_id: must be a text"},
			{name: "cut off", rest: ``, want: "the file ends in the middle of a JSON value"},
			{name: "good", rest: `]}`, want: "Imported 1 document; 0 already existed"},
		} {
			p := newPipe(t)
			ctx, interrupt := context.WithCancel(t.Context())
			stdout, stderr, ended := programtest.NewBuffer(), programtest.NewBuffer(), make(chan int)
			go func() {
				ended <- program.Run(ctx, []string{"import", p.path}, programtest.Getenv(d.Env), strings.NewReader(""), stdout, stderr)
			}()
			p.write(t, `{"namespaces": [{"namespace_id": "ns_1", "namespace_name": "n", "internal_id": "int_1"}`)
			copies := temporaryCopies(t, os.Getpid())
			for path, mode := range copies {
				if filepath.Dir(path) != dir || mode.Perm() != 0o600 {
					t.Errorf("%s: the copy %s has the mode %s, want it in %s for its owner only", c.name, path, mode, dir)
				}
			}
			if len(copies) != 1 {
				t.Errorf("%s: %d copies, want one", c.name, len(copies))
			}
			if names, err := filepath.Glob(filepath.Join(dir, ".retrieverkeys-import-*")); err != nil || len(names) > 0 {
				t.Errorf("%s: the copy is still there if the process is killed: %v, %v", c.name, names, err)
			}
			if c.interrupted {
				interrupt()
			} else {
				_, err := p.writer.WriteString(c.rest)
				if err := errors.Join(err, p.writer.Close()); err != nil {
					t.Fatal(err)
				}
			}
			code := <-ended
			interrupt()
			if good := c.name == "good"; good != (code == program.ExitOK) || !strings.Contains(stdout.String()+stderr.String(), c.want) {
				t.Errorf("%s: exit code %d, %s%s, want %s", c.name, code, stdout, stderr, c.want)
			}
			if left := temporaryCopies(t, os.Getpid()); len(left) > 0 {
				t.Errorf("%s: left open: %v", c.name, left)
			}
		}
	})
}

// SIGINT must end an import at once, with an error, and leave neither documents nor files. Without that, a user who
// interrupts an import does not know what it has stored.
func TestImportEndsAtASignal(t *testing.T) {
	d := programtest.Embedded(t)
	binary, err := programtest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	programtest.Insert(t, d, document.Batch{})
	dir := dirOf(t, d)
	before, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		p := newPipe(t)
		cmd := exec.CommandContext(t.Context(), binary, "import", p.path)
		stderr := programtest.NewBuffer()
		cmd.Env, cmd.Stderr = []string{fmt.Sprint("EMBEDDED_PATH=", d.Env["EMBEDDED_PATH"])}, stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p.write(t, `{"namespaces": [{"namespace_id": "ns_1", "namespace_name": "n", "internal_id": "int_1"}`)
		if len(temporaryCopies(t, cmd.Process.Pid)) != 1 {
			t.Errorf("%v: the process has no copy of the pipe", signal)
		}
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // the exit code tells
		if code := cmd.ProcessState.ExitCode(); signal != syscall.SIGKILL && (code != program.ExitFailed || !strings.Contains(stderr.String(), "interrupted and nothing was imported")) {
			t.Errorf("%v: exit code %d, %s", signal, code, stderr.String())
		}
		after, err := os.ReadDir(dir)
		if err != nil || len(after) != len(before) {
			t.Errorf("%v: left behind: %v, %v, want %v", signal, after, err, before)
		}
	}
}
