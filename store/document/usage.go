package document

import (
	"crypto/sha256"
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"retrieverkeys/apikey"
)

// Usage is the collection of what gateways were answered about each key on each day. A document has the fields internal_id, key_id, day,
// allowed and refused. The day is the date of its first instant in UTC.
const Usage = "api_key_usage"

// KeyDay reads a day of a key. A count that is missing, negative or of another type is 0, and one that is too large is the largest. It returns
// false if the document has no usable key or day.
func KeyDay(doc bson.Raw) (apikey.KeyDay, bool) {
	var d apikey.KeyDay
	var dated bool
	ok := each(doc, func(name []byte, v value) {
		switch string(name) {
		case "internal_id":
			d.InternalID = apikey.InternalID(v.text())
		case "key_id":
			d.ID = apikey.ID(v.text())
		case "day":
			at, isDate := v.time()
			d.Day, dated = apikey.DayOf(at), isDate
		case "allowed":
			d.Allowed = v.count()
		case "refused":
			d.Refused = v.count()
		}
	})
	return d, ok && d.ID != "" && dated
}

func (v value) count() int64 {
	if v.Type != bsoncore.TypeDouble {
		return apikey.Count(v.int64())
	}
	f := v.Double()
	if math.IsNaN(f) {
		return 0
	}
	return int64(min(max(f, 0), apikey.MaxCount))
}

// KeyDayID returns the _id of a new document. It is the same for the same key and day, so that two processes that store the first answers at
// the same time cannot store two documents, even before the unique index is built.
func KeyDayID(d apikey.KeyDay) bson.Binary {
	sum := sha256.Sum256(raw(bson.D{{Key: "internal_id", Value: d.InternalID}, {Key: "key_id", Value: d.ID}, {Key: "day", Value: Midnight(d.Day)}}))
	const bytes = 16
	return bson.Binary{Data: sum[:bytes]}
}

// Midnight is the date of the day's first instant.
func Midnight(d apikey.Day) bson.DateTime { return bson.NewDateTimeFromTime(d.Start()) }
