package operation

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"retrieverkeys/apikey"
)

const (
	someText = `{ viewer { keyId } }`
	someHash = "7b0e79a1e73b55e3d70ca0bd93afb1ed8d0a4c6ab8e4e7ce6a9d6b6f5cbd0e5b" // not the hash of someText
)

func TestReadManifest(t *testing.T) {
	for _, c := range []struct {
		name, text string
		ids        string   // of a valid manifest
		problems   []string // of an invalid manifest
	}{
		{"Apollo's", `{"format":"apollo-persisted-query-manifest","version":1,"operations":[
			{"id":"1","name":"A","type":"query","body":"query A { viewer { keyId } }"}, {"id":"2","name":"B","type":"query","body":"query B { serverInfo { version } }"}]}`, "1 2", nil},
		{"graphql-codegen's", `{"abc":"query A { viewer { keyId } }","def":"{ serverInfo { version } }"}`, "abc def", nil},
		{"with the algorithm's name", `{"sha256:abc":"{ serverInfo { version } }"}`, "abc", nil},
		{"a hash in upper case", `{"` + strings.ToUpper(someHash) + `":"{ serverInfo { version } }"}`, someHash, nil},
		{"a hash in upper case with the algorithm's name", `{"SHA256:` + strings.ToUpper(someHash) + `":"{ serverInfo { version } }"}`, someHash, nil},
		{"a hash in two cases", `{"` + someHash + `":"{ viewer { keyId } }","` + strings.ToUpper(someHash) + `":"{ viewer { userId } }"}`, "", []string{someHash}},
		{"a hash in two cases for one text", `{"` + someHash + `":"{ viewer { keyId } }","Sha256:` + strings.ToUpper(someHash) + `":"{ viewer { keyId } }"}`, someHash, nil},
		{"ids that are not hashes are unchanged", `{"ABC":"{ viewer { keyId } }","abc":"{ viewer { userId } }","SHA256:abc":"{ serverInfo { version } }","` + strings.ToUpper(someHash) + `F":"{ __typename }"}`,
			strings.ToUpper(someHash) + "F ABC SHA256:abc abc", nil},
		{"with a byte order mark", "\ufeff" + `{"abc":"{ serverInfo { version } }"}`, "abc", nil},
		{"in UTF-16", "\xfe\xff\x00{\x00}", "", []string{"is in UTF-16: save it as UTF-8"}},
		{"in UTF-32", "\xff\xfe\x00\x00{\x00\x00\x00}\x00\x00\x00", "", []string{"is in UTF-32: save it as UTF-8"}},
		{"in UTF-16 without a mark", "{\x00}\x00", "", []string{"is in UTF-16: save it as UTF-8"}},
		{"an unknown format", `{"format":"other","version":1}`, "", []string{`"other"`}},
		{"a later version", `{"format":"apollo-persisted-query-manifest","version":2,"operations":[]}`, "", []string{"version 2"}},
		{"one id for two operations", `{"format":"apollo-persisted-query-manifest","version":1,"operations":[{"id":"1","body":"{ viewer { keyId } }"},{"id":"1","body":"{ viewer { userId } }"}]}`, "", []string{`two operations with the id "1"`}},
		{"no id", `{"":"{ viewer { keyId } }"}`, "", []string{`the id ""`}},
		{"one hash in two forms", `{"sha256:abc":"{ viewer { keyId } }","abc":"{ viewer { userId } }"}`, "", []string{`"sha256:abc"`}},
		{"an operation over the limits", `{"abc":"{ retrievers(first: 1000) { results { ` + strings.Repeat("namespace { retrievers { results { ", 5) + "id" + strings.Repeat("} } }", 5) + ` } } }"}`, "", []string{"MAX_DEPTH"}},
		{"empty", `{}`, "", []string{"no operations"}},
		{"a list", `["{ viewer { keyId } }"]`, "", []string{"neither"}},
		{"no JSON", `query A { viewer { keyId } }`, "", []string{"neither"}},
		{"operations that are not the schema's", `{"abc":"{ nobody }","def":"{ viewer { keyId } }","ghi":"{"}`, "", []string{`"abc"`, `"ghi"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, errs := ReadManifest(t.Context(), []byte(c.text), configured(limits))
			if len(errs) != len(c.problems) {
				t.Fatalf("problems: %v", errs)
			}
			for i, want := range c.problems {
				if !strings.Contains(errs[i].Error(), want) {
					t.Errorf("%q is not about %s", errs[i], want)
				}
			}
			if ids := strings.Join(slices.Sorted(maps.Keys(m)), " "); errs == nil && ids != c.ids {
				t.Errorf("ids %q", ids)
			}
		})
	}
}

// extension returns the extension with which Apollo's clients send an id.
func extension(hash any) map[string]any {
	return map[string]any{"persistedQuery": map[string]any{"version": json.Number("1"), "sha256Hash": hash}}
}

func ask(documentID, text string, extensions map[string]any) *Request {
	return &Request{DocumentID: documentID, Query: text, Extensions: extensions}
}

func TestDocumentsAreFoundById(t *testing.T) {
	somebody := apikey.WithCaller(t.Context(), apikey.Caller{Key: &apikey.Key{Type: apikey.Standard}})
	manifest := Manifest{"one": `query One { viewer { keyId } }`, someHash: `query Hashed { viewer { keyId } }`}
	upper := strings.ToUpper(Hash(someText))
	for _, c := range []struct {
		name string
		only bool
		sent []*Request // sent before, by a known caller
		ask  *Request
		text string
		code string
	}{
		{name: "a text", ask: ask("", someText, nil), text: someText},
		{name: "nothing", ask: ask("", "", nil), code: BadUserInput},
		{name: "an id of the manifest", ask: ask("one", "", nil), text: manifest["one"]},
		{name: "an id of the manifest as an extension", ask: ask("", "", extension("one")), text: manifest["one"]},
		{name: "an id of the manifest with its text", ask: ask("", manifest["one"], extension("one")), text: manifest["one"]},
		{name: "an id of the manifest with another text", ask: ask("", someText, extension("one")), code: BadUserInput},
		{name: "an id of the manifest with the algorithm's name", ask: ask("", "", extension("sha256:one")), text: manifest["one"]},
		{name: "an unknown id", ask: ask("two", "", nil), code: NotFound},
		{name: "an unknown hash", ask: ask("", "", extension(Hash(someText))), code: NotFound},
		{name: "a hash with its text", ask: ask("", someText, extension(Hash(someText))), text: someText},
		{name: "a hash with another text", ask: ask("", someText, extension(someHash)), code: BadUserInput},
		{name: "a hash sent before", sent: []*Request{ask("", someText, extension(Hash(someText)))}, ask: ask("", "", extension(Hash(someText))), text: someText},
		{name: "a hash sent before as documentId", sent: []*Request{ask("", someText, extension(Hash(someText)))}, ask: ask("sha256:"+Hash(someText), "", nil), text: someText},
		{name: "a text sent before without its hash", sent: []*Request{ask("", someText, nil)}, ask: ask("", "", extension(Hash(someText))), code: NotFound},
		{name: "a hash in upper case with its text", ask: ask("", someText, extension(upper)), text: someText},
		{name: "a hash in upper case with the algorithm's name", ask: ask("", someText, extension("SHA256:"+upper)), text: someText},
		{name: "a hash in upper case with another text", ask: ask("", manifest["one"], extension(upper)), code: BadUserInput},
		{name: "a hash sent before in upper case", sent: []*Request{ask("", someText, extension(upper))}, ask: ask("", "", extension(Hash(someText))), text: someText},
		{name: "a hash sent before in lower case", sent: []*Request{ask("", someText, extension(Hash(someText)))}, ask: ask("", "", extension(upper)), text: someText},
		{name: "a hash sent before in lower case as documentId", sent: []*Request{ask("", someText, extension(Hash(someText)))}, ask: ask("Sha256:"+upper, "", nil), text: someText},
		{name: "a hash of the manifest in upper case", ask: ask(strings.ToUpper(someHash), "", nil), text: manifest[someHash]},
		{name: "an id of the manifest in another case", ask: ask("ONE", "", nil), code: NotFound},
		{name: "an extension that is null", ask: ask("", someText, map[string]any{"persistedQuery": nil}), text: someText},
		{name: "an extension that is null beside a documentId", ask: ask("one", "", map[string]any{"persistedQuery": nil}), text: manifest["one"]},
		{name: "an extension that is null, and nothing else", ask: ask("", "", map[string]any{"persistedQuery": nil}), code: BadUserInput},
		{name: "a version with a fraction", ask: ask("", someText, map[string]any{"persistedQuery": map[string]any{"version": json.Number("1.0"), "sha256Hash": Hash(someText)}}), text: someText},
		{name: "a hash that is not a string", ask: ask("", "", extension(1)), code: BadUserInput},
		{name: "an extension that is not an object", ask: ask("", "", map[string]any{"persistedQuery": "one"}), code: BadUserInput},
		{name: "another version", ask: ask("", "", map[string]any{"persistedQuery": map[string]any{"version": json.Number("2"), "sha256Hash": "one"}}), code: BadUserInput},
		{name: "a documentId with a text", ask: ask("one", manifest["one"], nil), code: BadUserInput},
		{name: "two ids", ask: ask("one", "", extension("one")), code: BadUserInput},

		{name: "only the manifest: its text", only: true, ask: ask("", manifest["one"], nil), text: manifest["one"]},
		{name: "only the manifest: its id", only: true, ask: ask("one", "", nil), text: manifest["one"]},
		{name: "only the manifest: its text with its hash", only: true, ask: ask("", manifest["one"], extension(Hash(manifest["one"]))), text: manifest["one"]},
		{name: "only the manifest: another text", only: true, ask: ask("", someText, nil), code: Forbidden},
		{name: "only the manifest: another text with its hash", only: true, ask: ask("", someText, extension(Hash(someText))), code: Forbidden},
		{name: "only the manifest: another hash", only: true, sent: []*Request{ask("", someText, extension(Hash(someText)))}, ask: ask("", "", extension(Hash(someText))), code: NotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := NewPersisted(configured(limits), manifest, c.only, nil)
			for _, r := range c.sent {
				if err := d.Complete(somebody, r); err != nil && !c.only {
					t.Fatal(err)
				}
			}
			err := d.Complete(somebody, c.ask)
			if err == nil && (c.code != "" || c.ask.Query != c.text) {
				t.Errorf("got the text %q", c.ask.Query)
			}
			if err != nil && err.Code != c.code {
				t.Errorf("%s: %s", err.Code, err)
			}
		})
	}
}

// Registered operations belong to one organization. Otherwise anyone could try hashes to find out what its apps can do.
func TestRegisteredTextsAreAnOrganizationsOwn(t *testing.T) {
	of := func(tenant apikey.InternalID) context.Context {
		return apikey.WithCaller(t.Context(), apikey.Caller{Key: &apikey.Key{Type: apikey.Standard, InternalID: tenant}})
	}
	found := func(d *Persisted, ctx context.Context, r *Request) bool {
		t.Helper()
		err := d.Complete(ctx, r)
		if err != nil && (err.Code != NotFound || err.Message != "PersistedQueryNotFound") {
			t.Errorf("%s: %s", err.Code, err)
		}
		return err == nil
	}
	hash := Hash(someText)
	ways := map[string]func() *Request{
		"an extension": func() *Request { return ask("", "", extension(hash)) },
		"a documentId": func() *Request { return ask(hash, "", nil) },
	}
	manifest := Manifest{"one": `query One { viewer { keyId } }`}
	d := NewPersisted(configured(limits), manifest, false, nil)
	for name, caller := range unknown {
		ctx := apikey.WithCaller(t.Context(), caller)
		if !found(d, ctx, ask("", someText, extension(hash))) {
			t.Errorf("%s: the text does not run", name)
		}
		if d.sent.items.Len() > 0 {
			t.Errorf("%s: the text is registered", name)
		}
	}
	if !found(d, of("int_1"), ask("", someText, extension(hash))) {
		t.Error("the text does not run")
	}
	for way, r := range ways {
		if !found(d, of("int_1"), r()) {
			t.Errorf("by %s: another caller of the organization does not find it", way)
		}
		if found(d, of("int_2"), r()) {
			t.Errorf("by %s: another organization finds it", way)
		}
		for name, caller := range unknown {
			ctx := apikey.WithCaller(t.Context(), caller)
			if found(d, ctx, r()) {
				t.Errorf("by %s: found by %s", way, name)
			}
			if !found(d, ctx, ask("one", "", nil)) || !found(d, ctx, ask("", "", extension("one"))) {
				t.Errorf("%s does not find the operation of the manifest", name)
			}
		}
	}
	if !found(d, of("int_2"), ask("", someText, extension(hash))) || !found(d, of("int_2"), ask("", "", extension(hash))) {
		t.Error("another organization cannot register the same text")
	}
	// A made-up id must not find a text of another organization.
	if found(d, of("int"), ask("_1\x00"+hash, "", nil)) || found(d, of(""), ask("int_1\x00"+hash, "", nil)) {
		t.Error("a made-up id finds the text")
	}
}

// A key in an operation's text must not stay in the server's memory, and the text must not get an id by which others could request it.
func TestTextsWithAKeyAreNotKept(t *testing.T) {
	_, secret := apikey.NewAdminKey(apikey.Namespace{}, "", "", "", time.Now())
	ctx := apikey.WithCaller(t.Context(), apikey.Caller{Key: &apikey.Key{Type: apikey.Standard}})
	for text, kept := range map[string]bool{
		`{ retriever(id: "x") { apiKeys(filter: {search: "` + secret.Reveal() + `"}) { total } } }`:      false,
		`{ retriever(id: "x") { apiKeys(filter: {search: "` + secret.Reveal()[:20] + `"}) { total } } }`: true,
		`{ retriever(id: "\u0073\u006b_` + secret.Reveal()[3:] + `") { id } }`:                           false,
		"{ viewer { keyId } } # " + secret.Reveal():                                                      false,
	} {
		d, p := NewPersisted(configured(limits), nil, false, nil), NewParser(configured(limits), nil)
		for range 3 { // a text is cached from its second time on
			if err := d.Complete(ctx, ask("", text, extension(Hash(text)))); err != nil {
				t.Fatal(err)
			}
			if _, errs := p.Parse(ctx, text); errs != nil {
				t.Fatal(errs)
			}
		}
		_, parsed := p.cache.Get(ctx, text)
		if err := d.Complete(ctx, ask("", "", extension(Hash(text)))); (err == nil) != kept || parsed != kept {
			t.Errorf("%q: registered: %v; cached: %t, want %t", apikey.HideKeys(text), err == nil, parsed, kept)
		}
	}
	manifest := `{"abc":"{ retriever(id: \"` + secret.Reveal() + `\") { id } }"}`
	if _, errs := ReadManifest(t.Context(), []byte(manifest), configured(limits)); len(errs) != 1 || !strings.Contains(errs[0].Error(), "contains an API key") || strings.Contains(errs[0].Error(), secret.Reveal()) {
		t.Errorf("a manifest with a key: %v", errs)
	}
}
