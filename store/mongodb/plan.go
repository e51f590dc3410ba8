package mongodb

import (
	"context"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// Verdict says what a deployment does with a query.
type Verdict string

// The verdicts. Missing and Unused are wrong.
const (
	Used    Verdict = "used"    // it reads nothing but what the index wanted leads to
	Missing Verdict = "missing" // an index wanted does not exist
	Unused  Verdict = "unused"  // it scans the collection, sorts, uses another index, or examines more documents than the query returns
	Unknown Verdict = "unknown" // the deployment does not explain, or its explain cannot be trusted
)

// Plan is a query, the indexes that it wants, and what the deployment did with it.
type Plan struct {
	Query      string   `json:"query"`
	Collection string   `json:"collection"`
	Filter     string   `json:"filter"` // relaxed Extended JSON, with a placeholder for each value
	Sort       string   `json:"sort,omitempty"`
	Wants      []string `json:"wants"` // indexes by their fields
	Verdict    Verdict  `json:"verdict"`
	Stages     []string `json:"stages,omitempty"`   // of the winning plan
	Examined   int64    `json:"examined,omitempty"` // documents, as are those returned
	Returned   int64    `json:"returned,omitempty"`
}

// example are the values that queries ask for.
type example struct {
	tenant, hash, key, creator, namespace, name, organization, retriever string
	at                                                                   time.Time // now
	created                                                              time.Time // the key's, so that a later page begins far from the list's end
}

// query is a query and the indexes that may serve it: all of them must exist.
type query struct {
	name, collection string
	filter, sort     bson.D
	limit            int
	wants            []bson.D
	alone            bool // the index alone answers it: every document examined must be returned
}

// queries are those of query.go and docs/sizing.md: for each set of indexed fields that the store asks by, one. Counts and writes are explained
// as finds of the same filter.
func queries(v example) []query {
	tenant, key, retriever := apikey.InternalID(v.tenant), []apikey.ID{apikey.ID(v.key)}, []apikey.RetrieverID{apikey.RetrieverID(v.retriever)}
	namespace := apikey.NamespaceID(v.namespace)
	today := apikey.DayOf(v.at)
	byID, byTenant := bson.D{up("_id")}, bson.E{Key: "internal_id", Value: is(v.tenant)}
	retrievers := bson.D{up("internal_id"), up("namespace_id"), up("retriever_name"), up("retriever_id")}
	afterName := withinNames(apikey.RetrieverRange{After: &apikey.RetrieverPosition{Name: v.name, ID: retriever[0]}})
	queries := []query{
		{"authentication", document.Keys, bson.D{{Key: "key_hash", Value: v.hash}}, nil, 2, []bson.D{{up("key_hash")}}, false},
		{"a key by id", document.Keys, keysWithIDs(tenant, key), nil, 0, []bson.D{keysByID, byID}, false},
		{"keys by hash", document.Keys, keysWithHashes(tenant, []string{v.hash}), nil, 0, []bson.D{{up("key_hash")}}, false},
		{"leaked keys of all tenants", document.Keys, bson.D{{Key: "key_hash", Value: equal(v.hash, v.hash+"0")}}, nil, 0, []bson.D{{up("key_hash")}}, false},
		{"changes and uses of a key", document.Keys, append(keysWithIDs(tenant, key), bson.E{Key: "key_hash", Value: v.hash}), nil, 0, []bson.D{keysByID, byID, {up("key_hash")}}, false},
		{"a change's end", document.Keys, bson.D{{Key: "_id", Value: v.key}, {Key: "internal_id", Value: v.tenant}}, nil, 0, []bson.D{byID}, false},
		{"keys without a hash", document.Keys, bson.D{{Key: "key_hash", Value: notText}}, nil, 0, []bson.D{{up("key_hash")}}, false},
		{"keys without a key_id", document.Keys, bson.D{{Key: "internal_id", Value: is(v.tenant)}, {Key: "key_id", Value: notText}, {Key: "key_hash", Value: bson.D{{Key: "$gt", Value: ""}}}}, nil, 0, []bson.D{keysByID}, false},
		{"unfinished changes", document.Keys, bson.D{somethingPending}, nil, finishBatch, []bson.D{pendingIndex.keys}, false},
		{"a successor that is not in its place", document.Keys, bson.D{somethingPending, byTenant, {Key: "successor.key_id", Value: v.key}}, nil, 1, []bson.D{pendingIndex.keys}, false},
		{"unfinished changes of a tenant", document.Keys, bson.D{somethingPending, byTenant}, nil, maxPending, []bson.D{pendingIndex.keys}, false},
		{"keys of all tenants that expire soon", document.Keys, expiringKeys(apikey.ExpiryPosition{At: v.at}, v.at.AddDate(0, 0, 14)), endIndex.keys, 500, []bson.D{endIndex.keys}, false},
		{"events that are stored", document.Events, bson.D{{Key: "_id", Value: v.key}}, nil, 0, []bson.D{byID}, false},
		{"the request's namespace", document.Namespaces, namespacesOf(tenant, []string{v.namespace, v.name}), nil, 0, []bson.D{{up("internal_id"), up("namespace_id")}, {up("internal_id"), up("namespace_name"), up("namespace_id")}}, false},
		{"an organization's namespaces", document.Namespaces, namespacesOfTenant(tenant), nil, 0, []bson.D{{up("internal_id"), up("namespace_id")}}, false},
		{"retrievers by id", document.Retrievers, retrieversWithIDs(tenant, retriever), nil, 0, []bson.D{{up("internal_id"), up("retriever_id")}}, false},
		{"retrievers by name", document.Retrievers, retrieversNamed(tenant, namespace, []string{v.name}), nil, 0, []bson.D{retrievers}, false},
		{"pages and counts of retrievers", document.Retrievers, retrieversOf(tenant, namespace, bson.E{Key: "retriever_id", Value: someText}),
			bson.D{up("retriever_name"), up("retriever_id")}, 26, []bson.D{retrievers}, true},
		{"later pages of retrievers", document.Retrievers, retrieversOf(tenant, namespace, afterName...), bson.D{up("retriever_name"), up("retriever_id")}, 26, []bson.D{retrievers}, true},
		{"keys …: the tenants", document.Keys, bson.D{{Key: "internal_id", Value: someText}}, bson.D{up("internal_id")}, 1, []bson.D{keysByID, keysOfRetriever}, false},
		{"keys …: a namespace of any tenant", document.Namespaces, namespacesCalled(v.namespace, v.name), nil, 0, []bson.D{{up("namespace_id")}, {up("namespace_name")}}, false},
		{"bootstrap: an organization by name", document.Namespaces, bson.D{{Key: "organization_name", Value: v.organization}}, nil, 0, []bson.D{{up("organization_name")}}, false},
		{"usage of keys", document.Usage, keyDays(tenant, []apikey.ID{apikey.ID(v.key)}, today-apikey.UsageDays, today), nil, 0, []bson.D{usageOfKey}, true},
		{"usage that is added", document.Usage, keyDay(apikey.KeyDay{InternalID: tenant, ID: apikey.ID(v.key), Day: today}), nil, 0, []bson.D{usageOfKey}, true},
		{"usage that is too old", document.Usage, daysBefore(today - apikey.MaxUsageDays), bson.D{up("day")}, 500, []bson.D{{up("day")}}, true},
		{"usage that is deleted", document.Usage, append(daysBefore(today-apikey.MaxUsageDays), bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: bson.A{v.key}}}},
			bson.E{Key: "internal_id", Value: bson.D{{Key: "$in", Value: bson.A{v.tenant}}}}), nil, 0, []bson.D{byID, {up("day")}, usageOfKey}, false},
		{"import: namespaces that are stored", document.Namespaces, storedLike("namespace_id", []owned{{tenant, v.namespace}}, bson.A{v.key}, nil), nil, 0, []bson.D{byID, {up("internal_id"), up("namespace_id")}}, false},
		{"import: retrievers that are stored", document.Retrievers, storedLike("retriever_id", []owned{{tenant, v.retriever}}, bson.A{v.key}, nil), nil, 0, []bson.D{byID, {up("internal_id"), up("retriever_id")}}, false},
		{"import: keys that are stored", document.Keys, storedLike("key_id", []owned{{tenant, v.key}}, bson.A{v.key}, bson.A{v.hash}), nil, 0, []bson.D{byID, keysByID, {up("key_hash")}}, false},
	}
	return slices.Concat(queries, keyQueries(v), eventQueries(v), feedQueries(v))
}

