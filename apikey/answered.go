package apikey

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// This file counts what gateways were answered about each key by day, and shows it.
//
// Answers are counted in memory and added to the store every few seconds, so no request waits for it. What the store certainly did not add is
// added later. A count whose outcome is unknown is lost: adding it again could count an answer twice.

// Answers are the numbers of answers to gateways.
type Answers struct {
	Allowed int64
	Refused int64 // because of the key's origins, permissions or scopes, or because its budget was used up
}

// MaxCount is the largest count. JSON numbers are exact up to it.
const MaxCount = 1<<53 - 1

// Plus returns the sum, at most MaxCount of each.
func (a Answers) Plus(b Answers) Answers {
	return Answers{Allowed: plus(a.Allowed, b.Allowed), Refused: plus(a.Refused, b.Refused)}
}

func plus(a, b int64) int64 { return Count(a) + min(Count(b), MaxCount-Count(a)) }

// Count returns n if it is a count, or else the nearest one.
func Count(n int64) int64 { return min(max(n, 0), MaxCount) }

func (a Answers) total() int64 { return plus(a.Allowed, a.Refused) }

// KeyDay has the answers about a key on one day.
type KeyDay struct {
	InternalID InternalID
	ID         ID
	Day        Day
	Answers
}

// UsageDay has the answers about a key on one day.
type UsageDay struct {
	Day Day
	Answers
}

// KeyUsage has the answers about a key in a period.
type KeyUsage struct {
	Answers            // their sum
	Days    []UsageDay // each day of the period, oldest first
}

// answeredOf identifies what is counted.
type answeredOf struct {
	tenant InternalID
	id     ID
	day    Day
}

const (
	// maxAnswered is how many keys' days are counted between two writes. It takes about 10 MB. Answers about more keys are lost.
	maxAnswered = 50_000
	// answeredBatch is how many keys' days are stored at a time.
	answeredBatch = 500
)

// The reasons why answers are not counted.
const (
	LostFull    = "full"    // too many keys were asked about while the store was down, or within seconds
	LostUnknown = "unknown" // the store failed while it added them; it can have done so
)

// answered counts an answer about the key.
func (u *Usage) answered(k *Key, at time.Time, a Answers) {
	if k.ID == "" { // no list shows the key
		return
	}
	if !u.count(answeredOf{k.InternalID, k.ID, DayOf(at)}, a) {
		u.lose(LostFull, a.total())
	}
}

// count adds to the counts that are to be stored, and reports whether there was room.
func (u *Usage) count(of answeredOf, a Answers) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	counted := u.counts[of]
	if counted == nil {
		if len(u.counts) >= maxAnswered {
			return false
		}
		if u.counts == nil {
			u.counts = map[answeredOf]*Answers{}
		}
		counted = new(Answers)
		// The texts can be parts of a whole document.
		u.counts[answeredOf{InternalID(strings.Clone(string(of.tenant))), ID(strings.Clone(string(of.id))), of.day}] = counted
	}
	*counted = counted.Plus(a)
	return true
}

func (u *Usage) lose(reason string, answers int64) {
	if u.Lost != nil {
		u.Lost(reason, answers)
	}
}

// storeAnswers adds everything that was counted to the store. After a failure, it keeps what was not added for the next time. It logs the first of
// several failures.
func (u *Usage) storeAnswers(ctx context.Context) {
	u.mu.Lock()
	counted := u.counts
	u.counts = nil
	u.mu.Unlock()
	days := make([]KeyDay, 0, len(counted))
	for of, a := range counted {
		days = append(days, KeyDay{of.tenant, of.id, of.day, *a})
	}
	if len(days) == 0 {
		return
	}
	failed := false
	for len(days) > 0 {
		batch := days[:min(len(days), answeredBatch)]
		days = days[len(batch):]
		not, err := u.Store.AddAnswers(ctx, batch)
		if err == nil {
			continue
		}
		if !failed && !u.failing {
			u.Logger.WarnContext(ctx, "usage could not be stored", "error", err, "cause", errors.Unwrap(err))
		}
		failed = true
		if lost := sum(not.Lost); lost > 0 {
			u.lose(LostUnknown, lost)
		}
		u.countLater(not.Left)
		if len(not.Left) == len(batch) { // the store is down
			u.countLater(days)
			break
		}
	}
	if u.failing && !failed {
		u.Logger.InfoContext(ctx, "usage is stored again")
	}
	u.failing = failed
}

