package document_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/store/document"
)

// largeFile returns an import file of n keys with a description of that length.
func largeFile(n, description int) string {
	docs := make([]string, n)
	for i := range docs {
		docs[i] = fmt.Sprintf(`{"_id": %d, "key_id": "key_%d", "key_hash": "h%d", "internal_id": "int", "description": "%s"}`, i, i, i, strings.Repeat("x", description))
	}
	return keyFile(docs...)
}

// file is a file whose reads a test sees.
type file struct {
	io.ReaderAt
	read func(from, to int64)
}

func (f *file) ReadAt(p []byte, at int64) (int, error) {
	n, err := f.ReaderAt.ReadAt(p, at)
	if f.read != nil {
		f.read(at, at+int64(n))
	}
	return n, err
}

// An import must not hold the documents of its file. Otherwise a large file would need more memory than there is.
func TestCheckHoldsNoDocuments(t *testing.T) {
	const size, mayHold = 32 << 20, 8 << 20
	text := largeFile(size/(8<<10), 8<<10)
	held := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before, most := held(), 0
	content := &file{ReaderAt: strings.NewReader(text)}
	measured := int64(0)
	content.read = func(_, to int64) {
		if to-measured > size/8 {
			measured = to
			most = max(most, held()-before)
		}
	}
	checked, err := document.Check(t.Context(), content)
	if err != nil {
		t.Fatal(err)
	}
	if measured < size/2 || most > mayHold {
		t.Errorf("Check holds up to %d bytes while it reads %d, want at most %d", most, measured, mayHold)
	}
	if after := held() - before; after > mayHold/4 {
		t.Errorf("a checked file holds %d bytes, want at most %d", after, mayHold/4)
	}
	runtime.KeepAlive(checked)
}

// A file must be read only as fast as its documents are stored. Otherwise they would queue up in memory.
func TestReadWaitsForItsReader(t *testing.T) {
	content := &file{ReaderAt: strings.NewReader(largeFile(20*document.MaxPart, 0))}
	checked, err := document.Check(t.Context(), content)
	if err != nil {
		t.Fatal(err)
	}
	reads, parts := make(chan bool, 100), 0
	content.read = func(int64, int64) { reads <- true }
	if err := checked.Read(t.Context(), func(document.Part) error {
		if parts++; len(reads) > parts+1 {
			t.Errorf("%d parts are read when part %d is stored, want one more", len(reads), parts)
		}
		return nil
	}); err != nil || parts != 20 {
		t.Errorf("%d parts, %v, want 20", parts, err)
	}
}

// A part must be small in both ways, because engines write it with one command and several of them are in memory.
func TestPartsAreBounded(t *testing.T) {
	for _, c := range []struct{ documents, description, parts int }{
		{document.MaxPart, 0, 1}, {document.MaxPart + 1, 0, 2}, {30, 100 << 10, 3}, {3, 2 << 20, 3}, {0, 0, 0},
	} {
		content := strings.NewReader(largeFile(c.documents, c.description))
		checked, err := document.Check(t.Context(), content)
		if err != nil {
			t.Fatal(err)
		}
		batch, err := parse(t.Context(), content)
		if err != nil {
			t.Fatal(err)
		}
		for name, source := range map[string]document.Source{"file": checked, "batch": batch} {
			parts, next := 0, 0
			err := source.Read(t.Context(), func(p document.Part) error {
				size := 0
				for _, doc := range p.Documents {
					size += len(doc)
				}
				if len(p.Documents) > document.MaxPart || size > 1<<20 && len(p.Documents) > 1 || p.From != next || p.List != document.Keys {
					t.Errorf("%s, %+v: a part of %s with %d documents and %d bytes from %d, want it to begin at %d", name, c, p.List, len(p.Documents), size, p.From, next)
				}
				parts, next = parts+1, next+len(p.Documents)
				return nil
			})
			if err != nil || parts != c.parts || next != c.documents || source.Len() != c.documents {
				t.Errorf("%s, %+v: %d documents in %d parts, %v", name, c, next, parts, err)
			}
		}
	}
}

