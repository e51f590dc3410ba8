package graph

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"retrieverkeys/apikey"
	"retrieverkeys/graph/operation"
	"retrieverkeys/wire"
)

// request is a request as it was sent: an operation as text, by the id of its document, or both.
type request struct{ operation.Request }

// The media types of responses. With the older JSON type, every request that could be read gets 200.
const (
	mediaResponse = "application/graphql-response+json"
	mediaJSON     = "application/json"
	mediaPage     = "text/html"
	mediaEvents   = "text/event-stream"
)

// responseMedia returns the offered media type that the client prefers, or the first if it has no preference or accepts none of them.
func responseMedia(accept []string, offered ...string) string {
	best, quality := offered[0], 0.0
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		media, attributes, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q, err := strconv.ParseFloat(attributes["q"], 64)
		if err != nil {
			q = 1
		}
		for _, o := range offered {
			if q > quality && (media == o || o == offered[0] && (media == "*/*" || media == "application/*")) {
				best, quality = o, q
			}
		}
	}
	return best
}

// streamed says whether a client accepts event streams.
type streamed int

const (
	never streamed = iota // JSON alone
	also                  // event streams in addition to JSON
	only                  // event streams, and no JSON
)

// acceptsEvents reports whether the client accepts event streams. One that says nothing accepts JSON.
func acceptsEvents(accept []string) streamed {
	switch {
	case !accepts(accept, mediaEvents):
		return never
	case accepts(accept, mediaJSON) || accepts(accept, mediaResponse):
		return also
	default:
		return only
	}
}

// accepts reports whether a client accepts a media type. The most specific range that matches it decides.
func accepts(accept []string, media string) bool {
	kind, _, _ := strings.Cut(media, "/")
	most, accepted := 0, false
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		sent, attributes, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		specific := 1 + slices.Index([]string{"*/*", kind + "/*", media}, sent)
		if q, err := strconv.ParseFloat(attributes["q"], 64); specific > 0 && specific >= most {
			accepted = err != nil || q > 0 || specific == most && accepted
			most = specific
		}
	}
	return accepted
}

// playgroundFragment converts a query in a URL to the fragment that the playground reads.
func playgroundFragment(asked url.Values) string {
	fragment := url.Values{}
	for _, name := range []string{"query", "variables"} {
		if asked.Get(name) != "" {
			fragment.Set(name, asked.Get(name))
		}
	}
	if len(fragment) == 0 {
		return ""
	}
	return "#" + fragment.Encode()
}

// keyInURL returns the name of the parameter that contains a whole API key, or an empty string.
func keyInURL(u *url.URL) string {
	asked := u.Query()
	for _, name := range []string{"query", "operationName", "variables", "extensions", "documentId"} {
		if slices.ContainsFunc(asked[name], apikey.HoldsKey) {
			return name
		}
	}
	return ""
}

// fromQuery reads a request from the URL.
func fromQuery(r *http.Request) (*request, *apikey.Error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, apikey.Invalid("", "The URL's query is not well formed.")
	}
	for _, name := range []string{"query", "operationName", "variables", "extensions", "documentId"} {
		if len(query[name]) > 1 {
			return nil, apikey.Invalid(name, "%s is given twice.", name)
		}
		if !utf8.ValidString(query.Get(name)) {
			return nil, apikey.Invalid(name, "%s is not UTF-8.", name)
		}
	}
	req := &request{operation.Request{Query: query.Get("query"), OperationName: query.Get("operationName"), DocumentID: query.Get("documentId")}}
	for name, to := range map[string]*map[string]any{"variables": &req.Variables, "extensions": &req.Extensions} {
		if text := query.Get(name); text != "" {
			if err := decode([]byte(text), to); err != nil {
				return nil, apikey.Invalid(name, "%s must be a JSON object.", name)
			}
			if err := unambiguous([]byte(text), name); err != nil {
				return nil, err
			}
		}
	}
	return req, nil
}

