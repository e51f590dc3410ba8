package systemtest

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// translated matches phrases that make English read as translated. Write short declarative sentences with an actor and a verb instead, as the
// documentation of Go's standard library does. An error "is told" nothing: the user gets it, the log reports it, the response contains it.
var translated = regexp.MustCompile(`(?i)\b(` + strings.Join([]string{
	`that which`, `what is no`, `whoever`, `whosoever`, `whichever`, `such that`, `of which`, `so many`,
	`(is|are|was|were|be|been) told`, `cannot be told`, `tells (of|how|what|which|who|whose|whether|where|when|nothing|all)`, `tell (of|nothing)`,
	`let in`, `lets? (it|them|him|her|nobody|somebody|anybody|everybody) in`, `a way up`, `goes away`, `comes back`, `takes? its time`,
	`there is nobody`, `nobody in particular`, `ever again`, `anew`, `shall`, `hence`, `lest`, `be it`, `of ours`,
}, `|`) + `)\b`)

// Without this test, the prose becomes hard to read again, one sentence at a time.
func TestWordsArePlain(t *testing.T) {
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if slices.Contains([]string{".git", "node_modules", "testdata"}, name) {
				return fs.SkipDir
			}
			return nil
		}
		if !slices.Contains([]string{".go", ".md", ".graphqls", ".yaml", ".yml"}, filepath.Ext(name)) && name != "openapi.json" || name == "words_test.go" {
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
			for _, phrase := range translated.FindAllString(line, -1) {
				t.Errorf("%s:%d: %q", filepath.ToSlash(path)[len("../"):], i+1, phrase)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
