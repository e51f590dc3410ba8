// Package document turns stored documents into the domain's values and back. Both engines and the import keep
// their documents in this one form: BSON with the vendor's field names. Fields not known here are kept as they are.
package document

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"retrieverkeys/apikey"
)

// Key reads an API key, of its fields only those asked for. An old or odd document is read with the defaults that
// apikey.Key tells; false means that it has no usable id or hash, or is no document at all.
//
// Defaults are for display. What decides about authority and cannot be read refuses: the status becomes revoked or
// expired, a scope or permission stays one that covers nothing, origins match nothing.
func Key(doc bson.Raw, fields apikey.Fields) (apikey.Key, bool) {
	return (&KeyReader{Fields: fields}).Key(doc)
}

// KeyReader reads the keys of a list, and keeps their texts and dates side by side in small blocks. To allocate each by itself costs a list
// of 1,000 keys 16 % more processor time.
type KeyReader struct {
	Fields apikey.Fields
	Odd    bool // a document has a created_at that is not a date that can be shown

	key        apikey.Key    // the one that is being read
	fallbackID apikey.ID     // that its _id can stand in for
	unreadable apikey.Fields // dates that cannot be read

	texts       strings.Builder
	optional    block[string]
	times       block[time.Time]
	permissions block[apikey.Permission]
	scopes      block[apikey.Scope]
	operations  block[apikey.Operation]
	origins     block[string]
}

// Key reads one as the function Key does.
func (r *KeyReader) Key(doc bson.Raw) (apikey.Key, bool) {
	k, fallbackID, ok := r.decode(doc)
	if k.ID == "" {
		k.ID = fallbackID
	}
	return k, ok && k.ID != "" && k.Hash != ""
}

// Listed reads a key that lists show. It reports false for a document without a key_id too, even if its _id stands in for that.
func (r *KeyReader) Listed(doc bson.Raw) (apikey.Key, bool) {
	k, _, ok := r.decode(doc)
	return k, ok && k.ID != "" && k.Hash != ""
}

// decode returns the key with its key_id alone, and the id that its _id can stand in for.
func (r *KeyReader) decode(doc bson.Raw) (k apikey.Key, fallbackID apikey.ID, ok bool) {
	r.key, r.fallbackID, r.unreadable = apikey.Key{Type: apikey.Standard, Stored: apikey.Active}, "", 0
	rest, ok := elements(doc)
	for next := 0; ok && len(rest) > 0; {
		var at int
		var v value
		if at, v, rest, ok = keyElement(rest, next); !ok || at < 0 {
			continue
		}
		next = at + 1
		if f := &keyFields[at]; f.field&(r.Fields|always) != 0 {
			f.decode(r, v)
		}
	}
	switch {
	case r.unreadable&apikey.FieldRevokedAt != 0:
		r.key.Stored = apikey.Revoked
	case r.unreadable&apikey.FieldExpiresAt != 0 && r.key.Stored == apikey.Active:
		r.key.Stored = apikey.Expired
	}
	r.Odd = r.Odd || r.unreadable&apikey.FieldCreatedAt != 0
	return r.key, r.fallbackID, ok
}

// MissingID reports whether the document of a key has no key_id, and returns the id that Key reads instead: that of its _id, or none.
func MissingID(doc bson.Raw) (fallback apikey.ID, missing bool) {
	k, fallback, ok := (&KeyReader{}).decode(doc)
	return fallback, ok && k.ID == ""
}

// text is kept among others.
func (r *KeyReader) text(v value) string {
	b := v.bytes()
	if !utf8.Valid(b) {
		return v.text()
	}
	if len(b) > r.texts.Cap()-r.texts.Len() {
		larger := min(max(firstTexts, 2*r.texts.Cap()), mostTexts)
		r.texts.Reset() // what is in it stays where it is
		r.texts.Grow(max(larger, len(b)))
	}
	from := r.texts.Len()
	r.texts.Write(b)
	return r.texts.String()[from:]
}

