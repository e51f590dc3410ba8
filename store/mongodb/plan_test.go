package mongodb

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/store/mongodb/mongodbtest"
)

// explained is an answer of explain in the form of MongoDB 8.
func explained(t *testing.T, winner string, examined, returned int32) bson.D {
	t.Helper()
	var plan bson.D
	if err := bson.UnmarshalExtJSON([]byte(winner), false, &plan); err != nil {
		t.Fatal(err)
	}
	return bson.D{
		{Key: "explainVersion", Value: "1"},
		{Key: "queryPlanner", Value: bson.D{{Key: "winningPlan", Value: plan}, {Key: "rejectedPlans", Value: bson.A{bson.D{{Key: "stage", Value: "COLLSCAN"}}}}}},
		{Key: "executionStats", Value: bson.D{{Key: "executionSuccess", Value: true}, {Key: "nReturned", Value: returned}, {Key: "totalDocsExamined", Value: examined}}},
		{Key: "ok", Value: 1.0},
	}
}

const (
	byHash  = `{"isCached": false, "stage": "EXPRESS_IXSCAN", "keyPattern": "{ key_hash: 1 }", "indexName": "key_hash_1"}`
	byPages = `{"stage": "LIMIT", "limitAmount": 26, "inputStage": {"stage": "FETCH", "filter": {"stage": "COLLSCAN"}, "inputStage": {"stage": "IXSCAN", "isMultiKey": true,
		"keyPattern": {"internal_id": 1, "scopes.resource_id": 1, "created_at": -1, "key_id": -1}}}}`
	byOr = `{"stage": "FETCH", "inputStage": {"stage": "OR", "inputStages": [{"stage": "IXSCAN", "keyPattern": {"_id": 1}},
		{"stage": "IXSCAN", "keyPattern": {"internal_id": 1.0, "key_id": 1.0}}]}}`
)

func queryNamed(t *testing.T, name string) query {
	t.Helper()
	all := queries(placeholders)
	i := slices.IndexFunc(all, func(q query) bool { return q.name == name })
	if i < 0 {
		t.Fatalf("there is no query %q", name)
	}
	return all[i]
}