// eventQueries are those of lists of events.
func eventQueries(v example) (queries []query) {
	namespace, key := apikey.NamespaceID(v.namespace), apikey.ID(v.key)
	newest := bson.D{down("timestamp"), down("audit_id")}
	for _, of := range []struct {
		events string
		where  apikey.EventConditions
		index  bson.D
	}{
		{"a retriever's events", apikey.EventConditions{Naming: []apikey.RetrieverID{apikey.RetrieverID(v.retriever)}}, eventIndex("retriever_ids")},
		{"events about a key", apikey.EventConditions{About: &key}, eventIndex("resource_id")},
		{"an organization's events", apikey.EventConditions{}, eventIndex()},
		{"a namespace's events", apikey.EventConditions{Namespace: &namespace}, eventIndex("namespace_id")},
		{"an actor's events", apikey.EventConditions{ActorID: &v.creator}, eventIndex("actor_id")},
		{"events of an actor's key", apikey.EventConditions{ActorKeyID: &key}, eventIndex("actor_key_id")},
	} {
		l := apikey.EventList{Where: of.where}
		filter := eventsThat(apikey.InternalID(v.tenant), &l, of.where.FoundBy()[0])
		queries = append(queries, query{"pages and counts of " + of.events, document.Events, filter.with(), newest, 26, []bson.D{of.index}, true})
		l.After = &apikey.EventPosition{Timestamp: v.at, ID: "evt_"}
		filter = eventsThat(apikey.InternalID(v.tenant), &l, of.where.FoundBy()[0])
		queries = append(queries, query{"later pages of " + of.events, document.Events, filter.with(), newest, 26, []bson.D{of.index}, true})
	}
	return queries
}

