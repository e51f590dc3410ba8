package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"retrieverkeys/apikey"
)

func aDay(id apikey.ID, allowed, refused int64) apikey.KeyDay {
	return apikey.KeyDay{InternalID: tenant, ID: id, Day: apikey.DayOf(march), Answers: apikey.Answers{Allowed: allowed, Refused: refused}}
}

func answersOf(t *testing.T, s *Store, ids ...apikey.ID) []apikey.KeyDay {
	t.Helper()
	days, err := s.AnswersOf(t.Context(), tenant, ids, apikey.DayOf(march), apikey.DayOf(march))
	if err != nil {
		t.Fatal(err)
	}
	return days
}

// While another process holds the lock, or the disk is full, answers are not added and can be added later: all of a write, or none. Otherwise a
// repeated write would count a part of them twice.
func TestAnswersAreAddedTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s, other := opened(t, path), opened(t, path)
	tx, err := other.write.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	days := []apikey.KeyDay{aDay("key_1", 3, 1), aDay("key_2", 5, 0)}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if not, err := s.AddAnswers(ctx, days); apikey.Classify(err).Code != apikey.Unavailable || !cmp.Equal(not, apikey.NotAdded{Left: days}) {
		t.Errorf("while the file is locked: got %+v, %v", not, err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}

	pages := func(n int) {
		if _, err := s.write.ExecContext(t.Context(), fmt.Sprint("PRAGMA max_page_count = ", n)); err != nil {
			t.Fatal(err)
		}
	}
	pages(1) // SQLite raises this to the current number of pages
	var many []apikey.KeyDay
	for i := range 10_000 {
		many = append(many, aDay(apikey.ID(fmt.Sprint("key_", i)), 1, 0))
	}
	if not, err := s.AddAnswers(t.Context(), many); apikey.Classify(err).Code != apikey.Unavailable || len(not.Left) != len(many) || len(not.Lost) > 0 {
		t.Errorf("while the disk is full: got %d left and %d lost, %v", len(not.Left), len(not.Lost), err)
	}
	if got := answersOf(t, s, "key_1", "key_9999"); len(got) > 0 {
		t.Errorf("added %+v", got)
	}
	pages(1 << 20)
	for range 2 {
		if not, err := s.AddAnswers(t.Context(), days); err != nil || len(not.Left)+len(not.Lost) > 0 {
			t.Errorf("afterwards: got %+v, %v", not, err)
		}
	}
	if got, want := answersOf(t, s, "key_1", "key_2"), []apikey.KeyDay{aDay("key_1", 6, 2), aDay("key_2", 10, 0)}; !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Counts that another program wrote are shown as the nearest count, and fail nothing.
func TestOddUsage(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "store.db"))
	if _, err := s.write.ExecContext(t.Context(), "INSERT INTO api_key_usage VALUES (?, 'key_1', ?, -7, 9223372036854775807)", tenant, apikey.DayOf(march)); err != nil {
		t.Fatal(err)
	}
	for i, want := range []apikey.KeyDay{aDay("key_1", 0, apikey.MaxCount), aDay("key_1", 2, apikey.MaxCount)} {
		if got := answersOf(t, s, "key_1"); !slices.Equal(got, []apikey.KeyDay{want}) {
			t.Errorf("read %d: got %+v, want %+v", i, got, want)
		}
		if _, err := s.AddAnswers(t.Context(), []apikey.KeyDay{aDay("key_1", 2, 1)}); err != nil {
			t.Error(err)
		}
	}
}
