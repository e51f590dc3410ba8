package web

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"retrieverkeys/apikey"
)

// rendering is how a code looks over HTTP: its status and the vendor's error type.
type rendering struct {
	status int
	name   string
}

// renderings has every code of the domain.
var renderings = map[apikey.Code]rendering{
	apikey.BadUserInput:    {http.StatusBadRequest, "BadRequestError"},
	apikey.Unauthenticated: {http.StatusUnauthorized, "UnauthorizedError"},
	apikey.Forbidden:       {http.StatusForbidden, "ForbiddenError"},
	apikey.NotFound:        {http.StatusNotFound, "NotFoundError"},
	apikey.Conflict:        {http.StatusConflict, "AlreadyExistsError"},
	apikey.RateLimited:     {http.StatusTooManyRequests, "TooManyRequestsError"},
	apikey.Unavailable:     {http.StatusServiceUnavailable, "ServiceUnavailableError"},
	apikey.Internal:        {http.StatusInternalServerError, "InternalServerError"},
}

func statusOf(code apikey.Code) int { return renderings[code].status }

// setErrorHeaders sets the headers that a status requires.
func setErrorHeaders(w http.ResponseWriter, e *apikey.Error) {
	if e.Code == apikey.Unauthenticated {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	}
	if e.Reason != "" {
		w.Header().Set("X-Refusal", string(e.Reason))
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(wholeSeconds(e.RetryAfter)))
	}
}

// wholeSeconds rounds up, so that clients do not retry too early.
func wholeSeconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

// errorBody is the vendor's error envelope.
type errorBody struct {
	Success bool        `json:"success"`
	Status  int         `json:"status"`
	Error   errorDetail `json:"error"`
}

type errorDetail struct {
	Message string         `json:"message"`
	Type    string         `json:"type"`
	Details map[string]any `json:"details,omitempty"`
}

// writeStatus answers with an HTTP error that the domain does not have, in the vendor's envelope.
func writeStatus(w http.ResponseWriter, status int, name, message string) {
	writeJSON(w, status, errorBody{Status: status, Error: errorDetail{Message: message, Type: name}})
}

// writeError answers with the error in the vendor's envelope.
func writeError(w http.ResponseWriter, e *apikey.Error) {
	r := renderings[e.Code]
	body := errorBody{Status: r.status, Error: errorDetail{Message: e.Message, Type: r.name}}
	switch {
	case e.Field != "":
		body.Error.Details = map[string]any{"field": e.Field}
	case e.Reason != "":
		body.Error.Details = map[string]any{"reason": e.Reason}
	case e.Code == apikey.RateLimited:
		body.Error.Details = map[string]any{"limit": e.PerMinute, "window": window, "retry_after": wholeSeconds(e.RetryAfter)}
	}
	setErrorHeaders(w, e)
	writeJSON(w, r.status, body)
}

// writeJSON answers with a value that JSON can represent.
func writeJSON(w http.ResponseWriter, status int, v any) {
	setJSON(w)
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
}

func setJSON(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
}

// report logs the cause of a server-side failure, which the response does not show.
func report(ctx context.Context, logger *slog.Logger, e *apikey.Error) {
	if e.Code == apikey.Internal || e.Code == apikey.Unavailable {
		logger.ErrorContext(ctx, "request failed", "code", e.Code, "error", e, "cause", errors.Unwrap(e))
	}
}
