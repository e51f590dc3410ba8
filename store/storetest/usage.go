package storetest

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
)

// usageModel says what AddAnswers means.
type usageModel map[apikey.KeyDay]apikey.Answers // by key and day

func (m usageModel) add(days []apikey.KeyDay) {
	for _, d := range days {
		of := d
		of.Answers = apikey.Answers{}
		m[of] = m[of].Plus(d.Answers)
	}
}

// of returns what AnswersOf must return, in order.
func (m usageModel) of(tenant apikey.InternalID, ids []apikey.ID, from, to apikey.Day) (days []apikey.KeyDay) {
	for of, answers := range m {
		if of.InternalID == tenant && slices.Contains(ids, of.ID) && from <= of.Day && of.Day <= to {
			of.Answers = answers
			days = append(days, of)
		}
	}
	return byKeyAndDay(days)
}

func byKeyAndDay(days []apikey.KeyDay) []apikey.KeyDay {
	slices.SortFunc(days, func(a, b apikey.KeyDay) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Day, b.Day)) })
	return days
}

func answersOf(t *testing.T, e store.Engine, tenant apikey.InternalID, ids []apikey.ID, from, to apikey.Day) []apikey.KeyDay {
	t.Helper()
	days, err := e.AnswersOf(t.Context(), tenant, ids, from, to)
	if err != nil {
		t.Fatal(err)
	}
	return byKeyAndDay(days)
}

func mustAdd(t *testing.T, e store.Engine, days ...apikey.KeyDay) {
	t.Helper()
	if not, err := e.AddAnswers(t.Context(), days); err != nil || len(not.Left)+len(not.Lost) > 0 {
		t.Fatalf("AddAnswers did not add %+v, %v", not, err)
	}
}

// usage: The answers about a key on a day must add up, whatever was added before, and every period must have exactly its days of exactly these
// keys. Otherwise a key that is in use looks unused, or shows what another organization's key with the same id was used for.
func usage(t *testing.T, e store.Engine) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same in every run
	today := apikey.DayOf(instant)
	tenants, ids := []apikey.InternalID{OddTenant, "int_other"}, []apikey.ID{"key_1", "key_2", "key_3"}
	m := usageModel{}
	for range 30 {
		once := usageModel{}
		for range 1 + random.IntN(20) {
			once.add([]apikey.KeyDay{{
				InternalID: tenants[random.IntN(2)], ID: ids[random.IntN(3)], Day: today - apikey.Day(random.IntN(6)),
				Answers: apikey.Answers{Allowed: random.Int64N(3), Refused: random.Int64N(2)},
			}})
		}
		var days []apikey.KeyDay
		for _, tenant := range tenants {
			days = append(days, once.of(tenant, ids, today-9, today)...)
		}
		mustAdd(t, e, days...)
		m.add(days)
	}
	for _, tenant := range append(tenants, "int_none") {
		for _, asked := range [][]apikey.ID{{"key_1"}, {"key_3", "key_1", "key_1", "absent"}, ids, {"absent"}, nil} {
			for _, period := range [][2]apikey.Day{{today - 9, today + 9}, {today, today}, {today - 3, today - 2}, {today - 400, today - 300}} {
				want, got := m.of(tenant, asked, period[0], period[1]), answersOf(t, e, tenant, asked, period[0], period[1])
				equal(t, fmt.Sprintf("%s %v %v", tenant, asked, period), want, got, nil)
			}
		}
	}
	mustAdd(t, e)
}

// largeUsage: Counts must stop at the largest that JSON shows exactly. Otherwise a count could become negative or fail its list.
func largeUsage(t *testing.T, e store.Engine) {
	day := apikey.KeyDay{InternalID: OddTenant, ID: "key_1", Day: apikey.DayOf(instant)}
	for _, c := range []struct{ add, want apikey.Answers }{
		{apikey.Answers{Allowed: apikey.MaxCount - 1, Refused: -5}, apikey.Answers{Allowed: apikey.MaxCount - 1}},
		{apikey.Answers{Allowed: 1, Refused: 2}, apikey.Answers{Allowed: apikey.MaxCount, Refused: 2}},
		{apikey.Answers{Allowed: 1, Refused: 1}, apikey.Answers{Allowed: apikey.MaxCount, Refused: 3}},
		{apikey.Answers{Refused: 1 << 60}, apikey.Answers{Allowed: apikey.MaxCount, Refused: apikey.MaxCount}},
	} {
		day.Answers = c.add
		mustAdd(t, e, day)
		day.Answers = c.want
		equal(t, fmt.Sprint(c.add), []apikey.KeyDay{day}, answersOf(t, e, day.InternalID, []apikey.ID{day.ID}, day.Day, day.Day), nil)
	}
}

