package scalar

import (
	"encoding/json"
	"errors"
)

// Readers reads variables of each scalar, from JSON or from a default in the operation's text. The generated code reads the result
// again, and accepts it.
var Readers = map[string]func(v any) (any, error){
	"String": func(v any) (any, error) {
		if _, ok := v.(string); !ok {
			return nil, errors.New("must be a String")
		}
		return v, nil
	},
	"Boolean": func(v any) (any, error) {
		if _, ok := v.(bool); !ok {
			return nil, errors.New("must be a Boolean: true or false")
		}
		return v, nil
	},
	"Int": func(v any) (any, error) {
		n, err := UnmarshalInt(v)
		return int64(n), err
	},
	"Float": func(v any) (any, error) {
		var f float64
		var err error
		switch v := v.(type) {
		case json.Number:
			f, err = v.Float64()
		case float64:
			f = v
		case int64:
			f = float64(v)
		default:
			err = errors.ErrUnsupported
		}
		if err != nil {
			return nil, errors.New("must be a Float: a number of 64 bits")
		}
		return f, nil
	},
	"ID": func(v any) (any, error) { return UnmarshalID(v) },
	"DateTime": func(v any) (any, error) {
		_, err := UnmarshalDateTime(v)
		return v, err
	},
	"Date": func(v any) (any, error) {
		_, err := UnmarshalDate(v)
		return v, err
	},
	"Long": func(v any) (any, error) { return UnmarshalLong(v) },
	"_Any": func(v any) (any, error) {
		_, err := UnmarshalRepresentation(v)
		return v, err
	},
}
