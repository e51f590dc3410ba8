package document

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
)

// Unusable counts the key documents that no list shows.
type Unusable struct {
	NoHash int // without a usable key_hash: they cannot authenticate
	NoID   int // with a hash but without a key_id: Repair adds one
}

// Total returns the sum of the counts.
func (u Unusable) Total() int { return u.NoHash + u.NoID }

// RepairOptions are the options of a repair.
type RepairOptions struct {
	DryRun   bool                  // write nothing
	Progress func(done, total int) // called from time to time with the number of documents processed; can be nil
}

// Repaired counts what a repair did, or in a dry run would do.
type Repaired struct {
	Known   int     // documents whose _id became their key_id
	New     int     // documents that got a new key_id
	Clashes []Clash // documents left unchanged
}

// Clash is a document that cannot get its key_id, because another document of its organization has that id.
type Clash struct {
	DocumentID bson.RawValue // its _id
	Tenant     apikey.InternalID
	ID         apikey.ID
}

// RepairBatch is how many documents are repaired at a time. FerretDB v1 hangs on an update of 100 documents.
const RepairBatch = 25

// Missing is a key's document without a key_id.
type Missing struct {
	Doc    bson.Raw
	Tenant apikey.InternalID
	ID     apikey.ID // the id that its _id stands in for; empty if there is none
}

// FindMissing returns a copy of the document and its identity if it has no key_id, and reports whether that is so.
func FindMissing(doc bson.Raw) (m Missing, missing bool) {
	id, missing := MissingID(doc)
	if !missing {
		return Missing{}, false
	}
	k, _ := Key(doc, apikey.FieldInternalID)
	return Missing{slices.Clone(doc), k.InternalID, id}, true
}

// NewID returns the key_id for the document: the id that clients know it by, or a new one.
func (m *Missing) NewID() apikey.ID {
	if m.ID != "" {
		return m.ID
	}
	return apikey.ID(apikey.NewID("key_"))
}

// Clash returns the document as a Clash.
func (m *Missing) Clash() Clash { return Clash{m.Doc.Lookup("_id"), m.Tenant, m.ID} }

// Count counts a document that got its key_id.
func (r *Repaired) Count(m *Missing) {
	if m.ID != "" {
		r.Known++
	} else {
		r.New++
	}
}
