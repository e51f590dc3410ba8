package apikey

import (
	"context"
	"time"
)

// Store is what the Service asks of an engine. Every read but KeysByHash is confined to one tenant. Documents that
// are old or odd are returned with the defaults of Key; those without a usable id or hash are never returned.
//
// A failure is an *Error: Unavailable where the engine is down, too slow, or the context ended.
type Store interface {
	// KeysByHash returns the keys that carry the hash, two at most, as the primary holds them.
	KeysByHash(ctx context.Context, hash string) ([]Key, error)

	// Keys returns the keys with these ids, in no order.
	Keys(ctx context.Context, tenant InternalID, ids []ID, fields Fields) ([]Key, error)

	// KeyPages returns for each retriever the keys that its id is named by, within the range, newest first. The
	// result matches retrievers by index.
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