// A plan that scans, sorts, uses another index, or reads more than the page must not count as good, in any of MongoDB's formats. Otherwise an
// organization's list would become slower with every key, and no operator would find out.
func TestPlansAreJudged(t *testing.T) {
	for _, c := range []struct {
		name, query, winner string
		want                Verdict
	}{
		{"a lookup", "authentication", byHash, Used},
		{"another index", "authentication", `{"stage": "EXPRESS_IXSCAN", "keyPattern": "{ internal_id: 1 }"}`, Unused},
		{"a scan", "authentication", `{"stage": "COLLSCAN", "direction": "forward"}`, Unused},
		{"alternatives", "a key by id", byOr, Used},
		{"the pages' index for an id", "a key by id", byPages, Unused},
		{"a key's change by its hash", "changes and uses of a key", byHash, Used},
		{"an import", "import: keys that are stored", byOr, Used},
		{"an import that scans", "import: keys that are stored", `{"stage": "COLLSCAN"}`, Unused},
		{"a page", "pages of keys", byPages, Used},
		{"a page that is sorted", "pages of keys", `{"stage": "SORT", "inputStage": ` + byPages + `}`, Unused},
		{"an organization's page", "pages of an organization's keys", `{"stage": "LIMIT", "inputStage": {"stage": "IXSCAN", "keyPattern": {"internal_id": 1, "created_at": -1, "key_id": -1}}}`, Used},
		{"an organization's page by a retriever's index", "pages of an organization's keys", byPages, Unused},
		{"by expiry", "pages of an organization's keys by expiry", `{"stage": "IXSCAN", "keyPattern": {"internal_id": 1, "expires_at": -1, "key_id": -1}}`, Used},
		{"by expiry, sorted", "pages of an organization's keys by expiry", `{"stage": "SORT", "inputStage": {"stage": "IXSCAN", "keyPattern": {"internal_id": 1, "created_at": -1, "key_id": -1}}}`, Unused},
		{"a creator's page", "later pages of a creator's keys", `{"stage": "IXSCAN", "keyPattern": {"internal_id": 1, "created_by": 1, "created_at": -1, "key_id": -1}}`, Used},
		{"a creator's page by the organization's index", "later pages of a creator's keys", `{"stage": "IXSCAN", "keyPattern": {"internal_id": 1, "created_at": -1, "key_id": -1}}`, Unused},
		{"the slot-based engine", "pages of keys", `{"queryPlan": ` + byPages + `, "slotBasedPlan": {"stages": "scan"}}`, Used},
		{"the slot-based engine, a scan", "pages of keys", `{"queryPlan": {"stage": "COLLSCAN"}, "slotBasedPlan": {}}`, Unused},
		{"shards", "pages of keys", `{"stage": "SHARD_MERGE_SORT", "shards": [{"winningPlan": ` + byPages + `}, {"winningPlan": {"stage": "SHARDING_FILTER", "inputStage": ` + byPages + `}}]}`, Used},
		{"a shard that scans", "pages of keys", `{"stage": "SHARD_MERGE", "shards": [{"winningPlan": ` + byPages + `}, {"winningPlan": {"stage": "COLLSCAN"}}]}`, Unused},
		{"no stages", "pages of keys", `{"something": "else"}`, Unknown},
	} {
		q := queryNamed(t, c.query)
		answer, err := bson.Marshal(explained(t, c.winner, 26, 25))
		if err != nil {
			t.Fatal(err)
		}
		p := Plan{Verdict: Unknown}
		p.judge(q, answer)
		if p.Verdict != c.want || c.want != Unknown && (p.Examined != 26 || p.Returned != 25) {
			t.Errorf("%s: %+v, want %s", c.name, p, c.want)
		}
	}
	for _, c := range []struct {
		query              string
		examined, returned int32
		want               Verdict
	}{
		{"pages of an organization's keys", 100, 100, Used},
		{"pages of an organization's keys", 120, 100, Used},
		{"pages of an organization's keys", 122, 100, Unused},
		{"later pages of an organization's keys", 101, 100, Used},
		{"later pages of an organization's keys", 1, 0, Used}, // the cursor's own key
		{"later pages of an organization's keys", 1000, 0, Unused},
		{"pages of an organization's keys by expiry", 122, 100, Unused},
		{"later pages of an organization's keys by expiry", 122, 100, Unused},
		{"pages of keys that never expire", 122, 100, Unused},
		{"pages of a creator's keys", 122, 100, Unused},
		{"pages of keys", 122, 100, Unused},
		{"pages of active keys", 122, 100, Used}, // some keys are not active
	} {
		q := queryNamed(t, c.query)
		keys, err := bson.MarshalExtJSON(q.wants[0], false, false)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := bson.Marshal(explained(t, `{"stage": "LIMIT", "inputStage": {"stage": "FETCH", "inputStage": {"stage": "IXSCAN", "keyPattern": `+string(keys)+`}}}`, c.examined, c.returned))
		if err != nil {
			t.Fatal(err)
		}
		p := Plan{Verdict: Unknown}
		if p.judge(q, answer); p.Verdict != c.want {
			t.Errorf("%s, %d documents examined, %d returned: %s, want %s", c.query, c.examined, c.returned, p.Verdict, c.want)
		}
	}
	p := Plan{Verdict: Unknown}
	if p.judge(queries(placeholders)[0], bson.Raw{5, 0, 0, 0, 0}); p.Verdict != Unknown {
		t.Errorf("an empty answer: %s", p.Verdict)
	}
}

