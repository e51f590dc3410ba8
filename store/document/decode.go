// Package document turns stored documents into the domain's values and back. Both engines and the import keep
// their documents in this one form: BSON with the vendor's field names. Fields not known here are kept as they are.
package document

import (
	"bytes"
	"math"
	"math/bits"
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
	k := apikey.Key{Type: apikey.Standard, Stored: apikey.Active}
	var fallbackID string
	var unreadableExpiry, unreadableRevocation bool
	var m memory
	m.texts.Grow(min(len(doc), 96+12*bits.OnesCount32(uint32(fields)))) // about as much as they take
	next := 0
	ok := each(doc, func(name []byte, v value) {
		var field apikey.Fields
		if field, next = keyField(name, next); field&(fields|always) == 0 {
			return
		}
		switch field {
		case fieldObjectID:
			fallbackID = v.id()
		case fieldID:
			k.ID = apikey.ID(m.text(v))
		case fieldHash:
			k.Hash = m.text(v)
		case apikey.FieldPrefix:
			k.Prefix = m.optionalText(v)
		case apikey.FieldType:
			k.Type = v.keyType()
		case apikey.FieldSubscriptionID:
			k.SubscriptionID = m.optionalText(v)
		case apikey.FieldInternalID:
			k.InternalID = apikey.InternalID(m.text(v))
		case apikey.FieldOrganizationID:
			k.OrganizationID = m.optionalText(v)
		case apikey.FieldUserID:
			k.UserID = m.text(v)
		case apikey.FieldName:
			k.Name = m.text(v)
		case apikey.FieldDescription:
			k.Description = m.text(v)
		case apikey.FieldPermissions:
			k.Permissions = everyOf(v, permissions, apikey.UnknownPermission)
		case apikey.FieldScopes:
			k.Scopes = v.scopes(&m)
		case apikey.FieldRateLimitOverride:
			k.RateLimitOverride = v.int32()
		case apikey.FieldStatus:
			if !v.missing() {
				k.Stored = oneOf(v, statuses, apikey.Revoked)
			}
		case apikey.FieldExpiresAt:
			k.ExpiresAt = m.time(v)
			unreadableExpiry = k.ExpiresAt == nil && !v.missing()
		case apikey.FieldLastUsedAt:
			k.LastUsedAt = m.time(v)
		case apikey.FieldCreatedAt:
			k.CreatedAt = m.time(v)
		case apikey.FieldCreatedBy:
			k.CreatedBy = m.optionalText(v)
		case apikey.FieldRevokedAt:
			k.RevokedAt = m.time(v)
			unreadableRevocation = k.RevokedAt == nil && !v.missing()
		case apikey.FieldRevokedBy:
			k.RevokedBy = m.optionalText(v)
		case apikey.FieldAllowedOrigins:
			k.AllowedOrigins = v.origins(&m)
		case apikey.FieldPrincipalID:
			k.PrincipalID = m.optionalText(v)
		case apikey.FieldRotatedTo:
			k.RotatedTo = v.keyID()
		case apikey.FieldRotatedFrom:
			k.RotatedFrom = v.keyID()
		case apikey.FieldRevision:
			k.Revision = v.int64()
		default:
			panic("a field of a key that is not read")
		}
	})
	switch {
	case unreadableRevocation:
		k.Stored = apikey.Revoked
	case unreadableExpiry && k.Stored == apikey.Active:
		k.Stored = apikey.Expired
	}
	if k.ID == "" {
		k.ID = apikey.ID(fallbackID)
	}
	return k, ok && k.ID != "" && k.Hash != ""
}

// The fields that are read whatever is asked for.
const (
	fieldObjectID apikey.Fields = 1 << (31 - iota)
	fieldID
	fieldHash

	always = fieldObjectID | fieldID | fieldHash
)

