package sqlite

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// The benchmarks run on files of 1,000 and of 100,000 keys. Their times must not depend on that.
var fileSizes = []int{1_000, 100_000}

const tenant = "int_bench"

// token returns the plaintext of the key with that number.
func token(i int) string { return "ret_sk_bench" + strconv.Itoa(i) }

// keyDocument returns a key as createApiKey makes it.
func keyDocument(i int, retriever string) bson.Raw {
	text := func(s string) *string { return &s }
	sum := sha256.Sum256([]byte(token(i)))
	created := time.Date(2025, 1, 1, 0, 0, i, 0, time.UTC)
	expires := created.AddDate(20, 0, 0)
	limit := int32(600)
	return document.FromKey(apikey.Key{
		ID: apikey.ID(fmt.Sprintf("key_%024d", i)), Hash: hex.EncodeToString(sum[:]), Prefix: text("ret_sk_ben..."),
		Type: apikey.Standard, InternalID: tenant, OrganizationID: text("org_0123456789"), UserID: "usr_0123456789",
		Name: fmt.Sprintf("Key number %d", i), Description: "For the search of the shop's web site",
		Permissions: []apikey.Permission{apikey.Read}, Stored: apikey.Active,
		Scopes: []apikey.Scope{
			{ResourceType: apikey.ResourceRetriever, ResourceID: retriever, Operations: []apikey.Operation{apikey.ExecuteRetriever, apikey.ReadData}},
		},
		RateLimitOverride: &limit, ExpiresAt: &expires, LastUsedAt: &created, CreatedAt: &created, CreatedBy: text("usr_0123456789"),
		AllowedOrigins: []string{"https://shop.example", "https://*.shop.example"}, PrincipalID: text("prn_0123456789"),
	})
}

// keyBatch returns n keys. Each of the retrievers ret_0, ret_1 and so on has perRetriever of them.
func keyBatch(n, perRetriever int) document.Batch {
	var b document.Batch
	b.Namespaces = []bson.Raw{document.FromNamespace(apikey.Namespace{ID: "ns_1", Name: "production", InternalID: tenant}, "")}
	retrievers := max(n/perRetriever, 1)
	for i := range retrievers {
		b.Retrievers = append(b.Retrievers, document.FromRetriever(apikey.Retriever{
			ID: apikey.RetrieverID("ret_" + strconv.Itoa(i)), Name: "retriever " + strconv.Itoa(i), NamespaceID: "ns_1", InternalID: tenant,
		}))
	}
	for i := range n {
		b.Keys = append(b.Keys, keyDocument(i, "ret_"+strconv.Itoa(i%retrievers)))
	}
	return b
}

func benchStore(b *testing.B, n, perRetriever int) *Store {
	s := opened(b, filepath.Join(b.TempDir(), "store.db"))
	if _, err := s.Import(b.Context(), keyBatch(n, perRetriever), document.ImportOptions{}); err != nil {
		b.Fatal(err)
	}
	return s
}

