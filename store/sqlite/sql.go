package sqlite

// All SQL of the engine is here, so that a test can check the query plan of every statement.

import (
	"context"
	"database/sql"
	"fmt"

	"retrieverkeys/apikey"
)

// The file identifies its program by an application id ("rkey") and the version of the schema.
const (
	applicationID = 0x726b6579
	schemaVersion = 7
)

// migration brings a file from the previous version of the schema to the next one.
type migration struct {
	tables  string
	fill    func(ctx context.Context, tx *sql.Tx) error // fills new columns from the documents; nil: there are none
	indexes string                                      // built last, which is faster
}

// schema has one migration per version.
var schema = [schemaVersion]migration{
	{tables: documents},
	{tables: auditTrail},
	{keyColumns, fill(unfilledKeys, fillKeyColumns, documentDates), keyIndexes},
	{eventColumns, fill(unfilledEvents, fillEventColumns, eventValues), eventIndexes},
	{tables: usageTable},
	{indexes: expiryIndex},
	{tables: deletions, indexes: arrivalIndex},
}

// documents is the schema of version 1. Its tables have one row per document: the BSON as imported, and the columns
// that queries use. The columns are null for an unusable document (no usable id; for keys, no hash), so no query finds
// it. The _id is in a column, its BSON type first, because two documents of a list must not share one.
//
// api_key_retrievers is the order of every retriever's keys, with a row for each retriever that a key's scopes name.
// created_at is in milliseconds, or noDate if there is no readable date, so that such keys come last. active_until is
// the instant at which the key stops being active: never, forever, or its expiry.
const documents = `
CREATE TABLE namespaces (
	pk                INTEGER PRIMARY KEY,
	mongo_id          BLOB UNIQUE,
	tenant            TEXT,
	id                TEXT,
	name              TEXT,
	organization_name TEXT,
	document          BLOB NOT NULL,
	UNIQUE (tenant, id)
) STRICT;
CREATE INDEX namespaces_by_name ON namespaces (tenant, name);
CREATE INDEX namespaces_by_organization ON namespaces (organization_name) WHERE organization_name IS NOT NULL;

CREATE TABLE retrievers (
	pk           INTEGER PRIMARY KEY,
	mongo_id     BLOB UNIQUE,
	tenant       TEXT,
	id           TEXT,
	namespace_id TEXT,
	name         TEXT,
	document     BLOB NOT NULL,
	UNIQUE (tenant, id)
) STRICT;
CREATE INDEX retrievers_by_name ON retrievers (tenant, namespace_id, name, id);

CREATE TABLE api_keys (
	pk       INTEGER PRIMARY KEY,
	mongo_id BLOB UNIQUE,
	tenant   TEXT,
	id       TEXT,
	hash     TEXT UNIQUE,
	document BLOB NOT NULL,
	UNIQUE (tenant, id)
) STRICT;

CREATE TABLE api_key_retrievers (
	tenant       TEXT NOT NULL,
	retriever_id TEXT NOT NULL,
	created_at   INTEGER NOT NULL,
	id           TEXT NOT NULL,
	active_until INTEGER NOT NULL,
	api_key      INTEGER NOT NULL,
	PRIMARY KEY (tenant, retriever_id, created_at, id)
) STRICT, WITHOUT ROWID;
`

// keyColumns and keyIndexes, of version 3, are the orders of an organization's keys, which includes keys that name no retriever. The values are
// as in api_key_retrievers; expires_at is like created_at. The indexes contain active_until, so that inactive keys are passed over without
// reading their rows.
const (
	keyColumns = `
ALTER TABLE api_keys ADD COLUMN created_at INTEGER;
ALTER TABLE api_keys ADD COLUMN expires_at INTEGER;
ALTER TABLE api_keys ADD COLUMN active_until INTEGER;
ALTER TABLE api_keys ADD COLUMN created_by TEXT;
`
	keyIndexes = `
CREATE INDEX api_keys_by_creation ON api_keys (tenant, created_at, id, active_until);
CREATE INDEX api_keys_by_expiry ON api_keys (tenant, expires_at, id, active_until);
CREATE INDEX api_keys_by_creator ON api_keys (tenant, created_by, created_at, id, active_until);
`
)

// expiryIndex, of version 6, is the order of the keys of all tenants that expire. The number is noDate.
const expiryIndex = `
CREATE INDEX api_keys_by_end ON api_keys (expires_at, id, tenant) WHERE expires_at > -9223372036854775808;
`

