package operation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"retrieverkeys/wire"
)

// Manifest has the operations that the server knows in advance (persisted operations, trusted documents), by their ids.
type Manifest map[string]string

// ReadManifest reads a manifest in the form of Apollo's generate-persisted-query-manifest, or of graphql-codegen's client
// preset: an object of texts by their hashes. It returns all errors, including those of operations that are invalid or exceed the limits,
// because they would fail at every client.
func ReadManifest(ctx context.Context, text []byte, c Config) (Manifest, []error) {
	text, err := wire.UTF8(text)
	if err != nil {
		return nil, []error{err}
	}
	named := map[string]string{}
	var apollo struct {
		Format     string `json:"format"`
		Version    int    `json:"version"`
		Operations []struct{ ID, Body string }
	}
	if err := json.Unmarshal(text, &apollo); err == nil && apollo.Format != "" {
		if apollo.Format != "apollo-persisted-query-manifest" || apollo.Version != 1 {
			return nil, []error{fmt.Errorf("has the format %q, version %d, not apollo-persisted-query-manifest, version 1", apollo.Format, apollo.Version)}
		}
		for _, o := range apollo.Operations {
			if other, twice := named[o.ID]; twice && other != o.Body {
				return nil, []error{fmt.Errorf("has two operations with the id %q", o.ID)}
			}
			named[o.ID] = o.Body
		}
	} else if err := json.Unmarshal(text, &named); err != nil {
		return nil, []error{errors.New("is neither a persisted query manifest nor a JSON object of operations by their hashes")}
	}
	if len(named) == 0 {
		return nil, []error{errors.New("has no operations")}
	}
	var problems []error
	m, p := Manifest{}, NewParser(c, nil)
	for _, id := range slices.Sorted(maps.Keys(named)) {
		text := named[id]
		if other, twice := m[bare(id)]; bare(id) == "" || twice && other != text {
			problems = append(problems, fmt.Errorf("has an operation with the id %q, which is empty or used twice", id))
		}
		if c.HoldsKey(text) {
			problems = append(problems, fmt.Errorf("has an operation that contains an API key, %q: send keys as variables", id))
		}
		if _, errs := p.Parse(ctx, text); errs != nil {
			problems = append(problems, fmt.Errorf("has an operation that cannot be run, %q: %s", id, errs[0].Message))
		}
		m[bare(id)] = text
	}
	return m, problems
}

// Request is what a client asks: an operation by its text, by the id of its document, or both.
type Request struct {
	Query         string
	DocumentID    string
	OperationName string
	Variables     map[string]any
	Extensions    map[string]any
}

// Error refuses a request.
type Error struct {
	Code    string
	Field   string // that is wrong; empty: no single one
	Message string
}

func (e *Error) Error() string { return e.Message }

// The codes of an Error.
const (
	BadUserInput = "BAD_USER_INPUT"
	Forbidden    = "FORBIDDEN"
	// NotFound makes clients of automatic persisted queries send the text together with its hash. They look for its message.
	NotFound = "PERSISTED_QUERY_NOT_FOUND"
)

// Persisted finds the texts of operations that are named by an id: those of the manifest, and those that clients of the same
// organization sent before, together with their hash (automatic persisted queries).
type Persisted struct {
	Config

	manifest Manifest
	trusted  map[string]bool // the manifest's texts; nil: any other may be run too
	sent     *cache[string]
}

// NewPersisted returns the operations of a manifest; no others may be run if only is set. It reports each lookup of a text that was sent
// before to looked, unless that is nil.
func NewPersisted(c Config, manifest Manifest, only bool, looked func(hit bool)) *Persisted {
	p := &Persisted{Config: c, manifest: manifest, sent: newCache(c.Known, looked, func(id, text string) int { return len(id) + len(text) })}
	if only {
		p.trusted = map[string]bool{}
		for _, text := range manifest {
			p.trusted[text] = true
		}
	}
	return p
}

// Complete adds the text to a request that names it by an id. It refuses a request whose text may not run.
func (p *Persisted) Complete(ctx context.Context, req *Request) *Error {
	id, hashed, err := req.document()
	if err != nil {
		return err
	}
	text, known := p.manifest[id]
	switch {
	case id == "" && req.Query == "":
		return &Error{BadUserInput, "query", "query is required."}
	case id == "":
	case req.Query != "" && !hashed:
		return &Error{BadUserInput, "documentId", "Send either documentId or query, not both."}
	case known && (req.Query == "" || req.Query == text):
		req.Query = text
	case req.Query == "":
		if text, known = p.registered(ctx, id); !known {
			return &Error{Code: NotFound, Message: "PersistedQueryNotFound"}
		}
		req.Query = text
	case hashed && Hash(req.Query) != id:
		return &Error{BadUserInput, "extensions.persistedQuery.sha256Hash", "The hash does not match the query."}
	case hashed && p.trusted == nil && !p.HoldsKey(req.Query):
		p.sent.Add(ctx, p.ownID(ctx, id), req.Query)
	}
	if p.trusted != nil && !p.trusted[req.Query] {
		return &Error{Code: Forbidden, Message: "This server only runs operations of its manifest."}
	}
	return nil
}

// registered returns the text that a caller of the same organization sent with its hash. Other organizations and unknown callers get
// nothing: otherwise they could find out which operations an organization uses.
func (p *Persisted) registered(ctx context.Context, id string) (text string, known bool) {
	if !p.Known(ctx) {
		return "", false
	}
	return p.sent.Get(ctx, p.ownID(ctx, id))
}

// ownID is an id within the caller's organization.
func (p *Persisted) ownID(ctx context.Context, id string) string { return p.Tenant(ctx) + "\x00" + id }

// document returns the id that the request names its document by, and whether it is the hash of a text: as extension, the
// way of Apollo's clients, or as documentId, that of the GraphQL over HTTP specification.
func (r *Request) document() (id string, hashed bool, err *Error) {
	extension, given := r.Extensions["persistedQuery"]
	if !given || extension == nil {
		return bare(r.DocumentID), false, nil
	}
	persisted, _ := extension.(map[string]any)
	id, _ = persisted["sha256Hash"].(string)
	version, _ := wholeNumber(persisted["version"])
	if id == "" || version != 1 || r.DocumentID != "" {
		return "", false, &Error{BadUserInput, "extensions.persistedQuery", "extensions.persistedQuery must be an object with version 1 and a sha256Hash, without a documentId beside it."}
	}
	return bare(id), true, nil
}

// bare is an id without the name of its algorithm, which some clients put before a hash and others do not. A hash is hexadecimal
// in any case; an id that is not a hash stays as it is.
func bare(id string) string {
	const algorithm = "sha256:"
	hash := id
	if len(id) > len(algorithm) && strings.EqualFold(id[:len(algorithm)], algorithm) {
		hash = id[len(algorithm):]
	}
	if sum, err := hex.DecodeString(hash); err == nil && len(sum) == sha256.Size {
		return strings.ToLower(hash)
	}
	return strings.TrimPrefix(id, algorithm)
}

// Hash is the SHA-256 of a text, in hexadecimal.
func Hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
