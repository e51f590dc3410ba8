package systemtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"retrieverkeys/program"
	"retrieverkeys/program/programtest"
	"retrieverkeys/store/document"
)

// gitHub signs reports as GitHub does.
type gitHub struct {
	t   testing.TB
	key *ecdsa.PrivateKey
}

func newGitHub(t testing.TB) gitHub {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return gitHub{t, key}
}

// document is the document of its public key.
func (g gitHub) document() []byte {
	g.t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&g.key.PublicKey)
	if err != nil {
		g.t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"public_keys": []any{map[string]any{
		"key_identifier": "f9525bf080f75b3506ca1ead061add62b8633a346606dc5fe544e29231c6ee0d",
		"key":            string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), "is_current": true,
	}}})
	if err != nil {
		g.t.Fatal(err)
	}
	return text
}

// headers are those of a report with this body.
func (g gitHub) headers(body string) map[string]string {
	g.t.Helper()
	digest := sha256.Sum256([]byte(body))
	signature, err := ecdsa.SignASN1(rand.Reader, g.key, digest[:])
	if err != nil {
		g.t.Fatal(err)
	}
	return map[string]string{
		"Github-Public-Key-Identifier": "f9525bf080f75b3506ca1ead061add62b8633a346606dc5fe544e29231c6ee0d",
		"Github-Public-Key-Signature":  base64.StdEncoding.EncodeToString(signature),
	}
}

const gitHubPath = "/v1/leaks/github"

// report reports tokens to a server, as found in a commit.
func (g gitHub) report(s *programtest.Server, tokens ...string) programtest.Answer {
	g.t.Helper()
	var found []map[string]string
	for i, token := range tokens {
		found = append(found, map[string]string{"token": token, "type": "retrieverkeys_api_key", "url": fmt.Sprintf("https://github.com/acme/shop/blob/main/%d", i), "source": "commit"})
	}
	body, err := json.Marshal(found)
	if err != nil {
		g.t.Fatal(err)
	}
	return s.Request(http.MethodPost, gitHubPath, string(body), g.headers(string(body)))
}

// A key that GitHub finds must be dead in every process of the store when GitHub has its answer, whatever organization it belongs to, and the
// organization must see why. The report must not help anybody who forges one.
func TestGitHubKillsLeakedKeys(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = programtest.Seeded(t, d)
		g := newGitHub(t)
		path := filepath.Join(t.TempDir(), "keys.json")
		if err := os.WriteFile(path, g.document(), 0o600); err != nil {
			t.Fatal(err)
		}
		other := programtest.Serve(t, d.Env) // without GITHUB_LEAK_KEYS
		d.Env["GITHUB_LEAK_KEYS"] = path
		s := programtest.Serve(t, d.Env)
		if got := g.report(other, programtest.Token("writer")); got.Status != http.StatusNotFound {
			t.Errorf("off: %d %s", got.Status, got.Body)
		}
		who := func(s *programtest.Server, caller string) string {
			return programtest.Outcome(t, s.Query(caller, "", `{ viewer { keyId } }`))
		}
		if who(other, "writer") != "OK" || who(other, "foreign") != "OK" {
			t.Fatal("the callers of the fixture do not work")
		}
		forger := newGitHub(t)
		if got := forger.report(s, programtest.Token("writer")); got.Status != http.StatusUnauthorized || who(other, "writer") != "OK" {
			t.Errorf("forged: %d %s", got.Status, got.Body)
		}
		got := g.report(s, "sk_nobody's", programtest.Token("writer"), programtest.Token("foreign"), programtest.Token("retriever"))
		if got.Status != http.StatusOK || strings.Count(got.Body, "true_positive") != 3 || strings.Count(got.Body, "false_positive") != 1 {
			t.Fatalf("%d %s", got.Status, got.Body)
		}
		for _, server := range []*programtest.Server{s, other} {
			for _, caller := range []string{"writer", "foreign", "retriever"} {
				if got := who(server, caller); got != "UNAUTHENTICATED" {
					t.Errorf("%s after the report: %s", caller, got)
				}
			}
		}
		if again := g.report(s, "sk_nobody's", programtest.Token("writer"), programtest.Token("foreign"), programtest.Token("retriever")); again.Body != got.Body {
			t.Errorf("again: %d %s", again.Status, again.Body)
		}
		answer := s.Query("admin", "", `{ organization { auditEvents(filter: {keyId: "key_caller_writer"}) { results { action actorType actorId actorKeyId } } }
			apiKey(id: "key_caller_writer") { status revokedBy revokeReason leak { source url } } }`)
		for _, want := range []string{
			`{"action":"api_key_revoked","actorType":"system","actorId":"system","actorKeyId":null},{"action":"api_key_leak_reported","actorType":"system","actorId":"system","actorKeyId":null}`,
			`{"status":"REVOKED","revokedBy":"system","revokeReason":"leaked","leak":{"source":"commit","url":"https://github.com/acme/shop/blob/main/1"}}`,
		} {
			if !strings.Contains(answer.Body, want) {
				t.Errorf("%s\nlacks %s", answer.Body, want)
			}
		}
		for _, token := range []string{"sk_nobody's", programtest.Token("writer"), programtest.HashOf(programtest.Token("writer"))} {
			if strings.Contains(s.Stderr.String()+s.Stdout.String(), token) {
				t.Errorf("the server printed %q", token)
			}
		}
	})
}