// dropKeyIndexes removes keyIndexes and expiryIndex. An import into an empty table builds them at its end.
const dropKeyIndexes = `
DROP INDEX api_keys_by_end;
DROP INDEX api_keys_by_creation;
DROP INDEX api_keys_by_expiry;
DROP INDEX api_keys_by_creator;
`

// eventColumns and eventIndexes, of version 4, are the other orders of events. The index of the resource replaces the one that was for a
// resource of one retriever.
const (
	eventColumns = `
DROP INDEX audit_event_retrievers_by_resource;
ALTER TABLE audit_event_retrievers DROP COLUMN resource_id;
ALTER TABLE audit_events ADD COLUMN happened_at INTEGER;
ALTER TABLE audit_events ADD COLUMN namespace_id TEXT;
ALTER TABLE audit_events ADD COLUMN resource_id TEXT;
ALTER TABLE audit_events ADD COLUMN actor_id TEXT;
ALTER TABLE audit_events ADD COLUMN actor_key_id TEXT;
`
	eventIndexes = `
CREATE INDEX audit_events_by_time ON audit_events (tenant, happened_at, id);
CREATE INDEX audit_events_by_namespace ON audit_events (tenant, namespace_id, happened_at, id);
CREATE INDEX audit_events_by_resource ON audit_events (tenant, resource_id, happened_at, id);
CREATE INDEX audit_events_by_actor ON audit_events (tenant, actor_id, happened_at, id);
CREATE INDEX audit_events_by_actor_key ON audit_events (tenant, actor_key_id, happened_at, id);
`
)

// usageTable, of version 5, has what gateways were answered about each key on each day, the number of days since 1970-01-01. The index is for
// deleting old days.
const usageTable = `
CREATE TABLE api_key_usage (
	tenant  TEXT NOT NULL,
	key_id  TEXT NOT NULL,
	day     INTEGER NOT NULL,
	allowed INTEGER NOT NULL,
	refused INTEGER NOT NULL,
	PRIMARY KEY (tenant, key_id, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX api_key_usage_by_day ON api_key_usage (day);
`

// The feed, of version 7, has events in the order of their rows. A row gets the number after the largest one, in the order of the transactions, so
// it is after all rows that anybody can have read. The newest row is never deleted, because its number would be used again. The index has the
// rows of a tenant in order: SQLite puts the row's number at the end of every index. audit_deletions has the last row that was deleted.
const (
	arrivalIndex = `
CREATE INDEX audit_events_by_arrival ON audit_events (tenant);
`
	deletions = `
CREATE TABLE audit_deletions (
	tenant TEXT PRIMARY KEY,
	pk     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`
)

// auditTrail, of version 2, stores audit events as documents are stored. audit_event_retrievers is the order of every retriever's
// events, with times in milliseconds. The indexes of namespaces are for commands that work on all organizations.
const auditTrail = `
CREATE TABLE audit_events (
	pk       INTEGER PRIMARY KEY,
	tenant   TEXT NOT NULL,
	id       TEXT NOT NULL,
	document BLOB NOT NULL,
	UNIQUE (tenant, id)
) STRICT;

CREATE TABLE audit_event_retrievers (
	tenant       TEXT NOT NULL,
	retriever_id TEXT NOT NULL,
	happened_at  INTEGER NOT NULL,
	id           TEXT NOT NULL,
	resource_id  TEXT NOT NULL,
	audit_event  INTEGER NOT NULL,
	PRIMARY KEY (tenant, retriever_id, happened_at, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_event_retrievers_by_resource ON audit_event_retrievers (tenant, retriever_id, resource_id, happened_at, id, audit_event);

CREATE INDEX namespaces_by_id ON namespaces (id) WHERE id IS NOT NULL;
CREATE INDEX namespaces_by_any_name ON namespaces (name) WHERE name IS NOT NULL;
`

// readStatement identifies a statement of the Service's reads, prepared once.
type readStatement int