// concurrentUsage: Several processes must add to the same days at the same time without losing a count, even if all of them are the first. They
// are, at every midnight.
func concurrentUsage(t *testing.T, e store.Engine) {
	const writers, rounds = 4, 8
	today := apikey.DayOf(instant)
	var days []apikey.KeyDay
	for _, id := range []apikey.ID{"key_1", "key_2", "key_3"} {
		days = append(days, apikey.KeyDay{InternalID: OddTenant, ID: id, Day: today, Answers: apikey.Answers{Allowed: 2, Refused: 1}})
	}
	var writing sync.WaitGroup
	for range writers {
		writing.Go(func() {
			for range rounds {
				if not, err := e.AddAnswers(t.Context(), days); err != nil || len(not.Left)+len(not.Lost) > 0 {
					t.Errorf("AddAnswers did not add %+v, %v", not, err)
				}
			}
		})
	}
	writing.Wait()
	for i := range days {
		days[i].Answers = apikey.Answers{Allowed: 2 * writers * rounds, Refused: writers * rounds}
	}
	equal(t, "days", days, answersOf(t, e, OddTenant, []apikey.ID{"key_1", "key_2", "key_3"}, today, today), nil)
}

// oldUsage: Days must be deleted in the given steps until none of them is left, those of every tenant, and no later day. Otherwise the store grows
// forever, or loses what people still look at.
func oldUsage(t *testing.T, e store.Engine) {
	today := apikey.DayOf(instant)
	var days []apikey.KeyDay
	for i := range apikey.Day(9) {
		for _, tenant := range []apikey.InternalID{OddTenant, "int_other"} {
			days = append(days, apikey.KeyDay{InternalID: tenant, ID: "key_1", Day: today - i, Answers: apikey.Answers{Allowed: 1}})
		}
	}
	mustAdd(t, e, days...)
	count := func() (n int) {
		for _, tenant := range []apikey.InternalID{OddTenant, "int_other"} {
			n += len(answersOf(t, e, tenant, []apikey.ID{"key_1"}, today-20, today))
		}
		return n
	}
	for i, want := range []struct {
		left int
		more bool
	}{{13, true}, {8, true}, {6, false}, {6, false}} {
		more, err := e.DeleteAnswers(t.Context(), today-2, 5)
		equal(t, fmt.Sprintf("DeleteAnswers %d", i), want.more, more, err)
		equal(t, fmt.Sprintf("left %d", i), want.left, count(), nil)
	}
	equal(t, "the days that are left", 3, len(answersOf(t, e, OddTenant, []apikey.ID{"key_1"}, today-2, today)), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if more, err := e.DeleteAnswers(ctx, today+1, 5); err == nil || more {
		t.Errorf("DeleteAnswers after its context ended: %t, %v", more, err)
	}
}

// readsOfUsageAreCharged: A read must charge each day to the request's Cost, and end soon after it is exceeded. Otherwise one request could read
// every day of a thousand keys forever.
func readsOfUsageAreCharged(t *testing.T, e store.Engine) {
	today := apikey.DayOf(instant)
	var days []apikey.KeyDay
	for i := range apikey.Day(20) {
		days = append(days, apikey.KeyDay{InternalID: OddTenant, ID: "key_1", Day: today - i})
	}
	mustAdd(t, e, days...)
	for reads, ok := range map[int]bool{20: true, 19: false} {
		_, err := e.AnswersOf(apikey.WithCost(t.Context(), apikey.NewCost(reads, 0)), OddTenant, []apikey.ID{"key_1"}, today-30, today)
		if (err == nil) != ok || !ok && apikey.Classify(err).Code != apikey.BadUserInput {
			t.Errorf("a cost of %d: %v", reads, err)
		}
	}
}
