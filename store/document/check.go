package document

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// kind is the type that a field must have, unless it is missing or null.
type kind int

const (
	isText kind = iota
	isDate
	isLimit
	isBoolean
	isTexts
	isScopes
	isLiteral // a text without *, because a scope that names it would be a pattern
	isID      // anything
	isHash    // a text; a SHA-256 must be in lower case
)

// rules are the checks of a list's documents. Fields without a rule are kept unchanged.
type rules struct {
	fields   map[string]kind
	required []string
	unique   []string
}

var listRules = map[string]rules{
	Namespaces: {
		fields: map[string]kind{
			"_id": isID, "namespace_id": isLiteral, "namespace_name": isText, "description": isText, "internal_id": isText,
			"organization_id": isText, "organization_name": isText, "created_by_email": isText,
			"created_at": isDate, "updated_at": isDate,
		},
		required: []string{"namespace_id", "namespace_name", "internal_id"},
		unique:   []string{"_id", "namespace_id"},
	},
	Retrievers: {
		fields: map[string]kind{
			"_id": isID, "retriever_id": isLiteral, "retriever_name": isText, "description": isText, "namespace_id": isLiteral,
			"internal_id": isText, "created_at": isDate, "updated_at": isDate,
		},
		required: []string{"retriever_id", "namespace_id", "internal_id"},
		unique:   []string{"_id", "retriever_id"},
	},
	Keys: {
		fields:   keyKinds(),
		required: []string{"key_hash", "internal_id"},
		unique:   []string{"_id", "key_hash"},
	},
}

func keyKinds() map[string]kind {
	kinds := map[string]kind{}
	for _, f := range keyFields {
		kinds[f.name] = f.kind
	}
	return kinds
}

// checker checks the documents of one list.
type checker struct {
	list string
	rules
	seen    map[digest]int32 // the index of the first document with this unique field and value
	present map[string]bool  // the fields of the document being checked
}

// digest identifies a value by half of its SHA-256. An import remembers every id and hash of its file, so they must be
// small. No two values have been found to have one digest.
type digest [sha256.Size / 2]byte

func digestOf(text []byte) digest {
	sum := sha256.Sum256(text)
	return digest(sum[:])
}

func newChecker(list string) *checker {
	return &checker{list: list, rules: listRules[list], seen: map[digest]int32{}, present: map[string]bool{}}
}

// document returns what is wrong with the list's next document.
func (c *checker) document(index int, text json.RawMessage) (problems []Problem) {
	bad := func(field, format string, args ...any) {
		problems = append(problems, Problem{List: c.list, Index: index, Field: field, Message: fmt.Sprintf(format, args...)})
	}
	if text[0] != '{' {
		bad("", "not a document")
		return problems
	}
	if !utf8.Valid(text) {
		bad("", "is not valid UTF-8")
		return problems
	}
	doc, notExtendedJSON, notBSON := fromExtendedJSON(text, c.fields)
	switch {
	case notExtendedJSON != nil:
		bad(badField(text), "not Extended JSON: %v", notExtendedJSON)
		return problems
	case notBSON != nil:
		bad("", "cannot be stored: %v", notBSON)
		return problems
	}
	clear(c.present)
	each(doc, func(name []byte, v value) {
		if c.present[string(name)] {
			bad(string(name), "appears twice")
		}
		c.present[string(name)] = true
		if kind, known := c.fields[string(name)]; known && v.Type != bsoncore.TypeNull {
			kind.check(string(name), v, bad)
		}
	})
	c.identity(doc, index, bad)
	return problems
}

// identity checks that the required fields are present and the unique ones are unique.
func (c *checker) identity(doc bson.Raw, index int, bad func(field, format string, args ...any)) {
	for _, field := range c.required {
		if s, ok := doc.Lookup(field).StringValueOK(); !ok || s == "" {
			bad(field, "is required")
		}
	}
	unique := func(field string, value ...byte) {
		id := digestOf(append([]byte(field+"\x00"), value...))
		if first, dup := c.seen[id]; dup {
			bad(field, "is the same as in %s[%d]", c.list, first)
			return
		}
		c.seen[id] = int32(index)
	}
	for _, field := range c.unique {
		if v := doc.Lookup(field); v.Type != 0 {
			unique(field, append([]byte{byte(v.Type)}, v.Value...)...)
		}
	}
	if c.list == Keys {
		c.carried(doc, bad)
		if k, _ := Key(doc, 0); k.ID == "" {
			bad("key_id", "is required, unless the _id is a text or an ObjectId")
		} else {
			unique("key_id", []byte(k.ID)...)
		}
	}
}