// keyFields are the fields of a key's document in the vendor's order: that of new documents, and of projections, so that
// equal requests make equal commands.
var keyFields = []struct {
	name  string
	field apikey.Fields
}{
	{"_id", fieldObjectID},
	{"key_id", fieldID},
	{"key_hash", fieldHash},
	{"key_prefix", apikey.FieldPrefix},
	{"key_type", apikey.FieldType},
	{"subscription_id", apikey.FieldSubscriptionID},
	{"internal_id", apikey.FieldInternalID},
	{"organization_id", apikey.FieldOrganizationID},
	{"user_id", apikey.FieldUserID},
	{"name", apikey.FieldName},
	{"description", apikey.FieldDescription},
	{"permissions", apikey.FieldPermissions},
	{"scopes", apikey.FieldScopes},
	{"rate_limit_override", apikey.FieldRateLimitOverride},
	{"status", apikey.FieldStatus},
	{"expires_at", apikey.FieldExpiresAt},
	{"last_used_at", apikey.FieldLastUsedAt},
	{"created_at", apikey.FieldCreatedAt},
	{"created_by", apikey.FieldCreatedBy},
	{"revoked_at", apikey.FieldRevokedAt},
	{"revoked_by", apikey.FieldRevokedBy},
	{"allowed_origins", apikey.FieldAllowedOrigins},
	{"principal_id", apikey.FieldPrincipalID},
	{"rotated_to", apikey.FieldRotatedTo},
	{"rotated_from", apikey.FieldRotatedFrom},
	{"revision", apikey.FieldRevision},
}

// keyField returns the field of that name, 0 where none is known, and where to look for the name that comes next. Most
// documents have them in order.
func keyField(name []byte, from int) (field apikey.Fields, next int) {
	at := from
	for range keyFields {
		if at == len(keyFields) {
			at = 0
		}
		if keyFields[at].name == string(name) {
			return keyFields[at].field, at + 1
		}
		at++
	}
	return 0, from
}

// KeyFieldNames returns the names of the documents' fields that hold what is asked for, for a projection. _id is
// not among them.
func KeyFieldNames(fields apikey.Fields) []string {
	names := make([]string, 0, len(keyFields))
	for _, f := range keyFields {
		if f.field&(fields|always&^fieldObjectID) != 0 {
			names = append(names, f.name)
		}
	}
	return names
}

// memory is what one key's texts and dates are kept in: together, because a list has thousands of them.
type memory struct {
	texts    strings.Builder
	optional []string
	times    []time.Time
}

func (m *memory) text(v value) string {
	b := v.bytes()
	if !utf8.Valid(b) {
		return v.text()
	}
	from := m.texts.Len()
	m.texts.Write(b)
	return m.texts.String()[from:]
}

func (m *memory) optionalText(v value) *string {
	if v.Type != bsoncore.TypeString {
		return nil
	}
	return kept(&m.optional, m.text(v))
}

func (m *memory) time(v value) *time.Time {
	if t, ok := v.time(); ok {
		return kept(&m.times, t)
	}
	return nil
}

