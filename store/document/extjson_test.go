package document

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// asTheDriver converts a document and compares the result with the driver's. It reports whether the converter did it
// alone.
func asTheDriver(t *testing.T, text []byte) (alone bool) {
	t.Helper()
	fields := listRules[Keys].fields
	got, notExtendedJSON, notBSON := fromExtendedJSON(text, fields)
	want, wantNotExtendedJSON, wantNotBSON := driverFromExtendedJSON(text, fields)
	if !bytes.Equal(got, want) || fmt.Sprint(notExtendedJSON, notBSON) != fmt.Sprint(wantNotExtendedJSON, wantNotBSON) {
		t.Errorf("%s\n got %v, %v, %v\nwant %v, %v, %v", text, got, notExtendedJSON, notBSON, want, wantNotExtendedJSON, wantNotBSON)
	}
	_, alone = (&converter{text: text, fields: fields}).document()
	return alone
}

// The converter must read documents exactly as the driver does, which other tools of MongoDB agree with. Otherwise an
// import would change documents.
func FuzzFromExtendedJSON(f *testing.F) {
	for _, value := range extendedJSONValues {
		f.Add([]byte(`{"created_at": ` + value + `, "x": [` + value + `, {"y": ` + value + `}]}`))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		// Check has made sure of this.
		if text = bytes.TrimSpace(text); json.Valid(text) && utf8.Valid(text) && text[0] == '{' {
			asTheDriver(t, text)
		}
	})
}

var extendedJSONValues = []string{
	`null`, `true`, `false`, `""`, `"text"`, `"\u00e9\n\"\\/"`, `"\u0000"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\\ud83d"`, `"2025-01-01T00:00:00Z"`, `"2025-01-01t00:00:00.123456+02:00"`,
	`0`, `-0`, `1`, `-1`, `2147483647`, `2147483648`, `-2147483648`, `-2147483649`, `9223372036854775807`, `9223372036854775808`, `-9223372036854775809`,
	`1.0`, `1e3`, `1E-3`, `-0.0`, `[]`, `{}`, `[[1], [[]]]`, `{"a": {"b": []}}`, `{"": 1, "": 2}`, `{"a": 1, "$b": 2}`, `{"a\u0000": 1}`, `{"\u0061": 1}`,
	`{"$oid": "65a1b2c3d4e5f60718293a4b"}`, `{"$oid": "65A1B2C3D4E5F60718293A4B"}`, `{"$oid": "short"}`, `{"$oid": "65a1b2c3d4e5f60718293a4z"}`, `{"$oid": 1}`, `{"$oid": "65a1b2c3d4e5f60718293a4b", "a": 1}`,
	`{"$date": "2025-01-01T00:00:00Z"}`, `{"$date": "2025-01-01T00:00:00.5+01:00"}`, `{"$date": "2025-01-01T00:00:00.1234567Z"}`, `{"$date": "2025-01-01"}`, `{"$date": 1}`, `{"$date": {"$numberLong": "-1"}}`,
	`{"$date": {"$numberLong": "+1"}}`, `{"$date": {"$numberLong": "x"}}`, `{"$date": {"$numberLong": 1}}`, `{"$date": {"$numberInt": "1"}}`, `{"$date": {}}`, `{"$date": {"$numberLong": "1", "a": 1}}`, `{"$date": "0000-01-01T00:00:00Z"}`, `{"$date": "12025-01-01T00:00:00Z"}`,
	`{"$numberInt": "7"}`, `{"$numberInt": "2147483648"}`, `{"$numberInt": "+7"}`, `{"$numberInt": ""}`, `{"$numberInt": 7}`, `{"$numberLong": "7"}`, `{"$numberLong": "9223372036854775808"}`, `{"$numberLong": "0x7"}`, `{"$numberLong": "1_0"}`,
	`{"$numberDouble": "NaN"}`, `{"$numberDouble": "1.5"}`, `{"$numberDecimal": "0.1"}`, `{"$binary": {"base64": "AA==", "subType": "00"}}`, `{"$uuid": "c8edabc3-f738-4ca3-b68d-ab92a91478a3"}`,
	`{"$regularExpression": {"pattern": "a", "options": "i"}}`, `{"$timestamp": {"t": 1, "i": 2}}`, `{"$symbol": "x"}`, `{"$undefined": true}`, `{"$minKey": 1}`, `{"$maxKey": 1}`, `{"$code": "x"}`, `{"$code": "x", "$scope": {}}`,
	`{"$dbPointer": {"$ref": "x", "$id": {"$oid": "65a1b2c3d4e5f60718293a4b"}}}`, `{"$ref": "x", "$id": 1}`, `{"$unknown": 1}`, `{"$": 1}`,
	strings.Repeat(`[`, maxDepth+2) + strings.Repeat(`]`, maxDepth+2), strings.Repeat(`{"a":`, maxDepth+2) + `1` + strings.Repeat(`}`, maxDepth+2),
}

