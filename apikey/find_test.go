package apikey

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// Without it a leaked key is passed over, or noise in a file raises the alarm.
func TestRecognize(t *testing.T) {
	for _, prefix := range []string{organizationKeyPrefix, retrieverKeyPrefix} {
		key := mint(prefix).Reveal()
		if s, ok := Recognize(key); !ok || s.Reveal() != key {
			t.Errorf("%s is not recognized", key)
		}
		for i := range len(key) { // the checksum tells each wrong character
			wrong := []byte(key)
			for _, c := range []byte("0aZ_") {
				if wrong[i] = c; c != key[i] {
					if _, ok := Recognize(string(wrong)); ok {
						t.Errorf("%s is recognized", wrong)
					}
				}
			}
		}
		for _, wrong := range []string{"", key[1:], key[:len(key)-1], key + "0", " " + key, "ret_" + key, prefix} {
			if _, ok := Recognize(wrong); ok {
				t.Errorf("%q is recognized", wrong)
			}
		}
	}
	// The checksum is right, and yet no key of ours has these.
	for _, text := range []string{"xx_" + strings.Repeat("a", randomChars), "sk_" + strings.Repeat("a", randomChars-1), "sk_" + strings.Repeat("-", randomChars)} {
		if _, ok := Recognize(text + checksum(text)); ok {
			t.Errorf("%s is recognized", text)
		}
	}
}

type finding struct {
	text string
	line int
}

func findings(t *testing.T, r io.Reader) []finding {
	t.Helper()
	var all []finding
	if err := FindSecrets(r, func(s Secret, line int) { all = append(all, finding{s.Reveal(), line}) }); err != nil {
		t.Fatal(err)
	}
	return all
}

// Wherever in a file a key stands, and however the file arrives, it is found once and its line is told.
func TestFindSecrets(t *testing.T) {
	a, b := mint(retrieverKeyPrefix).Reveal(), mint(organizationKeyPrefix).Reveal()
	for name, tt := range map[string]struct {
		text string
		want []finding
	}{
		"nothing":                  {"", nil},
		"a key":                    {a, []finding{{a, 1}}},
		"two in a line":            {"x=" + a + "," + b + "\n", []finding{{a, 1}, {b, 1}}},
		"side by side":             {a + b + a, []finding{{a, 1}, {b, 1}, {a, 1}}},
		"lines":                    {"\n\n" + a + "\r\n" + b + "\n", []finding{{a, 3}, {b, 4}}},
		"in quotes and in JSON":    {`{"key":"` + a + `"}`, []finding{{a, 1}}},
		"behind half of itself":    {a[:20] + a, []finding{{a, 1}}},
		"behind a prefix":          {"sk_ret_" + b, []finding{{b, 1}}},
		"within a longer text":     {"0" + a + "0", []finding{{a, 1}}},
		"broken by a line":         {a[:20] + "\n" + a[20:], nil},
		"with a wrong last letter": {a[:len(a)-1] + "_", nil},
		"among zero bytes":         {"\x00" + a + "\x00\xff" + b, []finding{{a, 1}, {b, 1}}},
	} {
		for how, r := range map[string]io.Reader{
			"whole":       strings.NewReader(tt.text),
			"in bytes":    iotest.OneByteReader(strings.NewReader(tt.text)),
			"with an end": iotest.DataErrReader(strings.NewReader(tt.text)),
		} {
			if got := findings(t, r); !slices.Equal(got, tt.want) {
				t.Errorf("%s, %s: found %v, want %v", name, how, got, tt.want)
			}
		}
	}
	broken := io.MultiReader(strings.NewReader(a), iotest.ErrReader(errors.New("the disk is gone")))
	if err := FindSecrets(broken, func(Secret, int) {}); err == nil || err.Error() != "the disk is gone" {
		t.Errorf("a file that cannot be read to its end: %v", err)
	}
}

// A key that is cut by the end of what is read at a time is found all the same.
func TestFindSecretsAcrossBuffers(t *testing.T) {
	key := mint(retrieverKeyPrefix).Reveal()
	for _, buffers := range []int{1, 2} {
		for back := range 2*len(key) + 2 {
			lead := buffers*(64<<10) - (buffers-1)*(len(key)-1) - back
			text := strings.Repeat("\n", lead) + key + "\n" + key
			want := []finding{{key, lead + 1}, {key, lead + 2}}
			if got := findings(t, strings.NewReader(text)); !slices.Equal(got, want) {
				t.Errorf("%d characters before the end of buffer %d: found %v", back, buffers, got)
			}
		}
	}
}

// Whatever a text is made of, what is found is what Recognize tells of each place in it.
func TestFindSecretsFindsWhatRecognizeTells(t *testing.T) {
	keys := []string{mint(retrieverKeyPrefix).Reveal(), mint(organizationKeyPrefix).Reveal()}
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.OneOf(rapid.SampledFrom(keys), rapid.SampledFrom([]string{"ret_", "sk_", "r", "s", "\n", keys[0][:30], keys[1][3:]}), rapid.StringN(0, 5, -1))
		text := strings.Join(rapid.SliceOfN(part, 0, 12).Draw(t, "parts"), "")
		var want []finding
		for at := 0; at < len(text); at++ {
			for _, n := range []int{60, 56} {
				if len(text)-at < n {
					continue
				}
				if s, ok := Recognize(text[at : at+n]); ok {
					want = append(want, finding{s.Reveal(), 1 + strings.Count(text[:at], "\n")})
					at += n - 1
					break
				}
			}
		}
		var got []finding
		if err := FindSecrets(strings.NewReader(text), func(s Secret, line int) { got = append(got, finding{s.Reveal(), line}) }); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: found %v, want %v, %v", text, got, want, err)
		}
	})
}

func FuzzFindSecrets(f *testing.F) {
	f.Add([]byte("ret_sk_\nsk_"), []byte(mint(organizationKeyPrefix).Reveal()))
	f.Fuzz(func(t *testing.T, before, after []byte) {
		key := mint(retrieverKeyPrefix).Reveal()
		text := fmt.Sprintf("%s\n%s\n%s", before, key, after)
		line := bytes.Count(before, []byte("\n")) + 2
		if !slices.Contains(findings(t, strings.NewReader(text)), finding{key, line}) {
			t.Errorf("the key in line %d of %q is not found", line, text)
		}
	})
}
