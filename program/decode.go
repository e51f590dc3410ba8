package program

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"unicode/utf8"
)

// plain returns the text of r in UTF-8. It decompresses gzip, also if nested, and decodes UTF-16 and UTF-32.
func plain(r io.Reader) (io.Reader, error) {
	const headBytes, mostLayers = 4 << 10, 3
	text := bufio.NewReaderSize(r, headBytes)
	for range mostLayers {
		if head, _ := text.Peek(3); !bytes.Equal(head, []byte{0x1F, 0x8B, 8}) {
			break
		}
		unzipped, err := gzip.NewReader(text)
		if err != nil {
			return nil, err
		}
		text = bufio.NewReaderSize(unzipped, headBytes)
	}
	head, _ := text.Peek(headBytes)
	if unit := unitOf(head); unit != nil {
		return &wideReader{text, unit}, nil
	}
	return text, nil
}

// unit is the byte order of a code unit of UTF-16 or UTF-32: the positions of its bytes, most significant first.
type unit []int

var (
	utf16LE, utf16BE = unit{1, 0}, unit{0, 1}
	utf32LE, utf32BE = unit{3, 2, 1, 0}, unit{0, 1, 2, 3}
)

// unitOf returns the unit of a text in UTF-16 or UTF-32, or nil for other texts. It looks for a byte order mark and, if there is none, for the
// zero bytes that ASCII characters have in these encodings.
func unitOf(head []byte) unit {
	for _, marked := range []struct {
		mark string
		unit
	}{{"\xff\xfe\x00\x00", utf32LE}, {"\x00\x00\xfe\xff", utf32BE}, {"\xff\xfe", utf16LE}, {"\xfe\xff", utf16BE}} { // UTF-32 first, because UTF-16's mark is a prefix of UTF-32's
		if bytes.HasPrefix(head, []byte(marked.mark)) {
			return marked.unit
		}
	}
	if len(head) <= 8 {
		return nil
	}
	for _, u := range []unit{utf32LE, utf32BE} {
		if letters := u.letters(head); letters > len(head)/len(u)*3/4 {
			return u
		}
	}
	zeros := [2]int{}
	for i, c := range head {
		if c == 0 {
			zeros[i%2]++
		}
	}
	most, few := len(head)/4, len(head)/100 // 50 % and 2 % of the even or odd bytes
	switch {
	case zeros[1] > most && zeros[0] <= few:
		return utf16LE
	case zeros[0] > most && zeros[1] <= few:
		return utf16BE
	default:
		return nil
	}
}

// letters counts the units that are printable ASCII or white space.
func (u unit) letters(text []byte) int {
	n := 0
	for ; len(text) >= len(u); text = text[len(u):] {
		if c := u.number(text); ' ' <= c && c <= '~' || '\t' <= c && c <= '\r' {
			n++
		}
	}
	return n
}

func (u unit) number(text []byte) uint32 {
	var n uint32
	for _, i := range u {
		n = n<<8 | uint32(text[i])
	}
	return n
}

// wideReader converts UTF-16 or UTF-32 to UTF-8. Keys and line ends are ASCII, so it replaces each surrogate of UTF-16 by U+FFFD.
type wideReader struct {
	text io.Reader
	unit unit
}

func (r *wideReader) Read(p []byte) (int, error) {
	var buf [4]byte
	char := buf[:len(r.unit)]
	n := 0
	for n <= len(p)-utf8.UTFMax {
		if _, err := io.ReadFull(r.text, char); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) { // an incomplete unit at the end
				err = io.EOF
			}
			return n, err
		}
		n += utf8.EncodeRune(p[n:], rune(min(r.unit.number(char), utf8.MaxRune+1))) // EncodeRune writes invalid characters as U+FFFD
	}
	return n, nil
}
