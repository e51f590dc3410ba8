package document

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
)

// Unusable counts the key documents that no list shows.
type Unusable struct {
	NoHash int // without a usable key_hash: they authenticate nobody
	NoID   int // with a hash but without a key_id: Repair gives them one
}

// Total is the number of all of them.
func (u Unusable) Total() int { return u.NoHash + u.NoID }

// RepairOptions are options of a repair.
type RepairOptions struct {
	DryRun   bool                  // write nothing
	Progress func(done, total int) // is called now and then with how many documents are done; may be nil
}

// Repaired is what a repair did, or would do.
type Repaired struct {
	Known   int     // documents whose _id became their key_id
	New     int     // documents that got a new key_id
	Clashes []Clash // documents that were left as they are
}

// Clash is a document that cannot get its key_id, because another document of its organization is known by that id.
type Clash struct {
	DocumentID bson.RawValue // its _id
	Tenant     apikey.InternalID
	ID         apikey.ID
}

// RepairBatch is how many documents are repaired at a time. FerretDB v1 hangs on an update of a hundred documents.
const RepairBatch = 25

// Missing is a document without a key_id, and what it is to get.
type Missing struct {
	Doc    bson.Raw
	Tenant apikey.InternalID
	ID     apikey.ID // the id that its _id stands in for; empty if there is none
}

// FindMissing returns a copy of the document and what it is to get, and reports whether it has no key_id.
func FindMissing(doc bson.Raw) (m Missing, missing bool) {
	id, missing := MissingID(doc)
	if !missing {
		return Missing{}, false
	}
	k, _ := Key(doc, apikey.FieldInternalID)
	return Missing{slices.Clone(doc), k.InternalID, id}, true
}

// NewID is the key_id that the document gets: the one that it is known by, or a new one.
func (m *Missing) NewID() apikey.ID {
	if m.ID != "" {
		return m.ID
	}
	return apikey.ID(apikey.NewID("key_"))
}

// Clash says that the document was left as it is.
func (m *Missing) Clash() Clash { return Clash{m.Doc.Lookup("_id"), m.Tenant, m.ID} }

// Count counts a document that got its key_id.
func (r *Repaired) Count(m *Missing) {
	if m.ID != "" {
		r.Known++
	} else {
		r.New++
	}
}
