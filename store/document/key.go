package document

import (
	"cmp"
	"slices"
	"time"
	"unicode/utf8"
	"unsafe"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"retrieverkeys/apikey"
)

// Key reads the given fields of an API key. Missing fields of an old or odd document get the defaults that apikey.Key
// documents. Key returns false if the document has no usable id or hash, or is not valid BSON.
//
// Defaults are for display. An unreadable field that decides about authority denies it: the status becomes revoked or
// expired, a scope or permission covers nothing, and origins match nothing.
func Key(doc bson.Raw, fields apikey.Fields) (apikey.Key, bool) {
	return (&KeyReader{Fields: fields}).Key(doc)
}

// KeyReader reads the keys of a list. It keeps their texts and dates in small shared blocks: allocating each value by
// itself costs a list of 1,000 keys 16 % more processor time.
type KeyReader struct {
	Fields apikey.Fields
	Order  apikey.Fields // the date that the list is ordered by, whether or not it is one of Fields
	Odd    bool          // some document has a value there that is not a date which can be displayed
	// Passing is for keys that are looked at and not kept: each is overwritten by the next, so that reading them takes no memory.
	Passing bool

	key        apikey.Key    // the key being read
	fallbackID apikey.ID     // the id that its _id can stand in for
	unreadable apikey.Fields // the dates that cannot be read

	texts       []byte
	optional    block[string]
	times       block[time.Time]
	permissions block[apikey.Permission]
	scopes      block[apikey.Scope]
	operations  block[apikey.Operation]
	origins     block[string]
}

// Key reads a key as the function Key does.
func (r *KeyReader) Key(doc bson.Raw) (apikey.Key, bool) {
	k, fallbackID, ok := r.decode(doc)
	if k.ID == "" {
		k.ID = fallbackID
	}
	return k, ok && k.ID != "" && k.Hash != ""
}

// Listed reads a key for a list. Unlike Key, it returns false for a document without a key_id, even if the _id can
// stand in for it.
func (r *KeyReader) Listed(doc bson.Raw) (apikey.Key, bool) {
	k, _, ok := r.decode(doc)
	return k, ok && k.ID != "" && k.Hash != ""
}

// decode reads a key whose ID is its key_id only, and the id that its _id can stand in for.
func (r *KeyReader) decode(doc bson.Raw) (k apikey.Key, fallbackID apikey.ID, ok bool) {
	r.key, r.fallbackID, r.unreadable = apikey.Key{Type: apikey.Standard, Stored: apikey.Active}, "", 0
	if r.Passing {
		r.texts, r.optional, r.times = r.texts[:0], r.optional[:0], r.times[:0]
		r.permissions, r.scopes, r.operations, r.origins = r.permissions[:0], r.scopes[:0], r.operations[:0], r.origins[:0]
	}
	rest, ok := elements(doc)
	for next := 0; ok && len(rest) > 0; {
		var at int
		var v value
		if at, v, rest, ok = keyElement(rest, next); !ok || at < 0 {
			continue
		}
		next = at + 1
		switch f := &keyFields[at]; {
		case f.field&(r.Fields|always) != 0:
			f.decode(r, v)
		case f.field&r.Order != 0:
			_, dated := v.time()
			r.Odd = r.Odd || !dated && !v.missing()
		}
	}
	switch {
	case r.unreadable&apikey.FieldRevokedAt != 0:
		r.key.Stored = apikey.Revoked
	case r.unreadable&apikey.FieldExpiresAt != 0 && r.key.Stored == apikey.Active:
		r.key.Stored = apikey.Expired
	}
	r.Odd = r.Odd || r.unreadable&r.Order != 0
	return r.key, r.fallbackID, ok
}

// MissingID reports whether the document of a key has no key_id, and returns the id that Key takes from its _id
// instead, if any.
func MissingID(doc bson.Raw) (fallback apikey.ID, missing bool) {
	k, fallback, ok := (&KeyReader{}).decode(doc)
	return fallback, ok && k.ID == ""
}

// text returns a text from the shared block.
func (r *KeyReader) text(v value) string {
	b := v.bytes()
	if !utf8.Valid(b) {
		return v.text()
	}
	if len(b) == 0 {
		return ""
	}
	if len(b) > cap(r.texts)-len(r.texts) {
		larger := min(max(firstTexts, 2*cap(r.texts)), mostTexts)
		r.texts = make([]byte, 0, max(larger, len(b))) // earlier texts keep their memory
	}
	from := len(r.texts)
	r.texts = append(r.texts, b...)
	return unsafe.String(&r.texts[from], len(b)) //nolint:gosec // these bytes do not change while the key is valid
}

