package main

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

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collector takes traces as OpenTelemetry's collector does.
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

// all returns the spans of the trace with that id, and all bytes that came.
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

// tree draws the spans below the one with that id, siblings by name, each with its attributes.
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

const (
	callersTrace = "0af7651916cd43dd8448eb211c80319c"
	callersSpan  = "b7ad6b7169203331"
)

// traced asks GraphQL as the admin, within the caller's trace, with a secret wherever one can be.
func (s *server) traced(trace, query string, variables fields) answer {
	s.t.Helper()
	body, err := json.Marshal(fields{"query": query, "variables": variables, "extensions": fields{"note": "a_secret"}})
	if err != nil {
		s.t.Fatal(err)
	}
	return s.request(http.MethodPost, "/graphql?access_token=a_secret", string(body), map[string]string{
		"Authorization": "Bearer " + token("admin"), "X-Namespace": "production", "Traceparent": "00-" + trace + "-" + callersSpan + "-01",
		"Tracestate": "vendor=a_secret", "Baggage": "user=a_secret", "User-Agent": "a_secret", "Cookie": "session=a_secret", "X-Request-Id": "request-7",
	})
}

// A trace must tell where a request's time went, as part of its caller's trace, and nothing that anybody sent or keeps secret: it
// goes to another company's servers.
func TestTraces(t *testing.T) {
	onEveryStore(t, func(t *testing.T, d deployment) {
		d = seeded(t, d)
		c := newCollector(t)
		d.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = c.URL
		s := serve(t, d.env)
		changing := strings.Replace(callersTrace, "0af7", "1af7", 1)
		read := s.traced(callersTrace, `query Secret($id: ID!) { retriever(id: $id) { apiKeys(first: 2) { results { keyId name } total } } }`, fields{"id": "ret_main"})
		made := s.traced(changing, `mutation Secret { createApiKey(input: {retrieverId: "ret_main", name: "a_secret"}) { apiKey { keyId } key } }`, nil)
		failed := s.traced(strings.Replace(callersTrace, "0af7", "2af7", 1), `{ retriever(id: "a_secret") { id } }`, nil)
		s.request("BREW", "/v1/retrievers/a_secret/api-keys", "", map[string]string{"Authorization": "Bearer " + token("admin"), "X-Request-Id": "sk_a_secret"})
		var payload struct {
			Data struct {
				CreateAPIKey struct {
					APIKey struct{ KeyID string }
					Key    string
				}
			}
		}
		if err := json.Unmarshal([]byte(made.body), &payload); err != nil || payload.Data.CreateAPIKey.Key == "" || read.status != http.StatusOK || len(failed.codes(t)) != 1 {
			t.Fatalf("%v in %s, %s, %s", err, read.body, made.body, failed.body)
		}
		if !strings.Contains(s.errors.String(), `"trace_id":"`+callersTrace+`"`) {
			t.Errorf("no trace in the log:\n%s", s.errors)
		}
		s.stop()

		label := hashOf("Secret")[:8]
		query := "POST /graphql\n" +
			"  graphql query graphql.operation.id=" + label + " outcome=ok\n" +
			"    lookUp\n"
		change := "POST /graphql\n" +
			"  graphql mutation graphql.operation.id=" + label + " outcome=ok\n" +
			"    createApiKey\n"
		for _, want := range []struct{ trace, begins, call, command string }{
			{callersTrace, query, "      store KeyPages outcome=ok\n", "        mongodb find db.collection.name=api_keys\n"},
			{changing, change, "      store InsertKey outcome=ok\n", "        mongodb insert db.collection.name=api_keys\n"},
		} {
			spans, _ := c.all(want.trace)
			got := tree(spans, callersSpan, "")
			if !strings.HasPrefix(got, want.begins) || !strings.Contains(got, want.call) || !strings.Contains(got, "  store KeysByHash outcome=ok\n") {
				t.Errorf("%s", got)
			}
			if strings.Contains(got, want.command) != (d.name == "mongodb") {
				t.Errorf("commands in %s", got)
			}
			if n := strings.Count(got, "\n"); n != len(spans) {
				t.Errorf("%d of %d spans are below the caller's", n, len(spans))
			}
		}
		_, received := c.all("")
		key := payload.Data.CreateAPIKey
		for _, secret := range []string{
			"a_secret", token("admin"), hashOf(token("admin")), key.Key, hashOf(key.Key), key.APIKey.KeyID, "key_caller_admin", "ret_main", "int_a", "Secret", "apiKeys(",
		} {
			if bytes.Contains(received, []byte(secret)) {
				t.Errorf("it tells %s", secret)
			}
		}
		for _, told := range []string{"request-7", "/v1/retrievers/{retriever_id}/api-keys", "_OTHER", "retrieverkeys", "NOT_FOUND"} {
			if !bytes.Contains(received, []byte(told)) {
				t.Errorf("it does not tell %s", told)
			}
		}
	})
}

