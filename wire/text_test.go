package wire

import (
	"errors"
	"testing"
)

// Without it a file that an editor or a spreadsheet has saved is refused for a letter that nobody sees.
func TestUTF8(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "{": "{", "{}": "{}", "\xef\xbb\xbf{}": "{}", "\xef\xbb\xbf": "", "\xef\xbb": "\xef\xbb",
		"\xef\xbb\xbf\xef\xbb\xbf{}": "\xef\xbb\xbf{}", " \xef\xbb\xbf{}": " \xef\xbb\xbf{}", "{\"a\":1}\x00": "{\"a\":1}\x00",
	} {
		if got, err := UTF8([]byte(text)); string(got) != want || err != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"\xff\xfe{\x00}\x00", "\xfe\xff\x00{\x00}", "{\x00}\x00", "\x00{\x00}", "\xff\xfe", "\xfe\xff", // UTF-16
		"\xff\xfe\x00\x00{\x00\x00\x00", "\x00\x00\xfe\xff\x00\x00\x00{", "{\x00\x00\x00", "\x00\x00\x00{", // UTF-32
		"\n\x00{\x00", "\x00\n\x00{",
	} {
		if got, err := UTF8([]byte(text)); !errors.Is(err, ErrUTF16) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}
