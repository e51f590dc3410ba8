package apikey

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// stored returns the stored answers of each key and day.
func stored(m *memory) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	sums := map[answeredOf]Answers{}
	for _, d := range m.days {
		of := answeredOf{d.InternalID, d.ID, d.Day}
		sums[of] = sums[of].Plus(d.Answers)
	}
	var all []string
	for of, a := range sums {
		all = append(all, fmt.Sprintf("%s/%s %s %d+%d", of.tenant, of.id, of.day, a.Allowed, a.Refused))
	}
	slices.Sort(all)
	return fmt.Sprint(all)
}

// Each answer counts for the day in UTC on which it was given, whatever the time zone of the process. Otherwise the days of two
// processes would differ, and requests around midnight would count twice or not at all.
func TestDays(t *testing.T) {
	for text, want := range map[string]string{
		"2026-03-01T00:00:00Z": "2026-03-01", "2026-02-28T23:59:59.999Z": "2026-02-28", "2026-03-01T01:30:00+02:00": "2026-02-28",
		"1969-12-31T23:59:59.999Z": "1969-12-31", "1970-01-01T00:00:00Z": "1970-01-01", "0000-01-01T00:00:00Z": "0000-01-01",
		"1969-12-30T00:00:00Z": "1969-12-30", "9999-12-31T23:59:59Z": "9999-12-31", "2024-02-29T12:00:00Z": "2024-02-29",
	} {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		day := DayOf(at)
		back, ok := ParseDay(want)
		if day.String() != want || back != day || !ok || day.Start().After(at) || !(day + 1).Start().After(at) {
			t.Errorf("the day of %s: got %s (%s), want %s (%d, %t)", text, day, day.Start(), want, back, ok)
		}
	}
	for _, wrong := range []string{"", "2026-02-29", "2026-13-01", "2026-3-1", "02026-03-01", "-026-03-01", "2026-03-01T00:00:00Z", " 2026-03-01", "20260301", "٢٠٢٦-٠٣-٠١"} {
		if d, ok := ParseDay(wrong); ok {
			t.Errorf("ParseDay accepts %q as %s", wrong, d)
		}
	}
}