// The keys document can be at an https URL, which the server reads at start and again for unknown identifiers, once in five minutes. Keys that it
// read remain valid while the URL is down. A server that never read any must not call a report forged.
func TestGitHubKeysFromAURL(t *testing.T) {
	g := newGitHub(t)
	var reads atomic.Int64
	site := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reads.Add(1)
		_, _ = w.Write(g.document())
	}))
	t.Cleanup(site.Close)
	trusted := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(trusted, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: site.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	d := programtest.Seeded(t, programtest.Embedded(t))
	d.Env["GITHUB_LEAK_KEYS"], d.Env["SSL_CERT_FILE"] = site.URL+"/meta/public_keys/secret_scanning", trusted
	p := programtest.StartProcess(t, d.Env)
	for i := range 50 {
		if got := p.Request(http.MethodPost, gitHubPath, "[]", map[string]string{"Github-Public-Key-Identifier": fmt.Sprint(i), "Github-Public-Key-Signature": "AA=="}); got.Status != http.StatusUnauthorized {
			t.Fatalf("an unknown identifier: %d %s", got.Status, got.Body)
		}
	}
	if n := reads.Load(); n != 1 {
		t.Errorf("the URL was read %d times, want once", n)
	}
	site.Close()
	if got := g.report(p.Server, programtest.Token("writer")); got.Status != http.StatusOK || !strings.Contains(got.Body, "true_positive") {
		t.Errorf("while the URL is down: %d %s", got.Status, got.Body)
	}
	if got := p.Query("writer", "", "{ viewer { keyId } }"); got.Status != http.StatusUnauthorized {
		t.Errorf("the leaked key: %d %s", got.Status, got.Body)
	}
	p = programtest.StartProcess(t, d.Env)
	if got := g.report(p.Server, programtest.Token("reader")); got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
		t.Errorf("without keys: %d %s", got.Status, got.Body)
	}
	if got := p.Query("reader", "", "{ viewer { keyId } }"); got.Status != http.StatusOK {
		t.Errorf("a key that was not reported: %d %s", got.Status, got.Body)
	}
}

// Over http, anybody on the way could choose the keys, so the server must not start. Neither may it start with a file that has no key.
func TestGitHubKeysMustBeTrustworthy(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(empty, []byte(`{"public_keys":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{
		"http://127.0.0.1/keys":   "must be a file or an https URL",
		"HTTP://127.0.0.1/keys":   "must be a file or an https URL",
		"http:127.0.0.1":          "must be a file or an https URL",
		"https:///keys":           "must be a file or an https URL",
		"https:keys":              "must be a file or an https URL",
		"ftp://127.0.0.1/keys":    "must be a file or an https URL",
		"file:///etc/keys.json":   "must be a file or an https URL",
		"https://127.0.0.1:x/":    "must be a file or an https URL",
		empty:                     "has no ECDSA key on the curve P-256",
		empty + ".absent":         "no such file",
		filepath.Dir(empty):       "is a directory",
		"https://%zz.example.com": "must be a file or an https URL",
	} {
		code, _, errs := programtest.Command(t, programtest.Fields{"EMBEDDED_PATH": filepath.Join(t.TempDir(), "store.db"), "GITHUB_LEAK_KEYS": value, "LEAK_ACTION": "ask"}, "serve")
		if code != program.ExitUsage || !strings.Contains(errs, want) || !strings.Contains(errs, "GITHUB_LEAK_KEYS") || !strings.Contains(errs, `LEAK_ACTION="ask" must be revoke or report`) {
			t.Errorf("%s: exit code %d, %s", value, code, errs)
		}
	}
}

// Under LEAK_ACTION=report, GitHub's report is noted and the key goes on working, because a website may need it.
func TestLeaksThatAreOnlyNoted(t *testing.T) {
	d := programtest.Seeded(t, programtest.Embedded(t))
	g := newGitHub(t)
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, g.document(), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Env["GITHUB_LEAK_KEYS"], d.Env["LEAK_ACTION"] = path, "report"
	s := programtest.Serve(t, d.Env)
	if got := g.report(s, programtest.Token("writer")); got.Status != http.StatusOK || !strings.Contains(got.Body, "true_positive") {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	if got := s.Query("writer", "", "{ viewer { keyId } }"); got.Status != http.StatusOK {
		t.Errorf("the key: %d %s", got.Status, got.Body)
	}
	if got := s.Query("admin", "", `{ apiKey(id: "key_caller_writer") { status leak { url } } }`); !strings.Contains(got.Body, `{"status":"ACTIVE","leak":{"url":"https://github.com/acme/shop/blob/main/0"}}`) {
		t.Error(got.Body)
	}
}

// A large leak must be answered at once, whatever the store. With -v, the test prints how long each report took.
func TestAThousandLeakedTokens(t *testing.T) {
	programtest.OnEveryStore(t, func(t *testing.T, d programtest.Deployment) {
		d = programtest.Seeded(t, d)
		g := newGitHub(t)
		path := filepath.Join(t.TempDir(), "keys.json")
		if err := os.WriteFile(path, g.document(), 0o600); err != nil {
			t.Fatal(err)
		}
		d.Env["GITHUB_LEAK_KEYS"] = path
		s := programtest.Serve(t, d.Env)
		for round := range 5 {
			var b document.Batch
			var tokens []string
			for i := range 1000 {
				token := fmt.Sprintf("sk_leaked_%d_%d", round, i)
				tokens = append(tokens, token)
				if i%100 == 0 {
					b.Keys = append(b.Keys, programtest.KeyDoc("key_"+token, "ret_main", programtest.Fields{"key_hash": programtest.HashOf(token)}))
				}
			}
			programtest.ImportBatch(t, d, b)
			start := time.Now()
			got := g.report(s, tokens...)
			t.Logf("%v for 1,000 tokens, 10 of them keys", time.Since(start))
			if got.Status != http.StatusOK || strings.Count(got.Body, "true_positive") != 10 || strings.Count(got.Body, "false_positive") != 990 {
				t.Errorf("%d, %d keys", got.Status, strings.Count(got.Body, "true_positive"))
			}
		}
	})
}
