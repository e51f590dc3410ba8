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
	"retrieverkeys/store/mongodb/mongodbtest"
)

// variants returns keys of one tenant, each with another value in one field, and the keys that they are read as. Keys are read as the domain
// sees them, so the test's conditions can be checked by the domain.
func variants(t *testing.T) (docs []bson.D, keys []apikey.Key) {
	t.Helper()
	date := func(t time.Time) bson.DateTime { return bson.NewDateTimeFromTime(t) }
	dates := []any{
		nil, date(aTime), date(aTime.Add(-time.Millisecond)), date(aTime.Add(time.Millisecond)), date(document.MinTime), date(document.MaxTime),
		date(document.MinTime.Add(-time.Millisecond)), date(document.MaxTime.Add(time.Millisecond)), bson.A{}, bson.A{nil}, bson.A{date(aTime)},
		"soon", int32(7), true, bson.D{{Key: "date", Value: "2026"}}, bson.Timestamp{T: 1 << 30},
	}
	texts := []any{nil, "", "user", "User", bson.A{}, bson.A{"user"}, int32(7), bson.D{{Key: "user", Value: "user"}}}
	for _, field := range []struct {
		name   string
		values []any
	}{
		{"last_used_at", dates},
		{"revoked_at", dates},
		{"created_by", texts},
		{"status", append([]any{"active", "revoked", "expired", "Active", bson.A{"active"}}, texts...)},
		{"key_type", append([]any{"standard", "retriever", "unknown", "robot", bson.A{"retriever"}, bson.A{nil}}, texts...)},
		{"key_prefix", append([]any{"ret_sk_abc...", "xxret_sk_abc...", bson.A{"ret_sk_abc..."}}, texts...)},
		{"name", append([]any{
			"ΣΊΣΥΦΟΣ", "straße", "STRASSE", "\u212Aelvin", "İstanbul", "a.b*c", `\E(?i)[a-z]$^`, "line\nbreak", "nul\x00here", "ǅ", "ﬁ", "\U00010428", "a-z", "#x y", bson.A{"kelvin"},
		}, texts...)},
		{"description", texts},
		{"expires_at", dates},
	} {
		for _, v := range field.values {
			created := aTime.Add(time.Duration(len(docs)) * time.Second)
			d := bson.D{
				{Key: "key_id", Value: fmt.Sprintf("key_%03d", len(docs))}, {Key: "key_hash", Value: fmt.Sprintf("%064x", len(docs))}, {Key: "internal_id", Value: "int_1"},
				{Key: "created_at", Value: created}, {Key: field.name, Value: v},
			}
			raw, err := bson.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			k, ok := document.Key(raw, apikey.AllFields)
			if !ok {
				t.Fatalf("%v is no key", d)
			}
			docs, keys = append(docs, d), append(keys, k)
		}
	}
	return docs, keys
}