// Answers of a service are counted for the key, the tenant and the day on which they were given: allowed and forbidden ones, and those of a used up
// budget. Nothing else counts: people who check a key, outages, and keys that no list shows.
func TestAnswersAreCounted(t *testing.T) {
	store := fixture()
	s := newService(store)
	s.Usage = newUsage(store)
	clock := time.Date(2026, 3, 1, 23, 59, 59, 0, time.UTC)
	s.Now = func() time.Time { return clock }
	exact := func(tenant InternalID, id ID) Caller {
		return Caller{Key: &Key{InternalID: tenant, ID: id, Stored: Active, Permissions: []Permission{Read}, Scopes: []Scope{{ResourceType: ResourceRetriever, ResourceID: "ret_1"}}}}
	}
	ask := func(c Caller, id RetrieverID) { _ = s.MayExecute(t.Context(), c, id, "") }
	ask(exact("int_1", "key_1"), "ret_1")
	ask(exact("int_1", "key_1"), "ret_1")
	ask(exact("int_1", "key_1"), "ret_2") // forbidden
	ask(exact("int_2", "key_1"), "ret_1")
	ask(exact("int_1", ""), "ret_1")
	revoked := exact("int_1", "key_2")
	revoked.Key.Stored = Revoked
	ask(revoked, "ret_1")
	unlimited := exact("int_1", "key_3")
	unlimited.Key.Scopes = nil
	store.down = Outage(context.DeadlineExceeded)
	ask(unlimited, "ret_1")
	store.down = nil
	clock = clock.Add(time.Second)
	ask(exact("int_1", "key_1"), "ret_1")
	s.RefusedForBudget(exact("int_1", "key_1"))
	s.Usage.flush(t.Context())
	s.Usage.flush(t.Context())
	if got, want := stored(store), "[int_1/key_1 2026-03-01 2+1 int_1/key_1 2026-03-02 1+1 int_2/key_1 2026-03-01 1+0]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// flaky adds a part of what it is given, and then fails.
type flaky struct {
	*memory

	sent     []int // the sizes of the batches
	outcomes []func(days []KeyDay) (added []KeyDay, not NotAdded, err error)
}

func (f *flaky) AddAnswers(ctx context.Context, days []KeyDay) (NotAdded, error) {
	f.sent = append(f.sent, len(days))
	if len(f.outcomes) == 0 {
		return f.memory.AddAnswers(ctx, days)
	}
	next := f.outcomes[0]
	f.outcomes = f.outcomes[1:]
	added, not, err := next(days)
	f.days = append(f.days, added...)
	return not, err
}

// What the store did not add is added once it works. What it may have added is never added again, and is counted as lost. Otherwise usage would be
// too high, and nobody would know that it is too low.
func TestAnswersAreAddedAtMostOnce(t *testing.T) {
	down := Outage(context.DeadlineExceeded)
	lost := map[string]int64{}
	store := &flaky{memory: &memory{}}
	u := newUsage(store)
	u.Lost = func(reason string, answers int64) { lost[reason] += answers }
	count := func(keys int) {
		for i := range keys {
			u.answered(&Key{InternalID: "int_1", ID: ID(fmt.Sprint(i))}, noon, Answers{Allowed: 2, Refused: 1})
		}
	}
	total := func() (n int64) {
		for _, d := range store.days {
			n += d.total()
		}
		return n
	}
	count(2 * answeredBatch)
	store.outcomes = []func([]KeyDay) (added []KeyDay, not NotAdded, err error){
		func(days []KeyDay) (added []KeyDay, not NotAdded, err error) { return nil, NotAdded{Left: days}, down },
	}
	u.flush(t.Context())
	if len(store.sent) != 1 || u.uncounted() != 3*2*answeredBatch || len(lost) != 0 {
		t.Errorf("while the store is down: sent %v, kept %d, lost %v", store.sent, u.uncounted(), lost)
	}
	store.outcomes = []func([]KeyDay) (added []KeyDay, not NotAdded, err error){
		func(days []KeyDay) (added []KeyDay, not NotAdded, err error) {
			return days[:100], NotAdded{days[100:300], days[300:]}, down
		},
	}
	u.flush(t.Context())
	if lost[LostUnknown] != 3*(answeredBatch-300) || u.uncounted() != 3*200 || total() != 3*(100+answeredBatch) {
		t.Errorf("after a flush that failed halfway: added %d, kept %d, lost %v", total(), u.uncounted(), lost)
	}
	u.flush(t.Context())
	if total()+lost[LostUnknown] != 3*2*answeredBatch || u.uncounted() != 0 {
		t.Errorf("at the end: added %d, kept %d, lost %v", total(), u.uncounted(), lost)
	}
	count(maxAnswered + 10)
	count(1) // a key that is counted already
	if u.uncounted() != 3*maxAnswered+3 || lost[LostFull] != 3*10 {
		t.Errorf("with too many keys: kept %d, lost %v", u.uncounted(), lost)
	}
}

// Answers are stored at intervals and when the process stops. A write that is running then is not canceled, and one that hangs does not delay the end
// forever.
func TestAnswersAreStoredAtTheEnd(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store := &slowAdds{memory: &memory{}, hold: make(chan struct{})}
			u := newUsage(store)
			ctx, stop := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { u.Run(ctx) })
			u.answered(&Key{InternalID: "int_1", ID: "key_1"}, noon, Answers{Allowed: 1})
			time.Sleep(storeUsesEvery + 1) // a write begins
			u.answered(&Key{InternalID: "int_1", ID: "key_1"}, noon, Answers{Allowed: 1})
			stop()
			began := time.Now()
			synctest.Wait()
			if !hangs {
				close(store.hold)
			}
			running.Wait()
			if took := time.Since(began); hangs && took != lastStoreOfUses || !hangs && took != 0 {
				t.Errorf("the end took %v", took)
			}
			if got, want := stored(store.memory), map[bool]string{false: "[int_1/key_1 " + DayOf(noon).String() + " 2+0]", true: "[]"}[hangs]; got != want {
				t.Errorf("stored %s, want %s", got, want)
			}
		})
	}
}

