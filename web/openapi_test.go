package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
)

// The document matches the code: the same routes and fields, and a description of every status.
func TestOpenAPIDocument(t *testing.T) {
	url := served(t, &shelf{keys: 1})
	status, header, body := ask(t, http.MethodGet, url+"/openapi.json", "", "Authorization", "", "X-Namespace", "")
	if status != http.StatusOK || header.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Fatal(status, header)
	}
	type schema struct {
		Properties map[string]any
		Required   []string
	}
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]json.RawMessage
		Components struct{ Schemas map[string]schema }
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil || doc.OpenAPI != "3.1.0" {
		t.Fatal(err, doc.OpenAPI)
	}
	statuses := func(path, method string) []string {
		var operation struct{ Responses map[string]any }
		if err := json.Unmarshal(doc.Paths[path][method], &operation); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		var all []string
		for status := range operation.Responses {
			all = append(all, status)
		}
		slices.Sort(all)
		return all
	}
	one := keysPath + "/{key_id}"
	for _, c := range []struct{ path, method, want string }{
		{keysPath, "get", "[200 400 401 403 404 422 429 500 503]"},
		{keysPath, "post", "[200 400 401 403 404 413 415 422 429 500 503]"},
		{one, "delete", "[200 400 401 403 404 409 429 500 503]"},
		{namedPath, "get", "[200 401 403 429 503]"},
		{leaksPath, "post", "[200 400 401 404 413 429 500 503]"},
		{authorizePath, "get", "[200 401 403 429 503]"},
		{authorizePath + "/{original_path}", "get", "[200 401 403 429 503]"},
		{feedPath, "get", "[200 400 401 403 410 429 500 503]"},
	} {
		if got := fmt.Sprint(statuses(c.path, c.method)); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.method, c.path, got, c.want)
		}
	}
	same := func(name string, v any, more ...string) {
		t.Helper()
		object, ok := v.(map[string]any)
		if !ok {
			t.Fatalf("%s is %v", name, v)
		}
		var got []string
		for field := range object {
			got = append(got, field)
		}
		want := slices.Concat(doc.Components.Schemas[name].Required, more)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) || len(doc.Components.Schemas[name].Properties)+len(more) != len(got) {
			t.Errorf("%s has %v, the document says %v", name, got, want)
		}
	}
	answer := func(method, path, body string) (v map[string]any) {
		_, _, text := ask(t, method, url+path, body)
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	list := answer(http.MethodGet, keysURL, "")
	same("KeyList", list)
	results, _ := list["results"].([]any)
	same("Key", results[0])
	key, _ := results[0].(map[string]any)
	scopes, _ := key["scopes"].([]any)
	same("Scope", scopes[0])
	same("Key", answer(http.MethodPost, keysURL, `{"name":"a"}`), "key")
	same("Done", answer(http.MethodDelete, keysURL+"/key_1", ""))
	same("ErrorResponse", answer(http.MethodDelete, keysURL+"/none", ""))
	same("InvalidRequest", answer(http.MethodPost, keysURL, ""))
	events := newTrail(1)
	_, _, line := ask(t, http.MethodGet, servedOn(t, events, &events.shelf)+feedPath, "")
	var event map[string]any
	if err := json.Unmarshal([]byte(line), &event); err != nil {
		t.Fatal(err)
	}
	same("AuditEvent", event)
	changes, _ := event["changes"].([]any)
	same("AuditChange", changes[0])
	var settings []string
	for _, f := range bodyFields {
		settings = append(settings, f.name)
	}
	for field := range doc.Components.Schemas["CreateKey"].Properties {
		if !slices.Contains(settings, field) {
			t.Errorf("%s is in the document, but is not read", field)
		}
	}
	if len(settings) != len(doc.Components.Schemas["CreateKey"].Properties) {
		t.Errorf("the document lacks some of %v", settings)
	}
}
