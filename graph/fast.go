package graph

import (
	"context"
	"io"
	"slices"
	"strconv"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"retrieverkeys/apikey"
	"retrieverkeys/graph/scalar"
	"retrieverkeys/wire"
)

// fast writes connections of keys as JSON, each by a plan that is made of its selection, in place of gqlgen, which makes a
// context and a marshaler for each field of each key: that is most of what a list costs. Resolvers, errors and nulls stay
// gqlgen's; below a connection there is none of them. What it does not know it leaves to gqlgen. Not to install it is the
// way without it, and a test compares the two.
func fast(ctx context.Context, next graphql.Resolver) (any, error) {
	res, err := next(ctx)
	c, ok := res.(*ApiKeyConnection)
	if !ok || c == nil || err != nil {
		return res, err
	}
	l := loaded(ctx)
	s := l.shapes.of(ctx, graphql.GetOperationContext(ctx), graphql.GetFieldContext(ctx).Field)
	if s.plan == nil {
		return res, nil
	}
	size := int64(s.itemSlots * slotBytes * len(c.Items))
	l.unwritten.Add(size)
	return graphql.WriterFunc(func(w io.Writer) {
		// All marshalers of one response write to one buffer, whose own space is used if it has enough.
		buf, ok := w.(interface {
			Grow(n int)
			AvailableBuffer() []byte
		})
		var b []byte
		if ok {
			buf.Grow(int(max(size, l.unwritten.Swap(0)))) // the first has it grow once, for all
			b = buf.AvailableBuffer()
		}
		_, _ = w.Write(s.plan.write(b, c))
	}), nil
}

// slotBytes is a little more than a field takes, with its name, of those that lists show.
const slotBytes = 36

// writer appends a value's JSON.
type writer[T any] func(b []byte, v T) []byte

// object is how a type of the schema is written: its own fields, and those that have selections.
type object[T any] struct {
	types  []string // its own, and those that it is one of
	fields map[string]writer[T]
	nested map[string]func(c *compiler, selections ast.SelectionSet) (writer[T], bool)
}

// plan is how a selection is written: a label and a writer for each field.
type plan[T any] []slot[T]

type slot[T any] struct {
	label string // with the comma or the brace before it
	write writer[T]
}

// compiler makes plans for one operation.
type compiler struct {
	op    *graphql.OperationContext
	slots int // that it has made
}

// compile makes a plan of a selection; false where something in it is not known.
func compile[T any](c *compiler, selections ast.SelectionSet, o *object[T]) (plan[T], bool) {
	fields := graphql.CollectFields(c.op, selections, o.types)
	c.slots += len(fields)
	p := make(plan[T], 0, len(fields))
	before := "{"
	for i, f := range fields {
		if slices.ContainsFunc(fields[:i], func(other graphql.CollectedField) bool { return other.Alias == f.Alias }) {
			continue // gqlgen collects __typename of a union beside that of the type itself
		}
		write, ok := o.fields[f.Name]
		if nested := o.nested[f.Name]; nested != nil {
			write, ok = nested(c, f.Selections)
		} else if f.Name == "__typename" {
			write, ok = func(b []byte, _ T) []byte { return wire.Text(b, o.types[0]) }, true
		}
		if !ok || len(f.Deferrables) > 0 {
			return nil, false
		}
		p = append(p, slot[T]{before + `"` + f.Alias + `":`, write}) // of letters, digits and underscores
		before = ","
	}
	return p, len(p) > 0
}

func (p plan[T]) write(b []byte, v T) []byte {
	for i := range p {
		b = append(b, p[i].label...)
		b = p[i].write(b, v)
	}
	return append(b, '}')
}

// within makes the writer of a field with selections, out of how its object is written and where that is in v.
func within[T, U any](o *object[U], write func(b []byte, v T, p plan[U]) []byte) func(*compiler, ast.SelectionSet) (writer[T], bool) {
	return func(c *compiler, selections ast.SelectionSet) (writer[T], bool) {
		p, ok := compile(c, selections, o)
		return func(b []byte, v T) []byte { return write(b, v, p) }, ok
	}
}

// edge is a key of a connection, by its index: its cursor is made only where it is asked for.
type edge struct {
	connection *ApiKeyConnection
	index      int
}

var connectionObject = object[*ApiKeyConnection]{
	types: apiKeyConnectionImplementors,
	fields: map[string]writer[*ApiKeyConnection]{
		"total": func(b []byte, c *ApiKeyConnection) []byte { return strconv.AppendInt(b, int64(c.Total), 10) },
	},
	nested: map[string]func(*compiler, ast.SelectionSet) (writer[*ApiKeyConnection], bool){
		"results": within(&keyObject, func(b []byte, c *ApiKeyConnection, p plan[*apikey.Key]) []byte {
			return wire.Array(b, len(c.Items), func(b []byte, i int) []byte { return p.write(b, &c.Items[i]) })
		}),
		"edges": within(&edgeObject, func(b []byte, c *ApiKeyConnection, p plan[edge]) []byte {
			return wire.Array(b, len(c.Items), func(b []byte, i int) []byte { return p.write(b, edge{c, i}) })
		}),
		"pageInfo": within(&pageInfoObject, func(b []byte, c *ApiKeyConnection, p plan[PageInfo]) []byte {
			return p.write(b, c.PageInfo())
		}),
	},
}

