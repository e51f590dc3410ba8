package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"retrieverkeys/apikey"
)

// Memory limits the memory of all responses together, from when they are made until they are sent.
type Memory interface {
	// Take takes bytes. It may wait briefly, and reports false if there are not enough.
	Take(ctx context.Context, bytes int64) bool
	Give(bytes int64)
}

// answerLimits are the limits of an operation's response.
type answerLimits struct {
	most   int64  // bytes of one response; 0: any number
	fields int64  // fields of one response that gqlgen makes; 0: any number
	memory Memory // nil: no limit
}

const (
	// partBytes is the length of the parts in which a response is made. The first part needs no memory from Memory, so short responses
	// can always be made.
	partBytes = 64 << 10
	// fullPart is the length at which a part counts as full, so that most appends still fit.
	fullPart = partBytes - 4<<10
)

// answer is the response of one operation while it is made. It is made in parts, because one buffer would be copied whenever it grows,
// and could only be counted when complete.
//
// The response of a query ends early, with one error and no data, if it is too large, too late, or finds no memory. The response of a
// mutation is always complete, because the key that it shows cannot be retrieved again. Instead, mutations that have not run yet are
// refused if the response is already too large.
type answer struct {
	answerLimits
	mutation bool
	ctx      context.Context //nolint:containedctx // the operation's context; the answer lives as long
	cancel   context.CancelFunc

	expected atomic.Int64 // the approximate length of the lists that were resolved
	made     atomic.Int64 // fields that gqlgen has made
	ended    atomic.Pointer[gqlerror.Error]

	// The fields below belong to the goroutine that writes.
	b       []byte   // the current part
	parts   [][]byte // the parts before it
	size    int64    // bytes in parts
	kept    int64    // capacity of parts
	held    int64    // bytes taken from Memory
	dropped bool     // the response has ended early; further writes are discarded
	errors  []byte   // JSON; may be empty
}

// begin prepares the response of an operation. The caller must release it.
func (l answerLimits) begin(ctx context.Context, op *graphql.OperationContext) (context.Context, *answer) {
	a := &answer{answerLimits: l, mutation: op.Operation.Operation == ast.Mutation}
	a.ctx, a.cancel = context.WithCancel(ctx)
	return a.ctx, a
}

// release returns the memory of the response.
func (a *answer) release() {
	a.cancel()
	a.forget()
}

// drop discards what was written of a response that has ended early.
func (a *answer) drop() {
	a.release()
	a.b, a.dropped = make([]byte, fullPart), true // full, so that writers notice at once
}

func (a *answer) give(bytes int64) {
	if bytes > 0 {
		a.memory.Give(bytes)
		a.held -= bytes
	}
}

// end ends a query's response early with an error, and cancels the remaining work. The first error counts.
func (a *answer) end(err *gqlerror.Error) {
	a.ended.CompareAndSwap(nil, err)
	a.cancel()
}

// hasEnded reports whether a query's response has ended early.
func (a *answer) hasEnded() bool { return a.ended.Load() != nil }

func (a *answer) tooLarge() *gqlerror.Error {
	return limitExceeded("MAX_RESPONSE_BYTES", apikey.Invalid("", "The answer would have more than %d bytes (MAX_RESPONSE_BYTES). Ask for less: smaller pages with first, fewer fields, aliases or entities.", a.most))
}

func unavailable(message string) *gqlerror.Error {
	e := &apikey.Error{Code: apikey.Unavailable, Message: message}
	return &gqlerror.Error{Message: message, Extensions: extensions(e), Err: e}
}

// tookTooLong is the message after a timeout.
const tookTooLong = "This took too long. Try again shortly, or ask for less."

// field runs before each field that gqlgen makes. gqlgen keeps several hundred bytes for each until the response is written, so their
// number has its own limit.
func (a *answer) field(fields graphql.FieldMiddleware) graphql.FieldMiddleware {
	if a.mutation || a.fields == 0 {
		return fields
	}
	return func(ctx context.Context, next graphql.Resolver) (any, error) {
		a.makes()
		if a.hasEnded() {
			return graphql.Null, nil
		}
		return fields(ctx, next)
	}
}

