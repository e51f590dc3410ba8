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

// denials remember the attempts that were denied within this minute, so that trying again and again costs the store little.
// Of one actor's attempts a minute ten are stored, each kind once and before it is answered. The others are counted, and one
// event says later how many there were. Each process remembers its own: several may store ten each, but not one kind twice,
// because the store recognizes its id.
type denials struct {
	mu     sync.Mutex
	actors map[actor]*tries
	sums   []Event // how many more attempts of past minutes there were, still to be stored
}

// actor is who tries: a key, or an operator by name.
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

// wish is what a request asks for, before anything was looked up, and what its caller's key says that it may do. Empty where nothing is
// named.
type wish struct {
	action    Action
	namespace string // by id or name
	resource  string
	of        string   // the retriever, by id or name, that the resource must be of
	rights    [32]byte // equal for equal rights
}

func (c Caller) wish(action Action, namespace, resource string) wish {
	as := wish{action: action, namespace: namespace, resource: resource}
	if k := c.Key; k != nil {
		as.rights = sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q", k.Type, k.Permissions, k.Scopes, text(k.OrganizationID)))
	}
	return as
}

// tries are what an actor tried in vain within a minute.
type tries struct {
	minute int64
	kept   []*denial // those that have events, or are to have them
	more   int       // the others
	last   Event     // of the others
}

// denial is one kind of attempt.
type denial struct {
	action   Action
	resource string
	as       wish // the last of its kind that is answered again without a look; empty if there is none
	refused  error
	stored   bool
	done     chan struct{} // closed when it is stored, or could not be
}

const (
	// keptDenials is how many kinds of attempts of an actor have an event of their own within a minute.
	keptDenials = 10
	// mostActors is how many actors of one organization are remembered, and sums of theirs, where no other organization has any.
	mostActors = 1000
	// mostOfAll is how many of all organizations are.
	mostOfAll = 2 * mostActors
	// mostSumRetrievers is how many retrievers' lists a sum appears in.
	mostSumRetrievers = 100
	// storeSumsEvery is how often sums are looked for.
	storeSumsEvery = 2 * time.Second
	// lastStoreOfSums bounds the storing at the end.
	lastStoreOfSums = 5 * time.Second
	// deniedAttempts is what a sum says in place of a changed field.
	deniedAttempts = "denied_attempts"
)

// denied makes the event of an attempt that was denied. Its id is the same for all attempts of one actor, action and
// resource within a minute, so that storing them all stores one. Organizations may use the same ids, and a store may keep
// all their events together, so whose it is counts too.
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

// deny returns why the caller is refused, once the attempt is remembered: as an event in the store, or, beyond the first
// ten, in a number. If it cannot be stored, the caller learns of the outage instead. Callers who are not known here leave
// nothing behind. With an empty wish, a repetition is not answered by again.
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
		case <-d.done: // and if it is not stored, this one has to be
		case <-ctx.Done():
			return Outage(ctx.Err())
		}
	}
}

func (s *Service) storeDenial(ctx context.Context, who actor, d *denial, attempt Event) (err error) {
	stored := false
	defer func() { s.denials.settle(who, d, stored) }() // after a panic too, for others wait
	err = s.Store.InsertEvent(ctx, attempt.denied())
	stored = err == nil
	return err
}

// note remembers an attempt. It returns nothing more to do where it is stored or counted; otherwise the denial that the
// caller has to store, if they are the first, or else has to wait for.
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
				Code: Unavailable, Message: "This is not permitted, and the attempt cannot be recorded now, because too many others are. Try again in a minute.", RetryAfter: time.Minute,
			}
		}
		t = &tries{minute: minuteOf(now)}
		if d.actors == nil {
			d.actors = map[actor]*tries{}
		}
		d.actors[actor{InternalID(strings.Clone(string(who.tenant))), who.kind, strings.Clone(who.id)}] = t
	}
	// What is named may be a part of the request's text, which must not be kept with it.
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
			return k, false, nil // it may fail, and leave its place
		}
	}
	t.count(attempt)
	return nil, false, nil
}

// full reports whether no other actor of the organization can be remembered. An organization may take a place as long as it has fewer
// than are free. So each one leaves places for the next, however many keys it has: the first can take a half of all, the
// second a half of the others, and so on.
func (d *denials) full(tenant InternalID) bool {
	free, own := mostOfAll-len(d.actors)-len(d.sums), 0
	if free > mostActors {
		return false // it cannot have as many
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

// settle ends the storing of a denial. One that could not be stored is forgotten.
func (d *denials) settle(who actor, k *denial, stored bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k.stored = stored
	close(k.done)
	if t := d.actors[who]; t != nil && !stored {
		t.kept = slices.DeleteFunc(t.kept, func(other *denial) bool { return other == k })
	}
}

// again returns why the same request was refused within this minute; nil where it was not. It is the same only while the caller's key
// has the same rights. Nothing has to be read to say so again: no request can change what another key may do and reach, and where
// somebody changes it in the database, or a name comes to mean another retriever, the answer is a refusal for the rest of the minute.
func (d *denials) again(who actor, as wish, now time.Time) error {
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

// triesOf returns the actor's tries of this minute; nil where there are none.
func (d *denials) triesOf(who actor, now time.Time) *tries {
	t := d.actors[who]
	if t != nil && t.over(minuteOf(now)) {
		d.end(who, t)
		return nil
	}
	return t
}

// over reports whether the minute has passed. Requests side by side may see the minutes change in another order; a clock
// that was set back must not stop the next minute from coming.
func (t *tries) over(minute int64) bool { return minute > t.minute || minute < t.minute-1 }

// end forgets an actor's tries, but for how many there were.
func (d *denials) end(who actor, t *tries) {
	delete(d.actors, who)
	if t.more > 0 {
		d.sums = append(d.sums, t.sum())
	}
}

// sumUp ends the tries of all minutes but this one.
func (d *denials) sumUp(minute int64) {
	for who, t := range d.actors {
		if t.over(minute) {
			d.end(who, t)
		}
	}
}

// count counts an attempt that has no event of its own.
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

// detached is the event with texts of its own, without what it changed and where it is listed.
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

// sum is the event that says how many attempts have none of their own. It is otherwise that of the last of them, and appears
// in the lists of all, up to a number.
func (t *tries) sum() Event {
	e := t.last
	e.Outcome = Denied
	e.Changes = []FieldChange{{Field: deniedAttempts, After: optional(strconv.Itoa(t.more))}}
	return e
}

// StoreDenials stores the events that say how many attempts have none of their own, after each minute. When the context ends
// it stores those of the last minute, too. A process that is killed loses these numbers and nothing else.
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

// storeSums stores the sums of the minutes that have passed, or, at the end, of all. What an outage hinders is tried again. What
// the store refuses for another reason it would refuse again: the log is told of it, and the others are stored.
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

// due returns the sums that can be stored.
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

// drop forgets a sum that is stored.
func (d *denials) drop(id EventID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sums = slices.DeleteFunc(d.sums, func(e Event) bool { return e.ID == id })
}
