package operation

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"retrieverkeys/apikey"
)

// Texts that clients send must not fill the memory, however long they are.
func TestACacheIsBoundedByItsTexts(t *testing.T) {
	ctx := apikey.WithCaller(t.Context(), apikey.Caller{Key: &apikey.Key{Type: apikey.Standard}})
	c := newCache(known, nil, func(text string, _ int) int { return len(text) })
	key := func(i int) string { return strconv.Itoa(i) + strings.Repeat(" ", cacheBytes/10) }
	for i := range 12 {
		c.Add(ctx, key(i), i)
	}
	for i := range 12 {
		value, kept := c.Get(ctx, key(i))
		if want := i >= 3; kept != want || kept && value != i {
			t.Errorf("text %d: kept %t, value %d", i, kept, value)
		}
	}
	c.Get(ctx, key(3)) // now text 4 is the least recently used
	c.Add(ctx, key(12), 12)
	if _, kept := c.Get(ctx, key(3)); !kept {
		t.Error("the text that was used last was evicted")
	}
	if _, kept := c.Get(ctx, key(4)); kept {
		t.Error("the text that was not used was kept")
	}

	c.Add(ctx, strings.Repeat("x", cacheBytes+1), 1)
	for range 100 {
		c.Add(ctx, key(12), 13)
	}
	if value, _ := c.Get(ctx, key(12)); value != 12 || c.items.Len() != 9 {
		t.Errorf("got value %d and %d texts, want 12 and 9", value, c.items.Len())
	}
}

// unknown are callers who count as unknown. Retriever keys are in web pages, and a key whose type cannot be read may be one.
var unknown = map[string]apikey.Caller{
	"an anonymous caller":                       {},
	"a caller with a retriever's key":           {Key: &apikey.Key{Type: apikey.RetrieverKey, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Admin}}},
	"a caller with a key of an unreadable type": {Key: &apikey.Key{Type: apikey.UnreadableType, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Admin}}},
}

// Unknown callers must not evict what others use, and their texts must not be kept.
func TestACacheKeepsNothingForTheUnknown(t *testing.T) {
	for name, caller := range unknown {
		ctx := apikey.WithCaller(t.Context(), caller)
		c := newCache(known, nil, func(text string, _ int) int { return len(text) })
		c.Add(ctx, "text", 1)
		if _, kept := c.Get(ctx, "text"); kept {
			t.Errorf("%s: the text was kept", name)
		}
		p := NewParser(configured(limits), nil)
		for range 3 {
			if _, errs := p.Parse(ctx, someText); errs != nil {
				t.Fatal(errs)
			}
		}
		if p.cache.items.Len() > 0 || p.cache.once.last.Len() > 0 {
			t.Errorf("%s: got %d documents kept and %d texts remembered", name, p.cache.items.Len(), p.cache.once.last.Len())
		}
	}
}

// Many texts are sent only once, because they contain ids. They must not evict texts that are sent again.
func TestWhatComesOnceIsNotKept(t *testing.T) {
	ctx := apikey.WithCaller(t.Context(), apikey.Caller{Key: &apikey.Key{Type: apikey.Standard}})
	p := NewParser(configured(limits), nil)
	come := func(text string) bool {
		t.Helper()
		if _, errs := p.Parse(ctx, text); errs != nil {
			t.Fatal(errs)
		}
		_, kept := p.cache.Get(ctx, text)
		return kept
	}
	const often = "{ viewer { keyId } }"
	for time, want := range []bool{false, true, true} {
		if kept := come(often); kept != want {
			t.Errorf("sent %d times: kept %t", time+1, kept)
		}
	}
	for i := range 2_000 {
		if come(fmt.Sprintf(`{ retriever(id: "ret_%d") { name } }`, i)) {
			t.Errorf("text %d was kept", i)
		}
	}
	if _, kept := p.cache.Get(ctx, often); !kept || p.cache.items.Len() != 1 {
		t.Errorf("the text that was sent again: kept %t, of %d texts", kept, p.cache.items.Len())
	}
}
