package mongodb

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
	"retrieverkeys/store/mongodb/mongodbtest"
)

// BenchmarkQueries runs each query for a tenant with 20,000 keys and events of one retriever, 20,000 retrievers of one
// namespace and 20,000 namespaces, on the deployment of TEST_MONGODB_URI. Without it, the benchmark runs on FerretDB
// with few documents, because FerretDB reads every document for every query.
func BenchmarkQueries(b *testing.B) {
	s, _ := indexed(b)
	many := mongodbtest.Fewer(20_000, 100)
	var documents document.Batch
	var events []bson.Raw
	nth := func(of string, i int) string { return fmt.Sprintf("%s_%05d", of, i) }
	for i := range many {
		k := aKey("int_1", i, named...)
		k.CreatedBy, k.ExpiresAt = new(nth("user", i%10)), new(aTime.Add(time.Duration(i)*time.Minute))
		documents.Keys = append(documents.Keys, document.FromKey(k))
		documents.Namespaces = append(documents.Namespaces, document.FromNamespace(apikey.Namespace{
			ID: apikey.NamespaceID(nth("ns", i)), Name: nth("namespace", i), InternalID: "int_1", OrganizationName: new(nth("organization", i)),
		}, ""))
		documents.Retrievers = append(documents.Retrievers, document.FromRetriever(apikey.Retriever{
			ID: apikey.RetrieverID(nth("ret", i)), Name: nth("retriever", i), NamespaceID: "ns_00001", InternalID: "int_1",
		}))
		events = append(events, document.FromEvent(apikey.Event{
			ID: apikey.EventID(nth("evt_of", i)), Timestamp: aTime.Add(time.Duration(i) * time.Second), InternalID: "int_1",
			ResourceID: string(k.ID), RetrieverIDs: []apikey.RetrieverID{"ret_1"},
		}))
	}
	imported(b, s, documents)
	if err := s.insertEvents(b.Context(), events); err != nil {
		b.Fatal(err)
	}
	looksEvery(s, time.Hour)
	middle := many / 2
	k := aKey("int_1", middle, named...)
	var uses []apikey.Use
	for i := range 20 {
		k := aKey("int_1", i*many/20, named...)
		uses = append(uses, apikey.Use{InternalID: k.InternalID, ID: k.ID, Hash: k.Hash, At: aTime})
	}
	page := func(r apikey.KeyList) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := s.KeyPages(ctx, "int_1", []apikey.RetrieverID{"ret_1"}, r)
			return err
		}
	}
	ofOrganization := func(l apikey.KeyList) func(context.Context) error {
		return func(ctx context.Context) error { _, err := s.KeyPage(ctx, "int_1", l); return err }
	}
	in := apikey.KeyPosition{At: k.CreatedAt, ID: k.ID}
	revision := int64(0)
	for _, q := range []struct {
		name string
		ask  func(context.Context) error
	}{
		{"KeysByHash", func(ctx context.Context) error { _, err := s.KeysByHash(ctx, k.Hash); return err }},
		{"Keys", func(ctx context.Context) error {
			_, err := s.Keys(ctx, "int_1", []apikey.ID{k.ID}, apikey.AllFields)
			return err
		}},
		{"CurrentKeys", func(ctx context.Context) error { _, err := s.CurrentKeys(ctx, "int_1", k.ID); return err }},
		{"ChangeKey", func(ctx context.Context) error {
			k.Revision = revision
			e := apikey.Event{ID: apikey.EventID(fmt.Sprintf("evt_%d", revision)), Timestamp: aTime, InternalID: "int_1", ResourceID: string(k.ID), RetrieverIDs: []apikey.RetrieverID{"ret_1"}}
			changed, err := s.ChangeKey(ctx, apikey.Change{Key: k, Fields: apikey.FieldName, Events: []apikey.Event{e}})
			if err == nil && !changed {
				return fmt.Errorf("not changed at revision %d", revision)
			}
			revision++
			return err
		}},
		{"UseKeys of 20", func(ctx context.Context) error {
			for i := range uses {
				uses[i].At = uses[i].At.Add(time.Hour)
			}
			return s.UseKeys(ctx, uses)
		}},
		{"Page of 25", page(apikey.KeyList{Limit: 25})},
		{"Page of 25 in the middle", page(apikey.KeyList{Limit: 25, After: &apikey.KeyPosition{At: k.CreatedAt, ID: k.ID}})},
		{"Page of 25 at the end", page(apikey.KeyList{Limit: 25, FromEnd: true})},
		{"CountKeys", func(ctx context.Context) error {
			_, err := s.CountKeys(ctx, "int_1", apikey.KeyConditions{}.Of("ret_1"))
			return err
		}},
		{"Organization's page of 100", ofOrganization(apikey.KeyList{Limit: 100})},
		{"Organization's page of 100 in the middle", ofOrganization(apikey.KeyList{Limit: 100, After: &in})},
		{"Organization's page of 100 by expiry", ofOrganization(apikey.KeyList{Limit: 100, Order: apikey.KeyOrder{ByExpiry: true, Ascending: true}, Where: apikey.KeyConditions{
			Expires: apikey.Period{From: &aTime},
		}})},
		{"Creator's page of 100", ofOrganization(apikey.KeyList{Limit: 100, Where: apikey.KeyConditions{CreatedBy: new("user_00003")}})},
		{"Organization's CountKeys", func(ctx context.Context) error {
			_, err := s.CountKeys(ctx, "int_1", apikey.KeyConditions{})
			return err
		}},
		{"CountUnusable", func(ctx context.Context) error { _, err := s.CountUnusable(ctx); return err }},
		{"KeysWithID", func(ctx context.Context) error { _, err := s.KeysWithID(ctx, k.ID); return err }},
		{"Namespaces", func(ctx context.Context) error {
			_, err := s.Namespaces(ctx, "int_1", []string{nth("ns", middle), nth("namespace", middle+1)})
			return err
		}},
		{"NamespacesCalled", func(ctx context.Context) error { _, err := s.NamespacesCalled(ctx, nth("ns", middle)); return err }},
		{"OrganizationNamespaces", func(ctx context.Context) error {
			_, err := s.OrganizationNamespaces(ctx, nth("organization", middle))
			return err
		}},
		{"Retrievers", func(ctx context.Context) error {
			_, err := s.Retrievers(ctx, "int_1", []apikey.RetrieverID{apikey.RetrieverID(nth("ret", middle))})
			return err
		}},
		{"RetrieversNamed", func(ctx context.Context) error {
			_, err := s.RetrieversNamed(ctx, "int_1", "ns_00001", []string{nth("retriever", middle)})
			return err
		}},
		{"RetrieverPage", func(ctx context.Context) error {
			_, err := s.RetrieverPage(ctx, "int_1", "ns_00001", apikey.RetrieverRange{Limit: 25})
			return err
		}},
		{"RetrieverPage in the middle", func(ctx context.Context) error {
			at := apikey.RetrieverPosition{Name: nth("retriever", middle), ID: apikey.RetrieverID(nth("ret", middle))}
			_, err := s.RetrieverPage(ctx, "int_1", "ns_00001", apikey.RetrieverRange{Limit: 25, After: &at})
			return err
		}},
		{"CountRetrievers", func(ctx context.Context) error { _, err := s.CountRetrievers(ctx, "int_1", "ns_00001"); return err }},
		{"EventPage", func(ctx context.Context) error {
			_, err := s.EventPage(ctx, "int_1", ofRetriever("ret_1", 25))
			return err
		}},
		{"EventPage about a key", func(ctx context.Context) error {
			_, err := s.EventPage(ctx, "int_1", about(k.ID, 25))
			return err
		}},
		{"CountEvents", func(ctx context.Context) error {
			_, err := s.CountEvents(ctx, "int_1", ofRetriever("ret_1", 0).Where)
			return err
		}},
		{"CountEvents about a key", func(ctx context.Context) error {
			_, err := s.CountEvents(ctx, "int_1", about(k.ID, 0).Where)
			return err
		}},
	} {
		b.Run(q.name, func(b *testing.B) {
			for b.Loop() {
				if err := q.ask(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
