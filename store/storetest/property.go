package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
	"retrieverkeys/store/document"
)

// agreesWithModel imports random documents of two tenants at a time, asks random questions of the port, and compares
// every answer with the model's. It catches differences between engines that no example covers: a tie that straddles a
// page, a key that expires at this very millisecond, a cursor whose key is deleted.
//
// The random values are the same in every run. Change them with -rapid.checks and -rapid.seed.
func agreesWithModel(t *testing.T, e store.Engine) {
	setUnlessAsked(t, "rapid.checks", "30")
	setUnlessAsked(t, "rapid.seed", "1")
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		imported, err := e.Import(t.Context(), w.batch, document.ImportOptions{})
		if want := (document.Imported{Stored: w.batch.Len()}); err != nil || imported != want {
			t.Fatalf("Import = %+v, %v, want %+v", imported, err, want)
		}
		m := model{w.batch}
		for range 50 {
			q := w.drawQuestion(t)
			want, _ := q.ask(t.Context(), m)
			got, err := q.ask(t.Context(), e)
			if err != nil {
				t.Fatalf("%s: %v", q.text, err)
			}
			if diff := cmp.Diff(want, got, anyEmpty); diff != "" {
				t.Fatalf("%s: (-want +got)\n%s", q.text, diff)
			}
		}
	})
}

// setUnlessAsked sets a flag for the duration of the test, unless the command line set it.
func setUnlessAsked(t *testing.T, name, value string) {
	t.Helper()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == name })
	if asked {
		return
	}
	old := flag.Lookup(name).Value.String()
	if err := flag.Set(name, value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set(name, old) })
}

// instant is the time of the random questions. Expiries are close to it.
var instant = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// There are few values, so that they collide: equal names, equal dates, ids that differ only in case or equal another's
// name. Retrievers and namespaces share no id, because ids of different types are taken to be distinct.
var (
	namespaceIDs   = []string{"ns_a", "ns_A", "production", "ns_\U0001F600"}
	namespaceNames = []string{"production", "Production", "staging", "ns_a", "ns_\U0001F600"}
	homes          = []string{"ns_a", "ns_a", "ns_A"} // the namespaces of retrievers
	retrieverIDs   = []string{"ret_a", "ret_A", "ret_b", "ret_b2", "ret_\uFFFD", "ret_\U0001F600"}
	retrieverNames = []string{"search", "Search", "a", "B", "ret_a", "é", "\uFFFD", "\U0001F600"}
	keyIDs         = []string{"0", "key_1", "key_10", "key_2", "key_A", "key_a", "key_b", "key_c", "key_d", "key_é", "key_\uFFFD", "key_\U0001F600"}
	creations      = []time.Time{instant.AddDate(-1, 0, 0), instant.AddDate(-1, 0, 0).Add(time.Millisecond), time.UnixMilli(-1).UTC()}
	instants       = []time.Time{{}, instant, instant.Add(-time.Millisecond), instant.Add(time.Millisecond), instant.Add(500 * time.Microsecond)}
)

// world has the documents of two tenants. No other world has these tenants, but most ids occur in others.
type world struct {
	tenants       [2]apikey.InternalID
	organizations []string
	batch         document.Batch
	legacy        []string // the ids of keys without a key_id
}

var worlds atomic.Int64

