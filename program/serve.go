package program

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"retrieverkeys/apikey"
	"retrieverkeys/graph"
	"retrieverkeys/ratelimit"
	"retrieverkeys/store"
	"retrieverkeys/store/mongodb"
	"retrieverkeys/store/sqlite"
	"retrieverkeys/telemetry"
	"retrieverkeys/web"
)

// Limits of the public listener.
const (
	maxHeaderBytes    = 16 << 10
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	drainTimeout      = 20 * time.Second
)

func (c *command) serve(ctx context.Context) (err error) {
	defer func() { // runs last
		if ctx.Err() != nil && err == nil {
			c.logger.InfoContext(ctx, "stopped")
		}
	}()
	build := version()
	metrics := telemetry.NewMetrics(build.number, build.commit)
	tracer, endTraces, err := c.tracer(ctx, build.number)
	if err != nil {
		return err
	}
	defer endTraces()
	engine, prepare, err := c.open(ctx, mongodb.WithTracer(tracer), mongodb.WithPool(mongodb.Pool{
		Open: metrics.Pool("open"), InUse: metrics.Pool("in_use"), Waiting: metrics.Pool("waiting"), Failed: metrics.CheckoutFailure,
	}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	if c.cfg.MongoURI == "" {
		for _, what := range sqlite.Exposed(c.cfg.EmbeddedPath) {
			c.logger.WarnContext(ctx, "other users can access the embedded store: "+what)
		}
	}
	engine = store.Observed(engine, store.Observer{Engine: c.engineName(), Called: metrics.StoreCall, Tracer: tracer})

	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", c.cfg.ListenAddr)
	if err != nil {
		return fmt.Errorf("LISTEN_ADDR: %w", err)
	}
	url := urlOf(listener.Addr())

	admin, err := c.serveAdmin(ctx, metrics)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer func() { err = errors.Join(err, admin()) }()

	limiter, closeLimiter, err := c.limiter(ctx, metrics)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer func() { err = errors.Join(err, closeLimiter()) }()

	usage := &apikey.Usage{Store: engine, Logger: c.logger, Lost: metrics.UsageLost}
	live := &apikey.Live{Store: engine, Logger: c.logger, Most: c.cfg.MaxStreams}
	service := &apikey.Service{
		Store: engine, Usage: usage, Live: live, RateLimit: c.cfg.RateLimit, Policy: apikey.Policy(c.cfg.Policy), LeakAction: apikey.LeakAction(c.cfg.LeakAction),
	}
	playground := ""
	if c.cfg.Playground {
		playground = "playground"
	}
	if c.leakKeys != nil {
		c.leakKeys.Logger = c.logger
	}
	connections := web.NewConnections(c.cfg.MaxConnections)
	share := answersWithin(debug.SetMemoryLimit(-1))
	answers := web.NewAnswers(share, metrics.Refused)
	if c.cfg.MaxResponseBytes > share/2 {
		c.logger.WarnContext(ctx, "GOMEMLIMIT is too low for responses of MAX_RESPONSE_BYTES", "largest", share/2)
	}
	draining := make(chan struct{})
	server := &http.Server{
		Handler: web.NewHandler(web.Options{
			Service: service,
			GraphQL: graph.NewHandler(graph.Options{
				Service: service, Version: build.number, Introspection: graph.Introspection(c.cfg.Introspection),
				Manifest: c.operations(), ManifestOnly: c.cfg.PersistedOnly, Limits: graph.Limits(c.cfg.Limits), Playground: playground, Logger: c.logger,
				MaxResponseBytes: min(c.cfg.MaxResponseBytes, share/2), Memory: answers,
				Streams: graph.Streams{Lasting: web.Lasting, Stopping: draining},
				Metrics: graph.Metrics{
					Operation: metrics.Operation, LimitRefusal: metrics.LimitRefusal, CacheLookups: metrics.CacheLookups,
					Streams: metrics.Streams, StreamEvents: metrics.StreamEvents, StreamEnded: metrics.StreamEnded,
				},
				Tracer: tracer,
			}),
			RefuseGraphQL:  graph.WriteError,
			Ready:          engine.Ping,
			Stopping:       ctx.Done(),
			Playground:     c.cfg.Playground,
			Console:        c.cfg.Console,
			LeakKeys:       c.leakKeys,
			WithoutREST:    !c.cfg.REST,
			CORS:           c.cors,
			Timeout:        c.cfg.RequestTimeout,
			MaxBodyBytes:   c.cfg.MaxBodyBytes,
			AuthFailures:   c.cfg.AuthFailures,
			MaxConcurrent:  c.cfg.MaxConcurrent,
			Answers:        answers,
			Limiter:        limiter,
			TrustedProxies: c.cfg.TrustedProxies,
			GatePath:       c.gatePath,
			Logger:         c.logger,
			Metrics: web.Metrics{
				Request: metrics.Request, Authentication: metrics.Authentication, Authorization: metrics.Authorization,
				Working: metrics.Working, Waiting: metrics.Waiting, Refused: metrics.Refused,
			},
			Tracer: tracer,
		}),
		MaxHeaderBytes:    maxHeaderBytes,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      c.cfg.RequestTimeout + readTimeout,
		IdleTimeout:       idleTimeout,
		ConnState:         connections.Track,
		ConnContext:       connections.Context,
		ErrorLog:          slog.NewLogLogger(c.logger.Handler(), slog.LevelWarn),
	}

	server.RegisterOnShutdown(func() { close(draining) })

	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var working sync.WaitGroup
	notices := apikey.Notices{Service: service, Logger: c.logger, Count: metrics.ExpiringKeys}
	working.Go(func() {
		if c.prepare(background, engine, prepare, url) {
			working.Go(func() { notices.Run(background) }) // needs an index
			c.countUnusable(background, engine, metrics)
		}
	})
	working.Go(func() { usage.Run(background) })
	working.Go(func() { live.Run(background) })
	working.Go(func() { usage.Forget(background, c.cfg.UsageDays, time.Now) })
	working.Go(func() { service.StoreDenials(background, c.logger) })
	if c.leakKeys != nil {
		working.Go(func() { c.leakKeys.Load(background) })
	}
	if c.cfg.AuditDays > 0 {
		c.logger.WarnContext(ctx, "AUDIT_RETENTION_DAYS is set: audit events that are older are deleted for good", "days", c.cfg.AuditDays)
		working.Go(func() { service.ForgetEvents(background, c.logger, c.cfg.AuditDays) })
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	c.logger.InfoContext(ctx, "serving", "url", url, "store", c.storeName())

	select {
	case err = <-served:
	case <-ctx.Done():
		c.logger.InfoContext(ctx, "stopping", "delay", c.cfg.ShutdownDelay.String())
		select {
		case err = <-served:
		case <-time.After(c.cfg.ShutdownDelay): // load balancers have seen by now that the server is not ready
			err = drain(context.WithoutCancel(ctx), server, drainTimeout)
		}
	}
	cancel() // after the last request, so that its usage is stored too
	working.Wait()
	return err
}

// operations returns the operations that run with PERSISTED_ONLY: the manifest's, and the console's while it is on.
func (c *command) operations() graph.Manifest {
	if !c.cfg.Console {
		return c.manifest
	}
	all := graph.Manifest(web.ConsoleOperations())
	maps.Copy(all, c.manifest)
	return all
}

// drain shuts the server down. Requests that are still running after the given time are aborted.
func drain(ctx context.Context, server *http.Server, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.Join(fmt.Errorf("requests that were still running after %v were aborted", within), server.Close())
	}
	return err
}

// urlOf returns a URL of the listener that works on this machine. For a wildcard address, which no client can open, it uses 127.0.0.1.
func urlOf(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if ip := net.ParseIP(host); err == nil && ip.IsUnspecified() {
		return "http://" + net.JoinHostPort("127.0.0.1", port)
	}
	return "http://" + a.String()
}

// tracer returns the tracer, or nil if traces are off. end flushes and stops it; call it after the last request.
func (c *command) tracer(ctx context.Context, version string) (tracer trace.Tracer, end func(), err error) {
	if c.cfg.Traces.URL == "" {
		return nil, func() {}, nil
	}
	tracer, stop, err := telemetry.NewTracer(ctx, c.cfg.Traces.URL, c.cfg.Traces.Service, version, c.logger)
	return tracer, func() { stop(context.WithoutCancel(ctx)) }, err
}

// limiter returns the rate limiter, for this process alone or shared through Redis, and a function that closes it.
func (c *command) limiter(ctx context.Context, metrics *telemetry.Metrics) (ratelimit.Limiter, func() error, error) {
	if c.cfg.RedisURL == "" {
		return ratelimit.NewMemory(time.Now), func() error { return nil }, nil
	}
	metrics.SharedLimits(true)
	shared, err := ratelimit.NewRedis(c.cfg.RedisURL, func(down error) {
		metrics.SharedLimits(down == nil)
		if down != nil {
			c.logger.WarnContext(ctx, "Redis does not answer; rate limits are counted by this process alone", "error", down)
			return
		}
		c.logger.InfoContext(ctx, "Redis answers again: rate limits are shared")
	})
	if err != nil {
		return nil, nil, err
	}
	return shared, shared.Close, nil
}
