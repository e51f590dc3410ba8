package programtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"retrieverkeys/apikey"
	"retrieverkeys/program"
	"retrieverkeys/store"
	"retrieverkeys/store/document"
	"retrieverkeys/store/mongodb"
	"retrieverkeys/store/mongodb/mongodbtest"
	"retrieverkeys/store/sqlite"
)

// Deployment is a store to run the program on.
type Deployment struct {
	Name string
	Env  Fields                          // the settings that select the store; a test can add others
	Open func(t *testing.T) store.Engine // opens the store directly, in addition to the program
}

// Embedded returns an empty embedded store.
func Embedded(t *testing.T) Deployment {
	path := filepath.Join(t.TempDir(), "store", "keys.db")
	return Deployment{"embedded", Fields{"EMBEDDED_PATH": path}, func(t *testing.T) store.Engine {
		engine, err := sqlite.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		return engine
	}}
}

// OnMongoDB returns an empty database of the tests' MongoDB deployment. The options are added to the connection string.
func OnMongoDB(t *testing.T, with ...string) Deployment {
	uri := MongoURI
	for _, option := range with {
		uri = withOption(uri, option)
	}
	name := "test_" + strings.ToLower(rand.Text())
	t.Cleanup(func() { drop(t, name) })
	return Deployment{"mongodb", Fields{"MONGODB_URI": uri, "MONGODB_DATABASE": name}, func(t *testing.T) store.Engine {
		engine, err := mongodb.Open(patient(uri), name, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return engine
	}}
}

func withOption(uri, option string) string {
	separator := "/?"
	if strings.Contains(uri, "?") {
		separator = "&"
	}
	return strings.TrimSuffix(uri, "/") + separator + option
}

// patient returns the URI for what prepares a test: an engine that is busy with other tests may take long to accept a connection.
func patient(uri string) string {
	const option = "serverSelectionTimeoutMS="
	if strings.Contains(uri, option) {
		return uri
	}
	return withOption(uri, option+strconv.FormatInt(MaxWait.Milliseconds(), 10))
}

// OnEveryStore runs the test on an empty store of each engine.
func OnEveryStore(t *testing.T, test func(t *testing.T, d Deployment)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) { test(t, Embedded(t)) })
	t.Run("mongodb", func(t *testing.T) { test(t, OnMongoDB(t)) })
}

// ThroughProxy returns a proxy in front of the deployment and the settings to connect through it.
func ThroughProxy(t *testing.T, d Deployment, options ...string) (*mongodbtest.Proxy, Fields) {
	t.Helper()
	uri, _ := d.Env["MONGODB_URI"].(string)
	proxy, uri := mongodbtest.NewProxy(t, uri)
	return proxy, Fields{"MONGODB_URI": strings.Join(append([]string{uri}, options...), "&"), "MONGODB_DATABASE": d.Env["MONGODB_DATABASE"]}
}

// Seeded adds the fixture to the deployment: Fixture through the command import, OddFixture directly.
func Seeded(t *testing.T, d Deployment) Deployment {
	t.Helper()
	ImportBatch(t, d, Fixture())
	Insert(t, d, OddFixture())
	return d
}

// ImportBatch imports the batch with the command import.
func ImportBatch(t *testing.T, d Deployment, b document.Batch) {
	t.Helper()
	file, env := WriteImport(t, b), maps.Clone(d.Env)
	if uri, ok := env["MONGODB_URI"].(string); ok {
		env["MONGODB_URI"] = patient(uri)
	}
	if code, _, errs := Command(t, env, "import", file); code != program.ExitOK {
		t.Fatalf("import: exit code %d\n%s", code, errs)
	}
}