func drawWorld(t *rapid.T) *world {
	n := worlds.Add(1)
	w := &world{organizations: []string{fmt.Sprintf("Acme %d", n), fmt.Sprintf("acme %d", n)}}
	for i := range w.tenants {
		tenant := fmt.Sprintf("int_%d_%d", n, i)
		w.tenants[i] = apikey.InternalID(tenant)
		for _, id := range distinct(t, namespaceIDs) {
			w.batch.Namespaces = append(w.batch.Namespaces, drawNamespace(t, tenant, id, w.organizations))
		}
		for _, id := range distinct(t, retrieverIDs) {
			w.batch.Retrievers = append(w.batch.Retrievers, drawRetriever(t, tenant, id))
		}
		for _, id := range distinct(t, keyIDs) {
			d := drawKey(t, tenant, id)
			d = append(d, bson.E{Key: "key_id", Value: id})
			d = append(d, optional(t, "created_at", append(values(creations), nil, "2025", 7, beyondDates)...)...)
			w.batch.Keys = append(w.batch.Keys, encode(d))
		}
		// A key known only by its _id has a date of its own, because MongoDB cannot order it among ties.
		for i := range rapid.IntRange(0, 3).Draw(t, "legacy keys") {
			id := fmt.Sprintf("legacy_%s_%d", tenant, i)
			var documentID any = id
			if rapid.Bool().Draw(t, "ObjectId") {
				o := bson.ObjectID([]byte(hashOf(id)[:12]))
				id, documentID = o.Hex(), o
			}
			d := append(doc("_id", documentID), drawKey(t, tenant, id)...)
			d = append(d, optional(t, "key_id", nil, "", 7)...)
			d = append(d, doc("created_at", instant.AddDate(-2, 0, i))...)
			w.batch.Keys = append(w.batch.Keys, encode(d))
			w.legacy = append(w.legacy, id)
		}
	}
	return w
}

func drawNamespace(t *rapid.T, tenant, id string, organizations []string) bson.Raw {
	d := doc("namespace_id", id, "internal_id", tenant, "namespace_name", one(t, "name", namespaceNames))
	d = append(d, optional(t, "organization_name", append(values(organizations), nil, 7)...)...)
	d = append(d, optional(t, "created_at", nil, instant, "x")...)
	return encode(d)
}

func drawRetriever(t *rapid.T, tenant, id string) bson.Raw {
	d := doc("retriever_id", id, "internal_id", tenant, "namespace_id", one(t, "namespace", homes))
	d = append(d, optional(t, "retriever_name", append(values(retrieverNames), values(retrieverNames)...)...)...)
	d = append(d, optional(t, "description", nil, "Finds", 7)...)
	return encode(d)
}

// drawKey draws all fields except those for the key's id and its place in the order.
func drawKey(t *rapid.T, tenant, id string) bson.D {
	d := doc("internal_id", tenant, "key_hash", hashOf(tenant+" "+id), "unknown_here", doc("id", id))
	for _, field := range []struct {
		name   string
		values []any
	}{
		{"name", []any{"Name of " + id, "The Key", "the \u212Aey", "straße", "ΣΊΣΥΦΟΣ", "a.b*c", nil, 7}},
		{"description", []any{nil, "for the KEY", "line\nbreak", 7, bson.A{"key"}}},
		{"key_prefix", []any{nil, "ret_sk_abc...", "ret_sk_abd...", 7}},
		{"key_type", []any{nil, "standard", "retriever", "session", "novel", "", 7, bson.A{"retriever"}}},
		{"created_by", []any{nil, "user_a", "user_b", "", 7, bson.A{"user_a"}}},
		{"status", []any{"active", "active", "active", "revoked", "expired", "paused", nil, 7}},
		{"revoked_at", []any{nil, nil, nil, instant, "yesterday", beyondDates, bson.A{}}},
		{"expires_at", []any{
			nil, instant, instant.Add(-time.Millisecond), instant.Add(time.Millisecond), instant.AddDate(1, 0, 0),
			time.UnixMilli(-1), "soon", beyondDates, bson.A{instant},
		}},
		{"permissions", []any{nil, "read", bson.A{"read", "admin"}, bson.A{7}}},
		{"allowed_origins", []any{nil, bson.A{}, bson.A{"https://a.example"}, 7}},
		{"rate_limit_override", []any{nil, 7, 7.0, int64(7), "7"}},
		{"leaked_at", []any{nil, nil, instant, "yesterday", beyondDates, bson.A{instant}}},
		{"last_used_at", []any{nil, instant, instant.Add(-time.Millisecond), 7, beyondDates, bson.A{instant}}},
	} {
		d = append(d, optional(t, field.name, field.values...)...)
	}
	switch rapid.IntRange(0, 9).Draw(t, "scopes") {
	case 0:
		return append(d, optional(t, "scopes", nil, "all")...)
	case 1:
		return append(d, doc("scopes", drawScope(t))...)
	default:
		scopes := bson.A{}
		for range rapid.IntRange(0, 4).Draw(t, "scopes") {
			scopes = append(scopes, drawScope(t))
		}
		return append(d, doc("scopes", scopes)...)
	}
}

