package storetest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"retrieverkeys/apikey"
	"retrieverkeys/store"
	"retrieverkeys/store/document"
)

// eventsAgreeWithModel stores random events of two tenants at a time, among them odd ones that keys carry, asks for random lists of them, and
// compares every answer with the model's. Otherwise a filter could hide the one event that matters, or show another tenant's.
func eventsAgreeWithModel(t *testing.T, e store.Engine) {
	setUnlessAsked(t, "rapid.checks", "20")
	setUnlessAsked(t, "rapid.seed", "1")
	rapid.Check(t, func(t *rapid.T) {
		tenants, docs := drawTrail(t)
		var batch document.Batch
		for i, raw := range docs {
			event, ok := document.Event(raw)
			if ok && rapid.Bool().Draw(t, "insert") {
				if err := e.InsertEvent(t.Context(), event); err != nil {
					t.Fatal(err)
				}
				continue
			}
			tenant, _ := raw.Lookup("internal_id").StringValueOK()
			id := fmt.Sprintf("key_of_%s_%d", tenant, i)
			batch.Keys = append(batch.Keys, encode(overlay(completeKey(id), doc("internal_id", tenant, "pending_events", bson.A{raw}))))
		}
		if _, err := e.Import(t.Context(), batch, document.ImportOptions{}); err != nil {
			t.Fatal(err)
		}
		for range 40 {
			tenant := one(t, "tenant", append(slices.Clone(tenants), "int_nobody"))
			l := apikey.EventList{
				Where: drawEventConditions(t), After: drawEventPosition(t, docs), Before: drawEventPosition(t, docs),
				FromEnd: rapid.Bool().Draw(t, "from end"), Limit: one(t, "limit", []int{1, 2, 3, 5, 1000}),
			}
			want := decoded(docs, document.Event, func(e apikey.Event) bool { return e.InternalID == tenant && happened(&e, &l.Where) })
			n, err := e.CountEvents(t.Context(), tenant, l.Where)
			if err != nil || n != len(want) {
				t.Fatalf("CountEvents(%s, %s) = %d, %v, want %d", tenant, inJSON(l.Where), n, err, len(want))
			}
			slices.SortFunc(want, newestFirst)
			want = slices.DeleteFunc(want, func(e apikey.Event) bool {
				at := apikey.EventPosition{Timestamp: e.Timestamp, ID: e.ID}
				return l.After != nil && !older(at, *l.After) || l.Before != nil && !older(*l.Before, at)
			})
			got, err := e.EventPage(t.Context(), tenant, l)
			if diff := gocmp.Diff(cut(want, l.FromEnd, l.Limit), got, anyEmpty); err != nil || diff != "" {
				t.Fatalf("EventPage(%s, %s): %v (-want +got)\n%s", tenant, inJSON(l), err, diff)
			}
		}
	})
}

// There are few values, so that they collide. The empty text is what a missing value is read as, except for the address and the actor's key.
var (
	eventTimes   = []time.Time{instant, instant.Add(time.Millisecond), instant.AddDate(0, 0, -1), time.UnixMilli(-1).UTC()}
	eventActors  = []string{"usr_a", "usr_A", "key_1", ""}
	eventKeys    = []string{"key_1", "key_10", "usr_a", ""}
	eventActions = []string{"api_key_created", "api_key_revoked", "permission_updated", ""}
	addresses    = []string{"203.0.113.9", "203.0.113.90", "2001:db8::1", ""}
	outcomes     = []string{"success", "denied", ""}
	actorTypes   = []string{"user", "operator", "system", ""}
)