// makes counts a field that gqlgen makes, and ends a query's response if there are too many.
func (a *answer) makes() {
	if a.made.Add(1) > a.fields && a.fields > 0 && !a.mutation && !a.hasEnded() {
		a.end(limitExceeded("MAX_COMPLEXITY", apikey.Invalid("first",
			"The answer has too many fields outside of plain lists: at most %d are allowed (a tenth of MAX_COMPLEXITY). Ask for smaller pages with first, or for fewer fields.", a.fields)))
	}
}

// slowerBy is how many times more a field costs in time and memory if gqlgen makes it.
const slowerBy = 10

// root wraps each root field. It writes the field here instead of into gqlgen's buffer.
func (a *answer) root(ctx context.Context, next graphql.RootResolver) graphql.Marshaler {
	if a.mutation {
		return a.change(ctx, next)
	}
	m := next(ctx)
	if m == graphql.Null || m == graphql.RequiredNull { // gqlgen compares these values by identity
		return m
	}
	return graphql.WriterFunc(func(w io.Writer) {
		a.takeOver(w)
		if !a.hasEnded() {
			m.MarshalGQL(a)
		}
	})
}

// change wraps each mutation field. They run one after the other, and each is written before the next one runs. If the response is too
// large, or there is no memory, the next one must not run.
func (a *answer) change(ctx context.Context, next graphql.RootResolver) graphql.Marshaler {
	if refused := a.full(); refused != nil {
		f := graphql.GetRootFieldContext(ctx).Field
		refused.Path, refused.Locations = ast.Path{ast.PathName(f.Alias)}, []gqlerror.Location{{Line: f.Position.Line, Column: f.Position.Column}}
		graphql.AddError(ctx, presented{refused})
		return graphql.Null
	}
	loaded(ctx).forget()
	m := next(ctx)
	if m == graphql.Null || m == graphql.RequiredNull {
		return m
	}
	own := &answer{mutation: true}
	m.MarshalGQL(own)
	own.put()
	for _, p := range own.parts {
		a.size += int64(len(p))
	}
	return graphql.WriterFunc(func(w io.Writer) {
		a.takeOver(w)
		a.put()
		a.parts = append(a.parts, own.parts...)
		a.b = newPart(512)
	})
}

// full returns the reason why the next mutation field must not run, or nil.
func (a *answer) full() *gqlerror.Error {
	if a.most > 0 && a.size > a.most {
		return limitExceeded("MAX_RESPONSE_BYTES", apikey.Invalid("", "This was not done: the answer has more than %d bytes without it (MAX_RESPONSE_BYTES). Send it in a request of its own, or ask for fewer fields.", a.most))
	}
	need := a.size - partBytes - a.held
	if a.memory == nil || need <= 0 {
		return nil
	}
	if !a.memory.Take(a.ctx, need) {
		return unavailable("This was not done: there are too many large answers on their way. Try again shortly.")
	}
	a.held += need
	return nil
}

// mostShown is how often a mutation may select a field of its keys. It limits how many copies of a key's values the response contains,
// because their length is only known afterwards.
const mostShown = 10

// MutateOperationContext refuses a mutation whose response could be too large for keys of any size.
func (l answerLimits) MutateOperationContext(_ context.Context, op *graphql.OperationContext) *gqlerror.Error {
	if op.Operation.Operation != ast.Mutation || l.most == 0 {
		return nil
	}
	for _, f := range graphql.CollectFields(op, op.Operation.SelectionSet, mutationImplementors) {
		shown := map[string]int{}
		count(op, f, shown)
		for _, name := range slices.Sorted(maps.Keys(shown)) {
			if times := shown[name]; times > mostShown {
				return limitExceeded("MAX_RESPONSE_BYTES", apikey.Invalid("", "%s shows %s %d times. A mutation may show each field %d times at most: its answer is sent whole, whatever MAX_RESPONSE_BYTES says.", f.Name, name, times, mostShown))
			}
		}
	}
	return nil
}