func drawScope(t *rapid.T) bson.D {
	var d bson.D
	switch rapid.IntRange(0, 9).Draw(t, "scope") {
	case 0:
		d = doc("resource_type", "namespace", "resource_id", one(t, "scope", namespaceIDs))
	case 1:
		d = doc("resource_type", "retriever", "resource_id", "ret_*")
	case 2:
		d = doc("resource_type", "galaxy", "resource_id", "gal_1")
	case 3:
		d = doc("resource_type", "retriever")
	case 4:
		d = doc("resource_id", 7)
	default:
		d = doc("resource_type", "retriever", "resource_id", one(t, "scope", retrieverIDs))
	}
	return append(d, optional(t, "operations", nil, bson.A{}, bson.A{"execute_retriever"}, "read_data")...)
}

// question is one call of the port with its arguments.
type question struct {
	text string
	ask  func(context.Context, questioned) (any, error)
}

// questioned is the part of the port that both the model and the engines implement.
type questioned interface {
	apikey.Reader
	OrganizationNamespaces(ctx context.Context, name string) ([]apikey.Namespace, error)
	ExpiringKeys(ctx context.Context, after apikey.ExpiryPosition, before time.Time, limit int) ([]apikey.Key, error)
}

func (w *world) drawQuestion(t *rapid.T) question {
	// A third tenant has no documents.
	tenant := one(t, "tenant", slices.Concat(w.tenants[:], w.tenants[:], []apikey.InternalID{"int_nobody"}))
	ns := one(t, "namespace", as[apikey.NamespaceID](append(homes, "ns_nowhere")))
	fields := one(t, "fields", []apikey.Fields{apikey.AllFields, 0, apikey.StatusFields | apikey.FieldName, apikey.FieldCreatedAt | apikey.FieldScopes})
	at := one(t, "at", instants)

	switch method := rapid.IntRange(0, 31).Draw(t, "method"); method {
	case 0:
		ids := some(t, slices.Concat(keyIDs, w.legacy, []string{"key_nowhere"}))
		return question{fmt.Sprintf("Keys(%s, %q, %b)", tenant, ids, fields), func(ctx context.Context, s questioned) (any, error) {
			return inOrder(s.Keys(ctx, tenant, as[apikey.ID](ids), fields))
		}}
	case 1:
		hash := hashOf(string(tenant) + " " + one(t, "key", slices.Concat(keyIDs, w.legacy)))
		return question{fmt.Sprintf("KeysByHash(%s)", hash), func(ctx context.Context, s questioned) (any, error) {
			return inOrder(s.KeysByHash(ctx, hash))
		}}
	case 21:
		var hashes []string
		for _, id := range some(t, slices.Concat(keyIDs, w.legacy, []string{"key_nowhere"})) {
			hashes = append(hashes, hashOf(string(one(t, "of", w.tenants[:]))+" "+id))
		}
		return question{fmt.Sprintf("KeysWithHashes(%s, %q, %b)", tenant, hashes, fields), func(ctx context.Context, s questioned) (any, error) {
			return inOrder(s.KeysWithHashes(ctx, tenant, hashes, fields))
		}}
	case 2, 3:
		where := w.drawConditions(t)
		return question{fmt.Sprintf("CountKeys(%s, %s)", tenant, shown(where)), func(ctx context.Context, s questioned) (any, error) {
			return s.CountKeys(ctx, tenant, where)
		}}
	case 26:
		return question{fmt.Sprintf("EachKey(%s, %b)", tenant, fields), func(ctx context.Context, s questioned) (any, error) {
			var keys []string // as JSON, because an engine may overwrite a key afterwards
			unlisted, err := s.EachKey(ctx, tenant, fields, func(k *apikey.Key) {
				text, err := json.Marshal(k)
				if err != nil {
					t.Fatal(err)
				}
				keys = append(keys, string(text))
			})
			slices.Sort(keys)
			return append(keys, fmt.Sprint(unlisted, " unlisted")), err
		}}
	case 28, 29, 30, 31:
		l := apikey.KeyList{Where: w.drawConditions(t), Walk: rapid.Bool().Draw(t, "walk"), Fields: fields}
		most := one(t, "most", []int{1, 2, 1000})
		return question{fmt.Sprintf("MatchingKeys(%s, %s, %+v) up to %d", tenant, shown(l.Where), l, most), func(ctx context.Context, s questioned) (any, error) {
			var keys []apikey.Key
			err := s.MatchingKeys(ctx, tenant, l, func(k apikey.Key) (more bool) {
				keys = append(keys, k)
				return len(keys) < most
			})
			if len(keys) == most {
				return most, err // there is no order, so it can be any of them
			}
			return inOrder(keys, err)
		}}
	case 27:
		from, before, limit := one(t, "expires from", instants[1:]), one(t, "expires before", append(instants[1:], instant.AddDate(2, 0, 0))), one(t, "limit", []int{7, 50})
		return question{fmt.Sprintf("ExpiringKeys(%v, %v, %d)", from, before, limit), func(ctx context.Context, s questioned) (any, error) {
			return w.allExpiring(ctx, s, from, before, limit)
		}}
	case 4:
		refs := some(t, slices.Concat(namespaceIDs, namespaceNames))
		return question{fmt.Sprintf("Namespaces(%s, %q)", tenant, refs), func(ctx context.Context, s questioned) (any, error) {
			return inOrder(s.Namespaces(ctx, tenant, refs))
		}}
	case 5:
		ids := some(t, append(retrieverIDs, "ret_nowhere"))
		return question{fmt.Sprintf("Retrievers(%s, %q)", tenant, ids), func(ctx context.Context, s questioned) (any, error) {
			return inOrder(s.Retrievers(ctx, tenant, as[apikey.RetrieverID](ids)))
		}}
	case 6:
		names := some(t, retrieverNames)
		return question{fmt.Sprintf("RetrieversNamed(%s, %s, %q)", tenant, ns, names), func(ctx context.Context, s questioned) (any, error) {
			return inOrder(s.RetrieversNamed(ctx, tenant, ns, names))
		}}
	case 20:
		return question{fmt.Sprintf("NamespacesOf(%s)", tenant), func(ctx context.Context, s questioned) (any, error) {
			return inOrder(s.NamespacesOf(ctx, tenant))
		}}
	case 7:
		name := one(t, "organization", w.organizations)
		return question{fmt.Sprintf("OrganizationNamespaces(%s)", name), func(ctx context.Context, s questioned) (any, error) {
			return inOrder(s.OrganizationNamespaces(ctx, name))
		}}
	case 8:
		return question{fmt.Sprintf("CountRetrievers(%s, %s)", tenant, ns), func(ctx context.Context, s questioned) (any, error) {
			return s.CountRetrievers(ctx, tenant, ns)
		}}
	case 9, 10, 11:
		r := apikey.RetrieverRange{
			After: w.drawRetrieverPosition(t), Before: w.drawRetrieverPosition(t),
			FromEnd: rapid.Bool().Draw(t, "from end"), Limit: rapid.IntRange(1, 4).Draw(t, "limit"),
		}
		return question{fmt.Sprintf("RetrieverPage(%s, %s, %+v after %+v before %+v)", tenant, ns, r, r.After, r.Before), func(ctx context.Context, s questioned) (any, error) {
			return s.RetrieverPage(ctx, tenant, ns, r)
		}}
	case 12, 13, 14, 15, 16, 17, 18, 19:
		order := drawOrder(t)
		l := apikey.KeyList{
			Where: w.drawConditions(t), Order: order, After: w.drawKeyPosition(t, order), Before: w.drawKeyPosition(t, order),
			FromEnd: rapid.Bool().Draw(t, "from end"), Limit: one(t, "limit", []int{1, 2, 3, 5, 1000}),
			Fields: fields, Walk: rapid.Bool().Draw(t, "walk"),
		}
		return question{fmt.Sprintf("KeyPage(%s, %s, %+v after %+v before %+v)", tenant, shown(l.Where), l, l.After, l.Before), func(ctx context.Context, s questioned) (any, error) {
			return s.KeyPage(ctx, tenant, l)
		}}
	default:
		order := drawOrder(t)
		r := apikey.KeyList{
			Order: order, After: w.drawKeyPosition(t, order), Before: w.drawKeyPosition(t, order),
			FromEnd: rapid.Bool().Draw(t, "from end"), Limit: one(t, "limit", []int{1, 2, 3, 5, 1000}),
			Where: one(t, "where", []apikey.KeyConditions{apikey.ActiveKeys(at), w.drawConditions(t)}), Fields: fields,
		}
		r.Where.Naming = nil
		ids := some(t, as[apikey.RetrieverID](append(retrieverIDs, "ret_nowhere")))
		return question{fmt.Sprintf("KeyPages(%s, %q, %+v after %+v before %+v)", tenant, ids, r, r.After, r.Before), func(ctx context.Context, s questioned) (any, error) {
			return allPages(ctx, s, tenant, ids, r)
		}}
	}
}

