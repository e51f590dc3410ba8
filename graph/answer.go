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

// Memory bounds the memory of all answers together, from when they are made until they are sent.
type Memory interface {
	// Take takes bytes. It can wait a moment, and reports false if there are not enough.
	Take(ctx context.Context, bytes int64) bool
	Give(bytes int64)
}

// answerLimits bounds the answer of an operation.
type answerLimits struct {
	most   int64  // bytes of one answer; 0: any number
	fields int64  // fields of one answer that gqlgen makes; 0: any number
	memory Memory // nil: as much as they take
}

const (
	// partBytes is how much of an answer is made at a time. The first part of each answer takes no memory from others: short
	// answers are always made.
	partBytes = 64 << 10
	// fullPart is the length at which a part is put away, so that most appends still fit in.
	fullPart = partBytes - 4<<10
)

// answer is the answer of one operation while it is made. It is made in parts: one buffer would be copied each time it grows, and
// could be counted only when it is whole.
//
// A query's answer ends early, and is then an error alone, where it grows too large, comes too late, or finds no memory. That of
// a mutation is always whole, because nobody can ask a second time for the key that it shows. Instead, mutations that have not run are
// refused when the answer is too large already.
type answer struct {
	answerLimits
	mutation bool
	ctx      context.Context //nolint:containedctx // of the operation: it lives as long
	cancel   context.CancelFunc

	expected atomic.Int64 // about how many bytes the lists will have that were resolved
	made     atomic.Int64 // fields that gqlgen has made
	ended    atomic.Pointer[gqlerror.Error]

	// The rest belongs to the goroutine that writes.
	b       []byte   // the part that is being written
	parts   [][]byte // those before it
	size    int64    // bytes in parts
	kept    int64    // bytes that parts have room for
	held    int64    // bytes taken of memory
	dropped bool     // the answer has ended early; what else is written goes nowhere
	errors  []byte   // JSON, empty if there are none
}

// begin prepares the answer of an operation. It must be released.
func (l answerLimits) begin(ctx context.Context, op *graphql.OperationContext) (context.Context, *answer) {
	a := &answer{answerLimits: l, mutation: op.Operation.Operation == ast.Mutation}
	a.ctx, a.cancel = context.WithCancel(ctx)
	return a.ctx, a
}

// release gives back the answer's memory.
func (a *answer) release() {
	a.cancel()
	a.forget()
}

// drop frees what was written of an answer that has ended.
func (a *answer) drop() {
	a.release()
	a.b, a.dropped = make([]byte, fullPart), true // full: whoever writes sees at once that there is no more
}

func (a *answer) give(bytes int64) {
	if bytes > 0 {
		a.memory.Give(bytes)
		a.held -= bytes
	}
}

// end ends a query's answer with an error, and all that is still done for it. The first error counts.
func (a *answer) end(err *gqlerror.Error) {
	a.ended.CompareAndSwap(nil, err)
	a.cancel()
}

// hasEnded reports whether a query's answer has ended early.
func (a *answer) hasEnded() bool { return a.ended.Load() != nil }

func (a *answer) tooLarge() *gqlerror.Error {
	return limitExceeded("MAX_RESPONSE_BYTES", apikey.Invalid("", "The answer would have more than %d bytes (MAX_RESPONSE_BYTES). Ask for less: smaller pages with first, fewer fields, aliases or entities.", a.most))
}

func unavailable(message string) *gqlerror.Error {
	e := &apikey.Error{Code: apikey.Unavailable, Message: message}
	return &gqlerror.Error{Message: message, Extensions: extensions(e), Err: e}
}

// tookTooLong is the message of what the time was too short for.
const tookTooLong = "This took too long. Try again shortly, or ask for less."

// field is before each field that gqlgen makes. For each it keeps several hundred bytes until the answer is written, however few the
// field has, so their number has a limit of its own.
func (a *answer) field(fields graphql.FieldMiddleware) graphql.FieldMiddleware {
	if a.mutation || a.fields == 0 {
		return fields
	}
	return func(ctx context.Context, next graphql.Resolver) (any, error) {
		if a.made.Add(1) > a.fields && !a.hasEnded() {
			a.end(limitExceeded("MAX_COMPLEXITY", apikey.Invalid("first",
				"The answer has too many fields outside of plain lists: at most %d are allowed (a tenth of MAX_COMPLEXITY). Ask for smaller pages with first, or for fewer fields.", a.fields)))
		}
		if a.hasEnded() {
			return graphql.Null, nil
		}
		return fields(ctx, next)
	}
}

// slowerBy is how many times as dear a field is that gqlgen makes, in time and memory.
const slowerBy = 10

// root wraps each root field. It writes the field here instead of into gqlgen's buffer.
func (a *answer) root(ctx context.Context, next graphql.RootResolver) graphql.Marshaler {
	if a.mutation {
		return a.change(ctx, next)
	}
	m := next(ctx)
	if m == graphql.Null || m == graphql.RequiredNull { // which gqlgen knows by their identity
		return m
	}
	return graphql.WriterFunc(func(w io.Writer) {
		a.takeOver(w)
		if !a.hasEnded() {
			m.MarshalGQL(a)
		}
	})
}

