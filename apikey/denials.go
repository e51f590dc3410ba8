package apikey

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// denials remember the denied attempts of the current minute, so that repeated attempts cost the store little. Up to ten attempts of an
// actor per minute are stored, each kind once, before they are answered. The others are counted, and one event reports the count later.
// Each process remembers its own attempts. Several processes may store ten each, but one kind only once, because its event has the same
// id.
type denials struct {
	mu     sync.Mutex
	actors map[actor]*tries
	sums   []Event // the counts of past minutes that are not stored yet
}

// actor is a key, or an operator by name.
type actor struct {
	tenant InternalID
	kind   ActorType
	id     string
}

func (c Caller) actor() actor {
	if c.Operator {
		return actor{c.tenant(), Operator, c.Key.UserID}
	}
	return actor{c.tenant(), User, string(c.Key.ID)}
}

// wish is what a request asks for before anything was looked up, and the rights of its caller's key. It is empty if the request names
// nothing.
type wish struct {
	action    Action
	namespace string // an id or name
	resource  string
	of        string   // the retriever, by id or name, that the resource must belong to
	rights    [32]byte // equal for equal rights
}

func (c Caller) wish(action Action, namespace, resource string) wish {
	as := wish{action: action, namespace: namespace, resource: resource}
	if k := c.Key; k != nil {
		as.rights = sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q", k.Type, k.Permissions, k.Scopes, text(k.OrganizationID)))
	}
	return as
}

// tries are the denied attempts of an actor within a minute.
type tries struct {
	minute int64
	kept   []*denial // attempts that have events, or will have
	more   int       // the number of others
	last   Event     // the last of the others
}

// denial is one kind of attempt.
type denial struct {
	action   Action
	resource string
	as       wish // the last wish that can be refused again without reads; may be empty
	refused  error
	stored   bool
	done     chan struct{} // closed when the event is stored or could not be stored
}

const (
	// keptDenials is how many kinds of attempts of an actor have their own event per minute.
	keptDenials = 10
	// mostActors is how many actors and counts of one organization are remembered if no other organization has any.
	mostActors = 1000
	// mostOfAll is how many actors and counts of all organizations are remembered.
	mostOfAll = 2 * mostActors
	// mostSumRetrievers is how many retrievers' lists show the event with a count.
	mostSumRetrievers = 100
	// storeSumsEvery is how often counts are stored.
	storeSumsEvery = 2 * time.Second
	// lastStoreOfSums limits the time to store counts at shutdown.
	lastStoreOfSums = 5 * time.Second
	// deniedAttempts is the name under which an event reports a count.
	deniedAttempts = "denied_attempts"
)

// denied makes the event of a denied attempt. Its id is the same for all attempts of one actor, action and resource within a minute, so
// that only one event is stored. The id includes the organization, because organizations may use the same ids and share a collection.
func (e Event) denied() Event {
	e.Outcome, e.Changes = Denied, nil
	actor := e.ActorID
	if e.ActorKeyID != nil {
		actor = string(*e.ActorKeyID)
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{
		string(e.InternalID), string(e.ActorType), actor, string(e.Action), e.ResourceID, strconv.FormatInt(minuteOf(e.Timestamp), 10),
	}, "\x00")))
	e.ID = EventID("evt_" + hex.EncodeToString(sum[:12]))
	return e
}

func minuteOf(t time.Time) int64 { return t.Unix() / 60 }

// deny returns the refusal once the attempt is remembered: as a stored event, or as part of a count. If the event cannot be stored, it
// returns the outage instead. Attempts of unknown callers are not remembered. With an empty wish, the refusal is not remembered for lastRefusal.
func (s *Service) deny(ctx context.Context, c Caller, refused error, attempt Event, as wish) error {
	if !c.Known() {
		return refused
	}
	for {
		d, first, err := s.denials.note(c.actor(), refused, &attempt, as, s.now())
		switch {
		case err != nil:
			return err
		case d == nil:
			return refused
		case first:
			if err := s.storeDenial(ctx, c.actor(), d, attempt); err != nil {
				return err
			}
			return refused
		}
		select {
		case <-d.done: // if that fails, this one has to be stored
		case <-ctx.Done():
			return Outage(ctx.Err())
		}
	}
}

