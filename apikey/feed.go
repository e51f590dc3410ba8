package apikey

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"time"
	"unicode/utf8"
)

// The feed has an organization's audit events in the order in which they arrived in the store, for programs that keep a copy of them. An event's
// place is decided when it is stored, not by its timestamp: the clocks of processes differ, and an event can be stored long after it happened. So
// a program that follows the feed from one cursor to the next gets every event at least once.

// MaxFeedPage is the maximum and the default number of events on a page of the feed.
const MaxFeedPage = 1000

// FeedPlace is where an event is in the feed. The zero value is before all events.
type FeedPlace struct {
	Arrival int64 // increases with each event: a number that counts them, or a time
	ID      EventID
}

// Compare compares two places: by arrival, then by id.
func (p FeedPlace) Compare(q FeedPlace) int {
	return cmp.Or(cmp.Compare(p.Arrival, q.Arrival), cmp.Compare(p.ID, q.ID))
}

// ArrivedEvent is an event and its place.
type ArrivedEvent struct {
	Event
	Arrival int64
}

func (e *ArrivedEvent) place() FeedPlace { return FeedPlace{e.Arrival, e.ID} }

// FeedRange is a part of the feed.
type FeedRange struct {
	After FeedPlace
	Since *time.Time // the part begins with the first event that happened then or later, and After is not used
	Limit int        // at least 1
}

// FeedPage is what a Store returns for a FeedRange.
type FeedPage struct {
	Events []ArrivedEvent // in order; can be fewer than the limit even if there are more, but at least one
	Next   FeedPlace      // after which the next page begins
	// Deleted is the last place from which an event was deleted because of its age, or zero. It was read after the events.
	Deleted FeedPlace
	// Unknown says that After cannot be a place of this store. It can be one of a store that was replaced by an older copy.
	Unknown bool
}

// FeedOptions are the arguments of Feed.
type FeedOptions struct {
	After string // a cursor; empty: from the oldest event that is kept
	Since *time.Time
	Limit int // 1 to MaxFeedPage
}

// Feed is a page of the feed.
type Feed struct {
	Events []ArrivedEvent

	next   feedCursor
	tenant uint32 // its checksum
	room   []byte
}

// ErrEventsDeleted is the error for a cursor after which events were deleted because of their age.
var ErrEventsDeleted = Invalid("after", "Events after this cursor are no longer kept. Start again without after.")

// ErrFeedReplaced is the error for a cursor of events that the store does not have.
var ErrFeedReplaced = Invalid("after", "The store does not have the events before this cursor: it was replaced, for example by a backup. Start again without after.")

// AuthorizeFeed returns nil if the caller may read the feed. It requires Admin and a caller who sees the whole organization.
func (s *Service) AuthorizeFeed(c Caller) error { return s.authorizeOrganization(c) }

// Feed returns the events that arrived after a cursor, oldest first. It requires what AuthorizeFeed requires.
//
// Without a cursor, it begins with the oldest event that is kept, or, with Since, with the first event to arrive that happened then or later.
// Everything that arrived after that follows, whenever it happened. With a cursor, Since changes nothing.
func (s *Service) Feed(ctx context.Context, c Caller, o FeedOptions) (*Feed, error) {
	if err := s.AuthorizeFeed(c); err != nil {
		return nil, err
	}
	if o.Limit < 1 || o.Limit > MaxFeedPage {
		return nil, Invalid("limit", "limit must be a number from 1 to %d.", MaxFeedPage)
	}
	tenant := c.tenant()
	r := FeedRange{Limit: o.Limit}
	var from feedCursor
	switch {
	case o.After != "":
		var ok bool
		if from, ok = parseFeedCursor(o.After, tenant); !ok {
			return nil, Invalid("after", "after is not a cursor of this organization's audit events.")
		}
		r.After = from.after
	case o.Since != nil:
		r.Since = o.Since
		end, err := s.scans.begin(ctx, tenant)
		if err != nil {
			return nil, sinceTooLong(err)
		}
		defer end()
	}
	page, err := s.Store.ArrivedEvents(ctx, tenant, r)
	switch {
	case err != nil && r.Since != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, sinceTooLong(err)
	case err != nil:
		return nil, err
	case page.Unknown:
		return nil, ErrFeedReplaced
	case o.After != "" && page.Deleted.Compare(from.after) > 0 && page.Deleted.Compare(from.deleted) > 0:
		return nil, ErrEventsDeleted
	}
	return &Feed{Events: page.Events, tenant: tenantChecksum(tenant), next: feedCursor{after: page.Next, deleted: page.Deleted}}, nil
}

