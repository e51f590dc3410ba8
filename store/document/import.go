package document

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/wire"
)

// Batch is a set of documents to be stored together. A key's may carry events, see Carrying, which are stored with it.
type Batch struct {
	Namespaces, Retrievers, Keys []bson.Raw
}

// Len is the number of documents.
func (b Batch) Len() int { return len(b.Namespaces) + len(b.Retrievers) + len(b.Keys) }

// ImportOptions say how a Batch is stored.
type ImportOptions struct {
	OnlyIfEmpty bool           // store nothing, with ErrNotEmpty, unless the store holds no document at all
	Progress    func(done int) // called now and then with the number of documents dealt with
}

// Imported counts the documents of a Batch that were stored, and those left alone because their id is stored.
type Imported struct {
	Stored, Existing int
}

// ErrNotEmpty refuses a batch that is meant for an empty store.
var ErrNotEmpty = errors.New("the store is not empty")

// Problem is what is wrong with one document of a batch.
type Problem struct {
	List    string // namespaces, retrievers or api_keys
	Index   int    // in the list, from 0
	Field   string // empty where the document as a whole is meant
	Message string
}

func (p Problem) Error() string {
	if p.Field == "" {
		return fmt.Sprintf("%s[%d]: %s", p.List, p.Index, p.Message)
	}
	return fmt.Sprintf("%s[%d].%s: %s", p.List, p.Index, p.Field, p.Message)
}

// Problems is everything that is wrong with a batch; it is then refused whole.
type Problems []Problem

func (ps Problems) Error() string { return strings.Join(ps.Lines(), "\n") }

// Lines are the first problems, and how many more there are.
func (ps Problems) Lines() []string {
	const shown = 20
	lines := make([]string, 0, shown+1)
	for _, p := range ps[:min(len(ps), shown)] {
		lines = append(lines, p.Error())
	}
	if len(ps) > shown {
		lines = append(lines, fmt.Sprintf("and %d more", len(ps)-shown))
	}
	return lines
}

// The names of the lists of an import file, which are the collections' names.
const (
	Namespaces = "namespaces"
	Retrievers = "retrievers"
	Keys       = "api_keys"
)

// Events is the collection of audit events. They are no part of an import, but for those that documents of keys carry.
const Events = "audit_events"

// Parse reads an import file: {"namespaces":[…],"retrievers":[…],"api_keys":[…]}, each list optional, in MongoDB Extended JSON v2,
// canonical or relaxed. Dates may be RFC 3339 strings too. If documents are wrong, the error is Problems and has all of them.
func Parse(r io.Reader) (Batch, error) {
	var b Batch
	lists := map[string]*[]bson.Raw{Namespaces: &b.Namespaces, Retrievers: &b.Retrievers, Keys: &b.Keys}
	var problems Problems

	file := bufio.NewReader(r)
	start, _ := file.Peek(4)
	text, err := wire.UTF8(start)
	if err != nil {
		return Batch{}, fmt.Errorf("the file %w", err)
	}
	_, _ = file.Discard(len(start) - len(text))
	dec := json.NewDecoder(file)
	if err := expect(dec, '{'); err != nil {
		return Batch{}, err
	}
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return Batch{}, notJSON(dec, err)
		}
		name, _ := token.(string)
		list, known := lists[name]
		switch {
		case !known:
			return Batch{}, fmt.Errorf("unknown list %q: the file holds %s, %s and %s", name, Namespaces, Retrievers, Keys)
		case seen[name]:
			return Batch{}, fmt.Errorf("the list %q stands there twice", name)
		}
		seen[name] = true
		if err := expect(dec, '['); err != nil {
			return Batch{}, fmt.Errorf("%s: %w", name, err)
		}
		check := newChecker(name)
		for dec.More() {
			texts := make([]json.RawMessage, 0, atATime)
			for len(texts) < atATime && dec.More() {
				var text json.RawMessage
				if err := dec.Decode(&text); err != nil {
					return Batch{}, fmt.Errorf("%s[%d]: %w", name, len(*list)+len(texts), notJSON(dec, err))
				}
				texts = append(texts, text)
			}
			docs, found := check.documents(len(*list), texts)
			*list, problems = append(*list, docs...), append(problems, found...)
		}
		if err := expect(dec, ']'); err != nil {
			return Batch{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := expect(dec, '}'); err != nil {
		return Batch{}, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Batch{}, errors.New("something follows the end of the JSON value")
	}
	if len(problems) > 0 {
		return Batch{}, problems
	}
	return b, nil
}

// atATime is how many documents are turned from Extended JSON to BSON side by side.
const atATime = 1_000

func expect(dec *json.Decoder, want json.Delim) error {
	token, err := dec.Token()
	if err != nil {
		return notJSON(dec, err)
	}
	if token != want {
		return fmt.Errorf("not an import file: %q was expected", want.String())
	}
	return nil
}

func notJSON(dec *json.Decoder, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the file ends in the middle of a JSON value")
	}
	if _, ok := errors.AsType[*json.SyntaxError](err); ok {
		// Not the error's own offset, which does not count what was read before as tokens.
		return fmt.Errorf("not JSON, after byte %d: %w", dec.InputOffset(), err)
	}
	return err
}

