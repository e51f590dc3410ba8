package wire

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A string with the wrong escapes makes a response that no client can parse.
func TestText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune("a\"\\\x00\x1f\x7f\n<&\u2028\uFFFDé🔑")))).Draw(t, "text")
		var got string
		if err := json.Unmarshal(Text(nil, want), &got); err != nil || got != want {
			t.Errorf("%q is written as %s: %v", want, Text(nil, want), err)
		}
	})
}

// Clients compare times as strings, so equal times must be equal strings in every time zone.
func TestTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-62167219200, 253402300799).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds"))
		at = at.In(time.FixedZone("", rapid.IntRange(-14*60, 14*60).Draw(t, "zone")*60))
		if got, want := string(Time(nil, at)), at.UTC().Format(`"2006-01-02T15:04:05.000Z"`); got != want {
			t.Errorf("%v is written as %s, not %s", at, got, want)
		}
	})
}

func TestOptional(t *testing.T) {
	for _, got := range [][]byte{OptionalText[string](nil, nil), OptionalInt(nil, nil), OptionalTime(nil, nil)} {
		if string(got) != "null" {
			t.Errorf("nil is written as %s", got)
		}
	}
	n, s := int32(-7), "x"
	if got := OptionalInt(OptionalText(Texts(nil, []string{"a", "b"}), &s), &n); string(got) != `["a","b"]"x"-7` {
		t.Errorf("written as %s", got)
	}
}
