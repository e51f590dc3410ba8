package apikey

import (
	"context"
	"time"
)

// Store is what the Service requires of an engine. Failures are *Error values: Unavailable if the engine is down or slow, or the context
// ended.
type Store interface {
	Reader

	// CurrentKeys returns the keys with these ids, in any order and with all fields, as the primary has them, so that a change can be
	// decided. If another process was stopped while changing one, it finishes that change first.
	CurrentKeys(ctx context.Context, tenant InternalID, ids ...ID) ([]Key, error)

	// CurrentKeysWithHashes is CurrentKeys for the keys with these hashes. If the tenant is nil, it returns the keys of all tenants. If
	// several documents have a hash, it returns all of them that are usable.
	CurrentKeysWithHashes(ctx context.Context, tenant *InternalID, hashes []string) ([]Key, error)

	// InsertKey stores a new key and its event: both or neither.
	InsertKey(ctx context.Context, k Key, e Event) error

	// ChangeKey changes a key by one conditional write, which carries its events. If the key is not as the change expects it, it writes
	// nothing and reports false.
	ChangeKey(ctx context.Context, c Change) (bool, error)

	// UseKeys records when keys were used. last_used_at never goes back, and is not written if it is less than UseInterval older. Missing
	// keys are ignored.
	UseKeys(ctx context.Context, uses []Use) error

	// AddAnswers adds to what gateways were answered about keys on days, at most one KeyDay for each. If it fails, it returns those that were
	// not added. It never adds one twice.
	AddAnswers(ctx context.Context, days []KeyDay) (NotAdded, error)

	// AnswersOf returns what gateways were answered about the keys with these ids, from one day to another, both included. They are in any order,
	// and a day can be there more than once. Days without answers can be left out.
	AnswersOf(ctx context.Context, tenant InternalID, ids []ID, from, to Day) ([]KeyDay, error)

	// DeleteAnswers deletes up to limit of all tenants' KeyDays that are before a day, and reports whether there can be more.
	DeleteAnswers(ctx context.Context, before Day, limit int) (more bool, err error)

	// ExpiringKeys returns up to that many keys of all tenants that expire after a place and before an instant, in the order of ExpiryPosition, with
	// NoticeFields and as the primary has them. It finds them by an index, and fails while that is missing.
	ExpiringKeys(ctx context.Context, after ExpiryPosition, before time.Time, limit int) ([]Key, error)

	// StoredEvents returns those of the events that are stored, in any order.
	StoredEvents(ctx context.Context, events []EventRef) ([]EventRef, error)

	// InsertEvent stores an event without a change. If an event with its id is stored already, it stays as it is; its place in the feed can move to
	// the end.
	InsertEvent(ctx context.Context, e Event) error

	// EventPage returns the tenant's events that are in the list.
	EventPage(ctx context.Context, tenant InternalID, l EventList) ([]Event, error)

	// CountEvents counts the tenant's events that meet the conditions.
	CountEvents(ctx context.Context, tenant InternalID, where EventConditions) (int, error)

	// ArrivedEvents returns a part of the feed of the tenant's events. The place of an event is decided when it is stored. It is after the places
	// of all events that ArrivedEvents has returned, no matter which process stores it, what its clock says, or how often it tries.
	ArrivedEvents(ctx context.Context, tenant InternalID, r FeedRange) (FeedPage, error)

	// TenantsOfEvents returns the tenants that have events, each once, in any order.
	TenantsOfEvents(ctx context.Context) ([]InternalID, error)

	// DeleteEvents deletes up to limit of the tenant's events that happened before an instant, and reports whether there can be more. The feed
	// remembers the last place from which it deleted one. It keeps an event that the store needs to number others.
	DeleteEvents(ctx context.Context, tenant InternalID, before time.Time, limit int) (more bool, err error)
}