// A query must select the keys that meet a condition, and no others, whatever their documents have in its field. Otherwise a list would have
// keys that were filtered out, or lack one that somebody must revoke, and total would count other keys than the pages show.
func TestConditionsAreExact(t *testing.T) {
	s, _ := dropped(t, testURI)
	docs, keys := variants(t)
	for _, d := range docs {
		insert(t, s, document.Keys, d)
	}
	at := func(d time.Duration) *time.Time { return new(aTime.Add(d)) }
	conditions := map[string]apikey.KeyConditions{
		"none":          {},
		"never expires": {NeverExpires: true}, "never expires, but in a period": {NeverExpires: true, Expires: apikey.Period{From: at(0)}},
		"active and never expires": {NeverExpires: true, Status: []apikey.Status{apikey.Active}, At: aTime},
		"never used":               {NeverUsed: true},
		"another hash":             {Search: apikey.NewSearch("ret_sk_" + strings.Repeat("0", 53))},
		"a prefix":                 {Search: apikey.NewSearch("ret_sk_abc1")},
	}
	statuses := []apikey.Status{apikey.Active, apikey.Expired, apikey.Revoked}
	for set := range 1 << len(statuses) {
		some := []apikey.Status{}
		for i, s := range statuses {
			if set&(1<<i) != 0 {
				some = append(some, s)
			}
		}
		for _, d := range []time.Duration{0, time.Microsecond, -time.Millisecond} {
			conditions[fmt.Sprintf("%q at %s", some, d)] = apikey.KeyConditions{Status: some, At: aTime.Add(d)}
		}
	}
	for _, types := range [][]apikey.Type{{}, {apikey.Standard}, {apikey.RetrieverKey, apikey.Session}, {apikey.UnknownType}, {apikey.UnreadableType}, {"robot", apikey.UnreadableType, apikey.Standard}} {
		conditions[fmt.Sprintf("types %q", types)] = apikey.KeyConditions{Types: types}
	}
	for _, who := range []string{"", "user", "USER", "7"} {
		conditions[fmt.Sprintf("created by %q", who)] = apikey.KeyConditions{CreatedBy: &who}
	}
	instants := []*time.Time{nil, at(0), at(time.Microsecond), at(-time.Microsecond), at(time.Millisecond), &document.MinTime, &document.MaxTime, new(document.MaxTime.AddDate(1, 0, 0)), new(document.MinTime.AddDate(-1, 0, 0))}
	for i, from := range instants {
		for j, until := range instants {
			p := apikey.Period{From: from, Until: until}
			conditions[fmt.Sprintf("expires from %d until %d", i, j)] = apikey.KeyConditions{Expires: p}
			conditions[fmt.Sprintf("created from %d until %d", i, j)] = apikey.KeyConditions{Created: p}
		}
		conditions[fmt.Sprintf("unused since %d", i)] = apikey.KeyConditions{UnusedSince: from}
	}
	for _, text := range []string{
		"user", "USER", "σίσυφοσ", "ς", "STRASSE", "ß", "ẞ", "k", "\u212A", "i", "İ", ".b*", `\E`, "(?i)", "[A-Z]", "$^", "\n", "\x00", "NUL\x00", "ǆ", "fi", "\U00010400", "A-Z", "# ", "7", "{", "|",
	} {
		conditions[fmt.Sprintf("search %q", text)] = apikey.KeyConditions{Search: apikey.NewSearch(text)}
	}
	for name, where := range conditions {
		var want []apikey.ID
		for i := range keys {
			if where.Matches(&keys[i]) {
				want = append(want, keys[i].ID)
			}
		}
		for _, order := range []apikey.KeyOrder{{Ascending: true}, {ByExpiry: true}} {
			page, err := s.KeyPage(t.Context(), "int_1", apikey.KeyList{Where: where, Order: order, Limit: len(keys) + 1})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff(want, slices.Sorted(slices.Values(idsOf(page)))); diff != "" {
				t.Errorf("%s, order %+v: (-want +got)\n%s", name, order, diff)
			}
		}
		if n, err := s.CountKeys(t.Context(), "int_1", where); err != nil || n != len(want) {
			t.Errorf("CountKeys, %s = %d, %v, want %d", name, n, err, len(want))
		}
	}
}

// A list by expiry must have the keys without a date last, also those whose value is odd, in pages of any size and from both ends. A list of
// dates is alone in an index among keys with a date.
func TestOddExpiries(t *testing.T) {
	docs, keys := variants(t)
	var all, few []bson.D // few have no odd value but a list of dates
	var read, fewRead []apikey.Key
	for i, d := range docs {
		last, k := d[len(d)-1], keys[i]
		if last.Key != "expires_at" && last.Key != "description" {
			continue
		}
		all, read = append(all, d), append(read, k)
		list, _ := last.Value.(bson.A)
		if ofDates := len(list) > 0 && list[0] != nil; last.Key != "expires_at" || k.ExpiresAt != nil || ofDates {
			few, fewRead = append(few, d), append(fewRead, k)
		}
	}
	t.Run("all", func(t *testing.T) { expiriesInPages(t, all, read) })
	t.Run("only a list of dates is odd", func(t *testing.T) { expiriesInPages(t, few, fewRead) })
}

func expiriesInPages(t *testing.T, docs []bson.D, keys []apikey.Key) {
	t.Helper()
	s, _ := dropped(t, testURI)
	for _, d := range docs {
		insert(t, s, document.Keys, d)
	}
	for _, order := range []apikey.KeyOrder{{ByExpiry: true}, {ByExpiry: true, Ascending: true}} {
		for _, where := range []apikey.KeyConditions{{}, apikey.ActiveKeys(aTime)} {
			var want []apikey.KeyPosition
			for i := range keys {
				if where.Matches(&keys[i]) {
					want = append(want, order.Position(&keys[i]))
				}
			}
			slices.SortFunc(want, order.Compare)
			for _, size := range []int{3, 4, 50} {
				for _, fromEnd := range []bool{false, true} {
					l := apikey.KeyList{Where: where, Order: order, Limit: size, FromEnd: fromEnd, Fields: apikey.FieldExpiresAt}
					if diff := cmp.Diff(want, allPlaces(t, s, l)); diff != "" {
						t.Errorf("order %+v, pages of %d, from the end %t: (-want +got)\n%s", order, size, fromEnd, diff)
					}
				}
			}
		}
	}
}