// drawConditions draws conditions on keys. Most of them set few.
func (w *world) drawConditions(t *rapid.T) (where apikey.KeyConditions) {
	date := func(label string) *time.Time {
		at := one(t, label, append(append([]time.Time{instant.AddDate(2, 0, 0)}, creations...), instants[1:]...))
		return &at
	}
	for range rapid.IntRange(0, 3).Draw(t, "conditions") {
		switch rapid.IntRange(0, 15).Draw(t, "condition") {
		case 0, 1:
			where.Naming = some(t, as[apikey.RetrieverID](append(retrieverIDs, "ret_nowhere")))
			if where.Naming == nil {
				where.Naming = []apikey.RetrieverID{}
			}
		case 2:
			where.Status, where.At = distinct(t, []apikey.Status{apikey.Active, apikey.Revoked, apikey.Expired}), *date("at")
		case 3:
			where.Status, where.At = one(t, "statuses", [][]apikey.Status{{apikey.Active}, {apikey.Active}, {}}), *date("at")
		case 4:
			where.Types = distinct(t, []apikey.Type{apikey.Standard, apikey.RetrieverKey, apikey.Session})
		case 5:
			who := one(t, "creator", []string{"user_a", "user_b", "", "user_c"})
			where.CreatedBy = &who
		case 6:
			where.Created.From = date("created from")
		case 7:
			where.Created.Until = date("created until")
		case 8:
			where.Expires.From = date("expires from")
		case 9:
			where.Expires.Until = date("expires until")
		case 10:
			where.NeverExpires = true
		case 11:
			where.NeverUsed = true
		case 12:
			where.UnusedSince = date("unused since")
		case 13, 14:
			where.Findings, where.At = apikey.FindingsOf(distinct(t, apikey.Findings)...), *date("at")
			life := func(label string) time.Duration {
				return one(t, label, []time.Duration{0, time.Millisecond, 24 * time.Hour, 500 * 24 * time.Hour})
			}
			where.Policy = apikey.Policy{MaxLifetime: life("maximum"), StaleAfter: life("stale after"), ExpiryNotice: life("notice")}
		default:
			where.Search = apikey.NewSearch(one(t, "search", []string{
				"key", "KEY", "The", "STRASSE", "σίσυφος", ".b*", "\n", "ret_sk_ab", "ret_sk_abc9", "ret_sk_abc" + strings.Repeat("0", 50), hashOf("x"),
			}))
		}
	}
	return where
}