// drawTrail draws the documents of events of two tenants that no other trail has.
func drawTrail(t *rapid.T) (tenants []apikey.InternalID, docs []bson.Raw) {
	world := worlds.Add(1)
	for i := range 2 {
		tenant := fmt.Sprintf("int_trail_%d_%d", world, i)
		tenants = append(tenants, apikey.InternalID(tenant))
		for _, suffix := range distinct(t, keyIDs) {
			id := fmt.Sprintf("evt_%d_%d_%s", world, i, suffix)
			d := doc("_id", id, "internal_id", tenant)
			id = one(t, "audit_id", []string{id, id, id, id, id, ""}) // an event without an id is in no list
			d = append(d, doc("audit_id", id)...)
			d = append(d, optional(t, "timestamp", append(slices.Concat(values(eventTimes), values(eventTimes)), beyondDates, "2026")...)...)
			for _, field := range []struct {
				name   string
				values []string
			}{
				{"namespace_id", namespaceIDs}, {"resource_id", eventKeys}, {"action", eventActions}, {"actor_id", eventActors},
				{"actor_type", actorTypes}, {"actor_key_id", eventKeys}, {"status", outcomes}, {"ip_address", addresses},
			} {
				d = append(d, optional(t, field.name, append(values(field.values), nil, 7, bson.A{field.values[0]}, bson.A{}, bson.D{})...)...)
			}
			d = append(d, optional(t, "resource_type", "api_key", "galaxy", 7)...)
			if rapid.IntRange(0, 5).Draw(t, "retrievers") == 0 {
				d = append(d, optional(t, "retriever_ids", nil, "ret_a", 7, bson.A{7, "", bson.D{}}, bson.A{"ret_a", 7, "ret_a"}, doc("0", "ret_a"))...)
			} else {
				d = append(d, doc("retriever_ids", some(t, retrieverIDs))...)
			}
			docs = append(docs, encode(d))
		}
	}
	return tenants, docs
}

// drawEventConditions draws conditions on events. Most set few.
func drawEventConditions(t *rapid.T) (where apikey.EventConditions) {
	for range rapid.IntRange(0, 4).Draw(t, "conditions") {
		switch rapid.IntRange(0, 12).Draw(t, "condition") {
		case 0:
			where.Naming = append([]apikey.RetrieverID{}, some(t, as[apikey.RetrieverID](append(retrieverIDs, "ret_nowhere", "")))...)
		case 1:
			where.Naming = []apikey.RetrieverID{apikey.RetrieverID(one(t, "naming", retrieverIDs))}
		case 2:
			where.Retriever = drawText[apikey.RetrieverID](t, retrieverIDs)
		case 3:
			where.Namespace = drawText[apikey.NamespaceID](t, append(namespaceIDs, ""))
		case 4:
			where.About = drawText[apikey.ID](t, eventKeys)
		case 5:
			where.Actions = distinct(t, as[apikey.Action](eventActions))
		case 6:
			where.ActorID = drawText[string](t, eventActors)
		case 7:
			where.ActorType = drawText[apikey.ActorType](t, actorTypes)
		case 8:
			where.ActorKeyID = drawText[apikey.ID](t, eventKeys)
		case 9:
			where.IPAddress = drawText[string](t, addresses)
		case 10:
			where.Outcome = drawText[apikey.Outcome](t, outcomes)
		case 11:
			where.Happened.From = drawEventTime(t)
		default:
			where.Happened.Until = drawEventTime(t)
		}
	}
	return where
}

func drawText[T ~string](t *rapid.T, of []string) *T {
	text := T(one(t, "text", of))
	return &text
}

func drawEventTime(t *rapid.T) *time.Time {
	at := one(t, "time", eventTimes).Add(one(t, "later", []time.Duration{0, 0, time.Microsecond, -time.Microsecond, time.Millisecond}))
	return &at
}

// drawEventPosition draws an event's position, a position without an event, or none.
func drawEventPosition(t *rapid.T, docs []bson.Raw) *apikey.EventPosition {
	events := decoded(docs, document.Event, func(apikey.Event) bool { return true })
	switch kind := rapid.IntRange(0, 3).Draw(t, "position"); {
	case kind == 0 && len(events) > 0:
		e := one(t, "position of", events)
		return &apikey.EventPosition{Timestamp: e.Timestamp, ID: e.ID}
	case kind == 1:
		return &apikey.EventPosition{Timestamp: one(t, "time", eventTimes), ID: apikey.EventID(one(t, "id", []string{"", "evt_", "zzz"}))}
	default:
		return nil
	}
}