// A deployment that says it is MongoDB is asked to explain; others are not. A missing index is reported everywhere.
func TestPlans(t *testing.T) {
	filled(t)
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, _ := dropped(t, uri)
	plans, err := s.Plans(t.Context())
	if err != nil || len(plans) != len(queries(placeholders)) {
		t.Fatal(plans, err)
	}
	for _, plan := range plans {
		if plan.Verdict != Missing && !slices.Equal(plan.Wants, []string{`{"_id":1}`}) { // that one is always there
			t.Errorf("no indexes: %+v", plan)
		}
	}
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	for product, c := range map[string]struct {
		info bson.D
		want Verdict
	}{
		"MongoDB":    {bson.D{{Key: "gitVersion", Value: "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"}}, Used},
		"SecantusDB": {bson.D{{Key: "gitVersion", Value: "0000000000000000000000000000000000000000"}}, Unknown},
		"FerretDB":   {bson.D{{Key: "gitVersion", Value: "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"}, {Key: "ferretdb", Value: bson.D{}}}, Unknown},
	} {
		p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
			switch command {
			case "buildInfo":
				return &mongodbtest.Fault{Answer: append(bson.D{{Key: "ok", Value: 1.0}}, c.info...)}
			case "explain":
				return &mongodbtest.Fault{Answer: explained(t, byHash, 1, 1)}
			}
			return nil
		})
		plans, err := s.Plans(t.Context())
		if err != nil || plans[0].Verdict != c.want {
			t.Errorf("%s: %+v, %v, want %s", product, plans[0], err, c.want)
		}
		if c.want == Used && plans[1].Verdict != Unused { // the same answer is wrong for another query
			t.Errorf("%s: %+v", product, plans[1])
		}
	}
}

// asksBy returns the collection and the indexed fields of each filter of a command.
func asksBy(command bson.Raw) (asked []string) {
	collection, _ := command.Index(0).Value().StringValueOK()
	add := func(filter bson.Raw) {
		asked = append(asked, collection+": "+strings.Join(indexedFields(collection, filter), " "))
	}
	switch command.Index(0).Key() {
	case "find":
		add(command.Lookup("filter").Document())
	case "aggregate":
		add(command.Lookup("pipeline", "0", "$match").Document())
	case "findAndModify":
		add(command.Lookup("query").Document())
	case "update", "delete":
		list, _ := command.Lookup(command.Index(0).Key() + "s").Array().Values()
		for _, one := range list {
			add(one.Document().Lookup("q").Document())
		}
	}
	return asked
}

func indexedFields(collection string, filter bson.Raw) []string {
	fields := map[string]bool{}
	var collect func(filter bson.Raw)
	collect = func(filter bson.Raw) {
		elements, _ := filter.Elements()
		for _, e := range elements {
			switch e.Key() {
			case "$and", "$or":
				list, _ := e.Value().Array().Values()
				for _, one := range list {
					collect(one.Document())
				}
			case "$nor": // no index supports it
			default:
				if e.Key() == "_id" || slices.ContainsFunc(indexes, func(ix index) bool {
					return ix.collection == collection && slices.ContainsFunc(ix.keys, func(k bson.E) bool { return k.Key == e.Key() })
				}) {
					fields[e.Key()] = true
				}
			}
		}
	}
	collect(filter)
	return slices.Sorted(maps.Keys(fields))
}

// scans are the queries that use no index on purpose: those of operators' commands, and one that checks whether the store is empty.
var scans = []string{"namespaces: ", "retrievers: ", "api_keys: ", "audit_events: ", "api_keys: key_id"} // the last one belongs to repair

// isExplained fails the test unless Plans explains a query with the same indexed fields.
func isExplained(t *testing.T, command bson.Raw) {
	t.Helper()
	for _, asked := range asksBy(command) {
		known := slices.ContainsFunc(queries(placeholders), func(q query) bool {
			filter, err := bson.Marshal(q.filter)
			return err == nil && q.collection+": "+strings.Join(indexedFields(q.collection, filter), " ") == asked
		})
		if !known && !slices.Contains(scans, asked) {
			t.Errorf("`indexes` does not explain a query by %s: %.2000s", asked, command)
		}
	}
}
