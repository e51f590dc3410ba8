package apikey

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var lists = []listKind{byCreatedAt, byLastUsedAt, byExpiresAt, byName, retrievers}

// anyPosition generates a position that an item of the list can have.
func anyPosition(l listKind) *rapid.Generator[position] {
	return rapid.Custom(func(t *rapid.T) position {
		p := position{kind: l, id: rapid.String().Draw(t, "id")}
		if l == byName || l == retrievers {
			p.value = rapid.String().Draw(t, "name")
			return p
		}
		var at *time.Time
		if !rapid.Bool().Draw(t, "null") {
			at = new(time.UnixMilli(rapid.Int64().Draw(t, "milliseconds")))
		}
		p.value, p.null = timeValue(at)
		return p
	})
}

// Without this, a page does not start where the last one ended.
func TestCursorRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPosition(rapid.SampledFrom(lists).Draw(t, "list")).Draw(t, "position")
		got, ok := parseCursor(p.cursor(), p.kind)
		if !ok {
			t.Fatalf("%+v was refused", p)
		}
		if diff := cmp.Diff(p, *got, cmp.AllowUnexported(position{})); diff != "" {
			t.Fatal(diff)
		}
	})
}

// Without this, a cursor cannot be put into a URL, or shows its contents.
func TestCursorIsOpaqueText(t *testing.T) {
	p := position{kind: byName, value: "a name & more?", id: "key_1"}
	if c := p.cursor(); strings.ContainsAny(c, "+/=&? ") || strings.Contains(c, "name") {
		t.Errorf("the cursor is %q", c)
	}
}

// Without this, cursors order times differently than the store does, for example times before 1970.
func TestTimeValueSortsAsTimesDo(t *testing.T) {
	milliseconds := rapid.OneOf(rapid.Int64(), rapid.Int64Range(-2, 2), rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt64, -62167219200000, 253402300799999}))
	rapid.Check(t, func(t *rapid.T) {
		a, b := time.UnixMilli(milliseconds.Draw(t, "a")), time.UnixMilli(milliseconds.Draw(t, "b"))
		av, aNull := timeValue(&a)
		bv, bNull := timeValue(&b)
		if aNull || bNull || len(av) != 8 || len(bv) != 8 {
			t.Fatalf("the values are %q and %q", av, bv)
		}
		if got, want := strings.Compare(av, bv), a.Compare(b); got != want {
			t.Fatalf("the values of %v and %v compare %d, the times %d", a, b, got, want)
		}
		p := position{kind: byCreatedAt, value: av}
		if back := p.time(); !back.Equal(a) || back.Location() != time.UTC {
			t.Fatalf("%v was decoded as %v", a, back)
		}
	})
	if value, null := timeValue(nil); value != "" || !null {
		t.Errorf("the value of a nil time is %q, %v", value, null)
	}
	if p := (position{kind: byCreatedAt, null: true}); p.time() != nil {
		t.Errorf("a nil time was decoded as %v", p.time())
	}
}

// Without this, a damaged or truncated cursor silently leads to another page.
func TestCursorIsTamperProof(t *testing.T) {
	alphabet := []rune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=.\r\n \x00é")
	rapid.Check(t, func(t *rapid.T) {
		l := rapid.SampledFrom(lists).Draw(t, "list")
		p := anyPosition(l).Draw(t, "position")
		text := p.cursor()
		i := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		other := string(rapid.SampledFrom(alphabet).Draw(t, "character"))
		for what, changed := range map[string]string{
			"replaced":  text[:i] + other + text[i+1:],
			"inserted":  text[:i] + other + text[i:],
			"appended":  text + other,
			"removed":   text[:i] + text[i+1:],
			"truncated": text[:i],
			"beheaded":  text[i+1:],
			"doubled":   text + text,
		} {
			if changed == text {
				continue
			}
			if got, ok := parseCursor(changed, l); ok || got != nil {
				t.Fatalf("%s at %d: %q was accepted as %+v", what, i, changed, got)
			}
		}
	})
}

