package program

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
	"retrieverkeys/store/document"
)

// demoUsageDays is how many days of usage the demo has.
const demoUsageDays = apikey.UsageDays

// addDemoUsage adds what gateways answered about the demo's keys. The demo is complete without it, so a failure is only logged.
func (c *command) addDemoUsage(ctx context.Context, engine store.Engine, keys []bson.Raw, now time.Time) {
	if _, err := engine.AddAnswers(ctx, demoUsage(keys, now)); err != nil {
		c.logger.WarnContext(ctx, "the demo has no usage", "error", err, "cause", errors.Unwrap(err))
	}
}

// demoUsage returns the days of the demo's keys that execute retrievers, until their last use or their end. It is the same for the same day and keys in the
// same order.
func demoUsage(keys []bson.Raw, now time.Time) (days []apikey.KeyDay) {
	today := apikey.DayOf(now)
	for n, doc := range keys {
		k, ok := document.Key(doc, apikey.AllFields)
		if !ok || k.Type != apikey.RetrieverKey || k.LastUsedAt == nil || k.CreatedAt == nil {
			continue
		}
		first, last := max(today-demoUsageDays+1, apikey.DayOf(*k.CreatedAt)), apikey.DayOf(*k.LastUsedAt)
		for _, end := range []*time.Time{k.RevokedAt, k.ExpiresAt} {
			if end != nil {
				last = min(last, apikey.DayOf(*end))
			}
		}
		for day := first; day <= last; day++ {
			a := demoAnswers(n, day, today)
			if day == today { // so far
				a.Allowed = int64(float64(a.Allowed) * now.Sub(today.Start()).Hours() / 24)
				a.Refused = 0
			}
			if day == last {
				a.Allowed = max(a.Allowed, 1)
			}
			if a != (apikey.Answers{}) {
				days = append(days, apikey.KeyDay{InternalID: k.InternalID, ID: k.ID, Day: day, Answers: a})
			}
		}
	}
	return days
}

// demoAnswers returns the answers about the n-th key on a whole day. Each key has its own size and growth; weekends differ from other days. Some
// keys once had a bad day, on which a page from an origin that is not allowed used them.
func demoAnswers(n int, day, today apikey.Day) (a apikey.Answers) {
	random := rand.New(rand.NewPCG(uint64(n), uint64(day))) //nolint:gosec // it only has to look real
	size := []float64{9200, 640, 2700, 85, 4100, 18, 1300}[n%7] * (0.8 + 0.4*random.Float64())
	size *= 1 + 0.02*float64(n%5-1)*float64(demoUsageDays-int(today-day))
	if weekday := day.Start().Weekday(); weekday == time.Saturday || weekday == time.Sunday {
		size *= []float64{1.3, 0.25, 0.7}[n%3] // shops, offices, apps
	}
	a.Allowed = int64(max(size, 0))
	a.Refused = int64(size * 0.01 * random.Float64())
	if n%6 == 4 && today-day == apikey.Day(5+n%9) {
		a.Refused = a.Allowed / 3
	}
	return a
}