func (s *Service) storeDenial(ctx context.Context, who actor, d *denial, attempt Event) (err error) {
	stored := false
	defer func() { s.denials.settle(who, d, stored) }() // after a panic too, because others wait
	err = s.Store.InsertEvent(ctx, attempt.denied())
	stored = err == nil
	return err
}

// note remembers an attempt. It returns nil if nothing is left to do. Otherwise it returns a denial that the caller must store, if it is
// the first, or wait for.
func (d *denials) note(who actor, refused error, attempt *Event, as wish, now time.Time) (wait *denial, first bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.triesOf(who, now)
	if t == nil {
		if d.full(who.tenant) {
			d.sumUp(minuteOf(now))
		}
		if d.full(who.tenant) {
			return nil, false, &Error{
				Code: Unavailable, Message: "Too many denied attempts to record this one. Try again in a minute.", RetryAfter: time.Minute,
			}
		}
		t = &tries{minute: minuteOf(now)}
		if d.actors == nil {
			d.actors = map[actor]*tries{}
		}
		d.actors[actor{InternalID(strings.Clone(string(who.tenant))), who.kind, strings.Clone(who.id)}] = t
	}
	// Names may be substrings of the request's text, which must not be kept.
	as.namespace, as.resource, as.of = strings.Clone(as.namespace), strings.Clone(as.resource), strings.Clone(as.of)
	if i := slices.IndexFunc(t.kept, func(k *denial) bool { return k.action == attempt.Action && k.resource == attempt.ResourceID }); i >= 0 {
		k := t.kept[i]
		if !k.stored {
			return k, false, nil
		}
		if as != (wish{}) {
			k.as, k.refused = as, refused
		}
		return nil, false, nil
	}
	if len(t.kept) < keptDenials {
		k := &denial{action: attempt.Action, resource: strings.Clone(attempt.ResourceID), as: as, refused: refused, done: make(chan struct{})}
		t.kept = append(t.kept, k)
		return k, true, nil
	}
	for _, k := range t.kept {
		if !k.stored {
			return k, false, nil // storing may fail, which frees the place
		}
	}
	t.count(attempt)
	return nil, false, nil
}

// full reports whether no more actors of the organization can be remembered. An organization may take a place while it has fewer than are
// free. So it leaves places for others, however many keys it has: the first can take half of all places, the second half of the rest, and
// so on.
func (d *denials) full(tenant InternalID) bool {
	free, own := mostOfAll-len(d.actors)-len(d.sums), 0
	if free > mostActors {
		return false // it cannot have that many
	}
	for who := range d.actors {
		if who.tenant == tenant {
			own++
		}
	}
	for i := range d.sums {
		if d.sums[i].InternalID == tenant {
			own++
		}
	}
	return own >= free
}

// settle ends the storing of a denial. A denial that could not be stored is forgotten.
func (d *denials) settle(who actor, k *denial, stored bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k.stored = stored
	close(k.done)
	if t := d.actors[who]; t != nil && !stored {
		t.kept = slices.DeleteFunc(t.kept, func(other *denial) bool { return other == k })
	}
}

// lastRefusal returns the error with which the same request was refused within this minute, or nil. The request is the same only if the
// caller's key has the same rights. Nothing is read: no request can change what another key may do or reach. If somebody changes that in
// the database, or a name comes to mean another retriever, the refusal stands for the rest of the minute.
func (d *denials) lastRefusal(who actor, as wish, now time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.triesOf(who, now); t != nil {
		for _, k := range t.kept {
			if k.stored && k.as == as {
				return k.refused
			}
		}
	}
	return nil
}

// triesOf returns the tries of the actor in this minute, or nil.
func (d *denials) triesOf(who actor, now time.Time) *tries {
	t := d.actors[who]
	if t != nil && t.over(minuteOf(now)) {
		d.end(who, t)
		return nil
	}
	return t
}

