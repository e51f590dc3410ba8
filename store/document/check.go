package document

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
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
	seen map[string]int // the index of the first document with this unique field and value
}

func newChecker(list string) *checker {
	return &checker{list: list, rules: listRules[list], seen: map[string]int{}}
}

// documents converts the next documents of the list from Extended JSON to BSON, and returns what is wrong with them.
// The first of them has the index from.
func (c *checker) documents(from int, texts []json.RawMessage) ([]bson.Raw, Problems) {
	docs, found := make([]bson.Raw, len(texts)), make([]Problems, len(texts))
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for worker := range workers {
		wg.Go(func() {
			for i := worker; i < len(texts); i += workers {
				docs[i], found[i] = c.document(from+i, texts[i])
			}
		})
	}
	wg.Wait()
	for i, doc := range docs {
		if doc != nil {
			c.identity(doc, from+i, c.reporter(from+i, &found[i]))
		}
	}
	return docs, slices.Concat(found...)
}

// reporter returns a function that adds a problem of the document at the index.
func (c *checker) reporter(index int, problems *Problems) func(field, format string, args ...any) {
	return func(field, format string, args ...any) {
		*problems = append(*problems, Problem{List: c.list, Index: index, Field: field, Message: fmt.Sprintf(format, args...)})
	}
}

// document converts one document from Extended JSON to BSON, and returns what is wrong with it by itself.
func (c *checker) document(index int, text json.RawMessage) (bson.Raw, Problems) {
	var problems Problems
	bad := c.reporter(index, &problems)
	if text[0] != '{' {
		bad("", "not a document")
		return nil, problems
	}
	if !utf8.Valid(text) {
		bad("", "is not valid UTF-8")
		return nil, problems
	}
	var doc bson.D
	if err := bson.UnmarshalExtJSON(text, false, &doc); err != nil {
		bad(badField(text), "not Extended JSON: %v", err)
		return nil, problems
	}
	present := map[string]bool{}
	for i := range doc {
		e := &doc[i]
		if present[e.Key] {
			bad(e.Key, "appears twice")
		}
		present[e.Key] = true
		kind, known := c.fields[e.Key]
		if !known || e.Value == nil {
			continue
		}
		if s, ok := e.Value.(string); ok && kind == isDate {
			if t, err := time.Parse(time.RFC3339, s); err == nil {
				e.Value = bson.NewDateTimeFromTime(t)
			}
		}
		kind.check(e.Key, e.Value, bad)
	}
	encoded, err := bson.Marshal(doc)
	if err != nil {
		bad("", "cannot be stored: %v", err)
		return nil, problems
	}
	return encoded, problems
}

// identity checks that the required fields are present and the unique ones are unique.
func (c *checker) identity(doc bson.Raw, index int, bad func(field, format string, args ...any)) {
	for _, field := range c.required {
		if s, ok := doc.Lookup(field).StringValueOK(); !ok || s == "" {
			bad(field, "is required")
		}
	}
	unique := func(field, value string) {
		if first, dup := c.seen[field+"\x00"+value]; dup {
			bad(field, "is the same as in %s[%d]", c.list, first)
			return
		}
		c.seen[field+"\x00"+value] = index
	}
	for _, field := range c.unique {
		if v := doc.Lookup(field); v.Type != 0 {
			unique(field, string(append([]byte{byte(v.Type)}, v.Value...)))
		}
	}
	if c.list == Keys {
		c.carried(doc, bad)
		if k, _ := Key(doc, 0); k.ID == "" {
			bad("key_id", "is required, unless the _id is a text or an ObjectId")
		} else {
			unique("key_id", string(k.ID))
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
func (k kind) check(field string, v any, bad func(field, format string, args ...any)) {
	switch k {
	case isID:
	case isText:
		if _, ok := v.(string); !ok {
			bad(field, "must be a text")
		}
	case isLiteral:
		if s, ok := v.(string); !ok {
			bad(field, "must be a text")
		} else if strings.Contains(s, "*") {
			bad(field, "must not contain *, which is a wildcard in a key's scopes")
		}
	case isHash:
		if s, ok := v.(string); !ok {
			bad(field, "must be a text")
		} else if sum, err := hex.DecodeString(s); err == nil && len(sum) == sha256.Size && s != strings.ToLower(s) {
			bad(field, "must be lower-case hexadecimal: a key with this hash cannot authenticate")
		}
	case isBoolean:
		if _, ok := v.(bool); !ok {
			bad(field, "must be true or false")
		}
	case isDate:
		d, ok := v.(bson.DateTime)
		if !ok {
			bad(field, "must be a date: {\"$date\": …} or RFC 3339")
		} else if t := d.Time(); t.Before(MinTime) || t.After(MaxTime) {
			bad(field, "must be a date between the years 0 and 9999")
		}
	case isLimit:
		var limit float64 // exact for all 32-bit integers
		switch n := v.(type) {
		case int32:
			limit = float64(n)
		case int64:
			limit = float64(n)
		case float64:
			limit = n
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
		items, ok := v.(bson.A)
		if !ok {
			bad(field, "must be a list of texts")
		}
		for i, item := range items {
			if _, ok := item.(string); !ok {
				bad(fmt.Sprintf("%s[%d]", field, i), "must be a text")
			}
		}
	case isScopes:
		items, ok := v.(bson.A)
		if !ok {
			bad(field, "must be a list of scopes")
		}
		for i, item := range items {
			scope, ok := item.(bson.D)
			if !ok {
				bad(fmt.Sprintf("%s[%d]", field, i), "must be a scope: {\"resource_type\", \"resource_id\", \"operations\"}")
			}
			for _, e := range scope {
				within := fmt.Sprintf("%s[%d].%s", field, i, e.Key)
				switch {
				case e.Value == nil:
				case e.Key == "resource_type", e.Key == "resource_id":
					isText.check(within, e.Value, bad)
				case e.Key == "operations":
					isTexts.check(within, e.Value, bad)
				}
			}
		}
	}
}
