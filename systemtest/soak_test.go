package systemtest

import (
	"bufio"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
	"retrieverkeys/store/mongodb/mongodbtest"
)

var (
	soakFor  = flag.Duration("soak", 0, "how long TestSoak lasts on each engine, for example 20m; 0: a few hundred operations")
	soakSeed = flag.Uint64("soak-seed", rand.Uint64(), "seed of the random choices of TestSoak")
)

// The soak test runs all kinds of good and bad clients during changing faults, for the time that -soak sets. No response is wrong, no
// acknowledged change is lost, no revoked key works again, and the process leaks no memory or goroutines.
func TestSoak(t *testing.T) {
	t.Log("-soak-seed", *soakSeed)
	t.Run("embedded", func(t *testing.T) {
		d := programtest.Embedded(t)
		path, _ := d.Env["EMBEDDED_PATH"].(string)
		soak(t, d, d.Env, scale{keys: 1200, retrievers: 300}, func(random *rand.Rand, during time.Duration) string {
			db, err := sql.Open("sqlite", path)
			if err == nil {
				_, err = db.Exec("BEGIN IMMEDIATE")
				time.Sleep(during)
				err = errors.Join(err, db.Close())
			}
			if err != nil && !strings.Contains(err.Error(), "locked") {
				t.Error(err)
			}
			return "another process has locked the file"
		})
	})
	t.Run("mongodb", func(t *testing.T) {
		d := programtest.OnMongoDB(t)
		proxy, env := programtest.ThroughProxy(t, d)
		proxy.Start()
		client, err := mongo.Connect(options.Client().ApplyURI(programtest.MongoURI))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = client.Disconnect(context.Background()) }()
		name, _ := d.Env["MONGODB_DATABASE"].(string)
		of := client.Database(name)
		// FerretDB scans all documents for every query, so the store must be small.
		few := scale{keys: 40, retrievers: 3, each: 15, forget: func(retriever string) {
			_, err := of.Collection(document.Keys).DeleteMany(context.Background(), bson.D{{Key: "scopes.resource_id", Value: retriever}})
			if _, events := of.Collection(document.Events).DeleteMany(context.Background(), bson.D{{Key: "retriever_ids", Value: retriever}}); err != nil || events != nil {
				t.Error(err, events)
			}
		}}
		soak(t, d, env, few, func(random *rand.Rand, during time.Duration) string { return faultOnce(proxy, random, during) })
	})
}

// faultOnce applies one random fault to the store and lifts it.
func faultOnce(p *mongodbtest.Proxy, random *rand.Rand, during time.Duration) string {
	f := faults[random.IntN(len(faults))]
	lifted := make(chan struct{})
	time.AfterFunc(during, func() { close(lifted) })
	f.befall(p, lifted)
	p.On(nil)
	p.Pass(nil)
	return f.name
}

// scale is the amount of data and traffic for an engine.
type scale struct {
	keys       int // of ret_many, which no writer changes
	retrievers int // per writer
	each       int // keys per retriever
	forget     func(retriever string)
}

func soak(t *testing.T, d programtest.Deployment, env programtest.Fields, size scale, befall func(random *rand.Rand, during time.Duration) string) {
	t.Helper()
	const writersAtOnce, othersAtOnce = 4, 3
	batch := programtest.Fixture()
	batch.Keys = append(batch.Keys, programtest.ManyKeys(size.keys)...)
	env["REQUEST_TIMEOUT"] = "2s"
	env["AUTH_FAILURES_PER_MINUTE"] = "0" // the test tries every revoked key at the end
	tr := newTraffic(t, "")
	writers, theirs := newWriters(tr, writersAtOnce, size.retrievers, *soakSeed)
	batch.Retrievers = append(batch.Retrievers, theirs.Retrievers...)
	programtest.Insert(t, d, document.Batch{Namespaces: batch.Namespaces, Retrievers: batch.Retrievers, Keys: batch.Keys})
	s := programtest.Serve(t, env)
	tr.url = s.URL
	programtest.AwaitReady(t, s)

	ended := make(chan struct{})
	if *soakFor > 0 {
		time.AfterFunc(*soakFor, func() { close(ended) })
	}
	until := func(step func()) {
		for n := 0; *soakFor > 0 || n < 40; n++ {
			select {
			case <-ended:
				return
			default:
				step()
			}
		}
	}
	rss, goroutines := memory(), runtime.NumGoroutine()
	var clients, weather sync.WaitGroup
	for _, w := range writers {
		w.most, w.forget = cmp.Or(size.each, w.most), size.forget
		clients.Go(func() { until(w.step) })
	}
	for i := range othersAtOnce {
		other := &other{tr, size.keys, rand.New(rand.NewPCG(*soakSeed, uint64(1000+i)))}
		clients.Go(func() { until(other.step) })
	}
	calm, befell := make(chan struct{}), map[string]int{}
	weather.Go(func() {
		random := rand.New(rand.NewPCG(*soakSeed, 0))
		for {
			select {
			case <-calm:
				return
			case <-time.After(time.Duration(500+random.IntN(3500)) * time.Millisecond):
				befell[befall(random, time.Duration(50+random.IntN(450))*time.Millisecond)]++
			}
		}
	})
	var meanwhile []string
	if *soakFor > 0 {
		for range 4 {
			time.Sleep(*soakFor / 5)
			meanwhile = append(meanwhile, fmt.Sprintf("%d MB and %d", memory()>>20, runtime.NumGoroutine()))
		}
	}
	clients.Wait()
	close(calm)
	weather.Wait()
	for _, w := range writers {
		w.check()
	}
	tr.settle(goroutines, writersAtOnce+othersAtOnce)
	t.Logf("resident memory %d MB before, %d MB after; goroutines %d before, %d after", rss>>20, memory()>>20, goroutines, runtime.NumGoroutine())
	t.Logf("memory and goroutines, each fifth of the time: %s", strings.Join(meanwhile, ", "))
	t.Logf("requests:\n%s", tr)
	for what, n := range befell {
		t.Logf("%4d times %s", n, what)
	}
}

