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

// Without this, a leaked key is missed, or harmless text in a file raises an alarm.
func TestRecognize(t *testing.T) {
	for _, prefix := range []string{organizationKeyPrefix, retrieverKeyPrefix} {
		key := mint(prefix).Reveal()
		if s, ok := Recognize(key); !ok || s.Reveal() != key {
			t.Errorf("%s is not recognized", key)
		}
		for i := range len(key) { // the checksum detects each wrong character
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
	// The checksum is right, but this server creates no keys with these prefixes.
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

// A key is found once, with its line, wherever it is in a file and however the file is read.
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
		"after its own first half": {a[:20] + a, []finding{{a, 1}}},
		"after a prefix":           {"sk_ret_" + b, []finding{{b, 1}}},
		"within a longer text":     {"0" + a + "0", []finding{{a, 1}}},
		"broken by a line":         {a[:20] + "\n" + a[20:], nil},
		"with a wrong last letter": {a[:len(a)-1] + "_", nil},
		"between zero bytes":       {"\x00" + a + "\x00\xff" + b, []finding{{a, 1}, {b, 1}}},
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
		t.Errorf("a file that cannot be read completely: %v", err)
	}
}

// A key that crosses the end of a read buffer must be found.
func TestFindSecretsAcrossBuffers(t *testing.T) {
	key := mint(retrieverKeyPrefix).Reveal()
	const kept = maxTokenBytes - 1 + escapeBytes
	for _, buffers := range []int{1, 2} {
		for back := range kept + len(key) + 2 {
			lead := buffers*leakBuffer - (buffers-1)*kept - back
			text := strings.Repeat("\n", lead) + key + "\n" + key
			want := []finding{{key, lead + 1}, {key, lead + 2}}
			if got := findings(t, strings.NewReader(text)); !slices.Equal(got, want) {
				t.Errorf("%d characters before the end of buffer %d: got %v", back, buffers, got)
			}
		}
	}
}

// For any text, the keys found are those that Recognize accepts at some position.
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

// A truncated key, or one without a checksum, must be found. Text that only contains the same letters must not.
func TestFindLeaksFindsFragments(t *testing.T) {
	key, admin := mint(retrieverKeyPrefix).Reveal(), mint(organizationKeyPrefix).Reveal()
	cut := "ret_sk_Ab3"
	for _, c := range []struct {
		text string
		want []string
	}{
		{key[:10], []string{key[:10]}},
		{key[:9], nil},
		{admin[:10] + "…", []string{admin[:10]}},
		{"a=" + key[:59] + "\n", []string{key[:59]}},
		{"a=" + key[:59] + "_", []string{key[:59]}},
		{`{"line":"\n` + cut + `"}`, []string{cut}},
		{`{"line":"\u003d` + cut + `\x26"}`, []string{cut}},
		{"token%3D" + cut + "%26", []string{cut}},
		{"token=" + cut + "&" + key, []string{cut, key}},
		{"task_ret_sk_Ab3 risk_sk_Abcdefg xsk_Abcdefg", nil},
		{"sk_test_Abcdefgh", nil},
		{key[:20] + key, []string{key[:20] + "ret", key}},
		{strings.Repeat("\n", leakBuffer-3) + cut, []string{cut}},
		{strings.Repeat("x", leakBuffer-3) + cut, nil},
		{cut + strings.Repeat("x", 2*leakBuffer), []string{cut + strings.Repeat("x", maxTokenBytes-len(cut))}},
	} {
		for how, r := range map[string]io.Reader{"whole": strings.NewReader(c.text), "in bytes": iotest.OneByteReader(strings.NewReader(c.text))} {
			var got []string
			err := FindLeaks(r, func(s Secret, whole bool, _ int) {
				if _, recognized := Recognize(s.Reveal()); recognized != whole {
					t.Errorf("%q: %s is whole: %t", c.text, s.Reveal(), whole)
				}
				got = append(got, s.Reveal())
			})
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%.80q, %s: found %v, want %v, %v", c.text, how, got, c.want, err)
			}
		}
	}
	// What was read before a failure is searched too.
	var got []string
	broken := io.MultiReader(strings.NewReader(key), iotest.ErrReader(io.ErrUnexpectedEOF))
	if err := FindLeaks(broken, func(s Secret, _ bool, _ int) { got = append(got, s.Reveal()) }); !errors.Is(err, io.ErrUnexpectedEOF) || !slices.Equal(got, []string{key}) {
		t.Errorf("a file that is cut off: found %v, %v", got, err)
	}
}

// An error or a file name that contains a key must not repeat it.
func TestHideKeys(t *testing.T) {
	key, admin := mint(retrieverKeyPrefix).Reveal(), mint(organizationKeyPrefix).Reveal()
	for text, want := range map[string]string{
		"":                              "",
		"nothing":                       "nothing",
		"open " + key + ": not there":   "open " + key[:10] + "...: not there",
		admin + key:                     admin[:10] + "..." + key[:10] + "...",
		"x" + admin:                     "x" + admin[:10] + "...",
		"é " + key[:40] + " é":          "é " + key[:10] + "... é",
		key[:10]:                        key[:10],
		"open sk_customers.csv":         "open sk_customers.csv",
		"disk_Customers1":               "disk_Customers1",
		"open sk_aB3aB3aB3aB3aB3aB3.gz": "open sk_aB3aB3a....gz",
	} {
		if got := HideKeys(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// A whole key is recognized anywhere in a text.
func TestHoldsKey(t *testing.T) {
	key, admin := mint(retrieverKeyPrefix).Reveal(), mint(organizationKeyPrefix).Reveal()
	escaped, braced := "", ""
	for _, r := range admin {
		escaped += fmt.Sprintf(`\u%04x`, r)
		braced += fmt.Sprintf(`\u{%X}`, r)
	}
	for text, want := range map[string]bool{
		escaped: true, braced: true, "x" + escaped + "x": true, escaped[:60] + admin[10:]: true, admin[:30] + escaped[180:]: true,
		escaped[:len(escaped)-1]: false, admin[:30] + `\u{110000}`: false, admin[:30] + `\u{fffffffffffffffff}` + admin[30:]: false, `\ud83d\ude00`: false,
		"": false, "sk_": false, "ret_sk_": false, key: true, admin: true, "sk_sk_" + key: true, "x" + admin + "x": true, "ret_" + admin: true,
		`{ retriever(id: "` + key + `") { id } }`: true, key[:59]: false, key[:59] + "_": false, "sk_" + admin + "\n": true,
	} {
		if got := HoldsKey(text); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}
