package document

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"retrieverkeys/wire"
)

// texts is a section of a list, with the texts of its documents.
type texts struct {
	section
	list      string
	documents []json.RawMessage
}

// scan calls found with all documents of an import file, section by section, until it returns false. The file is valid
// JSON if scan returns no error. What is in the documents is not checked.
func scan(ctx context.Context, content io.ReaderAt, found func(texts) bool) error {
	limit := &limitedReader{Reader: io.NewSectionReader(content, 0, math.MaxInt64), left: maxDocument}
	file := bufio.NewReader(limit)
	start, _ := file.Peek(4)
	text, err := wire.UTF8(start)
	if err != nil {
		return fmt.Errorf("the file %w", err)
	}
	mark, _ := file.Discard(len(start) - len(text))
	dec := json.NewDecoder(file)
	if err := expect(dec, '{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return notJSON(dec, err)
		}
		name, _ := token.(string)
		switch _, known := listRules[name]; {
		case !known:
			return fmt.Errorf("unknown list %q: an import file has the lists %s, %s and %s", name, Namespaces, Retrievers, Keys)
		case seen[name]:
			return fmt.Errorf("the list %q appears twice", name)
		}
		seen[name] = true
		if err := expect(dec, '['); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		next := texts{list: name}
		for i := 0; dec.More(); i++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			var text json.RawMessage
			limit.left = maxDocument
			if err := dec.Decode(&text); err != nil {
				return fmt.Errorf("%s[%d]: %w", name, i, notJSON(dec, err))
			}
			if len(text) > maxDocument {
				return fmt.Errorf("%s[%d]: %w", name, i, errTooLong)
			}
			end := int64(mark) + dec.InputOffset()
			if !next.add(text, end) {
				if !found(next) {
					return nil
				}
				next = texts{list: name, section: section{from: i}}
				next.add(text, end)
			}
		}
		if len(next.documents) > 0 && !found(next) {
			return nil
		}
		if err := expect(dec, ']'); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := expect(dec, '}'); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is data after the end of the JSON value")
	}
	return nil
}

// add adds the document that ends at this offset of the file. It returns false if the document does not fit.
func (t *texts) add(text json.RawMessage, end int64) bool {
	start := end - int64(len(text))
	if len(t.documents) == 0 {
		t.at = start
	}
	if !fits(len(t.documents), int(end-t.at)) {
		return false
	}
	t.documents = append(t.documents, text)
	t.spans = append(t.spans, span{int32(start - t.at), int32(end - t.at)})
	return true
}

// maxDocument bounds the text of a document. MongoDB stores no longer documents.
const maxDocument = 16 << 20

var errTooLong = errors.New("longer than 16 MiB")

// limitedReader returns errTooLong when no bytes are left. It keeps a decoder from reading a file of any size into memory.
type limitedReader struct {
	io.Reader
	left int
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, errTooLong
	}
	n, err := l.Reader.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

func expect(dec *json.Decoder, want json.Delim) error {
	token, err := dec.Token()
	if err != nil {
		return notJSON(dec, err)
	}
	if token != want {
		return fmt.Errorf("not an import file: expected %q", want.String())
	}
	return nil
}

func notJSON(dec *json.Decoder, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the file ends in the middle of a JSON value")
	}
	if _, ok := errors.AsType[*json.SyntaxError](err); ok {
		// The error's own offset does not count the tokens read before.
		return fmt.Errorf("not JSON, after byte %d: %w", dec.InputOffset(), err)
	}
	return err
}
