package graph

import (
	"context"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"retrieverkeys/apikey"
	"retrieverkeys/graph/scalar"
	"retrieverkeys/wire"
)

// fast writes lists as JSON by a plan made from their selection, instead of gqlgen, which makes a context and a marshaler for each field
// of each item. That is most of the cost of a list. Resolvers, errors and nulls remain gqlgen's; these lists contain none of them. What
// it does not know is left to gqlgen. Without it, everything works the same, and a test compares both.
func fast(ctx context.Context, next graphql.Resolver) (any, error) {
	res, err := next(ctx)
	if err != nil {
		return res, err
	}
	switch v := res.(type) {
	case *ApiKeyConnection:
		if v != nil {
			s := shapeOf(ctx)
			return planned(ctx, res, s.plan, v, s.itemSlots*len(v.Items))
		}
	case *AuditEventConnection:
		if v != nil {
			s := shapeOf(ctx)
			return planned(ctx, res, s.events, v, s.itemSlots*len(v.Items))
		}
	case *RetrieverConnection:
		if v != nil && !slices.ContainsFunc(v.Items, func(r apikey.Retriever) bool { return r.Namespace == nil }) {
			s := shapeOf(ctx)
			return planned(ctx, res, s.retrievers, v, s.itemSlots*len(v.Items))
		}
	case *NamespaceConnection:
		if v != nil {
			s := shapeOf(ctx)
			return planned(ctx, res, s.namespaces, v, s.itemSlots*len(v.Items))
		}
	case *apikey.KeyUsage:
		if v != nil {
			s := shapeOf(ctx)
			return planned(ctx, res, s.usage, v, s.itemSlots*len(v.Days))
		}
	case *APIKeyCheck:
		if v != nil {
			s := shapeOf(ctx)
			return planned(ctx, res, s.check, v, s.itemSlots)
		}
	case []*apikey.Key:
		s := shapeOf(ctx)
		return planned(ctx, res, s.keys, v, s.itemSlots*len(v))
	case []apikey.Scope:
		s := shapeOf(ctx)
		return planned(ctx, res, s.scopes, v, s.itemSlots*len(v))
	case []string:
		if v != nil {
			return graphql.WriterFunc(func(w io.Writer) { appendTexts(w.(*answer), v) }), nil //nolint:errcheck,forcetypeassert // all of it is written there
		}
	}
	return res, nil
}

func shapeOf(ctx context.Context) *shape {
	return loaded(ctx).shapes.of(ctx, graphql.GetOperationContext(ctx), graphql.GetFieldContext(ctx).Field)
}

// planned returns a marshaler that writes v by its plan, or the existing one if there is no plan.
func planned[T any](ctx context.Context, res any, write writer[T], v T, slots int) (any, error) {
	if write == nil {
		return res, nil
	}
	a := loaded(ctx).answer
	a.expected.Add(int64(slots * slotBytes))
	a.makes()                                                                   // the list, or the object of one key, costs as much as another field
	return graphql.WriterFunc(func(w io.Writer) { write(w.(*answer), v) }), nil //nolint:errcheck,forcetypeassert // all of it is written there
}

// slotBytes is a little more than the average length of a field in a list, with its name.
const slotBytes = 36

// writer writes the JSON of a value.
type writer[T any] func(a *answer, v T)

// appender appends the JSON of a value, which is usually short.
type appender[T any] func(b []byte, v T) []byte

// object says how a type of the schema is written: its own fields, and its fields that have selections or are lists.
type object[T any] struct {
	types  []string // its own name and those of its interfaces and unions
	fields map[string]appender[T]
	nested map[string]func(c *compiler, selections ast.SelectionSet) (writer[T], bool)
}

// plan says how a selection is written: a label and a writer for each field.
type plan[T any] []slot[T]

type slot[T any] struct {
	label  string // with the comma or brace before it
	append appender[T]
	write  writer[T] // used if append is nil
}

// compiler makes plans for one operation.
type compiler struct {
	op    *graphql.OperationContext
	slots int // plans made so far
}

