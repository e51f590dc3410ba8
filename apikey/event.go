package apikey

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
)

// EventID identifies an audit event within an organization (audit_id).
type EventID string

// Event is an audit event: who did, or tried to do, what to which resource, when and from where. It never contains a plaintext or a hash.
type Event struct {
	ID           EventID
	Timestamp    time.Time
	Action       Action
	ResourceType ResourceType
	ResourceID   string
	ActorID      string
	ActorType    ActorType
	ActorKeyID   *ID // the key that the actor used; may be nil
	Outcome      Outcome
	Changes      []FieldChange
	IPAddress    *string
	UserAgent    *string
	InternalID   InternalID
	NamespaceID  NamespaceID   // empty if the key's retrievers are gone
	RetrieverIDs []RetrieverID // the retrievers whose lists show the event
}

// Size is the approximate memory of the event in bytes. Stored events may have texts and lists of any length.
func (e *Event) Size() int {
	const event, change, word = 384, 48, 16
	n := event + len(e.ID) + len(e.Action) + len(e.ResourceType) + len(e.ResourceID) + len(e.ActorID) + len(e.ActorType) + len(e.Outcome) +
		len(text(e.IPAddress)) + len(text(e.UserAgent)) + len(e.InternalID) + len(e.NamespaceID)
	if e.ActorKeyID != nil {
		n += word + len(*e.ActorKeyID)
	}
	for i := range e.Changes {
		c := &e.Changes[i]
		n += change + len(c.Field) + len(text(c.Before)) + len(text(c.After))
	}
	for _, id := range e.RetrieverIDs {
		n += word + len(id)
	}
	return n
}

// FieldChange is the change of one field of a key's document. Nil means no value.
type FieldChange struct {
	Field         string // its name in the document
	Before, After *string
}

// Action is what was done. Other programs' events may have other actions.
type Action string

// The actions. KeyUpdated is this server's own: the vendor has api_key_scope_updated and permission_updated, but an update here changes
// neither scopes nor permissions. The others are the vendor's.
const (
	KeyCreated Action = "api_key_created"
	KeyUpdated Action = "api_key_updated"
	KeyRotated Action = "api_key_rotated" // of the old key; the changes name the new one
	KeyRevoked Action = "api_key_revoked"
	// KeyLeakReported is this server's own, too.
	KeyLeakReported Action = "api_key_leak_reported"
)

// ActorType is the type of an actor.
type ActorType string

// The actor types.
const (
	User     ActorType = "user"     // the user of the key that the request was sent with
	Operator ActorType = "operator" // a person at a terminal with access to the store
)

// Outcome is how the action ended (status).
type Outcome string

// The outcomes.
const (
	Success Outcome = "success"
	Denied  Outcome = "denied"
)

// event makes the event of the caller's action on a resource.
func (c Caller) event(action Action, of ResourceType, id string, at time.Time, ns NamespaceID, retrievers []RetrieverID) Event {
	e := Event{
		ID: newEventID(at), Timestamp: at, Action: action, ResourceType: of, ResourceID: id,
		ActorID: c.Key.UserID, ActorType: User, Outcome: Success,
		IPAddress: optional(c.Address), UserAgent: optional(shortened(HideKeys(harmless(c.UserAgent)))),
		InternalID: c.tenant(), NamespaceID: ns, RetrieverIDs: retrievers,
	}
	switch {
	case c.System:
		e.ActorType = System
	case c.Operator:
		e.ActorType = Operator
	default:
		e.ActorKeyID = &c.Key.ID
	}
	return e
}

// eventsMade counts the events that this process has made.
var eventsMade atomic.Uint64

// newEventID returns an id that sorts by time and, within a millisecond, by the order in which this process made the events.
func newEventID(at time.Time) EventID {
	return EventID("evt_" + inBase62(uint64(at.UnixMilli()), 8) + inBase62(eventsMade.Add(1), 4) + randomText(12))
}

