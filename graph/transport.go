package graph

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"retrieverkeys/apikey"
	"retrieverkeys/graph/operation"
)

// handler is GraphQL over HTTP: POST with a JSON body, and GET for queries and subscriptions. Unlike gqlgen's own transports, it never repeats unreadable
// input, and leaves out data if nothing was executed.
type handler struct {
	exec          *executor.Executor
	loaders       loaders
	answerLimits  answerLimits
	fields        graphql.FieldMiddleware // the middleware of each field, without the closures of an extension
	persisted     *operation.Persisted
	parser        *operation.Parser
	streams       Streams
	observer      observer
	metrics       Metrics
	introspection Introspection
	playground    string // the page to which browsers are redirected; may be empty
	logger        *slog.Logger
}

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares the value itself
				panic(p) // a stream breaks off
			}
			err := recoverer(h.logger)(r.Context(), p)
			refuse(w, mediaJSON, http.StatusInternalServerError, apikey.Classify(err))
		}
	}()
	w.Header().Add("Vary", "Accept")
	if where := keyInURL(r.URL); r.Method == http.MethodGet && where != "" {
		refuse(w, responseMedia(r.Header.Values("Accept"), mediaJSON, mediaResponse), http.StatusBadRequest,
			apikey.Invalid(where, "The URL holds an API key, and URLs are kept in histories and logs: send the operation by POST, and revoke the key if others may have seen it."))
		return
	}
	media := responseMedia(r.Header.Values("Accept"), mediaJSON, mediaResponse, mediaPage)
	if media == mediaPage {
		asked := r.URL.Query()
		if r.Method == http.MethodGet && h.playground != "" && !asked.Has("documentId") && !asked.Has("extensions") {
			w.Header().Set("Location", h.playground+playgroundFragment(asked)) // as it is: http.Redirect would make it absolute
			w.WriteHeader(http.StatusSeeOther)
			return
		}
		media = responseMedia(r.Header.Values("Accept"), mediaJSON, mediaResponse)
	}
	streamed := acceptsEvents(r.Header.Values("Accept"))
	if streamed == only {
		media = mediaEvents
	}
	var req *request
	var status int
	var err *apikey.Error
	switch r.Method {
	case http.MethodGet:
		req, err = fromQuery(r)
		status = http.StatusBadRequest
	case http.MethodPost:
		req, status, err = fromBody(r)
	default:
		w.Header().Set("Allow", "GET, POST")
		status, err = http.StatusMethodNotAllowed, apikey.Invalid("", "Send GraphQL requests by POST, or queries by GET.")
	}
	if err != nil {
		refuse(w, media, status, err)
		return
	}
	if err := h.persisted.Complete(r.Context(), &req.Request); err != nil {
		switch err.Code {
		case operation.BadUserInput:
			status = http.StatusBadRequest
		case operation.Forbidden:
			status = http.StatusForbidden
		default:
			status = requestErrorStatus(media)
		}
		refuse(w, media, status, &apikey.Error{Code: apikey.Code(err.Code), Field: err.Field, Message: err.Message})
		return
	}
	h.execute(w, r, media, streamed != never, &graphql.RawParams{Query: req.Query, OperationName: req.OperationName, Variables: req.Variables, Extensions: req.Extensions})
}

// requestErrorStatus is the status of a request that was read but not executed. Clients of the older media type expect 200 for every
// GraphQL response.
func requestErrorStatus(media string) int {
	if media == mediaResponse {
		return http.StatusBadRequest
	}
	return http.StatusOK
}

