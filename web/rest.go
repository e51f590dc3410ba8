package web

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"retrieverkeys/apikey"
	"retrieverkeys/wire"
)

// The vendor's REST endpoints, over the same Service as GraphQL.

type rest struct {
	service *apikey.Service
	timeout time.Duration
	answers *Answers
	logger  *slog.Logger
}

// Key is an API key as the vendor's endpoints return it: its 23 fields in the vendor's order, then fields that appear only once. Types,
// permissions, resource types and operations are written as stored, known or not, because a newer client may know newer values. A
// key_type that is not text is null, which the vendor's clients accept; the other enums have no such value and become "unknown".
type Key struct {
	Of       *apikey.Key    // returned by the Service with all its fields
	Secret   *apikey.Secret // of a key that was just created
	Previous *apikey.Key    // the key that it replaced
}

// MarshalJSON is for single keys. Lists append their keys.
func (k Key) MarshalJSON() ([]byte, error) {
	b := appendKey(nil, k.Of)
	if k.Secret != nil {
		b = wire.Text(append(b[:len(b)-1], `,"key":`...), k.Secret.Reveal())
		b = append(b, '}')
	}
	if k.Previous != nil {
		b = appendKey(append(b[:len(b)-1], `,"previous":`...), k.Previous)
		b = append(b, '}')
	}
	return b, nil
}

func appendKey(b []byte, k *apikey.Key) []byte {
	b = wire.Text(append(b, `{"key_id":`...), k.ID)
	b = wire.Text(append(b, `,"key_hash":`...), k.Hash)
	b = wire.OptionalText(append(b, `,"key_prefix":`...), k.Prefix)
	b = append(b, `,"key_type":`...)
	if k.Type == apikey.UnreadableType {
		b = wire.Null(b)
	} else {
		b = wire.Text(b, k.Type)
	}
	b = wire.OptionalText(append(b, `,"subscription_id":`...), k.SubscriptionID)
	b = wire.Text(append(b, `,"internal_id":`...), k.InternalID)
	b = wire.OptionalText(append(b, `,"organization_id":`...), k.OrganizationID)
	b = wire.Text(append(b, `,"user_id":`...), k.UserID)
	b = wire.Text(append(b, `,"name":`...), k.Name)
	b = wire.Text(append(b, `,"description":`...), k.Description)
	b = wire.Texts(append(b, `,"permissions":`...), k.Permissions)
	b = wire.Array(append(b, `,"scopes":`...), len(k.Scopes), func(b []byte, i int) []byte {
		b = wire.Text(append(b, `{"resource_type":`...), k.Scopes[i].ResourceType)
		b = wire.Text(append(b, `,"resource_id":`...), k.Scopes[i].ResourceID)
		return append(wire.Texts(append(b, `,"operations":`...), k.Scopes[i].Operations), '}')
	})
	b = wire.OptionalInt(append(b, `,"rate_limit_override":`...), k.RateLimitOverride)
	b = wire.Text(append(b, `,"status":`...), k.Status)
	b = wire.OptionalTime(append(b, `,"expires_at":`...), k.ExpiresAt)
	b = wire.OptionalTime(append(b, `,"last_used_at":`...), k.LastUsedAt)
	b = wire.OptionalTime(append(b, `,"created_at":`...), k.CreatedAt)
	b = wire.OptionalText(append(b, `,"created_by":`...), k.CreatedBy)
	b = wire.OptionalTime(append(b, `,"revoked_at":`...), k.RevokedAt)
	b = wire.OptionalText(append(b, `,"revoked_by":`...), k.RevokedBy)
	b = append(b, `,"allowed_origins":`...)
	if k.AllowedOrigins == nil {
		b = wire.Null(b)
	} else {
		b = wire.Texts(b, k.AllowedOrigins)
	}
	b = wire.OptionalText(append(b, `,"principal_id":`...), k.PrincipalID)
	b = strconv.AppendBool(append(b, `,"is_internal":`...), k.IsInternal)
	return append(b, '}')
}

// list streams all keys of a retriever page by page, so that they are never all in memory. Once the response has begun, reading a page
// and sending it may each take the whole timeout. A failure then cuts the connection, because a list that looks complete but is not would
// be worse than none.
func (h rest) list(w http.ResponseWriter, r *http.Request) {
	// A caller that may read nothing must not learn what else is wrong with the request.
	if _, err := h.service.Viewer(apikey.CallerFrom(r.Context())); err != nil {
		h.refuse(w, r, err)
		return
	}
	includeRevoked, err := includeRevoked(r)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	reader, page, err := h.firstPage(r, includeRevoked)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	held := h.answers.pageBytes(page)
	if !h.answers.Take(r.Context(), held) {
		h.refuse(w, r, overloaded())
		return
	}
	defer func() { h.answers.Give(held) }()
	setJSON(w)
	w.WriteHeader(http.StatusOK)
	b, total := append(make([]byte, 0, min(partBytes, keyBytes*(1+len(page)))), `{"results":[`...), 0
	for {
		setWriteDeadline(w, time.Now().Add(h.timeout))
		for i := range page {
			if total > 0 {
				b = append(b, ',')
			}
			b = appendKey(b, &page[i])
			total++
			if len(b) > partBytes-keyBytes {
				b = h.write(w, b)
			}
		}
		if reader.Done() {
			break
		}
		h.answers.Give(held)
		held, page = 0, nil
		if page, err = h.nextPage(r, reader); err != nil {
			h.abort(r, err)
		}
		if err = h.answers.await(r.Context(), h.timeout, h.answers.pageBytes(page)); err != nil {
			h.abort(r, err)
		}
		held = h.answers.pageBytes(page)
	}
	h.write(w, fmt.Appendf(b, "],\"total\":%d}\n", total))
}