// feedQueries are those of the feed and of the deletion of old events.
func feedQueries(v example) []query {
	tenant := apikey.InternalID(v.tenant)
	byID, byAuditID, ids := bson.D{up("_id")}, bson.D{up("internal_id"), up("audit_id")}, bson.A{v.key}
	end := v.at.UnixMilli()
	later := feedAfter(tenant, apikey.FeedPlace{Arrival: v.created.UnixMilli(), ID: "evt_"}, end)
	return []query{
		{"storing an event", document.Events, bson.D{{Key: "_id", Value: v.key}, {Key: "internal_id", Value: v.tenant}, {Key: "audit_id", Value: v.key}}, nil, 1, []bson.D{byID, byAuditID}, false},
		{"events by id", document.Events, eventsWithIDs(tenant, ids), nil, 0, []bson.D{byID}, false},
		{"an event that is stored already", document.Events, bson.D{{Key: "internal_id", Value: v.tenant}, {Key: "audit_id", Value: v.key}}, nil, 1, []bson.D{byAuditID}, false},
		{"the feed of events", document.Events, feedAfter(tenant, apikey.FeedPlace{}, end), arrivalOrder[1:], 26, []bson.D{arrivalOrder}, true},
		{"later pages of the feed of events", document.Events, later, arrivalOrder[1:], 26, []bson.D{arrivalOrder}, true},
		// The server walks the first index until an event happened late enough, or sorts what the second one has.
		{"where the feed of events begins", document.Events, happenedSince(tenant, v.created, end), nil, 0, []bson.D{arrivalOrder, eventIndex()}, false},
		{"events without a place in the feed", document.Events, unstamped(tenant), nil, stampBatch, []bson.D{arrivalOrder}, true},
		{"old events", document.Events, happenedBefore(tenant, v.created), oldestFirst, 26, []bson.D{eventIndex()}, true},
		{"old events to delete", document.Events, append(eventsWithIDs(tenant, ids), bson.E{Key: arrivedAt, Value: bson.D{{Key: "$lte", Value: bson.DateTime(end)}}}), nil, 0, []bson.D{byID}, false},
		{"old events: the tenants", document.Events, bson.D{{Key: "internal_id", Value: someText}}, bson.D{up("internal_id")}, 1, eventIndexes(), false},
		{"the last deletion of an event", document.Deletions, ofTenant(tenant), nil, 0, []bson.D{byID}, false},
	}
}

// eventIndexes are all indexes of events. Each begins with the tenant.
func eventIndexes() (all []bson.D) {
	for _, ix := range indexes {
		if ix.collection == document.Events {
			all = append(all, ix.keys)
		}
	}
	return all
}

