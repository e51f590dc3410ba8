package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"go.opentelemetry.io/otel/trace"

	"retrieverkeys/apikey"
	"retrieverkeys/graph/operation"
	"retrieverkeys/graph/scalar"
)

type representation = scalar.Representation

// loader batches the reads of one operation. Everything that the operation's text names is read together, before its fields are resolved, so no
// field waits for a timer or for other fields. Things that are named within a list, and so are not known before, are read once for each set
// of equal arguments.
type loader struct {
	service   *apikey.Service
	tracer    trace.Tracer // nil: no spans
	newCost   func() *apikey.Cost
	caller    apikey.Caller
	namespace string

	doc       *operation.Document
	shapes    *shapes // the document's, or the operation's own
	answer    *answer // the operation's response; nil until it runs
	names     apikey.Names
	listings  map[string]int            // the index in names.Listings by arguments
	arguments map[*ast.Field]*arguments // of the fields with listings

	cost   *apikey.Cost // nil for mutations, whose response must not be lost
	below  *apikey.Cost // of what is read for the payloads of mutations; nil for queries
	failed atomic.Int64 // failed fields

	mu    sync.Mutex
	reads map[readKey]*sharedRead
	pages map[apikey.RetrieverID]page // the page in which the retriever was last read

	follower *apikey.Follower   // of a subscription
	events   chan *apikey.Event // has room for one

	together map[*apikey.Key]*keyGroup
	groups   int // that were made
}

// readKey identifies a read.
type readKey struct{ what, of string }

// sharedRead is a read that several fields share.
type sharedRead struct {
	done  chan struct{}
	value any
	err   error
}

// errPanicked is the error of fields that share a read in which another one panicked.
var errPanicked = errors.New("the read that this shares panicked")

// once reads a value, or waits for another goroutine that reads it. A span names the kind of read, without the ids.
func once[T any](ctx context.Context, l *loader, what, of string, f func(context.Context) (T, error)) (T, error) {
	key := readKey{what, of}
	l.mu.Lock()
	r, known := l.reads[key]
	if !known {
		r = &sharedRead{done: make(chan struct{}), err: errPanicked}
		l.reads[key] = r
	}
	l.mu.Unlock()
	if !known {
		defer close(r.done)
		if l.below != nil {
			ctx = apikey.WithCost(ctx, l.below)
		}
		value, err := asking(ctx, l.tracer, what, f)
		r.value, r.err = value, err
		return value, err
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		select {
		case <-r.done: // a result that is there is returned, however late
		default:
			var none T
			return none, apikey.Outage(ctx.Err())
		}
	}
	value, _ := r.value.(T)
	return value, r.err
}

type loaderKey struct{}

// retained is the memory in bytes for the keys that an operation lists: three quarters of the longest answer, which is what the keys of a
// long answer take, and at least 24 MiB.
func retained(maxResponseBytes int64) int { return max(24<<20, int(maxResponseBytes/4*3)) }

// mostFieldErrors is how many fields of a query can fail. gqlgen compares each error with all others: 18,000 took 5 s.
const mostFieldErrors = 1000

// loaders gives each operation a loader.
type loaders struct {
	service *apikey.Service
	tracer  trace.Tracer
	newCost func() *apikey.Cost // of one query
}

// with returns a context with a loader for an operation of the document.
func (l loaders) with(ctx context.Context, doc *operation.Document) context.Context {
	shapes, _ := doc.Kept.(*shapes)
	if shapes == nil {
		shapes = newShapes(math.MaxInt)
	}
	return context.WithValue(ctx, loaderKey{}, &loader{
		service: l.service, tracer: l.tracer, newCost: l.newCost, caller: apikey.CallerFrom(ctx), namespace: apikey.NamespaceFrom(ctx),
		doc: doc, shapes: shapes, reads: map[readKey]*sharedRead{}, pages: map[apikey.RetrieverID]page{}, together: map[*apikey.Key]*keyGroup{},
	})
}

func (loaders) ExtensionName() string                   { return "Loaders" }
func (loaders) Validate(graphql.ExecutableSchema) error { return nil }