func drawOrder(t *rapid.T) apikey.KeyOrder {
	return one(t, "order", []apikey.KeyOrder{{}, {}, {Ascending: true}, {ByExpiry: true}, {ByExpiry: true, Ascending: true}})
}

// shown is the text of conditions.
func shown(where apikey.KeyConditions) string {
	text, _ := json.Marshal(where) // nothing in it cannot be encoded
	return string(text) + " " + where.Search.Text()
}

// allExpiring reads, page by page, the keys of all tenants that expire, and returns those of the world's tenants. Others share the store.
func (w *world) allExpiring(ctx context.Context, s questioned, from, before time.Time, limit int) (keys []apikey.Key, err error) {
	for after := (apikey.ExpiryPosition{At: from}); ; {
		page, err := s.ExpiringKeys(ctx, after, before, limit)
		if err != nil || len(page) > limit {
			return nil, errors.Join(err, fmt.Errorf("%d keys", len(page)))
		}
		for _, k := range page {
			if slices.Contains(w.tenants[:], k.InternalID) {
				keys = append(keys, k)
			}
			after = apikey.ExpiryPosition{At: *k.ExpiresAt, ID: k.ID, Tenant: k.InternalID}
		}
		if len(page) < limit {
			return keys, nil
		}
	}
}

// allPages reads the pages of all retrievers. One call can return those of the first retrievers only.
func allPages(ctx context.Context, s apikey.Reader, tenant apikey.InternalID, ids []apikey.RetrieverID, r apikey.KeyList) (pages [][]apikey.Key, err error) {
	for len(pages) < len(ids) {
		some, err := s.KeyPages(ctx, tenant, ids[len(pages):], r)
		if err != nil || len(some) == 0 {
			return nil, errors.Join(err, ctx.Err())
		}
		pages = append(pages, some...)
	}
	return pages, nil
}

