package programtest

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
)

// Process is a server in a process of its own.
type Process struct {
	*Server
	Cmd *exec.Cmd
}

// StartProcess starts Binary with the command serve and waits until it serves.
func StartProcess(t *testing.T, env Fields) Process {
	t.Helper()
	path, err := Binary()
	if err != nil {
		t.Fatal(err)
	}
	p := Process{&Server{T: t, Stdout: NewBuffer(), Stderr: NewBuffer()}, exec.Command(path, "serve")}
	p.Cmd.Env = []string{"LISTEN_ADDR=127.0.0.1:0", "ADMIN_ADDR=off", "LOG_FORMAT=json"}
	for name, value := range env {
		p.Cmd.Env = append(p.Cmd.Env, fmt.Sprintf("%s=%v", name, value))
	}
	p.Cmd.Stdout, p.Cmd.Stderr = p.Stdout, p.Stderr
	if err := p.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Cmd.Process.Kill() })
	p.URL = regexp.MustCompile(`http://[0-9.:]+`).FindString(p.Stderr.Await(`"msg":"serving"`, nil))
	return p
}

// Signal sends a signal to the process.
func (p Process) Signal(s os.Signal) {
	p.T.Helper()
	if err := p.Cmd.Process.Signal(s); err != nil {
		p.T.Fatal(err)
	}
}

// PeakMB returns the process's peak memory in MB, or 0 if the system has no /proc.
func (p Process) PeakMB() int {
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
