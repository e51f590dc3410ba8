package programtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
)

// binary builds the program, once, static as it is shipped, and returns its path.
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

// process is the program as a process of its own.
type process struct {
	*Server
	Cmd *exec.Cmd
}

// start runs the built program until it serves.
func Start(t *testing.T, env Fields) process {
	t.Helper()
	path, err := Binary()
	if err != nil {
		t.Fatal(err)
	}
	p := process{&Server{T: t, Out: NewBuffer(), Errors: NewBuffer()}, exec.Command(path, "serve")}
	p.Cmd.Env = []string{"LISTEN_ADDR=127.0.0.1:0", "ADMIN_ADDR=off", "LOG_FORMAT=json"}
	for name, value := range env {
		p.Cmd.Env = append(p.Cmd.Env, fmt.Sprintf("%s=%v", name, value))
	}
	p.Cmd.Stdout, p.Cmd.Stderr = p.Out, p.Errors
	if err := p.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Cmd.Process.Kill() })
	p.URL = regexp.MustCompile(`http://[0-9.:]+`).FindString(p.Errors.Await(`"msg":"serving"`, nil))
	return p
}

func (p process) Signal(s os.Signal) {
	p.T.Helper()
	if err := p.Cmd.Process.Signal(s); err != nil {
		p.T.Fatal(err)
	}
}

// peak is the most memory that the process ever had, in MB, where the system tells.
func (p process) Peak() int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Cmd.Process.Pid))
	if err != nil {
		return 0
	}
	kB, err := strconv.Atoi(string(regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)[1]))
	if err != nil {
		p.T.Fatal(err)
	}
	return kB >> 10
}
