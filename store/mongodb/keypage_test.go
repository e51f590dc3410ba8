package mongodb

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// oddDocuments returns keys with all kinds of dates, many of them equal, and some without a usable key_id or hash. It
// also returns those that lists show, in the order of their list.
func oddDocuments(t *testing.T) (docs []bson.D, listed []apikey.Key, unlisted []apikey.ID) {
	objectID := bson.ObjectID{0x61}
	dates := []any{
		aTime, aTime, aTime.Add(time.Hour), nil, "missing", "2026", int32(7), true, bson.Timestamp{T: 1 << 30}, objectID,
		bson.D{{Key: "date", Value: aTime}}, document.MaxTime, document.MaxTime.Add(time.Millisecond),
		document.MinTime, document.MinTime.Add(-time.Millisecond), bson.A{},
	}
	for i, date := range dates {
		for j, id := range []any{"key", "Key", "missing", "object id", "", int32(7), nil} {
			d := bson.D{{Key: "_id", Value: fmt.Sprintf("Legacy %d %d", j, i)}}
			switch id {
			case "key", "Key":
				d = append(d, bson.E{Key: "key_id", Value: fmt.Sprintf("%s %d", id, i)})
			case "object id":
				objectID[1], objectID[2] = byte(i*77), byte(i)
				d[0].Value = objectID
			case "missing":
			default:
				d = append(d, bson.E{Key: "key_id", Value: id})
			}
			if j > 1 && i%3 > 0 {
				continue // fewer are enough
			}
			if date != "missing" {
				d = append(d, bson.E{Key: "created_at", Value: date})
			}
			d = append(d, bson.D{
				{Key: "key_hash", Value: fmt.Sprintf("hash %d %d", j, i)}, {Key: "internal_id", Value: "int_1"},
				{Key: "scopes", Value: bson.D{{Key: "resource_type", Value: "retriever"}, {Key: "resource_id", Value: "ret_1"}}},
			}...)
			docs = append(docs, d)
			raw, err := bson.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			k, ok := document.Key(raw, apikey.FieldCreatedAt)
			if !ok {
				t.Fatalf("%v is unusable", d)
			}
			if j > 1 {
				unlisted = append(unlisted, k.ID)
				continue
			}
			listed = append(listed, k)
		}
	}
	slices.SortFunc(listed, func(a, b apikey.Key) int {
		when := func(k apikey.Key) int64 {
			if k.CreatedAt == nil {
				return document.MinTime.UnixMilli() - 1
			}
			return k.CreatedAt.UnixMilli()
		}
		if when(a) != when(b) {
			return int(max(-1, min(1, when(b)-when(a))))
		}
		return strings.Compare(string(b.ID), string(a.ID))
	})
	return docs, listed, unlisted
}

func position(k apikey.Key) apikey.KeyPosition {
	return apikey.KeyPosition{At: k.CreatedAt, ID: k.ID}
}