// compile makes a plan of a selection. It reports false if there is an unknown field.
func compile[T any](c *compiler, selections ast.SelectionSet, o *object[T]) (plan[T], bool) {
	fields := graphql.CollectFields(c.op, selections, o.types)
	c.slots += len(fields)
	p := make(plan[T], 0, len(fields))
	before := "{"
	for i, f := range fields {
		if slices.ContainsFunc(fields[:i], func(other graphql.CollectedField) bool { return other.Alias == f.Alias }) {
			continue // gqlgen collects __typename of a union in addition to the type's own
		}
		s := slot[T]{label: before + `"` + f.Alias + `":`} // letters, digits and underscores need no escapes
		var ok bool
		if nested := o.nested[f.Name]; nested != nil {
			s.write, ok = nested(c, f.Selections)
		} else if s.append, ok = o.fields[f.Name]; f.Name == "__typename" {
			s.append, ok = func(b []byte, _ T) []byte { return wire.Text(b, o.types[0]) }, true
		}
		if !ok || len(f.Deferrables) > 0 {
			return nil, false
		}
		p = append(p, s)
		before = ","
	}
	return p, len(p) > 0
}

// write writes the selected fields of v. It stops if the response has ended.
func (p plan[T]) write(a *answer, v T) {
	for i := range p {
		s := &p[i]
		a.b = append(a.b, s.label...)
		if s.append != nil {
			a.b = s.append(a.b, v)
		} else {
			s.write(a, v)
		}
		if !a.more() {
			return
		}
	}
	a.b = append(a.b, '}')
}

// within makes the writer of a field with a selection from the object's description and its place in v.
func within[T, U any](o *object[U], write func(a *answer, v T, p plan[U])) func(*compiler, ast.SelectionSet) (writer[T], bool) {
	return func(c *compiler, selections ast.SelectionSet) (writer[T], bool) {
		p, ok := compile(c, selections, o)
		return func(a *answer, v T) { write(a, v, p) }, ok
	}
}

// listing makes the writer of a list of objects in v.
func listing[T, U any](o *object[*U], items func(v T) []U) func(*compiler, ast.SelectionSet) (writer[T], bool) {
	return within(o, func(a *answer, v T, p plan[*U]) {
		list := items(v)
		a.array(len(list), func(i int) { p.write(a, &list[i]) })
	})
}

func appendTexts(a *answer, texts []string) {
	a.array(len(texts), func(i int) { a.b = wire.Text(a.b, texts[i]) })
}

// edge is an item of a connection, by its index. Its cursor is made only if it is selected.
type edge[T any] struct {
	connection *apikey.Connection[T]
	index      int
}

// connectionOf describes connections of items. C is the type that has them.
func connectionOf[C, T any](types, edgeTypes []string, item *object[*T], of func(c C) *connection[T]) object[C] {
	edges := &object[edge[T]]{
		types: edgeTypes,
		fields: map[string]appender[edge[T]]{
			"cursor": func(b []byte, e edge[T]) []byte { return wire.Text(b, e.connection.Cursor(e.index)) },
		},
		nested: map[string]func(*compiler, ast.SelectionSet) (writer[edge[T]], bool){
			"node": within(item, func(a *answer, e edge[T], p plan[*T]) { p.write(a, &e.connection.Items[e.index]) }),
		},
	}
	return object[C]{
		types: types,
		fields: map[string]appender[C]{
			"total": func(b []byte, c C) []byte { return strconv.AppendInt(b, int64(of(c).Total), 10) },
		},
		nested: map[string]func(*compiler, ast.SelectionSet) (writer[C], bool){
			"results": listing(item, func(c C) []T { return of(c).Items }),
			"edges": within(edges, func(a *answer, c C, p plan[edge[T]]) {
				a.array(len(of(c).Items), func(i int) { p.write(a, edge[T]{of(c).Connection, i}) })
			}),
			"pageInfo": within(&pageInfoObject, func(a *answer, c C, p plan[PageInfo]) { p.write(a, of(c).PageInfo()) }),
		},
	}
}

var (
	connectionObject = connectionOf(apiKeyConnectionImplementors, apiKeyEdgeImplementors, &keyObject,
		func(c *ApiKeyConnection) *connection[apikey.Key] { return &c.connection })
	retrieversObject = connectionOf(retrieverConnectionImplementors, retrieverEdgeImplementors, &retrieverObject,
		func(c *RetrieverConnection) *connection[apikey.Retriever] { return &c.connection })
	namespacesObject = connectionOf(namespaceConnectionImplementors, namespaceEdgeImplementors, &namespaceObject,
		func(c *NamespaceConnection) *connection[apikey.Namespace] { return &c.connection })
	eventsObject = connectionOf(auditEventConnectionImplementors, auditEventEdgeImplementors, &eventObject,
		func(c *AuditEventConnection) *connection[apikey.Event] { return &c.connection })
)