func (h handler) execute(w http.ResponseWriter, r *http.Request, media string, streamed bool, params *graphql.RawParams) {
	ctx := graphql.StartOperationTrace(r.Context())
	params.Headers = r.Header
	op := &graphql.OperationContext{RawQuery: params.Query}
	told := h.introspection.allows(ctx)
	doc, errs := h.parser.Parse(ctx, params.Query)
	if !told {
		errs = operation.Discreet(errs)
	}
	if errs == nil {
		op.Operation, errs = doc.Operation(params.OperationName)
	}
	subscription := errs == nil && op.Operation.Operation == ast.Subscription
	if subscription {
		if !streamed {
			refuse(w, media, http.StatusNotAcceptable, apikey.Invalid("Accept", "A subscription is answered as an event stream: send Accept: text/event-stream."))
			return
		}
		media = mediaEvents
	}
	if errs == nil {
		params.Variables, errs = h.parser.Coerce(op.Operation, params.Variables, told)
	}
	if errs == nil {
		ctx = h.loaders.with(ctx, doc)
		op, errs = h.exec.CreateOperationContext(ctx, params)
	}
	if errs != nil {
		response := h.exec.DispatchError(graphql.WithOperationContext(ctx, op), errs)
		write(w, media, requestErrorStatus(media), response.Errors)
		return
	}
	if r.Method == http.MethodGet && op.Operation.Operation == ast.Mutation {
		w.Header().Set("Allow", "POST")
		refuse(w, media, http.StatusMethodNotAllowed, apikey.Invalid("", "GET does not run mutations: send them by POST."))
		return
	}
	if subscription {
		h.subscribe(ctx, w, r, op)
		return
	}
	ctx, answer := h.answerLimits.begin(ctx, op)
	defer answer.release()
	loaded(ctx).answer = answer
	op.ResolverMiddleware, op.RootResolverMiddleware = answer.field(h.fields), answer.root
	ctx = loaded(ctx).plan(ctx, op)
	respond, ctx := h.exec.DispatchOperation(ctx, op)
	response := respond(ctx)
	ended := answer.ended.Load()
	switch {
	case response == nil:
		w.Header().Set("Retry-After", "1")
		write(w, media, http.StatusServiceUnavailable, gqlerror.List{unavailable(tookTooLong)})
	case ended == nil:
		answer.send(w, media)
	case codeOf(ended) == string(apikey.Unavailable):
		w.Header().Set("Retry-After", "1")
		write(w, media, http.StatusServiceUnavailable, response.Errors)
	default:
		write(w, media, requestErrorStatus(media), response.Errors)
	}
}

// byPlace orders errors like their fields in the operation. Fields are resolved concurrently, so their errors come in any order.
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

// refuse answers a request without executing anything.
func refuse(w http.ResponseWriter, media string, status int, e *apikey.Error) {
	write(w, media, status, gqlerror.List{{Message: e.Message, Extensions: extensions(e)}})
}

// WriteError answers a request that was refused before it reached GraphQL, with the same body as GraphQL's own refusals: errors without
// data.
func WriteError(w http.ResponseWriter, r *http.Request, status int, e *apikey.Error) {
	w.Header().Add("Vary", "Accept")
	refuse(w, responseMedia(r.Header.Values("Accept"), mediaJSON, mediaResponse), status, e)
}

// write answers with errors without data. An event stream contains them only if its status is 200, because clients read no other.
func write(w http.ResponseWriter, media string, status int, errs gqlerror.List) {
	text := errorsText(errs, nil)
	if media == mediaEvents {
		if status == http.StatusOK {
			text = slices.Concat([]byte(nextHead), text, []byte(nextTail+complete))
		} else {
			media = mediaJSON
		}
	}
	setHeaders(w, media, int64(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

// errorsText is the JSON of a response with errors. Data can be nil.
func errorsText(errs gqlerror.List, data []byte) []byte {
	text, err := json.Marshal(errs)
	if err != nil {
		panic(fmt.Errorf("errors that cannot be written as JSON: %w", err))
	}
	text = append([]byte(`{"errors":`), text...)
	if data != nil {
		text = append(append(text, `,"data":`...), data...)
	}
	return append(text, '}')
}

// setHeaders sets the headers of a response of that length; negative if it is not known.
func setHeaders(w http.ResponseWriter, media string, length int64) {
	h := w.Header()
	h.Set("Content-Type", media+"; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	if media == mediaEvents {
		h.Set("Cache-Control", "no-store, no-transform") // proxies that compress keep events back
		h.Set("X-Accel-Buffering", "no")
	}
	if length >= 0 {
		h.Set("Content-Length", strconv.FormatInt(length, 10))
	}
}

// parsed gives gqlgen's executor the document that the transport has parsed, in the form of a cache.
type parsed struct{}

// Get returns the document of the request's loader.
func (parsed) Get(ctx context.Context, _ string) (*ast.QueryDocument, bool) {
	return loaded(ctx).doc.QueryDocument, true
}

// Add does nothing: operation.Parser has a cache.
func (parsed) Add(context.Context, string, *ast.QueryDocument) {}
