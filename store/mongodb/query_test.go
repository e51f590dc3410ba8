package mongodb

import (
	"context"
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

var (
	aTime = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	named = []apikey.Scope{{ResourceType: apikey.ResourceRetriever, ResourceID: "ret_1"}}
)

// aKey returns the i-th newest of a tenant's keys.
func aKey(tenant apikey.InternalID, i int, scopes ...apikey.Scope) apikey.Key {
	created := aTime.Add(-time.Duration(i) * time.Minute)
	id := fmt.Sprintf("key_%05d", i)
	return apikey.Key{
		ID: apikey.ID(id), Hash: "hash of " + string(tenant) + id, InternalID: tenant, Type: apikey.RetrieverKey, Name: "Key " + id,
		Stored: apikey.Active, CreatedAt: &created, Scopes: scopes,
	}
}

// filled is indexed, with a namespace, two retrievers and five keys of each of two tenants.
func filled(t testing.TB) (*Store, *witness) {
	t.Helper()
	s, w := indexed(t)
	organization := "Acme"
	var b document.Batch
	for _, tenant := range []apikey.InternalID{"int_1", "int_2"} {
		b.Namespaces = append(b.Namespaces, document.FromNamespace(apikey.Namespace{ID: "ns_1", Name: "production", InternalID: tenant, OrganizationName: &organization}, ""))
		for _, id := range []apikey.RetrieverID{"ret_1", "ret_2"} {
			b.Retrievers = append(b.Retrievers, document.FromRetriever(apikey.Retriever{ID: id, Name: "of " + string(id), NamespaceID: "ns_1", InternalID: tenant}))
		}
		for i := range 5 {
			b.Keys = append(b.Keys, document.FromKey(aKey(tenant, i, named...)))
		}
	}
	imported(t, s, b)
	for i, id := range []string{"key_00001", "key_00002"} {
		e := apikey.Event{ID: apikey.EventID(fmt.Sprintf("evt_%d", i)), Timestamp: aTime, InternalID: "int_1", ResourceID: id, RetrieverIDs: []apikey.RetrieverID{"ret_1"}}
		if err := s.InsertEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	w.take()
	return s, w
}

func imported(t testing.TB, s *Store, b document.Batch) {
	t.Helper()
	if got, err := s.Import(t.Context(), b, document.ImportOptions{}); err != nil || got.Stored != b.Len() {
		t.Fatalf("Import = %+v, %v", got, err)
	}
}

// Every read must be one command that names the tenant and requests only the fields listed here, and must leave no
// cursor open. Otherwise a page costs two round trips, a whole document is sent for its id, or a forgotten filter shows
// one customer's keys to another.
func TestCommands(t *testing.T) {
	s, w := filled(t)
	at := &apikey.KeyPosition{At: &aTime, ID: "key_00000"}
	const (
		everyKeyField = "key_id key_hash key_prefix key_type subscription_id internal_id organization_id user_id name description " +
			"permissions scopes rate_limit_override status expires_at last_used_at created_at created_by revoked_at revoked_by allowed_origins principal_id is_internal revoke_reason leaked_at leak_source leak_url rotated_to rotated_from budget_hash revision"
		namespace = "namespace_id namespace_name description internal_id organization_id organization_name created_at updated_at"
		retriever = "retriever_id retriever_name description namespace_id internal_id created_at updated_at"
	)
	keyPages := func(r apikey.KeyList, retrievers ...apikey.RetrieverID) func(context.Context) (int, error) {
		return func(ctx context.Context) (n int, err error) {
			pages, err := s.KeyPages(ctx, "int_1", retrievers, r)
			return len(slices.Concat(pages...)), err
		}
	}
	keyPage := func(l apikey.KeyList) func(context.Context) (int, error) {
		return func(ctx context.Context) (int, error) { return number(s.KeyPage(ctx, "int_1", l)) }
	}
	countKeys := func(where apikey.KeyConditions) func(context.Context) (int, error) {
		return func(ctx context.Context) (int, error) { return s.CountKeys(ctx, "int_1", where) }
	}
	matchingKeys := func(l apikey.KeyList) func(context.Context) (int, error) {
		return func(ctx context.Context) (n int, err error) {
			err = s.MatchingKeys(ctx, "int_1", l, func(apikey.Key) (more bool) {
				n++
				return true
			})
			return n, err
		}
	}
	many := apikey.KeyConditions{
		Status: []apikey.Status{apikey.Active, apikey.Expired}, At: aTime, Types: []apikey.Type{apikey.RetrieverKey}, NeverUsed: true, NeverExpires: true,
		UnusedSince: &aTime, Search: apikey.NewSearch("KEY key_0000"),
	}
	retrieverPage := func(r apikey.RetrieverRange) func(context.Context) (int, error) {
		return func(ctx context.Context) (int, error) { return number(s.RetrieverPage(ctx, "int_1", "ns_1", r)) }
	}
	looksEvery(s, time.Hour) // only the read's own commands
	for _, c := range []struct {
		name  string
		read  func(context.Context) (int, error)
		found int
		want  string // the commands: name, collection, requested fields
	}{
		{"KeysByHash", func(ctx context.Context) (int, error) { return number(s.KeysByHash(ctx, "hash of int_1key_00001")) }, 1,
			"find api_keys " + everyKeyField},
		{"Keys", func(ctx context.Context) (int, error) {
			return number(s.Keys(ctx, "int_1", []apikey.ID{"key_00001", "key_00003"}, apikey.StatusFields))
		}, 2, "find api_keys key_id key_hash status expires_at revoked_at"},
		{"KeysWithHashes", func(ctx context.Context) (int, error) {
			return number(s.KeysWithHashes(ctx, "int_1", []string{"hash of int_1key_00001", "hash of int_1key_00003", "hash"}, apikey.StatusFields))
		}, 2, "find api_keys key_id key_hash status expires_at revoked_at"},
		{"no Keys", func(ctx context.Context) (int, error) { return number(s.Keys(ctx, "int_1", nil, apikey.AllFields)) }, 0, ""},

		{"a page", keyPages(apikey.KeyList{Limit: 10, Fields: apikey.FieldName}, "ret_1"), 5, "find api_keys key_id key_hash name created_at"},
		{"a page that is full", keyPages(apikey.KeyList{Limit: 3}, "ret_1"), 3, "find api_keys key_id key_hash created_at"},
		{"a page that is just full", keyPages(apikey.KeyList{Limit: 5}, "ret_1"), 5, "find api_keys key_id key_hash created_at"},
		{"a page but one", keyPages(apikey.KeyList{Limit: 4, Where: apikey.ActiveKeys(aTime)}, "ret_1"), 4, "find api_keys key_id key_hash created_at"},
		{"the next page", keyPages(apikey.KeyList{Limit: 2, After: at}, "ret_1"), 2, "find api_keys key_id key_hash created_at"},
		{"the last page", keyPages(apikey.KeyList{Limit: 10, After: at}, "ret_1"), 4, "find api_keys key_id key_hash created_at"},
		{"the page before", keyPages(apikey.KeyList{Limit: 2, Before: at, FromEnd: true}, "ret_1"), 0, "find api_keys key_id key_hash created_at"},
		{"whether there is one before", keyPages(apikey.KeyList{Limit: 1, Before: &apikey.KeyPosition{At: &aTime}, FromEnd: true}, "ret_1"), 1,
			"find api_keys key_id key_hash created_at"},
		{"large pages", keyPages(apikey.KeyList{Limit: 1001}, "ret_1", "ret_2", "ret_3"), 5, "find api_keys key_id key_hash scopes created_at"},
		{"small pages", keyPages(apikey.KeyList{Limit: 10}, "ret_1", "ret_2"), 5,
			"find api_keys key_id key_hash created_at; find api_keys key_id key_hash created_at"},
		{"pages of none", keyPages(apikey.KeyList{Limit: 10}), 0, ""},

		{"a page by expiry", keyPages(apikey.KeyList{Limit: 10, Order: apikey.KeyOrder{ByExpiry: true}, Where: apikey.ActiveKeys(aTime)}, "ret_1"), 5,
			"find api_keys key_id key_hash expires_at"},

		{"a page of the organization", keyPage(apikey.KeyList{Limit: 10, Fields: apikey.FieldName}), 5, "find api_keys key_id key_hash name created_at"},
		{"its next page", keyPage(apikey.KeyList{Limit: 10, After: at}), 4, "find api_keys key_id key_hash created_at"},
		{"its last page", keyPage(apikey.KeyList{Limit: 3, FromEnd: true, Before: at, Where: apikey.KeyConditions{Created: apikey.Period{From: &aTime}}}), 0, "find api_keys key_id key_hash created_at"},
		{"its oldest keys", keyPage(apikey.KeyList{Limit: 3, Order: apikey.KeyOrder{Ascending: true}}), 3, "find api_keys key_id key_hash created_at"},
		{"its page with many conditions", keyPage(apikey.KeyList{Limit: 10, Where: many}), 5, "find api_keys key_id key_hash created_at"},
		{"its page by expiry", keyPage(apikey.KeyList{Limit: 3, Order: apikey.KeyOrder{ByExpiry: true}}), 3, "find api_keys key_id key_hash expires_at"},
		{"its active keys, the first to expire first", keyPage(apikey.KeyList{Limit: 9, Order: apikey.KeyOrder{ByExpiry: true, Ascending: true}, Where: apikey.ActiveKeys(aTime)}), 5,
			"find api_keys key_id key_hash expires_at; find api_keys key_id key_hash expires_at"}, // those that never expire are elsewhere in the index
		{"its keys that expire in a period", keyPage(apikey.KeyList{Limit: 3, Order: apikey.KeyOrder{ByExpiry: true, Ascending: true}, Where: apikey.KeyConditions{Expires: apikey.Period{Until: &aTime}}}), 0,
			"find api_keys key_id key_hash expires_at"},
		{"a creator's page", keyPage(apikey.KeyList{Limit: 3, Where: apikey.KeyConditions{CreatedBy: new("user")}}), 0, "find api_keys key_id key_hash created_at"},
		{"a page of two retrievers", keyPage(apikey.KeyList{Limit: 10, Where: apikey.KeyConditions{}.Of("ret_1", "ret_2")}), 5, "find api_keys key_id key_hash created_at"},
		{"the same by a walk", keyPage(apikey.KeyList{Limit: 10, Where: apikey.KeyConditions{}.Of("ret_1", "ret_2"), Walk: true}), 5, "find api_keys key_id key_hash created_at"},
		{"a page of no retrievers", keyPage(apikey.KeyList{Limit: 10, Where: apikey.KeyConditions{Naming: []apikey.RetrieverID{}}}), 0, ""},
		{"a page of a set of none", keyPage(apikey.KeyList{Limit: 10, Where: apikey.KeyConditions{Types: []apikey.Type{}}}), 0, ""},

		{"CountKeys", countKeys(apikey.KeyConditions{}.Of("ret_1")), 5, "aggregate api_keys"},
		{"CountKeys active", countKeys(apikey.ActiveKeys(aTime).Of("ret_1")), 5, "aggregate api_keys"},
		{"CountKeys of the organization", countKeys(apikey.KeyConditions{}), 5, "aggregate api_keys"},
		{"CountKeys of the organization, active and never expiring", countKeys(apikey.KeyConditions{NeverExpires: true, Status: []apikey.Status{apikey.Active}, At: aTime}), 5, "aggregate api_keys"},
		{"CountKeys of two retrievers", countKeys(apikey.KeyConditions{Search: apikey.NewSearch("key")}.Of("ret_1", "ret_2")), 5, "aggregate api_keys"},
		{"CountKeys of a set of none", countKeys(apikey.KeyConditions{Status: []apikey.Status{}}), 0, ""},
		{"MatchingKeys", matchingKeys(apikey.KeyList{Fields: apikey.FieldName, Where: apikey.KeyConditions{NeverUsed: true, Search: apikey.NewSearch("KEY key_0000")}}), 5, "find api_keys key_id key_hash name"},
		{"MatchingKeys of two retrievers", matchingKeys(apikey.KeyList{Where: apikey.ActiveKeys(aTime).Of("ret_1", "ret_2")}), 5, "find api_keys key_id key_hash"},
		{"MatchingKeys that expire in a period", matchingKeys(apikey.KeyList{Where: apikey.KeyConditions{Expires: apikey.Period{From: &aTime}}}), 0, "find api_keys key_id key_hash"},
		{"MatchingKeys of a set of none", matchingKeys(apikey.KeyList{Where: apikey.KeyConditions{Types: []apikey.Type{}}}), 0, ""},
		{"EachKey", func(ctx context.Context) (n int, err error) {
			_, err = s.EachKey(ctx, "int_1", apikey.FindingFields, func(*apikey.Key) { n++ })
			return n, err
		}, 5, "find api_keys key_id key_hash status expires_at last_used_at created_at revoked_at leaked_at"},
		{"CountUnusable", func(ctx context.Context) (int, error) {
			u, err := s.CountUnusable(ctx)
			return u.Total(), err
		}, 0, "aggregate api_keys; aggregate api_keys; aggregate api_keys; aggregate api_keys"},
		{"Namespaces", func(ctx context.Context) (int, error) {
			return number(s.Namespaces(ctx, "int_1", []string{"ns_1", "production"}))
		}, 1,
			"find namespaces " + namespace},
		{"NamespacesOf", func(ctx context.Context) (int, error) { return number(s.NamespacesOf(ctx, "int_1")) }, 1, "find namespaces " + namespace},
		{"OrganizationNamespaces", func(ctx context.Context) (int, error) { return number(s.OrganizationNamespaces(ctx, "Acme")) }, 2,
			"find namespaces " + namespace},
		{"Retrievers", func(ctx context.Context) (int, error) {
			return number(s.Retrievers(ctx, "int_1", []apikey.RetrieverID{"ret_1", "ret_2"}))
		}, 2, "find retrievers " + retriever},
		{"RetrieversNamed", func(ctx context.Context) (int, error) {
			return number(s.RetrieversNamed(ctx, "int_1", "ns_1", []string{"of ret_2"}))
		}, 1, "find retrievers " + retriever},
		{"all retrievers", retrieverPage(apikey.RetrieverRange{Limit: 3}), 2, "find retrievers " + retriever},
		{"first retrievers", retrieverPage(apikey.RetrieverRange{Limit: 1}), 1, "find retrievers " + retriever + "; find retrievers " + retriever},
		{"next retrievers", retrieverPage(apikey.RetrieverRange{Limit: 1, After: &apikey.RetrieverPosition{Name: "of ret_1", ID: "ret_1"}}), 1, "find retrievers " + retriever},
		{"last retrievers", retrieverPage(apikey.RetrieverRange{Limit: 2, FromEnd: true}), 2, "find retrievers " + retriever},
		{"CountRetrievers", func(ctx context.Context) (int, error) { return s.CountRetrievers(ctx, "int_1", "ns_1") }, 2, "aggregate retrievers"},
		{"NamespacesCalled", func(ctx context.Context) (int, error) { return number(s.NamespacesCalled(ctx, "production")) }, 2,
			"find namespaces " + namespace},
		{"AllNamespaces", func(ctx context.Context) (int, error) { return number(s.AllNamespaces(ctx)) }, 2, "find namespaces " + namespace},
		{"KeysWithID", func(ctx context.Context) (int, error) { return number(s.KeysWithID(ctx, "key_00001")) }, 2, "aggregate api_keys; find api_keys " + everyKeyField},
		{"KeysWithPrefix", func(ctx context.Context) (int, error) {
			return number(s.KeysWithPrefix(ctx, []string{"ret_sk_none..."}))
		}, 0, "find api_keys " + everyKeyField},
		{"EventPage", func(ctx context.Context) (int, error) {
			return number(s.EventPage(ctx, "int_1", ofRetriever("ret_1", 3)))
		}, 2, "find api_keys internal_id key_id revision pending_events successor; find audit_events"},
		{"EventPage about a key", func(ctx context.Context) (int, error) {
			return number(s.EventPage(ctx, "int_1", about("key_00001", 3)))
		}, 1, "find api_keys internal_id key_id revision pending_events successor; find audit_events"},
		{"CountEvents", func(ctx context.Context) (int, error) {
			return s.CountEvents(ctx, "int_1", about("key_00001", 0).Where)
		}, 1, "find api_keys internal_id key_id revision pending_events successor; aggregate audit_events"},
		{"EventPage of an actor in a namespace", func(ctx context.Context) (int, error) {
			return number(s.EventPage(ctx, "int_1", apikey.EventList{Where: apikey.EventConditions{Namespace: new(apikey.NamespaceID("ns_1")), ActorID: new("usr_none")}, Limit: 3}))
		}, 0, "find api_keys internal_id key_id revision pending_events successor; aggregate audit_events; aggregate audit_events; find audit_events"},
		{"CurrentKeys", func(ctx context.Context) (int, error) { return number(s.CurrentKeys(ctx, "int_1", "key_00001")) }, 1, "find api_keys"},
		{"several CurrentKeys", func(ctx context.Context) (int, error) {
			return number(s.CurrentKeys(ctx, "int_1", "key_00001", "key_00003"))
		}, 2, "find api_keys"},
		{"CurrentKeysWithHashes", func(ctx context.Context) (int, error) {
			tenant := apikey.InternalID("int_1")
			return number(s.CurrentKeysWithHashes(ctx, &tenant, []string{"hash of int_1key_00001", "hash of int_1key_00003", "hash"}))
		}, 2, "find api_keys"},
		{"CurrentKeysWithHashes of all tenants", func(ctx context.Context) (int, error) {
			return number(s.CurrentKeysWithHashes(ctx, nil, []string{"hash of int_1key_00001", "hash"}))
		}, 1, "find api_keys"},
		{"no CurrentKeysWithHashes", func(ctx context.Context) (int, error) { return number(s.CurrentKeysWithHashes(ctx, nil, nil)) }, 0, ""},
		{"no CurrentKeys", func(ctx context.Context) (int, error) { return number(s.CurrentKeys(ctx, "int_1", "absent")) }, 0, "find api_keys; find api_keys internal_id key_id revision pending_events successor"},
		{"UseKeys", func(ctx context.Context) (int, error) {
			uses := []apikey.Use{{InternalID: "int_1", ID: "key_00001", Hash: "hash of int_1key_00001", At: aTime}, {InternalID: "int_1", ID: "key_00002", At: aTime}}
			return 0, s.UseKeys(ctx, uses)
		}, 0, "update api_keys"},
		{"AddAnswers", func(ctx context.Context) (int, error) {
			not, err := s.AddAnswers(ctx, []apikey.KeyDay{aDay("key_1", 1, 0), aDay("key_2", 1, 0)})
			return len(not.Left) + len(not.Lost), err
		}, 0, "update api_key_usage"},
		{"AnswersOf", func(ctx context.Context) (int, error) {
			return number(s.AnswersOf(ctx, "int_1", []apikey.ID{"key_1", "key_2", "key_3"}, march, march+29))
		}, 2, "find api_key_usage internal_id key_id day allowed refused"},
		{"DeleteAnswers", func(ctx context.Context) (int, error) {
			_, err := s.DeleteAnswers(ctx, march+1, 500)
			return 0, err
		}, 0, "hello; find api_key_usage internal_id; delete api_key_usage"},
		{"Ping", func(ctx context.Context) (int, error) { return 0, s.Ping(ctx) }, 0, "ping"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if n, err := c.read(t.Context()); err != nil || n != c.found {
				t.Errorf("found %d, %v, want %d", n, err, c.found)
			}
			var sent []string
			for _, command := range w.take() {
				sent = append(sent, summary(command))
				isExplained(t, command)
				ofAnyTenant := slices.Contains([]string{"KeysByHash", "CountUnusable", "OrganizationNamespaces", "NamespacesCalled", "AllNamespaces", "KeysWithID", "KeysWithPrefix", "no CurrentKeys", "DeleteAnswers", "CurrentKeysWithHashes of all tenants", "Ping"}, c.name)
				if !ofAnyTenant && !strings.Contains(command.String(), `"internal_id": {"$eq": "int_1","$not"`) && !strings.Contains(command.String(), `{"internal_id": "int_1"`) {
					t.Errorf("no tenant in %s", command)
				}
				if limit, ok := command.Lookup("limit").AsInt64OK(); ok && command.Lookup("batchSize").AsInt64() <= limit {
					t.Errorf("the batch leaves the cursor open: %s", command)
				}
			}
			if got := strings.Join(sent, "; "); got != c.want {
				t.Errorf("sent %s\nwant %s", got, c.want)
			}
		})
	}
}

// A report and a list by name must read an organization's keys in an order that no change of a key changes. Without it, the server can choose an index of
// expires_at, and a key whose expiry is moved meanwhile is there twice or not at all.
func TestAllKeysAreReadInAnOrderThatDoesNotChange(t *testing.T) {
	s, w := filled(t)
	looksEvery(s, time.Hour)
	_, err := s.EachKey(t.Context(), "int_1", apikey.FindingFields, func(*apikey.Key) {})
	if err == nil {
		err = s.MatchingKeys(t.Context(), "int_1", apikey.KeyList{}, func(apikey.Key) (more bool) { return true })
	}
	if err != nil {
		t.Fatal(err)
	}
	var sorts []string
	for _, c := range w.take() {
		sorts = append(sorts, c.Lookup("sort").String())
	}
	want := []string{`{"key_id": {"$numberInt":"1"}}`, `{"created_at": {"$numberInt":"-1"},"key_id": {"$numberInt":"-1"}}`}
	if !slices.Equal(sorts, want) {
		t.Errorf("sent %s, want %s", sorts, want)
	}
}

// A page of an organization's keys must be one command, and total one more, whatever the list. Otherwise each page would wait for several round
// trips.
func TestAListIsOneCommandAndItsTotalOneMore(t *testing.T) {
	s, w := filled(t)
	looksEvery(s, time.Hour)
	service := &apikey.Service{Store: s, Now: func() time.Time { return aTime }}
	caller := apikey.Caller{Key: &apikey.Key{ID: "key", InternalID: "int_1", Type: apikey.Standard, Permissions: []apikey.Permission{apikey.Admin}}}
	two, revoked := 2, true
	first := apikey.Page{First: &two}
	for name, c := range map[string]struct {
		list apikey.ListOptions
		want string
	}{
		"a page":                     {apikey.ListOptions{Page: first, Wants: apikey.Wants{Items: true, HasNext: true}}, "find"},
		"a page with its total":      {apikey.ListOptions{Page: first, Wants: apikey.Wants{Items: true, Total: true}}, "find aggregate"},
		"revoked ones too":           {apikey.ListOptions{Page: first, IncludeRevoked: revoked, Wants: apikey.Wants{Items: true, Total: true}}, "find aggregate"},
		"a whole list and its total": {apikey.ListOptions{Wants: apikey.Wants{Items: true, Total: true}}, "find"},
		"a total":                    {apikey.ListOptions{Wants: apikey.Wants{Total: true}}, "aggregate"},
		"by expiry": {apikey.ListOptions{
			Page: first, Order: apikey.Order{Field: apikey.ByExpiresAt, Direction: apikey.Descending}, Wants: apikey.Wants{Items: true, Total: true},
		}, "find aggregate"},
		"by name": {apikey.ListOptions{
			Page: first, Order: apikey.Order{Field: apikey.ByName}, Wants: apikey.Wants{Items: true, Total: true, HasNext: true, HasPrevious: true},
		}, "find"},
		"a creator's": {apikey.ListOptions{Filter: apikey.Filter{CreatedBy: new("user")}, Wants: apikey.Wants{Items: true}}, "find"},
	} {
		ctx := apikey.WithCost(t.Context(), apikey.NewCost(1000, 0))
		if _, err := service.OrganizationKeys(ctx, caller, c.list); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := strings.Join(names(w.take()), " "); got != c.want {
			t.Errorf("%s: sent %q, want %q", name, got, c.want)
		}
	}
}

// summary returns a command's name, collection and requested fields.
func summary(command bson.Raw) string {
	first := command.Index(0)
	words := []string{first.Key()}
	if collection, ok := first.Value().StringValueOK(); ok {
		words = append(words, collection)
	}
	if projection, ok := command.Lookup("projection").DocumentOK(); ok {
		elements, _ := projection.Elements()
		for _, e := range elements {
			words = append(words, e.Key())
		}
	}
	return strings.Join(words, " ")
}

func number[T any](items []T, err error) (int, error) { return len(items), err }

// A find must have the URI's read concern and the caller's time limit. Without them it can return data that is rolled
// back, or keep the server busy for a client that has disconnected.
func TestFindsTellConcernAndTime(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, w := opened(t, uri+"&readConcernLevel=majority")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// The deployment can refuse the concern.
	_, _ = s.KeysByHash(ctx, "hash")
	_, _ = s.Namespaces(ctx, "int_1", []string{"ns_1"})
	commands := w.take()
	if len(commands) != 2 {
		t.Errorf("%d commands", len(commands))
	}
	// What a majority of the members has can be older than the end of the feed.
	_, _ = s.ArrivedEvents(ctx, "int_1", apikey.FeedRange{Limit: 9})
	for _, c := range w.take() {
		if level, _ := c.Lookup("readConcern", "level").StringValueOK(); c.Index(0).Key() == "find" && level != "local" {
			t.Errorf("the feed reads with the concern %q: %v", level, c)
		}
	}
	for _, c := range commands {
		level, _ := c.Lookup("readConcern", "level").StringValueOK()
		if ms, _ := c.Lookup("maxTimeMS").AsInt64OK(); level != "majority" || ms < 1 || ms > 60_000 {
			t.Errorf("concern %q, %d ms: %v", level, ms, c)
		}
	}
}

// Ids, names and hashes must be compared as text, whatever a caller or a document sends, and must never be operators.
func TestNoOperators(t *testing.T) {
	s, _ := filled(t)
	for _, text := range []string{`{"$ne":""}`, `{"$gt":""}`, "$ne", ".*", "ret_1\x00", "", "ns_1'", "*", "key_0000?"} {
		for name, read := range map[string]func() (int, error){
			"KeysByHash": func() (int, error) { return number(s.KeysByHash(t.Context(), text)) },
			"Keys":       func() (int, error) { return number(s.Keys(t.Context(), "int_1", []apikey.ID{apikey.ID(text)}, 0)) },
			"KeyPages": func() (int, error) {
				pages, err := s.KeyPages(t.Context(), "int_1", []apikey.RetrieverID{apikey.RetrieverID(text)}, apikey.KeyList{Limit: 9})
				return len(pages[0]), err
			},
			"Namespaces": func() (int, error) { return number(s.Namespaces(t.Context(), "int_1", []string{text})) },
			"Retrievers": func() (int, error) {
				return number(s.Retrievers(t.Context(), "int_1", []apikey.RetrieverID{apikey.RetrieverID(text)}))
			},
			"RetrieversNamed": func() (int, error) { return number(s.RetrieversNamed(t.Context(), "int_1", "ns_1", []string{text})) },
			"a creator": func() (int, error) {
				return s.CountKeys(t.Context(), "int_1", apikey.KeyConditions{CreatedBy: &text})
			},
			"a type": func() (int, error) {
				return s.CountKeys(t.Context(), "int_1", apikey.KeyConditions{Types: []apikey.Type{apikey.Type(text)}})
			},
			"another tenant": func() (int, error) {
				return s.CountKeys(t.Context(), apikey.InternalID(text), apikey.KeyConditions{}.Of("ret_1"))
			},
		} {
			if n, err := read(); err != nil || n > 0 {
				t.Errorf("%s of %q found %d, %v", name, text, n, err)
			}
		}
	}
}

// MongoDB matches a list by its items. A list in place of a text or a date must be unreadable: it belongs to nobody, is
// not active, and is not a hash.
func TestLists(t *testing.T) {
	s, _ := indexed(t)
	whole := func(i int, set ...bson.E) bson.D {
		var d bson.D
		if err := bson.Unmarshal(document.FromKey(aKey("int_1", i, named...)), &d); err != nil {
			t.Fatal(err)
		}
		for _, e := range set {
			d[slices.IndexFunc(d, func(had bson.E) bool { return had.Key == e.Key })].Value = e.Value
		}
		return d
	}
	docs := []bson.D{
		whole(0),
		whole(1, bson.E{Key: "internal_id", Value: bson.A{"int_1", "int_2"}}),
		whole(2, bson.E{Key: "key_hash", Value: bson.A{"hash"}}),
		whole(3, bson.E{Key: "status", Value: bson.A{"active"}}),
		whole(4, bson.E{Key: "status", Value: bson.A{}}),
		whole(5, bson.E{Key: "revoked_at", Value: bson.A{nil}}),
		whole(6, bson.E{Key: "revoked_at", Value: bson.A{}}),
		whole(7, bson.E{Key: "expires_at", Value: bson.A{aTime.AddDate(1, 0, 0)}}),
		whole(8, bson.E{Key: "expires_at", Value: bson.A{nil}}),
		whole(9, bson.E{Key: "expires_at", Value: bson.A{}}),
	}
	for _, d := range docs {
		insert(t, s, document.Keys, d)
	}
	for _, activeAt := range []time.Time{{}, aTime} {
		var want []apikey.ID
		for _, d := range docs {
			raw, err := bson.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			k, ok := document.Key(raw, apikey.AllFields)
			if ok && k.InternalID == "int_1" && (activeAt.IsZero() || k.StatusAt(activeAt) == apikey.Active) {
				want = append(want, k.ID)
			}
		}
		pages, err := s.KeyPages(t.Context(), "int_1", []apikey.RetrieverID{"ret_1"}, apikey.KeyList{Limit: 20, Where: apikey.ActiveKeys(activeAt)})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, idsOf(pages[0])); diff != "" {
			t.Errorf("listed, active at %v: (-want +got)\n%s", activeAt, diff)
		}
		if n, err := s.CountKeys(t.Context(), "int_1", apikey.ActiveKeys(activeAt).Of("ret_1")); err != nil || n != len(want) {
			t.Errorf("counted %d, %v, want %d", n, err, len(want))
		}
	}
	// Two lists that contain the hash of a key must not hide it.
	if err := s.primary.Collection(document.Keys).Indexes().DropOne(t.Context(), "key_hash_1"); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		insert(t, s, document.Keys, whole(20+i, bson.E{Key: "key_hash", Value: bson.A{aKey("int_1", 0).Hash}}))
	}
	if found, err := s.KeysByHash(t.Context(), aKey("int_1", 0).Hash); err != nil || len(found) != 1 {
		t.Errorf("KeysByHash of a key whose hash is in lists = %+v, %v", found, err)
	}
	if found, err := s.KeysWithHashes(t.Context(), "int_1", []string{aKey("int_1", 0).Hash}, 0); err != nil || len(found) != 1 {
		t.Errorf("KeysWithHashes of a key whose hash is in lists = %+v, %v", found, err)
	}
	for _, hash := range []string{"hash"} {
		if found, err := s.KeysByHash(t.Context(), hash); err != nil || len(found) > 0 {
			t.Errorf("KeysByHash = %+v, %v", found, err)
		}
	}
}