// Keys with odd dates must have a place in the list, and keys without a key_id none. A client that pages through them,
// with pages of any size and from either end, must meet each once and in order. MongoDB's own order has other places
// for them.
func TestOddPages(t *testing.T) {
	s, _ := dropped(t, testURI)
	docs, want, unlisted := oddDocuments(t)
	for _, d := range docs {
		insert(t, s, document.Keys, d)
	}
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{5, 23, len(want) - 1, len(want), 1000} {
		for _, fromEnd := range []bool{false, true} {
			var got []apikey.Key
			r := apikey.KeyList{Limit: size, FromEnd: fromEnd, Fields: apikey.FieldCreatedAt}
			for {
				page := onePage(t, s, r)
				if len(page) == 0 {
					break
				}
				if at := position(page[0]); fromEnd {
					r.Before = &at
					got = append(page, got...)
					continue
				}
				at := position(page[len(page)-1])
				r.After = &at
				got = append(got, page...)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("pages of %d, from the end %t: (-want +got)\n%s", size, fromEnd, diff)
			}
		}
	}
	// Ranges between any two of them.
	for i := 0; i < len(want); i += 5 {
		for j := i; j < len(want); j += 7 {
			after, before := position(want[i]), position(want[j])
			for _, fromEnd := range []bool{false, true} {
				r := apikey.KeyList{After: &after, Before: &before, FromEnd: fromEnd, Limit: 3, Fields: apikey.FieldCreatedAt}
				between := want[min(i+1, j):j]
				if len(between) > 3 && fromEnd {
					between = between[len(between)-3:]
				}
				if diff := cmp.Diff(idsOf(between[:min(3, len(between))]), idsOf(onePage(t, s, r))); diff != "" {
					t.Fatalf("between %+v and %+v, from the end %t: (-want +got)\n%s", after, before, fromEnd, diff)
				}
			}
		}
	}
	if n, err := s.CountKeys(t.Context(), "int_1", apikey.KeyConditions{}.Of("ret_1")); err != nil || n != len(want) {
		t.Errorf("CountKeys = %d, %v, want %d", n, err, len(want))
	}
	ids := unlisted
	for _, k := range want {
		ids = append(ids, k.ID)
	}
	if found, err := s.Keys(t.Context(), "int_1", ids, 0); err != nil || len(found) != len(ids) {
		t.Errorf("Keys found %d, %v, want %d", len(found), err, len(ids))
	}
}

func onePage(t *testing.T, s *Store, r apikey.KeyList) []apikey.Key {
	t.Helper()
	pages, err := s.KeyPages(t.Context(), "int_1", []apikey.RetrieverID{"ret_1"}, r)
	if err != nil {
		t.Fatal(err)
	}
	return pages[0]
}

// One query must read the large pages of several retrievers. Only a retriever with more keys than fit into it must be
// read again.
func TestPagesTogether(t *testing.T) {
	s, w := indexed(t)
	scope := func(ids ...string) (scopes []apikey.Scope) {
		for _, id := range ids {
			scopes = append(scopes, apikey.Scope{ResourceType: apikey.ResourceRetriever, ResourceID: id})
		}
		return scopes
	}
	var b document.Batch
	want := map[apikey.RetrieverID][]apikey.ID{}
	add := func(retrievers ...string) {
		k := aKey("int_1", len(b.Keys), scope(retrievers...)...)
		b.Keys = append(b.Keys, document.FromKey(k))
		for _, id := range slices.Compact(retrievers) {
			want[apikey.RetrieverID(id)] = append(want[apikey.RetrieverID(id)], k.ID)
		}
	}
	add("ret_few", "ret_few", "ret_some")
	for range 2*apikey.MaxPage + 50 {
		add("ret_many")
	}
	add("ret_few", "ret_many", "ret_elsewhere")
	imported(t, s, b)
	w.take()

	ask := func(commands int, limit int, retrievers ...apikey.RetrieverID) {
		t.Helper()
		var pages [][]apikey.Key
		for len(pages) < len(retrievers) {
			some, err := s.KeyPages(t.Context(), "int_1", retrievers[len(pages):], apikey.KeyList{Limit: limit})
			if err != nil {
				t.Fatal(err)
			}
			pages = append(pages, some...)
		}
		for i, id := range retrievers {
			if diff := cmp.Diff(want[id][:min(limit, len(want[id]))], idsOf(pages[i])); diff != "" {
				t.Errorf("%s, limit %d: (-want +got)\n%s", id, limit, diff)
			}
		}
		if sent := names(w.take()); len(sent) != commands {
			t.Errorf("%q, limit %d: sent %q, want %d commands", retrievers, limit, sent, commands)
		}
	}
	ask(1, apikey.MaxPage, "ret_some", "ret_few", "ret_none", "ret_few")
	ask(1, apikey.MaxPage, "ret_many")
	ask(2, apikey.MaxPage, "ret_many", "ret_some") // the second can have more keys
	ask(2, 2, "ret_many", "ret_few")
	many := make([]apikey.RetrieverID, maxTogether+1)
	for i := range many {
		many[i] = apikey.RetrieverID(fmt.Sprintf("ret_%d", i))
	}
	many[0], many[maxTogether] = "ret_few", "ret_some"
	ask(2, apikey.MaxPage, many...)
}
