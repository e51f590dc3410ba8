// Package store defines Engine. The engines are in its subdirectories.
package store

import (
	"context"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// Engine is an open store. It has the methods that the Service calls, and those that commands and operators need.
type Engine interface {
	apikey.Store

	// Import stores all documents of the source. It leaves a document unchanged if its id is stored already. If a hash
	// or an _id belongs to another stored document, Import returns document.Problems and writes nothing. See
	// document.ImportOptions for document.ErrNotEmpty.
	Import(ctx context.Context, from document.Source, o document.ImportOptions) (document.Imported, error)

	// OrganizationNamespaces returns the namespaces of all tenants that have the organization name, in no order.
	OrganizationNamespaces(ctx context.Context, name string) ([]apikey.Namespace, error)

	// NamespacesCalled returns the namespaces of all tenants with that id or name, in no order.
	NamespacesCalled(ctx context.Context, ref string) ([]apikey.Namespace, error)

	// AllNamespaces returns the namespaces of all tenants, in no order.
	AllNamespaces(ctx context.Context) ([]apikey.Namespace, error)

	// TenantsOfKeys returns the tenants that have keys, each once, in no order.
	TenantsOfKeys(ctx context.Context) ([]apikey.InternalID, error)

	// KeysWithID returns the keys of all tenants with one of these ids, in no order.
	KeysWithID(ctx context.Context, ids ...apikey.ID) ([]apikey.Key, error)

	// KeysWithPrefix returns the keys of all tenants that are stored with one of these prefixes, in no order. Prefixes
	// have no index, so it scans every key: use it for an operator's command, not for requests.
	KeysWithPrefix(ctx context.Context, prefixes []string) ([]apikey.Key, error)

	// CountUnusable counts the key documents that no list shows.
	CountUnusable(ctx context.Context) (document.Unusable, error)

	// Repair gives a key_id to every key document without one: the id that its _id stands in for, by which clients know
	// the key already, or a new id. It writes only if the key_id is still missing. It can therefore run while servers
	// run, be interrupted, and run again. It scans every key, so it is for an operator's command.
	Repair(ctx context.Context, o document.RepairOptions) (document.Repaired, error)

	// Ping returns nil if the engine can serve requests now.
	Ping(ctx context.Context) error

	// Close closes the engine and frees its resources.
	Close() error
}
