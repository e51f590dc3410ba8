package store

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// Observer is called for each store call. It never sees the data of a call.
type Observer struct {
	Engine string // the engine's name in spans
	// Called gets the outcome of a call: ok, unavailable, error, or canceled if the client disconnected. If an outage
	// of a concurrent call canceled this one, the outcome is unavailable.
	Called func(call, outcome string, took time.Duration)
	Tracer trace.Tracer // starts a span for each call inside a recorded span; nil: no spans
}

// Observed returns an engine that reports every call to the observer. A call waits until the Cost of its request allows
// one more.
func Observed(e Engine, o Observer) Engine { return observed{e, o} }

type observed struct {
	engine   Engine
	observer Observer
}

// errPanicked is the error of a call that panicked.
var errPanicked = errors.New("the call panicked")

// see makes one call and reports it.
func see[T any](ctx context.Context, o *Observer, call string, f func(context.Context) (T, error)) (value T, err error) {
	ended, err := apikey.CostFrom(ctx).Call(ctx)
	if err != nil {
		return value, err
	}
	defer ended()
	var span trace.Span
	if o.Tracer != nil && trace.SpanFromContext(ctx).IsRecording() {
		ctx, span = o.Tracer.Start(ctx, "store "+call, trace.WithAttributes(attribute.String("store.engine", o.Engine), attribute.String("store.call", call)))
	}
	start := time.Now()
	err = errPanicked
	defer func() {
		outcome := outcomeOf(ctx, err)
		o.Called(call, outcome, time.Since(start))
		if span != nil {
			span.SetAttributes(attribute.String("outcome", outcome))
			if err != nil {
				span.SetStatus(codes.Error, outcome)
			}
			span.End()
		}
	}()
	return f(ctx)
}

func outcomeOf(ctx context.Context, err error) string {
	switch {
	case err == nil, errors.Is(err, document.ErrNotEmpty): // the demo expects it
		return "ok"
	case errors.Is(ctx.Err(), context.Canceled) && apikey.Classify(context.Cause(ctx)).Code != apikey.Unavailable:
		return "canceled"
	case apikey.Classify(err).Code == apikey.Unavailable:
		return "unavailable"
	default:
		return "error"
	}
}

// done is see for a call that returns only an error.
func done(ctx context.Context, o *Observer, call string, f func(context.Context) error) error {
	_, err := see(ctx, o, call, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) })
	return err
}

func (o observed) KeysByHash(ctx context.Context, hash string) ([]apikey.Key, error) {
	return see(ctx, &o.observer, "KeysByHash", func(ctx context.Context) ([]apikey.Key, error) { return o.engine.KeysByHash(ctx, hash) })
}

func (o observed) Keys(ctx context.Context, tenant apikey.InternalID, ids []apikey.ID, fields apikey.Fields) ([]apikey.Key, error) {
	return see(ctx, &o.observer, "Keys", func(ctx context.Context) ([]apikey.Key, error) { return o.engine.Keys(ctx, tenant, ids, fields) })
}

func (o observed) KeysWithHashes(ctx context.Context, tenant apikey.InternalID, hashes []string, fields apikey.Fields) ([]apikey.Key, error) {
	return see(ctx, &o.observer, "KeysWithHashes", func(ctx context.Context) ([]apikey.Key, error) {
		return o.engine.KeysWithHashes(ctx, tenant, hashes, fields)
	})
}

func (o observed) KeyPages(ctx context.Context, tenant apikey.InternalID, retrievers []apikey.RetrieverID, l apikey.KeyList) ([][]apikey.Key, error) {
	return see(ctx, &o.observer, "KeyPages", func(ctx context.Context) ([][]apikey.Key, error) {
		return o.engine.KeyPages(ctx, tenant, retrievers, l)
	})
}

func (o observed) KeyPage(ctx context.Context, tenant apikey.InternalID, l apikey.KeyList) ([]apikey.Key, error) {
	return see(ctx, &o.observer, "KeyPage", func(ctx context.Context) ([]apikey.Key, error) { return o.engine.KeyPage(ctx, tenant, l) })
}

func (o observed) CountKeys(ctx context.Context, tenant apikey.InternalID, where apikey.KeyConditions) (int, error) {
	return see(ctx, &o.observer, "CountKeys", func(ctx context.Context) (int, error) { return o.engine.CountKeys(ctx, tenant, where) })
}

func (o observed) AnswersOf(ctx context.Context, tenant apikey.InternalID, ids []apikey.ID, from, to apikey.Day) ([]apikey.KeyDay, error) {
	return see(ctx, &o.observer, "AnswersOf", func(ctx context.Context) ([]apikey.KeyDay, error) {
		return o.engine.AnswersOf(ctx, tenant, ids, from, to)
	})
}