// InterceptResponse reads what the operation names. A query that fails as a whole gets the reason instead of an error for each field.
func (loaders) InterceptResponse(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	l := loaded(ctx)
	if l != nil && len(l.names.Namespaces)+len(l.names.Retrievers)+len(l.names.Keys)+len(l.names.Nodes)+len(l.names.KeysAnywhere)+len(l.names.NodeLists)+len(l.names.HashLists) > 0 {
		l.readAhead(ctx)
	}
	response := next(ctx)
	if response == nil || l == nil || !l.failedWhole() {
		return response
	}
	if e := l.cost.Exceeded(); e != nil {
		l.answer.end(limitExceeded(e.Limit, e))
		return response
	}
	l.answer.forget()
	response.Errors, response.Data = response.Errors[:operation.MostErrors], json.RawMessage("null")
	return response
}

// readAhead reads everything that the operation names, in one batch, before fields are resolved. It ignores errors: the fields ask for the
// same, and report them.
func (l *loader) readAhead(ctx context.Context) {
	defer func() {
		if p := recover(); p != nil {
			_ = graphql.GetOperationContext(ctx).RecoverFunc(ctx, p) // logs it
		}
	}()
	_, _ = l.found(ctx)
}

func loaded(ctx context.Context) *loader {
	l, _ := ctx.Value(loaderKey{}).(*loader)
	return l
}

// found returns everything that the operation names.
func (l *loader) found(ctx context.Context) (*apikey.Found, error) {
	return once(ctx, l, "lookUp", "", func(ctx context.Context) (*apikey.Found, error) {
		found, err := l.service.LookUp(ctx, l.caller, l.names)
		if err == nil {
			l.keepKeys(found.Keys())
		}
		return found, err
	})
}

// organization reads the caller's organization once.
func (l *loader) organization(ctx context.Context) (*apikey.Organization, error) {
	return once(ctx, l, "organization", "", func(ctx context.Context) (*apikey.Organization, error) {
		return l.service.Organization(ctx, l.caller)
	})
}

// report counts the organization's keys once.
func (l *loader) report(ctx context.Context) (*apikey.Report, error) {
	return once(ctx, l, "report", "", func(ctx context.Context) (*apikey.Report, error) { return l.service.Report(ctx, l.caller) })
}

// node returns the object with that id. It looks for the organization last.
func (l *loader) node(ctx context.Context, id string) (Node, error) {
	found, err := l.found(ctx)
	if err != nil {
		return nil, err
	}
	n, err := found.Node(id)
	if err == nil {
		return nodeOf(n), nil
	}
	if e, ok := errors.AsType[*apikey.Error](err); ok && e.Code == apikey.NotFound {
		organization, failed := l.organization(ctx)
		switch {
		case failed != nil:
			return nil, failed
		case organization.ID == id:
			return &Organization{organization.InternalID}, nil
		}
	}
	return nil, err
}

// nodes returns the objects with these ids, in the same order, wherever they are in the organization.
func (l *loader) nodes(ctx context.Context, ids []string) ([]Node, error) {
	found, err := l.found(ctx)
	if err != nil {
		return nil, err
	}
	all, err := found.Nodes(ids)
	if err != nil {
		return nil, err
	}
	nodes := make([]Node, len(all))
	for i, n := range all {
		if nodes[i] = nodeOf(n); nodes[i] != nil {
			continue
		}
		organization, err := l.organization(ctx)
		if err != nil {
			return nil, err
		}
		if organization.ID == ids[i] {
			nodes[i] = &Organization{organization.InternalID}
		}
	}
	return nodes, nil
}

// retriever returns a retriever of a namespace that was found.
func (l *loader) retriever(ctx context.Context, ns *apikey.Namespace, id string) (*apikey.Retriever, error) {
	ref := apikey.RetrieverRef{In: ns, Retriever: id}
	found, err := l.found(ctx)
	if err == nil && !found.LookedFor(ref) {
		found, err = once(ctx, l, "lookUp", fmt.Sprintf("%q %q", ns.ID, id), func(ctx context.Context) (*apikey.Found, error) {
			return l.service.LookUp(ctx, l.caller, apikey.Names{Retrievers: []apikey.RetrieverRef{ref}})
		})
	}
	if err != nil {
		return nil, err
	}
	return found.Retriever(ref)
}

