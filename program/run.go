// Package program runs retrieverkeys: it reads the settings, opens the store, and runs the server or another command.
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
	"retrieverkeys/github"
	"retrieverkeys/graph"
	"retrieverkeys/ratelimit"
	"retrieverkeys/store/mongodb"
	"retrieverkeys/telemetry"
	"retrieverkeys/web"
)

// Exit codes.
const (
	ExitOK     = 0
	ExitFailed = 1
	ExitUsage  = 2 // a setting, flag or command is wrong; nothing was started
	ExitActive = 3 // keys scan --exit-code found an active key
)

// Run runs the command that args name and returns the exit code. The server runs until ctx is done.
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
	c := command{cfg: cfg, stdin: stdin, stdout: stdout, stderr: stderr}
	var errs []error
	var err error
	if c.manifest, errs = readManifest(ctx, cfg); errs != nil {
		problems = append(problems, prefixed("PERSISTED_OPERATIONS", errs)...)
	}
	if c.leakKeys, err = readLeakKeys(cfg); err != nil {
		problems = append(problems, err)
	}
	if c.gatePath, err = web.NewGatePath(cfg.GatePath); err != nil {
		problems = append(problems, fmt.Errorf("GATE_PATH=%q %w", cfg.GatePath, err))
	}
	c.cors, errs = web.NewCORS(cfg.CORSOrigins, cfg.CORSHeaders...)
	problems = append(problems, errs...)
	if problems = append(problems, c.wrongFlags()...); len(problems) > 0 {
		return c.misused(problems...)
	}
	format := cfg.LogFormat
	if format == "" && isTerminal(stderr) {
		format = "text"
	}
	c.logger = telemetry.NewLogger(stderr, format, cfg.LogLevel, func(ctx context.Context) []slog.Attr {
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
	run := map[string]func(context.Context) error{
		"":                c.serve,
		"serve":           c.serve,
		"bootstrap":       c.bootstrap,
		"import":          c.importFile,
		"repair":          c.repair,
		"backup":          c.backup,
		"keys list":       c.listKeys,
		"keys create":     c.createKey,
		"keys rotate":     c.rotateKey,
		"keys revoke":     c.revokeKeys,
		"keys scan":       c.scanFiles,
		"namespaces list": c.listNamespaces,
		"retrievers list": c.listRetrievers,
		"indexes":         c.indexes,
		"schema":          c.schema,
		"healthcheck":     c.healthcheck,
		"completion":      c.completion,
		"version":         c.version,
	}[cfg.Command]
	return c.exit(ctx, run(ctx))
}

// exit prints the error, if there is one, and returns the exit code for it.
func (c *command) exit(ctx context.Context, err error) int {
	if err == nil {
		return ExitOK
	}
	if e, ok := errors.AsType[*apikey.Error](err); ok && errors.Unwrap(e) != nil {
		c.logger.ErrorContext(ctx, "the command failed", "cause", errors.Unwrap(e)) // the error's own message is for clients and omits the cause
	}
	if e, ok := errors.AsType[*apikey.Error](err); ok && e.Code == apikey.BadUserInput {
		return c.misused(err)
	}
	printed := complain(c.stderr, err)
	switch {
	case errors.Is(err, errActive):
		return ExitActive
	case !printed:
		return ExitOK
	default:
		return ExitFailed
	}
}

// misused prints what is wrong with the command line or the settings.
func (c *command) misused(problems ...error) int {
	for _, p := range problems {
		complain(c.stderr, p)
	}
	_, _ = fmt.Fprintln(c.stderr, "Run 'retrieverkeys --help' for commands and settings.")
	return ExitUsage
}

// command is one run of a command: its settings and streams.
type command struct {
	cfg            config.Config
	stdin          io.Reader
	stdout, stderr io.Writer
	logger         *slog.Logger
	manifest       graph.Manifest
	cors           web.CORS
	gatePath       web.GatePath
	leakKeys       *github.Keys
}

// readManifest reads the file of persisted operations, if one is configured.
func readManifest(ctx context.Context, cfg config.Config) (graph.Manifest, []error) {
	if cfg.Persisted == "" {
		return nil, nil
	}
	text, err := os.ReadFile(cfg.Persisted)
	if err != nil {
		return nil, []error{err}
	}
	manifest, errs := graph.ReadManifest(ctx, text, graph.Limits(cfg.Limits))
	return manifest, prefixed(cfg.Persisted, errs)
}

// readLeakKeys reads the file of GitHub's public keys, if one is configured. A URL is read by the server.
func readLeakKeys(cfg config.Config) (*github.Keys, error) {
	if cfg.LeakKeys == "" {
		return nil, nil
	}
	keys := &github.Keys{Source: cfg.LeakKeys}
	if err := keys.Check(); err != nil {
		return nil, fmt.Errorf("GITHUB_LEAK_KEYS=%q %w", cfg.LeakKeys, err)
	}
	return keys, nil
}

// prefixed adds a prefix to each error's message.
func prefixed(prefix string, errs []error) []error {
	for i, err := range errs {
		errs[i] = fmt.Errorf("%s %w", prefix, err)
	}
	return errs
}