// count counts the fields below f by name.
func count(op *graphql.OperationContext, f graphql.CollectedField, shown map[string]int) {
	types := []string{f.Definition.Type.Name()}
	if types[0] == "ApiKey" {
		types = apiKeyImplementors
	}
	for _, below := range graphql.CollectFields(op, f.Selections, types) {
		shown[below.Name]++
		count(op, below, shown)
	}
}

// takeOver moves the content of gqlgen's buffer here.
func (a *answer) takeOver(w io.Writer) {
	if a.b == nil {
		a.b = newPart(int(a.expected.Load()) + 512)
	}
	if buf, ok := w.(*bytes.Buffer); ok {
		_, _ = a.Write(buf.Bytes())
		buf.Reset()
	}
}

// Write appends bytes.
func (a *answer) Write(p []byte) (int, error) {
	if !a.dropped {
		a.b = append(a.b, p...)
		a.more()
	}
	return len(p), nil
}

// WriteString appends a string.
func (a *answer) WriteString(s string) (int, error) {
	if !a.dropped {
		a.b = append(a.b, s...)
		a.more()
	}
	return len(s), nil
}

// more starts a new part if the current one is full. It reports false if the response has ended, so that the caller can stop.
func (a *answer) more() bool {
	if len(a.b) < fullPart {
		return true
	}
	if a.dropped {
		a.b = a.b[:fullPart]
		return false
	}
	if !a.mutation {
		switch size := a.size + int64(len(a.b)); {
		case a.hasEnded():
		case a.most > 0 && size > a.most:
			a.end(a.tooLarge())
		case a.ctx.Err() != nil:
			a.end(unavailable(tookTooLong))
		case !a.take():
			a.end(unavailable("There are too many large answers on their way. Try again shortly, or ask for less."))
		}
		if a.hasEnded() {
			a.drop()
			return false
		}
	}
	a.put()
	a.b = newPart(partBytes)
	return true
}

// take takes memory for the current part, if necessary, and for the next one.
func (a *answer) take() bool {
	if a.memory == nil {
		return true
	}
	need := a.kept + int64(cap(a.b)) - a.held // the first part is free, and the next one has the same size
	if !a.memory.Take(a.ctx, need) {
		return false
	}
	a.held += need
	return true
}

// put ends the current part.
func (a *answer) put() {
	if len(a.b) > 0 {
		a.parts = append(a.parts, a.b)
		a.kept += int64(cap(a.b))
		if !a.mutation {
			a.size += int64(len(a.b))
		}
		a.b = nil
	}
}

// array writes n items.
func (a *answer) array(n int, item func(i int)) {
	a.b = append(a.b, '[')
	for i := range n {
		if i > 0 {
			a.b = append(a.b, ',')
		}
		if item(i); !a.more() {
			return
		}
	}
	a.b = append(a.b, ']')
}

// finish writes the remaining output of gqlgen and the errors. If the response has ended early, it consists of that error.
func (a *answer) finish(r *graphql.Response) {
	slices.SortStableFunc(r.Errors, byPlace)
	if !a.hasEnded() {
		if a.b == nil {
			a.b = newPart(len(r.Data) + 1)
		}
		_, _ = a.Write(r.Data)
		if len(r.Errors) > 0 {
			text, err := json.Marshal(r.Errors)
			if err != nil {
				panic(fmt.Errorf("errors that cannot be written as JSON: %w", err))
			}
			a.errors = text
		}
		if !a.mutation && a.most > 0 && a.length() > a.most {
			a.end(a.tooLarge())
		}
	}
	r.Data = nil
	if err := a.ended.Load(); err != nil {
		a.drop()
		a.errors, r.Errors = nil, gqlerror.List{err}
	}
}