func (o observed) MatchingKeys(ctx context.Context, tenant apikey.InternalID, l apikey.KeyList, f func(apikey.Key) (more bool)) error {
	return done(ctx, &o.observer, "MatchingKeys", func(ctx context.Context) error { return o.engine.MatchingKeys(ctx, tenant, l, f) })
}

func (o observed) EachKey(ctx context.Context, tenant apikey.InternalID, fields apikey.Fields, f func(*apikey.Key)) (int, error) {
	return see(ctx, &o.observer, "EachKey", func(ctx context.Context) (int, error) { return o.engine.EachKey(ctx, tenant, fields, f) })
}

func (o observed) Namespaces(ctx context.Context, tenant apikey.InternalID, refs []string) ([]apikey.Namespace, error) {
	return see(ctx, &o.observer, "Namespaces", func(ctx context.Context) ([]apikey.Namespace, error) { return o.engine.Namespaces(ctx, tenant, refs) })
}

func (o observed) NamespacesOf(ctx context.Context, tenant apikey.InternalID) ([]apikey.Namespace, error) {
	return see(ctx, &o.observer, "NamespacesOf", func(ctx context.Context) ([]apikey.Namespace, error) { return o.engine.NamespacesOf(ctx, tenant) })
}

func (o observed) Retrievers(ctx context.Context, tenant apikey.InternalID, ids []apikey.RetrieverID) ([]apikey.Retriever, error) {
	return see(ctx, &o.observer, "Retrievers", func(ctx context.Context) ([]apikey.Retriever, error) { return o.engine.Retrievers(ctx, tenant, ids) })
}

func (o observed) RetrieversNamed(ctx context.Context, tenant apikey.InternalID, ns apikey.NamespaceID, names []string) ([]apikey.Retriever, error) {
	return see(ctx, &o.observer, "RetrieversNamed", func(ctx context.Context) ([]apikey.Retriever, error) {
		return o.engine.RetrieversNamed(ctx, tenant, ns, names)
	})
}

func (o observed) RetrieverPage(ctx context.Context, tenant apikey.InternalID, ns apikey.NamespaceID, r apikey.RetrieverRange) ([]apikey.Retriever, error) {
	return see(ctx, &o.observer, "RetrieverPage", func(ctx context.Context) ([]apikey.Retriever, error) {
		return o.engine.RetrieverPage(ctx, tenant, ns, r)
	})
}

func (o observed) CountRetrievers(ctx context.Context, tenant apikey.InternalID, ns apikey.NamespaceID) (int, error) {
	return see(ctx, &o.observer, "CountRetrievers", func(ctx context.Context) (int, error) { return o.engine.CountRetrievers(ctx, tenant, ns) })
}

func (o observed) CurrentKeys(ctx context.Context, tenant apikey.InternalID, ids ...apikey.ID) ([]apikey.Key, error) {
	return see(ctx, &o.observer, "CurrentKeys", func(ctx context.Context) ([]apikey.Key, error) {
		return o.engine.CurrentKeys(ctx, tenant, ids...)
	})
}

func (o observed) CurrentKeysWithHashes(ctx context.Context, tenant *apikey.InternalID, hashes []string) ([]apikey.Key, error) {
	return see(ctx, &o.observer, "CurrentKeysWithHashes", func(ctx context.Context) ([]apikey.Key, error) {
		return o.engine.CurrentKeysWithHashes(ctx, tenant, hashes)
	})
}

func (o observed) InsertKey(ctx context.Context, k apikey.Key, e apikey.Event) error {
	return done(ctx, &o.observer, "InsertKey", func(ctx context.Context) error { return o.engine.InsertKey(ctx, k, e) })
}

func (o observed) ChangeKey(ctx context.Context, c apikey.Change) (bool, error) {
	return see(ctx, &o.observer, "ChangeKey", func(ctx context.Context) (bool, error) { return o.engine.ChangeKey(ctx, c) })
}

func (o observed) UseKeys(ctx context.Context, uses []apikey.Use) error {
	return done(ctx, &o.observer, "UseKeys", func(ctx context.Context) error { return o.engine.UseKeys(ctx, uses) })
}

func (o observed) AddAnswers(ctx context.Context, days []apikey.KeyDay) (apikey.NotAdded, error) {
	return see(ctx, &o.observer, "AddAnswers", func(ctx context.Context) (apikey.NotAdded, error) { return o.engine.AddAnswers(ctx, days) })
}

func (o observed) DeleteAnswers(ctx context.Context, before apikey.Day, limit int) (bool, error) {
	return see(ctx, &o.observer, "DeleteAnswers", func(ctx context.Context) (bool, error) {
		return o.engine.DeleteAnswers(ctx, before, limit)
	})
}