// memory returns the resident memory of the process in bytes, or 0 if the system has no /proc. It first returns free memory to the system.
func memory() int {
	debug.FreeOSMemory()
	text, _ := os.ReadFile("/proc/self/statm")
	var size, resident int
	_, _ = fmt.Sscan(string(text), &size, &resident)
	return resident * os.Getpagesize()
}

// other is a client that reads constant data and sends bad requests.
type other struct {
	*traffic

	many   int // the number of keys of ret_many
	random *rand.Rand
}

func (o *other) step() {
	switch o.random.IntN(7) {
	case 0:
		o.search("filter", `filter: {search: "key_many_00"}`, min(o.many, 100))
	case 1:
		o.search("order", `first: 10, orderBy: {field: NAME, direction: DESC}`, o.many)
	case 2:
		o.search("page", `first: 50`, o.many)
	case 3:
		o.longList()
	case 4:
		o.bomb()
	case 5:
		o.slowReader()
	default:
		o.cut()
	}
}

func (o *other) search(what, arguments string, total int) {
	r, served := o.ask(what, programtest.Token("reader"), `{ retriever(id: "ret_many") { apiKeys(`+arguments+`) { total results { id name status } } } }`, nil)
	if served && (r.Data.Retriever == nil || r.Data.Retriever.APIKeys.Total != total) {
		o.fail("%s: %d %.300s", what, r.Status, r.Body)
	}
}

// longList reads a list of several pages. The response is complete, or the client can see that it is not.
func (o *other) longList() {
	a, err := o.request(http.MethodGet, "/v1/retrievers/ret_many/api-keys", "", programtest.Token("reader"))
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) && a.Status == http.StatusOK:
		o.count("long list", "cut")
	case err != nil:
		o.fail("long list: %v", err)
	case o.outage("long list", a):
	case a.Status != http.StatusOK || !strings.HasSuffix(a.Body, fmt.Sprintf("],\"total\":%d}\n", o.many)):
		o.fail("long list: %d …%s", a.Status, a.Body[max(0, len(a.Body)-300):])
	default:
		o.count("long list", "served")
	}
}

// bomb sends a small operation that expands to a billion fields.
func (o *other) bomb() {
	var b strings.Builder
	b.WriteString("{ ...F0 }")
	for i := range 30 {
		fmt.Fprintf(&b, " fragment F%d on Query { ...F%d ...F%d }", i, i+1, i+1)
	}
	b.WriteString(" fragment F30 on Query { __typename }")
	if r, served := o.ask("bomb", programtest.Token("reader"), b.String(), nil); served && (len(r.Errors) == 0 || r.Status >= http.StatusInternalServerError) {
		o.fail("bomb: %d %s", r.Status, r.Body)
	}
}

// slowReader reads the beginning of a long list and closes the connection.
func (o *other) slowReader() {
	o.raw("GET /v1/retrievers/ret_many/api-keys HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "+programtest.Token("reader")+"\r\nX-Namespace: production\r\n\r\n", func(r *bufio.Reader) {
		for range 20 {
			if _, err := r.ReadByte(); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	o.count("slow reader", "left")
}

// cut sends half a request and closes the connection.
func (o *other) cut() {
	o.raw("POST /graphql HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "+programtest.Token("admin")+"\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"query\":", func(*bufio.Reader) {})
	o.count("half a request", "left")
}

func (o *other) raw(request string, read func(*bufio.Reader)) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(o.url, "http://"))
	if err != nil {
		o.fail("%v", err)
		return
	}
	defer reset(conn)
	_, _ = io.WriteString(conn, request)
	read(bufio.NewReader(conn))
}
