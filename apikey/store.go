package apikey

import (
	"context"
	"time"
)

// Store is what the Service asks of an engine. A failure is an *Error: Unavailable where the engine is down, too slow,
// or the context ended.
type Store interface {
	Reader

	// CurrentKeys returns the keys with this id, with all their fields, as the primary holds them: what a change is
	// decided on. Where another process was stopped in the midst of changing one, that is finished first.
	CurrentKeys(ctx context.Context, tenant InternalID, id ID) ([]Key, error)

	// InsertKey stores a new key and its event: both or neither.
	InsertKey(ctx context.Context, k Key, e Event) error

	// ChangeKey changes a key by one conditional write, which carries its event. It reports false, and has written
	// nothing, where the key is no longer as the change expects it.
	ChangeKey(ctx context.Context, c Change) (bool, error)

	// UseKeys notes when keys were used: last_used_at never goes back, and stays where it is less than UseInterval
	// older. Keys that are not there are passed over.
	UseKeys(ctx context.Context, uses []Use) error

	// InsertEvent stores an event that goes with no change. One that is stored with its id stays as it is.
	InsertEvent(ctx context.Context, e Event) error

	// EventPage returns the retriever's events within the range, newest first.
	EventPage(ctx context.Context, tenant InternalID, retriever RetrieverID, r EventRange) ([]Event, error)

	// CountEvents counts the retriever's events; those about the key only, unless it is empty.
	CountEvents(ctx context.Context, tenant InternalID, retriever RetrieverID, about ID) (int, error)
}

// Reader is what a Store tells of keys and what they belong to. Every read but KeysByHash is confined to one tenant.
// Documents that are old or odd are returned with the defaults of Key; those without a usable id or hash are never
// returned. A read charges the documents that it looks at to the context's Cost, and ends with its error.
type Reader interface {
	// KeysByHash returns the keys that carry the hash, two at most, as the primary holds them.
	KeysByHash(ctx context.Context, hash string) ([]Key, error)

	// Keys returns the keys with these ids, in no order.
	Keys(ctx context.Context, tenant InternalID, ids []ID, fields Fields) ([]Key, error)

	// KeyPages returns for each retriever the keys that its id is named by, within the range, newest first. The
	// result matches retrievers by index. Where all pages together would have more than about KeysAtOnce keys, it
	// returns those of the first retrievers only, of at least one: ask again for the others.
	KeyPages(ctx context.Context, tenant InternalID, retrievers []RetrieverID, r KeyRange) ([][]Key, error)

	// CountKeys counts the keys that name the retriever; those active at activeAt only, unless it is zero.
	CountKeys(ctx context.Context, tenant InternalID, retriever RetrieverID, activeAt time.Time) (int, error)

	// Namespaces returns the namespaces whose id or name is among refs, in no order.
	Namespaces(ctx context.Context, tenant InternalID, refs []string) ([]Namespace, error)

	// Retrievers returns the retrievers with these ids, of whatever namespace, in no order.
	Retrievers(ctx context.Context, tenant InternalID, ids []RetrieverID) ([]Retriever, error)

	// RetrieversNamed returns the retrievers of a namespace with these names, in no order.
	RetrieversNamed(ctx context.Context, tenant InternalID, ns NamespaceID, names []string) ([]Retriever, error)

	// RetrieverPage returns the namespace's retrievers within the range, by name, then id.
	RetrieverPage(ctx context.Context, tenant InternalID, ns NamespaceID, r RetrieverRange) ([]Retriever, error)

	// CountRetrievers counts the namespace's retrievers.
	CountRetrievers(ctx context.Context, tenant InternalID, ns NamespaceID) (int, error)
}

// Change is a change of one key's state, decided on what CurrentKeys returned.
type Change struct {
	Key      Key       // as it is to be, but for Revision, at which it must still be; a change raises that by one
	Fields   Fields    // what of the key is written; all other fields stay as they are
	ActiveAt time.Time // the instant at which the key must be active; where it is zero, it must not be revoked
	// Successor is the key that takes its place. It is there when the change is, however the process ends: at the
	// latest with the next start, read or change. It is never stored twice.
	Successor *Key
	Event     Event
}

// Use is that a key was used.
type Use struct {
	InternalID InternalID
	ID         ID
	Hash       string
	At         time.Time
}

// UseInterval is how much older than a use the stored last_used_at must be to be written.
const UseInterval = time.Minute

// EventRange selects a run of a retriever's events in their order: newest first, ties by descending id.
type EventRange struct {
	About         ID             // only the events about this key, unless it is empty
	After, Before *EventPosition // both exclusive; nil is the list's end
	FromEnd       bool           // the last Limit events of the range instead of the first; still newest first
	Limit         int            // at least 1
}

// EventPosition is a place in the order of a retriever's events.
type EventPosition struct {
	Timestamp time.Time
	ID        EventID
}

// KeysAtOnce is about how many keys one read of a Store returns at most, whatever is asked of it.
const KeysAtOnce = 2000

// KeyRange selects a run of a retriever's keys in their order: newest first, keys with no readable creation date
// last, ties by descending id.
type KeyRange struct {
	After, Before *KeyPosition // both exclusive; nil is the list's end
	FromEnd       bool         // the last Limit keys of the range instead of the first; still newest first
	Limit         int          // at least 1
	ActiveAt      time.Time    // only the keys active at this instant, unless it is zero
	Fields        Fields
}

// KeyPosition is a place in the order of a retriever's keys.
type KeyPosition struct {
	CreatedAt *time.Time // nil where the key has no readable date
	ID        ID
}

// RetrieverRange selects a run of a namespace's retrievers in their order: by name, then id, both ascending by
// the bytes of their UTF-8.
type RetrieverRange struct {
	After, Before *RetrieverPosition // both exclusive; nil is the list's end
	FromEnd       bool               // the last Limit retrievers of the range instead of the first; still in order
	Limit         int                // at least 1
}

// RetrieverPosition is a place in the order of a namespace's retrievers.
type RetrieverPosition struct {
	Name string
	ID   RetrieverID
}