// Reader has the reads of a Store. Every read except KeysByHash is confined to one tenant. Old and odd documents are returned with the
// defaults of Key; documents without a usable id or hash are not returned. A read charges the documents that it looks at to the context's
// Cost, and fails with its error.
type Reader interface {
	// KeysByHash returns up to two keys with the hash, as the primary has them.
	KeysByHash(ctx context.Context, hash string) ([]Key, error)

	// Keys returns the keys with these ids, in any order.
	Keys(ctx context.Context, tenant InternalID, ids []ID, fields Fields) ([]Key, error)

	// KeysWithHashes returns the keys with these hashes, in any order. A hash that several documents of the tenant have belongs to no key.
	KeysWithHashes(ctx context.Context, tenant InternalID, hashes []string, fields Fields) ([]Key, error)

	// KeyPages returns, for each retriever, the keys that name its id and are in the list, which sets no condition Naming. The results are
	// in the order of the retrievers. If all pages together would have more than about KeysAtOnce keys, it returns those of the first
	// retrievers only, at least one: call it again for the others.
	KeyPages(ctx context.Context, tenant InternalID, retrievers []RetrieverID, l KeyList) ([][]Key, error)

	// KeyPage returns the tenant's keys that are in the list, each once, no matter which retrievers they name.
	KeyPage(ctx context.Context, tenant InternalID, l KeyList) ([]Key, error)

	// CountKeys counts the tenant's keys that meet the conditions.
	CountKeys(ctx context.Context, tenant InternalID, where KeyConditions) (int, error)

	// MatchingKeys calls f with each of the tenant's keys that meet the list's conditions, in no order, until f returns false. MatchingKeys ignores
	// the list's order, range and limit. If the list has a condition on the expiry, a key whose expiry changes during the call can come twice or not
	// at all. f must not call the store.
	MatchingKeys(ctx context.Context, tenant InternalID, l KeyList, f func(Key) (more bool)) error

	// EachKey calls f with each of the tenant's keys that lists show, in no order, and returns how many documents of the tenant no list shows. It
	// ends with the context. f must not keep the key or parts of it: the next one may overwrite it.
	EachKey(ctx context.Context, tenant InternalID, fields Fields, f func(*Key)) (unlisted int, err error)

	// Namespaces returns the namespaces whose id or name is in refs, in any order.
	Namespaces(ctx context.Context, tenant InternalID, refs []string) ([]Namespace, error)

	// NamespacesOf returns all namespaces of the tenant, in any order.
	NamespacesOf(ctx context.Context, tenant InternalID) ([]Namespace, error)

	// Retrievers returns the retrievers with these ids, in any namespace and any order.
	Retrievers(ctx context.Context, tenant InternalID, ids []RetrieverID) ([]Retriever, error)

	// RetrieversNamed returns the retrievers of a namespace with these names, in any order.
	RetrieversNamed(ctx context.Context, tenant InternalID, ns NamespaceID, names []string) ([]Retriever, error)

	// RetrieverPage returns the namespace's retrievers within the range, by name, then id.
	RetrieverPage(ctx context.Context, tenant InternalID, ns NamespaceID, r RetrieverRange) ([]Retriever, error)

	// CountRetrievers counts the namespace's retrievers.
	CountRetrievers(ctx context.Context, tenant InternalID, ns NamespaceID) (int, error)
}

// Change is a change of one key, decided on what CurrentKeys returned.
type Change struct {
	Key      Key       // the new state, except Revision, which must still be stored and which a change increments
	Fields   Fields    // the fields that are written; all others stay
	ActiveAt time.Time // the instant at which the key must be active; if zero, it must not be revoked
	AnyState bool      // the key may have any state, and ActiveAt has no meaning: only the revision counts
	// Successor is the key that replaces it. It exists as soon as the change does, however the process ends: at the latest after the next
	// start, read or change. It is never stored twice.
	Successor *Key
	Events    []Event // at least one, in order
}

// NotAdded are the KeyDays that AddAnswers could not add.
type NotAdded struct {
	Left []KeyDay // certainly not added; they can be added later
	Lost []KeyDay // can have been added, or cannot be added at all
}

// Use records that a key was used.
type Use struct {
	InternalID InternalID
	ID         ID
	Hash       string
	At         time.Time
}

// UseInterval is how much older than a use the stored last_used_at must be to be updated.
const UseInterval = time.Minute

// KeysAtOnce is about how many keys one read of a Store returns at most.
const KeysAtOnce = 2000

// RetrieverRange is a range of a namespace's retrievers in order: by name, then id, both ascending by UTF-8 bytes.
type RetrieverRange struct {
	After, Before *RetrieverPosition // both exclusive; nil is the end of the list
	FromEnd       bool               // the last Limit retrievers of the range instead of the first, still in order
	Limit         int                // at least 1
}

// RetrieverPosition is a place in the order of a namespace's retrievers.
type RetrieverPosition struct {
	Name string
	ID   RetrieverID
}