func sum(days []KeyDay) (answers int64) {
	for _, d := range days {
		answers += d.total()
	}
	return answers
}

// countLater keeps counts that were not stored, if there is room.
func (u *Usage) countLater(days []KeyDay) {
	for _, d := range days {
		if !u.count(answeredOf{d.InternalID, d.ID, d.Day}, d.Answers) {
			u.lose(LostFull, d.total())
		}
	}
}

// uncounted returns how many answers are not stored.
func (u *Usage) uncounted() (answers int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, a := range u.counts {
		answers += a.total()
	}
	return answers
}

// Forget deletes the days of keys that are more than that many days old, now and every hour, in small steps, until the context ends.
func (u *Usage) Forget(ctx context.Context, days int, now func() time.Time) {
	forget(ctx, u.Logger, "old usage could not be deleted", func(ctx context.Context) (more bool, err error) {
		return u.Store.DeleteAnswers(ctx, DayOf(now())-Day(days), forgetBatch)
	})
}

// answered counts what a gateway was answered about the caller's key.
func (s *Service) answered(c Caller, at time.Time, a Answers) {
	if s.Usage != nil {
		s.Usage.answered(c.Key, at, a)
	}
}

// RefusedForBudget counts that a gateway was refused because the budget of the caller's key is used up.
func (s *Service) RefusedForBudget(c Caller) {
	s.answered(c, s.now(), Answers{Refused: 1})
}

const (
	// MaxUsageDays is the longest period that UsageOf shows.
	MaxUsageDays = 400
	// UsageDays is the period that it shows unless it is asked for another one.
	UsageDays = 30
	// usageDayBytes is the memory of a UsageDay.
	usageDayBytes = 24
)

// UsagePeriod returns the first and the last day of a period. By default, it ends today and has UsageDays days.
func UsagePeriod(today Day, from, to *Day) (first, last Day, err error) {
	last = today
	if to != nil {
		last = *to
	}
	first = max(last-UsageDays+1, firstDay)
	if from != nil {
		first = *from
	}
	switch {
	case first > last && to == nil:
		return 0, 0, Invalid("from", "from must not be after today (UTC) if to is left out.")
	case first > last:
		return 0, 0, Invalid("from", "from must not be after to.")
	case last-first >= MaxUsageDays:
		return 0, 0, Invalid("from", "from and to must span at most %d days.", MaxUsageDays)
	default:
		return first, last, nil
	}
}

// UsageOf returns what gateways were answered about each of the keys, in the same order. The Service must have returned the keys to the same
// caller. It makes one read for all keys.
func (s *Service) UsageOf(ctx context.Context, c Caller, keys []*Key, from, to *Day) ([]*KeyUsage, error) {
	if err := s.authorize(c, Read); err != nil {
		return nil, err
	}
	first, last, err := UsagePeriod(DayOf(s.now()), from, to)
	if err != nil {
		return nil, err
	}
	ids := make([]ID, len(keys))
	for i, k := range keys {
		ids[i] = k.ID
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	cost, days := CostFrom(ctx), int(last-first)+1
	if err := cost.Look(len(ids)); err != nil { // each is looked for
		return nil, err
	}
	if err := cost.retain(len(ids) * days * usageDayBytes); err != nil {
		return nil, err
	}
	stored, err := s.Store.AnswersOf(ctx, c.Key.InternalID, ids, first, last)
	if err != nil {
		return nil, err
	}
	of := make(map[ID]*KeyUsage, len(ids))
	for _, id := range ids {
		u := &KeyUsage{Days: make([]UsageDay, days)}
		for i := range u.Days {
			u.Days[i].Day = first + Day(i)
		}
		of[id] = u
	}
	for _, d := range stored {
		u := of[d.ID]
		u.Answers = u.Plus(d.Answers)
		day := &u.Days[d.Day-first]
		day.Answers = day.Plus(d.Answers) // without a unique index, a day can be stored twice
	}
	all := make([]*KeyUsage, len(keys))
	for i, k := range keys {
		all[i] = of[k.ID]
	}
	return all, nil
}
