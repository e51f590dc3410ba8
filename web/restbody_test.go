package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"retrieverkeys/apikey"
	"retrieverkeys/wire"
)

// A new key is returned completely and with its plaintext, once. Invalid input is reported in the vendor's format with its location, and
// not repeated.
func TestCreate(t *testing.T) {
	s := &shelf{}
	url := served(t, s) + keysURL
	status, header, body := ask(t, http.MethodPost, url, `{"name":"a","description":"b","expires_at":"2999-01-01T00:00:00+01:00","allowed_origins":["https://a.example"],"rate_limit_override":7.0}`)
	var made map[string]any
	if err := json.Unmarshal([]byte(body), &made); err != nil || status != http.StatusOK || header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s %v", status, body, err)
	}
	if len(made) != 24 || made["expires_at"] != "2998-12-31T23:00:00.000Z" || made["rate_limit_override"] != 7.0 || made["created_by"] != "usr_caller" || len(fmt.Sprint(made["key"])) != 60 {
		t.Errorf("made %s", body)
	}
	if len(s.inserted) != 1 || s.inserted[0].Name != "a" || s.inserted[0].AllowedOrigins[0] != "https://a.example" || len(s.events) != 1 || *s.events[0].IPAddress != "127.0.0.1" {
		t.Errorf("stored %+v %+v", s.inserted, s.events)
	}

	at := func(loc, kind string) string {
		return fmt.Sprintf(`"loc":%s,"msg":`, loc) + "*" + fmt.Sprintf(`"type":"%s"`, kind)
	}
	for _, c := range []struct {
		body   string
		status int
		want   []string
	}{
		{`{"name":"a","description":null,"expires_at":null,"allowed_origins":null,"rate_limit_override":null}`, 200, nil},
		{`{"name":"a","allowed_origins":[]}`, 200, []string{`"allowed_origins":null`}},
		{` {"name":"a"} `, 200, nil},
		{"\ufeff" + `{"name":"a"}`, 200, nil},
		{"\ufeff", 422, []string{at(`["body"]`, "missing")}},
		{"\ufeff\ufeff" + `{"name":"a"}`, 422, []string{at(`["body"]`, "json_invalid")}},
		{"\xff\xfe{\x00}\x00", 422, []string{`"loc":["body"],"msg":"The body is in UTF-16: send it in UTF-8"`}},
		{"\xff\xfe\x00\x00{\x00\x00\x00}\x00\x00\x00", 422, []string{`"loc":["body"],"msg":"The body is in UTF-32: send it in UTF-8"`}},
		{"\x00{\x00}", 422, []string{`"loc":["body"],"msg":"The body is in UTF-16: send it in UTF-8"`}},
		{``, 422, []string{at(`["body"]`, "missing")}},
		{`{}`, 422, []string{at(`["body","name"]`, "missing")}},
		{`{"name":null}`, 422, []string{at(`["body","name"]`, "string_type")}},
		{`{"name":"SECRET"`, 422, []string{at(`["body"]`, "json_invalid")}},
		{`{"name":"SECRET"} x`, 422, []string{at(`["body"]`, "json_invalid")}},
		{`{"name":"SECRET","name":"b"}`, 422, []string{at(`["body"]`, "json_invalid")}},
		{"{\"name\":\"SECRET\xff\"}", 422, []string{at(`["body"]`, "json_invalid")}},
		{`["SECRET"]`, 422, []string{at(`["body"]`, "model_attributes_type")}},
		{`null`, 422, []string{at(`["body"]`, "model_attributes_type")}},
		{`{"name":1,"description":2,"expires_at":3,"allowed_origins":"SECRET","rate_limit_override":"SECRET"}`, 422, []string{
			at(`["body","name"]`, "string_type"), at(`["body","description"]`, "string_type"), at(`["body","expires_at"]`, "datetime_type"),
			at(`["body","allowed_origins"]`, "list_type"), at(`["body","rate_limit_override"]`, "int_type"),
		}},
		{`{"name":"a","expires_at":"SECRET","allowed_origins":["https://a.example",1],"rate_limit_override":1.5}`, 422, []string{
			at(`["body","expires_at"]`, "datetime_parsing"), at(`["body","allowed_origins",1]`, "string_type"), at(`["body","rate_limit_override"]`, "int_type"),
		}},
		{`{"name":"a","expires_at":"2999-01-01T00:00:00,5Z"}`, 422, []string{at(`["body","expires_at"]`, "datetime_parsing")}},
		{`{"name":"SECRET\ud800"}`, 422, []string{at(`["body"]`, "json_invalid"), "surrogate pair"}},
		{`{"\ud800":"SECRET"}`, 422, []string{at(`["body"]`, "json_invalid"), "surrogate pair"}},
		{`{"name":"a","allowed_origins":["\udc00"]}`, 422, []string{at(`["body"]`, "json_invalid"), "surrogate pair"}},
		{`{"name":"a","description":{"x":1,"x":2}}`, 422, []string{at(`["body"]`, "json_invalid"), "given twice"}},
		{`{"name":"a","expires_at":"2999-01-01T00:00:00"}`, 422, []string{at(`["body","expires_at"]`, "timezone_aware"), "end it with Z for UTC"}},
		{`{"name":"a","expires_at":"2999-01-01"}`, 422, []string{at(`["body","expires_at"]`, "datetime_parsing"), "2026-03-01T09:30:00Z"}},
		{`{"name":"a","rate_limit_override":60.0}`, 200, []string{`"rate_limit_override":60,`}},
		{`{"name":"a","rate_limit_override":6e1}`, 200, []string{`"rate_limit_override":60,`}},
		{`{"name":"a","rate_limit_override":60.5}`, 422, []string{at(`["body","rate_limit_override"]`, "int_type")}},
		{`{"name":"a","rate_limit_override":true}`, 422, []string{at(`["body","rate_limit_override"]`, "int_type")}},
		{`{"name":"a","rate_limit_override":1e999999999}`, 422, []string{at(`["body","rate_limit_override"]`, "int_type")}},
		{`{"name":"a","expiresAt":"SECRET","Name":1,"ALLOWED-ORIGINS":[],"more":null}`, 422, []string{
			at(`["body","expiresAt"]`, "extra_forbidden"), "Did you mean expires_at?", at(`["body","Name"]`, "extra_forbidden"), "Did you mean name?",
			at(`["body"]`, "extra_forbidden"), "Did you mean allowed_origins?",
			at(`["body","more"]`, "extra_forbidden"), "the members are name, description, expires_at, allowed_origins, rate_limit_override",
		}},
		{`{"permissions":["admin"]}`, 422, []string{at(`["body","name"]`, "missing"), at(`["body","permissions"]`, "extra_forbidden")}},
		{`{"name":"a","SECRET of a person":1,"ret_sk_SECRET":2,"` + strings.Repeat("SECRET", 8) + `":3}`, 422, []string{at(`["body"]`, "extra_forbidden")}},
		{`{"name":""}`, 422, []string{at(`["body","name"]`, "value_error"), "name must have"}},
		{`{"name":"a","expires_at":"2020-01-01T00:00:00Z"}`, 422, []string{at(`["body","expires_at"]`, "value_error"), "expires_at must be in the future"}},
		{`{"name":"a","allowed_origins":["SECRET"]}`, 422, []string{at(`["body","allowed_origins"]`, "value_error")}},
		{`{"name":"a","rate_limit_override":0}`, 422, []string{at(`["body","rate_limit_override"]`, "value_error"), "rate_limit_override must be"}},
		{`{"name":"a","rate_limit_override":99999999999}`, 422, []string{at(`["body","rate_limit_override"]`, "int_type")}},
		{`{"name":"` + strings.Repeat("a", 1000) + `"}`, 413, []string{`"status":413`}},
	} {
		status, _, body := ask(t, http.MethodPost, url, c.body)
		if status != c.status || strings.Contains(body, "SECRET") {
			t.Errorf("%s: %d %s", c.body, status, body)
		}
		for _, want := range c.want {
			before, after, _ := strings.Cut(want, "*")
			if i := strings.Index(body, before); i < 0 || !strings.Contains(body[i:], after) {
				t.Errorf("%s: nothing about %s in %s", c.body, want, body)
			}
		}
	}
	for _, headers := range [][]string{{"Content-Type", "text/plain"}, {"Content-Type", "application/json; charset=utf-16"}, {"Content-Type", "application/json", "Content-Encoding", "gzip"}} {
		if status, _, body := ask(t, http.MethodPost, url, `{"name":"a"}`, headers...); status != http.StatusUnsupportedMediaType || !strings.Contains(body, `"success":false`) {
			t.Errorf("%v: %d %s", headers, status, body)
		}
	}
}