// Without this, a cursor of one order is accepted by another, where its value has another meaning: the 8 bytes of a name could be read as a
// time.
func TestCursorOfAnotherListIsRefused(t *testing.T) {
	for _, from := range lists {
		for _, null := range []bool{false, true} {
			p := position{kind: from, value: "12345678", id: "key_1"}
			if null {
				p.value, p.null = "", true
			}
			for _, to := range lists {
				want := from == to && (!null || from != byName && from != retrievers)
				if _, ok := parseCursor(p.cursor(), to); ok != want {
					t.Errorf("a cursor of list %c, null %v, as one of list %c: accepted %v", from, null, to, ok)
				}
			}
		}
	}
}

// Anyone can compute a cursor's checksum. Without this, a forged cursor makes the server panic or search for values that no document can
// have.
func TestForgedCursorsAreRefused(t *testing.T) {
	for name, b := range map[string]string{
		"nothing":                               "",
		"only a list":                           "c",
		"a list and a flag":                     "c\x00",
		"an invalid flag":                       "c\x02\x00key_1",
		"a time of no bytes":                    "c\x00\x00key_1",
		"a time of seven bytes":                 "c\x00\x071234567key_1",
		"a time of nine bytes":                  "c\x00\x09123456789key_1",
		"a null with a value":                   "c\x01\x0812345678key_1",
		"a value longer than the rest":          "n\x00\x09key_1",
		"a value of enormous length":            "n\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01key_1",
		"an endless length":                     "n\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
		"a truncated length":                    "n\x00\x80",
		"a length in more bytes than needed":    "n\x00\x81\x00akey_1",
		"a name that is null":                   "n\x01\x00key_1",
		"a retriever's name that is null":       "r\x01\x00ret_1",
		"a name that is not UTF-8":              "n\x00\x01\xffkey_1",
		"an id that is not UTF-8":               "n\x00\x01a\xff",
		"an id that is not UTF-8, after a time": "c\x00\x0812345678\xff",
		"an invalid list":                       "x\x00\x00key_1",
	} {
		for _, l := range lists {
			if p, ok := parseCursor(signed(b), l); ok {
				t.Errorf("%s was accepted as %+v of list %c", name, p, l)
			}
		}
	}
}

// signed returns a cursor of these bytes with a valid checksum.
func signed(b string) string {
	return cursorText.EncodeToString(binary.BigEndian.AppendUint32([]byte(b), crc32.ChecksumIEEE([]byte(b))))
}

// FuzzParseCursor looks for texts that panic, or that are accepted although cursor would not write them. It tries every input as it is and
// as the bytes of a cursor with a valid checksum, which fuzzing alone would never find.
func FuzzParseCursor(f *testing.F) {
	for i, l := range lists {
		for _, p := range []position{
			{kind: l, value: "12345678", id: "key_1"}, {kind: l, null: true, id: "key_1"}, {kind: l, value: "a name", id: ""},
		} {
			text := p.cursor()
			f.Add(text, byte(i))
			raw, err := cursorText.DecodeString(text)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(raw[:len(raw)-4]), byte(i))
		}
	}
	for _, text := range []string{"", "AAAA", "\n", "====", "n\x00\x81\x00akey_1", "c\x00\x80"} {
		f.Add(text, byte(3))
	}
	f.Fuzz(func(t *testing.T, text string, n byte) {
		l := lists[int(n)%len(lists)]
		for _, text := range []string{text, signed(text)} {
			p, ok := parseCursor(text, l)
			if !ok {
				if p != nil {
					t.Fatalf("%q was refused, but gave %+v", text, p)
				}
				continue
			}
			if p.kind != l {
				t.Fatalf("%q is of the list %c, not %c", text, p.kind, l)
			}
			if again := p.cursor(); again != text {
				t.Fatalf("%q was accepted, but is written %q", text, again)
			}
			if l != byName && l != retrievers {
				p.time()
			}
		}
	})
}
