package document

import (
	"errors"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
)

// Batch is a set of documents to store together. A key's document can carry events, which are stored with it: see
// Carrying.
type Batch struct {
	Namespaces, Retrievers, Keys []bson.Raw
}

// Len is the number of documents.
func (b Batch) Len() int { return len(b.Namespaces) + len(b.Retrievers) + len(b.Keys) }

// ImportOptions are the options of an import.
type ImportOptions struct {
	OnlyIfEmpty bool           // return ErrNotEmpty and store nothing if the store has any document
	Progress    func(done int) // called from time to time with the number of documents processed; can be nil
}

// Imported counts the documents of a Batch that were stored, and those left unchanged because their id was stored
// already.
type Imported struct {
	Stored, Existing int
}

// ErrNotEmpty reports that the store already has documents: see ImportOptions.
var ErrNotEmpty = errors.New("the store is not empty")

// Problem describes what is wrong with one document of a batch.
type Problem struct {
	List    string // namespaces, retrievers or api_keys
	Index   int    // in the list, starting at 0
	Field   string // empty if the document as a whole is wrong
	Message string
}

func (p Problem) Error() string {
	if p.Field == "" {
		return fmt.Sprintf("%s[%d]: %s", p.List, p.Index, p.Message)
	}
	return fmt.Sprintf("%s[%d].%s: %s", p.List, p.Index, p.Field, p.Message)
}

// Problems lists everything that is wrong with a batch. Nothing of such a batch is stored.
type Problems []Problem

func (ps Problems) Error() string { return strings.Join(ps.Lines(), "\n") }

// Lines returns the first 20 problems, and how many more there are.
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

// The lists of an import file have the names of the collections.
const (
	Namespaces = "namespaces"
	Retrievers = "retrievers"
	Keys       = "api_keys"
)

// Events is the collection of audit events. An import file has no list of events, but key documents can carry some.
const Events = "audit_events"

// Identity identifies a stored document within its list, in the form that engines compare.
type Identity struct {
	Tenant     apikey.InternalID
	ID         string
	Hash       string // only keys have one
	DocumentID string // the BSON type of the _id, followed by its value; empty if there is none
}

// Identify returns the identity of a document of the list.
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