// Validation errors are in both of the vendor's formats, because its older clients read one and its newer clients the other. A client that finds
// neither cannot show its user what is wrong.
func TestValidationErrorsAreInBothFormats(t *testing.T) {
	url := served(t, &shelf{}) + keysURL
	status, _, body := ask(t, http.MethodPost, url, `{"allowed_origins":[1],"expiresAt":"2999-01-01T00:00:00Z"}`)
	want := `{"success":false,"status":422,"error":{"message":"body.name: Field required (and 2 more)","type":"ValidationError","details":{"validation_errors":[` +
		`{"type":"missing","location":["body","name"],"message":"Field required"},` +
		`{"type":"string_type","location":["body","allowed_origins",0],"message":"Input should be a valid string"},` +
		`{"type":"extra_forbidden","location":["body","expiresAt"],"message":"Extra inputs are not permitted. Did you mean expires_at?"}]}},` +
		`"detail":[{"loc":["body","name"],"msg":"Field required","type":"missing"},` +
		`{"loc":["body","allowed_origins",0],"msg":"Input should be a valid string","type":"string_type"},` +
		`{"loc":["body","expiresAt"],"msg":"Extra inputs are not permitted. Did you mean expires_at?","type":"extra_forbidden"}]}` + "\n"
	if status != http.StatusUnprocessableEntity || body != want {
		t.Errorf("%d\n%s\nwant\n%s", status, body, want)
	}
	// A small body must not cause a large response.
	var many strings.Builder
	for i := range 100 {
		fmt.Fprintf(&many, `"m%d":1,`, i)
	}
	_, _, body = ask(t, http.MethodPost, url, `{`+many.String()+`"name":"a"}`)
	if got := strings.Count(body, "extra_forbidden"); got != 2*mostExtra {
		t.Errorf("%d of 100 members are named, want %d: %s", got/2, mostExtra, body)
	}
}

