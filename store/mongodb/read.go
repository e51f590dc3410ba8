package mongodb

import (
	"cmp"
	"context"
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"retrieverkeys/apikey"
)

// database is a database with its read preference and concern. Each find must state them itself, because the driver
// adds neither to a command.
type database struct {
	*mongo.Database
	prefer  *options.RunCmdOptionsBuilder
	concern bson.D // empty if there is none
}

func reading(db *mongo.Database, prefer *readpref.ReadPref, concern *readconcern.ReadConcern) *database {
	d := &database{Database: db, prefer: options.RunCmd().SetReadPreference(prefer)}
	if concern != nil && concern.Level != "" {
		d.concern = bson.D{{Key: "readConcern", Value: bson.D{{Key: "level", Value: concern.Level}}}}
	}
	return d
}

// collection is a collection of a database.
type collection struct {
	*mongo.Collection
	in *database
}

func (d *database) Collection(name string) collection {
	return collection{d.Database.Collection(name), d}
}

// find is one find command.
type find struct {
	filter bson.D
	sort   bson.D
	fields []string
	whole  bson.RawValue // an encoded projection instead of fields
	hint   string        // the name of the index that must be used; empty: the server chooses
	limit  int           // 0: all matches, if the filter itself bounds them
	batch  int           // the batch size; 0: one batch up to the limit, or a large one if there is none
}

// command encodes the find. The driver's own Find never sends how long the caller waits. Adding that costs a list of 20
// keys 7 to 10 % more processor time (387 instead of 355 µs).
func (q find) command(collection string, batch int) bson.D {
	if q.whole.Value == nil {
		q.whole = projection(q.fields)
	}
	c := bson.D{
		{Key: "find", Value: collection}, {Key: "filter", Value: q.filter}, {Key: "projection", Value: q.whole},
		{Key: "batchSize", Value: int32(batch)},
	}
	if q.sort != nil {
		c = append(c, bson.E{Key: "sort", Value: q.sort})
	}
	if q.hint != "" {
		c = append(c, bson.E{Key: "hint", Value: q.hint})
	}
	if q.limit > 0 {
		c = append(c, bson.E{Key: "limit", Value: int64(q.limit)})
	}
	return c
}

// projection encodes a projection directly, in a sixth of the driver's time.
func projection(fields []string) bson.RawValue {
	start, doc := bsoncore.AppendDocumentStart(make([]byte, 0, 24*(1+len(fields))))
	for _, name := range fields {
		doc = bsoncore.AppendInt32Element(doc, name, 1)
	}
	doc, _ = bsoncore.AppendDocumentEnd(doc, start)
	return bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: doc}
}

// each calls f with every document found and the number of further ones in the batch. It returns the number of
// documents. f must not keep the document.
func (q find) each(ctx context.Context, c collection, f func(doc bson.Raw, more int)) (n int, err error) {
	return q.until(ctx, c, func(doc bson.Raw, more int) (enough bool) {
		f(doc, more)
		return false
	})
}

// until is each, but stops when f returns true.
func (q find) until(ctx context.Context, c collection, f func(doc bson.Raw, more int) (enough bool)) (n int, err error) {
	batch := cmp.Or(q.batch, 10_000)
	if q.limit > 0 && (q.batch == 0 || q.limit < q.batch) {
		batch = q.limit + 1 // so the server sees the end and closes its cursor in the same round trip
	}
	deepen(0)
	command := append(q.command(c.Name(), batch), c.in.concern...)
	ctx, cancel := bounded(ctx)
	defer cancel()
	cursor, err := withRetry(ctx, func() (*mongo.Cursor, error) { return c.in.RunCommandCursor(ctx, command, c.in.prefer) })
	if err != nil {
		return 0, failure(err)
	}
	cursor.SetBatchSize(int32(batch))
	// If the context has ended this sends nothing, and the server closes the cursor by itself after a while.
	defer func() { _ = cursor.Close(ctx) }()
	looked := 0
	for enough := false; !enough && cursor.Next(ctx); n++ {
		looked += apikey.Documents(len(cursor.Current))
		enough = f(cursor.Current, cursor.RemainingBatchLength())
	}
	if err := cursor.Err(); err != nil {
		return n, failure(err)
	}
	return n, apikey.CostFrom(ctx).Look(looked)
}

// deepen grows a new goroutine's stack at once to what a read through the driver needs. Otherwise it grows in steps,
// and each step copies the stack: 4 to 6 % of the processor time of a list of 20 keys.
//
//go:noinline
func deepen(i int) byte {
	var room [12 << 10]byte
	return room[i]
}

// all decodes the documents found and returns those that are usable.
func all[T any](ctx context.Context, c collection, q find, decode func(bson.Raw) (T, bool)) ([]T, error) {
	var items []T
	_, err := q.each(ctx, c, func(doc bson.Raw, more int) {
		if items == nil {
			items = make([]T, 0, 1+more)
		}
		if item, ok := decode(doc); ok {
			items = append(items, item)
		}
	})
	return items, err
}

// count counts the matches, as far as the request's Cost allows.
func count(ctx context.Context, c collection, filter bson.D) (int, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	cost, o := apikey.CostFrom(ctx), options.Count()
	if left := cost.Left(); left < math.MaxInt {
		o.SetLimit(int64(left) + 1)
	}
	n, err := withRetry(ctx, func() (int64, error) { return c.CountDocuments(ctx, filter, o) })
	if err != nil {
		return 0, failure(err)
	}
	return int(n), cost.Look(int(n))
}

// tenantsIn returns the tenants of a collection, each once. It is an aggregation, because the answer of the command
// distinct must fit into one document.
func tenantsIn(ctx context.Context, c collection) ([]string, error) {
	const field = "internal_id"
	ctx, cancel := bounded(ctx)
	defer cancel()
	groups, err := withRetry(ctx, func() (groups []struct {
		Text string `bson:"_id"`
	}, err error) {
		cursor, err := c.Aggregate(ctx, bson.A{
			bson.D{{Key: "$match", Value: bson.D{{Key: field, Value: someText}}}},
			bson.D{{Key: "$sort", Value: bson.D{{Key: field, Value: 1}}}},
			bson.D{{Key: "$group", Value: bson.D{{Key: "_id", Value: "$" + field}}}},
		})
		if err != nil {
			return nil, err
		}
		return groups, cursor.All(ctx, &groups)
	})
	texts := make([]string, len(groups))
	for i, g := range groups {
		texts[i] = g.Text
	}
	return texts, failure(err)
}

// inTurn reads a list that has several parts, one after the other, until the limit is reached.
func inTurn[T any](limit int, parts ...func(limit int) ([]T, error)) ([]T, error) {
	var items []T
	for _, part := range parts {
		if len(items) == limit {
			break
		}
		more, err := part(limit - len(items))
		if err != nil {
			return nil, err
		}
		items = append(items, more...)
	}
	return items, nil
}