const (
	keysByHash readStatement = iota
	keysOfTenantByHash
	keysByID
	keyRowsOfRetriever
	namespacesByRef
	namespacesOfTenant
	retrieversByID
	retrieversByName
	retrieversForward
	retrieversBackward
	countRetrievers
	namespacesByOrganization
	namespacesCalled
	allNamespaces
	tenantsOfKeys
	keysOfAnyTenant
	allKeys
	unusableKeys
	keysFrom
	countKeyDocuments
	lastKeyRow
	keysOfRows
	answersOfKey
	expiringKeys
	eventStored
	arrivedEvents
	eventOfRow
	lastDeletedEvent
	firstEventSince
	lastEventRow
	tenantsOfEvents
	keyOrderReads
	eventOrderReads = keyOrderReads + readStatement(keyOrders)*readsOfKeyOrder
	reads           = eventOrderReads + readStatement(eventOrders)*readsOfEventOrder
)

// withTenants begins a statement with the tenants that have keys. It steps through them in an index.
const withTenants = `
		WITH RECURSIVE tenants (tenant) AS (
			SELECT min(tenant) FROM api_keys WHERE tenant >= ''
			UNION ALL
			SELECT (SELECT min(k.tenant) FROM api_keys k WHERE k.tenant > t.tenant) FROM tenants t WHERE t.tenant IS NOT NULL)`

// keyOrder is an order in which a table or an index has keys.
type keyOrder readStatement

const (
	keysOfRetriever keyOrder = iota // by creation
	keysOfTenant                    // by creation
	keysByExpiry                    // of a tenant
	keysOfCreator                   // by creation
	keyOrders
)

// keyOrderSQL has the parts of the statements that differ. The order is by date, then id. They name the index: in large files, SQLite found the
// keys of one creator among all keys.
var keyOrderSQL = [keyOrders]struct{ from, date, document string }{
	{"api_key_retrievers WHERE tenant = ?1 AND retriever_id = ?2", "created_at", "(SELECT document FROM api_keys WHERE pk = api_key)"},
	{"api_keys INDEXED BY api_keys_by_creation WHERE tenant = ?1 AND ?2 = ''", "created_at", "document"},
	{"api_keys INDEXED BY api_keys_by_expiry WHERE tenant = ?1 AND ?2 = ''", "expires_at", "document"},
	{"api_keys INDEXED BY api_keys_by_creator WHERE tenant = ?1 AND created_by = ?2", "created_at", "document"},
}

// The statements of each order. Their arguments are the tenant, the retriever or creator, the place below which and the place above which a
// run lies, both exclusive, and a limit.
const (
	// These return each row that they read: its place, and the document, or null if the key is not active or look refuses it. The reader can so
	// count rows, and stop when it has enough keys.
	keysDown = iota
	keysUp
	// This limits the rows that it reads, and returns their number too.
	countKeys
	readsOfKeyOrder
)

func (o keyOrder) statement(which int) readStatement {
	return keyOrderReads + readStatement(o)*readsOfKeyOrder + readStatement(which)
}

func init() {
	for o, parts := range keyOrderSQL {
		run := fmt.Sprintf("FROM %s AND (%s, id) < (?3, ?4) AND (%s, id) > (?5, ?6)", parts.from, parts.date, parts.date)
		down, up := fmt.Sprintf("ORDER BY %s DESC, id DESC", parts.date), fmt.Sprintf("ORDER BY %s, id", parts.date)
		keys := fmt.Sprintf("SELECT %s, id, CASE WHEN active_until > ?8 AND (?9 = 0 OR look(?9, %s)) THEN %s END %s", parts.date, parts.document, parts.document, run)
		for which, text := range [readsOfKeyOrder]string{
			keysDown: keys + " " + down + " LIMIT ?7", keysUp: keys + " " + up + " LIMIT ?7",
			countKeys: "SELECT count(*) FILTER (WHERE active_until > ?8), count(*) FROM (SELECT active_until " + run + " LIMIT ?7)",
		} {
			readSQL[keyOrder(o).statement(which)] = text
		}
	}
}

// eventOrders is the number of orders in which a table or an index has events, one for each condition by which they are found. All are by
// time, then id.
const eventOrders = apikey.EventsByResource + 1

