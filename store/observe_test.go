package store_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
	"retrieverkeys/store/document"
)

// Every call must be reported under its own name, even if it panics: a call that is missing in metrics is missed when it is slow.
func TestEveryCallIsObserved(t *testing.T) {
	var told []string
	observed := reflect.ValueOf(store.Observed(struct{ store.Engine }{}, store.Observer{Called: func(call, outcome string, _ time.Duration) {
		told = append(told, call+" "+outcome)
	}}))
	var want []string
	for i := range observed.NumMethod() {
		method := observed.Type().Method(i)
		if method.Name == "Close" {
			continue
		}
		want = append(want, method.Name+" error")
		arguments := []reflect.Value{reflect.ValueOf(t.Context())}
		for j := 1; j < observed.Method(i).Type().NumIn(); j++ {
			arguments = append(arguments, reflect.Zero(observed.Method(i).Type().In(j)))
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s does not ask the engine, which is none", method.Name)
				}
			}()
			observed.Method(i).Call(arguments)
		}()
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
}

// answering is an engine that answers one thing.
type answering struct {
	store.Engine
	keys []apikey.Key
	err  error
}

func (e answering) KeysByHash(context.Context, string) ([]apikey.Key, error) { return e.keys, e.err }

// An outage must not look like a fault of the program, nor a client that has left like either.
func TestOutcomesOfCalls(t *testing.T) {
	left, leave := context.WithCancel(t.Context())
	leave()
	late, cancel := context.WithDeadline(t.Context(), time.Time{})
	defer cancel()
	outage := apikey.Outage(errors.New("down"))
	given, giveUp := context.WithCancelCause(t.Context())
	giveUp(fmt.Errorf("beside it: %w", outage))
	needless, notNeeded := context.WithCancelCause(t.Context())
	notNeeded(&apikey.Error{Code: apikey.NotFound})
	for _, c := range []struct {
		ctx  context.Context
		err  error
		want string
	}{
		{t.Context(), nil, "ok"},
		{left, nil, "ok"},
		{t.Context(), document.ErrNotEmpty, "ok"},
		{t.Context(), outage, "unavailable"},
		{t.Context(), fmt.Errorf("wrapped: %w", outage), "unavailable"},
		{late, outage, "unavailable"},
		{left, outage, "canceled"},
		{given, outage, "unavailable"},
		{needless, outage, "canceled"},
		{t.Context(), errors.New("something else"), "error"},
	} {
		var got string
		e := store.Observed(answering{keys: []apikey.Key{{ID: "key_1"}}, err: c.err}, store.Observer{Called: func(_, outcome string, _ time.Duration) { got = outcome }})
		keys, err := e.KeysByHash(c.ctx, "hash")
		if got != c.want || !errors.Is(err, c.err) || len(keys) != 1 {
			t.Errorf("%v: %q, %v, %d keys; want %q", c.err, got, err, len(keys), c.want)
		}
	}
}

// waiting is an engine whose calls end on command.
type waiting struct {
	store.Engine
	begun chan struct{}
	end   chan struct{}
}

func (e waiting) Ping(context.Context) error {
	e.begun <- struct{}{}
	<-e.end
	return nil
}

// One request must not take all connections of the store, however many of its fields ask at once.
func TestCallsOfARequestWait(t *testing.T) {
	e := waiting{begun: make(chan struct{}, 100), end: make(chan struct{})}
	observed := store.Observed(e, store.Observer{Called: func(string, string, time.Duration) {}})
	ctx := apikey.WithCost(t.Context(), apikey.NewCost(0, 0))
	var calls sync.WaitGroup
	for range 40 {
		calls.Go(func() { _ = observed.Ping(ctx) })
	}
	for range 16 {
		<-e.begun
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := observed.Ping(ended); apikey.Classify(err).Code != apikey.Unavailable || len(e.begun) != 0 {
		t.Errorf("a seventeenth call began, %v", err)
	}
	close(e.end)
	calls.Wait()
	if len(e.begun) != 24 {
		t.Errorf("%d calls began later", len(e.begun))
	}
	spent := apikey.NewCost(1, 0)
	_ = spent.Look(2)
	if err := observed.Ping(apikey.WithCost(t.Context(), spent)); apikey.Classify(err).Code != apikey.BadUserInput || len(e.begun) != 24 {
		t.Errorf("a call with nothing left: %v", err)
	}
}

// A call that does not begin must have no span, or it would stay open for good; and one that began must have one that ends, however it does.
func TestEverySpanOfACallEnds(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tracer := trace.NewTracerProvider(trace.WithSpanProcessor(spans)).Tracer("test")
	ctx, request := tracer.Start(t.Context(), "request")
	ended, cancel := context.WithCancel(ctx)
	cancel()
	spent := apikey.NewCost(1, 0)
	_ = spent.Look(2)
	full := apikey.NewCost(0, 0)
	for range 16 {
		if _, err := full.Call(ctx); err != nil {
			t.Fatal(err)
		}
	}
	calls := 0
	for name, c := range map[string]struct {
		ctx    context.Context
		engine store.Engine
		begins bool
	}{
		"with a place":           {apikey.WithCost(ctx, apikey.NewCost(0, 0)), answering{}, true},
		"that fails":             {ctx, answering{err: errors.New("broken")}, true},
		"that panics":            {ctx, struct{ store.Engine }{}, true},
		"with nothing left":      {apikey.WithCost(ctx, spent), answering{}, false},
		"while there is no room": {apikey.WithCost(ended, full), answering{}, false},
	} {
		before := len(spans.Started())
		told := 0
		func() {
			defer func() { _ = recover() }()
			_, _ = store.Observed(c.engine, store.Observer{Tracer: tracer, Called: func(string, string, time.Duration) { told++ }}).KeysByHash(c.ctx, "hash")
		}()
		if begun := len(spans.Started()) - before; (begun == 1) != c.begins || (told == 1) != c.begins {
			t.Errorf("a call %s: %d spans, told %d times", name, begun, told)
		}
		if c.begins {
			calls++
		}
	}
	request.End()
	if got := len(spans.Ended()); got != calls+1 || got != len(spans.Started()) {
		t.Errorf("%d spans of %d calls and a request ended, of %d", got, calls, len(spans.Started()))
	}
}
