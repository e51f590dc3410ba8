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

// Without this, a slow or panicking call could be missing in the metrics, or have another call's name.
func TestEveryCallIsObserved(t *testing.T) {
	var reports []string
	observed := reflect.ValueOf(store.Observed(struct{ store.Engine }{}, store.Observer{Called: func(call, outcome string, _ time.Duration) {
		reports = append(reports, call+" "+outcome)
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
					t.Errorf("%s did not call the nil engine", method.Name)
				}
			}()
			if method.Type.IsVariadic() {
				observed.Method(i).CallSlice(arguments)
			} else {
				observed.Method(i).Call(arguments)
			}
		}()
	}
	if diff := cmp.Diff(want, reports); diff != "" {
		t.Error(diff)
	}
}

// answering is an engine with a fixed answer.
type answering struct {
	store.Engine
	keys []apikey.Key
	err  error
}

func (e answering) KeysByHash(context.Context, string) ([]apikey.Key, error) { return e.keys, e.err }

// An outage must not look like a bug, and a client's disconnect must look like neither.
func TestOutcomesOfCalls(t *testing.T) {
	gone, disconnect := context.WithCancel(t.Context())
	disconnect()
	late, cancel := context.WithDeadline(t.Context(), time.Time{})
	defer cancel()
	outage := apikey.Outage(errors.New("down"))
	failed, fail := context.WithCancelCause(t.Context())
	fail(fmt.Errorf("a concurrent call: %w", outage))
	refused, refuse := context.WithCancelCause(t.Context())
	refuse(&apikey.Error{Code: apikey.NotFound})
	for _, c := range []struct {
		ctx  context.Context
		err  error
		want string
	}{
		{t.Context(), nil, "ok"},
		{gone, nil, "ok"},
		{t.Context(), document.ErrNotEmpty, "ok"},
		{t.Context(), outage, "unavailable"},
		{t.Context(), fmt.Errorf("wrapped: %w", outage), "unavailable"},
		{late, outage, "unavailable"},
		{gone, outage, "canceled"},
		{failed, outage, "unavailable"},
		{refused, outage, "canceled"},
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

// waiting is an engine whose calls return when end is closed.
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

// Without this limit, one request with many fields could take all connections of the store.
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
		t.Errorf("a seventeenth call began: %v", err)
	}
	close(e.end)
	calls.Wait()
	if len(e.begun) != 24 {
		t.Errorf("%d calls began after the first 16, want 24", len(e.begun))
	}
	spent := apikey.NewCost(1, 0)
	_ = spent.Look(2)
	if err := observed.Ping(apikey.WithCost(t.Context(), spent)); apikey.Classify(err).Code != apikey.BadUserInput || len(e.begun) != 24 {
		t.Errorf("a call with no Cost left: %v", err)
	}
}

// A call that never begins must have no span, because nothing would end it. Every call that begins must have a span
// that ends, even if the call fails or panics.
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
		"that is allowed":    {apikey.WithCost(ctx, apikey.NewCost(0, 0)), answering{}, true},
		"that fails":         {ctx, answering{err: errors.New("broken")}, true},
		"that panics":        {ctx, struct{ store.Engine }{}, true},
		"with no Cost left":  {apikey.WithCost(ctx, spent), answering{}, false},
		"while too many run": {apikey.WithCost(ended, full), answering{}, false},
	} {
		before := len(spans.Started())
		reports := 0
		func() {
			defer func() { _ = recover() }()
			_, _ = store.Observed(c.engine, store.Observer{Tracer: tracer, Called: func(string, string, time.Duration) { reports++ }}).KeysByHash(c.ctx, "hash")
		}()
		if begun := len(spans.Started()) - before; (begun == 1) != c.begins || (reports == 1) != c.begins {
			t.Errorf("a call %s: %d spans and %d reports, want %t", name, begun, reports, c.begins)
		}
		if c.begins {
			calls++
		}
	}
	request.End()
	if got := len(spans.Ended()); got != calls+1 || got != len(spans.Started()) {
		t.Errorf("%d of %d spans ended, want %d", got, len(spans.Started()), calls+1)
	}
}
