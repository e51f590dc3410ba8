package mongodb

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

// The queries, and the index that answers each. None needs a transaction or $elemMatch. Only two scan a collection, and only operators run
// them. Values from outside are always values in a query, never operators. Each query is one command, unless noted.
//
//	KeysByHash              api_keys    key_hash
//	Keys                    api_keys    internal_id, key_id; for a key without one, _id
//	KeysWithHashes          api_keys    key_hash
//	KeyPages, KeyPage, CountKeys, MatchingKeys
//	  of retrievers         api_keys    internal_id, scopes.resource_id, created_at, key_id, which is their order too
//	  of a creator          api_keys    internal_id, created_by, created_at, key_id, which is their order too
//	  of a tenant           api_keys    internal_id, created_at, key_id, which is their order too
//	  of a tenant by expiry api_keys    internal_id, expires_at, key_id, which is their order too
//	                                    a page of retrievers or of a creator by expiry: the server sorts their keys
//	                                    a page with odd dates, or with the last dated key and the first undated one: up to two more commands, and
//	                                    by expiry another one, which asks MongoDB whether the index has lists
//	                                    with the finding BEYOND_MAX_LIFETIME: first the dates of the list's keys, 5,000 at a time, then the page as Keys
//	EachKey                 api_keys    internal_id, key_id, which is its order too
//	ExpiringKeys            api_keys    expires_at, key_id, internal_id, which is their order too
//	CountUnusable           api_keys    key_hash; internal_id (after reading all tenants), key_id
//	Repair                  api_keys    none: reads every key, for an operator; then as Keys, and _id
//	CurrentKeys             api_keys    as Keys; if there is none, pending_events.audit_id, internal_id
//	InsertKey, ChangeKey    api_keys    as Keys; then audit_events _id, and api_keys _id to remove the event
//	UseKeys                 api_keys    as Keys, in one command for all
//	in the background, at most once a second while keys are read
//	                        api_keys    pending_events.audit_id, internal_id
//	EventPage, CountEvents  api_keys    pending_events.audit_id, internal_id
//	                        audit_events internal_id, a condition, timestamp, audit_id. The condition is one of retriever_ids, namespace_id,
//	                                    resource_id, actor_id and actor_key_id, or none. If two can find the events, two more commands count
//	                                    which finds fewer.
//	StoredEvents            audit_events _id
//	AddAnswers              api_key_usage internal_id, key_id, day; in one command for all
//	AnswersOf               api_key_usage the same
//	DeleteAnswers           api_key_usage day; then _id
//	InsertEvent             audit_events _id; for an event that is stored already, internal_id, audit_id
//	ArrivedEvents           audit_events internal_id, arrived_at, audit_id, which is its order too; first the events without arrived_at, by the same.
//	                                    Since: one more command, by this or by internal_id, timestamp, audit_id
//	                        audit_deletions _id
//	TenantsOfEvents         audit_events internal_id, in any of its indexes
//	DeleteEvents            audit_events internal_id, timestamp, audit_id; then _id
//	                        audit_deletions _id
//	KeysWithID              api_keys    internal_id (after reading all tenants); then as Keys
//	KeysWithPrefix          api_keys    none: reads every key, for an operator
//	AllNamespaces           namespaces  none: returns all
//	NamespacesCalled        namespaces  namespace_id; namespace_name
//	Namespaces              namespaces  internal_id, namespace_id; internal_id, namespace_name, namespace_id
//	NamespacesOf            namespaces  internal_id, namespace_id
//	OrganizationNamespaces  namespaces  organization_name
//	Retrievers              retrievers  internal_id, retriever_id
//	RetrieversNamed         retrievers  internal_id, namespace_id, retriever_name, retriever_id
//	RetrieverPage           retrievers  the same, which is its order too; at the list's ends up to two commands
//	CountRetrievers         retrievers  the same
//	Import, what is stored  each        internal_id and the id; key_hash; _id
//
// The index of KeyPages is multikey, but only because of scopes.resource_id, so MongoDB serves its order without sorting: for one value of
// scopes.resource_id, the index is in the order of created_at and key_id, a document has one entry there, and MongoDB knows which indexed
// fields contain lists (https://www.mongodb.com/docs/manual/core/indexes/index-types/index-multikey/). What its manual says about blocking
// sorts with multikey indexes (https://www.mongodb.com/docs/manual/tutorial/sort-results-with-indexes/) is about sorting by a field that
// contains lists. For several retrievers, it merges one run of the index for each. Other servers may read the run and sort it.
//
// No query names a collation. FerretDB v1 refuses the option, and a collection compares text byte by byte unless it was created with a
// collation. The log warns about such a collection.
//
// MongoDB matches a list by each of its items, but here a list is not its item: document.Key reads it as nothing. If that could grant access
// or falsify a count, the query excludes lists. Queries in the order of creation do not look for lists in created_at and key_id, because MongoDB
// refuses to index a second list next to scopes.

var (
	aList    = bson.D{{Key: "$type", Value: int32(bson.TypeArray)}}
	notList  = bson.E{Key: "$not", Value: encoded(aList)}
	notText  = not("$gt", "") // $type means the same, but no index answers it
	someText = bson.D{{Key: "$gt", Value: ""}, notList}

	// unusable are the documents that no list shows. They are left out by a negation, with a pattern for the hash, so that MongoDB considers no
	// index for it: the indexes of key_id and key_hash must not compete for lists.
	unusable = bson.A{
		encoded(bson.D{{Key: "key_id", Value: notText}}),
		encoded(bson.D{{Key: "key_id", Value: aList}}),
		encoded(bson.D{{Key: "key_hash", Value: bson.D{{Key: "$not", Value: bson.Regex{Pattern: ".", Options: "s"}}}}}),
		encoded(bson.D{{Key: "key_hash", Value: aList}}),
	}
)

// encoded encodes a constant part of queries once. Otherwise the driver would encode it for each query.
func encoded(v any) bson.RawValue {
	kind, value, err := bson.MarshalValue(v)
	if err != nil {
		panic(err)
	}
	return bson.RawValue{Type: kind, Value: value}
}

// is matches the value, but not a list that contains it.
func is(v any) bson.D { return bson.D{{Key: "$eq", Value: v}, notList} }

// among matches any of the values, but not a list that contains one.
func among[T ~string](values []T) bson.D {
	return bson.D{{Key: "$in", Value: texts(values)}, notList}
}

// equal matches any of the values, and lists that contain one. Servers answer it by an index. Some do not if notList is
// next to it. So lookups use equal and check the result, and lists and counts leave out other documents by noList.
func equal[T ~string](values ...T) any {
	if len(values) == 1 {
		return string(values[0])
	}
	return bson.D{{Key: "$in", Value: texts(values)}}
}

// noList matches documents without a list in any of the fields.
func noList(fields ...string) bson.E {
	lists := make(bson.A, len(fields))
	for i, name := range fields {
		lists[i] = bson.D{{Key: name, Value: aList}}
	}
	return bson.E{Key: "$nor", Value: lists}
}

func texts[T ~string](values []T) bson.A {
	list := make(bson.A, len(values))
	for i, v := range values {
		list[i] = string(v)
	}
	return list
}
