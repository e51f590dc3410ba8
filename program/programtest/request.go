package programtest

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// Answer is an HTTP response.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Request sends a request. It omits headers with an empty value.
func (s *Server) Request(method, path, body string, headers map[string]string) Answer {
	s.T.Helper()
	req, err := http.NewRequestWithContext(s.T.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		s.T.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range headers {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	return s.Do(req)
}

// Do sends a request. The response must arrive within MaxWait.
func (s *Server) Do(req *http.Request) Answer {
	s.T.Helper()
	ctx, cancel := context.WithTimeout(req.Context(), MaxWait)
	defer cancel()
	resp, err := http.DefaultClient.Do(req.WithContext(ctx))
	if err != nil {
		s.T.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.T.Fatal(err)
	}
	return Answer{resp.StatusCode, resp.Header, string(text)}
}

// Query runs a GraphQL operation as a caller of the fixture. An empty caller is anonymous.
func (s *Server) Query(caller, namespace, query string, variables ...Fields) Answer {
	s.T.Helper()
	request := Fields{"query": query}
	if len(variables) > 0 {
		request["variables"] = variables[0]
	}
	body, err := json.Marshal(request)
	if err != nil {
		s.T.Fatal(err)
	}
	headers := map[string]string{"X-Namespace": namespace}
	if caller != "" {
		headers["Authorization"] = "Bearer " + Token(caller)
	}
	return s.Request(http.MethodPost, "/graphql", string(body), headers)
}

// SendRaw sends bytes unchanged and returns the first response.
func (s *Server) SendRaw(request string) Answer {
	s.T.Helper()
	var d net.Dialer
	c, err := d.DialContext(s.T.Context(), "tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		s.T.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	go func() { _, _ = io.WriteString(c, request) }() // the server may close the connection before everything is sent
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: strings.SplitN(request, " ", 2)[0]})
	if err != nil {
		s.T.Fatalf("%.80q: %v", request, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(resp.Body) // the response to an early refusal may be truncated
	return Answer{resp.StatusCode, resp.Header, string(body)}
}

// QueryWithToken runs a GraphQL operation with any bearer token.
func (s *Server) QueryWithToken(bearer, operation string) Answer {
	s.T.Helper()
	body, err := json.Marshal(Fields{"query": operation})
	if err != nil {
		s.T.Fatal(err)
	}
	return s.Request(http.MethodPost, "/graphql", string(body), map[string]string{"Authorization": "Bearer " + bearer, "X-Namespace": "production"})
}

// Mutate runs a mutation as a caller of the fixture, fails the test unless it succeeds, and returns its payload.
func (s *Server) Mutate(caller, mutation string, variables ...Fields) map[string]any {
	s.T.Helper()
	operation := "mutation { do: "
	if len(variables) > 0 {
		operation = "mutation($id: ID!) { do: "
	}
	got := s.Query(caller, "production", operation+mutation+" }", variables...)
	var body struct {
		Data   struct{ Do map[string]any }
		Errors []any
	}
	if err := json.Unmarshal([]byte(got.Body), &body); err != nil || len(body.Errors) > 0 || body.Data.Do == nil {
		s.T.Fatalf("%s: %v in %d %s", mutation, err, got.Status, got.Body)
	}
	return body.Data.Do
}

// QueryInTrace runs a GraphQL operation as the admin within the caller's trace. The text "a_secret" is in every part of the request that must not
// reach the traces.
func (s *Server) QueryInTrace(trace, query string, variables Fields) Answer {
	s.T.Helper()
	body, err := json.Marshal(Fields{"query": query, "variables": variables, "extensions": Fields{"note": "a_secret"}})
	if err != nil {
		s.T.Fatal(err)
	}
	return s.Request(http.MethodPost, "/graphql?access_token=a_secret", string(body), map[string]string{
		"Authorization": "Bearer " + Token("admin"), "X-Namespace": "production", "Traceparent": "00-" + trace + "-" + CallersSpan + "-01",
		"Tracestate": "vendor=a_secret", "Baggage": "user=a_secret", "User-Agent": "a_secret", "Cookie": "session=a_secret", "X-Request-Id": "request-7",
	})
}

// RetrieverEvents returns a retriever's audit events as the API shows them, newest first.
func (s *Server) RetrieverEvents(retriever string) []map[string]any {
	s.T.Helper()
	got := s.Query("admin", "production", `query($id: ID!) { retriever(id: $id) { auditEvents { total results {
		action resourceType resourceId actorId actorType actorKeyId status ipAddress userAgent } } } }`, Fields{"id": retriever})
	var body struct {
		Data struct {
			Retriever struct {
				AuditEvents struct {
					Total   int
					Results []map[string]any
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(got.Body), &body); err != nil {
		s.T.Fatal(err)
	}
	events := body.Data.Retriever.AuditEvents
	if events.Total != len(events.Results) {
		s.T.Errorf("total %d of %d events", events.Total, len(events.Results))
	}
	return events.Results
}

// Metric returns the line of /metrics for this metric, or "". The server needs an ADMIN_ADDR.
func (s *Server) Metric(name string) string {
	s.T.Helper()
	admin := &Server{T: s.T, URL: regexp.MustCompile(`(http://[0-9.:]+)/metrics`).FindStringSubmatch(s.Stderr.String())[1]}
	for line := range strings.Lines(admin.Request(http.MethodGet, "/metrics", "", nil).Body) {
		if strings.HasPrefix(line, name+" ") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// Codes returns the codes of the GraphQL errors.
func (a Answer) Codes(t *testing.T) []string {
	t.Helper()
	var body struct {
		Errors []struct{ Extensions struct{ Code string } }
	}
	if err := json.Unmarshal([]byte(a.Body), &body); err != nil {
		t.Fatalf("%v in %s", err, a.Body)
	}
	var codes []string
	for _, e := range body.Errors {
		codes = append(codes, e.Extensions.Code)
	}
	return codes
}

// Outcome returns the codes of the GraphQL errors, or "OK" if there are none.
func Outcome(t *testing.T, a Answer) string {
	t.Helper()
	if codes := a.Codes(t); len(codes) > 0 {
		return strings.Join(codes, " ")
	}
	return "OK"
}

// TextAt returns the string at a path of names in a JSON value, or "".
func TextAt(v any, path ...string) string {
	for _, name := range path {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	text, _ := v.(string)
	return text
}

// The ids of the caller's trace and span in QueryInTrace.
const (
	CallersTrace = "0af7651916cd43dd8448eb211c80319c"
	CallersSpan  = "b7ad6b7169203331"
)
