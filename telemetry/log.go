// Package telemetry provides the logger, the metrics and the tracer of a process.
package telemetry

import (
	"context"
	"io"
	"log/slog"
)

// NewLogger returns a logger that writes lines of text or JSON. It adds the context's attributes to each line and redacts everything that looks
// like a secret.
func NewLogger(w io.Writer, format string, level slog.Level, attributes func(context.Context) []slog.Attr) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewJSONHandler(w, options)
	if format == "text" {
		h = slog.NewTextHandler(w, options)
	}
	return slog.New(contextHandler{h, attributes})
}

type contextHandler struct {
	slog.Handler
	attributes func(context.Context) []slog.Attr
}

func (h contextHandler) Handle(ctx context.Context, r slog.Record) error {
	r.AddAttrs(h.attributes(ctx)...)
	return h.Handler.Handle(ctx, redactRecord(r))
}

func (h contextHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean, _ := redactAttrs(attrs)
	return contextHandler{h.Handler.WithAttrs(clean), h.attributes}
}

func (h contextHandler) WithGroup(name string) slog.Handler {
	return contextHandler{h.Handler.WithGroup(name), h.attributes}
}
