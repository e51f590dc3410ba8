package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"retrieverkeys/apikey"
	"retrieverkeys/wire"
)

// invalid is a validation error of a body or a parameter in the vendor's format, which is FastAPI's: the location, the message, and
// pydantic's error type.
type invalid struct {
	Loc  []any  `json:"loc"`
	Msg  string `json:"msg"`
	Type string `json:"type"`
}

// invalids are all validation errors of a request.
type invalids []invalid

func (invalids) Error() string { return "the request does not validate" }

// write answers in both of the vendor's formats at once, because its clients read one or the other: the envelope with validation_errors,
// and FastAPI's detail.
func (all invalids) write(w http.ResponseWriter) {
	type failure struct {
		Type     string `json:"type"`
		Location []any  `json:"location"`
		Message  string `json:"message"`
	}
	failures := make([]failure, len(all))
	for i, f := range all {
		failures[i] = failure{f.Type, f.Loc, f.Msg}
	}
	where := make([]string, len(all[0].Loc))
	for i, step := range all[0].Loc {
		where[i] = fmt.Sprint(step)
	}
	message := strings.Join(where, ".") + ": " + all[0].Msg
	if more := len(all) - 1; more > 0 {
		message += fmt.Sprintf(" (and %d more)", more)
	}
	writeJSON(w, http.StatusUnprocessableEntity, struct {
		errorBody
		Detail []invalid `json:"detail"`
	}{
		errorBody{Status: http.StatusUnprocessableEntity, Error: errorDetail{message, "ValidationError", map[string]any{"validation_errors": failures}}},
		all,
	})
}

// unreadable is the error of a body that is not parsed.
type unreadable struct {
	status  int
	message string
}

func (r *unreadable) Error() string { return r.message }

// bodyField is a member of the body of a creation, with the domain's name for it.
type bodyField struct {
	name, setting string
	read          func(v any, s *apikey.Settings) *invalid
}

var bodyFields = []bodyField{
	{"name", "name", func(v any, s *apikey.Settings) *invalid {
		text, ok := v.(string)
		s.Name = apikey.Given(&text)
		return unless(ok, "Input should be a valid string", "string_type")
	}},
	{"description", "description", func(v any, s *apikey.Settings) *invalid {
		text, ok := v.(string)
		s.Description = apikey.Given(&text)
		return unless(ok || v == nil, "Input should be a valid string", "string_type")
	}},
	{"expires_at", "expiresAt", func(v any, s *apikey.Settings) *invalid {
		if v == nil {
			return nil
		}
		text, ok := v.(string)
		if !ok {
			return unless(false, "Input should be a valid datetime", "datetime_type")
		}
		t, ok := apikey.ParseDate(text)
		s.ExpiresAt = apikey.Given(&t)
		if ok {
			return nil
		}
		if _, ok := apikey.ParseDate(text + "Z"); ok {
			return unless(false, "Input should have a time zone: end it with Z for UTC, or with an offset such as +01:00", "timezone_aware")
		}
		return unless(false, "Input should be a valid datetime: RFC 3339, such as 2026-03-01T09:30:00Z", "datetime_parsing")
	}},
	{"allowed_origins", "allowedOrigins", func(v any, s *apikey.Settings) *invalid {
		if v == nil {
			return nil
		}
		items, ok := v.([]any)
		if !ok {
			return unless(false, "Input should be a valid list", "list_type")
		}
		origins := make([]string, len(items))
		for i, item := range items {
			if origins[i], ok = item.(string); !ok {
				return &invalid{Loc: []any{i}, Msg: "Input should be a valid string", Type: "string_type"}
			}
		}
		s.AllowedOrigins = apikey.Given(&origins)
		return nil
	}},
	{"rate_limit_override", "rateLimitOverride", func(v any, s *apikey.Settings) *invalid {
		if v == nil {
			return nil
		}
		number, _ := v.(json.Number)
		n, whole := wire.WholeNumber(number)
		limit := int(n)
		s.RateLimitOverride = apikey.Given(&limit)
		return unless(number != "" && whole && int64(int32(n)) == n, "Input should be a valid integer of 32 bits", "int_type")
	}},
}

func unless(ok bool, msg, kind string) *invalid {
	if ok {
		return nil
	}
	return &invalid{Msg: msg, Type: kind}
}

// mostExtra limits how many unknown members a response names.
const mostExtra = 10

