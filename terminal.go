package main

import (
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

// What commands show to people.

// errNobodyReads ends a command whose output nobody reads any more, as in `keys list | head`.
var errNobodyReads = errors.New("nobody reads the output any more")

// output is where a command writes to.
type output struct{ io.Writer }

func (o output) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		err = errNobodyReads
	}
	return n, err
}

// columns is how wide a terminal is; 0 where the writer is none.
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

// table writes rows in columns, the first row being their names. On a terminal that is too narrow it writes each row as a
// block of lines instead.
func (p *program) table(rows [][]string) error {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i := range row {
			row[i] = cmp.Or(printable(row[i]), "-")
			widths[i] = max(widths[i], width(row[i]))
		}
	}
	total := 2 * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	var b strings.Builder
	if terminal := columns(p.stdout); terminal > 0 && total > terminal {
		blocks(&b, rows)
	} else {
		for _, row := range rows {
			for i, cell := range row {
				if b.WriteString(cell); i < len(row)-1 {
					b.WriteString(strings.Repeat(" ", widths[i]-width(cell)+2))
				}
			}
			b.WriteByte('\n')
		}
	}
	_, err := io.WriteString(p.stdout, b.String())
	return err
}

// blocks writes each row but the first, which has the columns' names, as lines of a name and a value.
func blocks(b *strings.Builder, rows [][]string) {
	longest := 0
	for _, name := range rows[0][1:] {
		longest = max(longest, len(name))
	}
	for _, row := range rows[1:] {
		fmt.Fprintln(b, row[0])
		for i, cell := range row[1:] {
			if cell != "-" {
				fmt.Fprintf(b, "  %-*s  %s\n", longest, strings.ToLower(rows[0][i+1]), cell)
			}
		}
		b.WriteByte('\n')
	}
}

// wide are the characters that take two columns of a terminal: those of East Asia, and emoji.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x1100, 0x115F, 1}, {0x231A, 0x231B, 1}, {0x23E9, 0x23EC, 1}, {0x2614, 0x2615, 1}, {0x26A1, 0x26A1, 1}, {0x2705, 0x2705, 1},
		{0x274C, 0x274C, 1}, {0x2728, 0x2728, 1}, {0x2B50, 0x2B50, 1}, {0x2E80, 0x303E, 1}, {0x3041, 0xA4CF, 1}, {0xA960, 0xA97C, 1},
		{0xAC00, 0xD7A3, 1}, {0xF900, 0xFAFF, 1}, {0xFE30, 0xFE6F, 1}, {0xFF00, 0xFF60, 1}, {0xFFE0, 0xFFE6, 1},
	},
	R32: []unicode.Range32{{0x16FE0, 0x18AFF, 1}, {0x1B000, 0x1B2FF, 1}, {0x1F300, 0x1F64F, 1}, {0x1F680, 0x1F6FF, 1}, {0x1F7E0, 0x1F7EB, 1}, {0x1F900, 0x1F9FF, 1}, {0x1FA70, 0x1FAFF, 1}, {0x20000, 0x3FFFD, 1}},
}

// width is how many columns of a terminal the text takes. What a joiner joins to an emoji, and its skin's colour, take none.
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

// writeJSON writes the value, with what printable would replace escaped.
func (p *program) writeJSON(v any) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	safe := make([]byte, 0, text.Len())
	for _, r := range text.String() {
		switch {
		case r == '\n' || config.Printable(r):
			safe = utf8.AppendRune(safe, r)
		case r > 0xFFFF:
			safe = fmt.Appendf(safe, `\u%04x\u%04x`, 0xD800+(r-0x10000)>>10, 0xDC00+(r-0x10000)&0x3FF)
		default:
			safe = fmt.Appendf(safe, `\u%04x`, r)
		}
	}
	_, err := p.stdout.Write(safe)
	return err
}

// printable replaces what could change a terminal's state, or what is seen of the rest of the line. The invisible letters that make a flag
// of England of a black one are left to it.
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

// detail is a line that goes with the error before it.
type detail string

func (d detail) Error() string { return string(d) }

// complain writes the error for a terminal, and reports whether there was anything to say.
func complain(w io.Writer, err error) bool {
	lines := complaint(err)
	for _, line := range lines {
		_, _ = fmt.Fprintln(w, line)
	}
	return len(lines) > 0
}

// complaint is a line for each error that this one joins; nothing of output that nobody reads, which is no failure. It repeats no
// key, which somebody may have taken for an id or the name of a file.
func complaint(err error) []string {
	var several interface {
		error
		Unwrap() []error
	}
	if errors.As(err, &several) && several.Error() == err.Error() { // it is this error itself
		if parts := several.Unwrap(); errors.Join(parts...).Error() == err.Error() {
			var lines []string
			for _, part := range parts {
				lines = append(lines, complaint(part)...)
			}
			return lines
		}
	}
	if errors.Is(err, errNobodyReads) {
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