var pageInfoObject = object[PageInfo]{
	types: pageInfoImplementors,
	fields: map[string]appender[PageInfo]{
		"hasNextPage":     func(b []byte, p PageInfo) []byte { return strconv.AppendBool(b, p.HasNextPage) },
		"hasPreviousPage": func(b []byte, p PageInfo) []byte { return strconv.AppendBool(b, p.HasPreviousPage) },
		"startCursor":     func(b []byte, p PageInfo) []byte { return wire.OptionalText(b, p.StartCursor) },
		"endCursor":       func(b []byte, p PageInfo) []byte { return wire.OptionalText(b, p.EndCursor) },
	},
}

var scopeObject = object[*apikey.Scope]{
	types: apiKeyScopeImplementors,
	fields: map[string]appender[*apikey.Scope]{
		"resourceType": func(b []byte, s *apikey.Scope) []byte { return upper(b, scalar.Shown(s.ResourceType)) },
		"resourceId":   func(b []byte, s *apikey.Scope) []byte { return wire.Text(b, s.ResourceID) },
		"operations":   func(b []byte, s *apikey.Scope) []byte { return uppers(b, s.Operations) },
	},
}

var leakObject = object[*apikey.Leak]{
	types: apiKeyLeakImplementors,
	fields: map[string]appender[*apikey.Leak]{
		"reportedAt": func(b []byte, l *apikey.Leak) []byte { return wire.Time(b, l.ReportedAt) },
		"source":     func(b []byte, l *apikey.Leak) []byte { return wire.OptionalText(b, l.Source) },
		"url":        func(b []byte, l *apikey.Leak) []byte { return wire.OptionalText(b, l.URL) },
	},
}

// retrieverObject has the fields of retrievers without resolvers.
var retrieverObject = object[*apikey.Retriever]{
	types: retrieverImplementors,
	fields: map[string]appender[*apikey.Retriever]{
		"id":          func(b []byte, r *apikey.Retriever) []byte { return wire.Text(b, r.ID) },
		"name":        func(b []byte, r *apikey.Retriever) []byte { return wire.Text(b, r.Name) },
		"description": func(b []byte, r *apikey.Retriever) []byte { return wire.OptionalText(b, r.Description) },
		"createdAt":   func(b []byte, r *apikey.Retriever) []byte { return wire.OptionalTime(b, r.CreatedAt) },
		"updatedAt":   func(b []byte, r *apikey.Retriever) []byte { return wire.OptionalTime(b, r.UpdatedAt) },
	},
	nested: map[string]func(*compiler, ast.SelectionSet) (writer[*apikey.Retriever], bool){
		"namespace": within(&namespaceObject, func(a *answer, r *apikey.Retriever, p plan[*apikey.Namespace]) { p.write(a, r.Namespace) }),
	},
}

// namespaceObject has the fields of namespaces without resolvers.
var namespaceObject = object[*apikey.Namespace]{
	types: namespaceImplementors,
	fields: map[string]appender[*apikey.Namespace]{
		"id":          func(b []byte, n *apikey.Namespace) []byte { return wire.Text(b, n.ID) },
		"name":        func(b []byte, n *apikey.Namespace) []byte { return wire.Text(b, n.Name) },
		"description": func(b []byte, n *apikey.Namespace) []byte { return wire.OptionalText(b, n.Description) },
		"createdAt":   func(b []byte, n *apikey.Namespace) []byte { return wire.OptionalTime(b, n.CreatedAt) },
		"updatedAt":   func(b []byte, n *apikey.Namespace) []byte { return wire.OptionalTime(b, n.UpdatedAt) },
	},
}

