// Package github verifies the messages that GitHub's secret scanning sends about leaked tokens. It knows no API keys.
package github

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Keys are the public keys with which GitHub's messages are verified, by identifier. They come from a document in a file or at an https
// URL, which is read again when a message names an identifier that it does not contain.
type Keys struct {
	Source string           // a file or, if it contains ://, a URL
	Client *http.Client     // nil: one that follows redirects only to https
	Logger *slog.Logger     // nil: none
	Now    func() time.Time // nil: time.Now

	mu      sync.Mutex
	byID    map[string]*ecdsa.PublicKey // nil until a document was read
	etag    string                      // of that document
	failed  bool                        // the last read failed
	next    time.Time                   // the earliest time of the next read
	reading chan struct{}               // closed when the running read ends; nil if none runs
}

const (
	// rereadAfter is the shortest time between two reads, so that made-up identifiers cause no traffic.
	rereadAfter = 5 * time.Minute
	// RetryAfter replaces it while no document was ever read.
	RetryAfter = 10 * time.Second
	// readTimeout limits one read.
	readTimeout = 10 * time.Second
	// maxDocument is the largest document in bytes. GitHub's has a few hundred.
	maxDocument = 1 << 20
)

// The errors of Key.
var (
	ErrUnknown     = errors.New("no public key has this identifier")
	ErrUnavailable = errors.New("the document of public keys cannot be read")
)

// Check reads the document if it is a file, so that a wrong one is found before anything starts.
func (k *Keys) Check() error {
	if k.isURL() {
		return nil
	}
	byID, _, err := k.read(context.Background(), "") //nolint:forbidigo // a file needs no context
	k.byID = byID
	return err
}

func (k *Keys) isURL() bool { return strings.Contains(k.Source, "://") }

func (k *Keys) now() time.Time {
	if k.Now == nil {
		return time.Now()
	}
	return k.Now()
}

func (k *Keys) logger() *slog.Logger {
	if k.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return k.Logger
}

// secure follows redirects only to https.
var secure = &http.Client{CheckRedirect: func(r *http.Request, via []*http.Request) error {
	const most = 3
	if r.URL.Scheme != "https" || len(via) > most {
		return errors.New("the URL redirects too often, or to one that is not https")
	}
	return nil
}}

// Load reads the document unless it was read before, so that the first message does not wait for it and the log shows a wrong URL early.
func (k *Keys) Load(ctx context.Context) {
	k.mu.Lock()
	missing := k.byID == nil
	k.mu.Unlock()
	if missing {
		_, _ = k.Key(ctx, "") // the read logs its error
	}
}

// Key returns the key with this identifier. It returns ErrUnknown if the document has none, and ErrUnavailable if the document, or its
// current version, could not be read. Keys that were read remain valid when a later read fails.
func (k *Keys) Key(ctx context.Context, identifier string) (*ecdsa.PublicKey, error) {
	for {
		k.mu.Lock()
		key, failed, reading := k.byID[identifier], k.failed, k.reading
		switch {
		case key != nil:
			k.mu.Unlock()
			return key, nil
		case reading == nil && k.now().Before(k.next) && failed:
			k.mu.Unlock()
			return nil, ErrUnavailable
		case reading == nil && k.now().Before(k.next):
			k.mu.Unlock()
			return nil, ErrUnknown
		case reading == nil:
			reading = make(chan struct{})
			k.reading = reading
			k.next = k.now().Add(rereadAfter)
			go k.reread(context.WithoutCancel(ctx), k.etag)
		}
		k.mu.Unlock()
		select {
		case <-reading:
		case <-ctx.Done():
			return nil, ErrUnavailable
		}
	}
}

// reread replaces the keys by those of the document as it is now.
func (k *Keys) reread(ctx context.Context, etag string) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	byID, newETag, err := k.read(ctx, etag)
	k.mu.Lock()
	defer k.mu.Unlock()
	close(k.reading)
	k.reading, k.failed = nil, err != nil
	switch {
	case err != nil && k.byID == nil:
		k.next = k.now().Add(RetryAfter)
		k.logger().WarnContext(ctx, "the public keys of GITHUB_LEAK_KEYS could not be read; leaks that GitHub reports are refused", "error", err)
	case err != nil:
		k.logger().WarnContext(ctx, "the public keys of GITHUB_LEAK_KEYS could not be read again; the old ones remain valid", "error", err)
	case byID != nil: // otherwise the document is the same
		k.byID, k.etag = byID, newETag
		k.logger().InfoContext(ctx, "the public keys of GITHUB_LEAK_KEYS were read", "keys", len(byID))
	}
}

// read reads and parses the document. It returns no keys if the document at the URL still has that etag.
func (k *Keys) read(ctx context.Context, etag string) (byID map[string]*ecdsa.PublicKey, newETag string, err error) {
	var document []byte
	if !k.isURL() {
		document, err = readFile(k.Source)
	} else {
		document, newETag, err = k.get(ctx, etag)
	}
	if err != nil || document == nil {
		return nil, newETag, err
	}
	byID, err = parse(document)
	return byID, newETag, err
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // the operator names it
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	return readAll(f)
}

// get returns no document if it still has that etag.
func (k *Keys) get(ctx context.Context, etag string) (document []byte, newETag string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, k.Source, http.NoBody)
	if err != nil {
		return nil, "", err
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "retrieverkeys")
	if etag != "" {
		r.Header.Set("If-None-Match", etag)
	}
	response, err := cmp.Or(k.Client, secure).Do(r)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusNotModified && etag != "":
		return nil, etag, nil
	case response.StatusCode != http.StatusOK:
		return nil, "", fmt.Errorf("the server answered with status %d", response.StatusCode)
	}
	document, err = readAll(response.Body)
	return document, response.Header.Get("ETag"), err
}

func readAll(r io.Reader) ([]byte, error) {
	document, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err == nil && len(document) > maxDocument {
		err = fmt.Errorf("the document has more than %d bytes", maxDocument)
	}
	return document, err
}

// parse returns the usable keys of a document, current or not, because a message can be older than the current key. A key of another kind
// verifies nothing, so it is passed over.
func parse(document []byte) (map[string]*ecdsa.PublicKey, error) {
	var d struct {
		PublicKeys []struct {
			Identifier string `json:"key_identifier"`
			Key        string `json:"key"`
		} `json:"public_keys"`
	}
	if err := json.Unmarshal(document, &d); err != nil {
		return nil, errors.New("the document is not JSON of the form {\"public_keys\":[{\"key_identifier\",\"key\",\"is_current\"}]}")
	}
	byID := make(map[string]*ecdsa.PublicKey, len(d.PublicKeys))
	for _, k := range d.PublicKeys {
		block, _ := pem.Decode([]byte(k.Key))
		if block == nil || k.Identifier == "" {
			continue
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if key, ok := parsed.(*ecdsa.PublicKey); err == nil && ok && key.Curve == elliptic.P256() {
			byID[k.Identifier] = key
		}
	}
	if len(byID) == 0 {
		return nil, errors.New("the document has no ECDSA key on the curve P-256")
	}
	return byID, nil
}

// Signed reports whether the signature, in base64, is the key's of this body: ECDSA over SHA-256, in ASN.1.
func Signed(key *ecdsa.PublicKey, signature string, body []byte) bool {
	asn1, err := base64.StdEncoding.DecodeString(signature)
	digest := sha256.Sum256(body)
	return err == nil && ecdsa.VerifyASN1(key, digest[:], asn1)
}
