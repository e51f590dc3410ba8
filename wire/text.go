package wire

import (
	"bytes"
	"errors"
)

// ErrUTF16 refuses a text that is in UTF-16, as some systems write files.
var ErrUTF16 = errors.New("is in UTF-16: save it as UTF-8")

// UTF8 returns a text that JSON begins without the byte order mark that some systems put at its start. It looks at the first
// four bytes only. No JSON in UTF-8 has a NUL there, and all JSON in UTF-16 does.
func UTF8(text []byte) ([]byte, error) {
	start := text[:min(len(text), 4)]
	switch {
	case bytes.HasPrefix(start, []byte("\xff\xfe")), bytes.HasPrefix(start, []byte("\xfe\xff")), bytes.IndexByte(start, 0) >= 0:
		return nil, ErrUTF16
	default:
		return bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), nil
	}
}