const (
	keyBytes  = 900      // about the length of a key
	partBytes = 60 << 10 // the length of the parts that are sent
)

// nextPage reads the next page.
func (h rest) nextPage(r *http.Request, reader *apikey.KeyReader) ([]apikey.Key, error) {
	ctx, cancel := onward(r.Context(), h.timeout)
	defer cancel()
	return reader.Next(ctx)
}

// write sends a part of a response, or cuts the connection if the client does not take it in time. It returns a buffer for the next part: the same,
// unless a long key or event made it large.
func (h rest) write(w http.ResponseWriter, part []byte) []byte {
	if _, err := w.Write(part); err != nil { //nolint:gosec // it is JSON, and no browser takes it for HTML
		panic(http.ErrAbortHandler)
	}
	if cap(part) > 2*partBytes {
		return nil
	}
	return part[:0]
}

// abort cuts the connection in the middle of a response.
func (h rest) abort(r *http.Request, err error) {
	report(r.Context(), h.logger, apikey.Classify(err))
	panic(http.ErrAbortHandler)
}

func (h rest) firstPage(r *http.Request, includeRevoked bool) (*apikey.KeyReader, []apikey.Key, error) {
	ctx := r.Context()
	caller := apikey.CallerFrom(ctx)
	retriever, err := h.service.Retriever(ctx, caller, apikey.NamespaceFrom(ctx), pathValue(r, "retriever_id"))
	if err != nil {
		return nil, nil, err
	}
	reader, err := h.service.ReadKeys(caller, retriever, apikey.ListOptions{IncludeRevoked: includeRevoked})
	if err != nil {
		return nil, nil, err
	}
	page, err := reader.Next(ctx)
	return reader, page, err
}

func (h rest) create(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	if err := h.service.Admit(ctx, apikey.CallerFrom(ctx), apikey.KeyCreated); err != nil {
		h.refuse(w, r, err)
		return
	}
	settings, err := createBody(r)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	made, err := h.service.Create(ctx, apikey.CallerFrom(ctx), apikey.NamespaceFrom(ctx), pathValue(r, "retriever_id"), settings)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, Key{Of: &made.Key, Secret: &made.Secret})
}

func (h rest) revoke(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	caller, namespace := apikey.CallerFrom(ctx), apikey.NamespaceFrom(ctx)
	if err := h.service.RevokeOf(ctx, caller, namespace, pathValue(r, "retriever_id"), apikey.ID(pathValue(r, "key_id"))); err != nil {
		h.refuse(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, struct {
		Message string `json:"message"`
		Success bool   `json:"success"`
	}{"Successfully completed", true})
}

// methodNotAllowed answers methods that a path does not support.
func methodNotAllowed(allow ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", strings.Join(allow, ", "))
		writeStatus(w, http.StatusMethodNotAllowed, "MethodNotAllowedError", "This path supports "+strings.Join(allow, " or ")+".")
	}
}

// booleans are the accepted values of a boolean parameter, in any case.
var booleans = map[string]bool{
	"true": true, "1": true, "yes": true, "on": true, "t": true, "y": true,
	"false": false, "0": false, "no": false, "off": false, "f": false, "n": false,
}

// includeRevoked reads the parameter include_revoked, which defaults to false.
func includeRevoked(r *http.Request) (bool, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil { // r.URL.Query would silently drop what it cannot parse
		return false, invalids{{[]any{"query"}, "Input should be a well-formed query", "value_error"}}
	}
	b := false
	for i, v := range query["include_revoked"] {
		read, ok := booleans[strings.ToLower(v)]
		if !ok || i > 0 && read != b {
			return false, invalids{{[]any{"query", "include_revoked"}, "Input should be a valid boolean, unable to interpret input", "bool_parsing"}}
		}
		b = read
	}
	return b, nil
}

// refuse answers with an error: in the vendor's envelope, or as a list of validation errors.
func (h rest) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if failures, ok := errors.AsType[invalids](err); ok {
		failures.write(w)
		return
	}
	if refused, ok := errors.AsType[*unreadable](err); ok {
		writeStatus(w, refused.status, "BadRequestError", refused.message)
		return
	}
	e := apikey.Classify(err)
	report(r.Context(), h.logger, e)
	if i := slices.IndexFunc(bodyFields, func(f bodyField) bool { return f.setting == e.Field && e.Code == apikey.BadUserInput }); i >= 0 {
		message := strings.ReplaceAll(e.Message, e.Field, bodyFields[i].name)
		invalids{{[]any{"body", bodyFields[i].name}, message, "value_error"}}.write(w)
		return
	}
	writeError(w, e)
}