// slowAdds is a store whose writes wait.
type slowAdds struct {
	*memory

	hold chan struct{}
}

func (h *slowAdds) AddAnswers(ctx context.Context, days []KeyDay) (NotAdded, error) {
	select {
	case <-h.hold:
		return h.memory.AddAnswers(ctx, days)
	case <-ctx.Done():
		return NotAdded{Lost: days}, Outage(ctx.Err())
	}
}

// No request waits for its answer to be counted, and none fails because it cannot be.
func TestAnswersDoNotWaitForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slowAdds{memory: fixture(), hold: make(chan struct{})}
		s := newService(store)
		s.Usage = newUsage(store)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { s.Usage.Run(ctx) })
		key := &Key{InternalID: "int_1", ID: "key_1", Stored: Active, Permissions: []Permission{Read}, Scopes: []Scope{{ResourceType: ResourceRetriever, ResourceID: "ret_1"}}}
		began := time.Now()
		for range 10 {
			if err := s.MayExecute(t.Context(), Caller{Key: key}, "ret_1", ""); err != nil {
				t.Error(err)
			}
			time.Sleep(storeUsesEvery)
		}
		if took := time.Since(began); took != 10*storeUsesEvery {
			t.Errorf("took %v", took)
		}
		close(store.hold)
		stop()
		running.Wait()
	})
}

// Old days are deleted in steps, at the start and every hour, until none is left. Outages do not end it.
func TestOldDaysAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		u := newUsage(store)
		today := DayOf(time.Now())
		for i := range 2*forgetBatch + 3 {
			store.days = append(store.days, KeyDay{InternalID: "int_1", ID: ID(fmt.Sprint(i)), Day: today - 31})
		}
		store.days = append(store.days, KeyDay{InternalID: "int_1", ID: "kept", Day: today - 30})
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { u.Forget(ctx, 30, time.Now) })
		left := func() int {
			synctest.Wait()
			store.mu.Lock()
			defer store.mu.Unlock()
			return len(store.days)
		}
		for _, want := range []int{forgetBatch + 4, 4, 1, 1} {
			if got := left(); got != want {
				t.Errorf("got %d days, want %d", got, want)
			}
			time.Sleep(forgetPause)
		}
		store.mu.Lock()
		store.down = Outage(context.DeadlineExceeded)
		store.mu.Unlock()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		store.mu.Lock()
		store.down = nil
		store.mu.Unlock()
		time.Sleep(forgetEvery)
		if got := left(); got != 0 {
			t.Errorf("got %d days after one more day", got)
		}
		stop()
		running.Wait()
	})
}