var edgeObject = object[edge]{
	types: apiKeyEdgeImplementors,
	fields: map[string]writer[edge]{
		"cursor": func(b []byte, e edge) []byte { return wire.Text(b, e.connection.Cursor(e.index)) },
	},
	nested: map[string]func(*compiler, ast.SelectionSet) (writer[edge], bool){
		"node": within(&keyObject, func(b []byte, e edge, p plan[*apikey.Key]) []byte {
			return p.write(b, &e.connection.Items[e.index])
		}),
	},
}

var pageInfoObject = object[PageInfo]{
	types: pageInfoImplementors,
	fields: map[string]writer[PageInfo]{
		"hasNextPage":     func(b []byte, p PageInfo) []byte { return strconv.AppendBool(b, p.HasNextPage) },
		"hasPreviousPage": func(b []byte, p PageInfo) []byte { return strconv.AppendBool(b, p.HasPreviousPage) },
		"startCursor":     func(b []byte, p PageInfo) []byte { return wire.OptionalText(b, p.StartCursor) },
		"endCursor":       func(b []byte, p PageInfo) []byte { return wire.OptionalText(b, p.EndCursor) },
	},
}

var keyObject = object[*apikey.Key]{
	types: apiKeyImplementors,
	fields: map[string]writer[*apikey.Key]{
		"id":                func(b []byte, k *apikey.Key) []byte { return wire.Text(b, k.ID) },
		"keyId":             func(b []byte, k *apikey.Key) []byte { return wire.Text(b, k.ID) },
		"keyHash":           func(b []byte, k *apikey.Key) []byte { return wire.Text(b, k.Hash) },
		"keyPrefix":         func(b []byte, k *apikey.Key) []byte { return wire.OptionalText(b, k.Prefix) },
		"keyType":           func(b []byte, k *apikey.Key) []byte { return upper(b, scalar.Shown(k.Type)) },
		"name":              func(b []byte, k *apikey.Key) []byte { return wire.Text(b, k.Name) },
		"description":       func(b []byte, k *apikey.Key) []byte { return wire.Text(b, k.Description) },
		"internalId":        func(b []byte, k *apikey.Key) []byte { return wire.Text(b, k.InternalID) },
		"organizationId":    func(b []byte, k *apikey.Key) []byte { return wire.OptionalText(b, k.OrganizationID) },
		"userId":            func(b []byte, k *apikey.Key) []byte { return wire.Text(b, k.UserID) },
		"subscriptionId":    func(b []byte, k *apikey.Key) []byte { return wire.OptionalText(b, k.SubscriptionID) },
		"principalId":       func(b []byte, k *apikey.Key) []byte { return wire.OptionalText(b, k.PrincipalID) },
		"isInternal":        func(b []byte, k *apikey.Key) []byte { return strconv.AppendBool(b, k.IsInternal) },
		"permissions":       func(b []byte, k *apikey.Key) []byte { return uppers(b, k.Permissions) },
		"rateLimitOverride": func(b []byte, k *apikey.Key) []byte { return wire.OptionalInt(b, k.RateLimitOverride) },
		"status":            func(b []byte, k *apikey.Key) []byte { return upper(b, k.Status) },
		"expiresAt":         func(b []byte, k *apikey.Key) []byte { return wire.OptionalTime(b, k.ExpiresAt) },
		"lastUsedAt":        func(b []byte, k *apikey.Key) []byte { return wire.OptionalTime(b, k.LastUsedAt) },
		"createdAt":         func(b []byte, k *apikey.Key) []byte { return wire.OptionalTime(b, k.CreatedAt) },
		"createdBy":         func(b []byte, k *apikey.Key) []byte { return wire.OptionalText(b, k.CreatedBy) },
		"revokedAt":         func(b []byte, k *apikey.Key) []byte { return wire.OptionalTime(b, k.RevokedAt) },
		"revokedBy":         func(b []byte, k *apikey.Key) []byte { return wire.OptionalText(b, k.RevokedBy) },
		"allowedOrigins": func(b []byte, k *apikey.Key) []byte {
			if k.AllowedOrigins == nil {
				return wire.Null(b)
			}
			return wire.Texts(b, k.AllowedOrigins)
		},
		"rotatedTo":   func(b []byte, k *apikey.Key) []byte { return wire.OptionalText(b, k.RotatedTo) },
		"rotatedFrom": func(b []byte, k *apikey.Key) []byte { return wire.OptionalText(b, k.RotatedFrom) },
	},
	nested: map[string]func(*compiler, ast.SelectionSet) (writer[*apikey.Key], bool){
		"scopes": within(&scopeObject, func(b []byte, k *apikey.Key, p plan[*apikey.Scope]) []byte {
			return wire.Array(b, len(k.Scopes), func(b []byte, i int) []byte { return p.write(b, &k.Scopes[i]) })
		}),
	},
}

var scopeObject = object[*apikey.Scope]{
	types: apiKeyScopeImplementors,
	fields: map[string]writer[*apikey.Scope]{
		"resourceType": func(b []byte, s *apikey.Scope) []byte { return upper(b, scalar.Shown(s.ResourceType)) },
		"resourceId":   func(b []byte, s *apikey.Scope) []byte { return wire.Text(b, s.ResourceID) },
		"operations":   func(b []byte, s *apikey.Scope) []byte { return uppers(b, s.Operations) },
	},
}

// upper writes a value of an enum: in the schema they are the vendor's in upper case.
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