// The indexes of key lists, each in the list's order.
var (
	keysOfRetriever = bson.D{up("internal_id"), up("scopes.resource_id"), down("created_at"), down("key_id")}
	keysOfTenant    = bson.D{up("internal_id"), down("created_at"), down("key_id")}
	keysByExpiry    = bson.D{up("internal_id"), down("expires_at"), down("key_id")}
	keysOfCreator   = bson.D{up("internal_id"), up("created_by"), down("created_at"), down("key_id")}
)

// keyQueries are those of lists of keys.
func keyQueries(v example) (queries []query) {
	tenant, retriever := apikey.InternalID(v.tenant), apikey.RetrieverID(v.retriever)
	listing := func(l apikey.KeyList) *listing { return &listing{keysThat(tenant, &l), &l, nil} }
	add := func(name string, filter, sort bson.D, alone bool, wants ...bson.D) {
		queries = append(queries, query{name, document.Keys, filter, sort, 26, wants, alone})
	}
	for _, of := range []struct {
		keys  string
		where apikey.KeyConditions
		order apikey.KeyOrder
		index bson.D
	}{
		{"keys", apikey.KeyConditions{}.Of(retriever), apikey.KeyOrder{}, keysOfRetriever},
		{"an organization's keys", apikey.KeyConditions{}, apikey.KeyOrder{}, keysOfTenant},
		{"an organization's keys by expiry", apikey.KeyConditions{}, apikey.KeyOrder{ByExpiry: true}, keysByExpiry},
		{"a creator's keys", apikey.KeyConditions{CreatedBy: &v.creator}, apikey.KeyOrder{}, keysOfCreator},
	} {
		l := listing(apikey.KeyList{Where: of.where, Order: of.order})
		add("pages of "+of.keys, l.with(), l.order(), true, of.index)
		add("pages of dated "+of.keys, l.with(datedKeys(l.KeyList)...), l.order(), true, of.index)
		after := *l.KeyList
		after.After = &apikey.KeyPosition{At: &v.created, ID: apikey.ID(v.key)}
		later, ok := oneRun(&after)
		if !ok {
			later = datedKeys(&after)
		}
		add("later pages of "+of.keys, l.with(later...), l.order(), true, of.index)
		values := l.noDates(false)
		if len(values) == 1 {
			add("pages of undated "+of.keys, l.with(append(undatedKeys(l.KeyList), values...)...), nil, false, of.index, keysByID) // few, so the server may sort them
		} else {
			add("pages of keys that never expire", l.with(append(undatedKeys(l.KeyList), values[0])...), l.order()[1:], true, of.index)
			add("pages of keys with an odd expiry", l.with(append(undatedKeys(l.KeyList), values[1])...), nil, false, of.index)
		}
	}
	active := listing(apikey.KeyList{Where: apikey.ActiveKeys(v.at).Of(retriever)})
	add("pages of active keys", active.with(), active.order(), false, keysOfRetriever)
	year := v.at.AddDate(1, 0, 0)
	expiring := listing(apikey.KeyList{Where: apikey.KeyConditions{Expires: apikey.Period{From: &v.at, Until: &year}}})
	add("pages of keys that expire in a period, by creation", expiring.with(), nil, true, keysByExpiry, keysOfTenant)
	add("later pages of keys that expire in a period, by creation", expiring.with(datedKeys(&apikey.KeyList{After: &apikey.KeyPosition{At: &v.created}})...), nil, false, keysByExpiry, keysOfTenant)
	add("dated keys that expire in a period, by creation", expiring.with(datedKeys(&apikey.KeyList{})...), nil, false, keysByExpiry, keysOfTenant)

	ofRetriever, ofTenant := listing(apikey.KeyList{Where: apikey.KeyConditions{}.Of(retriever)}), listing(apikey.KeyList{})
	count := func(name string, filter bson.D, wants ...bson.D) {
		queries = append(queries, query{name, document.Keys, filter, nil, 0, wants, false})
	}
	add("the report of an organization's keys", keysOf(tenant), keysByID[1:], true, keysByID)
	count("counts of keys", ofRetriever.usable(), keysOfRetriever)
	count("counts of an organization's keys", ofTenant.usable(), keysOfTenant, keysByExpiry, keysOfCreator, keysOfRetriever, keysByID)
	return queries
}