func BenchmarkAuthenticate(b *testing.B) {
	for _, n := range fileSizes {
		b.Run(fmt.Sprintf("file=%d", n), func(b *testing.B) {
			service := apikey.Service{Store: benchStore(b, n, 20)}
			i := 0
			for b.Loop() {
				i = (i + 7919) % n
				if _, err := service.Authenticate(b.Context(), token(i)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkList(b *testing.B) {
	for _, keys := range []int{20, 1_000} {
		for _, n := range fileSizes {
			b.Run(fmt.Sprintf("keys=%d/file=%d", keys, n), func(b *testing.B) {
				service := apikey.Service{Store: benchStore(b, n, keys)}
				caller := apikey.Caller{Key: &apikey.Key{InternalID: tenant, Type: apikey.Standard, Permissions: []apikey.Permission{apikey.Read}}}
				options := apikey.ListOptions{IncludeRevoked: true, Wants: apikey.Wants{Items: true, Total: true}, Fields: apikey.AllFields}
				i := 0
				for b.Loop() {
					i = (i + 7919) % (n / keys)
					r := &apikey.Retriever{ID: apikey.RetrieverID("ret_" + strconv.Itoa(i)), InternalID: tenant}
					listed, err := service.List(b.Context(), caller, []*apikey.Retriever{r}, options)
					if err != nil || listed[0].Err != nil {
						b.Fatal(err, listed[0].Err)
					}
					if got := listed[0].Keys; got.Total != keys || len(got.Items) != keys {
						b.Fatalf("%d of %d keys, want %d", len(got.Items), got.Total, keys)
					}
				}
			})
		}
	}
}

// BenchmarkImport stores 20,000 documents in a new file.
func BenchmarkImport(b *testing.B) {
	batch := keyBatch(19_000, 19)
	for b.Loop() {
		b.StopTimer()
		s := opened(b, filepath.Join(b.TempDir(), strconv.Itoa(b.N), "store.db"))
		b.StartTimer()
		if _, err := s.Import(b.Context(), batch, document.ImportOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*batch.Len())/b.Elapsed().Seconds(), "docs/s")
}

// BenchmarkOrganization reads lists of all keys of an organization. Except for the search, which looks at every key, the times must not depend on
// the number of keys.
func BenchmarkOrganization(b *testing.B) {
	caller := apikey.Caller{Key: &apikey.Key{InternalID: tenant, Type: apikey.Standard, Permissions: []apikey.Permission{apikey.Admin}}}
	for _, n := range []int{10_000, 1_000_000} {
		service := apikey.Service{Store: benchStore(b, n, 50)}
		list := func(b *testing.B, o apikey.ListOptions) *apikey.Connection[apikey.Key] {
			o.Wants, o.Fields = apikey.Wants{Items: true, HasNext: true}, apikey.AllFields
			page, err := service.OrganizationKeys(b.Context(), caller, o)
			if err != nil {
				b.Fatal(err)
			}
			return page
		}
		pages := func(o apikey.ListOptions) func(b *testing.B) {
			return func(b *testing.B) {
				for b.Loop() {
					page := list(b, o)
					if len(page.Items) != apikey.KeyPage {
						b.Fatalf("%d keys", len(page.Items))
					}
					o.Page.After = nil
					if page.HasNextPage {
						o.Page.After = new(page.Cursor(len(page.Items) - 1))
					}
				}
			}
		}
		soon := time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
		for name, run := range map[string]func(b *testing.B){
			"newest":  pages(apikey.ListOptions{}),
			"expires": pages(apikey.ListOptions{Filter: apikey.Filter{ExpiresBefore: &soon}, Order: apikey.Order{Field: apikey.ByExpiresAt, Direction: apikey.Ascending}}),
			"creator": pages(apikey.ListOptions{Filter: apikey.Filter{CreatedBy: new("usr_0123456789")}}),
			"search": func(b *testing.B) {
				for b.Loop() {
					if page := list(b, apikey.ListOptions{Filter: apikey.Filter{Search: "number " + strconv.Itoa(n/2) + "x"}}); len(page.Items) != 0 {
						b.Fatalf("%d keys", len(page.Items))
					}
				}
			},
			"hashes": func(b *testing.B) {
				hashes := make([]string, 500)
				for i := 0; b.Loop(); {
					for h := range hashes {
						i = (i + 7919) % n
						sum := sha256.Sum256([]byte(token(i)))
						hashes[h] = hex.EncodeToString(sum[:])
					}
					found, err := service.LookUp(b.Context(), caller, apikey.Names{HashLists: [][]string{hashes}, KeyFields: apikey.AllFields})
					if err != nil {
						b.Fatal(err)
					}
					if keys, err := found.KeysWithHashes(hashes); err != nil || keys[0] == nil || keys[499] == nil {
						b.Fatal(err, keys)
					}
				}
			},
		} {
			b.Run(fmt.Sprintf("%s/keys=%d", name, n), run)
		}
	}
}

// BenchmarkFeed reads pages of 1,000 events of the feed, as they are stored by changes of keys. The times must not depend on the number of events.
func BenchmarkFeed(b *testing.B) {
	caller := apikey.Caller{Key: &apikey.Key{InternalID: tenant, Type: apikey.Standard, Permissions: []apikey.Permission{apikey.Admin}}}
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("events=%d", n), func(b *testing.B) {
			s := opened(b, filepath.Join(b.TempDir(), "store.db"))
			if err := setCache(b.Context(), s.write, importCacheKiB); err != nil {
				b.Fatal(err)
			}
			insertEvents(b, s, n, func(i int, e *apikey.Event) {
				e.ID, e.ResourceID = apikey.EventID(fmt.Sprintf("evt_%024d", i)), fmt.Sprintf("key_%024d", i%1000)
				e.IPAddress, e.UserAgent = new("203.0.113.9"), new("Mozilla/5.0 (X11; Linux x86_64)")
				e.Changes = []apikey.FieldChange{{Field: "name", Before: new("Storefront"), After: new("Storefront of the shop")}, {Field: "status", After: new("active")}}
			})
			service := apikey.Service{Store: s}
			read := func(b *testing.B, o apikey.FeedOptions) *apikey.Feed {
				o.Limit = apikey.MaxFeedPage
				page, err := service.Feed(b.Context(), caller, o)
				if err != nil {
					b.Fatal(err)
				}
				return page
			}
			b.Run("page", func(b *testing.B) {
				var o apikey.FeedOptions
				for b.Loop() {
					page := read(b, o)
					if o.After = page.Next(); len(page.Events) < apikey.MaxFeedPage {
						o.After = ""
					}
				}
			})
			b.Run("since", func(b *testing.B) {
				since := march.Add(time.Duration(n/2) * time.Millisecond)
				for b.Loop() {
					if page := read(b, apikey.FeedOptions{Since: &since}); len(page.Events) != apikey.MaxFeedPage {
						b.Fatalf("%d events", len(page.Events))
					}
				}
			})
		})
	}
}
