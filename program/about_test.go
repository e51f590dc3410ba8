package program_test

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"retrieverkeys/config"
	"retrieverkeys/graph"
	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
)

// Each completion script names the commands and flags, and its shell can parse it.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		code, script, errs := programtest.Command(t, nil, "completion", shell)
		for _, want := range []string{"bootstrap", "revoke", "retrievers", "exit-code", "federation"} {
			if code != program.ExitOK || !strings.Contains(script, want) {
				t.Errorf("%s: exit code %d, want %s in\n%s%s", shell, code, want, script, errs)
			}
		}
		if path, err := exec.LookPath(shell); err == nil {
			if out, err := exec.Command(path, "-n", "-c", script).CombinedOutput(); err != nil {
				t.Errorf("%s cannot parse it: %v\n%s", shell, err, out)
			}
		}
	}
	if code, _, errs := programtest.Command(t, nil, "completion", "tcsh"); code != program.ExitUsage || !strings.Contains(errs, "bash, zsh or fish") {
		t.Errorf("exit code %d, %s", code, errs)
	}
	if path, err := exec.LookPath("bash"); err == nil {
		_, script, _ := programtest.Command(t, nil, "completion", "bash")
		for line, want := range map[string]string{
			"retrieverkeys b": "bootstrap backup", "retrieverkeys keys r": "rotate revoke", "retrieverkeys keys scan --e": "--exit-code",
			"retrieverkeys schema --f": "--federation", "retrieverkeys completion f": "fish",
		} {
			words := strings.Fields(line)
			ask := fmt.Sprintf("%s\nCOMP_WORDS=(%s) COMP_CWORD=%d; _retrieverkeys; echo ${COMPREPLY[*]}", script, line, len(words)-1)
			if out, err := exec.Command(path, "-c", ask).Output(); err != nil || strings.TrimSpace(string(out)) != want {
				t.Errorf("%s: %q, %v, want %q", line, out, err, want)
			}
		}
	}
}

func TestVersionAndSchema(t *testing.T) {
	for _, args := range [][]string{{"--version"}, {"-version"}} {
		if code, out, _ := programtest.Command(t, nil, args...); code != program.ExitOK || !strings.HasPrefix(out, "retrieverkeys ") {
			t.Errorf("%v: %d %q", args, code, out)
		}
	}
	if code, out, _ := programtest.Command(t, nil, "version"); code != program.ExitOK || !regexp.MustCompile(`^retrieverkeys \S+\ncommit \S+\ngo\S+`).MatchString(out) {
		t.Errorf("version: %d %q", code, out)
	}
	if code, out, _ := programtest.Command(t, nil, "schema"); code != program.ExitOK || out != graph.SDL() || strings.Contains(out, "@key") {
		t.Errorf("schema: %d, %d bytes", code, len(out))
	}
	if code, out, _ := programtest.Command(t, nil, "schema", "--federation"); code != program.ExitOK || !strings.Contains(out, "type PageInfo @shareable {") || strings.Contains(out, "extend ") || !strings.Contains(out, `type Retriever implements Node @key(fields: "id") {`) {
		t.Errorf("schema --federation: %d, %d bytes", code, len(out))
	}
	if diff := cmp.Diff(graph.OptionalFields(), config.OptionalFields); diff != "" {
		t.Errorf("--with accepts other fields than the subgraph schema omits: %s", diff)
	}
	for args, want := range map[string]string{
		"--federation=2.3": graph.SubgraphSDL("2.3"), "--federation=2.9": graph.SubgraphSDL("2.9"),
		"--federation --with node,viewer": graph.SubgraphSDL("2.9", "node", "viewer"),
	} {
		if code, out, errs := programtest.Command(t, nil, append([]string{"schema"}, strings.Fields(args)...)...); code != program.ExitOK || out != want {
			t.Errorf("%s: %d %s", args, code, errs)
		}
	}
	for args, want := range map[string]string{
		"--with node": "--with needs --federation", "--federation=2.0": "must be 2.9 or 2.3", "--federation --with retriever": "must be node, nodes or viewer",
	} {
		if code, out, errs := programtest.Command(t, nil, append([]string{"schema"}, strings.Fields(args)...)...); code != program.ExitUsage || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %s%s", args, code, out, errs)
		}
	}
}