// eventOrderSQL has the parts of the statements that differ.
var eventOrderSQL = [eventOrders]struct{ from, document string }{
	apikey.EventsByTenant:    {"audit_events INDEXED BY audit_events_by_time WHERE tenant = ?1 AND ?2 = ''", "document"},
	apikey.EventsByNamespace: {"audit_events INDEXED BY audit_events_by_namespace WHERE tenant = ?1 AND namespace_id = ?2", "document"},
	apikey.EventsByRetriever: {"audit_event_retrievers WHERE tenant = ?1 AND retriever_id = ?2", "(SELECT document FROM audit_events WHERE pk = audit_event)"},
	apikey.EventsByActor:     {"audit_events INDEXED BY audit_events_by_actor WHERE tenant = ?1 AND actor_id = ?2", "document"},
	apikey.EventsByActorKey:  {"audit_events INDEXED BY audit_events_by_actor_key WHERE tenant = ?1 AND actor_key_id = ?2", "document"},
	apikey.EventsByResource:  {"audit_events INDEXED BY audit_events_by_resource WHERE tenant = ?1 AND resource_id = ?2", "document"},
}

// The statements of each order. Their arguments are those of the orders of keys.
const (
	eventsDown = iota
	eventsUp
	countEvents
	readsOfEventOrder
)

func eventStatement(order apikey.EventsBy, which int) readStatement {
	return eventOrderReads + readStatement(order)*readsOfEventOrder + readStatement(which)
}

func init() {
	for o, parts := range eventOrderSQL {
		run := fmt.Sprintf("FROM %s AND (happened_at, id) < (?3, ?4) AND (happened_at, id) > (?5, ?6)", parts.from)
		for which, text := range [readsOfEventOrder]string{
			eventsDown:  fmt.Sprintf("SELECT %s %s ORDER BY happened_at DESC, id DESC LIMIT ?7", parts.document, run),
			eventsUp:    fmt.Sprintf("SELECT %s %s ORDER BY happened_at, id LIMIT ?7", parts.document, run),
			countEvents: fmt.Sprintf("SELECT count(*), count(*) FROM (SELECT 1 %s LIMIT ?7)", run),
		} {
			readSQL[eventStatement(apikey.EventsBy(o), which)] = text
		}
	}
}