var eventObject = object[*apikey.Event]{
	types: auditEventImplementors,
	fields: map[string]appender[*apikey.Event]{
		"id":           func(b []byte, e *apikey.Event) []byte { return wire.Text(b, e.ID) },
		"timestamp":    func(b []byte, e *apikey.Event) []byte { return wire.Time(b, e.Timestamp) },
		"action":       func(b []byte, e *apikey.Event) []byte { return wire.Text(b, e.Action) },
		"resourceType": func(b []byte, e *apikey.Event) []byte { return upper(b, e.ResourceType) },
		"resourceId":   func(b []byte, e *apikey.Event) []byte { return wire.Text(b, e.ResourceID) },
		"actorId":      func(b []byte, e *apikey.Event) []byte { return wire.Text(b, e.ActorID) },
		"actorType":    func(b []byte, e *apikey.Event) []byte { return wire.Text(b, e.ActorType) },
		"actorKeyId":   func(b []byte, e *apikey.Event) []byte { return wire.OptionalText(b, e.ActorKeyID) },
		"status":       func(b []byte, e *apikey.Event) []byte { return wire.Text(b, e.Outcome) },
		"ipAddress":    func(b []byte, e *apikey.Event) []byte { return wire.OptionalText(b, e.IPAddress) },
		"userAgent":    func(b []byte, e *apikey.Event) []byte { return wire.OptionalText(b, e.UserAgent) },
	},
	nested: map[string]func(*compiler, ast.SelectionSet) (writer[*apikey.Event], bool){
		"changes": listing(&changeObject, func(e *apikey.Event) []apikey.FieldChange { return e.Changes }),
	},
}

var changeObject = object[*apikey.FieldChange]{
	types: auditChangeImplementors,
	fields: map[string]appender[*apikey.FieldChange]{
		"field":  func(b []byte, c *apikey.FieldChange) []byte { return wire.Text(b, c.Field) },
		"before": func(b []byte, c *apikey.FieldChange) []byte { return wire.OptionalText(b, c.Before) },
		"after":  func(b []byte, c *apikey.FieldChange) []byte { return wire.OptionalText(b, c.After) },
	},
}

var usageObject = object[*apikey.KeyUsage]{
	types:  apiKeyUsageImplementors,
	fields: answersFields(func(u *apikey.KeyUsage) *apikey.Answers { return &u.Answers }),
	nested: map[string]func(*compiler, ast.SelectionSet) (writer[*apikey.KeyUsage], bool){
		"days": listing(&usageDayObject, func(u *apikey.KeyUsage) []apikey.UsageDay { return u.Days }),
	},
}

var usageDayObject = func() object[*apikey.UsageDay] {
	fields := answersFields(func(d *apikey.UsageDay) *apikey.Answers { return &d.Answers })
	fields["date"] = func(b []byte, d *apikey.UsageDay) []byte {
		return append(d.Day.Start().AppendFormat(append(b, '"'), time.DateOnly), '"')
	}
	return object[*apikey.UsageDay]{types: apiKeyUsageDayImplementors, fields: fields}
}()

var checkObject = object[*APIKeyCheck]{
	types: apiKeyCheckImplementors,
	fields: map[string]appender[*APIKeyCheck]{
		"allowed": func(b []byte, c *APIKeyCheck) []byte { return strconv.AppendBool(b, c.Allowed) },
		"reason": func(b []byte, c *APIKeyCheck) []byte {
			if c.Reason == nil {
				return wire.Null(b)
			}
			return upper(b, *c.Reason)
		},
	},
}

func answersFields[T any](of func(v T) *apikey.Answers) map[string]appender[T] {
	return map[string]appender[T]{
		"allowed": func(b []byte, v T) []byte { return strconv.AppendInt(b, of(v).Allowed, 10) },
		"refused": func(b []byte, v T) []byte { return strconv.AppendInt(b, of(v).Refused, 10) },
	}
}

// upper writes an enum value: in the schema, the vendor's values are in upper case.
func upper[S ~string](b []byte, s S) []byte {
	b = append(append(b, '"'), s...)
	for i, c := range b[len(b)-len(s):] {
		if 'a' <= c && c <= 'z' {
			b[len(b)-len(s)+i] -= 'a' - 'A'
		}
	}
	return append(b, '"')
}

func uppers[W scalar.Word](b []byte, values []W) []byte {
	return wire.Array(b, len(values), func(b []byte, i int) []byte { return upper(b, scalar.Shown(values[i])) })
}

