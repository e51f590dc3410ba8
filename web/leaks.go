package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"unicode/utf8"

	"retrieverkeys/apikey"
	"retrieverkeys/github"
)

const (
	leaksPath = "/v1/leaks/github"
	// maxLeaksBytes is the largest report in bytes.
	maxLeaksBytes = 1 << 20

	identifierHeader = "Github-Public-Key-Identifier"
	signatureHeader  = "Github-Public-Key-Signature"
)

// leaks answers GitHub's secret scanning, which reports tokens that it found in public. Reports name their key, and are verified before
// anything in them is read.
type leaks struct {
	service *apikey.Service
	keys    *github.Keys
	who     identifier
	logger  *slog.Logger
}

// handler verifies requests and calls admit for the rest. It waits for GitHub's keys before the request takes a turn, so that a slow
// document delays nobody else.
func (l leaks) handler(admit func(http.Handler) http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
			writeStatus(w, http.StatusRequestEntityTooLarge, "BadRequestError", fmt.Sprintf("The body is larger than %d bytes.", tooLarge.Limit))
			return
		}
		key, err := l.keys.Key(r.Context(), r.Header.Get(identifierHeader))
		switch {
		case errors.Is(err, github.ErrUnavailable):
			writeError(w, &apikey.Error{Code: apikey.Unavailable, Message: "GitHub's public keys cannot be read. Try again later.", RetryAfter: github.RetryAfter})
			return
		case err != nil:
			l.forged(w, r)
			return
		}
		admit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !github.Signed(key, r.Header.Get(signatureHeader), body) {
				l.forged(w, r)
				return
			}
			l.answer(w, r, body)
		})).ServeHTTP(w, r)
	})
}

// forged refuses a report that GitHub did not sign. It counts these after the signature was verified, so that they keep no genuine report from the same
// address away: behind a proxy that is not trusted, GitHub and forgers share one. A signature takes 0.06 ms to verify, or 0.6 ms with the largest body,
// in the request's turn.
func (l leaks) forged(w http.ResponseWriter, r *http.Request) {
	if refused := l.who.failures.failed(r.Context(), l.who.clientAddress(r)); refused != nil {
		writeError(w, refused)
		return
	}
	writeError(w, unsigned)
}

var unsigned = &apikey.Error{Code: apikey.Unauthenticated, Message: "The body is not signed with one of GitHub's keys."}

// found is a token that GitHub found.
type found struct {
	Token  *string `json:"token"`
	Type   *string `json:"type"`
	URL    *string `json:"url"`
	Source *string `json:"source"`
}

// verdict says whether a token is one of our keys.
type verdict struct {
	Hash  string `json:"token_hash"` // base64 of the SHA-256
	Type  string `json:"token_type"`
	Label string `json:"label"`
}

const (
	truePositive  = "true_positive"
	falsePositive = "false_positive"
)

// answer reports the leaks of a verified body. Tokens are hashed at once. Nothing else is done with them.
func (l leaks) answer(w http.ResponseWriter, r *http.Request, body []byte) {
	tokens, ok := readFound(body)
	if !ok {
		writeError(w, apikey.Invalid("", "The body must be a JSON array of objects with the texts token, type, url and source."))
		return
	}
	reports, verdicts := make([]apikey.LeakReport, len(tokens)), make([]verdict, len(tokens))
	for i, t := range tokens {
		sum := sha256.Sum256([]byte(*t.Token))
		reports[i] = apikey.LeakReport{Hash: hex.EncodeToString(sum[:]), URL: t.URL, Source: t.Source}
		for _, text := range []**string{&reports[i].URL, &reports[i].Source} {
			if *text != nil && len(*t.Token) >= shortestSecret && apikey.ShowsToken(**text, *t.Token) {
				*text = nil // it would store the token
			}
		}
		verdicts[i] = verdict{base64.StdEncoding.EncodeToString(sum[:]), *t.Type, falsePositive}
	}
	from := apikey.Caller{Address: l.who.clientAddress(r), UserAgent: r.UserAgent()}
	results, err := l.service.ReportPublicLeaks(r.Context(), from, reports)
	if err != nil {
		e := apikey.Classify(err)
		if e.Code != apikey.Unavailable {
			e = apikey.Classify(apikey.Outage(err)) // whatever it is, sending the report again is right
		}
		report(r.Context(), l.logger, e)
		writeError(w, e)
		return
	}
	known, revoked := 0, 0
	for i, result := range results {
		if result.Key == nil {
			continue
		}
		known++
		verdicts[i].Label = truePositive
		if result.Revoked() {
			revoked++
		}
	}
	level := slog.LevelInfo
	if known > 0 {
		level = slog.LevelWarn
	}
	l.logger.Log(r.Context(), level, "GitHub reported leaked tokens", "tokens", len(tokens), "keys", known, "revoked", revoked)
	writeJSON(w, http.StatusOK, verdicts)
}

// shortestSecret is the length from which a token in a URL is taken to be there because of the leak.
const shortestSecret = 8

// readFound parses a report. Members that it does not know are ignored, because GitHub may add some.
func readFound(body []byte) (tokens []found, ok bool) {
	if !utf8.Valid(body) || !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("[")) || json.Unmarshal(body, &tokens) != nil {
		return nil, false
	}
	for _, t := range tokens {
		if t.Token == nil || t.Type == nil {
			return nil, false
		}
	}
	return tokens, true
}