// kind is what a field of a document must be, if it is there and not null.
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
	isHash    // a text, and lower-case where it is a SHA-256
)

// rules are what is checked of each list's documents. Fields that are not told here are kept as they are.
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
	seen map[string]int // a unique field and its value: where it was seen first
}

func newChecker(list string) *checker {
	return &checker{list: list, rules: listRules[list], seen: map[string]int{}}
}

// documents turns the next documents of the list from Extended JSON to BSON, and returns what is wrong with them. The first
// of them has the index from.
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

// reporter notes what is wrong with the document of that index.
func (c *checker) reporter(index int, problems *Problems) func(field, format string, args ...any) {
	return func(field, format string, args ...any) {
		*problems = append(*problems, Problem{List: c.list, Index: index, Field: field, Message: fmt.Sprintf(format, args...)})
	}
}

// document turns one document from Extended JSON to BSON, and returns what is wrong with it alone.
func (c *checker) document(index int, text json.RawMessage) (bson.Raw, Problems) {
	var problems Problems
	bad := c.reporter(index, &problems)
	if text[0] != '{' {
		bad("", "not a document")
		return nil, problems
	}
	if !utf8.Valid(text) {
		bad("", "holds bytes that are not UTF-8")
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
			bad(e.Key, "stands there twice")
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

// identity checks that what tells documents apart is there, and tells them apart.
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
			bad("key_id", "is required, or an _id that is a text or an ObjectId")
		} else {
			unique("key_id", string(k.ID))
		}
	}
}

// carried checks what a key's document carries for other collections: events of its own organization, and no successor, which is a
// document that nothing has checked.
func (c *checker) carried(doc bson.Raw, bad func(field, format string, args ...any)) {
	if v := doc.Lookup("successor"); v.Type != 0 && v.Type != bson.TypeNull {
		bad("successor", "cannot be imported: let the server that wrote it finish the rotation, and export again")
	}
	v := doc.Lookup(pendingEvents)
	if v.Type == 0 || v.Type == bson.TypeNull {
		return
	}
	list, ok := v.ArrayOK()
	if !ok {
		bad(pendingEvents, "must be a list of audit events")
		return
	}
	items, _ := list.Values()
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
			bad(field+".internal_id", "must be that of the key, once")
		}
	}
}

// badField finds the field that is no Extended JSON; empty where it is the document as a whole.
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

// check reports what is wrong with the value of a field, if anything.
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
			bad(field, "must not hold a *, which in a key's scopes stands for any run of characters")
		}
	case isHash:
		if s, ok := v.(string); !ok {
			bad(field, "must be a text")
		} else if sum, err := hex.DecodeString(s); err == nil && len(sum) == sha256.Size && s != strings.ToLower(s) {
			bad(field, "must be lower-case hexadecimal: a key with this hash could never authenticate")
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
			bad(field, "must be a date of the years 0 to 9999")
		}
	case isLimit:
		var limit float64 // which holds all whole numbers of 32 bits, and of others whether they are too large
		switch n := v.(type) {
		case int32:
			limit = float64(n)
		case int64:
			limit = float64(n)
		case float64:
			limit = n
		default:
			bad(field, "must be a whole number")
			return
		}
		switch {
		case limit != math.Trunc(limit) || math.Abs(limit) > math.MaxInt32:
			bad(field, "must be a whole number of 32 bits")
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

// Identity is what tells a stored document of a list from the others, in the form that engines compare.
type Identity struct {
	Tenant     apikey.InternalID
	ID         string
	Hash       string // of keys only
	DocumentID string // the _id with its BSON type before it; empty where there is none
}

// Identify reads the identity of a document of the list.
func Identify(list string, doc bson.Raw) Identity {
	var i Identity
	if v := doc.Lookup("_id"); v.Type != 0 {
		i.DocumentID = string(append([]byte{byte(v.Type)}, v.Value...))
	}
	switch list {
	case Namespaces:
		n, _ := Namespace(doc)
		i.Tenant, i.ID = n.InternalID, string(n.ID)
	case Retrievers:
		r, _ := Retriever(doc)
		i.Tenant, i.ID = r.InternalID, string(r.ID)
	case Keys:
		k, _ := Key(doc, apikey.FieldInternalID)
		i.Tenant, i.ID, i.Hash = k.InternalID, string(k.ID), k.Hash
	}
	return i
}