// Blocks of texts double in size, up to a small maximum: a key that outlives its list keeps its whole block alive. One
// allocation per ten keys saves nearly as much as one for all.
const (
	firstTexts = 384 // the typical length of one key's texts
	mostTexts  = 4 << 10
)

func (r *KeyReader) optionalText(v value) *string {
	if v.Type != bsoncore.TypeString {
		return nil
	}
	return r.optional.keep(r.text(v))
}

func (r *KeyReader) date(v value, field apikey.Fields) *time.Time {
	if t, ok := v.time(); ok {
		r.unreadable &^= field
		return r.times.keep(t)
	}
	r.unreadable &^= field
	if !v.missing() {
		r.unreadable |= field
	}
	return nil
}

// block stores values in shared arrays, which costs less than allocating each one. A stored value never moves.
type block[T any] []T

// Blocks of values double in size, too.
const (
	firstBlock = 4
	mostBlock  = 16
)

func (b *block[T]) keep(v T) *T {
	if len(*b) == cap(*b) {
		*b = make([]T, 0, min(max(firstBlock, 2*cap(*b)), mostBlock))
	}
	*b = append(*b, v)
	return &(*b)[len(*b)-1]
}

// readList reads the items of an array into a shared block. It returns false if the value is not an array. An empty
// array gives nil.
func readList[T any](v value, among *block[T], read func(value) T) (items []T, ok bool) {
	from := len(*among)
	ok = v.items(func(item value) {
		one := read(item)
		if len(*among) == cap(*among) {
			begun := (*among)[from:]
			*among = append(make([]T, 0, max(firstBlock, 2*len(begun), min(2*cap(*among), mostBlock))), begun...)
			from = 0
		}
		*among = append(*among, one)
	})
	if from == len(*among) {
		return nil, ok
	}
	return (*among)[from:len(*among):len(*among)], ok
}

func (r *KeyReader) keyType(v value) apikey.Type {
	switch {
	case v.missing():
		return apikey.Standard
	case v.Type != bsoncore.TypeString:
		return apikey.UnreadableType
	default:
		return oneWord(r, v, apikey.Types, apikey.UnknownType)
	}
}

func (r *KeyReader) readScopes(v value) []apikey.Scope {
	switch {
	case v.missing():
		return nil
	case v.Type == bsoncore.TypeEmbeddedDocument:
		// This is not a list, so it covers nothing. A query still finds the key by the id that the scope names, so the
		// key must name it too.
		s := r.scope(v)
		s.Operations = []apikey.Operation{apikey.UnknownOperation}
		return []apikey.Scope{s}
	}
	scopes, ok := readList(v, &r.scopes, r.scope)
	if !ok {
		return []apikey.Scope{{ResourceType: apikey.UnknownResource}}
	}
	return scopes
}

func (r *KeyReader) scope(v value) apikey.Scope {
	s := apikey.Scope{ResourceType: apikey.UnknownResource}
	if v.Type != bsoncore.TypeEmbeddedDocument {
		return s
	}
	whole := each(v.Data, func(name []byte, v value) {
		switch string(name) {
		case "resource_type":
			s.ResourceType = oneWord(r, v, apikey.ResourceTypes, apikey.UnknownResource)
		case "resource_id":
			s.ResourceID = r.text(v)
		case "operations":
			s.Operations = words(r, v, &r.operations, apikey.Operations, apikey.UnknownOperation)
		}
	})
	if !whole {
		s.Operations = []apikey.Operation{apikey.UnknownOperation}
	}
	return s
}

func (r *KeyReader) readOrigins(v value) []string {
	if v.missing() {
		return nil
	}
	origins, ok := readList(v, &r.origins, r.text)
	if ok && len(origins) == 0 {
		return nil
	}
	if origins = slices.DeleteFunc(origins, func(s string) bool { return s == "" }); origins == nil {
		return []string{}
	}
	return origins
}

// oneWord reads an enum value as stored. Known values need no memory. A value that is empty or not a text becomes
// unreadable.
func oneWord[T ~string](r *KeyReader, v value, all []T, unreadable T) T {
	t := known(v, all, "")
	if t == "" {
		t = cmp.Or(T(r.text(v)), unreadable)
	}
	return t
}

// words reads a list of enum values. A value that is not a list becomes one unreadable item, so that it still restricts
// the key.
func words[T ~string](r *KeyReader, v value, among *block[T], all []T, unreadable T) []T {
	if v.missing() {
		return nil
	}
	out, ok := readList(v, among, func(item value) T { return oneWord(r, item, all, unreadable) })
	if !ok {
		return []T{unreadable}
	}
	return out
}

var statuses = []apikey.Status{apikey.Active, apikey.Revoked, apikey.Expired}
