package store_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
	"retrieverkeys/store/document"
)

// Every call must be told under its own name, also one that panics: a call that is missing in metrics is missed in the night
// when it is slow.
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
