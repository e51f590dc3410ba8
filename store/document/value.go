package document

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"retrieverkeys/apikey"
)

// each calls f for every element of the document. It returns false if the bytes are not valid BSON.
func each(doc []byte, f func(name []byte, v value)) bool {
	rest, ok := elements(doc)
	for ok && len(rest) > 0 {
		var name []byte
		var v value
		if name, v, rest, ok = element(rest); ok {
			f(name, v)
		}
	}
	return ok
}

// elements returns the bytes between a document's length and its final zero.
func elements(doc []byte) (all []byte, ok bool) {
	length, rest, ok := bsoncore.ReadLength(doc)
	if !ok || int(length) != len(doc) || len(rest) < 1 {
		return nil, false
	}
	return rest[:len(rest)-1], true
}

// element reads the first element and returns the bytes after it.
func element(all []byte) (name []byte, v value, rest []byte, ok bool) {
	end := bytes.IndexByte(all, 0) // the end of the type and the name
	if end < 1 {
		return nil, value{}, nil, false
	}
	v, rest, ok = readValue(all[end+1:], bsoncore.Type(all[0]))
	return all[1:end], v, rest, ok
}

// readValue reads the common types itself, in a third of bsoncore's time. It leaves the others to bsoncore.
func readValue(b []byte, t bsoncore.Type) (v value, rest []byte, ok bool) {
	length := int64(-1)
	switch t { //nolint:exhaustive // bsoncore reads the others
	case bsoncore.TypeNull:
		length = 0
	case bsoncore.TypeDateTime:
		length = 8
	case bsoncore.TypeString, bsoncore.TypeArray, bsoncore.TypeEmbeddedDocument:
		if len(b) < lengthBytes {
			break
		}
		if length = int64(binary.LittleEndian.Uint32(b)); t == bsoncore.TypeString {
			length += lengthBytes
		}
	}
	if 0 <= length && length <= int64(len(b)) {
		return value{bsoncore.Value{Type: t, Data: b[:length]}}, b[length:], true
	}
	read, rest, ok := bsoncore.ReadValue(b, t)
	return value{read}, rest, ok
}

// lengthBytes is the size of the length before a text.
const lengthBytes = 4

// value is one BSON value, read leniently: a value of an unexpected type reads as absent.
type value struct{ bsoncore.Value }

func (v value) missing() bool {
	return v.Type == bsoncore.TypeNull || v.Type == bsoncore.TypeUndefined
}

// bytes returns the bytes of a text, or nil if the value is not a text. BSON puts the length before them and a zero
// after them.
func (v value) bytes() []byte {
	end := len(v.Data) - 1
	if v.Type != bsoncore.TypeString || end < lengthBytes || v.Data[end] != 0 {
		return nil
	}
	return v.Data[lengthBytes:end]
}

func (v value) text() string {
	b := v.bytes()
	if !utf8.Valid(b) {
		return strings.ToValidUTF8(string(b), "\uFFFD")
	}
	return string(b)
}

func (v value) optionalText() *string {
	if v.Type != bsoncore.TypeString {
		return nil
	}
	s := v.text()
	return &s
}

// id returns a text, or an ObjectId in hexadecimal. Only an _id of these types can stand in for a missing id.
func (v value) id() string {
	if v.Type == bsoncore.TypeObjectID {
		return bson.ObjectID(v.ObjectID()).Hex()
	}
	return v.text()
}

// MinTime and MaxTime bound the instants that RFC 3339 can write. A date outside cannot be displayed, so it counts as
// unreadable.
var (
	MinTime = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	MaxTime = time.Date(9999, 12, 31, 23, 59, 59, 999_000_000, time.UTC)
)

func (v value) time() (t time.Time, ok bool) {
	if v.Type != bsoncore.TypeDateTime {
		return time.Time{}, false
	}
	ms := v.DateTime()
	if ms < MinTime.UnixMilli() || ms > MaxTime.UnixMilli() {
		return time.Time{}, false
	}
	return time.UnixMilli(ms).UTC(), true
}

func (v value) optionalTime() *time.Time {
	if t, ok := v.time(); ok {
		return &t
	}
	return nil
}

func (v value) int32() *int32 {
	var n int64
	switch v.Type {
	case bsoncore.TypeInt32:
		n = int64(v.Int32())
	case bsoncore.TypeInt64:
		n = v.Int64()
	case bsoncore.TypeDouble:
		f := v.Double()
		if f != math.Trunc(f) || math.Abs(f) > math.MaxInt32 {
			return nil
		}
		n = int64(f)
	default:
		return nil
	}
	if n < math.MinInt32 || n > math.MaxInt32 {
		return nil
	}
	i := int32(n)
	return &i
}

func (v value) int64() int64 {
	n, _ := v.AsInt64OK()
	return n
}

func (v value) keyID() *apikey.ID {
	if id := apikey.ID(v.text()); id != "" {
		return &id
	}
	return nil
}

// items calls f for each item of an array. It returns false if the value is not an array.
func (v value) items(f func(value)) bool {
	return v.Type == bsoncore.TypeArray && each(v.Data, func(_ []byte, item value) { f(item) })
}

// known returns the member of all that the text equals, or other.
func known[T ~string](v value, all []T, other T) T {
	b := v.bytes()
	for _, t := range all {
		if string(t) == string(b) {
			return t
		}
	}
	return other
}