// Row values bound a run on both sides. The bound of an open side is beyond all rows.
var readSQL = [reads]string{
	keysByHash:         `SELECT document FROM api_keys WHERE hash = ?`,
	keysByID:           `SELECT document FROM api_keys WHERE tenant = ? AND id = ?`,
	keyRowsOfRetriever: `SELECT api_key FROM api_key_retrievers WHERE tenant = ? AND retriever_id = ? AND active_until > ? LIMIT ?`,
	// The hash is unique. The + keeps the index of tenant out of the choice.
	keysOfTenantByHash: `SELECT document FROM api_keys WHERE hash = ? AND +tenant = ?`,
	// With OR, SQLite would scan all namespaces of the tenant.
	namespacesByRef: `
		SELECT document FROM namespaces WHERE tenant = ?1 AND id = ?2
		UNION ALL SELECT document FROM namespaces WHERE tenant = ?1 AND name = ?2`,
	namespacesOfTenant: `SELECT document FROM namespaces WHERE tenant = ? AND id > ''`,
	retrieversByID:     `SELECT document FROM retrievers WHERE tenant = ? AND id = ?`,
	retrieversByName:   `SELECT document FROM retrievers WHERE tenant = ? AND namespace_id = ? AND name = ?`,
	retrieversForward: `
		SELECT document FROM retrievers
		WHERE tenant = ? AND namespace_id = ? AND (name, id) > (?, ?) AND (name, id) < (?, ?)
		ORDER BY name, id LIMIT ?`,
	retrieversBackward: `
		SELECT document FROM retrievers
		WHERE tenant = ? AND namespace_id = ? AND (name, id) > (?, ?) AND (name, id) < (?, ?)
		ORDER BY name DESC, id DESC LIMIT ?`,
	countRetrievers: `
		SELECT count(*), count(*) FROM (SELECT 1 FROM retrievers WHERE tenant = ? AND namespace_id = ? LIMIT ?)`,
	namespacesByOrganization: `SELECT document FROM namespaces WHERE organization_name = ?`,
	namespacesCalled: `
		SELECT document FROM namespaces WHERE id = ?1 UNION ALL SELECT document FROM namespaces WHERE name = ?1 AND id <> ?1`,
	allNamespaces: `SELECT document FROM namespaces WHERE pk > 0`,
	tenantsOfKeys: withTenants + `
		SELECT t.tenant FROM tenants t WHERE t.tenant > ''`,
	// The index orders ids within a tenant, so the statement looks up the id in each tenant.
	keysOfAnyTenant: withTenants + `
		SELECT k.document FROM tenants t CROSS JOIN api_keys k ON k.tenant = t.tenant AND k.id = ?`,
	allKeys:           `SELECT document FROM api_keys WHERE pk > 0`,
	unusableKeys:      `SELECT document FROM api_keys WHERE hash IS NULL`,
	keysFrom:          `SELECT pk, document FROM api_keys WHERE pk > ? ORDER BY pk LIMIT ?`,
	countKeyDocuments: `SELECT count(*), count(*) FROM (SELECT 1 FROM api_keys WHERE pk > 0 LIMIT ?)`,
	lastKeyRow:        `SELECT coalesce(max(pk), 0) FROM api_keys`,
	expiringKeys: `
		SELECT document FROM api_keys INDEXED BY api_keys_by_end
		WHERE expires_at > -9223372036854775808 AND (expires_at, id, tenant) > (?, ?, ?) AND expires_at < ? AND tenant > '' ORDER BY expires_at, id, tenant LIMIT ?`,
	eventStored: `SELECT id FROM audit_events WHERE tenant = ? AND id = ?`,
	// The + keeps the indexes of tenant out of the choice.
	keysOfRows:       `SELECT count(look(?4, document)) FROM api_keys WHERE pk > ?1 AND pk <= ?2 AND +tenant = ?3 AND id IS NOT NULL`,
	answersOfKey:     `SELECT day, allowed, refused FROM api_key_usage WHERE tenant = ? AND key_id = ? AND day >= ? AND day <= ?`,
	arrivedEvents:    `SELECT pk, document FROM audit_events INDEXED BY audit_events_by_arrival WHERE tenant = ? AND pk > ? ORDER BY pk LIMIT ?`,
	eventOfRow:       `SELECT id FROM audit_events WHERE pk = ? AND +tenant = ?`,
	lastDeletedEvent: `SELECT pk FROM audit_deletions WHERE tenant = ?`,
	firstEventSince:  `SELECT min(pk) FROM audit_events INDEXED BY audit_events_by_time WHERE tenant = ? AND happened_at >= ?`,
	lastEventRow:     `SELECT pk, id FROM audit_events INDEXED BY audit_events_by_arrival WHERE tenant = ? AND pk > 0 ORDER BY pk DESC LIMIT 1`,
	tenantsOfEvents: `
		WITH RECURSIVE tenants (tenant) AS (
			SELECT min(tenant) FROM audit_events WHERE tenant >= ''
			UNION ALL
			SELECT (SELECT min(e.tenant) FROM audit_events e WHERE e.tenant > t.tenant) FROM tenants t WHERE t.tenant IS NOT NULL)
		SELECT t.tenant FROM tenants t WHERE t.tenant IS NOT NULL`,
}

// writeStatement identifies a statement of a transaction, prepared on first use.
type writeStatement int

const (
	anyDocument writeStatement = iota
	anyKey
	insertNamespace
	namespaceStored
	namespaceDocumentID
	insertRetriever
	retrieverStored
	retrieverDocumentID
	insertKey
	keyStored
	keyDocumentID
	keyHash
	insertKeyRetriever
	keyToChange
	updateKey
	updateKeyDates
	updateKeyRetriever
	keyToRepair
	repairKey
	insertEvent
	insertEventRetriever
	addAnswers
	deleteAnswers
	oldEvents
	deleteEvent
	deleteEventRetriever
	noteDeletion
	writes
)