// keys returns the lists of the retrievers' keys, with what the current field selects.
func (l *loader) keys(ctx context.Context, rs []*apikey.Retriever, o apikey.ListOptions) ([]apikey.Listing, error) {
	op, field := graphql.GetOperationContext(ctx), graphql.GetFieldContext(ctx).Field
	s := l.shapes.of(ctx, op, field)
	o.Wants, o.Fields = s.wants, s.fields
	arguments := l.argumentsOf(ctx, op, field, s).key
	listings := make([]apikey.Listing, len(rs))
	var missing []*apikey.Retriever
	var at []int
	i, planned := l.listings[arguments]
	if planned {
		of := l.names.Listings[i].Options
		planned = union(of.Wants, o.Wants) == of.Wants && of.Fields|o.Fields == of.Fields
	}
	for j, r := range rs {
		if planned {
			found, err := l.found(ctx)
			if err != nil {
				return nil, err
			}
			var ok bool
			if listings[j], ok = found.Listing(i, r.ID); ok {
				continue
			}
		}
		missing, at = append(missing, r), append(at, j)
	}
	if len(missing) > 0 {
		if err := l.list(ctx, missing, at, listings, arguments, o); err != nil {
			return nil, err
		}
	}
	if s.plan == nil {
		pages := make([]*apikey.Connection[apikey.Key], len(listings))
		for j := range listings {
			pages[j] = listings[j].Keys
		}
		l.keepKeys(itemsOf(pages...))
	}
	return listings, nil
}

// list reads the lists of retrievers' keys, and of those that were read together with the retrievers, and puts them into their places.
func (l *loader) list(ctx context.Context, rs []*apikey.Retriever, at []int, listings []apikey.Listing, arguments string, o apikey.ListOptions) error {
	key, all := l.readWith(rs)
	read, err := once(ctx, l, "apiKeys", fmt.Sprintf("%s %s %v %d", key, arguments, o.Wants, o.Fields), func(ctx context.Context) (map[apikey.RetrieverID]apikey.Listing, error) {
		read, err := l.service.List(ctx, l.caller, all, o)
		byID := make(map[apikey.RetrieverID]apikey.Listing, len(read))
		for j := range read {
			byID[all[j].ID] = read[j]
		}
		return byID, err
	})
	for j, r := range rs {
		listings[at[j]] = read[r.ID]
	}
	return err
}

// keyPage reads a page of the keys of a namespace, or of the organization if it is empty, once for equal arguments and selections.
func (l *loader) keyPage(ctx context.Context, ns string, o apikey.ListOptions, read func(context.Context, apikey.ListOptions) (*apikey.Connection[apikey.Key], error)) (*apikey.Connection[apikey.Key], error) {
	s := shapeOf(ctx)
	o.Wants, o.Fields = s.wants, s.fields
	return once(ctx, l, "keyPage", fmt.Sprintf("%q %s %v %d", ns, currentArguments(ctx), o.Wants, o.Fields), func(ctx context.Context) (*apikey.Connection[apikey.Key], error) {
		c, err := read(ctx, o)
		if s.plan == nil {
			l.keepKeys(itemsOf(c))
		}
		return c, err
	})
}

// can returns, for each key, one of the things that the caller can do with it. If that cannot be read for the payload of a mutation, the answer
// is no: an error would take the plaintext of a new key with it.
func (l *loader) can(ctx context.Context, keys []*apikey.Key, which func(apikey.Can) bool) ([]bool, error) {
	can, err := ofKeys(ctx, l, "can", "", keys, func(ctx context.Context, keys []*apikey.Key) ([]apikey.Can, error) {
		return l.service.May(ctx, l.caller, keys)
	}, which)
	if err != nil && l.below != nil {
		return make([]bool, len(keys)), nil
	}
	return can, err
}

// check returns, for each key, whether it may execute the retriever.
func (l *loader) check(ctx context.Context, keys []*apikey.Key, retriever, origin string) ([]*APIKeyCheck, error) {
	return ofKeys(ctx, l, "check", fmt.Sprintf("%q %q", retriever, origin), keys, func(ctx context.Context, keys []*apikey.Key) ([]apikey.Refusal, error) {
		return l.service.Check(ctx, l.caller, keys, apikey.RetrieverID(retriever), origin)
	}, func(refusal apikey.Refusal) *APIKeyCheck {
		if refusal == "" {
			return &APIKeyCheck{Allowed: true}
		}
		return &APIKeyCheck{Reason: &refusal}
	})
}

