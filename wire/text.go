package wire

import "bytes"

// Encoding is the error for a text that is not in UTF-8, as some systems write files. It names the encoding.
type Encoding string

func (e Encoding) Error() string { return "is in " + string(e) + ": save it as UTF-8" }

// UTF8 returns a JSON text without the byte order mark that some systems put at its start, or an Encoding if it is in UTF-16 or UTF-32. It looks
// at the first four bytes only: JSON in UTF-8 never has a NUL there, and JSON in UTF-16 and UTF-32 always has one.
func UTF8(text []byte) ([]byte, error) {
	start := text[:min(len(text), 4)]
	nul := func(i int) bool { return i < len(start) && start[i] == 0 }
	// The byte order mark of UTF-32 begins with that of UTF-16. Only UTF-32 has two adjacent NULs in a character.
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
