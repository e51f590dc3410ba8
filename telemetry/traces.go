package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"regexp"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// flushTimeout is how long the process waits at the end for the collector to accept the remaining spans.
const flushTimeout = 3 * time.Second

// NewTracer returns a tracer that sends spans to the collector, and a function that flushes and closes it. Spans that the collector does not
// accept are lost: requests never wait for it or fail with it. The SDK reads its settings from the environment of the process.
func NewTracer(ctx context.Context, collector, service, version string, logger *slog.Logger) (trace.Tracer, func(context.Context), error) {
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {
		logger.WarnContext(ctx, "OpenTelemetry reported an error: check the OTEL variables")
	}))
	otel.SetLogger(logr.FromSlogHandler(sdkLog{logger}))
	otlp, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(collector))
	if err != nil {
		return nil, nil, errors.New("traces cannot be sent: the TLS settings in OTEL_EXPORTER_OTLP_* do not fit together")
	}
	described, err := resource.New(ctx, resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", service), attribute.String("service.version", version)), resource.WithFromEnv())
	if err != nil {
		return nil, nil, errors.New("traces cannot be sent: OTEL_RESOURCE_ATTRIBUTES cannot be read")
	}
	abandon, cancel := context.WithCancel(context.WithoutCancel(ctx))
	provider := sdktrace.NewTracerProvider(sdktrace.WithResource(described),
		sdktrace.WithBatcher(&exporter{SpanExporter: otlp, abandon: abandon, logger: logger}))
	return provider.Tracer("retrieverkeys"), func(ctx context.Context) {
		ctx, done := context.WithTimeout(ctx, flushTimeout)
		defer done()
		_ = provider.Shutdown(ctx) // exporter logs lost spans
		cancel()
	}, nil
}

// sdkLog logs what the SDK complains about, such as a variable that it cannot parse. It leaves out the details: they show values, and
// a header's value can be a key.
type sdkLog struct{ logger *slog.Logger }

func (l sdkLog) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }
func (l sdkLog) WithAttrs([]slog.Attr) slog.Handler               { return l }
func (l sdkLog) WithGroup(string) slog.Handler                    { return l }

func (l sdkLog) Handle(ctx context.Context, r slog.Record) error {
	l.logger.WarnContext(ctx, "OpenTelemetry reported a problem: check the OTEL variables", "problem", r.Message)
	return nil
}

// exporter logs lost spans at intervals. The SDK would log every error with the collector's URL, which can contain a key.
type exporter struct {
	sdktrace.SpanExporter
	abandon context.Context //nolint:containedctx // it ends a running export when flushTimeout is over
	logger  *slog.Logger

	mu     sync.Mutex
	lost   int       // spans since the last log line
	logged time.Time // the last log line
}

// logEvery is the interval between log lines about lost spans.
const logEvery = 10 * time.Minute

// ExportSpans never fails, because its caller could do nothing about a failure.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.abandon, cancel)()
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lost += len(spans)
	if time.Since(e.logged) >= logEvery {
		e.logger.WarnContext(ctx, "the trace collector does not accept spans", "lost", e.lost, "reason", reason(err))
		e.lost, e.logged = 0, time.Now()
	}
	return nil
}

// statusIn finds the status of a collector's response in an error.
var statusIn = regexp.MustCompile(`: ([1-5]\d\d [A-Z][A-Za-z -]*) \(`)

// reason returns why spans were not accepted, without the collector's URL and the text of its response.
func reason(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err.Error()
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return "the collector did not respond in time"
	}
	if status := statusIn.FindStringSubmatch(err.Error()); status != nil {
		return status[1]
	}
	return "the response is not a collector's"
}