var placeholders = example{"INTERNAL_ID", "KEY_HASH", "KEY_ID", "USER_ID", "NAMESPACE_ID", "NAME", "ORGANIZATION_NAME", "RETRIEVER_ID", time.Unix(0, 0).UTC(), time.Unix(0, 0).UTC()}

// Plans explains each query, with values of stored documents where there are any. It changes nothing.
func (s *Store) Plans(ctx context.Context) ([]Plan, error) {
	values, err := s.example(ctx)
	if err != nil {
		return nil, err
	}
	trusted := s.explainsTruly(ctx)
	asked, shown := queries(values), queries(placeholders)
	existing := map[string][]existingIndex{}
	plans := make([]Plan, len(asked))
	for i, q := range asked {
		there, listed := existing[q.collection]
		if !listed {
			if there, err = s.listIndexes(ctx, q.collection); err != nil {
				return nil, err
			}
			existing[q.collection] = there
		}
		filter, _ := bson.MarshalExtJSON(shown[i].filter, false, false)
		p := Plan{Query: q.name, Collection: q.collection, Filter: string(filter), Verdict: Unknown}
		if q.sort != nil {
			sort, _ := bson.MarshalExtJSON(q.sort, false, false)
			p.Sort = string(sort)
		}
		missing := false
		for _, keys := range q.wants {
			ix := index{collection: q.collection, keys: keys}
			p.Wants = append(p.Wants, ix.String())
			ours, _ := ix.among(there)
			missing = missing || ours.name == "" && keys[0].Key != "_id"
		}
		if trusted {
			answer, err := s.explain(ctx, q)
			if err != nil {
				return nil, err
			}
			p.judge(q, answer)
		}
		if missing {
			p.Verdict = Missing
		}
		plans[i] = p
	}
	return plans, nil
}

// example takes values of stored documents: with others, a query would find nothing, and its figures would say little.
func (s *Store) example(ctx context.Context) (example, error) {
	v := placeholders
	v.at = time.Now()
	take := func(to *string, doc bson.Raw, path ...string) {
		if text, ok := doc.Lookup(path...).StringValueOK(); ok && text != "" {
			*to = text
		}
	}
	for _, c := range []struct {
		collection string
		take       func(doc bson.Raw)
	}{
		{document.Namespaces, func(doc bson.Raw) {
			take(&v.namespace, doc, "namespace_id")
			take(&v.name, doc, "namespace_name")
			take(&v.organization, doc, "organization_name")
		}},
		{document.Keys, func(doc bson.Raw) {
			take(&v.tenant, doc, "internal_id")
			take(&v.hash, doc, "key_hash")
			take(&v.key, doc, "key_id")
			take(&v.creator, doc, "created_by")
			if created, ok := doc.Lookup("created_at").TimeOK(); ok {
				v.created = created
			}
			take(&v.retriever, doc, "scopes", "0", "resource_id")
		}},
	} {
		q := find{filter: bson.D{}, fields: []string{"namespace_id", "namespace_name", "organization_name", "internal_id", "key_hash", "key_id", "created_by", "created_at", "scopes.resource_id"}, limit: 1}
		if _, err := q.each(ctx, s.primary.Collection(c.collection), func(doc bson.Raw, _ int) { c.take(doc) }); err != nil {
			return v, err
		}
	}
	return v, nil
}

// explainsTruly reports whether the deployment is a MongoDB server. Other servers answer explain with invented figures. They report no
// commit of MongoDB, or their own name.
func (s *Store) explainsTruly(ctx context.Context) bool {
	ctx, cancel := bounded(ctx)
	defer cancel()
	info, err := s.primary.RunCommand(ctx, bson.D{{Key: "buildInfo", Value: 1}}).Raw()
	if err != nil {
		return false
	}
	for _, name := range []string{"ferretdb", "secantusVersion"} {
		if info.Lookup(name).Type != 0 {
			return false
		}
	}
	commit, _ := info.Lookup("gitVersion").StringValueOK()
	return len(commit) == 40 && strings.Trim(commit, "0") != ""
}

