package systemtest

import (
	"errors"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
	"retrieverkeys/store/mongodb/mongodbtest"
)

var errBroken = errors.New("broken off by the test")

// reset closes a connection with a TCP reset, which loses the data in transit.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// fault is a failure of the store that lasts until it is lifted.
type fault struct {
	name    string
	timeout string // REQUEST_TIMEOUT
	befall  func(p *mongodbtest.Proxy, lifted <-chan struct{})
}

// repeatedly calls do at this interval until the fault is lifted, at least once.
func repeatedly(every time.Duration, do func(n int)) func(lifted <-chan struct{}) {
	return func(lifted <-chan struct{}) {
		for n := 0; ; n++ {
			do(n)
			select {
			case <-lifted:
				return
			case <-time.After(every):
			}
		}
	}
}

var faults = []fault{
	{"connections are cut", "1s", func(p *mongodbtest.Proxy, lifted <-chan struct{}) {
		repeatedly(20*time.Millisecond, func(int) { p.Cut() })(lifted)
	}},
	{"connections are refused", "1s", func(p *mongodbtest.Proxy, lifted <-chan struct{}) {
		p.Stop()
		<-lifted
		p.Start()
	}},
	{"the store answers only after the fault", "1s", func(p *mongodbtest.Proxy, lifted <-chan struct{}) {
		p.Pass(func(client net.Conn, answer []byte) error {
			<-lifted
			_, err := client.Write(answer)
			return err
		})
		<-lifted
	}},
	{"the store never answers", "1s", func(p *mongodbtest.Proxy, lifted <-chan struct{}) {
		p.Pass(hanging)
		<-lifted
	}},
	{"the store answers slowly", "5s", func(p *mongodbtest.Proxy, lifted <-chan struct{}) {
		p.Pass(func(client net.Conn, answer []byte) error {
			time.Sleep(200 * time.Millisecond)
			_, err := client.Write(answer)
			return err
		})
		<-lifted
	}},
	{"the store answers later than REQUEST_TIMEOUT", "500ms", func(p *mongodbtest.Proxy, lifted <-chan struct{}) {
		p.Pass(func(client net.Conn, answer []byte) error {
			time.Sleep(700 * time.Millisecond)
			_, err := client.Write(answer)
			return err
		})
		<-lifted
	}},
	{"responses of the store are truncated", "1s", func(p *mongodbtest.Proxy, lifted <-chan struct{}) {
		var n atomic.Int64
		p.Pass(func(client net.Conn, answer []byte) error {
			if n.Add(1)%7 > 0 {
				_, err := client.Write(answer)
				return err
			}
			_, _ = client.Write(answer[:len(answer)/2])
			reset(client)
			return errBroken
		})
		<-lifted
	}},
	{"responses of the store arrive in small parts", "5s", func(p *mongodbtest.Proxy, lifted <-chan struct{}) {
		p.Pass(func(client net.Conn, answer []byte) error {
			for part := range slices.Chunk(answer, 100) {
				if _, err := client.Write(part); err != nil {
					return err
				}
				time.Sleep(time.Millisecond)
			}
			return nil
		})
		<-lifted
	}},
	{"the store restarts repeatedly", "1s", func(p *mongodbtest.Proxy, lifted <-chan struct{}) {
		repeatedly(30*time.Millisecond, func(int) {
			p.Stop()
			p.Start()
		})(lifted)
	}},
	{"the store returns errors", "1s", func(p *mongodbtest.Proxy, lifted <-chan struct{}) {
		var n atomic.Int64
		codes := []int{6, 10107, 91, 13, 262, 11602}
		p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
			if i := n.Add(1); i%3 == 0 && !slices.Contains([]string{"hello", "isMaster", "ismaster"}, command) {
				return mongodbtest.Refusing(codes[int(i/3)%len(codes)])
			}
			return nil
		})
		<-lifted
	}},
}

// During every fault of the store, each response is correct or UNAVAILABLE, and arrives in time. No valid key gets 401, no list is empty by
// mistake, no acknowledged change is lost, and no revoked key works again. After the fault, the server recovers without a restart. The server
// does not add load by retrying repeatedly.
func TestFaultsOfTheStore(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			d := programtest.Seeded(t, programtest.OnMongoDB(t))
			proxy, env := programtest.ThroughProxy(t, d)
			env["REQUEST_TIMEOUT"] = f.timeout
			proxy.Start()
			withstand(t, d, env, []*mongodbtest.Proxy{proxy}, func(lifted <-chan struct{}) {
				f.befall(proxy, lifted)
				proxy.On(nil)
				proxy.Pass(nil)
			})
		})
	}
}

