package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

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

func newBuffer() *buffer { return &buffer{lines: make(chan string, 1000)} }

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
func (b *buffer) await(part string, ended <-chan struct{}) string {
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
type server struct {
	t           *testing.T
	url         string
	out, errors *buffer
	ended       <-chan struct{}
	stop        func() int
}

// serve runs the program as its users do, on a port of its own.
func serve(t *testing.T, env fields) *server {
	t.Helper()
	return serveAs(t, env, "serve")
}

// serveAs is serve with other arguments.
func serveAs(t *testing.T, env fields, args ...string) *server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	s := &server{t: t, out: newBuffer(), errors: newBuffer(), ended: ended}
	code := 0
	go func() {
		defer close(ended)
		code = run(ctx, args, getenv(env), strings.NewReader(""), s.out, s.errors)
	}()
	s.stop = func() int { cancel(); <-ended; return code }
	t.Cleanup(func() {
		if got := s.stop(); got != exitOK {
			t.Errorf("exit code %d; it wrote:\n%s", got, s.errors)
		}
	})
	var line struct{ URL string }
	if err := json.Unmarshal([]byte(s.errors.await(`"msg":"serving"`, ended)), &line); err != nil {
		t.Fatalf("it does not serve:\n%s", s.errors)
	}
	s.url = line.URL
	return s
}

func getenv(env fields) func(string) string {
	return func(name string) string {
		if v, ok := env[name].(string); ok {
			return v
		}
		return map[string]string{"LISTEN_ADDR": "127.0.0.1:0", "ADMIN_ADDR": "off", "LOG_FORMAT": "json"}[name]
	}
}

// command runs the program to its end.
func command(t *testing.T, env fields, args ...string) (code int, out, errs string) {
	t.Helper()
	stdout, stderr := newBuffer(), newBuffer()
	code = run(t.Context(), args, getenv(env), strings.NewReader(""), stdout, stderr)
	return code, stdout.String(), stderr.String()
}

// deployment is a store to run the program on.
type deployment struct {
	name string
	env  fields
	open func(t *testing.T) store.Engine
}

// embedded is a fresh embedded store.
func embedded(t *testing.T) deployment {
	path := filepath.Join(t.TempDir(), "store", "keys.db")
	return deployment{"embedded", fields{"EMBEDDED_PATH": path}, func(t *testing.T) store.Engine {
		engine, err := sqlite.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		return engine
	}}
}

// seeded is the deployment with the fixture in it: what may be imported through the program's own command, the rest
// directly.
func seeded(t *testing.T, d deployment) deployment {
	t.Helper()
	importBatch(t, d, fixture())
	insert(t, d, oddFixture())
	return d
}

func importBatch(t *testing.T, d deployment, b document.Batch) {
	t.Helper()
	file := writeImport(t, b)
	if code, _, errs := command(t, d.env, "import", file); code != exitOK {
		t.Fatalf("import: exit code %d\n%s", code, errs)
	}
}

// writeImport writes the batch as mongoexport would.
func writeImport(t *testing.T, b document.Batch) string {
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

func insert(t *testing.T, d deployment, b document.Batch) {
	t.Helper()
	engine := d.open(t)
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
type answer struct {
	status int
	header http.Header
	body   string
}

// request sends one request; a header whose value is empty is not sent.
func (s *server) request(method, path, body string, headers map[string]string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range headers {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	return s.do(req)
}

func (s *server) do(req *http.Request) answer {
	s.t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// query asks GraphQL as the named caller, anonymously where the name is empty.
func (s *server) query(caller, namespace, query string, variables ...fields) answer {
	s.t.Helper()
	request := fields{"query": query}
	if len(variables) > 0 {
		request["variables"] = variables[0]
	}
	body, err := json.Marshal(request)
	if err != nil {
		s.t.Fatal(err)
	}
	headers := map[string]string{"X-Namespace": namespace}
	if caller != "" {
		headers["Authorization"] = "Bearer " + token(caller)
	}
	return s.request(http.MethodPost, "/graphql", string(body), headers)
}

// codes returns the codes of the answer's errors.
func (a answer) codes(t *testing.T) []string {
	t.Helper()
	var body struct {
		Errors []struct{ Extensions struct{ Code string } }
	}
	if err := json.Unmarshal([]byte(a.body), &body); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	var codes []string
	for _, e := range body.Errors {
		codes = append(codes, e.Extensions.Code)
	}
	return codes
}

// onEveryStore runs the test on a fresh store of each engine.
func onEveryStore(t *testing.T, test func(t *testing.T, d deployment)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) { test(t, embedded(t)) })
	t.Run("mongodb", func(t *testing.T) { test(t, onMongoDB(t)) })
}

var (
	testURI   string // the MongoDB deployment that the tests run on
	binaryDir string // where the built program is kept
)

func TestMain(m *testing.M) {
	uri, stop, err := mongodbtest.Start(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	testURI = uri
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
func onMongoDB(t *testing.T, with ...string) deployment {
	uri := testURI
	for _, option := range with {
		separator := "/?"
		if strings.Contains(uri, "?") {
			separator = "&"
		}
		uri = strings.TrimSuffix(uri, "/") + separator + option
	}
	name := "test_" + strings.ToLower(rand.Text())
	t.Cleanup(func() { drop(t, name) })
	return deployment{"mongodb", fields{"MONGODB_URI": uri, "MONGODB_DATABASE": name}, func(t *testing.T) store.Engine {
		engine, err := mongodb.Open(uri, name, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return engine
	}}
}

func drop(t *testing.T, database string) {
	client, err := mongo.Connect(options.Client().ApplyURI(testURI))
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