// retrieversOf returns, for each key, a page of the retrievers that it names, with what the current field selects.
func (l *loader) retrieversOf(ctx context.Context, keys []*apikey.Key, p apikey.Page) ([]*RetrieverConnection, error) {
	wants, _ := selectedConnection(ctx, "RetrieverConnection")
	how := fmt.Sprintf("%s %v", currentArguments(ctx), wants)
	return ofKeys(ctx, l, "retrieversOf", how, keys, func(ctx context.Context, keys []*apikey.Key) ([]*apikey.Connection[apikey.Retriever], error) {
		pages, err := l.service.RetrieversOf(ctx, l.caller, keys, p, wants)
		if err == nil {
			l.keep(fmt.Sprintf("%p %s", keys, how), pages...)
		}
		return pages, err
	}, retrieverConnection)
}

// usageOf returns, for each key, what gateways were answered about it in a period.
func (l *loader) usageOf(ctx context.Context, keys []*apikey.Key, from, to *apikey.Day) ([]*apikey.KeyUsage, error) {
	return ofKeys(ctx, l, "usageOf", currentArguments(ctx), keys, func(ctx context.Context, keys []*apikey.Key) ([]*apikey.KeyUsage, error) {
		return l.service.UsageOf(ctx, l.caller, keys, from, to)
	}, func(u *apikey.KeyUsage) *apikey.KeyUsage { return u })
}

// listLength is how many days ApiKey.usage shows. A period that it refuses counts once.
func listLength(f *ast.Field, variables map[string]any) int {
	if f.Definition.Type.Name() != "ApiKeyUsage" {
		return 0
	}
	day := func(name string) *apikey.Day {
		if d, err := scalar.UnmarshalDate(operation.Argument(f, name, variables)); err == nil {
			return &d
		}
		return nil
	}
	first, last, err := apikey.UsagePeriod(apikey.DayOf(time.Now()), day("from"), day("to"))
	if err != nil {
		return 0
	}
	return int(last-first) + 1
}

// ofKeys reads something of keys, and returns a part of it for each. It reads it once for all keys that were read together. Keys that are nil,
// which stand for what was not found, get the zero value.
func ofKeys[T, U any](ctx context.Context, l *loader, what, how string, keys []*apikey.Key, read func(context.Context, []*apikey.Key) ([]T, error), part func(T) U) ([]U, error) {
	out := make([]U, len(keys))
	group := l.keysReadWith(keys)
	if len(group.keys) == 0 {
		return out, nil
	}
	all, err := once(ctx, l, what, fmt.Sprintf("%d %s", group.number, how), func(ctx context.Context) (map[*apikey.Key]T, error) {
		all, err := read(ctx, group.keys)
		byKey := make(map[*apikey.Key]T, len(all))
		for i, v := range all {
			byKey[group.keys[i]] = v
		}
		return byKey, err
	})
	if err != nil {
		return nil, err
	}
	for i, k := range keys {
		if k != nil {
			out[i] = part(all[k])
		}
	}
	return out, nil
}

// keyGroup has keys that were read together, and its number in the operation.
type keyGroup struct {
	number int
	keys   []*apikey.Key
}

// keepKeys notes that these keys were read together. Fields that share a list note the same keys.
func (l *loader) keepKeys(keys []*apikey.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(keys) == 0 {
		return
	}
	if group := l.together[keys[0]]; group == nil || !slices.Equal(group.keys, keys) {
		l.join(keys)
	}
}

