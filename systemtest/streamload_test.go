package systemtest

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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

// Every stream gets each change once. The log has the figures of docs/performance.md: how long after the answer to a change its event
// arrives, and the server's processor time for one event on one stream.
func TestStreamsKeepUp(t *testing.T) {
	t.Parallel()
	const writers, perRequest, keys = 4, 25, 400
	d := programtest.Seeded(t, programtest.Embedded(t))
	var batch document.Batch
	for i := range keys {
		batch.Keys = append(batch.Keys, programtest.KeyDoc(fmt.Sprintf("key_%03d", i), "ret_main"))
	}
	programtest.ImportBatch(t, d, batch)
	d.Env["MAX_STREAMS"] = 4 * *streamsOpen
	p := programtest.StartProcess(t, d.Env)
	var answered sync.Map // the times of answers by the number of the change
	var next atomic.Int64
	change := func() {
		var text strings.Builder
		from := next.Add(perRequest) - perRequest
		for n := from; n < from+perRequest; n++ {
			fmt.Fprintf(&text, ` c%d: updateApiKey(input: {id: "key_%03d", description: "change %d."}) { apiKey { id } }`, n, n%keys, n)
		}
		if got := p.Query("admin", "production", "mutation {"+text.String()+"}"); strings.Contains(got.Body, "errors") {
			t.Errorf("%.500s", got.Body)
		}
		for n, now := from, time.Now(); n < from+perRequest; n++ {
			answered.Store(n, now)
		}
	}
	// changes makes changes for a while and returns their number and the server's processor time.
	changes := func() (n int64, took, used time.Duration) {
		before, from := processorTime(t, p), next.Load()
		var writing sync.WaitGroup
		began := time.Now()
		for range writers {
			writing.Go(func() {
				tick := time.NewTicker(time.Second * perRequest * writers / time.Duration(*streamsChanges))
				defer tick.Stop()
				for time.Since(began) < *streamsFor {
					change()
					<-tick.C
				}
			})
		}
		writing.Wait()
		took = time.Since(began)
		n = next.Load() - from
		return n, took, processorTime(t, p) - before
	}
	alone, _, usedAlone := changes()
	first := next.Load()

	type arrival struct {
		change int64
		at     time.Time
	}
	arrivals := make([][]arrival, *streamsOpen)
	var last atomic.Int64
	last.Store(-1)
	var reading sync.WaitGroup
	for i := range arrivals {
		s := subscribe(t, p.Server, programtest.Token("admin"), `subscription { auditEventAdded(filter: { action: "api_key_updated" }) { id timestamp action resourceId actorId status changes { field before after } } }`)
		reading.Go(func() {
			for {
				_, data, err := s.next()
				_, text, found := strings.Cut(data, `"after":"change `)
				if err != nil || !found {
					t.Errorf("%s, %v", data, err)
					return
				}
				number, _, _ := strings.Cut(text, ".")
				n, _ := strconv.ParseInt(number, 10, 64)
				if n < first { // its event was new when the first stream opened
					continue
				}
				if arrivals[i] = append(arrivals[i], arrival{n, time.Now()}); n == last.Load() {
					return
				}
			}
		})
	}
	made, took, used := changes()
	last.Store(next.Load() + perRequest - 1)
	change()
	reading.Wait()

	var delays []time.Duration
	for i, of := range arrivals {
		slices.SortFunc(of, func(a, b arrival) int { return cmp.Compare(a.change, b.change) }) // changes are made side by side
		for j, a := range of {
			if a.change != first+int64(j) {
				t.Fatalf("stream %d: the change after %d is %d", i, first+int64(j)-1, a.change)
			}
			at, _ := answered.Load(a.change)
			answer, _ := at.(time.Time)
			delays = append(delays, a.at.Sub(answer))
		}
		if want := int(next.Load() - first); len(of) != want {
			t.Errorf("stream %d has %d changes of %d", i, len(of), want)
		}
	}
	slices.Sort(delays)
	of := func(share float64) time.Duration {
		return delays[int(share*float64(len(delays)-1))].Round(time.Millisecond)
	}
	t.Logf("%d streams, %.0f changes per second: p50 %v, p99 %v, %v at most after the answer", *streamsOpen, float64(made)/took.Seconds(), of(.5), of(.99), of(1))
	t.Logf("%v for %d changes alone, %v for as many with %d events: %.1f µs per event and stream", usedAlone, alone, used, len(delays),
		(float64(used.Microseconds())-float64(usedAlone.Microseconds())/float64(alone)*float64(made))/float64(len(delays)))
}
