package mongodb

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// leftovers are the keys whose changes this process could not finish. They are found by their _id, without another
// index.
type leftovers struct {
	mu   sync.Mutex
	keys map[string]leftover
}

// maxLeft bounds the leftovers that a process remembers. It finds further ones only by the index of pending events.
const maxLeft = 1000

type leftover struct {
	filter bson.D // by _id and tenant
	// The successor that is not inserted yet, if any.
	tenant apikey.InternalID
	id     apikey.ID
	hash   string
}

func leftoverID(doc bson.Raw) string { return doc.Lookup("_id").String() }

// add remembers an unfinished key. placed says that its successor is stored as a document of its own.
func (l *leftovers) add(doc bson.Raw, placed bool) {
	doc = bytes.Clone(doc)
	of := leftover{filter: bson.D{{Key: "_id", Value: doc.Lookup("_id")}, internalID(doc)}}
	if _, successor := document.PendingEvents(doc); successor != nil && !placed {
		k, _ := document.Key(successor, 0)
		of.tenant, of.id, of.hash = k.InternalID, k.ID, k.Hash
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if id := leftoverID(doc); l.keys[id].filter != nil || len(l.keys) < maxLeft {
		if l.keys == nil {
			l.keys = map[string]leftover{}
		}
		l.keys[id] = of
	}
}

func (l *leftovers) remove(ids ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		delete(l.keys, id)
	}
}

// all returns the leftovers' ids, and the filters that select them.
func (l *leftovers) all() (ids []string, anyOf bson.A) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(l.keys)) {
		ids, anyOf = append(ids, id), append(anyOf, l.keys[id].filter)
	}
	return ids, anyOf
}

// misses reports whether some successor is not stored as a document of its own.
func (l *leftovers) misses() bool {
	_, ok := l.find(func(of leftover) bool { return of.hash != "" })
	return ok
}

func (l *leftovers) find(is func(leftover) bool) (leftover, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, of := range l.keys {
		if is(of) {
			return of, true
		}
	}
	return leftover{}, false
}

// indexName caches the name of an index. Without the index of pending events no read looks for these, because it would
// scan all keys.
type indexName struct {
	mu    sync.Mutex
	name  string    // empty if there is none, or it is unknown
	asked time.Time // when the server was last asked for it
}

// askAgainAfter is how long a missing index is assumed to be still missing. Another process can build it.
const askAgainAfter = time.Minute

func (p *indexName) set(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.name, p.asked = name, time.Now()
}

// look returns the index's name. It lists the indexes if the name is unknown and was not asked for recently.
func (p *indexName) look(list func() (name string, err error)) (string, error) {
	p.mu.Lock()
	name, known := p.name, p.name != "" || time.Since(p.asked) < askAgainAfter
	p.mu.Unlock()
	if known {
		return name, nil
	}
	name, err := list()
	if err == nil {
		p.set(name)
	}
	return name, err
}

// lookForPending returns the name of the index of pending events, or an empty name.
func (s *Store) lookForPending(ctx context.Context) (string, error) {
	return s.lookFor(ctx, &s.pending, pendingIndex)
}

// lookFor returns the name of an index of keys, or an empty name.
func (s *Store) lookFor(ctx context.Context, cache *indexName, ix index) (string, error) {
	return cache.look(func() (string, error) {
		existing, err := s.listIndexes(ctx, document.Keys)
		if hasCode(err, codeUnauthorized) {
			return "", nil
		}
		ours, _ := ix.among(existing)
		return ours.name, err
	})
}

// unfinishedKeys returns the documents of keys that have pending events and meet the conditions. With an index it finds
// all of them, without one only the leftovers of this process.
func (s *Store) unfinishedKeys(ctx context.Context, limit int, conditions ...bson.E) ([]bson.Raw, error) {
	name, err := s.lookForPending(ctx)
	if err != nil {
		return nil, err
	}
	if name != "" {
		// With the hint, the server refuses the query while the index is still being built, instead of scanning all
		// keys.
		q := find{filter: append(bson.D{somethingPending}, conditions...), hint: name}
		found, err := s.findUnfinished(ctx, q, limit)
		if !hasCode(err, codeBadValue) {
			return found, err
		}
		s.pending.set("")
	}
	_, anyOf := s.left.all()
	if len(anyOf) == 0 {
		return nil, nil
	}
	return s.findUnfinished(ctx, find{filter: append(bson.D{{Key: "$or", Value: anyOf}}, conditions...)}, limit)
}

var somethingPending = bson.E{Key: "pending_events.audit_id", Value: bson.D{{Key: "$gt", Value: ""}}}

// findUnfinished returns up to limit documents with something to finish, and fewer only if there are no more. The
// server cannot distinguish them from documents that carry only another organization's data, so the limit applies here:
// a hundred of those must not hide one that can be finished.
func (s *Store) findUnfinished(ctx context.Context, q find, limit int) ([]bson.Raw, error) {
	q.fields, q.batch = []string{"internal_id", "key_id", "revision", "pending_events", "successor"}, limit+1
	var found []bson.Raw
	_, err := q.until(ctx, s.primaryKeys(), func(doc bson.Raw, _ int) (enough bool) {
		if events, _ := document.PendingEvents(doc); len(events) > 0 {
			found = append(found, bytes.Clone(doc))
		}
		return len(found) == limit
	})
	return found, err
}