// keysReadWith returns the keys that were read together with these, or else these, without those that are nil. What is asked of one of them is
// about to be asked of the others.
func (l *loader) keysReadWith(keys []*apikey.Key) *keyGroup {
	keys = slices.DeleteFunc(slices.Clone(keys), func(k *apikey.Key) bool { return k == nil })
	if len(keys) == 0 {
		return &keyGroup{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	group := l.together[keys[0]]
	if group == nil || slices.ContainsFunc(keys, func(k *apikey.Key) bool { return l.together[k] != group }) {
		group = l.join(keys) // the next field asks about the same keys
	}
	return group
}

// join makes a group of keys.
func (l *loader) join(keys []*apikey.Key) *keyGroup {
	l.groups++
	group := &keyGroup{l.groups, keys}
	for _, k := range keys {
		l.together[k] = group
	}
	return group
}

// forget forgets everything that was read, because a mutation is about to change it.
func (l *loader) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads, l.pages, l.together = map[readKey]*sharedRead{}, map[apikey.RetrieverID]page{}, map[*apikey.Key]*keyGroup{}
}

// itemsOf are the keys of pages.
func itemsOf(pages ...*apikey.Connection[apikey.Key]) (keys []*apikey.Key) {
	for _, c := range pages {
		if c == nil {
			continue
		}
		for i := range c.Items {
			keys = append(keys, &c.Items[i])
		}
	}
	return keys
}

// readWith returns the retrievers of the page to which these belong, and a name for the page. What is asked of one of them is about to be
// asked of the others.
func (l *loader) readWith(rs []*apikey.Retriever) (string, []*apikey.Retriever) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p, ok := l.pages[rs[0].ID]; ok && !slices.ContainsFunc(rs, func(r *apikey.Retriever) bool { return l.pages[r.ID].name != p.name }) {
		return p.name, p.retrievers
	}
	ids := make([]apikey.RetrieverID, len(rs))
	for i, r := range rs {
		ids[i] = r.ID
	}
	return fmt.Sprintf("%q", ids), rs
}

// page is a page of retrievers that was read.
type page struct {
	name       string
	retrievers []*apikey.Retriever
}

// retrievers reads a page of a namespace's retrievers, once for equal arguments and selections.
func (l *loader) retrievers(ctx context.Context, ns apikey.NamespaceID, read func(context.Context, apikey.Wants) (*apikey.Connection[apikey.Retriever], error)) (*apikey.Connection[apikey.Retriever], error) {
	wants, _ := selectedConnection(ctx, "RetrieverConnection")
	name := fmt.Sprintf("%q %s %v", ns, currentArguments(ctx), wants)
	return once(ctx, l, "retrievers", name, func(ctx context.Context) (*apikey.Connection[apikey.Retriever], error) {
		c, err := read(ctx, wants)
		if err != nil {
			return nil, err
		}
		l.keep(name, c)
		return c, nil
	})
}

// keep notes that these retrievers were read together.
func (l *loader) keep(name string, pages ...*apikey.Connection[apikey.Retriever]) {
	p := page{name: name}
	seen := map[apikey.RetrieverID]bool{} // several keys name the same one
	for _, c := range pages {
		for i := range c.Items {
			if r := &c.Items[i]; !seen[r.ID] {
				seen[r.ID] = true
				p.retrievers = append(p.retrievers, r)
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range p.retrievers {
		l.pages[r.ID] = p
	}
}

// auditEvents reads a page of a place's events, once for equal arguments and selections.
func (l *loader) auditEvents(ctx context.Context, of apikey.EventPlace, o apikey.EventOptions) (*apikey.Connection[apikey.Event], error) {
	o.Wants, _ = selectedConnection(ctx, "AuditEventConnection")
	place := "organization"
	switch {
	case of.Retriever != nil:
		place = "retriever " + string(of.Retriever.ID)
	case of.Namespace != nil:
		place = "namespace " + string(of.Namespace.ID)
	}
	return once(ctx, l, "auditEvents", fmt.Sprintf("%q %s %v", place, currentArguments(ctx), o.Wants), func(ctx context.Context) (*apikey.Connection[apikey.Event], error) {
		return l.service.AuditEvents(ctx, l.caller, of, o)
	})
}

// failedWhole reports whether the query fails as a whole, so that the values of its fields are not needed.
func (l *loader) failedWhole() bool {
	return l.cost != nil && (l.cost.Exceeded() != nil || l.failed.Load() > mostFieldErrors)
}

// unlessFailed skips fields if their query fails as a whole.
func unlessFailed(fields graphql.FieldMiddleware) graphql.FieldMiddleware {
	return func(ctx context.Context, next graphql.Resolver) (any, error) {
		if loaded(ctx).failedWhole() {
			return graphql.Null, nil
		}
		res, err := fields(ctx, next)
		if (res == nil || err != nil) && loaded(ctx).failedWhole() {
			return graphql.Null, nil
		}
		return res, err
	}
}

// currentArguments is argumentsKey of the current field.
func currentArguments(ctx context.Context) string {
	return argumentsKey(graphql.GetFieldContext(ctx).Field.ArgumentMap(graphql.GetOperationContext(ctx).Variables))
}
