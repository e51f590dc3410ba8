package github

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func newKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func pemOf(t *testing.T, public any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// document is GitHub's document of these keys, given as identifier and PEM.
func document(t *testing.T, keys ...string) string {
	t.Helper()
	type key struct {
		Identifier string `json:"key_identifier"`
		Key        string `json:"key"`
		Current    bool   `json:"is_current"`
	}
	var all []key
	for i := 0; i < len(keys); i += 2 {
		all = append(all, key{keys[i], keys[i+1], i == 0})
	}
	text, err := json.Marshal(map[string]any{"public_keys": all})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func signature(t *testing.T, key crypto.Signer, digest []byte, hash crypto.Hash) string {
	t.Helper()
	signed, err := key.Sign(rand.Reader, digest, hash)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(signed)
}

// Only ECDSA on P-256 over the SHA-256 of the very bytes verifies. Without this, anybody could revoke keys.
func TestSigned(t *testing.T) {
	key, other, body := newKey(t, elliptic.P256()), newKey(t, elliptic.P256()), []byte(`[{"token": "a"}]`)
	digest := sha256.Sum256(body)
	good := signature(t, key, digest[:], crypto.SHA256)
	altered := []byte(good)
	altered[len(altered)/2] ^= 1
	sha512 := sha512.Sum512(body)
	raw, _ := base64.StdEncoding.DecodeString(good)
	for name, c := range map[string]struct {
		signature string
		body      string
		want      bool
	}{
		"right":                      {good, string(body), true},
		"another body":               {good, `[{"token": "b"}]`, false},
		"white space after signing":  {good, string(body) + "\n", false},
		"white space within":         {good, `[{"token":"a"}]`, false},
		"no body":                    {good, "", false},
		"another key":                {signature(t, other, digest[:], crypto.SHA256), string(body), false},
		"another hash":               {signature(t, key, sha512[:], crypto.SHA512), string(body), false},
		"altered":                    {string(altered), string(body), false},
		"empty":                      {"", string(body), false},
		"not base64":                 {"%" + good, string(body), false},
		"of the URL alphabet":        {base64.URLEncoding.EncodeToString([]byte{0xfb, 0xff, 0xfe}), string(body), false},
		"no ASN.1":                   {base64.StdEncoding.EncodeToString(make([]byte, 64)), string(body), false},
		"something after it":         {base64.StdEncoding.EncodeToString(append(raw, 0)), string(body), false},
		"zeros":                      {base64.StdEncoding.EncodeToString([]byte{0x30, 6, 2, 1, 0, 2, 1, 0}), string(body), false},
		"a very long one":            {strings.Repeat("A", 1<<20), string(body), false},
		"two":                        {good + good, string(body), false},
		"the digest of another kind": {signature(t, newKey(t, elliptic.P384()), digest[:], crypto.SHA256), string(body), false},
	} {
		if got := Signed(&key.PublicKey, c.signature, []byte(c.body)); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// A document with other keys must not make them valid, and one without a usable key must not replace the old ones.
func TestDocuments(t *testing.T) {
	key := newKey(t, elliptic.P256())
	good := pemOf(t, &key.PublicKey)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	edKey, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		document string
		want     string // identifiers that are keys, or the beginning of the error
	}{
		"one":                  {document(t, "a", good), "a"},
		"also not current":     {document(t, "a", good, "b", good), "a b"},
		"other kinds":          {document(t, "a", good, "rsa", pemOf(t, &rsaKey.PublicKey), "p384", pemOf(t, &newKey(t, elliptic.P384()).PublicKey), "ed", pemOf(t, edKey)), "a"},
		"broken ones":          {document(t, "a", good, "b", "-----BEGIN", "c", "", "", good), "a"},
		"unknown members":      {`{"more":1,` + document(t, "a", good)[1:], "a"},
		"only another kind":    {document(t, "rsa", pemOf(t, &rsaKey.PublicKey)), "the document has no ECDSA key"},
		"empty":                {"", "the document is not JSON"},
		"an empty list":        {`{"public_keys":[]}`, "the document has no ECDSA key"},
		"null":                 {"null", "the document has no ECDSA key"},
		"another form":         {`["a"]`, "the document is not JSON"},
		"a web page":           {"<html>", "the document is not JSON"},
		"more than a megabyte": {document(t, "a", good) + strings.Repeat(" ", maxDocument), "the document has more than"},
	} {
		path := filepath.Join(t.TempDir(), "keys.json")
		if err := os.WriteFile(path, []byte(c.document), 0o600); err != nil {
			t.Fatal(err)
		}
		k := &Keys{Source: path}
		err := k.Check()
		got := ""
		for _, id := range []string{"", "a", "b", "c", "rsa", "p384", "ed"} {
			if _, err := k.Key(t.Context(), id); err == nil {
				got = strings.TrimSpace(got + " " + id)
			}
		}
		if err != nil {
			got += err.Error()
		}
		if got != c.want && (err == nil || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if err := (&Keys{Source: filepath.Join(t.TempDir(), "absent")}).Check(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// site serves a document over https, and remembers what it was asked.
type site struct {
	mu       sync.Mutex
	document string
	status   int
	asked    []string // If-None-Match of each request
	hold     chan struct{}
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	document, status, hold := s.document, s.status, s.hold
	s.asked = append(s.asked, r.Header.Get("If-None-Match"))
	s.mu.Unlock()
	if hold != nil {
		<-hold
	}
	etag := fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(document)))
	switch {
	case status != 0:
		w.WriteHeader(status)
	case r.Header.Get("If-None-Match") == etag:
		w.WriteHeader(http.StatusNotModified)
	default:
		w.Header().Set("ETag", etag)
		_, _ = io.WriteString(w, document)
	}
}

func (s *site) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *site) set(document string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.document, s.status = document, status
}

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func served(t *testing.T, s *site) (*Keys, *clock, *bytes.Buffer) {
	t.Helper()
	server := httptest.NewTLSServer(s)
	t.Cleanup(server.Close)
	var log bytes.Buffer
	c := &clock{at: time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)}
	return &Keys{Source: server.URL, Client: server.Client(), Logger: slog.New(slog.NewTextHandler(&log, nil)), Now: c.now}, c, &log
}

func outcome(t *testing.T, k *Keys, id string) string {
	t.Helper()
	switch key, err := k.Key(t.Context(), id); {
	case err == nil && key != nil:
		return "known"
	case errors.Is(err, ErrUnknown):
		return "unknown"
	case errors.Is(err, ErrUnavailable):
		return "unavailable"
	default:
		return fmt.Sprint(key, err)
	}
}

// Identifiers that nobody has must not let a stranger send requests to GitHub in our name: the URL is read again once in five minutes, with
// the ETag of what is known. GitHub's new key must then be found.
func TestUnknownIdentifiersReadTheURLRarely(t *testing.T) {
	old, next := pemOf(t, &newKey(t, elliptic.P256()).PublicKey), pemOf(t, &newKey(t, elliptic.P256()).PublicKey)
	s := &site{document: document(t, "old", old)}
	k, now, _ := served(t, s)
	k.Load(t.Context())
	for i := range 100 {
		if got := outcome(t, k, fmt.Sprint(i)); got != "unknown" {
			t.Fatal(got)
		}
	}
	if got := outcome(t, k, "old"); got != "known" || len(s.requests()) != 1 {
		t.Errorf("%s after %d requests", got, len(s.requests()))
	}
	now.pass(rereadAfter - time.Nanosecond)
	if got := outcome(t, k, "new"); got != "unknown" || len(s.requests()) != 1 {
		t.Errorf("just before five minutes: %s after %d requests", got, len(s.requests()))
	}
	now.pass(time.Nanosecond)
	if got := outcome(t, k, "new"); got != "unknown" || len(s.requests()) != 2 || s.requests()[0] != "" || s.requests()[1] == "" {
		t.Errorf("after five minutes, the same document: %s after the requests %q", got, s.requests())
	}
	s.set(document(t, "new", next), 0)
	if got := outcome(t, k, "new"); got != "unknown" {
		t.Errorf("a new document, too early: %s", got)
	}
	now.pass(rereadAfter)
	if got := outcome(t, k, "old"); got != "known" || len(s.requests()) != 2 {
		t.Errorf("a known identifier: %s after %d requests", got, len(s.requests()))
	}
	if got := outcome(t, k, "new") + outcome(t, k, "old"); got != "knownunknown" || len(s.requests()) != 3 {
		t.Errorf("the new document: %s after %d requests", got, len(s.requests()))
	}
}

// While the URL fails, the old keys must remain valid, and a message with another one must not be called forged.
func TestOldKeysStayWhileTheURLFails(t *testing.T) {
	key := pemOf(t, &newKey(t, elliptic.P256()).PublicKey)
	s := &site{status: http.StatusInternalServerError}
	k, now, log := served(t, s)
	if got := outcome(t, k, "a") + outcome(t, k, "b"); got != "unavailableunavailable" || len(s.requests()) != 1 || !strings.Contains(log.String(), "level=WARN") {
		t.Errorf("before the first document: %s after %d requests, logged %s", got, len(s.requests()), log)
	}
	s.set(document(t, "a", key), 0)
	now.pass(RetryAfter)
	if got := outcome(t, k, "a") + outcome(t, k, "b"); got != "knownunknown" || len(s.requests()) != 2 {
		t.Errorf("the first document: %s after %d requests", got, len(s.requests()))
	}
	for i, bad := range []struct {
		document string
		status   int
	}{{"", http.StatusBadGateway}, {"<html>", 0}, {`{"public_keys":[]}`, 0}, {"", http.StatusNotFound}} {
		s.set(bad.document, bad.status)
		now.pass(rereadAfter)
		if got := outcome(t, k, "b") + outcome(t, k, "a"); got != "unavailableknown" || len(s.requests()) != 3+i {
			t.Errorf("%+v: %s after %d requests", bad, got, len(s.requests()))
		}
	}
	s.set(document(t, "a", key), 0)
	now.pass(rereadAfter)
	if got := outcome(t, k, "b"); got != "unknown" {
		t.Errorf("after the failures: %s", got)
	}
}

// One slow read must be one request, however many messages wait for it, and known keys must not wait.
func TestOneReadForAllThatWait(t *testing.T) {
	key := pemOf(t, &newKey(t, elliptic.P256()).PublicKey)
	s := &site{document: document(t, "a", key)}
	k, now, _ := served(t, s)
	k.Load(t.Context())
	now.pass(rereadAfter)
	s.mu.Lock()
	s.hold, s.document = make(chan struct{}), document(t, "a", key, "b", key)
	s.mu.Unlock()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got := outcome(t, k, "b"); got != "known" {
				t.Error(got)
			}
		})
	}
	if got := outcome(t, k, "a"); got != "known" {
		t.Errorf("a known key: %s", got)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.Key(canceled, "c"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a client that left: %v", err)
	}
	close(s.hold)
	wg.Wait()
	if n := len(s.requests()); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

// A redirect to http would let anybody on the way choose the keys.
func TestRedirectsStaySecure(t *testing.T) {
	plain := httptest.NewServer(&site{document: document(t, "a", pemOf(t, &newKey(t, elliptic.P256()).PublicKey))})
	t.Cleanup(plain.Close)
	server := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	t.Cleanup(server.Close)
	client := server.Client()
	client.CheckRedirect = secure.CheckRedirect
	if got := outcome(t, &Keys{Source: server.URL, Client: client}, "a"); got != "unavailable" {
		t.Error(got)
	}
}

// BenchmarkSigned verifies bodies of a few tokens and of the largest size.
func BenchmarkSigned(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range []int{1 << 10, 1 << 20} {
		body := bytes.Repeat([]byte("x"), size)
		digest := sha256.Sum256(body[1:]) // of another body: a wrong signature costs as much as a right one
		asn1, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
		if err != nil {
			b.Fatal(err)
		}
		wrong := base64.StdEncoding.EncodeToString(asn1)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			for b.Loop() {
				if Signed(&key.PublicKey, wrong, body) {
					b.Fatal("a wrong signature is accepted")
				}
			}
		})
	}
}
