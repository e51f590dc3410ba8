package program

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"retrieverkeys/apikey"
	"retrieverkeys/config"
)

// errOutputClosed ends a command whose output is closed, as in `keys list | head`.
var errOutputClosed = errors.New("the output is closed")

// output is a command's standard output. It reports a closed pipe as errOutputClosed.
type output struct{ io.Writer }

func (o output) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		err = errOutputClosed
	}
	return n, err
}

// columns returns the width of the terminal, or 0 if the writer is not a terminal.
func columns(w io.Writer) int {
	if o, ok := w.(output); ok {
		w = o.Writer
	}
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	return columnsOf(f)
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// table writes rows in columns; the first row contains the names of the columns. If the terminal is too narrow, it writes each row as a block
// of lines instead.
func (c *command) table(rows [][]string) error {
	return (&table{columns: rows[0]}).write(c.stdout, rows[1:])
}

// table is a table that can be written in parts. Each column is as wide as its widest cell so far.
type table struct {
	columns []string
	widths  []int // nil before the first rows
}

// write writes more rows.
func (t *table) write(to io.Writer, rows [][]string) error {
	begins := t.widths == nil
	if begins {
		t.widths = make([]int, len(t.columns))
	}
	total := 2 * (len(t.widths) - 1)
	named := append([][]string{t.columns}, rows...)
	for _, row := range named {
		for i := range row {
			row[i] = cmp.Or(printable(row[i]), "-")
			t.widths[i] = max(t.widths[i], width(row[i]))
		}
	}
	for _, w := range t.widths {
		total += w
	}
	var b strings.Builder
	if terminal := columns(to); terminal > 0 && total > terminal {
		blocks(&b, t.columns, rows)
	} else {
		if begins {
			rows = named
		}
		for _, row := range rows {
			for i, cell := range row {
				if b.WriteString(cell); i < len(row)-1 {
					b.WriteString(strings.Repeat(" ", t.widths[i]-width(cell)+2))
				}
			}
			b.WriteByte('\n')
		}
	}
	_, err := io.WriteString(to, b.String())
	return err
}

// listing writes a list in parts, as a table or as JSON, so that a list of any length takes little memory. It writes nothing before the first
// part is complete, so a list that cannot be read does not look like an empty one.
type listing struct {
	*command
	thing string
	table table
	rows  [][]string
	json  []byte
	n     int
}

// partRows is the number of rows of a table that are written together, partBytes the size of a part of JSON.
const (
	partRows  = 1000
	partBytes = 64 << 10
)

// listing returns a listing of things with these columns.
func (c *command) listing(thing string, columns ...string) *listing {
	return &listing{command: c, thing: thing, table: table{columns: columns}}
}

// add adds an item: item is its value in JSON, row returns its row in a table.
func (l *listing) add(item any, row func() []string) error {
	l.n++
	if !l.cfg.JSON {
		if l.rows = append(l.rows, row()); len(l.rows) < partRows {
			return nil
		}
		return l.flush()
	}
	text, err := indented(item, "    ")
	if err != nil {
		return err
	}
	before := ",\n    "
	if l.n == 1 {
		before = "{\n  \"results\": [\n    "
	}
	if l.json = append(append(l.json, before...), text...); len(l.json) < partBytes {
		return nil
	}
	return l.flush()
}

// flush writes the items added so far.
func (l *listing) flush() error {
	if l.cfg.JSON {
		_, err := l.stdout.Write(l.json)
		l.json = l.json[:0]
		return err
	}
	if len(l.rows) == 0 {
		return nil
	}
	err := l.table.write(l.stdout, l.rows)
	l.rows = nil
	return err
}

// end writes the remaining items and their number.
func (l *listing) end() error {
	if l.cfg.JSON {
		end := "\n  ],"
		if l.n == 0 {
			end = "{\n  \"results\": [],"
		}
		l.json = fmt.Appendf(append(l.json, end...), "\n  \"total\": %d\n}\n", l.n)
		return l.flush()
	}
	if err := l.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(l.stdout, "%s.\n", counted(l.n, l.thing))
	return err
}

// blocks writes each row as a block with one line per column.
func blocks(b *strings.Builder, names []string, rows [][]string) {
	longest := 0
	for _, name := range names[1:] {
		longest = max(longest, len(name))
	}
	for _, row := range rows {
		fmt.Fprintln(b, row[0])
		for i, cell := range row[1:] {
			if cell != "-" {
				fmt.Fprintf(b, "  %-*s  %s\n", longest, strings.ToLower(names[i+1]), cell)
			}
		}
		b.WriteByte('\n')
	}
}

// wide contains the characters that take two columns of a terminal: East Asian ones and emoji.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x1100, 0x115F, 1}, {0x231A, 0x231B, 1}, {0x23E9, 0x23EC, 1}, {0x2614, 0x2615, 1}, {0x26A1, 0x26A1, 1}, {0x2705, 0x2705, 1},
		{0x274C, 0x274C, 1}, {0x2728, 0x2728, 1}, {0x2B50, 0x2B50, 1}, {0x2E80, 0x303E, 1}, {0x3041, 0xA4CF, 1}, {0xA960, 0xA97C, 1},
		{0xAC00, 0xD7A3, 1}, {0xF900, 0xFAFF, 1}, {0xFE30, 0xFE6F, 1}, {0xFF00, 0xFF60, 1}, {0xFFE0, 0xFFE6, 1},
	},
	R32: []unicode.Range32{{0x16FE0, 0x18AFF, 1}, {0x1B000, 0x1B2FF, 1}, {0x1F300, 0x1F64F, 1}, {0x1F680, 0x1F6FF, 1}, {0x1F7E0, 0x1F7EB, 1}, {0x1F900, 0x1F9FF, 1}, {0x1FA70, 0x1FAFF, 1}, {0x20000, 0x3FFFD, 1}},
}

