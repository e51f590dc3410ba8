package mongodb

import (
	"context"
	"errors"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// addAttempts is how often AddAnswers sends days whose first document another process stored at the same time.
const addAttempts = 3

// AddAnswers implements apikey.Store.
//
// The driver can send the command again after a failure. It does so only if the deployment numbers writes, and then the server executes each of
// the updates once. Without numbers, for example on a standalone server, the driver does not repeat it, and neither does this package.
func (s *Store) AddAnswers(ctx context.Context, days []apikey.KeyDay) (apikey.NotAdded, error) {
	ctx, cancel := writing(ctx)
	defer cancel()
	var lost []apikey.KeyDay
	for attempt := 1; ; attempt++ {
		not, err := s.addAnswers(ctx, days)
		lost = append(lost, not.Lost...)
		if err == nil || attempt == addAttempts || !duplicatesOnly(err) {
			return apikey.NotAdded{Left: not.Left, Lost: lost}, failure(err)
		}
		days = not.Left
	}
}

func (s *Store) addAnswers(ctx context.Context, days []apikey.KeyDay) (not apikey.NotAdded, err error) {
	models := make([]mongo.WriteModel, len(days))
	for i, d := range days {
		models[i] = mongo.NewUpdateOneModel().SetUpsert(true).SetFilter(keyDay(d)).SetUpdate(bson.D{
			{Key: "$inc", Value: bson.D{{Key: "allowed", Value: apikey.Count(d.Allowed)}, {Key: "refused", Value: apikey.Count(d.Refused)}}},
			{Key: "$setOnInsert", Value: bson.D{{Key: "_id", Value: document.KeyDayID(d)}}},
		})
	}
	if len(models) == 0 {
		return not, nil
	}
	_, err = s.primary.Collection(document.Usage).BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	bulk, some := errors.AsType[mongo.BulkWriteException](err)
	switch {
	case err == nil:
	case some && bulk.WriteConcernError == nil: // the updates with an error failed, and the others did not
		for _, e := range bulk.WriteErrors {
			if isDuplicate(e.Code) || slices.Contains(outageCodes, e.Code) || slices.Contains(passingCodes, e.Code) {
				not.Left = append(not.Left, days[e.Index])
			} else {
				not.Lost = append(not.Lost, days[e.Index]) // the document has another type there, for example
			}
		}
	case notSent(err) || hasCode(err, codeUnauthorized) && !some:
		not.Left = days
	default:
		not.Lost = days
	}
	return not, err
}

// keyDay selects the document of a key's day.
func keyDay(d apikey.KeyDay) bson.D {
	return bson.D{{Key: "internal_id", Value: string(d.InternalID)}, {Key: "key_id", Value: string(d.ID)}, {Key: "day", Value: document.Midnight(d.Day)}}
}

func isDuplicate(code int) bool { return code == codeDuplicateKey || code == codeDuplicateKeyOfOld }

// duplicatesOnly reports whether documents that exist already are all that was wrong.
func duplicatesOnly(err error) bool {
	bulk, some := errors.AsType[mongo.BulkWriteException](err)
	return some && bulk.WriteConcernError == nil && len(bulk.WriteErrors) > 0 &&
		!slices.ContainsFunc(bulk.WriteErrors, func(e mongo.BulkWriteError) bool { return !isDuplicate(e.Code) })
}

// notSent reports whether the command certainly reached no server: none was found, or none could be connected to. If the driver sent the
// command and could not repeat it, it returns the first error, which is another one.
func notSent(err error) bool {
	return !isA[mongo.CommandError](err) && !isA[mongo.WriteException](err) &&
		(isA[topology.ServerSelectionError](err) || isA[topology.WaitQueueTimeoutError](err) || isA[topology.ConnectionError](err) ||
			isA[topology.PoolError](err) || isA[driver.RetryablePoolError](err))
}

// AnswersOf implements apikey.Store.
func (s *Store) AnswersOf(ctx context.Context, tenant apikey.InternalID, ids []apikey.ID, from, to apikey.Day) ([]apikey.KeyDay, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var days []apikey.KeyDay
	left, n := apikey.CostFrom(ctx).Left(), 0
	_, err := find{filter: keyDays(tenant, ids, from, to), fields: []string{"internal_id", "key_id", "day", "allowed", "refused"}}.
		until(ctx, s.usage, func(doc bson.Raw, more int) (enough bool) {
			if days == nil {
				days = make([]apikey.KeyDay, 0, 1+more)
			}
			// MongoDB also finds documents with lists that contain these values.
			if d, ok := document.KeyDay(doc); ok && d.InternalID == tenant && slices.Contains(ids, d.ID) && from <= d.Day && d.Day <= to {
				days = append(days, d)
			}
			n++
			return n > left
		})
	if err != nil {
		return nil, err
	}
	return days, nil
}

func keyDays(tenant apikey.InternalID, ids []apikey.ID, from, to apikey.Day) bson.D {
	return bson.D{
		{Key: "internal_id", Value: string(tenant)}, {Key: "key_id", Value: equal(ids...)},
		{Key: "day", Value: bson.D{{Key: "$gte", Value: document.Midnight(from)}, {Key: "$lt", Value: document.Midnight(to + 1)}}},
	}
}

// DeleteAnswers implements apikey.Store. A deletion can be repeated without harm.
func (s *Store) DeleteAnswers(ctx context.Context, before apikey.Day, limit int) (more bool, err error) {
	own, earlier, err := s.clocks(ctx)
	if err != nil {
		return false, err
	}
	before -= apikey.DayOf(own) - apikey.DayOf(earlier)
	var ids, tenants bson.A
	collection := s.primary.Collection(document.Usage)
	n, err := find{filter: daysBefore(before), sort: bson.D{up("day")}, fields: []string{"internal_id"}, limit: limit}.
		each(ctx, collection, func(doc bson.Raw, _ int) {
			for key, list := range map[string]*bson.A{"_id": &ids, "internal_id": &tenants} {
				v := doc.Lookup(key)
				*list = append(*list, bson.RawValue{Type: v.Type, Value: slices.Clone(v.Value)})
			}
		})
	if err != nil || n == 0 {
		return false, err
	}
	ctx, cancel := writing(ctx)
	defer cancel()
	_, err = collection.DeleteMany(ctx, append(daysBefore(before), // the tenants say which shards have them
		bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, bson.E{Key: "internal_id", Value: bson.D{{Key: "$in", Value: tenants}}}))
	return n == limit && err == nil, failure(err)
}

func daysBefore(d apikey.Day) bson.D {
	return bson.D{{Key: "day", Value: bson.D{{Key: "$lt", Value: document.Midnight(d)}}}}
}
