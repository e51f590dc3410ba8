package config

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A start must accept the values of the example. Otherwise the first thing that an operator copies is wrong. Each line that is commented out is
// tried in place of the others of its setting.
func TestExampleEnvironment(t *testing.T) {
	text, err := os.ReadFile("../deploy/.env.example")
	if err != nil {
		t.Fatal(err)
	}
	active, optional := map[string]string{}, map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, assigns := strings.Cut(strings.TrimSpace(line), "=")
		into := active
		if commented, is := strings.CutPrefix(name, "#"); is {
			name, into = commented, optional
		}
		if assigns && !strings.Contains(name, " ") {
			into[name] = value
		}
	}
	if len(active) != 1 || len(optional) < 10 {
		t.Fatalf("got %d active and %d optional settings, want 1 and more", len(active), len(optional))
	}
	known := map[string]bool{}
	for _, s := range new(Config).settings() {
		known[s.name] = true
	}
	tried := func(name, value string) {
		if !known[name] && !strings.HasPrefix(name, "OTEL_") {
			t.Errorf("there is no setting %s", name)
		}
		env := map[string]string{"MONGODB_URI": active["MONGODB_URI"]}
		if name == "EMBEDDED_PATH" || name == "MONGODB_URI"+ofFile {
			delete(env, "MONGODB_URI")
		}
		if strings.HasSuffix(name, ofFile) { // the file exists only on the operator's machine
			file := filepath.Join(t.TempDir(), "secret")
			if err := os.WriteFile(file, []byte(active["MONGODB_URI"]+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			value = file
		}
		env[name] = value
		if _, problems := parse("serve", env); problems != nil {
			t.Errorf("%s=%s: %v", name, value, problems)
		}
	}
	for name, value := range active {
		tried(name, value)
	}
	for name, value := range optional {
		tried(name, value)
	}
}

// Kubernetes accepts any environment variable. One that the program does not know would change nothing, without a warning.
func TestManifestsUseSettingsThatExist(t *testing.T) {
	files, err := filepath.Glob("../deploy/kubernetes/*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	known := []string{"GOMEMLIMIT"} // Go's own
	for _, s := range new(Config).settings() {
		known = append(known, s.name)
	}
	found := 0
	for _, file := range append(files, "../deploy/kubernetes/deployment.yaml", "../compose.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^ +(?:- name: )?([A-Z][A-Z0-9_]+)(?:: .*| #.*)?$`).FindAllSubmatch(text, -1) {
			if found++; !slices.Contains(known, string(m[1])) {
				t.Errorf("%s: there is no setting %s", file, m[1])
			}
		}
	}
	if found < 5 {
		t.Errorf("got %d variables, want all of them", found)
	}
}
