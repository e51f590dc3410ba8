package document

import (
	"context"
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

// Len implements Source.
func (b Batch) Len() int { return len(b.Namespaces) + len(b.Retrievers) + len(b.Keys) }

// Read implements Source.
func (b Batch) Read(ctx context.Context, f func(Part) error) error {
	for _, p := range []Part{{List: Namespaces, Documents: b.Namespaces}, {List: Retrievers, Documents: b.Retrievers}, {List: Keys, Documents: b.Keys}} {
		for rest := p.Documents; len(rest) > 0; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, size := 0, 0
			for ; n < len(rest) && fits(n, size+len(rest[n])); n++ {
				size += len(rest[n])
			}
			if err := f(Part{p.List, len(p.Documents) - len(rest), rest[:n]}); err != nil {
				return err
			}
			rest = rest[n:]
		}
	}
	return nil
}

// Source is a set of documents to store together. An import of any size reads it part by part.
type Source interface {
	// Len is the number of documents.
	Len() int

	// Read calls f with all documents, part by part: first the namespaces, then the retrievers, then the keys. It stops
	// at f's first error and returns it. It can be called several times.
	Read(ctx context.Context, f func(Part) error) error
}

// Part is some consecutive documents of a list. A part has at most MaxPart documents. It has at most maxPartBytes,
// unless it is a single document.
type Part struct {
	List      string // namespaces, retrievers or api_keys
	From      int    // the index of the first document in the list
	Documents []bson.Raw
}

// MaxPart is the largest number of documents in a Part. An engine can write a part at once.
const MaxPart = 500

// maxPartBytes bounds the memory of a Part.
const maxPartBytes = 1 << 20

// fits reports whether a document can be added to a part of n documents, which would then have that size.
func fits(n, size int) bool { return n == 0 || n < MaxPart && size <= maxPartBytes }

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

// Problems is everything that is wrong with a batch. Nothing of such a batch is stored.
type Problems struct {
	First []Problem // at most maxProblems
	More  int       // the number of further problems
}

// maxProblems is the number of problems to show. The others are only counted: every document of a large file can have
// several.
const maxProblems = 20

// Len is the number of problems.
func (ps Problems) Len() int { return len(ps.First) + ps.More }

// Add adds problems.
func (ps *Problems) Add(problems ...Problem) {
	n := min(len(problems), maxProblems-len(ps.First))
	ps.First = append(ps.First, problems[:n]...)
	ps.More += len(problems) - n
}

func (ps Problems) Error() string { return strings.Join(ps.Lines(), "\n") }

// Lines returns the first problems, and how many more there are.
func (ps Problems) Lines() []string {
	lines := make([]string, 0, len(ps.First)+1)
	for _, p := range ps.First {
		lines = append(lines, p.Error())
	}
	if ps.More > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", ps.More))
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

// Deletions is the collection that says, for each tenant, which of its events was the last in the feed that was deleted because of its age.
const Deletions = "audit_deletions"

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
