// Package document converts stored documents to the domain's values and back. Both engines and the import keep
// documents in one form: BSON with the vendor's field names. Unknown fields are kept unchanged.
package document

import (
	"cmp"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"retrieverkeys/apikey"
)

// Namespace reads a namespace. It returns false if the document has no usable id.
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

// Retriever reads a retriever. It returns false if the document has no usable id.
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

// Event reads an audit event. It returns false if the document has no usable id or time, or is not valid BSON.
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

// pendingEvents is the field of the events that PendingEvents reads.
const pendingEvents = "pending_events"

// sameTenant reports whether both documents belong to one organization. A document with two internal_id fields belongs
// to none, because two readers could each take another one.
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

// PendingEvents returns the documents of the audit events that a key's document carries until they are in their own
// collection, and the document of the successor, if any. It leaves out those of another organization than the key's: a
// document must not bring a key or an event into an organization that is not its own.
func PendingEvents(doc bson.Raw) (events []bson.Raw, successor bson.Raw) {
	events, successor, _ = carried(doc)
	return events, successor
}

// Foreign counts the carried events and successors that PendingEvents leaves out.
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

// changes reads an event's changes. It leaves out entries in another form, which other programs can have written.
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