// expireByList reports whether some key can have a list in expires_at. No index leads to such lists: a query for them reads all keys of the
// tenant that expire. But MongoDB knows whether an index has any. About other servers it must be assumed.
func (s *Store) expireByList(ctx context.Context) bool {
	explains := s.explains.Load()
	if explains == nil {
		explains = new(s.explainsTruly(ctx))
		s.explains.Store(explains)
	}
	if !*explains {
		return true
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	find := bson.D{
		{Key: "find", Value: document.Keys}, {Key: "filter", Value: bson.D{{Key: "internal_id", Value: ""}, {Key: "expires_at", Value: nil}}},
		{Key: "hint", Value: keysByExpiry},
	}
	answer, err := s.keys.in.RunCommand(ctx, bson.D{{Key: "explain", Value: find}, {Key: "verbosity", Value: "queryPlanner"}}, s.keys.in.prefer).Raw()
	if err != nil { // the index is missing, for example
		return true
	}
	known, lists := false, false
	eachStage(answer, func(name string, stage bson.Raw) {
		if name != "IXSCAN" {
			return
		}
		paths, ok := stage.Lookup("multiKeyPaths", "expires_at").ArrayOK()
		values, err := paths.Values()
		known, lists = true, lists || !ok || err != nil || len(values) > 0
	})
	return lists || !known
}

func (s *Store) explain(ctx context.Context, q query) (bson.Raw, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	find := bson.D{{Key: "find", Value: q.collection}, {Key: "filter", Value: q.filter}}
	if q.sort != nil {
		find = append(find, bson.E{Key: "sort", Value: q.sort})
	}
	if q.limit > 0 {
		find = append(find, bson.E{Key: "limit", Value: int64(q.limit)})
	}
	answer, err := s.primary.RunCommand(ctx, bson.D{{Key: "explain", Value: find}, {Key: "verbosity", Value: "executionStats"}}).Raw()
	return answer, failure(err)
}

// judge reads an answer of explain. https://www.mongodb.com/docs/v8.0/reference/explain-results/ describes it. An answer that is not as described says
// nothing.
func (p *Plan) judge(q query, answer bson.Raw) {
	winner, ok := answer.Lookup("queryPlanner", "winningPlan").DocumentOK()
	examined, counted := answer.Lookup("executionStats", "totalDocsExamined").AsInt64OK()
	returned, _ := answer.Lookup("executionStats", "nReturned").AsInt64OK()
	if !ok || !counted {
		return
	}
	p.Examined, p.Returned, p.Verdict = examined, returned, Used
	if q.alone && 5*examined > 6*returned+5 { // a few documents more do no harm
		p.Verdict = Unused
	}
	eachStage(winner, func(name string, stage bson.Raw) {
		p.Stages = append(p.Stages, name)
		switch name {
		case "COLLSCAN":
			p.Verdict = Unused
		case "SORT", "SORT_SIMPLE", "SORT_DEFAULT":
			p.Verdict = Unused
		case "IXSCAN", "EXPRESS_IXSCAN", "COUNT_SCAN", "DISTINCT_SCAN":
			if !slices.ContainsFunc(q.wants, func(keys bson.D) bool { return isPattern(stage, keys) }) {
				p.Verdict = Unused
			}
		}
	})
	if len(p.Stages) == 0 {
		p.Verdict = Unknown
	}
}

// isPattern reports whether a stage reads the index with these keys. EXPRESS stages show the pattern as text.
func isPattern(stage bson.Raw, keys bson.D) bool {
	v := stage.Lookup("keyPattern")
	if doc, ok := v.DocumentOK(); ok {
		return index{keys: keys}.hasFieldsOf(existingIndex{keys: doc})
	}
	var fields []string
	for _, k := range keys {
		fields = append(fields, k.Key+": "+map[bool]string{true: "1", false: "-1"}[k.Value == int32(1)])
	}
	text, _ := v.StringValueOK()
	return text == "{ "+strings.Join(fields, ", ")+" }"
}

// eachStage calls f for each stage of a plan, those of all shards and of both execution engines' forms.
func eachStage(doc bson.Raw, f func(name string, stage bson.Raw)) {
	if name, ok := doc.Lookup("stage").StringValueOK(); ok {
		f(name, doc)
	}
	elements, _ := doc.Elements()
	for _, e := range elements {
		switch key := e.Key(); {
		case key == "slotBasedPlan" || key == "filter" || key == "rejectedPlans" || key == "keyPattern":
		case e.Value().Type == bson.TypeEmbeddedDocument:
			eachStage(e.Value().Document(), f)
		case e.Value().Type == bson.TypeArray:
			eachStage(bson.Raw(e.Value().Array()), f)
		}
	}
}
