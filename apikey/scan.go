package apikey

import (
	"cmp"
	"slices"
	"strings"
)

// keyScan reads a retriever's keys page by page, selects those that match a query, and keeps only the requested page.
//
// In the default order, and without a total, it stops after the page. Otherwise it ranks: it reads all keys and keeps the first or last
// ones in the requested order.
type keyScan struct {
	query *query
	ranks bool
	limit int // how many keys are kept: one more than the page

	window window // what is still to be read, in the default order
	looked int
	done   bool

	found         []ranked
	retained      int // bytes charged for the keys that are kept
	total         int
	before, after bool // matching keys exist before or after the query's cursors
}

// ranked is a key with its place in the requested order.
type ranked struct {
	Key
	position
}

// scan returns a new scan for a window of the query's list.
func (q *query) scan(w window, wants Wants) *keyScan {
	s := &keyScan{query: q, limit: w.limit + 1, window: w, ranks: wants.Total || q.Order != Order{}}
	if s.ranks {
		s.window = window{}
	}
	s.window.limit = readTogether
	return s
}

// next is the range that the scan must read next.
func (s *keyScan) next() KeyRange { return s.query.run(s.window, s.query.fields()) }

// look processes the page that was read.
func (s *keyScan) look(cost *Cost, page []Key) error {
	s.done = len(page) < s.window.limit
	s.looked += len(page)
	if field := s.query.Order.Field; s.looked > ScanLimit && (field == ByName || field == ByLastUsedAt) {
		return Invalid("orderBy", "This retriever has more than %d keys: they can be ordered by CREATED_AT and EXPIRES_AT, but not by NAME and LAST_USED_AT.", ScanLimit)
	}
	if s.window.fromEnd {
		slices.Reverse(page)
	}
	for i := range page {
		k := &page[i]
		if k.Status = k.StatusAt(s.query.now); !s.query.selects(k) {
			continue
		}
		s.total++
		at := s.query.position(k)
		if !s.ranks || s.within(&at) {
			s.found = append(s.found, ranked{Key: *k, position: at})
		}
		if !s.ranks && len(s.found) == s.limit {
			s.done = true
			break
		}
	}
	s.cut()
	if err := s.retain(cost); err != nil || s.done {
		return err
	}
	bytes := 0
	for i := range page {
		bytes += page[i].Size()
	}
	s.window.limit = min(max(1, scanBytes*len(page)/bytes), readTogether)
	end := &page[len(page)-1]
	last := position{list: byCreatedAt, id: string(end.ID)}
	last.value, last.null = timeValue(end.CreatedAt)
	if s.window.fromEnd {
		s.window.before = &last
	} else {
		s.window.after = &last
	}
	return nil
}

// retain charges the memory of the keys that are kept so far, because concurrent scans keep keys long before they end.
func (s *keyScan) retain(cost *Cost) error {
	bytes := 0
	for i := range s.found {
		bytes += s.found[i].Size()
	}
	more := bytes - s.retained
	s.retained = bytes
	return cost.retain(more)
}

// within reports whether a place is between the query's cursors. If it is not, it records on which side it is.
func (s *keyScan) within(at *position) bool {
	w := &s.query.window
	late := w.after == nil || s.query.compare(at, w.after) > 0
	early := w.before == nil || s.query.compare(at, w.before) < 0
	s.before = s.before || !late && early
	s.after = s.after || late && !early
	return late && early
}

// cut drops the keys that cannot be on the page.
func (s *keyScan) cut() {
	if s.ranks {
		slices.SortFunc(s.found, func(a, b ranked) int { return s.query.compare(&a.position, &b.position) })
	}
	if n := len(s.found); n > s.limit && s.query.window.fromEnd {
		s.found = slices.Delete(s.found, 0, n-s.limit)
	} else if n > s.limit {
		s.found = slices.Delete(s.found, s.limit, n)
	}
}

// keys are the keys that were kept, in order.
func (s *keyScan) keys() []Key {
	keys := make([]Key, len(s.found))
	for i := range s.found {
		keys[i] = s.found[i].Key
	}
	if s.window.fromEnd {
		slices.Reverse(keys)
	}
	return keys
}

// connection is the page of a scan that ranks.
func (s *keyScan) connection() *Connection[Key] {
	c := &Connection[Key]{Items: s.keys(), Total: s.total, HasPreviousPage: s.before, HasNextPage: s.after, at: s.query.position}
	if len(c.Items) < s.limit {
		return c
	}
	if s.query.window.fromEnd {
		c.Items, c.HasPreviousPage = c.Items[1:], true
	} else {
		c.Items, c.HasNextPage = c.Items[:s.limit-1], true
	}
	return c
}

// compare orders two places: by value, then by id in the same direction. Keys without a value come last in both directions.
func (q *query) compare(a, b *position) int {
	if a.null != b.null {
		if a.null {
			return 1
		}
		return -1
	}
	order := cmp.Or(strings.Compare(a.value, b.value), strings.Compare(a.id, b.id))
	if q.Order.Direction == Descending {
		order = -order
	}
	return order
}
