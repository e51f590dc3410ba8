package graph

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"go.opentelemetry.io/otel/trace"

	"retrieverkeys/apikey"
)

// Subscriptions over Server-Sent Events: GraphQL over SSE, in its mode of distinct connections. The goroutine of the request serves the
// stream. It takes events from the domain and has gqlgen's executor make a response of each.

// Streams configures subscriptions.
type Streams struct {
	// Lasting returns a context for a response that lasts longer than requests may take. It is canceled when the client leaves. Nil returns the
	// request's own context.
	Lasting func(context.Context) (context.Context, context.CancelFunc)
	// Stopping is closed when the process stops. Streams then break off. Nil never stops.
	Stopping <-chan struct{}
}

const (
	// beatEvery is how often a stream sends a comment. Proxies close connections that are silent for longer, often after 60 s.
	beatEvery = 15 * time.Second
	// decideEvery is how often a stream checks whether the caller may still follow it.
	decideEvery = 10 * time.Second
	// decideTimeout limits that decision.
	decideTimeout = 5 * time.Second
	// receiveTimeout is how long a client can take to receive what was written.
	receiveTimeout = 10 * time.Second
	// sentAtOnce is the length in bytes from which events are sent.
	sentAtOnce = 32 << 10
)

// The text of GraphQL over SSE. Complete has data, though empty, because EventSource ignores events without.
const (
	nextHead = "event: next\ndata: "
	nextTail = "\n\n"
	complete = "event: complete\ndata: \n\n"
	beat     = ":\n\n"
)

// The reasons why streams end, for metrics and the log. An error's code is another.
const (
	clientLeft     = "client"
	clientStalled  = "stalled" // it did not receive what was written
	clientBehind   = "behind"  // it received events more slowly than they happened
	processStopped = "shutdown"
)

// follow starts the events of a subscription. The transport puts each into the channel when it wants its response.
func (l *loader) follow(ctx context.Context, filter *apikey.EventFilter) (<-chan *apikey.Event, error) {
	follower, err := l.service.FollowEvents(ctx, l.caller, orZero(filter))
	if err != nil {
		return nil, err
	}
	l.follower, l.events = follower, make(chan *apikey.Event, 1)
	return l.events, nil
}

// subscribe answers a subscription. It returns when the stream has ended.
func (h handler) subscribe(ctx context.Context, w http.ResponseWriter, r *http.Request, op *graphql.OperationContext) {
	if len(graphql.CollectFields(op, op.Operation.SelectionSet, subscriptionImplementors)) != 1 {
		refuse(w, mediaEvents, http.StatusOK, apikey.Invalid("", "A subscription selects one field, which @skip and @include cannot leave out."))
		return
	}
	op.ResolverMiddleware = func(ctx context.Context, next graphql.Resolver) (any, error) { return next(ctx) }
	respond, ctx := h.exec.DispatchOperation(ctx, op)
	l := loaded(ctx)
	if l.follower == nil { // the only response is the error of the resolver
		response := respond(ctx)
		h.observer.observe(ctx, func(context.Context) *graphql.Response { return response })
		status := http.StatusOK
		if codeOf(response.Errors[0]) == string(apikey.Unavailable) {
			status = http.StatusServiceUnavailable
			w.Header().Set("Retry-After", "5")
		}
		write(w, mediaEvents, status, response.Errors)
		return
	}
	defer l.follower.Close()
	h.observer.observe(ctx, func(context.Context) *graphql.Response { return &graphql.Response{} })
	if h.streams.Lasting != nil {
		lasting, end := h.streams.Lasting(ctx)
		defer end()
		ctx = lasting
	}
	ctx = trace.ContextWithSpan(ctx, nil) // a trace with a span for each decision would have thousands
	s := &stream{handler: h, loader: l, w: w, control: http.NewResponseController(w), respond: respond, origin: r.Header.Get("Origin")}
	started, reason := time.Now(), string(apikey.Internal)
	s.metrics.Streams(1)
	defer func() {
		s.metrics.Streams(-1)
		s.metrics.StreamEnded(reason)
		s.logger.InfoContext(ctx, "stream ended", "reason", reason, "events", s.sent, "duration", time.Since(started))
		p := recover()
		if p != nil {
			_ = recoverer(s.logger)(ctx, p) // logs it
		}
		if p != nil || reason == processStopped || reason == clientStalled {
			panic(http.ErrAbortHandler) // clients open a stream again if its response is not whole
		}
	}()
	reason = s.run(ctx)
}