// withstand runs traffic on a server during a fault of its store, and after it.
func withstand(t *testing.T, d programtest.Deployment, env programtest.Fields, proxies []*mongodbtest.Proxy, befall func(lifted <-chan struct{})) {
	t.Helper()
	const writersAtOnce, steps = 6, 4
	s := programtest.Serve(t, env)
	tr := newTraffic(t, s.URL)
	writers, batch := newWriters(tr, writersAtOnce, 1, 1)
	programtest.Insert(t, d, batch)
	all := func(do func(w *writer)) {
		var wg sync.WaitGroup
		for _, w := range writers {
			wg.Go(func() { do(w) })
		}
		wg.Wait()
	}
	traffic := func(w *writer) {
		for range steps {
			w.step()
		}
	}
	commands := func() (n int64) {
		for _, p := range proxies {
			n += p.Commands.Load()
		}
		return n
	}
	programtest.AwaitReady(t, s)
	all(traffic)
	goroutines := runtime.NumGoroutine()
	asked, unavailable, before := tr.asked(), tr.unavailable(), commands()

	lifted, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		befall(lifted)
	}()
	all(traffic)
	if requests, n := int64(tr.asked()-asked), commands()-before; n > 20*requests+100 {
		t.Errorf("got %d commands for %d requests", n, requests)
	} else {
		t.Logf("during the fault %d requests, %d of them unavailable, %d commands", requests, tr.unavailable()-unavailable, n)
	}
	close(lifted)
	<-over

	began := time.Now()
	programtest.AwaitReady(t, s)
	all(func(w *writer) { w.soon(w.list) })
	t.Logf("served again after %v", time.Since(began))
	all(traffic)
	all((*writer).check)
	tr.settle(goroutines, len(writers))
	if t.Failed() {
		for line := range strings.Lines(s.Stderr.String()) {
			if strings.Contains(line, "INTERNAL_SERVER_ERROR") {
				t.Log(line)
			}
		}
	}
}

// When another member of a replica set becomes the primary, changes go to it.
func TestFailover(t *testing.T) {
	d := programtest.Seeded(t, programtest.OnMongoDB(t))
	var primary atomic.Int64
	uri, _ := d.Env["MONGODB_URI"].(string)
	members, uri := mongodbtest.NewReplicaSet(t, uri, func() int { return int(primary.Load()) }, func(int, string, bson.Raw) *mongodbtest.Fault { return nil })
	for _, p := range members {
		p.Start()
	}
	env := programtest.Fields{"MONGODB_URI": uri, "MONGODB_DATABASE": d.Env["MONGODB_DATABASE"], "REQUEST_TIMEOUT": "3s"}
	withstand(t, d, env, members[:], func(lifted <-chan struct{}) {
		for n := 0; ; n++ {
			old, next := n%2, 1-n%2
			members[old].Stop()
			primary.Store(int64(next))
			select {
			case <-lifted:
				members[old].Start()
				return
			case <-time.After(500 * time.Millisecond):
			}
			members[old].Start()
		}
	})
}

// With five hundred clients and two connections to the store, requests that cannot be served fail in time, authentication and later reads do not
// deadlock, and the server recovers.
func TestPoolExhaustion(t *testing.T) {
	const clients = 500
	d := programtest.Seeded(t, programtest.OnMongoDB(t))
	proxy, env := programtest.ThroughProxy(t, d, "maxPoolSize=2")
	proxy.Start()
	env["REQUEST_TIMEOUT"] = "2s"
	s := programtest.Serve(t, env)
	programtest.AwaitReady(t, s)
	tr := newTraffic(t, s.URL)
	proxy.Pass(func(client net.Conn, answer []byte) error {
		time.Sleep(10 * time.Millisecond)
		_, err := client.Write(answer)
		return err
	})
	took := make([]time.Duration, clients)
	list := func() {
		r, served := tr.ask("list", programtest.Token("reader"), `{ retriever(id: "main") { apiKeys(includeRevoked: true) { total results { id } } } }`, nil)
		if served && (r.Data.Retriever == nil || r.Data.Retriever.APIKeys.Total != 7 || len(r.Data.Retriever.APIKeys.Results) != 7) {
			tr.fail("%d %s", r.Status, r.Body)
		}
	}
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			began := time.Now()
			list()
			took[i] = time.Since(began)
		})
	}
	wg.Wait()
	slices.Sort(took)
	t.Logf("half were answered within %v, 99 of 100 within %v\n%s", took[clients/2], took[clients*99/100], tr)
	proxy.Pass(nil)
	before := tr.unavailable()
	for range 10 {
		list()
	}
	if n := tr.unavailable() - before; n > 0 {
		t.Errorf("afterwards, %d of 10 requests failed", n)
	}
}

