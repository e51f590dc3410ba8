package mongodb

import (
	"context"
	"errors"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// Repair implements store.Engine. Before it writes, it reads all documents without a key_id, about 150 bytes of each.
// So it knows their number, and no cursor stays open during the writes.
func (s *Store) Repair(ctx context.Context, o document.RepairOptions) (done document.Repaired, err error) {
	// Reading every key can take long, so the server gets no deadline.
	reading, stop := context.WithTimeout(ctx, buildTime)
	defer stop()
	q := find{filter: bson.D{{Key: "key_id", Value: notText}}, fields: []string{"internal_id", "key_id"}}
	found, err := all(reading, s.primaryKeys(), q, document.FindMissing)
	if err != nil {
		return done, err
	}
	looked := 0
	for batch := range slices.Chunk(found, document.RepairBatch) {
		if err := s.repairBatch(ctx, batch, o.DryRun, &done); err != nil {
			return done, err
		}
		if looked += len(batch); o.Progress != nil {
			o.Progress(looked, len(found))
		}
	}
	return done, nil
}

// repairBatch gives each document its key_id, except those whose id another document has.
func (s *Store) repairBatch(ctx context.Context, batch []document.Missing, dry bool, done *document.Repaired) error {
	known, err := s.knownBy(ctx, batch)
	if err != nil {
		return err
	}
	var models []mongo.WriteModel
	var written []*document.Missing
	for i := range batch {
		m := &batch[i]
		if m.ID != "" && known[owned{m.Tenant, string(m.ID)}] > 1 {
			done.Clashes = append(done.Clashes, m.Clash())
			continue
		}
		written = append(written, m)
		models = append(models, mongo.NewUpdateOneModel().
			SetFilter(bson.D{{Key: "_id", Value: m.Doc.Lookup("_id")}, ownTenant(m.Doc), {Key: "key_id", Value: notText}}).
			SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "key_id", Value: string(m.NewID())}}}}))
	}
	if dry || len(models) == 0 {
		for _, m := range written {
			done.Count(m)
		}
		return nil
	}
	ctx, cancel := writing(ctx)
	defer cancel()
	_, err = s.primaryKeys().BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	var bulk mongo.BulkWriteException
	if err != nil && (!errors.As(err, &bulk) || bulk.WriteConcernError != nil || isOutage(err)) {
		return failure(err)
	}
	refused := map[int]bool{}
	for _, e := range bulk.WriteErrors {
		if e.Code != codeDuplicateKey { // another document has got the id in the meantime
			return failure(err)
		}
		refused[e.Index] = true
		done.Clashes = append(done.Clashes, written[e.Index].Clash())
	}
	for i, m := range written {
		if !refused[i] {
			done.Count(m)
		}
	}
	return nil
}

// knownBy counts the documents that clients know by each of the batch's ids.
func (s *Store) knownBy(ctx context.Context, batch []document.Missing) (map[owned]int, error) {
	ids := map[apikey.InternalID][]apikey.ID{}
	for i := range batch {
		if m := &batch[i]; m.ID != "" {
			ids[m.Tenant] = append(ids[m.Tenant], m.ID)
		}
	}
	known := map[owned]int{}
	if len(ids) == 0 {
		return known, nil
	}
	var all []apikey.ID
	var anyOf bson.A
	for tenant, ids := range ids {
		ofTenant := bson.E{Key: "internal_id", Value: string(tenant)}
		if tenant == "" {
			ofTenant.Value = notText
		}
		anyOf = append(anyOf, bson.D{ofTenant, {Key: "key_id", Value: bson.D{{Key: "$in", Value: texts(ids)}}}})
		all = append(all, ids...)
	}
	anyOf = append(anyOf, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: documentIDsOf(all)}}}, {Key: "key_id", Value: notText}})
	q := find{filter: bson.D{{Key: "$or", Value: anyOf}}, fields: []string{"internal_id", "key_id"}}
	_, err := q.each(ctx, s.primaryKeys(), func(doc bson.Raw, _ int) {
		k, _ := document.Key(doc, apikey.FieldInternalID) // a document without a hash has an id too
		known[owned{k.InternalID, string(k.ID)}]++
	})
	return known, err
}

// ownTenant selects by the document's own tenant, by which a sharded collection finds it.
func ownTenant(doc bson.Raw) bson.E {
	if _, err := doc.LookupErr("internal_id"); err != nil {
		return bson.E{Key: "internal_id", Value: nil}
	}
	return internalID(doc)
}
