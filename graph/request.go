package graph

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql"

	"retrieverkeys/apikey"
)

// request is what is asked: an operation by its text, by the id of its document, or both.
type request struct {
	graphql.RawParams

	documentID string
}

// The media types of a response. The older one of JSON answers 200 to whatever could be read as a request.
const (
	mediaResponse = "application/graphql-response+json"
	mediaJSON     = "application/json"
	mediaPage     = "text/html"
)

// responseMedia returns which of the offered media types the client would rather have; the first where it does not say,
// or wants none of them.
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

// playgroundFragment hands a query in a URL on to the playground, in the form that its page reads.
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
	req := &request{documentID: query.Get("documentId")}
	req.Query, req.OperationName = query.Get("query"), query.Get("operationName")
	for name, to := range map[string]*map[string]any{"variables": &req.Variables, "extensions": &req.Extensions} {
		if text := query.Get(name); text != "" {
			if err := decode([]byte(text), to); err != nil {
				return nil, apikey.Invalid(name, "%s must be a JSON object.", name)
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
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, http.StatusRequestEntityTooLarge, apikey.Invalid("", "The body is larger than %d bytes.", tooLarge.Limit)
	case err != nil:
		return nil, http.StatusBadRequest, apikey.Invalid("", "The body could not be read.")
	case !utf8.Valid(body):
		return nil, http.StatusBadRequest, apikey.Invalid("", "The body is not UTF-8.")
	}
	req := &request{}
	names := map[string]any{
		"query": &req.Query, "operationName": &req.OperationName, "variables": &req.Variables, "extensions": &req.Extensions, "documentId": &req.documentID,
	}
	if err := members(body, names); err != nil {
		return nil, http.StatusBadRequest, err
	}
	return req, http.StatusOK, nil
}

// members reads the members of a JSON object, each of which may stand there once and be null. Others are passed over.
func members(text []byte, names map[string]any) *apikey.Error {
	dec := json.NewDecoder(bytes.NewReader(text))
	if start, _ := dec.Token(); start != json.Delim('{') || !json.Valid(text) {
		return apikey.Invalid("", "The body is not a JSON object.")
	}
	seen := map[string]bool{}
	for dec.More() {
		token, _ := dec.Token() // it is valid JSON
		name, _ := token.(string)
		var value json.RawMessage
		_ = dec.Decode(&value)
		if seen[name] {
			return apikey.Invalid("", "The body has a member twice.")
		}
		seen[name] = true
		to, known := names[name]
		if _, isText := to.(*string); isText && json.Unmarshal(value, to) != nil || known && !isText && decode(value, to) != nil {
			return apikey.Invalid(name, "%s is of the wrong type.", name)
		}
	}
	return nil
}

// decode reads exactly one JSON value; numbers keep all their digits.
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