// Made returns the event of a key that the caller created, for code that stores both without the Service. The namespace is that of the
// key.
func (c Caller) Made(k *Key, ns NamespaceID, at time.Time) Event {
	e := c.event(KeyCreated, ResourceAPIKey, string(k.ID), at, ns, k.Retrievers())
	made := *k
	made.Status = made.StatusAt(at)
	e.Changes = changes(&Key{}, &made)
	return e
}

// harmless replaces invisible characters, such as controls and bidirectional controls. Anybody can send them, and none may make the trail
// look like something else.
func harmless(header string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unprintable(r) || unicode.Is(unicode.Cf, r):
			return utf8.RuneError
		default:
			return r
		}
	}, header)
}

// maxUserAgent is how many bytes of a User-Agent header an event keeps.
const maxUserAgent = 512

func shortened(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	for len(s) > maxUserAgent {
		_, size := utf8.DecodeLastRuneInString(s[:maxUserAgent+1])
		s = s[:maxUserAgent+1-size]
	}
	return s
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// changes returns the differences between two versions of a key, in the fields that can change. The old texts may contain a key, because imported
// ones are not checked. The trail hides it.
func changes(from, to *Key) []FieldChange {
	var out []FieldChange
	for _, f := range []struct {
		name          string
		before, after *string
	}{
		{"name", optional(from.Name), optional(to.Name)},
		{"description", optional(from.Description), optional(to.Description)},
		{"expires_at", dateText(from.ExpiresAt), dateText(to.ExpiresAt)},
		{"allowed_origins", listText(from.AllowedOrigins), listText(to.AllowedOrigins)},
		{"rate_limit_override", numberText(from.RateLimitOverride), numberText(to.RateLimitOverride)},
		{"status", optional(string(from.Status)), optional(string(to.Status))},
		{"revoke_reason", from.RevokeReason, to.RevokeReason},
		{"leaked_at", dateText(from.LeakedAt), dateText(to.LeakedAt)},
		{"leak_source", from.LeakSource, to.LeakSource},
		{"leak_url", from.LeakURL, to.LeakURL},
		{"rotated_to", idText(from.RotatedTo), idText(to.RotatedTo)},
		{"rotated_from", idText(from.RotatedFrom), idText(to.RotatedFrom)},
	} {
		if text(f.before) != text(f.after) || (f.before == nil) != (f.after == nil) {
			out = append(out, FieldChange{Field: f.name, Before: withoutKeys(f.before), After: withoutKeys(f.after)})
		}
	}
	return out
}

// withoutKeys is HideKeys for texts with a whole key. It does not change other texts, even if they contain what looks like the beginning of a key.
func withoutKeys(text *string) *string {
	if text == nil || !HoldsKey(*text) {
		return text
	}
	hidden := HideKeys(*text)
	return &hidden
}

// Milliseconds is the text form of dates: RFC 3339 in UTC, with the precision in which they are stored.
const Milliseconds = "2006-01-02T15:04:05.000Z"

// date is the grammar of RFC 3339. time.Parse accepts more, such as a comma before the fraction and an offset of 24 hours.
var date = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// ParseDate parses an RFC 3339 date whose year in UTC has four digits.
func ParseDate(text string) (t time.Time, ok bool) {
	t, err := time.Parse(time.RFC3339, text)
	year := t.UTC().Year()
	return t, err == nil && date.MatchString(text) && year >= 0 && year <= lastYear
}

func dateText(t *time.Time) *string {
	if t == nil {
		return nil
	}
	s := t.UTC().Format(Milliseconds)
	return &s
}

func listText(items []string) *string {
	if items == nil {
		return nil
	}
	b, _ := json.Marshal(items) // text always has a JSON form
	s := string(b)
	return &s
}

func numberText(n *int32) *string {
	if n == nil {
		return nil
	}
	s := strconv.Itoa(int(*n))
	return &s
}

func idText(id *ID) *string {
	if id == nil {
		return nil
	}
	return optional(string(*id))
}
