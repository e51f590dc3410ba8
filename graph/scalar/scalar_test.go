package scalar

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"retrieverkeys/apikey"
)

// A scalar that accepts more than the schema says leads to clients that work only with this server.
func TestInputsAreStrict(t *testing.T) {
	read := map[string]func(any) (any, error){
		"ID":       func(v any) (any, error) { return UnmarshalID(v) },
		"Int":      func(v any) (any, error) { return UnmarshalInt(v) },
		"DateTime": func(v any) (any, error) { return UnmarshalDateTime(v) },
		"Date":     func(v any) (any, error) { return UnmarshalDate(v) },
		"Long":     func(v any) (any, error) { return UnmarshalLong(v) },
	}
	for _, c := range []struct {
		scalar string
		in     any
		want   any // nil if it is refused
	}{
		{"ID", "ret_1", "ret_1"}, {"ID", "", ""}, {"ID", int64(12), "12"}, {"ID", json.Number("12"), "12"},
		{"ID", json.Number("12.5"), nil}, {"ID", 12.5, nil}, {"ID", true, nil}, {"ID", nil, nil}, {"ID", map[string]any{"$ne": nil}, nil}, {"ID", []any{"a"}, nil},
		{"Int", int64(5), 5}, {"Int", json.Number("-5"), -5}, {"Int", int64(2147483647), 2147483647}, {"Int", json.Number("-2147483648"), -2147483648},
		{"Int", json.Number("3.0"), 3}, {"Int", json.Number("3e0"), 3}, {"Int", json.Number("-0.0"), 0}, {"Int", json.Number("-30E-1"), -3}, {"Int", json.Number("0.00021474836470e+13"), 2147483647},
		{"Int", json.Number("2147483648.0"), nil}, {"Int", json.Number("2.5"), nil}, {"Int", json.Number("1e-1"), nil}, {"Int", json.Number("3.00000000000000000001"), nil}, {"Int", json.Number("1e999999999"), nil}, {"Int", 3.0, nil},
		{"Int", int64(2147483648), nil}, {"Int", json.Number("99999999999999999999"), nil}, {"Int", "5", nil}, {"Int", json.Number("5.5"), nil}, {"Int", true, nil}, {"Int", nil, nil},
		{"DateTime", "2026-03-01T09:30:00Z", time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)},
		{"DateTime", "2026-03-01T09:30:00.123999+02:00", time.Date(2026, 3, 1, 7, 30, 0, 123e6, time.UTC)},
		{"DateTime", "9999-12-31T23:59:59.999Z", time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC)},
		{"DateTime", "9999-12-31T23:59:59.999-01:00", nil}, {"DateTime", "0000-01-01T00:00:00+01:00", nil}, // a year that RFC 3339 cannot write
		{"DateTime", "2026-03-01T09:30:00,5Z", nil}, {"DateTime", "2026-03-01T09:30:00+24:00", nil}, {"DateTime", "2026-03-01T9:30:00Z", nil}, // package time accepts these
		{"DateTime", "2026-03-01", nil}, {"DateTime", "2026-02-30T00:00:00Z", nil}, {"DateTime", "", nil}, {"DateTime", int64(5), nil}, {"DateTime", nil, nil},
		{"Date", "2026-03-01", apikey.DayOf(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))}, {"Date", "0000-01-01", apikey.DayOf(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC))},
		{"Date", "9999-12-31", apikey.DayOf(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC))},
		{"Date", "2026-02-29", nil}, {"Date", "2026-3-1", nil}, {"Date", "2026-03-01T00:00:00Z", nil}, {"Date", "10000-01-01", nil}, {"Date", "-001-01-01", nil},
		{"Date", "", nil}, {"Date", int64(20260301), nil}, {"Date", json.Number("2026"), nil}, {"Date", nil, nil}, {"Date", []any{"2026-03-01"}, nil},
		{"Long", int64(0), int64(0)}, {"Long", json.Number("9007199254740991"), int64(9007199254740991)}, {"Long", json.Number("3.0"), int64(3)},
		{"Long", json.Number("9007199254740992"), nil}, {"Long", int64(-1), nil}, {"Long", json.Number("-1"), nil}, {"Long", json.Number("1.5"), nil}, {"Long", "5", nil}, {"Long", nil, nil},
	} {
		got, err := read[c.scalar](c.in)
		if c.want == nil {
			if err == nil {
				t.Errorf("%s accepts %#v as %v", c.scalar, c.in, got)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%s reads %#v as %v, %v, want %v", c.scalar, c.in, got, err, c.want)
		}
	}
}

// Milliseconds are kept and always written, so that equal times are equal texts.
func TestDateTimeOutput(t *testing.T) {
	for in, want := range map[time.Time]string{
		time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC):                        `"2026-03-01T09:30:00.000Z"`,
		time.Date(2026, 3, 1, 9, 30, 0, 120e6, time.FixedZone("", 2*60*60)): `"2026-03-01T07:30:00.120Z"`,
		time.Date(1, 1, 1, 0, 0, 0, 999e6, time.UTC):                        `"0001-01-01T00:00:00.999Z"`,
	} {
		var b strings.Builder
		MarshalDateTime(in).MarshalGQL(&b)
		if b.String() != want {
			t.Errorf("%v is written as %s, want %s", in, b.String(), want)
		}
	}
}

// Counts and days are written as clients read them: a number that is exact in JSON, and a day without a time.
func TestUsageOutput(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 17: "17", 1 << 53: "9007199254740991", -4: "0"} {
		var b strings.Builder
		MarshalLong(n).MarshalGQL(&b)
		if b.String() != want {
			t.Errorf("%d is written as %s, want %s", n, b.String(), want)
		}
	}
	var b strings.Builder
	MarshalDate(-1).MarshalGQL(&b)
	if b.String() != `"1969-12-31"` {
		t.Errorf("the day before 1970 is written as %s", b.String())
	}
}

// Without this, one representation without an id fails all others of the request.
func TestRepresentationsAreReadOneByOne(t *testing.T) {
	for _, c := range []struct {
		in    any
		want  Representation
		wrong bool // an error of this representation
		err   bool // an error of the whole list
	}{
		{map[string]any{"__typename": "ApiKey", "id": "key_1", "more": 1}, Representation{TypeName: "ApiKey", ID: "key_1"}, false, false},
		{map[string]any{"__typename": "ApiKey", "id": json.Number("7")}, Representation{TypeName: "ApiKey", ID: "7"}, false, false},
		{map[string]any{"__typename": "ApiKey", "id": ""}, Representation{TypeName: "ApiKey"}, false, false},
		{map[string]any{"__typename": "ApiKey"}, Representation{}, true, false},
		{map[string]any{"__typename": "ApiKey", "id": nil}, Representation{}, true, false},
		{map[string]any{"__typename": "ApiKey", "id": true}, Representation{}, true, false},
		{map[string]any{"id": "key_1"}, Representation{}, true, false},
		{map[string]any{"__typename": 5, "id": "key_1"}, Representation{}, true, false},
		{map[string]any{}, Representation{}, true, false},
		{"key_1", Representation{}, false, true},
		{[]any{}, Representation{}, false, true},
	} {
		got, err := UnmarshalRepresentation(c.in)
		if (err != nil) != c.err || (got.Err != nil) != c.wrong || got.TypeName != c.want.TypeName || got.ID != c.want.ID {
			t.Errorf("%v: %+v, %v", c.in, got, err)
		}
	}
}
