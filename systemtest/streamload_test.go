package systemtest

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
)

var (
	streamsFor     = flag.Duration("streams", time.Second, "how long TestStreamsKeepUp makes changes")
	streamsOpen    = flag.Int("streams-open", 20, "how many streams follow them")
	streamsChanges = flag.Int("streams-changes", 200, "changes per second")
)

// processorTime returns the processor time that the process has used; 0 if the system has no /proc.
func processorTime(t *testing.T, p programtest.Process) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Cmd.Process.Pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks time.Duration
	for _, field := range fields[11:13] { // in user mode and in the kernel
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * time.Second / 100
}

// changing makes changes of one organization's keys, in requests of several, and remembers when each was answered.
type changing struct {
	t        *testing.T
	s        *programtest.Server
	name     string
	answered []time.Time
	slow     map[int]bool // changes that took so long that their events may have reached the store too late for the streams
}

const (
	// changesAtOnce is how many changes a request makes.
	changesAtOnce = 25
	// lateAfter is shorter than the time that an event has from its timestamp to the store, if streams must get it.
	lateAfter = 3 * time.Second
)

func (c *changing) change() {
	var text strings.Builder
	first := len(c.answered)
	for n := first; n < first+changesAtOnce; n++ {
		fmt.Fprintf(&text, ` c%d: updateApiKey(input: {id: "key_%s_%02d", description: "change %d."}) { apiKey { id } }`, n, c.name, n%100, n)
	}
	began := time.Now()
	if got := c.s.Query(c.name, "", "mutation {"+text.String()+"}"); strings.Contains(got.Body, "errors") {
		c.t.Errorf("%.500s", got.Body)
	}
	for n := range changesAtOnce {
		c.answered = append(c.answered, time.Now())
		c.slow[first+n] = time.Since(began) > lateAfter
	}
}

// arrival is when a stream received the event of a change.
type arrival struct {
	change int
	at     time.Time
}

// receive returns the events from the first change to the end, which is a change that comes when it is known. It can receive one after it.
func (c *changing) receive(s *stream, first int, ends <-chan int) (all []arrival) {
	end := -1
	for end < 0 || len(all) == 0 || all[len(all)-1].change < end {
		_, data, err := s.next()
		_, text, found := strings.Cut(data, `"after":"change `)
		if err != nil || !found {
			c.t.Errorf("%s, %v", data, err)
			return all
		}
		number, _, _ := strings.Cut(text, ".")
		n, _ := strconv.Atoi(number)
		if n >= first { // others happened just before the first stream was open
			all = append(all, arrival{n, time.Now()})
		}
		select {
		case end = <-ends:
		default:
		}
	}
	return all
}

// Every stream of several organizations gets each change of its own once, in order, but for those that a busy machine made slow. The log has the figures of docs/performance.md: how long after
// the answer to a change its event arrives, and the server's processor time for one event on one stream.
func TestStreamsKeepUp(t *testing.T) {
	t.Parallel()
	const organizations = 4
	d := programtest.Seeded(t, programtest.Embedded(t))
	var batch document.Batch
	all := make([]*changing, organizations)
	for i := range all {
		all[i] = &changing{t: t, name: fmt.Sprint("load_", i), slow: map[int]bool{}}
		of := programtest.Fields{"internal_id": "int_" + all[i].name, "organization_id": "org_" + all[i].name}
		batch.Keys = append(batch.Keys, programtest.CallerDoc(all[i].name, "int_"+all[i].name, "org_"+all[i].name, programtest.Fields{"permissions": []string{"admin"}}))
		for k := range 100 {
			batch.Keys = append(batch.Keys, programtest.KeyDoc(fmt.Sprintf("key_%s_%02d", all[i].name, k), "ret_main", of))
		}
	}
	programtest.ImportBatch(t, d, batch)
	d.Env["MAX_STREAMS"], d.Env["REQUEST_TIMEOUT"] = *streamsOpen, programtest.MaxWait.String()
	p := programtest.StartProcess(t, d.Env)
	// changes makes changes for a while and returns their number and the server's processor time.
	changes := func() (n int, used time.Duration) {
		before, began := processorTime(t, p), time.Now()
		var writing sync.WaitGroup
		for _, c := range all {
			c.s = p.Server
			n -= len(c.answered)
			writing.Go(func() {
				tick := time.NewTicker(time.Second * changesAtOnce * organizations / time.Duration(*streamsChanges))
				defer tick.Stop()
				for time.Since(began) < *streamsFor {
					c.change()
					<-tick.C
				}
			})
		}
		writing.Wait()
		for _, c := range all {
			n += len(c.answered)
		}
		return n, processorTime(t, p) - before
	}
	alone, usedAlone := changes()

	var reading sync.WaitGroup
	arrivals, ends := make([][]arrival, *streamsOpen), make([]chan int, *streamsOpen)
	firsts := make([]int, organizations)
	for i := range arrivals {
		c := all[i%organizations]
		first := len(c.answered)
		firsts[i%organizations], ends[i] = first, make(chan int, 1)
		s := subscribe(t, p.Server, programtest.Token(c.name), `subscription { auditEventAdded(filter: { action: "api_key_updated" }) { id timestamp action resourceId actorId status changes { field before after } } }`)
		reading.Go(func() { arrivals[i] = c.receive(s, first, ends[i]) })
	}
	began := time.Now()
	made, used := changes()
	took := time.Since(began)
	for i := range ends {
		ends[i] <- len(all[i%organizations].answered)
	}
	received := make(chan struct{})
	go func() { reading.Wait(); close(received) }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for reading := true; reading; {
		for _, c := range all {
			c.change()
		}
		select {
		case <-received:
			reading = false
		case <-tick.C:
		}
	}

	var delays []time.Duration
	for i, of := range arrivals {
		c, change := all[i%organizations], firsts[i%organizations]
		for _, a := range of {
			for ; change < a.change && c.slow[change]; change++ {
				t.Logf("stream %d may lack change %d", i, change)
			}
			if a.change != change {
				t.Fatalf("stream %d got change %d in the place of %d", i, a.change, change)
			}
			delays = append(delays, a.at.Sub(c.answered[a.change]))
			change++
		}
	}
	slices.Sort(delays)
	of := func(share float64) time.Duration {
		return delays[int(share*float64(len(delays)-1))].Round(time.Millisecond)
	}
	t.Logf("%d streams, %.0f changes per second: p50 %v, p99 %v, %v at most after the answer", *streamsOpen, float64(made)/took.Seconds(), of(.5), of(.99), of(1))
	t.Logf("%v for %d changes alone, %v for %d with %d events: %.1f µs per event and stream", usedAlone, alone, used, made, len(delays),
		(float64(used.Microseconds())-float64(usedAlone.Microseconds())/float64(alone)*float64(made))/float64(len(delays)))
}
