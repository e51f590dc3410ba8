// Package scalar reads and writes the schema's scalars, strictly: an input is what the schema says or an error that
// tells what is wrong.
package scalar

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"retrieverkeys/apikey"
	"retrieverkeys/wire"
)

// MarshalID writes an ID.
func MarshalID(id string) graphql.Marshaler { return graphql.MarshalString(id) }

// UnmarshalID reads an ID: a text or a whole number, as the GraphQL specification has it, and nothing else.
func UnmarshalID(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return strconv.FormatInt(n, 10), nil
		}
	}
	return "", errors.New("must be an ID: a text or a whole number")
}

// MarshalInt writes a whole number.
func MarshalInt(n int) graphql.Marshaler { return graphql.MarshalInt(n) }

// UnmarshalInt reads a whole number of 32 bits, however JSON writes it: 3.0 and 30e-1 are 3. A text is none, even if it
// holds one.
func UnmarshalInt(v any) (int, error) {
	var n int64
	whole := true
	switch v := v.(type) {
	case int64:
		n = v
	case int: // a default of the schema's
		n = int64(v)
	case json.Number:
		n, whole = wire.WholeNumber(v)
	default:
		whole = false
	}
	if !whole || n < math.MinInt32 || n > math.MaxInt32 {
		return 0, errors.New("must be an Int: a whole number of 32 bits")
	}
	return int(n), nil
}

// MarshalDateTime writes an instant.
func MarshalDateTime(t time.Time) graphql.Marshaler {
	return graphql.WriterFunc(func(w io.Writer) {
		_, _ = w.Write(wire.Time(nil, t))
	})
}

// UnmarshalDateTime reads an RFC 3339 text; what is finer than a millisecond is cut off.
func UnmarshalDateTime(v any) (time.Time, error) {
	if s, ok := v.(string); ok {
		if t, ok := apikey.ParseDate(s); ok {
			return t.UTC().Truncate(time.Millisecond), nil
		}
	}
	return time.Time{}, errors.New("must be an RFC 3339 date and time, such as 2026-03-01T09:30:00Z")
}

// Word is a value of an enum that documents hold, as it is stored.
type Word interface {
	~string
	Known() bool
}

// Shown is the word of the schema's enum for a stored one: "unknown" stands in for all that the schema does not have.
func Shown[W Word](w W) W {
	if w.Known() {
		return w
	}
	return "unknown"
}

func marshalWord[W Word](w W) graphql.Marshaler {
	return graphql.MarshalString(strings.ToUpper(string(Shown(w))))
}

// unmarshalWord reads a word of an enum; the schema's validation has seen that it is one.
func unmarshalWord[W Word](v any, enum string) (W, error) {
	if s, ok := v.(string); ok {
		return W(strings.ToLower(s)), nil
	}
	return "", errors.New("must be an " + enum)
}

// MarshalKeyType writes a key's type.
func MarshalKeyType(t apikey.Type) graphql.Marshaler { return marshalWord(t) }

// UnmarshalKeyType reads a key's type.
func UnmarshalKeyType(v any) (apikey.Type, error) { return unmarshalWord[apikey.Type](v, "ApiKeyType") }

// MarshalPermission writes a permission.
func MarshalPermission(p apikey.Permission) graphql.Marshaler { return marshalWord(p) }

// UnmarshalPermission reads a permission.
func UnmarshalPermission(v any) (apikey.Permission, error) {
	return unmarshalWord[apikey.Permission](v, "ApiKeyPermission")
}

// MarshalResourceType writes a kind of resource.
func MarshalResourceType(t apikey.ResourceType) graphql.Marshaler { return marshalWord(t) }

// UnmarshalResourceType reads a kind of resource.
func UnmarshalResourceType(v any) (apikey.ResourceType, error) {
	return unmarshalWord[apikey.ResourceType](v, "ResourceType")
}

// MarshalOperation writes an operation.
func MarshalOperation(o apikey.Operation) graphql.Marshaler { return marshalWord(o) }

// UnmarshalOperation reads an operation.
func UnmarshalOperation(v any) (apikey.Operation, error) {
	return unmarshalWord[apikey.Operation](v, "ApiKeyOperation")
}

// Representation is what a gateway asks for: an entity of that type with that id.
type Representation struct {
	TypeName string
	ID       string
	Err      error // what is wrong with it; nil: nothing
}

// MarshalRepresentation writes a representation.
func MarshalRepresentation(r Representation) graphql.Marshaler {
	return graphql.MarshalMap(map[string]any{"__typename": r.TypeName, "id": r.ID})
}

// UnmarshalRepresentation reads a representation. A gateway may send more with it than that. An object that tells no type or
// no id is one representation that has an error: it must not take the others of its list with it.
func UnmarshalRepresentation(v any) (Representation, error) {
	wrong := errors.New("must be an object with __typename and id")
	object, ok := v.(map[string]any)
	if !ok {
		return Representation{}, wrong
	}
	var r Representation
	r.TypeName, _ = object["__typename"].(string)
	if r.ID, r.Err = UnmarshalID(object["id"]); r.TypeName == "" || r.Err != nil {
		r = Representation{Err: wrong}
	}
	return r, nil
}
