package program_test

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"retrieverkeys/config"
	"retrieverkeys/graph"
	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
)

// A script that lacks a command or a flag hides it. What the help describes must all be there.
func TestCompletionScriptsHaveEveryCommandAndFlag(t *testing.T) {
	var texts []string
	for _, c := range config.Commands[1:] {
		texts = append(texts, strings.Fields(c.Name)...)
		code, help, errs := programtest.Command(t, nil, append(strings.Fields(c.Name), "--help")...)
		if code != program.ExitOK {
			t.Fatalf("%s --help: exit code %d, %s", c.Name, code, errs)
		}
		for _, m := range regexp.MustCompile(`(?m)^ {2}--([a-z-]+)`).FindAllStringSubmatch(help, -1) {
			texts = append(texts, m[1])
		}
	}
	if len(texts) < 60 {
		t.Fatalf("got %d commands and flags, want all of them", len(texts))
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		code, script, errs := programtest.Command(t, nil, "completion", shell)
		if code != program.ExitOK {
			t.Fatalf("%s: exit code %d, %s", shell, code, errs)
		}
		for _, text := range texts {
			if !regexp.MustCompile(`[ ('-]` + text + `[ :)]`).MatchString(script) {
				t.Errorf("%s: %q is missing", shell, text)
			}
		}
	}
	if code, _, errs := programtest.Command(t, nil, "completion", "tcsh"); code != program.ExitUsage || !strings.Contains(errs, "bash, zsh or fish") {
		t.Errorf("exit code %d, %s", code, errs)
	}
}

// The shells must accept the scripts and offer the right words, in alphabetical order here. Shells that this machine lacks are left out.
func TestCompletion(t *testing.T) {
	want := map[string]string{
		"retrieverkeys b":                                      "backup bootstrap",
		"retrieverkeys keys r":                                 "revoke rotate",
		"retrieverkeys keys scan --e":                          "--exit-code",
		"retrieverkeys keys list --st":                         "--status",
		"retrieverkeys keys list --status ":                    "active expired revoked",
		"retrieverkeys keys list --never-used --type s":        "session standard",
		"retrieverkeys keys scan --rules g":                    "gitleaks",
		"retrieverkeys keys create --namespace ":               "",
		"retrieverkeys keys create --namespace production --o": "--origin",
		"retrieverkeys retrievers l":                           "list",
		"retrieverkeys schema --f":                             "--federation",
		"retrieverkeys completion f":                           "fish",
		"retrieverkeys import about_t":                         "about_test.go",
	}
	lines := slices.Sorted(maps.Keys(want))
	inBash := `source $0; for line; do COMP_WORDS=($line); [[ $line == *' ' ]] && COMP_WORDS+=(''); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _retrieverkeys
		echo "line:$line"; printf 'offer:%s\n' "${COMPREPLY[@]}"; done`
	inFish := `source $argv[1]; for line in $argv[2..]; echo line:$line; for word in (complete -C $line | string split -f 1 \t); echo offer:$word; end; end; true`
	for shell, args := range map[string][]string{"bash": {"-c", inBash}, "zsh": {"-f", "testdata/complete.zsh"}, "fish": {"-N", "-c", inFish}} {
		path, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		_, script, _ := programtest.Command(t, nil, "completion", shell)
		file := filepath.Join(t.TempDir(), "script")
		if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		ask := exec.CommandContext(ctx, path, slices.Concat(args, []string{file}, lines)...)
		ask.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TERM=dumb"}
		ask.WaitDelay = time.Second
		out, err := ask.CombinedOutput()
		cancel()
		got, line := map[string]string{}, ""
		for _, m := range regexp.MustCompile(`(?m)^line:(.*?)\r?$|offer:(\S+)`).FindAllSubmatch(out, -1) {
			if m[1] != nil {
				line = string(m[1])
				got[line] = ""
				continue
			}
			words := append(strings.Fields(got[line]), string(m[2]))
			slices.Sort(words)
			got[line] = strings.Join(slices.Compact(words), " ")
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v, (-want +got)\n%s\n%s", shell, err, diff, out)
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
