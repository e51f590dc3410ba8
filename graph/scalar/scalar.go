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
		n, whole = wholeNumber(string(v))
	default:
		whole = false
	}
	if !whole || n < math.MinInt32 || n > math.MaxInt32 {
		return 0, errors.New("must be an Int: a whole number of 32 bits")
	}
	return int(n), nil
}

// wholeNumber returns the value of a JSON number if that is a whole number that an int64 holds. It moves the decimal point in
// the text: a float64 would round, and an exact number could take gigabytes for a few letters, such as 1e999999999.
func wholeNumber(number string) (n int64, whole bool) {
	number, exponent, _ := strings.Cut(strings.ToLower(number), "e")
	digits, fraction, _ := strings.Cut(strings.TrimPrefix(number, "-"), ".")
	significant := strings.TrimRight(digits+fraction, "0")
	if strings.Trim(significant, "0") == "" {
		return 0, true
	}
	shift := 0
	if exponent != "" {
		var err error
		if shift, err = strconv.Atoi(exponent); err != nil {
			return 0, false // so far out that no text that fits into memory brings it back
		}
	}
	zeros := shift + len(digits) - len(significant)
	if zeros < 0 || zeros > maxDigits {
		return 0, false
	}
	sign := number[:len(number)-len(strings.TrimPrefix(number, "-"))]
	n, err := strconv.ParseInt(sign+significant+strings.Repeat("0", zeros), 10, 64)
	return n, err == nil
}

// maxDigits is how many digits an int64 has at most.
const maxDigits = 19

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

// ShownType is the type as it is shown: what cannot be read shows as what is not known.
func ShownType(t apikey.Type) apikey.Type {
	if t == apikey.UnreadableType {
		return apikey.UnknownType
	}
	return t
}

// MarshalKeyType writes a key's type.
func MarshalKeyType(t apikey.Type) graphql.Marshaler {
	return graphql.MarshalString(strings.ToUpper(string(ShownType(t))))
}

// UnmarshalKeyType reads a key's type; the schema's validation has seen that it is one.
func UnmarshalKeyType(v any) (apikey.Type, error) {
	if s, ok := v.(string); ok {
		return apikey.Type(strings.ToLower(s)), nil
	}
	return "", errors.New("must be an ApiKeyType")
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