// over reports whether the minute has passed. Concurrent requests may see the minutes change in a different order, and a clock that was
// set back must not block the next minute.
func (t *tries) over(minute int64) bool { return minute > t.minute || minute < t.minute-1 }

// end forgets the tries of an actor except their count.
func (d *denials) end(who actor, t *tries) {
	delete(d.actors, who)
	if t.more > 0 {
		d.sums = append(d.sums, t.sum())
	}
}

// sumUp ends the tries of all past minutes.
func (d *denials) sumUp(minute int64) {
	for who, t := range d.actors {
		if t.over(minute) {
			d.end(who, t)
		}
	}
}

// count counts an attempt without an event of its own.
func (t *tries) count(attempt *Event) {
	retrievers := t.last.RetrieverIDs
	for _, id := range attempt.RetrieverIDs {
		if len(retrievers) < mostSumRetrievers && !slices.Contains(retrievers, id) {
			retrievers = append(retrievers, RetrieverID(strings.Clone(string(id))))
		}
	}
	t.last = attempt.detached()
	t.last.RetrieverIDs = retrievers
	t.more++
}

// detached is a copy of the event that shares no text with the request, without its changes and lists.
func (e *Event) detached() Event {
	d := *e
	d.RetrieverIDs, d.Changes = nil, nil
	for _, s := range []*string{(*string)(&d.ID), (*string)(&d.Action), (*string)(&d.ResourceType), &d.ResourceID, &d.ActorID, (*string)(&d.InternalID), (*string)(&d.NamespaceID)} {
		*s = strings.Clone(*s)
	}
	d.IPAddress, d.UserAgent = detached(e.IPAddress, strings.Clone), detached(e.UserAgent, strings.Clone)
	d.ActorKeyID = detached(e.ActorKeyID, func(id ID) ID { return ID(strings.Clone(string(id))) })
	return d
}

func detached[T any](v *T, clone func(T) T) *T {
	if v == nil {
		return nil
	}
	return new(clone(*v))
}

// sum is the event that reports the count. Otherwise it is the last of the counted attempts, and appears in the lists of all of them, up
// to mostSumRetrievers.
func (t *tries) sum() Event {
	e := t.last
	e.Outcome = Denied
	e.Changes = []FieldChange{{Field: deniedAttempts, After: optional(strconv.Itoa(t.more))}}
	return e
}

// StoreDenials stores the counts after each minute, and those of the last minute when the context ends. A process that is killed loses
// these counts and nothing else.
func (s *Service) StoreDenials(ctx context.Context, logger *slog.Logger) {
	tick := time.NewTicker(storeSumsEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.storeSums(ctx, logger, false)
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastStoreOfSums)
			defer cancel()
			s.storeSums(ctx, logger, true)
			return
		}
	}
}

// storeSums stores the counts of past minutes, or all of them at the end. After an outage it tries again. A count that the store refuses
// for another reason is logged and dropped.
func (s *Service) storeSums(ctx context.Context, logger *slog.Logger, end bool) {
	for _, e := range s.denials.due(s.now(), end) {
		err := s.Store.InsertEvent(ctx, e)
		if err != nil {
			logger.WarnContext(ctx, "how many attempts of a key were denied could not be stored", "key", text(idText(e.ActorKeyID)), "attempts", text(e.Changes[0].After), "error", err)
		}
		if err != nil && Classify(err).Code == Unavailable {
			return
		}
		s.denials.drop(e.ID)
	}
}

// due returns the counts that can be stored.
func (d *denials) due(now time.Time, end bool) []Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	if end {
		for who, t := range d.actors {
			d.end(who, t)
		}
	}
	d.sumUp(minuteOf(now))
	return slices.Clone(d.sums)
}

// drop forgets a count that was stored.
func (d *denials) drop(id EventID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sums = slices.DeleteFunc(d.sums, func(e Event) bool { return e.ID == id })
}
