package mongodb

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// find is one find command.
type find struct {
	filter bson.D
	sort   bson.D
	fields []string
	limit  int // 0: all that match, where the filter itself bounds them
}

// each calls f with every document found and how many more are at hand, and returns their number. f must not keep
// the document.
func (q find) each(ctx context.Context, c *mongo.Collection, f func(doc bson.Raw, more int)) (n int, err error) {
	projection := make(bson.D, len(q.fields))
	for i, name := range q.fields {
		projection[i] = bson.E{Key: name, Value: int32(1)}
	}
	// A batch larger than the limit lets the server see the end, and close its cursor, in the same trip.
	batch := 10_000
	o := options.Find().SetProjection(projection)
	if q.sort != nil {
		o.SetSort(q.sort)
	}
	if q.limit > 0 {
		o.SetLimit(int64(q.limit))
		batch = q.limit + 1
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	cursor, err := again(ctx, func() (*mongo.Cursor, error) { return c.Find(ctx, q.filter, o.SetBatchSize(int32(batch))) })
	if err != nil {
		return 0, failure(err)
	}
	// With a context that has ended this sends nothing: the server forgets the cursor by itself.
	defer func() { _ = cursor.Close(ctx) }()
	for cursor.Next(ctx) {
		f(cursor.Current, cursor.RemainingBatchLength())
		n++
	}
	return n, failure(cursor.Err())
}

// all returns what decode makes of the documents found, without those it finds unusable.
func all[T any](ctx context.Context, c *mongo.Collection, q find, decode func(bson.Raw) (T, bool)) ([]T, error) {
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

// count counts what matches.
func count(ctx context.Context, c *mongo.Collection, filter bson.D) (int, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	n, err := again(ctx, func() (int64, error) { return c.CountDocuments(ctx, filter) })
	return int(n), failure(err)
}

// inTurn reads a list that lies in several parts: each with what is left of the limit, as long as any is left.
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
