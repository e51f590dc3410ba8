package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
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

// open opens the configured store. prepare makes its indexes, and fails while it cannot be reached. Only serve calls it, because building
// indexes can take hours; commands work without.
func (p *program) open(ctx context.Context, with ...mongodb.Option) (engine store.Engine, prepare func(context.Context) error, err error) {
	if p.cfg.MongoURI == "" {
		engine, err = sqlite.Open(ctx, p.cfg.EmbeddedPath)
		return engine, func(context.Context) error { return nil }, err
	}
	m, err := mongodb.Open(p.cfg.MongoURI, p.cfg.MongoDatabase, p.logger, append(with, mongodb.WithServerAPI(p.cfg.MongoServerAPI))...)
	if err != nil {
		return nil, nil, err
	}
	return m, m.Prepare, nil
}

// The listener's patience with clients.
const (
	maxHeaderBytes    = 16 << 10
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	drainTimeout      = 20 * time.Second
)

func (p *program) serve(ctx context.Context) (err error) {
	defer func() { // after all others
		if ctx.Err() != nil && err == nil {
			p.logger.InfoContext(ctx, "stopped")
		}
	}()
	build := version()
	metrics := telemetry.NewMetrics(build.number, build.commit)
	tracer, endTraces, err := p.tracer(ctx, build.number)
	if err != nil {
		return err
	}
	defer endTraces()
	engine, prepare, err := p.open(ctx, mongodb.WithTracer(tracer), mongodb.WithPool(mongodb.Pool{
		Open: metrics.Pool("open"), InUse: metrics.Pool("in_use"), Waiting: metrics.Pool("waiting"), Failed: metrics.CheckoutFailure,
	}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	if p.cfg.MongoURI == "" {
		for _, what := range sqlite.Exposed(p.cfg.EmbeddedPath) {
			p.logger.WarnContext(ctx, "the embedded store is open to others: "+what)
		}
	}
	engine = store.Observed(engine, store.Observer{Engine: p.engineName(), Called: metrics.StoreCall, Tracer: tracer})

	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", p.cfg.ListenAddr)
	if err != nil {
		return fmt.Errorf("LISTEN_ADDR: %w", err)
	}
	url := urlOf(listener.Addr())

	admin, err := p.serveAdmin(ctx, metrics)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer func() { err = errors.Join(err, admin()) }()

	limiter, closeLimiter, err := p.limiter(ctx, metrics)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer func() { err = errors.Join(err, closeLimiter()) }()

	usage := &apikey.Usage{Store: engine, Logger: p.logger}
	service := &apikey.Service{Store: engine, Usage: usage, RateLimit: p.cfg.RateLimit}
	playground := ""
	if p.cfg.Playground {
		playground = "/"
	}
	connections := web.NewConnections(p.cfg.MaxConnections)
	share := answersWithin(debug.SetMemoryLimit(-1))
	answers := web.NewAnswers(share, metrics.Refused)
	if p.cfg.MaxResponseBytes > share/2 {
		p.logger.WarnContext(ctx, "GOMEMLIMIT is too low for answers of MAX_RESPONSE_BYTES", "largest", share/2)
	}
	server := &http.Server{
		Handler: web.NewHandler(web.Options{
			Service: service,
			GraphQL: graph.NewHandler(graph.Options{
				Service: service, Version: build.number, Introspection: graph.Introspection(p.cfg.Introspection),
				Manifest: p.manifest, ManifestOnly: p.cfg.PersistedOnly, Limits: graph.Limits(p.cfg.Limits), Playground: playground, Logger: p.logger,
				MaxResponseBytes: min(p.cfg.MaxResponseBytes, share/2), Memory: answers,
				Metrics: graph.Metrics{Operation: metrics.Operation, LimitRefusal: metrics.LimitRefusal, CacheLookups: metrics.CacheLookups},
				Tracer:  tracer,
			}),
			RefuseGraphQL:  graph.WriteError,
			Ready:          engine.Ping,
			Stopping:       ctx.Done(),
			Playground:     p.cfg.Playground,
			WithoutREST:    !p.cfg.REST,
			CORS:           p.cors,
			Timeout:        p.cfg.RequestTimeout,
			MaxBodyBytes:   p.cfg.MaxBodyBytes,
			AuthFailures:   p.cfg.AuthFailures,
			MaxConcurrent:  p.cfg.MaxConcurrent,
			Answers:        answers,
			Limiter:        limiter,
			TrustedProxies: p.cfg.TrustedProxies,
			Logger:         p.logger,
			Metrics: web.Metrics{
				Request: metrics.Request, Authentication: metrics.Authentication,
				Working: metrics.Working, Waiting: metrics.Waiting, Refused: metrics.Refused,
			},
			Tracer: tracer,
		}),
		MaxHeaderBytes:    maxHeaderBytes,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      p.cfg.RequestTimeout + readTimeout,
		IdleTimeout:       idleTimeout,
		ConnState:         connections.Track,
		ConnContext:       connections.Context,
		ErrorLog:          slog.NewLogLogger(p.logger.Handler(), slog.LevelWarn),
	}

	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var working sync.WaitGroup
	working.Go(func() { p.prepare(background, engine, prepare, url, metrics) })
	working.Go(func() { usage.Run(background) })
	working.Go(func() { service.StoreDenials(background, p.logger) })
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	p.logger.InfoContext(ctx, "serving", "url", url, "store", p.storeName())

	select {
	case err = <-served:
	case <-ctx.Done():
		p.logger.InfoContext(ctx, "stopping", "delay", p.cfg.ShutdownDelay.String())
		select {
		case err = <-served:
		case <-time.After(p.cfg.ShutdownDelay): // whoever sends requests here has seen by now that it is not ready
			err = drain(context.WithoutCancel(ctx), server, drainTimeout)
		}
	}
	cancel() // after the last request: its use is stored too
	working.Wait()
	return err
}

// drain ends a server that accepts nothing any more and lets requests under way be answered, but not for ever.
func drain(ctx context.Context, server *http.Server, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.Join(fmt.Errorf("requests that were still under way after %v were cut off", within), server.Close())
	}
	return err
}

// serveAdmin serves what is for operators alone, if it is wanted. It returns what ends that.
func (p *program) serveAdmin(ctx context.Context, metrics *telemetry.Metrics) (stop func() error, err error) {
	if p.cfg.AdminAddr == "" {
		return func() error { return nil }, nil
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", p.cfg.AdminAddr)
	if err != nil {
		return nil, fmt.Errorf("ADMIN_ADDR: %w", err)
	}
	server := &http.Server{Handler: web.NewAdminHandler(metrics.Handler(), p.cfg.AdminAddr, p.cfg.AdminHosts), ReadHeaderTimeout: readHeaderTimeout}
	go func() { _ = server.Serve(listener) }() // it ends when it is closed
	p.logger.InfoContext(ctx, "serving metrics", "url", urlOf(listener.Addr())+"/metrics")
	return server.Close, nil
}

// urlOf is where whoever reads it on this machine finds the listener. One that listens everywhere has an address that opens nowhere.
func urlOf(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if ip := net.ParseIP(host); err == nil && ip.IsUnspecified() {
		return "http://" + net.JoinHostPort("127.0.0.1", port)
	}
	return "http://" + a.String()
}

// tracer returns a tracer, nil where there shall be no traces, and what ends it after the last request.
func (p *program) tracer(ctx context.Context, version string) (tracer trace.Tracer, end func(), err error) {
	if p.cfg.Traces.URL == "" {
		return nil, func() {}, nil
	}
	tracer, stop, err := telemetry.NewTracer(ctx, p.cfg.Traces.URL, p.cfg.Traces.Service, version, p.logger)
	return tracer, func() { stop(context.WithoutCancel(ctx)) }, err
}

// limiter returns what counts requests: for this process alone, or for all that share a Redis. It returns what ends that, too.
func (p *program) limiter(ctx context.Context, metrics *telemetry.Metrics) (ratelimit.Limiter, func() error, error) {
	if p.cfg.RedisURL == "" {
		return ratelimit.NewMemory(time.Now), func() error { return nil }, nil
	}
	metrics.SharedLimits(true)
	shared, err := ratelimit.NewRedis(p.cfg.RedisURL, func(down error) {
		metrics.SharedLimits(down == nil)
		if down != nil {
			p.logger.WarnContext(ctx, "Redis does not answer: this process counts rate limits for itself", "error", down)
			return
		}
		p.logger.InfoContext(ctx, "Redis answers again: rate limits are shared")
	})
	if err != nil {
		return nil, nil, err
	}
	return shared, shared.Close, nil
}

func (p *program) storeName() string {
	if p.cfg.MongoURI != "" {
		return p.engineName()
	}
	return p.cfg.EmbeddedPath
}

func (p *program) engineName() string {
	if p.cfg.MongoURI != "" {
		return "mongodb"
	}
	return "sqlite"
}

// How long to wait before trying again to reach a store that is down.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// prepare makes the store ready as soon as it can be reached, seeds the demo where it is wanted, and from then on
// reports every hour what no list shows. It has no deadline, because building an index can take hours. Requests are served
// meanwhile.
func (p *program) prepare(ctx context.Context, engine store.Engine, prepare func(context.Context) error, url string, metrics *telemetry.Metrics) {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		err := prepare(ctx)
		if err == nil && p.cfg.Demo {
			if err = p.demo(ctx, engine, url); errors.Is(err, errNobodyReads) {
				err = nil // the store is ready all the same, and the next start says how to make another key
			}
		}
		if err == nil {
			if wait > firstRetry {
				p.logger.InfoContext(ctx, "the store is ready")
			}
			break
		}
		if ctx.Err() == nil {
			p.logger.WarnContext(ctx, "the store is not ready yet", "error", err, "cause", errors.Unwrap(err), "retry_in", wait.String())
		}
		if !pause(ctx, wait) {
			return
		}
	}
	for {
		unusable, err := engine.CountUnusable(ctx)
		switch {
		case err == nil:
			metrics.UnusableKeys(unusable.Total())
			if unusable.NoHash > 0 {
				p.logger.WarnContext(ctx, "API key documents without a usable key_hash are not listed and authenticate nobody", "count", unusable.NoHash)
			}
			if unusable.NoID > 0 {
				p.logger.WarnContext(ctx, "API key documents without a key_id are not listed: run retrieverkeys repair", "count", unusable.NoID)
			}
		case ctx.Err() == nil:
			p.logger.WarnContext(ctx, "API key documents without a usable id or hash could not be counted", "error", err, "cause", errors.Unwrap(err))
		}
		if !pause(ctx, time.Hour) {
			return
		}
	}
}

// pause waits, and reports false if the context ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// healthcheckTimeout is how long a server may take to say whether it is ready. It knows within 0.6 s.
const healthcheckTimeout = time.Second

// healthcheck asks the server at LISTEN_ADDR whether it is ready.
func (p *program) healthcheck(ctx context.Context) error {
	host, port, err := net.SplitHostPort(p.cfg.ListenAddr)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("not ready: %s", strings.TrimSpace(string(body)))
	}
	return nil
}
