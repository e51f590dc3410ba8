package apikey

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Without this, a list of keys that need attention hides some of them, or shows keys that are dead.
func TestFindings(t *testing.T) {
	policy := Policy{MaxLifetime: 90 * day, StaleAfter: 30 * day, ExpiryNotice: 14 * day}
	ago := func(d time.Duration) *time.Time { return after(-d) }
	fresh := Key{Stored: Active, CreatedAt: ago(day), LastUsedAt: ago(day), ExpiresAt: after(60 * day)}
	for name, tt := range map[string]struct {
		edit func(*Key)
		want string
	}{
		"fresh":                     {func(*Key) {}, "[]"},
		"leaked":                    {func(k *Key) { k.LeakedAt = ago(day) }, "[leaked]"},
		"leaked and revoked":        {func(k *Key) { k.LeakedAt, k.Stored, k.ExpiresAt = ago(day), Revoked, nil }, "[leaked]"},
		"leaked and expired":        {func(k *Key) { k.LeakedAt, k.ExpiresAt = ago(day), ago(1) }, "[leaked]"},
		"leaked and stale":          {func(k *Key) { k.LeakedAt, k.LastUsedAt = ago(day), ago(40*day) }, "[stale leaked]"},
		"without an expiry":         {func(k *Key) { k.ExpiresAt = nil }, "[never_expires beyond_max_lifetime]"},
		"the longest life":          {func(k *Key) { k.ExpiresAt = after(89 * day) }, "[]"},
		"a longer life":             {func(k *Key) { k.ExpiresAt = after(89*day + time.Millisecond) }, "[beyond_max_lifetime]"},
		"an old key's longer life":  {func(k *Key) { k.CreatedAt = ago(31 * day) }, "[beyond_max_lifetime]"},
		"no creation, long life":    {func(k *Key) { k.CreatedAt, k.ExpiresAt = nil, after(900*day) }, "[]"},
		"just before the notice":    {func(k *Key) { k.ExpiresAt = after(14 * day) }, "[]"},
		"within the notice":         {func(k *Key) { k.ExpiresAt = after(14*day - time.Millisecond) }, "[expires_soon]"},
		"expired":                   {func(k *Key) { k.ExpiresAt = after(0) }, "[]"},
		"never used, new":           {func(k *Key) { k.LastUsedAt, k.CreatedAt = nil, ago(30*day) }, "[]"},
		"never used, old":           {func(k *Key) { k.LastUsedAt, k.CreatedAt = nil, ago(30*day+time.Millisecond) }, "[beyond_max_lifetime unused]"},
		"never used, of no date":    {func(k *Key) { k.LastUsedAt, k.CreatedAt = nil, nil }, "[]"},
		"used, just in time":        {func(k *Key) { k.LastUsedAt = ago(30 * day) }, "[]"},
		"used long ago":             {func(k *Key) { k.LastUsedAt = ago(30*day + time.Millisecond) }, "[stale]"},
		"everything, but revoked":   {func(k *Key) { *k = Key{Stored: Revoked, CreatedAt: ago(900 * day)} }, "[]"},
		"everything, but expired":   {func(k *Key) { *k = Key{Stored: Expired, CreatedAt: ago(900 * day)} }, "[]"},
		"several at once":           {func(k *Key) { k.CreatedAt, k.LastUsedAt, k.ExpiresAt = ago(900*day), ago(800*day), after(day) }, "[beyond_max_lifetime expires_soon stale]"},
		"never used, never expires": {func(k *Key) { k.CreatedAt, k.LastUsedAt, k.ExpiresAt = ago(31*day), nil, nil }, "[never_expires beyond_max_lifetime unused]"},
	} {
		k := fresh
		tt.edit(&k)
		if got := fmt.Sprint(policy.FindingsAt(&k, noon).List()); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
	long := Key{Stored: Active, CreatedAt: ago(900 * day)}
	if got := fmt.Sprint(new(Policy).FindingsAt(&long, noon).List()); got != "[never_expires]" {
		t.Errorf("without a policy: got %s", got)
	}
}

// Every field that has keys shows the same findings for one key.
func TestFindingsAreEverywhere(t *testing.T) {
	store := fixture()
	for i := range store.keys {
		store.keys[i].ExpiresAt = after(day)
	}
	s := newService(store)
	s.Policy = Policy{ExpiryNotice: 14 * day}
	c, ctx := writer(Admin), t.Context()
	check := func(where string, k *Key, err error) {
		t.Helper()
		if err != nil || fmt.Sprint(k.Findings()) != "[expires_soon]" {
			t.Errorf("%s: %v, %v", where, k, err)
		}
	}
	for _, order := range []OrderField{ByCreatedAt, ByName} {
		page, err := s.OrganizationKeys(ctx, c, ListOptions{Order: Order{Field: order}, Fields: AllFields, Wants: Wants{Items: true}})
		if err != nil || len(page.Items) == 0 {
			t.Fatal(page, err)
		}
		check("a list", &page.Items[0], nil)
	}
	found, err := s.LookUp(ctx, c, Names{KeysAnywhere: []ID{"key_1"}, KeyFields: AllFields})
	if err != nil {
		t.Fatal(err)
	}
	k, err := found.Key("key_1")
	check("a key by id", k, err)
	dry, err := s.RevokeMany(ctx, c, []ID{"key_1"}, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	check("a dry run", dry[0].Key, nil)
	updated, err := s.Update(ctx, c, "", "key_1", named("renamed"))
	if err != nil {
		t.Fatal(err)
	}
	check("an update", &updated.Key, nil)
	rotated, err := s.Rotate(ctx, c, "", "key_1", time.Hour, nil)
	if err != nil {
		t.Fatal(err)
	}
	check("a successor", &rotated.Key, nil)
	check("a rotated key", &rotated.Previous, nil)
	revoked, err := s.Revoke(ctx, c, "", "key_1", nil)
	if err != nil || len(revoked.Findings()) != 0 {
		t.Errorf("a revoked key has findings: %v, %v", revoked.Findings(), err)
	}
}

// filter.finding selects active keys alone, whatever includeRevoked and status say, and combines with other conditions.
func TestFilterByFinding(t *testing.T) {
	store := fixture()
	store.keys = nil
	add := func(id ID, edit func(*Key)) {
		k := keyOf(id, func(k *Key) { k.CreatedAt, k.LastUsedAt, k.ExpiresAt = after(-day), after(-day), after(60*day) }, edit)
		store.keys = append(store.keys, k)
	}
	add("fresh", func(*Key) {})
	add("soon", func(k *Key) { k.ExpiresAt = after(day) })
	add("never", func(k *Key) { k.ExpiresAt = nil })
	add("never_revoked", func(k *Key) { k.ExpiresAt, k.Stored = nil, Revoked })
	add("past", func(k *Key) { k.ExpiresAt = after(-1) })
	add("stale", func(k *Key) { k.LastUsedAt = after(-100 * day) })
	add("leaked", func(k *Key) { k.LeakedAt = after(-day) })
	add("leaked_revoked", func(k *Key) { k.LeakedAt, k.Stored, k.ExpiresAt = after(-day), Revoked, nil })
	add("unused", func(k *Key) { k.LastUsedAt, k.CreatedAt = nil, after(-100*day) })
	s := newService(store)
	s.Policy = Policy{MaxLifetime: 90 * day, StaleAfter: 30 * day, ExpiryNotice: 14 * day}
	for _, tt := range []struct {
		filter Filter
		want   string
	}{
		{Filter{Finding: []Finding{NeverExpires}}, "[never]"},
		{Filter{Finding: []Finding{ExpiresSoon}}, "[soon]"},
		{Filter{Finding: []Finding{ExpiresSoon, ExpiresSoon}}, "[soon]"},
		{Filter{Finding: []Finding{Stale}}, "[stale]"},
		{Filter{Finding: []Finding{Unused}}, "[unused]"},
		{Filter{Finding: []Finding{BeyondMaxLifetime}}, "[never unused]"},
		{Filter{Finding: []Finding{ExpiresSoon, Stale, NeverExpires}}, "[never soon stale]"},
		{Filter{Finding: []Finding{}}, "[fresh leaked leaked_revoked never never_revoked past soon stale unused]"},
		{Filter{Finding: []Finding{NeverExpires}, Status: []Status{Revoked}}, "[]"},
		{Filter{Finding: []Finding{Leaked}}, "[leaked leaked_revoked]"},
		{Filter{Finding: []Finding{Leaked, NeverExpires}}, "[leaked leaked_revoked never]"},
		{Filter{Finding: []Finding{Leaked}, Status: []Status{Revoked}}, "[leaked_revoked]"},
		{Filter{Finding: []Finding{Leaked}, Status: []Status{Active}}, "[leaked]"},
		{Filter{Finding: []Finding{NeverExpires}, Status: []Status{Revoked, Active}}, "[never]"},
		{Filter{Finding: []Finding{ExpiresSoon}, ExpiresBefore: after(2 * day)}, "[soon]"},
		{Filter{Finding: []Finding{ExpiresSoon}, ExpiresBefore: after(time.Hour)}, "[]"},
		{Filter{Finding: []Finding{ExpiresSoon}, ExpiresAfter: after(40 * day)}, "[]"},
		{Filter{Finding: []Finding{ExpiresSoon}, NeverExpires: new(true)}, "[]"},
	} {
		page, err := s.OrganizationKeys(t.Context(), writer(Admin), ListOptions{
			IncludeRevoked: true, Filter: tt.filter, Order: Order{ByName, Descending}, Fields: AllFields, Wants: Wants{Items: true, Total: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		ids := make([]ID, len(page.Items))
		for i := range page.Items {
			ids[i] = page.Items[i].ID
		}
		if fmt.Sprint(len(ids)) != fmt.Sprint(page.Total) {
			t.Errorf("%v: total %d", tt.filter.Finding, page.Total)
		}
		slices.Sort(ids)
		if fmt.Sprint(ids) != tt.want {
			t.Errorf("%+v: got %v, want %s", tt.filter, ids, tt.want)
		}
	}
}

// A report counts each key once by its state, and what no list shows. It needs a caller who sees the whole organization.
func TestReport(t *testing.T) {
	store := fixture()
	store.keys, store.unlisted = nil, 3
	add := func(edit func(*Key)) {
		store.keys = append(store.keys, keyOf(ID(fmt.Sprint("key_", len(store.keys))), func(k *Key) {
			k.CreatedAt, k.LastUsedAt, k.ExpiresAt = after(-day), after(-day), after(60*day)
		}, edit))
	}
	add(func(k *Key) { k.LeakedAt = after(-day) })
	add(func(k *Key) { k.ExpiresAt, k.LastUsedAt, k.CreatedAt = nil, nil, after(-100*day) })
	add(func(k *Key) { k.ExpiresAt, k.LastUsedAt = after(day), after(-100*day) })
	add(func(k *Key) { k.Stored, k.LeakedAt = Revoked, after(-day) })
	add(func(k *Key) { k.RevokedAt = after(-day) })
	add(func(k *Key) { k.ExpiresAt = after(-day) })
	add(func(k *Key) { k.InternalID = "int_2" })
	s := newService(store)
	s.Policy = Policy{MaxLifetime: 90 * day, StaleAfter: 30 * day, ExpiryNotice: 14 * day}
	got, err := s.Report(t.Context(), writer(Admin))
	want := Report{Active: 3, Revoked: 2, Expired: 1, NeverExpires: 1, BeyondMaxLifetime: 1, ExpiresSoon: 1, Unused: 1, Stale: 1, Leaked: 2, Unlisted: 3}
	if err != nil || *got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for name, c := range map[string]Caller{"without admin": writer(Delete), "with a narrow scope": writer(Admin, Scope{ResourceNamespace, "ns_1", nil})} {
		if _, err := s.Report(t.Context(), c); codeAndField(t, err) != "FORBIDDEN" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A report is charged to the request like a list that looks at all keys: within the budget, or as its one scan, which ends with the request.
func TestReportsAreCharged(t *testing.T) {
	s := newService(charging{fixture()})
	cost := NewCost(100, 0)
	if _, err := s.Report(WithCost(t.Context(), cost), writer(Admin)); err != nil || cost.Left() != 100-8 {
		t.Errorf("8 keys leave %d of 100 documents, %v", cost.Left(), err)
	}
	cost = NewCost(7, 0)
	ctx := WithCost(t.Context(), cost)
	if _, err := s.Report(ctx, writer(Admin)); err != nil {
		t.Errorf("the one scan of a request: %v", err)
	}
	// The error names what was refused: a report has no filter.
	if _, err := s.Report(ctx, writer(Admin)); codeAndField(t, err) != "BAD_USER_INPUT apiKeyReport" {
		t.Errorf("a second scan: %v", err)
	}
	s, ctx = newService(charging{listOf(2 * listCost)}), WithCost(t.Context(), NewCost(listCost+1, 0))
	if _, err := s.Report(ctx, writer(Admin)); err != nil {
		t.Errorf("the one scan of a request: %v", err)
	}
	if _, err := s.OrganizationKeys(ctx, writer(Admin), ListOptions{Filter: Filter{Search: "x"}, Wants: Wants{Items: true}}); codeAndField(t, err) != "BAD_USER_INPUT filter" {
		t.Errorf("a list after a report: %v", err)
	}
	ended, cancel := context.WithDeadline(WithCost(t.Context(), NewCost(7, 0)), time.Unix(0, 0))
	defer cancel()
	if _, err := s.Report(ended, writer(Admin)); codeAndField(t, err) != "UNAVAILABLE" {
		t.Errorf("after the deadline: %v", err)
	}
}

// A report has no filter, so the error after it waited for another scan must not advise to set one.
func TestReportsThatWaitedInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(charging{fixture()})
		end, err := s.scans.begin(t.Context(), "int_1")
		if err != nil {
			t.Fatal(err)
		}
		defer end()
		ctx, cancel := context.WithTimeout(WithCost(t.Context(), NewCost(7, 0)), time.Second)
		defer cancel()
		if _, err := s.Report(ctx, writer(Admin)); codeAndField(t, err) != "UNAVAILABLE" || !strings.Contains(err.Error(), "to count them within REQUEST_TIMEOUT") {
			t.Errorf("got %v", err)
		}
	})
}