func (o observed) ExpiringKeys(ctx context.Context, after apikey.ExpiryPosition, before time.Time, limit int) ([]apikey.Key, error) {
	return see(ctx, &o.observer, "ExpiringKeys", func(ctx context.Context) ([]apikey.Key, error) {
		return o.engine.ExpiringKeys(ctx, after, before, limit)
	})
}

func (o observed) StoredEvents(ctx context.Context, events []apikey.EventRef) ([]apikey.EventRef, error) {
	return see(ctx, &o.observer, "StoredEvents", func(ctx context.Context) ([]apikey.EventRef, error) { return o.engine.StoredEvents(ctx, events) })
}

func (o observed) InsertEvent(ctx context.Context, e apikey.Event) error {
	return done(ctx, &o.observer, "InsertEvent", func(ctx context.Context) error { return o.engine.InsertEvent(ctx, e) })
}

func (o observed) EventPage(ctx context.Context, tenant apikey.InternalID, l apikey.EventList) ([]apikey.Event, error) {
	return see(ctx, &o.observer, "EventPage", func(ctx context.Context) ([]apikey.Event, error) { return o.engine.EventPage(ctx, tenant, l) })
}

func (o observed) CountEvents(ctx context.Context, tenant apikey.InternalID, where apikey.EventConditions) (int, error) {
	return see(ctx, &o.observer, "CountEvents", func(ctx context.Context) (int, error) { return o.engine.CountEvents(ctx, tenant, where) })
}

func (o observed) ArrivedEvents(ctx context.Context, tenant apikey.InternalID, r apikey.FeedRange) (apikey.FeedPage, error) {
	return see(ctx, &o.observer, "ArrivedEvents", func(ctx context.Context) (apikey.FeedPage, error) { return o.engine.ArrivedEvents(ctx, tenant, r) })
}

func (o observed) TenantsOfEvents(ctx context.Context) ([]apikey.InternalID, error) {
	return see(ctx, &o.observer, "TenantsOfEvents", o.engine.TenantsOfEvents)
}

func (o observed) DeleteEvents(ctx context.Context, tenant apikey.InternalID, before time.Time, limit int) (bool, error) {
	return see(ctx, &o.observer, "DeleteEvents", func(ctx context.Context) (bool, error) { return o.engine.DeleteEvents(ctx, tenant, before, limit) })
}

func (o observed) Import(ctx context.Context, from document.Source, options document.ImportOptions) (document.Imported, error) {
	return see(ctx, &o.observer, "Import", func(ctx context.Context) (document.Imported, error) { return o.engine.Import(ctx, from, options) })
}

func (o observed) OrganizationNamespaces(ctx context.Context, name string) ([]apikey.Namespace, error) {
	return see(ctx, &o.observer, "OrganizationNamespaces", func(ctx context.Context) ([]apikey.Namespace, error) {
		return o.engine.OrganizationNamespaces(ctx, name)
	})
}

func (o observed) NamespacesCalled(ctx context.Context, ref string) ([]apikey.Namespace, error) {
	return see(ctx, &o.observer, "NamespacesCalled", func(ctx context.Context) ([]apikey.Namespace, error) { return o.engine.NamespacesCalled(ctx, ref) })
}

func (o observed) AllNamespaces(ctx context.Context) ([]apikey.Namespace, error) {
	return see(ctx, &o.observer, "AllNamespaces", o.engine.AllNamespaces)
}

func (o observed) TenantsOfKeys(ctx context.Context) ([]apikey.InternalID, error) {
	return see(ctx, &o.observer, "TenantsOfKeys", o.engine.TenantsOfKeys)
}

func (o observed) KeysWithID(ctx context.Context, ids ...apikey.ID) ([]apikey.Key, error) {
	return see(ctx, &o.observer, "KeysWithID", func(ctx context.Context) ([]apikey.Key, error) { return o.engine.KeysWithID(ctx, ids...) })
}

func (o observed) KeysWithPrefix(ctx context.Context, prefixes []string) ([]apikey.Key, error) {
	return see(ctx, &o.observer, "KeysWithPrefix", func(ctx context.Context) ([]apikey.Key, error) {
		return o.engine.KeysWithPrefix(ctx, prefixes)
	})
}

func (o observed) CountUnusable(ctx context.Context) (document.Unusable, error) {
	return see(ctx, &o.observer, "CountUnusable", o.engine.CountUnusable)
}

func (o observed) Repair(ctx context.Context, options document.RepairOptions) (document.Repaired, error) {
	return see(ctx, &o.observer, "Repair", func(ctx context.Context) (document.Repaired, error) { return o.engine.Repair(ctx, options) })
}

func (o observed) Ping(ctx context.Context) error {
	return done(ctx, &o.observer, "Ping", o.engine.Ping)
}

func (o observed) Close() error { return o.engine.Close() }