// Documents of every type, in both forms that MongoDB's tools write and with any white space, must be read as the
// driver does. The common ones must not need the driver, which takes ten times as long.
func TestFromExtendedJSONIsTheDrivers(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2_000 {
		doc := randomDocument(random, 0)
		for _, canonical := range []bool{true, false} {
			text, err := bson.MarshalExtJSON(doc, canonical, false)
			if err != nil {
				t.Fatal(err)
			}
			asTheDriver(t, text)
			var indented bytes.Buffer
			if err := json.Indent(&indented, text, "\r", "\t"); err != nil {
				t.Fatal(err)
			}
			asTheDriver(t, indented.Bytes())
		}
	}
	for _, common := range []string{
		`{}`, `{"_id": {"$oid": "65a1b2c3d4e5f60718293a4b"}, "a": [1, {"$numberInt": "-2"}, {"$numberLong": "3"}], "b": {"c": null, "d": "\n\u00e9"}, "e": true, "f": false}`,
		`{"created_at": "2025-01-01T00:00:00Z", "expires_at": {"$date": "2025-01-01T00:00:00.5Z"}, "revoked_at": {"$date": {"$numberLong": "1735689600000"}}, "name": "2025-01-01T00:00:00Z"}`,
	} {
		if !asTheDriver(t, []byte(common)) {
			t.Errorf("%s needs the driver", common)
		}
	}
}

// randomDocument returns a document of any types, nested up to three levels.
func randomDocument(random *rand.Rand, depth int) bson.D {
	names := []string{"_id", "key_id", "created_at", "expires_at", "rate_limit_override", "scopes", "a", "é", "", "with space", "quote\""}
	d := bson.D{}
	for range random.IntN(6) {
		d = append(d, bson.E{Key: names[random.IntN(len(names))], Value: randomValue(random, depth)})
	}
	return d
}

func randomValue(random *rand.Rand, depth int) any {
	const scalars, all = 11, 13
	kinds := all
	if depth == 3 {
		kinds = scalars
	}
	switch random.IntN(kinds) {
	case 0:
		return nil
	case 1:
		return random.IntN(2) == 0
	case 2:
		return int32(random.Uint32())
	case 3:
		return int64(random.Uint64())
	case 4:
		return int64(random.IntN(100))
	case 5:
		return []float64{0, math.Copysign(0, -1), 1, 1.5, 1e300, math.Inf(1), math.NaN()}[random.IntN(7)]
	case 6:
		return []string{"", "text", "é\u2028\n\t\"\\/<>&", "\x00", "😀", "2025-01-01T00:00:00Z", "2025-01-01T01:02:03.004+05:00", "$oid"}[random.IntN(8)]
	case 7:
		return bson.NewObjectID()
	case 8:
		return bson.DateTime(random.Int64N(2*253402300799999) - 253402300799999)
	case 9:
		return bson.Binary{Subtype: 4, Data: []byte("0123456789abcdef")}
	case 10:
		return bson.NewDecimal128(random.Uint64()>>8, random.Uint64())
	case 11:
		return randomDocument(random, depth+1)
	default:
		list := bson.A{}
		for range random.IntN(4) {
			list = append(list, randomValue(random, depth+1))
		}
		return list
	}
}
