// Package program is the whole of retrieverkeys but main: it chooses the implementations, composes them, serves, and has the commands.
package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"

	"go.opentelemetry.io/otel/trace"

	"retrieverkeys/apikey"
	"retrieverkeys/config"
	"retrieverkeys/graph"
	"retrieverkeys/ratelimit"
	"retrieverkeys/store/mongodb"
	"retrieverkeys/telemetry"
	"retrieverkeys/web"
)

// The exit codes.
const (
	ExitOK     = 0
	ExitFailed = 1
	ExitUsage  = 2 // wrong settings, flags or commands: nothing was started
	ExitAlive  = 3 // keys scan --exit-code found a key that is alive
)

// run is the whole program but for what only a process has. It returns the exit code when the work is done or the
// context ends.
func Run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	defer runtime.KeepAlive(ballast(getenv))
	cfg, problems := config.Parse(args, getenv)
	stdout = output{stdout}
	if cfg.Help {
		config.WriteHelp(stdout, cfg.Topic)
		return ExitOK
	}
	if cfg.MongoURI != "" {
		if err := mongodb.CheckURI(cfg.MongoURI); err != nil {
			problems = append(problems, fmt.Errorf("MONGODB_URI %w", err))
		}
	}
	if cfg.RedisURL != "" {
		if err := ratelimit.CheckURL(cfg.RedisURL); err != nil {
			problems = append(problems, fmt.Errorf("REDIS_URL %w", err))
		}
	}
	p := program{cfg: cfg, stdin: stdin, stdout: stdout, stderr: stderr}
	var errs []error
	if p.manifest, errs = readManifest(ctx, cfg); errs != nil {
		problems = append(problems, about("PERSISTED_OPERATIONS", errs)...)
	}
	p.cors, errs = web.NewCORS(cfg.CORSOrigins, cfg.CORSHeaders...)
	problems = append(problems, errs...)
	if len(problems) > 0 {
		for _, p := range problems {
			complain(stderr, p)
		}
		_, _ = fmt.Fprintln(stderr, "retrieverkeys --help tells the commands and settings.")
		return ExitUsage
	}
	format := cfg.LogFormat
	if format == "" && isTerminal(stderr) {
		format = "text"
	}
	p.logger = telemetry.NewLogger(stderr, format, cfg.LogLevel, func(ctx context.Context) []slog.Attr {
		var attributes []slog.Attr
		if id := web.RequestID(ctx); id != "" {
			attributes = append(attributes, slog.String("request_id", id))
		}
		if cfg.Traces.URL != "" {
			if span := trace.SpanContextFromContext(ctx); span.IsValid() {
				attributes = append(attributes, slog.String("trace_id", span.TraceID().String()))
			}
		}
		return attributes
	})
	command := map[string]func(context.Context) error{
		"":                p.serve,
		"serve":           p.serve,
		"bootstrap":       p.bootstrap,
		"import":          p.importFile,
		"repair":          p.repair,
		"backup":          p.backup,
		"keys list":       p.listKeys,
		"keys create":     p.createKey,
		"keys rotate":     p.rotateKey,
		"keys revoke":     p.revokeKey,
		"keys scan":       p.scanFiles,
		"namespaces list": p.listNamespaces,
		"retrievers list": p.listRetrievers,
		"indexes":         p.indexes,
		"schema":          p.schema,
		"healthcheck":     p.healthcheck,
		"completion":      p.completion,
		"version":         p.version,
	}[cfg.Command]
	return p.exit(ctx, command(ctx))
}

// exit says what a command ended with, and returns the exit code.
func (p *program) exit(ctx context.Context, err error) int {
	if err == nil {
		return ExitOK
	}
	if e, ok := errors.AsType[*apikey.Error](err); ok && errors.Unwrap(e) != nil {
		p.logger.ErrorContext(ctx, "the command failed", "cause", errors.Unwrap(e)) // the message is one for clients, and tells no cause
	}
	said := complain(p.stderr, err)
	switch {
	case errors.Is(err, errAlive):
		return ExitAlive
	case !said:
		return ExitOK
	default:
		return ExitFailed
	}
}

// program is one run of the program.
type program struct {
	cfg            config.Config
	stdin          io.Reader
	stdout, stderr io.Writer
	logger         *slog.Logger
	manifest       graph.Manifest
	cors           web.CORS
}

// readManifest reads the file of persisted operations, if there is one.
func readManifest(ctx context.Context, cfg config.Config) (graph.Manifest, []error) {
	if cfg.Persisted == "" {
		return nil, nil
	}
	text, err := os.ReadFile(cfg.Persisted)
	if err != nil {
		return nil, []error{err}
	}
	manifest, errs := graph.ReadManifest(ctx, text, graph.Limits(cfg.Limits))
	return manifest, about(cfg.Persisted, errs)
}

// about says of each error what it is about.
func about(what string, errs []error) []error {
	for i, err := range errs {
		errs[i] = fmt.Errorf("%s %w", what, err)
	}
	return errs
}