// A store that starts after the server is prepared and used without a restart of the server.
func TestStoreComesLate(t *testing.T) {
	d := programtest.Seeded(t, programtest.OnMongoDB(t))
	proxy, env := programtest.ThroughProxy(t, d)
	s := programtest.Serve(t, env)
	if got := s.Request(http.MethodGet, "/readyz", "", nil); got.Status != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %d %s", got.Status, got.Body)
	}
	s.Stderr.Await("the store is not ready yet", s.Ended)
	var indexes atomic.Int64
	mayIndex, made := make(chan struct{}), make(chan struct{})
	proxy.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
		if command == "listIndexes" {
			select {
			case <-mayIndex:
				if indexes.Add(1) == 1 {
					close(made)
				}
			default:
				return mongodbtest.Refusing(11602) // InterruptedDueToReplStateChange
			}
		}
		return nil
	})
	proxy.Start()
	began := time.Now()
	programtest.AwaitReady(t, s)
	if got := s.Query("reader", "production", `{ retriever(id: "main") { apiKeys { total } } }`); !strings.Contains(got.Body, `"total":4`) {
		t.Errorf("a request: %d %s", got.Status, got.Body)
	}
	t.Logf("served after %v", time.Since(began))
	close(mayIndex) // requests did not wait for the indexes
	select {
	case <-made:
	case <-time.After(2 * programtest.MaxWait):
		t.Error("the server created no indexes")
	}
	if s.Stderr.Await("the store is ready", s.Ended) == "" {
		t.Error("the log does not say that the store is ready")
	}
}

// Building the indexes of a large collection takes hours. Meanwhile, the server is ready and answers requests, commands work and build no
// indexes, and the server can be stopped.
func TestServesWhileIndexesAreBuilt(t *testing.T) {
	d := programtest.Seeded(t, programtest.OnMongoDB(t))
	proxy, env := programtest.ThroughProxy(t, d)
	building, never := make(chan struct{}), make(chan struct{})
	var begun atomic.Int64
	proxy.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
		if command == "createIndexes" {
			if begun.Add(1) == 1 {
				close(building)
			}
			<-never
		}
		return nil
	})
	proxy.Start()
	defer close(never) // runs before the proxy stops
	s := programtest.Serve(t, env)
	<-building
	programtest.AwaitReady(t, s)
	if got := s.Query("reader", "production", `{ retriever(id: "main") { apiKeys { total results { id } } } }`); !strings.Contains(got.Body, `"total":4`) {
		t.Errorf("a list: %d %s", got.Status, got.Body)
	}
	if got := s.Query("admin", "production", `mutation { revokeApiKey(input: {id: "key_tie_a"}) { apiKey { status } } }`); !strings.Contains(got.Body, `"REVOKED"`) {
		t.Errorf("a change: %d %s", got.Status, got.Body)
	}
	if got := s.Query("admin", "production", `{ retriever(id: "main") { auditEvents { total } } }`); !strings.Contains(got.Body, `"total":1`) {
		t.Errorf("the trail: %d %s", got.Status, got.Body)
	}
	for _, args := range [][]string{
		{"keys", "list", "--namespace", "ns_prod", "--retriever", "main", "--include-revoked"}, {"keys", "revoke", "--namespace", "ns_prod", "--yes", "key_tie_b"},
		{"bootstrap", "--organization", "A", "--namespace", "n"}, {"import", programtest.WriteImport(t, programtest.Fixture())},
	} {
		if code, out, errs := programtest.Command(t, env, args...); code != program.ExitOK {
			t.Errorf("%v: exit code %d, %s%s", args, code, out, errs)
		}
	}
	if n := begun.Load(); n != 1 {
		t.Errorf("got %d index builds, want 1", n)
	}
	if code := s.Stop(); code != program.ExitOK {
		t.Errorf("exit code %d\n%s", code, s.Stderr)
	}
}

