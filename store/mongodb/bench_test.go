package mongodb

import (
	"context"
	"fmt"
	"testing"
	"time"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
	"retrieverkeys/store/mongodb/mongodbtest"
)

// BenchmarkQueries asks each question of a tenant with 20,000 keys of one retriever, on the deployment of TEST_MONGODB_URI. Where
// there is none it measures FerretDB, which reads every document for every question, so there are few.
func BenchmarkQueries(b *testing.B) {
	s, _ := indexed(b)
	many := mongodbtest.Fewer(20_000, 100)
	var keys document.Batch
	for i := range many {
		keys.Keys = append(keys.Keys, document.FromKey(aKey("int_1", i, named...)))
	}
	imported(b, s, keys)
	looksEvery(s, time.Hour)
	middle := many / 2
	k := aKey("int_1", middle, named...)
	var uses []apikey.Use
	for i := range 20 {
		k := aKey("int_1", i*many/20, named...)
		uses = append(uses, apikey.Use{InternalID: k.InternalID, ID: k.ID, Hash: k.Hash, At: aTime})
	}
	page := func(r apikey.KeyRange) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := s.KeyPages(ctx, "int_1", []apikey.RetrieverID{"ret_1"}, r)
			return err
		}
	}
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
			changed, err := s.ChangeKey(ctx, apikey.Change{Key: k, Fields: apikey.FieldName, Event: e})
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
		{"Page of 25", page(apikey.KeyRange{Limit: 25})},
		{"Page of 25 in the middle", page(apikey.KeyRange{Limit: 25, After: &apikey.KeyPosition{CreatedAt: k.CreatedAt, ID: k.ID}})},
		{"Page of 25 at the end", page(apikey.KeyRange{Limit: 25, FromEnd: true})},
		{"CountKeys", func(ctx context.Context) error {
			_, err := s.CountKeys(ctx, "int_1", "ret_1", time.Time{})
			return err
		}},
		{"EventPage", func(ctx context.Context) error {
			_, err := s.EventPage(ctx, "int_1", "ret_1", apikey.EventRange{Limit: 25})
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