// Engines store namespaces first. The order of the lists in the file must not matter.
func TestReadOrdersLists(t *testing.T) {
	b, err := document.Check(t.Context(), strings.NewReader(`{"api_keys": [{`+identity+`}], "retrievers": [{"retriever_id": "r", "namespace_id": "ns", "internal_id": "int"}],
		"namespaces": [{"namespace_id": "ns", "namespace_name": "n", "internal_id": "int"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a source can be read again
		var lists []string
		err := b.Read(t.Context(), func(p document.Part) error {
			lists = append(lists, p.List)
			return nil
		})
		if want := "namespaces retrievers api_keys"; err != nil || strings.Join(lists, " ") != want {
			t.Errorf("got %q, %v, want %s", lists, err, want)
		}
	}
}

// A document that nothing has checked must never be stored. Otherwise a file that changes during an import could bring
// anything in.
func TestReadRefusesAChangedFile(t *testing.T) {
	const n = 3 * document.MaxPart
	original := largeFile(n, 10)
	last := strings.LastIndex(original, `"key_hash": "h`) + len(`"key_hash": "`)
	for name, changed := range map[string]string{
		"another hash":   original[:last] + "H" + original[last+1:],
		"a shorter file": original[:last],
		"empty":          "",
		"other offsets":  " " + original,
		"the same":       original,
		"a longer file":  original + " ",
	} {
		content := &file{ReaderAt: strings.NewReader(original)}
		checked, err := document.Check(t.Context(), content)
		if err != nil {
			t.Fatal(err)
		}
		content.ReaderAt = strings.NewReader(changed)
		read := 0
		err = checked.Read(t.Context(), func(p document.Part) error {
			for _, doc := range p.Documents {
				if hash := doc.Lookup("key_hash").StringValue(); hash != fmt.Sprint("h", read) {
					t.Errorf("%s: document %d has the hash %s", name, read, hash)
				}
				read++
			}
			return nil
		})
		if strings.HasPrefix(changed, original) {
			if err != nil || read != n {
				t.Errorf("%s: %d documents, %v", name, read, err)
			}
		} else if !errors.Is(err, document.ErrChanged) || read >= n {
			t.Errorf("%s: %d documents, %v, want %v", name, read, err, document.ErrChanged)
		}
	}
}

// An id or hash must be unique in the whole file, however far apart the documents are.
func TestCheckFindsDuplicatesFarApart(t *testing.T) {
	const n = 4 * document.MaxPart
	for field, values := range map[string][2]string{
		"_id":      {fmt.Sprintf(`"_id": %d,`, n-1), `"_id": 0,`},
		"key_id":   {fmt.Sprintf(`"key_%d"`, n-1), `"key_0"`},
		"key_hash": {fmt.Sprintf(`"h%d"`, n-1), `"h0"`},
	} {
		_, err := document.Check(t.Context(), strings.NewReader(strings.Replace(largeFile(n, 0), values[0], values[1], 1)))
		if want := fmt.Sprintf("api_keys[%d].%s: is the same as in api_keys[0]", n-1, field); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// A value without an end must be refused long before it fills the memory.
func TestCheckRefusesLongValues(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct{ start, want string }{
		"a document": {`{"api_keys": [{}, {"name": "`, "api_keys[1]: longer than 16 MiB"},
		"a list":     {`{"api_keys`, "longer than 16 MiB"},
	} {
		reached := int64(0)
		endless := &file{ReaderAt: endless(c.start), read: func(_, to int64) { reached = to }}
		if _, err := document.Check(t.Context(), endless); err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
		if reached > 40*mib {
			t.Errorf("%s: %d bytes were read", name, reached)
		}
	}
	for _, name := range []int{16*mib - 100, 16 * mib} {
		_, err := document.Check(t.Context(), strings.NewReader(keyFile(`{`+identity+`, "name": "`+strings.Repeat("x", name)+`"}`)))
		if fits := name < 16*mib; fits != (err == nil) {
			t.Errorf("a name of %d bytes: %v", name, err)
		}
	}
}

// endless is a file that begins with a text and continues for a terabyte.
type endless string

func (e endless) ReadAt(p []byte, at int64) (int, error) {
	if at > 1<<40 {
		return 0, io.EOF
	}
	n := 0
	if at < int64(len(e)) {
		n = copy(p, e[at:])
	}
	copy(p[n:], bytes.Repeat([]byte("x"), len(p)-n))
	return len(p), nil
}

// Check and Read must end when the user interrupts them, and report errors of the file.
func TestReadingEnds(t *testing.T) {
	broken := errors.New("the disk is gone")
	content := &file{ReaderAt: readerAt(func([]byte, int64) (int, error) { return 0, broken })}
	if _, err := document.Check(t.Context(), content); !errors.Is(err, broken) {
		t.Errorf("Check of a broken file: %v", err)
	}
	content.ReaderAt = strings.NewReader(largeFile(3*document.MaxPart, 0))
	checked, err := document.Check(t.Context(), content)
	if err != nil {
		t.Fatal(err)
	}
	whole := content.ReaderAt
	content.ReaderAt = readerAt(func([]byte, int64) (int, error) { return 0, broken })
	if err := checked.Read(t.Context(), func(document.Part) error { return nil }); !errors.Is(err, broken) {
		t.Errorf("Read of a broken file: %v", err)
	}
	content.ReaderAt = whole
	full := errors.New("the disk is full")
	parts := 0
	if err := checked.Read(t.Context(), func(document.Part) error { parts++; return full }); !errors.Is(err, full) || parts != 1 {
		t.Errorf("Read after a failure: %d parts, %v", parts, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	for name, source := range map[string]document.Source{"file": checked, "batch": document.Batch{Keys: make([]bson.Raw, 3*document.MaxPart)}} {
		parts = 0
		if err := source.Read(ctx, func(document.Part) error { parts++; cancel(); return nil }); !errors.Is(err, context.Canceled) || parts > 2 {
			t.Errorf("%s: Read after an interruption: %d parts, %v", name, parts, err)
		}
		ctx, cancel = context.WithCancel(t.Context())
	}
	cancel()
	if _, err := document.Check(ctx, content); !errors.Is(err, context.Canceled) {
		t.Errorf("Check after an interruption: %v", err)
	}
}

type readerAt func([]byte, int64) (int, error)

func (f readerAt) ReadAt(p []byte, at int64) (int, error) { return f(p, at) }