// change is around each field of a mutation. They run one after the other, and each is written before the next one runs: where
// the answer is too large already, or there is no memory for more, the next one must not.
func (a *answer) change(ctx context.Context, next graphql.RootResolver) graphql.Marshaler {
	if refused := a.full(); refused != nil {
		f := graphql.GetRootFieldContext(ctx).Field
		refused.Path, refused.Locations = ast.Path{ast.PathName(f.Alias)}, []gqlerror.Location{{Line: f.Position.Line, Column: f.Position.Column}}
		graphql.AddError(ctx, presented{refused})
		return graphql.Null
	}
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

// full returns why the next field of a mutation must not run, or nil.
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

// mostShown is how often a mutation may show a field of its keys. Of what a key has, which the mutation only learns when it has
// run, the answer then has as many copies at most.
const mostShown = 10

// MutateOperationContext refuses a mutation whose answer could be too large however large its keys are.
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

// count counts the fields below f by their names.
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

// takeOver moves what was written to gqlgen's buffer here.
func (a *answer) takeOver(w io.Writer) {
	if a.b == nil {
		a.b = newPart(int(a.expected.Load()) + 512)
	}
	if buf, ok := w.(*bytes.Buffer); ok {
		_, _ = a.Write(buf.Bytes())
		buf.Reset()
	}
}

// Write appends.
func (a *answer) Write(p []byte) (int, error) {
	if !a.dropped {
		a.b = append(a.b, p...)
		a.more()
	}
	return len(p), nil
}

// WriteString appends a text.
func (a *answer) WriteString(s string) (int, error) {
	if !a.dropped {
		a.b = append(a.b, s...)
		a.more()
	}
	return len(s), nil
}

// more puts the current part away if it is full, and reports false if the answer has ended: then nobody needs to write on.
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

// take takes memory for the current part, as far as that is not done, and for the next one.
func (a *answer) take() bool {
	if a.memory == nil {
		return true
	}
	need := a.kept + int64(cap(a.b)) - a.held // the first part is free, and the next one as large
	if !a.memory.Take(a.ctx, need) {
		return false
	}
	a.held += need
	return true
}

// put puts the current part away.
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

// finish takes what gqlgen has left to write, and the errors. If the answer has ended early its error is all that is left.
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
				panic(fmt.Errorf("errors that are no JSON: %w", err))
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

// forget drops what was written so far of an answer that goes on.
func (a *answer) forget() {
	for _, p := range append(a.parts, a.b) {
		recycle(p)
	}
	a.parts, a.b, a.size, a.kept = nil, nil, 0, 0
	a.give(a.held)
}

// head is what stands before the data.
func (a *answer) head() []byte {
	if len(a.errors) == 0 {
		return []byte(`{"data":`)
	}
	return slices.Concat([]byte(`{"errors":`), a.errors, []byte(`,"data":`))
}

// length is how many bytes the whole answer has.
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

// send sends the answer, and gives back the memory of each part that is sent.
func (a *answer) send(w http.ResponseWriter, media string) {
	a.cancel()
	a.ctx, a.cancel = nil, func() {} // what was read must not be kept while a client is slow
	setHeaders(w, media, a.length())
	w.WriteHeader(http.StatusOK)
	if _, err := w.Write(a.head()); err != nil {
		return
	}
	a.errors = nil
	a.b = append(a.b, '}') // mostly into room behind it, and one write to the connection less
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

// parts are buffers of which no answer has need any more.
var parts = sync.Pool{New: func() any { return new([partBytes]byte) }}

// newPart returns an empty buffer for so many bytes, if it is no more than a part's.
func newPart(bytes int) []byte {
	if bytes < partBytes/4 {
		return make([]byte, 0, bytes)
	}
	return parts.Get().(*[partBytes]byte)[:0] //nolint:errcheck,forcetypeassert // there is nothing else in it
}

func recycle(p []byte) {
	if cap(p) == partBytes {
		parts.Put((*[partBytes]byte)(p[:partBytes]))
	}
}

func (answerLimits) ExtensionName() string                   { return "Answers" }
func (answerLimits) Validate(graphql.ExecutableSchema) error { return nil }

// InterceptResponse finishes the answer, if an operation has run.
func (answerLimits) InterceptResponse(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	r := next(ctx)
	if l := loaded(ctx); r != nil && l != nil && l.answer != nil {
		l.answer.finish(r)
	}
	return r
}

// presented is an error that is shown as it is.
type presented struct{ as *gqlerror.Error }

func (p presented) Error() string { return p.as.Message }

// unlessEnded presents errors only for answers that have not ended early. The errors of the others are not sent, and there can be many.
func unlessEnded(present graphql.ErrorPresenterFunc) graphql.ErrorPresenterFunc {
	return func(ctx context.Context, err error) *gqlerror.Error {
		l := loaded(ctx)
		if l != nil && l.answer != nil && l.answer.hasEnded() {
			return l.answer.ended.Load()
		}
		p, ok := errors.AsType[presented](err)
		if !ok {
			return present(ctx, err)
		}
		l.failed.Add(1)
		return p.as
	}
}