// kept returns where the value is kept: among a few others, which stay where they are.
func kept[T any](among *[]T, v T) *T {
	if len(*among) == cap(*among) {
		*among = make([]T, 0, 4)
	}
	*among = append(*among, v)
	return &(*among)[len(*among)-1]
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
			e.ResourceType = oneOf(v, resourceTypes, apikey.UnknownResource)
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

// PendingEvents reads the audit events that a key's document carries until they are in their own collection, each as
// its document; the successor's is empty where there is none.
func PendingEvents(doc bson.Raw) (events []bson.Raw, successor bson.Raw) {
	each(doc, func(name []byte, v value) {
		switch string(name) {
		case "pending_events":
			v.items(func(item value) {
				if item.Type == bsoncore.TypeEmbeddedDocument {
					events = append(events, bson.Raw(item.Data))
				}
			})
		case "successor":
			if v.Type == bsoncore.TypeEmbeddedDocument {
				successor = bson.Raw(v.Data)
			}
		}
	})
	return events, successor
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
	length, rest, ok := bsoncore.ReadLength(doc)
	if !ok || int(length) != len(doc) || len(rest) < 1 {
		return false
	}
	rest = rest[:len(rest)-1]
	for len(rest) > 0 {
		end := bytes.IndexByte(rest, 0) // of the type and the name
		if end < 1 {
			return false
		}
		v, after, ok := bsoncore.ReadValue(rest[end+1:], bsoncore.Type(rest[0]))
		if !ok {
			return false
		}
		f(rest[1:end], value{v})
		rest = after
	}
	return true
}

// value is one BSON value, read leniently: what is of another type than asked for reads as absent.
type value struct{ bsoncore.Value }

func (v value) missing() bool {
	return v.Type == bsoncore.TypeNull || v.Type == bsoncore.TypeUndefined
}

// bytes are those of a text; none where it is none. BSON has the length before them and a zero behind.
func (v value) bytes() []byte {
	const before, behind = 4, 1
	end := len(v.Data) - behind
	if v.Type != bsoncore.TypeString || end < before || v.Data[end] != 0 {
		return nil
	}
	return v.Data[before:end]
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

func (v value) keyType() apikey.Type {
	switch {
	case v.missing():
		return apikey.Standard
	case v.Type != bsoncore.TypeString:
		return apikey.UnreadableType
	default:
		return oneOf(v, keyTypes, apikey.UnknownType)
	}
}

// items calls f for each item of an array and reports whether it is one.
func (v value) items(f func(value)) bool {
	return v.Type == bsoncore.TypeArray && each(v.Data, func(_ []byte, item value) { f(item) })
}

func (v value) scopes(m *memory) []apikey.Scope {
	var scopes []apikey.Scope
	switch {
	case v.missing():
		return nil
	case v.Type == bsoncore.TypeEmbeddedDocument:
		// Not a list, so it covers nothing; but a query finds it by what it names, and so it must still name it.
		s := v.scope(m)
		s.Operations = []apikey.Operation{apikey.UnknownOperation}
		return []apikey.Scope{s}
	case v.items(func(item value) { scopes = append(scopes, item.scope(m)) }):
		return scopes
	default:
		return []apikey.Scope{{ResourceType: apikey.UnknownResource}}
	}
}

func (v value) scope(m *memory) apikey.Scope {
	s := apikey.Scope{ResourceType: apikey.UnknownResource}
	if v.Type != bsoncore.TypeEmbeddedDocument {
		return s
	}
	whole := each(v.Data, func(name []byte, v value) {
		switch string(name) {
		case "resource_type":
			s.ResourceType = oneOf(v, resourceTypes, apikey.UnknownResource)
		case "resource_id":
			s.ResourceID = m.text(v)
		case "operations":
			s.Operations = everyOf(v, operations, apikey.UnknownOperation)
		}
	})
	if !whole {
		s.Operations = []apikey.Operation{apikey.UnknownOperation}
	}
	return s
}

func (v value) origins(m *memory) []string {
	if v.missing() {
		return nil
	}
	origins, n := []string{}, 0
	isArray := v.items(func(item value) {
		n++
		if s := m.text(item); s != "" {
			origins = append(origins, s)
		}
	})
	if isArray && n == 0 {
		return nil
	}
	return origins
}

// oneOf reads a text that must be one of the known ones.
func oneOf[T ~string](v value, known []T, unknown T) T {
	b := v.bytes()
	for _, t := range known {
		if string(t) == string(b) {
			return t
		}
	}
	return unknown
}

// everyOf reads a list of texts that must each be one of the known ones. What is not a list at all reads as one
// unknown item, so that it still counts as a restriction.
func everyOf[T ~string](v value, known []T, unknown T) []T {
	if v.missing() {
		return nil
	}
	var out []T
	if !v.items(func(item value) { out = append(out, oneOf(item, known, unknown)) }) {
		return []T{unknown}
	}
	return out
}

var (
	statuses    = []apikey.Status{apikey.Active, apikey.Revoked, apikey.Expired}
	keyTypes    = []apikey.Type{apikey.Standard, apikey.MarketplaceSubscription, apikey.RetrieverKey}
	permissions = []apikey.Permission{apikey.Admin, apikey.Delete, apikey.Write, apikey.Read}
	operations  = []apikey.Operation{apikey.ReadData, apikey.WriteData, apikey.DeleteData, apikey.ExecuteRetriever,
		apikey.CreateRetriever, apikey.DeleteRetriever, apikey.ExecuteJob, apikey.CancelJob, apikey.CreateCluster,
		apikey.DeleteCluster, apikey.ModifyCluster, apikey.ModifyInfrastructure, apikey.ManagePermissions}
	resourceTypes = []apikey.ResourceType{apikey.ResourceOrganization, apikey.ResourceUser, apikey.ResourceAPIKey,
		apikey.ResourceNamespace, apikey.ResourceCollection, apikey.ResourceBucket, apikey.ResourceRetriever,
		apikey.ResourceCluster, apikey.ResourceTaxonomy, apikey.ResourceStorageConnection, apikey.ResourceAlert}
)
