package wire

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestUnambiguous(t *testing.T) {
	for text, want := range map[string]string{
		`{}`: "", `[]`: "", `1`: "", `"a"`: "", `{"a":{"a":[{"a":1},{"a":2}]},"b":"a"}`: "", `["a","a"]`: "", `{"a":["b","b"],"b":[[]]}`: "",
		`{"a":1,"a":2}`: "a", `{"a":{"b":[[{"c":null,"d":{},"c":0}]]}}`: "a.b.c", `[{"a":1,"\u0061":1}]`: "a", `{"":1,"":1}`: "", `{"a":[],"b":{},"a":[]}`: "a",
		`{"a":{"x":"x","y":"x"},"b":{"x":1,"x":1}}`: "b.x", `{"é":1,"\u00e9":1}`: "é",
	} {
		err := Unambiguous([]byte(text))
		twice, ok := errors.AsType[*TwiceError](err)
		if ok != (want != "" || text == `{"":1,"":1}`) || ok && strings.Join(twice.Path, ".") != want || !ok && err != nil {
			t.Errorf("%s: %v, not %q", text, err, want)
		}
	}
	for text, bad := range map[string]bool{
		`"\ud83d\udd11"`: false, `"\uD83D\uDD11\uD83D\uDD11"`: false, `"\\ud800"`: false, `"\\\\ud800"`: false, `"\ufffd"`: false, `"\u0000"`: false, `"\ue000\ud7ff"`: false,
		`"\ud800"`: true, `"\udc00"`: true, `"\udbff"`: true, `"\udfff"`: true, `"\udc00\ud800"`: true, `"\ud800\ud800\udc00"`: true, `"\ud800\\udc00"`: true, `"\\\ud800"`: true,
		`"\ud800x\udc00"`: true, `"\ud83d\udd11\ud83d"`: true, `{"\ud800":1}`: true, `[{"a":["\uDC00"]}]`: true, `"\ud800\n"`: true, `"\n\ud800"`: true,
	} {
		if err := Unambiguous([]byte(text)); errors.Is(err, ErrSurrogate) != bad || !bad && err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Unambiguous accepts a text if and only if decoding loses nothing of it.
func FuzzUnambiguous(f *testing.F) {
	for _, text := range []string{`{"a":1,"a":2}`, `{"a":{"b":"\ud800"}}`, `["\ud83d\udd11","\\ud800"]`, `{"\u0061":[{}],"a":1}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) || strings.ContainsRune(strings.ToValidUTF8(text, "\uFFFD"), '\uFFFD') || strings.Contains(strings.ToLower(text), `\ufffd`) {
			return
		}
		var v any
		_ = json.Unmarshal([]byte(text), &v)
		again, _ := json.Marshal(v)
		members := func(s []byte) (n int) { // colons outside of strings
			inside := false
			for i := 0; i < len(s); i++ {
				switch c := s[i]; {
				case c == '\\':
					i++
				case c == '"':
					inside = !inside
				case c == ':' && !inside:
					n++
				}
			}
			return n
		}
		lost := members(again) < members([]byte(text)) || strings.ContainsRune(string(again), '\uFFFD') || strings.Contains(string(again), `\ufffd`)
		if err := Unambiguous([]byte(text)); (err != nil) != lost {
			t.Errorf("%s: %v, and decoded it is %s", text, err, again)
		}
	})
}