// /readyz fails while the store accepts connections but does not answer.
func TestNotReadyWhileTheStoreStalls(t *testing.T) {
	d := programtest.Seeded(t, programtest.OnMongoDB(t))
	proxy, env := programtest.ThroughProxy(t, d)
	proxy.Start()
	s := programtest.Serve(t, env)
	programtest.AwaitReady(t, s)
	proxy.Pass(hanging)
	for range 3 {
		if got := s.Request(http.MethodGet, "/readyz", "", nil); got.Status != http.StatusServiceUnavailable || !strings.Contains(got.Body, "the store does not respond") {
			t.Errorf("/readyz: %d %s", got.Status, got.Body)
		}
	}
	proxy.Cut()
	if got := s.Request(http.MethodGet, "/readyz", "", nil); got.Status != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %d %s", got.Status, got.Body)
	}
	proxy.Pass(nil)
	proxy.Cut()
	programtest.AwaitReady(t, s)
}

// While another process locks the embedded store's file, changes are UNAVAILABLE and reads work.
func TestFileIsLocked(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	d.Env["REQUEST_TIMEOUT"] = "300ms"
	s := programtest.Serve(t, d.Env)
	path, _ := d.Env["EMBEDDED_PATH"].(string)
	db := programtest.OpenFile(t, path)
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	hold := func(statement string) {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	tr := newTraffic(t, s.URL)
	revoke := func() (reply, bool) {
		return tr.ask("revoke", programtest.Token("admin"), `mutation { do: revokeApiKey(input: {id: "key_tie_a"}) { apiKey { status } } }`, nil)
	}
	hold("PRAGMA busy_timeout = 10000; BEGIN IMMEDIATE") // the server writes when it starts
	if r, served := revoke(); served {
		t.Errorf("a change: %d %s", r.Status, r.Body)
	}
	if r, served := tr.ask("list", programtest.Token("reader"), `{ retriever(id: "main") { apiKeys { total results { id } } } }`, nil); !served || r.Data.Retriever == nil || r.Data.Retriever.APIKeys.Total != 4 {
		t.Errorf("a list: %d %s", r.Status, r.Body)
	}
	hold("ROLLBACK")
	if r, served := revoke(); !served || r.Data.Do == nil || r.Data.Do.APIKey.Status != "REVOKED" {
		t.Errorf("a change after the lock: %d %s", r.Status, r.Body)
	}
}

// hanging forwards nothing until the client closes the connection.
func hanging(client net.Conn, _ []byte) error {
	_, err := client.Read(make([]byte, 1))
	return errors.Join(err, errBroken)
}

// The server shuts down even if its store hangs. The log says that last_used_at times were lost.
func TestStopsThoughTheStoreHangs(t *testing.T) {
	d := programtest.Seeded(t, programtest.OnMongoDB(t))
	proxy, env := programtest.ThroughProxy(t, d)
	proxy.Start()
	s := programtest.Serve(t, env)
	programtest.AwaitReady(t, s)
	if got := s.Query("reader", "production", `{ viewer { keyId } }`); got.Status != http.StatusOK {
		t.Fatal(got)
	}
	proxy.Pass(hanging)
	if code := s.Stop(); code != program.ExitOK {
		t.Errorf("exit code %d\n%s", code, s.Stderr)
	}
	if !strings.Contains(s.Stderr.String(), "when keys were used could not be stored") {
		t.Errorf("the log does not report the loss:\n%s", s.Stderr)
	}
}

// A command fails in time if the store hangs.
func TestCommandsDoNotHang(t *testing.T) {
	proxy, env := programtest.ThroughProxy(t, programtest.OnMongoDB(t), "serverSelectionTimeoutMS=100")
	proxy.Pass(hanging)
	proxy.Start()
	for _, args := range [][]string{
		{"keys", "list", "--namespace", "production", "--retriever", "main"}, {"keys", "revoke", "--namespace", "production", "--yes", "key_tie_a"},
		{"bootstrap", "--organization", "A", "--namespace", "n"}, {"import", programtest.WriteImport(t, programtest.Fixture())},
	} {
		if code, _, errs := programtest.Command(t, env, args...); code != program.ExitFailed || !strings.Contains(errs, "cannot reach its store") || !strings.Contains(errs, "cause") {
			t.Errorf("%v: exit code %d, %q", args, code, errs)
		}
	}
}
