package systemtest

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"retrieverkeys/program"
	"retrieverkeys/program/programtest"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collector receives traces like OpenTelemetry's collector.
type collector struct {
	*httptest.Server
	mu       sync.Mutex
	received []byte
	spans    []*tracepb.Span
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var sent collectorpb.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &sent)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.received = append(c.received, body...)
		for _, resource := range sent.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				c.spans = append(c.spans, scope.GetSpans()...)
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// all returns the spans of a trace and all bytes received.
func (c *collector) all(trace string) ([]*tracepb.Span, []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var spans []*tracepb.Span
	for _, s := range c.spans {
		if hex.EncodeToString(s.GetTraceId()) == trace {
			spans = append(spans, s)
		}
	}
	return spans, c.received
}

// tree returns the spans below a parent as indented lines with their attributes, siblings sorted by name.
func tree(spans []*tracepb.Span, parent, indent string) string {
	var below []*tracepb.Span
	for _, s := range spans {
		if hex.EncodeToString(s.GetParentSpanId()) == parent {
			below = append(below, s)
		}
	}
	slices.SortFunc(below, func(a, b *tracepb.Span) int { return cmp.Compare(a.GetName(), b.GetName()) })
	var b strings.Builder
	for _, s := range below {
		fmt.Fprintf(&b, "%s%s", indent, s.GetName())
		for _, a := range s.GetAttributes() {
			if text := a.GetValue().GetStringValue(); a.GetKey() == "outcome" || a.GetKey() == "db.collection.name" || a.GetKey() == "graphql.operation.id" {
				fmt.Fprintf(&b, " %s=%s", a.GetKey(), text)
			}
		}
		b.WriteString("\n" + tree(spans, hex.EncodeToString(s.GetSpanId()), indent+"  "))
	}
	return b.String()
}

// A trace shows where a request's time went and is part of the caller's trace. It contains nothing that clients sent and no secret, because
// traces often go to another company's servers.
func TestTraces(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = programtest.Seeded(t, d)
		c := newCollector(t)
		d.Env["OTEL_EXPORTER_OTLP_ENDPOINT"] = c.URL
		s := programtest.Serve(t, d.Env)
		changing := strings.Replace(programtest.CallersTrace, "0af7", "1af7", 1)
		read := s.QueryInTrace(programtest.CallersTrace, `query Secret($id: ID!) { retriever(id: $id) { apiKeys(first: 2) { results { keyId name } total } } }`, programtest.Fields{"id": "ret_main"})
		made := s.QueryInTrace(changing, `mutation Secret { createApiKey(input: {retrieverId: "ret_main", name: "a_secret"}) { apiKey { keyId } key } }`, nil)
		failed := s.QueryInTrace(strings.Replace(programtest.CallersTrace, "0af7", "2af7", 1), `{ retriever(id: "a_secret") { id } }`, nil)
		s.Request("BREW", "/v1/retrievers/a_secret/api-keys", "", map[string]string{"Authorization": "Bearer " + programtest.Token("admin"), "X-Request-Id": "sk_a_secret"})
		var payload struct {
			Data struct {
				CreateAPIKey struct {
					APIKey struct{ KeyID string }
					Key    string
				}
			}
		}
		if err := json.Unmarshal([]byte(made.Body), &payload); err != nil || payload.Data.CreateAPIKey.Key == "" || read.Status != http.StatusOK || len(failed.Codes(t)) != 1 {
			t.Fatalf("%v in %s, %s, %s", err, read.Body, made.Body, failed.Body)
		}
		if !strings.Contains(s.Stderr.String(), `"trace_id":"`+programtest.CallersTrace+`"`) {
			t.Errorf("no trace in the log:\n%s", s.Stderr)
		}
		s.Stop()

		label := programtest.HashOf("Secret")[:8]
		query := "POST /graphql\n" +
			"  graphql query graphql.operation.id=" + label + " outcome=ok\n" +
			"    lookUp\n"
		change := "POST /graphql\n" +
			"  graphql mutation graphql.operation.id=" + label + " outcome=ok\n" +
			"    createApiKey\n"
		for _, want := range []struct{ trace, begins, call, command string }{
			{programtest.CallersTrace, query, "      store KeyPages outcome=ok\n", "        mongodb find db.collection.name=api_keys\n"},
			{changing, change, "      store InsertKey outcome=ok\n", "        mongodb insert db.collection.name=api_keys\n"},
		} {
			spans, _ := c.all(want.trace)
			got := tree(spans, programtest.CallersSpan, "")
			if !strings.HasPrefix(got, want.begins) || !strings.Contains(got, want.call) || !strings.Contains(got, "  store KeysByHash outcome=ok\n") {
				t.Errorf("%s", got)
			}
			if strings.Contains(got, want.command) != (d.Name == "mongodb") {
				t.Errorf("commands in %s", got)
			}
			if n := strings.Count(got, "\n"); n != len(spans) {
				t.Errorf("got %d of %d spans below the caller's span", n, len(spans))
			}
		}
		_, received := c.all("")
		key := payload.Data.CreateAPIKey
		for _, secret := range []string{
			"a_secret", programtest.Token("admin"), programtest.HashOf(programtest.Token("admin")), key.Key, programtest.HashOf(key.Key), key.APIKey.KeyID, "key_caller_admin", "ret_main", "int_a", "Secret", "apiKeys(",
		} {
			if bytes.Contains(received, []byte(secret)) {
				t.Errorf("the traces contain %s", secret)
			}
		}
		for _, want := range []string{"request-7", "/v1/retrievers/{retriever_id}/api-keys", "_OTHER", "retrieverkeys", "NOT_FOUND"} {
			if !bytes.Contains(received, []byte(want)) {
				t.Errorf("the traces do not contain %s", want)
			}
		}
	})
}

