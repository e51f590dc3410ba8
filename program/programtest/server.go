package programtest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

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

// buffer is an io.Writer that several goroutines may use. It can wait for a line.
type buffer struct {
	mu    sync.Mutex
	text  bytes.Buffer
	lines chan string
}

func NewBuffer() *buffer { return &buffer{lines: make(chan string, 1000)} }

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	scan := bufio.NewScanner(bytes.NewReader(p))
	for scan.Scan() {
		select {
		case b.lines <- scan.Text():
		default: // nobody waits for a line any more
		}
	}
	if b.text.Len() > 16<<20 { // of a long soak nobody reads the beginning
		b.text.Reset()
	}
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// await returns the first line that contains part; empty if ended is closed before there is one.
func (b *buffer) Await(part string, ended <-chan struct{}) string {
	for {
		select {
		case line := <-b.lines:
			if strings.Contains(line, part) {
				return line
			}
		case <-ended:
			return ""
		}
	}
}

// server is the whole program, serving.
type Server struct {
	T           *testing.T
	URL         string
	Out, Errors *buffer
	Ended       <-chan struct{}
	Stop        func() int
}

// serve runs the program as its users do, on a port of its own.
func Serve(t *testing.T, env Fields) *Server {
	t.Helper()
	return ServeAs(t, env, "serve")
}

// serveAs is serve with other arguments.
func ServeAs(t *testing.T, env Fields, args ...string) *Server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	s := &Server{T: t, Out: NewBuffer(), Errors: NewBuffer(), Ended: ended}
	code := 0
	go func() {
		defer close(ended)
		code = program.Run(ctx, args, Getenv(env), strings.NewReader(""), s.Out, s.Errors)
	}()
	s.Stop = func() int { cancel(); <-ended; return code }
	t.Cleanup(func() {
		if got := s.Stop(); got != program.ExitOK {
			t.Errorf("exit code %d; it wrote:\n%s", got, s.Errors)
		}
	})
	var line struct{ URL string }
	if err := json.Unmarshal([]byte(s.Errors.Await(`"msg":"serving"`, ended)), &line); err != nil {
		t.Fatalf("it does not serve:\n%s", s.Errors)
	}
	s.URL = line.URL
	return s
}

func Getenv(env Fields) func(string) string {
	return func(name string) string {
		if v, ok := env[name].(string); ok {
			return v
		}
		return map[string]string{"LISTEN_ADDR": "127.0.0.1:0", "ADMIN_ADDR": "off", "LOG_FORMAT": "json"}[name]
	}
}

// command runs the program to its end.
func Command(t *testing.T, env Fields, args ...string) (code int, out, errs string) {
	t.Helper()
	stdout, stderr := NewBuffer(), NewBuffer()
	code = program.Run(t.Context(), args, Getenv(env), strings.NewReader(""), stdout, stderr)
	return code, stdout.String(), stderr.String()
}

// deployment is a store to run the program on.
type Deployment struct {
	Name string
	Env  Fields
	Open func(t *testing.T) store.Engine
}

// embedded is a fresh embedded store.
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

// seeded is the deployment with the fixture in it: what may be imported through the program's own command, the rest
// directly.
func Seeded(t *testing.T, d Deployment) Deployment {
	t.Helper()
	ImportBatch(t, d, Fixture())
	Insert(t, d, OddFixture())
	return d
}

func ImportBatch(t *testing.T, d Deployment, b document.Batch) {
	t.Helper()
	file := WriteImport(t, b)
	if code, _, errs := Command(t, d.Env, "import", file); code != program.ExitOK {
		t.Fatalf("import: exit code %d\n%s", code, errs)
	}
}

// writeImport writes the batch as mongoexport would.
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

// answer is what came back over HTTP.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// request sends one request; a header whose value is empty is not sent.
func (s *Server) Request(method, path, body string, headers map[string]string) Answer {
	s.T.Helper()
	req, err := http.NewRequestWithContext(s.T.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		s.T.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range headers {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	return s.Do(req)
}

func (s *Server) Do(req *http.Request) Answer {
	s.T.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.T.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.T.Fatal(err)
	}
	return Answer{resp.StatusCode, resp.Header, string(text)}
}

// query asks GraphQL as the named caller, anonymously where the name is empty.
func (s *Server) Query(caller, namespace, query string, variables ...Fields) Answer {
	s.T.Helper()
	request := Fields{"query": query}
	if len(variables) > 0 {
		request["variables"] = variables[0]
	}
	body, err := json.Marshal(request)
	if err != nil {
		s.T.Fatal(err)
	}
	headers := map[string]string{"X-Namespace": namespace}
	if caller != "" {
		headers["Authorization"] = "Bearer " + Token(caller)
	}
	return s.Request(http.MethodPost, "/graphql", string(body), headers)
}

// codes returns the codes of the answer's errors.
func (a Answer) Codes(t *testing.T) []string {
	t.Helper()
	var body struct {
		Errors []struct{ Extensions struct{ Code string } }
	}
	if err := json.Unmarshal([]byte(a.Body), &body); err != nil {
		t.Fatalf("%v in %s", err, a.Body)
	}
	var codes []string
	for _, e := range body.Errors {
		codes = append(codes, e.Extensions.Code)
	}
	return codes
}

// onEveryStore runs the test on a fresh store of each engine.
func OnEveryStore(t *testing.T, test func(t *testing.T, d Deployment)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) { test(t, Embedded(t)) })
	t.Run("mongodb", func(t *testing.T) { test(t, OnMongoDB(t)) })
}