var writeSQL = [writes]string{
	anyDocument: `
		SELECT 1 FROM namespaces WHERE pk > 0 UNION ALL SELECT 1 FROM retrievers WHERE pk > 0
		UNION ALL SELECT 1 FROM api_keys WHERE pk > 0 UNION ALL SELECT 1 FROM audit_events WHERE pk > 0 LIMIT 1`,
	anyKey: `SELECT 1 FROM api_keys WHERE pk > 0 LIMIT 1`,
	insertNamespace: `
		INSERT INTO namespaces (document, mongo_id, tenant, id, name, organization_name) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT DO NOTHING`,
	namespaceStored:     `SELECT 1 FROM namespaces WHERE tenant = ? AND id = ?`,
	namespaceDocumentID: `SELECT 1 FROM namespaces WHERE mongo_id = ?`,
	insertRetriever: `
		INSERT INTO retrievers (document, mongo_id, tenant, id, namespace_id, name) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT DO NOTHING`,
	retrieverStored:     `SELECT 1 FROM retrievers WHERE tenant = ? AND id = ?`,
	retrieverDocumentID: `SELECT 1 FROM retrievers WHERE mongo_id = ?`,
	insertKey: `
		INSERT INTO api_keys (document, mongo_id, tenant, id, hash, created_at, expires_at, active_until, created_by)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
	keyStored:     `SELECT 1 FROM api_keys WHERE tenant = ? AND id = ?`,
	keyDocumentID: `SELECT 1 FROM api_keys WHERE mongo_id = ?`,
	keyHash:       `SELECT 1 FROM api_keys WHERE hash = ?`,
	insertKeyRetriever: `
		INSERT INTO api_key_retrievers (tenant, retriever_id, created_at, id, active_until, api_key)
		VALUES (?, ?, ?, ?, ?, ?)`,
	keyToChange:    `SELECT document FROM api_keys WHERE tenant = ? AND id = ?`,
	updateKey:      `UPDATE api_keys SET document = ? WHERE tenant = ? AND id = ?`,
	updateKeyDates: `UPDATE api_keys SET expires_at = ?, active_until = ? WHERE tenant = ? AND id = ?`,
	updateKeyRetriever: `
		UPDATE api_key_retrievers SET active_until = ? WHERE tenant = ? AND retriever_id = ? AND created_at = ? AND id = ?`,
	keyToRepair: `SELECT document FROM api_keys WHERE pk = ?`,
	repairKey: `
		UPDATE OR IGNORE api_keys
		SET document = ?, tenant = ?, id = ?, hash = ?, created_at = ?, expires_at = ?, active_until = ?, created_by = ? WHERE pk = ?`,
	insertEvent: `
		INSERT INTO audit_events (document, tenant, id, happened_at, namespace_id, resource_id, actor_id, actor_key_id)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
	insertEventRetriever: `
		INSERT INTO audit_event_retrievers (tenant, retriever_id, happened_at, id, audit_event) VALUES (?, ?, ?, ?, ?)`,
	addAnswers: fmt.Sprintf(`
		INSERT INTO api_key_usage (tenant, key_id, day, allowed, refused) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET allowed = min(max(allowed, 0) + excluded.allowed, %[1]d), refused = min(max(refused, 0) + excluded.refused, %[1]d)`,
		int64(apikey.MaxCount)),
	deleteAnswers: `
		DELETE FROM api_key_usage WHERE (tenant, key_id, day) IN (
			SELECT tenant, key_id, day FROM api_key_usage INDEXED BY api_key_usage_by_day WHERE day < ? LIMIT ?)`,
	oldEvents: `
		SELECT pk, document FROM audit_events INDEXED BY audit_events_by_time
		WHERE tenant = ? AND happened_at < ? AND pk < (SELECT max(pk) FROM audit_events WHERE pk > 0) LIMIT ?`,
	deleteEvent:          `DELETE FROM audit_events WHERE pk = ?`,
	deleteEventRetriever: `DELETE FROM audit_event_retrievers WHERE tenant = ? AND retriever_id = ? AND happened_at = ? AND id = ?`,
	noteDeletion: `
		INSERT INTO audit_deletions (tenant, pk) VALUES (?, ?) ON CONFLICT DO UPDATE SET pk = excluded.pk WHERE excluded.pk > pk`,
}

// The statements that fill the columns of new versions.
const (
	unfilledKeys     = `SELECT pk, document FROM api_keys WHERE pk > ? AND tenant IS NOT NULL ORDER BY pk LIMIT 1000`
	fillKeyColumns   = `UPDATE api_keys SET created_at = ?, expires_at = ?, active_until = ?, created_by = ? WHERE pk = ?`
	unfilledEvents   = `SELECT pk, document FROM audit_events WHERE pk > ? ORDER BY pk LIMIT 1000`
	fillEventColumns = `
		UPDATE audit_events SET happened_at = ?, namespace_id = ?, resource_id = ?, actor_id = ?, actor_key_id = ? WHERE pk = ?`
)

// The statements of a backup, which scan everything.
const (
	vacuumInto     = `VACUUM INTO ?`
	checkIntegrity = `PRAGMA integrity_check(1)`
	countDocuments = `
		SELECT (SELECT count(*) FROM namespaces), (SELECT count(*) FROM retrievers), (SELECT count(*) FROM api_keys),
			(SELECT count(*) FROM audit_events)`
)
