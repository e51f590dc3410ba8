package document

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/wire"
)

// Parse reads an import file: {"namespaces":[…],"retrievers":[…],"api_keys":[…]}. Each list is optional. Documents are
// in MongoDB Extended JSON v2, canonical or relaxed, and dates can also be RFC 3339 strings. If documents are invalid,
// the error is Problems with all of them.
func Parse(r io.Reader) (Batch, error) {
	var b Batch
	lists := map[string]*[]bson.Raw{Namespaces: &b.Namespaces, Retrievers: &b.Retrievers, Keys: &b.Keys}
	var problems Problems

	file := bufio.NewReader(r)
	start, _ := file.Peek(4)
	text, err := wire.UTF8(start)
	if err != nil {
		return Batch{}, fmt.Errorf("the file %w", err)
	}
	_, _ = file.Discard(len(start) - len(text))
	dec := json.NewDecoder(file)
	if err := expect(dec, '{'); err != nil {
		return Batch{}, err
	}
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return Batch{}, notJSON(dec, err)
		}
		name, _ := token.(string)
		list, known := lists[name]
		switch {
		case !known:
			return Batch{}, fmt.Errorf("unknown list %q: an import file has the lists %s, %s and %s", name, Namespaces, Retrievers, Keys)
		case seen[name]:
			return Batch{}, fmt.Errorf("the list %q appears twice", name)
		}
		seen[name] = true
		if err := expect(dec, '['); err != nil {
			return Batch{}, fmt.Errorf("%s: %w", name, err)
		}
		check := newChecker(name)
		for dec.More() {
			texts := make([]json.RawMessage, 0, atATime)
			for len(texts) < atATime && dec.More() {
				var text json.RawMessage
				if err := dec.Decode(&text); err != nil {
					return Batch{}, fmt.Errorf("%s[%d]: %w", name, len(*list)+len(texts), notJSON(dec, err))
				}
				texts = append(texts, text)
			}
			docs, found := check.documents(len(*list), texts)
			*list, problems = append(*list, docs...), append(problems, found...)
		}
		if err := expect(dec, ']'); err != nil {
			return Batch{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := expect(dec, '}'); err != nil {
		return Batch{}, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Batch{}, errors.New("there is data after the end of the JSON value")
	}
	if len(problems) > 0 {
		return Batch{}, problems
	}
	return b, nil
}

// atATime is how many documents are converted from Extended JSON to BSON in parallel.
const atATime = 1_000

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