// allPlaces reads a list page by page and returns the places of its keys.
func allPlaces(t *testing.T, s *Store, l apikey.KeyList) (all []apikey.KeyPosition) {
	t.Helper()
	for {
		page, err := s.KeyPage(t.Context(), "int_1", l)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return all
		}
		var places []apikey.KeyPosition
		for i := range page {
			places = append(places, l.Order.Position(&page[i]))
		}
		if l.FromEnd {
			all, l.Before = append(places, all...), &places[0]
		} else {
			all, l.After = append(all, places...), &places[len(places)-1]
		}
	}
}

// A page of keys that never expire must not look for lists in expires_at if MongoDB says that there are none, because no index leads to them:
// it would read all keys of the organization that expire. If there can be some, it must look.
func TestListsInExpiriesAreSoughtOnlyIfThereAreSome(t *testing.T) {
	const index = `"stage": "IXSCAN", "keyPattern": {"internal_id": 1, "expires_at": -1, "key_id": -1}`
	mongoDB := bson.D{{Key: "ok", Value: 1.0}, {Key: "gitVersion", Value: "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"}}
	for name, c := range map[string]struct {
		info  bson.D
		plan  string
		seeks bool
	}{
		"none":            {mongoDB, `{"stage": "FETCH", "inputStage": {` + index + `, "isMultiKey": false, "multiKeyPaths": {"internal_id": [], "expires_at": [], "key_id": []}}}`, false},
		"some":            {mongoDB, `{"stage": "FETCH", "inputStage": {` + index + `, "isMultiKey": true, "multiKeyPaths": {"internal_id": [], "expires_at": ["expires_at"], "key_id": []}}}`, true},
		"some on a shard": {mongoDB, `{"stage": "SHARD_MERGE", "shards": [{"winningPlan": {` + index + `, "multiKeyPaths": {"expires_at": []}}}, {"winningPlan": {` + index + `, "multiKeyPaths": {"expires_at": ["expires_at"]}}}]}`, true},
		"not told":        {mongoDB, `{` + index + `, "isMultiKey": false}`, true},
		"no index":        {mongoDB, "", true},
		"another server":  {bson.D{{Key: "ok", Value: 1.0}}, `{` + index + `, "multiKeyPaths": {"expires_at": []}}`, true},
	} {
		p, uri := mongodbtest.NewProxy(t, testURI)
		p.Start()
		s, w := dropped(t, uri)
		looksEvery(s, time.Hour)
		p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
			switch {
			case command == "buildInfo":
				return &mongodbtest.Fault{Answer: c.info}
			case command == "explain" && c.plan == "":
				return &mongodbtest.Fault{Answer: bson.D{{Key: "ok", Value: 0.0}, {Key: "code", Value: int32(2)}, {Key: "errmsg", Value: "hint provided does not correspond to an existing index"}}}
			case command == "explain":
				return &mongodbtest.Fault{Answer: explained(t, c.plan, 0, 0)}
			}
			return nil
		})
		w.take()
		where := apikey.KeyConditions{NeverExpires: true}
		for range 2 {
			if _, err := s.KeyPage(t.Context(), "int_1", apikey.KeyList{Where: where, Order: apikey.KeyOrder{ByExpiry: true}, Limit: 10}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.CountKeys(t.Context(), "int_1", where); err != nil {
				t.Fatal(err)
			}
		}
		var sent []string
		seeks := 0
		for _, command := range w.take() {
			sent = append(sent, command.Index(0).Key())
			if strings.Contains(command.String(), `{"expires_at": {"$type": {"$numberInt":"4"}}}`) {
				seeks++
			}
		}
		once := []string{"explain", "find", "find", "explain", "aggregate"}
		want := slices.Concat([]string{"buildInfo"}, once, once)
		if name == "another server" {
			want = []string{"buildInfo", "find", "find", "aggregate", "find", "find", "aggregate"}
		}
		if diff := cmp.Diff(want, sent); diff != "" || seeks != map[bool]int{true: 4}[c.seeks] {
			t.Errorf("%s: %d of 4 lists and counts seek lists, sent (-want +got)\n%s", name, seeks, diff)
		}
	}
}
