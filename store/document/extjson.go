package document

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// fromExtendedJSON converts a document from Extended JSON to BSON. The text must be a valid JSON object in UTF-8. An
// RFC 3339 string in one of the document's own date fields becomes a date.
func fromExtendedJSON(text []byte, fields map[string]kind) (doc bson.Raw, notExtendedJSON, notBSON error) {
	c := converter{text: text, fields: fields}
	if doc, ok := c.document(); ok {
		return doc, nil, nil
	}
	return driverFromExtendedJSON(text, fields)
}

// driverFromExtendedJSON is fromExtendedJSON without the converter.
func driverFromExtendedJSON(text []byte, fields map[string]kind) (doc bson.Raw, notExtendedJSON, notBSON error) {
	var d bson.D
	if err := bson.UnmarshalExtJSON(text, false, &d); err != nil {
		return nil, err, nil
	}
	for i, e := range d {
		if s, ok := e.Value.(string); ok && fields[e.Key] == isDate {
			if t, ok := importedDate(s); ok {
				d[i].Value = t
			}
		}
	}
	doc, err := bson.Marshal(d)
	return doc, nil, err
}

func importedDate(text string) (bson.DateTime, bool) {
	t, err := time.Parse(time.RFC3339, text)
	return bson.NewDateTimeFromTime(t), err == nil
}

// converter converts documents that consist of the common types, in a tenth of the driver's time: an import converts
// every document twice. It gives up on any other document, which the driver then converts.
type converter struct {
	text   []byte
	at     int
	fields map[string]kind
	out    []byte
}

// maxDepth is the depth of nested documents and arrays at which the converter gives up.
const maxDepth = 16

func (c *converter) document() (bson.Raw, bool) {
	c.out = make([]byte, 0, len(c.text))
	if !c.skip('{') || !c.object(0) {
		return nil, false
	}
	return c.out, true
}

// next skips white space and returns the next character, or 0 at the end.
func (c *converter) next() byte {
	for ; c.at < len(c.text); c.at++ {
		switch c.text[c.at] {
		case ' ', '\t', '\r', '\n':
		default:
			return c.text[c.at]
		}
	}
	return 0
}

// skip skips white space and one of these characters, and reports whether there is one.
func (c *converter) skip(char byte) bool {
	if c.next() != char {
		return false
	}
	c.at++
	return true
}

// quoted reads a string, without the quotes.
func (c *converter) quoted() (between []byte, escaped, ok bool) {
	if !c.skip('"') {
		return nil, false, false
	}
	start := c.at
	for ; c.at < len(c.text); c.at++ {
		switch c.text[c.at] {
		case '"':
			c.at++
			return c.text[start : c.at-1], escaped, true
		case '\\':
			escaped = true
			c.at++
		}
	}
	return nil, false, false
}

// plain reads a string without escapes.
func (c *converter) plain() ([]byte, bool) {
	between, escaped, ok := c.quoted()
	return between, ok && !escaped
}

// name reads a name and its colon. It gives up on names that Extended JSON reserves.
func (c *converter) name() ([]byte, bool) {
	name, ok := c.plain()
	return name, ok && !bytes.HasPrefix(name, []byte("$")) && bytes.IndexByte(name, 0) < 0 && c.skip(':')
}

// object reads an object after its brace.
func (c *converter) object(depth int) bool {
	var start int32
	start, c.out = bsoncore.ReserveLength(c.out)
	for more := !c.skip('}'); more; {
		name, ok := c.name()
		if !ok {
			return false
		}
		field := isID
		if depth == 0 {
			field = c.fields[string(name)]
		}
		if !c.element(name, field, depth) || !c.list('}', &more) {
			return false
		}
	}
	return c.end(start)
}

// array reads an array after its bracket.
func (c *converter) array(depth int) bool {
	var start int32
	start, c.out = bsoncore.ReserveLength(c.out)
	i, more := 0, !c.skip(']')
	for ; more; i++ {
		if !c.element(strconv.AppendInt(nil, int64(i), 10), isID, depth) || !c.list(']', &more) {
			return false
		}
	}
	return c.end(start)
}

// list reads what follows an element: a comma, or the end, after which there are no more elements.
func (c *converter) list(end byte, more *bool) bool {
	if c.skip(',') {
		return true
	}
	*more = false
	return c.skip(end)
}

func (c *converter) end(start int32) bool {
	c.out = append(c.out, 0)
	c.out = bsoncore.UpdateLength(c.out, start, int32(len(c.out[start:])))
	return true
}

// start writes what precedes a value.
func (c *converter) start(t bsoncore.Type, name []byte) {
	c.out = append(c.out, byte(t))
	c.out = append(c.out, name...)
	c.out = append(c.out, 0)
}

