package web

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"retrieverkeys/apikey"
	"retrieverkeys/github"
)

// vault is a Store of keys by hash. It records its calls.
type vault struct {
	apikey.Store // nil, so that a call to a method not defined here panics

	mu     sync.Mutex
	keys   map[string]apikey.Key
	events []apikey.Event
	calls  []string
	down   error

	began, goOn chan struct{} // a lookup closes the first and waits for the second; nil: it does not wait
}

func (v *vault) called(name string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls = append(v.calls, name)
	return v.down
}

// taken returns the calls since its last call, sorted.
func (v *vault) taken() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	slices.Sort(v.calls)
	all := strings.Join(v.calls, " ")
	v.calls = nil
	return all
}

func (v *vault) add(token string, tenant apikey.InternalID, kind apikey.Type) {
	k := apikey.Key{
		ID: apikey.ID(fmt.Sprintf("key_%d", len(v.keys))), Hash: hexOf(token), InternalID: tenant, Type: kind, Stored: apikey.Active,
		Scopes: []apikey.Scope{{ResourceType: apikey.ResourceRetriever, ResourceID: "ret_1"}},
	}
	v.keys[k.Hash] = k
}

func hexOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func (v *vault) CurrentKeysWithHashes(_ context.Context, tenant *apikey.InternalID, hashes []string) (found []apikey.Key, err error) {
	err = v.called("CurrentKeysWithHashes")
	if v.began != nil {
		close(v.began)
		<-v.goOn
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, hash := range hashes {
		if k, ok := v.keys[hash]; ok && tenant == nil {
			found = append(found, k)
		}
	}
	return found, err
}

func (v *vault) Retrievers(_ context.Context, tenant apikey.InternalID, _ []apikey.RetrieverID) ([]apikey.Retriever, error) {
	return []apikey.Retriever{{ID: "ret_1", NamespaceID: "ns_1", InternalID: tenant}}, v.called("Retrievers")
}

func (v *vault) ChangeKey(_ context.Context, c apikey.Change) (bool, error) {
	err := v.called("ChangeKey")
	v.mu.Lock()
	defer v.mu.Unlock()
	c.Key.Revision++
	v.keys[c.Key.Hash] = c.Key
	v.events = append(v.events, c.Events...)
	return true, err
}

// scanning is a server that accepts GitHub's reports, and GitHub's key.
type scanning struct {
	url   string
	key   *ecdsa.PrivateKey
	store *vault
	log   *buffer
	spans *tracetest.SpanRecorder
}

// scanned serves the store. GitHub's key has the identifier current.
func scanned(t *testing.T, store *vault, change ...func(*Options)) scanning {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	document, err := json.Marshal(map[string]any{"public_keys": []any{map[string]any{
		"key_identifier": "current", "key": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), "is_current": true,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, document, 0o600); err != nil {
		t.Fatal(err)
	}
	keys := &github.Keys{Source: path}
	if err := keys.Check(); err != nil {
		t.Fatal(err)
	}
	s := scanning{key: key, store: store, log: &buffer{}, spans: tracetest.NewSpanRecorder()}
	s.url = servedOn(t, store, &shelf{}, append([]func(*Options){func(o *Options) {
		o.LeakKeys, o.Logger = keys, slog.New(slog.NewTextHandler(s.log, nil))
		o.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(s.spans)).Tracer("test")
	}}, change...)...)
	return s
}

func newVault() *vault { return &vault{keys: map[string]apikey.Key{}} }

func sign(t *testing.T, key crypto.Signer, digest []byte, hash crypto.Hash) string {
	t.Helper()
	signed, err := key.Sign(rand.Reader, digest, hash)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(signed)
}

// report sends a body with GitHub's signature, or with other headers.
func (s scanning) report(t *testing.T, body string, headers ...string) (int, string) {
	t.Helper()
	digest := sha256.Sum256([]byte(body))
	headers = append([]string{"Authorization", "", "X-Namespace", "", identifierHeader, "current", signatureHeader, sign(t, s.key, digest[:], crypto.SHA256)}, headers...)
	status, header, answer := ask(t, http.MethodPost, s.url+leaksPath, body, headers...)
	if kind := header.Get("Content-Type"); kind != "application/json; charset=utf-8" || header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d: Content-Type %q, Cache-Control %q", status, kind, header.Get("Cache-Control"))
	}
	return status, strings.TrimSpace(answer)
}

func verdictOf(token, kind, label string) string {
	sum := sha256.Sum256([]byte(token))
	return fmt.Sprintf(`{"token_hash":%q,"token_type":%q,"label":%q}`, base64.StdEncoding.EncodeToString(sum[:]), kind, label)
}

// A report revokes the keys of every organization, of a website too, and says which tokens were keys. Sending it again changes nothing.
func TestGitHubReportsLeaks(t *testing.T) {
	store := newVault()
	store.add("sk_ours", "int_1", apikey.Standard)
	store.add("sk_theirs", "int_2", apikey.Standard)
	store.add("ret_sk_website", "int_2", apikey.RetrieverKey)
	s := scanned(t, store)
	body := ` [{"token":"sk_ours","type":"retrieverkeys_api_key","url":"https://github.com/o/r/blob/c/.env#L1","source":"commit"},
		{"token":"sk_unknown","type":"a<b>&\u2028","url":"https://github.com/o/r"},
		{"token":"sk_theirs","type":"","url":null,"source":"content","extra":{"a":[]}},
		{"token":"ret_sk_website","type":"x","url":"javascript:alert(1)","source":"in ret_sk_website"},
		{"token":"sk_ours","type":"again","url":"https://github.com/o/fork","source":"commit"}]
`
	status, answer := s.report(t, body)
	want := "[" + strings.Join([]string{
		verdictOf("sk_ours", "retrieverkeys_api_key", truePositive), strings.ReplaceAll(verdictOf("sk_unknown", "TYPE", falsePositive), "TYPE", `a<b>&\u2028`),
		verdictOf("sk_theirs", "", truePositive), verdictOf("ret_sk_website", "x", truePositive), verdictOf("sk_ours", "again", truePositive),
	}, ",") + "]"
	if status != http.StatusOK || answer != want {
		t.Errorf("%d %s\nwant %s", status, answer, want)
	}
	var verdicts []map[string]any
	if err := json.Unmarshal([]byte(answer), &verdicts); err != nil || len(verdicts[0]) != 3 {
		t.Errorf("%v, %v", verdicts, err)
	}
	ours, website := store.keys[hexOf("sk_ours")], store.keys[hexOf("ret_sk_website")]
	if ours.RevokedAt == nil || *ours.RevokedBy != "system" || *ours.RevokeReason != "leaked" || *ours.LeakURL != "https://github.com/o/r/blob/c/.env#L1" || *ours.LeakSource != "commit" {
		t.Errorf("%+v", ours)
	}
	if website.RevokedAt == nil || website.LeakURL != nil || website.LeakSource != nil {
		t.Errorf("%+v", website)
	}
	if len(store.events) != 6 || *store.events[0].IPAddress != "127.0.0.1" || store.events[0].ActorType != apikey.System {
		t.Errorf("events %+v", store.events)
	}
	store.taken()
	again, answer := s.report(t, body)
	if calls := store.taken(); again != http.StatusOK || answer != want || len(store.events) != 6 || strings.Contains(calls, "ChangeKey") {
		t.Errorf("again: %d %s, %d events, calls %s", again, answer, len(store.events), calls)
	}
}

// A thousand tokens, ten of them keys, are one lookup, one read of retrievers for each organization, and ten writes. Without this, a large
// leak takes so long that GitHub gives up. The work for unknown tokens must not depend on what is stored.
func TestLeaksAreLookedUpTogether(t *testing.T) {
	store := newVault()
	var tokens []map[string]string
	for i := range 1000 {
		token := fmt.Sprintf("sk_token_%d", i)
		tokens = append(tokens, map[string]string{"token": token, "type": "x"})
		if i%100 == 0 {
			store.add(token, apikey.InternalID(fmt.Sprintf("int_%d", i%200)), apikey.Standard)
		}
	}
	s := scanned(t, store)
	body, err := json.Marshal(tokens)
	if err != nil {
		t.Fatal(err)
	}
	status, answer := s.report(t, string(body))
	want := strings.Repeat("ChangeKey ", 10) + "CurrentKeysWithHashes Retrievers Retrievers"
	if calls := store.taken(); status != http.StatusOK || strings.Count(answer, truePositive) != 10 || strings.Count(answer, falsePositive) != 990 || calls != want {
		t.Errorf("%d, calls %s", status, calls)
	}
}

// Somebody who can forge a report can revoke every key whose text they know, and learn which texts are keys. Nothing of a request may be
// read from the store before its signature is verified.
func TestForgedReportsAreRefused(t *testing.T) {
	store := newVault()
	store.add("sk_ours", "int_1", apikey.Standard)
	s := scanned(t, store)
	body := `[{"token":"sk_ours","type":"x"}]`
	digest, long := sha256.Sum256([]byte(body)), sha512.Sum512([]byte(body))
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	wide, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spaced := sha256.Sum256([]byte(`[{"token": "sk_ours","type":"x"}]`))
	for name, headers := range map[string][]string{
		"no signature":             {signatureHeader, ""},
		"no identifier":            {identifierHeader, ""},
		"an unknown identifier":    {identifierHeader, "other"},
		"a very long identifier":   {identifierHeader, strings.Repeat("x", 4000)},
		"another key":              {signatureHeader, sign(t, other, digest[:], crypto.SHA256)},
		"another curve":            {signatureHeader, sign(t, wide, digest[:], crypto.SHA256)},
		"another algorithm":        {signatureHeader, sign(t, s.key, long[:], crypto.SHA512)},
		"white space changed":      {signatureHeader, sign(t, s.key, spaced[:], crypto.SHA256)},
		"not base64":               {signatureHeader, "???"},
		"a bearer of an admin":     {signatureHeader, "", "Authorization", "Bearer " + token},
		"an origin with a session": {signatureHeader, "", "Origin", "https://example.com", "Cookie", "a=b"},
	} {
		status, answer := s.report(t, body, headers...)
		if status != http.StatusUnauthorized || answer != `{"success":false,"status":401,"error":{"message":"The body is not signed with one of GitHub's keys.","type":"UnauthorizedError"}}` {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
	if calls := store.taken(); calls != "" {
		t.Errorf("the store was called: %s", calls)
	}
	if status, _ := s.report(t, body); status != http.StatusOK {
		t.Errorf("signed: %d", status)
	}
}

// A signed body of another form must change nothing, and must not look like a forged one.
func TestReportsOfAnotherForm(t *testing.T) {
	store := newVault()
	store.add("sk_ours", "int_1", apikey.Standard)
	s := scanned(t, store)
	one := `{"token":"sk_ours","type":"x"}`
	for _, body := range []string{
		"", " ", "null", "{}", one, `"sk_ours"`, "[" + one, "[" + one + "]]", "[" + one + ",]", "[null]", "[" + one + ",null]", "[1]", "[[]]", `[{}]`, `[{"token":"sk_ours"}]`,
		`[{"type":"x"}]`, `[{"token":1,"type":"x"}]`, `[{"token":"sk_ours","type":1}]`, `[{"token":"sk_ours","type":"x","url":1}]`, `[{"token":"sk_ours","type":"x","source":{}}]`,
		"[" + one + "]\x00", "\xef\xbb\xbf[" + one + "]", "[{\"token\":\"sk_ours\",\"type\":\"\xff\"}]", strings.Repeat("[", 200_000), "\x1f\x8b\x08",
	} {
		status, answer := s.report(t, body)
		if status != http.StatusBadRequest || !strings.Contains(answer, `"type":"BadRequestError"`) || strings.Contains(answer, "sk_ours") {
			t.Errorf("%.60q: %d %s", body, status, answer)
		}
	}
	if calls := store.taken(); calls != "" {
		t.Errorf("the store was called: %s", calls)
	}
	if status, answer := s.report(t, "[]"); status != http.StatusOK || answer != "[]" {
		t.Errorf("an empty array: %d %s", status, answer)
	}
}

// The body is read before its signature can be verified, so its size must be limited for every sender.
func TestLargeReportsAreRefused(t *testing.T) {
	s := scanned(t, newVault())
	report := func(size int) string {
		return `[{"token":"` + strings.Repeat("a", size-len(`[{"token":"","type":"x"}]`)) + `","type":"x"}]`
	}
	if status, _ := s.report(t, report(maxLeaksBytes)); status != http.StatusOK {
		t.Errorf("1 MiB: %d, want 200, whatever MAX_BODY_BYTES is", status)
	}
	for _, size := range []int{maxLeaksBytes + 1, 10 << 20} {
		if status, answer := s.report(t, report(size)); status != http.StatusRequestEntityTooLarge || !strings.Contains(answer, "larger than 1048576 bytes") {
			t.Errorf("%d bytes: %d %s", size, status, answer)
		}
		if status, _ := s.report(t, report(size), identifierHeader, "other", signatureHeader, ""); status != http.StatusRequestEntityTooLarge {
			t.Errorf("%d bytes, not signed: %d", size, status)
		}
	}
}

// When the store or GitHub's keys cannot be read, no answer may call a key a false positive.
func TestReportsDuringAnOutage(t *testing.T) {
	store := newVault()
	store.add("sk_ours", "int_1", apikey.Standard)
	s := scanned(t, store)
	for _, down := range []error{apikey.Outage(errors.New("connection reset")), errors.New("disk error")} {
		store.down = down
		status, answer := s.report(t, `[{"token":"sk_ours","type":"x"}]`)
		if status != http.StatusServiceUnavailable || !strings.Contains(answer, "ServiceUnavailableError") {
			t.Errorf("%d %s", status, answer)
		}
	}
	store.down = nil
	if status, _ := s.report(t, `[{"token":"sk_ours","type":"x"}]`); status != http.StatusOK {
		t.Errorf("after the outage: %d", status)
	}
	refuses := &http.Client{Transport: refusing{}}
	s = scanned(t, store, func(o *Options) { o.LeakKeys = &github.Keys{Source: "https://keys.invalid/", Client: refuses} })
	store.taken()
	if status, answer := s.report(t, `[{"token":"sk_ours","type":"x"}]`); status != http.StatusServiceUnavailable || store.taken() != "" {
		t.Errorf("without GitHub's keys: %d %s", status, answer)
	}
}

// refusing refuses all connections.
type refusing struct{}

func (refusing) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("connection refused")
}

// The endpoint exists only if it is configured, also if the vendor's endpoints are off, and it takes one method.
func TestWhereLeaksAreReported(t *testing.T) {
	url := served(t, &shelf{})
	if status, _, answer := ask(t, http.MethodPost, url+leaksPath, "[]"); status != http.StatusNotFound {
		t.Errorf("off: %d %s", status, answer)
	}
	s := scanned(t, newVault(), func(o *Options) { o.WithoutREST = true })
	if status, _ := s.report(t, "[]"); status != http.StatusOK {
		t.Errorf("without REST: %d", status)
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		if status, header, _ := ask(t, method, s.url+leaksPath, ""); status != http.StatusMethodNotAllowed || header.Get("Allow") != "POST" {
			t.Errorf("%s: %d, Allow %q", method, status, header.Get("Allow"))
		}
	}
}

// An address that forges reports is limited, and genuine reports use up nothing. They are answered even if forgers used up the limit of their address: behind
// a proxy that is not trusted, anybody could keep GitHub's reports away.
func TestForgersAreLimited(t *testing.T) {
	const most = 5
	s := scanned(t, newVault(), func(o *Options) { o.AuthFailures = most })
	for range 2 * most {
		if status, _ := s.report(t, "[]"); status != http.StatusOK {
			t.Fatalf("genuine: %d", status)
		}
	}
	for i := range most {
		forged := []string{signatureHeader, ""}
		if i%2 == 0 {
			forged = []string{identifierHeader, fmt.Sprint(i)}
		}
		if status, _ := s.report(t, "[]", forged...); status != http.StatusUnauthorized {
			t.Fatalf("forged: %d", status)
		}
	}
	if status, answer := s.report(t, "[]", signatureHeader, ""); status != http.StatusTooManyRequests || !strings.Contains(answer, `"limit":5`) {
		t.Errorf("too many: %d %s", status, answer)
	}
	if status, answer := s.report(t, "[]", identifierHeader, "unknown"); status != http.StatusTooManyRequests {
		t.Errorf("too many, with an unknown key: %d %s", status, answer)
	}
	if status, answer := s.report(t, "[]"); status != http.StatusOK {
		t.Errorf("genuine, from the forgers' address: %d %s", status, answer)
	}
}

// Under overload, reports wait for a turn like all other requests, and are refused before their signature is verified.
func TestReportsWaitForATurn(t *testing.T) {
	store := newVault()
	store.began, store.goOn = make(chan struct{}), make(chan struct{})
	var c counters
	s := scanned(t, store, func(o *Options) { o.MaxConcurrent, o.Metrics = 1, c.metrics() })
	first := make(chan int)
	go func() {
		status, _ := s.report(t, "[]")
		first <- status
	}()
	<-store.began
	if status, answer := s.report(t, "[]"); status != http.StatusServiceUnavailable || !strings.Contains(answer, "overloaded") || c.refused.Load() != 1 {
		t.Errorf("%d %s, %d refused", status, answer, c.refused.Load())
	}
	close(store.goOn)
	if status := <-first; status != http.StatusOK || store.taken() != "CurrentKeysWithHashes" {
		t.Errorf("the first: %d", status)
	}
}

// What GitHub sends contains keys in plain text. Neither they nor their hashes may appear in an answer to a stranger, a log line, a span or
// a metric.
func TestReportsLeaveNoTrace(t *testing.T) {
	store := newVault()
	store.add("sk_very_secret", "int_1", apikey.Standard)
	var metrics []string
	var mu sync.Mutex
	s := scanned(t, store, func(o *Options) {
		o.Metrics.Request = func(route, method string, status int, _ time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			metrics = append(metrics, fmt.Sprint(route, method, status))
		}
	})
	body := `[{"token":"sk_very_secret","type":"a_type","url":"https://github.com/sk_very_secret","source":"commit"}]`
	_, answer := s.report(t, body)
	_, forged := s.report(t, body, signatureHeader, "")
	_, malformed := s.report(t, body+"]")
	store.down = errors.New("sk_very_secret")
	_, failed := s.report(t, body)
	var seen bytes.Buffer
	fmt.Fprintln(&seen, answer, forged, malformed, failed)
	mu.Lock()
	fmt.Fprintln(&seen, metrics)
	if !slices.Contains(metrics, "POST "+leaksPath+"POST200") {
		t.Errorf("metrics %q", metrics)
	}
	mu.Unlock()
	for _, span := range s.spans.Ended() {
		fmt.Fprintln(&seen, span.Name(), span.Attributes(), span.Events(), span.Status())
	}
	log := strings.ReplaceAll(s.log.String(), "error=sk_very_secret", "") // the store's own error, which this test made up
	log = strings.ReplaceAll(log, "cause=sk_very_secret", "")
	fmt.Fprintln(&seen, log)
	if !strings.Contains(log, `msg="GitHub reported leaked tokens" tokens=1 keys=1 revoked=1`) {
		t.Errorf("log %s", log)
	}
	for _, secret := range []string{"very_secret", hexOf("sk_very_secret"), "github.com"} {
		if strings.Contains(seen.String(), secret) {
			t.Errorf("%q appears in\n%s", secret, seen.String())
		}
	}
	store.down = nil
	store.add("key/very+secret=", "int_1", apikey.Standard)
	s.report(t, `[{"token":"key/very+secret=","type":"a_type","url":"https://github.com/?q=100%&k=key%2fvery%2Bsecret%3D","source":"commit"}]`)
	for _, token := range []string{"sk_very_secret", "key/very+secret="} {
		switch k := store.keys[hexOf(token)]; {
		case k.LeakedAt == nil:
			t.Errorf("the leak of %q is not noted", token)
		case k.LeakURL != nil:
			t.Errorf("the key's URL %q contains the key", *k.LeakURL)
		}
	}
}
