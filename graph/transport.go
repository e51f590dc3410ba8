package graph

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"retrieverkeys/apikey"
)

// handler is GraphQL over HTTP: POST with a JSON body, and GET for queries. Unlike gqlgen's own transports it never
// repeats what it could not read, and leaves data out of a response where nothing was executed.
type handler struct {
	exec   *executor.Executor
	logger *slog.Logger
}

// The two media types of a response. The older one answers 200 to whatever could be read as a request.
const (
	mediaResponse = "application/graphql-response+json"
	mediaJSON     = "application/json"
)

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			err := recoverer(h.logger)(r.Context(), p)
			refuse(w, mediaJSON, http.StatusInternalServerError, apikey.Classify(err))
		}
	}()
	media := responseMedia(r.Header.Values("Accept"))
	var params *graphql.RawParams
	var status int
	var err *apikey.Error
	switch r.Method {
	case http.MethodGet:
		params, err = fromQuery(r)
		status = http.StatusBadRequest
	case http.MethodPost:
		params, status, err = fromBody(r)
	default:
		w.Header().Set("Allow", "GET, POST")
		status, err = http.StatusMethodNotAllowed, apikey.Invalid("", "GraphQL is asked by POST, or by GET for queries.")
	}
	if err != nil {
		refuse(w, media, status, err)
		return
	}
	h.execute(w, r, media, params)
}

func (h handler) execute(w http.ResponseWriter, r *http.Request, media string, params *graphql.RawParams) {
	ctx := graphql.StartOperationTrace(r.Context())
	params.Headers = r.Header
	op, errs := h.exec.CreateOperationContext(ctx, params)
	if errs != nil {
		status := http.StatusOK
		if media == mediaResponse {
			status = http.StatusBadRequest
		}
		response := h.exec.DispatchError(graphql.WithOperationContext(ctx, op), errs)
		write(w, media, status, response.Errors, nil)
		return
	}
	if r.Method == http.MethodGet && op.Operation.Operation != ast.Query {
		w.Header().Set("Allow", "POST")
		refuse(w, media, http.StatusMethodNotAllowed, apikey.Invalid("", "GET runs queries only; send other operations by POST."))
		return
	}
	respond, ctx := h.exec.DispatchOperation(ctx, op)
	response := respond(ctx)
	if response == nil {
		refuse(w, media, http.StatusServiceUnavailable, apikey.Outage(ctx.Err()))
		return
	}
	slices.SortStableFunc(response.Errors, byPlace)
	write(w, media, http.StatusOK, response.Errors, response.Data)
}

// byPlace orders errors as the fields they are about stand in the operation; fields are resolved side by side, and
// their errors come in any order.
func byPlace(a, b *gqlerror.Error) int {
	line := func(e *gqlerror.Error) (line, column int) {
		if len(e.Locations) == 0 {
			return 0, 0
		}
		return e.Locations[0].Line, e.Locations[0].Column
	}
	aLine, aColumn := line(a)
	bLine, bColumn := line(b)
	return cmp.Or(cmp.Compare(aLine, bLine), cmp.Compare(aColumn, bColumn), cmp.Compare(a.Path.String(), b.Path.String()))
}

// responseMedia chooses between the two media types by what the client accepts; the older one where it does not say.
func responseMedia(accept []string) string {
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		media, _, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		if media == mediaResponse || media == mediaJSON {
			return media
		}
	}
	return mediaJSON
}

// fromQuery reads a request from the URL.
func fromQuery(r *http.Request) (*graphql.RawParams, *apikey.Error) {
	query := r.URL.Query()
	params := &graphql.RawParams{Query: query.Get("query"), OperationName: query.Get("operationName")}
	for name, to := range map[string]*map[string]any{"variables": &params.Variables, "extensions": &params.Extensions} {
		if text := query.Get(name); text != "" {
			if err := decode([]byte(text), to); err != nil {
				return nil, apikey.Invalid(name, "%s must be a JSON object.", name)
			}
		}
	}
	return params, valid(params)
}

// fromBody reads a request from a JSON body.
func fromBody(r *http.Request) (*graphql.RawParams, int, *apikey.Error) {
	media, attributes, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := strings.ToLower(attributes["charset"])
	if err != nil || media != mediaJSON || charset != "" && charset != "utf-8" {
		return nil, http.StatusUnsupportedMediaType, apikey.Invalid("Content-Type", "Send the operation as application/json in UTF-8.")
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
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
	params := &graphql.RawParams{}
	names := map[string]any{"query": &params.Query, "operationName": &params.OperationName, "variables": &params.Variables, "extensions": &params.Extensions}
	if err := members(body, names); err != nil {
		return nil, http.StatusBadRequest, err
	}
	return params, http.StatusBadRequest, valid(params)
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
		if to, known := names[name]; known && decode(value, to) != nil {
			return apikey.Invalid(name, "%s is of the wrong type.", name)
		}
	}
	return nil
}

func valid(p *graphql.RawParams) *apikey.Error {
	if p.Query == "" {
		return apikey.Invalid("query", "query is required.")
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

// refuse answers a request that nothing was executed of.
func refuse(w http.ResponseWriter, media string, status int, e *apikey.Error) {
	write(w, media, status, gqlerror.List{{Message: e.Message, Extensions: extensions(e)}}, nil)
}

// WriteError answers a request that was refused before it reached GraphQL, with the same body as GraphQL's own
// refusals: errors, and no data.
func WriteError(w http.ResponseWriter, r *http.Request, status int, e *apikey.Error) {
	refuse(w, responseMedia(r.Header.Values("Accept")), status, e)
}

// write sends the response. data is finished JSON, and left out where it is nil: nothing was executed.
func write(w http.ResponseWriter, media string, status int, errs gqlerror.List, data json.RawMessage) {
	w.Header().Set("Content-Type", media+"; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	var b bytes.Buffer
	b.WriteByte('{')
	if len(errs) > 0 {
		text, err := json.Marshal(errs)
		if err != nil {
			panic(fmt.Errorf("errors that are no JSON: %w", err))
		}
		b.WriteString(`"errors":`)
		b.Write(text)
	}
	if data != nil {
		if len(errs) > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"data":`)
		b.Write(data)
	}
	b.WriteByte('}')
	_, _ = w.Write(b.Bytes())
}