func (c *converter) element(name []byte, field kind, depth int) bool {
	switch char := c.next(); char {
	case '"':
		return c.string(name, field)
	case '{':
		if depth == maxDepth {
			return false
		}
		c.at++
		if c.next() == '"' && bytes.HasPrefix(c.text[c.at:], []byte(`"$`)) {
			return c.wrapped(name)
		}
		c.start(bsoncore.TypeEmbeddedDocument, name)
		return c.object(depth + 1)
	case '[':
		if depth == maxDepth {
			return false
		}
		c.at++
		c.start(bsoncore.TypeArray, name)
		return c.array(depth + 1)
	case 't', 'f':
		c.start(bsoncore.TypeBoolean, name)
		c.out = bsoncore.AppendBoolean(c.out, char == 't')
		return c.literal("true") || c.literal("false")
	case 'n':
		c.start(bsoncore.TypeNull, name)
		return c.literal("null")
	default:
		return c.integer(name)
	}
}

func (c *converter) literal(text string) bool {
	if !bytes.HasPrefix(c.text[c.at:], []byte(text)) {
		return false
	}
	c.at += len(text)
	return true
}

func (c *converter) string(name []byte, field kind) bool {
	between, escaped, ok := c.quoted()
	if !ok {
		return false
	}
	if escaped {
		// Escapes of surrogates begin with \ud or \uD. Decoders differ in half a pair.
		if bytes.Contains(between, []byte(`\ud`)) || bytes.Contains(between, []byte(`\uD`)) {
			return false
		}
		var s string
		if json.Unmarshal(c.text[c.at-len(between)-2:c.at], &s) != nil {
			return false
		}
		between = []byte(s)
	}
	if field == isDate {
		if t, ok := importedDate(string(between)); ok {
			return c.date(name, t)
		}
	}
	c.start(bsoncore.TypeString, name)
	c.out = bsoncore.AppendString(c.out, string(between))
	return true
}

func (c *converter) date(name []byte, t bson.DateTime) bool {
	c.start(bsoncore.TypeDateTime, name)
	c.out = bsoncore.AppendDateTime(c.out, int64(t))
	return true
}

// integer writes a whole number as the driver does: in 32 bits if it fits.
func (c *converter) integer(name []byte) bool {
	start := c.at
	for c.at < len(c.text) && (c.text[c.at] == '-' || '0' <= c.text[c.at] && c.text[c.at] <= '9') {
		c.at++
	}
	digits := c.text[start:c.at]
	if next := c.next(); next != ',' && next != '}' && next != ']' {
		return false
	}
	return c.number(name, digits, 0)
}

// number writes an integer with this many bits, or as many as it needs if bits is 0.
func (c *converter) number(name, digits []byte, bits int) bool {
	n, err := strconv.ParseInt(string(digits), 10, 64)
	small := int64(int32(n)) == n
	switch {
	case err != nil || bits == 32 && !small:
		return false
	case bits == 32 || bits == 0 && small:
		c.start(bsoncore.TypeInt32, name)
		c.out = bsoncore.AppendInt32(c.out, int32(n))
	default:
		c.start(bsoncore.TypeInt64, name)
		c.out = bsoncore.AppendInt64(c.out, n)
	}
	return true
}

// wrapped reads the rest of an object that stands for one value, such as {"$oid": "…"}.
func (c *converter) wrapped(name []byte) bool {
	wrapper, ok := c.plain()
	if !ok || !c.skip(':') {
		return false
	}
	if string(wrapper) == "$date" && c.next() == '{' {
		c.skip('{')
		if inner, ok := c.plain(); !ok || string(inner) != "$numberLong" || !c.skip(':') {
			return false
		}
		digits, ok := c.plain()
		ms, err := strconv.ParseInt(string(digits), 10, 64)
		return ok && err == nil && c.date(name, bson.DateTime(ms)) && c.skip('}') && c.skip('}')
	}
	text, ok := c.plain()
	if !ok || !c.skip('}') {
		return false
	}
	switch string(wrapper) {
	case "$oid":
		var id [12]byte
		if len(text) != hex.EncodedLen(len(id)) {
			return false
		}
		if _, err := hex.Decode(id[:], text); err != nil {
			return false
		}
		c.start(bsoncore.TypeObjectID, name)
		c.out = bsoncore.AppendObjectID(c.out, id)
		return true
	case "$date":
		const likeTheDriver = "2006-01-02T15:04:05.999Z07:00"
		t, err := time.Parse(likeTheDriver, string(text))
		return err == nil && c.date(name, bson.NewDateTimeFromTime(t))
	case "$numberInt":
		return c.number(name, text, 32)
	case "$numberLong":
		return c.number(name, text, 64)
	default:
		return false
	}
}