// Texts are kept in blocks that double. The largest is small, so that a key that outlives its list holds little of it: one allocation for
// every ten keys saves nearly as much as one for all.
const (
	firstTexts = 384 // about as long as one key's
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

// block keeps values side by side, which costs less than a place for each. There they stay.
type block[T any] []T

// Blocks double, too.
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

// readList reads the items of an array into a row among others; false where it is none. That of no item is nil.
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

// Namespace reads a namespace; false means that it has no usable id.
func Namespace(doc bson.Raw) (apikey.Namespace, bool) {
	var n apikey.Namespace
	ok := each(doc, func(name []byte, v value) {
		switch string(name) {
		case "namespace_id":
			n.ID = apikey.NamespaceID(v.text())
		case "namespace_name":
			n.Name = v.text()
		case "description":
			n.Description = v.optionalText()
		case "internal_id":
			n.InternalID = apikey.InternalID(v.text())
		case "organization_id":
			n.OrganizationID = v.optionalText()
		case "organization_name":
			n.OrganizationName = v.optionalText()
		case "created_at":
			n.CreatedAt = v.optionalTime()
		case "updated_at":
			n.UpdatedAt = v.optionalTime()
		}
	})
	return n, ok && n.ID != ""
}

// Retriever reads a retriever; false means that it has no usable id.
func Retriever(doc bson.Raw) (apikey.Retriever, bool) {
	var r apikey.Retriever
	ok := each(doc, func(name []byte, v value) {
		switch string(name) {
		case "retriever_id":
			r.ID = apikey.RetrieverID(v.text())
		case "retriever_name":
			r.Name = v.text()
		case "description":
			r.Description = v.optionalText()
		case "namespace_id":
			r.NamespaceID = apikey.NamespaceID(v.text())
		case "internal_id":
			r.InternalID = apikey.InternalID(v.text())
		case "created_at":
			r.CreatedAt = v.optionalTime()
		case "updated_at":
			r.UpdatedAt = v.optionalTime()
		}
	})
	return r, ok && r.ID != ""
}

// Event reads an audit event; false means that it has no usable id or time, or is no document at all.
func Event(doc bson.Raw) (apikey.Event, bool) {
	e := apikey.Event{ResourceType: apikey.UnknownResource}
	var dated bool
	ok := each(doc, func(name []byte, v value) {
		switch string(name) {
		case "audit_id":
			e.ID = apikey.EventID(v.text())
		case "timestamp":
			e.Timestamp, dated = v.time()
		case "action":
			e.Action = apikey.Action(v.text())
		case "resource_type":
			e.ResourceType = cmp.Or(apikey.ResourceType(v.text()), apikey.UnknownResource)
		case "resource_id":
			e.ResourceID = v.text()
		case "actor_id":
			e.ActorID = v.text()
		case "actor_type":
			e.ActorType = apikey.ActorType(v.text())
		case "actor_key_id":
			e.ActorKeyID = v.keyID()
		case "status":
			e.Outcome = apikey.Outcome(v.text())
		case "changes":
			e.Changes = v.changes()
		case "ip_address":
			e.IPAddress = v.optionalText()
		case "user_agent":
			e.UserAgent = v.optionalText()
		case "internal_id":
			e.InternalID = apikey.InternalID(v.text())
		case "namespace_id":
			e.NamespaceID = apikey.NamespaceID(v.text())
		case "retriever_ids":
			v.items(func(item value) {
				if id := item.text(); id != "" {
					e.RetrieverIDs = append(e.RetrieverIDs, apikey.RetrieverID(id))
				}
			})
		}
	})
	return e, ok && e.ID != "" && dated
}

// pendingEvents is the field of what PendingEvents reads.
const pendingEvents = "pending_events"

// sameTenant reports whether both documents are of one organization. A document that names it twice is of none: readers need not take
// the same one of the two.
func sameTenant(a, b bson.Raw) bool {
	for _, doc := range []bson.Raw{a, b} {
		n := 0
		each(doc, func(name []byte, _ value) {
			if string(name) == "internal_id" {
				n++
			}
		})
		if n != 1 {
			return false
		}
	}
	return a.Lookup("internal_id").Equal(b.Lookup("internal_id"))
}

// PendingEvents reads the audit events that a key's document carries until they are in their own collection, each as
// its document; the successor's is empty where there is none. What belongs to another organization than the key is passed over: no
// document may bring a key or an event into an organization that is not its own.
func PendingEvents(doc bson.Raw) (events []bson.Raw, successor bson.Raw) {
	events, successor, _ = carried(doc)
	return events, successor
}

// Foreign returns how many of the events and the successor that a key's document carries PendingEvents passes over.
func Foreign(doc bson.Raw) int {
	_, _, foreign := carried(doc)
	return foreign
}

func carried(doc bson.Raw) (events []bson.Raw, successor bson.Raw, foreign int) {
	own := func(v value) bool {
		if v.Type != bsoncore.TypeEmbeddedDocument {
			return false
		}
		if !sameTenant(doc, v.Data) {
			foreign++
			return false
		}
		return true
	}
	each(doc, func(name []byte, v value) {
		switch string(name) {
		case pendingEvents:
			v.items(func(item value) {
				if own(item) {
					events = append(events, bson.Raw(item.Data))
				}
			})
		case "successor":
			if own(v) {
				successor = bson.Raw(v.Data)
			}
		}
	})
	return events, successor, foreign
}

// changes reads what an event changed. What is of another form, as others may write it, is left out.
func (v value) changes() []apikey.FieldChange {
	var changes []apikey.FieldChange
	v.items(func(item value) {
		var c apikey.FieldChange
		whole := item.Type == bsoncore.TypeEmbeddedDocument && each(item.Data, func(name []byte, v value) {
			switch string(name) {
			case "field":
				c.Field = v.text()
			case "before":
				c.Before = v.optionalText()
			case "after":
				c.After = v.optionalText()
			}
		})
		if whole && c.Field != "" {
			changes = append(changes, c)
		}
	})
	return changes
}

// each calls f for every element of the document; false means that the bytes are not a document.
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

// elements returns the bytes of a document's elements.
func elements(doc []byte) (all []byte, ok bool) {
	length, rest, ok := bsoncore.ReadLength(doc)
	if !ok || int(length) != len(doc) || len(rest) < 1 {
		return nil, false
	}
	return rest[:len(rest)-1], true
}

// element reads the first of the elements, and returns those behind it.
func element(all []byte) (name []byte, v value, rest []byte, ok bool) {
	end := bytes.IndexByte(all, 0) // of the type and the name
	if end < 1 {
		return nil, value{}, nil, false
	}
	v, rest, ok = readValue(all[end+1:], bsoncore.Type(all[0]))
	return all[1:end], v, rest, ok
}

// readValue reads what almost all values are by itself, which takes a third of the time that bsoncore does.
func readValue(b []byte, t bsoncore.Type) (v value, rest []byte, ok bool) {
	length := int64(-1)
	switch t { //nolint:exhaustive // the others are left to bsoncore
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

// lengthBytes are those before a text that tell its length.
const lengthBytes = 4

// value is one BSON value, read leniently: what is of another type than asked for reads as absent.
type value struct{ bsoncore.Value }

func (v value) missing() bool {
	return v.Type == bsoncore.TypeNull || v.Type == bsoncore.TypeUndefined
}

// bytes are those of a text; none where it is none. BSON has the length before them and a zero behind.
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

// id is a text, or an ObjectId in hexadecimal: what an _id must be to stand in for a missing id.
func (v value) id() string {
	if v.Type == bsoncore.TypeObjectID {
		return bson.ObjectID(v.ObjectID()).Hex()
	}
	return v.text()
}

// The instants that RFC 3339 can write. A date outside cannot be shown to anybody, so it counts as unreadable.
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

// items calls f for each item of an array and reports whether it is one.
func (v value) items(f func(value)) bool {
	return v.Type == bsoncore.TypeArray && each(v.Data, func(_ []byte, item value) { f(item) })
}

func (r *KeyReader) readScopes(v value) []apikey.Scope {
	switch {
	case v.missing():
		return nil
	case v.Type == bsoncore.TypeEmbeddedDocument:
		// Not a list, so it covers nothing; but a query finds it by what it names, and so it must still name it.
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

// known reads a text that must be one of the known ones; anything else reads as other.
func known[T ~string](v value, all []T, other T) T {
	b := v.bytes()
	for _, t := range all {
		if string(t) == string(b) {
			return t
		}
	}
	return other
}

// oneWord reads an enum value as stored. Known values need no memory. A value that is not text, or is empty, becomes unreadable.
func oneWord[T ~string](r *KeyReader, v value, all []T, unreadable T) T {
	t := known(v, all, "")
	if t == "" {
		t = cmp.Or(T(r.text(v)), unreadable)
	}
	return t
}

// words reads a list of words. What is not a list at all reads as one unreadable item, so that it still counts as a
// restriction.
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