// Lookups of namespaces, retrievers and events must not return a document with a list in a field that they select by.
// Otherwise a tenant would see a document that it does not own.
func TestLookupsFindNoLists(t *testing.T) {
	s, w := filled(t)
	for i, d := range []bson.D{
		{{Key: "namespace_id", Value: "ns_a"}, {Key: "namespace_name", Value: "production"}, {Key: "internal_id", Value: bson.A{"int_1", "int_2"}}},
		{{Key: "namespace_id", Value: "ns_b"}, {Key: "namespace_name", Value: bson.A{"production", "ns_1"}}, {Key: "internal_id", Value: "int_1"}},
		{{Key: "namespace_id", Value: bson.A{"ns_1", "production"}}, {Key: "namespace_name", Value: "other"}, {Key: "internal_id", Value: "int_3"}},
		{{Key: "namespace_id", Value: "ns_d"}, {Key: "namespace_name", Value: "other"}, {Key: "organization_name", Value: bson.A{"Acme"}}, {Key: "internal_id", Value: "int_1"}},
	} {
		insert(t, s, document.Namespaces, append(d, bson.E{Key: "_id", Value: i}))
	}
	for i, d := range []bson.D{
		{{Key: "retriever_id", Value: "ret_a"}, {Key: "retriever_name", Value: "of ret_1"}, {Key: "namespace_id", Value: "ns_1"}, {Key: "internal_id", Value: bson.A{"int_1"}}},
		{{Key: "retriever_id", Value: bson.A{"ret_1"}}, {Key: "retriever_name", Value: "of ret_1"}, {Key: "namespace_id", Value: "ns_1"}, {Key: "internal_id", Value: "int_3"}},
		{{Key: "retriever_id", Value: "ret_c"}, {Key: "retriever_name", Value: "of ret_1"}, {Key: "namespace_id", Value: bson.A{"ns_1"}}, {Key: "internal_id", Value: "int_1"}},
		{{Key: "retriever_id", Value: "ret_d"}, {Key: "retriever_name", Value: bson.A{"of ret_1"}}, {Key: "namespace_id", Value: "ns_2"}, {Key: "internal_id", Value: "int_1"}},
	} {
		insert(t, s, document.Retrievers, append(d, bson.E{Key: "_id", Value: i}))
	}
	event := func(id string, set bson.E) bson.D {
		d := bson.D{
			{Key: "_id", Value: id}, {Key: "audit_id", Value: id}, {Key: "timestamp", Value: bson.NewDateTimeFromTime(aTime)}, {Key: "internal_id", Value: "int_1"},
			{Key: "resource_id", Value: "key_00001"}, {Key: "retriever_ids", Value: bson.A{"ret_1"}},
		}
		d[slices.IndexFunc(d, func(e bson.E) bool { return e.Key == set.Key })].Value = set.Value
		return d
	}
	if err := s.events.Indexes().DropAll(t.Context()); err != nil { // an index of retriever_ids accepts no second list
		t.Fatal(err)
	}
	insert(t, s, document.Events, event("evt_a", bson.E{Key: "internal_id", Value: bson.A{"int_1"}}))
	insert(t, s, document.Events, event("evt_b", bson.E{Key: "resource_id", Value: bson.A{"key_00001"}}))
	insert(t, s, document.Events, event("evt_c", bson.E{Key: "timestamp", Value: bson.A{bson.NewDateTimeFromTime(aTime)}}))
	insert(t, s, document.Events, event("evt_d", bson.E{Key: "audit_id", Value: bson.A{"evt_d"}}))
	w.take()

	ctx := t.Context()
	for name, c := range map[string]struct {
		find func() (int, error)
		want int
	}{
		"Namespaces by id":        {func() (int, error) { return number(s.Namespaces(ctx, "int_1", []string{"ns_1"})) }, 1},
		"Namespaces by name":      {func() (int, error) { return number(s.Namespaces(ctx, "int_1", []string{"production"})) }, 1},
		"Namespaces of another":   {func() (int, error) { return number(s.Namespaces(ctx, "int_3", []string{"ns_1", "production"})) }, 0},
		"NamespacesCalled":        {func() (int, error) { return number(s.NamespacesCalled(ctx, "ns_1")) }, 2},
		"OrganizationNamespaces":  {func() (int, error) { return number(s.OrganizationNamespaces(ctx, "Acme")) }, 2},
		"Retrievers":              {func() (int, error) { return number(s.Retrievers(ctx, "int_1", []apikey.RetrieverID{"ret_1", "ret_a"})) }, 1},
		"Retrievers of another":   {func() (int, error) { return number(s.Retrievers(ctx, "int_3", []apikey.RetrieverID{"ret_1"})) }, 0},
		"RetrieversNamed":         {func() (int, error) { return number(s.RetrieversNamed(ctx, "int_1", "ns_1", []string{"of ret_1"})) }, 1},
		"RetrieversNamed of ns_2": {func() (int, error) { return number(s.RetrieversNamed(ctx, "int_1", "ns_2", []string{"of ret_1"})) }, 0},
		"RetrieverPage": {func() (int, error) {
			return number(s.RetrieverPage(ctx, "int_1", "ns_1", apikey.RetrieverRange{Limit: 9}))
		}, 2},
		"CountRetrievers": {func() (int, error) { return s.CountRetrievers(ctx, "int_1", "ns_1") }, 2},
		"EventPage": {func() (int, error) {
			return number(s.EventPage(ctx, "int_1", about("key_00001", 9)))
		}, 1},
		"CountEvents":             {func() (int, error) { return s.CountEvents(ctx, "int_1", about("key_00001", 0).Where) }, 1},
		"EventPage of a tenant":   {func() (int, error) { return number(s.EventPage(ctx, "int_1", apikey.EventList{Limit: 9})) }, 3},
		"CountEvents of a tenant": {func() (int, error) { return s.CountEvents(ctx, "int_1", apikey.EventConditions{}) }, 3},
	} {
		if n, err := c.find(); err != nil || n != c.want {
			t.Errorf("%s found %d, %v, want %d", name, n, err, c.want)
		}
	}
}

func idsOf(keys []apikey.Key) []apikey.ID {
	var ids []apikey.ID
	for _, k := range keys {
		ids = append(ids, k.ID)
	}
	return ids
}