// Without an endpoint, or for a caller whose trace is not sampled, the server sends no traces.
func TestTracesAreOff(t *testing.T) {
	for name, set := range map[string]programtest.Fields{
		"nothing set": {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
		"disabled":    {"OTEL_SDK_DISABLED": "TRUE"},
		"no exporter": {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCollector(t)
			d := programtest.Embedded(t)
			d.Env["OTEL_EXPORTER_OTLP_ENDPOINT"] = c.URL
			maps.Copy(d.Env, set)
			s := programtest.Serve(t, d.Env)
			s.Request(http.MethodGet, "/openapi.json", "", map[string]string{"Traceparent": "00-" + programtest.CallersTrace + "-" + programtest.CallersSpan + "-01"})
			s.Stop()
			if _, received := c.all(""); len(received) > 0 || strings.Contains(s.Stderr.String(), "trace_id") {
				t.Errorf("%d bytes; %s", len(received), s.Stderr)
			}
		})
	}
	for name, c := range map[string]struct{ sampler, flags string }{"sampler": {"always_off", "01"}, "caller": {"", "00"}} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OTEL_TRACES_SAMPLER", c.sampler)
			to := newCollector(t)
			d := programtest.Embedded(t)
			d.Env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = to.URL + "/v1/traces"
			s := programtest.Serve(t, d.Env)
			s.Request(http.MethodGet, "/openapi.json", "", map[string]string{"Traceparent": "00-" + programtest.CallersTrace + "-" + programtest.CallersSpan + "-" + c.flags})
			s.Stop()
			if _, received := to.all(""); len(received) > 0 || !strings.Contains(s.Stderr.String(), programtest.CallersTrace) {
				t.Errorf("%d bytes; %s", len(received), s.Stderr)
			}
		})
	}
}

// If the collector hangs or refuses traces, only traces are lost: requests are answered, the process ends, and the log reports it once, without
// the address, which may contain a key.
func TestCollectorOutage(t *testing.T) {
	// Only the server's own timeout ends an export that hangs.
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000")
	t.Setenv("OTEL_BSP_EXPORT_TIMEOUT", "3600000")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
	for name, status := range map[string]int{"hangs": 0, "refuses": http.StatusUnauthorized, "is not there": -1} {
		t.Run(name, func(t *testing.T) {
			asked, abandoned := make(chan struct{}, 1000), make(chan struct{}, 1000)
			c := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				asked <- struct{}{}
				if status > 0 {
					w.WriteHeader(status)
					return
				}
				<-r.Context().Done()
				abandoned <- struct{}{}
			}))
			defer c.Close()
			if status < 0 {
				c.Close()
			}
			d := programtest.Embedded(t)
			d.Env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = c.URL + "/a_secret"
			s := programtest.Serve(t, d.Env)
			for range 20 {
				if got := s.Query("", "", "{ serverInfo { version } }"); got.Status != http.StatusOK {
					t.Fatalf("%d %s", got.Status, got.Body)
				}
			}
			if status >= 0 {
				<-asked
			}
			if code := s.Stop(); code != program.ExitOK {
				t.Errorf("exit code %d", code)
			}
			if status == 0 {
				<-abandoned
			}
			log := s.Stderr.String()
			if n := strings.Count(log, "the trace collector does not accept spans"); n > 1 || n == 0 && status > 0 || strings.Contains(log, "a_secret") {
				t.Errorf("%d times:\n%s", n, log)
			}
			if want := `"reason":"401 Unauthorized"`; status > 0 && !strings.Contains(log, want) {
				t.Errorf("no %s in\n%s", want, log)
			}
		})
	}
}

// Wrong settings stop the start. The error does not contain the value, because a header for the collector can contain a key.
func TestWrongSettingsOfTraces(t *testing.T) {
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json", "OTEL_TRACES_EXPORTER": "zipkin",
		"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://user:a_secret@example.com",
	} {
		env := programtest.Fields{"EMBEDDED_PATH": t.TempDir() + "/keys.db", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
		env[name] = value
		code, _, errs := programtest.Command(t, env, "serve")
		if code != program.ExitUsage || !strings.Contains(errs, "retrieverkeys: "+name+" must ") || strings.Contains(errs, "a_secret") {
			t.Errorf("%s: exit code %d\n%s", name, code, errs)
		}
	}
}

// The SDK reads the other variables itself. The log reports an invalid one without its value, and the server runs.
func TestTheSDKsOwnSettings(t *testing.T) {
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_HEADERS": "api-key a_secret", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "api-key=%zza_secret",
		"OTEL_EXPORTER_OTLP_TIMEOUT": "a_secret", "OTEL_TRACES_SAMPLER": "a_secret", "OTEL_EXPORTER_OTLP_CERTIFICATE": "a_secret.pem",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			d := programtest.Embedded(t)
			d.Env["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:1"
			s := programtest.Serve(t, d.Env)
			s.Stop()
			if log := s.Stderr.String(); !strings.Contains(log, "OpenTelemetry reported") || strings.Contains(log, "a_secret") {
				t.Errorf("%s", log)
			}
		})
	}
}