var (
	MongoURI  string // the MongoDB deployment that the tests run on
	binaryDir string // where the built program is kept
)

// Main runs the tests of a package that tests the whole program. It starts the MongoDB deployment that they run on.
func Main(m *testing.M) {
	uri, stop, err := mongodbtest.Start(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	MongoURI = uri
	if binaryDir, err = os.MkdirTemp("", "retrieverkeys"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	stop()
	_ = os.RemoveAll(binaryDir)
	os.Exit(code)
}

// onMongoDB is a fresh database of the tests' deployment, with these options in its URI.
func OnMongoDB(t *testing.T, with ...string) Deployment {
	uri := MongoURI
	for _, option := range with {
		separator := "/?"
		if strings.Contains(uri, "?") {
			separator = "&"
		}
		uri = strings.TrimSuffix(uri, "/") + separator + option
	}
	name := "test_" + strings.ToLower(rand.Text())
	t.Cleanup(func() { drop(t, name) })
	return Deployment{"mongodb", Fields{"MONGODB_URI": uri, "MONGODB_DATABASE": name}, func(t *testing.T) store.Engine {
		engine, err := mongodb.Open(uri, name, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return engine
	}}
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

// raw sends bytes as they are and returns the first answer.
func (s *Server) Raw(request string) Answer {
	s.T.Helper()
	var d net.Dialer
	c, err := d.DialContext(s.T.Context(), "tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		s.T.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	go func() { _, _ = io.WriteString(c, request) }() // it may be refused before it is sent
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: strings.SplitN(request, " ", 2)[0]})
	if err != nil {
		s.T.Fatalf("%.80q: %v", request, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(resp.Body) // what was refused early may be cut off
	return Answer{resp.StatusCode, resp.Header, string(body)}
}

// as sends an operation with any bearer.
func (s *Server) As(bearer, operation string) Answer {
	s.T.Helper()
	body, err := json.Marshal(Fields{"query": operation})
	if err != nil {
		s.T.Fatal(err)
	}
	return s.Request(http.MethodPost, "/graphql", string(body), map[string]string{"Authorization": "Bearer " + bearer, "X-Namespace": "production"})
}

// outcome is the one code of an answer; OK where there is none.
func Outcome(t *testing.T, a Answer) string {
	t.Helper()
	if codes := a.Codes(t); len(codes) > 0 {
		return strings.Join(codes, " ")
	}
	return "OK"
}

// family is keys of the organization that name a retriever and may change keys: they can be rotated and updated, by each other too.
func Family() document.Batch {
	end, origins := Date("2999-01-01T00:00:00Z"), []string{"https://app.example.com", "https://*.example.org"}
	member := func(name string, overrides ...Fields) bson.Raw {
		return CallerDoc(name, "int_a", "org_a", append([]Fields{{
			"permissions": []string{"write"}, "scopes": []Fields{Scope("retriever", "ret_main")},
		}}, overrides...)...)
	}
	return document.Batch{Keys: []bson.Raw{
		member("limited", Fields{"expires_at": end, "allowed_origins": origins, "rate_limit_override": int32(1000)}),
		member("unlimited"),
		member("lasting", Fields{"allowed_origins": origins, "rate_limit_override": int32(1000)}),
		member("everywhere", Fields{"expires_at": end, "rate_limit_override": int32(1000)}),
		member("fast", Fields{"expires_at": end, "allowed_origins": origins, "rate_limit_override": int32(1001)}),
		member("sibling", Fields{"expires_at": end, "allowed_origins": []string{"https://a.example.org"}, "rate_limit_override": int32(5)}),
	}}
}

// mutate runs one mutation as the caller and returns its payload; it must succeed.
func (s *Server) Mutate(caller, mutation string, variables ...Fields) map[string]any {
	s.T.Helper()
	operation := "mutation { do: "
	if len(variables) > 0 {
		operation = "mutation($id: ID!) { do: "
	}
	got := s.Query(caller, "production", operation+mutation+" }", variables...)
	var body struct {
		Data   struct{ Do map[string]any }
		Errors []any
	}
	if err := json.Unmarshal([]byte(got.Body), &body); err != nil || len(body.Errors) > 0 || body.Data.Do == nil {
		s.T.Fatalf("%s: %v in %d %s", mutation, err, got.Status, got.Body)
	}
	return body.Data.Do
}

// at returns the text that the names lead to in a JSON value.
func At(v any, path ...string) string {
	for _, name := range path {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	text, _ := v.(string)
	return text
}

// stored returns the file of an embedded store that holds the text; empty where none does, or the store has no files.
func Stored(t *testing.T, d Deployment, text string) string {
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

// trailOf returns all audit events of the store, in the order in which they were stored. Those that are on their way are not
// among them.
func TrailOf(t *testing.T, d Deployment) (events []apikey.Event) {
	t.Helper()
	add := func(doc bson.Raw) {
		e, ok := document.Event(doc)
		if !ok {
			t.Fatalf("an event that cannot be read: %v", doc)
		}
		events = append(events, e)
	}
	if path, embedded := d.Env["EMBEDDED_PATH"].(string); embedded {
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
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

// auditOf returns a retriever's audit events, newest first.
func (s *Server) AuditOf(retriever string) []map[string]any {
	s.T.Helper()
	got := s.Query("admin", "production", `query($id: ID!) { retriever(id: $id) { auditEvents { total results {
		action resourceType resourceId actorId actorType actorKeyId status ipAddress userAgent } } } }`, Fields{"id": retriever})
	var body struct {
		Data struct {
			Retriever struct {
				AuditEvents struct {
					Total   int
					Results []map[string]any
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(got.Body), &body); err != nil {
		s.T.Fatal(err)
	}
	events := body.Data.Retriever.AuditEvents
	if events.Total != len(events.Results) {
		s.T.Errorf("total %d of %d events", events.Total, len(events.Results))
	}
	return events.Results
}

// metric returns a line of what the server tells Prometheus.
func (s *Server) Metric(name string) string {
	s.T.Helper()
	admin := &Server{T: s.T, URL: regexp.MustCompile(`(http://[0-9.:]+)/metrics`).FindStringSubmatch(s.Errors.String())[1]}
	for line := range strings.Lines(admin.Request(http.MethodGet, "/metrics", "", nil).Body) {
		if strings.HasPrefix(line, name+" ") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// traced asks GraphQL as the admin, within the caller's trace, with a secret wherever one can be.
func (s *Server) Traced(trace, query string, variables Fields) Answer {
	s.T.Helper()
	body, err := json.Marshal(Fields{"query": query, "variables": variables, "extensions": Fields{"note": "a_secret"}})
	if err != nil {
		s.T.Fatal(err)
	}
	return s.Request(http.MethodPost, "/graphql?access_token=a_secret", string(body), map[string]string{
		"Authorization": "Bearer " + Token("admin"), "X-Namespace": "production", "Traceparent": "00-" + trace + "-" + CallersSpan + "-01",
		"Tracestate": "vendor=a_secret", "Baggage": "user=a_secret", "User-Agent": "a_secret", "Cookie": "session=a_secret", "X-Request-Id": "request-7",
	})
}

// behind returns the deployment as it is reached through a proxy.
func Behind(t *testing.T, d Deployment, options ...string) (*mongodbtest.Proxy, Fields) {
	t.Helper()
	uri, _ := d.Env["MONGODB_URI"].(string)
	proxy, uri := mongodbtest.NewProxy(t, uri)
	return proxy, Fields{"MONGODB_URI": strings.Join(append([]string{uri}, options...), "&"), "MONGODB_DATABASE": d.Env["MONGODB_DATABASE"]}
}

// eventuallyReady waits until the server says that it is ready.
func EventuallyReady(t *testing.T, s *Server) {
	t.Helper()
	for began := time.Now(); s.Request(http.MethodGet, "/readyz", "", nil).Status != http.StatusOK; {
		if time.Since(began) > MaxWait {
			t.Fatal("it does not become ready")
		}
	}
}

// maxWait is how long any answer may take. It is far beyond every deadline: what takes longer hangs.
const MaxWait = 30 * time.Second

const (
	CallersTrace = "0af7651916cd43dd8448eb211c80319c"
	CallersSpan  = "b7ad6b7169203331"
)

// ok runs a command that must succeed, and returns what it printed.
func MustRun(t *testing.T, d Deployment, args ...string) string {
	t.Helper()
	code, out, errs := Command(t, d.Env, args...)
	if code != program.ExitOK {
		t.Fatalf("%v: exit code %d\n%s", args, code, errs)
	}
	return out
}