// WriteImport writes the batch to a file as mongoexport does and returns the file's path.
func WriteImport(t *testing.T, b document.Batch) string {
	t.Helper()
	lists := map[string][]json.RawMessage{}
	for name, docs := range map[string][]bson.Raw{"namespaces": b.Namespaces, "retrievers": b.Retrievers, "api_keys": b.Keys} {
		for _, d := range docs {
			text, err := bson.MarshalExtJSON(d, false, false)
			if err != nil {
				t.Fatal(err)
			}
			lists[name] = append(lists[name], text)
		}
	}
	text, err := json.Marshal(lists)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "import.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Insert adds the batch to the store without the checks of the command.
func Insert(t *testing.T, d Deployment, b document.Batch) {
	t.Helper()
	engine := d.Open(t)
	defer func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := engine.Import(t.Context(), b, document.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
}

// FileContaining returns the file of the embedded store that contains the text, or "" if none does or the store is not embedded.
func FileContaining(t *testing.T, d Deployment, text string) string {
	t.Helper()
	path, embedded := d.Env["EMBEDDED_PATH"].(string)
	if !embedded {
		return ""
	}
	found := ""
	err := filepath.WalkDir(filepath.Dir(path), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(text)) {
			found = path
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// StoredEvents returns all stored audit events, oldest first. It omits events that are still pending in their keys' documents.
func StoredEvents(t *testing.T, d Deployment) (events []apikey.Event) {
	t.Helper()
	add := func(doc bson.Raw) {
		e, ok := document.Event(doc)
		if !ok {
			t.Fatalf("cannot read event %v", doc)
		}
		events = append(events, e)
	}
	if path, embedded := d.Env["EMBEDDED_PATH"].(string); embedded {
		db := OpenFile(t, path)
		defer func() { _ = db.Close() }()
		rows, err := db.QueryContext(t.Context(), "SELECT document FROM audit_events ORDER BY pk")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var doc []byte
			if err := rows.Scan(&doc); err != nil {
				t.Fatal(err)
			}
			add(doc)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return events
	}
	client, err := mongo.Connect(options.Client().ApplyURI(MongoURI))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(context.Background()) }()
	name, _ := d.Env["MONGODB_DATABASE"].(string)
	found, err := client.Database(name).Collection(document.Events).Find(t.Context(), bson.D{}, options.Find().SetSort(bson.D{{Key: "timestamp", Value: 1}}))
	if err != nil {
		t.Fatal(err)
	}
	var docs []bson.Raw
	if err := found.All(t.Context(), &docs); err != nil {
		t.Fatal(err)
	}
	for _, doc := range docs {
		add(doc)
	}
	return events
}

// OpenFile opens the file of an embedded store beside the processes that use it. Reads wait while one of them has locked it, as after a kill.
func OpenFile(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", fmt.Sprintf("%s?_pragma=busy_timeout(%d)", path, MaxWait.Milliseconds()))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// Dump returns all that is stored: for each table or collection, its rows or documents, sorted.
func Dump(t *testing.T, d Deployment) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	if path, embedded := d.Env["EMBEDDED_PATH"].(string); embedded {
		db := OpenFile(t, path)
		defer func() { _ = db.Close() }()
		for _, table := range []string{"namespaces", "retrievers", "api_keys", "api_key_retrievers", "audit_events", "audit_event_retrievers", "api_key_usage"} {
			all[table] = rowsOf(t, db, table)
		}
		return all
	}
	client, err := mongo.Connect(options.Client().ApplyURI(MongoURI))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(context.Background()) }()
	name, _ := d.Env["MONGODB_DATABASE"].(string)
	collections, err := client.Database(name).ListCollectionNames(t.Context(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range collections {
		found, err := client.Database(name).Collection(c).Find(t.Context(), bson.D{})
		if err != nil {
			t.Fatal(err)
		}
		for found.Next(t.Context()) {
			all[c] = append(all[c], found.Current.String())
		}
		if err := found.Err(); err != nil {
			t.Fatal(err)
		}
		slices.Sort(all[c])
	}
	return all
}

func rowsOf(t *testing.T, db *sql.DB, table string) (all []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT * FROM "+table)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values, to := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			to[i] = &values[i]
		}
		if err := rows.Scan(to...); err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%q", values))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func drop(t *testing.T, database string) {
	client, err := mongo.Connect(options.Client().ApplyURI(MongoURI))
	if err == nil {
		err = client.Database(database).Drop(context.Background())
	}
	if err == nil {
		err = client.Disconnect(context.Background())
	}
	if err != nil {
		t.Error(err)
	}
}
