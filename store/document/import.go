package document

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// File is an import file: {"namespaces":[…],"retrievers":[…],"api_keys":[…]}. Each list is optional. Documents are in
// MongoDB Extended JSON v2, canonical or relaxed, and dates can also be RFC 3339 strings.
//
// A File has passed Check. It holds the places of its documents and not the documents, so a file can be larger than the
// memory.
type File struct {
	content io.ReaderAt
	lists   map[string][]section
	len     int
}

// section is where the file has a Part.
type section struct {
	from  int               // the index of the first document in the list
	at    int64             // the offset of the first document in the file
	spans []span            // the documents
	sum   [sha256.Size]byte // of their texts
}

// span is where a document is, relative to its section.
type span struct{ start, end int32 }

func (s *section) len() int { return int(s.spans[len(s.spans)-1].end) }

// ErrChanged reports that an import file changed after Check.
var ErrChanged = errors.New("the file changed during the import")

// Check reads an import file and checks all documents. If some are invalid, the error is Problems.
func Check(ctx context.Context, content io.ReaderAt) (*File, error) {
	f := &File{content: content, lists: map[string][]section{}}
	var problems Problems
	var check *checker
	err := Ahead(
		func(found func(texts) bool) error { return scan(ctx, content, found) },
		func(t texts) error {
			if t.from == 0 {
				check = newChecker(t.list)
			}
			digest := sha256.New()
			for i, text := range t.documents {
				digest.Write(text)
				problems.Add(check.document(t.from+i, text)...)
			}
			t.sum = [sha256.Size]byte(digest.Sum(nil))
			f.lists[t.list] = append(f.lists[t.list], t.section)
			f.len += len(t.documents)
			return nil
		})
	switch {
	case err != nil:
		return nil, err
	case problems.Len() > 0:
		return nil, problems
	default:
		return f, nil
	}
}

// Len implements Source.
func (f *File) Len() int { return f.len }

// Read implements Source. It reads the file again and returns ErrChanged if a document is no longer what Check has
// checked.
func (f *File) Read(ctx context.Context, use func(Part) error) error {
	return Ahead(func(found func(Part) bool) error {
		var text []byte
		for _, list := range []string{Namespaces, Retrievers, Keys} {
			for _, s := range f.lists[list] {
				if err := ctx.Err(); err != nil {
					return err
				}
				text = slices.Grow(text[:0], s.len())[:s.len()]
				docs, err := s.read(f.content, text, listRules[list].fields)
				if err != nil {
					return err
				}
				if !found(Part{list, s.from, docs}) {
					return nil
				}
			}
		}
		return nil
	}, use)
}

// read reads the section's documents. The text has the section's length.
func (s *section) read(content io.ReaderAt, text []byte, fields map[string]kind) ([]bson.Raw, error) {
	switch n, err := content.ReadAt(text, s.at); {
	case n == len(text):
	case errors.Is(err, io.EOF):
		return nil, ErrChanged
	default:
		return nil, err
	}
	digest := sha256.New()
	for _, d := range s.spans {
		digest.Write(text[d.start:d.end])
	}
	if [sha256.Size]byte(digest.Sum(nil)) != s.sum {
		return nil, ErrChanged
	}
	docs := make([]bson.Raw, len(s.spans))
	for i, d := range s.spans {
		docs[i], _, _ = fromExtendedJSON(text[d.start:d.end], fields) // Check had no error
	}
	return docs, nil
}

// Ahead calls use with each item that find finds. Meanwhile find searches for the next item, in another goroutine, so
// at most two items exist at a time. find ends when found returns false.
func Ahead[T any](find func(found func(T) bool) error, use func(T) error) error {
	items, stopped := make(chan T), make(chan struct{})
	var notFound, notUsed error
	go func() {
		defer close(items)
		notFound = find(func(item T) bool {
			select {
			case items <- item:
				return true
			case <-stopped:
				return false
			}
		})
	}()
	for item := range items {
		if notUsed = use(item); notUsed != nil {
			close(stopped)
			break
		}
	}
	for range items { // until find has ended
	}
	return cmp.Or(notUsed, notFound)
}