// drawKeyPosition draws a key's position in an order, a position without a key, or none.
func (w *world) drawKeyPosition(t *rapid.T, order apikey.KeyOrder) *apikey.KeyPosition {
	all := model{w.batch}.keys(apikey.AllFields, func(apikey.Key) bool { return true })
	switch kind := rapid.IntRange(0, 3).Draw(t, "position"); {
	case kind == 0 && len(all) > 0:
		at := placeOf(one(t, "position of", all), order)
		return &at
	case kind == 1:
		at := apikey.KeyPosition{ID: apikey.ID(one(t, "id", append(keyIDs, "", "zzz")))}
		if i := rapid.IntRange(0, len(creations)).Draw(t, "date"); i < len(creations) {
			at.At = &creations[i]
		}
		return &at
	default:
		return nil
	}
}

func (w *world) drawRetrieverPosition(t *rapid.T) *apikey.RetrieverPosition {
	switch kind := rapid.IntRange(0, 3).Draw(t, "position"); {
	case kind == 0 && len(w.batch.Retrievers) > 0:
		r, _ := document.Retriever(one(t, "position of", w.batch.Retrievers))
		at := retrieverPosition(r)
		return &at
	case kind == 1:
		return &apikey.RetrieverPosition{
			Name: one(t, "name", append(retrieverNames, "")),
			ID:   apikey.RetrieverID(one(t, "id", append(retrieverIDs, "", "zzz"))),
		}
	default:
		return nil
	}
}

func one[T any](t *rapid.T, label string, of []T) T { return rapid.SampledFrom(of).Draw(t, label) }

// distinct draws at least half of the items, each once, in any order.
func distinct[T comparable](t *rapid.T, of []T) []T {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(of), len(of)/2, len(of), rapid.ID[T]).Draw(t, "distinct")
}

// some draws a few of the items, sometimes one of them twice.
func some[T any](t *rapid.T, of []T) []T {
	return rapid.SliceOfN(rapid.SampledFrom(of), 0, 6).Draw(t, "some")
}

// optional draws a field with one of the values, or no field.
func optional(t *rapid.T, name string, values ...any) bson.D {
	if v := one(t, name, append(values, absent{})); v != any(absent{}) {
		return doc(name, v)
	}
	return nil
}

func values[T any](items []T) []any {
	out := make([]any, len(items))
	for i, item := range items {
		out[i] = item
	}
	return out
}

func as[To, From ~string](items []From) []To {
	out := make([]To, len(items))
	for i, item := range items {
		out[i] = To(item)
	}
	return out
}

// inOrder sorts an answer that has no order.
func inOrder[T any](items []T, err error) ([]T, error) {
	slices.SortFunc(items, func(a, b T) int { return strings.Compare(idOf(a), idOf(b)) })
	return items, err
}

func idOf(item any) string {
	switch item := item.(type) {
	case apikey.Key:
		return string(item.ID)
	case apikey.Retriever:
		return string(item.ID)
	case apikey.Namespace:
		return string(item.InternalID) + " " + string(item.ID)
	default:
		return ""
	}
}