// fromBody reads a request from a JSON body.
func fromBody(r *http.Request) (*request, int, *apikey.Error) {
	media, attributes, err := mime.ParseMediaType(strings.Join(r.Header.Values("Content-Type"), ","))
	charset := strings.ToLower(attributes["charset"])
	if err != nil || media != mediaJSON || charset != "" && charset != "utf-8" {
		return nil, http.StatusUnsupportedMediaType, apikey.Invalid("Content-Type", "Send the operation as application/json in UTF-8.")
	}
	if encoding := strings.Join(r.Header.Values("Content-Encoding"), ","); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, http.StatusUnsupportedMediaType, apikey.Invalid("Content-Encoding", "Send the operation uncompressed.")
	}
	body, err := io.ReadAll(r.Body)
	text, encodingErr := wire.UTF8(body)
	encoding, _ := errors.AsType[wire.Encoding](encodingErr)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, http.StatusRequestEntityTooLarge, apikey.Invalid("", "The body is larger than %d bytes.", tooLarge.Limit)
	case err != nil:
		return nil, http.StatusBadRequest, apikey.Invalid("", "The body could not be read.")
	case encodingErr != nil:
		return nil, http.StatusBadRequest, apikey.Invalid("", "The body is in %s: send it in UTF-8.", string(encoding))
	case !utf8.Valid(text):
		return nil, http.StatusBadRequest, apikey.Invalid("", "The body is not UTF-8.")
	}
	req := &request{}
	if err := req.unmarshal(text); err != nil {
		return nil, http.StatusBadRequest, err
	}
	return req, http.StatusOK, nil
}

// unmarshal reads a JSON object. Its members may be null, but not appear twice. Unknown members are ignored.
func (r *request) unmarshal(text []byte) *apikey.Error {
	err := r.members(text)
	if err != nil && !json.Valid(text) { // report that first: only the beginning was read
		return noObject()
	}
	if err != nil {
		return err
	}
	return unambiguous(text)
}

// unambiguous refuses JSON that decoders read differently, and names the duplicate member. The names are the path to the text.
func unambiguous(text []byte, below ...string) *apikey.Error {
	err := wire.Unambiguous(text)
	twice, ok := errors.AsType[*wire.TwiceError](err)
	switch {
	case err == nil:
		return nil
	case !ok && len(below) == 0:
		return apikey.Invalid("", "The body %s.", err)
	case !ok:
		return apikey.Invalid(below[0], "%s %s.", below[0], err)
	}
	path := slices.Concat(below, twice.Path)
	for i, name := range path {
		if !operation.Showable(name) || apikey.HideKeys(name) != name {
			path[i] = "…"
		}
	}
	if last := len(path) - 1; last > 2 { // the client chooses the depth
		path = []string{path[0], "…", path[last]}
	}
	place := strings.Join(path, ".")
	return apikey.Invalid(place, "%s is given twice.", place)
}

func noObject() *apikey.Error { return apikey.Invalid("", "The body is not a JSON object.") }

func (r *request) members(text []byte) *apikey.Error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	switch start, _ := dec.Token(); start {
	case json.Delim('{'):
	case json.Delim('['):
		return apikey.Invalid("", "The body is not a JSON object. Batches are not offered: send one operation.")
	default:
		return noObject()
	}
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return noObject()
		}
		name, _ := token.(string)
		if seen[name] {
			return unambiguous(text)
		}
		seen[name] = true
		if dec.Decode(r.member(name)) != nil {
			return apikey.Invalid(name, "%s is of the wrong type.", name)
		}
	}
	end, _ := dec.Token()
	if _, err := dec.Token(); end != json.Delim('}') || !errors.Is(err, io.EOF) {
		return noObject()
	}
	return nil
}

// member is the destination of the member with that name.
func (r *request) member(name string) any {
	switch name {
	case "query":
		return &r.Query
	case "operationName":
		return &r.OperationName
	case "variables":
		return &r.Variables
	case "extensions":
		return &r.Extensions
	case "documentId":
		return &r.DocumentID
	default:
		return &json.RawMessage{}
	}
}

// decode reads exactly one JSON value. Numbers keep all their digits.
func decode(text []byte, to any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(to); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}
