package apikey

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// Without this, a caller who has used up a budget rotates the key and gets a full budget.
func TestSuccessorsGoOnWithTheBudget(t *testing.T) {
	store := fixture()
	s := newService(store)
	id := ID("key_1")
	for i := range 5 {
		rotated, err := s.Rotate(t.Context(), writer(Write), "shop", id, time.Hour, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range []Key{rotated.Key, rotated.Previous, find(t, store, rotated.Key.ID)} {
			if got, err := s.BudgetOf(t.Context(), &k); err != nil || got != "hash of key_1" {
				t.Errorf("rotation %d: the budget of %s is %q, %v", i, k.ID, got, err)
			}
		}
		id = rotated.Key.ID
	}
	store.reads()
	if last := find(t, store, id); last.Budget != "hash of key_1" {
		t.Errorf("the budget of the last successor is %q", last.Budget)
	} else if _, err := s.BudgetOf(t.Context(), &last); err != nil || store.reads() != "" {
		t.Errorf("a key that names its budget caused a store call")
	}
}

// Keys that older versions rotated name only their predecessor. They must share its budget too, however long the chain is.
func TestBudgetsOfKeysThatOlderVersionsRotated(t *testing.T) {
	store := &memory{}
	after := func(id ID, before ID, edits ...func(*Key)) {
		store.keys = append(store.keys, keyOf(id, append([]func(*Key){func(k *Key) { k.RotatedFrom = &before }}, edits...)...))
	}
	store.keys = append(store.keys, keyOf("a"))
	after("b", "a")
	after("c", "b")
	after("d", "c", func(k *Key) { k.Budget = "hash of a" }) // rotated by this version
	after("e", "d")                                          // rotated by an older version that runs at the same time
	after("orphan", "gone")
	after("after the orphan", "orphan")
	after("x", "y")
	after("y", "x")
	after("itself", "itself")
	after("theirs", "b", func(k *Key) { k.InternalID = "int_2" }) // int_2 has no key b
	store.keys = append(store.keys, keyOf("twin", func(k *Key) { k.Hash = "2" }), keyOf("twin", func(k *Key) { k.Hash = "1" }))
	after("after the twins", "twin")
	for i := range 3 * maxRotations {
		after(ID(fmt.Sprintf("long %d", i)), ID(fmt.Sprintf("long %d", i-1)))
	}
	s := newService(store)
	for id, want := range map[ID]string{
		"a": "hash of a", "b": "hash of a", "c": "hash of a", "d": "hash of a", "e": "hash of a",
		"orphan": "hash of orphan", "after the orphan": "hash of orphan", "theirs": "hash of theirs", "after the twins": "1", "itself": "hash of itself",
	} {
		k := store.keys[slices.IndexFunc(store.keys, func(k Key) bool { return k.ID == id })]
		if got, err := s.BudgetOf(t.Context(), &k); err != nil || got != want {
			t.Errorf("%s: got the budget of %q, %v, want %q", id, got, err, want)
		}
	}
	// A cycle, which only another program could create, and an endless chain must be given up after a limited number of reads.
	for _, id := range []ID{"x", "y", "long 299"} {
		store.reads()
		k := store.keys[slices.IndexFunc(store.keys, func(k Key) bool { return k.ID == id })]
		if got, err := s.BudgetOf(t.Context(), &k); err != nil || got == "" || len(store.reads()) > maxRotations*len("CurrentKeys ") {
			t.Errorf("%s: %q, %v", id, got, err)
		}
	}
	store.fails = "CurrentKeys"
	if _, err := s.BudgetOf(t.Context(), &store.keys[1]); codeAndField(t, err) != "UNAVAILABLE" {
		t.Errorf("an outage: %v", err)
	}
}
