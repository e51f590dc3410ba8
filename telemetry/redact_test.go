package telemetry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// hostile are texts that contain a secret, each with SECRET in its place.
var hostile = []string{
	"ret_sk_SECRET", "sk_test_SECRET_0007", "TOKEN_sk_SECRET", `{"key":"sk_SECRET"}`, "key=sk_SECRET&x=1",
	"Authorization: Bearer SECRET", "bearer  SECRET", "BEARER SECRET", "BeArEr SECRET",
	"mongodb://user:SECRET@db.example.com/platform", "mongodb+srv://SECRET:p/w@db", "redis://:SECRET@127.0.0.1:6379", "dial postgres://u:p@SECRET@h: refused",
	"https://example.com/path?token=SECRET", "GET /graphql?access_token=SECRET HTTP/1.1", "/v1/x?SECRET",
	"hash " + strings.Repeat("0a", 31) + "SECRET",
}

// planted puts a secret into a hostile text. In a hash, the secret is hexadecimal.
func planted(text string) (planted, secret string) {
	secret = "s3cr3tValue"
	if strings.HasPrefix(text, "hash") {
		secret = "DEADBEEF"
	}
	return strings.ReplaceAll(text, "SECRET", secret), secret
}

// valuer reveals its value only when it is logged.
type valuer string

func (v valuer) LogValue() slog.Value { return slog.StringValue(string(v)) }

// stringer has a harmless String, but a secret in its field.
type stringer struct{ Text string }

func (stringer) String() string { return "harmless" }

// panicking panics when it is encoded.
type panicking struct{}

func (panicking) MarshalJSON() ([]byte, error) { panic("sk_panicked_SECRET") }

// Without this, a log line that nobody thought of publishes a secret.
func TestNoLineContainsASecret(t *testing.T) {
	for _, text := range hostile {
		text, secret := planted(text)
		err := fmt.Errorf("outer: %w", errors.Join(errors.New("harmless"), &url.Error{Op: "Get", URL: text, Err: errors.New(text)}))
		for name, log := range map[string]func(*slog.Logger){
			"message":       func(l *slog.Logger) { l.Info("before " + text + " after") },
			"string":        func(l *slog.Logger) { l.Info("m", "a", 1, "text", "before "+text) },
			"error":         func(l *slog.Logger) { l.Error("m", "error", err) },
			"panic":         func(l *slog.Logger) { l.Error("panic", "value", any(text), "stack", "goroutine 1\n"+text+"\n") },
			"group":         func(l *slog.Logger) { l.Info("m", slog.Group("a", slog.Group("b", "text", text, "n", 1))) },
			"before":        func(l *slog.Logger) { l.With("text", text).Info("m") },
			"before, group": func(l *slog.Logger) { l.WithGroup("g").With(slog.Group("a", "error", err)).Info("m") },
			"valuer":        func(l *slog.Logger) { l.Info("m", "v", valuer(text)) },
			"stringer":      func(l *slog.Logger) { l.Info("m", "v", stringer{text}) },
			"list":          func(l *slog.Logger) { l.Info("m", "v", []string{"x", text}) },
			"map":           func(l *slog.Logger) { l.Info("m", "v", map[string]any{"x": []any{text}}) },
			"bytes":         func(l *slog.Logger) { l.Info("m", "v", []byte(text)) },
			"of the context": func(l *slog.Logger) {
				l.InfoContext(context.WithValue(t.Context(), textKey{}, text), "m")
			},
			"standard library": func(l *slog.Logger) { slog.NewLogLogger(l.Handler(), slog.LevelWarn).Print("http: panic: " + text) },
		} {
			for _, format := range []string{"json", "text"} {
				var out bytes.Buffer
				log(NewLogger(&out, format, slog.LevelInfo, fromContext))
				if line := out.String(); strings.Contains(line, secret) || !strings.Contains(line, redacted) && !strings.Contains(line, "harmless") {
					t.Errorf("%s, %s: %q gives %s", name, format, text, line)
				}
			}
		}
	}
}

type textKey struct{}

func fromContext(ctx context.Context) []slog.Attr {
	if text, ok := ctx.Value(textKey{}).(string); ok {
		return []slog.Attr{slog.String("text", text)}
	}
	return nil
}

// A log that hides harmless text is useless.
func TestHarmlessTextIsLogged(t *testing.T) {
	var out bytes.Buffer
	l := NewLogger(&out, "json", slog.LevelInfo, fromContext)
	l.Info("serving", "url", "http://127.0.0.1:8080", "route", "GET /v1/retrievers/{retriever_id}/api-keys", "status", 200, "duration", time.Second,
		"store", "data/retrieverkeys.db", "trace_id", "0af7651916cd43dd8448eb211c80319c", "error", errors.New("the disk_is_full"), "prefix", "sk_a",
		"list", []int{1, 2}, slog.Group("group", "key_id", "key_01j"), "panicking", panicking{})
	line := out.String()
	if strings.Contains(line, "panicked_SECRET") {
		t.Errorf("the line contains the panic value: %s", line)
	}
	for _, want := range []string{
		`"msg":"serving"`, `"url":"http://127.0.0.1:8080"`, `"route":"GET /v1/retrievers/{retriever_id}/api-keys"`, `"status":200`, `"duration":1000000000`,
		`"store":"data/retrieverkeys.db"`, `"trace_id":"0af7651916cd43dd8448eb211c80319c"`, `"error":"the disk_is_full"`, `"prefix":"sk_a"`, `"list":[1,2]`, `"group":{"key_id":"key_01j"}`,
	} {
		if !strings.Contains(line, want) {
			t.Errorf("no %s in %s", want, line)
		}
	}
}

// A key is found in any surrounding text.
func TestAKeyIsFoundInAnyText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, after := rapid.String().Draw(t, "before"), rapid.String().Draw(t, "after")
		if n := len(before); n > 0 && (before[n-1]|0x20 >= 'a' && before[n-1]|0x20 <= 'z') {
			before += " " // a letter before the key makes it part of another word
		}
		if got := redact(before + "ret_sk_0123456789abcdef" + after); strings.Contains(got, "0123456789abcdef") {
			t.Fatalf("%q", got)
		}
	})
}

func BenchmarkLog(b *testing.B) {
	l := NewLogger(discard{}, "json", slog.LevelInfo, func(context.Context) []slog.Attr { return []slog.Attr{slog.String("request_id", "request-7")} })
	for b.Loop() {
		l.InfoContext(b.Context(), "request", "method", "POST", "route", "/graphql", "status", 200, "bytes", int64(1000), "cut", false, "duration", time.Millisecond)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