// Every day of the period is there once, oldest first, and the sums are those of the days. One read answers for all keys, and another tenant's key
// with the same id does not count.
func TestUsageOf(t *testing.T) {
	store := fixture()
	s := newService(store)
	today := DayOf(noon)
	one := func(tenant InternalID, id ID, day Day) KeyDay {
		return KeyDay{tenant, id, day, Answers{Allowed: 5, Refused: 1}}
	}
	store.days = []KeyDay{
		one("int_1", "key_1", today), one("int_1", "key_1", today), one("int_1", "key_1", today-29), one("int_1", "key_1", today-30),
		one("int_2", "key_1", today), one("int_1", "key_2", today-1), one("int_1", "key_1", today+1),
	}
	keys := []*Key{{ID: "key_1"}, {ID: "key_2"}, {ID: "key_1"}, {ID: "key_none"}}
	usage, err := s.UsageOf(t.Context(), writer(Read), keys, nil, nil)
	if err != nil || len(usage) != len(keys) {
		t.Fatal(usage, err)
	}
	if got := store.reads(); got != "AnswersOf" {
		t.Errorf("read %s", got)
	}
	for i, want := range []Answers{{15, 3}, {5, 1}, {15, 3}, {}} {
		u := usage[i]
		if u.Answers != want || len(u.Days) != UsageDays || u.Days[0].Day != today-29 || u.Days[29].Day != today {
			t.Errorf("%s: got %+v", keys[i].ID, u)
		}
		var total Answers
		for j, d := range u.Days {
			if d.Day != u.Days[0].Day+Day(j) {
				t.Errorf("%s: day %d is %s", keys[i].ID, j, d.Day)
			}
			total = total.Plus(d.Answers)
		}
		if total != want {
			t.Errorf("%s: the days sum up to %+v", keys[i].ID, total)
		}
	}
	if none, err := s.UsageOf(t.Context(), writer(Read), nil, nil, nil); err != nil || len(none) != 0 {
		t.Errorf("of no keys: %v, %v", none, err)
	}
	if _, err := s.UsageOf(t.Context(), writer(""), keys, nil, nil); Classify(err).Code != Forbidden {
		t.Errorf("without a permission: %v", err)
	}
	tight := WithCost(t.Context(), NewCost(0, 3*UsageDays*usageDayBytes-1))
	if _, err := s.UsageOf(tight, writer(Read), keys, nil, nil); Classify(err).Code != BadUserInput {
		t.Errorf("with too little memory: %v", err)
	}
}

func TestUsagePeriods(t *testing.T) {
	today := DayOf(noon)
	day := func(d Day) *Day { return &d }
	for _, c := range []struct {
		from, to    *Day
		first, last Day
		wrong       string
	}{
		{nil, nil, today - 29, today, ""},
		{day(today - 3), nil, today - 3, today, ""},
		{day(today), nil, today, today, ""},
		{nil, day(today - 3), today - 32, today - 3, ""},
		{day(today), day(today), today, today, ""},
		{day(today - 399), nil, today - 399, today, ""},
		{day(today + 1), day(today + 400), today + 1, today + 400, ""},
		{nil, day(firstDay + 3), firstDay, firstDay + 3, ""},
		{day(today - 400), nil, 0, 0, "from and to must span at most 400 days."},
		{day(today + 1), nil, 0, 0, "from must not be after today (UTC) if to is left out."},
		{day(today), day(today - 1), 0, 0, "from must not be after to."},
		{day(today + 2), day(today + 1), 0, 0, "from must not be after to."},
		{day(firstDay), day(DayOf(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC))), 0, 0, "from and to must span at most 400 days."},
	} {
		first, last, err := UsagePeriod(today, c.from, c.to)
		if c.wrong != "" {
			if e := Classify(err); err == nil || e.Code != BadUserInput || e.Field != "from" || e.Message != c.wrong {
				t.Errorf("%v to %v: got %s to %s, %v, want %s", c.from, c.to, first, last, err, c.wrong)
			}
		} else if err != nil || first != c.first || last != c.last {
			t.Errorf("%v to %v: got %s to %s, %v, want %s to %s", c.from, c.to, first, last, err, c.first, c.last)
		}
	}
}

// Counting is on the way of every request at the gate.
func BenchmarkAnswered(b *testing.B) {
	u := &Usage{Store: &memory{}, Logger: slog.New(slog.DiscardHandler)}
	keys := make([]Key, 1000)
	for i := range keys {
		keys[i] = Key{InternalID: "int_1", ID: ID(fmt.Sprintf("key_%024d", i))}
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			u.answered(&keys[i%len(keys)], noon, Answers{Allowed: 1})
		}
	})
}