// stream is the response of one subscription.
type stream struct {
	handler
	*loader

	w       http.ResponseWriter
	control *http.ResponseController
	respond graphql.ResponseHandler
	origin  string       // of the page that sent the request; may be empty
	b       bytes.Buffer // what is not sent yet
	sent    int          // events
}

// always is a channel that always receives.
var always = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// run sends events until the stream ends, and returns the reason.
func (s *stream) run(ctx context.Context) (reason string) {
	setHeaders(s.w, mediaEvents, -1)
	s.w.WriteHeader(http.StatusOK)
	beats, decide := time.NewTicker(beatEvery), time.NewTicker(decideEvery)
	defer beats.Stop()
	defer decide.Stop()
	s.b.WriteString(beat) // with it, proxies pass the headers on
	more := s.follower.More()
	for {
		if !s.flush() {
			return clientStalled
		}
		// Select chooses at random, so every case is heard soon, even if there are always more events.
		select {
		case <-ctx.Done():
			return clientLeft
		case <-s.streams.Stopping:
			return processStopped
		case <-beats.C:
			s.b.WriteString(beat)
		case <-decide.C:
			if err := s.decide(ctx); err != nil && ctx.Err() == nil {
				return s.fail(ctx, err)
			}
		case <-more:
			left, err := s.take(ctx)
			if err != nil {
				return s.fail(ctx, err)
			}
			if more = s.follower.More(); left {
				more = always
			}
		}
	}
}

// decide returns an error if the caller may no longer follow the stream.
func (s *stream) decide(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, decideTimeout)
	defer cancel()
	return s.service.MayStillFollow(ctx, s.caller, s.origin)
}

// take makes the responses of events that have happened. It reports whether there may be more.
func (s *stream) take(ctx context.Context) (left bool, err error) {
	taken := 0
	defer func() { s.metrics.StreamEvents(taken) }()
	for s.b.Len() < sentAtOnce {
		e, err := s.follower.Next()
		if e == nil {
			return false, err
		}
		select {
		case s.events <- e:
		case <-ctx.Done(): // the one before may still be in the channel: gqlgen does not take it if the client has left
			return false, nil
		}
		response := s.respond(ctx)
		if response == nil { // the client has left
			return false, nil
		}
		s.next(response)
		taken++
	}
	return true, nil
}

// next appends a response.
func (s *stream) next(r *graphql.Response) {
	s.b.WriteString(nextHead)
	if len(r.Errors) > 0 {
		s.b.Write(errorsText(r.Errors, r.Data))
	} else {
		s.b.WriteString(`{"data":`)
		s.b.Write(r.Data)
		s.b.WriteByte('}')
	}
	s.b.WriteString(nextTail)
	s.sent++
}

// fail tells the client why the stream ends, and returns the reason.
func (s *stream) fail(ctx context.Context, err error) (reason string) {
	e := apikey.Classify(err)
	if e.Code == apikey.Unavailable || e.Code == apikey.Internal {
		s.logger.WarnContext(ctx, "a stream could not continue", "code", e.Code, "error", err, "cause", errors.Unwrap(e))
	}
	s.b.WriteString(nextHead)
	s.b.Write(errorsText(gqlerror.List{{Message: e.Message, Extensions: extensions(e)}}, nil))
	s.b.WriteString(nextTail + complete)
	switch {
	case !s.flush():
		return clientStalled
	case errors.Is(err, apikey.ErrBehind):
		return clientBehind
	default:
		return string(e.Code)
	}
}

// flush sends what is not sent yet, and reports whether the client received it, as far as that can be seen.
func (s *stream) flush() bool {
	if s.b.Len() == 0 {
		return true
	}
	_ = s.control.SetWriteDeadline(time.Now().Add(receiveTimeout)) // fails only without a connection, and then no client can stall
	_, err := s.w.Write(s.b.Bytes())
	if s.b.Reset(); s.b.Cap() > 2*sentAtOnce {
		s.b = bytes.Buffer{}
	}
	return err == nil && s.control.Flush() == nil
}
