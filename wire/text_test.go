package wire

import (
	"errors"
	"testing"
)

// Without this, a file that an editor or a spreadsheet has saved is refused because of an invisible character.
func TestUTF8(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "{": "{", "{}": "{}", "\xef\xbb\xbf{}": "{}", "\xef\xbb\xbf": "", "\xef\xbb": "\xef\xbb",
		"\xef\xbb\xbf\xef\xbb\xbf{}": "\xef\xbb\xbf{}", " \xef\xbb\xbf{}": " \xef\xbb\xbf{}", "{\"a\":1}\x00": "{\"a\":1}\x00",
	} {
		if got, err := UTF8([]byte(text)); string(got) != want || err != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for encoding, texts := range map[Encoding][]string{
		"UTF-16": {"\xff\xfe{\x00}\x00", "\xfe\xff\x00{\x00}", "{\x00}\x00", "\x00{\x00}", "\xff\xfe", "\xfe\xff", "\n\x00{\x00", "\x00\n\x00{"},
		"UTF-32": {"\xff\xfe\x00\x00{\x00\x00\x00", "\xff\xfe\x00\x00", "\x00\x00\xfe\xff\x00\x00\x00{", "{\x00\x00\x00", "\x00\x00\x00{"},
	} {
		for _, text := range texts {
			got, err := UTF8([]byte(text))
			if is, _ := errors.AsType[Encoding](err); is != encoding {
				t.Errorf("%q: %q, %v, want %s", text, got, err, encoding)
			}
		}
	}
}