// A body is accepted only if every decoder reads the same values from it, and then those values are the key's settings. Without this, a
// duplicate member or half of a surrogate pair, at any depth, lets two readers of one body see two different keys.
func FuzzCreateBody(f *testing.F) {
	f.Add(`{"name":"a","expires_at":"2999-01-01T00:00:00Z","allowed_origins":["https://a.example"],"rate_limit_override":7}`)
	f.Add(`{"name":"a","name":{}}`)
	f.Add(`{"n\u0061me":"a\ud800","description":null,"expires_at":"2030-01-01T00:00:00,5+24:00","allowed_origins":[null]}`)
	f.Add(`{"NAME":"a","name":"a","name":"b"}`)
	f.Add(`{"name":"a","description":{"x":1,"x":2}}`)
	f.Add(`{"name":"\ud800"}`)
	f.Add(`{"name":"\ud83d\udd11","description":"\\ud800"}`)
	f.Add(`{"name":"a","allowed_origins":["\udc00"]}`)
	f.Add(`{"name":"a","rate_limit_override":-0e0}`)
	f.Add(`[1e999]`)
	f.Add(`{"name":"a","rate_limit_override":60.0}`)
	f.Add(`{"name":"a","expiresAt":"2999-01-01T00:00:00Z"}`)
	f.Add("\ufeff" + `{"name":"a"}`)
	f.Fuzz(func(t *testing.T, body string) {
		got, err := createBody(&http.Request{Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))})
		if wrong, ok := errors.AsType[invalids](err); err != nil && (!ok || len(wrong) == 0) {
			t.Fatalf("%q: %v", body, err)
		}
		body = strings.TrimPrefix(body, "\ufeff")
		all := map[string]json.RawMessage{}
		good := utf8.ValidString(body) && json.Unmarshal([]byte(body), &all) == nil && all["name"] != nil && wire.Unambiguous([]byte(body)) == nil
		if !good {
			if err == nil {
				t.Errorf("%q passes", body)
			}
			return
		}
		var want struct {
			Name, Description *string
			ExpiresAt         *time.Time
			AllowedOrigins    []*string
			RateLimitOverride *float64
		}
		for name, to := range map[string]any{
			"name": &want.Name, "description": &want.Description, "expires_at": &want.ExpiresAt, "allowed_origins": &want.AllowedOrigins,
			"rate_limit_override": &want.RateLimitOverride,
		} {
			if value, given := all[name]; given && json.Unmarshal(value, to) != nil {
				good = false
			}
		}
		good = good && want.Name != nil && !slices.Contains(want.AllowedOrigins, nil)
		for name := range all {
			good = good && slices.ContainsFunc(bodyFields, func(f bodyField) bool { return f.name == name })
		}
		if limit, given := all["rate_limit_override"]; given && want.RateLimitOverride != nil { // a float64 holds whole numbers of 32 bits, and rounds others
			_, whole := wire.WholeNumber(json.Number(bytes.TrimSpace(limit)))
			good = good && whole && math.Abs(*want.RateLimitOverride) <= 1<<31 && *want.RateLimitOverride != 1<<31
		}
		if want.ExpiresAt != nil { // encoding/json accepts more
			var text string
			_ = json.Unmarshal(all["expires_at"], &text)
			_, ok := apikey.ParseDate(text)
			good = good && ok
		}
		if !good {
			if err == nil {
				t.Errorf("%q passes as %+v", body, got)
			}
			return
		}
		if err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		same := *got.Name.Value == *want.Name && valueOf(got.Description) == deref(want.Description) && valueOf(got.ExpiresAt).Equal(deref(want.ExpiresAt)) &&
			valueOf(got.RateLimitOverride) == int(deref(want.RateLimitOverride)) &&
			slices.EqualFunc(valueOf(got.AllowedOrigins), want.AllowedOrigins, func(a string, b *string) bool { return a == *b })
		if !same {
			t.Errorf("%q: %+v, not %+v", body, got, want)
		}
	})
}

func valueOf[T any](o apikey.Optional[T]) T { return deref(o.Value) }

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