// shape says how a list is written, if not by gqlgen, and for a field apiKeys, what it selects.
type shape struct {
	selections ast.SelectionSet
	wants      apikey.Wants
	fields     apikey.Fields
	arguments  *arguments // nil: they depend on variables

	itemSlots  int // of the plans for the items
	plan       writer[*ApiKeyConnection]
	events     writer[*AuditEventConnection]
	retrievers writer[*RetrieverConnection]
	namespaces writer[*NamespaceConnection]
	usage      writer[*apikey.KeyUsage]
	check      writer[*APIKeyCheck]
	keys       writer[[]*apikey.Key]
	scopes     writer[[]apikey.Scope]
}

// shapes caches the shapes of a text's fields. The key is the first of the merged fields; of compares the rest.
type shapes struct {
	mu   sync.Mutex
	kept map[*ast.Field]*shape
	free int // how many more selections and slots may be kept: as many as the text has bytes, so that they take no more than its document
}

func newShapes(slots int) *shapes { return &shapes{kept: map[*ast.Field]*shape{}, free: slots} }

// keepShapes makes the shapes that stay with a document. There are none if the text has a directive, because its selection can then
// depend on variables.
func keepShapes(text string) any {
	if strings.Contains(text, "@") {
		return nil
	}
	return newShapes(len(text))
}

// of returns the shape of a field.
func (s *shapes) of(ctx context.Context, op *graphql.OperationContext, f graphql.CollectedField) *shape {
	s.mu.Lock()
	kept, known := s.kept[f.Field]
	s.mu.Unlock()
	if known && slices.Equal(kept.selections, f.Selections) {
		return kept
	}
	made, c := &shape{selections: f.Selections}, compiler{op: op}
	switch f.Definition.Type.Name() {
	case "ApiKeyConnection":
		made.wants, made.fields = connectionParts(op, f.Selections, "ApiKeyConnection")
		made.plan, made.itemSlots = writerOf(&c, f.Selections, &connectionObject)
		if !slices.ContainsFunc(f.Arguments, func(a *ast.Argument) bool { return variable(a.Value) }) {
			made.arguments = readArguments(ctx, op, f)
		}
	case "AuditEventConnection":
		made.events, made.itemSlots = writerOf(&c, f.Selections, &eventsObject)
	case "RetrieverConnection":
		made.retrievers, made.itemSlots = writerOf(&c, f.Selections, &retrieversObject)
	case "NamespaceConnection":
		made.namespaces, made.itemSlots = writerOf(&c, f.Selections, &namespacesObject)
	case "ApiKeyUsage":
		made.usage, made.itemSlots = writerOf(&c, f.Selections, &usageObject)
	case "ApiKeyCheck":
		if p, ok := compile(&c, f.Selections, &checkObject); ok {
			made.check, made.itemSlots = p.write, len(p)
		}
	case "ApiKey":
		if p, ok := compile(&c, f.Selections, &keyObject); ok && f.Definition.Type.Elem != nil {
			made.itemSlots = c.slots
			made.keys = func(a *answer, keys []*apikey.Key) {
				a.array(len(keys), func(i int) {
					if keys[i] == nil {
						a.b = wire.Null(a.b)
					} else {
						p.write(a, keys[i])
					}
				})
			}
		}
	case "ApiKeyScope":
		if write, ok := listing(&scopeObject, func(list []apikey.Scope) []apikey.Scope { return list })(&c, f.Selections); ok {
			made.scopes, made.itemSlots = write, c.slots
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	cost := len(f.Selections) + c.slots
	if _, known = s.kept[f.Field]; !known && cost <= s.free {
		s.kept[f.Field] = made
		s.free -= cost
	}
	return made
}

// writerOf returns the writer of a connection, or nil if gqlgen writes it, and the slots of its items.
func writerOf[C any](c *compiler, selections ast.SelectionSet, o *object[C]) (writer[C], int) {
	p, ok := compile(c, selections, o)
	if !ok {
		return nil, 0
	}
	return p.write, c.slots - len(p)
}

// variable reports whether a value is a variable or contains one.
func variable(v *ast.Value) bool {
	return v.Kind == ast.Variable || slices.ContainsFunc(v.Children, func(c *ast.ChildValue) bool { return variable(c.Value) })
}
