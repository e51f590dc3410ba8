package wire

import "bytes"

// Encoding is the name of the encoding of a text that is not in UTF-8, as some systems write files.
type Encoding string

func (e Encoding) Error() string { return "is in " + string(e) + ": save it as UTF-8" }

// UTF8 returns a text that JSON begins without the byte order mark that some systems put at its start. It looks at the first
// four bytes only. No JSON in UTF-8 has a NUL there, and all JSON in UTF-16 and UTF-32 does. The error is an Encoding.
func UTF8(text []byte) ([]byte, error) {
	start := text[:min(len(text), 4)]
	nul := func(i int) bool { return i < len(start) && start[i] == 0 }
	// UTF-16's mark begins UTF-32's, and only UTF-32 has two NULs for one character.
	utf32 := string(start) == "\xff\xfe\x00\x00" || nul(0) && nul(1) || nul(1) && nul(2) || nul(2) && nul(3)
	switch {
	case utf32:
		return nil, Encoding("UTF-32")
	case bytes.HasPrefix(start, []byte("\xff\xfe")), bytes.HasPrefix(start, []byte("\xfe\xff")), bytes.IndexByte(start, 0) >= 0:
		return nil, Encoding("UTF-16")
	default:
		return bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), nil
	}
}