// width returns the number of terminal columns that the text takes. An emoji joined to another one and a skin tone take none.
func width(s string) int {
	const joiner, lightest, darkest = '\u200D', 0x1F3FB, 0x1F3FF
	n := 0
	var last rune
	for _, r := range s {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		case unicode.Is(wide, r) && (last == joiner || n > 0 && lightest <= r && r <= darkest):
		case unicode.Is(wide, r):
			n += 2
		case unicode.IsGraphic(r) || r == utf8.RuneError:
			n++
		}
		last = r
	}
	return n
}

// writeJSON prints the value as JSON.
func (c *command) writeJSON(v any) error {
	text, err := indented(v, "")
	if err != nil {
		return err
	}
	_, err = c.stdout.Write(append(text, '\n'))
	return err
}

// indented returns the value as JSON. Each line but the first begins with the prefix. It escapes the characters that printable replaces.
func indented(v any, prefix string) ([]byte, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetIndent(prefix, "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	safe := make([]byte, 0, text.Len())
	for _, r := range strings.TrimSuffix(text.String(), "\n") {
		switch {
		case r == '\n' || config.Printable(r):
			safe = utf8.AppendRune(safe, r)
		case r > 0xFFFF:
			safe = fmt.Appendf(safe, `\u%04x\u%04x`, 0xD800+(r-0x10000)>>10, 0xDC00+(r-0x10000)&0x3FF)
		default:
			safe = fmt.Appendf(safe, `\u%04x`, r)
		}
	}
	return safe, nil
}

// printable replaces characters that could change the state of a terminal or the display of the rest of the line. It keeps the invisible tag
// characters of a flag such as England's.
func printable(s string) string {
	const blackFlag, firstTag, lastTag = '\U0001F3F4', '\U000E0020', '\U000E007F'
	flag := false
	return strings.Map(func(r rune) rune {
		tag := firstTag <= r && r <= lastTag
		flag = r == blackFlag || flag && tag
		if config.Printable(r) || tag && flag {
			return r
		}
		return utf8.RuneError
	}, s)
}

// detail is a line that continues the error before it.
type detail string

func (d detail) Error() string { return string(d) }

// complain prints the error. It reports whether it printed anything.
func complain(w io.Writer, err error) bool {
	lines := complaint(err)
	for _, line := range lines {
		_, _ = fmt.Fprintln(w, line)
	}
	return len(lines) > 0
}

// complaint returns a line for each error that this one joins. It omits errOutputClosed, which is no failure, and hides keys, which a user may
// have passed as an id or a file name.
func complaint(err error) []string {
	var several interface {
		error
		Unwrap() []error
	}
	if errors.As(err, &several) && several.Error() == err.Error() { // err itself joins errors; it does not wrap one that does
		if parts := several.Unwrap(); errors.Join(parts...).Error() == err.Error() {
			var lines []string
			for _, part := range parts {
				lines = append(lines, complaint(part)...)
			}
			return lines
		}
	}
	if errors.Is(err, errOutputClosed) {
		return nil
	}
	line := printable(apikey.HideKeys(err.Error()))
	if more := detail(""); !errors.As(err, &more) {
		line = "retrieverkeys: " + line
	}
	return []string{line}
}

func dated(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}

// orEmpty returns the string, or "" if s is nil.
func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// line reads a line from standard input.
func (c *command) line() (string, error) {
	line, err := bufio.NewReader(c.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimSpace(line), nil
}
