package program

import (
	"bufio"
	"bytes"
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

// complaint returns a line for each error that this one joins. It omits errOutputClosed, which is not a failure, and hides keys, which a user may
// have passed as an id or a file name. An error has no full stop at its end, but the sentences below it do.
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
	line := err.Error()
	if e, ok := errors.AsType[*apikey.Error](err); ok {
		line = strings.Replace(line, e.Message, inFlags(e), 1)
	}
	line = printable(apikey.HideKeys(line))
	if more := detail(""); !errors.As(err, &more) {
		line = "retrieverkeys: " + withoutStop(line)
	}
	return []string{line}
}

// withoutStop returns the message without its full stop. It keeps the dots of an ellipsis.
func withoutStop(message string) string {
	if strings.HasSuffix(message, "..") {
		return message
	}
	return strings.TrimSuffix(message, ".")
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

// byteOrderMark begins a text in UTF-8 from some programs, such as PowerShell.
const byteOrderMark = "\ufeff"

// line reads a line from standard input.
func (c *command) line() (string, error) {
	line, err := bufio.NewReader(c.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimSpace(strings.TrimPrefix(line, byteOrderMark)), nil
}