// carried checks what a key's document carries for other collections. Events must belong to the key's organization. A
// successor is refused, because nothing has checked that document.
func (c *checker) carried(doc bson.Raw, bad func(field, format string, args ...any)) {
	if v := doc.Lookup("successor"); v.Type != 0 && v.Type != bson.TypeNull {
		bad("successor", "cannot be imported: let the server that wrote it finish the rotation, and export again")
	}
	v := doc.Lookup(pendingEvents)
	if v.Type == 0 || v.Type == bson.TypeNull {
		return
	}
	events, ok := v.ArrayOK()
	if !ok {
		bad(pendingEvents, "must be a list of audit events")
		return
	}
	items, _ := events.Values()
	for i, item := range items {
		field := fmt.Sprintf("%s[%d]", pendingEvents, i)
		event, ok := item.DocumentOK()
		if !ok {
			bad(field, "must be an audit event")
			continue
		}
		if _, readable := Event(event); !readable {
			bad(field, "must be an audit event")
		} else if !sameTenant(doc, event) {
			bad(field+".internal_id", "must appear once and equal the key's")
		}
	}
}

// badField returns the field that is not valid Extended JSON, or "" if the document as a whole is not.
func badField(text json.RawMessage) string {
	dec := json.NewDecoder(bytes.NewReader(text))
	if _, err := dec.Token(); err != nil {
		return ""
	}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return ""
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return ""
		}
		var d bson.D
		if bson.UnmarshalExtJSON(append(append([]byte(`{"v":`), value...), '}'), false, &d) != nil {
			name, _ := token.(string)
			return name
		}
	}
	return ""
}

// check reports what is wrong with the value of a field.
func (k kind) check(field string, v value, bad func(field, format string, args ...any)) {
	text, isString := v.bytes(), v.Type == bsoncore.TypeString
	switch k {
	case isID:
	case isText, isLiteral, isHash:
		switch {
		case !isString:
			bad(field, "must be a text")
		case k == isLiteral && bytes.IndexByte(text, '*') >= 0:
			bad(field, "must not contain *, which is a wildcard in a key's scopes")
		case k == isHash && isUpperCaseHash(text):
			bad(field, "must be lower-case hexadecimal: a key with this hash cannot authenticate")
		}
	case isBoolean:
		if v.Type != bsoncore.TypeBoolean {
			bad(field, "must be true or false")
		}
	case isDate:
		if v.Type != bsoncore.TypeDateTime {
			bad(field, "must be a date: {\"$date\": …} or RFC 3339")
		} else if _, ok := v.time(); !ok {
			bad(field, "must be a date between the years 0 and 9999")
		}
	case isLimit:
		var limit float64 // exact for all 32-bit integers
		switch v.Type {
		case bsoncore.TypeInt32:
			limit = float64(v.Int32())
		case bsoncore.TypeInt64:
			limit = float64(v.Int64())
		case bsoncore.TypeDouble:
			limit = v.Double()
		default:
			bad(field, "must be an integer")
			return
		}
		switch {
		case limit != math.Trunc(limit) || math.Abs(limit) > math.MaxInt32:
			bad(field, "must be a 32-bit integer")
		case limit < 1:
			bad(field, "must be at least 1")
		}
	case isTexts:
		i := 0
		if !v.items(func(item value) {
			isText.check(fmt.Sprintf("%s[%d]", field, i), item, bad)
			i++
		}) {
			bad(field, "must be a list of texts")
		}
	case isScopes:
		i := 0
		if !v.items(func(scope value) {
			scope.checkScope(fmt.Sprintf("%s[%d]", field, i), bad)
			i++
		}) {
			bad(field, "must be a list of scopes")
		}
	}
}

func (v value) checkScope(field string, bad func(field, format string, args ...any)) {
	if v.Type != bsoncore.TypeEmbeddedDocument {
		bad(field, "must be a scope: {\"resource_type\", \"resource_id\", \"operations\"}")
		return
	}
	each(v.Data, func(name []byte, v value) {
		switch {
		case v.Type == bsoncore.TypeNull:
		case string(name) == "resource_type", string(name) == "resource_id":
			isText.check(field+"."+string(name), v, bad)
		case string(name) == "operations":
			isTexts.check(field+"."+string(name), v, bad)
		}
	})
}

// isUpperCaseHash reports whether the text is a SHA-256 with upper-case letters.
func isUpperCaseHash(text []byte) bool {
	sum, err := hex.DecodeString(string(text))
	return err == nil && len(sum) == sha256.Size && !bytes.Equal(text, bytes.ToLower(text))
}
