// Package store says what an engine is; the engines are in the folders beside.
package store

import (
	"context"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// Engine is a store as the process that opened it sees it: what the Service asks, and what commands and operations
// need besides.
type Engine interface {
	apikey.Store

	// Import stores the batch, or what is missing of it: a document whose id is stored is left as it is. Clashes
	// with what is stored (a hash or an _id of another document) refuse the whole batch with document.Problems
	// before anything is written. With document.ErrNotEmpty see document.ImportOptions.
	Import(ctx context.Context, b document.Batch, o document.ImportOptions) (document.Imported, error)

	// OrganizationNamespaces returns the namespaces that carry the organization name, of all tenants, in no order.
	OrganizationNamespaces(ctx context.Context, name string) ([]apikey.Namespace, error)

	// NamespacesCalled returns the namespaces with that id or name, of all tenants, in no order.
	NamespacesCalled(ctx context.Context, ref string) ([]apikey.Namespace, error)

	// AllNamespaces returns every namespace, of all tenants, in no order.
	AllNamespaces(ctx context.Context) ([]apikey.Namespace, error)

	// KeysWithID returns the keys with that id, of all tenants, in no order.
	KeysWithID(ctx context.Context, id apikey.ID) ([]apikey.Key, error)

	// KeysWithPrefix returns the keys that are stored with one of these prefixes, of all tenants, in no order. No index
	// holds prefixes: it looks at every key, so it is for an operator who waits, not for requests.
	KeysWithPrefix(ctx context.Context, prefixes []string) ([]apikey.Key, error)

	// CountUnusable counts the key documents that no list shows.
	CountUnusable(ctx context.Context) (document.Unusable, error)

	// Repair gives key documents without a key_id one: the id that their _id stands in for, by which they are known already, or a new
	// one. It writes only where the key_id is still missing, so it may run beside servers, be ended, and run again. It looks at every
	// key, for an operator who waits.
	Repair(ctx context.Context, o document.RepairOptions) (document.Repaired, error)

	// Ping returns nil if the engine can answer now.
	Ping(ctx context.Context) error

	// Close ends the engine's use and frees what it holds.
	Close() error
}
