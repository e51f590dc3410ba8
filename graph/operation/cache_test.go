package operation

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"retrieverkeys/apikey"
)

// What clients send must not use up the memory, however long it is.
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
	c.Get(ctx, key(3)) // used again, so that another has to go
	c.Add(ctx, key(12), 12)
	if _, kept := c.Get(ctx, key(3)); !kept {
		t.Error("what was used last is gone")
	}
	if _, kept := c.Get(ctx, key(4)); kept {
		t.Error("what was not used is kept")
	}

	c.Add(ctx, strings.Repeat("x", cacheBytes+1), 1)
	for range 100 {
		c.Add(ctx, key(12), 13)
	}
	if value, _ := c.Get(ctx, key(12)); value != 12 || c.items.Len() != 9 {
		t.Errorf("value %d, %d texts", value, c.items.Len())
	}
}

// unknown are callers who count as nobody here: keys of retrievers stand in web pages, and one whose type cannot be read may be
// such a key.
var unknown = map[string]apikey.Caller{
	"nobody":                    {},
	"who has a retriever's key": {Key: &apikey.Key{Type: apikey.RetrieverKey, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Admin}}},
	"who has an unreadable key": {Key: &apikey.Key{Type: apikey.UnreadableType, InternalID: "int_1", Permissions: []apikey.Permission{apikey.Admin}}},
}

// Who is not known here must not push out what others use, nor have their texts remembered.
func TestACacheKeepsNothingForTheUnknown(t *testing.T) {
	for name, caller := range unknown {
		ctx := apikey.WithCaller(t.Context(), caller)
		c := newCache(known, nil, func(text string, _ int) int { return len(text) })
		c.Add(ctx, "text", 1)
		if _, kept := c.Get(ctx, "text"); kept {
			t.Errorf("%s: it is kept", name)
		}
		p := NewParser(configured(limits), nil)
		for range 3 {
			if _, errs := p.Parse(ctx, someText); errs != nil {
				t.Fatal(errs)
			}
		}
		if p.cache.items.Len() > 0 || p.cache.once.last.Len() > 0 {
			t.Errorf("%s: %d documents are kept, and %d texts are remembered", name, p.cache.items.Len(), p.cache.once.last.Len())
		}
	}
}

// Many texts come once and never again, because ids are written into them: they must not push out what comes again.
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
			t.Errorf("kept when it has come %d times: %t", time+1, kept)
		}
	}
	for i := range 2_000 {
		if come(fmt.Sprintf(`{ retriever(id: "ret_%d") { name } }`, i)) {
			t.Errorf("text %d is kept", i)
		}
	}
	if _, kept := p.cache.Get(ctx, often); !kept || p.cache.items.Len() != 1 {
		t.Errorf("what comes often is kept: %t, among %d", kept, p.cache.items.Len())
	}
}
