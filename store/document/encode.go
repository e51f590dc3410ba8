package document

import (
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
)

// FromKey writes a new API key as a document with all of the vendor's fields, nulls included.
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
	return raw(d)
}

// KeyFields writes these fields of a key, in the vendor's order. The id and the hash are not among them: they never
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

// Set returns the document with these fields, each once: those it has in their places, the others at its end. All other
// fields stay byte by byte as they are.
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

// WithKeyID returns the document of a key with the id that its _id stands in for as its key_id. It returns any other document as it is.
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

// FromEvent writes an audit event as a document. Its _id is its id, so that one is never stored twice.
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

// Carrying is a key's document with an event that goes with it. An engine stores both in one write, and the event then
// leaves the document for its own collection: see PendingEvents.
func Carrying(doc bson.Raw, e apikey.Event) (bson.Raw, error) {
	return Set(doc, bson.D{{Key: pendingEvents, Value: bson.A{FromEvent(e)}}})
}

// Unloaded is a key's document without the events that it carries, and these. Where there are none, or some cannot be read,
// it is the document as it is.
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

// FromNamespace writes a new namespace as a document. Who made it is kept where an address is given.
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

// FromRetriever writes a new retriever as a document.
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

// array makes an empty list of a nil one, which BSON would write as null.
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

// raw encodes values that all have a BSON type, so it cannot fail.
func raw(d bson.D) bson.Raw {
	doc, err := bson.Marshal(d)
	if err != nil {
		panic(err)
	}
	return doc
}
