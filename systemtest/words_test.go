package systemtest

import (
	"bytes"
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// translated are patterns of phrases that make English read as translated. Write short declarative sentences with an actor and a verb instead, as
// the documentation of Go's standard library does. An error "is told" nothing: the user gets it, the log reports it, the response contains it.
var translated = []string{
	`that which`, `what is no`, `whoever`, `whosoever`, `whichever`, `such that`, `of which`, `so many`,
	`(is|are|was|were|be|been) told`, `cannot be told`, `tells (of|how|what|which|who|whose|whether|where|when|nothing|all|from|apart)`, `tell (of|nothing)`,
	`let in`, `lets? \w+ in`, `asks? again`, `hands? \w+ on`, `a way up`, `goes away`, `comes back`, `takes? its time`,
	`there is nobody`, `nobody in particular`, `ever again`, `anew`, `shall`, `hence`, `lest`, `be it`, `of ours`,
}

// literal returns a text that everything that matches the pattern contains. Few lines have it, and looking for it is quick.
func literal(pattern string) string {
	parts := regexp.MustCompile(`\([^)]*\)|\\w\+|.\?`).Split(pattern, -1)
	return slices.MaxFunc(parts, func(a, b string) int { return cmp.Compare(len(a), len(b)) })
}

// prose contains the extensions of files that people read, and the names of such files without an extension of their own.
var prose = []string{
	".go", ".md", ".graphqls", ".yaml", ".yml", ".js", ".ts", ".tsx", ".py", ".rs", ".html", ".css",
	"openapi.json", "dashboard.json", ".npmrc", "Makefile", "Dockerfile", "run", "engine",
}

// Without this test, the prose becomes hard to read again, one sentence at a time.
func TestWordsArePlain(t *testing.T) {
	literals, patterns := make([]string, len(translated)), make([]*regexp.Regexp, len(translated))
	for i, phrase := range translated {
		literals[i], patterns[i] = literal(phrase), regexp.MustCompile(`(?i)\b(`+phrase+`)\b`)
	}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if slices.Contains([]string{".git", "node_modules", "testdata", "assets", "dist", "gql", "build", "target"}, name) { // not written here
				return fs.SkipDir
			}
			return nil
		}
		if !slices.Contains(prose, filepath.Ext(name)) && !slices.Contains(prose, name) || name == "words_test.go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil || bytes.HasPrefix(text, []byte("// Code generated ")) {
			return err
		}
		for i, line := range strings.Split(string(text), "\n") {
			if name == "CHANGELOG.md" && strings.HasPrefix(line, "[") { // a link
				continue
			}
			lower := strings.ToLower(line)
			for j, pattern := range patterns {
				if !strings.Contains(lower, literals[j]) {
					continue
				}
				for _, phrase := range pattern.FindAllString(line, -1) {
					t.Errorf("%s:%d: %q", filepath.ToSlash(path)[len("../"):], i+1, phrase)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
