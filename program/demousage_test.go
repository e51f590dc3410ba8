package program

import (
	"slices"
	"testing"
	"time"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// The demo's usage agrees with its keys: none before a key was created or after its last use, some on the day of that, and none of keys that no gateway
// asks about. It is the same each time, so that pictures of it are.
func TestDemoUsage(t *testing.T) {
	now := time.Date(2026, 3, 15, 17, 30, 0, 0, time.UTC)
	b, _, _, err := demoBatch(now)
	if err != nil {
		t.Fatal(err)
	}
	days := demoUsage(b.Keys, now)
	if !slices.Equal(days, demoUsage(b.Keys, now)) {
		t.Error("the usage is another one the second time")
	}
	of := map[apikey.ID]map[apikey.Day]apikey.Answers{}
	for _, d := range days {
		if of[d.ID] == nil {
			of[d.ID] = map[apikey.Day]apikey.Answers{}
		}
		of[d.ID][d.Day] = d.Answers
		if d.Allowed < 0 || d.Refused < 0 || d.InternalID != "int_fjord_media" {
			t.Errorf("got %+v", d)
		}
	}
	used, refused := 0, 0
	for _, doc := range b.Keys {
		k, _ := document.Key(doc, apikey.AllFields)
		if len(of[k.ID]) == 0 {
			continue
		}
		used++
		status := k.StatusAt(now)
		if k.Type != apikey.RetrieverKey || status == apikey.Active && of[k.ID][apikey.DayOf(*k.LastUsedAt)].Allowed == 0 {
			t.Errorf("%s of type %s was last used at %v: got %+v", k.Name, k.Type, k.LastUsedAt, of[k.ID])
		}
		for day, a := range of[k.ID] {
			refused += int(a.Refused)
			if status != apikey.Active && (k.RevokedAt != nil && day > apikey.DayOf(*k.RevokedAt) || k.ExpiresAt != nil && day > apikey.DayOf(*k.ExpiresAt)) {
				t.Errorf("%s ended and has usage on %s", k.Name, day)
			}
			if day < apikey.DayOf(*k.CreatedAt) || day > apikey.DayOf(*k.LastUsedAt) || day > apikey.DayOf(now) || day <= apikey.DayOf(now)-demoUsageDays {
				t.Errorf("%s, created at %v and last used at %v, has usage on %s", k.Name, k.CreatedAt, k.LastUsedAt, day)
			}
		}
	}
	if used < 20 || len(days) < 300 || refused == 0 {
		t.Errorf("got %d days of %d keys, %d refused", len(days), used, refused)
	}
}