func sinceTooLong(cause error) error {
	return &Error{Code: Unavailable, Message: "Finding where the feed begins took too long. Use a later since, or none.", RetryAfter: time.Second, cause: cause}
}

// Size returns the approximate memory of the page and of its largest event, in bytes.
func (f *Feed) Size() (sum, largest int) {
	for i := range f.Events {
		n := f.Events[i].Size()
		sum, largest = sum+n, max(largest, n)
	}
	return sum, largest
}

// Next returns the cursor after which the feed goes on.
func (f *Feed) Next() string { return string(f.next.encode(nil, &f.room, f.tenant)) }

// AppendCursor appends the cursor of an event. It is not safe for concurrent use.
func (f *Feed) AppendCursor(b []byte, i int) []byte {
	at := feedCursor{after: f.Events[i].place(), deleted: f.next.deleted}
	return at.encode(b, &f.room, f.tenant)
}

// feedCursor is what a cursor of the feed says.
type feedCursor struct {
	after FeedPlace
	// deleted is the last place from which an event had been deleted when the cursor was made. If it is not before the place of the cursor,
	// these events were deleted before they could be read, which is not an error.
	deleted FeedPlace
}

// feedCursorKind distinguishes these cursors from those of lists.
const feedCursorKind = 'f'

// text returns the cursor as text.
func (c feedCursor) text(tenant InternalID) string {
	return string(c.encode(nil, new([]byte), tenantChecksum(tenant)))
}

// encode appends the cursor as text. It uses the room for its bytes. A cursor's checksum includes the organization, so that a cursor of another one is
// refused.
func (c feedCursor) encode(b []byte, room *[]byte, tenant uint32) []byte {
	data := appendPlace(append((*room)[:0], feedCursorKind), c.after)
	if c.deleted.Compare(c.after) > 0 {
		data = appendPlace(data, c.deleted)
	}
	data = binary.BigEndian.AppendUint32(data, crc32.Update(tenant, crc32.IEEETable, data))
	*room = data
	return cursorText.AppendEncode(b, data)
}

func tenantChecksum(tenant InternalID) uint32 { return crc32.ChecksumIEEE([]byte(tenant)) }

func appendPlace(b []byte, p FeedPlace) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(p.Arrival))
	b = binary.AppendUvarint(b, uint64(len(p.ID)))
	return append(b, p.ID...)
}

// parseFeedCursor reads a cursor. It reports false for any other text.
func parseFeedCursor(text string, tenant InternalID) (c feedCursor, ok bool) {
	if len(text) > maxCursor {
		return c, false
	}
	data, err := cursorText.DecodeString(text)
	if err != nil || len(data) < 1+8+1+4 || data[0] != feedCursorKind {
		return c, false
	}
	rest := data[1 : len(data)-4]
	if c.after, rest, ok = cutPlace(rest); ok && len(rest) > 0 {
		c.deleted, rest, ok = cutPlace(rest)
	}
	return c, ok && len(rest) == 0 && c.text(tenant) == text
}

// cutPlace reads a place and returns the bytes after it.
func cutPlace(b []byte) (p FeedPlace, rest []byte, ok bool) {
	if len(b) < 8 {
		return p, nil, false
	}
	arrival := binary.BigEndian.Uint64(b)
	n, used := binary.Uvarint(b[8:])
	if rest = b[8:]; used <= 0 || n > uint64(len(rest)-used) || arrival > math.MaxInt64 {
		return p, nil, false
	}
	id := rest[used : used+int(n)]
	return FeedPlace{int64(arrival), EventID(id)}, rest[used+int(n):], utf8.Valid(id)
}
