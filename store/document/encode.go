package document

import (
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
)

// FromKey encodes a new API key with all of the vendor's fields, including nulls.
func FromKey(k apikey.Key) bson.Raw {
	var vendor apikey.Fields
	for _, f := range keyFields {
		if !f.own {
			vendor |= f.field
		}
	}
	d := append(bson.D{{Key: "key_id", Value: k.ID}, {Key: "key_hash", Value: k.Hash}}, KeyFields(k, vendor)...)
	if k.RotatedFrom != nil {
		d = append(d, KeyFields(k, apikey.FieldRotatedFrom)...)
	}
	if k.Budget != "" {
		d = append(d, KeyFields(k, apikey.FieldBudget)...)
	}
	if k.RevokeReason != nil {
		d = append(d, KeyFields(k, apikey.FieldRevokeReason)...)
	}
	if k.LeakedAt != nil {
		d = append(d, KeyFields(k, apikey.LeakFields)...)
	}
	return raw(d)
}

// KeyFields encodes these fields of a key, in the vendor's order. It never includes the id and the hash, which do not
// change.
func KeyFields(k apikey.Key, fields apikey.Fields) bson.D {
	var d bson.D
	for _, f := range keyFields {
		if f.field&fields&^always != 0 {
			d = append(d, bson.E{Key: f.name, Value: f.encode(&k)})
		}
	}
	return d
}

// Set returns the document with these fields, each once. A field that the document has keeps its place. New fields are
// added at the end. All other fields stay the same byte by byte.
func Set(doc bson.Raw, fields bson.D) (bson.Raw, error) {
	elements, err := doc.Elements()
	if err != nil {
		return nil, err
	}
	d := make(bson.D, 0, len(elements)+len(fields))
	placed := make([]bool, len(fields))
	for _, e := range elements {
		switch i := slices.IndexFunc(fields, func(f bson.E) bool { return f.Key == e.Key() }); {
		case i < 0:
			d = append(d, bson.E{Key: e.Key(), Value: e.Value()})
		case !placed[i]:
			d, placed[i] = append(d, fields[i]), true
		}
	}
	for i, f := range fields {
		if !placed[i] {
			d = append(d, f)
		}
	}
	return bson.Marshal(d)
}

// WithKeyID returns the key's document with a key_id: the id that its _id stands in for. It returns a document
// unchanged if it has a key_id, or no _id that can stand in for one.
func WithKeyID(doc bson.Raw) bson.Raw {
	id, missing := MissingID(doc)
	if !missing || id == "" {
		return doc
	}
	completed, err := Set(doc, bson.D{{Key: "key_id", Value: id}})
	if err != nil {
		return doc
	}
	return completed
}

// FromEvent encodes an audit event. The event's id is the document's _id, so that no event is stored twice.
func FromEvent(e apikey.Event) bson.Raw {
	changes := make(bson.A, 0, len(e.Changes))
	for _, c := range e.Changes {
		changes = append(changes, bson.D{{Key: "field", Value: c.Field}, {Key: "before", Value: c.Before}, {Key: "after", Value: c.After}})
	}
	return raw(bson.D{
		{Key: "_id", Value: e.ID},
		{Key: "audit_id", Value: e.ID},
		{Key: "internal_id", Value: e.InternalID},
		{Key: "namespace_id", Value: e.NamespaceID},
		{Key: "retriever_ids", Value: array(e.RetrieverIDs)},
		{Key: "timestamp", Value: bson.NewDateTimeFromTime(e.Timestamp)},
		{Key: "resource_type", Value: e.ResourceType},
		{Key: "resource_id", Value: e.ResourceID},
		{Key: "action", Value: e.Action},
		{Key: "actor_id", Value: e.ActorID},
		{Key: "actor_type", Value: e.ActorType},
		{Key: "actor_key_id", Value: e.ActorKeyID},
		{Key: "status", Value: e.Outcome},
		{Key: "changes", Value: changes},
		{Key: "ip_address", Value: e.IPAddress},
		{Key: "user_agent", Value: e.UserAgent},
	})
}

// Carrying returns a key's document that carries an event. An engine stores both in one write and then moves the event
// to its own collection: see PendingEvents.
func Carrying(doc bson.Raw, e apikey.Event) (bson.Raw, error) {
	return Set(doc, bson.D{{Key: pendingEvents, Value: bson.A{FromEvent(e)}}})
}

// Unloaded returns a key's document without the events that it carries, and the events. If it carries none, or one that
// cannot be read, Unloaded returns the document unchanged.
func Unloaded(doc bson.Raw) (bson.Raw, []apikey.Event, error) {
	pending, _ := PendingEvents(doc)
	if len(pending) == 0 {
		return doc, nil, nil
	}
	var events []apikey.Event
	for _, p := range pending {
		e, ok := Event(p)
		if !ok {
			return doc, nil, nil
		}
		events = append(events, e)
	}
	elements, err := doc.Elements()
	if err != nil {
		return nil, nil, err
	}
	rest := make(bson.D, 0, len(elements))
	for _, e := range elements {
		if e.Key() != pendingEvents {
			rest = append(rest, bson.E{Key: e.Key(), Value: e.Value()})
		}
	}
	unloaded, err := bson.Marshal(rest)
	return unloaded, events, err
}

// FromNamespace encodes a new namespace. It includes the creator's address if there is one.
func FromNamespace(n apikey.Namespace, createdByEmail string) bson.Raw {
	d := bson.D{
		{Key: "namespace_id", Value: n.ID},
		{Key: "namespace_name", Value: n.Name},
		{Key: "description", Value: n.Description},
		{Key: "internal_id", Value: n.InternalID},
		{Key: "organization_id", Value: n.OrganizationID},
		{Key: "organization_name", Value: n.OrganizationName},
		{Key: "created_at", Value: date(n.CreatedAt)},
		{Key: "updated_at", Value: date(n.UpdatedAt)},
	}
	if createdByEmail != "" {
		d = append(d, bson.E{Key: "created_by_email", Value: createdByEmail})
	}
	return raw(d)
}

// FromRetriever encodes a new retriever.
func FromRetriever(r apikey.Retriever) bson.Raw {
	return raw(bson.D{
		{Key: "retriever_id", Value: r.ID},
		{Key: "retriever_name", Value: r.Name},
		{Key: "description", Value: r.Description},
		{Key: "namespace_id", Value: r.NamespaceID},
		{Key: "internal_id", Value: r.InternalID},
		{Key: "created_at", Value: date(r.CreatedAt)},
		{Key: "updated_at", Value: date(r.UpdatedAt)},
	})
}

func fromScopes(scopes []apikey.Scope) bson.A {
	out := make(bson.A, 0, len(scopes))
	for _, s := range scopes {
		out = append(out, bson.D{
			{Key: "resource_type", Value: s.ResourceType},
			{Key: "resource_id", Value: s.ResourceID},
			{Key: "operations", Value: array(s.Operations)},
		})
	}
	return out
}

// array turns a nil slice into an empty one. BSON would encode nil as null.
func array[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

func date(t *time.Time) any {
	if t == nil {
		return nil
	}
	return bson.NewDateTimeFromTime(*t)
}

// raw encodes a document. It cannot fail, because every value has a BSON type.
func raw(d bson.D) bson.Raw {
	doc, err := bson.Marshal(d)
	if err != nil {
		panic(err)
	}
	return doc
}