// happened reports whether the event meets the conditions, one by one as they are documented.
func happened(e *apikey.Event, where *apikey.EventConditions) bool {
	names := func(id apikey.RetrieverID) bool { return slices.Contains(e.RetrieverIDs, id) }
	return (where.Naming == nil || slices.ContainsFunc(where.Naming, names)) &&
		(where.Retriever == nil || names(*where.Retriever)) &&
		(where.Namespace == nil || e.NamespaceID == *where.Namespace) &&
		(where.About == nil || e.ResourceID == string(*where.About)) &&
		(where.Actions == nil || slices.Contains(where.Actions, e.Action)) &&
		(where.ActorID == nil || e.ActorID == *where.ActorID) &&
		(where.ActorType == nil || e.ActorType == *where.ActorType) &&
		(where.ActorKeyID == nil || e.ActorKeyID != nil && *e.ActorKeyID == *where.ActorKeyID) &&
		(where.IPAddress == nil || e.IPAddress != nil && *e.IPAddress == *where.IPAddress) &&
		(where.Outcome == nil || e.Outcome == *where.Outcome) &&
		(where.Happened.From == nil || !e.Timestamp.Before(*where.Happened.From)) &&
		(where.Happened.Until == nil || e.Timestamp.Before(*where.Happened.Until))
}

func newestFirst(a, b apikey.Event) int {
	return cmp.Or(b.Timestamp.Compare(a.Timestamp), cmp.Compare(b.ID, a.ID))
}

func inJSON(v any) string {
	text, _ := json.Marshal(v) // nothing in it cannot be encoded
	return string(text)
}

// eventsOfManyRetrievers: A list of the events that name one of very many retrievers must be complete, and an event that names several of
// them must be in it once. Otherwise a caller who sees a large part of a namespace would miss events, or count them twice.
func eventsOfManyRetrievers(t *testing.T, e store.Engine) {
	ns := apikey.NamespaceID("ns_1")
	retriever := func(i int) apikey.RetrieverID { return apikey.RetrieverID(fmt.Sprintf("ret_%03d", i)) }
	var stored []apikey.Event
	for i := range 300 {
		event := newEvent(fmt.Sprintf("evt_%03d", i), "key_1", instant.Add(time.Duration(i*37%300/7)*time.Millisecond))
		event.RetrieverIDs = []apikey.RetrieverID{retriever(i), retriever(i + 1)}
		if i%10 == 0 {
			event.NamespaceID = "ns_2"
		}
		if err := e.InsertEvent(t.Context(), event); err != nil {
			t.Fatal(err)
		}
		stored = append(stored, event)
	}
	slices.SortFunc(stored, newestFirst)
	for _, n := range []int{1, 2, 40, 100, 299} {
		where := apikey.EventConditions{Namespace: &ns, Naming: []apikey.RetrieverID{}}
		for i := range n {
			where.Naming = append(where.Naming, retriever(i+1))
		}
		want := slices.DeleteFunc(slices.Clone(stored), func(e apikey.Event) bool { return !happened(&e, &where) })
		count, err := e.CountEvents(t.Context(), OddTenant, where)
		equal(t, fmt.Sprintf("CountEvents of %d retrievers", n), len(want), count, err)
		for _, fromEnd := range []bool{false, true} {
			for _, limit := range []int{1, 25, 1000} {
				page, err := e.EventPage(t.Context(), OddTenant, apikey.EventList{Where: where, FromEnd: fromEnd, Limit: limit})
				equal(t, fmt.Sprintf("EventPage of %d retrievers, limit %d, from end %t", n, limit, fromEnd), cut(want, fromEnd, limit), page, err)
			}
		}
	}
}