// Where nobody asked for traces there are none, and a caller who asks for none gets none.
func TestTracesAreOff(t *testing.T) {
	for name, set := range map[string]fields{
		"nothing set": {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
		"disabled":    {"OTEL_SDK_DISABLED": "TRUE"},
		"no exporter": {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCollector(t)
			d := embedded(t)
			d.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = c.URL
			maps.Copy(d.env, set)
			s := serve(t, d.env)
			s.request(http.MethodGet, "/openapi.json", "", map[string]string{"Traceparent": "00-" + callersTrace + "-" + callersSpan + "-01"})
			s.stop()
			if _, received := c.all(""); len(received) > 0 || strings.Contains(s.errors.String(), "trace_id") {
				t.Errorf("%d bytes; %s", len(received), s.errors)
			}
		})
	}
	for name, c := range map[string]struct{ sampler, flags string }{"sampler": {"always_off", "01"}, "caller": {"", "00"}} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OTEL_TRACES_SAMPLER", c.sampler)
			to := newCollector(t)
			d := embedded(t)
			d.env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = to.URL + "/v1/traces"
			s := serve(t, d.env)
			s.request(http.MethodGet, "/openapi.json", "", map[string]string{"Traceparent": "00-" + callersTrace + "-" + callersSpan + "-" + c.flags})
			s.stop()
			if _, received := to.all(""); len(received) > 0 || !strings.Contains(s.errors.String(), callersTrace) {
				t.Errorf("%d bytes; %s", len(received), s.errors)
			}
		})
	}
}

// A collector that hangs or refuses must cost traces, and nothing else: requests are answered, the process ends, and the log says
// so once, without the address, which may hold a key.
func TestACollectorInTrouble(t *testing.T) {
	// Nothing but our own patience ends an export that hangs.
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
			d := embedded(t)
			d.env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = c.URL + "/a_secret"
			s := serve(t, d.env)
			for range 20 {
				if got := s.query("", "", "{ serverInfo { version } }"); got.status != http.StatusOK {
					t.Fatalf("%d %s", got.status, got.body)
				}
			}
			if status >= 0 {
				<-asked
			}
			if code := s.stop(); code != exitOK {
				t.Errorf("exit code %d", code)
			}
			if status == 0 {
				<-abandoned
			}
			log := s.errors.String()
			if n := strings.Count(log, "the collector of traces does not take them"); n > 1 || n == 0 && status > 0 || strings.Contains(log, "a_secret") {
				t.Errorf("%d times:\n%s", n, log)
			}
			if want := `"reason":"401 Unauthorized"`; status > 0 && !strings.Contains(log, want) {
				t.Errorf("no %s in\n%s", want, log)
			}
		})
	}
}

// What cannot work is reported at the start, without the value: a header of a collector is a key.
func TestWrongSettingsOfTraces(t *testing.T) {
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json", "OTEL_TRACES_EXPORTER": "zipkin",
		"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://user:a_secret@example.com",
	} {
		env := fields{"EMBEDDED_PATH": t.TempDir() + "/keys.db", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
		env[name] = value
		code, _, errs := command(t, env, "serve")
		if code != exitUsage || !strings.Contains(errs, "retrieverkeys: "+name+" must ") || strings.Contains(errs, "a_secret") {
			t.Errorf("%s: exit code %d\n%s", name, code, errs)
		}
	}
}

// The SDK reads the other variables itself. What it cannot read is in the log, without the value, and the server runs.
func TestTheSDKsOwnSettings(t *testing.T) {
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_HEADERS": "api-key a_secret", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "api-key=%zza_secret",
		"OTEL_EXPORTER_OTLP_TIMEOUT": "a_secret", "OTEL_TRACES_SAMPLER": "a_secret", "OTEL_EXPORTER_OTLP_CERTIFICATE": "a_secret.pem",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			d := embedded(t)
			d.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:1"
			s := serve(t, d.env)
			s.stop()
			if log := s.errors.String(); !strings.Contains(log, "OpenTelemetry reported") || strings.Contains(log, "a_secret") {
				t.Errorf("%s", log)
			}
		})
	}
}
