package program

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"retrieverkeys/config"
)

// parts counts the writes and keeps the size of the largest one.
type parts struct {
	text       strings.Builder
	n, largest int
}

func (p *parts) Write(b []byte) (int, error) {
	p.n, p.largest = p.n+1, max(p.largest, len(b))
	return p.text.Write(b)
}

// Without parts a list of 200,000 keys takes more than a gigabyte.
func TestListsAreWrittenInParts(t *testing.T) {
	type item struct {
		ID   int      `json:"id"`
		Tags []string `json:"tags"`
	}
	for _, n := range []int{0, 1, 2, partRows, 2*partRows + 1} {
		var all []item
		for _, json := range []bool{true, false} {
			out := &parts{}
			l := (&command{stdout: out, cfg: config.Config{JSON: json}}).listing("thing", "ID", "NAME")
			all = []item{}
			for i := range n {
				one := item{i, []string{"<tag>", strings.Repeat("x", 200), "\u202e"}}
				all = append(all, one)
				if err := l.add(one, func() []string { return []string{strconv.Itoa(i), "name " + strings.Repeat("x", i/partRows)} }); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.end(); err != nil {
				t.Fatal(err)
			}
			if json {
				whole := &parts{}
				if err := (&command{stdout: whole}).writeJSON(map[string]any{"results": all, "total": n}); err != nil || out.text.String() != whole.text.String() {
					t.Errorf("%d items: %v, got\n%.300s\nwant\n%.300s", n, err, out.text.String(), whole.text.String())
				}
				if out.largest > partBytes+1000 || n > partRows && out.n < 5 {
					t.Errorf("%d items: got %d parts of up to %d bytes", n, out.n, out.largest)
				}
				continue
			}
			lines := strings.Split(out.text.String(), "\n")
			var want []string
			switch n {
			case 0:
			case 1:
				want = []string{"ID  NAME", "0   name "}
			case 2:
				want = []string{"ID  NAME", "0   name ", "1   name "}
			default: // the columns have the width that the first part needs
				want = append([]string{"ID   NAME", "0    name "}, lines[2:n+1]...)
				if last := lines[n]; n > 2*partRows && last != "2000  name xx" {
					t.Errorf("the last row is %q", last)
				}
			}
			if want = append(want, counted(n, "thing")+".", ""); !slices.Equal(lines, want) {
				t.Errorf("%d items: got\n%.300s", n, out.text.String())
			}
			if n > 2*partRows && out.n != 4 {
				t.Errorf("%d rows: got %d parts, want 4", n, out.n)
			}
		}
	}
}

// Without this, `keys list | head` reads all 200,000 keys although its output is closed.
func TestListEndsWhenOutputIsClosed(t *testing.T) {
	for _, json := range []bool{true, false} {
		l := (&command{stdout: output{failing{}}, cfg: config.Config{JSON: json}}).listing("thing", "ID")
		n := 0
		var err error
		for ; err == nil && n < 10*partRows; n++ {
			err = l.add(strings.Repeat("x", 100), func() []string { return []string{"x"} })
		}
		if !errors.Is(err, errOutputClosed) || n > partRows {
			t.Errorf("got %v after %d items", err, n)
		}
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, syscall.EPIPE }
