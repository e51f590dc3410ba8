package systemtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fenced  = regexp.MustCompile("(?ms)^ {0,3}```.*?^ {0,3}```[ \t]*$")
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the anchors that GitHub gives the headings of a page. Comments in code blocks are not headings.
func anchors(page string) (list []string) {
	for _, h := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
		list = append(list, strings.ReplaceAll(strings.ToLower(dropped.ReplaceAllString(h[1], "")), " ", "-"))
	}
	return list
}

func TestCommentsInCodeAreNotHeadings(t *testing.T) {
	page := "# One: `two`\n\n```sh\n# three\nls # four\n```\n\n- a list\n\n  ```console\n# five\n  ```\n\n## Six\n\n```\n## seven\n```\n### Eight-nine\n"
	if got, want := anchors(page), []string{"one-two", "six", "eight-nine"}; !slices.Equal(got, want) {
		t.Errorf("got the anchors %q, want %q", got, want)
	}
}

// Without this test, a page that is renamed leaves dead links.
func TestLinksLeadSomewhere(t *testing.T) {
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains([]string{".git", "node_modules"}, entry.Name()) {
			return fs.SkipDir
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, found := range link.FindAllStringSubmatch(string(text), -1) {
			target, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, ":") || target == "../../releases" { // on another host, or the hoster's page of this repository
				continue
			}
			to := path
			if target != "" {
				to = filepath.Join(filepath.Dir(path), target)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s links to %s, which does not exist", path, found[1])
				continue
			}
			if anchor == "" {
				continue
			}
			page, err := os.ReadFile(to)
			if err != nil {
				return err
			}
			if !slices.Contains(anchors(string(page)), anchor) {
				t.Errorf("%s links to %s, but the page has no such heading", path, found[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
