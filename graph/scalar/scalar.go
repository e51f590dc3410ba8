// Package scalar reads and writes the schema's scalars, strictly: an input is what the schema says, or an error.
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

// UnmarshalID reads an ID: a string or a whole number, as in the GraphQL specification.
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

// UnmarshalInt reads a whole number of 32 bits in any JSON notation: 3.0 and 30e-1 are 3. Strings are refused, even if they contain a
// number.
func UnmarshalInt(v any) (int, error) {
	var n int64
	whole := true
	switch v := v.(type) {
	case int64:
		n = v
	case int: // a default of the schema
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

// UnmarshalDateTime reads an RFC 3339 text and truncates it to milliseconds.
func UnmarshalDateTime(v any) (time.Time, error) {
	if s, ok := v.(string); ok {
		if t, ok := apikey.ParseDate(s); ok {
			return t.UTC().Truncate(time.Millisecond), nil
		}
	}
	return time.Time{}, errors.New("must be an RFC 3339 date and time, such as 2026-03-01T09:30:00Z")
}

// MarshalDate writes a day.
func MarshalDate(d apikey.Day) graphql.Marshaler { return graphql.MarshalString(d.String()) }

// UnmarshalDate reads a day.
func UnmarshalDate(v any) (apikey.Day, error) {
	if s, ok := v.(string); ok {
		if d, ok := apikey.ParseDay(s); ok {
			return d, nil
		}
	}
	return 0, errors.New("must be a date, such as 2026-03-01")
}

// MarshalLong writes a count as a JSON number, which is exact up to apikey.MaxCount.
func MarshalLong(n int64) graphql.Marshaler { return graphql.MarshalInt64(apikey.Count(n)) }

// UnmarshalLong reads a count in any JSON notation, as UnmarshalInt does.
func UnmarshalLong(v any) (int64, error) {
	var n int64
	whole := true
	switch v := v.(type) {
	case int64:
		n = v
	case json.Number:
		n, whole = wire.WholeNumber(v)
	default:
		whole = false
	}
	if !whole || n != apikey.Count(n) {
		return 0, errors.New("must be a Long: a whole number from 0 to 9007199254740991")
	}
	return n, nil
}

// Word is an enum value of documents, as stored.
type Word interface {
	~string
	Known() bool
}

// Shown is the schema's enum value for a stored one, or UNKNOWN if the schema does not have it.
func Shown[W Word](w W) W {
	if w.Known() {
		return w
	}
	return "unknown"
}

func marshalWord[W Word](w W) graphql.Marshaler {
	return graphql.MarshalString(strings.ToUpper(string(Shown(w))))
}

// unmarshalWord reads an enum value that the schema's validation has checked.
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

// MarshalResourceType writes a resource type.
func MarshalResourceType(t apikey.ResourceType) graphql.Marshaler { return marshalWord(t) }

// UnmarshalResourceType reads a resource type.
func UnmarshalResourceType(v any) (apikey.ResourceType, error) {
	return unmarshalWord[apikey.ResourceType](v, "ResourceType")
}

// MarshalOperation writes an operation.
func MarshalOperation(o apikey.Operation) graphql.Marshaler { return marshalWord(o) }

// UnmarshalOperation reads an operation.
func UnmarshalOperation(v any) (apikey.Operation, error) {
	return unmarshalWord[apikey.Operation](v, "ApiKeyOperation")
}

// Representation is an entity that a gateway asks for: its type and id.
type Representation struct {
	TypeName   string
	ID         string
	InternalID string // the other key of organizations; given instead of ID, or in addition
	Err        error  // what is wrong with it, or nil
}

// MarshalRepresentation writes a representation.
func MarshalRepresentation(r Representation) graphql.Marshaler {
	return graphql.MarshalMap(map[string]any{"__typename": r.TypeName, "id": r.ID, "internalId": r.InternalID})
}

// UnmarshalRepresentation reads a representation. Gateways may send additional fields. An object without type or id becomes a
// representation with an error, so that the others in its list are still resolved.
func UnmarshalRepresentation(v any) (Representation, error) {
	wrong := errors.New("must be an object with __typename and id")
	object, ok := v.(map[string]any)
	if !ok {
		return Representation{}, wrong
	}
	var r Representation
	r.TypeName, _ = object["__typename"].(string)
	if r.TypeName == "Organization" {
		r.InternalID, _ = object["internalId"].(string)
	}
	if r.InternalID != "" && object["id"] == nil {
		return r, nil
	}
	if r.ID, r.Err = UnmarshalID(object["id"]); r.TypeName == "" || r.Err != nil {
		r = Representation{Err: wrong}
	}
	return r, nil
}