// forget discards what was written so far. The response goes on.
func (a *answer) forget() {
	for _, p := range append(a.parts, a.b) {
		recycle(p)
	}
	a.parts, a.b, a.size, a.kept = nil, nil, 0, 0
	a.give(a.held)
}

// head is the text before the data.
func (a *answer) head() []byte {
	if len(a.errors) == 0 {
		return []byte(`{"data":`)
	}
	return slices.Concat([]byte(`{"errors":`), a.errors, []byte(`,"data":`))
}

// length is the length of the whole response.
func (a *answer) length() int64 {
	n := len(`{"data":`) + len(a.b) + len("}")
	if len(a.errors) > 0 {
		n += len(`"errors":,`) + len(a.errors)
	}
	for _, p := range a.parts {
		n += len(p)
	}
	return int64(n)
}

// send sends the response, and returns the memory of each part once it is sent.
func (a *answer) send(w http.ResponseWriter, media string) {
	a.cancel()
	a.ctx, a.cancel = nil, func() {} // do not keep what was read while a slow client receives
	length, head, tail := a.length(), a.head(), "}"
	if media == mediaEvents {
		head, tail = slices.Concat([]byte(nextHead), head), tail+nextTail+complete
		length += int64(len(nextHead + nextTail + complete))
	}
	setHeaders(w, media, length)
	w.WriteHeader(http.StatusOK)
	if _, err := w.Write(head); err != nil {
		return
	}
	a.errors = nil
	a.b = append(a.b, tail...) // usually fits into the last part, which saves a write to the connection
	parts := append(a.parts, a.b)
	a.parts, a.b = nil, nil
	for i, p := range parts {
		_, err := w.Write(p)
		parts[i] = nil
		a.give(min(a.held, int64(cap(p))))
		recycle(p)
		if err != nil {
			return
		}
	}
}

// parts are buffers that can be reused.
var parts = sync.Pool{New: func() any { return new([partBytes]byte) }}

// newPart returns an empty buffer of that size. Buffers of up to partBytes are reused.
func newPart(bytes int) []byte {
	if bytes < partBytes/4 {
		return make([]byte, 0, bytes)
	}
	return parts.Get().(*[partBytes]byte)[:0] //nolint:errcheck,forcetypeassert // it contains nothing else
}

func recycle(p []byte) {
	if cap(p) == partBytes {
		parts.Put((*[partBytes]byte)(p[:partBytes]))
	}
}

func (answerLimits) ExtensionName() string                   { return "Answers" }
func (answerLimits) Validate(graphql.ExecutableSchema) error { return nil }

// InterceptResponse finishes the response if an operation has run.
func (answerLimits) InterceptResponse(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	r := next(ctx)
	if l := loaded(ctx); r != nil && l != nil && l.answer != nil {
		l.answer.finish(r)
	}
	return r
}

// presented is an error that needs no further rendering.
type presented struct{ as *gqlerror.Error }

func (p presented) Error() string { return p.as.Message }

// tooManyErrors stands for errors that are not sent.
var tooManyErrors = &gqlerror.Error{Message: "Too many fields failed.", Extensions: map[string]any{"code": apikey.BadUserInput}}

// unlessEnded presents errors only for responses that have not ended early and queries that do not fail as a whole. The others are not sent, and
// there can be many.
func unlessEnded(present graphql.ErrorPresenterFunc) graphql.ErrorPresenterFunc {
	return func(ctx context.Context, err error) *gqlerror.Error {
		l := loaded(ctx)
		if l != nil && l.answer != nil && l.answer.hasEnded() {
			return l.answer.ended.Load()
		}
		if l != nil && l.failedWhole() { // wrong arguments fail a field before unlessFailed can skip it
			return tooManyErrors
		}
		p, ok := errors.AsType[presented](err)
		if !ok {
			return present(ctx, err)
		}
		l.failed.Add(1)
		return p.as
	}
}