// extra refuses unknown members. Ignoring them would be dangerous: a key with expiresAt instead of expires_at would never expire.
func extra(members map[string]any) invalids {
	names := slices.Sorted(maps.Keys(members))
	names = slices.DeleteFunc(names, func(name string) bool {
		return slices.ContainsFunc(bodyFields, func(f bodyField) bool { return f.name == name })
	})
	var wrong invalids
	for _, name := range names[:min(len(names), mostExtra)] {
		wrong = append(wrong, extraForbidden(name))
	}
	return wrong
}

func extraForbidden(name string) invalid {
	plain := func(s string) string {
		return strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "").Replace(s))
	}
	found := invalid{Loc: []any{"body"}, Type: "extra_forbidden"}
	if memberName.MatchString(name) && apikey.HideKeys(name) == name {
		found.Loc = append(found.Loc, name)
	}
	if i := slices.IndexFunc(bodyFields, func(f bodyField) bool { return plain(f.name) == plain(name) }); i >= 0 {
		found.Msg = "Extra inputs are not permitted. Did you mean " + bodyFields[i].name + "?"
		return found
	}
	known := make([]string, len(bodyFields))
	for i, f := range bodyFields {
		known[i] = f.name
	}
	found.Msg = "Extra inputs are not permitted: the members are " + strings.Join(known, ", ")
	return found
}

// memberName matches the names of members that a response can repeat. It matches no API key of this server, because keys are longer.
var memberName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,39}$`)

// createBody reads the body of a creation.
func createBody(r *http.Request) (apikey.Settings, error) {
	members, err := object(r)
	if err != nil {
		return apikey.Settings{}, err
	}
	var s apikey.Settings
	var wrong invalids
	for _, f := range bodyFields {
		v, given := members[f.name]
		var found *invalid
		switch {
		case given:
			found = f.read(v, &s)
		case f.name == "name":
			found = unless(false, "Field required", "missing")
		}
		if found != nil {
			found.Loc = append([]any{"body", f.name}, found.Loc...)
			wrong = append(wrong, *found)
		}
	}
	if wrong = append(wrong, extra(members)...); wrong != nil {
		return apikey.Settings{}, wrong
	}
	return s, nil
}

// object reads the body as one JSON object without duplicate members. Errors never repeat what was read.
func object(r *http.Request) (map[string]any, error) {
	if sent := strings.Join(r.Header.Values("Content-Type"), ","); sent != "" {
		media, attributes, err := mime.ParseMediaType(sent)
		charset := strings.ToLower(attributes["charset"])
		if err != nil || media != "application/json" && !strings.HasSuffix(media, "+json") || charset != "" && charset != "utf-8" {
			return nil, &unreadable{http.StatusUnsupportedMediaType, "Send the body as application/json in UTF-8."}
		}
	}
	if encoding := strings.Join(r.Header.Values("Content-Encoding"), ","); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, &unreadable{http.StatusUnsupportedMediaType, "Send the body uncompressed."}
	}
	body, err := io.ReadAll(r.Body)
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, &unreadable{http.StatusRequestEntityTooLarge, fmt.Sprintf("The body is larger than %d bytes.", tooLarge.Limit)}
	}
	if err != nil {
		return nil, &unreadable{http.StatusBadRequest, "The body could not be read."}
	}
	invalidBody := func(msg, kind string) error { return invalids{{[]any{"body"}, msg, kind}} }
	body, err = wire.UTF8(body)
	encoding, _ := errors.AsType[wire.Encoding](err)
	switch {
	case err != nil:
		return nil, invalidBody(fmt.Sprintf("The body is in %s: send it in UTF-8", string(encoding)), "json_invalid")
	case len(bytes.TrimSpace(body)) == 0:
		return nil, invalidBody("Field required", "missing")
	case !utf8.Valid(body) || !json.Valid(body):
		return nil, invalidBody("JSON decode error", "json_invalid")
	}
	if err := wire.Unambiguous(body); errors.Is(err, wire.ErrSurrogate) {
		return nil, invalidBody("The body "+err.Error(), "json_invalid")
	} else if err != nil {
		return nil, invalidBody("A member of the object is given twice", "json_invalid")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if start, _ := dec.Token(); start != json.Delim('{') {
		return nil, invalidBody("Input should be a valid dictionary or object to extract fields from", "model_attributes_type")
	}
	members := map[string]any{}
	for dec.More() {
		name, _ := dec.Token() // the body is valid JSON
		text, _ := name.(string)
		var v any
		_ = dec.Decode(&v)
		members[text] = v
	}
	return members, nil
}
